/* Translation tables: Paddle's operators by name, one row each, in the file of their family
 * (ops_<family>.c), gathered by ops.c. Adding one: docs/adding-an-importer-op.md. */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stddef.h>

struct site;

enum lod_rule {
    LOD_SHARE, /* outputs take the LoD of the first input that has one: Paddle's ShareLoD */
    LOD_OWN,   /* the translation says what LoD its outputs have */
};

struct op_row {
    const char *type; /* Paddle's */
    /* the operator that it mostly becomes, for families that share a translation */
    const char *canonical;
    status (*import)(struct site *s);
    enum lod_rule lod;
};

const struct op_row *op_row_find(struct str type); /* NULL: not supported */
const struct op_row *op_row_at(int index);         /* all rows; NULL behind the last */

/* An operator that runs blocks of its program (control.c). */
struct lower;
typedef status control_fn(struct lower *l, struct site *s);

struct control_row {
    const char *type;      /* Paddle's */
    const char *pir;       /* what PIR calls it, or NULL */
    const char *canonical; /* the operator that it becomes */
    control_fn *lower;
};

const struct control_row *control_row_at(int index); /* NULL behind the last */

/* Each family ends with a row without type. */
extern const struct op_row paddle_math[], paddle_image[], paddle_shape[], paddle_sequence[],
    paddle_unary[], paddle_binary[], paddle_image_nd[], paddle_resize[], paddle_boxes[];
extern const struct op_row paddle_fill[], paddle_array[];
extern const struct op_row paddle_move[], paddle_index[], paddle_reduce[];
extern const struct op_row paddle_recurrent[], paddle_ragged[];
extern const struct op_row paddle_quant[], paddle_linear[], paddle_choose[];
extern const struct op_row paddle_fused[];
extern const struct op_row paddle_random[];
extern const struct op_row paddle_rare[], paddle_places[];
