/* The first two bytes say how long the JSON is, the rest is a body of the Open Inference Protocol over HTTP: what binds to
 * a model with one input of each kind is answered with those very tensors. */
#include "base/err.h"
#include "proto/oip.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// clang-format off
static const struct call_port port[] = {
    { { "x_var", 5 }, { "x", 1 }, DTYPE_F32,   false, { 2, { -1, 3 } } },
    { { "w_var", 5 }, { "w", 1 }, DTYPE_I64,   true,  { 2, { -1, 1 } } },
    { { "t_var", 5 }, { "t", 1 }, DTYPE_BYTES, false, { 1, { -1 } } },
    { { "u_var", 5 }, { "u", 1 }, DTYPE_U8,    false, { 3, { -1, 2, -1 } } },
    { { "b_var", 5 }, { "b", 1 }, DTYPE_BF16,  false, { 1, { -1 } } },
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
        must(bytes >= 0 && (uintptr_t)t->data % dtype_size(t->dtype) == 0);
        for (int64_t k = 0; k < bytes; k++)
            sum = (uint8_t)(sum + ((const uint8_t *)t->data)[k]);
    }
}

/* The feeds themselves are the reply's tensors. */
static void answer(const struct oip_request *r, const struct oip_model *m,
                   const struct infer_request *feeds, struct arena *a)
{
    struct infer_output from = { .tensor = feeds->feed, .tensor_count = feeds->feed_count };
    struct infer_reply reply = { .output = &from, .output_count = 1 };
    struct oip_request all = *r;
    struct oip_output *out;
    struct buf b;
    size_t json_bytes;
    bool binary;
    int count;
    all.output_count = 0;
    buf_init(&b, 1 << 24);
    if (oip_outputs(&all, m, &reply, a, &out, &count, NULL) == OK) {
        oip_reply_to_json(&(struct oip_reply){ r->id, m, r->param, r->param_count, out, count }, &b,
                          &json_bytes, &binary);
        must(buf_check(&b) != OK || json_bytes <= b.len);
    }
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct err e = { "" };
    struct oip_request r;
    struct infer_request feeds = { 0 };
    if (size < 3)
        return 0;
    size_t split = (size_t)data[0] << 8 | data[1], body = size - 3;
    int inputs = 1 + data[2] % (int)ARRAY_LEN(port);
    struct oip_model m = { STR("m"), STR("1"), { port, inputs }, { port, inputs }, NULL, 0 };
    split = split < body ? split : body;
    arena_init(&a, 1 << 26);
    struct str text = { (const char *)data + 3, split }, tail = { text.p + split, body - split };
    status s = oip_request_from_json(text, tail, &m, &a, &r, &e);
    if (s == OK)
        s = oip_bind(&r, &m, NULL, NULL, &a, &feeds, &e);
    must(s == OK || e.text[0] != '\0');
    if (s == OK) {
        check_sound(&feeds);
        answer(&r, &m, &feeds, &a);
    }
    arena_deinit(&a);
    return 0;
}
