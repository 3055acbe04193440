/* Tensor arrays, and the rank tables by which 1.x programs walk over sequences step by step. An array is a variable that is
 * written in place; here each writing makes a new value, and a variable that nobody has written is an empty array. */
#include "graph/attrs_array.h"
#include "import/paddle/site.h"

#include <string.h>

static status empty_array(struct site *s, struct value **out)
{
    static const uint64_t nothing;
    struct tensor t = { .dtype = DTYPE_U8, .shape = SHAPE(0), .data = &nothing };
    return graph_add_constant(s->graph, NULL, &t, out, s->err);
}

/* The output is an array: its declaration says what its tensors are, not what it is. */
static status bind_array(struct site *s, struct value *v)
{
    TRY(site_bind(s, "Out", v));
    v->dtype = DTYPE_U8;
    v->shape = SHAPE(-1);
    return OK;
}

/* Paddle 3 makes an array before anything is written to it. */
static status import_create(struct site *s)
{
    struct value *none, *out;
    TRY(empty_array(s, &none));
    TRY(site_add1(s, "identity", &none, 1, &out));
    return bind_array(s, out);
}

static status import_write(struct site *s)
{
    struct value *in[3 + LOD_MAX], *out;
    const struct slot_desc *array = op_slot_out(s->op, "Out");
    if (array == NULL || array->arg_count != 1)
        return site_fault(s, INVALID, "expected one variable as output Out");
    TRY(site_resolve(s, array->arg[0], &in[0]));
    if (in[0] == NULL)
        TRY(empty_array(s, &in[0]));
    TRY(site_in(s, "I", &in[1]));
    TRY(site_in(s, "X", &in[2]));
    int levels = in[2]->lod_levels;
    memcpy(in + 3, in[2]->lod, sizeof(in[2]->lod));
    TRY(site_add1(s, "array_write", in, 3 + levels, &out));
    return bind_array(s, out);
}

/* The dtype that the program declares of the output. */
static status declared_dtype(struct site *s, dtype *out)
{
    const struct var_desc *d = site_declared(s, "Out");
    if (d != NULL && program_computed(d->data_type, out))
        return OK;
    return site_fault(s, UNSUPPORTED, "the program does not declare the dtype of its output");
}

static status import_read(struct site *s)
{
    struct value *in[2];
    struct node *n;
    dtype d;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "I", &in[1]));
    TRY(declared_dtype(s, &d));
    int levels = site_declared(s, "Out")->lod_level;
    if (levels < 0 || levels > LOD_MAX)
        return site_fault(s, UNSUPPORTED, "its output has %d LoD levels, at most %d", levels,
                          LOD_MAX);
    TRY(site_add_outs(s, "array_read", in, 2, 1 + levels, &n));
    *(struct array_attrs *)node_attrs(n) = (struct array_attrs){ .dtype = d, .levels = levels };
    TRY(site_bind(s, "Out", n->out[0]));
    n->out[0]->dtype = d;
    n->out[0]->lod_levels = levels;
    for (int l = 0; l < levels; l++) {
        n->out[0]->lod[l] = n->out[1 + l];
        n->out[1 + l]->dtype = DTYPE_I64;
        n->out[1 + l]->shape = SHAPE(-1);
    }
    return OK;
}

static status import_length(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, "array_length", &x, 1, &out));
    out->dtype = DTYPE_I64;
    out->shape = SHAPE(1);
    return site_bind(s, "Out", out);
}

static status import_join(struct site *s)
{
    struct value *x;
    struct node *n;
    dtype d;
    TRY(site_in(s, "X", &x));
    TRY(declared_dtype(s, &d));
    TRY(site_add(s, "array_join", &x, 1, &n));
    *(struct array_attrs *)node_attrs(n) = (struct array_attrs){
        .dtype = d, .axis = attr_i32(s, "axis", 0), .stack = attr_bool(s, "use_stack", false)
    };
    TRY(site_bind(s, "Out", n->out[0]));
    n->out[1]->dtype = DTYPE_I32;
    n->out[1]->shape = SHAPE(-1);
    return site_bind(s, "OutIndex", n->out[1]);
}

/* ---- rank tables ---- */

static status import_table(struct site *s)
{
    struct value *x, *out;
    int level = attr_i32(s, "level", 0);
    TRY(site_in(s, "X", &x));
    if (level < 0 || level >= x->lod_levels)
        return site_fault(s, INVALID, "level %d of '%s', which has %d", level, x->name,
                          x->lod_levels);
    TRY(site_add1(s, "rank_table", &x->lod[level], 1, &out));
    TRY(site_bind(s, "Out", out));
    out->dtype = DTYPE_I64;
    out->shape = SHAPE(-1, 2);
    return OK;
}

static status import_longest(struct site *s)
{
    struct value *table, *out;
    TRY(site_in(s, "RankTable", &table));
    TRY(site_add1(s, "rank_longest", &table, 1, &out));
    out->shape = SHAPE(1);
    return site_bind(s, "Out", out);
}

static status import_split(struct site *s)
{
    struct value *in[3], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_offsets(s, "X", &in[1]));
    TRY(site_in(s, "RankTable", &in[2]));
    TRY(site_add1(s, "rank_split", in, 3, &out));
    return bind_array(s, out);
}

static status import_rank_join(struct site *s)
{
    struct value *in[2];
    struct node *n;
    dtype d;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "RankTable", &in[1]));
    TRY(declared_dtype(s, &d));
    TRY(site_add(s, "rank_join", in, 2, &n));
    *(struct array_attrs *)node_attrs(n) = (struct array_attrs){ .dtype = d };
    TRY(site_bind(s, "Out", n->out[0]));
    n->out[0]->dtype = d;
    n->out[0]->lod_levels = 1;
    n->out[0]->lod[0] = n->out[1];
    n->out[1]->dtype = DTYPE_I64;
    n->out[1]->shape = SHAPE(-1);
    return OK;
}

static status import_shrink(struct site *s)
{
    struct value *in[3], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "I", &in[1]));
    TRY(site_in(s, "RankTable", &in[2]));
    TRY(site_add1(s, "rank_shrink", in, 3, &out));
    return site_bind(s, "Out", out);
}

static status import_reorder(struct site *s)
{
    struct value *in[3];
    struct node *n;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "RankTable", &in[1]));
    bool ragged = in[0]->lod_levels == 1;
    if (in[0]->lod_levels > 1)
        return site_fault(s, UNSUPPORTED, "'%s' has %d LoD levels", in[0]->name, in[0]->lod_levels);
    in[2] = ragged ? in[0]->lod[0] : NULL;
    TRY(site_add(s, "rank_reorder", in, ragged ? 3 : 2, &n));
    TRY(site_bind(s, "Out", n->out[0]));
    n->out[0]->dtype = in[0]->dtype;
    n->out[0]->lod_levels = ragged;
    n->out[0]->lod[0] = n->out[1];
    n->out[1]->dtype = DTYPE_I64;
    n->out[1]->shape = SHAPE(-1);
    return OK;
}

// clang-format off
const struct op_row paddle_array[] = {
    { "create_array",               "identity",     import_create,    LOD_OWN },
    { "write_to_array",             "array_write",  import_write,     LOD_OWN },
    { "read_from_array",            "array_read",   import_read,      LOD_OWN },
    { "lod_array_length",           "array_length", import_length,    LOD_OWN },
    { "tensor_array_to_tensor",     "array_join",   import_join,      LOD_OWN },
    { "lod_rank_table",             "rank_table",   import_table,     LOD_OWN },
    { "max_sequence_len",           "rank_longest", import_longest,   LOD_OWN },
    { "lod_tensor_to_array",        "rank_split",   import_split,     LOD_OWN },
    { "array_to_lod_tensor",        "rank_join",    import_rank_join, LOD_OWN },
    { "shrink_rnn_memory",          "rank_shrink",  import_shrink,    LOD_OWN },
    { "reorder_lod_tensor_by_rank", "rank_reorder", import_reorder,   LOD_OWN },
    { 0 },
};
// clang-format on
