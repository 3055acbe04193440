/* The server: listeners, protocol sniffing, routes, models under names, health and shutdown. */
#pragma once

#include "base/err.h"
#include "flow/batch.h"

#include <stdbool.h>
#include <stddef.h>

struct server;
struct service;

struct server_model {
    const char *name; /* NULL: the directory's own name */
    const char *path;
    int batch_threads; /* 0: as server_options.batch has it */
    int batch_rows;
    /* NULL: path says what it is; else this is served in its place */
    const struct service *service;
};

/* What happens to the models of a repository's directory. */
typedef enum model_control {
    CONTROL_POLL,     /* what is there is served, and followed */
    CONTROL_NONE,     /* what is there at the start is served, and nothing changes */
    CONTROL_EXPLICIT, /* only what is asked for, at the start or later */
} model_control;

struct server_options {
    const struct server_model *model;
    const char *const *root; /* directories whose directories are models */
    const char *const *load; /* CONTROL_EXPLICIT: models of the roots to begin with */
    int model_count, root_count, load_count;
    model_control control;
    precision precision;        /* of all models */
    const char *version_policy; /* NULL: "latest" */
    int reload_interval_s;      /* how often directories are looked at; 0: 10; < 0: never */
    int settle_ms;              /* files that did not change for so long are whole; 0: 1000 */
    size_t cache_bytes; /* of each model: answers kept for requests that come again; 0: none */
    struct batch_options batch; /* of all models; threads 0: no batching */
    const char *record;         /* a file that requests are recorded in; NULL: none */
    double record_share;        /* of them */
    size_t record_bytes;        /* the most that the file takes */
    const char *host;           /* NULL: "0.0.0.0" */
    int port;                   /* 0: any free one */
    int threads;                /* 0: 4; worker threads; event loops are at most the processors */
    /* `--name`: /NAME/prediction asks the first model; NULL: only models' own names */
    const char *name;
    size_t max_body_bytes;   /* 0: LIMIT_BODY_BYTES */
    size_t max_arena_bytes;  /* working memory of one run; 0: LIMIT_ARENA_OF_RUN */
    const char *engine;      /* of models that say nothing else (exec/engines.h); may be NULL */
    const char *const *bind; /* further addresses: "HOST:PORT", "unix:PATH" */
    const char *tls_cert, *tls_key; /* NULL: no TLS */
    const char *tls_client_ca;      /* clients need a certificate that one of these signed */
    const char *api_keys;           /* a file of keys (access.h); NULL: everything is open */
    const char *access_log;         /* a file, "-" for stderr, or NULL: none */
    const char *cors_origin;        /* Access-Control-Allow-Origin, or NULL */
    const char *trace_file, *trace_endpoint; /* where spans go, or NULL */
    const char *server_name;    /* in the Open Inference Protocol's metadata; NULL: "oar" */
    size_t max_header_bytes;    /* of HTTP; 0: LIMIT_HTTP_HEADER_BYTES, which is the most */
    size_t max_bytes_in_flight; /* bodies being received or answered; 0: no limit */
    int bind_count;
    int crew_fd;          /* a zygote of worker processes (crew/crew.h); 0: none */
    int access_sample;    /* one good answer of so many; 0: all */
    int trace_rate;       /* one request of so many; 0: those alone that ask */
    int prometheus_port;  /* metrics (and all else) on a port of their own; 0: none */
    int max_connections;  /* 0: no limit */
    int queue_size;       /* calls that wait for a worker; 0: 256 a worker */
    int model_queue_size; /* the same, of one version of a model; 0: no bound of its own */
    int max_json_depth;   /* 0: LIMIT_JSON_DEPTH */
    int max_streams;      /* of one connection of HTTP/2 at once; 0: LIMIT_H2_STREAMS */
    int idle_timeout_s, request_timeout_s, write_timeout_s; /* 0: never, but 30 for requests */
    bool tls_required;   /* nothing in the clear, but on unix sockets */
    bool proxy_protocol; /* connections begin with a PROXY header */
    bool admin_anywhere; /* models are managed from other machines too */
    bool server_timing;  /* every reply over HTTP says its stage times */
    bool shared_memory;  /* clients may register system shared memory */
    bool triton_codes;   /* 500 for malformed messages, where clients of Triton look for it */
    bool quiet;          /* no ready line */
};

/* Loads the models, listens, and returns when requests can be answered. Blocks SIGTERM, SIGINT, SIGHUP and SIGUSR1 in the
 * calling thread and all that it starts, and ignores SIGPIPE. The words say what is wrong with which option. */
status server_start(const struct server_options *opt, struct server **out, struct err *e);
int server_port(const struct server *s);
/* Waits for SIGTERM or SIGINT (SIGHUP reads keys and certificates again, and like SIGUSR1 opens log files anew), drains, and returns the process's exit status:
 * 0. A second signal ends the process at once with status 1. From the thread that started the server. */
int server_wait(struct server *s);
/* Readiness off, no new connections, connections close when their admitted requests are answered. Any thread. */
void server_drain(struct server *s);
/* Frees everything; what is not answered by now is dropped. */
void server_free(struct server *s);
