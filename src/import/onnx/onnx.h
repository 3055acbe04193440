/* The importer of ONNX models: a .onnx file, alone or in a directory; its structs (proto.h), its numbers (tensors.h),
 * lowering (lower.h). A serving configuration beside it gives aliases, as for Paddle's models. */
#pragma once

#include "import/import.h"

#define ONNX_WANTS "*.onnx"

bool onnx_detect(const char *path);
/* The file that a path means: itself, or of a directory its one .onnx file (model.onnx before others). INVALID where
 * there are several. */
status onnx_find_file(const char *path, struct arena *a, const char **out, struct err *e);
struct unknown_list;
status onnx_check(const char *path, struct unknown_list *unknown, struct err *e);
status onnx_load(const char *path, struct imported *out, struct err *e);
