/* What goes: answers wait in their streams until nghttp2 asks for them. */
#include "proto/h2_parts.h"

#include "base/limits.h"

#include <string.h>

#define FIELDS_MAX (LIMIT_HTTP_HEADERS + 8) /* those of an answer, and pseudo fields */

static int count_fields(const struct h2_fields *f, nghttp2_nv *nv)
{
    struct http_header field;
    int n = 0;
    for (size_t at = 0; n < FIELDS_MAX && h2_field_next(f, &at, &field);)
        nv[n++] =
            (nghttp2_nv){ (uint8_t *)(uintptr_t)field.name.p, (uint8_t *)(uintptr_t)field.value.p,
                          field.name.n, field.value.n, NGHTTP2_NV_FLAG_NONE };
    return n;
}

static void send_tail(struct h2_stream *s)
{
    nghttp2_nv nv[FIELDS_MAX];
    int n = count_fields(&s->out_tail, nv);
    if (nghttp2_submit_trailer(s->h2->session, s->id, nv, (size_t)n) != 0)
        h2_reset(s, NGHTTP2_INTERNAL_ERROR);
}

/* Tells nghttp2 how much of what waits goes into the next frame; on_send_data then puts it there. */
static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t room,
                       uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct h2_stream *s = source->ptr;
    size_t left = h2_out_bytes(s), n = left < room ? left : room;
    if (buf_check(&s->out) != OK)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (n == 0 && !s->out_whole) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags = NGHTTP2_DATA_FLAG_NO_COPY;
    if (n < left || !s->out_whole)
        return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (s->has_tail) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        send_tail(s);
    }
    return (ssize_t)n;
}

static void note_taken(struct h2_stream *s)
{
    if (!s->streaming || s->was_taken)
        return;
    s->was_taken = true;
    s->h2->taken++;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                        size_t n, nghttp2_data_source *source, void *arg)
{
    static const uint8_t zeros[256];
    struct h2 *h = arg;
    struct h2_stream *s = source->ptr;
    size_t padding = frame->data.padlen;
    buf_append(h->pump, head, 9);
    if (padding > 0)
        buf_byte(h->pump, (uint8_t)(padding - 1));
    buf_append(h->pump, s->out.data + s->out_at, n);
    if (padding > 0)
        buf_append(h->pump, zeros, padding - 1);
    h2_count_out(s, -1);
    s->out_at += n;
    if (s->out_at == s->out.len) {
        buf_clear(&s->out);
        s->out_at = 0;
        s->deferred = s->out_whole; /* nothing is left to say */
    }
    h2_count_out(s, 1);
    note_taken(s);
    h->sent += n;
    h->idle_frames = 0;
    return buf_check(h->pump) == OK ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* nghttp2 alone would cut at 16 KiB whatever the peer takes. */
static ssize_t on_length(nghttp2_session *session, uint8_t type, int32_t id, int32_t conn_window,
                         int32_t stream_window, uint32_t peer_frame_max, void *arg)
{
    int32_t n = conn_window < stream_window ? conn_window : stream_window;
    uint32_t most = peer_frame_max < FRAME_MAX ? peer_frame_max : FRAME_MAX;
    return n < (int32_t)most ? n : (ssize_t)most;
}

status h2_pump(struct h2 *h, struct buf *out, size_t full)
{
    h->pump = out;
    while (out->len < full) {
        const uint8_t *bytes = NULL;
        ssize_t n = nghttp2_session_mem_send(h->session, &bytes);
        if (n < 0)
            h->failed = true;
        if (n <= 0)
            break;
        buf_append(out, bytes, (size_t)n);
    }
    h->pump = NULL;
    return h->failed ? INVALID : OK;
}

struct h2_stream *h2_next_taken(struct h2 *h)
{
    for (struct list *l = h->streams.next; h->taken > 0 && l != &h->streams; l = l->next) {
        struct h2_stream *s = LIST_ENTRY(l, struct h2_stream, node);
        if (!s->was_taken)
            continue;
        s->was_taken = false;
        h->taken--;
        return s;
    }
    return NULL;
}

static void to_nv(const struct http_header *field, int count, nghttp2_nv *nv)
{
    for (int i = 0; i < count; i++)
        nv[i] = (nghttp2_nv){ (uint8_t *)(uintptr_t)field[i].name.p,
                              (uint8_t *)(uintptr_t)field[i].value.p, field[i].name.n,
                              field[i].value.n, NGHTTP2_NV_FLAG_NONE };
}

void h2_answer(struct h2_stream *s, const struct http_header *field, int count, bool last)
{
    nghttp2_nv nv[FIELDS_MAX];
    nghttp2_data_provider provider = { .source.ptr = s, .read_callback = on_read };
    if (s->answered || count > FIELDS_MAX)
        return;
    to_nv(field, count, nv);
    s->answered = true;
    s->deferred = last;
    s->out_whole = last;
    if (nghttp2_submit_response(s->h2->session, s->id, nv, (size_t)count,
                                last ? NULL : &provider) != 0)
        h2_reset(s, NGHTTP2_INTERNAL_ERROR);
}

struct h2_stream *h2_request(struct h2 *h, const struct http_header *field, int count, bool last)
{
    nghttp2_nv nv[FIELDS_MAX];
    struct h2_stream *s = count <= FIELDS_MAX ? h2_stream_new(h, 0) : NULL;
    if (s == NULL)
        return NULL;
    nghttp2_data_provider provider = { .source.ptr = s, .read_callback = on_read };
    to_nv(field, count, nv);
    s->answered = true;
    s->deferred = s->out_whole = last;
    s->id = nghttp2_submit_request(h->session, NULL, nv, (size_t)count, last ? NULL : &provider, s);
    if (s->id > 0)
        return s;
    h->open--;
    h->incomplete--;
    h2_stream_free(s);
    return NULL;
}

static void more_to_send(struct h2_stream *s)
{
    if (!s->deferred)
        return;
    s->deferred = false;
    nghttp2_session_resume_data(s->h2->session, s->id);
}

void h2_write(struct h2_stream *s, struct str bytes)
{
    if (s->out_whole || bytes.n == 0)
        return;
    h2_count_out(s, -1);
    buf_append(&s->out, bytes.p, bytes.n);
    more_to_send(s);
    h2_count_out(s, 1);
}

void h2_write_buf(struct h2_stream *s, struct buf *from)
{
    if (s->out.len != 0 || from->len < KEEP_BYTES) {
        h2_write(s, buf_view(from));
        return;
    }
    if (s->out_whole)
        return;
    h2_count_out(s, -1);
    struct buf swap = s->out;
    swap.max = from->max;
    s->out = *from;
    s->out.max = SIZE_MAX / 2;
    *from = swap;
    more_to_send(s);
    h2_count_out(s, 1);
}

void h2_finish(struct h2_stream *s, const struct http_header *trailer, int count)
{
    if (s->out_whole)
        return;
    h2_count_out(s, -1);
    for (int i = 0; i < count; i++)
        h2_fields_add(&s->out_tail, trailer[i].name, trailer[i].value);
    s->has_tail = count > 0;
    s->out_whole = true;
    more_to_send(s);
    h2_count_out(s, 1);
}

void h2_reset(struct h2_stream *s, uint32_t error)
{
    nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, error);
}

void h2_send_callbacks(nghttp2_session_callbacks *c)
{
    nghttp2_session_callbacks_set_send_data_callback(c, on_send_data);
    nghttp2_session_callbacks_set_data_source_read_length_callback(c, on_length);
}
