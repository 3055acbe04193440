/* Private to the room: one HTTP request as routes see it, and how they answer. */
#pragma once

#include "proto/http1.h"
#include "serve/internal.h"

struct http;

struct http_request {
    struct conn *conn;
    struct http *http;
    const struct http_head *head;
    struct str body; /* a view of `in`, or of the protocol's own buffer where it came in chunks */
    struct buf *in;
    size_t used; /* bytes of `in` that belong to it */
};

struct http_answer {
    int code;
    const char *content_type;
    const char *encoding; /* "gzip" or NULL */
    const char *extra;    /* whole header lines or NULL */
    struct str body;
};

/* Answers at once. */
void http_answer(const struct http_request *r, const struct http_answer *a);
/* An error as JSON, {"error": words}. */
void http_answer_error(const struct http_request *r, int code, const char *words);
/* Answers with an inference: format says how bodies are written, content_type what the reply is labelled. */
void http_infer(const struct http_request *r, struct flow *flow, const struct call_format *format,
                const char *content_type);

/* Finds the route of r and lets it answer (routes.c). */
void route_request(const struct http_request *r);
