/* The canonical operators: one row each, in the family's file (ops_<family>.c), gathered by op.c.
 *
 * Adding one: write a row in a family (docs/adding-an-op.md), an attribute struct in graph/attrs_*.h when it needs one,
 * a kernel row, an importer row. Nothing else lists operators. */
#pragma once

#include "base/err.h"
#include "graph/graph.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is known of a value while planning for concrete input shapes. */
struct type {
    dtype dtype;
    struct shape shape;            /* no -1 */
    const struct tensor *constant; /* its data, where planning knows it; else NULL */
};

/* How operators stand to planning. What depends on shapes alone is known while planning: an operator whose inputs are
 * all constants (or that is OP_SHAPE_ONLY) is run then, once, and its results are constants to those that follow. */
enum op_flags {
    OP_INPLACE = 1, /* output 0 may overwrite input 0 when nobody else needs it and sizes agree */
    OP_VIEW = 2,    /* output 0 is input 0's bytes under another shape: no kernel runs */
    OP_ELEMENTWISE = 4, /* output i depends on element i of the inputs (after broadcasting) alone */
    /* The shapes of the outputs are known only when it ran: inference gives upper bounds, the kernel tells what it made
     * (kernel_io.shape). Planning stops in front of whoever needs that, and goes on when it is known. */
    OP_DYNAMIC = 8,
    OP_SHAPE_ONLY = 16, /* reads no elements of its inputs, only their shapes */
    OP_IMPURE = 32,     /* random: never computed ahead */
    OP_CONTROL = 64, /* runs graphs that are its attributes; the executor does it, not a kernel */
};

/* Flag: inference reads the elements of input i (below 8) where it is there: a shape, an end, a count. It then finds
 * them in in[i].constant: planning stops in front of the node until they are known. Where a bound can be told without
 * them, OP_DYNAMIC is better: its plans serve all elements. */
#define OP_NEEDS(i) (1u << (8 + (i)))

enum attr_type {
    ATTR_BOOL,
    ATTR_I32,
    ATTR_OFFSET, /* int32; 0 is told as little as an absent name */
    ATTR_F32,
    ATTR_ENUM,  /* int32 index into names */
    ATTR_I64S,  /* struct attr_ints */
    ATTR_F32S,  /* struct attr_floats */
    ATTR_GRAPH, /* struct graph *: owned by the graph of the node */
};

#define ATTR_INTS_MAX 16
#define OUT_ANY       0

struct attr_ints {
    int32_t count;
    int64_t v[ATTR_INTS_MAX];
};

struct attr_floats {
    int32_t count;
    float v[ATTR_INTS_MAX];
};

/* Describes one field of an op's attribute struct: for checking, printing and drawing. */
struct attr_field {
    const char *name;
    enum attr_type type;
    uint16_t offset;
    const char *const *names; /* ATTR_ENUM: NULL-terminated */
};

struct op {
    const char *name;
    uint8_t in_min, in_max;
    uint8_t out_count;              /* OUT_ANY: each node says how many */
    uint32_t flags;                 /* enum op_flags, OP_NEEDS */
    const struct attr_field *attrs; /* ended by a row without name; NULL: none */
    size_t attrs_size;
    /* Types of the outputs (n->out_count of them) from the inputs' types. An absent optional input has rank -1. Every
     * size is checked here, so that kernels need not: the words say which dimensions disagree (without the node's name:
     * the caller prefixes). NULL for OP_CONTROL alone. */
    status (*infer)(const struct node *n, const struct type *in, struct type *out, struct err *e);
};

const struct op *op_find(const char *name); /* NULL: no such operator */
const struct op *op_at(size_t index);       /* all rows in order, NULL behind the last */

/* Attributes as "axis=1 act=relu" into out (terminated). */
void attrs_text(const struct node *n, char *out, size_t size);
