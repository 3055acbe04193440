#include "import/onnx/onnx.h"

#include "base/str.h"
#include "import/conf.h"
#include "import/dir.h"
#include "import/onnx/lower.h"

/* What is only needed while importing. */
struct load {
    const char *file, *dir;
    struct onnx_model model;
    struct onnx_tensors tensors;
    struct conf conf;
    struct port_names names;
    struct arena arena;
};

/* The one .onnx file of a directory, model.onnx before others; NULL: none, or several. */
static const char *find_file(const char *dir, struct arena *a, const char **names)
{
    struct dir_list l;
    const char *found = NULL;
    int count = 0;
    *names = "";
    if (dir_read(dir, a, &l, NULL) != OK)
        return NULL;
    for (int i = 0; i < l.count; i++) {
        if (!str_ends(str_of(l.name[i]), ".onnx"))
            continue;
        found = arena_printf(a, "%s/%s", dir, l.name[i]);
        *names = arena_printf(a, "%s%s%s", *names, count++ > 0 ? ", " : "", l.name[i]);
        if (str_is(str_of(l.name[i]), "model.onnx"))
            return found;
    }
    return count == 1 ? found : NULL;
}

bool onnx_detect(const char *path)
{
    if (!file_is_dir(path))
        return file_exists(path) && str_ends(str_of(path), ".onnx");
    struct arena a;
    const char *names;
    arena_init(&a, 0);
    bool yes = find_file(path, &a, &names) != NULL || names[0] != '\0';
    arena_deinit(&a);
    return yes;
}

status onnx_find_file(const char *path, struct arena *a, const char **out, struct err *e)
{
    const char *names;
    *out = path;
    if (!file_is_dir(path))
        return OK;
    *out = find_file(path, a, &names);
    return *out != NULL ? OK
                        : err_set(e, INVALID, "%s: several models (%s); name the one that is meant",
                                  path, names);
}

static status find(struct load *l, const char *path, struct err *e)
{
    l->dir = dir_of(path, &l->arena);
    return onnx_find_file(path, &l->arena, &l->file, e);
}

static status read_model(struct load *l, struct imported *out, struct err *e)
{
    struct file_map *map;
    TRY(file_map_open(l->file, ONNX_BYTES_MAX, &map, e));
    out->maps = arena_zalloc(&out->graph->arena, sizeof(*out->maps));
    out->maps[0] = map;
    out->map_count = 1;
    l->tensors = (struct onnx_tensors){ .dir = l->dir, .arena = &out->graph->arena };
    struct str bytes = { (const char *)file_map_data(map), file_map_size(map) };
    TRY(onnx_decode(bytes, &l->arena, &l->model, e));
    return onnx_lower(&l->model, &l->tensors, out->graph, &l->names, e);
}

/* The mappings of files beside the model follow its own. */
static void take_maps(struct load *l, struct imported *out)
{
    int count = out->map_count + l->tensors.map_count;
    struct file_map **maps = arena_zalloc(&out->graph->arena, ((size_t)count + 1) * sizeof(*maps));
    for (int i = 0; i < count; i++)
        maps[i] = i < out->map_count ? out->maps[i] : l->tensors.map[i - out->map_count];
    out->maps = maps;
    out->map_count = count;
    out->param_bytes = l->tensors.bytes;
    out->param_count = l->tensors.elements;
}

static status load(struct load *l, const char *path, struct imported *out, struct err *e)
{
    TRY(find(l, path, e));
    status s = read_model(l, out, e);
    take_maps(l, out);
    if (s != OK)
        return err_prefix(e, s, "%s: ", l->file);
    TRY(conf_read(l->dir, &l->arena, &l->conf, e));
    return ports_make(&l->names, &l->conf, l->file, out, e);
}

static status check(struct load *l, const char *path, struct unknown_list *unknown, struct err *e)
{
    struct file_map *map;
    TRY(find(l, path, e));
    TRY(file_map_open(l->file, ONNX_BYTES_MAX, &map, e));
    struct str bytes = { (const char *)file_map_data(map), file_map_size(map) };
    status s = onnx_decode(bytes, &l->arena, &l->model, e);
    if (s == OK)
        onnx_find_unknown(&l->model, unknown);
    else
        err_prefix(e, s, "%s: ", l->file);
    file_map_unref(map);
    return s;
}

/* Notes the operators that nobody translates. */
status onnx_check(const char *path, struct unknown_list *unknown, struct err *e)
{
    struct load l = { .file = NULL };
    arena_init(&l.arena, ONNX_ARENA_MAX);
    status s = check(&l, path, unknown, e);
    arena_deinit(&l.arena);
    return s;
}

status onnx_load(const char *path, struct imported *out, struct err *e)
{
    struct load l = { .file = NULL };
    arena_init(&l.arena, ONNX_ARENA_MAX);
    *out = (struct imported){ .graph = graph_new(), .format = "onnx" };
    status s = load(&l, path, out, e);
    arena_deinit(&l.arena);
    if (s != OK)
        import_free(out);
    return s;
}
