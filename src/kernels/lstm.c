#include "kernels/lstm.h"

#include "kernels/ref/ref.h"

void lstm_sizes(const struct kernel_ctx *ctx, struct lstm_sizes *out)
{
    *out = (struct lstm_sizes){ .sequences = ctx->in[LSTM_OFFSETS].shape.dim[0] - 1,
                                .rows = ctx->in[LSTM_X].shape.dim[0],
                                .width = ctx->in[LSTM_WEIGHT].shape.dim[0],
                                .attrs = *(const struct lstm_attrs *)ctx->node->attrs };
}

void lstm_step(const struct lstm_sizes *s, const float *gates, const float *bias,
               const float *c_before, float *cell, float *hidden)
{
    const struct lstm_attrs *a = &s->attrs;
    int64_t d = s->width;
    for (int64_t j = 0; j < d; j++) {
        double in = gates[d + j], forget = gates[2 * d + j], out = gates[3 * d + j];
        if (a->peepholes) {
            in += (double)c_before[j] * bias[4 * d + j];
            forget += (double)c_before[j] * bias[5 * d + j];
        }
        double c = ref_act(a->gate_act, in) * ref_act(a->candidate_act, gates[j]) +
                   ref_act(a->gate_act, forget) * c_before[j];
        if (a->peepholes)
            out += c * bias[6 * d + j];
        cell[j] = (float)c;
        hidden[j] = (float)(ref_act(a->gate_act, out) * ref_act(a->cell_act, c));
    }
}
