/* Paddle 3's program file (PIR, `*.json` beside a `*.pdiparams`), read as a ProgramDesc: each of its operators becomes the
 * one of the older format that means the same (table.h), so that one set of translations serves both, and parameters,
 * configuration and ports are the same business. */
#pragma once

#include "import/paddle/program.h"
#include "import/unknown.h"

/* Whether the file at path begins as a PIR program does. */
bool pir_is_program(const char *path);
/* Notes the operators that no row of the table is for. */
status pir_check(struct str bytes, struct arena *a, struct unknown_list *unknown, struct err *e);
/* Decodes the bytes into the structs of the older format; views of the bytes, and what lives in the arena. Whatever is no
 * PIR program is CORRUPT, what is one but not supported UNSUPPORTED, with words that name operators. */
status pir_decode(struct str bytes, struct arena *a, struct program *out, struct err *e);
/* A decoded program's name for a result of an operator ("%v12.0") says its number in the file, and which tensor of a list it
 * is; false for other names. */
bool pir_result_named(struct str name, int64_t *id, int *part);
