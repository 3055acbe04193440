/* The figures of a load as one HTML page that needs nothing else: a table and three plots as inline SVG. */
#pragma once

#include "client/load.h"

status report_write(const char *path, const struct load_options *opt, const struct load_result *r,
                    struct err *e);
