#include "import/onnx/ops.h"

static const struct {
    const char *domain;
    const struct onnx_row *rows;
} families[] = {
    { "", onnx_math },
    { "", onnx_shape },
    { "", onnx_window },
    { "", onnx_image },
    { "", onnx_neural },
    { "", onnx_reduce },
    { "", onnx_index },
    { "", onnx_quant },
    { "", onnx_rnn },
    { "", onnx_control },
    { "", onnx_signal },
    { "ai.onnx.ml", onnx_ml },
    { "ai.onnx.ml", onnx_svm },
    { "com.microsoft", onnx_microsoft },
    { "com.microsoft", onnx_qlinear },
    { "", onnx_runtime_own },
    { "", onnx_sequence },
};

const struct onnx_row *onnx_row_at(size_t index, const char **domain)
{
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        *domain = families[i].domain;
        for (const struct onnx_row *r = families[i].rows; r->type != NULL; r++)
            if (index-- == 0)
                return r;
    }
    return NULL;
}

const struct onnx_row *onnx_row_find(struct str domain, struct str type)
{
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        for (const struct onnx_row *r = families[i].rows; r->type != NULL; r++)
            if (str_is(type, r->type) && str_is(domain, families[i].domain))
                return r;
    return NULL;
}
