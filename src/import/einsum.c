#include "import/einsum.h"

#include "graph/attrs.h"
#include "graph/attrs_move.h"
#include "graph/attrs_reduce.h"

#include <stdio.h>
#include <string.h>

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

static status bad_equation(const struct einsum_maker *m)
{
    return m->refuse(m->site);
}

/* A label that comes twice stands for a diagonal, which goes to the end. */
static status take_diagonals(const struct einsum_maker *m, struct labelled *x)
{
    for (int i = 0; i < x->rank; i++) {
        char label = x->label[i];
        const char *again = strchr(x->label + i + 1, label);
        if (again == NULL)
            continue;
        int k = (int)(again - x->label);
        TRY(m->add(m->site, "diagonal", &x->v, 1, &x->v));
        *(struct diagonal_attrs *)node_attrs(x->v->producer) =
            (struct diagonal_attrs){ .axis1 = i, .axis2 = k };
        memmove(x->label + k, x->label + k + 1, (size_t)(x->rank - k));
        memmove(x->label + i, x->label + i + 1, (size_t)(x->rank - 1 - i));
        x->rank--;
        x->label[x->rank - 1] = label;
        x->label[x->rank] = '\0';
        x->v->shape.rank = x->rank;
        i = -1;
    }
    return OK;
}

/* An ellipsis stands for the dimensions that have no label; they get labels of their own, '0' from the right. */
static status read_operand(const struct einsum_maker *m, const char *p, const char *end,
                           struct labelled *x)
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
        if (!letter || x->rank >= SHAPE_MAX)
            return bad_equation(m);
        x->label[x->rank++] = *p;
    }
    x->label[x->rank] = '\0';
    return x->rank == x->v->shape.rank ? take_diagonals(m, x) : bad_equation(m);
}

static int uses_of(const struct equation *q, char label)
{
    int n = 0;
    for (int i = 0; i < q->count; i++)
        n += place_of(&q->in[i], label) >= 0;
    return n;
}

/* Without "->" the result has the ellipsis, then, in order of the alphabet, the labels that appear once. */
static status implicit_out(const struct einsum_maker *m, struct equation *q)
{
    int n = 0;
    for (int c = '9'; c >= '0'; c--)
        if (uses_of(q, (char)c) > 0 && n < SHAPE_MAX)
            q->out[n++] = (char)c;
    for (int c = 'A'; c <= 'z'; c++)
        if (uses_of(q, (char)c) == 1) {
            if (n >= SHAPE_MAX)
                return bad_equation(m);
            q->out[n++] = (char)c;
        }
    q->out[n] = '\0';
    return OK;
}

static status explicit_out(const struct einsum_maker *m, const char *p, const char *end,
                           struct equation *q)
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
            return bad_equation(m);
        q->out[n++] = *p;
    }
    q->out[n] = '\0';
    return OK;
}

static status read_equation(const struct einsum_maker *m, struct str e, struct value *const *x,
                            struct equation *q)
{
    if (e.n == 0 || q->count < 1 || q->count > (int)ARRAY_LEN(q->in))
        return bad_equation(m);
    const char *p = e.p, *end = e.p + e.n, *arrow = end;
    for (const char *c = p; c + 1 < end && arrow == end; c++)
        if (c[0] == '-' && c[1] == '>')
            arrow = c;
    for (int i = 0; i < q->count; i++) {
        const char *comma = memchr(p, ',', (size_t)(arrow - p));
        const char *stop = comma != NULL ? comma : arrow;
        q->in[i].v = x[i];
        if ((comma == NULL) != (i == q->count - 1))
            return bad_equation(m);
        TRY(read_operand(m, p, stop, &q->in[i]));
        p = stop + 1;
    }
    return arrow == end ? implicit_out(m, q) : explicit_out(m, arrow + 2, end, q);
}

/* Sums over the labels of x that nobody else looks at. */
static status sum_alone(const struct einsum_maker *m, struct labelled *x, const char *wanted)
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
    TRY(m->add(m->site, "reduce", &x->v, 1, &x->v));
    *(struct reduce_attrs *)node_attrs(x->v->producer) =
        (struct reduce_attrs){ .mode = REDUCE_SUM, .axes = axes };
    x->v->shape.rank = x->rank = n;
    left[n] = '\0';
    memcpy(x->label, left, (size_t)n + 1);
    return OK;
}

/* x with its dimensions in the order of `labels`, and 1 for those that it has not. */
static status arrange(const struct einsum_maker *m, struct labelled *x, const char *labels,
                      struct value **out)
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
        TRY(m->add(m->site, "transpose", out, 1, out));
        *(struct transpose_attrs *)node_attrs((*out)->producer) = t;
    }
    if (fresh.count > 0) {
        TRY(m->add(m->site, "unsqueeze", out, 1, out));
        *(struct axes_attrs *)node_attrs((*out)->producer) =
            (struct axes_attrs){ .axes = fresh, .together = true };
    }
    (*out)->shape.rank = t.perm.count + fresh.count;
    return OK;
}

/* The last `count` dimensions (or, before `behind` others, those) become one; none becomes a dimension of 1. */
static status join_dims(const struct einsum_maker *m, struct value *x, int count, int behind,
                        struct value **out)
{
    int rank = x->shape.rank;
    *out = x;
    if (count == 0) {
        TRY(m->add(m->site, "unsqueeze", &x, 1, out));
        *(struct axes_attrs *)node_attrs((*out)->producer) =
            (struct axes_attrs){ .axes = { 1, { rank - behind } } };
        (*out)->shape.rank = rank + 1;
    } else if (count > 1) {
        TRY(m->add(m->site, "flatten", &x, 1, out));
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
static status join_pair(const struct einsum_maker *m, struct labelled *a, struct labelled *b,
                        const char *wanted)
{
    struct pairing p;
    char order[4 * SHAPE_MAX + 4];
    struct value *x, *y, *out;
    pair_labels(a, b, wanted, &p);
    int sums = (int)strlen(p.sum);
    if (strlen(p.lead) + (size_t)sums + 1 > SHAPE_MAX || strlen(p.lead) + 2 > SHAPE_MAX)
        return bad_equation(m);
    snprintf(order, sizeof(order), "%s%.*s%s", p.lead, p.row != '\0', &p.row, p.sum);
    TRY(arrange(m, a, order, &x));
    if (p.row == '\0')
        TRY(join_dims(m, x, 0, sums, &x));
    TRY(join_dims(m, x, sums, 0, &x));
    snprintf(order, sizeof(order), "%s%s%.*s", p.lead, p.sum, p.column != '\0', &p.column);
    TRY(arrange(m, b, order, &y));
    if (p.column == '\0')
        TRY(join_dims(m, y, 0, 0, &y));
    TRY(join_dims(m, y, sums, 1, &y));
    TRY(m->add(m->site, "matmul", (struct value *[]){ x, y }, 2, &out));
    ((struct matmul_attrs *)node_attrs(out->producer))->alpha = 1;
    struct attr_ints drop = { 0 };
    int lead = (int)strlen(p.lead);
    if (p.row == '\0')
        drop.v[drop.count++] = lead;
    if (p.column == '\0')
        drop.v[drop.count++] = lead + 1;
    if (drop.count > 0) {
        TRY(m->add(m->site, "squeeze", &out, 1, &out));
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

status einsum_build(const struct einsum_maker *m, struct str text, struct value *const *in,
                    int count, struct value **out)
{
    struct equation q = { .count = count };
    char wanted[10 * SHAPE_MAX];
    TRY(read_equation(m, text, in, &q));
    struct labelled *a = &q.in[0];
    for (int i = 1; i < q.count; i++) {
        struct labelled *b = &q.in[i];
        wanted_after(&q, i, wanted);
        TRY(sum_alone(m, a, wanted));
        wanted_after(&q, i + 1, wanted);
        for (int k = 0; k < a->rank; k++)
            if (strchr(wanted, a->label[k]) == NULL)
                add_label(wanted, a->label[k]);
        TRY(sum_alone(m, b, wanted));
        wanted_after(&q, i + 1, wanted);
        TRY(join_pair(m, a, b, wanted));
    }
    TRY(sum_alone(m, a, q.out));
    return arrange(m, a, q.out, out);
}
