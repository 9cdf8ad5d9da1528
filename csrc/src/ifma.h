/* Eight 64-bit lanes with AVX-512 IFMA, which adds the low or the high 52 bits of a 52 by 52 bit product to a lane. */
#ifndef PC_IFMA_H
#define PC_IFMA_H

#include "core.h"

#if defined(PRIVCOMP_EMULATE_AVX512)
#include "emulate_avx512.h" /* the tests run these kernels on CPUs without AVX-512 */
#define IFMA
#else
#include <immintrin.h>
#define IFMA __attribute__((target("avx512f,avx512dq,avx512vl,avx512ifma")))
#endif

#define LANES 8

IFMA PC_INLINE __m512i load8(const uint64_t *a) { return _mm512_loadu_si512((const void *)a); }
IFMA PC_INLINE __m512i load_halves8(const uint32_t *a) { return _mm512_cvtepu32_epi64(_mm256_loadu_si256((const void *)a)); } /* of 32 bits, as unsigned numbers */
IFMA PC_INLINE void store8(uint64_t *a, __m512i x) { _mm512_storeu_si512((void *)a, x); }
IFMA PC_INLINE __m512i all8(uint64_t x) { return _mm512_set1_epi64((long long)x); }
IFMA PC_INLINE __m512i add8(__m512i a, __m512i b) { return _mm512_add_epi64(a, b); }
IFMA PC_INLINE __m512i sub8(__m512i a, __m512i b) { return _mm512_sub_epi64(a, b); }
IFMA PC_INLINE __m512i and8(__m512i a, __m512i b) { return _mm512_and_si512(a, b); }
IFMA PC_INLINE __m512i abs8(__m512i a) { return _mm512_abs_epi64(a); }
IFMA PC_INLINE __m512i times32_8(__m512i a) { return _mm512_slli_epi64(a, 5); }
IFMA PC_INLINE __m512i shift_byte8(__m512i a) { return _mm512_srai_epi64(a, 8); }                /* a / 256 rounded down, for signed a */

/* Masks of lanes: those where a is negative, zero, below an unsigned limit; b in the lanes of the mask and a in the others. */
IFMA PC_INLINE __mmask8 negative8(__m512i a) { return _mm512_test_epi64_mask(a, all8((uint64_t)1 << 63)); }
IFMA PC_INLINE __mmask8 zero8(__m512i a) { return _mm512_cmpeq_epi64_mask(a, _mm512_setzero_si512()); }
IFMA PC_INLINE __mmask8 below8(__m512i a, uint64_t limit) { return _mm512_cmplt_epu64_mask(a, all8(limit)); }
IFMA PC_INLINE __m512i select8(__m512i a, __m512i b, __mmask8 mask) { return _mm512_mask_mov_epi64(a, mask, b); }
IFMA PC_INLINE unsigned mask_bits8(__mmask8 mask) { return mask; }

#endif
