/* The closed-form samplers, eight candidates at a time with AVX2: 32-bit lanes for bins, offsets and floats, 64-bit ones for values.
 *
 * T is computed as in the portable kernel (sampler_exp.c), with the same errors and the same band. If one of eight candidates is undecided
 * or in the tail, all eight go to pc_exp_candidate, one after another: about once in a thousand times.
 */
#include "sampler_exp.h"

#if PC_X86
#include <immintrin.h>

#define OCTETS 8 /* 64 candidates */
#define AVX2 __attribute__((target("avx2,popcnt")))

AVX2 PC_INLINE __m256i all8(uint32_t x) { return _mm256_set1_epi32((int)x); }
AVX2 PC_INLINE __m256 all8_ps(float x) { return _mm256_set1_ps(x); }

/* table[bin] for 64 words of 32 bits. requires: bin < 64. */
AVX2 PC_INLINE __m256i look_up(const void *table, __m256i bin) { return _mm256_i32gather_epi32((const int *)table, bin, 4); }

/* e^v to degree 5. */
AVX2 PC_INLINE __m256 exp5(__m256 v)
{
    __m256 p = _mm256_add_ps(_mm256_mul_ps(v, all8_ps(1.0f / 120)), all8_ps(1.0f / 24));
    p = _mm256_add_ps(_mm256_mul_ps(v, p), all8_ps(1.0f / 6));
    p = _mm256_add_ps(_mm256_mul_ps(v, p), all8_ps(1.0f / 2));
    p = _mm256_add_ps(_mm256_mul_ps(v, p), all8_ps(1.0f));
    return _mm256_add_ps(_mm256_mul_ps(v, p), all8_ps(1.0f));
}

/* For each set of four lanes of 64 bits the 32-bit lanes that hold them, packed to the front. */
#define LANE(i) 2 * (i), 2 * (i) + 1
#define FOUR(a, b, c, d) {LANE(a), LANE(b), LANE(c), LANE(d)}
static const uint32_t packed[16][8] = {
    FOUR(0, 0, 0, 0), FOUR(0, 0, 0, 0), FOUR(1, 0, 0, 0), FOUR(0, 1, 0, 0), FOUR(2, 0, 0, 0), FOUR(0, 2, 0, 0), FOUR(1, 2, 0, 0), FOUR(0, 1, 2, 0),
    FOUR(3, 0, 0, 0), FOUR(0, 3, 0, 0), FOUR(1, 3, 0, 0), FOUR(0, 1, 3, 0), FOUR(2, 3, 0, 0), FOUR(0, 2, 3, 0), FOUR(1, 2, 3, 0), FOUR(0, 1, 2, 3),
};

/* Stores the accepted of four values, and what is behind them; returns how many. */
AVX2 PC_INLINE size_t put_four(int64_t *out, __m256i value, unsigned accepted)
{
    const __m256i order = _mm256_loadu_si256((const __m256i *)(const void *)packed[accepted]);
    _mm256_storeu_si256((__m256i *)(void *)out, _mm256_permutevar8x32_epi32(value, order));
    return (size_t)__builtin_popcount(accepted);
}

AVX2 PC_INLINE __m256i load_pair(const uint64_t *low, const uint64_t *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)low)),
                                   _mm_loadu_si128((const __m128i *)(const void *)high), 1);
}

/* What eight candidates came to: bit i of a mask is candidate i. */
typedef struct {
    __m256i value[2]; /* four and four; the first is eight of 32 bits if m <= 24 */
    uint32_t accepted, open;
} octet;

/* gauss and wide (m > 24) are constants where this is inlined. */
AVX2 PC_INLINE void evaluate(octet *out, const uint64_t w[16], const exp_table *t, const int gauss, const int wide)
{
    const __m128i near = _mm_cvtsi32_si128((int)t->near), cut = _mm_cvtsi32_si128((int)(32 - t->near));
    /* candidates 0 .. 3 in the low half, 4 .. 7 in the high half; then a transposition of 4 x 4 words in each */
    const __m256i c0 = load_pair(w, w + 8), c1 = load_pair(w + 2, w + 10), c2 = load_pair(w + 4, w + 12), c3 = load_pair(w + 6, w + 14);
    const __m256i a01 = _mm256_unpacklo_epi32(c0, c1), a23 = _mm256_unpacklo_epi32(c2, c3);
    const __m256i b01 = _mm256_unpackhi_epi32(c0, c1), b23 = _mm256_unpackhi_epi32(c2, c3);
    const __m256i a = _mm256_unpacklo_epi64(a01, a23), high = _mm256_unpackhi_epi64(a01, a23), b = _mm256_unpackhi_epi64(b01, b23);

    /* the entry is threshold 2^6 + other > fraction 2^6 + 63 if and only if threshold > fraction */
    const __m256i entry = look_up(t->alias, _mm256_and_si256(a, all8(63)));
    const __m256i fraction = _mm256_or_si256(_mm256_and_si256(a, all8(0x3fffff)), all8(63)); /* check: 0x3fffff == 2**22 - 1 */
    const __m256i stays = _mm256_cmpgt_epi32(entry, fraction);
    const __m256i bin = _mm256_and_si256(_mm256_blendv_epi8(entry, a, stays), all8(63));
    const __m256 ratio = _mm256_castsi256_ps(look_up(t->ratio_single, bin));

    const __m256i minus = _mm256_srai_epi32(_mm256_slli_epi32(a, 31 - EXP_SIGN_BIT), 31);
    const __m256i y = _mm256_add_epi32(_mm256_sll_epi32(bin, near), _mm256_srl_epi32(high, cut)); /* < 2^30; a shift by 32 gives 0 */
    const __m256 x = _mm256_cvtepi32_ps(wide ? y : _mm256_sub_epi32(y, minus));
    const __m256 q = _mm256_min_ps(_mm256_mul_ps(gauss ? _mm256_mul_ps(x, x) : x, all8_ps(t->rate_single)), all8_ps(120.0f));
    const __m256i steps = _mm256_cvttps_epi32(_mm256_add_ps(q, all8_ps(0.5f)));
    const __m256 r = _mm256_mul_ps(_mm256_sub_ps(_mm256_cvtepi32_ps(steps), q), all8_ps(0.693147181f));
    const __m256 power = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_sub_epi32(all8(127), steps), 23));
    const __m256 uniform = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(b, 8)), all8_ps(0x1p-24f));
    const __m256 over = _mm256_sub_ps(_mm256_mul_ps(ratio, _mm256_mul_ps(exp5(r), power)), uniform);
    const __m256 accept = _mm256_cmp_ps(over, all8_ps(t->band_single), _CMP_GT_OQ);
    const __m256 reject = _mm256_cmp_ps(over, all8_ps(-t->band_single), _CMP_LT_OQ);
    out->accepted = (uint32_t)_mm256_movemask_ps(accept);
    out->open = (uint32_t)_mm256_movemask_ps(_mm256_or_ps(accept, reject)) ^ 0xff; /* check: 0xff == 2**8 - 1 */

    if (wide) {
        const __m128i m = _mm_cvtsi32_si128((int)t->shift), rest = _mm_cvtsi32_si128((int)(64 - t->shift));
        const __m256i w01 = _mm256_unpacklo_epi64(c0, c1), w23 = _mm256_unpacklo_epi64(c2, c3);
        for (int h = 0; h < 2; h++) {
            const __m256i j = _mm256_cvtepu32_epi64(h ? _mm256_extracti128_si256(bin, 1) : _mm256_castsi256_si128(bin));
            const __m256i sign = _mm256_cvtepi32_epi64(h ? _mm256_extracti128_si256(minus, 1) : _mm256_castsi256_si128(minus));
            const __m256i words = h ? _mm256_permute2x128_si256(w01, w23, 0x31) : _mm256_permute2x128_si256(w01, w23, 0x20);
            out->value[h] = _mm256_xor_si256(_mm256_add_epi64(_mm256_sll_epi64(j, m), _mm256_srl_epi64(words, rest)), sign);
        }
    } else {
        out->value[0] = _mm256_xor_si256(y, minus);
    }
}

/* In two passes over 64 candidates: where a value goes is then known long before it is stored, and nothing waits for it. */
AVX2 PC_INLINE size_t run(int64_t *out, size_t count, uint64_t first, pc_sampler *s, const exp_table *t, const int gauss, const int wide)
{
    octet found[OCTETS];
    size_t k = 0;
    for (size_t at = 0; at < count; at += 8 * OCTETS) {
        const size_t octets = count - at < 8 * OCTETS ? (count - at) / 8 : OCTETS;
        for (size_t g = 0; g < octets; g++) evaluate(&found[g], s->words + 2 * at + 16 * g, t, gauss, wide);
        for (size_t g = 0; g < octets; g++) {
            const octet *const o = &found[g];
            const uint64_t *const w = s->words + 2 * at + 16 * g;
            const uint64_t candidate = first + at + 8 * g;
#ifdef PRIVCOMP_VERIFY
            for (unsigned i = 0; i < 8; i++) {
                int64_t value;
                VERIFY((o->open >> i & 1) || (int)(o->accepted >> i & 1) == pc_exp_candidate(&value, t, s, candidate + i, w[2 * i], w[2 * i + 1]));
            }
#endif
            if (__builtin_expect(o->open != 0, 0)) {
                for (size_t i = 0; i < 8; i++) k += (size_t)pc_exp_candidate(out + k, t, s, candidate + i, w[2 * i], w[2 * i + 1]);
                continue;
            }
            const __m256i low = wide ? o->value[0] : _mm256_cvtepi32_epi64(_mm256_castsi256_si128(o->value[0]));
            const __m256i high = wide ? o->value[1] : _mm256_cvtepi32_epi64(_mm256_extracti128_si256(o->value[0], 1));
            k += put_four(out + k, low, o->accepted & 15);
            k += put_four(out + k, high, o->accepted >> 4);
        }
    }
    privcomp_wipe((uint8_t *)found, sizeof found);
    return k;
}

AVX2 static size_t run_gauss(int64_t *out, size_t count, uint64_t first, pc_sampler *s, const exp_table *t) { return run(out, count, first, s, t, 1, 0); }
AVX2 static size_t run_laplace(int64_t *out, size_t count, uint64_t first, pc_sampler *s, const exp_table *t) { return run(out, count, first, s, t, 0, 0); }
AVX2 static size_t run_gauss_wide(int64_t *out, size_t count, uint64_t first, pc_sampler *s, const exp_table *t) { return run(out, count, first, s, t, 1, 1); }
AVX2 static size_t run_laplace_wide(int64_t *out, size_t count, uint64_t first, pc_sampler *s, const exp_table *t) { return run(out, count, first, s, t, 0, 1); }

size_t pc_sample_exp_avx2(int64_t *out, size_t count, uint64_t first, struct pc_sampler *s, const void *table)
{
    const exp_table *const t = table;
    if (t->shift > t->near) return (t->gauss ? run_gauss_wide : run_laplace_wide)(out, count, first, s, t);
    return (t->gauss ? run_gauss : run_laplace)(out, count, first, s, t);
}

#else
typedef int pc_no_x86; /* ISO C wants one declaration per file */
#endif
