/* ModelInferRequest from anybody, against a model with inputs of many types; what is taken is answered, and the answer and the
 * request are read back. The first byte says whether gRPC's head stands in front. */
#include "proto/grpc.h"
#include "proto/oip_pb.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool fact)
{
    if (!fact)
        __builtin_trap();
}

// clang-format off
static const struct call_port in[] = {
    { { "x", 1 }, { "x", 1 }, DTYPE_F32,   false, { 2, { -1, 3 } } },
    { { "w", 1 }, { "w", 1 }, DTYPE_I64,   true,  { 2, { -1, 1 } } },
    { { "h", 1 }, { "h", 1 }, DTYPE_F16,   false, { 1, { -1 } } },
    { { "i", 1 }, { "i", 1 }, DTYPE_I8,    false, { 1, { -1 } } },
    { { "s", 1 }, { "s", 1 }, DTYPE_U8,    false, { 1, { -1 } } },
    { { "b", 1 }, { "b", 1 }, DTYPE_BOOL,  false, { 1, { -1 } } },
};
static const struct oip_model models[] = {
    { .name = { "m", 1 }, .version = { "1", 1 }, .in = { in, 1 },     .out = { in, 1 } },
    { .name = { "m", 1 }, .version = { "1", 1 }, .in = { in + 1, 1 }, .out = { in, 1 } },
    { .name = { "m", 1 }, .version = { "1", 1 }, .in = { in + 2, 3 }, .out = { in, 1 } },
    { .name = { "m", 1 }, .version = { "1", 1 }, .in = { in, 6 },     .out = { in, 6 } },
};
// clang-format on

/* The feeds come back as outputs. */
static void answer(const struct oip_request *q, const struct oip_model *m,
                   const struct infer_request *r, struct arena *a, struct err *e)
{
    struct infer_output o = { .tensor = r->feed, .tensor_count = r->feed_count };
    struct infer_reply reply = { .output = &o, .output_count = 1 }, again;
    struct oip_reply out = { .id = q->id, .model = m };
    struct oip_output *list;
    struct buf b;
    if (oip_outputs(q, m, &reply, a, &list, &out.output_count, e) != OK)
        return;
    out.output = list;
    buf_init(&b, SIZE_MAX / 2);
    oip_reply_to_pb(&out, &b);
    must(buf_check(&b) == OK && b.len == oip_reply_pb_size(&out));
    (void)(oip_reply_from_pb(buf_view(&b), a, &again, e) == OK);
    buf_clear(&b);
    oip_request_to_pb(r, m->name, m->version, &b);
    struct str name, version;
    oip_pb_names(buf_view(&b), &name, &version);
    must(str_eq(name, m->name) && str_eq(version, m->version));
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = { (const char *)data + 1, size - 1 };
    struct oip_request q = { 0 };
    struct infer_request r = { 0 };
    struct err e = { "" };
    struct arena a;
    bool packed;
    if (size < 1)
        return 0;
    const struct oip_model *m = &models[data[0] & 3];
    if ((data[0] & 4) != 0 && grpc_parse(bytes, 1 << 16, &bytes, &packed).state != PARSE_DONE)
        return 0;
    arena_init(&a, (size_t)64 << 20);
    struct infer_reply reply;
    (void)(oip_reply_from_pb(bytes, &a, &reply, &e) == OK);
    if (oip_request_from_pb(bytes, m, &a, &q, &e) == OK &&
        oip_bind(&q, m, NULL, NULL, &a, &r, &e) == OK)
        answer(&q, m, &r, &a, &e);
    else
        must(e.text[0] != '\0');
    arena_deinit(&a);
    return 0;
}
