/* A model written anew with smaller numbers, in its own format: weights of half the size that are widened when it is loaded,
 * or int8 weights and quantised activations, whose ranges are found by running the model on samples. What comes out is
 * a directory that the model's own framework reads as well as `oar serve`. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "exec/precision.h"
#include "tensor/tensor.h"

typedef enum convert_method {
    CONVERT_MAX,        /* the largest magnitude that was seen */
    CONVERT_PERCENTILE, /* what so many percent of the magnitudes stay below */
    CONVERT_KL,         /* the cut that changes the distribution least (Kullback and Leibler) */
} convert_method;

/* Feeds, one array of the model's inputs in their order for each sample. */
struct convert_samples {
    struct tensor *const *feed;
    int count;
};

struct convert_options {
    precision precision; /* all but PRECISION_FP32 */
    const char *out;     /* the directory; made where it is not there */
    convert_method method;
    double percentile; /* of CONVERT_PERCENTILE */
    int threads;
};

struct convert_report {
    int weights, activations; /* converted */
    uint64_t before, after;   /* bytes of all parameters */
    const char *form;         /* what was written: "ProgramDesc", "PIR", "ONNX" */
};

/* samples: of int8 alone, at least one. UNSUPPORTED for a format that is not written; INVALID where nothing in it can be
 * converted. Words live in the caller's arena. */
status convert_model(const char *path, const struct convert_options *opt,
                     const struct convert_samples *samples, struct convert_report *out,
                     struct arena *a, struct err *e);
