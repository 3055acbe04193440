/* What the client sent, as it came. */
#include "flow/ops.h"

static status run(struct flow_step *s, struct exec *x, struct err *e)
{
    const struct infer_request *r = flow_step_call(s)->request;
    s->out = (struct flow_value){ r->feed, r->feed_count, false };
    return OK;
}

const struct flow_op general_reader_op = { "GeneralReaderOp", "general_reader", 0, 0, false, run };
