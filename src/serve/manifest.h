/* What a version's own manifest promises of its files: SHA256SUMS, as sha256sum writes it. */
#pragma once

#include "base/err.h"

#include <stdbool.h>

/* *has: dir has a manifest. Then OK when every file in it is there and is what it says; BUSY while one is missing, CORRUPT
 * when one is another; words name it. Files that the manifest does not list are nobody's business. */
status manifest_check(const char *dir, bool *has, struct err *e);
