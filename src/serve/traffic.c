#include "serve/traffic.h"

#include "base/arena.h"
#include "base/mem.h"
#include "codec/json.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define BUCKETS 128 /* quarters of an octave from 1 us on: 2^32 us and more in the last one */

/* Sums of numbers that come one by one. */
struct moments {
    uint64_t count;
    double sum, squares;
};

struct counts {
    uint64_t requests, errors;
    uint64_t bucket[BUCKETS];
    struct moments latency_ms, score, outcome;
};

struct variant {
    struct traffic_variant is;
    double weight;          /* guarded by lock */
    const char *taken_back; /* why; or NULL */
    struct counts counts;   /* guarded by lock */
};

/* Each 0: no such rule. */
struct rules {
    int64_t min_requests;
    double error_rate; /* a variant whose share of errors is above this is taken back ... */
    double p99_ms;     /* ... or whose 99th percentile is ... */
    double p99_ratio;  /* ... or is above so many times the first variant's ... */
    /* ... or whose mean score is so many of the first one's standard deviations away */
    double drift;
};

struct traffic {
    atomic_int refs;
    struct arena arena;
    struct variant variant[TRAFFIC_VARIANTS_MAX];
    int count;
    const char *header; /* sticky by it; or NULL */
    const char *feed;   /* sticky by this tensor's elements; or NULL */
    bool by_address, by_log_id;
    int shadow; /* -1: none */
    double shadow_share, tolerance;
    struct rules rules;
    atomic_uint_fast64_t chance;
    pthread_mutex_t lock;
    uint64_t compared, different; /* guarded by lock */
    double worst;                 /* guarded by lock */
};

/* ---- reading ---- */

static const char *copy(struct traffic *t, struct str s)
{
    return arena_strndup(&t->arena, s.p, s.n);
}

static void read_variant(struct json *j, struct traffic *t)
{
    struct str key;
    if (t->count == TRAFFIC_VARIANTS_MAX) {
        json_fail(j, "more variants than 16");
        return;
    }
    struct variant *v = &t->variant[t->count++];
    v->weight = 1;
    json_object(j);
    while (json_key(j, &key)) {
        if (str_is(key, "tag"))
            v->is.tag = copy(t, json_string(j));
        else if (str_is(key, "model"))
            v->is.model = copy(t, json_string(j));
        else if (str_is(key, "version"))
            v->is.version = json_i64(j);
        else if (str_is(key, "weight"))
            v->weight = json_number(j);
        else
            json_fail(j, "a variant has tag, model, version and weight");
    }
    if (!json_failed(j) && (v->weight < 0 || v->weight > 1e9 || v->is.version < 0))
        json_fail(j, "a weight or version below 0");
    if (v->is.tag == NULL)
        v->is.tag = arena_printf(&t->arena, "v%lld", (long long)v->is.version);
}

static void read_sticky(struct json *j, struct traffic *t)
{
    struct str s = json_string(j);
    t->by_address = str_is(s, "address");
    t->by_log_id = str_is(s, "log_id");
    if (str_starts(s, "header:") && s.n > 7)
        t->header = copy(t, (struct str){ s.p + 7, s.n - 7 });
    else if (str_starts(s, "feed:") && s.n > 5)
        t->feed = copy(t, (struct str){ s.p + 5, s.n - 5 });
    else if (!t->by_address && !t->by_log_id && !str_is(s, "none"))
        json_fail(j, "sticky is none, address, header:NAME, feed:NAME or log_id");
}

static void read_shadow(struct json *j, struct traffic *t, const char **tag)
{
    struct str key;
    t->shadow_share = 1;
    json_object(j);
    while (json_key(j, &key)) {
        if (str_is(key, "tag"))
            *tag = copy(t, json_string(j));
        else if (str_is(key, "fraction"))
            t->shadow_share = json_number(j);
        else if (str_is(key, "tolerance"))
            t->tolerance = json_number(j);
        else
            json_fail(j, "a shadow has tag, fraction and tolerance");
    }
}

static void read_rules(struct json *j, struct rules *r)
{
    struct str key;
    r->min_requests = 100;
    json_object(j);
    while (json_key(j, &key)) {
        double *to = str_is(key, "error_rate")  ? &r->error_rate
                     : str_is(key, "p99_ms")    ? &r->p99_ms
                     : str_is(key, "p99_ratio") ? &r->p99_ratio
                     : str_is(key, "drift")     ? &r->drift
                                                : NULL;
        if (to != NULL)
            *to = json_number(j);
        else if (str_is(key, "min_requests"))
            r->min_requests = json_i64(j);
        else
            json_fail(j, "rules are min_requests, error_rate, p99_ms, p99_ratio and drift");
    }
}

static status read_all(struct str text, struct traffic *t, const char **shadow, struct err *e)
{
    struct json j;
    struct str key;
    json_init(&j, text, &t->arena);
    json_object(&j);
    while (json_key(&j, &key)) {
        if (str_is(key, "variants")) {
            json_array(&j);
            while (json_item(&j))
                read_variant(&j, t);
        } else if (str_is(key, "sticky")) {
            read_sticky(&j, t);
        } else if (str_is(key, "shadow")) {
            read_shadow(&j, t, shadow);
        } else if (str_is(key, "rollback")) {
            read_rules(&j, &t->rules);
        } else {
            json_fail(&j, "expected variants, sticky, shadow or rollback");
        }
    }
    return json_end(&j, e);
}

static bool is_tag(const char *s)
{
    size_t n = 0;
    while (s[n] > ' ' && s[n] <= '~')
        n++;
    return s[n] == '\0' && n > 0 && n <= TRAFFIC_TAG_MAX;
}

static status check(struct traffic *t, const char *shadow, struct err *e)
{
    if (t->count == 0)
        return err_set(e, INVALID, "traffic needs 'variants'");
    for (int i = 0; i < t->count; i++) {
        const char *tag = t->variant[i].is.tag;
        if (!is_tag(tag))
            return err_set(e, INVALID,
                           "variant %d: its tag is not 1 to %d letters, digits and signs without "
                           "spaces",
                           i, TRAFFIC_TAG_MAX);
        if (traffic_find(t, str_of(tag)) != i)
            return err_set(e, INVALID, "two variants have the tag '%s'", tag);
    }
    if (shadow == NULL)
        return OK;
    t->shadow = traffic_find(t, str_of(shadow));
    return t->shadow >= 0 ? OK : err_set(e, INVALID, "shadow: no variant has the tag '%s'", shadow);
}

status traffic_parse(struct str json, struct traffic **out, struct err *e)
{
    struct traffic *t = mem_zalloc(sizeof(*t));
    const char *shadow = NULL;
    atomic_init(&t->refs, 1);
    arena_init(&t->arena, 1 << 20);
    pthread_mutex_init(&t->lock, NULL);
    t->shadow = -1;
    t->tolerance = 1e-4;
    status s = read_all(json, t, &shadow, e);
    if (s == OK)
        s = check(t, shadow, e);
    if (s != OK) {
        traffic_unref(t);
        return s;
    }
    *out = t;
    return OK;
}

struct traffic *traffic_ref(struct traffic *t)
{
    if (t != NULL)
        atomic_fetch_add(&t->refs, 1);
    return t;
}

void traffic_unref(struct traffic *t)
{
    if (t == NULL || atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&t->lock);
    arena_deinit(&t->arena);
    mem_free(t);
}

/* ---- picking ---- */

int traffic_count(const struct traffic *t)
{
    return t->count;
}

const struct traffic_variant *traffic_at(const struct traffic *t, int index)
{
    return &t->variant[index].is;
}

int traffic_find(const struct traffic *t, struct str tag)
{
    for (int i = 0; i < t->count; i++)
        if (str_is(tag, t->variant[i].is.tag))
            return i;
    return -1;
}

const char *traffic_sticky_header(const struct traffic *t)
{
    return t->header;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* FNV-1a, and not the seeded hash of maps: a caller keeps its variant when the server starts again. */
static uint64_t hash(struct str s)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * UINT64_C(0x100000001b3);
    return mix(h);
}

/* From 0 to before 1. */
static double share_of(uint64_t x)
{
    return (double)(x >> 11) / 9007199254740992.0;
}

static double by_chance(struct traffic *t)
{
    return share_of(mix(
        atomic_fetch_add_explicit(&t->chance, UINT64_C(0x9e3779b97f4a7c15), memory_order_relaxed)));
}

/* The variant at a place of the line from 0 to 1 that the weights divide. */
static int pick_at(struct traffic *t, double at)
{
    double all = 0;
    int found = -1;
    pthread_mutex_lock(&t->lock);
    for (int i = 0; i < t->count; i++)
        all += t->variant[i].weight;
    at *= all;
    for (int i = 0; i < t->count && all > 0; i++) {
        double w = t->variant[i].weight;
        if (w > 0)
            found = i;
        if (w > 0 && at < w)
            break;
        at -= w;
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

static int pick_by(struct traffic *t, struct str who)
{
    return pick_at(t, who.n > 0 ? share_of(hash(who)) : by_chance(t));
}

int traffic_pick(struct traffic *t, struct str key, struct str address)
{
    return pick_by(t, t->header != NULL ? key : t->by_address ? address : (struct str){ NULL, 0 });
}

bool traffic_sticky_body(const struct traffic *t)
{
    return t->feed != NULL || t->by_log_id;
}

#define KEY_BYTES 4096 /* of a tensor: a key is short, and an image is none */

static struct str elements_of(const struct infer_request *r, const char *name)
{
    for (int i = 0; i < r->feed_count; i++) {
        const struct named_tensor *f = &r->feed[i];
        int64_t bytes = tensor_bytes(&f->tensor);
        if (bytes > 0 && (str_is(f->alias, name) || str_is(f->name, name)))
            return (struct str){ f->tensor.data, bytes < KEY_BYTES ? (size_t)bytes : KEY_BYTES };
    }
    return (struct str){ NULL, 0 };
}

int traffic_pick_by_body(struct traffic *t, const struct infer_request *r)
{
    char id[sizeof(r->log_id)];
    if (t->feed != NULL)
        return pick_by(t, elements_of(r, t->feed));
    memcpy(id, &r->log_id, sizeof(id));
    return pick_by(t, (struct str){ id, r->log_id != 0 ? sizeof(id) : 0 });
}

int traffic_shadow(struct traffic *t)
{
    return t->shadow >= 0 && by_chance(t) < t->shadow_share ? t->shadow : -1;
}

double traffic_tolerance(const struct traffic *t)
{
    return t->tolerance;
}

void traffic_compared(struct traffic *t, bool different, double distance)
{
    pthread_mutex_lock(&t->lock);
    t->compared++;
    t->different += different;
    if (distance > t->worst)
        t->worst = distance;
    pthread_mutex_unlock(&t->lock);
}

/* ---- counting ---- */

static void add(struct moments *m, double v)
{
    m->count++;
    m->sum += v;
    m->squares += v * v;
}

static double mean(const struct moments *m)
{
    return m->count > 0 ? m->sum / (double)m->count : 0;
}

static double deviation(const struct moments *m)
{
    if (m->count < 2)
        return 0;
    double n = (double)m->count, v = (m->squares - m->sum * m->sum / n) / (n - 1);
    return v > 0 ? sqrt(v) : 0;
}

static int bucket_of(uint64_t ns)
{
    double us = (double)ns / 1000;
    int b = us > 1 ? (int)(log2(us) * 4) : 0;
    return b < BUCKETS ? b : BUCKETS - 1;
}

/* The upper end of the bucket that the percentile falls into: at most 19 % too high. */
static double percentile_ms(const struct counts *c, double share)
{
    uint64_t all = 0, seen = 0;
    for (int i = 0; i < BUCKETS; i++)
        all += c->bucket[i];
    for (int i = 0; i < BUCKETS; i++) {
        seen += c->bucket[i];
        if (all > 0 && (double)seen >= share * (double)all)
            return exp2((i + 1) / 4.0) / 1000;
    }
    return 0;
}

void traffic_ended(struct traffic *t, int variant, bool fine, uint64_t ns, double score)
{
    struct counts *c = &t->variant[variant].counts;
    pthread_mutex_lock(&t->lock);
    c->requests++;
    c->errors += !fine;
    c->bucket[bucket_of(ns)]++;
    add(&c->latency_ms, (double)ns / 1e6);
    if (!isnan(score))
        add(&c->score, score);
    pthread_mutex_unlock(&t->lock);
}

void traffic_outcome(struct traffic *t, int variant, double value)
{
    pthread_mutex_lock(&t->lock);
    add(&t->variant[variant].counts.outcome, value);
    pthread_mutex_unlock(&t->lock);
}

/* ---- rules ---- */

bool traffic_has_rules(const struct traffic *t)
{
    const struct rules *r = &t->rules;
    return r->error_rate > 0 || r->p99_ms > 0 || r->p99_ratio > 0 || r->drift > 0;
}

/* NULL: it keeps all rules. */
static const char *broken_rule(struct traffic *t, const struct variant *v)
{
    const struct rules *r = &t->rules;
    const struct counts *c = &v->counts, *base = &t->variant[0].counts;
    double rate = (double)c->errors / (double)(c->requests > 0 ? c->requests : 1);
    double p99 = percentile_ms(c, 0.99), base_p99 = percentile_ms(base, 0.99);
    double spread = deviation(&base->score), away = fabs(mean(&c->score) - mean(&base->score));
    if (r->error_rate > 0 && rate > r->error_rate)
        return arena_printf(&t->arena, "%.2f %% errors, at most %.2f %%", 100 * rate,
                            100 * r->error_rate);
    if (r->p99_ms > 0 && p99 > r->p99_ms)
        return arena_printf(&t->arena, "p99 of %.2f ms, at most %.2f ms", p99, r->p99_ms);
    if (r->p99_ratio > 0 && base_p99 > 0 && p99 > r->p99_ratio * base_p99)
        return arena_printf(&t->arena, "p99 of %.2f ms, at most %.2f of '%s' with %.2f ms", p99,
                            r->p99_ratio, t->variant[0].is.tag, base_p99);
    if (r->drift > 0 && c->score.count > 1 && base->score.count > 1 && away > r->drift * spread)
        return arena_printf(
            &t->arena, "mean score %.4g, more than %.2f deviations (%.4g) from '%s' with %.4g",
            mean(&c->score), r->drift, spread, t->variant[0].is.tag, mean(&base->score));
    return NULL;
}

bool traffic_check(struct traffic *t, struct err *words)
{
    bool any = false;
    pthread_mutex_lock(&t->lock);
    for (int i = 1; i < t->count && traffic_has_rules(t); i++) {
        struct variant *v = &t->variant[i];
        if (v->weight <= 0 || (int64_t)v->counts.requests < t->rules.min_requests)
            continue;
        v->taken_back = broken_rule(t, v);
        if (v->taken_back == NULL)
            continue;
        v->weight = 0;
        any = true;
        err_set(words, OK, "variant '%s' is taken back after %llu requests: %s", v->is.tag,
                (unsigned long long)v->counts.requests, v->taken_back);
    }
    pthread_mutex_unlock(&t->lock);
    return any;
}

/* ---- telling ---- */

static void put_number(struct buf *b, const char *key, double v)
{
    buf_printf(b, ",\"%s\":", key);
    json_put_double(b, isfinite(v) ? v : 0);
}

static void put_variant(struct buf *b, const struct variant *v)
{
    const struct counts *c = &v->counts;
    buf_str(b, "{\"tag\":");
    json_put_string(b, str_of(v->is.tag));
    if (v->is.model != NULL) {
        buf_str(b, ",\"model\":");
        json_put_string(b, str_of(v->is.model));
    }
    buf_printf(b, ",\"version\":%lld,\"requests\":%llu,\"errors\":%llu,\"outcomes\":%llu",
               (long long)v->is.version, (unsigned long long)c->requests,
               (unsigned long long)c->errors, (unsigned long long)c->outcome.count);
    put_number(b, "weight", v->weight);
    put_number(b, "mean_ms", mean(&c->latency_ms));
    put_number(b, "p50_ms", percentile_ms(c, 0.5));
    put_number(b, "p99_ms", percentile_ms(c, 0.99));
    put_number(b, "score_mean", mean(&c->score));
    put_number(b, "score_deviation", deviation(&c->score));
    put_number(b, "outcome_mean", mean(&c->outcome));
    put_number(b, "outcome_deviation", deviation(&c->outcome));
    if (v->taken_back != NULL) {
        buf_str(b, ",\"taken_back\":");
        json_put_string(b, str_of(v->taken_back));
    }
    buf_str(b, "}");
}

void traffic_put_json(struct traffic *t, const char *name, struct buf *b)
{
    pthread_mutex_lock(&t->lock);
    buf_str(b, "{\"model\":");
    json_put_string(b, str_of(name));
    buf_str(b, ",\"variants\":[");
    for (int i = 0; i < t->count; i++) {
        buf_str(b, i > 0 ? "," : "");
        put_variant(b, &t->variant[i]);
    }
    buf_printf(b, "],\"shadow\":{\"compared\":%llu,\"different\":%llu",
               (unsigned long long)t->compared, (unsigned long long)t->different);
    put_number(b, "worst", t->worst);
    buf_str(b, "}}");
    pthread_mutex_unlock(&t->lock);
}
