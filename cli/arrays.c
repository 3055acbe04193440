#include "arrays.h"

#include "base/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FILE_BYTES ((size_t)16 << 30)
#define NAME_BYTES (LIMIT_NAME_BYTES + 16)

status arrays_open(const char *path, struct arena *a, struct arrays *out, struct err *e)
{
    *out = (struct arrays){ .path = path };
    TRY(file_map_open(path, FILE_BYTES, &out->map, e));
    struct str bytes = { (const char *)file_map_data(out->map), file_map_size(out->map) };
    status s = npz_read(bytes, path, a, &out->npz, e);
    if (s != OK)
        arrays_close(out);
    return s;
}

void arrays_close(struct arrays *f)
{
    if (f->map != NULL)
        file_map_unref(f->map);
    f->map = NULL;
}

int arrays_index(struct str name)
{
    int64_t n;
    if (!str_starts(name, "in") || !str_to_i64((struct str){ name.p + 2, name.n - 2 }, &n) ||
        n < 0 || n > INT32_MAX)
        return -1;
    return (int)n;
}

/* The two ways to name a level's offsets; `way` counts from 0, NULL ends. */
static const char *lod_name(struct str name, int level, int way, char *out, size_t size)
{
    int n = (int)name.n;
    if (way == 0 && level == 0)
        snprintf(out, size, "%.*s.lod", n, name.p);
    else if (way == 0)
        snprintf(out, size, "%.*s.lod%d", n, name.p, level);
    else if (way == 1)
        snprintf(out, size, "%.*s_lod%d", n, name.p, level);
    return way < 2 ? out : NULL;
}

static const struct tensor *find_lod(const struct arrays *f, struct str name, int level)
{
    char text[NAME_BYTES];
    const struct tensor *t = NULL;
    for (int way = 0; t == NULL && lod_name(name, level, way, text, sizeof(text)); way++)
        t = npz_find(&f->npz, str_of(text));
    return t;
}

bool arrays_is_lod(const struct arrays *f, struct str name)
{
    const char *mark = memmem(name.p, name.n, ".lod", 4);
    if (mark == NULL)
        mark = memmem(name.p, name.n, "_lod", 4);
    if (mark == NULL)
        return false;
    struct str base = { name.p, (size_t)(mark - name.p) };
    char text[NAME_BYTES];
    for (int level = 0; level < LOD_MAX; level++)
        for (int way = 0; lod_name(base, level, way, text, sizeof(text)); way++)
            if (str_is(name, text))
                return npz_find(&f->npz, base) != NULL;
    return false;
}

static status level_from(const struct tensor *t, struct arena *a, struct lod_level *out,
                         struct err *e)
{
    int64_t n = shape_numel(&t->shape);
    int64_t *offset = arena_try_array(a, (size_t)n, sizeof(*offset));
    if (t->dtype != DTYPE_I64 && t->dtype != DTYPE_I32)
        return err_set(e, INVALID, "offsets are %s, expected int64 or int32", dtype_name(t->dtype));
    if (offset == NULL)
        return err_set(e, NO_MEMORY, "%" PRId64 " offsets do not fit in memory", n);
    for (int64_t i = 0; i < n; i++)
        offset[i] =
            t->dtype == DTYPE_I64 ? ((const int64_t *)t->data)[i] : ((const int32_t *)t->data)[i];
    *out = (struct lod_level){ offset, n };
    return OK;
}

status arrays_get(const struct arrays *f, struct str name, struct arena *a, struct tensor *out,
                  struct err *e)
{
    const struct tensor *found = npz_find(&f->npz, name);
    if (found == NULL)
        return NOT_FOUND;
    *out = *found;
    for (int level = 0; level < LOD_MAX; level++) {
        const struct tensor *t = find_lod(f, name, level);
        if (t == NULL)
            break;
        status s = level_from(t, a, &out->lod.level[level], e);
        if (s != OK)
            return err_prefix(e, s, "%s: array '%.*s': ", f->path, STR_ARG(name));
        out->lod.levels = level + 1;
    }
    return OK;
}

static void list_names(const struct arrays *f, struct buf *out)
{
    for (int i = 0; i < f->npz.count && out->len < 200; i++)
        buf_printf(out, "%s%.*s", i > 0 ? ", " : "", STR_ARG(f->npz.array[i].name));
    if (f->npz.count == 0)
        buf_str(out, "nothing");
    buf_byte(out, '\0');
}

static status missing(const struct arrays *f, const struct port *p, int index, struct err *e)
{
    char shape[SHAPE_TEXT_MAX];
    struct buf names;
    buf_init(&names, (size_t)64 << 10);
    list_names(f, &names);
    status s = err_set(e, INVALID,
                       "%s: no array for input %d, '%s' (%s %s%s), under that name, its alias "
                       "'%s' or in%d; the file has: %s",
                       f->path, index, p->name, dtype_name(p->dtype),
                       shape_text(&p->shape, shape, sizeof(shape)), p->ragged ? ", LoD" : "",
                       p->alias, index, names.data != NULL ? (const char *)names.data : "");
    buf_deinit(&names);
    return s;
}

static status bind_one(const struct arrays *f, const struct port *p, int index, struct arena *a,
                       struct tensor *out, struct err *e)
{
    char nth[16];
    snprintf(nth, sizeof(nth), "in%d", index);
    const char *names[] = { p->name, p->alias, nth };
    status s = NOT_FOUND;
    for (size_t i = 0; i < ARRAY_LEN(names) && s == NOT_FOUND; i++)
        s = arrays_get(f, str_of(names[i]), a, out, e);
    return s == NOT_FOUND ? missing(f, p, index, e) : s;
}

status arrays_bind(const struct arrays *f, const struct port *ports, int count, struct arena *a,
                   struct tensor **out, struct err *e)
{
    *out = arena_zalloc(a, (size_t)count * sizeof(**out));
    for (int i = 0; i < count; i++)
        TRY(bind_one(f, &ports[i], i, a, &(*out)[i], e));
    return OK;
}

static bool alias_is_taken(const struct named_tensor *t, int index)
{
    for (int i = 0; i < index; i++)
        if (str_eq(t[i].alias, t[index].alias))
            return true;
    return false;
}

static int add_array(struct npz_array *to, const struct named_tensor *all, int index,
                     struct arena *a)
{
    const struct named_tensor *t = &all[index];
    int n = 0;
    char text[NAME_BYTES];
    struct str name = t->alias.n == 0 || alias_is_taken(all, index) ? t->name : t->alias;
    to[n++] = (struct npz_array){ .name = name, .tensor = t->tensor };
    for (int level = 0; level < t->tensor.lod.levels; level++) {
        const struct lod_level *l = &t->tensor.lod.level[level];
        lod_name(name, level, 0, text, sizeof(text));
        to[n++] = (struct npz_array){
            .name = str_of(arena_strndup(a, text, strlen(text))),
            .tensor = { .dtype = DTYPE_I64, .shape = SHAPE(l->count), .data = l->offset },
        };
    }
    return n;
}

status arrays_save(const char *path, const struct named_tensor *t, int count, struct err *e)
{
    struct arena a;
    struct buf bytes;
    int n = 0;
    arena_init(&a, 0);
    buf_init(&bytes, FILE_BYTES);
    struct npz_array *array = arena_zalloc(&a, (size_t)count * (1 + LOD_MAX) * sizeof(*array));
    for (int i = 0; i < count; i++)
        n += add_array(array + n, t, i, &a);
    npz_write(array, n, &bytes);
    status s = buf_check(&bytes);
    if (s == OK)
        s = file_write(path, bytes.data, bytes.len, e);
    else
        err_set(e, s, "%s: the arrays do not fit in memory", path);
    buf_deinit(&bytes);
    arena_deinit(&a);
    return s;
}
