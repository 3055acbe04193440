/* Translation tables: ONNX's operators by domain and name, one row each, in the file of their family (ops_<family>.c),
 * gathered by ops.c. Adding one: docs/adding-an-importer-op.md. */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stddef.h>

struct onnx_site;

struct onnx_row {
    const char *type;      /* ONNX's */
    const char *canonical; /* the operator that it mostly becomes */
    status (*import)(struct onnx_site *s);
};

const struct onnx_row *onnx_row_find(struct str domain, struct str type); /* NULL: not supported */
/* All rows in order, NULL behind the last; *domain: "" or "ai.onnx.ml", ... */
const struct onnx_row *onnx_row_at(size_t index, const char **domain);

/* Each family ends with a row without type. */
extern const struct onnx_row onnx_math[], onnx_shape[], onnx_window[], onnx_image[], onnx_reduce[],
    onnx_index[], onnx_neural[], onnx_quant[], onnx_rnn[], onnx_control[], onnx_ml[], onnx_signal[],
    onnx_svm[], onnx_microsoft[], onnx_qlinear[], onnx_runtime_own[], onnx_sequence[];
