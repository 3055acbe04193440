#include "base/arena.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)16 << 10)

struct arena_chunk {
    struct arena_chunk *next;
    size_t size, used; /* of data[] */
    bool is_callers;
    _Alignas(16) uint8_t data[];
};

struct arena_cleanup {
    struct arena_cleanup *next;
    void (*fn)(void *);
    void *arg;
};

void arena_init(struct arena *a, size_t limit_bytes)
{
    *a = (struct arena){ .limit_bytes = limit_bytes };
}

void arena_init_in(struct arena *a, void *memory, size_t bytes)
{
    uintptr_t at = ((uintptr_t)memory + 15) & ~(uintptr_t)15;
    size_t skipped = at - (uintptr_t)memory + sizeof(struct arena_chunk);
    arena_init(a, 0);
    if (bytes <= skipped)
        return;
    a->total_bytes = bytes;
    a->chunks = (struct arena_chunk *)at;
    *a->chunks = (struct arena_chunk){ .size = bytes - skipped, .is_callers = true };
}

static void run_cleanups(struct arena *a)
{
    for (struct arena_cleanup *c = a->cleanups; c != NULL; c = c->next)
        c->fn(c->arg);
    a->cleanups = NULL;
}

/* Frees all chunks but, where keep is set, one of the ordinary size. */
static void drop_chunks(struct arena *a, int keep)
{
    struct arena_chunk *kept = NULL;
    for (struct arena_chunk *c = a->chunks, *next; c != NULL; c = next) {
        next = c->next;
        if (keep && kept == NULL && c->size == CHUNK_BYTES && !c->is_callers)
            kept = c;
        else if (!c->is_callers)
            mem_free(c);
    }
    a->chunks = kept;
    a->total_bytes = 0;
    if (kept != NULL) {
        kept->next = NULL;
        kept->used = 0;
        a->total_bytes = kept->size;
    }
}

void arena_reset(struct arena *a)
{
    run_cleanups(a);
    drop_chunks(a, 1);
}

void arena_deinit(struct arena *a)
{
    run_cleanups(a);
    drop_chunks(a, 0);
}

/* A new chunk that holds at least `need` bytes. A big block's chunk goes behind the head, so that the head keeps
 * serving small blocks. */
static struct arena_chunk *add_chunk(struct arena *a, size_t need)
{
    size_t size = need > CHUNK_BYTES / 2 ? need : CHUNK_BYTES;
    if (a->limit_bytes != 0 && (size > a->limit_bytes || a->total_bytes > a->limit_bytes - size))
        return NULL;
    struct arena_chunk *c = mem_try(sizeof(*c) + size);
    if (c == NULL)
        return NULL;
    c->size = size;
    c->used = 0;
    c->is_callers = false;
    a->total_bytes += size;
    if (size != CHUNK_BYTES && a->chunks != NULL) {
        c->next = a->chunks->next;
        a->chunks->next = c;
    } else {
        c->next = a->chunks;
        a->chunks = c;
    }
    return c;
}

static void *take(struct arena_chunk *c, size_t size, size_t align)
{
    uintptr_t start = (uintptr_t)c->data + c->used;
    uintptr_t at = (start + align - 1) & ~(uintptr_t)(align - 1);
    size_t pad = at - start;
    if (pad > c->size - c->used || size > c->size - c->used - pad)
        return NULL;
    c->used += pad + size;
    return (void *)at;
}

void *arena_try(struct arena *a, size_t size, size_t align)
{
    if (align < 16)
        align = 16;
    if (size > PTRDIFF_MAX - 2 * align - sizeof(struct arena_chunk))
        return NULL;
    void *p = a->chunks != NULL ? take(a->chunks, size, align) : NULL;
    if (p != NULL)
        return p;
    struct arena_chunk *c = add_chunk(a, size + align);
    return c != NULL ? take(c, size, align) : NULL;
}

void *arena_try_array(struct arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (!mem_mul(n, size, &bytes))
        return NULL;
    void *p = arena_try(a, bytes, 16);
    return p != NULL ? memset(p, 0, bytes) : NULL;
}

void *arena_alloc(struct arena *a, size_t size)
{
    void *p = arena_try(a, size, 16);
    if (p == NULL) {
        /* Small and ours: beyond the limit is still better than a half-built object. */
        size_t limit = a->limit_bytes;
        a->limit_bytes = 0;
        p = arena_try(a, size, 16);
        a->limit_bytes = limit;
    }
    return p != NULL ? p : mem_alloc(SIZE_MAX); /* dies with the allocator's words */
}

void *arena_zalloc(struct arena *a, size_t size)
{
    return memset(arena_alloc(a, size), 0, size);
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    char *p = arena_alloc(a, n + 1);
    if (n > 0)
        memcpy(p, s, n);
    p[n] = '\0';
    return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char small[256];
    int n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    if (n < 0)
        n = 0;
    if ((size_t)n < sizeof(small))
        return arena_strndup(a, small, (size_t)n);
    char *p = arena_alloc(a, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

void arena_defer(struct arena *a, void (*fn)(void *), void *arg)
{
    struct arena_cleanup *c = arena_alloc(a, sizeof(*c));
    *c = (struct arena_cleanup){ .next = a->cleanups, .fn = fn, .arg = arg };
    a->cleanups = c;
}
