/* Filters of convolutions in the layouts that oneDNN's kernels want. Its own reorders are plain loops: of a first answer of
 * resnet50 they took half. */
#pragma once

#include <stdint.h>

/* A filter as the model has it: [o, i, taps] floats at any alignment, each output channel to be multiplied by its scale. */
struct filter {
    const void *from;
    const float *scale; /* o of them; NULL: 1 */
    int64_t o, i, taps;
};

/* to: [o / 16][i / 16][taps][16 of i][16 of o], rounded up, with zeros behind the last channels. */
void filter_blocks(const struct filter *f, float *to);

/* How the numbers of a transformed filter lie: index of the first of 16 output channels `block`, for input channel i, at
 * place (a, b) of alpha x alpha. Channels are counted with what is rounded up. */
enum winograd_order {
    WINOGRAD_PLAIN,   /* [a][b][o / 16][i][16 of o] */
    WINOGRAD_GROUPED, /* [a][b][o / 16 / group_o][i][group_o][16 of o] */
    WINOGRAD_BLOCKED, /* [o / 16 / group_o][a][b][i / 16 / group_i][group_o][group_i][16 of i][16 of o] */
};

struct winograd {
    enum winograd_order order;
    int alpha; /* 4: tiles of 2 x 2; 6: tiles of 4 x 4 */
    int64_t o, i, group_o, group_i;
};

/* f->taps is 9. Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), G g G'. With alpha 6 the points are
 * 0, +-5/8, +-3/2 and infinity. */
void filter_winograd(const struct filter *f, const struct winograd *w, float *to);
