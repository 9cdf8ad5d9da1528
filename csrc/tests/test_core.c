/* Unit tests of keystreams, lanes, packing, ring vectors and the generator. Every level is compared with a plain reading of the contract. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "core.h"

/* ---- AES: the S-box from its definition (FIPS 197, 5.1.1), the cipher from its published example ---- */

static uint8_t gf_mul(uint8_t a, uint8_t b)
{
    uint8_t out = 0;
    for (; b; b >>= 1, a = (uint8_t)((a << 1) ^ (a >> 7 ? 0x1b : 0)))
        if (b & 1) out ^= a;
    return out;
}

static uint8_t sbox(uint8_t a)
{
    uint8_t inverse = 0;
    for (int b = 1; b < 256; b++)
        if (gf_mul(a, (uint8_t)b) == 1) inverse = (uint8_t)b;
    uint8_t out = 0x63;
    for (int i = 0; i < 5; i++) out ^= (uint8_t)((inverse << i) | (inverse >> (8 - i)));
    return out;
}

static void aes_reference(uint8_t state[16], const uint8_t key[16], const uint8_t table[256])
{
    uint8_t k[16], t[16], rcon = 1;
    memcpy(k, key, 16);
    for (int r = 0;; r++) {
        for (int i = 0; i < 16; i++) state[i] ^= k[i];
        if (r == 10) return;
        for (int i = 0; i < 4; i++) k[i] ^= table[k[12 + (i + 1) % 4]];
        k[0] ^= rcon;
        rcon = gf_mul(rcon, 2);
        for (int i = 4; i < 16; i++) k[i] ^= k[i - 4];
        for (int i = 0; i < 16; i++) t[i] = table[state[(i + 4 * (i % 4)) % 16]];
        for (int i = 0; i < 16; i++) {
            const int c = i & ~3;
            state[i] = r == 9 ? t[i]
                              : gf_mul(t[i], 2) ^ gf_mul(t[c + (i + 1) % 4], 3) ^ t[c + (i + 2) % 4] ^ t[c + (i + 3) % 4];
        }
    }
}

static uint32_t rotate(uint32_t x, int n) { return (x << n) | (x >> (32 - n)); }

static void chacha_reference(uint8_t out[64], const uint8_t *seed, uint64_t block)
{
    static const uint8_t ring[8][4] = {{0, 4, 8, 12}, {1, 5, 9, 13}, {2, 6, 10, 14}, {3, 7, 11, 15},
                                       {0, 5, 10, 15}, {1, 6, 11, 12}, {2, 7, 8, 13}, {3, 4, 9, 14}};
    uint32_t in[16], x[16];
    for (int i = 0; i < 4; i++) in[i] = load32_le(&"expand 32-byte k"[4 * i]);
    for (int i = 0; i < 8; i++) in[4 + i] = load32_le(seed + 4 * i);
    const uint64_t count = load64_le(seed + 32) + block;
    in[12] = (uint32_t)count;
    in[13] = (uint32_t)(count >> 32);
    in[14] = load32_le(seed + 40);
    in[15] = load32_le(seed + 44);
    memcpy(x, in, sizeof x);
    for (int r = 0; r < 80; r++) {
        uint32_t *a = &x[ring[r % 8][0]], *b = &x[ring[r % 8][1]], *c = &x[ring[r % 8][2]], *d = &x[ring[r % 8][3]];
        *a += *b, *d = rotate(*d ^ *a, 16), *c += *d, *b = rotate(*b ^ *c, 12);
        *a += *b, *d = rotate(*d ^ *a, 8), *c += *d, *b = rotate(*b ^ *c, 7);
    }
    for (int i = 0; i < 16; i++) store32_le(out + 4 * i, x[i] + in[i]);
}

static uint8_t table[256];

/* `length` bytes of the stream, from `block` on. */
static void stream_reference(uint8_t *out, size_t length, const uint8_t *seed, int cipher, uint64_t block)
{
    uint8_t b[64];
    for (size_t i = 0; i < length; block++) {
        size_t n = 64;
        if (cipher == PRIVCOMP_CHACHA20) {
            chacha_reference(b, seed, block);
        } else {
            uint64_t carry = block;
            n = 16;
            for (int j = 15; j >= 0; j--, carry >>= 8) { /* big-endian counter, modulo 2^128 */
                carry += seed[16 + j];
                b[j] = (uint8_t)carry;
            }
            aes_reference(b, seed, table);
        }
        for (size_t j = 0; j < n && i < length; j++) out[i++] = b[j];
    }
}

static void test_keystream(void)
{
    static const uint8_t fips_key[16] = {0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c};
    static const uint8_t fips_out[16] = {0x39, 0x25, 0x84, 0x1d, 0x02, 0xdc, 0x09, 0xfb, 0xdc, 0x11, 0x85, 0x97, 0x19, 0x6a, 0x0b, 0x32};
    uint8_t fips[16] = {0x32, 0x43, 0xf6, 0xa8, 0x88, 0x5a, 0x30, 0x8d, 0x31, 0x31, 0x98, 0xa2, 0xe0, 0x37, 0x07, 0x34};
    for (int i = 0; i < 256; i++) table[i] = sbox((uint8_t)i);
    aes_reference(fips, fips_key, table);
    CHECK(memcmp(fips, fips_out, 16) == 0); /* FIPS 197, appendix B */

    enum { LENGTH = 6000 };
    static uint8_t want[LENGTH + 64], got[LENGTH];
    for (int cipher = 1; cipher <= 2; cipher++)
        for (int wrap = 0; wrap < 6; wrap++) {
            uint8_t seed[48];
            test_fill(seed, sizeof seed);
            /* counters that carry within the first blocks: over 2^32, 2^64, 2^128 */
            const int from = cipher == PRIVCOMP_AES128_CTR ? 16 : 32;
            for (int i = 0; i < wrap * 4 && i < (cipher == PRIVCOMP_AES128_CTR ? 16 : 8); i++)
                seed[cipher == PRIVCOMP_AES128_CTR ? from + 15 - i : from + i] = i == 0 ? 0xd7 : 0xff;
            stream_reference(want, sizeof want, seed, cipher, 0);
            for (int level = 0; level <= privcomp_level_max(); level++) {
                CHECK(privcomp_level_set(level) == PRIVCOMP_OK && privcomp_level_get() == level);
                for (int trial = 0; trial < 150; trial++) {
                    const size_t offset = test_u64() % 1500, length = trial < 20 ? (size_t)trial : test_u64() % (LENGTH - offset);
                    memset(got, 0xaa, sizeof got);
                    CHECK(privcomp_keystream_fill(got, length, seed, cipher, offset) == PRIVCOMP_OK);
                    CHECK(memcmp(got, want + offset, length) == 0);
                    for (size_t i = length; i < LENGTH; i++) CHECK(got[i] == 0xaa);
                }
            }
        }

    uint8_t seed[48];
    test_fill(seed, sizeof seed);
    const uint64_t far = ((uint64_t)1 << 62) - 64;
    for (int level = 0; level <= privcomp_level_max(); level++)
        for (int cipher = 1; cipher <= 2; cipher++) {
            privcomp_level_set(level);
            stream_reference(want, 64, seed, cipher, far / (cipher == 1 ? 16 : 64));
            CHECK(privcomp_keystream_fill(got, 64, seed, cipher, far) == PRIVCOMP_OK && memcmp(got, want, 64) == 0);
            CHECK(privcomp_keystream_fill(got, 65, seed, cipher, far) == PRIVCOMP_E_ARGUMENT);
        }
    CHECK(privcomp_keystream_fill(got, 1, seed, 3, 0) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_level_set(privcomp_level_max() + 1) == PRIVCOMP_E_ARGUMENT && privcomp_level_set(-1) == PRIVCOMP_E_ARGUMENT);
}

static void test_mask_add(void)
{
    enum { N = 9000, SEEDS = 70 };
    static uint8_t seeds[SEEDS * 48], negate[SEEDS], stream[N * 8];
    static uint32_t start32[N], got32[N], want32[N];
    static uint64_t start64[N], got64[N], want64[N], xored[N];
    test_fill(seeds, sizeof seeds);
    for (int i = 0; i < SEEDS; i++) negate[i] = test_u64() & 1;
    for (int cipher = 1; cipher <= 2; cipher++)
        for (int trial = 0; trial < 6; trial++) {
            const size_t n = trial == 0 ? N : test_u64() % N, count = trial % 2 ? SEEDS : 3, seed_bytes = cipher == 1 ? 32 : 48;
            const uint64_t offset = 8 * (test_u64() % 100) + (uint64_t)trial;
            test_fill(start32, sizeof start32);
            test_fill(start64, sizeof start64);
            memcpy(want32, start32, sizeof want32);
            memcpy(want64, start64, sizeof want64);
            memcpy(xored, start64, sizeof xored);
            privcomp_level_set(0);
            for (size_t i = 0; i < count; i++) {
                CHECK(privcomp_keystream_fill(stream, 4 * n, seeds + i * seed_bytes, cipher, 4 * offset) == PRIVCOMP_OK);
                for (size_t j = 0; j < n; j++) want32[j] += (negate[i] ? -1u : 1u) * load32_le(stream + 4 * j);
                CHECK(privcomp_keystream_fill(stream, 8 * n, seeds + i * seed_bytes, cipher, 8 * offset) == PRIVCOMP_OK);
                for (size_t j = 0; j < n; j++) want64[j] += (negate[i] ? UINT64_MAX : 1) * load64_le(stream + 8 * j), xored[j] ^= load64_le(stream + 8 * j);
            }
            for (int level = 0; level <= privcomp_level_max(); level++) {
                privcomp_level_set(level);
                memcpy(got32, start32, sizeof got32);
                memcpy(got64, start64, sizeof got64);
                CHECK(privcomp_mask_add_u32(got32, n, seeds, negate, count, cipher, offset) == PRIVCOMP_OK);
                CHECK(privcomp_mask_add_u64(got64, n, seeds, negate, count, cipher, offset) == PRIVCOMP_OK);
                CHECK(memcmp(got32, want32, sizeof want32) == 0 && memcmp(got64, want64, sizeof want64) == 0);
                memcpy(got64, start64, sizeof got64);
                CHECK(privcomp_mask_xor_u64(got64, n, seeds, count, cipher, offset) == PRIVCOMP_OK && memcmp(got64, xored, sizeof xored) == 0);
            }
        }
    CHECK(privcomp_mask_xor_u64(got64, 1, seeds, 1, 3, 0) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_mask_xor_u64(got64, 2, seeds, 1, 1, ((uint64_t)1 << 59) - 1) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_mask_add_u32(got32, 1, seeds, negate, 1, 0, 0) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_mask_add_u64(got64, 1, seeds, negate, 1, 1, (uint64_t)1 << 59) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_mask_add_u32(got32, 1, seeds, negate, SIZE_MAX, 1, 0) == PRIVCOMP_E_ARGUMENT);
}

/* Two streams at once against one after the other: in place and apart, every sign, any offset, counters that carry at any place. */
static void test_pairs(void)
{
    enum { BYTES = 2000, TRIALS = 300 };
    static uint8_t start[BYTES], want[BYTES], got[BYTES + 8];
    for (int level = 0; level <= privcomp_level_max(); level++) {
        privcomp_level_set(level);
        const pc_level *const used = pc_level_table();
        if (used->aes_pair.run == NULL) continue;
        for (int trial = 0; trial < TRIALS; trial++) {
            static const enum pc_op ops[3] = {PC_ADD32, PC_ADD64, PC_XOR64};
            const enum pc_op op = ops[trial % 3];
            const uint8_t minus[2] = {test_u64() & 1, test_u64() & 1};
            const size_t n = 8 * (test_u64() % (BYTES / 8 + 1));
            const uint64_t offset = 8 * (test_u64() % 60);
            const int apart = trial / 3 % 2;
            pc_stream s[2];
            for (int i = 0; i < 2; i++) {
                uint8_t seed[32];
                test_fill(seed, sizeof seed);
                pc_stream_init(&s[i], PRIVCOMP_AES128_CTR, seed, used);
                if (test_u64() % 2) s[i].lo = 0 - test_u64() % 160; /* 0 among them */
            }
            test_fill(start, sizeof start);
            test_fill(got, sizeof got);
            const uint64_t guard = load64(got + n);
            memcpy(want, start, sizeof want);
            if (!apart) memcpy(got, start, n);
            pc_pair_apply(op, got, apart ? start : got, n, s, minus, offset, used);
            privcomp_level_set(0);
            for (int i = 0; i < 2; i++) {
                const enum pc_op one = op == PC_XOR64 || !minus[i] ? op : op == PC_ADD32 ? PC_SUB32 : PC_SUB64;
                pc_stream_apply(one, want, n, &s[i], offset, PRIVCOMP_AES128_CTR, pc_level_table());
            }
            privcomp_level_set(level);
            CHECK(memcmp(got, want, n) == 0 && load64(got + n) == guard);
        }
    }
}

/* ---- lanes: bit by bit ---- */

/* x = 2 x + bit mod m for x < m; little-endian bytes */
static void double_mod(uint8_t x[33], unsigned bit, const uint8_t m[32])
{
    for (int i = 0; i < 33; i++) {
        const unsigned t = 2u * x[i] + bit;
        x[i] = (uint8_t)t;
        bit = t >> 8;
    }
    int less = 0;
    for (int i = 0; i < 33; i++) {
        const int mi = i < 32 ? m[i] : 0;
        less = x[i] < mi || (x[i] == mi && less);
    }
    for (int i = 0, borrow = 0; i < 33 && !less; i++) {
        const int t = x[i] - (i < 32 ? m[i] : 0) - borrow;
        x[i] = (uint8_t)t;
        borrow = t < 0;
    }
}

static void test_lanes(void)
{
    enum { N = 37, SEEDS = 67 };
    static uint8_t acc[N * 32], got[N * 32], back[N * 32], seeds[SEEDS * 48], negate[SEEDS], stream[64], single[N * 32];
    for (int trial = 0; trial < 8; trial++) {
        uint8_t m[32];
        test_fill(m, 32);
        m[0] |= 1;
        if (trial == 1) memset(m, 0xff, 32);
        if (trial == 2) memset(m + 4, 0, 28), memcpy(m, "\x01\0\0\x80", 4); /* 2^31 + 1 */
        if (trial == 3) memset(m + 9, 0, 23);
        if (trial == 4) memset(m, 0, 32), m[0] = 1, m[31] = 0x80;
        const int cipher = 1 + trial % 2;
        test_fill(seeds, sizeof seeds);
        memset(negate, 0, sizeof negate);
        memset(acc, 0, sizeof acc);
        CHECK(privcomp_lanes_mask(acc, N, m, seeds, negate, 1, cipher, 5) == PRIVCOMP_OK);
        for (int a = 0; a < N; a++) {
            uint8_t x[33] = {0};
            CHECK(privcomp_keystream_fill(stream, 64, seeds, cipher, 64 * (uint64_t)(5 + a)) == PRIVCOMP_OK);
            for (int b = 511; b >= 0; b--) double_mod(x, (stream[b / 8] >> (b % 8)) & 1, m);
            CHECK(memcmp(x, acc + 32 * a, 32) == 0);
        }
        /* many seeds are the sum of each alone; the opposite signs take them away again */
        for (int i = 0; i < SEEDS; i++) negate[i] = test_u64() & 1 ? 255 : 0;
        memcpy(got, acc, sizeof acc);
        CHECK(privcomp_lanes_mask(got, N, m, seeds, negate, SEEDS, cipher, 9) == PRIVCOMP_OK);
        memcpy(single, acc, sizeof acc);
        const size_t seed_bytes = cipher == 1 ? 32 : 48;
        for (int i = 0; i < SEEDS; i++)
            CHECK(privcomp_lanes_mask(single, N, m, seeds + (size_t)i * seed_bytes, negate + i, 1, cipher, 9) == PRIVCOMP_OK);
        CHECK(memcmp(got, single, sizeof got) == 0);
        memcpy(back, got, sizeof got);
        for (int i = 0; i < SEEDS; i++) negate[i] = !negate[i];
        CHECK(privcomp_lanes_mask(back, N, m, seeds, negate, SEEDS, cipher, 9) == PRIVCOMP_OK);
        CHECK(memcmp(back, acc, sizeof acc) == 0);
        /* addition: x + 0 = x, and x + (m - x) = 0 */
        memset(single, 0, sizeof single);
        CHECK(privcomp_lanes_add(back, single, N, m) == PRIVCOMP_OK && memcmp(back, acc, sizeof acc) == 0);
        for (int a = 0; a < N; a++)
            for (int i = 0, borrow = 0; i < 32; i++) {
                const int t = m[i] - acc[32 * a + i] - borrow;
                single[32 * a + i] = (uint8_t)t;
                borrow = t < 0;
            }
        CHECK(privcomp_lanes_add(back, single, N, m) == PRIVCOMP_OK);
        for (int i = 0; i < N * 32; i++) CHECK(back[i] == 0);
        /* refusals write nothing */
        memcpy(single + 32 * 20, m, 32);
        memcpy(back, acc, sizeof acc);
        CHECK(privcomp_lanes_add(back, single, N, m) == PRIVCOMP_E_CANONICAL && memcmp(back, acc, sizeof acc) == 0);
        memcpy(back, single, sizeof back);
        CHECK(privcomp_lanes_mask(back, N, m, seeds, negate, SEEDS, cipher, 9) == PRIVCOMP_E_CANONICAL);
        CHECK(memcmp(back, single, sizeof back) == 0);
        CHECK(privcomp_lanes_mask(acc, N, m, seeds, negate, SEEDS, cipher, (uint64_t)1 << 56) == PRIVCOMP_E_ARGUMENT);
        m[0] ^= 1;
        CHECK(privcomp_lanes_add(back, acc, N, m) == PRIVCOMP_E_ARGUMENT);
        memset(m, 0, 32), memset(m, 0xff, 3);
        CHECK(privcomp_lanes_mask(acc, 0, m, seeds, negate, 0, cipher, 0) == PRIVCOMP_E_ARGUMENT);
    }
}

/* ---- packing: bit by bit, every width, every small n ---- */

static void test_pack(void)
{
    enum { N = 200 };
    static uint64_t v64[N], out64[N], sum64[N];
    static uint32_t v32[N], out32[N], sum32[N];
    for (unsigned width = 1; width <= 64; width++)
        for (size_t n = 0; n <= N; n += n < 40 ? 1 : 23) {
            const size_t length = (n * width + 7) / 8;
            /* exactly as long as allowed, so that sanitizers see a byte too many */
            uint8_t *want = calloc(length + 1, 1), *got = malloc(length ? length : 1);
            CHECK(privcomp_pack_length(n, width) == (int64_t)length);
            test_fill(v64, sizeof v64);
            for (size_t b = 0; b < n * width; b++) want[b / 8] |= (uint8_t)(((v64[b / width] >> (b % width)) & 1) << (b % 8));
            CHECK(privcomp_pack_u64(got, length, v64, n, width) == PRIVCOMP_OK && memcmp(got, want, length) == 0);
            CHECK(privcomp_unpack_u64(out64, n, got, length, width) == PRIVCOMP_OK);
            memcpy(sum64, v64, sizeof v64);
            CHECK(privcomp_unpack_add_u64(sum64, n, got, length, width) == PRIVCOMP_OK);
            for (size_t i = 0; i < n; i++) {
                const uint64_t low = v64[i] & (UINT64_MAX >> (64 - width));
                CHECK(out64[i] == low && sum64[i] == v64[i] + low);
            }
            CHECK(privcomp_pack_u64(got, length + 1, v64, n, width) == PRIVCOMP_E_LENGTH);
            CHECK(privcomp_unpack_u64(out64, n + 8, got, length, width) == PRIVCOMP_E_LENGTH);
            if (width <= 32) {
                for (size_t i = 0; i < n; i++) sum32[i] = v32[i] = (uint32_t)v64[i];
                memset(got, 0xff, length);
                CHECK(privcomp_pack_u32(got, length, v32, n, width) == PRIVCOMP_OK && memcmp(got, want, length) == 0);
                CHECK(privcomp_unpack_u32(out32, n, got, length, width) == PRIVCOMP_OK);
                CHECK(privcomp_unpack_add_u32(sum32, n, got, length, width) == PRIVCOMP_OK);
                for (size_t i = 0; i < n; i++) CHECK(out32[i] == out64[i] && sum32[i] == v32[i] + out32[i]);
            } else {
                CHECK(privcomp_pack_u32(got, length, v32, n, width) == PRIVCOMP_E_ARGUMENT);
                CHECK(privcomp_unpack_u32(out32, n, got, length, width) == PRIVCOMP_E_ARGUMENT);
            }
            if (n * width % 8 != 0) { /* each padding bit alone is refused, before the first write */
                for (unsigned bit = n * width % 8; bit < 8; bit++) {
                    got[length - 1] ^= (uint8_t)(1u << bit);
                    memcpy(sum64, v64, sizeof v64);
                    CHECK(privcomp_unpack_add_u64(sum64, n, got, length, width) == PRIVCOMP_E_CANONICAL);
                    CHECK(memcmp(sum64, v64, sizeof v64) == 0);
                    got[length - 1] ^= (uint8_t)(1u << bit);
                }
            }
            free(want);
            free(got);
        }
    CHECK(privcomp_pack_length(1, 0) == -1 && privcomp_pack_length(1, 65) == -1);
    CHECK(privcomp_pack_length(((uint64_t)1 << 48) + 1, 1) == -1 && privcomp_pack_length((uint64_t)1 << 48, 64) == (int64_t)1 << 51);
}

static void test_ring(void)
{
    for (unsigned bits = 1; bits <= 64; bits++)
        for (int trial = 0; trial < 50; trial++) {
            uint64_t v = test_u64();
            int64_t got;
            if (trial < 4) v = ((uint64_t)1 << (bits - 1)) + (uint64_t)trial - 2;
            uint64_t want = v & (UINT64_MAX >> (64 - bits));
            if ((want >> (bits - 1)) & 1) want |= ~(UINT64_MAX >> (64 - bits));
            CHECK(privcomp_ring_center_u64(&got, &v, 1, bits) == PRIVCOMP_OK && (uint64_t)got == want);
            const uint32_t low = (uint32_t)v;
            if (bits <= 32) CHECK(privcomp_ring_center_u32(&got, &low, 1, bits) == PRIVCOMP_OK && (uint64_t)got == want);
            else CHECK(privcomp_ring_center_u32(&got, &low, 1, bits) == PRIVCOMP_E_ARGUMENT);
        }
    int64_t got;
    uint64_t v = 0, a64[3] = {1, 2, UINT64_MAX};
    uint32_t a32[3] = {1, 2, UINT32_MAX};
    CHECK(privcomp_ring_center_u64(&got, &v, 1, 0) == PRIVCOMP_E_ARGUMENT && privcomp_ring_center_u64(&got, &v, 1, 65) == PRIVCOMP_E_ARGUMENT);
    privcomp_ring_axpy_u32(a32, a32, 3, UINT32_MAX);
    privcomp_ring_axpy_u64(a64, a64, 3, 6);
    CHECK(a32[0] == 0 && a32[1] == 0 && a32[2] == 0 && a64[0] == 7 && a64[1] == 14 && a64[2] == (uint64_t)-7);
}

/* Emulators may accept the advice and ignore it. */
static int page_is_wiped_on_fork(void)
{
#ifdef MADV_WIPEONFORK
    const size_t size = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    p[0] = 1;
    int status = 1;
    if (madvise(p, size, MADV_WIPEONFORK) == 0) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) _exit(p[0]);
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
        status = WEXITSTATUS(status);
    }
    munmap(p, size);
    return status == 0;
#else
    return 0;
#endif
}

static void test_drbg(void)
{
    static uint8_t a[5000], b[5000];
    privcomp_drbg s, t;
    uint8_t seed[32];
    test_fill(seed, sizeof seed);
    for (int level = 0; level <= privcomp_level_max(); level++) {
        privcomp_level_set(level);
        privcomp_drbg_init_fixed(&s, seed);
        CHECK(privcomp_drbg_fill(&s, level ? b : a, sizeof a) == PRIVCOMP_OK && memcmp(s.key, seed, 32) != 0);
        if (level) CHECK(memcmp(a, b, sizeof a) == 0);
    }
    /* by the contract: next key, rest of that block unused, then the output */
    uint8_t wide[48] = {0}, stream[64 + 5000];
    memcpy(wide, seed, 32);
    CHECK(privcomp_keystream_fill(stream, sizeof stream, wide, PRIVCOMP_CHACHA20, 0) == PRIVCOMP_OK);
    CHECK(memcmp(stream, s.key, 32) == 0 && memcmp(stream + 64, a, sizeof a) == 0);
    CHECK(privcomp_drbg_fill(&s, a, ((size_t)1 << 40) + 1) == PRIVCOMP_E_ARGUMENT);

    CHECK(privcomp_drbg_init(&s) == PRIVCOMP_OK && privcomp_drbg_init(&t) == PRIVCOMP_OK);
    CHECK(privcomp_drbg_fill(&s, a, 64) == PRIVCOMP_OK && privcomp_drbg_fill(&t, b, 64) == PRIVCOMP_OK && memcmp(a, b, 64) != 0);

    /* reseeding after so many calls: without it, t would follow s */
    s.calls = PRIVCOMP_DRBG_RESEED_CALLS - 1;
    t = s;
    t.fixed = 1;
    for (int i = 0; i < 2; i++) {
        CHECK(privcomp_drbg_fill(&s, a, 32) == PRIVCOMP_OK && privcomp_drbg_fill(&t, b, 32) == PRIVCOMP_OK);
        CHECK((memcmp(a, b, 32) == 0) == (i == 0));
    }

    /* a child leaves its parent's stream; by the page alone, too, when the process id says nothing */
    const int wiped = page_is_wiped_on_fork();
    if (!wiped) fprintf(stderr, "note: pages are not wiped on fork here; forks are seen by process id only\n");
    CHECK(!wiped || s.process != 0);
    for (int same_pid = 0; same_pid < 1 + wiped; same_pid++) {
        int ends[2];
        CHECK(pipe(ends) == 0);
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            if (same_pid) s.pid = getpid();
            const int ok = privcomp_drbg_fill(&s, b, 32) == PRIVCOMP_OK && write(ends[1], b, 32) == 32;
            _exit(ok ? 0 : 1);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        CHECK(read(ends[0], b, 32) == 32 && privcomp_drbg_fill(&s, a, 32) == PRIVCOMP_OK);
        CHECK(memcmp(a, b, 32) != 0);
        close(ends[0]);
        close(ends[1]);
    }
    privcomp_wipe(a, sizeof a);
    for (size_t i = 0; i < sizeof a; i++) CHECK(a[i] == 0);
    privcomp_wipe(NULL, 0);
}

/* The two portable AES kernels, one block number at a time against many, and counters about to carry. */
static void test_portable_aes(void)
{
    static uint8_t want[3 * 2048], got[3 * 2048];
    pc_stream s;
    for (int trial = 0; trial < 40; trial++) {
        const uint64_t low = test_u64(), lo = trial % 4 == 0 ? low : (low << (8 * (trial % 4))) - 1 - trial;
        test_fill(got, 16);
        pc_aes_expand_portable(&s, got);
        const enum pc_op op = (enum pc_op)(trial % 5);
        test_fill(want, sizeof want);
        memcpy(got, want, sizeof got);
        pc_aes_portable(op, want, sizeof want / 128, &s, ~low, trial == 0 ? UINT64_MAX - 200 : lo);
        pc_aes_portable_wide(op, got, sizeof got / 2048, &s, ~low, trial == 0 ? UINT64_MAX - 200 : lo);
        CHECK(memcmp(want, got, sizeof got) == 0);
    }
}

int main(void)
{
    test_portable_aes();
    test_keystream();
    test_mask_add();
    test_pairs();
    for (int level = 0; level <= privcomp_level_max(); level++) {
        privcomp_level_set(level);
        test_lanes();
    }
    test_pack();
    test_ring();
    test_drbg();
    printf("core: ok, levels 0..%d\n", privcomp_level_max());
    return 0;
}
