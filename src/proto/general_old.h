/* GeneralModelService as it was before Paddle Serving 0.7 (proto2): a request is one or no FeedInst, a list of tensors without
 * names, which are meant in the order of the model's inputs. The gRPC service of that time, MultiLangGeneralModelService, has
 * the same tensors in messages of its own.
 *
 * Service and method are called as today's, so that only the message's shape tells the two apart. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "tensor/call.h"

/* Whether bytes are a request of that form: no tensor of today's can be read as one, since it has a shape or a name. */
bool general_is_old(struct str bytes);

/* Feeds are called "in0", "in1", ... */
status general_old_request(struct str bytes, struct arena *a, struct infer_request *out,
                           struct err *e);
void general_old_reply(const struct infer_reply *r, struct buf *out);

#define MULTI_LANG_SERVICE "baidu.paddle_serving.multi_lang.MultiLangGeneralModelService"

/* InferenceRequest: feeds have names; with is_python, elements are raw bytes in `data`, and go out so (*raw). */
status general_multi_lang_request(struct str bytes, struct arena *a, struct infer_request *out,
                                  bool *raw, struct err *e);
void general_multi_lang_reply(const struct infer_reply *r, bool raw, struct buf *out);
