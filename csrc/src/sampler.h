/* Rejection samplers: what they share. A sampler is a kernel that turns candidates into accepted values; the rest is here.
 *
 * Randomness of a call. Two streams of one cipher, from two independent seeds of the caller:
 *   candidate i        the words A_i, B_i: bytes 16 i .. 16 i + 15 of stream 1, little endian
 *   its extension      word k: bytes 256 i + 8 k .. 256 i + 8 k + 7 of stream 2, k < 32
 * The output is the accepted values in the order of their candidates. Whether a candidate is accepted, and its value, is a function of
 * its own words and nothing else: every kernel, tile and level gives the same output.
 *
 * A candidate that asks for more than 32 extension words has no answer. The call then refuses, and wipes what it wrote. It takes 2048
 * further bits that leave a comparison open, which for every sampler here has probability < 2^-1900.
 */
#ifndef PRIVCOMP_SAMPLER_H
#define PRIVCOMP_SAMPLER_H

#include "core.h"

#define SAMPLER_TILE 512      /* candidates at a time: their words and values stay in L1 */
#define SAMPLER_SLACK 8       /* values that a kernel may write past the accepted ones */
#define SAMPLER_EXTENSION 32 /* words; check: 256 == 8 * 32 */

typedef struct pc_sampler {
    pc_stream first, second;
    int cipher, exhausted;
    const pc_level *level;
    uint64_t words[2 * SAMPLER_TILE]; /* as in the stream: little endian */
    int64_t values[SAMPLER_TILE + SAMPLER_SLACK];
} pc_sampler;

/* A pc_sampler_fn (core.h): out = the accepted values of candidates first .. first + count - 1, whose words A, B are s->words[2 i],
 * s->words[2 i + 1]; returns how many there are. count is a multiple of 8, at most SAMPLER_TILE; out has room for
 * count + SAMPLER_SLACK values. */

/* 64 n + 2^16 candidates, each with 256 bytes of stream 2, end below byte 2^62. */
#define SAMPLER_MAX_N ((uint64_t)1 << 40) /* check: 256 * (64 * 2**40 + 2**16 + 512) < 2**62 */

/* n samples: stored to int64_t (PC_STORE), added to uint32_t (PC_ADD32) or to uint64_t (PC_ADD64), modulo 2^32 or 2^64.
 * seeds: 2 SEED_BYTES of the cipher. PRIVCOMP_E_ARGUMENT: no such cipher, n > SAMPLER_MAX_N; nothing is written.
 * PRIVCOMP_E_ENTROPY: extension words ran out, or 64 n + 2^16 candidates gave no n values, which no true table brings about with
 * probability > 2^-1024; what was stored is wiped, what was added to is unspecified. */
int pc_sampler_run(enum pc_op op, void *dst, size_t n, pc_sampler_fn *kernel, const void *table, const uint8_t *seeds, int cipher);

/* Extension word k of a candidate. If there is none: 0, and the call will refuse. */
uint64_t pc_sampler_extension(pc_sampler *s, uint64_t candidate, unsigned k);

#endif
