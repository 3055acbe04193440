#include "report.h"
#include "plot.h"

#include "base/buf.h"
#include "base/str.h"
#include "codec/html.h"

#include <math.h>
#include <stdio.h>

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
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
    plot_begin(&p, b, "Latency by percentile", ms(histogram_quantile(r->latency, 0.9999)), " ms");
    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        plot_mark(&p, -log10(1 - marks[i].q) / nines, marks[i].text);
    plot_line_begin(&p, "line");
    for (int i = 0; i <= 420; i++) {
        double part = i / 420.0, q = 1 - pow(10, -part * nines);
        plot_point(&p, part, ms(histogram_quantile(r->latency, q)));
    }
    plot_line_end(&p);
    plot_end(&p);
}

static void put_time_marks(struct plot *p, const struct load_result *r)
{
    char text[32];
    for (int i = 0; i <= 4; i++) {
        snprintf(text, sizeof(text), "%.3g s", r->seconds * i / 4);
        plot_mark(p, i / 4.0 * 0.97, text);
    }
}

static void put_rate(struct buf *b, const struct load_result *r)
{
    double slot_s = r->seconds / LOAD_SLOTS, most = 0;
    struct plot p;
    for (int i = 0; i < LOAD_SLOTS; i++)
        most = fmax(most, (double)(r->slot[i].calls + r->slot[i].errors) / slot_s);
    plot_begin(&p, b, "Calls a second over time", most, "");
    put_time_marks(&p, r);
    plot_line_begin(&p, "line");
    for (int i = 0; i < LOAD_SLOTS; i++)
        plot_point(&p, (i + 0.5) / LOAD_SLOTS, (double)r->slot[i].calls / slot_s);
    plot_line_end(&p);
    plot_line_begin(&p, "bad");
    for (int i = 0; i < LOAD_SLOTS; i++)
        plot_point(&p, (i + 0.5) / LOAD_SLOTS, (double)r->slot[i].errors / slot_s);
    plot_line_end(&p);
    plot_end(&p);
}

static void put_latency(struct buf *b, const struct load_result *r)
{
    struct plot p;
    double most = 0;
    for (int i = 0; i < LOAD_SLOTS; i++)
        most = fmax(most, ms(r->slot[i].max_ns));
    plot_begin(&p, b, "Latency over time: mean and worst", most, " ms");
    put_time_marks(&p, r);
    plot_line_begin(&p, "worst");
    for (int i = 0; i < LOAD_SLOTS; i++)
        plot_point(&p, (i + 0.5) / LOAD_SLOTS, ms(r->slot[i].max_ns));
    plot_line_end(&p);
    plot_line_begin(&p, "line");
    for (int i = 0; i < LOAD_SLOTS; i++) {
        const struct load_slot *s = &r->slot[i];
        plot_point(&p, (i + 0.5) / LOAD_SLOTS, s->calls > 0 ? ms(s->sum_ns) / (double)s->calls : 0);
    }
    plot_line_end(&p);
    plot_end(&p);
}

/* ---- the page ---- */

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
    page_row(b, "calls a second", (double)r->calls / r->seconds, "");
    if (o->rate > 0)
        page_row(b, "offered", o->rate, "a second, timed from when each call was due");
    page_row(b, "connections", o->connections, "");
    page_row(b, "good calls", (double)r->calls, "");
    page_row(b, "errors", (double)r->errors, "");
    if (r->late > 0)
        page_row(b, "due and never made", (double)r->late, "");
    page_row(b, "least", ms(r->latency->min), "ms");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        page_row(b, rows[i].name, ms(histogram_quantile(r->latency, rows[i].q)), "ms");
    page_row(b, "most", ms(r->latency->max), "ms");
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
    struct buf b;
    page_begin(&b, "oar bench");
    html_put_text(&b, o->endpoint);
    buf_str(&b, " over ");
    html_put_text(&b, o->protocol);
    page_head_end(&b);
    buf_printf(&b, "<p>%.3g s, %s loop</p>", r->seconds, o->rate > 0 ? "open" : "closed");
    put_table(&b, o, r);
    put_percentiles(&b, r);
    put_rate(&b, r);
    put_latency(&b, r);
    return page_save(&b, path, e);
}
