/* Loading one version: its files are whole, it is read, planned and warmed up beside what serves, then swapped in. */
#include "serve/entries.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "serve/manifest.h"

/* ---- loading one version ---- */

static const char *engine_of(const struct repository *r, const struct entry *en)
{
    return en->config.engine != NULL ? en->config.engine : r->options.server->engine;
}

status entry_look_up(const struct repository *r, const struct entry *en, struct arena *a,
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
    status s = entry_look_up(r, en, &a, &v, &count, e);
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
    struct service read = { 0 };
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
        version_set_state(r, l, MODEL_UNAVAILABLE, e->text);
    } else {
        err_set(&words, OK, "serves on; its new files were refused: %s", e->text);
        version_set_state(r, l, MODEL_READY, words.text);
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

status version_load(struct repository *r, struct entry *en, struct loaded *l, struct err *e)
{
    struct flow *fresh = NULL, *old = l->flow;
    uint64_t begin = clock_ns();
    if (old == NULL) {
        version_set_state(r, l, MODEL_LOADING, "");
        repository_publish(r);
    }
    status s = open_flow(r, en, l, &fresh, e);
    if (s != BUSY) /* which changes while it is read: again when it has settled */
        note_try(l);
    if (s != OK) {
        refuse(r, en, l, e);
        return s;
    }
    entry_begin_proving(en, serving(en), fresh);
    l->flow = fresh;
    version_set_state(r, l, MODEL_READY, "");
    repository_publish(r);
    flow_unref(old);
    if (r->watching)
        log_line(LOG_INFO, "serve", "model '%s' version %lld is ready after %.1f ms", en->name,
                 (long long)l->number, (double)(clock_ns() - begin) / 1e6);
    return OK;
}

static bool has_settled(const struct repository *r, const struct loaded *l, scan_mode mode)
{
    if (mode == SCAN_EXPLICIT || mode == SCAN_ANYWAY || (l->told && l->flow != NULL))
        return true;
    if (mode == SCAN_START)
        return clock_wall_us() * 1000 - l->changed_ns >= r->settle_ns;
    return clock_ns() - l->seen_ns >= (uint64_t)r->settle_ns;
}

/* Files that were summed in vain are summed again when they look different, or when somebody asks. */
static status check_manifest(struct loaded *l, scan_mode mode, bool *has, struct err *e)
{
    *has = true;
    if (l->sums_fault != NULL && l->summed == l->print && mode != SCAN_EXPLICIT)
        return err_set(e, CORRUPT, "%s", l->sums_fault);
    status s = manifest_check(l->path, has, e);
    mem_free(l->sums_fault);
    l->sums_fault = s == CORRUPT ? mem_strdup(e->text) : NULL;
    l->summed = l->print;
    return s;
}

/* Whether the version's files are whole: by its manifest where it has one, else by their having settled. BUSY: not yet. */
static status check_whole(struct repository *r, struct loaded *l, scan_mode mode, struct err *e)
{
    bool has;
    status s = check_manifest(l, mode, &has, e);
    if (has && (s != CORRUPT || mode == SCAN_EXPLICIT || has_settled(r, l, mode)))
        return s;
    if (!has && has_settled(r, l, mode))
        return OK;
    return err_set(e, BUSY, "waiting until its files do not change any more");
}

bool version_serve(struct repository *r, struct entry *en, struct loaded *l, scan_mode mode,
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
            version_load(r, en, l, &words);
        } else if (s != BUSY) {
            note_try(l);
            refuse(r, en, l, &words);
        } else if (l->flow == NULL) {
            version_set_state(r, l, MODEL_WAITING, words.text);
        }
    }
    if (l->flow == NULL && e != NULL && e->text[0] == '\0')
        *e = words;
    return l->flow != NULL;
}
