/* A load generator that is cheaper than any server it drives: one thread, one epoll, requests whose bytes are built
 * once. Answers are cut and their refusals counted; their tensors are not decoded.
 *
 * Closed loop: every connection has one call in flight, and the next goes out when its answer is whole. Open loop (a rate is
 * given): calls are due at even intervals whatever the server does, and each is timed from when it was due, not from when
 * a connection was free for it, so that a server that stalls cannot hide the calls that it kept from being made
 * (coordinated omission). */
#pragma once

#include "base/err.h"
#include "client/histogram.h"
#include "tensor/call.h"

#include <stdint.h>

struct remote;

struct load_options {
    struct str endpoint, protocol;
    const char *model;                   /* for protocols whose requests name one */
    const struct remote *remote;         /* NULL: in the clear, without a key */
    const struct infer_request *request; /* calls take turns through them */
    int request_count;
    int connections;
    double seconds;   /* that count */
    double warm_up_s; /* before them */
    double rate;      /* calls a second; 0: closed loop */
};

#define LOAD_SLOTS 200 /* equal parts of the time that counts */

struct load_slot {
    uint64_t calls, errors, max_ns, sum_ns;
};

struct load_result {
    uint64_t calls, errors;    /* errors: refused calls and broken connections */
    double seconds;            /* that were measured */
    struct histogram *latency; /* of the good calls; the caller frees it */
    struct load_slot slot[LOAD_SLOTS];
    uint64_t late; /* open loop: calls that were due and never made for want of a free connection */
    struct err first_error; /* of those counted */
};

/* OK when load could be made at all, whatever the answers; otherwise words, and nothing in out to
 * free. */
status load_run(const struct load_options *opt, struct load_result *out, struct err *e);
