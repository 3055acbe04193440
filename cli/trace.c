#include "ask.h"
#include "options.h"
#include "remote.h"
#include "verbs.h"

#include "base/file.h"
#include "base/limits.h"
#include "codec/json.h"

#include <stdio.h>

struct trace_args {
    struct words words;
    struct remote remote;
    double seconds;
    const char *out, *profile;
};

#define FIELD(f) offsetof(struct trace_args, f)

// clang-format off
static const struct option options[] = {
    { "seconds", OPT_REAL, FIELD(seconds), "S", "1", "how long", 0.01, 60, NULL },
    { "profile", OPT_TEXT, FIELD(profile), "FILE", NULL, "turn a client's PROFILE lines into a trace instead", 0, 0, NULL },
    REMOTE_OPTIONS(FIELD(remote)),
    { "out", OPT_TEXT, FIELD(out), "FILE.json", NULL, "where it goes; standard output otherwise", 0, 0, NULL },
};
// clang-format on

static const struct command command = {
    .name = "oar trace",
    .usage = "(HOST:PORT|unix:PATH [--seconds S] | --profile FILE) [--out FILE.json]",
    .about = "Looks at what a server's live requests spend their time on: event loops, requests "
             "and their stages, operators, batches, kernels, by thread. Or turns the PROFILE lines "
             "that Paddle Serving's clients write to stderr (FLAGS_profile_client=1) into a trace. "
             "The file opens in chrome://tracing and in Perfetto.",
    .examples = "  oar trace localhost:9292 --seconds 2 --out trace.json\n"
                "  oar trace --profile client.log --out trace.json\n",
    .options = options,
    .option_count = ARRAY_LEN(options),
    .positional = FIELD(words),
    .positional_min = 0,
    .positional_max = 1,
};

/* ---- PROFILE lines: PROFILE<TAB>pid:N<TAB>NAME_0:US NAME_1:US ..., where _0 begins and _1 ends; NAME#TID_0 has a row of its
 * own ---- */

static void put_stamp(struct str item, struct str pid, struct buf *out)
{
    struct str us = item, name, tid;
    int64_t at;
    str_cut(&us, ':', &name);
    bool begins = str_ends(name, "_0");
    if ((!begins && !str_ends(name, "_1")) || !str_to_i64(us, &at))
        return;
    tid = (struct str){ name.p, name.n - 2 };
    str_cut(&tid, '#', &name);
    buf_str(out, out->len > 1 ? ",\n{\"name\":" : "\n{\"name\":");
    json_put_string(out, name);
    buf_str(out, ",\"tid\":");
    json_put_string(out, tid.n > 0 ? tid : STR("0"));
    buf_str(out, ",\"pid\":");
    json_put_string(out, pid);
    buf_printf(out, ",\"ts\":%lld,\"ph\":\"%s\"}", (long long)at, begins ? "B" : "E");
}

static void put_line(struct str line, struct buf *out)
{
    struct str word, pid, item;
    str_cut(&line, '\t', &word);
    str_cut(&line, '\t', &pid);
    if (!str_is(word, "PROFILE") || !str_starts(pid, "pid:"))
        return;
    pid = (struct str){ pid.p + 4, pid.n - 4 };
    for (bool more = true; more;) {
        more = str_cut(&line, ' ', &item);
        put_stamp(item, pid, out);
    }
}

static status convert(const char *path, struct buf *out, struct err *e)
{
    struct file_map *m;
    struct str line;
    TRY(file_map_open(path, LIMIT_BODY_BYTES, &m, e));
    struct str text = { (const char *)file_map_data(m), file_map_size(m) };
    buf_byte(out, '[');
    for (bool more = true; more;) {
        more = str_cut(&text, '\n', &line);
        put_line(str_trim(line), out);
    }
    buf_str(out, "\n]\n");
    file_map_unref(m);
    return buf_check(out);
}

static status look(const struct trace_args *args, struct arena *a, struct buf *out, struct err *e)
{
    const struct ask q = { args->words.word[0],
                           "GET",
                           arena_printf(a, "/debug/trace?seconds=%g", args->seconds),
                           STR(""),
                           0,
                           &args->remote };
    return ask_fine(&q, out, e);
}

static status trace(const struct trace_args *args, struct arena *a, struct err *e)
{
    struct buf out;
    buf_init(&out, LIMIT_BODY_BYTES);
    status s = args->profile != NULL ? convert(args->profile, &out, e) : look(args, a, &out, e);
    if (s == OK && args->out != NULL)
        s = file_write(args->out, out.data, out.len, e);
    else if (s == OK)
        fwrite(out.data, 1, out.len, stdout);
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
    if (options_parse(&command, argc, argv, &arena, &args, &exit_status)) {
        if ((args.words.count == 1) == (args.profile != NULL))
            exit_status = command_misused(&command, "usage: %s %s", command.name, command.usage);
        else
            exit_status = trace(&args, &arena, &e) == OK ? EXIT_FINE : command_failed(&command, &e);
    }
    arena_deinit(&arena);
    return exit_status;
}
