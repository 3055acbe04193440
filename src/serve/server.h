/* The server: listeners, protocol sniffing, routes, models under names, health and shutdown. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct server;

struct server_model {
    const char *name; /* NULL: the directory's own name */
    const char *path;
};

struct server_options {
    const struct server_model *model;
    int model_count;
    const char *host;      /* NULL: "0.0.0.0" */
    int port;              /* 0: any free one */
    int threads;           /* 0: 4; worker threads; event loops are at most the processors */
    const char *name;      /* `--name`: /NAME/prediction; NULL: each model's own name */
    size_t max_body_bytes; /* 0: LIMIT_BODY_BYTES */
    bool quiet;            /* no access lines, no ready line */
};

/* Loads the models, listens, and returns when requests can be answered. The words say what is wrong with which option. */
status server_start(const struct server_options *opt, struct server **out, struct err *e);
int server_port(const struct server *s);
/* Waits for SIGTERM or SIGINT (which server_start blocked in all threads), drains, and returns the process's exit status:
 * 0 after a clean drain. A second signal ends at once with status 1. */
int server_wait(struct server *s);
void server_drain(struct server *s); /* readiness off, no new connections, answers what is admitted */
void server_free(struct server *s);
