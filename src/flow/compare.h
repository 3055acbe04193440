/* How far two answers to one request are apart. */
#pragma once

#include "tensor/call.h"

/* The i-th of t's numbers; false: there is none. */
bool compare_number(const struct tensor *t, int64_t i, double *out);
/* The largest difference of two numbers, of the larger one or of 1; infinite where dtypes or shapes differ. */
double compare_tensors(const struct tensor *a, const struct tensor *b);
/* The same over all outputs, in their order; infinite where there are more on one side. */
double compare_replies(const struct infer_reply *a, const struct infer_reply *b);
