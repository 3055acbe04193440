#include "exec/model.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "exec/engines.h"
#include "exec/eval.h"
#include "exec/internal.h"
#include "exec/rebind.h"
#include "passes/passes.h"

#include <string.h>

struct packs *model_packs(const struct model *m)
{
    return m->packs;
}

const struct model_options *model_opts(const struct model *m)
{
    return &m->options;
}

/* ---- plans ---- */

static struct plan *find_plan(struct model *m, const struct plan_key *key)
{
    struct list *bucket = &m->bucket[key->hash % PLAN_BUCKETS];
    for (struct list *l = bucket->next; l != bucket; l = l->next) {
        struct plan *p = LIST_ENTRY(l, struct plan, same_hash);
        if (plan_key_eq(&p->key, key)) {
            list_remove(&p->node);
            list_push_front(&m->plans, &p->node);
            return plan_ref(p);
        }
    }
    return NULL;
}

static bool has_too_many(const struct model *m)
{
    return m->plan_count > LIMIT_PLANS || (m->plan_count > 1 && m->plan_bytes > LIMIT_PLANS_BYTES);
}

void model_drop_plan(struct model *m, struct plan *p, struct list *dropped)
{
    list_remove(&p->node);
    list_remove(&p->same_hash);
    list_remove(&p->base_node);
    list_push_back(dropped, &p->node);
    m->plan_count--;
    m->plan_bytes -= plan_bytes(p);
}

/* Keeps p (its reference is taken over) and drops the least recently used plans above the bounds, which `dropped`
 * receives so that they are freed outside the lock. */
static void keep_plan(struct model *m, struct plan *p, struct list *dropped)
{
    list_push_front(&m->plans, &p->node);
    list_push_front(&m->bucket[p->key.hash % PLAN_BUCKETS], &p->same_hash);
    if (p->recipe != NULL && !m->has_no_patterns)
        list_push_front(&m->bases, &p->base_node);
    m->plan_count++;
    m->plan_bytes += plan_bytes(p);
    while (has_too_many(m)) {
        struct plan *last = LIST_ENTRY(m->plans.prev, struct plan, node);
        model_drop_plan(m, last, dropped);
    }
}

void model_free_plans(struct list *plans)
{
    while (!list_empty(plans)) {
        struct plan *p = LIST_ENTRY(plans->next, struct plan, node);
        list_remove(&p->node);
        plan_unref(p);
    }
}

#define FORGET_BYTES (1 << 20)

/* A plan that the wanted one may be made out of, with a reference; NULL: none. */
static struct plan *find_base(struct model *m, const struct plan_request *r)
{
    for (struct list *l = m->bases.next; l != &m->bases; l = l->next) {
        struct plan *p = LIST_ENTRY(l, struct plan, base_node);
        if (!rebind_suits(p, r))
            continue;
        list_remove(
            &p->node); /* it lives as long as what is made out of it, so it is used as lately */
        list_push_front(&m->plans, &p->node);
        return plan_ref(p);
    }
    return NULL;
}

static void forget_bases(struct model *m)
{
    pthread_mutex_lock(&m->lock);
    m->has_no_patterns = true;
    while (!list_empty(&m->bases))
        list_remove(m->bases.next);
    pthread_mutex_unlock(&m->lock);
}

static status build(struct model *m, struct plan_request *r, struct plan *base, struct plan **out,
                    struct err *e)
{
    status s = base != NULL ? rebind(base, r, out) : TOO_LARGE;
    if (s == OK)
        return OK;
    if (s == UNSUPPORTED) {
        r->is_no_pattern = true;
        forget_bases(m);
    }
    size_t packed = packs_bytes(m->packs);
    TRY(plan_build(r, out, e));
    if (packs_bytes(m->packs) > packed + FORGET_BYTES) /* as many were read to be packed */
        import_forget(&m->imported);
    return OK;
}

status model_plan(struct model *m, struct plan_request *r, struct plan **out, struct err *e)
{
    struct list dropped;
    list_init(&dropped);
    pthread_mutex_lock(&m->lock);
    *out = find_plan(m, &r->key);
    struct plan *base = *out == NULL ? find_base(m, r) : NULL;
    r->is_no_pattern = m->has_no_patterns;
    pthread_mutex_unlock(&m->lock);
    if (*out != NULL)
        return OK;
    status s = build(m, r, base, out, e);
    plan_unref(base);
    TRY(s);
    pthread_mutex_lock(&m->lock);
    struct plan *other = find_plan(m, &r->key); /* another thread may have been quicker */
    bool is_late = (*out)->is_raw && atomic_load(&m->settled); /* settle.c has taken such out */
    if (other == NULL && !is_late)
        keep_plan(m, plan_ref(*out), &dropped);
    pthread_mutex_unlock(&m->lock);
    plan_unref(other);
    model_free_plans(&dropped);
    return OK;
}

/* ---- life ---- */

/* One row of zeros for a port; false where something besides its first dimension is open. A ragged input gets one sequence
 * of one row. */
static bool sample_feed(const struct port *p, struct arena *a, struct tensor *t)
{
    static const int64_t one_row[2] = { 0, 1 };
    *t = (struct tensor){ .dtype = p->dtype, .shape = p->shape };
    if (p->shape.rank > 0 && p->shape.dim[0] < 0)
        t->shape.dim[0] = 1;
    int64_t bytes = tensor_bytes(t);
    void *zeros = bytes >= 0 ? arena_try_array(a, (size_t)bytes + 1, 1) : NULL;
    t->data = zeros;
    t->lod.levels = p->lod_levels;
    for (int l = 0; l < p->lod_levels; l++)
        t->lod.level[l] = (struct lod_level){ one_row, 2 };
    return zeros != NULL;
}

bool model_sample(const struct model *m, struct arena *a, struct tensor **in)
{
    *in = arena_zalloc(a, (size_t)(m->imported.input_count + 1) * sizeof(**in));
    for (int i = 0; i < m->imported.input_count; i++)
        if (!sample_feed(&m->imported.inputs[i], a, &(*in)[i]))
            return false;
    return true;
}

/* First dimensions that are open may be bound to each other (boxes, and as many numbers): ones need not suit them. */
static bool several_are_open(const struct model *m)
{
    int open = 0;
    for (int i = 0; i < m->imported.input_count; i++)
        open += m->imported.inputs[i].shape.rank > 0 && m->imported.inputs[i].shape.dim[0] < 0;
    return open > 1;
}

/* Plans a batch of one, so that a model that can never run is refused when it is loaded and not by its first request. */
static status try_batch_of_one(struct model *m, struct err *e)
{
    struct arena a;
    struct tensor *in;
    status s = OK;
    arena_init(&a, 0);
    if (model_sample(m, &a, &in)) {
        struct exec *x = exec_new();
        s = exec_prepare(x, m, in, e);
        if (s == INVALID && several_are_open(m))
            s = OK;
        exec_free(x);
    }
    arena_deinit(&a);
    return s;
}

/* ---- outputs that only somebody who looks into the model asks for ---- */

static struct value *find_value(const struct graph *g, const char *name)
{
    for (uint32_t i = 0; i < g->value_count; i++)
        if (strcmp(g->values[i]->name, name) == 0 &&
            (g->values[i]->producer != NULL || g->values[i]->constant == NULL))
            return g->values[i];
    return NULL;
}

static status add_fetches(struct model *m, struct err *e)
{
    struct imported *im = &m->imported;
    struct graph *g = im->graph;
    int asked = m->options.fetch_count;
    if (asked == 0)
        return OK;
    struct port *port = arena_zalloc(&g->arena, (size_t)(im->output_count + asked) * sizeof(*port));
    struct value **out = arena_zalloc(&g->arena, (size_t)(g->output_count + asked) * sizeof(*out));
    memcpy(port, im->outputs, (size_t)im->output_count * sizeof(*port));
    memcpy(out, g->outputs, (size_t)g->output_count * sizeof(*out));
    for (int i = 0; i < asked; i++) {
        struct value *v = find_value(g, m->options.fetch[i]);
        if (v == NULL)
            return err_set(e, NOT_FOUND, "no value is called '%s'", m->options.fetch[i]);
        out[g->output_count + i] = v;
        port[im->output_count + i] = (struct port){ .name = v->name,
                                                    .alias = v->name,
                                                    .dtype = v->dtype,
                                                    .shape = v->shape,
                                                    .ragged = v->lod_levels > 0,
                                                    .lod_levels = v->lod_levels,
                                                    .value = g->output_count + i };
    }
    im->outputs = port;
    im->output_count += asked;
    return graph_set_outputs(g, out, g->output_count + asked);
}

#define HALVED_ELEMENTS 256 /* smaller constants are biases and scales */

/* Weights as half precision would store them; tells what `oar convert --precision fp16` costs. */
static status halve_weights(struct graph *g, struct err *e)
{
    for (uint32_t i = 0; i < g->value_count; i++) {
        const struct tensor *c = g->values[i]->constant;
        if (c == NULL || c->dtype != DTYPE_F32 || shape_numel(&c->shape) < HALVED_ELEMENTS)
            continue;
        int64_t count = shape_numel(&c->shape);
        struct tensor *t = arena_zalloc(&g->arena, sizeof(*t));
        float *x = arena_try_array(&g->arena, (size_t)count, sizeof(*x));
        if (x == NULL)
            return err_set(e, NO_MEMORY, "no memory for %lld weights", (long long)count);
        for (int64_t k = 0; k < count; k++)
            x[k] = f16_to_f32(f32_to_f16(float_at(c->data, k)));
        *t = *c;
        t->data = x;
        g->values[i]->constant = t;
    }
    return OK;
}

static status rewrite(struct model *m, struct err *e)
{
    struct graph *g = m->imported.graph;
    bool integers = m->options.precision == PRECISION_INT8;
    int products = 0;
    if (integers)
        TRY(passes_take_integers(g, &products, e));
    if (m->options.precision == PRECISION_FP16)
        TRY(halve_weights(g, e));
    TRY(fold_constants(g, m->packs, &m->options, e));
    if (integers)
        TRY(passes_take_integers(g, &products, e));
    if (integers && products == 0)
        m->remark = "int8: nothing in it is quantised, and it is computed in fp32; 'oar convert "
                    "--precision int8 --calibrate' makes a model that is";
    return passes_run(g, integers, e);
}

static status open_own(struct model *m, struct err *e)
{
    TRY(import_model(m->path, &m->imported, e));
    if (m->options.detach)
        TRY(import_detach(&m->imported, e));
    TRY(add_fetches(m, e));
    if (!m->options.no_fuse)
        TRY(rewrite(m, e));
    TRY(graph_check(m->imported.graph, e));
    return try_batch_of_one(m, e);
}

static void close_own(struct model *m)
{
    model_stop_settling(m);
    model_free_plans(&m->plans);
}

const struct backend own_backend = { open_own, exec_prepare_own, exec_run_own, close_own };

static struct model *new_model(const char *path, const struct model_options *opt)
{
    static atomic_uint_fast64_t next_id = 1;
    struct model *m = mem_zalloc(sizeof(*m));
    atomic_init(&m->refs, 1);
    m->id = atomic_fetch_add(&next_id, 1);
    m->path = path;
    m->options = opt != NULL ? *opt : (struct model_options){ 0 };
    m->remark = precision_lack(m->options.precision);
    m->options.precision = precision_here(m->options.precision);
    if (m->options.threads < 1)
        m->options.threads = 1;
    if (m->options.max_arena_bytes == 0)
        m->options.max_arena_bytes = LIMIT_ARENA_OF_RUN;
    m->packs = packs_new();
    pthread_mutex_init(&m->lock, NULL);
    list_init(&m->plans);
    list_init(&m->bases);
    for (int i = 0; i < PLAN_BUCKETS; i++)
        list_init(&m->bucket[i]);
    return m;
}

status model_open(const char *path, const struct model_options *opt, struct model **out,
                  struct err *e)
{
    uint64_t begin = clock_ns();
    struct model *m = new_model(path, opt);
    m->backend = engines_backend(m->options.engine, path);
    status s = m->backend->open(m, e);
    m->path = NULL;
    m->options.engine = NULL;
    if (s != OK) {
        const char *program = m->imported.program;
        if (m->imported.graph != NULL) /* else the words say it already */
            err_prefix(e, s, "%s: ", program != NULL ? program : path);
        model_unref(m);
        return s;
    }
    m->load_ns = clock_ns() - begin;
    *out = m;
    return OK;
}

struct model *model_ref(struct model *m)
{
    atomic_fetch_add(&m->refs, 1);
    return m;
}

/* An executor that is gone leaves its memory to the models alone. */
static void drop_left_recalls(struct recalls *l)
{
    int kept = 0;
    for (int i = 0; i < l->count; i++)
        if (recall_is_shared(l->item[i]))
            l->item[kept++] = l->item[i];
        else
            recall_unref(l->item[i]);
    l->count = kept;
}

static void grow_recalls(struct recalls *l)
{
    struct recall **more = mem_zalloc((size_t)(l->cap * 2 + 8) * sizeof(*more));
    for (int i = 0; i < l->count; i++)
        more[i] = l->item[i];
    mem_free(l->item);
    l->item = more;
    l->cap = l->cap * 2 + 8;
}

void model_remembered_by(struct model *m, struct recall *r)
{
    struct recalls *l = &m->recalls;
    int i = 0;
    pthread_mutex_lock(&m->lock);
    while (i < l->count && l->item[i] != r)
        i++;
    if (i == l->count) {
        drop_left_recalls(l);
        if (l->count == l->cap)
            grow_recalls(l);
        l->item[l->count++] = recall_ref(r);
    }
    pthread_mutex_unlock(&m->lock);
}

static void be_forgotten(struct model *m)
{
    for (int i = 0; i < m->recalls.count; i++) {
        recall_forget(m->recalls.item[i], m->id);
        recall_unref(m->recalls.item[i]);
    }
    mem_free(m->recalls.item);
}

/* The last user is gone, and every exec_run holds its caller's reference while it runs: nobody looks at a plan, a pack, a
 * session or a mapping any more, and what executors remember of them goes with the model. */
void model_unref(struct model *m)
{
    if (m == NULL || atomic_fetch_sub(&m->refs, 1) != 1)
        return;
    be_forgotten(m);
    m->backend->close(m);
    packs_free(m->packs);
    import_free(&m->imported);
    pthread_mutex_destroy(&m->lock);
    mem_free(m);
}

/* ---- what others may know ---- */

const struct port *model_inputs(const struct model *m, int *count)
{
    *count = m->imported.input_count;
    return m->imported.inputs;
}

const struct port *model_outputs(const struct model *m, int *count)
{
    *count = m->imported.output_count;
    return m->imported.outputs;
}

const struct graph *model_graph(const struct model *m)
{
    return m->imported.graph;
}

const struct imported *model_imported(const struct model *m)
{
    return &m->imported;
}

const char *model_remark(const struct model *m)
{
    return m->remark;
}

uint64_t model_load_ns(const struct model *m)
{
    return m->load_ns;
}

size_t model_pack_bytes(const struct model *m)
{
    return packs_bytes(m->packs);
}
