/* A latency histogram in nanoseconds, log-linear: 256 steps for each doubling, so that a reported
 * value is within 0.4 % of a measured one, for a fixed 120 KiB and a few instructions per sample.
 * The least and the greatest are kept exactly. */
#pragma once

#include <stdint.h>

#define HISTOGRAM_STEP_BITS 8
#define HISTOGRAM_OCTAVES   ((64 - HISTOGRAM_STEP_BITS) + 1)

struct histogram {
    uint64_t count, min, max;
    uint64_t bin[HISTOGRAM_OCTAVES][1 << HISTOGRAM_STEP_BITS];
};

struct histogram *histogram_new(void);
void histogram_free(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t ns);
/* The value that a part q (0 to 1) of all samples does not exceed; 0 without samples. */
uint64_t histogram_quantile(const struct histogram *h, double q);
