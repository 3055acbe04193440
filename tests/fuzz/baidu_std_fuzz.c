/* A baidu_std frame. Every view lies inside the bytes; fewer bytes never decide otherwise than more
 * did; what was read can be written and is read the same. */
#include "proto/baidu_std.h"

#include <stdint.h>

#define MAX_BODY ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool fact)
{
    if (!fact)
        __builtin_trap();
}

static void inside(struct str part, struct str whole)
{
    must(part.n == 0 || (part.p >= whole.p && part.n <= (size_t)(whole.p + whole.n - part.p)));
}

static void views_lie_inside(const struct baidu_frame *f, struct str bytes)
{
    inside(f->meta.service, bytes);
    inside(f->meta.method, bytes);
    inside(f->meta.error_text, bytes);
    inside(f->payload, bytes);
    inside(f->attachment, bytes);
}

static void round_trip(const struct baidu_frame *f)
{
    struct baidu_frame again;
    struct buf b;
    buf_init(&b, 4 * MAX_BODY);
    baidu_std_put_head(&b, &f->meta, f->payload.n);
    buf_append(&b, f->payload.p, f->payload.n);
    buf_append(&b, f->attachment.p, f->attachment.n);
    must(buf_check(&b) == OK);
    /* The meta may have been at its bound, with numbers that are written longer than they came. */
    struct parse got = baidu_std_parse(buf_view(&b), 4 * MAX_BODY, &again);
    must(got.state == PARSE_DONE || (got.state == PARSE_BAD && got.why == TOO_LARGE));
    if (got.state == PARSE_DONE) {
        must(got.used == b.len);
        must(again.meta.is_request == f->meta.is_request);
        must(again.meta.is_response == f->meta.is_response);
        must(str_eq(again.meta.error_text, f->meta.error_text) || !f->meta.is_response);
        must(again.meta.correlation_id == f->meta.correlation_id);
        must(again.meta.compress_type == f->meta.compress_type);
        must(str_eq(again.payload, f->payload) && str_eq(again.attachment, f->attachment));
    }
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = { (const char *)data, size };
    struct baidu_frame f, part;
    struct parse got = baidu_std_parse(bytes, MAX_BODY, &f);
    for (size_t n = 0; n < size && n < 64; n++) {
        struct parse less = baidu_std_parse((struct str){ bytes.p, n }, MAX_BODY, &part);
        must(less.state == PARSE_MORE || less.state == got.state);
    }
    if (got.state == PARSE_DONE) {
        must(got.used <= size && got.used == baidu_std_need(bytes));
        views_lie_inside(&f, bytes);
        round_trip(&f);
    }
    return 0;
}
