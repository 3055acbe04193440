/* YAML (libyaml), and with it JSON, read into a tree in an arena: for configuration files, which people write by hand, so
 * that every node knows its line and every mistake can be answered with FILE:LINE and the nearest right word.
 *
 * Anchors and aliases are refused (a small file could grow without a bound), and so are two keys of one name in a map.
 * Depth and size are bounded. One document. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum yaml_kind {
    YAML_SCALAR,
    YAML_LIST,
    YAML_MAP,
} yaml_kind;

struct yaml {
    yaml_kind kind;
    const char *key;    /* of an entry of a map; otherwise NULL */
    const char *text;   /* of a scalar; terminated */
    bool quoted;        /* the scalar is a string, whatever it looks like */
    struct yaml *child; /* first item or entry */
    struct yaml *next;
    int count; /* of children */
    int line;  /* 1-based */
};

/* *out: the document's node; an empty text is an empty map. Words: "FILE:LINE: ...". */
status yaml_parse(struct str text, const char *file, struct arena *a, struct yaml **out,
                  struct err *e);

const struct yaml *yaml_get(const struct yaml *map, const char *key); /* NULL: not there */

/* The rest answer INVALID with "FILE:LINE: ...". */
/* Every key of the map is one of these; the words name the nearest. */
status yaml_keys(const struct yaml *map, const char *file, const char *const *known, size_t count,
                 struct err *e);
status yaml_is(const struct yaml *n, const char *file, yaml_kind kind, struct err *e);
status yaml_text(const struct yaml *n, const char *file, const char **out, struct err *e);
status yaml_i64(const struct yaml *n, const char *file, int64_t min, int64_t max, int64_t *out,
                struct err *e);
status yaml_real(const struct yaml *n, const char *file, double *out, struct err *e);
status yaml_bool(const struct yaml *n, const char *file, bool *out, struct err *e);
