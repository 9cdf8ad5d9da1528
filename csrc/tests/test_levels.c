/* Every level that this CPU has against the portable one, on random input: whatever runs here gives the same bytes. test_core and
 * test_fields compare with independent readings of the contract; this one is about the seams of the wide kernels (every short length,
 * odd offsets, counters about to carry) and about being fast enough for an instruction-set emulator.
 */
#include "check.h"
#include "field.h"

static unsigned long cases;

/* Runs `call` at level 0 and at `level` on copies of the same start; the whole buffers have to agree, guard words included. */
#define SAME(level, buffer, want, got, call) \
    do { \
        privcomp_level_set(0); \
        memcpy(want, buffer, sizeof buffer); \
        { __typeof__(&*want) out = want; CHECK((call) == PRIVCOMP_OK); } \
        privcomp_level_set(level); \
        memcpy(got, buffer, sizeof buffer); \
        { __typeof__(&*got) out = got; CHECK((call) == PRIVCOMP_OK); } \
        CHECK(memcmp(want, got, sizeof buffer) == 0); \
        cases++; \
    } while (0)

/* A seed whose counter passes 2^8, 2^32, 2^64 or (AES) 2^128 within the next blocks, or anywhere. */
static void draw_seed(uint8_t *seed, int cipher)
{
    test_fill(seed, 48);
    const uint64_t pick = test_u64(), ones = pick / 5 % 20;
    const int bytes = (const int[]){0, 1, 4, 8, cipher == PRIVCOMP_AES128_CTR ? 16 : 8}[pick % 5];
    for (int i = 0; i < bytes; i++) *(cipher == PRIVCOMP_AES128_CTR ? seed + 31 - i : seed + 32 + i) = (uint8_t)(i == 0 ? 255 - ones : 255);
}

/* Offsets in words: the start, odd ones, ends of chunks, far out. */
static uint64_t draw_offset(uint64_t word)
{
    const uint64_t pick = test_u64(), small = pick >> 8;
    switch (pick % 4) {
    case 0: return 0;
    case 1: return small % 600;
    case 2: return 512 / word * (small % 8);
    default: return (((uint64_t)1 << 61) + 16 * (small % 1000)) / word + small % 3;
    }
}

static void keystreams(int level)
{
    enum { SHORT = 300, LONG = 9000, SEEDS = 66 };
    static uint8_t bytes[LONG], bytes_want[LONG], bytes_got[LONG];
    static uint8_t seeds[SEEDS * 48], negate[SEEDS];
    static uint32_t w32[SHORT + 3], want32[SHORT + 3], got32[SHORT + 3];
    static uint64_t w64[SHORT + 3], want64[SHORT + 3], got64[SHORT + 3];
    static uint64_t wide[LONG / 8], want_wide[LONG / 8], got_wide[LONG / 8];
    for (int cipher = PRIVCOMP_AES128_CTR; cipher <= PRIVCOMP_CHACHA20; cipher++) {
        const size_t seed_bytes = pc_seed_bytes(cipher);
        for (size_t n = 0; n <= SHORT; n++)
            for (int trial = 0; trial < 3; trial++) {
                const size_t at = test_u64() % 3, count = trial == 0 ? 1 : 1 + test_u64() % 3;
                for (size_t i = 0; i < count; i++) draw_seed(seeds + i * seed_bytes, cipher), negate[i] = test_u64() & 1;
                test_fill(w32, sizeof w32), test_fill(w64, sizeof w64), test_fill(bytes, 512);
                const uint64_t byte_offset = trial == 0 ? test_u64() % 64 : draw_offset(1);
                SAME(level, bytes, bytes_want, bytes_got, privcomp_keystream_fill(out + at, n, seeds, cipher, byte_offset));
                const uint64_t offset32 = draw_offset(4), offset64 = draw_offset(8);
                SAME(level, w32, want32, got32, privcomp_mask_add_u32(out + at, n, seeds, negate, count, cipher, offset32));
                SAME(level, w64, want64, got64, privcomp_mask_add_u64(out + at, n, seeds, negate, count, cipher, offset64));
                SAME(level, w64, want64, got64, privcomp_mask_xor_u64(out + at, n, seeds, count, cipher, offset64));
            }
        for (int trial = 0; trial < 24; trial++) {
            const size_t n = test_u64() % (LONG / 8), count = trial < 4 ? SEEDS : 2;
            for (size_t i = 0; i < count; i++) draw_seed(seeds + i * seed_bytes, cipher), negate[i] = test_u64() & 1;
            test_fill(wide, sizeof wide);
            const uint64_t offset = draw_offset(8);
            SAME(level, bytes, bytes_want, bytes_got, privcomp_keystream_fill(out, 8 * n + trial % 8, seeds, cipher, offset));
            SAME(level, wide, want_wide, got_wide, privcomp_mask_add_u32((uint32_t *)out, 2 * n, seeds, negate, count, cipher, offset));
            SAME(level, wide, want_wide, got_wide, privcomp_mask_add_u64(out, n, seeds, negate, count, cipher, offset));
        }
        /* lanes: below the modulus 2^256 - 1 almost surely */
        static uint8_t lanes[40 * 32], lanes_want[40 * 32], lanes_got[40 * 32], modulus[32];
        memset(modulus, 0xff, sizeof modulus);
        for (size_t n = 0; n <= 40; n += 1 + n / 4) {
            draw_seed(seeds, cipher), draw_seed(seeds + seed_bytes, cipher);
            negate[0] = 0, negate[1] = 1;
            test_fill(lanes, sizeof lanes);
            const uint64_t offset = draw_offset(64);
            SAME(level, lanes, lanes_want, lanes_got, privcomp_lanes_mask(out, n, modulus, seeds, negate, 2, cipher, offset));
        }
    }
    privcomp_drbg drbg;
    for (size_t n = 0; n < LONG; n += 1 + n / 3)
        SAME(level, bytes, bytes_want, bytes_got, (privcomp_drbg_init_fixed(&drbg, seeds), privcomp_drbg_fill(&drbg, out, n)));
}

static uint64_t element(uint64_t p)
{
    const uint64_t edge[] = {0, 1, p - 1, p - 2, (uint64_t)1 << 31, ((uint64_t)1 << 32) - 1, (uint64_t)1 << 32, (uint64_t)1 << 52, p >> 52 << 52};
    const uint64_t pick = test_u64();
    return pick % 4 == 0 ? edge[pick / 4 % 9] : test_u64() % p;
}

/* The functions that a level replaces: every short length, whole vectors and what is left of them. */
static void field_vectors(const struct field *f, const struct field *portable)
{
    enum { N = 70 };
    static uint64_t a[N], b[N], x[2][N], y[2][N];
    for (size_t n = 0; n <= N; n++)
        for (int trial = 0; trial < 4; trial++) {
            for (size_t i = 0; i < n; i++) a[i] = element(f->p), b[i] = element(f->p);
            for (int q = 0; q < 2; q++) (q ? f : portable)->butterfly(x[q], y[q], a, b, n);
            CHECK(memcmp(x[0], x[1], 8 * n) == 0 && memcmp(y[0], y[1], 8 * n) == 0);
            for (int q = 0; q < 2; q++) { /* in place */
                memcpy(x[q], a, 8 * n), memcpy(y[q], b, 8 * n);
                (q ? f : portable)->butterfly(x[q], y[q], x[q], y[q], n);
            }
            CHECK(memcmp(x[0], x[1], 8 * n) == 0 && memcmp(y[0], y[1], 8 * n) == 0);
            test_fill(b, 8 * n);
            for (size_t i = 0; i < n; i++) /* candidates at and around p, left aligned */
                if (trial == 3 || i == n / 2) b[i] = PC_LE64((f->p + test_u64() % 3 - 1) << (64 - f->bits));
            memcpy(x[0], b, 8 * n), memcpy(x[1], b, 8 * n);
            CHECK(!portable->sample(x[0], n) == !f->sample(x[1], n) && memcmp(x[0], x[1], 8 * n) == 0);
            if (n > 0 && trial > 0) a[test_u64() % n] = f->p + test_u64() % 3 - 1;
            CHECK(!portable->canonical(a, n) == !f->canonical(a, n));
            cases += 4;
        }
}

static void field_dots(const struct field *f, const struct field *portable)
{
    enum { WIDTH = 40, STRIDE = WIDTH + 3, TERMS = 1100 };
    static uint64_t in[TERMS * STRIDE], w[FIELD_ROWS * TERMS], prepared[FIELD_PREPARED * TERMS], o[2][FIELD_ROWS][WIDTH];
    static const size_t sizes[] = {1, 2, 3, 5, 8, 11, 12, 13, 31, 32, 33, 64, 65, 1022, 1023, 1024, TERMS};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int extreme = 0; extreme < 2; extreme++) {
            const size_t terms = sizes[s];
            for (size_t i = 0; i < terms * STRIDE; i++) in[i] = extreme ? f->p - 1 : element(f->p);
            for (size_t i = 0; i < FIELD_ROWS * terms; i++) w[i] = extreme ? f->p - 1 : element(f->p);
            for (size_t rows = 1; rows <= FIELD_ROWS; rows += 3)
                for (size_t width = 0; width <= WIDTH; width += terms > 100 ? WIDTH / 2 : 1) {
                    memset(o, 0, sizeof o);
                    for (int q = 0; q < 2; q++) {
                        uint64_t *const out[FIELD_ROWS] = {o[q][0], o[q][1], o[q][2], o[q][3]};
                        (q ? f : portable)->dot_rows(out, rows, w, terms, in, STRIDE, width, prepared);
                    }
                    CHECK(memcmp(o[0], o[1], sizeof o[0]) == 0);
                    cases++;
                }
        }
}

static void field_functions(int level, int field)
{
    enum { N = 41 };
    static uint64_t a[N], b[N], start[N], want[N], got[N];
    const uint64_t p = privcomp_field_modulus(field), alpha = element(p);
    for (size_t n = 0; n <= N; n++) {
        for (size_t i = 0; i < N; i++) a[i] = element(p), b[i] = element(p), start[i] = element(p);
        SAME(level, start, want, got, privcomp_field_add(out, a, b, n, field));
        SAME(level, start, want, got, privcomp_field_sub(out, a, b, n, field));
        SAME(level, start, want, got, privcomp_field_neg(out, a, n, field));
        SAME(level, start, want, got, privcomp_field_mul(out, a, b, n, field));
        SAME(level, start, want, got, privcomp_field_axpy(out, a, b, n, alpha, field));
        SAME(level, start, want, got, privcomp_field_dot(out, a, b, n, field));
        for (size_t i = 0; i < N; i++) a[i] += a[i] == 0;
        SAME(level, start, want, got, privcomp_field_inv(out, a, n, field));
    }
}

static void shamir(int level, int field, size_t n, size_t t, size_t d, int consecutive)
{
    const uint64_t p = privcomp_field_modulus(field), at[2] = {0, n + 5};
    const size_t words = (size_t)privcomp_shamir_share_scratch(n, t, d), back_words = (size_t)privcomp_shamir_interpolate_scratch(2, t, d);
    uint64_t *const points = malloc(8 * n), *const secrets = malloc(8 * d), *const scratch = malloc(8 * (words > back_words ? words : back_words));
    uint64_t *const shares = malloc(16 * n * d), *const back = malloc(32 * d);
    uint8_t seed[48];
    CHECK(points && secrets && scratch && shares && back);
    draw_seed(seed, PRIVCOMP_AES128_CTR);
    for (size_t i = 0; i < n; i++) points[i] = consecutive ? i + 1 : p - 1 - 7 * i * i;
    for (size_t j = 0; j < d; j++) secrets[j] = element(p);
    for (int q = 0; q < 2; q++) {
        privcomp_level_set(q ? level : 0);
        uint64_t *const s = shares + (size_t)q * n * d, *const b = back + (size_t)q * 2 * d;
        CHECK(privcomp_shamir_share(s, secrets, d, points, n, t, seed, field, scratch, words) == PRIVCOMP_OK);
        CHECK(privcomp_shamir_interpolate(b, at, 2, points + (n - t), t, s + (n - t) * d, d, field, scratch, back_words) == PRIVCOMP_OK);
        CHECK(memcmp(b, secrets, 8 * d) == 0);
    }
    CHECK(memcmp(shares, shares + n * d, 8 * n * d) == 0 && memcmp(back, back + 2 * d, 16 * d) == 0);
    cases += 2;
    free(points), free(secrets), free(scratch), free(shares), free(back);
}

/* What a level replaces of a group: whole vectors and what is left of them. */
static void groups(int level, int group)
{
    enum { N = 19, BASES = 3, WINDOWS = 2, POINT = PRIVCOMP_POINT_BYTES };
    static uint8_t wide[96 * N], points[POINT * N], encodings[64 * N], table[96 * 128 * BASES * WINDOWS], start[POINT * N], want[POINT * N],
        got[POINT * N];
    static uint64_t scratch[1 << 17];
    static uint8_t some[PRIVCOMP_SCALAR_BYTES * N];
    const size_t length = (size_t)privcomp_group_table_bytes(BASES, WINDOWS, group);
    int32_t values[N * BASES];
    test_fill(wide, sizeof wide), test_fill(start, sizeof start);
    CHECK(length <= sizeof table);
    CHECK(privcomp_group_from_uniform(points, wide, N, group) == PRIVCOMP_OK);
    CHECK(privcomp_group_encode(encodings, points, N, group) == PRIVCOMP_OK);
    CHECK(privcomp_group_table(table, length, points, BASES, WINDOWS, group) == PRIVCOMP_OK);
    CHECK(privcomp_scalar_from_wide(some, wide, N, group) == PRIVCOMP_OK);
    for (size_t n = 0; n <= N; n++) {
        const size_t words = (size_t)privcomp_group_rows_scratch(n, group);
        CHECK(words <= sizeof scratch / 8);
        for (size_t i = 0; i < n * BASES; i++) values[i] = i % 5 == 0 ? (int32_t)(i % 2) << 15 : (int16_t)test_u64();
        SAME(level, start, want, got, privcomp_group_decode(out, encodings, n, group));
        SAME(level, start, want, got, privcomp_group_mul(out, points, some, n, group));
        SAME(level, start, want, got, privcomp_group_msm(out, points, some, n, group));
        SAME(level, start, want, got, privcomp_group_axpy_var(out, some, points, points, n, group));
        SAME(level, start, want, got, privcomp_group_rows_var(out, table, length, values, n, BASES, WINDOWS, group, scratch, words));
    }
    enum { MANY = 203 };
    static uint8_t repeated[POINT * MANY], scalars[PRIVCOMP_SCALAR_BYTES * MANY];
    int64_t factors[MANY];
    int32_t more[BASES * MANY];
    static uint8_t sums_start[POINT * MANY], sums_want[POINT * MANY], sums_got[POINT * MANY];
    for (size_t i = 0; i < BASES * MANY; i++) more[i] = i % 5 == 0 ? 0 : (int16_t)test_u64();
    for (size_t n = 40; n <= MANY; n += n < 50 ? 1 : 51) { /* enough for sums that share inversions */
        const size_t words = (size_t)privcomp_group_rows_scratch(n, group);
        CHECK(words <= sizeof scratch / 8);
        SAME(level, sums_start, sums_want, sums_got, privcomp_group_rows_var(out, table, length, more, n, BASES, WINDOWS, group, scratch, words));
    }
    for (size_t i = 0; i < MANY; i++) memcpy(repeated + POINT * i, points + POINT * (i % N), POINT);
    for (size_t n = 90; n <= MANY; n = n < 105 ? n + 1 : n + 49) {
        CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
        const size_t words = (size_t)privcomp_group_msm_scratch(n, group); /* of the level, which needs at least what level 0 does */
        CHECK(words <= sizeof scratch / 8);
        test_fill(factors, sizeof factors);
        for (size_t i = 0; i < MANY; i++) factors[i] >>= n % 60;
        CHECK(privcomp_scalar_from_wide(scalars, wide, N, group) == PRIVCOMP_OK);
        for (size_t i = N; i < MANY; i++) memcpy(scalars + PRIVCOMP_SCALAR_BYTES * i, scalars + PRIVCOMP_SCALAR_BYTES * (i - N), PRIVCOMP_SCALAR_BYTES);
        SAME(level, start, want, got, privcomp_group_msm_var(out, repeated, scalars, n, group, scratch, words));
        SAME(level, start, want, got, privcomp_group_msm_i64_var(out, repeated, factors, n, group, scratch, words));
    }
}

/* What a level replaces of the sumchecks: tables shorter than a vector, and up to some vectors for every value of the high variables. */
static void sumchecks(int level, int group)
{
    enum { BITS = 8, N = 1 << BITS, SCALAR = PRIVCOMP_SCALAR_BYTES };
    static uint8_t wide[64 * 4 * N], scalars[SCALAR * 4 * N];
    static uint64_t tables[4 * 4 * N], start[4 * 4 * N], want[4 * 4 * N], got[4 * 4 * N], scratch[1 << 10];
    static int64_t x[4 * N];
    test_fill(wide, sizeof wide);
    for (size_t i = 0; i < 4 * N; i++) x[i] = (int64_t)(test_u64() >> 33) - ((int64_t)1 << 30);
    CHECK(privcomp_scalar_from_wide(scalars, wide, 4 * N, group) == PRIVCOMP_OK);
    CHECK(privcomp_multilinear_load(tables, scalars, 4 * N, group) == PRIVCOMP_OK);
    memcpy(start, tables, sizeof start);
    const uint8_t *const s = scalars + 20 * SCALAR, *const t = s + SCALAR;
    for (size_t n = 0; n <= 20; n++) {
        SAME(level, start, want, got, privcomp_multilinear_fold(out, 3, 2 * n + 1, n, s, group));
        SAME(level, start, want, got, privcomp_multilinear_combine(out, scalars, 3, x, 2 * n, n, n % 2, group));
        SAME(level, start, want, got, privcomp_sumcheck_product((uint8_t *)out, tables, tables + 8 * N, n, group));
    }
    for (unsigned b = 0; b < BITS; b++) {
        const size_t size = (size_t)1 << b, d = size + test_u64() % size;
        SAME(level, start, want, got, privcomp_multilinear_fold(out, 4, N, size, s, group));
        SAME(level, start, want, got, privcomp_multilinear_eq(out, scalars, b, d / 2, s, t, group, scratch));
        SAME(level, start, want, got, privcomp_fraction_up(out, tables, b, group));
        SAME(level, start, want, got, privcomp_fraction_mix(out, size, s, group));
        SAME(level, start, want, got, privcomp_fraction_round((uint8_t *)out, tables, N, b, scalars, NULL, group, scratch));
        SAME(level, start, want, got, privcomp_fraction_round((uint8_t *)out, tables, N, b, scalars, s, group, scratch));
        SAME(level, start, want, got, privcomp_reciprocals(out, size - size / 3, size, s, group));
        SAME(level, start, want, got, privcomp_reciprocal_sum((uint8_t *)out, size - size / 3, b, s, scalars, group, scratch));
        for (unsigned depth = 1; depth <= 2; depth++) {
            SAME(level, start, want, got, privcomp_fraction_layer(out, x, d, b + depth, b, s, group));
            if (b == 0) continue;
            SAME(level, start, want, got, privcomp_fraction_first_round((uint8_t *)out, x, d, b + depth, b, s, t, scalars, group, scratch));
            SAME(level, start, want, got, privcomp_fraction_first_fold(out, x, d, b + depth, b, s, t, s, group));
        }
    }
}

/* With an argument: from that level on. */
int main(int argc, char **argv)
{
    for (int level = argc > 1 ? atoi(argv[1]) : 1; level <= privcomp_level_max(); level++) {
        keystreams(level);
        for (int field = PRIVCOMP_FIELD_M61; field <= PRIVCOMP_FIELD_GOLDILOCKS; field++) {
            struct field f;
            privcomp_level_set(level);
            CHECK(pc_field(&f, field) == PRIVCOMP_OK);
            const struct field *const portable = field == PRIVCOMP_FIELD_M61 ? &pc_m61_portable : &pc_goldilocks_portable;
            field_vectors(&f, portable);
            field_dots(&f, portable);
            field_functions(level, field);
            for (size_t n = 1; n <= 12; n++)
                for (size_t t = 1; t <= n; t++) shamir(level, field, n, t, 1 + test_u64() % 50, (n + t) % 2 == 0);
            shamir(level, field, 20, 11, 511, 1), shamir(level, field, 21, 14, 513, 1), shamir(level, field, 33, 17, 530, 0);
            shamir(level, field, 100, 67, 33, 1), shamir(level, field, 50, 34, 40, 0);
        }
        for (int group = PRIVCOMP_RISTRETTO255; group <= PRIVCOMP_BN254_G1; group++) groups(level, group), sumchecks(level, group);
        printf("levels: %d agrees with portable in %lu cases%s\n", level, cases,
               level == PRIVCOMP_LEVEL_AVX512 ? pc_cpu_features() & PC_CPU_AVX512IFMA ? " (with IFMA)" : " (without IFMA)" : "");
        cases = 0;
    }
    printf("levels: ok, levels 0..%d\n", privcomp_level_max());
    return 0;
}
