/* What the client sent, as it came. */
#include "flow/ops.h"

static status run(struct flow_step *s, struct exec *x, struct err *e)
{
    const struct infer_request *r = flow_step_call(s)->request;
    s->out = (struct flow_value){ r->feed, r->feed_count, false };
    return OK;
}

static const char *const keys[] = { NULL };
const struct flow_op general_reader_op = { .type = "GeneralReaderOp",
                                           .also = "reader",
                                           .inputs_min = 0,
                                           .inputs_max = 0,
                                           .keys = keys,
                                           .run = run,
                                           .reads_request = true };
const struct flow_op text_reader_op = { .type = "GeneralTextReaderOp",
                                        .also = "text_reader",
                                        .inputs_min = 0,
                                        .inputs_max = 0,
                                        .keys = keys,
                                        .run = run,
                                        .reads_request = true };
