/* One node of an ONNX graph while it is translated: what the ops_*.c functions work with.
 *
 *     static status import_softmax(struct onnx_site *s)
 *     {
 *         struct value *x, *y;
 *         TRY(onnx_in(s, 0, &x));
 *         TRY(onnx_add1(s, "softmax", &x, 1, &y));
 *         ((struct axis_attrs *)node_attrs(y->producer))->axis = onnx_i32(s, "axis", -1);
 *         return onnx_bind(s, 0, y);
 *     }
 *
 * Attributes are read leniently, as in import/paddle/site.h: an absent one has its default; one of a wrong kind, or out of
 * range, makes the whole node fail after its translation. */
#pragma once

#include "base/map.h"
#include "graph/attrs.h"
#include "graph/graph.h"
#include "import/onnx/ops.h"
#include "import/onnx/proto.h"
#include "import/onnx/tensors.h"

#include <stdbool.h>
#include <stdint.h>

/* What the whole import shares. */
struct onnx_import {
    const struct onnx_model *model;
    struct onnx_tensors *tensors;
    struct arena *scratch; /* gone when the import ends */
    struct err *err;
    struct map narrow; /* value -> struct onnx_narrow (narrow.h): of those that are no plain type */
    struct map sequences; /* value -> the list that it stands for (ops_sequence.c) */
    int depth;            /* of functions in functions */
};

/* Where names are looked up: a graph, the graph of an attribute, or a function's body. */
struct onnx_scope {
    struct onnx_scope *outer; /* NULL: the model's graph */
    const struct onnx_node
        *call;           /* a function's body: the node that calls it; it sees nothing outside */
    struct graph *graph; /* the nodes of this scope go here */
    struct map bound;    /* name -> struct value */
    struct map stored;   /* name -> struct onnx_tensor: initialisers not used so far */
    struct value **from,
        **to; /* of a graph of its own: values of the outer graph that it looks at, and its inputs for them */
    int capture_count, capture_cap;
};

struct onnx_site {
    struct onnx_import *import;
    struct onnx_scope *scope;
    const struct onnx_node *node;
    const struct onnx_row *row;
    int index;            /* of the node in its list */
    int64_t opset;        /* of the node's domain */
    const char *bad_attr; /* the first attribute that could not be used as asked for, or NULL */
    const char *bad_why;
};

/* Words about this node: "Conv 'conv_1' (node 3): ...". Returns code. */
status onnx_fault(const struct onnx_site *s, status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __clang_analyzer__ /* as in base/err.h */
#define onnx_fault(s, code, ...) ((onnx_fault)((s), (code), __VA_ARGS__), (code))
#endif

/* ---- inputs ---- */

status onnx_in(struct onnx_site *s, int i, struct value **out);
status onnx_in_optional(struct onnx_site *s, int i, struct value **out); /* NULL: left out */
/* All from `first` on, without those that are left out at the end; in the scratch arena. */
status onnx_ins(struct onnx_site *s, int first, struct value ***out, int *count);
/* The numbers of input i, where the file holds them. *out NULL: left out. UNSUPPORTED, naming it, where it is computed. */
status onnx_const(struct onnx_site *s, int i, const char *what, const struct tensor **out);
/* The same as integers. count 0: left out, or empty. */
status onnx_const_ints(struct onnx_site *s, int i, const char *what, struct attr_ints *out);
/* What a name stands for in a scope; NULL: nothing. */
status onnx_resolve(struct onnx_import *import, struct onnx_scope *scope, struct str name,
                    struct value **out);

/* A value of the graph outside, seen in the graph of this scope: a constant, or one more input of it. */
status onnx_look_at(struct onnx_import *import, struct onnx_scope *scope, struct value *v,
                    struct value **out);

/* ---- results ---- */

status onnx_add(struct onnx_site *s, const char *op, struct value *const *in, int in_count,
                struct node **out);
/* The same for an operator that makes as many values as the node says (OUT_ANY). */
status onnx_add_outs(struct onnx_site *s, const char *op, struct value *const *in, int in_count,
                     int out_count, struct node **out);
/* The same for an operator with one output; it takes over dtype and shape of in[0]. */
status onnx_add1(struct onnx_site *s, const char *op, struct value *const *in, int in_count,
                 struct value **out);
/* A constant of the graph; the numbers are copied. */
status onnx_add_constant(struct onnx_site *s, dtype d, const struct shape *shape, const void *data,
                         struct value **out);
/* A constant with one element, of x's declared dtype. */
status onnx_add_scalar_like(struct onnx_site *s, const struct value *x, double number,
                            struct value **out);
status onnx_add_ints(struct onnx_site *s, const struct attr_ints *v, struct value **out);
/* x under another shape (0 keeps a dimension, one -1 takes what is left). */
status onnx_add_reshape(struct onnx_site *s, struct value *x, const struct attr_ints *shape,
                        struct value **out);
/* Output i of the node is v from now on. An output that nobody named is not bound. */
status onnx_bind(struct onnx_site *s, int i, struct value *v);
bool onnx_wants(const struct onnx_site *s, int i); /* whether output i has a name */
void onnx_bind_name(struct onnx_import *import, struct onnx_scope *scope, struct str name,
                    struct value *v);

/* ---- attributes ---- */

/* NULL: absent. A function's reference to its caller's attribute is followed. */
const struct onnx_attr *onnx_attr(const struct onnx_site *s, const char *name);
int64_t onnx_i64(struct onnx_site *s, const char *name, int64_t otherwise);
int32_t onnx_i32(struct onnx_site *s, const char *name, int32_t otherwise);
bool onnx_bool(struct onnx_site *s, const char *name, bool otherwise);
float onnx_f32(struct onnx_site *s, const char *name, float otherwise);
struct str onnx_str(struct onnx_site *s, const char *name, const char *otherwise);
struct attr_ints onnx_i64s(struct onnx_site *s, const char *name); /* count 0: absent */
/* The index of the attribute's text in a NULL-terminated list. */
int32_t onnx_enum(struct onnx_site *s, const char *name, const char *otherwise,
                  const char *const *names);
/* The dtype that an attribute (or the number `data_type`) names; a fault for one that no tensor of ours can hold. */
status onnx_type_attr(struct onnx_site *s, const char *name, dtype otherwise, dtype *out);
void onnx_bad_attr(struct onnx_site *s, const char *name, const char *why);

/* ---- graphs in attributes, and functions (lower.c) ---- */

/* The nodes of a list, in order, in this scope. */
status onnx_lower_nodes(struct onnx_import *import, struct onnx_scope *scope,
                        const struct onnx_node *node, int count);
