/* Shamir sharing over any `struct field`: the driver, which the exhaustive tests also run over tiny primes. */
#ifndef PRIVCOMP_SRC_SHAMIR_H
#define PRIVCOMP_SRC_SHAMIR_H

#include "field.h"

int pc_lagrange_weights(const struct field *f, uint64_t *weights, const uint64_t *at, size_t rows, const uint64_t *points, size_t m,
                        uint64_t *scratch);
int pc_shamir_share(const struct field *f, uint64_t *shares, const uint64_t *secrets, size_t d, const uint64_t *points, size_t n,
                    size_t threshold, const uint8_t *seed, uint64_t *scratch, size_t scratch_words);
/* Columns first .. first + count - 1 of the same shares. */
int pc_shamir_share_part(const struct field *f, uint64_t *shares, const uint64_t *secrets, size_t d, size_t first, size_t count,
                         const uint64_t *points, size_t n, size_t threshold, const uint8_t *seed, uint64_t *scratch, size_t scratch_words);
int pc_shamir_interpolate(const struct field *f, uint64_t *out, const uint64_t *at, size_t rows, const uint64_t *points, size_t m,
                          const uint64_t *shares, size_t d, uint64_t *scratch, size_t scratch_words);

/* tile[k * stride + j - from] = draw (k, j) of privcomp_shamir_share with `rows` rows in place of threshold - 1, for k < rows and
 * from <= j < from + width. Which candidates are rejected is public. */
void pc_field_draw(const struct field *f, uint64_t *tile, size_t stride, size_t rows, size_t d, size_t from, size_t width,
                   const pc_stream *stream, const pc_level *level);

/* For the tests: never takes the shortcut for symmetric points while this is non-zero. */
extern int pc_shamir_no_shortcut;

#endif
