/* The field modulo p = 2^255 - 19 in five limbs of 51 bits: the value is sum of v[i] 2^(51 i), and not unique.
 *   tight  v[i] < 2^51 + 2^15: what fe_mul, fe_square and fe_carry return
 *   loose  v[i] < 2^54: what they take. A sum of two tight numbers is loose, and so is a tight number (or the sum of two) minus a tight one.
 * Constant time in every value. Source: Bernstein, Duif, Lange, Schwabe, Yang, "High-speed high-security signatures", CHES 2011. */
#ifndef PC_FE25519_H
#define PC_FE25519_H

#include "wide.h"

typedef struct {
    uint64_t v[5];
} fe;

#define FE_MASK 0x7ffffffffffff /* check: 2**51 - 1 */

static const fe fe_zero = {{0, 0, 0, 0, 0}}, fe_one = {{1, 0, 0, 0, 0}};

PC_INLINE int fe_below(fe a, unsigned bits)
{
    return ((a.v[0] | a.v[1] | a.v[2] | a.v[3] | a.v[4]) >> bits) == 0;
}

/* Every limb gives what is above 2^51 to the next one, all at once; of a loose number that is below 8, and 19 times as much from the last limb. */
PC_INLINE fe fe_carry(fe a)
{
    VERIFY(fe_below(a, 54));
    const fe out = {{(a.v[0] & FE_MASK) + 19 * (a.v[4] >> 51), (a.v[1] & FE_MASK) + (a.v[0] >> 51), (a.v[2] & FE_MASK) + (a.v[1] >> 51),
                     (a.v[3] & FE_MASK) + (a.v[2] >> 51), (a.v[4] & FE_MASK) + (a.v[3] >> 51)}};
    return out;
}

/* The number of limbs r[i] / 2^13. Products come with that factor, 2^8 from one side and 2^5 from the other, so that what is above 2^51 is a word: no
 * shifts of two words, and no limb waits for the one before. Of products of loose numbers, r[i] / 2^121 < 77, 59, 41, 23 and 5 (1 or 19 for each of
 * five), so that r[i] < 2^128 and every t[i] < 2^51 + 95 2^57 < 2^64; t[4] < 2^51 + 23 2^57, and the last carries are below 6100, 19 1473 in limb 0. */
PC_INLINE fe fe_fold(u128 r0, u128 r1, u128 r2, u128 r3, u128 r4)
{
    const uint64_t t0 = ((uint64_t)r0 >> 13) + 19 * (uint64_t)(r4 >> 64), t1 = ((uint64_t)r1 >> 13) + (uint64_t)(r0 >> 64);
    const uint64_t t2 = ((uint64_t)r2 >> 13) + (uint64_t)(r1 >> 64), t3 = ((uint64_t)r3 >> 13) + (uint64_t)(r2 >> 64);
    const uint64_t t4 = ((uint64_t)r4 >> 13) + (uint64_t)(r3 >> 64);
    const fe out = {{(t0 & FE_MASK) + 19 * (t4 >> 51), (t1 & FE_MASK) + (t0 >> 51), (t2 & FE_MASK) + (t1 >> 51), (t3 & FE_MASK) + (t2 >> 51),
                     (t4 & FE_MASK) + (t3 >> 51)}};
    return out;
}

PC_INLINE fe fe_shift(fe a, unsigned bits)
{
    const fe out = {{a.v[0] << bits, a.v[1] << bits, a.v[2] << bits, a.v[3] << bits, a.v[4] << bits}};
    return out;
}

PC_INLINE fe fe_mul(fe a, fe b)
{
    VERIFY(fe_below(a, 54) && fe_below(b, 54));
    a = fe_shift(a, 8), b = fe_shift(b, 5); /* below 2^62 and 2^59, 19 times that below 2^64 */
    const uint64_t b1 = 19 * b.v[1], b2 = 19 * b.v[2], b3 = 19 * b.v[3], b4 = 19 * b.v[4];
    const u128 r0 = (u128)a.v[0] * b.v[0] + (u128)a.v[1] * b4 + (u128)a.v[2] * b3 + (u128)a.v[3] * b2 + (u128)a.v[4] * b1;
    const u128 r1 = (u128)a.v[0] * b.v[1] + (u128)a.v[1] * b.v[0] + (u128)a.v[2] * b4 + (u128)a.v[3] * b3 + (u128)a.v[4] * b2;
    const u128 r2 = (u128)a.v[0] * b.v[2] + (u128)a.v[1] * b.v[1] + (u128)a.v[2] * b.v[0] + (u128)a.v[3] * b4 + (u128)a.v[4] * b3;
    const u128 r3 = (u128)a.v[0] * b.v[3] + (u128)a.v[1] * b.v[2] + (u128)a.v[2] * b.v[1] + (u128)a.v[3] * b.v[0] + (u128)a.v[4] * b4;
    const u128 r4 = (u128)a.v[0] * b.v[4] + (u128)a.v[1] * b.v[3] + (u128)a.v[2] * b.v[2] + (u128)a.v[3] * b.v[1] + (u128)a.v[4] * b.v[0];
    return fe_fold(r0, r1, r2, r3, r4);
}

PC_INLINE fe fe_square(fe a)
{
    VERIFY(fe_below(a, 54));
    const fe b = fe_shift(a, 5);
    a = fe_shift(a, 8);
    const uint64_t a0 = 2 * a.v[0], a1 = 2 * a.v[1], a2 = 2 * a.v[2], b3 = 19 * b.v[3], b4 = 19 * b.v[4];
    const u128 r0 = (u128)a.v[0] * b.v[0] + (u128)a1 * b4 + (u128)a2 * b3;
    const u128 r1 = (u128)a0 * b.v[1] + (u128)a2 * b4 + (u128)a.v[3] * b3;
    const u128 r2 = (u128)a0 * b.v[2] + (u128)a.v[1] * b.v[1] + (u128)(2 * a.v[3]) * b4;
    const u128 r3 = (u128)a0 * b.v[3] + (u128)a1 * b.v[2] + (u128)a.v[4] * b4;
    const u128 r4 = (u128)a0 * b.v[4] + (u128)a1 * b.v[3] + (u128)a.v[2] * b.v[2];
    return fe_fold(r0, r1, r2, r3, r4);
}

/* x is a word in a register here. gcc at -O3 would add limbs two at a time in vectors, which wait long for limbs that were stored one by one: additions
 * of points took half as long again. */
#ifdef PC_MSAN
#define FE_WORD(x) ((void)0)
#else
#define FE_WORD(x) __asm__("" : "+r"(x))
#endif

PC_INLINE fe fe_add(fe a, fe b)
{
    fe out;
    for (int i = 0; i < 5; i++) {
        out.v[i] = a.v[i] + b.v[i];
        FE_WORD(out.v[i]);
    }
    return out;
}

/* a - b + 2p, for b[i] <= 2^52 - 38: tight ones are. */
PC_INLINE fe fe_sub(fe a, fe b)
{
    fe out;
    VERIFY(b.v[0] <= 0xfffffffffffda);
    for (int i = 1; i < 5; i++) VERIFY(b.v[i] <= 0xffffffffffffe);
    out.v[0] = a.v[0] + 0xfffffffffffda - b.v[0]; /* check: 2 * (2**51 - 19) */
    for (int i = 1; i < 5; i++) {
        out.v[i] = a.v[i] + 0xffffffffffffe - b.v[i]; /* check: 2 * (2**51 - 1) */
        FE_WORD(out.v[i]);
    }
    return out;
}

/* a - b + 4p, for b a sum of two tight numbers. */
PC_INLINE fe fe_sub_sum(fe a, fe b)
{
    fe out;
    VERIFY(b.v[0] <= 0x1fffffffffffb4);
    for (int i = 1; i < 5; i++) VERIFY(b.v[i] <= 0x1ffffffffffffc);
    out.v[0] = a.v[0] + 0x1fffffffffffb4 - b.v[0]; /* check: 4 * (2**51 - 19) */
    for (int i = 1; i < 5; i++) {
        out.v[i] = a.v[i] + 0x1ffffffffffffc - b.v[i]; /* check: 4 * (2**51 - 1) */
        FE_WORD(out.v[i]);
    }
    return out;
}

PC_INLINE fe fe_neg(fe a) { return fe_carry(fe_sub(fe_zero, a)); }

/* a or b as mask is zero or all ones. */
PC_INLINE fe fe_select(fe a, fe b, uint64_t mask)
{
    fe out;
    for (int i = 0; i < 5; i++) out.v[i] = a.v[i] ^ (mask & (a.v[i] ^ b.v[i]));
    return out;
}

/* The residue in [0, p) as four words. For tight limbs, whose number x is below 2p, q = floor((x + 19) / 2^255) is 1 exactly where x >= p. */
PC_INLINE void fe_words(uint64_t w[4], fe a)
{
    a = fe_carry(a);
    uint64_t q = (a.v[0] + 19) >> 51;
    for (int i = 1; i < 5; i++) q = (a.v[i] + q) >> 51;
    a.v[0] += 19 * q;
    for (int i = 0; i < 4; i++) {
        a.v[i + 1] += a.v[i] >> 51;
        a.v[i] &= FE_MASK;
    }
    a.v[4] &= FE_MASK;
    w[0] = a.v[0] | a.v[1] << 51;
    w[1] = a.v[1] >> 13 | a.v[2] << 38;
    w[2] = a.v[2] >> 26 | a.v[3] << 25;
    w[3] = a.v[3] >> 39 | a.v[4] << 12;
}

/* Any number below 2^255. */
PC_INLINE fe fe_from_words(const uint64_t w[4])
{
    fe out = {{w[0] & FE_MASK, (w[0] >> 51 | w[1] << 13) & FE_MASK, (w[1] >> 38 | w[2] << 26) & FE_MASK,
               (w[2] >> 25 | w[3] << 39) & FE_MASK, w[3] >> 12 & FE_MASK}};
    return out;
}

PC_INLINE void fe_to_bytes(uint8_t *p, fe a)
{
    uint64_t w[4];
    fe_words(w, a);
    wide_store(p, w);
}

/* Ignores the top bit. */
PC_INLINE fe fe_from_bytes(const uint8_t *p)
{
    uint64_t w[4];
    wide_load(w, p);
    return fe_from_words(w);
}

/* All ones where a = 0. */
PC_INLINE uint64_t fe_zero_mask(fe a)
{
    uint64_t w[4];
    fe_words(w, a);
    return wide_zero_mask(w);
}

PC_INLINE uint64_t fe_equal_mask(fe a, fe b) { return fe_zero_mask(fe_sub(fe_carry(a), fe_carry(b))); }

/* All ones where the residue is odd ("negative" in RFC 9496). */
PC_INLINE uint64_t fe_odd_mask(fe a)
{
    uint64_t w[4];
    fe_words(w, a);
    return mask64(w[0] & 1);
}

PC_INLINE fe fe_abs(fe a)
{
    a = fe_carry(a);
    return fe_select(a, fe_neg(a), fe_odd_mask(a));
}

static inline fe fe_squares(fe a, int n)
{
    for (int i = 0; i < n; i++) a = fe_square(a);
    return a;
}

/* a^(2^250 - 1), and a^11 on the way. */
static inline fe fe_pow_250(fe a, fe *a11)
{
    const fe a2 = fe_square(a), a9 = fe_mul(fe_squares(a2, 2), a);
    *a11 = fe_mul(a9, a2);
    const fe e5 = fe_mul(fe_square(*a11), a9); /* 2^5 - 1 */
    const fe e10 = fe_mul(fe_squares(e5, 5), e5), e20 = fe_mul(fe_squares(e10, 10), e10), e40 = fe_mul(fe_squares(e20, 20), e20);
    const fe e50 = fe_mul(fe_squares(e40, 10), e10), e100 = fe_mul(fe_squares(e50, 50), e50);
    const fe e200 = fe_mul(fe_squares(e100, 100), e100);
    return fe_mul(fe_squares(e200, 50), e50);
}

/* 1 / a, and 0 for 0: a^(p - 2), p - 2 = 2^255 - 21 = (2^250 - 1) 2^5 + 11. */
static inline fe fe_inv(fe a)
{
    fe a11;
    const fe e250 = fe_pow_250(a, &a11);
    return fe_mul(fe_squares(e250, 5), a11);
}

/* a^((p - 5) / 8), (p - 5) / 8 = 2^252 - 3 = (2^250 - 1) 2^2 + 1. */
static inline fe fe_pow_p58(fe a)
{
    fe a11;
    const fe e250 = fe_pow_250(a, &a11);
    return fe_mul(fe_squares(e250, 2), a);
}

#endif
