/* Requests on their way through the operators. */
#include "crew/internal.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* The error number by which a pipeline's operator says that its time ran out: what `retry` is for. */
#define FAULT_TIMEOUT 6000

/* ---- blobs ---- */

static struct blob *blob_new(struct str bytes)
{
    struct blob *b = mem_try(sizeof(*b) + bytes.n);
    if (b == NULL)
        return NULL;
    b->refs = 1;
    b->n = bytes.n;
    if (bytes.n > 0)
        memcpy(b->p, bytes.p, bytes.n);
    return b;
}

static void blob_unref(struct blob *b)
{
    if (b != NULL && --b->refs == 0)
        mem_free(b);
}

/* ---- life ---- */

static void forget_made(struct request *r)
{
    for (int i = 0; i < r->crew->conf.op_count; i++) {
        blob_unref(r->of[i].blob);
        r->of[i] = (struct made){ 0 };
    }
}

void request_unref(struct request *r)
{
    if (--r->refs > 0)
        return;
    forget_made(r);
    mem_free(r);
}

void turn_free(struct turn *t)
{
    request_unref(t->request);
    mem_free(t);
}

static void count_end(struct crew *c, const struct request *r)
{
    uint64_t us = (clock_ns() - r->begin_ns) / 1000;
    bool good = r->task->result == OK && !r->at_fault;
    c->answered += good;
    c->failed += !good;
    c->sum_us += us;
    c->taken_count++;
    c->taken_us += us;
    c->taken_failed += !good;
    if (c->latest_count < CREW_LATEST)
        c->latest_us[c->latest_count++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
    if (!good && c->bad_count < CREW_BAD_IDS)
        c->bad[c->bad_count++] = r->id;
}

void request_finish(struct request *r, status s, const char *words)
{
    struct crew *c = r->crew;
    if (r->finished)
        return;
    r->finished = true;
    r->task->result = s;
    if (s != OK)
        snprintf(r->task->err.text, sizeof(r->task->err.text), "%s", words);
    count_end(c, r);
    c->in_flight--;
    list_remove(&r->node);
    list_push_back(&c->over, &r->node);
}

static bool is_gone(const struct request *r)
{
    for (int i = 0; i < 2; i++)
        if (r->task->gone[i] != NULL && atomic_load(r->task->gone[i]))
            return true;
    return false;
}

/* ---- from operator to operator ---- */

static void enqueue(struct request *r, struct op *op, int only, uint64_t now)
{
    struct turn *t = mem_zalloc(sizeof(*t));
    *t = (struct turn){
        .request = r, .op = op, .attempt = r->attempt, .only = only, .since_ns = now
    };
    r->of[op->index].started = true;
    r->refs++;
    list_push_back(&op->queue, &t->node);
    op->queued++;
    if (op->queued > op->queued_most)
        op->queued_most = op->queued;
}

static bool comes_from(const struct op *op, int source)
{
    for (int i = 0; i < op->conf->input_count; i++)
        if (op->conf->input[i] == source)
            return true;
    return false;
}

static bool has_all(const struct request *r, const struct op *op)
{
    if (r->crew->conf.first_arrival)
        return true;
    for (int i = 0; i < op->conf->input_count; i++)
        if (op->conf->input[i] >= 0 && r->of[op->conf->input[i]].blob == NULL)
            return false;
    return true;
}

/* Starts the operators behind `source` that now have all they need. */
static void hand_on(struct request *r, int source)
{
    uint64_t now = clock_ns();
    for (int i = 0; i < r->crew->conf.op_count; i++) {
        struct op *op = &r->crew->op[i];
        if (!r->of[i].started && comes_from(op, source) && has_all(r, op)) {
            enqueue(r, op, ALL_INPUTS, now);
            crew_wake_by(r->crew, op_dispatch(op, now));
        }
    }
}

static void jump(struct request *r, const struct op *from)
{
    uint64_t now = clock_ns();
    for (int i = 0; i < from->conf->jump_count; i++) {
        struct op *op = &r->crew->op[from->conf->jump[i]];
        if (!r->of[op->index].started) {
            enqueue(r, op, from->index, now);
            crew_wake_by(r->crew, op_dispatch(op, now));
        }
    }
}

void request_begin(struct request *r)
{
    hand_on(r, -1);
}

static void begin_again(struct request *r)
{
    r->attempt++;
    r->attempts_left--;
    forget_made(r);
    request_begin(r);
}

static void take_final(struct turn *t, const struct crew_outcome *o)
{
    struct request *r = t->request;
    t->op->failures += o->fault != 0;
    if (o->fault == FAULT_TIMEOUT && r->attempts_left > 0) {
        begin_again(r);
        return;
    }
    r->task->code = o->code;
    r->at_fault = o->fault != 0;
    buf_append(r->task->reply, o->bytes.p, o->bytes.n);
    if (buf_check(r->task->reply) != OK)
        request_finish(r, NO_MEMORY, "the answer is larger than this server's memory allows");
    else
        request_finish(r, OK, "");
}

void turn_deliver(struct turn *t, const struct crew_outcome *o)
{
    struct request *r = t->request;
    struct op *op = t->op;
    if (!r->finished && t->attempt == r->attempt) {
        if (o->kind == CREW_FINAL)
            take_final(t, o);
        else if ((r->of[op->index].blob = blob_new(o->bytes)) == NULL)
            request_finish(r, NO_MEMORY, "no memory for what an operator made of the request");
        else if (o->kind == CREW_JUMP)
            jump(r, op);
        else
            hand_on(r, op->index);
    }
    turn_free(t);
}

void turn_fail(struct turn *t, status s, const char *words)
{
    t->op->failures++;
    if (t->attempt == t->request->attempt)
        request_finish(t->request, s, words);
    turn_free(t);
}

/* ---- from the queue to a slot ---- */

static struct turn *pop(struct op *op)
{
    struct turn *t = LIST_ENTRY(op->queue.next, struct turn, node);
    list_remove(&t->node);
    op->queued--;
    return t;
}

/* Whether it still is to be worked on; if not, it is freed. */
static bool is_wanted(struct turn *t)
{
    struct request *r = t->request;
    if (!r->finished && is_gone(r))
        request_finish(r, CANCELLED, "the caller has gone");
    if (!r->finished && t->attempt == r->attempt)
        return true;
    turn_free(t);
    return false;
}

static void put_back(struct op *op, struct turn *const *turn, int count)
{
    while (count > 0) {
        list_push_front(&op->queue, &turn[--count]->node);
        op->queued++;
    }
}

/* The slot whose process has the least to do: threads of one process wait for one another. */
static struct slot *pick_slot(struct op *op)
{
    struct slot *best = NULL;
    for (struct list *l = op->idle.next; l != &op->idle; l = l->next) {
        struct slot *s = LIST_ENTRY(l, struct slot, node);
        if (best == NULL || s->process->busy < best->process->busy)
            best = s;
        if (best->process->busy == 0)
            break;
    }
    return best;
}

static void give(struct op *op, struct turn **turn, int count, uint64_t now)
{
    struct err e = { "" };
    status fault = OK;
    if (!slot_give(pick_slot(op), turn, count, &e, &fault)) {
        put_back(op, turn, count);
        return;
    }
    for (int i = 0; i < count && fault == OK; i++)
        op->in_us += (now - turn[i]->since_ns) / 1000;
    for (int i = 0; i < count && fault != OK; i++)
        turn_fail(turn[i], fault, e.text);
}

/* 0: a batch may be made; else when it may. */
static uint64_t batch_due(const struct op *op, uint64_t now)
{
    const struct turn *first = LIST_ENTRY(op->queue.next, struct turn, node);
    uint64_t due = first->since_ns + (uint64_t)op->conf->batch_wait_ms * 1000000;
    return op->queued >= op->conf->batch_size || due <= now ? 0 : due;
}

/* Whether the channels of all operators behind this one have room: else it waits, and holds those before it up in turn. What its
 * slots have in their hands may still come. */
static bool has_room_behind(const struct op *op)
{
    const struct crew *c = op->crew;
    for (int i = 0; i < c->conf.op_count; i++) {
        const struct op *next = &c->op[i];
        int most = next->conf->channel_size;
        if (most > 0 && next->queued >= most && comes_from(next, op->index))
            return false;
    }
    return true;
}

/* There is room in this operator's channel again. */
static void wake_before(struct op *op, uint64_t now)
{
    for (int i = 0; i < op->conf->input_count && op->conf->channel_size > 0; i++)
        if (op->conf->input[i] >= 0)
            crew_wake_by(op->crew, op_dispatch(&op->crew->op[op->conf->input[i]], now));
}

uint64_t op_dispatch(struct op *op, uint64_t now)
{
    struct turn *turn[CREW_BATCH_MAX];
    while (!list_empty(&op->queue) && !list_empty(&op->idle) && has_room_behind(op)) {
        int count = 0;
        uint64_t due = batch_due(op, now);
        if (due != 0)
            return due;
        while (count < op->conf->batch_size && !list_empty(&op->queue)) {
            turn[count] = pop(op);
            count += is_wanted(turn[count]);
        }
        if (count > 0)
            give(op, turn, count, now);
        wake_before(op, now);
    }
    return 0;
}
