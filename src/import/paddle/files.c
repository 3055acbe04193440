#include "import/paddle/files.h"

#include "base/file.h"
#include "base/str.h"
#include "import/dir.h"
#include "import/pir/pir.h"

#include <stdio.h>
#include <string.h>

#define PROGRAM_BLOCK_TAG 0x0a /* field 1, which is bytes */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static bool is_program(struct str name)
{
    return str_is(name, "__model__") || str_is(name, "model") || str_ends(name, ".pdmodel");
}

/* Any .json may lie beside a model: what it begins with says whether it is a program. */
static bool may_be_pir(struct str name)
{
    return str_ends(name, ".json");
}

static bool is_params(struct str name)
{
    return str_is(name, "__params__") || str_is(name, "params") || str_ends(name, ".pdiparams");
}

static bool is_encrypted(struct str name)
{
    return str_is(name, "encrypt_model");
}

/* ---- candidates ---- */

struct candidates {
    const char *first;
    const char *names; /* "a, b" */
    int count;
};

static void add_candidate(struct candidates *c, const char *name, struct arena *a)
{
    c->names = c->count == 0 ? name : arena_printf(a, "%s, %s", c->names, name);
    if (c->count++ == 0)
        c->first = name;
}

/* The files of dir, not its folders, whose names are wanted. */
static struct candidates gather(const char *dir, const struct dir_list *l,
                                bool (*wanted)(struct str), struct arena *a)
{
    struct candidates c = { 0 };
    for (int i = 0; i < l->count; i++)
        if (wanted(str_of(l->name[i])) && file_exists(arena_printf(a, "%s/%s", dir, l->name[i])))
            add_candidate(&c, l->name[i], a);
    return c;
}

static struct candidates gather_pir(const char *dir, const struct dir_list *l, struct arena *a)
{
    struct candidates c = { 0 };
    for (int i = 0; i < l->count; i++)
        if (may_be_pir(str_of(l->name[i])) &&
            pir_is_program(arena_printf(a, "%s/%s", dir, l->name[i])))
            add_candidate(&c, l->name[i], a);
    return c;
}

static bool has(const struct dir_list *l, const char *name)
{
    for (int i = 0; i < l->count; i++)
        if (strcmp(l->name[i], name) == 0)
            return true;
    return false;
}

/* Paddle's own names, also those of what lies beside a program: what is wrong with such a file is told when it is opened. */
static bool has_our_name(struct str name)
{
    return is_program(name) || is_params(name) || is_encrypted(name);
}

/* Whatever a file is called: a program begins with its first block. */
static bool begins_with_block(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return true; /* why it cannot be opened is told then */
    int first = fgetc(f);
    fclose(f);
    return first == PROGRAM_BLOCK_TAG;
}

bool paddle_detect(const char *path)
{
    if (!file_is_dir(path))
        return file_exists(path) && (has_our_name(str_of(base_name(path))) ||
                                     pir_is_program(path) || begins_with_block(path));
    struct arena a;
    struct dir_list l;
    arena_init(&a, 0);
    bool yes = dir_read(path, &a, &l, NULL) == OK &&
               (gather(path, &l, is_program, &a).count > 0 ||
                gather(path, &l, is_encrypted, &a).count > 0 || gather_pir(path, &l, &a).count > 0);
    arena_deinit(&a);
    return yes;
}

/* ---- the program ---- */

/* A folder may hold both forms of one model: then the older one, which says more (LoD). */
static status find_in_dir(const char *dir, const struct dir_list *l, struct arena *a,
                          const char **program, struct err *e)
{
    struct candidates c = gather(dir, l, is_program, a);
    if (c.count == 0)
        c = gather_pir(dir, l, a);
    if (c.count > 1)
        return err_set(e, INVALID, "%s: several programs (%s); name the one that is meant", dir,
                       c.names);
    if (c.count == 0 && has(l, "encrypt_model"))
        return err_set(e, UNSUPPORTED,
                       "%s/encrypt_model: encrypted models are not read yet; decrypt it first",
                       dir);
    if (c.count == 0)
        return err_set(e, NOT_FOUND, "%s: no program; looked for %s, there is: %s", dir,
                       PADDLE_WANTS, dir_text(l, a));
    *program = arena_printf(a, "%s/%s", dir, c.first);
    return OK;
}

static status check_named(const char *path, struct err *e)
{
    if (is_params(str_of(base_name(path))))
        return err_set(e, INVALID, "%s: this is a parameter file; name the program beside it (%s)",
                       path, PADDLE_WANTS);
    return OK;
}

/* ---- the parameters ---- */

/* The combined file that bears the program's own name: X.pdmodel and X.pdiparams, model and params.
 * NULL: none does. */
static const char *namesake(const char *program, struct arena *a)
{
    struct str s = str_of(program);
    if (str_is(s, "model"))
        return "params";
    if (str_is(s, "__model__"))
        return "__params__";
    const char *ending = str_ends(s, ".pdmodel") ? ".pdmodel" : ".json";
    if (!str_ends(s, ending))
        return NULL;
    return arena_printf(a, "%.*s.pdiparams", (int)(s.n - strlen(ending)), s.p);
}

static status find_params(const struct dir_list *l, struct paddle_files *f, struct arena *a,
                          struct err *e)
{
    const char *same = namesake(base_name(f->program), a);
    struct candidates c = gather(f->dir, l, is_params, a);
    if (same != NULL && has(l, same))
        c = (struct candidates){ same, same, 1 };
    if (c.count > 1)
        return err_set(e, INVALID,
                       "%s: several parameter files (%s), none with the program's name; keep the "
                       "one that belongs to it",
                       f->program, c.names);
    f->params = c.count == 1 ? arena_printf(a, "%s/%s", f->dir, c.first) : NULL;
    return OK;
}

status paddle_find_files(const char *path, struct arena *a, struct paddle_files *out, struct err *e)
{
    struct dir_list l;
    *out = (struct paddle_files){ .dir = dir_of(path, a), .program = path };
    TRY(dir_read(out->dir, a, &l, e));
    if (file_is_dir(path))
        TRY(find_in_dir(path, &l, a, &out->program, e));
    else
        TRY(check_named(path, e));
    return find_params(&l, out, a, e);
}
