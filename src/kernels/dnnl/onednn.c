#include "kernels/dnnl/onednn.h"

#include "base/map.h"
#include "base/mem.h"

#include <oneapi/dnnl/dnnl.h>
#include <stdatomic.h>
#include <string.h>

#if DNNL_VERSION_MAJOR != 2
#error "this file is written for oneDNN 2.x (Debian 12 has 2.6)"
#endif

/* OpenMP's, which oneDNN runs on. The setting belongs to the calling thread, so each call says it: our parallelism is
 * requests, and a team of threads for one small layer costs more than it brings. */
void omp_set_num_threads(int count);

#define ARGS_MAX 5
#define SLOTS    4

/* What one run needs for itself. A memory object carries its data pointer, so two runs cannot share one. */
struct slot {
    atomic_flag busy;
    dnnl_stream_t stream;
    dnnl_exec_arg_t arg[ARGS_MAX];
};

struct onednn {
    dnnl_engine_t engine;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_memory_desc_t filter; /* the layout it wants */
    dnnl_memory_desc_t plain;  /* the model's */
    int arg_count;
    size_t scratch_bytes;
    struct slot slot[SLOTS];
};

static status fault(dnnl_status_t s, const char *what, struct err *e)
{
    return s == dnnl_success ? OK
                             : err_set(e, s == dnnl_out_of_memory ? NO_MEMORY : UNSUPPORTED,
                                       "oneDNN: %s failed with status %d", what, (int)s);
}

static dnnl_memory_desc_t plain_desc(int rank, const dnnl_dim_t *dim)
{
    static const dnnl_format_tag_t tag[] = {
        dnnl_format_tag_undef, dnnl_a, dnnl_ab, dnnl_abc, dnnl_abcd, dnnl_abcde
    };
    dnnl_memory_desc_t d;
    dnnl_memory_desc_init_by_tag(&d, rank, dim, dnnl_f32, tag[rank]);
    return d;
}

static dnnl_memory_desc_t shape_desc(const struct shape *s)
{
    dnnl_dims_t dim = { 0 };
    memcpy(dim, s->dim, (size_t)s->rank * sizeof(*dim));
    return plain_desc(s->rank, dim);
}

/* [O, C, h, w], or [groups, O / groups, C, h, w]. */
static dnnl_memory_desc_t filter_desc(const struct shape *w, int64_t groups, bool any)
{
    dnnl_dims_t dim = { groups, w->dim[0] / groups, w->dim[1], w->dim[2], w->dim[3] };
    dnnl_dims_t one_group = { w->dim[0], w->dim[1], w->dim[2], w->dim[3] };
    int rank = groups > 1 ? 5 : 4;
    dnnl_memory_desc_t d;
    if (!any)
        return plain_desc(rank, groups > 1 ? dim : one_group);
    dnnl_memory_desc_init_by_tag(&d, rank, groups > 1 ? dim : one_group, dnnl_f32,
                                 dnnl_format_tag_any);
    return d;
}

/* ---- making one ---- */

static void add_act(dnnl_primitive_attr_t attr, int32_t kind)
{
    static const dnnl_alg_kind_t alg[ACT_COUNT] = { [ACT_RELU] = dnnl_eltwise_relu,
                                                    [ACT_TANH] = dnnl_eltwise_tanh,
                                                    [ACT_SIGMOID] = dnnl_eltwise_logistic };
    dnnl_post_ops_t ops;
    if (kind == ACT_NONE)
        return;
    dnnl_post_ops_create(&ops);
    dnnl_post_ops_append_eltwise(ops, 1, alg[kind], 0, 0);
    dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl_post_ops_destroy(ops);
}

/* Which arguments a primitive of this kind takes. */
static const int conv_args[] = { DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD, DNNL_ARG_WEIGHTS,
                                 DNNL_ARG_BIAS };

static status make_slot(struct onednn *o, struct slot *s, struct err *e)
{
    atomic_flag_clear(&s->busy);
    TRY(fault(dnnl_stream_create(&s->stream, o->engine, dnnl_stream_default_flags), "a stream", e));
    for (int i = 0; i < o->arg_count; i++) {
        const dnnl_memory_desc_t *d =
            dnnl_primitive_desc_query_md(o->desc, dnnl_query_exec_arg_md, conv_args[i]);
        s->arg[i].arg = conv_args[i];
        TRY(fault(dnnl_memory_create(&s->arg[i].memory, d, o->engine, DNNL_MEMORY_NONE),
                  "a memory object", e));
    }
    return OK;
}

static status make_primitive(struct onednn *o, const void *op_desc, int32_t kind, struct err *e)
{
    dnnl_primitive_attr_t attr;
    omp_set_num_threads(1);
    TRY(fault(dnnl_engine_create(&o->engine, dnnl_cpu, 0), "an engine", e));
    TRY(fault(dnnl_primitive_attr_create(&attr), "attributes", e));
    dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    add_act(attr, kind);
    dnnl_status_t s = dnnl_primitive_desc_create(&o->desc, op_desc, attr, o->engine, NULL);
    dnnl_primitive_attr_destroy(attr);
    TRY(fault(s, "a primitive's description", e));
    TRY(fault(dnnl_primitive_create(&o->primitive, o->desc), "a primitive", e));
    o->scratch_bytes = dnnl_memory_desc_get_size(
        dnnl_primitive_desc_query_md(o->desc, dnnl_query_scratchpad_md, 0));
    for (int i = 0; i < SLOTS; i++)
        TRY(make_slot(o, &o->slot[i], e));
    return OK;
}

static status finish(struct onednn *o, status s, struct onednn **out)
{
    if (s != OK) {
        onednn_free(o);
        return s;
    }
    *out = o;
    return OK;
}

static status describe_conv(const struct kernel_ctx *ctx, const struct window *w, struct onednn *o,
                            dnnl_convolution_desc_t *d, struct err *e)
{
    const struct conv_attrs *a = ctx->node->attrs;
    bool has_bias = ctx->in[2].shape.rank >= 0;
    dnnl_memory_desc_t src = shape_desc(&ctx->in[0].shape), dst = shape_desc(&ctx->out[0].shape);
    dnnl_memory_desc_t any = filter_desc(&ctx->in[1].shape, a->groups, true), bias;
    dnnl_dims_t stride = { w->stride_h, w->stride_w };
    dnnl_dims_t dilate = { w->dilation_h - 1, w->dilation_w - 1 }; /* oneDNN counts the holes */
    dnnl_dims_t before = { w->pad_top, w->pad_left }, after = { w->pad_bottom, w->pad_right };
    o->plain = filter_desc(&ctx->in[1].shape, a->groups, false);
    o->arg_count = has_bias ? 5 : 4;
    if (has_bias)
        bias = shape_desc(&ctx->in[2].shape);
    return fault(dnnl_dilated_convolution_forward_desc_init(
                     d, dnnl_forward_inference, dnnl_convolution_auto, &src, &any,
                     has_bias ? &bias : NULL, &dst, stride, dilate, before, after),
                 "the description of a convolution", e);
}

status onednn_conv(const struct kernel_ctx *ctx, const struct window *w, struct onednn **out,
                   struct err *e)
{
    struct onednn *o = mem_zalloc(sizeof(*o));
    dnnl_convolution_desc_t d;
    status s = describe_conv(ctx, w, o, &d, e);
    if (s == OK)
        s = make_primitive(o, &d, ((const struct conv_attrs *)ctx->node->attrs)->act, e);
    if (s == OK)
        o->filter = *dnnl_primitive_desc_query_md(o->desc, dnnl_query_weights_md, 0);
    return finish(o, s, out);
}

status onednn_pool(const struct kernel_ctx *ctx, const struct window *w, struct onednn **out,
                   struct err *e)
{
    static const dnnl_alg_kind_t alg[] = { [POOL_MAX] = dnnl_pooling_max,
                                           [POOL_AVG] = dnnl_pooling_avg_exclude_padding,
                                           [POOL_AVG_WITH_PADS] =
                                               dnnl_pooling_avg_include_padding };
    const struct pool_attrs *a = ctx->node->attrs;
    struct onednn *o = mem_zalloc(sizeof(*o));
    dnnl_pooling_desc_t d;
    dnnl_memory_desc_t src = shape_desc(&ctx->in[0].shape), dst = shape_desc(&ctx->out[0].shape);
    dnnl_dims_t stride = { w->stride_h, w->stride_w }, kernel = { w->kernel_h, w->kernel_w };
    dnnl_dims_t before = { w->pad_top, w->pad_left }, after = { w->pad_bottom, w->pad_right };
    o->arg_count = 3;
    status s = fault(dnnl_pooling_forward_desc_init(&d, dnnl_forward_inference, alg[a->mode], &src,
                                                    &dst, stride, kernel, before, after),
                     "the description of a pooling", e);
    if (s == OK)
        s = make_primitive(o, &d, ACT_NONE, e);
    return finish(o, s, out);
}

void onednn_free(struct onednn *o)
{
    if (o == NULL)
        return;
    for (int i = 0; i < SLOTS; i++) {
        for (int k = 0; k < ARGS_MAX; k++)
            dnnl_memory_destroy(o->slot[i].arg[k].memory);
        dnnl_stream_destroy(o->slot[i].stream);
    }
    dnnl_primitive_destroy(o->primitive);
    dnnl_primitive_desc_destroy(o->desc);
    dnnl_engine_destroy(o->engine);
    mem_free(o);
}

size_t onednn_scratch_bytes(const struct onednn *o)
{
    return o->scratch_bytes;
}

/* ---- weights ---- */

struct reorder {
    const struct onednn *o;
    const void *from;
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

static status fill_pack(void *arg, void *memory)
{
    const struct reorder *r = arg;
    dnnl_memory_t from = NULL, to = NULL;
    dnnl_status_t s = dnnl_memory_create(&from, &r->o->plain, r->o->engine, (void *)r->from);
    if (s == dnnl_success)
        s = dnnl_memory_create(&to, &r->o->filter, r->o->engine, memory);
    if (s == dnnl_success)
        s = run_reorder(r->o, from, to);
    dnnl_memory_destroy(from);
    dnnl_memory_destroy(to);
    return fault(s, "packing a filter", r->err);
}

status onednn_pack(const struct onednn *o, struct packs *packs, const void *filter,
                   const void **packed, struct err *e)
{
    struct reorder r = { o, filter, e };
    *packed = filter;
    if (dnnl_memory_desc_equal(&o->plain, &o->filter))
        return OK;
    uint64_t key = map_hash((struct str){ (const char *)&o->filter, sizeof(o->filter) });
    return packs_get(packs, filter, key, dnnl_memory_desc_get_size(&o->filter), fill_pack, &r,
                     packed);
}

/* ---- running ---- */

static struct slot *take_slot(struct onednn *o)
{
    for (;;) /* as many threads run one model as there are cores, and a run is short */
        for (int i = 0; i < SLOTS; i++)
            if (!atomic_flag_test_and_set_explicit(&o->slot[i].busy, memory_order_acquire))
                return &o->slot[i];
}

status onednn_run(struct onednn *o, const void *src, const void *filter, const void *bias,
                  void *dst, void *scratch, struct err *e)
{
    void *data[ARGS_MAX] = { (void *)src, dst, scratch, (void *)filter, (void *)bias };
    dnnl_status_t status_now = dnnl_success;
    struct slot *s = take_slot(o);
    omp_set_num_threads(1);
    for (int i = 0; i < o->arg_count && status_now == dnnl_success; i++)
        status_now = dnnl_memory_set_data_handle_v2(s->arg[i].memory, data[i], s->stream);
    if (status_now == dnnl_success)
        status_now = dnnl_primitive_execute(o->primitive, s->stream, o->arg_count, s->arg);
    if (status_now == dnnl_success)
        status_now = dnnl_stream_wait(s->stream);
    atomic_flag_clear_explicit(&s->busy, memory_order_release);
    return status_now == dnnl_success
               ? OK
               : err_set(e, INTERNAL, "oneDNN: a run failed with status %d", (int)status_now);
}

status onednn_sgemm(const struct matmul_dims *d, float alpha, const float *a, const float *b,
                    float *out)
{
    omp_set_num_threads(1);
    dnnl_status_t s =
        dnnl_sgemm(d->trans_a ? 'T' : 'N', d->trans_b ? 'T' : 'N', d->m, d->n, d->k, alpha, a,
                   d->trans_a ? d->m : d->k, b, d->trans_b ? d->k : d->n, 0, out, d->n);
    return s == dnnl_success ? OK : INTERNAL;
}
