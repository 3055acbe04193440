#include "base/mem.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static atomic_long fail_countdown; /* 0: no failure is planned */

static int should_fail(void)
{
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) == 0)
        return 0;
    return atomic_fetch_sub(&fail_countdown, 1) == 1;
}

static void *or_die(void *p, size_t size)
{
    if (p == NULL) {
        fprintf(stderr, "oar: out of memory (%zu bytes)\n", size);
        abort();
    }
    return p;
}

#define HUGE_PAGE ((size_t)2 << 20)
#define LARGE     ((size_t)4 << 20) /* bytes from which rounding up to whole huge pages costs little */

/* ---- big blocks: bodies of requests, mostly ----
 *
 * malloc maps each anew and gives it back when it is freed: a page fault for each 4 KB of every large request, which takes longer
 * than receiving them does. Here a server keeps them for its next request (mem_keep), less than a second (mem_rest), and they are
 * mapped in whole huge pages from LARGE on. They begin on a page, as no block of malloc does but a few of mem_try_aligned: that is how mem_free knows where
 * to look. */

#if defined(__has_feature)
#define WATCHED __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define WATCHED 1
#else
#define WATCHED 0
#endif
#if WATCHED
#define BIG_FROM SIZE_MAX /* the sanitizer watches over malloc's blocks alone */
#else
#define BIG_FROM ((size_t)256 << 10)
#endif
#define PAGE       ((size_t)4 << 10)
#define BIG_STEP   ((size_t)64 << 10)
#define SLOTS      256 /* of the table of big blocks that are in use */
#define SPARE_MOST 32  /* blocks that are kept */

struct big {
    struct big *next;
    char *p;
    size_t size; /* that are mapped */
    bool rested; /* spare since the last mem_rest */
};

static struct {
    pthread_mutex_t lock;
    struct big *used[SLOTS]; /* by address */
    struct big *spare;       /* the newest first */
    int spare_count;
    size_t spare_bytes, spare_most;
} bigs = { .lock = PTHREAD_MUTEX_INITIALIZER };

static size_t big_size(size_t size)
{
    size_t step = size >= LARGE ? HUGE_PAGE : BIG_STEP;
    return (size + step - 1) / step * step;
}

static struct big **slot_of(const void *p)
{
    return &bigs.used[((uintptr_t)p >> 12) * 0x9e3779b97f4a7c15u >> 56];
}

/* Under the lock: the smallest spare block that is large enough, and not far too large. */
static struct big *take_spare(size_t size)
{
    struct big **best = NULL;
    for (struct big **at = &bigs.spare; *at != NULL; at = &(*at)->next)
        if ((*at)->size >= size && (*at)->size / 2 <= size &&
            (best == NULL || (*at)->size < (*best)->size))
            best = at;
    if (best == NULL)
        return NULL;
    struct big *b = *best;
    *best = b->next;
    bigs.spare_count--;
    bigs.spare_bytes -= b->size;
    return b;
}

/* Huge pages are whole where they begin at a multiple of their size. */
static char *map_huge(size_t size)
{
    char *p =
        mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t front = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
    if (front > 0)
        munmap(p, front);
    munmap(p + front + size, HUGE_PAGE - front);
    madvise(p + front, size, MADV_HUGEPAGE);
    return p + front;
}

static struct big *map_big(size_t size)
{
    struct big *b = malloc(sizeof(*b));
    if (b == NULL)
        return NULL;
    b->size = size;
    if (size >= LARGE) {
        b->p = map_huge(size);
    } else {
        b->p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (b->p == MAP_FAILED)
            b->p = NULL;
    }
    if (b->p != NULL)
        return b;
    free(b);
    return NULL;
}

static void *big_alloc(size_t size)
{
    size = big_size(size);
    pthread_mutex_lock(&bigs.lock);
    struct big *b = take_spare(size);
    pthread_mutex_unlock(&bigs.lock);
    if (b == NULL)
        b = map_big(size);
    if (b == NULL)
        return NULL;
    pthread_mutex_lock(&bigs.lock);
    struct big **slot = slot_of(b->p);
    b->next = *slot;
    *slot = b;
    pthread_mutex_unlock(&bigs.lock);
    return b->p;
}

static bool may_be_big(const void *p)
{
    return p != NULL && (uintptr_t)p % PAGE == 0;
}

/* Bytes of a big block; 0: p is none. */
static size_t big_bytes(const void *p)
{
    size_t size = 0;
    if (!may_be_big(p))
        return 0;
    pthread_mutex_lock(&bigs.lock);
    for (const struct big *b = *slot_of(p); b != NULL && size == 0; b = b->next)
        size = b->p == p ? b->size : 0;
    pthread_mutex_unlock(&bigs.lock);
    return size;
}

static void unmap(struct big *list)
{
    while (list != NULL) {
        struct big *next = list->next;
        munmap(list->p, list->size);
        free(list);
        list = next;
    }
}

/* Under the lock: out of the table; NULL: p is none of ours. */
static struct big *take_used(const void *p)
{
    for (struct big **at = slot_of(p); *at != NULL; at = &(*at)->next)
        if ((*at)->p == p) {
            struct big *b = *at;
            *at = b->next;
            return b;
        }
    return NULL;
}

/* false: p is none of ours. */
static bool big_free(void *p)
{
    if (!may_be_big(p))
        return false;
    pthread_mutex_lock(&bigs.lock);
    struct big *b = take_used(p), *drop = NULL;
    if (b != NULL && bigs.spare_count < SPARE_MOST &&
        bigs.spare_bytes + b->size <= bigs.spare_most) {
        b->next = bigs.spare;
        b->rested = false;
        bigs.spare = b;
        bigs.spare_count++;
        bigs.spare_bytes += b->size;
    } else if (b != NULL) {
        b->next = NULL;
        drop = b;
    }
    pthread_mutex_unlock(&bigs.lock);
    unmap(drop);
    return b != NULL;
}

/* Those that nobody wanted since the last time, or all. */
static void drop_spare(bool all)
{
    struct big *drop = NULL;
    pthread_mutex_lock(&bigs.lock);
    for (struct big **at = &bigs.spare; *at != NULL;) {
        struct big *b = *at;
        if (!all && !b->rested) {
            b->rested = true;
            at = &b->next;
            continue;
        }
        *at = b->next;
        bigs.spare_count--;
        bigs.spare_bytes -= b->size;
        b->next = drop;
        drop = b;
    }
    pthread_mutex_unlock(&bigs.lock);
    unmap(drop);
}

void mem_keep(size_t bytes)
{
    pthread_mutex_lock(&bigs.lock);
    bigs.spare_most = bytes;
    pthread_mutex_unlock(&bigs.lock);
    if (bytes == 0)
        drop_spare(true);
}

void mem_rest(void)
{
    drop_spare(false);
}

/* Larger where it lies, or elsewhere without copying. NULL: it is as it was. */
static void *big_grow(void *p, size_t size)
{
    size = big_size(size);
    pthread_mutex_lock(&bigs.lock);
    struct big *b = take_used(p);
    void *fresh = mremap(b->p, b->size, size, MREMAP_MAYMOVE);
    if (fresh != MAP_FAILED) {
        b->p = fresh;
        b->size = size;
    }
    struct big **slot = slot_of(b->p);
    b->next = *slot;
    *slot = b;
    pthread_mutex_unlock(&bigs.lock);
    return fresh != MAP_FAILED ? fresh : NULL;
}

/* Of a block that is big, or is to be: a new one with what it held. */
static void *move(void *p, size_t old, size_t size)
{
    void *fresh = size >= BIG_FROM ? big_alloc(size) : malloc(size > 0 ? size : 1);
    if (fresh == NULL)
        return NULL;
    if (old > 0)
        memcpy(fresh, p, old < size ? old : size);
    mem_free(p);
    return fresh;
}

/* ---- what everybody calls ---- */

void *mem_alloc(size_t size)
{
    return or_die(malloc(size ? size : 1), size);
}

void *mem_zalloc(size_t size)
{
    return or_die(calloc(1, size ? size : 1), size);
}

char *mem_strdup(const char *s)
{
    return or_die(strdup(s), strlen(s));
}

char *mem_strndup(const char *p, size_t n)
{
    char *text = mem_zalloc(n + 1);
    if (n > 0)
        memcpy(text, p, n);
    return text;
}

void *mem_try(size_t size)
{
    if (size > PTRDIFF_MAX || should_fail())
        return NULL;
    return size >= BIG_FROM ? big_alloc(size) : malloc(size ? size : 1);
}

void *mem_resize_try(void *p, size_t size)
{
    if (size > PTRDIFF_MAX || should_fail())
        return NULL;
    size_t old = big_bytes(p);
    if (old > 0 && old >= size && old / 2 <= size)
        return p;
    if (old > 0 && size > old)
        return big_grow(p, size);
    if (old > 0 || size >= BIG_FROM)
        return move(p, old > 0 || p == NULL ? old : malloc_usable_size(p), size);
    return realloc(p, size ? size : 1);
}

void *mem_try_aligned(size_t size, size_t align)
{
    if (size > PTRDIFF_MAX - align || should_fail())
        return NULL;
    bool large = size >= LARGE;
    if (large && align < HUGE_PAGE)
        align = HUGE_PAGE;
    size_t rounded = (size + align - 1) / align * align; /* aligned_alloc wants a multiple */
    void *p = aligned_alloc(align, rounded ? rounded : align);
    if (large && p != NULL)
        madvise(p, rounded,
                MADV_HUGEPAGE); /* a page fault for each 4 KB would take longer than filling them */
    return p;
}

void mem_free(void *p)
{
    if (!big_free(p))
        free(p);
}

void mem_fail_nth(long n)
{
    atomic_store(&fail_countdown, n);
}

long mem_fail_left(void)
{
    return atomic_load(&fail_countdown);
}

void mem_trim(void)
{
    drop_spare(true);
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
