#include "options.h"
#include "verbs.h"

#include "base/log.h"
#include "base/str.h"
#include "serve/server.h"

#include <string.h>

struct serve_args {
    struct words words, models, roots, load;
    const char *host, *name, *log_level, *control, *version_policy, *server_name, *compat;
    int64_t port, threads, max_body_bytes, reload_interval_s, settle_ms;
    bool quiet;
};

#define FIELD(f) offsetof(struct serve_args, f)

// clang-format off
static const struct option options[] = {
    { "model", OPT_LIST, FIELD(models), "[NAME=]DIR", NULL, "a model and the name it is served under; repeatable", 0, 0, NULL },
    { "model-repository", OPT_LIST, FIELD(roots), "DIR", NULL, "a directory whose directories are models: NAME/VERSION/ or flat", 0, 0, "model-base-path" },
    { "model-control", OPT_CHOICE, FIELD(control), "poll|none|explicit", "poll", "follow the repository, load it once, or load what is asked for", 0, 0, "model-control-mode" },
    { "load-model", OPT_LIST, FIELD(load), "NAME", NULL, "explicit: a model of the repository to begin with", 0, 0, NULL },
    { "version-policy", OPT_TEXT, FIELD(version_policy), "POLICY", "latest", "latest, latest:N, all or specific:N,N", 0, 0, NULL },
    { "reload-interval-s", OPT_INT, FIELD(reload_interval_s), "N", "10", "how often to look for new versions where no file events tell; -1: never", -1, 86400, NULL },
    { "settle-ms", OPT_INT, FIELD(settle_ms), "N", "1000", "files that did not change for so long are whole", 1, 3600000, NULL },
    { "port", OPT_INT, FIELD(port), "N", "9292", "the port of every protocol; 0 picks a free one", 0, 65535, NULL },
    { "thread", OPT_INT, FIELD(threads), "N", "4", "worker threads", 1, 1024, "threads" },
    { "name", OPT_TEXT, FIELD(name), "NAME", NULL, "serve /NAME/prediction", 0, 0, NULL },
    { "host", OPT_TEXT, FIELD(host), "ADDRESS", "0.0.0.0", "the address to listen on", 0, 0, "bind" },
    { "max-body-size", OPT_INT, FIELD(max_body_bytes), "BYTES", "536870912", "the largest request", 1, 1e15, NULL },
    { "log-level", OPT_CHOICE, FIELD(log_level), "debug|info|warn|error", "info", "the least that is logged", 0, 0, NULL },
    { "server-name", OPT_TEXT, FIELD(server_name), "NAME", "oar", "what GET /v2 calls the server", 0, 0, "id" },
    { "compat", OPT_CHOICE, FIELD(compat), "none|triton", "none", "triton: malformed messages are answered 500, as Triton does", 0, 0, NULL },
    { "quiet", OPT_FLAG, FIELD(quiet), NULL, NULL, "no access lines, no ready line", 0, 0, NULL },
};
// clang-format on

static const struct command command = {
    .name = "oar serve",
    .usage = "--model DIR [--model NAME=DIR ...] [options]",
    .about =
        "Serves models until SIGTERM or SIGINT, which let the calls that are admitted finish; a\n"
        "second one ends at once. One line on stderr says when it is ready, and so does\n"
        "GET /v2/health/ready.",
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

static int serve(const struct serve_args *args, struct arena *a)
{
    struct server_model *model = arena_zalloc(a, (size_t)args->models.count * sizeof(*model));
    for (int i = 0; i < args->models.count; i++)
        model[i] = model_of(args->models.word[i], a);
    struct server_options opt = {
        .model = model,
        .model_count = args->models.count,
        .host = args->host,
        .port = (int)args->port,
        .threads = (int)args->threads,
        .name = args->name,
        .root = args->roots.word,
        .root_count = args->roots.count,
        .control = control_of(args->control),
        .load = args->load.word,
        .load_count = args->load.count,
        .version_policy = args->version_policy,
        .reload_interval_s = (int)args->reload_interval_s,
        .settle_ms = (int)args->settle_ms,
        .max_body_bytes = (size_t)args->max_body_bytes,
        .quiet = args->quiet,
        .server_name = args->server_name,
        .triton_codes = strcmp(args->compat, "triton") == 0,
    };
    struct server *server;
    struct err e = { "" };
    log_set_level(log_level_of(args->log_level));
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
            args.models.count + args.roots.count > 0
                ? serve(&args, &arena)
                : command_misused(&command, "no model; usage: %s %s", command.name, command.usage);
    arena_deinit(&arena);
    return exit_status;
}
