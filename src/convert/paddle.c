/* Paddle's ProgramDesc: operators and variables are copied byte for byte but for what changes. Int8 models get the form of
 * PaddleSlim's post-training quantisation, which Paddle itself runs: weights are int8 parameters behind dequantize_linear,
 * activations go through quantize_linear and dequantize_linear, scales are parameters. Half weights go through cast.
 * Field numbers: framework.proto of Paddle. */
#include "base/file.h"
#include "base/limits.h"
#include "convert/recipe.h"
#include "import/paddle/files.h"
#include "import/paddle/params.h"
#include "import/pir/pir.h"

#include <stdlib.h>
#include <string.h>

enum proto_field {
    PROGRAM_BLOCKS = 1,
    BLOCK_VARS = 3,
    BLOCK_OPS = 4,
    OP_INPUTS = 1,
    OP_OUTPUTS = 2,
    OP_TYPE = 3,
    OP_ATTRS = 4,
    VAR_NAME = 1,
    VAR_PARAMETER = 1,
    VAR_ARGUMENTS = 2,
};

enum var_type {
    TYPE_INT32 = 2,
    TYPE_FP16 = 4,
    TYPE_FP32 = 5,
    TYPE_INT8 = 21,
    TYPE_BF16 = 22,
};

struct paddle {
    struct arena *arena;
    struct paddle_files files;
    struct file_map *map;
    struct str bytes;
    struct program program;
    struct params params;
};

static status read_all(struct paddle *p, const char *path, struct err *e)
{
    TRY(paddle_find_files(path, p->arena, &p->files, e));
    if (pir_is_program(p->files.program))
        return err_set(e, UNSUPPORTED,
                       "%s: Paddle 3's JSON programs are not written; export with "
                       "FLAGS_enable_pir_api=0, which saves a .pdmodel",
                       p->files.program);
    TRY(file_map_open(p->files.program, PROGRAM_BYTES_MAX, &p->map, e));
    p->bytes = (struct str){ (const char *)file_map_data(p->map), file_map_size(p->map) };
    status s = program_decode(p->bytes, p->arena, &p->program, e);
    if (s != OK)
        return err_prefix(e, s, "%s: ", p->files.program);
    struct params_source from = { p->files.dir, p->files.params };
    return params_load(&from, &p->program, p->arena, &p->params, e);
}

static void close_all(void *state)
{
    struct paddle *p = state;
    for (int i = 0; i < p->params.map_count; i++)
        file_map_unref(p->params.map[i]);
    file_map_unref(p->map);
}

static status open_all(const char *path, struct arena *a, void **state, struct err *e)
{
    struct paddle *p = arena_zalloc(a, sizeof(*p));
    p->arena = a;
    status s = read_all(p, path, e);
    if (s != OK)
        close_all(p);
    *state = p;
    return s;
}

/* ---- which weights and activations ---- */

struct kind {
    const char *type, *x, *w;
    int rank;
};

static const struct kind kinds[] = {
    { "conv2d", "Input", "Filter", 4 },
    { "depthwise_conv2d", "Input", "Filter", 4 },
    { "mul", "X", "Y", 2 },
    { "matmul", "X", "Y", 2 },
    { "matmul_v2", "X", "Y", 2 },
};

static const struct kind *kind_of(const struct op_desc *op)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_is(op->type, kinds[i].type))
            return &kinds[i];
    return NULL;
}

static struct str arg_of(const struct slot_desc *s)
{
    return s != NULL && s->arg_count == 1 ? s->arg[0] : (struct str){ "", 0 };
}

static bool flag(const struct op_desc *op, const char *name)
{
    const struct attr_desc *a = op_attr(op, name);
    return a != NULL && a->i != 0;
}

/* The axis of the output channels; -1: this operator is not computed on integers. */
static int weight_axis(const struct op_desc *op, const struct kind *k)
{
    const struct attr_desc *format = op_attr(op, "data_format"), *alpha = op_attr(op, "alpha");
    if (k->rank == 4)
        return format != NULL && str_is(format->s, "NHWC") ? -1 : 0;
    if (flag(op, "trans_x") || flag(op, "transpose_X") || (alpha != NULL && alpha->f != 1))
        return -1;
    return flag(op, "trans_y") || flag(op, "transpose_Y") ? 0 : 1;
}

static const struct var_desc *find_var(const struct program *p, struct str name)
{
    for (int i = 0; i < p->block[0].var_count; i++)
        if (str_eq(p->block[0].var[i].name, name))
            return &p->block[0].var[i];
    return NULL;
}

/* How often the operators of all blocks read, or with `out` make, a variable. */
static int count_of(const struct program *p, struct str name, bool out)
{
    int count = 0;
    for (int b = 0; b < p->block_count; b++)
        for (int i = 0; i < p->block[b].op_count; i++) {
            const struct op_desc *op = &p->block[b].op[i];
            const struct slot_desc *slot = out ? op->out : op->in;
            for (int k = 0; k < (out ? op->out_count : op->in_count); k++)
                for (int j = 0; j < slot[k].arg_count; j++)
                    count += str_eq(slot[k].arg[j], name);
        }
    return count;
}

static const struct tensor *float_weight(const struct paddle *p, struct str name, int rank)
{
    const struct tensor *t = map_get(&p->params.by_name, name);
    return t != NULL && t->dtype == DTYPE_F32 && t->shape.rank == rank && shape_numel(&t->shape) > 0
               ? t
               : NULL;
}

/* A float that is made once: its name means one value wherever it is read. */
static bool is_activation(const struct paddle *p, struct str name)
{
    const struct var_desc *v = find_var(&p->program, name);
    return v != NULL && !v->persistable && v->data_type == TYPE_FP32 && v->lod_level == 0 &&
           count_of(&p->program, name, true) == 1;
}

static void list_product(struct paddle *p, int i, struct recipe *r)
{
    const struct op_desc *op = &p->program.block[0].op[i];
    const struct kind *k = kind_of(op);
    int axis = k != NULL ? weight_axis(op, k) : -1;
    if (axis < 0)
        return;
    struct str x = arg_of(op_slot_in(op, k->x)), w = arg_of(op_slot_in(op, k->w));
    const struct tensor *t = float_weight(p, w, k->rank);
    if (t == NULL || !is_activation(p, x) || count_of(&p->program, w, false) != 1)
        return;
    recipe_add_weight(r, &(struct weight){ w, t, axis });
    recipe_add_site(r, &(struct site){ i, 0, k->x, recipe_activation(r, x) });
}

/* The operator that makes a variable; -1: none. */
static int maker_of(const struct paddle *p, struct str name)
{
    const struct block_desc *b = &p->program.block[0];
    for (int i = 0; i < b->op_count; i++)
        for (int k = 0; k < b->op[i].out_count; k++)
            for (int j = 0; j < b->op[i].out[k].arg_count; j++)
                if (str_eq(b->op[i].out[k].arg[j], name))
                    return i;
    return -1;
}

/* Whether only this sum reads what a convolution made, its scaling included: it will join the convolution. */
static bool ends_convolution(const struct paddle *p, struct str name)
{
    int i = maker_of(p, name);
    const struct op_desc *op = i >= 0 ? &p->program.block[0].op[i] : NULL;
    if (op == NULL || count_of(&p->program, name, false) != 1)
        return false;
    if (str_is(op->type, "batch_norm"))
        return ends_convolution(p, arg_of(op_slot_in(op, "X")));
    return str_is(op->type, "conv2d") || str_is(op->type, "depthwise_conv2d");
}

static bool same_shape(const struct paddle *p, struct str x, struct str y)
{
    const struct var_desc *a = find_var(&p->program, x), *b = find_var(&p->program, y);
    return a != NULL && b != NULL && a->shape.rank == 4 && shape_eq(&a->shape, &b->shape);
}

/* What a convolution's result is added to is quantised as well, so that the sum stays in integers. */
static void list_sum(struct paddle *p, int i, struct recipe *r)
{
    const struct op_desc *op = &p->program.block[0].op[i];
    if (!str_is(op->type, "elementwise_add"))
        return;
    struct str side[2] = { arg_of(op_slot_in(op, "X")), arg_of(op_slot_in(op, "Y")) };
    if (!same_shape(p, side[0], side[1]))
        return;
    bool ends[2] = { ends_convolution(p, side[0]), ends_convolution(p, side[1]) };
    int host = ends[0] && ends[1] ? maker_of(p, side[1]) > maker_of(p, side[0]) : ends[1];
    if (!ends[host] || !is_activation(p, side[1 - host]))
        return;
    recipe_add_site(
        r, &(struct site){ i, 0, host == 0 ? "Y" : "X", recipe_activation(r, side[1 - host]) });
}

static void list_halves(struct paddle *p, struct recipe *r)
{
    const struct block_desc *b = &p->program.block[0];
    for (int i = 0; i < b->var_count; i++) {
        const struct tensor *t =
            var_is_param(&b->var[i]) ? map_get(&p->params.by_name, b->var[i].name) : NULL;
        if (t != NULL && t->dtype == DTYPE_F32 && shape_numel(&t->shape) >= HALVE_ELEMENTS &&
            count_of(&p->program, b->var[i].name, true) == 0)
            recipe_add_weight(r, &(struct weight){ b->var[i].name, t, 0 });
    }
}

static status list(void *state, precision how, struct recipe *r, struct err *e)
{
    struct paddle *p = state;
    r->symmetric = true;
    if (how != PRECISION_INT8) {
        list_halves(p, r);
        return OK;
    }
    for (int i = 0; i < p->program.block[0].op_count; i++)
        list_product(p, i, r);
    for (int i = 0; i < p->program.block[0].op_count; i++)
        list_sum(p, i, r);
    return OK;
}

/* ---- writing ---- */

/* A parameter to be stored. */
struct stored {
    const char *name;
    struct tensor tensor;
};

struct writer {
    const struct paddle *paddle;
    const struct recipe *recipe;
    precision precision;
    struct arena *arena;
    struct buf vars, ops; /* of block 0, in their order */
    struct stored *param;
    int param_count, param_cap;
};

static const char *text(struct writer *w, struct str s, const char *more)
{
    return arena_printf(w->arena, "%.*s%s", STR_ARG(s), more);
}

static void begin(struct buf *b)
{
    buf_init(b, PROGRAM_BYTES_MAX);
}

static void put_var(struct writer *w, const char *name, int type, const struct shape *s,
                    bool persistable)
{
    struct buf var, kind, lod, tensor;
    begin(&var);
    begin(&kind);
    begin(&lod);
    begin(&tensor);
    pb_put_u64(&tensor, 1, (uint64_t)type);
    for (int i = 0; i < s->rank; i++)
        pb_put_u64(&tensor, 2, (uint64_t)s->dim[i]);
    proto_put_message(&lod, 1, &tensor);
    pb_put_u64(&lod, 2, 0);
    pb_put_u64(&kind, 1, VAR_LOD_TENSOR);
    proto_put_message(&kind, 3, &lod);
    pb_put_bytes(&var, 1, str_of(name));
    proto_put_message(&var, 2, &kind);
    pb_put_u64(&var, 3, persistable);
    proto_put_message(&w->vars, BLOCK_VARS, &var);
}

static void put_slot(struct buf *op, uint32_t field, const char *slot, const char *arg)
{
    struct buf b;
    begin(&b);
    pb_put_bytes(&b, VAR_PARAMETER, str_of(slot));
    pb_put_bytes(&b, VAR_ARGUMENTS, str_of(arg));
    proto_put_message(op, field, &b);
}

static void put_attr(struct buf *op, const char *name, int value)
{
    struct buf b;
    begin(&b);
    pb_put_bytes(&b, 1, str_of(name));
    pb_put_u64(&b, 2, KIND_INT);
    pb_put_u64(&b, 3, (uint64_t)(int64_t)value);
    proto_put_message(op, OP_ATTRS, &b);
}

static void add_param(struct writer *w, const char *name, const struct tensor *t)
{
    if (w->param_count == w->param_cap) {
        struct stored *old = w->param;
        w->param_cap = 2 * w->param_cap + 64;
        w->param = arena_zalloc(w->arena, (size_t)w->param_cap * sizeof(*w->param));
        if (w->param_count > 0)
            memcpy(w->param, old, (size_t)w->param_count * sizeof(*old));
    }
    w->param[w->param_count++] = (struct stored){ name, *t };
}

/* Scale and zero points as parameters; the zero points are there because Paddle's operator wants them. */
static void put_scale(struct writer *w, const char *scale, const char *zero, const float *largest,
                      int64_t count)
{
    struct shape s = SHAPE(count);
    struct tensor t = { .dtype = DTYPE_F32, .shape = s, .data = largest };
    add_param(w, scale, &t);
    put_var(w, scale, TYPE_FP32, &s, true);
    t.dtype = DTYPE_I32;
    t.data = arena_zalloc(w->arena, (size_t)count * sizeof(int32_t));
    add_param(w, zero, &t);
    put_var(w, zero, TYPE_INT32, &s, true);
}

static void put_linear(struct writer *w, const char *type, const char *x, const char *scale,
                       const char *zero, const char *y, int axis)
{
    struct buf op;
    begin(&op);
    put_slot(&op, OP_INPUTS, "X", x);
    put_slot(&op, OP_INPUTS, "Scale", scale);
    put_slot(&op, OP_INPUTS, "ZeroPoint", zero);
    put_slot(&op, OP_OUTPUTS, "Y", y);
    pb_put_bytes(&op, OP_TYPE, str_of(type));
    put_attr(&op, "bit_length", 8);
    put_attr(&op, "quant_axis", axis);
    proto_put_message(&w->ops, BLOCK_OPS, &op);
}

static const struct shape *declared(const struct writer *w, struct str name)
{
    return &find_var(&w->paddle->program, name)->shape;
}

static void put_activation(struct writer *w, const struct activation *v)
{
    const char *name = text(w, v->name, ""), *scale = text(w, v->name, "@scale");
    const char *q = text(w, v->name, ".quantized"),
               *back = text(w, v->name, ".quantized.dequantized");
    const char *zero = text(w, v->name, ".quantized@zero_point");
    float *largest = arena_alloc(w->arena, sizeof(*largest));
    *largest = v->step * 127;
    put_scale(w, scale, zero, largest, 1);
    put_var(w, q, TYPE_FP32, declared(w, v->name), false);
    put_var(w, back, TYPE_FP32, declared(w, v->name), false);
    put_linear(w, "quantize_linear", name, scale, zero, q, -1);
    put_linear(w, "dequantize_linear", q, scale, zero, back, -1);
}

static void put_int8_weight(struct writer *w, const struct weight *v)
{
    const char *name = text(w, v->name, ""), *scale = text(w, v->name, "@scale");
    const char *back = text(w, v->name, ".quantized.dequantized");
    const char *zero = text(w, v->name, ".quantized.dequantized@zero_point");
    struct tensor t = { .dtype = DTYPE_I8, .shape = v->tensor->shape };
    struct quantised q;
    weight_quantise(v, w->arena, &q);
    t.data = q.q;
    add_param(w, name, &t);
    put_var(w, name, TYPE_INT8, &t.shape, true);
    put_scale(w, scale, zero, q.largest, q.channels);
    put_var(w, back, TYPE_FP32, &t.shape, false);
    put_linear(w, "dequantize_linear", name, scale, zero, back, v->axis);
}

/* The parameter's own name becomes what a cast makes of the stored halves, so that whoever reads it reads floats. */
static void put_half_weight(struct writer *w, const struct weight *v)
{
    bool fp16 = w->precision == PRECISION_FP16;
    const char *name = text(w, v->name, ""), *half = text(w, v->name, fp16 ? "@fp16" : "@bf16");
    struct tensor t = { .dtype = fp16 ? DTYPE_F16 : DTYPE_BF16, .shape = v->tensor->shape };
    int type = fp16 ? TYPE_FP16 : TYPE_BF16;
    struct buf op;
    t.data = weight_halve(v, w->precision, w->arena);
    add_param(w, half, &t);
    put_var(w, half, type, &t.shape, true);
    put_var(w, name, TYPE_FP32, &t.shape, false);
    begin(&op);
    put_slot(&op, OP_INPUTS, "X", half);
    put_slot(&op, OP_OUTPUTS, "Out", name);
    pb_put_bytes(&op, OP_TYPE, str_of("cast"));
    put_attr(&op, "in_dtype", type);
    put_attr(&op, "out_dtype", TYPE_FP32);
    proto_put_message(&w->ops, BLOCK_OPS, &op);
}

/* ---- one operator with other inputs ---- */

/* What slot `slot` of operator i reads instead of arg; NULL: arg. */
static const char *replaced(struct writer *w, int i, struct str slot, struct str arg)
{
    const struct recipe *r = w->recipe;
    for (int k = 0; k < r->site_count; k++)
        if (r->site[k].op == i && str_is(slot, r->site[k].slot) &&
            str_eq(arg, r->site[k].activation->name))
            return text(w, arg, ".quantized.dequantized");
    return w->precision == PRECISION_INT8 && recipe_converts(w->recipe, arg)
               ? text(w, arg, ".quantized.dequantized")
               : NULL;
}

static void copy_slot(struct writer *w, int i, struct str message, struct buf *op)
{
    struct pb r;
    struct buf b;
    struct str slot = proto_text(message, VAR_PARAMETER);
    begin(&b);
    pb_put_bytes(&b, VAR_PARAMETER, slot);
    pb_init(&r, message);
    while (pb_next(&r)) {
        if (r.field != VAR_ARGUMENTS) {
            pb_skip(&r);
            continue;
        }
        struct str arg = pb_bytes(&r);
        const char *other = replaced(w, i, slot, arg);
        pb_put_bytes(&b, VAR_ARGUMENTS, other != NULL ? str_of(other) : arg);
    }
    proto_put_message(op, OP_INPUTS, &b);
}

static void copy_op(struct writer *w, int i, struct str message)
{
    struct pb r;
    struct buf op;
    begin(&op);
    pb_init(&r, message);
    for (const uint8_t *from = r.p; pb_next(&r); from = r.p)
        if (r.field == OP_INPUTS)
            copy_slot(w, i, pb_bytes(&r), &op);
        else
            proto_copy_field(&r, from, &op);
    proto_put_message(&w->ops, BLOCK_OPS, &op);
}

/* ---- the block ---- */

static void put_before(struct writer *w, int i)
{
    for (struct activation *v; (v = recipe_due(w->recipe, i)) != NULL;)
        put_activation(w, v);
}

static void put_weights(struct writer *w)
{
    for (int i = 0; i < w->recipe->weight_count; i++)
        (w->precision == PRECISION_INT8 ? put_int8_weight : put_half_weight)(w,
                                                                             &w->recipe->weight[i]);
}

static void write_block(struct writer *w, struct str message, struct buf *out)
{
    struct pb r;
    struct buf rest;
    int i = 0;
    begin(&rest);
    put_weights(w);
    pb_init(&r, message);
    for (const uint8_t *from = r.p; pb_next(&r); from = r.p) {
        if (r.field == BLOCK_OPS) {
            put_before(w, i);
            copy_op(w, i++, pb_bytes(&r));
        } else if (r.field == BLOCK_VARS) {
            struct str var = pb_bytes(&r);
            if (!recipe_converts(w->recipe, proto_text(var, VAR_NAME)))
                pb_put_bytes(&w->vars, BLOCK_VARS, var);
        } else {
            proto_copy_field(&r, from, &rest);
        }
    }
    buf_append(&rest, w->vars.data, w->vars.len);
    buf_append(&rest, w->ops.data, w->ops.len);
    proto_put_message(out, PROGRAM_BLOCKS, &rest);
}

static void write_program(struct writer *w, struct buf *out)
{
    struct pb r;
    int block = 0;
    pb_init(&r, w->paddle->bytes);
    for (const uint8_t *from = r.p; pb_next(&r); from = r.p)
        if (r.field == PROGRAM_BLOCKS && block++ == 0)
            write_block(w, pb_bytes(&r), out);
        else
            proto_copy_field(&r, from, out);
}

/* ---- parameters ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct stored *)a)->name, ((const struct stored *)b)->name);
}

static int type_number(dtype d)
{
    static const struct {
        dtype dtype;
        int number;
    } rows[] = {
        { DTYPE_BOOL, 0 },         { DTYPE_I16, 1 },         { DTYPE_I32, TYPE_INT32 },
        { DTYPE_I64, 3 },          { DTYPE_F16, TYPE_FP16 }, { DTYPE_F32, TYPE_FP32 },
        { DTYPE_F64, 6 },          { DTYPE_U8, 20 },         { DTYPE_I8, TYPE_INT8 },
        { DTYPE_BF16, TYPE_BF16 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].dtype == d)
            return rows[i].number;
    return TYPE_FP32;
}

/* import/paddle/params.h has the format. */
static void put_param(struct buf *out, const struct stored *p)
{
    static const uint8_t no_lod[12];
    struct buf desc;
    begin(&desc);
    pb_put_u64(&desc, 1, (uint64_t)type_number(p->tensor.dtype));
    for (int i = 0; i < p->tensor.shape.rank; i++)
        pb_put_u64(&desc, 2, (uint64_t)p->tensor.shape.dim[i]);
    buf_append(out, no_lod, sizeof(no_lod));
    buf_append(out, no_lod, sizeof(uint32_t)); /* the version */
    const uint32_t bytes = (uint32_t)desc.len;
    buf_append(out, &bytes, sizeof(bytes));
    buf_append(out, desc.data, desc.len);
    buf_append(out, p->tensor.data, (size_t)tensor_bytes(&p->tensor));
    buf_deinit(&desc);
}

static void keep_others(struct writer *w)
{
    const struct block_desc *b = &w->paddle->program.block[0];
    for (int i = 0; i < b->var_count; i++) {
        const struct tensor *t =
            var_is_param(&b->var[i]) ? map_get(&w->paddle->params.by_name, b->var[i].name) : NULL;
        if (t != NULL && !recipe_converts(w->recipe, b->var[i].name))
            add_param(w, text(w, b->var[i].name, ""), t);
    }
}

static status write_params(struct writer *w, const char *path, uint64_t *bytes, struct err *e)
{
    struct buf out;
    buf_init(&out, LIMIT_MODEL_FILE_BYTES);
    keep_others(w);
    qsort(w->param, (size_t)w->param_count, sizeof(*w->param), by_name);
    for (int i = 0; i < w->param_count; i++)
        put_param(&out, &w->param[i]);
    status s = buf_check(&out);
    s = s != OK ? err_set(e, s, "%s: its parameters are too large", path)
                : file_write(path, out.data, out.len, e);
    *bytes = out.len;
    buf_deinit(&out);
    return s;
}

static status write_both(struct writer *w, const char *out, struct convert_report *report,
                         struct err *e)
{
    struct buf program;
    begin(&program);
    write_program(w, &program);
    const char *path = arena_printf(w->arena, "%s/inference.pdmodel", out);
    status s = buf_check(&program);
    s = s != OK ? err_set(e, s, "%s: the program is too large", path)
                : file_write(path, program.data, program.len, e);
    buf_deinit(&program);
    TRY(s);
    report->before = w->paddle->params.bytes;
    return write_params(w, arena_printf(w->arena, "%s/inference.pdiparams", out), &report->after,
                        e);
}

static status write(void *state, precision how, const struct recipe *r, const char *out,
                    struct convert_report *report, struct err *e)
{
    struct paddle *p = state;
    struct writer w = { .paddle = p, .recipe = r, .precision = how, .arena = p->arena };
    begin(&w.vars);
    begin(&w.ops);
    status s = write_both(&w, out, report, e);
    buf_deinit(&w.vars);
    buf_deinit(&w.ops);
    return s;
}

const struct format convert_paddle = { "ProgramDesc", paddle_detect, open_all,
                                       list,          write,         close_all };
