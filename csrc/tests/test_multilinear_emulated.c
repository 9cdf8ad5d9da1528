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

#include "twins_multilinear.h"

extern const struct multilinear pc_multilinear_ristretto255;
static const struct multilinear *const portable = &pc_multilinear_ristretto255, *const twin = &emulated;

/* The place of lane k among eight residues in memory. */
static const int place[LANES] = {0, 2, 1, 3, 4, 6, 5, 7};

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
