/* Private to the room: the operators, one file each. */
#pragma once

#include "flow/attrs.h"
#include "flow/node.h"

extern const struct flow_op general_reader_op, general_infer_op, general_response_op;
extern const struct flow_op general_copy_op, select_op, first_op, concat_op, cast_op, reshape_op;
extern const struct flow_op constant_op, weighted_sum_op, softmax_op, top_k_op, remote_op;
extern const struct flow_op plugin_op, text_reader_op, text_response_op;
