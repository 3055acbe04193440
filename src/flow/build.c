/* From a description to a graph: every name is looked up, every edge drawn, cycles are refused, and what no request can
 * ever get is found before the first one comes. */
#include "flow/build.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "flow/attrs.h"
#include "flow/spec.h"

#include <stdio.h>
#include <string.h>

struct build {
    const struct flow_spec *spec;
    struct flow *flow;
    struct err *err;
};

/* ---- words ---- */

static status fault(struct build *b, int line, status s)
{
    if (b->spec->file == NULL)
        return s;
    return line > 0 ? err_prefix(b->err, s, "%s:%d: ", b->spec->file, line)
                    : err_prefix(b->err, s, "%s: ", b->spec->file);
}

const struct flow_node *flow_node_at(const struct flow *f, int index)
{
    return &f->node[index];
}

static const char *nearest_node(struct build *b, struct str word)
{
    struct flow *f = b->flow;
    const char **known = arena_zalloc(&f->arena, ((size_t)f->node_count + 1) * sizeof(*known));
    for (int i = 0; i < f->node_count; i++)
        known[i] = f->node[i].name;
    return str_nearest(word, known, (size_t)f->node_count);
}

/* ---- nodes ---- */

static int count_type(const struct flow *f, int before, const struct flow_op *op)
{
    int n = 0;
    for (int i = 0; i < before; i++)
        n += f->node[i].op == op;
    return n;
}

static int find_node(const struct flow *f, struct str name)
{
    for (int i = 0; i < f->node_count; i++)
        if (str_is(name, f->node[i].name))
            return i;
    return -1;
}

static status name_node(struct build *b, int i)
{
    struct flow *f = b->flow;
    const struct flow_node_spec *spec = &b->spec->node[i];
    struct flow_node *n = &f->node[i];
    if (spec->name == NULL)
        n->name = arena_printf(&f->arena, "%s_%d", n->op->type, count_type(f, i, n->op));
    else
        n->name = arena_strndup(&f->arena, spec->name, strlen(spec->name));
    for (int k = 0; k < i; k++)
        if (strcmp(f->node[k].name, n->name) == 0)
            return fault(b, spec->line,
                         err_set(b->err, INVALID,
                                 "two nodes are called '%s'; the first is in line %d", n->name,
                                 b->spec->node[k].line));
    return OK;
}

static status find_op(struct build *b, int i)
{
    const struct flow_node_spec *spec = &b->spec->node[i];
    const struct flow_op *op = flow_op_find(str_of(spec->type));
    b->flow->node[i].op = op;
    if (op != NULL)
        return OK;
    const char *near = flow_op_nearest(str_of(spec->type));
    return fault(b, spec->line,
                 err_set(b->err, INVALID, "no operator is called '%s'%s", spec->type,
                         str_hint(near, NULL).text));
}

static status take_model(struct build *b, int i)
{
    struct flow *f = b->flow;
    struct flow_node *n = &f->node[i];
    const struct flow_node_spec *spec = &b->spec->node[i];
    if (n->op->has_model != (spec->model != NULL))
        return fault(b, spec->line,
                     err_set(b->err, INVALID, "node '%s' (%s) %s", n->name, n->op->type,
                             n->op->has_model ? "needs a model" : "takes no model"));
    if (spec->model == NULL)
        return OK;
    const struct batch_options *batch = spec->batch != NULL ? spec->batch : f->options.batch;
    n->model = model_ref(spec->model);
    if (f->model == NULL)
        f->model = n->model;
    if (batch != NULL && batch->threads > 0) {
        struct batch_options named = *batch;
        named.trace = f->env != NULL ? f->env->trace : NULL;
        named.name = n->name;
        n->batcher = batcher_new(n->model, &named, &f->counters);
    }
    f->may_wait = f->may_wait || n->batcher != NULL;
    return OK;
}

static status make_nodes(struct build *b)
{
    struct flow *f = b->flow;
    f->node = arena_zalloc(&f->arena, ((size_t)b->spec->node_count + 1) * sizeof(*f->node));
    for (int i = 0; i < b->spec->node_count; i++) {
        TRY(find_op(b, i));
        TRY(name_node(b, i));
        f->node_count = i + 1;
        f->node[i].timeout_ms = b->spec->node[i].timeout_ms;
        TRY(take_model(b, i));
    }
    return f->node_count > 0 ? OK : fault(b, 0, err_set(b->err, INVALID, "no nodes"));
}

/* ---- edges ---- */

static struct hint nearest_port(struct build *b, const struct flow_node *n, struct str word)
{
    const char **known =
        arena_zalloc(&b->flow->arena, ((size_t)n->port_count + 1) * sizeof(*known));
    for (int i = 0; i < n->port_count; i++)
        known[i] = n->port[i].alias;
    const char *near = str_nearest(word, known, (size_t)n->port_count);
    return str_hint(near, n->port_count > 0 ? known[0] : NULL);
}

static void add_next(struct flow *f, int from, int to)
{
    struct flow_node *n = &f->node[from];
    int *next = arena_zalloc(&f->arena, ((size_t)n->next_count + 1) * sizeof(*next));
    for (int i = 0; i < n->next_count; i++)
        next[i] = n->next[i];
    next[n->next_count++] = to;
    n->next = next;
}

static status draw_edge(struct build *b, int i, const struct flow_ref *ref, struct flow_edge *edge)
{
    struct flow *f = b->flow;
    struct str tensor = str_of(ref->text), name;
    bool one = str_cut(&tensor, '.', &name);
    edge->node = find_node(f, name);
    edge->rename = ref->rename != NULL ? arena_printf(&f->arena, "%s", ref->rename) : NULL;
    if (edge->node < 0) {
        const char *near = nearest_node(b, name);
        return fault(b, ref->line,
                     err_set(b->err, INVALID, "input '%s' of node '%s': no node is called '%.*s'%s",
                             ref->text, f->node[i].name, STR_ARG(name), str_hint(near, NULL).text));
    }
    if (one)
        edge->tensor = arena_strndup(&f->arena, tensor.p, tensor.n);
    add_next(f, edge->node, i);
    f->node[i].wait_count++;
    return OK;
}

/* When the node at its other end is open: whether that gives such a tensor. *port: NULL where only a request tells. */
static status check_edge(struct build *b, int i, const struct flow_edge *edge, int line,
                         const struct port **port)
{
    const struct flow_node *from = &b->flow->node[edge->node];
    struct str tensor = str_of(edge->tensor);
    *port = from->port_count > 0 ? &from->port[0] : NULL;
    if (edge->tensor == NULL)
        return OK;
    if (from->port == NULL) {
        *port = NULL;
        return OK;
    }
    for (int k = 0; k < from->port_count; k++)
        if (str_is(tensor, from->port[k].alias) || str_is(tensor, from->port[k].name)) {
            *port = &from->port[k];
            return OK;
        }
    return fault(b, line,
                 err_set(b->err, INVALID, "input '%s.%s' of node '%s': node '%s' gives no '%s'%s",
                         from->name, edge->tensor, b->flow->node[i].name, from->name, edge->tensor,
                         nearest_port(b, from, tensor).text));
}

static status count_inputs(struct build *b, int i)
{
    const struct flow_node *n = &b->flow->node[i];
    const struct flow_node_spec *spec = &b->spec->node[i];
    if (spec->input_count >= n->op->inputs_min && spec->input_count <= n->op->inputs_max)
        return OK;
    return fault(b, spec->line,
                 err_set(b->err, INVALID, "node '%s' (%s) has %d input(s); expected %d%s%.0d",
                         n->name, n->op->type, spec->input_count, n->op->inputs_min,
                         n->op->inputs_max > n->op->inputs_min ? " or more, at most " : "",
                         n->op->inputs_max > n->op->inputs_min ? n->op->inputs_max : 0));
}

/* is: TEXT, or a list of them */
static status read_texts(struct build *b, const struct yaml *n, const char *file,
                         struct flow_when *w)
{
    const struct yaml *item = n->kind == YAML_LIST ? n->child : n;
    int room = n->kind == YAML_LIST ? n->count : 1;
    w->test = TEST_IS;
    w->text = arena_zalloc(&b->flow->arena, ((size_t)room + 1) * sizeof(*w->text));
    for (; w->text_count < room; item = item->next) {
        const char *text;
        TRY(yaml_text(item, file, &text, b->err));
        w->text[w->text_count++] = arena_strndup(&b->flow->arena, text, strlen(text));
    }
    return OK;
}

/* when: {input: NODE.TENSOR, index: 0, above: 0.5}, or {field: log_id, is: [3, 4]} */
static status read_when(struct build *b, int i)
{
    static const char *const keys[] = {
        "input", "field", "index", "above", "below", "equals", "is"
    };
    static const char *const tests[] = { "above", "below", "equals" };
    const struct yaml *n = b->spec->node[i].when;
    const char *file = b->spec->file != NULL ? b->spec->file : "";
    struct flow_when *w = arena_zalloc(&b->flow->arena, sizeof(*w));
    struct flow_ref ref = { .line = n->line };
    const struct yaml *input = yaml_get(n, "input"), *index = yaml_get(n, "index"),
                      *field = yaml_get(n, "field"), *is = yaml_get(n, "is");
    int found = is != NULL;
    TRY(yaml_keys(n, file, keys, ARRAY_LEN(keys), b->err));
    if ((input == NULL) == (field == NULL))
        return fault(b, n->line,
                     err_set(b->err, INVALID, "'when' needs an 'input', or 'field: log_id'"));
    TRY(yaml_text(input != NULL ? input : field, file, &ref.text, b->err));
    w->log_id = field != NULL;
    if (w->log_id && strcmp(ref.text, "log_id") != 0)
        return fault(b, field->line,
                     err_set(b->err, INVALID,
                             "no field of a request is called '%s'; did you mean "
                             "'log_id', or 'input: request.%s'?",
                             ref.text, ref.text));
    if (is != NULL)
        TRY(read_texts(b, is, file, w));
    if (index != NULL)
        TRY(yaml_i64(index, file, 0, INT64_C(1) << 40, &w->index, b->err));
    for (size_t t = 0; t < ARRAY_LEN(tests); t++) {
        const struct yaml *value = yaml_get(n, tests[t]);
        if (value == NULL)
            continue;
        found++;
        w->test = (flow_test)t;
        TRY(yaml_real(value, file, &w->value, b->err));
    }
    if (found != 1)
        return fault(b, n->line,
                     err_set(b->err, INVALID, "'when' needs one of above, below, equals and is"));
    b->flow->node[i].when = w;
    return w->log_id ? OK : draw_edge(b, i, &ref, &w->edge);
}

static status draw_edges(struct build *b)
{
    struct flow *f = b->flow;
    for (int i = 0; i < f->node_count; i++) {
        const struct flow_node_spec *spec = &b->spec->node[i];
        struct flow_node *n = &f->node[i];
        TRY(count_inputs(b, i));
        n->edge = arena_zalloc(&f->arena, ((size_t)spec->input_count + 1) * sizeof(*n->edge));
        n->edge_count = spec->input_count;
        for (int k = 0; k < spec->input_count; k++)
            TRY(draw_edge(b, i, &spec->input[k], &n->edge[k]));
        if (spec->when != NULL)
            TRY(read_when(b, i));
    }
    return OK;
}

/* ---- order ---- */

static bool is_placed(const struct flow *f, int placed, int node)
{
    for (int i = 0; i < placed; i++)
        if (f->order[i] == node)
            return true;
    return false;
}

/* The node at the other end of the k-th of all its edges, the condition's last. */
static int waits_for(const struct flow_node *n, int k)
{
    return k < n->edge_count ? n->edge[k].node : n->when->edge.node;
}

static bool can_run(const struct flow *f, int placed, const struct flow_node *n)
{
    for (int k = 0; k < n->wait_count; k++)
        if (!is_placed(f, placed, waits_for(n, k)))
            return false;
    return true;
}

/* Not the answer, which may only wait for its turn. */
static int first_unplaced(const struct flow *f, int placed)
{
    for (int i = 0; i < f->node_count; i++)
        if (!is_placed(f, placed, i) && !f->node[i].op->answers)
            return i;
    return 0;
}

/* Follows inputs that were not placed until a node comes again: the cycle in the words of its names. */
static status cycle(struct build *b, int placed)
{
    struct flow *f = b->flow;
    int at = first_unplaced(f, placed);
    char words[ERR_TEXT_MAX / 2] = "";
    size_t len = 0;
    for (int i = 0; i < f->node_count; i++) /* by now it is inside the cycle */
        for (int k = 0; k < f->node[at].wait_count; k++)
            if (!is_placed(f, placed, waits_for(&f->node[at], k))) {
                at = waits_for(&f->node[at], k);
                break;
            }
    int first = at;
    do {
        int n = snprintf(words + len, sizeof(words) - len, "'%s' waits for ", f->node[at].name);
        len += n > 0 && len + (size_t)n < sizeof(words) ? (size_t)n : 0;
        int k = 0;
        while (is_placed(f, placed, waits_for(&f->node[at], k)))
            k++;
        at = waits_for(&f->node[at], k);
    } while (at != first);
    return fault(
        b, b->spec->node[first].line,
        err_set(b->err, INVALID, "the graph has a cycle: %s'%s'", words, f->node[first].name));
}

/* One node answers, and nobody waits for it. What nobody reads is computed all the same: a plugin may do something with it. */
static status check_ends(struct build *b)
{
    const struct flow *f = b->flow;
    const struct flow_node *answers = NULL;
    for (int i = 0; i < f->node_count; i++) {
        const struct flow_node *n = &f->node[i];
        int line = b->spec->node[i].line;
        if (n->op->answers && answers != NULL)
            return fault(b, line,
                         err_set(b->err, INVALID, "nodes '%s' and '%s' both answer", answers->name,
                                 n->name));
        if (n->op->answers)
            answers = n;
        if (n->op->answers && n->next_count > 0)
            return fault(b, line,
                         err_set(b->err, INVALID,
                                 "node '%s' waits for '%s', which ends the request",
                                 f->node[n->next[0]].name, n->name));
        if (!n->op->answers && !n->op->reads_request && n->next_count == 0)
            log_line(LOG_WARN, "flow", "%s:%d: nobody reads what node '%s' gives",
                     b->spec->file != NULL ? b->spec->file : f->options.name, line, n->name);
    }
    return OK;
}

/* The answer comes last: also behind nodes that nobody reads. */
static status put_in_order(struct build *b)
{
    struct flow *f = b->flow;
    int placed = 0;
    f->order = arena_zalloc(&f->arena, ((size_t)f->node_count + 1) * sizeof(*f->order));
    for (bool more = true; more && placed < f->node_count;) {
        more = false;
        for (int i = 0; i < f->node_count; i++)
            if (!is_placed(f, placed, i) && can_run(f, placed, &f->node[i]) &&
                (!f->node[i].op->answers || placed == f->node_count - 1)) {
                f->order[placed++] = i;
                more = true;
            }
    }
    return placed == f->node_count ? OK : cycle(b, placed);
}

/* Whether every node waits for the one before it and for nothing that could run beside that. */
static bool is_linear(const struct flow *f)
{
    for (int i = 1; i < f->node_count; i++) {
        const struct flow_node *n = &f->node[f->order[i]];
        bool waits = false;
        for (int k = 0; k < n->wait_count; k++)
            waits = waits || waits_for(n, k) == f->order[i - 1];
        if (!waits)
            return false;
    }
    return true;
}

/* ---- opening, in order: a node knows what it is given ---- */

static status check_settings(struct build *b, int i)
{
    static const char *const common[] = { "name", "op", "inputs", "when", "timeout_ms", "address" };
    const struct flow_op *op = b->flow->node[i].op;
    const char *known[64];
    size_t count = 0;
    if (b->spec->node[i].attrs == NULL)
        return OK;
    for (size_t k = 0; k < ARRAY_LEN(common) - 1; k++)
        known[count++] = common[k];
    for (size_t k = 0; op->keys[k] != NULL && count < ARRAY_LEN(known); k++)
        known[count++] = op->keys[k];
    return yaml_keys(b->spec->node[i].attrs, b->spec->file != NULL ? b->spec->file : "", known,
                     count, b->err);
}

static status open_node(struct build *b, int i)
{
    struct flow *f = b->flow;
    struct flow_node *n = &f->node[i];
    const struct flow_node_spec *spec = &b->spec->node[i];
    const struct port **in = arena_zalloc(&f->arena, ((size_t)n->edge_count + 1) * sizeof(*in));
    const struct port *condition;
    struct flow_open o = { .flow = f,
                           .node = n,
                           .file = b->spec->file != NULL ? b->spec->file : "",
                           .attrs = spec->attrs,
                           .in = in,
                           .arena = &f->arena };
    TRY(check_settings(b, i));
    for (int k = 0; spec->input != NULL && k < n->edge_count; k++) {
        const struct flow_edge *edge = &n->edge[k];
        TRY(check_edge(b, i, edge, spec->input[k].line, &in[k]));
        n->may_skip = n->may_skip || flow_node_at(f, edge->node)->may_skip;
    }
    if (n->when != NULL && !n->when->log_id)
        TRY(check_edge(b, i, &n->when->edge, spec->line, &condition));
    n->may_skip = n->may_skip || n->when != NULL;
    if (n->op->later && !n->op->has_model)
        f->may_wait = true;
    n->opened = true;
    status s = n->op->open != NULL ? n->op->open(&o, b->err) : OK;
    bool told =
        b->spec->file != NULL && strncmp(b->err->text, b->spec->file, strlen(b->spec->file)) == 0;
    return s == OK || told ? s : fault(b, spec->line, s);
}

static status open_nodes(struct build *b)
{
    for (int i = 0; i < b->flow->node_count; i++)
        TRY(open_node(b, b->flow->order[i]));
    return OK;
}

/* ---- what clients see ---- */

static bool is_reader(const struct flow_node *n)
{
    return n->op->reads_request;
}

static bool has_port(const struct port *p, int count, const char *alias)
{
    for (int i = 0; i < count; i++)
        if (strcmp(p[i].alias, alias) == 0)
            return true;
    return false;
}

static int reads_request(const struct flow *f, const struct flow_node *n)
{
    for (int k = 0; k < n->edge_count; k++)
        if (is_reader(&f->node[n->edge[k].node]))
            return true;
    return false;
}

/* The inputs of all models that read the request. */
static void list_inputs(struct flow *f)
{
    int room = 0, count;
    for (int i = 0; i < f->node_count; i++)
        if (f->node[i].model != NULL) {
            model_inputs(f->node[i].model, &count);
            room += count;
        }
    f->input = arena_zalloc(&f->arena, ((size_t)room + 1) * sizeof(*f->input));
    for (int i = 0; i < f->node_count; i++) {
        const struct flow_node *n = &f->node[f->order[i]];
        if (n->model == NULL || !reads_request(f, n))
            continue;
        const struct port *p = model_inputs(n->model, &count);
        for (int k = 0; k < count; k++)
            if (!has_port(f->input, f->input_count, p[k].alias))
                f->input[f->input_count++] = p[k];
    }
}

/* Of two of one name the first: where names are all that tells outputs apart, clients get that one. */
static void list_output(struct flow *f, const struct port *p, const char *rename)
{
    struct port *out = &f->output[f->output_count];
    *out = *p;
    if (rename != NULL)
        out->name = out->alias = rename;
    f->output_count += !has_port(f->output, f->output_count, out->alias);
}

/* What the last node is given. */
static void list_outputs(struct flow *f)
{
    const struct flow_node *last = &f->node[f->order[f->node_count - 1]];
    int room = 0;
    for (int k = 0; k < last->edge_count; k++)
        room += f->node[last->edge[k].node].port_count;
    f->output = arena_zalloc(&f->arena, ((size_t)room + 1) * sizeof(*f->output));
    for (int k = 0; k < last->edge_count; k++) {
        const struct flow_node *n = &f->node[last->edge[k].node];
        for (int i = 0; i < n->port_count; i++)
            if (last->edge[k].tensor == NULL || strcmp(n->port[i].alias, last->edge[k].tensor) == 0)
                list_output(f, &n->port[i], last->edge[k].rename);
    }
}

/* Feeds that one model does not know may be another's; what follows a node and not the request may go by place. */
static void set_bindings(struct flow *f)
{
    int readers = 0, models = 0;
    bool chooses = false; /* a condition looks at the request: it may hold what no model takes */
    for (int i = 0; i < f->node_count; i++) {
        const struct flow_when *w = f->node[i].when;
        chooses = chooses || (w != NULL && !w->log_id && is_reader(&f->node[w->edge.node]));
        models += f->node[i].model != NULL;
        readers += f->node[i].model != NULL && reads_request(f, &f->node[i]);
    }
    for (int i = 0; i < f->node_count; i++) {
        f->node[i].others_may_be = chooses || readers > 1 || f->node[i].edge_count > 1;
        f->node[i].by_place = !reads_request(f, &f->node[i]);
    }
    f->copies = models > 1;
}

/* A call that the cache may answer, or that a condition leads past the queue, has to be looked at. */
static struct batcher *find_gate(const struct flow *f)
{
    struct batcher *found = NULL;
    for (int i = 0; i < f->node_count; i++) {
        const struct flow_node *n = &f->node[i];
        if (n->batcher != NULL && (found != NULL || n->may_skip))
            return NULL;
        found = n->batcher != NULL ? n->batcher : found;
    }
    return f->options.cache_bytes > 0 ? NULL : found;
}

static void describe(struct flow *f)
{
    f->linear = is_linear(f);
    f->gate = find_gate(f);
    f->may_wait = f->may_wait || !f->linear;
    set_bindings(f);
    list_inputs(f);
    list_outputs(f);
}

/* ---- life ---- */

status flow_build(const struct flow_spec *spec, const struct flow_options *opt, struct flow **out,
                  struct err *e)
{
    struct err ignored = { "" };
    struct flow *f = mem_zalloc(sizeof(*f));
    struct build b = { spec, f, e != NULL ? e : &ignored };
    atomic_init(&f->refs, 1);
    arena_init(&f->arena, 0);
    f->options = *opt;
    f->options.name = mem_strdup(opt->name);
    f->env = opt->env;
    status s = make_nodes(&b);
    if (s == OK)
        s = draw_edges(&b);
    if (s == OK)
        s = check_ends(&b);
    if (s == OK)
        s = put_in_order(&b);
    if (s == OK)
        s = open_nodes(&b);
    if (s != OK) {
        flow_destroy(f);
        return s;
    }
    describe(f);
    if (opt->cache_bytes > 0)
        f->cache = cache_new(opt->cache_bytes, &f->cache_counters);
    *out = f;
    return OK;
}

struct flow *flow_ref(struct flow *f)
{
    atomic_fetch_add(&f->refs, 1);
    return f;
}

void flow_unref(struct flow *f)
{
    if (f == NULL || atomic_fetch_sub(&f->refs, 1) != 1)
        return;
    if (f->options.dispose != NULL)
        f->options.dispose(f, f->options.dispose_arg);
    else
        flow_destroy(f);
}

void flow_destroy(struct flow *f)
{
    for (int i = 0; i < f->node_count; i++) {
        batcher_free(f->node[i].batcher);
        if (f->node[i].opened && f->node[i].op->close != NULL)
            f->node[i].op->close(&f->node[i]);
        model_unref(f->node[i].model);
    }
    cache_free(f->cache);
    arena_deinit(&f->arena);
    mem_free((void *)f->options.name);
    mem_free(f);
}

/* ---- one model ---- */

/* Two runs on zeros: the first brings pages and caches in, the second tells how quick the model is. What it thinks of zeros
 * is of no interest: ids that it has not or lengths of nothing are the zeros' fault. */
static status warm_up(struct flow *f, struct err *e)
{
    struct arena a;
    struct tensor *in;
    status s = OK;
    arena_init(&a, 0);
    if (model_sample(f->model, &a, &in)) {
        struct exec *x = exec_new();
        int outputs;
        model_outputs(f->model, &outputs);
        struct tensor *out = arena_zalloc(&a, ((size_t)outputs + 1) * sizeof(*out));
        s = exec_run(x, f->model, in, out, e);
        uint64_t begin = clock_ns();
        if (s == OK && exec_run(x, f->model, in, out, e) == OK)
            atomic_store(&f->typical_ns, clock_ns() - begin);
        exec_free(x);
    }
    arena_deinit(&a);
    return s == INVALID ? OK : s;
}

status flow_for_model(struct model *m, const struct flow_options *opt, struct flow **out,
                      struct err *e)
{
    const struct flow_ref from_reader = { "GeneralReaderOp_0", NULL, 0 };
    const struct flow_ref from_infer = { "GeneralInferOp_0", NULL, 0 };
    const struct flow_node_spec chain[] = {
        { .type = "GeneralReaderOp" },
        { .type = "GeneralInferOp", .model = m, .input = &from_reader, .input_count = 1 },
        { .type = "GeneralResponseOp", .input = &from_infer, .input_count = 1 },
    };
    const struct flow_spec spec = { .node = chain, .node_count = ARRAY_LEN(chain) };
    struct flow *f;
    TRY(flow_build(&spec, opt, &f, e));
    status s = warm_up(f, e);
    if (s != OK) {
        flow_destroy(f);
        return err_prefix(e, s, "warming up: ");
    }
    *out = f;
    return OK;
}

/* ---- what others may know ---- */

const char *flow_name(const struct flow *f)
{
    return f->options.name;
}

int64_t flow_version(const struct flow *f)
{
    return f->options.version;
}

struct model *flow_model(const struct flow *f)
{
    return f->model;
}

const struct port *flow_inputs(const struct flow *f, int *count)
{
    *count = f->input_count;
    return f->input;
}

const struct port *flow_outputs(const struct flow *f, int *count)
{
    *count = f->output_count;
    return f->output;
}

bool flow_is_batched(const struct flow *f)
{
    for (int i = 0; i < f->node_count; i++)
        if (f->node[i].batcher != NULL)
            return true;
    return false;
}

const struct batch_counters *flow_batch_counters(const struct flow *f)
{
    return &f->counters;
}

const struct cache_counters *flow_cache_counters(const struct flow *f)
{
    return f->cache != NULL ? &f->cache_counters : NULL;
}

status flow_refuses(const struct flow *f, struct err *e)
{
    if (f->gate == NULL || !batcher_refuses(f->gate))
        return OK;
    return err_set(e, BUSY, "Exceeds maximum queue size: too many requests wait for model '%s'",
                   f->options.name);
}

bool flow_may_wait(const struct flow *f)
{
    return f->may_wait;
}

atomic_int *flow_waiting(struct flow *f)
{
    return &f->waiting;
}

uint64_t flow_expect_ns(const struct flow *f, size_t body_bytes)
{
    uint64_t ns = atomic_load_explicit(&f->typical_ns, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&f->typical_bytes, memory_order_relaxed);
    return body_bytes > bytes && bytes > 0 ? ns * (body_bytes / bytes) : ns;
}
