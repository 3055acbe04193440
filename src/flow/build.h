/* Private to the room: what a built graph is. */
#pragma once

#include "flow/node.h"

struct flow {
    atomic_int refs;
    struct flow_options options; /* its name is the flow's own */
    const struct flow_env *env;  /* or NULL */
    struct arena arena;          /* of what the graph consists of */
    struct flow_node *node;
    int node_count;
    int *order;    /* every node behind those that it waits for */
    bool linear;   /* no two nodes could run at once */
    bool copies;   /* more than one model: an exec's workspace may be used again before the end */
    bool may_wait; /* some node may finish later, on another thread */
    struct model *model;
    struct port *input, *output;
    int input_count, output_count;
    /* the only batcher, which every call has to pass; NULL: there is none such */
    struct batcher *gate;
    struct batch_counters counters;
    struct cache *cache; /* NULL: none */
    struct cache_counters cache_counters;
    atomic_uint_fast64_t typical_ns, typical_bytes; /* of calls, and of what they were fed */
    atomic_int waiting;
    atomic_uint_fast64_t good, bad; /* calls that ended */
};
