#include "tensor/dtype.h"

#include "base/err.h"

#include <stdio.h>

struct row {
    const char *text, *oip;
    unsigned char size;
    char kind;
};

static const struct row rows[] = {
#define X(name, code, bytes, text, kind, oip) [code] = { text, oip, bytes, kind },
    DTYPE_MAP(X)
#undef X
};

bool dtype_valid(int code)
{
    return code >= 0 && (size_t)code < ARRAY_LEN(rows) && rows[code].text != NULL;
}

size_t dtype_size(dtype d)
{
    return dtype_valid((int)d) ? rows[d].size : 0;
}

const char *dtype_name(dtype d)
{
    return dtype_valid((int)d) ? rows[d].text : "unknown";
}

const char *dtype_oip(dtype d)
{
    return dtype_valid((int)d) ? rows[d].oip : "unknown";
}

bool dtype_from_name(struct str name, dtype *out)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].text == NULL)
            continue;
        if (str_is(name, rows[i].text) || str_is(name, rows[i].oip)) {
            *out = (dtype)i;
            return true;
        }
    }
    return false;
}

bool dtype_from_npy(struct str descr, dtype *out)
{
    if (descr.n < 3 || (descr.p[0] != '<' && descr.p[0] != '|' && descr.p[0] != '='))
        return false;
    int64_t size;
    if (!str_to_i64((struct str){ descr.p + 2, descr.n - 2 }, &size))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].text != NULL && rows[i].kind == descr.p[1] && rows[i].size == size) {
            *out = (dtype)i;
            return true;
        }
    }
    return false;
}

void dtype_to_npy(dtype d, char out[8])
{
    const struct row *r = &rows[d];
    snprintf(out, 8, "%c%c%d", r->size == 1 ? '|' : '<', r->kind, r->size);
}

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static uint32_t to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 0x1f, fraction = h & 0x3ff;
    if (exponent == 0x1f)
        return from_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent != 0)
        return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float tiny = (float)fraction * 0x1p-24f;
    return sign ? -tiny : tiny;
}

uint16_t f32_to_f16(float f)
{
    uint32_t bits = to_bits(f), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00); /* quiet NaN */
    if (magnitude >= 0x477ff000)
        return (uint16_t)(sign | 0x7c00); /* rounds to infinity */
    if (magnitude < 0x38800000) {         /* subnormal: let the adder of the float unit round */
        float shifted = from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (to_bits(shifted) - 0x3f000000));
    }
    uint32_t odd = (magnitude >> 13) & 1;
    return (uint16_t)(sign | ((magnitude + 0xfff + odd - 0x38000000) >> 13));
}

float bf16_to_f32(uint16_t h)
{
    return from_bits((uint32_t)h << 16);
}

uint16_t f32_to_bf16(float f)
{
    uint32_t bits = to_bits(f);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

int64_t f64_to_i64(double x)
{
    return x >= -0x1p63 && x < 0x1p63 ? (int64_t)x : INT64_MIN;
}
