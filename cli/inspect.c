#include "operators.h"
#include "options.h"
#include "text.h"
#include "verbs.h"

#include "base/limits.h"
#include "codec/json.h"
#include "exec/exec.h"
#include "exec/model.h"
#include "flow/service.h"
#include "graph/op.h"
#include "import/unknown.h"
#include "passes/passes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct inspect_args {
    struct words words;
    bool json, dot, passes, operators, explain, graph, check, memory;
    struct words shapes;
    const char *engine;
};

#define FIELD(f) offsetof(struct inspect_args, f)

// clang-format off
static const struct option options[] = {
    { "json", OPT_FLAG, FIELD(json), NULL, NULL, "the same for machines", 0, 0, NULL },
    { "dot", OPT_FLAG, FIELD(dot), NULL, NULL, "the graph, for Graphviz", 0, 0, NULL },
    { "graph", OPT_FLAG, FIELD(graph), NULL, NULL, "a service's file: its graph of operators, for Graphviz", 0, 0, NULL },
    { "explain", OPT_FLAG, FIELD(explain), NULL, NULL, "the kernels and memory of a plan", 0, 0, NULL },
    { "check", OPT_FLAG, FIELD(check), NULL, NULL, "whether it can be served: operators that are not supported, with their places; exit status 1 where there are any", 0, 0, NULL },
    { "memory", OPT_FLAG, FIELD(memory), NULL, NULL, "what it takes: parameters, and the working memory of one run", 0, 0, NULL },
    { "shape", OPT_NAMES, FIELD(shapes), "NAME=1x3x640x640", NULL, "for --memory and --explain: an input's shape, where not all open dimensions are 1; rows of one sequence where it is ragged", 0, 0, NULL },
    { "engine", OPT_TEXT, FIELD(engine), "NAME|FILE.so", NULL, "who computes it; settings behind it as :NAME=VALUE,...", 0, 0, NULL },
    { "operators", OPT_FLAG, FIELD(operators), NULL, NULL, "the operators that models may have, as Markdown", 0, 0, NULL },
    { "passes", OPT_FLAG, FIELD(passes), NULL, NULL, "the rewrites that every graph goes through", 0, 0, NULL },
};
// clang-format on

static const struct command command = {
    .name = "oar inspect",
    .usage = "MODEL [--check | --memory | --json | --dot | --explain | --passes | --operators] | "
             "SERVICE.yml --graph",
    .about =
        "Shows what a model takes and gives, its operators after all rewrites, and its parameters.",
    .examples = "  oar inspect models/uci --check\n"
                "  oar inspect models/detector --memory --shape image=1x3x640x640\n"
                "  oar inspect spam.yml --graph | dot -Tsvg > spam.svg\n",
    .options = options,
    .option_count = ARRAY_LEN(options),
    .positional = FIELD(words),
    .positional_max = 1,
};

struct op_count {
    const char *name;
    int count;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct op_count *)a)->name, ((const struct op_count *)b)->name);
}

/* Operators by name, with how often each stands in the graph. */
static struct op_count *count_ops(const struct graph *g, struct arena *a, int *count)
{
    struct op_count *all = arena_zalloc(a, ((size_t)g->node_count + 1) * sizeof(*all));
    int n = 0;
    for (uint32_t i = 0; i < g->node_count; i++)
        all[i] = (struct op_count){ g->nodes[i]->op->name, 1 };
    qsort(all, g->node_count, sizeof(*all), by_name);
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (n > 0 && strcmp(all[n - 1].name, all[i].name) == 0)
            all[n - 1].count++;
        else
            all[n++] = all[i];
    }
    *count = n;
    return all;
}

static void put_heading(struct buf *b, const char *words)
{
    bool colour = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL;
    buf_printf(b, colour ? "\033[1m%s\033[0m\n" : "%s\n", words);
}

static void put_ports_text(struct buf *b, const char *heading, const struct port *ports, int count)
{
    char shape[SHAPE_TEXT_MAX];
    put_heading(b, heading);
    for (int i = 0; i < count; i++) {
        const struct port *p = &ports[i];
        buf_printf(b, "  %-20s %-8s %s%s", p->alias, dtype_name(p->dtype),
                   shape_text(&p->shape, shape, sizeof(shape)), p->ragged ? " LoD" : "");
        if (strcmp(p->name, p->alias) != 0)
            buf_printf(b, "  (%s)", p->name);
        buf_byte(b, '\n');
    }
}

static void put_text(struct buf *b, const struct model *m, struct arena *a)
{
    int in, out, kinds;
    const struct imported *from = model_imported(m);
    const struct port *inputs = model_inputs(m, &in), *outputs = model_outputs(m, &out);
    const struct op_count *op = count_ops(model_graph(m), a, &kinds);
    put_ports_text(b, "inputs", inputs, in);
    put_ports_text(b, "outputs", outputs, out);
    put_heading(b, "operators");
    for (int i = 0; i < kinds; i++)
        buf_printf(b, "  %-20s %d\n", op[i].name, op[i].count);
    put_heading(b, "parameters");
    buf_printf(b, "  %-20s %" PRIu64 "\n", "numbers", from->param_count);
    buf_printf(b, "  %-20s %" PRIu64 "\n", "bytes", from->param_bytes);
    buf_printf(b, "  %-20s %zu\n", "packed bytes", model_pack_bytes(m));
    put_heading(b, "files");
    buf_printf(b, "  %-20s %s\n", "format", from->format);
    buf_printf(b, "  %-20s %s\n", "configuration",
               from->conf_path != NULL ? from->conf_path : "none; names are the program's");
    buf_printf(b, "  %-20s %.3f ms\n", "load time", (double)model_load_ns(m) / 1e6);
}

static void put_ports_json(struct buf *b, const char *key, const struct port *ports, int count)
{
    buf_printf(b, "\"%s\":[", key);
    for (int i = 0; i < count; i++) {
        const struct port *p = &ports[i];
        buf_str(b, i > 0 ? ",{\"name\":" : "{\"name\":");
        json_put_string(b, str_of(p->name));
        buf_str(b, ",\"alias\":");
        json_put_string(b, str_of(p->alias));
        buf_printf(b, ",\"dtype\":\"%s\",\"shape\":", dtype_name(p->dtype));
        json_put_numbers(b, DTYPE_I64, p->shape.dim, p->shape.rank);
        buf_printf(b, ",\"lod_levels\":%d}",
                   p->ragged ? (p->lod_levels > 0 ? p->lod_levels : 1) : 0);
    }
    buf_str(b, "],");
}

static void put_json(struct buf *b, const struct model *m, struct arena *a)
{
    int in, out, kinds;
    const struct imported *from = model_imported(m);
    const struct port *inputs = model_inputs(m, &in), *outputs = model_outputs(m, &out);
    const struct op_count *op = count_ops(model_graph(m), a, &kinds);
    buf_byte(b, '{');
    put_ports_json(b, "inputs", inputs, in);
    put_ports_json(b, "outputs", outputs, out);
    buf_str(b, "\"operators\":{");
    for (int i = 0; i < kinds; i++) {
        buf_str(b, i > 0 ? "," : "");
        json_put_string(b, str_of(op[i].name));
        buf_printf(b, ":%d", op[i].count);
    }
    buf_printf(b, "},\"parameter_count\":%" PRIu64 ",\"parameter_bytes\":%" PRIu64,
               from->param_count, from->param_bytes);
    buf_printf(b, ",\"packed_bytes\":%zu,\"format\":", model_pack_bytes(m));
    json_put_string(b, str_of(from->format));
    buf_str(b, ",\"configuration\":");
    if (from->conf_path != NULL)
        json_put_string(b, str_of(from->conf_path));
    else
        buf_str(b, "null");
    buf_printf(b, ",\"load_ms\":%.3f}\n", (double)model_load_ns(m) / 1e6);
}

/* "1x3x640x640" */
static bool parse_shape(struct str text, struct shape *out)
{
    struct str word;
    bool more = true;
    *out = (struct shape){ .rank = 0 };
    while (more && out->rank < SHAPE_MAX) {
        more = str_cut(&text, 'x', &word);
        if (!str_to_i64(word, &out->dim[out->rank]) || out->dim[out->rank] < 0)
            return false;
        out->rank++;
    }
    return !more;
}

/* The shape that an option gives to the port; else 1 for every open dimension. */
static status shape_for(const struct inspect_args *args, const struct port *p, struct shape *out,
                        struct err *e)
{
    *out = p->shape;
    for (int i = 0; i < p->shape.rank; i++)
        if (out->dim[i] < 0)
            out->dim[i] = 1;
    for (int i = 0; i < args->shapes.count; i++) {
        struct str text = str_of(args->shapes.word[i]), name;
        if (!str_cut(&text, '=', &name) || !(str_is(name, p->alias) || str_is(name, p->name)))
            continue;
        if (!parse_shape(text, out) || !shape_matches(out, &p->shape))
            return err_set(e, INVALID, "--shape %s does not fit input '%s'", args->shapes.word[i],
                           p->alias);
    }
    return OK;
}

/* An input of zeros; one sequence of all its rows on each level where it is ragged. */
static status make_input(const struct inspect_args *args, const struct port *p, struct arena *a,
                         struct tensor *out, struct err *e)
{
    *out = (struct tensor){ .dtype = p->dtype };
    TRY(shape_for(args, p, &out->shape, e));
    int64_t *offset = arena_zalloc(a, 4 * sizeof(*offset)); /* 0, 1; 0, rows */
    offset[1] = 1;
    offset[3] = out->shape.rank > 0 ? out->shape.dim[0] : 1;
    out->lod.levels = !p->ragged ? 0 : p->lod_levels > 0 ? p->lod_levels : 1;
    for (int i = 0; i < out->lod.levels; i++)
        out->lod.level[i] = (struct lod_level){ i + 1 < out->lod.levels ? offset : offset + 2, 2 };
    int64_t bytes = tensor_bytes(out);
    out->data = bytes >= 0 ? arena_try_array(a, (size_t)bytes, 1) : NULL;
    return out->data != NULL ? OK
                             : err_set(e, NO_MEMORY, "input '%s' does not fit in memory", p->alias);
}

/* Each --shape names an input. */
static status check_shapes(const struct inspect_args *args, const struct port *ports, int count,
                           struct err *e)
{
    for (int i = 0; i < args->shapes.count; i++) {
        struct str text = str_of(args->shapes.word[i]), name;
        bool known = false, has_name = str_cut(&text, '=', &name);
        for (int k = 0; k < count; k++)
            known = known || str_is(name, ports[k].alias) || str_is(name, ports[k].name);
        if (!has_name || !known)
            return err_set(e, NOT_FOUND, "--shape %s: the model has no input '%.*s'",
                           args->shapes.word[i], STR_ARG(name));
    }
    return OK;
}

static status make_inputs(const struct inspect_args *args, const struct model *m, struct arena *a,
                          struct tensor **in, struct err *e)
{
    int count;
    const struct port *ports = model_inputs(m, &count);
    TRY(check_shapes(args, ports, count, e));
    *in = arena_zalloc(a, ((size_t)count + 1) * sizeof(**in));
    for (int i = 0; i < count; i++)
        TRY(make_input(args, &ports[i], a, &(*in)[i], e));
    return OK;
}

/* Where nobody said a shape, the ones that took its place may be what is wrong. */
static status blame_ones(const struct inspect_args *args, const struct model *m, status s,
                         struct err *e)
{
    int count;
    const struct port *p = model_inputs(m, &count);
    for (int i = 0; i < count && s != OK && args->shapes.count == 0; i++)
        for (int d = 1; d < p[i].shape.rank; d++)
            if (p[i].shape.dim[d] < 0)
                return err_prefix(e, s,
                                  "with 1 for each open dimension of '%s' (--shape): ", p[i].alias);
    return s;
}

static status put_plan(const struct inspect_args *args, struct buf *b, struct model *m,
                       struct arena *a, struct err *e)
{
    struct tensor *in;
    TRY(make_inputs(args, m, a, &in, e));
    return blame_ones(args, m, exec_explain(m, in, b, e), e);
}

static void put_bytes(struct buf *b, const char *what, uint64_t bytes, const char *how)
{
    buf_printf(b, "%-20s %14" PRIu64 " bytes%s\n", what, bytes, how);
}

/* A run of zeros tells what all of its plans take together; where zeros are refused, the first plan does. */
static status put_memory(const struct inspect_args *args, struct buf *b, struct model *m,
                         struct arena *a, struct err *e)
{
    struct tensor *in, *out;
    int count;
    TRY(make_inputs(args, m, a, &in, e));
    model_outputs(m, &count);
    out = arena_zalloc(a, ((size_t)count + 1) * sizeof(*out));
    struct exec *x = exec_new();
    status s = exec_prepare(x, m, in, e);
    struct err ignored;
    bool whole = s == OK && exec_run(x, m, in, out, &ignored) == OK;
    if (s == OK) {
        put_bytes(b, "parameters", model_imported(m)->param_bytes, ", mapped from the files");
        put_bytes(b, "packed weights", model_pack_bytes(m), ", shared by all threads");
        put_bytes(b, "working memory", exec_bytes(x),
                  whole ? ", of each thread, at its peak" : ", of each thread, as far as planned");
    }
    exec_free(x);
    return blame_ones(args, m, s, e);
}

static void put_unknown(struct buf *b, const struct unknown_list *l)
{
    for (const struct unknown *u = l->first; u != NULL; u = u->next)
        buf_printf(b, "not supported  %-32.*s %s\n", STR_ARG(u->type), unknown_places(l, u));
}

static status open_model(const struct inspect_args *args, struct model **out, struct err *e)
{
    return model_open(args->words.word[0], &(struct model_options){ .engine = args->engine }, out,
                      e);
}

/* Operators first, all of them; then everything else that loading looks at. */
static status check(const struct inspect_args *args, struct arena *a, struct buf *b, bool *fine,
                    struct err *e)
{
    struct unknown_list unknown;
    struct model *m;
    unknown_init(&unknown, a);
    if (args->engine == NULL && import_detect(args->words.word[0]))
        TRY(import_check(args->words.word[0], &unknown, e));
    *fine = unknown.first == NULL;
    put_unknown(b, &unknown);
    if (!*fine)
        return OK;
    TRY(open_model(args, &m, e));
    int kinds;
    count_ops(model_graph(m), a, &kinds);
    buf_printf(b, "supported: %u operators of %d kinds after all rewrites\n",
               model_graph(m)->node_count, kinds);
    model_unref(m);
    return OK;
}

static void put_passes(struct buf *b)
{
    for (size_t i = 0; pass_at(i) != NULL; i++)
        buf_printf(b, "%-20s %s\n", pass_at(i)->name, pass_at(i)->what);
}

/* Opens its models too, so that everything that is wrong with it is found. */
static status put_service(struct buf *b, const char *path, struct arena *a, struct err *e)
{
    struct service s;
    struct flow *f;
    const struct flow_options opt = { .name = path };
    TRY(service_read(path, a, &s, e));
    TRY(service_open(&s, &opt, false, &f, e));
    flow_to_dot(f, b);
    flow_unref(f);
    return OK;
}

static status inspect(const struct inspect_args *args, struct arena *a, struct buf *b, bool *fine,
                      struct err *e)
{
    struct model *m;
    status s = OK;
    if (args->passes) {
        put_passes(b);
        return OK;
    }
    if (args->graph)
        return put_service(b, args->words.word[0], a, e);
    if (args->operators) {
        operators_put(b, a);
        return OK;
    }
    if (args->check)
        return check(args, a, b, fine, e);
    TRY(open_model(args, &m, e));
    if (args->json)
        put_json(b, m, a);
    else if (args->dot)
        graph_to_dot(model_graph(m), b);
    else if (args->explain)
        s = put_plan(args, b, m, a, e);
    else if (args->memory)
        s = put_memory(args, b, m, a, e);
    else
        put_text(b, m, a);
    model_unref(m);
    return s;
}

static int report(const struct inspect_args *args, struct arena *a)
{
    struct buf text;
    struct err e = { "" };
    buf_init(&text, TEXT_BYTES);
    bool fine = true;
    status s = inspect(args, a, &text, &fine, &e);
    if (s != OK) {
        buf_deinit(&text);
        return command_failed(&command, &e);
    }
    if (text_print(&text, &e) != OK)
        return command_failed(&command, &e);
    return fine ? EXIT_FINE : EXIT_FAILED;
}

int verb_inspect(int argc, char **argv)
{
    struct arena arena;
    struct inspect_args args = { 0 };
    int exit_status;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    if (options_parse(&command, argc, argv, &arena, &args, &exit_status))
        exit_status = args.words.count > 0 || args.passes || args.operators
                          ? report(&args, &arena)
                          : command_misused(&command, "usage: %s %s", command.name, command.usage);
    arena_deinit(&arena);
    return exit_status;
}
