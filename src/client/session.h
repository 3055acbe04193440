/* The client's side of a protocol as pure functions of bytes: a request becomes the bytes that ask
 * for it, the bytes that came back become an answer. No sockets and no clock: client.c and load.c
 * bring the bytes, tests feed them one by one.
 *
 * A protocol is a row of the table in session.c. A session is one connection's conversation with
 * one request at a time; one thread. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/parse.h"
#include "codec/compress.h"
#include "proto/general_model.h"
#include "proto/http1.h"
#include "tensor/call.h"

#include <stdbool.h>
#include <stdint.h>

/* One whole answer. All views end with the bytes that were cut, or with the session's next request.
 */
struct answer {
    status refused;   /* OK, or the kind of refusal */
    int code;         /* the protocol's own number: baidu_std error_code, HTTP status */
    struct str words; /* a refusal's words, as the server put them; may be empty */
    struct str payload;
    compression compression; /* of payload */
    bool json;               /* payload is JSON, else protobuf */
    size_t json_bytes;       /* kserve-http: where binary tensors begin; SIZE_MAX: there are none */
    const struct session_protocol *protocol;
    bool keep_alive; /* the connection can carry another request */
};

struct session;

/* How a protocol is spoken: its name, and what turns a request into bytes and bytes into an answer. */
struct session_protocol {
    const char *name;
    /* *gaps is empty at first, and stays so where elements are copied. */
    void (*ask)(const struct session *s, const struct infer_request *r, struct buf *out,
                struct buf *scratch, struct general_gaps *gaps);
    struct parse (*cut)(struct session *s, struct str bytes, struct answer *out);
    /* A good answer's payload, inflated. */
    status (*reply)(const struct answer *answer, struct str payload, struct arena *a,
                    struct infer_reply *out, struct err *e);
    const char *path; /* of gRPC: the method, whose message `ask` makes; NULL: not over HTTP/2 */
    const char *alpn; /* what it is called where TLS is agreed on; NULL: it has no name */
    bool names_model; /* a request says whose it is; else it is the server's first model's */
};

struct session_h2; /* session_h2.c */

#define SESSION_VARIANT_BYTES 64 /* of a tag; a longer one is cut */

struct session {
    const struct session_protocol *protocol;
    const char *authority;     /* "host:port", borrowed */
    const char *model;         /* borrowed; what protocols whose requests name a model ask for */
    const char *authorization; /* borrowed: "Bearer KEY", or NULL */
    bool secure;               /* over TLS */
    const char *path;          /* over gRPC: the method of this request, borrowed */
    bool packed;               /* over gRPC: this request's message is gzip's */
    uint64_t id;               /* of the last request */
    /* The HTTP answer in progress; the head is remembered as numbers, since bytes may move between
     * calls. */
    size_t seen, head_bytes, taken;
    uint64_t length;
    struct answer head;
    struct http_chunked chunks;
    bool chunked;
    char variant[SESSION_VARIANT_BYTES + 1]; /* which of divided traffic's variants answered */
    struct buf body;                         /* chunks joined */
    struct session_h2 *h2;
    struct buf wire; /* over HTTP/2: what is to be sent */
    size_t sent;     /* else: of the request */
};

/* "brpc", "http", "http-json", "kserve-http", "kserve-http-json", "tfs", "grpc", "kserve-grpc"; NULL: no such protocol. session_protocol_at: NULL behind the last.
 */
const struct session_protocol *session_protocol_find(struct str name);
const struct session_protocol *session_protocol_at(size_t index);

void session_init(struct session *s, const struct session_protocol *p, const char *authority);
void session_deinit(struct session *s);

/* Appends a whole request to out; the answer in progress, if any, is forgotten. scratch is
 * overwritten. Check both buffers with buf_check. */
void session_ask(struct session *s, const struct infer_request *r, struct buf *out,
                 struct buf *scratch);
/* The same, but large elements stay where they lie: the request is out with the data of *gaps put in. out was empty. */
void session_ask_around(struct session *s, const struct infer_request *r, struct buf *out,
                        struct buf *scratch, struct general_gaps *gaps);
/* Over gRPC: appends the request of any method with this message, which is compressed by gzip where it is packed. path is borrowed until
 * the answer has come. */
void session_invoke(struct session *s, const char *path, struct str message, bool packed,
                    struct buf *out);
/* A new connection: what was agreed on with the old one is forgotten. */
void session_connected(struct session *s);
/* Begins a call with a request that session_ask made (the load generator sends one request's bytes again and again). */
void session_again(struct session *s, struct str request);
/* What is still to be sent: of the request, over HTTP/2 of frames, of which there may be more after each session_cut. The view
 * ends with the next call on s. */
struct str session_output(const struct session *s, struct str request);
void session_sent(struct session *s, size_t n); /* n bytes of it were */

/* Looks for the answer in bytes: everything that came since the request, always from the same
 * start. MORE: call again with more bytes behind them. DONE: *out is filled; `used` bytes belong to
 * it. BAD: this is not the protocol, and the connection cannot go on. */
struct parse session_cut(struct session *s, struct str bytes, struct answer *out);

/* The reply in a good answer's payload: views of the payload where it can be, else in the arena;
 * inflated receives a compressed payload's content and must live as long. A refusal's status and
 * words come back as they are. */
status session_reply(const struct answer *answer, struct arena *a, struct buf *inflated,
                     struct infer_reply *out, struct err *e);

/* The payload alone, inflated; a refusal as session_reply has it. */
status session_payload(const struct answer *answer, struct arena *a, struct buf *inflated,
                       struct str *out, struct err *e);

/* ---- for session.c and session_h2.c ---- */
void session_note_variant(struct session *s, struct str tag);

/* ---- HTTP/2 (session_h2.c), for session.c ---- */
void session_h2_open(struct session *s);
void session_h2_close(struct session *s);
void session_h2_begin(struct session *s, struct str message);
struct parse session_h2_cut(struct session *s, struct str bytes, struct answer *out);
