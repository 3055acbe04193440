#include "tensor/narrow.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

const char *const narrow_names[] = {
#define X(name, text, exponent, mantissa, bias, finite, infinity, fnuz) text,
    NARROW_MAP(X)
#undef X
        NULL,
};
const char *const narrow_round_names[] = { "up", "down", "nearest", NULL };

struct format {
    int exponent, mantissa, bias, finite;
    bool infinity, fnuz;
};

static const struct format formats[] = {
#define X(name, text, exponent, mantissa, bias, finite, infinity, fnuz) \
    { exponent, mantissa, bias, finite, infinity, fnuz },
    NARROW_MAP(X)
#undef X
};

/* Code of a positive number, counted on behind the largest too: what it would be if the format went on. */
static double magnitude(const struct format *f, int code)
{
    int exponent = code >> f->mantissa, fraction = code & ((1 << f->mantissa) - 1);
    if (exponent == 0 && f->mantissa > 0)
        return ldexp(fraction, 1 - f->bias - f->mantissa);
    return ldexp((1 << f->mantissa) + fraction, exponent - f->bias - f->mantissa);
}

static int sign_bit(const struct format *f)
{
    return f->mantissa == 0 ? 0 : 1 << (f->exponent + f->mantissa); /* E8M0 has no sign */
}

float narrow_to_f32(enum narrow format, uint8_t code)
{
    const struct format *f = &formats[format];
    int sign = sign_bit(f), rest = sign == 0 ? code : code & (sign - 1);
    if (f->fnuz && code == sign)
        return NAN; /* where others have the negative zero */
    float v = rest < f->finite                   ? (float)magnitude(f, rest)
              : f->infinity && rest == f->finite ? INFINITY
                                                 : NAN;
    return code & sign ? -v : v;
}

/* The bits of the exponent are the code; a fraction says whether it lies between two. */
static uint8_t power_of_two(float x, struct narrow_rule rule)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    uint32_t exponent = bits >> 23 & 0xff, fraction = bits & 0x7fffff;
    if (exponent == 0xff)
        return 0xff;
    bool up = rule.round == NARROW_UP
                  ? fraction > 0 && (exponent > 0 || fraction > 0x400000)
                  : rule.round == NARROW_NEAREST &&
                        (fraction > 0x400000 || (fraction == 0x400000 && exponent > 0));
    exponent += up;
    return (uint8_t)(exponent == 0xff && rule.saturate ? 0xfe : exponent);
}

/* The code whose number is nearest to x >= 0; f->finite: too large. Codes and numbers rise together. */
static int nearest(const struct format *f, double x)
{
    int low = 0, high = f->finite;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (magnitude(f, middle) <= x)
            low = middle;
        else
            high = middle;
    }
    double half = (magnitude(f, low) + magnitude(f, low + 1)) / 2;
    return x > half || (x == half && low % 2 == 1) ? low + 1 : low;
}

uint8_t narrow_from_f32(enum narrow format, float x, struct narrow_rule rule)
{
    const struct format *f = &formats[format];
    if (f->mantissa == 0)
        return power_of_two(x, rule);
    int sign = sign_bit(f), negative = signbit(x) ? sign : 0;
    bool has_nan = f->finite + f->infinity < sign || f->fnuz;
    int none = f->fnuz ? sign : negative | (sign - 1);
    if (isnan(x))
        return (uint8_t)(has_nan ? none : negative);
    int code = isinf(x) ? f->finite : nearest(f, fabs((double)x));
    if (code == f->finite && (rule.saturate || !has_nan))
        code = f->finite - 1;
    else if (code == f->finite && !f->infinity)
        return (uint8_t)none;
    return (uint8_t)(f->fnuz && code == 0 ? 0 : negative | code);
}
