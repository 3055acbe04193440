#include "serve/staging.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES_MAX 512
#define FILES_MAX      4096
#define PARTS_MAX      8

static bool is_part(struct str part)
{
    if (part.n == 0 || part.n > 255 || part.p[0] == '.')
        return false;
    for (size_t i = 0; i < part.n; i++)
        if ((unsigned char)part.p[i] < ' ' || part.p[i] == '\\' || part.p[i] == 0x7f)
            return false;
    return str_is_utf8(part);
}

static status check_path(struct str path, struct err *e)
{
    struct str rest = path, part;
    int parts = 0;
    bool fine = path.n > 0 && path.n <= PATH_BYTES_MAX;
    for (bool more = true; fine && more && parts <= PARTS_MAX; parts++) {
        more = str_cut(&rest, '/', &part);
        fine = is_part(part);
    }
    if (fine && parts <= PARTS_MAX)
        return OK;
    return err_set(e, INVALID,
                   "file '%.*s': expected a path within the model's directory such as "
                   "'1/model.onnx': no part may be empty or begin with a dot",
                   STR_ARG(path));
}

static status make_parents(char *full, size_t root, struct err *e)
{
    for (char *slash = strchr(full + root + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool made = mkdir(full, 0700) == 0 || errno == EEXIST;
        *slash = '/';
        if (!made)
            return err_set(e, IO_FAILED, "%s: %s", full, strerror(errno));
    }
    return OK;
}

static status write_file(const char *path, struct str bytes, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set(e, errno == EEXIST ? INVALID : IO_FAILED, "%s: %s", path, strerror(errno));
    status s = OK;
    while (s == OK && bytes.n > 0) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno != EINTR)
            s = err_set(e, IO_FAILED, "%s: %s", path, strerror(errno));
        bytes.p += n > 0 ? n : 0;
        bytes.n -= n > 0 ? (size_t)n : 0;
    }
    close(fd);
    return s;
}

static status write_one(const char *root, const struct inline_file *f, struct arena *a,
                        struct err *e)
{
    char *full = arena_printf(a, "%s/%.*s", root, (int)f->path.n, f->path.p);
    TRY(make_parents(full, strlen(root), e));
    return write_file(full, f->bytes, e);
}

status staging_write(const struct inline_file *file, int count, struct arena *a, const char **dir,
                     struct err *e)
{
    const char *tmp = getenv("TMPDIR");
    if (count > FILES_MAX)
        return err_set(e, TOO_LARGE, "%d files came, at most %d may", count, FILES_MAX);
    for (int i = 0; i < count; i++)
        TRY(check_path(file[i].path, e));
    char *root = arena_printf(a, "%s/oar-load-XXXXXX", tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
    if (mkdtemp(root) == NULL)
        return err_set(e, IO_FAILED, "%s: %s", root, strerror(errno));
    status s = OK;
    for (int i = 0; s == OK && i < count; i++)
        s = write_one(root, &file[i], a, e);
    if (s != OK)
        staging_remove(root);
    *dir = root;
    return s;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

void staging_remove(const char *dir)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
