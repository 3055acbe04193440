/* The one error type: a status that says what kind of failure it was, and words that say which thing failed.
 *
 * Functions that can fail return `status` and hand values out through pointers. Cold paths (load, import, config,
 * validation) also take a `struct err *` that may be NULL and receives one sentence: what was looked at, what was
 * expected, what came, and where it helps how to mend it. Any thread; a struct err belongs to its caller. */
#pragma once

#include <stdarg.h>

// clang-format off
/*   name         number http grpc brpc  text                          when
 *   The brpc column is the baidu_std error_code; gRPC numbers are the public ones (grpc/status.h). */
#define STATUS_MAP(X)                                                                                              \
    X(OK,            0,   200,  0,    0, "ok")                                                                      \
    X(INVALID,      -1,   400,  3, 1003, "invalid argument")            /* the caller's fault */                    \
    X(NOT_FOUND,    -2,   404,  5, 1002, "not found")                                                               \
    X(BUSY,         -3,   503,  8, 2004, "overloaded")                  /* try again later */                       \
    X(NO_MEMORY,    -4,   503,  8, 2001, "limit on memory reached")                                                 \
    X(UNSUPPORTED,  -5,   501, 12, 2001, "not supported")               /* well formed, but beyond what Oar does */ \
    X(INTERNAL,     -6,   500, 13, 2001, "internal error")              /* our bug */                               \
    X(TOO_LARGE,    -7,   413,  8, 1003, "larger than the limit")                                                   \
    X(TIMED_OUT,    -8,   504,  4, 1008, "deadline passed")                                                         \
    X(STOPPING,     -9,   503, 14, 2003, "server is stopping")                                                      \
    X(CORRUPT,     -10,   500, 15, 2001, "damaged file")                /* bytes on disk that cannot be right */    \
    X(IO_FAILED,   -11,   500, 13, 2001, "input or output failed")      /* the system said no */                    \
    X(BAD_METHOD,  -12,   405, 12, 1002, "method not allowed")                                                      \
    X(CONFLICT,    -13,   400,  9, 2001, "contradiction")               /* two inputs that cannot both be right */  \
    X(MALFORMED,   -14,   400,  3, 1003, "malformed message")           /* INVALID before it has any meaning */      \
    X(CANCELLED,   -15,   499,  1, 2005, "the caller has gone")                                                     \
    X(UNAUTHENTICATED, -16, 401, 16, 1004, "not authenticated")         /* no key, or none that is known */         \
    X(FORBIDDEN,   -17,   403,  7,    1, "not allowed")                 /* EPERM */                                \
    X(UNREACHABLE, -18,   502, 14, 1009, "another server not reached")  /* EFAILEDSOCKET */
// clang-format on

typedef enum status {
#define X(name, number, http, grpc, brpc, text) name = number,
    STATUS_MAP(X)
#undef X
} status;

#define ERR_TEXT_MAX 512

struct err {
    char text[ERR_TEXT_MAX]; /* always terminated; longer sentences are cut */
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* Fills e (if not NULL) and returns s: `return err_set(e, INVALID, "axis %d", axis);` */
status err_set(struct err *e, status s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts words in front of what e already says ("model 'uci': ..."); returns s. Does nothing to an empty e. */
status err_prefix(struct err *e, status s, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The analyzer looks into one file at a time and cannot know that these return s. */
#ifdef __clang_analyzer__
#define err_set(e, s, ...)    ((err_set)((e), (s), __VA_ARGS__), (s))
#define err_prefix(e, s, ...) ((err_prefix)((e), (s), __VA_ARGS__), (s))
#endif

const char *status_text(status s);
int status_http(status s);
int status_grpc(status s);
int status_brpc(status s);

/* Returns early where there is nothing to undo; otherwise use goto with a label named for the step. */
#define TRY(expr)             \
    do {                      \
        status try_ = (expr); \
        if (try_ != OK)       \
            return try_;      \
    } while (0)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
