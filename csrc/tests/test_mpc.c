/* Products of shares, Gram matrices and bit planes: every level against a plain reading of the contract, with guard words, on sizes below, at and
 * above each block; and each kernel against its portable twin. */
#include "check.h"
#include "mpc.h"

#define GUARD UINT64_C(0xa5a5a5a5a5a5a5a5)

static uint64_t *words(size_t n)
{
    uint64_t *a = malloc(8 * n + 8);
    CHECK(a != NULL);
    test_fill(a, 8 * n);
    a[n] = GUARD;
    return a;
}

/* Words whose halves are all ones now and then: the products then carry as far as they can. */
static uint64_t *extreme(size_t n)
{
    uint64_t *a = words(n);
    for (size_t i = 0; i < n; i++) a[i] |= (uint64_t[]){UINT64_MAX, 0xffffffff, UINT64_MAX << 32, 0}[test_u64() % 4];
    return a;
}

static void matmul(size_t n, size_t k, size_t m)
{
    const size_t scratch_words = (size_t)privcomp_matmul_scratch(n, k, m);
    uint64_t *a = extreme(n * k), *b = extreme(k * m), *start = words(n * m), *out = words(n * m), *scratch = words(scratch_words);
    uint64_t *want = malloc(8 * n * m + 8);
    memset(want, 0, 8 * n * m);
    for (size_t i = 0; i < n; i++)
        for (size_t t = 0; t < k; t++)
            for (size_t j = 0; j < m; j++) want[i * m + j] += a[i * k + t] * b[t * m + j];
    for (int level = 0; level <= privcomp_level_max(); level++)
        for (int accumulate = 0; accumulate < 2; accumulate++) {
            privcomp_level_set(level);
            memcpy(out, start, 8 * n * m);
            test_fill(scratch, 8 * scratch_words);
            CHECK(privcomp_ring_matmul_u64(out, a, b, n, k, m, accumulate, scratch, scratch_words) == PRIVCOMP_OK);
            CHECK(out[n * m] == GUARD && scratch[scratch_words] == GUARD);
            for (size_t i = 0; i < scratch_words; i++) CHECK(scratch[i] == 0);
            for (size_t i = 0; i < n * m; i++) CHECK(out[i] == (accumulate ? start[i] : 0) + want[i]);
        }
    if (scratch_words > 0) CHECK(privcomp_ring_matmul_u64(out, a, b, n, k, m, 0, scratch, scratch_words - 1) == PRIVCOMP_E_LENGTH);
    free(a), free(b), free(start), free(out), free(scratch), free(want);
}

static void gram(size_t n, size_t d)
{
    uint64_t *x = extreme(n * d), *y = extreme(n * d), *out = words(n * n);
    const size_t scratch_words = (size_t)privcomp_gram_scratch(n);
    uint64_t *scratch = words(scratch_words);
    for (int level = 0; level <= privcomp_level_max(); level++)
        for (int form = 0; form < 4; form++) {
            const uint64_t p = form == 3 ? test_u64() : 1, q = form == 3 ? test_u64() : 0;
            privcomp_level_set(level);
            test_fill(scratch, 8 * scratch_words);
            if (form == 0) CHECK(privcomp_ring_gram_u64(out, x, 1, NULL, 0, n, d, scratch, scratch_words) == PRIVCOMP_OK);
            if (form == 3) CHECK(privcomp_ring_gram_u64(out, x, p, y, q, n, d, scratch, scratch_words) == PRIVCOMP_OK);
            if (form == 1) CHECK(privcomp_rep3_gram_u64(out, x, y, n, d, scratch, scratch_words) == PRIVCOMP_OK);
            if (form == 2) CHECK(privcomp_cross_gram_u64(out, x, y, n, d, scratch, scratch_words) == PRIVCOMP_OK);
            CHECK(out[n * n] == GUARD && scratch[scratch_words] == GUARD);
            for (size_t i = 0; i < scratch_words; i++) CHECK(scratch[i] == 0);
            for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < n; j++) {
                    uint64_t want = 0;
                    for (size_t t = 0; t < d; t++) {
                        const uint64_t xi = x[i * d + t], xj = x[j * d + t], yi = y[i * d + t], yj = y[j * d + t];
                        want += form == 0 || form == 3 ? (p * xi + q * yi) * (p * xj + q * yj) : form == 1 ? xi * xj + xi * yj + yi * xj : xi * yj + yi * xj;
                    }
                    CHECK(out[i * n + j] == want);
                }
        }
    CHECK(privcomp_rep3_gram_u64(out, x, y, n, d, scratch, scratch_words - 1) == PRIVCOMP_E_LENGTH);
    free(x), free(y), free(out), free(scratch);
}

static void word_by_word(void)
{
    enum { N = 70 };
    static uint64_t in[4][N], start[N + 1], out[N + 1];
    for (size_t n = 0; n <= N; n++)
        for (int level = 0; level <= privcomp_level_max(); level++)
            for (int accumulate = 0; accumulate < 2; accumulate++)
                for (int form = 0; form < 4; form++) {
                    privcomp_level_set(level);
                    for (int i = 0; i < 4; i++) test_fill(in[i], sizeof in[i]);
                    test_fill(start, sizeof start);
                    memcpy(out, start, sizeof out);
                    (form == 0   ? privcomp_rep3_product_u64
                     : form == 1 ? privcomp_rep3_and_u64
                     : form == 2 ? privcomp_cross_product_u64
                                 : privcomp_cross_and_u64)(out, in[0], in[1], in[2], in[3], n, accumulate);
                    for (size_t i = 0; i < n; i++) {
                        const uint64_t a = in[0][i], b = in[1][i], c = in[2][i], d = in[3][i], before = accumulate ? start[i] : 0;
                        CHECK(out[i] == (form == 0   ? before + (a * (c + d) + b * c)
                                         : form == 1 ? before ^ ((a & (c ^ d)) ^ (b & c))
                                         : form == 2 ? before + (a * d + c * b)
                                                     : before ^ ((a & d) ^ (c & b))));
                    }
                    CHECK(memcmp(out + n, start + n, 8 * (N + 1 - n)) == 0);
                }
    for (size_t n = 0; n <= N; n++)
        for (int level = 0; level <= privcomp_level_max(); level++) {
            static const uint64_t factors[][2] = {{1, 0}, {1, UINT64_MAX}, {2, 1}, {1, 2}, {7, 0}, {0, 0}, {UINT64_C(0xfedcba9876543210), UINT64_C(0x123456789abcdef)}};
            privcomp_level_set(level);
            for (size_t f = 0; f < sizeof factors / sizeof *factors; f++) {
                const uint64_t p = factors[f][0], q = factors[f][1];
                memcpy(out, start, sizeof out);
                privcomp_ring_combine_u64(out, in[0], p, q == 0 ? NULL : in[1], q, n);
                for (size_t i = 0; i < n; i++) CHECK(out[i] == p * in[0][i] + q * in[1][i]);
                CHECK(memcmp(out + n, start + n, 8 * (N + 1 - n)) == 0);
                memcpy(out, in[1], 8 * n);
                privcomp_ring_combine_u64(out, in[0], p, out, q, n);
                for (size_t i = 0; i < n; i++) CHECK(out[i] == p * in[0][i] + q * in[1][i]);
            }
        }
}

static void planes(size_t n, unsigned bits)
{
    const size_t w = (n + 63) / 64;
    uint64_t *values = words(n), *split = words(bits * w), *back = words(n), *dirty = words(bits * w);
    const uint64_t kept = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
    for (int level = 0; level <= privcomp_level_max(); level++) {
        privcomp_level_set(level);
        CHECK(privcomp_planes_split(split, bits, values, n) == PRIVCOMP_OK && split[bits * w] == GUARD);
        for (unsigned b = 0; b < bits; b++)
            for (size_t i = 0; i < 64 * w; i++)
                CHECK((split[b * w + i / 64] >> (i % 64) & 1) == (i < n ? values[i] >> b & 1 : 0));
        for (unsigned b = 0; b < bits; b++) /* bits beyond n are not looked at */
            for (size_t i = 0; i < w; i++)
                dirty[b * w + i] = split[b * w + i] | (i == w - 1 && n % 64 ? test_u64() << n % 64 : 0);
        CHECK(privcomp_planes_join(back, n, dirty, bits) == PRIVCOMP_OK && back[n] == GUARD);
        for (size_t i = 0; i < n; i++) CHECK(back[i] == (values[i] & kept));
    }
    free(values), free(split), free(back), free(dirty);
}

/* Sums of products of planes, rows without any term among them, and what is refused. */
static void dots_of_planes(void)
{
    enum { ROWS = 7, TERMS = 23, X = 5, Y = 9, MOST = 600 };
    static const size_t sizes[] = {0, 1, 3, 4, 15, 16, 17, 37, 255, 256, 257, MOST};
    uint64_t *const x = words(X * MOST), *const y = words(Y * MOST), *const out = words(ROWS * MOST);
    uint32_t ends[ROWS] = {0, 1, 4, 4, 11, 20, TERMS}, left[TERMS], right[TERMS];
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int level = 0; level <= privcomp_level_max(); level++) {
            const size_t n = sizes[s];
            privcomp_level_set(level);
            for (int k = 0; k < TERMS; k++) left[k] = (uint32_t)(test_u64() % X), right[k] = (uint32_t)(test_u64() % Y);
            out[ROWS * n] = GUARD;
            CHECK(privcomp_planes_dot(out, ROWS, ends, left, right, TERMS, x, X, y, Y, n) == PRIVCOMP_OK && out[ROWS * n] == GUARD);
            for (size_t r = 0; r < ROWS; r++)
                for (size_t i = 0; i < n; i++) {
                    uint64_t want = 0;
                    for (size_t k = r == 0 ? 0 : ends[r - 1]; k < ends[r]; k++) want ^= x[left[k] * n + i] & y[right[k] * n + i];
                    CHECK(out[r * n + i] == want);
                }
        }
    CHECK(privcomp_planes_dot(out, 0, ends, left, right, 0, x, 0, y, 0, 3) == PRIVCOMP_OK);
    out[0] = GUARD;
    CHECK(privcomp_planes_dot(out, ROWS, ends, left, right, TERMS - 1, x, X, y, Y, 8) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_planes_dot(out, ROWS - 1, ends, left, right, TERMS, x, X, y, Y, 8) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_planes_dot(out, ROWS, ends, left, right, TERMS, x, X, y, Y, SIZE_MAX / 8) == PRIVCOMP_E_ARGUMENT);
    left[22] = X;
    CHECK(privcomp_planes_dot(out, ROWS, ends, left, right, TERMS, x, X, y, Y, 8) == PRIVCOMP_E_ARGUMENT);
    left[22] = 0, right[0] = Y;
    CHECK(privcomp_planes_dot(out, ROWS, ends, left, right, TERMS, x, X, y, Y, 8) == PRIVCOMP_E_ARGUMENT);
    right[0] = 0, ends[3] = 3;
    CHECK(privcomp_planes_dot(out, ROWS, ends, left, right, TERMS, x, X, y, Y, 8) == PRIVCOMP_E_ARGUMENT);
    CHECK(out[0] == GUARD);
    free(x), free(y), free(out);
}

/* Kernels of a level against the portable ones, on places and strides that the callers above do not use. */
static void twins(const struct mpc *k)
{
    enum { N = 41, STRIDE = 45, ROOM = 8 * STRIDE };
    static uint64_t a[ROOM], b[ROOM], start[ROOM], out[2][ROOM];
    const struct mpc *const kernels[2] = {&pc_mpc_portable, k};
    for (size_t n = 0; n <= N; n++)
        for (size_t rows = 1; rows <= MPC_ROWS; rows++) {
            test_fill(a, sizeof a), test_fill(b, sizeof b), test_fill(start, sizeof start);
            for (int q = 0; q < 2; q++) {
                memcpy(out[q], start, sizeof start);
                kernels[q]->dots(out[q], rows, a + 1, STRIDE, b + 3, n);
                kernels[q]->tile(out[q] + 5, 7, rows, a + 1, STRIDE, b + 3, n);
                kernels[q]->pair_tile(out[q] + 50, 9, rows, a + 1, STRIDE, b + 3, n - n % 2, a + 7, b + 9);
                kernels[q]->pair_dots(out[q] + 100, rows, a + 1, STRIDE, b + 3, n / 8 * 4, a + 7, b[9]);
            }
            CHECK(memcmp(out[0], out[1], sizeof out[0]) == 0);
        }
    enum { GROUPS = 2, WIDE = 8 * GROUPS + 3 };
    static uint64_t values[GROUPS * MPC_GROUP], split[2][64 * WIDE], joined[2][GROUPS * MPC_GROUP];
    for (unsigned bits = 1; bits <= 64; bits++) {
        test_fill(values, sizeof values);
        memset(split, 0x77, sizeof split);
        for (int q = 0; q < 2; q++) {
            kernels[q]->to_planes(split[q], WIDE, bits, values, GROUPS);
            kernels[q]->from_planes(joined[q], GROUPS, split[0] + 1, WIDE, bits);
        }
        CHECK(memcmp(split[0], split[1], sizeof split[0]) == 0 && memcmp(joined[0], joined[1], sizeof joined[0]) == 0);
    }
}

static u128 get(const uint64_t *a) { return (u128)a[1] << 64 | a[0]; }

static void wide(size_t n, size_t k, size_t m)
{
    uint64_t *a = extreme(2 * n * k), *b = extreme(2 * k * m), *start = words(2 * n * m), *out = words(2 * n * m);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        memcpy(out, start, 16 * n * m);
        CHECK(privcomp_ring_matmul_u128(out, a, b, n, k, m, accumulate) == PRIVCOMP_OK && out[2 * n * m] == GUARD);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < m; j++) {
                u128 want = accumulate ? get(start + 2 * (i * m + j)) : 0;
                for (size_t t = 0; t < k; t++) want += get(a + 2 * (i * k + t)) * get(b + 2 * (t * m + j));
                CHECK(get(out + 2 * (i * m + j)) == want);
            }
    }
    free(a), free(b), free(start), free(out);
}

static void wide_words(void)
{
    enum { N = 33 };
    static uint64_t a[2 * N], b[2 * N], out[2 * N];
    const uint64_t scale[2] = {test_u64(), test_u64()};
    test_fill(a, sizeof a), test_fill(b, sizeof b);
    privcomp_ring_mul_u128(out, a, b, N);
    for (size_t i = 0; i < 2 * N; i += 2) CHECK(get(out + i) == get(a + i) * get(b + i));
    privcomp_ring_axpy_u128(out, a, N, scale);
    for (size_t i = 0; i < 2 * N; i += 2) CHECK(get(out + i) == get(a + i) * get(b + i) + get(scale) * get(a + i));
    memcpy(out, a, sizeof a);
    privcomp_ring_mul_u128(out, out, b, N);
    privcomp_ring_axpy_u128(out, out, N, scale);
    for (size_t i = 0; i < 2 * N; i += 2) CHECK(get(out + i) == get(a + i) * get(b + i) * (get(scale) + 1));
}

int main(void)
{
    static const size_t shapes[][3] = {{1, 1, 1}, {1, 5, 1}, {4, 4, 4}, {3, 2, 5}, {5, 7, 9}, {8, 16, 8}, {9, 255, 11}, {2, 256, 12}, {7, 257, 13},
                                       {13, 600, 19}, {1, 700, 30}, {30, 700, 1}, {0, 3, 2}, {3, 0, 2}, {3, 2, 0}, {33, 40, 37}, {24, 8, 4}, {25, 9, 6}, {70, 515, 10}};
    static const size_t large[][3] = {{66, 257, 521}, {512, 514, 520}, {513, 512, 512}, {1, 9, 2050}, {2, 15, 1027}};
    for (size_t s = 0; s < sizeof large / sizeof *large; s++) matmul(large[s][0], large[s][1], large[s][2]);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) matmul(shapes[s][0], shapes[s][1], shapes[s][2]);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) wide(shapes[s][0], shapes[s][1], shapes[s][2]);
    uint64_t x[4] = {0};
    CHECK(privcomp_ring_matmul_u64(x, x, x, SIZE_MAX / 2, 3, 1, 0, x, 4) == PRIVCOMP_E_ARGUMENT && privcomp_matmul_scratch(SIZE_MAX / 2, 3, 1) == -1);
    CHECK(privcomp_ring_matmul_u64(x, x, x, 1, SIZE_MAX, 0, 0, x, 4) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_ring_matmul_u128(x, x, x, 1, 1, SIZE_MAX / 8, 0) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_ring_gram_u64(x, x, 1, x, 0, SIZE_MAX / 2, 3, x, 4) == PRIVCOMP_E_ARGUMENT && privcomp_gram_scratch(SIZE_MAX / 2) == -1);
    CHECK(privcomp_ring_gram_u64(x, x, 1, x, 0, 1, SIZE_MAX, x, 4) == PRIVCOMP_E_ARGUMENT);
    static const size_t rows[][2] = {{0, 5}, {1, 0}, {1, 1}, {2, 3}, {3, 511}, {4, 512}, {5, 513}, {6, 256}, {7, 257}, {20, 300}, {63, 9}, {64, 10}, {65, 11}, {130, 5}, {67, 700}, {260, 140}};
    for (size_t s = 0; s < sizeof rows / sizeof *rows; s++) gram(rows[s][0], rows[s][1]);
    word_by_word();
    dots_of_planes();
    for (size_t n = 0; n < 1100; n += n < 70 ? 1 : 61) planes(n, (unsigned)(1 + test_u64() % 64));
    for (unsigned bits = 1; bits <= 64; bits++) planes(512 + 64 * (bits % 9) + bits, bits);
    planes(1024, 64);
    CHECK(privcomp_planes_split(x, 0, x, 0) == PRIVCOMP_E_ARGUMENT && privcomp_planes_split(x, 65, x, 1) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_planes_join(x, 1, x, 0) == PRIVCOMP_E_ARGUMENT && privcomp_planes_join(x, ((size_t)1 << 48) + 1, x, 1) == PRIVCOMP_E_ARGUMENT);
    wide_words();
    for (int level = 1; level <= privcomp_level_max(); level++) twins(pc_mpc_at(level));
    printf("products of shares: ok, levels 0..%d\n", privcomp_level_max());
    return 0;
}
