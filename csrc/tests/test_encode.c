/* Rotation, clip, rounding and sums of records: against plain readings of the contract, and every level against the portable one. Larger sizes and
 * exact norms are in tests/core/test_noise_kernels.py. */
#include "check.h"
#include "encode.h"

enum { LARGE = 1 << 18 };
static double x[LARGE], y[2][LARGE], scratch[2][LARGE + LARGE / 64];
static float single[LARGE];
static int64_t v[LARGE], q[4][LARGE];
static uint8_t seed[48], coins[48];

/* Finite, of all sizes. */
static double some_double(void)
{
    uint64_t bits = test_u64();
    double d;
    if (test_u64() % 4 == 0) return 0;
    if (test_u64() % 2) bits = (bits & ~((uint64_t)0x7ff << 52)) | (1000 + bits % 40) << 52;
    if (((bits >> 52) & 0x7ff) > 0x7fe - 40) bits &= ~((uint64_t)1 << 62);
    memcpy(&d, &bits, 8);
    return d;
}

static int minus(const uint8_t *stream, size_t j) { return (stream[j / 8] >> (j % 8)) & 1; }

static void transforms(void)
{
    static int64_t want[LARGE];
    static double wanted[LARGE];
    for (size_t d = 1; d <= LARGE; d *= 2) {
        for (size_t j = 0; j < d; j++) v[j] = want[j] = (int64_t)(test_u64() >> 24) - ((int64_t)1 << 39), x[j] = wanted[j] = some_double() * 0x1p-60;
        for (size_t h = d / 2; h > 0; h /= 2)
            for (size_t i = 0; i < d; i++)
                if ((i & h) == 0) {
                    const int64_t a = want[i], b = want[i + h];
                    const double f = wanted[i], g = wanted[i + h];
                    want[i] = a + b, want[i + h] = a - b;
                    wanted[i] = f + g, wanted[i + h] = f - g;
                }
        for (int level = 0; level <= privcomp_level_max(); level++) {
            privcomp_level_set(level);
            memcpy(q[0], v, 8 * d), memcpy(y[0], x, 8 * d);
            CHECK(privcomp_hadamard_i64(q[0], d) == PRIVCOMP_OK && memcmp(q[0], want, 8 * d) == 0);
            CHECK(privcomp_hadamard_f64(y[0], d) == PRIVCOMP_OK && memcmp(y[0], wanted, 8 * d) == 0);
        }
    }
    CHECK(privcomp_hadamard_f64(x, 0) == PRIVCOMP_E_ARGUMENT && privcomp_hadamard_f64(x, 48) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_hadamard_i64(v, 0) == PRIVCOMP_E_ARGUMENT && privcomp_hadamard_i64(v, (size_t)1 << 31) == PRIVCOMP_E_ARGUMENT);
    for (int i = 0; i < 64; i++) v[i] = i % 2 ? (int64_t)1 << 56 : -((int64_t)1 << 56);
    memcpy(q[0], v, 64 * 8);
    CHECK(privcomp_hadamard_i64(q[0], 64) == PRIVCOMP_E_RANGE && memcmp(q[0], v, 64 * 8) == 0);
    q[0][63]--;
    CHECK(privcomp_hadamard_i64(q[0], 64) == PRIVCOMP_OK && q[0][1] == -((int64_t)1 << 62) + 1);
}

static void signs(void)
{
    static uint8_t stream[9000];
    for (int cipher = PRIVCOMP_AES128_CTR; cipher <= PRIVCOMP_CHACHA20; cipher++)
        for (size_t n = 0; n < 70000; n += 1 + n / 3) {
            CHECK(privcomp_keystream_fill(stream, sizeof stream, seed, cipher, 0) == PRIVCOMP_OK);
            for (size_t j = 0; j < n; j++) v[j] = (int64_t)test_u64(), x[j] = some_double();
            for (int level = 0; level <= privcomp_level_max(); level++) {
                privcomp_level_set(level);
                memcpy(q[0], v, 8 * n), memcpy(y[0], x, 8 * n);
                CHECK(privcomp_flip_i64(q[0], n, seed, cipher) == PRIVCOMP_OK && privcomp_flip_f64(y[0], n, seed, cipher) == PRIVCOMP_OK);
                for (size_t j = 0; j < n; j++) {
                    const double f = minus(stream, j) ? -x[j] : x[j];
                    CHECK((uint64_t)q[0][j] == (minus(stream, j) ? 0 - (uint64_t)v[j] : (uint64_t)v[j]) && memcmp(&y[0][j], &f, 8) == 0);
                }
            }
        }
    CHECK(privcomp_flip_f64(x, 1, seed, 0) == PRIVCOMP_E_ARGUMENT && privcomp_flip_i64(v, ((size_t)1 << 40) + 1, seed, 1) == PRIVCOMP_E_ARGUMENT);
}

/* Every kernel of every level against the portable one, on lengths with and without rests. */
static void kernels(void)
{
    static uint8_t stream[LARGE / 8];
    for (int level = 1; level <= privcomp_level_max(); level++) {
        const struct encode *const k[2] = {&pc_encode_portable, pc_encode_at(level)};
        for (size_t n = 0; n <= ENCODE_BLOCK; n += n < 70 ? 1 : 1 + n / 3) {
            double total[2][2];
            encode_squares parts[2];
            const uint64_t beta = test_u64() >> (17 + test_u64() % 40) << (test_u64() % 2); /* <= 2^48 */
            for (size_t j = 0; j < n; j++) x[j] = some_double() * 0x1p30, single[j] = (float)((double)(int64_t)test_u64() * 0x1p-30);
            for (size_t j = 0; j < n; j += 3) x[j] = (double)(test_u64() % 3 ? beta / (1 + test_u64() % 4) : test_u64() % 100) + 0.5;
            test_fill(v, 8 * n);
            for (int i = 0; i < 2; i++) {
                total[i][0] = k[i]->squares_f32(single, n, 0x1p-3);
                total[i][1] = k[i]->squares_f64(x, n, 0x1p-400);
                memcpy(q[i], v, 8 * n);
                parts[i] = k[i]->round(q[i], x, n, 0.75, beta);
            }
            CHECK(memcmp(total[0], total[1], sizeof total[0]) == 0 && memcmp(q[0], q[1], 8 * n) == 0 && memcmp(&parts[0], &parts[1], sizeof *parts) == 0);
            u128 sum = 0;
            for (size_t j = 0; j < n; j++) {
                const uint64_t m = (uint64_t)(q[0][j] < 0 ? -q[0][j] : q[0][j]);
                CHECK(m <= beta);
                sum += (u128)m * m;
            }
            CHECK(sum == encode_squares_value(&parts[0]));
        }
        test_fill(stream, sizeof stream);
        for (size_t d = 32; d <= LARGE; d *= 2)
            for (int trial = 0; trial < 3; trial++) {
                const size_t n = trial == 0 ? d : test_u64() % (d + 1);
                double total[2][2];
                for (size_t j = 0; j < n; j++) x[j] = some_double() * 0x1p-40, single[j] = (float)((double)(int64_t)test_u64() * 0x1p-30);
                for (int i = 0; i < 2; i++) total[i][0] = k[i]->rotate_f32(y[i], d, single, n, stream, 0x1p9);
                CHECK(memcmp(y[0], y[1], 8 * d) == 0);
                /* the same from its parts */
                for (size_t j = 0; j < d; j++) scratch[0][j] = j < n ? (double)single[j] * 0x1p9 : 0;
                k[0]->flip_f64(scratch[0], d, stream);
                k[0]->hadamard_f64(scratch[0], d, &total[1][1]);
                CHECK(memcmp(&total[1][1], &total[0][0], 8) == 0 && memcmp(&total[1][1], &total[1][0], 8) == 0);
                for (size_t j = 0; j < d; j++) CHECK(scratch[0][j] == y[0][j]);
                for (int i = 0; i < 2; i++) total[i][1] = k[i]->rotate_f64(y[i], d, x, n, stream, 1);
                CHECK(memcmp(y[0], y[1], 8 * d) == 0 && memcmp(total[0], total[1], sizeof total[0]) == 0);
            }
    }
}

/* What is returned is within the bound, in integers. */
static u128 squares(const int64_t *a, size_t n)
{
    u128 sum = 0;
    for (size_t j = 0; j < n; j++) sum += (u128)((__int128)a[j] * a[j]);
    return sum;
}

static void chain(void)
{
    int32_t attempt[2];
    for (size_t d = 1; d <= LARGE; d *= 2)
        for (int trial = 0; trial < 4; trial++) {
            const size_t n = trial == 0 ? d : test_u64() % (d + 1), words = (size_t)privcomp_encode_l2_scratch(d);
            const double clip = (double)(1 + test_u64() % 1000) / 64;
            const uint64_t beta = (uint64_t)(clip * 1024), bound = beta * beta; /* the granularity is 2^-10 */
            CHECK(words <= sizeof scratch[0] / 8);
            for (size_t j = 0; j < n; j++) {
                x[j] = trial == 2 ? some_double() : (double)(int64_t)test_u64() * 0x1p-62;
                single[j] = (float)((double)(int64_t)test_u64() * 0x1p-62);
            }
            for (int level = 0; level <= privcomp_level_max(); level++) {
                privcomp_level_set(level);
                const int at = level > 0;
                attempt[at] = -1;
                CHECK(privcomp_encode_l2_f64_var(q[at], &attempt[at], d, x, n, clip, 0x1p-10, beta, 0, bound, 2, seed, coins, PRIVCOMP_AES128_CTR,
                                                 scratch[at], words) == PRIVCOMP_OK);
                CHECK(squares(q[at], d) <= bound && attempt[at] >= 0 && attempt[at] <= 2);
                CHECK(memcmp(q[0], q[at], 8 * d) == 0 && attempt[0] == attempt[at]);
                CHECK(privcomp_encode_l2_f32_var(q[2 + at], NULL, d, single, n, clip, 0x1p-10, beta, 0, bound, 2, seed, coins, PRIVCOMP_AES128_CTR, scratch[at],
                                                 words) == PRIVCOMP_OK);
                CHECK(squares(q[2 + at], d) <= bound && memcmp(q[2], q[2 + at], 8 * d) == 0);
            }
        }
    const double bad[] = {__builtin_inf(), -__builtin_inf(), __builtin_nan("")};
    for (int level = 0; level <= privcomp_level_max(); level++) {
        privcomp_level_set(level);
        for (int i = 0; i < 3; i++)
            for (size_t d = 4; d <= 4096; d *= 32) {
                for (size_t j = 0; j < d; j++) x[j] = 1e30, single[j] = 1, q[0][j] = 7, y[0][j] = 7;
                x[d - 1] = bad[i], single[d - 1] = (float)bad[i];
                CHECK(privcomp_encode_l2_f64_var(q[1], NULL, d, x, d, 1, 1, 1, 0, 1, 1, seed, coins, 1, scratch[0], LARGE) == PRIVCOMP_E_FLOAT && squares(q[1], d) == 0);
                CHECK(privcomp_encode_l2_f32_var(q[1], NULL, d, single, d, 1, 1, 1, 0, 1, 1, seed, coins, 1, scratch[0], LARGE) == PRIVCOMP_E_FLOAT && squares(q[1], d) == 0);
                CHECK(privcomp_round_l2_f64_var(q[0], NULL, x, d, 1, 1, 0, 1, 1, coins, 1) == PRIVCOMP_E_FLOAT);
                CHECK(privcomp_sum_records_f64_var(q[0], x, 1, d, 1, 1, 0, 1, scratch[0], 2) == PRIVCOMP_E_FLOAT);
                CHECK(privcomp_clip_l2_f64(y[0], x, d, 1) == PRIVCOMP_E_FLOAT);
                for (size_t j = 0; j < d; j++) CHECK(q[0][j] == 7 && y[0][j] == 7);
            }
    }
    x[0] = 5;
    CHECK(privcomp_encode_l2_scratch(3) == -1 && privcomp_encode_l2_scratch(0) == -1 && privcomp_encode_l2_scratch((size_t)1 << 31) == -1);
    CHECK(privcomp_encode_l2_f64_var(q[0], NULL, 4, x, 5, 1, 1, 1, 0, 1, 1, seed, coins, 1, scratch[0], LARGE) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_encode_l2_f64_var(q[0], NULL, 4, x, 1, 1, 1, 1, 0, 1, 1, seed, coins, 1, scratch[0], 0) == PRIVCOMP_E_LENGTH);
    CHECK(privcomp_encode_l2_f64_var(q[0], NULL, 4, x, 1, 0, 1, 1, 0, 1, 1, seed, coins, 1, scratch[0], LARGE) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_encode_l2_f64_var(q[0], NULL, 4, x, 1, 1, bad[2], 1, 0, 1, 1, seed, coins, 1, scratch[0], LARGE) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_encode_l2_f64_var(q[0], NULL, 4, x, 1, 1, 1, 1, (uint64_t)1 << 63, 1, 1, seed, coins, 1, scratch[0], LARGE) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_encode_l2_f64_var(q[0], NULL, 4, x, 1, 1, 1, 1, 0, 1, 65537, seed, coins, 1, scratch[0], LARGE) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_round_l2_f64_var(q[0], NULL, x, 1, 1, ((uint64_t)1 << 48) + 1, 0, 1, 1, coins, 1) == PRIVCOMP_E_ARGUMENT);
    /* a bound that the truncated vector exceeds: nothing is left of it */
    q[0][0] = 7;
    CHECK(privcomp_round_l2_f64_var(q[0], NULL, x, 1, 1, 100, 0, 24, 3, coins, 1) == PRIVCOMP_E_NORM && q[0][0] == 0);
    CHECK(privcomp_round_l2_f64_var(q[0], NULL, x, 1, 1, 100, 0, 25, 3, coins, 1) == PRIVCOMP_OK && q[0][0] == 5);
}

static void clips(void)
{
    for (size_t n = 0; n <= 5000; n += 1 + n / 2)
        for (int level = 0; level <= privcomp_level_max(); level++) {
            privcomp_level_set(level);
            for (size_t j = 0; j < n; j++) x[j] = (double)(j + 1), single[j] = (float)(j + 1);
            CHECK(privcomp_clip_l2_f64(y[0], x, n, 1e8) == PRIVCOMP_OK && memcmp(y[0], x, 8 * n) == 0);
            CHECK(privcomp_clip_l2_f64(x, x, n, 0.5) == PRIVCOMP_OK);
            CHECK(privcomp_clip_l2_f32(single, single, n, 0.5) == PRIVCOMP_OK);
            long double sums[2] = {0, 0};
            for (size_t j = 0; j < n; j++) sums[0] += (long double)x[j] * x[j], sums[1] += (long double)single[j] * single[j];
            if (n > 0) CHECK(sums[0] <= 0.25L && sums[0] > 0.25L - 0x1p-28 && sums[1] <= 0.25L && sums[1] > 0.25L - 0x1p-18);
        }
    CHECK(privcomp_clip_l2_f64(y[0], x, 1, 0x1p101) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_clip_l2_f32(single, single, ((size_t)1 << 30) + 1, 1) == PRIVCOMP_E_ARGUMENT);
}

static void records(void)
{
    enum { ROWS = 5, D = 3000 };
    for (int level = 0; level <= privcomp_level_max(); level++) {
        privcomp_level_set(level);
        for (size_t j = 0; j < ROWS * D; j++) x[j] = (double)(int64_t)(j * j % 2001) - 1000, single[j] = (float)x[j];
        memset(q, 0, sizeof q);
        CHECK(privcomp_sum_records_f64_var(q[0], x, ROWS, D, 1e6, 0.5, 0, UINT64_MAX, scratch[0], 2 * ROWS) == PRIVCOMP_OK);
        CHECK(privcomp_sum_records_f32_var(q[1], single, ROWS, D, 1e6, 0.5, 0, UINT64_MAX, scratch[0], 2 * ROWS) == PRIVCOMP_OK);
        for (size_t j = 0; j < D; j++) {
            int64_t want = 0;
            for (size_t i = 0; i < ROWS; i++) want += 2 * (int64_t)x[i * D + j];
            CHECK(q[0][j] == want && q[1][j] == want);
        }
        CHECK(privcomp_sum_records_f64_var(q[0], x, ROWS, D, 1e6, 0.5, 0, UINT64_MAX, scratch[0], 2 * ROWS - 1) == PRIVCOMP_E_LENGTH);
        CHECK(privcomp_sum_records_f64_var(q[0], x, ROWS, D, 1e6, 0x1p-40, 0, UINT64_MAX, scratch[0], 2 * ROWS) == PRIVCOMP_E_ARGUMENT);
        CHECK(privcomp_sum_records_f64_var(q[0], x, ROWS, D, 1e6, 0.5, 0, 1, scratch[0], 2 * ROWS) == PRIVCOMP_E_NORM);
        for (size_t j = 0; j < D; j++) CHECK(q[0][j] == 0);
        q[0][D - 1] = ((int64_t)1 << 62) - ROWS; /* rows of length 1 */
        CHECK(privcomp_sum_records_f64_var(q[0], x, ROWS, D, 1, 1, 0, 1, scratch[0], 2 * ROWS) == PRIVCOMP_E_RANGE);
        q[0][D - 1]--;
        CHECK(privcomp_sum_records_f64_var(q[0], x, ROWS, D, 1, 1, 0, 1, scratch[0], 2 * ROWS) == PRIVCOMP_OK);
    }
}

static void division(void)
{
    enum { N = 500, WORDS = 24 };
    static uint8_t stream[8 * N * WORDS];
    for (int trial = 0; trial < 200; trial++) {
        const int cipher = 1 + trial % 2;
        const uint64_t divisor = trial < 20 ? (uint64_t)1 + trial : trial < 81 ? (uint64_t)1 << (trial - 20) : 1 + (test_u64() >> (4 + test_u64() % 60));
        test_fill(coins, sizeof coins);
        CHECK(privcomp_keystream_fill(stream, sizeof stream, coins, cipher, 0) == PRIVCOMP_OK);
        for (int j = 0; j < N; j++) v[j] = ((int64_t)test_u64() >> (1 + test_u64() % 60)) / 2 * 2 + (j % 3);
        v[0] = (int64_t)1 << 62, v[1] = -v[0], v[2] = 0, v[3] = -1;
        for (int j = 4; j < N; j++)
            if (v[j] > v[0]) v[j] = v[0];
        CHECK(privcomp_floor_div_random(q[0], v, N, divisor, coins, cipher) == PRIVCOMP_OK);
        for (int j = 0; j < N; j++) {
            u128 product;
            int at = 0;
            do product = (u128)load64_le(stream + 8 * (at++ * N + j)) * divisor;
            while ((uint64_t)product < (0 - divisor) % divisor && at < WORDS);
            const __int128 w = (__int128)v[j] + (int64_t)(product >> 64), g = (__int128)divisor;
            CHECK(q[0][j] * g <= w && w < (q[0][j] + (__int128)1) * g);
        }
    }
    v[7] = ((int64_t)1 << 62) + 1;
    q[0][0] = 7;
    CHECK(privcomp_floor_div_random(q[0], v, 8, 3, coins, 1) == PRIVCOMP_E_RANGE && q[0][0] == 7);
    v[7] = INT64_MIN;
    CHECK(privcomp_floor_div_random(q[0], v, 8, 3, coins, 1) == PRIVCOMP_E_RANGE);
    CHECK(privcomp_floor_div_random(q[0], v, 1, 0, coins, 1) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_floor_div_random(q[0], v, 1, ((uint64_t)1 << 60) + 1, coins, 1) == PRIVCOMP_E_ARGUMENT);
}

static void inverse(void)
{
    for (size_t d = 1; d <= 1 << 13; d *= 2)
        for (int level = 0; level <= privcomp_level_max(); level++) {
            privcomp_level_set(level);
            for (size_t j = 0; j < d; j++) v[j] = q[0][j] = (int64_t)(test_u64() % 2001) - 1000;
            CHECK(privcomp_flip_i64(v, d, seed, PRIVCOMP_CHACHA20) == PRIVCOMP_OK && privcomp_hadamard_i64(v, d) == PRIVCOMP_OK);
            CHECK(privcomp_unrotate_i64(y[0], v, d, 1 / (double)d, seed, PRIVCOMP_CHACHA20) == PRIVCOMP_OK);
            for (size_t j = 0; j < d; j++) CHECK(y[0][j] == (double)q[0][j]);
        }
    CHECK(privcomp_unrotate_i64(y[0], v, 3, 1, seed, 1) == PRIVCOMP_E_ARGUMENT && privcomp_unrotate_i64(y[0], v, 4, 1, seed, 3) == PRIVCOMP_E_ARGUMENT);
}

int main(void)
{
    test_fill(seed, sizeof seed), test_fill(coins, sizeof coins);
    transforms();
    signs();
    kernels();
    chain();
    clips();
    records();
    division();
    inverse();
    printf("encode: ok, levels 0..%d\n", privcomp_level_max());
    return 0;
}
