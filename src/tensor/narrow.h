/* Floats of 8 and 4 bits, as files and requests hold them: codes of one byte each. Nothing is computed in them: they are
 * widened to float, and rounded back. The formats are those of the Open Compute Project (OCP 8-bit and microscaling) and
 * the "fnuz" ones, which have no infinity and no negative zero. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

// clang-format off
/*   name    text             exponent bits, mantissa bits, bias, codes of one sign that are finite, has an infinity, fnuz */
#define NARROW_MAP(X)                                            \
    X(E4M3,     "float8_e4m3fn",    4, 3, 7,   127, false, false) \
    X(E4M3FNUZ, "float8_e4m3fnuz",  4, 3, 8,   128, false, true)  \
    X(E5M2,     "float8_e5m2",      5, 2, 15,  124, true,  false) \
    X(E5M2FNUZ, "float8_e5m2fnuz",  5, 2, 16,  128, false, true)  \
    X(E2M1,     "float4_e2m1fn",    2, 1, 1,   8,   false, false) \
    X(E8M0,     "float8_e8m0fnu",   8, 0, 127, 255, false, false)
// clang-format on

enum narrow {
#define X(name, text, exponent, mantissa, bias, finite, infinity, fnuz) NARROW_##name,
    NARROW_MAP(X)
#undef X
};
extern const char *const narrow_names[]; /* in enum order, NULL-terminated */

/* Of E8M0, whose numbers are powers of two: which one a number between two becomes. */
enum narrow_round {
    NARROW_UP,
    NARROW_DOWN,
    NARROW_NEAREST,
};
extern const char *const narrow_round_names[];

/* How a float becomes a code. saturate: what is too large becomes the largest number, else infinity, or NaN where there
 * is none. E2M1 has neither, and saturates always; of NaN it keeps the sign and is 0. */
struct narrow_rule {
    bool saturate;
    enum narrow_round round; /* E8M0 alone; all others round to nearest, ties to even */
};

float narrow_to_f32(enum narrow format, uint8_t code);
uint8_t narrow_from_f32(enum narrow format, float x, struct narrow_rule rule);
