/* What each URL means: one row a path. '*' stands for one part of it. */
#include "proto/general_model.h"
#include "serve/http.h"
#include "serve/manage.h"

#include <stdio.h>
#include <string.h>

/* ---- the index ---- */

static void put_port(struct buf *b, const char *what, const struct port *p)
{
    char shape[SHAPE_TEXT_MAX];
    buf_printf(b, "  %-3s %-16s %-8s %s%s\n", what, p->alias, dtype_name(p->dtype),
               shape_text(&p->shape, shape, sizeof(shape)), p->ragged ? " ragged" : "");
}

/* For somebody who opens the address in a browser. */
static void index_page(const struct http_request *r, const struct route_parts *parts)
{
    const struct table *models = lane_table(r->conn->lane);
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_str(&b, "oar " OAR_VERSION "\n\n");
    for (int i = 0; i < table_count(models); i++) {
        const struct served *s = table_at(models, i)->current;
        if (s == NULL)
            continue;
        int inputs, outputs;
        const struct port *in = flow_inputs(s->flow, &inputs);
        const struct port *out = flow_outputs(s->flow, &outputs);
        buf_printf(&b, "%s: POST /%s/prediction\n", s->name, s->name);
        for (int k = 0; k < inputs; k++)
            put_port(&b, "in", &in[k]);
        for (int k = 0; k < outputs; k++)
            put_port(&b, "out", &out[k]);
    }
    buf_str(&b, "\nGET /v2/health/live, /v2/health/ready\nPOST /GeneralModelService/inference\n");
    http_answer(r, &(struct http_answer){
                       .code = 200, .content_type = "text/plain", .body = buf_view(&b) });
    buf_deinit(&b);
}

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
    { "GET",  "/",                                            index_page },
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
    { "GET",  "/v2/repository/traffic",                       manage_traffic_list },
    { "POST", "/v2/repository/models/*/traffic",              manage_traffic },
    { "POST", "/v2/repository/models/*/outcome",              manage_outcome },
    { 0 },
};
// clang-format on

/* ---- finding one ---- */

/* The tables, those with the hottest rows first. */
static const struct route *const tables[] = { oip_routes, routes, tfs_routes, metrics_routes,
                                              page_routes };

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

static void answer_by_table(const struct http_request *r)
{
    const char *allow = NULL;
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
    if (is_allowed(r))
        answer_by_table(r);
    lane->asking = NULL;
    arena_reset(&lane->scratch);
}
