#include "kernels/ref/ref.h"

#include <string.h>

struct state {
    int64_t count, rows;
    size_t row_bytes;
    bool wide; /* int64 ids, else int32 */
    struct embedding_attrs attrs;
};

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    const struct shape *table = &ctx->in[1].shape;
    s->count = shape_numel(&ctx->in[0].shape);
    s->rows = table->dim[0];
    s->row_bytes = (size_t)table->dim[1] * dtype_size(ctx->in[1].dtype);
    s->wide = ctx->in[0].dtype == DTYPE_I64;
    s->attrs = *(const struct embedding_attrs *)ctx->node->attrs;
    *state = s;
    return OK;
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const uint8_t *table = io->in[1];
    uint8_t *out = io->out[0];
    for (int64_t i = 0; i < s->count; i++, out += s->row_bytes) {
        int64_t id = s->wide ? ((const int64_t *)io->in[0])[i] : ((const int32_t *)io->in[0])[i];
        if (s->attrs.has_padding && id == s->attrs.padding_id)
            memset(out, 0, s->row_bytes);
        else if (id >= 0 && id < s->rows)
            memcpy(out, table + (size_t)id * s->row_bytes, s->row_bytes);
        else
            return err_set(io->err, INVALID,
                           "id %lld (element %lld) is not in the table's 0 .. %lld", (long long)id,
                           (long long)i, (long long)s->rows - 1);
    }
    return OK;
}

const struct kernel ref_index[] = {
    { "embedding", "ref embedding", DTYPE_BIT(DTYPE_I64) | DTYPE_BIT(DTYPE_I32), DEVICE_CPU, NULL,
      prepare, run, NULL },
    { 0 },
};
