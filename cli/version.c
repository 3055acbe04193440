#include "options.h"
#include "verbs.h"

#include <stdio.h>

struct version_args {
    struct words words;
};

static const struct command command = {
    .name = "oar version",
    .usage = "",
    .about = "Prints Oar's version.",
    .examples = "  oar version\n",
    .positional = offsetof(struct version_args, words),
};

int verb_version(int argc, char **argv)
{
    struct arena arena;
    struct version_args args = { 0 };
    int exit_status;
    arena_init(&arena, 0);
    if (options_parse(&command, argc, argv, &arena, &args, &exit_status))
        printf("oar %s\n", OAR_VERSION);
    arena_deinit(&arena);
    return exit_status;
}
