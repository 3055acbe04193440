#include "ask.h"
#include "options.h"
#include "verbs.h"

#include "base/file.h"
#include "base/limits.h"

#include <stdio.h>

struct trace_args {
    struct words words;
    double seconds;
    const char *out;
};

#define FIELD(f) offsetof(struct trace_args, f)

// clang-format off
static const struct option options[] = {
    { "seconds", OPT_REAL, FIELD(seconds), "S", "1", "how long", 0.01, 60, NULL },
    { "out", OPT_TEXT, FIELD(out), "FILE.json", NULL, "where it goes; standard output otherwise", 0, 0, NULL },
};
// clang-format on

static const struct command command = {
    .name = "oar trace",
    .usage = "HOST:PORT [--seconds S] [--out FILE.json]",
    .about = "Looks at what a server's live requests spend their time on: stages, operators, "
             "batches, by\n"
             "thread. The file opens in chrome://tracing and in Perfetto.",
    .options = options,
    .option_count = ARRAY_LEN(options),
    .positional = FIELD(words),
    .positional_min = 1,
    .positional_max = 1,
};

static status trace(const struct trace_args *args, struct arena *a, struct err *e)
{
    struct buf out;
    const struct ask q = { args->words.word[0], "GET",
                           arena_printf(a, "/debug/trace?seconds=%g", args->seconds), STR(""), 0 };
    buf_init(&out, LIMIT_BODY_BYTES);
    status s = ask_fine(&q, &out, e);
    if (s == OK && args->out != NULL)
        s = file_write(args->out, out.data, out.len, e);
    else if (s == OK && fwrite(out.data, 1, out.len, stdout) != out.len)
        s = err_set(e, IO_FAILED, "standard output failed");
    buf_deinit(&out);
    return s;
}

int verb_trace(int argc, char **argv)
{
    struct arena arena;
    struct trace_args args = { 0 };
    struct err e = { "" };
    int exit_status;
    arena_init(&arena, 0);
    if (options_parse(&command, argc, argv, &arena, &args, &exit_status))
        exit_status = trace(&args, &arena, &e) == OK ? EXIT_FINE : command_failed(&command, &e);
    arena_deinit(&arena);
    return exit_status;
}
