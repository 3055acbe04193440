/* Moving elements by runs, and by tiles where the innermost dimension of the output is not the input's. */
#include "kernels/cpu/cpu.h"
#include "kernels/walk.h"

#include <string.h>

/* Rows of a matrix whose columns lie `step` elements apart in the input and one after another in the output: the
 * transposition inside a walk. 16 elements of 4 bytes are a cache line. */
#define TILE 16

typedef void (*tile_fn)(const void *x, void *out, int64_t rows, int64_t columns, int64_t step,
                        int64_t out_step);

#define TURN(name, type)                                                               \
    CLONES static void name(const void *vx, void *vout, int64_t rows, int64_t columns, \
                            int64_t step, int64_t out_step)                            \
    {                                                                                  \
        const type *x = vx;                                                            \
        type *out = vout;                                                              \
        for (int64_t r0 = 0; r0 < rows; r0 += TILE)                                    \
            for (int64_t c0 = 0; c0 < columns; c0 += TILE)                             \
                for (int64_t r = r0; r < rows && r < r0 + TILE; r++)                   \
                    for (int64_t c = c0; c < columns && c < c0 + TILE; c++)            \
                        out[r * out_step + c] = x[r + c * step];                       \
    }

/* One run of n elements `step` apart. */
#define RUN(name, type)                                                          \
    CLONES static void name(const void *vx, void *vout, int64_t n, int64_t step) \
    {                                                                            \
        const type *x = vx;                                                      \
        type *out = vout;                                                        \
        for (int64_t i = 0; i < n; i++)                                          \
            out[i] = x[i * step];                                                \
    }

TURN(turn8, uint8_t)
TURN(turn16, uint16_t)
TURN(turn32, uint32_t)
TURN(turn64, uint64_t)
RUN(run8, uint8_t)
RUN(run16, uint16_t)
RUN(run32, uint32_t)
RUN(run64, uint64_t)

typedef void (*run_fn)(const void *x, void *out, int64_t n, int64_t step);

struct state {
    struct walk walk; /* merged; the dimensions of the tile, if there is one, are the last two */
    int64_t out_step[VIEW_RANK_MAX]; /* in elements of the output */
    bool tiled;
    tile_fn tile;
    run_fn run;
};

static const char *refuse(const struct kernel_ctx *ctx)
{
    size_t size = dtype_size(ctx->in[0].dtype);
    return size == 1 || size == 2 || size == 4 || size == 8 ? NULL : "an element of that size";
}

static void set_out_steps(struct state *s)
{
    int64_t step = 1;
    for (int i = s->walk.rank - 1; i >= 0; i--) {
        s->out_step[i] = step;
        step *= s->walk.dim[i];
    }
}

/* Moves dimension `from`, along which the input is dense, to the last but one place. */
static void make_tile(struct state *s, int from)
{
    struct walk *w = &s->walk;
    int to = w->rank - 2;
    int64_t dim = w->dim[from], step = w->step[from], out_step = s->out_step[from];
    for (int i = from; i < to; i++) {
        w->dim[i] = w->dim[i + 1];
        w->step[i] = w->step[i + 1];
        s->out_step[i] = s->out_step[i + 1];
    }
    w->dim[to] = dim;
    w->step[to] = step;
    s->out_step[to] = out_step;
    s->tiled = true;
}

static status prepare(const struct kernel_ctx *ctx, view_fn *view, void **state, struct err *e)
{
    static const tile_fn tile[] = { [1] = turn8, [2] = turn16, [4] = turn32, [8] = turn64 };
    static const run_fn run[] = { [1] = run8, [2] = run16, [4] = run32, [8] = run64 };
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    void *walk;
    TRY(walk_prepare(ctx, view, &walk, e));
    s->walk = *(struct walk *)walk;
    walk_merge(&s->walk);
    set_out_steps(s);
    s->tile = tile[s->walk.size];
    s->run = run[s->walk.size];
    int last = s->walk.rank - 1;
    for (int i = 0; i < last && s->walk.step[last] > 1; i++)
        if (s->walk.step[i] == 1) {
            make_tile(s, i);
            break;
        }
    *state = s;
    return OK;
}

static void copy_run(const struct state *s, const uint8_t *x, uint8_t *out)
{
    const struct walk *w = &s->walk;
    int last = w->rank - 1;
    int64_t n = last >= 0 ? w->dim[last] : 1, step = last >= 0 ? w->step[last] : 1;
    if (step == 1)
        memcpy(out, x, (size_t)n * w->size);
    else
        s->run(x, out, n, step);
}

static void copy_runs(const struct state *s, const uint8_t *x, uint8_t *out)
{
    const struct walk *w = &s->walk;
    int64_t index[VIEW_RANK_MAX] = { 0 }, at = w->offset;
    size_t bytes = (size_t)(w->rank > 0 ? w->dim[w->rank - 1] : 1) * w->size;
    do {
        copy_run(s, x + at * (int64_t)w->size, out);
        out += bytes;
    } while (walk_next(w, w->rank - 1, index, &at));
}

static void copy_tiles(const struct state *s, const uint8_t *x, uint8_t *out)
{
    const struct walk *w = &s->walk;
    int64_t index[VIEW_RANK_MAX] = { 0 }, at = w->offset;
    int rank = w->rank - 2, rows = rank, columns = rank + 1;
    do {
        int64_t to = 0;
        for (int i = 0; i < rank; i++)
            to += index[i] * s->out_step[i];
        s->tile(x + at * (int64_t)w->size, out + to * (int64_t)w->size, w->dim[rows],
                w->dim[columns], w->step[columns], s->out_step[rows]);
    } while (walk_next(w, rank, index, &at));
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    if (s->walk.count > 0)
        (s->tiled ? copy_tiles : copy_runs)(s, io->in[0], io->out[0]);
    return OK;
}

#define X(op, view)                                                                         \
    static status prepare_##op(const struct kernel_ctx *ctx, void **state, size_t *scratch, \
                               struct err *e)                                               \
    {                                                                                       \
        return prepare(ctx, view, state, e);                                                \
    }
WALK_LIST(X)
#undef X

const struct kernel cpu_move[] = {
#define X(op, view) { #op, "cpu " #op, UINT32_MAX, DEVICE_CPU, refuse, prepare_##op, run, NULL },
    WALK_LIST(X)
#undef X
        { 0 },
};
