/* Another machine-learning library as an engine of Oar: a shared library with one function, oar_engine_entry, which returns
 * a table of functions.
 *
 * Nothing is linked: what an engine needs of Oar comes as a table too (oar_engine_host). Plain C99; also good C++. Both
 * tables and the structs that carry a `size` grow at their ends only: `abi` changes when what is there changes its meaning.
 * Oar's own engine stands behind the same five steps (open, ports, session, run, close), so that serving, batching,
 * reloading and metrics know nothing of who computes. docs/adding-an-engine.md takes you from nothing to a served model. */
#ifndef OAR_OAR_ENGINE_H
#define OAR_OAR_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OAR_ENGINE_ABI       1
#define OAR_ENGINE_MAX_RANK  8
#define OAR_ENGINE_MAX_PORTS 256

/* Element types: Paddle Serving's elem_type codes. */
enum oar_engine_dtype {
    OAR_ENGINE_I64 = 0,
    OAR_ENGINE_F32 = 1,
    OAR_ENGINE_I32 = 2,
    OAR_ENGINE_F64 = 3,
    OAR_ENGINE_I16 = 4,
    OAR_ENGINE_F16 = 5,
    OAR_ENGINE_BF16 = 6,
    OAR_ENGINE_U8 = 7,
    OAR_ENGINE_I8 = 8,
    OAR_ENGINE_BOOL = 9
};

/* What went wrong, for oar_engine_host.fail. */
enum oar_engine_fault {
    OAR_ENGINE_INVALID = -1,     /* the request's fault: HTTP 400 */
    OAR_ENGINE_NO_MEMORY = -4,   /* HTTP 503 */
    OAR_ENGINE_UNSUPPORTED = -5, /* the model is well formed, but this engine does not run it */
    OAR_ENGINE_INTERNAL = -6,    /* the engine's own: HTTP 500 */
    OAR_ENGINE_CORRUPT = -10     /* the model's file cannot be right */
};

/* One input or output. */
typedef struct oar_engine_port {
    const char *name; /* lives as long as the model */
    int32_t dtype, rank;
    /* -1 where a request decides; the first is the batch where requests may be joined */
    int64_t shape[OAR_ENGINE_MAX_RANK];
} oar_engine_port;

/* Dense elements, row by row. */
typedef struct oar_engine_tensor {
    int32_t dtype, rank;
    int64_t shape[OAR_ENGINE_MAX_RANK];
    const void *data;
} oar_engine_tensor;

/* How a model is to be opened. */
typedef struct oar_engine_options {
    size_t size;
    int32_t threads; /* of one run; 1 or more */
    int32_t detach;  /* not 0: the file may be overwritten while the model serves: read it whole */
    const char *precision;      /* what was asked for: "fp32", "bf16", "fp16" or "int8" */
    const char *const *setting; /* NAME, VALUE, ..., NULL: what follows the engine's name */
} oar_engine_options;

typedef struct oar_engine_call oar_engine_call; /* one call of a function below, while it runs */

/* What Oar does for an engine. */
typedef struct oar_engine_host {
    uint32_t abi;
    size_t size;
    /* Says what went wrong, and returns `fault`: `return host->fail(call, OAR_ENGINE_INVALID, "...");` The words are
     * copied. */
    int (*fail)(oar_engine_call *call, int fault, const char *words);
    /* In run: memory for outputs, which the caller reads where it lies; NULL: there is none left. 64-aligned, lives until
     * the session's next run. */
    void *(*alloc)(oar_engine_call *call, size_t bytes);
} oar_engine_host;

/* What the engine is and does. Functions that return int return 0, or what fail returned. */
typedef struct oar_engine {
    uint32_t abi;     /* OAR_ENGINE_ABI */
    size_t size;      /* sizeof(oar_engine) */
    const char *name; /* letters, digits, '_' and '-' */
    /* names of files that it opens, as "*.xml"; the likeliest first; ends with NULL */
    const char *const *files;
    const char *const *settings; /* names of settings that it knows; ends with NULL */
    /* A model from a file whose name one of `files` matches. Where it fails, what it has put into *model by then is closed.
     * The host table lives for ever; path and options live until open returns. */
    int (*open)(const oar_engine_host *host, oar_engine_call *call, const char *path,
                const oar_engine_options *options, void **model);
    void (*close)(void *model); /* all sessions are closed already */
    int (*input_count)(void *model);
    int (*output_count)(void *model);
    int (*input)(void *model, int index, oar_engine_port *port);
    int (*output)(void *model, int index, oar_engine_port *port);
    /* Working memory of one thread. Several are made of one model, by several threads. */
    int (*session_open)(const oar_engine_host *host, oar_engine_call *call, void *model,
                        void **session);
    void (*session_close)(void *session);
    /* inputs: one for each port, of its type and of a shape that it allows, in the caller's memory, aligned for its type
     * alone. outputs: one for each port, to be filled in whole; data is host->alloc's, or the session's own that stays
     * until its next run. One thread at a time for each session, and not always the same one. */
    int (*run)(const oar_engine_host *host, oar_engine_call *call, void *session,
               const oar_engine_tensor *inputs, oar_engine_tensor *outputs);
    /* Bytes that the model holds, for metrics; may be NULL. */
    uint64_t (*bytes)(void *model);
    /* Whether this file, whose name matches, is one of its own: where others use the same ending; may be NULL. */
    int (*knows)(const char *path);
} oar_engine;

/* The one symbol that the library exports. */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const oar_engine *
oar_engine_entry(void);

#ifdef __cplusplus
}
#endif

#endif
