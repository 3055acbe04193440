/* What is left to do behind the last node: places in one workspace, what leaves the plan, and a recipe for those that are made
 * out of it (rebind.h). */
#include "exec/build.h"
#include "exec/eval.h"
#include "exec/rebind.h"

#include <string.h>

static struct place locate(const struct build *b, struct place p)
{
    if (p.kind == PLACE_WORKSPACE)
        p.offset = b->extent[p.index].offset;
    return p;
}

static void locate_steps(struct build *b)
{
    for (int i = 0; i < b->plan->step_count; i++) {
        struct plan_step *s = &b->plan->steps[i];
        for (int k = 0; k < s->in_count; k++)
            s->in[k] = locate(b, s->in[k]);
        for (int k = 0; k < s->out_count; k++)
            s->out[k] = locate(b, s->out[k]);
    }
}

/* What leaves the plan is plain. */
static void bring_home(struct build *b, const struct value *v)
{
    const struct graph *g = b->r->graph;
    if (b->type[v->id].shape.rank < 0 || b->layout[v->id] == LAYOUT_PLAIN)
        return;
    b->home[v->id] =
        step_bring(b, g->nodes[g->node_count - 1], v, LAYOUT_PLAIN, (int)b->plan->next);
    b->layout[v->id] = LAYOUT_PLAIN;
}

static void bring_results_home(struct build *b)
{
    const struct graph *g = b->r->graph;
    for (uint32_t i = 0; i < g->value_count; i++)
        if (b->last_use[i] >= (int)b->plan->next)
            bring_home(b, g->values[i]);
}

static status add_live(struct build *b, const struct value *v, bool known)
{
    const struct type *t = &b->type[v->id];
    int late = b->late[v->id];
    struct place at = locate(b, b->home[v->id]);
    if (at.kind == PLACE_CONSTANT)
        TRY(step_align(b, &(struct tensor){ .dtype = t->dtype, .shape = t->shape, .data = at.data },
                       &at.data));
    b->plan->live[b->plan->live_count++] = (struct plan_live){
        .cell = { .value = v,
                  .dtype = t->dtype,
                  .known = known,
                  .shape = late >= 0 ? b->bound[v->id] : t->shape },
        .place = at,
        .late = late,
    };
    return OK;
}

/* Elements that planning knows so far, and those that made it stop, are known to the next plan too. */
static bool is_known(const struct build *b, const struct value *v, const struct node *next)
{
    const struct tensor *c = b->type[v->id].constant;
    if (c != NULL && tensor_bytes(c) <= KNOWN_BYTES)
        return true;
    for (int i = 0; i < next->in_count; i++)
        if (next->in[i] == v && op_needs(next->op, i))
            return true;
    return false;
}

static status list_live(struct build *b)
{
    const struct graph *g = b->r->graph;
    const struct node *next = g->nodes[b->plan->next];
    b->plan->live = arena_zalloc(&b->plan->arena, (g->value_count + 1) * sizeof(*b->plan->live));
    for (uint32_t i = 0; i < g->value_count; i++) {
        const struct value *v = g->values[i];
        if (b->type[i].shape.rank != RANK_ABSENT && v->constant == NULL &&
            b->last_use[i] >= (int)b->plan->next)
            TRY(add_live(b, v, is_known(b, v, next)));
    }
    return OK;
}

static status list_output(struct build *b, const struct value *v)
{
    if (b->type[v->id].shape.rank == RANK_ABSENT)
        return err_set(b->err, INVALID, "output '%s' is neither fed nor computed", v->name);
    return add_live(b, v, false);
}

static status list_outputs(struct build *b)
{
    const struct graph *g = b->r->graph;
    size_t room = (size_t)g->output_count * (1 + LOD_MAX) + 1;
    b->plan->live = arena_zalloc(&b->plan->arena, room * sizeof(*b->plan->live));
    for (int i = 0; i < g->output_count; i++) {
        TRY(list_output(b, g->outputs[i]));
        for (int l = 0; l < g->outputs[i]->lod_levels; l++)
            TRY(list_output(b, g->outputs[i]->lod[l]));
    }
    return OK;
}

/* The largest value made here, most often the one that is wrong; NULL: none has a place. */
static const struct value *find_largest(const struct build *b)
{
    const struct graph *g = b->r->graph;
    const struct value *largest = NULL;
    size_t most = 0;
    for (uint32_t i = b->r->first; i < b->plan->next; i++)
        for (int k = 0; k < g->nodes[i]->out_count; k++) {
            const struct value *v = g->nodes[i]->out[k];
            const struct place *home = &b->home[v->id];
            if (home->kind != PLACE_WORKSPACE || b->extent[home->index].bytes < most)
                continue;
            most = b->extent[home->index].bytes;
            largest = v;
        }
    return largest;
}

static status too_large(struct build *b, size_t bytes)
{
    const struct value *v = find_largest(b);
    char shape[SHAPE_TEXT_MAX];
    err_set(b->err, TOO_LARGE,
            "these shapes need %zu bytes of working memory, at most %zu are allowed (--max-arena)",
            bytes, b->r->options->max_arena_bytes);
    if (v == NULL)
        return TOO_LARGE;
    const struct type *t = &b->type[v->id];
    const struct shape *s = b->late[v->id] >= 0 ? &b->bound[v->id] : &t->shape;
    err_prefix(b->err, TOO_LARGE, "it makes %s %s: ", dtype_name(t->dtype),
               shape_text(s, shape, sizeof(shape)));
    return node_fault(v->producer, TOO_LARGE, b->err);
}

/* ---- what others may be made out of ---- */

#define RECIPE_VALUES 512 /* larger graphs take so long to run that planning is no matter */

/* Where nothing but plain images and steps that need no more than shapes are in it. */
static bool is_pattern(const struct build *b)
{
    const struct graph *g = b->r->graph;
    if (b->r->is_no_pattern || b->r->first != 0 || b->plan->late_count > 0 ||
        g->value_count > RECIPE_VALUES || b->r->options->ref_only)
        return false;
    for (uint32_t i = 0; i < g->value_count; i++)
        if (b->layout[i] != LAYOUT_PLAIN || b->copy[i].home.kind != PLACE_NONE)
            return false;
    for (int i = 0; i < b->r->given_count; i++)
        if (b->r->given[i].known)
            return false;
    return true;
}

static void *keep(struct build *b, const void *from, size_t count, size_t size)
{
    void *to = arena_zalloc(&b->plan->arena, (count + 1) * size);
    return count > 0 ? memcpy(to, from, count * size) : to;
}

static const size_t *find_rooms(struct build *b)
{
    const struct graph *g = b->r->graph;
    size_t *room = arena_zalloc(&b->plan->arena, (g->value_count + 1) * sizeof(*room));
    for (uint32_t i = 0; i < g->value_count; i++) {
        const struct place *home = &b->home[i];
        if (home->kind == PLACE_WORKSPACE)
            room[i] = b->extent[home->index].bytes;
        else if (home->kind == PLACE_GIVEN) /* views of what is fed are as large as that */
            room[i] = SIZE_MAX;
    }
    return room;
}

static const int *find_steps(struct build *b)
{
    const struct graph *g = b->r->graph;
    int *step = arena_zalloc(&b->plan->arena, (g->node_count + 1) * sizeof(*step));
    for (uint32_t i = 0; i < g->node_count; i++)
        step[i] = g->nodes[i]->op->flags & OP_VIEW ? STEP_VIEW : STEP_DONE;
    int at = 0;
    for (uint32_t i = 0; i < g->node_count && at < b->plan->step_count; i++)
        if (b->plan->steps[at].node == g->nodes[i])
            step[i] = at++;
    return step;
}

static void keep_recipe(struct build *b)
{
    const struct graph *g = b->r->graph;
    struct plan *p = b->plan;
    if (!is_pattern(b))
        return;
    struct recipe *made = arena_zalloc(&p->arena, sizeof(*made));
    made->type = keep(b, b->type, g->value_count, sizeof(*b->type));
    made->room = find_rooms(b);
    made->step = find_steps(b);
    made->scratch_room = b->scratch_bytes;
    p->given = keep(b, b->r->given, (size_t)b->r->given_count, sizeof(*p->given));
    p->given_count = b->r->given_count;
    p->recipe = made;
}

status plan_finish(struct build *b)
{
    bring_results_home(b);
    if (b->is_out_of_memory)
        return err_set(b->err, NO_MEMORY, "no memory for a copy of a parameter");
    size_t bytes = layout_extents(b->extent, b->extent_count, b->scratch);
    size_t most = b->r->options->max_arena_bytes;
    if (bytes > most || b->scratch_bytes > most - bytes)
        return too_large(b, bytes == SIZE_MAX ? bytes : bytes + b->scratch_bytes);
    b->scratch_bytes = home_room(b->scratch_bytes);
    b->plan->scratch_offset = bytes;
    b->plan->workspace_bytes = bytes + b->scratch_bytes;
    locate_steps(b);
    if (b->plan->next == b->r->graph->node_count) {
        keep_recipe(b);
        return list_outputs(b);
    }
    return list_live(b);
}
