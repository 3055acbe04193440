/* How a model's products and convolutions are computed. */
#pragma once

#include "base/str.h"

typedef enum precision {
    PRECISION_FP32, /* as the file says; a quantised model's roundings too, on floats */
    PRECISION_BF16, /* operands are rounded to bfloat16, sums stay float */
    PRECISION_INT8, /* a quantised model's products and convolutions are computed on its integers */
    PRECISION_FP16, /* weights are rounded to what half precision keeps; computed in fp32 */
} precision;

#define PRECISION_CHOICES "fp32|bf16|int8|fp16"

bool precision_parse(struct str word, precision *out);
const char *precision_name(precision p);
/* One line for whoever asked for it on a processor that lacks its instructions; NULL where there is nothing to say. */
const char *precision_lack(precision p);
/* What p becomes on this processor. */
precision precision_here(precision p);
