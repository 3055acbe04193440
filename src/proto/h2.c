#include "proto/h2_parts.h"

#include "base/limits.h"
#include "base/mem.h"

#include <string.h>

#define STREAM_WINDOW ((int32_t)4 << 20)
#define CONN_WINDOW   ((int32_t)16 << 20)
#define RESET_BURST   1000 /* streams reset by the peer: at once, and a second */
#define RESET_RATE    200

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

/* ---- the session ---- */

static status make_session(struct h2 *h)
{
    nghttp2_mem mem = { NULL, on_malloc, on_free, on_calloc, on_realloc };
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return NO_MEMORY;
    h2_receive_callbacks(callbacks);
    h2_send_callbacks(callbacks);
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
        h2_stream_free(s);
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
    struct h2_stream *s = h2_stream_new(h, 1);
    if (s == NULL)
        return NO_MEMORY;
    if (nghttp2_session_upgrade2(h->session, (const uint8_t *)settings.p, settings.n, head_only,
                                 s) != 0) {
        h->open--;
        h->incomplete--;
        h2_stream_free(s);
        return INVALID;
    }
    h2_fields_add(&s->head, STR(":method"), request->method);
    h2_fields_add(&s->head, STR(":path"), request->target);
    for (int i = 0; i < request->header_count; i++) {
        char name[64];
        struct str as_sent = request->header[i].name;
        if (as_sent.n > sizeof(name))
            continue;
        lower(name, as_sent);
        h2_fields_add(&s->head, (struct str){ name, as_sent.n }, request->header[i].value);
    }
    h->opt.events->head(h->opt.arg, s);
    h2_keep(s, body);
    h2_end_stream(s);
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
