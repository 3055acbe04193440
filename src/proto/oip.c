#include "proto/oip.h"

#include "base/limits.h"
#include "base/mem.h"
#include "proto/flat.h"
#include "proto/general_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const _Alignas(16) uint8_t nothing[16]; /* where empty tensors point */

/* ---- filling a request ---- */

struct oip_input *oip_add_input(struct oip_request *r, struct arena *a, struct err *e)
{
    struct oip_input *list = NULL;
    if (r->input_count >= LIMIT_REQUEST_TENSORS)
        err_set(e, INVALID, "the request has more than %d inputs", LIMIT_REQUEST_TENSORS);
    else if ((list = general_grow(a, r->input, r->input_count, sizeof(*list))) == NULL)
        general_no_memory(e);
    if (list == NULL)
        return NULL;
    r->input = list;
    list[r->input_count] = (struct oip_input){ 0 };
    return &list[r->input_count++];
}

struct oip_wanted *oip_add_output(struct oip_request *r, struct arena *a, struct err *e)
{
    struct oip_wanted *list = NULL;
    if (r->output_count >= LIMIT_FETCH_NAMES)
        err_set(e, INVALID, "the request has more than %d outputs", LIMIT_FETCH_NAMES);
    else if ((list = general_grow(a, r->output, r->output_count, sizeof(*list))) == NULL)
        general_no_memory(e);
    if (list == NULL)
        return NULL;
    r->output = list;
    list[r->output_count] = (struct oip_wanted){ .binary = -1 };
    return &list[r->output_count++];
}

/* ---- parameters ---- */

static bool is_number(const struct oip_param *p)
{
    return p->kind == OIP_INT || p->kind == OIP_UINT;
}

static status wants(const struct oip_param *p, const char *kind, struct err *e)
{
    return err_set(e, INVALID, "parameter '%.*s' is not %s", STR_ARG(p->key), kind);
}

static status take_bool(const struct oip_param *p, int *out, struct err *e)
{
    if (p->kind != OIP_BOOL)
        return wants(p, "a bool", e);
    *out = p->integer != 0;
    return OK;
}

static status take_size(const struct oip_param *p, uint64_t *out, struct err *e)
{
    if (!is_number(p) || (p->kind == OIP_INT && p->integer < 0))
        return wants(p, "a whole number from 0", e);
    *out = (uint64_t)p->integer;
    return OK;
}

static status take_text(const struct oip_param *p, struct str *out, struct err *e)
{
    if (p->kind != OIP_STRING)
        return wants(p, "a string", e);
    *out = p->text;
    return OK;
}

static bool is_region(struct str key)
{
    return str_starts(key, "shared_memory_");
}

static status take_region(struct oip_region *r, const struct oip_param *p, struct err *e)
{
    if (str_is(p->key, "shared_memory_region"))
        return take_text(p, &r->name, e);
    if (str_is(p->key, "shared_memory_offset"))
        return take_size(p, &r->offset, e);
    return str_is(p->key, "shared_memory_byte_size") ? take_size(p, &r->bytes, e) : OK;
}

static status keep_param(struct oip_request *r, const struct oip_param *p, struct arena *a,
                         struct err *e)
{
    if (r->param_count >= LIMIT_REQUEST_TENSORS)
        return err_set(e, INVALID, "the request has more than %d parameters",
                       LIMIT_REQUEST_TENSORS);
    struct oip_param *list = general_grow(a, r->param, r->param_count, sizeof(*list));
    if (list == NULL)
        return general_no_memory(e);
    r->param = list;
    list[r->param_count++] = *p;
    return OK;
}

status oip_take_param(struct oip_request *r, const struct oip_param *p, struct arena *a,
                      struct err *e)
{
    int truth = 0;
    uint64_t size = 0;
    if (str_is(p->key, "binary_data_output")) {
        TRY(take_bool(p, &truth, e));
        r->binary_output = truth;
    } else if (str_is(p->key, "timeout")) {
        TRY(take_size(p, &size, e));
        r->timeout_us = size > INT64_MAX ? INT64_MAX : (int64_t)size;
    } else if (str_is(p->key, "priority")) {
        TRY(take_size(p, &size, e));
        r->priority = (int64_t)size;
    } else if (str_is(p->key, "stage_times")) {
        TRY(take_bool(p, &truth, e));
        r->timing = truth;
    } else if (str_starts(p->key, "triton_") &&
               !str_is(p->key, "triton_enable_empty_final_response")) {
        return err_set(e, INVALID,
                       "parameter keys starting with 'triton_' are reserved for Triton usage and "
                       "should not be specified.");
    } else {
        return keep_param(r, p, a, e);
    }
    return OK;
}

status oip_take_input_param(struct oip_input *in, const struct oip_param *p, struct err *e)
{
    if (is_region(p->key))
        return take_region(&in->region, p, e);
    if (!str_is(p->key, "binary_data_size"))
        return OK;
    in->has_raw = true;
    return take_size(p, &in->raw_bytes, e);
}

status oip_take_output_param(struct oip_wanted *out, const struct oip_param *p, struct err *e)
{
    uint64_t classes = 0;
    if (is_region(p->key))
        return take_region(&out->region, p, e);
    if (str_is(p->key, "binary_data"))
        return take_bool(p, &out->binary, e);
    if (!str_is(p->key, "classification"))
        return OK;
    TRY(take_size(p, &classes, e));
    if (classes == 0 || classes > INT32_MAX)
        return err_set(e, INVALID,
                       "classification count must be in range [1, 2147483647] for "
                       "output '%.*s'",
                       STR_ARG(out->name));
    out->classes = (int64_t)classes;
    return OK;
}

status oip_input_type(struct oip_input *in, struct err *e)
{
    for (int d = 0; d <= DTYPE_BYTES; d++) {
        if (!dtype_valid(d) || !str_is(in->datatype, dtype_oip((dtype)d)))
            continue;
        in->dtype = (dtype)d;
        return OK;
    }
    return err_set(
        e, INVALID,
        "invalid datatype for input %.*s: '%.*s'; expected BOOL, UINT8 to UINT64, INT8 to "
        "INT64, FP16, BF16, FP32, FP64 or BYTES",
        STR_ARG(in->name), STR_ARG(in->datatype));
}

/* ---- a request and its model ---- */

struct binding {
    const struct oip_request *r;
    const struct oip_model *m;
    oip_read_region *read;
    void *read_arg;
    struct arena *arena;
    const struct oip_input **given; /* one a port of the model */
    const struct oip_input **lod;   /* the same, of its "NAME.lod" */
};

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

/* "words.lod" is "words" of a ragged port; false: no such name. */
static bool cut_lod(struct str *name)
{
    if (!str_ends(*name, ".lod"))
        return false;
    name->n -= strlen(".lod");
    return true;
}

static int find_lod(const struct call_ports *ports, struct str name)
{
    int i = cut_lod(&name) ? find_port(ports, name) : -1;
    return i >= 0 && ports->port[i].ragged ? i : -1;
}

static const char *nearest(const struct call_ports *ports, struct str name, struct arena *a)
{
    const char **known = arena_alloc(a, ((size_t)ports->count + 1) * sizeof(*known));
    for (int i = 0; i < ports->count; i++)
        known[i] = arena_strndup(a, ports->port[i].alias.p, ports->port[i].alias.n);
    return str_nearest(name, known, (size_t)ports->count);
}

static status unexpected(const struct binding *b, const char *what, const struct call_ports *ports,
                         struct str name, struct err *e)
{
    const char *near = nearest(ports, name, b->arena);
    return err_set(e, INVALID, "unexpected inference %s '%.*s' for model '%.*s'%s", what,
                   STR_ARG(name), STR_ARG(b->m->name), str_hint(near, NULL).text);
}

static status assign(struct binding *b, const struct oip_input *in, struct err *e)
{
    int i = find_port(&b->m->in, in->name);
    const struct oip_input **slot = i >= 0 ? &b->given[i] : NULL;
    if (i < 0 && (i = find_lod(&b->m->in, in->name)) >= 0)
        slot = &b->lod[i];
    if (slot == NULL)
        return unexpected(b, "input", &b->m->in, in->name, e);
    if (*slot != NULL)
        return err_set(e, INVALID, "input '%.*s' already exists in request", STR_ARG(in->name));
    *slot = in;
    return OK;
}

static void put_names(const struct binding *b, bool given, struct buf *out)
{
    const char *separator = "";
    for (int i = 0; i < b->m->in.count; i++) {
        if ((b->given[i] != NULL) != given)
            continue;
        buf_printf(out, "%s'%.*s'", separator, STR_ARG(b->m->in.port[i].alias));
        separator = ",";
    }
}

static status missing(const struct binding *b, int count, struct err *e)
{
    struct buf got, lack;
    buf_init(&got, ERR_TEXT_MAX);
    buf_init(&lack, ERR_TEXT_MAX);
    put_names(b, true, &got);
    put_names(b, false, &lack);
    struct str id = b->r->id.n > 0 ? b->r->id : STR("<id_unknown>");
    status s = err_set(e, INVALID,
                       "[request id: %.*s] expected %d inputs but got %d inputs for model '%.*s'. "
                       "Got input(s) [%.*s], but missing required input(s) [%.*s]. Please provide "
                       "all required input(s).",
                       STR_ARG(id), b->m->in.count, count, STR_ARG(b->m->name), (int)got.len,
                       (const char *)got.data, (int)lack.len, (const char *)lack.data);
    buf_deinit(&got);
    buf_deinit(&lack);
    return s;
}

static status assign_all(struct binding *b, struct err *e)
{
    int count = 0;
    for (int i = 0; i < b->r->input_count; i++)
        TRY(assign(b, &b->r->input[i], e));
    for (int i = 0; i < b->m->in.count; i++)
        count += b->given[i] != NULL;
    return count == b->m->in.count ? OK : missing(b, count, e);
}

/* Exactly one of data, binary data and shared memory. */
static status check_source(const struct oip_input *in, struct err *e)
{
    int sources = (in->elements != NULL) + in->has_raw + (in->region.name.p != NULL);
    if (sources == 1)
        return OK;
    return err_set(e, INVALID,
                   "Input must set only one of the following fields: 'data', 'binary_data_size' in "
                   "'parameters', 'shared_memory_region' in 'parameters'. But %s",
                   sources == 0 ? "no field is set" : "multiple fields are set");
}

static status wrong_size(const struct binding *b, const struct oip_input *in, uint64_t want,
                         uint64_t got, struct err *e)
{
    return err_set(e, INVALID,
                   "input byte size mismatch for input '%.*s' for model '%.*s'. Expected %llu, got "
                   "%llu",
                   STR_ARG(in->name), STR_ARG(b->m->name), (unsigned long long)want,
                   (unsigned long long)got);
}

/* Strings one after another, each ended by a NUL: what a tensor of bytes holds. */
static status join(struct binding *b, const struct str *text, int64_t count, struct tensor *t,
                   struct err *e)
{
    size_t bytes = 0;
    for (int64_t i = 0; i < count; i++)
        bytes += text[i].n + 1;
    char *to = arena_try(b->arena, bytes + 1, 1);
    if (to == NULL)
        return general_no_memory(e);
    t->data = to;
    t->shape = SHAPE((int64_t)bytes);
    for (int64_t i = 0; i < count; i++) {
        if (text[i].n > 0)
            memcpy(to, text[i].p, text[i].n);
        to += text[i].n;
        *to++ = '\0';
    }
    return OK;
}

/* The strings of raw BYTES, each with its length in front. */
static status cut_strings(struct binding *b, const struct oip_input *in, struct str raw,
                          int64_t count, struct str **out, struct err *e)
{
    size_t whole = raw.n;
    if ((uint64_t)count > raw.n / 4)
        return wrong_size(b, in, (uint64_t)count * 4, whole, e);
    struct str *list = arena_try_array(b->arena, (size_t)count + 1, sizeof(*list));
    if (list == NULL)
        return general_no_memory(e);
    for (int64_t i = 0; i < count; i++) {
        uint32_t n;
        if (raw.n < sizeof(n))
            return err_set(e, INVALID,
                           "incomplete string length indicator for inference input "
                           "'%.*s', expecting 4 bytes but only %zu bytes available",
                           STR_ARG(in->name), raw.n);
        memcpy(&n, raw.p, sizeof(n));
        if (n > raw.n - sizeof(n))
            return err_set(e, INVALID,
                           "incomplete string data for inference input '%.*s', expecting string of "
                           "length %u but only %zu bytes available",
                           STR_ARG(in->name), n, raw.n - sizeof(n));
        list[i] = (struct str){ raw.p + sizeof(n), n };
        raw = (struct str){ raw.p + sizeof(n) + n, raw.n - sizeof(n) - n };
    }
    *out = list;
    return raw.n == 0 ? OK : wrong_size(b, in, whole - raw.n, whole, e);
}

static status take_strings(struct binding *b, const struct oip_input *in, struct str raw,
                           int64_t count, struct tensor *t, struct err *e)
{
    struct str *list = NULL;
    if (in->elements != NULL)
        return join(b, in->elements, in->count, t, e);
    TRY(cut_strings(b, in, raw, count, &list, e));
    return join(b, list, count, t, e);
}

/* Elements must lie as their type wants them. */
static status take_raw(struct binding *b, struct str raw, size_t size, struct tensor *t,
                       struct err *e)
{
    t->data = raw.n > 0 ? raw.p : (const char *)nothing;
    if (raw.n == 0 || (uintptr_t)raw.p % size == 0)
        return OK;
    void *copy = arena_try(b->arena, raw.n, 64);
    if (copy == NULL)
        return general_no_memory(e);
    t->data = memcpy(copy, raw.p, raw.n);
    return OK;
}

static status read_region(struct binding *b, const struct oip_input *in, struct str *raw,
                          struct err *e)
{
    if (b->read == NULL)
        return err_set(
            e, UNSUPPORTED,
            "input '%.*s': this server takes nothing from shared memory; it is allowed by "
            "--allow-shared-memory",
            STR_ARG(in->name));
    return b->read(b->read_arg, &in->region, raw, e);
}

static status take_elements(struct binding *b, const struct oip_input *in, struct tensor *t,
                            struct err *e)
{
    struct str raw = in->raw;
    int64_t count = shape_numel(&in->shape);
    size_t size = dtype_size(in->dtype), bytes = 0;
    TRY(check_source(in, e));
    if (count < 0 || !mem_mul((size_t)count, size, &bytes))
        return err_set(e, INVALID,
                       "shape of input '%.*s' causes total element count to exceed maximum size of "
                       "9223372036854775807",
                       STR_ARG(in->name));
    if (in->elements != NULL && in->count != count)
        return err_set(e, MALFORMED,
                       "Unable to parse 'data': Shape does not match true shape of 'data' field: "
                       "input '%.*s' has %lld elements by its shape, %lld in its data",
                       STR_ARG(in->name), (long long)count, (long long)in->count);
    if (in->region.name.p != NULL)
        TRY(read_region(b, in, &raw, e));
    *t = (struct tensor){ .dtype = in->dtype, .shape = in->shape, .data = in->elements };
    if (in->dtype == DTYPE_BYTES)
        return take_strings(b, in, raw, count, t, e);
    if (in->elements != NULL)
        return OK;
    return raw.n == bytes ? take_raw(b, raw, size, t, e) : wrong_size(b, in, bytes, raw.n, e);
}

static status check_type(const struct binding *b, const struct oip_input *in,
                         const struct call_port *port, struct err *e)
{
    if (in->dtype == port->dtype || (in->dtype == DTYPE_BYTES && port->dtype == DTYPE_U8))
        return OK;
    return err_set(
        e, INVALID, "inference input '%.*s' data-type is '%s', but model '%.*s' expects '%s'",
        STR_ARG(in->name), dtype_oip(in->dtype), STR_ARG(b->m->name), dtype_oip(port->dtype));
}

/* A batch of sequences that are equally long comes with one dimension more than the port has. */
static bool is_batch(const struct tensor *t, const struct call_port *port)
{
    return port->ragged && t->shape.rank == port->shape.rank + 1 && port->shape.rank > 0;
}

static void flatten_batch(struct tensor *t)
{
    t->shape.rank--;
    t->shape.dim[0] *= t->shape.dim[1];
    memmove(t->shape.dim + 1, t->shape.dim + 2,
            (size_t)(t->shape.rank - 1) * sizeof(t->shape.dim[0]));
}

static status check_shape(const struct binding *b, const struct oip_input *in,
                          const struct tensor *t, const struct call_port *port, struct err *e)
{
    char want[SHAPE_TEXT_MAX], got[SHAPE_TEXT_MAX];
    struct shape s = t->shape;
    if (port->ragged && s.rank + 1 == port->shape.rank && port->shape.dim[s.rank] == 1)
        s.dim[s.rank++] = 1; /* ids without their last 1: the reader mends it */
    if (t->dtype == DTYPE_BYTES || shape_matches(&s, &port->shape))
        return OK;
    return err_set(
        e, INVALID, "unexpected shape for input '%.*s' for model '%.*s'. Expected %s, got %s.",
        STR_ARG(in->name), STR_ARG(b->m->name), shape_text(&port->shape, want, sizeof(want)),
        shape_text(&in->shape, got, sizeof(got)));
}

static status no_lod_memory(struct binding *b, int64_t count, int64_t **out, struct err *e)
{
    *out = arena_try_array(b->arena, (size_t)count, sizeof(**out));
    return *out != NULL ? OK : general_no_memory(e);
}

/* One sequence a row of the batch, or one in all. */
static status even_lod(struct binding *b, int64_t sequences, int64_t rows, struct tensor *t,
                       struct err *e)
{
    int64_t *offset;
    TRY(no_lod_memory(b, sequences + 1, &offset, e));
    for (int64_t i = 0; i <= sequences; i++)
        offset[i] = sequences > 0 ? rows / sequences * i : 0;
    t->lod = (struct lod){ .levels = 1, .level = { { offset, sequences + 1 } } };
    return OK;
}

static status given_lod(struct binding *b, const struct oip_input *in, struct tensor *t,
                        struct err *e)
{
    struct tensor flat;
    char what[64 + 16];
    snprintf(what, sizeof(what), "input '%.*s'", (int)(in->name.n < 64 ? in->name.n : 64),
             in->name.p);
    if (in->dtype != DTYPE_I64)
        return err_set(e, INVALID, "%s data-type is '%s', offsets are 'INT64'", what,
                       dtype_oip(in->dtype));
    TRY(take_elements(b, in, &flat, e));
    return general_split_lod(flat.data, shape_numel(&flat.shape), what, &t->lod, e);
}

static status bind_port(struct binding *b, int i, struct tensor *t, struct err *e)
{
    const struct call_port *port = &b->m->in.port[i];
    const struct oip_input *in = b->given[i];
    TRY(check_type(b, in, port, e));
    TRY(take_elements(b, in, t, e));
    int64_t sequences = 1;
    if (is_batch(t, port) && b->lod[i] == NULL) {
        sequences = t->shape.dim[0];
        flatten_batch(t);
    }
    TRY(check_shape(b, in, t, port, e));
    if (!port->ragged)
        return OK;
    if (b->lod[i] != NULL)
        return given_lod(b, b->lod[i], t, e);
    return even_lod(b, sequences, t->shape.rank > 0 ? t->shape.dim[0] : 0, t, e);
}

static status bind_inputs(struct binding *b, struct infer_request *out, struct err *e)
{
    const struct call_ports *ports = &b->m->in;
    struct named_tensor *feed = arena_zalloc(b->arena, ((size_t)ports->count + 1) * sizeof(*feed));
    for (int i = 0; i < ports->count; i++) {
        feed[i].name = ports->port[i].name;
        feed[i].alias = ports->port[i].alias;
        TRY(bind_port(b, i, &feed[i].tensor, e));
    }
    out->feed = feed;
    out->feed_count = ports->count;
    return OK;
}

/* A name that is asked for twice is refused, so that no list is longer than twice the model's outputs. */
static status bind_outputs(struct binding *b, struct infer_request *out, struct err *e)
{
    const struct oip_request *r = b->r;
    const struct call_ports *ports = &b->m->out;
    if (r->output_count == 0)
        return OK;
    bool *seen = arena_zalloc(b->arena, 2 * (size_t)ports->count + 1);
    out->fetch = arena_try_array(b->arena, (size_t)r->output_count, sizeof(*out->fetch));
    if (out->fetch == NULL)
        return general_no_memory(e);
    for (int i = 0; i < r->output_count; i++) {
        struct str name = r->output[i].name;
        int k = find_port(ports, name), slot = k;
        if (k < 0 && (k = find_lod(ports, name)) >= 0)
            slot = ports->count + k;
        if (k < 0)
            return unexpected(b, "output", ports, name, e);
        if (seen[slot])
            return err_set(e, INVALID, "output '%.*s' already exists in request", STR_ARG(name));
        seen[slot] = true;
        out->fetch[i] = ports->port[k].name;
    }
    out->fetch_count = r->output_count;
    return OK;
}

status oip_bind(const struct oip_request *r, const struct oip_model *m, oip_read_region *read,
                void *read_arg, struct arena *a, struct infer_request *out, struct err *e)
{
    size_t size = ((size_t)m->in.count + 1) * sizeof(void *);
    struct binding b = { .r = r, .m = m, .read = read, .read_arg = read_arg, .arena = a };
    b.given = arena_zalloc(a, size);
    b.lod = arena_zalloc(a, size);
    TRY(assign_all(&b, e));
    TRY(bind_inputs(&b, out, e));
    return bind_outputs(&b, out, e);
}

status oip_input_tensor(const struct oip_input *in, struct arena *a, struct tensor *out,
                        struct err *e)
{
    static const struct oip_model any = { .name = { "?", 1 } };
    struct binding b = { .m = &any, .arena = a };
    return take_elements(&b, in, out, e);
}

/* ---- classes ---- */

struct scored {
    double value;
    int64_t index;
};

/* Falling; what is not a number comes last, equal values in the order of their classes. */
static int by_value(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (isnan(x->value) || isnan(y->value))
        return isnan(x->value) - isnan(y->value);
    if (x->value != y->value)
        return x->value < y->value ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

#define AS(type) (double)((const type *)data)[i]

static double element_value(dtype d, const void *data, int64_t i)
{
    switch (d) {
    case DTYPE_F32: return AS(float);
    case DTYPE_F64: return AS(double);
    case DTYPE_I64: return AS(int64_t);
    case DTYPE_I32: return AS(int32_t);
    case DTYPE_I16: return AS(int16_t);
    case DTYPE_I8: return AS(int8_t);
    case DTYPE_U64: return AS(uint64_t);
    case DTYPE_U32: return AS(uint32_t);
    case DTYPE_U16: return AS(uint16_t);
    case DTYPE_U8:
    case DTYPE_BOOL: return AS(uint8_t);
    case DTYPE_F16: return (double)f16_to_f32(((const uint16_t *)data)[i]);
    case DTYPE_BF16: return (double)bf16_to_f32(((const uint16_t *)data)[i]);
    default: return NAN;
    }
}

static bool is_real(dtype d)
{
    return d == DTYPE_F32 || d == DTYPE_F64 || d == DTYPE_F16 || d == DTYPE_BF16;
}

static struct str class_text(const struct oip_model *m, dtype d, const struct scored *s,
                             struct arena *a)
{
    struct str label = s->index < m->label_count ? m->label[s->index] : STR("");
    const char *text = arena_printf(a, is_real(d) ? "%f:%lld%s%.*s" : "%.0f:%lld%s%.*s", s->value,
                                    (long long)s->index, label.n > 0 ? ":" : "", STR_ARG(label));
    return str_of(text);
}

/* The best k of each row of a batch, as "value:index[:label]". */
static status classify(const struct oip_model *m, const struct tensor *t, int64_t k,
                       struct arena *a, struct oip_output *out, struct err *e)
{
    int64_t total = shape_numel(&t->shape), rows = t->shape.rank > 1 ? t->shape.dim[0] : 1;
    int64_t n = rows > 0 ? total / rows : 0, keep = k < n ? k : n;
    struct scored *scored = arena_try_array(a, (size_t)n + 1, sizeof(*scored));
    struct str *text = arena_try_array(a, (size_t)(rows * keep) + 1, sizeof(*text));
    if (scored == NULL || text == NULL)
        return general_no_memory(e);
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t i = 0; i < n; i++)
            scored[i] = (struct scored){ element_value(t->dtype, t->data, row * n + i), i };
        qsort(scored, (size_t)n, sizeof(*scored), by_value);
        for (int64_t i = 0; i < keep; i++)
            text[row * keep + i] = class_text(m, t->dtype, &scored[i], a);
    }
    out->dtype = DTYPE_BYTES;
    out->text = text;
    out->shape = t->shape.rank > 1 ? SHAPE(rows, keep) : SHAPE(keep);
    return OK;
}

/* ---- a reply ---- */

static status cut_bytes(const struct tensor *t, struct arena *a, struct oip_output *out,
                        struct err *e)
{
    struct str rest = { t->data, (size_t)shape_numel(&t->shape) }, text;
    int64_t count = 0;
    for (struct str at = rest; general_next_string(&at, &text);)
        count++;
    struct str *list = arena_try_array(a, (size_t)count + 1, sizeof(*list));
    if (list == NULL)
        return general_no_memory(e);
    for (int64_t i = 0; general_next_string(&rest, &list[i]);)
        i++;
    out->text = list;
    out->shape = SHAPE(count);
    return OK;
}

/* All levels in one list, as general_split_lod cuts it. */
static status join_lod(const struct tensor *t, struct arena *a, struct oip_output *out,
                       struct err *e)
{
    int64_t count = 0, *flat;
    for (int i = 0; i < t->lod.levels; i++)
        count += t->lod.level[i].count;
    if ((flat = arena_try_array(a, (size_t)count + 1, sizeof(*flat))) == NULL)
        return general_no_memory(e);
    out->data = flat;
    for (int i = 0; i < t->lod.levels; i++) {
        memcpy(flat, t->lod.level[i].offset, (size_t)t->lod.level[i].count * sizeof(*flat));
        flat += t->lod.level[i].count;
    }
    out->dtype = DTYPE_I64;
    out->shape = SHAPE(count);
    return OK;
}

static void count_bytes(struct oip_output *o)
{
    int64_t count = shape_numel(&o->shape);
    if (o->dtype != DTYPE_BYTES) {
        o->bytes = (size_t)count * dtype_size(o->dtype);
        return;
    }
    o->bytes = (size_t)count * sizeof(uint32_t);
    for (int64_t i = 0; i < count; i++)
        o->bytes += o->text[i].n;
}

static status make_output(const struct oip_model *m, const struct oip_wanted *w,
                          const struct tensor *t, bool lod, struct arena *a, struct oip_output *out,
                          struct err *e)
{
    out->dtype = t->dtype;
    out->shape = t->shape;
    out->data = t->data;
    if (lod)
        TRY(join_lod(t, a, out, e));
    else if (w->classes > 0)
        TRY(classify(m, t, w->classes, a, out, e));
    else if (t->dtype == DTYPE_BYTES)
        TRY(cut_bytes(t, a, out, e));
    count_bytes(out);
    if (w->region.name.p != NULL && out->bytes > w->region.bytes)
        return err_set(
            e, INVALID,
            "shared memory size specified with the request for output '%.*s' (%llu bytes) "
            "should be at least %zu bytes to hold the results",
            STR_ARG(out->name), (unsigned long long)w->region.bytes, out->bytes);
    return OK;
}

/* Every output, offsets behind ragged ones. */
static status all_outputs(const struct oip_request *r, const struct oip_model *m,
                          const struct infer_output *from, struct arena *a, struct oip_output *to,
                          int *count, struct err *e)
{
    const struct oip_wanted plain = { .binary = -1 };
    for (int i = 0; i < from->tensor_count; i++) {
        const struct named_tensor *t = &from->tensor[i];
        for (int lod = 0; lod <= (t->tensor.lod.levels > 0); lod++) {
            struct oip_output *o = &to[(*count)++];
            *o = (struct oip_output){ .name = t->alias, .binary = r->binary_output };
            if (lod)
                o->name = str_of(arena_printf(a, "%.*s.lod", STR_ARG(t->alias)));
            TRY(make_output(m, &plain, &t->tensor, lod, a, o, e));
        }
    }
    return OK;
}

static const struct tensor *find_tensor(const struct infer_output *from, const struct call_port *p)
{
    for (int i = 0; i < from->tensor_count; i++)
        if (str_eq(from->tensor[i].alias, p->alias))
            return &from->tensor[i].tensor;
    for (int i = 0; i < from->tensor_count; i++)
        if (str_eq(from->tensor[i].name, p->name))
            return &from->tensor[i].tensor;
    return NULL;
}

static status wanted_outputs(const struct oip_request *r, const struct oip_model *m,
                             const struct infer_output *from, struct arena *a,
                             struct oip_output *to, int *count, struct err *e)
{
    for (int i = 0; i < r->output_count; i++) {
        const struct oip_wanted *w = &r->output[i];
        int port = find_port(&m->out, w->name);
        bool lod = port < 0;
        if (lod)
            port = find_lod(&m->out, w->name);
        const struct tensor *t = port >= 0 ? find_tensor(from, &m->out.port[port]) : NULL;
        if (t == NULL)
            continue; /* its branch of the graph was not run */
        struct oip_output *o = &to[(*count)++];
        *o = (struct oip_output){ .name = w->name, .region = w->region };
        o->binary = w->binary < 0 ? r->binary_output : w->binary != 0;
        TRY(make_output(m, w, t, lod, a, o, e));
    }
    return OK;
}

status oip_outputs(const struct oip_request *r, const struct oip_model *m,
                   const struct infer_reply *reply, struct arena *a, struct oip_output **out,
                   int *count, struct err *e)
{
    const struct infer_output from = reply_flat(reply, a);
    *out = arena_try_array(a, 2 * (size_t)from.tensor_count + (size_t)r->output_count + 1,
                           sizeof(**out));
    *count = 0;
    if (*out == NULL)
        return general_no_memory(e);
    return r->output_count > 0 ? wanted_outputs(r, m, &from, a, *out, count, e)
                               : all_outputs(r, m, &from, a, *out, count, e);
}

void oip_put_raw(const struct oip_output *o, struct buf *out)
{
    if (o->dtype != DTYPE_BYTES) {
        buf_append(out, o->data, o->bytes);
        return;
    }
    int64_t count = shape_numel(&o->shape);
    for (int64_t i = 0; i < count; i++) {
        uint32_t n = (uint32_t)o->text[i].n;
        buf_append(out, &n, sizeof(n));
        buf_append(out, o->text[i].p, n);
    }
}
