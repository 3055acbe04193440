/* What live requests spend their time on, for Chrome's trace viewer: spans of event loops, requests and their stages, operators,
 * batches and kernels, kept in a ring while somebody looks. Off, a span costs one load. Any thread. */
#pragma once

#include "base/buf.h"
#include "exec/exec.h"

#include <stdbool.h>
#include <stdint.h>

struct trace;

struct trace *trace_new(void);
void trace_free(struct trace *t); /* NULL is fine */
/* From empty, and not on before trace_allow; false: somebody is looking already. */
bool trace_start(struct trace *t);
/* Takes spans until there are `share` of all that it can keep; called again and again, so that a busy server is seen in short
 * whole pieces of the time that somebody looks, and looking costs little however busy it is. */
void trace_allow(struct trace *t, double share);
void trace_stop(struct trace *t);
void trace_finish(struct trace *t);      /* others may look */
bool trace_is_on(const struct trace *t); /* NULL: no */

struct trace_span {
    const char *kind; /* static: "loop", "request", "stage", "node", "batch", "kernel" */
    const char *name; /* copied, cut at 31 bytes */
    uint64_t begin_ns, end_ns;
    int64_t requests;   /* of a batch; else 0 */
    const char *kernel; /* static, or NULL */
    /* which one it belongs to, and not to a thread; 0: to the thread that says so */
    uint64_t request;
};
void trace_put(struct trace *t, const struct trace_span *s);
/* What x computes becomes spans of kernels, until trace_leave. x is the calling thread's. */
void trace_enter(struct trace *t, struct exec *x);
void trace_leave(struct exec *x);

/* [{"name": ..., "cat": ..., "ph": "X", "ts": us, "dur": us, "pid": ..., "tid": ...}, ...] after it was stopped; spans of a
 * request are pairs of "b" and "e" with its id; threads have names. */
void trace_put_json(const struct trace *t, struct buf *out);
