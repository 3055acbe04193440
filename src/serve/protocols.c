/* What one port speaks. The first bytes of a connection decide; a new protocol is a row here and a file. */
#include "serve/internal.h"

static const struct protocol *const protocols[] = {
    &protocol_baidu_std,
    &protocol_h2,
    &protocol_http1,
};

const struct protocol *protocol_at(size_t index)
{
    return index < ARRAY_LEN(protocols) ? protocols[index] : NULL;
}
