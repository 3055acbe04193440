/* Products of matrices and vectors beyond mul and matmul: they become matmul and what surrounds it. */
#include "graph/attrs_move.h"
#include "graph/attrs_reduce.h"
#include "import/paddle/site.h"

#include <stdio.h>
#include <string.h>

static status add_product(struct site *s, struct value *x, struct value *y, float alpha,
                          struct value **out)
{
    struct value *in[] = { x, y };
    TRY(site_add1(s, "matmul", in, 2, out));
    ((struct matmul_attrs *)node_attrs((*out)->producer))->alpha = alpha;
    return OK;
}

static status add2(struct site *s, const char *op, struct value *a, struct value *b,
                   struct value **out)
{
    struct value *in[] = { a, b };
    return site_add1(s, op, in, 2, out);
}

static status import_product(struct site *s, const char *y_slot)
{
    struct value *x, *y, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, y_slot, &y));
    TRY(add_product(s, x, y, 1, &out));
    return site_bind(s, "Out", out);
}

static status import_bmm(struct site *s)
{
    return import_product(s, "Y");
}

static status import_mv(struct site *s)
{
    return import_product(s, "Vec");
}

/* The rank that the file declares for an output. */
static int declared_rank(const struct site *s, const char *slot, int otherwise)
{
    const struct var_desc *v = site_declared(s, slot);
    return v != NULL ? v->shape.rank : otherwise;
}

/* dot: over the last dimension, which older versions keep as 1. */
static status import_dot(struct site *s)
{
    struct value *x, *y, *product, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Y", &y));
    TRY(add2(s, "mul", x, y, &product));
    TRY(site_add1(s, "reduce", &product, 1, &out));
    *(struct reduce_attrs *)node_attrs(out->producer) =
        (struct reduce_attrs){ .mode = REDUCE_SUM,
                               .axes = { 1, { -1 } },
                               .keep_dims = declared_rank(s, "Out", 0) == x->shape.rank };
    return site_bind(s, "Out", out);
}

static status scaled(struct site *s, struct value *x, double by, struct value **out)
{
    *out = x;
    if (by == 1)
        return OK;
    TRY(site_add1(s, "affine", &x, 1, out));
    ((struct affine_attrs *)node_attrs((*out)->producer))->scale = (float)by;
    return OK;
}

/* addmm: Beta * Input + Alpha * X x Y. baddbmm: the same of stacks. */
static status import_addmm(struct site *s)
{
    struct value *x, *y, *add, *product, *out;
    TRY(site_in(s, "Input", &add));
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Y", &y));
    TRY(add_product(s, x, y, (float)attr_f64(s, "Alpha", 1), &product));
    TRY(scaled(s, add, attr_f64(s, "Beta", 1), &add));
    TRY(add2(s, "add", product, add, &out));
    return site_bind(s, "Out", out);
}

/* ---- einsum ---- */

/* An operand on its way: its value, and the label of each dimension. */
struct labelled {
    struct value *v;
    char label[SHAPE_MAX + 1];
    int rank;
};

struct equation {
    struct labelled in[8];
    int count;
    char out[SHAPE_MAX + 1]; /* terminated */
};

static int place_of(const struct labelled *x, char label)
{
    for (int i = 0; i < x->rank; i++)
        if (x->label[i] == label)
            return i;
    return -1;
}

static status bad_equation(struct site *s)
{
    struct str e = attr_str(s, "equation", "");
    return site_fault(s, UNSUPPORTED, "the equation '%.*s'", STR_ARG(e));
}

/* An ellipsis stands for the dimensions that have no label; they get labels of their own, '0' from the right. */
static status read_operand(struct site *s, const char *p, const char *end, struct labelled *x)
{
    int named = 0, free_dims;
    for (const char *c = p; c < end; c++)
        named += *c != '.' && *c != ' ';
    free_dims = x->v->shape.rank - named;
    x->rank = 0;
    for (; p < end; p++) {
        if (*p == ' ')
            continue;
        if (*p == '.' && end - p >= 3 && p[1] == '.' && p[2] == '.' && free_dims >= 0) {
            for (int k = free_dims - 1; k >= 0 && x->rank < SHAPE_MAX; k--)
                x->label[x->rank++] = (char)('0' + k);
            p += 2;
            continue;
        }
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        if (!letter || x->rank >= SHAPE_MAX || place_of(x, *p) >= 0)
            return bad_equation(s);
        x->label[x->rank++] = *p;
    }
    x->label[x->rank] = '\0';
    return x->rank == x->v->shape.rank ? OK : bad_equation(s);
}

static int uses_of(const struct equation *q, char label)
{
    int n = 0;
    for (int i = 0; i < q->count; i++)
        n += place_of(&q->in[i], label) >= 0;
    return n;
}

/* Without "->" the result has the ellipsis, then, in order of the alphabet, the labels that appear once. */
static status implicit_out(struct site *s, struct equation *q)
{
    int n = 0;
    for (int c = '9'; c >= '0'; c--)
        if (uses_of(q, (char)c) > 0 && n < SHAPE_MAX)
            q->out[n++] = (char)c;
    for (int c = 'A'; c <= 'z'; c++)
        if (uses_of(q, (char)c) == 1) {
            if (n >= SHAPE_MAX)
                return bad_equation(s);
            q->out[n++] = (char)c;
        }
    q->out[n] = '\0';
    return OK;
}

static status explicit_out(struct site *s, const char *p, const char *end, struct equation *q)
{
    int n = 0;
    for (; p < end; p++) {
        if (*p == ' ')
            continue;
        if (*p == '.' && end - p >= 3) {
            for (int c = '9'; c >= '0'; c--)
                if (uses_of(q, (char)c) > 0 && n < SHAPE_MAX)
                    q->out[n++] = (char)c;
            p += 2;
            continue;
        }
        if (n >= SHAPE_MAX || uses_of(q, *p) == 0 || memchr(q->out, *p, (size_t)n) != NULL)
            return bad_equation(s);
        q->out[n++] = *p;
    }
    q->out[n] = '\0';
    return OK;
}

static status read_equation(struct site *s, struct equation *q)
{
    struct str e = attr_str(s, "equation", "");
    struct value **x;
    TRY(site_ins(s, "Operands", &x, &q->count));
    if (q->count > (int)ARRAY_LEN(q->in))
        return bad_equation(s);
    const char *p = e.p, *end = e.p + e.n, *arrow = end;
    for (const char *c = p; c + 1 < end && arrow == end; c++)
        if (c[0] == '-' && c[1] == '>')
            arrow = c;
    for (int i = 0; i < q->count; i++) {
        const char *comma = memchr(p, ',', (size_t)(arrow - p));
        const char *stop = comma != NULL ? comma : arrow;
        q->in[i].v = x[i];
        if ((comma == NULL) != (i == q->count - 1))
            return bad_equation(s);
        TRY(read_operand(s, p, stop, &q->in[i]));
        p = stop + 1;
    }
    return arrow == end ? implicit_out(s, q) : explicit_out(s, arrow + 2, end, q);
}

/* Sums over the labels of x that nobody else looks at. */
static status sum_alone(struct site *s, struct labelled *x, const char *wanted)
{
    struct attr_ints axes = { 0 };
    char left[SHAPE_MAX + 1];
    int n = 0;
    for (int i = 0; i < x->rank; i++) {
        if (strchr(wanted, x->label[i]) == NULL)
            axes.v[axes.count++] = i;
        else
            left[n++] = x->label[i];
    }
    if (axes.count == 0)
        return OK;
    TRY(site_add1(s, "reduce", &x->v, 1, &x->v));
    *(struct reduce_attrs *)node_attrs(x->v->producer) =
        (struct reduce_attrs){ .mode = REDUCE_SUM, .axes = axes };
    x->v->shape.rank = x->rank = n;
    left[n] = '\0';
    memcpy(x->label, left, (size_t)n + 1);
    return OK;
}

/* x with its dimensions in the order of `labels`, and 1 for those that it has not. */
static status arrange(struct site *s, struct labelled *x, const char *labels, struct value **out)
{
    struct transpose_attrs t = { .perm.count = 0 };
    struct attr_ints fresh = { 0 };
    bool moved = false;
    for (int i = 0; labels[i] != '\0'; i++) {
        int at = place_of(x, labels[i]);
        if (at < 0) {
            fresh.v[fresh.count++] = i;
            continue;
        }
        moved |= at != t.perm.count;
        t.perm.v[t.perm.count++] = at;
    }
    *out = x->v;
    if (moved) {
        TRY(site_add1(s, "transpose", out, 1, out));
        *(struct transpose_attrs *)node_attrs((*out)->producer) = t;
    }
    if (fresh.count > 0) {
        TRY(site_add1(s, "unsqueeze", out, 1, out));
        *(struct axes_attrs *)node_attrs((*out)->producer) =
            (struct axes_attrs){ .axes = fresh, .together = true };
    }
    (*out)->shape.rank = t.perm.count + fresh.count;
    return OK;
}

/* The last `count` dimensions (or, before `behind` others, those) become one; none becomes a dimension of 1. */
static status join_dims(struct site *s, struct value *x, int count, int behind, struct value **out)
{
    int rank = x->shape.rank;
    *out = x;
    if (count == 0) {
        TRY(site_add1(s, "unsqueeze", &x, 1, out));
        *(struct axes_attrs *)node_attrs((*out)->producer) =
            (struct axes_attrs){ .axes = { 1, { rank - behind } } };
        (*out)->shape.rank = rank + 1;
    } else if (count > 1) {
        TRY(site_add1(s, "flatten", &x, 1, out));
        *(struct flatten_attrs *)node_attrs((*out)->producer) =
            (struct flatten_attrs){ rank - behind - count, rank - behind - 1 };
        (*out)->shape.rank = rank - count + 1;
    }
    return OK;
}

/* How a pair is laid out: what leads is batch for the product, `row` of a, `column` of b ('\0': none), `sum` is summed. */
struct pairing {
    char lead[3 * SHAPE_MAX + 1], sum[SHAPE_MAX + 1], row, column;
};

static void add_label(char *list, char label)
{
    size_t n = strlen(list);
    list[n] = label;
    list[n + 1] = '\0';
}

static void pair_labels(const struct labelled *a, const struct labelled *b, const char *wanted,
                        struct pairing *p)
{
    *p = (struct pairing){ .row = '\0' };
    for (int i = a->rank - 1; i >= 0 && p->row == '\0'; i--)
        if (place_of(b, a->label[i]) < 0)
            p->row = a->label[i];
    for (int i = b->rank - 1; i >= 0 && p->column == '\0'; i--)
        if (place_of(a, b->label[i]) < 0)
            p->column = b->label[i];
    for (int i = 0; i < a->rank; i++) {
        char l = a->label[i];
        if (place_of(b, l) >= 0 && strchr(wanted, l) == NULL)
            add_label(p->sum, l);
        else if (l != p->row)
            add_label(p->lead, l);
    }
    for (int i = 0; i < b->rank; i++)
        if (place_of(a, b->label[i]) < 0 && b->label[i] != p->column)
            add_label(p->lead, b->label[i]);
}

/* a and b become one: the product over what neither the result nor a later operand wants. */
static status join_pair(struct site *s, struct labelled *a, struct labelled *b, const char *wanted)
{
    struct pairing p;
    char order[4 * SHAPE_MAX + 4];
    struct value *x, *y, *out;
    pair_labels(a, b, wanted, &p);
    int sums = (int)strlen(p.sum);
    if (strlen(p.lead) + (size_t)sums + 1 > SHAPE_MAX || strlen(p.lead) + 2 > SHAPE_MAX)
        return bad_equation(s);
    snprintf(order, sizeof(order), "%s%.*s%s", p.lead, p.row != '\0', &p.row, p.sum);
    TRY(arrange(s, a, order, &x));
    if (p.row == '\0')
        TRY(join_dims(s, x, 0, sums, &x));
    TRY(join_dims(s, x, sums, 0, &x));
    snprintf(order, sizeof(order), "%s%s%.*s", p.lead, p.sum, p.column != '\0', &p.column);
    TRY(arrange(s, b, order, &y));
    if (p.column == '\0')
        TRY(join_dims(s, y, 0, 0, &y));
    TRY(join_dims(s, y, sums, 1, &y));
    TRY(add_product(s, x, y, 1, &out));
    struct attr_ints drop = { 0 };
    int lead = (int)strlen(p.lead);
    if (p.row == '\0')
        drop.v[drop.count++] = lead;
    if (p.column == '\0')
        drop.v[drop.count++] = lead + 1;
    if (drop.count > 0) {
        TRY(site_add1(s, "squeeze", &out, 1, &out));
        ((struct axes_attrs *)node_attrs(out->producer))->axes = drop;
    }
    snprintf(a->label, sizeof(a->label), "%s%.*s%.*s", p.lead, p.row != '\0', &p.row,
             p.column != '\0', &p.column);
    a->v = out;
    a->rank = out->shape.rank = (int)strlen(a->label);
    return OK;
}

/* Labels that the result or an operand from `from` on has. */
static void wanted_after(const struct equation *q, int from, char *out)
{
    snprintf(out, SHAPE_MAX + 1, "%s", q->out);
    for (int i = from; i < q->count; i++)
        for (int k = 0; k < q->in[i].rank; k++)
            if (strchr(out, q->in[i].label[k]) == NULL)
                add_label(out, q->in[i].label[k]);
}

static status import_einsum(struct site *s)
{
    struct equation q = { .count = 0 };
    struct value *out, *first;
    char wanted[10 * SHAPE_MAX];
    TRY(read_equation(s, &q));
    struct labelled *a = &q.in[0];
    first = a->v;
    for (int i = 1; i < q.count; i++) {
        struct labelled *b = &q.in[i];
        wanted_after(&q, i, wanted);
        TRY(sum_alone(s, a, wanted));
        wanted_after(&q, i + 1, wanted);
        for (int k = 0; k < a->rank; k++)
            if (strchr(wanted, a->label[k]) == NULL)
                add_label(wanted, a->label[k]);
        TRY(sum_alone(s, b, wanted));
        wanted_after(&q, i + 1, wanted);
        TRY(join_pair(s, a, b, wanted));
    }
    TRY(sum_alone(s, a, q.out));
    TRY(arrange(s, a, q.out, &out));
    if (out == first)
        TRY(site_add1(s, "identity", &out, 1, &out));
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_linear[] = {
    { "bmm",     "matmul", import_bmm,    LOD_OWN },
    { "mv",      "matmul", import_mv,     LOD_OWN },
    { "dot",     "reduce", import_dot,    LOD_OWN },
    { "addmm",   "matmul", import_addmm,  LOD_OWN },
    { "baddbmm", "matmul", import_addmm,  LOD_OWN },
    { "einsum",  "matmul", import_einsum, LOD_OWN },
    { 0 },
};
// clang-format on
