#include "serve/table.h"

#include "base/arena.h"
#include "base/map.h"
#include "base/mem.h"

#include <stdatomic.h>

struct table {
    atomic_int refs;
    struct arena arena;
    struct map by_name; /* struct served_model */
    struct served_model *model;
    int count;
    const char *alias;
    const struct served **fresh; /* those with a version before them */
    int fresh_count;
};

const char *model_state_text(model_state s)
{
    static const char *const text[] = {
        [MODEL_WAITING] = "LOADING",
        [MODEL_LOADING] = "LOADING",
        [MODEL_READY] = "READY",
        [MODEL_UNLOADING] = "UNLOADING",
        [MODEL_UNAVAILABLE] = "UNAVAILABLE",
    };
    return text[s];
}

/* ---- making one ---- */

static const char *copy_text(struct arena *a, const char *s)
{
    return s != NULL ? arena_strndup(a, s, strlen(s)) : NULL;
}

static void copy_labels(struct arena *a, const struct served_model *from, struct served_model *to)
{
    struct served_label *l = arena_zalloc(a, ((size_t)from->label_count + 1) * sizeof(*l));
    for (int i = 0; i < from->label_count; i++)
        l[i] = (struct served_label){ copy_text(a, from->label[i].label), from->label[i].version };
    to->label = l;
}

static void copy_model(struct table *t, const struct served_model *from, struct served_model *to)
{
    struct arena *a = &t->arena;
    struct served *v = arena_zalloc(a, ((size_t)from->version_count + 1) * sizeof(*v));
    *to = *from;
    to->name = copy_text(a, from->name);
    to->fault = copy_text(a, from->fault);
    to->version = v;
    for (int i = 0; i < from->version_count; i++) {
        v[i] = from->version[i];
        v[i].name = to->name;
        v[i].path = copy_text(a, v[i].path);
        v[i].reason = copy_text(a, v[i].reason != NULL ? v[i].reason : "");
        if (v[i].flow != NULL)
            flow_ref(v[i].flow);
        if (v[i].before != NULL) {
            flow_ref(v[i].before);
            t->fresh[t->fresh_count++] = &v[i];
        }
    }
    if (from->current != NULL)
        to->current = &v[from->current - from->version];
    to->traffic = traffic_ref(from->traffic);
    copy_labels(a, from, to);
}

struct table *table_new(const struct served_model *model, int count, const char *alias)
{
    struct table *t = mem_zalloc(sizeof(*t));
    atomic_init(&t->refs, 1);
    arena_init(&t->arena, 0);
    map_init(&t->by_name, &t->arena);
    t->alias = copy_text(&t->arena, alias);
    t->model = arena_zalloc(&t->arena, ((size_t)count + 1) * sizeof(*t->model));
    t->count = count;
    t->fresh = arena_zalloc(&t->arena, ((size_t)count + 1) * sizeof(*t->fresh));
    for (int i = 0; i < count; i++) {
        copy_model(t, &model[i], &t->model[i]);
        map_put(&t->by_name, str_of(t->model[i].name), &t->model[i]);
    }
    return t;
}

struct table *table_ref(struct table *t)
{
    atomic_fetch_add(&t->refs, 1);
    return t;
}

void table_unref(struct table *t)
{
    if (t == NULL || atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    for (int i = 0; i < t->count; i++) {
        traffic_unref(t->model[i].traffic);
        for (int k = 0; k < t->model[i].version_count; k++)
            flow_unref(t->model[i].version[k].flow);
    }
    for (int i = 0; i < t->fresh_count; i++)
        flow_unref(t->fresh[i]->before);
    arena_deinit(&t->arena);
    mem_free(t);
}

/* ---- looking in it ---- */

int table_count(const struct table *t)
{
    return t->count;
}

const struct served_model *table_at(const struct table *t, int index)
{
    return &t->model[index];
}

const struct served_model *table_model(const struct table *t, struct str name)
{
    const struct served_model *m = map_get(&t->by_name, name);
    if (m == NULL && t->count > 0 && t->alias != NULL && str_is(name, t->alias))
        return &t->model[0];
    return m;
}

static status unknown_model(const struct table *t, struct str name, struct err *e)
{
    struct arena a;
    arena_init(&a, 0);
    const char **known = arena_zalloc(&a, ((size_t)t->count + 1) * sizeof(*known));
    for (int i = 0; t->model != NULL && i < t->count; i++)
        known[i] = t->model[i].name;
    const char *near = str_nearest(name, known, (size_t)t->count);
    err_set(e, NOT_FOUND, "Request for unknown model: '%.*s' is not found%s", STR_ARG(name),
            str_hint(near, known[0]).text);
    arena_deinit(&a);
    return NOT_FOUND;
}

/* A loaded model that cannot answer just now is something to try again; one that was unloaded is gone. */
static status not_ready(const struct served *v, struct err *e)
{
    status s = v->state == MODEL_UNAVAILABLE ? NOT_FOUND : BUSY;
    return err_set(e, s, "Request for unknown model: '%s' version %lld is %s%s%s", v->name,
                   (long long)v->version, model_state_text(v->state), v->reason[0] ? ": " : "",
                   v->reason);
}

const char *served_fault(const struct served_model *m)
{
    if (m->fault != NULL)
        return m->fault;
    return m->version_count > 0 ? m->version[0].reason : "";
}

static status current_of(const struct served_model *m, const struct served **out, struct err *e)
{
    *out = m->current;
    if (m->current != NULL)
        return OK;
    for (int i = 0; i < m->version_count; i++)
        if (m->version[i].state != MODEL_UNAVAILABLE)
            return not_ready(&m->version[i], e);
    const char *why = served_fault(m);
    return err_set(e, NOT_FOUND, "Request for unknown model: '%s' has no available versions%s%s",
                   m->name, why[0] != '\0' ? ": " : "", why);
}

static bool number_of(const struct served_model *m, struct str version, int64_t *number)
{
    if (str_to_i64(version, number))
        return true;
    for (int i = 0; i < m->label_count; i++)
        if (str_is(version, m->label[i].label)) {
            *number = m->label[i].version;
            return true;
        }
    return false;
}

bool table_has_label(const struct table *t, struct str name, struct str label)
{
    const struct served_model *m = table_model(t, name);
    for (int i = 0; m != NULL && i < m->label_count; i++)
        if (str_is(label, m->label[i].label))
            return true;
    return false;
}

status table_find(const struct table *t, struct str name, struct str version,
                  const struct served **out, struct err *e)
{
    int64_t number;
    const struct served_model *m = table_model(t, name);
    *out = NULL;
    if (m == NULL)
        return unknown_model(t, name, e);
    if (version.n == 0)
        return current_of(m, out, e);
    bool known = number_of(m, version, &number);
    for (int i = 0; known && i < m->version_count; i++) {
        if (m->version[i].version != number)
            continue;
        *out = m->version[i].state == MODEL_READY ? &m->version[i] : NULL;
        return *out != NULL ? OK : not_ready(&m->version[i], e);
    }
    return err_set(e, NOT_FOUND, "Request for unknown model: '%s' version %.*s is not found",
                   m->name, STR_ARG(version));
}

struct flow *table_before(const struct table *t, const struct flow *f)
{
    for (int i = 0; i < t->fresh_count; i++)
        if (t->fresh[i]->flow == f)
            return t->fresh[i]->before;
    return NULL;
}

status table_first(const struct table *t, const struct served **out, struct err *e)
{
    *out = NULL;
    return t->count > 0 ? current_of(&t->model[0], out, e)
                        : err_set(e, NOT_FOUND, "no model is loaded");
}
