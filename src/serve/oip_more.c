/* Triton's smaller extensions over HTTP: generate, logging and trace settings, system shared memory. */
#include "base/limits.h"
#include "codec/json.h"
#include "serve/oip_http.h"
#include "serve/settings.h"
#include "serve/shm.h"

#define REPLY_BYTES ((size_t)1 << 20)

/* ---- generate ---- */

static status decode(struct call *c, struct str body, struct infer_request *out, struct err *e)
{
    struct oip_call *o = c->form;
    TRY(oip_request_from_generate(body, &o->model, &c->arena, &o->request, e));
    return oip_call_bind(c, out, e);
}

static void put_reply(struct call *c, const struct oip_reply *reply, struct buf *out)
{
    oip_reply_to_generate(reply, out);
}

/* One event: our models give one response. */
static void put_event(struct call *c, const struct oip_reply *reply, struct buf *out)
{
    buf_str(out, "data: ");
    oip_reply_to_generate(reply, out);
    buf_str(out, "\n\n");
}

static status encode(struct call *c, const struct infer_reply *r, struct buf *out, struct err *e)
{
    return oip_call_encode(c, r, out, put_reply, e);
}

static status encode_stream(struct call *c, const struct infer_reply *r, struct buf *out,
                            struct err *e)
{
    return oip_call_encode(c, r, out, put_event, e);
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

/* One member's value as a parameter; null is a string without text. */
static struct oip_param setting_value(struct setting *s)
{
    struct oip_param p = { .key = s->key, .kind = OIP_STRING, .text = { NULL, 0 } };
    switch (json_peek(&s->j)) {
    case JSON_NULL: json_null(&s->j); break;
    case JSON_BOOL:
        p.kind = OIP_BOOL;
        p.integer = json_bool(&s->j);
        break;
    case JSON_NUMBER:
        p.kind = OIP_INT;
        p.integer = json_i64(&s->j);
        break;
    default: p.text = json_string(&s->j);
    }
    return p;
}

static void put_setting(struct buf *b, const struct oip_param *p, bool as_list)
{
    json_put_string(b, p->key);
    buf_str(b, as_list ? ":[" : ":");
    if (p->kind == OIP_BOOL)
        buf_str(b, p->integer ? "true" : "false");
    else if (p->kind == OIP_STRING)
        json_put_string(b, p->text);
    else
        json_put_i64(b, p->integer);
    if (as_list)
        buf_byte(b, ']');
}

static void answer_settings(const struct http_request *r, const struct setting_room *all)
{
    struct buf b;
    buf_init(&b, REPLY_BYTES);
    for (int i = 0; i < all->count; i++) {
        buf_byte(&b, i == 0 ? '{' : ',');
        put_setting(&b, &all->at[i], str_is(all->at[i].key, "trace_level"));
    }
    buf_byte(&b, '}');
    http_answer_json(r, 200, &b);
    buf_deinit(&b);
}

/* ---- logging ---- */

static void get_logging(const struct http_request *r, const struct route_parts *parts)
{
    struct setting_room all;
    log_settings(&all);
    answer_settings(r, &all);
}

static void set_logging(const struct http_request *r, const struct route_parts *parts)
{
    struct setting s = settings_of(r);
    struct err e = { "" };
    struct log_change c;
    bool failed = false;
    log_change_begin(&c);
    while (next_setting(r, &s, &failed)) {
        struct oip_param value = setting_value(&s);
        status code = json_failed(&s.j) ? OK : log_change_take(&c, &value, &e);
        if (code == OK)
            continue;
        http_answer_error(r, status_http(code), e.text);
        return;
    }
    if (failed)
        return;
    log_change_apply(&c);
    get_logging(r, parts);
}

/* ---- traces: one setting for all models ---- */

static void answer_trace(const struct http_request *r)
{
    struct setting_room all;
    trace_settings(r->conn->lane->server, &all);
    answer_settings(r, &all);
}

static void get_trace(const struct http_request *r, const struct route_parts *parts)
{
    if (parts->count == 0 || oip_http_find(r, parts) != NULL)
        answer_trace(r);
}

/* A string, a list of strings, or null. */
static status take_trace(const struct server *server, struct setting *s, struct trace_change *c,
                         struct err *e)
{
    status code = OK;
    if (json_peek(&s->j) != JSON_ARRAY) {
        struct oip_param p = setting_value(s);
        if (p.kind != OIP_STRING)
            return err_set(e, INVALID, "%.*s: expected a string", STR_ARG(s->key));
        return json_failed(&s->j) ? OK : trace_change_take(server, c, s->key, p.text, e);
    }
    for (json_array(&s->j); json_item(&s->j) && code == OK;) {
        struct str value = json_string(&s->j);
        if (!json_failed(&s->j))
            code = trace_change_take(server, c, s->key, value, e);
    }
    return code;
}

static void set_trace(const struct http_request *r, const struct route_parts *parts)
{
    struct server *server = r->conn->lane->server;
    struct setting s = settings_of(r);
    struct err e = { "" };
    struct trace_change c;
    bool failed = false;
    status code = OK;
    if (parts->count > 0 && oip_http_find(r, parts) == NULL)
        return;
    trace_change_begin(server, &c);
    while (code == OK && next_setting(r, &s, &failed))
        code = take_trace(server, &s, &c, &e);
    if (failed)
        return;
    if (code == OK)
        code = trace_change_apply(server, &c, &e);
    if (code == OK)
        answer_trace(r);
    else
        http_answer_error(r, status_http(code), e.text);
}

/* ---- system shared memory ---- */

/* NULL: answered. */
static struct shm_table *regions_of(const struct http_request *r)
{
    struct shm_table *t = r->conn->lane->server->regions;
    if (t == NULL)
        http_answer_error(r, 501, SHM_NOT_ALLOWED);
    return t;
}

struct region_list {
    struct buf *buf;
    const char *separator;
};

static void put_region(void *arg, const struct shm_region *r)
{
    struct region_list *list = arg;
    buf_str(list->buf, list->separator);
    list->separator = ",";
    buf_str(list->buf, "{\"name\":");
    json_put_string(list->buf, str_of(r->name));
    buf_str(list->buf, ",\"key\":");
    json_put_string(list->buf, str_of(r->key));
    buf_printf(list->buf, ",\"offset\":%llu,\"byte_size\":%llu}", (unsigned long long)r->offset,
               (unsigned long long)r->bytes);
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
    struct region_list list = { &b, "" };
    buf_byte(&b, '[');
    status s = shm_each(t, name, put_region, &list, &e);
    buf_byte(&b, ']');
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
        http_answer_error(r, 501, SHM_NO_DEVICE);
    else
        http_answer(r, &(struct http_answer){
                           .code = 200, .content_type = "application/json", .body = STR("[]") });
}

// clang-format off
const struct route oip_more_routes[] = {
    { "POST", "/v2/models/*/generate",                      ACCESS_INFER,    generate },
    { "POST", "/v2/models/*/versions/*/generate",           ACCESS_INFER,    generate },
    { "POST", "/v2/models/*/generate_stream",               ACCESS_INFER,    generate_stream },
    { "POST", "/v2/models/*/versions/*/generate_stream",    ACCESS_INFER,    generate_stream },
    { "GET",  "/v2/logging",                                ACCESS_METADATA, get_logging },
    { "POST", "/v2/logging",                                ACCESS_ADMIN,    set_logging },
    { "GET",  "/v2/trace/setting",                          ACCESS_METADATA, get_trace },
    { "POST", "/v2/trace/setting",                          ACCESS_ADMIN,    set_trace },
    { "GET",  "/v2/models/*/trace/setting",                 ACCESS_METADATA, get_trace },
    { "POST", "/v2/models/*/trace/setting",                 ACCESS_ADMIN,    set_trace },
    { "GET",  "/v2/systemsharedmemory/status",              ACCESS_METADATA, shm_status },
    { "GET",  "/v2/systemsharedmemory/region/*/status",     ACCESS_METADATA, shm_status },
    { "POST", "/v2/systemsharedmemory/region/*/register",   ACCESS_ADMIN,    shm_register_region },
    { "POST", "/v2/systemsharedmemory/region/*/unregister", ACCESS_ADMIN,    shm_unregister_region },
    { "POST", "/v2/systemsharedmemory/unregister",          ACCESS_ADMIN,    shm_unregister_region },
    { "GET",  "/v2/cudasharedmemory/status",                ACCESS_METADATA, no_cuda },
    { "POST", "/v2/cudasharedmemory/unregister",            ACCESS_ADMIN,    no_cuda },
    { "POST", "/v2/cudasharedmemory/region/*/register",     ACCESS_ADMIN,    no_cuda },
    { 0 },
};
// clang-format on
