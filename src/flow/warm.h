/* Warming up: requests that a fresh flow answers before anybody else may ask it. They bring its plans, pages and caches in,
 * teach it how long it takes, and show whether it works at all: one that it cannot answer fails the warm-up.
 *
 * Two kinds: recorded ones (a file that `oar serve --record` wrote; their answers may be compared with today's), and made-up
 * ones (shapes of inputs, filled with zeros, random numbers or one value). */
#pragma once

#include "flow/flow.h"
#include "flow/yaml.h"

#define WARM_INPUTS_MAX 64
#define WARM_MAX        16

typedef enum warm_fill {
    WARM_VALUE,
    WARM_RANDOM, /* floats from 0 to before 1; 0 or 1 of other types */
    WARM_FILE,   /* its elements one behind the other, little-endian */
} warm_fill;

struct warm_input {
    const char *name; /* or alias */
    struct shape shape;
    struct lod_level lod; /* count 0: one sequence where the input is ragged */
    warm_fill fill;
    double value;
    const char *path; /* WARM_FILE */
};

/* One step: recorded requests where there is a file, else one made-up request. */
struct warm_step {
    const char *records;
    int64_t most; /* requests of the file; 0: all */
    /* of its answers, as compare_replies measures; below 0: they are not compared */
    double tolerance;
    struct warm_input *input;
    int input_count;
    int64_t times; /* 0: once */
};

struct warm_options {
    struct warm_step step[WARM_MAX];
    int count;
};

/* A step, or a list of them: {records: FILE, requests: 100, tolerance: 0.001} or {inputs: {x: [1, 13]}, fill: random,
 * times: 3}; an input may also be {shape: [7, 1], lod: [0, 3, 7], fill: 1}. Files lie below dir: a path that leads out of it
 * is refused. Everything lives in the arena. */
status warm_options_read(const struct yaml *n, const char *file, const char *dir, struct arena *a,
                         struct warm_options *o, struct err *e);
/* dir/name, in the arena; INVALID ("FILE:LINE: ...") for a name that leads out of dir. */
status warm_path(const struct yaml *n, const char *file, const char *dir, struct arena *a,
                 const char **out, struct err *e);

/* Asks f all of it, on this thread; what f counted meanwhile is forgotten. Words say which request failed, and why. */
status flow_warm(struct flow *f, const struct warm_options *o, struct err *e);
