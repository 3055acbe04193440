#include "flow/yaml.h"

#include "base/limits.h"

#include <string.h>
#include <yaml.h>

#define DEPTH_MAX 32
#define NODES_MAX 1000000

struct reader {
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    const char *file;
    struct arena *arena;
    struct err *err;
    int nodes;
};

/* ---- events ---- */

static int line_of(const yaml_mark_t *mark)
{
    return (int)(mark->line < 100000000 ? mark->line + 1 : 0);
}

static status step(struct reader *r)
{
    if (r->has_event)
        yaml_event_delete(&r->event);
    r->has_event = yaml_parser_parse(&r->parser, &r->event) != 0;
    if (r->has_event)
        return OK;
    return err_set(r->err, INVALID, "%s:%d: %s%s%s", r->file, line_of(&r->parser.problem_mark),
                   r->parser.context != NULL ? r->parser.context : "",
                   r->parser.context != NULL ? ": " : "",
                   r->parser.problem != NULL ? r->parser.problem : "no YAML");
}

static status fault(struct reader *r, const char *words)
{
    return err_set(r->err, INVALID, "%s:%d: %s", r->file, line_of(&r->event.start_mark), words);
}

/* ---- nodes; the event at hand begins the node, and after it stands the next one ---- */

static status read_node(struct reader *r, int depth, struct yaml **out);

static void append(struct yaml *parent, struct yaml ***tail, struct yaml *child)
{
    **tail = child;
    *tail = &child->next;
    parent->count++;
}

static status read_scalar(struct reader *r, struct yaml *n)
{
    n->kind = YAML_SCALAR;
    n->text = arena_strndup(r->arena, (const char *)r->event.data.scalar.value,
                            r->event.data.scalar.length);
    n->quoted = r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    if (memchr(r->event.data.scalar.value, '\0', r->event.data.scalar.length) != NULL)
        return fault(r, "a text with a zero byte");
    return step(r);
}

static status read_list(struct reader *r, int depth, struct yaml *n)
{
    struct yaml **tail = &n->child;
    n->kind = YAML_LIST;
    TRY(step(r));
    while (r->event.type != YAML_SEQUENCE_END_EVENT) {
        struct yaml *child;
        TRY(read_node(r, depth + 1, &child));
        append(n, &tail, child);
    }
    return step(r);
}

static status read_map(struct reader *r, int depth, struct yaml *n)
{
    struct yaml **tail = &n->child;
    n->kind = YAML_MAP;
    TRY(step(r));
    while (r->event.type != YAML_MAPPING_END_EVENT) {
        struct yaml key = { 0 }, *child;
        int line = line_of(&r->event.start_mark);
        if (r->event.type != YAML_SCALAR_EVENT)
            return fault(r, "a key is expected to be a word");
        TRY(read_scalar(r, &key));
        if (yaml_get(n, key.text) != NULL)
            return err_set(r->err, INVALID, "%s:%d: '%s' is said twice; first in line %d", r->file,
                           line, key.text, yaml_get(n, key.text)->line);
        TRY(read_node(r, depth + 1, &child));
        child->key = key.text;
        append(n, &tail, child);
    }
    return step(r);
}

static status read_node(struct reader *r, int depth, struct yaml **out)
{
    struct yaml *n = arena_zalloc(r->arena, sizeof(*n));
    *out = n;
    n->line = line_of(&r->event.start_mark);
    if (depth > DEPTH_MAX || ++r->nodes > NODES_MAX)
        return fault(r, "too deep, or too much");
    switch (r->event.type) {
    case YAML_SCALAR_EVENT:
        return r->event.data.scalar.anchor != NULL ? fault(r, "anchors are not supported")
                                                   : read_scalar(r, n);
    case YAML_SEQUENCE_START_EVENT:
        return r->event.data.sequence_start.anchor != NULL ? fault(r, "anchors are not supported")
                                                           : read_list(r, depth, n);
    case YAML_MAPPING_START_EVENT:
        return r->event.data.mapping_start.anchor != NULL ? fault(r, "anchors are not supported")
                                                          : read_map(r, depth, n);
    default: return fault(r, "aliases are not supported");
    }
}

/* ---- the document ---- */

static status read_document(struct reader *r, struct yaml **out)
{
    TRY(step(r)); /* the stream's start */
    TRY(step(r));
    if (r->event.type == YAML_STREAM_END_EVENT) {
        *out = arena_zalloc(r->arena, sizeof(**out));
        **out = (struct yaml){ .kind = YAML_MAP, .line = 1 };
        return OK;
    }
    TRY(step(r)); /* the document's start */
    TRY(read_node(r, 0, out));
    TRY(step(r)); /* its end */
    return r->event.type == YAML_STREAM_END_EVENT ? OK : fault(r, "a second document");
}

status yaml_parse(struct str text, const char *file, struct arena *a, struct yaml **out,
                  struct err *e)
{
    struct err ignored;
    struct reader r = { .file = file, .arena = a, .err = e != NULL ? e : &ignored };
    *out = NULL;
    if (text.n > LIMIT_CONFIG_BYTES)
        return err_set(e, TOO_LARGE, "%s: larger than %zu bytes", file, LIMIT_CONFIG_BYTES);
    if (yaml_parser_initialize(&r.parser) == 0)
        return err_set(e, NO_MEMORY, "%s: no memory to read it", file);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text.p, text.n);
    status s = read_document(&r, out);
    if (r.has_event)
        yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    return s;
}

/* ---- looking things up ---- */

const struct yaml *yaml_get(const struct yaml *map, const char *key)
{
    for (const struct yaml *n = map != NULL && map->kind == YAML_MAP ? map->child : NULL; n != NULL;
         n = n->next)
        if (strcmp(n->key, key) == 0)
            return n;
    return NULL;
}

status yaml_is(const struct yaml *n, const char *file, yaml_kind kind, struct err *e)
{
    static const char *const name[] = { "one value", "a list", "a map of names and values" };
    if (n->kind == kind)
        return OK;
    return err_set(e, INVALID, "%s:%d: %s%s%sexpected %s, got %s", file, n->line,
                   n->key != NULL ? "'" : "", n->key != NULL ? n->key : "",
                   n->key != NULL ? "': " : "", name[kind], name[n->kind]);
}

status yaml_keys(const struct yaml *map, const char *file, const char *const *known, size_t count,
                 struct err *e)
{
    TRY(yaml_is(map, file, YAML_MAP, e));
    for (const struct yaml *n = map->child; n != NULL; n = n->next) {
        bool found = false;
        for (size_t i = 0; i < count && !found; i++)
            found = strcmp(known[i], n->key) == 0;
        if (found)
            continue;
        const char *near = str_nearest(str_of(n->key), known, count);
        return err_set(e, INVALID, "%s:%d: unknown key '%.200s'%s", file, n->line, n->key,
                       str_hint(near, count > 0 ? known[0] : NULL).text);
    }
    return OK;
}

static status bad_value(const struct yaml *n, const char *file, const char *want, struct err *e)
{
    return err_set(e, INVALID, "%s:%d: %s%s%sexpected %s, got '%.100s'", file, n->line,
                   n->key != NULL ? "'" : "", n->key != NULL ? n->key : "",
                   n->key != NULL ? "': " : "", want, n->text != NULL ? n->text : "more than one");
}

status yaml_text(const struct yaml *n, const char *file, const char **out, struct err *e)
{
    TRY(yaml_is(n, file, YAML_SCALAR, e));
    *out = n->text;
    return n->text[0] != '\0' ? OK : bad_value(n, file, "a word", e);
}

status yaml_i64(const struct yaml *n, const char *file, int64_t min, int64_t max, int64_t *out,
                struct err *e)
{
    TRY(yaml_is(n, file, YAML_SCALAR, e));
    if (!str_to_i64(str_of(n->text), out))
        return bad_value(n, file, "a whole number", e);
    if (*out >= min && *out <= max)
        return OK;
    return err_set(e, INVALID, "%s:%d: '%s': expected %lld to %lld, got %lld", file, n->line,
                   n->key != NULL ? n->key : "", (long long)min, (long long)max, (long long)*out);
}

status yaml_real(const struct yaml *n, const char *file, double *out, struct err *e)
{
    TRY(yaml_is(n, file, YAML_SCALAR, e));
    return str_to_double(str_of(n->text), out) ? OK : bad_value(n, file, "a number", e);
}

status yaml_bool(const struct yaml *n, const char *file, bool *out, struct err *e)
{
    static const char *const yes[] = { "true", "yes", "on", "True", "1" };
    static const char *const no[] = { "false", "no", "off", "False", "0" };
    TRY(yaml_is(n, file, YAML_SCALAR, e));
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        *out = strcmp(n->text, yes[i]) == 0;
        if (*out || strcmp(n->text, no[i]) == 0)
            return OK;
    }
    return bad_value(n, file, "true or false", e);
}
