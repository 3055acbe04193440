#include "exec/precision.h"

#include "kernels/kernel.h"

struct row {
    const char *name;
    bool (*has)(void); /* NULL: every processor does it */
    const char *lack;
};

// clang-format off
static const struct row rows[] = {
    [PRECISION_FP32] = { "fp32", NULL, NULL },
    [PRECISION_BF16] = { "bf16", kernel_has_bf16,
                         "this processor does not multiply bfloat16: computed in fp32, which is slower" },
    [PRECISION_INT8] = { "int8", kernel_has_int8,
                         "this processor lacks the instructions for products of int8: computed in fp32, which is slower" },
    [PRECISION_FP16] = { "fp16", NULL, NULL },
};
// clang-format on

bool precision_parse(struct str word, precision *out)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_is(word, rows[i].name)) {
            *out = (precision)i;
            return true;
        }
    return false;
}

const char *precision_name(precision p)
{
    return rows[p].name;
}

static bool is_here(precision p)
{
    return rows[p].has == NULL || rows[p].has();
}

const char *precision_lack(precision p)
{
    return is_here(p) ? NULL : rows[p].lack;
}

precision precision_here(precision p)
{
    return is_here(p) ? p : PRECISION_FP32;
}
