/* One HTTP request to a server, for the verbs that look at it or change it. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "client/remote.h"

struct ask {
    const char *at;     /* "localhost:9292" */
    const char *method; /* "POST" */
    const char *path;
    struct str body; /* JSON */
    int64_t timeout_ms;
    const struct remote *remote;
};

/* A name as one part of a path: what would end it, or lead elsewhere, is percent-encoded. In the arena. */
const char *ask_part(const char *name, struct arena *a);
/* The answer's body goes to `out`, its number to *code. Fails where no answer comes; what the answer says is the
 * caller's business. */
status ask_http(const struct ask *q, struct buf *out, int *code, struct err *e);
/* The same, and an answer other than 200 is a failure with the server's own words. */
status ask_fine(const struct ask *q, struct buf *out, struct err *e);
