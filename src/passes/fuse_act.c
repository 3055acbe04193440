/* An activation whose only input is a matmul's or conv2d's result becomes that node's last step, with its numbers. */
#include "base/mem.h"
#include "graph/attrs.h"
#include "graph/op.h"
#include "passes/rows.h"

#include <stdio.h>
#include <string.h>

static int32_t act_of(const struct node *n)
{
    for (int32_t a = ACT_RELU; act_names[a] != NULL; a++)
        if (strcmp(n->op->name, act_names[a]) == 0)
            return a;
    return ACT_NONE;
}

void *pass_field(const struct node *n, const char *name)
{
    for (const struct attr_field *f = n->op->attrs; f != NULL && f->name != NULL; f++)
        if (strcmp(f->name, name) == 0)
            return (char *)n->attrs + f->offset;
    return NULL;
}

/* alpha of the activation's node becomes act_alpha of the host, and so on; false where the host has no such field. */
static bool copy_numbers(const struct node *from_node, const struct node *host)
{
    static const char *const names[] = { "alpha", "beta", "gamma" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char name[16];
        snprintf(name, sizeof(name), "act_%s", names[i]);
        const float *from = pass_field(from_node, names[i]);
        float *to = pass_field(host, name);
        if (from != NULL && to == NULL)
            return false;
        if (from != NULL)
            *to = *from;
    }
    return true;
}

/* A matmul adds its residual behind the activation. */
static bool has_closed(const struct node *host)
{
    return strcmp(host->op->name, "matmul") == 0 && host->in_count > 3 && host->in[3] != NULL;
}

static void try_fuse(struct node *n, const int *uses, int *changes)
{
    int32_t kind = act_of(n);
    if (kind == ACT_NONE || n->in[0]->producer == NULL || uses[n->in[0]->id] != 1)
        return;
    struct node *host = n->in[0]->producer;
    int32_t *kept = pass_field(host, "act");
    if (kept == NULL || *kept != ACT_NONE || has_closed(host) || !copy_numbers(n, host))
        return;
    *kept = kind;
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
