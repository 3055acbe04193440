#include "ask.h"
#include "options.h"
#include "remote.h"
#include "verbs.h"

#include "base/file.h"
#include "base/limits.h"
#include "codec/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define VARIANTS_MAX 16
#define SURE         0.05 /* a difference that chance makes less often than this is one */

struct ab_args {
    struct words words;
    struct remote remote;
    const char *config;
    bool json, off;
};

#define FIELD(f) offsetof(struct ab_args, f)

// clang-format off
static const struct option options[] = {
    { "config", OPT_TEXT, FIELD(config), "FILE.json", NULL, "divide NAME's traffic as the file says", 0, 0, NULL },
    { "off", OPT_FLAG, FIELD(off), NULL, NULL, "divide NAME's traffic no more", 0, 0, NULL },
    REMOTE_OPTIONS(FIELD(remote)),
    { "json", OPT_FLAG, FIELD(json), NULL, NULL, "the server's answer as it came", 0, 0, NULL },
};
// clang-format on

static const struct command command = {
    .name = "oar ab",
    .usage = "HOST:PORT|unix:PATH [NAME (--config FILE.json | --off)]",
    .about = "Shows what the variants of each model did: requests, errors, latency and outcomes "
             "with 95 % confidence intervals, and whether the difference from the first variant is "
             "more than chance (two-sided, 5 %). The file is described in docs/traffic.md.",
    .examples = "  oar ab localhost:9292\n"
                "  oar ab localhost:9292 uci --config traffic.json\n"
                "  oar ab localhost:9292 uci --off\n",
    .options = options,
    .option_count = ARRAY_LEN(options),
    .positional = FIELD(words),
    .positional_min = 1,
    .positional_max = 2,
};

struct variant {
    struct str tag, taken_back;
    double weight, requests, errors, p50, p99, mean_ms;
    double outcomes, outcome_mean, outcome_deviation;
};

/* ---- statistics ---- */

/* Wilson's interval: right also for few requests and for rates near 0. */
static void wilson(double hits, double n, double *low, double *high)
{
    const double z = 1.96;
    if (n < 1) {
        *low = 0;
        *high = 1;
        return;
    }
    double p = hits / n, d = 1 + z * z / n;
    double middle = (p + z * z / (2 * n)) / d;
    double half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / d;
    *low = fmax(0, middle - half);
    *high = fmin(1, middle + half);
}

/* How often chance alone makes such a difference of two means, or a larger one. */
static double p_of_means(const struct variant *a, const struct variant *b)
{
    if (a->outcomes < 2 || b->outcomes < 2)
        return 1;
    double v = a->outcome_deviation * a->outcome_deviation / a->outcomes +
               b->outcome_deviation * b->outcome_deviation / b->outcomes;
    double d = fabs(a->outcome_mean - b->outcome_mean);
    return v > 0 ? erfc(d / sqrt(2 * v)) : d > 0 ? 0 : 1;
}

static double p_of_errors(const struct variant *a, const struct variant *b)
{
    if (a->requests < 1 || b->requests < 1)
        return 1;
    double all = (a->errors + b->errors) / (a->requests + b->requests);
    double v = all * (1 - all) * (1 / a->requests + 1 / b->requests);
    double d = fabs(a->errors / a->requests - b->errors / b->requests);
    return v > 0 ? erfc(d / sqrt(2 * v)) : 1;
}

/* ---- the table ---- */

static void print_difference(const char *what, double p)
{
    printf("    %s: %s (p = %.4f)\n", what,
           p < SURE ? "different" : "no difference that chance would not make", p);
}

static void print_variant(const struct variant *v, const struct variant *base)
{
    double low, high;
    wilson(v->errors, v->requests, &low, &high);
    printf("  %-12.*s weight %-6g requests %-9.0f errors %.3f %% (%.3f to %.3f)  p50 %.3f ms  p99 "
           "%.3f ms\n",
           STR_ARG(v->tag), v->weight, v->requests,
           v->requests > 0 ? 100 * v->errors / v->requests : 0, 100 * low, 100 * high, v->p50,
           v->p99);
    if (v->outcomes > 0)
        printf("    outcome %.5g +- %.3g from %.0f reports\n", v->outcome_mean,
               1.96 * v->outcome_deviation / sqrt(v->outcomes), v->outcomes);
    if (v->taken_back.n > 0)
        printf("    taken back: %.*s\n", STR_ARG(v->taken_back));
    if (v == base)
        return;
    print_difference("errors", p_of_errors(base, v));
    if (v->outcomes > 0)
        print_difference("outcome", p_of_means(base, v));
}

static void take_variant(struct json *j, struct variant *v)
{
    struct str key;
    json_object(j);
    while (json_key(j, &key)) {
        double *to = str_is(key, "weight")              ? &v->weight
                     : str_is(key, "requests")          ? &v->requests
                     : str_is(key, "errors")            ? &v->errors
                     : str_is(key, "p50_ms")            ? &v->p50
                     : str_is(key, "p99_ms")            ? &v->p99
                     : str_is(key, "outcomes")          ? &v->outcomes
                     : str_is(key, "outcome_mean")      ? &v->outcome_mean
                     : str_is(key, "outcome_deviation") ? &v->outcome_deviation
                                                        : NULL;
        struct str *text = str_is(key, "tag")          ? &v->tag
                           : str_is(key, "taken_back") ? &v->taken_back
                                                       : NULL;
        if (to != NULL)
            *to = json_number(j);
        else if (text != NULL)
            *text = json_string(j);
        else
            json_skip(j);
    }
}

static void print_model(struct json *j)
{
    struct variant v[VARIANTS_MAX] = { 0 };
    struct str key, name = STR(""), skipped;
    double compared = 0, different = 0, worst = 0;
    int count = 0;
    json_object(j);
    while (json_key(j, &key)) {
        if (str_is(key, "model")) {
            name = json_string(j);
        } else if (str_is(key, "variants")) {
            json_array(j);
            while (json_item(j))
                take_variant(j, &v[count < VARIANTS_MAX ? count++ : VARIANTS_MAX - 1]);
        } else if (str_is(key, "shadow")) {
            json_object(j);
            while (json_key(j, &skipped))
                *(str_is(skipped, "compared")    ? &compared
                  : str_is(skipped, "different") ? &different
                                                 : &worst) = json_number(j);
        } else {
            json_skip(j);
        }
    }
    if (json_failed(j))
        return;
    printf("%.*s\n", STR_ARG(name));
    for (int i = 0; i < count; i++)
        print_variant(&v[i], &v[0]);
    if (compared > 0)
        printf("  shadow: %.0f compared, %.0f different, at most %g apart\n", compared, different,
               worst);
}

static status show(const struct ab_args *args, struct arena *a, struct err *e)
{
    struct buf out;
    const struct ask q = { args->words.word[0], "GET", "/v2/repository/traffic", STR(""), 0,
                           &args->remote };
    buf_init(&out, 1 << 26);
    status s = ask_fine(&q, &out, e);
    if (s == OK && args->json) {
        printf("%.*s\n", (int)out.len, (const char *)out.data);
    } else if (s == OK) {
        struct json j;
        int count = 0;
        json_init(&j, buf_view(&out), a);
        json_array(&j);
        for (; json_item(&j); count++)
            print_model(&j);
        s = json_end(&j, e);
        if (s == OK && count == 0)
            printf("no model's traffic is divided\n");
    }
    buf_deinit(&out);
    return s;
}

/* ---- dividing ---- */

static status divide(const struct ab_args *args, struct arena *a, struct err *e)
{
    struct buf out;
    struct file_map *m = NULL;
    struct str body = STR("");
    if (args->config != NULL) {
        TRY(file_map_open(args->config, LIMIT_CONFIG_BYTES, &m, e));
        body = (struct str){ (const char *)file_map_data(m), file_map_size(m) };
    }
    buf_init(&out, 1 << 20);
    status s = ask_fine(&(struct ask){ args->words.word[0], "POST",
                                       arena_printf(a, "/v2/repository/models/%s/traffic",
                                                    ask_part(args->words.word[1], a)),
                                       body, 0, &args->remote },
                        &out, e);
    buf_deinit(&out);
    file_map_unref(m);
    return s;
}

int verb_ab(int argc, char **argv)
{
    struct arena arena;
    struct ab_args args = { 0 };
    struct err e = { "" };
    int exit_status;
    arena_init(&arena, 0);
    if (options_parse(&command, argc, argv, &arena, &args, &exit_status)) {
        bool changes = args.config != NULL || args.off;
        if (changes != (args.words.count == 2) || (args.config != NULL && args.off))
            exit_status = command_misused(&command, "usage: %s %s", command.name, command.usage);
        else if ((changes ? divide : show)(&args, &arena, &e) != OK)
            exit_status = command_failed(&command, &e);
        else
            exit_status = EXIT_FINE;
    }
    arena_deinit(&arena);
    return exit_status;
}
