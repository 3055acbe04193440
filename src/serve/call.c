#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/general_model.h"
#include "proto/general_old.h"
#include "proto/predict.h"
#include "serve/note.h"

#include <math.h>

#include <string.h>

/* A model quicker than this is computed on the loop that read the request: handing over to a worker and back costs some
 * 10 to 20 us and two context switches, and a loop that is busy for this long delays its other connections unnoticeably. */
#define QUICK_NS       200000
#define QUICK_BYTES    ((size_t)256 << 10) /* a larger body takes as long to decode */
#define QUICK_IN_PLACE ((size_t)1 << 20)   /* or to look at once */
#define SPARE_MAX      64
#define KEEP_BYTES     ((size_t)64 << 10) /* of each buffer of a spare call */
#define KEEP_EXEC      ((size_t)64 << 20) /* of a thread's working memory between two calls */

/* ---- formats ---- */

/* The form of before 0.7 is answered in kind: c->form says so. */
static status decode_pb(struct call *c, struct str body, struct infer_request *out, struct err *e)
{
    static char old;
    if (general_is_old(body)) {
        c->form = &old;
        return general_old_request(body, &c->arena, out, e);
    }
    return general_request_from_pb(body, &c->arena, out, e);
}

static status decode_json(struct call *c, struct str body, struct infer_request *out, struct err *e)
{
    if (body.n == 0) /* as an empty message, like the original */
        return general_request_from_pb(body, &c->arena, out, e);
    return general_request_from_json(body, &c->arena, out, e);
}

static status decode_predict(struct call *c, struct str body, struct infer_request *out,
                             struct err *e)
{
    int count;
    const struct port *port = flow_inputs(c->flow, &count);
    struct call_ports ports = call_ports(c, port, count);
    return predict_request_from_json(body, &ports, &c->arena, out, e);
}

static status encode_pb(struct call *c, const struct infer_reply *r, struct buf *out, struct err *e)
{
    if (c->form != NULL)
        general_old_reply(r, out);
    else
        general_reply_to_pb(r, out);
    return OK;
}

static status encode_json(struct call *c, const struct infer_reply *r, struct buf *out,
                          struct err *e)
{
    general_reply_to_json(r, out);
    return OK;
}

static status encode_predict(struct call *c, const struct infer_reply *r, struct buf *out,
                             struct err *e)
{
    predict_reply_to_json(r, out);
    return OK;
}

const struct call_format format_general_pb = { "general_proto", decode_pb, encode_pb, false };
const struct call_format format_general_json = { "general_json", decode_json, encode_json, false };
const struct call_format format_predict = { "prediction", decode_predict, encode_predict, true };

struct call_ports call_ports(struct call *c, const struct port *port, int count)
{
    struct call_port *p = arena_alloc(&c->arena, ((size_t)count + 1) * sizeof(*p));
    for (int i = 0; i < count; i++)
        p[i] = (struct call_port){ .name = str_of(port[i].name),
                                   .alias = str_of(port[i].alias),
                                   .dtype = port[i].dtype,
                                   .ragged = port[i].ragged,
                                   .shape = port[i].shape };
    return (struct call_ports){ p, count };
}

/* ---- life ---- */

/* There is one writer, so that this needs no atomic addition. */
static void count_call(struct lane *lane, int more)
{
    int now = atomic_load_explicit(&lane->calls, memory_order_relaxed);
    atomic_store_explicit(&lane->calls, now + more, memory_order_release);
}

int server_calls(const struct server *s)
{
    int calls = 0;
    for (int i = 0; s->lane != NULL && i < s->lane_count; i++)
        calls += atomic_load_explicit(&s->lane[i].calls, memory_order_acquire);
    return calls;
}

struct call *call_new(struct conn *conn)
{
    struct lane *lane = conn->lane;
    struct call *c;
    if (!list_empty(&lane->spare)) {
        c = LIST_ENTRY(lane->spare.next, struct call, node);
        list_remove(&c->node);
        lane->spare_count--;
    } else {
        c = mem_zalloc(sizeof(*c));
        list_init(&c->node);
        arena_init(&c->arena, LIMIT_ARENA_BYTES);
        c->arena.max_depth = lane->server->options.max_json_depth;
        buf_init(&c->taken, SIZE_MAX);
        buf_init(&c->inflated, lane->server->options.max_body_bytes);
        buf_init(&c->plain, LIMIT_ARENA_BYTES);
        buf_init(&c->reply, LIMIT_ARENA_BYTES);
    }
    c->conn = conn;
    c->begin_ns = clock_ns();
    c->deadline_ns = 0;
    c->detour = NULL;
    c->headers = NULL;
    c->code = 0;
    c->form = NULL;
    c->note = NULL;
    c->rows = 0;
    memset(c->stage_ns, 0, sizeof(c->stage_ns));
    c->exchange = NULL;
    c->held = 0;
    c->in_place = false;
    atomic_store_explicit(&c->cancelled, false, memory_order_relaxed);
    conn->calls++;
    count_call(lane, 1);
    return c;
}

struct str call_variant(const struct call *c)
{
    return c->traffic != NULL ? str_of(traffic_at(c->traffic, c->variant)->tag) : STR("");
}

static void forget(struct buf *b)
{
    buf_clear(b);
    buf_shrink(b, KEEP_BYTES);
}

static void destroy(struct call *c)
{
    arena_deinit(&c->arena);
    buf_deinit(&c->taken);
    buf_deinit(&c->inflated);
    buf_deinit(&c->plain);
    buf_deinit(&c->reply);
    mem_free(c);
}

/* When it has ended, on its loop. */
static void count(const struct call *c)
{
    struct stats_call done = {
        .key = { flow_name(c->flow), flow_version(c->flow), c->conn->proto->name, c->format->name },
        .result = c->result,
        .rows = c->rows,
        .bytes_in = c->body.n,
        .bytes_out = c->reply.len,
    };
    for (int i = 0; i < STAGE_COUNT; i++)
        done.total_ns += done.stage_ns[i] = c->stage_ns[i];
    done.end_ns = c->begin_ns + done.total_ns;
    if (c->result != OK)
        done.total_ns = clock_ns() - c->begin_ns;
    stats_add(&c->conn->lane->stats, &done);
}

void call_free(struct call *c)
{
    struct conn *conn = c->conn;
    struct lane *lane = conn->lane;
    if (c->flow != NULL)
        count(c);
    note_call(c);
    if (c->traffic != NULL)
        traffic_ended(c->traffic, c->variant, status_http(c->result) < 500,
                      clock_ns() - c->begin_ns, c->score);
    traffic_unref(c->traffic);
    c->traffic = NULL;
    arena_reset(&c->arena);
    forget(&c->taken);
    forget(&c->inflated);
    forget(&c->plain);
    forget(&c->reply);
    flow_unref(c->flow);
    flow_unref(c->before);
    c->flow = c->before = NULL;
    if (lane->spare_count < SPARE_MAX) {
        list_push_front(&lane->spare, &c->node);
        lane->spare_count++;
    } else {
        destroy(c);
    }
    count_call(lane, -1);
    conn_call_done(conn);
}

void calls_drop_spare(struct lane *lane)
{
    while (!list_empty(&lane->spare)) {
        struct call *c = LIST_ENTRY(lane->spare.next, struct call, node);
        list_remove(&c->node);
        destroy(c);
    }
}

/* ---- the work ---- */

static status inflate_body(struct call *c, struct err *e)
{
    if (c->body_compression == COMPRESSION_NONE)
        return OK;
    TRY(decompress(c->body_compression, c->body, &c->inflated, e));
    c->body = buf_view(&c->inflated);
    return OK;
}

static status put_reply(struct call *c, const struct infer_reply *r, struct err *e)
{
    struct buf *out = c->reply_compression == COMPRESSION_NONE ? &c->reply : &c->plain;
    TRY(c->format->encode(c, r, out, e));
    if (buf_check(out) != OK)
        return err_set(e, buf_check(out), "the reply could not be written: %s",
                       status_text(buf_check(out)));
    c->compressed = out == &c->plain && out->len >= c->compress_from;
    if (c->compressed)
        return compress_bytes(c->reply_compression, buf_view(out), &c->reply, e);
    if (out == &c->plain) /* too small to compress after all */
        buf_swap(&c->reply, &c->plain);
    return OK;
}

static status check_deadline(const struct call *c, uint64_t now, struct err *e)
{
    if (c->deadline_ns == 0 || now <= c->deadline_ns)
        return OK;
    return err_set(e, TIMED_OUT, "the request's time ran out before its turn came");
}

/* Of a batch: the first input's sequences or rows. */
static int64_t rows_of(const struct infer_request *r)
{
    if (r->feed_count == 0)
        return 0;
    const struct tensor *t = &r->feed[0].tensor;
    if (t->lod.levels > 0)
        return t->lod.level[0].count - 1;
    return t->shape.rank > 0 ? t->shape.dim[0] : 1;
}

/* Ends a stage that began when the last one ended, and begins the next. */
static uint64_t end_stage_at(struct call *c, enum stage stage, uint64_t now)
{
    c->stage_ns[stage] = now - c->since_ns;
    return c->since_ns = now;
}

static uint64_t end_stage(struct call *c, enum stage stage)
{
    return end_stage_at(c, stage, clock_ns());
}

#define WALL_NS 20000000 /* a wall clock that is set anew is seen so late */

/* The wall clock without a look at it, which costs as much as a small model's row does. On the loop. */
static int64_t wall_us(struct lane *lane, uint64_t now_ns)
{
    if (now_ns - lane->wall_at_ns > WALL_NS) {
        lane->wall_offset_us = clock_wall_us() - (int64_t)(now_ns / 1000);
        lane->wall_at_ns = now_ns;
    }
    return lane->wall_offset_us + (int64_t)(now_ns / 1000);
}

static void let_go(void *flow)
{
    flow_unref(flow);
}

/* The old one is held until the call ends, since what was decoded may look at its ports. */
static void change_flow(struct call *c, struct flow *f)
{
    arena_defer(&c->arena, let_go, c->flow);
    c->flow = f;
}

/* Traffic that is divided by something in the body: which version answers is known only now. */
static void pick_by_body(struct call *c)
{
    int i = traffic_pick_by_body(c->traffic, &c->request);
    if (i < 0 || i == c->variant)
        return;
    struct flow *f = server_variant(c->conn->lane->server, c->traffic, i, flow_name(c->flow));
    if (f == NULL)
        return;
    change_flow(c, f);
    flow_unref(c->before);
    c->before = NULL;
    c->variant = i;
}

static status prepare(struct call *c, uint64_t begun_ns, struct err *e)
{
    c->request = (struct infer_request){ 0 };
    c->since_ns = c->begin_ns;
    if (atomic_load(&c->cancelled) || atomic_load(&c->conn->gone))
        return err_set(e, CANCELLED, "the caller has gone");
    TRY(check_deadline(c, end_stage_at(c, STAGE_QUEUE, begun_ns), e));
    TRY(inflate_body(c, e));
    TRY(c->format->decode(c, c->body, &c->request, e));
    c->rows = rows_of(&c->request);
    if (c->traffic != NULL && traffic_sticky_body(c->traffic))
        pick_by_body(c);
    /* Again: the request itself may have brought a deadline. */
    return check_deadline(c, end_stage(c, STAGE_PARSE), e);
}

/* The first number of the answer, by which two variants' answers are compared in the long run. */
static double score_of(const struct infer_reply *r)
{
    if (r->output_count == 0 || r->output[0].tensor_count == 0)
        return NAN;
    const struct tensor *t = &r->output[0].tensor[0].tensor;
    if (shape_numel(&t->shape) < 1)
        return NAN;
    return t->dtype == DTYPE_F32   ? (double)*(const float *)t->data
           : t->dtype == DTYPE_F64 ? *(const double *)t->data
           : t->dtype == DTYPE_I64 ? (double)*(const int64_t *)t->data
                                   : NAN;
}

static void note_variant(struct call *c)
{
    c->score = NAN;
    if (c->result != OK)
        return;
    c->score = score_of(&c->answer);
    shadow_start(c);
}

static void record(const struct call *c, struct recorder *r)
{
    if (!recorder_wants(r))
        return;
    recorder_put(r, &(struct record){ .time_us = clock_wall_us(),
                                      .model = str_of(flow_name(c->flow)),
                                      .version = flow_version(c->flow),
                                      .request = c->request,
                                      .reply = c->answer });
}

/* The stages one behind the other, as they were measured anyway: a request is on no thread, since others have their turn
 * while it waits. */
static void trace_call(struct call *c, struct trace *t)
{
    uint64_t at = c->begin_ns, id = (c->begin_ns << 8) ^ (uint64_t)(uintptr_t)c;
    struct trace_span s = { .kind = "request", .name = flow_name(c->flow), .request = id };
    s.begin_ns = at;
    s.end_ns = c->since_ns;
    trace_put(t, &s);
    s.kind = "stage";
    for (int i = 0; i < STAGE_COUNT; i++) {
        static const enum stage order[] = { STAGE_QUEUE, STAGE_PARSE, STAGE_BATCH, STAGE_COMPUTE,
                                            STAGE_ENCODE };
        uint64_t ns = c->stage_ns[order[i]];
        s.name = stage_name(order[i]);
        s.begin_ns = at;
        s.end_ns = at += ns;
        if (ns > 0)
            trace_put(t, &s);
    }
}

/* From since_ns to now_ns the flow was at it, and from there on it is told. */
static void end(struct call *c, status s)
{
    end_stage_at(c, STAGE_COMPUTE, c->run.now_ns);
    c->stage_ns[STAGE_BATCH] = c->run.waited_ns;
    c->stage_ns[STAGE_COMPUTE] -= c->run.waited_ns;
    c->answer.variant = call_variant(c);
    c->result = s == OK ? put_reply(c, &c->answer, &c->err) : s;
    if (c->traffic != NULL)
        note_variant(c);
    if (c->result == OK && c->conn->lane->server->recorder != NULL)
        record(c, c->conn->lane->server->recorder);
    end_stage(c, STAGE_ENCODE);
    if (trace_is_on(c->conn->lane->server->trace))
        trace_call(c, c->conn->lane->server->trace);
}

/* A new version failed by its own fault: the one before it answers, and the caller sees nothing of it. */
static bool falls_back(struct call *c, status s)
{
    if (c->before == NULL || !flow_is_at_fault(s))
        return false;
    change_flow(c, c->before);
    c->before = NULL;
    return true;
}

static void ask_again(struct job *j, int worker)
{
    struct call *c = LIST_ENTRY(j, struct call, job);
    c->run.exec = c->conn->lane->server->worker_exec[worker];
    c->run.now_ns = 0;
    status s = flow_start(c->flow, &c->run);
    if (s == FLOW_LATER)
        return;
    end(c, s);
    call_return(c);
}

/* The flow's last thread: what the answer is made of is there until this returns. */
static void finished(struct flow_call *f, status s)
{
    struct call *c = LIST_ENTRY(f, struct call, run);
    c->job.run = ask_again;
    if (falls_back(c, s) && workers_submit(c->conn->lane->server->workers, &c->job))
        return;
    end(c, s);
    call_return(c);
}

/* Began at begun_ns. lane: NULL on a worker. false: it goes on elsewhere, and c is not to be touched any more. */
static bool run(struct call *c, struct exec *exec, uint64_t begun_ns, struct lane *lane)
{
    c->err.text[0] = '\0';
    c->compressed = false;
    c->run = (struct flow_call){ .request = &c->request,
                                 .reply = &c->answer,
                                 .arena = &c->arena,
                                 .exec = exec,
                                 .err = &c->err,
                                 .source = (uint64_t)(uintptr_t)c->conn,
                                 .deadline_ns = c->deadline_ns,
                                 .gone = { &c->conn->gone, &c->cancelled },
                                 .finished = finished };
    c->result = prepare(c, begun_ns, &c->err);
    if (c->result != OK)
        return true;
    c->run.deadline_ns = c->deadline_ns;
    c->run.now_ns = c->since_ns;
    c->run.begin_us = lane != NULL ? wall_us(lane, c->since_ns) : 0;
    status s = flow_start(c->flow, &c->run);
    if (s != FLOW_LATER && falls_back(c, s))
        s = flow_start(c->flow, &c->run);
    if (s == FLOW_LATER)
        return false;
    end(c, s);
    exec_trim(exec, KEEP_EXEC);
    return true;
}

/* ---- on a worker ---- */

/* Its body counts as gone before its peer hears of it and sends another. */
static void finish(struct call *c)
{
    if (c->held > 0)
        atomic_fetch_sub(&c->conn->lane->server->body_bytes, c->held);
    c->held = 0;
    c->done(c);
}

static void come_home(struct loop_post *p)
{
    struct call *c = LIST_ENTRY(p, struct call, post);
    struct trace *t = c->conn->lane->server->trace;
    bool traced = trace_is_on(t);
    uint64_t begin = traced ? clock_ns() : 0;
    finish(c);
    if (traced)
        trace_put(t,
                  &(struct trace_span){
                      .kind = "loop", .name = "answer", .begin_ns = begin, .end_ns = clock_ns() });
}

void call_return(struct call *c)
{
    c->post.fn = come_home;
    loop_post(c->conn->lane->loop, &c->post);
}

static void run_job(struct job *j, int worker)
{
    struct call *c = LIST_ENTRY(j, struct call, job);
    atomic_fetch_sub(flow_waiting(c->flow), 1);
    if (run(c, c->conn->lane->server->worker_exec[worker], clock_ns(), NULL))
        call_return(c);
}

/* The body leaves the connection's buffer: with the whole buffer where nothing else is in it, else as a copy. */
static status take_body(struct call *c, struct buf *in, size_t used)
{
    if (c->body.p < (char *)in->data || c->body.p >= (char *)in->data + in->len)
        return OK;
    if (in->len == used && c->body.n > KEEP_BYTES) {
        buf_deinit(&c->taken);
        net_conn_take_input(c->conn->net, &c->taken);
        return OK;
    }
    buf_append(&c->taken, c->body.p, c->body.n);
    c->body.p = (char *)c->taken.data;
    return buf_check(&c->taken);
}

/* A model that many wait for keeps nobody from asking another one. */
static status submit(struct call *c, struct buf *in, size_t used)
{
    const struct server *s = c->conn->lane->server;
    atomic_int *waiting = flow_waiting(c->flow);
    int most = s->options.model_queue_size;
    TRY(take_body(c, in, used));
    c->job.run = run_job;
    bool fits = atomic_fetch_add(waiting, 1) < most || most == 0;
    if (fits && workers_submit(s->workers, &c->job))
        return OK;
    atomic_fetch_sub(waiting, 1);
    return err_set(&c->err, BUSY, "the queue of %s is full; try again later",
                   fits ? "requests" : flow_name(c->flow));
}

/* A flow that was never run is not known to be quick. */
static bool is_quick(const struct call *c)
{
    uint64_t ns = flow_expect_ns(c->flow, c->body.n);
    return ns != 0 && ns < QUICK_NS && c->body.n < (c->in_place ? QUICK_IN_PLACE : QUICK_BYTES);
}

static status start_detour(struct call *c, struct buf *in, size_t used)
{
    TRY(take_body(c, in, used));
    c->result = OK;
    c->err.text[0] = '\0';
    c->compressed = false;
    c->detour(c);
    return OK;
}

/* A flow that may go on elsewhere looks at the body when the connection's buffer has long moved on. */
static status run_here(struct call *c, struct buf *in, size_t used, bool *ended)
{
    bool waits = flow_may_wait(c->flow) || c->before != NULL ||
                 (c->traffic != NULL && traffic_sticky_body(c->traffic)); /* another flow may */
    *ended = false;
    if (waits)
        TRY(take_body(c, in, used));
    *ended = run(c, c->conn->lane->exec, c->begin_ns, c->conn->lane);
    return OK;
}

static void take_before(struct call *c)
{
    struct flow *before = table_before(lane_table(c->conn->lane), c->flow);
    c->before = before != NULL ? flow_ref(before) : NULL;
}

/* Counts the body as one that is on its way. */
static status hold(struct call *c)
{
    struct server *s = c->conn->lane->server;
    size_t n = c->body.n, most = s->options.max_bytes_in_flight;
    if (n < HOLD_FROM || most == 0)
        return OK;
    if (atomic_fetch_add(&s->body_bytes, n) + n <= most) {
        c->held = n;
        return OK;
    }
    atomic_fetch_sub(&s->body_bytes, n);
    return err_set(&c->err, BUSY, BODIES_TOO_LARGE);
}

void call_start(struct call *c, struct buf *in, size_t used)
{
    bool ended = false;
    c->score = NAN;
    c->err.text[0] = '\0';
    lane_take_pick(c->conn->lane, c);
    if (c->flow != NULL)
        take_before(c);
    status s = c->flow != NULL ? flow_refuses(c->flow, &c->err) : OK; /* read, and no more */
    if (s == OK)
        s = hold(c);
    if (s == OK)
        s = c->detour != NULL ? start_detour(c, in, used)
            : is_quick(c)     ? run_here(c, in, used, &ended)
                              : submit(c, in, used);
    if (ended)
        finish(c);
    if (in->len > 0) /* else the whole buffer went along */
        buf_consume(in, used);
    if (s == OK)
        return;
    c->result = s;
    if (c->err.text[0] == '\0')
        err_set(&c->err, s, "the request could not be kept: %s", status_text(s));
    finish(c);
}
