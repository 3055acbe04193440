#include "graph/op.h"

#include "graph/ops.h"

#include <stdio.h>
#include <string.h>

// clang-format off
static const struct op *const families[] = {
    ops_random, ops_signal, ops_linear_attention, ops_narrow,
    ops_quant, ops_choose, ops_trees, ops_nms_each,
    ops_matrices,
    ops_recurrent, ops_ragged,
    ops_unary, ops_binary, ops_matmul, ops_conv, ops_pool, ops_softmax, ops_shape, ops_index,
    ops_sequence, ops_rnn,
    ops_move, ops_reduce,
    ops_fill, ops_control, ops_array,
    ops_norm, ops_conv_nd, ops_resize, ops_rearrange,
    ops_attention,
    ops_detect, ops_select,
};
// clang-format on

const struct op *op_at(size_t index)
{
    for (size_t f = 0; f < ARRAY_LEN(families); f++)
        for (const struct op *o = families[f]; o->name != NULL; o++)
            if (index-- == 0)
                return o;
    return NULL;
}

const struct op *op_find(const char *name)
{
    for (size_t f = 0; f < ARRAY_LEN(families); f++)
        for (const struct op *o = families[f]; o->name != NULL; o++)
            if (strcmp(o->name, name) == 0)
                return o;
    return NULL;
}

/* ---- attributes as text ---- */

static void ints_text(const struct attr_ints *v, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < v->count && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%lld", i > 0 ? "," : "", (long long)v->v[i]);
    if (at < size)
        snprintf(out + at, size - at, "]");
}

static void floats_text(const struct attr_floats *v, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < v->count && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%g", i > 0 ? "," : "", (double)v->v[i]);
    if (at < size)
        snprintf(out + at, size - at, "]");
}

/* Empty for a field that has its default: a list of all would tell nothing. */
static void field_text(const struct attr_field *f, const void *attrs, char *out, size_t size)
{
    const char *p = (const char *)attrs + f->offset;
    int32_t i;
    float x;
    out[0] = '\0';
    if (f->type == ATTR_BOOL) {
        if (*(const bool *)p)
            snprintf(out, size, "true");
    } else if (f->type == ATTR_F32) {
        memcpy(&x, p, sizeof(x));
        if (x != 0)
            snprintf(out, size, "%g", (double)x);
    } else if (f->type == ATTR_I64S) {
        ints_text((const struct attr_ints *)p, out, size);
    } else if (f->type == ATTR_F32S) {
        floats_text((const struct attr_floats *)p, out, size);
    } else if (f->type == ATTR_GRAPH) {
        const struct graph *g;
        memcpy(&g, p, sizeof(g));
        snprintf(out, size, "(%u nodes)", g != NULL ? g->node_count : 0);
    } else {
        memcpy(&i, p, sizeof(i));
        if (f->type == ATTR_I32 || (f->type == ATTR_OFFSET && i != 0))
            snprintf(out, size, "%d", i);
        else if (f->type == ATTR_ENUM && i != 0)
            snprintf(out, size, "%s", f->names[i]);
    }
}

void attrs_text(const struct node *n, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (const struct attr_field *f = n->op->attrs; f != NULL && f->name != NULL && at < size;
         f++) {
        char value[160];
        field_text(f, n->attrs, value, sizeof(value));
        if (value[0] != '\0')
            at +=
                (size_t)snprintf(out + at, size - at, "%s%s=%s", at > 0 ? " " : "", f->name, value);
    }
}
