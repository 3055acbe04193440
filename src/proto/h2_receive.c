/* What comes: nghttp2 takes frames apart and calls here. */
#include "proto/h2_parts.h"

#include "base/limits.h"
#include "base/mem.h"

#include <string.h>

#define FRAME_MAX_FROM \
    ((size_t)64 << 10) /* of a body: then larger frames are allowed, and not before */
#define UNWANTED_BYTES ((size_t)16 << 20) /* of a body that was refused: then its stream is reset */
#define IDLE_FRAMES    10000              /* control frames in a row that bring nothing forward */
#define ROOM_FROM      ((size_t)64 << 10) /* of a body: smaller ones grow */
#define PAD_MAX        64
#define EXCESS_MAX     500 /* fields of one header beyond what it may have */

struct str h2_body(const struct h2_stream *s)
{
    if (s->view.p != NULL || s->pad == 0)
        return s->view.p != NULL ? s->view : buf_view(&s->body);
    return (struct str){ (const char *)s->body.data + s->pad, s->body.len - s->pad };
}

static void drop_body(struct h2_stream *s)
{
    s->h2->held -= s->body.len;
    buf_clear(&s->body);
    buf_shrink(&s->body, KEEP_BYTES);
    s->pad = 0;
    s->view = (struct str){ NULL, 0 };
}

void h2_end_stream(struct h2_stream *s)
{
    if (s->ended)
        return;
    s->ended = true;
    if (!s->streaming)
        s->h2->incomplete--;
    s->h2->opt.events->end(s->h2->opt.arg, s);
    s->view = (struct str){ NULL, 0 };
}

/* Nothing of it is kept any more, and its owner may say so to the peer. */
static void overflow(struct h2_stream *s)
{
    if (s->too_large)
        return;
    s->too_large = true;
    drop_body(s);
    h2_end_stream(s);
}

/* All that a large body will need at once, with its elements where they are wanted. */
static void make_room(struct h2_stream *s, struct str first)
{
    size_t pad = 0, n = s->h2->opt.events->expect(s->h2->opt.arg, s, first, &pad);
    if (n < ROOM_FROM || pad >= PAD_MAX)
        return;
    s->body.max = s->h2->opt.max_body_bytes + pad;
    if (n > s->body.max - pad)
        n = s->body.max - pad;
    if (buf_reserve(&s->body, (n < LIMIT_PROMISED_BYTES ? n : LIMIT_PROMISED_BYTES) + pad) == NULL)
        return;
    s->pad = s->body.len = pad;
}

void h2_keep(struct h2_stream *s, struct str bytes)
{
    struct h2 *h = s->h2;
    size_t total;
    s->crowded = !mem_add(h->held, bytes.n, &total) || total > h->opt.max_held_bytes;
    if (s->crowded || bytes.n > s->body.max - s->body.len) {
        overflow(s);
        return;
    }
    size_t before = s->body.len;
    if (before == 0 && !s->streaming && h->opt.events->expect != NULL)
        make_room(s, bytes);
    buf_append(&s->body, bytes.p, bytes.n);
    if (buf_check(&s->body) != OK)
        overflow(s);
    else
        h->held += s->body.len - before;
}

/* What lies in the bytes being fed moves into the stream before they go. */
static void keep_viewed(struct h2 *h)
{
    struct h2_stream *s = h->viewed;
    h->viewed = NULL;
    if (s == NULL || s->view.p == NULL)
        return;
    struct str view = s->view;
    s->view = (struct str){ NULL, 0 };
    if (!s->ended)
        h2_keep(s, view);
}

/* Ids only grow: those that were stepped over are closed. nghttp2 passes over requests under them, since it does not know them
 * from streams that were. */
static void note_id(struct h2 *h, int32_t id)
{
    if (id > h->newest + 2 || (h->newest == 0 && id > 1))
        h->skipped[h->skipped_count++ % SKIPPED_MAX] =
            (struct id_run){ h->newest + (h->newest == 0 ? 1 : 2), id - 2 };
    h->newest = id;
}

static void note_ended(struct h2 *h, int32_t id)
{
    h->ended[h->ended_count++ % ENDED_MAX] = id;
}

static bool was_skipped(const struct h2 *h, int32_t id)
{
    int count = h->skipped_count < SKIPPED_MAX ? h->skipped_count : SKIPPED_MAX;
    for (int i = 0; i < count; i++)
        if (id >= h->skipped[i].from && id <= h->skipped[i].to)
            return true;
    return false;
}

static bool was_ended(const struct h2 *h, int32_t id)
{
    bool found = false;
    for (int i = 0; i < ENDED_MAX; i++)
        found |= h->ended[i] == id;
    return found;
}

static void end_session(struct h2 *h, uint32_t why)
{
    nghttp2_session_terminate_session(h->session, why);
    h->failed = true;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
    struct h2 *h = arg;
    if (hd->type != NGHTTP2_HEADERS || hd->stream_id > h->newest)
        return 0;
    if (was_skipped(h, hd->stream_id))
        end_session(h, NGHTTP2_PROTOCOL_ERROR);
    return 0;
}

/* What goes on with a stream that is over is a connection's fault (RFC 9113, 5.1). */
static void look_at_frame(struct h2 *h)
{
    const uint8_t *f = h->frame;
    int32_t id = (f[5] & 0x7f) << 24 | f[6] << 16 | f[7] << 8 | f[8];
    h->skip = (uint32_t)f[0] << 16 | (uint32_t)f[1] << 8 | f[2];
    h->frame_seen = 0;
    if (id == 0)
        return;
    if ((f[3] == NGHTTP2_DATA || f[3] == NGHTTP2_HEADERS) && was_ended(h, id))
        end_session(h, NGHTTP2_STREAM_CLOSED);
    else if (f[3] == NGHTTP2_RST_STREAM)
        note_ended(h, id);
}

/* nghttp2 passes over what comes for a stream that it does not know any more: the frames' headers are looked at beforehand. */
static void look_ahead(struct h2 *h, struct str bytes)
{
    while (bytes.n > 0 && !h->failed) {
        size_t n = h->skip > 0 ? h->skip : FRAME_HEAD - h->frame_seen;
        if (n > bytes.n)
            n = bytes.n;
        if (h->skip > 0) {
            h->skip -= (uint32_t)n;
        } else {
            memcpy(h->frame + h->frame_seen, bytes.p, n);
            h->frame_seen += n;
        }
        if (h->frame_seen == FRAME_HEAD)
            look_at_frame(h);
        bytes = (struct str){ bytes.p + n, bytes.n - n };
    }
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2 *h = arg;
    if (h->opt.client || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    note_id(h, frame->hd.stream_id);
    struct h2_stream *s = h2_stream_new(h, frame->hd.stream_id);
    if (s == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, s);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    struct h2_stream *s = h2_stream_of(arg, frame->hd.stream_id);
    if (s == NULL)
        return 0;
    if (s->too_large) /* a table's entries can be named again and again for a byte each */
        return ++s->excess < EXCESS_MAX ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
    struct h2_fields *f = frame->headers.cat == NGHTTP2_HCAT_HEADERS ? &s->tail : &s->head;
    if (f->count >= LIMIT_HTTP_HEADERS + 4 ||
        f->bytes.len + name_n + value_n > s->h2->opt.max_header_bytes)
        s->too_large = true; /* said when the header ends */
    else
        h2_fields_add(f, (struct str){ (const char *)name, name_n },
                      (struct str){ (const char *)value, value_n });
    return 0;
}

static void begin(struct h2 *h, struct h2_stream *s)
{
    if (s->too_large || buf_check(&s->head.bytes) != OK) {
        s->too_large = true;
        h2_end_stream(s);
        return;
    }
    h->opt.events->head(h->opt.arg, s);
    if (s->streaming)
        h->incomplete--;
}

static bool is_head(const struct h2 *h, const nghttp2_frame *f)
{
    return f->headers.cat == NGHTTP2_HCAT_REQUEST || f->headers.cat == NGHTTP2_HCAT_RESPONSE ||
           (h->opt.client && f->headers.cat == NGHTTP2_HCAT_PUSH_RESPONSE);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2 *h = arg;
    bool carries = frame->hd.type == NGHTTP2_HEADERS ||
                   (frame->hd.type == NGHTTP2_DATA && frame->hd.length > 0);
    h->idle_frames = carries ? 0 : h->idle_frames + 1;
    if (h->idle_frames == IDLE_FRAMES) {
        nghttp2_session_terminate_session(session, NGHTTP2_ENHANCE_YOUR_CALM);
        h->failed = true;
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct h2_stream *s = h2_stream_of(h, frame->hd.stream_id);
    if (s == NULL)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && is_head(h, frame))
        begin(h, s);
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        h2_end_stream(s);
    return 0;
}

/* An answer may be whole before its request is. A reset at once would be allowed (RFC 9113, 8.1), but some clients forget
 * the answer then (curl 7.88); most end the request themselves when they have read it. */
static void drop_unwanted(struct h2_stream *s, size_t n)
{
    if (s == NULL || s->dropped > UNWANTED_BYTES)
        return;
    s->dropped += n;
    if (s->dropped > UNWANTED_BYTES)
        h2_reset(s, NGHTTP2_NO_ERROR);
}

/* Large bodies are worth large frames. It is said when one comes, not at first: h2spec (4.2, 3) takes the size that RFC 9113
 * begins with for the one that holds. */
static void allow_large_frames(struct h2 *h)
{
    const nghttp2_settings_entry setting = { NGHTTP2_SETTINGS_MAX_FRAME_SIZE, FRAME_MAX };
    if (!h->large_frames)
        nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, &setting, 1);
    h->large_frames = true;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t n, void *arg)
{
    struct h2 *h = arg;
    struct h2_stream *s = h2_stream_of(h, id);
    if (s != NULL && s->body.len > FRAME_MAX_FROM)
        allow_large_frames(h);
    if (s == NULL || s->too_large || s->ended) {
        nghttp2_session_consume(session, id, n);
        drop_unwanted(s, n);
        return 0;
    }
    if (s->streaming) { /* the stream's window opens as the owner takes it */
        nghttp2_session_consume_connection(session, n);
        h2_keep(s, (struct str){ (const char *)data, n });
        if (!s->too_large)
            h->opt.events->data(h->opt.arg, s);
        return 0;
    }
    nghttp2_session_consume(session, id, n);
    keep_viewed(h);
    if ((flags & NGHTTP2_FLAG_END_STREAM) != 0 && s->body.len == 0 && n <= s->body.max) {
        s->view = (struct str){ (const char *)data, n };
        h->viewed = s;
    } else {
        h2_keep(s, (struct str){ (const char *)data, n });
    }
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
    struct h2 *h = arg;
    struct h2_stream *s = h2_stream_of(h, id);
    if (s == NULL)
        return 0;
    if (h->viewed == s)
        h->viewed = NULL;
    nghttp2_session_set_stream_user_data(session, id, NULL);
    if (s->ended)
        note_ended(h, id);
    h2_count_out(s, -1);
    if (!s->ended && !s->streaming)
        h->incomplete--;
    h->taken -= s->was_taken;
    drop_body(s);
    h->open--;
    h->opt.events->closed(h->opt.arg, s, error);
    h2_stream_free(s);
    return 0;
}

void h2_give_body(struct h2_stream *s, struct buf *to)
{
    size_t max = to->max;
    s->h2->held -= s->body.len;
    buf_deinit(to);
    *to = s->body;
    to->max = max;
    s->pad = 0;
    buf_init(&s->body, s->h2->opt.max_body_bytes);
}

void h2_take(struct h2_stream *s, size_t n)
{
    size_t opened = n < s->opened ? n : s->opened;
    s->h2->held -= n < s->body.len ? n : s->body.len;
    buf_consume(&s->body, n);
    s->opened -= opened;
    if (s->streaming && !s->ended)
        nghttp2_session_consume_stream(s->h2->session, s->id, n - opened);
}

void h2_want_more(struct h2_stream *s)
{
    if (s->streaming && !s->ended && s->body.len > s->opened)
        nghttp2_session_consume_stream(s->h2->session, s->id, s->body.len - s->opened);
    s->opened = s->body.len;
}

status h2_feed(struct h2 *h, struct str bytes)
{
    if (!h->opt.client)
        look_ahead(h, bytes);
    if (h->failed)
        return INVALID;
    ssize_t n = nghttp2_session_mem_recv(h->session, (const uint8_t *)bytes.p, bytes.n);
    keep_viewed(h);
    if (n < 0)
        h->failed = true;
    return h->failed ? INVALID : OK;
}

void h2_receive_callbacks(nghttp2_session_callbacks *c)
{
    nghttp2_session_callbacks_set_on_begin_frame_callback(c, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_close);
}
