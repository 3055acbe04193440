/* Where values live: extents of the workspace, which views and in-place operators share. */
#include "exec/build.h"

#define SPARE_MOST ((size_t)256 << 10)

size_t home_bytes(const struct build *b, const struct value *v, enum layout l)
{
    struct tensor t = { .dtype = b->type[v->id].dtype, .shape = b->type[v->id].shape };
    return (size_t)(l == LAYOUT_PLAIN ? tensor_bytes(&t)
                                      : layout_bytes(&t.shape, l, dtype_size(t.dtype)));
}

/* Small ones get up to a quarter more, to steps that other sizes share (rebind.h). */
size_t home_room(size_t bytes)
{
    size_t step = 64;
    while (step * 8 <= bytes)
        step *= 2;
    return bytes <= SPARE_MOST ? (bytes + step - 1) / step * step : bytes;
}

struct place home_extent(struct build *b, size_t bytes, int first, int last)
{
    b->extent[b->extent_count] =
        (struct extent){ .bytes = home_room(bytes), .first = first, .last = last };
    return (struct place){ .kind = PLACE_WORKSPACE, .index = b->extent_count++ };
}

void home_stretch(struct build *b, const struct place *home, int last)
{
    if (home->kind == PLACE_WORKSPACE && b->extent[home->index].last < last)
        b->extent[home->index].last = last;
}

/* Whether output 0 of step i, of this size, may be written over input k, which lies in in[k]: a workspace value of the
 * same size that dies at this step and is no other input of it. */
static bool can_overwrite(const struct build *b, const struct node *n, int i, int k,
                          const struct place *in, size_t bytes)
{
    if (k >= n->in_count || in[k].kind != PLACE_WORKSPACE || b->extent[in[k].index].last != i ||
        b->extent[in[k].index].bytes != home_room(bytes) ||
        shape_numel(&b->type[n->in[k]->id].shape) != shape_numel(&b->type[n->out[0]->id].shape) ||
        dtype_size(b->type[n->in[k]->id].dtype) != dtype_size(b->type[n->out[0]->id].dtype))
        return false;
    for (int other = 0; other < n->in_count; other++)
        if (other != k && in[other].kind == PLACE_WORKSPACE && in[other].index == in[k].index)
            return false;
    return true;
}

/* Homes of node i's outputs. An in-place result takes over an input's extent: the first one's, or input `over`'s. */
void home_outputs(struct build *b, const struct node *n, int i, const struct place *in,
                  const enum layout *give, int over)
{
    int first = n->op->flags & OP_INPLACE ? 0 : over;
    for (int k = 0; k < n->out_count; k++) {
        const struct value *v = n->out[k];
        size_t bytes = home_bytes(b, v, give[k]);
        b->layout[v->id] = give[k];
        if (k == 0 && first >= 0 && can_overwrite(b, n, i, first, in, bytes)) {
            b->home[v->id] = in[first];
            home_stretch(b, &in[first], b->last_use[v->id]);
        } else {
            b->home[v->id] = home_extent(b, bytes, i, b->last_use[v->id]);
        }
    }
}

/* What comes out of a step with graphs lies where that says. */
void home_late(struct build *b, const struct node *n)
{
    for (int k = 0; k < n->out_count; k++)
        b->home[n->out[k]->id] = (struct place){ .kind = PLACE_LATE };
}

/* The shapes of n's outputs are told by running it, in the next late slots; gives the first. */
int home_make_late(struct build *b, const struct node *n)
{
    int first = b->plan->late_count;
    for (int k = 0; k < n->out_count; k++) {
        uint32_t id = n->out[k]->id;
        b->bound[id] = b->type[id].shape;
        b->type[id].shape.rank = RANK_LATE;
        b->late[id] = b->plan->late_count++;
        if (b->home[id].kind == PLACE_LATE)
            b->home[id].index = b->late[id];
    }
    return first;
}

static void use(int *last_use, const struct value *v, int i)
{
    if (v != NULL && last_use[v->id] < i)
        last_use[v->id] = i;
}

/* The last step that reads each value; outputs are read behind the last step. */
int *home_last_uses(struct build *b)
{
    const struct graph *g = b->r->graph;
    int *last_use = arena_zalloc(b->scratch, (g->value_count + 1) * sizeof(int));
    for (uint32_t i = b->r->first; i < g->node_count; i++) {
        for (int k = 0; k < g->nodes[i]->out_count; k++)
            use(last_use, g->nodes[i]->out[k], (int)i);
        for (int k = 0; k < g->nodes[i]->in_count; k++)
            use(last_use, g->nodes[i]->in[k], (int)i);
    }
    for (int i = 0; i < g->output_count; i++) {
        use(last_use, g->outputs[i], (int)g->node_count);
        for (int l = 0; l < g->outputs[i]->lod_levels; l++)
            use(last_use, g->outputs[i]->lod[l], (int)g->node_count);
    }
    /* A view keeps alive what it looks at: later views are seen first. */
    for (uint32_t i = g->node_count; i-- > b->r->first;)
        if (g->nodes[i]->op->flags & OP_VIEW)
            use(last_use, g->nodes[i]->in[0], last_use[g->nodes[i]->out[0]->id]);
    return last_use;
}
