/* The 512-bit kernels on machines without AVX-512: the same templates, with each intrinsic spelled out on four 128-bit lanes as Intel's
 * guide defines it. What this cannot show is that compilers and CPUs agree with the guide; test_core does where AVX-512 exists.
 */
#include "check.h"
#include "core.h"

#if PC_X86
#include <immintrin.h>

#define EMULATED __attribute__((target("aes,avx2")))

typedef struct {
    __m128i v[4];
} e512;

#define EACH(name, expression) \
    EMULATED static inline e512 name(e512 a, e512 b) \
    { \
        e512 out; \
        for (int i = 0; i < 4; i++) out.v[i] = expression(a.v[i], b.v[i]); \
        return out; \
    }
EACH(e_xor, _mm_xor_si128)
EACH(e_add32, _mm_add_epi32)
EACH(e_sub32, _mm_sub_epi32)
EACH(e_add64, _mm_add_epi64)
EACH(e_sub64, _mm_sub_epi64)
EACH(e_shuffle8, _mm_shuffle_epi8)
EACH(e_enc, _mm_aesenc_si128)
EACH(e_enclast, _mm_aesenclast_si128)
EACH(e_lo32, _mm_unpacklo_epi32)
EACH(e_hi32, _mm_unpackhi_epi32)
EACH(e_lo64, _mm_unpacklo_epi64)
EACH(e_hi64, _mm_unpackhi_epi64)

EMULATED static inline e512 e_load(const void *p)
{
    e512 out;
    for (int i = 0; i < 4; i++) out.v[i] = _mm_loadu_si128((const __m128i *)p + i);
    return out;
}

EMULATED static inline void e_store(void *p, e512 x)
{
    for (int i = 0; i < 4; i++) _mm_storeu_si128((__m128i *)p + i, x.v[i]);
}

EMULATED static inline e512 e_broadcast(__m128i x) { return (e512){{x, x, x, x}}; }

EMULATED static inline e512 e_set64(long long h, long long g, long long f, long long e, long long d, long long c, long long b, long long a)
{
    return (e512){{_mm_set_epi64x(b, a), _mm_set_epi64x(d, c), _mm_set_epi64x(f, e), _mm_set_epi64x(h, g)}};
}

EMULATED static inline e512 e_set32(int x) { return e_broadcast(_mm_set1_epi32(x)); }

EMULATED static inline e512 e_rol(e512 x, int n)
{
    for (int i = 0; i < 4; i++) x.v[i] = _mm_or_si128(_mm_slli_epi32(x.v[i], n), _mm_srli_epi32(x.v[i], 32 - n));
    return x;
}

EMULATED static inline e512 e_lanes(e512 a, e512 b, int choice)
{
    return (e512){{a.v[choice & 3], a.v[(choice >> 2) & 3], b.v[(choice >> 4) & 3], b.v[(choice >> 6) & 3]}};
}

#define __m512i e512
#define _mm512_xor_si512 e_xor
#define _mm512_loadu_si512 e_load
#define _mm512_storeu_si512 e_store
#define _mm512_add_epi32 e_add32
#define _mm512_sub_epi32 e_sub32
#define _mm512_add_epi64 e_add64
#define _mm512_sub_epi64 e_sub64
#define _mm512_shuffle_epi8 e_shuffle8
#define _mm512_aesenc_epi128 e_enc
#define _mm512_aesenclast_epi128 e_enclast
#define _mm512_broadcast_i32x4 e_broadcast
#define _mm512_set_epi64 e_set64
#define _mm512_set1_epi32 e_set32
#define _mm512_rol_epi32 e_rol
#define _mm512_unpacklo_epi32 e_lo32
#define _mm512_unpackhi_epi32 e_hi32
#define _mm512_unpacklo_epi64 e_lo64
#define _mm512_unpackhi_epi64 e_hi64
#define _mm512_shuffle_i32x4 e_lanes

/* Registers are memory here: unrolling and inlining would only keep the compiler busy. */
#undef PC_UNROLL
#define PC_UNROLL
#undef PC_INLINE
#define PC_INLINE static

static pc_kernel_fn emulated_aes, emulated_chacha;
static pc_pair_fn emulated_aes_pair;

#define PC_W 512
#define PC_NAME emulated_aes
#define PC_TARGET EMULATED
#include "aes_x86.h"

#define PC_W 512
#define PC_NAME emulated_chacha
#define PC_TARGET EMULATED
#include "chacha_x86.h"

int main(void)
{
    if (!(pc_cpu_features() & PC_CPU_AESNI)) {
        printf("emulated AVX-512: skipped, no AES-NI\n");
        return 0;
    }
    const pc_level emulated = {
        .aes = {{emulated_aes, 512}, {pc_aes_aesni, 128}},
        .aes_pair = {emulated_aes_pair, 256},
        .chacha = {{emulated_chacha, 2048}, {pc_chacha_avx2, 512}},
        .aes_expand = pc_aes_expand_aesni,
    };
    const pc_level portable = {
        .aes = {{pc_aes_portable, 128}},
        .chacha = {{pc_chacha_portable, 256}},
        .aes_expand = pc_aes_expand_portable,
    };
    enum { N = 20000 };
    static uint8_t want[N], got[N];
    for (int cipher = 1; cipher <= 2; cipher++)
        for (int op = PC_STORE; op <= PC_OP_LAST; op++)
            for (int trial = 0; trial < 60; trial++) {
                uint8_t seed[48];
                pc_stream a, b;
                test_fill(seed, sizeof seed);
                /* counters that are about to carry over 2^32 and 2^64 */
                if (trial % 3 == 1) memset(cipher == 1 ? seed + 24 : seed + 33, 0xff, 7);
                if (trial % 3 == 2) memset(cipher == 1 ? seed + 28 : seed + 33, 0xff, 3);
                pc_stream_init(&a, cipher, seed, &portable);
                pc_stream_init(&b, cipher, seed, &emulated);
                CHECK(memcmp(&a.key, &b.key, cipher == 1 ? sizeof a.key.round_key : sizeof a.key.word) == 0);
                const uint64_t offset = 8 * (test_u64() % 500);
                const size_t n = 8 * (test_u64() % (N / 8));
                test_fill(want, N);
                memcpy(got, want, N);
                pc_stream_apply((enum pc_op)op, want, n, &a, offset, cipher, &portable);
                pc_stream_apply((enum pc_op)op, got, n, &b, offset, cipher, &emulated);
                CHECK(memcmp(want, got, N) == 0);
            }
    for (int trial = 0; trial < 180; trial++) { /* two streams at once */
        static const enum pc_op plus[3] = {PC_ADD32, PC_ADD64, PC_XOR64}, other[3] = {PC_SUB32, PC_SUB64, PC_XOR64};
        const uint8_t minus[2] = {test_u64() & 1, test_u64() & 1};
        const uint64_t offset = 8 * (test_u64() % 500);
        const size_t n = 8 * (test_u64() % (N / 8));
        pc_stream s[2];
        test_fill(want, N);
        memcpy(got, want, N);
        for (int i = 0; i < 2; i++) {
            uint8_t seed[48];
            test_fill(seed, sizeof seed);
            if (trial / 3 % 3 == i) memset(seed + 24, 0xff, 7);
            pc_stream_init(&s[i], PRIVCOMP_AES128_CTR, seed, &portable);
            pc_stream_apply(minus[i] ? other[trial % 3] : plus[trial % 3], want, n, &s[i], offset, PRIVCOMP_AES128_CTR, &portable);
        }
        pc_pair_apply(plus[trial % 3], got, got, n, s, minus, offset, &emulated);
        CHECK(memcmp(want, got, N) == 0);
    }
    printf("emulated AVX-512: ok\n");
    return 0;
}
#else
int main(void)
{
    printf("emulated AVX-512: skipped, not x86-64\n");
    return 0;
}
#endif
