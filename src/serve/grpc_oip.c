/* The Open Inference Protocol V2 over gRPC: inference.GRPCInferenceService, with Triton's extensions. */
#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/oip_pb.h"
#include "serve/grpc_message.h"
#include "serve/metrics.h"
#include "serve/oip.h"
#include "serve/repository.h"

#include <stdio.h>
#include <string.h>

#define PEEK_BYTES ((size_t)4 << 10) /* of a packed request: its model stands in front */

/* ---- the server ---- */

static void reply_flag(struct grpc_rpc *g, bool flag)
{
    static const char yes[] = { 1 << 3, 1 };
    grpc_reply(g, (struct str){ yes, flag ? sizeof(yes) : 0 });
}

static void server_live(struct grpc_rpc *g, struct str message)
{
    reply_flag(g, true);
}

static void server_ready(struct grpc_rpc *g, struct str message)
{
    reply_flag(g, oip_server_ready(g->conn->lane->server));
}

static void server_metadata(struct grpc_rpc *g, struct str message)
{
    struct buf b;
    buf_init(&b, MESSAGE_BYTES);
    pb_put_bytes(&b, 1, str_of(oip_server_name(g->conn->lane->server)));
    pb_put_bytes(&b, 2, STR(OAR_VERSION));
    for (size_t i = 0; oip_extensions[i] != NULL; i++)
        pb_put_bytes(&b, 3, str_of(oip_extensions[i]));
    message_reply(g, &b);
}

/* ---- models ---- */

/* A number, or a label of the model's. */
static status check_version(const struct grpc_rpc *g, struct str name, struct str version,
                            struct err *e)
{
    int64_t number;
    return version.n == 0 || str_to_i64(version, &number) ||
                   table_has_label(lane_table(g->conn->lane), name, version)
               ? OK
               : err_set(e, INVALID,
                         "failed to get model version from specified version string '%.*s': it is "
                         "no whole number, and no label",
                         STR_ARG(version));
}

static struct flow *find(struct grpc_rpc *g, struct str name, struct str version)
{
    struct err e = { "" };
    status code = check_version(g, name, version, &e);
    struct flow *flow = code == OK ? lane_flow(g->conn->lane, name, version, &code, &e) : NULL;
    if (flow == NULL)
        grpc_fail(g, code == BUSY ? STOPPING : code, e.text); /* UNAVAILABLE: not loaded yet */
    return flow;
}

static void model_ready(struct grpc_rpc *g, struct str message)
{
    struct str name, version;
    struct err e = { "" };
    status code;
    if (!message_two(g, message, &name, &version))
        return;
    if (check_version(g, name, version, &e) != OK) {
        grpc_fail(g, INVALID, e.text);
        return;
    }
    reply_flag(g, lane_flow(g->conn->lane, name, version, &code, &e) != NULL &&
                      oip_server_ready(g->conn->lane->server));
}

static void put_tensor(struct buf *b, uint32_t field, struct str name, const char *suffix, dtype d,
                       const struct shape *s)
{
    struct nested n, dims;
    char whole[LIMIT_NAME_BYTES + 8];
    struct buf *t = message_begin(&n);
    snprintf(whole, sizeof(whole), "%.*s%s", STR_ARG(name), suffix);
    pb_put_bytes(t, 1, str_of(whole));
    pb_put_bytes(t, 2, str_of(dtype_oip(d)));
    struct buf *shape = message_begin(&dims);
    for (int i = 0; i < s->rank; i++)
        pb_put_varint(shape, (uint64_t)s->dim[i]);
    message_end(t, 3, &dims);
    message_end(b, field, &n);
}

static void put_ports(struct buf *b, uint32_t field, const struct port *port, int count)
{
    const struct shape offsets = SHAPE(-1);
    for (int i = 0; i < count; i++) {
        put_tensor(b, field, str_of(port[i].alias), "", port[i].dtype, &port[i].shape);
        if (port[i].ragged)
            put_tensor(b, field, str_of(port[i].alias), ".lod", DTYPE_I64, &offsets);
    }
}

static void put_versions(struct buf *b, uint32_t field, const struct lane *lane,
                         const struct flow *flow)
{
    char text[24];
    const struct served_model *m = table_model(lane->table, str_of(flow_name(flow)));
    for (int i = 0; m != NULL && i < m->version_count; i++) {
        if (m->version[i].state != MODEL_READY)
            continue;
        int n = snprintf(text, sizeof(text), "%lld", (long long)m->version[i].version);
        pb_put_bytes(b, field, (struct str){ text, (size_t)n });
    }
}

static void model_metadata(struct grpc_rpc *g, struct str message)
{
    struct str name, version;
    struct buf b;
    int count;
    struct flow *flow = message_two(g, message, &name, &version) ? find(g, name, version) : NULL;
    if (flow == NULL)
        return;
    buf_init(&b, MESSAGE_BYTES);
    pb_put_bytes(&b, 1, str_of(flow_name(flow)));
    put_versions(&b, 2, g->conn->lane, flow);
    pb_put_bytes(&b, 3, str_of(oip_platform(flow)));
    const struct port *port = flow_inputs(flow, &count);
    put_ports(&b, 4, port, count);
    port = flow_outputs(flow, &count);
    put_ports(&b, 5, port, count);
    message_reply(g, &b);
}

/* ---- configuration: model_config.proto ---- */

static uint64_t config_type(dtype d)
{
    static const uint8_t type[] = {
        [DTYPE_BOOL] = 1, [DTYPE_U8] = 2,   [DTYPE_U16] = 3,    [DTYPE_U32] = 4,   [DTYPE_U64] = 5,
        [DTYPE_I8] = 6,   [DTYPE_I16] = 7,  [DTYPE_I32] = 8,    [DTYPE_I64] = 9,   [DTYPE_F16] = 10,
        [DTYPE_F32] = 11, [DTYPE_F64] = 12, [DTYPE_BYTES] = 13, [DTYPE_BF16] = 14,
    };
    return (size_t)d < ARRAY_LEN(type) ? type[d] : 0;
}

static void put_config_ports(struct buf *b, uint32_t field, uint32_t dims_field,
                             const struct port *port, int count, bool batched)
{
    for (int i = 0; i < count; i++) {
        struct nested n, dims;
        struct buf *p = message_begin(&n), *d = message_begin(&dims);
        pb_put_bytes(p, 1, str_of(port[i].alias));
        message_number(p, 2, config_type(port[i].dtype));
        for (int k = batched ? 1 : 0; k < port[i].shape.rank; k++)
            pb_put_varint(d, (uint64_t)port[i].shape.dim[k]);
        message_end(p, dims_field, &dims);
        message_end(b, field, &n);
    }
}

static void put_config(struct buf *b, const struct flow *flow)
{
    bool batched = oip_is_batched(flow);
    int inputs, outputs;
    const struct port *in = flow_inputs(flow, &inputs), *out = flow_outputs(flow, &outputs);
    pb_put_bytes(b, 1, str_of(flow_name(flow)));
    pb_put_bytes(b, 2, str_of(oip_platform(flow)));
    message_number(b, 4, batched ? OIP_MAX_BATCH : 0);
    put_config_ports(b, 5, 4, in, inputs, batched);
    put_config_ports(b, 6, 3, out, outputs, batched);
    pb_put_bytes(b, 17, STR("oar"));
    pb_put_begin(b, 19, 0); /* model_transaction_policy: not decoupled */
}

static void model_config(struct grpc_rpc *g, struct str message)
{
    struct str name, version;
    struct buf b;
    struct nested n;
    struct flow *flow = message_two(g, message, &name, &version) ? find(g, name, version) : NULL;
    if (flow == NULL)
        return;
    buf_init(&b, MESSAGE_BYTES);
    put_config(message_begin(&n), flow);
    message_end(&b, 1, &n);
    message_reply(g, &b);
}

/* ---- statistics ---- */

static void put_duration(struct buf *b, uint32_t field, uint64_t count, uint64_t ns)
{
    struct nested n;
    struct buf *d = message_begin(&n);
    message_number(d, 1, count);
    message_number(d, 2, ns);
    message_end(b, field, &n);
}

static void put_time(struct buf *b, uint32_t field, const struct stats_time *t)
{
    put_duration(b, field, stats_calls(t), counter_get(&t->sum_ns));
}

static void put_inference_stats(struct buf *b, const struct stats_entry *e)
{
    struct nested n;
    struct buf *i = message_begin(&n);
    const struct stats_time *stage = e->stage;
    put_time(i, 1, &e->total);
    put_time(i, 2, &e->fail_total);
    put_duration(i, 3, stats_calls(&stage[STAGE_QUEUE]),
                 counter_get(&stage[STAGE_QUEUE].sum_ns) + counter_get(&stage[STAGE_BATCH].sum_ns));
    put_time(i, 4, &stage[STAGE_PARSE]);
    put_time(i, 5, &stage[STAGE_COMPUTE]);
    put_time(i, 6, &stage[STAGE_ENCODE]);
    put_duration(i, 7, 0, 0);
    put_duration(i, 8, 0, 0);
    message_end(b, 6, &n);
}

static void put_batches(struct buf *b, const struct stats_entry *e)
{
    for (int i = 0; i < STATS_BATCHES && counter_get(&e->batch[i].rows) != 0; i++) {
        struct nested n;
        struct buf *batch = message_begin(&n);
        uint64_t calls = counter_get(&e->batch[i].calls);
        message_number(batch, 1, counter_get(&e->batch[i].rows));
        put_duration(batch, 2, calls, 0);
        put_duration(batch, 3, calls, counter_get(&e->batch[i].compute_ns));
        put_duration(batch, 4, calls, 0);
        message_end(b, 7, &n);
    }
}

/* MemoryUsage: type 1, id 2, byte_size 3 */
static void put_memory(struct buf *b, uint64_t bytes)
{
    struct nested n;
    struct buf *m = message_begin(&n);
    message_text(m, 1, STR("CPU"));
    message_number(m, 3, bytes);
    message_end(b, 8, &n);
}

static void put_stats(struct buf *b, const struct lane *lane, const struct stats_entry *e)
{
    struct nested n;
    char version[24];
    struct buf *m = message_begin(&n);
    uint64_t last_ns = counter_get(&e->last_ns);
    int64_t ago_ms = (int64_t)(clock_ns() - last_ns) / 1000000;
    int length = snprintf(version, sizeof(version), "%lld", (long long)e->key.version);
    pb_put_bytes(m, 1, str_of(e->key.model));
    pb_put_bytes(m, 2, (struct str){ version, (size_t)length });
    message_number(m, 3, last_ns != 0 ? (uint64_t)(clock_wall_us() / 1000 - ago_ms) : 0);
    message_number(m, 4, counter_get(&e->rows));
    message_number(m, 5, counter_get(&e->by_status[0]));
    put_inference_stats(m, e);
    put_batches(m, e);
    put_memory(m, stats_model_bytes(lane, &e->key));
    message_end(b, 1, &n);
}

static void model_statistics(struct grpc_rpc *g, struct str message)
{
    struct lane *lane = g->conn->lane;
    struct stats_sums sums;
    struct str name, version;
    struct buf b;
    int64_t number = -1;
    if (!message_two(g, message, &name, &version))
        return;
    if (name.n > 0 && find(g, name, version) == NULL)
        return;
    if (!str_to_i64(version, &number))
        number = -1;
    buf_init(&b, MESSAGE_BYTES);
    stats_gather(lane, &lane->scratch, false, &sums);
    for (int i = 0; i < sums.count; i++) {
        const struct stats_key *k = &sums.entry[i]->key;
        if ((name.n == 0 || str_is(name, k->model)) && (number < 0 || number == k->version))
            put_stats(&b, lane, sums.entry[i]);
    }
    message_reply(g, &b);
}

/* ---- the repository ---- */

/* repository_name 1, ready 2 */
static bool read_index(struct grpc_rpc *g, struct str message, bool *ready)
{
    struct pb r;
    struct str repository = STR("");
    *ready = false;
    for (pb_init(&r, message); pb_next(&r);) {
        if (r.field == 1 && r.wire == PB_BYTES)
            repository = pb_bytes(&r);
        else if (r.field == 2 && r.wire == PB_VARINT)
            *ready = pb_varint(&r) != 0;
        else
            pb_skip(&r);
    }
    if (!pb_ok(&r))
        message_damaged(g);
    else if (repository.n > 0)
        grpc_fail(g, UNSUPPORTED, NO_REPOSITORY_NAMES);
    return pb_ok(&r) && repository.n == 0;
}

static void put_index(struct buf *b, const struct served *v)
{
    struct nested n;
    char version[24];
    struct buf *m = message_begin(&n);
    int length = snprintf(version, sizeof(version), "%lld", (long long)v->version);
    pb_put_bytes(m, 1, str_of(v->name));
    pb_put_bytes(m, 2, (struct str){ version, (size_t)length });
    pb_put_bytes(m, 3, str_of(model_state_text(v->state)));
    message_text(m, 4, str_of(v->reason));
    message_end(b, 1, &n);
}

static void repository_index(struct grpc_rpc *g, struct str message)
{
    const struct table *t = lane_table(g->conn->lane);
    bool ready;
    struct buf b;
    if (!read_index(g, message, &ready))
        return;
    buf_init(&b, MESSAGE_BYTES);
    for (int i = 0; i < table_count(t); i++) {
        const struct served_model *m = table_at(t, i);
        for (int k = 0; k < m->version_count; k++)
            if (!ready || m->version[k].state == MODEL_READY)
                put_index(&b, &m->version[k]);
    }
    message_reply(g, &b);
}

/* A load or unload on its way; what it says lies behind it. */
struct change {
    struct repository_task task;
    struct call *call;
    struct str repository;
    struct load_request load;
    struct inline_file *file;
    struct buf bytes; /* the message, of which the rest are views */
};

static status take_parameter(struct change *c, struct str entry, struct err *e)
{
    struct pb r, v;
    struct str key = STR(""), value = STR("");
    for (pb_init(&r, entry); pb_next(&r);) {
        if (r.field == 1) {
            key = pb_bytes(&r);
        } else if (r.field == 2) {
            for (pb_init(&v, pb_bytes(&r)); pb_next(&v);)
                if (v.wire == PB_BYTES)
                    value = pb_bytes(&v);
                else
                    pb_skip(&v);
            r.bad |= v.bad;
        } else {
            pb_skip(&r);
        }
    }
    if (!pb_ok(&r))
        return err_set(e, MALFORMED, "a damaged parameter");
    if (str_is(key, "config"))
        c->load.config = value;
    else if (str_starts(key, "file:"))
        c->file[c->load.file_count++] = (struct inline_file){ { key.p + 5, key.n - 5 }, value };
    return OK;
}

/* repository_name 1, model_name 2, parameters 3 */
static status read_change(struct change *c, struct err *e)
{
    struct pb r;
    size_t entries = 0;
    for (pb_init(&r, buf_view(&c->bytes)); pb_next(&r); pb_skip(&r))
        entries += r.field == 3;
    if (entries > LIMIT_REQUEST_TENSORS)
        return err_set(e, INVALID, "more than %d parameters", LIMIT_REQUEST_TENSORS);
    c->file = mem_zalloc((entries + 1) * sizeof(*c->file));
    c->load.file = c->file;
    for (pb_init(&r, buf_view(&c->bytes)); pb_next(&r);) {
        switch (r.field) {
        case 1: c->repository = pb_bytes(&r); break;
        case 2: c->load.name = pb_bytes(&r); break;
        case 3: TRY(take_parameter(c, pb_bytes(&r), e)); break;
        default: pb_skip(&r);
        }
    }
    if (!pb_ok(&r))
        return err_set(e, MALFORMED, "the protobuf message is damaged or cut short");
    return c->repository.n == 0 ? OK : err_set(e, UNSUPPORTED, NO_REPOSITORY_NAMES);
}

static void free_change(struct change *c)
{
    buf_deinit(&c->bytes);
    mem_free(c->file);
    mem_free(c);
}

static void change_done(struct repository_task *t)
{
    struct change *c = LIST_ENTRY(t, struct change, task);
    struct call *call = c->call;
    call->result = t->result;
    call->err = t->err;
    free_change(c);
    call_return(call);
}

static void hand_over(struct call *call)
{
    struct change *c = call->detour_arg;
    c->call = call;
    repository_submit(call->conn->lane->server->models, &c->task);
}

static void change(struct grpc_rpc *g, struct str message,
                   status (*run)(struct repository *, struct repository_task *, struct err *))
{
    struct err e = { "" };
    struct change *c = mem_zalloc(sizeof(*c));
    buf_init(&c->bytes, LIMIT_BODY_BYTES);
    buf_append(&c->bytes, message.p, message.n);
    status s = buf_check(&c->bytes) == OK ? read_change(c, &e) : buf_check(&c->bytes);
    if (s != OK) {
        grpc_fail(g, s, e.text);
        free_change(c);
        return;
    }
    c->task.run = run;
    c->task.done = change_done;
    struct call *call = grpc_call(g, NULL, &format_general_pb); /* of which there is no message */
    call->reply_compression = COMPRESSION_NONE;
    call->detour = hand_over;
    call->detour_arg = c;
    grpc_start(g, call, STR(""));
}

static status run_load(struct repository *r, struct repository_task *t, struct err *e)
{
    return repository_load(r, &LIST_ENTRY(t, struct change, task)->load, e);
}

static status run_unload(struct repository *r, struct repository_task *t, struct err *e)
{
    return repository_unload(r, LIST_ENTRY(t, struct change, task)->load.name, e);
}

static void model_load(struct grpc_rpc *g, struct str message)
{
    change(g, message, run_load);
}

static void model_unload(struct grpc_rpc *g, struct str message)
{
    change(g, message, run_unload);
}

/* ---- inference ---- */

static status decode(struct call *c, struct str body, struct infer_request *out, struct err *e)
{
    struct oip_call *o = c->form;
    TRY(oip_request_from_pb(body, &o->model, &c->arena, &o->request, e));
    return oip_call_bind(c, out, e);
}

static void put_call(struct call *c, const struct oip_reply *reply, struct buf *out)
{
    oip_reply_to_pb(reply, out);
}

static status encode(struct call *c, const struct infer_reply *r, struct buf *out, struct err *e)
{
    return oip_call_encode(c, r, out, put_call, e);
}

static const struct call_format format_oip_pb = { "oip-pb", decode, encode, false };

/* The flow that a ModelInferRequest asks; NULL: *code and words. */
static struct flow *asked_flow(struct grpc_rpc *g, struct str message, status *code, struct err *e)
{
    struct str name, version;
    struct buf peek;
    struct flow *flow = NULL;
    buf_init(&peek, PEEK_BYTES);
    if (g->packing != COMPRESSION_NONE) {
        *code = decompress(g->packing, message, &peek,
                           e); /* TOO_LARGE is as good: its front is there */
        e->text[0] = '\0';
        message = buf_view(&peek);
    }
    oip_pb_names(message, &name, &version);
    int64_t number;
    if (version.n > 0 && !str_to_i64(version, &number))
        *code = err_set(e, INVALID,
                        "failed to get model version from specified version string '%.*s': it is "
                        "no whole number",
                        STR_ARG(version));
    else
        flow = lane_flow(g->conn->lane, name, version, code, e);
    if (flow == NULL && *code == BUSY)
        *code = STOPPING; /* UNAVAILABLE: it is not loaded yet */
    buf_deinit(&peek);
    return flow;
}

static void model_infer(struct grpc_rpc *g, struct str message)
{
    struct err e = { "" };
    status code;
    struct flow *flow = asked_flow(g, message, &code, &e);
    if (flow == NULL) {
        grpc_fail(g, code, e.text);
        return;
    }
    struct call *call = grpc_call(g, flow, &format_oip_pb);
    call->in_place = g->packing == COMPRESSION_NONE;
    oip_call_new(call);
    grpc_start(g, call, message);
}

/* ---- a stream of inferences: several are computed at once, and answered in the order of their requests ---- */

/* ModelStreamInferResponse: error_message 1, infer_response 2. */
static void send_fault(struct grpc_rpc *g, const char *words)
{
    struct buf b;
    buf_init(&b, MESSAGE_BYTES);
    pb_put_bytes(&b, 1, str_of(words));
    grpc_send(g, buf_view(&b));
    buf_deinit(&b);
}

static void put_response(struct call *c, const struct oip_reply *reply, struct buf *out)
{
    pb_put_begin(out, 2, oip_reply_pb_size(reply));
    oip_reply_to_pb(reply, out);
}

static status encode_stream(struct call *c, const struct infer_reply *r, struct buf *out,
                            struct err *e)
{
    return oip_call_encode(c, r, out, put_response, e);
}

static const struct call_format format_oip_stream = { "oip-stream", decode, encode_stream, false };

static void stream_answer(struct grpc_rpc *g, struct call *call)
{
    if (call->result == OK)
        grpc_send(g, buf_view(&call->reply));
    else
        send_fault(g, call->err.text);
}

static void stream_infer(struct grpc_rpc *g, struct str message)
{
    struct err e = { "" };
    status code;
    struct flow *flow = asked_flow(g, message, &code, &e);
    if (flow == NULL) {
        send_fault(g, e.text);
        return;
    }
    struct call *call = grpc_call(g, flow, &format_oip_stream);
    oip_call_new(call);
    grpc_start(g, call, message);
}

// clang-format off
#define SERVICE "/inference.GRPCInferenceService/"
const struct grpc_method grpc_oip[] = {
    { SERVICE "ModelInfer",            ACCESS_INFER, false, true,  model_infer,      NULL, NULL, NULL },
    { SERVICE "ModelStreamInfer",      ACCESS_INFER, true,  true,  stream_infer,     NULL, NULL, stream_answer },
    { SERVICE "ServerLive",            ACCESS_HEALTH, false, false, server_live,      NULL, NULL, NULL },
    { SERVICE "ServerReady",           ACCESS_HEALTH, false, false, server_ready,     NULL, NULL, NULL },
    { SERVICE "ModelReady",            ACCESS_HEALTH, false, false, model_ready,      NULL, NULL, NULL },
    { SERVICE "ServerMetadata",        ACCESS_METADATA, false, false, server_metadata,  NULL, NULL, NULL },
    { SERVICE "ModelMetadata",         ACCESS_METADATA, false, false, model_metadata,   NULL, NULL, NULL },
    { SERVICE "ModelConfig",           ACCESS_METADATA, false, false, model_config,     NULL, NULL, NULL },
    { SERVICE "ModelStatistics",       ACCESS_METRICS, false, false, model_statistics, NULL, NULL, NULL },
    { SERVICE "RepositoryIndex",       ACCESS_METADATA, false, false, repository_index, NULL, NULL, NULL },
    { SERVICE "RepositoryModelLoad",   ACCESS_ADMIN, false, false, model_load,       NULL, NULL, NULL },
    { SERVICE "RepositoryModelUnload", ACCESS_ADMIN, false, false, model_unload,     NULL, NULL, NULL },
    { 0 },
};
// clang-format on
