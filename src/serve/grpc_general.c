/* Paddle Serving's GeneralModelService over gRPC. */
#include "proto/general_model.h"
#include "serve/grpc.h"

static void serve(struct grpc_rpc *g, struct str message)
{
    struct err e = { "" };
    status code;
    struct flow *flow = lane_first_flow(g->conn->lane, &code, &e);
    if (flow == NULL)
        grpc_fail(g, code, e.text);
    else
        grpc_start(g, grpc_call(g, flow, &format_general_pb), message);
}

// clang-format off
const struct grpc_method grpc_general[] = {
    { "/" GENERAL_MODEL_SERVICE "/inference", false, true, serve, NULL, NULL },
    { "/" GENERAL_MODEL_SERVICE "/debug",     false, true, serve, NULL, NULL },
    { 0 },
};
// clang-format on
