/* A call to another server, which may be Oar or speak baidu_std or HTTP as Paddle Serving does. A node has a few threads of
 * its own, each with a connection of its own; the call goes on when the answer is there. */
#include "flow/ops.h"
#include "flow/rows.h"

#include "base/clock.h"
#include "base/mem.h"
#include "client/client.h"

#include <string.h>

#define CONNECTIONS 4
#define QUEUE_MAX   1024

struct remote {
    struct workers *workers;
    struct client **client; /* one for each worker */
    int count;
    int64_t timeout_ms;
    const char **address;
    int addresses;
};

static status read_addresses(struct flow_open *o, struct remote *r, struct err *e)
{
    const struct yaml *n = o->attrs != NULL ? yaml_get(o->attrs, "address") : NULL;
    if (n == NULL)
        return err_set(e, INVALID, "node '%s': 'address' is missing: HOST:PORT of the other server",
                       o->node->name);
    const struct yaml *item = n->kind == YAML_LIST ? n->child : n;
    r->address = arena_zalloc(o->arena, ((size_t)n->count + 2) * sizeof(*r->address));
    for (; item != NULL; item = n->kind == YAML_LIST ? item->next : NULL) {
        const char *text;
        TRY(yaml_text(item, o->file, &text, e));
        r->address[r->addresses++] = arena_strndup(o->arena, text, strlen(text));
    }
    return r->addresses > 0 ? OK
                            : err_set(e, INVALID, "node '%s': 'address' is empty", o->node->name);
}

static status open_remote(struct flow_open *o, struct err *e)
{
    struct remote *r = arena_zalloc(o->arena, sizeof(*r));
    const char *protocol = "brpc", *model = NULL;
    int64_t connections = CONNECTIONS;
    TRY(read_addresses(o, r, e));
    TRY(flow_attr_text(o, "protocol", &protocol, e));
    TRY(flow_attr_text(o, "remote_model", &model, e));
    TRY(flow_attr_i64(o, "connections", 1, 64, &connections, e));
    r->timeout_ms = o->node->timeout_ms > 0 ? o->node->timeout_ms : CLIENT_TIMEOUT_MS;
    r->client = arena_zalloc(o->arena, (size_t)connections * sizeof(struct client *));
    o->node->state = r;
    for (int i = 0; i < connections; i++) {
        TRY(client_open(str_of(r->address[i % r->addresses]), str_of(protocol), &r->client[i], e));
        r->count++;
        if (model != NULL && !client_names_model(r->client[i]))
            return err_set(e, INVALID,
                           "node '%s': requests over '%s' name no model; 'remote_model' is for "
                           "kserve-http, kserve-grpc and tfs",
                           o->node->name, protocol);
        if (model != NULL)
            client_set_model(r->client[i], model);
    }
    r->workers = workers_start(r->count, QUEUE_MAX);
    return OK;
}

static void close_remote(struct flow_node *n)
{
    struct remote *r = n->state;
    if (r == NULL) /* it was not opened as far as that */
        return;
    if (r->workers != NULL)
        workers_free(r->workers);
    for (int i = 0; i < r->count; i++)
        client_close(r->client[i]);
}

/* The reply lives in the client until its next call. */
static status keep_reply(struct flow_step *s, const struct infer_reply *reply, struct err *e)
{
    int count = 0;
    for (int i = 0; i < reply->output_count; i++)
        count += reply->output[i].tensor_count;
    struct named_tensor *t = arena_zalloc(s->arena, ((size_t)count + 1) * sizeof(*t));
    s->out = (struct flow_value){ t, count, false };
    for (int i = 0; i < reply->output_count; i++)
        for (int k = 0; k < reply->output[i].tensor_count; k++, t++) {
            const struct named_tensor *from = &reply->output[i].tensor[k];
            t->name =
                (struct str){ arena_strndup(s->arena, from->name.p, from->name.n), from->name.n };
            t->alias = (struct str){ arena_strndup(s->arena, from->alias.p, from->alias.n),
                                     from->alias.n };
            if (rows_copy(&from->tensor, s->arena, &t->tensor) != OK)
                return err_set(e, NO_MEMORY, "node '%s': no memory for the answer", s->node->name);
        }
    return OK;
}

static int64_t time_left_ms(const struct flow_step *s, const struct remote *r)
{
    uint64_t deadline = flow_step_call(s)->deadline_ns, now = clock_ns();
    if (deadline == 0)
        return r->timeout_ms;
    int64_t left = deadline > now ? (int64_t)((deadline - now) / 1000000) : 0;
    return left < 1 ? 1 : left < r->timeout_ms ? left : r->timeout_ms;
}

static void ask(struct job *j, int worker)
{
    struct flow_step *s = LIST_ENTRY(j, struct flow_step, job);
    const struct remote *r = s->node->state;
    struct err e = { "" };
    struct infer_reply reply;
    struct flow_value v = flow_step_input(s, 0);
    const struct infer_request request = { .feed = (struct named_tensor *)v.tensor,
                                           .feed_count = v.count,
                                           .log_id = flow_step_call(s)->request->log_id };
    status code = client_infer(r->client[worker], &request, time_left_ms(s, r), &reply, &e);
    if (code == OK)
        code = keep_reply(s, &reply, &e);
    else
        code = err_prefix(&e, code == IO_FAILED ? UNREACHABLE : code, "node '%s': ", s->node->name);
    flow_step_done(s, code, NULL, &e);
}

static status run_remote(struct flow_step *s, struct exec *x, struct err *e)
{
    const struct remote *r = s->node->state;
    s->job.run = ask;
    return workers_submit(r->workers, &s->job)
               ? FLOW_LATER
               : err_set(e, BUSY, "node '%s': %d requests wait for the other server", s->node->name,
                         QUEUE_MAX);
}

static const char *const keys[] = { "address", "protocol", "remote_model", "connections", NULL };
const struct flow_op remote_op = { .type = "GeneralRemoteOp",
                                   .also = "remote",
                                   .inputs_min = 1,
                                   .inputs_max = 1,
                                   .keys = keys,
                                   .open = open_remote,
                                   .run = run_remote,
                                   .close = close_remote,
                                   .later = true };
