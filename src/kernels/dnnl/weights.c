/* Constant filters and matrices in the layouts that primitives want. */
#include "kernels/dnnl/primitive.h"

#include "base/map.h"
#include "base/mem.h"
#include "kernels/dnnl/filter.h"

#include <string.h>

struct packing {
    const struct onednn *o;
    const void *from;
    const float *scale; /* NULL, or of floats alone */
    struct err *err;
};

static dnnl_status_t run_reorder(const struct onednn *o, dnnl_memory_t from, dnnl_memory_t to)
{
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_t p = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_exec_arg_t arg[] = { { DNNL_ARG_FROM, from }, { DNNL_ARG_TO, to } };
    dnnl_status_t s = dnnl_reorder_primitive_desc_create(&desc, &o->plain, o->engine, &o->filter,
                                                         o->engine, NULL);
    if (s == dnnl_success)
        s = dnnl_primitive_create(&p, desc);
    if (s == dnnl_success)
        s = dnnl_stream_create(&stream, o->engine, dnnl_stream_default_flags);
    if (s == dnnl_success)
        s = dnnl_primitive_execute(p, stream, 2, arg);
    if (s == dnnl_success)
        s = dnnl_stream_wait(stream);
    dnnl_stream_destroy(stream);
    dnnl_primitive_destroy(p);
    dnnl_primitive_desc_destroy(desc);
    return s;
}

static dnnl_status_t pack_from(const struct onednn *o, const void *plain, void *memory)
{
    dnnl_memory_t from = NULL, to = NULL;
    dnnl_status_t s = dnnl_memory_create(&from, &o->plain, o->engine, (void *)plain);
    if (s == dnnl_success)
        s = dnnl_memory_create(&to, &o->filter, o->engine, memory);
    if (s == dnnl_success)
        s = run_reorder(o, from, to);
    dnnl_memory_destroy(from);
    dnnl_memory_destroy(to);
    return s;
}

/* The filter with each output channel multiplied; the channels are the first dimension, or the first two. */
static void scale_filter(const struct packing *p, size_t elements, float *out)
{
    const dnnl_memory_desc_t *d = &p->o->plain;
    size_t channels = (size_t)(d->ndims == 5 ? d->dims[0] * d->dims[1] : d->dims[0]);
    size_t each = elements / channels;
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < each; i++)
            out[c * each + i] = float_at(p->from, (int64_t)(c * each + i)) * p->scale[c];
}

/* Of a transformed filter, as filter.h has it; false where that has no word for it. */
static bool winograd_of(const dnnl_memory_desc_t *d, struct winograd *w)
{
    const dnnl_wino_desc_t *from = &d->format_desc.wino_desc;
    if (d->format_kind != dnnl_format_kind_wino || from->r != 3 || from->ic_block != 16 ||
        from->oc_block != 16 || from->adj_scale != 1 || (from->alpha != 4 && from->alpha != 6))
        return false;
    *w = (struct winograd){ .alpha = from->alpha, .o = from->oc, .i = from->ic };
    w->group_o = w->group_i = 1;
    switch (from->wino_format) {
    case dnnl_wino_wei_aaOio: w->order = WINOGRAD_PLAIN; break;
    case dnnl_wino_wei_aaOBiOo:
        w->order = WINOGRAD_GROUPED;
        w->group_o = from->oc2_block;
        break;
    case dnnl_wino_wei_OBaaIBOIio:
        w->order = WINOGRAD_BLOCKED;
        w->group_o = from->oc2_block;
        w->group_i = from->ic2_block;
        break;
    default: return false;
    }
    size_t bytes = (size_t)(w->alpha * w->alpha * w->o * w->i) * sizeof(float);
    return bytes == dnnl_memory_desc_get_size(d);
}

/* Packs it ourselves, where we know how; oneDNN's reorders are plain loops, some of them eight times slower. */
static bool pack_ours(const struct packing *p, void *memory)
{
    const dnnl_memory_desc_t *from = &p->o->plain, *to = &p->o->filter;
    dnnl_memory_desc_t dense = desc_plain(from->ndims, from->dims);
    dnnl_memory_desc_t blocks = desc_tag(4, from->dims, dnnl_ABcd16b16a);
    struct winograd w;
    if (from->ndims != 4 || to->data_type != dnnl_f32 || !dnnl_memory_desc_equal(from, &dense))
        return false;
    struct filter f = { p->from, p->scale, from->dims[0], from->dims[1],
                        from->dims[2] * from->dims[3] };
    bool turned = f.taps == 9 && winograd_of(to, &w);
    if (turned)
        filter_winograd(&f, &w, memory);
    else if (dnnl_memory_desc_equal(to, &blocks))
        filter_blocks(&f, memory);
    else
        return false;
    return true;
}

static status fill_pack(void *arg, void *memory)
{
    const struct packing *p = arg;
    if (pack_ours(p, memory))
        return OK;
    if (p->scale == NULL)
        return primitive_fault(pack_from(p->o, p->from, memory), "packing a filter", p->err);
    size_t bytes = dnnl_memory_desc_get_size(&p->o->plain);
    float *scaled = mem_try_aligned(bytes, 64);
    if (scaled == NULL)
        return err_set(p->err, NO_MEMORY, "no memory for %zu bytes of a filter", bytes);
    scale_filter(p, bytes / sizeof(float), scaled);
    dnnl_status_t s = pack_from(p->o, scaled, memory);
    mem_free(scaled);
    return primitive_fault(s, "packing a filter", p->err);
}

status onednn_pack(const struct onednn *o, struct packs *packs, const void *filter,
                   const float *scale, const void **packed, struct err *e)
{
    struct packing p = { o, filter, scale, e };
    *packed = filter;
    if (scale == NULL && dnnl_memory_desc_equal(&o->plain, &o->filter))
        return OK;
    struct {
        dnnl_memory_desc_t filter;
        const float *scale;
    } key;
    memset(&key, 0, sizeof(key)); /* its holes are hashed too */
    key.filter = o->filter;
    key.scale = scale;
    return packs_get(packs, filter, map_hash((struct str){ (const char *)&key, sizeof(key) }),
                     dnnl_memory_desc_get_size(&o->filter), fill_pack, &p, packed);
}
