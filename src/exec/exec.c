#include "exec/exec.h"

#include "base/limits.h"
#include "base/mem.h"
#include "exec/plan.h"

#include <stdio.h>
#include <string.h>

struct exec {
    uint8_t *workspace; /* 64-aligned */
    size_t workspace_bytes;
    const void **in; /* argument lists of the running step */
    void **out;
    int in_cap, out_cap;
    int64_t *key;
    int key_cap;
    struct plan *last;      /* the plan of the latest run, so that a repeated shape takes no lock */
    uint64_t last_model_id; /* of `last` */
};

struct exec *exec_new(void)
{
    return mem_zalloc(sizeof(struct exec));
}

void exec_free(struct exec *x)
{
    if (x == NULL)
        return;
    plan_unref(x->last);
    mem_free(x->workspace);
    mem_free(x->in);
    mem_free(x->out);
    mem_free(x->key);
    mem_free(x);
}

size_t exec_bytes(const struct exec *x)
{
    return x->workspace_bytes;
}

void exec_trim(struct exec *x, size_t keep_bytes)
{
    if (x->workspace_bytes <= keep_bytes)
        return;
    mem_free(x->workspace);
    x->workspace = NULL;
    x->workspace_bytes = 0;
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

static status check_feeds(const struct model *m, const struct tensor *in, struct err *e)
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

/* ---- the plan for these shapes ---- */

static bool grow(void **p, int *cap, int need, size_t size)
{
    if (need <= *cap)
        return true;
    void *bigger = mem_resize_try(*p, (size_t)need * size);
    if (bigger == NULL)
        return false;
    *p = bigger;
    *cap = need;
    return true;
}

#define KEY_WORDS (2 + SHAPE_MAX + LOD_MAX) /* of one input, at most */

static bool make_key(struct exec *x, int count, const struct tensor *in, struct plan_key *out)
{
    void *key = x->key;
    bool fits = grow(&key, &x->key_cap, count * KEY_WORDS, sizeof(int64_t));
    x->key = key;
    if (!fits)
        return false;
    int64_t *w = x->key;
    for (int i = 0; i < count; i++) {
        *w++ = in[i].shape.rank;
        for (int d = 0; d < in[i].shape.rank; d++)
            *w++ = in[i].shape.dim[d];
        *w++ = in[i].lod.levels;
        for (int l = 0; l < in[i].lod.levels; l++)
            *w++ = in[i].lod.level[l].count;
    }
    *out = (struct plan_key){ x->key, (int)(w - x->key) };
    return true;
}

static bool is_last(const struct exec *x, const struct model *m, struct plan_key key)
{
    return x->last != NULL && x->last_model_id == model_id(m) && x->last->key.count == key.count &&
           (key.count == 0 ||
            memcmp(x->last->key.word, key.word, (size_t)key.count * sizeof(int64_t)) == 0);
}

/* Makes x->last the plan for these shapes. */
static status find_plan(struct exec *x, struct model *m, const struct tensor *in, struct err *e)
{
    struct plan_key key;
    int count;
    model_inputs(m, &count);
    if (!make_key(x, count, in, &key))
        return err_set(e, NO_MEMORY, "no memory for a request of %d inputs", count);
    if (is_last(x, m, key))
        return OK;
    struct plan *p;
    TRY(model_plan(m, in, key, &p, e));
    plan_unref(x->last);
    x->last = p;
    x->last_model_id = model_id(m);
    return OK;
}

/* ---- running ---- */

static status make_room(struct exec *x, const struct plan *p, struct err *e)
{
    void *in = x->in, *out = x->out;
    bool fits = grow(&in, &x->in_cap, p->max_in, sizeof(void *)) &&
                grow(&out, &x->out_cap, p->max_out, sizeof(void *));
    x->in = in;
    x->out = out;
    size_t need =
        p->workspace_bytes > 0 ? p->workspace_bytes : 64; /* never NULL, even for no bytes */
    if (fits && need > x->workspace_bytes) {
        exec_trim(x, 0);
        x->workspace = mem_try_aligned(need, 64);
        fits = x->workspace != NULL;
        x->workspace_bytes = fits ? need : 0;
    }
    return fits ? OK
                : err_set(e, NO_MEMORY, "no memory for %zu bytes of working memory",
                          p->workspace_bytes);
}

static const void *place_data(const struct exec *x, const struct place *p, const struct tensor *in)
{
    switch (p->kind) {
    case PLACE_CONSTANT: return p->data;
    case PLACE_INPUT: return in[p->index].data;
    case PLACE_LOD: return in[p->index].lod.level[p->level].offset;
    case PLACE_WORKSPACE: return x->workspace + p->offset;
    case PLACE_NONE: break;
    }
    return NULL;
}

static status run_step(struct exec *x, const struct plan_step *s, const struct tensor *in,
                       const struct kernel_io *io)
{
    for (int i = 0; i < s->in_count; i++)
        x->in[i] = place_data(x, &s->in[i], in);
    for (int i = 0; i < s->out_count; i++)
        x->out[i] = x->workspace + s->out[i].offset; /* a kernel only ever writes the workspace */
    return s->kernel->run(s->state, io);
}

static void hand_out(const struct exec *x, const struct plan *p, int count, const struct tensor *in,
                     struct tensor *out)
{
    for (int i = 0; i < count; i++) {
        const struct plan_output *o = &p->outputs[i];
        out[i] = (struct tensor){ .dtype = o->dtype,
                                  .shape = o->shape,
                                  .data = place_data(x, &o->data, in),
                                  .lod.levels = o->lod_levels };
        for (int l = 0; l < o->lod_levels; l++)
            out[i].lod.level[l] =
                (struct lod_level){ place_data(x, &o->lod[l], in), o->lod_count[l] };
    }
}

status exec_prepare(struct exec *x, struct model *m, const struct tensor *in, struct err *e)
{
    TRY(check_feeds(m, in, e));
    TRY(find_plan(x, m, in, e));
    return make_room(x, x->last, e);
}

status exec_run(struct exec *x, struct model *m, const struct tensor *in, struct tensor *out,
                struct err *e)
{
    TRY(exec_prepare(x, m, in, e));
    const struct plan *p = x->last;
    struct kernel_io io = {
        .in = x->in, .out = x->out, .scratch = x->workspace + p->scratch_offset, .err = e
    };
    for (int i = 0; i < p->step_count; i++) {
        status s = run_step(x, &p->steps[i], in, &io);
        if (s != OK)
            return err_prefix(e, s, "node '%s' (%s): ", p->steps[i].node->name,
                              p->steps[i].node->op->name);
    }
    int count;
    model_outputs(m, &count);
    hand_out(x, p, count, in, out);
    return OK;
}

status exec_explain(struct model *m, const struct tensor *in, struct buf *out, struct err *e)
{
    TRY(check_feeds(m, in, e));
    struct plan_request r = { .graph = model_graph(m),
                              .ports = model_imported(m),
                              .packs = model_packs(m),
                              .options = model_opts(m),
                              .in = in,
                              .explain = out };
    struct plan *p;
    TRY(plan_build(&r, &p, e));
    buf_printf(out, "working memory: %zu bytes\n", p->workspace_bytes);
    plan_unref(p);
    return OK;
}
