/* Private to those who compile a plan: what they work on. plan.c walks over the nodes; homes.c says where values live, steps.c
 * which kernel runs and in which layouts, finish.c lays all of it out. */
#pragma once

#include "exec/plan.h"

#define RANK_ABSENT (-1) /* not made so far */
#define RANK_LATE   (-2) /* made, but only running tells its shape */
#define KNOWN_BYTES \
    1024 /* larger constants are handed on as bytes: no shape is made of so many numbers */

/* A value in another layout than it has at home. */
struct copy {
    enum layout layout;
    struct place home; /* PLACE_NONE: there is none */
};

/* Working state of one build; everything in it lives in `scratch`. */
struct build {
    const struct plan_request *r;
    struct plan *plan;
    struct arena *scratch;
    struct type *type;     /* by value id; rank: as above */
    struct shape *bound;   /* by value id, where the type is late */
    int *late;             /* by value id: the late slot, or -1 */
    struct place *home;    /* by value id; PLACE_WORKSPACE: index is the extent */
    enum layout *layout;   /* by value id: how it lies at home */
    struct copy *copy;     /* by value id */
    const int *last_use;   /* by value id */
    struct extent *extent; /* extent_count of them */
    int extent_count, step_cap;
    size_t scratch_bytes;
    bool is_out_of_memory; /* told at the end */
    struct err *err;
};

/* ---- homes.c ---- */

size_t home_bytes(const struct build *b, const struct value *v, enum layout l);
/* Small ones get up to a quarter more, to steps that other sizes share (rebind.h). */
size_t home_room(size_t bytes);
struct place home_extent(struct build *b, size_t bytes, int first, int last);
void home_stretch(struct build *b, const struct place *home, int last);
/* Homes of node i's outputs. An in-place result takes over an input's extent: the first one's, or input `over`'s. */
void home_outputs(struct build *b, const struct node *n, int i, const struct place *in,
                  const enum layout *give, int over);
/* What comes out of a step with graphs lies where that says. */
void home_late(struct build *b, const struct node *n);
/* The shapes of n's outputs are told by running it, in the next late slots; gives the first. */
int home_make_late(struct build *b, const struct node *n);
/* The last step that reads each value; outputs are read behind the last step. */
int *home_last_uses(struct build *b);

/* ---- steps.c ---- */

/* An empty one behind the others, which counts when step_count is raised. */
struct plan_step *step_new(struct build *b, const struct node *n, int in_count, int out_count);
/* Where v lies in the layout that node i (n; the last one, for results) wants; a step brings it there where need be. */
struct place step_bring(struct build *b, const struct node *n, const struct value *v,
                        enum layout want, int i);
void step_bring_all(struct build *b, const struct node *n, const enum layout *want, int i,
                    struct place *in);
/* t's elements, or a copy that is aligned: a parameter may lie in its file at any alignment. */
status step_align(struct build *b, const struct tensor *t, const void **data);
/* Of node n by kernel k (NULL: control), in `at`: what it reads is aligned. */
status step_align_places(struct build *b, const struct node *n, const struct kernel *k,
                         struct place *at);
/* Chooses a kernel for node i and makes it a step; homes of its outputs too. */
status step_prepare(struct build *b, const struct node *n, int i, const struct type *in,
                    const struct type *out);

/* ---- finish.c ---- */

/* Behind the last node: extents get their offsets, steps their places, and what leaves the plan is listed. */
status plan_finish(struct build *b);
