#include "exec/engines.h"

#include "base/file.h"
#include "base/str.h"
#include "exec/internal.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fnmatch.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <unistd.h>

#define OWN         "oar"
#define DIRS_MAX    8
#define NAMES_MAX   64   /* engines that are installed; more are not looked at */
#define ENTRIES_MAX 4096 /* of a directory */
#define STRINGS_MAX 256  /* of a table's list */

/* ---- what may be said ---- */

struct told {
    const char *name; /* or a path; NULL: nobody said */
    const char *const *setting;
};

static status read_settings(char *text, struct arena *a, struct told *out, struct err *e)
{
    size_t room = 2;
    for (const char *p = text; *p != '\0'; p++)
        room += *p == ',';
    const char **list = arena_zalloc(a, (2 * room + 1) * sizeof(*list));
    out->setting = list;
    for (char *next = text, *item; (item = strsep(&next, ",")) != NULL;) {
        char *value = strchr(item, '=');
        if (value == NULL || value == item)
            return err_set(e, INVALID, "engine '%s': expected settings as NAME=VALUE, got '%s'",
                           out->name, item);
        *value++ = '\0';
        *list++ = item;
        *list++ = value;
    }
    return OK;
}

/* "NAME", "DIR/FILE.so", each perhaps with ":NAME=VALUE,..." behind it. */
static status read_told(const char *engine, struct arena *a, struct told *out, struct err *e)
{
    static const char *const nothing[] = { NULL };
    *out = (struct told){ NULL, nothing };
    if (engine == NULL)
        return OK;
    char *name = arena_strndup(a, engine, strlen(engine));
    char *base = strrchr(name, '/'), *colon = strchr(base != NULL ? base : name, ':');
    out->name = name;
    if (name[0] == '\0' || name[0] == ':')
        return err_set(e, INVALID, "expected the name of an engine, got '%s'", engine);
    if (colon == NULL)
        return OK;
    *colon = '\0';
    return read_settings(colon + 1, a, out, e);
}

/* ---- where engines are ---- */

struct dirs {
    const char *item[DIRS_MAX];
    int count;
};

static void add_beside(struct dirs *d, struct arena *a, const char *file)
{
    const char *slash = strrchr(file, '/');
    int n = slash != NULL ? (int)(slash - file) : 0;
    if (slash == NULL)
        return;
    d->item[d->count++] = arena_printf(a, "%.*s/engines", n, file);
    d->item[d->count++] = arena_printf(a, "%.*s/../" OAR_LIBDIR "/oar/engines", n, file);
    d->item[d->count++] = arena_printf(a, "%.*s/oar/engines", n, file);
}

static void find_dirs(struct dirs *d, struct arena *a)
{
    const char *said = getenv("OAR_ENGINES");
    char exe[PATH_MAX];
    Dl_info self;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    *d = (struct dirs){ 0 };
    if (said != NULL && said[0] != '\0')
        d->item[d->count++] = said;
    if (n > 0) {
        exe[n] = '\0';
        add_beside(d, a, exe);
    }
    if (dladdr((const void *)&own_backend, &self) != 0 && self.dli_fname != NULL)
        add_beside(d, a, self.dli_fname); /* where Oar is a library in somebody's program */
}

struct names {
    const char *item[NAMES_MAX];
    int count;
};

static bool has_name(const struct names *l, const char *name)
{
    for (int i = 0; i < l->count; i++)
        if (strcmp(l->item[i], name) == 0)
            return true;
    return false;
}

static int by_text(const void *x, const void *y)
{
    return strcmp(*(char *const *)x, *(char *const *)y);
}

static void add_names(struct names *l, const char *dir, struct arena *a)
{
    DIR *d = opendir(dir);
    if (d == NULL)
        return;
    int seen = 0;
    for (struct dirent *f; l->count < NAMES_MAX && seen < ENTRIES_MAX && (f = readdir(d)) != NULL;
         seen++) {
        struct str s = str_of(f->d_name);
        if (!str_ends(s, ".so") || s.n == 3)
            continue;
        const char *name = arena_strndup(a, s.p, s.n - 3);
        if (!has_name(l, name))
            l->item[l->count++] = name;
    }
    closedir(d);
}

static void list_names(struct names *l, const struct dirs *d, struct arena *a)
{
    *l = (struct names){ 0 };
    for (int i = 0; i < d->count; i++)
        add_names(l, d->item[i], a);
    qsort(l->item, (size_t)l->count, sizeof(l->item[0]), by_text);
}

static const char *library_of(const struct dirs *d, const char *name, struct arena *a)
{
    for (int i = 0; i < d->count; i++) {
        const char *path = arena_printf(a, "%s/%s.so", d->item[i], name);
        if (file_exists(path))
            return path;
    }
    return NULL;
}

static status no_engine(const char *name, const struct dirs *d, struct arena *a, struct err *e)
{
    struct names l;
    list_names(&l, d, a);
    const char *text = OWN, *near = NULL;
    for (int i = 0; i < l.count; i++)
        text = arena_printf(a, "%s, %s", text, l.item[i]);
    if (l.count > 0)
        near = str_nearest(str_of(name), l.item, (size_t)l.count);
    return err_set(e, NOT_FOUND, "no engine '%s'%s; there are: %s", name, str_hint(near, NULL).text,
                   text);
}

/* ---- libraries ---- */

static bool is_name(const char *s)
{
    size_t n = s != NULL
                   ? strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "_-")
                   : 0;
    return n > 0 && n <= 64 && s[n] == '\0';
}

/* A list that ends, of strings that do not: what a library says about itself is taken at its word. */
static bool is_list(const char *const *list)
{
    int n = 0;
    while (list != NULL && n < STRINGS_MAX && list[n] != NULL)
        n++;
    return list != NULL && n < STRINGS_MAX;
}

static status check_table(const oar_engine *t, const char *library, struct err *e)
{
    if (t == NULL || t->abi != OAR_ENGINE_ABI)
        return err_set(e, INVALID, "%s: made for version %u of oar_engine.h, this is version %u",
                       library, t != NULL ? t->abi : 0, OAR_ENGINE_ABI);
    if (t->size < sizeof(oar_engine) || !is_name(t->name) || !is_list(t->files) ||
        !is_list(t->settings) || t->open == NULL || t->close == NULL || t->input_count == NULL ||
        t->output_count == NULL || t->input == NULL || t->output == NULL ||
        t->session_open == NULL || t->session_close == NULL || t->run == NULL)
        return err_set(e, INVALID, "%s: its table is not whole", library);
    return OK;
}

static status load(const char *library, struct engine *out, struct err *e)
{
    const oar_engine *(*entry)(void);
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        return err_set(e, INVALID, "%s", dlerror());
    *(void **)&entry = dlsym(handle, "oar_engine_entry"); /* as POSIX has it */
    const oar_engine *table = entry != NULL ? entry() : NULL;
    status s = entry != NULL ? check_table(table, library, e)
                             : err_set(e, INVALID, "%s: it exports no oar_engine_entry", library);
    if (s != OK) {
        dlclose(handle);
        return s;
    }
    *out = (struct engine){ .library = handle, .table = table };
    return OK;
}

void engines_close(struct engine *en)
{
    if (en->library != NULL)
        dlclose(en->library);
    *en = (struct engine){ 0 };
}

/* ---- files ---- */

static bool matches(const oar_engine *t, const char *pattern, const char *path)
{
    const char *slash = strrchr(path, '/');
    return fnmatch(pattern, slash != NULL ? slash + 1 : path, FNM_PERIOD) == 0 &&
           file_exists(path) && (t->knows == NULL || t->knows(path) != 0);
}

/* The first file of a directory, by name, that matches. */
static const char *find_in(const oar_engine *t, const char *pattern, const char *dir,
                           struct arena *a)
{
    const char *found = NULL;
    DIR *d = opendir(dir);
    if (d == NULL)
        return NULL;
    int seen = 0;
    for (struct dirent *f; seen < ENTRIES_MAX && (f = readdir(d)) != NULL; seen++) {
        if (fnmatch(pattern, f->d_name, FNM_PERIOD) != 0)
            continue;
        const char *path = arena_printf(a, "%s/%s", dir, f->d_name);
        if (matches(t, pattern, path) && (found == NULL || strcmp(path, found) < 0))
            found = path;
    }
    closedir(d);
    return found;
}

static const char *find_file(const oar_engine *t, const char *path, struct arena *a)
{
    const char *found = NULL;
    bool dir = file_is_dir(path);
    for (int i = 0; found == NULL && t->files[i] != NULL; i++)
        if (dir)
            found = find_in(t, t->files[i], path, a);
        else if (matches(t, t->files[i], path))
            found = arena_strndup(a, path, strlen(path));
    return found;
}

static status no_file(const oar_engine *t, const char *path, struct arena *a, struct err *e)
{
    const char *wants = t->files[0] != NULL ? t->files[0] : "nothing";
    for (int i = 1; t->files[0] != NULL && t->files[i] != NULL; i++)
        wants = arena_printf(a, "%s, %s", wants, t->files[i]);
    if (!file_exists(path) && !file_is_dir(path))
        return err_set(e, NOT_FOUND, "%s: no such file or directory", path);
    return err_set(e, NOT_FOUND, "%s: no model for engine '%s' here; it opens %s", path, t->name,
                   wants);
}

/* ---- choosing ---- */

static status check_settings(const oar_engine *t, const char *const *setting, struct err *e)
{
    size_t known = 0;
    while (t->settings[known] != NULL)
        known++;
    for (int i = 0; setting[i] != NULL; i += 2) {
        bool found = false;
        for (size_t k = 0; k < known && !found; k++)
            found = strcmp(t->settings[k], setting[i]) == 0;
        if (found)
            continue;
        const char *near = known > 0 ? str_nearest(str_of(setting[i]), t->settings, known) : NULL;
        return err_set(e, INVALID, "engine '%s' has no setting '%s'%s", t->name, setting[i],
                       str_hint(near, known > 0 ? t->settings[0] : NULL).text);
    }
    return OK;
}

static status open_told(const struct told *told, const struct dirs *d, const char *path,
                        struct arena *a, struct engine *out, struct err *e)
{
    const char *library =
        strchr(told->name, '/') != NULL ? told->name : library_of(d, told->name, a);
    if (library == NULL)
        return no_engine(told->name, d, a, e);
    TRY(load(library, out, e));
    out->setting = told->setting;
    out->file = find_file(out->table, path, a);
    status s = out->file != NULL ? check_settings(out->table, out->setting, e)
                                 : no_file(out->table, path, a, e);
    if (s != OK)
        engines_close(out);
    return s;
}

/* The first installed engine, by name, that knows a file at `path`. */
static bool open_any(const struct dirs *d, const char *path, struct arena *a, struct engine *out)
{
    struct names l;
    list_names(&l, d, a);
    for (int i = 0; i < l.count; i++) {
        const char *library = library_of(d, l.item[i], a);
        if (library == NULL || load(library, out, NULL) != OK)
            continue;
        out->file = find_file(out->table, path, a);
        if (out->file != NULL)
            return true;
        engines_close(out);
    }
    return false;
}

status engines_open(const char *engine, const char *path, struct arena *a, struct engine *out,
                    struct err *e)
{
    struct told told;
    struct dirs dirs;
    *out = (struct engine){ 0 };
    TRY(read_told(engine, a, &told, e));
    find_dirs(&dirs, a);
    if (told.name != NULL)
        return open_told(&told, &dirs, path, a, out, e);
    if (!open_any(&dirs, path, a, out))
        return err_set(e, NOT_FOUND, "%s: no engine knows a file here", path);
    out->setting = told.setting;
    return OK;
}

/* Its library stays loaded until the process ends: whoever asked is about to open the model, and comes again at each look
 * into a directory; loading and unloading some of these takes a second. */
static void stay_loaded(const struct engine *en)
{
    struct link_map *map;
    if (dlinfo(en->library, RTLD_DI_LINKMAP, &map) != 0)
        return;
    void *again = dlopen(map->l_name, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
    if (again != NULL)
        dlclose(again);
}

bool engines_detect(const char *engine, const char *path)
{
    struct arena a;
    struct engine en;
    arena_init(&a, 0);
    bool found = engines_open(engine, path, &a, &en, NULL) == OK;
    if (found) {
        stay_loaded(&en);
        engines_close(&en);
    }
    arena_deinit(&a);
    return found;
}

const struct backend *engines_backend(const char *engine, const char *path)
{
    if (engine == NULL)
        return import_detect(path) || !engines_detect(NULL, path) ? &own_backend : &plugin_backend;
    return strcmp(engine, OWN) == 0 ? &own_backend : &plugin_backend;
}
