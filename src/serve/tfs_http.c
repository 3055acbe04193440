/* TensorFlow Serving's REST interface: what its clients ask, and its words for what goes wrong. */
#include "codec/json.h"
#include "proto/flat.h"
#include "proto/tfs.h"
#include "serve/http.h"

#include <stdio.h>

#define REPLY_BYTES ((size_t)16 << 20)

/* ---- which model ---- */

/* A path's model with its version or label, from which the verb behind the colon has been cut. */
struct place {
    struct str name, version, verb;
    bool label;
};

static struct place place_of(const struct http_request *r, const struct route_parts *parts,
                             bool label)
{
    struct place p = { .label = label };
    struct str last = parts->at[parts->count - 1], head;
    str_cut(&last, ':', &head);
    p.verb = last;
    p.name = http_decoded(r, parts->count > 1 ? parts->at[0] : head);
    p.version = parts->count > 1 ? http_decoded(r, head) : STR("");
    return p;
}

static void answer_malformed(const struct http_request *r)
{
    char words[ERR_TEXT_MAX];
    snprintf(words, sizeof(words), "Malformed request: %.*s %.*s", STR_ARG(r->head->method),
             STR_ARG(r->head->path));
    http_answer_error(r, 400, words);
}

static void answer_unknown(const struct http_request *r, const struct place *p, status code,
                           const struct err *why)
{
    char words[2 * ERR_TEXT_MAX];
    if (code != NOT_FOUND)
        snprintf(words, sizeof(words), "%s", why->text);
    else if (p->label)
        snprintf(words, sizeof(words), "Unrecognized servable version label: %.*s",
                 STR_ARG(p->version));
    else if (p->version.n > 0)
        snprintf(words, sizeof(words), "Servable not found for request: Specific(%.*s, %.*s)",
                 STR_ARG(p->name), STR_ARG(p->version));
    else
        snprintf(words, sizeof(words), "Servable not found for request: Latest(%.*s)",
                 STR_ARG(p->name));
    http_answer_error(r, status_http(code), words);
}

/* NULL: answered. */
static struct flow *find(const struct http_request *r, const struct place *p)
{
    struct err e = { "" };
    int64_t number;
    status code;
    if (p->version.n > 0 && str_to_i64(p->version, &number) == p->label) {
        answer_malformed(r);
        return NULL;
    }
    struct flow *flow = lane_flow(r->conn->lane, p->name, p->version, &code, &e);
    if (flow == NULL)
        answer_unknown(r, p, code, &e);
    return flow;
}

/* ---- inference ---- */

static status decode(struct call *c, struct str body, struct infer_request *out, struct err *e)
{
    int count;
    const struct port *port = flow_inputs(c->flow, &count);
    struct call_ports ports = call_ports(c, port, count);
    return tfs_request_from_json(body, &ports, &c->arena, c->form, out, e);
}

static status encode(struct call *c, const struct infer_reply *r, struct buf *out, struct err *e)
{
    struct infer_output all = reply_flat(r, &c->arena);
    return tfs_reply_to_json(c->form, &(struct infer_reply){ .output = &all, .output_count = 1 },
                             out, e);
}

static const struct call_format format_tfs = { "tfs", decode, encode, true };

static bool kind_of(struct str verb, enum tfs_kind *out)
{
    static const char *const verbs[] = {
        [TFS_PREDICT] = "predict", [TFS_CLASSIFY] = "classify", [TFS_REGRESS] = "regress"
    };
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (str_is(verb, verbs[i])) {
            *out = (enum tfs_kind)i;
            return true;
        }
    return false;
}

static void infer(const struct http_request *r, const struct place *p)
{
    enum tfs_kind kind;
    if (!kind_of(p->verb, &kind)) {
        answer_malformed(r);
        return;
    }
    struct flow *flow = find(r, p);
    struct call *call = flow != NULL ? http_begin(r, flow, &format_tfs, "application/json") : NULL;
    if (call == NULL)
        return;
    struct tfs_form *form = arena_zalloc(&call->arena, sizeof(*form));
    form->kind = kind;
    call->form = form;
    http_start(r, call);
}

static void infer_version(const struct http_request *r, const struct route_parts *parts)
{
    struct place p = place_of(r, parts, false);
    infer(r, &p);
}

static void infer_label(const struct http_request *r, const struct route_parts *parts)
{
    struct place p = place_of(r, parts, true);
    infer(r, &p);
}

/* ---- states ---- */

static const char *state_text(model_state s)
{
    static const char *const texts[] = {
        [MODEL_WAITING] = "START",       [MODEL_LOADING] = "LOADING", [MODEL_READY] = "AVAILABLE",
        [MODEL_UNLOADING] = "UNLOADING", [MODEL_UNAVAILABLE] = "END",
    };
    return (size_t)s < ARRAY_LEN(texts) && texts[s] != NULL ? texts[s] : "UNKNOWN";
}

static void put_state(struct buf *b, const struct served *v)
{
    bool failed = v->state == MODEL_UNAVAILABLE && v->reason[0] != '\0';
    buf_printf(b,
               "{\"version\":\"%lld\",\"state\":\"%s\",\"status\":{\"error_code\":\"%s\","
               "\"error_message\":",
               (long long)v->version, state_text(v->state), failed ? "UNKNOWN" : "OK");
    json_put_string(b, str_of(v->reason));
    buf_str(b, "}}");
}

static void answer_states(const struct http_request *r, const struct place *p)
{
    const struct served_model *m = table_model(lane_table(r->conn->lane), p->name);
    const struct served *only = NULL;
    struct err e = { "" };
    struct buf b;
    const char *separator = "";
    if (p->verb.n > 0) { /* ":predict" is posted */
        answer_malformed(r);
        return;
    }
    if (m != NULL && p->label &&
        table_find(lane_table(r->conn->lane), p->name, p->version, &only, &e) != OK)
        m = NULL;
    int64_t number = only != NULL ? only->version : -1;
    if (m == NULL || (!p->label && p->version.n > 0 && !str_to_i64(p->version, &number))) {
        answer_unknown(r, p, NOT_FOUND, &e);
        return;
    }
    buf_init(&b, REPLY_BYTES);
    buf_str(&b, "{\"model_version_status\":[");
    for (int i = 0; i < m->version_count; i++) {
        if (number >= 0 && m->version[i].version != number)
            continue;
        buf_str(&b, separator);
        separator = ",";
        put_state(&b, &m->version[i]);
    }
    buf_str(&b, "]}");
    if (*separator != '\0')
        http_answer_json(r, 200, &b);
    else
        answer_unknown(r, p, NOT_FOUND, &e);
    buf_deinit(&b);
}

static void states(const struct http_request *r, const struct route_parts *parts)
{
    struct place p = place_of(r, parts, false);
    answer_states(r, &p);
}

static void states_label(const struct http_request *r, const struct route_parts *parts)
{
    struct place p = place_of(r, parts, true);
    answer_states(r, &p);
}

/* ---- metadata ---- */

static const char *tf_type(dtype d)
{
    switch (d) {
    case DTYPE_F32: return "DT_FLOAT";
    case DTYPE_F64: return "DT_DOUBLE";
    case DTYPE_F16: return "DT_HALF";
    case DTYPE_BF16: return "DT_BFLOAT16";
    case DTYPE_I64: return "DT_INT64";
    case DTYPE_I32: return "DT_INT32";
    case DTYPE_I16: return "DT_INT16";
    case DTYPE_I8: return "DT_INT8";
    case DTYPE_U64: return "DT_UINT64";
    case DTYPE_U32: return "DT_UINT32";
    case DTYPE_U16: return "DT_UINT16";
    case DTYPE_U8: return "DT_UINT8";
    case DTYPE_BOOL: return "DT_BOOL";
    case DTYPE_BYTES: return "DT_STRING";
    case DTYPE_C64: return "DT_COMPLEX64";
    case DTYPE_C128: return "DT_COMPLEX128";
    }
    return "DT_INVALID";
}

static void put_ports(struct buf *b, const struct port *port, int count)
{
    for (int i = 0; i < count; i++) {
        buf_str(b, i > 0 ? "," : "");
        json_put_string(b, str_of(port[i].alias));
        buf_printf(b, ":{\"dtype\":\"%s\",\"tensor_shape\":{\"dim\":[", tf_type(port[i].dtype));
        for (int k = 0; k < port[i].shape.rank; k++)
            buf_printf(b, "%s{\"size\":\"%lld\",\"name\":\"\"}", k > 0 ? "," : "",
                       (long long)port[i].shape.dim[k]);
        buf_str(b, "],\"unknown_rank\":false},\"name\":");
        json_put_string(b, str_of(port[i].name));
        buf_byte(b, '}');
    }
}

static void answer_metadata(const struct http_request *r, const struct place *p)
{
    struct buf b;
    int inputs, outputs;
    struct flow *flow = find(r, p);
    if (flow == NULL)
        return;
    const struct port *in = flow_inputs(flow, &inputs), *out = flow_outputs(flow, &outputs);
    buf_init(&b, REPLY_BYTES);
    buf_str(&b, "{\"model_spec\":{\"name\":");
    json_put_string(&b, str_of(flow_name(flow)));
    buf_printf(&b,
               ",\"signature_name\":\"\",\"version\":\"%lld\"},\"metadata\":{\"signature_def\":"
               "{\"signature_def\":{\"serving_default\":{\"inputs\":{",
               (long long)flow_version(flow));
    put_ports(&b, in, inputs);
    buf_str(&b, "},\"outputs\":{");
    put_ports(&b, out, outputs);
    buf_str(&b, "},\"method_name\":\"tensorflow/serving/predict\"}}}}}");
    http_answer_json(r, 200, &b);
    buf_deinit(&b);
}

static void metadata(const struct http_request *r, const struct route_parts *parts)
{
    struct place p = place_of(r, parts, false);
    answer_metadata(r, &p);
}

static void metadata_label(const struct http_request *r, const struct route_parts *parts)
{
    struct place p = place_of(r, parts, true);
    answer_metadata(r, &p);
}

static void no_name(const struct http_request *r, const struct route_parts *parts)
{
    http_answer_error(r, 400, "Missing model name in request.");
}

// clang-format off
const struct route tfs_routes[] = {
    { "POST", "/v1/models/*",                     ACCESS_INFER,    infer_version },
    { "POST", "/v1/models/*/versions/*",          ACCESS_INFER,    infer_version },
    { "POST", "/v1/models/*/labels/*",            ACCESS_INFER,    infer_label },
    { "GET",  "/v1/models/*",                     ACCESS_METADATA, states },
    { "GET",  "/v1/models/*/versions/*",          ACCESS_METADATA, states },
    { "GET",  "/v1/models/*/labels/*",            ACCESS_METADATA, states_label },
    { "GET",  "/v1/models/*/metadata",            ACCESS_METADATA, metadata },
    { "GET",  "/v1/models/*/versions/*/metadata", ACCESS_METADATA, metadata },
    { "GET",  "/v1/models/*/labels/*/metadata",   ACCESS_METADATA, metadata_label },
    { "GET",  "/v1/models",                       ACCESS_METADATA, no_name },
    { "GET",  "/v1/models/",                      ACCESS_METADATA, no_name },
    { 0 },
};
// clang-format on
