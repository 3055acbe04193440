/* Operators that move elements: most are one walk over the input in steps (struct view). */
#include "graph/attrs_move.h"
#include "graph/ops.h"

#include <string.h>

/* ---- what they share ---- */

static bool known_ints(const struct tensor *t, struct attr_ints *out)
{
    int64_t n = shape_numel(&t->shape);
    if ((t->dtype != DTYPE_I64 && t->dtype != DTYPE_I32) || n < 0 || n > ATTR_INTS_MAX)
        return false;
    out->count = (int32_t)n;
    for (int64_t i = 0; i < n; i++)
        out->v[i] =
            t->dtype == DTYPE_I64 ? ((const int64_t *)t->data)[i] : ((const int32_t *)t->data)[i];
    return true;
}

status ints_of(const struct node *n, const struct type *in, int i, const struct attr_ints *attr,
               const char *what, struct attr_ints *out, struct err *e)
{
    char text[SHAPE_TEXT_MAX];
    if (i >= n->in_count || n->in[i] == NULL) {
        *out = *attr;
        return OK;
    }
    if (in[i].constant == NULL)
        return err_set(e, UNSUPPORTED,
                       "%s ('%s') is computed from the request's numbers; only what follows from "
                       "the shapes of a request is supported there",
                       what, n->in[i]->name);
    if (!known_ints(in[i].constant, out))
        return err_set(e, INVALID, "%s ('%s'): expected at most %d integers, got %s %s", what,
                       n->in[i]->name, ATTR_INTS_MAX, dtype_name(in[i].dtype),
                       shape_text(&in[i].shape, text, sizeof(text)));
    return OK;
}

/* x as it lies: the start of every view. */
static void view_of(const struct shape *x, struct view *v)
{
    int64_t step = 1;
    *v = (struct view){ .shape = *x, .rank = x->rank };
    for (int i = x->rank - 1; i >= 0; i--) {
        v->dim[i] = x->dim[i];
        v->step[i] = step;
        step *= x->dim[i] > 0 ? x->dim[i] : 1;
    }
}

static status axis_of(const struct shape *x, int64_t axis, int *out, struct err *e)
{
    *out = shape_axis(x, axis);
    return *out >= 0 ? OK
                     : err_set(e, INVALID, "axis %lld does not fit %d dimensions", (long long)axis,
                               x->rank);
}

static status infer_view(view_fn *fn, const struct node *n, const struct type *in, struct type *out,
                         struct err *e)
{
    struct view v;
    TRY(fn(n, in, &v, e));
    out[0] = (struct type){ in[0].dtype, v.shape, NULL };
    return OK;
}

#define INFER_VIEW(op)                                                                      \
    static status infer_##op(const struct node *n, const struct type *in, struct type *out, \
                             struct err *e)                                                 \
    {                                                                                       \
        return infer_view(op##_view, n, in, out, e);                                        \
    }

/* ---- transpose, flip ---- */

status transpose_view(const struct node *n, const struct type *in, struct view *out, struct err *e)
{
    const struct attr_ints *perm = &((const struct transpose_attrs *)n->attrs)->perm;
    struct view x;
    bool seen[SHAPE_MAX] = { false };
    view_of(&in[0].shape, &x);
    if (perm->count != 0 && perm->count != x.rank)
        return err_set(e, INVALID, "its permutation names %d dimensions, the input has %d",
                       perm->count, x.rank);
    *out = x;
    for (int i = 0; i < x.rank; i++) {
        int from = perm->count == 0 ? x.rank - 1 - i : shape_axis(&x.shape, perm->v[i]);
        if (from < 0 || seen[from])
            return err_set(e, INVALID, "its permutation is none of %d dimensions", x.rank);
        seen[from] = true;
        out->shape.dim[i] = out->dim[i] = x.dim[from];
        out->step[i] = x.step[from];
    }
    return OK;
}

status flip_view(const struct node *n, const struct type *in, struct view *out, struct err *e)
{
    const struct attr_ints *axes = &((const struct axes_attrs *)n->attrs)->axes;
    bool seen[SHAPE_MAX] = { false };
    view_of(&in[0].shape, out);
    for (int i = 0; i < axes->count; i++) {
        int axis;
        TRY(axis_of(&in[0].shape, axes->v[i], &axis, e));
        if (seen[axis])
            return err_set(e, INVALID, "axis %d is named twice", axis);
        seen[axis] = true;
        out->offset += (out->dim[axis] - 1) * out->step[axis];
        out->step[axis] = -out->step[axis];
    }
    return OK;
}

static int64_t diagonal_length(int64_t rows, int64_t columns, int64_t offset)
{
    rows += offset < 0 ? offset : 0;
    columns -= offset > 0 ? offset : 0;
    int64_t n = rows < columns ? rows : columns;
    return n > 0 ? n : 0;
}

status diagonal_view(const struct node *n, const struct type *in, struct view *out, struct err *e)
{
    const struct diagonal_attrs *a = n->attrs;
    struct view x;
    int row, column;
    TRY(axis_of(&in[0].shape, a->axis1, &row, e));
    TRY(axis_of(&in[0].shape, a->axis2, &column, e));
    if (row == column)
        return err_set(e, INVALID, "axis %d is named twice", row);
    view_of(&in[0].shape, &x);
    *out = (struct view){ .rank = 0 };
    for (int i = 0; i < x.rank; i++) {
        if (i == row || i == column)
            continue;
        out->dim[out->rank] = x.dim[i];
        out->step[out->rank++] = x.step[i];
    }
    int64_t offset = a->offset, length = diagonal_length(x.dim[row], x.dim[column], offset);
    if (length > 0)
        out->offset = offset > 0 ? offset * x.step[column] : -offset * x.step[row];
    out->dim[out->rank] = length;
    out->step[out->rank++] = x.step[row] + x.step[column];
    out->shape.rank = out->rank;
    memcpy(out->shape.dim, out->dim, sizeof(out->shape.dim));
    return OK;
}

/* ---- slice, split_part ---- */

struct range {
    int64_t start, count, step;
};

/* NumPy's slice.indices(): a bound below 0 counts from the end, then both are cut to what there is. */
static int64_t cut(int64_t bound, int64_t dim, int64_t low, int64_t high)
{
    if (bound < 0)
        bound = bound < -dim ? -1 : bound + dim;
    return bound < low ? low : bound > high ? high : bound;
}

static struct range range_of(int64_t start, int64_t end, int64_t step, int64_t dim)
{
    struct range r = { .step = step };
    if (step > 0) {
        int64_t stop = cut(end, dim, 0, dim);
        r.start = cut(start, dim, 0, dim);
        r.count = stop > r.start ? (stop - r.start - 1) / step + 1 : 0;
    } else {
        int64_t stop = cut(end, dim, -1, dim - 1);
        uint64_t back = 0 - (uint64_t)step; /* INT64_MIN has no positive */
        r.start = cut(start, dim, -1, dim - 1);
        r.count = r.start > stop ? (int64_t)((uint64_t)(r.start - stop - 1) / back) + 1 : 0;
    }
    return r;
}

/* Paddle's reading of an end for steps backwards, as NumPy's. */
static int64_t end_backwards(int64_t end, int64_t dim)
{
    if (end == -1)
        return INT64_MIN;
    return end < 0 && end < -dim ? -dim : end;
}

static void take_range(struct view *v, int axis, struct range r)
{
    v->offset += r.count > 0 ? r.start * v->step[axis] : 0;
    v->shape.dim[axis] = v->dim[axis] = r.count;
    v->step[axis] = r.count > 1 ? v->step[axis] * r.step : 0;
}

struct slice_bounds {
    struct attr_ints starts, ends, axes, steps;
};

static status read_bounds(const struct node *n, const struct type *in, struct slice_bounds *b,
                          struct err *e)
{
    const struct slice_attrs *a = n->attrs;
    TRY(ints_of(n, in, 1, &a->starts, "its starts", &b->starts, e));
    TRY(ints_of(n, in, 2, &a->ends, "its ends", &b->ends, e));
    TRY(ints_of(n, in, 3, &a->axes, "its axes", &b->axes, e));
    TRY(ints_of(n, in, 4, &a->steps, "its steps", &b->steps, e));
    int count = b->starts.count;
    if (b->ends.count != count || (b->axes.count != count && b->axes.count != 0) ||
        (b->steps.count != count && b->steps.count != 0) || count > in[0].shape.rank)
        return err_set(e, INVALID,
                       "%d starts, %d ends, %d axes and %d steps for an input of %d dimensions",
                       count, b->ends.count, b->axes.count, b->steps.count, in[0].shape.rank);
    return OK;
}

status slice_view(const struct node *n, const struct type *in, struct view *out, struct err *e)
{
    struct slice_bounds b;
    bool seen[SHAPE_MAX] = { false };
    TRY(read_bounds(n, in, &b, e));
    view_of(&in[0].shape, out);
    for (int i = 0; i < b.starts.count; i++) {
        int axis;
        int64_t step = b.steps.count > 0 ? b.steps.v[i] : 1;
        TRY(axis_of(&in[0].shape, b.axes.count > 0 ? b.axes.v[i] : i, &axis, e));
        if (step == 0 || seen[axis])
            return err_set(e, INVALID, step == 0 ? "a step of 0" : "an axis is named twice");
        seen[axis] = true;
        int64_t end = b.ends.v[i], dim = in[0].shape.dim[axis];
        if (step < 0 && ((const struct slice_attrs *)n->attrs)->front)
            end = end_backwards(end, dim);
        take_range(out, axis, range_of(b.starts.v[i], end, step, dim));
    }
    return OK;
}

static status equal_part(const struct split_attrs *a, int64_t dim, struct range *out, struct err *e)
{
    if (a->index < 0 || a->index >= a->count || dim % a->count != 0)
        return err_set(e, INVALID, "%lld elements are not part %d of %d equal ones", (long long)dim,
                       a->index, a->count);
    int64_t size = dim / a->count;
    *out = (struct range){ a->index * size, size, 1 };
    return OK;
}

/* The one section of -1 gets what the others leave; false where they do not add up to dim. */
static bool fill_sections(struct attr_ints *s, int64_t dim)
{
    int64_t sum = 0, open = -1;
    for (int i = 0; i < s->count; i++) {
        if (s->v[i] == -1 && open < 0)
            open = i;
        else if (s->v[i] < 0 || __builtin_add_overflow(sum, s->v[i], &sum))
            return false;
    }
    if (open >= 0 && sum <= dim) {
        s->v[open] = dim - sum;
        return true;
    }
    return open < 0 && sum == dim;
}

static status section_part(const struct split_attrs *a, struct attr_ints *sections, int64_t dim,
                           struct range *out, struct err *e)
{
    if (a->index < 0 || a->index >= sections->count || !fill_sections(sections, dim))
        return err_set(e, INVALID, "its %d sections do not add up to the %lld elements of axis %d",
                       sections->count, (long long)dim, a->axis);
    *out = (struct range){ 0, sections->v[a->index], 1 };
    for (int i = 0; i < a->index; i++)
        out->start += sections->v[i];
    return OK;
}

status split_view(const struct node *n, const struct type *in, struct view *out, struct err *e)
{
    const struct split_attrs *a = n->attrs;
    struct attr_ints sections;
    struct range r = { 0 };
    int axis;
    TRY(axis_of(&in[0].shape, a->axis, &axis, e));
    TRY(ints_of(n, in, 1, &a->sections, "its sections", &sections, e));
    int64_t dim = in[0].shape.dim[axis];
    TRY(a->count > 0 ? equal_part(a, dim, &r, e) : section_part(a, &sections, dim, &r, e));
    view_of(&in[0].shape, out);
    take_range(out, axis, r);
    return OK;
}

/* ---- expand, tile ---- */

/* x repeated to `to`, aligned at the last dimension. */
static status broadcast_view(const struct shape *x, const struct shape *to, struct view *out,
                             struct err *e)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    struct view from;
    int lead = to->rank - x->rank;
    view_of(x, &from);
    *out = (struct view){ .shape = *to, .rank = to->rank };
    for (int i = 0; i < to->rank; i++) {
        int64_t dim = i >= lead ? x->dim[i - lead] : 1;
        if (dim != to->dim[i] && dim != 1)
            lead = -1;
        if (lead < 0)
            return err_set(e, INVALID, "shape %s cannot be repeated to %s",
                           shape_text(x, a, sizeof(a)), shape_text(to, b, sizeof(b)));
        out->dim[i] = to->dim[i];
        out->step[i] = dim == 1 ? 0 : from.step[i - lead];
    }
    return OK;
}

status expand_view(const struct node *n, const struct type *in, struct view *out, struct err *e)
{
    const struct expand_attrs *a = n->attrs;
    const struct shape *x = &in[0].shape;
    struct attr_ints to;
    TRY(ints_of(n, in, 1, &a->shape, "its shape", &to, e));
    int rank = a->both && to.count < x->rank ? x->rank : to.count;
    if (rank > SHAPE_MAX || rank < x->rank)
        return err_set(e, INVALID, "an input of %d dimensions cannot be repeated to %d", x->rank,
                       rank);
    struct shape s = { .rank = rank };
    for (int i = 0; i < rank; i++) {
        int k = i - (rank - x->rank), t = i - (rank - to.count);
        int64_t dim = k >= 0 ? x->dim[k] : 1, want = t >= 0 ? to.v[t] : 1;
        bool keep = want == -1 || (a->both && want == 1);
        if (want < -1 || (want == -1 && k < 0))
            return err_set(e, INVALID, "its shape holds %lld at place %d", (long long)want, i);
        s.dim[i] = keep ? dim : want;
    }
    return broadcast_view(x, &s, out, e);
}

status expand_as_view(const struct node *n, const struct type *in, struct view *out, struct err *e)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    struct shape to = in[1].shape, wider;
    for (int i = 2; i < n->in_count; i++, to = wider)
        if (!shape_broadcast(&to, &in[i].shape, &wider))
            return err_set(e, INVALID, "shapes %s and %s do not broadcast",
                           shape_text(&to, a, sizeof(a)), shape_text(&in[i].shape, b, sizeof(b)));
    if (to.rank < in[0].shape.rank)
        return err_set(e, INVALID, "an input of %d dimensions cannot be repeated to %d",
                       in[0].shape.rank, to.rank);
    return broadcast_view(&in[0].shape, &to, out, e);
}

status tile_view(const struct node *n, const struct type *in, struct view *out, struct err *e)
{
    const struct shape *x = &in[0].shape;
    struct attr_ints repeats;
    struct view from;
    TRY(ints_of(n, in, 1, &((const struct tile_attrs *)n->attrs)->repeats, "its repeats", &repeats,
                e));
    int rank = repeats.count > x->rank ? repeats.count : x->rank;
    if (rank > SHAPE_MAX)
        return err_set(e, UNSUPPORTED, "a result of %d dimensions, at most %d", rank, SHAPE_MAX);
    view_of(x, &from);
    *out = (struct view){ .shape.rank = rank, .rank = 2 * rank };
    for (int i = 0; i < rank; i++) {
        int k = i - (rank - x->rank), r = i - (rank - repeats.count);
        int64_t dim = k >= 0 ? x->dim[k] : 1, times = r >= 0 ? repeats.v[r] : 1;
        if (times < 0 || __builtin_mul_overflow(dim, times, &out->shape.dim[i]))
            return err_set(e, INVALID, "it repeats %lld elements %lld times", (long long)dim,
                           (long long)times);
        out->dim[2 * i] = times;
        out->dim[2 * i + 1] = dim;
        out->step[2 * i + 1] = k >= 0 ? from.step[k] : 0;
    }
    return OK;
}

INFER_VIEW(transpose)
INFER_VIEW(flip)
INFER_VIEW(diagonal)
INFER_VIEW(slice)
INFER_VIEW(split)
INFER_VIEW(expand)
INFER_VIEW(expand_as)
INFER_VIEW(tile)

/* ---- squeeze, unsqueeze ---- */

static status infer_squeeze(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    const struct axes_attrs *a = n->attrs;
    const struct shape *x = &in[0].shape;
    struct attr_ints axes;
    bool drop[SHAPE_MAX] = { false };
    TRY(ints_of(n, in, 1, &a->axes, "its axes", &axes, e));
    for (int i = 0; i < axes.count; i++) {
        int axis;
        TRY(axis_of(x, axes.v[i], &axis, e));
        if (x->dim[axis] != 1 && !a->lenient)
            return err_set(e, INVALID, "axis %d is %lld, expected 1", axis,
                           (long long)x->dim[axis]);
        drop[axis] = x->dim[axis] == 1;
    }
    struct shape s = { .rank = 0 };
    for (int i = 0; i < x->rank; i++)
        if (axes.count > 0 ? !drop[i] : x->dim[i] != 1)
            s.dim[s.rank++] = x->dim[i];
    out[0] = (struct type){ in[0].dtype, s, NULL };
    return OK;
}

static void insert_one(struct shape *s, int at)
{
    memmove(s->dim + at + 1, s->dim + at, (size_t)(s->rank - at) * sizeof(s->dim[0]));
    s->dim[at] = 1;
    s->rank++;
}

/* Which of the result's dimensions are new: all axes are places in the result. */
static status insert_together(struct shape *s, const struct attr_ints *axes, struct err *e)
{
    bool fresh[SHAPE_MAX] = { false };
    struct shape wide = { .rank = s->rank + axes->count };
    for (int i = 0; i < axes->count; i++) {
        int axis;
        TRY(axis_of(&wide, axes->v[i], &axis, e));
        if (fresh[axis])
            return err_set(e, INVALID, "axis %d is named twice", axis);
        fresh[axis] = true;
    }
    for (int i = 0; i < wide.rank; i++)
        if (fresh[i])
            insert_one(s, i);
    return OK;
}

static status insert_in_turn(struct shape *s, const struct attr_ints *axes, struct err *e)
{
    for (int i = 0; i < axes->count; i++) {
        int axis;
        struct shape wide = { .rank = s->rank + 1 };
        TRY(axis_of(&wide, axes->v[i], &axis, e));
        insert_one(s, axis);
    }
    return OK;
}

static status infer_unsqueeze(const struct node *n, const struct type *in, struct type *out,
                              struct err *e)
{
    const struct axes_attrs *a = n->attrs;
    struct attr_ints axes;
    struct shape s = in[0].shape;
    TRY(ints_of(n, in, 1, &a->axes, "its axes", &axes, e));
    if (s.rank + axes.count > SHAPE_MAX)
        return err_set(e, UNSUPPORTED, "a result of %d dimensions, at most %d", s.rank + axes.count,
                       SHAPE_MAX);
    TRY(a->together ? insert_together(&s, &axes, e) : insert_in_turn(&s, &axes, e));
    out[0] = (struct type){ in[0].dtype, s, NULL };
    return OK;
}

/* ---- roll, triangle ---- */

static status infer_roll(const struct node *n, const struct type *in, struct type *out,
                         struct err *e)
{
    const struct roll_attrs *a = n->attrs;
    int axis;
    if (a->axes.count != a->shifts.count && !(a->axes.count == 0 && a->shifts.count == 1))
        return err_set(e, INVALID, "%d shifts for %d axes", a->shifts.count, a->axes.count);
    for (int i = 0; i < a->axes.count; i++)
        TRY(axis_of(&in[0].shape, a->axes.v[i], &axis, e));
    return infer_same(n, in, out, e);
}

static status infer_triangle(const struct node *n, const struct type *in, struct type *out,
                             struct err *e)
{
    if (in[0].shape.rank < 2)
        return err_set(e, INVALID, "expected matrices, got %d dimensions", in[0].shape.rank);
    return infer_same(n, in, out, e);
}

// clang-format off
static const struct attr_field transpose_fields[] = {
    FIELD(transpose_attrs, perm, ATTR_I64S), { 0 },
};
static const struct attr_field axes_fields[] = {
    FIELD(axes_attrs, axes, ATTR_I64S), FIELD(axes_attrs, together, ATTR_BOOL),
    FIELD(axes_attrs, lenient, ATTR_BOOL), { 0 },
};
static const struct attr_field diagonal_fields[] = {
    FIELD(diagonal_attrs, offset, ATTR_I32), FIELD(diagonal_attrs, axis1, ATTR_I32),
    FIELD(diagonal_attrs, axis2, ATTR_I32), { 0 },
};
static const struct attr_field slice_fields[] = {
    FIELD(slice_attrs, axes, ATTR_I64S), FIELD(slice_attrs, starts, ATTR_I64S),
    FIELD(slice_attrs, ends, ATTR_I64S), FIELD(slice_attrs, steps, ATTR_I64S),
    FIELD(slice_attrs, front, ATTR_BOOL), { 0 },
};
static const struct attr_field split_fields[] = {
    FIELD(split_attrs, axis, ATTR_I32), FIELD(split_attrs, index, ATTR_I32),
    FIELD(split_attrs, count, ATTR_I32), FIELD(split_attrs, sections, ATTR_I64S), { 0 },
};
static const struct attr_field expand_fields[] = {
    FIELD(expand_attrs, shape, ATTR_I64S), FIELD(expand_attrs, both, ATTR_BOOL), { 0 },
};
static const struct attr_field tile_fields[] = {
    FIELD(tile_attrs, repeats, ATTR_I64S), { 0 },
};
static const struct attr_field roll_fields[] = {
    FIELD(roll_attrs, shifts, ATTR_I64S), FIELD(roll_attrs, axes, ATTR_I64S), { 0 },
};
static const struct attr_field triangle_fields[] = {
    FIELD(triangle_attrs, upper, ATTR_BOOL), FIELD(triangle_attrs, diagonal, ATTR_I32), { 0 },
};

const struct op ops_move[] = {
    { "squeeze",    1, 2, 1, OP_VIEW | OP_NEEDS(1), axes_fields,      sizeof(struct axes_attrs),      infer_squeeze },
    { "unsqueeze",  1, 2, 1, OP_VIEW | OP_NEEDS(1), axes_fields,      sizeof(struct axes_attrs),      infer_unsqueeze },
    { "transpose",  1, 1, 1, 0,       transpose_fields, sizeof(struct transpose_attrs), infer_transpose },
    { "flip",       1, 1, 1, 0,       axes_fields,      sizeof(struct axes_attrs),      infer_flip },
    { "diagonal",   1, 1, 1, 0,       diagonal_fields,  sizeof(struct diagonal_attrs),  infer_diagonal },
    { "slice",      1, 5, 1, OP_NEEDS(1) | OP_NEEDS(2) | OP_NEEDS(3) | OP_NEEDS(4),       slice_fields,     sizeof(struct slice_attrs),     infer_slice },
    { "split_part", 1, 2, 1, OP_NEEDS(1),       split_fields,     sizeof(struct split_attrs),     infer_split },
    { "expand",     1, 2, 1, OP_NEEDS(1),       expand_fields,    sizeof(struct expand_attrs),    infer_expand },
    { "expand_as",  2, UINT8_MAX, 1, 0,       NULL,             0,                              infer_expand_as },
    { "tile",       1, 2, 1, OP_NEEDS(1),       tile_fields,      sizeof(struct tile_attrs),      infer_tile },
    { "roll",       1, 1, 1, 0,       roll_fields,      sizeof(struct roll_attrs),      infer_roll },
    { "triangle",   1, 1, 1, 0,       triangle_fields,  sizeof(struct triangle_attrs),  infer_triangle },
    { 0 },
};
// clang-format on
