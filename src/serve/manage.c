#include "serve/manage.h"

#include "base/limits.h"
#include "base/mem.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "serve/oip.h"

/* ---- the index ---- */

static bool wants_ready(struct str body, struct arena *a, struct err *e)
{
    struct json j;
    struct str key;
    bool ready = false;
    if (str_trim(body).n == 0)
        return false;
    json_init(&j, body, a);
    json_object(&j);
    while (json_key(&j, &key))
        if (str_is(key, "ready"))
            ready = json_bool(&j);
        else
            json_skip(&j);
    return json_end(&j, e) == OK && ready;
}

static void put_version(struct buf *b, const struct served *v, bool *first)
{
    buf_str(b, *first ? "{\"name\":" : ",{\"name\":");
    *first = false;
    json_put_string(b, str_of(v->name));
    buf_printf(b, ",\"version\":\"%lld\",\"state\":\"%s\",\"reason\":", (long long)v->version,
               model_state_text(v->state));
    json_put_string(b, str_of(v->reason));
    buf_str(b, "}");
}

static void put_index(struct buf *b, const struct table *t, bool ready_only)
{
    bool first = true;
    buf_str(b, "[");
    for (int i = 0; i < table_count(t); i++) {
        const struct served_model *m = table_at(t, i);
        for (int k = 0; k < m->version_count; k++)
            if (!ready_only || m->version[k].state == MODEL_READY)
                put_version(b, &m->version[k], &first);
    }
    buf_str(b, "]");
}

void manage_index(const struct http_request *r, const struct route_parts *parts)
{
    struct arena a;
    struct buf b;
    struct err e = { "" };
    arena_init(&a, LIMIT_ARENA_BYTES);
    buf_init(&b, LIMIT_ARENA_BYTES);
    bool ready_only = wants_ready(r->body, &a, &e);
    if (e.text[0] != '\0') {
        http_answer_error(r, 400, e.text);
    } else {
        put_index(&b, lane_table(r->conn->lane), ready_only);
        http_answer(r, &(struct http_answer){
                           .code = 200, .content_type = "application/json", .body = buf_view(&b) });
    }
    buf_deinit(&b);
    arena_deinit(&a);
}

void manage_named(const struct http_request *r, const struct route_parts *parts)
{
    http_answer_error(r, status_http(UNSUPPORTED), NO_REPOSITORY_NAMES);
}

/* ---- changes, run by the keeper ---- */

struct change {
    struct repository_task task;
    struct call *call;
    status (*run)(struct repository *r, struct change *c, struct err *e);
    struct str name;
    char text[]; /* of the name */
};

static status run_task(struct repository *r, struct repository_task *t, struct err *e)
{
    struct change *c = LIST_ENTRY(t, struct change, task);
    return c->run(r, c, e);
}

static void come_home(struct repository_task *t)
{
    struct change *c = LIST_ENTRY(t, struct change, task);
    c->call->result = t->result;
    c->call->err = t->err;
    call_return(c->call);
    mem_free(c);
}

static void hand_over(struct call *call)
{
    struct change *c = call->detour_arg;
    c->call = call;
    repository_submit(call->conn->lane->server->models, &c->task);
}
static void start(const struct http_request *r, struct str name,
                  status (*run)(struct repository *, struct change *, struct err *))
{
    struct change *c = mem_zalloc(sizeof(*c) + name.n);
    c->task.run = run_task;
    c->task.done = come_home;
    c->run = run;
    memcpy(c->text, name.p, name.n);
    c->name = (struct str){ c->text, name.n };
    http_detour(r, hand_over, c);
}

/* ---- load ---- */

struct files {
    struct inline_file *file;
    int count, room;
};

static void drop_buf(void *arg)
{
    buf_deinit(arg);
}

static status add_file(struct files *f, struct str path, struct str coded, struct arena *a,
                       struct err *e)
{
    if (f->count == f->room) {
        int room = f->room * 2 + 8;
        struct inline_file *more = arena_zalloc(a, (size_t)room * sizeof(*more));
        if (f->count > 0)
            memcpy(more, f->file, (size_t)f->count * sizeof(*more));
        f->file = more;
        f->room = room;
    }
    struct inline_file *file = &f->file[f->count++];
    struct buf *bytes = arena_zalloc(a, sizeof(*bytes));
    buf_init(bytes, LIMIT_ARENA_BYTES);
    arena_defer(a, drop_buf, bytes);
    if (!base64_decode(coded, bytes))
        return err_set(e, INVALID, "parameter 'file:%.*s': no base64", STR_ARG(path));
    *file = (struct inline_file){ path, buf_view(bytes) };
    return buf_check(bytes);
}

static status take_parameters(struct json *j, struct load_request *q, struct files *f,
                              struct arena *a, struct err *e)
{
    struct str key;
    json_object(j);
    while (json_key(j, &key)) {
        if (str_starts(key, "file:")) {
            struct str path = { key.p + 5, key.n - 5 };
            struct str coded = json_string(j);
            if (!json_failed(j))
                TRY(add_file(f, path, coded, a, e));
        } else if (str_is(key, "config")) {
            q->config = json_string(j);
        } else {
            json_skip(j);
        }
    }
    return OK;
}

static status parse_load(struct change *c, struct load_request *q, struct err *e)
{
    struct json j;
    struct str key;
    struct files files = { 0 };
    *q = (struct load_request){ .name = c->name };
    if (str_trim(c->call->body).n == 0)
        return OK;
    json_init(&j, c->call->body, &c->call->arena);
    json_object(&j);
    while (json_key(&j, &key)) {
        if (str_is(key, "parameters"))
            TRY(take_parameters(&j, q, &files, &c->call->arena, e));
        else
            json_skip(&j);
    }
    q->file = files.file;
    q->file_count = files.count;
    return json_end(&j, e);
}

static status run_load(struct repository *r, struct change *c, struct err *e)
{
    struct load_request q;
    TRY(parse_load(c, &q, e));
    return repository_load(r, &q, e);
}

void manage_load(const struct http_request *r, const struct route_parts *parts)
{
    start(r, http_decoded(r, parts->at[0]), run_load);
}

/* ---- the others ---- */

static status run_unload(struct repository *r, struct change *c, struct err *e)
{
    return repository_unload(r, c->name, e);
}

void manage_unload(const struct http_request *r, const struct route_parts *parts)
{
    start(r, http_decoded(r, parts->at[0]), run_unload);
}

static status run_rollback(struct repository *r, struct change *c, struct err *e)
{
    return repository_rollback(r, c->name, e);
}

void manage_rollback(const struct http_request *r, const struct route_parts *parts)
{
    start(r, http_decoded(r, parts->at[0]), run_rollback);
}

static status run_label(struct repository *r, struct change *c, struct err *e)
{
    struct json j;
    struct str key, label = { NULL, 0 };
    int64_t version = -1;
    json_init(&j, c->call->body, &c->call->arena);
    json_object(&j);
    while (json_key(&j, &key)) {
        if (str_is(key, "label"))
            label = json_string(&j);
        else if (str_is(key, "version"))
            version = json_i64(&j);
        else
            json_fail(&j, "expected \"label\" or \"version\"");
    }
    TRY(json_end(&j, e));
    if (version < 0)
        return err_set(e, INVALID, "expected {\"label\": NAME, \"version\": NUMBER}");
    return repository_label(r, c->name, label, version, e);
}

void manage_label(const struct http_request *r, const struct route_parts *parts)
{
    start(r, http_decoded(r, parts->at[0]), run_label);
}

/* ---- traffic ---- */

static status run_traffic(struct repository *r, struct change *c, struct err *e)
{
    return repository_traffic(r, c->name, c->call->body, e);
}

void manage_traffic(const struct http_request *r, const struct route_parts *parts)
{
    start(r, http_decoded(r, parts->at[0]), run_traffic);
}

void manage_traffic_list(const struct http_request *r, const struct route_parts *parts)
{
    const struct table *t = lane_table(r->conn->lane);
    struct buf b;
    bool first = true;
    buf_init(&b, LIMIT_ARENA_BYTES);
    buf_str(&b, "[");
    for (int i = 0; i < table_count(t); i++) {
        const struct served_model *m = table_at(t, i);
        if (m->traffic == NULL)
            continue;
        buf_str(&b, first ? "" : ",");
        first = false;
        traffic_put_json(m->traffic, m->name, &b);
    }
    buf_str(&b, "]");
    http_answer(r, &(struct http_answer){
                       .code = 200, .content_type = "application/json", .body = buf_view(&b) });
    buf_deinit(&b);
}

static status read_outcome(struct str body, struct arena *a, struct str *tag, double *value,
                           struct err *e)
{
    struct json j;
    struct str key;
    json_init(&j, body, a);
    json_object(&j);
    while (json_key(&j, &key)) {
        if (str_is(key, "variant"))
            *tag = json_string(&j);
        else if (str_is(key, "value"))
            *value = json_number(&j);
        else
            json_fail(&j, "expected \"variant\" or \"value\"");
    }
    return json_end(&j, e);
}

void manage_outcome(const struct http_request *r, const struct route_parts *parts)
{
    struct lane *lane = r->conn->lane;
    const struct served_model *m = table_model(lane_table(lane), http_decoded(r, parts->at[0]));
    struct str tag = { NULL, 0 };
    struct err e = { "" };
    double value = 1;
    status s = read_outcome(r->body, &lane->scratch, &tag, &value, &e);
    int variant = s == OK && m != NULL && m->traffic != NULL ? traffic_find(m->traffic, tag) : -1;
    if (s == OK && variant < 0)
        s = err_set(&e, NOT_FOUND, "model '%.*s' has no variant '%.*s'", STR_ARG(parts->at[0]),
                    STR_ARG(tag));
    if (s != OK) {
        http_answer_error(r, status_http(s), e.text);
        return;
    }
    traffic_outcome(m->traffic, variant, value);
    http_answer(r, &(struct http_answer){
                       .code = 200, .content_type = "application/json", .body = STR("{}") });
}
