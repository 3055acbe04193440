/* A custom operator for Oar's graphs: a shared library with one function, oar_op_entry, which returns a table of functions.
 *
 * Nothing is linked: what an operator needs of Oar comes as a table too (oar_op_host). Plain C99; also good C++. Both
 * tables grow at their ends only: `abi` changes when what is there changes its meaning, `size` says how much is there.
 * docs/custom-operators.md takes you from nothing to a served operator. */
#ifndef OAR_OAR_OP_H
#define OAR_OAR_OP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OAR_OP_ABI      1
#define OAR_OP_MAX_RANK 8

/* Element types: Paddle Serving's elem_type codes. */
enum oar_op_dtype {
    OAR_OP_I64 = 0,
    OAR_OP_F32 = 1,
    OAR_OP_I32 = 2,
    OAR_OP_F64 = 3,
    OAR_OP_I16 = 4,
    OAR_OP_U8 = 7,
    OAR_OP_I8 = 8,
    OAR_OP_BOOL = 9
};

/* What went wrong, for oar_op_host.fail. */
enum oar_op_fault {
    OAR_OP_INVALID = -1, /* the request's fault: HTTP 400 */
    OAR_OP_INTERNAL = -6 /* the operator's own: HTTP 500 */
};

/* Dense elements, row by row. A ragged tensor has the offsets of its sequences in lod: 0, 3, 8 are two of 3 and 5 rows. */
typedef struct oar_op_tensor {
    const char *name;
    int32_t dtype, rank;
    int64_t shape[OAR_OP_MAX_RANK];
    const void *data;
    const int64_t *lod; /* NULL: not ragged */
    int64_t lod_count;
} oar_op_tensor;

typedef struct oar_op_call oar_op_call;     /* one request, while run works on it */
typedef struct oar_op_config oar_op_config; /* a node's settings, while open reads them */

/* What Oar does for an operator. */
typedef struct oar_op_host {
    uint32_t abi;
    size_t size;
    /* A setting of the node's `settings`; NULL: it is not given. Lives until open returns. */
    const char *(*setting)(const oar_op_config *config, const char *name);
    /* Memory that lives as long as the call; NULL: there is none left. */
    void *(*alloc)(oar_op_call *call, size_t bytes);
    /* Hands out one tensor: the struct is copied, its data must be alloc's or an input's. 0, or a fault that run returns. */
    int (*give)(oar_op_call *call, const oar_op_tensor *tensor);
    /* Says what went wrong, and returns `fault`: `return host->fail(call, OAR_OP_INVALID, "...");` */
    int (*fail)(oar_op_call *call, int fault, const char *words);
    /* The same for open. */
    int (*refuse)(oar_op_config *config, const char *words);
} oar_op_host;

/* What the operator is and does. */
typedef struct oar_op {
    uint32_t abi; /* OAR_OP_ABI */
    size_t size;  /* sizeof(oar_op) */
    const char *name;
    int inputs_min, inputs_max;  /* tensors */
    const char *const *settings; /* names that the node may set; ends with NULL */
    const char *const *outputs;  /* names of what it gives; ends with NULL */
    const int32_t *output_types; /* one for each */
    /* 0 and *state, or what refuse returned. May be NULL. */
    int (*open)(const oar_op_host *host, oar_op_config *config, void **state);
    /* Any thread, several at once: state is only read, or guards itself. 0, or what fail returned. */
    int (*run)(const oar_op_host *host, void *state, oar_op_call *call, const oar_op_tensor *inputs,
               int input_count);
    void (*close)(void *state); /* may be NULL */
} oar_op;

/* The one symbol that the library exports. */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const oar_op *
oar_op_entry(void);

#ifdef __cplusplus
}
#endif

#endif
