#include "accuracy.h"
#include "arrays.h"
#include "options.h"
#include "text.h"
#include "verbs.h"

#include "exec/exec.h"
#include "exec/model.h"

#include <stdio.h>
#include <string.h>

struct run_args {
    struct words words;
    const char *in, *out, *precision, *engine;
    int64_t threads, max_arena_bytes;
    bool json;
};

#define FIELD(f) offsetof(struct run_args, f)

// clang-format off
static const struct option options[] = {
    { "in", OPT_TEXT, FIELD(in), "FILE.npz", NULL, "the input arrays", 0, 0, NULL },
    { "out", OPT_TEXT, FIELD(out), "FILE.npz", NULL, "where the outputs go; without it they are printed", 0, 0, NULL },
    { "threads", OPT_INT, FIELD(threads), "N", "1", "threads that one run uses", 1, 1024, "thread" },
    { "precision", OPT_CHOICE, FIELD(precision), PRECISION_CHOICES, "fp32", "how it is computed; int8: a quantised model; tells the error against fp32", 0, 0, NULL },
    { "engine", OPT_TEXT, FIELD(engine), "NAME|FILE.so", NULL, "who computes it; settings behind it as :NAME=VALUE,...", 0, 0, NULL },
    { "max-arena", OPT_INT, FIELD(max_arena_bytes), "BYTES", "3221225472", "the working memory that one run may have", 1, 1e15, NULL },
    { "json", OPT_FLAG, FIELD(json), NULL, NULL, "print the outputs whole, as JSON", 0, 0, NULL },
};
// clang-format on

static const struct command command = {
    .name = "oar run",
    .usage = "MODEL --in in.npz [--out out.npz] [options]",
    .about =
        "Runs a model directory or program file once. An input's array bears its name, its alias, "
        "or inN for the N-th; the offsets of a ragged one stand beside it as NAME.lod. Outputs are "
        "written in the model's order under their aliases, NAME.lod after a ragged one.",
    .examples = "  oar run models/uci --in in.npz\n"
                "  oar run model.onnx --in in.npz --out out.npz --threads 4\n"
                "  oar run models/resnet --in in.npz --precision bf16\n",
    .options = options,
    .option_count = ARRAY_LEN(options),
    .positional = FIELD(words),
    .positional_min = 1,
    .positional_max = 1,
};

static struct named_tensor *name_outputs(const struct port *ports, const struct tensor *t,
                                         int count, struct arena *a)
{
    struct named_tensor *named = arena_zalloc(a, (size_t)count * sizeof(*named));
    for (int i = 0; i < count; i++)
        named[i] = (struct named_tensor){ str_of(ports[i].name), str_of(ports[i].alias), t[i] };
    return named;
}

static status deliver(const struct run_args *args, const struct named_tensor *t, int count,
                      struct err *e)
{
    if (args->out != NULL)
        TRY(arrays_save(args->out, t, count, e));
    if (args->out != NULL && !args->json)
        return OK;
    struct buf text;
    buf_init(&text, TEXT_BYTES);
    if (args->json)
        text_put_json(&text, t, count);
    for (int i = 0; i < count && !args->json; i++)
        text_put_summary(&text, t[i].alias, &t[i].tensor);
    return text_print(&text, e);
}

static status run_on(const struct run_args *args, struct model *m, struct arrays *file,
                     struct arena *a, struct err *e)
{
    int in_count, out_count;
    const struct port *inputs = model_inputs(m, &in_count);
    const struct port *outputs = model_outputs(m, &out_count);
    struct tensor *in, *out = arena_zalloc(a, (size_t)out_count * sizeof(*out));
    TRY(arrays_bind(file, inputs, in_count, a, &in, e));
    struct exec *x = exec_new();
    status s = exec_run(x, m, in, out, e);
    if (s == OK && strcmp(args->precision, "fp32") != 0)
        s = accuracy_report(args->words.word[0], in, out, a, e);
    if (s == OK)
        s = deliver(args, name_outputs(outputs, out, out_count, a), out_count, e);
    exec_free(x);
    return s;
}

static status run(const struct run_args *args, struct arena *a, struct err *e)
{
    struct model_options opt = { .threads = (int)args->threads,
                                 .max_arena_bytes = (size_t)args->max_arena_bytes,
                                 .engine = args->engine };
    struct arrays file;
    struct model *m;
    TRY(arrays_open(args->in, a, &file, e));
    precision_parse(str_of(args->precision), &opt.precision);
    status s = model_open(args->words.word[0], &opt, &m, e);
    if (s == OK) {
        if (model_remark(m) != NULL)
            fprintf(stderr, "%s: %s\n", command.name, model_remark(m));
        s = run_on(args, m, &file, a, e);
        model_unref(m);
    }
    arrays_close(&file);
    return s;
}

int verb_run(int argc, char **argv)
{
    struct arena arena;
    struct run_args args = { 0 };
    struct err e = { "" };
    int exit_status;
    arena_init(&arena, 0);
    if (options_parse(&command, argc, argv, &arena, &args, &exit_status)) {
        if (args.in == NULL)
            exit_status = command_misused(&command, "--in is missing: the .npz file of the inputs");
        else if (run(&args, &arena, &e) != OK)
            exit_status = command_failed(&command, &e);
    }
    arena_deinit(&arena);
    return exit_status;
}
