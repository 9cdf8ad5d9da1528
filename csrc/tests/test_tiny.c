/* The generic code over primes so small that everything can be tried: p = 7, 13, 199, 257. */
#include "shamir_reference.h"

#define FE(name) f7_##name
#define FE_P 7
#define FE_BITS 3
#include "tiny_field.h"

#define FE(name) f13_##name
#define FE_P 13
#define FE_BITS 4
#include "tiny_field.h"

#define FE(name) f199_##name
#define FE_P 199
#define FE_BITS 8
#include "tiny_field.h"

#define FE(name) f257_##name
#define FE_P 257
#define FE_BITS 9
#include "tiny_field.h"

enum { MAX_N = 5, MAX_D = 400000, SCRATCH = 16384 };
static uint64_t values[MAX_N * MAX_D], out[MAX_N * MAX_D], scratch[SCRATCH];

static uint64_t power_of(uint64_t base, size_t exponent)
{
    uint64_t r = 1;
    while (exponent--) r *= base;
    return r;
}

/* Every pair of elements. */
static void arithmetic(const struct field *f)
{
    for (uint64_t a = 0; a < f->p; a++) {
        for (uint64_t b = 0; b < f->p; b++) {
            CHECK(f->add(a, b) == (a + b) % f->p);
            CHECK(f->sub(a, b) == (a + f->p - b) % f->p);
            CHECK(f->mul(a, b) == a * b % f->p);
        }
        values[a] = a + 1;
    }
    pc_field_invert(f, out, values, f->p - 1);
    for (uint64_t a = 1; a < f->p; a++) CHECK(out[a - 1] * a % f->p == 1);
}

/* The polynomials with the coefficients `first`, `first` + 1, ... (as digits base p): their values at every point of x. */
static void evaluate(const struct field *f, uint64_t first, size_t d, const uint64_t *x, size_t n, size_t t)
{
    for (size_t j = 0; j < d; j++) {
        for (size_t i = 0; i < n; i++) {
            uint64_t digits = first + j, sum = 0, xk = 1;
            for (size_t k = 0; k < t; k++, digits /= f->p, xk = xk * x[i] % f->p) sum += digits % f->p * xk;
            values[i * d + j] = sum % f->p;
        }
    }
}

/* Every polynomial of degree < t where there are few enough, else a random range of them: any t of n shares give all the others and
 * the secret. */
static void interpolation(const struct field *f, const uint64_t *x, size_t n, size_t t)
{
    const uint64_t all = power_of(f->p, t);
    const size_t d = all <= MAX_D ? (size_t)all : 2000;
    const uint64_t first = all <= MAX_D ? 0 : test_u64() % (all - d);
    evaluate(f, first, d, x, n, t);
    for (unsigned chosen = 0; chosen < 1u << n; chosen++) {
        if ((size_t)__builtin_popcount(chosen) != t) continue;
        static uint64_t given[MAX_N * MAX_D];
        uint64_t points[MAX_N], at[MAX_N + 1] = {0};
        size_t m = 0;
        for (size_t i = 0; i < n; i++) {
            at[i + 1] = x[i];
            if (!(chosen >> i & 1)) continue;
            memcpy(given + m * d, values + i * d, 8 * d);
            points[m++] = x[i];
        }
        static uint64_t big[MAX_N * 600 + 200], back[(MAX_N + 1) * MAX_D];
        CHECK(privcomp_shamir_interpolate_scratch(n + 1, t, d) <= (int64_t)(sizeof big / 8));
        CHECK(pc_shamir_interpolate(f, back, at, n + 1, points, t, given, d, big, sizeof big / 8) == PRIVCOMP_OK);
        for (size_t j = 0; j < d; j++) CHECK(back[j] == (first + j) % f->p);
        CHECK(memcmp(back + d, values, 8 * n * d) == 0);
    }
}

/* Every secret: the shares are those of the contract, with and without the shortcuts for points at equal steps and for symmetric ones. */
static void sharing(const struct field *f, const uint64_t *x, size_t n, size_t t)
{
    const size_t d = 2 * f->p;
    uint64_t secrets[2 * 257], again[MAX_N * 2 * 257], column[MAX_N], u[MAX_N], v[MAX_N];
    uint8_t seed[32];
    test_fill(seed, sizeof seed);
    for (size_t j = 0; j < d; j++) secrets[j] = j % f->p;
    CHECK(privcomp_shamir_share_scratch(n, t, d) <= SCRATCH);
    CHECK(pc_shamir_share(f, out, secrets, d, x, n, t, seed, scratch, SCRATCH) == PRIVCOMP_OK);
    for (size_t j = 0; j < d; j += f->p > 100 ? 17 : 1) {
        ref_share(column, secrets, j, d, x, n, t, seed, f, u, v);
        for (size_t i = 0; i < n; i++) CHECK(out[i * d + j] == column[i]);
    }
    struct field products = *f;
    products.extend = NULL;
    CHECK(pc_shamir_share(&products, again, secrets, d, x, n, t, seed, scratch, SCRATCH) == PRIVCOMP_OK);
    CHECK(memcmp(again, out, 8 * n * d) == 0);
    pc_shamir_no_shortcut = 1;
    CHECK(pc_shamir_share(f, again, secrets, d, x, n, t, seed, scratch, SCRATCH) == PRIVCOMP_OK);
    pc_shamir_no_shortcut = 0;
    CHECK(memcmp(again, out, 8 * n * d) == 0);
}

/* Every sequence of n points: refused exactly where it should be, else shared. */
static void every_point_set(const struct field *f, size_t n)
{
    const uint64_t all = power_of(f->p, n), step = all > 40000 ? all / 4999 : 1;
    for (uint64_t code = 0; code < all; code += step) {
        uint64_t x[MAX_N], c = code;
        const uint64_t secret = code % f->p;
        int zero = 0, twice = 0;
        for (size_t i = 0; i < n; i++, c /= f->p) {
            x[i] = c % f->p;
            zero |= x[i] == 0;
            for (size_t k = 0; k < i; k++) twice |= x[k] == x[i];
        }
        const uint8_t seed[32] = {1};
        for (size_t t = 1; t <= n; t++) {
            const int status = pc_shamir_share(f, out, &secret, 1, x, n, t, seed, scratch, SCRATCH);
            CHECK(status == (zero ? PRIVCOMP_E_ZERO : twice ? PRIVCOMP_E_DUPLICATE : PRIVCOMP_OK));
            if (status == PRIVCOMP_OK) CHECK(ref_interpolate(0, x + n - t, out + n - t, t, f->p) == secret);
        }
    }
}

/* Threshold 2 over p = 7: whatever the secret, a share takes every value equally often, and the slope takes every value, 0 included.
 * Each count is binomial with mean 3000 and standard deviation 51: six of them never happen by chance. */
static void uniform(void)
{
    enum { D = 21000 };
    static uint64_t secrets[D], shares[3 * D], room[16384];
    const uint64_t x[3] = {1, 2, 5};
    uint8_t seed[32];
    test_fill(seed, sizeof seed);
    for (uint64_t secret = 0; secret < 7; secret++) {
        long count[4][7] = {{0}};
        for (size_t j = 0; j < D; j++) secrets[j] = secret;
        CHECK(privcomp_shamir_share_scratch(3, 2, D) <= 16384);
        CHECK(pc_shamir_share(&f7_field, shares, secrets, D, x, 3, 2, seed, room, 16384) == PRIVCOMP_OK);
        for (size_t j = 0; j < D; j++) {
            for (size_t i = 0; i < 3; i++) count[i][shares[i * D + j]]++;
            count[3][(shares[j] + 7 - secret) % 7]++;
        }
        for (int i = 0; i < 4; i++)
            for (int v = 0; v < 7; v++) CHECK(labs(count[i][v] - D / 7) < 6 * 51);
    }
}

int main(void)
{
    static const struct field *const fields[] = {&f7_field, &f13_field, &f199_field, &f257_field};
    for (int q = 0; q < 4; q++) {
        const struct field *const f = fields[q];
        const uint64_t p = f->p;
        /* default, symmetric about 0, and scattered points */
        const uint64_t sets[][MAX_N] = {{1, 2, 3, 4, 5}, {p - 2, p - 1, 1, 2, 3}, {p - 1, 3, 1, 2, 4}, {p - 2, p - 1, 3, 1, 2}};
        arithmetic(f);
        for (size_t n = 1; n <= MAX_N; n++) {
            every_point_set(f, n);
            for (size_t t = 1; t <= n; t++) {
                for (int s = 0; s < 4; s++) {
                    if (s < 2) interpolation(f, sets[s], n, t);
                    sharing(f, sets[s], n, t);
                }
            }
        }
    }
    uniform();
    printf("tiny fields: ok\n");
    return 0;
}
