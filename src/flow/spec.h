/* A graph as it was written down, before it is checked and built: whatever file or option it comes from (YAML, the
 * original's prototxt, `--model`). Everything is borrowed until flow_build returns. */
#pragma once

#include "flow/flow.h"

struct yaml;

struct flow_ref {
    const char *text;   /* "NODE" or "NODE.TENSOR" */
    const char *rename; /* what the tensor is called here; NULL: as there */
    int line;
};

struct flow_node_spec {
    const char *name; /* NULL: the operator's own, numbered as the original does it */
    const char *type; /* "GeneralInferOp" or "infer" */
    int line;         /* in the file; 0: there is none */
    const struct flow_ref *input;
    int input_count;
    struct model *model;               /* infer: borrowed */
    const struct yaml *attrs;          /* the operator's own settings; NULL: none */
    const struct yaml *when;           /* a condition; NULL: always */
    int64_t timeout_ms;                /* 0: none */
    const struct batch_options *batch; /* infer; NULL: as flow_options has it */
};

struct flow_spec {
    const char *file; /* for words; NULL: there is none */
    const struct flow_node_spec *node;
    int node_count;
};

/* What a file's reader has to know of an operator; all false for a name that is none. */
struct flow_op_kind {
    bool reads, answers, takes_input, has_model;
};
struct flow_op_kind flow_op_kind(const char *type);

/* INVALID for a graph that cannot be: words begin with FILE:LINE and name the nearest right word. */
status flow_build(const struct flow_spec *spec, const struct flow_options *opt, struct flow **out,
                  struct err *e);
