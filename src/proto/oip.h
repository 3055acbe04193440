/* The Open Inference Protocol V2 with Triton's extensions, apart from how its bytes are written: what a request says, how it
 * is held against a model, and what a reply consists of. oip_json.c is its JSON form with the binary tensor extension;
 * a protobuf form fills and reads the same structures. Specification: docs of kserve/open-inference-protocol and of
 * triton-inference-server; names and words of faults are Triton's, since clients look for them.
 *
 * A ragged input NAME takes its offsets from a further input "NAME.lod" (INT64, the flat list of general_model.h); without
 * it, one tensor is one sequence, and a tensor with one dimension more is a batch of sequences that are equally long. A ragged output gives
 * "NAME.lod" behind itself where every output is meant, else where it is asked for.
 *
 * Everything lives in the arena or is a view of the request's bytes. Faults: MALFORMED where the message is not one,
 * INVALID where the model does not want it, TOO_LARGE, NO_MEMORY. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "tensor/call.h"

enum oip_kind {
    OIP_BOOL,
    OIP_INT,
    OIP_UINT, /* above INT64_MAX, where JSON brought it */
    OIP_DOUBLE,
    OIP_STRING,
};

struct oip_param {
    struct str key;
    enum oip_kind kind;
    int64_t integer; /* BOOL, INT, UINT (its bits) */
    double real;
    struct str text;
};

/* Where a tensor's bytes lie in shared memory. */
struct oip_region {
    struct str name; /* p NULL: not in shared memory */
    uint64_t offset, bytes;
};

/* An input as it was sent. Of elements, raw and region one is given. */
struct oip_input {
    struct str name, datatype;
    bool has_shape, has_raw;
    dtype dtype; /* set by oip_input_type */
    struct shape shape;
    const void *elements; /* dense, aligned; BYTES: struct str of each; NULL: none */
    int64_t count;        /* of them */
    struct str raw;       /* as the protocol lays elements out: BYTES with a length before each */
    uint64_t raw_bytes;   /* what binary_data_size says */
    struct oip_region region;
};

/* An output as it is wanted. */
struct oip_wanted {
    struct str name;
    int binary;      /* binary_data: 1, 0, or -1 where nothing is said */
    int64_t classes; /* 0: the tensor itself */
    struct oip_region region;
};

struct oip_request {
    struct str id;
    struct oip_input *input;
    int input_count;
    struct oip_wanted *output; /* none: all */
    int output_count;
    struct oip_param *param; /* those that are not understood here */
    int param_count;
    bool binary_output; /* of outputs that say nothing themselves */
    bool timing;        /* stage times are wanted as response parameters */
    int64_t timeout_us, priority;
};

struct oip_model {
    struct str name, version;
    struct call_ports in, out;
    const struct str *label; /* of classes, or NULL */
    int64_t label_count;
};

/* Adds an input or a wanted output to the request; NULL: more than LIMIT_REQUEST_TENSORS, or no memory (words in e). */
struct oip_input *oip_add_input(struct oip_request *r, struct arena *a, struct err *e);
struct oip_wanted *oip_add_output(struct oip_request *r, struct arena *a, struct err *e);
/* Takes a request's parameter: those understood go to their fields, the rest to param. */
status oip_take_param(struct oip_request *r, const struct oip_param *p, struct arena *a,
                      struct err *e);
/* The same for a parameter of an input or output. */
status oip_take_input_param(struct oip_input *in, const struct oip_param *p, struct err *e);
status oip_take_output_param(struct oip_wanted *out, const struct oip_param *p, struct err *e);
/* Sets in->dtype from in->datatype. */
status oip_input_type(struct oip_input *in, struct err *e);

/* Reads a region of shared memory (the server's table of them); NULL where that is not allowed. */
typedef status oip_read_region(void *arg, const struct oip_region *region, struct str *out,
                               struct err *e);

/* Holds the request against the model and fills out, whose tensors are views of the request. */
status oip_bind(const struct oip_request *r, const struct oip_model *m, oip_read_region *read,
                void *read_arg, struct arena *a, struct infer_request *out, struct err *e);

/* One output of a reply. */
struct oip_output {
    struct str name;
    dtype dtype;
    struct shape shape;
    const void *data;       /* not of BYTES */
    const struct str *text; /* BYTES: shape_numel of them */
    size_t bytes;           /* as the protocol lays it out */
    bool binary;
    struct oip_region region;
};

/* What a reply consists of, in the order asked for: classes counted, offsets given, BYTES cut into strings. */
status oip_outputs(const struct oip_request *r, const struct oip_model *m,
                   const struct infer_reply *reply, struct arena *a, struct oip_output **out,
                   int *count, struct err *e);
/* Appends the elements of o as the protocol lays them out: o->bytes of them. */
void oip_put_raw(const struct oip_output *o, struct buf *out);

/* ---- JSON (oip_json.c) ---- */

/* text is the JSON part, tail the binary tensors that follow it. The model gives its name to words. */
status oip_request_from_json(struct str text, struct str tail, const struct oip_model *m,
                             struct arena *a, struct oip_request *out, struct err *e);
/* A raw body: the one input of the model, whole, with every output binary. */
status oip_request_from_raw(struct str body, const struct oip_model *m, struct arena *a,
                            struct oip_request *out, struct err *e);

/* "generate": members that are called like an input are tensors, whose leading dimensions of 1 may be left out; the rest are
 * parameters. */
status oip_request_from_generate(struct str text, const struct oip_model *m, struct arena *a,
                                 struct oip_request *out, struct err *e);

struct oip_reply {
    struct str id;
    const struct oip_model *model;
    const struct oip_param *param;
    int param_count;
    const struct oip_output *output;
    int output_count;
};
/* Appends the JSON, then the binary outputs. *json_bytes: where the JSON ends; *binary: whether anything follows it, which a
 * tensor without elements does too. */
void oip_reply_to_json(const struct oip_reply *r, struct buf *out, size_t *json_bytes,
                       bool *binary);

/* The answer to "generate": each output is a member, a single value without brackets. */
void oip_reply_to_generate(const struct oip_reply *r, struct buf *out);

/* The other way round, for clients: r's feeds as inputs, offsets of ragged ones as "NAME.lod" behind them. binary: tensors
 * follow the JSON, and are asked for so. */
status oip_request_to_json(const struct infer_request *r, bool binary, struct arena *a,
                           struct buf *out, size_t *json_bytes, struct err *e);
/* json_bytes as the header says, SIZE_MAX: the body is JSON alone. Tensors are views of the body where they are aligned. */
status oip_reply_from_json(struct str body, size_t json_bytes, struct arena *a,
                           struct infer_reply *out, struct err *e);
/* The tensor that was sent, without a model to compare it with. */
status oip_input_tensor(const struct oip_input *in, struct arena *a, struct tensor *out,
                        struct err *e);
