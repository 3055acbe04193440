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
    struct flow *flow = lane_flow(r->conn->lane, parts->at[0], STR(""), &code, &e);
    if (flow != NULL)
        http_infer(r, flow, &format_predict, "application/json");
    else
        http_answer_error(r, status_http(code), e.text);
}

// clang-format off
static const struct route routes[] = {
    { "POST", "/GeneralModelService/inference",               general },
    { "POST", "/GeneralModelService/debug",                   general },
    { "POST", "/" GENERAL_MODEL_SERVICE "/inference",         general },
    { "POST", "/" GENERAL_MODEL_SERVICE "/debug",             general },
    { "POST", "/*/prediction",                                prediction },
    { "POST", "/v2/repository/index",                         manage_index },
    { "POST", "/v2/repository/models/*/load",                 manage_load },
    { "POST", "/v2/repository/models/*/unload",               manage_unload },
    { "POST", "/v2/repository/models/*/rollback",             manage_rollback },
    { "POST", "/v2/repository/models/*/label",                manage_label },
    { "GET",  "/debug/trace",                                 trace_live },
    { "GET",  "/v2/repository/traffic",                       manage_traffic_list },
    { "POST", "/v2/repository/models/*/traffic",              manage_traffic },
    { "POST", "/v2/repository/models/*/outcome",              manage_outcome },
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

static void answer_bad_method(const struct http_request *r, const char *allow)
{
    char extra[64], words[ERR_TEXT_MAX];
    snprintf(extra, sizeof(extra), "Allow: %s\r\n", allow);
    int n = snprintf(words, sizeof(words), "method %.*s is not allowed here, expected %s\n",
                     STR_ARG(r->head->method), allow);
    http_answer(r, &(struct http_answer){ .code = status_http(BAD_METHOD),
                                          .content_type = "text/plain",
                                          .extra = extra,
                                          .body = { words, (size_t)n } });
}

static void answer_not_found(const struct http_request *r)
{
    char words[ERR_TEXT_MAX];
    char extra[64];
    snprintf(extra, sizeof(extra), "x-bd-error-code: %d\r\n", status_brpc(NOT_FOUND));
    int n =
        snprintf(words, sizeof(words), "Fail to find method on '%.*s'; GET / lists what there is\n",
                 (int)(r->head->path.n > 300 ? 300 : r->head->path.n), r->head->path.p);
    http_answer(r, &(struct http_answer){ .code = 404,
                                          .content_type = "text/plain",
                                          .extra = extra,
                                          .body = { words, (size_t)n } });
}

/* true: it was answered. *allow: the methods of a row that has the path alone. */
static bool route_by(const struct route *row, const struct http_request *r, const char **allow)
{
    struct route_parts parts;
    for (; row->method != NULL; row++) {
        if (!matches(row->pattern, r->head->path, &parts))
            continue;
        if (method_fits(row, r->head->method)) {
            row->handle(r, &parts);
            return true;
        }
        *allow = row->method;
    }
    return false;
}

/* What may be asked here; with --cors-origin also what a browser wants to know before it asks. */
static void answer_options(const struct http_request *r)
{
    struct route_parts parts;
    char extra[256];
    bool get = str_is(r->head->path, "*"), post = get;
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        for (const struct route *row = tables[i]; row->method != NULL; row++)
            if (matches(row->pattern, r->head->path, &parts)) {
                get = get || strcmp(row->method, "GET") == 0;
                post = post || strcmp(row->method, "POST") == 0;
            }
    if (!get && !post) {
        answer_not_found(r);
        return;
    }
    const char *methods = get && post ? "GET, HEAD, POST, OPTIONS"
                          : get       ? "GET, HEAD, OPTIONS"
                                      : "POST, OPTIONS";
    bool cors = r->conn->lane->server->options.cors_origin != NULL;
    snprintf(extra, sizeof(extra), "Allow: %s\r\n%s%s%s", methods,
             cors ? "Access-Control-Allow-Methods: " : "", cors ? methods : "",
             cors ? "\r\nAccess-Control-Allow-Headers: *\r\nAccess-Control-Max-Age: 86400\r\n"
                  : "");
    http_answer(r, &(struct http_answer){ .code = 204, .extra = extra });
}

static void answer_by_table(const struct http_request *r)
{
    const char *allow = NULL;
    if (str_is(r->head->method, "OPTIONS")) {
        answer_options(r);
        return;
    }
    if (crew_route(r)) /* whose path is a service's name, and so in no table */
        return;
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        if (route_by(tables[i], r, &allow))
            return;
    if (allow != NULL)
        answer_bad_method(r, allow);
    else
        answer_not_found(r);
}

/* false: answered. */
static bool is_allowed(const struct http_request *r)
{
    struct err e = { "" };
    struct str key = access_key(http_header_find(r->head, "Authorization"),
                                http_header_find(r->head, "X-API-Key"));
    status s = access_check(r->conn, access_of_http(r->head->method, r->head->path), key, &e);
    if (s != OK)
        http_answer_error(r, status_http(s), e.text);
    return s == OK;
}

void route_request(const struct http_request *r)
{
    struct lane *lane = r->conn->lane; /* r's own may end with the answer */
    lane->asking = r->head;
    if (lane->server->access != NULL)
        lane->route_ns = clock_ns();
    if (is_allowed(r))
        answer_by_table(r);
    lane->asking = NULL;
    arena_reset(&lane->scratch);
}
