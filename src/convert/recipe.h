/* Private to the room: what is to become of a model, in words that every format shares. */
#pragma once

#include "base/arena.h"
#include "base/map.h"
#include "base/str.h"
#include "codec/pb.h"
#include "convert/convert.h"

#include <stdbool.h>
#include <stdint.h>

#define RECIPE_BINS 2048

/* An activation that is to be quantised. */
struct activation {
    struct str name;
    float low, high; /* what calibration saw, cut as the method says */
    uint64_t *bins;  /* magnitudes, up to the largest; NULL: none are counted */
    float step;      /* decided: a number x is step * (q - zero) */
    int32_t zero;
    bool written; /* what quantises it */
};

/* A constant that is stored in another way. */
struct weight {
    struct str name;
    const struct tensor *tensor; /* float32 */
    int axis;                    /* int8: has a scale for each of its elements */
};

/* Operator `op` of the format reads an activation, which it is to read quantised. */
struct site {
    int op;
    int input;        /* ONNX */
    const char *slot; /* Paddle */
    struct activation *activation;
};

struct recipe {
    struct arena *arena;
    struct map by_name; /* name -> struct activation */
    struct activation **activation;
    struct weight *weight;
    struct site *site;
    int activation_count, weight_count, site_count;
    int activation_cap, weight_cap, site_cap;
    bool symmetric; /* the format has no zero points */
};

void recipe_init(struct recipe *r, struct arena *a);
/* The activation of this name, noted when it is met first. */
struct activation *recipe_activation(struct recipe *r, struct str name);
bool recipe_has(const struct recipe *r, struct str name);
void recipe_add_site(struct recipe *r, const struct site *s);
void recipe_add_weight(struct recipe *r, const struct weight *w);
/* Whether the constant of this name is stored in another way. */
bool recipe_converts(const struct recipe *r, struct str name);
/* The next activation that operator op reads quantised and that nothing quantises so far; it counts as written from now
 * on. NULL: none. */
struct activation *recipe_due(const struct recipe *r, int op);

/* Runs the model at path on the samples and decides on every activation's step and zero. */
status recipe_calibrate(struct recipe *r, const char *path, const struct convert_options *opt,
                        const struct convert_samples *samples, struct err *e);

/* A weight as int8: q of its size, and the largest magnitude of each element of its axis. */
struct quantised {
    int8_t *q;
    float *largest;
    int64_t channels;
};
void weight_quantise(const struct weight *w, struct arena *a, struct quantised *out);
/* A weight in half precision. */
uint16_t *weight_halve(const struct weight *w, precision p, struct arena *a);
/* Weights of fewer elements are not worth an operator each. */
#define HALVE_ELEMENTS 256

/* Both formats are protobuf: a sub-message that was built on the side (and is freed); the field that r stands at, which
 * begins at `from`, as it is; the text in a field of a message, empty where there is none. */
void proto_put_message(struct buf *to, uint32_t field, struct buf *message);
void proto_copy_field(struct pb *r, const uint8_t *from, struct buf *to);
struct str proto_text(struct str message, uint32_t field);

/* A format that models are written in. */
struct format {
    bool (*detect)(const char *path);
    /* Reads the model; *state lives in the arena. */
    status (*open)(const char *path, struct arena *a, void **state, struct err *e);
    status (*list)(void *state, precision p, struct recipe *r, struct err *e);
    /* Writes program and parameters into directory `out`; fills the report's form and bytes. */
    status (*write)(void *state, precision p, const struct recipe *r, const char *out,
                    struct convert_report *report, struct err *e);
    void (*close)(void *state);
};
extern const struct format convert_paddle, convert_onnx;
