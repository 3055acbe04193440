#include "serve/entries.h"

#include "base/file.h"
#include "base/mem.h"

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

void repository_publish(struct repository *r)
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

void version_set_state(struct repository *r, struct loaded *l, model_state s, const char *reason)
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
    mem_free(l->sums_fault);
    mem_free(l);
}

void entry_drop_version(struct entry *en, int i)
{
    free_version(en->version[i]);
    for (en->count--; i < en->count; i++)
        en->version[i] = en->version[i + 1];
}

static void free_entry(struct entry *en)
{
    while (en->count > 0)
        entry_drop_version(en, en->count - 1);
    for (int i = 0; i < en->label_count; i++)
        mem_free((void *)en->label[i].label);
    traffic_unref(en->traffic);
    entry_end_proving(en);
    arena_deinit(&en->config_arena);
    mem_free(en->override);
    mem_free(en->fault);
    mem_free(en->version);
    mem_free(en->name);
    mem_free(en->path);
    mem_free(en);
}

struct entry *entry_find(const struct repository *r, struct str name)
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

struct entry *entry_add(struct repository *r, const char *name, const char *path)
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

void entry_remove(struct repository *r, struct entry *en)
{
    int i = 0;
    while (r->entry[i] != en)
        i++;
    for (r->count--; i < r->count; i++)
        r->entry[i] = r->entry[i + 1];
    free_entry(en);
}

struct loaded *entry_find_version(const struct entry *en, int64_t number)
{
    for (int i = 0; i < en->count; i++)
        if (en->version[i]->number == number)
            return en->version[i];
    return NULL;
}

struct loaded *entry_version(struct repository *r, struct entry *en, int64_t number)
{
    int at = 0;
    while (at < en->count && en->version[at]->number > number)
        at++;
    if (at < en->count && en->version[at]->number == number)
        return en->version[at];
    struct loaded *l = mem_zalloc(sizeof(*l));
    l->number = number;
    version_set_state(r, l, MODEL_UNAVAILABLE, "not wanted by its version policy");
    en->version = grow(en->version, en->count, &en->room, sizeof(*en->version));
    for (int i = en->count++; i > at; i--)
        en->version[i] = en->version[i - 1];
    en->version[at] = l;
    return l;
}

bool entry_is_name(struct str name)
{
    if (name.n == 0 || name.n > NAME_BYTES_MAX || name.p[0] == '.')
        return false;
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < ' ' || name.p[i] == '/' || name.p[i] == '\\' ||
            name.p[i] == 0x7f)
            return false;
    return str_is_utf8(name);
}

bool entry_is_dir(const char *root, const char *name, struct arena *a)
{
    return entry_is_name(str_of(name)) && file_is_dir(arena_printf(a, "%s/%s", root, name));
}
