/* What a graph answers comes in groups, one for each operator that its response reads. Protocols in which a name is all that
 * tells outputs apart see one list: of two of one name the first, which the model's metadata lists too. */
#pragma once

#include "base/arena.h"
#include "tensor/call.h"

/* Views of r; a list of several groups lies in the arena. */
struct infer_output reply_flat(const struct infer_reply *r, struct arena *a);
