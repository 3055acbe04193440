/* What moves elements and computes nothing. */
#include "graph/attrs_move.h"
#include "import/paddle/site.h"

/* ---- what they share ---- */

/* Rows, and so sequences, stay what they were. */
static status bind_rows(struct site *s, const char *slot, const struct value *x, bool keeps_rows,
                        struct value *v)
{
    TRY(site_bind(s, slot, v));
    if (keeps_rows && x->lod_levels > 0)
        site_share_lod(v, x, x->lod_levels);
    return OK;
}

/* No axis is the first one. */
static bool spares_rows(const struct attr_ints *axes, int rank)
{
    struct shape x = { .rank = rank };
    for (int i = 0; i < axes->count; i++)
        if (shape_axis(&x, axes->v[i]) == 0)
            return false;
    return true;
}

/* ---- transpose, flip, squeeze, unsqueeze ---- */

static status import_transpose(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    struct attr_ints perm = attr_i64s(s, "axis");
    if (perm.count != x->shape.rank)
        return site_fault(s, INVALID, "attribute 'axis' names %d dimensions, its input has %d",
                          perm.count, x->shape.rank);
    TRY(site_add1(s, "transpose", &x, 1, &out));
    ((struct transpose_attrs *)node_attrs(out->producer))->perm = perm;
    return bind_rows(s, "Out", x, perm.count > 0 && perm.v[0] == 0, out);
}

static status import_flip(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    struct attr_ints axes = attr_i64s(s, "axis");
    if (axes.count == 0)
        return site_fault(s, INVALID, "attribute 'axis' names no dimension");
    TRY(site_add1(s, "flip", &x, 1, &out));
    ((struct axes_attrs *)node_attrs(out->producer))->axes = axes;
    return bind_rows(s, "Out", x, spares_rows(&axes, x->shape.rank), out);
}

/* The first kind of squeeze and unsqueeze and the second differ by outputs alone. */
static status import_squeeze(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    struct attr_ints axes = attr_i64s(s, "axes");
    TRY(site_add1(s, "squeeze", &x, 1, &out));
    *(struct axes_attrs *)node_attrs(out->producer) =
        (struct axes_attrs){ .axes = axes, .lenient = true };
    return bind_rows(s, "Out", x, axes.count > 0 && spares_rows(&axes, x->shape.rank), out);
}

static status import_unsqueeze(struct site *s)
{
    struct value *in[2], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in_ints(s, "AxesTensor", "AxesTensorList", &in[1]));
    struct attr_ints axes = attr_i64s(s, "axes");
    TRY(site_add1(s, "unsqueeze", in, in[1] != NULL ? 2 : 1, &out));
    ((struct axes_attrs *)node_attrs(out->producer))->axes = axes;
    bool keeps = in[1] == NULL && spares_rows(&axes, in[0]->shape.rank + axes.count);
    return bind_rows(s, "Out", in[0], keeps, out);
}

/* ---- slice, strided_slice ---- */

/* The dimensions that the result loses: they have one element. */
static status drop_dims(struct site *s, struct value *x, const struct attr_ints *axes,
                        struct value **out)
{
    *out = x;
    if (axes->count == 0)
        return OK;
    TRY(site_add1(s, "squeeze", &x, 1, out));
    ((struct axes_attrs *)node_attrs((*out)->producer))->axes = *axes;
    return OK;
}

static status add_slice(struct site *s, struct value *x, const struct slice_attrs *a,
                        struct value **out)
{
    struct value *in[5] = { x };
    TRY(site_in_ints(s, "StartsTensor", "StartsTensorList", &in[1]));
    TRY(site_in_ints(s, "EndsTensor", "EndsTensorList", &in[2]));
    TRY(site_in_ints(s, "StridesTensor", "StridesTensorList", &in[4]));
    int count = in[4] != NULL ? 5 : in[2] != NULL ? 3 : in[1] != NULL ? 2 : 1;
    TRY(site_add1(s, "slice", in, count, out));
    *(struct slice_attrs *)node_attrs((*out)->producer) = *a;
    return OK;
}

static status import_slice(struct site *s)
{
    struct value *x, *part, *out;
    TRY(site_in(s, "Input", &x));
    struct slice_attrs a = { .axes = attr_i64s(s, "axes"),
                             .starts = attr_i64s(s, "starts"),
                             .ends = attr_i64s(s, "ends"),
                             .steps = attr_i64s(s, "strides"),
                             .front = str_is(s->op->type, "strided_slice") &&
                                      !attr_bool(s, "numpy_ends", false) }; /* pir/table.c */
    struct attr_ints drop = attr_i64s(s, "decrease_axis");
    TRY(add_slice(s, x, &a, &part));
    TRY(drop_dims(s, part, &drop, &out));
    return bind_rows(s, "Out", x, spares_rows(&a.axes, x->shape.rank), out);
}

/* ---- split, unbind, unstack ---- */

static status import_split(struct site *s)
{
    struct value *in[2], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_refuse_in(s, "AxisTensor"));
    TRY(site_in_ints(s, NULL, "SectionsTensorList", &in[1]));
    struct split_attrs a = { .axis = attr_i32(s, "axis", 0),
                             .sections = attr_i64s(s, "sections"),
                             .count = attr_i32(s, "num", 0) };
    int count = site_out_count(s, "Out");
    if (a.count != 0 ? a.count != count : in[1] == NULL && a.sections.count != count)
        return site_fault(s, INVALID, "%d parts for %d outputs",
                          a.count != 0 ? a.count : a.sections.count, count);
    for (int i = 0; i < count; i++) {
        a.index = i;
        TRY(site_add1(s, "split_part", in, in[1] != NULL ? 2 : 1, &out));
        *(struct split_attrs *)node_attrs(out->producer) = a;
        TRY(site_bind_at(s, "Out", i, out));
    }
    return OK;
}

/* unstack, unbind: one part for each element along axis, which goes away. */
static status take_apart(struct site *s, const char *slot)
{
    struct value *x, *part, *out;
    TRY(site_in(s, "X", &x));
    int count = site_out_count(s, slot);
    int axis = shape_axis(&x->shape, attr_i32(s, "axis", 0));
    if (axis < 0 || (x->shape.dim[axis] >= 0 && x->shape.dim[axis] != count))
        return site_fault(s, INVALID, "axis %d of '%s' does not come apart into %d",
                          attr_i32(s, "axis", 0), x->name, count);
    for (int i = 0; i < count; i++) {
        TRY(site_add1(s, "split_part", &x, 1, &part));
        *(struct split_attrs *)node_attrs(part->producer) =
            (struct split_attrs){ .axis = axis, .index = i, .count = count };
        TRY(drop_dims(s, part, &(struct attr_ints){ 1, { axis } }, &out));
        TRY(site_bind_at(s, slot, i, out));
    }
    return OK;
}

static status import_unstack(struct site *s)
{
    return take_apart(s, "Y");
}

static status import_unbind(struct site *s)
{
    return take_apart(s, "Out");
}

static status import_stack(struct site *s)
{
    struct value **in, *out;
    int count;
    TRY(site_ins(s, "X", &in, &count));
    struct shape wide = in[0]->shape;
    wide.rank++;
    int axis = shape_axis(&wide, attr_i32(s, "axis", 0));
    if (axis < 0 || wide.rank > SHAPE_MAX)
        return site_fault(s, INVALID, "axis %d does not fit a result of %d dimensions",
                          attr_i32(s, "axis", 0), wide.rank);
    for (int i = 0; i < count; i++) {
        struct value *x = in[i];
        TRY(site_add1(s, "unsqueeze", &x, 1, &in[i]));
        ((struct axes_attrs *)node_attrs(in[i]->producer))->axes =
            (struct attr_ints){ 1, { axis } };
    }
    TRY(site_add1(s, "concat", in, count, &out));
    ((struct axis_attrs *)node_attrs(out->producer))->axis = axis;
    return site_bind(s, "Y", out);
}

/* ---- expand, tile ---- */

static status import_expand_v2(struct site *s)
{
    struct value *in[2], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in_ints(s, "Shape", "expand_shapes_tensor", &in[1]));
    struct attr_ints shape = attr_i64s(s, "shape");
    TRY(site_add1(s, "expand", in, in[1] != NULL ? 2 : 1, &out));
    ((struct expand_attrs *)node_attrs(out->producer))->shape = shape;
    return site_bind(s, "Out", out);
}

/* expand_as_v2 bears the shape of its target as an attribute, -1 where a request decides; old files hold the target
 * alone. */
static status import_expand_as(struct site *s)
{
    struct value *in[2], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in_optional(s, "Y", &in[1]));
    if (in[1] == NULL)
        TRY(site_in_optional(s, "target_tensor", &in[1]));
    if (in[1] != NULL) {
        TRY(site_add1(s, "expand_as", in, 2, &out));
        return site_bind(s, "Out", out);
    }
    struct attr_ints shape = attr_i64s(s, "target_shape");
    if (shape.count == 0)
        return site_fault(s, INVALID, "neither an input Y nor the attribute 'target_shape'");
    TRY(site_add1(s, "expand", in, 1, &out));
    ((struct expand_attrs *)node_attrs(out->producer))->shape = shape;
    return site_bind(s, "Out", out);
}

static status add_tile(struct site *s, const char *whole, const char *list, const char *attr)
{
    struct value *in[2], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in_ints(s, whole, list, &in[1]));
    struct attr_ints repeats = attr_i64s(s, attr);
    TRY(site_add1(s, "tile", in, in[1] != NULL ? 2 : 1, &out));
    ((struct tile_attrs *)node_attrs(out->producer))->repeats = repeats;
    return site_bind(s, "Out", out);
}

static status import_tile(struct site *s)
{
    return add_tile(s, "RepeatTimes", "repeat_times_tensor", "repeat_times");
}

/* The first kind of expand repeats, as tile does. */
static status import_expand(struct site *s)
{
    return add_tile(s, "ExpandTimes", "expand_times_tensor", "expand_times");
}

/* Each input lies along one dimension of the results. */
static status import_meshgrid(struct site *s)
{
    struct value **in, *all[SHAPE_MAX + 1], *out;
    int count;
    TRY(site_ins(s, "X", &in, &count));
    if (count > SHAPE_MAX || site_out_count(s, "Out") != count)
        return site_fault(s, INVALID, "%d inputs, at most %d, and as many outputs expected", count,
                          SHAPE_MAX);
    for (int i = 0; i < count; i++) {
        struct attr_ints to = { .count = count };
        for (int d = 0; d < count; d++)
            to.v[d] = d == i ? -1 : 1;
        TRY(site_add_reshape(s, in[i], &to, &all[i + 1]));
    }
    for (int i = 0; i < count; i++) {
        all[0] = all[i + 1];
        TRY(site_add1(s, "expand_as", all, count + 1, &out));
        TRY(site_bind_at(s, "Out", i, out));
    }
    return OK;
}

/* ---- roll, tril_triu ---- */

static status import_roll(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_refuse_in(s, "ShiftsTensor"));
    struct roll_attrs a = { attr_i64s(s, "shifts"), attr_i64s(s, "axis") };
    TRY(site_add1(s, "roll", &x, 1, &out));
    *(struct roll_attrs *)node_attrs(out->producer) = a;
    return site_bind(s, "Out", out);
}

static status import_tril_triu(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    struct triangle_attrs a = { !attr_bool(s, "lower", true), attr_i32(s, "diagonal", 0) };
    TRY(site_add1(s, "triangle", &x, 1, &out));
    *(struct triangle_attrs *)node_attrs(out->producer) = a;
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_move[] = {
    { "transpose",     "transpose",  import_transpose, LOD_OWN },
    { "transpose2",    "transpose",  import_transpose, LOD_OWN },
    { "reverse",       "flip",       import_flip,      LOD_OWN },
    { "flip",          "flip",       import_flip,      LOD_OWN },
    { "squeeze",       "squeeze",    import_squeeze,   LOD_OWN },
    { "squeeze2",      "squeeze",    import_squeeze,   LOD_OWN },
    { "unsqueeze",     "unsqueeze",  import_unsqueeze, LOD_OWN },
    { "unsqueeze2",    "unsqueeze",  import_unsqueeze, LOD_OWN },
    { "slice",         "slice",      import_slice,     LOD_OWN },
    { "strided_slice", "slice",      import_slice,     LOD_OWN },
    { "split",         "split_part", import_split,     LOD_OWN },
    { "unstack",       "split_part", import_unstack,   LOD_OWN },
    { "unbind",        "split_part", import_unbind,    LOD_OWN },
    { "stack",         "concat",     import_stack,     LOD_OWN },
    { "expand",        "tile",       import_expand,    LOD_OWN },
    { "expand_v2",     "expand",     import_expand_v2, LOD_OWN },
    { "expand_as",     "expand_as",  import_expand_as, LOD_OWN },
    { "expand_as_v2",  "expand_as",  import_expand_as, LOD_OWN },
    { "tile",          "tile",       import_tile,      LOD_OWN },
    { "meshgrid",      "expand",     import_meshgrid,  LOD_OWN },
    { "roll",          "roll",       import_roll,      LOD_OWN },
    { "tril_triu",     "triangle",   import_tril_triu, LOD_OWN },
    { 0 },
};
// clang-format on
