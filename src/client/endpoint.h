/* Where a server is: a host and a port, or a unix socket on this machine. */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>

struct endpoint {
    char host
        [256]; /* a name or an IPv4 or IPv6 literal without brackets; of a unix socket its path, or "@NAME" */
    char port[6]; /* empty: host is a unix socket */
};

#define ENDPOINT_TEXT_MAX (sizeof(struct endpoint) + 8)

/* "localhost:9292", "127.0.0.1:9292", "[::1]:9292", "unix:/run/oar.sock" (gRPC's "unix:///run/oar.sock" too), "unix:@NAME" in Linux's
 * abstract namespace. The words say what was expected. */
status endpoint_parse(struct str text, struct endpoint *out, struct err *e);
bool endpoint_is_unix(const struct endpoint *at);

/* It as people write it, for messages: "[::1]:9292", "unix:/run/oar.sock". Returns out. */
const char *endpoint_text(const struct endpoint *at, char out[ENDPOINT_TEXT_MAX]);
/* It as requests name it, in HTTP's Host: of a unix socket "localhost". Returns out. */
const char *endpoint_authority(const struct endpoint *at, char out[ENDPOINT_TEXT_MAX]);
