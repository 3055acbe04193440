#include "proto/h2.h"

#include "base/limits.h"
#include "base/mem.h"

#include <nghttp2/nghttp2.h>
#include <string.h>

#define STREAM_WINDOW ((int32_t)4 << 20)
#define CONN_WINDOW   ((int32_t)16 << 20)
#define FRAME_MAX     ((uint32_t)256 << 10)
#define FRAME_MAX_FROM \
    ((size_t)64 << 10)    /* of a body: then larger frames are allowed, and not before */
#define SKIPPED_MAX    16 /* runs of ids that a peer has stepped over, as far as they are remembered */
#define FRAME_HEAD     9
#define PREFACE        24                 /* bytes that a client begins with */
#define ENDED_MAX      16                 /* ids of streams that a peer has ended, the same */
#define KEEP_BYTES     ((size_t)16 << 10) /* of each buffer of a spare stream */
#define SPARE_MAX      256
#define UNWANTED_BYTES ((size_t)16 << 20) /* of a body that was refused: then its stream is reset */
#define IDLE_FRAMES    10000              /* control frames in a row that bring nothing forward */
#define ROOM_FROM      ((size_t)64 << 10) /* of a body: smaller ones grow */
#define PAD_MAX        64
#define EXCESS_MAX     500  /* fields of one header beyond what it may have */
#define RESET_BURST    1000 /* streams reset by the peer: at once, and a second */
#define RESET_RATE     200
#define FIELDS_MAX     (LIMIT_HTTP_HEADERS + 8) /* those of an answer, and pseudo fields */

struct h2 {
    nghttp2_session *session;
    struct h2_options opt;
    struct list streams;
    int open, incomplete, unsent, taken;
    size_t held;
    uint64_t sent;
    int idle_frames;
    bool failed, feeding, large_frames;
    int32_t newest; /* server: the highest id that a stream had */
    struct id_run {
        int32_t from, to;
    } skipped[SKIPPED_MAX];
    int skipped_count;
    int32_t ended
        [ENDED_MAX]; /* nghttp2 remembers no streams that are closed: those of a connection would take 64 KB */
    int ended_count;
    uint32_t skip; /* server: bytes that are in front of the next frame's header */
    uint8_t frame[FRAME_HEAD];
    size_t frame_seen;
    struct h2_stream *viewed; /* whose view is of the bytes being fed */
    struct buf *pump;
};

/* ---- memory: nghttp2's goes through base/mem.h, and may fail ---- */

static void *on_malloc(size_t size, void *arg)
{
    return mem_try(size);
}

static void on_free(void *p, void *arg)
{
    mem_free(p);
}

static void *on_calloc(size_t n, size_t size, void *arg)
{
    size_t total;
    void *p = mem_mul(n, size, &total) ? mem_try(total) : NULL;
    return p != NULL ? memset(p, 0, total) : NULL;
}

static void *on_realloc(void *p, size_t size, void *arg)
{
    return mem_resize_try(p, size);
}

/* ---- fields ---- */

struct field_size {
    uint32_t name, value;
};

static void fields_clear(struct h2_fields *f)
{
    buf_clear(&f->bytes);
    f->count = 0;
}

static void fields_add(struct h2_fields *f, struct str name, struct str value)
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

static struct h2_stream *new_stream(struct h2 *h, int32_t id)
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

static void free_stream(struct h2_stream *s)
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

static struct h2_stream *stream_of(struct h2 *h, int32_t id)
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

/* What is in the session's books about s, before and after it changes. */
static void count_out(struct h2_stream *s, int sign)
{
    if (has_unsent(s))
        s->h2->unsent += sign;
}

/* ---- receiving ---- */

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

static void end_stream(struct h2_stream *s)
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
    end_stream(s);
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

static void keep(struct h2_stream *s, struct str bytes)
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
        keep(s, view);
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
    struct h2_stream *s = new_stream(h, frame->hd.stream_id);
    if (s == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, s);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    struct h2_stream *s = stream_of(arg, frame->hd.stream_id);
    if (s == NULL)
        return 0;
    if (s->too_large) /* a table's entries can be named again and again for a byte each */
        return ++s->excess < EXCESS_MAX ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
    struct h2_fields *f = frame->headers.cat == NGHTTP2_HCAT_HEADERS ? &s->tail : &s->head;
    if (f->count >= LIMIT_HTTP_HEADERS + 4 ||
        f->bytes.len + name_n + value_n > s->h2->opt.max_header_bytes)
        s->too_large = true; /* said when the header ends */
    else
        fields_add(f, (struct str){ (const char *)name, name_n },
                   (struct str){ (const char *)value, value_n });
    return 0;
}

static void begin(struct h2 *h, struct h2_stream *s)
{
    if (s->too_large || buf_check(&s->head.bytes) != OK) {
        s->too_large = true;
        end_stream(s);
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
    struct h2_stream *s = stream_of(h, frame->hd.stream_id);
    if (s == NULL)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && is_head(h, frame))
        begin(h, s);
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        end_stream(s);
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
    struct h2_stream *s = stream_of(h, id);
    if (s != NULL && s->body.len > FRAME_MAX_FROM)
        allow_large_frames(h);
    if (s == NULL || s->too_large || s->ended) {
        nghttp2_session_consume(session, id, n);
        drop_unwanted(s, n);
        return 0;
    }
    if (s->streaming) { /* the stream's window opens as the owner takes it */
        nghttp2_session_consume_connection(session, n);
        keep(s, (struct str){ (const char *)data, n });
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
        keep(s, (struct str){ (const char *)data, n });
    }
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
    struct h2 *h = arg;
    struct h2_stream *s = stream_of(h, id);
    if (s == NULL)
        return 0;
    if (h->viewed == s)
        h->viewed = NULL;
    nghttp2_session_set_stream_user_data(session, id, NULL);
    if (s->ended)
        note_ended(h, id);
    count_out(s, -1);
    if (!s->ended && !s->streaming)
        h->incomplete--;
    h->taken -= s->was_taken;
    drop_body(s);
    h->open--;
    h->opt.events->closed(h->opt.arg, s, error);
    free_stream(s);
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

/* ---- sending ---- */

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
    count_out(s, -1);
    s->out_at += n;
    if (s->out_at == s->out.len) {
        buf_clear(&s->out);
        s->out_at = 0;
        s->deferred = s->out_whole; /* nothing is left to say */
    }
    count_out(s, 1);
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
    struct h2_stream *s = count <= FIELDS_MAX ? new_stream(h, 0) : NULL;
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
    free_stream(s);
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
    count_out(s, -1);
    buf_append(&s->out, bytes.p, bytes.n);
    more_to_send(s);
    count_out(s, 1);
}

void h2_write_buf(struct h2_stream *s, struct buf *from)
{
    if (s->out.len != 0 || from->len < KEEP_BYTES) {
        h2_write(s, buf_view(from));
        return;
    }
    if (s->out_whole)
        return;
    count_out(s, -1);
    struct buf swap = s->out;
    swap.max = from->max;
    s->out = *from;
    s->out.max = SIZE_MAX / 2;
    *from = swap;
    more_to_send(s);
    count_out(s, 1);
}

void h2_finish(struct h2_stream *s, const struct http_header *trailer, int count)
{
    if (s->out_whole)
        return;
    count_out(s, -1);
    for (int i = 0; i < count; i++)
        fields_add(&s->out_tail, trailer[i].name, trailer[i].value);
    s->has_tail = count > 0;
    s->out_whole = true;
    more_to_send(s);
    count_out(s, 1);
}

void h2_reset(struct h2_stream *s, uint32_t error)
{
    nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, error);
}

/* ---- the session ---- */

static status make_callbacks(nghttp2_session_callbacks **out)
{
    if (nghttp2_session_callbacks_new(out) != 0)
        return NO_MEMORY;
    nghttp2_session_callbacks_set_on_begin_frame_callback(*out, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(*out, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(*out, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(*out, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(*out, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(*out, on_close);
    nghttp2_session_callbacks_set_send_data_callback(*out, on_send_data);
    nghttp2_session_callbacks_set_data_source_read_length_callback(*out, on_length);
    return OK;
}

static status make_session(struct h2 *h)
{
    nghttp2_mem mem = { NULL, on_malloc, on_free, on_calloc, on_realloc };
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    TRY(make_callbacks(&callbacks));
    int fault = nghttp2_option_new(&option);
    if (fault == 0) {
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_stream_reset_rate_limit(option, RESET_BURST, RESET_RATE);
        nghttp2_option_set_peer_max_concurrent_streams(option, 100);
        fault = h->opt.client
                    ? nghttp2_session_client_new3(&h->session, callbacks, h, option, &mem)
                    : nghttp2_session_server_new3(&h->session, callbacks, h, option, &mem);
        nghttp2_option_del(option);
    }
    nghttp2_session_callbacks_del(callbacks);
    return fault == 0 ? OK : NO_MEMORY;
}

static status say_settings(struct h2 *h)
{
    const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, h->opt.max_streams },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)STREAM_WINDOW },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)h->opt.max_header_bytes },
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
    };
    size_t count =
        ARRAY_LEN(settings) - (h->opt.client ? 0 : 1); /* push is the client's to forbid */
    if (nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, count) != 0 ||
        nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW) != 0)
        return NO_MEMORY;
    return OK;
}

status h2_new(const struct h2_options *opt, struct h2 **out)
{
    struct h2 *h = mem_try(sizeof(*h));
    if (h == NULL)
        return NO_MEMORY;
    *h = (struct h2){ .opt = *opt };
    h->skip = PREFACE;
    if (h->opt.max_header_bytes == 0)
        h->opt.max_header_bytes = LIMIT_HTTP_HEADER_BYTES;
    list_init(&h->streams);
    status s = make_session(h);
    if (s == OK)
        s = say_settings(h);
    if (s == OK)
        *out = h;
    else
        h2_free(h);
    return s;
}

/* nghttp2 does not tell of the streams that end with their session. */
void h2_free(struct h2 *h)
{
    if (h == NULL)
        return;
    while (!list_empty(&h->streams)) {
        struct h2_stream *s = LIST_ENTRY(h->streams.next, struct h2_stream, node);
        h->opt.events->closed(h->opt.arg, s, NGHTTP2_CANCEL);
        free_stream(s);
    }
    nghttp2_session_del(h->session);
    mem_free(h);
}

static void lower(char *to, struct str from)
{
    for (size_t i = 0; i < from.n; i++)
        to[i] = (char)(from.p[i] >= 'A' && from.p[i] <= 'Z' ? from.p[i] + 32 : from.p[i]);
}

status h2_upgrade(struct h2 *h, struct str settings, const struct http_head *request,
                  struct str body)
{
    bool head_only = str_is(request->method, "HEAD");
    struct h2_stream *s = new_stream(h, 1);
    if (s == NULL)
        return NO_MEMORY;
    if (nghttp2_session_upgrade2(h->session, (const uint8_t *)settings.p, settings.n, head_only,
                                 s) != 0) {
        h->open--;
        h->incomplete--;
        free_stream(s);
        return INVALID;
    }
    fields_add(&s->head, STR(":method"), request->method);
    fields_add(&s->head, STR(":path"), request->target);
    for (int i = 0; i < request->header_count; i++) {
        char name[64];
        struct str as_sent = request->header[i].name;
        if (as_sent.n > sizeof(name))
            continue;
        lower(name, as_sent);
        fields_add(&s->head, (struct str){ name, as_sent.n }, request->header[i].value);
    }
    h->opt.events->head(h->opt.arg, s);
    keep(s, body);
    end_stream(s);
    return OK;
}

bool h2_is_over(const struct h2 *h)
{
    return h->failed || (nghttp2_session_want_read(h->session) == 0 &&
                         nghttp2_session_want_write(h->session) == 0);
}

void h2_drain(struct h2 *h)
{
    nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR,
                          NULL, 0);
}

int h2_open_streams(const struct h2 *h)
{
    return h->open;
}

int h2_incomplete(const struct h2 *h)
{
    return h->incomplete;
}

int h2_unsent(const struct h2 *h)
{
    return h->unsent;
}

size_t h2_held(const struct h2 *h)
{
    return h->held;
}

void h2_set_max_held(struct h2 *h, size_t bytes)
{
    h->opt.max_held_bytes = bytes;
}

uint64_t h2_sent(const struct h2 *h)
{
    return h->sent;
}
