/* Private to the room: what the server's files know of each other.
 *
 * Threads: a lane is one event loop with what belongs to it; connections and calls stay on their lane, except that a slow
 * call spends its decode, run and encode on a worker. Only what is marked so is shared. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/workers.h"
#include "codec/compress.h"
#include "exec/exec.h"
#include "flow/flow.h"
#include "flow/record.h"
#include "net/loop.h"
#include "net/tls.h"
#include "proto/h2.h"
#include "serve/access.h"
#include "serve/repository.h"
#include "serve/server.h"
#include "serve/stats.h"
#include "serve/traffic.h"

#include <stdatomic.h>

/* ---- the server ---- */

struct http_head;
struct crew;

/* What divided traffic gave to the request at hand: taken along by its call. */
struct lane_pick {
    struct flow *flow;       /* only compared */
    struct traffic *traffic; /* one reference, or NULL */
    int variant;
};

struct lane {
    struct server *server;
    struct loop *loop;
    struct exec *exec;
    struct table *table; /* the models that requests find; see lane_table */
    uint64_t table_generation;
    struct loop_post refresh; /* on its way while refresh_posted */
    atomic_bool refresh_posted;
    const struct conn *asker;       /* whose bytes are looked at; while they are */
    const struct http_head *asking; /* its request, or NULL where it is none of HTTP */
    struct lane_pick pick;
    struct list conns; /* struct conn */
    atomic_int
        calls; /* admitted and not yet answered: others read it, and add the lanes up (server_calls) */
    struct list spare; /* struct call: recycled */
    struct h2_pool h2_pool;
    struct list watchers; /* struct grpc_rpc: grpc.health's Watch */
    int spare_count;
    struct arena scratch; /* of the request that a route looks at */
    struct buf span;      /* of the call that is traced just now */
    struct stats stats;
    uint64_t last_id, random; /* note.c */
    uint64_t route_ns;        /* when the request that a route looks at was whole */
    /* From clock_ns, in microseconds, to the wall clock, as it was at wall_at_ns. */
    int64_t wall_offset_us;
    uint64_t wall_at_ns;
    struct loop_post drain; /* posted once, by server_drain */
    struct loop_post pulse; /* notify.c: on its way while pulse_posted */
    atomic_bool pulse_posted;
};

struct server {
    struct server_options options;
    struct repository *models;
    struct trace *trace;
    struct recorder *recorder; /* NULL: nothing is recorded */
    struct loop_group *loops;
    struct lane *lane; /* one for each loop */
    int lane_count;
    struct crew *crew;            /* NULL: none */
    struct loop_watch crew_watch; /* the first loop takes its turns */
    struct workers *workers;
    struct exec **worker_exec; /* one for each worker */
    struct flow_env env;       /* both, for the flows */
    int worker_count;
    int port;
    struct net_tls *tls;
    _Atomic(struct keys *) keys; /* the newest; NULL: none */
    int64_t start_us;            /* wall clock */
    struct access_log *access;   /* NULL: none */
    struct shm_table *regions;   /* NULL: shared memory is not allowed */
    struct tracer *tracer;       /* NULL: none */
    atomic_size_t body_bytes;    /* of requests that are being received or answered */
    atomic_bool ready, draining;
};

struct call;

/* ---- which models there are (lane.c); on the lane's loop ---- */

/* The newest table, borrowed until the loop's next turn. */
const struct table *lane_table(struct lane *lane);
/* The flow that a request for a model means, borrowed until the loop's next turn: a call takes a reference of its own.
 * version as in table_find. NULL: *code and the words say why not. */
struct flow *lane_flow(struct lane *lane, struct str name, struct str version, status *code,
                       struct err *e);
/* The same for services whose requests name no model. */
struct flow *lane_first_flow(struct lane *lane, status *code, struct err *e);
/* Where the last two divided traffic: what it gave goes with the call that it was for. */
void lane_take_pick(struct lane *lane, struct call *c);
/* Whom a variant means, with a reference; name: whose traffic is divided. NULL: it is not ready. Any thread. */
struct flow *server_variant(struct server *s, const struct traffic *t, int variant,
                            const char *name);
/* For repository_options.changed: makes every loop let go of the table that it had. arg: struct server. Any thread. */
void lanes_refresh(void *arg);

/* ---- connections (conn.c) ---- */

struct protocol;

struct conn {
    struct list node; /* in its lane */
    struct lane *lane;
    struct net_conn *net;         /* NULL: gone, and kept for its calls alone */
    const struct protocol *proto; /* NULL: not sniffed yet */
    void *state;                  /* of the protocol */
    int calls;                    /* of its own that are on their way */
    bool feeding;                 /* inside the protocol's feed, which flushes at its end */
    bool known;                   /* baidu_std: brought its key */
    bool partial;                 /* in the middle of receiving a request */
    bool closing;
    size_t held;      /* of the server's body_bytes: what is being received */
    atomic_bool gone; /* the peer is: workers need not begin its calls */
};

extern const struct net_handler conn_handler;

/* Counts bytes of bodies that this connection is receiving towards --max-bytes-in-flight, in place of those it counted before.
 * false: all connections' together would be more, and nothing is counted. Few bytes count as none. */
bool conn_hold(struct conn *c, size_t bytes);
#define HOLD_FROM 4096 /* bytes: counters that all loops share are for larger bodies */
#define BODIES_TOO_LARGE                                                                           \
    "the bodies of all requests together are larger than --max-bytes-in-flight allows; try again " \
    "later"
/* How many more there may be. */
size_t conn_room(const struct conn *c);
/* Large bodies. One shows itself while little of it has come, and is then placed so that its tensors' elements begin at a cache
 * line: they are used as they lie. A reply is written from where it lies. */
#define FIRST_READ_BYTES ((size_t)32 << 10) /* of net_conn_read_first */
#define CACHE_LINE       64
#define LARGE_REPLY      ((size_t)32 << 10) /* smaller ones are copied */
/* Says whether the peer is in the middle of a request, whose timeout then counts. */
void conn_set_partial(struct conn *c, bool partial);
/* Sends what was appended to the output, at once or, while the protocol is being fed, when that ends. */
void conn_flush(struct conn *c);
/* Ends the connection when its output is out. */
void conn_finish(struct conn *c);
/* One call less; closes a draining connection that owes nothing any more, frees one that is gone. */
void conn_call_done(struct conn *c);
/* For the drain: closes it now if it owes nothing. */
void conn_drain(struct conn *c);

/* ---- protocols: rows of protocols.c ---- */

enum sniff {
    SNIFF_NO,
    SNIFF_YES,
    SNIFF_MORE, /* too few bytes to tell */
};

struct protocol {
    const char *name;
    enum sniff (*sniff)(struct str bytes);
    void *(*open)(struct conn *c);
    /* Consumes what whole requests are in `in`. */
    void (*feed)(struct conn *c, struct buf *in);
    void (*close)(void *state);
    /* Or NULL. Output that had to wait is out: there is room for more. */
    void (*drained)(struct conn *c);
    /* Or NULL: a connection ends when it owes nothing. The server is stopping: see to it that this one comes to its end.
     * Called again after each call. */
    void (*drain)(struct conn *c);
};

extern const struct protocol protocol_baidu_std, protocol_h2, protocol_http1;
const struct protocol *protocol_at(size_t index); /* NULL behind the last */

/* ---- calls (call.c) ---- */

struct call;

/* How a request's and a reply's bytes are read and written; one row for each representation. What decode has to keep for
 * encode it leaves in call->form. */
struct call_format {
    const char *name; /* "oip": what statistics call it */
    status (*decode)(struct call *c, struct str body, struct infer_request *out, struct err *e);
    status (*encode)(struct call *c, const struct infer_reply *r, struct buf *out, struct err *e);
    /* over HTTP: {"error": words}; else plain words with brpc's code in a header */
    bool json_faults;
};

extern const struct call_format format_general_pb, format_general_json, format_predict;

/* One request for inference, from the bytes that came to the bytes that go. The protocol fills the second group and
 * starts it; it finds the third filled when `done` is called, on the connection's loop. */
struct call {
    struct job job;        /* on a worker */
    struct loop_post post; /* coming home */
    struct list node;      /* while spare; of gRPC's streams: among the calls of its own */
    struct conn *conn;
    struct arena arena;
    struct buf taken; /* the body, when it has left the connection's buffer */
    struct buf inflated;
    struct buf plain; /* the encoded reply before compression */

    const struct call_format *format;
    struct flow *flow;
    /* one reference: who answers where the flow, which is new, fails; or NULL */
    struct flow *before;
    struct str body;
    compression body_compression, reply_compression;
    size_t compress_from; /* smaller replies go as they are */
    uint64_t begin_ns;    /* when it was made */
    uint64_t deadline_ns; /* 0: none */
    void (*done)(struct call *c);
    /* NULL, or who gets the call in place of the inference; ends with call_return. On the loop. */
    void (*detour)(struct call *c);
    void *detour_arg;
    void *exchange;           /* HTTP/2: the stream; NULL: it has gone */
    atomic_bool cancelled;    /* nobody waits for it any more */
    bool ended;               /* gRPC's streams: it waits for those before it to be answered */
    int64_t correlation_id;   /* baidu_std */
    struct str attachment;    /* baidu_std; in the arena */
    const char *content_type; /* HTTP, of the reply */
    const char *headers;      /* HTTP: further lines of a good reply, or NULL */
    int code;                 /* HTTP, of a good reply; 0: 200 */
    void *form;               /* of the format; in the arena */
    struct note *note;        /* in the arena; NULL: nothing is noted of it */
    bool keep_alive, http10;
    bool in_place; /* its tensors are used as they lie in the body: reading it costs little */
    size_t held;   /* of the server's body_bytes, while it is on its way */

    struct traffic *traffic; /* one reference; NULL: its model's traffic is not divided */
    int variant;
    double score; /* of the answer; NAN: none */
    struct infer_request request;
    struct infer_reply answer;
    struct flow_call run;
    uint64_t since_ns; /* when the present stage began */

    status result;
    struct err err;
    struct buf reply;
    bool compressed;
    int64_t rows; /* of its first input */
    uint64_t stage_ns[STAGE_COUNT];
};

/* Admitted and not yet answered. Any thread. */
int server_calls(const struct server *s);
struct call *call_new(struct conn *c);
/* The tag of the variant that it went to; empty: its model's traffic is not divided. */
struct str call_variant(const struct call *c);
/* The ports of a model as codecs want them, in the call's arena. */
struct call_ports call_ports(struct call *c, const struct port *port, int count);
/* Runs it at once, or on a worker when its model is not a quick one, and consumes its `used` bytes of the connection's
 * input; the body is a view of them, of `taken`, or empty. `done` may be called before this returns. */
void call_start(struct call *call, struct buf *in, size_t used);
/* Ends a detour: done is called on the connection's loop soon. Any thread. */
void call_return(struct call *call);
/* To be called by `done`, last. */
void call_free(struct call *call);
void calls_drop_spare(struct lane *lane);

/* ---- shadow traffic (shadow.c) ---- */

/* Asks what c was asked of a shadow too, where its turn has come. While c's answer is there; any thread. */
void shadow_start(const struct call *c);

/* ---- what it prints when it is ready (ready.c) ---- */
void ready_print(const struct server *s, uint64_t start_ns);
