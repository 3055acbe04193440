#include "import/paddle/lower.h"

#include "import/paddle/lowering.h"
#include "import/paddle/ops.h"
#include "import/unknown.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

/* ---- what is not supported, all at once ---- */

static bool is_known(struct str type)
{
    return str_is(type, "feed") || str_is(type, "fetch") || control_lowering(type) != NULL ||
           op_row_find(type) != NULL;
}

void lower_check(const struct program *p, struct unknown_list *unknown)
{
    for (int b = 0; b < p->block_count; b++)
        for (int i = 0; i < p->block[b].op_count; i++)
            if (!is_known(p->block[b].op[i].type))
                unknown_note(unknown, p->block[b].op[i].type, b, i);
}

static status check_known(struct lower *l)
{
    struct unknown_list unknown;
    unknown_init(&unknown, &l->scratch);
    lower_check(l->in->program, &unknown);
    return unknown_tell(&unknown, l->err);
}

/* ---- feed and fetch ---- */

static status check_feed_var(struct site *s, const struct var_desc *v, struct str name)
{
    dtype d;
    if (v == NULL || v->kind != VAR_LOD_TENSOR)
        return site_fault(s, INVALID, "it feeds '%.*s', which the program declares as no tensor",
                          STR_ARG(name));
    if (!program_dtype(v->data_type, &d))
        return site_fault(s, UNSUPPORTED, "it feeds '%.*s' with element type %d of VarType",
                          STR_ARG(name), v->data_type);
    if (v->lod_level < 0 || v->lod_level > LOD_MAX)
        return site_fault(s, UNSUPPORTED, "it feeds '%.*s' with %d LoD levels, at most %d",
                          STR_ARG(name), v->lod_level, LOD_MAX);
    if (scope_has(s->scope, name))
        return site_fault(s, INVALID, "'%.*s' is fed or written already", STR_ARG(name));
    return OK;
}

/* Declared LoD levels, or one where only the configuration calls it ragged. */
static int feed_levels(const struct lower *l, const struct var_desc *v)
{
    const struct conf_var *c = l->in->conf != NULL ? conf_find_feed(l->in->conf, v->name) : NULL;
    return v->lod_level == 0 && c != NULL && c->lod ? 1 : v->lod_level;
}

static status add_offsets(struct lower *l, struct value *v, int levels)
{
    for (int i = 0; i < levels; i++) {
        const char *name = arena_printf(&l->scratch, "%s.lod%d", v->name, i);
        TRY(graph_add_value(l->graph, name, DTYPE_I64, &SHAPE(-1), &v->lod[i], l->err));
    }
    v->lod_levels = levels;
    return OK;
}

static struct end *next_end(struct lower *l, struct ends *ends)
{
    if (ends->end == NULL)
        ends->end = arena_zalloc(&l->scratch,
                                 (size_t)l->in->program->block[0].op_count * sizeof(*ends->end));
    return &ends->end[ends->count++];
}

static status lower_feed(struct lower *l, struct site *s)
{
    const struct slot_desc *out = op_slot_out(s->op, "Out");
    if (out == NULL || out->arg_count != 1)
        return site_fault(s, INVALID, "expected one variable as output Out");
    const struct var_desc *v = scope_var(s->scope, out->arg[0]);
    TRY(check_feed_var(s, v, out->arg[0]));
    struct value *value;
    dtype d = DTYPE_F32;
    program_dtype(v->data_type, &d);
    TRY(graph_add_value(l->graph, arena_strndup(&l->scratch, v->name.p, v->name.n), d, &v->shape,
                        &value, l->err));
    TRY(add_offsets(l, value, feed_levels(l, v)));
    *next_end(l, &l->feeds) = (struct end){ attr_i64(s, "col", l->feeds.count), v->name, value };
    struct value *computed;
    program_computed(v->data_type, &d);
    TRY(site_cast(s, value, d, &computed));
    site_share_lod(computed, value, value->lod_levels);
    site_bind_name(s, v->name, computed);
    return OK;
}

static status lower_fetch(struct lower *l, struct site *s)
{
    struct value *v;
    TRY(site_in(s, "X", &v));
    struct str name = op_slot_in(s->op, "X")->arg[0];
    const struct var_desc *d = scope_var(s->scope, name);
    dtype told = v->dtype;
    if (d != NULL && program_dtype(d->data_type, &told) && v->dtype == DTYPE_F32 &&
        (told == DTYPE_F16 || told == DTYPE_BF16)) {
        const struct value *x = v;
        TRY(site_cast(s, v, told, &v));
        site_share_lod(v, x, x->lod_levels);
    }
    *next_end(l, &l->fetches) = (struct end){ attr_i64(s, "col", l->fetches.count), name, v };
    return OK;
}

static int by_col(const void *a, const void *b)
{
    int64_t x = ((const struct end *)a)->col, y = ((const struct end *)b)->col;
    return (x > y) - (x < y);
}

/* Sorts the ends by column into values and names. */
static status order_ends(struct lower *l, struct ends *ends, const char *what,
                         struct value ***values, const char ***names)
{
    size_t room = (size_t)ends->count + 1;
    *values = arena_zalloc(&l->scratch, room * sizeof(**values));
    *names = arena_zalloc(&l->graph->arena, room * sizeof(**names));
    if (ends->count == 0)
        return OK;
    qsort(ends->end, (size_t)ends->count, sizeof(*ends->end), by_col);
    for (int i = 0; i < ends->count; i++) {
        const struct end *x = &ends->end[i];
        if (i > 0 && x->col == x[-1].col)
            return err_set(l->err, INVALID, "'%.*s' and '%.*s' are both %s column %lld",
                           STR_ARG(x[-1].name), STR_ARG(x->name), what, (long long)x->col);
        (*values)[i] = x->value;
        (*names)[i] = arena_strndup(&l->graph->arena, x->name.p, x->name.n);
    }
    return OK;
}

static status set_ends(struct lower *l, struct port_names *names)
{
    struct value **in, **out;
    if (l->fetches.count == 0)
        return err_set(l->err, INVALID,
                       "the program has no fetch operator, so no output; export it for inference "
                       "(save_inference_model)");
    TRY(order_ends(l, &l->feeds, "feed", &in, &names->input));
    TRY(order_ends(l, &l->fetches, "fetch", &out, &names->output));
    TRY(graph_set_inputs(l->graph, in, l->feeds.count));
    return graph_set_outputs(l->graph, out, l->fetches.count);
}

/* ---- the walk ---- */

/* The first input that has LoD, in the order of the file's slots. */
static const struct value *find_ragged(struct site *s)
{
    struct value *v;
    for (int i = 0; i < s->op->in_count; i++)
        for (int k = 0; k < s->op->in[i].arg_count; k++)
            if (site_resolve(s, s->op->in[i].arg[k], &v) == OK && v != NULL && v->lod_levels > 0)
                return v;
    return NULL;
}

static status lower_end(struct lower *l, struct site *s)
{
    if (s->block != 0)
        return site_fault(s, INVALID, "only block 0 has feeds and fetches");
    return str_is(s->op->type, "feed") ? lower_feed(l, s) : lower_fetch(l, s);
}

static status lower_op(struct lower *l, struct scope *scope, int block, int index)
{
    const struct op_desc *op = &l->in->program->block[block].op[index];
    struct site s = { .graph = scope->graph,
                      .op = op,
                      .row = op_row_find(op->type),
                      .index = index,
                      .block = block,
                      .scope = scope,
                      .scratch = &l->scratch,
                      .err = l->err };
    control_fn *control = control_lowering(op->type);
    if (control != NULL) {
        TRY(control(l, &s));
    } else if (s.row == NULL) {
        TRY(lower_end(l, &s));
    } else {
        s.ragged = find_ragged(&s);
        TRY(s.row->import(&s));
    }
    if (s.bad_attr != NULL)
        return site_fault(&s, INVALID, "attribute '%s': %s", s.bad_attr, s.bad_why);
    return OK;
}

status lower_block(struct lower *l, struct scope *scope, int index)
{
    if (scope->depth > LIMIT_GRAPH_DEPTH)
        return err_set(l->err, TOO_LARGE, "more than %d blocks inside each other",
                       LIMIT_GRAPH_DEPTH);
    for (int i = 0; i < l->in->program->block[index].op_count; i++)
        TRY(lower_op(l, scope, index, i));
    return OK;
}

static status lower(struct lower *l, struct port_names *names)
{
    const struct program *p = l->in->program;
    struct scope scope;
    l->lowered = arena_zalloc(&l->scratch, (size_t)p->block_count);
    TRY(scope_init(&scope, NULL, l->graph, &l->scratch, &l->in->params->by_name, &p->block[0],
                   l->err));
    TRY(check_known(l));
    TRY(lower_block(l, &scope, 0));
    TRY(set_ends(l, names));
    return graph_check(l->graph, l->err);
}

status lower_program(const struct lower_in *in, struct graph *g, struct port_names *names,
                     struct err *e)
{
    struct lower l = { .in = in, .graph = g, .err = e };
    arena_init(&l.scratch, 0);
    status s = lower(&l, names);
    arena_deinit(&l.scratch);
    return s;
}
