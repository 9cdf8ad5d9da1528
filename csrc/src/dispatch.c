/* Which kernels run: decided here and nowhere else. */
#include "core.h"

#if PC_X86
#include <cpuid.h>

static uint64_t xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return ((uint64_t)hi << 32) | lo;
}

unsigned pc_cpu_features(void)
{
    unsigned a, b, c, d, b7, c7, found = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    const int osxsave = (c >> 27) & 1, ssse3 = (c >> 9) & 1, sse41 = (c >> 19) & 1, aes = (c >> 25) & 1, avx = (c >> 28) & 1;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d)) return 0;
    if ((b7 >> 8) & (b7 >> 19) & 1) found |= PC_CPU_BMI2;
    /* The CPU may have a register file that the operating system does not save: XCR0 says (Intel SDM vol. 1, 14.3 and 15.2). */
    if (!osxsave || !avx || (xcr0() & 0x6) != 0x6) return found; /* check: 0x6 == 2**1 | 2**2 */
    if (!(ssse3 && sse41 && aes && ((b7 >> 5) & 1))) return found;
    found |= PC_CPU_AESNI;
    if ((c7 >> 9) & 1) found |= PC_CPU_VAES;
    if ((xcr0() & 0xe0) != 0xe0) return found; /* check: 0xe0 == 2**5 | 2**6 | 2**7 */
    if ((b7 >> 16) & (b7 >> 17) & (b7 >> 30) & (b7 >> 31) & 1) {
        found |= PC_CPU_AVX512;
        if ((b7 >> 21) & 1) found |= PC_CPU_AVX512IFMA;
    }
    return found;
}
#else
unsigned pc_cpu_features(void) { return 0; }
#endif

static const pc_level levels[] = {
    [PRIVCOMP_LEVEL_PORTABLE] = {
        .aes = {{pc_aes_portable, 128}},
        .chacha = {{pc_chacha_portable, 256}},
        .aes_expand = pc_aes_expand_portable,
    },
#if PC_X86
    [PRIVCOMP_LEVEL_AESNI] = {
        .aes = {{pc_aes_aesni, 128}},
        .chacha = {{pc_chacha_avx2, 512}},
        .aes_expand = pc_aes_expand_aesni,
    },
    [PRIVCOMP_LEVEL_VAES] = {
        .aes = {{pc_aes_vaes, 256}, {pc_aes_aesni, 128}},
        .chacha = {{pc_chacha_avx2, 512}},
        .aes_expand = pc_aes_expand_aesni,
    },
    [PRIVCOMP_LEVEL_AVX512] = {
        .aes = {{pc_aes_avx512, 512}, {pc_aes_aesni, 128}},
        .chacha = {{pc_chacha_avx512, 2048}, {pc_chacha_avx2, 512}},
        .aes_expand = pc_aes_expand_aesni,
    },
#endif
};

int privcomp_level_max(void)
{
    const unsigned cpu = pc_cpu_features();
    if (!(cpu & PC_CPU_AESNI)) return PRIVCOMP_LEVEL_PORTABLE;
    if (!(cpu & PC_CPU_VAES)) return PRIVCOMP_LEVEL_AESNI;
    if (!(cpu & PC_CPU_AVX512)) return PRIVCOMP_LEVEL_VAES;
    return PRIVCOMP_LEVEL_AVX512;
}

/* -1: not chosen yet. Any thread may choose; all of them choose the same. */
static int level_in_use = -1;

int privcomp_level_get(void)
{
    int level = __atomic_load_n(&level_in_use, __ATOMIC_RELAXED);
    if (level < 0) {
        int unset = -1;
        level = privcomp_level_max();
        /* A level that another thread has set in the meantime stays. */
        if (!__atomic_compare_exchange_n(&level_in_use, &unset, level, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) level = unset;
    }
    return level;
}

int privcomp_level_set(int level)
{
    if (level < 0 || level > privcomp_level_max()) return PRIVCOMP_E_ARGUMENT;
    __atomic_store_n(&level_in_use, level, __ATOMIC_RELAXED);
    return PRIVCOMP_OK;
}

const pc_level *pc_level_table(void)
{
    const int level = privcomp_level_get();
    VERIFY(level >= 0 && (size_t)level < sizeof levels / sizeof *levels);
    return &levels[level];
}
