/* Reading gathers each port's rows over all members of "feed" in one growing array, so that a batch in one member is
 * parsed where it stays and many small members cost no more than their text. */
#include "proto/predict.h"

#include "base/limits.h"
#include "base/mem.h"
#include "codec/json.h"
#include "proto/general_check.h"

#include <stdio.h>
#include <string.h>

/* ---- reading ---- */

struct int_list {
    int64_t *at;
    int64_t count;
};

/* What has been gathered for one port. */
struct feed {
    const struct call_port *port;
    int members; /* of "feed" that gave it so far */
    uint8_t *data;
    int64_t count, room; /* elements */
    int64_t rows;
    struct shape tail; /* of one row */
    int levels;
    struct int_list lod[LOD_MAX];
    /* Of the present member: */
    int64_t new_rows;
    struct json_array own_lod; /* "x.lod"; to is NULL: none */
};

struct reading {
    struct json j;
    struct arena *arena;
    const struct call_ports *ports;
    struct feed *feed;   /* one a port */
    struct feed **given; /* those that the first member has */
    int given_count;
    int members;
    int lods;       /* ".lod" members whose value was not met yet */
    int next;       /* the port that likely comes next: members repeat one order */
    char what[128]; /* "feed 2: 'x'" */
};

static void tell_which(struct reading *r, struct str key)
{
    int n = key.n < 64 ? (int)key.n : 64;
    snprintf(r->what, sizeof(r->what), "feed %d: '%.*s'", r->members, n, key.p);
}

/* A fault of the JSON itself, behind what is being read. */
static status json_fault(struct reading *r, struct err *e)
{
    status s = json_end(&r->j, e);
    return err_prefix(e, s, "%s: ", r->what);
}

static struct feed *find_by(struct reading *r, struct str key, bool alias)
{
    for (int i = 0; i < r->ports->count; i++) {
        int at = (r->next + i) % r->ports->count;
        const struct call_port *p = &r->ports->port[at];
        if (!str_eq(key, alias ? p->alias : p->name))
            continue;
        r->next = at + 1;
        return &r->feed[at];
    }
    return NULL;
}

static struct feed *find_port(struct reading *r, struct str key)
{
    struct feed *f = find_by(r, key, true);
    return f != NULL ? f : find_by(r, key, false);
}

/* Room for n more elements behind those of f. */
static status make_room(struct reading *r, struct feed *f, int64_t n, struct err *e)
{
    size_t size = dtype_size(f->port->dtype), bytes;
    int64_t room = f->room * 2;
    if (f->data != NULL && n <= f->room - f->count)
        return OK;
    if (room - f->count < n)
        room = f->count + n;
    if (!mem_mul((size_t)room, size, &bytes))
        return general_no_memory(e);
    uint8_t *data = arena_try(r->arena, bytes, 64);
    if (data == NULL)
        return general_no_memory(e);
    if (f->data != NULL)
        memcpy(data, f->data, (size_t)f->count * size);
    f->data = data;
    f->room = room;
    return OK;
}

/* A shape without its first dimension. */
static struct shape tail_of(const struct shape *s)
{
    struct shape tail = { .rank = s->rank > 0 ? s->rank - 1 : 0 };
    memcpy(tail.dim, s->dim + 1, (size_t)tail.rank * sizeof(tail.dim[0]));
    return tail;
}

/* A sequence of single numbers may come without the dimension of 1 that the port ends with. */
static bool ragged_rows(const struct shape *value, const struct shape *port, int64_t *rows,
                        struct shape *tail)
{
    struct shape want = tail_of(port);
    if (shape_eq(value, &want)) { /* one row of a known length */
        *rows = 1;
        *tail = *value;
        return true;
    }
    if (value->rank != port->rank && value->rank != port->rank - 1)
        return false;
    *rows = value->dim[0];
    *tail = tail_of(value);
    if (value->rank < port->rank)
        tail->dim[tail->rank++] = 1;
    return true;
}

static bool dense_rows(const struct shape *value, const struct shape *port, int64_t *rows,
                       struct shape *tail)
{
    struct shape want = tail_of(port);
    if (value->rank == 1 && port->rank > 2 && shape_numel(&want) == value->dim[0]) {
        *tail = want; /* an image as one flat list */
        return true;
    }
    if (value->rank == port->rank) {
        *rows = value->dim[0];
        *tail = tail_of(value);
        return true;
    }
    *tail = *value;
    return value->rank == port->rank - 1;
}

/* How many rows a value is and of which shape; false when it is of no fitting rank. */
static bool split_rows(const struct call_port *p, const struct shape *value, int64_t *rows,
                       struct shape *tail)
{
    *rows = 1;
    if (value->rank > 0)
        return p->ragged ? ragged_rows(value, &p->shape, rows, tail)
                         : dense_rows(value, &p->shape, rows, tail);
    *tail = tail_of(&p->shape); /* one number: a row of one */
    for (int i = 0; i < tail->rank; i++)
        tail->dim[i] = 1;
    return true;
}

static status wrong_shape(struct reading *r, const struct feed *f, const struct shape *value,
                          struct err *e)
{
    char got[SHAPE_TEXT_MAX], want[SHAPE_TEXT_MAX];
    return err_set(e, INVALID,
                   "%s: a value of shape %s does not fit the model's %s, whose first dimension "
                   "counts %s",
                   r->what, shape_text(value, got, sizeof(got)),
                   shape_text(&f->port->shape, want, sizeof(want)),
                   f->port->ragged ? "the rows of all sequences" : "the batch and may be left out");
}

static status add_rows(struct reading *r, struct feed *f, const struct shape *value, struct err *e)
{
    char here[SHAPE_TEXT_MAX], before[SHAPE_TEXT_MAX];
    struct shape tail, want = tail_of(&f->port->shape);
    if (!split_rows(f->port, value, &f->new_rows, &tail) || !shape_matches(&tail, &want))
        return wrong_shape(r, f, value, e);
    if (f->members > 0 && !shape_eq(&tail, &f->tail))
        return err_set(e, INVALID, "%s: rows of shape %s, those before are %s", r->what,
                       shape_text(&tail, here, sizeof(here)),
                       shape_text(&f->tail, before, sizeof(before)));
    f->tail = tail;
    return OK;
}

static status take_numbers(struct reading *r, struct feed *f, struct err *e)
{
    struct shape value = { 0 };
    TRY(make_room(r, f, json_count_numbers(&r->j), e));
    struct json_array a = { .dtype = f->port->dtype, .max = f->room - f->count, .dims = value.dim };
    a.to = f->data + (size_t)f->count * dtype_size(a.dtype);
    json_numbers(&r->j, &a);
    if (json_failed(&r->j))
        return json_fault(r, e);
    value.rank = a.rank;
    TRY(add_rows(r, f, &value, e));
    f->count += a.count;
    return OK;
}

/* Strings stand one after another, each ended by a NUL. */
static status take_string(struct reading *r, struct feed *f, struct err *e)
{
    struct str s = json_string(&r->j);
    if (json_failed(&r->j))
        return json_fault(r, e);
    TRY(make_room(r, f, (int64_t)s.n + 1, e));
    memcpy(f->data + f->count, s.p, s.n);
    f->data[f->count + (int64_t)s.n] = '\0';
    f->count += (int64_t)s.n + 1;
    f->new_rows++;
    return OK;
}

static status take_strings(struct reading *r, struct feed *f, struct err *e)
{
    f->new_rows = 0;
    if (json_peek(&r->j) == JSON_STRING)
        return take_string(r, f, e);
    json_array(&r->j);
    while (json_item(&r->j))
        TRY(take_string(r, f, e));
    return json_failed(&r->j) ? json_fault(r, e) : OK;
}

static status take_value(struct reading *r, struct feed *f, struct str key, struct err *e)
{
    tell_which(r, key);
    if (f->members > r->members)
        return err_set(e, INVALID, "%s is given twice", r->what);
    if (f->members < r->members)
        return err_set(e, INVALID, "%s is not in the feeds before; all must have the same names",
                       r->what);
    TRY(f->port->dtype == DTYPE_BYTES ? take_strings(r, f, e) : take_numbers(r, f, e));
    if (r->members == 0)
        r->given[r->given_count++] = f;
    f->members++;
    return OK;
}

static status take_lod(struct reading *r, struct feed *f, struct str key, struct err *e)
{
    struct json_array *a = &f->own_lod;
    tell_which(r, key);
    if (!f->port->ragged || f->port->dtype == DTYPE_BYTES)
        return err_set(e, INVALID, "%s: the model's input is not ragged", r->what);
    *a = (struct json_array){ .dtype = DTYPE_I64, .max = json_count_numbers(&r->j) };
    a->to = arena_try_array(r->arena, (size_t)a->max, sizeof(int64_t));
    if (a->to == NULL)
        return general_no_memory(e);
    json_numbers(&r->j, a);
    r->lods++;
    return json_failed(&r->j) ? json_fault(r, e) : OK;
}

static status unknown_name(struct reading *r, struct str key, struct err *e)
{
    const struct call_ports *p = r->ports;
    const char *candidates[64];
    size_t n = 0;
    for (int i = 0; i < p->count && n < ARRAY_LEN(candidates); i++) {
        struct str name = p->port[i].alias.n > 0 ? p->port[i].alias : p->port[i].name;
        candidates[n++] = arena_strndup(r->arena, name.p, name.n);
    }
    const char *near = str_nearest(key, candidates, n);
    tell_which(r, key);
    return err_set(e, INVALID, "%s is no input of the model%s", r->what,
                   str_hint(near, n > 0 ? candidates[0] : NULL).text);
}

static status take_member(struct reading *r, struct str key, struct err *e)
{
    struct feed *f = find_port(r, key);
    if (f != NULL)
        return take_value(r, f, key, e);
    f = str_ends(key, ".lod") ? find_port(r, (struct str){ key.p, key.n - 4 }) : NULL;
    return f != NULL ? take_lod(r, f, key, e) : unknown_name(r, key, e);
}

static status add_offset(struct reading *r, struct int_list *l, int64_t v, struct err *e)
{
    int64_t *grown = general_grow(r->arena, l->at, l->count, sizeof(*grown));
    if (grown == NULL)
        return general_no_memory(e);
    l->at = grown;
    grown[l->count++] = v;
    return OK;
}

/* The present member's sequences behind those before. */
static status join_lod(struct reading *r, struct feed *f, const struct lod *lod, struct err *e)
{
    if (f->members > 1 && f->levels != lod->levels)
        return err_set(e, INVALID, "%s: %d levels of lod, before %d", r->what, lod->levels,
                       f->levels);
    f->levels = lod->levels;
    for (int i = 0; i < lod->levels; i++) {
        struct int_list *l = &f->lod[i];
        if (l->count == 0)
            TRY(add_offset(r, l, 0, e));
        int64_t base = l->at[l->count - 1];
        for (int64_t k = 1; k < lod->level[i].count; k++)
            TRY(add_offset(r, l, base + lod->level[i].offset[k], e));
    }
    return OK;
}

static status end_ragged(struct reading *r, struct feed *f, struct err *e)
{
    int64_t whole[2] = { 0, f->new_rows };
    struct lod lod = { 1, { { whole, 2 } } }; /* one sequence, unless its lod says otherwise */
    if (f->own_lod.to != NULL) {
        TRY(general_split_lod(f->own_lod.to, f->own_lod.count, r->what, &lod, e));
        if (lod.levels == 0)
            return err_set(e, INVALID, "%s: an empty lod", r->what);
        TRY(lod_check(&lod, f->new_rows, r->what, e));
        r->lods--;
    }
    f->own_lod.to = NULL;
    return join_lod(r, f, &lod, e);
}

/* A member of "feed" is whole: it must have given what the others gave. */
static status end_member(struct reading *r, struct err *e)
{
    if (r->given_count == 0)
        return err_set(e, INVALID, "feed %d gives no input", r->members);
    for (int i = 0; i < r->given_count; i++) {
        struct feed *f = r->given[i];
        tell_which(r, f->port->alias.n > 0 ? f->port->alias : f->port->name);
        if (f->members == r->members)
            return err_set(e, INVALID, "%s is missing; all feeds must have the same names",
                           r->what);
        if (f->port->ragged && f->port->dtype != DTYPE_BYTES)
            TRY(end_ragged(r, f, e));
        f->rows += f->new_rows;
    }
    if (r->lods != 0)
        return err_set(e, INVALID, "feed %d: a lod is given twice or without its values",
                       r->members);
    r->members++;
    return OK;
}

static status take_row(struct reading *r, struct err *e)
{
    struct str key;
    json_object(&r->j);
    while (json_key(&r->j, &key))
        TRY(take_member(r, key, e));
    if (json_failed(&r->j)) {
        snprintf(r->what, sizeof(r->what), "feed %d", r->members);
        return json_fault(r, e);
    }
    return end_member(r, e);
}

/* A list of objects; one alone may stand without the list. */
static status take_feed(struct reading *r, struct err *e)
{
    if (r->members > 0)
        return err_set(e, INVALID, "\"feed\" is given twice");
    if (json_peek(&r->j) == JSON_OBJECT)
        return take_row(r, e);
    json_array(&r->j);
    while (json_item(&r->j))
        TRY(take_row(r, e));
    return OK;
}

static status take_fetch(struct reading *r, struct infer_request *out, struct err *e)
{
    json_array(&r->j);
    while (json_item(&r->j)) {
        int n = out->fetch_count;
        if (n >= LIMIT_FETCH_NAMES)
            return err_set(e, INVALID, "fetch: more than %d names", LIMIT_FETCH_NAMES);
        struct str *grown = general_grow(r->arena, out->fetch, n, sizeof(*grown));
        if (grown == NULL)
            return general_no_memory(e);
        out->fetch = grown;
        grown[n] = json_string(&r->j);
        TRY(general_name_check(grown[n], "fetch", e));
        out->fetch_count++;
    }
    return OK;
}

static status take_all(struct reading *r, struct infer_request *out, struct err *e)
{
    struct str key;
    json_object(&r->j);
    while (json_key(&r->j, &key)) {
        if (json_peek(&r->j) == JSON_NULL)
            json_null(&r->j);
        else if (str_is(key, "feed"))
            TRY(take_feed(r, e));
        else if (str_is(key, "fetch"))
            TRY(take_fetch(r, out, e));
        else
            json_skip(&r->j);
    }
    return err_prefix(e, json_end(&r->j, e), "the JSON body, ");
}

static struct named_tensor tensor_of(const struct feed *f)
{
    struct named_tensor n = { .name = f->port->name, .alias = f->port->alias };
    struct tensor *t = &n.tensor;
    bool bytes = f->port->dtype == DTYPE_BYTES;
    t->dtype = f->port->dtype;
    t->data = f->data != NULL ? (const void *)f->data : "";
    t->shape = (struct shape){ .rank = bytes ? 1 : f->tail.rank + 1 };
    t->shape.dim[0] = bytes ? f->count : f->rows;
    if (!bytes)
        memcpy(t->shape.dim + 1, f->tail.dim, (size_t)f->tail.rank * sizeof(f->tail.dim[0]));
    if (!bytes && f->port->shape.rank == 0 && f->rows == 1)
        t->shape.rank = 0;
    t->lod.levels = f->levels;
    for (int i = 0; i < f->levels; i++)
        t->lod.level[i] = (struct lod_level){ f->lod[i].at, f->lod[i].count };
    return n;
}

/* In the model's order. */
static status finish(const struct reading *r, struct infer_request *out, struct err *e)
{
    if (r->members == 0)
        return err_set(e, INVALID,
                       "there is no \"feed\": expected {\"feed\":[{NAME:VALUE}],\"fetch\":[NAME]}");
    out->feed = arena_try_array(r->arena, (size_t)r->given_count, sizeof(*out->feed));
    if (out->feed == NULL)
        return general_no_memory(e);
    for (int i = 0; i < r->ports->count; i++)
        if (r->feed[i].members > 0)
            out->feed[out->feed_count++] = tensor_of(&r->feed[i]);
    return OK;
}

status predict_request_from_json(struct str text, const struct call_ports *ports, struct arena *a,
                                 struct infer_request *out, struct err *e)
{
    struct reading r = { .arena = a, .ports = ports };
    *out = (struct infer_request){ 0 };
    r.feed = arena_try_array(a, (size_t)ports->count, sizeof(*r.feed));
    r.given = arena_try_array(a, (size_t)ports->count, sizeof(*r.given));
    if (r.feed == NULL || r.given == NULL)
        return general_no_memory(e);
    for (int i = 0; i < ports->count; i++)
        r.feed[i].port = &ports->port[i];
    json_init(&r.j, text, a);
    TRY(take_all(&r, out, e));
    return finish(&r, out, e);
}

/* ---- writing ---- */

static struct str key_of(const struct named_tensor *n)
{
    return n->alias.n > 0 ? n->alias : n->name;
}

static void put_strings(struct buf *b, const struct tensor *t)
{
    int64_t n = tensor_bytes(t);
    struct str left = { n > 0 ? t->data : "", (size_t)n }, one;
    const char *separator = "";
    buf_byte(b, '[');
    for (; general_next_string(&left, &one); separator = ",") {
        buf_str(b, separator);
        json_put_string(b, one);
    }
    buf_byte(b, ']');
}

/* One number alone; a complex one stays a list of its two parts. */
static void put_scalar(struct buf *b, const struct tensor *t)
{
    uint8_t room[128];
    struct buf list = { .data = room, .cap = sizeof(room), .max = sizeof(room) };
    bool keep = t->dtype == DTYPE_C64 || t->dtype == DTYPE_C128;
    json_put_numbers(&list, t->dtype, t->data, 1);
    buf_append(b, list.data + !keep, list.len - (keep ? 0 : 2));
}

/* The list of dimension `axis` whose elements begin at p; returns where they end. */
static const uint8_t *put_list(struct buf *b, const struct tensor *t, int axis, const uint8_t *p)
{
    int64_t n = t->shape.dim[axis];
    if (axis == t->shape.rank - 1) {
        json_put_numbers(b, t->dtype, p, n);
        return p + (size_t)n * dtype_size(t->dtype);
    }
    buf_byte(b, '[');
    for (int64_t i = 0; i < n && buf_check(b) == OK; i++) { /* rows may be many and empty */
        if (i > 0)
            buf_byte(b, ',');
        p = put_list(b, t, axis + 1, p);
    }
    buf_byte(b, ']');
    return p;
}

static void put_value(struct buf *b, const struct tensor *t)
{
    if (t->dtype == DTYPE_BYTES)
        put_strings(b, t);
    else if (t->shape.rank == 0)
        put_scalar(b, t);
    else
        put_list(b, t, 0, t->data);
}

/* All levels in one flat list, as general_model has them. */
static void put_lod(struct buf *b, struct str key, const struct lod *lod)
{
    const char *separator = ".lod\":[";
    buf_byte(b, ',');
    json_put_string(b, key);
    if (buf_check(b) == OK)
        b->len--; /* the quotation mark comes behind ".lod" */
    for (int i = 0; i < lod->levels; i++) {
        for (int64_t k = 0; k < lod->level[i].count; k++, separator = ",") {
            buf_str(b, separator);
            json_put_i64(b, lod->level[i].offset[k]);
        }
    }
    buf_byte(b, ']');
}

static void put_member(struct buf *b, const struct named_tensor *n)
{
    json_put_string(b, key_of(n));
    buf_byte(b, ':');
    put_value(b, &n->tensor);
    if (n->tensor.lod.levels > 0)
        put_lod(b, key_of(n), &n->tensor.lod);
}

void predict_request_to_json(const struct infer_request *r, struct buf *out)
{
    buf_str(out, "{\"feed\":[{");
    for (int i = 0; i < r->feed_count; i++) {
        if (i > 0)
            buf_byte(out, ',');
        put_member(out, &r->feed[i]);
    }
    buf_str(out, "}],\"fetch\":[");
    for (int i = 0; i < r->fetch_count; i++) {
        if (i > 0)
            buf_byte(out, ',');
        json_put_string(out, r->fetch[i]);
    }
    buf_str(out, "]}");
}

/* Whether an output before tensor k of output o has its key. */
static bool said_before(const struct infer_reply *r, int o, int k)
{
    struct str key = key_of(&r->output[o].tensor[k]);
    for (int i = 0; i <= o; i++)
        for (int m = 0; m < (i < o ? r->output[i].tensor_count : k); m++)
            if (str_eq(key, key_of(&r->output[i].tensor[m])))
                return true;
    return false;
}

void predict_reply_to_json(const struct infer_reply *r, struct buf *out)
{
    bool first = true;
    buf_str(out, "{\"result\":{");
    for (int o = 0; o < r->output_count; o++) {
        for (int k = 0; k < r->output[o].tensor_count; k++) {
            if (said_before(r, o, k))
                continue;
            if (!first)
                buf_byte(out, ',');
            first = false;
            put_member(out, &r->output[o].tensor[k]);
        }
    }
    buf_str(out, "}}");
}
