/* The kernels of ring-LWE with AVX2 and FMA, four residues in doubles at a time.
 *
 * AVX2 multiplies integers of 32 bits only, but a fused multiplication keeps all 53 bits of a double. For integers x, w with |x| <= 2^53, |w| <= q/2:
 *   h = x w rounded,  l = x w - h exactly,  t = x (w/q) rounded to an integer,  r = (h - t q) + l = x w - t q
 * l is an integer of less than 2^53: the rounding error of a product of 106 bits. w/q comes from a table, with a relative error of at most 2^-53, and
 * x (w/q) has one of at most 2^-52 more, in any rounding mode, so that with |x| <= c 2^50 >= c q, |x w / q| <= c 2^49 and t is off by at most
 *   1/2 + 3 2^-53 c 2^49 (1 + ..) <= 1/2 + 3/16 c:   |r| <= E(c) q,   E(c) = 1/2 + 3/16 c (and 2^-40 to be safe)
 * and for c <= 8 both h - t q and r are integers below 2^53: exact. Where w/q is no more than w (1/q), its two roundings make that E'(c) = 1/2 + 3/8 c.
 * Below, c stands for |x| <= c q; sums double it. What a lane holds is always an integer of at most 8 2^50 = 2^53, and nothing depends on the rounding
 * mode but which representative of a class it is.
 * Constant time: no number is subnormal or infinite. x (w/q) may be inexact and the flag is left set.
 * Source for error-free products: Dekker, "A floating-point technique for extending the available precision", Numer. Math. 18 (1971); for transforms by
 * them: van der Hoeven, Lecerf, Quintin, "Modular SIMD arithmetic in Mathemagix", ACM TOMS 43 (2016).
 */
#include "rlwe.h"

#if PC_X86
#include <immintrin.h>

#include "rlwe_gauss.h"

#define FMA __attribute__((target("avx2,fma")))
#define LEAST 32 /* coefficients: shorter transforms are those of plain C */

typedef __m256d vd;
typedef __m256i vi;

typedef struct {
    vd q, inverse;
} prime4;

#define WORD_52 UINT64_C(0x4330000000000000) /* of 2^52; check: (1023 + 52) * 2**52 */
#define WORD_K UINT64_C(0x4338000000000000)  /* of 2^52 + 2^51: near it, doubles are the integers, in order; check: (1023 + 52) * 2**52 + 2**51 */

FMA PC_INLINE vi load(const uint64_t *a) { return _mm256_loadu_si256((const void *)a); }
FMA PC_INLINE void store(uint64_t *a, vi x) { _mm256_storeu_si256((void *)a, x); }
FMA PC_INLINE vd load_double(const uint64_t *a) { return _mm256_castsi256_pd(load(a)); }
FMA PC_INLINE void store_double(uint64_t *a, vd x) { store(a, _mm256_castpd_si256(x)); }
FMA PC_INLINE vi all(uint64_t x) { return _mm256_set1_epi64x((long long)x); }
FMA PC_INLINE vd all_double(uint64_t word) { return _mm256_castsi256_pd(all(word)); }
FMA PC_INLINE prime4 prime_of(const rlwe_prime *p) { return (prime4){all_double(p->q_double), all_double(p->q_inverse)}; }

/* Integers below 2^52. */
FMA PC_INLINE vd to_double(vi x) { return _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(x, all(WORD_52))), all_double(WORD_52)); }

FMA PC_INLINE vd nearest(vd x) { return _mm256_round_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

/* A factor and its ratio to q. */
typedef struct {
    vd w, ratio;
} factor4;

FMA PC_INLINE vd multiply(vd x, factor4 f, const prime4 *p)
{
    const vd h = _mm256_mul_pd(x, f.w), l = _mm256_fmsub_pd(x, f.w, h);
    return _mm256_add_pd(_mm256_fnmadd_pd(nearest(_mm256_mul_pd(x, f.ratio)), p->q, h), l);
}

/* Without a table: E'(c). */
FMA PC_INLINE factor4 factor_of(vd w, const prime4 *p) { return (factor4){w, _mm256_mul_pd(w, p->inverse)}; }

/* Powers, and the ratios behind them; one for all lanes, or one for each. */
typedef struct {
    const uint64_t *w, *ratio;
} powers4;

FMA PC_INLINE powers4 powers_of(const rlwe_tables *t, size_t prime, int inverse)
{
    const uint64_t *const w = rlwe_powers(t, prime, inverse);
    return (powers4){w + RLWE_DOUBLE * t->degree, w + RLWE_RATIO * t->degree};
}
FMA PC_INLINE factor4 power(powers4 w, size_t i) { return (factor4){all_double(w.w[i]), all_double(w.ratio[i])}; }
FMA PC_INLINE factor4 four_powers(powers4 w, size_t i) { return (factor4){load_double(w.w + i), load_double(w.ratio + i)}; }

/* c <= 8: the quotient is off by 1/2 + 2^-48, so that |r| <= q/2 + 8, or 1/2 q as it is called below. */
FMA PC_INLINE vd reduce(vd x, const prime4 *p) { return _mm256_fnmadd_pd(nearest(_mm256_mul_pd(x, p->inverse)), p->q, x); }

/* The residue, for c <= 8. After the reduction one addition of q makes it canonical: q > 2^8. */
FMA PC_INLINE vi canonical(vd x, const prime4 *p)
{
    const vd k = all_double(WORD_K);
    const vi r = _mm256_sub_epi64(_mm256_castpd_si256(_mm256_add_pd(reduce(x, p), k)), all(WORD_K));
    const vi q = _mm256_sub_epi64(_mm256_castpd_si256(_mm256_add_pd(p->q, k)), all(WORD_K));
    return _mm256_add_epi64(r, _mm256_and_si256(q, _mm256_cmpgt_epi64(_mm256_setzero_si256(), r)));
}

/* What a pass leaves in memory, or finds there. */
enum form { AS_IT_IS, REDUCED, CANONICAL };

FMA PC_INLINE void leave(uint64_t *a, vd x, const enum form form, const prime4 *p)
{
    if (form == CANONICAL)
        store(a, canonical(x, p));
    else
        store_double(a, form == REDUCED ? reduce(x, p) : x);
}

FMA PC_INLINE vd find(const uint64_t *a, const enum form form) { return form == CANONICAL ? to_double(load(a)) : load_double(a); }

/* x, y -> x + y, w (x - y) */
#define SANDE(x, y, w) \
    do { \
        const vd difference_ = _mm256_sub_pd(x, y); \
        x = _mm256_add_pd(x, y); \
        y = multiply(difference_, w, &p); \
    } while (0)

/* x, y -> x + w y, x - w y */
#define COOLEY(x, y, w) \
    do { \
        const vd product_ = multiply(y, w, &p); \
        y = _mm256_sub_pd(x, product_); \
        x = _mm256_add_pd(x, product_); \
    } while (0)

/* A block of 16 words, as four rows: t[k] has the words number k of all rows; and rows and columns of doubles. */
#define LOAD_COLUMNS(t, a) \
    do { \
        const vi x_ = load_halves((a), (a) + 8), x2_ = load_halves((a) + 4, (a) + 12); \
        const vi y_ = load_halves((a) + 2, (a) + 10), y2_ = load_halves((a) + 6, (a) + 14); \
        t##0 = to_double(_mm256_unpacklo_epi64(x_, x2_)); \
        t##1 = to_double(_mm256_unpackhi_epi64(x_, x2_)); \
        t##2 = to_double(_mm256_unpacklo_epi64(y_, y2_)); \
        t##3 = to_double(_mm256_unpackhi_epi64(y_, y2_)); \
    } while (0)
#define TRANSPOSE(r, t) \
    do { \
        const vd e_ = _mm256_unpacklo_pd(t##0, t##1), o_ = _mm256_unpackhi_pd(t##0, t##1); \
        const vd e2_ = _mm256_unpacklo_pd(t##2, t##3), o2_ = _mm256_unpackhi_pd(t##2, t##3); \
        r##0 = _mm256_permute2f128_pd(e_, e2_, 0x20); /* the low halves; check: 0 + 2 * 16 */ \
        r##1 = _mm256_permute2f128_pd(o_, o2_, 0x20); \
        r##2 = _mm256_permute2f128_pd(e_, e2_, 0x31); /* the high ones; check: 1 + 3 * 16 */ \
        r##3 = _mm256_permute2f128_pd(o_, o2_, 0x31); \
    } while (0)

FMA PC_INLINE vi load_halves(const uint64_t *low, const uint64_t *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)low)), _mm_loadu_si128((const void *)high), 1);
}

/* Levels 1 and 2 of the inverse, within blocks of 16 words; canonical words, times a factor if there is a key.
 *   begin        c = 1                       E'(1) = .875 with a key
 *   distance 1   2, E(2) = .875              for t0 t2, t1 t3
 *   distance 2   4, 1.75, E(4) = 1.25, E(1.75) < .83   for t0 to t3, of which t0 is reduced: c < 2
 * These and the following functions do the words from `start` to `end` of n. Two levels at a time: a processor looks ahead no further than some 200 instructions, and longer chains of them would not overlap. */
FMA PC_INLINE void inverse_narrow(uint64_t *a, const uint64_t *key, powers4 w, size_t n, size_t start, size_t end, const prime4 field)
{
    const prime4 p = field;
    for (size_t i = start / 16; i < end / 16; i++) {
        uint64_t *const row = a + 16 * i;
        vd r0, r1, r2, r3, t0, t1, t2, t3;
        LOAD_COLUMNS(t, row);
        if (key) {
            t0 = multiply(t0, factor_of(load_double(key + 16 * i), &p), &p);
            t1 = multiply(t1, factor_of(load_double(key + 16 * i + 4), &p), &p);
            t2 = multiply(t2, factor_of(load_double(key + 16 * i + 8), &p), &p);
            t3 = multiply(t3, factor_of(load_double(key + 16 * i + 12), &p), &p);
        }
        SANDE(t0, t1, four_powers(w, n / 2 + 8 * i));
        SANDE(t2, t3, four_powers(w, n / 2 + 8 * i + 4));
        SANDE(t0, t2, four_powers(w, n / 4 + 4 * i));
        SANDE(t1, t3, four_powers(w, n / 4 + 4 * i));
        t0 = reduce(t0, &p);
        TRANSPOSE(r, t);
        leave(row, r0, AS_IT_IS, &p);
        leave(row + 4, r1, AS_IT_IS, &p);
        leave(row + 8, r2, AS_IT_IS, &p);
        leave(row + 12, r3, AS_IT_IS, &p);
    }
}

/* Two levels of the inverse, distances h and 2h: from c <= 2 to 4 c <= 8, 2 E(2 c) <= 2.5, E(4 c) <= 2 and E(2 E(2 c)) < 1, of which the first two are
 * reduced: again c <= 2. The last levels leave canonical words. */
FMA PC_INLINE void inverse_four(uint64_t *a, powers4 w, size_t n, size_t h, size_t start, size_t end, const enum form form, const prime4 field)
{
    const prime4 p = field;
    const enum form low = form == REDUCED ? AS_IT_IS : form;
    for (size_t i = start / (4 * h); i < end / (4 * h); i++) {
        const factor4 wa = power(w, n / (2 * h) + 2 * i), wb = power(w, n / (2 * h) + 2 * i + 1), wc = power(w, n / (4 * h) + i);
        uint64_t *const row = a + 4 * h * i;
        for (size_t j = 0; j < h; j += 4) {
            vd x0 = load_double(row + j), x1 = load_double(row + j + h), x2 = load_double(row + j + 2 * h), x3 = load_double(row + j + 3 * h);
            SANDE(x0, x1, wa);
            SANDE(x2, x3, wb);
            SANDE(x0, x2, wc);
            SANDE(x1, x3, wc);
            leave(row + j, x0, form, &p);
            leave(row + j + h, x1, form, &p);
            leave(row + j + 2 * h, x2, low, &p);
            leave(row + j + 3 * h, x3, low, &p);
        }
    }
}

/* One level: 2 c <= 4, which is reduced, and E(2 c) < 2. */
FMA PC_INLINE void inverse_two(uint64_t *a, powers4 w, size_t n, size_t h, size_t start, size_t end, const prime4 field)
{
    const prime4 p = field;
    for (size_t i = start / (2 * h); i < end / (2 * h); i++) {
        const factor4 wa = power(w, n / (2 * h) + i);
        uint64_t *const row = a + 2 * h * i;
        for (size_t j = 0; j < h; j += 4) {
            vd x = load_double(row + j), y = load_double(row + j + h);
            SANDE(x, y, wa);
            leave(row + j, x, REDUCED, &p);
            leave(row + j + h, y, AS_IT_IS, &p);
        }
    }
}

/* All levels but the last two, whose distance is returned: the narrow ones, one if they are odd in number, and pairs of them. As many of them as there can
 * be are done on 8 or 16 kB before the next words, for a polynomial and its factors do not fit into the fastest cache. */
FMA static size_t inverse_passes(uint64_t *a, const uint64_t *key, const rlwe_tables *t, size_t prime)
{
    const size_t n = t->degree, odd = t->log_degree % 2, piece = (size_t)1024 << odd, step = n < piece ? n : piece;
    const powers4 w = powers_of(t, prime, 1);
    const prime4 p = prime_of(&t->prime[prime]);
    size_t h = 4;
    for (size_t start = 0; start < n; start += step) {
        const size_t end = start + step;
        if (key)
            inverse_narrow(a, key, w, n, start, end, p);
        else
            inverse_narrow(a, NULL, w, n, start, end, p);
        h = 4;
        if (odd) {
            inverse_two(a, w, n, h, start, end, p);
            h *= 2;
        }
        for (; 4 * h <= step && 4 * h < n; h *= 4) inverse_four(a, w, n, h, start, end, REDUCED, p);
    }
    for (; 4 * h < n; h *= 4) inverse_four(a, w, n, h, 0, n, REDUCED, p);
    return h;
}

FMA PC_INLINE void inverse_all(uint64_t *a, const uint64_t *key, const rlwe_tables *t, size_t prime)
{
    const size_t n = t->degree, h = inverse_passes(a, key, t, prime);
    inverse_four(a, powers_of(t, prime, 1), n, h, 0, n, CANONICAL, prime_of(&t->prime[prime]));
}

FMA static void inverse(uint64_t *a, const rlwe_tables *t, size_t prime)
{
    if (t->degree < LEAST)
        pc_rlwe_portable.inverse(a, t, prime);
    else
        inverse_all(a, NULL, t, prime);
}

FMA static void product(uint64_t *a, const uint64_t *key, const rlwe_tables *t, size_t prime)
{
    if (t->degree < LEAST)
        pc_rlwe_portable.product(a, key, t, prime);
    else
        inverse_all(a, key + RLWE_DOUBLE * t->degree, t, prime);
}

/* A level of the forward transform makes c + E(c) = 1/2 + 19/16 c of c: 1, 1.69, 2.51, 3.48, 4.63, 6.00, 7.63, and from 1/2 on less: six levels without a
 * reduction. So it is at distances 2^6 and 2^12 that numbers are reduced, and behind a single level. Two levels: */
FMA PC_INLINE void forward_four(uint64_t *a, powers4 w, size_t n, size_t h, const enum form from, const enum form form, const prime4 field)
{
    const prime4 p = field;
    for (size_t i = 0; i < n / (4 * h); i++, a += 4 * h) {
        const factor4 wa = power(w, n / (2 * h) + 2 * i), wb = power(w, n / (2 * h) + 2 * i + 1), wc = power(w, n / (4 * h) + i);
        for (size_t j = 0; j < h; j += 4) {
            vd x0 = find(a + j, from), x1 = find(a + j + h, from), x2 = find(a + j + 2 * h, from), x3 = find(a + j + 3 * h, from);
            COOLEY(x0, x2, wc);
            COOLEY(x1, x3, wc);
            COOLEY(x0, x1, wa);
            COOLEY(x2, x3, wb);
            leave(a + j, x0, form, &p);
            leave(a + j + h, x1, form, &p);
            leave(a + j + 2 * h, x2, form, &p);
            leave(a + j + 3 * h, x3, form, &p);
        }
    }
}

FMA PC_INLINE void forward_two(uint64_t *a, powers4 w, size_t n, const prime4 field)
{
    const prime4 p = field;
    const factor4 wa = power(w, 1);
    for (size_t j = 0; j < n / 2; j += 4) {
        vd x = find(a + j, CANONICAL), y = find(a + j + n / 2, CANONICAL);
        COOLEY(x, y, wa);
        leave(a + j, x, REDUCED, &p);
        leave(a + j + n / 2, y, REDUCED, &p);
    }
}

/* The last two levels, within 16 words. */
FMA PC_INLINE void forward_narrow(uint64_t *a, powers4 w, size_t n, const prime4 field)
{
    const prime4 p = field;
    for (size_t i = 0; i < n / 16; i++, a += 16) {
        vd r0 = load_double(a), r1 = load_double(a + 4), r2 = load_double(a + 8), r3 = load_double(a + 12), t0, t1, t2, t3;
        TRANSPOSE(t, r);
        COOLEY(t0, t2, four_powers(w, n / 4 + 4 * i));
        COOLEY(t1, t3, four_powers(w, n / 4 + 4 * i));
        COOLEY(t0, t1, four_powers(w, n / 2 + 8 * i));
        COOLEY(t2, t3, four_powers(w, n / 2 + 8 * i + 4));
        TRANSPOSE(r, t);
        leave(a, r0, CANONICAL, &p);
        leave(a + 4, r1, CANONICAL, &p);
        leave(a + 8, r2, CANONICAL, &p);
        leave(a + 12, r3, CANONICAL, &p);
    }
}

FMA static void forward(uint64_t *a, const rlwe_tables *t, size_t prime)
{
    const size_t n = t->degree;
    if (n < LEAST) {
        pc_rlwe_portable.forward(a, t, prime);
        return;
    }
    const powers4 w = powers_of(t, prime, 0);
    const prime4 p = prime_of(&t->prime[prime]);
    size_t h = n / 4;
    if (t->log_degree % 2) {
        forward_two(a, w, n, p);
        h /= 2;
    }
    for (; h >= 4; h /= 4) {
        const int last = h == 64 || h == 4096;
        if (4 * h == n && last)
            forward_four(a, w, n, h, CANONICAL, REDUCED, p);
        else if (4 * h == n)
            forward_four(a, w, n, h, CANONICAL, AS_IT_IS, p);
        else if (last)
            forward_four(a, w, n, h, AS_IT_IS, REDUCED, p);
        else
            forward_four(a, w, n, h, AS_IT_IS, AS_IT_IS, p);
    }
    forward_narrow(a, w, n, p);
}

/* ---- the rest ---- */

/* x, or x - m if that is not negative. */
FMA PC_INLINE vi once(vi x, vi m)
{
    const vi less = _mm256_sub_epi64(x, m);
    return _mm256_castpd_si256(_mm256_blendv_pd(_mm256_castsi256_pd(less), _mm256_castsi256_pd(x), _mm256_castsi256_pd(less)));
}

FMA void pc_rlwe_take_fma(uint64_t *a, size_t n, const rlwe_prime *p)
{
    const vi low = all(UINT64_MAX >> (64 - p->bits)), q = all(p->q);
    for (; n >= 4; a += 4, n -= 4) store(a, once(_mm256_and_si256(load(a), low), q));
    pc_rlwe_portable.take(a, n, p);
}

/* c = 1: at most E'(1) = .875 */
FMA void pc_rlwe_scale_fma(uint64_t *a, size_t n, const rlwe_prime *pr)
{
    const prime4 p = prime_of(pr);
    const factor4 f = factor_of(reduce(to_double(all(pr->scale.w)), &p), &p);
    for (; n >= 4; a += 4, n -= 4) leave(a, multiply(find(a, CANONICAL), f, &p), CANONICAL, &p);
    pc_rlwe_portable.scale(a, n, pr);
}

FMA int pc_rlwe_mask_fma(uint64_t *a, size_t n, uint64_t q, unsigned bits)
{
    const vi low = all(UINT64_MAX >> (64 - bits)), most = all(q - 1);
    vi above = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const vi x = _mm256_and_si256(load(a + i), low);
        above = _mm256_or_si256(above, _mm256_cmpgt_epi64(x, most));
        store(a + i, x);
    }
    const int rest = pc_rlwe_portable.mask(a + i, n - i, q, bits);
    return _mm256_testz_si256(above, above) && rest;
}

FMA PC_INLINE vi four_values(const void *values, size_t at, const enum rlwe_type type)
{
    if (type == RLWE_64) return load((const uint64_t *)values + at);
    const __m128i x = _mm_loadu_si128((const void *)((const uint32_t *)values + at));
    return type == RLWE_I32 ? _mm256_cvtepi32_epi64(x) : _mm256_cvtepu32_epi64(x);
}

/* Three or four digits, at most two of them in a part: 4 coefficients at a time, of which the n / k that are whole are done, to a multiple of 4. Two in a
 * part: M^2 <= 2^52, and a product of numbers below M is one of 32 bits. */
FMA PC_INLINE size_t spread_four(uint64_t *parts, const void *values, const enum rlwe_type type, size_t n, uint64_t offset, uint64_t limit,
                                 const rlwe_tables *t, const size_t k, const size_t group, int *fits)
{
    const vi shift = all(offset), most = all(limit), radix = all(t->radix);
    const size_t count = n / k / 4 * 4, stride = t->degree;
    vi above = _mm256_setzero_si256(), r[4];
    for (size_t i = 0; i < count; i += 4) {
        PC_UNROLL
        for (size_t l = 0; l < k; l++) {
            r[l] = _mm256_add_epi64(four_values(values, k * i + 4 * l, type), shift);
            above = _mm256_or_si256(above, _mm256_or_si256(r[l], _mm256_sub_epi64(most, r[l])));
        }
        if (k == 3) {
            /* a a a b, b b c c, c d d d to rows with three of each: their last word is not looked at */
            const vi b = _mm256_permute2x128_si256(r[0], r[1], 0x21), c = _mm256_permute2x128_si256(r[1], r[2], 0x21); /* check: 0x21 == 1 + 2 * 16 */
            r[1] = _mm256_permute4x64_epi64(b, 0x39); /* 1, 2, 3, 0; check: 0x39 == 1 + 2 * 4 + 3 * 16 */
            r[3] = _mm256_permute4x64_epi64(r[2], 0x39);
            r[2] = c;
        }
        const vi a0 = _mm256_unpacklo_epi64(r[0], r[1]), a1 = _mm256_unpackhi_epi64(r[0], r[1]);
        const vi b0 = _mm256_unpacklo_epi64(r[2], r[3]), b1 = _mm256_unpackhi_epi64(r[2], r[3]);
        if (group == 2) { /* words of both digits of a part stand at the same place */
            const vi a = _mm256_add_epi64(a0, _mm256_mul_epu32(a1, radix)), b = _mm256_add_epi64(b0, _mm256_mul_epu32(b1, radix));
            store(parts + i, _mm256_permute2x128_si256(a, b, 0x20));
            store(parts + stride + i, k == 4 ? _mm256_permute2x128_si256(a, b, 0x31) : _mm256_permute2x128_si256(a0, b0, 0x31));
        } else {
            store(parts + i, _mm256_permute2x128_si256(a0, b0, 0x20));
            store(parts + stride + i, _mm256_permute2x128_si256(a1, b1, 0x20));
            store(parts + 2 * stride + i, _mm256_permute2x128_si256(a0, b0, 0x31));
            if (k == 4) store(parts + 3 * stride + i, _mm256_permute2x128_si256(a1, b1, 0x31));
        }
    }
    *fits = _mm256_movemask_pd(_mm256_castsi256_pd(above)) == 0;
    return count;
}

FMA PC_INLINE int spread_type(uint64_t *parts, const void *values, const enum rlwe_type type, size_t n, uint64_t offset, uint64_t limit, const rlwe_tables *t)
{
    size_t done = 0;
    int fits = 1;
    if (t->digits == 4 && t->group == 2)
        done = spread_four(parts, values, type, n, offset, limit, t, 4, 2, &fits);
    else if (t->digits == 4 && t->group == 1)
        done = spread_four(parts, values, type, n, offset, limit, t, 4, 1, &fits);
    else if (t->digits == 3 && t->group == 2)
        done = spread_four(parts, values, type, n, offset, limit, t, 3, 2, &fits);
    const size_t at = done * t->digits;
    return pc_rlwe_portable.spread(parts + done, (const uint8_t *)values + at * (type == RLWE_64 ? 8 : 4), type, n - at, offset, limit, t) && fits;
}

FMA int pc_rlwe_spread_fma(uint64_t *parts, const void *values, enum rlwe_type type, size_t n, uint64_t offset, uint64_t limit, const rlwe_tables *t)
{
    if (type == RLWE_U32) return spread_type(parts, values, RLWE_U32, n, offset, limit, t);
    if (type == RLWE_I32) return spread_type(parts, values, RLWE_I32, n, offset, limit, t);
    return spread_type(parts, values, RLWE_64, n, offset, limit, t);
}

/* Parts are below 2^52 = 4 2^50: each product is at most E'(4) = 2. At most two of them are added between reductions: c <= 1/2 + 4; then comes x + e with
 * c <= 2, |e| < q. */
FMA PC_INLINE void message_of(uint64_t *x, size_t n, const int8_t *e, const uint64_t *parts, size_t stride, const rlwe_prime *pr, const size_t count,
                             const enum form from)
{
    const prime4 p = prime_of(pr);
    factor4 factor[RLWE_DIGITS];
    for (size_t l = 0; l < count; l++) factor[l] = factor_of(reduce(to_double(all(pr->part[l].w)), &p), &p);
    for (size_t i = 0; i < n; i += 4) {
        vd sum = multiply(to_double(load(parts + i)), factor[0], &p);
        for (size_t l = 1; l < count; l++) {
            if (l % 2 == 0) sum = reduce(sum, &p);
            sum = _mm256_add_pd(sum, multiply(to_double(load(parts + l * stride + i)), factor[l], &p));
        }
        int32_t four;
        memcpy(&four, e + i, 4);
        const vd noise = _mm256_cvtepi32_pd(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(four)));
        store(x + i, canonical(_mm256_add_pd(sum, _mm256_add_pd(noise, find(x + i, from))), &p));
    }
}

FMA PC_INLINE void message_parts(uint64_t *x, size_t n, const int8_t *e, const uint64_t *parts, size_t stride, const rlwe_tables *t, size_t prime,
                                const enum form from)
{
    const rlwe_prime *const p = &t->prime[prime];
    if (t->parts == 1)
        message_of(x, n, e, parts, stride, p, 1, from);
    else if (t->parts == 2)
        message_of(x, n, e, parts, stride, p, 2, from);
    else
        message_of(x, n, e, parts, stride, p, t->parts, from);
}

FMA static void message(uint64_t *x, size_t n, const int8_t *e, const uint64_t *parts, size_t stride, const rlwe_tables *t, size_t prime)
{
    message_parts(x, n, e, parts, stride, t, prime, CANONICAL);
}

FMA static void cipher(uint64_t *x, const uint64_t *key, const int8_t *e, const uint64_t *parts, const rlwe_tables *t, size_t prime)
{
    const size_t n = t->degree;
    if (n < LEAST) {
        pc_rlwe_portable.cipher(x, key, e, parts, t, prime);
        return;
    }
    const size_t h = inverse_passes(x, key + RLWE_DOUBLE * n, t, prime);
    inverse_four(x, powers_of(t, prime, 1), n, h, 0, n, REDUCED, prime_of(&t->prime[prime]));
    message_parts(x, n, e, parts, n, t, prime, AS_IT_IS);
}

/* 32 blocks to 16 vectors: byte b of block i becomes byte i of vector b. Each of four rounds turns the number (register, byte) of eight bits by one bit,
 * within the 16 bytes of each half. */
FMA PC_INLINE void blocks_to_bytes(vi out[16], const uint8_t *blocks)
{
    vi x[16], y[16];
    PC_UNROLL
    for (int i = 0; i < 16; i++)
        x[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)(blocks + 16 * i))),
                                       _mm_loadu_si128((const void *)(blocks + 16 * (i + 16))), 1);
#define TURN(to, from) \
    PC_UNROLL \
    for (int i = 0; i < 8; i++) to[2 * i] = _mm256_unpacklo_epi8(from[i], from[i + 8]), to[2 * i + 1] = _mm256_unpackhi_epi8(from[i], from[i + 8])
    TURN(y, x);
    TURN(x, y);
    TURN(y, x);
    TURN(out, y);
#undef TURN
}

FMA PC_INLINE vi bytes_of(int x) { return _mm256_set1_epi8((char)x); }

/* 16 bytes of a table, for both halves of a vector: lane i of the result is the entry number index[i] < 128 mod 16, or 0 for an index from 128 on. */
FMA PC_INLINE vi look_up(const void *table, vi index) { return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_load_si128(table)), index); }

/* As rlwe_gauss.h has it. A byte counts with 128 taken off, as a signed number, where it is compared with a slot. */
FMA void pc_rlwe_gaussian_fma(int8_t *out, const uint8_t *blocks, size_t n)
{
    size_t i = 0;
    vi b[16], index[6];
    for (; i + 32 <= n; i += 32) {
        const vi zero = _mm256_setzero_si256(), ones = bytes_of(-1);
        vi lead = zero, zeros = zero, reaches = ones;
        blocks_to_bytes(b, blocks + 16 * i);
        /* the first byte that is not zero, and how many are before it, at most 15 */
        PC_UNROLL
        for (int l = 0; l < RLWE_LEADS; l++) {
            const vi none = _mm256_cmpeq_epi8(lead, zero);
            if (l > 0) zeros = _mm256_sub_epi8(zeros, none);
            lead = _mm256_or_si256(lead, _mm256_and_si256(b[15 - l], none));
        }
        lead = _mm256_xor_si256(lead, bytes_of(0x80));
        vi count = look_up(rlwe_run, zeros);
        PC_UNROLL
        for (int k = 0; k < RLWE_SLOTS; k++) count = _mm256_sub_epi8(count, _mm256_cmpgt_epi8(look_up(rlwe_slot[k], zeros), lead));
        /* Bits 0..3 are the place in a row of 16 thresholds and bit 7 says that the row is another one, for which the shuffle gives 0. */
        PC_UNROLL
        for (int j = 0; j < 6; j++) index[j] = _mm256_adds_epu8(_mm256_sub_epi8(count, bytes_of(16 * j)), bytes_of(0x70));
        /* Whether the block is at least the threshold, from the last byte on: the same as before where the bytes are equal. A byte of a threshold is zero
         * behind the run that begins with it. */
        PC_UNROLL
        for (int l = 15; l >= 0; l--) {
            vi threshold = look_up(rlwe_byte[l], index[0]);
            for (int j = 1; j < (rlwe_run[l + 1] + 15) / 16; j++) threshold = _mm256_or_si256(threshold, look_up(rlwe_byte[l] + 16 * j, index[j]));
            const vi v = b[15 - l], same = _mm256_cmpeq_epi8(v, threshold), here = _mm256_cmpeq_epi8(_mm256_max_epu8(v, threshold), v);
            reaches = _mm256_andnot_si256(_mm256_andnot_si256(reaches, same), here);
        }
        const vi size = _mm256_sub_epi8(_mm256_add_epi8(count, reaches), ones), sign = _mm256_cmpeq_epi8(_mm256_and_si256(b[0], bytes_of(1)), bytes_of(1));
        _mm256_storeu_si256((void *)(out + i), _mm256_sub_epi8(_mm256_xor_si256(size, sign), sign));
    }
    privcomp_wipe((uint8_t *)b, sizeof b);
    privcomp_wipe((uint8_t *)index, sizeof index);
    pc_rlwe_portable.gaussian(out + i, blocks + 16 * i, n - i);
}

/* ---- bits ----
 * Four residues of at most 50 bits, the first at bit s <= 7 of a byte: two lie within 107 bits and so in 16 bytes from that byte on, and residue 1 in the
 * eight from byte (s + bits) / 8 <= 7 on; the others likewise. 4 bits are a multiple of 4: s has at most two values in turn.
 */
typedef struct {
    vi take, put_even, put_odd; /* shuffles */
    vi shift;
    __m128i carry[2]; /* moves the last byte that two residues leave unfinished, to the front */
    uint32_t third, next; /* bytes from that of residue 0 to those of residues 2 and 4 */
} bits_plan;

FMA static void plan_bits(bits_plan *plan, unsigned s, unsigned bits)
{
    uint8_t take[32], even[32], odd[32], carry[2][16];
    uint64_t shift[4];
    memset(even, 0x80, sizeof even);
    memset(odd, 0x80, sizeof odd);
    memset(carry, 0x80, sizeof carry);
    plan->third = (s + 2 * bits) / 8;
    plan->next = (s + 4 * bits) / 8;
    for (unsigned half = 0; half < 2; half++) {
        const unsigned first = s + 2 * bits * half, start = first / 8, second = (first + bits) / 8 - start;
        for (unsigned i = 0; i < 8; i++) {
            take[16 * half + i] = (uint8_t)i;
            take[16 * half + 8 + i] = (uint8_t)(second + i);
            even[16 * half + i] = (uint8_t)i;
            odd[16 * half + second + i] = (uint8_t)(8 + i);
        }
        shift[2 * half] = first % 8;
        shift[2 * half + 1] = (first + bits) % 8;
        carry[half][0] = (uint8_t)((first + 2 * bits) / 8 - start);
    }
    plan->take = _mm256_loadu_si256((const void *)take);
    plan->put_even = _mm256_loadu_si256((const void *)even);
    plan->put_odd = _mm256_loadu_si256((const void *)odd);
    plan->shift = load(shift);
    for (int half = 0; half < 2; half++) plan->carry[half] = _mm_loadu_si128((const void *)carry[half]);
}

FMA PC_INLINE vi take_four(const uint8_t *data, const bits_plan *plan, vi low)
{
    const vi x = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)data)), _mm_loadu_si128((const void *)(data + plan->third)), 1);
    return _mm256_and_si256(_mm256_srlv_epi64(_mm256_shuffle_epi8(x, plan->take), plan->shift), low);
}

/* How many residues, a multiple of 8, can be read 16 bytes at a time from bit `bit` on. */
PC_INLINE size_t readable(size_t length, uint64_t bit, size_t n, uint64_t bits)
{
    const size_t byte = (size_t)(bit >> 3);
    if (length < byte + 32) return 0;
    const size_t whole = (size_t)((length - byte - 32) * 8 / bits);
    return (whole < n ? whole : n) / 8 * 8;
}

#define EACH_FOUR(body) \
    for (; i < m; i += 8) { \
        { const bits_plan *const plan = &plans[0]; const size_t at = i; body; data_at += plan->next; } \
        { const bits_plan *const plan = &plans[1]; const size_t at = i + 4; body; data_at += plan->next; } \
    } \
    (void)0

FMA int pc_rlwe_check_fma(const uint8_t *data, size_t length, uint64_t bit, size_t n, const rlwe_prime *p)
{
    const size_t m = readable(length, bit, n, p->bits);
    const unsigned bits = (unsigned)p->bits, s = bit & 7;
    const uint8_t *data_at = data + (bit >> 3);
    const vi low = all(UINT64_MAX >> (64 - bits)), most = all(p->q - 1);
    vi above = _mm256_setzero_si256();
    bits_plan plans[2];
    plan_bits(&plans[0], s, bits);
    plan_bits(&plans[1], (s + 4 * bits) % 8, bits);
    size_t i = 0;
    EACH_FOUR(above = _mm256_or_si256(above, _mm256_cmpgt_epi64(take_four(data_at, plan, low), most)); (void)at);
    return _mm256_testz_si256(above, above) && pc_rlwe_portable.check(data, length, bit + (uint64_t)m * bits, n - m, p);
}

FMA void pc_rlwe_add_fma(uint64_t *total, const uint8_t *data, size_t length, uint64_t bit, size_t n, const rlwe_prime *p)
{
    const size_t m = readable(length, bit, n, p->bits);
    const unsigned bits = (unsigned)p->bits, s = bit & 7;
    const uint8_t *data_at = data + (bit >> 3);
    const vi low = all(UINT64_MAX >> (64 - bits)), q = all(p->q);
    bits_plan plans[2];
    plan_bits(&plans[0], s, bits);
    plan_bits(&plans[1], (s + 4 * bits) % 8, bits);
    size_t i = 0;
#define ADD_FOUR \
    store(total + at, once(_mm256_add_epi64(load(total + at), take_four(data_at, plan, low)), q))
    EACH_FOUR(ADD_FOUR);
    pc_rlwe_portable.add(total + m, data, length, bit + (uint64_t)m * bits, n - m, p);
}

/* The first byte of each two residues has the bits that the two before left over; 16 bytes are written, of which those behind the end come again. */
FMA uint64_t pc_rlwe_pack_fma(uint8_t *out, uint64_t bit, uint64_t *carry, const uint64_t *x, size_t n, unsigned bits)
{
    const size_t m = readable((size_t)((bit + (uint64_t)n * bits) >> 3), bit, n, bits);
    const unsigned s = bit & 7;
    uint8_t *data_at = out + (bit >> 3);
    bits_plan plans[2];
    plan_bits(&plans[0], s, bits);
    plan_bits(&plans[1], (s + 4 * bits) % 8, bits);
    __m128i left = _mm_cvtsi32_si128((int)(*carry & 0xff));
    size_t i = 0;
#define PACK_FOUR \
    const vi v = _mm256_sllv_epi64(load(x + at), plan->shift); \
    const vi both = _mm256_or_si256(_mm256_shuffle_epi8(v, plan->put_even), _mm256_shuffle_epi8(v, plan->put_odd)); \
    const __m128i first = _mm_or_si128(_mm256_castsi256_si128(both), left); \
    const __m128i second = _mm_or_si128(_mm256_extracti128_si256(both, 1), _mm_shuffle_epi8(first, plan->carry[0])); \
    _mm_storeu_si128((void *)data_at, first); \
    _mm_storeu_si128((void *)(data_at + plan->third), second); \
    left = _mm_shuffle_epi8(second, plan->carry[1])
    EACH_FOUR(PACK_FOUR);
    *carry = (uint64_t)_mm_cvtsi128_si32(left) & 0xff;
    return pc_rlwe_portable.pack(out, bit + (uint64_t)m * bits, carry, x + m, n - m, bits);
}

/* ---- decoding ----
 * Two primes, four digits: with D = Delta M^2 < 2^62, u = d1 q0 + r0 below q0 q1 < M^4 (Delta + 1), m = floor(u / Delta) = h M^2 + l,
 *   h = floor(u / D) < M^2 (1 + 1/Delta) <= 1.5 2^48,   u - h D = l Delta + E + floor(Delta / 2),   l < M^2 <= 2^48.
 * Quotients are estimated in doubles: dividend, divisor, its reciprocal and the product have relative errors of at most 2^-52 each (any rounding mode), in
 * all below 2^-49.9. With a quotient below 1.5 2^48 the estimate is off by less than 1.5 2^-1.9 < .41, and rounded to an integer t by less than 1:
 *   -D < u - t D < D,
 * and one addition of the divisor, where the remainder is negative, makes it the floor. Remainders are known from their low 64 bits. */

/* The low words of products: 3 multiplications of 32 bits; and for w < 2^32, 2. */
FMA PC_INLINE vi low_product(vi x, vi w)
{
    const vi high = _mm256_add_epi64(_mm256_mul_epu32(_mm256_srli_epi64(x, 32), w), _mm256_mul_epu32(x, _mm256_srli_epi64(w, 32)));
    return _mm256_add_epi64(_mm256_mul_epu32(x, w), _mm256_slli_epi64(high, 32));
}
FMA PC_INLINE vi short_product(vi x, vi w)
{
    return _mm256_add_epi64(_mm256_mul_epu32(x, w), _mm256_slli_epi64(_mm256_mul_epu32(_mm256_srli_epi64(x, 32), w), 32));
}

/* Integers 0 <= x < 2^52. */
FMA PC_INLINE vi to_word(vd x) { return _mm256_xor_si256(_mm256_castpd_si256(_mm256_add_pd(x, all_double(WORD_52))), all(WORD_52)); }

#define WORD_84 UINT64_C(0x4530000000000000)    /* of 2^84; check: (1023 + 84) * 2**52 */
#define WORD_84_52 UINT64_C(0x4530000000100000) /* of 2^84 + 2^52; check: (1023 + 84) * 2**52 + 2**20 */

/* x < 2^63, rounded once: 2^84 + 2^32 floor(x / 2^32) - (2^84 + 2^52) is exact, and so is 2^52 + x mod 2^32. */
FMA PC_INLINE vd round_word(vi x)
{
    const vd high = _mm256_castsi256_pd(_mm256_or_si256(_mm256_srli_epi64(x, 32), all(WORD_84)));
    const vd low = _mm256_castsi256_pd(_mm256_blend_epi32(x, all(WORD_52), 0xaa)); /* check: 0xaa == 2 + 8 + 32 + 128 */
    return _mm256_add_pd(_mm256_sub_pd(high, all_double(WORD_84_52)), low);
}

/* x, or x + m if x is negative; and the same of total - x + half modulo q, for canonical words. */
FMA PC_INLINE vi lift(vi x, vi m) { return _mm256_add_epi64(x, _mm256_and_si256(m, _mm256_cmpgt_epi64(_mm256_setzero_si256(), x))); }
FMA PC_INLINE vi residue(vi total, vi x, vi half, vi q) { return lift(_mm256_sub_epi64(_mm256_add_epi64(lift(_mm256_sub_epi64(total, x), q), half), q), q); }

/* x = digit + M quotient, x < 1.5 2^48. */
FMA PC_INLINE vd split_digit(vd *digit, vd x, vd radix, vd inverse)
{
    const vd t = nearest(_mm256_mul_pd(x, inverse)), r = _mm256_fnmadd_pd(t, radix, x); /* |r| < M: exact */
    const vd below = _mm256_cmp_pd(r, _mm256_setzero_pd(), _CMP_LT_OQ);
    *digit = _mm256_add_pd(r, _mm256_and_pd(below, radix));
    return _mm256_sub_pd(t, _mm256_and_pd(below, _mm256_set1_pd(1.0)));
}

/* Coefficients at a time, in three stages: one chain of all would be longer than a processor looks ahead. */
enum { BLOCK = 128 };
typedef struct {
    uint64_t u[BLOCK], h[BLOCK];
} decode_block;

FMA size_t pc_rlwe_decode_var_fma(uint64_t *out, size_t n, const uint64_t *x, const uint64_t *total, size_t stride, uint64_t shift, const rlwe_tables *t,
                                  rlwe_found *found)
{
    const rlwe_prime *const p0 = &t->prime[0], *const p1 = &t->prime[1];
    const uint64_t joint = t->delta * t->radix * t->radix, g = p1->garner[0].w, half = t->delta / 2;
    const prime4 field = prime_of(p1);
    const vi q0 = all(p0->q), q1 = all(p1->q), half0 = all(half % p0->q), half1 = all(half % p1->q), divisor = all(joint), delta = all(t->delta);
    const factor4 garner = factor_of(_mm256_set1_pd(g > p1->q / 2 ? -(double)(p1->q - g) : (double)g), &field);
    const vd q0_double = all_double(p0->q_double), zero = _mm256_setzero_pd();
    const vd joint_inverse = _mm256_set1_pd(1.0 / (double)joint), delta_inverse = _mm256_set1_pd(1.0 / (double)t->delta);
    const vd radix = _mm256_set1_pd((double)t->radix), radix_inverse = _mm256_set1_pd(1.0 / (double)t->radix);
    const vi last0 = all(p0->q - 1), last1 = all(p1->q - 1), shifted = all(WORD_52 + shift);
    vi above = _mm256_setzero_si256(), squares = above, most = above;
    vd beyond = zero, largest = zero;
    decode_block block;
    n = n / 4 * 4;
    for (size_t start = 0; start < n; start += BLOCK) {
        const size_t here = n - start < BLOCK ? n - start : BLOCK;
        for (size_t i = 0; i < here; i += 4) {
            const size_t at = start + i;
            const vi c0 = load(total + at), c1 = load(total + stride + at);
            above = _mm256_or_si256(above, _mm256_or_si256(_mm256_or_si256(c0, _mm256_sub_epi64(last0, c0)), _mm256_or_si256(c1, _mm256_sub_epi64(last1, c1))));
            const vi r0 = residue(c0, load(x + at), half0, q0), r1 = residue(c1, load(x + t->degree + at), half1, q1);
            /* d1 = (r1 - r0) / q0 mod q1: c = 1, |product| <= E'(1) q1 = .875 q1 */
            const vd r0_double = to_double(r0);
            vd d1 = multiply(_mm256_sub_pd(to_double(r1), r0_double), garner, &field);
            d1 = _mm256_add_pd(d1, _mm256_and_pd(_mm256_cmp_pd(d1, zero, _CMP_LT_OQ), field.q));
            store_double(block.h + i, nearest(_mm256_mul_pd(_mm256_fmadd_pd(d1, q0_double, r0_double), joint_inverse)));
            store(block.u + i, _mm256_add_epi64(low_product(to_word(d1), q0), r0));
        }
        for (size_t i = 0; i < here; i += 4) {
            const vi h_word = to_word(load_double(block.h + i));
            vi rest = _mm256_sub_epi64(load(block.u + i), low_product(h_word, divisor));
            const vi h_below = _mm256_cmpgt_epi64(_mm256_setzero_si256(), rest);
            rest = _mm256_add_epi64(rest, _mm256_and_si256(divisor, h_below));
            store_double(block.h + i, to_double(_mm256_add_epi64(h_word, h_below)));
            const vi l_word = to_word(nearest(_mm256_mul_pd(round_word(rest), delta_inverse)));
            rest = _mm256_sub_epi64(rest, short_product(l_word, delta));
            const vi l_below = _mm256_cmpgt_epi64(_mm256_setzero_si256(), rest);
            rest = _mm256_add_epi64(rest, _mm256_and_si256(delta, l_below));
            store_double(block.u + i, to_double(_mm256_add_epi64(l_word, l_below)));
            /* |E| <= 2^24, in the low 32 bits: 2^14 / 4 squares stay below 2^61 */
            const vi e = _mm256_sub_epi64(rest, all(half));
            squares = _mm256_add_epi64(squares, _mm256_mul_epi32(e, e));
            most = _mm256_max_epi32(most, _mm256_abs_epi32(e));
        }
        for (size_t i = 0; i < here; i += 4) {
            vd r0, r1, r2, r3;
            r1 = split_digit(&r0, load_double(block.u + i), radix, radix_inverse);
            r3 = split_digit(&r2, load_double(block.h + i), radix, radix_inverse);
            beyond = _mm256_or_pd(beyond, _mm256_cmp_pd(r3, radix, _CMP_GE_OQ));
            largest = _mm256_max_pd(_mm256_max_pd(_mm256_max_pd(r0, r1), _mm256_max_pd(r2, r3)), largest);
            /* words 4 i + d: rows and columns of 4 by 4; 2^52 + v for v < 2^52 has the word WORD_52 + v */
            r0 = _mm256_add_pd(r0, all_double(WORD_52));
            r1 = _mm256_add_pd(r1, all_double(WORD_52));
            r2 = _mm256_add_pd(r2, all_double(WORD_52));
            r3 = _mm256_add_pd(r3, all_double(WORD_52));
            const vd even = _mm256_unpacklo_pd(r0, r1), odd = _mm256_unpackhi_pd(r0, r1);
            const vd even2 = _mm256_unpacklo_pd(r2, r3), odd2 = _mm256_unpackhi_pd(r2, r3);
            uint64_t *const to = out + 4 * (start + i);
            store(to, _mm256_sub_epi64(_mm256_castpd_si256(_mm256_permute2f128_pd(even, even2, 0x20)), shifted));
            store(to + 4, _mm256_sub_epi64(_mm256_castpd_si256(_mm256_permute2f128_pd(odd, odd2, 0x20)), shifted));
            store(to + 8, _mm256_sub_epi64(_mm256_castpd_si256(_mm256_permute2f128_pd(even, even2, 0x31)), shifted));
            store(to + 12, _mm256_sub_epi64(_mm256_castpd_si256(_mm256_permute2f128_pd(odd, odd2, 0x31)), shifted));
        }
    }
    uint64_t sums[4], sizes[4], digits[4];
    store(sums, squares);
    store(sizes, most);
    store(digits, to_word(largest));
    for (int lane = 0; lane < 4; lane++) {
        found->squares += sums[lane];
        if ((uint32_t)sizes[lane] > found->most) found->most = (uint32_t)sizes[lane];
        if (digits[lane] > found->largest) found->largest = digits[lane];
    }
    found->ok &= _mm256_movemask_pd(_mm256_castsi256_pd(above)) == 0 && _mm256_movemask_pd(beyond) == 0;
    return n;
}

const struct rlwe pc_rlwe_fma = {
    .forward = forward, .inverse = inverse, .product = product, .message = message, .cipher = cipher, .mask = pc_rlwe_mask_fma, .spread = pc_rlwe_spread_fma,
    .take = pc_rlwe_take_fma, .scale = pc_rlwe_scale_fma,
    .gaussian = pc_rlwe_gaussian_fma, .check = pc_rlwe_check_fma, .add = pc_rlwe_add_fma, .pack = pc_rlwe_pack_fma,
    .decode_var = pc_rlwe_decode_var_fma,
};

#else
typedef int pc_no_x86; /* ISO C wants one declaration per file */
#endif
