/* Small matrices: each is worked on in doubles, in scratch. */
#include "graph/attrs_matrices.h"
#include "kernels/ref/ref.h"

#include <math.h>
#include <string.h>

struct squares {
    int64_t count, n;
    bool wide; /* float64 */
};

static status prepare_squares(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                              struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct squares *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct squares){ shape_span(x, 0, x->rank - 2), x->dim[x->rank - 1],
                           ctx->in[0].dtype == DTYPE_F64 };
    *scratch = 2 * (size_t)s->n * (size_t)s->n * sizeof(double);
    *state = s;
    return OK;
}

static double number_at(const void *x, bool wide, int64_t i)
{
    return wide ? ((const double *)x)[i] : (double)((const float *)x)[i];
}

static void put_number(void *x, bool wide, int64_t i, double v)
{
    if (wide)
        ((double *)x)[i] = v;
    else
        ((float *)x)[i] = (float)v;
}

static void read_matrix(const struct squares *s, const void *x, int64_t which, double *m)
{
    for (int64_t i = 0; i < s->n * s->n; i++)
        m[i] = number_at(x, s->wide, which * s->n * s->n + i);
}

static void swap_rows(double *m, int64_t n, int64_t a, int64_t b)
{
    for (int64_t j = 0; j < n; j++) {
        double kept = m[a * n + j];
        m[a * n + j] = m[b * n + j];
        m[b * n + j] = kept;
    }
}

/* The row from `at` on whose element in column `at` is largest. */
static int64_t pivot_of(const double *m, int64_t n, int64_t at)
{
    int64_t best = at;
    for (int64_t i = at + 1; i < n; i++)
        if (fabs(m[i * n + at]) > fabs(m[best * n + at]))
            best = i;
    return best;
}

static void subtract_row(double *m, int64_t n, int64_t from, int64_t row, double factor)
{
    for (int64_t j = 0; j < n; j++)
        m[row * n + j] -= factor * m[from * n + j];
}

/* To a triangle, row by row; the product of its diagonal. */
static double determinant(double *m, int64_t n)
{
    double product = 1;
    for (int64_t k = 0; k < n; k++) {
        int64_t p = pivot_of(m, n, k);
        if (m[p * n + k] == 0)
            return 0;
        if (p != k) {
            swap_rows(m, n, p, k);
            product = -product;
        }
        product *= m[k * n + k];
        for (int64_t i = k + 1; i < n; i++)
            subtract_row(m, n, k, i, m[i * n + k] / m[k * n + k]);
    }
    return product;
}

static status run_det(const void *state, const struct kernel_io *io)
{
    const struct squares *s = state;
    for (int64_t i = 0; i < s->count; i++) {
        read_matrix(s, io->in[0], i, io->scratch);
        put_number(io->out[0], s->wide, i, determinant(io->scratch, s->n));
    }
    return OK;
}

/* m becomes the unit matrix, and what was one becomes the inverse; false where there is none. */
static bool invert(double *m, double *inverse, int64_t n)
{
    memset(inverse, 0, (size_t)(n * n) * sizeof(*inverse));
    for (int64_t i = 0; i < n; i++)
        inverse[i * n + i] = 1;
    for (int64_t k = 0; k < n; k++) {
        int64_t p = pivot_of(m, n, k);
        if (m[p * n + k] == 0)
            return false;
        swap_rows(m, n, p, k);
        swap_rows(inverse, n, p, k);
        double by = 1 / m[k * n + k];
        for (int64_t j = 0; j < n; j++) {
            m[k * n + j] *= by;
            inverse[k * n + j] *= by;
        }
        for (int64_t i = 0; i < n; i++) {
            double factor = m[i * n + k];
            if (i == k || factor == 0)
                continue;
            subtract_row(m, n, k, i, factor);
            subtract_row(inverse, n, k, i, factor);
        }
    }
    return true;
}

static status run_inverse(const void *state, const struct kernel_io *io)
{
    const struct squares *s = state;
    int64_t size = s->n * s->n;
    double *m = io->scratch, *inverse = m + size;
    for (int64_t i = 0; i < s->count; i++) {
        read_matrix(s, io->in[0], i, m);
        if (!invert(m, inverse, s->n))
            return err_set(io->err, INVALID, "matrix %lld has no inverse", (long long)i);
        for (int64_t j = 0; j < size; j++)
            put_number(io->out[0], s->wide, i * size + j, inverse[j]);
    }
    return OK;
}

/* ---- couple ---- */

struct couple {
    int64_t rows, classes;
};

static status prepare_couple(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    struct couple *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct couple){ ctx->out[0].shape.dim[0], ctx->out[0].shape.dim[1] };
    *scratch = (size_t)(s->classes + 2) * (size_t)s->classes * sizeof(double);
    *state = s;
    return OK;
}

/* q[t][t] = sum over j of r[j][t]^2, q[t][j] = -r[j][t] r[t][j]. */
static void fill_system(const float *r, int64_t n, double *q)
{
    memset(q, 0, (size_t)(n * n) * sizeof(*q));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i + 1; j < n; j++) {
            double ij = (double)*r++, ji = 1 - ij;
            q[i * n + i] += ji * ji;
            q[j * n + j] += ij * ij;
            q[i * n + j] = q[j * n + i] = -ij * ji;
        }
}

/* qp = q p; returns p q p. */
static double multiply(const double *q, const double *p, int64_t n, double *qp)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        qp[i] = 0;
        for (int64_t j = 0; j < n; j++)
            qp[i] += q[i * n + j] * p[j];
        sum += p[i] * qp[i];
    }
    return sum;
}

static double largest_gap(const double *qp, double pqp, int64_t n)
{
    double gap = 0;
    for (int64_t i = 0; i < n; i++)
        gap = fmax(gap, fabs(qp[i] - pqp));
    return gap;
}

/* One class after the other moves to its best place, and all are brought to a sum of 1. */
static void improve(const double *q, double *p, double *qp, double pqp, int64_t n)
{
    for (int64_t t = 0; t < n; t++) {
        double by = (pqp - qp[t]) / q[t * n + t];
        p[t] += by;
        pqp = (pqp + by * (by * q[t * n + t] + 2 * qp[t])) / (1 + by) / (1 + by);
        for (int64_t j = 0; j < n; j++) {
            qp[j] = (qp[j] + by * q[t * n + j]) / (1 + by);
            p[j] /= 1 + by;
        }
    }
}

#define COUPLE_ROUNDS 100

static void couple_row(const float *r, int64_t n, double *scratch, float *out)
{
    double *q = scratch, *p = q + n * n, *qp = p + n, pqp;
    fill_system(r, n, q);
    for (int64_t i = 0; i < n; i++)
        p[i] = 1 / (double)n;
    for (int round = 0; round < COUPLE_ROUNDS; round++) {
        pqp = multiply(q, p, n, qp);
        if (largest_gap(qp, pqp, n) < 0.005 / (double)n)
            break;
        improve(q, p, qp, pqp, n);
    }
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)p[i];
}

static status run_couple(const void *state, const struct kernel_io *io)
{
    const struct couple *s = state;
    int64_t n = s->classes, pairs = n * (n - 1) / 2;
    const float *r = io->in[0];
    float *out = io->out[0];
    for (int64_t i = 0; i < s->rows; i++)
        couple_row(r + i * pairs, n, io->scratch, out + i * n);
    return OK;
}

#define FLOATS (DTYPE_BIT(DTYPE_F32) | DTYPE_BIT(DTYPE_F64))

const struct kernel ref_matrices[] = {
    { "det", "ref det", FLOATS, DEVICE_CPU, NULL, prepare_squares, run_det, NULL },
    { "inverse", "ref inverse", FLOATS, DEVICE_CPU, NULL, prepare_squares, run_inverse, NULL },
    { "couple", "ref couple", DTYPE_BIT(DTYPE_F32), DEVICE_CPU, NULL, prepare_couple, run_couple,
      NULL },
    { 0 },
};
