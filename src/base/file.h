/* Files: mapped whole for reading, or written whole so that a reader sees the old or the new one and never half. */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file_map; /* a read-only mapping; refcounted, any thread */

/* Maps path. A file larger than max_bytes is refused (TOO_LARGE), a missing one is NOT_FOUND. An empty file maps to
 * size 0 with non-NULL data. The words name the path. */
status file_map_open(const char *path, size_t max_bytes, struct file_map **out, struct err *e);
struct file_map *file_map_ref(struct file_map *m);
void file_map_unref(struct file_map *m);
const uint8_t *file_map_data(const struct file_map *m); /* page aligned */
size_t file_map_size(const struct file_map *m);
/* Makes the content independent of the file, at the same address: whoever writes into the file or cuts it short changes
 * nothing here any more (a mapped page behind a file's new end would be SIGBUS). Costs its size in memory. Before others
 * use the mapping. */
status file_map_detach(struct file_map *m, struct err *e);

/* What has been read of the content need not stay in memory: it is read again from the file, or rather from the system's
 * cache of it, when somebody looks. Does nothing to a detached one. Any thread, also while others read. */
void file_map_forget(const struct file_map *m);

bool file_is_dir(const char *path);
/* Whether a name out of a file or a message is a path below the directory that it is meant for: not empty, no root, no "..",
 * nothing behind a NUL. What links there may be is not asked. */
bool file_stays_below(struct str name);
bool file_exists(const char *path); /* a file that is not a directory */

/* Writes to an open file until all is there or the system refuses. Returns the bytes that were written; where they are fewer,
 * errno says why. */
size_t file_put(int fd, const void *data, size_t size);

/* Writes through a temporary neighbour, fsync and rename; what is no file (/dev/stdout) is written into. Any thread; of two at once
 * the later one stays. */
status file_write(const char *path, const void *data, size_t size, struct err *e);
