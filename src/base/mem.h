/* The only user of malloc. Small fixed needs die when memory is out, since nothing sensible can follow; sizes that come
 * from outside use the _try forms, which return NULL. Any thread. */
#pragma once

#include <stddef.h>

void *mem_alloc(size_t size);               /* never NULL; contents undefined */
void *mem_zalloc(size_t size);              /* never NULL; zeroed */
char *mem_strdup(const char *s);            /* never NULL */
char *mem_strndup(const char *p, size_t n); /* n bytes and a NUL; never NULL */
void *mem_try(size_t size);                 /* NULL when memory is out */
void *mem_resize_try(void *p, size_t size); /* NULL when memory is out, and p is then untouched */
void *mem_try_aligned(size_t size, size_t align); /* align: a power of two; free with mem_free */
void mem_free(void *p);

/* Gives what is free back to the system; takes a while, so not on a request's way. */
void mem_trim(void);

/* For a server: large blocks that are freed are kept for whoever wants one next, this many bytes of them (0: none, as at first);
 * those that nobody wanted between two calls of mem_rest go back to the system. */
void mem_keep(size_t bytes);
void mem_rest(void);

/* a*b or a+b without overflow; false (*out then means nothing) when it would overflow. */
#define mem_mul(a, b, out) (!__builtin_mul_overflow((a), (b), (out)))
#define mem_add(a, b, out) (!__builtin_add_overflow((a), (b), (out)))

/* Tests only: the n-th _try from now on fails (1 = the next), once. 0 turns it off. */
void mem_fail_nth(long n);
long mem_fail_left(void); /* how many are still to go; 0 or less: it has failed */
