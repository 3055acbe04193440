#include "flow/cache.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "flow/rows.h"

#include <pthread.h>
#include <string.h>

#define BUCKETS   1024
#define OVERHEAD  256 /* bytes that an entry costs besides its key and its tensors */
#define SHARE_MAX 4   /* an entry takes at most this part of the cache */

struct entry {
    struct list recent, bucket; /* guarded by the cache's lock */
    atomic_int refs;            /* the cache's, and one for each answer that views it */
    uint64_t hash;
    struct str key;
    struct arena arena;
    struct infer_output *output;
    int output_count;
    size_t bytes;
};

struct cache {
    pthread_mutex_t lock;
    struct list recent; /* the latest first */
    struct list bucket[BUCKETS];
    size_t bytes, max_bytes;
    struct cache_counters *counters;
};

struct cache *cache_new(size_t max_bytes, struct cache_counters *counters)
{
    struct cache *c = mem_zalloc(sizeof(*c));
    pthread_mutex_init(&c->lock, NULL);
    list_init(&c->recent);
    for (int i = 0; i < BUCKETS; i++)
        list_init(&c->bucket[i]);
    c->max_bytes = max_bytes;
    c->counters = counters;
    return c;
}

static void unref(void *arg)
{
    struct entry *en = arg;
    if (atomic_fetch_sub(&en->refs, 1) != 1)
        return;
    arena_deinit(&en->arena);
    mem_free(en);
}

/* With the lock. */
static void forget(struct cache *c, struct entry *en)
{
    list_remove(&en->recent);
    list_remove(&en->bucket);
    c->bytes -= en->bytes;
    atomic_fetch_sub(&c->counters->bytes, (int_fast64_t)en->bytes);
    atomic_fetch_sub(&c->counters->entries, 1);
    unref(en);
}

void cache_free(struct cache *c)
{
    if (c == NULL)
        return;
    while (!list_empty(&c->recent))
        forget(c, LIST_ENTRY(c->recent.next, struct entry, recent));
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}

/* ---- keys ---- */

struct writer {
    char *to; /* NULL: only count */
    size_t n;
};

static void put(struct writer *w, const void *p, size_t n)
{
    if (w->to != NULL && n > 0)
        memcpy(w->to + w->n, p, n);
    w->n += n;
}

/* Lengths stand in front, so that no two requests write the same bytes. */
static void put_str(struct writer *w, struct str s)
{
    uint64_t n = s.n;
    put(w, &n, sizeof(n));
    put(w, s.p, s.n);
}

static void put_tensor(struct writer *w, const struct tensor *t)
{
    int64_t bytes = tensor_bytes(t), kind[3] = { t->dtype, t->shape.rank, t->lod.levels };
    put(w, kind, sizeof(kind));
    put(w, t->shape.dim, (size_t)t->shape.rank * sizeof(t->shape.dim[0]));
    for (int l = 0; l < t->lod.levels; l++)
        put_str(w, (struct str){ (const char *)t->lod.level[l].offset,
                                 (size_t)t->lod.level[l].count * sizeof(int64_t) });
    put(w, t->data, bytes > 0 ? (size_t)bytes : 0);
}

static void put_request(struct writer *w, const struct infer_request *r)
{
    int64_t counts[2] = { r->feed_count, r->fetch_count };
    put(w, counts, sizeof(counts));
    for (int i = 0; i < r->feed_count; i++) {
        put_str(w, r->feed[i].name);
        put_str(w, r->feed[i].alias);
        put_tensor(w, &r->feed[i].tensor);
    }
    for (int i = 0; i < r->fetch_count; i++)
        put_str(w, r->fetch[i]);
}

struct str cache_key(const struct cache *c, const struct infer_request *r, struct arena *a)
{
    struct writer w = { 0 };
    put_request(&w, r);
    if (w.n + OVERHEAD > c->max_bytes / SHARE_MAX)
        return (struct str){ NULL, 0 };
    w.to = arena_try(a, w.n, 1);
    w.n = 0;
    if (w.to != NULL)
        put_request(&w, r);
    return (struct str){ w.to, w.n };
}

/* ---- finding and keeping ---- */

static struct list *bucket_of(struct cache *c, uint64_t hash)
{
    return &c->bucket[hash % BUCKETS];
}

static struct entry *find(struct cache *c, uint64_t hash, struct str key)
{
    struct list *bucket = bucket_of(c, hash);
    for (struct list *l = bucket->next; l != bucket; l = l->next) {
        struct entry *en = LIST_ENTRY(l, struct entry, bucket);
        if (en->hash == hash && str_eq(en->key, key))
            return en;
    }
    return NULL;
}

bool cache_get(struct cache *c, struct str key, struct arena *a, struct infer_reply *out)
{
    uint64_t hash = map_hash(key);
    pthread_mutex_lock(&c->lock);
    struct entry *en = find(c, hash, key);
    if (en != NULL) {
        atomic_fetch_add(&en->refs, 1);
        list_remove(&en->recent);
        list_push_front(&c->recent, &en->recent);
    }
    pthread_mutex_unlock(&c->lock);
    atomic_fetch_add_explicit(en != NULL ? &c->counters->hits : &c->counters->misses, 1,
                              memory_order_relaxed);
    if (en == NULL)
        return false;
    arena_defer(a, unref, en);
    out->output = en->output;
    out->output_count = en->output_count;
    return true;
}

static struct str copy_str(struct arena *a, struct str s)
{
    return (struct str){ s.n > 0 ? arena_strndup(a, s.p, s.n) : "", s.n };
}

static bool copy_output(struct entry *en, const struct infer_output *from, struct infer_output *to)
{
    to->engine = copy_str(&en->arena, from->engine);
    to->tensor_count = from->tensor_count;
    to->tensor = arena_zalloc(&en->arena, ((size_t)from->tensor_count + 1) * sizeof(*to->tensor));
    for (int i = 0; i < from->tensor_count; i++) {
        struct named_tensor *t = &to->tensor[i];
        t->name = copy_str(&en->arena, from->tensor[i].name);
        t->alias = copy_str(&en->arena, from->tensor[i].alias);
        if (rows_copy(&from->tensor[i].tensor, &en->arena, &t->tensor) != OK)
            return false;
    }
    return true;
}

static size_t bytes_of(struct str key, const struct infer_reply *r)
{
    size_t n = key.n + OVERHEAD;
    for (int i = 0; i < r->output_count; i++)
        for (int k = 0; k < r->output[i].tensor_count; k++) {
            const struct tensor *t = &r->output[i].tensor[k].tensor;
            n += (size_t)tensor_bytes(t) + OVERHEAD;
            for (int l = 0; l < t->lod.levels; l++)
                n += (size_t)t->lod.level[l].count * sizeof(int64_t);
        }
    return n;
}

static struct entry *make(struct str key, const struct infer_reply *r, size_t bytes)
{
    struct entry *en = mem_zalloc(sizeof(*en));
    bool fine = true;
    atomic_init(&en->refs, 1);
    arena_init(&en->arena, 0);
    en->bytes = bytes;
    en->hash = map_hash(key);
    en->key = copy_str(&en->arena, key);
    en->output = arena_zalloc(&en->arena, ((size_t)r->output_count + 1) * sizeof(*en->output));
    en->output_count = r->output_count;
    for (int i = 0; i < r->output_count && fine; i++)
        fine = copy_output(en, &r->output[i], &en->output[i]);
    if (fine)
        return en;
    unref(en);
    return NULL;
}

void cache_put(struct cache *c, struct str key, const struct infer_reply *reply)
{
    size_t bytes = bytes_of(key, reply);
    if (key.n == 0 || bytes > c->max_bytes / SHARE_MAX)
        return;
    struct entry *en = make(key, reply, bytes);
    if (en == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    if (find(c, en->hash, key) != NULL) { /* another call for the same was quicker */
        unref(en);
    } else {
        list_push_front(&c->recent, &en->recent);
        list_push_back(bucket_of(c, en->hash), &en->bucket);
        c->bytes += bytes;
        atomic_fetch_add(&c->counters->bytes, (int_fast64_t)bytes);
        atomic_fetch_add(&c->counters->entries, 1);
    }
    while (c->bytes > c->max_bytes) {
        atomic_fetch_add(&c->counters->evictions, 1);
        forget(c, LIST_ENTRY(c->recent.prev, struct entry, recent));
    }
    pthread_mutex_unlock(&c->lock);
}
