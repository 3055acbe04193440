/* Triton's smaller extensions over HTTP: generate, logging and trace settings, system shared memory. */
#include "base/limits.h"
#include "base/log.h"
#include "codec/json.h"
#include "serve/note.h"
#include "serve/oip_http.h"
#include "serve/shm.h"

#include <stdio.h>
#include <string.h>

#define REPLY_BYTES ((size_t)1 << 20)

/* ---- generate ---- */

static status decode(struct call *c, struct str body, struct infer_request *out, struct err *e)
{
    struct oip_call *o = c->form;
    TRY(oip_request_from_generate(body, &o->model, &c->arena, &o->request, e));
    return oip_call_bind(c, out, e);
}

static status encode(struct call *c, const struct infer_reply *r, struct buf *out, struct err *e)
{
    struct oip_call *o = c->form;
    TRY(oip_call_outputs(c, r, e));
    oip_reply_to_generate(&(struct oip_reply){ .id = o->request.id,
                                               .model = &o->model,
                                               .output = o->output,
                                               .output_count = o->output_count },
                          out);
    return OK;
}

/* One event: our models give one response. */
static status encode_stream(struct call *c, const struct infer_reply *r, struct buf *out,
                            struct err *e)
{
    buf_str(out, "data: ");
    TRY(encode(c, r, out, e));
    buf_str(out, "\n\n");
    return OK;
}

static const struct call_format format_generate = { "generate", decode, encode, true };
static const struct call_format format_stream = { "generate_stream", decode, encode_stream, true };

static void start_generate(const struct http_request *r, const struct route_parts *parts,
                           const struct call_format *format, const char *content_type)
{
    struct flow *flow = oip_http_find(r, parts);
    struct call *call = flow != NULL ? http_begin(r, flow, format, content_type) : NULL;
    if (call == NULL)
        return;
    oip_call_new(call);
    http_start(r, call);
}

static void generate(const struct http_request *r, const struct route_parts *parts)
{
    start_generate(r, parts, &format_generate, "application/json");
}

static void generate_stream(const struct http_request *r, const struct route_parts *parts)
{
    start_generate(r, parts, &format_stream, "text/event-stream; charset=utf-8");
}

/* ---- settings: objects of a few members ---- */

struct setting {
    struct json j;
    struct str key;
};

/* To the next member of the body's object; false at its end, or at a fault, which is answered. */
static bool next_setting(const struct http_request *r, struct setting *s, bool *failed)
{
    struct err e = { "" };
    if (json_key(&s->j, &s->key))
        return true;
    *failed = json_end(&s->j, &e) != OK;
    if (*failed)
        http_answer_error(r, 400, e.text);
    return false;
}

static struct setting settings_of(const struct http_request *r)
{
    struct setting s;
    struct str body = str_trim(r->body);
    json_init(&s.j, body.n > 0 ? body : STR("{}"), &r->conn->lane->scratch);
    json_object(&s.j);
    return s;
}

/* ---- logging ---- */

static void answer_logging(const struct http_request *r)
{
    log_level level = log_get_level();
    struct buf b;
    buf_init(&b, REPLY_BYTES);
    buf_printf(&b,
               "{\"log_file\":\"\",\"log_info\":%s,\"log_warning\":%s,\"log_error\":true,"
               "\"log_verbose_level\":%d,\"log_format\":\"%s\"}",
               level <= LOG_INFO ? "true" : "false", level <= LOG_WARN ? "true" : "false",
               level == LOG_DEBUG, log_get_format() == LOG_JSON ? "json" : "default");
    http_answer_json(r, 200, &b);
    buf_deinit(&b);
}

struct levels {
    bool info, warning;
    uint64_t verbose;
};

/* OK, or the answer's code. */
static int take_logging(struct setting *s, struct levels *l, log_format *format)
{
    if (str_is(s->key, "log_info")) {
        l->info = json_bool(&s->j);
    } else if (str_is(s->key, "log_warning")) {
        l->warning = json_bool(&s->j);
    } else if (str_is(s->key, "log_verbose_level")) {
        l->verbose = json_u64(&s->j);
    } else if (str_is(s->key, "log_error")) {
        json_bool(&s->j);
    } else if (str_is(s->key, "log_format")) {
        struct str name = json_string(&s->j);
        *format = str_is(name, "json") ? LOG_JSON : LOG_TEXT;
        if (!str_is(name, "json") && !str_is(name, "default") && !str_is(name, "ISO8601"))
            return 503;
    } else {
        json_skip(&s->j);
        return str_is(s->key, "log_file") ? 501 : 400;
    }
    return OK;
}

static void set_logging(const struct http_request *r, const struct route_parts *parts)
{
    struct setting s = settings_of(r);
    struct levels l = { log_get_level() <= LOG_INFO, log_get_level() <= LOG_WARN,
                        log_get_level() == LOG_DEBUG };
    log_format format = log_get_format();
    bool failed = false;
    while (next_setting(r, &s, &failed)) {
        int code = take_logging(&s, &l, &format);
        if (code == OK)
            continue;
        http_answer_error(r, code,
                          code == 503 ? "log_format: expected \"default\", \"ISO8601\" or \"json\""
                          : code == 501 ? "log_file cannot be changed while the server runs"
                                        : "unknown setting; there are log_info, log_warning, "
                                          "log_error, log_verbose_level and log_format");
        return;
    }
    if (failed)
        return;
    log_set_level(l.verbose > 0 ? LOG_DEBUG : l.info ? LOG_INFO : l.warning ? LOG_WARN : LOG_ERROR);
    log_set_format(format);
    answer_logging(r);
}

static void get_logging(const struct http_request *r, const struct route_parts *parts)
{
    answer_logging(r);
}

/* ---- traces: one setting for all models ---- */

static void answer_trace(const struct http_request *r)
{
    struct tracer *t = r->conn->lane->server->tracer;
    int rate = t != NULL ? tracer_rate(t) : 0;
    struct buf b;
    buf_init(&b, REPLY_BYTES);
    buf_printf(&b,
               "{\"trace_level\":[\"%s\"],\"trace_rate\":\"%d\",\"trace_count\":\"-1\","
               "\"log_frequency\":\"0\",\"trace_file\":\"\",\"trace_mode\":\"opentelemetry\"}",
               t != NULL ? "TIMESTAMPS" : "OFF", rate > 0 ? rate : 1000);
    http_answer_json(r, 200, &b);
    buf_deinit(&b);
}

static void get_trace(const struct http_request *r, const struct route_parts *parts)
{
    if (parts->count == 0 || oip_http_find(r, parts) != NULL)
        answer_trace(r);
}

/* Values are strings, or lists of one. */
static struct str setting_text(struct json *j)
{
    struct str text = { "", 0 };
    if (json_peek(j) == JSON_NULL) {
        json_null(j);
        return text;
    }
    if (json_peek(j) != JSON_ARRAY)
        return json_string(j);
    for (json_array(j); json_item(j);)
        text = json_string(j);
    return text;
}

static void set_trace(const struct http_request *r, const struct route_parts *parts)
{
    struct tracer *t = r->conn->lane->server->tracer;
    struct setting s = settings_of(r);
    bool failed = false, off = false;
    uint64_t rate = t != NULL ? (uint64_t)tracer_rate(t) : 0;
    if (parts->count > 0 && oip_http_find(r, parts) == NULL)
        return;
    while (next_setting(r, &s, &failed)) {
        struct str text = setting_text(&s.j);
        if (str_is(s.key, "trace_file")) {
            http_answer_error(r, 501, "trace_file cannot be changed while the server runs");
            return;
        }
        if (str_is(s.key, "trace_rate") && text.n > 0 && !str_to_u64(text, &rate))
            json_fail(&s.j, "trace_rate is no number in a string");
        if (str_is(s.key, "trace_level"))
            off = str_is(text, "OFF");
    }
    if (failed)
        return;
    if (t == NULL && !off) {
        http_answer_error(r, 501, "nothing is traced: start with --trace-file or --trace-endpoint");
        return;
    }
    if (t != NULL)
        tracer_set_rate(t, off || rate > INT32_MAX ? 0 : (int)rate);
    answer_trace(r);
}

/* ---- system shared memory ---- */

/* NULL: answered. */
static struct shm_table *regions_of(const struct http_request *r)
{
    struct shm_table *t = r->conn->lane->server->regions;
    if (t == NULL)
        http_answer_error(r, 501,
                          "this server takes nothing from shared memory; it is allowed by "
                          "--allow-shared-memory");
    return t;
}

static void shm_status(const struct http_request *r, const struct route_parts *parts)
{
    struct shm_table *t = regions_of(r);
    struct str name = { NULL, 0 };
    struct err e = { "" };
    struct buf b;
    if (t == NULL)
        return;
    if (parts->count > 0)
        name = http_decoded(r, parts->at[0]);
    buf_init(&b, REPLY_BYTES);
    status s = shm_put_status(t, name, &b, &e);
    if (s == OK)
        http_answer_json(r, 200, &b);
    else
        http_answer_error(r, status_http(s), e.text);
    buf_deinit(&b);
}

static void shm_register_region(const struct http_request *r, const struct route_parts *parts)
{
    struct shm_table *t = regions_of(r);
    struct setting s = settings_of(r);
    struct str key = { "", 0 };
    struct err e = { "" };
    uint64_t offset = 0, bytes = 0;
    bool failed = false;
    if (t == NULL)
        return;
    while (next_setting(r, &s, &failed)) {
        if (str_is(s.key, "key"))
            key = json_string(&s.j);
        else if (str_is(s.key, "offset"))
            offset = json_u64(&s.j);
        else if (str_is(s.key, "byte_size"))
            bytes = json_u64(&s.j);
        else
            json_skip(&s.j);
    }
    if (failed)
        return;
    status code = shm_register(t, http_decoded(r, parts->at[0]), key, offset, bytes, &e);
    if (code != OK)
        http_answer_error(r, status_http(code), e.text);
    else
        http_answer(r, &(struct http_answer){ .code = 200 });
}

static void shm_unregister_region(const struct http_request *r, const struct route_parts *parts)
{
    struct shm_table *t = regions_of(r);
    if (t == NULL)
        return;
    shm_unregister(t, parts->count > 0 ? http_decoded(r, parts->at[0]) : (struct str){ NULL, 0 });
    http_answer(r, &(struct http_answer){ .code = 200 });
}

static void no_cuda(const struct http_request *r, const struct route_parts *parts)
{
    if (str_is(r->head->method, "POST"))
        http_answer_error(r, 501,
                          "this server runs on the processor: there is no CUDA shared memory");
    else
        http_answer(r, &(struct http_answer){
                           .code = 200, .content_type = "application/json", .body = STR("[]") });
}

// clang-format off
const struct route oip_more_routes[] = {
    { "POST", "/v2/models/*/generate",                        generate },
    { "POST", "/v2/models/*/versions/*/generate",             generate },
    { "POST", "/v2/models/*/generate_stream",                 generate_stream },
    { "POST", "/v2/models/*/versions/*/generate_stream",      generate_stream },
    { "GET",  "/v2/logging",                                  get_logging },
    { "POST", "/v2/logging",                                  set_logging },
    { "GET",  "/v2/trace/setting",                            get_trace },
    { "POST", "/v2/trace/setting",                            set_trace },
    { "GET",  "/v2/models/*/trace/setting",                   get_trace },
    { "POST", "/v2/models/*/trace/setting",                   set_trace },
    { "GET",  "/v2/systemsharedmemory/status",                shm_status },
    { "GET",  "/v2/systemsharedmemory/region/*/status",       shm_status },
    { "POST", "/v2/systemsharedmemory/region/*/register",     shm_register_region },
    { "POST", "/v2/systemsharedmemory/region/*/unregister",   shm_unregister_region },
    { "POST", "/v2/systemsharedmemory/unregister",            shm_unregister_region },
    { "GET",  "/v2/cudasharedmemory/status",                  no_cuda },
    { "POST", "/v2/cudasharedmemory/unregister",              no_cuda },
    { "POST", "/v2/cudasharedmemory/region/*/register",       no_cuda },
    { 0 },
};
// clang-format on
