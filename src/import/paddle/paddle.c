#include "import/paddle/paddle.h"

#include "import/conf.h"
#include "import/paddle/files.h"
#include "import/paddle/lower.h"
#include "import/pir/pir.h"

#include <string.h>

/* What is only needed while importing; the arena holds the program's structs and the configuration.
 */
struct load {
    struct paddle_files files;
    struct file_map *program_map;
    struct program program;
    bool is_pir;
    struct params params;
    struct conf conf;
    struct port_names names;
    struct arena arena;
};

static status map_program(struct load *l, struct err *e)
{
    TRY(file_map_open(l->files.program, PROGRAM_BYTES_MAX, &l->program_map, e));
    l->is_pir = pir_is_program(l->files.program);
    return OK;
}

static struct str program_bytes(const struct load *l)
{
    return (struct str){ (const char *)file_map_data(l->program_map),
                         file_map_size(l->program_map) };
}

static status read_program(struct load *l, struct err *e)
{
    status s =
        (l->is_pir ? pir_decode : program_decode)(program_bytes(l), &l->arena, &l->program, e);
    return s == OK ? OK : err_prefix(e, s, "%s: ", l->files.program);
}

static status read_params(struct load *l, struct imported *out, struct err *e)
{
    struct params_source from = { l->files.dir, l->files.params };
    TRY(params_load(&from, &l->program, &out->graph->arena, &l->params, e));
    out->maps = l->params.map;
    out->map_count = l->params.map_count;
    out->param_bytes = l->params.bytes;
    out->param_count = l->params.elements;
    return OK;
}

static status lower(struct load *l, struct imported *out, struct err *e)
{
    struct lower_in in = { &l->program, &l->params, &l->conf };
    status s = lower_program(&in, out->graph, &l->names, e);
    return s == OK ? OK : err_prefix(e, s, "%s: ", l->files.program);
}

static status load(struct load *l, const char *path, struct imported *out, struct err *e)
{
    TRY(paddle_find_files(path, &l->arena, &l->files, e));
    out->program = arena_strndup(&out->graph->arena, l->files.program, strlen(l->files.program));
    TRY(map_program(l, e));
    TRY(read_program(l, e));
    TRY(conf_read(l->files.dir, &l->arena, &l->conf, e));
    TRY(read_params(l, out, e));
    TRY(lower(l, out, e));
    return ports_make(&l->names, &l->conf, l->files.program, out, e);
}

static status check(struct load *l, const char *path, struct unknown_list *unknown, struct err *e)
{
    TRY(paddle_find_files(path, &l->arena, &l->files, e));
    TRY(map_program(l, e));
    if (l->is_pir) {
        status s = pir_check(program_bytes(l), &l->arena, unknown, e);
        if (s != OK)
            return err_prefix(e, s, "%s: ", l->files.program);
    }
    if (unknown->first != NULL)
        return OK;
    TRY(read_program(l, e));
    lower_check(&l->program, unknown);
    return OK;
}

status paddle_check(const char *path, struct unknown_list *unknown, struct err *e)
{
    struct load l = { .program_map = NULL };
    arena_init(&l.arena, PROGRAM_ARENA_MAX);
    status s = check(&l, path, unknown, e);
    file_map_unref(l.program_map);
    arena_deinit(&l.arena);
    return s;
}

status paddle_load(const char *path, struct imported *out, struct err *e)
{
    struct load l = { .program_map = NULL };
    arena_init(&l.arena, PROGRAM_ARENA_MAX);
    *out = (struct imported){ .graph = graph_new(), .format = "paddle" };
    status s = load(&l, path, out, e);
    if (l.is_pir)
        out->format = "paddle pir";
    file_map_unref(l.program_map);
    arena_deinit(&l.arena);
    if (s != OK)
        import_free(out);
    return s;
}
