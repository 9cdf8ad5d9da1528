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
IFMA PC_INLINE void store8(uint64_t *a, __m512i x) { _mm512_storeu_si512((void *)a, x); }
IFMA PC_INLINE __m512i all8(uint64_t x) { return _mm512_set1_epi64((long long)x); }
IFMA PC_INLINE __m512i add8(__m512i a, __m512i b) { return _mm512_add_epi64(a, b); }
IFMA PC_INLINE __m512i sub8(__m512i a, __m512i b) { return _mm512_sub_epi64(a, b); }

#endif
