/* Sumchecks over multilinear tables, by what must hold of them: each kernel against sums of products of scalars, the two ways to a layer
 * of fractions against each other, round polynomials against the claims that they prove, refusals. tests/core compares with plain integers. */
#include "check.h"
#include "core.h"

enum { VARIABLES = 6, N = 1 << VARIABLES, SCALAR = PRIVCOMP_SCALAR_BYTES, WORDS = 4 };

static uint8_t point[SCALAR * VARIABLES], values[SCALAR * N], others[SCALAR * N], got[SCALAR * N], one[SCALAR], zero[SCALAR], order[SCALAR],
    wide[64 * N];
static uint64_t table[WORDS * 4 * N], again[WORDS * 4 * N], eq[WORDS * N], scratch[1 << 12];
static int64_t x[N];
static int group;

#define OK(call) CHECK((call) == PRIVCOMP_OK)

static void random_scalars(uint8_t *out, size_t n)
{
    test_fill(wide, 64 * n);
    OK(privcomp_scalar_from_wide(out, wide, n, group));
}

static void equal(const void *a, const void *b, size_t n) { CHECK(memcmp(a, b, SCALAR * n) == 0); }

static void times(uint8_t *out, const uint8_t *a, const uint8_t *b) { OK(privcomp_scalar_mul(out, a, b, 1, group)); }

static void plus(uint8_t *out, const uint8_t *a, const uint8_t *b) { OK(privcomp_scalar_add(out, a, b, 1, group)); }

static void minus(uint8_t *out, const uint8_t *a, const uint8_t *b) { OK(privcomp_scalar_sub(out, a, b, 1, group)); }

/* a + s (b - a) */
static void between(uint8_t *out, const uint8_t *a, const uint8_t *b, const uint8_t *s)
{
    uint8_t t[SCALAR];
    minus(t, b, a);
    OK(privcomp_scalar_axpy(out, s, t, a, 1, group));
}

static void small(int64_t *out, size_t n)
{
    const int64_t most = (int64_t)1 << 30;
    for (size_t i = 0; i < n; i++) out[i] = i == 0 ? most - 1 : i == 1 ? -most : i == 2 ? 0 : (int64_t)(test_u64() % (2 * (uint64_t)most)) - most;
}

static void setup(void)
{
    memset(zero, 0, sizeof zero);
    memset(one, 0, sizeof one);
    one[0] = 1;
    OK(privcomp_scalar_order(order, group));
    random_scalars(point, VARIABLES);
    random_scalars(values, N);
    random_scalars(others, N);
    memcpy(values, zero, SCALAR);
    memcpy(values + SCALAR, order, SCALAR);
    values[SCALAR] -= 1;
    small(x, N);
}

static void linear(unsigned n)
{
    const size_t size = (size_t)1 << n;
    uint8_t term[SCALAR], sum[SCALAR], s[SCALAR];
    OK(privcomp_multilinear_load(table, values, size, group));
    OK(privcomp_multilinear_store(got, table, size, group));
    equal(got, values, size);
    OK(privcomp_multilinear_scale(table, size, others, group));
    OK(privcomp_multilinear_store(got, table, size, group));
    for (size_t y = 0; y < size; y++) {
        times(term, values + SCALAR * y, others);
        equal(term, got + SCALAR * y, 1);
    }
    for (size_t cut = 0; cut <= size; cut += 1 + size / 5) {
        OK(privcomp_multilinear_eq(eq, point, n, cut, values + 3 * SCALAR, others + 3 * SCALAR, group, scratch));
        OK(privcomp_multilinear_store(got, eq, size, group));
        for (size_t y = 0; y < size; y++) {
            memcpy(term, (y < cut ? values : others) + 3 * SCALAR, SCALAR);
            for (unsigned b = 0; b < n; b++) {
                minus(s, one, point + SCALAR * b);
                times(term, term, y >> b & 1 ? point + SCALAR * b : s);
            }
            equal(term, got + SCALAR * y, 1);
        }
    }
    OK(privcomp_multilinear_eq(eq, point, n, size, one, one, group, scratch));
    OK(privcomp_multilinear_store(got, eq, size, group));
    /* sums against eq, of ranges, for vectors shorter than the table */
    for (size_t d = 0; d <= size; d += 1 + size / 3) {
        for (size_t first = 0; first <= size; first += 1 + size / 4) {
            const size_t last = first + (size - first) / 2;
            memset(sum, 0, sizeof sum);
            for (size_t y = first; y < last && y < d; y++) {
                OK(privcomp_scalar_from_i64(s, x + y, 1, group));
                OK(privcomp_scalar_axpy(sum, got + SCALAR * y, s, sum, 1, group));
            }
            OK(privcomp_multilinear_dot(term, x, d, first, last, point, n, group, scratch));
            equal(term, sum, 1);
        }
    }
    OK(privcomp_multilinear_dot(sum, x, size, 0, size, point, n, group, scratch));
    OK(privcomp_multilinear_dot_table(term, eq, x, size, group));
    equal(sum, term, 1);
    const int64_t extreme[2] = {INT64_MIN, INT64_MAX}, ones[2] = {(int64_t)1 << 31, -((int64_t)1 << 31)};
    OK(privcomp_multilinear_dot_i64(term, ones, extreme, 2, group));
    OK(privcomp_scalar_from_i64(values + 4 * SCALAR, ones, 2, group));
    OK(privcomp_scalar_from_i64(others + 4 * SCALAR, extreme, 2, group));
    OK(privcomp_scalar_dot(sum, values + 4 * SCALAR, others + 4 * SCALAR, 2, group));
    equal(term, sum, 1);
    /* pieces combined */
    for (unsigned bits = 0; bits <= 3 && bits <= n; bits++) {
        const size_t count = (size_t)1 << bits, width = size >> bits, d = size - size / 3;
        OK(privcomp_multilinear_combine(table, others, count, x, d, width, 0, group));
        OK(privcomp_multilinear_combine(table, values, count, x, size, width, 1, group));
        OK(privcomp_multilinear_store(got, table, width, group));
        for (size_t y = 0; y < width; y++) {
            memset(sum, 0, sizeof sum);
            for (size_t k = 0; k < count; k++) {
                OK(privcomp_scalar_from_i64(s, x + k * width + y, 1, group));
                if (k * width + y < d) OK(privcomp_scalar_axpy(sum, others + SCALAR * k, s, sum, 1, group));
                OK(privcomp_scalar_axpy(sum, values + SCALAR * k, s, sum, 1, group));
            }
            equal(sum, got + SCALAR * y, 1);
        }
    }
    /* binding, and a round of a product */
    if (n == 0) return;
    const size_t half = size / 2;
    uint8_t h[2 * SCALAR];
    OK(privcomp_multilinear_load(table, values, size, group));
    OK(privcomp_multilinear_load(again, others, size, group));
    OK(privcomp_sumcheck_product(h, table, again, half, group));
    memset(sum, 0, sizeof sum);
    memset(s, 0, sizeof s);
    for (size_t y = 0; y < half; y++) {
        OK(privcomp_scalar_axpy(sum, values + SCALAR * y, others + SCALAR * y, sum, 1, group));
        minus(got, values + SCALAR * (y + half), values + SCALAR * y);
        minus(got + SCALAR, others + SCALAR * (y + half), others + SCALAR * y);
        OK(privcomp_scalar_axpy(s, got, got + SCALAR, s, 1, group));
    }
    equal(h, sum, 1);
    equal(h + SCALAR, s, 1);
    OK(privcomp_multilinear_fold(table, 1, size, half, point, group));
    OK(privcomp_multilinear_store(got, table, half, group));
    for (size_t y = 0; y < half; y++) {
        between(term, values + SCALAR * y, values + SCALAR * (y + half), point);
        equal(term, got + SCALAR * y, 1);
    }
}

/* The value of a table of 2^n at a point; the table is used up. */
static void evaluate(uint8_t *out, uint64_t *t, unsigned n)
{
    for (unsigned b = n; b-- > 0;) OK(privcomp_multilinear_fold(t, 1, (size_t)2 << b, (size_t)1 << b, point + SCALAR * b, group));
    OK(privcomp_multilinear_store(out, t, 1, group));
}

static void fractions(unsigned n, size_t d)
{
    const uint8_t *shift = values + 5 * SCALAR, *lambda = values + 6 * SCALAR, *s = values + 7 * SCALAR;
    static uint64_t layers[VARIABLES + 1][WORDS * 2 * N], tables[WORDS * 4 * N];
    uint8_t leaf[SCALAR * N], h[2 * SCALAR], claim[SCALAR], t[SCALAR], u[SCALAR];
    for (unsigned layer = n; layer-- > 0;) {
        if (layer + 1 == n)
            OK(privcomp_fraction_layer(layers[layer], x, d, n, layer, shift, group));
        else
            OK(privcomp_fraction_up(layers[layer], layers[layer + 1], layer, group));
        if (n - layer <= 3) { /* the same from the leaves */
            OK(privcomp_fraction_layer(table, x, d, n, layer, shift, group));
            OK(privcomp_multilinear_store(got, table, (size_t)2 << layer, group));
            OK(privcomp_multilinear_store(others, layers[layer], (size_t)2 << layer, group));
            equal(got, others, (size_t)2 << layer);
        }
    }
    /* the root is the sum of 1 / leaf */
    memset(claim, 0, sizeof claim);
    for (size_t j = 0; j < (size_t)1 << n; j++) {
        const int64_t v = j < d ? x[j] : 0;
        OK(privcomp_scalar_from_i64(t, &v, 1, group));
        plus(leaf + SCALAR * j, t, shift);
        OK(privcomp_scalar_inv(t, leaf + SCALAR * j, 1, group));
        plus(claim, claim, t);
    }
    OK(privcomp_multilinear_store(got, layers[0], 2, group));
    times(t, claim, got + SCALAR);
    equal(t, got, 1);
    /* the sumcheck of every layer: p + lambda q at the point is (1 - r) h(0) + r h(1) in the first round */
    for (unsigned k = 1; k < n; k++) {
        const size_t size = (size_t)1 << k, half = size / 2;
        const int leaves = k + 1 == n;
        memcpy(again, layers[k], sizeof layers[k]);
        evaluate(claim, again + WORDS * size, k);
        evaluate(u, again, k);
        OK(privcomp_scalar_axpy(claim, lambda, claim, u, 1, group));
        if (leaves) {
            OK(privcomp_multilinear_load(tables, leaf, 2 * size, group));
            OK(privcomp_fraction_round(h, tables, size, k - 1, point, lambda, group, scratch));
        } else {
            memcpy(tables, layers[k + 1], sizeof layers[k + 1]);
            OK(privcomp_fraction_mix(tables, size, lambda, group));
            OK(privcomp_fraction_round(h, tables, size, k - 1, point, NULL, group, scratch));
        }
        if (n - k <= 2) {
            uint8_t other[2 * SCALAR];
            OK(privcomp_fraction_first_round(other, x, d, n, k, shift, lambda, point, group, scratch));
            equal(h, other, 2);
        }
        /* h(1) = h(0) + h1 + h2 from the claim; the next round must sum up to h(s) */
        uint8_t h1[SCALAR];
        const uint8_t *r = point + SCALAR * (k - 1);
        minus(t, claim, h);
        OK(privcomp_scalar_inv(u, r, 1, group));
        times(t, t, u);
        minus(h1, t, h + SCALAR);
        OK(privcomp_scalar_axpy(t, s, h + SCALAR, h1, 1, group));
        OK(privcomp_scalar_axpy(claim, s, t, h, 1, group));
        OK(privcomp_multilinear_fold(tables, leaves ? 2 : 4, size, half, s, group));
        if (n - k <= 2) {
            OK(privcomp_fraction_first_fold(again, x, d, n, k, shift, lambda, s, group));
            for (int i = 0; i < (leaves ? 2 : 4); i++) {
                OK(privcomp_multilinear_store(got, tables + WORDS * size * i, half, group));
                OK(privcomp_multilinear_store(others, again + WORDS * half * i, half, group));
                equal(got, others, half);
            }
        }
        if (k >= 2) {
            OK(privcomp_fraction_round(h, tables, size, k - 2, point, leaves ? lambda : NULL, group, scratch));
            OK(privcomp_multilinear_fold(tables, leaves ? 2 : 4, size, half / 2, one, group)); /* h(1): bound to 1 */
            OK(privcomp_multilinear_eq(eq, point, k - 2, half / 2, one, one, group, scratch));
            uint8_t sum[SCALAR] = {0}, e[SCALAR * N], v[4][SCALAR * N];
            OK(privcomp_multilinear_store(e, eq, half / 2, group));
            for (int i = 0; i < (leaves ? 2 : 4); i++) OK(privcomp_multilinear_store(v[i], tables + WORDS * size * i, half / 2, group));
            for (size_t y = 0; y < half / 2; y++) {
                if (leaves) {
                    times(t, v[0] + SCALAR * y, v[1] + SCALAR * y);
                    plus(u, v[0] + SCALAR * y, v[1] + SCALAR * y);
                    OK(privcomp_scalar_axpy(t, lambda, t, u, 1, group));
                } else {
                    times(t, v[0] + SCALAR * y, v[3] + SCALAR * y);
                    times(u, v[2] + SCALAR * y, v[1] + SCALAR * y);
                    plus(t, t, u);
                }
                OK(privcomp_scalar_axpy(sum, e + SCALAR * y, t, sum, 1, group));
            }
            between(t, h, sum, point + SCALAR * (k - 2));
            equal(t, claim, 1);
        }
    }
}

static void reciprocals(void)
{
    const uint8_t *alpha = values + 8 * SCALAR;
    for (unsigned n = 0; n <= VARIABLES; n++) {
        const size_t size = (size_t)1 << n;
        for (size_t count = 0; count <= size; count += 1 + size / 7) {
            uint8_t sum[SCALAR] = {0}, t[SCALAR], at[SCALAR];
            OK(privcomp_reciprocals(table, count, size, alpha, group));
            OK(privcomp_multilinear_store(got, table, size, group));
            OK(privcomp_multilinear_eq(eq, point, n, size, one, one, group, scratch));
            OK(privcomp_multilinear_store(others, eq, size, group));
            memcpy(at, alpha, SCALAR);
            for (size_t k = 0; k < size; k++) {
                times(t, got + SCALAR * k, at);
                equal(t, k < count ? one : zero, 1);
                OK(privcomp_scalar_axpy(sum, others + SCALAR * k, got + SCALAR * k, sum, 1, group));
                plus(at, at, one);
            }
            OK(privcomp_reciprocal_sum(t, count, n, alpha, point, group, scratch));
            equal(t, sum, 1);
        }
    }
    uint8_t pole[SCALAR];
    minus(pole, zero, one);
    minus(pole, pole, one); /* -2 */
    CHECK(privcomp_reciprocals(table, 3, 4, pole, group) == PRIVCOMP_E_ZERO);
    for (size_t i = 0; i < 4 * WORDS; i++) CHECK(table[i] == 0);
    CHECK(privcomp_reciprocal_sum(got, 3, 2, pole, point, group, scratch) == PRIVCOMP_E_ZERO);
    OK(privcomp_reciprocals(table, 2, 4, pole, group));
    OK(privcomp_reciprocal_sum(got, 2, 2, pole, point, group, scratch));
}

static void refusals(void)
{
    CHECK(privcomp_multilinear_load(table, order, 1, group) == PRIVCOMP_E_CANONICAL);
    CHECK(privcomp_multilinear_fold(table, 1, 3, 2, one, group) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_multilinear_fold(table, 1, 4, 2, order, group) == PRIVCOMP_E_CANONICAL);
    CHECK(privcomp_multilinear_combine(table, values, 9, x, 1, 1, 0, group) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_multilinear_dot(got, x, 4, 0, 5, point, 2, group, scratch) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_multilinear_eq(eq, point, 33, 0, one, one, group, scratch) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_fraction_layer(table, x, 1, 4, 0, one, group) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_fraction_layer(table, x, 1, 4, 4, one, group) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_fraction_first_round(got, x, 1, 4, 1, one, one, point, group, scratch) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_fraction_first_fold(table, x, 1, 4, 4, one, one, one, group) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_fraction_round(got, table, 3, 1, point, NULL, group, scratch) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_reciprocals(table, 5, 4, one, group) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_reciprocal_sum(got, 5, 2, one, point, group, scratch) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_multilinear_load(table, values, 1, 7) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_multilinear_scratch(33) == -1);
}

int main(void)
{
    for (group = PRIVCOMP_RISTRETTO255; group <= PRIVCOMP_BN254_G1; group++) {
        CHECK((size_t)privcomp_multilinear_scratch(VARIABLES) <= sizeof scratch / 8);
        for (unsigned n = 0; n <= VARIABLES; n++) setup(), linear(n);
        for (unsigned n = 1; n <= VARIABLES; n++) {
            setup(), fractions(n, (size_t)1 << n);
            setup(), fractions(n, ((size_t)1 << n) - ((size_t)1 << n) / 3);
            setup(), fractions(n, 1);
        }
        setup(), reciprocals();
        setup(), refusals();
    }
    printf("multilinear: ok\n");
    return 0;
}
