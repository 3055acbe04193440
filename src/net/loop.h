/* Event loops over libuv: one thread each, named oar-loop-N, in which all signals are blocked. A connection lives and
 * dies on its loop; nothing here is shared but what says so.
 *
 * Names: `loop` is one event loop and its thread; `net_conn` is one accepted TCP connection; `net_listener` accepts on one loop and
 * deals connections round over all loops. net knows bytes, not messages. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct net_tls; /* net/tls.h */

struct loop;
struct loop_group; /* N loops, the first of which accepts */
struct net_conn;

/* What the owner of connections (serve) gives to net. All are called on the connection's loop. */
struct net_handler {
    /* A new connection: returns its state, or NULL to refuse (it is closed). */
    void *(*open)(struct net_conn *c, void *arg);
    /* in holds all bytes that came and were not consumed yet; the handler consumes from its front (buf_consume or
     * taking the whole buffer away by net_conn_take_input). Called again only when new bytes came or
     * net_conn_resume was called. */
    void (*data)(struct net_conn *c, void *state, struct buf *in);
    /* The connection is gone (peer, timeout, net_conn_close): the last call, never from inside another of these. eof
     * and errors alike. After eof, what came before it is still handed over, and the connection ends when it is
     * neither paused nor owes answers (net_conn_owe) and its output is out. */
    void (*close)(struct net_conn *c, void *state);
    /* Or NULL. Output that had to wait is all out: there is room for more. */
    void (*drained)(struct net_conn *c, void *state);
    void *arg;
    /* Or NULL. A connection whose first byte begins a TLS record speaks TLS. */
    struct net_tls *tls;
    bool tls_required;      /* of all but unix sockets: others are closed */
    bool proxy_protocol;    /* each connection begins with a header of it, version 2 */
    size_t max_input_bytes; /* bound of `in` */
    /* Timeouts, 0: never. Time in which the loop itself was busy is not held against the peer. */
    uint64_t idle_ms; /* closed after so long without a byte either way */
    /* Closed when it stays this long in the middle of a request (net_conn_set_partial), and what came of it meanwhile
     * was slower than 16 KB/s. */
    uint64_t head_ms;
    uint64_t write_ms; /* closed when output waited so long without the peer taking a byte of it */
};

/* Starts count loops (threads); 0 on success gives *out. */
status loop_group_start(int count, struct loop_group **out, struct err *e);
int loop_group_count(const struct loop_group *g);
struct loop *loop_group_at(struct loop_group *g, int index);
/* Listens on host:port (an IPv4 or IPv6 literal, "0.0.0.0", "::", or a name, whose first address counts) and begins accepting;
 * port 0 picks one; *bound_port says which.
 * BUSY when the port is in use: words name host and port. h is copied. Not from a loop's thread. */
status loop_group_listen(struct loop_group *g, const char *host, int port,
                         const struct net_handler *h, int *bound_port, struct err *e);
/* The same on a socket of the file system, whose old file is replaced when nobody listens there; it is removed when the
 * group stops listening. */
status loop_group_listen_unix(struct loop_group *g, const char *path, const struct net_handler *h,
                              struct err *e);
void loop_group_stop_listening(struct loop_group *g);  /* any thread; existing connections go on */
int loop_group_open_conns(const struct loop_group *g); /* any thread */
/* Closes every connection, ends the loops, joins the threads, frees everything. Posts that came before are run; nobody
 * may post any more. Not from a loop's thread. */
void loop_group_stop(struct loop_group *g);

/* Runs fn(arg) on the loop's thread soon. Any thread; `post` is embedded in what it is about and is not touched after fn
 * began. This is how a worker's result comes home. */
struct loop_post {
    struct list node;
    void (*fn)(struct loop_post *p);
};
void loop_post(struct loop *l, struct loop_post *p);
/* Calls fn on the loop's thread whenever fd is readable, and at the time (clock_ns, UINT64_MAX: none) that it returned last; then
 * fn is called once at first. Embedded in what it is about. Neither from a loop's thread. */
struct loop_watch {
    uint64_t (*fn)(struct loop_watch *w);
    void *state; /* of the loop */
};
status loop_watch(struct loop *l, struct loop_watch *w, int fd, struct err *e);
/* fn is not called any more when this returns. */
void loop_unwatch(struct loop *l, struct loop_watch *w);
int loop_index(const struct loop *l); /* 0 .. count-1: for per-loop state in arrays */

/* The rest: on the connection's loop only. */
struct loop *net_conn_loop(struct net_conn *c);
void *net_conn_state(struct net_conn *c);
const char *net_conn_peer(struct net_conn *c);  /* "127.0.0.1:53211" */
const char *net_conn_local(struct net_conn *c); /* "127.0.0.1:9292" */
/* Whether the peer is on this machine: a loopback address or a unix socket. */
bool net_conn_is_loopback(const struct net_conn *c);
/* Output: append to this buffer, then flush. What the socket does not take at once is kept and written as it can;
 * while more than a bound is waiting, no input is read (a slow reader costs only itself). */
struct buf *net_conn_out(struct net_conn *c);
/* Bytes of output that the socket has not taken yet. */
size_t net_conn_waiting(const struct net_conn *c);
void net_conn_flush(struct net_conn *c);
/* Writes out's content and then `body` without copying when the socket takes it at once; what is left is copied. */
void net_conn_flush_with(struct net_conn *c, const void *body, size_t n);
/* Calls data no more until resumed. Bytes that are in the input buffer stay where they are meanwhile, so that others may
 * look at them; no timeout counts. */
void net_conn_pause(struct net_conn *c);
void net_conn_resume(
    struct net_conn *c); /* also hands over, soon, input that is waiting already; paused or not */
/* Counts answers that are still being made (+1, -1 when one was flushed): while there are some, the connection is not
 * idle, and a peer that has sent all it will still gets them. For handlers that go on reading meanwhile. */
void net_conn_owe(struct net_conn *c, int more);
/* The most that is read into an empty buffer: so that a message that is large shows itself while little of it has come, and can be
 * placed where it is wanted. */
void net_conn_read_first(struct net_conn *c, size_t bytes);
/* Hands the whole input buffer to the caller (who deinits it) and leaves an empty one. */
void net_conn_take_input(struct net_conn *c, struct buf *to);
/* Whether the peer is in the middle of sending a request: then head_ms counts, from the first call with true. */
void net_conn_set_partial(struct net_conn *c, bool in_request);
void net_conn_close(struct net_conn *c); /* now, dropping unsent output */
/* When all output is out. The peer then sees the end, and up to two seconds of what it still sends are dropped, so that
 * a reset cannot overtake the last answer. data is not called any more. */
void net_conn_close_after_flush(struct net_conn *c);
