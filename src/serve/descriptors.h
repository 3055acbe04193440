/* Private to the room: the .proto files of the services, as reflection hands them out (descriptors.c, made by
 * tools/descriptors). */
#pragma once

#include "base/str.h"

struct descriptor {
    const char *file;
    struct str bytes; /* a serialised FileDescriptorProto, which depends on no other file */
    const char *const *symbols; /* full names of what it defines; NULL behind the last */
};

extern const struct descriptor descriptors[]; /* a row without file behind the last */
