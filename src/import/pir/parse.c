/* One walk over the text. Lists grow by doubling in the arena: their lengths are not told beforehand. The first fault
 * sticks in the JSON reader, so that only the end is checked. */
#include "import/pir/parse.h"

#include "base/limits.h"
#include "codec/json.h"
#include "import/pir/list.h"

#include <math.h>

#define REGION_DEPTH 16 /* of control flow inside control flow */

struct parse {
    struct json j;
    struct arena *arena;
    size_t parts; /* operators, values and attributes so far */
    int depth;
};

/* One more zeroed element of a list; NULL, and the reader has failed, where there is no room. */
static void *more(struct parse *p, void *list, int *count, size_t size)
{
    void *at = ++p->parts <= LIMIT_GRAPH_VALUES * 4u ? pir_push(p->arena, list, count, size) : NULL;
    if (at == NULL)
        json_fail(&p->j, "a program of fewer parts");
    return at;
}

#define PUSH(p, list, count) more((p), &(list), &(count), sizeof(*(list)))

/* ---- types ---- */

static void parse_type(struct parse *p, struct pir_type *out);

static void parse_dims(struct parse *p, struct shape *out)
{
    json_array(&p->j);
    while (json_item(&p->j)) {
        int64_t d = json_i64(&p->j);
        if (out->rank >= SHAPE_MAX)
            json_fail(&p->j, "at most 8 dimensions");
        else
            out->dim[out->rank++] = d < 0 ? -1 : d;
    }
}

static void parse_lod(struct parse *p, struct pir_type *out)
{
    json_array(&p->j);
    while (json_item(&p->j)) {
        json_skip(&p->j);
        if (out->lod_level <= 16)
            out->lod_level++;
    }
}

/* [element, dims, layout, lod, offset] of a tensor, or the types of a list. */
static void parse_type_data(struct parse *p, struct pir_type *out)
{
    if (json_peek(&p->j) != JSON_ARRAY) {
        json_skip(&p->j);
        return;
    }
    json_array(&p->j);
    for (int i = 0; json_item(&p->j); i++) {
        struct pir_type inner = { .is_list = false };
        if (out->is_list) {
            struct pir_type *item = PUSH(p, out->item, out->item_count);
            if (item != NULL)
                parse_type(p, item);
        } else if (i == 0) {
            parse_type(p, &inner);
            out->element = inner.element;
        } else if (i == 1) {
            parse_dims(p, &out->shape);
        } else if (i == 3 && json_peek(&p->j) == JSON_ARRAY) {
            parse_lod(p, out);
        } else {
            json_skip(&p->j);
        }
    }
}

/* {"#": kind, "D": data}; the keys come in this order. A null stands for no type. */
static void parse_type(struct parse *p, struct pir_type *out)
{
    struct str key, kind = { 0 };
    if (json_peek(&p->j) != JSON_OBJECT || ++p->depth > REGION_DEPTH) {
        json_skip(&p->j);
        return;
    }
    json_object(&p->j);
    while (json_key(&p->j, &key)) {
        if (str_is(key, "#")) {
            kind = json_string(&p->j);
            out->is_list = str_is(kind, "0.t_vec");
            out->is_array = str_is(kind, "1.t_dense_tensor_array");
        } else if (str_is(key, "D")) {
            parse_type_data(p, out);
        } else {
            json_skip(&p->j);
        }
    }
    if (out->element.n == 0 && !out->is_list)
        out->element = kind;
    p->depth--;
}

/* {"%" or "#": id, "TT": type} */
static void parse_value(struct parse *p, struct pir_value *out)
{
    struct str key;
    json_object(&p->j);
    while (json_key(&p->j, &key)) {
        if (str_is(key, "%") || str_is(key, "#"))
            out->id = json_i64(&p->j);
        else if (str_is(key, "TT"))
            parse_type(p, &out->type);
        else
            json_skip(&p->j);
    }
}

/* ---- attributes ---- */

static bool is_float_kind(struct str kind)
{
    return str_is(kind, "0.a_f32") || str_is(kind, "0.a_f64");
}

/* What JSON has no number for: {"#": "0.a_f32", "VD": "-INF"}. */
static double void_number(struct str text)
{
    return str_is(text, "INF") ? INFINITY : str_is(text, "-INF") ? -INFINITY : NAN;
}

static void parse_scalar(struct parse *p, struct str kind, struct pir_attr *out)
{
    switch (json_peek(&p->j)) {
    case JSON_BOOL: out->i = json_bool(&p->j); break;
    case JSON_NUMBER:
        if (is_float_kind(kind))
            out->f = json_number(&p->j);
        else
            out->i = json_i64(&p->j);
        break;
    case JSON_STRING:
        if (is_float_kind(kind)) /* NaN, Infinity */
            out->f = json_float(&p->j);
        else
            out->s = json_string(&p->j);
        break;
    default: json_skip(&p->j);
    }
}

static void push_number(struct parse *p, struct pir_attr *out, const struct pir_attr *item)
{
    int n = out->count, m = out->count;
    int64_t *i = PUSH(p, out->ints, n);
    double *f = PUSH(p, out->floats, m);
    if (i != NULL && f != NULL) {
        *i = is_float_kind(item->kind) ? f64_to_i64(item->f) : item->i;
        *f = is_float_kind(item->kind) ? item->f : (double)item->i;
        out->count++;
    }
}

static void parse_attr_value(struct parse *p, struct pir_attr *out);

/* Elements are numbers, or values with a kind of their own. */
static void parse_list(struct parse *p, struct pir_attr *out)
{
    out->is_list = true;
    json_array(&p->j);
    while (json_item(&p->j)) {
        struct pir_attr item = { .kind = str_of("0.a_i64") };
        if (json_peek(&p->j) == JSON_OBJECT)
            parse_attr_value(p, &item);
        else
            parse_scalar(p, item.kind, &item);
        out->kind = item.kind;
        push_number(p, out, &item);
    }
}

/* {"#": kind, "D": value}, or "VD" for a number that JSON has not. */
static void parse_attr_value(struct parse *p, struct pir_attr *out)
{
    struct str key;
    if (json_peek(&p->j) != JSON_OBJECT || ++p->depth > REGION_DEPTH) {
        json_skip(&p->j);
        return;
    }
    json_object(&p->j);
    while (json_key(&p->j, &key)) {
        if (str_is(key, "#"))
            out->kind = json_string(&p->j);
        else if (str_is(key, "D") && json_peek(&p->j) == JSON_ARRAY)
            parse_list(p, out);
        else if (str_is(key, "D"))
            parse_scalar(p, out->kind, out);
        else if (str_is(key, "VD") && json_peek(&p->j) == JSON_STRING)
            out->f = void_number(json_string(&p->j));
        else
            json_skip(&p->j);
    }
    p->depth--;
}

static void parse_attr(struct parse *p, struct pir_attr *out)
{
    struct str key, name = { 0 };
    json_object(&p->j);
    while (json_key(&p->j, &key)) {
        if (str_is(key, "N"))
            name = json_string(&p->j);
        else if (str_is(key, "AT"))
            parse_attr_value(p, out);
        else
            json_skip(&p->j);
    }
    out->name = name;
}

/* A parameter's are [is_distributed, is_parameter, need_clip, name]. */
static void parse_param_attrs(struct parse *p, struct pir_op *op)
{
    json_array(&p->j);
    while (json_item(&p->j)) {
        if (json_peek(&p->j) == JSON_STRING)
            op->param = json_string(&p->j);
        else
            json_skip(&p->j);
    }
}

static void parse_attrs(struct parse *p, struct pir_op *op)
{
    json_array(&p->j);
    while (json_item(&p->j)) {
        struct pir_attr one = { .count = 0 }, *at;
        if (json_peek(&p->j) == JSON_OBJECT)
            parse_attr(p, &one);
        else
            json_skip(&p->j);
        if (one.name.n > 0 && (at = PUSH(p, op->attr, op->attr_count)) != NULL)
            *at = one;
    }
}

/* ---- operators ---- */

/* What the reader has taken since it stood at `from`, where a value begins. */
static struct str taken(const struct parse *p, const char *from)
{
    return (struct str){ from, (size_t)(p->j.p - from) };
}

static const char *value_begin(struct parse *p)
{
    json_peek(&p->j);
    return p->j.p;
}

static void parse_operands(struct parse *p, struct pir_op *op)
{
    const char *from = value_begin(p);
    json_array(&p->j);
    while (json_item(&p->j)) {
        struct pir_value v = { .id = 0 };
        parse_value(p, &v);
        int64_t *at = PUSH(p, op->in, op->in_count);
        if (at != NULL)
            *at = v.id;
    }
    op->operands = taken(p, from);
}

static void parse_results(struct parse *p, struct pir_op *op)
{
    bool list = json_peek(&p->j) == JSON_ARRAY; /* a parameter has the one thing itself */
    if (list)
        json_array(&p->j);
    while (!list || json_item(&p->j)) {
        struct pir_value *at = PUSH(p, op->out, op->out_count);
        if (at != NULL)
            parse_value(p, at);
        if (at == NULL || !list)
            return;
    }
}

/* [persistable, ...] of a parameter. */
static void parse_param_flags(struct parse *p, struct pir_op *op)
{
    json_array(&p->j);
    for (int i = 0; json_item(&p->j); i++) {
        if (i == 0)
            op->persistable =
                json_peek(&p->j) == JSON_BOOL ? json_bool(&p->j) : json_i64(&p->j) != 0;
        else
            json_skip(&p->j);
    }
}

static void parse_block(struct parse *p, struct pir_block *b);

/* Regions of one block each. */
static void parse_regions(struct parse *p, struct pir_block **block, int *count)
{
    struct str key;
    json_array(&p->j);
    while (json_item(&p->j)) {
        json_object(&p->j);
        while (json_key(&p->j, &key)) {
            if (!str_is(key, "blocks")) {
                json_skip(&p->j);
                continue;
            }
            json_array(&p->j);
            while (json_item(&p->j)) {
                struct pir_block b = { .arg_count = 0 };
                parse_block(p, &b);
                struct pir_block *at = PUSH(p, *block, *count);
                if (at != NULL)
                    *at = b;
            }
        }
    }
}

/* What stands before "#" cannot be told apart yet: real files begin with it. */
static void parse_op(struct parse *p, struct pir_op *op)
{
    const char *from = value_begin(p);
    struct str key;
    json_object(&p->j);
    while (json_key(&p->j, &key)) {
        bool param = str_is(op->name, "p");
        if (str_is(key, "#"))
            op->name = json_string(&p->j);
        else if (str_is(key, "I"))
            parse_operands(p, op);
        else if (str_is(key, "O"))
            parse_results(p, op);
        else if (str_is(key, "A") && param)
            parse_param_attrs(p, op);
        else if (str_is(key, "A"))
            parse_attrs(p, op);
        else if (str_is(key, "OA") && param)
            parse_param_flags(p, op);
        else if (str_is(key, "regions"))
            parse_regions(p, &op->block, &op->block_count);
        else
            json_skip(&p->j);
    }
    op->text = taken(p, from);
}

static void parse_args(struct parse *p, struct pir_block *b)
{
    json_array(&p->j);
    while (json_item(&p->j)) {
        struct pir_value *arg = PUSH(p, b->arg, b->arg_count);
        if (arg != NULL)
            parse_value(p, arg);
    }
}

static void parse_ops(struct parse *p, struct pir_block *b)
{
    json_array(&p->j);
    while (json_item(&p->j)) {
        struct pir_op one = { .in_count = 0 };
        parse_op(p, &one);
        struct pir_op *op = PUSH(p, b->op, b->op_count);
        if (op != NULL)
            *op = one;
    }
}

static void parse_block(struct parse *p, struct pir_block *b)
{
    struct str key;
    if (++p->depth > REGION_DEPTH)
        json_fail(&p->j, "fewer blocks inside blocks");
    json_object(&p->j);
    while (json_key(&p->j, &key)) {
        if (str_is(key, "args"))
            parse_args(p, b);
        else if (str_is(key, "ops"))
            parse_ops(p, b);
        else
            json_skip(&p->j);
    }
    p->depth--;
}

static void parse_base(struct parse *p, struct pir_file *out, bool *magic)
{
    struct str key;
    json_object(&p->j);
    while (json_key(&p->j, &key)) {
        if (str_is(key, "magic"))
            *magic = str_is(json_string(&p->j), "pir");
        else if (str_is(key, "version"))
            out->version = json_i64(&p->j);
        else
            json_skip(&p->j);
    }
}

static void parse_program(struct parse *p, struct pir_block **block, int *count)
{
    struct str key;
    json_object(&p->j);
    while (json_key(&p->j, &key)) {
        if (str_is(key, "regions"))
            parse_regions(p, block, count);
        else
            json_skip(&p->j);
    }
}

status pir_parse(struct str text, struct arena *a, struct pir_file *out, struct err *e)
{
    struct parse p = { .arena = a };
    struct pir_block *block = NULL;
    struct str key;
    bool magic = false;
    int count = 0;
    *out = (struct pir_file){ 0 };
    json_init(&p.j, text, a);
    json_object(&p.j);
    while (json_key(&p.j, &key)) {
        if (str_is(key, "base_code"))
            parse_base(&p, out, &magic);
        else if (str_is(key, "program"))
            parse_program(&p, &block, &count);
        else
            json_skip(&p.j);
    }
    status s = json_end(&p.j, e);
    if (s != OK)
        return err_prefix(e, s == INVALID ? CORRUPT : s, "not a PIR program, or a damaged one: ");
    if (!magic || count != 1)
        return err_set(e, CORRUPT, "not a PIR program: expected magic 'pir' and one block, got %d",
                       count);
    out->block = block[0];
    return OK;
}
