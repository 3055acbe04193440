#include "graph/attrs_attention.h"
#include "graph/ops.h"

/* One of query, key and value. */
struct operand {
    const struct shape *shape;
    bool heads_first;
    int32_t part; /* of an operand that holds several */
};

static int64_t heads_of(const struct operand *o)
{
    return o->shape->dim[o->shape->rank == 5 ? 3 : o->heads_first ? 1 : 2];
}

/* An operand of one image, or of one head, serves all. */
static struct attention_side side_of(const struct operand *o)
{
    const struct shape *s = o->shape;
    int64_t parts = s->rank == 5 ? s->dim[2] : 1, width = s->dim[s->rank - 1];
    int64_t tokens = s->dim[o->heads_first ? 2 : 1], heads = heads_of(o);
    int64_t row = parts * heads * width;
    return (struct attention_side){ tokens,
                                    width,
                                    s->dim[0] == 1 ? 0 : tokens * row,
                                    o->heads_first ? width : row,
                                    heads == 1 ? 0 : (o->heads_first ? tokens * width : width),
                                    o->part * heads * width };
}

static status check_operand(const struct operand *o, struct err *e)
{
    const struct shape *s = o->shape;
    if (s->rank == 4)
        return OK;
    if (s->rank != 5 || o->heads_first)
        return err_set(e, INVALID, "expected 4 dimensions of query, key and value");
    if (o->part < 0 || o->part >= s->dim[2])
        return err_set(e, INVALID, "part %d of an operand that holds %lld", o->part,
                       (long long)s->dim[2]);
    return OK;
}

/* The greater of two that agree or of which one is 1; false: they do neither. */
static bool join(int64_t a, int64_t *both)
{
    if (a != *both && a != 1 && *both != 1)
        return false;
    *both = *both == 1 ? a : *both;
    return true;
}

status attention_dims(const struct attention_attrs *a, const struct shape *q, const struct shape *k,
                      const struct shape *v, struct attention_dims *out, struct err *e)
{
    char x[SHAPE_TEXT_MAX], y[SHAPE_TEXT_MAX], z[SHAPE_TEXT_MAX];
    const struct operand query = { q, a->q_heads_first, a->q_part },
                         key = { k, a->k_heads_first, a->k_part },
                         value = { v, a->v_heads_first, a->v_part };
    TRY(check_operand(&query, e));
    TRY(check_operand(&key, e));
    TRY(check_operand(&value, e));
    *out = (struct attention_dims){ q->dim[0],     heads_of(&query), side_of(&query),
                                    side_of(&key), side_of(&value),  { 0 } };
    if (!join(k->dim[0], &out->batch) || !join(v->dim[0], &out->batch) ||
        !join(heads_of(&key), &out->heads) || !join(heads_of(&value), &out->heads) ||
        out->q.width != out->k.width || out->k.tokens != out->v.tokens)
        return err_set(e, INVALID, "query %s, key %s and value %s do not agree",
                       shape_text(q, x, sizeof(x)), shape_text(k, y, sizeof(y)),
                       shape_text(v, z, sizeof(z)));
    struct shape o = a->out_heads_first
                         ? SHAPE(out->batch, out->heads, out->q.tokens, out->v.width)
                         : SHAPE(out->batch, out->q.tokens, out->heads, out->v.width);
    out->out = side_of(&(struct operand){ &o, a->out_heads_first, 0 });
    return OK;
}

static status check_mask(const struct type *mask, const struct attention_dims *d, struct err *e)
{
    char text[SHAPE_TEXT_MAX];
    struct shape full = SHAPE(d->batch, d->heads, d->q.tokens, d->k.tokens), both;
    TRY(want_dtype(mask, DTYPE_F32, "its mask", e));
    if (shape_broadcast(&mask->shape, &full, &both) && shape_eq(&both, &full))
        return OK;
    return err_set(e, INVALID, "mask %s does not fit",
                   shape_text(&mask->shape, text, sizeof(text)));
}

static status infer(const struct node *n, const struct type *in, struct type *out, struct err *e)
{
    const struct attention_attrs *a = n->attrs;
    struct attention_dims d;
    for (int i = 0; i < 3; i++)
        TRY(want_dtype(&in[i], DTYPE_F32, "its operands", e));
    TRY(attention_dims(a, &in[0].shape, &in[1].shape, &in[2].shape, &d, e));
    if (n->in_count > 3 && n->in[3] != NULL)
        TRY(check_mask(&in[3], &d, e));
    out[0] = (struct type){ DTYPE_F32, SHAPE(d.batch, d.q.tokens, d.heads, d.v.width), NULL };
    if (a->out_heads_first)
        out[0].shape = SHAPE(d.batch, d.heads, d.q.tokens, d.v.width);
    return OK;
}

static const struct attr_field fields[] = {
    FIELD(attention_attrs, scale, ATTR_F32),
    FIELD(attention_attrs, q_heads_first, ATTR_BOOL),
    FIELD(attention_attrs, k_heads_first, ATTR_BOOL),
    FIELD(attention_attrs, v_heads_first, ATTR_BOOL),
    FIELD(attention_attrs, out_heads_first, ATTR_BOOL),
    FIELD(attention_attrs, q_part, ATTR_I32),
    FIELD(attention_attrs, k_part, ATTR_I32),
    FIELD(attention_attrs, v_part, ATTR_I32),
    { 0 },
};

const struct op ops_attention[] = {
    { "attention", 3, 4, 1, 0, fields, sizeof(struct attention_attrs), infer },
    { 0 },
};
