#include "options.h"
#include "text.h"
#include "verbs.h"

#include "base/limits.h"
#include "codec/json.h"
#include "exec/exec.h"
#include "exec/model.h"
#include "flow/service.h"
#include "graph/op.h"
#include "passes/passes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct inspect_args {
    struct words words;
    bool json, dot, passes, explain, graph;
};

#define FIELD(f) offsetof(struct inspect_args, f)

// clang-format off
static const struct option options[] = {
    { "json", OPT_FLAG, FIELD(json), NULL, NULL, "the same for machines", 0, 0, NULL },
    { "dot", OPT_FLAG, FIELD(dot), NULL, NULL, "the graph, for Graphviz", 0, 0, NULL },
    { "graph", OPT_FLAG, FIELD(graph), NULL, NULL, "a service's file: its graph of operators, for Graphviz", 0, 0, NULL },
    { "explain", OPT_FLAG, FIELD(explain), NULL, NULL, "the kernels and memory of a plan for batch 1", 0, 0, NULL },
    { "passes", OPT_FLAG, FIELD(passes), NULL, NULL, "the rewrites that every graph goes through", 0, 0, NULL },
};
// clang-format on

static const struct command command = {
    .name = "oar inspect",
    .usage = "MODEL [--json | --dot | --explain | --passes] | SERVICE.yml --graph",
    .about =
        "Shows what a model takes and gives, its operators after all rewrites, and its parameters.",
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

/* An input of zeros with 1 for every open dimension; one sequence of one row on each level where it
 * is ragged. */
static status batch_of_one(const struct port *p, struct arena *a, struct tensor *out, struct err *e)
{
    static const int64_t one_sequence[] = { 0, 1 };
    *out = (struct tensor){ .dtype = p->dtype, .shape = p->shape };
    for (int i = 0; i < p->shape.rank; i++)
        if (out->shape.dim[i] < 0)
            out->shape.dim[i] = 1;
    out->lod.levels = !p->ragged ? 0 : p->lod_levels > 0 ? p->lod_levels : 1;
    for (int i = 0; i < out->lod.levels; i++)
        out->lod.level[i] = (struct lod_level){ one_sequence, ARRAY_LEN(one_sequence) };
    int64_t bytes = tensor_bytes(out);
    out->data = bytes >= 0 ? arena_try_array(a, (size_t)bytes, 1) : NULL;
    return out->data != NULL ? OK
                             : err_set(e, NO_MEMORY, "input '%s' does not fit in memory", p->alias);
}

static status put_plan(struct buf *b, struct model *m, struct arena *a, struct err *e)
{
    int count;
    const struct port *ports = model_inputs(m, &count);
    struct tensor *in = arena_zalloc(a, (size_t)count * sizeof(*in));
    for (int i = 0; i < count; i++)
        TRY(batch_of_one(&ports[i], a, &in[i], e));
    return exec_explain(m, in, b, e);
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

static status inspect(const struct inspect_args *args, struct arena *a, struct buf *b,
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
    TRY(model_open(args->words.word[0], NULL, &m, e));
    if (args->json)
        put_json(b, m, a);
    else if (args->dot)
        graph_to_dot(model_graph(m), b);
    else if (args->explain)
        s = put_plan(b, m, a, e);
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
    status s = inspect(args, a, &text, &e);
    if (s != OK) {
        buf_deinit(&text);
        return command_failed(&command, &e);
    }
    if (text_print(&text))
        return EXIT_FINE;
    err_set(&e, IO_FAILED, "standard output failed");
    return command_failed(&command, &e);
}

int verb_inspect(int argc, char **argv)
{
    struct arena arena;
    struct inspect_args args = { 0 };
    int exit_status;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    if (options_parse(&command, argc, argv, &arena, &args, &exit_status))
        exit_status = args.words.count > 0 || args.passes
                          ? report(&args, &arena)
                          : command_misused(&command, "usage: %s %s", command.name, command.usage);
    arena_deinit(&arena);
    return exit_status;
}
