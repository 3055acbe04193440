/* What clients ask for: loading, unloading, rolling back, labels, traffic. */
#include "serve/entries.h"

#include "base/mem.h"
#include "serve/staging.h"

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
        if (entry_is_dir(o->root[i], text, &a))
            *out = entry_add(r, text, arena_printf(&a, "%s/%s", o->root[i], text));
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
    en->override = json.n > 0 ? mem_strndup(json.p, json.n) : NULL;
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
    struct entry *en = entry_find(r, q->name);
    const char *dir;
    arena_init(&a, 0);
    status s = staging_write(q->file, q->file_count, &a, &dir, e);
    if (s == OK) {
        bool is_new = en == NULL;
        char *old_path = is_new ? NULL : en->path;
        if (is_new)
            en = entry_add(r, arena_strndup(&a, q->name.p, q->name.n), dir);
        else
            en->path = mem_strdup(dir);
        bool was_staged = en->staged, was_unloaded = en->unloaded;
        en->staged = en->unloaded = false;
        set_override(en, q->config);
        s = entry_scan(r, en, SCAN_EXPLICIT, e);
        if (s == OK) {
            en->staged = true;
            mem_free(old_path);
        } else if (is_new) {
            entry_remove(r, en);
        } else {
            mem_free(en->path);
            en->path = old_path;
            en->staged = was_staged;
            en->unloaded = was_unloaded;
        }
        staging_remove(dir);
        repository_publish(r);
    }
    arena_deinit(&a);
    return s;
}

static status load_from_disk(struct repository *r, const struct load_request *q, struct err *e)
{
    struct entry *en = entry_find(r, q->name);
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
    status s = entry_scan(r, en, SCAN_EXPLICIT, e);
    if (s != OK)
        s = err_prefix(e, s, "failed to load '%s': ", en->name);
    repository_publish(r);
    return s;
}

status repository_load(struct repository *r, const struct load_request *q, struct err *e)
{
    if (!entry_is_name(q->name))
        return bad_name(q->name, e);
    if (q->file_count > 0 && q->config.n == 0)
        return err_set(e, INVALID,
                       "files came without a 'config' parameter, which they need beside them");
    TRY(check_config(q->config, e));
    return q->file_count > 0 ? load_inline(r, q, e) : load_from_disk(r, q, e);
}

status repository_unload(struct repository *r, struct str name, struct err *e)
{
    struct entry *en = entry_find(r, name);
    if (en == NULL)
        return err_set(e, NOT_FOUND, "failed to unload '%.*s': no model is called so",
                       STR_ARG(name));
    en->unloaded = true;
    entry_end_proving(en);
    for (int i = 0; i < en->count; i++) {
        struct loaded *l = en->version[i];
        flow_unref(l->flow);
        l->flow = NULL;
        l->was_tried = false;
        version_set_state(r, l, MODEL_UNAVAILABLE, "unloaded");
    }
    if (en->staged)
        entry_remove(r, en);
    repository_publish(r);
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
    struct entry *en = entry_find(r, name);
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
        if (l->flow != NULL || version_load(r, en, l, e) == OK) {
            entry_scan(r, en, SCAN_WATCH, NULL);
            repository_publish(r);
            return OK;
        }
    }
    en->pinned = before;
    return err_set(e, NOT_FOUND, "model '%s' has no version below %lld that can be loaded",
                   en->name, (long long)now->number);
}

/* ---- labels ---- */

static bool is_label(struct str label)
{
    return entry_is_name(label) && (label.p[0] < '0' || label.p[0] > '9') && label.p[0] != '-';
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
    struct entry *en = entry_find(r, name);
    if (en == NULL)
        return err_set(e, NOT_FOUND, "no model is called '%.*s'", STR_ARG(name));
    if (!is_label(label))
        return err_set(e, INVALID, "'%.*s' is no label: it begins with a digit, or is no name",
                       STR_ARG(label));
    if (version != 0 && entry_find_version(en, version) == NULL)
        return err_set(e, NOT_FOUND, "model '%s' has no version %lld", en->name,
                       (long long)version);
    drop_label(en, label);
    if (version != 0 && en->label_count == LABELS_MAX)
        return err_set(e, TOO_LARGE, "model '%s' has %d labels already", en->name, LABELS_MAX);
    if (version != 0)
        en->label[en->label_count++] =
            (struct served_label){ mem_strndup(label.p, label.n), version };
    repository_publish(r);
    return OK;
}

/* ---- traffic ---- */

static status check_variants(const struct repository *r, const struct entry *en,
                             const struct traffic *t, struct err *e)
{
    for (int i = 0; i < traffic_count(t); i++) {
        const struct traffic_variant *v = traffic_at(t, i);
        const struct entry *of = v->model != NULL ? entry_find(r, str_of(v->model)) : en;
        if (of == NULL)
            return err_set(e, NOT_FOUND, "variant '%s': no model is called '%s'", v->tag, v->model);
        if (v->version != 0 && entry_find_version(of, v->version) == NULL)
            return err_set(e, NOT_FOUND, "variant '%s': model '%s' has no version %lld", v->tag,
                           of->name, (long long)v->version);
    }
    return OK;
}

status repository_traffic(struct repository *r, struct str name, struct str json, struct err *e)
{
    struct entry *en = entry_find(r, name);
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
    repository_publish(r);
    traffic_unref(old);
    return OK;
}
