/* Transforms over Goldilocks and packed sharing: every level against a plain reading of the contract. */
#include "ntt_goldilocks.h"
#include "shamir_reference.h"

#define P GOLDILOCKS_P

static uint64_t power(uint64_t a, uint64_t e)
{
    uint64_t r = 1;
    for (; e; e >>= 1, a = ref_mul(a, a, P))
        if (e & 1) r = ref_mul(r, a, P);
    return r;
}

static uint64_t element(void)
{
    const uint64_t edge[] = {0, 1, P - 1, P - 2, ((uint64_t)1 << 32) - 1, (uint64_t)1 << 32, (uint64_t)1 << 63, P / 2};
    const uint64_t pick = test_u64();
    return pick % 4 == 0 ? edge[pick / 4 % 8] : test_u64() % P;
}

/* shift w_N^rev(i) */
static uint64_t point(size_t i, unsigned log_n, uint64_t shift)
{
    uint64_t e = 0;
    for (unsigned k = 0; k < log_n; k++) e |= (uint64_t)(i >> k & 1) << (log_n - 1 - k);
    return ref_mul(shift, power(power(7, ((uint64_t)1 << 32) - 1), e << (32 - log_n)), P);
}

static uint64_t horner(const uint64_t *c, size_t terms, size_t stride, uint64_t x)
{
    uint64_t sum = 0;
    for (size_t k = terms; k-- > 0;) sum = ref_add(ref_mul(sum, x, P), c[k * stride], P);
    return sum;
}

/* The functions of a level on loose words: any word stands for its residue. */
static void butterflies(const struct ntt *f)
{
    enum { N = 23 };
    static const uint64_t edge[] = {0, 1, P - 1, P, P + 1, UINT64_MAX, UINT64_MAX - 1, (uint64_t)1 << 63, ((uint64_t)1 << 63) - 1, 0xffffffff, (uint64_t)1 << 32};
    enum { EDGES = sizeof edge / sizeof *edge };
    const int loose = f != &pc_ntt_portable;
    for (int trial = 0; trial < 4000; trial++) {
        uint64_t u[N], v[N], a[N], b[N];
        const size_t n = (size_t)(trial % 5 == 0 ? trial % N : N);
        const uint64_t w = trial % 3 == 0 ? edge[trial / 3 % EDGES] % P : element();
        for (int i = 0; i < N; i++) {
            u[i] = trial % 2 ? edge[test_u64() % EDGES] : test_u64(), v[i] = trial % 2 ? edge[test_u64() % EDGES] : test_u64();
            if (!loose || (size_t)i >= n / 4 * 4) u[i] %= P, v[i] %= P; /* what is no whole vector is the portable twin's */
            a[i] = u[i], b[i] = v[i];
        }
        f->forward(u, v, w, n), f->finish(u, n), f->finish(v, n);
        for (size_t i = 0; i < N; i++) {
            const uint64_t c = ref_mul(w, b[i] % P, P);
            CHECK(u[i] == (i < n ? ref_add(a[i] % P, c, P) : a[i]) && v[i] == (i < n ? ref_sub(a[i] % P, c, P) : b[i]));
        }
        memcpy(u, a, sizeof u), memcpy(v, b, sizeof v);
        f->inverse(u, v, w, n), f->finish(u, n), f->finish(v, n);
        for (size_t i = 0; i < n; i++) {
            CHECK(u[i] == ref_add(a[i] % P, b[i] % P, P));
            CHECK(v[i] == ref_mul(w, ref_sub(a[i] % P, b[i] % P, P), P));
        }
        memcpy(u, a, sizeof u);
        f->scale(u, w, n);
        for (size_t i = 0; i < n; i++) CHECK(u[i] == ref_mul(w, a[i] % P, P));
    }
}

static void transform(unsigned log_n, size_t d, uint64_t shift)
{
    const size_t n = (size_t)1 << log_n, words = (size_t)privcomp_ntt_goldilocks_scratch(log_n, d);
    uint64_t *const data = malloc(8 * n * d + 8), *const start = malloc(8 * n * d + 8), *const scratch = malloc(8 * words), *const points = malloc(8 * n);
    CHECK(data && start && scratch && points);
    for (size_t i = 0; i < n * d; i++) data[i] = start[i] = element();
    CHECK(privcomp_ntt_goldilocks_points_var(points, n, log_n, shift) == PRIVCOMP_OK);
    CHECK(privcomp_ntt_goldilocks(data, log_n, d, shift, 0, scratch, words) == PRIVCOMP_OK);
    for (size_t i = 0; i < n; i += n > 64 ? n / 13 : 1) {
        CHECK(points[i] == point(i, log_n, shift));
        for (size_t j = 0; j < d; j += d > 20 ? d / 7 : 1) CHECK(data[i * d + j] == horner(start + j, n, d, points[i]));
    }
    CHECK(privcomp_ntt_goldilocks(data, log_n, d, shift, 1, scratch, words) == PRIVCOMP_OK);
    CHECK(memcmp(data, start, 8 * n * d) == 0);
    free(data), free(start), free(scratch), free(points);
}

static void packed(size_t n, size_t t, unsigned log_packing, size_t d)
{
    const size_t size = (size_t)1 << log_packing, words = (size_t)privcomp_packed_share_scratch(n, t, log_packing, d);
    uint64_t *const secrets = malloc(8 * size * d + 8), *const shares = malloc(8 * n * d + 8), *const scratch = malloc(8 * words);
    uint64_t *const f = malloc(8 * (t + size)), *const x = malloc(8 * size), *const y = malloc(8 * size);
    uint8_t seed[32];
    unsigned log_n = 0;
    struct field field;
    CHECK(secrets && shares && scratch && f && x && y && pc_field(&field, PRIVCOMP_FIELD_GOLDILOCKS) == PRIVCOMP_OK);
    while ((size_t)1 << log_n < n) log_n++;
    test_fill(seed, sizeof seed);
    for (size_t i = 0; i < size * d; i++) secrets[i] = element();
    memset(shares, 0xff, 8 * n * d);
    const size_t cut = d / 3;
    CHECK(privcomp_packed_share(shares, secrets, d, cut, d - cut, n, t, log_packing, seed, scratch, words) == PRIVCOMP_OK);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < cut; j++) CHECK(shares[i * d + j] == UINT64_MAX); /* a part touches nothing else */
    CHECK(privcomp_packed_share(shares, secrets, d, 0, cut, n, t, log_packing, seed, scratch, words) == PRIVCOMP_OK);
    for (size_t k = 0; k < size; k++) x[k] = point(k, log_packing, 1);
    for (size_t j = 0; j < d; j += d > 20 ? d / 11 : 1) {
        /* f = P + (x^size - 1) r, P by Lagrange's formula */
        for (size_t k = 0; k < size; k++) y[k] = secrets[k * d + j];
        for (size_t i = 0; i < n; i++) {
            const uint64_t at = point(i, log_n, 7);
            uint64_t r = 0;
            for (size_t k = t; k-- > 0;) r = ref_add(ref_mul(r, at, P), ref_draw(k * d + j, t * d, seed, &field), P);
            const uint64_t value = ref_add(ref_interpolate(at, x, y, size, P), ref_mul(ref_sub(power(at, size), 1, P), r, P), P);
            CHECK(shares[i * d + j] == value);
        }
    }
    free(secrets), free(shares), free(scratch), free(f), free(x), free(y);
}

static void refusals(void)
{
    static uint64_t data[64], shares[64], scratch[1 << 13];
    const uint8_t seed[32] = {0};
    const size_t words = sizeof scratch / 8;
    CHECK(privcomp_ntt_goldilocks_scratch(PRIVCOMP_NTT_LOG_MAX + 1, 1) == -1 && privcomp_ntt_goldilocks_scratch(1, ((size_t)1 << 40) + 1) == -1);
    CHECK(privcomp_ntt_goldilocks(data, PRIVCOMP_NTT_LOG_MAX + 1, 1, 1, 0, scratch, words) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_ntt_goldilocks(data, 3, 2, 1, 0, scratch, (size_t)privcomp_ntt_goldilocks_scratch(3, 2) - 1) == PRIVCOMP_E_LENGTH);
    CHECK(privcomp_ntt_goldilocks(data, 3, 2, 0, 0, scratch, words) == PRIVCOMP_E_ZERO && privcomp_ntt_goldilocks(data, 3, 2, P, 0, scratch, words) == PRIVCOMP_E_ZERO);
    CHECK(privcomp_ntt_goldilocks(data, 3, 2, P + 1, 0, scratch, words) == PRIVCOMP_E_CANONICAL);
    data[15] = P;
    CHECK(privcomp_ntt_goldilocks(data, 3, 2, 1, 0, scratch, words) == PRIVCOMP_E_CANONICAL && data[0] == 0 && data[15] == P);
    CHECK(privcomp_ntt_goldilocks_points_var(shares, 5, 2, 1) == PRIVCOMP_E_ARGUMENT && privcomp_ntt_goldilocks_points_var(shares, 1, 40, 1) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_ntt_goldilocks_points_var(shares, 1, 2, P) == PRIVCOMP_E_CANONICAL);
#define PACKED(first, count, n, t, l, room) privcomp_packed_share(shares, data, 3, first, count, n, t, l, seed, scratch, room)
    CHECK(PACKED(0, 3, 6, 2, 2, words) == PRIVCOMP_OK);
    data[11] = P;
    CHECK(PACKED(0, 3, 6, 2, 2, words) == PRIVCOMP_E_CANONICAL && PACKED(0, 1, 6, 2, 2, words) == PRIVCOMP_E_CANONICAL);
    data[11] = 0;
    CHECK(PACKED(0, 3, 5, 2, 2, words) == PRIVCOMP_E_ARGUMENT && PACKED(0, 3, 6, 0, 2, words) == PRIVCOMP_E_ARGUMENT);
    CHECK(PACKED(0, 3, 0, 1, 0, words) == PRIVCOMP_E_ARGUMENT && PACKED(0, 3, (1 << 14) + 1, 1, 0, words) == PRIVCOMP_E_ARGUMENT);
    CHECK(PACKED(0, 3, 6, SIZE_MAX, 2, words) == PRIVCOMP_E_ARGUMENT && PACKED(0, 3, 6, 2, 15, words) == PRIVCOMP_E_ARGUMENT);
    CHECK(PACKED(1, 3, 6, 2, 2, words) == PRIVCOMP_E_ARGUMENT && PACKED(4, 0, 6, 2, 2, words) == PRIVCOMP_E_ARGUMENT && PACKED(3, 0, 6, 2, 2, words) == PRIVCOMP_OK);
    CHECK(PACKED(0, 3, 6, 2, 2, (size_t)privcomp_packed_share_scratch(6, 2, 2, 3) - 1) == PRIVCOMP_E_LENGTH);
}

int main(void)
{
    for (int level = 0; level <= privcomp_level_max(); level++) {
        CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
        butterflies(pc_ntt_at(level));
        for (unsigned log_n = 0; log_n <= 6; log_n++)
            for (size_t d = 0; d <= 11; d++) transform(log_n, d, d % 3 == 0 ? 1 : d % 3 == 1 ? 7 : 1 + test_u64() % (P - 1));
        transform(3, 1100, 7), transform(9, 40, 7), transform(PRIVCOMP_NTT_LOG_MAX, 17, 1);
        for (size_t n = 2; n <= 9; n++)
            for (unsigned l = 0; (size_t)1 << l < n; l++)
                for (size_t t = 1; t + ((size_t)1 << l) <= n; t++) packed(n, t, l, 1 + (n * t) % 19);
        packed(16, 8, 3, 700), packed(33, 10, 4, 529), packed(100, 50, 5, 30), packed(64, 1, 0, 9);
        refusals();
    }
    printf("transforms: ok, levels 0..%d\n", privcomp_level_max());
    return 0;
}
