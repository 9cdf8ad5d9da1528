/* Constant time: elements, secrets, shares and the sharing key are marked secret; no branch and no address may depend on them.
 *
 * The functions on this list: privcomp_field_add/sub/neg/mul/axpy/inv/dot, privcomp_shamir_share, privcomp_shamir_interpolate,
 * privcomp_ntt_goldilocks, privcomp_packed_share.
 * What the contract calls public is unmarked: points, the first counter, whether a check failed, which candidates were rejected.
 */
#include "check.h"
#include "core.h"
#include "secret.h"

#ifdef PRIVCOMP_MSAN
#define EXPANDS_OPAQUELY 1 /* MSan does not know the instruction that expands AES keys */
#else
#define EXPANDS_OPAQUELY 0
#endif

enum { N = 53, D = 600 };
static uint64_t a[N], b[N], out[N], secrets[D], shares[20 * D], back[2 * D], scratch[200000];

static void fill(uint64_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++) v[i] = 1 + (test_u64() >> 4);
    SECRET(v, 8 * n);
}

static void vectors(int field)
{
    uint64_t alpha = 12345;
    fill(a, N), fill(b, N);
    SECRET(&alpha, sizeof alpha);
    CHECK(privcomp_field_add(out, a, b, N, field) == PRIVCOMP_OK);
    CHECK(privcomp_field_sub(out, a, b, N, field) == PRIVCOMP_OK);
    CHECK(privcomp_field_neg(out, a, N, field) == PRIVCOMP_OK);
    CHECK(privcomp_field_mul(out, a, b, N, field) == PRIVCOMP_OK);
    CHECK(privcomp_field_axpy(out, a, b, N, alpha, field) == PRIVCOMP_OK);
    CHECK(privcomp_field_inv(out, a, N, field) == PRIVCOMP_OK);
    CHECK(privcomp_field_dot(out, a, b, N, field) == PRIVCOMP_OK);
}

static void sharing(int field, size_t n, size_t t, int level)
{
    uint64_t points[20], at[2] = {0, 100};
    uint8_t seed[32];
    for (size_t i = 0; i < n; i++) points[i] = i + 1;
    fill(secrets, D);
    test_fill(seed, sizeof seed);
    if (!EXPANDS_OPAQUELY || level == PRIVCOMP_LEVEL_PORTABLE) SECRET(seed, 16);
    CHECK(privcomp_shamir_share(shares, secrets, D, points, n, t, seed, field, scratch, sizeof scratch / 8) == PRIVCOMP_OK);
    CHECK(privcomp_shamir_interpolate(back, at, 2, points, t, shares, D, field, scratch, sizeof scratch / 8) == PRIVCOMP_OK);
    PUBLIC(back, sizeof back);
    PUBLIC(secrets, sizeof secrets);
    CHECK(memcmp(back, secrets, sizeof secrets) == 0);
}

static void packed(int level)
{
    enum { POINTS = 20, PRIVACY = 5, LOG_PACKING = 2, COLUMNS = 83, ROWS = 16 };
    uint8_t seed[32];
    fill(secrets, COLUMNS << LOG_PACKING);
    test_fill(seed, sizeof seed);
    if (!EXPANDS_OPAQUELY || level == PRIVCOMP_LEVEL_PORTABLE) SECRET(seed, 16);
    CHECK(privcomp_packed_share(shares, secrets, COLUMNS, 0, COLUMNS, POINTS, PRIVACY, LOG_PACKING, seed, scratch, sizeof scratch / 8) == PRIVCOMP_OK);
    fill(shares, ROWS * COLUMNS);
    CHECK(privcomp_ntt_goldilocks(shares, 4, COLUMNS, 7, 0, scratch, sizeof scratch / 8) == PRIVCOMP_OK);
    CHECK(privcomp_ntt_goldilocks(shares, 4, COLUMNS, 7, 1, scratch, sizeof scratch / 8) == PRIVCOMP_OK);
}

int main(void)
{
    for (int level = 0; level <= privcomp_level_max(); level++) {
        CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
        for (int field = PRIVCOMP_FIELD_M61; field <= PRIVCOMP_FIELD_GOLDILOCKS; field++) {
            vectors(field);
            sharing(field, 20, 7, level);
            sharing(field, 9, 8, level);
        }
        packed(level);
    }
    printf("constant time, fields: ok, levels 0..%d\n", privcomp_level_max());
    return 0;
}
