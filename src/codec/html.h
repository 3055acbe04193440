/* Text within HTML: what would be read as markup, also inside of attributes, becomes a reference. */
#pragma once

#include "base/buf.h"

void html_put_text(struct buf *out, struct str text);
