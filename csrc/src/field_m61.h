/* The field of p = 2^61 - 1.
 *
 * 2^61 = 1 (mod p), so a number is reduced by adding its high part to its low 61 bits ("folding"):
 *   x = h 2^61 + l  =  h + l (mod p).
 * For x < 2^64 one fold gives at most (2^61 - 1) + 7; for x <= 2^62 at most 2^61 + 1.
 * p itself folds to p, so a fold ends with one conditional subtraction where the result has to be canonical.
 */
#ifndef PRIVCOMP_SRC_FIELD_M61_H
#define PRIVCOMP_SRC_FIELD_M61_H

#include "field.h"

#define M61_P UINT64_C(0x1fffffffffffffff) /* check: 2**61 - 1 */

static inline uint64_t m61_add(uint64_t a, uint64_t b) { return subtract_once(a + b, M61_P); } /* a + b <= 2p - 2 */

static inline uint64_t m61_sub(uint64_t a, uint64_t b) { return subtract_once(a + M61_P - b, M61_P); } /* <= 2p - 1 */

/* requires: x < 2^128. */
static inline uint64_t m61_reduce(u128 x)
{
    u128 y = (x & M61_P) + (x >> 61);                        /* < 2^61 + 2^67 */
    uint64_t z = ((uint64_t)y & M61_P) + (uint64_t)(y >> 61); /* <= p + 2^6 */
    VERIFY(z <= M61_P + 64);
    return subtract_once(z, M61_P);
}

static inline uint64_t m61_mul(uint64_t a, uint64_t b)
{
    u128 x = (u128)a * b;                                    /* <= (p-1)^2 = p^2 - 2p + 1 < 2^61 (p - 1) */
    uint64_t z = ((uint64_t)x & M61_P) + (uint64_t)(x >> 61); /* <= p + (p - 2) */
    VERIFY(z < 2 * M61_P);
    return subtract_once(z, M61_P);
}

/* A sum of products. Each is < 2^122; M61_TERMS of them and what a fold leaves stay below 2^127 + 2^68 < 2^128. */
#define M61_TERMS 32
typedef u128 m61_acc;

static inline void m61_acc_add(m61_acc *s, uint64_t a, uint64_t b) { *s += (u128)a * b; }

static inline void m61_acc_fold(m61_acc *s)
{
    *s = (*s & M61_P) + (*s >> 61);
    VERIFY(*s < ((u128)1 << 68));
}

static inline uint64_t m61_acc_reduce(const m61_acc *s) { return m61_reduce(*s); }

/* For field_extend.h, on numbers of any width. A fold leaves at most p + 7; x >= p, for such an x, if x + 1 has bit 61.
 * check: 4 * (2**61 - 1 + 7) < 2**64 */
#define M61_FOLD(x) (((x) & M61_P) + ((x) >> 61))
#define M61_NEGATE(x) (M61_P - (x))
#define M61_FINISH(x) (((x) + (((x) + 1) >> 61)) & M61_P)

#endif
