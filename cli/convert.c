#include "accuracy.h"
#include "arrays.h"
#include "options.h"
#include "verbs.h"

#include "convert/convert.h"
#include "exec/model.h"

#include <stdio.h>
#include <string.h>

struct convert_args {
    struct words words;
    const char *precision, *calibrate, *out, *method;
    double percentile;
    int64_t threads;
};

#define FIELD(f) offsetof(struct convert_args, f)

// clang-format off
static const struct option options[] = {
    { "precision", OPT_CHOICE, FIELD(precision), "int8|fp16|bf16", "int8", "int8 weights and activations, or weights of half the size", 0, 0, NULL },
    { "calibrate", OPT_TEXT, FIELD(calibrate), "FILE.npz", NULL, "samples, an array for each input: int8 finds its ranges on them, and the error is told on them", 0, 0, NULL },
    { "out", OPT_TEXT, FIELD(out), "DIR", NULL, "where the model is written", 0, 0, NULL },
    { "method", OPT_CHOICE, FIELD(method), "max|percentile|kl", "max", "int8: how a range follows from what was seen", 0, 0, NULL },
    { "percentile", OPT_REAL, FIELD(percentile), "P", "99.99", "int8: what percentile keeps", 50, 100, NULL },
    { "threads", OPT_INT, FIELD(threads), "N", "1", "threads that a run uses", 1, 1024, "thread" },
};
// clang-format on

static const struct command command = {
    .name = "oar convert",
    .usage = "MODEL --precision int8 --calibrate in.npz --out DIR [options]",
    .about = "Writes a model anew with smaller numbers, in its own format, so that its framework "
             "reads it too: a Paddle program with quantize_linear and dequantize_linear, an ONNX "
             "model with QuantizeLinear and DequantizeLinear, or either with weights in half "
             "precision. The serving configuration goes along; 'oar serve --model DIR' takes the "
             "result as it is. Tells the error against fp32.",
    .examples = "  oar convert models/resnet --precision int8 --calibrate samples.npz --out "
                "models/resnet-int8\n"
                "  oar convert bert.onnx --precision fp16 --out models/bert-half\n",
    .options = options,
    .option_count = ARRAY_LEN(options),
    .positional = FIELD(words),
    .positional_min = 1,
    .positional_max = 1,
};

/* ---- samples ---- */

/* Rows of all inputs alike, where each input's first dimension is open: one row then is a sample. */
static int64_t common_rows(const struct model *m, const struct tensor *in)
{
    int count;
    const struct port *port = model_inputs(m, &count);
    for (int i = 0; i < count; i++)
        if (in[i].lod.levels > 0 || port[i].shape.rank < 1 || port[i].shape.dim[0] >= 0 ||
            in[i].shape.rank < 1 || in[i].shape.dim[0] != in[0].shape.dim[0])
            return 1;
    return count > 0 && in[0].shape.dim[0] > 0 ? in[0].shape.dim[0] : 1;
}

static struct tensor row_of(const struct tensor *t, int64_t k, int64_t rows)
{
    struct tensor r = *t;
    if (rows > 1) {
        r.shape.dim[0] = 1;
        r.data = (const char *)t->data + k * (tensor_bytes(t) / rows);
    }
    return r;
}

static void cut_samples(const struct model *m, const struct tensor *in, struct arena *a,
                        struct convert_samples *out)
{
    int inputs;
    int64_t rows = common_rows(m, in);
    model_inputs(m, &inputs);
    struct tensor **feed = arena_zalloc(a, (size_t)rows * sizeof(*feed));
    for (int64_t k = 0; k < rows; k++) {
        feed[k] = arena_zalloc(a, (size_t)(inputs + 1) * sizeof(**feed));
        for (int i = 0; i < inputs; i++)
            feed[k][i] = row_of(&in[i], k, rows);
    }
    *out = (struct convert_samples){ feed, (int)rows };
}

/* Without samples the error is told on one of noise, where the model says what it takes. */
static void make_noise(const struct model *m, struct arena *a, struct convert_samples *out)
{
    struct tensor *in, **feed = arena_alloc(a, sizeof(*feed));
    uint32_t seed = 1;
    int inputs;
    *out = (struct convert_samples){ feed, 0 };
    if (!model_sample(m, a, &in))
        return;
    model_inputs(m, &inputs);
    for (int i = 0; i < inputs; i++) {
        float *x = (float *)in[i].data;
        for (int64_t k = 0; in[i].dtype == DTYPE_F32 && k < shape_numel(&in[i].shape); k++) {
            seed = seed * 1664525 + 1013904223;
            x[k] = (float)(seed >> 8) / (float)(1 << 23) - 1;
        }
    }
    feed[0] = in;
    out->count = 1;
}

/* ---- the verb ---- */

static convert_method method_of(const char *word)
{
    return strcmp(word, "max") == 0 ? CONVERT_MAX
           : word[0] == 'p'         ? CONVERT_PERCENTILE
                                    : CONVERT_KL;
}

static void tell(const struct convert_args *args, const struct convert_report *r)
{
    fprintf(stderr, "%s: %s, %d weight%s", args->out, r->form, r->weights,
            r->weights == 1 ? "" : "s");
    if (r->activations > 0)
        fprintf(stderr, " and %d activation%s", r->activations, r->activations == 1 ? "" : "s");
    fprintf(stderr, " in %s; parameters %.2f MB, were %.2f MB\n", args->precision,
            (double)r->after / 1e6, (double)r->before / 1e6);
}

static status compare(const struct convert_args *args, struct model *before, precision p,
                      const struct convert_samples *samples, struct arena *a, struct err *e)
{
    const struct model_options how = { .threads = (int)args->threads,
                                       .precision = p == PRECISION_INT8 ? p : PRECISION_FP32 };
    struct model *after;
    TRY(model_open(args->out, &how, &after, e));
    if (model_remark(after) != NULL)
        fprintf(stderr, "%s: %s\n", command.name, model_remark(after));
    if (samples->count == 0)
        fprintf(stderr, "%s: with --calibrate the error would be told\n", command.name);
    status s = accuracy_compare(after, before, samples->feed, samples->count, a, e);
    model_unref(after);
    return s;
}

static status convert(const struct convert_args *args, struct model *m, struct arrays *file,
                      struct arena *a, struct err *e)
{
    struct convert_options opt = { .out = args->out,
                                   .method = method_of(args->method),
                                   .percentile = args->percentile,
                                   .threads = (int)args->threads };
    struct convert_samples samples;
    struct convert_report report;
    int inputs;
    precision_parse(str_of(args->precision), &opt.precision);
    if (args->calibrate != NULL) {
        struct tensor *in;
        const struct port *port = model_inputs(m, &inputs);
        TRY(arrays_bind(file, port, inputs, a, &in, e));
        cut_samples(m, in, a, &samples);
    } else {
        make_noise(m, a, &samples);
    }
    TRY(convert_model(args->words.word[0], &opt, &samples, &report, a, e));
    tell(args, &report);
    return compare(args, m, opt.precision, &samples, a, e);
}

static status run(const struct convert_args *args, struct arena *a, struct err *e)
{
    const struct model_options how = { .threads = (int)args->threads };
    struct arrays file = { 0 };
    struct model *m;
    if (args->calibrate != NULL)
        TRY(arrays_open(args->calibrate, a, &file, e));
    status s = model_open(args->words.word[0], &how, &m, e);
    if (s == OK) {
        s = convert(args, m, &file, a, e);
        model_unref(m);
    }
    if (args->calibrate != NULL)
        arrays_close(&file);
    return s;
}

static const char *missing(const struct convert_args *args)
{
    if (args->out == NULL)
        return "--out is missing: the directory to write";
    if (args->calibrate == NULL && strcmp(args->precision, "int8") == 0)
        return "--calibrate is missing: int8 wants samples of the inputs, a .npz file";
    return NULL;
}

int verb_convert(int argc, char **argv)
{
    struct arena arena;
    struct convert_args args = { 0 };
    struct err e = { "" };
    int exit_status;
    arena_init(&arena, 0);
    if (options_parse(&command, argc, argv, &arena, &args, &exit_status)) {
        if (missing(&args) != NULL)
            exit_status = command_misused(&command, "%s", missing(&args));
        else if (run(&args, &arena, &e) != OK)
            exit_status = command_failed(&command, &e);
    }
    arena_deinit(&arena);
    return exit_status;
}
