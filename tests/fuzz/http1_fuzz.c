/* HTTP/1 in all its parts. The first byte chooses: a request head, a response head, or a chunked
 * body; the second, how the bytes are cut. However they are cut, the outcome is that of the whole.
 */
#include "proto/http1.h"

#include <stdint.h>

#define BODY_MAX ((size_t)1 << 16)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool fact)
{
    if (!fact)
        __builtin_trap();
}

typedef struct parse (*head_parser)(struct str bytes, size_t seen, struct http_head *out);

static void inside(struct str part, struct str whole)
{
    must(part.n == 0 || (part.p >= whole.p && part.n <= (size_t)(whole.p + whole.n - part.p)));
}

static void no_line_ends(struct str s)
{
    must(s.n == 0 || (memchr(s.p, '\r', s.n) == NULL && memchr(s.p, '\n', s.n) == NULL));
}

static void head_is_sound(const struct http_head *h, struct str head)
{
    inside(h->method, head);
    inside(h->target, head);
    inside(h->query, head);
    no_line_ends(h->target);
    must(!(h->chunked && h->has_length));
    must(h->header_count <= LIMIT_HTTP_HEADERS);
    for (int i = 0; i < h->header_count; i++) {
        inside(h->header[i].name, head);
        inside(h->header[i].value, head);
        no_line_ends(h->header[i].value);
        http_header_lists(h->header[i].value, "gzip");
    }
}

/* Bytes may show as bad before their head is whole; nothing else may differ. */
static void head_in_pieces(head_parser parser, struct str bytes, size_t piece, struct parse whole)
{
    static struct http_head h;
    struct parse got = parse_more();
    size_t seen = 0;
    for (size_t n = 0; got.state == PARSE_MORE && seen < bytes.n; seen = n) {
        n = bytes.n - seen < piece ? bytes.n : seen + piece;
        got = parser((struct str){ bytes.p, n }, seen, &h);
    }
    must(got.state == whole.state);
    must(got.state != PARSE_DONE || got.used == whole.used);
    must(got.state != PARSE_BAD || got.why == whole.why);
}

static void fuzz_head(head_parser parser, struct str bytes, size_t piece)
{
    static struct http_head h;
    struct parse got = parser(bytes, 0, &h);
    if (got.state == PARSE_DONE) {
        must(got.used <= bytes.n);
        head_is_sound(&h, (struct str){ bytes.p, got.used });
    }
    head_in_pieces(parser, bytes, piece, got);
}

static struct parse unwrap(struct str bytes, size_t piece, struct buf *body)
{
    struct http_chunked c = { 0 };
    struct parse got = parse_more();
    size_t taken = 0;
    while (got.state == PARSE_MORE && taken < bytes.n) {
        size_t n = bytes.n - taken < piece ? bytes.n - taken : piece;
        got = http1_chunked(&c, (struct str){ bytes.p + taken, n }, body);
        must(got.state == PARSE_BAD || got.used <= n);
        must(got.state != PARSE_MORE || got.used == n);
        taken += got.used;
    }
    got.used = taken;
    return got;
}

static void fuzz_chunks(struct str bytes, size_t piece)
{
    struct buf whole, parts;
    buf_init(&whole, BODY_MAX);
    buf_init(&parts, BODY_MAX);
    struct parse a = unwrap(bytes, bytes.n, &whole), b = unwrap(bytes, piece, &parts);
    must(a.state == b.state);
    must(a.state == PARSE_BAD ? a.why == b.why : a.used == b.used);
    must(str_eq(buf_view(&whole), buf_view(&parts)));
    buf_deinit(&whole);
    buf_deinit(&parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct str bytes = { (const char *)data + 2, size - 2 };
    size_t piece = (size_t)data[1] + 1;
    switch (data[0] % 3) {
    case 0: fuzz_head(http1_request, bytes, piece); break;
    case 1: fuzz_head(http1_response, bytes, piece); break;
    case 2: fuzz_chunks(bytes, piece); break;
    }
    return 0;
}
