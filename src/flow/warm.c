#include "flow/warm.h"

#include "base/file.h"
#include "base/limits.h"
#include "flow/build.h"
#include "flow/compare.h"
#include "flow/record.h"

#include <string.h>

/* ---- one request ---- */

static status ask(struct flow *f, const struct infer_request *r, struct exec *x, struct arena *a,
                  struct infer_reply *out, struct err *e)
{
    struct flow_call c = { .request = r, .reply = out, .arena = a, .exec = x, .err = e };
    return flow_run(f, &c);
}

/* ---- recorded ---- */

static status ask_recorded(struct flow *f, const struct warm_step *w, const struct record *was,
                           struct exec *x, struct arena *a, struct err *e)
{
    struct infer_reply got;
    TRY(ask(f, &was->request, x, a, &got, e));
    if (w->tolerance < 0)
        return OK;
    double d = compare_replies(&was->reply, &got);
    return d <= w->tolerance
               ? OK
               : err_set(e, CONFLICT, "its answer is %g from the recorded one, at most %g", d,
                         w->tolerance);
}

static status ask_records(struct flow *f, const struct warm_step *w, struct exec *x, struct err *e)
{
    struct records *file;
    struct record was;
    struct arena a;
    status s = OK;
    int64_t asked = 0, seen = 0;
    TRY(records_open(w->records, &file, e));
    arena_init(&a, LIMIT_ARENA_BYTES);
    while (s == OK && (w->most == 0 || asked < w->most)) {
        arena_reset(&a);
        s = records_next(file, &a, &was, e);
        if (s == NOT_FOUND)
            break;
        seen++;
        if (s == OK && !str_is(was.model, flow_name(f))) /* a file is of a server, not of a model */
            continue;
        asked++;
        if (s == OK)
            s = ask_recorded(f, w, &was, x, &a, e);
        if (s != OK)
            err_prefix(e, s, "request %lld of '%s': ", (long long)seen, w->records);
    }
    arena_deinit(&a);
    records_close(file);
    if (s != OK && s != NOT_FOUND)
        return s;
    return asked > 0 ? OK
                     : err_set(e, INVALID, "'%s' holds no request for '%s' among its %lld",
                               w->records, flow_name(f), (long long)seen);
}

/* ---- made up ---- */

static const struct port *find_input(const struct flow *f, const char *name)
{
    int count;
    const struct port *p = flow_inputs(f, &count);
    for (int i = 0; i < count; i++)
        if (strcmp(p[i].alias, name) == 0 || strcmp(p[i].name, name) == 0)
            return &p[i];
    return NULL;
}

/* xorshift; the same numbers each time, so that a warm-up that fails fails again. */
static double random_share(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (double)(*state >> 11) / 9007199254740992.0;
}

static void put_element(dtype d, double v, void *at)
{
    float f = (float)v;
    uint16_t half = d == DTYPE_F16 ? f32_to_f16(f) : f32_to_bf16(f);
    int64_t whole = (int64_t)v; /* little-endian: its first bytes are the narrower ones */
    const void *from = d == DTYPE_F32                      ? (void *)&f
                       : d == DTYPE_F64                    ? (void *)&v
                       : d == DTYPE_F16 || d == DTYPE_BF16 ? (void *)&half
                                                           : (void *)&whole;
    size_t size = dtype_size(d);
    memcpy(at, from, size < sizeof(whole) ? size : sizeof(whole));
}

static bool is_float(dtype d)
{
    return d == DTYPE_F32 || d == DTYPE_F64 || d == DTYPE_F16 || d == DTYPE_BF16;
}

static void fill(const struct warm_input *in, const struct tensor *t, uint8_t *to)
{
    uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
    int64_t n = shape_numel(&t->shape);
    for (int64_t i = 0; i < n; i++, to += dtype_size(t->dtype)) {
        double v = in->fill == WARM_RANDOM ? random_share(&state) : in->value;
        put_element(t->dtype,
                    in->fill == WARM_RANDOM && !is_float(t->dtype) ? (double)(v < 0.5) : v, to);
    }
}

static status read_elements(const char *path, size_t bytes, uint8_t *to, struct err *e)
{
    struct file_map *m;
    TRY(file_map_open(path, bytes, &m, e));
    bool fits = file_map_size(m) == bytes;
    if (fits)
        memcpy(to, file_map_data(m), bytes);
    status s = fits ? OK
                    : err_set(e, INVALID, "'%s' has %zu bytes, the input %zu", path,
                              file_map_size(m), bytes);
    file_map_unref(m);
    return s;
}

static status make_tensor(const struct flow *f, const struct warm_input *in, struct arena *a,
                          struct named_tensor *out, struct err *e)
{
    const struct port *p = find_input(f, in->name);
    if (p == NULL)
        return err_set(e, INVALID, "the model has no input '%s'", in->name);
    struct tensor *t = &out->tensor;
    *out = (struct named_tensor){ str_of(p->name), str_of(p->alias), { .dtype = p->dtype } };
    t->shape = in->shape;
    int64_t bytes = tensor_bytes(t);
    uint8_t *data = bytes >= 0 ? arena_try(a, (size_t)bytes + 8, 64) : NULL;
    if (data == NULL)
        return err_set(e, TOO_LARGE, "input '%s' is larger than a request may be", in->name);
    t->data = data;
    if (p->ragged && t->shape.rank > 0) {
        int64_t *all = arena_alloc(a, 2 * sizeof(*all));
        all[0] = 0;
        all[1] = t->shape.dim[0];
        t->lod.levels = 1;
        t->lod.level[0] = in->lod.count > 0 ? in->lod : (struct lod_level){ all, 2 };
    }
    if (in->fill == WARM_FILE)
        return read_elements(in->path, (size_t)bytes, data, e);
    fill(in, t, data);
    return OK;
}

static status ask_made_up(struct flow *f, const struct warm_step *w, struct exec *x, struct err *e)
{
    struct named_tensor feed[WARM_INPUTS_MAX];
    struct infer_request r = { .feed = feed, .feed_count = w->input_count };
    struct infer_reply got;
    struct arena a;
    status s = OK;
    arena_init(&a, LIMIT_ARENA_BYTES);
    for (int i = 0; i < w->input_count && s == OK; i++)
        s = make_tensor(f, &w->input[i], &a, &feed[i], e);
    for (int64_t i = 0; s == OK && i < (w->times > 0 ? w->times : 1); i++)
        s = ask(f, &r, x, &a, &got, e);
    arena_deinit(&a);
    return s == OK ? OK : err_prefix(e, s, "a made-up request: ");
}

/* ---- all of it ---- */

static void forget_counts(struct flow *f)
{
    struct batch_counters *c = &f->counters;
    atomic_uint_fast64_t *all[] = { &f->good,
                                    &f->bad,
                                    &c->requests,
                                    &c->batches,
                                    &c->rows,
                                    &c->alone,
                                    &c->refused,
                                    &c->overdue,
                                    &c->elements,
                                    &c->padding,
                                    &f->cache_counters.hits,
                                    &f->cache_counters.misses };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        atomic_store(all[i], 0);
}

status flow_warm(struct flow *f, const struct warm_options *o, struct err *e)
{
    struct exec *x = exec_new();
    status s = OK;
    for (int i = 0; i < o->count && s == OK; i++)
        s = o->step[i].records != NULL ? ask_records(f, &o->step[i], x, e)
                                       : ask_made_up(f, &o->step[i], x, e);
    exec_free(x);
    forget_counts(f);
    return s == OK ? OK : err_prefix(e, s, "warming up: ");
}
