/* Sampling from a table, four candidates at a time. The comparison is of unsigned words: AVX2 has that of signed ones, so both get their
 * top bit flipped. */
#include "sampler_table.h"

#if PC_X86
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

AVX2 PC_INLINE __m256i all4(uint64_t x) { return _mm256_set1_epi64x((long long)x); }

/* Two words of each of two candidates: i, then i + 2. */
AVX2 PC_INLINE __m256i pair(const uint64_t *words)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)words)), _mm_loadu_si128((const void *)(words + 4)), 1);
}

/* packed[m]: the 32-bit halves of the lanes that are set in m, in their order; the rest does not matter. */
#define LANES(a, b, c, d) {2 * (a), 2 * (a) + 1, 2 * (b), 2 * (b) + 1, 2 * (c), 2 * (c) + 1, 2 * (d), 2 * (d) + 1}
static const uint32_t packed[16][8] __attribute__((aligned(32))) = {
    LANES(0, 0, 0, 0), LANES(0, 0, 0, 0), LANES(1, 0, 0, 0), LANES(0, 1, 0, 0), LANES(2, 0, 0, 0), LANES(0, 2, 0, 0),
    LANES(1, 2, 0, 0), LANES(0, 1, 2, 0), LANES(3, 0, 0, 0), LANES(0, 3, 0, 0), LANES(1, 3, 0, 0), LANES(0, 1, 3, 0),
    LANES(2, 3, 0, 0), LANES(0, 2, 3, 0), LANES(1, 2, 3, 0), LANES(0, 1, 2, 3),
};
static const uint8_t ones[16] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};

AVX2 size_t pc_sample_table_avx2(int64_t *out, size_t count, uint64_t first, pc_sampler *s, const void *table)
{
    const sampler_table t = *(const sampler_table *)table;
    const __m128i shift = _mm_cvtsi64_si128(t.shift);
    const __m256i bins = all4(PRIVCOMP_SAMPLER_BINS - 1), sixteen = all4(0xffff), low = all4(((uint64_t)1 << t.shift) - 1);
    const __m256i flip = all4(t.flip), carry = all4(t.carry), base = all4(t.base), compared = all4(t.compared);
    const __m256i zero = _mm256_setzero_si256(), sign_bit = all4((uint64_t)1 << 63);
    size_t got = 0;
    VERIFY(count % 4 == 0);
    for (size_t i = 0; i < count; i += 4) {
        const __m256i p = pair(s->words + 2 * i), q = pair(s->words + 2 * i + 2);
        const __m256i a = _mm256_unpacklo_epi64(p, q), b = _mm256_unpackhi_epi64(p, q);
        const __m256i own = _mm256_and_si256(a, bins);
        const __m256i entry = _mm256_i64gather_epi64((const long long *)t.alias, own, 8);
        const __m256i fraction = _mm256_and_si256(_mm256_srli_epi64(a, TABLE_FRACTION), sixteen);
        const __m256i other = _mm256_and_si256(entry, bins);
        const __m256i stays = _mm256_cmpgt_epi64(_mm256_srli_epi64(entry, 6), fraction); /* check: 64 == 2**6 */
        const __m256i j = _mm256_blendv_epi8(other, own, stays); /* <= 63 */
        const __m256i x = _mm256_or_si256(_mm256_sll_epi64(j, shift), _mm256_and_si256(_mm256_srli_epi64(a, TABLE_OFFSET), low)); /* < length */
        const __m256i top = _mm256_i64gather_epi64((const long long *)t.tops, x, 8);
        const __m256i open = _mm256_or_si256(_mm256_cmpeq_epi64(_mm256_and_si256(_mm256_xor_si256(b, top), compared), zero),
                                             _mm256_cmpeq_epi64(j, bins));
        if (__builtin_expect(!_mm256_testz_si256(open, open), 0)) {
            for (size_t k = i; k < i + 4; k++) {
                int64_t value = 0;
                const int accepted = pc_table_candidate(&value, s->words[2 * k], s->words[2 * k + 1], first + k, s, &t);
                out[got] = value;
                got += (size_t)accepted;
            }
            continue;
        }
        const __m256i m = _mm256_and_si256(_mm256_cmpgt_epi64(zero, _mm256_slli_epi64(a, 63 - TABLE_SIGN)), flip);
        const __m256i value = _mm256_sub_epi64(_mm256_add_epi64(base, _mm256_xor_si256(x, m)), _mm256_and_si256(m, carry));
        const __m256i accepted = _mm256_cmpgt_epi64(_mm256_xor_si256(top, sign_bit), _mm256_xor_si256(b, sign_bit));
        const unsigned mask = (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(accepted));
        const __m256i order = _mm256_load_si256((const void *)packed[mask]);
        _mm256_storeu_si256((__m256i *)(void *)(out + got), _mm256_permutevar8x32_epi32(value, order));
        got += ones[mask];
    }
    return got;
}
#else
typedef int pc_no_x86; /* ISO C wants one declaration per file */
#endif
