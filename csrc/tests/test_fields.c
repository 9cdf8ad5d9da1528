/* Word-size fields and Shamir: every level, and the AVX-512 code in emulation, against a plain reading of the contract. */
#include "shamir_reference.h"

#if PC_X86
#define PRIVCOMP_EMULATE_AVX512
#define pc_m61_use_ifma emulated_m61_use
#define pc_goldilocks_use_ifma emulated_goldilocks_use
void emulated_m61_use(struct field *f);
void emulated_goldilocks_use(struct field *f);
#include "../src/field_ifma.c"
#undef pc_m61_use_ifma
#undef pc_goldilocks_use_ifma
#undef WORDS
#undef LANES
#endif

static uint64_t element(uint64_t p)
{
    const uint64_t edge[] = {0, 1, 2, p - 1, p - 2, p / 2, (uint64_t)1 << 31, ((uint64_t)1 << 31) - 1, (uint64_t)1 << 32, p >> 30 << 30};
    const uint64_t pick = test_u64();
    return pick % 4 == 0 ? edge[pick / 4 % 10] % p : test_u64() % p;
}

static void vectors(const struct field *f)
{
    enum { N = 1000 };
    static uint64_t a[N], b[N], sum[N], diff[N], c[N];
    const uint64_t p = f->p;
    for (size_t n = 0; n < N; n = n < 20 ? n + 1 : n * 2 + 1) {
        for (size_t i = 0; i < n; i++) a[i] = element(p), b[i] = element(p);
        f->butterfly(sum, diff, a, b, n);
        for (size_t i = 0; i < n; i++) {
            CHECK(sum[i] == ref_add(a[i], b[i], p));
            CHECK(diff[i] == ref_sub(a[i], b[i], p));
            CHECK(f->add(a[i], b[i]) == sum[i] && f->sub(a[i], b[i]) == diff[i]);
            CHECK(f->mul(a[i], b[i]) == ref_mul(a[i], b[i], p));
        }
        f->mul_n(c, a, b, n);
        uint64_t dot = 0;
        for (size_t i = 0; i < n; i++) {
            CHECK(c[i] == ref_mul(a[i], b[i], p));
            dot = ref_add(dot, c[i], p);
        }
        CHECK(f->dot(a, b, n) == dot);
        f->axpy_n(c, p - 2, a, b, n);
        for (size_t i = 0; i < n; i++) CHECK(c[i] == ref_add(ref_mul(p - 2, a[i], p), b[i], p));
        f->butterfly(a, b, a, b, n); /* in place */
        CHECK(memcmp(a, sum, 8 * n) == 0 && memcmp(b, diff, 8 * n) == 0);

        CHECK(f->canonical(a, n));
        for (size_t i = 0; i < n; i++) {
            const uint64_t keep = a[i], bad[] = {p, p + 1, UINT64_MAX, (uint64_t)1 << 63};
            for (int q = 0; q < 4; q++) {
                a[i] = bad[q];
                CHECK(f->canonical(a, n) == (bad[q] < p));
            }
            a[i] = keep;
        }
        for (size_t i = 0; i < n; i++) c[i] = PC_LE64(f->bits == 64 ? p - 1 : ((p - 1) << (64 - f->bits)) | 3);
        CHECK(!f->sample(c, n));
        for (size_t i = 0; i < n; i++) CHECK(c[i] == p - 1);
        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < n; k++) c[k] = 0;
            c[i] = UINT64_MAX;
            CHECK(f->sample(c, n) && c[i] >= p);
        }
    }
}

/* Random and extreme values; numbers of terms around every bound of the lazy sums. */
static void dot_rows(const struct field *f)
{
    enum { WIDTH = 37, MAX_TERMS = 2100, STRIDE = WIDTH + 3 };
    static uint64_t in[MAX_TERMS * STRIDE], w[FIELD_ROWS * MAX_TERMS], prepared[FIELD_PREPARED * MAX_TERMS], o[FIELD_ROWS][WIDTH];
    static const size_t sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 25, 31, 32, 33, 50, 64, 1022, 1023, 1024, 2047, MAX_TERMS};
    uint64_t *const out[FIELD_ROWS] = {o[0], o[1], o[2], o[3]};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t terms = sizes[s];
        for (int extreme = 0; extreme < 2; extreme++) {
            for (size_t i = 0; i < terms * STRIDE; i++) in[i] = extreme ? f->p - 1 : element(f->p);
            for (size_t i = 0; i < FIELD_ROWS * terms; i++) w[i] = extreme ? f->p - 1 : element(f->p);
            for (size_t rows = 1; rows <= FIELD_ROWS; rows++) {
                const size_t width = rows == 2 ? 5 : WIDTH;
                f->dot_rows(out, rows, w, terms, in, STRIDE, width, prepared);
                for (size_t r = 0; r < rows; r++) {
                    for (size_t i = 0; i < width; i++) {
                        uint64_t sum = 0;
                        for (size_t k = 0; k < terms; k++) sum = ref_add(sum, ref_mul(w[r * terms + k], in[k * STRIDE + i], f->p), f->p);
                        CHECK(o[r][i] == sum);
                    }
                }
            }
        }
    }
}

/* How the points of a case lie. */
enum { DEFAULT, SYMMETRIC, SCATTERED };

static void place(uint64_t *points, size_t n, int kind, uint64_t p)
{
    for (size_t i = 0; i < n; i++) {
        if (kind == DEFAULT) points[i] = i + 1;
        if (kind == SYMMETRIC) points[i] = i < n / 2 ? p - 3 * (n / 2 - i) : 3 * (i - n / 2 + 1);
        if (kind == SCATTERED) points[i] = p - 1 - 5 * i * i;
    }
}

static void share_case(const struct field *f, size_t n, size_t t, size_t d, int kind)
{
    uint64_t *const points = malloc(8 * n), *const secrets = malloc(8 * d), *const shares = malloc(8 * n * d), *const again = malloc(8 * n * d);
    const size_t words = (size_t)privcomp_shamir_share_scratch(n, t, d), back_words = (size_t)privcomp_shamir_interpolate_scratch(n, t, d);
    uint64_t *const scratch = malloc(8 * (words > back_words ? words : back_words)), *const column = malloc(8 * n), *const x = malloc(8 * t), *const y = malloc(8 * t);
    uint8_t seed[32];
    CHECK(points && secrets && shares && again && scratch && column && x && y);
    test_fill(seed, sizeof seed);
    place(points, n, kind, f->p);
    for (size_t j = 0; j < d; j++) secrets[j] = element(f->p);
    CHECK(pc_shamir_share(f, shares, secrets, d, points, n, t, seed, scratch, words) == PRIVCOMP_OK);
    for (size_t j = 0; j < d && n < 1000; j += d > 20 ? d / 7 : 1) {
        ref_share(column, secrets, j, d, points, n, t, seed, f, x, y);
        for (size_t i = 0; i < n; i++) CHECK(shares[i * d + j] == column[i]);
    }
    pc_shamir_no_shortcut = 1;
    CHECK(pc_shamir_share(f, again, secrets, d, points, n, t, seed, scratch, words) == PRIVCOMP_OK);
    pc_shamir_no_shortcut = 0;
    CHECK(memcmp(shares, again, 8 * n * d) == 0);

    /* In three parts, the first one last; a part touches nothing else. */
    const size_t cuts[] = {0, d / 3, d - d / 4, d};
    memset(again, 0xff, 8 * n * d);
    for (int part = 2; part >= 0; part--) {
        CHECK(pc_shamir_share_part(f, again, secrets, d, cuts[part], cuts[part + 1] - cuts[part], points, n, t, seed, scratch, words) == PRIVCOMP_OK);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < d; j++) CHECK(again[i * d + j] == (j < cuts[part] ? UINT64_MAX : shares[i * d + j]));
    }

    /* From the last t shares: the secrets, and every share. */
    const uint64_t zero = 0;
    const size_t from = n - t;
    CHECK(pc_shamir_interpolate(f, again, &zero, 1, points + from, t, shares + from * d, d, scratch, back_words) == PRIVCOMP_OK);
    CHECK(memcmp(again, secrets, 8 * d) == 0);
    const size_t some = n < 1000 ? n : 2; /* n weights for n points cost n^3 */
    CHECK(pc_shamir_interpolate(f, again, points, some, points + from, t, shares + from * d, d, scratch, back_words) == PRIVCOMP_OK);
    CHECK(memcmp(again, shares, 8 * some * d) == 0);

    free(points), free(secrets), free(shares), free(again), free(scratch), free(column), free(x), free(y);
}

static void shamir(const struct field *f)
{
    for (size_t n = 1; n <= 9; n++)
        for (size_t t = 1; t <= n; t++)
            for (int kind = DEFAULT; kind <= SCATTERED; kind++) share_case(f, n, t, 1 + (n * t) % 19, kind);
    share_case(f, 20, 11, 511, DEFAULT);
    share_case(f, 20, 10, 512, SYMMETRIC);
    share_case(f, 21, 10, 513, DEFAULT);
    share_case(f, 21, 9, 1031, SCATTERED);
    share_case(f, 100, 50, 30, DEFAULT);
    share_case(f, 101, 67, 10, DEFAULT);
    share_case(f, 60, 51, 10, SCATTERED);
}

/* Twice the terms between two carries of the AVX-512 code. (Only sharing and interpolation against each other.) */
static void wide(const struct field *f)
{
    share_case(f, 2100, 2095, 17, DEFAULT);
}

static void refusals(void)
{
    enum { N = 4, D = 3, WORDS = 4096 };
    static uint64_t shares[N * D], back[D], scratch[WORDS];
    const uint8_t seed[32] = {0};
    for (int field = PRIVCOMP_FIELD_M61; field <= PRIVCOMP_FIELD_GOLDILOCKS; field++) {
        const uint64_t p = privcomp_field_modulus(field), room = UINT64_MAX - p;
        uint64_t points[N] = {1, 2, 3, 4}, secrets[D] = {0, p - 1, 5}, at = 0;
#define SHARE(n, t, words) privcomp_shamir_share(shares, secrets, D, points, n, t, seed, field, scratch, words)
#define BACK(m, words) privcomp_shamir_interpolate(back, &at, 1, points, m, shares, D, field, scratch, words)
        CHECK(SHARE(N, 2, WORDS) == PRIVCOMP_OK && BACK(2, WORDS) == PRIVCOMP_OK && memcmp(back, secrets, sizeof back) == 0);
        memset(shares, 0, sizeof shares);
        CHECK(privcomp_shamir_share_part(shares, secrets, D, 1, D, points, N, 2, seed, field, scratch, WORDS) == PRIVCOMP_E_ARGUMENT);
        CHECK(privcomp_shamir_share_part(shares, secrets, D, D + 1, 0, points, N, 2, seed, field, scratch, WORDS) == PRIVCOMP_E_ARGUMENT);
        CHECK(SHARE(N, 0, WORDS) == PRIVCOMP_E_ARGUMENT && SHARE(N, N + 1, WORDS) == PRIVCOMP_E_ARGUMENT);
        CHECK(SHARE(0, 0, WORDS) == PRIVCOMP_E_ARGUMENT && BACK(0, WORDS) == PRIVCOMP_E_ARGUMENT);
        CHECK(SHARE(N, 2, (size_t)privcomp_shamir_share_scratch(N, 2, D) - 1) == PRIVCOMP_E_LENGTH);
        CHECK(BACK(2, (size_t)privcomp_shamir_interpolate_scratch(1, 2, D) - 1) == PRIVCOMP_E_LENGTH);
        const uint64_t cases[][2] = {{0, PRIVCOMP_E_ZERO & 0xff}, {p, PRIVCOMP_E_ZERO & 0xff}, {1, PRIVCOMP_E_DUPLICATE & 0xff},
                                     {room >= 1 ? p + 1 : 1, PRIVCOMP_E_DUPLICATE & 0xff}, {p + 7, PRIVCOMP_E_CANONICAL & 0xff}};
        for (size_t q = 0; q < sizeof cases / sizeof *cases; q++) {
            points[3] = cases[q][0];
            CHECK((SHARE(N, 2, WORDS) & 0xff) == (int)cases[q][1]);
            CHECK((BACK(N, WORDS) & 0xff) == (int)cases[q][1]);
        }
        points[3] = 4;
        at = p;
        CHECK(BACK(2, WORDS) == PRIVCOMP_E_CANONICAL);
        at = 0;
        secrets[1] = p;
        CHECK(SHARE(N, 2, WORDS) == PRIVCOMP_E_CANONICAL);
        for (size_t i = 0; i < N * D; i++) CHECK(shares[i] == 0); /* nothing was written */
        shares[4] = p, back[0] = 1;
        CHECK(BACK(2, WORDS) == PRIVCOMP_E_CANONICAL && back[0] == 0);
        shares[4] = 0;

        uint64_t a[2] = {3, 0}, out[2];
        CHECK(privcomp_field_inv(out, a, 2, field) == PRIVCOMP_E_ZERO && privcomp_field_inv(out, a, 1, field) == PRIVCOMP_OK);
        CHECK(ref_mul(out[0], 3, p) == 1);
        CHECK(privcomp_field_add(out, a, a, 2, field) == PRIVCOMP_OK && out[0] == 6);
        CHECK(privcomp_field_neg(out, a, 2, field) == PRIVCOMP_OK && out[0] == p - 3 && out[1] == 0);
        a[1] = p;
        CHECK(privcomp_field_add(out, a, out, 2, field) == PRIVCOMP_E_CANONICAL && privcomp_field_sub(out, out, a, 2, field) == PRIVCOMP_E_CANONICAL);
        CHECK(privcomp_field_mul(out, a, out, 2, field) == PRIVCOMP_E_CANONICAL && privcomp_field_neg(out, a, 2, field) == PRIVCOMP_E_CANONICAL);
        CHECK(privcomp_field_inv(out, a, 2, field) == PRIVCOMP_E_CANONICAL && privcomp_field_dot(out, a, a, 2, field) == PRIVCOMP_E_CANONICAL);
        CHECK(privcomp_field_axpy(out, a, a, 2, 1, field) == PRIVCOMP_E_CANONICAL && privcomp_field_axpy(out, a, a, 1, p, field) == PRIVCOMP_E_CANONICAL);
        CHECK(privcomp_lagrange_weights_var(back, &at, 1, points, 0, field, scratch) == PRIVCOMP_E_ARGUMENT);
        points[1] = 1;
        CHECK(privcomp_lagrange_weights_var(back, &at, 1, points, 2, field, scratch) == PRIVCOMP_E_DUPLICATE);
        points[1] = 2, at = p;
        CHECK(privcomp_lagrange_weights_var(back, &at, 1, points, 2, field, scratch) == PRIVCOMP_E_CANONICAL);
    }
    uint64_t a = 1;
    CHECK(privcomp_field_modulus(0) == 0 && privcomp_field_modulus(3) == 0);
    CHECK(privcomp_field_add(&a, &a, &a, 1, 3) == PRIVCOMP_E_ARGUMENT && privcomp_shamir_interpolate(&a, &a, 1, &a, 1, &a, 1, 0, scratch, WORDS) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_shamir_share_scratch(PRIVCOMP_SHAMIR_MAX_POINTS + 1, 2, 1) == -1 && privcomp_shamir_share_scratch(5, 2, ((size_t)1 << 40) + 1) == -1);
    CHECK(privcomp_shamir_interpolate_scratch(1, 0, 1) == -1 && privcomp_shamir_interpolate_scratch(PRIVCOMP_SHAMIR_MAX_POINTS + 1, 1, 1) == -1);
}

/* Further values of random polynomials, whose values come from their coefficients. */
static void extend(const struct field *f)
{
    enum { TERMS = 70, FURTHER = 19, WIDTH = 19, STRIDE = WIDTH + 1 };
    static uint64_t in[TERMS * STRIDE], got[2 * FURTHER * STRIDE], c[TERMS], scratch[FIELD_PREPARED * (TERMS + 1)];
    if (f->extend == NULL) return;
    for (size_t terms = 1; terms <= TERMS; terms += terms < 20 ? 1 : 7)
        for (int trial = 0; trial < 3; trial++) {
            const size_t below = test_u64() % FURTHER, above = test_u64() % FURTHER, width = 1 + test_u64() % WIDTH;
            static uint64_t want[2 * FURTHER * STRIDE];
            for (size_t i = 0; i < 2 * FURTHER * STRIDE; i++) want[i] = got[i] = i;
            for (size_t j = 0; j < width; j++) {
                for (size_t k = 0; k < terms; k++) c[k] = element(f->p);
                for (size_t i = 0; i < below + terms + above; i++) {
                    const uint64_t x = i < below ? f->p - 1 - i : i - below;
                    uint64_t sum = 0;
                    for (size_t k = terms; k-- > 0;) sum = ref_add(ref_mul(sum, x, f->p), c[k], f->p);
                    if (trial == 0 && i >= below && i < below + terms) sum = i % 2 ? 0 : f->p - 1; /* the greatest sums */
                    if (i >= below && i < below + terms) in[pc_middle_place(i - below, terms) * STRIDE + j] = sum;
                    else want[(i < below ? i : i - terms) * STRIDE + j] = sum;
                }
            }
            f->extend(got, below, above, in, terms, STRIDE, width, scratch);
            if (trial > 0) {
                CHECK(memcmp(got, want, sizeof got) == 0);
                continue;
            }
            uint64_t x[TERMS], y[TERMS]; /* one column will do: interpolation is slow */
            for (size_t k = 0; k < terms; k++) x[k] = k, y[k] = in[pc_middle_place(k, terms) * STRIDE];
            for (size_t i = 0; i < below + above; i += 5)
                CHECK(got[i * STRIDE] == ref_interpolate(i < below ? f->p - 1 - i : i - below + terms, x, y, terms, f->p));
        }
    for (size_t n = 1; n < 30; n++)
        for (size_t k = 0; k < n; k++) CHECK(pc_middle_order(k, n) < n && pc_middle_place(pc_middle_order(k, n), n) == k);
}

static void all(const struct field *f)
{
    vectors(f);
    extend(f);
    dot_rows(f);
    shamir(f);
}

int main(void)
{
    for (int level = 0; level <= privcomp_level_max(); level++) {
        CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
        for (int field = PRIVCOMP_FIELD_M61; field <= PRIVCOMP_FIELD_GOLDILOCKS; field++) {
            struct field f;
            CHECK(pc_field(&f, field) == PRIVCOMP_OK);
            all(&f);
        }
        refusals();
    }
#if PC_X86
    struct field m61 = pc_m61_portable, goldilocks = pc_goldilocks_portable;
    emulated_m61_use(&m61), emulated_goldilocks_use(&goldilocks);
    all(&m61), all(&goldilocks);
    wide(&m61);
#else
    wide(&pc_m61_portable);
#endif
    printf("fields: ok, levels 0..%d\n", privcomp_level_max());
    return 0;
}
