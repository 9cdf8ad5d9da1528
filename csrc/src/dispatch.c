/* Which kernels run: decided here and nowhere else. */
#include "encode.h"
#include "field.h"
#include "group.h"
#include "mpc.h"
#include "multilinear.h"
#include "ntt_goldilocks.h"
#include "rlwe.h"
#include "sampler_exp.h"
#include "sampler_table.h"

#if PC_X86
#include <cpuid.h>

static uint64_t xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return ((uint64_t)hi << 32) | lo;
}

static unsigned find_features(void)
{
    unsigned a, b, c, d, b7, c7, found = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    const int osxsave = (c >> 27) & 1, ssse3 = (c >> 9) & 1, sse41 = (c >> 19) & 1, aes = (c >> 25) & 1, avx = (c >> 28) & 1, fma = (c >> 12) & 1;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d)) return 0;
    /* The CPU may have a register file that the operating system does not save: XCR0 says (Intel SDM vol. 1, 14.3 and 15.2). */
    if (!osxsave || !avx || (xcr0() & 0x6) != 0x6) return found; /* check: 0x6 == 2**1 | 2**2 */
    if (!(ssse3 && sse41 && aes && ((b7 >> 5) & 1))) return found;
    found |= PC_CPU_AESNI;
    if (fma) found |= PC_CPU_FMA;
    if ((c7 >> 9) & 1) found |= PC_CPU_VAES;
    if ((xcr0() & 0xe0) != 0xe0) return found; /* check: 0xe0 == 2**5 | 2**6 | 2**7 */
    if ((b7 >> 16) & (b7 >> 17) & (b7 >> 30) & (b7 >> 31) & 1) {
        found |= PC_CPU_AVX512;
        if ((b7 >> 21) & 1) found |= PC_CPU_AVX512IFMA;
    }
    return found;
}

unsigned pc_cpu_features(void)
{
    /* Asked for once: under a hypervisor, cpuid is slow. */
    enum { UNKNOWN = 1u << 30 };
    static unsigned features = UNKNOWN;
    unsigned found = __atomic_load_n(&features, __ATOMIC_RELAXED);
    if (found == UNKNOWN) {
        found = find_features();
        __atomic_store_n(&features, found, __ATOMIC_RELAXED);
    }
    return found;
}
#else
unsigned pc_cpu_features(void) { return 0; }
#endif

static const pc_level levels[] = {
    [PRIVCOMP_LEVEL_PORTABLE] = {
        .aes = {{pc_aes_portable_wide, 2048}, {pc_aes_portable, 128}},
        .chacha = {{pc_chacha_portable, 256}},
        .aes_expand = pc_aes_expand_portable,
        .sample_exp = pc_sample_exp_portable,
        .sample_table = pc_sample_table_portable,
    },
#if PC_X86
    [PRIVCOMP_LEVEL_AESNI] = {
        .aes = {{pc_aes_aesni, 128}},
        .aes_pair = {pc_aes_aesni_pair, 64},
        .chacha = {{pc_chacha_avx2, 512}},
        .aes_expand = pc_aes_expand_aesni,
        .sample_exp = pc_sample_exp_avx2,
        .sample_table = pc_sample_table_avx2,
    },
    [PRIVCOMP_LEVEL_VAES] = {
        .aes = {{pc_aes_vaes, 256}, {pc_aes_aesni, 128}},
        .aes_pair = {pc_aes_vaes_pair, 128},
        .chacha = {{pc_chacha_avx2, 512}},
        .aes_expand = pc_aes_expand_aesni,
        .sample_exp = pc_sample_exp_avx2,
        .sample_table = pc_sample_table_avx2,
    },
    [PRIVCOMP_LEVEL_AVX512] = {
        .aes = {{pc_aes_avx512, 512}, {pc_aes_aesni, 128}},
        .aes_pair = {pc_aes_avx512_pair, 256},
        .chacha = {{pc_chacha_avx512, 2048}, {pc_chacha_avx2, 512}},
        .aes_expand = pc_aes_expand_aesni,
        .sample_exp = pc_sample_exp_avx2,
        .sample_table = pc_sample_table_avx2,
    },
#endif
};

#if PC_X86
/* Not a test of this code, which the tests are, but of the compiler, CPU and hypervisor that it meets: whether the keystreams of a level,
 * combined in every way, its field functions and transforms, its group functions, its sumchecks, its encoding, its samplers, its ring-LWE and
 * its products of shares give what the portable
 * ones give. About 40 microseconds, once, and about 300 where groups have kernels.
 */
static int agrees_with_portable(int level)
{
    enum { BYTES = 2816, WORDS = BYTES / 8 };            /* the longest chunk of all kernels, and at least one of each narrower kernel */
    enum { TERMS = 12, WIDTH = 25, RESULT = 2 * WIDTH }; /* 16 columns together, 8, and 1 */
    uint64_t want[WORDS], start[WORDS], sum[WORDS], got[WORDS];
    uint8_t seed[PRIVCOMP_CHACHA20_SEED_BYTES];
    pc_stream s;
    int same = 1;
    for (int i = 0; i < PRIVCOMP_CHACHA20_SEED_BYTES; i++) seed[i] = i / 8 * 8 == 24 || i / 4 == 8 ? 0xff : (uint8_t)(29 * i); /* counters that carry */
    for (int i = 0; i < WORDS; i++) start[i] = (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15);
    for (int cipher = PRIVCOMP_AES128_CTR; cipher <= PRIVCOMP_CHACHA20; cipher++) {
        pc_stream_init(&s, cipher, seed, &levels[PRIVCOMP_LEVEL_PORTABLE]);
        pc_stream_apply(PC_STORE, (uint8_t *)want, BYTES, &s, 0, cipher, &levels[PRIVCOMP_LEVEL_PORTABLE]);
        pc_stream_init(&s, cipher, seed, &levels[level]);
        for (int op = PC_STORE; op <= PC_OP_LAST; op++) {
            memcpy(sum, start, BYTES);
            memcpy(got, start, BYTES);
            pc_combine((enum pc_op)op, (uint8_t *)sum, (const uint8_t *)want, BYTES);
            pc_stream_apply((enum pc_op)op, (uint8_t *)got, BYTES, &s, 0, cipher, &levels[level]);
            same &= memcmp(sum, got, BYTES) == 0;
        }
    }
    for (int op = PC_ADD32; op <= PC_OP_LAST; op++) { /* pairs, one of which is subtracted */
        static const uint8_t minus[2] = {1, 0};
        pc_stream two[2];
        if (op == PC_SUB32 || op == PC_SUB64) continue;
        for (int i = 0; i < 2; i++) pc_stream_init(&two[i], PRIVCOMP_AES128_CTR, seed + 8 * i, &levels[level]);
        memcpy(sum, start, BYTES);
        pc_stream_apply(op == PC_XOR64 ? PC_XOR64 : (enum pc_op)(op + 1), (uint8_t *)sum, BYTES, &two[0], 0, PRIVCOMP_AES128_CTR, &levels[0]);
        pc_stream_apply((enum pc_op)op, (uint8_t *)sum, BYTES, &two[1], 0, PRIVCOMP_AES128_CTR, &levels[0]);
        pc_pair_apply((enum pc_op)op, (uint8_t *)got, (const uint8_t *)start, BYTES, two, minus, 0, &levels[level]);
        same &= memcmp(sum, got, BYTES) == 0;
    }
    for (int field = PRIVCOMP_FIELD_M61; field <= PRIVCOMP_FIELD_GOLDILOCKS; field++) {
        struct field f[2];
        uint64_t in[2][WORDS], out[2][FIELD_ROWS + 1][RESULT] = {{{0}}}, prepared[FIELD_PREPARED * (TERMS + 1)], further[2][6][WIDTH] = {{{0}}};
        int bad[2];
        for (int q = 0; q < 2; q++) {
            pc_field_at(&f[q], field, q ? level : PRIVCOMP_LEVEL_PORTABLE);
            memcpy(in[q], want, BYTES);
            bad[q] = f[q].sample(in[q], WORDS) | !f[q].canonical(in[q], WORDS) << 1;
            const uint64_t *const weights = in[q] + TERMS * WIDTH;
            for (int r = 0; r < FIELD_ROWS; r++) out[q][r][WIDTH] = weights[r];
            uint64_t *const row[FIELD_ROWS] = {out[q][0], out[q][1], out[q][2], out[q][3]};
            f[q].dot_rows(row, FIELD_ROWS, weights, TERMS, in[q], WIDTH, WIDTH, prepared);
            f[q].butterfly(out[q][FIELD_ROWS], out[q][FIELD_ROWS] + WIDTH, in[q], in[q] + WIDTH, WIDTH);
            if (f[q].extend) f[q].extend(further[q][0], 3, 3, in[q], TERMS, WIDTH, WIDTH, prepared);
        }
        same &= bad[0] == bad[1] && memcmp(in[0], in[1], BYTES) == 0 && memcmp(out[0], out[1], sizeof out[0]) == 0 &&
                memcmp(further[0], further[1], sizeof further[0]) == 0;
    }
    const struct ntt *const ntt[2] = {&pc_ntt_portable, pc_ntt_at(level)};
    if (ntt[0] != ntt[1]) {
        enum { COLUMNS = 21 }; /* whole vectors, and 1 */
        uint64_t rows[2][4][COLUMNS];
        const uint64_t factor = want[4 * COLUMNS] % GOLDILOCKS_P;
        for (int q = 0; q < 2; q++) {
            for (int i = 0; i < 4 * COLUMNS; i++) rows[q][i / COLUMNS][i % COLUMNS] = i % 7 == 0 ? GOLDILOCKS_P - 1 : want[i] % GOLDILOCKS_P;
            ntt[q]->forward(rows[q][0], rows[q][1], factor, COLUMNS); /* loose now */
            ntt[q]->forward(rows[q][0], rows[q][2], factor, COLUMNS);
            ntt[q]->inverse(rows[q][1], rows[q][3], factor, COLUMNS);
            ntt[q]->inverse(rows[q][1], rows[q][2], factor, COLUMNS);
            ntt[q]->scale(rows[q][3], factor, COLUMNS);
            for (int i = 0; i < 3; i++) ntt[q]->finish(rows[q][i], COLUMNS);
        }
        same &= memcmp(rows[0], rows[1], sizeof rows[0]) == 0;
    }
    if (levels[level].sample_table != levels[PRIVCOMP_LEVEL_PORTABLE].sample_table) {
        enum { SHIFT = 1, LENGTH = PRIVCOMP_SAMPLER_BINS << SHIFT, COUNT = WORDS / 16 * 8, ROOM = COUNT + SAMPLER_SLACK };
        int64_t values[2][ROOM] = {{0}};
        uint16_t heads[LENGTH + 1] = {0};
        size_t accepted[2];
        sampler_table t = {.heads = heads, .tops = want + PRIVCOMP_SAMPLER_BINS, .rest = want, .length = LENGTH, .base = 1, .flip = UINT64_MAX,
                           .compared = 0xf000, .carry = UINT64_MAX, .shift = SHIFT, .tail_shift = SHIFT + 1}; /* check: 0xf000 == 2**16 - 2**12 */
        pc_sampler sampler = {.cipher = PRIVCOMP_CHACHA20, .level = &levels[PRIVCOMP_LEVEL_PORTABLE]};
        pc_stream_init(&sampler.second, sampler.cipher, seed, sampler.level);
        memcpy(sampler.words, want, sizeof want);
        for (int j = 0; j < PRIVCOMP_SAMPLER_BINS; j++) t.alias[j] = table_entry(want[j] >> 42); /* threshold and other bin; check: 64 - 16 - 6 */
        for (int x = 0; x < LENGTH; x++) heads[x] = (uint16_t)(t.tops[x] >> 48);
        for (int q = 0; q < 2; q++) {
            accepted[q] = levels[q ? level : PRIVCOMP_LEVEL_PORTABLE].sample_table(values[q], COUNT, 0, &sampler, &t);
            memset(values[q] + accepted[q], 0, 8 * (ROOM - accepted[q]));
        }
        same &= accepted[0] == accepted[1] && memcmp(values[0], values[1], sizeof values[0]) == 0;
    }
    const struct group *const g[2] = {pc_group_at(PRIVCOMP_RISTRETTO255, PRIVCOMP_LEVEL_PORTABLE), pc_group_at(PRIVCOMP_RISTRETTO255, level)};
    if (g[0] != g[1]) {
        enum { ROWS = 9, MANY = GROUP_STRAUS_MAX + 1, FEW = 3 }; /* 8 together, and 1; the fewest whose multiples lanes add in constant time */
        static const int32_t values[ROWS] = {1, -1, 2, 5, -128, 127, 0, -77, 128};
        uint8_t base[PRIVCOMP_POINT_BYTES], table[GROUP_ENTRIES * 96], encodings[ROWS * 32], points[2][4][ROWS * PRIVCOMP_POINT_BYTES] = {{{0}}};
        uint8_t scalars[FEW * PRIVCOMP_SCALAR_BYTES];
        uint8_t many[MANY * PRIVCOMP_POINT_BYTES];
        int64_t factors[MANY];
        uint64_t scratch[(MANY + 7 + 17 * 8) * 20]; /* for windows of 5 bits, and fewer are taken; check: 17 == 2**4 + 1 */
        g[0]->generator(base);
        g[0]->table(table, base, 1, 1);
        for (int q = 0; q < 2; q++) g[q]->rows_var(points[q][0], table, values, ROWS, 1, 1, scratch);
        g[0]->encode(encodings, points[0][0], ROWS);
        for (int q = 0; q < 2; q++) same &= g[q]->decode(points[q][1], encodings, ROWS);
        for (int i = 0; i < MANY; i++) {
            factors[i] = i * i % 128 - 64;
            memcpy(many + PRIVCOMP_POINT_BYTES * i, points[0][0] + PRIVCOMP_POINT_BYTES * (i % ROWS), PRIVCOMP_POINT_BYTES);
        }
        for (int q = 0; q < 2; q++) g[q]->msm_var(points[q][2], many, NULL, factors, MANY, scratch);
        memcpy(scalars, want, sizeof scalars);
        for (int i = 0; i < FEW; i++) scalars[PRIVCOMP_SCALAR_BYTES * (i + 1) - 1] &= 0x0f; /* below 2^252 and so below the order */
        for (int q = 0; q < 2; q++) g[q]->msm(points[q][3], points[0][0], scalars, FEW);
        same &= memcmp(points[0], points[1], sizeof points[0]) == 0;
    }
    const struct multilinear *const m[2] = {pc_multilinear_at(PRIVCOMP_RISTRETTO255, PRIVCOMP_LEVEL_PORTABLE), pc_multilinear_at(PRIVCOMP_RISTRETTO255, level)};
    if (m[0] != m[1]) {
        enum { VARIABLES = 10, LAYER = 7, NODES = 1 << LAYER }; /* rounds of 2^6 places: whole vectors of eq */
        mt nodes[2][4 * NODES], h[2][2], scratch[64];
        int64_t x[1 << VARIABLES];
        uint8_t point[PRIVCOMP_SCALAR_BYTES * LAYER];
        for (int i = 0; i < 1 << VARIABLES; i++) x[i] = (int64_t)(want[i % WORDS] >> 33) - ((int64_t)1 << 30);
        memcpy(point, want, sizeof point);
        for (int i = 0; i < LAYER; i++) point[PRIVCOMP_SCALAR_BYTES * i + 31] &= 0x0f;
        const mt shift = mt_from_bytes(point, m[0]->order), r = mt_from_bytes(point + PRIVCOMP_SCALAR_BYTES, m[0]->order);
        for (int q = 0; q < 2; q++) {
            m[q]->fraction_layer(nodes[q], x, sizeof x / sizeof *x - 3, VARIABLES, LAYER + 1, shift);
            m[q]->fraction_round(h[q], nodes[q], NODES, LAYER - 1, point, scratch);
            m[q]->fold(nodes[q], 4, NODES, NODES / 2, r);
        }
        same &= memcmp(nodes[0], nodes[1], sizeof nodes[0]) == 0 && memcmp(h[0], h[1], sizeof h[0]) == 0;
    }
    const struct encode *const e[2] = {&pc_encode_portable, pc_encode_at(level)};
    if (e[0] != e[1]) {
        enum { ENTRIES = 254, PADDED = 256 }; /* whole vectors, rests, and zeros beyond them */
        float x[ENTRIES];
        struct { /* without padding */
            double rotated[PADDED], squares[3];
            uint64_t transformed[PADDED];
            int64_t rounded[PADDED];
            encode_squares parts;
        } out[2];
        for (int i = 0; i < ENTRIES; i++) x[i] = (float)((int)(want[i] % 2001) - 1000);
        for (int q = 0; q < 2; q++) {
            out[q].squares[0] = e[q]->rotate_f32(out[q].rotated, PADDED, x, ENTRIES, (const uint8_t *)want, 0.3);
            out[q].squares[1] = e[q]->squares_f64(out[q].rotated, ENTRIES, 0.7);
            out[q].squares[2] = e[q]->squares_f32(x, ENTRIES, 0.7);
            memcpy(out[q].transformed, want, sizeof out[q].transformed);
            e[q]->hadamard_i64(out[q].transformed, PADDED);
            e[q]->flip_i64(out[q].transformed, ENTRIES, (const uint8_t *)want);
            memcpy(out[q].rounded, want, sizeof out[q].rounded);
            out[q].parts = e[q]->round(out[q].rounded, out[q].rotated, ENTRIES, 0.9, 3000);
        }
        same &= memcmp(&out[0], &out[1], sizeof out[0]) == 0;
    }
    const struct rlwe *const k[2] = {&pc_rlwe_portable, pc_rlwe_at(level)};
    if (k[0] != k[1]) {
        enum { DEGREE = 256, BITS = 50 }; /* transforms with every kind of pass */
        static const uint64_t prime = UINT64_C(1125899906826241), root = UINT64_C(793218081992636); /* check: pow(793218081992636, 256, 1125899906826241) == 1125899906826241 - 1 */
        uint64_t tables[RLWE_TABLES_WORDS + 2 * RLWE_POWER_FORMS * DEGREE], key[RLWE_FORMS * DEGREE];
        int32_t coefficients[DEGREE];
        struct { /* without padding */
            uint64_t there[DEGREE], back[DEGREE], total[DEGREE], fits[2], carry;
            int8_t noise[DEGREE];
            uint8_t packed[DEGREE * BITS / 8];
            uint8_t rest[8];
        } out[2];
        memset(out, 0, sizeof out);
        for (int i = 0; i < DEGREE; i++) coefficients[i] = (int32_t)want[i % WORDS];
        same &= privcomp_rlwe_init(tables, sizeof tables / 8, DEGREE, &prime, &root, 1, 1 << 22, 2) == PRIVCOMP_OK;
        const rlwe_tables *const t = rlwe_of(tables);
        pc_rlwe_key_make(key, t, coefficients, k[0]);
        for (int q = 0; q < 2; q++) {
            for (int i = 0; i < DEGREE; i++) out[q].there[i] = out[q].back[i] = want[i % WORDS];
            out[q].fits[0] = (uint64_t)k[q]->mask(out[q].there, DEGREE, prime, BITS - 1);
            out[q].fits[1] = (uint64_t)k[q]->mask(out[q].back, DEGREE, prime, BITS - 1);
            k[q]->forward(out[q].there, t, 0);
            k[q]->inverse(out[q].back, t, 0);
            k[q]->product(out[q].there, key, t, 0);
            k[q]->gaussian(out[q].noise, (const uint8_t *)want, BYTES / 16);
            k[q]->message(out[q].there, DEGREE, out[q].noise, out[q].total, DEGREE, t, 0);
            k[q]->pack(out[q].packed, 0, &out[q].carry, out[q].there, DEGREE, BITS);
            same &= k[q]->check(out[q].packed, sizeof out[q].packed, 0, DEGREE, &t->prime[0]);
            k[q]->add(out[q].total, out[q].packed, sizeof out[q].packed, 0, DEGREE, &t->prime[0]);
        }
        same &= memcmp(&out[0], &out[1], sizeof out[0]) == 0;
    }
    const struct mpc *const p[2] = {&pc_mpc_portable, pc_mpc_at(level)};
    if (p[0] != p[1]) {
        enum { LENGTH = WORDS / MPC_ROWS - 1, STRIDE = LENGTH + 1, PAIRS = LENGTH - LENGTH % 2, HALF = LENGTH / 8 * 4, PLANES = 63 }; /* whole vectors and rests */
        static const uint32_t terms[5] = {2, 0, 1, 3, 1};
        uint64_t values[MPC_GROUP];
        struct { /* without padding */
            uint64_t dots[MPC_ROWS][MPC_ROWS], tiles[MPC_ROWS][MPC_ROWS * MPC_PANEL], combined[LENGTH], words[8][LENGTH], ands[LENGTH], planes[PLANES * MPC_GROUP_WORDS], values[MPC_GROUP];
        } out[2];
        memset(out, 0, sizeof out);
        for (int i = 0; i < MPC_GROUP; i++) values[i] = want[i % WORDS] ^ start[i / 2 % WORDS];
        for (int q = 0; q < 2; q++) {
            for (size_t rows = 1; rows <= MPC_ROWS; rows++) {
                p[q]->dots(out[q].dots[rows - 1], rows, want, STRIDE, start, LENGTH);
                p[q]->tile(out[q].tiles[rows - 1], MPC_PANEL, rows, want, STRIDE, start, LENGTH);
                p[q]->pair_dots(out[q].dots[rows - 1], rows, want, STRIDE, start, HALF, start, want[0]);
                p[q]->pair_tile(out[q].tiles[rows - 1], MPC_PANEL, rows, want, STRIDE, start, PAIRS, start, want);
            }
            p[q]->combine(out[q].combined, want, start[0], start, want[0], LENGTH);
            p[q]->weigh(out[q].combined, want, start, STRIDE, LENGTH);
            for (int accumulate = 0; accumulate < 2; accumulate++) {
                uint64_t(*const w)[LENGTH] = out[q].words + 4 * accumulate;
                p[q]->rep3_product(w[0], want, want + STRIDE, start, start + STRIDE, LENGTH, accumulate);
                p[q]->cross_product(w[1], want, want + STRIDE, start, start + STRIDE, LENGTH, accumulate);
                p[q]->rep3_and(w[2], want, want + STRIDE, start, start + STRIDE, LENGTH, accumulate);
                p[q]->cross_and(w[3], want, want + STRIDE, start, start + STRIDE, LENGTH, accumulate);
            }
            p[q]->ands(out[q].ands, terms, terms + 2, 3, want, start, STRIDE, LENGTH);
            p[q]->to_planes(out[q].planes, MPC_GROUP_WORDS, PLANES, values, 1);
            p[q]->from_planes(out[q].values, 1, out[q].planes, MPC_GROUP_WORDS, PLANES);
        }
        same &= memcmp(&out[0], &out[1], sizeof out[0]) == 0;
    }
    if (levels[level].sample_exp != pc_sample_exp_portable) {
        /* Weights that are all alike, a law that is 20 blocks wide, narrow and wide blocks; some candidates are undecided or in the tail. */
        for (uint32_t kind = PRIVCOMP_SAMPLER_GAUSS; kind <= PRIVCOMP_SAMPLER_LAPLACE; kind++)
            for (uint32_t shift = 3; shift <= 33; shift += 30) {
                const u128 parameter = kind == PRIVCOMP_SAMPLER_GAUSS ? (u128)400 << 2 * shift : (u128)20 << shift;
                privcomp_exp_table table = {.numerator = {(uint64_t)parameter, (uint64_t)(parameter >> 64)}, .denominator = {1}, .scale = (uint64_t)1 << 56, .kind = kind,
                                            .shift = shift, .band_single = EXP_BAND_SINGLE, .band_double = EXP_BAND_DOUBLE};
                for (uint32_t j = 0; j < PRIVCOMP_SAMPLER_BINS; j++) table.weight[j] = 1u << 16, table.alias[j] = (40000 << 6) + (63 - j);
                exp_table ready;
                pc_sampler sampler[2];
                size_t accepted[2];
                same &= pc_exp_table_load(&ready, &table);
                for (int q = 0; q < 2; q++) {
                    memset(&sampler[q], 0, sizeof sampler[q]);
                    sampler[q].cipher = PRIVCOMP_AES128_CTR;
                    sampler[q].level = &levels[PRIVCOMP_LEVEL_PORTABLE];
                    pc_stream_init(&sampler[q].second, PRIVCOMP_AES128_CTR, seed, sampler[q].level);
                    memcpy(sampler[q].words, want, BYTES);
                    accepted[q] = levels[q ? level : PRIVCOMP_LEVEL_PORTABLE].sample_exp(sampler[q].values, BYTES / 16, 0, &sampler[q], &ready);
                }
                same &= accepted[0] == accepted[1] && memcmp(sampler[0].values, sampler[1].values, 8 * (accepted[0] < accepted[1] ? accepted[0] : accepted[1])) == 0;
            }
    }
    return same;
}

static int find_level(void)
{
    const unsigned cpu = pc_cpu_features();
    int level = !(cpu & PC_CPU_AESNI)    ? PRIVCOMP_LEVEL_PORTABLE
              : !(cpu & PC_CPU_VAES)   ? PRIVCOMP_LEVEL_AESNI
              : !(cpu & PC_CPU_AVX512) ? PRIVCOMP_LEVEL_VAES
                                       : PRIVCOMP_LEVEL_AVX512;
    while (level > PRIVCOMP_LEVEL_PORTABLE && !agrees_with_portable(level)) level--;
    return level;
}
#else
static int find_level(void) { return PRIVCOMP_LEVEL_PORTABLE; }
#endif

/* -1: not known yet. Any thread may find it out; all of them find the same. */
static int level_found = -1;

int privcomp_level_max(void)
{
    int level = __atomic_load_n(&level_found, __ATOMIC_RELAXED);
    if (level < 0) {
        level = find_level();
        __atomic_store_n(&level_found, level, __ATOMIC_RELAXED);
    }
    return level;
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
