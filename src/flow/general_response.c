/* The outputs that were asked for, in the order in which they were. */
#include "flow/ops.h"

static int find_output(const struct port *port, int count, struct str alias)
{
    for (int i = 0; i < count; i++)
        if (str_is(alias, port[i].alias))
            return i;
    for (int i = 0; i < count; i++)
        if (str_is(alias, port[i].name))
            return i;
    return -1;
}

static status unknown_fetch(const struct port *port, int count, struct str name, struct arena *a,
                            struct err *e)
{
    const char **known = arena_alloc(a, ((size_t)count + 1) * sizeof(*known));
    for (int i = 0; i < count; i++)
        known[i] = port[i].alias;
    const char *near = str_nearest(name, known, (size_t)count);
    return err_set(e, INVALID, "fetch '%.*s' is no output of the model; %s '%s'%s", STR_ARG(name),
                   near != NULL ? "did you mean" : "its first one is",
                   near != NULL ? near : port[0].alias, near != NULL ? "?" : "");
}

static struct named_tensor name_output(const struct port *p, const struct tensor *t)
{
    struct named_tensor out = { str_of(p->name), str_of(p->alias), *t };
    if (!p->ragged)
        out.tensor.lod.levels = 0;
    return out;
}

static status process(const struct flow_node *n, struct flow_call *c, struct err *e)
{
    const struct infer_request *r = c->request;
    int outputs;
    const struct port *port = model_outputs(n->model, &outputs);
    int count = r->fetch_count > 0 ? r->fetch_count : outputs;
    struct named_tensor *t = arena_try_array(c->arena, (size_t)count + 1, sizeof(*t));
    struct infer_output *o = arena_zalloc(c->arena, sizeof(*o));
    if (t == NULL)
        return err_set(e, NO_MEMORY, "no memory for %d outputs", count);
    for (int i = 0; i < count; i++) {
        int k = r->fetch_count > 0 ? find_output(port, outputs, r->fetch[i]) : i;
        if (k < 0)
            return unknown_fetch(port, outputs, r->fetch[i], c->arena, e);
        t[i] = name_output(&port[k], &c->result[k]);
    }
    *o = (struct infer_output){ str_of("GeneralInferOp_0"), t, count };
    c->reply->output = o;
    c->reply->output_count = 1;
    return OK;
}

const struct flow_op general_response_op = { "GeneralResponseOp", process };
