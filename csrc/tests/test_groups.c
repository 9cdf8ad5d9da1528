/* The groups and their scalars, by what must hold of them: the group laws on random and exceptional points, every algorithm for sums of
 * multiples against the others, refusals. tests/algebra compares with plain integers and public vectors. */
#include "check.h"
#include "core.h"
#include "../src/fe25519.h"

enum { N = 150, POINT = PRIVCOMP_POINT_BYTES, SCALAR = PRIVCOMP_SCALAR_BYTES };

static uint8_t points[POINT * N], others[POINT * N], sums[POINT * N], left[POINT * N], right[POINT * N], scalars[SCALAR * N],
    more[SCALAR * N], wide[96 * N], same[N], encoded[64 * N];
static uint64_t scratch[1 << 16];
static uint8_t table[32 * 128 * 96 * 8];

static void fill(int group)
{
    uint8_t order[SCALAR], small[64] = {0};
    CHECK(privcomp_scalar_order(order, group) == PRIVCOMP_OK);
    test_fill(wide, sizeof wide);
    CHECK(privcomp_group_from_uniform(points, wide, N, group) == PRIVCOMP_OK);
    test_fill(wide, sizeof wide);
    CHECK(privcomp_group_from_uniform(others, wide, N, group) == PRIVCOMP_OK);
    test_fill(wide, sizeof wide);
    CHECK(privcomp_scalar_from_wide(scalars, wide, N, group) == PRIVCOMP_OK);
    test_fill(wide, sizeof wide);
    CHECK(privcomp_scalar_from_wide(more, wide, N, group) == PRIVCOMP_OK);
    /* 0, 1, order - 1, and the identity, equal and opposite points */
    for (int k = 0; k < 2; k++) {
        small[0] = (uint8_t)k;
        CHECK(privcomp_scalar_from_wide(scalars + SCALAR * k, small, 1, group) == PRIVCOMP_OK);
    }
    memcpy(scalars + 2 * SCALAR, order, SCALAR);
    scalars[2 * SCALAR] -= 1;
    CHECK(privcomp_group_sub(points, points, points, 1, group) == PRIVCOMP_OK);
    memcpy(others + POINT, points + POINT, POINT);
    CHECK(privcomp_group_sub(others + 2 * POINT, points, points + 2 * POINT, 1, group) == PRIVCOMP_OK);
    memcpy(others + 3 * POINT, points, POINT);
    CHECK(privcomp_group_on_curve(points, N, group) == PRIVCOMP_OK && privcomp_group_on_curve(others, N, group) == PRIVCOMP_OK);
}

static void equal(const uint8_t *a, const uint8_t *b, size_t n, int group)
{
    CHECK(privcomp_group_on_curve(a, n, group) == PRIVCOMP_OK);
    CHECK(privcomp_group_equal(same, a, b, n, group) == PRIVCOMP_OK);
    for (size_t i = 0; i < n; i++) CHECK(same[i] == 1);
}

static void laws(int group)
{
    CHECK(privcomp_group_add(sums, points, others, N, group) == PRIVCOMP_OK);
    CHECK(privcomp_group_add(left, others, points, N, group) == PRIVCOMP_OK);
    equal(sums, left, N, group);
    CHECK(privcomp_group_sub(left, sums, others, N, group) == PRIVCOMP_OK);
    equal(left, points, N, group);
    /* s (P + Q) = s P + s Q, (s + t) P = s P + t P, (s t) P = s (t P) */
    CHECK(privcomp_group_mul(left, sums, scalars, N, group) == PRIVCOMP_OK);
    CHECK(privcomp_group_mul(sums, points, scalars, N, group) == PRIVCOMP_OK);
    CHECK(privcomp_group_mul(right, others, scalars, N, group) == PRIVCOMP_OK);
    CHECK(privcomp_group_add(right, right, sums, N, group) == PRIVCOMP_OK);
    equal(left, right, N, group);
    CHECK(privcomp_group_mul(left, points, more, N, group) == PRIVCOMP_OK);
    CHECK(privcomp_group_add(sums, sums, left, N, group) == PRIVCOMP_OK);
    CHECK(privcomp_scalar_add(wide, scalars, more, N, group) == PRIVCOMP_OK);
    CHECK(privcomp_group_mul(right, points, wide, N, group) == PRIVCOMP_OK);
    equal(sums, right, N, group);
    CHECK(privcomp_group_mul(left, left, scalars, N, group) == PRIVCOMP_OK);
    CHECK(privcomp_scalar_mul(wide, scalars, more, N, group) == PRIVCOMP_OK);
    CHECK(privcomp_group_mul(right, points, wide, N, group) == PRIVCOMP_OK);
    equal(left, right, N, group);
    /* encodings */
    CHECK(privcomp_group_encode(encoded, left, N, group) == PRIVCOMP_OK);
    CHECK(privcomp_group_decode(right, encoded, N, group) == PRIVCOMP_OK);
    equal(left, right, N, group);
    for (size_t i = 0; i < N; i++) {
        encoded[(size_t)privcomp_group_encoding_bytes(group) * i + 31] ^= 0x80;
        CHECK(privcomp_group_decode(right, encoded, N, group) == PRIVCOMP_E_CANONICAL);
        for (size_t k = 0; k < sizeof right; k++) CHECK(right[k] == 0);
        encoded[(size_t)privcomp_group_encoding_bytes(group) * i + 31] ^= 0x80;
    }
}

static void multiples(int group)
{
    static const size_t sizes[] = {0, 1, 2, 31, 32, 33, 95, 96, 97, N};
    int64_t values[N];
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t n = sizes[s];
        const size_t words = (size_t)privcomp_group_msm_scratch(n, group);
        CHECK(words <= sizeof scratch / 8);
        CHECK(privcomp_group_mul(sums, points, scalars, n, group) == PRIVCOMP_OK);
        CHECK(privcomp_group_sum(left, sums, n, 1, group) == PRIVCOMP_OK);
        CHECK(privcomp_group_msm(right, points, scalars, n, group) == PRIVCOMP_OK);
        equal(left, right, 1, group);
        CHECK(privcomp_group_msm_var(right, points, scalars, n, group, scratch, words) == PRIVCOMP_OK);
        equal(left, right, 1, group);
        if (words > 0) CHECK(privcomp_group_msm_var(right, points, scalars, n, group, scratch, words - 1) == PRIVCOMP_E_LENGTH);
        for (unsigned bits = 0; bits < 64; bits += 9) {
            for (size_t i = 0; i < n; i++) {
                const int64_t v = (int64_t)(test_u64() >> (63 - bits) >> 1);
                values[i] = i == 0 ? INT64_MIN >> (63 - bits) : i % 2 ? v : -v;
            }
            CHECK(privcomp_scalar_from_i64(wide, values, n, group) == PRIVCOMP_OK);
            CHECK(privcomp_group_msm(left, points, wide, n, group) == PRIVCOMP_OK);
            CHECK(privcomp_group_msm_i64_var(right, points, values, n, group, scratch, words) == PRIVCOMP_OK);
            equal(left, right, 1, group);
        }
    }
}

static void tables(int group)
{
    enum { ROWS = 9, BASES = 8 };
    static int32_t values[ROWS * BASES];
    for (unsigned windows = 1; windows <= 4; windows++) {
        const int64_t limit = (int64_t)1 << (8 * windows - 1);
        const size_t length = (size_t)privcomp_group_table_bytes(BASES, windows, group);
        CHECK(length <= sizeof table);
        CHECK(privcomp_group_table(table, length, points, BASES, windows, group) == PRIVCOMP_OK);
        for (size_t i = 0; i < ROWS * BASES; i++) {
            const int64_t v = (int64_t)(test_u64() % (2 * (uint64_t)limit)) - limit;
            values[i] = (int32_t)(i < 4 ? (i % 2 ? -limit : limit - (windows == 4)) : v);
        }
        const size_t words = (size_t)privcomp_group_rows_scratch(ROWS, group);
        CHECK(privcomp_group_rows_var(sums, table, length, values, ROWS, BASES, windows, group, scratch, words) == PRIVCOMP_OK);
        for (size_t a = 0; a < ROWS; a++) {
            int64_t row[BASES];
            for (size_t b = 0; b < BASES; b++) row[b] = values[a * BASES + b];
            CHECK(privcomp_scalar_from_i64(wide, row, BASES, group) == PRIVCOMP_OK);
            CHECK(privcomp_group_msm(left + POINT * a, points, wide, BASES, group) == PRIVCOMP_OK);
        }
        equal(sums, left, ROWS, group);
        if (windows < 4) {
            values[5] = (int32_t)limit + 1;
            CHECK(privcomp_group_rows_var(sums, table, length, values, ROWS, BASES, windows, group, scratch, words) ==
                  PRIVCOMP_E_CANONICAL);
        }
    }
    const size_t length = (size_t)privcomp_group_table_bytes(1, 32, group);
    CHECK(privcomp_group_table(table, length, others + 5 * POINT, 1, 32, group) == PRIVCOMP_OK);
    CHECK(privcomp_group_fixed_var(sums, table, length, scalars, N, group) == PRIVCOMP_OK);
    for (size_t i = 0; i < N; i++) memcpy(left + POINT * i, others + 5 * POINT, POINT);
    CHECK(privcomp_group_mul(left, left, scalars, N, group) == PRIVCOMP_OK);
    equal(sums, left, N, group);
    /* one scalar for all: short ones, 0, 1 and order - 1 too */
    for (size_t k = 0; k < 40; k++) {
        uint8_t scalar[SCALAR * N];
        memcpy(scalar, scalars + SCALAR * k, SCALAR);
        if (k % 3 == 2) memset(scalar + k % 31, 0, SCALAR - k % 31);
        for (size_t i = 1; i < N; i++) memcpy(scalar + SCALAR * i, scalar, SCALAR);
        const size_t n = k < 3 ? N : 3 + k;
        CHECK(privcomp_group_axpy_var(sums, scalar, points, others, n, group) == PRIVCOMP_OK);
        CHECK(privcomp_group_mul(left, points, scalar, n, group) == PRIVCOMP_OK);
        CHECK(privcomp_group_add(left, left, others, n, group) == PRIVCOMP_OK);
        equal(sums, left, n, group);
    }
}

static void residues(int group)
{
    uint8_t one[SCALAR * N], order[SCALAR];
    CHECK(privcomp_scalar_order(order, group) == PRIVCOMP_OK);
    CHECK(privcomp_scalar_inv(wide, more, N, group) == PRIVCOMP_OK);
    CHECK(privcomp_scalar_mul(one, wide, more, N, group) == PRIVCOMP_OK);
    for (size_t i = 0; i < SCALAR * N; i++) CHECK(one[i] == (i % SCALAR == 0));
    CHECK(privcomp_scalar_inv(wide, scalars, N, group) == PRIVCOMP_E_ZERO);
    CHECK(privcomp_scalar_sub(wide, scalars, more, N, group) == PRIVCOMP_OK);
    CHECK(privcomp_scalar_axpy(one, scalars + SCALAR, wide, more, N, group) == PRIVCOMP_OK); /* 1 (s - m) + m */
    CHECK(memcmp(one, scalars, sizeof one) == 0);
    CHECK(privcomp_scalar_dot(wide, scalars, more, N, group) == PRIVCOMP_OK);
    CHECK(privcomp_scalar_mul(one, scalars, more, N, group) == PRIVCOMP_OK);
    for (size_t i = 1; i < N; i++) CHECK(privcomp_scalar_add(one, one, one + SCALAR * i, 1, group) == PRIVCOMP_OK);
    CHECK(memcmp(one, wide, SCALAR) == 0);
    CHECK(privcomp_scalar_check(scalars, N, group) == PRIVCOMP_OK);
    /* a combination of rows of integers: column by column a sum of products */
    enum { ROWS = 37, COLUMNS = 35 };
    static int64_t values[ROWS * COLUMNS];
    for (size_t i = 0; i < ROWS * COLUMNS; i++) values[i] = i == 0 ? INT64_MIN : i == 1 ? INT64_MAX : (int64_t)test_u64() >> (i % 60);
    CHECK(privcomp_scalar_combine_i64(wide, more, values, ROWS, COLUMNS, group) == PRIVCOMP_OK);
    for (size_t b = 0; b < COLUMNS; b++) {
        int64_t column[ROWS];
        uint8_t residue[SCALAR * ROWS];
        for (size_t a = 0; a < ROWS; a++) column[a] = values[a * COLUMNS + b];
        CHECK(privcomp_scalar_from_i64(residue, column, ROWS, group) == PRIVCOMP_OK);
        CHECK(privcomp_scalar_dot(one, residue, more, ROWS, group) == PRIVCOMP_OK);
        CHECK(memcmp(one, wide + SCALAR * b, SCALAR) == 0);
    }
    CHECK(privcomp_scalar_combine_i64(wide, order, values, 1, 1, group) == PRIVCOMP_E_CANONICAL);
    CHECK(privcomp_scalar_check(order, 1, group) == PRIVCOMP_E_CANONICAL);
    CHECK(privcomp_scalar_add(one, order, order, 1, group) == PRIVCOMP_E_CANONICAL);
    CHECK(privcomp_group_mul(left, points, order, 1, group) == PRIVCOMP_E_CANONICAL);
    CHECK(privcomp_group_axpy_var(left, order, points, points, 1, group) == PRIVCOMP_E_CANONICAL);
}

/* ---- modulo 2^255 - 19: the limbs of fe25519.h, the largest among them, against words ---- */

enum { WORDS = 9 };

/* x += y 2^shift */
static void add_shifted(uint64_t x[WORDS], uint64_t y, unsigned shift)
{
    u128 t = (u128)y << shift % 64;
    for (unsigned i = shift / 64; i < WORDS; i++) {
        t += x[i];
        x[i] = (uint64_t)t;
        t >>= 64;
    }
}

/* The residue of x in the lowest four words: 2^256 = 38, and p is taken away while it can be. */
static void residue(uint64_t x[WORDS])
{
    static const uint64_t p[4] = {0xffffffffffffffed, UINT64_MAX, UINT64_MAX, INT64_MAX};
    uint64_t high[WORDS], less[4];
    do {
        memcpy(high, x, sizeof high);
        memset(x + 4, 0, (WORDS - 4) * sizeof *x);
        for (unsigned i = 4; i < WORDS; i++) {
            const u128 t = (u128)high[i] * 38;
            add_shifted(x, (uint64_t)t, 64 * (i - 4)), add_shifted(x, (uint64_t)(t >> 64), 64 * (i - 3));
        }
    } while ((x[4] | x[5] | x[6] | x[7] | x[8]) != 0);
    while (!wide_subtract(less, x, p)) memcpy(x, less, sizeof less);
}

static void residue_of(uint64_t x[WORDS], fe a)
{
    memset(x, 0, WORDS * sizeof *x);
    for (unsigned i = 0; i < 5; i++) add_shifted(x, a.v[i], 51 * i);
    residue(x);
}

static void same_residue(fe a, const uint64_t want[WORDS])
{
    uint64_t w[4];
    fe_words(w, a);
    CHECK(memcmp(w, want, sizeof w) == 0);
}

static void tight(fe a)
{
    for (int i = 0; i < 5; i++) CHECK(a.v[i] <= FE_MASK + ((uint64_t)1 << 15));
}

static uint64_t loose_limb(int largest)
{
    const uint64_t most = ((uint64_t)1 << 54) - 1, edge[] = {0, 1, most, most - 1, FE_MASK, FE_MASK + 1, FE_MASK - 18, FE_MASK + (1 << 15)};
    return largest ? most : test_u64() % 2 ? edge[test_u64() % 8] : test_u64() & most;
}

static void field(void)
{
    for (int trial = 0; trial < 5000; trial++) {
        uint64_t x[WORDS], y[WORDS], product[WORDS] = {0}, square[WORDS] = {0};
        fe a, b;
        for (int i = 0; i < 5; i++) a.v[i] = loose_limb(trial == 0 || trial == 2), b.v[i] = loose_limb(trial < 2);
        if (trial % 8 == 3) { /* k p and a bit more: where the residue has to be taken */
            const uint64_t k = test_u64() % 9;
            for (int i = 0; i < 5; i++) a.v[i] = k * (i ? FE_MASK : FE_MASK - 18);
            a.v[0] += test_u64() % 8;
        }
        residue_of(x, a), residue_of(y, b);
        for (unsigned i = 0; i < 4; i++)
            for (unsigned j = 0; j < 4; j++) {
                const u128 xy = (u128)x[i] * y[j], xx = (u128)x[i] * x[j];
                add_shifted(product, (uint64_t)xy, 64 * (i + j)), add_shifted(product, (uint64_t)(xy >> 64), 64 * (i + j + 1));
                add_shifted(square, (uint64_t)xx, 64 * (i + j)), add_shifted(square, (uint64_t)(xx >> 64), 64 * (i + j + 1));
            }
        residue(product), residue(square);
        const fe ab = fe_mul(a, b), aa = fe_square(a), carried = fe_carry(a);
        tight(ab), tight(aa), tight(carried);
        same_residue(a, x), same_residue(ab, product), same_residue(aa, square), same_residue(carried, x);
        /* a - b and a - 2 b, with b added again */
        const fe less = fe_carry(b), twice = fe_add(less, less);
        same_residue(fe_add(fe_sub(carried, less), less), x);
        same_residue(fe_add(fe_carry(fe_sub_sum(carried, twice)), twice), x);
    }
}

int main(void)
{
    field();
    for (int group = PRIVCOMP_RISTRETTO255; group <= PRIVCOMP_BN254_G1; group++) {
        fill(group);
        laws(group);
        multiples(group);
        tables(group);
        residues(group);
    }
    CHECK(privcomp_group_add(sums, points, points, 1, 0) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_group_add(sums, points, points, SIZE_MAX, PRIVCOMP_BN254_G1) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_group_sum(sums, points, SIZE_MAX / 2, 3, PRIVCOMP_BN254_G1) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_group_table_bytes(1, 0, PRIVCOMP_RISTRETTO255) == -1 && privcomp_group_table_bytes(1, 33, PRIVCOMP_RISTRETTO255) == -1);
    CHECK(privcomp_group_msm_scratch(1, 3) == -1 && privcomp_group_rows_scratch(1, 3) == -1 && privcomp_group_encoding_bytes(3) == -1);
    printf("groups: ok\n");
    return 0;
}
