/* Requests and their answers, sampled into a file, for tests and for load.
 *
 * The file: "OARREC1\n", then records: a length (8 bytes) and so many bytes, which pack.h's functions wrote. It is written
 * record by record, so that what was cut short is a file with one record less, and never grows over its bound. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "tensor/call.h"

struct record {
    int64_t time_us; /* wall clock, when it was answered */
    struct str model;
    int64_t version;
    struct infer_request request;
    struct infer_reply reply;
};

struct recorder; /* any thread */

struct recorder_options {
    const char *path; /* overwritten */
    double share;     /* of the requests */
    size_t max_bytes;
};

status recorder_open(const struct recorder_options *opt, struct recorder **out, struct err *e);
void recorder_close(struct recorder *r); /* NULL is fine */
/* Whether this one is to be recorded. */
bool recorder_wants(struct recorder *r);
/* Appends it. Where the bound is reached or the disk full, the log says so, and nothing more is wanted. */
void recorder_put(struct recorder *r, const struct record *rec);

struct records; /* a file that is read */

status records_open(const char *path, struct records **out, struct err *e);
void records_close(struct records *r);
/* The next one, in the arena; NOT_FOUND at the end (a record that was cut short is the end), CORRUPT with its place. */
status records_next(struct records *r, struct arena *a, struct record *out, struct err *e);
