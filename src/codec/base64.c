#include "codec/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct str text, struct buf *out)
{
    bool padded = text.n % 4 == 0;
    for (int i = 0; i < 2 && padded && text.n > 0 && text.p[text.n - 1] == '='; i++)
        text.n--;
    if (text.n % 4 == 1)
        return false;
    uint8_t *to = buf_reserve(out, text.n / 4 * 3 + 3);
    if (to == NULL)
        return false;
    uint32_t bits = 0;
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        int d = digit(text.p[i]);
        if (d < 0)
            return false;
        bits = bits << 6 | (uint32_t)d;
        if (i % 4 != 0)
            to[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    out->len += n;
    return true;
}

void base64_encode(struct str bytes, struct buf *out)
{
    uint8_t *to = buf_reserve(out, (bytes.n + 2) / 3 * 4);
    if (to == NULL)
        return;
    const uint8_t *p = (const uint8_t *)bytes.p;
    for (size_t i = 0; i < bytes.n; i += 3, to += 4, out->len += 4) {
        size_t left = bytes.n - i;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
                     (left > 2 ? p[i + 2] : 0);
        to[0] = (uint8_t)alphabet[v >> 18];
        to[1] = (uint8_t)alphabet[v >> 12 & 63];
        to[2] = left > 1 ? (uint8_t)alphabet[v >> 6 & 63] : '=';
        to[3] = left > 2 ? (uint8_t)alphabet[v & 63] : '=';
    }
}
