/* A page of HTML that needs nothing else, with plots as inline SVG. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* The heading is open: its words follow, then page_head_end. */
void page_begin(struct buf *b, const char *verb);
void page_head_end(struct buf *b);
/* Between <table> and </table>. */
void page_row(struct buf *b, const char *name, double v, const char *unit);
/* Takes what is in b. */
status page_save(struct buf *b, const char *path, struct err *e);

struct plot {
    struct buf *b;
    double top; /* of the scale */
    const char *unit;
};

/* Values from 0 to what is round and not below top. `part` of the others: from 0, the left end, to 1. */
void plot_begin(struct plot *p, struct buf *b, const char *title, double top, const char *unit);
void plot_mark(struct plot *p, double part, const char *text);
void plot_line_begin(struct plot *p, const char *kind); /* "line", "worst" or "bad" */
void plot_point(struct plot *p, double part, double v);
void plot_line_end(struct plot *p);
void plot_bar(struct plot *p, double from, double to, double v);
void plot_end(struct plot *p);
