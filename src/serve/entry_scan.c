#include "serve/entries.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

static void see_version(struct repository *r, struct entry *en, const struct version *v)
{
    struct loaded *l = entry_version(r, en, v->number);
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
            entry_drop_version(en, i);
        } else if (l->flow != NULL && kept > 0 && !keep[i]) {
            flow_unref(l->flow);
            l->flow = NULL;
            l->was_tried = false;
            version_set_state(r, l, MODEL_UNAVAILABLE, "not wanted by its version policy");
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
            version_set_state(r, l, MODEL_UNAVAILABLE, "not wanted by its version policy");
        keep[i] = wanted && version_serve(r, en, l, mode, e);
        kept += keep[i];
    }
    return kept;
}

static bool pinned_is_there(const struct entry *en)
{
    const struct loaded *l = entry_find_version(en, en->pinned);
    return l != NULL && l->found;
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

static bool is_waiting(const struct entry *en)
{
    for (int i = 0; i < en->count; i++)
        if (en->version[i]->state == MODEL_WAITING)
            return true;
    return false;
}

status entry_scan(struct repository *r, struct entry *en, scan_mode mode, struct err *e)
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
        s = entry_look_up(r, en, &a, &v, &count, &words);
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
        if (kept == 0 && mode == SCAN_START && is_waiting(en)) {
            words.text[0] = '\0'; /* that it waits is no reason now */
            kept = serve_wanted(r, en, SCAN_ANYWAY, keep, &words);
        }
        retire(r, en, keep, kept);
        if (kept == 0)
            s = NOT_FOUND;
    }
    arena_deinit(&a);
    if (r->dirty)
        repository_publish(r);
    if (s != OK && e != NULL)
        *e = words;
    return s;
}
