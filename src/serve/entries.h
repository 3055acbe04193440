/* Private to the files of the repository: what its keeper knows of each model.
 *
 * entries.c keeps the list and publishes the table; entry_scan.c holds one model against its directory; loading.c loads one
 * version; proving.c watches the first requests of a new one; changes.c does what clients ask for; repository.c looks after
 * the directories of all. All of it is for the one thread that changes the repository. */
#pragma once

#include "base/arena.h"
#include "flow/service.h"
#include "serve/config.h"
#include "serve/internal.h"
#include "serve/policy.h"
#include "serve/repository.h"
#include "serve/versions.h"
#include "serve/watch.h"

#include <pthread.h>

#define NAME_BYTES_MAX 200 /* of a model, or a label */
#define LABELS_MAX     64

/* One version of one name: what is on disk, and what is loaded of it. */
struct loaded {
    int64_t number;
    char *path;
    bool in_place, told, found;
    uint64_t print;     /* as the directory was seen last */
    uint64_t seen_ns;   /* since when it looks so */
    int64_t changed_ns; /* wall clock */
    const char *fault;  /* of the scan at hand, in its arena */
    uint64_t trigger;   /* as seen last */
    uint64_t tried;     /* the trigger that was loaded, or failed, last */
    uint64_t tried_print;
    bool was_tried;
    uint64_t summed;  /* the print of files that are not what their manifest says, */
    char *sums_fault; /* and its words; NULL: none are known */
    model_state state;
    char *reason;
    struct flow *flow; /* one reference, or NULL */
};

struct entry {
    char *name, *path;
    bool fixed;                 /* given by name: stays listed when its directory goes */
    bool unloaded;              /* by request */
    bool staged;                /* its files came with the request and are gone */
    char *fault;                /* why not even its versions are known; or NULL */
    struct batch_options batch; /* as the options have it for this model */
    struct arena config_arena;
    struct model_config config;    /* as its directory has it, or the override */
    char *override;                /* Triton's JSON from the request that loaded it; or NULL */
    const struct service *service; /* from the command line; or NULL */
    int64_t pinned;                /* by a rollback; 0: none */
    struct loaded **version;       /* highest first */
    int count, room;
    struct served_label label[LABELS_MAX]; /* the words are its own */
    int label_count;
    struct traffic *traffic; /* one reference, or NULL */
    /* A version that took over has to prove itself in its first requests. */
    struct flow *proving; /* only compared */
    struct flow *before;  /* what it took over from; one reference */
    uint64_t proving_since_ns;
};

struct repository {
    struct repository_options options;
    struct version_policy policy;
    int64_t settle_ns;
    struct entry **entry; /* by the one thread that changes things */
    int count, room;
    bool dirty;    /* the table does not say any more what is so */
    bool watching; /* the keeper runs */
    pthread_mutex_t lock;
    struct table *table; /* guarded by lock */
    atomic_uint_fast64_t generation;
    struct watch *watch;
};

typedef enum scan_mode {
    SCAN_WATCH,  /* load what has settled */
    SCAN_START,  /* the same by the files' own times */
    SCAN_ANYWAY, /* at the start, where nothing has settled: better an unsettled version than none */
    SCAN_EXPLICIT, /* somebody says that it is whole: load, also what failed before */
} scan_mode;

/* ---- entries.c ---- */

/* A new table for everybody. */
void repository_publish(struct repository *r);
/* A name comes from outside: it is one directory's, and never leads anywhere else. */
bool entry_is_name(struct str name);
bool entry_is_dir(const char *root, const char *name, struct arena *a);
struct entry *entry_find(const struct repository *r,
                         struct str name); /* NULL: nothing is called so */
struct entry *entry_add(struct repository *r, const char *name, const char *path);
void entry_remove(struct repository *r, struct entry *en);
struct loaded *entry_find_version(const struct entry *en, int64_t number); /* NULL: none */
/* The version of this number, made where there is none. */
struct loaded *entry_version(struct repository *r, struct entry *en, int64_t number);
void entry_drop_version(struct entry *en, int i);
void version_set_state(struct repository *r, struct loaded *l, model_state s, const char *reason);

/* ---- entry_scan.c ---- */

/* Looks at the model's directory, loads what is due and lets go of what is not wanted. The words in e are the first fault's;
 * OK when at least one version serves. */
status entry_scan(struct repository *r, struct entry *en, scan_mode mode, struct err *e);

/* ---- loading.c ---- */

/* The versions that the model's directory, or its service's files, hold. */
status entry_look_up(const struct repository *r, const struct entry *en, struct arena *a,
                     struct version **out, int *count, struct err *e);
/* Whether the version is served, loading it where that is due. */
bool version_serve(struct repository *r, struct entry *en, struct loaded *l, scan_mode mode,
                   struct err *e);
/* Loads, checks and warms up beside what serves, then swaps. */
status version_load(struct repository *r, struct entry *en, struct loaded *l, struct err *e);

/* ---- proving.c ---- */

/* fresh takes over from was (or NULL), which is kept behind it until it has proved itself. */
void entry_begin_proving(struct entry *en, const struct loaded *was, struct flow *fresh);
void entry_end_proving(struct entry *en);
/* Takes back what fails; true: something still has to prove itself. */
bool repository_check_proving(struct repository *r);
