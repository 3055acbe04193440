#include "import/ports.h"

#include "base/map.h"
#include "tensor/tensor.h"

#include <stdlib.h>

/* One side of a model being matched with the configuration. */
struct side {
    struct value *const *value;
    const char *const *name;
    int count;
    const char *field, *what; /* "feed_var", "input" */
};

struct match {
    const struct conf *conf;
    const char *model;
    struct arena *arena;
    struct err *err;
};

static struct port plain_port(const struct side *s, int i)
{
    const struct value *v = s->value[i];
    return (struct port){ .name = s->name[i],
                          .alias = s->name[i],
                          .dtype = v->dtype,
                          .shape = v->shape,
                          .ragged = v->lod_levels > 0,
                          .lod_levels = v->lod_levels,
                          .value = i };
}

static const char *list_names(const struct side *s, struct arena *a)
{
    const char *text = s->count > 0 ? s->name[0] : "none";
    for (int i = 1; i < s->count && i < 8; i++)
        text = arena_printf(a, "%s, %s", text, s->name[i]);
    return s->count > 8 ? arena_printf(a, "%s, ...", text) : text;
}

/* ---- agreement ---- */

static bool type_agrees(const struct conf_var *v, const struct port *p)
{
    return !v->has_type || v->type == (int32_t)p->dtype ||
           (v->type == DTYPE_BYTES && p->dtype == DTYPE_U8);
}

/* The exporter drops every negative dimension, people often drop the batch as well, so either count
 * of elements will do; it says nothing of ragged variables, of images whose sizes are open, or of
 * bytes. */
static bool size_agrees(const struct conf_var *v, const struct port *p)
{
    struct shape row = { 0 };
    for (int i = 1; i < p->shape.rank; i++)
        row.dim[row.rank++] = p->shape.dim[i];
    int64_t row_numel = shape_numel(&row);
    if (p->ragged || v->rank == 0 || v->numel < 0 || v->type == DTYPE_BYTES || row_numel < 0)
        return true;
    return v->numel == row_numel || v->numel == shape_numel(&p->shape);
}

static status check_feed(const struct match *m, const struct conf_var *v, const struct port *p)
{
    char shape[SHAPE_TEXT_MAX];
    if (v->has_lod && !v->lod && p->ragged)
        return err_set(m->err, CONFLICT,
                       "%s: feed_var '%s' says is_lod_tensor: false, but %s declares it with %d "
                       "LoD level(s)",
                       m->conf->path, p->name, m->model, p->lod_levels);
    if (!size_agrees(v, p))
        return err_set(m->err, CONFLICT,
                       "%s: feed_var '%s' has a shape of %lld elements, but %s declares %s",
                       m->conf->path, p->name, (long long)v->numel, m->model,
                       shape_text(&p->shape, shape, sizeof(shape)));
    return OK;
}

static status check_type(const struct match *m, const struct side *s, const struct conf_var *v,
                         const struct port *p)
{
    if (type_agrees(v, p))
        return OK;
    return err_set(m->err, CONFLICT, "%s: %s '%s' has type %d (%s), but %s declares %s (%d)",
                   m->conf->path, s->field, p->name, v->type, dtype_name((dtype)v->type), m->model,
                   dtype_name(p->dtype), (int)p->dtype);
}

/* ---- order ---- */

static void index_names(const struct side *s, struct map *by_name, struct arena *a)
{
    map_init(by_name, a);
    for (int i = 0; i < s->count; i++) {
        int *index = arena_alloc(a, sizeof(*index));
        *index = i;
        map_put(by_name, str_of(s->name[i]), index); /* one fetched twice is known by its first */
    }
}

/* Ports in the configuration's order. */
static status match_side(const struct match *m, const struct side *s, const struct conf_var *v,
                         int count, struct port *out)
{
    struct map by_name;
    index_names(s, &by_name, m->arena);
    for (int i = 0; i < count; i++) {
        const int *index = map_get(&by_name, v[i].name);
        if (index == NULL)
            return err_set(m->err, CONFLICT, "%s: %s '%.*s' is no %s of %s; it has: %s",
                           m->conf->path, s->field, STR_ARG(v[i].name), s->what, m->model,
                           list_names(s, m->arena));
        out[i] = plain_port(s, *index);
        out[i].alias = arena_strndup(m->arena, v[i].alias.p, v[i].alias.n);
        TRY(check_type(m, s, &v[i], &out[i]));
    }
    return OK;
}

static status match_feeds(const struct match *m, const struct side *s, struct imported *out)
{
    out->input_count = m->conf->feed_count;
    out->inputs = arena_zalloc(m->arena, (size_t)(out->input_count + 1) * sizeof(struct port));
    TRY(match_side(m, s, m->conf->feed, out->input_count, out->inputs));
    bool *listed = arena_zalloc(m->arena, (size_t)s->count + 1);
    for (int i = 0; i < out->input_count; i++) {
        listed[out->inputs[i].value] = true;
        TRY(check_feed(m, &m->conf->feed[i], &out->inputs[i]));
    }
    for (int i = 0; i < s->count; i++)
        if (!listed[i])
            return err_set(m->err, CONFLICT, "%s: the input '%s' of %s has no feed_var",
                           m->conf->path, s->name[i], m->model);
    return OK;
}

static status match_fetches(const struct match *m, const struct side *s, struct imported *out)
{
    out->output_count = m->conf->fetch_count;
    out->outputs = arena_zalloc(m->arena, (size_t)(out->output_count + 1) * sizeof(struct port));
    return match_side(m, s, m->conf->fetch, out->output_count, out->outputs);
}

/* Ports in column order, without a configuration. */
static struct port *plain_ports(const struct side *s, struct arena *a)
{
    struct port *p = arena_zalloc(a, (size_t)(s->count + 1) * sizeof(*p));
    for (int i = 0; i < s->count; i++)
        p[i] = plain_port(s, i);
    return p;
}

status ports_make(const struct port_names *names, const struct conf *c, const char *model,
                  struct imported *m, struct err *e)
{
    struct graph *g = m->graph;
    struct match match = { .conf = c, .model = model, .arena = &g->arena, .err = e };
    struct side in = { g->inputs, names->input, g->input_count, "feed_var", "input" };
    struct side out = { g->outputs, names->output, g->output_count, "fetch_var", "output" };
    if (c->path != NULL) {
        m->conf_path = arena_strndup(&g->arena, c->path, strlen(c->path));
        TRY(match_feeds(&match, &in, m));
        return match_fetches(&match, &out, m);
    }
    m->inputs = plain_ports(&in, &g->arena);
    m->outputs = plain_ports(&out, &g->arena);
    m->input_count = in.count;
    m->output_count = out.count;
    return OK;
}
