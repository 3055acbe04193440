/* The discrete Fourier transform, as a fast one of mixed radix: a length of p * m is p transforms of m, brought together
 * with the powers of one root of unity. A prime length costs its square. */
#include "graph/attrs_signal.h"
#include "kernels/ref/ref.h"

#include <complex.h>

typedef double complex number;

struct state {
    struct dft_dims d;
    int64_t outer, inner; /* lines in front of and behind the axis */
    bool inverse, one_sided;
    dtype dtype;
    number *root; /* e^(-+ 2 pi i k / length) */
};

/* Scratch: the line, its transform, and one place for each part of a split. */
static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    const struct dft_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[0].shape;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    TRY(dft_dims(ctx->node, ctx->in, &s->d, e));
    s->outer = shape_span(x, 0, s->d.axis);
    s->inner = shape_span(x, s->d.axis + 1, x->rank - 1);
    s->inverse = a->inverse;
    s->one_sided = a->one_sided;
    s->dtype = ctx->in[0].dtype;
    int64_t n = s->d.length;
    s->root = arena_try_array(ctx->arena, (size_t)n, sizeof(*s->root));
    if (s->root == NULL)
        return err_set(e, NO_MEMORY, "no memory for a transform of %lld elements", (long long)n);
    for (int64_t k = 0; k < n; k++) {
        double angle = 2 * 3.14159265358979323846 * (double)k / (double)n;
        s->root[k] = cos(angle) + (a->inverse ? I : -I) * sin(angle);
    }
    *scratch = 3 * (size_t)n * sizeof(number);
    *state = s;
    return OK;
}

static int64_t smallest_factor(int64_t n)
{
    for (int64_t p = 2; p * p <= n; p++)
        if (n % p == 0)
            return p;
    return n;
}

/* The transform of n numbers, `step` apart; step * n is the whole length. `one`: room for as many numbers as the largest
 * factor of n. */
static void transform(const struct state *s, const number *x, int64_t n, int64_t step, number *out,
                      number *one)
{
    if (n == 1) {
        out[0] = x[0];
        return;
    }
    int64_t p = smallest_factor(n), m = n / p;
    for (int64_t r = 0; r < p; r++)
        transform(s, x + r * step, m, step * p, out + r * m, one);
    for (int64_t k = 0; k < m; k++) {
        for (int64_t q = 0; q < p; q++) {
            number sum = 0;
            for (int64_t r = 0; r < p; r++)
                sum += out[r * m + k] * s->root[r * (k + q * m) % n * step];
            one[q] = sum;
        }
        for (int64_t q = 0; q < p; q++)
            out[q * m + k] = one[q];
    }
}

static double part_at(const struct state *s, const void *x, int64_t i)
{
    return s->dtype == DTYPE_F64 ? ((const double *)x)[i] : (double)((const float *)x)[i];
}

static void put_part(const struct state *s, void *out, int64_t i, double v)
{
    if (s->dtype == DTYPE_F64)
        ((double *)out)[i] = v;
    else
        ((float *)out)[i] = (float)v;
}

/* Element k of the line that begins at element `base` of x; zeros behind its end. */
static number element(const struct state *s, const void *x, int64_t base, int64_t k)
{
    if (k >= s->d.in)
        return 0;
    int64_t at = base + k * s->inner;
    return s->d.complex_in ? part_at(s, x, 2 * at) + I * part_at(s, x, 2 * at + 1)
                           : part_at(s, x, at);
}

/* The other half of a one-sided spectrum mirrors the first. */
static void read_line(const struct state *s, const void *x, int64_t base, number *line)
{
    int64_t n = s->d.length;
    for (int64_t k = 0; k < n; k++)
        line[k] = s->one_sided && s->inverse && k > n / 2 ? conj(element(s, x, base, n - k))
                                                          : element(s, x, base, k);
}

static void write_line(const struct state *s, const number *line, int64_t base, void *out)
{
    double by = s->inverse ? 1 / (double)s->d.length : 1;
    for (int64_t k = 0; k < s->d.out; k++) {
        int64_t at = base + k * s->inner;
        if (s->d.complex_out) {
            put_part(s, out, 2 * at, creal(line[k]) * by);
            put_part(s, out, 2 * at + 1, cimag(line[k]) * by);
        } else {
            put_part(s, out, at, creal(line[k]) * by);
        }
    }
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    number *line = io->scratch, *done = line + s->d.length, *one = done + s->d.length;
    for (int64_t o = 0; o < s->outer; o++)
        for (int64_t i = 0; i < s->inner; i++) {
            read_line(s, io->in[0], o * s->d.in * s->inner + i, line);
            transform(s, line, s->d.length, 1, done, one);
            write_line(s, done, o * s->d.out * s->inner + i, io->out[0]);
        }
    return OK;
}

const struct kernel ref_signal[] = {
    { "dft", "ref dft", F32_ONLY | DTYPE_BIT(DTYPE_F64), DEVICE_CPU, NULL, prepare, run, NULL },
    { 0 },
};
