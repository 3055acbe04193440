/* A PROXY header, whole and in every part of it. */
#include "net/proxy.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = { (const char *)data, size };
    struct sockaddr_storage peer;
    bool told;
    struct parse whole = proxy_parse(bytes, &peer, &told);
    if (whole.state == PARSE_DONE && whole.used > size)
        __builtin_trap();
    for (size_t n = 0; n < size && n < 64; n++) {
        struct parse part = proxy_parse((struct str){ bytes.p, n }, &peer, &told);
        if (part.state == PARSE_BAD && whole.state != PARSE_BAD)
            __builtin_trap();
    }
    return 0;
}
