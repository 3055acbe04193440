#include "exec/control.h"

#include "base/limits.h"
#include "exec/internal.h"
#include "graph/attrs_control.h"

#include <string.h>

static status read_condition(const struct cell *c, bool *out, struct err *e)
{
    char shape[SHAPE_TEXT_MAX];
    if (shape_numel(&c->shape) != 1 || c->dtype != DTYPE_BOOL)
        return err_set(e, INVALID, "its condition is %s %s, expected one bool",
                       dtype_name(c->dtype), shape_text(&c->shape, shape, sizeof(shape)));
    *out = *(const uint8_t *)c->data != 0;
    return OK;
}

/* The inner graph's inputs stand for the node's, in their order. */
static void name_inputs(const struct graph *g, struct cell *in)
{
    for (int i = 0; i < g->input_count; i++)
        in[i].value = g->inputs[i];
}

static void copy_cells(struct cell *to, const struct cell *from, int count)
{
    for (int i = 0; i < count; i++) {
        to[i].dtype = from[i].dtype;
        to[i].shape = from[i].shape;
        to[i].data = from[i].data;
    }
}

/* ---- if ---- */

static status run_if(const struct control_call *c)
{
    const struct if_attrs *a = c->node->attrs;
    const struct cell *result;
    bool yes;
    int index, count = c->node->in_count - 1;
    TRY(read_condition(&c->in[0], &yes, c->err));
    TRY(exec_take(c->exec, ((size_t)count + 1) * sizeof(struct cell), &index, c->err));
    struct cell *in = exec_block(c->exec, index);
    memcpy(in, c->in + 1, (size_t)count * sizeof(*in));
    const struct graph *g = yes ? a->then_graph : a->else_graph;
    name_inputs(g, in);
    TRY(exec_graph(c->exec, c->model, g, in, count, &result, c->err));
    copy_cells(c->out, result, c->node->out_count);
    return OK;
}

/* ---- while ---- */

/* The loop's values between two steps: their bytes lie in one of two blocks, since a step reads what the one before it
 * made. */
struct loop {
    const struct control_call *call;
    const struct graph *body;
    int vars, in_count;
    struct cell *in; /* the body's inputs: the loop's values, then what is only looked at */
    int block[2];
};

static size_t cell_bytes(const struct cell *c)
{
    struct tensor t = { .dtype = c->dtype, .shape = c->shape };
    return (size_t)tensor_bytes(&t);
}

#define CELL_ALIGN 64

static size_t aligned_bytes(const struct cell *c)
{
    return (cell_bytes(c) + CELL_ALIGN - 1) / CELL_ALIGN * CELL_ALIGN;
}

/* Copies the body's results behind the condition to the block, where they outlive the step. */
static status keep_step(struct loop *l, const struct cell *result, int block)
{
    struct exec *x = l->call->exec;
    size_t total = 0;
    for (int i = 0; i < l->vars; i++)
        if (__builtin_add_overflow(total, aligned_bytes(&result[i]), &total))
            return err_set(l->call->err, TOO_LARGE, "the loop's values do not fit in memory");
    TRY(exec_resize(x, block, total, l->call->err));
    uint8_t *at = exec_block(x, block);
    for (int i = 0; i < l->vars; i++) {
        size_t bytes = cell_bytes(&result[i]);
        if (bytes > 0)
            memcpy(at, result[i].data, bytes);
        l->in[i].dtype = result[i].dtype;
        l->in[i].shape = result[i].shape;
        l->in[i].data = at;
        at += aligned_bytes(&result[i]);
    }
    return OK;
}

static status run_loop_step(struct loop *l, int step, bool *again)
{
    const struct control_call *c = l->call;
    const struct cell *result;
    struct exec_mark mark = exec_mark(c->exec);
    TRY(exec_graph(c->exec, c->model, l->body, l->in, l->in_count, &result, c->err));
    TRY(read_condition(&result[0], again, c->err));
    TRY(keep_step(l, result + 1, l->block[step % 2]));
    exec_release(c->exec, mark);
    return OK;
}

static status open_loop(const struct control_call *c, struct loop *l)
{
    const struct while_attrs *a = c->node->attrs;
    int index;
    *l = (struct loop){
        .call = c, .body = a->body, .vars = c->node->out_count, .in_count = c->node->in_count - 1
    };
    TRY(exec_take(c->exec, ((size_t)l->in_count + 1) * sizeof(struct cell), &index, c->err));
    TRY(exec_take(c->exec, 0, &l->block[0], c->err));
    TRY(exec_take(c->exec, 0, &l->block[1], c->err));
    l->in = exec_block(c->exec, index);
    memcpy(l->in, c->in + 1, (size_t)l->in_count * sizeof(*l->in));
    name_inputs(l->body, l->in);
    for (int i = 0; i < l->vars; i++) /* one plan for all steps, the first one too */
        l->in[i].known = false;
    return OK;
}

static status run_while(const struct control_call *c)
{
    struct loop l;
    bool again;
    TRY(open_loop(c, &l));
    TRY(read_condition(&c->in[0], &again, c->err));
    for (int step = 0; again; step++) {
        if (step >= LIMIT_LOOP_STEPS)
            return err_set(c->err, INVALID, "the loop did not end after %d steps",
                           LIMIT_LOOP_STEPS);
        TRY(run_loop_step(&l, step, &again));
    }
    copy_cells(c->out, l.in, l.vars);
    return OK;
}

// clang-format off
static const struct control rows[] = {
    { "if",    run_if },
    { "while", run_while },
};
// clang-format on

const struct control *control_find(const char *op)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].op, op) == 0)
            return &rows[i];
    return NULL;
}
