/* Attribute structs of the operators that answer by chance, and of the one that follows beams back. */
#pragma once

#include "graph/op.h"

enum random_kind {
    RANDOM_UNIFORM,   /* floats of a .. b, without b; integers of a .. b - 1 */
    RANDOM_NORMAL,    /* mean a, deviation b */
    RANDOM_TRUNCATED, /* the same, within two deviations */
};
extern const char *const random_names[];

/* random: numbers of this shape. Input 0: the shape (optional). seed 0: others at each run; else always the same. */
struct random_attrs {
    struct attr_ints shape;
    int32_t kind, dtype; /* enum random_kind; enum dtype */
    int32_t seed;
    float a, b;
};

/* sample: x [n, c] or [c] of weights, none below 0; `count` numbers of 0 .. c-1 for each row, int64. replace: the same may
 * come again. flip_coins: x of probabilities; 1 with each, else 0. */
struct sample_attrs {
    int32_t count, seed;
    bool replace;
};

/* beam_step: one step of a beam search over ragged rows. Inputs: pre_ids, pre_scores [N, 1] of the beams, scores [N, K] of
 * what may follow each, the offsets of sources (in sequences) and of sequences (in rows), ids [N, K] (optional: the
 * column otherwise). Of each source the `beam_size` best go on; a beam that has ended stays as it is, and a source whose
 * beams have all ended goes no more. Outputs: ids int64 [M, 1], scores [M, 1], the row that each came from int32 [M], the
 * offsets of sources (in rows of the step before), and for each such row those of what came from it. */
struct beam_attrs {
    int64_t end_id;
    int32_t beam_size;
    /* scores hold those of the beam; else they are probabilities, whose logs are added to it */
    bool accumulated;
};

/* beam_decode: the sentences at the end of a beam search. Inputs: an array (graph/attrs_array.h) of the ids that each step
 * chose, int64 [M, 1] with two levels of offsets (sources, and the beams of the step before), one of their scores (float32),
 * and how many steps there are (int64 [1]). Outputs: ids int64 [T] and scores [T] of all sentences, the best of a source
 * first, offsets of sources (in sentences: `beam_size` each) and of sentences (in rows). Ids behind the first `end_id` of a
 * sentence are left out. */
struct beam_decode_attrs {
    int64_t end_id;
    int32_t beam_size;
};

/* gather_tree: inputs ids, parents [T, N, beams] (int64 or int32); out [T, N, beams]: the ids of each beam of the last
 * step and its ancestors. */
