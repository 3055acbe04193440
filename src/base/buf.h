/* A growing byte buffer that is born with its maximum.
 *
 * Appending never has to be checked: a buffer that could not grow turns `failed` (TOO_LARGE or NO_MEMORY), ignores
 * everything after that, and is checked once, by buf_check, when the message is complete. One owner. */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data;
    size_t len, cap, max;
    status failed;
};

void buf_init(struct buf *b, size_t max);
void buf_deinit(struct buf *b);
void buf_clear(struct buf *b); /* len 0, failure forgotten, memory kept */
void buf_shrink(struct buf *b,
                size_t keep); /* gives memory above `keep` bytes back; only when empty */

static inline void buf_swap(struct buf *a, struct buf *b)
{
    struct buf was = *a;
    *a = *b;
    *b = was;
}

/* Room for n > 0 more bytes at data + len, or NULL (and failed is set). The caller adds to len what it wrote. */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_append_slow(struct buf *b, const void *p, size_t n); /* buf_append, where it must grow */

static inline void buf_append(struct buf *b, const void *p, size_t n)
{
    if (n > b->cap - b->len || b->failed != OK || n == 0) {
        buf_append_slow(b, p, n);
        return;
    }
    memcpy(b->data + b->len, p, n);
    b->len += n;
}

static inline void buf_str(struct buf *b, const char *s)
{
    buf_append(b, s, strlen(s)); /* of a literal the compiler knows the length */
}

static inline void buf_byte(struct buf *b, uint8_t c)
{
    buf_append(b, &c, 1);
}

/* Wants one byte more room than it writes, for the terminator that it does not count. */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *b, size_t n); /* drops n bytes at the front */

static inline status buf_check(const struct buf *b)
{
    return b->failed;
}

static inline struct str buf_view(const struct buf *b)
{
    return (struct str){ (const char *)b->data, b->len };
}
