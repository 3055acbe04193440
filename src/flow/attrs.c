#include "flow/attrs.h"

#include <string.h>

static const struct yaml *get(const struct flow_open *o, const char *key)
{
    return o->attrs != NULL ? yaml_get(o->attrs, key) : NULL;
}

status flow_attr_i64(const struct flow_open *o, const char *key, int64_t min, int64_t max,
                     int64_t *out, struct err *e)
{
    const struct yaml *n = get(o, key);
    return n == NULL ? OK : yaml_i64(n, o->file, min, max, out, e);
}

status flow_attr_real(const struct flow_open *o, const char *key, double *out, struct err *e)
{
    const struct yaml *n = get(o, key);
    return n == NULL ? OK : yaml_real(n, o->file, out, e);
}

status flow_attr_text(const struct flow_open *o, const char *key, const char **out, struct err *e)
{
    const struct yaml *n = get(o, key);
    const char *text;
    if (n == NULL)
        return OK;
    TRY(yaml_text(n, o->file, &text, e));
    *out = arena_strndup(o->arena, text, strlen(text));
    return OK;
}

status flow_attr_reals(const struct flow_open *o, const char *key, const double **out, int *count,
                       struct err *e)
{
    const struct yaml *n = get(o, key);
    int i = 0;
    if (n == NULL)
        return OK;
    if (n->kind != YAML_SCALAR)
        TRY(yaml_is(n, o->file, YAML_LIST, e));
    double *list = arena_zalloc(o->arena, ((size_t)n->count + 2) * sizeof(*list));
    if (n->kind == YAML_SCALAR)
        TRY(yaml_real(n, o->file, &list[i++], e));
    for (const struct yaml *item = n->child; item != NULL; item = item->next)
        TRY(yaml_real(item, o->file, &list[i++], e));
    *out = list;
    *count = i;
    return OK;
}

status flow_check_dtype(const struct flow_open *o, int k, uint32_t dtypes, const char *wanted,
                        struct err *e)
{
    const struct port *p = o->in[k];
    if (p == NULL || (dtypes & DTYPE_BIT(p->dtype)) != 0)
        return OK;
    return err_set(e, INVALID, "node '%s' (%s): input '%s' is %s, expected %s", o->node->name,
                   o->node->op->type, p->alias, dtype_name(p->dtype), wanted);
}

void flow_gives(const struct flow_open *o, const struct port *like, const char *name)
{
    struct port *p = arena_zalloc(o->arena, sizeof(*p));
    if (like == NULL && o->node->edge_count > 0)
        like = o->in[0];
    if (like != NULL)
        *p = *like;
    else
        *p = (struct port){ .dtype = DTYPE_F32, .shape = { 1, { -1 } } };
    p->name = p->alias = name != NULL   ? name
                         : like != NULL ? arena_strndup(o->arena, like->alias, strlen(like->alias))
                                        : o->node->name;
    o->node->port = p;
    o->node->port_count = 1;
}

status flow_one_input(struct flow_step *s, int k, const struct named_tensor **out, struct err *e)
{
    struct flow_value v = flow_step_input(s, k);
    *out = v.tensor;
    if (v.count == 1)
        return OK;
    return err_set(e, INVALID, "node '%s': its input from '%s' has %d tensors, expected one",
                   s->node->name, flow_step_source(s, k), v.count);
}

status flow_give(struct flow_step *s, dtype d, const struct shape *shape, void **data,
                 struct err *e)
{
    struct tensor t = { .dtype = d, .shape = *shape };
    int64_t bytes = tensor_bytes(&t);
    struct named_tensor *out = arena_zalloc(s->arena, sizeof(*out));
    *data = bytes < 0 ? NULL : arena_try(s->arena, (size_t)bytes + 1, 64);
    if (*data == NULL)
        return err_set(e, NO_MEMORY, "node '%s': no memory for its output", s->node->name);
    t.data = *data;
    *out = (struct named_tensor){ str_of(s->node->port->name), str_of(s->node->port->alias), t };
    s->out = (struct flow_value){ out, 1, false };
    return OK;
}
