#include "serve/crew.h"

#include "base/mem.h"
#include "codec/json.h"
#include "codec/pb.h"
#include "crew/crew.h"
#include "serve/grpc.h"
#include "serve/metrics.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define VIEW_BYTES ((size_t)4 << 20)

/* One request that is with the crew; in its call's arena. */
struct ask {
    struct crew_task task;
    struct call *call;
    struct crew *crew;
};

/* ---- faults that no worker answered ---- */

/* The numbers of a pipeline's errors. */
static int pipeline_number(status s)
{
    static const struct {
        status is;
        int number;
    } numbers[] = { { TIMED_OUT, 6000 },
                    { STOPPING, 3001 },
                    { TOO_LARGE, 5000 },
                    { INVALID, 8000 },
                    { MALFORMED, 8000 } };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (numbers[i].is == s)
            return numbers[i].number;
    return 10000;
}

static void put_pipeline_fault(const struct ask *a, struct buf *b)
{
    struct str words = str_of(a->call->err.text);
    int number = pipeline_number(a->call->result);
    if (a->task.form == CREW_GRPC) {
        pb_put_u64(b, 1, (uint64_t)number);
        pb_put_bytes(b, 2, words);
        return;
    }
    buf_printf(b, "{\"err_no\":%d,\"err_msg\":", number);
    json_put_string(b, words);
    buf_str(b, ",\"key\":[],\"value\":[],\"tensors\":[]}");
}

/* ---- the way there and back; on the loop, in a crew's turn or on a worker ---- */

static void settle(struct ask *a)
{
    struct call *c = a->call;
    if (c->result != OK && crew_is_pipeline(a->crew)) {
        put_pipeline_fault(a, &c->reply);
        c->result = OK;
    }
}

static void come_home(struct ask *a)
{
    settle(a);
    call_return(a->call);
}

static void compress_reply(struct job *j, int worker)
{
    struct call *c = LIST_ENTRY(j, struct call, job);
    struct ask *a = c->detour_arg;
    struct err e = { "" };
    buf_swap(&c->reply, &c->plain);
    c->compressed = compress_bytes(c->reply_compression, buf_view(&c->plain), &c->reply, &e) == OK;
    if (!c->compressed) /* as it is, then */
        buf_swap(&c->reply, &c->plain);
    come_home(a);
}

static void on_answer(struct crew_task *t)
{
    struct ask *a = LIST_ENTRY(t, struct ask, task);
    struct call *c = a->call;
    c->result = t->result;
    c->code = t->code;
    if (t->result != OK)
        c->err = t->err;
    c->job.run = compress_reply;
    if (c->result == OK && c->reply_compression != COMPRESSION_NONE &&
        c->reply.len >= c->compress_from && workers_submit(c->conn->lane->server->workers, &c->job))
        return;
    settle(a);
    if (c->conn->lane == &c->conn->lane->server->lane[0]) /* whose loop takes the turns */
        c->done(c);
    else
        call_return(c);
}

static void fail(struct ask *a, status s, const char *words)
{
    a->call->result = err_set(&a->call->err, s, "%s", words);
    come_home(a);
}

static void submit(struct ask *a)
{
    a->task.body = a->call->body;
    status s = crew_submit(a->crew, &a->task);
    if (s == BUSY)
        fail(a, s, "as many requests as this service takes are on their way; try again later");
    else if (s != OK)
        fail(a, s, "the service is stopping");
}

static void inflate_and_submit(struct job *j, int worker)
{
    struct call *c = LIST_ENTRY(j, struct call, job);
    struct ask *a = c->detour_arg;
    struct err e = { "" };
    status s = decompress(c->body_compression, c->body, &c->inflated, &e);
    c->body = buf_view(&c->inflated);
    if (s != OK)
        fail(a, s, e.text);
    else
        submit(a);
}

static void begin(struct call *c)
{
    struct ask *a = c->detour_arg;
    if (c->body_compression == COMPRESSION_NONE) {
        submit(a);
        return;
    }
    c->job.run = inflate_and_submit;
    if (!workers_submit(c->conn->lane->server->workers, &c->job))
        fail(a, BUSY, "the queue of requests is full; try again later");
}

static void prepare(struct call *c, enum crew_form form, struct str path)
{
    struct ask *a = arena_zalloc(&c->arena, sizeof(*a));
    a->call = c;
    a->crew = c->conn->lane->server->crew;
    path.n = path.n < CREW_HEAD_BYTES ? path.n : CREW_HEAD_BYTES;
    a->task = (struct crew_task){ .form = form,
                                  .head = { arena_strndup(&c->arena, path.p, path.n), path.n },
                                  .deadline_ns = c->deadline_ns,
                                  .gone = { &c->conn->gone, &c->cancelled },
                                  .reply = &c->reply,
                                  .done = on_answer };
    c->detour = begin;
    c->detour_arg = a;
}

/* ---- HTTP ---- */

static bool has_two_parts(struct str path)
{
    struct str first;
    if (path.n == 0 || path.p[0] != '/')
        return false;
    path = (struct str){ path.p + 1, path.n - 1 };
    return str_cut(&path, '/', &first) && first.n > 0 && path.n > 0 &&
           memchr(path.p, '/', path.n) == NULL;
}

static bool is_own(const struct crew *crew, struct str path)
{
    char own[CREW_HEAD_BYTES];
    int n = snprintf(own, sizeof(own), "/%s/prediction", crew_name(crew));
    return n > 0 && str_eq(path, (struct str){ own, (size_t)n });
}

bool crew_takes(const struct http_request *r)
{
    const struct crew *crew = r->conn->lane->server->crew;
    struct str path = r->head->path;
    return crew != NULL && (is_own(crew, path) || (crew_is_pipeline(crew) && has_two_parts(path) &&
                                                   str_is(r->head->method, "POST")));
}

void crew_answer(const struct http_request *r)
{
    if (!str_is(r->head->method, "POST")) {
        http_answer(r,
                    &(struct http_answer){ .code = 405,
                                           .content_type = "application/json",
                                           .extra = "Allow: POST\r\n",
                                           .body = STR("{\"error\":\"POST a JSON body here\"}") });
        return;
    }
    struct call *call = http_begin(r, NULL, &format_predict, "application/json");
    if (call != NULL) {
        prepare(call, CREW_HTTP, r->head->path);
        http_start(r, call);
    }
}

/* ---- gRPC: a pipeline's service ---- */

static void infer(struct grpc_rpc *g, struct str message)
{
    struct crew *crew = g->conn->lane->server->crew;
    if (crew == NULL || !crew_is_pipeline(crew)) {
        grpc_fail(g, UNSUPPORTED, "no pipeline is served here");
        return;
    }
    struct call *call = grpc_call(g, NULL, &format_predict);
    call->reply_compression = COMPRESSION_NONE;
    prepare(call, CREW_GRPC, STR("/"));
    grpc_start(g, call, message);
}

const struct grpc_method grpc_pipeline[] = {
    { "/baidu.paddle_serving.pipeline_serving.PipelineService/inference", ACCESS_INFER, false, true,
      infer, NULL, NULL, NULL },
    { 0 },
};

/* ---- what it has done ---- */

static void put_value(struct buf *b, const char *name, const char *type, const char *help,
                      uint64_t v)
{
    metrics_put_head(b, name, type, help);
    buf_printf(b, "%s %llu\n", name, (unsigned long long)v);
}

enum op_kind {
    OP_INT,
    OP_U64
};

// clang-format off
static const struct op_family {
    const char *name, *type, *help;
    enum op_kind kind;
    size_t offset;
} op_families[] = {
#define FIELD(f) offsetof(struct crew_op_view, f)
    { "oar_crew_slots",              "gauge",   "Threads of worker processes that an operator has",         OP_INT, FIELD(slots) },
    { "oar_crew_busy",               "gauge",   "Those that are at work",                                   OP_INT, FIELD(busy) },
    { "oar_crew_queue",              "gauge",   "Requests that wait for an operator",                       OP_INT, FIELD(queued) },
    { "oar_crew_operator_requests_total", "counter", "Requests that an operator was given",                 OP_U64, FIELD(requests) },
    { "oar_crew_operator_failures_total", "counter", "Those that ended with an error there",                OP_U64, FIELD(failures) },
    { "oar_crew_operator_batches_total",  "counter", "Batches that an operator was given",                  OP_U64, FIELD(batches) },
    { "oar_crew_queue_us_total",     "counter", "Time that requests waited for an operator, microseconds",  OP_U64, FIELD(in_us) },
    { "oar_crew_preprocess_us_total",  "counter", "Time in preprocess, microseconds",                       OP_U64, FIELD(prep_us) },
    { "oar_crew_process_us_total",     "counter", "Time in process (the model), microseconds",              OP_U64, FIELD(midp_us) },
    { "oar_crew_postprocess_us_total", "counter", "Time in postprocess, microseconds",                      OP_U64, FIELD(postp_us) },
#undef FIELD
};
// clang-format on

static uint64_t op_value(const struct op_family *f, const struct crew_op_view *v)
{
    const char *at = (const char *)v + f->offset;
    return f->kind == OP_INT ? (uint64_t) * (const int *)at : *(const uint64_t *)at;
}

static void put_op_families(struct buf *b, const struct crew_view *v)
{
    for (size_t f = 0; f < ARRAY_LEN(op_families); f++) {
        metrics_put_head(b, op_families[f].name, op_families[f].type, op_families[f].help);
        for (int i = 0; i < v->op_count; i++)
            buf_printf(b, "%s{operator=\"%s\"} %llu\n", op_families[f].name, v->op[i].name,
                       (unsigned long long)op_value(&op_families[f], &v->op[i]));
    }
}

static uint64_t sum_of(const struct crew_view *v, size_t offset)
{
    uint64_t sum = 0;
    for (int i = 0; i < v->op_count; i++)
        sum += *(const uint64_t *)((const char *)&v->op[i] + offset);
    return sum;
}

void crew_metrics_put_sample(const struct crew_view *v, const char *family, struct buf *b)
{
    if (v == NULL)
        return;
    const struct {
        const char *family;
        uint64_t value;
    } samples[] = {
        { "pd_query_request_success_total", v->answered },
        { "pd_query_request_failure_total", v->failed },
        { "pd_query_request_duration_us_total", v->sum_us },
        { "pd_inference_count_total", sum_of(v, offsetof(struct crew_op_view, requests)) },
        { "pd_inference_duration_us_total", sum_of(v, offsetof(struct crew_op_view, midp_us)) },
    };
    for (size_t i = 0; i < ARRAY_LEN(samples); i++)
        if (strcmp(samples[i].family, family) == 0)
            buf_printf(b, "%s{model=\"%s\",version=\"0\"} %llu\n", family,
                       v->name[0] != '\0' ? v->name : "general",
                       (unsigned long long)samples[i].value);
}

struct crew_view *crew_metrics_look(const struct server *s)
{
    if (s->crew == NULL)
        return NULL;
    struct crew_view *v = mem_zalloc(sizeof(*v));
    crew_look(s->crew, false, v);
    return v;
}

void crew_metrics_put(const struct crew_view *v, struct buf *b)
{
    if (v == NULL)
        return;
    put_value(b, "oar_crew_workers", "gauge", "Worker processes that are ready",
              (uint64_t)v->ready);
    put_value(b, "oar_crew_restarts_total", "counter", "Worker processes that ended unasked",
              v->restarts);
    put_value(b, "oar_crew_in_flight", "gauge", "Requests on their way through the operators",
              (uint64_t)v->in_flight);
    put_value(b, "oar_crew_refused_total", "counter", "Requests that were too many", v->refused);
    put_op_families(b, v);
}

static void put_view(struct buf *b, const struct crew_view *v)
{
    buf_printf(b,
               "{\"processes\":%d,\"ready\":%d,\"in_flight\":%d,\"restarts\":%llu,\"count\":%llu,"
               "\"failed\":%llu,\"sum_us\":%llu,\"operators\":[",
               v->processes, v->ready, v->in_flight, (unsigned long long)v->restarts,
               (unsigned long long)v->taken_count, (unsigned long long)v->taken_failed,
               (unsigned long long)v->taken_us);
    for (int i = 0; i < v->op_count; i++) {
        buf_str(b, i > 0 ? ",{\"name\":" : "{\"name\":");
        json_put_string(b, str_of(v->op[i].name));
        buf_printf(b,
                   ",\"slots\":%d,\"queued\":%d,\"queued_most\":%d,\"channel_size\":%d,"
                   "\"batches\":%llu,\"requests\":%llu,\"in_us\":%llu,\"prep_us\":%llu,"
                   "\"midp_us\":%llu,\"postp_us\":%llu}",
                   v->op[i].slots, v->op[i].queued, v->op[i].queued_most, v->op[i].channel_size,
                   (unsigned long long)v->op[i].batches, (unsigned long long)v->op[i].requests,
                   (unsigned long long)v->op[i].in_us, (unsigned long long)v->op[i].prep_us,
                   (unsigned long long)v->op[i].midp_us, (unsigned long long)v->op[i].postp_us);
    }
    buf_str(b, "],\"bad\":[");
    for (int i = 0; i < v->bad_count; i++)
        buf_printf(b, "%s%llu", i > 0 ? "," : "", (unsigned long long)v->bad[i]);
    buf_str(b, "],\"latest_us\":[");
    for (int i = 0; i < v->latest_count; i++)
        buf_printf(b, "%s%u", i > 0 ? "," : "", v->latest_us[i]);
    buf_str(b, "]}");
}

/* What happened since the last such question, for the tracer of a pipeline, which alone may ask: it begins a new interval. */
static void take_interval(const struct http_request *r, const struct route_parts *parts)
{
    struct buf b;
    const struct server *s = r->conn->lane->server;
    if (s->crew == NULL || !net_conn_is_loopback(r->conn->net)) {
        http_answer_error(r, s->crew == NULL ? 404 : 403,
                          s->crew == NULL ? "no worker processes here"
                                          : "asked from this machine alone");
        return;
    }
    struct crew_view *v = mem_zalloc(sizeof(*v));
    buf_init(&b, VIEW_BYTES);
    crew_look(s->crew, true, v);
    put_view(&b, v);
    http_answer_json(r, 200, &b);
    buf_deinit(&b);
    mem_free(v);
}

// clang-format off
const struct route crew_routes[] = {
    { "POST", "/v2/crew/interval", ACCESS_INFER, take_interval },
    { 0 },
};
// clang-format on
