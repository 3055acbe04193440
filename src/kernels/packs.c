#include "base/mem.h"
#include "kernels/kernel.h"

#include <pthread.h>
#include <string.h>

struct pack {
    struct pack *next;
    const void *source;
    uint64_t key;
    void *memory;
    size_t bytes;
};

/* A model has as many packs as layers, and they are looked up while planning only: a list does. */
struct packs {
    pthread_mutex_t lock;
    struct pack *first; /* guarded by lock */
};

struct packs *packs_new(void)
{
    struct packs *p = mem_zalloc(sizeof(*p));
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

void packs_free(struct packs *p)
{
    if (p == NULL)
        return;
    for (struct pack *k = p->first, *next; k != NULL; k = next) {
        next = k->next;
        mem_free(k->memory);
        mem_free(k);
    }
    pthread_mutex_destroy(&p->lock);
    mem_free(p);
}

static struct pack *find(const struct packs *p, const void *source, uint64_t key)
{
    for (struct pack *k = p->first; k != NULL; k = k->next)
        if (k->source == source && k->key == key)
            return k;
    return NULL;
}

static status add(struct packs *p, const void *source, uint64_t key, size_t bytes,
                  status (*fill)(void *arg, void *memory), void *arg, const void **out)
{
    void *memory = mem_try_aligned(bytes > 0 ? bytes : 64, 64);
    if (memory == NULL)
        return NO_MEMORY;
    status s = fill(arg, memory);
    if (s != OK) {
        mem_free(memory);
        return s;
    }
    struct pack *k = mem_alloc(sizeof(*k));
    *k = (struct pack){ p->first, source, key, memory, bytes };
    p->first = k;
    *out = memory;
    return OK;
}

status packs_get(struct packs *p, const void *source, uint64_t key, size_t bytes,
                 status (*fill)(void *arg, void *memory), void *arg, const void **out)
{
    status s = OK;
    pthread_mutex_lock(&p->lock);
    const struct pack *k = find(p, source, key);
    if (k != NULL)
        *out = k->memory;
    else
        s = add(p, source, key, bytes, fill, arg, out);
    pthread_mutex_unlock(&p->lock);
    return s;
}

size_t packs_bytes(const struct packs *p)
{
    size_t total = 0;
    struct packs *mine = (struct packs *)p; /* the lock is not part of what is const */
    pthread_mutex_lock(&mine->lock);
    for (const struct pack *k = p->first; k != NULL; k = k->next)
        total += k->bytes;
    pthread_mutex_unlock(&mine->lock);
    return total;
}

struct copy {
    const void *from;
    size_t bytes;
};

static status fill_copy(void *arg, void *memory)
{
    const struct copy *c = arg;
    memcpy(memory, c->from, c->bytes);
    return OK;
}

#define COPY_KEY 0x636f7079 /* no hash of a kernel's is likely to be it */

status packs_aligned(struct packs *p, const struct tensor *t, const void **out)
{
    struct copy c = { t->data, (size_t)tensor_bytes(t) };
    *out = t->data;
    return tensor_is_aligned(t) ? OK : packs_get(p, t->data, COPY_KEY, c.bytes, fill_copy, &c, out);
}
