/* What lies in a directory, sorted by name: for finding the files of a model and for saying what
 * was there instead. */
#pragma once

#include "base/arena.h"
#include "base/err.h"

#include <stddef.h>

#define DIR_ENTRIES_MAX 65536

struct dir_list {
    char **name; /* without "." and ".." */
    int count;
};

/* Names live in the arena. */
status dir_read(const char *path, struct arena *a, struct dir_list *out, struct err *e);
/* "a, b, c and 4 more", cut to a dozen; "nothing" for an empty one. In the arena. */
const char *dir_text(const struct dir_list *l, struct arena *a);
/* The directory that `path` is, or that the file `path` lies in. In the arena. */
const char *dir_of(const char *path, struct arena *a);
