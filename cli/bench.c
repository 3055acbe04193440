/* Two benchmarks under one verb: a word that is a path names a model, one that is HOST:PORT a
 * server. */
#include "feeds.h"
#include "options.h"
#include "profile.h"
#include "remote.h"
#include "report.h"
#include "text.h"
#include "verbs.h"

#include "base/clock.h"
#include "client/load.h"
#include "client/transport.h"
#include "codec/json.h"
#include "exec/exec.h"
#include "exec/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WARM_UP_RUNS 10

struct bench_args {
    struct words words;
    struct feeds_args feeds;
    struct remote remote;
    struct words mix;
    const char *protocol, *encoding, *model, *report;
    int64_t threads, concurrency, max_arena_bytes;
    double seconds, warm_up_s, rate;
    const char *trace, *precision, *engine;
    bool json, profile;
};

#define FIELD(f) offsetof(struct bench_args, f)

// clang-format off
static const struct option options[] = {
    FEEDS_OPTIONS(FIELD(feeds)),
    { "seconds", OPT_REAL, FIELD(seconds), "S", "4", "how long", 0.001, 86400, NULL },
    { "json", OPT_FLAG, FIELD(json), NULL, NULL, "one JSON object", 0, 0, NULL },
    { "threads", OPT_INT, FIELD(threads), "N", "1", "model: threads that one run uses", 1, 1024, "thread" },
    { "precision", OPT_CHOICE, FIELD(precision), PRECISION_CHOICES, "fp32", "model: how it is computed; int8: a quantised one", 0, 0, NULL },
    { "profile", OPT_FLAG, FIELD(profile), NULL, NULL, "model: time by kind of operator and by step", 0, 0, NULL },
    { "trace", OPT_TEXT, FIELD(trace), "FILE", NULL, "model: the last run as Chrome's trace events", 0, 0, NULL },
    { "engine", OPT_TEXT, FIELD(engine), "NAME|FILE.so", NULL, "model: who computes it; settings behind it as :NAME=VALUE,...", 0, 0, NULL },
    { "max-arena", OPT_INT, FIELD(max_arena_bytes), "BYTES", "3221225472", "model: the working memory that one run may have", 1, 1e15, NULL },
    { "protocol", OPT_CHOICE, FIELD(protocol), "brpc|grpc|http|kserve-http|kserve-grpc|tfs", "brpc", "server: how to ask", 0, 0, NULL },
    { "model", OPT_TEXT, FIELD(model), "NAME", "default", "server: the model to ask, where requests name one", 0, 0, NULL },
    { "encoding", OPT_CHOICE, FIELD(encoding), "proto|json", "proto", "server: the body over HTTP", 0, 0, NULL },
    { "concurrency", OPT_INT, FIELD(concurrency), "N", "1", "server: connections, at most one call in flight on each", 1, 60000, NULL },
    { "warm-up", OPT_REAL, FIELD(warm_up_s), "S", "0.5", "server: seconds before those that count", 0, 86400, NULL },
    { "rate", OPT_REAL, FIELD(rate), "R", "0", "server: calls a second at even intervals, each timed from when it was due; 0: as many as answers allow", 0, 1e7, NULL },
    REMOTE_OPTIONS(FIELD(remote)),
    { "mix", OPT_NAMES, FIELD(mix), "FILE,FILE", NULL, "server: more files of arrays, through which and --in calls take turns", 0, 0, NULL },
    { "report", OPT_TEXT, FIELD(report), "FILE", NULL, "server: the figures as one HTML page with plots", 0, 0, NULL },
};
// clang-format on

static const struct command command = {
    .name = "oar bench",
    .usage = "MODEL|HOST:PORT|unix:PATH --in in.npz [--seconds S] [--json] [options]",
    .about = "Runs a model again and again in this process: least, median and 99th percentile of "
             "one run, load time, resident memory. Or keeps a server busy from one thread, each "
             "connection with one call in flight: calls a second, percentiles of their latency, "
             "errors. Arrays are named as for 'oar run' and 'oar call'.",
    .examples =
        "  oar bench models/uci --in in.npz --threads 2 --profile\n"
        "  oar bench localhost:9292 --in in.npz --concurrency 16 --seconds 10\n"
        "  oar bench localhost:9292 --in in.npz --protocol http --rate 500 --report load.html\n",
    .options = options,
    .option_count = ARRAY_LEN(options),
    .positional = FIELD(words),
    .positional_min = 1,
    .positional_max = 1,
};

static uint64_t resident_bytes(void)
{
    unsigned long long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    fclose(f);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Processor time of the whole process so far. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

/* A model
 * ----------------------------------------------------------------------------------------------------------
 */

struct subject {
    struct model *model;
    struct exec *exec;
    struct tensor *in, *out;
    struct profile *profile;     /* NULL: nobody asked */
    uint64_t begin_ns, first_ns; /* before the model was opened; behind the first run */
    uint64_t first_resident;     /* bytes, behind the first run */
    uint64_t cpu_ns; /* processor time of all runs: it does not count what other processes took */
};

static status time_runs(const struct bench_args *args, struct subject *s, struct histogram *h,
                        struct arena *a, struct err *e)
{
    TRY(exec_run(s->exec, s->model, s->in, s->out, e));
    s->first_ns = clock_ns();
    s->first_resident = resident_bytes();
    for (int i = 0; i < WARM_UP_RUNS; i++)
        TRY(exec_run(s->exec, s->model, s->in, s->out, e));
    if (args->profile || args->trace != NULL)
        s->profile = profile_new(a, s->exec);
    uint64_t begin = clock_ns(), end = begin + (uint64_t)(args->seconds * 1e9);
    s->cpu_ns = cpu_ns();
    while (begin < end) {
        TRY(exec_run(s->exec, s->model, s->in, s->out, e));
        uint64_t now = clock_ns();
        histogram_add(h, now - begin);
        if (s->profile != NULL)
            profile_end_run(s->profile);
        begin = now;
    }
    s->cpu_ns = cpu_ns() - s->cpu_ns;
    return OK;
}

static void put_model(const struct bench_args *args, const struct subject *s,
                      const struct histogram *h, struct buf *b)
{
    double least = ms(h->min), median = ms(histogram_quantile(h, 0.5));
    double p99 = ms(histogram_quantile(h, 0.99)), load = ms(model_load_ns(s->model));
    uint64_t resident = resident_bytes();
    if (!args->json) {
        buf_printf(b, "%" PRIu64 " runs, %d thread%s\n", h->count, (int)args->threads,
                   args->threads == 1 ? "" : "s");
        buf_printf(b, "least    %.6g ms\nmedian   %.6g ms\np99      %.6g ms\n", least, median, p99);
        buf_printf(b, "load     %.6g ms\nresident %.2f MB, of it %.2f MB working memory\n", load,
                   (double)resident / 1e6, (double)exec_bytes(s->exec) / 1e6);
        return;
    }
    buf_str(b, "{\"model\":");
    json_put_string(b, str_of(args->words.word[0]));
    buf_printf(b, ",\"threads\":%d,\"runs\":%" PRIu64, (int)args->threads, h->count);
    buf_printf(b, ",\"min_ms\":%.6g,\"median_ms\":%.6g,\"p99_ms\":%.6g,\"load_ms\":%.6g", least,
               median, p99, load);
    buf_printf(b, ",\"first_ms\":%.6g,\"first_resident_bytes\":%" PRIu64,
               ms(s->first_ns - s->begin_ns), s->first_resident);
    buf_printf(b, ",\"cpu_ms\":%.6g", ms(s->cpu_ns) / (double)(h->count > 0 ? h->count : 1));
    buf_printf(b, ",\"resident_bytes\":%" PRIu64 ",\"working_bytes\":%zu}\n", resident,
               exec_bytes(s->exec));
}

static status bench_loaded(const struct bench_args *args, struct model *m, uint64_t begin_ns,
                           const struct arrays *file, struct arena *a, struct buf *b, struct err *e)
{
    int in_count, out_count;
    const struct port *inputs = model_inputs(m, &in_count);
    model_outputs(m, &out_count);
    struct subject s = { .model = m, .begin_ns = begin_ns };
    s.out = arena_zalloc(a, (size_t)out_count * sizeof(*s.out));
    TRY(arrays_bind(file, inputs, in_count, a, &s.in, e));
    struct histogram *h = histogram_new();
    s.exec = exec_new();
    status fault = time_runs(args, &s, h, a, e);
    if (fault == OK)
        put_model(args, &s, h, b);
    if (fault == OK && args->profile)
        profile_put(s.profile, (int)args->threads, b);
    if (fault == OK && args->trace != NULL)
        fault = profile_write_trace(s.profile, args->trace, e);
    exec_free(s.exec);
    histogram_free(h);
    return fault;
}

static status bench_model(const struct bench_args *args, struct arena *a, struct buf *b,
                          struct err *e)
{
    struct model_options opt = { .threads = (int)args->threads,
                                 .max_arena_bytes = (size_t)args->max_arena_bytes,
                                 .engine = args->engine };
    struct arrays file;
    struct model *m;
    TRY(arrays_open(args->feeds.in, a, &file, e));
    uint64_t begin = clock_ns();
    precision_parse(str_of(args->precision), &opt.precision);
    status s = model_open(args->words.word[0], &opt, &m, e);
    if (s == OK) {
        if (model_remark(m) != NULL)
            fprintf(stderr, "%s: %s\n", command.name, model_remark(m));
        s = bench_loaded(args, m, begin, &file, a, b, e);
        model_unref(m);
    }
    arrays_close(&file);
    return s;
}

/* A server
 * ---------------------------------------------------------------------------------------------------------
 */

struct part {
    const char *name, *key;
    double q;
};

static const struct part parts[] = {
    { "p50", "p50_ms", 0.5 },
    { "p90", "p90_ms", 0.9 },
    { "p99", "p99_ms", 0.99 },
    { "p99.9", "p999_ms", 0.999 },
};

static void put_server(const struct bench_args *args, const struct load_result *r, struct buf *b)
{
    double qps = (double)r->calls / r->seconds;
    if (args->json) {
        buf_str(b, "{\"endpoint\":");
        json_put_string(b, str_of(args->words.word[0]));
        buf_printf(b, ",\"protocol\":\"%s\",\"concurrency\":%d,\"seconds\":%.3f", args->protocol,
                   (int)args->concurrency, r->seconds);
        buf_printf(b, ",\"calls\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"qps\":%.1f", r->calls,
                   r->errors, qps);
        if (args->rate > 0)
            buf_printf(b, ",\"rate\":%.6g,\"late\":%" PRIu64, args->rate, r->late);
    } else {
        buf_printf(b, "%.1f calls a second (%" PRIu64 " in %.2f s), %" PRIu64 " errors\n", qps,
                   r->calls, r->seconds, r->errors);
        if (r->late > 0)
            buf_printf(
                b, "%" PRIu64 " calls were due and could not be made: every connection was busy\n",
                r->late);
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        buf_printf(b, args->json ? ",\"%s\":%.6g" : "%-6s %.6g ms\n",
                   args->json ? parts[i].key : parts[i].name,
                   ms(histogram_quantile(r->latency, parts[i].q)));
    buf_printf(
        b, args->json ? ",\"min_ms\":%.6g,\"max_ms\":%.6g}\n" : "least  %.6g ms\nmost   %.6g ms\n",
        ms(r->latency->min), ms(r->latency->max));
}

static status load_with(const struct bench_args *args, const struct infer_request *request,
                        int request_count, struct buf *b, struct err *e)
{
    struct load_options opt = {
        .endpoint = str_of(args->words.word[0]),
        .protocol = str_of(feeds_protocol(args->protocol, args->encoding)),
        .model = args->model,
        .rate = args->rate,
        .remote = &args->remote,
        .request = request,
        .request_count = request_count,
        .connections = (int)args->concurrency,
        .seconds = args->seconds,
        .warm_up_s = args->warm_up_s,
    };
    struct load_result result;
    TRY(load_run(&opt, &result, e));
    put_server(args, &result, b);
    status s = args->report != NULL ? report_write(args->report, &opt, &result, e) : OK;
    if (s == OK && result.calls == 0)
        s = err_set(e, INVALID, "no call succeeded; the first error: %s", result.first_error.text);
    else if (result.errors > 0)
        fprintf(stderr, "%s: the first error: %s\n", command.name, result.first_error.text);
    histogram_free(result.latency);
    return s;
}

static status bench_server(const struct bench_args *args, struct arena *a, struct buf *b,
                           struct err *e)
{
    int count = 1 + args->mix.count, opened = 0;
    struct arrays *file = arena_zalloc(a, (size_t)count * sizeof(*file));
    struct infer_request *request = arena_zalloc(a, (size_t)count * sizeof(*request));
    struct feeds_args from = args->feeds;
    status s = OK;
    for (; opened < count && s == OK; opened += s == OK) {
        from.in = opened == 0 ? args->feeds.in : args->mix.word[opened - 1];
        s = feeds_open(&from, a, &file[opened], &request[opened], e);
    }
    if (s == OK)
        s = load_with(args, request, count, b, e);
    while (opened > 0)
        arrays_close(&file[--opened]);
    return s;
}

static bool is_server(const char *word)
{
    struct endpoint at;
    return access(word, F_OK) != 0 && endpoint_parse(str_of(word), &at, NULL) == OK;
}

static int bench(const struct bench_args *args, struct arena *a)
{
    struct buf text;
    struct err e = { "" };
    buf_init(&text, TEXT_BYTES);
    status s = is_server(args->words.word[0]) ? bench_server(args, a, &text, &e)
                                              : bench_model(args, a, &text, &e);
    status printed = text_print(&text, s == OK ? &e : NULL);
    s = s == OK ? printed : s;
    return s == OK ? EXIT_FINE : command_failed(&command, &e);
}

int verb_bench(int argc, char **argv)
{
    struct arena arena;
    struct bench_args args = { 0 };
    int exit_status;
    arena_init(&arena, 0);
    if (options_parse(&command, argc, argv, &arena, &args, &exit_status))
        exit_status =
            args.feeds.in != NULL
                ? bench(&args, &arena)
                : command_misused(&command, "--in is missing: the .npz file of the feeds");
    arena_deinit(&arena);
    return exit_status;
}
