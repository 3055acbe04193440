#include "import/paddle/scope.h"

#include <string.h>

/* What a variable stands for. One that is written again gets a new value; the number makes its name
 * unique. */
struct binding {
    struct value *value;
    int writes;
};

status scope_init(struct scope *s, struct scope *parent, struct graph *g, struct arena *scratch,
                  const struct map *params, const struct block_desc *block, struct err *e)
{
    *s = (struct scope){ .parent = parent, .graph = g, .scratch = scratch, .params = params };
    s->depth = parent != NULL ? parent->depth + 1 : 0;
    map_init(&s->vars, scratch);
    map_init(&s->bound, scratch);
    for (int i = 0; i < block->var_count; i++)
        if (!map_put(&s->vars, block->var[i].name, &block->var[i]))
            return err_set(e, CORRUPT, "the program declares variable '%.*s' twice",
                           STR_ARG(block->var[i].name));
    return OK;
}

void scope_bind(struct scope *s, struct str name, struct value *v)
{
    struct binding *b = map_get(&s->bound, name);
    if (b == NULL) {
        b = arena_zalloc(s->scratch, sizeof(*b));
        map_put(&s->bound, name, b);
    }
    b->value = v;
    b->writes++;
}

bool scope_has(const struct scope *s, struct str name)
{
    return map_get(&s->bound, name) != NULL;
}

bool scope_knows(const struct scope *s, struct str name)
{
    if (map_get(s->params, name) != NULL)
        return true;
    for (; s != NULL; s = s->parent)
        if (scope_has(s, name))
            return true;
    return false;
}

const char *scope_name(const struct scope *s, struct str name)
{
    const struct binding *b = map_get(&s->bound, name);
    if (b == NULL && map_get(s->params, name) == NULL)
        return arena_strndup(&s->graph->arena, name.p, name.n);
    return arena_printf(&s->graph->arena, "%.*s@%d", (int)name.n, name.p,
                        b != NULL ? b->writes + 1 : 2);
}

const struct var_desc *scope_var(const struct scope *s, struct str name)
{
    const struct var_desc *v = NULL;
    for (; s != NULL && v == NULL; s = s->parent)
        v = map_get(&s->vars, name);
    return v;
}

/* ---- captures ---- */

static struct value *find_capture(const struct scope *s, const struct value *outer)
{
    for (int i = 0; i < s->capture_count; i++)
        if (s->capture[i].outer == outer)
            return s->capture[i].inner;
    return NULL;
}

static void note_capture(struct scope *s, struct value *outer, struct value *inner)
{
    if (s->capture_count == s->capture_cap) {
        int cap = s->capture_cap > 0 ? s->capture_cap * 2 : 16;
        struct capture *list = arena_zalloc(s->scratch, (size_t)cap * sizeof(*list));
        if (s->capture_count > 0)
            memcpy(list, s->capture, (size_t)s->capture_count * sizeof(*list));
        s->capture = list;
        s->capture_cap = cap;
    }
    s->capture[s->capture_count++] = (struct capture){ outer, inner };
}

#define CAPTURES_MAX 4096 /* a node takes fewer inputs anyway */

status scope_capture(struct scope *s, struct value *outer, struct value **inner, struct err *e)
{
    *inner = find_capture(s, outer);
    if (*inner != NULL)
        return OK;
    if (outer->constant != NULL)
        return graph_add_constant(s->graph, outer->name, outer->constant, inner, e);
    if (s->capture_count >= CAPTURES_MAX)
        return err_set(e, TOO_LARGE, "a block looks at more than %d variables around it",
                       CAPTURES_MAX);
    TRY(graph_add_value(s->graph, outer->name, outer->dtype, &outer->shape, inner, e));
    note_capture(s, outer, *inner);
    (*inner)->lod_levels = outer->lod_levels;
    for (int l = 0; l < outer->lod_levels; l++)
        TRY(scope_capture(s, outer->lod[l], &(*inner)->lod[l], e));
    return OK;
}

static status make_constant(struct scope *s, struct str name, const struct tensor *t,
                            struct value **out, struct err *e)
{
    const char *copy = arena_strndup(s->scratch, name.p, name.n);
    TRY(graph_add_constant(s->graph, copy, t, out, e));
    scope_bind(s, name, *out);
    return OK;
}

status scope_resolve(struct scope *s, struct str name, struct value **out, struct err *e)
{
    const struct binding *b = map_get(&s->bound, name);
    const struct tensor *t = b == NULL ? map_get(s->params, name) : NULL;
    struct value *outer = NULL;
    *out = b != NULL ? b->value : NULL;
    if (b != NULL)
        return OK;
    if (s->parent != NULL && (t == NULL || scope_has(s->parent, name)))
        TRY(scope_resolve(s->parent, name, &outer, e));
    if (outer == NULL)
        return t != NULL ? make_constant(s, name, t, out, e) : OK;
    TRY(scope_capture(s, outer, out, e));
    scope_bind(s, name, *out);
    return OK;
}
