/* The text is the JSON of a general_model Request and Response: what decodes must be the same when
 * it is written and read again, and when it goes through protobuf. */
#include "proto/general_model.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        __builtin_trap();
}

static void write_request_again(const struct infer_request *r, struct arena *a)
{
    struct buf once, twice, pb;
    struct infer_request back;
    buf_init(&once, 1 << 26);
    buf_init(&twice, 1 << 26);
    buf_init(&pb, 1 << 26);
    general_request_to_json(r, &once);
    must(buf_check(&once) == OK);
    must(general_request_from_json(buf_view(&once), a, &back, NULL) == OK);
    general_request_to_pb(&back, &pb);
    must(general_request_from_pb(buf_view(&pb), a, &back, NULL) == OK);
    general_request_to_json(&back, &twice);
    must(str_eq(buf_view(&once), buf_view(&twice)));
    buf_deinit(&once);
    buf_deinit(&twice);
    buf_deinit(&pb);
}

static void write_reply_again(const struct infer_reply *r, struct arena *a)
{
    struct buf once, twice, pb;
    struct infer_reply back;
    buf_init(&once, 1 << 26);
    buf_init(&twice, 1 << 26);
    buf_init(&pb, 1 << 26);
    general_reply_to_json(r, &once);
    must(buf_check(&once) == OK);
    must(general_reply_from_json(buf_view(&once), a, &back, NULL) == OK);
    general_reply_to_pb(&back, &pb);
    must(general_reply_from_pb(buf_view(&pb), a, &back, NULL) == OK);
    general_reply_to_json(&back, &twice);
    must(str_eq(buf_view(&once), buf_view(&twice)));
    buf_deinit(&once);
    buf_deinit(&twice);
    buf_deinit(&pb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct infer_request request;
    struct infer_reply reply;
    struct err e = { "" };
    struct str text = { (const char *)data, size };
    arena_init(&a, 1 << 26);
    if (general_request_from_json(text, &a, &request, &e) == OK)
        write_request_again(&request, &a);
    else
        must(e.text[0] != '\0');
    e.text[0] = '\0';
    if (general_reply_from_json(text, &a, &reply, &e) == OK)
        write_reply_again(&reply, &a);
    else
        must(e.text[0] != '\0');
    arena_deinit(&a);
    return 0;
}
