/* The models of a server: names, each with numbered versions, kept in step with directories and with what is asked for.
 *
 * One thread at a time changes it (the opener until repository_watch, the keeper's thread from then on); everybody else
 * looks at the table that it publishes. Loading, checking and warming up happen beside the version that serves; then one
 * swap of the table. A version that fails leaves the one that serves alone. A flow that nobody uses any more is freed by
 * the keeper, which gives its memory back to the system. */
#pragma once

#include "base/list.h"
#include "serve/server.h"
#include "serve/table.h"

struct repository;

struct repository_options {
    const struct server_options *server; /* models, roots, policy, times; outlives the repository */
    const struct flow_env *env;          /* of the flows; outlives the repository */
    void (*changed)(void *arg);          /* a new table is there; on the thread that changes it */
    void *arg;
};

/* Loads what there is to load. Words name the model. */
status repository_open(const struct repository_options *opt, struct repository **out,
                       struct err *e);
/* Starts the keeper: from now on tasks are taken and directories are watched. */
void repository_watch(struct repository *r);
/* Ends the keeper (what it is loading is finished first); tasks that wait are answered STOPPING. */
void repository_stop(struct repository *r);
void repository_close(struct repository *r);

struct table *repository_table(struct repository *r); /* a reference; any thread */
/* Counts the published tables, so that a holder sees without a lock that its own is old. Any thread. */
uint64_t repository_generation(const struct repository *r);

/* ---- changes that clients ask for ---- */

/* Embedded in what asks. run is called on the keeper's thread and may use the calls below; then done, after which the task
 * is not touched any more. */
struct repository_task {
    struct list node;
    status (*run)(struct repository *r, struct repository_task *t, struct err *e);
    void (*done)(struct repository_task *t);
    status result;
    struct err err;
};

/* Any thread. When the repository has stopped, done is called at once, with STOPPING. */
void repository_submit(struct repository *r, struct repository_task *t);

struct inline_file {
    struct str path; /* "1/model.onnx": within the model's directory */
    struct str bytes;
};

struct load_request {
    struct str name;
    struct str config; /* JSON that takes the place of the model's configuration; empty: none */
    const struct inline_file *file; /* the model itself; needs a config */
    int file_count;
};

/* The rest: on the keeper's thread, or before repository_watch. */

/* Loads the model as its directory is now, also one that was unloaded or failed. INVALID for a name or path that is none,
 * NOT_FOUND when no directory has it; the load's own fault otherwise, and then the old version serves on. */
status repository_load(struct repository *r, const struct load_request *q, struct err *e);
status repository_unload(struct repository *r, struct str name, struct err *e);
/* Serves the next lower version in place of the current one and keeps to it until the model is loaded again by request. */
status repository_rollback(struct repository *r, struct str name, struct err *e);
/* Gives a version a name of its own, or, version 0, takes the label away. */
status repository_label(struct repository *r, struct str name, struct str label, int64_t version,
                        struct err *e);
/* Divides a model's traffic as the JSON says; empty: no more. */
status repository_traffic(struct repository *r, struct str name, struct str json, struct err *e);
/* Looks at the directories. Returns after how many milliseconds it wants to look again, -1: not before something
 * happens. */
int repository_scan(struct repository *r);
