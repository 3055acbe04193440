/* Paddle Serving's description of a model, which lies beside it: names, aliases, types and shapes
 * of its inputs and outputs as clients see them. serving_server_conf.prototxt (text) or, where that
 * is absent, .stream.prototxt (binary). */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "tensor/shape.h"

#include <stdbool.h>
#include <stdint.h>

struct conf_var {
    struct str name, alias; /* alias: the name where the file gives none */
    bool lod;               /* is_lod_tensor */
    bool has_type, has_lod; /* said, rather than left to the default */
    int32_t type;           /* a dtype's number, 20 for bytes */
    int32_t rank;           /* numbers in `shape`, which may be more than a tensor's dimensions */
    int64_t numel; /* product of the shape; -1 where one is negative or the product overflows */
};

struct conf {
    const char *path; /* NULL: there is none, and all else is empty */
    struct conf_var *feed, *fetch;
    int feed_count, fetch_count;
};

/* Reads the description in dir; none is fine. Everything lives in the arena. Words begin with the
 * file. */
status conf_read(const char *dir, struct arena *a, struct conf *out, struct err *e);
/* The same from bytes; path is for messages and kept. */
status conf_parse_text(struct str text, const char *path, struct arena *a, struct conf *out,
                       struct err *e);
status conf_parse_binary(struct str bytes, const char *path, struct arena *a, struct conf *out,
                         struct err *e);

const struct conf_var *conf_find_feed(const struct conf *c, struct str name); /* NULL: not listed */
