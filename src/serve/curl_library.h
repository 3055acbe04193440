/* libcurl, loaded when the first address is fetched: it brings some thirty libraries along, 3 MB and several milliseconds that a
 * server with models on its own disk need not pay. */
#pragma once

#include "base/err.h"

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

/* The functions in use, each under its own name without `curl_`. */
#define CURL_FUNCTIONS(X) \
    X(easy_init)          \
    X(easy_cleanup)       \
    X(easy_reset)         \
    X(easy_setopt)        \
    X(easy_perform)       \
    X(easy_getinfo)       \
    X(easy_strerror)      \
    X(easy_escape)        \
    X(easy_unescape)      \
    X(free)

struct curl_library {
#define CURL_FIELD(name) __typeof__(&curl_##name) name;
    CURL_FUNCTIONS(CURL_FIELD)
#undef CURL_FIELD
};

/* UNSUPPORTED, with the package to install, where the library is not there. It stays loaded: what it sets up for the
 * process cannot be taken down. Any thread. */
status curl_library_load(struct curl_library *out, struct err *e);
