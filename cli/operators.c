#include "operators.h"

#include "graph/op.h"
#include "import/onnx/ops.h"
#include "import/paddle/ops.h"
#include "import/pir/table.h"
#include "kernels/kernel.h"

#include <stdlib.h>
#include <string.h>

/* ---- what models hold ---- */

static int by_type(const void *a, const void *b)
{
    return strcmp((*(const struct op_row *const *)a)->type,
                  (*(const struct op_row *const *)b)->type);
}

static void put_pir_names(struct buf *b, const char *type)
{
    const struct pir_row *r;
    int told = 0;
    for (int i = 0; (r = pir_row_at(i)) != NULL; i++)
        if (strcmp(r->type, type) == 0)
            buf_printf(b, "%s`%s`", told++ > 0 ? ", " : "", r->name);
}

/* An operator that the reader works out itself becomes none. */
static void put_becomes(struct buf *b, const char *canonical)
{
    if (canonical != NULL)
        buf_printf(b, "`%s` |\n", canonical);
    else
        buf_str(b, "a constant |\n");
}

static void put_control(struct buf *b)
{
    const struct control_row *r;
    for (int i = 0; (r = control_row_at(i)) != NULL; i++) {
        buf_printf(b, r->pir != NULL ? "| `%s` | `%s` | " : "| `%s` |  | ", r->type, r->pir);
        put_becomes(b, r->canonical);
    }
}

static void put_paddle(struct buf *b, struct arena *a)
{
    const struct op_row *r, **sorted;
    int count = 0;
    while (op_row_at(count) != NULL)
        count++;
    sorted = arena_zalloc(a, ((size_t)count + 1) * sizeof(*sorted));
    for (int i = 0; (r = op_row_at(i)) != NULL; i++)
        sorted[i] = r;
    qsort(sorted, (size_t)count, sizeof(*sorted), by_type);
    buf_printf(
        b,
        "## Paddle\n\n%d operators of ProgramDesc files (`.pdmodel`, `__model__`), beside `feed` "
        "and `fetch`, and their names in\nPaddle 3's PIR files (`.json`), where `data`, `fetch`, "
        "`combine`, `split` (of lists), `if`, `while` and `yield` are\nread as well.\n\n"
        "| ProgramDesc | PIR | becomes |\n|---|---|---|\n",
        count);
    for (int i = 0; i < count; i++) {
        buf_printf(b, "| `%s` | ", sorted[i]->type);
        put_pir_names(b, sorted[i]->type);
        buf_str(b, " | ");
        put_becomes(b, sorted[i]->canonical);
    }
    put_control(b);
    buf_str(b, "\n");
}

static int by_onnx_type(const void *a, const void *b)
{
    return strcmp((*(const struct onnx_row *const *)a)->type,
                  (*(const struct onnx_row *const *)b)->type);
}

static void put_onnx(struct buf *b, struct arena *a)
{
    const struct onnx_row *r, **sorted;
    const char *domain;
    int count = 0, own = 0;
    while (onnx_row_at((size_t)count, &domain) != NULL)
        count++;
    sorted = arena_zalloc(a, ((size_t)count + 1) * sizeof(*sorted));
    for (int i = 0; (r = onnx_row_at((size_t)i, &domain)) != NULL; i++)
        if (domain[0] == '\0')
            sorted[own++] = r;
    qsort(sorted, (size_t)own, sizeof(*sorted), by_onnx_type);
    buf_printf(b,
               "## ONNX\n\n%d operators of the default domain.\n\n| ONNX | becomes |\n|---|---|\n",
               own);
    for (int i = 0; i < own; i++) {
        buf_printf(b, "| `%s` | ", sorted[i]->type);
        put_becomes(b, sorted[i]->canonical);
    }
    if (own == count)
        return;
    buf_printf(b, "\n%d of other domains.\n\n| domain | operator | becomes |\n|---|---|---|\n",
               count - own);
    for (int i = 0; (r = onnx_row_at((size_t)i, &domain)) != NULL; i++)
        if (domain[0] != '\0') {
            buf_printf(b, "| `%s` | `%s` | ", domain, r->type);
            put_becomes(b, r->canonical);
        }
}

/* ---- what the engine computes ---- */

static void put_attrs(struct buf *b, const struct op *o)
{
    int told = 0;
    for (const struct attr_field *f = o->attrs; f != NULL && f->name != NULL; f++)
        buf_printf(b, "%s%s", told++ > 0 ? ", " : "", f->name);
}

static void put_dtypes(struct buf *b, uint32_t dtypes)
{
    int told = 0;
    if (dtypes == UINT32_MAX) {
        buf_str(b, "any");
        return;
    }
    for (int d = 0; d < 32; d++)
        if ((dtypes & (1u << d)) != 0 && dtype_valid(d))
            buf_printf(b, "%s%s", told++ > 0 ? ", " : "", dtype_name((dtype)d));
}

static void put_kernels(struct buf *b, const struct op *o)
{
    const struct kernel *k;
    for (size_t i = 0; (k = kernel_at(o->name, i)) != NULL; i++) {
        buf_printf(b, "%s%.*s: ", i > 0 ? "; " : "", (int)strcspn(k->name, " "), k->name);
        put_dtypes(b, k->dtypes);
    }
    if (o->flags & OP_VIEW)
        buf_str(b, "none: another look at the same bytes");
    if (o->flags & OP_CONTROL)
        buf_str(b, "none: the executor runs its graphs");
}

static void put_canonical(struct buf *b)
{
    const struct op *o;
    buf_str(b, "\n## What they become\n\nThe engine's own operators: what each takes and gives "
               "stands beside its "
               "attributes in `src/graph/attrs*.h`. Kernels by\nbackend, best first, with the "
               "dtypes of the "
               "first input.\n\n| operator | inputs | attributes | kernels |\n|---|---|---|---|\n");
    for (size_t i = 0; (o = op_at(i)) != NULL; i++) {
        buf_printf(b, o->in_min == o->in_max ? "| `%s` | %d" : "| `%s` | %d to ", o->name,
                   o->in_min);
        if (o->in_max == UINT8_MAX)
            buf_str(b, "any");
        else if (o->in_min != o->in_max)
            buf_printf(b, "%d", o->in_max);
        buf_str(b, " | ");
        put_attrs(b, o);
        buf_str(b, " | ");
        put_kernels(b, o);
        buf_str(b, " |\n");
    }
}

void operators_put(struct buf *b, struct arena *a)
{
    buf_str(
        b, "# Operators\n\nMade by `tools/operators_doc` from the tables in the code; do not edit. "
           "`oar inspect --check MODEL` says whether a model\nhas others.\n\n");
    put_paddle(b, a);
    put_onnx(b, a);
    put_canonical(b);
}
