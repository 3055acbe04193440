#include "options.h"
#include "plot.h"
#include "remote.h"
#include "verbs.h"

#include "base/clock.h"
#include "base/mem.h"
#include "client/client.h"
#include "client/histogram.h"
#include "codec/html.h"
#include "flow/compare.h"
#include "flow/record.h"
#include "flow/service.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct replay_args {
    struct words words, diff;
    struct remote remote;
    const char *protocol, *model, *as, *report;
    double tolerance, pace;
    int64_t concurrency, timeout_ms;
    bool json;
};

#define FIELD(f) offsetof(struct replay_args, f)

// clang-format off
static const struct option options[] = {
    { "diff", OPT_LIST, FIELD(diff), "MODEL_A MODEL_B", NULL, "compare two models here instead of asking a server", 0, 0, NULL },
    { "model", OPT_TEXT, FIELD(model), "NAME", NULL, "only what was asked of this model", 0, 0, NULL },
    REMOTE_OPTIONS(FIELD(remote)),
    { "tolerance", OPT_REAL, FIELD(tolerance), "X", "0.0001", "differences up to this are none (of the larger number, or of 1)", 0, 1e9, NULL },
    { "pace", OPT_REAL, FIELD(pace), "X", "0", "1: as it was recorded; 2: twice as fast; 0: one after another", 0, 1e6, NULL },
    { "concurrency", OPT_INT, FIELD(concurrency), "N", "1", "connections", 1, 1024, NULL },
    { "protocol", OPT_CHOICE, FIELD(protocol), "kserve-http|kserve-grpc|tfs|brpc|http|grpc", "kserve-http", "how to ask; the last three ask the server's first model", 0, 0, NULL },
    { "as", OPT_TEXT, FIELD(as), "NAME", NULL, "the model to ask, where it is called differently there", 0, 0, NULL },
    { "timeout-ms", OPT_INT, FIELD(timeout_ms), "N", "20000", "for each call", 1, 86400000, NULL },
    { "json", OPT_FLAG, FIELD(json), NULL, NULL, "one JSON object", 0, 0, NULL },
    { "report", OPT_TEXT, FIELD(report), "FILE", NULL, "what differs as one HTML page with plots", 0, 0, NULL },
};
// clang-format on

static const struct command command = {
    .name = "oar replay",
    .usage = "FILE (HOST:PORT|unix:PATH | --diff MODEL_A MODEL_B) [options]",
    .about = "Asks again what 'oar serve --record FILE' recorded, each request of the model that "
             "it was asked of, and "
             "compares the answers with those that were recorded: 1 is returned when one differs. "
             "With --pace it is load, at the recorded pace or a scaled one. --diff runs the "
             "requests through two models (or versions, or graphs) in this process and shows how "
             "far their answers are apart.",
    .examples = "  oar replay requests.rec localhost:9292 --tolerance 0.001\n"
                "  oar replay requests.rec localhost:9292 --pace 2 --concurrency 8\n"
                "  oar replay requests.rec --diff models/uci/3 models/uci/4\n",
    .options = options,
    .option_count = ARRAY_LEN(options),
    .positional = FIELD(words),
    .positional_min = 1,
    .positional_max = 2,
};

/* ---- the records ---- */

struct tape {
    struct record *record;
    const char **model; /* of each; equal ones are one text */
    int count, room;
};

static void *grown(void *array, int count, int room, size_t size)
{
    void *more = mem_alloc((size_t)room * size);
    if (count > 0)
        memcpy(more, array, (size_t)count * size);
    mem_free(array);
    return more;
}

static void add(struct tape *t, const struct record *r, struct arena *a)
{
    if (t->count == t->room) {
        t->room = t->room * 2 + 64;
        t->record = grown(t->record, t->count, t->room, sizeof(*t->record));
        t->model = grown(t->model, t->count, t->room, sizeof(*t->model));
    }
    bool same = t->count > 0 && str_is(r->model, t->model[t->count - 1]);
    t->model[t->count] = same ? t->model[t->count - 1] : arena_strndup(a, r->model.p, r->model.n);
    t->record[t->count++] = *r;
}

static status read_tape(const struct replay_args *args, struct arena *a, struct tape *t,
                        struct err *e)
{
    struct records *rs;
    struct record r;
    status s;
    TRY(records_open(args->words.word[0], &rs, e));
    while ((s = records_next(rs, a, &r, e)) == OK)
        if (args->model == NULL || str_is(r.model, args->model))
            add(t, &r, a);
    records_close(rs);
    if (s == NOT_FOUND && t->count == 0)
        return err_set(e, NOT_FOUND, "%s: no recorded requests%s%s", args->words.word[0],
                       args->model != NULL ? " of model " : "",
                       args->model != NULL ? args->model : "");
    return s == NOT_FOUND ? OK : s;
}

/* ---- how far answers are apart: decades from 1e-9 on ---- */

#define DECADES 10

struct distances {
    pthread_mutex_t lock;
    int decade[DECADES + 2]; /* [0]: equal; the last: infinite */
    double worst, sum;
    int count, different, failed;
    int worst_at;        /* which request */
    struct score *score; /* of each request */
};

/* The first number of an answer, as it was and as it is; NAN where there is none. */
struct score {
    double before, after;
};

static double score_of(const struct infer_reply *r)
{
    double number;
    return r->output_count > 0 && r->output[0].tensor_count > 0 &&
                   compare_number(&r->output[0].tensor[0].tensor, 0, &number)
               ? number
               : NAN;
}

static void note(struct distances *d, int at, const struct infer_reply *before,
                 const struct infer_reply *after, double tolerance)
{
    double distance = compare_replies(before, after);
    d->score[at] = (struct score){ score_of(before), score_of(after) };
    int k = distance <= 0     ? 0
            : isinf(distance) ? DECADES + 1
                              : (int)floor(log10(distance)) + DECADES;
    pthread_mutex_lock(&d->lock);
    d->decade[k < 1 && distance > 0 ? 1 : k > DECADES && !isinf(distance) ? DECADES : k]++;
    d->count++;
    d->different += !(distance <= tolerance);
    if (distance > d->worst) {
        d->worst = distance;
        d->worst_at = at;
    }
    d->sum += isinf(distance) ? 0 : distance;
    pthread_mutex_unlock(&d->lock);
}

static struct score *scores_of(const struct tape *t, struct arena *a)
{
    struct score *s = arena_alloc(a, (size_t)t->count * sizeof(*s) + 1);
    for (int i = 0; i < t->count; i++)
        s[i] = (struct score){ NAN, NAN };
    return s;
}

static void name_decade(int k, char label[32])
{
    if (k == 0)
        snprintf(label, 32, "equal");
    else if (k == DECADES + 1)
        snprintf(label, 32, "other form");
    else
        snprintf(label, 32, "from 1e%d", k - DECADES);
}

static void print_plot(const struct distances *d)
{
    for (int k = 0; k < DECADES + 2; k++) {
        char label[32];
        int bar = d->count > 0 ? (d->decade[k] * 50 + d->count - 1) / d->count : 0;
        name_decade(k, label);
        printf("  %-12s %8d %.*s\n", label, d->decade[k], bar,
               "##################################################");
    }
}

static void print_result(const struct replay_args *args, const struct distances *d,
                         const struct histogram *h, double seconds)
{
    if (args->json) {
        printf("{\"requests\":%d,\"different\":%d,\"failed\":%d,\"worst\":%g,\"mean\":%g,"
               "\"seconds\":%.3f",
               d->count + d->failed, d->different, d->failed, isinf(d->worst) ? 1e308 : d->worst,
               d->count > 0 ? d->sum / d->count : 0, seconds);
        if (h != NULL)
            printf(",\"p50_ms\":%g,\"p99_ms\":%g", (double)histogram_quantile(h, 0.5) / 1e6,
                   (double)histogram_quantile(h, 0.99) / 1e6);
        printf("}\n");
        return;
    }
    printf("%d requests in %.3f s, %d failed, %d answers differ by more than %g; the worst by %g",
           d->count + d->failed, seconds, d->failed, d->different, args->tolerance, d->worst);
    if (d->worst > 0)
        printf(" (request %d)", d->worst_at + 1);
    printf("\n");
    print_plot(d);
}

/* ---- as a page ---- */

static void put_distances(struct buf *b, const struct distances *d)
{
    struct plot p;
    plot_begin(&p, b, "How far answers are apart: requests by the largest difference", d->count,
               "");
    for (int k = 0; k < DECADES + 2; k++) {
        char label[32];
        double part = 1.0 / (DECADES + 2);
        name_decade(k, label);
        plot_bar(&p, (k + 0.1) * part, (k + 0.9) * part, d->decade[k]);
        plot_mark(&p, (k + 0.5) * part, label);
    }
    plot_end(&p);
}

#define POINTS 400 /* of a line; each is the mean of as many requests as it takes */

static double mean_score(const struct tape *t, const struct distances *d, int point, bool after)
{
    int64_t from = (int64_t)t->count * point / POINTS,
            to = (int64_t)t->count * (point + 1) / POINTS;
    double sum = 0;
    int n = 0;
    for (int64_t i = from; i < (to > from ? to : from + 1) && i < t->count; i++) {
        double v = after ? d->score[i].after : d->score[i].before;
        sum += isnan(v) ? 0 : v;
        n += !isnan(v);
    }
    return n > 0 ? sum / n : NAN;
}

/* The first number of each answer, over the requests; shifted where some are negative. */
static void put_scores(struct buf *b, const struct tape *t, const struct distances *d)
{
    struct plot p;
    double least = 0, most = 0;
    for (int k = 0; k < 2 * POINTS; k++) {
        double v = mean_score(t, d, k / 2, k % 2);
        least = v < least ? v : least;
        most = v > most ? v : most;
    }
    char title[160];
    snprintf(title, sizeof(title),
             "First number of each answer%s%.6g%s: before (blue), after (red)",
             least < 0 ? ", above " : "", least, least < 0 ? "" : " and up");
    plot_begin(&p, b, title, most - least, "");
    plot_mark(&p, 0, "first request");
    plot_mark(&p, 0.95, "last");
    for (int after = 0; after < 2; after++) {
        plot_line_begin(&p, after ? "bad" : "line");
        for (int k = 0; k < POINTS; k++) {
            double v = mean_score(t, d, k, after);
            if (!isnan(v))
                plot_point(&p, (k + 0.5) / POINTS, v - least);
        }
        plot_line_end(&p);
    }
    plot_end(&p);
}

static status write_report(const struct replay_args *args, const struct tape *t,
                           const struct distances *d, struct err *e)
{
    struct buf b;
    bool here = args->diff.count == 2;
    if (args->report == NULL)
        return OK;
    page_begin(&b, "oar replay");
    html_put_text(&b, str_of(args->words.word[0]));
    buf_str(&b, here ? ": " : " against ");
    html_put_text(&b, str_of(here ? args->diff.word[0] : args->words.word[1]));
    if (here) {
        buf_str(&b, " against ");
        html_put_text(&b, str_of(args->diff.word[1]));
    }
    page_head_end(&b);
    buf_str(&b, "<table>");
    page_row(&b, "requests", d->count + d->failed, "");
    page_row(&b, "failed", d->failed, "");
    page_row(&b, "answers that differ", d->different, "");
    page_row(&b, "tolerance", args->tolerance, "");
    page_row(&b, "mean difference", d->count > 0 ? d->sum / d->count : 0, "");
    page_row(&b, "worst difference", d->worst, "");
    page_row(&b, "of request", d->worst_at + 1, "");
    buf_str(&b, "</table>");
    put_distances(&b, d);
    put_scores(&b, t, d);
    return page_save(&b, args->report, e);
}

/* ---- against a server ---- */

struct player {
    const struct replay_args *args;
    const struct tape *tape;
    struct distances *distances;
    struct histogram *histogram;
    uint64_t begin_ns;
    atomic_int next;
    struct err first; /* guarded by the distances' lock */
};

static void wait_for_turn(const struct player *p, const struct record *r)
{
    double pace = p->args->pace;
    /* Below 0: several threads recorded, or the clock was set back. */
    int64_t after_us = r->time_us - p->tape->record[0].time_us;
    if (pace <= 0 || after_us <= 0)
        return;
    uint64_t due = p->begin_ns + (uint64_t)((double)after_us * 1000 / pace);
    uint64_t now = clock_ns();
    if (due > now)
        nanosleep(&(struct timespec){ (time_t)((due - now) / 1000000000),
                                      (long)((due - now) % 1000000000) },
                  NULL);
}

static void ask(struct player *p, struct client *c, const struct record *r)
{
    struct infer_reply reply;
    struct err e = { "" };
    client_set_model(c, p->args->as != NULL ? p->args->as : p->tape->model[r - p->tape->record]);
    uint64_t begin = clock_ns();
    status s = client_infer(c, &r->request, 0, &reply, &e);
    uint64_t ns = clock_ns() - begin;
    if (s == OK)
        note(p->distances, (int)(r - p->tape->record), &r->reply, &reply, p->args->tolerance);
    pthread_mutex_lock(&p->distances->lock);
    histogram_add(p->histogram, ns);
    if (s != OK && p->distances->failed++ == 0)
        p->first = e;
    pthread_mutex_unlock(&p->distances->lock);
}

static void *play(void *arg)
{
    struct player *p = arg;
    struct client *c;
    struct err e;
    if (client_open(str_of(p->args->words.word[1]), str_of(p->args->protocol), &c, &e) != OK)
        return NULL;
    client_set_timeout_ms(c, p->args->timeout_ms);
    bool good = client_set_remote(c, &p->args->remote, &e) == OK; /* play_all has tried it */
    for (int i; good && (i = atomic_fetch_add(&p->next, 1)) < p->tape->count;) {
        wait_for_turn(p, &p->tape->record[i]);
        ask(p, c, &p->tape->record[i]);
    }
    client_close(c);
    return NULL;
}

static status play_all(struct player *p, struct arena *a, struct err *e)
{
    int n = (int)p->args->concurrency;
    struct client *try_it;
    pthread_t *thread = arena_zalloc(a, (size_t)n * sizeof(*thread));
    TRY(client_open(str_of(p->args->words.word[1]), str_of(p->args->protocol), &try_it, e));
    status s = client_set_remote(try_it, &p->args->remote, e);
    client_close(try_it);
    TRY(s);
    p->begin_ns = clock_ns();
    for (int i = 0; i < n; i++)
        if (pthread_create(&thread[i], NULL, play, p) != 0)
            return err_set(e, INTERNAL, "no thread");
    for (int i = 0; i < n; i++)
        pthread_join(thread[i], NULL);
    return OK;
}

static status replay(const struct replay_args *args, const struct tape *t, struct arena *a,
                     int *exit_status, struct err *e)
{
    struct distances d = { .score = scores_of(t, a) };
    struct histogram *h = histogram_new();
    struct player p = { .args = args, .tape = t, .distances = &d, .histogram = h };
    pthread_mutex_init(&d.lock, NULL);
    status s = play_all(&p, a, e);
    if (s == OK)
        print_result(args, &d, h, (double)(clock_ns() - p.begin_ns) / 1e9);
    if (s == OK)
        s = write_report(args, t, &d, e);
    if (s == OK && d.failed > 0)
        fprintf(stderr, "%s: the first failure: %s\n", command.name, p.first.text);
    *exit_status = d.failed + d.different > 0 ? EXIT_FAILED : EXIT_FINE;
    pthread_mutex_destroy(&d.lock);
    histogram_free(h);
    return s;
}

/* ---- two models ---- */

static status open_flow(const char *path, struct flow **out, struct arena *a, struct err *e)
{
    const struct flow_options opt = { .name = path };
    struct service s;
    struct model *m;
    if (service_detect(path)) {
        TRY(service_read(path, a, &s, e));
        return service_open(&s, &opt, false, out, e);
    }
    TRY(model_open(path, NULL, &m, e));
    status code = flow_for_model(m, &opt, out, e);
    model_unref(m);
    return code;
}

static status run_one(struct flow *f, const struct record *r, struct arena *a, struct exec *x,
                      struct infer_reply *reply, struct err *e)
{
    struct flow_call c = {
        .request = &r->request, .reply = reply, .arena = a, .exec = x, .err = e
    };
    return flow_run(f, &c);
}

static status diff(const struct replay_args *args, const struct tape *t, struct arena *a,
                   int *exit_status, struct err *e)
{
    struct flow *f[2] = { NULL, NULL };
    struct exec *x[2] = { exec_new(), exec_new() };
    struct distances d = { .score = scores_of(t, a) };
    uint64_t begin = clock_ns();
    pthread_mutex_init(&d.lock, NULL);
    status s = open_flow(args->diff.word[0], &f[0], a, e);
    if (s == OK)
        s = open_flow(args->diff.word[1], &f[1], a, e);
    for (int i = 0; s == OK && i < t->count; i++) {
        struct infer_reply reply[2];
        struct arena call;
        struct err words[2] = { { "" }, { "" } };
        arena_init(&call, 0);
        status one = run_one(f[0], &t->record[i], &call, x[0], &reply[0], &words[0]);
        status two = run_one(f[1], &t->record[i], &call, x[1], &reply[1], &words[1]);
        if (one == OK && two == OK)
            note(&d, i, &reply[0], &reply[1], args->tolerance);
        else if (d.failed++ == 0)
            fprintf(stderr, "%s: the first failure: %s\n", command.name, words[one == OK].text);
        arena_deinit(&call);
    }
    if (s == OK)
        print_result(args, &d, NULL, (double)(clock_ns() - begin) / 1e9);
    if (s == OK)
        s = write_report(args, t, &d, e);
    *exit_status = d.failed + d.different > 0 ? EXIT_FAILED : EXIT_FINE;
    for (int i = 0; i < 2; i++) {
        flow_unref(f[i]);
        exec_free(x[i]);
    }
    pthread_mutex_destroy(&d.lock);
    return s;
}

int verb_replay(int argc, char **argv)
{
    struct arena arena;
    struct replay_args args = { 0 };
    struct tape tape = { 0 };
    struct err e = { "" };
    int exit_status;
    arena_init(&arena, 0);
    if (options_parse(&command, argc, argv, &arena, &args, &exit_status)) {
        bool here = args.diff.count == 2;
        if (here ? args.words.count != 1 : args.words.count != 2 || args.diff.count != 0)
            exit_status = command_misused(&command, "usage: %s %s", command.name, command.usage);
        else if (read_tape(&args, &arena, &tape, &e) != OK ||
                 (here ? diff : replay)(&args, &tape, &arena, &exit_status, &e) != OK)
            exit_status = command_failed(&command, &e);
    }
    mem_free(tape.record);
    mem_free(tape.model);
    arena_deinit(&arena);
    return exit_status;
}
