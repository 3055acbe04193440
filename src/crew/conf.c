#include "crew/conf.h"

#include "codec/json.h"
#include "crew/crew.h"
#include "crew/wire.h"

static int bounded(struct json *j, int64_t least, int64_t most)
{
    int64_t v = json_i64(j);
    if (v < least || v > most)
        json_fail(j, "a number out of its range");
    return json_failed(j) ? 0 : (int)v;
}

static int read_list(struct json *j, int *to, int room, int least)
{
    int n = 0;
    json_array(j);
    while (json_item(j)) {
        if (n == room)
            json_fail(j, "a longer list than is allowed");
        else
            to[n++] = bounded(j, least, CREW_OPS_MAX - 1);
    }
    return n;
}

static void read_op(struct json *j, struct crew_op_conf *op)
{
    struct str key;
    *op = (struct crew_op_conf){ .name = "", .batch_size = 1 };
    json_object(j);
    while (json_key(j, &key)) {
        if (str_is(key, "name")) {
            struct str name = json_string(j);
            op->name = arena_strndup(j->arena, name.p, name.n);
        } else if (str_is(key, "inputs"))
            op->input_count = read_list(j, op->input, CREW_INPUTS_MAX, -1);
        else if (str_is(key, "jump"))
            op->jump_count = read_list(j, op->jump, CREW_INPUTS_MAX, 0);
        else if (str_is(key, "batch_size"))
            op->batch_size = bounded(j, 1, CREW_BATCH_MAX);
        else if (str_is(key, "batch_wait_ms"))
            op->batch_wait_ms = bounded(j, 0, 3600000);
        else if (str_is(key, "channel_size"))
            op->channel_size = bounded(j, 0, INT32_MAX);
        else
            json_skip(j);
    }
}

static void read_ops(struct json *j, struct crew_conf *c)
{
    c->op = arena_zalloc(j->arena, CREW_OPS_MAX * sizeof(*c->op));
    json_array(j);
    while (json_item(j)) {
        if (c->op_count == CREW_OPS_MAX)
            json_fail(j, "more operators than are allowed");
        else
            read_op(j, &c->op[c->op_count++]);
    }
}

static void read_processes(struct json *j, struct crew_conf *c)
{
    c->process = arena_zalloc(j->arena, CREW_PROCESSES_MAX * sizeof(*c->process));
    json_array(j);
    while (json_item(j)) {
        if (c->process_count == CREW_PROCESSES_MAX) {
            json_fail(j, "more processes than are allowed");
            continue;
        }
        struct crew_process_conf *p = &c->process[c->process_count++];
        p->count = read_list(j, p->op, CREW_SLOTS_MAX, 0);
    }
}

static void read_key(struct json *j, struct str key, struct crew_conf *c)
{
    if (str_is(key, "name")) {
        struct str name = json_string(j);
        c->name = arena_strndup(j->arena, name.p, name.n);
    } else if (str_is(key, "pipeline"))
        c->pipeline = json_bool(j);
    else if (str_is(key, "first_arrival"))
        c->first_arrival = json_bool(j);
    else if (str_is(key, "retry"))
        c->retry = bounded(j, 1, 1000);
    else if (str_is(key, "in_flight"))
        c->in_flight = bounded(j, 1, 1 << 20);
    else if (str_is(key, "timeout_ms"))
        c->timeout_ms = bounded(j, 1, 86400000);
    else if (str_is(key, "operators"))
        read_ops(j, c);
    else if (str_is(key, "processes"))
        read_processes(j, c);
    else
        json_skip(j);
}

static bool are_below(const int *n, int count, int most)
{
    for (int i = 0; i < count; i++)
        if (n[i] >= most)
            return false;
    return true;
}

static bool has_slot(const struct crew_conf *c, int op)
{
    for (int p = 0; p < c->process_count; p++)
        for (int s = 0; s < c->process[p].count; s++)
            if (c->process[p].op[s] == op)
                return true;
    return false;
}

static status check(const struct crew_conf *c, struct err *e)
{
    if (c->op_count == 0 || c->process_count == 0)
        return err_set(e, INVALID, "a crew has operators and processes");
    for (int i = 0; i < c->op_count; i++) {
        const struct crew_op_conf *op = &c->op[i];
        if (op->input_count == 0 || !are_below(op->input, op->input_count, i) ||
            !are_below(op->jump, op->jump_count, c->op_count))
            return err_set(e, INVALID, "operator %d ('%s'): its inputs come before it", i,
                           op->name);
        if (!has_slot(c, i))
            return err_set(e, INVALID, "operator %d ('%s') has no slot in any process", i,
                           op->name);
    }
    for (int p = 0; p < c->process_count; p++)
        if (c->process[p].count == 0 ||
            !are_below(c->process[p].op, c->process[p].count, c->op_count))
            return err_set(e, INVALID, "process %d: its slots are of operators that there are", p);
    return OK;
}

status crew_conf_read(struct str text, struct arena *a, struct crew_conf *out, struct err *e)
{
    struct json j;
    struct str key;
    *out = (struct crew_conf){ .name = "", .retry = 1, .in_flight = 4096, .timeout_ms = 120000 };
    json_init(&j, text, a);
    json_object(&j);
    while (json_key(&j, &key))
        read_key(&j, key, out);
    TRY(json_end(&j, e));
    return check(out, e);
}
