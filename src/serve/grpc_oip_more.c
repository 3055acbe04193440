/* Triton's smaller extensions over gRPC: trace and log settings, system shared memory, and what there is to say of CUDA's.
 * Settings are maps: entry { key 1, value 2 }, of which an empty one only asks what they are. */
#include "serve/grpc_message.h"
#include "serve/settings.h"
#include "serve/shm.h"

#include <stdio.h>

/* The next entry of the map in field 1; false behind the last. */
static bool next_entry(struct pb *r, struct str *key, struct str *value)
{
    struct pb entry;
    while (pb_next(r)) {
        if (r->field != 1 || r->wire != PB_BYTES) {
            pb_skip(r);
            continue;
        }
        *key = *value = STR("");
        for (pb_init(&entry, pb_bytes(r)); pb_next(&entry);) {
            if (entry.field == 1 && entry.wire == PB_BYTES)
                *key = pb_bytes(&entry);
            else if (entry.field == 2 && entry.wire == PB_BYTES)
                *value = pb_bytes(&entry);
            else
                pb_skip(&entry);
        }
        r->bad |= entry.bad || !str_is_utf8(*key);
        return !r->bad;
    }
    return false;
}

static bool has_entries(struct str message)
{
    struct pb r;
    struct str key, value;
    pb_init(&r, message);
    return next_entry(&r, &key, &value);
}

/* Who may look is not always who may change. */
static status may_change(const struct grpc_rpc *g, struct err *e)
{
    struct str key = access_key(h2_field(&g->stream->head, "authorization"),
                                h2_field(&g->stream->head, "x-api-key"));
    return access_check(g->conn, ACCESS_ADMIN, key, e);
}

static void fail_reading(struct grpc_rpc *g, const struct pb *r, status s, const struct err *e)
{
    if (s == OK && !pb_ok(r))
        message_damaged(g);
    else
        grpc_fail(g, s, e->text);
}

/* ---- log settings: SettingValue { bool_param 1, uint32_param 2, string_param 3 } ---- */

static void put_log_setting(struct buf *b, const struct oip_param *p)
{
    struct nested entry, value;
    struct buf *e = message_begin(&entry), *v = message_begin(&value);
    if (p->kind == OIP_BOOL)
        pb_put_u64(v, 1, p->integer != 0);
    else if (p->kind == OIP_STRING)
        pb_put_bytes(v, 3, p->text);
    else
        pb_put_u64(v, 2, (uint64_t)p->integer);
    pb_put_bytes(e, 1, p->key);
    message_end(e, 2, &value);
    message_end(b, 1, &entry);
}

static void reply_log_settings(struct grpc_rpc *g)
{
    struct setting_room all;
    struct buf b;
    log_settings(&all);
    buf_init(&b, MESSAGE_BYTES);
    for (int i = 0; i < all.count; i++)
        put_log_setting(&b, &all.at[i]);
    message_reply(g, &b);
}

static bool read_log_value(struct str bytes, struct oip_param *p)
{
    struct pb r;
    p->kind = OIP_STRING;
    p->text = STR("");
    for (pb_init(&r, bytes); pb_next(&r);) {
        switch (r.field) {
        case 1:
            p->kind = OIP_BOOL;
            p->integer = pb_varint(&r) != 0;
            break;
        case 2:
            p->kind = OIP_UINT;
            p->integer = (int64_t)(uint32_t)pb_varint(&r);
            break;
        case 3:
            p->kind = OIP_STRING;
            p->text = pb_bytes(&r);
            break;
        default: pb_skip(&r);
        }
    }
    return pb_ok(&r) && str_is_utf8(p->text);
}

static void log_settings_call(struct grpc_rpc *g, struct str message)
{
    struct pb r;
    struct err e = { "" };
    struct oip_param p = { 0 };
    struct str value;
    struct log_change change;
    status s = has_entries(message) ? may_change(g, &e) : OK;
    log_change_begin(&change);
    for (pb_init(&r, message); s == OK && next_entry(&r, &p.key, &value);) {
        if (read_log_value(value, &p))
            s = log_change_take(&change, &p, &e);
        else
            r.bad = true;
    }
    if (s != OK || !pb_ok(&r)) {
        fail_reading(g, &r, s, &e);
        return;
    }
    log_change_apply(&change);
    reply_log_settings(g);
}

/* ---- trace settings: SettingValue { repeated string value 1 }, an empty one clears; model_name 2 ---- */

static void reply_trace_settings(struct grpc_rpc *g)
{
    struct setting_room all;
    struct buf b;
    trace_settings(g->conn->lane->server, &all);
    buf_init(&b, MESSAGE_BYTES);
    for (int i = 0; i < all.count; i++) {
        struct nested entry, value;
        struct buf *e = message_begin(&entry);
        pb_put_bytes(e, 1, all.at[i].key);
        pb_put_bytes(message_begin(&value), 1, all.at[i].text);
        message_end(e, 2, &value);
        message_end(&b, 1, &entry);
    }
    message_reply(g, &b);
}

static status take_trace_value(const struct server *s, struct trace_change *c, struct str key,
                               struct str bytes, struct err *e)
{
    struct pb r;
    bool any = false;
    for (pb_init(&r, bytes); pb_next(&r);) {
        if (r.field != 1 || r.wire != PB_BYTES) {
            pb_skip(&r);
            continue;
        }
        any = true;
        TRY(trace_change_take(s, c, key, pb_bytes(&r), e));
    }
    if (!pb_ok(&r))
        return err_set(e, MALFORMED, "the value of '%.*s' is damaged", STR_ARG(key));
    return any ? OK : trace_change_take(s, c, key, (struct str){ NULL, 0 }, e);
}

/* The model that a request names must be there; what it says holds for all. false: g is answered. */
static bool find_named(struct grpc_rpc *g, struct str message)
{
    struct pb r;
    struct err e = { "" };
    struct str name = STR("");
    status code;
    for (pb_init(&r, message); pb_next(&r);) {
        if (r.field == 2 && r.wire == PB_BYTES)
            name = pb_bytes(&r);
        else
            pb_skip(&r);
    }
    if (!pb_ok(&r)) {
        message_damaged(g);
        return false;
    }
    if (name.n == 0 || lane_flow(g->conn->lane, name, STR(""), &code, &e) != NULL)
        return true;
    grpc_fail(g, code, e.text);
    return false;
}

static void trace_setting_call(struct grpc_rpc *g, struct str message)
{
    struct server *server = g->conn->lane->server;
    struct pb r;
    struct err e = { "" };
    struct str key, value;
    struct trace_change change;
    if (!find_named(g, message))
        return;
    status s = has_entries(message) ? may_change(g, &e) : OK;
    trace_change_begin(server, &change);
    for (pb_init(&r, message); s == OK && next_entry(&r, &key, &value);)
        s = take_trace_value(server, &change, key, value, &e);
    if (s == OK && pb_ok(&r))
        s = trace_change_apply(server, &change, &e);
    if (s != OK || !pb_ok(&r))
        fail_reading(g, &r, s, &e);
    else
        reply_trace_settings(g);
}

/* ---- shared memory ---- */

static struct shm_table *regions_of(struct grpc_rpc *g)
{
    struct shm_table *t = g->conn->lane->server->regions;
    if (t == NULL)
        grpc_fail(g, UNSUPPORTED, SHM_NOT_ALLOWED);
    return t;
}

/* RegionStatus { name 1, key 2, offset 3, byte_size 4 } */
static void put_region(void *arg, const struct shm_region *r)
{
    struct buf *b = arg;
    struct nested entry, region;
    struct buf *e = message_begin(&entry), *v = message_begin(&region);
    message_text(v, 1, str_of(r->name));
    message_text(v, 2, str_of(r->key));
    message_number(v, 3, r->offset);
    message_number(v, 4, r->bytes);
    pb_put_bytes(e, 1, str_of(r->name));
    message_end(e, 2, &region);
    message_end(b, 1, &entry);
}

static void shm_status_call(struct grpc_rpc *g, struct str message)
{
    struct str name, ignored;
    struct err e = { "" };
    struct buf b;
    struct shm_table *t = regions_of(g);
    if (t == NULL || !message_two(g, message, &name, &ignored))
        return;
    if (name.n == 0)
        name.p = NULL;
    buf_init(&b, MESSAGE_BYTES);
    status s = shm_each(t, name, put_region, &b, &e);
    if (s == OK) {
        message_reply(g, &b);
        return;
    }
    buf_deinit(&b);
    grpc_fail(g, s, e.text);
}

/* name 1, key 2, offset 3, byte_size 4 */
static void shm_register_call(struct grpc_rpc *g, struct str message)
{
    struct pb r;
    struct str name, key;
    struct err e = { "" };
    uint64_t offset = 0, bytes = 0;
    struct shm_table *t = regions_of(g);
    if (t == NULL || !message_two(g, message, &name, &key))
        return;
    for (pb_init(&r, message); pb_next(&r);) {
        if (r.field == 3 && r.wire == PB_VARINT)
            offset = pb_varint(&r);
        else if (r.field == 4 && r.wire == PB_VARINT)
            bytes = pb_varint(&r);
        else
            pb_skip(&r);
    }
    status s = shm_register(t, name, key, offset, bytes, &e);
    if (s == OK)
        grpc_reply(g, STR(""));
    else
        grpc_fail(g, s, e.text);
}

static void shm_unregister_call(struct grpc_rpc *g, struct str message)
{
    struct str name, ignored;
    struct shm_table *t = regions_of(g);
    if (t == NULL || !message_two(g, message, &name, &ignored))
        return;
    if (name.n == 0)
        name.p = NULL;
    shm_unregister(t, name);
    grpc_reply(g, STR(""));
}

/* There is no device, and so no region: both are the answers of a server without one. */
static void cuda_status(struct grpc_rpc *g, struct str message)
{
    struct str name, ignored;
    char words[ERR_TEXT_MAX];
    if (!message_two(g, message, &name, &ignored))
        return;
    if (name.n == 0) {
        grpc_reply(g, STR(""));
        return;
    }
    snprintf(words, sizeof(words), "Unable to find cuda shared memory region: '%.*s'",
             STR_ARG(name));
    grpc_fail(g, NOT_FOUND, words);
}

static void cuda_register(struct grpc_rpc *g, struct str message)
{
    grpc_fail(g, UNSUPPORTED, SHM_NO_DEVICE);
}

static void cuda_unregister(struct grpc_rpc *g, struct str message)
{
    grpc_reply(g, STR("")); /* an unknown region is no fault */
}

// clang-format off
#define SERVICE "/inference.GRPCInferenceService/"
const struct grpc_method grpc_oip_more[] = {
    { SERVICE "TraceSetting",                 ACCESS_METADATA, false, false, trace_setting_call,  NULL, NULL, NULL },
    { SERVICE "LogSettings",                  ACCESS_METADATA, false, false, log_settings_call,   NULL, NULL, NULL },
    { SERVICE "SystemSharedMemoryStatus",     ACCESS_METADATA, false, false, shm_status_call,     NULL, NULL, NULL },
    { SERVICE "SystemSharedMemoryRegister",   ACCESS_ADMIN,    false, false, shm_register_call,   NULL, NULL, NULL },
    { SERVICE "SystemSharedMemoryUnregister", ACCESS_ADMIN,    false, false, shm_unregister_call, NULL, NULL, NULL },
    { SERVICE "CudaSharedMemoryStatus",       ACCESS_METADATA, false, false, cuda_status,         NULL, NULL, NULL },
    { SERVICE "CudaSharedMemoryRegister",     ACCESS_ADMIN,    false, false, cuda_register,       NULL, NULL, NULL },
    { SERVICE "CudaSharedMemoryUnregister",   ACCESS_ADMIN,    false, false, cuda_unregister,     NULL, NULL, NULL },
    { 0 },
};
// clang-format on
