/* The kernels of the encoding at each level: those of AVX2 differ from the portable ones in nothing but what the compiler may use, and one product. */
#include "encode.h"

#if PC_X86
#include <immintrin.h>
#endif

typedef double vf __attribute__((vector_size(32)));
typedef float vs __attribute__((vector_size(16)));
typedef uint64_t vu __attribute__((vector_size(32)));
typedef int64_t vi __attribute__((vector_size(32)));

#define SIGN UINT64_C(0x8000000000000000) /* check: 0x8000000000000000 == 2**63 */
#define ONES UINT64_MAX

#ifdef __clang__
#define SHUFFLE(v, a, b, c, d) __builtin_shufflevector(v, v, a, b, c, d)
#else
#define SHUFFLE(v, a, b, c, d) __builtin_shuffle(v, (vi){a, b, c, d})
#endif

#define ENCODE(name) name##_portable
#define KERNELS pc_encode_portable
#define TARGET
#define MUL32(a, b) ((a) * (b))
#include "encode_template.h"

#if PC_X86
#define ENCODE(name) name##_avx2
#define KERNELS pc_encode_avx2
#define TARGET __attribute__((target("avx2")))
#define MUL32(a, b) ((vu)_mm256_mul_epu32((__m256i)(a), (__m256i)(b)))
#include "encode_template.h"
#endif

const struct encode *pc_encode_at(int level)
{
#if PC_X86
    if (level >= PRIVCOMP_LEVEL_AESNI) return &pc_encode_avx2;
#endif
    (void)level;
    return &pc_encode_portable;
}
