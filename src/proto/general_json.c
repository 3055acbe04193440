/* The JSON half of general_model.h, by the rules of brpc's json2pb: members have the names of the
 * proto's fields, unknown ones are ignored, null means absent, bytes are base64; what equals the
 * default is not written. */
#include "base/limits.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "proto/general_check.h"
#include "proto/general_model.h"

#include <string.h>

static const _Alignas(16) uint8_t nothing[16]; /* where empty tensors point */

/* ---- reading ---- */

/* To the next member whose value is not null. */
static bool next_member(struct json *j, struct str *key)
{
    while (json_key(j, key)) {
        if (json_peek(j) != JSON_NULL)
            return true;
        json_null(j);
    }
    return false;
}

/* A flat array of numbers of dtype d in the arena. JSON faults are left in j. */
static status take_numbers(struct json *j, dtype d, void **out, int64_t *count, struct err *e)
{
    struct json_array array = { .dtype = d, .max = json_count_numbers(j) };
    size_t bytes;
    if (__builtin_mul_overflow((size_t)array.max, dtype_size(d), &bytes))
        return general_no_memory(e);
    array.to = arena_try(j->arena, bytes, 16);
    if (array.to == NULL)
        return general_no_memory(e);
    json_numbers(j, &array);
    *out = array.to;
    *count = array.count;
    return OK;
}

struct tensor_object {
    struct general_parts parts;
    void *data[GENERAL_CONTENT]; /* the values of each field; of DATA, a list of strings */
    struct str content;          /* decoded */
    const char *within;          /* the member that is being read; NULL: between two */
};

static status take_strings(struct json *j, struct tensor_object *o, struct err *e)
{
    int64_t room = json_count_numbers(j), n = 0, bytes = 0;
    struct str *list = arena_try_array(j->arena, (size_t)room, sizeof(*list));
    if (list == NULL)
        return general_no_memory(e);
    json_array(j);
    while (json_item(j)) {
        struct str s = json_string(j);
        if (n < room)
            list[n++] = s;
        bytes += (int64_t)s.n;
    }
    o->data[GENERAL_DATA] = list;
    o->parts.scalars[GENERAL_DATA] = n;
    o->parts.string_bytes = bytes;
    return OK;
}

static status take_content(struct json *j, struct tensor_object *o, struct err *e)
{
    struct str text = json_string(j);
    size_t room = text.n / 4 * 3 + 3;
    struct buf b = { .data = arena_try(j->arena, room, 16), .cap = room, .max = room };
    if (b.data == NULL)
        return general_no_memory(e);
    if (!base64_decode(text, &b)) /* never needs more than the room */
        json_fail(j, "the string is not base64");
    o->content = buf_view(&b);
    o->parts.scalars[GENERAL_CONTENT] = (int64_t)b.len;
    return OK;
}

static status take_shape(struct json *j, struct tensor_object *o, struct err *e)
{
    void *dims = NULL;
    struct general_parts *p = &o->parts;
    TRY(take_numbers(j, DTYPE_I64, &dims, &p->dims, e));
    size_t n = p->dims < SHAPE_MAX ? (size_t)p->dims : SHAPE_MAX;
    memcpy(p->dim, dims, n * sizeof(p->dim[0]));
    return OK;
}

static status take_lod(struct json *j, struct tensor_object *o, struct err *e)
{
    void *lod = NULL;
    TRY(take_numbers(j, DTYPE_I64, &lod, &o->parts.lod_count, e));
    o->parts.lod = lod;
    return OK;
}

static status take_elem_type(struct json *j, struct tensor_object *o, struct err *e)
{
    o->parts.elem_type = json_i64(j);
    return OK;
}

static status take_name(struct json *j, struct tensor_object *o, struct err *e)
{
    o->parts.name = json_string(j);
    return OK;
}

static status take_alias(struct json *j, struct tensor_object *o, struct err *e)
{
    o->parts.alias = json_string(j);
    return OK;
}

// clang-format off
static const struct tensor_member {
    const char *name;
    status (*take)(struct json *j, struct tensor_object *o, struct err *e);
} members[] = {
    { "data", take_strings },        { "tensor_content", take_content },
    { "elem_type", take_elem_type }, { "shape", take_shape },
    { "lod", take_lod },             { "name", take_name },
    { "alias_name", take_alias },
};
// clang-format on

static status take_member(struct json *j, struct tensor_object *o, struct str key, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (!str_is(key, members[i].name))
            continue;
        o->within = members[i].name;
        return members[i].take(j, o, e);
    }
    for (int s = 0; s < GENERAL_DATA; s++) {
        if (!str_is(key, general_field[s].name))
            continue;
        o->within = general_field[s].name;
        return take_numbers(j, general_field[s].scalar, &o->data[s], &o->parts.scalars[s], e);
    }
    json_skip(j);
    return OK;
}

/* All strings in a row, each ended by a NUL. */
static status join_strings(struct arena *a, const struct str *list, int64_t n, struct tensor *t,
                           struct err *e)
{
    char *to = arena_try(a, (size_t)tensor_bytes(t), 16);
    if (to == NULL)
        return general_no_memory(e);
    t->data = to;
    for (int64_t i = 0; i < n; i++) {
        memcpy(to, list[i].p, list[i].n);
        to += list[i].n;
        *to++ = '\0';
    }
    return OK;
}

static status take_elements(const struct tensor_object *o, struct arena *a,
                            struct named_tensor *out, struct err *e)
{
    enum general_source from;
    TRY(general_tensor(&o->parts, out, &from, e));
    struct tensor *t = &out->tensor;
    t->data = nothing;
    if (o->parts.scalars[from] == 0)
        return OK;
    if (from == GENERAL_CONTENT) {
        status s = general_content(o->content, t->dtype, a, &t->data, e);
        return s == OK ? OK : err_prefix(e, s, "tensor %d: ", o->parts.index);
    }
    if (from == GENERAL_DATA)
        return join_strings(a, o->data[from], o->parts.scalars[from], t, e);
    t->data = o->data[from];
    return OK;
}

static status take_tensor(struct json *j, int index, struct named_tensor *out, struct err *e)
{
    struct tensor_object o = { .content = { "", 0 } };
    struct str key;
    o.parts = (struct general_parts){ .index = index, .name = { "", 0 }, .alias = { "", 0 } };
    json_object(j);
    while (next_member(j, &key)) {
        TRY(take_member(j, &o, key, e));
        if (!json_failed(j))
            o.within = NULL;
    }
    if (!json_failed(j))
        return take_elements(&o, j->arena, out, e);
    status s = json_end(j, e);
    return o.within != NULL ? err_prefix(e, s, "tensor %d: %s: ", index, o.within)
                            : err_prefix(e, s, "tensor %d: ", index);
}

/* What is said twice is one list, as two pieces of a repeated field are. */
static status take_tensors(struct json *j, struct named_tensor **list, int *count, struct err *e)
{
    json_array(j);
    for (; json_item(j); ++*count) {
        if (*count >= LIMIT_REQUEST_TENSORS)
            return err_set(e, INVALID, "more than %d tensors", LIMIT_REQUEST_TENSORS);
        struct named_tensor *grown = general_grow(j->arena, *list, *count, sizeof(**list));
        if (grown == NULL)
            return general_no_memory(e);
        *list = grown;
        TRY(take_tensor(j, *count, &grown[*count], e));
    }
    return OK;
}

static status take_fetch(struct json *j, struct infer_request *out, struct err *e)
{
    json_array(j);
    while (json_item(j)) {
        int n = out->fetch_count;
        if (n >= LIMIT_FETCH_NAMES)
            return err_set(e, INVALID, "more than %d fetch_var_names", LIMIT_FETCH_NAMES);
        struct str *grown = general_grow(j->arena, out->fetch, n, sizeof(*grown));
        if (grown == NULL)
            return general_no_memory(e);
        out->fetch = grown;
        grown[n] = json_string(j);
        TRY(general_name_check(grown[n], "fetch_var_names", e));
        out->fetch_count++;
    }
    return OK;
}

/* json2pb passes over a single value of a wrong kind. For these two, which change no result, that
 * is kept: there are clients that send "profile_server": 0. */
static status take_request_member(struct json *j, struct str key, struct infer_request *out,
                                  struct err *e)
{
    json_kind kind = json_peek(j);
    if (str_is(key, "tensor"))
        return take_tensors(j, &out->feed, &out->feed_count, e);
    if (str_is(key, "fetch_var_names"))
        return take_fetch(j, out, e);
    if (str_is(key, "profile_server") && kind == JSON_BOOL)
        out->profile = json_bool(j);
    else if (str_is(key, "log_id") && (kind == JSON_NUMBER || kind == JSON_STRING))
        out->log_id = json_u64(j);
    else
        json_skip(j);
    return OK;
}

status general_request_from_json(struct str text, struct arena *a, struct infer_request *out,
                                 struct err *e)
{
    struct json j;
    struct str key;
    *out = (struct infer_request){ 0 };
    if (text.n == 0)
        return OK; /* brpc's rule: an empty body is an empty message */
    json_init(&j, text, a);
    json_object(&j);
    while (next_member(&j, &key))
        TRY(take_request_member(&j, key, out, e));
    return err_prefix(e, json_end(&j, e), "the JSON body, ");
}

static status take_output(struct json *j, struct infer_output *out, struct err *e)
{
    struct str key;
    *out = (struct infer_output){ .engine = { "", 0 } };
    json_object(j);
    while (next_member(j, &key)) {
        if (str_is(key, "tensor"))
            TRY(take_tensors(j, &out->tensor, &out->tensor_count, e));
        else if (str_is(key, "engine_name"))
            out->engine = json_string(j);
        else
            json_skip(j);
    }
    return general_name_check(out->engine, "engine_name", e);
}

static status take_outputs(struct json *j, struct infer_reply *out, struct err *e)
{
    json_array(j);
    for (; json_item(j); out->output_count++) {
        int n = out->output_count;
        if (n >= LIMIT_REQUEST_TENSORS)
            return err_set(e, INVALID, "more than %d outputs", LIMIT_REQUEST_TENSORS);
        struct infer_output *grown = general_grow(j->arena, out->output, n, sizeof(*grown));
        if (grown == NULL)
            return general_no_memory(e);
        out->output = grown;
        status s = take_output(j, &grown[n], e);
        if (s != OK)
            return err_prefix(e, s, "output %d: ", n);
    }
    return OK;
}

static status take_stamps(struct json *j, struct infer_reply *out, struct err *e)
{
    void *list = NULL;
    int64_t n = 0;
    TRY(take_numbers(j, DTYPE_I64, &list, &n, e));
    if (n > INT32_MAX)
        return general_no_memory(e);
    out->stamp_us = list;
    out->stamp_count = (int)n;
    return OK;
}

/* What a reply says of its own failure, beside its outputs. */
struct reply_error {
    int64_t number;
    struct str text;
};

static status take_reply_member(struct json *j, struct str key, struct infer_reply *out,
                                struct reply_error *failure, struct err *e)
{
    if (str_is(key, "outputs"))
        return take_outputs(j, out, e);
    if (str_is(key, "profile_time"))
        return take_stamps(j, out, e);
    if (str_is(key, "err_no"))
        failure->number = json_i64(j);
    else if (str_is(key, "err_msg"))
        failure->text = json_string(j);
    else
        json_skip(j);
    return OK;
}

status general_reply_from_json(struct str text, struct arena *a, struct infer_reply *out,
                               struct err *e)
{
    struct json j;
    struct str key;
    struct reply_error failure = { .text = { "", 0 } };
    *out = (struct infer_reply){ 0 };
    json_init(&j, text, a);
    json_object(&j);
    while (next_member(&j, &key))
        TRY(take_reply_member(&j, key, out, &failure, e));
    TRY(err_prefix(e, json_end(&j, e), "the JSON body, "));
    return general_reply_error(failure.number, failure.text, e);
}

/* ---- writing ---- */

/* The name of the next member of an object that was opened with *first true. */
static void put_name(struct buf *b, bool *first, const char *name)
{
    buf_str(b, *first ? "\"" : ",\"");
    buf_str(b, name);
    buf_str(b, "\":");
    *first = false;
}

static void put_text(struct buf *b, bool *first, const char *name, struct str text)
{
    if (text.n == 0)
        return;
    put_name(b, first, name);
    json_put_string(b, text);
}

static void put_strings(struct buf *b, const struct tensor *t)
{
    struct str left = { t->data, (size_t)tensor_bytes(t) }, one;
    const char *separator = "[";
    for (; general_next_string(&left, &one); separator = ",") {
        buf_str(b, separator);
        json_put_string(b, one);
    }
    buf_byte(b, ']');
}

static void put_elements(struct buf *b, bool *first, const struct tensor *t, enum general_source to)
{
    int64_t n = shape_numel(&t->shape);
    if (n <= 0)
        return;
    put_name(b, first, general_field[to].name);
    if (to == GENERAL_DATA) {
        put_strings(b, t);
    } else if (to == GENERAL_CONTENT) {
        buf_byte(b, '"');
        base64_encode((struct str){ t->data, (size_t)tensor_bytes(t) }, b);
        buf_byte(b, '"');
    } else {
        json_put_numbers(b, t->dtype, t->data, n);
    }
}

/* All levels in one flat list, as requests have them. */
static void put_lod(struct buf *b, bool *first, const struct lod *lod)
{
    const char *separator = "[";
    if (lod->levels == 0)
        return;
    put_name(b, first, "lod");
    for (int i = 0; i < lod->levels; i++) {
        for (int64_t k = 0; k < lod->level[i].count; k++, separator = ",") {
            buf_str(b, separator);
            json_put_i64(b, lod->level[i].offset[k]);
        }
    }
    buf_byte(b, ']');
}

static void put_tensor(struct buf *b, const struct named_tensor *n)
{
    const struct tensor *t = &n->tensor;
    enum general_source to = general_source_for(t);
    struct shape shape = general_shape(t, to);
    bool first = true;
    buf_byte(b, '{');
    if (to != GENERAL_CONTENT)
        put_elements(b, &first, t, to);
    if (t->dtype != 0) {
        put_name(b, &first, "elem_type");
        json_put_i64(b, (int64_t)t->dtype);
    }
    if (shape.rank > 0) {
        put_name(b, &first, "shape");
        json_put_numbers(b, DTYPE_I64, shape.dim, shape.rank);
    }
    put_lod(b, &first, &t->lod);
    put_text(b, &first, "name", n->name);
    put_text(b, &first, "alias_name", n->alias);
    if (to == GENERAL_CONTENT)
        put_elements(b, &first, t, to);
    buf_byte(b, '}');
}

static void put_tensors(struct buf *b, bool *first, const struct named_tensor *list, int count)
{
    if (count == 0)
        return;
    put_name(b, first, "tensor");
    for (int i = 0; i < count; i++) {
        buf_str(b, i == 0 ? "[" : ",");
        put_tensor(b, &list[i]);
    }
    buf_byte(b, ']');
}

static void put_fetch(struct buf *b, bool *first, const struct infer_request *r)
{
    if (r->fetch_count == 0)
        return;
    put_name(b, first, "fetch_var_names");
    for (int i = 0; i < r->fetch_count; i++) {
        buf_str(b, i == 0 ? "[" : ",");
        json_put_string(b, r->fetch[i]);
    }
    buf_byte(b, ']');
}

void general_request_to_json(const struct infer_request *r, struct buf *out)
{
    bool first = true;
    buf_byte(out, '{');
    put_tensors(out, &first, r->feed, r->feed_count);
    put_fetch(out, &first, r);
    if (r->profile) {
        put_name(out, &first, "profile_server");
        buf_str(out, "true");
    }
    if (r->log_id != 0) {
        put_name(out, &first, "log_id");
        buf_printf(out, "%llu", (unsigned long long)r->log_id);
    }
    buf_byte(out, '}');
}

static void put_output(struct buf *b, const struct infer_output *o)
{
    bool first = true;
    buf_byte(b, '{');
    put_tensors(b, &first, o->tensor, o->tensor_count);
    put_text(b, &first, "engine_name", o->engine);
    buf_byte(b, '}');
}

void general_reply_to_json(const struct infer_reply *r, struct buf *out)
{
    bool first = true;
    buf_byte(out, '{');
    if (r->output_count > 0)
        put_name(out, &first, "outputs");
    for (int i = 0; i < r->output_count; i++) {
        buf_str(out, i == 0 ? "[" : ",");
        put_output(out, &r->output[i]);
    }
    if (r->output_count > 0)
        buf_byte(out, ']');
    if (r->stamp_count > 0) {
        put_name(out, &first, "profile_time");
        json_put_numbers(out, DTYPE_I64, r->stamp_us, r->stamp_count);
    }
    buf_byte(out, '}');
}
