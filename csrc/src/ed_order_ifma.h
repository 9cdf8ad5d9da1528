/* Residues modulo l = 2^252 + c, the order of ristretto255, eight at once: five limbs of 52 bits, a vector for each, a lane for each residue.
 * In memory they are those of wide.h, x 2^256 mod l in four words. Here a product is a b 2^-260, five steps of Montgomery's reduction by 2^52
 * each: whoever multiplies two residues and keeps the product gives one of them the factor 2^4 (mt8_load16, mt_times16).
 *   short    v[i] < 2^52, so that the instructions read all of it: what mt8_load, mt8_carry, mt8_sub return. The value is below 2^260
 *   columns  of a sum of products, c[k] of weight 2^(52 k)
 * A residue need not be below l but where it is stored. Bounds of values stand beside each function; 2^252 < l < 2^252 + 2^125, so that
 * l^2 < 2^-8 (1 + 2^-126) 2^260 l: where a and b are below m l and n l, a b 2^-260 is below m n / 256 + 1 times l.
 * Lane k of what is loaded holds number (0, 2, 1, 3, 4, 6, 5, 7)[k]: the order in which the fewest instructions transpose it.
 * Constant time in every value. Source: Montgomery, Math. Comp. 44 (1985); Gueron, Krasnov, "Software implementation of modular exponentiation,
 * using advanced vector instructions architectures" (2012), for the limbs. */
#ifndef PC_ED_ORDER_IFMA_H
#define PC_ED_ORDER_IFMA_H

#include "ifma.h"
#include "orders.h"

typedef struct {
    __m512i v[5];
} mt8;

typedef struct {
    __m512i c[10];
} mt8_sum;

#define MT8_MASK UINT64_C(0xfffffffffffff) /* check: 2**52 - 1 */

/* Limb 3 of l is 0, the highest one 2^44. */
static const uint64_t MT8_L[5] = {0x2631a5cf5d3ed, 0xdea2f79cd6581, 0x14def9, 0, 0x100000000000}; /* check: tuple(2**252 + 27742317777372353535851937790883648493 >> 52 * i & 2**52 - 1 for i in (0, 1, 2, 3, 4)) */
#define MT8_INVERSE UINT64_C(0x51da312547e1b) /* check: -pow(2**252 + 27742317777372353535851937790883648493, -1, 2**52) % 2**52 */

#ifdef PRIVCOMP_VERIFY
IFMA static int mt8_short(mt8 a)
{
    uint64_t lane[LANES];
    int good = 1;
    for (int i = 0; i < 5; i++) {
        store8(lane, a.v[i]);
        for (int j = 0; j < LANES; j++) good &= lane[j] <= MT8_MASK;
    }
    return good;
}
#endif

IFMA PC_INLINE __m512i mt8_low(__m512i c, __m512i a, __m512i b) { return _mm512_madd52lo_epu64(c, a, b); }
IFMA PC_INLINE __m512i mt8_high(__m512i c, __m512i a, __m512i b) { return _mm512_madd52hi_epu64(c, a, b); }

/* a in every lane. */
IFMA PC_INLINE mt8 mt8_all(mt a)
{
    mt8 out;
    out.v[0] = all8(a.w[0] & MT8_MASK);
    out.v[1] = all8((a.w[0] >> 52 | a.w[1] << 12) & MT8_MASK);
    out.v[2] = all8((a.w[1] >> 40 | a.w[2] << 24) & MT8_MASK);
    out.v[3] = all8((a.w[2] >> 28 | a.w[3] << 36) & MT8_MASK);
    out.v[4] = all8(a.w[3] >> 16);
    return out;
}

PC_INLINE mt mt_times16(mt a)
{
    for (int i = 0; i < 4; i++) a = mt_add(a, a, &ED_ORDER);
    return a;
}

/* Words of eight residues that stand one after the other: pairs of words are transposed, then pairs of pairs. */
IFMA PC_INLINE void mt8_words(__m512i w[4], const mt *a)
{
    __m512i two[4], pair[4];
    PC_UNROLL
    for (int k = 0; k < 4; k++) two[k] = load8(a[2 * k].w);
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

/* The way back. */
IFMA PC_INLINE void mt8_store_words(mt *a, const __m512i w[4])
{
    static const uint64_t low[LANES] = {0, 1, 8, 9, 2, 3, 10, 11}, high[LANES] = {4, 5, 12, 13, 6, 7, 14, 15};
    PC_UNROLL
    for (int k = 0; k < 2; k++) {
        const __m512i first = k ? _mm512_unpackhi_epi64(w[0], w[1]) : _mm512_unpacklo_epi64(w[0], w[1]);
        const __m512i second = k ? _mm512_unpackhi_epi64(w[2], w[3]) : _mm512_unpacklo_epi64(w[2], w[3]);
        store8(a[2 * k].w, _mm512_permutex2var_epi64(first, load8(low), second));
        store8(a[2 * k + 4].w, _mm512_permutex2var_epi64(first, load8(high), second));
    }
}

/* Limbs from bit 52 i - up on. */
#define MT8_LIMB(below, above, up) \
    _mm512_and_si512(_mm512_or_si512(_mm512_srli_epi64(below, 64 - (up)), _mm512_slli_epi64(above, up)), all8(MT8_MASK))

IFMA PC_INLINE mt8 mt8_load(const mt *a)
{
    __m512i w[4];
    mt8_words(w, a);
    const mt8 out = {{_mm512_and_si512(w[0], all8(MT8_MASK)), MT8_LIMB(w[0], w[1], 12), MT8_LIMB(w[1], w[2], 24), MT8_LIMB(w[2], w[3], 36),
                      _mm512_srli_epi64(w[3], 16)}};
    return out;
}

/* 16 a */
IFMA PC_INLINE mt8 mt8_load16(const mt *a)
{
    __m512i w[4];
    mt8_words(w, a);
    const mt8 out = {{_mm512_and_si512(_mm512_slli_epi64(w[0], 4), all8(MT8_MASK)), MT8_LIMB(w[0], w[1], 16), MT8_LIMB(w[1], w[2], 28),
                      MT8_LIMB(w[2], w[3], 40), _mm512_srli_epi64(w[3], 12)}};
    return out;
}

/* The same value with short limbs, for limbs that are signed numbers below 2^62 in size, and a value in [0, 2^260); or, with the highest
 * limb signed too, for every value. */
IFMA PC_INLINE mt8 mt8_chain(mt8 a)
{
    PC_UNROLL
    for (int i = 0; i < 4; i++) {
        a.v[i + 1] = add8(a.v[i + 1], _mm512_srai_epi64(a.v[i], 52));
        a.v[i] = _mm512_and_si512(a.v[i], all8(MT8_MASK));
    }
    return a;
}

IFMA PC_INLINE mt8 mt8_carry(mt8 a)
{
    a = mt8_chain(a);
    VERIFY(mt8_short(a));
    return a;
}

/* The sum, not short. */
IFMA PC_INLINE mt8 mt8_add_wide(mt8 a, mt8 b)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) a.v[i] = add8(a.v[i], b.v[i]);
    return a;
}

/* a - b + 4 l, short, for a < 2^258 and b < 4 l. */
IFMA PC_INLINE mt8 mt8_sub(mt8 a, mt8 b)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) a.v[i] = sub8(i == 3 ? a.v[i] : add8(a.v[i], all8(4 * MT8_L[i])), b.v[i]);
    return mt8_carry(a);
}

/* The residue below l of a value below 2^258 in limbs below 2^62. q is v / l to the nearest integer, from the highest limb alone: what the
 * others carry into it is less than 2^11 of 2^44. Then v - q l = v - q 2^252 - q c is between -(1/2 + 2^-32) 2^252 - 2^7 2^125 > -l and
 * (1/2 + 2^-32) 2^252 < l, and negative exactly where l has to be added. */
IFMA PC_INLINE mt8 mt8_canonical(mt8 a)
{
    const __m512i zero = _mm512_setzero_si512();
    const __m512i q = _mm512_srli_epi64(add8(a.v[4], all8((uint64_t)1 << 43)), 44);
    const __m512i l0 = all8(MT8_L[0]), l1 = all8(MT8_L[1]), l2 = all8(MT8_L[2]);
    a.v[0] = sub8(a.v[0], mt8_low(zero, q, l0));
    a.v[1] = sub8(a.v[1], mt8_low(mt8_high(zero, q, l0), q, l1));
    a.v[2] = sub8(a.v[2], mt8_low(mt8_high(zero, q, l1), q, l2)); /* q l2 < 2^28 */
    a.v[4] = sub8(a.v[4], _mm512_slli_epi64(q, 44));
    a = mt8_chain(a);
    const __mmask8 negative = _mm512_test_epi64_mask(a.v[4], all8((uint64_t)1 << 63));
    PC_UNROLL
    for (int i = 0; i < 5; i++)
        if (i != 3) a.v[i] = _mm512_mask_add_epi64(a.v[i], negative, a.v[i], all8(MT8_L[i]));
    return mt8_carry(a);
}

/* A short value below 2^256. */
IFMA PC_INLINE void mt8_store_short(mt *out, mt8 a)
{
    const __m512i w[4] = {
        _mm512_or_si512(a.v[0], _mm512_slli_epi64(a.v[1], 52)),
        _mm512_or_si512(_mm512_srli_epi64(a.v[1], 12), _mm512_slli_epi64(a.v[2], 40)),
        _mm512_or_si512(_mm512_srli_epi64(a.v[2], 24), _mm512_slli_epi64(a.v[3], 28)),
        _mm512_or_si512(_mm512_srli_epi64(a.v[3], 36), _mm512_slli_epi64(a.v[4], 16)),
    };
    mt8_store_words(out, w);
}

/* The residue of a value as mt8_canonical takes it. */
IFMA PC_INLINE void mt8_store(mt *out, mt8 a) { mt8_store_short(out, mt8_canonical(a)); }

/* ---- sums of products ----
 * A product of limbs a[i] b[j] = lo + 2^52 hi adds lo to column i + j and hi to the next one: less than 9 2^52 to any of them for a product of
 * residues. So MT8_TERMS products may follow a carry, after which columns are below 2^52 + 2^12, and leave room for the reduction. */

#ifndef MT8_TERMS /* the tests carry more often */
#define MT8_TERMS 256 /* check: 2**53 + 256 * 9 * 2**52 + 8 * 2**52 < 2**64 - 2**52 */
#endif

IFMA PC_INLINE mt8_sum mt8_sum_zero(void)
{
    mt8_sum s;
    PC_UNROLL
    for (int k = 0; k < 10; k++) s.c[k] = _mm512_setzero_si512();
    return s;
}

/* s += a b, both short. */
IFMA PC_INLINE void mt8_sum_add(mt8_sum *s, mt8 a, mt8 b)
{
    VERIFY(mt8_short(a) && mt8_short(b));
    PC_UNROLL
    for (int i = 0; i < 5; i++) {
        PC_UNROLL
        for (int j = 0; j < 5; j++) s->c[i + j] = mt8_low(s->c[i + j], a.v[i], b.v[j]);
        PC_UNROLL
        for (int j = 0; j < 5; j++) s->c[i + j + 1] = mt8_high(s->c[i + j + 1], a.v[i], b.v[j]);
    }
}

/* Adds a v to columns c[0] .. c[5], for v's lower 52 bits. */
IFMA PC_INLINE void mt8_word_add(__m512i *c, mt8 a, __m512i v)
{
    VERIFY(mt8_short(a));
    PC_UNROLL
    for (int j = 0; j < 5; j++) c[j] = mt8_low(c[j], a.v[j], v);
    PC_UNROLL
    for (int j = 0; j < 5; j++) c[j + 1] = mt8_high(c[j + 1], a.v[j], v);
}

/* The highest column keeps what is above 2^520. */
IFMA PC_INLINE void mt8_sum_carry(mt8_sum *s)
{
    PC_UNROLL
    for (int k = 0; k < 9; k++) {
        s->c[k + 1] = add8(s->c[k + 1], _mm512_srli_epi64(s->c[k], 52));
        s->c[k] = _mm512_and_si512(s->c[k], all8(MT8_MASK));
    }
}

/* Adds q l with q = -c[0] / l mod 2^52 to columns c[0] .. c[5]; c[0], then a multiple of 2^52, is carried into c[1] and left behind. Its
 * lower 52 bits and those of q l add up to 0 or 2^52: the carry of them is that of c[0] + (2^52 - 1). */
IFMA PC_INLINE void mt8_step(__m512i *c)
{
    const __m512i q = mt8_low(_mm512_setzero_si512(), c[0], all8(MT8_INVERSE)), l0 = all8(MT8_L[0]), l1 = all8(MT8_L[1]), l2 = all8(MT8_L[2]);
    const __m512i top = all8(MT8_L[4]);
    c[1] = add8(c[1], _mm512_srli_epi64(add8(c[0], all8(MT8_MASK)), 52));
    c[1] = mt8_low(mt8_high(c[1], q, l0), q, l1);
    c[2] = mt8_low(mt8_high(c[2], q, l1), q, l2);
    c[3] = mt8_high(c[3], q, l2);
    c[4] = mt8_low(c[4], q, top);
    c[5] = mt8_high(c[5], q, top);
}

/* s 2^-260 modulo l, at most s 2^-260 + l; limbs are not short. */
IFMA PC_INLINE mt8 mt8_reduce(mt8_sum s)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) mt8_step(s.c + i);
    const mt8 out = {{s.c[5], s.c[6], s.c[7], s.c[8], s.c[9]}};
    return out;
}

/* a b 2^-260 and (a b + c d) 2^-260, limbs below 2^58. */
IFMA PC_INLINE mt8 mt8_mul_wide(mt8 a, mt8 b)
{
    mt8_sum s = mt8_sum_zero();
    mt8_sum_add(&s, a, b);
    return mt8_reduce(s);
}

IFMA PC_INLINE mt8 mt8_mul2_wide(mt8 a, mt8 b, mt8 c, mt8 d)
{
    mt8_sum s = mt8_sum_zero();
    mt8_sum_add(&s, a, b);
    mt8_sum_add(&s, c, d);
    return mt8_reduce(s);
}

IFMA PC_INLINE mt8 mt8_mul(mt8 a, mt8 b) { return mt8_carry(mt8_mul_wide(a, b)); }
IFMA PC_INLINE mt8 mt8_mul2(mt8 a, mt8 b, mt8 c, mt8 d) { return mt8_carry(mt8_mul2_wide(a, b, c, d)); }

/* The sum of the lanes of s, times 2^-256 modulo l, for lanes below 2^532: the highest column is below 2^64 and its sum below 2^67. */
IFMA static mt mt8_sum_total(mt8_sum s)
{
    uint64_t lane[LANES];
    mt_sum sum = {{0}};
    mt8_sum_carry(&s);
    for (int k = 0; k < 10; k++) {
        const int word = 52 * k / 64, up = 52 * k % 64;
        store8(lane, s.c[k]);
        for (int j = 0; j < LANES; j++) {
            const u128 v = (u128)lane[j] << up;
            uint64_t carry = 0;
            sum.w[word] = wide_carry(sum.w[word], (uint64_t)v, &carry);
            sum.w[word + 1] = wide_carry(sum.w[word + 1], (uint64_t)(v >> 64), &carry);
            for (int i = word + 2; i < 9; i++) sum.w[i] = wide_carry(sum.w[i], 0, &carry);
        }
    }
    return mt_sum_reduce(&sum, &ED_ORDER);
}

#endif
