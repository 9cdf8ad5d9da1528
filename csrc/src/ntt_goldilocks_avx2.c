/* The butterflies of the Goldilocks transform, four columns at a time with AVX2, which multiplies 32 by 32 bits and compares signed.
 *
 * Words are loose: any number below 2^64. Adding 2^63 modulo 2^64 (one exclusive or) turns an unsigned comparison into a signed one; names
 * that end in _s hold numbers with 2^63 added, which sums and differences carry along. e = 2^32 - 1 = 2^64 (mod p).
 *   u + c, c canonical: a carry leaves at most 2^64 - 1 + (p - 1) - 2^64 = 2^64 - 2^32 - 1, so adding e does not carry again.
 *   u - c, c canonical: a borrow leaves at least 2^64 - (p - 1) = 2^32 > e, so subtracting e does not borrow again.
 */
#include "ntt_goldilocks.h"

#if PC_X86
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define LANES 4

/* check: 2**64 - 1 + (2**64 - 2**32) - 2**64 + 2**32 - 1 < 2**64 */
/* check: 2**64 - (2**64 - 2**32) > 2**32 - 1 */

AVX2 PC_INLINE __m256i load4(const uint64_t *a) { return _mm256_loadu_si256((const __m256i *)a); }
AVX2 PC_INLINE void store4(uint64_t *a, __m256i x) { _mm256_storeu_si256((__m256i *)a, x); }
AVX2 PC_INLINE __m256i all4(uint64_t x) { return _mm256_set1_epi64x((long long)x); }
AVX2 PC_INLINE __m256i flip4(__m256i x) { return _mm256_xor_si256(x, all4((uint64_t)1 << 63)); }
/* e where a > b (signed), else 0. */
AVX2 PC_INLINE __m256i epsilon_where4(__m256i a, __m256i b) { return _mm256_srli_epi64(_mm256_cmpgt_epi64(a, b), 32); }

/* x - p where x >= p, both with 2^63 added. */
AVX2 PC_INLINE __m256i canonical4_s(__m256i x_s)
{
    const __m256i most = all4((GOLDILOCKS_P - 1) ^ (uint64_t)1 << 63);
    return _mm256_sub_epi64(x_s, _mm256_and_si256(_mm256_cmpgt_epi64(x_s, most), all4(GOLDILOCKS_P)));
}

/* a w mod p, loose and with 2^63 added. w1 = w >> 32, and of w only the low halves count.
 * With a = a0 + 2^32 a1, w = w0 + 2^32 w1:  t = a1 w0 + (a0 w0 >> 32) <= (2^32 - 1)^2 + 2^32 - 2 < 2^64,  u = a0 w1 + (t mod 2^32) < 2^64,
 *   a w = (a0 w0 mod 2^32) + 2^32 (u mod 2^32) + 2^64 (a1 w1 + (t >> 32) + (u >> 32)),
 * and x = l + 2^64 (m + 2^32 h) = l - h + m e, as in field_goldilocks.h. */
AVX2 PC_INLINE __m256i mul4_s(__m256i a, __m256i w, __m256i w1)
{
    const __m256i low = all4(GOLDILOCKS_EPSILON), a1 = _mm256_srli_epi64(a, 32);
    const __m256i p00 = _mm256_mul_epu32(a, w);
    const __m256i t = _mm256_add_epi64(_mm256_mul_epu32(a1, w), _mm256_srli_epi64(p00, 32));
    const __m256i u = _mm256_add_epi64(_mm256_mul_epu32(a, w1), _mm256_and_si256(t, low));
    const __m256i l = _mm256_blend_epi32(p00, _mm256_slli_epi64(u, 32), 0xaa); /* check: 0xaa == 2 + 8 + 32 + 128 */
    const __m256i high = _mm256_add_epi64(_mm256_mul_epu32(a1, w1), _mm256_add_epi64(_mm256_srli_epi64(t, 32), _mm256_srli_epi64(u, 32)));
    const __m256i l_s = flip4(l), d_s = _mm256_sub_epi64(l_s, _mm256_srli_epi64(high, 32));
    const __m256i q_s = _mm256_sub_epi64(d_s, epsilon_where4(d_s, l_s));
    const __m256i r_s = _mm256_add_epi64(q_s, _mm256_mul_epu32(high, low));
    return _mm256_add_epi64(r_s, epsilon_where4(q_s, r_s));
}

AVX2 static void forward_avx2(uint64_t *u, uint64_t *v, uint64_t w, size_t n)
{
    const __m256i w0 = all4(w), w1 = all4(w >> 32);
    size_t i = 0;
    VERIFY(w < GOLDILOCKS_P);
    for (; i + LANES <= n; i += LANES) {
        const __m256i a = load4(u + i), a_s = flip4(a), c_s = canonical4_s(mul4_s(load4(v + i), w0, w1));
        const __m256i sum_s = _mm256_add_epi64(a, c_s), difference = _mm256_sub_epi64(a_s, c_s);
        store4(u + i, flip4(_mm256_add_epi64(sum_s, epsilon_where4(a_s, sum_s))));
        store4(v + i, _mm256_sub_epi64(difference, epsilon_where4(flip4(difference), a_s)));
    }
    pc_ntt_portable.forward(u + i, v + i, w, n - i);
}

AVX2 static void inverse_avx2(uint64_t *u, uint64_t *v, uint64_t w, size_t n)
{
    const __m256i w0 = all4(w), w1 = all4(w >> 32);
    size_t i = 0;
    VERIFY(w < GOLDILOCKS_P);
    for (; i + LANES <= n; i += LANES) {
        const __m256i a = load4(u + i), a_s = flip4(a), c_s = canonical4_s(flip4(load4(v + i)));
        const __m256i sum_s = _mm256_add_epi64(a, c_s), difference = _mm256_sub_epi64(a_s, c_s);
        store4(u + i, flip4(_mm256_add_epi64(sum_s, epsilon_where4(a_s, sum_s))));
        store4(v + i, flip4(mul4_s(_mm256_sub_epi64(difference, epsilon_where4(flip4(difference), a_s)), w0, w1)));
    }
    pc_ntt_portable.inverse(u + i, v + i, w, n - i);
}

AVX2 static void scale_avx2(uint64_t *u, uint64_t w, size_t n)
{
    const __m256i w0 = all4(w), w1 = all4(w >> 32);
    size_t i = 0;
    VERIFY(w < GOLDILOCKS_P);
    for (; i + LANES <= n; i += LANES) store4(u + i, flip4(canonical4_s(mul4_s(load4(u + i), w0, w1))));
    pc_ntt_portable.scale(u + i, w, n - i);
}

AVX2 static void finish_avx2(uint64_t *u, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) store4(u + i, flip4(canonical4_s(flip4(load4(u + i)))));
    pc_ntt_portable.finish(u + i, n - i);
}

const struct ntt pc_ntt_avx2 = {forward_avx2, inverse_avx2, scale_avx2, finish_avx2};
#endif
