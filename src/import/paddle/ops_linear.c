/* Products of matrices and vectors beyond mul and matmul: they become matmul and what surrounds it. */
#include "graph/attrs_reduce.h"
#include "import/einsum.h"
#include "import/paddle/site.h"

static status add_product(struct site *s, struct value *x, struct value *y, float alpha,
                          struct value **out)
{
    struct value *in[] = { x, y };
    TRY(site_add1(s, "matmul", in, 2, out));
    ((struct matmul_attrs *)node_attrs((*out)->producer))->alpha = alpha;
    return OK;
}

static status import_product(struct site *s, const char *y_slot)
{
    struct value *x, *y, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, y_slot, &y));
    TRY(add_product(s, x, y, 1, &out));
    return site_bind(s, "Out", out);
}

static status import_bmm(struct site *s)
{
    return import_product(s, "Y");
}

static status import_mv(struct site *s)
{
    return import_product(s, "Vec");
}

/* The rank that the file declares for an output. */
static int declared_rank(const struct site *s, const char *slot, int otherwise)
{
    const struct var_desc *v = site_declared(s, slot);
    return v != NULL ? v->shape.rank : otherwise;
}

/* dot: over the last dimension, which older versions keep as 1. */
static status import_dot(struct site *s)
{
    struct value *x, *y, *product, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Y", &y));
    TRY(site_add2(s, "mul", x, y, &product));
    TRY(site_add1(s, "reduce", &product, 1, &out));
    *(struct reduce_attrs *)node_attrs(out->producer) =
        (struct reduce_attrs){ .mode = REDUCE_SUM,
                               .axes = { 1, { -1 } },
                               .keep_dims = declared_rank(s, "Out", 0) == x->shape.rank };
    return site_bind(s, "Out", out);
}

static status scaled(struct site *s, struct value *x, double by, struct value **out)
{
    *out = x;
    if (by == 1)
        return OK;
    TRY(site_add1(s, "affine", &x, 1, out));
    ((struct affine_attrs *)node_attrs((*out)->producer))->scale = (float)by;
    return OK;
}

/* addmm: Beta * Input + Alpha * X x Y. baddbmm: the same of stacks. */
static status import_addmm(struct site *s)
{
    struct value *x, *y, *add, *product, *out;
    TRY(site_in(s, "Input", &add));
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Y", &y));
    TRY(add_product(s, x, y, (float)attr_f64(s, "Alpha", 1), &product));
    TRY(scaled(s, add, attr_f64(s, "Beta", 1), &add));
    TRY(site_add2(s, "add", product, add, &out));
    return site_bind(s, "Out", out);
}

/* ---- einsum ---- */

static status add_for_einsum(void *site, const char *op, struct value *const *in, int count,
                             struct value **out)
{
    return site_add1(site, op, in, count, out);
}

static status refuse_einsum(void *site)
{
    struct site *s = site;
    struct str e = attr_str(s, "equation", "");
    return site_fault(s, UNSUPPORTED, "the equation '%.*s'", STR_ARG(e));
}

static status import_einsum(struct site *s)
{
    const struct einsum_maker maker = { s, add_for_einsum, refuse_einsum };
    struct value **in, *out;
    int count;
    TRY(site_ins(s, "Operands", &in, &count));
    TRY(einsum_build(&maker, attr_str(s, "equation", ""), in, count, &out));
    if (count > 0 && out == in[0])
        TRY(site_add1(s, "identity", &out, 1, &out));
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_linear[] = {
    { "bmm",     "matmul", import_bmm,    LOD_OWN },
    { "mv",      "matmul", import_mv,     LOD_OWN },
    { "dot",     "reduce", import_dot,    LOD_OWN },
    { "addmm",   "matmul", import_addmm,  LOD_OWN },
    { "baddbmm", "matmul", import_addmm,  LOD_OWN },
    { "einsum",  "matmul", import_einsum, LOD_OWN },
    { 0 },
};
// clang-format on
