#include "serve/manifest.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/str.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define MANIFEST  "SHA256SUMS"
#define HEX       64
#define LINES_MAX 100000

/* "HEX  NAME" or "HEX *NAME"; false: it is no such line, or the name leads elsewhere. */
static bool read_line(struct str line, struct str *hex, struct str *name)
{
    if (line.n < HEX + 3 || line.p[HEX] != ' ' ||
        (line.p[HEX + 1] != ' ' && line.p[HEX + 1] != '*'))
        return false;
    *hex = (struct str){ line.p, HEX };
    *name = (struct str){ line.p + HEX + 2, line.n - HEX - 2 };
    return file_stays_below(*name);
}

static status sum_of(const char *path, char out[HEX + 1], struct err *e)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    char bytes[65536];
    FILE *f = fopen(path, "rb");
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool fine = f != NULL && c != NULL && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1;
    for (size_t got; fine && (got = fread(bytes, 1, sizeof(bytes), f)) > 0;)
        fine = EVP_DigestUpdate(c, bytes, got) == 1;
    fine = fine && ferror(f) == 0 && EVP_DigestFinal_ex(c, sum, &n) == 1 && n == HEX / 2;
    EVP_MD_CTX_free(c);
    if (f != NULL)
        fclose(f);
    for (unsigned int i = 0; fine && i < n; i++)
        snprintf(out + (size_t)2 * i, 3, "%02x", sum[i]);
    return fine ? OK : err_set(e, IO_FAILED, "%s: it cannot be read", path);
}

static status check_line(const char *dir, struct str line, bool sums, struct arena *a,
                         struct err *e)
{
    struct str hex, name;
    char sum[HEX + 1];
    if (!read_line(line, &hex, &name))
        return err_set(e, CORRUPT, "%s/" MANIFEST ": '%.*s' is no line of sha256sum", dir,
                       STR_ARG(line));
    const char *path = arena_printf(a, "%s/%.*s", dir, (int)name.n, name.p);
    if (!file_exists(path))
        return err_set(e, BUSY, "waiting for '%.*s', which " MANIFEST " promises", STR_ARG(name));
    if (!sums)
        return OK;
    TRY(sum_of(path, sum, e));
    return str_eq_nocase(hex, str_of(sum))
               ? OK
               : err_set(e, CORRUPT, "%s: it is not what " MANIFEST " promises", path);
}

static status check_lines(const char *dir, struct str text, bool sums, struct err *e)
{
    struct arena a;
    struct str line;
    status s = OK;
    arena_init(&a, 0);
    for (int i = 0; text.n > 0 && s == OK && i < LINES_MAX; i++) {
        str_cut(&text, '\n', &line);
        if (line.n > 0)
            s = check_line(dir, line, sums, &a, e);
    }
    arena_deinit(&a);
    return s;
}

status manifest_check(const char *dir, bool *has, struct err *e)
{
    struct arena a;
    struct file_map *m;
    arena_init(&a, 0);
    const char *path = arena_printf(&a, "%s/" MANIFEST, dir);
    *has = file_exists(path);
    status s = *has ? file_map_open(path, LIMIT_CONFIG_BYTES, &m, e) : OK;
    if (*has && s == OK) {
        const char *copy = arena_strndup(&a, (const char *)file_map_data(m), file_map_size(m));
        struct str text = { copy, file_map_size(m) };
        file_map_unref(m);
        s = check_lines(dir, text, false, e); /* whether all are there is cheap to know */
        if (s == OK)
            s = check_lines(dir, text, true, e);
    }
    arena_deinit(&a);
    return s;
}
