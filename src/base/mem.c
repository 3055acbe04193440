#include "base/mem.h"

#include <malloc.h>
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

void *mem_try(size_t size)
{
    if (size > PTRDIFF_MAX || should_fail())
        return NULL;
    return malloc(size ? size : 1);
}

void *mem_resize_try(void *p, size_t size)
{
    if (size > PTRDIFF_MAX || should_fail())
        return NULL;
    return realloc(p, size ? size : 1);
}

#define HUGE_PAGE ((size_t)2 << 20)
#define LARGE     ((size_t)4 << 20) /* bytes from which rounding up to whole huge pages costs little */

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
    free(p);
}

void mem_fail_nth(long n)
{
    atomic_store(&fail_countdown, n);
}

void mem_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
