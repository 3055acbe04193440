/* Private to the room: one HTTP request as routes see it, and how they answer. Which version of HTTP brought it is known to
 * its carrier alone (http1.c, h2.c). */
#pragma once

#include "proto/http1.h"
#include "serve/access.h"
#include "serve/internal.h"

struct http_answer;
struct http_request;

struct http_carrier {
    /* Writes an answer; its strings are views until it returns. */
    void (*answer)(const struct http_request *r, const struct http_answer *a);
    /* Starts a call that http_infer has filled but for what the carrier needs of it to come back: `done` and what done reads. */
    void (*start)(const struct http_request *r, struct call *call);
};

struct http_request {
    const struct http_carrier *carrier;
    struct conn *conn;
    void *exchange; /* the carrier's own */
    const struct http_head *head;
    struct str body; /* lives until the request is answered or its call started */
    struct buf *in;  /* HTTP/1.1: what `used` bytes of it are consumed from by the answer */
    size_t used;
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
/* Answers with an inference: begin makes the call (NULL: the request was refused and answered), whose format's own fields
 * the caller fills; start runs it. flow: NULL where a detour takes its place. format says how bodies are written, content_type what the reply is labelled. */
struct call *http_begin(const struct http_request *r, struct flow *flow,
                        const struct call_format *format, const char *content_type);
void http_start(const struct http_request *r, struct call *call);
/* Both at once. */
void http_infer(const struct http_request *r, struct flow *flow, const struct call_format *format,
                const char *content_type);
void http_answer_json(const struct http_request *r, int code, const struct buf *json);

/* "application/json; charset=utf-8" without its parameters. */
struct str http_media_type(const struct http_head *head);
/* A part of a path without its percent signs, in the lane's scratch; as it is where it has none. */
struct str http_decoded(const struct http_request *r, struct str part);
/* The code for a fault: status_http, unless --compat says that clients look for another. */
int http_code(const struct server *s, status fault);

/* Hands the request to somebody who works beside the loops, and answers when that returns it (call_return) with what then
 * stands in the call's result, err and reply, as JSON. */
void http_detour(const struct http_request *r, void (*detour)(struct call *c), void *arg);

/* For carriers: the answer that a call which has ended means; it is a view of the call and of `room`. */
struct http_answer_room {
    char extra[1024];
    struct buf body; /* the carrier's, empty */
};
struct http_answer http_call_answer(const struct call *call, struct http_answer_room *room);
/* {"error": words} */
void http_put_error(struct buf *b, const char *words);

/* Parts of a path that '*' in a route stood for, as they came. */
#define ROUTE_PARTS 3
struct route_parts {
    struct str at[ROUTE_PARTS];
    int count;
};

struct route {
    const char *method;  /* GET also answers HEAD */
    const char *pattern; /* '*' stands for one part */
    enum access group;   /* whose key it takes */
    void (*handle)(const struct http_request *r, const struct route_parts *parts);
};

/* Tables of routes, one a protocol; each ends with a row without method. */
extern const struct route oip_routes[], oip_more_routes[], tfs_routes[], metrics_routes[],
    page_routes[], home_routes[];

/* Finds the route of r and lets it answer (routes.c). */
void route_request(const struct http_request *r);
