/* What a client has to show, and whom it believes: TLS and a key, for every protocol. */
#pragma once

#include "base/err.h"
#include "net/tls.h"

#include <stdbool.h>

/* As the user says it; borrowed. All zero: in the clear, and no key. */
struct remote {
    bool tls; /* where one of the files below is given, or insecure, too */
    struct net_tls_client_options files;
    const char *api_key; /* or "@FILE", whose first line it is */
};

/* What is made of it. */
struct remote_link {
    struct net_tls *tls; /* NULL: in the clear */
    char *authorization; /* "Bearer KEY", or NULL */
};

/* Words name the file. */
status remote_open(const struct remote *r, struct remote_link *out, struct err *e);
void remote_close(struct remote_link *l);
