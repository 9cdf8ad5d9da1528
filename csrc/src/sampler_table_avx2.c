/* Sampling from a table, eight candidates at a time with AVX2: 32-bit lanes for bins, places and the first comparison, 64-bit ones for values.
 * If one of eight candidates is left open or in the tail, all eight go to pc_table_candidate, one after another. */
#include "sampler_table.h"

#if PC_X86
#include <immintrin.h>

#define OCTETS 8 /* 64 candidates */
#define AVX2 __attribute__((target("avx2,popcnt")))
#define SHIFT_MAX 25 /* places are below 2^31: a lane, and an index of a gather; check: 31 == 6 + 25 */

AVX2 PC_INLINE __m256i all8(uint32_t x) { return _mm256_set1_epi32((int)x); }

AVX2 PC_INLINE __m256i load_pair(const uint64_t *low, const uint64_t *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)low)),
                                   _mm_loadu_si128((const __m128i *)(const void *)high), 1);
}

/* For each set of four lanes of 64 bits the 32-bit lanes that hold them, packed to the front; the rest does not matter. */
#define LANES(a, b, c, d) {2 * (a), 2 * (a) + 1, 2 * (b), 2 * (b) + 1, 2 * (c), 2 * (c) + 1, 2 * (d), 2 * (d) + 1}
static const uint32_t packed[16][8] __attribute__((aligned(32))) = {
    LANES(0, 0, 0, 0), LANES(0, 0, 0, 0), LANES(1, 0, 0, 0), LANES(0, 1, 0, 0), LANES(2, 0, 0, 0), LANES(0, 2, 0, 0),
    LANES(1, 2, 0, 0), LANES(0, 1, 2, 0), LANES(3, 0, 0, 0), LANES(0, 3, 0, 0), LANES(1, 3, 0, 0), LANES(0, 1, 3, 0),
    LANES(2, 3, 0, 0), LANES(0, 2, 3, 0), LANES(1, 2, 3, 0), LANES(0, 1, 2, 3),
};

/* What eight candidates came to: bit i of a mask is candidate i. */
typedef struct {
    __m256i value; /* without the base */
    uint32_t accepted, open;
} octet;

AVX2 PC_INLINE void evaluate(octet *out, const uint64_t w[16], const sampler_table *t)
{
    const __m128i shift = _mm_cvtsi32_si128((int)t->shift);
    /* candidates 0 .. 3 in the low half, 4 .. 7 in the high half; then a transposition of 4 x 4 words in each */
    const __m256i c0 = load_pair(w, w + 8), c1 = load_pair(w + 2, w + 10), c2 = load_pair(w + 4, w + 12), c3 = load_pair(w + 6, w + 14);
    const __m256i a01 = _mm256_unpacklo_epi32(c0, c1), a23 = _mm256_unpacklo_epi32(c2, c3);
    const __m256i b01 = _mm256_unpackhi_epi32(c0, c1), b23 = _mm256_unpackhi_epi32(c2, c3);
    const __m256i a = _mm256_unpacklo_epi64(a01, a23), high = _mm256_unpackhi_epi64(a01, a23), b = _mm256_unpackhi_epi64(b01, b23);

    /* the entry is threshold 2^6 + other > fraction 2^6 + 63 if and only if threshold > fraction */
    const __m256i entry = _mm256_i32gather_epi32((const int *)(const void *)t->alias, _mm256_and_si256(a, all8(63)), 4);
    const __m256i fraction = _mm256_or_si256(_mm256_and_si256(a, all8(0x3fffff)), all8(63)); /* check: 0x3fffff == 2**22 - 1 */
    const __m256i stays = _mm256_cmpgt_epi32(entry, fraction);
    const __m256i bin = _mm256_and_si256(_mm256_blendv_epi8(entry, a, stays), all8(63));
    const __m256i offset = _mm256_or_si256(_mm256_srli_epi32(a, TABLE_OFFSET), _mm256_slli_epi32(high, 32 - TABLE_OFFSET));
    const __m256i x = _mm256_or_si256(_mm256_sll_epi32(bin, shift), _mm256_and_si256(offset, all8(((uint32_t)1 << t->shift) - 1))); /* < length */

    /* four bytes from heads[x] on, of which the first two count: there is one head more than there are places */
    const __m256i sixteen = all8(0xffff);
    const __m256i head = _mm256_and_si256(_mm256_i32gather_epi32((const int *)(const void *)t->heads, x, 2), sixteen);
    const __m256i top = _mm256_srli_epi32(b, 16);
    const __m256i same = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_xor_si256(head, top), all8(t->compared)), _mm256_setzero_si256());
    const __m256i open = _mm256_or_si256(same, _mm256_cmpeq_epi32(bin, all8(TABLE_TAIL)));
    out->open = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(open));
    out->accepted = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(head, top)));

    const __m256i m = _mm256_and_si256(_mm256_srai_epi32(_mm256_slli_epi32(a, 31 - TABLE_SIGN), 31), all8((uint32_t)t->flip));
    out->value = _mm256_sub_epi32(_mm256_xor_si256(x, m), _mm256_and_si256(m, all8((uint32_t)t->carry)));
}

/* Stores the accepted of four values, and what is behind them; returns how many. */
AVX2 PC_INLINE size_t put_four(int64_t *out, __m128i value, __m256i base, unsigned accepted)
{
    const __m256i order = _mm256_load_si256((const __m256i *)(const void *)packed[accepted]);
    const __m256i sum = _mm256_add_epi64(_mm256_cvtepi32_epi64(value), base);
    _mm256_storeu_si256((__m256i *)(void *)out, _mm256_permutevar8x32_epi32(sum, order));
    return (size_t)__builtin_popcount(accepted);
}

/* In two passes over 64 candidates: where a value goes is then known long before it is stored, and nothing waits for it. */
AVX2 size_t pc_sample_table_avx2(int64_t *out, size_t count, uint64_t first, pc_sampler *s, const void *table)
{
    const sampler_table *const t = table;
    if (t->shift > SHIFT_MAX) return pc_sample_table_portable(out, count, first, s, table);
    const __m256i base = _mm256_set1_epi64x((long long)t->base);
    octet found[OCTETS];
    size_t k = 0;
    VERIFY(count % 8 == 0);
    for (size_t at = 0; at < count; at += 8 * OCTETS) {
        const size_t octets = count - at < 8 * OCTETS ? (count - at) / 8 : OCTETS;
        for (size_t g = 0; g < octets; g++) evaluate(&found[g], s->words + 2 * at + 16 * g, t);
        for (size_t g = 0; g < octets; g++) {
            const octet *const o = &found[g];
            const uint64_t *const w = s->words + 2 * at + 16 * g;
            const uint64_t candidate = first + at + 8 * g;
            if (__builtin_expect(o->open != 0, 0)) {
                for (size_t i = 0; i < 8; i++) {
                    int64_t value = 0;
                    const int accepted = pc_table_candidate(&value, w[2 * i], w[2 * i + 1], candidate + i, s, t);
                    out[k] = value;
                    k += (size_t)accepted;
                }
                continue;
            }
            k += put_four(out + k, _mm256_castsi256_si128(o->value), base, o->accepted & 15);
            k += put_four(out + k, _mm256_extracti128_si256(o->value, 1), base, o->accepted >> 4);
        }
    }
    privcomp_wipe((uint8_t *)found, sizeof found);
    return k;
}
#else
typedef int pc_no_x86; /* ISO C wants one declaration per file */
#endif
