#include "net/proxy.h"

#include <netinet/in.h>
#include <string.h>

#define HEAD_BYTES  16
#define BODY_MAX    2048 /* addresses and what may follow them */
#define IPV4_BYTES  12
#define IPV6_BYTES  36
#define STREAM_IPV4 0x11
#define STREAM_IPV6 0x21

static const char signature[12] = {
    '\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'
};

static bool take_peer(uint8_t family, const char *body, size_t n, struct sockaddr_storage *peer)
{
    memset(peer, 0, sizeof(*peer));
    if (family == STREAM_IPV4 && n >= IPV4_BYTES) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)peer;
        v4->sin_family = AF_INET;
        memcpy(&v4->sin_addr, body, 4);
        memcpy(&v4->sin_port, body + 8, 2);
        return true;
    }
    if (family == STREAM_IPV6 && n >= IPV6_BYTES) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)peer;
        v6->sin6_family = AF_INET6;
        memcpy(&v6->sin6_addr, body, 16);
        memcpy(&v6->sin6_port, body + 32, 2);
        return true;
    }
    return false;
}

struct parse proxy_parse(struct str bytes, struct sockaddr_storage *peer, bool *told)
{
    size_t n = bytes.n < sizeof(signature) ? bytes.n : sizeof(signature);
    *told = false;
    if (memcmp(bytes.p, signature, n) != 0)
        return parse_bad(INVALID);
    if (bytes.n < HEAD_BYTES)
        return parse_more();
    const uint8_t *p = (const uint8_t *)bytes.p;
    size_t body = (size_t)p[14] << 8 | p[15];
    bool local = p[12] == 0x20, proxied = p[12] == 0x21;
    if ((!local && !proxied) || body > BODY_MAX)
        return parse_bad(INVALID);
    if (bytes.n - HEAD_BYTES < body)
        return parse_more();
    *told = proxied && take_peer(p[13], bytes.p + HEAD_BYTES, body, peer);
    return parse_done(HEAD_BYTES + body);
}
