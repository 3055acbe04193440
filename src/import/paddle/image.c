#include "import/paddle/image.h"

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

status image_per_channel(struct site *s, struct value *v, int rank, bool channel_last,
                         struct value **out)
{
    struct attr_ints to = { 1, { -1 } };
    for (int i = 2; i < rank && !channel_last; i++)
        to.v[to.count++] = 1;
    return site_reshape(s, v, &to, out);
}
