/* Sampling from a table: what the portable kernel and the wide one share.
 *
 * A place x of the table carries a threshold T_x of 192 bits, words tops[x], rest[2 x], rest[2 x + 1] from the highest to the lowest. Bins
 * 0 .. 62 are blocks of 2^shift places each; bin 63, the tail, is the 2^tail_shift places from 63 2^shift on. A candidate (A, B):
 *   bin     j = bits 0 .. 5 of A; unless bits 6 .. 21 are below the bin's alias threshold, its other bin instead
 *   place   x = 63 2^shift + the low tail_shift bits of A / 2^23 if j = 63, else j 2^shift + its low shift bits
 *   accept  the 192-bit number U of B and two extension words, from the highest to the lowest, is below T_x
 *   value   base + x; mirrored and with bit 22 of A set, base - x (mirror 1) or base - 1 - x (mirror 2); in the tail and not mirrored,
 *           base + x - length if x >= wrap
 * Heads, the top 16 bits of the thresholds, decide unless they equal those of B: an array of 16-bit numbers stays in a near cache where one of
 * words would not, and one candidate in 2^16 is left open. docs/samplers-tables.md says what distribution that is.
 */
#ifndef PRIVCOMP_SAMPLER_TABLE_H
#define PRIVCOMP_SAMPLER_TABLE_H

#include "sampler.h"

#define TABLE_TAIL (PRIVCOMP_SAMPLER_BINS - 1)
#define TABLE_FRACTION 6 /* where the alias fraction begins in A; check: 64 == 2**6 */
#define TABLE_SIGN 22    /* check: 6 + 16 */
#define TABLE_OFFSET 23  /* check: 22 + 1 */

/* A table after the checks. The entries of heads, tops and rest may change at any time; nothing here does. */
typedef struct {
    uint32_t alias[PRIVCOMP_SAMPLER_BINS]; /* threshold 2^6 + other bin, a threshold at most 2^16: no fraction is above that */
    const uint16_t *heads;                 /* length + 1 of them, the last one never used */
    const uint64_t *tops, *rest;
    uint64_t length, wrap, base;
    uint32_t compared;    /* the bits of a head that the first comparison looks at: all 16, except in tests */
    uint64_t flip, carry; /* value = base + (x ^ m) - (m & carry), where m is flip if the sign is set, else 0 */
    unsigned shift, tail_shift;
} sampler_table;

/* A caller's entry, any word, as one of `alias` that takes the same bins. */
PC_INLINE uint32_t table_entry(uint64_t entry)
{
    const uint64_t threshold = entry / PRIVCOMP_SAMPLER_BINS < 0x10000 ? entry / PRIVCOMP_SAMPLER_BINS : 0x10000; /* check: 0x10000 == 2**16 */
    return (uint32_t)(threshold * PRIVCOMP_SAMPLER_BINS + entry % PRIVCOMP_SAMPLER_BINS);
}

/* The bin of a candidate, at most 63. */
PC_INLINE uint64_t table_bin(const sampler_table *t, uint64_t a)
{
    const uint32_t own = (uint32_t)a % PRIVCOMP_SAMPLER_BINS, entry = t->alias[own];
    return (a >> TABLE_FRACTION & 0xffff) < entry / PRIVCOMP_SAMPLER_BINS ? own : entry % PRIVCOMP_SAMPLER_BINS; /* check: 0xffff == 2**16 - 1 */
}

/* A candidate without any haste: whether it is accepted, and *value. It may be one that the first comparison leaves open, or of the tail. */
int pc_table_candidate(int64_t *value, uint64_t a, uint64_t b, uint64_t candidate, pc_sampler *s, const sampler_table *t);

#endif
