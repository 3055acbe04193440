/* What a server and its worker processes say to each other over a slot's socket (SOCK_SEQPACKET: a message comes whole).
 *
 * A message is a struct crew_head, then the payload: behind it where it has at most CREW_INLINE_BYTES, else in the sender's
 * *area*, a memory file of its own that it sends along (SCM_RIGHTS) with the first message that needs it. Either side
 * speaks in turn, so an area is written by one and then read by the other. Numbers are in the machine's order.
 *
 *   READY   worker -> server   the slot waits for work; no payload
 *   FAILED  worker -> server   it cannot begin; the payload is words
 *   WORK    server -> worker   `count` items: struct crew_item_head, then its parts, each a struct crew_part_head and its
 *                              bytes, filled up to a multiple of CREW_ALIGN
 *   ANSWER  worker -> server   `count` outcomes, as many as there were items: struct crew_outcome_head and its bytes, filled up
 *
 * Everything from a worker is checked here, as bytes from outside: user code may have done anything to its process. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

#define CREW_INLINE_BYTES  16384
#define CREW_ALIGN         64
#define CREW_BATCH_MAX     256
#define CREW_MESSAGE_BYTES ((uint64_t)2 << 30)
#define CREW_FROM_REQUEST \
    UINT32_MAX /* a part that is the request itself: its head, a line end, its body */

enum crew_kind {
    CREW_READY = 1,
    CREW_FAILED,
    CREW_WORK,
    CREW_ANSWER,
};

struct crew_head {
    uint32_t kind, count;
    uint64_t number;                     /* of the batch; an answer repeats it */
    uint64_t bytes;                      /* of the payload */
    uint32_t shared;                     /* 1: the payload lies in the sender's area */
    uint32_t prep_us, midp_us, postp_us; /* ANSWER: what the batch took */
};

struct crew_item_head {
    uint64_t id;
    uint32_t form, parts;
    uint64_t left_us; /* until its deadline */
};

struct crew_part_head {
    uint32_t source, reserved; /* the operator that made it, or CREW_FROM_REQUEST */
    uint64_t bytes;
};

enum crew_outcome_kind {
    CREW_NEXT,  /* to the operators behind this one */
    CREW_JUMP,  /* to the ones that it jumps to */
    CREW_FINAL, /* the request's answer, good or bad */
};

struct crew_outcome_head {
    uint32_t kind, code, fault,
        reserved; /* FINAL: HTTP's code, and the error number that the answer tells (0: none) */
    uint64_t bytes;
};

/* ---- writing WORK: sizes first, since the place depends on them ---- */

struct crew_part {
    uint32_t source;
    struct str head; /* of a request; else empty */
    struct str bytes;
};

struct crew_item {
    uint64_t id, left_us;
    uint32_t form;
    int part_count;
    const struct crew_part *part;
};

uint64_t crew_work_bytes(const struct crew_item *item, int count);
/* Writes that many bytes. */
void crew_work_put(const struct crew_item *item, int count, uint8_t *to);

/* ---- reading ANSWER ---- */

struct crew_outcome {
    enum crew_outcome_kind kind;
    int code, fault;
    struct str bytes; /* a view of the payload */
};

/* Of a message from a worker: the head of a packet, whose payload is inline or has to fit in what its area holds. */
status crew_head_read(struct str packet, struct crew_head *out, struct err *e);
status crew_answer_read(struct str payload, int count, struct crew_outcome *out, struct err *e);
