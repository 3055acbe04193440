/* The Open Inference Protocol V2 over HTTP: one row a path, Triton's extensions among them. */
#include "serve/oip_http.h"
#include "base/clock.h"
#include "base/limits.h"
#include "codec/json.h"
#include "serve/metrics.h"

#include <stdio.h>
#include <string.h>

#define REPLY_BYTES ((size_t)16 << 20)   /* of an answer about models */
#define JSON_LITTLE ((uint64_t)64 << 10) /* in front of binary tensors */
#define HEADER_LINE "Inference-Header-Content-Length: "

/* ---- answers ---- */

static const struct server *server_of(const struct http_request *r)
{
    return r->conn->lane->server;
}

static void answer_err(const struct http_request *r, status s, const struct err *e)
{
    http_answer_error(r, http_code(server_of(r), s), e->text);
}

static void answer_buf(const struct http_request *r, struct buf *b)
{
    http_answer_json(r, 200, b);
    buf_deinit(b);
}

struct flow *oip_http_find(const struct http_request *r, const struct route_parts *parts)
{
    struct err e = { "" };
    struct str version = parts->count > 1 ? parts->at[1] : STR("");
    int64_t number;
    status code = NOT_FOUND;
    struct flow *flow = NULL;
    struct str name = http_decoded(r, parts->at[0]);
    if (version.n > 0 && !str_to_i64(version, &number) &&
        !table_has_label(lane_table(r->conn->lane), name, version))
        err_set(&e, NOT_FOUND, "Not Found: version '%.*s' is no whole number, and no label",
                STR_ARG(version));
    else
        flow = lane_flow(r->conn->lane, name, version, &code, &e);
    if (flow == NULL)
        answer_err(r, code, &e);
    return flow;
}

/* ---- the server ---- */

static void server_metadata(const struct http_request *r, const struct route_parts *parts)
{
    struct buf b;
    buf_init(&b, REPLY_BYTES);
    buf_str(&b, "{\"name\":");
    json_put_string(&b, str_of(oip_server_name(server_of(r))));
    buf_str(&b, ",\"version\":\"" OAR_VERSION "\",\"extensions\":[");
    for (size_t i = 0; oip_extensions[i] != NULL; i++)
        buf_printf(&b, "%s\"%s\"", i > 0 ? "," : "", oip_extensions[i]);
    buf_str(&b, "]}");
    answer_buf(r, &b);
}

static void answer_flag(const struct http_request *r, const char *name, bool flag, int otherwise)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "{\"%s\":%s}", name, flag ? "true" : "false");
    http_answer(r, &(struct http_answer){ .code = flag ? 200 : otherwise,
                                          .content_type = "application/json",
                                          .body = { text, (size_t)n } });
}

static void live(const struct http_request *r, const struct route_parts *parts)
{
    answer_flag(r, "live", true, 503);
}

static void ready(const struct http_request *r, const struct route_parts *parts)
{
    answer_flag(r, "ready", oip_server_ready(server_of(r)), 503);
}

/* ---- models ---- */

static void put_shape(struct buf *b, const struct shape *s, int from)
{
    buf_byte(b, '[');
    for (int i = from; i < s->rank; i++) {
        if (i > from)
            buf_byte(b, ',');
        json_put_i64(b, s->dim[i]);
    }
    buf_byte(b, ']');
}

static void put_port(struct buf *b, struct str name, const char *suffix, dtype d,
                     const struct shape *s)
{
    char whole[LIMIT_NAME_BYTES + 8];
    snprintf(whole, sizeof(whole), "%.*s%s", STR_ARG(name), suffix);
    buf_str(b, "{\"name\":");
    json_put_string(b, str_of(whole));
    buf_printf(b, ",\"datatype\":\"%s\",\"shape\":", dtype_oip(d));
    put_shape(b, s, 0);
    buf_byte(b, '}');
}

static void put_ports(struct buf *b, const struct port *port, int count)
{
    const struct shape offsets = SHAPE(-1);
    buf_byte(b, '[');
    for (int i = 0; i < count; i++) {
        if (i > 0)
            buf_byte(b, ',');
        put_port(b, str_of(port[i].alias), "", port[i].dtype, &port[i].shape);
        if (!port[i].ragged)
            continue;
        buf_byte(b, ',');
        put_port(b, str_of(port[i].alias), ".lod", DTYPE_I64, &offsets);
    }
    buf_byte(b, ']');
}

/* All versions that can be asked, the highest first. */
static void put_versions(struct buf *b, const struct lane *lane, const struct flow *flow)
{
    const struct served_model *m = table_model(lane->table, str_of(flow_name(flow)));
    const char *separator = "";
    for (int i = 0; m != NULL && i < m->version_count; i++) {
        if (m->version[i].state != MODEL_READY)
            continue;
        buf_printf(b, "%s\"%lld\"", separator, (long long)m->version[i].version);
        separator = ",";
    }
}

static void model_metadata(const struct http_request *r, const struct route_parts *parts)
{
    struct buf b;
    int count;
    struct flow *flow = oip_http_find(r, parts);
    if (flow == NULL)
        return;
    buf_init(&b, REPLY_BYTES);
    buf_str(&b, "{\"name\":");
    json_put_string(&b, str_of(flow_name(flow)));
    buf_str(&b, ",\"versions\":[");
    put_versions(&b, r->conn->lane, flow);
    buf_printf(&b, "],\"platform\":\"%s\",\"inputs\":", oip_platform(flow));
    const struct port *port = flow_inputs(flow, &count);
    put_ports(&b, port, count);
    buf_str(&b, ",\"outputs\":");
    port = flow_outputs(flow, &count);
    put_ports(&b, port, count);
    buf_byte(&b, '}');
    answer_buf(r, &b);
}

static void model_ready(const struct http_request *r, const struct route_parts *parts)
{
    struct err e = { "" };
    struct str name = http_decoded(r, parts->at[0]);
    status code;
    if (lane_flow(r->conn->lane, name, parts->count > 1 ? parts->at[1] : STR(""), &code, &e) ==
        NULL) {
        char words[ERR_TEXT_MAX + 32];
        snprintf(words, sizeof(words), "Model version not ready: %s", e.text);
        http_answer_error(r, 400, words);
        return;
    }
    struct buf b;
    buf_init(&b, REPLY_BYTES);
    buf_str(&b, "{\"name\":");
    json_put_string(&b, name);
    buf_printf(&b, ",\"ready\":%s}", oip_server_ready(server_of(r)) ? "true" : "false");
    http_answer_json(r, oip_server_ready(server_of(r)) ? 200 : 503, &b);
    buf_deinit(&b);
}

/* ---- configuration ---- */

static const char *config_type(dtype d)
{
    return d == DTYPE_BYTES ? "STRING" : dtype_oip(d);
}

static void put_config_port(struct buf *b, const struct port *p, bool input, bool batched)
{
    buf_str(b, "{\"name\":");
    json_put_string(b, str_of(p->alias));
    buf_printf(b, ",\"data_type\":\"TYPE_%s\"%s,\"dims\":", config_type(p->dtype),
               input ? ",\"format\":\"FORMAT_NONE\"" : "");
    put_shape(b, &p->shape, batched ? 1 : 0);
    buf_str(b, input ? ",\"is_shape_tensor\":false,\"allow_ragged_batch\":false,\"optional\":false}"
                     : ",\"label_filename\":\"\",\"is_shape_tensor\":false}");
}

static void put_config_ports(struct buf *b, const struct port *port, int count, bool input,
                             bool batched)
{
    buf_byte(b, '[');
    for (int i = 0; i < count; i++) {
        if (i > 0)
            buf_byte(b, ',');
        put_config_port(b, &port[i], input, batched);
    }
    buf_byte(b, ']');
}

static void model_config(const struct http_request *r, const struct route_parts *parts)
{
    struct buf b;
    int inputs, outputs;
    struct flow *flow = oip_http_find(r, parts);
    if (flow == NULL)
        return;
    const struct port *in = flow_inputs(flow, &inputs), *out = flow_outputs(flow, &outputs);
    bool batched = oip_is_batched(flow);
    buf_init(&b, REPLY_BYTES);
    buf_str(&b, "{\"name\":");
    json_put_string(&b, str_of(flow_name(flow)));
    buf_printf(&b,
               ",\"platform\":\"%s\",\"backend\":\"oar\",\"version_policy\":{\"latest\":"
               "{\"num_versions\":1}},\"max_batch_size\":%d,\"input\":",
               oip_platform(flow), batched ? OIP_MAX_BATCH : 0);
    put_config_ports(&b, in, inputs, true, batched);
    buf_str(&b, ",\"output\":");
    put_config_ports(&b, out, outputs, false, batched);
    buf_str(&b, ",\"parameters\":{},\"model_transaction_policy\":{\"decoupled\":false}}");
    answer_buf(r, &b);
}

/* ---- inference ---- */

static status header_range(uint64_t got, size_t body, struct err *e)
{
    return err_set(e, INVALID, "inference header size should be in range (0, %zu), got: %llu", body,
                   (unsigned long long)got);
}

static status decode(struct call *c, struct str body, struct infer_request *out, struct err *e)
{
    struct oip_call *o = c->form;
    uint64_t n = o->header_bytes == UINT64_MAX ? body.n : o->header_bytes;
    if (n > body.n)
        return header_range(n, body.n, e);
    if (o->header_bytes == 0) {
        TRY(oip_request_from_raw(body, &o->model, &c->arena, &o->request, e));
    } else {
        struct str text = { body.p, (size_t)n }, tail = { body.p + n, body.n - (size_t)n };
        TRY(oip_request_from_json(text, tail, &o->model, &c->arena, &o->request, e));
    }
    return oip_call_bind(c, out, e);
}

static void put_reply(struct call *c, const struct oip_reply *reply, struct buf *out)
{
    size_t json_bytes;
    bool binary;
    oip_reply_to_json(reply, out, &json_bytes, &binary);
    if (!binary)
        return;
    c->content_type = "application/octet-stream";
    c->headers = arena_printf(&c->arena, HEADER_LINE "%zu\r\n", json_bytes);
}

static status encode(struct call *c, const struct infer_reply *r, struct buf *out, struct err *e)
{
    return oip_call_encode(c, r, out, put_reply, e);
}

static const struct call_format format_oip = { "oip", decode, encode, true };

static void infer(const struct http_request *r, const struct route_parts *parts)
{
    struct str header = http_header_find(r->head, "Inference-Header-Content-Length");
    uint64_t header_bytes = UINT64_MAX;
    struct flow *flow = oip_http_find(r, parts);
    if (flow == NULL)
        return;
    if (header.p != NULL && (!str_to_u64(header, &header_bytes) || header_bytes == UINT64_MAX)) {
        http_answer_error(r, 400, "Inference-Header-Content-Length is no whole number");
        return;
    }
    struct call *call = http_begin(r, flow, &format_oip, "application/json");
    if (call == NULL)
        return;
    oip_call_new(call)->header_bytes = header_bytes;
    call->in_place = header_bytes < JSON_LITTLE && call->body_compression == COMPRESSION_NONE;
    http_start(r, call);
}

/* ---- statistics ---- */

static void put_duration(struct buf *b, const char *name, uint64_t count, uint64_t ns)
{
    buf_printf(b, "%s\"%s\":{\"count\":%llu,\"ns\":%llu}", b->data[b->len - 1] == '{' ? "" : ",",
               name, (unsigned long long)count, (unsigned long long)ns);
}

static void put_stage(struct buf *b, const char *name, const struct stats_time *t)
{
    put_duration(b, name, stats_calls(t), counter_get(&t->sum_ns));
}

static void put_inference_stats(struct buf *b, const struct stats_entry *e)
{
    const struct stats_time *stage = e->stage;
    buf_str(b, "\"inference_stats\":{");
    put_stage(b, "success", &e->total);
    put_stage(b, "fail", &e->fail_total);
    put_duration(b, "queue", stats_calls(&stage[STAGE_QUEUE]),
                 counter_get(&stage[STAGE_QUEUE].sum_ns) + counter_get(&stage[STAGE_BATCH].sum_ns));
    put_stage(b, "compute_input", &stage[STAGE_PARSE]);
    put_stage(b, "compute_infer", &stage[STAGE_COMPUTE]);
    put_stage(b, "compute_output", &stage[STAGE_ENCODE]);
    put_duration(b, "cache_hit", 0, 0);
    put_duration(b, "cache_miss", 0, 0);
    buf_str(b, "}");
}

static void put_batches(struct buf *b, const struct stats_entry *e)
{
    buf_str(b, ",\"response_stats\":{},\"batch_stats\":[");
    for (int i = 0; i < STATS_BATCHES && counter_get(&e->batch[i].rows) != 0; i++) {
        uint64_t calls = counter_get(&e->batch[i].calls);
        buf_printf(b, "%s{\"batch_size\":%llu,", i > 0 ? "," : "",
                   (unsigned long long)counter_get(&e->batch[i].rows));
        buf_printf(b, "\"compute_input\":{\"count\":%llu,\"ns\":0},", (unsigned long long)calls);
        buf_printf(b, "\"compute_infer\":{\"count\":%llu,\"ns\":%llu},", (unsigned long long)calls,
                   (unsigned long long)counter_get(&e->batch[i].compute_ns));
        buf_printf(b, "\"compute_output\":{\"count\":%llu,\"ns\":0}}", (unsigned long long)calls);
    }
    buf_byte(b, ']');
}

static void put_stats(struct buf *b, const struct lane *lane, const struct stats_entry *e)
{
    uint64_t last_ns = counter_get(&e->last_ns);
    int64_t ago_ms = (int64_t)(clock_ns() - last_ns) / 1000000;
    buf_str(b, "{\"name\":");
    json_put_string(b, str_of(e->key.model));
    buf_printf(b,
               ",\"version\":\"%lld\",\"last_inference\":%lld,\"inference_count\":%llu,"
               "\"execution_count\":%llu,",
               (long long)e->key.version,
               last_ns != 0 ? (long long)(clock_wall_us() / 1000 - ago_ms) : 0,
               (unsigned long long)counter_get(&e->rows),
               (unsigned long long)counter_get(&e->by_status[0]));
    put_inference_stats(b, e);
    put_batches(b, e);
    buf_printf(b, ",\"memory_usage\":[{\"type\":\"CPU\",\"id\":0,\"byte_size\":%llu}]}",
               (unsigned long long)stats_model_bytes(lane, &e->key));
}

static void answer_stats(const struct http_request *r, const char *model, int64_t version)
{
    struct lane *lane = r->conn->lane;
    struct stats_sums sums;
    struct buf b;
    const char *separator = "";
    buf_init(&b, REPLY_BYTES);
    stats_gather(lane, &lane->scratch, false, &sums);
    buf_str(&b, "{\"model_stats\":[");
    for (int i = 0; i < sums.count; i++) {
        const struct stats_key *k = &sums.entry[i]->key;
        if ((model != NULL && strcmp(model, k->model) != 0) ||
            (version >= 0 && version != k->version))
            continue;
        buf_str(&b, separator);
        separator = ",";
        put_stats(&b, lane, sums.entry[i]);
    }
    buf_str(&b, "]}");
    answer_buf(r, &b);
}

static void all_stats(const struct http_request *r, const struct route_parts *parts)
{
    answer_stats(r, NULL, -1);
}

/* An unknown model is 400 here, as with Triton. */
static void model_stats(const struct http_request *r, const struct route_parts *parts)
{
    struct err e = { "" };
    struct str version = parts->count > 1 ? parts->at[1] : STR("");
    status code;
    struct flow *flow = lane_flow(r->conn->lane, http_decoded(r, parts->at[0]), version, &code, &e);
    if (flow == NULL) {
        char words[ERR_TEXT_MAX + 64];
        snprintf(words, sizeof(words), "requested model '%.*s' is not available: %s",
                 STR_ARG(parts->at[0]), e.text);
        http_answer_error(r, 400, words);
        return;
    }
    answer_stats(r, flow_name(flow), version.n > 0 ? flow_version(flow) : -1);
}

// clang-format off
const struct route oip_routes[] = {
    { "POST", "/v2/models/*/infer",             ACCESS_INFER,    infer },
    { "POST", "/v2/models/*/versions/*/infer",  ACCESS_INFER,    infer },
    { "GET",  "/v2/health/live",                ACCESS_HEALTH,   live },
    { "GET",  "/v2/health/ready",               ACCESS_HEALTH,   ready },
    { "GET",  "/v2",                            ACCESS_METADATA, server_metadata },
    { "GET",  "/v2/",                           ACCESS_METADATA, server_metadata },
    { "GET",  "/v2/models/stats",               ACCESS_METRICS,  all_stats },
    { "GET",  "/v2/models/*/stats",             ACCESS_METRICS,  model_stats },
    { "GET",  "/v2/models/*/versions/*/stats",  ACCESS_METRICS,  model_stats },
    { "GET",  "/v2/models/*",                   ACCESS_METADATA, model_metadata },
    { "GET",  "/v2/models/*/versions/*",        ACCESS_METADATA, model_metadata },
    { "GET",  "/v2/models/*/ready",             ACCESS_METADATA, model_ready },
    { "GET",  "/v2/models/*/versions/*/ready",  ACCESS_METADATA, model_ready },
    { "GET",  "/v2/models/*/config",            ACCESS_METADATA, model_config },
    { "GET",  "/v2/models/*/versions/*/config", ACCESS_METADATA, model_config },
    { 0 },
};
// clang-format on
