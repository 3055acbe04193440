#include "serve/internal.h"

#include <string.h>

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

static const struct served *find(const struct repository *r, struct str name)
{
    for (int i = 0; i < r->count; i++)
        if (str_is(name, r->item[i].name))
            return &r->item[i];
    return NULL;
}

static status open_one(struct repository *r, const struct server_model *m, struct err *e)
{
    struct served *s = &r->item[r->count];
    s->path = m->path;
    s->name = m->name != NULL ? m->name : base_name(&r->arena, m->path);
    if (find(r, str_of(s->name)) != NULL)
        return err_set(e, CONFLICT,
                       "--model: two models are called '%s'; give each a name (NAME=DIR)", s->name);
    struct model *model;
    status code = model_open(m->path, NULL, &model, e);
    if (code != OK)
        return err_prefix(e, code, "model '%s': ", s->name);
    s->flow = flow_for_model(model);
    model_unref(model);
    r->count++;
    return OK;
}

status repository_open(struct repository *r, const struct server_options *opt, struct err *e)
{
    arena_init(&r->arena, 0);
    r->item = arena_zalloc(&r->arena, ((size_t)opt->model_count + 1) * sizeof(*r->item));
    r->alias = opt->name;
    for (int i = 0; i < opt->model_count; i++)
        TRY(open_one(r, &opt->model[i], e));
    if (r->count == 0)
        return err_set(e, INVALID, "no model to serve; name one with --model DIR");
    return OK;
}

void repository_close(struct repository *r)
{
    for (int i = 0; i < r->count; i++)
        flow_unref(r->item[i].flow);
    arena_deinit(&r->arena);
}

struct flow *repository_first(const struct repository *r)
{
    return r->item[0].flow;
}

struct flow *repository_find(const struct repository *r, struct str name)
{
    const struct served *s = find(r, name);
    if (s != NULL)
        return s->flow;
    return r->alias != NULL && str_is(name, r->alias) ? repository_first(r) : NULL;
}
