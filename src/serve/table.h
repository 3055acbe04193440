/* Which models are served under which names: a snapshot that is never changed, only replaced as a whole.
 *
 * Each event loop holds a reference to the table that it admits requests by, so that finding a model takes no lock; a
 * request holds its flow until it is answered, whatever is loaded meanwhile. */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "flow/flow.h"
#include "serve/traffic.h"

#include <stdint.h>

typedef enum model_state {
    MODEL_WAITING, /* found, and not whole yet */
    MODEL_LOADING,
    MODEL_READY,
    MODEL_UNLOADING,
    MODEL_UNAVAILABLE, /* failed, or unloaded: the reason says which */
} model_state;

/* The Open Inference Protocol's word: "READY". A waiting model is "LOADING" there. */
const char *model_state_text(model_state s);

/* One version under a name. */
struct served {
    const char *name;
    const char *path;
    int64_t version;
    model_state state;
    const char *reason; /* "" where there is nothing to say */
    struct flow *flow;  /* only when it is READY, otherwise NULL; the table's reference */
    /* While it is new: what it took over from, which answers where it fails; the table's reference, or NULL. */
    struct flow *before;
};

struct served_label {
    const char *label; /* "stable" */
    int64_t version;
};

/* One name with its versions, the highest first. */
struct served_model {
    const char *name;
    const struct served *version;
    int version_count;
    const struct served *current; /* what a request without a version gets; NULL: none is ready */
    const struct served_label *label;
    int label_count;
    const char *fault; /* why nothing of it can be read; NULL: it can */
    /* who gets which version where a request names none; NULL: all the current one */
    struct traffic *traffic;
};

struct table; /* refcounted; any thread */

/* Copies everything, takes references to the flows. `current` is looked at as a pointer into `version`. alias (may be
 * NULL) also means the first model. */
struct table *table_new(const struct served_model *model, int count, const char *alias);
struct table *table_ref(struct table *t);
void table_unref(struct table *t);

int table_count(const struct table *t);
const struct served_model *table_at(const struct table *t, int index);
/* Whether a version of this model is called so. */
bool table_has_label(const struct table *t, struct str name, struct str label);
const struct served_model *table_model(const struct table *t, struct str name); /* NULL: none */
/* Why a model without a current version has none; "": there is nothing to say. */
const char *served_fault(const struct served_model *m);
/* The version that a request means: `version` empty is the current one, digits are a number, anything else is a label.
 * Only ready ones are found. NOT_FOUND: nothing is called so; BUSY: it is there and not ready; words for both. */
status table_find(const struct table *t, struct str name, struct str version,
                  const struct served **out, struct err *e);
/* served.before of what has this flow; NULL: none. */
struct flow *table_before(const struct table *t, const struct flow *f);
/* What services without a model's name in their requests mean: the first model's current version. */
status table_first(const struct table *t, const struct served **out, struct err *e);
