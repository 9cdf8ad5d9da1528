/* The exact samplers of f(z) = exp(-phi(|z|)) on the integers: discrete Gaussian, phi(x) = x^2 / (2 sigma^2), and discrete Laplace,
 * phi(x) = x / t. docs/samplers.md has the argument at length.
 *
 * Candidate. Blocks of w = 2^m numbers: block j < 63 has weight W_j, bin 63 is the tail, all weights sum to 2^22. With rho = exp(-phi),
 *   y = j w + offset, z = y or -(y + 1) by a fair sign, x = |z|, and z is accepted with probability  T = c rho(x) / W_j <= 1,
 * so that each z comes out of a candidate with probability  W_j / 2^22 * 1/w * 1/2 * T = c rho(|z|) / (2^23 w), the same multiple of f.
 * Tail, Gaussian: block 63 + g with probability 2^-(g+1), hence T = c rho(x) 2^(g+1) / W_63.
 * Tail, Laplace: another candidate, moved by 63 w; after r such moves T = c rho(x) 2^((22 - q) r) / W_j for W_63 = 2^q.
 *
 * Words. A: bin (6 bits), fraction (16), sign (1), and the top m bits are the offset. An alias entry is threshold 2^6 + other bin: the
 * bin stays if fraction < threshold. B is the first word of the uniform U that is compared with T; extension words go on.
 * Gaussian tail: g = how many zero bits come before the first one bit of the first extension words (from the low end).
 * Laplace tail: the next extension word is read as A, without its sign.
 *
 * Decision. U < T, exactly. A kernel may compute T with an error: what is nearer to U than its error allows goes to
 * pc_exp_candidate, which computes in double and, where that does not decide, with integers of any precision that is needed.
 */
#ifndef PRIVCOMP_SAMPLER_EXP_H
#define PRIVCOMP_SAMPLER_EXP_H

#include "sampler.h"

#define EXP_TAIL 63        /* the bin */
#define EXP_MASS_BITS 22
#define EXP_C_BITS 40      /* scale = c 2^40 */
#define EXP_SHIFT_MAX 38   /* of w = 2^m: 23 + m <= 64, and x <= 2112 w < 2^50 after 32 words of tail; check: 38 + 23 <= 64 and 2112 * 2**38 < 2**50 */
#define EXP_NEAR_SHIFT 24  /* bits of an offset that float kernels look at */
#define EXP_BAND_SINGLE 15 /* kernels in float: |T - U| > 2^-15 is certain */
#define EXP_BAND_DOUBLE 40 /* in double: 2^-40 */

/* A table that has been checked, with what the kernels need of it. */
typedef struct {
    uint32_t alias[PRIVCOMP_SAMPLER_BINS];
    uint32_t weight[PRIVCOMP_SAMPLER_BINS];
    float ratio_single[PRIVCOMP_SAMPLER_BINS]; /* c / W_j */
    double ratio[PRIVCOMP_SAMPLER_BINS];
    double rate;          /* phi(x) log2(e) = rate x^2 or rate x */
    float rate_single;    /* the same for x in units of 2^(m - near) */
    float band_single;
    double band;
    uint64_t numerator[2], denominator[2], scale;
    unsigned shift, near; /* m, min(m, EXP_NEAR_SHIFT) */
    unsigned step;        /* Laplace: 22 - q */
    int gauss;
} exp_table;

/* Copies a caller's table, checks it and prepares it; 0 if it is refused. */
int pc_exp_table_load(exp_table *t, const privcomp_exp_table *from);

/* Whether candidate i with the words a and b is accepted; *value is then its value. Uses doubles first, integers if need be. */
int pc_exp_candidate(int64_t *value, const exp_table *t, pc_sampler *s, uint64_t i, uint64_t a, uint64_t b);

/* The bin of a word, by the alias table. */
PC_INLINE unsigned exp_bin(const exp_table *t, uint64_t word)
{
    const unsigned bin = (unsigned)word % PRIVCOMP_SAMPLER_BINS;
    const uint32_t entry = t->alias[bin], stays = 0 - (uint32_t)((uint32_t)(word >> 6 & 0xffff) < entry >> 6); /* check: 0xffff == 2**16 - 1 */
    return (bin & stays) | (entry % PRIVCOMP_SAMPLER_BINS & ~stays); /* not a branch: half of them would be mispredicted */
}

/* The offset: the top m bits. */
PC_INLINE uint64_t exp_offset(uint64_t word, unsigned m) { return word >> 1 >> (63 - m); }

#define EXP_SIGN_BIT 22 /* of A; check: 22 == 6 + 16 */

/* 2^r for -1/2 <= r <= 1/2 is e^v, v = r log(2), |v| < 0.3466: Taylor's series to degree 5 is off by < 0.3466^6 / 6! e^0.3466 < 2^-17.8,
 * and to degree 11 by < 0.3466^12 / 12! e^0.3466 < 2^-46.6. */

#endif
