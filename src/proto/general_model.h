/* GeneralModelService of Paddle Serving (package baidu.paddle_serving.predictor.general_model): Request and Response as
 * protobuf and as brpc's json2pb writes JSON, in both directions.
 *
 * Decoding makes views of the bytes where type and alignment allow (packed float_data, tensor_content), else arena
 * copies, and checks everything that can be checked without the model: known elem_type, the right data field, element
 * count against shape, LoD rising and ending at the rows, UTF-8 names, counts below their limits. INVALID words name the
 * tensor ("tensor 1 'x': ..."). A reply's stamps are profile_time; one whose err_no is not 0 is INTERNAL with its err_msg.
 *
 * lod is one flat list of all levels: a 0 begins the next level unless it follows a 0, which is an empty sequence. The
 * strings of elem_type 20 become one tensor of bytes, each string ended by a NUL, and are strings again on the way out. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "tensor/call.h"

#define GENERAL_MODEL_SERVICE "baidu.paddle_serving.predictor.general_model.GeneralModelService"

status general_request_from_pb(struct str bytes, struct arena *a, struct infer_request *out,
                               struct err *e);
status general_request_from_json(struct str text, struct arena *a, struct infer_request *out,
                                 struct err *e);
void general_request_to_pb(const struct infer_request *r, struct buf *out);
void general_request_to_json(const struct infer_request *r, struct buf *out);

status general_reply_from_pb(struct str bytes, struct arena *a, struct infer_reply *out,
                             struct err *e);
status general_reply_from_json(struct str text, struct arena *a, struct infer_reply *out,
                               struct err *e);
/* Element types that the original never sent go where its proto has a field for them (float64_data, bool_data, ...) or
 * into tensor_content. */
void general_reply_to_pb(const struct infer_reply *r, struct buf *out);
void general_reply_to_json(const struct infer_reply *r, struct buf *out);
