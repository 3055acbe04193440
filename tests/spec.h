/* For tests: tensors written as text, "f[2,3] l{0,3,8} -". A letter is the dtype (f float32, d float64, i int32, l int64,
 * h int16, w uint64, u uint8, c int8, b bool), behind it stand the dimensions, the elements, or both; elements alone are a vector. Elements that are not
 * written are pseudo-random. "-" is an input that is absent: its rank is -1. */
#pragma once

#include "base/arena.h"
#include "base/mem.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPEC_MAX 16 /* tensors of one text */

static inline uint64_t spec_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* A long double holds every int64 and every double. */
static inline void spec_put(const struct tensor *t, int64_t i, long double v)
{
    void *data = (void *)t->data;
    switch (t->dtype) {
    case DTYPE_F32: ((float *)data)[i] = (float)v; break;
    case DTYPE_F64: ((double *)data)[i] = (double)v; break;
    case DTYPE_I32: ((int32_t *)data)[i] = (int32_t)v; break;
    case DTYPE_I64: ((int64_t *)data)[i] = (int64_t)v; break;
    case DTYPE_I16: ((int16_t *)data)[i] = (int16_t)v; break;
    case DTYPE_U64: ((uint64_t *)data)[i] = (uint64_t)v; break;
    case DTYPE_I8: ((int8_t *)data)[i] = (int8_t)v; break;
    default: ((uint8_t *)data)[i] = (uint8_t)v; break;
    }
}

static inline long double spec_get(const struct tensor *t, int64_t i)
{
    switch (t->dtype) {
    case DTYPE_F32: return ((const float *)t->data)[i];
    case DTYPE_F64: return ((const double *)t->data)[i];
    case DTYPE_I32: return ((const int32_t *)t->data)[i];
    case DTYPE_I64: return ((const int64_t *)t->data)[i];
    case DTYPE_I16: return ((const int16_t *)t->data)[i];
    case DTYPE_U64: return ((const uint64_t *)t->data)[i];
    case DTYPE_I8: return ((const int8_t *)t->data)[i];
    default: return ((const uint8_t *)t->data)[i];
    }
}

/* Floats of -1 .. 1, integers of 0 .. 9, int8 of -9 .. 9. */
static inline void spec_fill(const struct tensor *t, uint64_t *seed)
{
    bool is_signed = t->dtype == DTYPE_I8;
    bool is_float = t->dtype == DTYPE_F32 || t->dtype == DTYPE_F64;
    for (int64_t i = 0; i < shape_numel(&t->shape); i++) {
        int64_t r = (int64_t)(spec_random(seed) % 2001) - 1000;
        spec_put(t, i,
                 is_float ? (long double)r / 1000
                          : (long double)(r < 0 && !is_signed ? -r : r) / 101);
    }
}

/* The bytes end where their memory ends, for AddressSanitizer to see, and are aligned to an element and no better. */
static inline void spec_place(struct tensor *t, struct arena *a)
{
    size_t size = dtype_size(t->dtype), bytes = (size_t)tensor_bytes(t);
    uint8_t *p = mem_try(bytes + size);
    if (p == NULL)
        abort();
    memset(p, 0, bytes + size);
    arena_defer(a, mem_free, p);
    t->data = p + size;
}

static inline dtype spec_dtype(char letter)
{
    static const struct {
        char letter;
        dtype dtype;
    } rows[] = {
        { 'f', DTYPE_F32 }, { 'd', DTYPE_F64 }, { 'i', DTYPE_I32 },
        { 'l', DTYPE_I64 }, { 'u', DTYPE_U8 },  { 'b', DTYPE_BOOL },
        { 'h', DTYPE_I16 }, { 'w', DTYPE_U64 }, { 'c', DTYPE_I8 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].letter == letter)
            return rows[i].dtype;
    fprintf(stderr, "no dtype has the letter '%c'\n", letter);
    abort();
}

static inline const char *spec_shape(const char *s, struct shape *out)
{
    *out = (struct shape){ .rank = 0 };
    for (s++; *s != ']'; s += *s == ',') {
        char *end;
        out->dim[out->rank++] = strtoll(s, &end, 10);
        s = end;
    }
    return s + 1;
}

/* Writes the elements where t has bytes already, counts them where it has none. */
static inline const char *spec_elements(const char *s, const struct tensor *t, int64_t *count)
{
    *count = 0;
    for (s++; *s != '}'; s += *s == ',') {
        char *end;
        long double v = strtold(s, &end);
        if (t->data != NULL)
            spec_put(t, *count, v);
        ++*count;
        s = end;
    }
    return s + 1;
}

static inline const char *spec_tensor(const char *s, uint64_t *seed, struct arena *a,
                                      struct tensor *t)
{
    int64_t count;
    *t = (struct tensor){ .dtype = DTYPE_F32, .shape.rank = -1 };
    if (*s == '-')
        return s + 1;
    t->dtype = spec_dtype(*s++);
    if (*s == '[')
        s = spec_shape(s, &t->shape);
    if (t->shape.rank < 0) {
        spec_elements(s, t, &count);
        t->shape = SHAPE(count);
    }
    if (tensor_bytes(t) < 0 || tensor_bytes(t) > 1 << 30) /* a shape that is only looked at */
        return s;
    spec_place(t, a);
    spec_fill(t, seed);
    return *s == '{' ? spec_elements(s, t, &count) : s;
}

/* How many there are. The bytes belong to a. */
static inline int spec_read(const char *text, uint64_t seed, struct arena *a,
                            struct tensor out[SPEC_MAX])
{
    int n = 0;
    for (const char *s = text; *s != '\0' && n < SPEC_MAX; s += *s == ' ')
        s = spec_tensor(s, &seed, a, &out[n++]);
    return n;
}

/* Largest difference over the largest magnitude of `want`; infinity where they do not compare. NaN equals NaN. */
static inline double spec_error(const struct tensor *got, const struct tensor *want)
{
    if (got->dtype != want->dtype || !shape_eq(&got->shape, &want->shape))
        return INFINITY;
    long double worst = 0, scale = 0;
    for (int64_t i = 0; i < shape_numel(&want->shape); i++) {
        long double g = spec_get(got, i), w = spec_get(want, i);
        if ((isnan(g) && isnan(w)) || g == w) /* infinities too */
            continue;
        if (!(fabsl(g - w) < INFINITY))
            return INFINITY;
        worst = fmaxl(worst, fabsl(g - w));
    }
    for (int64_t i = 0; i < shape_numel(&want->shape); i++)
        if (isfinite(spec_get(want, i)))
            scale = fmaxl(scale, fabsl(spec_get(want, i)));
    return (double)(scale > 0 ? worst / scale : worst);
}
