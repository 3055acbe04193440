/* A load generator that is cheaper than any server it drives: one thread, one epoll, one request
 * whose bytes are built once. Closed loop: every connection has one call in flight, and the next
 * goes out when its answer is whole. Answers are cut and their refusals counted; their tensors are
 * not decoded. */
#pragma once

#include "base/err.h"
#include "client/histogram.h"
#include "tensor/call.h"

#include <stdint.h>

struct load_options {
    struct str endpoint, protocol;
    const struct infer_request *request;
    int connections;
    double seconds;   /* that count */
    double warm_up_s; /* before them */
};

struct load_result {
    uint64_t calls, errors;    /* errors: refused calls and broken connections */
    double seconds;            /* that were measured */
    struct histogram *latency; /* of the good calls; the caller frees it */
    struct err first_error;    /* of those counted */
};

/* OK when load could be made at all, whatever the answers; otherwise words, and nothing in out to
 * free. */
status load_run(const struct load_options *opt, struct load_result *out, struct err *e);
