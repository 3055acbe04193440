/* Making primitives out of descriptions, and running them. */
#include "kernels/dnnl/primitive.h"

#include "base/mem.h"
#include "graph/attrs.h"

#include <string.h>

/* The setting belongs to the calling thread, so each call says it: most of our parallelism is requests, and a team of
 * threads for one small layer costs more than it brings. */
void primitive_threads(int count)
{
    dnnl_library()->set_num_threads(count);
}

status primitive_fault(dnnl_status_t s, const char *what, struct err *e)
{
    if (s == dnnl_success)
        return OK;
    if (dnnl_library_fault() != NULL)
        return err_set(e, UNSUPPORTED, "oneDNN: %s; install Debian's libdnnl2 or its like",
                       dnnl_library_fault());
    return err_set(e, s == dnnl_out_of_memory ? NO_MEMORY : UNSUPPORTED,
                   "oneDNN: %s failed with status %d", what, (int)s);
}

/* ---- making one ---- */

/* One or two of oneDNN's elementwise functions make one of our activations. */
struct part {
    dnnl_alg_kind_t alg;
    float alpha, beta;
};

static int act_parts(struct act_fn f, struct part part[2])
{
    switch (f.kind) {
    case ACT_RELU: part[0] = (struct part){ dnnl_eltwise_relu, 0, 0 }; return 1;
    case ACT_TANH: part[0] = (struct part){ dnnl_eltwise_tanh, 0, 0 }; return 1;
    case ACT_SIGMOID: part[0] = (struct part){ dnnl_eltwise_logistic, 0, 0 }; return 1;
    case ACT_CLIP: part[0] = (struct part){ dnnl_eltwise_clip, f.alpha, f.beta }; return 1;
    case ACT_LEAKY_RELU: part[0] = (struct part){ dnnl_eltwise_relu, f.alpha, 0 }; return 1;
    case ACT_ELU: part[0] = (struct part){ dnnl_eltwise_elu, f.alpha, 0 }; return 1;
    case ACT_HARD_SIGMOID:
        part[0] = (struct part){ dnnl_eltwise_linear, f.alpha, f.beta };
        part[1] = (struct part){ dnnl_eltwise_clip, 0, 1 };
        return 2;
    case ACT_HARD_SWISH: part[0] = (struct part){ dnnl_eltwise_hardswish, 0, 0 }; return 1;
    case ACT_SWISH: part[0] = (struct part){ dnnl_eltwise_swish, f.alpha, 0 }; return 1;
    case ACT_MISH: part[0] = (struct part){ dnnl_eltwise_mish, 0, 0 }; return 1;
    case ACT_GELU: part[0] = (struct part){ dnnl_eltwise_gelu_erf, 0, 0 }; return 1;
    case ACT_GELU_TANH: part[0] = (struct part){ dnnl_eltwise_gelu_tanh, 0, 0 }; return 1;
    default: return 0;
    }
}

const char *onednn_refuse_act(struct act_fn f)
{
    bool usual_swish = f.alpha == 6 && f.beta == 6 && f.gamma == 3;
    if (f.kind == ACT_HARD_SWISH && !usual_swish)
        return "its hard_swish is not the usual one";
    if (f.kind == ACT_MISH && f.alpha > 0 &&
        f.alpha < 15) /* above, tanh(softplus(x)) is 1 in any case */
        return "its mish is not the usual one";
    return NULL;
}

/* scale: the result is multiplied by it. */
static void append_act(dnnl_post_ops_t ops, struct act_fn f, float scale)
{
    struct part part[2];
    int count = act_parts(f, part);
    for (int i = 0; i < count; i++)
        dnnl_post_ops_append_eltwise(ops, i == count - 1 ? scale : 1, part[i].alg, part[i].alpha,
                                     part[i].beta);
}

static void append_sum(dnnl_post_ops_t ops, const struct tail *t)
{
    if (t->units == NULL || t->units->sum_type == DTYPE_F32)
        dnnl_post_ops_append_sum(ops, 1);
    else
        dnnl_post_ops_append_sum_v3(ops, t->units->sum_scale, t->units->sum_zero,
                                    desc_type(t->units->sum_type));
}

static void append_units(dnnl_primitive_attr_t attr, const struct onednn_units *u)
{
    if (u == NULL)
        return;
    dnnl_primitive_attr_set_output_scales(attr, u->count, 2, u->scale); /* 2: of dimension 1 */
    if (u->x_zero != 0)
        dnnl_primitive_attr_set_zero_points(attr, DNNL_ARG_SRC, 1, 0, &u->x_zero);
    if (u->out_zero != 0)
        dnnl_primitive_attr_set_zero_points(attr, DNNL_ARG_DST, 1, 0, &u->out_zero);
}

static void append_tail(dnnl_primitive_attr_t attr, const struct tail *t)
{
    float act_scale = t->units != NULL ? t->units->act_scale : 1;
    dnnl_post_ops_t ops;
    append_units(attr, t->units);
    dnnl_post_ops_create(&ops);
    if (t->act_first)
        append_act(ops, t->act, act_scale);
    if (t->sum)
        append_sum(ops, t);
    if (!t->act_first)
        append_act(ops, t->act, act_scale);
    dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl_post_ops_destroy(ops);
}

static status make_slot(struct onednn *o, struct slot *s, struct err *e)
{
    atomic_flag_clear(&s->busy);
    TRY(primitive_fault(dnnl_stream_create(&s->stream, o->engine, dnnl_stream_default_flags),
                        "a stream", e));
    for (int i = 0; i < o->arg_count; i++) {
        const dnnl_memory_desc_t *d =
            dnnl_primitive_desc_query_md(o->desc, dnnl_query_exec_arg_md, o->arg[i]);
        s->arg[i].arg = o->arg[i];
        TRY(primitive_fault(dnnl_memory_create(&s->arg[i].memory, d, o->engine, DNNL_MEMORY_NONE),
                            "a memory object", e));
    }
    return OK;
}

status primitive_describe(struct onednn *o, const void *op_desc, const struct tail *tail,
                          struct err *e)
{
    dnnl_primitive_attr_t attr;
    primitive_threads(o->threads);
    if (o->engine == NULL)
        TRY(primitive_fault(dnnl_engine_create(&o->engine, dnnl_cpu, 0), "an engine", e));
    TRY(primitive_fault(dnnl_primitive_attr_create(&attr), "attributes", e));
    dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (tail != NULL)
        append_tail(attr, tail);
    dnnl_primitive_desc_destroy(o->desc); /* of an earlier try */
    o->desc = NULL;
    dnnl_status_t s = dnnl_primitive_desc_create(&o->desc, op_desc, attr, o->engine, NULL);
    dnnl_primitive_attr_destroy(attr);
    return primitive_fault(s, "a primitive's description", e);
}

status primitive_make(struct onednn *o, struct err *e)
{
    TRY(primitive_fault(dnnl_primitive_create(&o->primitive, o->desc), "a primitive", e));
    o->scratch_bytes = dnnl_memory_desc_get_size(
        dnnl_primitive_desc_query_md(o->desc, dnnl_query_scratchpad_md, 0));
    for (int i = 0; i < SLOTS; i++)
        TRY(make_slot(o, &o->slot[i], e));
    return OK;
}

struct onednn *primitive_new(const struct kernel_ctx *ctx, const int *arg, int arg_count)
{
    struct onednn *o = mem_zalloc(sizeof(*o));
    o->threads = ctx->threads > 0 ? ctx->threads : 1;
    o->arg_count = arg_count;
    memcpy(o->arg, arg, (size_t)arg_count * sizeof(*arg));
    return o;
}

status primitive_finish(struct onednn *o, status s, struct onednn **out)
{
    if (s != OK) {
        onednn_free(o);
        return s;
    }
    *out = o;
    return OK;
}

bool ctx_has(const struct kernel_ctx *ctx, int index)
{
    return ctx->in[index].shape.rank >= 0;
}

/* Of a filter or matrix, and the input `bias` where there is one. */
struct onednn *primitive_new_weighted(const struct kernel_ctx *ctx, int bias)
{
    static const int arg[] = { DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD, DNNL_ARG_WEIGHTS,
                               DNNL_ARG_BIAS };
    return primitive_new(ctx, arg, ctx_has(ctx, bias) ? 5 : 4);
}

status primitive_make_weighted(struct onednn *o, struct err *e)
{
    TRY(primitive_make(o, e));
    o->filter = *dnnl_primitive_desc_query_md(o->desc, dnnl_query_weights_md, 0);
    return OK;
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

static bool has_isa(dnnl_cpu_isa_t isa)
{
    return (dnnl_get_effective_cpu_isa() & isa) == isa;
}

bool kernel_has_bf16(void)
{
    return has_isa(dnnl_cpu_isa_avx512_core_bf16);
}

bool kernel_has_int8(void)
{
    return has_isa(dnnl_cpu_isa_avx512_core_vnni) || has_isa(dnnl_cpu_isa_avx2_vnni);
}

/* ---- running ---- */

static struct slot *take_slot(struct onednn *o)
{
    for (;;) /* as many threads run one model as there are cores, and a run is short */
        for (int i = 0; i < SLOTS; i++)
            if (!atomic_flag_test_and_set_explicit(&o->slot[i].busy, memory_order_acquire))
                return &o->slot[i];
}

static const void *data_of(const struct onednn_data *d, int arg)
{
    switch (arg) {
    case DNNL_ARG_SRC: return d->src;
    case DNNL_ARG_DST: return d->dst;
    case DNNL_ARG_SCRATCHPAD: return d->scratch;
    case DNNL_ARG_WEIGHTS: return d->filter;
    default: return d->bias;
    }
}

static dnnl_status_t point(const struct onednn *o, struct slot *s, const struct onednn_data *d)
{
    dnnl_status_t status_now = dnnl_success;
    for (int i = 0; i < o->arg_count && status_now == dnnl_success; i++) {
        const void *data = data_of(d, o->arg[i]);
        if (s->data[i] == data)
            continue;
        status_now = dnnl_memory_set_data_handle_v2(s->arg[i].memory, (void *)data, s->stream);
        s->data[i] = status_now == dnnl_success ? data : NULL;
    }
    return status_now;
}

status onednn_run(struct onednn *o, const struct onednn_data *d, struct err *e)
{
    struct slot *s = take_slot(o);
    primitive_threads(o->threads);
    dnnl_status_t status_now = point(o, s, d);
    if (status_now == dnnl_success)
        status_now = dnnl_primitive_execute(o->primitive, s->stream, o->arg_count, s->arg);
    if (status_now == dnnl_success)
        status_now = dnnl_stream_wait(s->stream);
    atomic_flag_clear_explicit(&s->busy, memory_order_release);
    return status_now == dnnl_success
               ? OK
               : err_set(e, INTERNAL, "oneDNN: a run failed with status %d", (int)status_now);
}

status onednn_sgemm(const struct sgemm *g)
{
    primitive_threads(g->threads > 0 ? g->threads : 1);
    dnnl_status_t s = dnnl_sgemm(g->trans_a ? 'T' : 'N', g->trans_b ? 'T' : 'N', g->m, g->n, g->k,
                                 g->alpha, g->a, g->lda, g->b, g->ldb, 0, g->c, g->ldc);
    return s == dnnl_success ? OK : INTERNAL;
}
