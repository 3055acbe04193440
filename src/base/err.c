#include "base/err.h"

#include <stdio.h>
#include <string.h>

status(err_set)(struct err *e, status s, const char *fmt, ...)
{
    if (e != NULL) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(e->text, sizeof(e->text), fmt, ap);
        va_end(ap);
    }
    return s;
}

status(err_prefix)(struct err *e, status s, const char *fmt, ...)
{
    if (e == NULL || e->text[0] == '\0')
        return s;
    char old[ERR_TEXT_MAX];
    memcpy(old, e->text, sizeof(old));
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(e->text))
        snprintf(e->text + n, sizeof(e->text) - (size_t)n, "%s", old);
    return s;
}

struct status_row {
    status code;
    int http, grpc, brpc;
    const char *text;
};

static const struct status_row rows[] = {
#define X(name, number, http, grpc, brpc, text) { name, http, grpc, brpc, text },
    STATUS_MAP(X)
#undef X
};

/* The rows run 0, -1, -2, ... so that the code is its own index; anything else reads as INTERNAL. */
static const struct status_row *row(status s)
{
    size_t i = 0u - (unsigned)s; /* unsigned: any int may be behind s */
    return i < ARRAY_LEN(rows) ? &rows[i] : &rows[-INTERNAL];
}

const char *status_text(status s)
{
    return row(s)->text;
}

int status_http(status s)
{
    return row(s)->http;
}

int status_grpc(status s)
{
    return row(s)->grpc;
}

int status_brpc(status s)
{
    return row(s)->brpc;
}
