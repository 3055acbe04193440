/* ProgramDesc: operators and variables are copied byte for byte but for what changes. Field numbers: framework.proto of
 * Paddle. */
#include "convert/paddle.h"

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

struct writer {
    struct paddle_writer *to;
    struct buf vars, ops; /* of block 0, in their order */
};

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

/* Scale and zero points as parameters; the zero points are there because Paddle's operator wants them. */
static void put_scale(struct writer *w, const char *scale, const char *zero, const float *largest,
                      int64_t count)
{
    struct shape s = SHAPE(count);
    struct tensor t = { .dtype = DTYPE_F32, .shape = s, .data = largest };
    paddle_store(w->to, scale, &t);
    put_var(w, scale, TYPE_FP32, &s, true);
    t.dtype = DTYPE_I32;
    t.data = arena_zalloc(w->to->arena, (size_t)count * sizeof(int32_t));
    paddle_store(w->to, zero, &t);
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
    return &paddle_var(w->to->paddle, name)->shape;
}

static void put_activation(struct writer *w, const struct activation *v)
{
    const char *name = paddle_text(w->to, v->name, ""),
               *scale = paddle_text(w->to, v->name, "@scale");
    const char *q = paddle_text(w->to, v->name, ".quantized"),
               *back = paddle_text(w->to, v->name, ".quantized.dequantized");
    const char *zero = paddle_text(w->to, v->name, ".quantized@zero_point");
    float *largest = arena_alloc(w->to->arena, sizeof(*largest));
    *largest = v->step * 127;
    put_scale(w, scale, zero, largest, 1);
    put_var(w, q, TYPE_FP32, declared(w, v->name), false);
    put_var(w, back, TYPE_FP32, declared(w, v->name), false);
    put_linear(w, "quantize_linear", name, scale, zero, q, -1);
    put_linear(w, "dequantize_linear", q, scale, zero, back, -1);
}

static void put_int8_weight(struct writer *w, const struct weight *v)
{
    const char *name = paddle_text(w->to, v->name, ""),
               *scale = paddle_text(w->to, v->name, "@scale");
    const char *back = paddle_text(w->to, v->name, ".quantized.dequantized");
    const char *zero = paddle_text(w->to, v->name, ".quantized.dequantized@zero_point");
    struct quantised q;
    paddle_store_int8(w->to, name, v, &q);
    put_var(w, name, TYPE_INT8, &v->tensor->shape, true);
    put_scale(w, scale, zero, q.largest, q.channels);
    put_var(w, back, TYPE_FP32, &v->tensor->shape, false);
    put_linear(w, "dequantize_linear", name, scale, zero, back, v->axis);
}

/* The parameter's own name becomes what a cast makes of the stored halves, so that whoever reads it reads floats. */
static void put_half_weight(struct writer *w, const struct weight *v)
{
    bool fp16 = w->to->precision == PRECISION_FP16;
    const char *name = paddle_text(w->to, v->name, ""),
               *half = paddle_text(w->to, v->name, fp16 ? "@fp16" : "@bf16");
    int type = fp16 ? TYPE_FP16 : TYPE_BF16;
    struct buf op;
    paddle_store_half(w->to, half, v);
    put_var(w, half, type, &v->tensor->shape, true);
    put_var(w, name, TYPE_FP32, &v->tensor->shape, false);
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
    const struct recipe *r = w->to->recipe;
    for (int k = 0; k < r->site_count; k++)
        if (r->site[k].op == i && str_is(slot, r->site[k].slot) &&
            str_eq(arg, r->site[k].activation->name))
            return paddle_text(w->to, arg, ".quantized.dequantized");
    return w->to->precision == PRECISION_INT8 && recipe_converts(w->to->recipe, arg)
               ? paddle_text(w->to, arg, ".quantized.dequantized")
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
    for (struct activation *v; (v = recipe_due(w->to->recipe, i)) != NULL;)
        put_activation(w, v);
}

static void put_weights(struct writer *w)
{
    for (int i = 0; i < w->to->recipe->weight_count; i++)
        (w->to->precision == PRECISION_INT8 ? put_int8_weight
                                            : put_half_weight)(w, &w->to->recipe->weight[i]);
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
            if (!recipe_converts(w->to->recipe, proto_text(var, VAR_NAME)))
                pb_put_bytes(&w->vars, BLOCK_VARS, var);
        } else {
            proto_copy_field(&r, from, &rest);
        }
    }
    buf_append(&rest, w->vars.data, w->vars.len);
    buf_append(&rest, w->ops.data, w->ops.len);
    proto_put_message(out, PROGRAM_BLOCKS, &rest);
}

static void write_blocks(struct writer *w, struct buf *out)
{
    struct pb r;
    int block = 0;
    pb_init(&r, w->to->paddle->bytes);
    for (const uint8_t *from = r.p; pb_next(&r); from = r.p)
        if (r.field == PROGRAM_BLOCKS && block++ == 0)
            write_block(w, pb_bytes(&r), out);
        else
            proto_copy_field(&r, from, out);
}

static status write_program(struct paddle_writer *to, struct buf *out, struct err *e)
{
    struct writer w = { .to = to };
    (void)e;
    begin(&w.vars);
    begin(&w.ops);
    write_blocks(&w, out);
    buf_deinit(&w.vars);
    buf_deinit(&w.ops);
    return OK;
}

const struct paddle_form paddle_form_program = { "ProgramDesc", "inference.pdmodel",
                                                 write_program };
