#include "flow/warm.h"

#include "base/file.h"

#include <string.h>

struct reading {
    const char *file, *dir;
    struct arena *arena;
    struct err *err;
};

/* ---- files ---- */

/* A configuration may come with a model from anywhere: what it names lies beside it. */
status warm_path(const struct yaml *n, const char *file, const char *dir, struct arena *a,
                 const char **out, struct err *e)
{
    const char *name;
    TRY(yaml_text(n, file, &name, e));
    if (!file_stays_below(str_of(name)))
        return err_set(e, INVALID, "%s:%d: '%s' does not lie beside the configuration", file,
                       n->line, name);
    *out = arena_printf(a, "%s/%s", dir, name);
    return OK;
}

/* ---- inputs ---- */

static status read_shape(struct reading *r, const struct yaml *n, struct shape *out)
{
    TRY(yaml_is(n, r->file, YAML_LIST, r->err));
    if (n->count > SHAPE_MAX)
        return err_set(r->err, INVALID, "%s:%d: more than %d dimensions", r->file, n->line,
                       SHAPE_MAX);
    out->rank = 0;
    for (const struct yaml *d = n->child; d != NULL; d = d->next)
        TRY(yaml_i64(d, r->file, 0, INT32_MAX, &out->dim[out->rank++], r->err));
    return OK;
}

static status read_lod(struct reading *r, const struct yaml *n, struct lod_level *out)
{
    TRY(yaml_is(n, r->file, YAML_LIST, r->err));
    int64_t *offset = arena_zalloc(r->arena, ((size_t)n->count + 1) * sizeof(*offset));
    *out = (struct lod_level){ offset, n->count };
    for (const struct yaml *d = n->child; d != NULL; d = d->next)
        TRY(yaml_i64(d, r->file, 0, INT32_MAX, offset++, r->err));
    return OK;
}

static status read_fill(struct reading *r, const struct yaml *n, struct warm_input *in)
{
    if (n == NULL)
        return OK;
    if (n->kind == YAML_SCALAR &&
        (strcmp(n->text, "random") == 0 || strcmp(n->text, "zero") == 0)) {
        in->fill = n->text[0] == 'r' ? WARM_RANDOM : WARM_VALUE;
        in->value = 0;
        return OK;
    }
    in->fill = WARM_VALUE;
    return yaml_real(n, r->file, &in->value, r->err);
}

static status read_input(struct reading *r, const struct yaml *n, struct warm_input *in)
{
    static const char *const keys[] = { "shape", "lod", "fill", "file" };
    const struct yaml *shape = yaml_get(n, "shape"), *lod = yaml_get(n, "lod"),
                      *file = yaml_get(n, "file");
    in->name = n->key;
    if (n->kind == YAML_LIST)
        return read_shape(r, n, &in->shape);
    TRY(yaml_keys(n, r->file, keys, ARRAY_LEN(keys), r->err));
    if (shape == NULL)
        return err_set(r->err, INVALID, "%s:%d: input '%s' has no shape", r->file, n->line, n->key);
    TRY(read_shape(r, shape, &in->shape));
    if (lod != NULL)
        TRY(read_lod(r, lod, &in->lod));
    TRY(read_fill(r, yaml_get(n, "fill"), in));
    if (file == NULL)
        return OK;
    in->fill = WARM_FILE;
    return warm_path(file, r->file, r->dir, r->arena, &in->path, r->err);
}

/* ---- steps ---- */

static status read_made_up(struct reading *r, const struct yaml *n, struct warm_step *w)
{
    const struct yaml *inputs = yaml_get(n, "inputs"), *times = yaml_get(n, "times");
    TRY(yaml_is(inputs, r->file, YAML_MAP, r->err));
    if (inputs->count > WARM_INPUTS_MAX)
        return err_set(r->err, INVALID, "%s:%d: more than %d inputs", r->file, inputs->line,
                       WARM_INPUTS_MAX);
    w->input = arena_zalloc(r->arena, ((size_t)inputs->count + 1) * sizeof(*w->input));
    for (const struct yaml *in = inputs->child; in != NULL; in = in->next) {
        struct warm_input *to = &w->input[w->input_count++];
        TRY(read_fill(r, yaml_get(n, "fill"), to));
        TRY(read_input(r, in, to));
    }
    return times == NULL ? OK : yaml_i64(times, r->file, 1, 1000000, &w->times, r->err);
}

static status read_recorded(struct reading *r, const struct yaml *n, struct warm_step *w)
{
    const struct yaml *most = yaml_get(n, "requests"), *tolerance = yaml_get(n, "tolerance");
    TRY(warm_path(yaml_get(n, "records"), r->file, r->dir, r->arena, &w->records, r->err));
    if (most != NULL)
        TRY(yaml_i64(most, r->file, 1, INT32_MAX, &w->most, r->err));
    return tolerance == NULL ? OK : yaml_real(tolerance, r->file, &w->tolerance, r->err);
}

static status read_step(struct reading *r, const struct yaml *n, struct warm_options *o)
{
    static const char *const recorded[] = { "records", "requests", "tolerance" };
    static const char *const made_up[] = { "inputs", "fill", "times" };
    if (o->count == WARM_MAX)
        return err_set(r->err, INVALID, "%s:%d: more than %d steps", r->file, n->line, WARM_MAX);
    struct warm_step *w = &o->step[o->count++];
    *w = (struct warm_step){ .tolerance = -1 };
    TRY(yaml_is(n, r->file, YAML_MAP, r->err));
    bool from_file = yaml_get(n, "records") != NULL;
    if (!from_file && yaml_get(n, "inputs") == NULL)
        return err_set(r->err, INVALID, "%s:%d: a step of warm_up has 'records' or 'inputs'",
                       r->file, n->line);
    TRY(yaml_keys(n, r->file, from_file ? recorded : made_up, 3, r->err));
    return from_file ? read_recorded(r, n, w) : read_made_up(r, n, w);
}

status warm_options_read(const struct yaml *n, const char *file, const char *dir, struct arena *a,
                         struct warm_options *o, struct err *e)
{
    struct reading r = { file, dir, a, e };
    o->count = 0;
    if (n->kind != YAML_LIST)
        return read_step(&r, n, o);
    for (const struct yaml *step = n->child; step != NULL; step = step->next)
        TRY(read_step(&r, step, o));
    return OK;
}
