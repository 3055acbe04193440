#include "flow/batch_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "flow/rows.h"

#include <string.h>
#include <time.h>

void batch_queue_init(struct batcher *b)
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
void batch_queue_deinit(struct batcher *b)
{
    while (!list_empty(&b->spare)) {
        struct source *s = LIST_ENTRY(b->spare.next, struct source, node);
        list_remove(&s->node);
        mem_free(s);
    }
    mem_free(b->level);
}

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

bool batch_take(struct batcher *b, struct batch *t, uint64_t *swept)
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

/* ---- what comes ---- */

bool batcher_refuses(struct batcher *b)
{
    if (atomic_load_explicit(&b->counters->queued, memory_order_relaxed) < b->options.all.queue_max)
        return false;
    atomic_fetch_add_explicit(&b->counters->refused, 1, memory_order_relaxed);
    return true;
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
