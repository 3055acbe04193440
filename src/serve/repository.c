#include "serve/repository.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "serve/entries.h"

#include <dirent.h>
#include <stdlib.h>

#define MODELS_MAX 100000

/* ---- directories of models ---- */

static void find_models(struct repository *r, const char *root)
{
    DIR *d = opendir(root);
    struct arena a;
    if (d == NULL)
        return;
    arena_init(&a, 0);
    for (struct dirent *f; (f = readdir(d)) != NULL && r->count < MODELS_MAX;)
        if (entry_is_dir(root, f->d_name, &a) && entry_find(r, str_of(f->d_name)) == NULL)
            entry_add(r, f->d_name, arena_printf(&a, "%s/%s", root, f->d_name));
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
            entry_remove(r, r->entry[i]);
            repository_publish(r);
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
        entry_scan(r, en, SCAN_WATCH, NULL);
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

#define RULES_MS 500

int repository_scan(struct repository *r)
{
    int ms = scan_directories(r);
    bool rules = check_traffic(r);
    rules = repository_check_proving(r) || rules;
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
    if (entry_find(r, str_of(name)) != NULL)
        return err_set(e, CONFLICT,
                       "--model: two models are called '%s'; give each a name (NAME=DIR)", name);
    struct entry *en = entry_add(r, name, m->path);
    en->fixed = true;
    en->service = m->service;
    if (m->batch_threads > 0)
        en->batch.threads = m->batch_threads;
    if (m->batch_rows > 0)
        en->batch.max_rows = m->batch_rows;
    status s = entry_scan(r, en, SCAN_START, e);
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
            entry_scan(r, r->entry[i], SCAN_START, NULL); /* one bad model hinders no other */
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
    repository_publish(r);
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
        entry_remove(r, r->entry[r->count - 1]);
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
