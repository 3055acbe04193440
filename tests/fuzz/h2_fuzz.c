/* A server's session is fed bytes from anybody, in pieces of a length that the first byte tells; the second says whether its
 * requests stream. It answers every request with its body, and whatever comes, its books are in order at the end. */
#include "proto/h2.h"

#include <stdint.h>

#define OUT_FULL ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool fact)
{
    if (!fact)
        __builtin_trap();
}

struct peer {
    bool stream;
    int open;
};

static void on_head(void *arg, struct h2_stream *s)
{
    struct peer *p = arg;
    struct http_head head;
    h2_http_head(s, &head);
    must(head.path.n <= head.target.n);
    s->streaming = p->stream;
    if (s->user == NULL)
        p->open++;
    s->user = p;
}

static void answer(struct h2_stream *s)
{
    const struct http_header head[] = { { STR(":status"), STR("200") } };
    const struct http_header tail[] = { { STR("grpc-status"), STR("0") } };
    h2_answer(s, head, 1, false);
    h2_write(s, h2_body(s));
    if (s->ended)
        h2_finish(s, tail, 1);
}

static void on_data(void *arg, struct h2_stream *s)
{
    must(s->streaming && s->body.len > 0);
    answer(s);
    h2_take(s, s->body.len);
}

static void on_end(void *arg, struct h2_stream *s)
{
    must(s->ended);
    answer(s);
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t error)
{
    struct peer *p = arg;
    if (s->user != NULL)
        p->open--;
}

/* Room beyond what is held, and some free in front. */
static size_t expect(void *arg, struct h2_stream *s, struct str first, size_t *pad)
{
    *pad = (uint8_t)first.p[0] % 80;
    return first.n * 100000;
}

static const struct h2_events events = { on_head, on_data, on_end, on_closed, expect };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t piece = (size_t)data[0] * 4 + 1;
    struct peer peer = { data[1] & 1, 0 };
    struct h2_pool pool;
    struct buf out;
    struct h2 *h2;
    h2_pool_init(&pool);
    buf_init(&out, OUT_FULL * 2);
    struct h2_options opt = { &events, &peer, &pool, false, 0, 4096, 16384, 16 };
    if (h2_new(&opt, &h2) != OK)
        return 0;
    status s = OK;
    for (size_t at = 2; at < size && s == OK; at += piece) {
        size_t n = size - at < piece ? size - at : piece;
        s = h2_feed(h2, (struct str){ (const char *)data + at, n });
        buf_clear(&out);
        if (h2_pump(h2, &out, OUT_FULL) != OK)
            break;
    }
    must(h2_open_streams(h2) >= h2_incomplete(h2) && h2_incomplete(h2) >= 0);
    must(h2_open_streams(h2) >= h2_unsent(h2) && h2_unsent(h2) >= 0);
    h2_free(h2);
    must(peer.open == 0);
    h2_pool_deinit(&pool);
    buf_deinit(&out);
    return 0;
}
