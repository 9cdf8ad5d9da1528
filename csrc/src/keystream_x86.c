/* The x86-64 kernels. Every function names its instruction set; dispatch.c decides which may run. */
#include "core.h"

#if PC_X86
#include <immintrin.h>

#define TARGET_AESNI __attribute__((target("aes,avx2")))
#define TARGET_VAES __attribute__((target("aes,avx2,vaes")))
#define TARGET_AVX2 __attribute__((target("avx2")))
#define TARGET_AVX512 __attribute__((target("aes,avx2,vaes,avx512f,avx512bw,avx512dq,avx512vl")))

/* FIPS 197, 5.2, four words at once: the words of the last round key are summed up by doubling shifts. */
#define EXPAND(r, rcon) \
    do { \
        const __m128i g = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(k, rcon), 0xff); \
        k = _mm_xor_si128(k, _mm_slli_si128(k, 4)); \
        k = _mm_xor_si128(k, _mm_slli_si128(k, 8)); \
        k = _mm_xor_si128(k, g); \
        _mm_storeu_si128((__m128i *)(void *)s->key.round_key[r], k); \
    } while (0)

TARGET_AESNI void pc_aes_expand_aesni(pc_stream *s, const uint8_t key[16])
{
    __m128i k = _mm_loadu_si128((const void *)key);
    _mm_storeu_si128((__m128i *)(void *)s->key.round_key[0], k);
    EXPAND(1, 0x01);
    EXPAND(2, 0x02);
    EXPAND(3, 0x04);
    EXPAND(4, 0x08);
    EXPAND(5, 0x10);
    EXPAND(6, 0x20);
    EXPAND(7, 0x40);
    EXPAND(8, 0x80);
    EXPAND(9, 0x1b);  /* check: 0x1b == (0x80 << 1) ^ 0x11b */
    EXPAND(10, 0x36); /* check: 0x36 == 0x1b << 1 */
}

#define PC_W 128
#define PC_NAME pc_aes_aesni
#define PC_TARGET TARGET_AESNI
#include "aes_x86.h"

#define PC_W 256
#define PC_NAME pc_aes_vaes
#define PC_TARGET TARGET_VAES
#include "aes_x86.h"

#define PC_W 512
#define PC_NAME pc_aes_avx512
#define PC_TARGET TARGET_AVX512
#include "aes_x86.h"

#define PC_W 256
#define PC_NAME pc_chacha_avx2
#define PC_TARGET TARGET_AVX2
#include "chacha_x86.h"

#define PC_W 512
#define PC_NAME pc_chacha_avx512
#define PC_TARGET TARGET_AVX512
#include "chacha_x86.h"

#else
typedef int pc_no_x86; /* ISO C wants one declaration per file */
#endif
