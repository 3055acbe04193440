/* The access log: one line an answer, text for people or JSON for machines, without a byte of any tensor. */
#include "base/line_file.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/json.h"
#include "serve/note.h"

#include <string.h>

#define LINE_BYTES 4096

struct access_log {
    struct line_file *file;
    int sample;
    atomic_uint seen; /* good answers */
};

status access_log_open(const char *path, int sample, struct access_log **out, struct err *e)
{
    *out = NULL;
    if (path == NULL)
        return OK;
    struct line_file *file;
    status code = line_file_open(path, &file, e);
    if (code != OK)
        return err_prefix(e, code, "--access-log: ");
    *out = mem_zalloc(sizeof(**out));
    **out = (struct access_log){ .file = file, .sample = sample > 0 ? sample : 1 };
    atomic_init(&(*out)->seen, 0);
    return OK;
}

status access_log_reopen(struct access_log *l, struct err *e)
{
    return l != NULL ? line_file_reopen(l->file, e) : OK;
}

void access_log_close(struct access_log *l)
{
    if (l == NULL)
        return;
    line_file_close(l->file);
    mem_free(l);
}

bool access_log_wants(struct access_log *l, bool failed)
{
    if (l == NULL || failed)
        return l != NULL;
    return l->sample == 1 || atomic_fetch_add(&l->seen, 1) % (unsigned)l->sample == 0;
}

static unsigned long long us(uint64_t ns)
{
    return ns / 1000;
}

/* Text from outside within a line. */
static void put_plain(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n && i < 512; i++) {
        char c = s.p[i];
        buf_byte(b, (uint8_t)((unsigned char)c < 0x20 || c == 0x7f || c == '"' ? '?' : c));
    }
}

static void put_text(struct buf *b, const char *stamp, const struct access_line *l)
{
    const struct call *c = l->call;
    buf_printf(b, "%s access %s %s \"", stamp, l->note->peer, l->protocol);
    put_plain(b, l->note->method);
    buf_byte(b, ' ');
    put_plain(b, l->note->target);
    buf_printf(b, "\" %d %s", l->code, l->result);
    if (c != NULL && c->flow != NULL) {
        buf_printf(b, " %s %s/%lld", c->format->name, flow_name(c->flow),
                   (long long)flow_version(c->flow));
        for (int i = 0; i < STAGE_COUNT; i++)
            buf_printf(b, " %s=%lluus", stage_name(i), us(c->stage_ns[i]));
    }
    buf_printf(b, " total=%lluus in=%zu out=%zu id=", us(l->total_ns), l->bytes_in, l->bytes_out);
    put_plain(b, l->note->request_id);
}

static void put_member(struct buf *b, const char *name, struct str value)
{
    buf_printf(b, ",\"%s\":", name);
    json_put_string(b, (struct str){ value.p, value.n < 512 ? value.n : 512 });
}

static void put_json(struct buf *b, const char *stamp, const struct access_line *l)
{
    const struct call *c = l->call;
    buf_printf(b, "{\"time\":\"%s\",\"kind\":\"access\"", stamp);
    put_member(b, "peer", str_of(l->note->peer));
    put_member(b, "protocol", str_of(l->protocol));
    put_member(b, "method", l->note->method);
    put_member(b, "target", l->note->target);
    buf_printf(b, ",\"code\":%d", l->code);
    put_member(b, "result", str_of(l->result));
    put_member(b, "request_id", l->note->request_id);
    if (c != NULL && c->flow != NULL) {
        put_member(b, "form", str_of(c->format->name));
        put_member(b, "model", str_of(flow_name(c->flow)));
        buf_printf(b, ",\"version\":%lld,\"rows\":%lld", (long long)flow_version(c->flow),
                   (long long)c->rows);
        for (int i = 0; i < STAGE_COUNT; i++)
            buf_printf(b, ",\"%s_us\":%llu", stage_name(i), us(c->stage_ns[i]));
    }
    buf_printf(b, ",\"total_us\":%llu,\"bytes_in\":%zu,\"bytes_out\":%zu}", us(l->total_ns),
               l->bytes_in, l->bytes_out);
}

void access_log_write(struct access_log *log, const struct access_line *l)
{
    char stamp[LOG_STAMP_BYTES];
    struct buf b;
    log_stamp(stamp);
    buf_init(&b, LINE_BYTES);
    if (log_get_format() == LOG_JSON)
        put_json(&b, stamp, l);
    else
        put_text(&b, stamp, l);
    buf_byte(&b, '\n');
    if (buf_check(&b) == OK)
        line_file_put(log->file, b.data, b.len);
    buf_deinit(&b);
}
