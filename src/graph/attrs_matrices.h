/* Operators that solve something small. None has attributes.
 *
 * det, inverse: x [..., n, n]; the determinant of each matrix, [...]; its inverse, [..., n, n]. A matrix without one makes the
 * run fail INVALID.
 * couple: r [rows, k (k - 1) / 2], the probability of i against j for the pairs (0,1), (0,2), .., (1,2), ..; one for each of
 * the k classes that fits them best, [rows, k]. The second method of Wu, Lin and Weng (2004), as LIBSVM has it. */
#pragma once

#include "graph/op.h"

#define COUPLE_CLASSES_MAX 4096

/* How many classes have so many pairs; -1: none has. */
int64_t classes_of_pairs(int64_t pairs);
