/* Working memory is a stack of blocks: one for the workspace of each plan of a run, since what a plan leaves to the next
 * one stays where it is, and some for the cells between them. They keep their memory from run to run. */
#include "exec/exec.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "exec/control.h"
#include "exec/internal.h"
#include "exec/plan.h"
#include "graph/op.h"

#include <stdio.h>
#include <string.h>

struct block {
    uint8_t *data; /* 64-aligned */
    size_t bytes;
};

/* What this run holds, and where it is remembered when the run ends: a repeated shape takes no lock. */
struct held {
    struct kept *kept;
    size_t slot;
};

struct exec {
    struct block *block;
    int block_count, block_cap;
    int used;                      /* blocks taken in this run */
    size_t taken_bytes, max_bytes; /* of all blocks, and how many there may be in this run */
    const void **in;               /* argument lists of the running step */
    void **out;
    int in_cap, out_cap;
    struct cell *feed; /* the model's inputs as cells */
    int feed_cap;
    int64_t *key;
    int key_cap;
    struct recall *recall;
    struct arena scratch; /* for plans that are made */
    exec_watch_fn watch;
    void *watch_arg;
    struct held *held;
    int held_count, held_cap;
};

struct exec *exec_new(void)
{
    struct exec *x = mem_zalloc(sizeof(*x));
    x->recall = recall_new();
    arena_init(&x->scratch, 0);
    return x;
}

static void drop_held(struct exec *x, int keep)
{
    while (x->held_count > keep) {
        struct kept *k = x->held[--x->held_count].kept;
        k->unref(k);
    }
}

/* Two of one run may want the same slot: the later one is held on until the next run, since results may lie in it. */
static void remember_held(struct exec *x)
{
    int left = 0;
    for (int i = 0; i < x->held_count; i++)
        if (!recall_put(x->recall, x->held[i].slot, x->held[i].kept))
            x->held[left++] = x->held[i];
    x->held_count = left;
}

void exec_free(struct exec *x)
{
    if (x == NULL)
        return;
    drop_held(x, 0);
    recall_clear(x->recall);
    recall_unref(x->recall);
    arena_deinit(&x->scratch);
    exec_trim(x, 0);
    mem_free(x->block);
    mem_free(x->in);
    mem_free(x->out);
    mem_free(x->feed);
    mem_free(x->key);
    mem_free(x->held);
    mem_free(x);
}

size_t exec_bytes(const struct exec *x)
{
    return x->taken_bytes;
}

void exec_trim(struct exec *x, size_t keep_bytes)
{
    if (exec_bytes(x) <= keep_bytes)
        return;
    for (int i = 0; i < x->block_count; i++)
        mem_free(x->block[i].data);
    x->block_count = 0;
    x->taken_bytes = 0;
}

/* ---- what may be fed ---- */

static status type_fault(const struct port *p, const struct tensor *t, struct err *e)
{
    char want[SHAPE_TEXT_MAX], got[SHAPE_TEXT_MAX];
    return err_set(e, INVALID, "feed '%s': expected %s %s, got %s %s", p->alias,
                   dtype_name(p->dtype), shape_text(&p->shape, want, sizeof(want)),
                   dtype_name(t->dtype), shape_text(&t->shape, got, sizeof(got)));
}

static status check_lod(const struct port *p, const struct tensor *t, struct err *e)
{
    if (p->lod_levels != 0 && t->lod.levels != p->lod_levels)
        return err_set(
            e, INVALID,
            "feed '%s' is ragged: expected %d level(s) of LoD offsets, got %d; send them as "
            "'lod' (or '%s.lod'), for example 0,3,8 for two sequences of 3 and 5 rows",
            p->alias, p->lod_levels, t->lod.levels, p->alias);
    if (t->lod.levels == 0)
        return OK;
    char what[ERR_TEXT_MAX / 2];
    snprintf(what, sizeof(what), "feed '%s'", p->alias);
    return lod_check(&t->lod, t->shape.rank > 0 ? t->shape.dim[0] : 1, what, e);
}

status exec_check(const struct model *m, const struct tensor *in, struct err *e)
{
    int count;
    const struct port *port = model_inputs(m, &count);
    for (int i = 0; i < count; i++) {
        if (in[i].dtype != port[i].dtype || !shape_matches(&in[i].shape, &port[i].shape) ||
            tensor_bytes(&in[i]) < 0)
            return type_fault(&port[i], &in[i], e);
        TRY(check_lod(&port[i], &in[i], e));
    }
    return OK;
}

/* ---- memory ---- */

static bool grow(void **p, int *cap, int64_t need, size_t size)
{
    if (need <= *cap)
        return true;
    void *bigger = need <= INT32_MAX ? mem_resize_try(*p, (size_t)need * size) : NULL;
    if (bigger == NULL)
        return false;
    *p = bigger;
    *cap = (int)need;
    return true;
}

static status no_room(size_t bytes, struct err *e)
{
    return err_set(e, NO_MEMORY, "no memory for %zu bytes of working memory", bytes);
}

/* What other runs have left in blocks that this one has not taken. */
static void free_idle(struct exec *x)
{
    for (int i = x->used; i < x->block_count; i++) {
        x->taken_bytes -= x->block[i].bytes;
        mem_free(x->block[i].data);
        x->block[i] = (struct block){ NULL, 0 };
    }
}

static status size_block(struct exec *x, struct block *b, size_t bytes, struct err *e)
{
    size_t need = bytes > 0 ? bytes : 64; /* never NULL, even for no bytes */
    if (need <= b->bytes)
        return OK;
    x->taken_bytes -= b->bytes;
    mem_free(b->data);
    *b = (struct block){ NULL, 0 };
    if (need <= x->max_bytes && x->taken_bytes > x->max_bytes - need)
        free_idle(x);
    if (x->taken_bytes > x->max_bytes || need > x->max_bytes - x->taken_bytes)
        return err_set(e, TOO_LARGE,
                       "this run needs more than %zu bytes of working memory (--max-arena)",
                       x->max_bytes);
    b->data = mem_try_aligned(need, 64);
    if (b->data == NULL)
        return no_room(bytes, e);
    b->bytes = need;
    x->taken_bytes += need;
    return OK;
}

status exec_take(struct exec *x, size_t bytes, int *index, struct err *e)
{
    void *list = x->block;
    if (!grow(&list, &x->block_cap, x->used < x->block_cap ? 0 : x->used + 8, sizeof(*x->block)))
        return no_room(bytes, e);
    x->block = list;
    while (x->block_count <= x->used)
        x->block[x->block_count++] = (struct block){ NULL, 0 };
    *index = x->used++;
    return size_block(x, &x->block[*index], bytes, e);
}

status exec_resize(struct exec *x, int index, size_t bytes, struct err *e)
{
    return size_block(x, &x->block[index], bytes, e);
}

void *exec_block(struct exec *x, int index)
{
    return x->block[index].data;
}

struct exec_mark exec_mark(const struct exec *x)
{
    return (struct exec_mark){ x->used, x->held_count };
}

void exec_release(struct exec *x, struct exec_mark mark)
{
    x->used = mark.used;
    while (x->held_count > mark.held) {
        struct held *h = &x->held[--x->held_count];
        if (!recall_put(x->recall, h->slot, h->kept))
            h->kept->unref(h->kept);
    }
}

/* ---- what is remembered ---- */

struct kept *exec_recall(struct exec *x, const struct model *m, size_t slot)
{
    struct kept *k = recall_take(x->recall, slot);
    if (k == NULL || k->model_id == m->id)
        return k;
    k->unref(k); /* what this run is about to hold takes its place */
    return NULL;
}

void exec_remembers(struct exec *x, struct model *m)
{
    model_remembered_by(m, x->recall);
}

status exec_hold(struct exec *x, size_t slot, struct kept *k, struct err *e)
{
    void *held = x->held;
    bool fits = grow(&held, &x->held_cap, x->held_count < x->held_cap ? 0 : x->held_count * 2 + 8,
                     sizeof(*x->held));
    x->held = held;
    if (!fits) {
        k->unref(k);
        return no_room(sizeof(*x->held), e);
    }
    x->held[x->held_count++] = (struct held){ k, slot };
    return OK;
}

/* ---- the plan for these types ---- */

static int64_t key_words(const struct cell *in, int count)
{
    int64_t words = 2;
    for (int i = 0; i < count; i++) {
        struct tensor t = { .dtype = in[i].dtype, .shape = in[i].shape };
        words += 1 + in[i].shape.rank + (in[i].known ? (tensor_bytes(&t) + 7) / 8 : 0);
    }
    return words;
}

static int64_t *put_elements(int64_t *w, const struct cell *c)
{
    struct tensor t = { .dtype = c->dtype, .shape = c->shape };
    size_t bytes = (size_t)tensor_bytes(&t);
    if (bytes == 0)
        return w;
    w[(bytes - 1) / 8] = 0;
    memcpy(w, c->data, bytes);
    return w + (bytes + 7) / 8;
}

static uint64_t hash_words(const int64_t *word, int count)
{
    uint64_t h = 0x9e3779b97f4a7c15u;
    for (int i = 0; i < count; i++)
        h = (h ^ (uint64_t)word[i]) * 0xff51afd7ed558ccdu;
    return h ^ h >> 32;
}

static bool make_key(struct exec *x, struct plan_request *r)
{
    void *key = x->key;
    bool fits = grow(&key, &x->key_cap, key_words(r->given, r->given_count), sizeof(int64_t));
    x->key = key;
    if (!fits)
        return false;
    int64_t *w = x->key;
    *w++ = (int64_t)(uintptr_t)r->graph;
    *w++ = r->first;
    for (int i = 0; i < r->given_count; i++) {
        const struct cell *c = &r->given[i];
        *w++ = c->dtype | c->shape.rank << 8 | c->known << 16;
        for (int d = 0; d < c->shape.rank; d++)
            *w++ = c->shape.dim[d];
        if (c->known)
            w = put_elements(w, c);
    }
    int count = (int)(w - x->key);
    r->key = (struct plan_key){ x->key, count, hash_words(x->key, count) };
    return true;
}

bool plan_key_eq(const struct plan_key *a, const struct plan_key *b)
{
    return a->hash == b->hash && a->count == b->count &&
           memcmp(a->word, b->word, (size_t)a->count * sizeof(int64_t)) == 0;
}

/* A plan that this run holds already: a loop's body comes again and again. */
static struct plan *find_held(const struct exec *x, const struct model *m,
                              const struct plan_key *key)
{
    for (int i = x->held_count; i-- > 0;) {
        struct plan *p = (struct plan *)x->held[i].kept;
        if (p->kept.model_id == m->id && plan_key_eq(&p->key, key))
            return p;
    }
    return NULL;
}

/* The plan stays until the run ends, or is marked as ended. */
static status find_plan(struct exec *x, struct model *m, struct plan_request *r, struct plan **out,
                        struct err *e)
{
    if (!make_key(x, r))
        return err_set(e, NO_MEMORY, "no memory for a request of %d inputs", r->given_count);
    *out = find_held(x, m, &r->key);
    if (*out != NULL)
        return OK;
    struct plan *p = (struct plan *)exec_recall(x, m, r->key.hash);
    if (p != NULL && p->is_raw && r->is_settled) {
        plan_unref(p);
        p = NULL;
        import_forget(&m->imported); /* it may have read all of it once more */
    } else if (p != NULL && !plan_key_eq(&p->key, &r->key)) {
        plan_unref(p);
        p = NULL;
    }
    if (p != NULL && p->is_raw && atomic_fetch_add(&p->recalls, 1) == 0)
        model_settle(m, p);
    if (p == NULL) {
        arena_reset(&x->scratch);
        r->scratch = &x->scratch;
        TRY(model_plan(m, r, &p, e));
        exec_remembers(x, m);
    }
    *out = p;
    return exec_hold(x, r->key.hash, &p->kept, e);
}

static struct plan_request request_for(const struct model *m, const struct graph *g, uint32_t first,
                                       const struct cell *in, int in_count)
{
    return (struct plan_request){ .graph = g,
                                  .first = first,
                                  .given = in,
                                  .given_count = in_count,
                                  .packs = model_packs(m),
                                  .options = model_opts(m),
                                  .is_settled = atomic_load(&m->settled),
                                  .model_id = m->id };
}

/* The model's inputs, each followed by its LoD levels. */
static status make_feed(struct exec *x, const struct model *m, const struct tensor *in, int *count,
                        struct err *e)
{
    int ports;
    const struct port *port = model_inputs(m, &ports);
    void *feed = x->feed;
    bool fits = grow(&feed, &x->feed_cap, (int64_t)ports * (1 + LOD_MAX), sizeof(*x->feed));
    x->feed = feed;
    if (!fits)
        return err_set(e, NO_MEMORY, "no memory for a request of %d inputs", ports);
    struct cell *c = x->feed;
    for (int i = 0; i < ports; i++) {
        const struct value *v = model_graph(m)->inputs[port[i].value];
        *c++ = (struct cell){ v, in[i].dtype, false, in[i].shape, in[i].data };
        for (int l = 0; l < v->lod_levels && l < in[i].lod.levels; l++)
            *c++ = (struct cell){ v->lod[l], DTYPE_I64, false, SHAPE(in[i].lod.level[l].count),
                                  in[i].lod.level[l].offset };
    }
    *count = (int)(c - x->feed);
    return OK;
}

/* ---- running ---- */

/* What a late output turned out to be. */
struct late {
    dtype dtype;
    const void *data; /* of a step with graphs */
};

/* A running plan. */
struct frame {
    struct exec *x;
    struct model *model;
    const struct plan *plan;
    const struct cell *given;
    uint8_t *workspace;
    struct shape *late_shape; /* by late slot */
    struct late *late;
    struct err *err;
};

static const void *place_data(const struct frame *f, const struct place *p)
{
    switch (p->kind) {
    case PLACE_CONSTANT: return p->data;
    case PLACE_GIVEN: return f->given[p->index].data;
    case PLACE_WORKSPACE: return f->workspace + p->offset;
    case PLACE_LATE: return f->late[p->index].data;
    case PLACE_NONE: break;
    }
    return NULL;
}

static status run_kernel(struct frame *f, const struct plan_step *s)
{
    struct exec *x = f->x;
    struct kernel_io io = { .in = x->in,
                            .out = x->out,
                            .scratch = f->workspace + f->plan->scratch_offset,
                            .shape = s->late >= 0 ? f->late_shape + s->late : NULL,
                            .err = f->err };
    for (int i = 0; i < s->in_count; i++)
        x->in[i] = place_data(f, &s->in[i]);
    for (int i = 0; i < s->out_count; i++)
        x->out[i] = f->workspace + s->out[i].offset; /* a kernel only ever writes the workspace */
    return s->kernel->run(s->state, &io);
}

/* Cells for the arguments of a step with graphs, in a block of their own: in_count, then out_count. */
static status run_control(struct frame *f, const struct plan_step *s)
{
    int index, in_count = s->node->in_count;
    size_t count = (size_t)in_count + (size_t)s->out_count;
    TRY(exec_take(f->x, (count + 1) * sizeof(struct cell), &index, f->err));
    struct cell *in = exec_block(f->x, index), *out = in + in_count;
    for (int i = 0; i < in_count; i++) {
        in[i] = s->cell[i];
        in[i].data = place_data(f, &s->in[i]);
    }
    struct control_call c = { f->x, f->model, s->node, in, out, f->err };
    TRY(s->control->run(&c));
    for (int i = 0; i < s->out_count; i++) {
        f->late_shape[s->late + i] = out[i].shape;
        f->late[s->late + i] = (struct late){ out[i].dtype, out[i].data };
    }
    return OK;
}

/* The workspace, and behind it what late outputs turn out to be. */
static size_t frame_bytes(const struct plan *p)
{
    return p->workspace_bytes +
           (size_t)p->late_count * (sizeof(struct shape) + sizeof(struct late)) + 64;
}

static status make_room(struct exec *x, const struct plan *p, struct err *e)
{
    void *in = x->in, *out = x->out;
    bool fits = grow(&in, &x->in_cap, p->max_in, sizeof(void *)) &&
                grow(&out, &x->out_cap, p->max_out, sizeof(void *));
    x->in = in;
    x->out = out;
    return fits ? OK : no_room(p->workspace_bytes, e);
}

static status open_frame(struct frame *f)
{
    const struct plan *p = f->plan;
    int index;
    TRY(make_room(f->x, p, f->err));
    TRY(exec_take(f->x, frame_bytes(p), &index, f->err));
    f->workspace = exec_block(f->x, index);
    f->late_shape = (struct shape *)(f->workspace + (p->workspace_bytes + 63) / 64 * 64);
    f->late = (struct late *)(f->late_shape + p->late_count);
    return OK;
}

static void note_bounds(struct frame *f)
{
    const struct plan *p = f->plan;
    for (int i = 0; i < p->live_count; i++)
        if (p->live[i].late >= 0) {
            f->late_shape[p->live[i].late] = p->live[i].cell.shape;
            f->late[p->live[i].late].dtype = p->live[i].cell.dtype;
        }
}

void exec_watch(struct exec *x, exec_watch_fn fn, void *arg)
{
    x->watch = fn;
    x->watch_arg = arg;
}

static status run_step(struct frame *f, const struct plan_step *step)
{
    return step->kernel != NULL ? run_kernel(f, step) : run_control(f, step);
}

/* A kernel may be named "dnnl conv2d" for a step of another operator: one that brings images into its layout. */
static const char *op_of(const struct node *n, const char *kernel)
{
    return kernel != NULL && strstr(kernel, "reorder") != NULL ? "reorder" : n->op->name;
}

static status watch_step(struct frame *f, const struct plan_step *step)
{
    const char *kernel = step->kernel != NULL ? step->kernel->name : NULL;
    struct exec_step told = { .node = step->node,
                              .op = op_of(step->node, kernel),
                              .kernel = kernel,
                              .flops = step->flops,
                              .begin_ns = clock_ns() };
    status s = run_step(f, step);
    told.end_ns = clock_ns();
    f->x->watch(f->x->watch_arg, &told);
    return s;
}

static status run_steps(struct frame *f)
{
    const struct plan *p = f->plan;
    if (p->late_count > 0)
        note_bounds(f);
    for (int i = 0; i < p->step_count; i++) {
        const struct plan_step *step = &p->steps[i];
        status s = f->x->watch == NULL ? run_step(f, step) : watch_step(f, step);
        if (s != OK)
            return node_fault(step->node, s, f->err);
    }
    return OK;
}

static void fill_cell(const struct frame *f, const struct plan_live *l, struct cell *out)
{
    *out = l->cell;
    if (l->late >= 0) {
        out->shape = f->late_shape[l->late];
        out->dtype = f->late[l->late].dtype;
    }
    out->data = place_data(f, &l->place);
}

static status run_plan(struct frame *f, const struct cell **out)
{
    const struct plan *p = f->plan;
    int index;
    TRY(open_frame(f));
    TRY(run_steps(f));
    TRY(exec_take(f->x, (size_t)(p->live_count + 1) * sizeof(struct cell), &index, f->err));
    struct cell *cell = exec_block(f->x, index);
    for (int i = 0; i < p->live_count; i++)
        fill_cell(f, &p->live[i], &cell[i]);
    *out = cell;
    return OK;
}

status exec_graph(struct exec *x, struct model *m, const struct graph *g, const struct cell *in,
                  int in_count, const struct cell **out, struct err *e)
{
    for (uint32_t first = 0;;) {
        struct plan_request r = request_for(m, g, first, in, in_count);
        struct plan *p;
        TRY(find_plan(x, m, &r, &p, e));
        struct frame f = { .x = x, .model = m, .plan = p, .given = in, .err = e };
        TRY(run_plan(&f, out));
        if (p->next == g->node_count)
            return OK;
        in = *out;
        in_count = p->live_count;
        first = p->next;
    }
}

/* The graph's outputs, each followed by its LoD levels, to the ports in their order. */
static void hand_out(const struct model *m, const struct cell *cell, struct tensor *out)
{
    const struct graph *g = model_graph(m);
    int count;
    const struct port *port = model_outputs(m, &count);
    for (int i = 0; i < count; i++) {
        const struct cell *c = cell;
        for (int k = 0; k < port[i].value; k++)
            c += 1 + g->outputs[k]->lod_levels;
        out[i] = (struct tensor){ .dtype = c->dtype,
                                  .shape = c->shape,
                                  .data = c->data,
                                  .lod.levels = g->outputs[port[i].value]->lod_levels };
        for (int l = 0; l < out[i].lod.levels; l++)
            out[i].lod.level[l] = (struct lod_level){ c[1 + l].data, shape_numel(&c[1 + l].shape) };
    }
}

/* Some more than a plan may have, for what stands between plans. */
#define ARENA_EXTRA ((size_t)64 << 20)

static void begin_run(struct exec *x, const struct model *m)
{
    x->used = 0;
    x->max_bytes = model_opts(m)->max_arena_bytes + ARENA_EXTRA;
    drop_held(x, 0);
}

status exec_prepare_own(struct exec *x, struct model *m, const struct tensor *in, struct err *e)
{
    int count, index;
    struct plan *p;
    TRY(make_feed(x, m, in, &count, e));
    struct plan_request r = request_for(m, model_graph(m), 0, x->feed, count);
    TRY(find_plan(x, m, &r, &p, e));
    TRY(make_room(x, p, e));
    return exec_take(x, frame_bytes(p), &index, e);
}

status exec_run_own(struct exec *x, struct model *m, const struct tensor *in, struct tensor *out,
                    struct err *e)
{
    const struct cell *cell;
    int count;
    TRY(make_feed(x, m, in, &count, e));
    TRY(exec_graph(x, m, model_graph(m), x->feed, count, &cell, e));
    hand_out(m, cell, out);
    return OK;
}

status exec_prepare(struct exec *x, struct model *m, const struct tensor *in, struct err *e)
{
    TRY(exec_check(m, in, e));
    begin_run(x, m);
    status s = m->backend->prepare(x, m, in, e);
    remember_held(x);
    x->used = 0;
    return s;
}

status exec_run(struct exec *x, struct model *m, const struct tensor *in, struct tensor *out,
                struct err *e)
{
    TRY(exec_check(m, in, e));
    begin_run(x, m);
    status s = m->backend->run(x, m, in, out, e);
    remember_held(x);
    return s;
}

status exec_explain(struct model *m, const struct tensor *in, struct buf *out, struct err *e)
{
    struct exec *x = exec_new();
    int count;
    status s = exec_check(m, in, e);
    if (s == OK && m->backend != &own_backend)
        s = err_set(e, UNSUPPORTED, "engine '%s' does not tell its plans", m->imported.format);
    if (s == OK)
        s = make_feed(x, m, in, &count, e);
    if (s == OK) {
        struct plan_request r = request_for(m, model_graph(m), 0, x->feed, count);
        struct plan *p;
        r.explain = out;
        s = plan_build(&r, &p, e);
        if (s == OK) {
            buf_printf(out, "working memory: %zu bytes\n", p->workspace_bytes);
            plan_unref(p);
        }
    }
    exec_free(x);
    return s;
}
