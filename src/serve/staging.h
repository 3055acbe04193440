/* Files that came over the wire, put into a private directory for as long as a model is loaded from it. */
#pragma once

#include "base/arena.h"
#include "serve/repository.h"

/* Makes a directory of its own below the system's place for such things and writes the files into it. INVALID for a path
 * that is absolute, leads upwards, or is none; nothing is left behind then. *dir lives in the arena. */
status staging_write(const struct inline_file *file, int count, struct arena *a, const char **dir,
                     struct err *e);
/* Takes the directory away with everything in it. */
void staging_remove(const char *dir);
