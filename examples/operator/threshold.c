/* An operator that says for every number of its input whether it is at least `at` (0.5 where nothing is said). */
#include <oar/oar_op.h>

#include <stdlib.h>

struct threshold {
    double at;
};

static int open_threshold(const oar_op_host *host, oar_op_config *config, void **state)
{
    const char *text = host->setting(config, "at");
    struct threshold *t = malloc(sizeof(*t));
    char *end;
    if (t == NULL)
        return host->refuse(config, "no memory");
    t->at = text != NULL ? strtod(text, &end) : 0.5;
    *state = t;
    if (text != NULL && (*text == '\0' || *end != '\0')) {
        free(t);
        return host->refuse(config, "'at' is expected to be a number");
    }
    return 0;
}

static int run_threshold(const oar_op_host *host, void *state, oar_op_call *call,
                         const oar_op_tensor *inputs, int input_count)
{
    const struct threshold *t = state;
    const float *from = inputs[0].data;
    oar_op_tensor out = inputs[0]; /* its shape */
    int64_t count = 1;
    (void)input_count; /* inputs_min and inputs_max say 1 */
    if (inputs[0].dtype != OAR_OP_F32)
        return host->fail(call, OAR_OP_INVALID, "expected float32");
    for (int32_t d = 0; d < out.rank; d++)
        count *= out.shape[d];
    int64_t *to = host->alloc(call, (size_t)count * sizeof(*to));
    if (to == NULL)
        return host->fail(call, OAR_OP_INTERNAL, "no memory");
    for (int64_t i = 0; i < count; i++)
        to[i] = from[i] >= t->at;
    out.name = "above";
    out.dtype = OAR_OP_I64;
    out.data = to;
    return host->give(call, &out);
}

static const char *const settings[] = { "at", NULL };
static const char *const outputs[] = { "above", NULL };
static const int32_t output_types[] = { OAR_OP_I64 };

static const oar_op threshold = {
    .abi = OAR_OP_ABI,
    .size = sizeof(oar_op),
    .name = "threshold",
    .inputs_min = 1,
    .inputs_max = 1,
    .settings = settings,
    .outputs = outputs,
    .output_types = output_types,
    .open = open_threshold,
    .run = run_threshold,
    .close = free,
};

const oar_op *oar_op_entry(void)
{
    return &threshold;
}
