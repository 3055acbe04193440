/* The one result of every incremental parser: never one code for two meanings. */
#pragma once

#include "base/err.h"

#include <stddef.h>

enum parse_state {
    PARSE_MORE, /* what came so far is fine and not yet whole: call again with more bytes */
    PARSE_DONE, /* one whole item; `used` bytes belong to it */
    PARSE_BAD,  /* can never become an item; `why` says what kind of fault */
};

struct parse {
    enum parse_state state;
    status why;  /* PARSE_BAD only */
    size_t used; /* PARSE_DONE only */
};

static inline struct parse parse_more(void)
{
    return (struct parse){ .state = PARSE_MORE };
}

static inline struct parse parse_done(size_t used)
{
    return (struct parse){ .state = PARSE_DONE, .used = used };
}

static inline struct parse parse_bad(status why)
{
    return (struct parse){ .state = PARSE_BAD, .why = why };
}
