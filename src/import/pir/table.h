/* PIR's operators in terms of ProgramDesc's, one row each. Adding one: a row in table.c, and, where the older operator is
 * not translated yet, docs/adding-an-importer-op.md. */
#pragma once

#include "base/str.h"

// clang-format off
struct pir_row {
    const char *name;  /* PIR's, without the dialect */
    const char *type;  /* ProgramDesc's */
    /* What each operand and each result is, one word for each, in order:
     *     X           the slot X; a list of tensors fills it with all of them
     *     @axis       a number or list of numbers that the program knows: the attribute `axis`
     *     axis@Axis   the same, but a tensor that is computed goes to the slot Axis
     *     shape@ShapeTensor/List   and a list of such tensors to the slot List
     *     -           nobody looks at it
     * Words that are missing count as "-". */
    const char *in, *out;
    /* Attributes that change their names (`keepdim:keep_dim`), and those that every operator of the row has
     * (`lower=1`). All others keep their names. */
    const char *attrs;
};
// clang-format on

const struct pir_row *pir_row_find(struct str name); /* NULL: not supported */
const struct pir_row *pir_row_at(int index);         /* NULL behind the last */
