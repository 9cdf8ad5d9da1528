/* Number-theoretic transforms over the Goldilocks field, for many polynomials at once: what the driver knows of one instruction set.
 *
 * Polynomials are columns, coefficients are rows: a butterfly takes two rows and one public twiddle factor, and is the same for all
 * columns. Between butterflies a word is "loose", any number below 2^64, of which its residue counts; the portable twin keeps words
 * canonical. `finish` and `scale` give canonical words. A column is worked on by the same code in all steps.
 */
#ifndef PRIVCOMP_SRC_NTT_GOLDILOCKS_H
#define PRIVCOMP_SRC_NTT_GOLDILOCKS_H

#include "field_goldilocks.h"

struct ntt {
    /* u, v = u + w v, u - w v */
    void (*forward)(uint64_t *u, uint64_t *v, uint64_t w, size_t n);
    /* u, v = u + v, w (u - v) */
    void (*inverse)(uint64_t *u, uint64_t *v, uint64_t w, size_t n);
    /* u = w u, canonical */
    void (*scale)(uint64_t *u, uint64_t w, size_t n);
    /* u, canonical */
    void (*finish)(uint64_t *u, size_t n);
};

extern const struct ntt pc_ntt_portable;
#if PC_X86
extern const struct ntt pc_ntt_avx2;
#endif

/* The functions of a dispatch level. */
const struct ntt *pc_ntt_at(int level);

#endif
