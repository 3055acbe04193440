/* Protobuf text format, as Paddle Serving's configuration files use it: parsed into a tree of named nodes in an arena.
 *
 * Reads: scalars (numbers, true/false, quoted strings with escapes, adjacent strings joined, bare enum words), messages
 * in braces or angle brackets with an optional colon, lists in square brackets, comments from # to the line's end, commas
 * and semicolons between fields. Format: protobuf.dev/reference/protobuf/textformat-spec. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct prototxt {
    struct prototxt *next;  /* the following field of the same message */
    struct prototxt *child; /* first field, for a message */
    struct str name;
    struct str text; /* the scalar's text, unquoted and unescaped */
    bool is_message, is_string;
    int line; /* 1-based */
};

/* *out: the first field of the file, or NULL for an empty one. Words: "FILE:LINE: expected ...". Bounded in depth. */
status prototxt_parse(struct str text, const char *file, struct arena *a, struct prototxt **out,
                      struct err *e);

status prototxt_i64(const struct prototxt *field, const char *file, int64_t *out, struct err *e);
status prototxt_bool(const struct prototxt *field, const char *file, bool *out, struct err *e);
