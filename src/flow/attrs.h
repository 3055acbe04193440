/* Private to the room: an operator's settings, read when its node is opened. */
#pragma once

#include "flow/node.h"
#include "flow/yaml.h"

/* What a node is opened with. Words of faults get FILE:LINE in front by whoever opens. */
struct flow_open {
    struct flow *flow;
    struct flow_node *node;
    const char *file;         /* "" where there is none */
    const struct yaml *attrs; /* NULL: none */
    const struct port *const
        *in;             /* the first tensor of each edge; NULL where only a request tells */
    struct arena *arena; /* the flow's */
};

/* Each leaves *out alone where the setting is not given. */
status flow_attr_i64(const struct flow_open *o, const char *key, int64_t min, int64_t max,
                     int64_t *out, struct err *e);
status flow_attr_real(const struct flow_open *o, const char *key, double *out, struct err *e);
status flow_attr_text(const struct flow_open *o, const char *key, const char **out, struct err *e);
/* A list of numbers; *count is its length. */
status flow_attr_reals(const struct flow_open *o, const char *key, const double **out, int *count,
                       struct err *e);
/* INVALID unless the k-th input is known to be, or may be, one of the types in the set. */
status flow_check_dtype(const struct flow_open *o, int k, uint32_t dtypes, const char *wanted,
                        struct err *e);
/* Declares the one tensor that the node gives: like its first input where `like` is NULL. */
void flow_gives(const struct flow_open *o, const struct port *like, const char *name);
/* The tensor behind the k-th edge; INVALID when it brings none, or several. */
status flow_one_input(struct flow_step *s, int k, const struct named_tensor **out, struct err *e);
/* Room for the node's one output, named as declared. NO_MEMORY. */
status flow_give(struct flow_step *s, dtype d, const struct shape *shape, void **data,
                 struct err *e);
