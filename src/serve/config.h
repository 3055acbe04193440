/* How one model is to be served, where its own directory or the request that loads it says so: oar.yml (ours, docs/models.md)
 * or Triton's configuration (config.pbtxt, or JSON in a load request), of which what has a meaning here is taken. */
#pragma once

#include "base/arena.h"
#include "exec/model.h"
#include "flow/batch.h"
#include "flow/warm.h"
#include "serve/policy.h"

struct config_pad {
    const char *input;
    int axis;
    double value;
};

struct config_trim {
    const char *output, *input;
    int axis, input_axis;
};

/* Everything begins as the server's options have it, and dir as where the configuration's files lie. Strings live in the arena that it was read with. */
struct model_config {
    struct version_policy policy;
    struct batch_options batch;
    size_t cache_bytes;
    precision precision;
    const char *engine; /* by name and settings; NULL: the server's */
    struct config_pad pad[BATCH_PADS_MAX];
    int pad_count;
    struct config_trim trim[BATCH_PADS_MAX];
    int trim_count;
    const char *dir;
    struct warm_options warm;
};

/* Changes what the text says. Words begin with `file`. */
status config_read_ours(struct str text, const char *file, struct arena *a, struct model_config *c,
                        struct err *e);
/* Triton's as JSON. */
status config_read_json(struct str text, const char *file, struct arena *a, struct model_config *c,
                        struct err *e);
/* Triton's as protobuf text. */
status config_read_pbtxt(struct str text, const char *file, struct arena *a, struct model_config *c,
                         struct err *e);
/* Whichever of oar.yml and config.pbtxt lies in the directory; none is fine. */
status config_read_dir(const char *dir, struct arena *a, struct model_config *c, struct err *e);
/* The batching with the names of padded inputs found in the model. */
status config_resolve(const struct model_config *c, const struct model *m,
                      struct batch_options *out, struct err *e);
