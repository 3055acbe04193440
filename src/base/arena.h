/* A bump allocator with one owner: everything in it is freed at once. A request owns one, a graph owns one, a plan owns
 * one. Not thread safe; whoever owns the arena owns the thread question.
 *
 * Blocks come from chunks of 16 KiB; a block larger than half a chunk gets memory of its own. After arena_reset the
 * first chunk is kept, so that a recycled request arena touches no allocator at all for ordinary requests. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct arena_chunk;
struct arena_cleanup;

struct arena {
    uint8_t *at, *end;              /* what is free of the first chunk; 16-aligned */
    struct arena_chunk *chunks;     /* newest first; behind the first, those of large blocks too */
    struct arena_cleanup *cleanups; /* newest first */
    size_t total_bytes;             /* asked from the system for chunks so far */
    size_t limit_bytes;
    int max_depth; /* of nested JSON that is read into it; 0: LIMIT_JSON_DEPTH */
};

void arena_init(struct arena *a, size_t limit_bytes); /* 0: no limit */
/* Its first blocks come from memory of the caller's, which outlives it; where that is too small for anything, it is left. */
void arena_init_in(struct arena *a, void *memory, size_t bytes);
void arena_deinit(struct arena *a);
void arena_reset(struct arena *a); /* runs the cleanups, newest first, and forgets all blocks */

#define ARENA_ALIGN 16
void *arena_alloc_slow(struct arena *a, size_t size);

/* For small needs whose size we choose: never NULL, 16-aligned. */
static inline void *arena_alloc(struct arena *a, size_t size)
{
    if (size >= (size_t)(a->end - a->at))
        return arena_alloc_slow(a, size);
    void *p = a->at;
    a->at += (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    return p;
}

static inline void *arena_zalloc(struct arena *a, size_t size)
{
    return memset(arena_alloc(a, size), 0, size);
}

/* For sizes from outside: NULL when memory or the arena's limit is out. align: a power of two up to 4096. */
void *arena_try(struct arena *a, size_t size, size_t align);
/* n elements of `size` bytes, zeroed, 16-aligned; NULL on overflow or when memory is out. */
void *arena_try_array(struct arena *a, size_t n, size_t size);

char *arena_strndup(struct arena *a, const char *s, size_t n); /* terminated copy */
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* fn(arg) runs at the next reset or deinit: how an arena adopts a buffer, a mapping or a reference. */
void arena_defer(struct arena *a, void (*fn)(void *), void *arg);
