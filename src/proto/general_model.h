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

/* Elements of a request that are too many to be copied: they stay where they lie, and the message is the bytes of `out` with
 * each gap's data put in at its place (rising). Counted in `bytes`. */
#define GENERAL_GAPS      8
#define GENERAL_GAP_BYTES ((size_t)16 << 10) /* the fewest that a gap is made for */

struct general_gap {
    size_t at; /* in out, as it is without any data of gaps */
    const void *data;
    size_t bytes;
};

struct general_gaps {
    struct general_gap gap[GENERAL_GAPS];
    int count;
    size_t bytes;
};

/* As general_request_to_pb; *gaps is filled. The data of the gaps are the request's. */
void general_request_to_pb_around(const struct infer_request *r, struct buf *out,
                                  struct general_gaps *gaps);
void general_request_to_json(const struct infer_request *r, struct buf *out);

status general_reply_from_pb(struct str bytes, struct arena *a, struct infer_reply *out,
                             struct err *e);
status general_reply_from_json(struct str text, struct arena *a, struct infer_reply *out,
                               struct err *e);
/* Element types that the original never sent go where its proto has a field for them (float64_data, bool_data, ...) or
 * into tensor_content. */
void general_reply_to_pb(const struct infer_reply *r, struct buf *out);
void general_reply_to_json(const struct infer_reply *r, struct buf *out);
