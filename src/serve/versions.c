#include "serve/versions.h"

#include "base/file.h"
#include "base/map.h"
#include "base/str.h"
#include "exec/engines.h"
#include "import/import.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TIME_FILE    "fluid_time_file"
#define FILES_MAX    100000
#define VERSIONS_MAX 10000
#define DEPTH_MAX    8

/* ---- one version's files ---- */

/* What of a file tells that it was changed. */
struct look {
    int64_t size, mtime_ns;
    uint64_t inode, name;
};

struct walk {
    struct arena *arena;
    struct version *version;
    const char *root; /* resolved: links must not lead out of it; NULL: they may */
    int files;
};

static uint64_t hash_look(const struct look *l)
{
    return map_hash((struct str){ (const char *)l, sizeof(*l) });
}

static int64_t mtime_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static bool leads_out(const char *path, const char *root)
{
    char real[PATH_MAX];
    size_t n = strlen(root);
    if (realpath(path, real) == NULL)
        return true;
    return strncmp(real, root, n) != 0 || (real[n] != '/' && real[n] != '\0');
}

static status walk_dir(struct walk *w, const char *path, int depth, struct err *e);

/* Sums over the files, so that the order in which a directory lists them does not count. */
static status walk_file(struct walk *w, int dir, const char *path, const char *name, int depth,
                        struct err *e)
{
    struct version *v = w->version;
    const char *full = arena_printf(w->arena, "%s/%s", path, name);
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return OK; /* it was taken away just now */
    if (S_ISLNK(st.st_mode)) {
        if (w->root != NULL && leads_out(full, w->root))
            v->fault = arena_printf(w->arena, "'%s' is a link out of '%s'", full, w->root);
        if (fstatat(dir, name, &st, 0) != 0)
            return OK;
    }
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        v->fault = arena_printf(w->arena, "'%s' is neither a file nor a directory", full);
    if (v->fault != NULL)
        return OK;
    struct look l = { S_ISDIR(st.st_mode) ? 0 : st.st_size, mtime_ns(&st), st.st_ino,
                      map_hash(str_of(name)) };
    if (!str_is(str_of(name), TIME_FILE)) { /* says when, not what */
        v->print += hash_look(&l);
        v->changed_ns = l.mtime_ns > v->changed_ns ? l.mtime_ns : v->changed_ns;
    }
    return S_ISDIR(st.st_mode) ? walk_dir(w, full, depth + 1, e) : OK;
}

static status walk_dir(struct walk *w, const char *path, int depth, struct err *e)
{
    if (depth > DEPTH_MAX) {
        w->version->fault = arena_printf(w->arena, "'%s' lies too deep", path);
        return OK;
    }
    DIR *d = opendir(path);
    if (d == NULL)
        return err_set(e, IO_FAILED, "%s: %s", path, strerror(errno));
    status s = OK;
    for (struct dirent *f; s == OK && (f = readdir(d)) != NULL && w->files < FILES_MAX;) {
        if (f->d_name[0] == '.')
            continue;
        w->files++;
        s = walk_file(w, dirfd(d), path, f->d_name, depth, e);
    }
    closedir(d);
    if (w->files >= FILES_MAX)
        w->version->fault = arena_printf(w->arena, "it has more than %d files", FILES_MAX);
    return s;
}

static void set_trigger(struct version *v, struct arena *a)
{
    struct stat st;
    v->trigger = v->print;
    if (!v->in_place || stat(arena_printf(a, "%s/" TIME_FILE, v->path), &st) != 0)
        return;
    int64_t t = mtime_ns(&st);
    v->trigger = map_hash((struct str){ (const char *)&t, sizeof(t) });
    v->told = true;
}

/* ---- the two layouts ---- */

static status take_flat(const char *path, struct arena *a, struct version **out, int *count,
                        struct err *e)
{
    struct version *v = arena_zalloc(a, sizeof(*v));
    *v = (struct version){ .path = arena_strndup(a, path, strlen(path)),
                           .number = VERSION_IN_PLACE,
                           .in_place = true };
    if (file_is_dir(path)) {
        struct walk w = { .arena = a, .version = v };
        TRY(walk_dir(&w, path, 0, e));
        set_trigger(v, a);
    }
    *out = v;
    *count = 1;
    return OK;
}

static status add_path(struct version *all, const char *path, struct arena *a, struct err *e)
{
    struct version v = { .path = path, .in_place = true };
    struct walk w = { .arena = a, .version = &v };
    struct stat st;
    if (file_is_dir(path)) {
        TRY(walk_dir(&w, path, 0, e));
        set_trigger(&v, a);
    } else if (stat(path, &st) == 0) {
        v.changed_ns = mtime_ns(&st);
        v.print = v.trigger = hash_look(&(struct look){ st.st_size, v.changed_ns, st.st_ino, 0 });
    } else {
        return err_set(e, NOT_FOUND, "%s: %s", path, strerror(errno));
    }
    all->print += v.print;
    all->trigger += v.trigger;
    all->changed_ns = v.changed_ns > all->changed_ns ? v.changed_ns : all->changed_ns;
    return OK;
}

status versions_of_service(const char *const *path, int path_count, struct arena *a,
                           struct version **out, int *count, struct err *e)
{
    struct version *v = arena_zalloc(a, sizeof(*v));
    *v = (struct version){ .path = arena_strndup(a, path[0], strlen(path[0])),
                           .number = VERSION_IN_PLACE,
                           .in_place = true };
    for (int i = 0; i < path_count; i++)
        TRY(add_path(v, path[i], a, e));
    *out = v;
    *count = 1;
    return OK;
}

/* A directory of digits that is no link: a version. */
static bool is_version(DIR *d, const struct dirent *f, int64_t *number)
{
    struct stat st;
    return f->d_name[0] >= '0' && f->d_name[0] <= '9' && str_to_i64(str_of(f->d_name), number) &&
           *number > 0 && fstatat(dirfd(d), f->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISDIR(st.st_mode);
}

static int highest_first(const void *a, const void *b)
{
    int64_t x = ((const struct version *)a)->number, y = ((const struct version *)b)->number;
    return (x < y) - (x > y);
}

static struct version *grow(struct arena *a, struct version *v, int count, int *room)
{
    if (count < *room)
        return v;
    struct version *more = arena_zalloc(a, (size_t)(*room * 2 + 8) * sizeof(*v));
    if (*room > 0)
        memcpy(more, v, (size_t)*room * sizeof(*v));
    *room = *room * 2 + 8;
    return more;
}

/* 1 and 01 are the same number: the one that was found first counts. */
static int drop_doubles(struct version *v, int count)
{
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (kept == 0 || v[i].number != v[kept - 1].number)
            v[kept++] = v[i];
    return kept;
}

static void take_numbered(DIR *d, const char *path, struct arena *a, struct version **out,
                          int *count)
{
    struct version *v = NULL;
    char root[PATH_MAX];
    int room = 0, n = 0;
    if (realpath(path, root) == NULL)
        return;
    for (struct dirent *f; (f = readdir(d)) != NULL && n < VERSIONS_MAX;) {
        int64_t number;
        if (!is_version(d, f, &number))
            continue;
        v = grow(a, v, n, &room);
        v[n] =
            (struct version){ .path = arena_printf(a, "%s/%s", path, f->d_name), .number = number };
        struct walk w = { .arena = a, .version = &v[n], .root = root };
        if (walk_dir(&w, v[n].path, 0, NULL) != OK)
            continue; /* it was taken away just now */
        v[n].trigger = v[n].print;
        n++;
    }
    if (n > 1)
        qsort(v, (size_t)n, sizeof(*v), highest_first);
    *out = v;
    *count = drop_doubles(v, n);
}

status versions_find(const char *path, const char *engine, struct arena *a, struct version **out,
                     int *count, struct err *e)
{
    *out = NULL;
    *count = 0;
    if (import_detect(path) || (file_exists(path) && engines_detect(engine, path)))
        return take_flat(path, a, out, count, e);
    DIR *d = opendir(path);
    if (d == NULL)
        return err_set(e, errno == ENOENT || errno == ENOTDIR ? NOT_FOUND : IO_FAILED, "%s: %s",
                       path, errno == ENOENT ? "no such file or directory" : strerror(errno));
    take_numbered(d, path, a, out, count);
    closedir(d);
    bool foreign = *count == 0 && engines_detect(engine, path);
    return foreign ? take_flat(path, a, out, count, e) : OK;
}
