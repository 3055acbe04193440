/* Parts of one kernel's run, each on a thread of its own: the team that oneDNN computes with too, so that there are never
 * more threads than were asked for. */
#pragma once

typedef void (*parallel_fn)(void *arg, int part);

/* fn(arg, 0) ... fn(arg, parts - 1), in any order and at once where there are threads for it; returns when all are done.
 * They share nothing that one of them writes. */
void parallel_run(int parts, parallel_fn fn, void *arg);
