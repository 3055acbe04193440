#include "import/import.h"

#include "import/dir.h"
#include "import/half.h"
#include "import/onnx/onnx.h"
#include "import/paddle/files.h"
#include "import/paddle/paddle.h"

#include <stdlib.h>

struct format {
    const char *wants; /* the files that it looks for, for the words */
    bool (*detect)(const char *path);
    status (*load)(const char *path, struct imported *out, struct err *e);
    status (*check)(const char *path, struct unknown_list *unknown, struct err *e);
};

// clang-format off
static const struct format formats[] = {
    { ONNX_WANTS, onnx_detect, onnx_load, onnx_check },
    { PADDLE_WANTS, paddle_detect, paddle_load, paddle_check },
};
// clang-format on

static status nothing_found(const char *path, struct err *e)
{
    struct arena a;
    struct dir_list l;
    if (file_exists(path))
        return err_set(e, CORRUPT, "%s: not a Paddle program, nor an ONNX model by its name", path);
    if (!file_is_dir(path))
        return err_set(e, NOT_FOUND, "%s: no such file or directory", path);
    arena_init(&a, 0);
    const char *wants = formats[0].wants;
    for (size_t i = 1; i < ARRAY_LEN(formats); i++)
        wants = arena_printf(&a, "%s; %s", wants, formats[i].wants);
    status s = dir_read(path, &a, &l, e);
    if (s == OK)
        s = err_set(e, NOT_FOUND, "%s: no model here; looked for %s, there is: %s", path, wants,
                    dir_text(&l, &a));
    arena_deinit(&a);
    return s;
}

bool import_detect(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (formats[i].detect(path))
            return true;
    return false;
}

void import_forget(const struct imported *m)
{
    for (int i = 0; i < m->map_count; i++)
        file_map_forget(m->maps[i]);
}

status import_detach(struct imported *m, struct err *e)
{
    for (int i = 0; i < m->map_count; i++)
        TRY(file_map_detach(m->maps[i], e));
    return OK;
}

static status load(const struct format *f, const char *path, struct imported *out, struct err *e)
{
    TRY(f->load(path, out, e));
    status s = half_widen(out->graph, e);
    if (s != OK) {
        import_free(out);
        return err_prefix(e, s, "%s: ", path);
    }
    return OK;
}

status import_model(const char *path, struct imported *out, struct err *e)
{
    *out = (struct imported){ 0 };
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (formats[i].detect(path))
            return load(&formats[i], path, out, e);
    return nothing_found(path, e);
}

status import_check(const char *path, struct unknown_list *unknown, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (formats[i].detect(path))
            return formats[i].check(path, unknown, e);
    return nothing_found(path, e);
}

void import_free(struct imported *m)
{
    for (int i = 0; i < m->map_count; i++)
        file_map_unref(m->maps[i]);
    if (m->graph != NULL)
        graph_free(m->graph);
    *m = (struct imported){ 0 };
}
