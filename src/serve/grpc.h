/* Private to the room: gRPC's calls as its methods see them. A method is a row; its messages come whole, one after another. */
#pragma once

#include "proto/grpc.h"
#include "serve/h2.h"

struct grpc_method;

/* One remote call. Of a unary one it lives as long as `serve` runs; of a streaming one as long as its stream. */
struct grpc_rpc {
    struct list node; /* the method's, of a streaming one; in no list at first */
    struct conn *conn;
    struct h2_stream *stream;
    const struct grpc_method *method;
    uint64_t begin_ns;    /* unary: when its message was whole */
    uint64_t deadline_ns; /* 0: none */
    /* of the message that is being served, of a method that takes packed ones */
    compression packing;
    /* Streaming: inferences that are on their way, the oldest first; they are answered in this order. */
    struct list calls;
    int call_count;
    bool looping; /* its messages are being served */
    void *state;  /* the method's */
};

struct grpc_method {
    const char *path; /* "/grpc.health.v1.Health/Check" */
    enum access group;
    bool streaming; /* from the server, or both ways */
    /* an inference, which is unpacked where it is computed: g->packing says how */
    bool takes_packed;
    /* A message. A unary method answers with grpc_reply or grpc_fail, now or by a call that grpc_start starts. */
    void (*serve)(struct grpc_rpc *g, struct str message);
    /* Streaming: the client has said all, and no call is on its way; NULL: the stream ends well then. */
    void (*ended)(struct grpc_rpc *g);
    /* Streaming: the stream has gone; or NULL. */
    void (*closed)(struct grpc_rpc *g);
    /* Streaming: a call that grpc_start started has ended, and those before it are answered; or NULL. */
    void (*answer)(struct grpc_rpc *g, struct call *call);
};

/* Tables of methods, one a service; each ends with a row without path. */
extern const struct grpc_method grpc_general[], grpc_oip[], grpc_oip_more[], grpc_health[],
    grpc_reflection[], grpc_pipeline[];
/* Steps through all of them; *at is 0 at first. NULL: no more. */
const struct grpc_method *grpc_method_next(size_t *at);

/* The answer to a unary call. */
void grpc_reply(struct grpc_rpc *g, struct str message);
/* Ends a call with a fault. */
void grpc_fail(struct grpc_rpc *g, status s, const char *words);
/* Starts the inference that a call means; call->flow and what its format wants are filled, its body is part of message. Of a
 * streaming method several may be on their way. */
void grpc_start(struct grpc_rpc *g, struct call *call, struct str message);
/* A call for the message of g, packed as that is, whose reply goes to g. */
struct call *grpc_call(struct grpc_rpc *g, struct flow *flow, const struct call_format *format);

/* Streaming: one message more, and the end. */
void grpc_send(struct grpc_rpc *g, struct str message);
void grpc_end(struct grpc_rpc *g, enum grpc_code code, const char *words);

/* For HTTP/2's connection: what happens to streams whose content is gRPC's. */
bool grpc_is(const struct h2_stream *s);
void grpc_on_head(struct conn *c, struct h2_stream *s);
void grpc_on_data(struct conn *c, struct h2_stream *s);
/* Of the first bytes of a call's body: how long it will be, and what is to be left free in front of it so that its tensor's elements are
 * used as they lie. */
size_t grpc_expect(struct str first, size_t *pad);
void grpc_on_end(struct conn *c, struct h2_stream *s);
void grpc_on_closed(struct conn *c, struct h2_stream *s); /* of streaming ones */
/* The peer took some of what waited for it: a stream that was held back by it goes on. */
void grpc_on_taken(struct conn *c, struct h2_stream *s);
/* The models have changed, or the server is stopping: on the lane's loop. */
void grpc_models_changed(struct lane *lane);
