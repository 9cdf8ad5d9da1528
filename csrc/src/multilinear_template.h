/* Multilinear polynomials modulo one prime, FIELD: the kernels of multilinear.c, once for each order of a group.
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

static void ML(fold)(mt *tables, size_t count, size_t stride, size_t half, mt s)
{
    for (size_t k = 0; k < count; k++) {
        mt *t = tables + k * stride;
        for (size_t y = 0; y < half; y++) t[y] = mt_add(t[y], mt_mul(s, mt_sub(t[y + half], t[y], FIELD), FIELD), FIELD);
    }
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

/* shift + x[j], with x = 0 from d on. */
PC_INLINE mt ML(leaf)(const int64_t *x, size_t d, size_t j, mt shift)
{
    const uint64_t v = j < d ? (uint64_t)x[j] : 0, sign = mask64(v >> 63);
    const mt size = {{(v ^ sign) - sign, 0, 0, 0}}, r2 = {{FIELD->r2[0], FIELD->r2[1], FIELD->r2[2], FIELD->r2[3]}};
    const mt t = mt_mul(r2, size, FIELD);
    return mt_add(shift, mt_select(t, mt_neg(t, FIELD), sign), FIELD);
}

typedef struct {
    mt p, q;
} ML(fraction);

/* The fraction of a node: the sum of 1 / (shift + x[j]) over its 2^depth leaves j = y + i 2^layer, depth <= 3. */
PC_INLINE ML(fraction) ML(node)(const int64_t *x, size_t d, unsigned layer, unsigned depth, size_t y, mt shift)
{
    ML(fraction) part[8];
    const size_t count = (size_t)1 << depth;
    for (size_t i = 0; i < count; i++) {
        part[i].p = mt_one(FIELD);
        part[i].q = ML(leaf)(x, d, y + (i << layer), shift);
    }
    for (size_t half = count / 2; half >= 1; half /= 2) { /* a node's children are half of its leaves apart */
        for (size_t i = 0; i < half; i++) {
            const ML(fraction) a = part[i], b = part[i + half];
            part[i].p = half == count / 2 ? mt_add(a.q, b.q, FIELD) : mt_mul2(a.p, b.q, b.p, a.q, FIELD);
            part[i].q = mt_mul(a.q, b.q, FIELD);
        }
    }
    return part[0];
}

static void ML(fraction_layer)(mt *out, const int64_t *x, size_t d, unsigned n, unsigned layer, mt shift)
{
    const size_t size = (size_t)1 << layer;
    for (size_t y = 0; y < size; y++) {
        const ML(fraction) node = ML(node)(x, d, layer, n - layer, y, shift);
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

/* The sumcheck of layer k over its children, nodes of layer k + 1 (leaves where k + 1 = n): first round, and what is left after it. */
static void ML(first_round)(mt out[2], const int64_t *x, size_t d, unsigned n, unsigned k, mt shift, mt lambda, const uint8_t *point,
                            mt *scratch)
{
    const unsigned b = k - 1;
    const ML(split) eq = ML(split_of)(scratch, point, b, mt_one(FIELD));
    const size_t half = (size_t)1 << b, other = (size_t)1 << k;
    if (k + 1 == n) {
        ML_SUMS(out[0], out[1], b, {
            const mt q0 = ML(leaf)(x, d, y, shift);
            const mt q1 = ML(leaf)(x, d, y + other, shift);
            g = mt_add(mt_mul(mt_add(mt_mul(lambda, q0, FIELD), mt_one(FIELD), FIELD), q1, FIELD), q0, FIELD);
            h = mt_mul(mt_sub(ML(leaf)(x, d, y + half, shift), q0, FIELD), mt_sub(ML(leaf)(x, d, y + half + other, shift), q1, FIELD), FIELD);
        });
        out[1] = mt_mul(lambda, out[1], FIELD);
        return;
    }
    ML_SUMS(out[0], out[1], b, {
        const ML(fraction) a0 = ML(node)(x, d, k + 1, n - k - 1, y, shift);
        const ML(fraction) a1 = ML(node)(x, d, k + 1, n - k - 1, y + other, shift);
        const ML(fraction) b0 = ML(node)(x, d, k + 1, n - k - 1, y + half, shift);
        const ML(fraction) b1 = ML(node)(x, d, k + 1, n - k - 1, y + half + other, shift);
        const mt mixed = mt_add(a1.p, mt_mul(lambda, a1.q, FIELD), FIELD);
        const mt dp1 = mt_sub(b1.p, a1.p, FIELD);
        const mt dq1 = mt_sub(b1.q, a1.q, FIELD);
        g = mt_mul2(a0.p, a1.q, a0.q, mixed, FIELD);
        h = mt_mul2(mt_sub(b0.p, a0.p, FIELD), dq1, mt_sub(b0.q, a0.q, FIELD), mt_add(dp1, mt_mul(lambda, dq1, FIELD), FIELD), FIELD);
    });
}

PC_INLINE mt ML(between)(mt a, mt b, mt s) { return mt_add(a, mt_mul(s, mt_sub(b, a, FIELD), FIELD), FIELD); }

static void ML(first_fold)(mt *t, const int64_t *x, size_t d, unsigned n, unsigned k, mt shift, mt lambda, mt s)
{
    const size_t half = (size_t)1 << (k - 1), other = (size_t)1 << k;
    for (size_t y = 0; y < half; y++) {
        if (k + 1 == n) {
            t[y] = ML(between)(ML(leaf)(x, d, y, shift), ML(leaf)(x, d, y + half, shift), s);
            t[y + half] = ML(between)(ML(leaf)(x, d, y + other, shift), ML(leaf)(x, d, y + other + half, shift), s);
            continue;
        }
        const ML(fraction) a0 = ML(node)(x, d, k + 1, n - k - 1, y, shift), b0 = ML(node)(x, d, k + 1, n - k - 1, y + half, shift),
                           a1 = ML(node)(x, d, k + 1, n - k - 1, y + other, shift),
                           b1 = ML(node)(x, d, k + 1, n - k - 1, y + other + half, shift);
        const mt q1 = ML(between)(a1.q, b1.q, s);
        t[y] = ML(between)(a0.p, b0.p, s);
        t[y + half] = mt_add(ML(between)(a1.p, b1.p, s), mt_mul(lambda, q1, FIELD), FIELD);
        t[y + 2 * half] = ML(between)(a0.q, b0.q, s);
        t[y + 3 * half] = q1;
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
static void ML(combine)(mt *table, const uint8_t *coefficients, size_t count, const int64_t *x, size_t d, size_t size, int added)
{
    mt c[PRIVCOMP_MULTILINEAR_PIECES], total = mt_zero;
    const mt r2 = {{FIELD->r2[0], FIELD->r2[1], FIELD->r2[2], FIELD->r2[3]}};
    for (size_t k = 0; k < count; k++) {
        c[k] = mt_mul(mt_from_bytes(coefficients + PRIVCOMP_SCALAR_BYTES * k, FIELD), r2, FIELD); /* c 2^512: a sum is reduced to c x 2^256 */
        total = mt_add(total, c[k], FIELD);
    }
    const mt half = {{(uint64_t)1 << 63, 0, 0, 0}}; /* signs: u = x + 2^63 >= 0, less 2^63 times the sum of the c */
    total = mt_mul(total, half, FIELD);
    for (size_t y = 0; y < size; y++) {
        mt_sum s = {{0}};
        for (size_t k = 0; k < count; k++) {
            const size_t j = k * size + y;
            mt_sum_add_word(&s, c[k], (j < d ? (uint64_t)x[j] : 0) ^ (uint64_t)1 << 63);
        }
        const mt v = mt_sub(mt_sum_reduce_short(&s, FIELD), total, FIELD);
        table[y] = added ? mt_add(table[y], v, FIELD) : v;
    }
}

/* h(0) and the coefficient of X^2 of h(X) = sum over y < half of a(X, y) g(X, y). */
static void ML(product_round)(mt out[2], const mt *a, const mt *g, size_t half)
{
    mt_sum zero = {{0}}, square = {{0}};
    for (size_t y = 0; y < half; y++) {
        mt_sum_add(&zero, a[y], g[y]);
        mt_sum_add(&square, DIFFERENCE(a), DIFFERENCE(g));
    }
    out[0] = mt_sum_reduce(&zero, FIELD);
    out[1] = mt_sum_reduce(&square, FIELD);
}

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

/* The sum over t < count of eq(point, t) / (alpha + t), as fractions: a row of 2^low places has the numerator and denominator of
 * sum over k of eq_low[k] / (v + k), v = alpha + t - k, added up in pairs: three products for a place instead of the five of inverting each.
 * Returns 0 if there is a pole. */
static int ML(reciprocal_sum)(mt *out, size_t count, unsigned n, mt alpha, const uint8_t *point, mt *scratch)
{
    const ML(split) eq = ML(split_of)(scratch, point, n, mt_one(FIELD));
    const size_t width = (size_t)1 << eq.bits;
    const mt one = mt_one(FIELD);
    mt *num = scratch + width + ((size_t)1 << (n - eq.bits)), *den = num + width, top = mt_zero, bottom = one, t = alpha;
    for (size_t first = 0; first < count; first += width) {
        const size_t here = count - first < width ? count - first : width;
        size_t live = 0;
        for (size_t k = 0; k + 1 < here; k += 2, live++) { /* e / t + f / (t + 1) = ((e + f) t + e) / (t (t + 1)) */
            const mt next = mt_add(t, one, FIELD);
            num[live] = mt_add(mt_mul(mt_add(eq.low[k], eq.low[k + 1], FIELD), t, FIELD), eq.low[k], FIELD);
            den[live] = mt_mul(t, next, FIELD);
            t = mt_add(next, one, FIELD);
        }
        if (here & 1) {
            num[live] = eq.low[here - 1];
            den[live++] = t;
            t = mt_add(t, one, FIELD);
        }
        for (; live > 1; live = (live + 1) / 2) {
            for (size_t k = 0; 2 * k + 1 < live; k++) {
                num[k] = mt_mul2(num[2 * k], den[2 * k + 1], num[2 * k + 1], den[2 * k], FIELD);
                den[k] = mt_mul(den[2 * k], den[2 * k + 1], FIELD);
            }
            if (live & 1) num[live / 2] = num[live - 1], den[live / 2] = den[live - 1];
        }
        top = mt_mul2(top, den[0], mt_mul(eq.high[first >> eq.bits], num[0], FIELD), bottom, FIELD);
        bottom = mt_mul(bottom, den[0], FIELD);
    }
    const uint64_t zero = mt_equal_mask(bottom, mt_zero);
    PC_DECLASSIFY(zero);
    *out = mt_mul(top, mt_inv(bottom, FIELD), FIELD);
    return !zero;
}

#undef DIFFERENCE
#undef ML
#undef FIELD
