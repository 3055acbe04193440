#include "convert/convert.h"

#include "base/file.h"
#include "base/limits.h"
#include "convert/recipe.h"
#include "import/dir.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static const struct format *const formats[] = { &convert_onnx, &convert_paddle };

static status find_format(const char *path, const struct format **out, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (formats[i]->detect(path)) {
            *out = formats[i];
            return OK;
        }
    return err_set(e, UNSUPPORTED,
                   "%s: no model that can be written anew; Paddle's programs (.pdmodel, __model__, "
                   ".json) and ONNX files can",
                   path);
}

/* ---- what lies beside the model ---- */

static const char *const beside[] = {
    "serving_server_conf.prototxt",
    "serving_server_conf.stream.prototxt",
    "serving_client_conf.prototxt",
    "serving_client_conf.stream.prototxt",
};

static status copy_file(const char *from, const char *to, struct err *e)
{
    struct file_map *m;
    TRY(file_map_open(from, LIMIT_CONFIG_BYTES, &m, e));
    status s = file_write(to, file_map_data(m), file_map_size(m), e);
    file_map_unref(m);
    return s;
}

static status copy_beside(const char *from, const char *to, struct arena *a, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(beside); i++) {
        const char *file = arena_printf(a, "%s/%s", from, beside[i]);
        if (file_exists(file))
            TRY(copy_file(file, arena_printf(a, "%s/%s", to, beside[i]), e));
    }
    return OK;
}

/* `oar serve` computes an int8 model on its integers without being told: its own oar.yml says so. Other lines of the
 * original's stay. */
static status write_own(const char *from, const char *to, precision p, struct arena *a,
                        struct err *e)
{
    const char *file = arena_printf(a, "%s/oar.yml", from), *text = "";
    if (file_exists(file)) {
        struct file_map *m;
        TRY(file_map_open(file, LIMIT_CONFIG_BYTES, &m, e));
        text = arena_strndup(a, (const char *)file_map_data(m), file_map_size(m));
        file_map_unref(m);
    }
    bool says = strncmp(text, "precision:", 10) == 0 || strstr(text, "\nprecision:") != NULL;
    if (p == PRECISION_INT8 && !says)
        text = arena_printf(a, "precision: int8\n%s", text);
    return text[0] != '\0' ? file_write(arena_printf(a, "%s/oar.yml", to), text, strlen(text), e)
                           : OK;
}

static status make_directory(const char *path, struct err *e)
{
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && file_is_dir(path)))
        return OK;
    return err_set(e, IO_FAILED, "%s: %s", path, strerror(errno));
}

static bool same_place(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* ---- the whole ---- */

static status check_recipe(const struct recipe *r, const char *path, precision p, struct err *e)
{
    if (r->weight_count > 0)
        return OK;
    return err_set(e, INVALID, "%s: %s", path,
                   p == PRECISION_INT8
                       ? "it has no convolution or product of a constant float32 weight"
                       : "it has no float32 weights that are worth halving");
}

static status convert(const struct format *f, void *state, const char *path,
                      const struct convert_options *opt, const struct convert_samples *samples,
                      struct convert_report *out, struct arena *a, struct err *e)
{
    struct recipe r;
    recipe_init(&r, a);
    TRY(f->list(state, opt->precision, &r, e));
    TRY(check_recipe(&r, path, opt->precision, e));
    if (opt->precision == PRECISION_INT8)
        TRY(recipe_calibrate(&r, path, opt, samples, e));
    const char *dir = dir_of(path, a);
    TRY(make_directory(opt->out, e));
    if (same_place(dir, opt->out))
        return err_set(e, INVALID, "%s: the model itself lies there; give another directory",
                       opt->out);
    *out = (struct convert_report){ .weights = r.weight_count, .activations = r.activation_count };
    TRY(f->write(state, opt->precision, &r, opt->out, out, e));
    TRY(copy_beside(dir, opt->out, a, e));
    return write_own(dir, opt->out, opt->precision, a, e);
}

status convert_model(const char *path, const struct convert_options *opt,
                     const struct convert_samples *samples, struct convert_report *out,
                     struct arena *a, struct err *e)
{
    const struct format *f = NULL;
    void *state = NULL;
    if (opt->precision == PRECISION_INT8 && samples->count == 0)
        return err_set(e, INVALID, "int8 wants samples to calibrate on");
    TRY(find_format(path, &f, e));
    TRY(f->open(path, a, &state, e));
    status s = convert(f, state, path, opt, samples, out, a, e);
    f->close(state);
    return s;
}
