/* The text is a prediction's JSON for a model with one input of each kind: what decodes must be the same when it is
 * written and read again, also as a reply. */
#include "base/err.h"
#include "proto/predict.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// clang-format off
static const struct call_port port[] = {
    { { "x_var", 5 }, { "x", 1 }, DTYPE_F32,   false, { 2, { -1, 3 } } },
    { { "w_var", 5 }, { "w", 1 }, DTYPE_I64,   true,  { 2, { -1, 1 } } },
    { { "e_var", 5 }, { "e", 1 }, DTYPE_F16,   true,  { 2, { -1, 2 } } },
    { { "i_var", 5 }, { "i", 1 }, DTYPE_I32,   false, { 1, { -1 } } },
    { { "t_var", 5 }, { "t", 1 }, DTYPE_BYTES, false, { 1, { -1 } } },
    { { "m_var", 5 }, { "m", 1 }, DTYPE_U8,    false, { 3, { -1, 2, -1 } } },
    { { "s_var", 5 }, { "s", 1 }, DTYPE_F64,   false, { 0 } },
    { { "b_var", 5 }, { "b", 1 }, DTYPE_BOOL,  false, { 2, { -1, 2 } } },
};
// clang-format on
static const struct call_ports ports = { port, ARRAY_LEN(port) };

static void must(bool good)
{
    if (!good)
        __builtin_trap();
}

static void check_tensors(const struct infer_request *r)
{
    for (int i = 0; i < r->feed_count; i++) {
        const struct tensor *t = &r->feed[i].tensor;
        must(tensor_bytes(t) >= 0);
        if (t->lod.levels > 0)
            must(lod_check(&t->lod, t->shape.dim[0], "feed", NULL) == OK);
    }
}

static void write_again(const struct infer_request *r, struct arena *a)
{
    struct buf once, twice;
    struct infer_request back;
    struct infer_output output = { .tensor = r->feed, .tensor_count = r->feed_count };
    struct infer_reply reply = { .output = &output, .output_count = 1 };
    buf_init(&once, 1 << 26);
    buf_init(&twice, 1 << 26);
    predict_request_to_json(r, &once);
    must(buf_check(&once) == OK);
    must(predict_request_from_json(buf_view(&once), &ports, a, &back, NULL) == OK);
    check_tensors(&back);
    predict_request_to_json(&back, &twice);
    must(str_eq(buf_view(&once), buf_view(&twice)));
    buf_clear(&twice);
    predict_reply_to_json(&reply, &twice);
    must(buf_check(&twice) == OK);
    buf_deinit(&once);
    buf_deinit(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct infer_request r;
    struct err e = { "" };
    arena_init(&a, 1 << 26);
    if (predict_request_from_json((struct str){ (const char *)data, size }, &ports, &a, &r, &e) ==
        OK) {
        check_tensors(&r);
        write_again(&r, &a);
    } else {
        must(e.text[0] != '\0');
    }
    arena_deinit(&a);
    return 0;
}
