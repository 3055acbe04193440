#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FIRST_BYTES 512

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){ .max = max };
}

void buf_deinit(struct buf *b)
{
    mem_free(b->data);
    *b = (struct buf){ .max = b->max };
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = OK;
}

void buf_shrink(struct buf *b, size_t keep)
{
    if (b->len != 0 || b->cap <= keep)
        return;
    mem_free(b->data);
    b->data = NULL;
    b->cap = 0;
}

static uint8_t *fail(struct buf *b, status why)
{
    b->failed = why;
    return NULL;
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
    if (b->failed != OK)
        return NULL;
    if (n <= b->cap - b->len)
        return b->data + b->len;
    if (n > b->max - b->len)
        return fail(b, TOO_LARGE);
    size_t cap = b->cap != 0 ? b->cap : FIRST_BYTES;
    while (cap < b->len + n)
        cap = cap > b->max / 2 ? b->max : cap * 2;
    if (cap > b->max)
        cap = b->max;
    uint8_t *data = mem_resize_try(b->data, cap);
    if (data == NULL)
        return fail(b, NO_MEMORY);
    b->data = data;
    b->cap = cap;
    return b->data + b->len;
}

void buf_append_slow(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    uint8_t *to = buf_reserve(b, n);
    if (to == NULL)
        return;
    memcpy(to, p, n);
    b->len += n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    uint8_t *to = n >= 0 ? buf_reserve(b, (size_t)n + 1) : NULL;
    if (to != NULL) {
        vsnprintf((char *)to, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void buf_consume(struct buf *b, size_t n)
{
    if (n >= b->len) {
        b->len = 0;
        return;
    }
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}
