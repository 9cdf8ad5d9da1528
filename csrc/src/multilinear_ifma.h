/* Twins of the kernels of multilinear_template.h modulo the order of ristretto255, eight places of a table at once. What is stored is
 * canonical, and what is returned a residue of wide.h, so that they give what the portable ones give. Short tables are left to those. */
#ifndef PC_MULTILINEAR_IFMA_H
#define PC_MULTILINEAR_IFMA_H

#include "ed_order_ifma.h"

/* a + s (b - a) for a, b < l and s = 16 s' : below l + (5 / 256 + 1) l. */
IFMA PC_INLINE mt8 mt8_between(mt8 a, mt8 b, mt8 s) { return mt8_add_wide(a, mt8_mul_wide(s, mt8_sub(b, a))); }

IFMA static void ed8_fold(mt *tables, size_t count, size_t stride, size_t half, mt s)
{
    const size_t done = half - half % LANES;
    const mt8 factor = mt8_all(mt_times16(s));
    for (size_t k = 0; k < count; k++) {
        mt *const t = tables + k * stride;
        for (size_t y = 0; y < done; y += LANES) mt8_store(t + y, mt8_between(mt8_load(t + y), mt8_load(t + y + half), factor));
        ed_fold_from(t, done, half, s);
    }
}

/* ---- sums against eq ----
 * As ML_SUMS, with lanes of their own for places that differ in their lowest three bits; TERM sets g and h to short numbers below 4 l. An inner
 * sum of up to 2^12 products is below 2^12 4 l^2, reduced below 65 l < 2^259; up to 2^17 of their products with eq.high are below 2^530.
 * The inner reductions are by 2^260 instead of 2^256. */
#define MT8_SUMS(first, second, b, TERM) \
    do { \
        const size_t high_count = (size_t)1 << ((b) - eq.bits), low_count = (size_t)1 << eq.bits; \
        mt8_sum outer_g = mt8_sum_zero(), outer_h = outer_g; \
        for (size_t high_ = 0; high_ < high_count; high_++) { \
            mt8_sum inner_g = mt8_sum_zero(), inner_h = inner_g; \
            for (size_t low_ = 0; low_ < low_count;) { \
                const size_t end_ = low_count - low_ < LANES * MT8_TERMS ? low_count : low_ + LANES * MT8_TERMS; \
                for (; low_ < end_; low_ += LANES) { \
                    const size_t y = high_ << eq.bits | low_; \
                    const mt8 e_ = mt8_load(eq.low + low_); \
                    mt8 g, h; \
                    TERM; \
                    mt8_sum_add(&inner_g, e_, g); \
                    mt8_sum_add(&inner_h, e_, h); \
                } \
                mt8_sum_carry(&inner_g), mt8_sum_carry(&inner_h); \
            } \
            const mt8 e_ = mt8_all(eq.high[high_]); \
            mt8_sum_add(&outer_g, e_, mt8_carry(mt8_reduce(inner_g))); \
            mt8_sum_add(&outer_h, e_, mt8_carry(mt8_reduce(inner_h))); \
            if (high_ % MT8_TERMS == MT8_TERMS - 1) mt8_sum_carry(&outer_g), mt8_sum_carry(&outer_h); \
        } \
        first = mt_times16(mt8_sum_total(outer_g)); \
        second = mt_times16(mt8_sum_total(outer_h)); \
    } while (0)

#define MT8_SUMS_LEAST 6 /* variables, of which the lower half has a whole vector of places */

#define MT8_DIFFERENCE(x) mt8_sub(mt8_load(x + y + half), mt8_load(x + y))

/* g and h without a factor of 2^4, which the results get. */
IFMA static void ed8_fraction_round(mt out[2], const mt *t, size_t stride, unsigned b, const uint8_t *point, mt *scratch)
{
    if (b < MT8_SUMS_LEAST) {
        ed_fraction_round(out, t, stride, b, point, scratch);
        return;
    }
    const ed_split eq = ed_split_of(scratch, point, b, mt_one(&ED_ORDER));
    const mt *p0 = t, *p1 = t + stride, *q0 = t + 2 * stride, *q1 = t + 3 * stride;
    const size_t half = (size_t)1 << b;
    MT8_SUMS(out[0], out[1], b, {
        g = mt8_mul2(mt8_load(p0 + y), mt8_load(q1 + y), mt8_load(q0 + y), mt8_load(p1 + y));
        h = mt8_mul2(MT8_DIFFERENCE(p0), MT8_DIFFERENCE(q1), MT8_DIFFERENCE(q0), MT8_DIFFERENCE(p1));
    });
    for (int i = 0; i < 2; i++) out[i] = mt_times16(out[i]);
}

#define MULTILINEAR_IFMA \
    { \
        .order = &ED_ORDER, \
        .fold = ed8_fold, \
        .eq_cut = ed_eq_cut, \
        .combine = ed_combine, \
        .dot = ed_dot, \
        .product_round = ed_product_round, \
        .fraction_layer = ed_fraction_layer, \
        .fraction_up = ed_fraction_up, \
        .fraction_mix = ed_fraction_mix, \
        .fraction_round = ed8_fraction_round, \
        .leaf_round = ed_leaf_round, \
        .first_round = ed_first_round, \
        .first_fold = ed_first_fold, \
        .reciprocals = ed_reciprocals, \
        .reciprocal_sum = ed_reciprocal_sum, \
    }

#endif
