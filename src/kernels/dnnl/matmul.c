/* Large matrix products by oneDNN's sgemm, which reads the weights where they lie: packing them would cost memory and
 * time at loading, and was measured to bring nothing (110 of 115 GFLOP/s either way). Its first call takes 30 ms, so that
 * models of small products had better not make it. */
#include "kernels/broadcast.h"
#include "kernels/cpu/cpu.h"
#include "kernels/dnnl/onednn.h"
#include "kernels/parallel.h"

#include <stdatomic.h>
#include <string.h>

struct state {
    struct matmul_dims d;
    float alpha;
    struct act_fn act;
    int parts;             /* that are computed at once: */
    int64_t part_rows;     /* so many rows of the result, */
    int64_t part_columns;  /* of so many columns */
    size_t part_bytes;     /* of the scratch; 0: it is oneDNN's product */
    struct broadcast walk; /* over the batch dimensions, in matrices */
};

#define WORTH_IT   16e6        /* multiplications of one matrix */
#define CACHE_SIZE (64 * 1024) /* elements of the result that stay near until they are finished */

/* What parts are multiples of: whole tiles, and whole lines of the cache that no two threads write. */
#define ROW_STEP    48
#define COLUMN_STEP 128

/* A stack of matrices times one shared matrix is one tall product. */
static void join_rows(struct matmul_dims *d)
{
    if (d->stack_b.rank > 0 || d->trans_a || d->stack.rank == 0)
        return;
    d->m *= shape_numel(&d->stack);
    d->stack = d->stack_a = (struct shape){ .rank = 0 };
}

static const char *refuse(const struct kernel_ctx *ctx)
{
    struct matmul_dims d;
    matmul_dims(ctx->node->attrs, &ctx->in[0].shape, &ctx->in[1].shape, &d);
    if (shape_numel(&ctx->out[0].shape) == 0 || d.k == 0)
        return "there is nothing to compute";
    if (d.trans_a)
        return NULL;
    join_rows(&d);
    return (double)d.m * (double)d.n * (double)d.k < WORTH_IT || d.m == 1 ? "too small" : NULL;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Parts of as many rows, or columns where there are more of these, so that each finishes what it made. */
static void divide(struct state *s, int threads)
{
    const struct matmul_dims *d = &s->d;
    bool by_rows = d->m >= d->n;
    int64_t length = by_rows ? d->m : d->n, step = by_rows ? ROW_STEP : COLUMN_STEP;
    double work = (double)d->m * (double)d->n * (double)d->k;
    threads = work < threads * WORTH_IT / 4 ? 1 : threads; /* waking them takes some microseconds */
    int64_t each = (length + threads - 1) / threads;
    each = (each + step - 1) / step * step;
    s->part_rows = by_rows ? each : d->m;
    s->part_columns = by_rows ? d->n : each;
    s->parts = (int)((length + each - 1) / each);
}

/* A part of one product as our own one sees it; a, b and c begin where it does. */
static struct gemm part_gemm(const struct state *s, int64_t rows, int64_t columns)
{
    return (struct gemm){ .m = rows,
                          .n = columns,
                          .k = s->d.k,
                          .lda = s->d.k,
                          .trans_b = s->d.trans_b,
                          .alpha = s->alpha,
                          .act = s->act,
                          .ldb = s->d.trans_b ? s->d.k : s->d.n,
                          .ldc = s->d.n };
}

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    const struct matmul_attrs *a = ctx->node->attrs;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->alpha = a->alpha;
    s->act = (struct act_fn){ a->act, a->act_alpha, a->act_beta, a->act_gamma };
    matmul_dims(a, &ctx->in[0].shape, &ctx->in[1].shape, &s->d);
    join_rows(&s->d);
    broadcast_plan(&s->d.stack_a, &s->d.stack_b, &s->d.stack, &s->walk);
    divide(s, ctx->threads > 0 ? ctx->threads : 1);
    struct gemm part = part_gemm(s, s->part_rows, s->part_columns);
    if (!s->d.trans_a && cpu_stream_refuse(&part) == NULL)
        s->part_bytes = (cpu_stream_bytes(&part) + 63) / 64 * 64;
    *scratch = s->part_bytes * (size_t)s->parts;
    *state = s;
    return OK;
}

/* One product, and what of it is computed at once. */
struct product {
    const struct state *s;
    const float *a, *b, *bias, *residual;
    float *out;
    void *scratch;
    atomic_bool failed;
};

/* By oneDNN, so many columns at a time that they stay near until they are finished. */
static status multiply(const struct state *s, const struct gemm *g, const struct product *p)
{
    bool finishes = p->bias != NULL || p->residual != NULL || g->act.kind != ACT_NONE;
    int64_t step = CACHE_SIZE / g->m / 64 * 64;
    if (step < 256) /* narrower ones would be slower than what they save */
        step = 256;
    for (int64_t j = 0; j < g->n; j += finishes ? step : g->n) {
        int64_t columns = finishes ? least(g->n - j, step) : g->n;
        struct sgemm part = { .m = g->m,
                              .n = columns,
                              .k = g->k,
                              .alpha = g->alpha,
                              .a = p->a,
                              .lda = s->d.trans_a ? s->d.m : g->lda,
                              .trans_a = s->d.trans_a,
                              .b = p->b + (g->trans_b ? j * g->ldb : j),
                              .ldb = g->ldb,
                              .trans_b = g->trans_b,
                              .c = p->out + j,
                              .ldc = g->ldc,
                              .threads = 1 };
        TRY(onednn_sgemm(&part));
        cpu_gemm_finish(g, p->bias, p->residual, j, columns, p->out);
    }
    return OK;
}

static void run_part(void *arg, int part)
{
    struct product *whole = arg;
    const struct state *s = whole->s;
    const struct matmul_dims *d = &s->d;
    int64_t i = s->part_rows < d->m ? part * s->part_rows : 0;
    int64_t j = s->part_columns < d->n ? part * s->part_columns : 0;
    struct gemm g = part_gemm(s, least(d->m - i, s->part_rows), least(d->n - j, s->part_columns));
    struct product p = { .s = s,
                         .a = whole->a + (d->trans_a ? i : i * d->k),
                         .b = whole->b + (d->trans_b ? j * d->k : j),
                         .bias = whole->bias != NULL ? whole->bias + j : NULL,
                         .residual =
                             whole->residual != NULL ? whole->residual + i * d->n + j : NULL,
                         .out = whole->out + i * d->n + j };
    float *room = (float *)((uint8_t *)whole->scratch + (size_t)part * s->part_bytes);
    /* The vectors of our own product are of whole floats, and a file's may lie anywhere. */
    bool streams = s->part_bytes > 0 && (uintptr_t)p.b % sizeof(float) == 0;
    if (streams && cpu_stream_refuse(&g) == NULL)
        cpu_stream(&g, p.a, p.b, p.bias, p.residual, p.out, room);
    else if (multiply(s, &g, &p) != OK)
        atomic_store(&whole->failed, true);
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *a = io->in[0], *b = io->in[1], *residual = io->in[3];
    float *out = io->out[0];
    int64_t index[SHAPE_MAX] = { 0 }, at_a = 0, at_b = 0, size = s->d.m * s->d.n;
    int last = s->walk.rank - 1;
    do {
        for (int64_t i = 0; i < s->walk.dim[last]; i++, out += size) {
            struct product p = { s,
                                 a + (at_a + i * s->walk.step_a[last]) * s->d.m * s->d.k,
                                 b + (at_b + i * s->walk.step_b[last]) * s->d.k * s->d.n,
                                 io->in[2],
                                 residual,
                                 out,
                                 io->scratch,
                                 false };
            parallel_run(s->parts, run_part, &p);
            if (atomic_load(&p.failed))
                return err_set(io->err, INTERNAL, "oneDNN: sgemm failed");
            residual = residual != NULL ? residual + size : NULL;
        }
    } while (broadcast_next(&s->walk, index, &at_a, &at_b));
    return OK;
}

/* ---- in bfloat16 ---- */

struct narrow {
    struct onednn *onednn;
    const void *packed;
    int64_t count;    /* elements of a that we bring to bfloat16, where nobody else does; or 0 */
    size_t narrow_at; /* in the scratch */
    size_t residual_bytes; /* of what is added; 0: nothing */
};

static const char *refuse_narrow(const struct kernel_ctx *ctx)
{
    const struct matmul_attrs *a = ctx->node->attrs;
    struct matmul_dims d;
    if (!ctx->bf16)
        return "nobody asked for bfloat16";
    if (!kernel_has_bf16())
        return "this processor does not multiply bfloat16";
    matmul_dims(a, &ctx->in[0].shape, &ctx->in[1].shape, &d);
    join_rows(&d);
    if (ctx->in[1].constant == NULL || d.stack.rank > 0 || d.trans_a || a->alpha != 1)
        return "only for rows times a constant";
    if ((double)d.m * (double)d.n * (double)d.k < 1e5)
        return "too small";
    return onednn_refuse_act((struct act_fn){ a->act, a->act_alpha, a->act_beta, a->act_gamma });
}

static void place(const struct kernel_ctx *ctx, struct narrow *s)
{
    enum layout give = LAYOUT_PLAIN;
    bool sums = ctx->in[MATMUL_RESIDUAL].shape.rank >= 0;
    if (ctx->want != NULL) {
        give = ctx->narrow ? layout_narrow(LAYOUT_PLAIN) : LAYOUT_PLAIN;
        ctx->want[MATMUL_A] = layout_narrow(LAYOUT_PLAIN);
        ctx->give[0] = give;
    }
    if (sums && ctx->want != NULL)
        ctx->want[MATMUL_RESIDUAL] = give;
    if (sums && ctx->over != NULL)
        *ctx->over = MATMUL_RESIDUAL;
    if (sums)
        s->residual_bytes = (size_t)layout_bytes(&ctx->out[0].shape, give, sizeof(float));
}

static status prepare_narrow(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    const struct matmul_attrs *a = ctx->node->attrs;
    struct narrow made = { 0 };
    struct matmul_dims d;
    matmul_dims(a, &ctx->in[0].shape, &ctx->in[1].shape, &d);
    join_rows(&d);
    TRY(onednn_matmul_bf16(ctx, &d, &made.onednn, e));
    status s =
        onednn_pack(made.onednn, ctx->packs, ctx->in[1].constant->data, NULL, &made.packed, e);
    if (s != OK) {
        onednn_free(made.onednn);
        return s;
    }
    *scratch = made.narrow_at = (onednn_scratch_bytes(made.onednn) + 63) / 64 * 64;
    if (ctx->want == NULL) {
        made.count = d.m * d.k;
        *scratch += (size_t)made.count * sizeof(uint16_t);
    }
    place(ctx, &made);
    *state = arena_zalloc(ctx->arena, sizeof(made));
    *(struct narrow *)*state = made;
    return OK;
}

/* oneDNN adds to what lies in the result already. */
static status run_narrow(const void *state, const struct kernel_io *io)
{
    const struct narrow *s = state;
    void *narrow = (uint8_t *)io->scratch + s->narrow_at;
    struct onednn_data d = { io->in[0], s->packed, io->in[MATMUL_BIAS], io->out[0], io->scratch };
    if (s->residual_bytes > 0 && io->in[MATMUL_RESIDUAL] != io->out[0])
        memcpy(io->out[0], io->in[MATMUL_RESIDUAL], s->residual_bytes);
    if (s->count > 0) {
        cpu_narrow(io->in[0], narrow, s->count);
        d.src = narrow;
    }
    return onednn_run(s->onednn, &d, io->err);
}

static void release_narrow(void *state)
{
    if (state != NULL)
        onednn_free(((struct narrow *)state)->onednn);
}

const struct kernel dnnl_matmul[] = {
    { "matmul", "dnnl matmul bf16", F32_ONLY | KERNEL_ANY_ALIGNMENT(1), DEVICE_CPU, refuse_narrow,
      prepare_narrow, run_narrow, release_narrow },
    { "matmul", "dnnl matmul", F32_ONLY | KERNEL_SLOW_UNALIGNED(1), DEVICE_CPU, refuse, prepare,
      run, NULL },
    { 0 },
};
