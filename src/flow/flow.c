#include "flow/flow.h"

#include "base/clock.h"
#include "base/mem.h"
#include "flow/ops.h"

#include <stdatomic.h>
#include <string.h>

#define CHAIN 3

struct flow {
    atomic_int refs;
    struct flow_options options; /* its name is the flow's own */
    struct model *model;         /* one reference */
    struct flow_node node[CHAIN];
    int node_count;
    atomic_uint_fast64_t typical_ns;
};

static const struct flow_op *const ops[] = { &general_reader_op, &general_infer_op,
                                             &general_response_op };

const struct flow_op *flow_op_find(const char *type)
{
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (strcmp(ops[i]->type, type) == 0)
            return ops[i];
    return NULL;
}

uint64_t flow_typical_ns(const struct flow *f)
{
    return atomic_load_explicit(&f->typical_ns, memory_order_relaxed);
}

/* A moving average over about eight calls. Two threads may lose an update to each other: it is a hint. */
static void learn(struct flow *f, uint64_t ns)
{
    uint64_t old = flow_typical_ns(f);
    uint64_t now = old == 0 ? ns : old - old / 8 + ns / 8;
    atomic_store_explicit(&f->typical_ns, now > 0 ? now : 1, memory_order_relaxed);
}

/* Two runs on zeros: the first brings pages and caches in, the second tells how quick the model is. What it thinks of zeros
 * is of no interest: ids that it has not or lengths of nothing are the zeros' fault. */
static status warm_up(struct flow *f, struct err *e)
{
    struct arena a;
    struct tensor *in;
    status s = OK;
    arena_init(&a, 0);
    if (model_sample(f->model, &a, &in)) {
        struct exec *x = exec_new();
        int outputs;
        model_outputs(f->model, &outputs);
        struct tensor *out = arena_zalloc(&a, ((size_t)outputs + 1) * sizeof(*out));
        s = exec_run(x, f->model, in, out, e);
        uint64_t begin = clock_ns();
        if (s == OK && exec_run(x, f->model, in, out, e) == OK)
            learn(f, clock_ns() - begin);
        exec_free(x);
    }
    arena_deinit(&a);
    return s == INVALID ? OK : s;
}

status flow_for_model(struct model *m, const struct flow_options *opt, struct flow **out,
                      struct err *e)
{
    static const char *const chain[CHAIN][2] = {
        { "GeneralReaderOp", "GeneralReaderOp_0" },
        { "GeneralInferOp", "GeneralInferOp_0" },
        { "GeneralResponseOp", "GeneralResponseOp_0" },
    };
    struct flow *f = mem_zalloc(sizeof(*f));
    atomic_init(&f->refs, 1);
    f->options = *opt;
    f->options.name = mem_strdup(opt->name);
    f->model = model_ref(m);
    for (int i = 0; i < CHAIN; i++)
        f->node[f->node_count++] = (struct flow_node){ flow_op_find(chain[i][0]), chain[i][1], m };
    status s = warm_up(f, e);
    if (s != OK) {
        flow_destroy(f);
        return err_prefix(e, s, "warming up: ");
    }
    *out = f;
    return OK;
}

struct flow *flow_ref(struct flow *f)
{
    atomic_fetch_add(&f->refs, 1);
    return f;
}

void flow_unref(struct flow *f)
{
    if (f == NULL || atomic_fetch_sub(&f->refs, 1) != 1)
        return;
    if (f->options.dispose != NULL)
        f->options.dispose(f, f->options.dispose_arg);
    else
        flow_destroy(f);
}

void flow_destroy(struct flow *f)
{
    model_unref(f->model);
    mem_free((void *)f->options.name);
    mem_free(f);
}

struct model *flow_model(const struct flow *f)
{
    return f->model;
}

const char *flow_name(const struct flow *f)
{
    return f->options.name;
}

int64_t flow_version(const struct flow *f)
{
    return f->options.version;
}

const struct port *flow_inputs(const struct flow *f, int *count)
{
    return model_inputs(f->model, count);
}

const struct port *flow_outputs(const struct flow *f, int *count)
{
    return model_outputs(f->model, count);
}

static void stamp(struct infer_reply *r)
{
    r->stamp_us[r->stamp_count++] = clock_wall_us();
}

static status run_nodes(const struct flow *f, struct flow_call *c, struct err *e)
{
    for (int i = 0; i < f->node_count; i++) {
        const struct flow_node *n = &f->node[i];
        if (c->request->profile)
            stamp(c->reply);
        TRY(n->op->process(n, c, e));
        if (c->request->profile)
            stamp(c->reply);
    }
    return OK;
}

status flow_run(struct flow *f, struct flow_call *c, struct err *e)
{
    uint64_t begin = clock_ns();
    int64_t begin_us = clock_wall_us();
    size_t stamps = 2 * (size_t)f->node_count + 2;
    *c->reply = (struct infer_reply){ .stamp_us = arena_alloc(c->arena, stamps * sizeof(int64_t)) };
    status s = run_nodes(f, c, e);
    c->reply->stamp_us[c->reply->stamp_count++] = begin_us;
    stamp(c->reply);
    learn(f, clock_ns() - begin);
    return s;
}
