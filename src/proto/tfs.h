/* The JSON of TensorFlow Serving's REST interface: predict in its row form ({"instances": [...]}) and its column form
 * ({"inputs": ...}), classify and regress ({"examples": [{...}]}), and their answers. The values have no types of their own:
 * the model's ports say what they are.
 *
 * An instance is one element of the batch: instances are stacked along the first dimension. To a ragged input each is one
 * sequence. {"b64": "..."} stands for bytes; NaN, Infinity and -Infinity may stand bare. Faults are INVALID, in
 * TensorFlow Serving's words where it has some that clients look for. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "tensor/call.h"

enum tfs_kind {
    TFS_PREDICT,
    TFS_CLASSIFY,
    TFS_REGRESS,
};

/* What an answer has to know of its request. */
struct tfs_form {
    enum tfs_kind kind;
    bool rows;     /* instances, not inputs */
    int64_t batch; /* instances */
};

/* form->kind is given, the rest is filled. */
status tfs_request_from_json(struct str text, const struct call_ports *ports, struct arena *a,
                             struct tfs_form *form, struct infer_request *out, struct err *e);
status tfs_reply_to_json(const struct tfs_form *form, const struct infer_reply *r, struct buf *out,
                         struct err *e);

/* The other way round, for clients: the column form of r's feeds, and the answer to it, whose floats are float64 for lack
 * of a type. */
void tfs_request_to_json(const struct infer_request *r, struct buf *out);
/* One output without a name is called "outputs". */
status tfs_reply_from_json(struct str text, struct arena *a, struct infer_reply *out,
                           struct err *e);
