/* The first byte chooses the verb and how many inputs the model has, the rest is a body of TensorFlow Serving's REST
 * interface: what is taken is sound, and can be answered with itself. */
#include "base/err.h"
#include "proto/tfs.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// clang-format off
static const struct call_port port[] = {
    { { "x_var", 5 }, { "x", 1 }, DTYPE_F32,   false, { 2, { -1, 2 } } },
    { { "w_var", 5 }, { "w", 1 }, DTYPE_I64,   true,  { 2, { -1, 1 } } },
    { { "t_var", 5 }, { "t", 1 }, DTYPE_BYTES, false, { 1, { -1 } } },
    { { "u_var", 5 }, { "u", 1 }, DTYPE_U8,    false, { 3, { -1, 2, -1 } } },
    { { "e_var", 5 }, { "e", 1 }, DTYPE_F16,   true,  { 2, { -1, 2 } } },
};
// clang-format on

static void must(bool good)
{
    if (!good)
        __builtin_trap();
}

static void check_sound(const struct infer_request *r)
{
    for (int i = 0; i < r->feed_count; i++) {
        const struct tensor *t = &r->feed[i].tensor;
        volatile uint8_t sum = 0;
        int64_t bytes = tensor_bytes(t);
        must(bytes >= 0);
        for (int64_t k = 0; k < bytes; k++)
            sum = (uint8_t)(sum + ((const uint8_t *)t->data)[k]);
        if (t->lod.levels > 0)
            must(lod_check(&t->lod, t->shape.dim[0], "feed", NULL) == OK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct err e = { "" };
    struct buf b;
    struct infer_request r = { 0 };
    if (size < 1)
        return 0;
    struct tfs_form form = { .kind = (enum tfs_kind)(data[0] % 3) };
    int inputs = 1 + data[0] / 3 % (int)ARRAY_LEN(port), from = data[0] >= 128 ? 2 : 0;
    inputs = inputs + from > (int)ARRAY_LEN(port) ? (int)ARRAY_LEN(port) - from : inputs;
    struct call_ports ports = { port + from, inputs };
    struct str text = { (const char *)data + 1, size - 1 };
    arena_init(&a, 1 << 26);
    buf_init(&b, 1 << 24);
    status s = tfs_request_from_json(text, &ports, &a, &form, &r, &e);
    must(s == OK || e.text[0] != '\0');
    if (s == OK) {
        struct infer_output o = { .tensor = r.feed, .tensor_count = r.feed_count };
        struct infer_reply reply = { .output = &o, .output_count = 1 };
        check_sound(&r);
        s = tfs_reply_to_json(&form, &reply, &b, &e);
    }
    buf_deinit(&b);
    arena_deinit(&a);
    return 0;
}
