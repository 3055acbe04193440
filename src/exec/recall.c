#include "exec/recall.h"

#include "base/mem.h"

#include <stdatomic.h>

struct recall {
    atomic_int refs;
    _Atomic(struct kept *) slot[RECALL_SLOTS];
};

struct recall *recall_new(void)
{
    struct recall *r = mem_zalloc(sizeof(*r));
    atomic_init(&r->refs, 1);
    return r;
}

struct recall *recall_ref(struct recall *r)
{
    atomic_fetch_add(&r->refs, 1);
    return r;
}

void recall_unref(struct recall *r)
{
    if (r == NULL || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    recall_clear(r);
    mem_free(r);
}

bool recall_is_shared(const struct recall *r)
{
    return atomic_load(&r->refs) > 1;
}

struct kept *recall_take(struct recall *r, size_t slot)
{
    return atomic_exchange(&r->slot[slot % RECALL_SLOTS], NULL);
}

bool recall_put(struct recall *r, size_t slot, struct kept *k)
{
    struct kept *nothing = NULL;
    return atomic_compare_exchange_strong(&r->slot[slot % RECALL_SLOTS], &nothing, k);
}

/* What is not of this model goes back; where the executor was quicker to fill the slot, it is dropped too, and found again
 * in its model. */
void recall_forget(struct recall *r, uint64_t model_id)
{
    for (size_t i = 0; i < RECALL_SLOTS; i++) {
        struct kept *k = recall_take(r, i);
        if (k != NULL && (k->model_id == model_id || !recall_put(r, i, k)))
            k->unref(k);
    }
}

void recall_clear(struct recall *r)
{
    for (size_t i = 0; i < RECALL_SLOTS; i++) {
        struct kept *k = recall_take(r, i);
        if (k != NULL)
            k->unref(k);
    }
}
