/* Constant time: accumulators, keys, values and states are marked secret; no branch and no address may depend on them.
 *
 * The functions on this list: privcomp_keystream_fill, privcomp_mask_add_u32/u64, privcomp_mask_xor_u64, privcomp_lanes_mask, privcomp_lanes_add,
 * privcomp_ring_axpy_u32/u64, privcomp_ring_center_u32/u64, privcomp_pack_u32/u64, privcomp_unpack_u32/u64, privcomp_unpack_add_u32/u64,
 * privcomp_drbg_fill. What the contract calls public is unmarked: first counters, and whether a check failed.
 */
#include "check.h"
#include "core.h"
#include "secret.h"

#ifdef PRIVCOMP_MSAN
#define EXPANDS_OPAQUELY 1
#else
#define EXPANDS_OPAQUELY 0
#endif

enum { N = 300, SEEDS = 3 };

static void keystreams(int cipher)
{
    static uint32_t acc32[N];
    static uint64_t acc64[N];
    static uint8_t seeds[SEEDS * 48], out[2500];
    const uint8_t negate[SEEDS] = {0, 1, 0};
    const size_t seed_bytes = pc_seed_bytes(cipher), key_bytes = cipher == PRIVCOMP_AES128_CTR ? 16 : 32;
    test_fill(seeds, sizeof seeds);
    SECRET(acc32, sizeof acc32);
    SECRET(acc64, sizeof acc64);
    for (int i = 0; i < SEEDS; i++) SECRET(seeds + (size_t)i * seed_bytes, key_bytes);
    CHECK(privcomp_keystream_fill(out, sizeof out, seeds, cipher, 3) == PRIVCOMP_OK);
    CHECK(privcomp_mask_add_u32(acc32, N, seeds, negate, SEEDS, cipher, 5) == PRIVCOMP_OK);
    CHECK(privcomp_mask_add_u64(acc64, N, seeds, negate, SEEDS, cipher, 5) == PRIVCOMP_OK);
    CHECK(privcomp_mask_xor_u64(acc64, N, seeds, SEEDS, cipher, 5) == PRIVCOMP_OK);
    PUBLIC(acc32, sizeof acc32);
    PUBLIC(acc64, sizeof acc64);
}

/* The kernels alone, with secret round keys: MSan does not know the instruction that expands them. */
static void kernels(int cipher)
{
    static uint8_t seed[48], acc[5000];
    const pc_level *level = pc_level_table();
    pc_stream s;
    pc_stream_init(&s, cipher, seed, level);
    SECRET(&s.key, sizeof s.key);
    SECRET(acc, sizeof acc);
    for (int op = PC_STORE; op <= PC_OP_LAST; op++) pc_stream_apply((enum pc_op)op, acc, 4800, &s, 8, cipher, level);
}

/* The check of the residues reveals that all are canonical and nothing else, which valgrind cannot know: the arithmetic is run with
 * secret keys on public residues, and with secret residues up to the check. */
static void lanes(int cipher)
{
    static uint8_t acc[40 * 32], other[40 * 32], seeds[SEEDS * 48], m[32];
    const uint8_t negate[SEEDS] = {0, 1, 0};
    const size_t seed_bytes = pc_seed_bytes(cipher), key_bytes = cipher == PRIVCOMP_AES128_CTR ? 16 : 32;
    test_fill(seeds, sizeof seeds);
    memset(m, 0xf1, sizeof m);
    for (int i = 0; i < SEEDS; i++) SECRET(seeds + (size_t)i * seed_bytes, key_bytes);
    CHECK(privcomp_lanes_mask(acc, 40, m, seeds, negate, SEEDS, cipher, 1) == PRIVCOMP_OK);
    PUBLIC(acc, sizeof acc);
    CHECK(privcomp_lanes_add(acc, other, 40, m) == PRIVCOMP_OK);
}

static void packing(void)
{
    static uint32_t v32[N], out32[N];
    static uint64_t v64[N], out64[N];
    static uint8_t packed[N * 8];
    static int64_t centered[N];
    SECRET(v32, sizeof v32);
    SECRET(v64, sizeof v64);
    for (unsigned width = 1; width <= 64; width++) {
        const size_t n = width % 2 ? N : N - 4; /* N - 4 fills its last byte: there is no padding to look at */
        const size_t length = (n * width + 7) / 8;
        if (width <= 32) {
            CHECK(privcomp_pack_u32(packed, length, v32, n, width) == PRIVCOMP_OK);
            PUBLIC(packed + length - 1, n * width % 8 ? 1 : 0); /* whether the padding is zero is public */
            CHECK(privcomp_unpack_u32(out32, n, packed, length, width) == PRIVCOMP_OK);
            CHECK(privcomp_unpack_add_u32(out32, n, packed, length, width) == PRIVCOMP_OK);
            CHECK(privcomp_ring_center_u32(centered, out32, n, width) == PRIVCOMP_OK);
        }
        CHECK(privcomp_pack_u64(packed, length, v64, n, width) == PRIVCOMP_OK);
        PUBLIC(packed + length - 1, n * width % 8 ? 1 : 0);
        CHECK(privcomp_unpack_u64(out64, n, packed, length, width) == PRIVCOMP_OK);
        CHECK(privcomp_unpack_add_u64(out64, n, packed, length, width) == PRIVCOMP_OK);
        CHECK(privcomp_ring_center_u64(centered, out64, n, width) == PRIVCOMP_OK);
    }
    privcomp_ring_axpy_u32(v32, out32, N, 7);
    privcomp_ring_axpy_u64(v64, out64, N, 7);
}

static void generator(void)
{
    static uint8_t seed[32], out[1000];
    privcomp_drbg s;
    SECRET(seed, sizeof seed);
    privcomp_drbg_init_fixed(&s, seed);
    CHECK(privcomp_drbg_fill(&s, out, sizeof out) == PRIVCOMP_OK);
    CHECK(privcomp_drbg_fill(&s, out, 3) == PRIVCOMP_OK);
}

int main(void)
{
    for (int level = 0; level <= privcomp_level_max(); level++) {
        CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
        for (int cipher = PRIVCOMP_AES128_CTR; cipher <= PRIVCOMP_CHACHA20; cipher++) {
            kernels(cipher);
            if (!EXPANDS_OPAQUELY || level == PRIVCOMP_LEVEL_PORTABLE || cipher == PRIVCOMP_CHACHA20) {
                keystreams(cipher);
                lanes(cipher);
            }
        }
        generator();
    }
    packing();
    printf("constant time, core: ok, levels 0..%d\n", privcomp_level_max());
    return 0;
}
