#include "serve/settings.h"

#include "serve/note.h"

#include <stdio.h>

static void show(struct setting_room *r, const char *key, enum oip_kind kind, int64_t number,
                 struct str text)
{
    r->at[r->count++] =
        (struct oip_param){ .key = str_of(key), .kind = kind, .integer = number, .text = text };
}

static struct str number_text(char *to, size_t room, int64_t v)
{
    int n = snprintf(to, room, "%lld", (long long)v);
    return (struct str){ to, (size_t)n };
}

/* ---- the server's log ---- */

void log_settings(struct setting_room *out)
{
    log_level level = log_get_level();
    const char *format = log_get_format() == LOG_JSON ? "json" : "default";
    out->count = 0;
    show(out, "log_file", OIP_STRING, 0, STR(""));
    show(out, "log_info", OIP_BOOL, level <= LOG_INFO, STR(""));
    show(out, "log_warning", OIP_BOOL, level <= LOG_WARN, STR(""));
    show(out, "log_error", OIP_BOOL, true, STR(""));
    show(out, "log_verbose_level", OIP_UINT, level == LOG_DEBUG, STR(""));
    show(out, "log_format", OIP_STRING, 0, str_of(format));
}

void log_change_begin(struct log_change *c)
{
    log_level level = log_get_level();
    *c = (struct log_change){ .info = level <= LOG_INFO,
                              .warning = level <= LOG_WARN,
                              .verbose = level == LOG_DEBUG,
                              .format = log_get_format() };
}

static status take_flag(const struct oip_param *p, bool *out, struct err *e)
{
    if (p->kind != OIP_BOOL)
        return err_set(e, INVALID, "%.*s: expected true or false", STR_ARG(p->key));
    *out = p->integer != 0;
    return OK;
}

static status take_verbose(const struct oip_param *p, uint64_t *out, struct err *e)
{
    if ((p->kind != OIP_INT && p->kind != OIP_UINT) || (p->kind == OIP_INT && p->integer < 0))
        return err_set(e, INVALID, "log_verbose_level: expected a whole number from 0");
    *out = (uint64_t)p->integer;
    return OK;
}

static status take_format(const struct oip_param *p, log_format *out, struct err *e)
{
    bool json = p->kind == OIP_STRING && str_is(p->text, "json");
    bool text = p->kind == OIP_STRING && (str_is(p->text, "default") || str_is(p->text, "ISO8601"));
    if (!json && !text)
        return err_set(e, STOPPING, "log_format: expected \"default\", \"ISO8601\" or \"json\"");
    *out = json ? LOG_JSON : LOG_TEXT;
    return OK;
}

status log_change_take(struct log_change *c, const struct oip_param *p, struct err *e)
{
    bool ignored;
    if (str_is(p->key, "log_info"))
        return take_flag(p, &c->info, e);
    if (str_is(p->key, "log_warning"))
        return take_flag(p, &c->warning, e);
    if (str_is(p->key, "log_error")) /* errors are always said */
        return take_flag(p, &ignored, e);
    if (str_is(p->key, "log_verbose_level"))
        return take_verbose(p, &c->verbose, e);
    if (str_is(p->key, "log_format"))
        return take_format(p, &c->format, e);
    if (str_is(p->key, "log_file"))
        return err_set(e, UNSUPPORTED, "log_file cannot be changed while the server runs");
    return err_set(e, INVALID,
                   "unknown setting '%.*s'; there are log_info, log_warning, log_error, "
                   "log_verbose_level and log_format",
                   STR_ARG(p->key));
}

void log_change_apply(const struct log_change *c)
{
    log_set_level(c->verbose > 0 ? LOG_DEBUG
                  : c->info      ? LOG_INFO
                  : c->warning   ? LOG_WARN
                                 : LOG_ERROR);
    log_set_format(c->format);
}

/* ---- traces ---- */

#define RATE_UNTRACED 1000 /* what is shown where nothing is traced: Triton's default */

void trace_settings(const struct server *s, struct setting_room *out)
{
    const struct tracer *t = s->tracer;
    int64_t rate = t != NULL ? tracer_rate(t) : RATE_UNTRACED;
    int64_t count = t != NULL ? tracer_count(t) : -1;
    bool on = t != NULL && tracer_is_on(t);
    out->count = 0;
    show(out, "trace_level", OIP_STRING, 0, on ? STR("TIMESTAMPS") : STR("OFF"));
    show(out, "trace_rate", OIP_STRING, 0, number_text(out->text[0], sizeof(out->text[0]), rate));
    show(out, "trace_count", OIP_STRING, 0, number_text(out->text[1], sizeof(out->text[1]), count));
    show(out, "log_frequency", OIP_STRING, 0, STR("0"));
    show(out, "trace_file", OIP_STRING, 0, STR(""));
    show(out, "trace_mode", OIP_STRING, 0, STR("opentelemetry"));
}

void trace_change_begin(const struct server *s, struct trace_change *c)
{
    const struct tracer *t = s->tracer;
    *c = (struct trace_change){ .off = t == NULL || !tracer_is_on(t),
                                .rate = t != NULL ? tracer_rate(t) : 0,
                                .count = t != NULL ? tracer_count(t) : -1 };
}

static status take_number(struct str key, struct str value, int64_t least, int64_t *out,
                          struct err *e)
{
    if (!str_to_i64(value, out) || *out < least || *out > INT32_MAX)
        return err_set(e, INVALID,
                       "%.*s: expected a whole number from %lld to 2147483647 in a string",
                       STR_ARG(key), (long long)least);
    return OK;
}

/* What Triton can change and this server cannot: its present value alone is fine. */
static status is_fixed(struct str key, struct str value, const char *only, struct err *e)
{
    if (value.p == NULL || str_is(value, only))
        return OK;
    return err_set(e, UNSUPPORTED, "%.*s cannot be changed while the server runs%s%s", STR_ARG(key),
                   *only != '\0' ? "; it is " : "", only);
}

status trace_change_take(const struct server *s, struct trace_change *c, struct str key,
                         struct str value, struct err *e)
{
    bool cleared = value.p == NULL;
    if (str_is(key, "trace_level")) {
        if (!cleared && !str_is(value, "OFF") && !str_is(value, "TIMESTAMPS"))
            return err_set(
                e, INVALID,
                "trace_level '%.*s': expected OFF or TIMESTAMPS (no trace holds tensors)",
                STR_ARG(value));
        c->off = cleared ? s->tracer == NULL : str_is(value, "OFF");
        c->wanted = c->wanted || !c->off;
        return OK;
    }
    c->wanted = c->wanted || !cleared;
    if (str_is(key, "trace_rate") && cleared)
        c->rate = s->options.trace_rate;
    else if (str_is(key, "trace_rate"))
        return take_number(key, value, 0, &c->rate, e);
    else if (str_is(key, "trace_count") && cleared)
        c->count = -1;
    else if (str_is(key, "trace_count"))
        return take_number(key, value, -1, &c->count, e);
    else if (str_is(key, "trace_file"))
        return is_fixed(key, value, "", e);
    else if (str_is(key, "log_frequency"))
        return is_fixed(key, value, "0", e);
    else if (str_is(key, "trace_mode"))
        return is_fixed(key, value, "opentelemetry", e);
    else
        return err_set(e, INVALID,
                       "unknown setting '%.*s'; there are trace_level, trace_rate and trace_count",
                       STR_ARG(key));
    return OK;
}

status trace_change_apply(struct server *s, const struct trace_change *c, struct err *e)
{
    if (s->tracer == NULL)
        return !c->wanted ? OK
                          : err_set(e, UNSUPPORTED,
                                    "nothing is traced: start with --trace-file or "
                                    "--trace-endpoint");
    tracer_set(s->tracer, !c->off, (int)c->rate, (int)c->count);
    return OK;
}
