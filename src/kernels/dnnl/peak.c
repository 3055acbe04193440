#include "base/clock.h"
#include "base/mem.h"
#include "kernels/dnnl/onednn.h"

#define SIDE 192 /* three matrices of 147 KB */
#define RUNS 200

double kernel_peak_flops(int threads)
{
    float *x = mem_zalloc(3 * SIDE * SIDE * sizeof(*x));
    struct sgemm g = { .m = SIDE,
                       .n = SIDE,
                       .k = SIDE,
                       .alpha = 1,
                       .a = x,
                       .b = x + SIDE * SIDE,
                       .c = x + 2 * SIDE * SIDE,
                       .lda = SIDE,
                       .ldb = SIDE,
                       .ldc = SIDE,
                       .threads = threads };
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < RUNS; i++) {
        uint64_t from = clock_ns();
        if (onednn_sgemm(&g) != OK)
            break;
        uint64_t took = clock_ns() - from;
        least = took < least ? took : least;
    }
    mem_free(x);
    return 2.0 * SIDE * SIDE * SIDE / (double)least * 1e9;
}
