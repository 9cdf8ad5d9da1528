/* Shamir sharing over any `struct field`: the driver, which the exhaustive tests also run over tiny primes. */
#ifndef PRIVCOMP_SRC_SHAMIR_H
#define PRIVCOMP_SRC_SHAMIR_H

#include "field.h"

int pc_lagrange_weights(const struct field *f, uint64_t *weights, const uint64_t *at, size_t rows, const uint64_t *points, size_t m,
                        uint64_t *scratch);
int pc_shamir_share(const struct field *f, uint64_t *shares, const uint64_t *secrets, size_t d, const uint64_t *points, size_t n,
                    size_t threshold, const uint8_t *seed, uint64_t *scratch, size_t scratch_words);
int pc_shamir_interpolate(const struct field *f, uint64_t *out, const uint64_t *at, size_t rows, const uint64_t *points, size_t m,
                          const uint64_t *shares, size_t d, uint64_t *scratch, size_t scratch_words);

/* For the tests: never takes the shortcut for symmetric points while this is non-zero. */
extern int pc_shamir_no_shortcut;

#endif
