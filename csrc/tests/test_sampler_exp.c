/* The closed-form samplers below Python: levels, operations and lengths agree, slow arithmetic decides as fast arithmetic does, the tail is
 * what it should be, refusals write nothing. The laws are tested from Python.
 */
#include <math.h>

#include "check.h"
#include "sampler_exp.h"

static uint8_t seeds[2 * PRIVCOMP_CHACHA20_SEED_BYTES];
static unsigned long cases;

/* Vose's alias table. */
static void make_alias(privcomp_exp_table *t)
{
    uint32_t left[64];
    for (uint32_t j = 0; j < 64; j++) left[j] = t->weight[j], t->alias[j] = j;
    for (;;) {
        uint32_t small = 64, large = 64;
        for (uint32_t j = 0; j < 64; j++) {
            if (left[j] > 0 && left[j] < 0x10000) small = j;
            if (left[j] > 0x10000) large = j;
        }
        if (small == 64) return;
        t->alias[small] = (left[small] << 6) + large;
        left[large] -= 0x10000 - left[small];
        left[small] = 0; /* done */
    }
}

/* A valid table by long double: weights are a thousandth too large, which hides its errors. unit: sigma or t in blocks. */
static privcomp_exp_table make_table(uint32_t kind, uint32_t shift, double unit, uint32_t tail)
{
    privcomp_exp_table t = {.denominator = {1u << 20}, .kind = kind, .shift = shift, .band_single = 15, .band_double = 40};
    const int gauss = kind == PRIVCOMP_SAMPLER_GAUSS;
    const u128 q = (u128)((gauss ? unit * unit : unit) * (1u << 20)) << (gauss ? 2 * shift : shift);
    t.numerator[0] = (uint64_t)q, t.numerator[1] = (uint64_t)(q >> 64);
    long double rho[63], sum = 0;
    for (int j = 0; j < 63; j++) rho[j] = expl(-(long double)(gauss ? j * j : j) / (gauss ? 2 * unit * unit : unit)), sum += rho[j];
    const long double c = (4194304 - 64 - tail) / sum / 1.001L;
    uint32_t total = tail;
    t.scale = (uint64_t)(c * 0x1p40L / 1.001L);
    for (int j = 0; j < 63; j++) total += t.weight[j] = 1 + (uint32_t)(c * rho[j]);
    t.weight[63] = tail;
    CHECK(total <= 4194304); /* check: 2**22 */
    t.weight[0] += 4194304 - total;
    make_alias(&t);
    return t;
}

static void levels_and_operations(const privcomp_exp_table *t)
{
    enum { MAX = 3000 };
    static int64_t want[MAX], got[MAX + 1];
    static uint32_t a32[MAX], b32[MAX];
    static uint64_t a64[MAX], b64[MAX];
    static const size_t sizes[] = {0, 1, 2, 7, 8, 9, 63, 255, 256, 257, 511, 520, 521, 1000, MAX};
    for (int cipher = PRIVCOMP_AES128_CTR; cipher <= PRIVCOMP_CHACHA20; cipher++) {
        test_fill(seeds, sizeof seeds);
        privcomp_level_set(0);
        CHECK(privcomp_sample_exp_var(want, MAX, t, seeds, cipher) == PRIVCOMP_OK);
        for (int level = 0; level <= privcomp_level_max(); level++) {
            privcomp_level_set(level);
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
                const size_t n = sizes[s];
                got[n] = 0x5a5a5a5a;
                CHECK(privcomp_sample_exp_var(got, n, t, seeds, cipher) == PRIVCOMP_OK);
                CHECK(memcmp(want, got, 8 * n) == 0 && got[n] == 0x5a5a5a5a); /* shorter outputs are beginnings of longer ones */
                test_fill(a32, sizeof a32), test_fill(a64, sizeof a64);
                memcpy(b32, a32, sizeof a32), memcpy(b64, a64, sizeof a64);
                CHECK(privcomp_sample_exp_add_u32_var(a32, n, t, seeds, cipher) == PRIVCOMP_OK);
                CHECK(privcomp_sample_exp_add_u64_var(a64, n, t, seeds, cipher) == PRIVCOMP_OK);
                for (size_t i = 0; i < n; i++) CHECK(a32[i] == b32[i] + (uint32_t)(uint64_t)want[i] && a64[i] == b64[i] + (uint64_t)want[i]);
                CHECK(memcmp(a32 + n, b32 + n, 4 * (MAX - n)) == 0 && memcmp(a64 + n, b64 + n, 8 * (MAX - n)) == 0);
                cases++;
            }
        }
    }
}

/* Whatever the band: all in double, all in integers, and in between. */
static void bands(const privcomp_exp_table *t, size_t n)
{
    enum { MAX = 3000 };
    static int64_t want[MAX], got[MAX];
    static const uint32_t tried[][2] = {{15, 0}, {0, 40}, {3, 3}, {0, 0}};
    for (int level = 0; level <= privcomp_level_max(); level++) {
        privcomp_level_set(level);
        CHECK(privcomp_sample_exp_var(want, n, t, seeds, PRIVCOMP_CHACHA20) == PRIVCOMP_OK);
        for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
            privcomp_exp_table slow = *t;
            slow.band_single = tried[i][0], slow.band_double = tried[i][1];
            CHECK(privcomp_sample_exp_var(got, n, &slow, seeds, PRIVCOMP_CHACHA20) == PRIVCOMP_OK && memcmp(want, got, 8 * n) == 0);
            cases++;
        }
    }
}

/* One candidate whose words are given: where its uniform passes T, to 2^-60 relative at the best, against long double. */
static void thresholds(const privcomp_exp_table *t, int deeper)
{
    exp_table ready, slow;
    privcomp_exp_table open = *t;
    static pc_sampler s;
    open.band_double = 0;
    CHECK(pc_exp_table_load(&ready, t) && pc_exp_table_load(&slow, &open));
    s.cipher = PRIVCOMP_CHACHA20;
    s.level = pc_level_table();
    test_fill(seeds, sizeof seeds);
    pc_stream_init(&s.second, s.cipher, seeds, s.level);
    const long double q = ((long double)t->numerator[1] * 0x1p64L + t->numerator[0]) / t->denominator[0], c = t->scale * 0x1p-40L;
    const int gauss = t->kind == PRIVCOMP_SAMPLER_GAUSS;
    int tails = 0, deep = 0, second = 0;
    for (uint64_t i = 0; i < 400; i++) {
        uint64_t a = test_u64();
        if (i % 2) a = (a & ~UINT64_C(0x3fffff)) | 63; /* the tail: its own bin, and the least fraction; check: 0x3fffff == 2**22 - 1 */
        const unsigned bin = exp_bin(&ready, a);
        CHECK(i % 2 == 0 || bin == 63);
        long double block = bin, ratio = c / t->weight[bin];
        uint64_t word = a;
        unsigned used = 0;
        if (bin == 63 && gauss) {
            uint64_t e = pc_sampler_extension(&s, i, used++);
            const int g = __builtin_ctzll(e);
            CHECK(e != 0);
            block += g, ratio *= powl(2, g + 1), tails++, deep += g > 1;
        } else if (bin == 63) {
            unsigned next = 63;
            block = 0, ratio = c;
            while (next == 63) {
                word = pc_sampler_extension(&s, i, used++);
                block += 63, ratio *= 4194304.0L / t->weight[63]; /* check: 4194304 == 2**22 */
                next = exp_bin(&ready, word);
            }
            block += next, ratio /= t->weight[next], tails++, deep += used > 1;
        }
        const long double offset = (long double)exp_offset(word, t->shift), y = block * powl(2, t->shift) + offset, x = y + (a >> 22 & 1);
        const long double threshold = ratio * expl(-(gauss ? x * x / (2 * q) : x / q)) * 0x1p64L;
        const long double error = 2 + threshold * 0x1p-54L; /* of expl and of what it is given: |phi| < 64 */
        for (int side = -1; side <= 1; side += 2) {
            const long double at = threshold + side * error;
            if (at < 0 || at >= 0x1p64L) continue;
            for (int k = 0; k < 2; k++) {
                int64_t value;
                const int accepted = pc_exp_candidate(&value, k ? &slow : &ready, &s, i, a, (uint64_t)at);
                CHECK(accepted == (side < 0));
                CHECK((long double)value == ((a >> 22 & 1) ? -x : y));
                cases++;
            }
        }
        /* A first word that leaves the comparison open: the fraction of T 2^64 is then compared with the next word. */
        const long double at = floorl(threshold), fraction = threshold - at, next = (long double)pc_sampler_extension(&s, i, used) * 0x1p-64L;
        if (threshold < 0x1p40L && fabsl(fraction - next) > 0x1p-12L) {
            int64_t value;
            CHECK(pc_exp_candidate(&value, &slow, &s, i, a, (uint64_t)at) == (next < fraction));
            second++;
        }
        CHECK(!s.exhausted);
    }
    CHECK(tails >= 200 && (!deeper || deep > 0) && (!gauss || second > 0));
}

static void refusals(const privcomp_exp_table *good)
{
    int64_t out[4] = {7, 7, 7, 7};
    uint8_t bits[4] = {7, 7, 7, 7};
    const uint64_t one[2] = {1, 0}, none[2] = {0, 0};
#define REFUSED(change) \
    do { \
        privcomp_exp_table t = *good; \
        change; \
        CHECK(privcomp_sample_exp_var(out, 4, &t, seeds, PRIVCOMP_AES128_CTR) == PRIVCOMP_E_ARGUMENT); \
        CHECK(out[0] == 7 && out[3] == 7); \
        cases++; \
    } while (0)
    REFUSED(t.kind = 0);
    REFUSED(t.kind = 3);
    REFUSED(t.shift = 39);
    REFUSED(t.scale = 0);
    REFUSED(t.scale = (uint64_t)1 << 63);
    REFUSED(t.numerator[0] = t.numerator[1] = 0);
    REFUSED(t.denominator[0] = t.denominator[1] = 0);
    REFUSED(t.band_single = 16);
    REFUSED(t.band_double = 41);
    REFUSED(t.weight[5]++);
    REFUSED((t.weight[5]++, t.weight[6]--));
    REFUSED(t.weight[5] = 0);
    REFUSED(t.alias[5] ^= 1);
    REFUSED(t.alias[5] = 0xffffffff);
    REFUSED((t.kind = PRIVCOMP_SAMPLER_LAPLACE, t.weight[63] = 3));
    CHECK(privcomp_sample_exp_var(out, 4, good, seeds, 0) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_sample_exp_var(out, (size_t)SAMPLER_MAX_N + 1, good, seeds, PRIVCOMP_AES128_CTR) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_bernoulli_exp_var(bits, 4, one, none, 64, seeds, PRIVCOMP_AES128_CTR) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_bernoulli_exp_var(bits, 4, one, one, 65, seeds, PRIVCOMP_AES128_CTR) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_bernoulli_exp_var(bits, 4, one, one, 64, seeds, 3) == PRIVCOMP_E_ARGUMENT);
    CHECK(out[0] == 7 && bits[0] == 7);
    /* A table of another law, by which almost nothing is accepted: the call ends, and says so. */
    privcomp_exp_table starved = *good;
    starved.scale = 1;
    CHECK(privcomp_sample_exp_var(out, 4, &starved, seeds, PRIVCOMP_AES128_CTR) == PRIVCOMP_E_ENTROPY && out[0] == 0 && out[3] == 0);
    cases += 6;
}

/* A kernel whose third tile runs out of words. */
static size_t runs_out(int64_t *out, size_t count, uint64_t first, struct pc_sampler *s, const void *table)
{
    (void)table;
    for (size_t i = 0; i < count; i++) out[i] = (int64_t)(first + i);
    if (first >= 2 * SAMPLER_TILE) CHECK(pc_sampler_extension(s, first, SAMPLER_EXTENSION) == 0);
    return count;
}

/* What no stream brings about: candidates without an answer. */
static void exhaustion(const privcomp_exp_table *gauss, const privcomp_exp_table *laplace)
{
    enum { N = 3 * SAMPLER_TILE };
    static int64_t out[N];
    static uint64_t acc[N];
    for (int cipher = PRIVCOMP_AES128_CTR; cipher <= PRIVCOMP_CHACHA20; cipher++) {
        CHECK(pc_sampler_run(PC_STORE, out, N - SAMPLER_TILE, runs_out, NULL, seeds, cipher) == PRIVCOMP_OK);
        for (int64_t i = 0; i < N - SAMPLER_TILE; i++) CHECK(out[i] == i);
        CHECK(pc_sampler_run(PC_STORE, out, N, runs_out, NULL, seeds, cipher) == PRIVCOMP_E_ENTROPY);
        for (int i = 0; i < N; i++) CHECK(out[i] == 0);
        CHECK(pc_sampler_run(PC_ADD64, acc, N, runs_out, NULL, seeds, cipher) == PRIVCOMP_E_ENTROPY);
        cases += 3;
    }
    for (int k = 0; k < 2; k++) {
        static pc_sampler s;
        exp_table t;
        int64_t value;
        CHECK(pc_exp_table_load(&t, k ? laplace : gauss));
        s.cipher = PRIVCOMP_CHACHA20;
        s.level = pc_level_table();
        pc_stream_init(&s.second, s.cipher, seeds, s.level);
        s.exhausted = 1; /* as if the words of the tail had run out */
        CHECK(pc_exp_candidate(&value, &t, &s, 0, 63, 0) == 0);
        cases++;
    }
}

static void bernoulli(void)
{
    enum { N = 4000 };
    static uint8_t want[N], got[N];
    const uint64_t values[][4] = {{0, 0, 1, 0}, {1, 0, 3, 0}, {1, 0, 1, 0}, {7, 0, 2, 0}, {1, 0, 0, 1}, {0, 1, 1, 0}, {~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(1), ~UINT64_C(0)}};
    for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
        test_fill(seeds, sizeof seeds);
        const long double p = expl(-(values[v][1] * 0x1p64L + values[v][0]) / (values[v][3] * 0x1p64L + values[v][2]));
        for (int level = 0; level <= privcomp_level_max(); level++) {
            privcomp_level_set(level);
            for (unsigned band = 0; band <= 64; band += 16) {
                const size_t n = band ? N : 300;
                CHECK(privcomp_bernoulli_exp_var(got, n, values[v], values[v] + 2, band, seeds, PRIVCOMP_CHACHA20) == PRIVCOMP_OK);
                if (level == 0 && band == 0) CHECK(privcomp_bernoulli_exp_var(want, N, values[v], values[v] + 2, 64, seeds, PRIVCOMP_CHACHA20) == PRIVCOMP_OK);
                CHECK(memcmp(want, got, n) == 0);
                cases++;
            }
        }
        long ones = 0;
        for (int i = 0; i < N; i++) ones += want[i];
        CHECK(fabsl(ones - N * p) <= 6 * sqrtl(N * p * (1 - p)) + 1e-6L); /* 2e-9 */
    }
}

int main(void)
{
    static const struct { uint32_t shift; double unit; } widths[] = {{0, 0.3}, {0, 1}, {1, 3.7}, {8, 4}, {23, 6}, {24, 6}, {25, 6}, {26, 4}, {38, 4}};
    test_fill(seeds, sizeof seeds);
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        const privcomp_exp_table gauss = make_table(PRIVCOMP_SAMPLER_GAUSS, widths[i].shift, widths[i].unit, 1);
        const privcomp_exp_table laplace = make_table(PRIVCOMP_SAMPLER_LAPLACE, widths[i].shift, widths[i].unit, 1024);
        levels_and_operations(&gauss);
        levels_and_operations(&laplace);
        bands(&gauss, i % 4 ? 100 : 500);
        bands(&laplace, i % 4 ? 100 : 500);
        thresholds(&gauss, 1);
        thresholds(&laplace, 0);
    }
    const privcomp_exp_table heavy = make_table(PRIVCOMP_SAMPLER_LAPLACE, 20, 20, 1 << 18); /* a sixteenth of the candidates are in the tail */
    levels_and_operations(&heavy);
    thresholds(&heavy, 1);
    refusals(&heavy);
    const privcomp_exp_table light = make_table(PRIVCOMP_SAMPLER_GAUSS, 8, 4, 1);
    exhaustion(&light, &heavy);
    bernoulli();
    printf("sampler_exp: ok, %lu cases\n", cases);
    return 0;
}
