/* Private to the room: what a model is, who computes it, and what steps that run graphs need of the executor. */
#pragma once

#include "exec/exec.h"
#include "exec/plan.h"
#include "exec/recall.h"

#include <pthread.h>
#include <stdatomic.h>

struct recalls { /* executors that remember something of a model */
    struct recall **item;
    int count, cap;
};

/* How a model is computed, as a row: Oar's own plans (model.c, exec.c), or another engine's library (plugin.c). */
struct backend {
    /* Reads the model at m->path into m: `imported` has its ports, and what is known of the file. What it has put into
     * m by the time it fails, close frees. */
    status (*open)(struct model *m, struct err *e);
    /* What run does before it computes, on feeds that were checked. */
    status (*prepare)(struct exec *x, struct model *m, const struct tensor *in, struct err *e);
    status (*run)(struct exec *x, struct model *m, const struct tensor *in, struct tensor *out,
                  struct err *e);
    void (*close)(struct model *m); /* no executor remembers anything of it any more */
};
extern const struct backend own_backend, plugin_backend;

#define PLAN_BUCKETS 256

struct model {
    atomic_int refs;
    uint64_t id;      /* unique in the process, never used again */
    const char *path; /* while it is opened */
    const struct backend *backend;
    struct imported imported;
    struct model_options options;
    struct packs *packs;
    const char *remark;          /* model_remark */
    struct plugin_model *plugin; /* plugin.c's; NULL: Oar's own */
    uint64_t load_ns;
    pthread_mutex_t lock;
    struct list plans;                /* most recently used first; guarded by lock */
    struct list bucket[PLAN_BUCKETS]; /* the same by their keys' hashes; guarded by lock */
    struct list bases;                /* those that others may be made out of; guarded by lock */
    int plan_count;                   /* guarded by lock */
    size_t plan_bytes;                /* guarded by lock */
    /* plans of this model serve for nothing but themselves; guarded by lock */
    bool has_no_patterns;
    /* settle.c */
    struct plan *raw_plan; /* what it works on */
    pthread_t settler;
    bool is_settling; /* the thread was started; guarded by lock */
    atomic_bool settled, stopping;
    struct recalls recalls; /* guarded by lock */
};

/* r remembers something of m from now on. */
void model_remembered_by(struct model *m, struct recall *r);

/* Begins to make copies of what p, a plan that runs again, reads at an alignment that is slow. */
void model_settle(struct model *m, struct plan *p);
void model_stop_settling(struct model *m);
/* Takes p out of the cache, into `dropped`; the model's lock is held. Lists of such are freed outside the lock. */
void model_drop_plan(struct model *m, struct plan *p, struct list *dropped);
void model_free_plans(struct list *plans);

bool plan_key_eq(const struct plan_key *a, const struct plan_key *b);

/* Own plans. */
status exec_prepare_own(struct exec *x, struct model *m, const struct tensor *in, struct err *e);
status exec_run_own(struct exec *x, struct model *m, const struct tensor *in, struct tensor *out,
                    struct err *e);

/* What x remembers of m in the slot, taken out; NULL: nothing of this model. */
struct kept *exec_recall(struct exec *x, const struct model *m, size_t slot);
/* x remembers something of m from now on that it did not get from exec_recall. */
void exec_remembers(struct exec *x, struct model *m);
/* k, whose reference is taken over, stays until the run ends and is remembered in the slot then. */
status exec_hold(struct exec *x, size_t slot, struct kept *k, struct err *e);

/* Runs g on `in`, one cell for each of its inputs. *out: one for each of its outputs; they and their bytes live until the
 * marks before this call are released, or the run ends. */
status exec_graph(struct exec *x, struct model *m, const struct graph *g, const struct cell *in,
                  int in_count, const struct cell **out, struct err *e);

/* A block of working memory for the rest of this run, by its number: blocks of later calls may move the list, never
 * the bytes. exec_resize loses what is in it. */
status exec_take(struct exec *x, size_t bytes, int *index, struct err *e);
status exec_resize(struct exec *x, int index, size_t bytes, struct err *e);
void *exec_block(struct exec *x, int index);

/* Whatever was taken, planned and run since the mark is given up by the release. */
struct exec_mark {
    int used, held;
};
struct exec_mark exec_mark(const struct exec *x);
void exec_release(struct exec *x, struct exec_mark mark);
