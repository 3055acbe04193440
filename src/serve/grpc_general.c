/* Paddle Serving's GeneralModelService over gRPC, and MultiLangGeneralModelService, which was its gRPC face before 0.7. */
#include "base/limits.h"
#include "codec/pb.h"
#include "proto/general_model.h"
#include "proto/general_old.h"
#include "serve/grpc.h"

static void infer(struct grpc_rpc *g, struct str message, const struct call_format *format)
{
    struct err e = { "" };
    status code;
    struct flow *flow = lane_first_flow(g->conn->lane, &code, &e);
    if (flow == NULL)
        grpc_fail(g, code, e.text);
    else
        grpc_start(g, grpc_call(g, flow, format), message);
}

static void serve(struct grpc_rpc *g, struct str message)
{
    infer(g, message, &format_general_pb);
}

/* ---- MultiLang ---- */

static status decode_lang(struct call *c, struct str body, struct infer_request *out, struct err *e)
{
    bool *raw = arena_zalloc(&c->arena, sizeof(*raw));
    c->form = raw;
    return general_multi_lang_request(body, &c->arena, out, raw, e);
}

static status encode_lang(struct call *c, const struct infer_reply *r, struct buf *out,
                          struct err *e)
{
    general_multi_lang_reply(r, *(const bool *)c->form, out);
    return OK;
}

static const struct call_format format_multi_lang = { "multi_lang", decode_lang, encode_lang,
                                                      false };

static void lang_inference(struct grpc_rpc *g, struct str message)
{
    infer(g, message, &format_multi_lang);
}

/* Each call brings its own deadline: there is nothing to keep. SimpleResponse: err_code 1. */
static void lang_set_timeout(struct grpc_rpc *g, struct str message)
{
    static const char fine[] = { 1 << 3, 0 };
    grpc_reply(g, (struct str){ fine, sizeof(fine) });
}

/* A block of the original's client configuration, which tells shapes without the batch dimension. */
static void put_block(struct buf *b, const char *kind, const struct port *p)
{
    buf_printf(b,
               "%s_var {\n  name: \"%s\"\n  alias_name: \"%s\"\n  is_lod_tensor: %s\n  %s_type: "
               "%d\n",
               kind, p->name, p->alias, p->ragged ? "true" : "false", kind, (int)p->dtype);
    for (int i = p->ragged ? 0 : 1; i < p->shape.rank; i++)
        buf_printf(b, "  shape: %lld\n", (long long)p->shape.dim[i]);
    buf_str(b, "}\n");
}

static void lang_client_config(struct grpc_rpc *g, struct str message)
{
    struct err e = { "" };
    status code;
    struct flow *flow = lane_first_flow(g->conn->lane, &code, &e);
    struct buf text, reply;
    int count;
    if (flow == NULL) {
        grpc_fail(g, code, e.text);
        return;
    }
    buf_init(&text, LIMIT_CONFIG_BYTES);
    buf_init(&reply, LIMIT_CONFIG_BYTES);
    const struct port *port = flow_inputs(flow, &count);
    for (int i = 0; i < count; i++)
        put_block(&text, "feed", &port[i]);
    port = flow_outputs(flow, &count);
    for (int i = 0; i < count; i++)
        put_block(&text, "fetch", &port[i]);
    pb_put_bytes(&reply, 1, buf_view(&text));
    grpc_reply(g, buf_view(&reply));
    buf_deinit(&text);
    buf_deinit(&reply);
}

// clang-format off
const struct grpc_method grpc_general[] = {
    { "/" GENERAL_MODEL_SERVICE "/inference",    ACCESS_INFER, false, true,  serve,              NULL, NULL, NULL },
    { "/" GENERAL_MODEL_SERVICE "/debug",        ACCESS_INFER, false, true,  serve,              NULL, NULL, NULL },
    { "/" MULTI_LANG_SERVICE "/Inference",       ACCESS_INFER, false, true,  lang_inference,     NULL, NULL, NULL },
    { "/" MULTI_LANG_SERVICE "/SetTimeout",      ACCESS_METADATA, false, false, lang_set_timeout,   NULL, NULL, NULL },
    { "/" MULTI_LANG_SERVICE "/GetClientConfig", ACCESS_METADATA, false, false, lang_client_config, NULL, NULL, NULL },
    { 0 },
};
// clang-format on
