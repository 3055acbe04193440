/* Custom operators in C (include/oar/oar_op.h). */
#include "flow/op_plugin.h"

#include "flow/ops.h"

#include <dlfcn.h>
#include <string.h>

#define OUTPUTS_MAX 64

/* ---- what the host does for it ---- */

struct oar_op_config {
    const struct setting *setting;
    int count;
    struct err err;
};

struct oar_op_call {
    struct plugin_io *io;
    struct err *err;
};

static const char *host_setting(const oar_op_config *c, const char *name)
{
    for (int i = 0; i < c->count; i++)
        if (strcmp(c->setting[i].name, name) == 0)
            return c->setting[i].value;
    return NULL;
}

static void *host_alloc(oar_op_call *c, size_t bytes)
{
    return arena_try(c->io->arena, bytes + 1, 64);
}

static int host_fail(oar_op_call *c, int fault, const char *words)
{
    return err_set(c->err, fault == OAR_OP_INVALID ? INVALID : INTERNAL, "%s", words);
}

static int host_refuse(oar_op_config *c, const char *words)
{
    return err_set(&c->err, INVALID, "%s", words);
}

static int host_give(oar_op_call *c, const oar_op_tensor *t)
{
    struct plugin_io *io = c->io;
    if (io->out_count == OUTPUTS_MAX)
        return host_fail(c, OAR_OP_INTERNAL, "it gives too many tensors");
    struct named_tensor *to = &io->out[io->out_count];
    *to = (struct named_tensor){ .tensor = { .dtype = (dtype)t->dtype, .data = t->data } };
    if (!dtype_valid(t->dtype) || t->rank < 0 || t->rank > OAR_OP_MAX_RANK || t->name == NULL)
        return host_fail(c, OAR_OP_INTERNAL, "it gives a tensor without name, type or rank");
    to->name = to->alias =
        (struct str){ arena_strndup(io->arena, t->name, strlen(t->name)), strlen(t->name) };
    to->tensor.shape.rank = t->rank;
    memcpy(to->tensor.shape.dim, t->shape, (size_t)t->rank * sizeof(t->shape[0]));
    if (tensor_bytes(&to->tensor) < 0 || (t->data == NULL && tensor_bytes(&to->tensor) > 0))
        return host_fail(c, OAR_OP_INTERNAL, "it gives a tensor whose shape or data cannot be");
    if (t->lod != NULL) {
        to->tensor.lod = (struct lod){ 1, { { t->lod, t->lod_count } } };
        if (lod_check(&to->tensor.lod, t->rank > 0 ? t->shape[0] : 1, t->name, c->err) != OK)
            return INTERNAL;
    }
    io->out_count++;
    return 0;
}

static const oar_op_host host = {
    .abi = OAR_OP_ABI,
    .size = sizeof(oar_op_host),
    .setting = host_setting,
    .alloc = host_alloc,
    .give = host_give,
    .fail = host_fail,
    .refuse = host_refuse,
};

/* ---- the library ---- */

static status check_table(const oar_op *op, const char *path, struct err *e)
{
    if (op == NULL || op->abi != OAR_OP_ABI)
        return err_set(e, INVALID, "%s: made for version %u of oar_op.h, this is version %u", path,
                       op != NULL ? op->abi : 0, OAR_OP_ABI);
    if (op->size < sizeof(oar_op) || op->name == NULL || op->run == NULL || op->settings == NULL ||
        op->outputs == NULL || op->output_types == NULL || op->inputs_min < 0 ||
        op->inputs_max < op->inputs_min)
        return err_set(e, INVALID, "%s: its table is not whole", path);
    return OK;
}

static status check_settings(const oar_op *op, const struct setting *s, int count, struct err *e)
{
    size_t known = 0;
    while (op->settings[known] != NULL)
        known++;
    for (int i = 0; i < count; i++) {
        bool found = false;
        for (size_t k = 0; k < known && !found; k++)
            found = strcmp(op->settings[k], s[i].name) == 0;
        if (found)
            continue;
        const char *near = str_nearest(str_of(s[i].name), op->settings, known);
        return err_set(e, INVALID, "operator '%s' has no setting '%s'%s", op->name, s[i].name,
                       str_hint(near, op->settings[0]).text);
    }
    return OK;
}

static status start(struct plugin *p, const char *path, const struct setting *s, int count,
                    struct err *e)
{
    const oar_op *(*entry)(void);
    *(void **)&entry = dlsym(p->library, "oar_op_entry"); /* as POSIX has it */
    if (entry == NULL)
        return err_set(e, INVALID, "%s: it exports no oar_op_entry", path);
    p->op = entry();
    TRY(check_table(p->op, path, e));
    TRY(check_settings(p->op, s, count, e));
    oar_op_config config = { s, count, { "" } };
    if (p->op->open == NULL || p->op->open(&host, &config, &p->state) == 0)
        return OK;
    return err_set(e, INVALID, "operator '%s': %s", p->op->name, config.err.text);
}

status plugin_open(const char *path, const struct setting *s, int count, struct plugin *out,
                   struct err *e)
{
    *out = (struct plugin){ .library = dlopen(path, RTLD_NOW | RTLD_LOCAL) };
    if (out->library == NULL)
        return err_set(e, INVALID, "%s", dlerror());
    status code = start(out, path, s, count, e);
    if (code != OK) {
        dlclose(out->library);
        *out = (struct plugin){ 0 };
    }
    return code;
}

void plugin_close(struct plugin *p)
{
    if (p->library == NULL)
        return;
    if (p->op->close != NULL)
        p->op->close(p->state);
    dlclose(p->library);
}

status plugin_run(const struct plugin *p, struct plugin_io *io, struct err *e)
{
    oar_op_call call = { io, e };
    oar_op_tensor *in = arena_zalloc(io->arena, ((size_t)io->in_count + 1) * sizeof(*in));
    io->out = arena_zalloc(io->arena, OUTPUTS_MAX * sizeof(*io->out));
    io->out_count = 0;
    if (io->in_count < p->op->inputs_min || io->in_count > p->op->inputs_max)
        return err_set(e, INVALID, "operator '%s' takes %d to %d tensors, got %d", p->op->name,
                       p->op->inputs_min, p->op->inputs_max, io->in_count);
    for (int i = 0; i < io->in_count; i++) {
        const struct named_tensor *t = &io->in[i];
        in[i] = (oar_op_tensor){ .name = arena_strndup(io->arena, t->alias.p, t->alias.n),
                                 .dtype = t->tensor.dtype,
                                 .rank = t->tensor.shape.rank,
                                 .data = t->tensor.data };
        memcpy(in[i].shape, t->tensor.shape.dim, (size_t)in[i].rank * sizeof(in[i].shape[0]));
        if (t->tensor.lod.levels > 0) {
            const struct lod_level *l = &t->tensor.lod.level[t->tensor.lod.levels - 1];
            in[i].lod = l->offset;
            in[i].lod_count = l->count;
        }
    }
    int code = p->op->run(&host, p->state, &call, in, io->in_count);
    if (code == 0)
        return OK;
    err_prefix(e, (status)code, "operator '%s': ", p->op->name);
    return code == INVALID ? INVALID : INTERNAL;
}

/* ---- as a node: op: plugin, library: FILE.so, settings: {...}, confine: true ---- */

struct plugin_node {
    struct plugin plugin;
    struct confined *confined; /* NULL: it runs in this process */
};

static status read_settings(struct flow_open *o, struct setting **out, int *count, struct err *e)
{
    const struct yaml *n = o->attrs != NULL ? yaml_get(o->attrs, "settings") : NULL;
    *count = 0;
    *out = NULL;
    if (n == NULL)
        return OK;
    TRY(yaml_is(n, o->file, YAML_MAP, e));
    *out = arena_zalloc(o->arena, ((size_t)n->count + 1) * sizeof(**out));
    for (const struct yaml *item = n->child; item != NULL; item = item->next) {
        const char *value;
        TRY(yaml_text(item, o->file, &value, e));
        (*out)[(*count)++] =
            (struct setting){ arena_strndup(o->arena, item->key, strlen(item->key)),
                              arena_strndup(o->arena, value, strlen(value)) };
    }
    return OK;
}

static const char *find_library(struct flow_open *o, const char *path)
{
    const char *slash = strrchr(o->file, '/');
    if (path[0] == '/' || slash == NULL)
        return path[0] == '/' ? path : arena_printf(o->arena, "./%s", path);
    return arena_printf(o->arena, "%.*s/%s", (int)(slash - o->file), o->file, path);
}

static void declare_outputs(struct flow_open *o, const oar_op *op)
{
    int count = 0;
    while (op->outputs[count] != NULL)
        count++;
    struct port *p = arena_zalloc(o->arena, ((size_t)count + 1) * sizeof(*p));
    for (int i = 0; i < count; i++) {
        p[i] = (struct port){ .dtype = (dtype)op->output_types[i], .shape = { 1, { -1 } } };
        p[i].name = p[i].alias = arena_strndup(o->arena, op->outputs[i], strlen(op->outputs[i]));
    }
    o->node->port = p;
    o->node->port_count = count;
}

static status open_node(struct flow_open *o, struct err *e)
{
    struct plugin_node *n = arena_zalloc(o->arena, sizeof(*n));
    const struct yaml *confine = o->attrs != NULL ? yaml_get(o->attrs, "confine") : NULL;
    const char *path = NULL;
    struct setting *setting;
    bool confined = false;
    int count;
    TRY(flow_attr_text(o, "library", &path, e));
    if (path == NULL)
        return err_set(e, INVALID, "node '%s': 'library' is missing: the operator's .so",
                       o->node->name);
    if (confine != NULL)
        TRY(yaml_bool(confine, o->file, &confined, e));
    path = find_library(o, path);
    TRY(read_settings(o, &setting, &count, e));
    o->node->state = n;
    TRY(plugin_open(path, setting, count, &n->plugin, e));
    declare_outputs(o, n->plugin.op);
    return confined ? confined_open(path, setting, count, &n->confined, e) : OK;
}

static void close_node(struct flow_node *node)
{
    struct plugin_node *n = node->state;
    if (n == NULL)
        return;
    confined_close(n->confined);
    plugin_close(&n->plugin);
}

static status run_node(struct flow_step *s, struct exec *x, struct err *e)
{
    struct plugin_node *n = s->node->state;
    struct plugin_io io = { .arena = s->arena };
    int count = 0;
    for (int k = 0; k < s->node->edge_count; k++)
        count += flow_step_input(s, k).count;
    struct named_tensor *in = arena_zalloc(s->arena, ((size_t)count + 1) * sizeof(*in));
    for (int k = 0; k < s->node->edge_count; k++) {
        struct flow_value v = flow_step_input(s, k);
        for (int i = 0; i < v.count; i++)
            in[io.in_count++] = v.tensor[i];
    }
    io.in = in;
    TRY(n->confined != NULL ? confined_run(n->confined, &io, e) : plugin_run(&n->plugin, &io, e));
    s->out = (struct flow_value){ io.out, io.out_count, false };
    return OK;
}

static const char *const keys[] = { "library", "settings", "confine", NULL };
const struct flow_op plugin_op = {
    .type = "PluginOp",
    .also = "plugin",
    .inputs_min = 1,
    .inputs_max = 64,
    .keys = keys,
    .open = open_node,
    .run = run_node,
    .close = close_node,
};
