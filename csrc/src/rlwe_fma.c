/* The kernels of ring-LWE with AVX2 and FMA, four residues in doubles at a time.
 *
 * AVX2 multiplies integers of 32 bits only, but a fused multiplication keeps all 53 bits of a double. For integers x, w with |x| <= 2^53, |w| <= q/2:
 *   h = x w rounded,  l = x w - h exactly,  t = h (1/q) rounded to an integer,  r = (h - t q) + l = x w - t q
 * l is an integer of less than 2^53: the rounding error of a product of 106 bits. Each of h, 1/q and h (1/q) has a relative error of at most 2^-52, in
 * any rounding mode, so that with |x| <= c 2^50 >= c q, |x w / q| <= c 2^49 and t is off by at most
 *   1/2 + 3 2^-52 c 2^49 (1 + ..) <= 1/2 + 3/8 c:   |r| <= E(c) q,   E(c) = 1/2 + 3/8 c (and 2^-40 to be safe)
 * and for c <= 8 both h - t q and r are integers below 2^53: exact. Below, c stands for |x| <= c q; sums double it. What a lane holds is always an
 * integer of at most 8 2^50 = 2^53, and nothing depends on the rounding mode but which representative of a class it is.
 * Constant time: no number is subnormal or infinite. 1/q h may be inexact and the flag is left set.
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

FMA PC_INLINE vd multiply(vd x, vd w, const prime4 *p)
{
    const vd h = _mm256_mul_pd(x, w), l = _mm256_fmsub_pd(x, w, h);
    return _mm256_add_pd(_mm256_fnmadd_pd(nearest(_mm256_mul_pd(h, p->inverse)), p->q, h), l);
}

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

/* Four vectors r to t: t[k] has the words number k of r0, r2, r1, r3; and back. */
#define TRANSPOSE(t, r) \
    do { \
        const vd e_ = _mm256_unpacklo_pd(r##0, r##2), o_ = _mm256_unpackhi_pd(r##0, r##2); \
        const vd e2_ = _mm256_unpacklo_pd(r##1, r##3), o2_ = _mm256_unpackhi_pd(r##1, r##3); \
        t##0 = _mm256_permute2f128_pd(e_, e2_, 0x20); /* the low halves; check: 0 + 2 * 16 */ \
        t##1 = _mm256_permute2f128_pd(o_, o2_, 0x20); \
        t##2 = _mm256_permute2f128_pd(e_, e2_, 0x31); /* the high ones; check: 1 + 3 * 16 */ \
        t##3 = _mm256_permute2f128_pd(o_, o2_, 0x31); \
    } while (0)
#define TRANSPOSE_BACK(r, t) \
    do { \
        const vd e_ = _mm256_unpacklo_pd(t##0, t##1), o_ = _mm256_unpackhi_pd(t##0, t##1); \
        const vd e2_ = _mm256_unpacklo_pd(t##2, t##3), o2_ = _mm256_unpackhi_pd(t##2, t##3); \
        r##0 = _mm256_permute2f128_pd(e_, e2_, 0x20); \
        r##1 = _mm256_permute2f128_pd(e_, e2_, 0x31); \
        r##2 = _mm256_permute2f128_pd(o_, o2_, 0x20); \
        r##3 = _mm256_permute2f128_pd(o_, o2_, 0x31); \
    } while (0)

/* The factors of a block of 16 words at the two levels within four words, in the order of transposed lanes. */
#define NARROW_FACTORS(w, n, i) \
    const vd w8_ = load_double((w) + (n) / 2 + 8 * (i)), w12_ = load_double((w) + (n) / 2 + 8 * (i) + 4); \
    const vd wa = _mm256_unpacklo_pd(w8_, w12_), wb = _mm256_unpackhi_pd(w8_, w12_); \
    const vd wc = _mm256_permute4x64_pd(load_double((w) + (n) / 4 + 4 * (i)), 0xd8) /* 0, 2, 1, 3; check: 0xd8 == 0 + 2 * 4 + 1 * 16 + 3 * 64 */

/* Levels 1 to 4 of the inverse, within blocks of 16 words; canonical words, times a factor if there is a key, to reduced ones.
 *   begin        c = 1         E(1) = .875 with a key
 *   distance 1   2, E(2) = 1.25            for t0 t2, t1 t3
 *   distance 2   4, 2.5, E(4) = 2, E(2.5) = 1.44   for t0 to t3, of which t0 and t1 are reduced: c = 2
 *   distance 4   4, E(4) = 2               for r0 r2, r1 r3
 *   distance 8   8, 4, E(8) = 3.5, E(4) = 2 */
FMA PC_INLINE void inverse_narrow(uint64_t *a, const uint64_t *key, const uint64_t *w, size_t n, const prime4 field)
{
    const prime4 p = field;
    for (size_t i = 0; i < n / 16; i++, a += 16) {
        vd r0 = find(a, CANONICAL), r1 = find(a + 4, CANONICAL), r2 = find(a + 8, CANONICAL), r3 = find(a + 12, CANONICAL), t0, t1, t2, t3;
        if (key) {
            r0 = multiply(r0, load_double(key + 16 * i), &p);
            r1 = multiply(r1, load_double(key + 16 * i + 4), &p);
            r2 = multiply(r2, load_double(key + 16 * i + 8), &p);
            r3 = multiply(r3, load_double(key + 16 * i + 12), &p);
        }
        TRANSPOSE(t, r);
        NARROW_FACTORS(w, n, i);
        SANDE(t0, t1, wa);
        SANDE(t2, t3, wb);
        SANDE(t0, t2, wc);
        SANDE(t1, t3, wc);
        t0 = reduce(t0, &p);
        t1 = reduce(t1, &p);
        TRANSPOSE_BACK(r, t);
        const vd wd = all_double(w[n / 8 + 2 * i]), we = all_double(w[n / 8 + 2 * i + 1]), wf = all_double(w[n / 16 + i]);
        SANDE(r0, r1, wd);
        SANDE(r2, r3, we);
        SANDE(r0, r2, wf);
        SANDE(r1, r3, wf);
        leave(a, r0, REDUCED, &p);
        leave(a + 4, r1, REDUCED, &p);
        leave(a + 8, r2, REDUCED, &p);
        leave(a + 12, r3, REDUCED, &p);
    }
}

/* Two levels of the inverse, distances h and 2h: c becomes 4c, <= 8; and one level: 2c. */
FMA PC_INLINE void inverse_four(uint64_t *a, const uint64_t *w, size_t n, size_t h, const enum form form, const prime4 field)
{
    const prime4 p = field;
    for (size_t i = 0; i < n / (4 * h); i++, a += 4 * h) {
        const vd wa = all_double(w[n / (2 * h) + 2 * i]), wb = all_double(w[n / (2 * h) + 2 * i + 1]), wc = all_double(w[n / (4 * h) + i]);
        for (size_t j = 0; j < h; j += 4) {
            vd x0 = load_double(a + j), x1 = load_double(a + j + h), x2 = load_double(a + j + 2 * h), x3 = load_double(a + j + 3 * h);
            SANDE(x0, x1, wa);
            SANDE(x2, x3, wb);
            SANDE(x0, x2, wc);
            SANDE(x1, x3, wc);
            leave(a + j, x0, form, &p);
            leave(a + j + h, x1, form, &p);
            leave(a + j + 2 * h, x2, form, &p);
            leave(a + j + 3 * h, x3, form, &p);
        }
    }
}

FMA PC_INLINE void inverse_two(uint64_t *a, const uint64_t *w, size_t n, size_t h, const enum form form, const prime4 field)
{
    const prime4 p = field;
    for (size_t i = 0; i < n / (2 * h); i++, a += 2 * h) {
        const vd wa = all_double(w[n / (2 * h) + i]);
        for (size_t j = 0; j < h; j += 4) {
            vd x = load_double(a + j), y = load_double(a + j + h);
            SANDE(x, y, wa);
            leave(a + j, x, form, &p);
            leave(a + j + h, y, form, &p);
        }
    }
}

/* Levels in fours, from c = 1/2 to 2 and 8, and reduced; what is left over comes first. */
FMA static void inverse_passes(uint64_t *a, const uint64_t *key, const rlwe_tables *t, size_t prime)
{
    const size_t n = t->degree;
    const uint64_t *const w = rlwe_powers(t, prime, 1) + RLWE_DOUBLE * n;
    const prime4 p = prime_of(&t->prime[prime]);
    size_t h = 16;
    inverse_narrow(a, key, w, n, p);
    if (t->log_degree % 2) {
        if (n == 2 * h)
            inverse_two(a, w, n, h, CANONICAL, p);
        else
            inverse_two(a, w, n, h, REDUCED, p);
        h *= 2;
    }
    for (int odd = 1; h < n; h *= 4, odd = !odd) {
        if (4 * h == n)
            inverse_four(a, w, n, h, CANONICAL, p);
        else if (odd)
            inverse_four(a, w, n, h, AS_IT_IS, p);
        else
            inverse_four(a, w, n, h, REDUCED, p);
    }
}

FMA static void inverse(uint64_t *a, const rlwe_tables *t, size_t prime)
{
    if (t->degree < LEAST)
        pc_rlwe_portable.inverse(a, t, prime);
    else
        inverse_passes(a, NULL, t, prime);
}

FMA static void product(uint64_t *a, const uint64_t *key, const rlwe_tables *t, size_t prime)
{
    if (t->degree < LEAST)
        pc_rlwe_portable.product(a, key, t, prime);
    else
        inverse_passes(a, key + RLWE_DOUBLE * t->degree, t, prime);
}

/* A level of the forward transform makes c + E(c) = 1.375 c + .5 of c: 1, 1.88, 3.08, 4.73, 7.01. Two levels: */
FMA PC_INLINE void forward_four(uint64_t *a, const uint64_t *w, size_t n, size_t h, const enum form from, const enum form form, const prime4 field)
{
    const prime4 p = field;
    for (size_t i = 0; i < n / (4 * h); i++, a += 4 * h) {
        const vd wa = all_double(w[n / (2 * h) + 2 * i]), wb = all_double(w[n / (2 * h) + 2 * i + 1]), wc = all_double(w[n / (4 * h) + i]);
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

FMA PC_INLINE void forward_two(uint64_t *a, const uint64_t *w, size_t n, const prime4 field)
{
    const prime4 p = field;
    const vd wa = all_double(w[1]);
    for (size_t j = 0; j < n / 2; j += 4) {
        vd x = find(a + j, CANONICAL), y = find(a + j + n / 2, CANONICAL);
        COOLEY(x, y, wa);
        leave(a + j, x, REDUCED, &p);
        leave(a + j + n / 2, y, REDUCED, &p);
    }
}

/* The last four levels, within 16 words, from c = 1/2. */
FMA PC_INLINE void forward_narrow(uint64_t *a, const uint64_t *w, size_t n, const prime4 field)
{
    const prime4 p = field;
    for (size_t i = 0; i < n / 16; i++, a += 16) {
        vd r0 = load_double(a), r1 = load_double(a + 4), r2 = load_double(a + 8), r3 = load_double(a + 12), t0, t1, t2, t3;
        const vd wd = all_double(w[n / 8 + 2 * i]), we = all_double(w[n / 8 + 2 * i + 1]), wf = all_double(w[n / 16 + i]);
        COOLEY(r0, r2, wf);
        COOLEY(r1, r3, wf);
        COOLEY(r0, r1, wd);
        COOLEY(r2, r3, we);
        TRANSPOSE(t, r);
        NARROW_FACTORS(w, n, i);
        COOLEY(t0, t2, wc);
        COOLEY(t1, t3, wc);
        COOLEY(t0, t1, wa);
        COOLEY(t2, t3, wb);
        TRANSPOSE_BACK(r, t);
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
    const uint64_t *const w = rlwe_powers(t, prime, 0) + RLWE_DOUBLE * n;
    const prime4 p = prime_of(&t->prime[prime]);
    size_t h = n / 4;
    int reduced = 0;
    if (t->log_degree % 2) {
        forward_two(a, w, n, p);
        h /= 2;
        reduced = 1;
    }
    for (int odd = 1; h >= 16; h /= 4, odd = !odd) {
        const int last = h / 4 < 16;
        if (odd && !reduced && last)
            forward_four(a, w, n, h, CANONICAL, REDUCED, p);
        else if (odd && !reduced)
            forward_four(a, w, n, h, CANONICAL, AS_IT_IS, p);
        else if (odd && !last)
            forward_four(a, w, n, h, AS_IT_IS, AS_IT_IS, p);
        else
            forward_four(a, w, n, h, AS_IT_IS, REDUCED, p);
        reduced = 1;
    }
    forward_narrow(a, w, n, p);
}

/* ---- the rest ---- */

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

/* Parts are below 2^52 = 4 2^50: each product is at most E(4) = 2. At most two of them are added between reductions: c <= 1/2 + 4; then comes x + e with
 * x < q, |e| < q. */
FMA static void message(uint64_t *x, size_t n, const int8_t *e, const uint64_t *parts, size_t stride, const rlwe_tables *t, size_t prime)
{
    const rlwe_prime *const pr = &t->prime[prime];
    const prime4 p = prime_of(pr);
    const size_t count = t->parts;
    vd factor[RLWE_DIGITS];
    for (size_t l = 0; l < count; l++) {
        const vd f = to_double(all(pr->part[l].w));
        factor[l] = reduce(f, &p);
    }
    for (size_t i = 0; i < n; i += 4) {
        vd sum = multiply(to_double(load(parts + i)), factor[0], &p);
        for (size_t l = 1; l < count; l++) {
            if (l % 2 == 0) sum = reduce(sum, &p);
            sum = _mm256_add_pd(sum, multiply(to_double(load(parts + l * stride + i)), factor[l], &p));
        }
        int32_t four;
        memcpy(&four, e + i, 4);
        const vd noise = _mm256_cvtepi32_pd(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(four)));
        store(x + i, canonical(_mm256_add_pd(_mm256_add_pd(sum, noise), to_double(load(x + i))), &p));
    }
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

/* As rlwe_gauss.h has it. A byte counts with 128 taken off, as a signed number. */
FMA void pc_rlwe_gaussian_fma(int8_t *out, const uint8_t *blocks, size_t n)
{
    size_t i = 0;
    vi b[16], index[6];
    for (; i + 32 <= n; i += 32) {
        const vi zero = _mm256_setzero_si256();
        vi count = zero, any = zero, below = zero;
        blocks_to_bytes(b, blocks + 16 * i);
        for (int l = 0; l < RLWE_LEADS; l++) {
            const vi v = b[15 - l];
            /* the largest of all where a byte before this one is not zero: nothing is above */
            const vi beyond = _mm256_xor_si256(_mm256_cmpeq_epi8(any, zero), bytes_of(0x7f));
            const vi shown = _mm256_max_epi8(_mm256_xor_si256(v, bytes_of(0x80)), beyond);
            for (int k = rlwe_run[l]; k < rlwe_run[l + 1]; k++)
                count = _mm256_sub_epi8(count, _mm256_cmpgt_epi8(_mm256_set1_epi32((int)rlwe_lead[k]), shown));
            any = _mm256_or_si256(any, v);
        }
        /* Bits 0..3 are the place in a row of 16 thresholds and bit 7 says that the row is another one, for which the shuffle gives 0. */
        PC_UNROLL
        for (int j = 0; j < 6; j++) index[j] = _mm256_adds_epu8(_mm256_sub_epi8(count, bytes_of(16 * j)), bytes_of(0x70));
        for (int l = 15; l >= 0; l--) {
            vi threshold = zero;
            PC_UNROLL
            for (int j = 0; j < 6; j++)
                threshold = _mm256_or_si256(threshold, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_load_si128((const void *)(rlwe_byte[l] + 16 * j))), index[j]));
            const vi v = b[15 - l], same = _mm256_cmpeq_epi8(v, threshold), reaches = _mm256_cmpeq_epi8(_mm256_max_epu8(v, threshold), v);
            below = _mm256_or_si256(_mm256_and_si256(same, below), _mm256_andnot_si256(reaches, bytes_of(-1)));
        }
        const vi size = _mm256_sub_epi8(count, below), sign = _mm256_cmpeq_epi8(_mm256_and_si256(b[0], bytes_of(1)), bytes_of(1));
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
    const vi sum = _mm256_add_epi64(load(total + at), take_four(data_at, plan, low)), less = _mm256_sub_epi64(sum, q); \
    store(total + at, _mm256_castpd_si256(_mm256_blendv_pd(_mm256_castsi256_pd(less), _mm256_castsi256_pd(sum), _mm256_castsi256_pd(less))))
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

FMA size_t pc_rlwe_decode_var_fma(uint64_t *out, size_t n, const uint64_t *x, const uint64_t *total, size_t stride, const rlwe_tables *t, rlwe_found *found)
{
    const rlwe_prime *const p0 = &t->prime[0], *const p1 = &t->prime[1];
    const uint64_t joint = t->delta * t->radix * t->radix, g = p1->garner[0].w, half = t->delta / 2;
    const prime4 field = prime_of(p1);
    const vi q0 = all(p0->q), q1 = all(p1->q), half0 = all(half % p0->q), half1 = all(half % p1->q), divisor = all(joint), delta = all(t->delta);
    const vd garner = _mm256_set1_pd(g > p1->q / 2 ? -(double)(p1->q - g) : (double)g), q0_double = all_double(p0->q_double);
    const vd joint_inverse = _mm256_set1_pd(1.0 / (double)joint), delta_inverse = _mm256_set1_pd(1.0 / (double)t->delta);
    const vd radix = _mm256_set1_pd((double)t->radix), radix_inverse = _mm256_set1_pd(1.0 / (double)t->radix);
    const vi last0 = all(p0->q - 1), last1 = all(p1->q - 1);
    vi above = _mm256_setzero_si256(), squares = above, most = above;
    vd beyond = _mm256_setzero_pd();
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const vi c0 = load(total + i), c1 = load(total + stride + i);
        above = _mm256_or_si256(above, _mm256_or_si256(_mm256_or_si256(c0, _mm256_sub_epi64(last0, c0)), _mm256_or_si256(c1, _mm256_sub_epi64(last1, c1))));
        const vi r0 = residue(c0, load(x + i), half0, q0), r1 = residue(c1, load(x + t->degree + i), half1, q1);
        /* d1 = (r1 - r0) / q0 mod q1: c = 1, |product| <= E(1) q1 = .875 q1 */
        const vd r0_double = to_double(r0);
        vd d1 = multiply(_mm256_sub_pd(to_double(r1), r0_double), garner, &field);
        d1 = _mm256_add_pd(d1, _mm256_and_pd(_mm256_cmp_pd(d1, _mm256_setzero_pd(), _CMP_LT_OQ), field.q));
        const vd h = nearest(_mm256_mul_pd(_mm256_fmadd_pd(d1, q0_double, r0_double), joint_inverse));
        const vi h_word = to_word(h), u = _mm256_add_epi64(low_product(to_word(d1), q0), r0);
        vi rest = _mm256_sub_epi64(u, low_product(h_word, divisor));
        const vi h_below = _mm256_cmpgt_epi64(_mm256_setzero_si256(), rest);
        rest = _mm256_add_epi64(rest, _mm256_and_si256(divisor, h_below));
        const vd high = to_double(_mm256_add_epi64(h_word, h_below));
        const vi l_word = to_word(nearest(_mm256_mul_pd(round_word(rest), delta_inverse)));
        rest = _mm256_sub_epi64(rest, short_product(l_word, delta));
        const vi l_below = _mm256_cmpgt_epi64(_mm256_setzero_si256(), rest);
        rest = _mm256_add_epi64(rest, _mm256_and_si256(delta, l_below));
        const vd low = to_double(_mm256_add_epi64(l_word, l_below));
        /* |E| <= 2^24, in the low 32 bits: 2^14 / 4 squares stay below 2^61 */
        const vi e = _mm256_sub_epi64(rest, all(half));
        squares = _mm256_add_epi64(squares, _mm256_mul_epi32(e, e));
        most = _mm256_max_epi32(most, _mm256_abs_epi32(e));
        vd r0_, r1_, r2_, r3_, t0_, t1_, t2_, t3_;
        r1_ = split_digit(&r0_, low, radix, radix_inverse);
        r3_ = split_digit(&r2_, high, radix, radix_inverse);
        beyond = _mm256_or_pd(beyond, _mm256_cmp_pd(r3_, radix, _CMP_GE_OQ));
        /* words 4 i + d: rows and columns of 4 by 4 */
        const vd even = _mm256_unpacklo_pd(r0_, r1_), odd = _mm256_unpackhi_pd(r0_, r1_);
        const vd even2 = _mm256_unpacklo_pd(r2_, r3_), odd2 = _mm256_unpackhi_pd(r2_, r3_);
        t0_ = _mm256_permute2f128_pd(even, even2, 0x20);
        t1_ = _mm256_permute2f128_pd(odd, odd2, 0x20);
        t2_ = _mm256_permute2f128_pd(even, even2, 0x31);
        t3_ = _mm256_permute2f128_pd(odd, odd2, 0x31);
        store(out + 4 * i, to_word(t0_));
        store(out + 4 * i + 4, to_word(t1_));
        store(out + 4 * i + 8, to_word(t2_));
        store(out + 4 * i + 12, to_word(t3_));
    }
    uint64_t sums[4], sizes[4];
    store(sums, squares);
    store(sizes, most);
    for (int lane = 0; lane < 4; lane++) {
        found->squares += sums[lane];
        if ((uint32_t)sizes[lane] > found->most) found->most = (uint32_t)sizes[lane];
    }
    found->ok &= _mm256_movemask_pd(_mm256_castsi256_pd(above)) == 0 && _mm256_movemask_pd(beyond) == 0;
    return i;
}

const struct rlwe pc_rlwe_fma = {
    .forward = forward, .inverse = inverse, .product = product, .message = message, .mask = pc_rlwe_mask_fma,
    .gaussian = pc_rlwe_gaussian_fma, .check = pc_rlwe_check_fma, .add = pc_rlwe_add_fma, .pack = pc_rlwe_pack_fma,
    .decode_var = pc_rlwe_decode_var_fma,
};

#else
typedef int pc_no_x86; /* ISO C wants one declaration per file */
#endif
