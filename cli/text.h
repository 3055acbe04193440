/* Tensors for people and for machines. */
#pragma once

#include "base/buf.h"
#include "tensor/tensor.h"

/* "price float32 [1, 1] 18.9011517", then "price.lod int64 [2] 0 1" for each level. Every element,
 * precise enough to read back the same number. */
void text_put_tensor(struct buf *out, struct str name, const struct tensor *t);
/* The same in short: of a large tensor the first elements, and least, greatest and mean. */
void text_put_summary(struct buf *out, struct str name, const struct tensor *t);
/* {"outputs":[{"name":...,"alias":...,"dtype":...,"shape":[...],"data":[...],"lod":[[...]]}]} and a
 * newline. */
void text_put_json(struct buf *out, const struct named_tensor *t, int count);

/* Prints the text and frees the buffer; a buffer that failed is told. What stdout does not take main.c sees. */
status text_print(struct buf *out, struct err *e);
#define TEXT_BYTES ((size_t)4 << 30)
