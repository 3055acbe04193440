/* OpenVINO in Oar: its own IR (.xml and .bin), ONNX, TensorFlow Lite and Paddle files on the processor, or on the device that
 * the setting DEVICE names. Other settings are OpenVINO's own properties.
 *
 * A session is an infer request. Inputs are used where they lie; outputs lie in the request until its next run. Unless said
 * otherwise numbers stay float: OpenVINO's own default on processors with AMX is bfloat16. The C interface:
 * https://docs.openvino.ai/2025/api/c_cpp_api/group__ov__c__api.html */
#include <oar/oar_engine.h>

#include <openvino/c/openvino.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct end { /* an input or output */
    char name[256];
    oar_engine_port port;
    ov_element_type_e type;
};

struct model {
    ov_core_t *core;
    ov_compiled_model_t *compiled;
    struct end *in, *out;
    int in_count, out_count;
    uint64_t bytes;
};

struct session {
    const struct model *model;
    ov_infer_request_t *request;
    ov_tensor_t **in, **out; /* of the last run */
};

static int fail(const oar_engine_host *host, oar_engine_call *call, int fault)
{
    return host->fail(call, fault, ov_get_last_err_msg());
}

static const char *find_setting(const oar_engine_options *o, const char *name)
{
    for (const char *const *s = o->setting; s[0] != NULL; s += 2)
        if (strcmp(s[0], name) == 0)
            return s[1];
    return NULL;
}

/* ---- types ---- */

static const struct {
    ov_element_type_e theirs;
    int32_t ours;
} types[] = {
    { F32, OAR_ENGINE_F32 },      { I64, OAR_ENGINE_I64 }, { I32, OAR_ENGINE_I32 },
    { F64, OAR_ENGINE_F64 },      { I16, OAR_ENGINE_I16 }, { F16, OAR_ENGINE_F16 },
    { BF16, OAR_ENGINE_BF16 },    { U8, OAR_ENGINE_U8 },   { I8, OAR_ENGINE_I8 },
    { BOOLEAN, OAR_ENGINE_BOOL },
};

static int type_of(ov_element_type_e theirs, int32_t *ours)
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (types[i].theirs == theirs) {
            *ours = types[i].ours;
            return 0;
        }
    return -1;
}

/* ---- ports ---- */

static int read_shape(const ov_output_const_port_t *port, oar_engine_port *to)
{
    ov_partial_shape_t shape;
    if (ov_port_get_partial_shape(port, &shape) != OK)
        return -1;
    int known = shape.rank.min == shape.rank.max && shape.rank.min >= 0 &&
                shape.rank.min <= OAR_ENGINE_MAX_RANK;
    to->rank = known ? (int32_t)shape.rank.min : -1;
    for (int d = 0; d < to->rank; d++)
        to->shape[d] = shape.dims[d].min == shape.dims[d].max ? shape.dims[d].min : -1;
    ov_partial_shape_free(&shape);
    return known ? 0 : -1;
}

static void read_name(const ov_output_const_port_t *port, const char *instead, int index,
                      char out[256])
{
    char *name = NULL;
    if (ov_port_get_any_name(port, &name) == OK && name != NULL && name[0] != '\0')
        snprintf(out, 256, "%s", name);
    else
        snprintf(out, 256, "%s%d", instead, index);
    ov_free(name);
}

static int read_end(ov_output_const_port_t *port, const char *instead, int index, struct end *to)
{
    read_name(port, instead, index, to->name);
    to->port.name = to->name;
    int code = ov_port_get_element_type(port, &to->type) == OK &&
                       type_of(to->type, &to->port.dtype) == 0 && read_shape(port, &to->port) == 0
                   ? 0
                   : -1;
    ov_output_const_port_free(port);
    return code;
}

static int read_ends(struct model *m)
{
    size_t in = 0, out = 0;
    ov_output_const_port_t *port;
    if (ov_compiled_model_inputs_size(m->compiled, &in) != OK ||
        ov_compiled_model_outputs_size(m->compiled, &out) != OK || in > OAR_ENGINE_MAX_PORTS ||
        out > OAR_ENGINE_MAX_PORTS)
        return -1;
    m->in = calloc(in + 1, sizeof(*m->in));
    m->out = calloc(out + 1, sizeof(*m->out));
    if (m->in == NULL || m->out == NULL)
        return -1;
    for (; m->in_count < (int)in; m->in_count++)
        if (ov_compiled_model_input_by_index(m->compiled, (size_t)m->in_count, &port) != OK ||
            read_end(port, "input", m->in_count, &m->in[m->in_count]) != 0)
            return -1;
    for (; m->out_count < (int)out; m->out_count++)
        if (ov_compiled_model_output_by_index(m->compiled, (size_t)m->out_count, &port) != OK ||
            read_end(port, "output", m->out_count, &m->out[m->out_count]) != 0)
            return -1;
    return 0;
}

/* ---- a model ---- */

static const char *const settings[] = {
    "DEVICE",      "INFERENCE_PRECISION_HINT", "PERFORMANCE_HINT",
    "NUM_STREAMS", "INFERENCE_NUM_THREADS",    "CACHE_DIR",
    NULL,
};

/* As many streams as the processors have room for: sessions of several threads run side by side. */
static int configure(struct model *m, const char *device, const oar_engine_options *o)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN), streams = processors / o->threads;
    const char *hint = strcmp(o->precision, "bf16") == 0 ? "bf16" : "f32";
    char count[16], threads[16];
    streams = streams < 1 ? 1 : streams;
    snprintf(count, sizeof(count), "%ld", streams);
    snprintf(threads, sizeof(threads), "%ld", streams * o->threads);
    const char *const ours[][2] = { { "INFERENCE_PRECISION_HINT", hint },
                                    { "NUM_STREAMS", count },
                                    { "INFERENCE_NUM_THREADS", threads } };
    for (size_t i = 0; strcmp(device, "CPU") == 0 && i < sizeof(ours) / sizeof(ours[0]); i++)
        if (find_setting(o, ours[i][0]) == NULL &&
            ov_core_set_property(m->core, device, ours[i][0], ours[i][1]) != OK)
            return -1;
    for (const char *const *s = o->setting; s[0] != NULL; s += 2)
        if (strcmp(s[0], "DEVICE") != 0 && ov_core_set_property(m->core, device, s[0], s[1]) != OK)
            return -1;
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

/* The model's file, and where it is IR's the weights beside it. */
static uint64_t bytes_of(const char *path)
{
    char weights[4096];
    size_t n = strlen(path);
    uint64_t total = file_bytes(path);
    if (n > 4 && strcmp(path + n - 4, ".xml") == 0 && n < sizeof(weights)) {
        memcpy(weights, path, n + 1);
        memcpy(weights + n - 4, ".bin", 4);
        total += file_bytes(weights);
    }
    return total;
}

static void close_model(void *model)
{
    struct model *m = model;
    ov_compiled_model_free(m->compiled);
    ov_core_free(m->core);
    free(m->in);
    free(m->out);
    free(m);
}

static int read_file(const oar_engine_host *host, oar_engine_call *call, struct model *m,
                     const char *path, const char *device)
{
    ov_model_t *read = NULL;
    if (ov_core_read_model(m->core, path, NULL, &read) != OK)
        return fail(host, call, OAR_ENGINE_CORRUPT);
    ov_status_e s = ov_core_compile_model(m->core, read, device, 0, &m->compiled);
    ov_model_free(read);
    return s == OK ? 0 : fail(host, call, OAR_ENGINE_UNSUPPORTED);
}

static int open_model(const oar_engine_host *host, oar_engine_call *call, const char *path,
                      const oar_engine_options *options, void **model)
{
    const char *device = find_setting(options, "DEVICE");
    struct model *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return host->fail(call, OAR_ENGINE_NO_MEMORY, "no memory");
    *model = m;
    device = device != NULL ? device : "CPU";
    m->bytes = bytes_of(path);
    if (ov_core_create(&m->core) != OK || configure(m, device, options) != 0)
        return fail(host, call, OAR_ENGINE_INVALID);
    if (options->detach && ov_core_set_property(m->core, device, "ENABLE_MMAP", "NO") != OK)
        return fail(host, call, OAR_ENGINE_INTERNAL);
    int code = read_file(host, call, m, path, device);
    if (code != 0)
        return code;
    return read_ends(m) == 0
               ? 0
               : host->fail(call, OAR_ENGINE_UNSUPPORTED,
                            "an input or output has a type or a rank that Oar does not speak");
}

static int input_count(void *model)
{
    return ((const struct model *)model)->in_count;
}

static int output_count(void *model)
{
    return ((const struct model *)model)->out_count;
}

static int input(void *model, int index, oar_engine_port *port)
{
    *port = ((const struct model *)model)->in[index].port;
    return 0;
}

static int output(void *model, int index, oar_engine_port *port)
{
    *port = ((const struct model *)model)->out[index].port;
    return 0;
}

static uint64_t bytes(void *model)
{
    return ((const struct model *)model)->bytes;
}

/* ---- sessions ---- */

static void drop(ov_tensor_t **tensors, int count)
{
    for (int i = 0; tensors != NULL && i < count; i++) {
        ov_tensor_free(tensors[i]);
        tensors[i] = NULL;
    }
}

static void close_session(void *session)
{
    struct session *s = session;
    drop(s->in, s->model->in_count);
    drop(s->out, s->model->out_count);
    ov_infer_request_free(s->request);
    free(s->in);
    free(s->out);
    free(s);
}

static int open_session(const oar_engine_host *host, oar_engine_call *call, void *model,
                        void **session)
{
    struct model *m = model;
    struct session *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return host->fail(call, OAR_ENGINE_NO_MEMORY, "no memory");
    s->model = m;
    s->in = calloc((size_t)m->in_count + 1, sizeof(*s->in));
    s->out = calloc((size_t)m->out_count + 1, sizeof(*s->out));
    if (s->in == NULL || s->out == NULL ||
        ov_compiled_model_create_infer_request(m->compiled, &s->request) != OK) {
        close_session(s);
        return fail(host, call, OAR_ENGINE_INTERNAL);
    }
    *session = s;
    return 0;
}

static int bind(struct session *s, const oar_engine_tensor *inputs, int i)
{
    static uint64_t nothing;
    ov_shape_t shape = { inputs[i].rank, (int64_t *)inputs[i].shape };
    void *data = inputs[i].data != NULL ? (void *)inputs[i].data : &nothing;
    return ov_tensor_create_from_host_ptr(s->model->in[i].type, shape, data, &s->in[i]) == OK &&
                   ov_infer_request_set_input_tensor_by_index(s->request, (size_t)i, s->in[i]) == OK
               ? 0
               : -1;
}

static int give(struct session *s, int i, oar_engine_tensor *to)
{
    ov_shape_t shape;
    ov_element_type_e type;
    void *data = NULL;
    if (ov_infer_request_get_output_tensor_by_index(s->request, (size_t)i, &s->out[i]) != OK ||
        ov_tensor_get_element_type(s->out[i], &type) != OK || type_of(type, &to->dtype) != 0 ||
        ov_tensor_get_shape(s->out[i], &shape) != OK)
        return -1;
    int fits = shape.rank >= 0 && shape.rank <= OAR_ENGINE_MAX_RANK;
    to->rank = fits ? (int32_t)shape.rank : -1;
    for (int d = 0; d < to->rank; d++)
        to->shape[d] = shape.dims[d];
    ov_shape_free(&shape);
    if (!fits || ov_tensor_data(s->out[i], &data) != OK)
        return -1;
    to->data = data;
    return 0;
}

static int run(const oar_engine_host *host, oar_engine_call *call, void *session,
               const oar_engine_tensor *inputs, oar_engine_tensor *outputs)
{
    struct session *s = session;
    drop(s->in, s->model->in_count);
    drop(s->out, s->model->out_count);
    for (int i = 0; i < s->model->in_count; i++)
        if (bind(s, inputs, i) != 0)
            return fail(host, call, OAR_ENGINE_INVALID);
    if (ov_infer_request_infer(s->request) != OK) /* shapes that do not agree, most often */
        return fail(host, call, OAR_ENGINE_INVALID);
    for (int i = 0; i < s->model->out_count; i++)
        if (give(s, i, &outputs[i]) != 0)
            return fail(host, call, OAR_ENGINE_INTERNAL);
    return 0;
}

/* ---- files ---- */

static int knows(const char *path)
{
    char head[1024];
    const char *dot = strrchr(path, '.');
    if (dot == NULL || strcmp(dot, ".xml") != 0)
        return 1;
    FILE *f = fopen(path, "rb");
    size_t n = f != NULL ? fread(head, 1, sizeof(head), f) : 0;
    if (f != NULL)
        fclose(f);
    return memmem(head, n, "<net", 4) != NULL;
}

static const char *const files[] = { "*.xml", "*.onnx", "*.tflite", "*.pdmodel", NULL };

static const oar_engine openvino = {
    .abi = OAR_ENGINE_ABI,
    .size = sizeof(oar_engine),
    .name = "openvino",
    .files = files,
    .settings = settings,
    .open = open_model,
    .close = close_model,
    .input_count = input_count,
    .output_count = output_count,
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
    return &openvino;
}
