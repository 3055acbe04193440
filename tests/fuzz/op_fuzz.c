/* The bytes make up one node: which operator, its attributes, the types of its inputs and their elements. Inference has to
 * take it or refuse it with words; what it takes, every kernel that takes the node computes, within the bounds of exactly
 * as much memory as inference said. */
#include "base/arena.h"
#include "base/mem.h"
#include "graph/attrs.h"
#include "kernels/kernel.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUTS_MAX    8
#define OUTPUTS_MAX   64
#define ELEMENTS_MAX  4096      /* of one input, for there to be any */
#define OUT_BYTES_MAX (1 << 20) /* of all outputs, for a kernel to run */

struct source {
    const uint8_t *p, *end;
};

static uint8_t take(struct source *s)
{
    return s->p < s->end ? *s->p++ : 0;
}

/* Mostly small. */
static int64_t take_number(struct source *s)
{
    static const int64_t odd[] = {
        INT64_MAX, INT64_MIN, INT32_MAX, INT32_MIN, (int64_t)1 << 31, (int64_t)1 << 40, 65536, 4096,
        1000,      -1000,     33,        64
    };
    uint8_t b = take(s);
    return b >= 256 - ARRAY_LEN(odd) ? odd[255 - b] : b % 12 - 2;
}

static float take_float(struct source *s)
{
    static const float odd[] = { NAN,   INFINITY, -INFINITY, 1e30f, -1e30f, 1e-30f,
                                 65536, 0.5f,     0.1f,      0.9f,  1.5f,   -0.5f };
    uint8_t b = take(s);
    return b >= 128 ? odd[b % ARRAY_LEN(odd)] : (float)(b % 12 - 2);
}

/* ---- the node ---- */

struct job {
    struct source source;
    struct arena arena;
    struct value value, *in[INPUTS_MAX];
    struct type type[INPUTS_MAX + 1];
    struct type out[OUTPUTS_MAX];
    const void *data[INPUTS_MAX];
    struct node node;
};

static void fill_field(struct source *s, const struct attr_field *f, void *attrs)
{
    char *p = (char *)attrs + f->offset;
    struct attr_ints *ints = (struct attr_ints *)p;
    struct attr_floats *floats = (struct attr_floats *)p;
    int32_t names = 0;
    switch (f->type) {
    case ATTR_BOOL: *(bool *)p = take(s) & 1; break;
    case ATTR_OFFSET:
    case ATTR_I32: *(int32_t *)p = (int32_t)take_number(s); break;
    case ATTR_F32: *(float *)p = take_float(s); break;
    case ATTR_ENUM:
        while (f->names[names] != NULL)
            names++;
        *(int32_t *)p = take(s) % names;
        break;
    case ATTR_I64S:
        ints->count = take(s) % 9;
        for (int i = 0; i < ints->count; i++)
            ints->v[i] = take_number(s);
        break;
    case ATTR_F32S:
        floats->count = take(s) % 5;
        for (int i = 0; i < floats->count; i++)
            floats->v[i] = take_float(s);
        break;
    default: break;
    }
}

static void *exact_bytes(struct job *j, size_t bytes, size_t align)
{
    uint8_t *p = mem_try(bytes + align); /* ends where its memory ends */
    if (p == NULL)
        __builtin_trap();
    arena_defer(&j->arena, mem_free, p);
    return p + align;
}

static void fill_elements(struct job *j, dtype d, void *to, int64_t n)
{
    struct source *s = &j->source;
    for (int64_t i = 0; i < n; i++)
        switch (d) {
        case DTYPE_F32: ((float *)to)[i] = take_float(s); break;
        case DTYPE_F64: ((double *)to)[i] = (double)take_float(s); break;
        case DTYPE_I64: ((int64_t *)to)[i] = take_number(s); break;
        case DTYPE_I32: ((int32_t *)to)[i] = (int32_t)take_number(s); break;
        case DTYPE_BOOL: ((uint8_t *)to)[i] = take(s) & 1; break;
        case DTYPE_F16:
        case DTYPE_BF16:
        case DTYPE_I16: ((uint16_t *)to)[i] = (uint16_t)(take(s) * 257); break;
        default: ((uint8_t *)to)[i] = take(s); break;
        }
}

static dtype take_dtype(struct job *j, int i)
{
    static const dtype kinds[] = { DTYPE_F32, DTYPE_F32, DTYPE_F32, DTYPE_F32,  DTYPE_I64,
                                   DTYPE_I32, DTYPE_U8,  DTYPE_I8,  DTYPE_BOOL, DTYPE_F64,
                                   DTYPE_F16, DTYPE_I64, DTYPE_I32, DTYPE_I16 };
    uint8_t b = take(&j->source);
    return i > 0 && b < 140 ? j->type[0].dtype : kinds[b % ARRAY_LEN(kinds)];
}

/* Some inputs are like the first one, so that more nodes make sense. */
static struct shape take_shape(struct job *j, int i)
{
    struct shape s = { .rank = take(&j->source) % 6 };
    if (i > 0 && take(&j->source) < 60 && j->type[0].shape.rank >= 0)
        return j->type[0].shape;
    for (int k = 0; k < s.rank; k++) {
        int64_t v = take_number(&j->source);
        s.dim[k] = v < 0 ? -(v + 1) : v;
    }
    return s;
}

static void make_input(struct job *j, int i)
{
    struct type *t = &j->type[i];
    if (i >= j->node.op->in_min && take(&j->source) < 100) {
        *t = (struct type){ .shape.rank = -1 };
        return;
    }
    *t = (struct type){ .dtype = take_dtype(j, i), .shape = take_shape(j, i) };
    j->in[i] = &j->value;
    if (tensor_bytes(&(struct tensor){ .dtype = t->dtype, .shape = t->shape }) < 0)
        t->shape.rank = 0; /* planning lets no size through that overflows */
    bool needed = i < 8 && (j->node.op->flags & OP_NEEDS(i));
    int64_t n = shape_numel(&t->shape);
    if (n > ELEMENTS_MAX && !needed)
        return;
    if (n > ELEMENTS_MAX) {
        t->shape.rank = 0;
        n = 1;
    }
    size_t size = dtype_size(t->dtype);
    void *p = exact_bytes(j, (size_t)n * size, size);
    fill_elements(j, t->dtype, p, n);
    j->data[i] = p;
    if (needed || take(&j->source) & 1) {
        struct tensor *c = arena_zalloc(&j->arena, sizeof(*c));
        *c = (struct tensor){ .dtype = t->dtype, .shape = t->shape, .data = p };
        t->constant = c;
    }
}

static const struct op *take_op(struct source *s)
{
    size_t count = 0, at = take(s);
    at = at << 8 | take(s);
    while (op_at(count) != NULL)
        count++;
    return op_at(at % count);
}

static void make_node(struct job *j)
{
    const struct op *op = take_op(&j->source);
    void *attrs = arena_zalloc(&j->arena, op->attrs_size + 1);
    int more = op->in_max < INPUTS_MAX ? op->in_max - op->in_min : INPUTS_MAX - op->in_min;
    j->node = (struct node){ .op = op, .name = "node", .in = j->in, .attrs = attrs };
    for (const struct attr_field *f = op->attrs; f != NULL && f->name != NULL; f++)
        fill_field(&j->source, f, attrs);
    j->node.in_count = op->in_min + (more > 0 ? take(&j->source) % (more + 1) : 0);
    j->node.out_count = op->out_count != OUT_ANY ? op->out_count : 1 + take(&j->source) % 10;
    for (int i = 0; i <= INPUTS_MAX; i++)
        j->type[i].shape.rank = -1;
    for (int i = 0; i < j->node.in_count && i < INPUTS_MAX; i++)
        make_input(j, i);
}

/* ---- running it ---- */

static bool has_all_data(const struct job *j)
{
    for (int i = 0; i < j->node.in_count; i++)
        if (j->in[i] != NULL && j->data[i] == NULL)
            return false;
    return true;
}

/* Negative where an output is too large for its size to be known. */
static int64_t out_bytes(const struct job *j)
{
    int64_t sum = 0;
    for (int i = 0; i < j->node.out_count; i++) {
        struct tensor t = { .dtype = j->out[i].dtype, .shape = j->out[i].shape };
        int64_t bytes = tensor_bytes(&t);
        if (bytes < 0 || __builtin_add_overflow(sum, bytes, &sum))
            return -1;
    }
    return sum;
}

static void run_kernel(struct job *j, const struct kernel *k, struct kernel_ctx *ctx)
{
    struct err e = { "" };
    void *out[OUTPUTS_MAX], *state = NULL;
    struct shape shape[OUTPUTS_MAX];
    size_t scratch = 0;
    if (k->prepare != NULL && k->prepare(ctx, &state, &scratch, &e) != OK)
        return;
    for (int i = 0; i < j->node.out_count; i++) {
        struct tensor t = { .dtype = j->out[i].dtype, .shape = j->out[i].shape };
        size_t bytes = (size_t)tensor_bytes(&t);
        out[i] = exact_bytes(j, bytes, dtype_size(t.dtype));
        memset(out[i], 0, bytes);
        shape[i] = t.shape;
    }
    uint8_t *room = scratch <= 64 << 20 ? mem_try(scratch + 64) : NULL;
    if (room != NULL) {
        uint8_t *aligned = (uint8_t *)(((uintptr_t)room + 63) & ~(uintptr_t)63);
        struct kernel_io io = { .in = j->data, .out = out, .scratch = aligned, .err = &e };
        io.shape = j->node.op->flags & OP_DYNAMIC ? shape : NULL;
        if (k->run(state, &io) == OK)
            for (int i = 0; i < j->node.out_count; i++)
                if (shape_numel(&shape[i]) > shape_numel(&j->out[i].shape))
                    __builtin_trap(); /* it made more than it said */
    }
    mem_free(room);
    if (k->release != NULL)
        k->release(state);
}

static void run_all(struct job *j)
{
    const struct kernel *k;
    struct packs *packs = packs_new();
    struct kernel_ctx ctx = { .node = &j->node,
                              .in = j->type,
                              .out = j->out,
                              .arena = &j->arena,
                              .packs = packs,
                              .threads = 1 };
    for (size_t i = 0; (k = kernel_at(j->node.op->name, i)) != NULL; i++)
        if ((k->dtypes & DTYPE_BIT(j->type[0].dtype)) &&
            (k->refuse == NULL || k->refuse(&ctx) == NULL))
            run_kernel(j, k, &ctx);
    packs_free(packs);
}

static void try_node(struct job *j)
{
    struct err e = { "" };
    if (j->node.op->infer == NULL || j->node.in_count > INPUTS_MAX)
        return;
    status s = j->node.op->infer(&j->node, j->type, j->out, &e);
    if (s != OK && e.text[0] == '\0')
        __builtin_trap(); /* a refusal without words */
    int64_t bytes = s == OK ? out_bytes(j) : -1;
    if (bytes < 0 || bytes > OUT_BYTES_MAX || !has_all_data(j))
        return;
    if (bytes == 0 && !(j->node.op->flags & OP_DYNAMIC)) /* no kernel is asked then */
        return;
    if (!(j->node.op->flags & OP_VIEW)) {
        run_all(j);
        return;
    }
    struct tensor t = { .dtype = j->type[0].dtype, .shape = j->type[0].shape };
    if (bytes != tensor_bytes(&t))
        __builtin_trap(); /* a view has the bytes of its input */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct job j = { .source = { data, data + size } };
    arena_init(&j.arena, 0);
    make_node(&j);
    try_node(&j);
    arena_deinit(&j.arena);
    return 0;
}
