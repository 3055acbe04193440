#include "flow/batch.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "flow/rows.h"
#include "flow/worth.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_ROWS   32
#define QUEUE_MAX  4096
#define BUCKETS    64
#define KEEP_EXEC  ((size_t)256 << 20) /* of a thread's working memory between two batches */
#define SPARE_LONG 1000000000          /* ns: a wait that something else will end */

/* Requests of one connection. */
struct source {
    struct list node;   /* in its level's ring, or in the spare list */
    struct list bucket; /* in the level's hash */
    struct list items;
    uint64_t id;
};

struct level {
    struct list ring;
    struct list hash[BUCKETS];
    int sources;
    int64_t queued; /* of its priority, the overdue ones too */
};

struct batch_thread {
    pthread_t thread;
    struct batcher *batcher;
    bool started;
};

struct batcher {
    struct model *model;
    struct batch_options options;
    struct batch_counters *counters;
    int inputs, outputs;
    int levels;              /* the last one is for those that are overdue */
    atomic_bool inseparable; /* its outputs have no rows to be given back: each request by itself */
    bool measures;           /* whether joining pays, and acts on it */
    atomic_uint_fast64_t pass_until_ns; /* requests need no queue */
    atomic_bool is_trial;               /* each of them is measured */

    pthread_mutex_t lock;
    pthread_cond_t there; /* monotonic clock */
    struct level *level;  /* guarded by lock, like all below */
    struct list spare;    /* struct source */
    int64_t queued, queued_rows;
    bool stopping;
    struct worth worth;
    struct batch_thread *thread;
};

/* Some rows of one request, in one batch. */
struct unit {
    struct batch_item *item;
    int64_t begin, end;
};

struct batch {
    struct arena arena;
    struct unit *unit;
    int count, room;
    int64_t rows;
    bool single, compared; /* one request alone: for now, or to be compared with joined ones */
    uint64_t spent_ns;     /* processor time of joining and computing */
};

/* The outputs of some of a request's rows, kept until all of them are there. */
struct piece {
    struct list node;
    int64_t begin;
    struct arena arena;
    struct tensor *out;
};

bool batch_prefer(struct batch_options *o, int64_t rows)
{
    int at = o->preferred_count;
    if (at == BATCH_PREFERRED_MAX)
        return false;
    for (; at > 0 && o->preferred[at - 1] > rows; at--)
        o->preferred[at] = o->preferred[at - 1];
    o->preferred[at] = rows;
    o->preferred_count++;
    return true;
}

/* ---- the queue; with the lock ---- */

static struct list *bucket_of(struct level *l, uint64_t id)
{
    return &l->hash[(id * UINT64_C(0x9e3779b97f4a7c15)) >> 58];
}

static struct source *source_of(struct batcher *b, struct level *l, uint64_t id)
{
    struct list *bucket = bucket_of(l, id);
    for (struct list *n = bucket->next; n != bucket; n = n->next) {
        struct source *s = LIST_ENTRY(n, struct source, bucket);
        if (s->id == id)
            return s;
    }
    struct source *s;
    if (!list_empty(&b->spare)) {
        s = LIST_ENTRY(b->spare.next, struct source, node);
        list_remove(&s->node);
    } else {
        s = mem_zalloc(sizeof(*s));
        list_init(&s->items);
        list_init(&s->node);
    }
    s->id = id;
    list_push_back(bucket, &s->bucket);
    list_push_back(&l->ring, &s->node);
    l->sources++;
    return s;
}

static void drop_if_empty(struct batcher *b, struct level *l, struct source *s)
{
    if (!list_empty(&s->items))
        return;
    list_remove(&s->bucket);
    list_remove(&s->node);
    l->sources--;
    list_push_front(&b->spare, &s->node);
}

static int level_of(const struct batcher *b, const struct batch_item *i)
{
    int given = b->levels - 1;
    int n = i->level > 0 ? i->level : b->options.default_level;
    if (n < 1)
        n = (given + 1) / 2;
    return (n > given ? given : n) - 1;
}

static void put(struct batcher *b, int level, struct batch_item *i)
{
    struct source *s = source_of(b, &b->level[level], i->source);
    list_push_back(&s->items, &i->node);
}

/* How many rows of it a batch of its own would take; a request that has no rows counts as one. */
static int64_t weight(const struct batch_item *i)
{
    return i->rows - i->taken > 0 ? i->rows - i->taken : 1;
}

static void count_out(struct batcher *b, struct batch_item *i)
{
    b->queued--;
    b->level[i->queue].queued--;
    b->queued_rows -= weight(i);
    atomic_fetch_sub_explicit(&b->counters->queued, 1, memory_order_relaxed);
}

static const struct batch_policy *policy_of(const struct batcher *b, int queue)
{
    const struct batch_options *o = &b->options;
    return queue < BATCH_LEVELS_MAX && o->own[queue].given ? &o->own[queue] : &o->all;
}

static int64_t timeout_of(const struct batcher *b, const struct batch_item *i)
{
    const struct batch_policy *p = policy_of(b, i->queue);
    return p->timeout_override && i->timeout_us > 0 ? i->timeout_us : p->timeout_us;
}

static bool has_room(const struct batcher *b, const struct batch_item *i)
{
    int most = policy_of(b, i->queue)->queue_max;
    return b->queued < b->options.all.queue_max && (most == 0 || b->level[i->queue].queued < most);
}

static bool is_late(const struct batcher *b, const struct batch_item *i, uint64_t now)
{
    int64_t us = timeout_of(b, i);
    return us > 0 && now - i->since_ns > (uint64_t)us * 1000;
}

/* ---- which of them go together; with the lock ---- */

static bool pads(const struct batcher *b, int input, int axis)
{
    for (int i = 0; i < b->options.pad_count; i++)
        if (b->options.pad[i].input == input && b->options.pad[i].axis == axis)
            return true;
    return false;
}

/* What is padded is computed all the same: lengths that are far apart wait for others of their kind. A batch looks for the
 * likest first: the longer may be a part_of-th and some longer, and so on down to the last. */
static const int part_of[] = { 32, 12, 4 };

static bool are_near(int64_t x, int64_t y, int part)
{
    int64_t shorter = x < y ? x : y, longer = x < y ? y : x;
    return longer <= shorter + (shorter + 32) / part;
}

static bool tensors_join(const struct batcher *b, int input, const struct tensor *x,
                         const struct tensor *y, int part)
{
    if (x->shape.rank < 1 || x->shape.rank != y->shape.rank || x->lod.levels != y->lod.levels ||
        x->dtype != y->dtype)
        return false;
    for (int d = 1; d < x->shape.rank; d++)
        if (x->shape.dim[d] != y->shape.dim[d] &&
            !(pads(b, input, d) && are_near(x->shape.dim[d], y->shape.dim[d], part)))
            return false;
    return true;
}

static bool items_join(const struct batcher *b, const struct batch_item *x,
                       const struct batch_item *y, int part)
{
    for (int i = 0; i < b->inputs; i++)
        if (!tensors_join(b, i, &x->in[i], &y->in[i], part))
            return false;
    return true;
}

/* The number of rows that all inputs agree on; 0 where they do not, and then it is computed by itself. */
static int64_t rows_of(const struct batcher *b, const struct tensor *in)
{
    int64_t rows = b->inputs > 0 ? rows_count(&in[0]) : -1;
    for (int i = 1; i < b->inputs; i++)
        if (rows_count(&in[i]) != rows)
            return 0;
    return rows > 0 ? rows : 0;
}

static void add_unit(struct batch *t, struct batch_item *i, int64_t begin, int64_t end)
{
    if (t->count == t->room) {
        int room = t->room * 2 + 16;
        struct unit *more = mem_alloc((size_t)room * sizeof(*more));
        if (t->count > 0)
            memcpy(more, t->unit, (size_t)t->count * sizeof(*more));
        mem_free(t->unit);
        t->unit = more;
        t->room = room;
    }
    t->unit[t->count++] = (struct unit){ i, begin, end };
    t->rows += end - begin;
}

/* What a batch still looks for. */
struct wish {
    int64_t rows;
    int part; /* of part_of */
};

static int64_t room_of(const struct batcher *b, const struct batch *t, int64_t target)
{
    bool alone =
        t->count > 0 && (t->single || t->unit[0].item->rows == 0 || atomic_load(&b->inseparable));
    return alone || t->rows >= target ? 0 : target - t->rows;
}

/* Takes of the item what fits into the batch; false: nothing does. An item of which something is left stays queued. */
static bool take_item(struct batcher *b, struct batch *t, const struct wish *w, struct level *l,
                      struct source *s)
{
    struct batch_item *i = LIST_ENTRY(s->items.next, struct batch_item, node);
    bool by_itself = i->rows == 0 || atomic_load(&b->inseparable);
    if (t->count > 0 &&
        (by_itself || t->unit[0].item->rows == 0 || !items_join(b, t->unit[0].item, i, w->part)))
        return false;
    int64_t room = room_of(b, t, w->rows), n = i->rows - i->taken;
    if (!by_itself && n > room) {
        if (i->rows <= b->options.max_rows)
            return false;
        n = room;
    }
    bool whole = by_itself || n == i->rows - i->taken;
    if (whole) {
        count_out(b, i);
        list_remove(&i->node);
    } else {
        b->queued_rows -= n;
    }
    if (i->taken == 0)
        i->begun_ns = clock_ns();
    add_unit(t, i, i->taken, i->taken + n);
    i->taken += n;
    drop_if_empty(b, l, s);
    return true;
}

/* Rounds over the connections until nobody has anything that fits. */
static void take_level(struct batcher *b, struct batch *t, const struct wish *w, struct level *l)
{
    for (bool gave = true; gave && room_of(b, t, w->rows) > 0;) {
        gave = false;
        for (int k = l->sources; k > 0 && room_of(b, t, w->rows) > 0; k--) {
            struct source *s = LIST_ENTRY(l->ring.next, struct source, node);
            list_remove(&s->node);
            list_push_back(&l->ring, &s->node);
            gave = take_item(b, t, w, l, s) || gave;
        }
    }
}

/* The largest preferred size that is there, or everything up to the most. */
static int64_t target_rows(const struct batcher *b)
{
    const struct batch_options *o = &b->options;
    for (int i = o->preferred_count - 1; i >= 0; i--)
        if (o->preferred[i] <= b->queued_rows && o->preferred[i] <= o->max_rows)
            return o->preferred[i];
    return o->max_rows;
}

static int64_t wished_rows(const struct batch_options *o)
{
    int64_t rows = o->max_rows;
    if (o->preferred_count > 0 && o->preferred[o->preferred_count - 1] < rows)
        rows = o->preferred[o->preferred_count - 1];
    return rows;
}

/* The most urgent first, and of them those most like the first one. */
static void take_rows(struct batcher *b, struct batch *t)
{
    const int64_t rows = target_rows(b);
    bool apart = b->measures && worth_is_apart(&b->worth, clock_ns());
    t->compared = b->measures && !apart && b->queued > 1 && worth_compares(&b->worth);
    t->single = apart || t->compared;
    for (int n = 0; n < b->levels; n++)
        for (size_t p = b->options.pad_count > 0 ? 0 : ARRAY_LEN(part_of) - 1;
             p < ARRAY_LEN(part_of); p++)
            take_level(b, t, &(struct wish){ rows, part_of[p] }, &b->level[n]);
}

/* ---- requests that will not be computed ---- */

static void refuse(struct batch_item *i, status s, const char *words)
{
    err_set(&i->err, s, "%s", words);
    i->done(i, s, NULL, NULL);
}

static bool is_gone(const struct batch_item *i)
{
    for (size_t k = 0; k < ARRAY_LEN(i->gone); k++)
        if (i->gone[k] != NULL && atomic_load_explicit(i->gone[k], memory_order_relaxed))
            return true;
    return false;
}

static bool is_dead(const struct batch_item *i, uint64_t now)
{
    return (i->deadline_ns != 0 && now > i->deadline_ns) || is_gone(i);
}

/* Moves those that are overdue or that nobody waits for out of the queue; gives the oldest waiting one's time. */
static uint64_t sweep(struct batcher *b, struct list *dead, uint64_t now)
{
    uint64_t oldest = UINT64_MAX;
    for (int n = 0; n < b->levels; n++) {
        struct level *l = &b->level[n];
        for (struct list *r = l->ring.next, *after; r != &l->ring; r = after) {
            struct source *s = LIST_ENTRY(r, struct source, node);
            after = r->next;
            for (struct list *k = s->items.next, *next; k != &s->items; k = next) {
                struct batch_item *i = LIST_ENTRY(k, struct batch_item, node);
                next = k->next;
                bool late = !i->overdue && is_late(b, i, now);
                bool waits_on = late && policy_of(b, i->queue)->delay_overdue;
                if (i->taken == 0 && (is_dead(i, now) || (late && !waits_on))) {
                    count_out(b, i);
                    list_remove(&i->node);
                    list_push_back(dead, &i->node);
                } else if (late && i->taken == 0) {
                    i->overdue = true;
                    atomic_fetch_add(&b->counters->overdue, 1);
                    list_remove(&i->node);
                    put(b, b->levels - 1, i);
                }
                oldest = i->since_ns < oldest ? i->since_ns : oldest;
            }
            drop_if_empty(b, l, s);
        }
    }
    return oldest;
}

static void bury(struct batcher *b, struct list *dead)
{
    while (!list_empty(dead)) {
        struct batch_item *i = LIST_ENTRY(dead->next, struct batch_item, node);
        list_remove(&i->node);
        if (is_gone(i)) {
            refuse(i, CANCELLED, "the caller has gone");
            continue;
        }
        atomic_fetch_add(&b->counters->overdue, 1);
        refuse(i, TIMED_OUT, "Request timeout expired: it waited too long for its batch");
    }
}

/* ---- taking a batch ---- */

static void wait_until(struct batcher *b, uint64_t ns)
{
    struct timespec at = { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };
    pthread_cond_timedwait(&b->there, &b->lock, &at);
}

/* Sweeping looks at every queued request: only where somebody may be late or gone, and not more often than this. */
#define SWEEP_NS 1000000

/* The next batch; false: the batcher ends. */
static bool take_batch(struct batcher *b, struct batch *t, uint64_t *swept)
{
    struct list dead;
    list_init(&dead);
    pthread_mutex_lock(&b->lock);
    for (;;) {
        while (b->queued == 0 && !b->stopping)
            pthread_cond_wait(&b->there, &b->lock);
        uint64_t now = clock_ns();
        if (b->queued == 0)
            break;
        uint64_t oldest = now;
        if (b->options.delay_us > 0 || now - *swept > SWEEP_NS) {
            oldest = sweep(b, &dead, now);
            *swept = now;
        }
        uint64_t until = oldest + (uint64_t)b->options.delay_us * 1000;
        if (!list_empty(&dead))
            break;
        if (b->options.delay_us <= 0 || b->stopping || b->queued_rows >= wished_rows(&b->options) ||
            now >= until) {
            take_rows(b, t);
            break;
        }
        wait_until(b, until);
    }
    bool goes_on = b->queued > 0 || t->count > 0 || !b->stopping || !list_empty(&dead);
    pthread_mutex_unlock(&b->lock);
    bury(b, &dead);
    return goes_on;
}

/* ---- computing ---- */

static void forget_pieces(struct batch_item *i)
{
    while (!list_empty(&i->pieces)) {
        struct piece *p = LIST_ENTRY(i->pieces.next, struct piece, node);
        list_remove(&p->node);
        arena_deinit(&p->arena);
        mem_free(p);
    }
}

static int by_begin(const void *a, const void *b)
{
    const struct piece *x = *(struct piece *const *)a, *y = *(struct piece *const *)b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* All pieces are there: one behind the other they are the answer. */
static status join_pieces(const struct batcher *b, struct batch_item *i, struct arena *a,
                          struct tensor *out)
{
    int count = 0, k = 0;
    for (struct list *n = i->pieces.next; n != &i->pieces; n = n->next)
        count++;
    struct piece **piece = arena_zalloc(a, (size_t)count * sizeof(struct piece *));
    const struct tensor **t = arena_zalloc(a, (size_t)count * sizeof(*t));
    for (struct list *n = i->pieces.next; n != &i->pieces; n = n->next)
        piece[k++] = LIST_ENTRY(n, struct piece, node);
    qsort(piece, (size_t)count, sizeof(struct piece *), by_begin);
    for (int o = 0; o < b->outputs; o++) {
        for (k = 0; k < count; k++) {
            t[k] = &piece[k]->out[o];
            if (!rows_joinable(t[0], t[k]))
                return err_set(&i->err, TOO_LARGE,
                               "the request has %lld rows, more than fit into one batch, and the "
                               "model's outputs cannot be put together from several",
                               (long long)i->rows);
        }
        TRY(rows_join(t, count, a, &out[o]));
    }
    return OK;
}

static void finish_pieces(struct batcher *b, struct batch_item *i, struct exec *x)
{
    struct arena a;
    arena_init(&a, 0);
    struct tensor *out = arena_zalloc(&a, ((size_t)b->outputs + 1) * sizeof(*out));
    status s = i->failed != OK ? i->failed : join_pieces(b, i, &a, out);
    forget_pieces(i);
    i->done(i, s, s == OK ? out : NULL, x);
    arena_deinit(&a);
}

static status copy_piece(const struct batcher *b, const struct tensor *out, struct piece *p)
{
    for (int o = 0; o < b->outputs; o++) {
        const struct tensor *t = &out[o];
        TRY(rows_join(&t, 1, &p->arena, &p->out[o]));
    }
    return OK;
}

/* Some rows of a larger request are ready, or failed. */
static void end_piece(struct batcher *b, const struct unit *u, status s, const struct tensor *out,
                      const struct err *e, struct exec *x)
{
    struct batch_item *i = u->item;
    struct piece *p = mem_zalloc(sizeof(*p));
    arena_init(&p->arena, 0);
    p->begin = u->begin;
    p->out = arena_zalloc(&p->arena, ((size_t)b->outputs + 1) * sizeof(*p->out));
    if (s == OK)
        s = copy_piece(b, out, p);
    pthread_mutex_lock(&b->lock);
    list_push_back(&i->pieces, &p->node);
    if (s != OK && i->failed == OK) {
        i->failed = s;
        i->err = *e;
    }
    i->finished += u->end - u->begin;
    bool all = i->finished == i->rows;
    pthread_mutex_unlock(&b->lock);
    if (all)
        finish_pieces(b, i, x);
}

static void end_unit(struct batcher *b, const struct unit *u, status s, const struct tensor *out,
                     const struct err *e, struct exec *x)
{
    struct batch_item *i = u->item;
    if (u->end - u->begin != i->rows) {
        end_piece(b, u, s, out, e, x);
        return;
    }
    i->err = *e;
    i->done(i, s, s == OK ? out : NULL, x);
}

static struct tensor *unit_inputs(const struct batcher *b, const struct unit *u, struct arena *a)
{
    const struct batch_item *i = u->item;
    if (u->end - u->begin == i->rows)
        return (struct tensor *)i->in;
    struct tensor *in = arena_zalloc(a, ((size_t)b->inputs + 1) * sizeof(*in));
    for (int k = 0; k < b->inputs; k++)
        in[k] = rows_slice(&i->in[k], u->begin, u->end, a);
    return in;
}

/* Processor time of this thread: others may have it off the processor. 0 where nobody asks. */
static uint64_t spent(const struct batcher *b)
{
    struct timespec t = { 0, 0 };
    if (b->measures)
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void compute_alone(struct batcher *b, struct batch *t, const struct unit *u, struct exec *x)
{
    struct arena *a = &t->arena;
    struct err e = { "" };
    struct tensor *out = arena_zalloc(a, ((size_t)b->outputs + 1) * sizeof(*out));
    uint64_t begin = spent(b);
    status s = exec_run(x, b->model, unit_inputs(b, u, a), out, &e);
    t->spent_ns += spent(b) - begin;
    end_unit(b, u, s, out, &e, x);
}

/* ---- joining ---- */

static int64_t longest(const struct batch *t, const struct batch_pad *p)
{
    int64_t n = 0;
    for (int k = 0; k < t->count; k++) {
        int64_t dim = t->unit[k].item->in[p->input].shape.dim[p->axis];
        n = dim > n ? dim : n;
    }
    return n;
}

static int64_t numel(const struct tensor *t)
{
    return shape_numel(&t->shape);
}

/* Replaces the units' own tensors by padded ones where their axis is shorter than the batch's. */
static status pad_units(struct batcher *b, struct batch *t, struct tensor **in)
{
    for (int n = 0; n < b->options.pad_count; n++) {
        const struct batch_pad *p = &b->options.pad[n];
        const struct rows_pad pad = { p->axis, longest(t, p), p->value };
        for (int k = 0; k < t->count; k++) {
            struct tensor *x = &in[k][p->input], longer = *x;
            if (x->shape.dim[p->axis] != pad.length)
                TRY(rows_pad(x, &pad, &t->arena, &longer));
            atomic_fetch_add(&b->counters->padding, (uint64_t)(numel(&longer) - numel(x)));
            atomic_fetch_add(&b->counters->elements, (uint64_t)numel(&longer));
            *x = longer;
        }
    }
    return OK;
}

static status join_inputs(struct batcher *b, struct batch *t, struct tensor *joined)
{
    size_t inputs = (size_t)b->inputs + 1;
    struct tensor **in = arena_zalloc(&t->arena, (size_t)t->count * sizeof(*in));
    const struct tensor **one = arena_zalloc(&t->arena, (size_t)t->count * sizeof(*one));
    for (int k = 0; k < t->count; k++) {
        in[k] = arena_alloc(&t->arena, inputs * sizeof(**in));
        memcpy(in[k], unit_inputs(b, &t->unit[k], &t->arena), (inputs - 1) * sizeof(**in));
    }
    TRY(pad_units(b, t, in));
    for (int i = 0; i < b->inputs; i++) {
        for (int k = 0; k < t->count; k++)
            one[k] = &in[k][i];
        TRY(rows_join(one, t->count, &t->arena, &joined[i]));
    }
    return OK;
}

static bool is_separable(struct batcher *b, const struct batch *t, const struct tensor *out)
{
    int count;
    const struct port *port = model_outputs(b->model, &count);
    for (int o = 0; o < b->outputs; o++) {
        if (rows_count(&out[o]) == t->rows)
            continue;
        if (!atomic_exchange(&b->inseparable, true))
            log_line(LOG_WARN, "flow",
                     "batching is off: output '%s' has %lld rows for a batch of %lld, so that it "
                     "cannot be told what belongs to whom",
                     port[o].alias, (long long)rows_count(&out[o]), (long long)t->rows);
        return false;
    }
    return true;
}

static status trim_outputs(const struct batcher *b, const struct batch_item *i, struct arena *a,
                           struct tensor *out)
{
    for (int n = 0; n < b->options.trim_count; n++) {
        const struct batch_trim *t = &b->options.trim[n];
        int64_t want = i->in[t->input].shape.dim[t->input_axis];
        struct tensor *o = &out[t->output];
        const struct tensor whole = *o;
        if (t->axis < whole.shape.rank && whole.shape.dim[t->axis] > want)
            TRY(rows_trim(&whole, t->axis, want, a, o));
    }
    return OK;
}

static void hand_out(struct batcher *b, struct batch *t, const struct tensor *out, struct exec *x)
{
    int64_t row = 0;
    for (int k = 0; k < t->count; k++) {
        const struct unit *u = &t->unit[k];
        struct err e = { "" };
        int64_t n = u->end - u->begin;
        struct tensor *mine = arena_zalloc(&t->arena, ((size_t)b->outputs + 1) * sizeof(*mine));
        for (int o = 0; o < b->outputs; o++)
            mine[o] = rows_slice(&out[o], row, row + n, &t->arena);
        row += n;
        status s = trim_outputs(b, u->item, &t->arena, mine);
        if (s != OK)
            err_set(&e, s, "no memory for the outputs");
        end_unit(b, u, s, mine, &e, x);
    }
}

static bool compute_joined(struct batcher *b, struct batch *t, struct exec *x)
{
    struct tensor *in = arena_zalloc(&t->arena, ((size_t)b->inputs + 1) * sizeof(*in));
    struct tensor *out = arena_zalloc(&t->arena, ((size_t)b->outputs + 1) * sizeof(*out));
    uint64_t begin = spent(b);
    bool fine = join_inputs(b, t, in) == OK && exec_run(x, b->model, in, out, NULL) == OK;
    t->spent_ns += spent(b) - begin;
    if (!fine || !is_separable(b, t, out))
        return false;
    hand_out(b, t, out, x);
    return true;
}

static void compute_batch(struct batcher *b, struct batch *t, struct exec *x)
{
    struct batch_counters *c = b->counters;
    atomic_fetch_add(&c->batches, 1);
    atomic_fetch_add(&c->requests, (uint64_t)t->count);
    atomic_fetch_add(&c->rows, (uint64_t)t->rows);
    if (t->count > 1 && compute_joined(b, t, x))
        return;
    if (t->count > 1)
        atomic_fetch_add(&c->alone, (uint64_t)t->count);
    for (int k = 0; k < t->count; k++)
        compute_alone(b, t, &t->unit[k], x);
}

static double elements_of(const struct unit *u)
{
    const struct batch_item *i = u->item;
    double all = (double)numel(&i->in[0]);
    return i->rows > 0 ? all * (double)(u->end - u->begin) / (double)i->rows : all;
}

/* What the batch is asked for, to be known when its requests are answered and gone. */
static struct worth_cost asked(const struct batcher *b, const struct batch *t)
{
    struct worth_cost c = { 0, 0, t->count };
    for (int k = 0; k < t->count && b->inputs > 0; k++)
        c.elements += elements_of(&t->unit[k]);
    return c;
}

/* With the lock: what those look at who have none. */
static void publish(struct batcher *b)
{
    const struct worth *w = &b->worth;
    atomic_store_explicit(&b->is_trial, w->trial_until_ns > w->apart_until_ns,
                          memory_order_relaxed);
    atomic_store_explicit(&b->pass_until_ns, worth_passes_until(w), memory_order_relaxed);
}

static void learn(struct batcher *b, const struct batch *t, struct worth_cost cost)
{
    struct worth *w = &b->worth;
    uint64_t now = clock_ns();
    cost.ns = (double)t->spent_ns;
    pthread_mutex_lock(&b->lock);
    if (t->compared)
        worth_note_alone(w, cost);
    else
        worth_note_queued(w, cost, now);
    publish(b);
    pthread_mutex_unlock(&b->lock);
}

static void compute(struct batcher *b, struct batch *t, struct exec *x)
{
    bool traced = trace_is_on(b->options.trace);
    uint64_t begin = traced ? clock_ns() : 0;
    int count = t->count;
    const struct worth_cost cost = b->measures ? asked(b, t) : (struct worth_cost){ 0 };
    if (traced)
        trace_enter(b->options.trace, x);
    t->spent_ns = 0;
    compute_batch(b, t, x);
    if (b->measures)
        learn(b, t, cost);
    if (!traced)
        return;
    trace_leave(x);
    trace_put(b->options.trace, &(struct trace_span){ .kind = "batch",
                                                      .name = b->options.name,
                                                      .begin_ns = begin,
                                                      .end_ns = clock_ns(),
                                                      .requests = count });
}

static void *work(void *arg)
{
    struct batch_thread *self = arg;
    struct batcher *b = self->batcher;
    struct exec *x = exec_new();
    struct batch t = { 0 };
    uint64_t swept = 0;
    arena_init(&t.arena, 0);
    while (take_batch(b, &t, &swept)) {
        if (t.count > 0)
            compute(b, &t, x);
        t.count = 0;
        t.rows = 0;
        arena_reset(&t.arena);
        exec_trim(x, KEEP_EXEC);
    }
    arena_deinit(&t.arena);
    mem_free(t.unit);
    exec_free(x);
    return NULL;
}

/* ---- life ---- */

static void init_levels(struct batcher *b)
{
    b->levels = (b->options.levels > 0 ? b->options.levels : 1) + 1;
    b->level = mem_zalloc((size_t)b->levels * sizeof(*b->level));
    for (int i = 0; i < b->levels; i++) {
        list_init(&b->level[i].ring);
        for (int k = 0; k < BUCKETS; k++)
            list_init(&b->level[i].hash[k]);
    }
    list_init(&b->spare);
}

static void init_lock(struct batcher *b)
{
    pthread_condattr_t attr;
    pthread_mutex_init(&b->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b->there, &attr);
    pthread_condattr_destroy(&attr);
}

static void start_threads(struct batcher *b)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    b->thread = mem_zalloc((size_t)b->options.threads * sizeof(*b->thread));
    for (int i = 0; i < b->options.threads; i++) {
        struct batch_thread *t = &b->thread[i];
        t->batcher = b;
        t->started = pthread_create(&t->thread, NULL, work, t) == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* Nothing says that requests are to wait, or which of them. */
static bool is_free(const struct batch_options *o)
{
    bool own = false;
    for (int i = 0; i < BATCH_LEVELS_MAX; i++)
        own = own || o->own[i].given;
    return !own && o->delay_us <= 0 && o->preferred_count == 0 && o->levels <= 1 &&
           o->all.timeout_us <= 0;
}

struct batcher *batcher_new(struct model *m, const struct batch_options *o,
                            struct batch_counters *counters)
{
    struct batcher *b = mem_zalloc(sizeof(*b));
    b->model = model_ref(m);
    b->options = *o;
    b->counters = counters;
    if (b->options.max_rows <= 0)
        b->options.max_rows = MAX_ROWS;
    if (b->options.all.queue_max <= 0)
        b->options.all.queue_max = QUEUE_MAX;
    model_inputs(m, &b->inputs);
    model_outputs(m, &b->outputs);
    b->measures = is_free(o) && b->options.max_rows > 1 && model_graph(m) != NULL;
    init_levels(b);
    init_lock(b);
    start_threads(b);
    return b;
}

void batcher_free(struct batcher *b)
{
    if (b == NULL)
        return;
    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    pthread_cond_broadcast(&b->there);
    pthread_mutex_unlock(&b->lock);
    for (int i = 0; i < b->options.threads; i++)
        if (b->thread[i].started)
            pthread_join(b->thread[i].thread, NULL);
    while (!list_empty(&b->spare)) {
        struct source *s = LIST_ENTRY(b->spare.next, struct source, node);
        list_remove(&s->node);
        mem_free(s);
    }
    pthread_cond_destroy(&b->there);
    pthread_mutex_destroy(&b->lock);
    model_unref(b->model);
    mem_free(b->level);
    mem_free(b->thread);
    mem_free(b);
}

bool batcher_refuses(struct batcher *b)
{
    if (atomic_load_explicit(&b->counters->queued, memory_order_relaxed) < b->options.all.queue_max)
        return false;
    atomic_fetch_add_explicit(&b->counters->refused, 1, memory_order_relaxed);
    return true;
}

bool batcher_lets_pass(const struct batcher *b)
{
    uint64_t until = atomic_load_explicit(&b->pass_until_ns, memory_order_relaxed);
    return until != 0 && clock_ns() < until;
}

/* Asking for the time of a thread costs as much as a small model does. */
#define DIRECT_EACH 16

/* 0: this one is not measured. */
uint64_t batcher_begin_direct(struct batcher *b)
{
    uint64_t turn = atomic_fetch_add_explicit(&b->counters->direct, 1, memory_order_relaxed);
    bool tried = atomic_load_explicit(&b->is_trial, memory_order_relaxed);
    return tried || turn % DIRECT_EACH == 0 ? spent(b) : 0;
}

void batcher_end_direct(struct batcher *b, uint64_t begun, const struct tensor *in)
{
    if (begun == 0 || b->inputs == 0)
        return;
    struct worth_cost cost = { (double)(spent(b) - begun), (double)numel(&in[0]), 1 };
    pthread_mutex_lock(&b->lock);
    worth_note_direct(&b->worth, cost, clock_ns());
    publish(b);
    pthread_mutex_unlock(&b->lock);
}

status batcher_submit(struct batcher *b, struct batch_item *i, struct err *e)
{
    TRY(exec_check(b->model, i->in, e));
    i->rows = rows_of(b, i->in);
    i->queue = level_of(b, i);
    i->taken = i->finished = 0;
    i->since_ns = i->begun_ns = clock_ns();
    i->overdue = false;
    i->failed = OK;
    i->err.text[0] = '\0';
    list_init(&i->pieces);
    list_init(&i->node);
    pthread_mutex_lock(&b->lock);
    bool taken = has_room(b, i) && !b->stopping;
    if (taken) {
        put(b, i->queue, i);
        b->queued++;
        b->level[i->queue].queued++;
        b->queued_rows += weight(i);
        atomic_fetch_add_explicit(&b->counters->queued, 1, memory_order_relaxed);
        pthread_cond_signal(&b->there);
    }
    pthread_mutex_unlock(&b->lock);
    if (taken)
        return OK;
    atomic_fetch_add(&b->counters->refused, 1);
    return err_set(e, BUSY, "Exceeds maximum queue size: %lld requests wait for this model",
                   (long long)atomic_load(&b->counters->queued));
}
