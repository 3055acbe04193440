/* Engines: who computes a model. Oar's own works on the formats of import/; others are libraries that speak
 * include/oar/oar_engine.h, found as NAME.so in a directory of engines: $OAR_ENGINES, engines/ beside the binary, or
 * lib/oar/engines of the place where Oar is installed.
 *
 * An engine is told as a name ("oar", "openvino") or as a library's path (whatever has a '/'); settings may follow:
 * "openvino:NUM_STREAMS=2,INFERENCE_PRECISION_HINT=f32". Where none is told, Oar's own takes what it can read, then the first
 * engine by name that knows a file there. Any thread. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "oar/oar_engine.h"

#include <stdbool.h>

struct backend;

/* Who opens the model at `path`; engine may be NULL. */
const struct backend *engines_backend(const char *engine, const char *path);
/* Whether an engine other than Oar's own knows the model at `path`, a file or a directory with one: the one that is told, or
 * (NULL) any that is installed. */
bool engines_detect(const char *engine, const char *path);

struct engine {
    void *library; /* of dlopen */
    const oar_engine *table;
    const char *file;           /* the model's */
    const char *const *setting; /* name, value, ..., NULL */
};

/* Loads the engine for the model at `path` and checks its table; its strings are in the arena. The words name the library. */
status engines_open(const char *engine, const char *path, struct arena *a, struct engine *out,
                    struct err *e);
void engines_close(struct engine *en);
