/* What another precision costs. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "exec/model.h"
#include "tensor/tensor.h"

/* Of one output, added up over any number of runs. */
struct accuracy {
    double worst, sum, scale; /* differences, and the largest magnitude */
    double dot, got_2, want_2;
    int64_t count, rows,
        same; /* rows of the last dimension; those with their maximum in the same place */
};

void accuracy_add(struct accuracy *a, const struct tensor *got, const struct tensor *want);
/* On stderr: the largest and the mean difference over the largest magnitude, the cosine, and how many rows have their maximum
 * in the same place. Nothing where nothing was compared. */
void accuracy_tell(const struct accuracy *a, const char *output);

/* Runs the model in fp32 on the same inputs and tells, for each output of floats, how far `out` is from that. */
status accuracy_report(const char *model, const struct tensor *in, const struct tensor *out,
                       struct arena *a, struct err *e);
/* Runs both models on each sample and tells. */
status accuracy_compare(struct model *got, struct model *want, struct tensor *const *sample,
                        int count, struct arena *a, struct err *e);
