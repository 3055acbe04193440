/* Sums and greatest elements of rows, in lanes that the compiler keeps in one vector register. */
#pragma once

#include <math.h>
#include <stdint.h>

#define ROW_LANES 16

static inline float row_fold(const float lane[ROW_LANES])
{
    float sum[ROW_LANES];
    for (int j = 0; j < ROW_LANES; j++)
        sum[j] = lane[j];
    for (int half = ROW_LANES / 2; half > 0; half /= 2) /* a chain of four additions, not of 15 */
        for (int j = 0; j < half; j++)
            sum[j] += sum[j + half];
    return sum[0];
}

static inline float row_sum(const float *x, int64_t n)
{
    float lane[ROW_LANES] = { 0 };
    int64_t i = 0;
    for (; i + ROW_LANES <= n; i += ROW_LANES)
        for (int j = 0; j < ROW_LANES; j++)
            lane[j] += x[i + j];
    for (int j = 0; i + j < n; j++)
        lane[j] += x[i + j];
    return row_fold(lane);
}

/* Of (x - mean) squared. */
static inline float row_squares(const float *x, int64_t n, float mean)
{
    float lane[ROW_LANES] = { 0 };
    int64_t i = 0;
    for (; i + ROW_LANES <= n; i += ROW_LANES)
        for (int j = 0; j < ROW_LANES; j++)
            lane[j] += (x[i + j] - mean) * (x[i + j] - mean);
    for (int j = 0; i + j < n; j++)
        lane[j] += (x[i + j] - mean) * (x[i + j] - mean);
    return row_fold(lane);
}

/* NaN may be passed over: what is computed from it later is NaN in any case. */
static inline float row_max(const float *x, int64_t n)
{
    float lane[ROW_LANES];
    int64_t i = 0;
    for (int j = 0; j < ROW_LANES; j++)
        lane[j] = -INFINITY;
    for (; i + ROW_LANES <= n; i += ROW_LANES)
        for (int j = 0; j < ROW_LANES; j++)
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (int j = 0; i + j < n; j++)
        lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (int half = ROW_LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] = lane[j] > lane[j + half] ? lane[j] : lane[j + half];
    return lane[0];
}
