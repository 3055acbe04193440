/* What live requests spend their time on, for Chrome's trace viewer: spans of stages, operators and batches, kept in a ring
 * while somebody looks. Off, a span costs one load. Any thread. */
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct trace;

struct trace *trace_new(void);
void trace_free(struct trace *t); /* NULL is fine */
/* From empty; false: somebody is looking already. */
bool trace_start(struct trace *t);
void trace_stop(struct trace *t);
bool trace_is_on(const struct trace *t); /* NULL: no */
/* name is copied, cut at 31 bytes. kind: static ("node", "batch", "stage"). number: a batch's requests, or 0. */
void trace_span(struct trace *t, const char *kind, const char *name, uint64_t begin_ns,
                uint64_t end_ns, int64_t number);
/* [{"name": ..., "cat": ..., "ph": "X", "ts": us, "dur": us, "pid": ..., "tid": ...}, ...] after it was stopped. */
void trace_put_json(const struct trace *t, struct buf *out);
