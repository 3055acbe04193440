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
    size_t size; /* of data[], a multiple of ARENA_ALIGN */
    bool is_callers;
    _Alignas(ARENA_ALIGN) uint8_t data[];
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

static void serve_from(struct arena *a, struct arena_chunk *c)
{
    a->at = c != NULL ? c->data : NULL;
    a->end = c != NULL ? c->data + c->size : NULL;
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
    *a->chunks = (struct arena_chunk){ .size = (bytes - skipped) / ARENA_ALIGN * ARENA_ALIGN,
                                       .is_callers = true };
    serve_from(a, a->chunks);
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
        a->total_bytes = kept->size;
    }
    serve_from(a, kept);
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

/* A new chunk with room for `bytes`; NULL: beyond the limit, or no memory. */
static struct arena_chunk *new_chunk(struct arena *a, size_t bytes)
{
    if (a->limit_bytes != 0 && (bytes > a->limit_bytes || a->total_bytes > a->limit_bytes - bytes))
        return NULL;
    struct arena_chunk *c = mem_try(sizeof(*c) + bytes);
    if (c == NULL)
        return NULL;
    c->size = bytes;
    c->is_callers = false;
    a->total_bytes += bytes;
    return c;
}

static void *align_up(uint8_t *p, size_t align)
{
    return (void *)(((uintptr_t)p + align - 1) & ~(uintptr_t)(align - 1));
}

/* A block with a chunk of its own, which goes behind the first, so that that one keeps serving small blocks. */
static void *own_chunk(struct arena *a, size_t size, size_t align)
{
    struct arena_chunk *c =
        new_chunk(a, (size + align + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN);
    if (c == NULL)
        return NULL;
    struct arena_chunk **place = a->chunks != NULL ? &a->chunks->next : &a->chunks;
    c->next = *place;
    *place = c;
    return align_up(c->data, align);
}

static void *take(struct arena *a, size_t size, size_t align)
{
    uint8_t *at = align_up(a->at, align);
    size_t left = at < a->end ? (size_t)(a->end - at) : 0;
    if (size > left || left == 0) /* an address for no bytes too */
        return NULL;
    a->at = at + ((size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1));
    return at;
}

void *arena_try(struct arena *a, size_t size, size_t align)
{
    if (align < ARENA_ALIGN)
        align = ARENA_ALIGN;
    if (size > PTRDIFF_MAX - 2 * align - sizeof(struct arena_chunk))
        return NULL;
    void *p = take(a, size, align);
    if (p != NULL)
        return p;
    if (size + align > CHUNK_BYTES / 2)
        return own_chunk(a, size, align);
    struct arena_chunk *c = new_chunk(a, CHUNK_BYTES);
    if (c == NULL)
        return NULL;
    c->next = a->chunks;
    a->chunks = c;
    serve_from(a, c);
    return take(a, size, align);
}

void *arena_try_array(struct arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (!mem_mul(n, size, &bytes))
        return NULL;
    void *p = arena_try(a, bytes, 16);
    return p != NULL ? memset(p, 0, bytes) : NULL;
}

void *arena_alloc_slow(struct arena *a, size_t size)
{
    void *p = arena_try(a, size, ARENA_ALIGN);
    if (p == NULL) {
        /* Small and ours: beyond the limit is still better than a half-built object. */
        size_t limit = a->limit_bytes;
        a->limit_bytes = 0;
        p = arena_try(a, size, ARENA_ALIGN);
        a->limit_bytes = limit;
    }
    return p != NULL ? p : mem_alloc(SIZE_MAX); /* dies with the allocator's words */
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
