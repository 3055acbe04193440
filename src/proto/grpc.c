#include "proto/grpc.h"

#include <string.h>

struct parse grpc_parse(struct str bytes, size_t max, struct str *message, bool *compressed)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    if (bytes.n > 0 && p[0] > 1)
        return parse_bad(INVALID);
    if (bytes.n < GRPC_HEAD_BYTES)
        return parse_more();
    size_t n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    if (n > max)
        return parse_bad(TOO_LARGE);
    if (bytes.n - GRPC_HEAD_BYTES < n)
        return parse_more();
    *compressed = p[0] == 1;
    *message = (struct str){ bytes.p + GRPC_HEAD_BYTES, n };
    return parse_done(GRPC_HEAD_BYTES + n);
}

void grpc_put_head(uint8_t head[GRPC_HEAD_BYTES], size_t n, bool compressed)
{
    head[0] = compressed;
    for (int i = 0; i < 4; i++)
        head[1 + i] = (uint8_t)(n >> (24 - 8 * i));
}

bool grpc_timeout(struct str text, uint64_t *ns)
{
    static const struct {
        char unit;
        uint64_t ns;
    } units[] = {
        { 'H', 3600000000000u }, { 'M', 60000000000u }, { 'S', 1000000000u },
        { 'm', 1000000u },       { 'u', 1000u },        { 'n', 1u },
    };
    uint64_t number;
    if (text.n < 2 || text.n > 9 || !str_to_u64((struct str){ text.p, text.n - 1 }, &number))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (units[i].unit == text.p[text.n - 1])
            return !__builtin_mul_overflow(number, units[i].ns, ns);
    return false;
}

static const struct {
    const char *name;
    compression is;
} encodings[] = {
    { "identity", COMPRESSION_NONE },
    { "gzip", COMPRESSION_GZIP },
    { "deflate", COMPRESSION_ZLIB },
};

bool grpc_encoding(struct str name, compression *out)
{
    for (size_t i = 0; i < ARRAY_LEN(encodings); i++)
        if (str_is(name, encodings[i].name)) {
            *out = encodings[i].is;
            return true;
        }
    return false;
}

const char *grpc_encoding_name(compression c)
{
    for (size_t i = 0; i < ARRAY_LEN(encodings); i++)
        if (encodings[i].is == c)
            return encodings[i].name;
    return encodings[0].name;
}

void grpc_put_message(struct buf *out, struct str words)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < words.n; i++) {
        uint8_t c = (uint8_t)words.p[i];
        if (c >= 0x20 && c < 0x7f && c != '%') {
            buf_byte(out, c);
            continue;
        }
        buf_byte(out, '%');
        buf_byte(out, (uint8_t)hex[c >> 4]);
        buf_byte(out, (uint8_t)hex[c & 15]);
    }
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void grpc_take_message(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        int high = text.p[i] == '%' && i + 2 < text.n ? digit(text.p[i + 1]) : -1;
        int low = high >= 0 ? digit(text.p[i + 2]) : -1;
        int c = low >= 0 ? high << 4 | low : text.p[i];
        buf_byte(out, (uint8_t)c);
        i += low >= 0 ? 2 : 0;
    }
}
