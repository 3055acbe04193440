/* The command line that Paddle Serving's own launcher gives its server (gflags: -name value, -name=value, -noname), so that
 * SERVING_BIN may point here. The workflow files that it names are read and become the words of `oar serve`, which does the
 * work. */
#include "options.h"
#include "verbs.h"

#include "base/file.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/str.h"
#include "codec/prototxt.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

typedef enum flag_kind {
    FLAG_VALUE,
    FLAG_BOOL,
} flag_kind;

enum flag_use {
    USE_READ,   /* launcher.c looks at it */
    USE_OPTION, /* an option of `oar serve` takes its value */
    USE_NONE,   /* accepted: what it sets needs no setting here */
    USE_WARN,   /* accepted, and one line says that it does nothing */
};

struct flag {
    const char *name;
    flag_kind kind;
    enum flag_use use;
    const char *option;   /* USE_OPTION */
    const char *fallback; /* the value where none is given; NULL: none */
};

// clang-format off
static const struct flag flags[] = {
    { "port",                 FLAG_VALUE, USE_READ,   NULL,                "8010" },
    { "inferservice_path",    FLAG_VALUE, USE_READ,   NULL,                "./conf" },
    { "inferservice_file",    FLAG_VALUE, USE_READ,   NULL,                "infer_service.prototxt" },
    { "workflow_path",        FLAG_VALUE, USE_READ,   NULL,                "./conf" },
    { "workflow_file",        FLAG_VALUE, USE_READ,   NULL,                "workflow.prototxt" },
    { "resource_path",        FLAG_VALUE, USE_READ,   NULL,                "./conf" },
    { "resource_file",        FLAG_VALUE, USE_READ,   NULL,                "resource.prototxt" },
    { "http_name",            FLAG_VALUE, USE_OPTION, "--name",            NULL }, /* ours: the old launcher's --name */
    { "host",                 FLAG_VALUE, USE_OPTION, "--host",            NULL }, /* ours */
    { "listen",               FLAG_VALUE, USE_OPTION, "--listen",          NULL }, /* ours */
    { "num_threads",          FLAG_VALUE, USE_READ,   NULL,                "0" },
    { "max_body_size",        FLAG_VALUE, USE_OPTION, "--max-body-size",   NULL },
    { "reload_interval_s",    FLAG_VALUE, USE_OPTION, "--reload-interval-s", NULL },
    { "bthread_concurrency",  FLAG_VALUE, USE_NONE,   NULL,                NULL },
    { "max_concurrency",      FLAG_VALUE, USE_READ,   NULL,                "0" },
    { "idle_timeout_s",       FLAG_VALUE, USE_OPTION, "--idle-timeout",    NULL },
    { "logger_path",          FLAG_VALUE, USE_NONE,   NULL,                NULL },
    { "logger_file",          FLAG_VALUE, USE_NONE,   NULL,                NULL },
    { "general_model_path",   FLAG_VALUE, USE_NONE,   NULL,                NULL },
    { "general_model_file",   FLAG_VALUE, USE_NONE,   NULL,                NULL },
    { "enable_protocol_list", FLAG_VALUE, USE_NONE,   NULL,                NULL },
    { "http_body_compress_threshold", FLAG_VALUE, USE_NONE, NULL,          NULL },
    { "el_log_level",         FLAG_VALUE, USE_NONE,   NULL,                NULL },
    { "log_dir",              FLAG_VALUE, USE_WARN,   NULL,                NULL },
    { "minloglevel",          FLAG_VALUE, USE_READ,   NULL,                "0" },
    { "v",                    FLAG_VALUE, USE_READ,   NULL,                NULL }, /* GLOG_v */
    { "precision",            FLAG_VALUE, USE_OPTION, "--precision",       NULL },
    { "prometheus_port",      FLAG_VALUE, USE_READ,   NULL,                "19393" },
    { "request_cache_size",   FLAG_VALUE, USE_OPTION, "--request-cache-size", NULL },
    { "gpuid",                FLAG_VALUE, USE_WARN,   NULL,                NULL },
    { "nnadapter_device_names", FLAG_VALUE, USE_WARN, NULL,                NULL },
    { "nnadapter_context_properties", FLAG_VALUE, USE_WARN, NULL,          NULL },
    { "nnadapter_model_cache_dir", FLAG_VALUE, USE_WARN, NULL,             NULL },
    { "nnadapter_subgraph_partition_config_path", FLAG_VALUE, USE_WARN, NULL, NULL },
    { "nnadapter_mixed_precision_quantization_config_path", FLAG_VALUE, USE_WARN, NULL, NULL },
    { "enable_model_toolkit", FLAG_BOOL,  USE_NONE,   NULL,                NULL },
    { "enable_general_model", FLAG_BOOL,  USE_NONE,   NULL,                NULL },
    { "enable_prometheus",    FLAG_BOOL,  USE_READ,   NULL,                "false" },
    { "logtostderr",          FLAG_BOOL,  USE_NONE,   NULL,                NULL },
    { "alsologtostderr",      FLAG_BOOL,  USE_NONE,   NULL,                NULL },
    { "use_parallel_infer_service", FLAG_BOOL, USE_NONE, NULL,             NULL },
    { "g",                    FLAG_BOOL,  USE_NONE,   NULL,                NULL },
    { "use_calib",            FLAG_BOOL,  USE_WARN,   NULL,                NULL },
    { "enable_cube",          FLAG_BOOL,  USE_WARN,   NULL,                NULL },
};
// clang-format on

#define FLAGFILE_DEPTH 4

struct launch {
    struct arena *arena;
    const char *value[ARRAY_LEN(flags)]; /* by row; NULL: not given */
    const char *argv[1024];              /* what `oar serve` is told */
    int argc;
    int models;
    const char *model, *threads, *rows; /* of the last engine: its folder, and how it batches */
    struct err err;
};

static int find_flag(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (str_is(name, flags[i].name))
            return (int)i;
    return -1;
}

static const char *value_of(const struct launch *l, const char *name)
{
    int i = find_flag(str_of(name));
    return l->value[i] != NULL ? l->value[i] : flags[i].fallback;
}

/* ---- the command line ---- */

static status unknown_flag(struct launch *l, struct str name)
{
    const char *names[ARRAY_LEN(flags)];
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        names[i] = flags[i].name;
    const char *near = str_nearest(name, names, ARRAY_LEN(flags));
    return err_set(&l->err, INVALID,
                   "no flag -%.*s%s%s; `oar serve --help` lists Oar's own options", STR_ARG(name),
                   near != NULL ? "; did you mean -" : "", near != NULL ? near : "");
}

static bool is_no(struct str value)
{
    return str_eq_nocase(value, STR("false")) || str_is(value, "0") ||
           str_eq_nocase(value, STR("no")) || str_eq_nocase(value, STR("f"));
}

/* One word and, where its value stands apart, the next one. *used: how many words it took. */
static status take_flag(struct launch *l, const char *word, const char *next, int *used)
{
    struct str rest = str_of(word + (word[1] == '-' ? 2 : 1)), name;
    bool has_value = str_cut(&rest, '=', &name);
    int i = find_flag(name);
    bool off = i < 0 && name.n > 2 && str_starts(name, "no");
    if (off)
        i = find_flag((struct str){ name.p + 2, name.n - 2 });
    *used = 1;
    if (i < 0 || (off && flags[i].kind != FLAG_BOOL))
        return unknown_flag(l, name);
    if (flags[i].kind == FLAG_BOOL) {
        l->value[i] = off || (has_value && is_no(rest)) ? "false" : "true";
        return OK;
    }
    if (!has_value && next == NULL)
        return err_set(&l->err, INVALID, "-%s wants a value", flags[i].name);
    l->value[i] = has_value ? arena_strndup(l->arena, rest.p, rest.n) : next;
    *used = has_value ? 1 : 2;
    return OK;
}

static status read_flagfile(struct launch *l, const char *path, int depth);

static status take_word(struct launch *l, const char *word, const char *next, int depth, int *used)
{
    struct str rest = str_of(word), name;
    while (rest.n != 0 && rest.p[0] == '-')
        rest = (struct str){ rest.p + 1, rest.n - 1 };
    if (rest.n == 0 || word[0] != '-')
        return err_set(&l->err, INVALID, "'%s' is no flag: flags begin with a dash", word);
    bool has_value = str_cut(&rest, '=', &name);
    if (!str_is(name, "flagfile"))
        return take_flag(l, word, next, used);
    *used = has_value ? 1 : 2;
    if (!has_value && next == NULL)
        return err_set(&l->err, INVALID, "-flagfile wants a file");
    return read_flagfile(l, has_value ? arena_strndup(l->arena, rest.p, rest.n) : next, depth + 1);
}

/* One flag a line; lines that begin with # are comments. */
static status read_flagfile(struct launch *l, const char *path, int depth)
{
    struct file_map *map;
    if (depth > FLAGFILE_DEPTH)
        return err_set(&l->err, INVALID, "%s: flag files name one another without end", path);
    TRY(file_map_open(path, LIMIT_CONFIG_BYTES, &map, &l->err));
    char *text = arena_strndup(l->arena, (const char *)file_map_data(map), file_map_size(map));
    file_map_unref(map);
    struct str all = str_of(text), line;
    while (all.n != 0) {
        int used;
        str_cut(&all, '\n', &line);
        line = str_trim(line);
        if (line.n == 0 || line.p[0] == '#')
            continue;
        TRY(take_word(l, arena_strndup(l->arena, line.p, line.n), NULL, depth, &used));
    }
    return OK;
}

/* ---- the files ---- */

static status read_file(struct launch *l, const char *dir, const char *name, const char **path,
                        struct prototxt **out)
{
    struct file_map *map;
    *path = arena_printf(l->arena, "%s/%s", dir, name);
    TRY(file_map_open(*path, LIMIT_CONFIG_BYTES, &map, &l->err));
    size_t n = file_map_size(map);
    char *text = arena_strndup(l->arena, (const char *)file_map_data(map), n);
    file_map_unref(map);
    return prototxt_parse((struct str){ text, n }, *path, l->arena, out, &l->err);
}

static const struct prototxt *find_field(const struct prototxt *f, const char *name, int index)
{
    for (; f != NULL; f = f->next)
        if (str_is(f->name, name) && index-- == 0)
            return f;
    return NULL;
}

static const char *text_of(struct launch *l, const struct prototxt *f)
{
    return f == NULL || f->is_message ? NULL : arena_strndup(l->arena, f->text.p, f->text.n);
}

static status say(struct launch *l, const char *option, const char *value)
{
    if (l->argc + 2 >= (int)ARRAY_LEN(l->argv))
        return err_set(&l->err, TOO_LARGE, "more models than a command line holds");
    l->argv[l->argc++] = option;
    l->argv[l->argc++] = value;
    return OK;
}

static status take_engines(struct launch *l, const char *dir, const char *name)
{
    struct prototxt *f;
    const char *path;
    TRY(read_file(l, dir, name, &path, &f));
    for (int i = 0; find_field(f, "engines", i) != NULL; i++) {
        const struct prototxt *engine = find_field(f, "engines", i);
        const char *model = text_of(l, find_field(engine->child, "model_dir", 0));
        if (model == NULL)
            return err_set(&l->err, INVALID, "%s:%d: an engine without model_dir", path,
                           engine->line);
        l->model = model;
        l->threads = text_of(l, find_field(engine->child, "runtime_thread_num", 0));
        l->rows = text_of(l, find_field(engine->child, "batch_infer_size", 0));
        l->models++;
    }
    return OK;
}

static status take_models(struct launch *l)
{
    struct prototxt *f;
    const char *path;
    TRY(read_file(l, value_of(l, "resource_path"), value_of(l, "resource_file"), &path, &f));
    for (int i = 0; find_field(f, "model_toolkit_file", i) != NULL; i++) {
        const char *dir = text_of(l, find_field(f, "model_toolkit_path", i));
        const char *name = text_of(l, find_field(f, "model_toolkit_file", i));
        if (dir == NULL || name == NULL)
            return err_set(&l->err, INVALID,
                           "%s: model_toolkit_file number %d has no model_toolkit_path", path,
                           i + 1);
        TRY(take_engines(l, dir, name));
    }
    return l->models > 0
               ? OK
               : err_set(&l->err, INVALID, "%s: no model_toolkit_file names an engine", path);
}

/* One model is served by its folder, which is followed for new versions; several are a graph, which the files describe. */
static status say_models(struct launch *l)
{
    if (l->models > 1)
        return say(l, "--model",
                   arena_printf(l->arena, "%s/%s", value_of(l, "inferservice_path"),
                                value_of(l, "inferservice_file")));
    TRY(say(l, "--model", l->model));
    if (l->threads == NULL || strcmp(l->threads, "0") == 0)
        return OK;
    TRY(say(l, "--runtime-thread-num", l->threads));
    return l->rows != NULL ? say(l, "--batch-infer-size", l->rows) : OK;
}

/* A port in the service's file goes before the flag. */
static status take_port(struct launch *l)
{
    struct prototxt *f;
    const char *path, *port = value_of(l, "port");
    TRY(read_file(l, value_of(l, "inferservice_path"), value_of(l, "inferservice_file"), &path,
                  &f));
    const char *own = text_of(l, find_field(f, "port", 0));
    return say(l, "--port", own != NULL && strcmp(own, "0") != 0 ? own : port);
}

static status take_options(struct launch *l)
{
    const char *threads = value_of(l, "num_threads"), *most = value_of(l, "max_concurrency");
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        const char *value = l->value[i];
        if (flags[i].use == USE_OPTION && value != NULL)
            TRY(say(l, flags[i].option, value));
        if (flags[i].use == USE_WARN && value != NULL && strcmp(value, "0") != 0 &&
            strcmp(value, "false") != 0 && value[0] != '\0')
            fprintf(stderr, "oar: -%s %s has no effect here\n", flags[i].name, value);
    }
    if (strcmp(value_of(l, "enable_prometheus"), "true") == 0)
        TRY(say(l, "--prometheus-port", value_of(l, "prometheus_port")));
    if (strcmp(most, "0") != 0) /* calls beyond it are refused, and not queued */
        TRY(say(l, "--queue-size", most));
    return strcmp(threads, "0") == 0 ? OK : say(l, "--thread", threads);
}

/* glog's: -v (or GLOG_v) tells more, -minloglevel less. */
static status take_log_level(struct launch *l)
{
    static const char *const levels[] = { "info", "warn", "error", "error" };
    const char *v = value_of(l, "v"), *least = value_of(l, "minloglevel");
    v = v != NULL ? v : getenv("GLOG_v");
    if (v != NULL && v[0] > '0' && v[0] <= '9')
        return say(l, "--log-level", "debug");
    return least[0] > '0' && least[0] < '4' ? say(l, "--log-level", levels[least[0] - '0']) : OK;
}

static status translate(struct launch *l, int argc, char **argv)
{
    for (int i = 0, used; i < argc; i += used)
        TRY(take_word(l, argv[i], i + 1 < argc ? argv[i + 1] : NULL, 0, &used));
    TRY(take_port(l));
    TRY(take_models(l));
    TRY(say_models(l));
    TRY(take_log_level(l));
    return take_options(l);
}

/* A launcher that asks for it (as Oar's own does) and is killed does not leave its server behind. */
static void end_with_parent(void)
{
    if (getenv("OAR_DIES_WITH_PARENT") != NULL)
        prctl(PR_SET_PDEATHSIG, SIGTERM);
}

int verb_launcher(int argc, char **argv)
{
    struct arena arena;
    int exit_status = EXIT_USAGE;
    arena_init(&arena, 0);
    struct launch *l = arena_zalloc(&arena, sizeof(*l));
    l->arena = &arena;
    end_with_parent();
    if (translate(l, argc, argv) != OK)
        fprintf(stderr, "oar: %s\n", l->err.text);
    else
        exit_status = verb_serve(l->argc, (char **)l->argv);
    arena_deinit(&arena);
    return exit_status;
}
