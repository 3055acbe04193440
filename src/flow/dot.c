/* A graph of operators as Graphviz text. */
#include "base/buf.h"
#include "flow/build.h"

/* Inside double quotes. */
static void put_text(struct buf *b, const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\')
            buf_byte(b, '\\');
        buf_byte(b, (uint8_t)*s);
    }
}

static void put_node(struct buf *b, const struct flow_node *n, int i)
{
    buf_printf(b, "  n%d [label=\"", i);
    put_text(b, n->name);
    buf_printf(b, "\\n%s%s\"%s];\n", n->op->type, n->batcher != NULL ? ", in batches" : "",
               n->op->has_model ? " style=filled" : "");
}

static void put_edge(struct buf *b, const struct flow_edge *edge, int to, const char *style)
{
    buf_printf(b, "  n%d -> n%d [%s", edge->node, to, style);
    if (edge->tensor != NULL) {
        buf_str(b, "label=\"");
        put_text(b, edge->tensor);
        buf_str(b, "\"");
    }
    buf_str(b, "];\n");
}

void flow_to_dot(const struct flow *f, struct buf *b)
{
    buf_str(b, "digraph service {\n  node [shape=box];\n");
    for (int i = 0; i < f->node_count; i++)
        put_node(b, &f->node[i], i);
    for (int i = 0; i < f->node_count; i++) {
        const struct flow_node *n = &f->node[i];
        for (int k = 0; k < n->edge_count; k++)
            put_edge(b, &n->edge[k], i, "");
        if (n->when != NULL && !n->when->log_id)
            put_edge(b, &n->when->edge, i, "style=dashed ");
    }
    buf_str(b, "}\n");
}
