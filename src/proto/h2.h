/* HTTP/2 (RFC 9113), either side, as a state machine: bytes in, events out, frames into a buffer. Frames and HPACK are
 * nghttp2's; sockets are nobody's here.
 *
 * A stream is one request with its answer. It is made by the session, lives until its `closed` event, and belongs to whoever
 * owns the session; one thread. What its peer sends is kept in `body` until it is taken; what is to be sent waits in the
 * stream until flow control and the owner's output buffer have room for it, so that a peer that does not read holds its own
 * answers back and nothing else.
 *
 * Bounded: streams at once, a header's bytes and fields, a body, all bodies of a session together, control frames that
 * bring nothing forward. A peer that floods is told ENHANCE_YOUR_CALM, and the session is over. */
#pragma once

#include "base/buf.h"
#include "base/list.h"
#include "base/str.h"
#include "proto/http1.h"

#include <stdbool.h>
#include <stdint.h>

#define H2_PREFACE_BYTES 24
#define H2_ERROR_NONE    0
#define H2_REFUSED       7
#define H2_CANCEL        8

struct h2;

/* Names and values, kept in one buffer. */
struct h2_fields {
    struct buf bytes;
    int count;
};

struct h2_stream {
    struct list node;
    struct h2 *h2;
    int32_t id;
    void *user;
    struct h2_fields head, tail; /* header and trailers */
    /* What came of the body and was not taken. While `end` runs it may be a view of the bytes being fed instead. */
    struct buf body;
    struct str view;
    /* the owner's, set in `head`: it wants `data` as the body comes, and takes it */
    bool streaming;
    bool too_large; /* the header or the body is; nothing more of it is kept */
    bool crowded;   /* too_large, but by what all bodies of the session take together */
    bool ended;     /* the peer has sent all it will */
    bool answered;  /* our side has begun */

    /* Private: what is to be sent. */
    struct buf out;
    size_t out_at;
    struct h2_fields out_tail;
    bool out_whole, deferred, has_tail;
    size_t dropped; /* bytes that came after too_large or ended */
    size_t opened;  /* of body: bytes for which the stream's window is open again already */
    bool was_taken;
    int excess; /* fields that came after too_large */
    size_t pad; /* of body: free bytes in front */
};

/* All are called from inside h2_feed, and `closed` from h2_pump too. Answering from inside is fine. */
struct h2_events {
    void (*head)(void *arg, struct h2_stream *s);
    void (*data)(void *arg, struct h2_stream *s); /* of a streaming stream: its body grew */
    /* The peer's side is whole, or `too_large`, of which it is told as soon as it shows. Once. */
    void (*end)(void *arg, struct h2_stream *s);
    void (*closed)(void *arg, struct h2_stream *s, uint32_t error); /* the last */
    /* Or NULL. The first bytes of a body that is not streaming, which does not come in one piece: how many there will be (0: not
     * known), and bytes to leave free in front of them, less than 64. */
    size_t (*expect)(void *arg, struct h2_stream *s, struct str first, size_t *pad);
};

/* Streams that ended, kept for the next; shared by the sessions of one thread. */
struct h2_pool {
    struct list spare;
    int count;
};
void h2_pool_init(struct h2_pool *p);
void h2_pool_deinit(struct h2_pool *p);

struct h2_options {
    const struct h2_events *events;
    void *arg;
    struct h2_pool *pool;
    bool client;
    size_t max_header_bytes; /* 0: LIMIT_HTTP_HEADER_BYTES, which is the most */
    size_t max_body_bytes;
    size_t max_held_bytes; /* of all bodies that were not taken */
    uint32_t max_streams;  /* that the peer may have open */
};

/* NO_MEMORY: nothing is made. */
status h2_new(const struct h2_options *opt, struct h2 **out);
/* Streams that are there get their `closed`. NULL is fine. */
void h2_free(struct h2 *h);
/* Server, first of all: goes on from an HTTP/1.1 request with `Upgrade: h2c`, which becomes stream 1, whole, whose answer is
 * owed: its `head` and `end` come. settings: HTTP2-Settings, decoded. INVALID: they are no settings. */
status h2_upgrade(struct h2 *h, struct str settings, const struct http_head *request,
                  struct str body);

/* Takes all bytes. Not OK: this is no HTTP/2, or the peer went too far; pump once more, then end the connection. */
status h2_feed(struct h2 *h, struct str bytes);
/* Appends frames while out holds less than `full` bytes. */
status h2_pump(struct h2 *h, struct buf *out, size_t full);
/* A streaming stream of which the peer took something since it was last named here; NULL: there is none. */
struct h2_stream *h2_next_taken(struct h2 *h);
/* Nothing will be sent or received any more. */
bool h2_is_over(const struct h2 *h);
/* GOAWAY: what is open goes on, and nothing new is taken. */
void h2_drain(struct h2 *h);
int h2_open_streams(const struct h2 *h);
/* Streams of which the request is not whole, other than streaming ones. */
int h2_incomplete(const struct h2 *h);
/* Bytes of bodies that were not taken; and how many there may be from now on. */
size_t h2_held(const struct h2 *h);
void h2_set_max_held(struct h2 *h, size_t bytes);
/* Streams that have something to send, which flow control or the owner holds back. */
int h2_unsent(const struct h2 *h);
/* Bytes of bodies that were sent so far: whether the peer takes any. */
uint64_t h2_sent(const struct h2 *h);

/* Steps through fields: *at is 0 at first. The strings are terminated by a NUL behind them. */
bool h2_field_next(const struct h2_fields *f, size_t *at, struct http_header *out);
struct str h2_field(const struct h2_fields *f, const char *name); /* p NULL: not there */
/* The request as HTTP/1.1 has it; views of s. */
void h2_http_head(const struct h2_stream *s, struct http_head *out);
/* All of the body: where `end` may look for it. */
struct str h2_body(const struct h2_stream *s);
/* The whole body goes to `to`, whose content is dropped; for those that are not streaming. */
void h2_give_body(struct h2_stream *s, struct buf *to);
/* Drops n bytes at the front of body, which lets the peer send as many more. */
void h2_take(struct h2_stream *s, size_t n);
/* Streaming: lets the peer send on although body is not taken yet: its owner waits for the rest of something. */
void h2_want_more(struct h2_stream *s);

/* Server: begins the answer; client: NULL is returned when there can be no more streams. With `last`, nothing follows.
 * Names are in lower case; all is copied. */
void h2_answer(struct h2_stream *s, const struct http_header *field, int count, bool last);
struct h2_stream *h2_request(struct h2 *h, const struct http_header *field, int count, bool last);
/* More of what is to be sent. h2_write_buf takes the content of `from` without copying where nothing waits before it. */
void h2_write(struct h2_stream *s, struct str bytes);
void h2_write_buf(struct h2_stream *s, struct buf *from);
/* Ends our side, with trailers where count > 0. */
void h2_finish(struct h2_stream *s, const struct http_header *trailer, int count);
size_t h2_out_bytes(const struct h2_stream *s); /* written and not sent */
void h2_reset(struct h2_stream *s, uint32_t error);
