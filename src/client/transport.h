/* Blocking sockets with a deadline: every wait is a poll that ends when the deadline does.
 * Deadlines are clock_ns times, so that one deadline bounds a whole call. Sockets are non-blocking
 * underneath. Any thread; a socket belongs to one. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdint.h>
#include <sys/uio.h>

struct endpoint {
    char host[256]; /* a name or an IPv4 or IPv6 literal without brackets */
    char port[6];
};

/* "localhost:9292", "127.0.0.1:9292", "[::1]:9292". */
status endpoint_parse(struct str text, struct endpoint *out, struct err *e);

/* Tries every address of the host. TIMED_OUT or IO_FAILED; the words name host and port. The caller
 * closes *fd. */
status transport_connect(const struct endpoint *at, uint64_t deadline_ns, int *fd, struct err *e);
status transport_send(int fd, struct str bytes, uint64_t deadline_ns, struct err *e);
/* Many pieces, one after another, in as few calls of the system as it takes; pieces are used up. */
status transport_send_pieces(int fd, struct iovec *piece, int count, uint64_t deadline_ns,
                             struct err *e);
/* Until there is something to receive. */
status transport_wait(int fd, uint64_t deadline_ns, struct err *e);
/* Appends what has come, at least one byte. The peer's end of the connection is IO_FAILED. */
status transport_receive(int fd, struct buf *in, uint64_t deadline_ns, struct err *e);
