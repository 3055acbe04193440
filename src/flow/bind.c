/* From tensors with names to a model's inputs. */
#include "flow/node.h"

#include "base/limits.h"

#include <string.h>

/* "in0" stands for the first input where no input is called so: for tools that do not know the model. */
static int port_by_place(const struct flow_binding *p, struct str name)
{
    int64_t n;
    if (!str_starts(name, "in") || !str_to_i64((struct str){ name.p + 2, name.n - 2 }, &n))
        return -1;
    return n >= 0 && n < p->port_count ? (int)n : -1;
}

static int find_port(const struct flow_binding *p, struct str name, struct str alias)
{
    for (int i = 0; i < p->port_count; i++)
        if (str_is(name, p->port[i].name))
            return i;
    for (int i = 0; i < p->port_count; i++)
        if (str_is(name, p->port[i].alias) || (alias.n > 0 && str_is(alias, p->port[i].alias)))
            return i;
    return port_by_place(p, name);
}

static status unknown_feed(const struct flow_binding *p, struct str name, struct arena *a,
                           struct err *e)
{
    const char **known = arena_alloc(a, ((size_t)p->port_count + 1) * sizeof(*known));
    for (int i = 0; i < p->port_count; i++)
        known[i] = p->port[i].alias;
    const char *near = str_nearest(name, known, (size_t)p->port_count);
    return err_set(e, INVALID, "feed '%.*s' is no input of the model%s", STR_ARG(name),
                   str_hint(near, p->port_count > 0 ? p->port[0].alias : NULL).text);
}

/* Clients leave out the batch dimension, or put a 1 in front that the model does not have (the original client does
 * either), or leave out the last 1 of ids. The elements are the same ones. */
static void mend_shape(const struct port *p, struct shape *s)
{
    const struct shape sent = *s;
    int rank = p->shape.rank;
    if (sent.rank == rank + 1 && sent.dim[0] == 1) {
        s->rank = rank;
        memmove(s->dim, sent.dim + 1, (size_t)rank * sizeof(s->dim[0]));
    } else if (sent.rank + 1 == rank && p->ragged && p->shape.dim[rank - 1] == 1) {
        s->dim[s->rank++] = 1;
    } else if (sent.rank + 1 == rank) {
        s->rank = rank;
        s->dim[0] = 1;
        memcpy(s->dim + 1, sent.dim, (size_t)sent.rank * sizeof(s->dim[0]));
    }
    if (!shape_matches(s, &p->shape))
        *s = sent; /* the words about it should tell what came */
}

static void bind_one(const struct port *p, const struct tensor *from, struct tensor *to)
{
    *to = *from;
    if (!p->ragged) /* offsets say nothing to a dense input: clients send them all the same */
        to->lod.levels = 0;
    if (to->dtype == DTYPE_BYTES && p->dtype == DTYPE_U8)
        to->dtype = DTYPE_U8; /* strings are handed over as their bytes */
    mend_shape(p, &to->shape);
}

static status missing_feed(const struct flow_binding *p, const struct tensor *bound, struct err *e)
{
    char shape[SHAPE_TEXT_MAX];
    for (int i = 0; i < p->port_count; i++)
        if (bound[i].data == NULL)
            return err_set(e, INVALID, "feed '%s' (%s %s) is missing", p->port[i].alias,
                           dtype_name(p->port[i].dtype),
                           shape_text(&p->port[i].shape, shape, sizeof(shape)));
    return OK;
}

static status bind_at(const struct flow_binding *b, int k, const struct named_tensor *f,
                      struct tensor *bound, struct err *e)
{
    if (bound[k].data != NULL)
        return err_set(e, INVALID, "feed '%s' is sent twice", b->port[k].alias);
    bind_one(&b->port[k], &f->tensor, &bound[k]);
    if (bound[k].data == NULL) /* an empty tensor: any address will do */
        bound[k].data = bound;
    return OK;
}

const struct port *flow_port_of(const struct port *port, int count, const char *alias,
                                const char *name)
{
    const struct flow_binding b = { .port = port, .port_count = count };
    int k = find_port(&b, str_of(name), str_of(alias));
    return k >= 0 ? &port[k] : NULL;
}

/* Ranks one apart are mended, and rows may be any number. */
bool flow_port_fits(const struct port *given, const struct port *to)
{
    bool fine = given->dtype == to->dtype || (given->dtype == DTYPE_BYTES && to->dtype == DTYPE_U8);
    bool told = given->shape.rank == to->shape.rank;
    for (int d = 1; fine && told && d < to->shape.rank; d++)
        fine = given->shape.dim[d] < 0 || to->shape.dim[d] < 0 ||
               given->shape.dim[d] == to->shape.dim[d];
    return fine;
}

static bool any_fits(const struct flow_binding *b, const struct flow_value *v)
{
    for (int i = 0; i < v->count; i++)
        if (find_port(b, v->tensor[i].name, v->tensor[i].alias) >= 0)
            return true;
    return false;
}

status flow_bind(const struct flow_binding *b, const struct flow_value *v, struct arena *a,
                 struct tensor *bound, struct err *e)
{
    bool by_place = b->by_place && v->count == b->port_count && !any_fits(b, v);
    for (int i = 0; i < v->count; i++) {
        const struct named_tensor *f = &v->tensor[i];
        int k = by_place ? i : find_port(b, f->name, f->alias);
        if (k < 0 && b->others_may_be)
            continue;
        if (k < 0)
            return unknown_feed(b, f->name, a, e);
        TRY(bind_at(b, k, f, bound, e));
    }
    return missing_feed(b, bound, e);
}
