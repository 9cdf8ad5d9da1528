/* The AVX2 and FMA code of the sumchecks against its portable twin: the arithmetic on extreme limbs and values, then whole functions. */
#include "check.h"
#include "core.h"

#if PC_X86
#include "ed_order_fma.h"
#include "twins_multilinear.h"

static const struct multilinear *const portable = &pc_multilinear_ristretto255, *const twin = &pc_multilinear_ristretto255_fma;

enum { L4 = MT4_LANES, TERMS = MT4_TERMS };

/* The residue of integer limbs of any size. */
FMA static mt wide_value(fe4_wide a, int lane)
{
    mt out = mt_zero;
    for (int i = 5; i-- > 0;) {
        uint64_t limb[4];
        store4(limb, a.v[i]);
        const uint64_t sign = mask64(limb[lane] >> 63), word[4] = {(limb[lane] ^ sign) - sign, 0, 0, 0};
        for (int k = 0; k < 51; k++) out = mt_add(out, out, &ED_ORDER);
        const mt size = mt_mul(mt_from_words(word, &ED_ORDER), (mt){{1, 0, 0, 0}}, &ED_ORDER);
        out = mt_add(out, mt_select(size, mt_neg(size, &ED_ORDER), sign), &ED_ORDER);
    }
    return out;
}

FMA static fe4_wide integers(fe4 a)
{
    fe4_wide out;
    for (int i = 0; i < 5; i++) {
        double lane[4];
        uint64_t word[4];
        _mm256_storeu_pd(lane, a.v[i]);
        for (int j = 0; j < 4; j++) word[j] = (uint64_t)(int64_t)lane[j];
        out.v[i] = load4(word);
    }
    return out;
}

FMA static mt value(fe4 a, int lane) { return wide_value(integers(a), lane); }

FMA static int tight(fe4 a)
{
    const fe4_wide limbs = integers(a);
    for (int i = 0; i < 5; i++) {
        uint64_t lane[4];
        store4(lane, limbs.v[i]);
        for (int j = 0; j < 4; j++) {
            const int64_t v = (int64_t)lane[j], most = ((int64_t)1 << 50) + ((int64_t)1 << 12);
            if (v > most || v < -most) return 0;
        }
    }
    return 1;
}

/* Loaded residues, and in some trials the largest limbs that a product takes, of both signs: numbers far above l. */
FMA static fe4 operand(const mt *from, int trial, int other)
{
    fe4 out = mt4_load(from);
    if (trial % 8 >= 4)
        for (int i = 0; i < 5; i++) {
            const double most = i == 4 ? 0x1p48 - 1 : 0x1p51 - 1;
            out.v[i] = _mm256_set1_pd(trial % 8 == 4 || (trial % 8 == 5 && i % 2) || (trial % 8 == 6 && other) ? -most : most);
        }
    return out;
}

FMA static void arithmetic(void)
{
    mt a[L4], b[L4], c[L4], d[L4], stored[L4];
    for (int trial = 0; trial < 1000; trial++) {
        fill(a, L4, trial == 0), fill(b, L4, trial < 2), fill(c, L4, trial == 0), fill(d, L4, trial == 0);
        const fe4 half = mt4_load_half(b), all = mt4_all(a[0]), minus = mt4_difference(mt4_load(a), mt4_load(c));
        for (int k = 0; k < L4; k++) {
            const mt x = value(mt4_load(a), k), h = value(half, k), both = mt_add(h, h, &ED_ORDER), two = mt_half(b[k]), less = value(minus, k);
            const mt wanted = mt_sub(a[k], c[k], &ED_ORDER), first = value(all, k);
            same(&x, &a[k], 1), same(&both, &b[k], 1), same(&two, &h, 1), same(&less, &wanted, 1), same(&first, &a[0], 1);
        }
        mt4_store(stored, mt4_mul(mt4_load(a), half));
        for (int k = 0; k < L4; k++) {
            const mt ab = mt_mul(a[k], b[k], &ED_ORDER);
            same(&stored[k], &ab, 1);
        }
        mt4_store(stored, mt4_load_limbs(a));
        same(stored, a, L4);
        /* extreme limbs */
        const fe4 x = operand(a, trial, 0), y = operand(b, trial, 1), u = operand(c, trial + 1, 0), v = operand(d, trial / 8, 1);
        const fe4_wide product = mt4_mul(x, y), more = mt4_mul_add(u, y, mt4_load_limbs(d)), sum = mt4_mul2(x, y, u, v);
        CHECK(tight(mt4_tight(product)) && tight(mt4_tight(more)) && tight(mt4_tight(sum)));
        for (int q = 0; q < 3; q++) {
            const fe4_wide *const r = q == 0 ? &product : q == 1 ? &more : &sum;
            mt4_store(stored, *r);
            for (int k = 0; k < L4; k++) {
                const mt twice = mt_add(value(x, k), value(x, k), &ED_ORDER), twice_u = mt_add(value(u, k), value(u, k), &ED_ORDER);
                const mt xy = mt_mul(twice, value(y, k), &ED_ORDER);
                const mt wanted = q == 0   ? xy
                                : q == 1 ? mt_add(mt_mul(twice_u, value(y, k), &ED_ORDER), d[k], &ED_ORDER)
                                         : mt_add(xy, mt_mul(twice_u, value(v, k), &ED_ORDER), &ED_ORDER);
                const mt there = wide_value(*r, k), again_there = value(mt4_tight(*r), k);
                same(&wanted, &there, 1), same(&wanted, &again_there, 1), same(&wanted, &stored[k], 1);
            }
        }
    }
    /* sums of as many products as may follow a carry, and of many more */
    for (int trial = 0; trial < 20; trial++) {
        const int count = trial < 4 ? 128 * TERMS : (int)(test_u64() % (3 * TERMS));
        mt4_sum s;
        mt wanted = mt_zero;
        int since = 0;
        mt4_sum_zero(&s);
        mt terms[L4];
        fe4 x = operand(a, 0, 0), y = x;
        for (int i = 0; i < count; i++) {
            if (i < 4 || trial >= 4) {
                const int kind = trial == 1 ? 7 : trial == 2 ? 4 : trial == 3 ? 6 : 0;
                fill(a, L4, trial < 2), fill(b, L4, trial < 2);
                x = operand(a, kind, 0), y = operand(b, kind, 1);
                for (int k = 0; k < L4; k++) terms[k] = mt_mul(value(x, k), value(y, k), &ED_ORDER);
            }
            mt4_sum_add(&s, x, y);
            if (++since == TERMS) mt4_sum_carry(&s, (size_t)since), since = 0;
            for (int k = 0; k < L4; k++) wanted = mt_add(wanted, terms[k], &ED_ORDER);
        }
        mt4_sum_carry(&s, (size_t)since);
        const mt total = mt_half(mt4_lanes(mt4_sum_reduce(&s)));
        same(&wanted, &total, 1);
    }
}

int main(void)
{
    if (!(pc_cpu_features() & PC_CPU_FMA)) {
        printf("multilinear with FMA: skipped, no FMA\n");
        return 0;
    }
    arithmetic();
    functions();
    printf("multilinear with FMA: ok\n");
    return 0;
}
#else
int main(void)
{
    printf("multilinear with FMA: skipped, not x86-64\n");
    return 0;
}
#endif
