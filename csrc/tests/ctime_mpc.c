/* Constant time: all words of products of shares, Gram matrices and bit planes are marked secret; no branch and no address may depend on them.
 *
 * The functions on this list: privcomp_ring_matmul_u64/u128, privcomp_ring_gram_u64, privcomp_rep3_gram_u64, privcomp_cross_gram_u64,
 * privcomp_rep3_product_u64, privcomp_rep3_and_u64, privcomp_cross_product_u64, privcomp_cross_and_u64, privcomp_planes_split, privcomp_planes_join,
 * privcomp_ring_combine_u64, privcomp_planes_dot, privcomp_ring_mul_u128, privcomp_ring_axpy_u128.
 */
#include "check.h"
#include "mpc.h"
#include "secret.h"

enum { N = 26, K = 300, M = 7, VALUES = 600 };

int main(void)
{
    static uint64_t a[N * K], b[K * M], out[N * M], wide[2 * N * M], gram[N * N], scratch[512 * 257], planes[64 * 10], values[VALUES];
    static const uint32_t ends[2] = {2, 3}, left[3] = {3, 0, 2}, right[3] = {1, 2, 0};
    for (int level = 0; level <= privcomp_level_max(); level++) {
        CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
        SECRET(a, sizeof a);
        SECRET(b, sizeof b);
        SECRET(out, sizeof out);
        SECRET(values, sizeof values);
        for (int accumulate = 0; accumulate < 2; accumulate++) {
            CHECK(privcomp_ring_matmul_u64(out, a, b, N, K, M, accumulate, scratch, sizeof scratch / 8) == PRIVCOMP_OK);
            CHECK(privcomp_ring_matmul_u64(out, a, b, 2, K, M, accumulate, scratch, sizeof scratch / 8) == PRIVCOMP_OK);
            CHECK(privcomp_ring_matmul_u128(wide, a, b, N, K / 2, M, accumulate) == PRIVCOMP_OK);
            privcomp_rep3_product_u64(values, a, a + K, a + 2 * K, b, K - 1, accumulate);
            privcomp_cross_product_u64(values, a, a + K, a + 2 * K, b, K - 1, accumulate);
            privcomp_rep3_and_u64(values, a, a + K, a + 2 * K, b, K - 1, accumulate);
            privcomp_cross_and_u64(values, a, a + K, a + 2 * K, b, K - 1, accumulate);
        }
        CHECK(privcomp_ring_gram_u64(gram, a, 2, a + K, 1, N - 1, K, scratch, sizeof scratch / 8) == PRIVCOMP_OK);
        CHECK(privcomp_rep3_gram_u64(gram, a, a + K, N - 1, K, scratch, sizeof scratch / 8) == PRIVCOMP_OK);
        CHECK(privcomp_cross_gram_u64(gram, a, a + K, N - 1, K, scratch, sizeof scratch / 8) == PRIVCOMP_OK);
        privcomp_ring_combine_u64(values, a, 2, a + K, 1, VALUES);
        CHECK(privcomp_planes_split(planes, 63, values, VALUES) == PRIVCOMP_OK);
        CHECK(privcomp_planes_join(values, VALUES, planes, 63) == PRIVCOMP_OK);
        CHECK(privcomp_planes_dot(values, 2, ends, left, right, 3, a, 4, b, 3, 37) == PRIVCOMP_OK);
    }
    SECRET(b, 16);
    privcomp_ring_mul_u128(wide, a, a + K, N * M);
    privcomp_ring_axpy_u128(wide, a, N * M, b);
    printf("constant time, products of shares: ok, levels 0..%d\n", privcomp_level_max());
    return 0;
}
