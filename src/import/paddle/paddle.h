/* The importer of Paddle's ProgramDesc models: files (files.h), program (program.h), parameters
 * (params.h), lowering (lower.h). */
#pragma once

#include "import/import.h"

struct unknown_list;

/* Notes the operators that nobody translates. */
status paddle_check(const char *path, struct unknown_list *unknown, struct err *e);
status paddle_load(const char *path, struct imported *out, struct err *e);
