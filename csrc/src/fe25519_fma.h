/* The field modulo p = 2^255 - 19 for four numbers at once with AVX2 and FMA: limbs of 51 bits as in fe25519.h, but signed ones; a vector for
 * each, a lane for each number. AVX2 multiplies integers of 32 bits only. Its fused multiplications keep all 53 bits of a double, and two of
 * them give both halves of a product of limbs:
 *   K + a b, for K = 1.5 2^103, is in [2^103, 2^104], where doubles are the multiples of 2^51: it rounds to K + 2^51 hi
 *   (K + L - (K + 2^51 hi)) + a b = L + lo, for L = 1.5 2^52 = 3 2^51, where doubles are the integers, and a b = 2^51 hi + lo
 * In both intervals the words of doubles count up with their values, so that hi and lo are added up as integers, less the words of K and L.
 *   fe4       integers in doubles.  tight  |v[i]| <= 2^50 + 2^16: what fe4_carry returns
 *                                   short  |v[i]| < 2^52 - 2^19: with a tight number, |a[i] b[j]| <= 2^102, as a product needs
 *   fe4_wide  64-bit integers, |v[i]| <= 2^62: what fe4_carry takes. Products are, and so are the few sums and differences of them that a
 *             formula asks for: it carries only what it multiplies again
 * Every double is an integer of at most 53 bits or a sum as above, and so exact, or rounded as above; hi and lo may depend on the rounding mode
 * of the caller, |lo| < 2^51 and their sum do not. Constant time in every value: none is subnormal, infinite or no number,
 * so that flushing of subnormals changes nothing either. The inexact flag is left set; a caller that unmasks that exception gets its signal.
 * Source for the two halves: Emmart, Zheng, Weems, "Faster modular exponentiation using double precision floating point arithmetic on the
 * GPU", ARITH 2018. */
#ifndef PC_FE25519_FMA_H
#define PC_FE25519_FMA_H

#include "fe25519.h"

#include <immintrin.h>

#define FMA __attribute__((target("avx2,fma")))

typedef __m256i vec4;
typedef __m256i mask4; /* all ones or zero in each lane */

typedef struct {
    __m256d v[5];
} fe4;

typedef struct {
    __m256i v[5];
} fe4_wide;

#define FE4_TIGHT INT64_C(0x4000000010000) /* check: 2**50 + 2**16 */
#define FE4_SHORT INT64_C(0xffffffff7ffff) /* check: 2**52 - 2**19 - 1 */
#define FE4_WIDE INT64_C(0x4000000000000000) /* check: 2**62 */
/* check: (2**50 + 2**16) * (2**52 - 2**19 - 1) <= 2**102 and 2 * (2**50 + 2**16)**2 <= 2**102 */

#define FE4_INTEGER UINT64_C(0x4330000000000000) /* the word of 2^52, to which an integer below 2^52 is added or'ed; check: (1023 + 52) * 2**52 */
#define FE4_HI UINT64_C(0x4668000000000000)      /* the word of K; check: (1023 + 103) * 2**52 + 2**51 */
#define FE4_LO UINT64_C(0x4338000000000000)      /* the word of L; check: (1023 + 52) * 2**52 + 2**51 */
#define FE4_WORD_ONE UINT64_C(0x3ff0000000000000) /* of the limb 1 in memory; check: 1023 * 2**52 */

/* ---- vectors of integers ---- */

FMA PC_INLINE vec4 load4(const uint64_t *a) { return _mm256_loadu_si256((const void *)a); }
FMA PC_INLINE vec4 load_halves4(const uint32_t *a) { return _mm256_cvtepu32_epi64(_mm_loadu_si128((const void *)a)); } /* of 32 bits, as unsigned numbers */
FMA PC_INLINE void store4(uint64_t *a, vec4 x) { _mm256_storeu_si256((void *)a, x); }
FMA PC_INLINE vec4 all4(uint64_t x) { return _mm256_set1_epi64x((long long)x); }
FMA PC_INLINE vec4 add4(vec4 a, vec4 b) { return _mm256_add_epi64(a, b); }
FMA PC_INLINE vec4 sub4(vec4 a, vec4 b) { return _mm256_sub_epi64(a, b); }
FMA PC_INLINE vec4 and4(vec4 a, vec4 b) { return _mm256_and_si256(a, b); }
FMA PC_INLINE mask4 negative4(vec4 a) { return _mm256_cmpgt_epi64(_mm256_setzero_si256(), a); }
FMA PC_INLINE mask4 zero4(vec4 a) { return _mm256_cmpeq_epi64(a, _mm256_setzero_si256()); }
FMA PC_INLINE vec4 select4(vec4 a, vec4 b, mask4 mask) { return _mm256_blendv_epi8(a, b, mask); }
FMA PC_INLINE unsigned mask_bits4(mask4 mask) { return (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(mask)); }

/* a / 256 rounded down, for signed a: the bias makes it an unsigned number. */
FMA PC_INLINE vec4 shift_byte4(vec4 a)
{
    const uint64_t bias = UINT64_C(0x8000000000000000), less = UINT64_C(0x80000000000000); /* check: (2**63, 2**63 // 256) */
    return sub4(_mm256_srli_epi64(add4(a, all4(bias)), 8), all4(less));
}

FMA PC_INLINE vec4 abs4(vec4 a)
{
    const mask4 sign = negative4(a);
    return sub4(_mm256_xor_si256(a, sign), sign);
}

/* The lanes with a < limit, a and limit unsigned. */
FMA PC_INLINE mask4 below4(vec4 a, uint64_t limit)
{
    const uint64_t flip = (uint64_t)1 << 63;
    return _mm256_cmpgt_epi64(all4(limit ^ flip), _mm256_xor_si256(a, all4(flip)));
}

/* 32 a */
FMA PC_INLINE vec4 times32_4(vec4 a) { return _mm256_slli_epi64(a, 5); }

/* The k-th of four numbers in each of four rows becomes the row's place in vector k, and back. */
FMA PC_INLINE void transpose4(vec4 out[4], const vec4 row[4])
{
    const vec4 even = _mm256_unpacklo_epi64(row[0], row[1]), odd = _mm256_unpackhi_epi64(row[0], row[1]);
    const vec4 even2 = _mm256_unpacklo_epi64(row[2], row[3]), odd2 = _mm256_unpackhi_epi64(row[2], row[3]);
    out[0] = _mm256_permute2x128_si256(even, even2, 0x20); /* the low halves; check: 0 + 2 * 16 */
    out[1] = _mm256_permute2x128_si256(odd, odd2, 0x20);
    out[2] = _mm256_permute2x128_si256(even, even2, 0x31); /* the high ones; check: 1 + 3 * 16 */
    out[3] = _mm256_permute2x128_si256(odd, odd2, 0x31);
}

/* Word k of the four numbers of 32 bytes, for k < 4. */
FMA PC_INLINE void fe4_words(vec4 w[4], const uint8_t *const at[4])
{
    vec4 row[4];
    PC_UNROLL
    for (int k = 0; k < 4; k++) row[k] = _mm256_loadu_si256((const void *)at[k]);
    transpose4(w, row);
}

FMA PC_INLINE void fe4_store_words(uint8_t *const at[4], const vec4 w[4])
{
    vec4 row[4];
    transpose4(row, w);
    PC_UNROLL
    for (int k = 0; k < 4; k++) _mm256_storeu_si256((void *)at[k], row[k]);
}

/* ---- limbs ---- */

#ifdef PRIVCOMP_VERIFY
FMA static int fe4_wide_at_most(fe4_wide a, int64_t limit)
{
    uint64_t lane[4];
    int good = 1;
    for (int i = 0; i < 5; i++) {
        store4(lane, a.v[i]);
        for (int j = 0; j < 4; j++) good &= (int64_t)lane[j] <= limit && (int64_t)lane[j] >= -limit;
    }
    return good;
}

FMA static int fe4_at_most(fe4 a, int64_t limit)
{
    double lane[4];
    int good = 1;
    for (int i = 0; i < 5; i++) {
        _mm256_storeu_pd(lane, a.v[i]);
        for (int j = 0; j < 4; j++) good &= lane[j] <= (double)limit && lane[j] >= (double)-limit && lane[j] == (double)(int64_t)lane[j];
    }
    return good;
}
#endif

/* Of limbs below 2^52 and not negative: the same limbs, short if they are below 2^52 - 2^19. */
FMA PC_INLINE fe4 fe4_of_limbs(fe4_wide a)
{
    fe4 out;
    PC_UNROLL
    for (int i = 0; i < 5; i++)
        out.v[i] = _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(a.v[i], all4(FE4_INTEGER))), _mm256_set1_pd(0x1p52));
    return out;
}

/* The limbs of a tight number, or others up to 2^51. */
FMA PC_INLINE fe4_wide fe4_limbs(fe4 a)
{
    fe4_wide out;
    PC_UNROLL
    for (int i = 0; i < 5; i++)
        out.v[i] = sub4(_mm256_castpd_si256(_mm256_add_pd(a.v[i], _mm256_set1_pd(0x1.8p52))), all4(FE4_LO));
    return out;
}

FMA PC_INLINE fe4 fe4_all(fe a)
{
    fe4_wide out;
    PC_UNROLL
    for (int i = 0; i < 5; i++) out.v[i] = all4(a.v[i]);
    return fe4_of_limbs(out);
}

/* As stored: words of doubles. */
FMA PC_INLINE fe4 fe4_load(const uint64_t *from)
{
    fe4 out;
    PC_UNROLL
    for (int i = 0; i < 5; i++) out.v[i] = _mm256_castsi256_pd(load4(from + 4 * i));
    return out;
}

FMA PC_INLINE void fe4_store(uint64_t *to, fe4 a)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) store4(to + 4 * i, _mm256_castpd_si256(a.v[i]));
}

FMA PC_INLINE fe4 fe4_of_words(const vec4 w[5])
{
    fe4 out;
    PC_UNROLL
    for (int i = 0; i < 5; i++) out.v[i] = _mm256_castsi256_pd(w[i]);
    return out;
}

FMA PC_INLINE void fe4_to_words(vec4 w[5], fe4 a)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) w[i] = _mm256_castpd_si256(a.v[i]);
}

/* A tight number of one lane, from the words of its limbs, made positive by 2p. */
static inline fe fe4_lane(const uint64_t word[5])
{
    fe out;
    for (int i = 0; i < 5; i++) {
        double limb;
        memcpy(&limb, &word[i], 8);
        out.v[i] = (uint64_t)(int64_t)limb + (i ? 0xffffffffffffe : 0xfffffffffffda); /* check: (2 * (2**51 - 1), 2 * (2**51 - 19)) */
    }
    return fe_carry(out);
}

/* ---- arithmetic ---- */

/* What fe4_carry adds so that it shifts positive numbers, and so that limbs are rounded to the nearest multiple of 2^51. */
#define FE4_BIAS UINT64_C(0x8004000000000000) /* check: 2**63 + 2**50 */

/* fe4_carry of a number that has FE4_BIAS added to its limbs. With q = floor(v / 2^51) - 2^12, |q| <= 2^11, what is left of a limb is in
 * [-2^50, 2^50), and it gets q of the limb below it, limb 0 gets 19 q: at most 2^50 + 19 2^11 < 2^50 + 2^16. */
FMA PC_INLINE fe4 fe4_carry_biased(fe4_wide a)
{
    const double less = 0x1p52 + 0x1p50 + 0x1p12, less0 = 0x1p52 + 0x1p50 + 19 * 0x1p12;
    fe4 out;
    vec4 q[5];
    PC_UNROLL
    for (int i = 0; i < 5; i++) q[i] = _mm256_srli_epi64(a.v[i], 51);
    q[4] = _mm256_mul_epu32(q[4], all4(19));
    PC_UNROLL
    for (int i = 0; i < 5; i++) {
        const vec4 low = _mm256_or_si256(and4(a.v[i], all4(FE_MASK)), all4(FE4_INTEGER));
        out.v[i] = _mm256_sub_pd(_mm256_castsi256_pd(add4(low, q[i ? i - 1 : 4])), _mm256_set1_pd(i ? less : less0));
    }
    VERIFY(fe4_at_most(out, FE4_TIGHT));
    return out;
}

FMA PC_INLINE fe4 fe4_carry(fe4_wide a)
{
    VERIFY(fe4_wide_at_most(a, FE4_WIDE));
    PC_UNROLL
    for (int i = 0; i < 5; i++) a.v[i] = add4(a.v[i], all4(FE4_BIAS));
    return fe4_carry_biased(a);
}

FMA PC_INLINE fe4_wide fe4_add_wide(fe4_wide a, fe4_wide b)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) a.v[i] = add4(a.v[i], b.v[i]);
    return a;
}

FMA PC_INLINE fe4_wide fe4_sub_wide(fe4_wide a, fe4_wide b)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) a.v[i] = sub4(a.v[i], b.v[i]);
    return a;
}

/* Where the columns c[5..9] of products start, and those below them from there: a column c[k] gets, for its hi and lo, words of K and L as well, which
 * are to be gone from c[i] + 19 c[i + 5]. As that is a sum modulo 2^64, in which 19 has an inverse, c[i] needs no start. With `bias` the sums have
 * FE4_BIAS in them. They stand in memory, as an instruction reads them from there, and compilers would compute each. */
struct fe4_starts {
    uint64_t c[5][4];
};

#define FE4_INVERSE_19 UINT64_C(0x86bca1af286bca1b) /* check: pow(19, -1, 2**64) */
#define FE4_START(hi, lo) (0 - (hi) * FE4_HI - (lo) * FE4_LO)
#define FE4_START_WORD(hi, lo, upper_hi, upper_lo, bias) (FE4_START(upper_hi, upper_lo) + FE4_INVERSE_19 * ((bias) + FE4_START(hi, lo)))
#define FE4_START_LANES(...) {FE4_START_WORD(__VA_ARGS__), FE4_START_WORD(__VA_ARGS__), FE4_START_WORD(__VA_ARGS__), FE4_START_WORD(__VA_ARGS__)}
#define FE4_MUL_STARTS(bias) \
    {{FE4_START_LANES(0, 1, 5, 4, bias), FE4_START_LANES(1, 2, 4, 3, bias), FE4_START_LANES(2, 3, 3, 2, bias), FE4_START_LANES(3, 4, 2, 1, bias), \
      FE4_START_LANES(4, 5, 1, 0, bias)}}
#define FE4_SQUARE_STARTS(bias) \
    {{FE4_START_LANES(0, 1, 3, 2, bias), FE4_START_LANES(1, 1, 2, 2, bias), FE4_START_LANES(1, 2, 2, 1, bias), FE4_START_LANES(2, 2, 1, 1, bias), \
      FE4_START_LANES(2, 3, 1, 0, bias)}}

static const struct fe4_starts fe4_mul_starts[2] __attribute__((aligned(32))) = {FE4_MUL_STARTS(UINT64_C(0)), FE4_MUL_STARTS(FE4_BIAS)};
static const struct fe4_starts fe4_square_starts[2] __attribute__((aligned(32))) = {FE4_SQUARE_STARTS(UINT64_C(0)), FE4_SQUARE_STARTS(FE4_BIAS)};

/* x is computed here, before what follows. Compilers would put off the sums until they have all products, which are fifty vectors where there are
 * sixteen registers: those products go to memory and back, and take twice the time. */
#ifdef PC_MSAN
#define FE4_NOW(x) ((void)0)
#else
#define FE4_NOW(x) __asm__ volatile("" : "+x"(x))
#endif

/* c[0] += lo, c[1] += hi for a b = 2^51 hi + lo. The instructions stand here as gcc copies hi once more for every third product. */
FMA PC_INLINE void fe4_product(vec4 *c, __m256d a, __m256d b)
{
    const __m256d k = _mm256_set1_pd(0x1.8p103), kl = _mm256_set1_pd(0x1.8p103 + 0x1.8p52);
#if defined(PC_MSAN) || defined(__clang__)
    __m256d hi = _mm256_fmadd_pd(a, b, k);
    FE4_NOW(hi);
    const __m256d lo = _mm256_fmadd_pd(a, b, _mm256_sub_pd(kl, hi));
    c[0] = add4(c[0], _mm256_castpd_si256(lo));
    c[1] = add4(c[1], _mm256_castpd_si256(hi));
    FE4_NOW(c[0]);
    FE4_NOW(c[1]);
#else
    __m256d hi, lo;
    __asm__("vmovapd %[k], %[hi]\n\t"
            "vfmadd231pd %[b], %[a], %[hi]\n\t"
            "vsubpd %[hi], %[kl], %[lo]\n\t"
            "vfmadd231pd %[b], %[a], %[lo]\n\t"
            "vpaddq %[hi], %[c1], %[c1]\n\t"
            "vpaddq %[lo], %[c0], %[c0]"
            : [hi] "=&x"(hi), [lo] "=&x"(lo), [c0] "+x"(c[0]), [c1] "+x"(c[1])
            : [a] "x"(a), [b] "xm"(b), [k] "x"(k), [kl] "x"(kl));
#endif
}

/* 19 x = 2^255 x: what a column is worth five columns further down. */
FMA PC_INLINE vec4 fe4_times19(vec4 x) { return add4(add4(add4(x, x), _mm256_slli_epi64(x, 4)), x); }

/* Columns 5 .. 9 where they start. */
FMA PC_INLINE void fe4_start(vec4 c[10], const struct fe4_starts *from)
{
#ifndef PC_MSAN
    __asm__("" : "+r"(from)); /* so that the compiler does not know the words */
#endif
    PC_UNROLL
    for (int k = 0; k < 5; k++) c[k + 5] = _mm256_load_si256((const void *)from->c[k]);
}

/* After the products of column k, the highest first: column k + 1 has all it gets. */
FMA PC_INLINE void fe4_fold(vec4 c[10], int k)
{
    if (k < 4) return;
    c[k - 4] = fe4_times19(c[k + 1]);
    FE4_NOW(c[k - 4]);
}

/* a b for a tight and b short. |hi| <= 2^51 and |lo| < 2^51, and no column has more than nine of them, so that a limb is at most
 * 20 * 9 2^51 < 2^58.5. */
FMA PC_INLINE fe4_wide fe4_mul_from(const struct fe4_starts *from, fe4 a, fe4 b)
{
    vec4 c[10];
    VERIFY(fe4_at_most(a, FE4_TIGHT) && fe4_at_most(b, FE4_SHORT));
    fe4_start(c, from);
    PC_UNROLL
    for (int k = 8; k >= 0; k--) {
        PC_UNROLL
        for (int i = k < 5 ? 0 : k - 4; i <= (k < 5 ? k : 4); i++) fe4_product(c + k, a.v[i], b.v[k - i]);
        fe4_fold(c, k);
    }
    const fe4_wide out = {{c[0], c[1], c[2], c[3], c[4]}};
    return out;
}

/* a^2 for a tight, by products of limbs i < j with the doubled ones. The bounds are those of a product. */
FMA PC_INLINE fe4_wide fe4_square_from(const struct fe4_starts *from, fe4 a)
{
    __m256d twice[5];
    vec4 c[10];
    VERIFY(fe4_at_most(a, FE4_TIGHT));
    PC_UNROLL
    for (int i = 0; i < 5; i++) twice[i] = _mm256_add_pd(a.v[i], a.v[i]);
    fe4_start(c, from);
    PC_UNROLL
    for (int k = 8; k >= 0; k--) {
        PC_UNROLL
        for (int i = k < 5 ? 0 : k - 4; 2 * i <= k; i++) fe4_product(c + k, 2 * i == k ? a.v[i] : twice[i], a.v[k - i]);
        fe4_fold(c, k);
    }
    const fe4_wide out = {{c[0], c[1], c[2], c[3], c[4]}};
    return out;
}

FMA PC_INLINE fe4_wide fe4_mul_wide(fe4 a, fe4 b) { return fe4_mul_from(&fe4_mul_starts[0], a, b); }
FMA PC_INLINE fe4_wide fe4_square_wide(fe4 a) { return fe4_square_from(&fe4_square_starts[0], a); }

/* Wide numbers with FE4_BIAS in their limbs, for sums and differences that fe4_carry_biased takes: it is added once for both. */
FMA PC_INLINE fe4_wide fe4_mul_biased(fe4 a, fe4 b) { return fe4_mul_from(&fe4_mul_starts[1], a, b); }

FMA PC_INLINE fe4_wide fe4_twice_biased(fe4_wide a)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) a.v[i] = add4(add4(a.v[i], a.v[i]), all4(FE4_BIAS));
    return a;
}

/* The same, tight. The order of the group (ed_order_fma.h) takes nothing but the limbs from here. */
FMA PC_INLINE fe4 fe4_add(fe4 a, fe4 b) { return fe4_carry(fe4_add_wide(fe4_limbs(a), fe4_limbs(b))); }
FMA PC_INLINE fe4 fe4_sub(fe4 a, fe4 b) { return fe4_carry(fe4_sub_wide(fe4_limbs(a), fe4_limbs(b))); }
FMA static __attribute__((unused)) fe4 fe4_mul(fe4 a, fe4 b) { return fe4_carry_biased(fe4_mul_from(&fe4_mul_starts[1], a, b)); }
FMA static __attribute__((unused)) fe4 fe4_square(fe4 a) { return fe4_carry_biased(fe4_square_from(&fe4_square_starts[1], a)); }

FMA PC_INLINE fe4 fe4_mul_inline(fe4 a, fe4 b) { return fe4_carry_biased(fe4_mul_from(&fe4_mul_starts[1], a, b)); }
FMA PC_INLINE fe4 fe4_square_inline(fe4 a) { return fe4_carry_biased(fe4_square_from(&fe4_square_starts[1], a)); }

/* What a sum of points in affine coordinates takes (ristretto255_affine.h), entries being limbs in (-2^51, 2^51).
 * a - b, short, for a tight or an entry and b tight. */
FMA PC_INLINE fe4 fe4_difference(fe4 a, fe4 b)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) a.v[i] = _mm256_sub_pd(a.v[i], b.v[i]);
    VERIFY(fe4_at_most(a, FE4_SHORT));
    return a;
}

/* slope^2 - 2 x - d, for a tight x and x + d, which is tight or an entry: both are integers of the form L + x then. */
FMA PC_INLINE fe4 fe4_third_x(fe4 slope, fe4 x, fe4 d)
{
    const __m256d l = _mm256_set1_pd(0x1.8p52);
    VERIFY(fe4_at_most(x, FE4_TIGHT) && fe4_at_most(d, FE4_SHORT));
    fe4_wide a = fe4_square_from(&fe4_square_starts[1], slope);
    PC_UNROLL
    for (int i = 0; i < 5; i++) {
        const vec4 x1 = _mm256_castpd_si256(_mm256_add_pd(x.v[i], l)), x2 = _mm256_castpd_si256(_mm256_add_pd(_mm256_add_pd(x.v[i], d.v[i]), l));
        a.v[i] = sub4(sub4(a.v[i], x1), sub4(x2, all4(2 * FE4_LO)));
    }
    return fe4_carry_biased(a);
}

/* slope run - y, for a short `run` and a tight y. */
FMA PC_INLINE fe4 fe4_third_y(fe4 slope, fe4 run, fe4 y) { return fe4_carry_biased(fe4_sub_wide(fe4_mul_biased(slope, run), fe4_limbs(y))); }

/* b in the lanes of the mask, a in the others. */
FMA PC_INLINE fe4 fe4_select(fe4 a, fe4 b, mask4 mask)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) a.v[i] = _mm256_blendv_pd(a.v[i], b.v[i], _mm256_castsi256_pd(mask));
    return a;
}

FMA PC_INLINE fe4_wide fe4_select_wide(fe4_wide a, fe4_wide b, mask4 mask)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) a.v[i] = select4(a.v[i], b.v[i], mask);
    return a;
}

/* -a in the lanes of the mask. */
FMA PC_INLINE fe4 fe4_negate_lanes(fe4 a, mask4 mask)
{
    const __m256d sign = _mm256_and_pd(_mm256_castsi256_pd(mask), _mm256_set1_pd(-0.0));
    PC_UNROLL
    for (int i = 0; i < 5; i++) a.v[i] = _mm256_xor_pd(a.v[i], sign);
    return a;
}

/* ---- residues ---- */

/* floor((a + 19) / 2^255), for limbs in [0, 2^52): 1 exactly where a >= p, if a < 2p. */
FMA PC_INLINE vec4 fe4_quotient(fe4_wide a)
{
    vec4 q = all4(19);
    PC_UNROLL
    for (int i = 0; i < 5; i++) q = _mm256_srli_epi64(add4(a.v[i], q), 51);
    return q;
}

/* The limbs, each in [0, 2^51), of the residue in [0, p) of a tight number. With p added, limbs are in [2^51 - 19 - 2^50 - 2^16, 2^52), and as a
 * tight number is less than 2^254 + 2^221 in size, the sum is in [0, 2p). */
FMA static inline fe4_wide fe4_canonical(fe4 t)
{
    fe4_wide a = fe4_limbs(t);
    PC_UNROLL
    for (int i = 0; i < 5; i++) a.v[i] = add4(a.v[i], all4(i ? FE_MASK : FE_MASK - 18)); /* check: 2**51 - 1 - 18 == 2**51 - 19 */
    const vec4 q = fe4_quotient(a);
    vec4 carry = _mm256_mul_epu32(q, all4(19));
    PC_UNROLL
    for (int i = 0; i < 5; i++) {
        carry = add4(a.v[i], carry);
        a.v[i] = and4(carry, all4(FE_MASK));
        carry = _mm256_srli_epi64(carry, 51);
    }
    return a;
}

/* The lanes in which the limbs are those of b. */
FMA PC_INLINE mask4 fe4_same_limbs(fe4_wide a, fe b)
{
    mask4 same = all4(~(uint64_t)0);
    for (int i = 0; i < 5; i++) same = and4(same, _mm256_cmpeq_epi64(a.v[i], all4(b.v[i])));
    return same;
}

/* The lanes in which canonical limbs are those of an odd ("negative") number. */
FMA PC_INLINE mask4 fe4_odd(fe4_wide a) { return _mm256_cmpeq_epi64(and4(a.v[0], all4(1)), all4(1)); }

/* Ignores the top bit. Limbs below 2^51, not negative. */
FMA PC_INLINE fe4_wide fe4_from_words(const vec4 w[4])
{
    const vec4 mask = all4(FE_MASK);
    fe4_wide out;
    out.v[0] = and4(w[0], mask);
    PC_UNROLL
    for (int i = 1; i < 4; i++)
        out.v[i] = and4(_mm256_or_si256(_mm256_srli_epi64(w[i - 1], 64 - 13 * i), _mm256_slli_epi64(w[i], 13 * i)), mask);
    out.v[4] = and4(_mm256_srli_epi64(w[3], 12), mask);
    return out;
}

#endif
