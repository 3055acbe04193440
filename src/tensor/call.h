/* A request for inference and its reply, as every protocol decodes and encodes them and the operator graph passes them.
 *
 * All of it lives in the request's arena or is a view of the receive buffer; tensors of a reply are views of the
 * executor's workspace, valid until that executor runs again. One thread at a time. */
#pragma once

#include "tensor/tensor.h"

#include <stdbool.h>
#include <stdint.h>

/* An input or output of a model as codecs need to know it. */
struct call_port {
    struct str name, alias;
    dtype dtype;
    bool ragged;
    struct shape shape; /* with the batch dimension, -1 where open */
};

struct call_ports {
    const struct call_port *port;
    int count;
};

struct infer_request {
    struct named_tensor *feed;
    int feed_count;
    struct str *fetch; /* aliases; none: every output in the model's order */
    int fetch_count;
    bool profile;       /* stamps of every operator are wanted */
    uint64_t log_id;    /* the caller's, for log lines */
    int priority;       /* 1 the most urgent; 0: none was named */
    int64_t timeout_us; /* how long it may wait in a queue; 0: as the model has it */
};

/* What one operator of the graph hands to the reply. */
struct infer_output {
    struct str engine; /* "GeneralInferOp_0" */
    struct named_tensor *tensor;
    int tensor_count;
};

struct infer_reply {
    struct infer_output *output;
    int output_count;
    /* wall clock: begin and end of each operator where asked for, then of the whole service */
    int64_t *stamp_us;
    int stamp_count;
    /* which of those that share the name answered; empty: traffic is not divided */
    struct str variant;
};
