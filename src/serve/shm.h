/* Private to the room: system shared memory that clients have registered under names. Off unless an option allows it.
 *
 * Regions are read and written by pread and pwrite on the object's file descriptor, not mapped: a client that cuts its
 * object short would otherwise end the server with a signal. Any thread. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "proto/oip.h"

struct shm_table;

struct shm_table *shm_table_new(void);
void shm_table_free(struct shm_table *t); /* NULL is fine */

/* What is said to those who ask where no option allows it, and where they ask for a device's. */
#define SHM_NOT_ALLOWED \
    "this server takes nothing from shared memory; it is allowed by --allow-shared-memory"
#define SHM_NO_DEVICE "this server runs on the processor: there is no CUDA shared memory"

/* The object that shm_open calls key, from offset on. INVALID with words when there is none, it is too short, or the name is
 * taken. */
status shm_register(struct shm_table *t, struct str name, struct str key, uint64_t offset,
                    uint64_t bytes, struct err *e);
void shm_unregister(struct shm_table *t, struct str name); /* p NULL: all; an unknown one is fine */

struct shm_region {
    const char *name, *key;
    uint64_t offset, bytes;
};
/* Tells fn of every region, or of the one of that name where p is not NULL; under the table's lock. NOT_FOUND: there is no such
 * region. */
status shm_each(struct shm_table *t, struct str name,
                void (*fn)(void *arg, const struct shm_region *r), void *arg, struct err *e);

/* A copy of the region's bytes in the arena. */
status shm_read(struct shm_table *t, const struct oip_region *r, struct arena *a, struct str *out,
                struct err *e);
status shm_write(struct shm_table *t, const struct oip_region *r, struct str bytes, struct err *e);
