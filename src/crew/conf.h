/* What there is to run, as the zygote's first message says it in JSON:
 *
 *   { "name": "uci", "pipeline": false, "retry": 1, "timeout_ms": 120000, "in_flight": 4096, "first_arrival": false,
 *     "operators": [ { "name": "uci", "inputs": [-1], "jump": [], "batch_size": 1, "batch_wait_ms": 0, "channel_size": 0 } ],
 *     "processes": [ [0, 0, 0], [0, 0, 0] ] }
 *
 * channel_size: so many requests may wait in front of an operator before those that it has its input from stop; 0: any number. An
 * input of -1 is the request. The last operator gives the answer. A process is the operators of its slots. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define CREW_INPUTS_MAX    64
#define CREW_PROCESSES_MAX 1024
#define CREW_SLOTS_MAX     240 /* of one process: as many sockets as one message takes */

struct crew_op_conf {
    const char *name;
    int input[CREW_INPUTS_MAX]; /* operators before this one, or -1 */
    int input_count;
    int jump[CREW_INPUTS_MAX];
    int jump_count;
    int batch_size, channel_size;
    int64_t batch_wait_ms;
};

struct crew_process_conf {
    int op[CREW_SLOTS_MAX];
    int count;
};

struct crew_conf {
    const char *name;
    bool pipeline, first_arrival;
    int retry, in_flight;
    int64_t timeout_ms;
    struct crew_op_conf *op;
    int op_count;
    struct crew_process_conf *process;
    int process_count;
};

/* In the arena. Every number is in its range and every operator has an input and a slot. */
status crew_conf_read(struct str text, struct arena *a, struct crew_conf *out, struct err *e);
