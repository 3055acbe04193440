/* The Open Inference Protocol's protobuf form (package inference): the requests and replies of oip.h, and the wire of
 * whatever else its service says. Field numbers: open_inference_grpc.proto of kserve, grpc_service.proto of Triton. */
#pragma once

#include "codec/pb.h"
#include "proto/oip.h"

/* The model that a ModelInferRequest names, from as much of it as there is: both stand in front. */
void oip_pb_names(struct str bytes, struct str *model, struct str *version);

/* m gives its name to words. Raw contents become inputs' `raw`, views of bytes; typed ones their `elements`. */
status oip_request_from_pb(struct str bytes, const struct oip_model *m, struct arena *a,
                           struct oip_request *out, struct err *e);
/* As ModelInferResponse; outputs in shared memory bring parameters in place of bytes. */
void oip_reply_to_pb(const struct oip_reply *r, struct buf *out);
size_t oip_reply_pb_size(const struct oip_reply *r);

/* The other way round, for clients. Inputs in r->feed, with raw contents; outputs by name. */
void oip_request_to_pb(const struct infer_request *r, struct str model, struct str version,
                       struct buf *out);
status oip_reply_from_pb(struct str bytes, struct arena *a, struct infer_reply *out, struct err *e);
