/* The keeper: the one thread that changes a repository. It runs the tasks that others hand it, looks at the directories
 * when their files change (inotify) and from time to time (for file systems that tell nothing), and frees the flows that
 * nobody uses any more. */
#pragma once

#include "serve/repository.h"

struct watch;

struct watch *watch_new(struct repository *r);
void watch_start(struct watch *w);
/* Waits for the thread; then answers what tasks are left with STOPPING. May be called again. */
void watch_stop(struct watch *w);
void watch_free(struct watch *w); /* frees the flows that are buried */

void watch_submit(struct watch *w, struct repository_task *t); /* any thread */
/* Wants to know of changes in a directory. The keeper's thread, or before watch_start. */
void watch_directory(struct watch *w, const char *path);
/* A flow's dispose: hands it to the keeper. arg: struct watch. Any thread. */
void watch_bury(struct flow *f, void *arg);
