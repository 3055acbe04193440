/* include/oar/client.h over client.h: plain C types outside, the rooms' types inside. */
#include "oar/client.h"

#include "base/arena.h"
#include "base/limits.h"
#include "base/mem.h"
#include "client/client.h"
#include "client/remote.h"
#include "proto/general_check.h"

#include <string.h>

struct oar_client {
    struct client *client; /* NULL: opening failed, only the words are there */
    struct arena feeds;    /* of the call that runs */
    struct arena results;  /* of the last call */
    char *model;           /* our copy */
    struct err err;
};

int oar_client_open(const char *endpoint, const char *protocol, oar_client **out)
{
    oar_client *c = mem_zalloc(sizeof(*c));
    arena_init(&c->feeds, LIMIT_ARENA_BYTES);
    arena_init(&c->results, LIMIT_ARENA_BYTES);
    *out = c;
    return client_open(str_of(endpoint), str_of(protocol), &c->client, &c->err);
}

void oar_client_close(oar_client *c)
{
    if (c == NULL)
        return;
    client_close(c->client);
    mem_free(c->model);
    arena_deinit(&c->feeds);
    arena_deinit(&c->results);
    mem_free(c);
}

void oar_client_set_timeout_ms(oar_client *c, int64_t timeout_ms)
{
    if (c->client != NULL)
        client_set_timeout_ms(c->client, timeout_ms);
}

int oar_client_set_model(oar_client *c, const char *name)
{
    if (c->client == NULL)
        return INVALID;
    if (name != NULL && strlen(name) > LIMIT_NAME_BYTES)
        return err_set(&c->err, INVALID, "a model's name of %zu bytes", strlen(name));
    client_set_model(c->client, NULL);
    mem_free(c->model);
    c->model = name != NULL ? mem_strdup(name) : NULL;
    client_set_model(c->client, c->model);
    return OK;
}

int oar_client_set_access(oar_client *c, const oar_tls *tls, const char *api_key)
{
    if (c->client == NULL)
        return INVALID;
    struct remote r = { .tls = tls != NULL, .api_key = api_key };
    if (tls != NULL)
        r.files =
            (struct net_tls_client_options){ tls->ca, tls->cert, tls->key, tls->insecure != 0 };
    return client_set_remote(c->client, &r, &c->err);
}

const char *oar_client_error(const oar_client *c)
{
    return c->err.text;
}

static status feed_from(const oar_array *a, struct named_tensor *out, struct err *e)
{
    const char *name = a->name != NULL ? a->name : "";
    if (a->rank < 0 || a->rank > SHAPE_MAX || (a->rank > 0 && a->shape == NULL))
        return err_set(e, INVALID, "feed '%s': rank %d is not from 0 to %d", name, a->rank,
                       SHAPE_MAX);
    if (!dtype_valid(a->dtype))
        return err_set(e, INVALID, "feed '%s': no dtype has code %d", name, a->dtype);
    struct tensor *t = &out->tensor;
    *out = (struct named_tensor){ .name = str_of(name),
                                  .alias = str_of(a->alias != NULL ? a->alias : name) };
    t->dtype = (dtype)a->dtype;
    t->shape.rank = a->rank;
    if (a->rank > 0)
        memcpy(t->shape.dim, a->shape, (size_t)a->rank * sizeof(int64_t));
    int64_t bytes = tensor_bytes(t);
    if (bytes < 0 || (bytes > 0 && a->data == NULL))
        return err_set(e, INVALID, "feed '%s': its shape or its data is missing", name);
    t->data = a->data;
    if (a->lod != NULL && a->lod_count > 0)
        TRY(general_split_lod(a->lod, a->lod_count, name, &t->lod, e));
    return lod_check(&t->lod, a->rank > 0 ? t->shape.dim[0] : 1, name, e);
}

static status request_from(oar_client *c, const oar_call *call, struct infer_request *out)
{
    if (call->feed_count < 0 || call->feed_count > LIMIT_REQUEST_TENSORS || call->fetch_count < 0 ||
        call->fetch_count > LIMIT_FETCH_NAMES)
        return err_set(&c->err, INVALID, "%d feeds and %d fetch names: more than a request holds",
                       call->feed_count, call->fetch_count);
    *out = (struct infer_request){
        .feed = arena_zalloc(&c->feeds, (size_t)call->feed_count * sizeof(*out->feed)),
        .fetch = arena_zalloc(&c->feeds, (size_t)call->fetch_count * sizeof(*out->fetch)),
        .feed_count = call->feed_count,
        .fetch_count = call->fetch_count,
        .profile = call->profile != 0,
        .log_id = call->log_id,
    };
    for (int i = 0; i < call->feed_count; i++)
        TRY(feed_from(&call->feeds[i], &out->feed[i], &c->err));
    for (int i = 0; i < call->fetch_count; i++)
        out->fetch[i] = str_of(call->fetch[i]);
    return OK;
}

/* All levels one behind the other, as feeds have them. */
static const int64_t *joined_lod(struct arena *a, const struct lod *lod, int64_t *count)
{
    *count = 0;
    for (int i = 0; i < lod->levels; i++)
        *count += lod->level[i].count;
    if (lod->levels < 2)
        return lod->levels == 1 ? lod->level[0].offset : NULL;
    int64_t *all = arena_try_array(a, (size_t)*count, sizeof(*all)), *to = all;
    for (int i = 0; all != NULL && i < lod->levels; to += lod->level[i++].count)
        memcpy(to, lod->level[i].offset, (size_t)lod->level[i].count * sizeof(*all));
    if (all == NULL)
        *count = 0;
    return all;
}

static void result_from(struct arena *a, const struct named_tensor *t, const char *engine,
                        oar_array *out)
{
    struct str name = t->alias.n != 0 ? t->alias : t->name;
    *out = (oar_array){
        .name = arena_strndup(a, name.p, name.n),
        .dtype = t->tensor.dtype,
        .rank = t->tensor.shape.rank,
        .shape = t->tensor.shape.dim,
        .data = t->tensor.data,
        .engine = engine,
    };
    out->lod = joined_lod(a, &t->tensor.lod, &out->lod_count);
}

static void answer_from(struct arena *a, const struct infer_reply *reply, oar_answer *out)
{
    size_t total = 0;
    for (int i = 0; i < reply->output_count; i++)
        total += (size_t)reply->output[i].tensor_count;
    oar_array *all = arena_zalloc(a, total * sizeof(*all)), *next = all;
    for (int i = 0; i < reply->output_count; i++) {
        const struct infer_output *o = &reply->output[i];
        const char *engine = arena_strndup(a, o->engine.p, o->engine.n);
        for (int k = 0; k < o->tensor_count; k++)
            result_from(a, &o->tensor[k], engine, next++);
    }
    *out = (oar_answer){
        .results = all,
        .result_count = (int)total,
        .output_count = reply->output_count,
        .stamps_us = reply->stamp_us,
        .stamp_count = reply->stamp_count,
    };
}

int oar_client_call(oar_client *c, const oar_call *call, oar_answer *answer)
{
    struct infer_request request;
    struct infer_reply reply = { 0 };
    if (c->client == NULL) /* the words of the open that failed still stand */
        return INVALID;
    c->err.text[0] = '\0';
    arena_reset(&c->feeds);
    arena_reset(&c->results);
    TRY(request_from(c, call, &request));
    TRY(client_infer(c->client, &request, call->timeout_ms, &reply, &c->err));
    answer_from(&c->results, &reply, answer);
    return OK;
}

int oar_client_infer(oar_client *c, const oar_array *feeds, int feed_count,
                     const char *const *fetch, int fetch_count, const oar_array **results,
                     int *result_count)
{
    oar_call call = {
        .feeds = feeds, .feed_count = feed_count, .fetch = fetch, .fetch_count = fetch_count
    };
    oar_answer answer;
    int s = oar_client_call(c, &call, &answer);
    if (s == OK) {
        *results = answer.results;
        *result_count = answer.result_count;
    }
    return s;
}

int oar_client_invoke(oar_client *c, const char *method, const void *message, size_t bytes,
                      int gzip, int64_t timeout_ms, const void **reply, size_t *reply_bytes)
{
    struct str got;
    if (c->client == NULL)
        return INVALID;
    if (method == NULL || method[0] != '/' || strlen(method) > LIMIT_NAME_BYTES)
        return err_set(&c->err, INVALID, "a method is '/package.Service/Method', not '%.*s'", 100,
                       method != NULL ? method : "");
    TRY(client_invoke(c->client, method, (struct str){ message, bytes }, gzip != 0, timeout_ms,
                      &got, &c->err));
    *reply = got.p;
    *reply_bytes = got.n;
    return OK;
}

const char *oar_client_variant(const oar_client *c)
{
    return c->client != NULL ? client_variant(c->client) : "";
}

int oar_client_code(const oar_client *c)
{
    return c->client != NULL ? client_code(c->client) : 0;
}
