#include "proto/predict.h"

#include "base/limits.h"
#include "codec/json.h"

#include <string.h>

/* ---- reading ---- */

/* What one member of "feed" gave for one port. */
struct piece {
    struct piece *next;
    int member; /* which one: 0 is the first */
    void *data;
    int64_t count;
    struct shape shape;
    int64_t *lod; /* offsets of "NAME.lod", or NULL */
    int64_t lod_count;
};

struct column {
    const struct predict_port *port;
    struct piece *first, *last;
    int pieces;
};

struct reader {
    struct json json;
    struct arena *arena;
    struct column *column; /* one for each port */
    int count;
    int members;
    struct err *err;
};

static status no_memory(struct err *e)
{
    return err_set(e, NO_MEMORY, "the request needs more memory than one request may take");
}

static struct column *find_column(struct reader *r, struct str key)
{
    for (int i = 0; i < r->count; i++)
        if (str_eq(key, r->column[i].port->alias) || str_eq(key, r->column[i].port->name))
            return &r->column[i];
    return NULL;
}

/* "x.lod" belongs to x, unless an input is really called so. */
static struct column *column_of(struct reader *r, struct str key, bool *is_lod)
{
    struct column *c = find_column(r, key);
    *is_lod = c == NULL && str_ends(key, ".lod");
    if (*is_lod)
        c = find_column(r, (struct str){ key.p, key.n - 4 });
    return c;
}

/* The words for a key that is no input. */
static status unknown_key(struct reader *r, struct str key)
{
    const char **known = arena_alloc(r->arena, ((size_t)r->count + 1) * sizeof(*known));
    for (int i = 0; i < r->count; i++)
        known[i] = arena_strndup(r->arena, r->column[i].port->alias.p, r->column[i].port->alias.n);
    const char *near = str_nearest(key, known, (size_t)r->count);
    if (near != NULL)
        return err_set(r->err, INVALID,
                       "feed %d: '%.*s' is no input of the model; did you mean '%s'?", r->members,
                       STR_ARG(key), near);
    return err_set(r->err, INVALID,
                   "feed %d: '%.*s' is no input of the model, whose %d input(s) begin with '%s'",
                   r->members, STR_ARG(key), r->count, r->count > 0 ? known[0] : "");
}

/* The piece of the member that is being read: "x" and "x.lod" come in any order. */
static struct piece *piece_of(struct reader *r, struct column *c)
{
    if (c->last != NULL && c->last->member == r->members)
        return c->last;
    struct piece *p = arena_zalloc(r->arena, sizeof(*p));
    p->member = r->members;
    if (c->last != NULL)
        c->last->next = p;
    else
        c->first = p;
    c->last = p;
    c->pieces++;
    return p;
}

static status take_values(struct reader *r, dtype d, void **data, int64_t *count,
                          struct shape *shape)
{
    struct json_array a = { .dtype = d, .max = json_count_numbers(&r->json), .dims = shape->dim };
    size_t bytes;
    if (__builtin_mul_overflow((size_t)a.max, dtype_size(d), &bytes))
        return no_memory(r->err);
    a.to = arena_try(r->arena, bytes + 1, 16);
    if (a.to == NULL)
        return no_memory(r->err);
    json_numbers(&r->json, &a);
    *data = a.to;
    *count = a.count;
    shape->rank = a.rank;
    return OK;
}

static status take_member_value(struct reader *r, struct str key)
{
    bool is_lod;
    struct column *c = column_of(r, key, &is_lod);
    struct shape flat;
    void *lod = NULL;
    if (c == NULL)
        return unknown_key(r, key);
    struct piece *p = piece_of(r, c);
    if (is_lod ? p->lod != NULL : p->data != NULL)
        return err_set(r->err, INVALID, "feed %d: '%.*s' stands there twice", r->members,
                       STR_ARG(key));
    if (is_lod) {
        TRY(take_values(r, DTYPE_I64, &lod, &p->lod_count, &flat));
        p->lod = lod;
    } else {
        TRY(take_values(r, c->port->dtype, &p->data, &p->count, &p->shape));
    }
    if (json_failed(&r->json))
        return err_prefix(r->err, json_end(&r->json, r->err), "feed %d: '%.*s': ", r->members,
                          STR_ARG(key));
    return OK;
}

static status take_member(struct reader *r)
{
    struct str key;
    if (r->members >= LIMIT_REQUEST_TENSORS)
        return err_set(r->err, INVALID, "feed: more than %d members", LIMIT_REQUEST_TENSORS);
    json_object(&r->json);
    while (json_key(&r->json, &key))
        TRY(take_member_value(r, key));
    r->members++;
    return OK;
}

/* A list of members, or one alone. */
static status take_feed(struct reader *r)
{
    if (json_peek(&r->json) == JSON_OBJECT)
        return take_member(r);
    json_array(&r->json);
    while (json_item(&r->json))
        TRY(take_member(r));
    return OK;
}

static status take_fetch(struct reader *r, struct infer_request *out)
{
    int64_t room = json_count_numbers(&r->json);
    if (room > LIMIT_FETCH_NAMES)
        room = LIMIT_FETCH_NAMES;
    out->fetch = arena_zalloc(r->arena, ((size_t)room + 1) * sizeof(*out->fetch));
    json_array(&r->json);
    while (json_item(&r->json)) {
        if (out->fetch_count >= room)
            return err_set(r->err, INVALID, "fetch: more than %d names", LIMIT_FETCH_NAMES);
        out->fetch[out->fetch_count++] = json_string(&r->json);
    }
    return OK;
}

/* ---- joining the members' pieces ---- */

/* Gives a piece the batch dimension where it has none, so that pieces differ in their first one alone. */
static void add_batch(const struct predict_port *port, struct piece *p)
{
    const struct shape *want = &port->shape;
    struct shape inner = { .rank = want->rank - 1 }, *s = &p->shape;
    if (want->rank < 1)
        return;
    memcpy(inner.dim, want->dim + 1, (size_t)inner.rank * sizeof(inner.dim[0]));
    if (port->ragged && s->rank + 1 == want->rank && want->dim[want->rank - 1] == 1) {
        s->dim[s->rank++] = 1; /* ids without their last dimension: the rows are there */
    } else if (s->rank + 1 == want->rank) {
        memmove(s->dim + 1, s->dim, (size_t)s->rank * sizeof(s->dim[0]));
        s->dim[0] = 1;
        s->rank++;
    } else if (s->rank == 1 && want->rank > 2 && shape_numel(&inner) == p->count) {
        *s = *want; /* an image as one flat list */
        s->dim[0] = 1;
    }
}

static status shapes_differ(const struct column *c, const struct piece *p, struct err *e)
{
    char first[SHAPE_TEXT_MAX], other[SHAPE_TEXT_MAX];
    return err_set(
        e, INVALID, "feed '%.*s': members 0 and %d have shapes %s and %s, which do not join",
        STR_ARG(c->port->alias), p->member, shape_text(&c->first->shape, first, sizeof(first)),
        shape_text(&p->shape, other, sizeof(other)));
}

static bool joins(const struct shape *a, const struct shape *b)
{
    struct shape x = *a;
    if (a->rank != b->rank || a->rank == 0)
        return false;
    x.dim[0] = b->dim[0];
    return shape_eq(&x, b);
}

static status check_pieces(struct reader *r, struct column *c)
{
    int member = 0;
    for (struct piece *p = c->first; p != NULL; p = p->next, member++) {
        if (p->member != member || p->data == NULL)
            return err_set(r->err, INVALID, "feed %d: '%.*s' is missing", member,
                           STR_ARG(c->port->alias));
        add_batch(c->port, p);
        if (c->pieces > 1 && !joins(&c->first->shape, &p->shape))
            return shapes_differ(c, p, r->err);
    }
    return member == r->members ? OK
                                : err_set(r->err, INVALID, "feed %d: '%.*s' is missing", member,
                                          STR_ARG(c->port->alias));
}

/* Rows of all pieces; their elements are copied one behind another unless there is one piece alone. */
static status join_rows(struct reader *r, const struct column *c, struct tensor *t)
{
    t->dtype = c->port->dtype;
    t->shape = c->first->shape;
    t->data = c->first->data;
    if (c->pieces == 1)
        return OK;
    int64_t count = 0;
    t->shape.dim[0] = 0;
    for (const struct piece *p = c->first; p != NULL; p = p->next) {
        t->shape.dim[0] += p->shape.dim[0];
        count += p->count;
    }
    size_t size = dtype_size(t->dtype);
    char *to = arena_try(r->arena, (size_t)count * size + 1, 16);
    if (to == NULL)
        return no_memory(r->err);
    t->data = to;
    for (const struct piece *p = c->first; p != NULL; p = p->next, to += (size_t)count * size) {
        count = p->count;
        memcpy(to, p->data, (size_t)count * size);
    }
    return OK;
}

static int64_t rows_of(const struct piece *p)
{
    return p->shape.rank > 0 ? p->shape.dim[0] : 1;
}

static status bad_lod(const struct column *c, const struct piece *p, struct err *e)
{
    return err_set(e, INVALID,
                   "feed %d: '%.*s.lod' must rise from 0 to the %lld rows of '%.*s', for example "
                   "[0, %lld] for one sequence",
                   p->member, STR_ARG(c->port->alias), (long long)rows_of(p),
                   STR_ARG(c->port->alias), (long long)rows_of(p));
}

/* Appends the sequences of one piece behind `rows` rows. */
static status add_sequences(const struct column *c, const struct piece *p, int64_t rows,
                            int64_t *offset, int64_t *count, struct err *e)
{
    if (p->lod == NULL) {
        offset[(*count)++] = rows + rows_of(p);
        return OK;
    }
    if (p->lod_count < 1 || p->lod[0] != 0 || p->lod[p->lod_count - 1] != rows_of(p))
        return bad_lod(c, p, e);
    for (int64_t i = 1; i < p->lod_count; i++) {
        if (p->lod[i] < p->lod[i - 1])
            return bad_lod(c, p, e);
        offset[(*count)++] = rows + p->lod[i];
    }
    return OK;
}

/* One level: a sequence for each piece, or those that its ".lod" says. */
static status join_lod(struct reader *r, const struct column *c, struct tensor *t)
{
    int64_t room = 1, rows = 0, count = 0;
    for (const struct piece *p = c->first; p != NULL; p = p->next)
        room += p->lod != NULL ? p->lod_count : 1;
    int64_t *offset = arena_try_array(r->arena, (size_t)room, sizeof(*offset));
    if (offset == NULL)
        return no_memory(r->err);
    offset[count++] = 0;
    for (const struct piece *p = c->first; p != NULL; p = p->next) {
        TRY(add_sequences(c, p, rows, offset, &count, r->err));
        rows += rows_of(p);
    }
    t->lod = (struct lod){ .levels = 1, .level = { { offset, count } } };
    return OK;
}

static status join_all(struct reader *r, struct infer_request *out)
{
    out->feed = arena_zalloc(r->arena, ((size_t)r->count + 1) * sizeof(*out->feed));
    for (int i = 0; i < r->count; i++) {
        struct column *c = &r->column[i];
        if (c->first == NULL)
            continue; /* whoever knows the model says what is missing */
        TRY(check_pieces(r, c));
        struct named_tensor *t = &out->feed[out->feed_count++];
        *t = (struct named_tensor){ .name = c->port->name, .alias = c->port->alias };
        TRY(join_rows(r, c, &t->tensor));
        if (c->port->ragged)
            TRY(join_lod(r, c, &t->tensor));
    }
    return OK;
}

/* ---- the message ---- */

static status take_request(struct reader *r, struct infer_request *out, bool *fed, bool *fetched)
{
    struct str key;
    json_object(&r->json);
    while (json_key(&r->json, &key)) {
        bool is_feed = str_is(key, "feed"), is_fetch = str_is(key, "fetch");
        if ((is_feed && *fed) || (is_fetch && *fetched))
            return err_set(r->err, INVALID, "'%.*s' stands there twice", STR_ARG(key));
        *fed = *fed || is_feed;
        *fetched = *fetched || is_fetch;
        if (is_feed)
            TRY(take_feed(r));
        else if (is_fetch)
            TRY(take_fetch(r, out));
        else
            json_skip(&r->json);
    }
    return err_prefix(r->err, json_end(&r->json, r->err), "the JSON body, ");
}

status predict_request_from_json(struct str text, const struct predict_ports *ports,
                                 struct arena *a, struct infer_request *out, struct err *e)
{
    struct reader r = { .arena = a, .count = ports->count, .err = e };
    bool fed = false, fetched = false;
    *out = (struct infer_request){ 0 };
    r.column = arena_zalloc(a, ((size_t)ports->count + 1) * sizeof(*r.column));
    for (int i = 0; i < ports->count; i++)
        r.column[i].port = &ports->port[i];
    json_init(&r.json, text, a);
    TRY(take_request(&r, out, &fed, &fetched));
    if (!fed || !fetched)
        return err_set(e, INVALID,
                       "'%s' is missing; expected {\"feed\": [{...}], \"fetch\": [...]}",
                       fed ? "fetch" : "feed");
    if (r.members == 0)
        return err_set(e, INVALID, "'feed' is empty; expected at least one {\"NAME\": values}");
    return join_all(&r, out);
}

/* ---- writing ---- */

/* Elements of a dtype from `at` on as nested lists by the dimensions from `level` on. */
static size_t put_nested(struct buf *out, const struct tensor *t, int level, size_t at)
{
    int rank = t->shape.rank;
    size_t size = dtype_size(t->dtype);
    int64_t n = level < rank ? t->shape.dim[level] : 1;
    if (level + 1 >= rank && rank > 0) {
        json_put_numbers(out, t->dtype, (const char *)t->data + at * size, n);
        return at + (size_t)n;
    }
    buf_byte(out, '[');
    for (int64_t i = 0; i < n && buf_check(out) == OK; i++) {
        if (i > 0)
            buf_byte(out, ',');
        at = put_nested(out, t, level + 1, at);
    }
    buf_byte(out, ']');
    return at;
}

static void put_lod(struct buf *out, const struct tensor *t)
{
    const struct lod_level *l = &t->lod.level[t->lod.levels - 1];
    json_put_numbers(out, DTYPE_I64, l->offset, l->count);
}

static void put_key(struct buf *out, const struct named_tensor *t, const char *suffix, bool first)
{
    struct str key = t->alias.n > 0 ? t->alias : t->name;
    if (!first)
        buf_byte(out, ',');
    json_put_string(out, key);
    if (suffix[0] != '\0' && out->len > 0 && buf_check(out) == OK) {
        out->len--; /* before the closing quotation mark */
        buf_str(out, suffix);
        buf_byte(out, '"');
    }
    buf_byte(out, ':');
}

static void put_tensor(struct buf *out, const struct named_tensor *t, bool first)
{
    put_key(out, t, "", first);
    if (t->tensor.shape.rank == 0)
        json_put_numbers(out, t->tensor.dtype, t->tensor.data, 1);
    else
        put_nested(out, &t->tensor, 0, 0);
    if (t->tensor.lod.levels == 0)
        return;
    put_key(out, t, ".lod", false);
    put_lod(out, &t->tensor);
}

void predict_request_to_json(const struct infer_request *r, struct buf *out)
{
    buf_str(out, "{\"feed\":[{");
    for (int i = 0; i < r->feed_count; i++)
        put_tensor(out, &r->feed[i], i == 0);
    buf_str(out, "}],\"fetch\":[");
    for (int i = 0; i < r->fetch_count; i++) {
        if (i > 0)
            buf_byte(out, ',');
        json_put_string(out, r->fetch[i]);
    }
    buf_str(out, "]}");
}

/* Whether an earlier output has the alias already: a JSON object has each key once. */
static bool is_repeated(const struct infer_reply *r, int output, int tensor)
{
    struct str alias = r->output[output].tensor[tensor].alias;
    for (int o = 0; o <= output; o++)
        for (int i = 0; i < (o < output ? r->output[o].tensor_count : tensor); i++)
            if (str_eq(alias, r->output[o].tensor[i].alias))
                return true;
    return false;
}

void predict_reply_to_json(const struct infer_reply *r, struct buf *out)
{
    bool first = true;
    buf_str(out, "{\"result\":{");
    for (int o = 0; o < r->output_count; o++)
        for (int i = 0; i < r->output[o].tensor_count; i++) {
            if (is_repeated(r, o, i))
                continue;
            put_tensor(out, &r->output[o].tensor[i], first);
            first = false;
        }
    buf_str(out, "}}");
}
