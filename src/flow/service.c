#include "flow/service.h"

#include "base/file.h"
#include "base/limits.h"
#include "base/mem.h"

#include <string.h>

#define SERVICE_FILE "infer_service.prototxt"

static bool is_yaml(const char *path)
{
    return str_ends(str_of(path), ".yml") || str_ends(str_of(path), ".yaml");
}

static const char *prototxt_path(const char *path, struct arena *a)
{
    return file_is_dir(path) ? arena_printf(a, "%s/" SERVICE_FILE, path) : path;
}

bool service_detect(const char *path)
{
    struct arena a;
    if (is_yaml(path))
        return file_exists(path);
    arena_init(&a, 0);
    const char *file = prototxt_path(path, &a);
    bool found = str_ends(str_of(file), ".prototxt") && file_exists(file);
    arena_deinit(&a);
    return found;
}

status service_read(const char *path, struct arena *a, struct service *out, struct err *e)
{
    struct file_map *m;
    *out = (struct service){ 0 };
    if (!is_yaml(path))
        return service_from_prototxt(prototxt_path(path, a), a, out, e);
    TRY(file_map_open(path, LIMIT_CONFIG_BYTES, &m, e));
    status s = service_from_yaml((struct str){ (const char *)file_map_data(m), file_map_size(m) },
                                 path, a, out, e);
    file_map_unref(m);
    return s;
}

/* ---- the command line's chain ---- */

struct chain {
    struct arena *arena;
    struct flow_node_spec *node;
    struct service_model *model;
    struct flow_ref *ref; /* ref[i]: to node i */
    int count;
};

static void add_node(struct chain *c, const char *type, const char *path)
{
    struct flow_node_spec *n = &c->node[c->count];
    int same = 0;
    for (int i = 0; i < c->count; i++)
        same += strcmp(c->node[i].type, type) == 0;
    *n = (struct flow_node_spec){ .name = arena_printf(c->arena, "%s_%d", type, same),
                                  .type = type };
    if (c->count > 0) {
        n->input = &c->ref[c->count - 1];
        n->input_count = 1;
    }
    c->ref[c->count] = (struct flow_ref){ n->name, NULL, 0 };
    c->model[c->count].path = path;
    c->count++;
}

static bool has_suffix_zero(const char *op, struct arena *a, const char **type)
{
    size_t n = strlen(op);
    bool zero = n > 2 && strcmp(op + n - 2, ":0") == 0;
    *type = zero ? arena_strndup(a, op, n - 2) : op;
    return zero;
}

status service_chain(const char *const *model, int model_count, const char *const *op, int op_count,
                     struct arena *a, struct service *out, struct err *e)
{
    int nodes = (op_count > 0 ? op_count : model_count) + 2, used = 0;
    struct chain c = { .arena = a };
    c.node = arena_zalloc(a, (size_t)nodes * sizeof(*c.node));
    c.model = arena_zalloc(a, (size_t)nodes * sizeof(*c.model));
    c.ref = arena_zalloc(a, (size_t)nodes * sizeof(*c.ref));
    add_node(&c, "GeneralReaderOp", NULL);
    for (int i = 0; i < nodes - 2; i++) {
        const char *type = "GeneralInferOp";
        bool no_model = op_count > 0 && has_suffix_zero(op[i], a, &type);
        if (!no_model && used >= model_count)
            return err_set(
                e, INVALID,
                "--op: '%s' needs a model, and --model names only %d; an operator without "
                "one is written '%s:0'",
                type, model_count, type);
        add_node(&c, type, no_model ? NULL : model[used++]);
    }
    if (used < model_count)
        return err_set(e, INVALID, "--model: '%s' has no operator; --op names %d that take one",
                       model[used], used);
    add_node(&c, "GeneralResponseOp", NULL);
    *out = (struct service){ .name = "GeneralModelService",
                             .spec = { .node = c.node, .node_count = c.count },
                             .model = c.model };
    return OK;
}

/* ---- opening ---- */

static status open_models(const struct service *s, const struct model_options *how,
                          struct flow_node_spec *node, struct err *e)
{
    for (int i = 0; i < s->spec.node_count; i++) {
        const char *path = s->model[i].path;
        if (path == NULL)
            continue;
        struct model_options own = *how;
        if (s->model[i].engine != NULL)
            own.engine = s->model[i].engine;
        status code = model_open(path, &own, &node[i].model, e);
        if (code != OK)
            return s->spec.file == NULL
                       ? code
                       : err_prefix(e, code, "%s:%d: ", s->spec.file, node[i].line);
        if (s->model[i].has_batch)
            node[i].batch = &s->model[i].batch;
    }
    return OK;
}

status service_open(const struct service *s, const struct flow_options *opt, bool detach,
                    struct flow **out, struct err *e)
{
    const struct model_options how = { .detach = detach,
                                       .precision = opt->precision,
                                       .max_arena_bytes = opt->max_arena_bytes,
                                       .engine = opt->engine };
    size_t bytes = (size_t)s->spec.node_count * sizeof(struct flow_node_spec);
    struct flow_node_spec *node = mem_alloc(bytes + 1);
    struct flow_spec spec = s->spec;
    memcpy(node, s->spec.node, bytes);
    spec.node = node;
    status code = open_models(s, &how, node, e);
    if (code == OK)
        code = flow_build(&spec, opt, out, e);
    for (int i = 0; i < s->spec.node_count; i++)
        model_unref(node[i].model);
    mem_free(node);
    return code;
}
