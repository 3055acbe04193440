#include "ask.h"
#include "options.h"
#include "remote.h"
#include "verbs.h"

#include "codec/json.h"

#include <stdio.h>
#include <string.h>

struct models_args {
    struct words words;
    struct remote remote;
    int64_t timeout_ms;
    bool json;
};

#define FIELD(f) offsetof(struct models_args, f)

// clang-format off
static const struct option options[] = {
    { "timeout-ms", OPT_INT, FIELD(timeout_ms), "N", "600000", "how long a load may take", 1, 86400000, NULL },
    REMOTE_OPTIONS(FIELD(remote)),
    { "json", OPT_FLAG, FIELD(json), NULL, NULL, "list: the server's answer as it came", 0, 0, NULL },
};
// clang-format on

static const struct command command = {
    .name = "oar models",
    .usage = "HOST:PORT|unix:PATH list | load NAME | unload NAME | rollback NAME | label NAME "
             "LABEL VERSION",
    .about = "Looks at and changes the models of a running server. load takes what the model's "
             "directory holds now; rollback serves the next lower version until the model is "
             "loaded again; label gives a version a name that requests may use in place of its "
             "number (version 0 takes the label away).",
    .examples = "  oar models localhost:9292 list\n"
                "  oar models localhost:9292 load uci\n"
                "  oar models localhost:9292 label uci stable 3\n",
    .options = options,
    .option_count = ARRAY_LEN(options),
    .positional = FIELD(words),
    .positional_min = 2,
    .positional_max = 5,
};

/* ---- list ---- */

struct row {
    struct str name, version, state, reason;
};

static void take_row(struct json *j, struct row *r)
{
    struct str key;
    json_object(j);
    while (json_key(j, &key)) {
        struct str *to = str_is(key, "name")      ? &r->name
                         : str_is(key, "version") ? &r->version
                         : str_is(key, "state")   ? &r->state
                         : str_is(key, "reason")  ? &r->reason
                                                  : NULL;
        if (to != NULL)
            *to = json_string(j);
        else
            json_skip(j);
    }
}

#define STATE_COLUMNS 12

static status print_list(struct str body, struct arena *a, struct err *e)
{
    struct json j;
    json_init(&j, body, a);
    json_array(&j);
    while (json_item(&j)) {
        struct row r = { 0 };
        take_row(&j, &r);
        if (!json_failed(&j))
            printf("%-24.*s %8.*s  %-*.*s%s%.*s\n", STR_ARG(r.name), STR_ARG(r.version),
                   r.reason.n > 0 ? STATE_COLUMNS : 0, STR_ARG(r.state), r.reason.n > 0 ? " " : "",
                   STR_ARG(r.reason));
    }
    return json_end(&j, e);
}

static status list(const struct models_args *args, struct arena *a, struct err *e)
{
    struct buf out;
    const struct ask q = { args->words.word[0], "POST",           "/v2/repository/index",
                           STR("{}"),           args->timeout_ms, &args->remote };
    buf_init(&out, 1 << 26);
    status s = ask_fine(&q, &out, e);
    if (s == OK && args->json)
        printf("%.*s\n", (int)out.len, (const char *)out.data);
    else if (s == OK)
        s = print_list(buf_view(&out), a, e);
    buf_deinit(&out);
    return s;
}

/* ---- changes ---- */

/* {"label": ..., "version": N} for label, nothing for the others. */
static status put_body(const struct models_args *args, struct buf *out, struct err *e)
{
    const struct words *w = &args->words;
    int64_t version;
    if (strcmp(w->word[1], "label") != 0)
        return OK;
    if (!str_to_i64(str_of(w->word[4]), &version))
        return err_set(e, INVALID, "'%s' is no version number", w->word[4]);
    buf_str(out, "{\"label\":");
    json_put_string(out, str_of(w->word[3]));
    buf_printf(out, ",\"version\":%lld}", (long long)version);
    return OK;
}

static status change(const struct models_args *args, struct arena *a, struct err *e)
{
    const struct words *w = &args->words;
    struct buf body, out;
    buf_init(&body, 1 << 16);
    buf_init(&out, 1 << 26);
    status s = put_body(args, &body, e);
    if (s == OK)
        s = ask_fine(&(struct ask){ w->word[0], "POST",
                                    arena_printf(a, "/v2/repository/models/%s/%s",
                                                 ask_part(w->word[2], a), w->word[1]),
                                    buf_view(&body), args->timeout_ms, &args->remote },
                     &out, e);
    buf_deinit(&body);
    buf_deinit(&out);
    return s;
}

struct verb_of_models {
    const char *name;
    int words; /* with HOST:PORT and the verb itself */
    status (*run)(const struct models_args *args, struct arena *a, struct err *e);
};

// clang-format off
static const struct verb_of_models verbs[] = {
    { "list",     2, list },
    { "load",     3, change },
    { "unload",   3, change },
    { "rollback", 3, change },
    { "label",    5, change },
};
// clang-format on

static int run(const struct models_args *args, struct arena *a)
{
    const char *name[ARRAY_LEN(verbs)], *word = args->words.word[1];
    struct err e = { "" };
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        name[i] = verbs[i].name;
        if (strcmp(verbs[i].name, word) != 0)
            continue;
        if (args->words.count != verbs[i].words)
            return command_misused(&command, "usage: %s %s", command.name, command.usage);
        return verbs[i].run(args, a, &e) == OK ? EXIT_FINE : command_failed(&command, &e);
    }
    const char *near = str_nearest(str_of(word), name, ARRAY_LEN(verbs));
    return command_misused(&command, "'%s' is nothing it does%s", word,
                           str_hint(near, "list").text);
}

int verb_models(int argc, char **argv)
{
    struct arena arena;
    struct models_args args = { 0 };
    int exit_status;
    arena_init(&arena, 0);
    if (options_parse(&command, argc, argv, &arena, &args, &exit_status))
        exit_status = run(&args, &arena);
    arena_deinit(&arena);
    return exit_status;
}
