/* TLS 1.2 and 1.3, either side, over OpenSSL with its bytes in memory: nothing here touches a socket.
 *
 * `net_tls` is what a server or a client is configured with: any thread. `tls` is one connection's: its loop's alone. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct net_tls;

struct net_tls_options {
    const char *cert, *key; /* PEM; the certificate with its chain */
    /* or NULL: clients need no certificate; else PEM, one of which must have signed theirs */
    const char *client_ca;
};

/* Words name the file. The strings must outlive it. */
status net_tls_open(const struct net_tls_options *opt, struct net_tls **out, struct err *e);
/* Reads the files again, for connections to come. What fails leaves the old ones. */
status net_tls_reload(struct net_tls *t, struct err *e);
void net_tls_close(struct net_tls *t);

struct net_tls_client_options {
    /* PEM: who must have signed the server's certificate; NULL: the system's authorities */
    const char *ca;
    const char *cert, *key; /* PEM, for servers that want one; or NULL */
    bool insecure;          /* whoever answers is believed */
};
/* The client's side. The strings are not needed any more afterwards. */
status net_tls_open_client(const struct net_tls_client_options *opt, struct net_tls **out,
                           struct err *e);

struct tls;

enum tls_state {
    TLS_GOING, /* all that came is read */
    TLS_FULL,  /* there is more than `plain` holds */
    TLS_ENDED, /* the peer has ended the conversation */
    TLS_BROKEN,
};

struct tls *tls_new(struct net_tls *t); /* NULL: no memory */
/* host: the name or address that the server's certificate must be for. alpn: what is to be spoken ("h2"), or NULL. tls_take gives the
 * first bytes to send. */
struct tls *tls_new_client(struct net_tls *t, const char *host, const char *alpn);
/* Words for what broke it; e may already hold the beginning of a sentence. */
status tls_fault(const struct tls *t, struct err *e);
void tls_free(struct tls *t);
/* Takes bytes from the wire, and appends what they mean to plain. Call tls_take after it: there may be an answer. */
enum tls_state tls_read(struct tls *t, struct str wire, struct buf *plain);
bool tls_is_ready(const struct tls *t); /* the handshake is over: tls_write may be called */
status tls_write(struct tls *t, struct str plain);
void tls_end(struct tls *t);                    /* says goodbye */
void tls_take(struct tls *t, struct buf *wire); /* appends what is to be sent */
