/* A request out of a file of arrays, for a server whose model is not at hand.
 *
 * An array is fed under its own name. Who knows the model's names can say them: inN is then the
 * N-th of --feed-names, or the N-th feed_var of the serving_client_conf.prototxt in --client-conf.
 * Without either, the configuration that lies beside the file of arrays is read, if one does.
 * Dtypes and shapes are the file's. */
#pragma once

#include "arrays.h"
#include "options.h"

#include "tensor/call.h"

struct feeds_args {
    const char *in, *client_conf;
    struct words feed_names, fetch;
};

/* What the request points to lives in the arena and in *file, which the caller closes after
 * success. */
status feeds_open(const struct feeds_args *args, struct arena *a, struct arrays *file,
                  struct infer_request *out, struct err *e);

/* The client's name of a protocol whose requests are encoded so: "http-json" of "http" and "json". */
const char *feeds_protocol(const char *protocol, const char *encoding);

/* Option rows that every verb with a struct feeds_args at `at` has. */
// clang-format off
#define FEEDS_OPTIONS(at)                                                                                                            \
    { "in", OPT_TEXT, (at) + offsetof(struct feeds_args, in), "FILE.npz", NULL, "the arrays to feed", 0, 0, NULL },                   \
    { "fetch", OPT_NAMES, (at) + offsetof(struct feeds_args, fetch), "A,B", NULL, "outputs to ask for, by alias; all otherwise", 0, 0, NULL }, \
    { "feed-names", OPT_NAMES, (at) + offsetof(struct feeds_args, feed_names), "X,Y", NULL, "the model's names for in0, in1, ...", 0, 0, NULL }, \
    { "client-conf", OPT_TEXT, (at) + offsetof(struct feeds_args, client_conf), "DIR", NULL, "where serving_client_conf.prototxt names them", 0, 0, NULL }
// clang-format on
