/* The bytes are a general_model Request and a Response: what decodes must be the same when it is
 * encoded and decoded again, and its JSON must say the same again too. */
#include "base/limits.h"
#include "codec/pb.h"
#include "proto/general_model.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        __builtin_trap();
}

/* Whether floats of the request are all numbers: a NaN's bits do not live through JSON. */
static bool has_no_nan(const struct named_tensor *list, int count)
{
    for (int i = 0; i < count; i++) {
        const struct tensor *t = &list[i].tensor;
        bool wide = t->dtype == DTYPE_F64 || t->dtype == DTYPE_C128;
        bool narrow = t->dtype == DTYPE_F32 || t->dtype == DTYPE_C64;
        for (int64_t k = 0; wide && k < tensor_bytes(t) / 8; k++)
            if (((const double *)t->data)[k] != ((const double *)t->data)[k])
                return false;
        for (int64_t k = 0; narrow && k < tensor_bytes(t) / 4; k++)
            if (((const float *)t->data)[k] != ((const float *)t->data)[k])
                return false;
    }
    return true;
}

static void encode_again(const struct infer_request *r, struct arena *a)
{
    struct buf once, twice;
    struct infer_request back;
    buf_init(&once, 1 << 26);
    buf_init(&twice, 1 << 26);
    general_request_to_pb(r, &once);
    must(buf_check(&once) == OK);
    must(general_request_from_pb(buf_view(&once), a, &back, NULL) == OK);
    general_request_to_pb(&back, &twice);
    must(str_eq(buf_view(&once), buf_view(&twice)));
    if (has_no_nan(r->feed, r->feed_count)) {
        buf_clear(&twice);
        general_request_to_json(r, &twice);
        must(general_request_from_json(buf_view(&twice), a, &back, NULL) == OK);
        struct buf last;
        buf_init(&last, 1 << 26);
        general_request_to_pb(&back, &last);
        must(str_eq(buf_view(&once), buf_view(&last)));
        buf_deinit(&last);
    }
    buf_deinit(&once);
    buf_deinit(&twice);
}

static void encode_reply_again(const struct infer_reply *r, struct arena *a)
{
    struct buf once, twice;
    struct infer_reply back;
    buf_init(&once, 1 << 26);
    buf_init(&twice, 1 << 26);
    general_reply_to_pb(r, &once);
    must(general_reply_from_pb(buf_view(&once), a, &back, NULL) == OK);
    general_reply_to_pb(&back, &twice);
    must(str_eq(buf_view(&once), buf_view(&twice)));
    buf_clear(&twice);
    general_reply_to_json(r, &twice);
    must(general_reply_from_json(buf_view(&twice), a, &back, NULL) == OK);
    buf_deinit(&once);
    buf_deinit(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct infer_request request;
    struct infer_reply reply;
    struct err e = { "" };
    struct str bytes = { (const char *)data, size };
    arena_init(&a, 1 << 26);
    for (int depth = 0; depth < 3; depth++)
        must(pb_find_large(bytes, 16, depth) <= size);
    if (general_request_from_pb(bytes, &a, &request, &e) == OK)
        encode_again(&request, &a);
    else
        must(e.text[0] != '\0');
    e.text[0] = '\0';
    if (general_reply_from_pb(bytes, &a, &reply, &e) == OK)
        encode_reply_again(&reply, &a);
    else
        must(e.text[0] != '\0');
    arena_deinit(&a);
    return 0;
}
