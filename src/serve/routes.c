/* What each URL means: one row a path. '*' stands for one part of it. */
#include "proto/general_model.h"
#include "serve/http.h"
#include "serve/manage.h"

#include <stdio.h>
#include <string.h>

struct route {
    const char *method; /* GET also answers HEAD */
    const char *pattern;
    void (*handle)(const struct http_request *r, struct str part);
};

/* ---- health ---- */

static void answer_text(const struct http_request *r, int code, const char *text)
{
    http_answer(r, &(struct http_answer){
                       .code = code, .content_type = "text/plain", .body = str_of(text) });
}

static void live(const struct http_request *r, struct str part)
{
    answer_text(r, 200, "");
}

static void ready(const struct http_request *r, struct str part)
{
    const struct server *s = r->conn->lane->server;
    bool is_ready = atomic_load(&s->ready) && !atomic_load(&s->draining);
    answer_text(r, is_ready ? 200 : 503, is_ready ? "" : "not ready\n");
}

static void health(const struct http_request *r, struct str part)
{
    answer_text(r, 200, "OK\n");
}

static void version(const struct http_request *r, struct str part)
{
    answer_text(r, 200, "oar " OAR_VERSION "\n");
}

static void put_port(struct buf *b, const char *what, const struct port *p)
{
    char shape[SHAPE_TEXT_MAX];
    buf_printf(b, "  %-3s %-16s %-8s %s%s\n", what, p->alias, dtype_name(p->dtype),
               shape_text(&p->shape, shape, sizeof(shape)), p->ragged ? " ragged" : "");
}

/* For somebody who opens the address in a browser. */
static void index_page(const struct http_request *r, struct str part)
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

/* The type without its parameters. */
static struct str media_type(const struct http_head *head)
{
    struct str type = http_header_find(head, "Content-Type"), first;
    str_cut(&type, ';', &first);
    return str_trim(first);
}

/* Everything that is not said to be protobuf is JSON, as brpc has it. */
static void general(const struct http_request *r, struct str part)
{
    struct err e = { "" };
    status code;
    struct flow *flow = lane_first_flow(r->conn->lane, &code, &e);
    if (flow == NULL) {
        http_answer_error(r, status_http(code), e.text);
        return;
    }
    struct str type = media_type(r->head);
    if (str_eq_nocase(type, STR("application/proto")))
        http_infer(r, flow, &format_general_pb, "application/proto");
    else if (str_eq_nocase(type, STR("application/x-protobuf")))
        http_infer(r, flow, &format_general_pb, "application/x-protobuf");
    else
        http_infer(r, flow, &format_general_json, "application/json");
}

static void prediction(const struct http_request *r, struct str part)
{
    struct err e = { "" };
    status code;
    struct flow *flow = lane_flow(r->conn->lane, part, STR(""), &code, &e);
    if (flow != NULL)
        http_infer(r, flow, &format_predict, "application/json");
    else
        http_answer_error(r, status_http(code), e.text);
}

// clang-format off
static const struct route routes[] = {
    { "GET",  "/v2/health/live",                              live },
    { "GET",  "/v2/health/ready",                             ready },
    { "GET",  "/health",                                      health },
    { "GET",  "/version",                                     version },
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
};
// clang-format on

/* ---- finding one ---- */

/* Whether path is pattern, in which one '*' takes a part without slashes. */
static bool matches(const char *pattern, struct str path, struct str *part)
{
    const char *star = strchr(pattern, '*');
    *part = (struct str){ NULL, 0 };
    if (star == NULL)
        return str_is(path, pattern);
    size_t before = (size_t)(star - pattern), after = strlen(star + 1);
    if (path.n <= before + after || memcmp(path.p, pattern, before) != 0 ||
        memcmp(path.p + path.n - after, star + 1, after) != 0)
        return false;
    *part = (struct str){ path.p + before, path.n - before - after };
    return memchr(part->p, '/', part->n) == NULL;
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

void route_request(const struct http_request *r)
{
    const char *allow = NULL;
    struct str part;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (!matches(routes[i].pattern, r->head->path, &part))
            continue;
        if (method_fits(&routes[i], r->head->method)) {
            routes[i].handle(r, part);
            return;
        }
        allow = routes[i].method;
    }
    if (allow != NULL)
        answer_bad_method(r, allow);
    else
        answer_not_found(r);
}
