/* Private to the room: the operators, one file each. */
#pragma once

#include "flow/node.h"

extern const struct flow_op general_reader_op, general_infer_op, general_response_op;
