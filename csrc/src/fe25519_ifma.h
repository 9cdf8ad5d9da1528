/* The field modulo p = 2^255 - 19 for eight numbers at once: the limbs of fe25519.h, a vector for each, a lane for each number.
 *   tight  v[i] < 2^51 + 2^17: what fe8_carry returns
 *   short  v[i] < 2^52: as much of a factor as the instructions read. A tight number is, the sum of two is not
 *   wide   v[i] < 2^63: what fe8_carry takes. Products are wide, and so are the few sums and differences of them that a formula asks
 *          for: it carries only what it multiplies again
 * Constant time in every value. What follows from this arithmetic is in fe25519_lanes.h, which other vectors share. */
#ifndef PC_FE25519_IFMA_H
#define PC_FE25519_IFMA_H

#include "fe25519.h"
#include "ifma.h"

typedef __m512i vec8;
typedef __mmask8 mask8;

typedef struct {
    __m512i v[5];
} fe8;

typedef fe8 fe8_wide; /* the integers that limbs are: the type that fe25519_lanes.h names */

#define FE8_TIGHT UINT64_C(0x800000001ffff)   /* check: 2**51 + 2**17 - 1 */
#define FE8_SHORT UINT64_C(0xfffffffffffff)   /* check: 2**52 - 1 */
#define FE8_WIDE UINT64_C(0x7fffffffffffffff) /* check: 2**63 - 1 */

#ifdef PRIVCOMP_VERIFY
IFMA static int fe8_at_most(fe8 a, uint64_t limit)
{
    uint64_t lane[LANES];
    int good = 1;
    for (int i = 0; i < 5; i++) {
        store8(lane, a.v[i]);
        for (int j = 0; j < LANES; j++) good &= lane[j] <= limit;
    }
    return good;
}
#endif

IFMA PC_INLINE fe8 fe8_all(fe a)
{
    fe8 out;
    PC_UNROLL
    for (int i = 0; i < 5; i++) out.v[i] = all8(a.v[i]);
    return out;
}

IFMA PC_INLINE fe8 fe8_of_limbs(fe8_wide a) { return a; }
IFMA PC_INLINE fe8_wide fe8_limbs(fe8 a) { return a; }

IFMA PC_INLINE fe8 fe8_load(const uint64_t *from)
{
    fe8 out;
    PC_UNROLL
    for (int i = 0; i < 5; i++) out.v[i] = load8(from + LANES * i);
    return out;
}

IFMA PC_INLINE void fe8_store(uint64_t *to, fe8 a)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) store8(to + LANES * i, a.v[i]);
}

IFMA PC_INLINE fe8 fe8_of_words(const __m512i w[5])
{
    fe8 out;
    PC_UNROLL
    for (int i = 0; i < 5; i++) out.v[i] = w[i];
    return out;
}

IFMA PC_INLINE void fe8_to_words(__m512i w[5], fe8 a)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) w[i] = a.v[i];
}

#define FE8_WORD_ONE UINT64_C(1) /* of the limb 1 in memory */

/* A tight number of one lane, from the words of its limbs. */
static inline fe fe8_lane(const uint64_t word[5])
{
    const fe out = {{word[0], word[1], word[2], word[3], word[4]}};
    return out;
}

/* Every carry at once: a limb gets less than 2^12 from the one below it, limb 0 less than 19 2^12 < 2^17. */
IFMA PC_INLINE fe8 fe8_carry(fe8 a)
{
    const __m512i mask = all8(FE_MASK);
    fe8 out;
    VERIFY(fe8_at_most(a, FE8_WIDE));
    out.v[0] = _mm512_madd52lo_epu64(_mm512_and_si512(a.v[0], mask), _mm512_srli_epi64(a.v[4], 51), all8(19));
    PC_UNROLL
    for (int i = 1; i < 5; i++) out.v[i] = add8(_mm512_and_si512(a.v[i], mask), _mm512_srli_epi64(a.v[i - 1], 51));
    return out;
}

IFMA PC_INLINE fe8 fe8_add_wide(fe8 a, fe8 b)
{
    fe8 out;
    PC_UNROLL
    for (int i = 0; i < 5; i++) out.v[i] = add8(a.v[i], b.v[i]);
    return out;
}

/* a - b + 512p, for b[i] <= 2^60 - 9728: a product or a tight number is. At most 2^60 more than a. */
IFMA PC_INLINE fe8 fe8_sub_wide(fe8 a, fe8 b)
{
    const uint64_t p0 = UINT64_C(0xfffffffffffda00), p1 = UINT64_C(0xffffffffffffe00); /* check: (512 * (2**51 - 19), 512 * (2**51 - 1)) */
    fe8 out;
    VERIFY(fe8_at_most(b, p0));
    out.v[0] = add8(a.v[0], sub8(all8(p0), b.v[0]));
    PC_UNROLL
    for (int i = 1; i < 5; i++) out.v[i] = add8(a.v[i], sub8(all8(p1), b.v[i]));
    return out;
}

/* sum of c[k] 2^(51 k), k < 10: 2^255 = 19. (The mask keeps gcc from making several shifts and additions of each product.) */
IFMA PC_INLINE fe8 fe8_fold(const __m512i c[10])
{
    fe8 out;
    PC_UNROLL
    for (int i = 0; i < 5; i++) out.v[i] = add8(c[i], _mm512_maskz_mullo_epi64(0xff, c[i + 5], all8(19)));
    return out;
}

/* a b for a tight and b short, below 173 2^52 < 2^60 - 9728.
 * Of a product of limbs a[i] b[j] = lo + 2^52 hi at 2^(51 (i + j)), lo belongs to c[i + j] and 2 hi to c[i + j + 1]. With n(k) pairs
 * i + j = k, and hi < 2^51 + 2^17, c[k] < n(k) 2^52 + n(k - 1) (2^52 + 2^18). The sum c[k] + 19 c[k + 5] is largest for k = 0, where it is
 * below 2^52 + 19 (4 2^52 + 5 (2^52 + 2^18)) < 173 2^52. */
IFMA PC_INLINE fe8 fe8_mul_wide(fe8 a, fe8 b)
{
    __m512i c[10], hi[9];
    VERIFY(fe8_at_most(a, FE8_TIGHT) && fe8_at_most(b, FE8_SHORT));
    c[0] = _mm512_setzero_si512();
    PC_UNROLL
    for (int k = 0; k < 9; k++) hi[k] = _mm512_setzero_si512();
    PC_UNROLL
    for (int i = 0; i < 5; i++)
        PC_UNROLL
        for (int j = 0; j < 5; j++) hi[i + j] = _mm512_madd52hi_epu64(hi[i + j], a.v[i], b.v[j]);
    PC_UNROLL
    for (int k = 0; k < 9; k++) c[k + 1] = add8(hi[k], hi[k]);
    PC_UNROLL
    for (int i = 0; i < 5; i++)
        PC_UNROLL
        for (int j = 0; j < 5; j++) c[i + j] = _mm512_madd52lo_epu64(c[i + j], a.v[i], b.v[j]);
    return fe8_fold(c);
}

/* a^2, within the bounds of a product: the pairs i < j are added up first and doubled. (A doubled limb would not be short.) */
IFMA PC_INLINE fe8 fe8_square_wide(fe8 a)
{
    __m512i c[10], hi[9];
    VERIFY(fe8_at_most(a, FE8_TIGHT));
    c[0] = c[9] = _mm512_setzero_si512();
    PC_UNROLL
    for (int k = 0; k < 9; k++) hi[k] = _mm512_setzero_si512();
    PC_UNROLL
    for (int i = 0; i < 4; i++)
        PC_UNROLL
        for (int j = i + 1; j < 5; j++) hi[i + j] = _mm512_madd52hi_epu64(hi[i + j], a.v[i], a.v[j]);
    PC_UNROLL
    for (int k = 0; k < 8; k++) c[k + 1] = add8(hi[k], hi[k]);
    PC_UNROLL
    for (int i = 0; i < 4; i++)
        PC_UNROLL
        for (int j = i + 1; j < 5; j++) c[i + j] = _mm512_madd52lo_epu64(c[i + j], a.v[i], a.v[j]);
    PC_UNROLL
    for (int k = 1; k < 9; k++) c[k] = add8(c[k], c[k]);
    PC_UNROLL
    for (int i = 0; i < 5; i++) {
        const __m512i high = _mm512_madd52hi_epu64(_mm512_setzero_si512(), a.v[i], a.v[i]);
        c[2 * i] = _mm512_madd52lo_epu64(c[2 * i], a.v[i], a.v[i]);
        c[2 * i + 1] = add8(c[2 * i + 1], add8(high, high));
    }
    return fe8_fold(c);
}

/* What other vectors have a bias for. */
IFMA PC_INLINE fe8 fe8_mul_biased(fe8 a, fe8 b) { return fe8_mul_wide(a, b); }
IFMA PC_INLINE fe8 fe8_twice_biased(fe8 a) { return fe8_add_wide(a, a); }
IFMA PC_INLINE fe8 fe8_carry_biased(fe8 a) { return fe8_carry(a); }

/* The same, tight. */
IFMA PC_INLINE fe8 fe8_add(fe8 a, fe8 b) { return fe8_carry(fe8_add_wide(a, b)); }
IFMA PC_INLINE fe8 fe8_sub(fe8 a, fe8 b) { return fe8_carry(fe8_sub_wide(a, b)); }
IFMA static fe8 fe8_mul(fe8 a, fe8 b) { return fe8_carry(fe8_mul_wide(a, b)); }
IFMA static fe8 fe8_square(fe8 a) { return fe8_carry(fe8_square_wide(a)); }

IFMA PC_INLINE fe8 fe8_mul_inline(fe8 a, fe8 b) { return fe8_carry(fe8_mul_wide(a, b)); }
IFMA PC_INLINE fe8 fe8_square_inline(fe8 a) { return fe8_carry(fe8_square_wide(a)); }

/* What a sum of points in affine coordinates takes (ristretto255_affine.h): a - b; slope^2 - 2 x - d; slope run - y, all tight. */
IFMA PC_INLINE fe8 fe8_difference(fe8 a, fe8 b) { return fe8_sub(a, b); }
IFMA PC_INLINE fe8 fe8_third_x(fe8 slope, fe8 x, fe8 d) { return fe8_carry(fe8_sub_wide(fe8_square_wide(slope), fe8_add_wide(fe8_add_wide(x, x), d))); }
IFMA PC_INLINE fe8 fe8_third_y(fe8 slope, fe8 run, fe8 y) { return fe8_carry(fe8_sub_wide(fe8_mul_wide(slope, run), y)); }

/* b in the lanes of the mask, a in the others. */
IFMA PC_INLINE fe8 fe8_select(fe8 a, fe8 b, __mmask8 mask)
{
    fe8 out;
    PC_UNROLL
    for (int i = 0; i < 5; i++) out.v[i] = _mm512_mask_mov_epi64(a.v[i], mask, b.v[i]);
    return out;
}

IFMA PC_INLINE fe8_wide fe8_select_wide(fe8_wide a, fe8_wide b, __mmask8 mask) { return fe8_select(a, b, mask); }

/* 2p - a, short, in the lanes of the mask, for a tight. */
IFMA PC_INLINE fe8 fe8_negate_lanes(fe8 a, __mmask8 mask)
{
    a.v[0] = _mm512_mask_sub_epi64(a.v[0], mask, all8(0xfffffffffffda), a.v[0]); /* check: 2 * (2**51 - 19) */
    PC_UNROLL
    for (int i = 1; i < 5; i++) a.v[i] = _mm512_mask_sub_epi64(a.v[i], mask, all8(0xffffffffffffe), a.v[i]); /* check: 2 * (2**51 - 1) */
    return a;
}

/* floor((a + 19) / 2^255) of a tight number: 1 exactly where a >= p, as a < 2p. */
IFMA PC_INLINE __m512i fe8_quotient(fe8 a)
{
    __m512i q = all8(19);
    PC_UNROLL
    for (int i = 0; i < 5; i++) q = _mm512_srli_epi64(add8(a.v[i], q), 51);
    return q;
}

/* The limbs, each below 2^51, of the residue in [0, p) of a tight number. */
IFMA static inline fe8 fe8_canonical(fe8 a)
{
    const __m512i q = fe8_quotient(a);
    __m512i carry = _mm512_madd52lo_epu64(_mm512_setzero_si512(), q, all8(19));
    PC_UNROLL
    for (int i = 0; i < 5; i++) {
        carry = add8(a.v[i], carry);
        a.v[i] = _mm512_and_si512(carry, all8(FE_MASK));
        carry = _mm512_srli_epi64(carry, 51);
    }
    return a;
}

/* The lanes in which the limbs are those of b. */
IFMA PC_INLINE __mmask8 fe8_same_limbs(fe8 a, fe b)
{
    unsigned same = 0xff;
    for (int i = 0; i < 5; i++) same &= _mm512_cmpeq_epi64_mask(a.v[i], all8(b.v[i]));
    return (__mmask8)same;
}

/* The lanes in which canonical limbs are those of an odd ("negative") number. */
IFMA PC_INLINE __mmask8 fe8_odd(fe8 a) { return _mm512_test_epi64_mask(a.v[0], all8(1)); }

/* Word k of the eight numbers of 32 bytes, for k < 4. Each vector gets the four words of two numbers, which stand two apart, so that
 * the two transpositions (of pairs of words, then of pairs of pairs) end in the order of the lanes. */
IFMA PC_INLINE void fe8_words(__m512i w[4], const uint8_t *const at[LANES])
{
    __m512i two[4], pair[4];
    PC_UNROLL
    for (int k = 0; k < 4; k++) {
        const int lane = k / 2 * 4 + k % 2;
        two[k] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const void *)at[lane])),
                                    _mm256_loadu_si256((const void *)at[lane + 2]), 1);
    }
    PC_UNROLL
    for (int k = 0; k < 2; k++) {
        pair[2 * k] = _mm512_unpacklo_epi64(two[2 * k], two[2 * k + 1]);
        pair[2 * k + 1] = _mm512_unpackhi_epi64(two[2 * k], two[2 * k + 1]);
    }
    PC_UNROLL
    for (int k = 0; k < 2; k++) {
        w[k] = _mm512_shuffle_i64x2(pair[k], pair[k + 2], 0x88);     /* 128-bit pieces 0 and 2 of both; check: 0 + 2 * 4 + 0 * 16 + 2 * 64 */
        w[k + 2] = _mm512_shuffle_i64x2(pair[k], pair[k + 2], 0xdd); /* pieces 1 and 3; check: 1 + 3 * 4 + 1 * 16 + 3 * 64 */
    }
}

/* The way back. Two transpositions again; here each vector ends with the four words of the numbers k and k + 2, or k + 4 and k + 6. */
IFMA PC_INLINE void fe8_store_words(uint8_t *const at[LANES], const __m512i w[4])
{
    static const uint64_t low[LANES] = {0, 1, 8, 9, 2, 3, 10, 11}, high[LANES] = {4, 5, 12, 13, 6, 7, 14, 15};
    PC_UNROLL
    for (int k = 0; k < 2; k++) {
        const __m512i first = k ? _mm512_unpackhi_epi64(w[0], w[1]) : _mm512_unpacklo_epi64(w[0], w[1]);
        const __m512i second = k ? _mm512_unpackhi_epi64(w[2], w[3]) : _mm512_unpacklo_epi64(w[2], w[3]);
        const __m512i a = _mm512_permutex2var_epi64(first, load8(low), second), b = _mm512_permutex2var_epi64(first, load8(high), second);
        _mm256_storeu_si256((void *)at[k], _mm512_castsi512_si256(a));
        _mm256_storeu_si256((void *)at[k + 2], _mm512_extracti64x4_epi64(a, 1));
        _mm256_storeu_si256((void *)at[k + 4], _mm512_castsi512_si256(b));
        _mm256_storeu_si256((void *)at[k + 6], _mm512_extracti64x4_epi64(b, 1));
    }
}

/* Ignores the top bit. Limbs below 2^51. */
IFMA PC_INLINE fe8 fe8_from_words(const __m512i w[4])
{
    const __m512i mask = all8(FE_MASK);
    fe8 out;
    out.v[0] = _mm512_and_si512(w[0], mask);
    PC_UNROLL
    for (int i = 1; i < 4; i++)
        out.v[i] = _mm512_and_si512(_mm512_or_si512(_mm512_srli_epi64(w[i - 1], 64 - 13 * i), _mm512_slli_epi64(w[i], 13 * i)), mask);
    out.v[4] = _mm512_and_si512(_mm512_srli_epi64(w[3], 12), mask);
    return out;
}

#endif
