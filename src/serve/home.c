/* GET /: what is served here, for whoever asks: a page for browsers, whose counters stay fresh, JSON where the client accepts
 * that alone, plain text for curl. Each model comes with a line for curl that works as it stands. */
#include "codec/html.h"
#include "codec/json.h"
#include "serve/http.h"
#include "serve/metrics.h"

#include <stdio.h>
#include <string.h>

#define PAGE_BYTES ((size_t)16 << 20)
#define INLINE_MAX 64 /* elements that a line for curl spells out */

/* ---- what a model is asked with ---- */

/* One instance: dimensions that are open are 1. */
static struct shape sample_shape(const struct port *p)
{
    struct shape s = p->shape;
    for (int i = 0; i < s.rank; i++)
        if (s.dim[i] < 0)
            s.dim[i] = 1;
    return s;
}

static const char *zero_of(dtype d)
{
    return d == DTYPE_BYTES ? "\"\"" : d == DTYPE_BOOL ? "false" : "0";
}

static void put_sample(struct buf *b, const struct port *p)
{
    struct shape s = sample_shape(p);
    int64_t count = shape_numel(&s);
    buf_str(b, "{\"name\":");
    json_put_string(b, str_of(p->alias));
    buf_printf(b, ",\"datatype\":\"%s\",\"shape\":", dtype_oip(p->dtype));
    json_put_numbers(b, DTYPE_I64, s.dim, s.rank);
    buf_str(b, ",\"data\":[");
    for (int64_t i = 0; i < count && i < INLINE_MAX; i++)
        buf_printf(b, "%s%s", i > 0 ? "," : "", zero_of(p->dtype));
    buf_str(b, "]}");
}

static bool is_small(const struct port *p, int count)
{
    for (int i = 0; i < count; i++) {
        struct shape s = sample_shape(&p[i]);
        int64_t n = shape_numel(&s);
        if (n < 0 || n > INLINE_MAX)
            return false;
    }
    return true;
}

/* Zeros for each input; a large single one comes from /dev/zero, as a raw body. */
static void put_curl(struct buf *b, const char *address, const struct served *v)
{
    int count;
    const struct port *in = flow_inputs(v->flow, &count);
    struct shape s = count > 0 ? sample_shape(&in[0]) : (struct shape){ 0 };
    if (!is_small(in, count) && count == 1 && shape_numel(&s) > 0)
        buf_printf(b,
                   "head -c %lld /dev/zero | curl -s --data-binary @- -H 'Inference-Header-Content-"
                   "Length: 0' %s/v2/models/%s/infer --output -",
                   (long long)shape_numel(&s) * (long long)dtype_size(in[0].dtype), address,
                   v->name);
    else if (!is_small(in, count))
        buf_printf(b, "curl -s %s/v2/models/%s", address, v->name);
    else {
        buf_printf(b, "curl -s %s/v2/models/%s/infer -d '{\"inputs\":[", address, v->name);
        for (int i = 0; i < count; i++) {
            if (i > 0)
                buf_byte(b, ',');
            put_sample(b, &in[i]);
        }
        buf_str(b, "]}'");
    }
}

/* ---- the address that the client used ---- */

static bool is_host(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            strchr(".-_:[]", c) == NULL)
            return false;
    }
    return s.n > 0 && s.n < 200;
}

static const char *address_of(const struct http_request *r)
{
    struct str host = http_header_find(r->head, "Host");
    if (!is_host(host))
        host = str_of(net_conn_local(r->conn->net));
    return arena_printf(&r->conn->lane->scratch, "%.*s", STR_ARG(host));
}

/* ---- plain text ---- */

static void put_text_port(struct buf *b, const char *what, const struct port *p)
{
    char shape[SHAPE_TEXT_MAX];
    buf_printf(b, "  %-3s %-16s %-8s %s%s\n", what, p->alias, dtype_name(p->dtype),
               shape_text(&p->shape, shape, sizeof(shape)), p->ragged ? " ragged" : "");
}

static void put_text(struct buf *b, const char *address, const struct table *t)
{
    buf_str(b, "oar " OAR_VERSION "\n");
    for (int i = 0; i < table_count(t); i++) {
        const struct served *v = table_at(t, i)->current;
        if (v == NULL)
            continue;
        int inputs, outputs;
        const struct port *in = flow_inputs(v->flow, &inputs),
                          *out = flow_outputs(v->flow, &outputs);
        buf_printf(b,
                   "\n%s version %lld: POST /v2/models/%s/infer, /v1/models/%s:predict, "
                   "/%s/prediction\n",
                   v->name, (long long)v->version, v->name, v->name, v->name);
        for (int k = 0; k < inputs; k++)
            put_text_port(b, "in", &in[k]);
        for (int k = 0; k < outputs; k++)
            put_text_port(b, "out", &out[k]);
        buf_str(b, "  ");
        put_curl(b, address, v);
        buf_byte(b, '\n');
    }
    buf_str(b, "\nGET /v2/health/ready, /v2, /v2/models/stats, /metrics, /status\n"
               "POST /GeneralModelService/inference, /v2/repository/index\n");
}

/* ---- JSON ---- */

static void put_json_ports(struct buf *b, const struct port *p, int count)
{
    buf_byte(b, '[');
    for (int i = 0; i < count; i++) {
        buf_str(b, i > 0 ? ",{\"name\":" : "{\"name\":");
        json_put_string(b, str_of(p[i].alias));
        buf_printf(b, ",\"datatype\":\"%s\",\"ragged\":%s,\"shape\":", dtype_oip(p[i].dtype),
                   p[i].ragged ? "true" : "false");
        json_put_numbers(b, DTYPE_I64, p[i].shape.dim, p[i].shape.rank);
        buf_byte(b, '}');
    }
    buf_byte(b, ']');
}

static void put_json(struct buf *b, const char *address, const struct table *t)
{
    struct buf line;
    const char *separator = "";
    buf_init(&line, PAGE_BYTES);
    buf_str(b, "{\"server\":\"oar\",\"version\":\"" OAR_VERSION "\",\"models\":[");
    for (int i = 0; i < table_count(t); i++) {
        const struct served *v = table_at(t, i)->current;
        int count;
        if (v == NULL)
            continue;
        buf_printf(b, "%s{\"name\":", separator);
        separator = ",";
        json_put_string(b, str_of(v->name));
        buf_printf(b, ",\"version\":\"%lld\",\"inputs\":", (long long)v->version);
        const struct port *port = flow_inputs(v->flow, &count);
        put_json_ports(b, port, count);
        buf_str(b, ",\"outputs\":");
        port = flow_outputs(v->flow, &count);
        put_json_ports(b, port, count);
        buf_clear(&line);
        put_curl(&line, address, v);
        buf_str(b, ",\"curl\":");
        json_put_string(b, buf_view(&line));
        buf_byte(b, '}');
    }
    buf_str(b, "]}");
    buf_deinit(&line);
}

/* ---- HTML ---- */

static const char page_head[] =
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
    "content=\"width=device-width\"><title>oar</title><style>"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 "
    "1em;color:#222}"
    "h2{margin:1.4em 0 .2em;font-size:1.1em}table{border-collapse:collapse}"
    "td,th{padding:.1em 1.2em .1em 0;text-align:left;font-variant-numeric:tabular-nums}"
    "code,pre{font:13px/1.4 "
    "ui-monospace,monospace}pre{background:#f5f5f5;padding:.6em;overflow:auto;"
    "white-space:pre-wrap;word-break:break-all}.s{color:#777;font-weight:normal}</style>"
    "<h1>oar <span class=\"s\">" OAR_VERSION
    "</span></h1><p><a href=\"/metrics\">metrics</a> &middot; "
    "<a href=\"/status\">status</a> &middot; <a href=\"/v2/models/stats\">statistics</a> &middot; "
    "<a href=\"/connections\">connections</a></p>";

/* The counters come from the statistics of the Open Inference Protocol, every two seconds. */
static const char page_script[] =
    "<script>async function f(){try{const r=await fetch('/v2/models/stats');for(const m of (await "
    "r.json()).model_stats){const "
    "e=document.getElementById('c:'+m.name+':'+m.version);if(!e)continue;"
    "const s=m.inference_stats,n=s.success.count;e.textContent=n+' calls, '+s.fail.count+' failed, "
    "'"
    "+m.inference_count+' rows'+(n?', '+(s.success.ns/n/1e3).toFixed(1)+' us each ('+"
    "(s.compute_infer.ns/n/1e3).toFixed(1)+' us computing)':'')}}catch(e){}}f();setInterval(f,2000)"
    "</script></html>\n";

static void put_html_ports(struct buf *b, const char *what, const struct port *p, int count)
{
    char shape[SHAPE_TEXT_MAX];
    for (int i = 0; i < count; i++) {
        buf_printf(b, "<tr><td class=\"s\">%s</td><td><code>", what);
        html_put_text(b, str_of(p[i].alias));
        buf_printf(b, "</code></td><td>%s</td><td>%s%s</td></tr>", dtype_oip(p[i].dtype),
                   shape_text(&p[i].shape, shape, sizeof(shape)), p[i].ragged ? ", ragged" : "");
    }
}

static void put_html_version(struct buf *b, const struct served *v)
{
    buf_printf(b, "<tr><td class=\"s\">version %lld</td><td>%s</td><td colspan=\"2\" id=\"c:",
               (long long)v->version, model_state_text(v->state));
    html_put_text(b, str_of(v->name));
    buf_printf(b, ":%lld\">", (long long)v->version);
    html_put_text(b, str_of(v->reason));
    buf_str(b, "</td></tr>");
}

static void put_html_model(struct buf *b, const char *address, const struct served_model *m)
{
    struct buf line;
    int count;
    buf_str(b, "<h2>");
    html_put_text(b, str_of(m->name));
    buf_str(b, "</h2><table>");
    for (int i = 0; i < m->version_count; i++)
        put_html_version(b, &m->version[i]);
    if (m->current == NULL) {
        buf_str(b, "</table>");
        return;
    }
    const struct port *port = flow_inputs(m->current->flow, &count);
    put_html_ports(b, "in", port, count);
    port = flow_outputs(m->current->flow, &count);
    put_html_ports(b, "out", port, count);
    buf_init(&line, PAGE_BYTES);
    put_curl(&line, address, m->current);
    buf_str(b, "</table><pre>");
    html_put_text(b, buf_view(&line));
    buf_str(b, "</pre>");
    buf_deinit(&line);
}

static void put_html(struct buf *b, const char *address, const struct table *t)
{
    buf_str(b, page_head);
    for (int i = 0; i < table_count(t); i++)
        put_html_model(b, address, table_at(t, i));
    buf_str(b, page_script);
}

/* ---- which of the three ---- */

static void home(const struct http_request *r, const struct route_parts *parts)
{
    struct str accept = http_header_find(r->head, "Accept");
    const struct table *t = lane_table(r->conn->lane);
    const char *type = "text/plain; charset=utf-8";
    struct buf b;
    buf_init(&b, PAGE_BYTES);
    if (http_header_lists(accept, "text/html")) {
        type = "text/html; charset=utf-8";
        put_html(&b, address_of(r), t);
    } else if (http_header_lists(accept, "application/json")) {
        type = "application/json";
        put_json(&b, address_of(r), t);
    } else {
        put_text(&b, address_of(r), t);
    }
    http_answer(r, &(struct http_answer){
                       .code = 200,
                       .content_type = type,
                       .extra = "X-Content-Type-Options: nosniff\r\nContent-Security-Policy: "
                                "default-src 'self' 'unsafe-inline'\r\n",
                       .body = buf_view(&b) });
    buf_deinit(&b);
}

// clang-format off
const struct route home_routes[] = {
    { "GET", "/", ACCESS_METADATA, home },
    { 0 },
};
// clang-format on
