/* The JSON form of oip.h and the binary tensor extension: JSON first, then the tensors that it announces, back to back. */
#include "base/limits.h"
#include "base/mem.h"
#include "codec/json.h"
#include "proto/general_check.h"
#include "proto/oip.h"

#include <string.h>

/* ---- reading: values ---- */

struct reading {
    struct json j;
    struct str tail;
    const struct oip_model *m;
    struct arena *arena;
    struct oip_request *r;
};

/* The text itself is at fault, or some member is not what it should be. */
static status json_fault(struct reading *x, struct err *e)
{
    status s = json_end(&x->j, e);
    if (s != INVALID)
        return s;
    return err_prefix(e, MALFORMED, "failed to parse the request JSON buffer: ");
}

static status not_access(const char *what, const char *how, struct err *e)
{
    return err_set(e, MALFORMED, "Unable to parse '%s': attempt to access %s", what, how);
}

static void take_number(struct json *j, struct oip_param *p)
{
    double v = json_number(j);
    p->kind = OIP_DOUBLE;
    p->real = v;
    if (v > -9e15 && v < 9e15 && v == (double)(int64_t)v) {
        p->kind = OIP_INT;
        p->integer = (int64_t)v;
    }
}

/* Whole numbers keep all their digits. */
static void take_whole_or_number(struct json *j, struct oip_param *p)
{
    struct json before = *j;
    p->kind = OIP_INT;
    p->integer = json_i64(j);
    if (!json_failed(j))
        return;
    *j = before;
    p->kind = OIP_UINT;
    p->integer = (int64_t)json_u64(j);
    if (!json_failed(j))
        return;
    *j = before;
    take_number(j, p);
}

static status take_param(struct json *j, struct str key, struct oip_param *p, struct err *e)
{
    *p = (struct oip_param){ .key = key };
    switch (json_peek(j)) {
    case JSON_BOOL:
        p->kind = OIP_BOOL;
        p->integer = json_bool(j);
        return OK;
    case JSON_STRING:
        p->kind = OIP_STRING;
        p->text = json_string(j);
        return OK;
    case JSON_NUMBER: take_whole_or_number(j, p); return OK;
    case JSON_NONE: return OK;
    default: break;
    }
    return err_set(e, INVALID,
                   "parameter '%.*s' has invalid type. It should be either 'int', 'bool', or "
                   "'string'.",
                   STR_ARG(key));
}

/* Which of the three lists of parameters is being read: one of in and out is set, or neither. */
static status take_params(struct reading *x, struct oip_input *in, struct oip_wanted *out,
                          struct err *e)
{
    struct str key;
    struct oip_param p;
    if (json_peek(&x->j) != JSON_OBJECT)
        return not_access("parameters", "JSON non-object as object", e);
    json_object(&x->j);
    while (json_key(&x->j, &key)) {
        TRY(take_param(&x->j, key, &p, e));
        if (json_failed(&x->j))
            break;
        TRY(in != NULL    ? oip_take_input_param(in, &p, e)
            : out != NULL ? oip_take_output_param(out, &p, e)
                          : oip_take_param(x->r, &p, x->arena, e));
    }
    return OK;
}

static status take_text(struct reading *x, const char *what, struct str *out, struct err *e)
{
    if (json_peek(&x->j) != JSON_STRING)
        return not_access(what, "JSON non-string as string", e);
    *out = json_string(&x->j);
    return OK;
}

static status take_shape(struct reading *x, struct oip_input *in, struct err *e)
{
    if (json_peek(&x->j) != JSON_ARRAY)
        return not_access("shape", "JSON non-array as array", e);
    in->shape.rank = 0;
    in->has_shape = true;
    for (json_array(&x->j); json_item(&x->j);) {
        if (json_peek(&x->j) != JSON_NUMBER)
            return not_access("shape", "JSON non-unsigned-integer as unsigned-integer", e);
        int64_t dim = json_i64(&x->j);
        if (dim < 0)
            return not_access("shape", "JSON non-unsigned-integer as unsigned-integer", e);
        if (in->shape.rank == SHAPE_MAX)
            return err_set(e, INVALID, "input '%.*s': a shape of more than %d dimensions",
                           STR_ARG(in->name), SHAPE_MAX);
        in->shape.dim[in->shape.rank++] = dim;
    }
    return OK;
}

/* ---- reading: elements ---- */

static status take_strings(struct reading *x, struct oip_input *in, struct str *to, int64_t room)
{
    if (json_peek(&x->j) != JSON_ARRAY) {
        struct str s = json_string(&x->j);
        if (in->count < room)
            to[in->count] = s;
        in->count++;
        return OK;
    }
    for (json_array(&x->j); json_item(&x->j);)
        TRY(take_strings(x, in, to, room)); /* the JSON's own bound on depth holds */
    return OK;
}

/* Room for the elements of the shape, or fewer where the text cannot hold so many. */
static int64_t room_for(struct reading *x, const struct oip_input *in)
{
    int64_t count = in->has_shape ? shape_numel(&in->shape) : -1;
    int64_t most = (int64_t)(x->j.end - x->j.p) / 2 + 1;
    if (count < 0)
        count = json_count_numbers(&x->j);
    return count < most ? count : most;
}

static const char *kind_of(dtype d)
{
    switch (d) {
    case DTYPE_F32:
    case DTYPE_F64:
    case DTYPE_F16:
    case DTYPE_BF16: return "JSON non-double as double";
    case DTYPE_BOOL: return "JSON non-boolean as boolean";
    case DTYPE_BYTES: return "JSON non-string as string";
    case DTYPE_U8:
    case DTYPE_U16:
    case DTYPE_U32:
    case DTYPE_U64: return "JSON non-unsigned-integer as unsigned-integer";
    default: return "JSON non-signed-integer as signed-integer";
    }
}

/* A fault among the elements, told as what they should be. */
static status bad_elements(struct reading *x, const struct oip_input *in, struct err *e)
{
    struct err why = { "" };
    status s = json_end(&x->j, &why);
    if (s != INVALID)
        return err_set(e, s, "%s", why.text);
    if (in->count > 0 && in->has_shape && in->count == shape_numel(&in->shape) &&
        str_starts(str_of(x->j.fault), "more"))
        return err_set(e, MALFORMED,
                       "Unable to parse 'data': Shape does not match true shape of 'data' field: "
                       "input '%.*s' has %lld elements by its shape, more in its data",
                       STR_ARG(in->name), (long long)in->count);
    return err_set(e, MALFORMED, "Unable to parse 'data': attempt to access %s: input '%.*s', %s",
                   kind_of(in->dtype), STR_ARG(in->name), why.text);
}

static status take_data(struct reading *x, struct oip_input *in, struct err *e)
{
    int64_t room = room_for(x, in);
    size_t size = in->dtype == DTYPE_BYTES ? sizeof(struct str) : dtype_size(in->dtype);
    void *to = NULL;
    size_t bytes;
    if (!mem_mul((size_t)room, size, &bytes) ||
        (to = arena_try(x->arena, bytes + size, 64)) == NULL)
        return general_no_memory(e);
    in->elements = to;
    if (in->dtype == DTYPE_BYTES) {
        TRY(take_strings(x, in, to, room));
    } else {
        struct json_array array = { .dtype = in->dtype, .to = to, .max = room, .any_rank = true };
        json_numbers(&x->j, &array);
        in->count = array.count;
    }
    return json_failed(&x->j) ? bad_elements(x, in, e) : OK;
}

/* ---- reading: inputs and outputs ---- */

/* binary_data_size bytes of the tail, in the order of the inputs. */
static status take_tail(struct reading *x, struct oip_input *in, struct err *e)
{
    if (!in->has_raw)
        return OK;
    if (in->raw_bytes > x->tail.n)
        return err_set(
            e, INVALID,
            "unexpected size for input '%.*s', expecting %llu additional bytes for model "
            "'%.*s'",
            STR_ARG(in->name), (unsigned long long)(in->raw_bytes - x->tail.n),
            STR_ARG(x->m->name));
    in->raw = (struct str){ x->tail.p, (size_t)in->raw_bytes };
    x->tail = (struct str){ x->tail.p + in->raw.n, x->tail.n - in->raw.n };
    return OK;
}

static status finish_input(struct reading *x, struct oip_input *in, const struct json *data,
                           struct err *e)
{
    if (in->name.p == NULL)
        return not_access("name", "non-existing object member 'name'", e);
    if (!in->has_shape)
        return not_access("shape", "non-existing object member 'shape'", e);
    if (in->datatype.p == NULL)
        return not_access("datatype", "non-existing object member 'datatype'", e);
    TRY(oip_input_type(in, e));
    if (data->p != NULL && in->elements == NULL) { /* it came before its type */
        struct json here = x->j;
        x->j = *data;
        TRY(take_data(x, in, e));
        x->j = here;
    }
    return take_tail(x, in, e);
}

static status take_input_member(struct reading *x, struct oip_input *in, struct str key,
                                struct json *data, struct err *e)
{
    if (str_is(key, "name"))
        return take_text(x, "name", &in->name, e);
    if (str_is(key, "shape"))
        return take_shape(x, in, e);
    if (str_is(key, "datatype"))
        return take_text(x, "datatype", &in->datatype, e);
    if (str_is(key, "parameters"))
        return take_params(x, in, NULL, e);
    if (!str_is(key, "data")) {
        json_skip(&x->j);
        return OK;
    }
    if (in->elements != NULL || data->p != NULL)
        return err_set(e, MALFORMED, "input '%.*s' has two members 'data'", STR_ARG(in->name));
    if (in->datatype.p != NULL && in->has_shape) {
        TRY(oip_input_type(in, e));
        return take_data(x, in, e);
    }
    *data = x->j;
    json_skip(&x->j);
    return OK;
}

static status take_input(struct reading *x, struct err *e)
{
    struct str key;
    struct json data = { 0 };
    struct oip_input *in = oip_add_input(x->r, x->arena, e);
    if (in == NULL)
        return INVALID;
    if (json_peek(&x->j) != JSON_OBJECT)
        return not_access("inputs", "JSON non-object as object", e);
    json_object(&x->j);
    while (json_key(&x->j, &key))
        TRY(take_input_member(x, in, key, &data, e));
    return json_failed(&x->j) ? OK : finish_input(x, in, &data, e);
}

static status take_output(struct reading *x, struct err *e)
{
    struct str key;
    struct oip_wanted *out = oip_add_output(x->r, x->arena, e);
    if (out == NULL)
        return INVALID;
    if (json_peek(&x->j) != JSON_OBJECT)
        return not_access("outputs", "JSON non-object as object", e);
    json_object(&x->j);
    while (json_key(&x->j, &key)) {
        if (str_is(key, "name"))
            TRY(take_text(x, "name", &out->name, e));
        else if (str_is(key, "parameters"))
            TRY(take_params(x, NULL, out, e));
        else
            json_skip(&x->j);
    }
    if (!json_failed(&x->j) && out->name.p == NULL)
        return not_access("name", "non-existing object member 'name'", e);
    return OK;
}

static status take_list(struct reading *x, const char *what,
                        status (*take)(struct reading *x, struct err *e), struct err *e)
{
    if (json_peek(&x->j) != JSON_ARRAY)
        return not_access(what, "JSON non-array as array", e);
    for (json_array(&x->j); json_item(&x->j);)
        TRY(take(x, e));
    return OK;
}

/* A number is an id too: some clients count. */
static status take_id(struct reading *x, struct err *e)
{
    if (json_peek(&x->j) != JSON_NUMBER)
        return take_text(x, "id", &x->r->id, e);
    const char *begin = x->j.p;
    json_skip(&x->j);
    x->r->id = (struct str){ begin, (size_t)(x->j.p - begin) };
    return OK;
}

/* tensors: the member that holds them, "inputs" of a request or "outputs" of a reply. */
static status take_members(struct reading *x, const char *tensors, struct err *e)
{
    struct str key;
    bool found = false;
    json_object(&x->j);
    while (json_key(&x->j, &key)) {
        if (str_is(key, tensors)) {
            found = true;
            TRY(take_list(x, tensors, take_input, e));
        } else if (str_is(key, "outputs")) {
            TRY(take_list(x, "outputs", take_output, e));
        } else if (str_is(key, "id")) {
            TRY(take_id(x, e));
        } else if (str_is(key, "parameters")) {
            TRY(take_params(x, NULL, NULL, e));
        } else {
            json_skip(&x->j);
        }
    }
    TRY(json_fault(x, e));
    if (found)
        return OK;
    return err_set(e, MALFORMED,
                   "Unable to parse '%s': attempt to access non-existing object member '%s'",
                   tensors, tensors);
}

status oip_request_from_json(struct str text, struct str tail, const struct oip_model *m,
                             struct arena *a, struct oip_request *out, struct err *e)
{
    struct reading x = { .tail = tail, .m = m, .arena = a, .r = out };
    *out = (struct oip_request){ 0 };
    json_init(&x.j, text, a);
    json_kind kind = json_peek(&x.j);
    if (kind != JSON_OBJECT && kind != JSON_NONE)
        return not_access("inputs", "non-existing object member 'inputs'", e);
    TRY(take_members(&x, "inputs", e));
    if (x.tail.n > 0)
        return err_set(e, INVALID, "unexpected additional input data for model '%.*s': %zu bytes",
                       STR_ARG(m->name), x.tail.n);
    return OK;
}

status oip_request_from_raw(struct str body, const struct oip_model *m, struct arena *a,
                            struct oip_request *out, struct err *e)
{
    static const char *const why =
        "Raw request must only have 1 input (found %d) to be deduced but got %d inputs in '%.*s' "
        "model configuration";
    *out = (struct oip_request){ .binary_output = true };
    if (m->in.count != 1)
        return err_set(e, INVALID, why, m->in.count, m->in.count, STR_ARG(m->name));
    const struct call_port *port = &m->in.port[0];
    struct oip_input *in = oip_add_input(out, a, e);
    if (in == NULL)
        return NO_MEMORY;
    *in = (struct oip_input){ .name = port->alias,
                              .datatype = str_of(dtype_oip(port->dtype)),
                              .dtype = port->dtype,
                              .shape = port->shape,
                              .has_shape = true,
                              .has_raw = true,
                              .raw = body };
    int open = -1, opens = 0;
    for (int i = 0; i < in->shape.rank; i++)
        if (in->shape.dim[i] < 0) {
            in->shape.dim[i] = 1;
            open = i;
            opens++;
        }
    if (opens > 2)
        return err_set(
            e, INVALID,
            "The shape of Raw input '%.*s' can not be deduced because there are more than "
            "one variable-sized dimension",
            STR_ARG(in->name));
    /* Of one or two open dimensions the last takes what is there: the first is then the batch. */
    int64_t rest = shape_numel(&in->shape);
    if (open < 0 || rest <= 0)
        return OK;
    size_t step = (size_t)rest * dtype_size(in->dtype);
    if (body.n % step != 0)
        return err_set(e, INVALID,
                       "Raw input '%.*s' has %zu bytes, which is no multiple of the %zu of one row",
                       STR_ARG(in->name), body.n, step);
    in->shape.dim[open] = (int64_t)(body.n / step);
    return OK;
}

/* ---- writing ---- */

static void put_member(struct buf *b, const char *name, struct str text)
{
    buf_str(b, name);
    json_put_string(b, text);
}

static void put_shape(struct buf *b, const struct shape *s)
{
    buf_str(b, ",\"shape\":[");
    for (int i = 0; i < s->rank; i++) {
        if (i > 0)
            buf_byte(b, ',');
        json_put_i64(b, s->dim[i]);
    }
    buf_byte(b, ']');
}

static void put_strings(struct buf *b, const struct str *text, int64_t count)
{
    buf_byte(b, '[');
    for (int64_t i = 0; i < count; i++) {
        if (i > 0)
            buf_byte(b, ',');
        json_put_string(b, text[i]);
    }
    buf_byte(b, ']');
}

static void put_region(struct buf *b, const struct oip_output *o)
{
    buf_str(b, ",\"parameters\":{\"shared_memory_region\":");
    json_put_string(b, o->region.name);
    buf_printf(b, ",\"shared_memory_offset\":%llu,\"shared_memory_byte_size\":%zu}}",
               (unsigned long long)o->region.offset, o->bytes);
}

static void put_output(struct buf *b, const struct oip_output *o)
{
    put_member(b, "{\"name\":", o->name);
    buf_str(b, ",\"datatype\":\"");
    buf_str(b, dtype_oip(o->dtype));
    buf_byte(b, '"');
    put_shape(b, &o->shape);
    if (o->region.name.p != NULL) {
        put_region(b, o);
        return;
    }
    if (o->binary) {
        buf_printf(b, ",\"parameters\":{\"binary_data_size\":%zu}}", o->bytes);
        return;
    }
    buf_str(b, ",\"data\":");
    if (o->dtype == DTYPE_BYTES)
        put_strings(b, o->text, shape_numel(&o->shape));
    else
        json_put_shortest(b, o->dtype, o->data, shape_numel(&o->shape));
    buf_byte(b, '}');
}

static void put_param(struct buf *b, const struct oip_param *p)
{
    json_put_string(b, p->key);
    buf_byte(b, ':');
    switch (p->kind) {
    case OIP_BOOL: buf_str(b, p->integer != 0 ? "true" : "false"); break;
    case OIP_INT: json_put_i64(b, p->integer); break;
    case OIP_UINT: buf_printf(b, "%llu", (unsigned long long)p->integer); break;
    case OIP_DOUBLE: json_put_double(b, p->real); break;
    case OIP_STRING: json_put_string(b, p->text); break;
    }
}

static void put_params(struct buf *b, const struct oip_param *p, int count)
{
    if (count == 0)
        return;
    buf_str(b, ",\"parameters\":{");
    for (int i = 0; i < count; i++) {
        if (i > 0)
            buf_byte(b, ',');
        put_param(b, &p[i]);
    }
    buf_byte(b, '}');
}

/* The object is begun, with what all replies say. */
static void put_reply_head(struct buf *out, const struct oip_reply *r)
{
    buf_byte(out, '{');
    if (r->id.n > 0) {
        put_member(out, "\"id\":", r->id);
        buf_byte(out, ',');
    }
    put_member(out, "\"model_name\":", r->model->name);
    put_member(out, ",\"model_version\":", r->model->version);
}

void oip_reply_to_json(const struct oip_reply *r, struct buf *out, size_t *json_bytes, bool *binary)
{
    size_t begin = out->len;
    put_reply_head(out, r);
    put_params(out, r->param, r->param_count);
    buf_str(out, ",\"outputs\":[");
    for (int i = 0; i < r->output_count; i++) {
        if (i > 0)
            buf_byte(out, ',');
        put_output(out, &r->output[i]);
    }
    buf_str(out, "]}");
    *json_bytes = out->len - begin;
    *binary = false;
    for (int i = 0; i < r->output_count; i++) {
        if (!r->output[i].binary || r->output[i].region.name.p != NULL)
            continue;
        oip_put_raw(&r->output[i], out);
        *binary = true;
    }
}

/* ---- generate ---- */

static const struct call_port *input_port(const struct oip_model *m, struct str name)
{
    for (int i = 0; i < m->in.count; i++)
        if (str_eq(name, m->in.port[i].alias) || str_eq(name, m->in.port[i].name))
            return &m->in.port[i];
    return NULL;
}

/* The shape that a value means to a port with more dimensions. */
static void pad_shape(struct shape *s, const struct shape *port)
{
    int missing = port->rank - s->rank;
    if (missing <= 0)
        return;
    memmove(s->dim + missing, s->dim, (size_t)s->rank * sizeof(s->dim[0]));
    for (int i = 0; i < missing; i++)
        s->dim[i] = 1;
    s->rank = port->rank;
}

static status take_generate_numbers(struct reading *x, struct oip_input *in, struct err *e)
{
    struct json_array array = { .dtype = in->dtype, .max = json_count_numbers(&x->j) };
    size_t size = dtype_size(in->dtype), bytes;
    if (!mem_mul((size_t)array.max, size, &bytes) ||
        (array.to = arena_try(x->arena, bytes + size, 64)) == NULL)
        return general_no_memory(e);
    array.dims = in->shape.dim;
    json_numbers(&x->j, &array);
    in->elements = array.to;
    in->count = array.count;
    in->shape.rank = array.rank;
    return json_failed(&x->j) ? bad_elements(x, in, e) : OK;
}

static status take_generate_strings(struct reading *x, struct oip_input *in, struct err *e)
{
    TRY(take_data(x, in, e));
    in->shape = SHAPE(in->count);
    return OK;
}

static status take_generate_input(struct reading *x, struct str key, const struct call_port *port,
                                  struct err *e)
{
    struct oip_input *in = oip_add_input(x->r, x->arena, e);
    if (in == NULL)
        return INVALID;
    in->name = key;
    in->dtype = port->dtype;
    in->datatype = str_of(dtype_oip(port->dtype));
    TRY(in->dtype == DTYPE_BYTES ? take_generate_strings(x, in, e)
                                 : take_generate_numbers(x, in, e));
    pad_shape(&in->shape, &port->shape);
    in->has_shape = true;
    return OK;
}

static status take_generate_member(struct reading *x, struct str key, struct err *e)
{
    struct oip_param p;
    const struct call_port *port = input_port(x->m, key);
    if (port != NULL)
        return take_generate_input(x, key, port, e);
    if (str_is(key, "id"))
        return take_id(x, e);
    if (str_is(key, "parameters"))
        return take_params(x, NULL, NULL, e);
    TRY(take_param(&x->j, key, &p, e));
    return json_failed(&x->j) ? OK : oip_take_param(x->r, &p, x->arena, e);
}

status oip_request_from_generate(struct str text, const struct oip_model *m, struct arena *a,
                                 struct oip_request *out, struct err *e)
{
    struct str key;
    struct reading x = { .m = m, .arena = a, .r = out };
    *out = (struct oip_request){ 0 };
    json_init(&x.j, text, a);
    json_object(&x.j);
    while (json_key(&x.j, &key))
        TRY(take_generate_member(&x, key, e));
    return json_fault(&x, e);
}

static void put_generate_output(struct buf *b, const struct oip_output *o)
{
    size_t begin = b->len;
    int64_t count = shape_numel(&o->shape);
    if (o->dtype == DTYPE_BYTES && count == 1) {
        json_put_string(b, o->text[0]);
    } else if (o->dtype == DTYPE_BYTES) {
        put_strings(b, o->text, count);
    } else {
        json_put_shortest(b, o->dtype, o->data, count);
        if (count == 1 && buf_check(b) == OK) { /* "[7]" becomes "7" */
            memmove(b->data + begin, b->data + begin + 1, b->len - begin - 2);
            b->len -= 2;
        }
    }
}

void oip_reply_to_generate(const struct oip_reply *r, struct buf *out)
{
    put_reply_head(out, r);
    for (int i = 0; i < r->output_count; i++) {
        buf_byte(out, ',');
        json_put_string(out, r->output[i].name);
        buf_byte(out, ':');
        put_generate_output(out, &r->output[i]);
    }
    buf_byte(out, '}');
}

/* ---- the other way round ---- */

static struct named_tensor *named(const struct infer_request *r, struct arena *a)
{
    struct named_tensor *t = arena_zalloc(a, ((size_t)r->feed_count + 1) * sizeof(*t));
    for (int i = 0; i < r->feed_count; i++) {
        t[i] = r->feed[i];
        if (t[i].alias.n == 0)
            t[i].alias = t[i].name;
    }
    return t;
}

static void put_wanted(struct buf *b, const struct infer_request *r, bool binary)
{
    if (binary)
        buf_str(b, "],\"parameters\":{\"binary_data_output\":true}");
    else
        buf_byte(b, ']');
    for (int i = 0; i < r->fetch_count; i++) {
        put_member(b, i > 0 ? ",{\"name\":" : ",\"outputs\":[{\"name\":", r->fetch[i]);
        buf_byte(b, '}');
    }
    buf_str(b, r->fetch_count > 0 ? "]}" : "}");
}

status oip_request_to_json(const struct infer_request *r, bool binary, struct arena *a,
                           struct buf *out, size_t *json_bytes, struct err *e)
{
    const struct oip_request how = { .binary_output = binary };
    const struct oip_model any = { .name = { "?", 1 } };
    struct infer_output from = { .tensor = named(r, a), .tensor_count = r->feed_count };
    const struct infer_reply feeds = { .output = &from, .output_count = 1 };
    struct oip_output *input;
    size_t begin = out->len;
    int count;
    TRY(oip_outputs(&how, &any, &feeds, a, &input, &count, e));
    buf_str(out, "{\"inputs\":[");
    for (int i = 0; i < count; i++) {
        if (i > 0)
            buf_byte(out, ',');
        put_output(out, &input[i]);
    }
    put_wanted(out, r, binary);
    *json_bytes = out->len - begin;
    for (int i = 0; i < count && binary; i++)
        oip_put_raw(&input[i], out);
    return buf_check(out) == OK ? OK : err_set(e, buf_check(out), "the request is too large");
}

status oip_reply_from_json(struct str body, size_t json_bytes, struct arena *a,
                           struct infer_reply *out, struct err *e)
{
    static const struct oip_model any = { .name = { "?", 1 } };
    size_t n = json_bytes < body.n ? json_bytes : body.n;
    struct oip_request r = { 0 };
    struct reading x = { .m = &any, .arena = a, .r = &r };
    x.tail = (struct str){ body.p + n, body.n - n };
    json_init(&x.j, (struct str){ body.p, n }, a);
    TRY(take_members(&x, "outputs", e));
    struct infer_output *o = arena_zalloc(a, sizeof(*o));
    o->tensor = arena_zalloc(a, ((size_t)r.input_count + 1) * sizeof(*o->tensor));
    for (int i = 0; i < r.input_count; i++) {
        struct named_tensor *t = &o->tensor[o->tensor_count++];
        t->name = t->alias = r.input[i].name;
        TRY(oip_input_tensor(&r.input[i], a, &t->tensor, e));
    }
    *out = (struct infer_reply){ .output = o, .output_count = 1 };
    return OK;
}
