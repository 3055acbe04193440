/* Private to the room: a custom operator's library (include/oar/oar_op.h), opened in this process. */
#pragma once

#include "flow/attrs.h"
#include "oar/oar_op.h"

struct plugin {
    void *library; /* of dlopen */
    const oar_op *op;
    void *state;
};

struct setting {
    const char *name, *value;
};

/* INVALID: the library cannot be used; words say why. */
status plugin_open(const char *path, const struct setting *setting, int count, struct plugin *out,
                   struct err *e);
void plugin_close(struct plugin *p);

/* Runs it on tensors; what it gives is in the arena. */
struct plugin_io {
    const struct named_tensor *in;
    int in_count;
    struct named_tensor *out;
    int out_count;
    struct arena *arena;
};
status plugin_run(const struct plugin *p, struct plugin_io *io, struct err *e);

/* The same in a process of its own (confine.c): a crash there is a fault of the requests that it was working on. */
struct confined;
status confined_open(const char *path, const struct setting *setting, int count,
                     struct confined **out, struct err *e);
void confined_close(struct confined *c);
status confined_run(struct confined *c, struct plugin_io *io, struct err *e);
