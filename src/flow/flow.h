/* The operator graph of a service: what happens to a request between protocol and engine.
 *
 * An operator is a row (type, process) that works on one call. The chain that `--model` means, general reader, general
 * infer and general response, runs inline on the calling thread and costs nothing more. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "exec/exec.h"
#include "exec/model.h"
#include "tensor/call.h"

#include <stdint.h>

struct flow; /* immutable once built; refcounted; any thread */
struct flow_node;
struct flow_options;

/* One request on its way. The caller fills the first four; what the operators make lives in the arena and the exec, until
 * the exec's next run. */
struct flow_call {
    const struct infer_request *request;
    struct infer_reply *reply;
    struct arena *arena;
    struct exec *exec;     /* of the thread that runs the call */
    struct tensor *bound;  /* the reader's result: the model's inputs, in its order */
    struct tensor *result; /* infer's result: the model's outputs, in its order */
};

struct flow_op {
    const char *type; /* "GeneralInferOp" */
    status (*process)(const struct flow_node *n, struct flow_call *c, struct err *e);
};

const struct flow_op *flow_op_find(const char *type); /* NULL: no such operator */

/* One operator of a flow, under the name that replies call it by. */
struct flow_node {
    const struct flow_op *op;
    const char *name; /* "GeneralInferOp_0" */
    struct model *model;
};

struct flow_options {
    const char *name; /* what it is served as; copied */
    int64_t version;
    /* Takes a flow that nobody holds any more, on whatever thread let it go last, to flow_destroy it where that is no
     * hindrance: giving a large model's memory back takes milliseconds. NULL: it is destroyed at once. */
    void (*dispose)(struct flow *f, void *arg);
    void *dispose_arg;
};

/* The chain that one model means, warmed up where the model can be tried on zeros; takes its own reference to m. INVALID
 * apart (zeros may be no good input), what fails in warming up fails here. */
status flow_for_model(struct model *m, const struct flow_options *opt, struct flow **out,
                      struct err *e);
void flow_destroy(struct flow *f); /* for dispose alone */
const char *flow_name(const struct flow *f);
int64_t flow_version(const struct flow *f);
/* What requests give and get, as the graph as a whole has it. */
const struct port *flow_inputs(const struct flow *f, int *count);
const struct port *flow_outputs(const struct flow *f, int *count);
struct flow *flow_ref(struct flow *f);
void flow_unref(struct flow *f);
struct model *flow_model(const struct flow *f); /* borrowed */

/* Runs all operators on this thread and fills c->reply, stamps included. Learns how long calls take. */
status flow_run(struct flow *f, struct flow_call *c, struct err *e);
/* Typical duration of a call so far in nanoseconds (a moving average); 0 where it is not known yet. Any thread. */
uint64_t flow_typical_ns(const struct flow *f);
