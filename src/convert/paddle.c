/* Paddle's models: ProgramDesc (protobuf) and PIR (JSON) differ in how they are written alone. Int8 models get the form of
 * PaddleSlim's post-training quantisation, which Paddle itself runs: weights are int8 parameters behind dequantize_linear,
 * activations go through quantize_linear and dequantize_linear, scales are parameters. Half weights go through cast. */
#include "convert/paddle.h"

#include "import/pir/pir.h"

#include <string.h>

#define TYPE_FP32 5 /* VarType.Type of framework.proto */

static status read_all(struct paddle *p, const char *path, struct err *e)
{
    TRY(paddle_find_files(path, p->arena, &p->files, e));
    TRY(file_map_open(p->files.program, PROGRAM_BYTES_MAX, &p->map, e));
    p->bytes = (struct str){ (const char *)file_map_data(p->map), file_map_size(p->map) };
    p->pir = pir_is_program(p->files.program);
    status s = (p->pir ? pir_decode : program_decode)(p->bytes, p->arena, &p->program, e);
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

const struct var_desc *paddle_var(const struct paddle *p, struct str name)
{
    const struct block_desc *b = &p->program.block[0];
    for (int i = 0; i < b->var_count; i++)
        if (str_eq(b->var[i].name, name))
            return &b->var[i];
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
    const struct var_desc *v = paddle_var(p, name);
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
    const struct var_desc *a = paddle_var(p, x), *b = paddle_var(p, y);
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

static status write_program(struct paddle_writer *w, const struct paddle_form *form,
                            const char *out, struct err *e)
{
    struct buf program;
    buf_init(&program, PROGRAM_BYTES_MAX);
    const char *path = arena_printf(w->arena, "%s/%s", out, form->file);
    status s = form->write(w, &program, e);
    if (s == OK && (s = buf_check(&program)) != OK)
        s = err_set(e, s, "%s: the program is too large", path);
    if (s == OK)
        s = file_write(path, program.data, program.len, e);
    buf_deinit(&program);
    return s;
}

static status write(void *state, precision how, const struct recipe *r, const char *out,
                    struct convert_report *report, struct err *e)
{
    struct paddle *p = state;
    const struct paddle_form *form = p->pir ? &paddle_form_pir : &paddle_form_program;
    struct paddle_writer w = { .paddle = p, .recipe = r, .precision = how, .arena = p->arena };
    TRY(write_program(&w, form, out, e));
    report->form = form->name;
    report->before = p->params.bytes;
    return paddle_write_params(&w, arena_printf(p->arena, "%s/inference.pdiparams", out),
                               &report->after, e);
}

const struct format convert_paddle = { paddle_detect, open_all, list, write, close_all };
