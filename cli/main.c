/* The one binary: a table of verbs. A new verb is a row here and a file. */
#include "options.h"
#include "verbs.h"

#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct verb {
    const char *name;
    const char *help;
    int (*run)(int argc, char **argv);
};

// clang-format off
static const struct verb verbs[] = {
    { "serve",   "serve models: every protocol on one port",              verb_serve },
    { "run",     "run a model on the arrays of a file",                   verb_run },
    { "call",    "ask a server, with the arrays of a file",               verb_call },
    { "bench",   "measure a model, or a server under load",               verb_bench },
    { "convert", "write a model in int8, or with half-size weights",      verb_convert },
    { "inspect", "show a model: inputs, outputs, operators, parameters",  verb_inspect },
    { "trace",   "what a server's live requests spend their time on",     verb_trace },
    { "monitor", "fetch a model whenever its done file is written again",  verb_monitor },
    { "replay",  "ask again what was recorded, and compare",              verb_replay },
    { "ab",      "what the variants of a model's divided traffic did",    verb_ab },
    { "models",  "list, load, unload and roll back a server's models",    verb_models },
    { "op-host", NULL,                                                    verb_op_host },
    { "version", "print the version",                                     verb_version },
};
// clang-format on

static void print_help(FILE *to)
{
    fprintf(to, "usage: oar VERB [options]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (verbs[i].help != NULL) /* the others are for Oar itself */
            fprintf(to, "  %-10s%s\n", verbs[i].name, verbs[i].help);
    fprintf(
        to,
        "\n'oar VERB --help' tells its options. Exit status: 0 done, 1 it could not be done, 2 not "
        "understood.\n");
}

static int unknown(const char *word)
{
    const char *name[ARRAY_LEN(verbs)];
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        name[i] = verbs[i].name;
    const char *near = str_nearest(str_of(word), name, ARRAY_LEN(verbs));
    if (near != NULL)
        fprintf(stderr, "oar: no verb '%s'; did you mean 'oar %s'?\n", word, near);
    else
        fprintf(stderr, "oar: no verb '%s'; 'oar --help' lists them\n", word);
    return EXIT_USAGE;
}

/* What was printed and could not be written, to a full disk say, was not done. */
static int finish(int exit_status)
{
    bool lost = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) == 0 && !lost)
        return exit_status;
    fprintf(stderr, "oar: standard output cannot be written: %s\n",
            errno != 0 ? strerror(errno) : "what was printed is not whole");
    return exit_status == EXIT_FINE ? EXIT_FAILED : exit_status;
}

static int run(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_help(stdout);
        return EXIT_FINE;
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
        word = "version";
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(word, verbs[i].name) == 0)
            return verbs[i].run(argc - 2, argv + 2);
    if (word[0] == '-') /* no verb: Paddle Serving's launcher speaks */
        return verb_launcher(argc - 1, argv + 1);
    return unknown(word);
}

int main(int argc, char **argv)
{
    return finish(run(argc, argv));
}
