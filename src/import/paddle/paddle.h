/* The importer of Paddle's ProgramDesc models: files (files.h), program (program.h), parameters
 * (params.h), lowering (lower.h). */
#pragma once

#include "import/import.h"

status paddle_load(const char *path, struct imported *out, struct err *e);
