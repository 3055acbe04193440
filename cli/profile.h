/* Where the time of a model's runs goes: `oar bench --profile` and `--trace`. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "exec/exec.h"

struct profile;

/* In the arena. Counts what x does from now on, until exec_watch says otherwise. */
struct profile *profile_new(struct arena *a, struct exec *x);
/* Behind each run, so that its steps are told from the next one's. */
void profile_end_run(struct profile *p);
/* Tables: each kind of operator, then each step, in the order of time, with GFLOP/s and the share of the machine's peak on
 * this many threads. */
void profile_put(const struct profile *p, int threads, struct buf *out);
/* The last run's steps as Chrome's trace events (chrome://tracing, Perfetto). */
status profile_write_trace(const struct profile *p, const char *path, struct err *e);
