/* Not for people: the process that holds a confined operator (src/flow/confine.c). */
#include "verbs.h"

#include "base/str.h"
#include "flow/confine.h"

int verb_op_host(int argc, char **argv)
{
    int64_t fd;
    if (argc < 2 || !str_to_i64(str_of(argv[0]), &fd) || fd < 3 || fd > 1000000)
        return 2;
    return confined_serve((int)fd, argv[1], (const char *const *)argv + 2, argc - 2);
}
