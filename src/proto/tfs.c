#include "proto/tfs.h"

#include "base/limits.h"
#include "base/mem.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "proto/general_check.h"

#include <string.h>

/* ---- reading ---- */

/* What has been gathered for one port. */
struct column {
    uint8_t *data;
    int64_t count, room; /* elements */
    int64_t values;      /* instances so far */
    struct shape value;  /* of one; of a ragged one without its first dimension */
    int64_t *offset;     /* ragged: of each sequence's end, from 0 */
    bool given;
};

struct reading {
    struct json j;
    struct arena *arena;
    const struct call_ports *ports;
    struct column *column; /* one a port */
    int64_t rows;          /* of "instances" or "examples" */
};

static status json_fault(struct reading *r, struct err *e)
{
    status s = json_end(&r->j, e);
    return s == OK ? OK : err_prefix(e, s, "JSON Parse error: Invalid value. ");
}

static int find_port(const struct call_ports *ports, struct str name)
{
    for (int i = 0; i < ports->count; i++)
        if (str_eq(name, ports->port[i].alias))
            return i;
    for (int i = 0; i < ports->count; i++)
        if (str_eq(name, ports->port[i].name))
            return i;
    return -1;
}

static const char *type_name(dtype d)
{
    switch (d) {
    case DTYPE_F32: return "float";
    case DTYPE_F64: return "double";
    case DTYPE_BYTES: return "string";
    case DTYPE_F16: return "half";
    default: return dtype_name(d);
    }
}

static status make_room(struct reading *r, struct column *c, dtype d, int64_t n, struct err *e)
{
    size_t size = dtype_size(d), bytes;
    int64_t room = c->room * 2;
    if (c->data != NULL && n <= c->room - c->count)
        return OK;
    if (room - c->count < n)
        room = c->count + n;
    if (!mem_mul((size_t)room, size, &bytes))
        return general_no_memory(e);
    uint8_t *data = arena_try(r->arena, bytes + size, 64);
    if (data == NULL)
        return general_no_memory(e);
    if (c->count > 0 && c->data != NULL)
        memcpy(data, c->data, (size_t)c->count * size);
    c->data = data;
    c->room = room;
    return OK;
}

/* "text", or {"b64": "..."}, whose bytes stand in the arena. */
static status take_text(struct reading *r, struct str *out, struct err *e)
{
    struct str key;
    if (json_peek(&r->j) != JSON_OBJECT) {
        *out = json_string(&r->j);
        return OK;
    }
    *out = (struct str){ "", 0 };
    json_object(&r->j);
    while (json_key(&r->j, &key)) {
        struct str text = json_string(&r->j);
        size_t room = text.n / 4 * 3 + 3;
        struct buf b = { .data = arena_try(r->arena, room, 16), .cap = room, .max = room };
        if (b.data == NULL)
            return general_no_memory(e);
        if (!str_is(key, "b64") || !base64_decode(text, &b))
            json_fail(&r->j, "expected an object with a single key b64 and base64 in it");
        *out = buf_view(&b);
    }
    return OK;
}

/* Strings, nested in any way, each ended by a NUL; the count of bytes is the value's one dimension. */
static status take_strings(struct reading *r, struct column *c, struct err *e)
{
    struct str s;
    if (json_peek(&r->j) == JSON_ARRAY) {
        for (json_array(&r->j); json_item(&r->j);)
            TRY(take_strings(r, c, e));
        return OK;
    }
    TRY(take_text(r, &s, e));
    TRY(make_room(r, c, DTYPE_BYTES, (int64_t)s.n + 1, e));
    memcpy(c->data + c->count, s.p, s.n);
    c->data[c->count + (int64_t)s.n] = '\0';
    c->count += (int64_t)s.n + 1;
    return OK;
}

static status bad_element(struct reading *r, const struct call_port *p, struct err *e)
{
    struct err why = { "" };
    status s = json_end(&r->j, &why);
    if (s != INVALID)
        return err_set(e, s, "%s", why.text);
    return err_set(e, INVALID, "JSON Value of input '%.*s' is not of expected type: %s (%s)",
                   STR_ARG(p->alias), type_name(p->dtype), why.text);
}

static status take_numbers(struct reading *r, struct column *c, const struct call_port *p,
                           struct shape *value, struct err *e)
{
    TRY(make_room(r, c, p->dtype, json_count_numbers(&r->j), e));
    struct json_array a = { .dtype = p->dtype, .max = c->room - c->count, .dims = value->dim };
    a.to = c->data + (size_t)c->count * dtype_size(p->dtype);
    json_numbers(&r->j, &a);
    value->rank = a.rank;
    c->count += a.count;
    return OK;
}

static status add_offset(struct reading *r, struct column *c, int64_t rows, struct err *e)
{
    int64_t count = c->values + 1; /* offset[0] is there from the first */
    int64_t *grown = c->offset == NULL ? arena_try_array(r->arena, 4, sizeof(*grown))
                                       : general_grow(r->arena, c->offset, count, sizeof(*grown));
    if (grown == NULL)
        return general_no_memory(e);
    c->offset = grown;
    grown[count] = grown[count - 1] + rows;
    return OK;
}

/* A sequence's first dimension is its own; the rest is the same for all. */
static status split_sequence(struct reading *r, struct column *c, const struct call_port *p,
                             struct shape *value, struct err *e)
{
    int64_t rows = value->rank > 0 ? value->dim[0] : 1;
    if (value->rank > 0) {
        value->rank--;
        memmove(value->dim, value->dim + 1, (size_t)value->rank * sizeof(value->dim[0]));
    }
    if (value->rank + 2 == p->shape.rank)
        value->dim[value->rank++] = 1; /* ids without their last dimension of 1 */
    return add_offset(r, c, rows, e);
}

static status wrong_shape(const struct call_port *p, const struct shape *value,
                          const struct shape *before, struct err *e)
{
    char got[SHAPE_TEXT_MAX], want[SHAPE_TEXT_MAX];
    return err_set(e, INVALID,
                   "Encountered list at unexpected size: input '%.*s' has an instance of shape %s, "
                   "those before are of shape %s",
                   STR_ARG(p->alias), shape_text(value, got, sizeof(got)),
                   shape_text(before, want, sizeof(want)));
}

static status take_instance(struct reading *r, int i, struct err *e)
{
    const struct call_port *p = &r->ports->port[i];
    struct column *c = &r->column[i];
    struct shape value = { 0 };
    c->given = true;
    TRY(p->dtype == DTYPE_BYTES ? take_strings(r, c, e) : take_numbers(r, c, p, &value, e));
    if (json_failed(&r->j))
        return bad_element(r, p, e);
    if (p->dtype != DTYPE_BYTES && p->ragged)
        TRY(split_sequence(r, c, p, &value, e));
    if (c->values > 0 && !shape_eq(&value, &c->value))
        return wrong_shape(p, &value, &c->value, e);
    c->value = value;
    c->values++;
    return OK;
}

static status unknown_input(struct reading *r, struct str key, struct err *e)
{
    return err_set(e, INVALID,
                   "Failed to process element: JSON object: input '%.*s' is not found in the "
                   "signature, whose %d input(s) begin with '%.*s'",
                   STR_ARG(key), r->ports->count,
                   STR_ARG(r->ports->count > 0 ? r->ports->port[0].alias : STR("")));
}

/* An object with one instance of each input. */
static status take_named_instance(struct reading *r, struct err *e)
{
    struct str key;
    json_object(&r->j);
    while (json_key(&r->j, &key)) {
        int i = find_port(r->ports, key);
        if (i < 0)
            return unknown_input(r, key, e);
        TRY(take_instance(r, i, e));
    }
    return OK;
}

static status one_input(struct reading *r, struct err *e)
{
    if (r->ports->count == 1)
        return OK;
    return err_set(e, INVALID,
                   "instances is a plain list, but expecting list of objects as multiple input "
                   "tensors required as per tensorinfo_map: the model has %d",
                   r->ports->count);
}

/* Whether the value ahead names its inputs; {"b64": ...} is a value. */
static bool is_named(struct reading *r)
{
    struct json ahead = r->j;
    struct str key;
    if (json_peek(&ahead) != JSON_OBJECT)
        return false;
    json_object(&ahead);
    return !json_key(&ahead, &key) || !str_is(key, "b64") || find_port(r->ports, key) >= 0;
}

static status take_row(struct reading *r, struct err *e)
{
    if (is_named(r))
        return take_named_instance(r, e);
    TRY(one_input(r, e));
    return take_instance(r, 0, e);
}

static status take_rows(struct reading *r, const char *what, struct err *e)
{
    int64_t batch = 0;
    if (json_peek(&r->j) != JSON_ARRAY)
        return err_set(e, INVALID, "JSON Value: '%s' must be a list of at least one element", what);
    for (json_array(&r->j); json_item(&r->j);) {
        TRY(take_row(r, e));
        batch++;
        for (int i = 0; i < r->ports->count; i++)
            if (r->column[i].given && r->column[i].values != batch)
                return err_set(e, INVALID,
                               "Failed to process element: %lld of '%s' list. JSON object: input "
                               "'%.*s' must be in every one, once",
                               (long long)batch - 1, what, STR_ARG(r->ports->port[i].alias));
    }
    r->rows = batch;
    return OK;
}

/* All instances of one input. A bare value is a batch of one. */
static status take_column(struct reading *r, int i, struct err *e)
{
    if (r->column[i].given)
        return err_set(e, INVALID, "input '%.*s' is given twice", STR_ARG(r->ports->port[i].alias));
    if (json_peek(&r->j) != JSON_ARRAY)
        return take_instance(r, i, e);
    r->column[i].given = true;
    for (json_array(&r->j); json_item(&r->j);)
        TRY(take_instance(r, i, e));
    return OK;
}

static status take_columns(struct reading *r, struct err *e)
{
    struct str key;
    if (!is_named(r)) {
        TRY(one_input(r, e));
        return take_column(r, 0, e);
    }
    json_object(&r->j);
    while (json_key(&r->j, &key)) {
        int i = find_port(r->ports, key);
        if (i < 0)
            return unknown_input(r, key, e);
        TRY(take_column(r, i, e));
    }
    return OK;
}

/* What "context" says belongs to every example. */
static status take_context(struct reading *r, const struct json *context, int64_t batch,
                           struct err *e)
{
    if (context->p == NULL)
        return OK;
    for (int64_t i = 0; i < batch; i++) {
        r->j = *context;
        TRY(take_named_instance(r, e));
        if (json_failed(&r->j))
            return json_fault(r, e);
    }
    return OK;
}

static int64_t longest(const struct reading *r)
{
    int64_t n = 0;
    for (int i = 0; i < r->ports->count; i++)
        if (r->column[i].values > n)
            n = r->column[i].values;
    return n;
}

static status check_signature(struct str name, struct err *e)
{
    if (name.n == 0 || str_is(name, "serving_default") || str_is(name, "predict"))
        return OK;
    return err_set(e, INVALID,
                   "Serving signature name: \"%.*s\" not found in signature def; there is "
                   "\"serving_default\"",
                   STR_ARG(name));
}

static status one_form(int forms, enum tfs_kind kind, struct err *e)
{
    if (forms == 1)
        return OK;
    if (kind != TFS_PREDICT)
        return err_set(e, INVALID, "When method is classify, key 'examples' is expected and was %s",
                       forms == 0 ? "not found" : "found twice");
    return forms == 0 ? err_set(e, INVALID, "Missing 'inputs' or 'instances' key")
                      : err_set(e, INVALID,
                                "Not formatted correctly expecting only either one of "
                                "'inputs' or 'instances' keys exist");
}

static status take_members(struct reading *r, struct tfs_form *form, struct err *e)
{
    struct str key;
    struct json context = { 0 };
    bool predict = form->kind == TFS_PREDICT;
    int forms = 0;
    json_object(&r->j);
    while (json_key(&r->j, &key)) {
        bool rows = str_is(key, predict ? "instances" : "examples");
        if (rows || (predict && str_is(key, "inputs"))) {
            TRY(++forms > 1 ? one_form(forms, form->kind, e) : OK);
            form->rows = rows;
            TRY(rows ? take_rows(r, predict ? "instances" : "examples", e) : take_columns(r, e));
        } else if (str_is(key, "signature_name")) {
            struct str name = json_string(&r->j);
            TRY(json_failed(&r->j) ? OK : check_signature(name, e));
        } else if (!predict && str_is(key, "context")) {
            context = r->j;
            json_skip(&r->j);
        } else {
            json_skip(&r->j);
        }
    }
    TRY(json_fault(r, e));
    TRY(one_form(forms, form->kind, e));
    form->batch = form->rows ? r->rows : longest(r);
    return take_context(r, &context, form->batch, e);
}

static void set_shape(const struct column *c, const struct call_port *p, struct tensor *t)
{
    t->shape = (struct shape){ .rank = 1, .dim = { c->values } };
    if (p->dtype == DTYPE_BYTES) {
        t->shape.dim[0] = c->count;
        return;
    }
    if (p->ragged) {
        t->shape.dim[0] = c->values > 0 ? c->offset[c->values] : 0;
        t->lod = (struct lod){ .levels = 1, .level = { { c->offset, c->values + 1 } } };
    }
    for (int i = 0; i < c->value.rank && t->shape.rank < SHAPE_MAX; i++)
        t->shape.dim[t->shape.rank++] = c->value.dim[i];
    if (c->value.rank == 0 && t->shape.rank + 1 == p->shape.rank)
        t->shape.dim[t->shape.rank++] = 1; /* one number an instance */
}

static status finish(struct reading *r, struct infer_request *out, struct err *e)
{
    const struct call_ports *ports = r->ports;
    out->feed = arena_zalloc(r->arena, ((size_t)ports->count + 1) * sizeof(*out->feed));
    for (int i = 0; i < ports->count; i++) {
        const struct column *c = &r->column[i];
        struct named_tensor *f = &out->feed[out->feed_count];
        if (!c->given || c->data == NULL)
            return err_set(e, INVALID,
                           "Failed to process element: input '%.*s' of the signature is missing or "
                           "empty",
                           STR_ARG(ports->port[i].alias));
        *f = (struct named_tensor){ ports->port[i].name, ports->port[i].alias, { 0 } };
        f->tensor.dtype = ports->port[i].dtype;
        f->tensor.data = c->data;
        set_shape(c, &ports->port[i], &f->tensor);
        out->feed_count++;
    }
    return OK;
}

status tfs_request_from_json(struct str text, const struct call_ports *ports, struct arena *a,
                             struct tfs_form *form, struct infer_request *out, struct err *e)
{
    struct reading r = { .arena = a, .ports = ports };
    r.column = arena_zalloc(a, ((size_t)ports->count + 1) * sizeof(*r.column));
    if (str_trim(text).n == 0)
        return err_set(e, INVALID, "JSON Parse error: The document is empty");
    json_init(&r.j, text, a);
    r.j.loose = true;
    TRY(take_members(&r, form, e));
    return finish(&r, out, e);
}

/* ---- writing ---- */

static void put_b64(struct buf *b, struct str s)
{
    buf_str(b, "{\"b64\":\"");
    base64_encode(s, b);
    buf_str(b, "\"}");
}

static void put_run(struct buf *b, const struct tensor *t, int64_t from, int64_t n)
{
    size_t size = dtype_size(t->dtype);
    const uint8_t *p = (const uint8_t *)t->data + (size_t)from * size;
    buf_byte(b, '[');
    for (int64_t i = 0; i < n; i++, p += size) {
        if (i > 0)
            buf_byte(b, ',');
        json_put_bare(b, t->dtype, p);
    }
    buf_byte(b, ']');
}

/* The dimensions from `axis` on, of which `from` is the first element. */
static void put_nested(struct buf *b, const struct tensor *t, int axis, int64_t from)
{
    const struct shape *s = &t->shape;
    if (axis == s->rank) {
        json_put_bare(b, t->dtype, (const uint8_t *)t->data + (size_t)from * dtype_size(t->dtype));
        return;
    }
    if (axis == s->rank - 1) {
        put_run(b, t, from, s->dim[axis]);
        return;
    }
    int64_t step = shape_span(s, axis + 1, s->rank);
    buf_byte(b, '[');
    for (int64_t i = 0; i < s->dim[axis]; i++) {
        if (i > 0)
            buf_byte(b, ',');
        put_nested(b, t, axis + 1, from + i * step);
    }
    buf_byte(b, ']');
}

static void put_string(struct buf *b, const struct named_tensor *n, struct str s)
{
    if (str_ends(n->alias, "_bytes") || !str_is_utf8(s))
        put_b64(b, s);
    else
        json_put_string(b, s);
}

/* Of instance `row`: the row itself, a ragged one's rows, or the row-th string. */
static void put_row(struct buf *b, const struct named_tensor *n, int64_t row)
{
    const struct tensor *t = &n->tensor;
    struct str bytes = { t->data, (size_t)shape_numel(&t->shape) }, s = { "", 0 };
    if (t->dtype == DTYPE_BYTES) {
        for (int64_t i = 0; i <= row && general_next_string(&bytes, &s); i++)
            continue;
        put_string(b, n, s);
        return;
    }
    int64_t step = t->shape.rank > 0 ? shape_span(&t->shape, 1, t->shape.rank) : 1;
    if (t->lod.levels == 0) {
        put_nested(b, t, t->shape.rank > 0 ? 1 : 0, row * step);
        return;
    }
    struct tensor part = *t;
    const int64_t *offset = t->lod.level[t->lod.levels - 1].offset;
    part.shape.dim[0] = offset[row + 1] - offset[row];
    put_nested(b, &part, 0, offset[row] * step);
}

static void put_whole(struct buf *b, const struct named_tensor *n)
{
    const struct tensor *t = &n->tensor;
    struct str bytes = { t->data, (size_t)shape_numel(&t->shape) }, s;
    const char *separator = "";
    if (t->dtype != DTYPE_BYTES) {
        put_nested(b, t, 0, 0);
        return;
    }
    buf_byte(b, '[');
    while (general_next_string(&bytes, &s)) {
        buf_str(b, separator);
        put_string(b, n, s);
        separator = ",";
    }
    buf_byte(b, ']');
}

static int64_t rows_of(const struct tensor *t)
{
    struct str bytes = { t->data, (size_t)shape_numel(&t->shape) }, s;
    int64_t n = 0;
    if (t->lod.levels > 0)
        return t->lod.level[t->lod.levels - 1].count - 1;
    if (t->dtype != DTYPE_BYTES)
        return t->shape.rank > 0 ? t->shape.dim[0] : 1;
    while (general_next_string(&bytes, &s))
        n++;
    return n;
}

static status check_batch(const struct tfs_form *form, const struct infer_output *o, struct err *e)
{
    for (int i = 0; i < o->tensor_count; i++) {
        int64_t rows = rows_of(&o->tensor[i].tensor);
        if (rows != form->batch)
            return err_set(
                e, INVALID,
                "Tensor name: %.*s has inconsistent batch size: %lld expecting: %lld; ask in "
                "the column form (\"inputs\") for outputs without a batch",
                STR_ARG(o->tensor[i].alias), (long long)rows, (long long)form->batch);
    }
    return OK;
}

static void put_object(struct buf *b, const struct infer_output *o, int64_t row, bool whole)
{
    buf_byte(b, '{');
    for (int i = 0; i < o->tensor_count; i++) {
        if (i > 0)
            buf_byte(b, ',');
        json_put_string(b, o->tensor[i].alias);
        buf_byte(b, ':');
        if (whole)
            put_whole(b, &o->tensor[i]);
        else
            put_row(b, &o->tensor[i], row);
    }
    buf_byte(b, '}');
}

/* [["0", score], ...] for each example: classes are called by their numbers. */
static void put_classes(struct buf *b, const struct tensor *t, int64_t row)
{
    int64_t n = shape_span(&t->shape, 1, t->shape.rank);
    buf_byte(b, '[');
    for (int64_t i = 0; i < n; i++) {
        buf_printf(b, "%s[\"%lld\",", i > 0 ? "," : "", (long long)i);
        json_put_bare(b, t->dtype,
                      (const uint8_t *)t->data + (size_t)(row * n + i) * dtype_size(t->dtype));
        buf_byte(b, ']');
    }
    buf_byte(b, ']');
}

static status check_results(const struct tfs_form *form, const struct infer_output *o,
                            struct err *e)
{
    const struct tensor *t = o->tensor_count > 0 ? &o->tensor[0].tensor : NULL;
    if (t == NULL || t->shape.rank < 1 || t->dtype == DTYPE_BYTES)
        return err_set(e, INVALID, "the model's first output is no list of scores");
    if (form->kind == TFS_REGRESS && shape_span(&t->shape, 1, t->shape.rank) != 1)
        return err_set(
            e, INVALID, "Expecting one value an example to regress; output '%.*s' has %lld",
            STR_ARG(o->tensor[0].alias), (long long)shape_span(&t->shape, 1, t->shape.rank));
    return OK;
}

static void put_result(struct buf *b, const struct tfs_form *form, const struct infer_output *o,
                       int64_t row)
{
    const struct tensor *t = &o->tensor[0].tensor;
    if (form->kind == TFS_CLASSIFY)
        put_classes(b, t, row);
    else if (form->kind == TFS_REGRESS)
        json_put_bare(b, t->dtype, (const uint8_t *)t->data + (size_t)row * dtype_size(t->dtype));
    else if (o->tensor_count == 1)
        put_row(b, &o->tensor[0], row);
    else
        put_object(b, o, row, false);
}

status tfs_reply_to_json(const struct tfs_form *form, const struct infer_reply *r, struct buf *out,
                         struct err *e)
{
    static const struct infer_output none;
    const struct infer_output *o = r->output_count > 0 ? &r->output[0] : &none;
    if (!form->rows) {
        buf_str(out, "{\"outputs\":");
        if (o->tensor_count == 1)
            put_whole(out, &o->tensor[0]);
        else
            put_object(out, o, 0, true);
        buf_byte(out, '}');
        return OK;
    }
    TRY(check_batch(form, o, e));
    if (form->kind != TFS_PREDICT)
        TRY(check_results(form, o, e));
    buf_str(out, form->kind == TFS_PREDICT ? "{\"predictions\":[" : "{\"results\":[");
    for (int64_t row = 0; row < form->batch; row++) {
        if (row > 0)
            buf_byte(out, ',');
        put_result(out, form, o, row);
    }
    buf_str(out, "]}");
    return OK;
}

void tfs_request_to_json(const struct infer_request *r, struct buf *out)
{
    buf_str(out, "{\"inputs\":{");
    for (int i = 0; i < r->feed_count; i++) {
        const struct named_tensor *f = &r->feed[i];
        if (i > 0)
            buf_byte(out, ',');
        json_put_string(out, f->alias.n > 0 ? f->alias : f->name);
        buf_byte(out, ':');
        put_whole(out, f);
    }
    buf_str(out, "}}");
}

static status take_output(struct json *j, struct str name, struct arena *a, struct infer_output *o,
                          struct err *e)
{
    struct named_tensor *list = general_grow(a, o->tensor, o->tensor_count, sizeof(*list));
    struct json_array array = { .dtype = DTYPE_F64, .max = json_count_numbers(j) };
    if (list == NULL ||
        (array.to = arena_try_array(a, (size_t)array.max + 1, sizeof(double))) == NULL)
        return general_no_memory(e);
    struct named_tensor *t = &list[o->tensor_count];
    *t = (struct named_tensor){ name, name, { .dtype = DTYPE_F64, .data = array.to } };
    array.dims = t->tensor.shape.dim;
    json_numbers(j, &array);
    t->tensor.shape.rank = array.rank;
    o->tensor = list;
    o->tensor_count++;
    return OK;
}

status tfs_reply_from_json(struct str text, struct arena *a, struct infer_reply *out, struct err *e)
{
    struct infer_output *o = arena_zalloc(a, sizeof(*o));
    struct str key, name;
    struct json j;
    json_init(&j, text, a);
    j.loose = true;
    json_object(&j);
    while (json_key(&j, &key)) {
        if (!str_is(key, "outputs")) {
            json_skip(&j);
        } else if (json_peek(&j) != JSON_OBJECT) {
            TRY(take_output(&j, key, a, o, e));
        } else {
            json_object(&j);
            while (json_key(&j, &name))
                TRY(take_output(&j, name, a, o, e));
        }
    }
    *out = (struct infer_reply){ .output = o, .output_count = 1 };
    return json_end(&j, e);
}
