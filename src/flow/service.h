/* A service as a file describes it: graphs of operators with the models that they name.
 *
 * Three kinds of file: ours (YAML, see docs/graphs.md), the original's infer_service.prototxt with the workflow, resource
 * and model_toolkit files beside it, and what `--model A B --op X Y` means. */
#pragma once

#include "flow/spec.h"
#include "flow/warm.h"
#include "flow/yaml.h"

struct service_model {
    const char *path;           /* a model's directory */
    const char *engine;         /* who computes it; NULL: as the server says */
    struct batch_options batch; /* where the file says something about it */
    bool has_batch;
};

struct service {
    const char *name;
    struct flow_spec spec; /* node i has the model i, whose path may be NULL */
    const struct service_model *model;
    struct warm_options warm;
};

/* Whether path is a service's file, or a directory that holds infer_service.prototxt. */
bool service_detect(const char *path);
/* The first service of the file; everything lives in the arena. Words begin with FILE:LINE. */
status service_read(const char *path, struct arena *a, struct service *out, struct err *e);
/* What `--model A B --op X Y` means: a chain of reader, the operators in their order, response. op_count 0: an infer for
 * each model. An operator "NAME:0" takes no model. */
status service_chain(const char *const *model, int model_count, const char *const *op, int op_count,
                     struct arena *a, struct service *out, struct err *e);
/* Opens the models and builds the graph, warmed up. detach: as in model_options. */
status service_open(const struct service *s, const struct flow_options *opt, bool detach,
                    struct flow **out, struct err *e);

/* {threads: 2, max_rows: 32, delay_us: 500, ...} */
status batch_options_read(const struct yaml *n, const char *file, struct batch_options *o,
                          struct err *e);

/* Private to the room: the two readers. */
status service_from_yaml(struct str text, const char *path, struct arena *a, struct service *out,
                         struct err *e);
status service_from_prototxt(const char *path, struct arena *a, struct service *out, struct err *e);
