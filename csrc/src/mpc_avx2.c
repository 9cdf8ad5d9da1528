/* The kernels of mpc.h with AVX2, which multiplies 32 by 32 bits.
 *
 * With a = a0 + 2^32 a1 and b = b0 + 2^32 b1,
 *   a b = a0 b0 + 2^32 (a0 b1 + a1 b0)  (mod 2^64),
 * where only the low 32 bits of the bracket count. vpmuludq gives a0 b0; vpmulld of a with the halves of b swapped gives both products of
 * the bracket modulo 2^32, one in each half. A sum of products keeps two sums, of 64-bit lanes and of 32-bit lanes; the halves of the second
 * one meet in `joined`, once. So a product of four pairs takes two multiplications and two additions.
 */
#include "mpc.h"

#if PC_X86
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

AVX2 PC_INLINE __m256i load4(const uint64_t *a) { return _mm256_loadu_si256((const __m256i *)(const void *)a); }
AVX2 PC_INLINE void store4(uint64_t *a, __m256i x) { _mm256_storeu_si256((__m256i *)(void *)a, x); }
AVX2 PC_INLINE __m256i all4(uint64_t x) { return _mm256_set1_epi64x((long long)x); }
AVX2 PC_INLINE __m256i swapped(__m256i x) { return _mm256_shuffle_epi32(x, 0xb1); } /* check: 0xb1 == 1 + (0 << 2) + (3 << 4) + (2 << 6) */

/* low + 2^32 (the sum of the halves of cross) in each lane. */
AVX2 PC_INLINE __m256i joined(__m256i low, __m256i cross)
{
    const __m256i upper = all4(UINT64_C(0xffffffff00000000)); /* check: 0xffffffff00000000 == 2**64 - 2**32 */
    return _mm256_add_epi64(low, _mm256_add_epi64(_mm256_slli_epi64(cross, 32), _mm256_and_si256(cross, upper)));
}

AVX2 PC_INLINE uint64_t sum4(__m256i x)
{
    const __m128i half = _mm_add_epi64(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    return (uint64_t)_mm_cvtsi128_si64(_mm_add_epi64(half, _mm_unpackhi_epi64(half, half)));
}

/* The sums are of vector types of their own: between those of the intrinsics, gcc 12 converts by copying, in every round. */
typedef uint64_t v4 __attribute__((vector_size(32)));
typedef uint32_t v8 __attribute__((vector_size(32)));

/* low[r] and cross[r] += the parts of x v; w is v with its halves swapped. */
#define MULTIPLY(r, x) \
    do { \
        const __m256i x_ = (x); \
        low[r] += (v4)_mm256_mul_epu32(x_, v); \
        cross[r] += (v8)_mm256_mullo_epi32(x_, w); \
    } while (0)

AVX2 PC_INLINE void dots(uint64_t *out, const int rows, const uint64_t *a, size_t stride, const uint64_t *b, size_t n)
{
    v4 low[MPC_ROWS] = {{0}};
    v8 cross[MPC_ROWS] = {{0}};
    for (size_t t = 0; t < n; t += 4) {
        const __m256i v = load4(b + t), w = swapped(v);
        PC_UNROLL
        for (int r = 0; r < rows; r++) MULTIPLY(r, load4(a + (size_t)r * stride + t));
    }
    PC_UNROLL
    for (int r = 0; r < rows; r++) out[r] += sum4(joined((__m256i)low[r], (__m256i)cross[r]));
}

AVX2 PC_INLINE void tile(uint64_t *out, size_t out_stride, const int rows, const uint64_t *a, size_t stride, const uint64_t *panel, size_t n)
{
    v4 low[MPC_ROWS] = {{0}};
    v8 cross[MPC_ROWS] = {{0}};
    for (size_t t = 0; t < n; t++) {
        const __m256i v = load4(panel + MPC_PANEL * t), w = swapped(v);
        PC_UNROLL
        for (int r = 0; r < rows; r++) MULTIPLY(r, all4(a[(size_t)r * stride + t]));
    }
    PC_UNROLL
    for (int r = 0; r < rows; r++) {
        uint64_t *const at = out + (size_t)r * out_stride;
        store4(at, _mm256_add_epi64(load4(at), joined((__m256i)low[r], (__m256i)cross[r])));
    }
}

/* low[r] and cross[r] += the parts of f g. */
#define MULTIPLY_SUMS(r, f, g) \
    do { \
        const __m256i f_ = (f), g_ = (g); \
        low[r] += (v4)_mm256_mul_epu32(f_, g_); \
        cross[r] += (v8)_mm256_mullo_epi32(f_, swapped(g_)); \
    } while (0)

AVX2 PC_INLINE void pair_dots(uint64_t *out, const int rows, const uint64_t *a, size_t stride, const uint64_t *b, size_t half,
                           const uint64_t *own, uint64_t other)
{
    v4 low[MPC_ROWS] = {{0}};
    v8 cross[MPC_ROWS] = {{0}};
    for (size_t t = 0; t < half; t += 4) {
        const __m256i v = load4(b + t), w = load4(b + half + t);
        PC_UNROLL
        for (int r = 0; r < rows; r++) {
            const uint64_t *const x = a + (size_t)r * stride + t;
            MULTIPLY_SUMS(r, _mm256_add_epi64(load4(x), w), _mm256_add_epi64(load4(x + half), v));
        }
    }
    PC_UNROLL
    for (int r = 0; r < rows; r++) out[r] += sum4(joined((__m256i)low[r], (__m256i)cross[r])) - own[r] - other;
}

AVX2 PC_INLINE void pair_tile(uint64_t *out, size_t out_stride, const int rows, const uint64_t *a, size_t stride, const uint64_t *panel, size_t n,
                           const uint64_t *own, const uint64_t *others)
{
    v4 low[MPC_ROWS] = {{0}};
    v8 cross[MPC_ROWS] = {{0}};
    for (size_t t = 0; t < n; t += 2) {
        const __m256i v = load4(panel + MPC_PANEL * t), w = load4(panel + MPC_PANEL * (t + 1));
        PC_UNROLL
        for (int r = 0; r < rows; r++) {
            const uint64_t *const x = a + (size_t)r * stride + t;
            MULTIPLY_SUMS(r, _mm256_add_epi64(all4(x[0]), w), _mm256_add_epi64(all4(x[1]), v));
        }
    }
    PC_UNROLL
    for (int r = 0; r < rows; r++) {
        uint64_t *const at = out + (size_t)r * out_stride;
        const __m256i less = _mm256_add_epi64(all4(own[r]), load4(others)), sum = joined((__m256i)low[r], (__m256i)cross[r]);
        store4(at, _mm256_add_epi64(load4(at), _mm256_sub_epi64(sum, less)));
    }
}

/* The number of rows is a constant in each call, so that their sums stay in registers. */
_Static_assert(MPC_ROWS == 5, "EACH_ROWS has a case for each number of rows");
#define EACH_ROWS(call) \
    switch (rows) { \
    case 1: call(1); break; \
    case 2: call(2); break; \
    case 3: call(3); break; \
    case 4: call(4); break; \
    default: call(5); break; \
    }

AVX2 static void dots_avx2(uint64_t *out, size_t rows, const uint64_t *a, size_t stride, const uint64_t *b, size_t n)
{
    const size_t whole = n - n % 4;
    VERIFY(rows >= 1 && rows <= MPC_ROWS);
#define CALL(r) dots(out, r, a, stride, b, whole)
    EACH_ROWS(CALL)
#undef CALL
    if (whole < n) pc_mpc_portable.dots(out, rows, a + whole, stride, b + whole, n - whole);
}

AVX2 static void tile_avx2(uint64_t *out, size_t out_stride, size_t rows, const uint64_t *a, size_t stride, const uint64_t *panel, size_t n)
{
    VERIFY(rows >= 1 && rows <= MPC_ROWS);
#define CALL(r) tile(out, out_stride, r, a, stride, panel, n)
    EACH_ROWS(CALL)
#undef CALL
}

AVX2 static void pair_dots_avx2(uint64_t *out, size_t rows, const uint64_t *a, size_t stride, const uint64_t *b, size_t half, const uint64_t *own,
                                uint64_t other)
{
    VERIFY(rows >= 1 && rows <= MPC_ROWS && half % 4 == 0);
#define CALL(r) pair_dots(out, r, a, stride, b, half, own, other)
    EACH_ROWS(CALL)
#undef CALL
}

AVX2 static void pair_tile_avx2(uint64_t *out, size_t out_stride, size_t rows, const uint64_t *a, size_t stride, const uint64_t *panel, size_t n,
                                const uint64_t *own, const uint64_t *others)
{
    VERIFY(rows >= 1 && rows <= MPC_ROWS && n % 2 == 0);
#define CALL(r) pair_tile(out, out_stride, r, a, stride, panel, n, own, others)
    EACH_ROWS(CALL)
#undef CALL
}

/* ---- word by word ---- */

AVX2 PC_INLINE __m256i two_products(__m256i a, __m256i b, __m256i c, __m256i d)
{
    const __m256i low = _mm256_add_epi64(_mm256_mul_epu32(a, b), _mm256_mul_epu32(c, d));
    return joined(low, _mm256_add_epi32(_mm256_mullo_epi32(a, swapped(b)), _mm256_mullo_epi32(c, swapped(d))));
}
AVX2 PC_INLINE __m256i two_ands(__m256i a, __m256i b, __m256i c, __m256i d)
{
    return _mm256_xor_si256(_mm256_and_si256(a, b), _mm256_and_si256(c, d));
}
AVX2 PC_INLINE __m256i rep3_product4(__m256i a, __m256i b, __m256i c, __m256i d) { return two_products(a, _mm256_add_epi64(c, d), b, c); }
AVX2 PC_INLINE __m256i rep3_and4(__m256i a, __m256i b, __m256i c, __m256i d) { return two_ands(a, _mm256_xor_si256(c, d), b, c); }

#define DEFINE_WORDS(name, function, add) \
    AVX2 PC_INLINE void name##_words(uint64_t *restrict out, const uint64_t *a, const uint64_t *b, const uint64_t *c, const uint64_t *d, size_t n, \
                                     const int accumulate) \
    { \
        const size_t whole = n - n % 4; \
        for (size_t i = 0; i < whole; i += 4) { \
            const __m256i z = function(load4(a + i), load4(b + i), load4(c + i), load4(d + i)); \
            store4(out + i, accumulate ? add(load4(out + i), z) : z); \
        } \
        pc_mpc_portable.name(out + whole, a + whole, b + whole, c + whole, d + whole, n - whole, accumulate); \
    } \
    AVX2 static void name##_avx2(uint64_t *out, const uint64_t *a, const uint64_t *b, const uint64_t *c, const uint64_t *d, size_t n, int accumulate) \
    { \
        if (accumulate) \
            name##_words(out, a, b, c, d, n, 1); \
        else \
            name##_words(out, a, b, c, d, n, 0); \
    }

DEFINE_WORDS(rep3_product, rep3_product4, _mm256_add_epi64)
DEFINE_WORDS(cross_product, two_products, _mm256_add_epi64)
DEFINE_WORDS(rep3_and, rep3_and4, _mm256_xor_si256)
DEFINE_WORDS(cross_and, two_ands, _mm256_xor_si256)

AVX2 static void weigh_avx2(uint64_t *out, const uint64_t *weights, const uint64_t *b, size_t stride, size_t n)
{
    const size_t whole = n - n % 4;
    __m256i x[MPC_WEIGHTS], y[MPC_WEIGHTS];
    PC_UNROLL
    for (int q = 0; q < MPC_WEIGHTS; q++) x[q] = all4(weights[q]), y[q] = swapped(x[q]);
    for (size_t c = 0; c < whole; c += 4) {
        __m256i low = load4(out + c), cross = _mm256_setzero_si256();
        PC_UNROLL
        for (size_t q = 0; q < MPC_WEIGHTS; q++) {
            const __m256i z = load4(b + q * stride + c);
            low = _mm256_add_epi64(low, _mm256_mul_epu32(z, x[q]));
            cross = _mm256_add_epi32(cross, _mm256_mullo_epi32(z, y[q]));
        }
        store4(out + c, joined(low, cross));
    }
    if (whole < n) pc_mpc_portable.weigh(out + whole, weights, b + whole, stride, n - whole);
}

AVX2 static void combine_avx2(uint64_t *out, const uint64_t *x, uint64_t p, const uint64_t *y, uint64_t q, size_t n)
{
    const size_t whole = n - n % 4;
    if (q == 0 && p == 1) {
        if (out != x) memcpy(out, x, 8 * n);
        return;
    }
    if (q == 0) {
        pc_mpc_portable.combine(out, x, p, y, q, n);
        return;
    }
    const __m256i a = all4(p), b = all4(q);
    for (size_t i = 0; i < whole; i += 4) store4(out + i, two_products(load4(x + i), a, load4(y + i), b));
    pc_mpc_portable.combine(out + whole, x + whole, p, y + whole, q, n - whole);
}

/* Four sums of four words at a time; then one; then words. */
AVX2 static void ands_avx2(uint64_t *out, const uint32_t *left, const uint32_t *right, size_t terms, const uint64_t *x, const uint64_t *y, size_t stride,
                           size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;
        for (size_t k = 0; k < terms; k++) {
            const uint64_t *const a = x + left[k] * stride + i, *const b = y + right[k] * stride + i;
            s0 = _mm256_xor_si256(s0, _mm256_and_si256(load4(a), load4(b)));
            s1 = _mm256_xor_si256(s1, _mm256_and_si256(load4(a + 4), load4(b + 4)));
            s2 = _mm256_xor_si256(s2, _mm256_and_si256(load4(a + 8), load4(b + 8)));
            s3 = _mm256_xor_si256(s3, _mm256_and_si256(load4(a + 12), load4(b + 12)));
        }
        store4(out + i, s0), store4(out + i + 4, s1), store4(out + i + 8, s2), store4(out + i + 12, s3);
    }
    for (; i + 4 <= n; i += 4) {
        __m256i sum = _mm256_setzero_si256();
        for (size_t k = 0; k < terms; k++)
            sum = _mm256_xor_si256(sum, _mm256_and_si256(load4(x + left[k] * stride + i), load4(y + right[k] * stride + i)));
        store4(out + i, sum);
    }
    if (i < n) pc_mpc_portable.ands(out + i, left, right, terms, x + i, y + i, stride, n - i);
}

/* ---- transposition of 64 x 64 bits ----
 * Row 16 l + v of a block lies in lane l of vector v. Transposing exchanges bit s of a row's number with bit s of a column's, for each s: for
 * s = 4 and 5 that is a transposition of 4 x 4 units of 16 bits within a vector, for the others an exchange between vectors v and v + 2^s.
 */

/* Four vectors of four words are transposed. */
AVX2 PC_INLINE void transpose4(__m256i x[4])
{
    const __m256i a = _mm256_unpacklo_epi64(x[0], x[1]), b = _mm256_unpackhi_epi64(x[0], x[1]);
    const __m256i c = _mm256_unpacklo_epi64(x[2], x[3]), d = _mm256_unpackhi_epi64(x[2], x[3]);
    x[0] = _mm256_permute2x128_si256(a, c, 0x20);
    x[1] = _mm256_permute2x128_si256(b, d, 0x20);
    x[2] = _mm256_permute2x128_si256(a, c, 0x31);
    x[3] = _mm256_permute2x128_si256(b, d, 0x31);
}

/* 4 x 4 units of 16 bits are transposed: first the two rows of each half are interleaved, then pairs of units of the two halves. */
AVX2 PC_INLINE __m256i transpose_units(__m256i x)
{
    const __m256i pairs = _mm256_broadcastsi128_si256(_mm_set_epi8(15, 14, 7, 6, 13, 12, 5, 4, 11, 10, 3, 2, 9, 8, 1, 0));
    return _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(x, pairs), _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0));
}

/* The upper `shift` bits of each 2 shift bits of a change places with the lower ones of b; mask has the lower ones. */
AVX2 PC_INLINE void exchange(__m256i *a, __m256i *b, const int shift, uint64_t mask)
{
    const __m256i t = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi64(*a, shift), *b), all4(mask));
    *b = _mm256_xor_si256(*b, t);
    *a = _mm256_xor_si256(*a, _mm256_slli_epi64(t, shift));
}

#define BYTES UINT64_C(0x00ff00ff00ff00ff)   /* check: 0x00ff00ff00ff00ff == (2**64 - 1) // (2**8 + 1) */
#define NIBBLES UINT64_C(0x0f0f0f0f0f0f0f0f) /* check: 0x0f0f0f0f0f0f0f0f == (2**64 - 1) // (2**4 + 1) */
#define PAIRS UINT64_C(0x3333333333333333)   /* check: 0x3333333333333333 == (2**64 - 1) // (2**2 + 1) */
#define BITS UINT64_C(0x5555555555555555)    /* check: 0x5555555555555555 == (2**64 - 1) // (2 + 1) */

AVX2 PC_INLINE void transpose_block(__m256i x[16])
{
    PC_UNROLL
    for (int v = 0; v < 16; v += 4) {
        __m256i a = transpose_units(x[v]), b = transpose_units(x[v + 1]), c = transpose_units(x[v + 2]), d = transpose_units(x[v + 3]);
        exchange(&a, &c, 2, PAIRS);
        exchange(&b, &d, 2, PAIRS);
        exchange(&a, &b, 1, BITS);
        exchange(&c, &d, 1, BITS);
        x[v] = a, x[v + 1] = b, x[v + 2] = c, x[v + 3] = d;
    }
    PC_UNROLL
    for (int v = 0; v < 4; v++) {
        __m256i a = x[v], b = x[v + 4], c = x[v + 8], d = x[v + 12];
        exchange(&a, &c, 8, BYTES);
        exchange(&b, &d, 8, BYTES);
        exchange(&a, &b, 4, NIBBLES);
        exchange(&c, &d, 4, NIBBLES);
        x[v] = a, x[v + 4] = b, x[v + 8] = c, x[v + 12] = d;
    }
}

AVX2 static void to_planes_avx2(uint64_t *planes, size_t stride, unsigned bits, const uint64_t *values, size_t groups)
{
    __m256i x[MPC_GROUP_WORDS][16];
    for (size_t g = 0; g < groups; g++, values += MPC_GROUP, planes += MPC_GROUP_WORDS) {
        for (int q = 0; q < MPC_GROUP_WORDS; q++) {
            for (int v = 0; v < 16; v += 4) {
                PC_UNROLL
                for (int l = 0; l < 4; l++) x[q][v + l] = load4(values + 64 * q + 16 * l + v);
                transpose4(x[q] + v);
            }
            transpose_block(x[q]);
        }
        for (unsigned v = 0; v < 16; v++) /* words of planes v, 16 + v, 32 + v, 48 + v */
            for (int q = 0; q < MPC_GROUP_WORDS; q += 4) {
                __m256i y[4] = {x[q][v], x[q + 1][v], x[q + 2][v], x[q + 3][v]};
                transpose4(y);
                PC_UNROLL
                for (unsigned l = 0; l < 4; l++)
                    if (16 * l + v < bits) store4(planes + (16 * l + v) * stride + q, y[l]);
            }
    }
    privcomp_wipe((uint8_t *)x, sizeof x);
}

AVX2 static void from_planes_avx2(uint64_t *values, size_t groups, const uint64_t *planes, size_t stride, unsigned bits)
{
    __m256i x[MPC_GROUP_WORDS][16];
    for (size_t g = 0; g < groups; g++, values += MPC_GROUP, planes += MPC_GROUP_WORDS) {
        for (unsigned v = 0; v < 16; v++)
            for (int q = 0; q < MPC_GROUP_WORDS; q += 4) {
                __m256i y[4];
                PC_UNROLL
                for (unsigned l = 0; l < 4; l++)
                    y[l] = 16 * l + v < bits ? load4(planes + (16 * l + v) * stride + q) : _mm256_setzero_si256();
                transpose4(y);
                PC_UNROLL
                for (int i = 0; i < 4; i++) x[q + i][v] = y[i];
            }
        for (int q = 0; q < MPC_GROUP_WORDS; q++) {
            transpose_block(x[q]);
            for (int v = 0; v < 16; v += 4) {
                transpose4(x[q] + v);
                PC_UNROLL
                for (int l = 0; l < 4; l++) store4(values + 64 * q + 16 * l + v, x[q][v + l]);
            }
        }
    }
    privcomp_wipe((uint8_t *)x, sizeof x);
}

const struct mpc pc_mpc_avx2 = {
    .dots = dots_avx2,
    .tile = tile_avx2,
    .pair_dots = pair_dots_avx2,
    .pair_tile = pair_tile_avx2,
    .rep3_product = rep3_product_avx2,
    .cross_product = cross_product_avx2,
    .rep3_and = rep3_and_avx2,
    .cross_and = cross_and_avx2,
    .weigh = weigh_avx2,
    .combine = combine_avx2,
    .ands = ands_avx2,
    .to_planes = to_planes_avx2,
    .from_planes = from_planes_avx2,
};
#else
typedef int pc_no_x86; /* ISO C wants one declaration per file */
#endif
