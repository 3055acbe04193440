/* The operators that models may have, and what they become, as Markdown: docs/OPERATORS.md. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

void operators_put(struct buf *b, struct arena *a);
