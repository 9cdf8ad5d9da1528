/* Residues modulo l = 2^252 + c, the order of ristretto255, four at once: limbs of 51 bits in doubles, and their products by fused multiplications,
 * as in fe25519_fma.h; a vector for each limb, a lane for each residue. In memory they are those of wide.h, x 2^256 mod l in four words.
 *   fe4       |a[i] b[j]| <= 2^102 for a product: of limbs below 2^51, which are those of loaded residues and of differences of two,
 *             and of tight ones, |v[i]| <= 2^50 + 2^12
 *   columns   of sums of products, c[k] of weight 2^(51 k), 64-bit integers
 * A sum of products t is reduced to t 2^-255: its limbs below 2^255, rounded so that they are tight, are replaced by their products with
 * 2^(51 k - 255) mod l; then what is above 2^252 by its product with -c. No step waits for another limb, as those of Montgomery's reduction do. What
 * comes out is between -l / 2 - 2^204 and l / 2 + 2^204. That is twice the residue a b 2^-256 that belongs into memory: whoever multiplies two
 * residues and keeps the product halves one of them (mt4_load_half, mt_half). Constant time in every value; of the modes of rounding and flushing,
 * see fe25519_fma.h. */
#ifndef PC_ED_ORDER_FMA_H
#define PC_ED_ORDER_FMA_H

#include "fe25519_fma.h"
#include "orders.h"

#define MT4_LANES 4
#define MT4_ALL(x) {x, x, x, x}

/* 2^(51 k - 255) modulo l for limb k, between -l / 2 and l / 2, in limbs of at most 2^50 in size. The sum of their sizes is below 1.464 l. */
static const double MT4_BACK[5][5][4] __attribute__((aligned(32))) = {
    {MT4_ALL(903996626191963), MT4_ALL(-332667065702697), MT4_ALL(-50895539916212), MT4_ALL(425928928084880), MT4_ALL(65341718061010)}, /* check: tuple((pow(2, -255, 2**252 + 27742317777372353535851937790883648493) + 2**50 * ((2**204 - 1) // (2**51 - 1)) >> 51 * i) % 2**51 - 2**50 for i in (0, 1, 2, 3)) + ((pow(2, -255, 2**252 + 27742317777372353535851937790883648493) + 2**50 * ((2**204 - 1) // (2**51 - 1)) >> 204),) */
    {MT4_ALL(220305437621462), MT4_ALL(759345946716092), MT4_ALL(1068686277041030), MT4_ALL(-50895541186301), MT4_ALL(-137021025336432)}, /* check: tuple((pow(2, -204, 2**252 + 27742317777372353535851937790883648493) - (2**252 + 27742317777372353535851937790883648493) + 2**50 * ((2**204 - 1) // (2**51 - 1)) >> 51 * i) % 2**51 - 2**50 for i in (0, 1, 2, 3)) + ((pow(2, -204, 2**252 + 27742317777372353535851937790883648493) - (2**252 + 27742317777372353535851937790883648493) + 2**50 * ((2**204 - 1) // (2**51 - 1)) >> 204),) */
    {MT4_ALL(880650555366784), MT4_ALL(1105739356118660), MT4_ALL(-382954815916198), MT4_ALL(1068686279704395), MT4_ALL(-50895541186301)}, /* check: tuple((pow(2, -153, 2**252 + 27742317777372353535851937790883648493) - (2**252 + 27742317777372353535851937790883648493) + 2**50 * ((2**204 - 1) // (2**51 - 1)) >> 51 * i) % 2**51 - 2**50 for i in (0, 1, 2, 3)) + ((pow(2, -153, 2**252 + 27742317777372353535851937790883648493) - (2**252 + 27742317777372353535851937790883648493) + 2**50 * ((2**204 - 1) // (2**51 - 1)) >> 204),) */
    {MT4_ALL(-955634766255596), MT4_ALL(1071743371575914), MT4_ALL(844424929019870), MT4_ALL(-382954814926909), MT4_ALL(-57213627138229)}, /* check: tuple((pow(2, -102, 2**252 + 27742317777372353535851937790883648493) - (2**252 + 27742317777372353535851937790883648493) + 2**50 * ((2**204 - 1) // (2**51 - 1)) >> 51 * i) % 2**51 - 2**50 for i in (0, 1, 2, 3)) + ((pow(2, -102, 2**252 + 27742317777372353535851937790883648493) - (2**252 + 27742317777372353535851937790883648493) + 2**50 * ((2**204 - 1) // (2**51 - 1)) >> 204),) */
    {MT4_ALL(-401396246738827), MT4_ALL(184603369518005), MT4_ALL(-1972528), MT4_ALL(844424930131968), MT4_ALL(-101479838216253)}, /* check: tuple((pow(2, -51, 2**252 + 27742317777372353535851937790883648493) - (2**252 + 27742317777372353535851937790883648493) + 2**50 * ((2**204 - 1) // (2**51 - 1)) >> 51 * i) % 2**51 - 2**50 for i in (0, 1, 2, 3)) + ((pow(2, -51, 2**252 + 27742317777372353535851937790883648493) - (2**252 + 27742317777372353535851937790883648493) + 2**50 * ((2**204 - 1) // (2**51 - 1)) >> 204),) */
};

/* -c in the same way; check: (-671914833335277) + (-1077929209154306) * 2**51 + (-5471207) * 2**102 == -27742317777372353535851937790883648493 */
static const double MT4_MINUS_C[3][4] __attribute__((aligned(32))) = {MT4_ALL(-671914833335277), MT4_ALL(-1077929209154306), MT4_ALL(-5471207)};

/* l, whose limb 3 is 0, and (l - 1) / 2; limbs below 2^51 */
static const uint64_t MT4_L[5] = {0x2631a5cf5d3ed, 0x3d45ef39acb02, 0x537be7, 0, 0x1000000000000}; /* check: tuple(2**252 + 27742317777372353535851937790883648493 >> 51 * i & 2**51 - 1 for i in (0, 1, 2, 3, 4)) */
static const uint64_t MT4_HALF_L[5] = {0x1318d2e7ae9f6, 0x5ea2f79cd6581, 0x29bdf3, 0x0, 0x800000000000}; /* check: tuple((2**252 + 27742317777372353535851937790883648493) // 2 >> 51 * i & 2**51 - 1 for i in (0, 1, 2, 3, 4)) */

/* a / 2 modulo l: (a + l) / 2 where a is odd */
PC_INLINE mt mt_half(mt a)
{
    const uint64_t odd = mask64(a.w[0] & 1);
    uint64_t add[4];
    mt out;
    for (int i = 0; i < 4; i++) add[i] = ED_ORDER.m[i] & odd;
    wide_sum(a.w, a.w, add);
    for (int i = 0; i < 3; i++) out.w[i] = a.w[i] >> 1 | a.w[i + 1] << 63;
    out.w[3] = a.w[3] >> 1;
    return out;
}

/* ---- from and to memory ---- */

FMA PC_INLINE void mt4_words(vec4 w[4], const mt *from)
{
    const uint8_t *const at[4] = {(const uint8_t *)from, (const uint8_t *)(from + 1), (const uint8_t *)(from + 2), (const uint8_t *)(from + 3)};
    fe4_words(w, at);
}

/* The limbs, below 2^51, of four residues. */
FMA PC_INLINE fe4_wide mt4_load_limbs(const mt *from)
{
    vec4 w[4];
    mt4_words(w, from);
    return fe4_from_words(w);
}

FMA PC_INLINE fe4 mt4_load(const mt *from) { return fe4_of_limbs(mt4_load_limbs(from)); }

/* a / 2, or (a - l) / 2 = floor(a / 2) - (l - 1) / 2 where a is odd: limbs below 2^51 in size. */
FMA PC_INLINE fe4 mt4_load_half(const mt *from)
{
    vec4 w[4];
    mt4_words(w, from);
    const vec4 odd = sub4(_mm256_setzero_si256(), and4(w[0], all4(1)));
    PC_UNROLL
    for (int k = 0; k < 3; k++) w[k] = _mm256_or_si256(_mm256_srli_epi64(w[k], 1), _mm256_slli_epi64(w[k + 1], 63));
    w[3] = _mm256_srli_epi64(w[3], 1);
    const fe4_wide a = fe4_from_words(w);
    fe4 out = fe4_of_limbs(a);
    PC_UNROLL
    for (int i = 0; i < 5; i++)
        out.v[i] = _mm256_sub_pd(out.v[i], _mm256_and_pd(_mm256_castsi256_pd(odd), _mm256_set1_pd((double)MT4_HALF_L[i])));
    return out;
}

/* a in every lane. */
FMA PC_INLINE fe4_wide mt4_all_limbs(mt a)
{
    vec4 w[4];
    PC_UNROLL
    for (int k = 0; k < 4; k++) w[k] = all4(a.w[k]);
    return fe4_from_words(w);
}

FMA PC_INLINE fe4 mt4_all(mt a) { return fe4_of_limbs(mt4_all_limbs(a)); }

/* a - b, of loaded residues: limbs below 2^51 in size. */
FMA PC_INLINE fe4 mt4_difference(fe4 a, fe4 b)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) a.v[i] = _mm256_sub_pd(a.v[i], b.v[i]);
    return a;
}

/* The residues of numbers between -l and l, whose limbs are below 2^61 in size. */
FMA static inline void mt4_store(mt *to, fe4_wide a)
{
    const vec4 mask = all4(FE_MASK), bias = all4((uint64_t)1 << 62); /* 2^62 = 2^11 2^51: shifts of positive numbers */
    vec4 carry = _mm256_setzero_si256(), w[4];
    PC_UNROLL
    for (int i = 0; i < 4; i++) {
        const vec4 t = add4(add4(a.v[i], carry), bias);
        a.v[i] = and4(t, mask);
        carry = sub4(_mm256_srli_epi64(t, 51), all4((uint64_t)1 << 11));
    }
    a.v[4] = add4(a.v[4], carry);
    const mask4 negative = negative4(a.v[4]);
    carry = _mm256_setzero_si256();
    PC_UNROLL
    for (int i = 0; i < 4; i++) {
        const vec4 t = add4(add4(a.v[i], carry), and4(all4(MT4_L[i]), negative));
        a.v[i] = and4(t, mask);
        carry = _mm256_srli_epi64(t, 51);
    }
    a.v[4] = add4(add4(a.v[4], carry), and4(all4(MT4_L[4]), negative));
    PC_UNROLL
    for (int k = 0; k < 4; k++) w[k] = _mm256_or_si256(_mm256_srli_epi64(a.v[k], 13 * k), _mm256_slli_epi64(a.v[k + 1], 51 - 13 * k));
    uint8_t *const at[4] = {(uint8_t *)to, (uint8_t *)(to + 1), (uint8_t *)(to + 2), (uint8_t *)(to + 3)};
    fe4_store_words(at, w);
#ifdef PRIVCOMP_VERIFY
    for (int k = 0; k < MT4_LANES; k++) VERIFY(mt_reduced(to[k], &ED_ORDER));
#endif
}

/* ---- products and their reduction ---- */

#ifdef PRIVCOMP_VERIFY
FMA static int mt4_multiplies(fe4 a, fe4 b)
{
    double most[2] = {0, 0}, lane[4];
    for (int i = 0; i < 5; i++) {
        for (int q = 0; q < 2; q++) {
            _mm256_storeu_pd(lane, q ? b.v[i] : a.v[i]);
            for (int j = 0; j < 4; j++) {
                const double size = lane[j] < 0 ? -lane[j] : lane[j];
                if (lane[j] != (double)(int64_t)lane[j]) return 0;
                if (size > most[q]) most[q] = size;
            }
        }
    }
    return most[0] * most[1] <= 0x1p102;
}
#endif

/* c += a b */
FMA PC_INLINE void mt4_multiply(vec4 c[10], fe4 a, fe4 b)
{
    VERIFY(mt4_multiplies(a, b));
    PC_UNROLL
    for (int k = 0; k < 9; k++)
        PC_UNROLL
        for (int i = k < 5 ? 0 : k - 4; i <= (k < 5 ? k : 4); i++) fe4_product(c + k, a.v[i], b.v[k - i]);
}

/* Where columns start, less the words of K and L that they get: of n products, the reduction of the lower five columns, and the bias of carries. */
struct mt4_starts {
    uint64_t c[11][4];
};

#define MT4_START(hi, lo, bias) \
    {FE4_START(hi, lo) + (bias), FE4_START(hi, lo) + (bias), FE4_START(hi, lo) + (bias), FE4_START(hi, lo) + (bias)}
#define MT4_STARTS(n) \
    {{MT4_START(0, (n), FE4_BIAS), MT4_START((n), 2 * (n), FE4_BIAS), MT4_START(2 * (n), 3 * (n), FE4_BIAS), \
      MT4_START(3 * (n), 4 * (n), FE4_BIAS), MT4_START(4 * (n), 5 * (n), FE4_BIAS), MT4_START(5 * (n), 4 * (n) + 5, FE4_BIAS), \
      MT4_START(4 * (n) + 5, 3 * (n) + 5, FE4_BIAS), MT4_START(3 * (n) + 5, 2 * (n) + 5, FE4_BIAS), \
      MT4_START(2 * (n) + 5, (n) + 5, FE4_BIAS), MT4_START((n) + 5, 5, FE4_BIAS), MT4_START(5, 0, 0)}}

static const struct mt4_starts mt4_product_starts[3] __attribute__((aligned(32))) = {MT4_STARTS(UINT64_C(0)), MT4_STARTS(UINT64_C(1)), MT4_STARTS(UINT64_C(2))};

FMA PC_INLINE void mt4_start(vec4 *c, const struct mt4_starts *from, int n)
{
#ifndef PC_MSAN
    __asm__("" : "+r"(from)); /* so that the compiler does not know the words */
#endif
    PC_UNROLL
    for (int k = 0; k < n; k++) c[k] = _mm256_load_si256((const void *)from->c[k]);
}

/* What is left of v[0..5], biased and with the words of products with -c: with top = round(v / 2^252) it is v - top 2^252 - top c. Limbs 0..3 and
 * v[4] are rounded to multiples of 2^51 and 2^48; |v| < 2^303 and so |top| < 2^51. The limbs are below 2^53 in size, the highest at most
 * 2^47, and the value at most 2^251 + 2^204 + 2^51 c. */
FMA PC_INLINE fe4_wide mt4_take_top(const vec4 v[6])
{
    const vec4 mask = all4(FE_MASK);
    const uint64_t half = (uint64_t)1 << 50, less = half + ((uint64_t)1 << 12);
    fe4_wide out;
    vec4 q[5], c[4];
    PC_UNROLL
    for (int i = 0; i < 5; i++) q[i] = _mm256_srli_epi64(v[i], 51);
    PC_UNROLL
    for (int i = 1; i < 4; i++) c[i] = add4(and4(v[i], mask), q[i - 1]);
    c[0] = and4(v[0], mask);
    /* v[4] = 2^48 t + r */
    const uint64_t shift = ((uint64_t)1 << 52) + ((uint64_t)1 << 47);
    const vec4 fourth = add4(add4(and4(v[4], mask), q[3]), all4(shift - less));
    const vec4 t = sub4(_mm256_srli_epi64(fourth, 48), all4(16)), r = and4(fourth, all4(((uint64_t)1 << 48) - 1));
    const vec4 top = add4(t, _mm256_slli_epi64(sub4(add4(v[5], q[4]), all4((uint64_t)1 << 12)), 3));
    const __m256d size = _mm256_sub_pd(_mm256_castsi256_pd(add4(top, all4(FE4_LO))), _mm256_set1_pd(0x1.8p52));
#ifdef PRIVCOMP_VERIFY
    uint64_t lane[4];
    store4(lane, top);
    for (int j = 0; j < 4; j++) VERIFY((int64_t)lane[j] < INT64_C(1) << 51 && (int64_t)lane[j] > -(INT64_C(1) << 51));
#endif
    PC_UNROLL
    for (int i = 0; i < 3; i++) fe4_product(c + i, size, _mm256_load_pd(MT4_MINUS_C[i]));
    PC_UNROLL
    for (int i = 0; i < 4; i++) out.v[i] = sub4(c[i], all4((i ? less : half) + (i < 3 ? FE4_LO : 0) + (i ? FE4_HI : 0)));
    out.v[4] = sub4(r, all4((uint64_t)1 << 47));
    return out;
}

/* The same number with tight limbs: 0..3 are rounded to multiples of 2^51. */
FMA PC_INLINE fe4 mt4_tight(fe4_wide a)
{
    fe4 out;
    vec4 q[4];
    PC_UNROLL
    for (int i = 0; i < 4; i++) a.v[i] = add4(a.v[i], all4(FE4_BIAS)), q[i] = _mm256_srli_epi64(a.v[i], 51);
    const double half = 0x1p52 + 0x1p50, less = half + 0x1p12;
    PC_UNROLL
    for (int i = 0; i < 4; i++) {
        const vec4 low = _mm256_or_si256(and4(a.v[i], all4(FE_MASK)), all4(FE4_INTEGER));
        out.v[i] = _mm256_sub_pd(_mm256_castsi256_pd(i ? add4(low, q[i - 1]) : low), _mm256_set1_pd(i ? less : half));
    }
    out.v[4] = _mm256_sub_pd(_mm256_castsi256_pd(add4(add4(a.v[4], q[3]), all4(FE4_LO - ((uint64_t)1 << 12)))), _mm256_set1_pd(0x1.8p52));
    return out;
}

/* Columns from mt4_start on, |c[k]| < 2^62 then, to 2^-255 times them, plus what was added to c[5..9]: with 5 (2^50 + 2^12) 1.464 l / 5 and less than
 * 2^302 of that, it is below 2^303. */
FMA static __attribute__((noinline)) fe4_wide mt4_reduce(vec4 c[11])
{
    fe4 low;
    vec4 q[5];
    PC_UNROLL
    for (int i = 0; i < 5; i++) q[i] = _mm256_srli_epi64(c[i], 51);
    const double half = 0x1p52 + 0x1p50, less = half + 0x1p12;
    PC_UNROLL
    for (int i = 0; i < 5; i++) {
        const vec4 limb = _mm256_or_si256(and4(c[i], all4(FE_MASK)), all4(FE4_INTEGER));
        low.v[i] = _mm256_sub_pd(_mm256_castsi256_pd(i ? add4(limb, q[i - 1]) : limb), _mm256_set1_pd(i ? less : half));
    }
    c[5] = add4(c[5], sub4(q[4], all4((uint64_t)1 << 12)));
    PC_UNROLL
    for (int j = 0; j < 5; j++)
        PC_UNROLL
        for (int i = 0; i < 5; i++) fe4_product(c + 5 + j, low.v[i], _mm256_load_pd(MT4_BACK[i][j]));
    return mt4_take_top(c + 5);
}

/* a b 2^-255 */
FMA PC_INLINE fe4_wide mt4_mul(fe4 a, fe4 b)
{
    vec4 c[11];
    mt4_start(c, &mt4_product_starts[1], 11);
    mt4_multiply(c, a, b);
    return mt4_reduce(c);
}

/* a b 2^-255 + d */
FMA PC_INLINE fe4_wide mt4_mul_add(fe4 a, fe4 b, fe4_wide d)
{
    vec4 c[11];
    mt4_start(c, &mt4_product_starts[1], 11);
    PC_UNROLL
    for (int i = 0; i < 5; i++) c[5 + i] = add4(c[5 + i], d.v[i]);
    mt4_multiply(c, a, b);
    return mt4_reduce(c);
}

/* (a b + d e) 2^-255 */
FMA PC_INLINE fe4_wide mt4_mul2(fe4 a, fe4 b, fe4 d, fe4 e)
{
    vec4 c[11];
    mt4_start(c, &mt4_product_starts[2], 11);
    mt4_multiply(c, a, b);
    mt4_multiply(c, d, e);
    return mt4_reduce(c);
}

/* ---- sums of products ---- */

/* With the words of K and L of the products since the last carry. */
typedef struct {
    vec4 c[10];
} mt4_sum;

/* Products between two carries: they add at most 9 2^51 each to a column below 2^58. */
#define MT4_TERMS 32 /* check: 32 * 9 * 2**51 + 2**58 < 2**62 */

FMA PC_INLINE void mt4_sum_zero(mt4_sum *s)
{
    PC_UNROLL
    for (int k = 0; k < 10; k++) s->c[k] = _mm256_setzero_si256();
}

FMA PC_INLINE void mt4_sum_add(mt4_sum *s, fe4 a, fe4 b) { mt4_multiply(s->c, a, b); }

/* After `count` products: columns 0..8 are rounded to multiples of 2^51, and column 9 has what is left: |t| / 2^459 and a little, below 2^58 for sums
 * of 2^12 products of residues, which are below 2^516. */
FMA static inline void mt4_sum_carry(mt4_sum *s, size_t count)
{
    const vec4 mask = all4(FE_MASK), shift = all4(((uint64_t)1 << 50) + ((uint64_t)1 << 12));
    vec4 carry = all4((uint64_t)1 << 12);
    for (unsigned k = 0; k < 10; k++) {
        const uint64_t hi = k < 5 ? k : 10 - k, lo = k < 5 ? k + 1 : 9 - k;
        const vec4 c = sub4(s->c[k], all4((uint64_t)count * (hi * FE4_HI + lo * FE4_LO) - (k < 9 ? FE4_BIAS : 0)));
        s->c[k] = k < 9 ? sub4(add4(and4(c, mask), carry), shift) : sub4(add4(c, carry), all4((uint64_t)1 << 12));
        carry = _mm256_srli_epi64(c, 51);
    }
}

/* 2^-255 times a sum that has been carried. */
FMA PC_INLINE fe4_wide mt4_sum_reduce(const mt4_sum *s)
{
    vec4 c[11];
    mt4_start(c, &mt4_product_starts[0], 11);
    PC_UNROLL
    for (int k = 0; k < 10; k++) c[k] = add4(c[k], s->c[k]);
    return mt4_reduce(c);
}

/* The sum of the four lanes of a number between -l and l. */
FMA static inline mt mt4_lanes(fe4_wide a)
{
    mt lane[MT4_LANES];
    mt4_store(lane, a);
    return mt_add(mt_add(lane[0], lane[1], &ED_ORDER), mt_add(lane[2], lane[3], &ED_ORDER), &ED_ORDER);
}

#endif
