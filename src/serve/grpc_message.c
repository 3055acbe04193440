#include "serve/grpc_message.h"

void message_text(struct buf *b, uint32_t field, struct str s)
{
    if (s.n > 0)
        pb_put_bytes(b, field, s);
}

void message_number(struct buf *b, uint32_t field, uint64_t v)
{
    if (v != 0)
        pb_put_u64(b, field, v);
}

struct buf *message_begin(struct nested *n)
{
    buf_init(&n->buf, MESSAGE_BYTES);
    return &n->buf;
}

void message_end(struct buf *b, uint32_t field, struct nested *n)
{
    pb_put_bytes(b, field, buf_view(&n->buf));
    buf_deinit(&n->buf);
}

void message_reply(struct grpc_rpc *g, struct buf *b)
{
    if (buf_check(b) == OK)
        grpc_reply(g, buf_view(b));
    else
        grpc_fail(g, buf_check(b), "the answer is too large");
    buf_deinit(b);
}

void message_damaged(struct grpc_rpc *g)
{
    grpc_fail(g, MALFORMED, "the protobuf message is damaged or cut short");
}

bool message_two(struct grpc_rpc *g, struct str message, struct str *one, struct str *two)
{
    struct pb r;
    *one = *two = STR("");
    for (pb_init(&r, message); pb_next(&r);) {
        if (r.field == 1 && r.wire == PB_BYTES)
            *one = pb_bytes(&r);
        else if (r.field == 2 && r.wire == PB_BYTES)
            *two = pb_bytes(&r);
        else
            pb_skip(&r);
    }
    if (pb_ok(&r) && str_is_utf8(*one) && str_is_utf8(*two))
        return true;
    message_damaged(g);
    return false;
}
