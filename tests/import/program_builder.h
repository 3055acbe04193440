/* For tests: Paddle programs written field by field, and whole small models in a directory that is
 * removed afterwards. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/file.h"
#include "codec/pb.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A block being written: variables and operators in the order of the calls. */
struct program_builder {
    struct buf block;
    struct buf op; /* the operator being written */
};

static inline void builder_init(struct program_builder *b)
{
    buf_init(&b->block, 1 << 20);
    buf_init(&b->op, 1 << 20);
}

static inline void builder_deinit(struct program_builder *b)
{
    buf_deinit(&b->block);
    buf_deinit(&b->op);
}

/* data_type: VarType.Type (5 is float32, 3 is int64). */
static inline void add_var(struct program_builder *b, const char *name, int data_type,
                           const int64_t *dim, int rank, int lod_level, int persistable)
{
    struct buf tensor, lod, type, var;
    struct buf *all[] = { &tensor, &lod, &type, &var };
    for (int i = 0; i < 4; i++)
        buf_init(all[i], 1 << 16);
    pb_put_u64(&tensor, 1, (uint64_t)data_type);
    for (int i = 0; i < rank; i++)
        pb_put_u64(&tensor, 2, (uint64_t)dim[i]);
    pb_put_bytes(&lod, 1, buf_view(&tensor));
    pb_put_u64(&lod, 2, (uint64_t)lod_level);
    pb_put_u64(&type, 1, 7);
    pb_put_bytes(&type, 3, buf_view(&lod));
    pb_put_bytes(&var, 1, str_of(name));
    pb_put_bytes(&var, 2, buf_view(&type));
    pb_put_u64(&var, 3, (uint64_t)persistable);
    pb_put_bytes(&b->block, 3, buf_view(&var));
    for (int i = 0; i < 4; i++)
        buf_deinit(all[i]);
}

#define ADD_VAR(b, name, data_type, lod_level, persistable, ...) \
    add_var(b, name, data_type, (int64_t[]){ __VA_ARGS__ },      \
            (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), lod_level, persistable)

static inline void begin_op(struct program_builder *b, const char *type)
{
    buf_clear(&b->op);
    pb_put_bytes(&b->op, 3, str_of(type));
}

/* field: 1 input, 2 output. arg may be called again for the same slot only through a new slot. */
static inline void put_slot(struct program_builder *b, uint32_t field, const char *slot,
                            const char *arg)
{
    struct buf s;
    buf_init(&s, 1 << 16);
    pb_put_bytes(&s, 1, str_of(slot));
    if (arg != NULL)
        pb_put_bytes(&s, 2, str_of(arg));
    pb_put_bytes(&b->op, field, buf_view(&s));
    buf_deinit(&s);
}

/* kind: AttrType; field: the number of its value's field. */
static inline void put_int_attr(struct program_builder *b, const char *name, int kind,
                                uint32_t field, int64_t v)
{
    struct buf a;
    buf_init(&a, 1 << 16);
    pb_put_bytes(&a, 1, str_of(name));
    pb_put_u64(&a, 2, (uint64_t)kind);
    pb_put_u64(&a, field, (uint64_t)v);
    pb_put_bytes(&b->op, 4, buf_view(&a));
    buf_deinit(&a);
}

static inline void put_str_attr(struct program_builder *b, const char *name, const char *v)
{
    struct buf a;
    buf_init(&a, 1 << 16);
    pb_put_bytes(&a, 1, str_of(name));
    pb_put_u64(&a, 2, 2);
    pb_put_bytes(&a, 5, str_of(v));
    pb_put_bytes(&b->op, 4, buf_view(&a));
    buf_deinit(&a);
}

static inline void end_op(struct program_builder *b)
{
    pb_put_bytes(&b->block, 4, buf_view(&b->op));
}

/* One input X, one output Out. */
static inline void add_op(struct program_builder *b, const char *type, const char *x,
                          const char *out)
{
    begin_op(b, type);
    put_slot(b, 1, "X", x);
    put_slot(b, 2, "Out", out);
    end_op(b);
}

static inline void add_end(struct program_builder *b, const char *type, const char *x,
                           const char *out, int col)
{
    begin_op(b, type);
    put_slot(b, 1, "X", x);
    put_slot(b, 2, "Out", out);
    put_int_attr(b, "col", 0, 3, col);
    end_op(b);
}

static inline void finish_program(struct program_builder *b, struct buf *out)
{
    buf_init(out, 1 << 20);
    pb_put_bytes(out, 1, buf_view(&b->block));
}

/* ---- directories ---- */

struct temp_dir {
    char path[64];
};

static inline void temp_dir_make(struct temp_dir *d)
{
    snprintf(d->path, sizeof(d->path), "import_test_XXXXXX");
    if (mkdtemp(d->path) == NULL) {
        perror(d->path);
        exit(1);
    }
}

static inline void temp_dir_remove(const struct temp_dir *d)
{
    char path[512];
    DIR *dir = opendir(d->path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        snprintf(path, sizeof(path), "%s/%s", d->path, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    if (dir != NULL)
        closedir(dir);
    rmdir(d->path);
}

static inline void temp_write(const struct temp_dir *d, const char *name, const void *data,
                              size_t size)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", d->path, name);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(data, 1, size, f) != size || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

/* All of a file, for as long as *map is not unref'd. */
static inline struct str read_all(const char *path, struct file_map **map)
{
    struct err e = { "" };
    if (file_map_open(path, (size_t)1 << 30, map, &e) != OK) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    return (struct str){ (const char *)file_map_data(*map), file_map_size(*map) };
}

static inline void temp_copy(const struct temp_dir *d, const char *from_dir, const char *name)
{
    char path[1024];
    struct file_map *m;
    snprintf(path, sizeof(path), "%s/%s", from_dir, name);
    struct str bytes = read_all(path, &m);
    temp_write(d, name, bytes.p, bytes.n);
    file_map_unref(m);
}
