#include "serve/shm.h"

#include "base/limits.h"
#include "base/list.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define REGIONS_MAX 1024

struct region {
    struct list node;
    char *name, *key;
    uint64_t offset, bytes;
    int fd;
};

struct shm_table {
    pthread_mutex_t lock;
    struct list regions; /* guarded by lock */
    int count;           /* guarded by lock */
};

struct shm_table *shm_table_new(void)
{
    struct shm_table *t = mem_zalloc(sizeof(*t));
    pthread_mutex_init(&t->lock, NULL);
    list_init(&t->regions);
    return t;
}

static void free_region(struct region *r)
{
    close(r->fd);
    mem_free(r->name);
    mem_free(r->key);
    mem_free(r);
}

static void drop(struct shm_table *t, struct region *r)
{
    list_remove(&r->node);
    t->count--;
    free_region(r);
}

void shm_table_free(struct shm_table *t)
{
    if (t == NULL)
        return;
    shm_unregister(t, (struct str){ NULL, 0 });
    pthread_mutex_destroy(&t->lock);
    mem_free(t);
}

static struct region *find(struct shm_table *t, struct str name)
{
    for (struct list *l = t->regions.next; l != &t->regions; l = l->next) {
        struct region *r = LIST_ENTRY(l, struct region, node);
        if (str_is(name, r->name))
            return r;
    }
    return NULL;
}

static status open_object(const char *key, uint64_t offset, uint64_t bytes, int *fd, struct err *e)
{
    struct stat st;
    uint64_t end;
    *fd = shm_open(key, O_RDWR | O_CLOEXEC, 0);
    if (*fd < 0)
        return err_set(e, INVALID, "Unable to open shared memory region: '%s': %s", key,
                       strerror(errno));
    if (fstat(*fd, &st) == 0 && mem_add(offset, bytes, &end) && end <= (uint64_t)st.st_size)
        return OK;
    close(*fd);
    return err_set(
        e, INVALID,
        "failed to register shared memory region '%s': offset %llu and byte size %llu do "
        "not lie within the object",
        key, (unsigned long long)offset, (unsigned long long)bytes);
}

static status insert(struct shm_table *t, struct region *r, struct err *e)
{
    if (find(t, str_of(r->name)) != NULL)
        return err_set(e, INVALID, "shared memory region '%s' already in manager", r->name);
    if (t->count == REGIONS_MAX)
        return err_set(e, BUSY, "%d shared memory regions are registered already", REGIONS_MAX);
    list_push_back(&t->regions, &r->node);
    t->count++;
    return OK;
}

status shm_register(struct shm_table *t, struct str name, struct str key, uint64_t offset,
                    uint64_t bytes, struct err *e)
{
    int fd;
    if (name.n == 0 || name.n > LIMIT_NAME_BYTES || key.n > LIMIT_NAME_BYTES ||
        memchr(key.p, '\0', key.n) != NULL || str_starts(key, "triton_python_backend_shm_region_"))
        return err_set(e, INVALID,
                       "shared memory region '%.*s': not a name, or a key that is reserved",
                       STR_ARG(name));
    char *key_text = mem_strndup(key.p, key.n);
    status s = open_object(key_text, offset, bytes, &fd, e);
    if (s != OK) {
        mem_free(key_text);
        return s;
    }
    struct region *r = mem_zalloc(sizeof(*r));
    *r = (struct region){ .name = mem_strndup(name.p, name.n),
                          .key = key_text,
                          .offset = offset,
                          .bytes = bytes,
                          .fd = fd };
    pthread_mutex_lock(&t->lock);
    s = insert(t, r, e);
    pthread_mutex_unlock(&t->lock);
    if (s != OK)
        free_region(r);
    return s;
}

void shm_unregister(struct shm_table *t, struct str name)
{
    pthread_mutex_lock(&t->lock);
    for (struct list *l = t->regions.next, *next; l != &t->regions; l = next) {
        struct region *r = LIST_ENTRY(l, struct region, node);
        next = l->next;
        if (name.p == NULL || str_is(name, r->name))
            drop(t, r);
    }
    pthread_mutex_unlock(&t->lock);
}

status shm_each(struct shm_table *t, struct str name,
                void (*fn)(void *arg, const struct shm_region *r), void *arg, struct err *e)
{
    bool found = false;
    pthread_mutex_lock(&t->lock);
    for (struct list *l = t->regions.next; l != &t->regions; l = l->next) {
        const struct region *r = LIST_ENTRY(l, struct region, node);
        if (name.p != NULL && !str_is(name, r->name))
            continue;
        fn(arg, &(struct shm_region){ r->name, r->key, r->offset, r->bytes });
        found = true;
    }
    pthread_mutex_unlock(&t->lock);
    if (name.p == NULL || found)
        return OK;
    return err_set(e, NOT_FOUND, "Unable to find system shared memory region: '%.*s'",
                   STR_ARG(name));
}

/* A descriptor of the caller's own, so that it may be unregistered meanwhile; *offset: where the bytes begin. */
static status borrow(struct shm_table *t, const struct oip_region *want, int *fd, uint64_t *offset,
                     struct err *e)
{
    uint64_t end = 0;
    *fd = -1;
    pthread_mutex_lock(&t->lock);
    const struct region *r = find(t, want->name);
    bool fits = r != NULL && mem_add(want->offset, want->bytes, &end) && end <= r->bytes;
    if (fits) {
        *fd = fcntl(r->fd, F_DUPFD_CLOEXEC, 0);
        *offset = r->offset + want->offset;
    }
    pthread_mutex_unlock(&t->lock);
    if (*fd >= 0)
        return OK;
    if (r == NULL)
        return err_set(e, INVALID, "Unable to find shared memory region: '%.*s'",
                       STR_ARG(want->name));
    return err_set(e, fits ? IO_FAILED : INVALID,
                   "Invalid offset + byte size for shared memory region: '%.*s'",
                   STR_ARG(want->name));
}

static bool move(int fd, char *p, size_t n, uint64_t at, bool out)
{
    while (n > 0) {
        ssize_t done = out ? pwrite(fd, p, n, (off_t)at) : pread(fd, p, n, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
        at += (uint64_t)done;
    }
    return true;
}

static status short_region(const struct oip_region *r, struct err *e)
{
    return err_set(e, INVALID, "shared memory region '%.*s' is shorter than it was registered",
                   STR_ARG(r->name));
}

status shm_read(struct shm_table *t, const struct oip_region *r, struct arena *a, struct str *out,
                struct err *e)
{
    int fd;
    uint64_t offset = 0;
    TRY(borrow(t, r, &fd, &offset, e));
    char *to = arena_try(a, (size_t)r->bytes + 1, 64);
    status s = OK;
    if (to == NULL)
        s = err_set(e, NO_MEMORY, "no memory for %llu bytes of shared memory",
                    (unsigned long long)r->bytes);
    else if (!move(fd, to, (size_t)r->bytes, offset, false))
        s = short_region(r, e);
    close(fd);
    *out = (struct str){ to, (size_t)r->bytes };
    return s;
}

status shm_write(struct shm_table *t, const struct oip_region *r, struct str bytes, struct err *e)
{
    int fd;
    uint64_t offset = 0;
    TRY(borrow(t, r, &fd, &offset, e));
    bool good = move(fd, (char *)(uintptr_t)bytes.p, bytes.n, offset, true);
    close(fd);
    return good ? OK : short_region(r, e);
}
