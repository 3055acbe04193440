/* A model: binds what comes in to its inputs and computes, at once or in a batch with others. */
#include "flow/ops.h"
#include "flow/rows.h"

/* ---- the result as a value ---- */

static status keep(struct flow_step *s, struct tensor *t, struct err *e)
{
    struct tensor copy;
    if (rows_copy(t, s->arena, &copy) != OK)
        return err_set(e, NO_MEMORY, "no memory for the outputs of '%s'", s->node->name);
    *t = copy;
    return OK;
}

static status give(struct flow_step *s, const struct tensor *result, struct err *e)
{
    int count;
    const struct port *port = model_outputs(s->node->model, &count);
    struct named_tensor *t = arena_zalloc(s->arena, ((size_t)count + 1) * sizeof(*t));
    for (int i = 0; i < count; i++) {
        t[i] = (struct named_tensor){ str_of(port[i].name), str_of(port[i].alias), result[i] };
        if (!port[i].ragged)
            t[i].tensor.lod.levels = 0;
        if (flow_step_must_copy(s))
            TRY(keep(s, &t[i].tensor, e));
    }
    s->out = (struct flow_value){ t, count, false };
    return OK;
}

/* ---- in a batch ---- */

static void batch_done(struct batch_item *i, status code, const struct tensor *out, struct exec *x)
{
    struct flow_step *s = LIST_ENTRY(i, struct flow_step, item);
    struct err e = i->err;
    flow_step_waited(s, i->begun_ns - i->since_ns);
    if (code == OK)
        code = give(s, out, &e);
    flow_step_done(s, code, x, &e);
}

static status enqueue(struct flow_step *s, struct err *e)
{
    const struct flow_call *c = flow_step_call(s);
    s->item = (struct batch_item){ .in = s->bound,
                                   .source = c->source,
                                   .deadline_ns = flow_step_deadline(s),
                                   .gone = { c->gone[0], c->gone[1] },
                                   .level = c->request->priority,
                                   .timeout_us = c->request->timeout_us,
                                   .done = batch_done };
    status code = batcher_submit(s->node->batcher, &s->item, e);
    return code == OK ? FLOW_LATER : code;
}

/* ---- one request ---- */

static struct flow_value join_values(struct flow_step *s)
{
    struct flow_value all = flow_step_input(s, 0);
    struct named_tensor *t;
    if (s->node->edge_count == 1)
        return all;
    all.count = 0;
    for (int k = 0; k < s->node->edge_count; k++)
        all.count += flow_step_input(s, k).count;
    all.tensor = t = arena_alloc(s->arena, ((size_t)all.count + 1) * sizeof(*t));
    for (int k = 0; k < s->node->edge_count; k++) {
        struct flow_value v = flow_step_input(s, k);
        for (int i = 0; i < v.count; i++)
            *t++ = v.tensor[i];
    }
    return all;
}

static status bind_inputs(struct flow_step *s, struct err *e)
{
    struct flow_binding b = { .by_place = s->node->by_place,
                              .others_may_be = s->node->others_may_be };
    struct flow_value v = join_values(s);
    b.port = model_inputs(s->node->model, &b.port_count);
    s->bound = arena_zalloc(s->arena, ((size_t)b.port_count + 1) * sizeof(*s->bound));
    return flow_bind(&b, &v, s->arena, s->bound, e);
}

static status run(struct flow_step *s, struct exec *x, struct err *e)
{
    int count;
    struct batcher *b = s->node->batcher;
    TRY(bind_inputs(s, e));
    if (b != NULL && !batcher_lets_pass(b))
        return enqueue(s, e);
    model_outputs(s->node->model, &count);
    s->result = arena_zalloc(s->arena, ((size_t)count + 1) * sizeof(*s->result));
    uint64_t begun = b != NULL ? batcher_begin_direct(b) : 0;
    TRY(exec_run(x, s->node->model, s->bound, s->result, e));
    if (b != NULL)
        batcher_end_direct(b, begun, s->bound);
    return give(s, s->result, e);
}

/* ---- what nodes before it give, as far as it is known before a request comes ---- */

/* The i-th tensor along the k-th edge, under the name that it has here; NULL behind the last. */
static const struct port *given_at(const struct flow_open *o, int k, int i, const char **name)
{
    const struct flow_edge *edge = &o->node->edge[k];
    const struct flow_node *from = flow_node_at(o->flow, edge->node);
    bool one = edge->tensor != NULL;
    const struct port *p = i >= (one ? 1 : from->port_count) ? NULL
                           : one                             ? o->in[k]
                                                             : &from->port[i];
    *name = p == NULL || edge->rename != NULL ? edge->rename : p->alias;
    return p;
}

static status misfit(const struct flow_open *o, int k, const struct port *given,
                     const struct port *to, struct err *e)
{
    char x[SHAPE_TEXT_MAX], y[SHAPE_TEXT_MAX];
    return err_set(e, INVALID, "node '%s': '%s.%s' is %s %s and the model's '%s' is %s %s",
                   o->node->name, flow_node_at(o->flow, o->node->edge[k].node)->name, given->alias,
                   dtype_name(given->dtype), shape_text(&given->shape, x, sizeof(x)), to->alias,
                   dtype_name(to->dtype), shape_text(&to->shape, y, sizeof(y)));
}

/* Tensors find their inputs by name, or, where none does, by place: as flow_bind does it with a request's. */
static status check_edge(const struct flow_open *o, int k, const struct port *port, int count,
                         struct err *e)
{
    const struct port *given, *to;
    const char *name;
    int tensors = 0, named = 0;
    for (; (given = given_at(o, k, tensors, &name)) != NULL; tensors++)
        named += flow_port_of(port, count, name, given->name) != NULL;
    bool by_place = o->node->edge_count == 1 && named == 0 && tensors == count;
    for (int i = 0; i < tensors; i++) {
        given = given_at(o, k, i, &name);
        to = by_place ? &port[i] : flow_port_of(port, count, name, given->name);
        if (to != NULL && !flow_port_fits(given, to))
            return misfit(o, k, given, to, e);
    }
    return OK;
}

static status open_infer(struct flow_open *o, struct err *e)
{
    int count;
    const struct port *port = model_inputs(o->node->model, &count);
    for (int k = 0; k < o->node->edge_count; k++)
        if (flow_node_at(o->flow, o->node->edge[k].node)->port != NULL)
            TRY(check_edge(o, k, port, count, e));
    o->node->port = model_outputs(o->node->model, &o->node->port_count);
    return OK;
}

static const char *const keys[] = { "model", "batch", "engine", NULL };
const struct flow_op general_infer_op = { .type = "GeneralInferOp",
                                          .also = "infer",
                                          .inputs_min = 1,
                                          .inputs_max = 64,
                                          .has_model = true,
                                          .keys = keys,
                                          .open = open_infer,
                                          .run = run,
                                          .later = true };
