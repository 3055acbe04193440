#include "plot.h"

#include "base/file.h"
#include "codec/html.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#define PAGE_BYTES ((size_t)4 << 20)
#define WIDTH      760
#define HEIGHT     260
#define LEFT       64
#define BOTTOM     30
#define TOP        12

/* ---- a plot: a frame, a scale, a line ---- */

/* The next of 1, 2, 5, 10, ... that is not below v. */
static double round_up(double v)
{
    double power = pow(10, floor(log10(v > 0 ? v : 1)));
    for (int i = 0; i < 3; i++) {
        static const double steps[] = { 1, 2, 5 };
        if (v <= steps[i] * power)
            return steps[i] * power;
    }
    return 10 * power;
}

static double x_of(double part)
{
    return LEFT + part * (WIDTH - LEFT - 10);
}

static double y_of(const struct plot *p, double v)
{
    return TOP + (1 - v / p->top) * (HEIGHT - TOP - BOTTOM);
}

void plot_begin(struct plot *p, struct buf *b, const char *title, double top, const char *unit)
{
    *p = (struct plot){ b, round_up(top), unit };
    buf_printf(b, "<h2>%s</h2><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">", title,
               WIDTH, HEIGHT, title);
    for (int i = 0; i <= 4; i++) {
        double v = p->top * i / 4, y = y_of(p, v);
        buf_printf(
            b,
            "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" class=\"grid\"/><text x=\"%d\" "
            "y=\"%.1f\" class=\"y\">%.6g%s</text>",
            LEFT, y, WIDTH - 10, y, LEFT - 6, y + 4, v, unit);
    }
}

void plot_mark(struct plot *p, double part, const char *text)
{
    buf_printf(p->b, "<text x=\"%.1f\" y=\"%d\" class=\"x\">%s</text>", x_of(part), HEIGHT - 8,
               text);
}

void plot_line_begin(struct plot *p, const char *kind)
{
    buf_printf(p->b, "<polyline class=\"%s\" points=\"", kind);
}

void plot_point(struct plot *p, double part, double v)
{
    buf_printf(p->b, "%.1f,%.1f ", x_of(part), y_of(p, v < p->top ? v : p->top));
}

void plot_line_end(struct plot *p)
{
    buf_str(p->b, "\"/>");
}

void plot_end(struct plot *p)
{
    buf_str(p->b, "</svg>");
}

void plot_bar(struct plot *p, double from, double to, double v)
{
    double y = y_of(p, v < p->top ? v : p->top);
    buf_printf(p->b, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"bar\"/>",
               x_of(from), y, x_of(to) - x_of(from), y_of(p, 0) - y);
}

/* ---- the page ---- */

static const char style[] =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:820px;margin:2em auto;padding:0 "
    "1em;color:#222}"
    "h1{font-size:1.4em}h2{font-size:1em;margin:1.6em 0 .3em}table{border-collapse:collapse}"
    "td,th{padding:.15em 1em .15em 0;text-align:left;font-variant-numeric:tabular-nums}"
    "svg{width:100%;background:#fafafa;border:1px solid #ddd}.grid{stroke:#ddd}"
    "text{font-size:11px;fill:#555}.y{text-anchor:end}.x{text-anchor:middle}"
    ".bar{fill:#1565c0}polyline{fill:none;stroke-width:1.5}.line{stroke:#1565c0}.worst{stroke:#"
    "e0a030}.bad{stroke:#"
    "c62828}";

void page_begin(struct buf *b, const char *verb)
{
    buf_init(b, PAGE_BYTES);
    buf_printf(b,
               "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>%s</title>"
               "<style>%s</style><h1>%s ",
               verb, style, verb);
}

void page_head_end(struct buf *b)
{
    char stamp[64];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S UTC", &tm);
    buf_printf(b, "</h1><p>%s, oar " OAR_VERSION "</p>", stamp);
}

void page_row(struct buf *b, const char *name, double v, const char *unit)
{
    buf_printf(b, "<tr><th>%s</th><td>%.6g %s</td></tr>", name, v, unit);
}

status page_save(struct buf *b, const char *path, struct err *e)
{
    buf_str(b, "</html>\n");
    status s = buf_check(b) == OK ? file_write(path, b->data, b->len, e)
                                  : err_set(e, TOO_LARGE, "the report does not fit");
    buf_deinit(b);
    return s;
}
