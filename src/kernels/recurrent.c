#include "kernels/recurrent.h"

void rnn_sizes(const struct kernel_ctx *ctx, struct rnn_sizes *out)
{
    const struct shape *x = &ctx->in[RNN_X].shape;
    int64_t width = ctx->in[RNN_WEIGHT].shape.dim[1];
    *out = (struct rnn_sizes){ .steps = x->dim[0],
                               .rows = x->dim[1],
                               .width = width,
                               .gates = width > 0 ? x->dim[2] / width : 0,
                               .attrs = *(const struct rnn_attrs *)ctx->node->attrs,
                               .wide = ctx->in[RNN_LENGTHS].dtype == DTYPE_I64 };
}

static int64_t length_of(const struct rnn_sizes *s, const void *lengths, int64_t i)
{
    return s->wide ? ((const int64_t *)lengths)[i] : ((const int32_t *)lengths)[i];
}

bool rnn_runs(const struct rnn_sizes *s, const void *lengths, int64_t i, int64_t t)
{
    return lengths == NULL || t < length_of(s, lengths, i);
}

status rnn_check_lengths(const struct rnn_sizes *s, const void *lengths, struct err *e)
{
    for (int64_t i = 0; lengths != NULL && i < s->rows; i++) {
        int64_t n = length_of(s, lengths, i);
        if (n < 0 || n > s->steps)
            return err_set(e, INVALID, "length %lld (row %lld) is not in 0 .. %lld", (long long)n,
                           (long long)i, (long long)s->steps);
    }
    return OK;
}

void gru_sizes(const struct kernel_ctx *ctx, struct gru_sizes *out)
{
    const struct type *offsets = &ctx->in[GRU_OFFSETS];
    int64_t rows = ctx->in[GRU_X].shape.dim[0];
    *out = (struct gru_sizes){ .rows = rows,
                               .sequences =
                                   offsets->shape.rank == 1 ? offsets->shape.dim[0] - 1 : rows,
                               .width = ctx->out[0].shape.dim[1],
                               .attrs = *(const struct gru_attrs *)ctx->node->attrs };
}
