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

IFMA static void ed8_leaf_round(mt out[2], const mt *t, size_t stride, unsigned b, mt lambda, const uint8_t *point, mt *scratch)
{
    if (b < MT8_SUMS_LEAST) {
        ed_leaf_round(out, t, stride, b, lambda, point, scratch);
        return;
    }
    const ed_split eq = ed_split_of(scratch, point, b, mt_one(&ED_ORDER));
    const mt *q0 = t, *q1 = t + stride;
    const size_t half = (size_t)1 << b;
    const mt8 factor = mt8_all(mt_times16(lambda)), one = mt8_all(mt_one(&ED_ORDER));
    MT8_SUMS(out[0], out[1], b, {
        const mt8 q = mt8_load(q0 + y);
        const mt8 mixed = mt8_carry(mt8_add_wide(mt8_mul_wide(factor, q), one));
        g = mt8_carry(mt8_add_wide(mt8_mul_wide(mixed, mt8_load16(q1 + y)), q));
        h = mt8_mul(MT8_DIFFERENCE(q0), MT8_DIFFERENCE(q1)); /* without 2^4 */
    });
    out[1] = mt_mul(lambda, mt_times16(out[1]), &ED_ORDER);
}

/* ---- fractions from small integers ----
 * As in the template, with the reduction by 2^52: constants have that factor too. s < 2^32 is one limb, t < 2^62 two. */

typedef struct {
    mt8 s, t, high; /* factors of s, and of t below and from bit 52 on, times 2^52 */
} ed8_by;

typedef struct {
    mt8 twice, square;
    ed8_by p, q; /* of p, s only */
} ed8_leaves;

typedef struct {
    __m512i s, t;
} ed8_pair;

/* For the factors of t and s, in the form of wide.h. */
IFMA PC_INLINE ed8_by ed8_by_of(mt one, mt linear)
{
    const uint64_t word[4] = {(uint64_t)1 << 52, 0, 0, 0};
    const mt up = mt_from_words(word, &ED_ORDER), t = mt_mul(one, up, &ED_ORDER);
    const ed8_by out = {mt8_all(mt_mul(linear, up, &ED_ORDER)), mt8_all(t), mt8_all(mt_mul(t, up, &ED_ORDER))};
    return out;
}

/* Eight entries from place j on in the order of the lanes, 0 from d on. */
IFMA PC_INLINE __m512i ed8_entries(const int64_t *x, size_t d, size_t j)
{
    static const uint64_t order[LANES] = {0, 2, 1, 3, 4, 6, 5, 7};
    const size_t count = j >= d ? 0 : d - j < LANES ? d - j : LANES;
    return _mm512_permutexvar_epi64(load8(order), _mm512_maskz_loadu_epi64((__mmask8)((1u << count) - 1), x + (count ? j : 0)));
}

IFMA PC_INLINE __m512i ed8_small(const int64_t *x, size_t d, size_t j)
{
    return _mm512_and_si512(add8(ed8_entries(x, d, j), all8((uint64_t)1 << 30)), all8(UINT32_MAX >> 1));
}

IFMA PC_INLINE ed8_pair ed8_pair_of(const int64_t *x, size_t d, unsigned n, size_t y)
{
    const __m512i u = ed8_small(x, d, y), v = ed8_small(x, d, y + ((size_t)1 << (n - 1)));
    const ed8_pair out = {add8(u, v), _mm512_mul_epu32(u, v)};
    return out;
}

IFMA PC_INLINE void ed8_pair_add(__m512i c[7], const ed8_by *by, ed8_pair a)
{
    mt8_word_add(c, by->s, a.s);
    mt8_word_add(c, by->t, a.t);
    mt8_word_add(c, by->high, _mm512_srli_epi64(a.t, 52));
}

/* constant + c 2^-52. Factors below l times words below 2^52 + 2^32 + 2^10 add up to less than (1 + 2^-19) 2^52 l each time, so that with m
 * pairs the value is below (m + 2.01) l. */
IFMA PC_INLINE mt8 ed8_finish(__m512i c[7], mt8 constant)
{
    mt8_step(c);
    PC_UNROLL
    for (int i = 0; i < 5; i++) constant.v[i] = add8(constant.v[i], c[i + 1]);
    return mt8_carry(constant);
}

IFMA PC_INLINE void ed8_clear(__m512i c[7])
{
    PC_UNROLL
    for (int i = 0; i < 7; i++) c[i] = _mm512_setzero_si512();
}

IFMA PC_INLINE mt8 ed8_with_s(mt8 constant, const mt8 *by, __m512i s)
{
    __m512i c[7];
    ed8_clear(c);
    mt8_word_add(c, *by, s);
    return ed8_finish(c, constant);
}

IFMA PC_INLINE mt8 ed8_with_pair(mt8 constant, const ed8_by *by, ed8_pair a)
{
    __m512i c[7];
    ed8_clear(c);
    ed8_pair_add(c, by, a);
    return ed8_finish(c, constant);
}

/* Constants times 2^up. */
IFMA static ed8_leaves ed8_leaves_of(const ed_leaves *l, unsigned up)
{
    mt twice = l->twice, square = l->square, base = l->base, one = mt_one(&ED_ORDER);
    for (unsigned i = 0; i < up; i++) {
        twice = mt_add(twice, twice, &ED_ORDER), square = mt_add(square, square, &ED_ORDER);
        base = mt_add(base, base, &ED_ORDER), one = mt_add(one, one, &ED_ORDER);
    }
    const ed8_leaves out = {mt8_all(twice), mt8_all(square), ed8_by_of(mt_zero, one), ed8_by_of(one, base)};
    return out;
}

/* p and q of the eight nodes from y on. p < 3.01 l and q < 3.01 l of a pair; of more, below 1.1 l. */
IFMA PC_INLINE void ed8_node(mt8 *p, mt8 *q, const int64_t *x, size_t d, unsigned n, unsigned depth, size_t y, const ed8_leaves *l)
{
    mt8 ps[4], qs[4];
    const unsigned layer = n - depth;
    const size_t count = (size_t)1 << (depth - 1);
    for (size_t i = 0; i < count; i++) {
        const ed8_pair leaf = ed8_pair_of(x, d, n, y + (i << layer));
        ps[i] = ed8_with_s(l->twice, &l->p.s, leaf.s);
        qs[i] = ed8_with_pair(l->square, &l->q, leaf);
    }
    for (size_t half = count / 2; half >= 1; half /= 2) {
        for (size_t i = 0; i < half; i++) {
            ps[i] = mt8_mul2(ps[i], qs[i + half], ps[i + half], qs[i]);
            qs[i] = mt8_mul(qs[i], qs[i + half]);
        }
    }
    *p = ps[0], *q = qs[0];
}

/* A product of two fractions has their constants' factor squared and 2^-260: for what is stored to have 2^256, those of a pair have 2^256,
 * for a product of two 2^258, of four 2^259. check: 2 * 258 - 260 == 256 and 4 * 259 - 3 * 260 == 256 */
IFMA static void ed8_fraction_layer(mt *out, const int64_t *x, size_t d, unsigned n, unsigned layer, mt shift)
{
    const size_t size = (size_t)1 << layer;
    const unsigned depth = n - layer;
    if (size < LANES) {
        ed_fraction_layer(out, x, d, n, layer, shift);
        return;
    }
    const ed_leaves base = ed_leaves_of(shift);
    const ed8_leaves l = ed8_leaves_of(&base, depth == 1 ? 0 : depth);
    for (size_t y = 0; y < size; y += LANES) {
        mt8 p, q;
        ed8_node(&p, &q, x, d, n, depth, y, &l);
        mt8_store(out + y, p);
        mt8_store(out + y + size, q);
    }
}

IFMA static void ed8_fraction_up(mt *out, const mt *in, unsigned layer)
{
    const size_t size = (size_t)1 << layer;
    const mt *p = in, *q = in + 2 * size;
    if (size < LANES) {
        ed_fraction_up(out, in, layer);
        return;
    }
    for (size_t y = 0; y < size; y += LANES) {
        const mt8 q0 = mt8_load(q + y), q1 = mt8_load16(q + y + size);
        mt8_store(out + y, mt8_mul2_wide(mt8_load(p + y), q1, mt8_load16(p + y + size), q0));
        mt8_store(out + y + size, mt8_mul_wide(q0, q1));
    }
}

IFMA static void ed8_fraction_mix(mt *t, size_t stride, size_t size, mt lambda)
{
    const size_t done = size - size % LANES;
    const mt8 factor = mt8_all(mt_times16(lambda));
    mt *p1 = t + stride;
    const mt *q1 = t + 3 * stride;
    for (size_t y = 0; y < done; y += LANES) mt8_store(p1 + y, mt8_add_wide(mt8_load(p1 + y), mt8_mul_wide(factor, mt8_load(q1 + y))));
    ed_fraction_mix(t + done, stride, size - done, lambda);
}

/* An inner sum of eq times words below 2^63: below 2^12 2^63 l, and two steps bring it below 2 l. The factor 2^-104 of those is made up for in
 * the end. */
IFMA PC_INLINE mt8 ed8_two_steps(mt8_sum s)
{
    mt8_step(s.c);
    mt8_step(s.c + 1);
    const mt8 out = {{s.c[2], s.c[3], s.c[4], s.c[5], s.c[6]}};
    return mt8_carry(out);
}

IFMA static void ed8_first_round_leaves(mt out[2], const int64_t *x, size_t d, unsigned k, const ed_leaves *l, mt lambda, ed_split eq)
{
    const size_t half = (size_t)1 << (k - 1), other = (size_t)1 << k, low = (size_t)1 << eq.bits;
    mt8_sum sums = mt8_sum_zero(), products = sums, differences = sums;
    for (size_t first = 0; first < half; first += low) {
        mt8_sum s = mt8_sum_zero(), t = s, r = s;
        for (size_t i = 0; i < low;) {
            const size_t end = low - i < LANES * MT8_TERMS ? low : i + LANES * MT8_TERMS;
            for (; i < end; i += LANES) {
                const size_t y = first + i;
                const mt8 e = mt8_load(eq.low + i);
                const __m512i u = ed8_small(x, d, y), v = ed8_small(x, d, y + other);
                /* du dv + 2^62 with du + 2^31, dv + 2^31 below 2^32: less (du + dv) 2^31 */
                const __m512i du = sub8(ed8_small(x, d, y + half), u), dv = sub8(ed8_small(x, d, y + half + other), v), up = all8((uint64_t)1 << 31);
                const __m512i uv = _mm512_mul_epu32(u, v), shifted = _mm512_mul_epu32(add8(du, up), add8(dv, up));
                const __m512i difference = sub8(shifted, _mm512_slli_epi64(add8(du, dv), 31));
                mt8_word_add(s.c, e, add8(u, v));
                mt8_word_add(t.c, e, uv);
                mt8_word_add(t.c + 1, e, _mm512_srli_epi64(uv, 52));
                mt8_word_add(r.c, e, difference);
                mt8_word_add(r.c + 1, e, _mm512_srli_epi64(difference, 52));
            }
            mt8_sum_carry(&s), mt8_sum_carry(&t), mt8_sum_carry(&r);
        }
        const mt8 e = mt8_all(eq.high[first >> eq.bits]);
        mt8_sum_add(&sums, e, ed8_two_steps(s));
        mt8_sum_add(&products, e, ed8_two_steps(t));
        mt8_sum_add(&differences, e, ed8_two_steps(r));
        if ((first >> eq.bits) % MT8_TERMS == MT8_TERMS - 1) mt8_sum_carry(&sums), mt8_sum_carry(&products), mt8_sum_carry(&differences);
    }
    /* eq.low eq.high 2^-104 2^-256 have the factor 2^152, and 2^256 is wanted */
    const uint64_t word[4] = {0, (uint64_t)1 << 40, 0, 0};
    const mt up = mt_from_words(word, &ED_ORDER);
    ed_first_of_sums(out, l, lambda, mt_mul(mt8_sum_total(sums), up, &ED_ORDER), mt_mul(mt8_sum_total(products), up, &ED_ORDER),
                     mt_mul(mt8_sum_total(differences), up, &ED_ORDER));
}

/* p1 + lambda q1 of a pair: 2 base + lambda base^2, and the factors of s and t. */
IFMA PC_INLINE mt8 ed8_mixed_base(const ed_leaves *l, mt lambda)
{
    return mt8_all(mt_add(l->twice, mt_mul(lambda, l->square, &ED_ORDER), &ED_ORDER));
}

IFMA static void ed8_first_round(mt out[2], const int64_t *x, size_t d, unsigned n, unsigned k, mt shift, mt lambda, const uint8_t *point,
                                 mt *scratch)
{
    const unsigned b = k - 1;
    if (b < MT8_SUMS_LEAST) {
        ed_first_round(out, x, d, n, k, shift, lambda, point, scratch);
        return;
    }
    const ed_split eq = ed_split_of(scratch, point, b, mt_one(&ED_ORDER));
    const ed_leaves base = ed_leaves_of(shift);
    if (k + 1 == n) {
        ed8_first_round_leaves(out, x, d, k, &base, lambda, eq);
        return;
    }
    const size_t half = (size_t)1 << b, other = (size_t)1 << k;
    const ed8_leaves l = ed8_leaves_of(&base, 0);
    const ed8_by mixed_by = ed8_by_of(lambda, mt_add(mt_one(&ED_ORDER), mt_mul(lambda, base.base, &ED_ORDER), &ED_ORDER));
    const mt8 mixed_base = ed8_mixed_base(&base, lambda);
    MT8_SUMS(out[0], out[1], b, {
        const ed8_pair a0 = ed8_pair_of(x, d, n, y);
        const ed8_pair a1 = ed8_pair_of(x, d, n, y + other);
        const ed8_pair b0 = ed8_pair_of(x, d, n, y + half);
        const ed8_pair b1 = ed8_pair_of(x, d, n, y + half + other);
        const mt8 p0 = ed8_with_s(l.twice, &l.p.s, a0.s);
        const mt8 q0 = ed8_with_pair(l.square, &l.q, a0);
        const mt8 q1 = ed8_with_pair(l.square, &l.q, a1);
        const mt8 mixed = ed8_with_pair(mixed_base, &mixed_by, a1);
        const mt8 dp0 = mt8_sub(ed8_with_s(l.twice, &l.p.s, b0.s), p0);
        const mt8 dq0 = mt8_sub(ed8_with_pair(l.square, &l.q, b0), q0);
        const mt8 dq1 = mt8_sub(ed8_with_pair(l.square, &l.q, b1), q1);
        const mt8 dmixed = mt8_sub(ed8_with_pair(mixed_base, &mixed_by, b1), mixed);
        g = mt8_mul2(p0, q1, q0, mixed);
        h = mt8_mul2(dp0, dq1, dq0, dmixed); /* of numbers below 7.1 l: below 1.5 l */
    });
    for (int i = 0; i < 2; i++) out[i] = mt_times16(out[i]);
}

IFMA PC_INLINE mt8 ed8_fold_pairs(mt8 constant, const ed8_by by[2], ed8_pair a, ed8_pair b)
{
    __m512i c[7];
    ed8_clear(c);
    ed8_pair_add(c, &by[0], a);
    ed8_pair_add(c, &by[1], b);
    return ed8_finish(c, constant);
}

IFMA PC_INLINE mt8 ed8_fold_words(mt8 constant, const ed8_by by[2], __m512i a, __m512i b)
{
    __m512i c[7];
    ed8_clear(c);
    mt8_word_add(c, by[0].t, a);
    mt8_word_add(c, by[1].t, b);
    return ed8_finish(c, constant);
}

IFMA static void ed8_first_fold(mt *t, const int64_t *x, size_t d, unsigned n, unsigned k, mt shift, mt lambda, mt s)
{
    const size_t half = (size_t)1 << (k - 1), other = (size_t)1 << k;
    if (half < LANES) {
        ed_first_fold(t, x, d, n, k, shift, lambda, s);
        return;
    }
    const ed_leaves l = ed_leaves_of(shift);
    const mt weight[2] = {mt_sub(mt_one(&ED_ORDER), s, &ED_ORDER), s};
    ed8_by q_by[2], mixed_by[2];
    for (int i = 0; i < 2; i++) {
        const mt linear = mt_mul(weight[i], l.base, &ED_ORDER), one = mt_mul(lambda, weight[i], &ED_ORDER);
        q_by[i] = ed8_by_of(weight[i], linear);
        mixed_by[i] = ed8_by_of(one, mt_add(weight[i], mt_mul(lambda, linear, &ED_ORDER), &ED_ORDER));
    }
    if (k + 1 == n) {
        const mt8 base = mt8_all(l.base);
        for (size_t i = 0; i < 2; i++) {
            for (size_t y = 0; y < half; y += LANES) {
                const size_t j = y + i * other;
                mt8_store(t + i * half + y, ed8_fold_words(base, q_by, ed8_small(x, d, j), ed8_small(x, d, j + half)));
            }
        }
        return;
    }
    const mt8 twice = mt8_all(l.twice), square = mt8_all(l.square), mixed_base = ed8_mixed_base(&l, lambda);
    for (size_t y = 0; y < half; y += LANES) {
        const ed8_pair a0 = ed8_pair_of(x, d, n, y), b0 = ed8_pair_of(x, d, n, y + half), a1 = ed8_pair_of(x, d, n, y + other),
                       b1 = ed8_pair_of(x, d, n, y + other + half);
        mt8_store(t + y, ed8_fold_words(twice, q_by, a0.s, b0.s));
        mt8_store(t + y + half, ed8_fold_pairs(mixed_base, mixed_by, a1, b1));
        mt8_store(t + y + 2 * half, ed8_fold_pairs(square, q_by, a0, b0));
        mt8_store(t + y + 3 * half, ed8_fold_pairs(square, q_by, a1, b1));
    }
}

/* ---- products of tables, eq, combinations ---- */

/* Differences are below 5 l: 2^16 products of them stay below 2^525. */
IFMA static void ed8_product_round(mt out[2], const mt *a, const mt *g, size_t half)
{
    const size_t done = half - half % LANES, block = LANES * (size_t)MT8_TERMS * MT8_TERMS;
    ed_product_from(out, a, g, done, half);
    for (size_t first = 0; first < done; first += block) {
        const size_t last = done - first < block ? done : first + block;
        mt8_sum zero = mt8_sum_zero(), square = zero;
        for (size_t y = first; y < last;) {
            const size_t end = last - y < LANES * MT8_TERMS ? last : y + LANES * MT8_TERMS;
            for (; y < end; y += LANES) {
                const mt8 a0 = mt8_load(a + y), g0 = mt8_load(g + y);
                mt8_sum_add(&zero, a0, g0);
                mt8_sum_add(&square, mt8_sub(mt8_load(a + y + half), a0), mt8_sub(mt8_load(g + y + half), g0));
            }
            mt8_sum_carry(&zero), mt8_sum_carry(&square);
        }
        out[0] = mt_add(out[0], mt8_sum_total(zero), &ED_ORDER);
        out[1] = mt_add(out[1], mt8_sum_total(square), &ED_ORDER);
    }
}

IFMA static void ed8_eq_cut(mt *table, const uint8_t *point, unsigned n, size_t cut, mt below, mt above, mt *scratch)
{
    if (n < MT8_SUMS_LEAST) {
        ed_eq_cut(table, point, n, cut, below, above, scratch);
        return;
    }
    const ed_split eq = ed_split_of(scratch, point, n, mt_one(&ED_ORDER));
    const size_t width = (size_t)1 << eq.bits, size = (size_t)1 << n;
    for (size_t y = 0; y < size; y += width) {
        const mt e = eq.high[y >> eq.bits], one = mt_mul(e, below, &ED_ORDER), two = mt_mul(e, above, &ED_ORDER);
        const mt8 one8 = mt8_all(mt_times16(one)), two8 = mt8_all(mt_times16(two));
        for (size_t k = 0; k < width; k += LANES) {
            if (y + k < cut && cut < y + k + LANES) {
                for (size_t j = k; j < k + LANES; j++) table[y + j] = mt_mul(eq.low[j], y + j < cut ? one : two, &ED_ORDER);
            } else {
                mt8_store(table + y + k, mt8_mul_wide(mt8_load(eq.low + k), y + k < cut ? one8 : two8));
            }
        }
    }
}

/* Words in two limbs: two steps, for which the coefficients have the factor 2^104. Up to eight of them times words are below 2^67 l. */
IFMA static void ed8_combine(mt *table, const uint8_t *coefficients, size_t count, const int64_t *x, size_t d, size_t size, int added)
{
    const size_t done = size - size % LANES;
    const uint64_t up[4] = {0, (uint64_t)1 << 40, 0, 0}, sign[4] = {(uint64_t)1 << 63, 0, 0, 0};
    mt8 c[PRIVCOMP_MULTILINEAR_PIECES];
    mt total = mt_zero;
    for (size_t k = 0; k < count; k++) {
        const mt one = mt_from_bytes(coefficients + PRIVCOMP_SCALAR_BYTES * k, &ED_ORDER);
        c[k] = mt8_all(mt_mul(one, mt_from_words(up, &ED_ORDER), &ED_ORDER));
        total = mt_add(total, one, &ED_ORDER);
    }
    const mt8 rest = mt8_all(mt_neg(mt_mul(total, mt_from_words(sign, &ED_ORDER), &ED_ORDER), &ED_ORDER));
    for (size_t y = 0; y < done; y += LANES) {
        mt8_sum s = mt8_sum_zero();
        for (size_t k = 0; k < count; k++) {
            const __m512i u = add8(ed8_entries(x, d, k * size + y), all8((uint64_t)1 << 63));
            mt8_word_add(s.c, c[k], u);
            mt8_word_add(s.c + 1, c[k], _mm512_srli_epi64(u, 52));
        }
        const mt8 v = mt8_add_wide(ed8_two_steps(s), rest);
        mt8_store(table + y, added ? mt8_add_wide(v, mt8_load(table + y)) : v);
    }
    ed_combine_from(table, coefficients, count, x, d, done, size, added);
}

/* ---- reciprocals ---- */

/* t + j for j < 8 */
static void ed8_consecutive(mt out[LANES], mt t)
{
    for (int j = 0; j < LANES; j++) {
        out[j] = t;
        t = mt_add(t, mt_one(&ED_ORDER), &ED_ORDER);
    }
}

PC_INLINE mt ed8_integer(uint64_t x)
{
    const uint64_t word[4] = {x, 0, 0, 0};
    return mt_from_words(word, &ED_ORDER);
}

/* As the template, a product for each lane; those are inverted together. 16 (alpha + t) is a number below 16 l and one below l: below 17 l,
 * and products with it below 1.2 l; the first inverses, below 16 l, below 2.1 l. */
IFMA static int ed8_reciprocals(mt *table, size_t count, size_t size, mt alpha)
{
    const size_t done = count - count % LANES;
    if (done == 0) return ed_reciprocals(table, count, size, alpha);
    mt start[LANES], prefix[LANES], last[LANES];
    int good = ed_reciprocals(table + done, count - done, size - done, mt_add(alpha, ed8_integer(done), &ED_ORDER));
    const mt step = ed8_integer(16 * LANES);
    ed8_consecutive(start, alpha);
    const mt8 first = mt8_load16(start);
    mt8 product = mt8_all(mt_one(&ED_ORDER));
    mt offset = mt_zero;
    for (size_t y = 0; y < done; y += LANES) {
        mt8_store_short(table + y, product);
        product = mt8_mul(product, mt8_carry(mt8_add_wide(first, mt8_all(offset))));
        offset = mt_add(offset, step, &ED_ORDER);
    }
    mt8_store(last, product);
    mt all = mt_one(&ED_ORDER);
    for (int j = 0; j < LANES; j++) {
        prefix[j] = all;
        all = mt_mul(all, last[j], &ED_ORDER);
    }
    const uint64_t zero = mt_equal_mask(all, mt_zero);
    PC_DECLASSIFY(zero);
    if (zero) good = 0;
    if (!good) {
        memset(table, 0, count * sizeof *table);
        return 0;
    }
    all = mt_inv(all, &ED_ORDER);
    for (int j = LANES; j-- > 0;) {
        prefix[j] = mt_mul(prefix[j], all, &ED_ORDER);
        all = mt_mul(all, last[j], &ED_ORDER);
    }
    mt8 inverse = mt8_load16(prefix);
    for (size_t y = done; y > 0;) {
        y -= LANES;
        offset = mt_sub(offset, step, &ED_ORDER);
        mt8_store(table + y, mt8_mul_wide(mt8_load(table + y), inverse));
        inverse = mt8_mul(inverse, mt8_carry(mt8_add_wide(first, mt8_all(offset))));
    }
    return 1;
}

/* Lane by lane, a fraction of the places that differ by multiples of 8; those of the lanes in the end. With u = t + 8,
 *   e / t + f / u = ((e + f) u - 8 f) / (t u),
 * whose numerator is stored below 9.2 l, 8 l having been added; numerators further on are below 2 9.2 19.2 / 256 + 1 < 2.4 l. */
IFMA static ed_fraction ed8_reciprocal_row(const mt *e, size_t count, mt t, mt *num, mt *den)
{
    if (count < 2 * LANES || count & (count - 1)) return ed_reciprocal_row(e, count, t, num, den);
    const mt step = ed8_integer(2 * LANES), eight = ed8_integer(LANES);
    mt start[LANES], offset = mt_zero;
    ed8_consecutive(start, t);
    const mt8 first = mt8_load(start), first16 = mt8_load16(start);
    size_t live = 0;
    for (size_t k = 0; k < count; k += 2 * LANES, live += LANES) {
        const mt8 e0 = mt8_load(e + k), e1 = mt8_load(e + k + LANES), t0 = mt8_carry(mt8_add_wide(first, mt8_all(offset)));
        const mt8 u16 = mt8_carry(mt8_add_wide(first16, mt8_all(mt_times16(mt_add(offset, eight, &ED_ORDER)))));
        mt8 sum = mt8_mul_wide(mt8_carry(mt8_add_wide(e0, e1)), u16);
        PC_UNROLL
        for (int i = 0; i < 5; i++) sum.v[i] = add8(sum.v[i], _mm512_slli_epi64(sub8(all8(MT8_L[i]), e1.v[i]), 3));
        mt8_store_short(num + live, mt8_carry(sum));
        mt8_store_short(den + live, mt8_mul(t0, u16));
        offset = mt_add(offset, step, &ED_ORDER);
    }
    for (; live > LANES; live /= 2) {
        for (size_t k = 0; k < live / 2; k += LANES) {
            const mt8 q0 = mt8_load(den + 2 * k), q1 = mt8_load16(den + 2 * k + LANES);
            const mt8 p = mt8_mul2(mt8_load(num + 2 * k), q1, mt8_load16(num + 2 * k + LANES), q0);
            mt8_store_short(num + k, p);
            mt8_store_short(den + k, mt8_mul(q0, q1));
        }
    }
    mt8_store(num, mt8_load(num)), mt8_store(den, mt8_load(den));
    ed_fraction out = {num[0], den[0]};
    for (int j = 1; j < LANES; j++) {
        out.p = mt_mul2(out.p, den[j], num[j], out.q, &ED_ORDER);
        out.q = mt_mul(out.q, den[j], &ED_ORDER);
    }
    return out;
}

static int ed8_reciprocal_sum(mt *out, size_t count, unsigned n, mt alpha, const uint8_t *point, mt *scratch)
{
    return ed_reciprocal_sum_of(out, count, n, alpha, point, scratch, ed8_reciprocal_row);
}

#define MULTILINEAR_IFMA \
    { \
        .order = &ED_ORDER, \
        .fold = ed8_fold, \
        .eq_cut = ed8_eq_cut, \
        .combine = ed8_combine, \
        .dot = ed_dot, \
        .product_round = ed8_product_round, \
        .fraction_layer = ed8_fraction_layer, \
        .fraction_up = ed8_fraction_up, \
        .fraction_mix = ed8_fraction_mix, \
        .fraction_round = ed8_fraction_round, \
        .leaf_round = ed8_leaf_round, \
        .first_round = ed8_first_round, \
        .first_fold = ed8_first_fold, \
        .reciprocals = ed8_reciprocals, \
        .reciprocal_sum = ed8_reciprocal_sum, \
    }

#endif
