#include "options.h"
#include "verbs.h"

#include "base/log.h"
#include "serve/fetcher.h"

#include <string.h>
#include <time.h>

struct monitor_args {
    struct words words;
    const char *type, *remote_path, *remote_model, *remote_donefile, *local_path, *local_model;
    const char *timestamp_file, *tmp, *unpacked, *general_host, *ftp_host, *user, *password,
        *fs_name, *fs_ugi, *hadoop_bin;
    int64_t ftp_port, interval;
    bool debug, once;
};

#define FIELD(f) offsetof(struct monitor_args, f)

// clang-format off
/* The original's names and defaults. */
static const struct option options[] = {
    { "type", OPT_CHOICE, FIELD(type), "general|ftp|afs|hdfs", "general", "where the model comes from", 0, 0, NULL },
    { "remote_path", OPT_TEXT, FIELD(remote_path), "PATH", NULL, "the directory there", 0, 0, NULL },
    { "remote_model_name", OPT_TEXT, FIELD(remote_model), "NAME", NULL, "the model in it: a directory, a file, or a tar", 0, 0, NULL },
    { "remote_donefile_name", OPT_TEXT, FIELD(remote_donefile), "NAME", NULL, "the file whose time says that the model is whole", 0, 0, NULL },
    { "local_path", OPT_TEXT, FIELD(local_path), "PATH", NULL, "the directory here", 0, 0, NULL },
    { "local_model_name", OPT_TEXT, FIELD(local_model), "NAME", NULL, "the model's directory in it", 0, 0, NULL },
    { "local_timestamp_file", OPT_TEXT, FIELD(timestamp_file), "NAME", "fluid_time_file", "what is touched in it afterwards", 0, 0, NULL },
    { "local_tmp_path", OPT_TEXT, FIELD(tmp), "NAME", "_serving_monitor_tmp", "where it is fetched to first", 0, 0, NULL },
    { "unpacked_filename", OPT_TEXT, FIELD(unpacked), "NAME", NULL, "the remote model is a tar that holds this directory", 0, 0, NULL },
    { "interval", OPT_INT, FIELD(interval), "S", "10", "how often to look", 1, 86400, NULL },
    { "general_host", OPT_TEXT, FIELD(general_host), "URL", NULL, "general: http(s)://HOST, or a directory", 0, 0, NULL },
    { "ftp_host", OPT_TEXT, FIELD(ftp_host), "HOST", NULL, "ftp", 0, 0, NULL },
    { "ftp_port", OPT_INT, FIELD(ftp_port), "N", "21", "ftp", 1, 65535, NULL },
    { "ftp_username", OPT_TEXT, FIELD(user), "NAME", "", "ftp", 0, 0, NULL },
    { "ftp_password", OPT_TEXT, FIELD(password), "WORD", "", "ftp", 0, 0, NULL },
    { "fs_name", OPT_TEXT, FIELD(fs_name), "URL", NULL, "hdfs, afs: WebHDFS as http://HOST:PORT", 0, 0, NULL },
    { "fs_ugi", OPT_TEXT, FIELD(fs_ugi), "NAME,WORD", "", "hdfs, afs: who asks", 0, 0, NULL },
    { "hadoop_bin", OPT_TEXT, FIELD(hadoop_bin), "PATH", NULL, "not needed: WebHDFS is asked over HTTP", 0, 0, NULL },
    { "debug", OPT_FLAG, FIELD(debug), NULL, NULL, "say more", 0, 0, NULL },
    { "once", OPT_FLAG, FIELD(once), NULL, NULL, "look once and end; 1 when nothing was fetched", 0, 0, NULL },
};
// clang-format on

static const struct command command = {
    .name = "oar monitor",
    .usage = "--type general|ftp|hdfs --remote_path PATH --remote_model_name NAME ...",
    .about = "Fetches a model whenever a file beside it, the done file, is written again, as "
             "Paddle Serving's monitor does: to a place beside the local one, then into its place "
             "whole, and touches the time file by which 'oar serve' loads it. A fault leaves the "
             "local model as it is; it is tried again.",
    .examples = "  oar monitor --general_host http://models.example --remote_path /uci \\\n"
                "      --remote_model_name model.tar --unpacked_filename model \\\n"
                "      --remote_donefile_name done --local_path models --local_model_name uci\n",
    .options = options,
    .option_count = ARRAY_LEN(options),
    .positional = FIELD(words),
};

static const char *missing(const struct monitor_args *a)
{
    const char *const need[][2] = {
        { a->remote_path, "--remote_path" },
        { a->remote_model, "--remote_model_name" },
        { a->remote_donefile, "--remote_donefile_name" },
        { a->local_path, "--local_path" },
        { a->local_model, "--local_model_name" },
    };
    for (size_t i = 0; i < ARRAY_LEN(need); i++)
        if (need[i][0] == NULL)
            return need[i][1];
    return NULL;
}

static struct source_options source_of(const struct monitor_args *a, struct arena *arena)
{
    struct str rest = str_of(a->fs_ugi), user;
    bool is_ftp = strcmp(a->type, "ftp") == 0, is_general = strcmp(a->type, "general") == 0;
    str_cut(&rest, ',', &user);
    return (struct source_options){
        .type = a->type,
        .host = is_general ? a->general_host
                : is_ftp   ? a->ftp_host
                           : a->fs_name,
        .port = (int)a->ftp_port,
        .user = is_ftp ? a->user : arena_strndup(arena, user.p, user.n),
        .password = a->password,
    };
}

static int watch(const struct monitor_args *args, struct fetcher *f)
{
    for (;;) {
        struct err e = { "" };
        bool fetched;
        status s = fetcher_look(f, &fetched, &e);
        if (s != OK)
            log_line(LOG_WARN, "monitor", "%s", e.text);
        else if (fetched)
            log_line(LOG_INFO, "monitor", "%s/%s is a new model", args->local_path,
                     args->local_model);
        else
            log_line(LOG_DEBUG, "monitor", "nothing new");
        if (args->once)
            return s == OK && fetched ? EXIT_FINE : EXIT_FAILED;
        nanosleep(&(struct timespec){ (time_t)args->interval, 0 }, NULL);
    }
}

static int monitor(const struct monitor_args *args, struct arena *arena)
{
    struct fetcher *f;
    struct err e;
    const struct fetcher_options opt = {
        .source = source_of(args, arena),
        .remote_path = args->remote_path,
        .remote_model = args->remote_model,
        .remote_donefile = args->remote_donefile,
        .local_path = args->local_path,
        .local_model = args->local_model,
        .timestamp_file = args->timestamp_file,
        .tmp = args->tmp,
        .unpacked = args->unpacked,
    };
    if (missing(args) != NULL)
        return command_misused(&command, "%s is missing", missing(args));
    if (fetcher_open(&opt, &f, &e) != OK)
        return command_failed(&command, &e);
    log_set_level(args->debug ? LOG_DEBUG : LOG_INFO);
    int exit_status = watch(args, f);
    fetcher_close(f);
    return exit_status;
}

int verb_monitor(int argc, char **argv)
{
    struct arena arena;
    struct monitor_args args = { 0 };
    int exit_status;
    arena_init(&arena, 0);
    if (options_parse(&command, argc, argv, &arena, &args, &exit_status))
        exit_status = monitor(&args, &arena);
    arena_deinit(&arena);
    return exit_status;
}
