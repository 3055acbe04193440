// clang-format off
/* Which files of a path make up a Paddle model. Three forms on disk:
 *
 *     __model__ + one file per parameter        (the 1.x default)
 *     a program + one combined parameter file   (__model__ + __params__, model + params, or mixed)
 *     NAME.pdmodel + NAME.pdiparams             (2.x)
 *
 * A path may be the directory or the program file itself. */
// clang-format on
#pragma once

#include "base/arena.h"
#include "base/err.h"

#include <stdbool.h>

struct paddle_files {
    const char *dir;
    const char *program;
    /* the combined file; NULL: one file per parameter in dir, or no parameters */
    const char *params;
};

#define PADDLE_WANTS "__model__, model, *.pdmodel or *.json"

/* Whether path is, or holds, something of Paddle's: also what is not read (PIR, encrypted), so that
 * paddle_find_files can say so. A path to a file of any other name is taken for a program too. */
bool paddle_detect(const char *path);

/* Strings live in the arena. None or several candidates are errors that say what was looked for and
 * what is there. */
status paddle_find_files(const char *path, struct arena *a, struct paddle_files *out,
                         struct err *e);
