/* Paddle Serving's monitor: a remote "done file" says that a model was written anew; then the model is fetched beside the
 * local one, put in its place whole, and the local time file is touched, by which the server knows. */
#pragma once

#include "serve/source.h"

struct fetcher_options {
    struct source_options source;
    const char *remote_path, *remote_model, *remote_donefile;
    const char *local_path, *local_model;
    const char *timestamp_file; /* NULL: "fluid_time_file" */
    const char *tmp;            /* below local_path; NULL: "_serving_monitor_tmp" */
    /* the remote model is a tar, which holds this directory; NULL: it is a file or directory */
    const char *unpacked;
};

struct fetcher;

status fetcher_open(const struct fetcher_options *opt, struct fetcher **out, struct err *e);
void fetcher_close(struct fetcher *f);
/* Looks once. *fetched: the local model is a new one now. No done file is no fault. After a fault the local model is as it
 * was, and the next look tries again. */
status fetcher_look(struct fetcher *f, bool *fetched, struct err *e);
