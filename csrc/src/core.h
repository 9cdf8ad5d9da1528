/* Shared by the sources of the core; not installed, not visible to callers. */
#ifndef PRIVCOMP_CORE_H
#define PRIVCOMP_CORE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "privcomp.h"

/* Sanitizers would take minutes for arithmetic that is written out in every kernel. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PC_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(PC_ASAN)
#define PC_INLINE static inline
#else
#define PC_INLINE static inline __attribute__((always_inline))
#endif

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#define PC_MSAN 1
#endif
#endif

/* Full unrolling of short loops over register arrays, which must not become memory. */
#if !defined(__OPTIMIZE__) /* where gcc warns that it does not */
#define PC_UNROLL
#elif defined(__clang__)
#define PC_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PC_UNROLL _Pragma("GCC unroll 16")
#endif

/* Value ranges that the comments state. Checked in the PRIVCOMP_VERIFY build, never by callers' data. */
#ifdef PRIVCOMP_VERIFY
#include <stdio.h>
#include <stdlib.h>
#define VERIFY(cond) \
    do { \
        if (!(cond)) { \
            fprintf(stderr, "%s:%d: VERIFY(%s)\n", __FILE__, __LINE__, #cond); \
            abort(); \
        } \
    } while (0)
#else
#define VERIFY(cond) ((void)0)
#endif

/* In the constant-time run secrets are marked; what a contract calls public (whether a check failed) is unmarked here. */
#ifdef PRIVCOMP_CTIME
#include "secret.h"
#define PC_DECLASSIFY(x) ((void)PUBLIC(&(x), sizeof(x)))
#else
#define PC_DECLASSIFY(x) ((void)0)
#endif

#if defined(__x86_64__) && !defined(PRIVCOMP_PORTABLE_ONLY)
#define PC_X86 1
#else
#define PC_X86 0
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define PC_LE32(x) __builtin_bswap32(x)
#define PC_LE64(x) __builtin_bswap64(x)
#else
#define PC_LE32(x) (x)
#define PC_LE64(x) (x)
#endif

__extension__ typedef unsigned __int128 u128;

PC_INLINE uint32_t load32(const void *p) { uint32_t x; memcpy(&x, p, 4); return x; }
PC_INLINE uint64_t load64(const void *p) { uint64_t x; memcpy(&x, p, 8); return x; }
PC_INLINE void store32(void *p, uint32_t x) { memcpy(p, &x, 4); }
PC_INLINE void store64(void *p, uint64_t x) { memcpy(p, &x, 8); }
PC_INLINE uint32_t load32_le(const void *p) { return PC_LE32(load32(p)); }
PC_INLINE uint64_t load64_le(const void *p) { return PC_LE64(load64(p)); }
PC_INLINE void store32_le(void *p, uint32_t x) { store32(p, PC_LE32(x)); }
PC_INLINE void store64_le(void *p, uint64_t x) { store64(p, PC_LE64(x)); }

/* All ones if bit is 1, zero if it is 0. The barrier keeps the compiler from turning the mask back into a branch. */
PC_INLINE uint64_t mask64(uint64_t bit)
{
    uint64_t m = 0 - bit;
#ifndef PC_MSAN /* takes every input of inline assembly for a use that must not depend on secrets */
    __asm__("" : "+r"(m));
#endif
    return m;
}

/* ---- CPU (dispatch.c) ---- */

#define PC_CPU_AESNI 1u      /* AES-NI and AVX2 */
#define PC_CPU_VAES 2u       /* VAES on 256 bits */
#define PC_CPU_AVX512 4u     /* AVX-512 F, BW, DQ, VL */
#define PC_CPU_AVX512IFMA 8u /* AVX-512 IFMA */
#define PC_CPU_FMA 16u       /* AES-NI, AVX2 and FMA */

/* What this CPU and operating system can run. Does not follow privcomp_level_set. */
unsigned pc_cpu_features(void);

/* ---- keystream kernels ---- */

/* What happens to the destination. On words: dst is in native byte order, the stream is little endian. */
enum pc_op { PC_STORE, PC_ADD32, PC_SUB32, PC_ADD64, PC_SUB64, PC_XOR64 };
#define PC_OP_LAST PC_XOR64

/* A seed, expanded. AES: round keys in FIPS 197 byte order, the first counter is hi * 2^64 + lo. ChaCha: key words, hi is the nonce
 * and lo the first block number. */
typedef struct {
    union {
        uint8_t round_key[11][16];
        uint32_t word[8];
    } key;
    uint64_t hi, lo;
} pc_stream;

/* Combines chunks * bytes of dst with the blocks from counter (hi, lo) on. lo counts modulo 2^64 and carries nothing into hi. */
typedef void pc_kernel_fn(enum pc_op op, uint8_t *dst, size_t chunks, const pc_stream *s, uint64_t hi, uint64_t lo);

typedef struct {
    pc_kernel_fn *run;
    size_t bytes; /* per chunk: a multiple of the block, at most PC_CHUNK_MAX for the last kernel of a list */
} pc_kernel;

#define PC_CHUNK_MAX 512

/* dst = src op the blocks of both streams s[0], s[1] from block `block` on, which is added to their counters modulo 2^64; op is PC_ADD32, PC_ADD64 or
 * PC_XOR64, and stream i is subtracted where minus[i] says 1. src may be dst; else they do not overlap. */
typedef void pc_pair_fn(enum pc_op op, uint8_t *dst, const uint8_t *src, size_t chunks, const pc_stream *s, const uint8_t *minus, uint64_t block);

typedef struct {
    pc_pair_fn *run; /* NULL: there is none */
    size_t bytes;    /* per chunk: a multiple of the block */
} pc_pair;

/* A kernel of the samplers (sampler.h). */
struct pc_sampler;
typedef size_t pc_sampler_fn(int64_t *out, size_t count, uint64_t first, struct pc_sampler *s, const void *table);

/* One level: for each cipher its kernels from wide to narrow, ended by run == NULL; and the kernels of the samplers. */
typedef struct {
    pc_kernel aes[4], chacha[3];
    pc_pair aes_pair;
    void (*aes_expand)(pc_stream *s, const uint8_t key[16]);
    pc_sampler_fn *sample_exp, *sample_table;
} pc_level;

const pc_level *pc_level_table(void);

/* Expands a seed for any level. */
void pc_stream_init(pc_stream *s, int cipher, const uint8_t *seed, const pc_level *level);

/* dst op= bytes offset .. offset + n - 1 of the stream. For words: offset and n are multiples of the word. offset + n <= 2^62. */
void pc_stream_apply(enum pc_op op, uint8_t *dst, size_t n, const pc_stream *s, uint64_t offset, int cipher, const pc_level *level);

/* dst = src op both streams s[0] and s[1] of AES, likewise; `op` and `minus` as for pc_pair_fn. The level has a kernel for pairs. */
void pc_pair_apply(enum pc_op op, uint8_t *dst, const uint8_t *src, size_t n, const pc_stream *s, const uint8_t *minus, uint64_t offset,
                   const pc_level *level);

/* dst op= ks for n bytes. */
PC_INLINE void pc_combine(enum pc_op op, uint8_t *dst, const uint8_t *ks, size_t n)
{
    switch (op) {
    case PC_STORE:
        memcpy(dst, ks, n);
        break;
    case PC_ADD32:
        for (size_t i = 0; i + 4 <= n; i += 4) store32(dst + i, load32(dst + i) + load32_le(ks + i));
        break;
    case PC_SUB32:
        for (size_t i = 0; i + 4 <= n; i += 4) store32(dst + i, load32(dst + i) - load32_le(ks + i));
        break;
    case PC_ADD64:
        for (size_t i = 0; i + 8 <= n; i += 8) store64(dst + i, load64(dst + i) + load64_le(ks + i));
        break;
    case PC_SUB64:
        for (size_t i = 0; i + 8 <= n; i += 8) store64(dst + i, load64(dst + i) - load64_le(ks + i));
        break;
    case PC_XOR64:
        for (size_t i = 0; i + 8 <= n; i += 8) store64(dst + i, load64(dst + i) ^ load64_le(ks + i));
        break;
    }
}

/* Writes run(op, ...) once per op, so that each copy of an always-inline kernel knows its op. */
#define PC_FOR_EACH_OP(op, run, ...) \
    switch (op) { \
    case PC_STORE: run(PC_STORE, __VA_ARGS__); break; \
    case PC_ADD32: run(PC_ADD32, __VA_ARGS__); break; \
    case PC_SUB32: run(PC_SUB32, __VA_ARGS__); break; \
    case PC_ADD64: run(PC_ADD64, __VA_ARGS__); break; \
    case PC_SUB64: run(PC_SUB64, __VA_ARGS__); break; \
    case PC_XOR64: run(PC_XOR64, __VA_ARGS__); break; \
    }

pc_kernel_fn pc_aes_portable, pc_aes_portable_wide, pc_chacha_portable;
void pc_aes_expand_portable(pc_stream *s, const uint8_t key[16]);
#if PC_X86
pc_kernel_fn pc_aes_aesni, pc_aes_vaes, pc_aes_avx512, pc_chacha_avx2, pc_chacha_avx512;
pc_pair_fn pc_aes_aesni_pair, pc_aes_vaes_pair, pc_aes_avx512_pair;
void pc_aes_expand_aesni(pc_stream *s, const uint8_t key[16]);
#endif

pc_sampler_fn pc_sample_exp_portable, pc_sample_table_portable;
#if PC_X86
pc_sampler_fn pc_sample_exp_avx2, pc_sample_table_avx2;
#endif

/* Seeds whose round keys are kept on the stack at once (12 KiB), and the piece of accumulator that stays in L1 meanwhile. */
#define PC_SEED_GROUP 64
#define PC_TILE_BYTES 16384
#define PC_COPY_TILE_BYTES 4096 /* where it is copied first: short, so that the copy of one tile overlaps with the masks of the last one */

/* Whether [0, n) words of `word` bytes from word `offset` on end at most at stream byte 2^62. */
PC_INLINE int pc_range_ok(uint64_t offset, uint64_t n, unsigned word)
{
    const uint64_t limit = ((uint64_t)1 << 62) / word;
    return offset <= limit && n <= limit - offset;
}

/* seed bytes of a cipher, 0 if there is no such cipher. */
PC_INLINE size_t pc_seed_bytes(int cipher)
{
    return cipher == PRIVCOMP_AES128_CTR ? PRIVCOMP_AES128_SEED_BYTES
         : cipher == PRIVCOMP_CHACHA20   ? PRIVCOMP_CHACHA20_SEED_BYTES
                                         : 0;
}

#endif
