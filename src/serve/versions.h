/* The versions of a model that a directory holds.
 *
 * Two layouts: the directory is the model itself (Paddle Serving's; one version, which is replaced in place, and a file
 * fluid_time_file whose touching says "load me again"), or it holds directories named by numbers, one a version
 * (TensorFlow Serving's and Triton's), which are never changed once they are whole. */
#pragma once

#include "base/arena.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define VERSION_IN_PLACE 1 /* the number of a model that is its directory itself */

struct version {
    const char *path;
    int64_t number;
    bool in_place; /* its files may be overwritten while it is served */
    /* Two looks with equal prints saw the same files: names, sizes and times of everything in it. */
    uint64_t print;
    /* Changes when it is to be loaded again: fluid_time_file's time where there is one, else the print. */
    uint64_t trigger;
    bool told; /* the trigger is fluid_time_file's: somebody says that the files are whole */
    int64_t changed_ns; /* wall clock: the youngest file's time of change */
    const char *fault;  /* why it is never to be loaded ("'x' is a link out of ..."), or NULL */
};

/* The one version that a service is: path[0] is its file or directory, the others are its models' directories, any of
 * which may change. */
status versions_of_service(const char *const *path, int path_count, struct arena *a,
                           struct version **out, int *count, struct err *e);
/* All of them, the highest number first; none is no error. engine: whose files make path itself a model (exec/engines.h),
 * where none of ours do. Strings live in the arena. Links are no versions, and a
 * numbered version that holds a link out of `path` has a fault. NOT_FOUND when there is nothing at path. */
status versions_find(const char *path, const char *engine, struct arena *a, struct version **out,
                     int *count, struct err *e);
