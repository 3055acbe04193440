#include "import/paddle/image.h"

#include "graph/attrs_move.h"

status image_layout(struct site *s, const char *attr, bool *channel_last)
{
    static const char *const first[] = { "NCHW", "NCDHW", "NCL", "NCW", "NC", "AnyLayout", NULL };
    static const char *const last[] = { "NHWC", "NDHWC", "NLC", "NWC", NULL };
    struct str layout = attr_str(s, attr, "NCHW");
    for (int i = 0; first[i] != NULL; i++)
        if (str_is(layout, first[i])) {
            *channel_last = false;
            return OK;
        }
    for (int i = 0; last[i] != NULL; i++)
        if (str_is(layout, last[i])) {
            *channel_last = true;
            return OK;
        }
    return site_fault(s, UNSUPPORTED, "attribute '%s': layout %.*s", attr, STR_ARG(layout));
}

status image_list(struct site *s, const char *name, int axes, int64_t otherwise,
                  struct attr_ints *out)
{
    struct attr_ints v = attr_i64s(s, name);
    if (v.count == 0)
        v = (struct attr_ints){ 1, { otherwise } };
    if (v.count != 1 && v.count != axes)
        return site_fault(s, INVALID, "attribute '%s': expected %d numbers, got %d", name, axes,
                          v.count);
    out->count = axes;
    for (int i = 0; i < axes; i++)
        out->v[i] = v.v[v.count == 1 ? 0 : i];
    return OK;
}

status image_pads(struct site *s, int axes, struct attr_ints *out, int32_t *auto_pad)
{
    static const char *const algorithm[] = { "EXPLICIT", "SAME", "VALID", NULL };
    struct attr_ints v = attr_i64s(s, "paddings");
    *auto_pad = attr_enum(s, "padding_algorithm", "EXPLICIT", algorithm);
    *out = (struct attr_ints){ .count = 2 * axes };
    if (v.count == 0 || *auto_pad != PAD_EXPLICIT)
        return OK;
    if (v.count != 1 && v.count != axes && v.count != 2 * axes)
        return site_fault(s, INVALID, "attribute 'paddings': expected %d or %d numbers, got %d",
                          axes, 2 * axes, v.count);
    for (int i = 0; i < axes; i++) {
        bool each = v.count == 2 * axes;
        out->v[i] = v.v[each ? 2 * i : v.count == 1 ? 0 : i];
        out->v[axes + i] = v.v[each ? 2 * i + 1 : v.count == 1 ? 0 : i];
    }
    return OK;
}

status image_pads_agree(struct site *s, int32_t pool_mode, int32_t auto_pad,
                        const struct attr_ints *pads)
{
    bool agree = auto_pad != PAD_SAME;
    for (int i = 0; i < pads->count / 2; i++)
        agree = agree && pads->v[i] == pads->v[pads->count / 2 + i];
    if (agree || pool_mode != POOL_AVG_WITH_PADS)
        return OK;
    return site_fault(s, UNSUPPORTED,
                      "a mean over pads (exclusive false) that differ on both sides");
}

static status permute(struct site *s, struct value *x, const struct attr_ints *perm,
                      struct value **out)
{
    const struct shape from = x->shape;
    TRY(site_add1(s, "transpose", &x, 1, out));
    ((struct transpose_attrs *)node_attrs((*out)->producer))->perm = *perm;
    for (int i = 0; i < perm->count; i++)
        (*out)->shape.dim[i] = from.dim[perm->v[i]];
    return OK;
}

status image_channels_first(struct site *s, struct value *x, bool last, struct value **out)
{
    int rank = x->shape.rank;
    struct attr_ints perm = { rank, { 0, rank - 1 } };
    for (int i = 2; i < rank; i++)
        perm.v[i] = i - 1;
    *out = x;
    return last ? permute(s, x, &perm, out) : OK;
}

status image_channels_last(struct site *s, struct value *x, bool last, struct value **out)
{
    int rank = x->shape.rank;
    struct attr_ints perm = { rank, { 0 } };
    for (int i = 1; i < rank; i++)
        perm.v[i] = i + 1 < rank ? i + 1 : 1;
    *out = x;
    return last ? permute(s, x, &perm, out) : OK;
}

status image_per_channel(struct site *s, struct value *v, int rank, bool channel_last,
                         struct value **out)
{
    struct attr_ints to = { 1, { -1 } };
    for (int i = 2; i < rank && !channel_last; i++)
        to.v[to.count++] = 1;
    return site_reshape(s, v, &to, out);
}
