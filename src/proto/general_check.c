#include "proto/general_check.h"

#include "base/limits.h"

#include <stdio.h>
#include <string.h>

// clang-format off
const struct general_field general_field[GENERAL_SOURCES] = {
    [GENERAL_I64] =     { "int64_data",       1, DTYPE_I64,   DTYPE_I64,   1 },
    [GENERAL_F32] =     { "float_data",       2, DTYPE_F32,   DTYPE_F32,   1 },
    [GENERAL_I32] =     { "int_data",         3, DTYPE_I32,   DTYPE_I32,   1 },
    [GENERAL_F64] =     { "float64_data",     4, DTYPE_F64,   DTYPE_F64,   1 },
    [GENERAL_U32] =     { "uint32_data",      5, DTYPE_U32,   DTYPE_U32,   1 },
    [GENERAL_BOOL] =    { "bool_data",        6, DTYPE_BOOL,  DTYPE_BOOL,  1 },
    [GENERAL_C64] =     { "complex64_data",   7, DTYPE_C64,   DTYPE_F32,   2 },
    [GENERAL_C128] =    { "complex128_data",  8, DTYPE_C128,  DTYPE_F64,   2 },
    [GENERAL_DATA] =    { "data",             9, DTYPE_BYTES, DTYPE_BYTES, 1 },
    [GENERAL_CONTENT] = { "tensor_content",  15, DTYPE_U8,    DTYPE_U8,    1 },
};
// clang-format on

enum general_source general_source_of(dtype d)
{
    int s = 0;
    while (s < GENERAL_CONTENT && general_field[s].dtype != d)
        s++;
    return (enum general_source)s;
}

status(general_no_memory)(struct err *e)
{
    return err_set(e, NO_MEMORY, "the message needs more memory than one request may take");
}

status general_reply_error(int64_t number, struct str text, struct err *e)
{
    if (number == 0)
        return OK;
    return err_set(e, INTERNAL, "the server answers err_no %lld: %.*s", (long long)number,
                   STR_ARG(text));
}

void *general_grow(struct arena *a, void *list, int64_t count, size_t size)
{
    const int64_t first = 4;
    if (count != 0 && (count < first || (count & (count - 1)) != 0))
        return list; /* the room doubles at each power of two */
    int64_t room = count < first ? first : count * 2;
    void *grown = arena_try_array(a, (size_t)room, size);
    if (grown != NULL && count > 0)
        memcpy(grown, list, (size_t)count * size);
    return grown;
}

status general_name_check(struct str name, const char *what, struct err *e)
{
    if (name.n > LIMIT_NAME_BYTES)
        return err_set(e, INVALID, "%s: a name of %zu bytes, the limit is %d", what, name.n,
                       LIMIT_NAME_BYTES);
    if (!str_is_utf8(name))
        return err_set(e, INVALID, "%s: a name that is not UTF-8", what);
    return OK;
}

/* "tensor 1 'x'", which every complaint begins with. */
#define WHAT_MAX 160

static void tell_which(const struct general_parts *p, char what[WHAT_MAX])
{
    int n = p->name.n < 100 ? (int)p->name.n : 100;
    snprintf(what, WHAT_MAX, "tensor %d '%.*s'", p->index, n, p->name.p);
}

static status check_names(const struct general_parts *p, struct err *e)
{
    char what[WHAT_MAX];
    if (general_name_check(p->name, "", NULL) == OK && general_name_check(p->alias, "", NULL) == OK)
        return OK;
    snprintf(what, sizeof(what), "tensor %d: name", p->index);
    TRY(general_name_check(p->name, what, e));
    snprintf(what, sizeof(what), "tensor %d: alias_name", p->index);
    return general_name_check(p->alias, what, e);
}

static status check_shape(const struct general_parts *p, const char *what, struct shape *out,
                          struct err *e)
{
    char text[SHAPE_TEXT_MAX];
    if (p->dims > SHAPE_MAX)
        return err_set(e, INVALID, "%s: a shape of %lld dimensions, the most is %d", what,
                       (long long)p->dims, SHAPE_MAX);
    *out = (struct shape){ .rank = (int32_t)p->dims };
    memcpy(out->dim, p->dim, (size_t)p->dims * sizeof(p->dim[0]));
    if (shape_numel(out) < 0)
        return err_set(e, INVALID,
                       "%s: shape %s: every dimension must be 0 or more, and their product fit",
                       what, shape_text(out, text, sizeof(text)));
    return OK;
}

/* The field that holds the most besides `but`, for the words about one that is empty; `but` when
 * all are. */
static enum general_source fullest(const struct general_parts *p, enum general_source but)
{
    enum general_source best = but;
    for (int s = 0; s < GENERAL_SOURCES; s++)
        if (p->scalars[s] > p->scalars[best] && s != (int)but)
            best = (enum general_source)s;
    return best;
}

/* Which field the elements are in: the type's own, or tensor_content where that one is empty. */
static status choose_source(const struct general_parts *p, const char *what, dtype d,
                            enum general_source *out, struct err *e)
{
    enum general_source own = general_source_of(d);
    *out = p->scalars[own] == 0 && p->scalars[GENERAL_CONTENT] > 0 ? GENERAL_CONTENT : own;
    if (own != GENERAL_CONTENT && p->scalars[own] > 0 && p->scalars[GENERAL_CONTENT] > 0)
        return err_set(e, INVALID,
                       "%s: elements both in %s and in tensor_content, give one of them", what,
                       general_field[own].name);
    return OK;
}

/* What came instead of the elements that the shape asks for. */
static status wrong_count(const struct general_parts *p, const char *what, const struct tensor *t,
                          enum general_source from, int64_t have, struct err *e)
{
    char shape[SHAPE_TEXT_MAX];
    enum general_source other = fullest(p, from);
    shape_text(&t->shape, shape, sizeof(shape));
    if (have == 0 && other != from)
        return err_set(e, INVALID,
                       "%s: elem_type %d (%s) wants its elements in %s, but they are in %s; set "
                       "elem_type or move them",
                       what, (int)t->dtype, dtype_name(t->dtype), general_field[from].name,
                       general_field[other].name);
    return err_set(e, INVALID, "%s: shape %s of %s means %lld in %s, which holds %lld", what, shape,
                   dtype_name(t->dtype), (long long)shape_numel(&t->shape),
                   general_field[from].name, (long long)have);
}

static status check_count(const struct general_parts *p, const char *what, const struct tensor *t,
                          enum general_source from, struct err *e)
{
    int64_t want = shape_numel(&t->shape), have = p->scalars[from];
    int64_t each =
        from == GENERAL_CONTENT ? (int64_t)dtype_size(t->dtype) : general_field[from].scalars;
    int64_t whole = have / each, left = have % each;
    if (left != 0)
        return err_set(
            e, INVALID, "%s: %s holds %lld %s, which is no multiple of the %lld of one %s", what,
            general_field[from].name, (long long)have, from == GENERAL_CONTENT ? "bytes" : "values",
            (long long)each, dtype_name(t->dtype));
    return whole == want ? OK : wrong_count(p, what, t, from, whole, e);
}

/* Offsets rise, so that only a new level can fall back to 0. */
static bool begins_level(const int64_t *flat, int64_t i)
{
    return i > 0 && flat[i] == 0 && flat[i - 1] != 0;
}

status general_split_lod(const int64_t *flat, int64_t count, const char *what, struct lod *out,
                         struct err *e)
{
    *out = (struct lod){ 0 };
    if (count == 0)
        return OK;
    struct lod_level *l = &out->level[out->levels++];
    l->offset = flat;
    for (int64_t i = 0; i < count; i++) {
        if (begins_level(flat, i)) {
            if (out->levels == LOD_MAX)
                return err_set(e, INVALID, "%s: lod of more than %d levels", what, LOD_MAX);
            l = &out->level[out->levels++];
            l->offset = flat + i;
        }
        l->count++;
    }
    return OK;
}

static status check_lod(const struct general_parts *p, const char *what, struct tensor *t,
                        struct err *e)
{
    TRY(general_split_lod(p->lod, p->lod_count, what, &t->lod, e));
    if (t->lod.levels == 0)
        return OK;
    if (t->shape.rank == 0)
        return err_set(e, INVALID, "%s: lod of a tensor without dimensions", what);
    return lod_check(&t->lod, t->shape.dim[0], what, e);
}

static status check_tensor(const struct general_parts *p, const char *what,
                           struct named_tensor *out, enum general_source *from, struct err *e)
{
    *out = (struct named_tensor){ .name = p->name, .alias = p->alias };
    struct tensor *t = &out->tensor;
    if (p->elem_type < 0 || p->elem_type > INT32_MAX || !dtype_valid((int)p->elem_type))
        return err_set(e, INVALID,
                       "%s: elem_type %lld is unknown; 0 is int64, 1 float32, 2 int32, 20 string",
                       what, (long long)p->elem_type);
    t->dtype = (dtype)p->elem_type;
    TRY(check_shape(p, what, &t->shape, e));
    TRY(choose_source(p, what, t->dtype, from, e));
    TRY(check_count(p, what, t, *from, e));
    TRY(check_lod(p, what, t, e));
    if (*from != GENERAL_DATA)
        return OK;
    if (t->lod.levels > 0)
        return err_set(e, UNSUPPORTED, "%s: strings with lod", what);
    t->shape = SHAPE(p->string_bytes + p->scalars[GENERAL_DATA]);
    return OK;
}

/* To say which tensor it is costs as much as all the checks: it is said only where something is to be said. */
status general_tensor(const struct general_parts *p, struct named_tensor *out,
                      enum general_source *from, struct err *e)
{
    char what[WHAT_MAX];
    TRY(check_names(p, e));
    if (check_tensor(p, "", out, from, NULL) == OK)
        return OK;
    tell_which(p, what);
    return check_tensor(p, what, out, from, e);
}

static bool all_truth(struct str bytes)
{
    uint8_t all = 0;
    for (size_t i = 0; i < bytes.n; i++)
        all |= (uint8_t)bytes.p[i];
    return all <= 1;
}

status general_content(struct str content, dtype d, struct arena *a, const void **out,
                       struct err *e)
{
    size_t size = dtype_size(d), align = size < 8 ? size : 8; /* a complex128 is two doubles */
    if (d == DTYPE_BOOL && !all_truth(content))
        return err_set(e, INVALID, "tensor_content: a bool that is neither 0 nor 1");
    if ((uintptr_t)content.p % align == 0) {
        *out = content.p;
        return OK;
    }
    void *copy = arena_try(a, content.n, 16);
    if (copy == NULL)
        return general_no_memory(e);
    memcpy(copy, content.p, content.n);
    *out = copy;
    return OK;
}

/* ---- going out ---- */

static struct str bytes_of(const struct tensor *t)
{
    size_t n = (size_t)tensor_bytes(t);
    return (struct str){ n > 0 ? t->data : "", n };
}

enum general_source general_source_for(const struct tensor *t)
{
    enum general_source s = general_source_of(t->dtype);
    if (s != GENERAL_DATA)
        return s;
    struct str bytes = bytes_of(t);
    bool strings = t->shape.rank == 1 && t->lod.levels == 0 &&
                   (bytes.n == 0 || bytes.p[bytes.n - 1] == '\0') && str_is_utf8(bytes);
    return strings ? GENERAL_DATA : GENERAL_CONTENT;
}

bool general_next_string(struct str *bytes, struct str *out)
{
    return bytes->n > 0 && str_cut(bytes, '\0', out);
}

struct shape general_shape(const struct tensor *t, enum general_source s)
{
    if (s != GENERAL_DATA)
        return t->shape;
    struct str left = bytes_of(t), one;
    int64_t n = 0;
    while (general_next_string(&left, &one))
        n++;
    return SHAPE(n);
}
