/* The line that says that requests can be answered, and below it what each model takes and gives. */
#include "base/clock.h"
#include "serve/internal.h"

#include <unistd.h>

static void put_port(struct buf *b, const char *what, const struct port *p)
{
    char shape[SHAPE_TEXT_MAX];
    buf_printf(b, "    %-3s %s (%s) %s %s%s\n", what, p->alias, p->name, dtype_name(p->dtype),
               shape_text(&p->shape, shape, sizeof(shape)), p->ragged ? " LoD" : "");
}

static void put_model(struct buf *b, const struct served_model *sm)
{
    const struct served *s = sm->current;
    if (s == NULL) {
        buf_printf(b, "  model %s: not ready: %s\n", sm->name, served_fault(sm));
        return;
    }
    const struct model *m = flow_model(s->flow);
    int inputs, outputs;
    const struct port *in = flow_inputs(s->flow, &inputs), *out = flow_outputs(s->flow, &outputs);
    buf_printf(b, "  model %s: %s, version %lld", s->name, s->path, (long long)s->version);
    if (m != NULL)
        buf_printf(b, ", %s, %llu parameters, loaded in %.1f ms", model_imported(m)->format,
                   (unsigned long long)model_imported(m)->param_count,
                   (double)model_load_ns(m) / 1e6);
    buf_str(b, "\n");
    for (int i = 0; i < inputs; i++)
        put_port(b, "in", &in[i]);
    for (int i = 0; i < outputs; i++)
        put_port(b, "out", &out[i]);
}

/* "0.0.0.0" is every address of the machine: the local one is what a reader can click on. */
static const char *address_of(const struct server *s)
{
    const char *host = s->options.host;
    return str_is(str_of(host), "0.0.0.0") || str_is(str_of(host), "::") ? "127.0.0.1" : host;
}

void ready_print(const struct server *s, uint64_t start_ns)
{
    bool colour = isatty(STDERR_FILENO);
    bool v6 = strchr(address_of(s), ':') != NULL;
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_printf(&b, "%soar " OAR_VERSION " is ready%s after %.1f ms: http://%s%s%s:%d (on %s), ",
               colour ? "\033[1;32m" : "", colour ? "\033[0m" : "",
               (double)(clock_ns() - start_ns) / 1e6, v6 ? "[" : "", address_of(s), v6 ? "]" : "",
               s->port, s->options.host);
    for (size_t i = 0; protocol_at(i) != NULL; i++)
        buf_printf(&b, "%s%s", i > 0 ? " and " : "", protocol_at(i)->name);
    struct table *t = repository_table(s->models);
    buf_printf(&b, ", %d model%s\n", table_count(t), table_count(t) != 1 ? "s" : "");
    for (int i = 0; i < table_count(t); i++)
        put_model(&b, table_at(t, i));
    table_unref(t);
    if (write(STDERR_FILENO, b.data, b.len) < 0) {
        /* nobody is there to read it */
    }
    buf_deinit(&b);
}
