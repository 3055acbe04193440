#include "flow/record.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "flow/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define MAGIC      "OARREC1\n"
#define MAGIC_SIZE (sizeof(MAGIC) - 1)
#define RECORD_MAX ((size_t)1 << 30)

struct recorder {
    int fd;
    char *path;
    size_t left;                 /* bytes of the bound; guarded by lock */
    uint64_t every;              /* share as 1 of 2^32 */
    atomic_uint_fast64_t chance; /* adds up; what overflows 2^32 is recorded */
    atomic_bool ended;           /* nothing more is recorded */
    pthread_mutex_t lock;
};

/* ---- writing ---- */

status recorder_open(const struct recorder_options *opt, struct recorder **out, struct err *e)
{
    int fd = open(opt->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, IO_FAILED, "--record: '%s' cannot be opened: %s", opt->path,
                       strerror(errno));
    if (file_put(fd, MAGIC, MAGIC_SIZE) != MAGIC_SIZE) {
        int fault = errno;
        close(fd);
        return err_set(e, IO_FAILED, "--record: '%s' cannot be written: %s", opt->path,
                       strerror(fault));
    }
    struct recorder *r = mem_zalloc(sizeof(*r));
    r->fd = fd;
    r->path = mem_strdup(opt->path);
    r->left = opt->max_bytes;
    r->every = (uint64_t)(opt->share * 4294967296.0);
    pthread_mutex_init(&r->lock, NULL);
    *out = r;
    return OK;
}

void recorder_close(struct recorder *r)
{
    if (r == NULL)
        return;
    close(r->fd);
    pthread_mutex_destroy(&r->lock);
    mem_free(r->path);
    mem_free(r);
}

bool recorder_wants(struct recorder *r)
{
    if (atomic_load_explicit(&r->ended, memory_order_relaxed))
        return false;
    uint64_t before = atomic_fetch_add_explicit(&r->chance, r->every, memory_order_relaxed);
    return (before >> 32) != ((before + r->every) >> 32);
}

static void put_tensors(struct buf *b, const struct named_tensor *t, int count)
{
    pack_i64(b, count);
    for (int i = 0; i < count; i++)
        pack_tensor(b, &t[i]);
}

static void put_record(struct buf *b, const struct record *rec)
{
    pack_i64(b, 0); /* the length, filled in below */
    pack_i64(b, rec->time_us);
    pack_bytes(b, rec->model.p, rec->model.n);
    pack_i64(b, rec->version);
    put_tensors(b, rec->request.feed, rec->request.feed_count);
    pack_i64(b, rec->request.fetch_count);
    for (int i = 0; i < rec->request.fetch_count; i++)
        pack_bytes(b, rec->request.fetch[i].p, rec->request.fetch[i].n);
    pack_i64(b, rec->reply.output_count);
    for (int i = 0; i < rec->reply.output_count; i++) {
        pack_bytes(b, rec->reply.output[i].engine.p, rec->reply.output[i].engine.n);
        put_tensors(b, rec->reply.output[i].tensor, rec->reply.output[i].tensor_count);
    }
    int64_t length = (int64_t)b->len - (int64_t)sizeof(length);
    if (buf_check(b) == OK)
        memcpy(b->data, &length, sizeof(length));
}

/* Half a record may stand at the end of the file then: readers take that for the end. */
static void end(struct recorder *r, const char *why)
{
    atomic_store(&r->ended, true);
    log_line(LOG_WARN, "flow", "'%s': %s; nothing more is recorded", r->path, why);
}

static void append(struct recorder *r, const struct buf *b)
{
    if (b->len > r->left) {
        end(r, "it has the size that --record-bytes allows");
        return;
    }
    if (file_put(r->fd, b->data, b->len) != b->len)
        end(r, strerror(errno));
    r->left -= b->len;
}

void recorder_put(struct recorder *r, const struct record *rec)
{
    struct buf b;
    buf_init(&b, RECORD_MAX);
    put_record(&b, rec);
    pthread_mutex_lock(&r->lock);
    if (buf_check(&b) == OK && !atomic_load(&r->ended))
        append(r, &b);
    pthread_mutex_unlock(&r->lock);
    buf_deinit(&b);
}

/* ---- reading ---- */

struct records {
    struct file_map *map;
    struct str rest;
    const char *path;
};

status records_open(const char *path, struct records **out, struct err *e)
{
    struct file_map *m;
    TRY(file_map_open(path, (size_t)1 << 40, &m, e));
    struct str all = { (const char *)file_map_data(m), file_map_size(m) };
    if (all.n < MAGIC_SIZE || memcmp(all.p, MAGIC, MAGIC_SIZE) != 0) {
        file_map_unref(m);
        return err_set(e, INVALID, "%s: no file of recorded requests", path);
    }
    struct records *r = mem_zalloc(sizeof(*r));
    r->map = m;
    r->path = mem_strdup(path);
    r->rest = (struct str){ all.p + MAGIC_SIZE, all.n - MAGIC_SIZE };
    *out = r;
    return OK;
}

void records_close(struct records *r)
{
    file_map_unref(r->map);
    mem_free((void *)r->path);
    mem_free(r);
}

static bool read_request(struct str *s, struct arena *a, struct infer_request *q)
{
    int64_t feeds, fetches;
    if (!unpack_i64(s, &feeds) || !unpack_tensors(s, feeds, a, &q->feed) ||
        !unpack_i64(s, &fetches) || fetches < 0 || fetches > 4096)
        return false;
    q->feed_count = (int)feeds;
    q->fetch_count = (int)fetches;
    q->fetch = arena_zalloc(a, ((size_t)fetches + 1) * sizeof(struct str));
    for (int64_t i = 0; i < fetches; i++)
        if (!unpack_bytes(s, a, &q->fetch[i]))
            return false;
    return true;
}

static bool read_reply(struct str *s, struct arena *a, struct infer_reply *r)
{
    int64_t outputs, tensors;
    if (!unpack_i64(s, &outputs) || outputs < 0 || outputs > 4096)
        return false;
    r->output_count = (int)outputs;
    r->output = arena_zalloc(a, ((size_t)outputs + 1) * sizeof(*r->output));
    for (int64_t i = 0; i < outputs; i++) {
        struct infer_output *o = &r->output[i];
        if (!unpack_bytes(s, a, &o->engine) || !unpack_i64(s, &tensors) ||
            !unpack_tensors(s, tensors, a, &o->tensor))
            return false;
        o->tensor_count = (int)tensors;
    }
    return true;
}

status records_next(struct records *r, struct arena *a, struct record *out, struct err *e)
{
    int64_t length;
    struct str s = r->rest;
    *out = (struct record){ 0 };
    if (!unpack_i64(&s, &length) || (length >= 0 && (uint64_t)length > s.n))
        return NOT_FOUND;
    size_t at = file_map_size(r->map) - r->rest.n;
    if (length < 0)
        return err_set(e, CORRUPT, "%s: byte %zu: a record's length below 0", r->path, at);
    struct str body = { s.p, (size_t)length };
    r->rest = (struct str){ s.p + length, s.n - (size_t)length };
    if (unpack_i64(&body, &out->time_us) && unpack_bytes(&body, a, &out->model) &&
        unpack_i64(&body, &out->version) && read_request(&body, a, &out->request) &&
        read_reply(&body, a, &out->reply))
        return OK;
    return err_set(e, CORRUPT, "%s: byte %zu: a record that cannot be read", r->path, at);
}
