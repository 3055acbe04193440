/* Tensors as bytes: what is read is written again, and must be read as the same. */
#include "base/err.h"
#include "flow/pack.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct named_tensor t, again;
    struct str s = { (const char *)data, size };
    struct buf b;
    arena_init(&a, (size_t)256 << 20);
    buf_init(&b, (size_t)256 << 20);
    if (unpack_tensor(&s, &a, &t)) {
        pack_tensor(&b, &t);
        struct str view = buf_view(&b);
        if (buf_check(&b) == OK && (!unpack_tensor(&view, &a, &again) || view.n != 0 ||
                                    !shape_eq(&t.tensor.shape, &again.tensor.shape)))
            abort();
    }
    buf_deinit(&b);
    arena_deinit(&a);
    return 0;
}
