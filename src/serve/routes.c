/* What each URL means: one row a path. '*' stands for one part of it. */
#include "base/clock.h"
#include "proto/general_model.h"
#include "serve/crew.h"
#include "serve/manage.h"
#include "serve/trace_http.h"

#include <stdio.h>
#include <string.h>

/* ---- inference ---- */

/* Everything that is not said to be protobuf is JSON, as brpc has it. */
static void general(const struct http_request *r, const struct route_parts *parts)
{
    struct err e = { "" };
    status code;
    struct flow *flow = lane_first_flow(r->conn->lane, &code, &e);
    if (flow == NULL) {
        http_answer_error(r, status_http(code), e.text);
        return;
    }
    struct str type = http_media_type(r->head);
    if (str_eq_nocase(type, STR("application/proto")))
        http_infer(r, flow, &format_general_pb, "application/proto");
    else if (str_eq_nocase(type, STR("application/x-protobuf")))
        http_infer(r, flow, &format_general_pb, "application/x-protobuf");
    else
        http_infer(r, flow, &format_general_json, "application/json");
}

static void prediction(const struct http_request *r, const struct route_parts *parts)
{
    struct err e = { "" };
    status code;
    struct flow *flow = lane_flow(r->conn->lane, http_decoded(r, parts->at[0]), STR(""), &code, &e);
    if (flow != NULL)
        http_infer(r, flow, &format_predict, "application/json");
    else
        http_answer_error(r, status_http(code), e.text);
}

// clang-format off
static const struct route routes[] = {
    { "POST", "/GeneralModelService/inference",       ACCESS_INFER,    general },
    { "POST", "/GeneralModelService/debug",           ACCESS_INFER,    general },
    { "POST", "/" GENERAL_MODEL_SERVICE "/inference", ACCESS_INFER,    general },
    { "POST", "/" GENERAL_MODEL_SERVICE "/debug",     ACCESS_INFER,    general },
    { "POST", "/*/prediction",                        ACCESS_INFER,    prediction },
    { "POST", "/v2/repository/index",                 ACCESS_METADATA, manage_index },
    { "POST", "/v2/repository/*/index",               ACCESS_ADMIN,    manage_named },
    { "POST", "/v2/repository/*/models/*/load",       ACCESS_ADMIN,    manage_named },
    { "POST", "/v2/repository/*/models/*/unload",     ACCESS_ADMIN,    manage_named },
    { "POST", "/v2/repository/models/*/load",         ACCESS_ADMIN,    manage_load },
    { "POST", "/v2/repository/models/*/unload",       ACCESS_ADMIN,    manage_unload },
    { "POST", "/v2/repository/models/*/rollback",     ACCESS_ADMIN,    manage_rollback },
    { "POST", "/v2/repository/models/*/label",        ACCESS_ADMIN,    manage_label },
    { "GET",  "/debug/trace",                         ACCESS_METADATA, trace_live },
    { "GET",  "/v2/repository/traffic",               ACCESS_ADMIN,    manage_traffic_list },
    { "POST", "/v2/repository/models/*/traffic",      ACCESS_ADMIN,    manage_traffic },
    { "POST", "/v2/repository/models/*/outcome",      ACCESS_ADMIN,    manage_outcome },
    { 0 },
};
// clang-format on

/* ---- finding one ---- */

/* The tables, those with the hottest rows first. */
static const struct route *const tables[] = { oip_routes,      routes,         tfs_routes,
                                              oip_more_routes, metrics_routes, page_routes,
                                              crew_routes,     home_routes };

/* Whether path is pattern, in which a '*' takes a part: one byte at least, and no slash. */
static bool matches(const char *pattern, struct str path, struct route_parts *parts)
{
    const char *p = path.p, *end = p + path.n;
    parts->count = 0;
    for (; *pattern != '\0'; pattern++) {
        if (*pattern != '*') {
            if (p == end || *p++ != *pattern)
                return false;
            continue;
        }
        const char *from = p;
        while (p < end && *p != '/')
            p++;
        if (p == from)
            return false;
        parts->at[parts->count++] = (struct str){ from, (size_t)(p - from) };
    }
    return p == end;
}

static bool method_fits(const struct route *route, struct str method)
{
    return str_is(method, route->method) ||
           (str_is(method, "HEAD") && strcmp(route->method, "GET") == 0);
}

/* ---- paths and methods that are none ---- */

#define SHOWN_BYTES 300 /* of a path, in words */

static struct str shown(struct str path)
{
    return (struct str){ path.p, path.n < SHOWN_BYTES ? path.n : SHOWN_BYTES };
}

/* Each family of paths has its own words for what it does not have; allow: what the path does take, or NULL where there is none such. */
static void words_of_oip(const struct http_request *r, const char *allow, char *words, size_t size)
{
    struct str path = shown(r->head->path);
    if (allow == NULL)
        snprintf(words, size, "Not Found: there is no '%.*s'; GET / lists what there is",
                 STR_ARG(path));
    else
        snprintf(words, size, "Method Not Allowed: '%.*s' takes %s", STR_ARG(path), allow);
}

static void words_of_tfs(const struct http_request *r, const char *allow, char *words, size_t size)
{
    snprintf(words, size, "Malformed request: %.*s %.*s", STR_ARG(r->head->method),
             STR_ARG(shown(r->head->path)));
}

static void words_of_brpc(const struct http_request *r, const char *allow, char *words, size_t size)
{
    if (allow == NULL)
        snprintf(words, size, "Fail to find method on '%.*s'; GET / lists what there is\n",
                 STR_ARG(shown(r->head->path)));
    else
        snprintf(words, size, "method %.*s is not allowed here, expected %s\n",
                 STR_ARG(r->head->method), allow);
}

// clang-format off
static const struct family {
    const char *prefix;
    bool json;
    int code; /* for both; 0: 404 and 405 */
    void (*words)(const struct http_request *r, const char *allow, char *words, size_t size);
} families[] = {
    { "/v2",        true,  0,   words_of_oip },
    { "/v1/models", true,  400, words_of_tfs },
    { "/",          false, 0,   words_of_brpc },
    { "",           false, 0,   words_of_brpc },
};
// clang-format on

static void answer_none(const struct http_request *r, const char *allow)
{
    const struct family *f = families;
    char extra[64] = "", words[ERR_TEXT_MAX];
    struct buf b;
    while (!str_starts(r->head->path, f->prefix))
        f++;
    if (allow != NULL)
        snprintf(extra, sizeof(extra), "Allow: %s\r\n", allow);
    else if (!f->json)
        snprintf(extra, sizeof(extra), "x-bd-error-code: %d\r\n", status_brpc(NOT_FOUND));
    f->words(r, allow, words, sizeof(words));
    buf_init(&b, LIMIT_HTTP_HEADER_BYTES);
    if (f->json)
        http_put_error(&b, words);
    else
        buf_str(&b, words);
    http_answer(
        r, &(struct http_answer){
               .code = f->code != 0 ? f->code : status_http(allow != NULL ? BAD_METHOD : NOT_FOUND),
               .content_type = f->json ? "application/json" : "text/plain",
               .extra = extra,
               .body = buf_view(&b) });
    buf_deinit(&b);
}

/* What a path may be asked with, as rows are met that have it. */
struct methods {
    bool get, post;
};

static const char *methods_text(struct methods m)
{
    return m.get && m.post ? "GET, HEAD, POST, OPTIONS"
           : m.get         ? "GET, HEAD, OPTIONS"
           : m.post        ? "POST, OPTIONS"
                           : NULL;
}

static void note_methods(struct methods *m, const struct route *row)
{
    m->get = m->get || strcmp(row->method, "GET") == 0;
    m->post = m->post || strcmp(row->method, "POST") == 0;
}

/* false: answered. */
static bool is_allowed(const struct http_request *r, enum access group)
{
    struct err e;
    if (access_is_open(r->conn, group))
        return true;
    struct str key = access_key(http_header_find(r->head, "Authorization"),
                                http_header_find(r->head, "X-API-Key"));
    status s = access_check(r->conn, group, key, &e);
    if (s != OK)
        http_answer_error(r, status_http(s), e.text);
    return s == OK;
}

/* true: it was answered. */
static bool route_by(const struct route *row, const struct http_request *r, struct methods *allow)
{
    struct route_parts parts;
    for (; row->method != NULL; row++) {
        if (!matches(row->pattern, r->head->path, &parts))
            continue;
        if (method_fits(row, r->head->method)) {
            if (is_allowed(r, row->group))
                row->handle(r, &parts);
            return true;
        }
        note_methods(allow, row);
    }
    return false;
}

/* What may be asked here; with --cors-origin also what a browser wants to know before it asks. */
static void answer_options(const struct http_request *r)
{
    struct route_parts parts;
    char extra[256];
    bool all = str_is(r->head->path, "*");
    struct methods m = { all, all };
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        for (const struct route *row = tables[i]; row->method != NULL; row++)
            if (matches(row->pattern, r->head->path, &parts))
                note_methods(&m, row);
    const char *methods = methods_text(m);
    if (methods == NULL) {
        answer_none(r, NULL);
        return;
    }
    bool cors = r->conn->lane->server->options.cors_origin != NULL;
    snprintf(extra, sizeof(extra), "Allow: %s\r\n%s%s%s", methods,
             cors ? "Access-Control-Allow-Methods: " : "", cors ? methods : "",
             cors ? "\r\nAccess-Control-Allow-Headers: *\r\nAccess-Control-Max-Age: 86400\r\n"
                  : "");
    http_answer(r, &(struct http_answer){ .code = 204, .extra = extra });
}

/* What is asked beforehand (OPTIONS), and paths that are none, take no key. */
static void answer_by_table(const struct http_request *r)
{
    struct methods allow = { false, false };
    if (str_is(r->head->method, "OPTIONS")) {
        answer_options(r);
        return;
    }
    if (crew_takes(r)) { /* whose path is a service's name, and so in no table */
        if (is_allowed(r, ACCESS_INFER))
            crew_answer(r);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        if (route_by(tables[i], r, &allow))
            return;
    answer_none(r, methods_text(allow));
}

void route_request(const struct http_request *r)
{
    struct lane *lane = r->conn->lane; /* r's own may end with the answer */
    lane->asking = r->head;
    if (lane->server->access != NULL)
        lane->route_ns = clock_ns();
    answer_by_table(r);
    lane->asking = NULL;
    arena_reset(&lane->scratch);
}
