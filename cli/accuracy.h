/* What another precision costs. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "tensor/tensor.h"

/* Runs the model in fp32 on the same inputs and tells on stderr, for each output of floats, how far `out` is from that: the largest
 * and the mean difference over the largest magnitude, the cosine, and how many rows have their maximum in the same place. */
status accuracy_report(const char *model, const struct tensor *in, const struct tensor *out,
                       struct arena *a, struct err *e);
