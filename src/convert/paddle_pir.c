/* Paddle 3's programs (PIR in JSON): operators are copied as they stand in the file but for the numbers of what they read. A
 * converted parameter gets a new number, and what widens it again makes the old one, so that whoever reads it reads floats.
 * Parameters come first, as Paddle writes them.
 *
 * Int8 models get the form of training that is aware of it, not the one of paddle_program.c: Paddle 3.3 runs the kernel of
 * quantize_linear for a PIR program's dequantize_linear. Its operators are written as Paddle 3.3 writes them. */
#include "convert/paddle.h"

#include "codec/json.h"
#include "import/pir/parse.h"
#include "import/pir/pir.h"

struct writer {
    struct paddle_writer *to;
    struct pir_file file;
    int64_t *rounded; /* by number: that of the same on its int8 steps; 0: none */
    int64_t last;     /* the highest number so far */
    int64_t sums[2];  /* what the operators were trained with, which they want to be given */
    struct buf params, ops;
};

static const char f32[] = "0.t_f32";

/* ---- numbers ---- */

static int64_t highest(const struct pir_block *b)
{
    int64_t most = 0;
    for (int i = 0; i < b->op_count; i++) {
        const struct pir_op *op = &b->op[i];
        for (int k = 0; k < op->out_count; k++)
            most = op->out[k].id > most ? op->out[k].id : most;
        for (int k = 0; k < op->block_count; k++) {
            int64_t inner = highest(&op->block[k]);
            most = inner > most ? inner : most;
        }
    }
    return most;
}

static bool makes(const struct pir_op *op, int64_t id)
{
    for (int k = 0; k < op->out_count; k++)
        if (op->out[k].id == id)
            return true;
    return false;
}

static const struct pir_op *maker_of(const struct writer *w, int64_t id)
{
    for (int i = 0; i < w->file.block.op_count; i++)
        if (makes(&w->file.block.op[i], id))
            return &w->file.block.op[i];
    return NULL;
}

static struct str feed_of(const struct pir_op *op)
{
    for (int i = 0; i < op->attr_count && str_is(op->name, "1.data"); i++)
        if (str_is(op->attr[i].name, "name"))
            return op->attr[i].s;
    return op->param;
}

/* The number of a parameter or a feed; 0: none has this name. */
static int64_t named(const struct writer *w, struct str name)
{
    for (int i = 0; i < w->file.block.op_count; i++) {
        const struct pir_op *op = &w->file.block.op[i];
        if (op->out_count == 1 && str_eq(feed_of(op), name))
            return op->out[0].id;
    }
    return 0;
}

/* The number of the tensor `part` that list `id` is split into. */
static int64_t part_of_list(const struct writer *w, int64_t id, int part)
{
    for (int i = 0; i < w->file.block.op_count; i++) {
        const struct pir_op *op = &w->file.block.op[i];
        if (str_is(op->name, "0.split") && op->in_count == 1 && op->in[0] == id &&
            part < op->out_count)
            return op->out[part].id;
    }
    return 0;
}

/* 0: what a decoded program calls so is no single value of the file. */
static int64_t number_of(const struct writer *w, struct str name)
{
    int64_t id;
    int part;
    if (!pir_result_named(name, &id, &part))
        return named(w, name);
    const struct pir_op *op = maker_of(w, id);
    bool list = op != NULL && op->out_count == 1 && op->out[0].type.is_list;
    return list ? part_of_list(w, id, part) : op != NULL ? id : 0;
}

/* ---- pieces of JSON ---- */

static struct buf *next_in(struct buf *list)
{
    if (list->len > 0)
        buf_byte(list, ',');
    return list;
}

static void put_type(struct buf *b, const char *element, const struct shape *s)
{
    buf_printf(b, "{\"#\":\"0.t_dtensor\",\"D\":[{\"#\":\"%s\"},[", element);
    for (int i = 0; i < s->rank; i++)
        buf_printf(b, "%s%lld", i > 0 ? "," : "", (long long)s->dim[i]);
    buf_str(b, "],\"NCHW\",[],0]}");
}

static void put_value(struct buf *b, int64_t id, const char *element, const struct shape *s)
{
    buf_printf(b, "{\"%%\":%lld,\"TT\":", (long long)id);
    put_type(b, element, s);
    buf_byte(b, '}');
}

static int64_t put_param(struct writer *w, const char *name, const char *element,
                         const struct shape *s)
{
    struct buf *b = next_in(&w->params);
    buf_str(b, "{\"#\":\"p\",\"A\":[0,1,1,");
    json_put_string(b, str_of(name));
    buf_str(b, "],\"DA\":[],\"O\":");
    put_value(b, ++w->last, element, s);
    buf_str(b, ",\"OA\":[1,0,1],\"QA\":[]}");
    return w->last;
}

static void put_stop_gradient(struct buf *b, int results)
{
    buf_str(b, ",\"OA\":[{\"AT\":{\"#\":\"0.a_array\",\"D\":[");
    for (int i = 0; i < results; i++)
        buf_printf(b, "%s{\"#\":\"0.a_bool\",\"D\":true}", i > 0 ? "," : "");
    buf_str(b, "]},\"N\":\"stop_gradient\"}]}");
}

static void put_cast(struct writer *w, int64_t x, int64_t y, const struct shape *s)
{
    struct buf *b = next_in(&w->ops);
    buf_printf(b,
               "{\"#\":\"1.cast\",\"A\":[{\"AT\":{\"#\":\"1.a_dtype\",\"D\":\"float32\"},"
               "\"N\":\"dtype\"}],\"I\":[{\"%%\":%lld}],\"O\":[",
               (long long)x);
    put_value(b, y, f32, s);
    buf_str(b, "]");
    put_stop_gradient(b, 1);
}

static void put_int(struct buf *b, const char *name, int value)
{
    buf_printf(b, "{\"AT\":{\"#\":\"0.a_i32\",\"D\":%d},\"N\":\"%s\"}", value, name);
}

static void put_operands(struct buf *b, const int64_t *in, int count)
{
    buf_byte(b, '[');
    for (int i = 0; i < count; i++)
        buf_printf(b, "%s{\"%%\":%lld}", i > 0 ? "," : "", (long long)in[i]);
    buf_byte(b, ']');
}

/* y is x rounded to the steps that `scale` says, and three results that only training looks at. */
static void put_rounding(struct writer *w, int64_t x, int64_t scale, int64_t y,
                         const struct shape *s)
{
    struct buf *b = next_in(&w->ops);
    const int64_t in[] = { x, scale, w->sums[0], w->sums[1] };
    buf_str(b, "{\"#\":\"1.fake_quantize_dequantize_moving_average_abs_max\",\"A\":["
               "{\"AT\":{\"#\":\"0.a_f32\",\"D\":0.9},\"N\":\"moving_rate\"},");
    put_int(b, "bit_length", 8);
    buf_str(b, ",{\"AT\":{\"#\":\"0.a_bool\",\"D\":true},\"N\":\"is_test\"},");
    put_int(b, "round_type", 0);
    buf_str(b, "],\"I\":");
    put_operands(b, in, ARRAY_LEN(in));
    buf_str(b, ",\"O\":[");
    put_value(b, y, f32, s);
    for (int i = 0; i < 3; i++) {
        buf_byte(b, ',');
        put_value(b, ++w->last, f32, &SHAPE(1));
    }
    buf_byte(b, ']');
    put_stop_gradient(b, 4);
}

/* A list of one tensor. */
static int64_t put_list(struct writer *w, int64_t x, const struct shape *s)
{
    struct buf *b = next_in(&w->ops);
    buf_str(b, "{\"#\":\"0.combine\",\"A\":[],\"I\":");
    put_operands(b, &x, 1);
    buf_printf(b, ",\"O\":[{\"%%\":%lld,\"TT\":{\"#\":\"0.t_vec\",\"D\":[", (long long)++w->last);
    put_type(b, f32, s);
    buf_str(b, "]}}]");
    put_stop_gradient(b, 1);
    return w->last;
}

/* y is x, whose 127 means what `largest` says for each element of the axis. */
static void put_widening(struct writer *w, int64_t x, int64_t largest, int axis, int64_t y,
                         const struct weight *v)
{
    const struct shape *s = &v->tensor->shape;
    const int64_t in[] = { x, put_list(w, largest, &SHAPE(s->dim[axis])) };
    struct buf *b = next_in(&w->ops);
    buf_str(b,
            "{\"#\":\"1.fake_channel_wise_dequantize_max_abs\",\"A\":[{\"AT\":{\"#\":\"0.a_array\","
            "\"D\":[{\"#\":\"0.a_i32\",\"D\":8}]},\"N\":\"quant_bits\"},");
    put_int(b, "quant_axis", axis);
    buf_byte(b, ',');
    put_int(b, "x_num_col_dims", 1);
    buf_str(b, "],\"I\":");
    put_operands(b, in, ARRAY_LEN(in));
    buf_str(b, ",\"O\":[");
    put_value(b, y, f32, s);
    buf_byte(b, ']');
    put_stop_gradient(b, 1);
}

/* ---- parameters ---- */

/* The range that an operator of training would go on to widen. */
static void put_sums(struct writer *w)
{
    static const char *const name[] = { "oar@accumulated", "oar@state" };
    for (size_t i = 0; i < ARRAY_LEN(name); i++) {
        float *one = arena_alloc(w->to->arena, sizeof(*one));
        *one = 1;
        paddle_store(w->to, name[i],
                     &(struct tensor){ .dtype = DTYPE_F32, .shape = SHAPE(1), .data = one });
        w->sums[i] = put_param(w, name[i], f32, &SHAPE(1));
    }
}

static int64_t put_largest(struct writer *w, const char *name, const float *largest, int64_t count)
{
    struct tensor t = { .dtype = DTYPE_F32, .shape = SHAPE(count), .data = largest };
    paddle_store(w->to, name, &t);
    return put_param(w, name, f32, &t.shape);
}

/* The operator that widens takes floats, so that a cast stands before it. */
static void put_int8_weight(struct writer *w, const struct weight *v, int64_t id)
{
    const char *name = paddle_text(w->to, v->name, "");
    struct quantised q;
    paddle_store_int8(w->to, name, v, &q);
    int64_t stored = put_param(w, name, "0.t_i8", &v->tensor->shape), floats = ++w->last;
    int64_t largest = put_largest(w, paddle_text(w->to, v->name, "@scale"), q.largest, q.channels);
    put_cast(w, stored, floats, &v->tensor->shape);
    put_widening(w, floats, largest, v->axis, id, v);
}

static void put_half_weight(struct writer *w, const struct weight *v, int64_t id)
{
    const char *name = paddle_text(w->to, v->name, "");
    const char *element = w->to->precision == PRECISION_FP16 ? "0.t_f16" : "0.t_bf16";
    paddle_store_half(w->to, name, v);
    put_cast(w, put_param(w, name, element, &v->tensor->shape), id, &v->tensor->shape);
}

static void put_weights(struct writer *w)
{
    bool int8 = w->to->precision == PRECISION_INT8;
    for (int i = 0; i < w->to->recipe->weight_count; i++) {
        const struct weight *v = &w->to->recipe->weight[i];
        (int8 ? put_int8_weight : put_half_weight)(w, v, named(w, v->name));
    }
}

/* ---- operators ---- */

static void put_activation(struct writer *w, const struct activation *v, int64_t id)
{
    float *largest = arena_alloc(w->to->arena, sizeof(*largest));
    *largest = v->step * 127;
    int64_t scale = put_largest(w, paddle_text(w->to, v->name, "@scale"), largest, 1);
    w->rounded[id] = ++w->last;
    put_rounding(w, id, scale, w->rounded[id], &paddle_var(w->to->paddle, v->name)->shape);
}

/* Whether the decoded program's operator i is what became of this one. */
static bool became(const struct writer *w, const struct pir_op *op, int i)
{
    const struct op_desc *decoded = &w->to->paddle->program.block[0].op[i];
    int64_t id;
    int part;
    return decoded->out_count > 0 && decoded->out[0].arg_count > 0 &&
           pir_result_named(decoded->out[0].arg[0], &id, &part) && makes(op, id);
}

/* Whether operator op is to read the value `id` quantised; what quantises it is put before it where nothing has. */
static bool reads_quantised(struct writer *w, const struct pir_op *op, int64_t id)
{
    for (int k = 0; k < w->to->recipe->site_count && id > 0; k++) {
        const struct site *site = &w->to->recipe->site[k];
        if (!became(w, op, site->op) || number_of(w, site->activation->name) != id)
            continue;
        if (w->rounded[id] == 0)
            put_activation(w, site->activation, id);
        return true;
    }
    return false;
}

static void copy_op(struct writer *w, const struct pir_op *op)
{
    int64_t *in = arena_zalloc(w->to->arena, ((size_t)op->in_count + 1) * sizeof(*in));
    bool changed = false;
    for (int i = 0; i < op->in_count; i++) {
        bool quantised = reads_quantised(w, op, op->in[i]);
        in[i] = quantised ? w->rounded[op->in[i]] : op->in[i];
        changed = changed || quantised;
    }
    struct buf *b = next_in(&w->ops);
    if (!changed) {
        buf_append(b, op->text.p, op->text.n);
        return;
    }
    const char *behind = op->operands.p + op->operands.n;
    buf_append(b, op->text.p, (size_t)(op->operands.p - op->text.p));
    put_operands(b, in, op->in_count);
    buf_append(b, behind, (size_t)(op->text.p + op->text.n - behind));
}

static void copy_param(struct writer *w, const struct pir_op *op)
{
    struct buf *b = recipe_converts(w->to->recipe, op->param) ? NULL : next_in(&w->params);
    if (b != NULL)
        buf_append(b, op->text.p, op->text.n);
}

/* ---- the whole ---- */

static void put_program(struct writer *w, struct buf *out)
{
    const struct pir_block *block = &w->file.block;
    const struct pir_op *last = &block->op[block->op_count - 1];
    struct str all = w->to->paddle->bytes;
    const char *behind = last->text.p + last->text.n;
    if (w->to->precision == PRECISION_INT8)
        put_sums(w);
    put_weights(w);
    for (int i = 0; i < block->op_count; i++)
        (str_is(block->op[i].name, "p") ? copy_param : copy_op)(w, &block->op[i]);
    buf_append(out, all.p, (size_t)(block->op[0].text.p - all.p));
    buf_append(out, w->params.data, w->params.len);
    if (w->params.len > 0)
        next_in(out);
    buf_append(out, w->ops.data, w->ops.len);
    buf_append(out, behind, (size_t)(all.p + all.n - behind));
}

static status write_program(struct paddle_writer *to, struct buf *out, struct err *e)
{
    struct writer w = { .to = to };
    TRY(pir_parse(to->paddle->bytes, to->arena, &w.file, e));
    w.last = highest(&w.file.block);
    w.rounded = arena_zalloc(to->arena, ((size_t)w.last + 1) * sizeof(*w.rounded));
    buf_init(&w.params, PROGRAM_BYTES_MAX);
    buf_init(&w.ops, PROGRAM_BYTES_MAX);
    put_program(&w, out);
    buf_deinit(&w.params);
    buf_deinit(&w.ops);
    return OK;
}

const struct paddle_form paddle_form_pir = { "PIR", "inference.json", write_program };
