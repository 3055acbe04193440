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
    uint64_t header_bytes; /* HTTP: where the JSON ends; UINT64_MAX: it is the whole body */
};

/* In the call's arena, with the ports and the name of the call's flow. */
struct oip_call *oip_call_new(struct call *c);
/* Behind a decoder that filled request: the deadline, then the tensors. */
status oip_call_bind(struct call *c, struct infer_request *out, struct err *e);
/* In front of an encoder: fills output, and writes those that go to shared memory. */
status oip_call_outputs(struct call *c, const struct infer_reply *r, struct err *e);
