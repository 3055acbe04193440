/* Operators of a program that nobody translates, gathered over the whole program, so that the words name all at once and
 * nobody has to find them one by one. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/map.h"
#include "base/str.h"

struct unknown {
    struct str type;
    int count;
    int block, index; /* of its first place */
    const char *name; /* of its first place, where the format names places; else NULL */
    struct unknown *next;
};

struct unknown_list {
    struct arena *arena;
    struct map by_type;
    struct unknown *first; /* in order of appearance */
    struct unknown **tail;
};

void unknown_init(struct unknown_list *l, struct arena *a);
/* The type is copied. */
void unknown_note(struct unknown_list *l, struct str type, int block, int index);
/* The same in a format that names its places. */
void unknown_note_named(struct unknown_list *l, struct str type, struct str name);
/* "3 times, first at operator 7 of block 0", in the list's arena. */
const char *unknown_places(const struct unknown_list *l, const struct unknown *u);
/* OK where nothing was noted, else UNSUPPORTED: "not supported: operator 'x' (3 times, first at operator 7 of block 0), ...". */
status unknown_tell(const struct unknown_list *l, struct err *e);
