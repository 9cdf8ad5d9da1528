/* The few AVX-512 intrinsics of src/field_ifma.c, src/fe25519_ifma.h, src/ristretto255_lanes.h, src/ed_order_ifma.h,
 * src/multilinear_ifma.h and src/rlwe_ifma.c in plain C, from their definitions in Intel's intrinsics guide, so that the arithmetic of those files is tested
 * on any CPU. (Their instructions themselves are tested where the CPU has them.) */
#ifndef PRIVCOMP_EMULATE_AVX512_H
#define PRIVCOMP_EMULATE_AVX512_H

#include <emmintrin.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    uint64_t lane[8];
} emulated512;
typedef struct {
    uint64_t lane[4];
} emulated256;
typedef uint8_t emulated_mask8;
#define __m512i emulated512
#define __m256i emulated256
#define __mmask8 emulated_mask8

#define EMULATE static __attribute__((noinline, unused)) /* inlined, they make functions of unwieldy size */
#define EACH_LANE(expr) \
    do { \
        __m512i r_; \
        for (int j = 0; j < 8; j++) r_.lane[j] = (expr); \
        return r_; \
    } while (0)

EMULATE __m512i _mm512_loadu_si512(const void *p) { __m512i r; memcpy(&r, p, 64); return r; }
EMULATE void _mm512_storeu_si512(void *p, __m512i x) { memcpy(p, &x, 64); }
EMULATE __m512i _mm512_maskz_loadu_epi64(__mmask8 m, const void *p) /* reads no other words */
{
    __m512i r;
    for (int j = 0; j < 8; j++) {
        r.lane[j] = 0;
        if (m >> j & 1) memcpy(&r.lane[j], (const char *)p + 8 * j, 8);
    }
    return r;
}
EMULATE __m512i _mm512_setzero_si512(void) { EACH_LANE(0); }
EMULATE __m512i _mm512_set1_epi64(long long x) { EACH_LANE((uint64_t)x); }
EMULATE __m512i _mm512_add_epi64(__m512i a, __m512i b) { EACH_LANE(a.lane[j] + b.lane[j]); }
EMULATE __m512i _mm512_sub_epi64(__m512i a, __m512i b) { EACH_LANE(a.lane[j] - b.lane[j]); }
EMULATE __m512i _mm512_and_si512(__m512i a, __m512i b) { EACH_LANE(a.lane[j] & b.lane[j]); }
EMULATE __m512i _mm512_or_si512(__m512i a, __m512i b) { EACH_LANE(a.lane[j] | b.lane[j]); }
EMULATE __m512i _mm512_maskz_mullo_epi64(__mmask8 m, __m512i a, __m512i b) { EACH_LANE(m >> j & 1 ? a.lane[j] * b.lane[j] : 0); }
EMULATE __m512i _mm512_srli_epi64(__m512i a, unsigned n) { EACH_LANE(n > 63 ? 0 : a.lane[j] >> n); }
EMULATE __m512i _mm512_srai_epi64(__m512i a, unsigned n) { EACH_LANE((uint64_t)((int64_t)a.lane[j] >> (n > 63 ? 63 : n))); }
EMULATE __m512i _mm512_abs_epi64(__m512i a) { EACH_LANE(a.lane[j] >> 63 ? 0 - a.lane[j] : a.lane[j]); }
EMULATE __m512i _mm512_srlv_epi64(__m512i a, __m512i n) { EACH_LANE(n.lane[j] > 63 ? 0 : a.lane[j] >> n.lane[j]); }
EMULATE __m512i _mm512_sllv_epi64(__m512i a, __m512i n) { EACH_LANE(n.lane[j] > 63 ? 0 : a.lane[j] << n.lane[j]); }
EMULATE __m512i _mm512_slli_epi64(__m512i a, unsigned n) { EACH_LANE(n > 63 ? 0 : a.lane[j] << n); }
EMULATE __m512i _mm512_min_epu64(__m512i a, __m512i b) { EACH_LANE(a.lane[j] < b.lane[j] ? a.lane[j] : b.lane[j]); }
EMULATE __m512i _mm512_mul_epu32(__m512i a, __m512i b) { EACH_LANE((a.lane[j] & 0xffffffff) * (b.lane[j] & 0xffffffff)); }
EMULATE __mmask8 _mm512_cmplt_epu64_mask(__m512i a, __m512i b)
{
    unsigned m = 0;
    for (int j = 0; j < 8; j++) m |= (unsigned)(a.lane[j] < b.lane[j]) << j;
    return (__mmask8)m;
}
EMULATE __mmask8 _mm512_cmpeq_epi64_mask(__m512i a, __m512i b)
{
    unsigned m = 0;
    for (int j = 0; j < 8; j++) m |= (unsigned)(a.lane[j] == b.lane[j]) << j;
    return (__mmask8)m;
}
EMULATE __mmask8 _mm512_test_epi64_mask(__m512i a, __m512i b)
{
    unsigned m = 0;
    for (int j = 0; j < 8; j++) m |= (unsigned)((a.lane[j] & b.lane[j]) != 0) << j;
    return (__mmask8)m;
}
EMULATE __m512i _mm512_mask_mov_epi64(__m512i src, __mmask8 m, __m512i a) { EACH_LANE(m >> j & 1 ? a.lane[j] : src.lane[j]); }
EMULATE __m512i _mm512_mask_add_epi64(__m512i src, __mmask8 m, __m512i a, __m512i b) { EACH_LANE(m >> j & 1 ? a.lane[j] + b.lane[j] : src.lane[j]); }
EMULATE __m512i _mm512_mask_sub_epi64(__m512i src, __mmask8 m, __m512i a, __m512i b) { EACH_LANE(m >> j & 1 ? a.lane[j] - b.lane[j] : src.lane[j]); }

/* Words move: j is their new place, j / 2 the 128-bit piece. */
EMULATE __m256i _mm256_loadu_si256(const void *p) { __m256i r; memcpy(&r, p, 32); return r; }
EMULATE __m512i _mm512_cvtepu32_epi64(__m256i a) { EACH_LANE(a.lane[j / 2] >> 32 * (j % 2) & 0xffffffff); }
EMULATE __m512i _mm512_cvtepi8_epi64(__m128i a) { int8_t byte[16]; memcpy(byte, &a, 16); EACH_LANE((uint64_t)(int64_t)byte[j]); }
EMULATE __m512i _mm512_castsi256_si512(__m256i a) { EACH_LANE(j < 4 ? a.lane[j] : 0xbad); } /* the upper half is undefined */
EMULATE __m512i _mm512_inserti64x4(__m512i a, __m256i b, int at) { EACH_LANE(j / 4 == at ? b.lane[j % 4] : a.lane[j]); }
EMULATE __m512i _mm512_unpacklo_epi64(__m512i a, __m512i b) { EACH_LANE(j % 2 ? b.lane[j - 1] : a.lane[j]); }
EMULATE __m512i _mm512_unpackhi_epi64(__m512i a, __m512i b) { EACH_LANE(j % 2 ? b.lane[j] : a.lane[j + 1]); }
EMULATE __m512i _mm512_shuffle_i64x2(__m512i a, __m512i b, int pieces) { EACH_LANE((j < 4 ? a : b).lane[2 * (pieces >> j / 2 * 2 & 3) + j % 2]); }
EMULATE __m512i _mm512_permutex2var_epi64(__m512i a, __m512i at, __m512i b) { EACH_LANE((at.lane[j] & 8 ? b : a).lane[at.lane[j] & 7]); }
EMULATE __m512i _mm512_permutexvar_epi64(__m512i at, __m512i a) { EACH_LANE(a.lane[at.lane[j] & 7]); }
EMULATE __m256i _mm512_extracti64x4_epi64(__m512i a, int at) { __m256i r; memcpy(&r, a.lane + 4 * at, 32); return r; }
EMULATE __m256i _mm512_castsi512_si256(__m512i a) { return _mm512_extracti64x4_epi64(a, 0); }
EMULATE void _mm256_storeu_si256(void *p, __m256i x) { memcpy(p, &x, 32); }

#define MASK_52 UINT64_C(0xfffffffffffff)
#define PRODUCT_52(a, b) ((unsigned __int128)((a) & MASK_52) * ((b) & MASK_52))
EMULATE __m512i _mm512_madd52lo_epu64(__m512i s, __m512i a, __m512i b) { EACH_LANE(s.lane[j] + ((uint64_t)PRODUCT_52(a.lane[j], b.lane[j]) & MASK_52)); }
EMULATE __m512i _mm512_madd52hi_epu64(__m512i s, __m512i a, __m512i b) { EACH_LANE(s.lane[j] + (uint64_t)(PRODUCT_52(a.lane[j], b.lane[j]) >> 52)); }

#endif
