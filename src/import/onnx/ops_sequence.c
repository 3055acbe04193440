/* Sequences of tensors, while it is known at import which tensors they hold: lists that nodes make, change and take apart
 * again, as PyTorch's exporter writes lists. In the graph there are their tensors alone; a sequence's name stands for an
 * empty constant, by which its list is found (onnx_import.sequences). */
#include "graph/attrs_move.h"
#include "import/onnx/build.h"

#include <string.h>

struct sequence {
    struct value **item;
    int count;
};

#define SEQUENCE_MOST 4096

static struct str key_of(const struct value *const *v)
{
    return (struct str){ (const char *)v, sizeof(*v) };
}

static status read_sequence(struct onnx_site *s, int input, const struct sequence **out)
{
    struct value *v;
    TRY(onnx_in(s, input, &v));
    *out = map_get(&s->import->sequences, key_of((const struct value *const *)&v));
    return *out != NULL ? OK
                        : onnx_fault(s, UNSUPPORTED,
                                     "a sequence that the model is given, or that a loop or branch "
                                     "makes");
}

static status new_sequence(struct onnx_site *s, int count, struct sequence **out)
{
    if (count < 0 || count > SEQUENCE_MOST)
        return onnx_fault(s, TOO_LARGE, "a sequence of %d tensors, at most %d", count,
                          SEQUENCE_MOST);
    *out = arena_zalloc(s->import->scratch, sizeof(**out));
    (*out)->item = arena_zalloc(s->import->scratch, ((size_t)count + 1) * sizeof(struct value *));
    (*out)->count = count;
    return OK;
}

static status bind_sequence(struct onnx_site *s, struct sequence *list)
{
    const struct value **key = arena_alloc(s->import->scratch, sizeof(*key));
    struct value *stands;
    TRY(onnx_add_constant(s, DTYPE_I64, &SHAPE(0), "", &stands));
    *key = stands;
    map_put(&s->import->sequences, key_of(key), list);
    return onnx_bind(s, 0, stands);
}

static status import_construct(struct onnx_site *s)
{
    struct value **in;
    struct sequence *list;
    int count;
    TRY(onnx_ins(s, 0, &in, &count));
    TRY(new_sequence(s, count, &list));
    memcpy(list->item, in, (size_t)count * sizeof(*in));
    return bind_sequence(s, list);
}

static status import_empty(struct onnx_site *s)
{
    struct sequence *list;
    TRY(new_sequence(s, 0, &list));
    return bind_sequence(s, list);
}

/* The place that an input names among `count`, from the end where it is below 0; `otherwise` where it is left out. */
static status read_place(struct onnx_site *s, int input, int count, int otherwise, int *out)
{
    struct attr_ints place;
    TRY(onnx_const_ints(s, input, "its position", &place));
    int64_t at = place.count == 0 ? otherwise : place.v[0] < 0 ? place.v[0] + count : place.v[0];
    if (place.count > 1 || at < 0 || at >= count)
        return onnx_fault(s, INVALID, "position %lld of %d", (long long)at, count);
    *out = (int)at;
    return OK;
}

static status import_insert(struct onnx_site *s)
{
    const struct sequence *from;
    struct sequence *to;
    int at;
    TRY(read_sequence(s, 0, &from));
    TRY(read_place(s, 2, from->count + 1, from->count, &at));
    TRY(new_sequence(s, from->count + 1, &to));
    for (int i = 0; i < from->count; i++)
        to->item[i + (i >= at)] = from->item[i];
    TRY(onnx_in(s, 1, &to->item[at]));
    return bind_sequence(s, to);
}

static status import_erase(struct onnx_site *s)
{
    const struct sequence *from;
    struct sequence *to;
    int at;
    TRY(read_sequence(s, 0, &from));
    TRY(read_place(s, 1, from->count, from->count - 1, &at));
    TRY(new_sequence(s, from->count - 1, &to));
    for (int i = 0; i < to->count; i++)
        to->item[i] = from->item[i + (i >= at)];
    return bind_sequence(s, to);
}

static status import_at(struct onnx_site *s)
{
    const struct sequence *list;
    struct value *out;
    int at;
    TRY(read_sequence(s, 0, &list));
    TRY(read_place(s, 1, list->count, 0, &at));
    TRY(build1(s, "identity", list->item[at], &out));
    return onnx_bind(s, 0, out);
}

static status import_length(struct onnx_site *s)
{
    const struct sequence *list;
    struct value *out;
    TRY(read_sequence(s, 0, &list));
    int64_t count = list->count;
    TRY(onnx_add_constant(s, DTYPE_I64, &(struct shape){ 0 }, &count, &out));
    return onnx_bind(s, 0, out);
}

static status import_join(struct onnx_site *s)
{
    const struct sequence *list;
    struct value **part, *out;
    int32_t axis = onnx_i32(s, "axis", 0);
    TRY(read_sequence(s, 0, &list));
    if (list->count < 1 || list->count > UINT8_MAX)
        return onnx_fault(s, UNSUPPORTED, "%d tensors put together, expected 1 to %d", list->count,
                          UINT8_MAX);
    part = arena_zalloc(s->import->scratch, (size_t)list->count * sizeof(*part));
    for (int i = 0; i < list->count; i++) {
        part[i] = list->item[i];
        if (onnx_bool(s, "new_axis", false))
            TRY(build_unsqueeze(s, part[i], &(struct attr_ints){ 1, { axis } }, &part[i]));
    }
    TRY(build_concat(s, part, list->count, axis, &out));
    return onnx_bind(s, 0, out);
}

/* ---- SplitToSequence ---- */

struct cut {
    int axis;
    int64_t dim, size;      /* size: of each part but the last */
    struct attr_ints sizes; /* count 0: all are of `size` */
    bool keep;
};

static status read_cut(struct onnx_site *s, const struct value *x, struct cut *c)
{
    const struct tensor *split;
    TRY(onnx_const(s, 1, "its split", &split));
    TRY(onnx_const_ints(s, 1, "its split", &c->sizes));
    c->axis = declared_axis(x, onnx_i64(s, "axis", 0));
    c->dim = c->axis >= 0 ? x->shape.dim[c->axis] : -1;
    c->keep = split != NULL || onnx_bool(s, "keepdims", true);
    c->size = 1;
    if (split != NULL && split->shape.rank == 0) {
        c->size = c->sizes.v[0];
        c->sizes.count = 0;
    }
    if (c->dim < 0 || c->size < 1)
        return onnx_fault(s, UNSUPPORTED, "an axis whose size the file does not tell");
    return OK;
}

static status import_split(struct onnx_site *s)
{
    struct value *x;
    struct sequence *list;
    struct cut c;
    int64_t at = 0;
    TRY(onnx_in(s, 0, &x));
    TRY(read_cut(s, x, &c));
    int64_t count = c.sizes.count > 0 ? c.sizes.count : (c.dim + c.size - 1) / c.size;
    TRY(new_sequence(s, count > SEQUENCE_MOST ? -1 : (int)count, &list));
    for (int i = 0; i < list->count; i++) {
        int64_t size = c.sizes.count > 0 ? c.sizes.v[i] : c.size;
        int64_t end = at + size < c.dim ? at + size : c.dim;
        TRY(build_slice(s, x, c.axis, at, end, &list->item[i]));
        list->item[i]->shape.dim[c.axis] = end - at;
        at = end;
        if (c.keep)
            continue;
        TRY(build1(s, "squeeze", list->item[i], &list->item[i]));
        ((struct axes_attrs *)node_attrs(list->item[i]->producer))->axes =
            (struct attr_ints){ 1, { c.axis } };
        list->item[i]->shape.rank = -1;
    }
    return bind_sequence(s, list);
}

// clang-format off
const struct onnx_row onnx_sequence[] = {
    { "SequenceConstruct",  NULL,       import_construct },
    { "SequenceEmpty",      NULL,       import_empty },
    { "SequenceInsert",     NULL,       import_insert },
    { "SequenceErase",      NULL,       import_erase },
    { "SequenceAt",         "identity", import_at },
    { "SequenceLength",     NULL,       import_length },
    { "ConcatFromSequence", "concat",   import_join },
    { "SplitToSequence",    "slice",    import_split },
    { 0 },
};
// clang-format on
