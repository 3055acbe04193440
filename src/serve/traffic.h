/* Traffic between variants under one name: who gets which version, what each of them did, and when one is taken back.
 *
 * The description is JSON (docs/traffic.md) and never changes; weights may be set to 0 by a rollback, and counters run.
 * Refcounted: tables and calls hold it. Any thread. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "tensor/call.h"

#include <stdbool.h>
#include <stdint.h>

#define TRAFFIC_VARIANTS_MAX 16
#define TRAFFIC_TAG_MAX      64 /* bytes; visible ASCII, since tags go into headers */

struct traffic;

/* One of the versions that share a name. */
struct traffic_variant {
    const char *tag;
    const char *model; /* another name than the traffic's own; NULL: that */
    int64_t version;   /* 0: whatever is current */
};

/* INVALID: words name the key and the byte. */
status traffic_parse(struct str json, struct traffic **out, struct err *e);
struct traffic *traffic_ref(struct traffic *t);
void traffic_unref(struct traffic *t);

int traffic_count(const struct traffic *t);
const struct traffic_variant *traffic_at(const struct traffic *t, int index);
int traffic_find(const struct traffic *t, struct str tag); /* -1: none */

/* The header whose value a caller keeps its variant by; NULL: it is something else, or nothing. */
const char *traffic_sticky_header(const struct traffic *t);
/* Whether it is something in the request's body, so that which variant it gets is known when that is decoded: what
 * traffic_pick says is then only a guess. */
bool traffic_sticky_body(const struct traffic *t);
/* The variant by that: the elements of a tensor, or the log id. A request that has none of it goes by chance. -1: all weights
 * are 0. */
int traffic_pick_by_body(struct traffic *t, const struct infer_request *r);
/* key: that header's value, or the address; empty: by chance. The same key gets the same variant while the weights stay. -1:
 * all weights are 0. */
int traffic_pick(struct traffic *t, struct str key, struct str address);

/* A variant that sees some of the requests and whose answers are compared and dropped; -1: not this time. */
int traffic_shadow(struct traffic *t);
/* How a shadow's answer compared; different: in form, or by more than the tolerance. */
void traffic_compared(struct traffic *t, bool different, double distance);
double traffic_tolerance(const struct traffic *t);

/* A call has ended; fine: it had an answer, or the fault was the caller's. score: the first number of the answer, NAN: none. */
void traffic_ended(struct traffic *t, int variant, bool fine, uint64_t ns, double score);
/* What came of an answer, as the caller reports it. */
void traffic_outcome(struct traffic *t, int variant, double value);

/* Applies the rules: sets the weight of a variant that breaks one to 0. True: words say which and why. */
bool traffic_check(struct traffic *t, struct err *words);
bool traffic_has_rules(const struct traffic *t);

/* {"variants": [{"tag", "version", "weight", "requests", ...}], ...} */
void traffic_put_json(struct traffic *t, const char *name, struct buf *b);
