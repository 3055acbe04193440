/* Streams, which are used again, and their headers. */
#include "proto/h2_parts.h"

#include "base/limits.h"
#include "base/mem.h"

#include <string.h>

#define SPARE_MAX 256

/* ---- fields ---- */

struct field_size {
    uint32_t name, value;
};

static void fields_clear(struct h2_fields *f)
{
    buf_clear(&f->bytes);
    f->count = 0;
}

void h2_fields_add(struct h2_fields *f, struct str name, struct str value)
{
    struct field_size size = { (uint32_t)name.n, (uint32_t)value.n };
    uint8_t *to = buf_reserve(&f->bytes, sizeof(size) + name.n + value.n + 2);
    if (to == NULL)
        return;
    memcpy(to, &size, sizeof(size));
    to += sizeof(size);
    memcpy(to, name.p, name.n);
    to[name.n] = '\0';
    to += name.n + 1;
    if (value.n > 0)
        memcpy(to, value.p, value.n);
    to[value.n] = '\0';
    f->bytes.len += sizeof(size) + name.n + value.n + 2;
    f->count++;
}

bool h2_field_next(const struct h2_fields *f, size_t *at, struct http_header *out)
{
    struct field_size size;
    if (*at >= f->bytes.len)
        return false;
    const char *p = (const char *)f->bytes.data + *at;
    memcpy(&size, p, sizeof(size));
    out->name = (struct str){ p + sizeof(size), size.name };
    out->value = (struct str){ p + sizeof(size) + size.name + 1, size.value };
    *at += sizeof(size) + size.name + size.value + 2;
    return true;
}

struct str h2_field(const struct h2_fields *f, const char *name)
{
    struct http_header h;
    size_t n = strlen(name);
    for (size_t at = 0; h2_field_next(f, &at, &h);)
        if (h.name.n == n && memcmp(h.name.p, name, n) == 0)
            return h.value;
    return (struct str){ NULL, 0 };
}

static void take_pseudo(struct http_head *out, const struct http_header *f)
{
    int64_t code;
    if (str_is(f->name, ":method"))
        out->method = f->value;
    else if (str_is(f->name, ":path"))
        out->target = f->value;
    else if (str_is(f->name, ":status") && str_to_i64(f->value, &code))
        out->code = (int)code;
}

void h2_http_head(const struct h2_stream *s, struct http_head *out)
{
    struct http_header f;
    memset(out, 0, offsetof(struct http_head, header));
    out->header_count = 0;
    out->name_lengths = 0;
    out->minor = 1;
    out->keep_alive = true;
    out->chunked = out->expect_continue = out->has_length = false;
    out->content_length = 0;
    for (size_t at = 0; h2_field_next(&s->head, &at, &f);) {
        if (f.name.p[0] == ':')
            take_pseudo(out, &f);
        else if (out->header_count < LIMIT_HTTP_HEADERS)
            http_header_add(out, f);
    }
    out->query = out->target;
    str_cut(&out->query, '?', &out->path);
}

/* ---- streams ---- */

void h2_pool_init(struct h2_pool *p)
{
    list_init(&p->spare);
    p->count = 0;
}

static void destroy_stream(struct h2_stream *s)
{
    buf_deinit(&s->head.bytes);
    buf_deinit(&s->tail.bytes);
    buf_deinit(&s->body);
    buf_deinit(&s->out);
    buf_deinit(&s->out_tail.bytes);
    mem_free(s);
}

void h2_pool_deinit(struct h2_pool *p)
{
    while (!list_empty(&p->spare)) {
        struct h2_stream *s = LIST_ENTRY(p->spare.next, struct h2_stream, node);
        list_remove(&s->node);
        destroy_stream(s);
    }
    p->count = 0;
}

static struct h2_stream *make_stream(void)
{
    struct h2_stream *s = mem_try(sizeof(*s));
    if (s == NULL)
        return NULL;
    *s = (struct h2_stream){ 0 };
    buf_init(&s->head.bytes, LIMIT_HTTP_HEADER_BYTES * 2);
    buf_init(&s->tail.bytes, LIMIT_HTTP_HEADER_BYTES * 2);
    buf_init(&s->out, SIZE_MAX / 2);
    buf_init(&s->out_tail.bytes, LIMIT_HTTP_HEADER_BYTES * 2);
    return s;
}

struct h2_stream *h2_stream_new(struct h2 *h, int32_t id)
{
    struct h2_pool *pool = h->opt.pool;
    struct h2_stream *s;
    if (list_empty(&pool->spare)) {
        s = make_stream();
    } else {
        s = LIST_ENTRY(pool->spare.next, struct h2_stream, node);
        list_remove(&s->node);
        pool->count--;
    }
    if (s == NULL)
        return NULL;
    s->body.max = h->opt.max_body_bytes;
    s->h2 = h;
    s->id = id;
    list_push_back(&h->streams, &s->node);
    h->open++;
    h->incomplete++;
    return s;
}

static void forget(struct buf *b)
{
    buf_clear(b);
    buf_shrink(b, KEEP_BYTES);
}

void h2_stream_free(struct h2_stream *s)
{
    struct h2_pool *pool = s->h2->opt.pool;
    list_remove(&s->node);
    if (pool->count == SPARE_MAX) {
        destroy_stream(s);
        return;
    }
    struct h2_stream clean = {
        .head = s->head, .tail = s->tail, .body = s->body, .out = s->out, .out_tail = s->out_tail
    };
    *s = clean;
    fields_clear(&s->head);
    fields_clear(&s->tail);
    fields_clear(&s->out_tail);
    forget(&s->head.bytes);
    forget(&s->tail.bytes);
    forget(&s->body);
    forget(&s->out);
    forget(&s->out_tail.bytes);
    list_init(&s->node);
    list_push_front(&pool->spare, &s->node);
    pool->count++;
}

struct h2_stream *h2_stream_of(struct h2 *h, int32_t id)
{
    return nghttp2_session_get_stream_user_data(h->session, id);
}

static bool has_unsent(const struct h2_stream *s)
{
    return s->answered && (s->out_at < s->out.len || (s->out_whole && !s->deferred));
}

size_t h2_out_bytes(const struct h2_stream *s)
{
    return s->out.len - s->out_at;
}

void h2_count_out(struct h2_stream *s, int sign)
{
    if (has_unsent(s))
        s->h2->unsent += sign;
}
