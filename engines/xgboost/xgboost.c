/* XGBoost's models in Oar: JSON, UBJSON and the older binary form, computed by libxgboost's in-place prediction.
 *
 * One input, "x", of [rows, features]; one output, "prediction", of [rows] or [rows, groups]. A NaN is a missing value. The
 * C interface: https://xgboost.readthedocs.io/en/stable/c.html */
#include <oar/oar_engine.h>

#include <xgboost/c_api.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct model {
    BoosterHandle booster;
    int64_t features, groups; /* groups 0: the output has no second dimension */
    int32_t type;             /* of prediction: 0 value, 1 margin */
    uint64_t bytes;
};

static int fail(const oar_engine_host *host, oar_engine_call *call, int fault)
{
    return host->fail(call, fault, XGBGetLastError());
}

static const char *find_setting(const oar_engine_options *o, const char *name)
{
    for (const char *const *s = o->setting; s[0] != NULL; s += 2)
        if (strcmp(s[0], name) == 0)
            return s[1];
    return NULL;
}

/* ---- prediction ---- */

/* shape and result belong to the library and the calling thread, until its next call. */
static int predict(const struct model *m, const float *x, int64_t rows, const bst_ulong **shape,
                   bst_ulong *rank, const float **result)
{
    char array[256], config[192];
    snprintf(array, sizeof(array),
             "{\"data\":[%llu,true],\"shape\":[%lld,%lld],\"typestr\":\"<f4\",\"version\":3}",
             (unsigned long long)(uintptr_t)x, (long long)rows, (long long)m->features);
    snprintf(config, sizeof(config),
             "{\"type\":%d,\"training\":false,\"iteration_begin\":0,\"iteration_end\":0,"
             "\"strict_shape\":false,\"cache_id\":0,\"missing\":NaN}",
             m->type);
    return XGBoosterPredictFromDense(m->booster, array, config, NULL, shape, rank, result);
}

/* What one row gives: so wide is every row of the output. */
static int measure(struct model *m)
{
    const bst_ulong *shape;
    bst_ulong rank;
    const float *result;
    float *row = calloc((size_t)m->features, sizeof(*row));
    int code = row == NULL ? -1 : predict(m, row, 1, &shape, &rank, &result);
    if (code == 0)
        m->groups = rank > 1 ? (int64_t)shape[1] : 0;
    free(row);
    return code;
}

/* ---- a model ---- */

static int read_model(struct model *m, const char *path, int threads)
{
    char count[16];
    bst_ulong features;
    snprintf(count, sizeof(count), "%d", threads);
    if (XGBoosterCreate(NULL, 0, &m->booster) != 0 ||
        XGBoosterSetParam(m->booster, "nthread", count) != 0 ||
        XGBoosterLoadModel(m->booster, path) != 0 ||
        XGBoosterGetNumFeature(m->booster, &features) != 0)
        return -1;
    m->features = (int64_t)features;
    return 0;
}

static uint64_t file_bytes(const char *path)
{
    FILE *f = fopen(path, "rb");
    long size = f != NULL && fseek(f, 0, SEEK_END) == 0 ? ftell(f) : 0;
    if (f != NULL)
        fclose(f);
    return size > 0 ? (uint64_t)size : 0;
}

static void close_model(void *model)
{
    struct model *m = model;
    if (m->booster != NULL)
        XGBoosterFree(m->booster);
    free(m);
}

static int open_model(const oar_engine_host *host, oar_engine_call *call, const char *path,
                      const oar_engine_options *options, void **model)
{
    const char *output = find_setting(options, "output");
    struct model *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return host->fail(call, OAR_ENGINE_NO_MEMORY, "no memory");
    *model = m;
    m->type = output != NULL && strcmp(output, "margin") == 0;
    m->bytes = file_bytes(path);
    if (output != NULL && m->type == 0 && strcmp(output, "value") != 0)
        return host->fail(call, OAR_ENGINE_INVALID, "'output' is value or margin");
    if (read_model(m, path, options->threads) != 0)
        return fail(host, call, OAR_ENGINE_CORRUPT);
    if (m->features < 1 || m->features > 1 << 24)
        return host->fail(call, OAR_ENGINE_CORRUPT, "its number of features cannot be right");
    return measure(m) == 0 ? 0 : fail(host, call, OAR_ENGINE_CORRUPT);
}

static int one(void *model)
{
    (void)model;
    return 1;
}

static int input(void *model, int index, oar_engine_port *port)
{
    const struct model *m = model;
    (void)index;
    *port = (oar_engine_port){ "x", OAR_ENGINE_F32, 2, { -1, m->features } };
    return 0;
}

static int output(void *model, int index, oar_engine_port *port)
{
    const struct model *m = model;
    (void)index;
    *port =
        (oar_engine_port){ "prediction", OAR_ENGINE_F32, m->groups > 0 ? 2 : 1, { -1, m->groups } };
    return 0;
}

static uint64_t bytes(void *model)
{
    return ((const struct model *)model)->bytes;
}

/* ---- sessions: the booster serves all threads as it is ---- */

static int open_session(const oar_engine_host *host, oar_engine_call *call, void *model,
                        void **session)
{
    (void)host, (void)call;
    *session = model;
    return 0;
}

static void close_session(void *session)
{
    (void)session;
}

static int run(const oar_engine_host *host, oar_engine_call *call, void *session,
               const oar_engine_tensor *inputs, oar_engine_tensor *outputs)
{
    const struct model *m = session;
    const int64_t rows = inputs[0].shape[0], width = m->groups > 0 ? m->groups : 1;
    const bst_ulong *shape;
    bst_ulong rank;
    const float *result;
    float *to = host->alloc(call, (size_t)(rows * width) * sizeof(*to));
    if (to == NULL)
        return host->fail(call, OAR_ENGINE_NO_MEMORY, "no memory for the predictions");
    outputs[0] =
        (oar_engine_tensor){ OAR_ENGINE_F32, m->groups > 0 ? 2 : 1, { rows, m->groups }, to };
    if (rows == 0)
        return 0;
    if (predict(m, inputs[0].data, rows, &shape, &rank, &result) != 0)
        return fail(host, call, OAR_ENGINE_INTERNAL);
    if (rank < 1 || shape[0] != (bst_ulong)rows || (rank > 1 ? (int64_t)shape[1] : 1) != width)
        return host->fail(call, OAR_ENGINE_INTERNAL,
                          "the predictions are of another shape than the model's");
    memcpy(to, result, (size_t)(rows * width) * sizeof(*to));
    return 0;
}

/* ---- files ---- */

/* The older binary form has no mark; it begins with a base score, the numbers of features and classes, and zeros. */
static int is_binary(const unsigned char *head, size_t n)
{
    float base;
    uint32_t features;
    int32_t classes;
    if (n >= 4 && memcmp(head, "binf", 4) == 0)
        return 1;
    if (n < 136)
        return 0;
    memcpy(&base, head, sizeof(base));
    memcpy(&features, head + 4, sizeof(features));
    memcpy(&classes, head + 8, sizeof(classes));
    return isfinite(base) && features >= 1 && features < 1u << 24 && classes >= 0 &&
           classes < 1 << 16;
}

static int has(const unsigned char *head, size_t n, const char *word)
{
    return memmem(head, n, word, strlen(word)) != NULL;
}

static int knows(const char *path)
{
    unsigned char head[4096];
    const char *dot = strrchr(path, '.');
    FILE *f = fopen(path, "rb");
    size_t n = f != NULL ? fread(head, 1, sizeof(head), f) : 0;
    if (f != NULL)
        fclose(f);
    if (dot != NULL && (strcmp(dot, ".bin") == 0 || strcmp(dot, ".model") == 0))
        return is_binary(head, n);
    return n > 0 && head[0] == '{' && has(head, n, "learner");
}

static const char *const files[] = { "*.ubj", "*.json", "*.model", "*.bin", NULL };
static const char *const settings[] = { "output", NULL };

static const oar_engine xgboost = {
    .abi = OAR_ENGINE_ABI,
    .size = sizeof(oar_engine),
    .name = "xgboost",
    .files = files,
    .settings = settings,
    .open = open_model,
    .close = close_model,
    .input_count = one,
    .output_count = one,
    .input = input,
    .output = output,
    .session_open = open_session,
    .session_close = close_session,
    .run = run,
    .bytes = bytes,
    .knows = knows,
};

const oar_engine *oar_engine_entry(void)
{
    return &xgboost;
}
