/* Large matrices that a product reads where they lie in their file, at any alignment and in small pages: so a first answer waits
 * for no copies. When the same plan runs again, a thread beside makes aligned copies, from which products are some percent
 * faster, and plans that read the file are made anew. */
#include "base/list.h"
#include "exec/internal.h"

static void copy_constants(struct model *m, const struct plan *p)
{
    for (int i = 0; i < p->step_count; i++) {
        const struct plan_step *s = &p->steps[i];
        for (int k = 0; k < s->node->in_count; k++) {
            const struct value *v = s->node->in[k];
            const void *copy;
            if (atomic_load(&m->stopping))
                return;
            if (kernel_is_slow_unaligned(s->kernel, k) && v != NULL && v->constant != NULL &&
                packs_aligned(m->packs, v->constant, &copy) != OK)
                return; /* it stays as it is */
        }
    }
    atomic_store(&m->settled, true);
}

static void drop_raw_plans(struct model *m)
{
    struct list dropped;
    list_init(&dropped);
    pthread_mutex_lock(&m->lock);
    for (struct list *l = m->plans.next, *next; l != &m->plans; l = next) {
        struct plan *p = LIST_ENTRY(l, struct plan, node);
        next = l->next;
        if (p->is_raw)
            model_drop_plan(m, p, &dropped);
    }
    pthread_mutex_unlock(&m->lock);
    model_free_plans(&dropped);
}

static void *settle(void *arg)
{
    struct model *m = arg;
    copy_constants(m, m->raw_plan);
    plan_unref(m->raw_plan);
    if (atomic_load(&m->settled)) {
        drop_raw_plans(m);
        import_forget(&m->imported);
    }
    return NULL;
}

void model_settle(struct model *m, struct plan *p)
{
    pthread_mutex_lock(&m->lock);
    if (!m->is_settling) {
        m->raw_plan = plan_ref(p);
        m->is_settling = pthread_create(&m->settler, NULL, settle, m) == 0;
        if (!m->is_settling)
            plan_unref(p); /* the next run tries again; ours is not the last reference */
    }
    pthread_mutex_unlock(&m->lock);
}

void model_stop_settling(struct model *m)
{
    atomic_store(&m->stopping, true);
    if (m->is_settling)
        pthread_join(m->settler, NULL);
}
