/* For tests: one node as text. Inputs are written as in spec.h, attributes as attrs_text() prints them ("axis=-1",
 * "shape=[0,-1]"); what is not named is zero, and of two that are alike the later one counts. "outs=7 " in front of
 * them says how many outputs a node has whose operator leaves that open. */
#pragma once

#include "graph/attrs.h"
#include "graph/graph.h"
#include "graph/op.h"
#include "spec.h"

static inline const char *spec_ints(const char *s, struct attr_ints *out)
{
    *out = (struct attr_ints){ .count = 0 };
    for (s++; *s != ']'; s += *s == ',') {
        char *end;
        long long v = strtoll(s, &end, 10);
        if (out->count < ATTR_INTS_MAX)
            out->v[out->count] = v;
        out->count++;
        s = end;
    }
    return s + 1;
}

static inline const char *spec_floats(const char *s, struct attr_floats *out)
{
    *out = (struct attr_floats){ .count = 0 };
    for (s++; *s != ']'; s += *s == ',') {
        char *end;
        float v = strtof(s, &end);
        if (out->count < ATTR_INTS_MAX)
            out->v[out->count] = v;
        out->count++;
        s = end;
    }
    return s + 1;
}

static inline int32_t spec_enum(const struct attr_field *f, const char *word, size_t n)
{
    for (int32_t i = 0; f->names[i] != NULL; i++)
        if (strlen(f->names[i]) == n && strncmp(f->names[i], word, n) == 0)
            return i;
    fprintf(stderr, "attribute '%s' is never '%.*s'\n", f->name, (int)n, word);
    abort();
}

static inline void spec_attr(const struct attr_field *f, void *attrs, const char *word, size_t n)
{
    void *p = (char *)attrs + f->offset;
    switch (f->type) {
    case ATTR_BOOL: *(bool *)p = strncmp(word, "true", n) == 0; break;
    case ATTR_OFFSET:
    case ATTR_I32: *(int32_t *)p = (int32_t)strtol(word, NULL, 10); break;
    case ATTR_F32: *(float *)p = strtof(word, NULL); break;
    case ATTR_ENUM: *(int32_t *)p = spec_enum(f, word, n); break;
    case ATTR_I64S: spec_ints(word, p); break;
    case ATTR_GRAPH: break;
    case ATTR_F32S: spec_floats(word, p); break;
    }
}

static inline const struct attr_field *spec_field(const struct op *op, const char *name, size_t n)
{
    for (const struct attr_field *f = op->attrs; f != NULL && f->name != NULL; f++)
        if (strlen(f->name) == n && strncmp(f->name, name, n) == 0)
            return f;
    fprintf(stderr, "'%s' has no attribute '%.*s'\n", op->name, (int)n, name);
    abort();
}

static inline void spec_attrs(const struct op *op, const char *text, void *attrs)
{
    for (const char *s = text; *s != '\0'; s += *s == ' ') {
        size_t name = strcspn(s, "="), value;
        const struct attr_field *f = spec_field(op, s, name);
        s += name + 1;
        value = strcspn(s, " ");
        spec_attr(f, attrs, s, value);
        s += value;
    }
}

static inline const struct op *spec_op(const char *name)
{
    const struct op *op = op_find(name);
    if (op == NULL) {
        fprintf(stderr, "no operator '%s'\n", name);
        abort();
    }
    return op;
}

struct spec_node {
    struct arena arena;
    struct tensor in[SPEC_MAX];
    struct type type[SPEC_MAX]; /* of in; behind the last one they are absent, as in a plan */
    struct type out[SPEC_MAX];  /* for infer */
    struct value value;         /* any input that is there */
    struct value *value_of[SPEC_MAX];
    void *attrs;
    struct node node;
};

static inline void spec_node_init(struct spec_node *n, const char *op, const char *attrs,
                                  const char *in)
{
    *n = (struct spec_node){ .node = { .op = spec_op(op), .name = "node", .in = n->value_of } };
    arena_init(&n->arena, 0);
    n->node.attrs = n->attrs = arena_zalloc(&n->arena, n->node.op->attrs_size);
    n->node.out_count = n->node.op->out_count != OUT_ANY ? n->node.op->out_count : 1;
    if (strncmp(attrs, "outs=", 5) == 0) {
        n->node.out_count = (int)strtol(attrs + 5, NULL, 10);
        attrs += strcspn(attrs, " ");
        attrs += *attrs == ' ';
    }
    n->node.in_count = spec_read(in, 1, &n->arena, n->in);
    spec_attrs(n->node.op, attrs, n->attrs);
    for (int i = 0; i < SPEC_MAX; i++) {
        n->type[i].shape.rank = -1;
        if (i < n->node.in_count && n->in[i].shape.rank >= 0) {
            n->type[i] = (struct type){ n->in[i].dtype, n->in[i].shape, NULL };
            if (i < 8 && (n->node.op->flags & OP_NEEDS(i)) && n->in[i].data != NULL)
                n->type[i].constant = &n->in[i];
            n->value_of[i] = &n->value;
        }
    }
}

static inline void spec_node_deinit(struct spec_node *n)
{
    arena_deinit(&n->arena);
}
