/* Blocking sockets with a deadline: every wait is a poll that ends when the deadline does.
 * Deadlines are clock_ns times, so that one deadline bounds a whole call. Sockets are non-blocking
 * underneath. Any thread; a socket belongs to one. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "client/endpoint.h"
#include "net/tls.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* A connection, in the clear or over TLS; all zero but for fd -1: none. */
struct transport {
    int fd;
    struct tls *tls; /* NULL: in the clear */
    struct buf wire; /* TLS: what is encrypted and not sent yet, or came and is not decrypted */
};
#define TRANSPORT_NONE ((struct transport){ .fd = -1 })

/* How servers are to be spoken to. */
struct transport_options {
    struct net_tls *tls; /* NULL: in the clear; borrowed */
    const char *alpn;    /* what is spoken over TLS, or NULL */
};

/* Tries every address of the host, and shakes hands where TLS is wanted. TIMED_OUT or IO_FAILED; the words do not
 * name the endpoint: callers put it before them. */
status transport_connect(const struct endpoint *at, const struct transport_options *opt,
                         uint64_t deadline_ns, struct transport *out, struct err *e);
void transport_close(struct transport *t);

status transport_send(struct transport *t, struct str bytes, uint64_t deadline_ns, struct err *e);
/* Many pieces, one after another, in as few calls of the system as it takes; pieces are used up. */
status transport_send_pieces(struct transport *t, struct iovec *piece, int count,
                             uint64_t deadline_ns, struct err *e);
/* Until there is something to receive. */
status transport_wait(struct transport *t, uint64_t deadline_ns, struct err *e);
/* Appends what has come, at least one byte. The peer's end of the connection is IO_FAILED. */
status transport_receive(struct transport *t, struct buf *in, uint64_t deadline_ns, struct err *e);

/* The same without waiting, for event loops: how many bytes were taken or appended; -1 with errno, of which EAGAIN says that it must
 * wait. What transport_try_send took may still be on its way: while transport_unsent, it is to be called again, with nothing.
 * 0 from transport_try_receive: the peer has ended the conversation. */
ssize_t transport_try_send(struct transport *t, struct str bytes);
bool transport_unsent(const struct transport *t);
ssize_t transport_try_receive(struct transport *t, struct buf *in, size_t room);
