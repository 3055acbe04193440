/* Command-line options as a table: one row an option, from which parsing, --help and the words
 * about mistakes are made.
 *
 * `--max-body-size` and `--max_body_size` are the same option, `--port 1` and `--port=1` the same
 * value. Words without dashes are positional. What is parsed points into argv and into the arena.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* The type of the field at `offset`, and how the value reads. */
typedef enum option_type {
    OPT_FLAG,   /* bool; takes no value */
    OPT_INT,    /* int64_t from min to max */
    OPT_REAL,   /* double from min to max */
    OPT_TEXT,   /* const char * */
    OPT_CHOICE, /* const char *, one of the words in `value` ("brpc|http") */
    OPT_LIST,   /* struct words; repeatable, and takes all words up to the next option */
    OPT_NAMES,  /* struct words; one value, cut at commas; repeatable */
    OPT_TITLE,  /* no option: `help` is the heading of those that follow */
} option_type;

struct words {
    const char **word;
    int count;
};

struct option {
    const char *name;
    option_type type;
    size_t offset;
    const char *value;    /* what --help calls it: "N", "DIR"; NULL for a flag */
    const char *fallback; /* the default, as the user would write it; NULL: zero */
    const char *help;
    double min, max;  /* both 0: any */
    const char *also; /* another name for the same, or NULL */
};

struct command {
    const char *name;     /* "oar serve" */
    const char *usage;    /* what follows the name: "MODEL --in FILE [options]" */
    const char *about;    /* one paragraph for --help, which wraps it */
    const char *examples; /* lines of --help that work as they stand, each with its newline */
    const struct option *options;
    size_t option_count;
    size_t positional; /* offset of a struct words */
    int positional_min, positional_max;
};

/* Exit statuses of every verb. */
enum exit_status {
    EXIT_FINE = 0,
    EXIT_FAILED = 1, /* it was understood and could not be done */
    EXIT_USAGE = 2,  /* it was not understood */
};

/* Fills the struct at args (defaults first). true: go on. false: --help was printed or a mistake
 * was reported in one line; *exit_status says which. argv is what follows the verb. */
bool options_parse(const struct command *c, int argc, char **argv, struct arena *a, void *args,
                   int *exit_status);

/* Reports "NAME: words" on stderr; returns EXIT_FAILED. */
int command_failed(const struct command *c, const struct err *e);
/* The same for a mistake in the options; returns EXIT_USAGE. */
int command_misused(const struct command *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
