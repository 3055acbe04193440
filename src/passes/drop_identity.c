/* identity, and affine by 1 and 0, disappear: whoever used the copy uses the original. */
#include "base/mem.h"
#include "graph/attrs.h"
#include "graph/op.h"
#include "passes/rows.h"

#include <string.h>

static bool is_copy(const struct node *n)
{
    if (strcmp(n->op->name, "identity") == 0)
        return true;
    const struct affine_attrs *a = n->attrs;
    return strcmp(n->op->name, "affine") == 0 && a->scale == 1 && a->bias == 0;
}

/* An output that is ragged in another way than the original stays a value of its own. */
static bool same_lod(const struct value *a, const struct value *b)
{
    return a->lod_levels == b->lod_levels &&
           memcmp(a->lod, b->lod, (size_t)a->lod_levels * sizeof(a->lod[0])) == 0;
}

status drop_identity(struct graph *g, int *changes, struct err *e)
{
    struct value **by_id = mem_zalloc((g->value_count + 1) * sizeof(*by_id));
    for (uint32_t i = 0; i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        if (!is_copy(n) || !same_lod(n->in[0], n->out[0]))
            continue;
        by_id[n->out[0]->id] = n->in[0];
        (*changes)++;
    }
    graph_forward(g, by_id);
    mem_free(by_id);
    return OK;
}
