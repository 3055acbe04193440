/* Private to the room: what is noted of a request beside its content, where somebody asked for it: for the access log, for
 * traces, for the reply's headers. A call without a note costs nothing of this. */
#pragma once

#include "proto/http1.h"
#include "serve/internal.h"

#define TRACE_ID_BYTES 16
#define SPAN_ID_BYTES  8

struct note {
    struct str request_id; /* the client's, or ours; never empty */
    struct str method, target;
    char peer[64];
    bool timing; /* Server-Timing is wanted */
    bool traced; /* a span is to be exported */
    bool has_parent;
    uint8_t trace_id[TRACE_ID_BYTES], parent_id[SPAN_ID_BYTES], span_id[SPAN_ID_BYTES];
    int64_t begin_us; /* wall clock */
};

/* How a request came to be noted: each p NULL where the protocol has not said it. */
struct note_source {
    struct str method, target, request_id, traceparent;
    bool timing;
    bool plain; /* it needs no call: there is no span of it */
};

/* Whether requests are noted at all: for protocols that would have to gather what they say. */
static inline bool notes_wanted(const struct conn *c)
{
    return c->lane->server->access != NULL || c->lane->server->tracer != NULL;
}
/* In the arena; NULL: nothing is to be noted of this one. */
struct note *note_new(struct conn *c, const struct note_source *from, struct arena *a);
/* What a reply's header says of it: its id, its span, its stage times where they are wanted (of a call). Views of the note and
 * of room. */
#define NOTE_FIELDS 3
struct note_room {
    char trace[2 * (TRACE_ID_BYTES + SPAN_ID_BYTES) + 8], timing[256];
};
int note_fields(const struct note *n, const struct call *call, struct note_room *room,
                struct http_header out[NOTE_FIELDS]);
/* The call has ended: a line for the access log, a span. On its loop. */
void note_call(const struct call *c);
/* The same for an answer that needed no call. */
void note_answer(struct conn *c, const struct note *n, int code, size_t bytes, uint64_t begin_ns);

/* ---- where it goes (access_log.c, trace.c) ---- */

struct access_log;
/* NULL path: no log, *out is NULL. "-": stderr. sample: one good answer of so many is written; failures always. */
status access_log_open(const char *path, int sample, struct access_log **out, struct err *e);
/* For who has renamed the file: the path is opened anew. On a fault the old one stays. NULL is fine. */
status access_log_reopen(struct access_log *l, struct err *e);
void access_log_close(struct access_log *l);

/* One answer. call NULL: it needed none. */
struct access_line {
    const struct note *note;
    const struct call *call;
    const char *protocol;
    int code; /* HTTP's; 0: another protocol */
    const char *result;
    size_t bytes_in, bytes_out;
    uint64_t total_ns;
};
bool access_log_wants(struct access_log *l, bool failed); /* counts it, too */
void access_log_write(struct access_log *l, const struct access_line *line);

struct tracer;
struct trace_options {
    const char *file;     /* spans as OTLP/JSON, one request a line; or NULL */
    const char *endpoint; /* "http://host:port/v1/traces"; or NULL */
    int rate;             /* one request of so many that bring no trace of their own; 0: none */
};
status tracer_open(const struct trace_options *o, struct tracer **out, struct err *e);
status tracer_reopen(struct tracer *t, struct err *e); /* its file; as access_log_reopen */
void tracer_close(struct tracer *t);                   /* writes what it holds; NULL is fine */
/* Whether a request is traced: the trace it brings says so, or it is its turn. */
bool tracer_wants(struct tracer *t, bool brought, bool sampled);
/* Any thread: whether anything is traced, one of how many requests, and how many traces are still to come (-1: no end). */
bool tracer_is_on(const struct tracer *t);
int tracer_rate(const struct tracer *t);
int tracer_count(const struct tracer *t);
void tracer_set(struct tracer *t, bool on, int rate, int count);
void tracer_add(struct tracer *t, const struct note *n, const struct call *c);
