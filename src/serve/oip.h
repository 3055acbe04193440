/* Private to the room: the Open Inference Protocol as every transport serves it (oip.c), which HTTP (oip_http.c) and gRPC
 * have in common. */
#pragma once

#include "proto/oip.h"
#include "serve/internal.h"

/* What a call of this protocol carries in call->form. */
struct oip_call {
    struct oip_model model;
    struct oip_request request;
    struct oip_output *output;
    int output_count;
    struct oip_param *param; /* of the reply: stage times, where they are asked for */
    int param_count;
    uint64_t header_bytes; /* HTTP: where the JSON ends; UINT64_MAX: it is the whole body */
};

/* The extensions that the server's metadata lists, a NULL behind the last. */
extern const char *const oip_extensions[];
/* Answers, and has the models that it began with; is not stopping. */
bool oip_server_ready(const struct server *s);
const char *oip_server_name(const struct server *s);
/* "paddle", or "flow" where there is no one model. */
const char *oip_platform(const struct flow *flow);
/* Whether every port has a batch dimension, which a configuration's dims then leave out, and what it says of its size. */
bool oip_is_batched(const struct flow *flow);
#define OIP_MAX_BATCH 4096
/* What a call says that names a repository: there is one, without a name. */
#define NO_REPOSITORY_NAMES "'repository_name' specification is not supported"

/* In the call's arena, with the ports and the name of the call's flow. */
struct oip_call *oip_call_new(struct call *c);
/* Behind a decoder that filled request: the deadline, then the tensors. */
status oip_call_bind(struct call *c, struct infer_request *out, struct err *e);
/* An encoder: gathers the reply's outputs, writes those that go to shared memory, and has `put` append the reply to out. Where
 * stage times are asked for, put is called a second time, when it is known how long the first took. */
status oip_call_encode(struct call *c, const struct infer_reply *r, struct buf *out,
                       void (*put)(struct call *c, const struct oip_reply *reply, struct buf *out),
                       struct err *e);
