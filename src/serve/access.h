/* Private to the room: who may ask for what. Routes and methods belong to groups; a file of keys says which group needs one,
 * and a group that it does not name is open. Changing models is for callers on this machine, or with a key for it. */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>

struct conn;

enum access {
    ACCESS_INFER,
    ACCESS_HEALTH,
    ACCESS_METADATA,
    ACCESS_METRICS,
    ACCESS_ADMIN,
    ACCESS_GROUPS,
};

struct keys; /* an immutable list; any thread */

/* Lines of "GROUP[,GROUP...] KEY" or "all KEY"; '#' begins a comment. Words name file and line. */
status keys_load(const char *path, struct keys **out, struct err *e);
void keys_free(struct keys *k);
bool keys_wanted(const struct keys *k, enum access group); /* k may be NULL */
/* In a time that does not tell how much of a key was right. */
bool keys_match(const struct keys *k, enum access group, struct str key);

/* Nobody is asked for a key: access_check would say OK. */
bool access_is_open(const struct conn *c, enum access group);
/* OK, UNAUTHENTICATED or FORBIDDEN with words. key: what the caller brought, n 0 for nothing. */
status access_check(const struct conn *c, enum access group, struct str key, struct err *e);
/* The key in "Bearer KEY", or, without that, in the other header. */
struct str access_key(struct str authorization, struct str x_api_key);
