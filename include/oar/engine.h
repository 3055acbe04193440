/* liboar: the engine in a C program. Load a model, run it, free it.
 *
 * A model is immutable and may be used by any number of threads; a session holds one thread's working memory. Functions
 * that can fail return 0 or a negative code; the words go to the caller's struct oar_error, which may be NULL. */
#ifndef OAR_ENGINE_H
#define OAR_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define OAR_API __attribute__((visibility("default")))
#else
#define OAR_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define OAR_MAX_RANK 8

typedef struct oar_model oar_model;
typedef struct oar_session oar_session;

typedef struct oar_error {
    char text[512];
} oar_error;

/* A dense row-major tensor. dtype: 0 int64, 1 float32, 2 int32, 3 float64, 4 int16, 5 float16, 6 bfloat16, 7 uint8,
 * 8 int8, 9 bool. Ragged tensors carry the offsets of their last level (lod_count of them, 0 where dense). */
typedef struct oar_tensor {
    int32_t dtype;
    int32_t rank;
    int64_t shape[OAR_MAX_RANK];
    const void *data;
    const int64_t *lod;
    int64_t lod_count;
} oar_tensor;

/* One input or output: -1 in shape where a request decides. Strings live as long as the model. */
typedef struct oar_port {
    const char *name, *alias;
    int32_t dtype, rank, ragged;
    int64_t shape[OAR_MAX_RANK];
} oar_port;

/* How a model is to be opened; zeroed fields are the defaults. size: sizeof(oar_model_options), so that it may grow. */
typedef struct oar_model_options {
    size_t size;
    const char *precision; /* "fp32" (NULL), "bf16", "int8" or "fp16" */
    int32_t threads;       /* of one run; 0: 1 */
    int32_t reserved;
    uint64_t max_arena_bytes; /* working memory of one run; 0: 3 GiB */
} oar_model_options;

OAR_API int oar_model_open(const char *path, oar_model **out, oar_error *error);
/* options may be NULL. */
OAR_API int oar_model_open_with(const char *path, const oar_model_options *options, oar_model **out,
                                oar_error *error);
/* What this processor or this model lacks for the precision that was asked for; NULL: nothing. */
OAR_API const char *oar_model_remark(const oar_model *model);
OAR_API void oar_model_close(oar_model *model);
OAR_API int oar_model_input_count(const oar_model *model);
OAR_API int oar_model_output_count(const oar_model *model);
OAR_API int oar_model_input(const oar_model *model, int index, oar_port *out);
OAR_API int oar_model_output(const oar_model *model, int index, oar_port *out);

/* The session keeps the model alive. */
OAR_API int oar_session_open(oar_model *model, oar_session **out, oar_error *error);
OAR_API void oar_session_close(oar_session *session);
/* inputs: one per model input, in order. outputs: room for one per model output; their bytes live in the session until
 * its next run. */
OAR_API int oar_session_run(oar_session *session, const oar_tensor *inputs, oar_tensor *outputs,
                            oar_error *error);

OAR_API const char *oar_version(void);

#ifdef __cplusplus
}
#endif
#endif
