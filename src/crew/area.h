/* A memory file that one side of a slot's socket writes payloads into and the other one reads. It only grows: a reader
 * insists on the seal that says so, since a page behind a file's new end would kill it. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct area {
    int fd; /* -1: there is none yet */
    uint8_t *p;
    uint64_t bytes; /* that are mapped */
    bool told;      /* one's own: the other side has it */
};

void area_init(struct area *a);
void area_close(struct area *a);
/* One's own, with room for so many bytes. */
status area_grow(struct area *a, uint64_t bytes, struct err *e);
/* Gives the memory of a large message back. */
void area_trim(struct area *a);
/* The other side's: takes the file. */
status area_adopt(struct area *a, int fd, struct err *e);
/* Makes its first `bytes` readable; INVALID when it has fewer. */
status area_see(struct area *a, uint64_t bytes, struct err *e);
