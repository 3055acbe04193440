/* while, conditional_block and recurrent. Paddle's blocks write variables of the blocks around them; here a block is a graph with
 * inputs and outputs, so what it writes outside is found before it is lowered: a loop's body takes all of that as inputs and
 * gives it back changed, and the other way of a branch gives what was there before. */
#include "base/limits.h"
#include "graph/attrs_control.h"
#include "graph/attrs_move.h"
#include "import/paddle/lowering.h"

#include <string.h>

/* ---- what a block writes outside ---- */

struct written {
    struct str *name;
    int count;
};

struct search {
    const struct lower *lower;
    const struct scope *around; /* the block that holds the operator */
    struct map seen;
    struct written found;
};

static void note_written(struct search *f, const struct block_desc *inner, struct str name)
{
    static char mark;
    for (int i = 0; i < inner->var_count; i++)
        if (str_eq(inner->var[i].name, name))
            return; /* its own */
    if (!scope_knows(f->around, name) && scope_var(f->around, name) == NULL)
        return;
    if (!map_put(&f->seen, name, &mark))
        return;
    int n = f->found.count;
    if ((n & (n - 1)) == 0) {
        struct str *bigger =
            arena_zalloc(f->around->scratch, ((size_t)n * 2 + 1) * sizeof(*bigger));
        if (n > 0)
            memcpy(bigger, f->found.name, (size_t)n * sizeof(*bigger));
        f->found.name = bigger;
    }
    f->found.name[f->found.count++] = name;
}

static status block_of(const struct lower *l, const struct op_desc *op, int *index, struct err *e)
{
    const struct attr_desc *a = op_attr(op, "sub_block");
    const struct program *p = l->in->program;
    if (a == NULL || a->kind != KIND_BLOCK || a->i <= 0 || a->i >= p->block_count)
        return err_set(e, INVALID,
                       "operator '%.*s': attribute 'sub_block': expected a block from 1 to %d",
                       STR_ARG(op->type), p->block_count - 1);
    *index = (int)a->i;
    return OK;
}

static status find_written(struct search *f, int index, int depth, struct err *e)
{
    const struct block_desc *b = &f->lower->in->program->block[index];
    if (depth > LIMIT_GRAPH_DEPTH)
        return err_set(e, TOO_LARGE, "more than %d blocks inside each other", LIMIT_GRAPH_DEPTH);
    for (int i = 0; i < b->op_count; i++) {
        const struct op_desc *op = &b->op[i];
        for (int k = 0; k < op->out_count; k++)
            for (int n = 0; n < op->out[k].arg_count && !str_is(op->out[k].name, "StepScopes") &&
                            !str_is(op->out[k].name, "Scope");
                 n++)
                note_written(f, b, op->out[k].arg[n]);
        int inner;
        if (control_lowering(op->type) != NULL) {
            TRY(block_of(f->lower, op, &inner, e));
            if (inner <= index) /* the file's numbers rise inwards, so this always ends */
                return err_set(e, INVALID, "block %d holds block %d, which is not behind it", index,
                               inner);
            TRY(find_written(f, inner, depth + 1, e));
        }
    }
    return OK;
}

/* ---- the inner graph ---- */

/* An operator with blocks while it is lowered. `var`: what its blocks write, each followed by its offsets in `outer`. */
struct inner {
    struct lower *lower;
    struct site *site;
    int block;
    struct written written;
};

static status begin_inner(struct lower *l, struct site *s, struct inner *in)
{
    *in = (struct inner){ .lower = l, .site = s };
    TRY(block_of(l, s->op, &in->block, s->err));
    if (l->lowered[in->block])
        return site_fault(s, INVALID, "block %d belongs to another operator already", in->block);
    l->lowered[in->block] = true;
    struct search f = { .lower = l, .around = s->scope };
    map_init(&f.seen, &l->scratch);
    TRY(find_written(&f, in->block, s->scope->depth + 1, s->err));
    in->written = f.found;
    return OK;
}

static status open_scope(const struct inner *in, struct graph **g, struct scope *scope)
{
    struct site *s = in->site;
    *g = graph_new_inner(s->graph);
    return scope_init(scope, s->scope, *g, s->scratch, s->scope->params,
                      &in->lower->in->program->block[in->block], s->err);
}

/* A variable that nobody has written: without elements, of the declared dtype. A tensor array begins like this. */
static status nothing_yet(const struct inner *in, struct graph *g, struct str name,
                          struct value **out)
{
    static const uint64_t no_bytes;
    const struct var_desc *v = scope_var(in->site->scope, name);
    struct tensor t = { .dtype = DTYPE_F32, .shape = SHAPE(0), .data = &no_bytes };
    if (v != NULL && v->kind == VAR_TENSOR_ARRAY)
        t.dtype = DTYPE_U8;
    else if (v != NULL)
        program_dtype(v->data_type, &t.dtype);
    return graph_add_constant(g, NULL, &t, out, in->site->err);
}

/* What the variable stands for in front of the operator. */
static status value_before(const struct inner *in, struct str name, struct value **out)
{
    TRY(scope_resolve(in->site->scope, name, out, in->site->err));
    return *out != NULL ? OK : nothing_yet(in, in->site->graph, name, out);
}

/* ---- lists of values ---- */

struct values {
    struct value *v[UINT8_MAX];
    int count;
};

static status add_value(const struct inner *in, struct values *list, struct value *v)
{
    if (list->count >= UINT8_MAX)
        return site_fault(in->site, TOO_LARGE, "its block writes and looks at more than %d values",
                          UINT8_MAX);
    list->v[list->count++] = v;
    return OK;
}

/* A value, then its offsets. */
static status add_ragged(const struct inner *in, struct values *list, struct value *v)
{
    TRY(add_value(in, list, v));
    for (int i = 0; i < v->lod_levels; i++)
        TRY(add_value(in, list, v->lod[i]));
    return OK;
}

static status add_captured(const struct inner *in, const struct scope *scope, struct values *outer,
                           struct values *inner)
{
    for (int i = 0; i < scope->capture_count; i++) {
        TRY(add_value(in, outer, scope->capture[i].outer));
        TRY(add_value(in, inner, scope->capture[i].inner));
    }
    return OK;
}

/* The node's outputs to what the blocks wrote: the i-th variable is of model[i]'s kind and as ragged. */
static void bind_written(const struct inner *in, struct node *n, struct value *const *model)
{
    struct scope *scope = in->site->scope;
    int at = 0;
    for (int i = 0; i < in->written.count; i++) {
        struct value *v = n->out[at++];
        v->name = scope_name(scope, in->written.name[i]);
        v->dtype = model[i]->dtype;
        v->shape = model[i]->shape;
        v->lod_levels = model[i]->lod_levels;
        for (int l = 0; l < v->lod_levels; l++) {
            v->lod[l] = n->out[at++];
            v->lod[l]->dtype = DTYPE_I64;
            v->lod[l]->shape = SHAPE(-1);
        }
        scope_bind(scope, in->written.name[i], v);
    }
}

static status same_levels(const struct inner *in, int i, const struct value *a,
                          const struct value *b)
{
    if (a->lod_levels == b->lod_levels)
        return OK;
    return site_fault(in->site, UNSUPPORTED,
                      "its block gives '%.*s' %d LoD levels where there were %d",
                      STR_ARG(in->written.name[i]), b->lod_levels, a->lod_levels);
}

/* ---- while ---- */

/* The body's input for a variable that it writes: the declared shape, since a step may change its size. */
static status add_loop_input(const struct inner *in, struct scope *scope, struct str name,
                             const struct value *before, struct values *inputs)
{
    struct value *v, *offsets;
    const struct var_desc *d = scope_var(in->site->scope, name);
    const struct shape *declared = d == NULL                     ? &before->shape
                                   : d->kind == VAR_TENSOR_ARRAY ? &SHAPE(-1)
                                                                 : &d->shape;
    TRY(graph_add_value(scope->graph, scope_name(scope, name), before->dtype, declared, &v,
                        in->site->err));
    TRY(add_value(in, inputs, v));
    for (int l = 0; l < before->lod_levels; l++) {
        TRY(graph_add_value(scope->graph, NULL, DTYPE_I64, &SHAPE(-1), &offsets, in->site->err));
        v->lod[v->lod_levels++] = offsets;
        TRY(add_value(in, inputs, offsets));
    }
    scope_bind(scope, name, v);
    return OK;
}

static status close_loop(const struct inner *in, struct scope *scope, struct str condition,
                         struct value *const *before, struct values *outputs)
{
    struct value *v;
    TRY(scope_resolve(scope, condition, &v, in->site->err));
    if (v == NULL)
        return site_fault(in->site, INVALID, "its condition '%.*s' is written nowhere",
                          STR_ARG(condition));
    TRY(add_value(in, outputs, v));
    for (int i = 0; i < in->written.count; i++) {
        TRY(scope_resolve(scope, in->written.name[i], &v, in->site->err));
        TRY(same_levels(in, i, before[i], v));
        TRY(add_ragged(in, outputs, v));
    }
    return OK;
}

static status lower_while(struct lower *l, struct site *s)
{
    struct inner in;
    struct scope scope;
    struct graph *g;
    struct values outer = { .count = 0 }, inputs = { .count = 0 }, outputs = { .count = 0 };
    struct value *condition;
    struct node *n;
    TRY(site_in(s, "Condition", &condition));
    TRY(begin_inner(l, s, &in));
    TRY(open_scope(&in, &g, &scope));
    struct value **before =
        arena_zalloc(s->scratch, ((size_t)in.written.count + 1) * sizeof(*before));
    TRY(add_value(&in, &outer, condition));
    for (int i = 0; i < in.written.count; i++) {
        TRY(value_before(&in, in.written.name[i], &before[i]));
        TRY(add_ragged(&in, &outer, before[i]));
        TRY(add_loop_input(&in, &scope, in.written.name[i], before[i], &inputs));
    }
    int vars = inputs.count;
    TRY(lower_block(l, &scope, in.block));
    TRY(close_loop(&in, &scope, op_slot_in(s->op, "Condition")->arg[0], before, &outputs));
    TRY(add_captured(&in, &scope, &outer, &inputs));
    TRY(graph_set_inputs(g, inputs.v, inputs.count));
    TRY(graph_set_outputs(g, outputs.v, outputs.count));
    TRY(site_add_outs(s, "while", outer.v, outer.count, vars, &n));
    ((struct while_attrs *)node_attrs(n))->body = g;
    bind_written(&in, n, before);
    return OK;
}

/* ---- conditional_block ---- */

/* Where the condition does not hold: inputs as the branch has them, what was there before as outputs. */
static status make_otherwise(const struct inner *in, const struct scope *branch,
                             struct value *const *before, struct value *const *after,
                             struct graph **out)
{
    struct scope scope;
    struct values inputs = { .count = 0 }, outputs = { .count = 0 };
    struct value *v;
    TRY(open_scope(in, out, &scope));
    for (int i = 0; i < branch->capture_count; i++) {
        TRY(scope_capture(&scope, branch->capture[i].outer, &v, in->site->err));
        TRY(add_value(in, &inputs, v));
    }
    for (int i = 0; i < in->written.count; i++) {
        TRY(same_levels(in, i, before[i], after[i]));
        TRY(scope_capture(&scope, before[i], &v, in->site->err));
        TRY(add_ragged(in, &outputs, v));
    }
    TRY(graph_set_inputs(*out, inputs.v, inputs.count));
    return graph_set_outputs(*out, outputs.v, outputs.count);
}

/* A ragged result where there was nothing before: no sequence there, on each level. */
static status ragged_nothing(const struct inner *in, struct value *before,
                             const struct value *after)
{
    static const int64_t zero[1];
    if (before->constant == NULL || before->lod_levels > 0 || shape_numel(&before->shape) > 0)
        return OK;
    for (int l = 0; l < after->lod_levels; l++) {
        struct tensor t = { .dtype = DTYPE_I64, .shape = SHAPE(1), .data = zero };
        TRY(graph_add_constant(in->site->graph, NULL, &t, &before->lod[l], in->site->err));
    }
    before->lod_levels = after->lod_levels;
    return OK;
}

/* The captures of the branch and of what was there before, in one order for both graphs. */
static status capture_before(const struct inner *in, struct scope *branch,
                             struct value *const *before)
{
    struct value *v;
    for (int i = 0; i < in->written.count; i++)
        TRY(scope_capture(branch, before[i], &v, in->site->err));
    return OK;
}

/* What a block makes under a name. */
static status made_inside(struct site *s, struct scope *scope, struct str name, struct value **out)
{
    TRY(scope_resolve(scope, name, out, s->err));
    return *out != NULL ? OK
                        : site_fault(s, INVALID, "its block does not make '%.*s'", STR_ARG(name));
}

static status lower_conditional(struct lower *l, struct site *s)
{
    struct inner in;
    struct scope scope;
    struct graph *g, *otherwise;
    struct values outer = { .count = 0 }, inputs = { .count = 0 }, outputs = { .count = 0 };
    struct value *condition;
    struct node *n;
    if (!attr_bool(s, "is_scalar_condition", false))
        return site_fault(s, UNSUPPORTED, "its condition is not one bool (is_scalar_condition)");
    TRY(site_in(s, "Cond", &condition));
    TRY(begin_inner(l, s, &in));
    TRY(open_scope(&in, &g, &scope));
    size_t room = ((size_t)in.written.count + 1) * sizeof(struct value *);
    struct value **before = arena_zalloc(s->scratch, room),
                 **after = arena_zalloc(s->scratch, room);
    for (int i = 0; i < in.written.count; i++)
        TRY(value_before(&in, in.written.name[i], &before[i]));
    TRY(lower_block(l, &scope, in.block));
    for (int i = 0; i < in.written.count; i++) {
        TRY(made_inside(s, &scope, in.written.name[i], &after[i]));
        TRY(ragged_nothing(&in, before[i], after[i]));
        TRY(add_ragged(&in, &outputs, after[i]));
    }
    TRY(capture_before(&in, &scope, before));
    TRY(make_otherwise(&in, &scope, before, after, &otherwise));
    TRY(add_value(&in, &outer, condition));
    TRY(add_captured(&in, &scope, &outer, &inputs));
    TRY(graph_set_inputs(g, inputs.v, inputs.count));
    TRY(graph_set_outputs(g, outputs.v, outputs.count));
    TRY(site_add_outs(s, "if", outer.v, outer.count, outputs.count, &n));
    *(struct if_attrs *)node_attrs(n) = (struct if_attrs){ g, otherwise };
    bind_written(&in, n, after);
    return OK;
}

/* ---- recurrent: a block for each step of a sequence ---- */

/* A loop whose values are a counter, the states, and the outputs, which grow by a step each. */
struct steps {
    struct inner in;
    struct scope scope;
    struct graph *g;
    struct site inside;        /* the operator's site, adding to the body */
    struct value **x, **first; /* sequences, states to begin with */
    int x_count, state_count, out_count;
    const struct attr_desc *before, *after; /* the states' names in the block */
    struct value *length, *counter,
        *at; /* inside: scalars; at: the step's place in the sequences */
    struct values outer, inputs, outputs;
};

static status read_steps(struct site *s, struct steps *r)
{
    TRY(site_ins(s, "inputs", &r->x, &r->x_count));
    r->before = op_attr(s->op, "ex_states");
    r->after = op_attr(s->op, "states");
    const struct slot_desc *states = op_slot_in(s->op, "initial_states");
    r->state_count = states != NULL ? states->arg_count : 0;
    if (r->state_count > 0)
        TRY(site_ins(s, "initial_states", &r->first, &r->state_count));
    int before = r->before != NULL ? r->before->string_count : 0,
        after = r->after != NULL ? r->after->string_count : 0;
    if (before != r->state_count || after != r->state_count)
        return site_fault(s, INVALID, "%d initial_states, %d ex_states and %d states",
                          r->state_count, before, after);
    r->out_count = site_out_count(s, "outputs");
    return OK;
}

/* How long the sequences are: the first dimension of the first. */
static status count_steps(struct site *s, struct value *x, struct value **out)
{
    struct value *shape;
    TRY(site_add1(s, "shape", &x, 1, &shape));
    ((struct dtype_attrs *)node_attrs(shape->producer))->dtype = DTYPE_I64;
    shape->dtype = DTYPE_I64;
    TRY(site_add1(s, "slice", &shape, 1, out));
    *(struct slice_attrs *)node_attrs((*out)->producer) =
        (struct slice_attrs){ .axes = { 1, { 0 } }, .starts = { 1, { 0 } }, .ends = { 1, { 1 } } };
    return site_add_reshape(s, *out, &(struct attr_ints){ 0 }, out);
}

static status add_step_input(struct steps *r, dtype d, const struct shape *shape,
                             struct value *start, struct value **out)
{
    TRY(graph_add_value(r->g, NULL, d, shape, out, r->in.site->err));
    TRY(add_value(&r->in, &r->outer, start));
    return add_value(&r->in, &r->inputs, *out);
}

/* The loop's values outside and inside: the counter, the states, an empty list for each output. */
static status open_steps(struct steps *r)
{
    struct site *s = r->in.site;
    struct value *zero, *length, *below, *v;
    static const struct shape scalar = { .rank = 0 };
    TRY(site_number(s, DTYPE_I64, 0, 0, &zero));
    TRY(count_steps(s, r->x[0], &length));
    TRY(site_add1(s, "less", (struct value *[]){ zero, length }, 2, &below));
    below->dtype = DTYPE_BOOL;
    TRY(add_value(&r->in, &r->outer, below));
    TRY(add_step_input(r, DTYPE_I64, &scalar, zero, &r->counter));
    for (int i = 0; i < r->state_count; i++) {
        TRY(add_step_input(r, r->first[i]->dtype, &r->first[i]->shape, r->first[i], &v));
        scope_bind(&r->scope, r->before->strings[i], v);
    }
    for (int i = 0; i < r->out_count; i++) {
        struct value *none;
        TRY(nothing_yet(&r->in, s->graph, op_slot_out(s->op, "outputs")->arg[i], &none));
        TRY(add_step_input(r, none->dtype, &SHAPE(-1), none, &v));
    }
    return scope_capture(&r->scope, length, &r->length, s->err);
}

/* The rows of this step, under the sequences' own names. */
static status take_rows(struct steps *r)
{
    struct site *s = r->in.site;
    struct value *seen, *row;
    r->at = r->counter;
    if (attr_bool(s, "reverse", false)) {
        TRY(site_add1(&r->inside, "affine", &r->length, 1, &row));
        *(struct affine_attrs *)node_attrs(row->producer) = (struct affine_attrs){ 1, -1 };
        TRY(site_add1(&r->inside, "sub", (struct value *[]){ row, r->counter }, 2, &r->at));
    }
    for (int i = 0; i < r->x_count; i++) {
        TRY(scope_capture(&r->scope, r->x[i], &seen, s->err));
        TRY(site_add1(&r->inside, "gather", (struct value *[]){ seen, r->at }, 2, &row));
        row->shape = (struct shape){ .rank = seen->shape.rank > 0 ? seen->shape.rank - 1 : 0 };
        for (int d = 0; d < row->shape.rank; d++)
            row->shape.dim[d] = seen->shape.dim[d + 1];
        scope_bind(&r->scope, op_slot_in(s->op, "inputs")->arg[i], row);
    }
    return OK;
}

/* What the body gives: whether there is a next step, the counter, the states, the longer lists. */
static status close_steps(struct steps *r)
{
    struct site *s = r->in.site;
    struct value *next, *again, *v;
    TRY(site_add1(&r->inside, "affine", &r->counter, 1, &next));
    *(struct affine_attrs *)node_attrs(next->producer) = (struct affine_attrs){ 1, 1 };
    TRY(site_add1(&r->inside, "less", (struct value *[]){ next, r->length }, 2, &again));
    again->dtype = DTYPE_BOOL;
    TRY(add_value(&r->in, &r->outputs, again));
    TRY(add_value(&r->in, &r->outputs, next));
    for (int i = 0; i < r->state_count; i++) {
        TRY(made_inside(s, &r->scope, r->after->strings[i], &v));
        TRY(add_value(&r->in, &r->outputs, v));
    }
    for (int i = 0; i < r->out_count; i++) {
        struct value *list = r->inputs.v[1 + r->state_count + i];
        TRY(made_inside(s, &r->scope, op_slot_out(s->op, "outputs")->arg[i], &v));
        TRY(site_add1(&r->inside, "append", (struct value *[]){ list, v }, 2, &v));
        TRY(add_value(&r->in, &r->outputs, v));
    }
    return OK;
}

/* A sequence that was run backwards is turned round again. */
static status bind_sequences(struct steps *r, struct node *n)
{
    struct site *s = r->in.site;
    for (int i = 0; i < r->out_count; i++) {
        struct value *v = n->out[1 + r->state_count + i];
        v->dtype = r->outputs.v[2 + r->state_count + i]->dtype;
        if (attr_bool(s, "reverse", false)) {
            TRY(site_add1(s, "flip", &v, 1, &v));
            ((struct axes_attrs *)node_attrs(v->producer))->axes = (struct attr_ints){ 1, { 0 } };
        }
        struct str name = op_slot_out(s->op, "outputs")->arg[i];
        const struct var_desc *d = scope_var(s->scope, name);
        if (d != NULL)
            v->shape = d->shape;
        v->name = scope_name(s->scope, name);
        scope_bind(s->scope, name, v);
    }
    return OK;
}

static status lower_recurrent(struct lower *l, struct site *s)
{
    struct steps *r = arena_zalloc(s->scratch, sizeof(*r));
    struct node *n;
    TRY(begin_inner(l, s, &r->in));
    TRY(read_steps(s, r));
    TRY(open_scope(&r->in, &r->g, &r->scope));
    r->inside = *s;
    r->inside.graph = r->g;
    r->inside.scope = &r->scope;
    TRY(open_steps(r));
    TRY(take_rows(r));
    TRY(lower_block(l, &r->scope, r->in.block));
    TRY(close_steps(r));
    int vars = r->inputs.count;
    TRY(add_captured(&r->in, &r->scope, &r->outer, &r->inputs));
    TRY(graph_set_inputs(r->g, r->inputs.v, r->inputs.count));
    TRY(graph_set_outputs(r->g, r->outputs.v, r->outputs.count));
    TRY(site_add_outs(s, "while", r->outer.v, r->outer.count, vars, &n));
    ((struct while_attrs *)node_attrs(n))->body = r->g;
    for (int i = 0; i < r->state_count; i++) {
        n->out[1 + i]->dtype = r->first[i]->dtype;
        n->out[1 + i]->shape = r->first[i]->shape;
    }
    n->out[0]->dtype = DTYPE_I64;
    return bind_sequences(r, n);
}

// clang-format off
static const struct control_row rows[] = {
    { "while",                   "while", "while", lower_while },
    { "conditional_block",       "if",    "if",    lower_conditional },
    { "conditional_block_infer", NULL,    "if",    lower_conditional },
    { "recurrent",               NULL,    "while", lower_recurrent },
};
// clang-format on

const struct control_row *control_row_at(int index)
{
    return index >= 0 && (size_t)index < ARRAY_LEN(rows) ? &rows[index] : NULL;
}

control_fn *control_lowering(struct str type)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_is(type, rows[i].type))
            return rows[i].lower;
    return NULL;
}
