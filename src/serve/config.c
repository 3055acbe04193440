#include "serve/config.h"

#include "base/file.h"
#include "base/limits.h"
#include "codec/prototxt.h"
#include "flow/service.h"

#include <string.h>
#include <unistd.h>

#define CACHE_BYTES \
    ((size_t)64 << 20) /* where Triton's configuration only says that there is one */

struct reading {
    const char *file;
    struct arena *arena;
    struct model_config *out;
    struct err *err;
};

/* ---- ours ---- */

static status read_pad(struct reading *r, const struct yaml *n)
{
    static const char *const keys[] = { "input", "axis", "value" };
    const struct yaml *input = yaml_get(n, "input"), *axis = yaml_get(n, "axis"),
                      *value = yaml_get(n, "value");
    int64_t at = 1;
    TRY(yaml_keys(n, r->file, keys, ARRAY_LEN(keys), r->err));
    if (r->out->pad_count == BATCH_PADS_MAX || input == NULL)
        return err_set(r->err, INVALID, "%s:%d: a pad names an input; at most %d are", r->file,
                       n->line, BATCH_PADS_MAX);
    struct config_pad *p = &r->out->pad[r->out->pad_count++];
    *p = (struct config_pad){ 0 };
    TRY(yaml_text(input, r->file, &p->input, r->err));
    if (axis != NULL)
        TRY(yaml_i64(axis, r->file, 1, SHAPE_MAX - 1, &at, r->err));
    p->axis = (int)at;
    return value == NULL ? OK : yaml_real(value, r->file, &p->value, r->err);
}

static status read_trim(struct reading *r, const struct yaml *n)
{
    static const char *const keys[] = { "output", "axis", "like", "like_axis" };
    const struct yaml *output = yaml_get(n, "output"), *axis = yaml_get(n, "axis"),
                      *like = yaml_get(n, "like"), *like_axis = yaml_get(n, "like_axis");
    int64_t at = 1, of = 1;
    TRY(yaml_keys(n, r->file, keys, ARRAY_LEN(keys), r->err));
    if (r->out->trim_count == BATCH_PADS_MAX || output == NULL || like == NULL)
        return err_set(r->err, INVALID,
                       "%s:%d: a trim names an output and the input that it is 'like'", r->file,
                       n->line);
    struct config_trim *t = &r->out->trim[r->out->trim_count++];
    TRY(yaml_text(output, r->file, &t->output, r->err));
    TRY(yaml_text(like, r->file, &t->input, r->err));
    if (axis != NULL)
        TRY(yaml_i64(axis, r->file, 1, SHAPE_MAX - 1, &at, r->err));
    if (like_axis != NULL)
        TRY(yaml_i64(like_axis, r->file, 1, SHAPE_MAX - 1, &of, r->err));
    t->axis = (int)at;
    t->input_axis = (int)of;
    return OK;
}

static status read_items(struct reading *r, const struct yaml *list,
                         status (*read)(struct reading *r, const struct yaml *n))
{
    if (list == NULL)
        return OK;
    TRY(yaml_is(list, r->file, YAML_LIST, r->err));
    for (const struct yaml *n = list->child; n != NULL; n = n->next)
        TRY(read(r, n));
    return OK;
}

static status read_precision(struct reading *r, const struct yaml *n)
{
    const char *text;
    if (n == NULL)
        return OK;
    TRY(yaml_text(n, r->file, &text, r->err));
    return precision_parse(str_of(text), &r->out->precision)
               ? OK
               : err_set(r->err, INVALID, "%s:%d: precision '%s' is not one of %s", r->file,
                         n->line, text, PRECISION_CHOICES);
}

/* A name alone: a file that comes with a model must not say which code is loaded. */
static status read_engine(struct reading *r, const struct yaml *n)
{
    if (n == NULL)
        return OK;
    TRY(yaml_text(n, r->file, &r->out->engine, r->err));
    const char *slash = strchr(r->out->engine, '/'), *colon = strchr(r->out->engine, ':');
    if (slash != NULL && (colon == NULL || slash < colon))
        return err_set(r->err, INVALID,
                       "%s:%d: 'engine': expected a name; a library's path is for 'oar serve "
                       "--engine' alone",
                       r->file, n->line);
    return OK;
}

static status read_ours(struct reading *r, const struct yaml *top)
{
    static const char *const keys[] = { "version_policy", "batch",       "pad",     "trim",
                                        "engine",         "cache_bytes", "warm_up", "precision" };
    const struct yaml *policy = yaml_get(top, "version_policy"), *batch = yaml_get(top, "batch"),
                      *cache = yaml_get(top, "cache_bytes"), *warm = yaml_get(top, "warm_up");
    TRY(yaml_keys(top, r->file, keys, ARRAY_LEN(keys), r->err));
    if (policy != NULL) {
        const char *text;
        TRY(yaml_text(policy, r->file, &text, r->err));
        status s = policy_parse(str_of(text), &r->out->policy, r->err);
        if (s != OK)
            return err_prefix(r->err, s, "%s:%d: ", r->file, policy->line);
    }
    if (batch != NULL)
        TRY(batch_options_read(batch, r->file, &r->out->batch, r->err));
    if (cache != NULL) {
        int64_t bytes;
        TRY(yaml_i64(cache, r->file, 0, INT64_C(1) << 50, &bytes, r->err));
        r->out->cache_bytes = (size_t)bytes;
    }
    if (warm != NULL)
        TRY(warm_options_read(warm, r->file, r->out->dir, r->arena, &r->out->warm, r->err));
    TRY(read_precision(r, yaml_get(top, "precision")));
    TRY(read_engine(r, yaml_get(top, "engine")));
    r->out->pad_count = r->out->trim_count = 0;
    TRY(read_items(r, yaml_get(top, "pad"), read_pad));
    return read_items(r, yaml_get(top, "trim"), read_trim);
}

status config_read_ours(struct str text, const char *file, struct arena *a, struct model_config *c,
                        struct err *e)
{
    struct reading r = { file, a, c, e };
    struct yaml *top;
    TRY(yaml_parse(text, file, a, &top, e));
    return read_ours(&r, top);
}

/* ---- Triton's ---- */

/* The first item of what may be one thing or a list of such. */
static const struct yaml *first_of(const struct yaml *n)
{
    return n != NULL && n->kind == YAML_LIST ? n->child : n;
}

static const struct yaml *after(const struct yaml *list, const struct yaml *n)
{
    return list->kind == YAML_LIST ? n->next : NULL;
}

static status triton_number(struct reading *r, const struct yaml *map, const char *key, int64_t max,
                            int64_t *out)
{
    const struct yaml *n = yaml_get(map, key);
    return n == NULL ? OK : yaml_i64(n, r->file, 0, max, out, r->err);
}

static status triton_versions(struct reading *r, const struct yaml *n)
{
    static const char *const keys[] = { "latest", "all", "specific" };
    struct version_policy *p = &r->out->policy;
    const struct yaml *latest = yaml_get(n, "latest"), *specific = yaml_get(n, "specific");
    TRY(yaml_keys(n, r->file, keys, ARRAY_LEN(keys), r->err));
    *p = (struct version_policy){ .kind = POLICY_LATEST, .latest = 1 };
    if (latest != NULL) {
        int64_t count = 1;
        TRY(triton_number(r, latest, "num_versions", 1000, &count));
        p->latest = (int)(count > 0 ? count : 1);
    }
    if (yaml_get(n, "all") != NULL)
        p->kind = POLICY_ALL;
    if (specific == NULL)
        return OK;
    p->kind = POLICY_SPECIFIC;
    const struct yaml *list = yaml_get(specific, "versions");
    for (const struct yaml *v = first_of(list); v != NULL && p->version_count < POLICY_VERSIONS_MAX;
         v = after(list, v))
        TRY(yaml_i64(v, r->file, 1, INT64_MAX, &p->version[p->version_count++], r->err));
    return OK;
}

/* A map's entries, which are {key, value} in protobuf's text. */
struct entry {
    const char *key;
    const struct yaml *value;
};

static status entry_of(struct reading *r, const struct yaml *n, struct entry *out)
{
    const struct yaml *key = yaml_get(n, "key");
    *out = (struct entry){ n->key, n };
    if (n->key != NULL && key == NULL)
        return OK;
    out->value = yaml_get(n, "value");
    if (key == NULL || out->value == NULL)
        return err_set(r->err, INVALID, "%s:%d: an entry of a map has key and value", r->file,
                       n->line);
    return yaml_text(key, r->file, &out->key, r->err);
}

/* The first of a map's entries. In JSON they are one map; in protobuf's text one entry, or a list of them. */
static const struct yaml *first_entry(const struct yaml *map)
{
    return map == NULL ? NULL : yaml_get(map, "key") != NULL ? map : map->child;
}

static const struct yaml *next_entry(const struct yaml *map, const struct yaml *entry)
{
    return entry == map ? NULL : entry->next;
}

static status triton_policy(struct reading *r, const struct yaml *n, struct batch_policy *p)
{
    static const char *const keys[] = { "timeout_action", "default_timeout_microseconds",
                                        "allow_timeout_override", "max_queue_size" };
    const struct yaml *action = yaml_get(n, "timeout_action"),
                      *override = yaml_get(n, "allow_timeout_override");
    int64_t size = 0;
    *p = (struct batch_policy){ .given = true };
    TRY(yaml_keys(n, r->file, keys, ARRAY_LEN(keys), r->err));
    TRY(triton_number(r, n, "default_timeout_microseconds", INT64_C(1000000000000),
                      &p->timeout_us));
    TRY(triton_number(r, n, "max_queue_size", 1000000, &size));
    p->queue_max = (int)size;
    if (action != NULL && action->kind == YAML_SCALAR)
        p->delay_overdue = strcmp(action->text, "DELAY") == 0 || strcmp(action->text, "1") == 0;
    return override == NULL ? OK : yaml_bool(override, r->file, &p->timeout_override, r->err);
}

static status triton_queue(struct reading *r, const struct yaml *n)
{
    struct batch_options *b = &r->out->batch;
    struct batch_policy p;
    TRY(triton_policy(r, n, &p));
    p.queue_max = p.queue_max > 0 ? p.queue_max : b->all.queue_max;
    b->all = p;
    return OK;
}

static status triton_queues(struct reading *r, const struct yaml *map)
{
    for (const struct yaml *n = first_entry(map); n != NULL; n = next_entry(map, n)) {
        struct entry entry;
        int64_t level;
        TRY(entry_of(r, n, &entry));
        if (!str_to_i64(str_of(entry.key), &level) || level < 1 || level > BATCH_LEVELS_MAX)
            return err_set(r->err, INVALID, "%s:%d: priority '%s' is not from 1 to %d", r->file,
                           n->line, entry.key, BATCH_LEVELS_MAX);
        TRY(triton_policy(r, entry.value, &r->out->batch.own[level - 1]));
    }
    return OK;
}

static int processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 8 ? 8 : (int)n;
}

static status triton_batching(struct reading *r, const struct yaml *n)
{
    /* preserve_ordering: one connection's requests over one protocol are answered in their order anyway, or by their id. */
    static const char *const keys[] = { "preferred_batch_size",   "max_queue_delay_microseconds",
                                        "preserve_ordering",      "priority_levels",
                                        "default_priority_level", "default_queue_policy",
                                        "priority_queue_policy" };
    struct batch_options *b = &r->out->batch;
    int64_t levels = 0, level = 0;
    const struct yaml *queue = yaml_get(n, "default_queue_policy"),
                      *preferred = yaml_get(n, "preferred_batch_size");
    TRY(yaml_keys(n, r->file, keys, ARRAY_LEN(keys), r->err));
    TRY(triton_queues(r, yaml_get(n, "priority_queue_policy")));
    TRY(triton_number(r, n, "max_queue_delay_microseconds", 1000000000, &b->delay_us));
    TRY(triton_number(r, n, "priority_levels", BATCH_LEVELS_MAX, &levels));
    TRY(triton_number(r, n, "default_priority_level", BATCH_LEVELS_MAX, &level));
    b->levels = (int)levels;
    b->default_level = (int)level;
    b->preferred_count = 0;
    for (const struct yaml *p = first_of(preferred); p != NULL; p = after(preferred, p)) {
        int64_t rows;
        TRY(yaml_i64(p, r->file, 1, 1 << 20, &rows, r->err));
        if (!batch_prefer(b, rows))
            return err_set(r->err, INVALID, "%s:%d: more than %d sizes", r->file, p->line,
                           BATCH_PREFERRED_MAX);
    }
    if (b->threads == 0)
        b->threads = processors();
    return queue == NULL ? OK : triton_queue(r, queue);
}

static status triton_cache(struct reading *r, const struct yaml *n)
{
    const struct yaml *enable = yaml_get(n, "enable");
    bool on = false;
    if (enable != NULL)
        TRY(yaml_bool(enable, r->file, &on, r->err));
    r->out->cache_bytes = !on ? 0 : r->out->cache_bytes > 0 ? r->out->cache_bytes : CACHE_BYTES;
    return OK;
}

static status triton_instances(struct reading *r, const struct yaml *n)
{
    int64_t all = 0;
    for (const struct yaml *g = first_of(n); g != NULL; g = after(n, g)) {
        int64_t count = 1;
        TRY(triton_number(r, g, "count", 1024, &count));
        all += count;
    }
    if (r->out->batch.threads > 0 && all > 0)
        r->out->batch.threads = (int)(all < 1024 ? all : 1024);
    return OK;
}

/* ---- Triton's model_warmup: made-up requests ---- */

static status triton_sample_input(struct reading *r, const struct entry *from, int64_t batch,
                                  struct warm_input *in)
{
    static const char *const keys[] = { "data_type", "dims", "zero_data", "random_data",
                                        "input_data_file" };
    const struct yaml *dims = yaml_get(from->value, "dims"),
                      *file = yaml_get(from->value, "input_data_file");
    TRY(yaml_keys(from->value, r->file, keys, ARRAY_LEN(keys), r->err));
    in->name = from->key;
    if (batch > 0)
        in->shape.dim[in->shape.rank++] = batch;
    for (const struct yaml *d = first_of(dims); d != NULL; d = after(dims, d)) {
        if (in->shape.rank == SHAPE_MAX)
            return err_set(r->err, INVALID, "%s:%d: more than %d dimensions", r->file, d->line,
                           SHAPE_MAX);
        TRY(yaml_i64(d, r->file, 0, INT32_MAX, &in->shape.dim[in->shape.rank++], r->err));
    }
    in->fill = yaml_get(from->value, "random_data") != NULL ? WARM_RANDOM : WARM_VALUE;
    if (file == NULL)
        return OK;
    in->fill = WARM_FILE;
    return warm_path(file, r->file, arena_printf(r->arena, "%s/warmup", r->out->dir), r->arena,
                     &in->path, r->err);
}

static status triton_sample(struct reading *r, const struct yaml *n, struct warm_step *w)
{
    static const char *const keys[] = { "name", "batch_size", "inputs", "count" };
    const struct yaml *inputs = yaml_get(n, "inputs");
    int64_t batch = 0;
    TRY(yaml_keys(n, r->file, keys, ARRAY_LEN(keys), r->err));
    TRY(triton_number(r, n, "batch_size", 1 << 20, &batch));
    TRY(triton_number(r, n, "count", 1000000, &w->times));
    w->input = arena_zalloc(r->arena, WARM_INPUTS_MAX * sizeof(*w->input));
    for (const struct yaml *i = first_entry(inputs); i != NULL; i = next_entry(inputs, i)) {
        struct entry entry;
        if (w->input_count == WARM_INPUTS_MAX)
            return err_set(r->err, INVALID, "%s:%d: too many inputs", r->file, i->line);
        TRY(entry_of(r, i, &entry));
        TRY(triton_sample_input(r, &entry, batch, &w->input[w->input_count++]));
    }
    return OK;
}

static status triton_warmup(struct reading *r, const struct yaml *n)
{
    struct warm_options *o = &r->out->warm;
    o->count = 0;
    for (const struct yaml *s = first_of(n); s != NULL; s = after(n, s)) {
        if (o->count == WARM_MAX)
            return err_set(r->err, INVALID, "%s:%d: more than %d samples", r->file, s->line,
                           WARM_MAX);
        struct warm_step *w = &o->step[o->count++];
        *w = (struct warm_step){ .tolerance = -1 };
        TRY(triton_sample(r, s, w));
    }
    return OK;
}

static status triton_rows(struct reading *r, const struct yaml *n)
{
    int64_t rows;
    TRY(yaml_i64(n, r->file, 0, 1 << 20, &rows, r->err));
    r->out->batch.max_rows = rows;
    return OK;
}

static status nothing(struct reading *r, const struct yaml *n)
{
    return OK; /* means nothing here, and is no mistake */
}

struct triton_key {
    const char *name;
    status (*read)(struct reading *r, const struct yaml *n);
};

// clang-format off
/* In the order in which they are read: the threads of instance_group count where there is batching. */
static const struct triton_key triton_keys[] = {
    { "version_policy",   triton_versions },
    { "max_batch_size",   triton_rows },
    { "dynamic_batching", triton_batching },
    { "instance_group",   triton_instances },
    { "response_cache",   triton_cache },
    { "model_warmup",     triton_warmup },
    { "name", nothing }, { "platform", nothing }, { "backend", nothing }, { "runtime", nothing },
    { "input", nothing }, { "output", nothing }, { "optimization", nothing }, { "parameters", nothing },
    { "default_model_filename", nothing }, { "cc_model_filenames", nothing }, { "metric_tags", nothing },
    { "model_operations", nothing }, { "model_transaction_policy", nothing },
    { "model_repository_agents", nothing }, { "batch_input", nothing }, { "batch_output", nothing },
    { "model_metrics", nothing },
};
// clang-format on

static status read_triton(struct reading *r, const struct yaml *top)
{
    const char *known[ARRAY_LEN(triton_keys)];
    for (size_t i = 0; i < ARRAY_LEN(triton_keys); i++)
        known[i] = triton_keys[i].name;
    TRY(yaml_keys(top, r->file, known, ARRAY_LEN(known), r->err));
    for (size_t i = 0; i < ARRAY_LEN(triton_keys); i++) {
        const struct yaml *n = yaml_get(top, triton_keys[i].name);
        if (n != NULL)
            TRY(triton_keys[i].read(r, n));
    }
    return OK;
}

status config_read_json(struct str text, const char *file, struct arena *a, struct model_config *c,
                        struct err *e)
{
    struct reading r = { file, a, c, e };
    struct yaml *top; /* JSON is YAML */
    TRY(yaml_parse(text, file, a, &top, e));
    return read_triton(&r, top);
}

/* ---- protobuf text as the same tree: fields of one name become a list ---- */

static struct yaml *tree_of(const struct prototxt *first, struct arena *a, int line);

static struct yaml *value_of(const struct prototxt *n, struct arena *a)
{
    if (n->is_message)
        return tree_of(n->child, a, n->line);
    struct yaml *y = arena_zalloc(a, sizeof(*y));
    y->kind = YAML_SCALAR;
    y->text = arena_strndup(a, n->text.p, n->text.n);
    y->quoted = n->is_string;
    y->line = n->line;
    return y;
}

static bool came_before(const struct prototxt *first, const struct prototxt *n)
{
    for (const struct prototxt *p = first; p != n; p = p->next)
        if (str_eq(p->name, n->name))
            return true;
    return false;
}

static struct yaml *field_of(const struct prototxt *n, struct arena *a)
{
    struct yaml *list = arena_zalloc(a, sizeof(*list)), **tail = &list->child;
    list->kind = YAML_LIST;
    list->line = n->line;
    for (const struct prototxt *p = n; p != NULL; p = p->next)
        if (str_eq(p->name, n->name)) {
            *tail = value_of(p, a);
            tail = &(*tail)->next;
            list->count++;
        }
    struct yaml *out = list->count == 1 ? list->child : list;
    out->key = arena_strndup(a, n->name.p, n->name.n);
    return out;
}

static struct yaml *tree_of(const struct prototxt *first, struct arena *a, int line)
{
    struct yaml *map = arena_zalloc(a, sizeof(*map)), **tail = &map->child;
    map->kind = YAML_MAP;
    map->line = line;
    for (const struct prototxt *n = first; n != NULL; n = n->next) {
        if (came_before(first, n))
            continue;
        *tail = field_of(n, a);
        tail = &(*tail)->next;
        map->count++;
    }
    return map;
}

status config_read_pbtxt(struct str text, const char *file, struct arena *a, struct model_config *c,
                         struct err *e)
{
    struct reading r = { file, a, c, e };
    struct prototxt *first;
    TRY(prototxt_parse(text, file, a, &first, e));
    return read_triton(&r, tree_of(first, a, 1));
}

/* ---- files ---- */

struct config_file {
    const char *name;
    status (*read)(struct str text, const char *file, struct arena *a, struct model_config *c,
                   struct err *e);
};

static const struct config_file config_files[] = {
    { "oar.yml", config_read_ours },
    { "config.pbtxt", config_read_pbtxt },
};

status config_read_dir(const char *dir, struct arena *a, struct model_config *c, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(config_files); i++) {
        const char *path = arena_printf(a, "%s/%s", dir, config_files[i].name);
        struct file_map *m;
        if (!file_exists(path))
            continue;
        TRY(file_map_open(path, LIMIT_CONFIG_BYTES, &m, e));
        size_t n = file_map_size(m);
        const char *text = arena_strndup(a, (const char *)file_map_data(m), n);
        file_map_unref(m);
        return config_files[i].read((struct str){ text, n }, path, a, c, e);
    }
    return OK;
}

/* ---- names ---- */

static status find_port(const struct port *port, int count, const char *name, const char *what,
                        int *out, struct err *e)
{
    const char *known[64] = { NULL };
    int n = count < 64 ? count : 64;
    for (int i = 0; i < count; i++)
        if (strcmp(port[i].alias, name) == 0 || strcmp(port[i].name, name) == 0) {
            *out = i;
            return OK;
        }
    for (int i = 0; i < n; i++)
        known[i] = port[i].alias;
    const char *near = str_nearest(str_of(name), known, (size_t)n);
    return err_set(e, INVALID, "pad or trim: the model has no %s '%s'%s", what, name,
                   str_hint(near, n > 0 ? known[0] : NULL).text);
}

static status check_axis(const struct port *p, int axis, struct err *e)
{
    if (axis < p->shape.rank && p->shape.dim[axis] < 0)
        return OK;
    return err_set(e, INVALID, "pad: axis %d of '%s' is %s", axis, p->alias,
                   axis < p->shape.rank ? "not open: every request has the same" : "not there");
}

status config_resolve(const struct model_config *c, const struct model *m,
                      struct batch_options *out, struct err *e)
{
    int inputs, outputs;
    const struct port *in = model_inputs(m, &inputs), *to = model_outputs(m, &outputs);
    *out = c->batch;
    for (int i = 0; i < c->pad_count; i++) {
        struct batch_pad *p = &out->pad[out->pad_count++];
        *p = (struct batch_pad){ .axis = c->pad[i].axis, .value = c->pad[i].value };
        TRY(find_port(in, inputs, c->pad[i].input, "input", &p->input, e));
        TRY(check_axis(&in[p->input], p->axis, e));
    }
    for (int i = 0; i < c->trim_count; i++) {
        struct batch_trim *t = &out->trim[out->trim_count++];
        *t = (struct batch_trim){ .axis = c->trim[i].axis, .input_axis = c->trim[i].input_axis };
        TRY(find_port(to, outputs, c->trim[i].output, "output", &t->output, e));
        TRY(find_port(in, inputs, c->trim[i].input, "input", &t->input, e));
        if (t->input_axis >= in[t->input].shape.rank)
            return err_set(e, INVALID, "trim: '%s' has no axis %d", c->trim[i].input,
                           t->input_axis);
    }
    return OK;
}
