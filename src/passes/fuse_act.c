/* An activation whose only input is a matmul's or conv2d's result becomes that node's last step. */
#include "base/mem.h"
#include "graph/attrs.h"
#include "graph/op.h"
#include "passes/rows.h"

#include <string.h>

static int32_t act_of(const struct node *n)
{
    for (int32_t a = ACT_RELU; act_names[a] != NULL; a++)
        if (strcmp(n->op->name, act_names[a]) == 0)
            return a;
    return ACT_NONE;
}

/* The field of n that takes an activation. */
static int32_t *act_field(struct node *n)
{
    for (const struct attr_field *f = n->op->attrs; f != NULL && f->name != NULL; f++)
        if (f->type == ATTR_ENUM && f->names == act_names && strcmp(f->name, "act") == 0)
            return (int32_t *)((char *)node_attrs(n) + f->offset);
    return NULL;
}

static void try_fuse(struct node *n, const int *uses, int *changes)
{
    int32_t kind = act_of(n);
    if (kind == ACT_NONE || n->in[0]->producer == NULL || uses[n->in[0]->id] != 1)
        return;
    struct node *host = n->in[0]->producer;
    int32_t *field = act_field(host);
    if (field == NULL || *field != ACT_NONE)
        return;
    *field = kind;
    graph_absorb(host, n);
    (*changes)++;
}

status fuse_act(struct graph *g, int *changes, struct err *e)
{
    int *uses = mem_alloc((g->value_count + 1) * sizeof(*uses));
    graph_count_uses(g, uses);
    for (uint32_t i = 0; i < g->node_count; i++)
        try_fuse(g->nodes[i], uses, changes);
    mem_free(uses);
    return OK;
}
