#include "report.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/str.h"
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

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

/* ---- a plot: a frame, a scale, a line ---- */

struct plot {
    struct buf *b;
    double top; /* of the scale */
    const char *unit;
};

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

static void begin_plot(struct plot *p, struct buf *b, const char *title, double top,
                       const char *unit)
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

static void put_mark(struct plot *p, double part, const char *text)
{
    buf_printf(p->b, "<text x=\"%.1f\" y=\"%d\" class=\"x\">%s</text>", x_of(part), HEIGHT - 8,
               text);
}

static void begin_line(struct plot *p, const char *kind)
{
    buf_printf(p->b, "<polyline class=\"%s\" points=\"", kind);
}

static void put_point(struct plot *p, double part, double v)
{
    buf_printf(p->b, "%.1f,%.1f ", x_of(part), y_of(p, v < p->top ? v : p->top));
}

static void end_line(struct plot *p)
{
    buf_str(p->b, "\"/>");
}

static void end_plot(struct plot *p)
{
    buf_str(p->b, "</svg>");
}

/* ---- the plots ---- */

/* Percentiles on a scale on which each nine takes the same room. */
static void put_percentiles(struct buf *b, const struct load_result *r)
{
    static const struct {
        double q;
        const char *text;
    } marks[] = { { 0, "0" },       { 0.5, "50 %" },     { 0.9, "90 %" },
                  { 0.99, "99 %" }, { 0.999, "99.9 %" }, { 0.9999, "99.99 %" } };
    const double nines = 4.2;
    struct plot p;
    begin_plot(&p, b, "Latency by percentile", ms(histogram_quantile(r->latency, 0.9999)), " ms");
    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        put_mark(&p, -log10(1 - marks[i].q) / nines, marks[i].text);
    begin_line(&p, "line");
    for (int i = 0; i <= 420; i++) {
        double part = i / 420.0, q = 1 - pow(10, -part * nines);
        put_point(&p, part, ms(histogram_quantile(r->latency, q)));
    }
    end_line(&p);
    end_plot(&p);
}

static void put_time_marks(struct plot *p, const struct load_result *r)
{
    char text[32];
    for (int i = 0; i <= 4; i++) {
        snprintf(text, sizeof(text), "%.3g s", r->seconds * i / 4);
        put_mark(p, i / 4.0 * 0.97, text);
    }
}

static void put_rate(struct buf *b, const struct load_result *r)
{
    double slot_s = r->seconds / LOAD_SLOTS, most = 0;
    struct plot p;
    for (int i = 0; i < LOAD_SLOTS; i++)
        most = fmax(most, (double)(r->slot[i].calls + r->slot[i].errors) / slot_s);
    begin_plot(&p, b, "Calls a second over time", most, "");
    put_time_marks(&p, r);
    begin_line(&p, "line");
    for (int i = 0; i < LOAD_SLOTS; i++)
        put_point(&p, (i + 0.5) / LOAD_SLOTS, (double)r->slot[i].calls / slot_s);
    end_line(&p);
    begin_line(&p, "bad");
    for (int i = 0; i < LOAD_SLOTS; i++)
        put_point(&p, (i + 0.5) / LOAD_SLOTS, (double)r->slot[i].errors / slot_s);
    end_line(&p);
    end_plot(&p);
}

static void put_latency(struct buf *b, const struct load_result *r)
{
    struct plot p;
    double most = 0;
    for (int i = 0; i < LOAD_SLOTS; i++)
        most = fmax(most, ms(r->slot[i].max_ns));
    begin_plot(&p, b, "Latency over time: mean and worst", most, " ms");
    put_time_marks(&p, r);
    begin_line(&p, "worst");
    for (int i = 0; i < LOAD_SLOTS; i++)
        put_point(&p, (i + 0.5) / LOAD_SLOTS, ms(r->slot[i].max_ns));
    end_line(&p);
    begin_line(&p, "line");
    for (int i = 0; i < LOAD_SLOTS; i++) {
        const struct load_slot *s = &r->slot[i];
        put_point(&p, (i + 0.5) / LOAD_SLOTS, s->calls > 0 ? ms(s->sum_ns) / (double)s->calls : 0);
    }
    end_line(&p);
    end_plot(&p);
}

/* ---- the page ---- */

static const char style[] =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:820px;margin:2em auto;padding:0 "
    "1em;color:#222}"
    "h1{font-size:1.4em}h2{font-size:1em;margin:1.6em 0 .3em}table{border-collapse:collapse}"
    "td,th{padding:.15em 1em .15em 0;text-align:left;font-variant-numeric:tabular-nums}"
    "svg{width:100%;background:#fafafa;border:1px solid #ddd}.grid{stroke:#ddd}"
    "text{font-size:11px;fill:#555}.y{text-anchor:end}.x{text-anchor:middle}"
    "polyline{fill:none;stroke-width:1.5}.line{stroke:#1565c0}.worst{stroke:#e0a030}.bad{stroke:#"
    "c62828}";

static void put_row(struct buf *b, const char *name, double v, const char *unit)
{
    buf_printf(b, "<tr><th>%s</th><td>%.6g %s</td></tr>", name, v, unit);
}

static void put_table(struct buf *b, const struct load_options *o, const struct load_result *r)
{
    static const struct {
        const char *name;
        double q;
    } rows[] = { { "median", 0.5 },
                 { "90 %", 0.9 },
                 { "99 %", 0.99 },
                 { "99.9 %", 0.999 },
                 { "99.99 %", 0.9999 } };
    buf_str(b, "<table>");
    put_row(b, "calls a second", (double)r->calls / r->seconds, "");
    if (o->rate > 0)
        put_row(b, "offered", o->rate, "a second, timed from when each call was due");
    put_row(b, "connections", o->connections, "");
    put_row(b, "good calls", (double)r->calls, "");
    put_row(b, "errors", (double)r->errors, "");
    if (r->late > 0)
        put_row(b, "due and never made", (double)r->late, "");
    put_row(b, "least", ms(r->latency->min), "ms");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        put_row(b, rows[i].name, ms(histogram_quantile(r->latency, rows[i].q)), "ms");
    put_row(b, "most", ms(r->latency->max), "ms");
    buf_str(b, "</table>");
    if (r->errors > 0) {
        buf_str(b, "<p>The first error: ");
        html_put_text(b, str_of(r->first_error.text));
        buf_str(b, "</p>");
    }
}

status report_write(const char *path, const struct load_options *o, const struct load_result *r,
                    struct err *e)
{
    char stamp[64];
    time_t now = time(NULL);
    struct tm tm;
    struct buf b;
    gmtime_r(&now, &tm);
    strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S UTC", &tm);
    buf_init(&b, PAGE_BYTES);
    buf_printf(&b,
               "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>oar bench</title>"
               "<style>%s</style><h1>oar bench ",
               style);
    html_put_text(&b, o->endpoint);
    buf_str(&b, " over ");
    html_put_text(&b, o->protocol);
    buf_printf(&b, "</h1><p>%s, %.3g s, oar " OAR_VERSION ", %s loop</p>", stamp, r->seconds,
               o->rate > 0 ? "open" : "closed");
    put_table(&b, o, r);
    put_percentiles(&b, r);
    put_rate(&b, r);
    put_latency(&b, r);
    buf_str(&b, "</html>\n");
    status s = buf_check(&b) == OK ? file_write(path, b.data, b.len, e)
                                   : err_set(e, TOO_LARGE, "the report does not fit");
    buf_deinit(&b);
    return s;
}
