#include "kernels/resize.h"

#include <math.h>

static float place_of(const struct resize_attrs *a, const struct resize_axis *x, int64_t o)
{
    switch ((enum resize_place)a->place) {
    case PLACE_HALF_PIXEL: return x->ratio * ((float)o + 0.5f) - 0.5f;
    case PLACE_HALF_PIXEL_OR_0: return x->out > 1 ? x->ratio * ((float)o + 0.5f) - 0.5f : 0;
    default: return x->ratio * (float)o;
    }
}

static int64_t keep_inside(int64_t v, int64_t size)
{
    return v < 0 ? 0 : v >= size ? size - 1 : v;
}

static float round_by(int32_t rule, float v)
{
    switch ((enum resize_round)rule) {
    case ROUND_HALF_UP: return floorf(v + 0.5f);
    case ROUND_HALF_DOWN: return ceilf(v - 0.5f);
    case ROUND_UP: return ceilf(v);
    default: return floorf(v);
    }
}

/* The cubic convolution kernel at distances 1 + d, d, 1 - d, 2 - d (Keys). */
void resize_cubic(float a, float d, float w[4])
{
    float e = 1 - d;
    w[0] = ((a * (d + 1) - 5 * a) * (d + 1) + 8 * a) * (d + 1) - 4 * a;
    w[1] = ((a + 2) * d - (a + 3)) * d * d + 1;
    w[2] = ((a + 2) * e - (a + 3)) * e * e + 1;
    w[3] = ((a * (e + 1) - 5 * a) * (e + 1) + 8 * a) * (e + 1) - 4 * a;
}

void resize_tap(const struct resize_attrs *a, const struct resize_axis *x, int64_t o, int64_t step,
                struct resize_tap *t)
{
    float v = place_of(a, x, o), low;
    if (a->mode == RESIZE_NEAREST) {
        t->at[0] = keep_inside((int64_t)round_by(a->round, v), x->in) * step;
        t->weight[0] = 1;
        return;
    }
    if (a->mode == RESIZE_LINEAR && v < 0)
        v = 0;
    low = floorf(v);
    if (a->mode == RESIZE_LINEAR) {
        t->weight[1] = v - low;
        t->weight[0] = 1 - t->weight[1];
    } else {
        resize_cubic(a->cubic, v - low, t->weight);
    }
    int first = a->mode == RESIZE_LINEAR ? 0 : -1;
    for (int i = 0; i < (a->mode == RESIZE_LINEAR ? 2 : 4); i++)
        t->at[i] = keep_inside((int64_t)low + first + i, x->in) * step;
}

int resize_taps(int32_t mode)
{
    static const int taps[] = { [RESIZE_NEAREST] = 1, [RESIZE_LINEAR] = 2, [RESIZE_CUBIC] = 4 };
    return taps[mode];
}
