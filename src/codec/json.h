/* JSON (RFC 8259), read by stepping through the text and written into a buf: no tree is built, numbers go straight into
 * the arrays where they are wanted.
 *
 * Reading: look at json_peek, then take the value with the call of its kind, or json_skip it. The first fault sticks
 * with words and the byte offset; afterwards every call returns nothing quickly, so that a decoder may check once at the
 * end. Depth is bounded by the arena's max_depth. Strings are validated as UTF-8 and returned as views of the text where they
 * hold no escape, else as copies in the arena.
 *
 *     json_object(&j);
 *     while (json_key(&j, &key)) { if (str_is(key, "shape")) ...; else json_skip(&j); }
 *     json_array(&j);
 *     while (json_item(&j)) { double v = json_number(&j); ... } */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "tensor/dtype.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum json_kind {
    JSON_NONE, /* end of the text, or a fault */
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
} json_kind;

struct json {
    const char *start, *p, *end;
    struct arena *arena;
    const char *fault; /* NULL: none so far; static words */
    size_t fault_at;   /* byte offset */
    int depth, max_depth;
    bool first; /* the innermost array or object has had no item yet */
    bool loose; /* to be set after json_init: NaN, Infinity and -Infinity stand for numbers too */
};

void json_init(struct json *j, struct str text, struct arena *a);
/* Nothing but white space is left, and no fault: call when the top value is taken. Words: "byte 17: expected ','". */
status json_end(struct json *j, struct err *e);
bool json_failed(const struct json *j);
void json_fail(struct json *j,
               const char *fault); /* the decoder's own objection, at the present place */

json_kind json_peek(struct json *j);
const char *json_kind_name(json_kind k); /* "an array" */

void json_object(struct json *j);
bool json_key(struct json *j,
              struct str *key); /* false at the closing brace, which it takes, or at a fault */
void json_array(struct json *j);
bool json_item(struct json *j); /* false at the closing bracket, which it takes, or at a fault */

double json_number(struct json *j);
/* An integer: a number without fraction that fits, or the same in a string (as protobuf's JSON mapping allows). */
int64_t json_i64(struct json *j);
uint64_t json_u64(struct json *j);
bool json_bool(struct json *j);
void json_null(struct json *j);
struct str json_string(struct json *j);
void json_skip(struct json *j);

/* A number, or one of the strings NaN, Infinity, -Infinity in any case (json2pb's rule). */
double json_float(struct json *j);

/* A JSON array of numbers, nested to any depth, straight into dense elements of `d`: fills `to` (room for max elements),
 * sets *count. Rows of unequal length are a fault when dims is not NULL; dims receives up to SHAPE_MAX lengths and
 * *rank their number; a bare number then counts as rank 0. A value out of d's range is a fault, and so are complex types and
 * bytes. This is the hot path of JSON requests. */
struct json_array {
    dtype dtype;
    void *to;
    int64_t max;
    int64_t count;
    int64_t *dims; /* may be NULL: one flat array is then expected */
    int rank;
    bool any_rank; /* with dims NULL: nested in any way, even a bare number */
};
void json_numbers(struct json *j, struct json_array *a);
/* Upper bound for the number of scalars in the value ahead (commas + 1), by one fast scan that takes nothing. */
int64_t json_count_numbers(const struct json *j);

/* Writing. The caller writes structure by hand with buf_str; these write values. */
void json_put_string(struct buf *b,
                     struct str s); /* quoted and escaped; bytes that are not UTF-8 become U+FFFD */
/* The fewest digits that read back the same; a whole number keeps its ".0", as json2pb prints it; NaN as "NaN" in quotes. */
void json_put_double(struct buf *b, double v);
void json_put_float(struct buf *b,
                    float v); /* the shortest double that equals v, as json2pb prints it */
void json_put_i64(struct buf *b, int64_t v);
/* n elements of dtype d as "[a,b,...]", a complex one as its two parts; the hot path of JSON replies. */
void json_put_numbers(struct buf *b, dtype d, const void *data, int64_t n);
/* The same, but a float32 (float16, bfloat16) has the fewest digits that read back as the same float32: for readers that
 * know the type. */
void json_put_shortest(struct buf *b, dtype d, const void *data, int64_t n);
/* One element of the same, with NaN and Infinity bare, as TensorFlow Serving writes them. */
void json_put_bare(struct buf *b, dtype d, const void *element);
