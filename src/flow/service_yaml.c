/* Our own form of a service (docs/graphs.md). */
#include "flow/service.h"

#include <string.h>

struct reading {
    const char *file;
    const char *dir; /* that relative paths begin at */
    struct arena *arena;
    struct err *err;
    struct flow_node_spec *node;
    struct service_model *model;
    int count;
    bool has_reader, has_response;
};

#define REQUEST "request"

static status fault(const struct reading *r, int line, const char *words, const char *what)
{
    return err_set(r->err, INVALID, "%s:%d: %s%s", r->file, line, words, what);
}

static const char *dir_of_file(const char *path, struct arena *a)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? arena_strndup(a, path, (size_t)(slash - path)) : ".";
}

static const char *resolve(const struct reading *r, const char *path)
{
    return path[0] == '/' ? path : arena_printf(r->arena, "%s/%s", r->dir, path);
}

/* ---- inputs: "NODE", "NODE.TENSOR", or {NAME: NODE.TENSOR} ---- */

static status read_input(struct reading *r, const struct yaml *n, struct flow_ref *ref)
{
    ref->line = n->line;
    if (n->kind == YAML_MAP && n->count == 1) {
        ref->rename = n->child->key;
        n = n->child;
    }
    return yaml_text(n, r->file, &ref->text, r->err);
}

static status read_inputs(struct reading *r, const struct yaml *n, struct flow_node_spec *spec)
{
    const struct yaml *list = yaml_get(n, "inputs");
    int i = 0;
    if (list == NULL)
        return OK;
    TRY(yaml_is(list, r->file, YAML_LIST, r->err));
    struct flow_ref *ref = arena_zalloc(r->arena, ((size_t)list->count + 1) * sizeof(*ref));
    for (const struct yaml *item = list->child; item != NULL; item = item->next)
        TRY(read_input(r, item, &ref[i++]));
    spec->input = ref;
    spec->input_count = i;
    return OK;
}

/* ---- batching ---- */

struct number {
    const char *key;
    size_t offset;
    bool wide; /* int64_t, else int */
    int64_t min, max;
};

#define WIDE(f)   offsetof(struct batch_options, f), true
#define NARROW(f) offsetof(struct batch_options, f), false

// clang-format off
static const struct number numbers[] = {
    { "threads",          NARROW(threads),       0, 1024 },
    { "max_rows",         WIDE(max_rows),        1, 1 << 20 },
    { "delay_us",         WIDE(delay_us),        0, 1000000000 },
    { "priorities",       NARROW(levels),        1, BATCH_LEVELS_MAX },
    { "default_priority", NARROW(default_level), 1, BATCH_LEVELS_MAX },
};
// clang-format on

static status read_number(const struct yaml *n, const char *file, const struct number *row,
                          struct batch_options *o, struct err *e)
{
    const struct yaml *item = yaml_get(n, row->key);
    int64_t v;
    if (item == NULL)
        return OK;
    TRY(yaml_i64(item, file, row->min, row->max, &v, e));
    if (row->wide)
        *(int64_t *)((char *)o + row->offset) = v;
    else
        *(int *)((char *)o + row->offset) = (int)v;
    return OK;
}

static status read_preferred(const struct yaml *n, const char *file, struct batch_options *o,
                             struct err *e)
{
    const struct yaml *list = yaml_get(n, "preferred");
    if (list == NULL)
        return OK;
    TRY(yaml_is(list, file, YAML_LIST, e));
    o->preferred_count = 0;
    for (const struct yaml *item = list->child; item != NULL; item = item->next) {
        int64_t rows;
        TRY(yaml_i64(item, file, 1, 1 << 20, &rows, e));
        if (!batch_prefer(o, rows))
            return err_set(e, INVALID, "%s:%d: more than %d sizes", file, item->line,
                           BATCH_PREFERRED_MAX);
    }
    return OK;
}

static status read_overdue(const struct yaml *n, const char *file, bool *delay, struct err *e)
{
    const struct yaml *overdue = yaml_get(n, "overdue");
    if (overdue == NULL)
        return OK;
    *delay = overdue->kind == YAML_SCALAR && strcmp(overdue->text, "delay") == 0;
    if (*delay || (overdue->kind == YAML_SCALAR && strcmp(overdue->text, "reject") == 0))
        return OK;
    return err_set(e, INVALID, "%s:%d: 'overdue': expected reject or delay", file, overdue->line);
}

/* queue_size, queue_timeout_us and overdue: of all requests, or of one priority. */
static status read_policy(const struct yaml *n, const char *file, struct batch_policy *p,
                          struct err *e)
{
    const struct yaml *size = yaml_get(n, "queue_size"), *us = yaml_get(n, "queue_timeout_us");
    int64_t most = p->queue_max;
    if (size != NULL)
        TRY(yaml_i64(size, file, 1, 1000000, &most, e));
    p->queue_max = (int)most;
    if (us != NULL)
        TRY(yaml_i64(us, file, 0, INT64_C(1000000000000), &p->timeout_us, e));
    p->timeout_override = true;
    return read_overdue(n, file, &p->delay_overdue, e);
}

/* queues: {1: {queue_size: 100, queue_timeout_us: 5000, overdue: delay}, ...}: what holds for one priority alone. */
static status read_queues(const struct yaml *map, const char *file, struct batch_options *o,
                          struct err *e)
{
    static const char *const keys[] = { "queue_size", "queue_timeout_us", "overdue" };
    for (const struct yaml *n = map != NULL ? map->child : NULL; n != NULL; n = n->next) {
        int64_t level;
        TRY(yaml_keys(n, file, keys, ARRAY_LEN(keys), e));
        if (n->key == NULL || !str_to_i64(str_of(n->key), &level) || level < 1 ||
            level > BATCH_LEVELS_MAX)
            return err_set(e, INVALID, "%s:%d: 'queues': expected priorities from 1 to %d", file,
                           n->line, BATCH_LEVELS_MAX);
        struct batch_policy *p = &o->own[level - 1];
        *p = (struct batch_policy){ .given = true };
        TRY(read_policy(n, file, p, e));
    }
    return OK;
}

status batch_options_read(const struct yaml *n, const char *file, struct batch_options *o,
                          struct err *e)
{
    static const char *const keys[] = {
        "threads",    "max_rows",         "delay_us", "preferred",        "priorities",
        "queue_size", "queue_timeout_us", "overdue",  "default_priority", "queues"
    };
    TRY(yaml_keys(n, file, keys, ARRAY_LEN(keys), e));
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        TRY(read_number(n, file, &numbers[i], o, e));
    TRY(read_preferred(n, file, o, e));
    TRY(read_queues(yaml_get(n, "queues"), file, o, e));
    return read_policy(n, file, &o->all, e);
}

/* ---- nodes ---- */

static status read_model(struct reading *r, const struct yaml *n, int i)
{
    const struct yaml *model = yaml_get(n, "model"), *batch = yaml_get(n, "batch"),
                      *engine = yaml_get(n, "engine");
    const char *path;
    if (model != NULL) {
        TRY(yaml_text(model, r->file, &path, r->err));
        r->model[i].path = resolve(r, path);
    }
    if (engine != NULL)
        TRY(yaml_text(engine, r->file, &r->model[i].engine, r->err));
    if (batch == NULL)
        return OK;
    r->model[i].has_batch = true;
    return batch_options_read(batch, r->file, &r->model[i].batch, r->err);
}

static status read_name(struct reading *r, const struct yaml *n, struct flow_node_spec *spec)
{
    const struct yaml *name = yaml_get(n, "name");
    if (name == NULL)
        return OK;
    TRY(yaml_text(name, r->file, &spec->name, r->err));
    return strchr(spec->name, '.') == NULL
               ? OK
               : fault(r, name->line, "a node's name has no dot: ", spec->name);
}

static const struct flow_ref from_request = { REQUEST, NULL, 0 };

static status read_node(struct reading *r, const struct yaml *n)
{
    int i = r->count++;
    struct flow_node_spec *spec = &r->node[i];
    const struct yaml *op = yaml_get(n, "op"), *timeout = yaml_get(n, "timeout_ms");
    TRY(yaml_is(n, r->file, YAML_MAP, r->err));
    *spec = (struct flow_node_spec){ .line = n->line, .attrs = n, .when = yaml_get(n, "when") };
    TRY(read_name(r, n, spec));
    TRY(read_model(r, n, i));
    spec->type = r->model[i].path != NULL ? "infer" : NULL;
    if (op != NULL)
        TRY(yaml_text(op, r->file, &spec->type, r->err));
    if (spec->type == NULL)
        return fault(r, n->line, "a node needs 'op' or 'model'", "");
    TRY(read_inputs(r, n, spec));
    if (timeout != NULL)
        TRY(yaml_i64(timeout, r->file, 1, 86400000, &spec->timeout_ms, r->err));
    const struct flow_op_kind kind = flow_op_kind(spec->type);
    r->has_reader =
        r->has_reader || (kind.reads && spec->name != NULL && strcmp(spec->name, REQUEST) == 0);
    r->has_response = r->has_response || kind.answers;
    if (spec->input_count == 0 && kind.takes_input) {
        spec->input = &from_request;
        spec->input_count = 1;
    }
    return OK;
}

static bool is_read(const struct reading *r, const char *name)
{
    size_t n = strlen(name);
    for (int i = 0; i < r->count; i++)
        for (int k = 0; k < r->node[i].input_count; k++) {
            const char *t = r->node[i].input[k].text;
            if (strncmp(t, name, n) == 0 && (t[n] == '\0' || t[n] == '.'))
                return true;
        }
    return false;
}

/* The reader and the response need not be written: what nobody reads is the answer. */
static status add_ends(struct reading *r)
{
    if (!r->has_reader)
        r->node[r->count++] = (struct flow_node_spec){ .name = REQUEST, .type = "general_reader" };
    if (r->has_response)
        return OK;
    struct flow_ref *ref = arena_zalloc(r->arena, ((size_t)r->count + 1) * sizeof(*ref));
    int count = 0;
    for (int i = 0; i < r->count; i++) {
        const char *name = r->node[i].name;
        if (name == NULL)
            return fault(r, r->node[i].line, "a node needs a 'name' where no response is written",
                         "");
        if (strcmp(name, REQUEST) != 0 && !is_read(r, name))
            ref[count++] = (struct flow_ref){ name, NULL, r->node[i].line };
    }
    r->node[r->count++] = (struct flow_node_spec){
        .name = "response", .type = "general_response", .input = ref, .input_count = count
    };
    return OK;
}

status service_from_yaml(struct str text, const char *path, struct arena *a, struct service *out,
                         struct err *e)
{
    static const char *const keys[] = { "service", "nodes", "warm_up" };
    struct reading r = { .file = arena_strndup(a, path, strlen(path)), .arena = a, .err = e };
    struct yaml *top;
    TRY(yaml_parse(text, r.file, a, &top, e));
    TRY(yaml_keys(top, r.file, keys, ARRAY_LEN(keys), e));
    const struct yaml *name = yaml_get(top, "service"), *nodes = yaml_get(top, "nodes"),
                      *warm = yaml_get(top, "warm_up");
    if (nodes == NULL)
        return fault(&r, 1, "'nodes' is missing", "");
    TRY(yaml_is(nodes, r.file, YAML_LIST, e));
    r.dir = dir_of_file(path, a);
    r.node = arena_zalloc(a, ((size_t)nodes->count + 3) * sizeof(*r.node));
    r.model = arena_zalloc(a, ((size_t)nodes->count + 3) * sizeof(*r.model));
    for (const struct yaml *n = nodes->child; n != NULL; n = n->next)
        TRY(read_node(&r, n));
    TRY(add_ends(&r));
    if (name != NULL)
        TRY(yaml_text(name, r.file, &out->name, e));
    if (warm != NULL)
        TRY(warm_options_read(warm, r.file, r.dir, a, &out->warm, e));
    out->spec = (struct flow_spec){ .file = r.file, .node = r.node, .node_count = r.count };
    out->model = r.model;
    return OK;
}
