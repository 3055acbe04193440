#include "client/histogram.h"

#include "base/mem.h"

#define STEPS ((uint64_t)1 << HISTOGRAM_STEP_BITS)

struct histogram *histogram_new(void)
{
    return mem_zalloc(sizeof(struct histogram));
}

void histogram_free(struct histogram *h)
{
    mem_free(h);
}

/* Values below STEPS are their own bin of octave 0; above, octave o holds the values of STEPS << (o
 * - 1) and up to its double, in steps of 1 << (o - 1). */
void histogram_add(struct histogram *h, uint64_t ns)
{
    int octave = ns < STEPS ? 0 : 64 - HISTOGRAM_STEP_BITS - __builtin_clzll(ns);
    uint64_t step = octave == 0 ? ns : (ns >> (octave - 1)) - STEPS;
    h->bin[octave][step]++;
    if (h->count == 0 || ns < h->min)
        h->min = ns;
    if (ns > h->max)
        h->max = ns;
    h->count++;
}

static uint64_t middle(int octave, uint64_t step)
{
    return octave == 0 ? step
                       : ((STEPS + step) << (octave - 1)) + (((uint64_t)1 << (octave - 1)) / 2);
}

static uint64_t clamp(const struct histogram *h, uint64_t v)
{
    return v < h->min ? h->min : v > h->max ? h->max : v;
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
    uint64_t rank = (uint64_t)(q * (double)h->count), seen = 0;
    if (h->count == 0 || rank == 0)
        return h->min;
    for (int o = 0; o < HISTOGRAM_OCTAVES; o++) {
        for (uint64_t s = 0; s < STEPS; s++) {
            seen += h->bin[o][s];
            if (seen >= rank)
                return clamp(h, middle(o, s));
        }
    }
    return h->max;
}
