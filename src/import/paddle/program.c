/* Decoding in two looks at each message: one that counts its repeated fields, so that every array
 * is made once in its final size, one that fills. The cursor's first fault sticks (codec/pb.h), so
 * each message checks once at its end. Field numbers: Paddle's framework.proto. */
#include "import/paddle/program.h"

#include "base/limits.h"
#include "codec/pb.h"

struct decode {
    struct str file;
    struct arena *arena;
    struct err *err;
};

/* Where r stands in the file; a reader of an empty message may stand nowhere. */
static size_t place_of(const struct decode *d, const struct pb *r)
{
    uintptr_t at = (uintptr_t)r->p, start = (uintptr_t)d->file.p;
    return at >= start && at - start <= d->file.n ? at - start : 0;
}

static status damaged(struct decode *d, const struct pb *r, const char *what)
{
    return err_set(d->err, CORRUPT, "not a Paddle program, or a damaged one: %s at byte %zu", what,
                   place_of(d, r));
}

static status check_end(struct decode *d, const struct pb *r, const char *message)
{
    return pb_ok(r) ? OK : damaged(d, r, message);
}

static status no_memory(struct decode *d)
{
    return err_set(d->err, NO_MEMORY, "the program of %zu bytes needs too much memory", d->file.n);
}

/* An array with an element of `size` bytes for each field `number` of the message. */
static status make_array(struct decode *d, struct str message, uint32_t number, size_t size,
                         void *array, int *count)
{
    struct pb r;
    size_t n = 0;
    pb_init(&r, message);
    while (pb_next(&r)) {
        n += r.field == number;
        pb_skip(&r);
    }
    TRY(check_end(d, &r, "a field breaks off"));
    if (n > LIMIT_GRAPH_VALUES)
        return err_set(d->err, TOO_LARGE, "%zu elements in one list of the program, at most %u", n,
                       LIMIT_GRAPH_VALUES);
    void *p = arena_try_array(d->arena, n + 1, size);
    if (p == NULL)
        return no_memory(d);
    *(void **)array = p;
    *count = 0;
    return OK;
}

/* ---- lists of integers: one by one, or packed ---- */

static size_t count_ints(struct str message, uint32_t a, uint32_t b, uint32_t c)
{
    struct pb r;
    size_t n = 0;
    pb_init(&r, message);
    while (pb_next(&r)) {
        if (r.field != a && r.field != b && r.field != c)
            pb_skip(&r);
        else if (r.wire == PB_BYTES)
            n += pb_count_varints(pb_bytes(&r));
        else {
            pb_skip(&r);
            n++;
        }
    }
    return n;
}

/* A list of float (4 bytes each, field 7) or double (field 16). */
static size_t count_floats(struct str message)
{
    struct pb r;
    size_t n = 0;
    pb_init(&r, message);
    while (pb_next(&r)) {
        size_t size = r.field == 7 ? 4 : 8;
        if ((r.field != 7 && r.field != 16) || r.wire != PB_BYTES) {
            n += r.field == 7 || r.field == 16;
            pb_skip(&r);
        } else {
            n += pb_bytes(&r).n / size;
        }
    }
    return n;
}

static void take_floats(struct pb *r, double *to, int *count, int max)
{
    bool wide = r->field == 16;
    if (r->wire != PB_BYTES) {
        double v = wide ? pb_double(r) : (double)pb_float(r);
        if (*count < max)
            to[(*count)++] = v;
        return;
    }
    struct str packed = pb_bytes(r);
    size_t size = wide ? 8 : 4;
    for (size_t i = 0; i + size <= packed.n && *count < max; i += size) {
        float f;
        double v;
        if (wide)
            memcpy(&v, packed.p + i, size);
        else
            memcpy(&f, packed.p + i, size);
        to[(*count)++] = wide ? v : (double)f;
    }
}

/* ---- variables ---- */

static status decode_tensor(struct decode *d, struct str message, struct var_desc *v)
{
    struct pb r;
    int64_t dim[SHAPE_MAX + 1];
    int rank = 0;
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: v->data_type = (int32_t)pb_varint(&r); break;
        case 2: pb_take_ints(&r, dim, &rank, SHAPE_MAX + 1); break;
        default: pb_skip(&r);
        }
    }
    TRY(check_end(d, &r, "the description of a tensor breaks off"));
    if (rank > SHAPE_MAX)
        return err_set(d->err, UNSUPPORTED, "a variable has more than %d dimensions", SHAPE_MAX);
    v->shape.rank = rank;
    for (int i = 0; i < rank; i++)
        v->shape.dim[i] = dim[i] < 0 ? -1 : dim[i];
    return OK;
}

static status decode_lod_tensor(struct decode *d, struct str message, struct var_desc *v)
{
    struct pb r;
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: TRY(decode_tensor(d, pb_bytes(&r), v)); break;
        case 2: v->lod_level = (int32_t)pb_varint(&r); break;
        default: pb_skip(&r);
        }
    }
    return check_end(d, &r, "the description of a variable breaks off");
}

static status decode_var_type(struct decode *d, struct str message, struct var_desc *v)
{
    struct pb r;
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: v->kind = (int32_t)pb_varint(&r); break;
        case 3: TRY(decode_lod_tensor(d, pb_bytes(&r), v)); break;
        default: pb_skip(&r);
        }
    }
    return check_end(d, &r, "the type of a variable breaks off");
}

/* Names end up as C strings and in messages. */
static status check_name(struct decode *d, struct str name, const char *whose)
{
    if (name.n == 0 || name.n > LIMIT_NAME_BYTES || memchr(name.p, 0, name.n) != NULL)
        return err_set(d->err, CORRUPT,
                       "not a Paddle program, or a damaged one: the name of %s has %zu bytes or "
                       "holds a zero byte; expected 1 to %d",
                       whose, name.n, LIMIT_NAME_BYTES);
    return OK;
}

static status decode_var(struct decode *d, struct str message, struct var_desc *v)
{
    struct pb r;
    *v = (struct var_desc){ .kind = -1, .data_type = -1 };
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: v->name = pb_bytes(&r); break;
        case 2: TRY(decode_var_type(d, pb_bytes(&r), v)); break;
        case 3: v->persistable = pb_varint(&r) != 0; break;
        default: pb_skip(&r);
        }
    }
    TRY(check_end(d, &r, "a variable breaks off"));
    return check_name(d, v->name, "a variable");
}

/* ---- operators ---- */

static status decode_slot(struct decode *d, struct str message, struct slot_desc *s)
{
    struct pb r;
    TRY(make_array(d, message, 2, sizeof(*s->arg), &s->arg, &s->arg_count));
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: s->name = pb_bytes(&r); break;
        case 2:
            s->arg[s->arg_count] = pb_bytes(&r);
            TRY(check_name(d, s->arg[s->arg_count++], "an operator's argument"));
            break;
        default: pb_skip(&r);
        }
    }
    return check_end(d, &r, "an operator's argument breaks off");
}

/* A list of Scalar messages (field 21): whole ones are taken as ints, others as floats. */
struct scalar {
    bool whole;
    int64_t i;
    double f;
};

static struct scalar read_scalar(struct str message)
{
    struct scalar s = { .whole = true };
    struct pb r;
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: s.whole = pb_varint(&r) <= 2; break; /* BOOLEAN, LONG; else FLOAT64, COMPLEX128 */
        case 2:
        case 3: s.i = (int64_t)pb_varint(&r); break;
        case 4: s.f = pb_double(&r); break;
        default: pb_skip(&r);
        }
    }
    return s;
}

static void count_scalars(struct str message, size_t *ints, size_t *floats)
{
    struct pb r;
    pb_init(&r, message);
    while (pb_next(&r)) {
        if (r.field == 21 && r.wire == PB_BYTES)
            ++*(read_scalar(pb_bytes(&r)).whole ? ints : floats);
        else
            pb_skip(&r);
    }
}

static void take_scalar(struct str message, struct attr_desc *a, size_t ints, size_t floats)
{
    struct scalar s = read_scalar(message);
    if (s.whole && (size_t)a->int_count < ints)
        a->ints[a->int_count++] = s.i;
    else if (!s.whole && (size_t)a->float_count < floats)
        a->floats[a->float_count++] = s.f;
}

static status decode_attr(struct decode *d, struct str message, struct attr_desc *a)
{
    struct pb r;
    size_t max = count_ints(message, 6, 11, 15), floats = count_floats(message);
    count_scalars(message, &max, &floats);
    if (max > INT32_MAX || floats > INT32_MAX)
        return no_memory(d);
    if (floats > 0 && (a->floats = arena_try_array(d->arena, floats, sizeof(double))) == NULL)
        return no_memory(d);
    if (max > 0 && (a->ints = arena_try_array(d->arena, max, sizeof(*a->ints))) == NULL)
        return no_memory(d);
    TRY(make_array(d, message, 8, sizeof(*a->strings), &a->strings, &a->string_count));
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: a->name = pb_bytes(&r); break;
        case 8: a->strings[a->string_count++] = pb_bytes(&r); break;
        case 2: a->kind = (int32_t)pb_varint(&r); break;
        case 3:                                        /* i */
        case 10:                                       /* b */
        case 12:                                       /* block_idx */
        case 13: a->i = (int64_t)pb_varint(&r); break; /* l */
        case 4: a->f = (double)pb_float(&r); break;
        case 19: a->f = pb_double(&r); break;
        case 5: a->s = pb_bytes(&r); break;
        case 6:                                                                   /* ints */
        case 11:                                                                  /* bools */
        case 15: pb_take_ints(&r, a->ints, &a->int_count, (int)max); break;       /* longs */
        case 7:                                                                   /* floats */
        case 16: take_floats(&r, a->floats, &a->float_count, (int)floats); break; /* float64s */
        case 21: take_scalar(pb_bytes(&r), a, max, floats); break;
        default: pb_skip(&r);
        }
    }
    return check_end(d, &r, "an operator's attribute breaks off");
}

static status decode_op(struct decode *d, struct str message, struct op_desc *op)
{
    struct pb r;
    TRY(make_array(d, message, 1, sizeof(*op->in), &op->in, &op->in_count));
    TRY(make_array(d, message, 2, sizeof(*op->out), &op->out, &op->out_count));
    TRY(make_array(d, message, 4, sizeof(*op->attr), &op->attr, &op->attr_count));
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: TRY(decode_slot(d, pb_bytes(&r), &op->in[op->in_count++])); break;
        case 2: TRY(decode_slot(d, pb_bytes(&r), &op->out[op->out_count++])); break;
        case 3: op->type = pb_bytes(&r); break;
        case 4: TRY(decode_attr(d, pb_bytes(&r), &op->attr[op->attr_count++])); break;
        default: pb_skip(&r);
        }
    }
    TRY(check_end(d, &r, "an operator breaks off"));
    return check_name(d, op->type, "an operator's type");
}

/* ---- blocks ---- */

static status decode_block(struct decode *d, struct str message, struct block_desc *b)
{
    struct pb r;
    TRY(make_array(d, message, 3, sizeof(*b->var), &b->var, &b->var_count));
    TRY(make_array(d, message, 4, sizeof(*b->op), &b->op, &b->op_count));
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 3: TRY(decode_var(d, pb_bytes(&r), &b->var[b->var_count++])); break;
        case 4: TRY(decode_op(d, pb_bytes(&r), &b->op[b->op_count++])); break;
        default: pb_skip(&r);
        }
    }
    return check_end(d, &r, "a block breaks off");
}

static status decode_version(struct decode *d, struct str message, int64_t *version)
{
    struct pb r;
    pb_init(&r, message);
    while (pb_next(&r)) {
        if (r.field == 1)
            *version = (int64_t)pb_varint(&r);
        else
            pb_skip(&r);
    }
    return check_end(d, &r, "the version breaks off");
}

status program_decode(struct str bytes, struct arena *a, struct program *out, struct err *e)
{
    struct decode d = { .file = bytes, .arena = a, .err = e };
    struct pb r;
    *out = (struct program){ 0 };
    TRY(make_array(&d, bytes, 1, sizeof(*out->block), &out->block, &out->block_count));
    pb_init(&r, bytes);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: TRY(decode_block(&d, pb_bytes(&r), &out->block[out->block_count++])); break;
        case 4: TRY(decode_version(&d, pb_bytes(&r), &out->version)); break;
        default: pb_skip(&r);
        }
    }
    TRY(check_end(&d, &r, "a field breaks off"));
    if (out->block_count == 0)
        return err_set(e, CORRUPT, "not a Paddle program: it holds no block");
    return OK;
}

/* ---- looking things up ---- */

bool program_dtype(int32_t data_type, dtype *out)
{
    // clang-format off
    static const struct { int32_t from; dtype to; } row[] = {
        { 0, DTYPE_BOOL }, { 1, DTYPE_I16 }, { 2, DTYPE_I32 },   { 3, DTYPE_I64 },
        { 4, DTYPE_F16 },  { 5, DTYPE_F32 }, { 6, DTYPE_F64 },   { 20, DTYPE_U8 },
        { 21, DTYPE_I8 },  { 22, DTYPE_BF16 }, { 23, DTYPE_C64 }, { 24, DTYPE_C128 },
    };
    // clang-format on
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        if (row[i].from == data_type) {
            *out = row[i].to;
            return true;
        }
    }
    return false;
}

bool program_computed(int32_t data_type, dtype *out)
{
    if (!program_dtype(data_type, out))
        return false;
    if (*out == DTYPE_F16 || *out == DTYPE_BF16)
        *out = DTYPE_F32;
    return true;
}

bool var_is_param(const struct var_desc *v)
{
    return v->persistable && v->kind == VAR_LOD_TENSOR;
}

static const struct slot_desc *find_slot(const struct slot_desc *slot, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (str_is(slot[i].name, name))
            return &slot[i];
    return NULL;
}

const struct slot_desc *op_slot_in(const struct op_desc *op, const char *name)
{
    return find_slot(op->in, op->in_count, name);
}

const struct slot_desc *op_slot_out(const struct op_desc *op, const char *name)
{
    return find_slot(op->out, op->out_count, name);
}

const struct attr_desc *op_attr(const struct op_desc *op, const char *name)
{
    for (int i = 0; i < op->attr_count; i++)
        if (str_is(op->attr[i].name, name))
            return &op->attr[i];
    return NULL;
}
