/* Twins of the kernels of sumchecks against their portable ones: residues on the edges, then whole functions. The test
 * defines `portable` and `twin`. */
#ifndef TWINS_MULTILINEAR_H
#define TWINS_MULTILINEAR_H

#include "check.h"
#include "multilinear.h"
#include "orders.h"

static const struct multilinear *const portable, *const twin;

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

/* ---- whole functions ---- */

enum { BITS = 11, N = 1 << BITS };
enum { SUM_BITS = 15 }; /* of sums that need no table */
static mt tables[4 * N + 1], want_tables[4 * N + 1], got_tables[4 * N + 1], scratch[4 * N];
static uint8_t point[PRIVCOMP_SCALAR_BYTES * SUM_BITS];

static void draw(int all_largest)
{
    fill(tables, 4 * N + 1, all_largest);
    for (unsigned b = 0; b < SUM_BITS; b++) mt_to_bytes(point + PRIVCOMP_SCALAR_BYTES * b, all_largest ? largest() : residue(), &ED_ORDER);
}

/* The same call of both on copies of the tables; the whole of them has to agree. */
#define SAME(call) \
    do { \
        const struct multilinear *m = portable; \
        mt *out = want_tables; \
        memcpy(out, tables, sizeof tables); \
        call; \
        m = twin, out = got_tables; \
        memcpy(out, tables, sizeof tables); \
        call; \
        same(want_tables, got_tables, 4 * N + 1); \
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
    for (unsigned n = BITS + 1; n <= SUM_BITS; n++) {
        const size_t size = (size_t)1 << n, count = trial % 2 ? test_u64() % (size + 1) : size;
        const mt alpha = residue();
        CHECK(privcomp_multilinear_scratch(n) <= (int64_t)(4 * sizeof scratch / sizeof *scratch));
        SAME(good[m == portable] = m->reciprocal_sum(out, count, n, alpha, point, scratch));
        CHECK(good[0] == good[1]);
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

#endif
