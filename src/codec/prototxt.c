#include "codec/prototxt.h"

#include "base/limits.h"

struct reader {
    const char *p, *end, *file;
    struct arena *arena;
    struct err *err;
    int line;
};

static status fault(struct reader *r, const char *expected)
{
    if (r->p >= r->end)
        return err_set(r->err, INVALID, "%s:%d: expected %s, the file ends", r->file, r->line,
                       expected);
    return err_set(r->err, INVALID, "%s:%d: expected %s, got '%c'", r->file, r->line, expected,
                   *r->p >= 0x20 && *r->p < 0x7f ? *r->p : '?');
}

static void skip_space(struct reader *r)
{
    for (; r->p < r->end; r->p++) {
        if (*r->p == '#')
            while (r->p < r->end && *r->p != '\n')
                r->p++;
        if (r->p >= r->end)
            return;
        if (*r->p == '\n')
            r->line++;
        else if (*r->p != ' ' && *r->p != '\t' && *r->p != '\r')
            return;
    }
}

/* Steps over c when it is next. */
static bool take(struct reader *r, char c)
{
    skip_space(r);
    if (r->p >= r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-' || c == '+';
}

static struct str take_word(struct reader *r)
{
    skip_space(r);
    const char *begin = r->p;
    while (r->p < r->end && is_word(*r->p))
        r->p++;
    return (struct str){ begin, (size_t)(r->p - begin) };
}

static int hex(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

/* One escape behind its backslash: letters, up to three octal digits, x and up to two hexadecimal ones. */
static char take_escape(struct reader *r)
{
    static const char letters[] = "abfnrtv", meanings[] = "\a\b\f\n\r\t\v";
    char c = *r->p++;
    const char *at = strchr(letters, c);
    if (c != '\0' && at != NULL)
        return meanings[at - letters];
    int v = 0;
    if (c == 'x') {
        for (int i = 0; i < 2 && r->p < r->end && hex(*r->p) >= 0; i++)
            v = v * 16 + hex(*r->p++);
        return (char)v;
    }
    if (c < '0' || c > '7')
        return c;
    v = c - '0';
    for (int i = 0; i < 2 && r->p < r->end && *r->p >= '0' && *r->p <= '7'; i++)
        v = v * 8 + *r->p++ - '0';
    return (char)v;
}

/* Appends the quoted string ahead to `to`; NULL: only counts its bytes. */
static status take_quoted(struct reader *r, char *to, size_t *n)
{
    char quote = *r->p++;
    while (r->p < r->end && *r->p != quote && *r->p != '\n') {
        char c = *r->p++;
        if (c == '\\') {
            if (r->p >= r->end)
                return fault(r, "an escape");
            c = take_escape(r);
        }
        if (to != NULL)
            to[*n] = c;
        (*n)++;
    }
    if (r->p >= r->end || *r->p != quote)
        return fault(r, "the closing quote of a string");
    r->p++;
    return OK;
}

static bool at_quote(struct reader *r)
{
    skip_space(r);
    return r->p < r->end && (*r->p == '"' || *r->p == '\'');
}

static status take_pieces(struct reader *r, char *to, size_t *n)
{
    *n = 0;
    while (at_quote(r))
        TRY(take_quoted(r, to, n));
    return OK;
}

/* One string out of adjacent ones: a first walk counts, a second one copies. */
static status take_string(struct reader *r, struct str *out)
{
    struct reader probe = *r;
    size_t n;
    TRY(take_pieces(&probe, NULL, &n));
    char *text = arena_try(r->arena, n + 1, 16);
    if (text == NULL)
        return err_set(r->err, NO_MEMORY, "%s:%d: no memory for a string", r->file, r->line);
    TRY(take_pieces(r, text, &n));
    *out = (struct str){ text, n };
    return OK;
}

static status parse_fields(struct reader *r, char close, int depth, struct prototxt **out);

static status parse_scalar(struct reader *r, struct prototxt *f)
{
    f->is_string = at_quote(r);
    if (f->is_string)
        return take_string(r, &f->text);
    f->text = take_word(r);
    return f->text.n > 0 ? OK : fault(r, "a value");
}

static status parse_value(struct reader *r, int depth, struct prototxt *f)
{
    bool brace = take(r, '{'), angle = !brace && take(r, '<');
    if (!brace && !angle)
        return parse_scalar(r, f);
    if (depth >= LIMIT_JSON_DEPTH)
        return err_set(r->err, INVALID, "%s:%d: messages are nested deeper than %d", r->file,
                       r->line, LIMIT_JSON_DEPTH);
    f->is_message = true;
    return parse_fields(r, brace ? '}' : '>', depth + 1, &f->child);
}

static struct prototxt *new_field(struct reader *r, struct str name, struct prototxt ***tail)
{
    struct prototxt *f = arena_zalloc(r->arena, sizeof(*f));
    f->name = name;
    f->line = r->line;
    **tail = f;
    *tail = &f->next;
    return f;
}

/* The values of one field name: one, or a list in brackets that becomes as many fields. */
static status parse_field(struct reader *r, int depth, struct prototxt ***tail)
{
    struct str name = take_word(r);
    if (name.n == 0)
        return fault(r, "a field's name");
    bool colon = take(r, ':');
    skip_space(r);
    if (!colon && r->p < r->end && *r->p != '{' && *r->p != '<' && *r->p != '[')
        return fault(r, "':' behind a field's name");
    if (!take(r, '['))
        return parse_value(r, depth, new_field(r, name, tail));
    if (take(r, ']'))
        return OK;
    do
        TRY(parse_value(r, depth, new_field(r, name, tail)));
    while (take(r, ','));
    return take(r, ']') ? OK : fault(r, "',' or ']'");
}

/* Fields up to the closing character, or to the file's end where close is 0. */
static status parse_fields(struct reader *r, char close, int depth, struct prototxt **out)
{
    *out = NULL;
    struct prototxt **tail = out;
    for (;;) {
        while (take(r, ',') || take(r, ';'))
            continue;
        if (close != '\0' && take(r, close))
            return OK;
        skip_space(r);
        if (r->p >= r->end)
            return close == '\0' ? OK : fault(r, "the end of a message");
        TRY(parse_field(r, depth, &tail));
    }
}

status prototxt_parse(struct str text, const char *file, struct arena *a, struct prototxt **out,
                      struct err *e)
{
    struct reader r = { text.p, text.p + text.n, file, a, e, 1 };
    return parse_fields(&r, '\0', 0, out);
}

status prototxt_i64(const struct prototxt *field, const char *file, int64_t *out, struct err *e)
{
    if (!field->is_message && !field->is_string && str_to_i64(field->text, out))
        return OK;
    return err_set(e, INVALID, "%s:%d: %.*s: expected an integer, got '%.*s'", file, field->line,
                   STR_ARG(field->name), STR_ARG(field->text));
}

status prototxt_bool(const struct prototxt *field, const char *file, bool *out, struct err *e)
{
    static const char *const words[2][4] = { { "false", "False", "f", "0" },
                                             { "true", "True", "t", "1" } };
    for (int v = 0; v < 2; v++) {
        for (size_t i = 0; i < ARRAY_LEN(words[v]); i++) {
            if (!field->is_message && !field->is_string && str_is(field->text, words[v][i])) {
                *out = v;
                return OK;
            }
        }
    }
    return err_set(e, INVALID, "%s:%d: %.*s: expected true or false, got '%.*s'", file, field->line,
                   STR_ARG(field->name), STR_ARG(field->text));
}
