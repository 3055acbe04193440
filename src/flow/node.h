/* Private to the room: nodes, their operators, and a node's work on one call. */
#pragma once

#include "base/list.h"
#include "flow/flow.h"

struct flow_node;
struct flow_step;

/* What a node gives: tensors under names. */
struct flow_value {
    const struct named_tensor *tensor;
    int count;
    bool skipped; /* its node's condition did not hold */
};

struct flow_open;

struct flow_op {
    const char *type; /* "GeneralInferOp" */
    const char *also; /* its other name, "infer" */
    int inputs_min, inputs_max;
    bool has_model;
    const char *const *keys; /* of its settings; ends with NULL */
    /* Reads the settings, says what the node gives (node->port) and checks what it is given. NULL: nothing to do. */
    status (*open)(struct flow_open *o, struct err *e);
    /* A fault, OK, or FLOW_LATER: flow_step_done is or was called on another thread, and s is not to be touched. x is the
     * running thread's. Fills s->out. */
    status (*run)(struct flow_step *s, struct exec *x, struct err *e);
    void (*close)(struct flow_node *n); /* also after an open that failed; NULL: nothing to do */
    bool later;                         /* may say FLOW_LATER */
    bool takes_skipped;                 /* runs also when an input was skipped */
    bool reads_request;                 /* gives what the client sent */
    bool answers;                       /* makes the reply */
};

const struct flow_op *flow_op_find(struct str type); /* NULL: no such operator */
const char *flow_op_nearest(struct str type);        /* NULL: nothing is like it */

struct flow_edge {
    int node;
    const char *tensor; /* one of its tensors; NULL: all */
    const char *rename; /* what it is called here; NULL: as there */
};

typedef enum flow_test {
    TEST_ABOVE,
    TEST_BELOW,
    TEST_EQUALS,
    TEST_IS, /* written out it is one of some texts */
} flow_test;

/* A node runs only when one element of a tensor, or a field of the request, is so. */
struct flow_when {
    struct flow_edge edge;
    bool log_id;   /* the request's, and there is no edge */
    int64_t index; /* of the element, flat */
    flow_test test;
    double value;
    const char **text;
    int text_count;
};

struct flow_node {
    const struct flow_op *op;
    const char *name;       /* "GeneralInferOp_0" */
    struct flow_when *when; /* NULL: always */
    bool may_skip;          /* it, or something before it, has a condition */
    int wait_count;         /* edges, the condition's too */
    int64_t timeout_ms;     /* 0: none */
    struct flow_edge *edge;
    int edge_count;
    int *next; /* nodes that wait for this one */
    int next_count;
    struct model *model;     /* infer: one reference */
    struct batcher *batcher; /* infer: NULL without batching */
    bool by_place;           /* infer: where no name fits, tensors are taken in their order */
    bool others_may_be;      /* infer: what fits no input is for another node */
    const struct port *port; /* what it gives, where that is known before a request comes */
    int port_count;
    void *state;
    bool opened;
    atomic_uint_fast64_t typical_ns;
};

/* One node's work on one call. */
struct flow_step {
    struct job job; /* on a worker */
    struct flow_run *run;
    const struct flow_node *node;
    struct flow_value out;
    atomic_int waits; /* inputs that are not there yet */
    struct arena *arena;
    struct arena own; /* where branches run side by side */
    struct tensor *bound, *result;
    struct batch_item item;
    int64_t begin_us, end_us;
    uint64_t begin_ns; /* where its node has a timeout */
};

const struct flow_call *flow_step_call(const struct flow_step *s);
/* The values that reach the node along its k-th edge: a view, or made in its arena. */
struct flow_value flow_step_input(struct flow_step *s, int k);
/* How a value's element compares; false where there is no such element or it is no number. v: of the edge's node; NULL without
 * one. */
bool flow_when_holds(const struct flow_when *w, const struct flow_value *v,
                     const struct infer_request *r);
const struct flow_node *flow_node_at(const struct flow *f, int index);
uint64_t flow_step_deadline(
    const struct flow_step *s); /* the call's, or the node's where that is earlier; 0: none */
const char *flow_step_source(const struct flow_step *s,
                             int k); /* the node's name at its other end */
/* Whether what an exec's workspace holds must be copied, since it may run again before the call has ended. */
bool flow_step_must_copy(const struct flow_step *s);
void flow_step_waited(struct flow_step *s, uint64_t ns); /* for its batch */
/* Ends a step that said LATER. x: of the calling thread, or NULL where it has none. e: words of a fault. */
void flow_step_done(struct flow_step *s, status code, struct exec *x, const struct err *e);

/* Feeds for the model's inputs out of tensors that have names (bind.c): each finds its input by name or alias, or as
 * "in0"; a shape that says the same in another way is read as the model's. */
struct flow_binding {
    const struct port *port;
    int port_count;
    bool by_place;      /* where no name fits and there are as many as inputs: in their order */
    bool others_may_be; /* tensors that fit no input are for somebody else */
};
/* The input that a tensor of this name or alias would find; NULL: none. */
const struct port *flow_port_of(const struct port *port, int count, const char *alias,
                                const char *name);
/* Whether what a node gives can be that input. */
bool flow_port_fits(const struct port *given, const struct port *to);
status flow_bind(const struct flow_binding *b, const struct flow_value *v, struct arena *a,
                 struct tensor *bound, struct err *e);
