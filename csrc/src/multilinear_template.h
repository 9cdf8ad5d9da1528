/* Multilinear polynomials modulo one prime, FIELD: the portable kernels, once for each order of a group.
 * Included with ML(name) and FIELD defined. */

/* out[y] = scale times the product over b < n of (bit b of y ? r_b : 1 - r_b). */
static void ML(eq)(mt *out, const mt *r, unsigned n, mt scale)
{
    out[0] = scale;
    for (unsigned b = 0; b < n; b++) {
        const size_t half = (size_t)1 << b;
        for (size_t y = 0; y < half; y++) {
            out[y + half] = mt_mul(out[y], r[b], FIELD);
            out[y] = mt_sub(out[y], out[y + half], FIELD);
        }
    }
}

static void ML(point)(mt *r, const uint8_t *point, unsigned n)
{
    for (unsigned b = 0; b < n; b++) r[b] = mt_from_bytes(point + PRIVCOMP_SCALAR_BYTES * b, FIELD);
}

/* eq over n variables as a product of two tables, of the low n / 2 and of the other variables: a sum over 2^n places then needs no table of
 * that size. */
typedef struct {
    const mt *low, *high;
    unsigned bits; /* of low */
} ML(split);

static ML(split) ML(split_of)(mt *scratch, const uint8_t *point, unsigned n, mt scale)
{
    mt r[PRIVCOMP_MULTILINEAR_MAX];
    const unsigned bits = n / 2;
    ML(point)(r, point, n);
    ML(eq)(scratch, r, bits, mt_one(FIELD));
    ML(eq)(scratch + ((size_t)1 << bits), r + bits, n - bits, scale);
    const ML(split) out = {scratch, scratch + ((size_t)1 << bits), bits};
    return out;
}

/* The sum over y < 2^b of eq(point, y) (g(.), h(.)) for the macro TERM(y, g, h), which sets g and h. */
#define ML_SUMS(first, second, b, TERM) \
    do { \
        const size_t high_count = (size_t)1 << ((b) - eq.bits), low_count = (size_t)1 << eq.bits; \
        mt_sum outer_g = {{0}}, outer_h = {{0}}; \
        for (size_t high_ = 0; high_ < high_count; high_++) { \
            mt_sum inner_g = {{0}}, inner_h = {{0}}; \
            for (size_t low_ = 0; low_ < low_count; low_++) { \
                const size_t y = high_ << eq.bits | low_; \
                mt g, h; \
                TERM; \
                mt_sum_add(&inner_g, eq.low[low_], g); \
                mt_sum_add(&inner_h, eq.low[low_], h); \
            } \
            mt_sum_add(&outer_g, eq.high[high_], mt_sum_reduce(&inner_g, FIELD)); \
            mt_sum_add(&outer_h, eq.high[high_], mt_sum_reduce(&inner_h, FIELD)); \
        } \
        first = mt_sum_reduce(&outer_g, FIELD); \
        second = mt_sum_reduce(&outer_h, FIELD); \
    } while (0)

/* From place `first` on, as in all functions of that name. */
static void ML(fold_from)(mt *t, size_t first, size_t half, mt s)
{
    for (size_t y = first; y < half; y++) t[y] = mt_add(t[y], mt_mul(s, mt_sub(t[y + half], t[y], FIELD), FIELD), FIELD);
}

static void ML(fold)(mt *tables, size_t count, size_t stride, size_t half, mt s)
{
    for (size_t k = 0; k < count; k++) ML(fold_from)(tables + k * stride, 0, half, s);
}

#define DIFFERENCE(x) mt_sub(x[y + half], x[y], FIELD)

/* h(0) and the coefficient of X^2 of h(X) = sum over y < 2^b of eq(point, y) (p0 q1 + q0 p1)(X, y). */
static void ML(fraction_round)(mt out[2], const mt *t, size_t stride, unsigned b, const uint8_t *point, mt *scratch)
{
    const ML(split) eq = ML(split_of)(scratch, point, b, mt_one(FIELD));
    const mt *p0 = t, *p1 = t + stride, *q0 = t + 2 * stride, *q1 = t + 3 * stride;
    const size_t half = (size_t)1 << b;
    ML_SUMS(out[0], out[1], b, {
        g = mt_mul2(p0[y], q1[y], q0[y], p1[y], FIELD);
        h = mt_mul2(DIFFERENCE(p0), DIFFERENCE(q1), DIFFERENCE(q0), DIFFERENCE(p1), FIELD);
    });
}

/* The same of lambda q0 q1 + q0 + q1: of leaves, whose numerators are 1. */
static void ML(leaf_round)(mt out[2], const mt *t, size_t stride, unsigned b, mt lambda, const uint8_t *point, mt *scratch)
{
    const ML(split) eq = ML(split_of)(scratch, point, b, mt_one(FIELD));
    const mt *q0 = t, *q1 = t + stride;
    const size_t half = (size_t)1 << b;
    ML_SUMS(out[0], out[1], b, {
        g = mt_add(mt_mul(mt_add(mt_mul(lambda, q0[y], FIELD), mt_one(FIELD), FIELD), q1[y], FIELD), q0[y], FIELD);
        h = mt_mul(DIFFERENCE(q0), DIFFERENCE(q1), FIELD);
    });
    out[1] = mt_mul(lambda, out[1], FIELD);
}

/* Leaves are small: with u = x + 2^30, 0 <= u < 2^31, a leaf is base + u for one base, and what is made of two of them is
 *   p = 2 base + s,   q = base^2 + base s + t,   s = u + v < 2^32,   t = u v < 2^62.
 * So values come from one or two words times constants, and a step of the reduction. */
typedef struct {
    mt base, twice, square; /* base, 2 base, base^2 */
    mt one, linear;         /* 2^64, 2^64 base: factors of t and s in q, and (one) of s in p */
} ML(leaves);

static ML(leaves) ML(leaves_of)(mt shift)
{
    ML(leaves) out;
    const uint64_t offset[4] = {(uint64_t)1 << 30, 0, 0, 0}, word[4] = {0, 1, 0, 0};
    out.base = mt_sub(shift, mt_from_words(offset, FIELD), FIELD);
    out.twice = mt_add(out.base, out.base, FIELD);
    out.square = mt_square(out.base, FIELD);
    out.one = mt_from_words(word, FIELD);
    out.linear = mt_mul(out.base, out.one, FIELD);
    return out;
}

PC_INLINE uint64_t ML(small)(const int64_t *x, size_t d, size_t j) { return ((j < d ? (uint64_t)x[j] : 0) + ((uint64_t)1 << 30)) & (UINT32_MAX >> 1); }

/* (a v + b w) 2^-64 */
PC_INLINE mt ML(words)(mt a, uint64_t v, mt b, uint64_t w)
{
    mt_sum s = {{0}};
    mt_sum_add_word(&s, a, v);
    mt_sum_add_word(&s, b, w);
    return mt_sum_step(&s, FIELD);
}

PC_INLINE mt ML(word)(mt a, uint64_t v)
{
    mt_sum s = {{0}};
    mt_sum_add_word(&s, a, v);
    return mt_sum_step(&s, FIELD);
}

typedef struct {
    uint64_t s, t;
} ML(pair);

/* The two leaves below node y of the layer above them, n - 1. */
PC_INLINE ML(pair) ML(pair_of)(const int64_t *x, size_t d, unsigned n, size_t y)
{
    const uint64_t u = ML(small)(x, d, y), v = ML(small)(x, d, y + ((size_t)1 << (n - 1)));
    const ML(pair) out = {u + v, u * v};
    return out;
}

typedef struct {
    mt p, q;
} ML(fraction);

/* The fraction of node y of a layer n - depth: the sum of 1 / leaf over its leaves j = y + i 2^layer, i < 2^depth <= 8. */
PC_INLINE ML(fraction) ML(node)(const int64_t *x, size_t d, unsigned n, unsigned depth, size_t y, const ML(leaves) *l)
{
    ML(fraction) part[4];
    const unsigned layer = n - depth;
    const size_t count = (size_t)1 << (depth - 1);
    for (size_t i = 0; i < count; i++) {
        const ML(pair) leaf = ML(pair_of)(x, d, n, y + (i << layer));
        part[i].p = mt_add(l->twice, ML(word)(l->one, leaf.s), FIELD);
        part[i].q = mt_add(l->square, ML(words)(l->linear, leaf.s, l->one, leaf.t), FIELD);
    }
    for (size_t half = count / 2; half >= 1; half /= 2) { /* a node's children are half of its leaves apart */
        for (size_t i = 0; i < half; i++) {
            const ML(fraction) a = part[i], b = part[i + half];
            part[i].p = mt_mul2(a.p, b.q, b.p, a.q, FIELD);
            part[i].q = mt_mul(a.q, b.q, FIELD);
        }
    }
    return part[0];
}

static void ML(fraction_layer)(mt *out, const int64_t *x, size_t d, unsigned n, unsigned layer, mt shift)
{
    const size_t size = (size_t)1 << layer;
    const ML(leaves) leaves = ML(leaves_of)(shift);
    for (size_t y = 0; y < size; y++) {
        const ML(fraction) node = ML(node)(x, d, n, n - layer, y, &leaves);
        out[y] = node.p;
        out[y + size] = node.q;
    }
}

static void ML(fraction_up)(mt *out, const mt *in, unsigned layer)
{
    const size_t size = (size_t)1 << layer;
    const mt *p = in, *q = in + 2 * size;
    for (size_t y = 0; y < size; y++) {
        out[y] = mt_mul2(p[y], q[y + size], p[y + size], q[y], FIELD);
        out[y + size] = mt_mul(q[y], q[y + size], FIELD);
    }
}

static void ML(fraction_mix)(mt *t, size_t stride, size_t size, mt lambda)
{
    mt *p1 = t + stride;
    const mt *q1 = t + 3 * stride;
    for (size_t y = 0; y < size; y++) p1[y] = mt_add(p1[y], mt_mul(lambda, q1[y], FIELD), FIELD);
}

/* The sumcheck of layer k = n - 1 or n - 2 over its children, nodes of layer k + 1: first round, and what is left after it.
 * Leaves, k = n - 1: with u, v of the two, h(0) = sum eq (lambda q0 q1 + q0 + q1), q0 q1 = base^2 + base (u + v) + u v, so that three sums of
 * eq times small integers suffice; sum of eq = 1. The differences are signed: 2^62 is added, and taken away from the sum. */
static void ML(first_of_sums)(mt out[2], const ML(leaves) *l, mt lambda, mt sums, mt products, mt differences)
{
    const uint64_t offset[4] = {(uint64_t)1 << 62, 0, 0, 0};
    const mt q = mt_add(mt_add(l->square, mt_mul(l->base, sums, FIELD), FIELD), products, FIELD);
    out[0] = mt_add(mt_mul(lambda, q, FIELD), mt_add(l->twice, sums, FIELD), FIELD);
    out[1] = mt_mul(lambda, mt_sub(differences, mt_from_words(offset, FIELD), FIELD), FIELD);
}

/* Nodes above the leaves, k = n - 2: q0 q1 is a polynomial in base with small integers e_i, and p0 q1 + q0 p1 its derivative,
 *   q0 q1 = base^4 + e1 base^3 + e2 base^2 + e3 base + e4,
 *   e1 = s0 + s1 < 2^33, e2 = s0 s1 + t0 + t1 < 2^65, e3 = s0 t1 + s1 t0 < 2^95, e4 = t0 t1 < 2^124,
 * so that h(0) comes from four sums of eq times integers. Of the differences, dp = ds and dq = base ds + dt:
 *   dq0 dq1 = f2 base^2 + f3 base + f4, dp0 dq1 + dq0 dp1 = 2 f2 base + f3,
 *   f2 = ds0 ds1, f3 = ds0 dt1 + ds1 dt0, f4 = dt0 dt1, all below 2^124 in size: 2^125 is added, and taken away from the sums. */
static void ML(first_round_nodes)(mt out[2], const int64_t *x, size_t d, unsigned n, const ML(leaves) *l, mt lambda, ML(split) eq)
{
    enum { SUMS = 7 };
    const unsigned k = n - 2;
    const size_t half = (size_t)1 << (k - 1), other = (size_t)1 << k, low = (size_t)1 << eq.bits;
    const u128 up = (u128)1 << 125;
    mt_sum outer[SUMS] = {{{0}}};
    mt v[SUMS];
    for (size_t first = 0; first < half; first += low) {
        mt_sum inner[SUMS] = {{{0}}};
        for (size_t i = 0; i < low; i++) {
            const size_t y = first + i;
            const ML(pair) a0 = ML(pair_of)(x, d, n, y), a1 = ML(pair_of)(x, d, n, y + other), b0 = ML(pair_of)(x, d, n, y + half),
                           b1 = ML(pair_of)(x, d, n, y + half + other);
            const int64_t ds0 = (int64_t)(b0.s - a0.s), ds1 = (int64_t)(b1.s - a1.s), dt0 = (int64_t)(b0.t - a0.t), dt1 = (int64_t)(b1.t - a1.t);
            const mt e = eq.low[i];
            mt_sum_add_word(&inner[0], e, a0.s + a1.s);
            mt_sum_add_words(&inner[1], e, (u128)a0.s * a1.s + a0.t + a1.t);
            mt_sum_add_words(&inner[2], e, (u128)a0.s * a1.t + (u128)a1.s * a0.t);
            mt_sum_add_words(&inner[3], e, (u128)a0.t * a1.t);
            mt_sum_add_words(&inner[4], e, up + (u128)((__int128)ds0 * ds1));
            mt_sum_add_words(&inner[5], e, up + (u128)((__int128)ds0 * dt1 + (__int128)ds1 * dt0));
            mt_sum_add_words(&inner[6], e, up + (u128)((__int128)dt0 * dt1));
        }
        for (int i = 0; i < SUMS; i++) mt_sum_add(&outer[i], eq.high[first >> eq.bits], mt_sum_reduce_short(&inner[i], FIELD));
    }
    const uint64_t offset[4] = {0, (uint64_t)1 << 61, 0, 0}; /* 2^125; check: 61 + 64 == 125 */
    const mt less = mt_from_words(offset, FIELD);
    for (int i = 0; i < SUMS; i++) { /* without the factor 2^256 */
        const mt sum = mt_sum_reduce(&outer[i], FIELD);
        v[i] = mt_from_words(sum.w, FIELD);
        if (i >= 4) v[i] = mt_sub(v[i], less, FIELD);
    }
    const mt base = l->base, one = mt_one(FIELD);
    const mt derivative[4] = {v[2], mt_add(v[1], v[1], FIELD), mt_add(mt_add(v[0], v[0], FIELD), v[0], FIELD),
                              mt_add(mt_add(one, one, FIELD), mt_add(one, one, FIELD), FIELD)};
    const mt product[5] = {v[3], v[2], v[1], v[0], one};
    mt p = mt_zero, q = one;
    for (int i = 3; i >= 0; i--) {
        p = mt_add(mt_mul(p, base, FIELD), derivative[i], FIELD);
        q = mt_add(mt_mul(q, base, FIELD), product[i], FIELD);
    }
    out[0] = mt_add(p, mt_mul(lambda, q, FIELD), FIELD);
    p = mt_add(mt_mul(v[4], l->twice, FIELD), v[5], FIELD);
    q = mt_add(mt_mul(mt_add(mt_mul(v[4], base, FIELD), v[5], FIELD), base, FIELD), v[6], FIELD);
    out[1] = mt_add(p, mt_mul(lambda, q, FIELD), FIELD);
}

static void ML(first_round)(mt out[2], const int64_t *x, size_t d, unsigned n, unsigned k, mt shift, mt lambda, const uint8_t *point,
                            mt *scratch)
{
    const unsigned b = k - 1;
    const ML(split) eq = ML(split_of)(scratch, point, b, mt_one(FIELD));
    const ML(leaves) l = ML(leaves_of)(shift);
    const size_t half = (size_t)1 << b, other = (size_t)1 << k, low = (size_t)1 << eq.bits;
    if (k + 1 == n) {
        mt_sum sums = {{0}}, products = {{0}}, differences = {{0}};
        for (size_t first = 0; first < half; first += low) {
            mt_sum s = {{0}}, t = {{0}}, r = {{0}};
            for (size_t i = 0; i < low; i++) {
                const size_t y = first + i;
                const uint64_t u = ML(small)(x, d, y), v = ML(small)(x, d, y + other);
                const uint64_t du = ML(small)(x, d, y + half) - u, dv = ML(small)(x, d, y + half + other) - v;
                mt_sum_add_word(&s, eq.low[i], u + v);
                mt_sum_add_word(&t, eq.low[i], u * v);
                mt_sum_add_word(&r, eq.low[i], du * dv + ((uint64_t)1 << 62));
            }
            const mt e = eq.high[first >> eq.bits];
            mt_sum_add(&sums, e, mt_sum_reduce_short(&s, FIELD));
            mt_sum_add(&products, e, mt_sum_reduce_short(&t, FIELD));
            mt_sum_add(&differences, e, mt_sum_reduce_short(&r, FIELD));
        }
        /* Sums without the factor 2^256. */
        const mt words[3] = {mt_sum_reduce(&sums, FIELD), mt_sum_reduce(&products, FIELD), mt_sum_reduce(&differences, FIELD)};
        ML(first_of_sums)(out, &l, lambda, mt_from_words(words[0].w, FIELD), mt_from_words(words[1].w, FIELD), mt_from_words(words[2].w, FIELD));
        return;
    }
    ML(first_round_nodes)(out, x, d, n, &l, lambda, eq);
}

/* constant + (1 - s) (linear s_a + one t_a) + s (linear s_b + one t_b), with the factors in `by`. */
PC_INLINE mt ML(between)(mt constant, const mt by[4], ML(pair) a, ML(pair) b)
{
    mt_sum sum = {{0}};
    mt_sum_add_word(&sum, by[0], a.s);
    mt_sum_add_word(&sum, by[1], a.t);
    mt_sum_add_word(&sum, by[2], b.s);
    mt_sum_add_word(&sum, by[3], b.t);
    return mt_add(constant, mt_sum_step(&sum, FIELD), FIELD);
}

static void ML(first_fold)(mt *t, const int64_t *x, size_t d, unsigned n, unsigned k, mt shift, mt lambda, mt s)
{
    const size_t half = (size_t)1 << (k - 1), other = (size_t)1 << k;
    const ML(leaves) l = ML(leaves_of)(shift);
    const mt rest = mt_sub(mt_one(FIELD), s, FIELD), low = mt_mul(rest, l.one, FIELD), high = mt_mul(s, l.one, FIELD);
    if (k + 1 == n) {
        for (size_t i = 0; i < 2; i++) {
            for (size_t y = 0; y < half; y++) {
                const size_t j = y + i * other;
                t[i * half + y] = mt_add(l.base, ML(words)(low, ML(small)(x, d, j), high, ML(small)(x, d, j + half)), FIELD);
            }
        }
        return;
    }
    const mt q_by[4] = {mt_mul(rest, l.linear, FIELD), low, mt_mul(s, l.linear, FIELD), high};
    mt mixed_by[4]; /* p + lambda q: s counts once more, everything of q lambda times */
    for (int i = 0; i < 4; i++) mixed_by[i] = mt_mul(lambda, q_by[i], FIELD);
    mixed_by[0] = mt_add(mixed_by[0], low, FIELD);
    mixed_by[2] = mt_add(mixed_by[2], high, FIELD);
    const mt mixed_base = mt_add(l.twice, mt_mul(lambda, l.square, FIELD), FIELD);
    for (size_t y = 0; y < half; y++) {
        const ML(pair) a0 = ML(pair_of)(x, d, n, y), b0 = ML(pair_of)(x, d, n, y + half), a1 = ML(pair_of)(x, d, n, y + other),
                       b1 = ML(pair_of)(x, d, n, y + other + half);
        t[y] = mt_add(l.twice, ML(words)(low, a0.s, high, b0.s), FIELD);
        t[y + half] = ML(between)(mixed_base, mixed_by, a1, b1);
        t[y + 2 * half] = ML(between)(l.square, q_by, a0, b0);
        t[y + 3 * half] = ML(between)(l.square, q_by, a1, b1);
    }
}

/* The sum over y in [first, last) of eq(point, y) x[y], x = 0 from d on. With u = x + 2^63 >= 0 it is the sum of eq u less 2^63 times the
 * sum of eq; both over one value of the high variables at a time, of which at most two are not whole. */
static mt ML(dot)(const int64_t *x, size_t d, size_t first, size_t last, unsigned n, const uint8_t *point, mt *scratch)
{
    const ML(split) eq = ML(split_of)(scratch, point, n, mt_one(FIELD));
    const mt half = mt_from_words((const uint64_t[4]){(uint64_t)1 << 63, 0, 0, 0}, FIELD);
    mt_sum outer = {{0}};
    if (last > d) last = d;
    for (size_t begin = first; begin < last;) {
        const size_t high = begin >> eq.bits, after = (high + 1) << eq.bits, end = after < last ? after : last;
        mt_sum inner = {{0}}, weights = {{0}};
        for (size_t y = begin; y < end; y++) {
            const mt e = eq.low[y - (high << eq.bits)];
            mt_sum_add_word(&inner, e, (uint64_t)x[y] ^ (uint64_t)1 << 63);
            uint64_t carry = 0;
            for (int i = 0; i < 4; i++) weights.w[i] = wide_carry(weights.w[i], e.w[i], &carry);
            weights.w[4] += carry;
        }
        /* eq has the factor 2^256, which the reduction takes away. */
        const mt a = mt_sum_reduce_short(&inner, FIELD), w = mt_sum_reduce_short(&weights, FIELD);
        mt_sum_add(&outer, eq.high[high], mt_sub(a, mt_mul(half, w, FIELD), FIELD));
        begin = end;
    }
    return mt_sum_reduce(&outer, FIELD);
}

/* table[y] (or += where added) the sum over k < count of c_k x[k size + y], x = 0 from d on; in Montgomery form. */
static void ML(combine_from)(mt *table, const uint8_t *coefficients, size_t count, const int64_t *x, size_t d, size_t first, size_t size, int added)
{
    mt c[PRIVCOMP_MULTILINEAR_PIECES], total = mt_zero;
    const mt r2 = {{FIELD->r2[0], FIELD->r2[1], FIELD->r2[2], FIELD->r2[3]}};
    for (size_t k = 0; k < count; k++) {
        c[k] = mt_mul(mt_from_bytes(coefficients + PRIVCOMP_SCALAR_BYTES * k, FIELD), r2, FIELD); /* c 2^512: a sum is reduced to c x 2^256 */
        total = mt_add(total, c[k], FIELD);
    }
    const mt half = {{(uint64_t)1 << 63, 0, 0, 0}}; /* signs: u = x + 2^63 >= 0, less 2^63 times the sum of the c */
    total = mt_mul(total, half, FIELD);
    for (size_t y = first; y < size; y++) {
        mt_sum s = {{0}};
        for (size_t k = 0; k < count; k++) {
            const size_t j = k * size + y;
            mt_sum_add_word(&s, c[k], (j < d ? (uint64_t)x[j] : 0) ^ (uint64_t)1 << 63);
        }
        const mt v = mt_sub(mt_sum_reduce_short(&s, FIELD), total, FIELD);
        table[y] = added ? mt_add(table[y], v, FIELD) : v;
    }
}

static void ML(combine)(mt *table, const uint8_t *coefficients, size_t count, const int64_t *x, size_t d, size_t size, int added)
{
    ML(combine_from)(table, coefficients, count, x, d, 0, size, added);
}

/* h(0) and the coefficient of X^2 of h(X) = sum over y < half of a(X, y) g(X, y). */
static void ML(product_from)(mt out[2], const mt *a, const mt *g, size_t first, size_t half)
{
    mt_sum zero = {{0}}, square = {{0}};
    for (size_t y = first; y < half; y++) {
        mt_sum_add(&zero, a[y], g[y]);
        mt_sum_add(&square, DIFFERENCE(a), DIFFERENCE(g));
    }
    out[0] = mt_sum_reduce(&zero, FIELD);
    out[1] = mt_sum_reduce(&square, FIELD);
}

static void ML(product_round)(mt out[2], const mt *a, const mt *g, size_t half) { ML(product_from)(out, a, g, 0, half); }

/* table[y] = eq(point, y) times (y < cut ? below : above). */
static void ML(eq_cut)(mt *table, const uint8_t *point, unsigned n, size_t cut, mt below, mt above, mt *scratch)
{
    const ML(split) eq = ML(split_of)(scratch, point, n, mt_one(FIELD));
    const size_t width = (size_t)1 << eq.bits, size = (size_t)1 << n;
    for (size_t y = 0; y < size; y += width) {
        const mt e = eq.high[y >> eq.bits], one = mt_mul(e, below, FIELD), two = mt_mul(e, above, FIELD);
        for (size_t k = 0; k < width; k++) table[y + k] = mt_mul(eq.low[k], y + k < cut ? one : two, FIELD);
    }
}

/* table[t] = 1 / (alpha + t) for t < count, 0 up to size; 0 and zeros if there is a pole. table holds the products alpha .. (alpha + t - 1)
 * first. */
static int ML(reciprocals)(mt *table, size_t count, size_t size, mt alpha)
{
    const mt one = mt_one(FIELD);
    mt product = one, t = alpha;
    for (size_t k = 0; k < count; k++) {
        table[k] = product;
        product = mt_mul(product, t, FIELD);
        t = mt_add(t, one, FIELD);
    }
    memset(table + count, 0, (size - count) * sizeof *table);
    const uint64_t zero = mt_equal_mask(product, mt_zero);
    PC_DECLASSIFY(zero);
    if (zero) {
        memset(table, 0, count * sizeof *table);
        return 0;
    }
    mt inverse = mt_inv(product, FIELD);
    for (size_t k = count; k-- > 0;) {
        t = mt_sub(t, one, FIELD); /* alpha + k */
        table[k] = mt_mul(inverse, table[k], FIELD);
        inverse = mt_mul(inverse, t, FIELD);
    }
    return 1;
}

/* The fraction that is the sum over k < count of e[k] / (t + k), added up in pairs: three products for a place instead of the five of inverting
 * each. num and den have room for half of them. */
static ML(fraction) ML(reciprocal_row)(const mt *e, size_t count, mt t, mt *num, mt *den)
{
    const mt one = mt_one(FIELD);
    size_t live = 0;
    for (size_t k = 0; k + 1 < count; k += 2, live++) { /* e / t + f / (t + 1) = ((e + f) t + e) / (t (t + 1)) */
        const mt next = mt_add(t, one, FIELD);
        num[live] = mt_add(mt_mul(mt_add(e[k], e[k + 1], FIELD), t, FIELD), e[k], FIELD);
        den[live] = mt_mul(t, next, FIELD);
        t = mt_add(next, one, FIELD);
    }
    if (count & 1) {
        num[live] = e[count - 1];
        den[live++] = t;
    }
    for (; live > 1; live = (live + 1) / 2) {
        for (size_t k = 0; 2 * k + 1 < live; k++) {
            num[k] = mt_mul2(num[2 * k], den[2 * k + 1], num[2 * k + 1], den[2 * k], FIELD);
            den[k] = mt_mul(den[2 * k], den[2 * k + 1], FIELD);
        }
        if (live & 1) num[live / 2] = num[live - 1], den[live / 2] = den[live - 1];
    }
    const ML(fraction) out = {num[0], den[0]};
    return out;
}

/* The sum over t < count of eq(point, t) / (alpha + t), as fractions: a row of 2^low places has eq_high times the fraction of eq_low, which
 * `row` gives. Returns 0 if there is a pole. */
static int ML(reciprocal_sum_of)(mt *out, size_t count, unsigned n, mt alpha, const uint8_t *point, mt *scratch,
                                 ML(fraction) (*row)(const mt *e, size_t count, mt t, mt *num, mt *den))
{
    const ML(split) eq = ML(split_of)(scratch, point, n, mt_one(FIELD));
    const size_t width = (size_t)1 << eq.bits;
    const uint64_t word[4] = {width, 0, 0, 0};
    const mt step = mt_from_words(word, FIELD);
    mt *num = scratch + width + ((size_t)1 << (n - eq.bits)), *den = num + width, top = mt_zero, bottom = mt_one(FIELD), t = alpha;
    for (size_t first = 0; first < count; first += width) {
        const ML(fraction) f = row(eq.low, count - first < width ? count - first : width, t, num, den);
        top = mt_mul2(top, f.q, mt_mul(eq.high[first >> eq.bits], f.p, FIELD), bottom, FIELD);
        bottom = mt_mul(bottom, f.q, FIELD);
        t = mt_add(t, step, FIELD);
    }
    const uint64_t zero = mt_equal_mask(bottom, mt_zero);
    PC_DECLASSIFY(zero);
    *out = mt_mul(top, mt_inv(bottom, FIELD), FIELD);
    return !zero;
}

/* A block of BLOCK places that starts at t has the fraction N(t) / D(t), N and D being the same polynomials for all blocks: D is the product of the
 * t + k, of degree BLOCK, and N of degree BLOCK - 1. So blocks one after another come from tables of differences, with sums in place of products. */
enum {
    ML(BLOCK_BITS) = 5,
    ML(BLOCK) = 1 << ML(BLOCK_BITS),
    ML(FIRST_BLOCKS) = ML(BLOCK) + 1, /* as many as the differences of D take */
};

typedef struct {
    mt p[ML(BLOCK)], q[ML(BLOCK) + 1]; /* the differences of orders 0, 1, .. of N and D */
} ML(differences);

/* In place: values at places one after another become the differences at the first of them. */
static void ML(difference)(mt *value, size_t count)
{
    for (size_t order = 1; order < count; order++)
        for (size_t k = count; k-- > order;) value[k] = mt_sub(value[k], value[k - 1], FIELD);
}

/* For e, the weights of a block, and the first t. */
static void ML(differences_of)(ML(differences) *out, const mt *e, mt t)
{
    mt num[ML(BLOCK) / 2], den[ML(BLOCK) / 2];
    const uint64_t word[4] = {ML(BLOCK), 0, 0, 0};
    const mt step = mt_from_words(word, FIELD);
    for (size_t k = 0; k < ML(FIRST_BLOCKS); k++) {
        const ML(fraction) f = ML(reciprocal_row)(e, ML(BLOCK), t, num, den);
        if (k < ML(BLOCK)) out->p[k] = f.p;
        out->q[k] = f.q;
        t = mt_add(t, step, FIELD);
    }
    ML(difference)(out->p, ML(BLOCK));
    ML(difference)(out->q, ML(BLOCK) + 1);
}

/* The fraction of a block; then d is that of the next. */
static ML(fraction) ML(next_block)(ML(differences) *d)
{
    const ML(fraction) out = {d->p[0], d->q[0]};
    for (size_t k = 0; k + 1 < ML(BLOCK); k++) d->p[k] = mt_add(d->p[k], d->p[k + 1], FIELD);
    for (size_t k = 0; k < ML(BLOCK); k++) d->q[k] = mt_add(d->q[k], d->q[k + 1], FIELD);
    return out;
}

/* *sum += e f */
PC_INLINE void ML(fraction_add)(ML(fraction) *sum, mt e, ML(fraction) f)
{
    sum->p = mt_mul2(sum->p, f.q, mt_mul(e, f.p, FIELD), sum->q, FIELD);
    sum->q = mt_mul(sum->q, f.q, FIELD);
}

/* The same for many: eq_low is a product too, of the weights of a block and those of the blocks of a row. */
static int ML(reciprocal_sum)(mt *out, size_t count, unsigned n, mt alpha, const uint8_t *point, mt *scratch)
{
    if (count < ML(FIRST_BLOCKS) * ML(BLOCK)) return ML(reciprocal_sum_of)(out, count, n, alpha, point, scratch, ML(reciprocal_row));
    const unsigned bits = n / 2; /* >= ML(BLOCK_BITS), as n > 2 ML(BLOCK_BITS) */
    const size_t width = (size_t)1 << bits, blocks = width / ML(BLOCK), whole = count / ML(BLOCK);
    mt r[PRIVCOMP_MULTILINEAR_MAX], num[ML(BLOCK) / 2], den[ML(BLOCK) / 2];
    mt *const low = scratch, *const middle = low + ML(BLOCK), *const high = middle + blocks;
    ML(point)(r, point, n);
    ML(eq)(low, r, ML(BLOCK_BITS), mt_one(FIELD));
    ML(eq)(middle, r + ML(BLOCK_BITS), bits - ML(BLOCK_BITS), mt_one(FIELD));
    ML(eq)(high, r + bits, n - bits, mt_one(FIELD));

    ML(differences) d;
    const ML(fraction) none = {mt_zero, mt_one(FIELD)};
    ML(fraction) sum = none, row = none;
    ML(differences_of)(&d, low, alpha);
    for (size_t k = 0; k < whole; k++) {
        ML(fraction_add)(&row, middle[k % blocks], ML(next_block)(&d));
        if (k % blocks == blocks - 1) ML(fraction_add)(&sum, high[k / blocks], row), row = none;
    }
    if (count % ML(BLOCK)) {
        const uint64_t word[4] = {whole * ML(BLOCK), 0, 0, 0};
        const mt t = mt_add(alpha, mt_from_words(word, FIELD), FIELD);
        ML(fraction_add)(&row, middle[whole % blocks], ML(reciprocal_row)(low, count % ML(BLOCK), t, num, den));
    }
    if (count % width) ML(fraction_add)(&sum, high[count / width], row);
    const uint64_t zero = mt_equal_mask(sum.q, mt_zero);
    PC_DECLASSIFY(zero);
    *out = mt_mul(sum.p, mt_inv(sum.q, FIELD), FIELD);
    return !zero;
}

#undef DIFFERENCE
#undef ML_SUMS
