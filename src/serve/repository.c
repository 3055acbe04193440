#include "serve/repository.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "flow/service.h"
#include "serve/config.h"
#include "serve/internal.h"
#include "serve/manifest.h"
#include "serve/policy.h"
#include "serve/staging.h"
#include "serve/versions.h"
#include "serve/watch.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_BYTES_MAX 200
#define MODELS_MAX     100000
#define LABELS_MAX     64

/* One version of one name: what is on disk, and what is loaded of it. */
struct loaded {
    int64_t number;
    char *path;
    bool in_place, told, found;
    uint64_t print;     /* as the directory was seen last */
    uint64_t seen_ns;   /* since when it looks so */
    int64_t changed_ns; /* wall clock */
    const char *fault;  /* of the scan at hand, in its arena */
    uint64_t trigger;   /* as seen last */
    uint64_t tried;     /* the trigger that was loaded, or failed, last */
    uint64_t tried_print;
    bool was_tried;
    model_state state;
    char *reason;
    struct flow *flow; /* one reference, or NULL */
};

struct entry {
    char *name, *path;
    bool fixed;                 /* given by name: stays listed when its directory goes */
    bool unloaded;              /* by request */
    bool staged;                /* its files came with the request and are gone */
    char *fault;                /* why not even its versions are known; or NULL */
    struct batch_options batch; /* as the options have it for this model */
    struct arena config_arena;
    struct model_config config;    /* as its directory has it, or the override */
    char *override;                /* Triton's JSON from the request that loaded it; or NULL */
    const struct service *service; /* from the command line; or NULL */
    int64_t pinned;                /* by a rollback; 0: none */
    struct loaded **version;       /* highest first */
    int count, room;
    struct served_label label[LABELS_MAX]; /* the words are its own */
    int label_count;
    struct traffic *traffic; /* one reference, or NULL */
    /* A version that took over has to prove itself in its first requests. */
    struct flow *proving; /* only compared */
    struct flow *before;  /* what it took over from; one reference */
    int64_t before_number;
    uint64_t proving_since_ns;
};

struct repository {
    struct repository_options options;
    struct version_policy policy;
    int64_t settle_ns;
    struct entry **entry; /* by the one thread that changes things */
    int count, room;
    bool dirty;    /* the table does not say any more what is so */
    bool watching; /* the keeper runs */
    pthread_mutex_t lock;
    struct table *table; /* guarded by lock */
    atomic_uint_fast64_t generation;
    struct watch *watch;
};

typedef enum scan_mode {
    SCAN_WATCH,    /* load what has settled */
    SCAN_START,    /* the same by the files' own times; better an unsettled version than none */
    SCAN_EXPLICIT, /* somebody says that it is whole: load, also what failed before */
} scan_mode;

/* ---- the table ---- */

static void list_entry(const struct entry *en, struct arena *a, struct served_model *m)
{
    struct served *v = arena_zalloc(a, ((size_t)en->count + 1) * sizeof(*v));
    *m = (struct served_model){ .name = en->name,
                                .version = v,
                                .version_count = en->count,
                                .label = en->label,
                                .label_count = en->label_count,
                                .fault = en->fault,
                                .traffic = en->traffic };
    for (int i = 0; i < en->count; i++) {
        const struct loaded *l = en->version[i];
        v[i] = (struct served){ en->name,
                                l->path,
                                l->number,
                                l->state,
                                l->reason,
                                l->flow,
                                l->flow != NULL && l->flow == en->proving ? en->before : NULL };
        if (l->flow != NULL && (m->current == NULL || l->number == en->pinned))
            m->current = &v[i];
    }
}

static void publish(struct repository *r)
{
    struct arena a;
    arena_init(&a, 0);
    r->dirty = false;
    struct served_model *m = arena_zalloc(&a, ((size_t)r->count + 1) * sizeof(*m));
    for (int i = 0; i < r->count; i++)
        list_entry(r->entry[i], &a, &m[i]);
    struct table *t = table_new(m, r->count, r->options.server->name);
    arena_deinit(&a);
    pthread_mutex_lock(&r->lock);
    struct table *old = r->table;
    r->table = t;
    pthread_mutex_unlock(&r->lock);
    atomic_fetch_add(&r->generation, 1);
    table_unref(old);
    if (r->options.changed != NULL)
        r->options.changed(r->options.arg);
}

struct table *repository_table(struct repository *r)
{
    pthread_mutex_lock(&r->lock);
    struct table *t = table_ref(r->table);
    pthread_mutex_unlock(&r->lock);
    return t;
}

uint64_t repository_generation(const struct repository *r)
{
    return atomic_load_explicit(&r->generation, memory_order_acquire);
}

/* ---- entries ---- */

static void set_state(struct repository *r, struct loaded *l, model_state s, const char *reason)
{
    r->dirty = r->dirty || l->reason == NULL || l->state != s || strcmp(l->reason, reason) != 0;
    l->state = s;
    mem_free(l->reason);
    l->reason = mem_strdup(reason);
}

static void free_version(struct loaded *l)
{
    flow_unref(l->flow);
    mem_free(l->path);
    mem_free(l->reason);
    mem_free(l);
}

static void remove_version(struct entry *en, int i)
{
    free_version(en->version[i]);
    for (en->count--; i < en->count; i++)
        en->version[i] = en->version[i + 1];
}

static void end_proving(struct entry *en)
{
    flow_unref(en->before);
    en->before = en->proving = NULL;
}

static void free_entry(struct entry *en)
{
    while (en->count > 0)
        remove_version(en, en->count - 1);
    for (int i = 0; i < en->label_count; i++)
        mem_free((void *)en->label[i].label);
    traffic_unref(en->traffic);
    end_proving(en);
    arena_deinit(&en->config_arena);
    mem_free(en->override);
    mem_free(en->fault);
    mem_free(en->version);
    mem_free(en->name);
    mem_free(en->path);
    mem_free(en);
}

static struct entry *find_entry(const struct repository *r, struct str name)
{
    for (int i = 0; i < r->count; i++)
        if (str_is(name, r->entry[i]->name))
            return r->entry[i];
    return NULL;
}

static void *grow(void *array, int count, int *room, size_t size)
{
    if (count < *room)
        return array;
    *room = *room * 2 + 8;
    void *bigger = mem_zalloc((size_t)*room * size);
    if (count > 0)
        memcpy(bigger, array, (size_t)count * size);
    mem_free(array);
    return bigger;
}

static struct entry *add_entry(struct repository *r, const char *name, const char *path)
{
    struct entry *en = mem_zalloc(sizeof(*en));
    en->name = mem_strdup(name);
    en->path = mem_strdup(path);
    en->batch = r->options.server->batch;
    arena_init(&en->config_arena, 0);
    r->entry = grow(r->entry, r->count, &r->room, sizeof(*r->entry));
    r->entry[r->count++] = en;
    return en;
}

static void remove_entry(struct repository *r, struct entry *en)
{
    int i = 0;
    while (r->entry[i] != en)
        i++;
    for (r->count--; i < r->count; i++)
        r->entry[i] = r->entry[i + 1];
    free_entry(en);
}

static struct loaded *version_of(struct repository *r, struct entry *en, int64_t number)
{
    int at = 0;
    while (at < en->count && en->version[at]->number > number)
        at++;
    if (at < en->count && en->version[at]->number == number)
        return en->version[at];
    struct loaded *l = mem_zalloc(sizeof(*l));
    l->number = number;
    set_state(r, l, MODEL_UNAVAILABLE, "not wanted by its version policy");
    en->version = grow(en->version, en->count, &en->room, sizeof(*en->version));
    for (int i = en->count++; i > at; i--)
        en->version[i] = en->version[i - 1];
    en->version[at] = l;
    return l;
}

/* ---- loading one version ---- */

static const char *engine_of(const struct repository *r, const struct entry *en)
{
    return en->config.engine != NULL ? en->config.engine : r->options.server->engine;
}

static status find_versions(const struct repository *r, const struct entry *en, struct arena *a,
                            struct version **out, int *count, struct err *e)
{
    struct service s;
    if (en->service == NULL && !service_detect(en->path))
        return versions_find(en->path, engine_of(r, en), a, out, count, e);
    if (en->service == NULL)
        TRY(service_read(en->path, a, &s, e));
    else
        s = *en->service;
    const char **path = arena_zalloc(a, ((size_t)s.spec.node_count + 2) * sizeof(*path));
    int n = 0;
    path[n++] = en->path;
    for (int i = 0; i < s.spec.node_count; i++)
        if (s.model[i].path != NULL)
            path[n++] = s.model[i].path;
    return versions_of_service(path, n, a, out, count, e);
}

static status is_unchanged(const struct repository *r, const struct entry *en,
                           const struct loaded *l, struct err *e)
{
    struct arena a;
    struct version *v;
    int count;
    bool same = false;
    arena_init(&a, 0);
    status s = find_versions(r, en, &a, &v, &count, e);
    for (int i = 0; s == OK && i < count; i++)
        same = same || (v[i].number == l->number && v[i].print == l->print);
    arena_deinit(&a);
    if (s == OK && !same)
        return err_set(e, BUSY, "its files changed while they were read");
    return s;
}

static status open_model(const struct entry *en, const struct loaded *l,
                         const struct flow_options *what, struct flow **out, struct err *e)
{
    const struct model_options how = { .detach = l->in_place,
                                       .precision = en->config.precision,
                                       .max_arena_bytes = what->max_arena_bytes,
                                       .engine = what->engine };
    struct flow_options with = *what;
    struct batch_options batch;
    struct model *m;
    TRY(model_open(l->path, &how, &m, e));
    if (model_remark(m) != NULL)
        log_line(LOG_WARN, "serve", "model '%s': %s", en->name, model_remark(m));
    status s = config_resolve(&en->config, m, &batch, e);
    with.batch = &batch;
    if (s == OK)
        s = flow_for_model(m, &with, out, e);
    model_unref(m);
    return s;
}

static status open_service(const struct entry *en, const struct loaded *l,
                           const struct flow_options *what, struct flow **out, struct err *e)
{
    struct arena a;
    struct service read;
    status s = OK;
    arena_init(&a, 0);
    if (en->service == NULL)
        s = service_read(l->path, &a, &read, e);
    if (s == OK)
        s = service_open(en->service != NULL ? en->service : &read, what, true, out, e);
    if (s == OK && en->service == NULL && read.warm.count > 0) {
        s = flow_warm(*out, &read.warm, e);
        if (s != OK)
            flow_unref(*out);
    }
    arena_deinit(&a);
    return s;
}

#define WARM_FILE_NAME "warmup.rec"
#define WARM_FILE_MOST 1000

/* What the configuration says, or else the recorded requests that lie with the version, or beside the versions. */
static status warm(const struct entry *en, const struct loaded *l, struct flow *f, struct err *e)
{
    const char *const dir[] = { l->path, en->path };
    struct warm_options o = { .count = 0 };
    struct arena a;
    status s = OK;
    if (en->config.warm.count > 0)
        return flow_warm(f, &en->config.warm, e);
    arena_init(&a, 0);
    for (size_t i = 0; i < ARRAY_LEN(dir) && o.count == 0; i++) {
        const char *path = arena_printf(&a, "%s/" WARM_FILE_NAME, dir[i]);
        if (file_exists(path))
            o.step[o.count++] =
                (struct warm_step){ .records = path, .most = WARM_FILE_MOST, .tolerance = -1 };
    }
    if (o.count > 0)
        s = flow_warm(f, &o, e);
    arena_deinit(&a);
    return s;
}

static status open_flow(struct repository *r, const struct entry *en, const struct loaded *l,
                        struct flow **out, struct err *e)
{
    const struct flow_options what = { .name = en->name,
                                       .version = l->number,
                                       .env = r->options.env,
                                       .batch = &en->config.batch,
                                       .precision = en->config.precision,
                                       .max_arena_bytes = r->options.server->max_arena_bytes,
                                       .engine = engine_of(r, en),
                                       .cache_bytes = en->config.cache_bytes,
                                       .dispose = watch_bury,
                                       .dispose_arg = r->watch };
    bool is_service = en->service != NULL || service_detect(l->path);
    TRY(is_service ? open_service(en, l, &what, out, e) : open_model(en, l, &what, out, e));
    status s = warm(en, l, *out, e);
    if (s == OK && l->in_place)
        s = is_unchanged(r, en, l, e);
    if (s != OK)
        flow_unref(*out);
    return s;
}

static void refuse(struct repository *r, struct entry *en, struct loaded *l, const struct err *e)
{
    struct err words;
    if (l->flow == NULL) {
        set_state(r, l, MODEL_UNAVAILABLE, e->text);
    } else {
        err_set(&words, OK, "serves on; its new files were refused: %s", e->text);
        set_state(r, l, MODEL_READY, words.text);
    }
    log_line(LOG_WARN, "serve", "model '%s' version %lld: %s", en->name, (long long)l->number,
             e->text);
}

static void note_try(struct loaded *l)
{
    l->was_tried = true;
    l->tried = l->trigger;
    l->tried_print = l->print;
}

static const struct loaded *serving(const struct entry *en)
{
    for (int i = 0; i < en->count; i++)
        if (en->version[i]->flow != NULL)
            return en->version[i];
    return NULL;
}

static void begin_proving(struct entry *en, const struct loaded *was, struct flow *fresh)
{
    struct flow *before = was != NULL ? flow_ref(was->flow) : NULL;
    int64_t number = was != NULL ? was->number : 0;
    end_proving(en);
    if (before == NULL)
        return;
    en->before = before;
    en->before_number = number;
    en->proving = fresh;
    en->proving_since_ns = clock_ns();
}

static status load(struct repository *r, struct entry *en, struct loaded *l, struct err *e)
{
    struct flow *fresh = NULL, *old = l->flow;
    uint64_t begin = clock_ns();
    if (old == NULL) {
        set_state(r, l, MODEL_LOADING, "");
        publish(r);
    }
    status s = open_flow(r, en, l, &fresh, e);
    if (s != BUSY) /* which changes while it is read: again when it has settled */
        note_try(l);
    if (s != OK) {
        refuse(r, en, l, e);
        return s;
    }
    begin_proving(en, serving(en), fresh);
    l->flow = fresh;
    set_state(r, l, MODEL_READY, "");
    publish(r);
    flow_unref(old);
    if (r->watching)
        log_line(LOG_INFO, "serve", "model '%s' version %lld is ready after %.1f ms", en->name,
                 (long long)l->number, (double)(clock_ns() - begin) / 1e6);
    return OK;
}

static bool has_settled(const struct repository *r, const struct loaded *l, scan_mode mode)
{
    if (mode == SCAN_EXPLICIT || (l->told && l->flow != NULL))
        return true;
    if (mode == SCAN_START)
        return clock_wall_us() * 1000 - l->changed_ns >= r->settle_ns;
    return clock_ns() - l->seen_ns >= (uint64_t)r->settle_ns;
}

/* Whether the version's files are whole: by its manifest where it has one, else by their having settled. BUSY: not yet. */
static status check_whole(struct repository *r, const struct loaded *l, scan_mode mode,
                          struct err *e)
{
    bool has;
    status s = manifest_check(l->path, &has, e);
    if (has && (s == OK || mode == SCAN_EXPLICIT || s != CORRUPT || has_settled(r, l, mode)))
        return s;
    if (!has && has_settled(r, l, mode))
        return OK;
    return err_set(e, BUSY, "waiting until its files do not change any more");
}

/* Whether the version is served, loading it where that is due. */
static bool serve_version(struct repository *r, struct entry *en, struct loaded *l, scan_mode mode,
                          struct err *e)
{
    struct err words = { "" };
    if (l->flow != NULL && l->trigger == l->tried && mode != SCAN_EXPLICIT)
        return true;
    if (l->was_tried && l->trigger == l->tried && l->print == l->tried_print &&
        (mode != SCAN_EXPLICIT || l->flow != NULL))
        return l->flow != NULL;
    if (l->fault != NULL) {
        err_set(&words, INVALID, "%s", l->fault);
        note_try(l);
        refuse(r, en, l, &words);
    } else {
        status s = check_whole(r, l, mode, &words);
        if (s == OK) {
            load(r, en, l, &words);
        } else if (s != BUSY) {
            note_try(l);
            refuse(r, en, l, &words);
        } else if (l->flow == NULL) {
            set_state(r, l, MODEL_WAITING, words.text);
        }
    }
    if (l->flow == NULL && e != NULL && e->text[0] == '\0')
        *e = words;
    return l->flow != NULL;
}

/* ---- one model's directory ---- */

static void see_version(struct repository *r, struct entry *en, const struct version *v)
{
    struct loaded *l = version_of(r, en, v->number);
    if (l->path == NULL || l->print != v->print) {
        l->print = v->print;
        l->seen_ns = clock_ns();
    }
    if (l->path == NULL || strcmp(l->path, v->path) != 0) {
        mem_free(l->path);
        l->path = mem_strdup(v->path);
    }
    l->found = true;
    l->in_place = v->in_place;
    l->told = v->told;
    l->trigger = v->trigger;
    l->changed_ns = v->changed_ns;
    l->fault = v->fault;
}

static void look(struct repository *r, struct entry *en, const struct version *v, int count)
{
    for (int i = 0; i < en->count; i++)
        en->version[i]->found = false;
    for (int i = 0; i < count; i++)
        see_version(r, en, &v[i]);
}

/* Versions that are served no more, and those that are gone and were not served. The old ones go when the new ones are
 * there, never before. */
static void retire(struct repository *r, struct entry *en, const bool *keep, int kept)
{
    for (int i = en->count - 1; i >= 0; i--) {
        struct loaded *l = en->version[i];
        if (!l->found && (l->flow == NULL || kept > 0)) {
            r->dirty = true;
            remove_version(en, i);
        } else if (l->flow != NULL && kept > 0 && !keep[i]) {
            flow_unref(l->flow);
            l->flow = NULL;
            l->was_tried = false;
            set_state(r, l, MODEL_UNAVAILABLE, "not wanted by its version policy");
        }
    }
}

static bool is_wanted(const struct entry *en, const struct loaded *l, int better)
{
    if (!l->found)
        return false;
    return en->pinned != 0 ? l->number == en->pinned
                           : policy_wants(&en->config.policy, l->number, better);
}

/* A version that is wanted and cannot be served leaves its place to the next lower one: that is how the last good one
 * serves on, and how a start finds it. */
static int serve_wanted(struct repository *r, struct entry *en, scan_mode mode, bool *keep,
                        struct err *e)
{
    int kept = 0;
    for (int i = 0; i < en->count; i++) {
        struct loaded *l = en->version[i];
        bool wanted = is_wanted(en, l, kept);
        if (!wanted && l->state == MODEL_WAITING)
            set_state(r, l, MODEL_UNAVAILABLE, "not wanted by its version policy");
        keep[i] = wanted && serve_version(r, en, l, mode, e);
        kept += keep[i];
    }
    return kept;
}

static bool pinned_is_there(const struct entry *en)
{
    for (int i = 0; i < en->count; i++)
        if (en->version[i]->number == en->pinned)
            return en->version[i]->found;
    return false;
}

/* A configuration that cannot be read leaves the old one, and what serves by it. */
static status read_config(struct repository *r, struct entry *en, struct err *e)
{
    struct arena fresh;
    struct model_config c = { .policy = r->policy,
                              .batch = en->batch,
                              .dir = en->path,
                              .precision = r->options.server->precision,
                              .cache_bytes = r->options.server->cache_bytes };
    arena_init(&fresh, 0);
    status s = en->override != NULL
                   ? config_read_json(str_of(en->override), "config", &fresh, &c, e)
                   : config_read_dir(en->path, &fresh, &c, e);
    if (s != OK) {
        arena_deinit(&fresh);
        return s;
    }
    arena_deinit(&en->config_arena);
    en->config_arena = fresh;
    en->config = c;
    return OK;
}

/* Said once, and not at each look. */
static void note_fault(struct repository *r, struct entry *en, const char *words)
{
    if (strcmp(en->fault != NULL ? en->fault : "", words) == 0)
        return;
    if (words[0] != '\0')
        log_line(LOG_WARN, "serve", "model '%s': %s", en->name, words);
    mem_free(en->fault);
    en->fault = words[0] != '\0' ? mem_strdup(words) : NULL;
    r->dirty = true;
}

/* The words in e are the first fault's; OK when at least one version serves. */
static status scan_entry(struct repository *r, struct entry *en, scan_mode mode, struct err *e)
{
    struct arena a;
    struct version *v;
    int count, kept = 0;
    struct err words = { "" };
    if (en->unloaded || en->staged)
        return OK;
    arena_init(&a, 0);
    status s = read_config(r, en, &words);
    if (s == OK)
        s = find_versions(r, en, &a, &v, &count, &words);
    if (s == OK && count == 0)
        s = err_set(&words, NOT_FOUND, "%s: no model and no directory named by a version number",
                    en->path);
    note_fault(r, en, s == OK ? "" : words.text);
    if (s == OK) {
        look(r, en, v, count);
        if (en->pinned != 0 && !pinned_is_there(en))
            en->pinned = 0;
        bool *keep = arena_zalloc(&a, ((size_t)en->count + 1) * sizeof(*keep));
        kept = serve_wanted(r, en, mode, keep, &words);
        if (kept == 0 && mode == SCAN_START)
            kept = serve_wanted(r, en, SCAN_EXPLICIT, keep, &words);
        retire(r, en, keep, kept);
        if (kept == 0)
            s = NOT_FOUND;
    }
    arena_deinit(&a);
    if (r->dirty)
        publish(r);
    if (s != OK && e != NULL)
        *e = words;
    return s;
}

/* ---- directories of models ---- */

/* A name comes from outside: it is one directory's, and never leads anywhere else. */
static bool is_name(struct str name)
{
    if (name.n == 0 || name.n > NAME_BYTES_MAX || name.p[0] == '.')
        return false;
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < ' ' || name.p[i] == '/' || name.p[i] == '\\' ||
            name.p[i] == 0x7f)
            return false;
    return str_is_utf8(name);
}

static bool is_model_dir(const char *root, const char *name, struct arena *a)
{
    return is_name(str_of(name)) && file_is_dir(arena_printf(a, "%s/%s", root, name));
}

static void find_models(struct repository *r, const char *root)
{
    DIR *d = opendir(root);
    struct arena a;
    if (d == NULL)
        return;
    arena_init(&a, 0);
    for (struct dirent *f; (f = readdir(d)) != NULL && r->count < MODELS_MAX;)
        if (is_model_dir(root, f->d_name, &a) && find_entry(r, str_of(f->d_name)) == NULL)
            add_entry(r, f->d_name, arena_printf(&a, "%s/%s", root, f->d_name));
    closedir(d);
    arena_deinit(&a);
}

static bool is_listed_dir(const struct entry *en)
{
    return en->fixed || en->staged || en->unloaded || file_is_dir(en->path);
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp((*(struct entry *const *)a)->name, (*(struct entry *const *)b)->name);
}

static void scan_roots(struct repository *r)
{
    const struct server_options *o = r->options.server;
    int fixed = o->model_count;
    for (int i = r->count - 1; i >= 0; i--)
        if (!is_listed_dir(r->entry[i])) {
            remove_entry(r, r->entry[i]);
            publish(r);
        }
    for (int i = 0; i < o->root_count; i++)
        find_models(r, o->root[i]);
    if (r->count > fixed + 1)
        qsort(r->entry + fixed, (size_t)(r->count - fixed), sizeof(*r->entry), compare_entries);
}

static bool follows(const struct repository *r)
{
    return r->options.server->control == CONTROL_POLL;
}

static bool waits(const struct repository *r)
{
    for (int i = 0; i < r->count; i++)
        for (int k = 0; k < r->entry[i]->count; k++) {
            const struct loaded *l = r->entry[i]->version[k];
            if (l->state == MODEL_WAITING || (l->flow != NULL && l->trigger != l->tried))
                return true;
        }
    return false;
}

static int scan_directories(struct repository *r)
{
    const struct server_options *o = r->options.server;
    if (o->reload_interval_s < 0)
        return -1;
    if (follows(r))
        scan_roots(r);
    for (int i = 0; i < r->count; i++) {
        struct entry *en = r->entry[i];
        if (!en->fixed && !follows(r))
            continue;
        scan_entry(r, en, SCAN_WATCH, NULL);
        watch_directory(r->watch, en->path);
        for (int k = 0; k < en->count; k++)
            watch_directory(r->watch, en->version[k]->path);
    }
    for (int i = 0; follows(r) && i < o->root_count; i++)
        watch_directory(r->watch, o->root[i]);
    if (waits(r))
        return (int)(r->settle_ns / 2000000) + 1;
    return o->reload_interval_s * 1000;
}

/* Whether rules have to be looked at from time to time. */
static bool check_traffic(struct repository *r)
{
    bool rules = false;
    for (int i = 0; i < r->count; i++) {
        struct entry *en = r->entry[i];
        struct err words;
        if (en->traffic == NULL || !traffic_has_rules(en->traffic))
            continue;
        rules = true;
        if (traffic_check(en->traffic, &words))
            log_line(LOG_WARN, "serve", "model '%s': %s", en->name, words.text);
    }
    return rules;
}

/* ---- first requests ---- */

#define PROVE_CALLS 20
#define PROVE_BAD   3
#define PROVE_NS    UINT64_C(60000000000)

static struct loaded *find_version(const struct entry *en, int64_t number)
{
    for (int i = 0; i < en->count; i++)
        if (en->version[i]->number == number)
            return en->version[i];
    return NULL;
}

/* The version that failed goes, and is not loaded again until its files change; the one before is there still. */
static void take_back(struct repository *r, struct entry *en, uint64_t bad, uint64_t all)
{
    struct err words;
    struct loaded *old = find_version(en, en->before_number);
    err_set(&words, OK,
            "failed in %llu of its first %llu requests, which the one before answered; that one "
            "serves",
            (unsigned long long)bad, (unsigned long long)all);
    for (int i = 0; i < en->count; i++) {
        struct loaded *l = en->version[i];
        if (l->flow != en->proving || l == old)
            continue;
        flow_unref(l->flow);
        l->flow = NULL;
        set_state(r, l, MODEL_UNAVAILABLE, words.text);
    }
    if (old != NULL) {
        flow_unref(old->flow);
        old->flow = flow_ref(en->before);
        set_state(r, old, MODEL_READY, words.text);
    }
    log_line(LOG_WARN, "serve", "model '%s': the version that was loaded last %s", en->name,
             words.text);
    end_proving(en);
    publish(r);
}

static double share_of(uint64_t bad, uint64_t good)
{
    return bad + good > 0 ? (double)bad / (double)(bad + good) : 0;
}

/* Requests that also the version before fails now and then are no reason to keep it. */
static bool is_worse(const struct entry *en, uint64_t good, uint64_t bad)
{
    uint64_t good_before, bad_before;
    flow_ends(en->before, &good_before, &bad_before);
    return bad >= PROVE_BAD && share_of(bad, good) > 2 * share_of(bad_before, good_before);
}

static bool check_proving(struct repository *r)
{
    bool any = false;
    for (int i = 0; i < r->count; i++) {
        struct entry *en = r->entry[i];
        uint64_t good, bad;
        if (en->proving == NULL)
            continue;
        flow_ends(en->proving, &good, &bad);
        if (is_worse(en, good, bad)) {
            take_back(r, en, bad, good + bad);
        } else if (good + bad >= PROVE_CALLS || clock_ns() - en->proving_since_ns > PROVE_NS) {
            end_proving(en);
            publish(r); /* nobody is to hold the one before any more */
        } else {
            any = true;
        }
    }
    return any;
}

#define RULES_MS 500

int repository_scan(struct repository *r)
{
    int ms = scan_directories(r);
    bool rules = check_traffic(r);
    rules = check_proving(r) || rules;
    return rules && (ms < 0 || ms > RULES_MS) ? RULES_MS : ms;
}

/* ---- opening ---- */

/* The last part of a path, without slashes at its end. */
static const char *base_name(struct arena *a, const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t begin = n;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    return n > begin ? arena_strndup(a, path + begin, n - begin) : path;
}

static status name_of(const struct server_model *m, struct arena *a, const char **out,
                      struct err *e)
{
    struct service s = { 0 };
    *out = base_name(a, m->path);
    if (m->service == NULL && !service_detect(m->path))
        return OK;
    if (m->service == NULL)
        TRY(service_read(m->path, a, &s, e));
    const char *name = m->service != NULL ? m->service->name : s.name;
    *out = name != NULL ? name : *out;
    return OK;
}

static status open_fixed(struct repository *r, const struct server_model *m, struct arena *a,
                         struct err *e)
{
    const char *name = m->name;
    TRY(name == NULL ? name_of(m, a, &name, e) : OK);
    if (find_entry(r, str_of(name)) != NULL)
        return err_set(e, CONFLICT,
                       "--model: two models are called '%s'; give each a name (NAME=DIR)", name);
    struct entry *en = add_entry(r, name, m->path);
    en->fixed = true;
    en->service = m->service;
    if (m->batch_threads > 0)
        en->batch.threads = m->batch_threads;
    if (m->batch_rows > 0)
        en->batch.max_rows = m->batch_rows;
    status s = scan_entry(r, en, SCAN_START, e);
    return s == OK ? OK : err_prefix(e, s, "model '%s': ", name);
}

static status open_roots(struct repository *r, struct err *e)
{
    const struct server_options *o = r->options.server;
    for (int i = 0; i < o->root_count; i++)
        if (!file_is_dir(o->root[i]))
            return err_set(e, NOT_FOUND, "--model-repository %s: no such directory", o->root[i]);
    if (o->control == CONTROL_EXPLICIT) {
        for (int i = 0; i < o->load_count; i++)
            TRY(repository_load(r, &(struct load_request){ .name = str_of(o->load[i]) }, e));
        return OK;
    }
    scan_roots(r);
    for (int i = 0; i < r->count; i++)
        if (!r->entry[i]->fixed)
            scan_entry(r, r->entry[i], SCAN_START, NULL); /* one bad model hinders no other */
    return OK;
}

static status open_all(struct repository *r, struct err *e)
{
    const struct server_options *o = r->options.server;
    struct arena a;
    status s = policy_parse(str_of(o->version_policy), &r->policy, e);
    arena_init(&a, 0);
    for (int i = 0; s == OK && i < o->model_count; i++)
        s = open_fixed(r, &o->model[i], &a, e);
    arena_deinit(&a);
    if (s == OK)
        s = open_roots(r, e);
    if (s == OK && o->model_count == 0 && o->root_count == 0 && o->crew_fd == 0)
        s = err_set(e, INVALID, "no model to serve; name one with --model DIR");
    return s;
}

status repository_open(const struct repository_options *opt, struct repository **out, struct err *e)
{
    struct repository *r = mem_zalloc(sizeof(*r));
    r->options = *opt;
    r->settle_ns = (int64_t)opt->server->settle_ms * 1000000;
    pthread_mutex_init(&r->lock, NULL);
    r->watch = watch_new(r);
    r->table = table_new(NULL, 0, NULL);
    status s = open_all(r, e);
    if (s != OK) {
        repository_close(r);
        return s;
    }
    publish(r);
    *out = r;
    return OK;
}

void repository_watch(struct repository *r)
{
    r->watching = true;
    watch_start(r->watch);
}

void repository_stop(struct repository *r)
{
    watch_stop(r->watch);
}

void repository_close(struct repository *r)
{
    if (r == NULL)
        return;
    watch_stop(r->watch);
    while (r->count > 0)
        remove_entry(r, r->entry[r->count - 1]);
    table_unref(r->table);
    watch_free(r->watch);
    mem_free(r->entry);
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
}

void repository_submit(struct repository *r, struct repository_task *t)
{
    watch_submit(r->watch, t);
}

/* ---- changes by request ---- */

static status bad_name(struct str name, struct err *e)
{
    return err_set(e, INVALID,
                   "'%.*s' is no model's name: expected one directory's name without slashes, not "
                   "beginning with a dot, of at most %d bytes",
                   STR_ARG(name), NAME_BYTES_MAX);
}

static status add_from_roots(struct repository *r, struct str name, struct entry **out,
                             struct err *e)
{
    const struct server_options *o = r->options.server;
    struct arena a;
    arena_init(&a, 0);
    const char *text = arena_strndup(&a, name.p, name.n);
    *out = NULL;
    for (int i = 0; i < o->root_count && *out == NULL; i++)
        if (is_model_dir(o->root[i], text, &a))
            *out = add_entry(r, text, arena_printf(&a, "%s/%s", o->root[i], text));
    arena_deinit(&a);
    if (*out != NULL)
        return OK;
    return err_set(e, NOT_FOUND, "failed to load '%.*s', failed to poll from model repository: %s",
                   STR_ARG(name),
                   o->root_count > 0 ? "no directory of the repository is called so"
                                     : "the server was started without --model-repository");
}

/* What was loaded by another configuration is to be loaded again. */
static void set_override(struct entry *en, struct str json)
{
    if (json.n == 0 && en->override == NULL)
        return;
    mem_free(en->override);
    en->override = json.n > 0 ? mem_zalloc(json.n + 1) : NULL;
    if (json.n > 0)
        memcpy(en->override, json.p, json.n);
    for (int i = 0; i < en->count; i++)
        en->version[i]->was_tried = false;
}

static status check_config(struct str json, struct err *e)
{
    struct arena a;
    struct model_config c = { .dir = "." };
    arena_init(&a, 0);
    status s = json.n > 0 ? config_read_json(json, "config", &a, &c, e) : OK;
    arena_deinit(&a);
    return s;
}

/* The files of the request are written to a directory of their own, loaded from there (mapped, so that they live as long
 * as the model does) and their names are taken away again. */
static status load_inline(struct repository *r, const struct load_request *q, struct err *e)
{
    struct arena a;
    struct entry *en = find_entry(r, q->name);
    const char *dir;
    arena_init(&a, 0);
    status s = staging_write(q->file, q->file_count, &a, &dir, e);
    if (s == OK) {
        bool is_new = en == NULL;
        char *old_path = is_new ? NULL : en->path;
        if (is_new)
            en = add_entry(r, arena_strndup(&a, q->name.p, q->name.n), dir);
        else
            en->path = mem_strdup(dir);
        bool was_staged = en->staged, was_unloaded = en->unloaded;
        en->staged = en->unloaded = false;
        set_override(en, q->config);
        s = scan_entry(r, en, SCAN_EXPLICIT, e);
        if (s == OK) {
            en->staged = true;
            mem_free(old_path);
        } else if (is_new) {
            remove_entry(r, en);
        } else {
            mem_free(en->path);
            en->path = old_path;
            en->staged = was_staged;
            en->unloaded = was_unloaded;
        }
        staging_remove(dir);
        publish(r);
    }
    arena_deinit(&a);
    return s;
}

static status load_from_disk(struct repository *r, const struct load_request *q, struct err *e)
{
    struct entry *en = find_entry(r, q->name);
    bool is_new = en == NULL;
    if (is_new)
        TRY(add_from_roots(r, q->name, &en, e));
    if (en->staged)
        return err_set(e, CONFLICT,
                       "model '%s' came with the request that loaded it: send its files again",
                       en->name);
    set_override(en, q->config);
    en->unloaded = false;
    en->pinned = 0;
    status s = scan_entry(r, en, SCAN_EXPLICIT, e);
    if (s != OK)
        s = err_prefix(e, s, "failed to load '%s': ", en->name);
    publish(r);
    return s;
}

status repository_load(struct repository *r, const struct load_request *q, struct err *e)
{
    if (!is_name(q->name))
        return bad_name(q->name, e);
    if (q->file_count > 0 && q->config.n == 0)
        return err_set(e, INVALID,
                       "files came without a 'config' parameter, which they need beside them");
    TRY(check_config(q->config, e));
    return q->file_count > 0 ? load_inline(r, q, e) : load_from_disk(r, q, e);
}

status repository_unload(struct repository *r, struct str name, struct err *e)
{
    struct entry *en = find_entry(r, name);
    if (en == NULL)
        return err_set(e, NOT_FOUND, "failed to unload '%.*s': no model is called so",
                       STR_ARG(name));
    en->unloaded = true;
    end_proving(en);
    for (int i = 0; i < en->count; i++) {
        struct loaded *l = en->version[i];
        flow_unref(l->flow);
        l->flow = NULL;
        l->was_tried = false;
        set_state(r, l, MODEL_UNAVAILABLE, "unloaded");
    }
    if (en->staged)
        remove_entry(r, en);
    publish(r);
    return OK;
}

static struct loaded *current_of(const struct entry *en)
{
    for (int i = 0; i < en->count; i++)
        if (en->version[i]->flow != NULL &&
            (en->pinned == 0 || en->version[i]->number == en->pinned))
            return en->version[i];
    return NULL;
}

status repository_rollback(struct repository *r, struct str name, struct err *e)
{
    struct entry *en = find_entry(r, name);
    struct loaded *now = en != NULL ? current_of(en) : NULL;
    if (now == NULL)
        return err_set(e, NOT_FOUND, "no model '%.*s' is served", STR_ARG(name));
    int64_t before = en->pinned;
    for (int i = 0; i < en->count; i++) {
        struct loaded *l = en->version[i];
        if (l->number >= now->number || !l->found)
            continue;
        en->pinned = l->number;
        l->was_tried = false;
        if (l->flow != NULL || load(r, en, l, e) == OK) {
            scan_entry(r, en, SCAN_WATCH, NULL);
            publish(r);
            return OK;
        }
    }
    en->pinned = before;
    return err_set(e, NOT_FOUND, "model '%s' has no version below %lld that can be loaded",
                   en->name, (long long)now->number);
}

/* ---- labels ---- */

static bool has_version(const struct entry *en, int64_t version)
{
    for (int i = 0; i < en->count; i++)
        if (en->version[i]->number == version)
            return true;
    return false;
}

static bool is_label(struct str label)
{
    return is_name(label) && (label.p[0] < '0' || label.p[0] > '9') && label.p[0] != '-';
}

static void drop_label(struct entry *en, struct str label)
{
    for (int i = 0; i < en->label_count; i++)
        if (str_is(label, en->label[i].label)) {
            mem_free((void *)en->label[i].label);
            en->label[i] = en->label[--en->label_count];
        }
}

status repository_label(struct repository *r, struct str name, struct str label, int64_t version,
                        struct err *e)
{
    struct entry *en = find_entry(r, name);
    if (en == NULL)
        return err_set(e, NOT_FOUND, "no model is called '%.*s'", STR_ARG(name));
    if (!is_label(label))
        return err_set(e, INVALID, "'%.*s' is no label: it begins with a digit, or is no name",
                       STR_ARG(label));
    if (version != 0 && !has_version(en, version))
        return err_set(e, NOT_FOUND, "model '%s' has no version %lld", en->name,
                       (long long)version);
    drop_label(en, label);
    if (version != 0 && en->label_count == LABELS_MAX)
        return err_set(e, TOO_LARGE, "model '%s' has %d labels already", en->name, LABELS_MAX);
    if (version != 0) {
        char *own = mem_zalloc(label.n + 1);
        memcpy(own, label.p, label.n);
        en->label[en->label_count++] = (struct served_label){ own, version };
    }
    publish(r);
    return OK;
}

/* ---- traffic ---- */

static status check_variants(const struct repository *r, const struct entry *en,
                             const struct traffic *t, struct err *e)
{
    for (int i = 0; i < traffic_count(t); i++) {
        const struct traffic_variant *v = traffic_at(t, i);
        const struct entry *of = v->model != NULL ? find_entry(r, str_of(v->model)) : en;
        if (of == NULL)
            return err_set(e, NOT_FOUND, "variant '%s': no model is called '%s'", v->tag, v->model);
        if (v->version != 0 && !has_version(of, v->version))
            return err_set(e, NOT_FOUND, "variant '%s': model '%s' has no version %lld", v->tag,
                           of->name, (long long)v->version);
    }
    return OK;
}

status repository_traffic(struct repository *r, struct str name, struct str json, struct err *e)
{
    struct entry *en = find_entry(r, name);
    struct traffic *t = NULL;
    if (en == NULL)
        return err_set(e, NOT_FOUND, "no model is called '%.*s'", STR_ARG(name));
    if (str_trim(json).n > 0) {
        TRY(traffic_parse(json, &t, e));
        status s = check_variants(r, en, t, e);
        if (s != OK) {
            traffic_unref(t);
            return s;
        }
    }
    struct traffic *old = en->traffic;
    en->traffic = t;
    publish(r);
    traffic_unref(old);
    return OK;
}
