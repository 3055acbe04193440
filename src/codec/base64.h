/* Base64 (RFC 4648 section 4, padded). */
#pragma once

#include "base/buf.h"

#include <stdbool.h>

bool base64_decode(struct str text,
                   struct buf *out); /* false: not base64; both padded and unpadded are read */
void base64_encode(struct str bytes, struct buf *out);
