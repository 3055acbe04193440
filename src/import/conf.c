/* Message: GeneralModelConfig { 1 feed_var, 2 fetch_var }, each 1 name, 2 alias_name, 3
 * is_lod_tensor, 4 feed_type or fetch_type, 5 shape. */
#include "import/conf.h"

#include "base/file.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "codec/pb.h"
#include "codec/prototxt.h"

#include <stdlib.h>

#define TEXT_NAME   "serving_server_conf.prototxt"
#define BINARY_NAME "serving_server_conf.stream.prototxt"

static void add_dim(struct conf_var *v, int64_t dim)
{
    if (v->rank == 0)
        v->numel = 1;
    v->rank++;
    if (v->numel < 0 || dim < 0 || !mem_mul(v->numel, dim, &v->numel))
        v->numel = -1;
}

/* ---- text ---- */

static status read_name(const struct prototxt *f, struct str *out, const char *path, struct err *e)
{
    if (f->is_message || f->text.n == 0 || f->text.n > LIMIT_NAME_BYTES ||
        memchr(f->text.p, 0, f->text.n) != NULL)
        return err_set(e, INVALID, "%s:%d: %.*s: expected a name of 1 to %d bytes", path, f->line,
                       STR_ARG(f->name), LIMIT_NAME_BYTES);
    *out = f->text;
    return OK;
}

static status read_field(const struct prototxt *f, const char *type_field, struct conf_var *v,
                         const char *path, struct err *e)
{
    int64_t number;
    if (str_is(f->name, "name"))
        return read_name(f, &v->name, path, e);
    if (str_is(f->name, "alias_name"))
        return read_name(f, &v->alias, path, e);
    if (str_is(f->name, "is_lod_tensor")) {
        v->has_lod = true;
        return prototxt_bool(f, path, &v->lod, e);
    }
    if (str_is(f->name, type_field)) {
        TRY(prototxt_i64(f, path, &number, e));
        v->has_type = true;
        v->type = number < 0 || number > INT32_MAX ? -1 : (int32_t)number;
        return OK;
    }
    if (str_is(f->name, "shape")) {
        TRY(prototxt_i64(f, path, &number, e));
        add_dim(v, number);
        return OK;
    }
    return err_set(e, INVALID,
                   "%s:%d: unknown field '%.*s'; known are name, alias_name, is_lod_tensor, %s, "
                   "shape",
                   path, f->line, STR_ARG(f->name), type_field);
}

static status read_var(const struct prototxt *f, const char *type_field, struct conf_var *v,
                       const char *path, struct err *e)
{
    if (!f->is_message)
        return err_set(e, INVALID, "%s:%d: %.*s: expected a message in braces", path, f->line,
                       STR_ARG(f->name));
    for (const struct prototxt *c = f->child; c != NULL; c = c->next)
        TRY(read_field(c, type_field, v, path, e));
    if (v->name.n == 0)
        return err_set(e, INVALID, "%s:%d: %.*s has no name", path, f->line, STR_ARG(f->name));
    return OK;
}

static status make_arrays(struct conf *c, size_t vars, struct arena *a, struct err *e)
{
    c->feed = arena_try_array(a, vars + 1, sizeof(*c->feed));
    c->fetch = arena_try_array(a, vars + 1, sizeof(*c->fetch));
    return c->feed != NULL && c->fetch != NULL
               ? OK
               : err_set(e, NO_MEMORY, "%s: no memory for %zu variables", c->path, vars);
}

/* Names that are given are given once, and so are aliases: the default alias is the name. */
static status check_names(struct conf_var *v, int count, const char *what, const char *path,
                          struct arena *a, struct err *e)
{
    struct map names, aliases;
    map_init(&names, a);
    map_init(&aliases, a);
    for (int i = 0; i < count; i++) {
        if (v[i].alias.n == 0)
            v[i].alias = v[i].name;
        if (!map_put(&names, v[i].name, &v[i]))
            return err_set(e, CONFLICT, "%s: %s '%.*s' is listed twice", path, what,
                           STR_ARG(v[i].name));
        if (!map_put(&aliases, v[i].alias, &v[i]))
            return err_set(e, CONFLICT, "%s: alias '%.*s' stands for two variables of %s", path,
                           STR_ARG(v[i].alias), what);
    }
    return OK;
}

static status finish(struct conf *c, struct arena *a, struct err *e)
{
    if (c->fetch_count == 0)
        return err_set(e, INVALID, "%s: lists no fetch_var, so the model would answer nothing",
                       c->path);
    TRY(check_names(c->feed, c->feed_count, "feed_var", c->path, a, e));
    return check_names(c->fetch, c->fetch_count, "fetch_var", c->path, a, e);
}

status conf_parse_text(struct str text, const char *path, struct arena *a, struct conf *out,
                       struct err *e)
{
    struct prototxt *first;
    size_t vars = 0;
    *out = (struct conf){ .path = path };
    TRY(prototxt_parse(text, path, a, &first, e));
    for (const struct prototxt *f = first; f != NULL; f = f->next)
        vars++;
    TRY(make_arrays(out, vars, a, e));
    for (const struct prototxt *f = first; f != NULL; f = f->next) {
        if (str_is(f->name, "feed_var"))
            TRY(read_var(f, "feed_type", &out->feed[out->feed_count++], path, e));
        else if (str_is(f->name, "fetch_var"))
            TRY(read_var(f, "fetch_type", &out->fetch[out->fetch_count++], path, e));
        else
            return err_set(e, INVALID, "%s:%d: unknown field '%.*s'; known are feed_var, fetch_var",
                           path, f->line, STR_ARG(f->name));
    }
    return finish(out, a, e);
}

/* ---- binary ---- */

static void decode_dims(struct pb *r, struct conf_var *v)
{
    struct pb packed;
    if (r->wire != PB_BYTES) {
        add_dim(v, (int32_t)pb_varint(r));
        return;
    }
    pb_init(&packed, pb_bytes(r));
    while (pb_more(&packed))
        add_dim(v, (int32_t)pb_raw_varint(&packed));
    r->bad = r->bad || !pb_ok(&packed);
}

static status decode_var(struct str message, struct conf_var *v, const char *path, struct err *e)
{
    struct pb r;
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: v->name = pb_bytes(&r); break;
        case 2: v->alias = pb_bytes(&r); break;
        case 3:
            v->lod = pb_varint(&r) != 0;
            v->has_lod = true;
            break;
        case 4:
            v->type = (int32_t)pb_varint(&r);
            v->has_type = true;
            break;
        case 5: decode_dims(&r, v); break;
        default: pb_skip(&r);
        }
    }
    if (!pb_ok(&r) || v->name.n == 0 || v->name.n > LIMIT_NAME_BYTES ||
        v->alias.n > LIMIT_NAME_BYTES || memchr(v->name.p, 0, v->name.n) != NULL ||
        (v->alias.n > 0 && memchr(v->alias.p, 0, v->alias.n) != NULL))
        return err_set(e, CORRUPT, "%s: a variable breaks off or has no proper name", path);
    return OK;
}

static size_t count_fields(struct str bytes)
{
    struct pb r;
    size_t n = 0;
    pb_init(&r, bytes);
    for (; pb_next(&r); n++)
        pb_skip(&r);
    return n;
}

status conf_parse_binary(struct str bytes, const char *path, struct arena *a, struct conf *out,
                         struct err *e)
{
    struct pb r;
    *out = (struct conf){ .path = path };
    TRY(make_arrays(out, count_fields(bytes), a, e));
    pb_init(&r, bytes);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: TRY(decode_var(pb_bytes(&r), &out->feed[out->feed_count++], path, e)); break;
        case 2: TRY(decode_var(pb_bytes(&r), &out->fetch[out->fetch_count++], path, e)); break;
        default: pb_skip(&r);
        }
    }
    if (!pb_ok(&r))
        return err_set(e, CORRUPT, "%s: not a binary serving configuration, or a damaged one",
                       path);
    return finish(out, a, e);
}

/* ---- files ---- */

typedef status parse_fn(struct str, const char *, struct arena *, struct conf *, struct err *);

static void unmap(void *m)
{
    file_map_unref(m);
}

static status read_with(parse_fn *parse, const char *path, struct arena *a, struct conf *out,
                        struct err *e)
{
    struct file_map *m;
    TRY(file_map_open(path, LIMIT_CONFIG_BYTES, &m, e));
    arena_defer(a, unmap, m); /* names are views of it */
    return parse((struct str){ (const char *)file_map_data(m), file_map_size(m) }, path, a, out, e);
}

status conf_read(const char *dir, struct arena *a, struct conf *out, struct err *e)
{
    const char *text = arena_printf(a, "%s/" TEXT_NAME, dir);
    const char *binary = arena_printf(a, "%s/" BINARY_NAME, dir);
    *out = (struct conf){ 0 };
    if (file_exists(text))
        return read_with(conf_parse_text, text, a, out, e);
    if (file_exists(binary))
        return read_with(conf_parse_binary, binary, a, out, e);
    return OK;
}

const struct conf_var *conf_find_feed(const struct conf *c, struct str name)
{
    for (int i = 0; i < c->feed_count; i++)
        if (str_eq(c->feed[i].name, name))
            return &c->feed[i];
    return NULL;
}
