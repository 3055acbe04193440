/* Private to the room's codecs of requests: which field of general_model's Tensor holds the elements of which type, how the
 * parts that a message brought become a tensor that can be trusted, and what predict.c shares with that. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "tensor/tensor.h"

#include <stdbool.h>
#include <stdint.h>

/* The fields of elements, in the order of the message's numbers. */
enum general_source {
    GENERAL_I64,
    GENERAL_F32,
    GENERAL_I32,
    GENERAL_F64,
    GENERAL_U32,
    GENERAL_BOOL,
    GENERAL_C64,
    GENERAL_C128,
    GENERAL_DATA,    /* strings; the tensor holds them one after another, each ended by a NUL */
    GENERAL_CONTENT, /* tensor_content: the elements as they are in memory, of every type */
    GENERAL_SOURCES,
};

struct general_field {
    const char *name;
    uint32_t number; /* in Tensor */
    dtype dtype;     /* the elem_type whose elements it holds; of no meaning for CONTENT */
    dtype scalar;    /* what one value of it is in memory */
    int scalars;     /* values an element: 2 for the complex types */
};

extern const struct general_field general_field[GENERAL_SOURCES];

/* Where elements of this type go: its own field or tensor_content. */
enum general_source general_source_of(dtype d);

/* What a tensor message brought, before any of it is believed. */
struct general_parts {
    int index; /* "tensor 1" */
    struct str name, alias;
    int64_t elem_type;
    int64_t dim[SHAPE_MAX];
    int64_t dims; /* how many the message has; those beyond SHAPE_MAX are not kept */
    const int64_t *lod;
    int64_t lod_count;
    int64_t scalars[GENERAL_SOURCES]; /* values in each field: strings in DATA, bytes in CONTENT */
    int64_t string_bytes;             /* of all strings of DATA */
};

/* Checks everything and fills *out except tensor.data; *from: where the caller is to take the elements from. A tensor of
 * strings becomes one of bytes, as long as the strings with their NULs are. */
status general_tensor(const struct general_parts *p, struct named_tensor *out,
                      enum general_source *from, struct err *e);

/* Elements as they lie in tensor_content: a view where they are aligned, else a copy. */
status general_content(struct str content, dtype d, struct arena *a, const void **out,
                       struct err *e);

/* The levels of a flat list of offsets: a 0 begins the next one unless it follows a 0 (which is an empty sequence). The
 * levels are views of the list. */
status general_split_lod(const int64_t *flat, int64_t count, const char *what, struct lod *out,
                         struct err *e);

/* A name that a message gives: UTF-8 and not too long. what: "fetch_var_names". */
status general_name_check(struct str name, const char *what, struct err *e);

/* A list in the arena with room for one more item of `size` bytes behind count; NULL: memory is out. */
void *general_grow(struct arena *a, void *list, int64_t count, size_t size);

/* Where a reply or request puts the elements of t: bytes that are no strings go into tensor_content. */
enum general_source general_source_for(const struct tensor *t);
/* The next of the strings that bytes hold; false: none is left. */
bool general_next_string(struct str *bytes, struct str *out);
/* The shape that goes out: a tensor of strings counts its strings. */
struct shape general_shape(const struct tensor *t, enum general_source s);

status general_no_memory(struct err *e);
#ifdef __clang_analyzer__ /* as in base/err.h */
#define general_no_memory(e) ((general_no_memory)(e), NO_MEMORY)
#endif

/* What a reply's err_no and err_msg mean: INTERNAL with those words unless number is 0. */
status general_reply_error(int64_t number, struct str text, struct err *e);
