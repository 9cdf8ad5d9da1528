/* The AVX-512 IFMA code of the sumchecks in emulation against its portable twin: the arithmetic on extreme limbs and values, then whole
 * functions. */
#include "check.h"
#include "core.h"

#if PC_X86
/* Registers are memory here: unrolling and inlining would only keep the compiler busy. */
#undef PC_UNROLL
#define PC_UNROLL
#undef PC_INLINE
#define PC_INLINE static inline
#define PRIVCOMP_EMULATE_AVX512
#define MT8_TERMS 2 /* so that small tables reach every carry of the loops; arithmetic() has the real distance */
#define pc_multilinear_ristretto255 emulated_portable
#define pc_multilinear_ristretto255_ifma emulated
#define pc_multilinear_bn254 emulated_bn254
#include "../src/multilinear_kernels.c"
#undef pc_multilinear_ristretto255
#undef pc_multilinear_ristretto255_ifma
#undef pc_multilinear_bn254

extern const struct multilinear pc_multilinear_ristretto255;
static const struct multilinear *const portable = &pc_multilinear_ristretto255;

/* The place of lane k among eight residues in memory. */
static const int place[LANES] = {0, 2, 1, 3, 4, 6, 5, 7};

/* Below l: random, and each of the smallest, the largest and those about 2^252 and the ends of words and limbs. */
static mt residue(void)
{
    const uint64_t pick = test_u64();
    mt out = mt_zero;
    if (pick % 4) {
        for (int i = 0; i < 4; i++) out.w[i] = test_u64();
        if (pick % 4 == 2)
            for (int i = 0; i < 4; i++) out.w[i] = test_u64() % 3 - 1; /* 0, 1 or all ones */
        out.w[3] &= UINT64_MAX >> 3;
        for (int i = 0; i < 2; i++) {
            mt less;
            if (!mt_reduced(out, &ED_ORDER)) wide_subtract(less.w, out.w, ED_ORDER.m), out = less;
        }
        return out;
    }
    const uint64_t few[4] = {pick / 4 % 3, 0, 0, 0};
    if (pick / 12 % 3 == 0) {
        memcpy(out.w, few, sizeof few);
    } else if (pick / 12 % 3 == 1) {
        wide_subtract(out.w, ED_ORDER.m, few);
        if (few[0] == 0) wide_subtract(out.w, out.w, (const uint64_t[4]){1, 0, 0, 0});
    } else {
        out.w[3] = (uint64_t)1 << 60; /* 2^252 - few */
        wide_subtract(out.w, out.w, few);
    }
    return out;
}

static mt largest(void)
{
    mt out;
    wide_subtract(out.w, ED_ORDER.m, (const uint64_t[4]){1, 0, 0, 0});
    return out;
}

static void fill(mt *t, size_t n, int all_largest)
{
    for (size_t i = 0; i < n; i++) t[i] = all_largest ? largest() : residue();
}

static void same(const mt *a, const mt *b, size_t n) { CHECK(memcmp(a, b, n * sizeof *a) == 0); }

/* The residue of limbs of any size. */
static mt value(mt8 a, int lane)
{
    mt out = mt_zero;
    for (int i = 5; i-- > 0;) {
        for (int k = 0; k < 52; k++) out = mt_add(out, out, &ED_ORDER);
        const uint64_t word[4] = {a.v[i].lane[lane], 0, 0, 0};
        out = mt_add(out, mt_mul(mt_from_words(word, &ED_ORDER), (mt){{1, 0, 0, 0}}, &ED_ORDER), &ED_ORDER);
    }
    return out;
}

enum { TERMS = 256 };

static void arithmetic(void)
{
    mt a[LANES], b[LANES], c[LANES], d[LANES], got[LANES];
    const mt sixteenth = mt_inv(mt_times16(mt_one(&ED_ORDER)), &ED_ORDER);
    for (int trial = 0; trial < 4000; trial++) {
        fill(a, LANES, trial == 0), fill(b, LANES, trial < 2), fill(c, LANES, trial == 0), fill(d, LANES, trial == 0);
        const mt8 x = mt8_load(a), y = mt8_load16(b), u = mt8_load(c), v = mt8_load(d);
        const mt8 product = mt8_mul(x, y), two = mt8_mul2(x, y, u, v), difference = mt8_sub(x, u);
        for (int k = 0; k < LANES; k++) {
            const int j = place[k];
            const mt ab = mt_mul(a[j], b[j], &ED_ORDER), cd = mt_mul(c[j], d[j], &ED_ORDER);
            same(&a[j], &(mt){{value(x, k).w[0], value(x, k).w[1], value(x, k).w[2], value(x, k).w[3]}}, 1);
            const mt times = mt_times16(b[j]), y_value = value(y, k), sum = value(two, k), minus = value(difference, k);
            same(&times, &y_value, 1);
            const mt want = mt_add(ab, mt_mul(cd, sixteenth, &ED_ORDER), &ED_ORDER), want_minus = mt_sub(a[j], c[j], &ED_ORDER);
            same(&want, &sum, 1);
            same(&want_minus, &minus, 1);
            c[j] = ab;
        }
        mt8_store(got, product);
        same(got, c, LANES);
        mt8_store_short(got, x);
        same(got, a, LANES);
        for (int i = 0; i < 5; i++) CHECK(mt8_all(a[0]).v[i].lane[3] == x.v[i].lane[0]);
    }
    /* canonical: m l + a for every m below 2^6, with limbs that are not short */
    for (int trial = 0; trial < 4000; trial++) {
        mt8 x;
        fill(a, LANES, trial == 0);
        x = mt8_load(a);
        for (int k = 0; k < LANES; k++) {
            const uint64_t times = trial < 64 ? (uint64_t)trial : test_u64() % 63;
            for (int i = 0; i < 5; i++) x.v[i].lane[k] += times * MT8_L[i];
            for (int i = 0; i < 4; i++) { /* borrow from the limb above */
                const uint64_t borrow = x.v[i + 1].lane[k] < 512 ? 0 : test_u64() % 512;
                x.v[i + 1].lane[k] -= borrow, x.v[i].lane[k] += borrow << 52;
            }
        }
        mt8_store(got, x);
        same(got, a, LANES);
    }
    /* sums of as many products as may follow a carry, and of many more */
    for (int trial = 0; trial < 20; trial++) {
        const int count = trial < 4 ? 4 * TERMS : (int)(test_u64() % (3 * TERMS));
        mt8_sum s = mt8_sum_zero();
        mt want = mt_zero;
        for (int i = 0; i < count; i++) {
            fill(a, LANES, trial < 2), fill(b, LANES, trial < 2);
            mt8 x = mt8_load(a), y = mt8_load16(b);
            if (trial == 0) /* the largest limbs */
                for (int q = 0; q < 5; q++) x.v[q] = y.v[q] = all8(MT8_MASK);
            mt8_sum_add(&s, x, y);
            if (i % TERMS == TERMS - 1) mt8_sum_carry(&s);
            for (int k = 0; k < LANES; k++) want = mt_add(want, mt_mul(value(x, k), value(y, k), &ED_ORDER), &ED_ORDER);
        }
        const mt total = mt8_sum_total(s);
        same(&want, &total, 1);
        /* reduced in lanes, they add up to a sixteenth of it */
        const mt8 lanes = mt8_reduce(s);
        mt sum = mt_zero;
        for (int k = 0; k < LANES; k++) sum = mt_add(sum, value(lanes, k), &ED_ORDER);
        sum = mt_times16(sum);
        same(&want, &sum, 1);
    }
}

/* ---- whole functions ---- */

enum { BITS = 11, N = 1 << BITS };
static mt tables[4 * N + 1], want[4 * N + 1], got[4 * N + 1], scratch[4 * N];
static uint8_t point[PRIVCOMP_SCALAR_BYTES * (BITS)];

static void draw(int all_largest)
{
    fill(tables, 4 * N + 1, all_largest);
    for (unsigned b = 0; b < BITS; b++) mt_to_bytes(point + PRIVCOMP_SCALAR_BYTES * b, all_largest ? largest() : residue(), &ED_ORDER);
}

/* The same call of both on copies of the tables; the whole of them has to agree. */
#define SAME(call) \
    do { \
        const struct multilinear *m = portable; \
        mt *out = want; \
        memcpy(out, tables, sizeof tables); \
        call; \
        m = &emulated, out = got; \
        memcpy(out, tables, sizeof tables); \
        call; \
        same(want, got, 4 * N + 1); \
    } while (0)

static void linear(mt s, int trial)
{
    static int64_t x[4 * N];
    for (int i = 0; i < 4 * N; i++) x[i] = trial == 0 ? INT64_MIN : trial == 1 ? INT64_MAX : (int64_t)test_u64() >> i % 64;
    for (size_t half = 0; half <= 20; half++) {
        SAME(m->fold(out, 3, 2 * half + 1, half, s));
        SAME(m->product_round(out, tables, tables + 2 * N, half));
        for (size_t count = 0; count <= PRIVCOMP_MULTILINEAR_PIECES; count += 1 + count / 2) {
            const size_t d = count * half > 0 ? test_u64() % (count * half + 1) : 0;
            SAME(m->combine(out, point, count, x, d, half, trial % 2));
        }
    }
    for (unsigned b = 0; b < BITS; b++) SAME(m->fold(out, 4, N, (size_t)1 << b, s));
    SAME(m->product_round(out, tables, tables + 2 * N, N));
    for (unsigned n = 0; n <= BITS; n++) {
        const size_t cut = test_u64() % (((size_t)1 << n) + 1);
        SAME(m->eq_cut(out, point, n, cut, s, tables[0], scratch));
        SAME(m->eq_cut(out, point, n, cut & ~(size_t)7, tables[1], s, scratch));
    }
}

static void fractions(mt s, int trial)
{
    static int64_t x[8 * N];
    const mt lambda = trial == 0 ? largest() : residue(), shift = trial == 0 ? largest() : residue();
    const int64_t most = (int64_t)1 << 30;
    for (int i = 0; i < 8 * N; i++) x[i] = trial == 0 ? most - 1 : trial == 1 ? -most : (int64_t)(test_u64() % (2 * (uint64_t)most)) - most;
    if (trial == 2)
        for (int i = 0; i < 8 * N; i++) x[i] = i >> 7 & 1 ? most - 1 : -most; /* the largest differences */
    for (unsigned b = 0; b < BITS; b++) {
        SAME(m->fraction_round(out, tables, N, b, point, scratch));
        SAME(m->leaf_round(out, tables, N, b, lambda, point, scratch));
        SAME(m->fraction_up(out, tables, b));
        SAME(m->fraction_mix(out, N, (size_t)1 << b, lambda));
        SAME(m->fraction_mix(out, N, b, lambda));
    }
    for (unsigned layer = 0; layer < BITS; layer++) {
        for (unsigned depth = 1; depth <= 3; depth++) {
            const unsigned n = layer + depth;
            const size_t d = trial < 3 ? (size_t)1 << n : test_u64() % (((size_t)1 << n) + 1);
            SAME(m->fraction_layer(out, x, d, n, layer, shift));
            if (depth == 3 || layer == 0) continue;
            SAME(m->first_round(out, x, d, n, layer, shift, lambda, point, scratch));
            SAME(m->first_fold(out, x, d, n, layer, shift, lambda, s));
        }
    }
}

/* Poles everywhere too: alpha = -t. */
static void reciprocals(int trial)
{
    int good[2];
    for (unsigned n = 0; n <= BITS; n++) {
        const size_t size = (size_t)1 << n, count = trial % 2 ? test_u64() % (size + 1) : size;
        const uint64_t pole[4] = {test_u64() % size, 0, 0, 0};
        const mt alpha = trial % 3 ? residue() : mt_neg(mt_from_words(pole, &ED_ORDER), &ED_ORDER);
        SAME(good[m == portable] = m->reciprocals(out, count, size, alpha));
        CHECK(good[0] == good[1] && (trial % 3 || good[0] == (pole[0] >= count)));
        SAME(good[m == portable] = m->reciprocal_sum(out, count, n, alpha, point, scratch));
        CHECK(good[0] == good[1] && (trial % 3 || good[0] == (pole[0] >= count)));
    }
}

static void functions(void)
{
    for (int trial = 0; trial < 5; trial++) {
        draw(trial == 0);
        const mt s = trial == 1 ? mt_zero : trial == 2 ? largest() : residue();
        linear(s, trial);
        fractions(s, trial);
        for (int i = 0; i < 3; i++) reciprocals(3 * trial + i);
    }
}

int main(void)
{
    arithmetic();
    functions();
    printf("multilinear in emulation: ok\n");
    return 0;
}
#else
int main(void)
{
    printf("multilinear in emulation: skipped, not x86-64\n");
    return 0;
}
#endif
