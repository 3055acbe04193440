#include "import/paddle/params.h"

#include "base/file.h"
#include "base/limits.h"
#include "base/mem.h"
#include "codec/pb.h"

#include <stdlib.h>

#define COPY_ALIGN 64 /* a cache line, and the widest vector load */

/* One stream being read. `at` only moves forward within bytes. */
struct stream {
    struct str bytes;
    size_t at;
    const char *file;
    const struct var_desc *var;
    struct arena *arena;
    bool borrows; /* a tensor points into bytes */
    struct err *err;
};

static status damaged(struct stream *s, const char *what)
{
    return err_set(s->err, CORRUPT,
                   "%s: parameter '%.*s': %s (byte %zu of %zu); the file is damaged or belongs to "
                   "another program",
                   s->file, STR_ARG(s->var->name), what, s->at, s->bytes.n);
}

/* The next n bytes, or NULL where the file has fewer. */
static const char *take(struct stream *s, size_t n)
{
    if (n > s->bytes.n - s->at)
        return NULL;
    const char *p = s->bytes.p + s->at;
    s->at += n;
    return p;
}

static bool take_number(struct stream *s, size_t n, uint64_t *out)
{
    const char *p = take(s, n);
    *out = 0;
    if (p != NULL)
        memcpy(out, p, n); /* little-endian, as every machine that Oar runs on */
    return p != NULL;
}

#define LEVELS_MAX 16 /* a parameter has none; this only bounds the loop */

static status skip_lod(struct stream *s)
{
    uint64_t version, levels, size;
    if (!take_number(s, 4, &version) || !take_number(s, 8, &levels))
        return damaged(s, "the file ends before its header");
    if (version != 0 || levels > LEVELS_MAX)
        return damaged(s, "no parameter begins here");
    for (uint64_t i = 0; i < levels; i++)
        if (!take_number(s, 8, &size) || take(s, size) == NULL)
            return damaged(s, "its LoD runs over the end of the file");
    return OK;
}

static status add_dim(struct stream *s, struct tensor *t, uint64_t dim)
{
    if (t->shape.rank == SHAPE_MAX)
        return damaged(s, "it has more dimensions than are read");
    t->shape.dim[t->shape.rank++] = (int64_t)dim;
    return OK;
}

static status add_packed_dims(struct stream *s, struct tensor *t, struct str packed)
{
    struct pb r;
    pb_init(&r, packed);
    while (pb_more(&r))
        TRY(add_dim(s, t, pb_raw_varint(&r)));
    return pb_ok(&r) ? OK : damaged(s, "its dimensions break off");
}

/* TensorDesc: 1 data_type, 2 dims. */
static status read_desc(struct stream *s, struct str message, struct tensor *t)
{
    struct pb r;
    int32_t data_type = -1;
    pb_init(&r, message);
    while (pb_next(&r)) {
        if (r.field == 1)
            data_type = (int32_t)pb_varint(&r);
        else if (r.field != 2)
            pb_skip(&r);
        else if (r.wire == PB_BYTES)
            TRY(add_packed_dims(s, t, pb_bytes(&r)));
        else
            TRY(add_dim(s, t, pb_varint(&r)));
    }
    if (!pb_ok(&r))
        return damaged(s, "its description breaks off");
    return program_dtype(data_type, &t->dtype) ? OK : damaged(s, "its element type is unknown");
}

/* Without dimensions of 1. */
static struct shape squeezed(const struct shape *x)
{
    struct shape s = { .rank = 0 };
    for (int i = 0; i < x->rank; i++)
        if (x->dim[i] != 1)
            s.dim[s.rank++] = x->dim[i];
    return s;
}

/* The stored dimensions are the authority, but a difference means another model's file. Quantised
 * models declare scales as [1] or [8] and store them without dimensions, or as [1, 8]. */
static status check_shape(struct stream *s, const struct tensor *t)
{
    struct shape stored = squeezed(&t->shape), declared = squeezed(&s->var->shape);
    if (shape_matches(&t->shape, &s->var->shape) || shape_eq(&stored, &declared))
        return OK;
    char want[SHAPE_TEXT_MAX], got[SHAPE_TEXT_MAX];
    return err_set(s->err, CORRUPT,
                   "%s: parameter '%.*s': the program declares %s, the file holds %s; they do not "
                   "belong together",
                   s->file, STR_ARG(s->var->name), shape_text(&s->var->shape, want, sizeof(want)),
                   shape_text(&t->shape, got, sizeof(got)));
}

#define LEFT_BYTES (1 << 16)
#define LARGE      (1 << 20) /* bytes: the arena need not keep such in a chunk */

static void *copy_room(struct arena *a, size_t bytes)
{
    void *p = bytes < LARGE ? arena_try(a, bytes, COPY_ALIGN) : mem_try_aligned(bytes, COPY_ALIGN);
    if (p != NULL && bytes >= LARGE)
        arena_defer(a, mem_free, p);
    return p;
}

/* A matrix or filter that only kernels will read, most of which want it in another layout anyway. */
static bool is_left(const struct tensor *t)
{
    return t->dtype == DTYPE_F32 && t->shape.rank >= 2 && tensor_bytes(t) >= LEFT_BYTES;
}

static status read_data(struct stream *s, struct tensor *t)
{
    int64_t bytes = tensor_bytes(t);
    const char *p = bytes < 0 ? NULL : take(s, (size_t)bytes);
    if (p == NULL)
        return damaged(s, "its data runs over the end of the file");
    t->data = p;
    if (tensor_is_aligned(t) || is_left(t)) {
        s->borrows = true;
        return OK;
    }
    void *copy = copy_room(s->arena, (size_t)bytes);
    if (copy == NULL)
        return err_set(s->err, NO_MEMORY, "%s: no memory for the %lld bytes of parameter '%.*s'",
                       s->file, (long long)bytes, STR_ARG(s->var->name));
    t->data = memcpy(copy, p, (size_t)bytes);
    return OK;
}

static status read_tensor(struct stream *s, struct params *out)
{
    struct tensor *t = arena_zalloc(s->arena, sizeof(*t));
    uint64_t version, size;
    TRY(skip_lod(s));
    if (!take_number(s, 4, &version) || !take_number(s, 4, &size) || version != 0)
        return damaged(s, "no tensor begins here");
    const char *desc = size > INT32_MAX ? NULL : take(s, size);
    if (desc == NULL)
        return damaged(s, "its description runs over the end of the file");
    TRY(read_desc(s, (struct str){ desc, size }, t));
    TRY(check_shape(s, t));
    TRY(read_data(s, t));
    out->bytes += (uint64_t)tensor_bytes(t);
    out->elements += (uint64_t)shape_numel(&t->shape);
    if (!map_put(&out->by_name, s->var->name, t))
        return damaged(s, "the program declares it twice");
    return OK;
}

/* ---- which parameters there are ---- */

struct var_list {
    const struct var_desc **var;
    int count;
};

static int by_name(const void *a, const void *b)
{
    const struct str x = (*(const struct var_desc *const *)a)->name;
    const struct str y = (*(const struct var_desc *const *)b)->name;
    int order = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return order != 0 ? order : (x.n > y.n) - (x.n < y.n);
}

static void list_params(const struct program *p, struct arena *a, struct var_list *out)
{
    const struct block_desc *b = &p->block[0];
    *out = (struct var_list){ arena_zalloc(a, (size_t)(b->var_count + 1) * sizeof(*out->var)), 0 };
    for (int i = 0; i < b->var_count; i++)
        if (var_is_param(&b->var[i]))
            out->var[out->count++] = &b->var[i];
    qsort(out->var, (size_t)out->count, sizeof(*out->var), by_name);
}

static void init(struct params *out, struct arena *a)
{
    *out = (struct params){ 0 };
    map_init(&out->by_name, a);
}

/* ---- the two forms ---- */

status params_read_combined(struct str bytes, const char *file, const struct program *p,
                            struct arena *a, struct params *out, bool *borrows, struct err *e)
{
    struct var_list vars;
    list_params(p, a, &vars);
    init(out, a);
    struct stream s = { .bytes = bytes, .file = file, .arena = a, .err = e };
    for (int i = 0; i < vars.count; i++) {
        s.var = vars.var[i];
        TRY(read_tensor(&s, out));
    }
    *borrows = s.borrows;
    if (s.at != bytes.n)
        return err_set(e, CORRUPT,
                       "%s: %zu bytes are left behind the last of %d parameters; the file is "
                       "damaged or belongs to another program",
                       file, bytes.n - s.at, vars.count);
    return OK;
}

static status load_combined(const char *file, const struct program *p, struct arena *a,
                            struct params *out, struct err *e)
{
    struct file_map *m;
    bool borrows = false;
    TRY(file_map_open(file, LIMIT_MODEL_FILE_BYTES, &m, e));
    struct str bytes = { (const char *)file_map_data(m), file_map_size(m) };
    status s = params_read_combined(bytes, file, p, a, out, &borrows, e);
    if (s != OK || !borrows) { /* all was copied: the file need not stay mapped */
        file_map_unref(m);
        return s;
    }
    file_map_forget(m); /* what was copied out of it */
    out->map = arena_zalloc(a, sizeof(*out->map));
    out->map[out->map_count++] = m;
    return OK;
}

/* A variable's name is a file's name here, and may lead into a folder below, but never out. */
static status load_one(const char *dir, const struct var_desc *var, struct arena *a,
                       struct params *out, struct err *e)
{
    if (!file_stays_below(var->name))
        return err_set(e, CORRUPT, "%s: parameter '%.*s' would lie outside the directory", dir,
                       STR_ARG(var->name));
    struct file_map *m;
    const char *file = arena_printf(a, "%s/%.*s", dir, (int)var->name.n, var->name.p);
    status s = file_map_open(file, LIMIT_MODEL_FILE_BYTES, &m, e);
    if (s == NOT_FOUND)
        return err_set(e, s,
                       "%s: the file of parameter '%.*s' is missing, and there is no combined file "
                       "(looked for *.pdiparams, __params__, params)",
                       file, STR_ARG(var->name));
    TRY(s);
    struct stream r = { .bytes = { (const char *)file_map_data(m), file_map_size(m) },
                        .file = file,
                        .var = var,
                        .arena = a,
                        .err = e };
    s = read_tensor(&r, out);
    if (s == OK && r.at != r.bytes.n)
        s = damaged(&r, "more bytes follow than it needs");
    if (s == OK && r.borrows)
        out->map[out->map_count++] = m;
    else
        file_map_unref(m);
    return s;
}

static status load_scattered(const char *dir, const struct program *p, struct arena *a,
                             struct params *out, struct err *e)
{
    struct var_list vars;
    list_params(p, a, &vars);
    init(out, a);
    out->map = arena_zalloc(a, (size_t)(vars.count + 1) * sizeof(*out->map));
    for (int i = 0; i < vars.count; i++)
        TRY(load_one(dir, vars.var[i], a, out, e));
    return OK;
}

status params_load(const struct params_source *from, const struct program *p, struct arena *a,
                   struct params *out, struct err *e)
{
    *out = (struct params){ 0 };
    status s = from->file != NULL ? load_combined(from->file, p, a, out, e)
                                  : load_scattered(from->dir, p, a, out, e);
    if (s == OK)
        return OK;
    for (int i = 0; i < out->map_count; i++)
        file_map_unref(out->map[i]);
    out->map_count = 0;
    return s;
}
