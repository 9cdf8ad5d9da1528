/* Twins of the kernels of multilinear_template.h modulo the order of ristretto255, four places of a table at once. What is stored is
 * canonical, and what is returned a residue of wide.h, so that they give what the portable ones give. Short tables are left to those, and what
 * takes little of the time. */
#ifndef PC_MULTILINEAR_FMA_H
#define PC_MULTILINEAR_FMA_H

#include "ed_order_fma.h"

/* a + s (b - a) for s = s' / 2 */
FMA static void ed4_fold(mt *tables, size_t count, size_t stride, size_t half, mt s)
{
    const size_t done = half - half % MT4_LANES;
    const fe4 factor = mt4_all(mt_half(s));
    for (size_t k = 0; k < count; k++) {
        mt *const t = tables + k * stride;
        for (size_t y = 0; y < done; y += MT4_LANES) {
            const fe4_wide a = mt4_load_limbs(t + y);
            mt4_store(t + y, mt4_mul_add(factor, mt4_difference(mt4_load(t + y + half), fe4_of_limbs(a)), a));
        }
        ed_fold_from(t, done, half, s);
    }
}

/* ---- sums against eq ----
 * As ML_SUMS, with lanes of their own for places that differ in their lowest two bits; TERM sets g and h to tight numbers below l in size. An inner
 * sum of up to 2^16 / 4 products is below 2^14 l^2, and reduced by 2^255 instead of 2^256, as the outer sum is: twice two. */
#define MT4_SUMS(first, second, b, TERM) \
    do { \
        const size_t high_count = (size_t)1 << ((b) - eq.bits), low_count = (size_t)1 << eq.bits; \
        mt4_sum outer_g, outer_h; \
        size_t outer_terms = 0; \
        mt4_sum_zero(&outer_g), mt4_sum_zero(&outer_h); \
        for (size_t high_ = 0; high_ < high_count; high_++) { \
            mt4_sum inner_g, inner_h; \
            mt4_sum_zero(&inner_g), mt4_sum_zero(&inner_h); \
            for (size_t low_ = 0; low_ < low_count;) { \
                const size_t rest_ = low_count - low_, terms_ = rest_ < MT4_LANES * MT4_TERMS ? rest_ / MT4_LANES : MT4_TERMS; \
                for (const size_t end_ = low_ + MT4_LANES * terms_; low_ < end_; low_ += MT4_LANES) { \
                    const size_t y = high_ << eq.bits | low_; \
                    const fe4 e_ = mt4_load(eq.low + low_); \
                    fe4 g, h; \
                    TERM; \
                    mt4_sum_add(&inner_g, e_, g); \
                    mt4_sum_add(&inner_h, e_, h); \
                } \
                mt4_sum_carry(&inner_g, terms_), mt4_sum_carry(&inner_h, terms_); \
            } \
            const fe4 e_ = mt4_all(eq.high[high_]); \
            mt4_sum_add(&outer_g, e_, mt4_tight(mt4_sum_reduce(&inner_g))); \
            mt4_sum_add(&outer_h, e_, mt4_tight(mt4_sum_reduce(&inner_h))); \
            if (++outer_terms == MT4_TERMS) \
                mt4_sum_carry(&outer_g, outer_terms), mt4_sum_carry(&outer_h, outer_terms), outer_terms = 0; \
        } \
        mt4_sum_carry(&outer_g, outer_terms), mt4_sum_carry(&outer_h, outer_terms); \
        first = mt_half(mt_half(mt4_lanes(mt4_sum_reduce(&outer_g)))); \
        second = mt_half(mt_half(mt4_lanes(mt4_sum_reduce(&outer_h)))); \
    } while (0)

#define MT4_SUMS_LEAST 4 /* variables, of which the lower half has a whole vector of places */

#define MT4_DIFFERENCE(x) mt4_difference(mt4_load(x + y + half), mt4_load(x + y))

/* g and h twice what they should be. */
FMA static void ed4_fraction_round(mt out[2], const mt *t, size_t stride, unsigned b, const uint8_t *point, mt *scratch)
{
    if (b < MT4_SUMS_LEAST) {
        ed_fraction_round(out, t, stride, b, point, scratch);
        return;
    }
    const ed_split eq = ed_split_of(scratch, point, b, mt_one(&ED_ORDER));
    const mt *p0 = t, *p1 = t + stride, *q0 = t + 2 * stride, *q1 = t + 3 * stride;
    const size_t half = (size_t)1 << b;
    MT4_SUMS(out[0], out[1], b, {
        g = mt4_tight(mt4_mul2(mt4_load(p0 + y), mt4_load(q1 + y), mt4_load(q0 + y), mt4_load(p1 + y)));
        h = mt4_tight(mt4_mul2(MT4_DIFFERENCE(p0), MT4_DIFFERENCE(q1), MT4_DIFFERENCE(q0), MT4_DIFFERENCE(p1)));
    });
    for (int i = 0; i < 2; i++) out[i] = mt_half(out[i]);
}

/* lambda q0 q1 + q0 + q1 = q0 (lambda q1 + 1) + q1 */
FMA static void ed4_leaf_round(mt out[2], const mt *t, size_t stride, unsigned b, mt lambda, const uint8_t *point, mt *scratch)
{
    if (b < MT4_SUMS_LEAST) {
        ed_leaf_round(out, t, stride, b, lambda, point, scratch);
        return;
    }
    const ed_split eq = ed_split_of(scratch, point, b, mt_one(&ED_ORDER));
    const mt *q0 = t, *q1 = t + stride;
    const size_t half = (size_t)1 << b;
    const mt half_lambda = mt_half(lambda);
    const fe4 factor = mt4_all(mt_half(half_lambda));
    const fe4_wide half_one = mt4_all_limbs(mt_half(mt_one(&ED_ORDER)));
    MT4_SUMS(out[0], out[1], b, {
        const fe4 mixed = mt4_tight(mt4_mul_add(factor, mt4_load(q1 + y), half_one)); /* half of lambda q1 + 1 */
        g = mt4_tight(mt4_mul_add(mixed, mt4_load(q0 + y), mt4_load_limbs(q1 + y)));
        h = mt4_tight(mt4_mul(MT4_DIFFERENCE(q0), MT4_DIFFERENCE(q1))); /* twice that */
    });
    out[1] = mt_mul(half_lambda, out[1], &ED_ORDER);
}

/* ---- fractions from small integers ----
 * As in the template. Products of constants with s < 2^32 and the parts of t < 2^62 below and from bit 49 on need no reduction but of what is above
 * 2^252: with up to two pairs they are below 2 (2^49 + 2^32 + 2^13) l < 2^303. */
#define ED4_PART 49

typedef struct {
    fe4 s, t, high; /* factors of s, of t below bit 49, and of what is above it */
} ed4_by;

typedef struct {
    fe4_wide twice, square;
    ed4_by q;
    fe4 one;
} ed4_leaves;

typedef struct {
    __m256d s, t, high;
} ed4_pair;

/* Of an integer below 2^52. */
FMA PC_INLINE __m256d ed4_double(vec4 a) { return _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(a, all4(FE4_INTEGER))), _mm256_set1_pd(0x1p52)); }

/* For the factors of t and s, in the form of wide.h. */
FMA PC_INLINE ed4_by ed4_by_of(mt one, mt linear)
{
    const uint64_t word[4] = {(uint64_t)1 << ED4_PART, 0, 0, 0};
    const ed4_by out = {mt4_all(linear), mt4_all(one), mt4_all(mt_mul(one, mt_from_words(word, &ED_ORDER), &ED_ORDER))};
    return out;
}

/* Four entries from place j on, 0 from d on. */
FMA PC_INLINE vec4 ed4_entries(const int64_t *x, size_t d, size_t j)
{
    if (j < d && d - j >= MT4_LANES) return _mm256_loadu_si256((const void *)(x + j));
    const size_t count = j < d ? d - j : 0;
    const vec4 there = _mm256_cmpgt_epi64(all4(count), _mm256_set_epi64x(3, 2, 1, 0));
    return _mm256_maskload_epi64((const void *)(x + (count ? j : 0)), there);
}

FMA PC_INLINE vec4 ed4_small(const int64_t *x, size_t d, size_t j)
{
    return and4(add4(ed4_entries(x, d, j), all4((uint64_t)1 << 30)), all4(UINT32_MAX >> 1));
}

FMA PC_INLINE ed4_pair ed4_pair_of(const int64_t *x, size_t d, unsigned n, size_t y)
{
    const vec4 u = ed4_small(x, d, y), v = ed4_small(x, d, y + ((size_t)1 << (n - 1))), t = _mm256_mul_epu32(u, v);
    const ed4_pair out = {ed4_double(add4(u, v)), ed4_double(and4(t, all4(((uint64_t)1 << ED4_PART) - 1))), ed4_double(_mm256_srli_epi64(t, ED4_PART))};
    return out;
}

/* c += a w for one limb w */
FMA PC_INLINE void ed4_word_add(vec4 c[6], fe4 a, __m256d w)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) fe4_product(c + i, a.v[i], w);
}

/* constant + c, after `count` of those; short of the bias that mt4_take_top expects. */
FMA PC_INLINE void ed4_begin(vec4 c[6], fe4_wide constant, uint64_t count)
{
    PC_UNROLL
    for (int i = 0; i < 5; i++) c[i] = add4(constant.v[i], all4(FE4_BIAS - count * FE4_LO - (i ? count * FE4_HI : 0)));
    c[5] = all4(0 - count * FE4_HI);
}

FMA PC_INLINE void ed4_pair_add(vec4 c[6], const ed4_by *by, ed4_pair a)
{
    ed4_word_add(c, by->s, a.s);
    ed4_word_add(c, by->t, a.t);
    ed4_word_add(c, by->high, a.high);
}

FMA PC_INLINE fe4_wide ed4_with_s(fe4_wide constant, fe4 by, __m256d s)
{
    vec4 c[6];
    ed4_begin(c, constant, 1);
    ed4_word_add(c, by, s);
    return mt4_take_top(c);
}

FMA PC_INLINE fe4_wide ed4_with_pair(fe4_wide constant, const ed4_by *by, ed4_pair a)
{
    vec4 c[6];
    ed4_begin(c, constant, 3);
    ed4_pair_add(c, by, a);
    return mt4_take_top(c);
}

/* The constants, or half of them. */
FMA static ed4_leaves ed4_leaves_of(const ed_leaves *l, int halved)
{
    mt twice = l->twice, square = l->square, base = l->base, one = mt_one(&ED_ORDER);
    if (halved) twice = mt_half(twice), square = mt_half(square), base = mt_half(base), one = mt_half(one);
    const ed4_leaves out = {mt4_all_limbs(twice), mt4_all_limbs(square), ed4_by_of(one, base), mt4_all(one)};
    return out;
}

/* p and q of the four nodes from y on. As a product is twice what it should be, one of the two has constants that are halved: those of parts 1,
 * 2 and 3 are, so that parts 0 and 2 give p and q, parts 1 and 3 give half of them, and both give p and q again. */
FMA PC_INLINE void ed4_node(fe4_wide *p, fe4_wide *q, const int64_t *x, size_t d, unsigned n, unsigned depth, size_t y, const ed4_leaves l[2])
{
    fe4 ps[4], qs[4];
    const unsigned layer = n - depth;
    const size_t count = (size_t)1 << (depth - 1);
    for (size_t i = 0; i < count; i++) {
        const ed4_pair leaf = ed4_pair_of(x, d, n, y + (i << layer));
        const ed4_leaves *const by = &l[i > 0];
        *p = ed4_with_s(by->twice, by->one, leaf.s);
        *q = ed4_with_pair(by->square, &by->q, leaf);
        ps[i] = mt4_tight(*p), qs[i] = mt4_tight(*q);
    }
    for (size_t half = count / 2; half >= 1; half /= 2) {
        for (size_t i = 0; i < half; i++) {
            *p = mt4_mul2(ps[i], qs[i + half], ps[i + half], qs[i]);
            *q = mt4_mul(qs[i], qs[i + half]);
            ps[i] = mt4_tight(*p), qs[i] = mt4_tight(*q);
        }
    }
}

FMA static void ed4_fraction_layer(mt *out, const int64_t *x, size_t d, unsigned n, unsigned layer, mt shift)
{
    const size_t size = (size_t)1 << layer;
    if (size < MT4_LANES) {
        ed_fraction_layer(out, x, d, n, layer, shift);
        return;
    }
    const ed_leaves base = ed_leaves_of(shift);
    const ed4_leaves l[2] = {ed4_leaves_of(&base, 0), ed4_leaves_of(&base, 1)};
    for (size_t y = 0; y < size; y += MT4_LANES) {
        fe4_wide p, q;
        ed4_node(&p, &q, x, d, n, n - layer, y, l);
        mt4_store(out + y, p);
        mt4_store(out + y + size, q);
    }
}

FMA static void ed4_fraction_up(mt *out, const mt *in, unsigned layer)
{
    const size_t size = (size_t)1 << layer;
    const mt *p = in, *q = in + 2 * size;
    if (size < MT4_LANES) {
        ed_fraction_up(out, in, layer);
        return;
    }
    for (size_t y = 0; y < size; y += MT4_LANES) {
        const fe4 q0 = mt4_load(q + y), q1 = mt4_load_half(q + y + size);
        mt4_store(out + y, mt4_mul2(mt4_load(p + y), q1, mt4_load_half(p + y + size), q0));
        mt4_store(out + y + size, mt4_mul(q0, q1));
    }
}

FMA static void ed4_fraction_mix(mt *t, size_t stride, size_t size, mt lambda)
{
    const size_t done = size - size % MT4_LANES;
    const fe4 factor = mt4_all(mt_half(lambda));
    mt *p1 = t + stride;
    const mt *q1 = t + 3 * stride;
    for (size_t y = 0; y < done; y += MT4_LANES) mt4_store(p1 + y, mt4_mul_add(factor, mt4_load(q1 + y), mt4_load_limbs(p1 + y)));
    ed_fraction_mix(t + done, stride, size - done, lambda);
}

FMA PC_INLINE fe4_wide ed4_fold_pairs(fe4_wide constant, const ed4_by by[2], ed4_pair a, ed4_pair b)
{
    vec4 c[6];
    ed4_begin(c, constant, 6);
    ed4_pair_add(c, &by[0], a);
    ed4_pair_add(c, &by[1], b);
    return mt4_take_top(c);
}

FMA PC_INLINE fe4_wide ed4_fold_words(fe4_wide constant, const ed4_by by[2], __m256d a, __m256d b)
{
    vec4 c[6];
    ed4_begin(c, constant, 2);
    ed4_word_add(c, by[0].t, a);
    ed4_word_add(c, by[1].t, b);
    return mt4_take_top(c);
}

FMA static void ed4_first_fold(mt *t, const int64_t *x, size_t d, unsigned n, unsigned k, mt shift, mt lambda, mt s)
{
    const size_t half = (size_t)1 << (k - 1), other = (size_t)1 << k;
    if (half < MT4_LANES) {
        ed_first_fold(t, x, d, n, k, shift, lambda, s);
        return;
    }
    const ed_leaves l = ed_leaves_of(shift);
    const mt weight[2] = {mt_sub(mt_one(&ED_ORDER), s, &ED_ORDER), s};
    ed4_by q_by[2], mixed_by[2];
    for (int i = 0; i < 2; i++) {
        const mt linear = mt_mul(weight[i], l.base, &ED_ORDER), one = mt_mul(lambda, weight[i], &ED_ORDER);
        q_by[i] = ed4_by_of(weight[i], linear);
        mixed_by[i] = ed4_by_of(one, mt_add(weight[i], mt_mul(lambda, linear, &ED_ORDER), &ED_ORDER));
    }
    if (k + 1 == n) {
        const fe4_wide base = mt4_all_limbs(l.base);
        for (size_t i = 0; i < 2; i++) {
            for (size_t y = 0; y < half; y += MT4_LANES) {
                const size_t j = y + i * other;
                mt4_store(t + i * half + y, ed4_fold_words(base, q_by, ed4_double(ed4_small(x, d, j)), ed4_double(ed4_small(x, d, j + half))));
            }
        }
        return;
    }
    const fe4_wide twice = mt4_all_limbs(l.twice), square = mt4_all_limbs(l.square);
    const fe4_wide mixed_base = mt4_all_limbs(mt_add(l.twice, mt_mul(lambda, l.square, &ED_ORDER), &ED_ORDER));
    for (size_t y = 0; y < half; y += MT4_LANES) {
        const ed4_pair a0 = ed4_pair_of(x, d, n, y), b0 = ed4_pair_of(x, d, n, y + half), a1 = ed4_pair_of(x, d, n, y + other),
                       b1 = ed4_pair_of(x, d, n, y + other + half);
        mt4_store(t + y, ed4_fold_words(twice, q_by, a0.s, b0.s));
        mt4_store(t + y + half, ed4_fold_pairs(mixed_base, mixed_by, a1, b1));
        mt4_store(t + y + 2 * half, ed4_fold_pairs(square, q_by, a0, b0));
        mt4_store(t + y + 3 * half, ed4_fold_pairs(square, q_by, a1, b1));
    }
}

/* ---- products of tables, combinations ---- */

FMA static void ed4_product_round(mt out[2], const mt *a, const mt *g, size_t half)
{
    const size_t done = half - half % MT4_LANES, block = MT4_LANES * ((size_t)1 << 12);
    ed_product_from(out, a, g, done, half);
    for (size_t first = 0; first < done; first += block) {
        const size_t last = done - first < block ? done : first + block;
        mt4_sum zero, square;
        mt4_sum_zero(&zero), mt4_sum_zero(&square);
        for (size_t y = first; y < last;) {
            const size_t rest = last - y, terms = rest < MT4_LANES * MT4_TERMS ? rest / MT4_LANES : MT4_TERMS;
            for (const size_t end = y + MT4_LANES * terms; y < end; y += MT4_LANES) {
                const fe4 a0 = mt4_load(a + y), g0 = mt4_load(g + y);
                mt4_sum_add(&zero, a0, g0);
                mt4_sum_add(&square, mt4_difference(mt4_load(a + y + half), a0), mt4_difference(mt4_load(g + y + half), g0));
            }
            mt4_sum_carry(&zero, terms), mt4_sum_carry(&square, terms);
        }
        out[0] = mt_add(out[0], mt_half(mt4_lanes(mt4_sum_reduce(&zero))), &ED_ORDER);
        out[1] = mt_add(out[1], mt_half(mt4_lanes(mt4_sum_reduce(&square))), &ED_ORDER);
    }
}

/* Words x + 2^63 in two halves: up to eight of them times residues are below 2^36 l. */
FMA static void ed4_combine(mt *table, const uint8_t *coefficients, size_t count, const int64_t *x, size_t d, size_t size, int added)
{
    const size_t done = size - size % MT4_LANES;
    const uint64_t up[4] = {(uint64_t)1 << 32, 0, 0, 0}, sign[4] = {(uint64_t)1 << 63, 0, 0, 0};
    fe4 c[PRIVCOMP_MULTILINEAR_PIECES][2];
    mt total = mt_zero;
    for (size_t k = 0; k < count; k++) {
        const mt one = mt_from_bytes(coefficients + PRIVCOMP_SCALAR_BYTES * k, &ED_ORDER);
        c[k][0] = mt4_all(one);
        c[k][1] = mt4_all(mt_mul(one, mt_from_words(up, &ED_ORDER), &ED_ORDER));
        total = mt_add(total, one, &ED_ORDER);
    }
    const fe4_wide rest = mt4_all_limbs(mt_neg(mt_mul(total, mt_from_words(sign, &ED_ORDER), &ED_ORDER), &ED_ORDER));
    for (size_t y = 0; y < done; y += MT4_LANES) {
        vec4 s[6];
        ed4_begin(s, rest, 2 * count);
        for (size_t k = 0; k < count; k++) {
            const vec4 u = add4(ed4_entries(x, d, k * size + y), all4((uint64_t)1 << 63));
            ed4_word_add(s, c[k][0], ed4_double(and4(u, all4(UINT32_MAX))));
            ed4_word_add(s, c[k][1], ed4_double(_mm256_srli_epi64(u, 32)));
        }
        if (added) {
            const fe4_wide old = mt4_load_limbs(table + y);
            PC_UNROLL
            for (int i = 0; i < 5; i++) s[i] = add4(s[i], old.v[i]);
        }
        mt4_store(table + y, mt4_take_top(s));
    }
    ed_combine_from(table, coefficients, count, x, d, done, size, added);
}

#define MULTILINEAR_FMA \
    { \
        .order = &ED_ORDER, \
        .fold = ed4_fold, \
        .eq_cut = ed_eq_cut, \
        .combine = ed4_combine, \
        .dot = ed_dot, \
        .product_round = ed4_product_round, \
        .fraction_layer = ed4_fraction_layer, \
        .fraction_up = ed4_fraction_up, \
        .fraction_mix = ed4_fraction_mix, \
        .fraction_round = ed4_fraction_round, \
        .leaf_round = ed4_leaf_round, \
        .first_round = ed_first_round, \
        .first_fold = ed4_first_fold, \
        .reciprocals = ed_reciprocals, \
        .reciprocal_sum = ed_reciprocal_sum, \
    }

#endif
