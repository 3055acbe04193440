/* The graph as Graphviz text: operators are boxes, feeds and fetches ellipses; parameters stand in the boxes. */
#include "base/buf.h"
#include "graph/graph.h"
#include "graph/op.h"

#include <ctype.h>

/* Names come from files: only plain characters may stand inside quotes. */
static void put_text(struct buf *out, const char *s)
{
    for (; *s != '\0'; s++)
        buf_byte(out, isprint((unsigned char)*s) && *s != '"' && *s != '\\' ? (uint8_t)*s : '?');
}

static void put_value(struct buf *out, const struct value *v)
{
    char shape[SHAPE_TEXT_MAX];
    put_text(out, v->name);
    buf_printf(out, "\\n%s %s", dtype_name(v->dtype), shape_text(&v->shape, shape, sizeof(shape)));
}

static void put_node(struct buf *out, const struct node *n, uint32_t i)
{
    char attrs[256];
    attrs_text(n, attrs, sizeof(attrs));
    buf_printf(out, "  n%u [shape=box, label=\"%s", i, n->op->name);
    if (attrs[0] != '\0')
        buf_printf(out, "\\n%s", attrs);
    for (int k = 0; k < n->in_count; k++)
        if (n->in[k] != NULL && n->in[k]->constant != NULL) {
            buf_str(out, "\\n");
            put_value(out, n->in[k]);
        }
    buf_str(out, "\"];\n");
}

static void put_edges(struct buf *out, const struct node *n, uint32_t i)
{
    for (int k = 0; k < n->in_count; k++)
        if (n->in[k] != NULL && n->in[k]->constant == NULL)
            buf_printf(out, "  v%u -> n%u;\n", n->in[k]->id, i);
    for (int k = 0; k < n->out_count; k++)
        buf_printf(out, "  n%u -> v%u;\n", i, n->out[k]->id);
}

static void put_point(struct buf *out, const struct value *v, const char *style)
{
    buf_printf(out, "  v%u [shape=%s, label=\"", v->id, style);
    put_value(out, v);
    buf_str(out, "\"];\n");
}

static bool is_output(const struct graph *g, const struct value *v)
{
    for (int i = 0; i < g->output_count; i++)
        if (g->outputs[i] == v)
            return true;
    return false;
}

void graph_to_dot(const struct graph *g, struct buf *out)
{
    buf_str(out, "digraph model {\n  node [fontname=\"Helvetica\"];\n");
    for (int i = 0; i < g->input_count; i++) {
        put_point(out, g->inputs[i], "ellipse");
        for (int l = 0; l < g->inputs[i]->lod_levels; l++)
            put_point(out, g->inputs[i]->lod[l], "ellipse");
    }
    for (uint32_t i = 0; i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        put_node(out, n, i);
        for (int k = 0; k < n->out_count; k++)
            put_point(out, n->out[k], is_output(g, n->out[k]) ? "ellipse" : "plaintext");
        put_edges(out, n, i);
    }
    buf_str(out, "}\n");
}
