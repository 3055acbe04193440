/* Models that another engine's library computes (include/oar/oar_engine.h). What a library says is checked before anybody
 * relies on it: ports when the model is opened, outputs after every run. */
#include "base/limits.h"
#include "base/mem.h"
#include "exec/engines.h"
#include "exec/internal.h"

#include <string.h>

_Static_assert(OAR_ENGINE_MAX_RANK == SHAPE_MAX, "a shape outside is a shape inside");

struct plugin_model {
    struct engine engine;
    void *state; /* the engine's model */
    int in_count, out_count;
};

struct oar_engine_call {
    struct exec *exec; /* NULL: not in a run */
    status code;       /* of the last fault */
    struct err err;
};

/* ---- what the host does for it ---- */

static status fault_status(int fault)
{
    switch (fault) {
    case OAR_ENGINE_INVALID: return INVALID;
    case OAR_ENGINE_NO_MEMORY: return NO_MEMORY;
    case OAR_ENGINE_UNSUPPORTED: return UNSUPPORTED;
    case OAR_ENGINE_CORRUPT: return CORRUPT;
    default: return INTERNAL;
    }
}

static int host_fail(oar_engine_call *c, int fault, const char *words)
{
    c->code = fault_status(fault);
    return err_set(&c->err, c->code, "%s", words != NULL ? words : "it does not say why");
}

static void *host_alloc(oar_engine_call *c, size_t bytes)
{
    int index;
    if (c->exec == NULL || exec_take(c->exec, bytes, &index, &c->err) != OK)
        return NULL;
    return exec_block(c->exec, index);
}

static const oar_engine_host host = {
    .abi = OAR_ENGINE_ABI,
    .size = sizeof(oar_engine_host),
    .fail = host_fail,
    .alloc = host_alloc,
};

/* What a function of the engine returned, as ours. */
static status outcome(const struct engine *en, const oar_engine_call *c, int code, struct err *e)
{
    if (code == 0)
        return OK;
    status s = c->code != OK ? c->code : fault_status(code);
    return err_set(e, s, "engine '%s': %s", en->table->name,
                   c->err.text[0] != '\0' ? c->err.text : "it does not say why");
}

/* ---- ports ---- */

static status wrong_port(const struct engine *en, const char *what, int index, const char *why,
                         struct err *e)
{
    return err_set(e, INTERNAL, "engine '%s': its %s %d has %s", en->table->name, what, index, why);
}

static status take_port(const struct engine *en, const char *what, int index,
                        const oar_engine_port *from, struct graph *g, struct port *to,
                        struct err *e)
{
    size_t n = from->name != NULL ? strnlen(from->name, LIMIT_NAME_BYTES + 1) : 0;
    if (n == 0 || n > LIMIT_NAME_BYTES)
        return wrong_port(en, what, index, "no proper name", e);
    if (!dtype_valid(from->dtype) || from->dtype == DTYPE_BYTES)
        return wrong_port(en, what, index, "a type that is none", e);
    if (from->rank < 0 || from->rank > SHAPE_MAX)
        return wrong_port(en, what, index, "a rank that is not from 0 to 8", e);
    *to = (struct port){ .dtype = (dtype)from->dtype, .value = index };
    to->name = to->alias = arena_strndup(&g->arena, from->name, n);
    to->shape.rank = from->rank;
    for (int d = 0; d < from->rank; d++) {
        if (from->shape[d] < -1)
            return wrong_port(en, what, index, "a negative dimension", e);
        to->shape.dim[d] = from->shape[d];
    }
    return OK;
}

static status take_ports(const struct plugin_model *p, bool inputs, int count, struct graph *g,
                         struct port **out, struct err *e)
{
    const oar_engine *t = p->engine.table;
    const char *what = inputs ? "input" : "output";
    if (count < 0 || count > OAR_ENGINE_MAX_PORTS || (!inputs && count == 0))
        return err_set(e, INTERNAL, "engine '%s': it has %d %ss", t->name, count, what);
    *out = arena_zalloc(&g->arena, ((size_t)count + 1) * sizeof(**out));
    for (int i = 0; i < count; i++) {
        oar_engine_port port = { 0 };
        if ((inputs ? t->input : t->output)(p->state, i, &port) != 0)
            return wrong_port(&p->engine, what, i, "no description", e);
        TRY(take_port(&p->engine, what, i, &port, g, &(*out)[i], e));
        for (int k = 0; k < i; k++)
            if (strcmp((*out)[k].name, (*out)[i].name) == 0)
                return wrong_port(&p->engine, what, i, "the name of another one", e);
    }
    return OK;
}

/* ---- a model ---- */

static status open_model(struct model *m, struct plugin_model *p, struct err *e)
{
    const oar_engine *t = p->engine.table;
    const oar_engine_options options = { .size = sizeof(options),
                                         .threads = m->options.threads,
                                         .detach = m->options.detach,
                                         .precision = precision_name(m->options.precision),
                                         .setting = p->engine.setting };
    oar_engine_call call = { 0 };
    struct imported *i = &m->imported;
    int code = t->open(&host, &call, p->engine.file, &options, &p->state);
    TRY(outcome(&p->engine, &call, code, e));
    if (p->state == NULL)
        return err_set(e, INTERNAL, "engine '%s': it gives no model", t->name);
    i->format = arena_strndup(&i->graph->arena, t->name, strlen(t->name));
    i->input_count = p->in_count = t->input_count(p->state);
    TRY(take_ports(p, true, p->in_count, i->graph, &i->inputs, e));
    i->output_count = p->out_count = t->output_count(p->state);
    TRY(take_ports(p, false, p->out_count, i->graph, &i->outputs, e));
    if (t->bytes != NULL)
        i->param_bytes = t->bytes(p->state);
    return OK;
}

static status open_plugin(struct model *m, struct err *e)
{
    struct plugin_model *p = m->plugin = mem_zalloc(sizeof(*p));
    struct arena a;
    arena_init(&a, 0);
    status s = engines_open(m->options.engine, m->path, &a, &p->engine, e);
    if (s == OK) {
        m->imported.graph = graph_new(); /* empty: ports live in its arena */
        m->imported.program =
            arena_strndup(&m->imported.graph->arena, p->engine.file, strlen(p->engine.file));
        s = open_model(m, p, e);
    }
    if (s != OK)
        m->imported.input_count = m->imported.output_count = 0;
    p->engine.setting = NULL;
    arena_deinit(&a);
    return s;
}

static void close_plugin(struct model *m)
{
    struct plugin_model *p = m->plugin;
    if (p->state != NULL)
        p->engine.table->close(p->state);
    engines_close(&p->engine);
    mem_free(p);
}

/* ---- sessions: one for each executor, which remembers it ---- */

struct session {
    struct kept kept; /* first */
    const struct plugin_model *model;
    void *state;
    oar_engine_tensor *in, *out; /* one for each port */
};

static void free_session(struct kept *k)
{
    struct session *s = (struct session *)k;
    s->model->engine.table->session_close(s->state);
    mem_free(s->in);
    mem_free(s->out);
    mem_free(s);
}

static status new_session(struct model *m, struct session **out, struct err *e)
{
    const struct plugin_model *p = m->plugin;
    oar_engine_call call = { 0 };
    void *state = NULL;
    int code = p->engine.table->session_open(&host, &call, p->state, &state);
    TRY(outcome(&p->engine, &call, code, e));
    struct session *s = mem_zalloc(sizeof(*s));
    *s = (struct session){ .kept = { m->id, free_session }, .model = p, .state = state };
    s->in = mem_zalloc(((size_t)p->in_count + 1) * sizeof(*s->in));
    s->out = mem_zalloc(((size_t)p->out_count + 1) * sizeof(*s->out));
    *out = s;
    return OK;
}

static status find_session(struct exec *x, struct model *m, struct session **out, struct err *e)
{
    size_t slot = (size_t)m->id;
    *out = (struct session *)exec_recall(x, m, slot);
    if (*out == NULL) {
        TRY(new_session(m, out, e));
        exec_remembers(x, m);
    }
    return exec_hold(x, slot, &(*out)->kept, e);
}

/* ---- running ---- */

static void bind_input(const struct tensor *from, oar_engine_tensor *to)
{
    *to = (oar_engine_tensor){ .dtype = from->dtype, .rank = from->shape.rank, .data = from->data };
    memcpy(to->shape, from->shape.dim, (size_t)to->rank * sizeof(to->shape[0]));
}

static status take_output(const struct model *m, int index, const oar_engine_tensor *from,
                          struct tensor *to, struct err *e)
{
    const struct port *port = &m->imported.outputs[index];
    char want[SHAPE_TEXT_MAX], got[SHAPE_TEXT_MAX];
    *to = (struct tensor){ .dtype = port->dtype, .data = from->data };
    if (from->rank < 0 || from->rank > SHAPE_MAX)
        return err_set(e, INTERNAL, "engine '%s': output '%s' is of rank %d", m->imported.format,
                       port->name, from->rank);
    to->shape.rank = from->rank;
    memcpy(to->shape.dim, from->shape, (size_t)from->rank * sizeof(from->shape[0]));
    int64_t bytes = tensor_bytes(to);
    if (from->dtype != (int32_t)port->dtype || bytes < 0 ||
        !shape_matches(&to->shape, &port->shape))
        return err_set(e, INTERNAL, "engine '%s': output '%s' is %s %s, expected %s %s",
                       m->imported.format, port->name,
                       dtype_name(dtype_valid(from->dtype) ? (dtype)from->dtype : DTYPE_BYTES),
                       shape_text(&to->shape, got, sizeof(got)), dtype_name(port->dtype),
                       shape_text(&port->shape, want, sizeof(want)));
    if (bytes > 0 && from->data == NULL)
        return err_set(e, INTERNAL, "engine '%s': output '%s' has no data", m->imported.format,
                       port->name);
    return OK;
}

static status run_plugin(struct exec *x, struct model *m, const struct tensor *in,
                         struct tensor *out, struct err *e)
{
    const struct plugin_model *p = m->plugin;
    oar_engine_call call = { .exec = x };
    struct session *s;
    TRY(find_session(x, m, &s, e));
    for (int i = 0; i < p->in_count; i++)
        bind_input(&in[i], &s->in[i]);
    memset(s->out, 0, (size_t)p->out_count * sizeof(*s->out));
    int code = p->engine.table->run(&host, &call, s->state, s->in, s->out);
    TRY(outcome(&p->engine, &call, code, e));
    for (int i = 0; i < p->out_count; i++)
        TRY(take_output(m, i, &s->out[i], &out[i], e));
    return OK;
}

static status prepare_plugin(struct exec *x, struct model *m, const struct tensor *in,
                             struct err *e)
{
    struct session *s;
    return find_session(x, m, &s, e);
}

const struct backend plugin_backend = { open_plugin, prepare_plugin, run_plugin, close_plugin };
