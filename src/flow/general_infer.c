#include "flow/ops.h"

static status process(const struct flow_node *n, struct flow_call *c, struct err *e)
{
    int count;
    model_outputs(n->model, &count);
    c->result = arena_zalloc(c->arena, ((size_t)count + 1) * sizeof(*c->result));
    return exec_run(c->exec, n->model, c->bound, c->result, e);
}

const struct flow_op general_infer_op = { "GeneralInferOp", process };
