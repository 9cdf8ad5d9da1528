/* Constant time: tables, vectors, points and factors are marked secret; no branch and no address may depend on them.
 *
 * The functions on this list: privcomp_multilinear_*, privcomp_sumcheck_product, privcomp_fraction_*, privcomp_reciprocals, privcomp_reciprocal_sum.
 * What the contract calls public is unmarked: sizes, the number of entries, whether there is a pole.
 */
#include "check.h"
#include "multilinear.h"
#include "secret.h"

enum { VARIABLES = 6, /* whole vectors of eq */ N = 1 << VARIABLES, SCALAR = PRIVCOMP_SCALAR_BYTES };
static uint8_t wide[64 * N], s[SCALAR * N], out[SCALAR * N];
static int64_t x[N], y[N];
static uint64_t table[4 * 4 * N], other[4 * 4 * N], scratch[1 << 10];

#define OK(call) CHECK((call) == PRIVCOMP_OK)

static void multilinear(void)
{
    for (int group = PRIVCOMP_RISTRETTO255; group <= PRIVCOMP_BN254_G1; group++) {
        CHECK((size_t)privcomp_multilinear_scratch(VARIABLES) <= sizeof scratch / 8);
        test_fill(wide, sizeof wide);
        for (size_t i = 0; i < N; i++) x[i] = (int64_t)(test_u64() % 1000) - 500, y[i] = (int64_t)test_u64();
        SECRET(wide, sizeof wide);
        SECRET(x, sizeof x);
        SECRET(y, sizeof y);
        OK(privcomp_scalar_from_wide(s, wide, N, group));
        OK(privcomp_multilinear_load(table, s, N, group));
        OK(privcomp_multilinear_scale(table, N, s, group));
        OK(privcomp_multilinear_eq(other, s, VARIABLES, 5, s, s + SCALAR, group, scratch));
        OK(privcomp_sumcheck_product(out, table, other, N / 2, group));
        OK(privcomp_multilinear_fold(table, 1, N, N / 2, s, group));
        OK(privcomp_multilinear_combine(table, s, 4, x, N - 1, N / 4, 1, group));
        OK(privcomp_multilinear_dot(out, x, N - 1, 1, N, s, VARIABLES, group, scratch));
        OK(privcomp_multilinear_dot_table(out, other, x, N, group));
        OK(privcomp_multilinear_dot_i64(out, x, y, N, group));
        OK(privcomp_multilinear_store(out, table, N, group));
        for (unsigned layer = VARIABLES - 3; layer < VARIABLES; layer++) OK(privcomp_fraction_layer(table, x, N - 2, VARIABLES, layer, s, group));
        OK(privcomp_fraction_up(other, table, VARIABLES - 2, group));
        OK(privcomp_fraction_mix(table, N / 2, s, group));
        OK(privcomp_fraction_round(out, table, N / 2, VARIABLES - 2, s, NULL, group, scratch));
        OK(privcomp_fraction_round(out, table, N / 2, VARIABLES - 2, s, s, group, scratch));
        for (unsigned layer = VARIABLES - 2; layer < VARIABLES; layer++) {
            OK(privcomp_fraction_first_round(out, x, N - 2, VARIABLES, layer, s, s, s, group, scratch));
            OK(privcomp_fraction_first_fold(table, x, N - 2, VARIABLES, layer, s, s, s, group));
        }
        OK(privcomp_reciprocals(table, N - 1, N, s, group));
        OK(privcomp_reciprocal_sum(out, N - 1, VARIABLES, s, s, group, scratch));
    }
}

int main(void)
{
    const int max = privcomp_level_max();
    for (int level = PRIVCOMP_LEVEL_PORTABLE; level <= max; level++) {
        if (level > PRIVCOMP_LEVEL_PORTABLE && pc_multilinear_at(PRIVCOMP_RISTRETTO255, level) == pc_multilinear_at(PRIVCOMP_RISTRETTO255, level - 1)) continue;
        CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
        multilinear();
    }
    printf("constant time, multilinear: ok, levels 0..%d\n", max);
    return 0;
}
