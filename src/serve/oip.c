#include "serve/oip.h"

#include "base/clock.h"
#include "base/limits.h"
#include "serve/shm.h"

static struct str version_text(struct call *c)
{
    char *text = arena_alloc(&c->arena, 24),
         *p = text + 24; /* printf would be a good part of a quick call's time */
    uint64_t v = (uint64_t)flow_version(c->flow);
    do
        *--p = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    return (struct str){ p, (size_t)(text + 24 - p) };
}

struct oip_call *oip_call_new(struct call *c)
{
    int inputs, outputs;
    const struct port *in = flow_inputs(c->flow, &inputs), *out = flow_outputs(c->flow, &outputs);
    struct oip_call *o = arena_zalloc(&c->arena, sizeof(*o));
    o->model = (struct oip_model){ .name = str_of(flow_name(c->flow)), /* the call holds the flow */
                                   .in = call_ports(c, in, inputs),
                                   .out = call_ports(c, out, outputs) };
    o->header_bytes = UINT64_MAX;
    c->form = o;
    return o;
}

static status read_region(void *arg, const struct oip_region *region, struct str *out,
                          struct err *e)
{
    struct call *c = arg;
    return shm_read(c->conn->lane->server->regions, region, &c->arena, out, e);
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
    struct shm_table *regions = c->conn->lane->server->regions;
    return oip_bind(&o->request, &o->model, regions != NULL ? read_region : NULL, c, &c->arena, out,
                    e);
}

/* Where "stage_times" asked for it: microseconds of each stage. How long the last one takes is not known yet. */
static void put_times(struct call *c, struct oip_call *o)
{
    static const char *const keys[STAGE_COUNT] = { "parse_us", "queue_us", "batch_us", "compute_us",
                                                   "encode_us" };
    o->param = arena_zalloc(&c->arena, sizeof(*o->param) * STAGE_COUNT);
    for (o->param_count = 0; o->param_count < STAGE_COUNT; o->param_count++)
        o->param[o->param_count] =
            (struct oip_param){ .key = str_of(keys[o->param_count]),
                                .kind = OIP_INT,
                                .integer = (int64_t)(c->stage_ns[o->param_count] / 1000) };
}

static status write_regions(struct call *c, struct oip_call *o, struct err *e)
{
    struct shm_table *regions = c->conn->lane->server->regions;
    struct buf raw;
    status s = OK;
    for (int i = 0; i < o->output_count && s == OK; i++) {
        if (o->output[i].region.name.p == NULL)
            continue;
        if (regions == NULL)
            return err_set(
                e, UNSUPPORTED,
                "output '%.*s': this server writes nothing to shared memory; it is allowed "
                "by --allow-shared-memory",
                STR_ARG(o->output[i].name));
        buf_init(&raw, LIMIT_ARENA_BYTES);
        oip_put_raw(&o->output[i], &raw);
        s = buf_check(&raw) == OK ? shm_write(regions, &o->output[i].region, buf_view(&raw), e)
                                  : err_set(e, buf_check(&raw), "no memory for an output");
        buf_deinit(&raw);
    }
    return s;
}

status oip_call_encode(struct call *c, const struct infer_reply *r, struct buf *out,
                       void (*put)(struct call *c, const struct oip_reply *reply, struct buf *out),
                       struct err *e)
{
    struct oip_call *o = c->form;
    o->model.version = version_text(c); /* only now: what the body holds may have chosen another */
    size_t before = out->len;
    TRY(oip_outputs(&o->request, &o->model, r, &c->arena, &o->output, &o->output_count, e));
    TRY(write_regions(c, o, e));
    if (o->request.timing)
        put_times(c, o);
    const struct oip_reply reply = { .id = o->request.id,
                                     .model = &o->model,
                                     .param = o->param,
                                     .param_count = o->param_count,
                                     .output = o->output,
                                     .output_count = o->output_count };
    put(c, &reply, out);
    if (!o->request.timing || buf_check(out) != OK)
        return OK;
    o->param[STAGE_ENCODE].integer = (int64_t)(clock_ns() - c->since_ns) / 1000;
    out->len = before;
    put(c, &reply, out);
    return OK;
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
