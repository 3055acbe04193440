/* One operator of a program while it is translated: what the ops_*.c functions work with.
 *
 * A translation reads its inputs and attributes, adds canonical nodes, and binds each output
 * variable to a value:
 *
 *     static status import_softmax(struct site *s)
 *     {
 *         struct value *x, *y;
 *         TRY(site_in(s, "X", &x));
 *         TRY(site_add1(s, "softmax", &x, 1, &y));
 *         ((struct axis_attrs *)node_attrs(y->producer))->axis = attr_i32(s, "axis", -1);
 *         return site_bind(s, "Out", y);
 *     }
 *
 * Attributes are read leniently: an absent one has its default, INT and LONG are the same. One of a
 * wrong kind, or out of range, makes the whole operator fail after its translation (so that readers
 * need no check of each). */
#pragma once

#include "base/map.h"
#include "graph/attrs.h"
#include "graph/graph.h"
#include "import/paddle/ops.h"
#include "import/paddle/program.h"
#include "import/paddle/scope.h"

#include <stdbool.h>
#include <stdint.h>

struct site {
    struct graph *graph;
    const struct op_desc *op;
    const struct op_row *row;
    int index, block;           /* of the operator in its block, and of that */
    struct scope *scope;        /* what variables stand for now */
    struct arena *scratch;      /* of the import: gone when it ends */
    const struct value *ragged; /* the first input that has LoD, or NULL */
    const char *bad_attr; /* the first attribute that could not be used as asked for, or NULL */
    const char *bad_why;
    struct err *err;
};

/* Words about this operator: "operator 'mul' (operator 3 of block 0): ...". Returns code. */
status site_fault(const struct site *s, status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __clang_analyzer__ /* as in base/err.h */
#define site_fault(s, code, ...) ((site_fault)((s), (code), __VA_ARGS__), (code))
#endif

/* ---- inputs ---- */

status site_in(struct site *s, const char *slot, struct value **out);
status site_in_optional(struct site *s, const char *slot, struct value **out); /* NULL: absent */
/* All arguments of a slot; in the scratch arena. At least one. */
status site_ins(struct site *s, const char *slot, struct value ***out, int *count);
/* Integers that other operators compute: one tensor in slot `whole` (NULL: there is no such slot), or a list of numbers in
 * slot `list`, which are put together. *out NULL: neither is there, and an attribute counts. */
status site_in_ints(struct site *s, const char *whole, const char *list, struct value **out);
/* UNSUPPORTED where the slot has arguments: an input that would change the meaning and is not read.
 */
status site_refuse_in(struct site *s, const char *slot);
/* The offsets of x's last LoD level; a fault that names x where it has none. */
status site_offsets(struct site *s, const char *slot, struct value **out);
/* What the variable called name stands for now, made a constant first if it is a parameter not used
 * so far; NULL: neither written nor stored. */
status site_resolve(struct site *s, struct str name, struct value **out);

/* ---- results ---- */

/* A constant of one number: [1], or a scalar with rank 0. Integers are exact below 2^53. */
status site_number(struct site *s, dtype d, int rank, double number, struct value **out);
/* What the program declares of the first variable in an output slot; NULL: nothing. */
const struct var_desc *site_declared(const struct site *s, const char *slot);
/* Adds a node of the canonical operator. */
status site_add(struct site *s, const char *op, struct value *const *in, int in_count,
                struct node **out);
/* The same for an operator that makes as many values as the node says (OUT_ANY). */
status site_add_outs(struct site *s, const char *op, struct value *const *in, int in_count,
                     int out_count, struct node **out);
/* The same for an operator with one output; it takes over dtype and shape of in[0] until something
 * better is known. */
status site_add1(struct site *s, const char *op, struct value *const *in, int in_count,
                 struct value **out);
/* site_add1 of two inputs. */
status site_add2(struct site *s, const char *op, struct value *a, struct value *b,
                 struct value **out);
/* x under another shape (0 keeps a dimension, one -1 takes what is left). */
status site_add_reshape(struct site *s, struct value *x, const struct attr_ints *shape,
                        struct value **out);
/* The same, but x itself where that shape changes nothing: for values on the way, not to be bound.
 */
status site_reshape(struct site *s, struct value *x, const struct attr_ints *shape,
                    struct value **out);
/* A constant of int64 numbers. */
status site_ints_constant(struct site *s, const struct attr_ints *v, struct value **out);
/* x in another dtype; x itself where it has that. For values on the way, not to be bound. */
status site_cast(struct site *s, struct value *x, dtype to, struct value **out);
/* The output variable in this slot is v from now on. v comes fresh from a node of this operator,
 * and gets its name, declared type and, by the row's rule, LoD. An absent slot binds nothing. */
status site_bind(struct site *s, const char *slot, struct value *v);
/* The same for one element: a scalar in 2.5 and later, [1] before, as the program declares it. */
status site_bind_one(struct site *s, const char *slot, struct value *v);
/* site_bind for the i-th variable of a slot that may hold several. */
status site_bind_at(struct site *s, const char *slot, int i, struct value *v);
int site_out_count(const struct site *s, const char *slot); /* variables in an output slot */
/* Binds a variable that no operator makes: a feed, a parameter. */
void site_bind_name(struct site *s, struct str name, struct value *v);

/* v's LoD becomes `levels` levels of x's. */
void site_share_lod(struct value *v, const struct value *x, int levels);

/* ---- attributes ---- */

int64_t attr_i64(struct site *s, const char *name, int64_t otherwise);
int32_t attr_i32(struct site *s, const char *name, int32_t otherwise);
bool attr_bool(struct site *s, const char *name, bool otherwise);
double attr_f64(struct site *s, const char *name, double otherwise);
struct str attr_str(struct site *s, const char *name, const char *otherwise);
/* count 0: absent. One integer counts as a list of one. */
struct attr_ints attr_i64s(struct site *s, const char *name);
/* A list of numbers, in the operator's file; *count 0: absent. One number counts as a list of one. */
const double *attr_f64s(struct site *s, const char *name, int *count);
/* The index of the attribute's text in a NULL-terminated list. */
int32_t attr_enum(struct site *s, const char *name, const char *otherwise,
                  const char *const *names);
