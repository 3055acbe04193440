/* The JSON of `POST /NAME/prediction`: {"feed":[{"x":[...], "x.lod":[...]}, ...],"fetch":["price"]} and
 * {"result":{"price":[[18.9]]}}.
 *
 * The values have no types of their own, so decoding asks for each feed's port: a callback tells dtype, raggedness and rank.
 * Several members of "feed" are rows of one batch: dense ones are stacked along a new first dimension (a value that has
 * the batch dimension already is joined along it), ragged ones joined with one sequence each, or with those that "x.lod"
 * says (the flat list of general_model.h). All members give the same names. One member may stand without the list; without
 * "fetch" every output is meant. Strings become one tensor of bytes, each ended by a NUL. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "tensor/call.h"

status predict_request_from_json(struct str text, const struct call_ports *ports, struct arena *a,
                                 struct infer_request *out, struct err *e);
void predict_request_to_json(const struct infer_request *r, struct buf *out);
/* Nested lists by shape; "NAME.lod" follows a ragged one. Keys are aliases (of the first output that has each). */
void predict_reply_to_json(const struct infer_reply *r, struct buf *out);
