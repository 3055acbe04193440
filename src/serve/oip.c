#include "serve/oip.h"

#include "base/clock.h"

static struct str version_text(struct call *c)
{
    return str_of(arena_printf(&c->arena, "%lld", (long long)flow_version(c->flow)));
}

struct oip_call *oip_call_new(struct call *c)
{
    int inputs, outputs;
    const struct port *in = flow_inputs(c->flow, &inputs), *out = flow_outputs(c->flow, &outputs);
    struct oip_call *o = arena_zalloc(&c->arena, sizeof(*o));
    o->model = (struct oip_model){ .name = str_of(flow_name(c->flow)), /* the call holds the flow */
                                   .version = version_text(c),
                                   .in = call_ports(c, in, inputs),
                                   .out = call_ports(c, out, outputs) };
    o->header_bytes = UINT64_MAX;
    c->form = o;
    return o;
}

status oip_call_bind(struct call *c, struct infer_request *out, struct err *e)
{
    struct oip_call *o = c->form;
    int64_t timeout_us = o->request.timeout_us;
    if (timeout_us > 0 && timeout_us < INT64_MAX / 1000) {
        uint64_t deadline = c->begin_ns + (uint64_t)timeout_us * 1000;
        if (c->deadline_ns == 0 || deadline < c->deadline_ns)
            c->deadline_ns = deadline;
    }
    return oip_bind(&o->request, &o->model, NULL, NULL, &c->arena, out, e);
}

status oip_call_outputs(struct call *c, const struct infer_reply *r, struct err *e)
{
    struct oip_call *o = c->form;
    return oip_outputs(&o->request, &o->model, r, &c->arena, &o->output, &o->output_count, e);
}

/* ---- what metadata says ---- */

const char *const oip_extensions[] = {
    "classification",
    "model_repository",
    "model_configuration",
    "system_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
    NULL,
};

bool oip_server_ready(const struct server *s)
{
    return atomic_load(&s->ready) && !atomic_load(&s->draining);
}

const char *oip_server_name(const struct server *s)
{
    return s->options.server_name != NULL ? s->options.server_name : "oar";
}

const char *oip_platform(const struct flow *flow)
{
    const struct model *m = flow_model(flow);
    return m != NULL ? model_imported(m)->format : "flow";
}

static bool are_batched(const struct port *port, int count)
{
    for (int i = 0; i < count; i++)
        if (port[i].ragged || port[i].shape.rank == 0 || port[i].shape.dim[0] != -1)
            return false;
    return true;
}

bool oip_is_batched(const struct flow *flow)
{
    int inputs, outputs;
    const struct port *in = flow_inputs(flow, &inputs), *out = flow_outputs(flow, &outputs);
    return are_batched(in, inputs) && are_batched(out, outputs);
}
