/* The original's form of a service: infer_service.prototxt says which workflows it is, workflow.prototxt which nodes these
 * have, resource.prototxt where each engine's model_toolkit.prototxt lies, which names the model's directory. A node's
 * engine is the one of its name. */
#include "flow/service.h"

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "codec/prototxt.h"

#include <string.h>

#define MODELS_MAX  256
#define CHOICES_MAX 64 /* workflows that a request's field chooses among */

struct file {
    const char *path;
    struct prototxt *first;
};

struct engine {
    const char *name, *model_dir;
    int64_t threads, rows;
};

struct reading {
    const char *dir; /* of infer_service.prototxt */
    struct arena *arena;
    struct err *err;
    struct file service, workflow, resource;
    struct engine engine[MODELS_MAX];
    int engine_count;
    struct flow_node_spec *node;
    struct service_model *model;
    struct flow_ref *answer; /* what all workflows' responses take */
    int count, answer_count, room;
    const struct yaml *when; /* of the readers of the workflow at hand; NULL: it always runs */
};

/* ---- files ---- */

static status read_file(struct reading *r, const char *path, struct file *out)
{
    struct file_map *m;
    out->path = path;
    TRY(file_map_open(path, LIMIT_CONFIG_BYTES, &m, r->err));
    const char *copy = arena_strndup(r->arena, (const char *)file_map_data(m), file_map_size(m));
    struct str text = { copy, file_map_size(m) };
    file_map_unref(m);
    return prototxt_parse(text, path, r->arena, &out->first, r->err);
}

/* The original writes paths as seen from where its server is started: that place, or beside this file. */
static const char *find_path(struct reading *r, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *tries[] = { path, arena_printf(r->arena, "%s/%s", r->dir, path),
                            arena_printf(r->arena, "%s/%s", r->dir,
                                         slash != NULL ? slash + 1 : path) };
    for (size_t i = 0; i < ARRAY_LEN(tries); i++)
        if (file_exists(tries[i]) || file_is_dir(tries[i]))
            return tries[i];
    return path;
}

/* ---- fields ---- */

static status check_names(struct reading *r, const struct file *f, const struct prototxt *first,
                          const char *const *known, size_t count)
{
    for (const struct prototxt *n = first; n != NULL; n = n->next) {
        bool found = false;
        for (size_t i = 0; i < count && !found; i++)
            found = str_is(n->name, known[i]);
        if (found)
            continue;
        const char *near = str_nearest(n->name, known, count);
        return err_set(r->err, INVALID, "%s:%d: unknown key '%.*s'%s", f->path, n->line,
                       STR_ARG(n->name), str_hint(near, known[0]).text);
    }
    return OK;
}

typedef enum kind {
    KIND_ANY,
    KIND_NUMBER,
    KIND_BOOL,
} kind;

/* A key, and what may stand behind it; one of `choices` where there are some. */
struct field {
    const char *name;
    kind kind;
    const char *const *choices; /* ends with NULL */
    bool other_device;          /* true asks for what does not compute here */
};

static status check_choice(struct reading *r, const struct file *f, const struct prototxt *n,
                           const char *const *choices)
{
    size_t count = 0;
    for (; choices[count] != NULL; count++)
        if (!n->is_message && str_is(n->text, choices[count]))
            return OK;
    struct str text = n->is_message ? STR("{") : n->text;
    return err_set(r->err, INVALID, "%s:%d: '%.*s' cannot be '%.*s'%s", f->path, n->line,
                   STR_ARG(n->name), STR_ARG(text),
                   str_hint(str_nearest(text, choices, count), choices[0]).text);
}

static status check_value(struct reading *r, const struct file *f, const struct prototxt *n,
                          const struct field *field)
{
    int64_t number;
    bool on = false;
    if (field->choices != NULL)
        TRY(check_choice(r, f, n, field->choices));
    if (field->kind == KIND_NUMBER)
        TRY(prototxt_i64(n, f->path, &number, r->err));
    if (field->kind == KIND_BOOL)
        TRY(prototxt_bool(n, f->path, &on, r->err));
    if (on && field->other_device)
        log_line(LOG_WARN, "flow", "%s:%d: %s: this server computes on the processor all the same",
                 f->path, n->line, field->name);
    return OK;
}

static status check_fields(struct reading *r, const struct file *f, const struct prototxt *first,
                           const struct field *field, size_t count)
{
    const char **known = arena_zalloc(r->arena, count * sizeof(*known));
    for (size_t i = 0; i < count; i++)
        known[i] = field[i].name;
    TRY(check_names(r, f, first, known, count));
    for (const struct prototxt *n = first; n != NULL; n = n->next)
        for (size_t i = 0; i < count; i++)
            if (str_is(n->name, field[i].name))
                TRY(check_value(r, f, n, &field[i]));
    return OK;
}

static const struct prototxt *get(const struct prototxt *first, const char *name)
{
    for (const struct prototxt *n = first; n != NULL; n = n->next)
        if (str_is(n->name, name))
            return n;
    return NULL;
}

static const char *text_of(struct reading *r, const struct prototxt *n)
{
    return n != NULL && !n->is_message ? arena_strndup(r->arena, n->text.p, n->text.n) : NULL;
}

static status need_text(struct reading *r, const struct file *f, const struct prototxt *first,
                        const char *name, int line, const char **out)
{
    *out = text_of(r, get(first, name));
    return *out != NULL ? OK
                        : err_set(r->err, INVALID, "%s:%d: '%s' is missing", f->path, line, name);
}

static status number_of(struct reading *r, const struct file *f, const struct prototxt *first,
                        const char *name, int64_t *out)
{
    const struct prototxt *n = get(first, name);
    return n == NULL ? OK : prototxt_i64(n, f->path, out, r->err);
}

/* ---- engines ---- */

static const char *const reload_types[] = { "timestamp_ne", "timestamp_gt", "md5sum",
                                            "revision",     "none",         NULL };
static const char *const sparse_types[] = { "NONE", "LOCAL", "REMOTE", "0", "1", "2", NULL };
/* The original's of today, and of before 0.7. */
static const char *const engine_types[] = {
    "PADDLE_INFER",
    "FLUID_CPU_ANALYSIS",
    "FLUID_CPU_ANALYSIS_DIR",
    "FLUID_CPU_ANALYSIS_DIR_SIGMOID",
    "FLUID_CPU_ANALYSIS_ENCRYPT",
    "FLUID_CPU_NATIVE",
    "FLUID_CPU_NATIVE_DIR",
    "FLUID_CPU_NATIVE_DIR_SIGMOID",
    "FLUID_GPU_ANALYSIS",
    "FLUID_GPU_ANALYSIS_DIR",
    "FLUID_GPU_ANALYSIS_DIR_SIGMOID",
    "FLUID_GPU_ANALYSIS_ENCRYPT",
    "FLUID_GPU_NATIVE",
    "FLUID_GPU_NATIVE_DIR",
    "FLUID_GPU_NATIVE_DIR_SIGMOID",
    NULL,
};

// clang-format off
static const struct field engine_fields[] = {
    { "name",                            KIND_ANY,    NULL,         false },
    { "type",                            KIND_ANY,    engine_types, false },
    { "reloadable_meta",                 KIND_ANY,    NULL,         false },
    { "reloadable_type",                 KIND_ANY,    reload_types, false },
    { "model_dir",                       KIND_ANY,    NULL,         false },
    { "gpu_ids",                         KIND_NUMBER, NULL,         false },
    { "version_file",                    KIND_ANY,    NULL,         false },
    { "version_type",                    KIND_ANY,    NULL,         false },
    { "sparse_param_service_type",       KIND_ANY,    sparse_types, false },
    { "sparse_param_service_table_name", KIND_ANY,    NULL,         false },
    { "enable_memory_optimization",      KIND_BOOL,   NULL,         false },
    { "enable_ir_optimization",          KIND_BOOL,   NULL,         false },
    { "use_trt",                         KIND_BOOL,   NULL,         true },
    { "use_lite",                        KIND_BOOL,   NULL,         true },
    { "use_xpu",                         KIND_BOOL,   NULL,         true },
    { "use_gpu",                         KIND_BOOL,   NULL,         true },
    { "combined_model",                  KIND_BOOL,   NULL,         false },
    { "encrypted_model",                 KIND_BOOL,   NULL,         false },
    { "gpu_multi_stream",                KIND_BOOL,   NULL,         false },
    { "use_ascend_cl",                   KIND_BOOL,   NULL,         true },
    { "gpu_memory_mb",                   KIND_NUMBER, NULL,         false },
    { "cpu_math_thread_num",             KIND_NUMBER, NULL,         false },
    { "trt_workspace_size",              KIND_NUMBER, NULL,         false },
    { "trt_use_static",                  KIND_BOOL,   NULL,         false },
    { "runtime_thread_num",              KIND_NUMBER, NULL,         false },
    { "batch_infer_size",                KIND_NUMBER, NULL,         false },
    { "enable_overrun",                  KIND_BOOL,   NULL,         false },
    { "allow_split_request",             KIND_BOOL,   NULL,         false },
    { "min_subgraph_size",               KIND_NUMBER, NULL,         false },
    { "min_input_shape",                 KIND_ANY,    NULL,         false },
    { "max_input_shape",                 KIND_ANY,    NULL,         false },
    { "opt_input_shape",                 KIND_ANY,    NULL,         false },
    { "enable_dist_model",               KIND_BOOL,   NULL,         false },
    { "dist_carrier_id",                 KIND_ANY,    NULL,         false },
    { "dist_cfg_file",                   KIND_ANY,    NULL,         false },
    { "dist_nranks",                     KIND_NUMBER, NULL,         false },
    { "dist_endpoints",                  KIND_ANY,    NULL,         false },
    { "dist_subgraph_index",             KIND_NUMBER, NULL,         false },
    { "dist_worker_serving_endpoints",   KIND_ANY,    NULL,         false },
    { "dist_master_serving",             KIND_BOOL,   NULL,         false },
};
// clang-format on

static status read_engine(struct reading *r, const struct file *f, const struct prototxt *n)
{
    if (r->engine_count == MODELS_MAX)
        return err_set(r->err, TOO_LARGE, "%s:%d: more than %d engines", f->path, n->line,
                       MODELS_MAX);
    struct engine *g = &r->engine[r->engine_count++];
    TRY(check_fields(r, f, n->child, engine_fields, ARRAY_LEN(engine_fields)));
    TRY(need_text(r, f, n->child, "name", n->line, &g->name));
    TRY(need_text(r, f, n->child, "model_dir", n->line, &g->model_dir));
    TRY(number_of(r, f, n->child, "runtime_thread_num", &g->threads));
    TRY(number_of(r, f, n->child, "batch_infer_size", &g->rows));
    g->model_dir = find_path(r, g->model_dir);
    if (g->threads < 0 || g->threads > 1024 || g->rows < 0 || g->rows > 1 << 20)
        return err_set(r->err, INVALID,
                       "%s:%d: runtime_thread_num or batch_infer_size out of range", f->path,
                       n->line);
    return OK;
}

static status read_toolkit(struct reading *r, const char *dir, const char *name)
{
    struct file f;
    static const char *const known[] = { "engines" };
    TRY(read_file(r, find_path(r, arena_printf(r->arena, "%s/%s", dir, name)), &f));
    TRY(check_names(r, &f, f.first, known, ARRAY_LEN(known)));
    for (const struct prototxt *n = f.first; n != NULL; n = n->next)
        TRY(read_engine(r, &f, n));
    return OK;
}

/* The i-th model_toolkit_path goes with the i-th model_toolkit_file. */
static status read_engines(struct reading *r)
{
    static const char *const known[] = {
        "model_toolkit_path", "model_toolkit_file", "general_model_path", "general_model_file",
        "cube_config_path",   "cube_config_file",   "cube_quant_bits",    "cube_cache_path",
        "auth_product_name",  "auth_container_id",
    };
    const struct prototxt *file = r->resource.first;
    TRY(check_names(r, &r->resource, file, known, ARRAY_LEN(known)));
    for (const struct prototxt *n = r->resource.first; n != NULL; n = n->next) {
        if (!str_is(n->name, "model_toolkit_path"))
            continue;
        file = get(file, "model_toolkit_file");
        if (file == NULL)
            return err_set(r->err, INVALID, "%s:%d: this path has no model_toolkit_file",
                           r->resource.path, n->line);
        TRY(read_toolkit(r, text_of(r, n), text_of(r, file)));
        file = file->next;
    }
    return OK;
}

static const struct engine *engine_of(const struct reading *r, const char *node)
{
    for (int i = 0; i < r->engine_count; i++)
        if (strcmp(r->engine[i].name, node) == 0)
            return &r->engine[i];
    return NULL;
}

/* ---- nodes ---- */

static void set_model(struct reading *r, int i, const struct engine *g)
{
    struct service_model *m = &r->model[i];
    m->path = g->model_dir;
    m->has_batch = g->threads > 0;
    m->batch = (struct batch_options){ .threads = (int)g->threads, .max_rows = g->rows };
}

/* {address: [...]}, as our own form has it. */
static const struct yaml *address_attrs(struct reading *r, const struct prototxt *first)
{
    struct yaml *map = arena_zalloc(r->arena, sizeof(*map));
    struct yaml *list = arena_zalloc(r->arena, sizeof(*list)), **tail = &list->child;
    *map = (struct yaml){ .kind = YAML_MAP, .child = list, .count = 1 };
    *list = (struct yaml){ .kind = YAML_LIST, .key = "address" };
    for (const struct prototxt *n = first; n != NULL; n = n->next) {
        if (!str_is(n->name, "address"))
            continue;
        struct yaml *item = arena_zalloc(r->arena, sizeof(*item));
        *item = (struct yaml){ .kind = YAML_SCALAR, .text = text_of(r, n), .line = n->line };
        *tail = item;
        tail = &item->next;
        list->count++;
    }
    return list->count > 0 ? map : NULL;
}

/* Workflows have names of their own: one that several use tells whose it is. prefix: "" where there is one workflow. */
static const char *label(struct reading *r, const char *prefix, const char *name)
{
    int count = 0;
    for (const struct prototxt *w = r->workflow.first; w != NULL; w = w->next)
        for (const struct prototxt *n = get(w->child, "nodes"); n != NULL;
             n = get(n->next, "nodes")) {
            const struct prototxt *other = get(n->child, "name");
            count += other != NULL && str_is(other->text, name);
        }
    return count > 1 ? arena_printf(r->arena, "%s%s", prefix, name) : name;
}

static status read_dependencies(struct reading *r, const struct prototxt *node, const char *prefix,
                                struct flow_node_spec *spec)
{
    static const char *const modes[] = { "RO", "RW", NULL };
    static const struct field known[] = { { "name", KIND_ANY, NULL, false },
                                          { "mode", KIND_ANY, modes, false } };
    int count = 0;
    for (const struct prototxt *n = node->child; n != NULL; n = n->next)
        count += str_is(n->name, "dependencies");
    struct flow_ref *ref = arena_zalloc(r->arena, ((size_t)count + 1) * sizeof(*ref));
    spec->input = ref;
    for (const struct prototxt *n = node->child; n != NULL; n = n->next) {
        const char *name;
        if (!str_is(n->name, "dependencies"))
            continue;
        TRY(check_fields(r, &r->workflow, n->child, known, ARRAY_LEN(known)));
        TRY(need_text(r, &r->workflow, n->child, "name", n->line, &name));
        ref[spec->input_count++] = (struct flow_ref){ label(r, prefix, name), NULL, n->line };
    }
    return OK;
}

static status read_node(struct reading *r, const struct prototxt *n, const char *prefix)
{
    static const char *const known[] = { "name", "type", "address", "dependencies" };
    int i = r->count;
    struct flow_node_spec *spec = &r->node[i];
    const char *name;
    TRY(check_names(r, &r->workflow, n->child, known, ARRAY_LEN(known)));
    TRY(need_text(r, &r->workflow, n->child, "name", n->line, &name));
    *spec = (struct flow_node_spec){ .name = label(r, prefix, name),
                                     .line = n->line,
                                     .attrs = address_attrs(r, n->child) };
    TRY(need_text(r, &r->workflow, n->child, "type", n->line, &spec->type));
    TRY(read_dependencies(r, n, prefix, spec));
    if (flow_op_kind(spec->type).answers) { /* one response for all workflows */
        for (int k = 0; k < r->count; k++)
            if (strcmp(r->node[k].name, spec->name) == 0)
                return err_set(r->err, INVALID,
                               "%s:%d: two nodes are called '%s'; the first is in line %d",
                               r->workflow.path, n->line, name, r->node[k].line);
        for (int k = 0; k < spec->input_count; k++)
            r->answer[r->answer_count++] = spec->input[k];
        return OK;
    }
    if (flow_op_kind(spec->type).reads)
        spec->when = r->when;
    const struct engine *g = engine_of(r, name);
    if (g != NULL)
        set_model(r, i, g);
    else if (flow_op_kind(spec->type).has_model)
        return err_set(r->err, INVALID, "%s:%d: node '%s' has no engine of its name in '%s'",
                       r->workflow.path, n->line, name, r->resource.path);
    r->count++;
    return OK;
}

static int count_nodes(const struct prototxt *first)
{
    int count = 0;
    for (const struct prototxt *w = first; w != NULL; w = w->next)
        for (const struct prototxt *n = w->child; n != NULL; n = n->next) {
            count += str_is(n->name, "nodes");
            for (const struct prototxt *d = n->child; d != NULL; d = d->next)
                count += str_is(d->name, "dependencies");
        }
    return count;
}

static status read_workflow(struct reading *r, const struct prototxt *w, const char *prefix)
{
    static const char *const types[] = { "Sequence", "Parallel", NULL };
    static const struct field known[] = { { "name", KIND_ANY, NULL, false },
                                          { "workflow_type", KIND_ANY, types, false },
                                          { "nodes", KIND_ANY, NULL, false } };
    TRY(check_fields(r, &r->workflow, w->child, known, ARRAY_LEN(known)));
    for (const struct prototxt *n = w->child; n != NULL; n = n->next)
        if (str_is(n->name, "nodes"))
            TRY(read_node(r, n, prefix));
    return OK;
}

static status workflow_named(struct reading *r, struct str asked, int line, bool alone)
{
    for (const struct prototxt *w = r->workflow.first; w != NULL; w = w->next) {
        const struct prototxt *name = get(w->child, "name");
        if (name != NULL && str_eq(name->text, asked))
            return read_workflow(r, w,
                                 alone ? "" : arena_printf(r->arena, "%.*s/", STR_ARG(asked)));
    }
    return err_set(r->err, INVALID, "%s:%d: no workflow of '%s' is called '%.*s'", r->service.path,
                   line, r->workflow.path, STR_ARG(asked));
}

/* ---- workflows that a field of the request chooses ---- */

#define REQUEST "request" /* the reader whose tensors the conditions look at */

static struct yaml *scalar(struct reading *r, const char *key, const char *text, int line)
{
    struct yaml *y = arena_zalloc(r->arena, sizeof(*y));
    *y = (struct yaml){
        .kind = YAML_SCALAR, .key = key, .text = text, .quoted = true, .line = line
    };
    return y;
}

/* {input: request.KEY, is: [...]}, or {field: log_id, is: [...]}, as our own form has it. */
static struct yaml *condition(struct reading *r, const char *field, int line)
{
    bool is_log_id = strcmp(field, "log_id") == 0;
    struct yaml *map = arena_zalloc(r->arena, sizeof(*map));
    struct yaml *is = arena_zalloc(r->arena, sizeof(*is));
    *is = (struct yaml){ .kind = YAML_LIST, .key = "is", .line = line };
    *map = (struct yaml){ .kind = YAML_MAP, .count = 2, .line = line };
    map->child = is_log_id ? scalar(r, "field", field, line)
                           : scalar(r, "input", arena_printf(r->arena, REQUEST ".%s", field), line);
    map->child->next = is;
    return map;
}

/* A workflow, and the values of the field that choose it. */
struct choice {
    struct str workflow;
    int line;
    struct yaml *when;
};

static void add_value(struct reading *r, struct choice *c, const struct prototxt *value)
{
    struct yaml *is = c->when->child->next, *old = is->child;
    is->child = scalar(r, NULL, text_of(r, value), value->line);
    is->child->next = old;
    is->count++;
}

static status take_choice(struct reading *r, const struct prototxt *n, const char *field,
                          struct choice *all, int *count)
{
    static const char *const known[] = { "request_field_value", "workflow" };
    TRY(check_names(r, &r->service, n->child, known, ARRAY_LEN(known)));
    const struct prototxt *value = get(n->child, "request_field_value"),
                          *list = get(n->child, "workflow");
    if (value == NULL || list == NULL)
        return err_set(r->err, INVALID, "%s:%d: a mapping needs request_field_value and workflow",
                       r->service.path, n->line);
    struct str rest = list->text, name;
    for (bool more = true; more;) {
        more = str_cut(&rest, ',', &name);
        name = str_trim(name);
        int i = 0;
        while (i < *count && !str_eq(all[i].workflow, name))
            i++;
        if (i == CHOICES_MAX)
            return err_set(r->err, TOO_LARGE, "%s:%d: more than %d workflows", r->service.path,
                           n->line, CHOICES_MAX);
        if (i == *count)
            all[(*count)++] = (struct choice){ name, list->line, condition(r, field, n->line) };
        add_value(r, &all[i], value);
    }
    return OK;
}

static status read_mapped(struct reading *r, const struct prototxt *s)
{
    const char *field;
    struct choice choice[CHOICES_MAX];
    int count = 0;
    TRY(need_text(r, &r->service, s->child, "request_field_key", s->line, &field));
    r->node[r->count++] = (struct flow_node_spec){ .name = REQUEST, .type = "GeneralReaderOp" };
    for (const struct prototxt *m = get(s->child, "value_mapped_workflows"); m != NULL;
         m = get(m->next, "value_mapped_workflows"))
        TRY(take_choice(r, m, field, choice, &count));
    if (count == 0)
        return err_set(r->err, INVALID, "%s:%d: 'value_mapped_workflows' is missing",
                       r->service.path, s->line);
    for (int i = 0; i < count; i++) {
        r->when = choice[i].when;
        TRY(workflow_named(r, choice[i].workflow, choice[i].line, count == 1));
    }
    return OK;
}

/* ---- the service ---- */

static status read_services(struct reading *r, struct service *out)
{
    static const char *const top[] = { "port", "services" };
    static const char *const known[] = { "name",
                                         "merger",
                                         "workflows",
                                         "enable_map_request_to_workflow",
                                         "request_field_key",
                                         "value_mapped_workflows" };
    const struct prototxt *s = get(r->service.first, "services");
    bool mapped = false;
    TRY(check_names(r, &r->service, r->service.first, top, ARRAY_LEN(top)));
    if (s == NULL)
        return err_set(r->err, INVALID, "%s:1: 'services' is missing", r->service.path);
    TRY(check_names(r, &r->service, s->child, known, ARRAY_LEN(known)));
    TRY(need_text(r, &r->service, s->child, "name", s->line, &out->name));
    const struct prototxt *map = get(s->child, "enable_map_request_to_workflow");
    if (map != NULL)
        TRY(prototxt_bool(map, r->service.path, &mapped, r->err));
    if (mapped)
        return read_mapped(r, s);
    const struct prototxt *first = get(s->child, "workflows");
    if (first == NULL)
        return err_set(r->err, INVALID, "%s:%d: service '%s' has no workflows", r->service.path,
                       s->line, out->name);
    bool alone = get(first->next, "workflows") == NULL;
    for (const struct prototxt *w = first; w != NULL; w = get(w->next, "workflows"))
        TRY(workflow_named(r, w->text, w->line, alone));
    return OK;
}

status service_from_prototxt(const char *path, struct arena *a, struct service *out, struct err *e)
{
    struct reading *r = arena_zalloc(a, sizeof(*r));
    const char *slash = strrchr(path, '/');
    r->dir = slash != NULL ? arena_strndup(a, path, (size_t)(slash - path)) : ".";
    r->arena = a;
    r->err = e;
    TRY(read_file(r, arena_strndup(a, path, strlen(path)), &r->service));
    TRY(read_file(r, arena_printf(a, "%s/workflow.prototxt", r->dir), &r->workflow));
    TRY(read_file(r, arena_printf(a, "%s/resource.prototxt", r->dir), &r->resource));
    TRY(read_engines(r));
    size_t room = (size_t)count_nodes(r->workflow.first) + 3;
    r->node = arena_zalloc(a, room * sizeof(*r->node));
    r->model = arena_zalloc(a, room * sizeof(*r->model));
    r->answer = arena_zalloc(a, room * sizeof(*r->answer));
    TRY(read_services(r, out));
    r->node[r->count++] = (struct flow_node_spec){ .name = "GeneralResponseOp_0",
                                                   .type = "GeneralResponseOp",
                                                   .input = r->answer,
                                                   .input_count = r->answer_count };
    out->spec =
        (struct flow_spec){ .file = r->workflow.path, .node = r->node, .node_count = r->count };
    out->model = r->model;
    return OK;
}
