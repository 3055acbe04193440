/* HTTP/1.1 (RFC 9112), both directions, as pure functions of bytes: a request or response head is cut from the front of a
 * buffer, then its body by Content-Length or chunks.
 *
 * Strict where leniency has let attacks through: no bare CR or LF inside a head, no space before a colon, no obs-fold,
 * Content-Length together with Transfer-Encoding or two that differ are refused, only "chunked" is a known transfer coding. */
#pragma once

#include "base/buf.h"
#include "base/limits.h"
#include "base/parse.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct http_header {
    struct str name, value;
};

struct http_head {
    struct str method, target; /* requests; target as it came */
    struct str path, query;    /* the target's parts; path still percent-encoded */
    int minor;                 /* HTTP/1.minor */
    int code;                  /* responses */
    struct http_header header[LIMIT_HTTP_HEADERS];
    int header_count;
    /* bit n: a header's name has n bytes (n mod 64): most look-ups need no more than this */
    uint64_t name_lengths;
    bool keep_alive, chunked, expect_continue, has_length;
    uint64_t content_length;
    const char *fault; /* after BAD: what is wrong, in words that are never freed; NULL: its size */
};

/* Cuts a head; `seen` is how many bytes an earlier call that said MORE was given (so that a slow head is not scanned
 * again and again; 0 at first). Views into bytes. BAD INVALID, or TOO_LARGE above LIMIT_HTTP_HEADER_BYTES or _HEADERS.
 * One CRLF in front of a request is stepped over. A target is a path, "*", or "http://..." (path: what follows the host). */
struct parse http1_request(struct str bytes, size_t seen, struct http_head *out);
struct parse http1_response(struct str bytes, size_t seen, struct http_head *out);

/* One header more; the caller has seen that there is room. */
static inline void http_header_add(struct http_head *h, struct http_header header)
{
    h->header[h->header_count++] = header;
    h->name_lengths |= (uint64_t)1 << (header.name.n % 64);
}

struct str http_header_find(const struct http_head *h,
                            const char *name); /* any case; n == 0 and p NULL: absent */
/* How much a comma-separated header such as Accept-Encoding wants the token (any case), in thousandths: "gzip;q=0.5" is 500, without
 * a q it is 1000; -1: it does not list it. */
int http_header_weight(struct str value, const char *token);
/* Whether it lists the token, and not with q=0. */
bool http_header_lists(struct str value, const char *token);

/* A chunked body, unwrapped in place as it comes: feed it each piece of the connection's bytes. */
struct http_chunked {
    uint64_t left; /* bytes of the present chunk still to come */
    int state;
    uint32_t line_bytes; /* of the present size line, or of the last one and all trailers */
};
/* Takes bytes from the front of `bytes`, appending content to body (whose max bounds it: TOO_LARGE). DONE when the last
 * chunk and its trailer are taken (used: bytes taken by this call; c is then fresh again); MORE with `used` set when
 * all were taken. A chunk that the body cannot hold is refused by its size, before its bytes come. Trailers are dropped. */
struct parse http1_chunked(struct http_chunked *c, struct str bytes, struct buf *body);

struct http_reply {
    int code;
    const char *content_type;
    const char *encoding; /* "gzip" or NULL */
    const char *extra;    /* whole header lines, each ended by CRLF, or NULL */
    size_t body_bytes;
    bool keep_alive, http10;
    bool chunked; /* the body follows in chunks (http1_put_chunk); not to HTTP/1.0 */
};
/* Appends a response head with Content-Length; the caller appends the body. */
void http1_put_reply_head(struct buf *out, const struct http_reply *r);
/* One chunk of a body; an empty one ends it. */
void http1_put_chunk(struct buf *out, struct str bytes);
const char *http_reason(int code);
