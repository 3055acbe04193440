#include "options.h"
#include "verbs.h"

#include "base/log.h"
#include "base/str.h"
#include "flow/service.h"
#include "serve/server.h"

#include <string.h>

struct serve_args {
    struct words words, models, ops, roots, load, batch_threads, batch_rows, batch_preferred;
    const char *host, *name, *log_level, *control, *version_policy, *server_name, *compat;
    const char *batch_overdue, *precision, *engine;
    int64_t crew;
    const char *record;
    double record_share;
    int64_t record_bytes, cache_bytes, batch_delay_us, batch_queue, batch_timeout_us, batch_levels;
    int64_t port, threads, max_body_bytes, max_arena_bytes, reload_interval_s, settle_ms;
    struct words bind;
    const char *tls_cert, *tls_key, *tls_client_ca, *api_keys;
    bool quiet, tls_required, proxy_protocol, admin_anywhere;
    /* HTTP: limits, logs and traces */
    bool server_timing, shared_memory;
    const char *access_log, *log_format, *cors_origin, *trace_file, *trace_endpoint;
    int64_t access_sample, trace_rate, prometheus_port, max_connections, max_header_bytes;
    int64_t max_in_flight, queue_size, model_queue, json_depth, max_streams;
    int64_t idle_s, request_s, write_s;
};

#define FIELD(f) offsetof(struct serve_args, f)

// clang-format off
static const struct option options[] = {
    { NULL, OPT_TITLE, 0, NULL, NULL, "models", 0, 0, NULL },
    { "model", OPT_LIST, FIELD(models), "[NAME=]DIR", NULL, "a model, or a graph (FILE.yml, infer_service.prototxt), and its name; repeatable", 0, 0, NULL },
    { "op", OPT_LIST, FIELD(ops), "OP", NULL, "one service: the models chained by these operators; OP:0 takes no model", 0, 0, NULL },
    { "model-repository", OPT_LIST, FIELD(roots), "DIR", NULL, "a directory whose directories are models: NAME/VERSION/ or flat", 0, 0, "model-base-path" },
    { "model-control", OPT_CHOICE, FIELD(control), "poll|none|explicit", "poll", "follow the repository, load it once, or load what is asked for", 0, 0, "model-control-mode" },
    { "load-model", OPT_LIST, FIELD(load), "NAME", NULL, "explicit: a model of the repository to begin with", 0, 0, NULL },
    { "version-policy", OPT_TEXT, FIELD(version_policy), "POLICY", "latest", "latest, latest:N, all or specific:N,N", 0, 0, NULL },
    { "reload-interval-s", OPT_INT, FIELD(reload_interval_s), "N", "10", "how often to look for new versions where no file events tell; -1: never", -1, 86400, NULL },
    { "settle-ms", OPT_INT, FIELD(settle_ms), "N", "1000", "files that did not change for so long are whole", 1, 3600000, NULL },
    { "name", OPT_TEXT, FIELD(name), "NAME", NULL, "serve /NAME/prediction", 0, 0, NULL },
    { NULL, OPT_TITLE, 0, NULL, NULL, "how they are computed", 0, 0, NULL },
    { "thread", OPT_INT, FIELD(threads), "N", "4", "worker threads", 1, 1024, "threads" },
    { "precision", OPT_CHOICE, FIELD(precision), PRECISION_CHOICES, "fp32", "how models are computed, where their own oar.yml does not say; int8: quantised ones", 0, 0, NULL },
    { "engine", OPT_TEXT, FIELD(engine), "NAME|FILE.so", NULL, "who computes models that say nothing else; settings behind it as :NAME=VALUE,...", 0, 0, NULL },
    { "max-arena", OPT_INT, FIELD(max_arena_bytes), "BYTES", "3221225472", "the working memory that one run of a model may have", 1, 1e15, NULL },
    { NULL, OPT_TITLE, 0, NULL, NULL, "batches, and answers that are kept", 0, 0, NULL },
    { "runtime-thread-num", OPT_LIST, FIELD(batch_threads), "N", NULL, "threads that compute batches, for each --model; 0: no batching", 0, 0, NULL },
    { "batch-infer-size", OPT_LIST, FIELD(batch_rows), "ROWS", NULL, "the most rows of a batch, for each --model (32)", 0, 0, NULL },
    { "batch-delay-us", OPT_INT, FIELD(batch_delay_us), "US", "0", "how long a request may wait for others", 0, 1e9, NULL },
    { "batch-preferred", OPT_NAMES, FIELD(batch_preferred), "ROWS,ROWS", NULL, "sizes at which a batch waits no longer", 0, 0, NULL },
    { "batch-queue-size", OPT_INT, FIELD(batch_queue), "N", "4096", "requests that wait for a model; more are refused", 1, 1e6, NULL },
    { "batch-queue-timeout-us", OPT_INT, FIELD(batch_timeout_us), "US", "0", "the longest wait in the queue; 0: any", 0, 1e12, NULL },
    { "batch-overdue", OPT_CHOICE, FIELD(batch_overdue), "reject|delay", "reject", "what waited too long is refused, or computed last", 0, 0, NULL },
    { "batch-priorities", OPT_INT, FIELD(batch_levels), "N", "1", "levels of urgency, 1 the most urgent", 1, BATCH_LEVELS_MAX, NULL },
    { "request-cache-size", OPT_INT, FIELD(cache_bytes), "BYTES", "0", "answers that each model keeps for requests that come again", 0, 1e15, NULL },
    { NULL, OPT_TITLE, 0, NULL, NULL, "addresses", 0, 0, NULL },
    { "port", OPT_INT, FIELD(port), "N", "9292", "the port of every protocol; 0 picks a free one", 0, 65535, NULL },
    { "host", OPT_TEXT, FIELD(host), "ADDRESS", "0.0.0.0", "the address to listen on", 0, 0, "bind" },
    { "listen", OPT_LIST, FIELD(bind), "HOST:PORT|unix:PATH", NULL, "a further address to listen on, unix:@NAME for one without a file; repeatable", 0, 0, NULL },
    { "proxy-protocol", OPT_FLAG, FIELD(proxy_protocol), NULL, NULL, "every connection begins with a PROXY header, version 2", 0, 0, NULL },
    { "prometheus-port", OPT_INT, FIELD(prometheus_port), "N", "0", "a port of their own for metrics; 0: /metrics on --port alone", 0, 65535, "metrics-port" },
    { NULL, OPT_TITLE, 0, NULL, NULL, "who may ask", 0, 0, NULL },
    { "tls-cert", OPT_TEXT, FIELD(tls_cert), "FILE", NULL, "PEM certificate with its chain: TLS on the same addresses; SIGHUP reads it again", 0, 0, NULL },
    { "tls-key", OPT_TEXT, FIELD(tls_key), "FILE", NULL, "its private key", 0, 0, NULL },
    { "tls-client-ca", OPT_TEXT, FIELD(tls_client_ca), "FILE", NULL, "clients need a certificate that one of these has signed", 0, 0, NULL },
    { "tls-required", OPT_FLAG, FIELD(tls_required), NULL, NULL, "nothing in the clear, but on unix sockets", 0, 0, NULL },
    { "api-keys", OPT_TEXT, FIELD(api_keys), "FILE", NULL, "lines GROUPS KEY: infer, health, metadata, metrics, admin or all; SIGHUP reads it again", 0, 0, NULL },
    { "admin-anywhere", OPT_FLAG, FIELD(admin_anywhere), NULL, NULL, "models are managed from other machines too", 0, 0, NULL },
    { "cors-origin", OPT_TEXT, FIELD(cors_origin), "ORIGIN", NULL, "who may ask from a browser: * or an origin", 0, 0, NULL },
    { "allow-shared-memory", OPT_FLAG, FIELD(shared_memory), NULL, NULL, "clients may register system shared memory: for clients that may see what the server may", 0, 0, NULL },
    { NULL, OPT_TITLE, 0, NULL, NULL, "limits", 0, 0, NULL },
    { "max-connections", OPT_INT, FIELD(max_connections), "N", "20000", "more are closed at once; 0: as many as there are files", 0, 1e7, NULL },
    { "max-bytes-in-flight", OPT_INT, FIELD(max_in_flight), "BYTES", "4294967296", "bodies that are received or answered, of all requests together; 0: no limit", 0, 1e15, NULL },
    { "max-body-size", OPT_INT, FIELD(max_body_bytes), "BYTES", "536870912", "the largest request", 1, 1e15, NULL },
    { "max-header-size", OPT_INT, FIELD(max_header_bytes), "BYTES", "65536", "the largest head of an HTTP request", 256, 65536, NULL },
    { "max-json-depth", OPT_INT, FIELD(json_depth), "N", "64", "how deep the JSON of a request may be nested", 1, 1000, NULL },
    { "max-streams", OPT_INT, FIELD(max_streams), "N", "256", "requests that one HTTP/2 connection may have open at once", 1, 65536, NULL },
    { "queue-size", OPT_INT, FIELD(queue_size), "N", "0", "calls that may wait for a worker, beyond which they are refused; 0: 256 a worker", 0, 1e7, NULL },
    { "model-queue-size", OPT_INT, FIELD(model_queue), "N", "0", "of them, calls of one model; 0: as many as there is room for", 0, 1e7, NULL },
    { "request-timeout", OPT_INT, FIELD(request_s), "S", "30", "for a request's head and body to come, and longer for large ones", 1, 1e6, "header-timeout" },
    { "idle-timeout", OPT_INT, FIELD(idle_s), "S", "600", "a connection without a byte for so long is closed; 0: never", 0, 1e6, NULL },
    { "write-timeout", OPT_INT, FIELD(write_s), "S", "60", "a peer that takes no byte of its answer for so long is dropped; 0: never", 0, 1e6, NULL },
    { NULL, OPT_TITLE, 0, NULL, NULL, "logs and traces; SIGUSR1 and SIGHUP open their files anew", 0, 0, NULL },
    { "log-level", OPT_CHOICE, FIELD(log_level), "debug|info|warn|error", "info", "the least that is logged", 0, 0, NULL },
    { "log-format", OPT_CHOICE, FIELD(log_format), "text|json", "text", "how the logs are written", 0, 0, NULL },
    { "access-log", OPT_TEXT, FIELD(access_log), "FILE", NULL, "one line an answer; - for stderr", 0, 0, NULL },
    { "access-sample", OPT_INT, FIELD(access_sample), "N", "1", "of good answers, one of N is logged; of failures all", 1, 1e9, NULL },
    { "server-timing", OPT_FLAG, FIELD(server_timing), NULL, NULL, "every HTTP reply says its stage times; else where X-Want-Timing asks", 0, 0, NULL },
    { "trace-file", OPT_TEXT, FIELD(trace_file), "FILE", NULL, "spans as OTLP/JSON, a line a second at most", 0, 0, NULL },
    { "trace-endpoint", OPT_TEXT, FIELD(trace_endpoint), "URL", NULL, "a collector of OTLP/JSON: http://HOST:4318/v1/traces", 0, 0, NULL },
    { "trace-rate", OPT_INT, FIELD(trace_rate), "N", "1000", "one of N requests is traced, and those whose traceparent is sampled; 0: only these", 0, 1e9, NULL },
    { "quiet", OPT_FLAG, FIELD(quiet), NULL, NULL, "no line that says that it is ready", 0, 0, NULL },
    { NULL, OPT_TITLE, 0, NULL, NULL, "recording, for 'oar replay'", 0, 0, NULL },
    { "record", OPT_TEXT, FIELD(record), "FILE", NULL, "record requests and their answers, for 'oar replay'", 0, 0, NULL },
    { "record-share", OPT_REAL, FIELD(record_share), "X", "1", "the share of requests that is recorded", 0, 1, NULL },
    { "record-bytes", OPT_INT, FIELD(record_bytes), "BYTES", "1073741824", "the most that the file takes", 1, 1e15, NULL },
    { NULL, OPT_TITLE, 0, NULL, NULL, "compatibility, and the Python package", 0, 0, NULL },
    { "server-name", OPT_TEXT, FIELD(server_name), "NAME", "oar", "what GET /v2 calls the server", 0, 0, "id" },
    { "compat", OPT_CHOICE, FIELD(compat), "none|triton", "none", "triton: malformed messages are answered 500, as Triton does", 0, 0, NULL },
    { "crew", OPT_INT, FIELD(crew), "FD", NULL, "for Python services: a socket to who starts worker processes", 0, 1e6, NULL },
};
// clang-format on

static const struct command command = {
    .name = "oar serve",
    .usage = "--model DIR [--model NAME=DIR ...] [options]",
    .about = "Serves models until SIGTERM or SIGINT, which let the calls that are admitted finish; "
             "a second one ends at once. One line on stderr says when it is ready, and so does GET "
             "/v2/health/ready.",
    .examples =
        "  oar serve --model models/uci --port 9292\n"
        "  oar serve --model uci=models/uci --model spam=models/imdb --thread 8\n"
        "  oar serve --model-repository models --version-policy latest:2 --access-log access.log\n"
        "  oar serve --model models/bert --runtime-thread-num 2 --batch-infer-size 32 "
        "--batch-delay-us 500\n"
        "  oar serve --model models/uci --tls-cert server.pem --tls-key server.key --api-keys "
        "keys\n",
    .options = options,
    .option_count = ARRAY_LEN(options),
    .positional = FIELD(words),
};

static log_level log_level_of(const char *name)
{
    static const char *const names[] = { "debug", "info", "warn", "error" };
    log_level level = LOG_INFO;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0)
            level = (log_level)i;
    return level;
}

/* "NAME=DIR", or "DIR", whose own name then serves. A '=' behind a '/' belongs to the path. */
static struct server_model model_of(const char *word, struct arena *a)
{
    size_t n = strcspn(word, "=/");
    if (word[n] != '=' || n == 0)
        return (struct server_model){ .path = word };
    return (struct server_model){ .name = arena_strndup(a, word, n), .path = word + n + 1 };
}

static model_control control_of(const char *word)
{
    if (strcmp(word, "explicit") == 0)
        return CONTROL_EXPLICIT;
    return strcmp(word, "none") == 0 ? CONTROL_NONE : CONTROL_POLL;
}

/* The number for the i-th model: the last one given stands for all that follow. */
static bool number_for(const struct words *w, int i, int *out)
{
    int64_t n = 0;
    *out = 0;
    if (w->count == 0)
        return true;
    bool fine =
        str_to_i64(str_of(w->word[i < w->count ? i : w->count - 1]), &n) && n >= 0 && n <= 1 << 20;
    *out = (int)n;
    return fine;
}

static bool take_batch(const struct serve_args *args, struct batch_options *o)
{
    int threads = 0, rows = 0;
    bool fine =
        number_for(&args->batch_threads, 0, &threads) && number_for(&args->batch_rows, 0, &rows);
    *o = (struct batch_options){ .threads = threads,
                                 .max_rows = rows,
                                 .delay_us = args->batch_delay_us,
                                 .levels = (int)args->batch_levels,
                                 .all = { .queue_max = (int)args->batch_queue,
                                          .timeout_us = args->batch_timeout_us,
                                          .timeout_override = true,
                                          .delay_overdue =
                                              strcmp(args->batch_overdue, "delay") == 0 } };
    for (int i = 0; i < args->batch_preferred.count && fine; i++) {
        int n;
        fine = number_for(&args->batch_preferred, i, &n) && n > 0 && batch_prefer(o, n);
    }
    return fine;
}

/* `--model A B --op X Y`: one service in place of the models. */
static status chain_models(const struct serve_args *args, struct arena *a,
                           struct server_model *model, int *count, struct err *e)
{
    struct service *service = arena_zalloc(a, sizeof(*service));
    if (args->ops.count == 0)
        return OK;
    TRY(service_chain(args->models.word, args->models.count, args->ops.word, args->ops.count, a,
                      service, e));
    model[0].service = service;
    model[0].name = args->name != NULL ? args->name : service->name;
    model[0].path = args->models.count > 0 ? args->models.word[0] : ".";
    *count = 1;
    return OK;
}

/* What is told by options alone; the models and how they are computed are still to come. */
static struct server_options options_of(const struct serve_args *args)
{
    return (struct server_options){
        .host = args->host,
        .port = (int)args->port,
        .threads = (int)args->threads,
        .name = args->name,
        .record = args->record,
        .record_share = args->record_share,
        .record_bytes = (size_t)args->record_bytes,
        .cache_bytes = (size_t)args->cache_bytes,
        .root = args->roots.word,
        .root_count = args->roots.count,
        .control = control_of(args->control),
        .load = args->load.word,
        .load_count = args->load.count,
        .version_policy = args->version_policy,
        .reload_interval_s = (int)args->reload_interval_s,
        .settle_ms = (int)args->settle_ms,
        .max_body_bytes = (size_t)args->max_body_bytes,
        .max_arena_bytes = (size_t)args->max_arena_bytes,
        .engine = args->engine,
        .bind = args->bind.word,
        .bind_count = args->bind.count,
        .tls_cert = args->tls_cert,
        .tls_key = args->tls_key,
        .tls_client_ca = args->tls_client_ca,
        .tls_required = args->tls_required,
        .proxy_protocol = args->proxy_protocol,
        .api_keys = args->api_keys,
        .admin_anywhere = args->admin_anywhere,
        .quiet = args->quiet,
        .crew_fd = (int)args->crew,
        .server_name = args->server_name,
        .triton_codes = strcmp(args->compat, "triton") == 0,
        .shared_memory = args->shared_memory,
        .access_log = args->access_log,
        .access_sample = (int)args->access_sample,
        .server_timing = args->server_timing,
        .cors_origin = args->cors_origin,
        .trace_file = args->trace_file,
        .trace_endpoint = args->trace_endpoint,
        .trace_rate = (int)args->trace_rate,
        .prometheus_port = (int)args->prometheus_port,
        .max_connections = (int)args->max_connections,
        .max_header_bytes = (size_t)args->max_header_bytes,
        .max_bytes_in_flight = (size_t)args->max_in_flight,
        .queue_size = (int)args->queue_size,
        .model_queue_size = (int)args->model_queue,
        .max_json_depth = (int)args->json_depth,
        .max_streams = (int)args->max_streams,
        .idle_timeout_s = (int)args->idle_s,
        .request_timeout_s = (int)args->request_s,
        .write_timeout_s = (int)args->write_s,
    };
}

static int serve(const struct serve_args *args, struct arena *a)
{
    struct server_model *model = arena_zalloc(a, ((size_t)args->models.count + 1) * sizeof(*model));
    int model_count = args->models.count;
    struct err e = { "" };
    struct batch_options batch;
    bool fine = take_batch(args, &batch);
    for (int i = 0; i < args->models.count; i++) {
        model[i] = model_of(args->models.word[i], a);
        fine = number_for(&args->batch_threads, i, &model[i].batch_threads) && fine;
        fine = number_for(&args->batch_rows, i, &model[i].batch_rows) && fine;
    }
    if (!fine)
        return command_misused(&command, "--runtime-thread-num, --batch-infer-size and "
                                         "--batch-preferred take whole numbers, the last one at "
                                         "most 16 of them");
    if (chain_models(args, a, model, &model_count, &e) != OK)
        return command_failed(&command, &e);
    precision how = PRECISION_FP32;
    precision_parse(str_of(args->precision), &how);
    struct server_options opt = options_of(args);
    opt.model = model;
    opt.model_count = model_count;
    opt.batch = batch;
    opt.precision = how;
    struct server *server;
    log_set_level(log_level_of(args->log_level));
    log_set_format(strcmp(args->log_format, "json") == 0 ? LOG_JSON : LOG_TEXT);
    if (server_start(&opt, &server, &e) != OK)
        return command_failed(&command, &e);
    int exit_status = server_wait(server);
    server_free(server);
    return exit_status;
}

int verb_serve(int argc, char **argv)
{
    struct arena arena;
    struct serve_args args = { 0 };
    int exit_status;
    arena_init(&arena, 0);
    if (options_parse(&command, argc, argv, &arena, &args, &exit_status))
        exit_status =
            args.models.count + args.roots.count > 0 || args.crew > 0
                ? serve(&args, &arena)
                : command_misused(&command, "no model; usage: %s %s", command.name, command.usage);
    arena_deinit(&arena);
    return exit_status;
}
