/* The field of 2^61 - 1, four elements at a time with AVX2, which multiplies 32 by 32 bits.
 *
 * A dot product splits its variable as v = v0 + 2^31 v1 (31 and 30 bits) and its weight as a = a0 + 2^30 a1 (30 and 31 bits):
 *   v a = (v0 a0 + v1 a1 2^61) + 2^30 (v0 a1 + 2 v1 a0)  =  A + 2^30 B  (mod p)
 * with, per term,
 *   A = v0 a0 + v1 a1       <= 2 (2^31 - 1)(2^30 - 1)           < 2^62
 *   B = v0 a1 + v1 (2 a0)   <= (2^31 - 1)^2 + 2 (2^30 - 1)^2    < 2^62 + 2^61.
 * Folding a sum leaves at most 2^61 + 6, so between two folds a sum of A has room for three terms
 * (2^61 + 6 + 3 * 2^62 < 2^64) and a sum of B for two (2^61 + 6 + 2^63 + 2^62 < 2^64).
 */
#include "field_m61.h"

#if PC_X86
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define LANES 4

/* check: (2**61 - 1 + 7) + 3 * 2 * (2**31 - 1) * (2**30 - 1) < 2**64 */
/* check: (2**61 - 1 + 7) + 2 * ((2**31 - 1)**2 + 2 * (2**30 - 1)**2) < 2**64 */

AVX2 PC_INLINE __m256i load4(const uint64_t *a) { return _mm256_loadu_si256((const __m256i *)a); }
AVX2 PC_INLINE void store4(uint64_t *a, __m256i x) { _mm256_storeu_si256((__m256i *)a, x); }
AVX2 PC_INLINE __m256i all4(uint64_t x) { return _mm256_set1_epi64x((long long)x); }
AVX2 PC_INLINE __m256i fold4(__m256i x) { return _mm256_add_epi64(_mm256_and_si256(x, all4(M61_P)), _mm256_srli_epi64(x, 61)); }

/* x - p where x >= p. requires x < 2^63: the comparison is signed. */
AVX2 PC_INLINE __m256i subtract_once4(__m256i x)
{
    return _mm256_sub_epi64(x, _mm256_and_si256(_mm256_cmpgt_epi64(x, all4(M61_P - 1)), all4(M61_P)));
}

/* A + 2^30 B for A, B <= 2^61 + 6, canonical. */
AVX2 PC_INLINE __m256i finish4(__m256i a, __m256i b)
{
    b = fold4(b); /* <= p */
    b = _mm256_add_epi64(_mm256_and_si256(_mm256_slli_epi64(b, 30), all4(M61_P)), _mm256_srli_epi64(b, 31)); /* < 2^61 */
    return subtract_once4(fold4(_mm256_add_epi64(a, b))); /* < 2^62 + 6, folded <= p + 1 */
}

#define WORDS 3 /* of a prepared weight: a0, a1, 2 a0 */

PC_INLINE void prepare(uint64_t *word, uint64_t a)
{
    const uint64_t a0 = a & 0x3fffffff, a1 = a >> 30; /* check: 0x3fffffff == 2**30 - 1 */
    VERIFY(a < M61_P);
    word[0] = a0;
    word[1] = a1;
    word[2] = 2 * a0;
}

/* a += A, b += B for one term. */
#define TERM(x, a, b, w) \
    do { \
        const __m256i a0_ = all4((w)[0]), a1_ = all4((w)[1]), d0_ = all4((w)[2]); \
        a = _mm256_add_epi64(a, _mm256_add_epi64(_mm256_mul_epu32(x##0, a0_), _mm256_mul_epu32(x##1, a1_))); \
        b = _mm256_add_epi64(b, _mm256_add_epi64(_mm256_mul_epu32(x##0, a1_), _mm256_mul_epu32(x##1, d0_))); \
    } while (0)

/* Declares x0 and x1, the parts of the vector at column `at` of row k. */
#define SPLIT(x, k, at) \
    const __m256i x##_ = load4(in + (k) * stride + (at)), x##0 = _mm256_and_si256(x##_, all4(0x7fffffff)), /* check: 0x7fffffff == 2**31 - 1 */ \
                  x##1 = _mm256_srli_epi64(x##_, 31)

/* Four rows, one vector: eight accumulators in registers. */
AVX2 static void dot_four(uint64_t *const *out, const uint64_t *w, size_t terms, const uint64_t *in, size_t stride, size_t width)
{
    for (size_t i = 0; i < width; i += LANES) {
        __m256i a0 = _mm256_setzero_si256(), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
#define FOUR(k) \
    do { \
        SPLIT(v, (k), i); \
        const uint64_t *const u = w + 4 * WORDS * (k); \
        TERM(v, a0, b0, u); \
        TERM(v, a1, b1, u + WORDS); \
        TERM(v, a2, b2, u + 2 * WORDS); \
        TERM(v, a3, b3, u + 3 * WORDS); \
    } while (0)
#define FOLD_A a0 = fold4(a0), a1 = fold4(a1), a2 = fold4(a2), a3 = fold4(a3)
#define FOLD_B b0 = fold4(b0), b1 = fold4(b1), b2 = fold4(b2), b3 = fold4(b3)
        size_t k = 0;
        for (; k + 6 <= terms; k += 6) {
            FOUR(k);
            FOUR(k + 1);
            FOLD_B;
            FOUR(k + 2);
            FOLD_A;
            FOUR(k + 3);
            FOLD_B;
            FOUR(k + 4);
            FOUR(k + 5);
            FOLD_A;
            FOLD_B;
        }
        for (; k < terms; k++) {
            FOUR(k);
            FOLD_A;
            FOLD_B;
        }
        store4(out[0] + i, finish4(a0, b0));
        store4(out[1] + i, finish4(a1, b1));
        store4(out[2] + i, finish4(a2, b2));
        store4(out[3] + i, finish4(a3, b3));
    }
}

/* One row, two vectors: the sums of one vector alone would wait for each other. */
AVX2 static void dot_one(uint64_t *out, const uint64_t *w, size_t terms, const uint64_t *in, size_t stride, size_t width)
{
    for (size_t i = 0; i < width; i += 2 * LANES) {
        __m256i a0 = _mm256_setzero_si256(), a1 = a0, b0 = a0, b1 = a0;
#define ONE(k) \
    do { \
        SPLIT(x, (k), i); \
        SPLIT(y, (k), i + LANES); \
        TERM(x, a0, b0, w + WORDS * (k)); \
        TERM(y, a1, b1, w + WORDS * (k)); \
    } while (0)
        size_t k = 0;
        for (; k + 2 <= terms; k += 2) {
            ONE(k);
            ONE(k + 1);
            a0 = fold4(a0), a1 = fold4(a1), b0 = fold4(b0), b1 = fold4(b1);
        }
        if (k < terms) {
            ONE(k);
            a0 = fold4(a0), a1 = fold4(a1), b0 = fold4(b0), b1 = fold4(b1);
        }
        store4(out + i, finish4(a0, b0));
        store4(out + i + LANES, finish4(a1, b1));
    }
}

static void dot_rows_avx2(uint64_t *const *out, size_t rows, const uint64_t *weights, size_t terms, const uint64_t *in,
                          size_t stride, size_t width, uint64_t *prepared)
{
    const size_t done = width - width % (2 * LANES);
    if (rows == FIELD_ROWS) {
        for (size_t k = 0; k < terms; k++)
            for (size_t r = 0; r < FIELD_ROWS; r++) prepare(prepared + WORDS * (4 * k + r), weights[r * terms + k]);
        dot_four(out, prepared, terms, in, stride, done);
    } else {
        for (size_t r = 0; r < rows; r++) {
            for (size_t k = 0; k < terms; k++) prepare(prepared + WORDS * k, weights[r * terms + k]);
            dot_one(out[r], prepared, terms, in, stride, done);
        }
    }
    dot_rows_rest(&pc_m61_portable, out, rows, weights, terms, in, stride, done, width, prepared);
}

AVX2 static void butterfly_avx2(uint64_t *sum, uint64_t *diff, const uint64_t *a, const uint64_t *b, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m256i u = load4(a + i), v = load4(b + i);
        store4(sum + i, subtract_once4(_mm256_add_epi64(u, v)));
        store4(diff + i, subtract_once4(_mm256_sub_epi64(_mm256_add_epi64(u, all4(M61_P)), v)));
    }
    pc_m61_portable.butterfly(sum + i, diff + i, a + i, b + i, n - i);
}

/* x >= p  if and only if  x or x + 1 modulo 2^64 has a bit above the low 61. */
AVX2 static int canonical_avx2(const uint64_t *a, size_t n)
{
    __m256i bits = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m256i x = load4(a + i);
        bits = _mm256_or_si256(bits, _mm256_or_si256(x, _mm256_add_epi64(x, all4(1))));
    }
    int bad = !_mm256_testz_si256(bits, all4(~M61_P));
    PC_DECLASSIFY(bad);
    return !bad && pc_m61_portable.canonical(a + i, n - i);
}

AVX2 static int sample_avx2(uint64_t *v, size_t n)
{
    __m256i bad = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m256i x = _mm256_srli_epi64(load4(v + i), 3);
        bad = _mm256_or_si256(bad, _mm256_cmpeq_epi64(x, all4(M61_P))); /* the only 61-bit number that is not < p */
        store4(v + i, x);
    }
    int any = !_mm256_testz_si256(bad, bad);
    PC_DECLASSIFY(any);
    return pc_m61_portable.sample(v + i, n - i) || any;
}

typedef uint64_t v4 __attribute__((vector_size(32), may_alias));
typedef v4 v4_unaligned __attribute__((aligned(8)));
#define EXTEND(name) extend4_##name
#define EXTEND_TARGET AVX2
#define EXTEND_VECTOR v4
#define EXTEND_UNALIGNED v4_unaligned
#define EXTEND_LANES 4
#define EXTEND_FOLD M61_FOLD
#define EXTEND_NEGATE M61_NEGATE
#define EXTEND_FINISH M61_FINISH
#include "field_extend.h"

static void extend_avx2(uint64_t *out, size_t below, size_t above, const uint64_t *in, size_t terms, size_t stride, size_t width,
                        uint64_t *scratch)
{
    const size_t done = extend4_columns(out, below, above, in, terms, stride, width, scratch);
    pc_m61_portable.extend(out + done, below, above, in + done, terms, stride, width - done, scratch);
}

void pc_m61_use_avx2(struct field *f)
{
    f->butterfly = butterfly_avx2, f->canonical = canonical_avx2, f->sample = sample_avx2, f->dot_rows = dot_rows_avx2;
    f->extend = extend_avx2;
}
#endif
