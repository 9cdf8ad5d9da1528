/* Constant time: points, scalars and uniform bytes are marked secret; no branch and no address may depend on them.
 *
 * The functions on this list: privcomp_transcript_*, privcomp_group_decode/encode/from_uniform/on_curve/equal/add/sub/sum/mul/msm/table, privcomp_scalar_* but order.
 * What the contract calls public is unmarked: whether a check failed.
 */
#include "check.h"
#include "core.h"
#include "secret.h"

enum { N = 3, POINT = PRIVCOMP_POINT_BYTES, SCALAR = PRIVCOMP_SCALAR_BYTES };
static uint8_t a[POINT * N], b[POINT * N], out[POINT * N], s[SCALAR * N], t[SCALAR * N], u[SCALAR * N], wide[96 * N], code[64 * N];
static uint8_t flag[N], table[128 * 96];

/* Every level: where a CPU has kernels, the portable functions run for the few points that are left, and alone elsewhere. */
static void groups(void)
{
    const int64_t numbers[N] = {5, -6, 7};
    int64_t values[N];
    for (int group = PRIVCOMP_RISTRETTO255; group <= PRIVCOMP_BN254_G1; group++) {
        test_fill(wide, sizeof wide);
        SECRET(wide, sizeof wide);
        CHECK(privcomp_group_from_uniform(a, wide, N, group) == PRIVCOMP_OK);
        CHECK(privcomp_scalar_from_wide(s, wide, N, group) == PRIVCOMP_OK);
        memcpy(values, numbers, sizeof values);
        SECRET(values, sizeof values);
        CHECK(privcomp_scalar_from_i64(t, values, N, group) == PRIVCOMP_OK);

        CHECK(privcomp_scalar_check(s, N, group) == PRIVCOMP_OK);
        CHECK(privcomp_scalar_add(u, s, t, N, group) == PRIVCOMP_OK);
        CHECK(privcomp_scalar_sub(u, u, t, N, group) == PRIVCOMP_OK);
        CHECK(privcomp_scalar_mul(u, u, t, N, group) == PRIVCOMP_OK);
        CHECK(privcomp_scalar_axpy(u, s, t, u, N, group) == PRIVCOMP_OK);
        CHECK(privcomp_scalar_dot(u, s, t, N, group) == PRIVCOMP_OK);
        CHECK(privcomp_scalar_inv(u, t, N, group) == PRIVCOMP_OK);
        CHECK(privcomp_scalar_combine_i64(u, s, values, N, 1, group) == PRIVCOMP_OK);

        CHECK(privcomp_group_mul(b, a, s, N, group) == PRIVCOMP_OK);
        CHECK(privcomp_group_add(out, a, b, N, group) == PRIVCOMP_OK);
        CHECK(privcomp_group_sub(out, out, b, N, group) == PRIVCOMP_OK);
        CHECK(privcomp_group_sum(out, a, N, 1, group) == PRIVCOMP_OK);
        CHECK(privcomp_group_msm(out, a, s, N, group) == PRIVCOMP_OK);
        CHECK(privcomp_group_equal(flag, a, b, N, group) == PRIVCOMP_OK);
        CHECK(privcomp_group_table(table, (size_t)privcomp_group_table_bytes(1, 1, group), a, 1, 1, group) == PRIVCOMP_OK);
        CHECK(privcomp_group_encode(code, a, N, group) == PRIVCOMP_OK);
        CHECK(privcomp_group_decode(b, code, N, group) == PRIVCOMP_OK);
        CHECK(privcomp_group_equal(flag, a, b, N, group) == PRIVCOMP_OK);
        PUBLIC(flag, sizeof flag);
        CHECK(flag[0] == 1 && flag[N - 1] == 1);
        CHECK(privcomp_group_on_curve(a, N, group) == PRIVCOMP_OK);
    }
}

int main(void)
{
    const int max = privcomp_level_max();
    for (int level = PRIVCOMP_LEVEL_PORTABLE; level <= max; level++) {
        CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
        groups();
    }
    privcomp_transcript transcript;
    CHECK(privcomp_transcript_init(&transcript, (const uint8_t *)"label", 5) == PRIVCOMP_OK);
    SECRET(wide, sizeof wide);
    CHECK(privcomp_transcript_append(&transcript, (const uint8_t *)"message", 7, wide, sizeof wide) == PRIVCOMP_OK);
    CHECK(privcomp_transcript_append_each(&transcript, (const uint8_t *)"message", 7, wide, sizeof wide / 4, 4) == PRIVCOMP_OK);
    CHECK(privcomp_transcript_challenge(&transcript, out, sizeof out, (const uint8_t *)"challenge", 9) == PRIVCOMP_OK);
    const uint32_t steps[2][3] = {{7, sizeof wide, 0}, {9, sizeof out, 1}};
    CHECK(privcomp_transcript_replay(&transcript, out, sizeof out, wide, sizeof wide, (const uint8_t *)"messagechallenge", 16, steps[0], 2) == PRIVCOMP_OK);
    printf("constant time, groups: ok, levels 0..%d\n", max);
    return 0;
}
