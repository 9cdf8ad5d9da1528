/* The field of p = 2^64 - 2^32 + 1 ("Goldilocks").
 *
 * With e = 2^32 - 1:  2^64 = e (mod p)  and  2^96 = -1 (mod p). So for x = l + 2^64 (m + 2^32 h), l < 2^64, m, h < 2^32:
 *   x = l - h + m e (mod p).
 * A borrow or a carry out of 64 bits is worth -e or +e.
 */
#ifndef PRIVCOMP_SRC_FIELD_GOLDILOCKS_H
#define PRIVCOMP_SRC_FIELD_GOLDILOCKS_H

#include "field.h"

#define GOLDILOCKS_P UINT64_C(0xffffffff00000001)       /* check: 2**64 - 2**32 + 1 */
#define GOLDILOCKS_EPSILON UINT64_C(0xffffffff)         /* check: 2**64 - (2**64 - 2**32 + 1) */

/* a - (p - b), plus p where that borrows. */
static inline uint64_t goldilocks_add(uint64_t a, uint64_t b)
{
    uint64_t c = GOLDILOCKS_P - b; /* 1 .. p */
    return a - c + (GOLDILOCKS_P & ~mask_ge(a, c));
}

static inline uint64_t goldilocks_sub(uint64_t a, uint64_t b) { return a - b + (GOLDILOCKS_P & ~mask_ge(a, b)); }

/* requires: x < 2^128. */
static inline uint64_t goldilocks_reduce(u128 x)
{
    uint64_t l = (uint64_t)x, high = (uint64_t)(x >> 64);
    uint64_t h = high >> 32, m = high & GOLDILOCKS_EPSILON;
    /* A borrow leaves l - h + 2^64 >= 2^64 - 2^32 + 1 > e, so subtracting e does not borrow again. */
    uint64_t t = l - h - (GOLDILOCKS_EPSILON & ~mask_ge(l, h));
    uint64_t u = m * GOLDILOCKS_EPSILON; /* <= (2^32 - 1)^2 = 2^64 - 2^33 + 1 */
    /* A carry leaves t + u - 2^64 <= 2^64 - 2^33, so adding e does not carry again. */
    uint64_t r = t + u;
    r += GOLDILOCKS_EPSILON & ~mask_ge(r, u);
    return subtract_once(r, GOLDILOCKS_P); /* r < 2^64 < 2p */
}

static inline uint64_t goldilocks_mul(uint64_t a, uint64_t b) { return goldilocks_reduce((u128)a * b); }

/* A sum of products as low + 2^64 high; 2^32 products keep each half below 2^96. */
#define GOLDILOCKS_TERMS ((size_t)1 << 31)
typedef struct {
    u128 low, high;
} goldilocks_acc;

static inline void goldilocks_acc_add(goldilocks_acc *s, uint64_t a, uint64_t b)
{
    u128 x = (u128)a * b;
    s->low += (uint64_t)x;
    s->high += (uint64_t)(x >> 64);
}

static inline uint64_t goldilocks_acc_reduce(const goldilocks_acc *s)
{
    return goldilocks_add(goldilocks_reduce(s->low), goldilocks_reduce((u128)goldilocks_reduce(s->high) << 64));
}

static inline void goldilocks_acc_fold(goldilocks_acc *s)
{
    s->low = goldilocks_acc_reduce(s);
    s->high = 0;
}

#endif
