#include "serve/fetcher.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEPTH_MAX 16

extern char **environ;

struct fetcher {
    struct fetcher_options options;
    struct source *source;
    char *stamp; /* of the done file when the local model was fetched; NULL: never */
};

status fetcher_open(const struct fetcher_options *opt, struct fetcher **out, struct err *e)
{
    struct source *s;
    TRY(source_open(&opt->source, &s, e));
    struct fetcher *f = mem_zalloc(sizeof(*f));
    f->options = *opt;
    if (f->options.timestamp_file == NULL)
        f->options.timestamp_file = "fluid_time_file";
    if (f->options.tmp == NULL)
        f->options.tmp = "_serving_monitor_tmp";
    f->source = s;
    *out = f;
    return OK;
}

void fetcher_close(struct fetcher *f)
{
    source_close(f->source);
    mem_free(f->stamp);
    mem_free(f);
}

/* ---- fetching ---- */

static status make_dir(const char *path, struct err *e)
{
    return mkdir(path, 0777) == 0 || errno == EEXIST
               ? OK
               : err_set(e, IO_FAILED, "%s: %s", path, strerror(errno));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* What source_list said of a directory. */
struct listed {
    const char *remote;
    struct source_file *file;
    int count;
};

static status list(struct fetcher *f, const char *remote, struct arena *a, struct listed *out,
                   struct err *e)
{
    out->remote = remote;
    return source_list(f->source, remote, a, &out->file, &out->count, e);
}

static status fetch_tree(struct fetcher *f, const struct listed *l, const char *local, int depth,
                         struct arena *a, struct err *e)
{
    if (depth > DEPTH_MAX)
        return err_set(e, INVALID, "%s lies too deep", l->remote);
    TRY(make_dir(local, e));
    for (int i = 0; i < l->count; i++) {
        const char *from = arena_printf(a, "%s/%s", l->remote, l->file[i].name);
        const char *to = arena_printf(a, "%s/%s", local, l->file[i].name);
        struct listed below;
        if (l->file[i].is_dir)
            TRY(list(f, from, a, &below, e));
        TRY(l->file[i].is_dir ? fetch_tree(f, &below, to, depth + 1, a, e)
                              : source_fetch(f->source, from, to, e));
    }
    return OK;
}

/* tar itself keeps what it unpacks below the directory. */
static status unpack(const char *tar, const char *dir, struct err *e)
{
    const char *argv[] = { "tar", "--no-same-owner", "--no-same-permissions", "-xf", tar, "-C", dir,
                           NULL };
    pid_t pid;
    int how = 0;
    int code = posix_spawnp(&pid, "tar", NULL, NULL, (char *const *)argv, environ);
    if (code != 0)
        return err_set(e, IO_FAILED, "tar: %s", strerror(code));
    while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(how) && WEXITSTATUS(how) == 0
               ? OK
               : err_set(e, CORRUPT, "%s: tar could not unpack it", tar);
}

static status fetch_tar(struct fetcher *f, const char *remote, const char *tmp, const char **model,
                        struct arena *a, struct err *e)
{
    const char *tar = arena_printf(a, "%s/.archive", tmp);
    TRY(source_fetch(f->source, remote, tar, e));
    status s = unpack(tar, tmp, e);
    unlink(tar);
    TRY(s);
    *model = arena_printf(a, "%s/%s", tmp, f->options.unpacked);
    return file_is_dir(*model)
               ? OK
               : err_set(e, NOT_FOUND, "the archive holds no directory '%s'", f->options.unpacked);
}

/* A directory, or, where it cannot be listed, a file that becomes a directory of one. */
static status fetch_model(struct fetcher *f, const char *tmp, const char **model, struct arena *a,
                          struct err *e)
{
    const char *remote = arena_printf(a, "%s/%s", f->options.remote_path, f->options.remote_model);
    if (f->options.unpacked != NULL)
        return fetch_tar(f, remote, tmp, model, a, e);
    *model = arena_printf(a, "%s/%s", tmp, f->options.remote_model);
    struct listed l;
    status s = list(f, remote, a, &l, e);
    if (s == OK)
        return fetch_tree(f, &l, *model, 0, a, e);
    if (s != UNSUPPORTED && s != NOT_FOUND)
        return s;
    TRY(make_dir(*model, e));
    return source_fetch(f->source, remote,
                        arena_printf(a, "%s/%s", *model, f->options.remote_model), e);
}

/* ---- in its place ---- */

static status touch(const char *path, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    bool fine = fd >= 0 && futimens(fd, NULL) == 0;
    if (fd >= 0)
        close(fd);
    return fine ? OK : err_set(e, IO_FAILED, "%s: %s", path, strerror(errno));
}

/* The whole directory changes at once: a server that starts or looks meanwhile sees the old one or the new one. */
static status install(const struct fetcher *f, const char *model, struct arena *a, struct err *e)
{
    const char *local = arena_printf(a, "%s/%s", f->options.local_path, f->options.local_model);
    TRY(touch(arena_printf(a, "%s/%s", model, f->options.timestamp_file), e));
    int code = file_is_dir(local) ? renameat2(AT_FDCWD, model, AT_FDCWD, local, RENAME_EXCHANGE)
                                  : rename(model, local);
    if (code != 0)
        return err_set(e, IO_FAILED, "%s: %s", local, strerror(errno));
    return touch(arena_printf(a, "%s/%s", local, f->options.timestamp_file), e);
}

static status fetch(struct fetcher *f, struct arena *a, struct err *e)
{
    const char *tmp = arena_printf(a, "%s/%s", f->options.local_path, f->options.tmp), *model;
    TRY(make_dir(f->options.local_path, e));
    remove_tree(tmp);
    TRY(make_dir(tmp, e));
    status s = fetch_model(f, tmp, &model, a, e);
    if (s == OK)
        s = install(f, model, a, e);
    remove_tree(tmp);
    return s;
}

status fetcher_look(struct fetcher *f, bool *fetched, struct err *e)
{
    struct arena a;
    const char *stamp, *after;
    *fetched = false;
    arena_init(&a, 0);
    const char *done =
        arena_printf(&a, "%s/%s", f->options.remote_path, f->options.remote_donefile);
    status s = source_stamp(f->source, done, &a, &stamp, e);
    bool is_new = s == OK && (f->stamp == NULL || strcmp(stamp, f->stamp) != 0);
    if (is_new) {
        s = fetch(f, &a, e);
        /* Written again meanwhile: what was fetched may be half of each, and the next look fetches it again. */
        bool same = s == OK && source_stamp(f->source, done, &a, &after, NULL) == OK &&
                    strcmp(stamp, after) == 0;
        mem_free(f->stamp);
        f->stamp = same ? mem_strdup(stamp) : NULL;
        *fetched = s == OK;
    }
    arena_deinit(&a);
    return s == NOT_FOUND && !is_new ? OK : s;
}
