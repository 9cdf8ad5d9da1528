/* Shamir sharing and Lagrange interpolation for vectors of secrets.
 *
 * Everything here is "rows of known values times a matrix of public weights gives further rows", done in tiles of columns that stay
 * in cache. The rows are the secrets (the value at 0), the draws (the shares that are drawn directly, see privcomp.h), and the
 * shares that follow from them.
 *
 * Points at equal steps (as 1, 2, ..., n). The draws are consecutive values of a polynomial along the steps, and one more share
 * makes them enough for its differences: additions then give all the others (field_extend.h), about t^2 / 2 + (n - t) t of them.
 *
 * Symmetric points. If x[i] + x[n-1-i] is the same number 2c for all i (as for 1, 2, ..., n), write y = x - c. The points are then
 * pairs +-y, and f(c + y) = E(y^2) + y O(y^2), E and O of degree at most (t - 1) / 2 and t / 2 - 1. With m pairs known,
 *   A[i] = f(c + y[i]) + f(c - y[i]) = 2 E(y[i]^2),     B[i] = f(c + y[i]) - f(c - y[i]) = 2 y[i] O(y[i]^2),
 * Lagrange coefficients L, K of E and O over the nodes y[i]^2 give for a further pair j
 *   f(c +- y[j]) = a +- b,   a = sum of (L[j,i] / 2) A[i],   b = sum of (K[j,i] y[j] / (2 y[i])) B[i]:
 * about t products for two shares instead of 2 t. The known pairs are the draws s(0), s(1), ... and one or two shares more. For odd
 * n, s(0) is the middle point with y = 0: a node of E, but not of O. In s-order the points with A and those with B alternate.
 */
#include "shamir.h"

#if PC_X86
#include <emmintrin.h>
#endif

#define TILE 512 /* columns */
#define PAD 8    /* words between rows of a tile: rows whose distance is a power of two would share their cache sets */

#define MAX_D ((size_t)1 << 40)

int pc_shamir_no_shortcut = 0;

/* s(k) of privcomp.h. */
static size_t order(size_t k, size_t n) { return pc_middle_order(k, n); }

static size_t tile_width(size_t d) { return d < TILE ? d : TILE; }
static size_t tile_stride(size_t d) { return d > TILE ? TILE + PAD : d % 64 != 0 ? d : d + PAD; }

/* The next word at the begin of a cache line: vectors of a tile should not lie across two. At most LINE - 1 words further. */
#define LINE 8 /* words */
static uint64_t *aligned(uint64_t *p) { return p + (0 - (uintptr_t)p / 8) % LINE; }

/* Rows of a tile for results: all further shares of points at equal steps, or what follows from two dot_rows. */
static size_t result_rows(size_t n, size_t t) { return n - t > 2 * FIELD_ROWS ? n - t : 2 * FIELD_ROWS; }

int64_t privcomp_shamir_share_scratch(size_t n, size_t threshold, size_t d)
{
    if (threshold < 1 || threshold > n || n > PRIVCOMP_SHAMIR_MAX_POINTS || d > MAX_D) return -1;
    /* Weights: (n - t + 1) t words, or with the shortcut for symmetric points at most 2 t + (n - t)(t + 1) / 2. */
    return (int64_t)((n - threshold + 3) * (threshold + 1)                       /* weights */
                     + 3 * (threshold + 1) + 2 * n + 2                           /* nodes, points, scratch of the weights */
                     + FIELD_PREPARED * (threshold + 1)                          /* prepared weights */
                     + LINE + (threshold + 2 + result_rows(n, threshold)) * tile_stride(d));       /* known rows, results */
}

int64_t privcomp_shamir_interpolate_scratch(size_t rows, size_t m, size_t d)
{
    if (m < 1 || m > PRIVCOMP_SHAMIR_MAX_POINTS || rows > PRIVCOMP_SHAMIR_MAX_POINTS || d > MAX_D) return -1;
    return (int64_t)(rows * m + 3 * m + FIELD_PREPARED * m + m * tile_stride(d));
}

/* weights[i, j] = N[i, j] / D[j], N[i, j] = product over k != j of (at[i] - points[k]), D[j] = N at points[j]. D is inverted once; N
 * comes from products of prefixes and suffixes, so at[i] may be a point. requires: distinct canonical points; 3 m words of scratch. */
static void lagrange(const struct field *f, uint64_t *weights, const uint64_t *at, size_t rows, const uint64_t *points, size_t m,
                     uint64_t *scratch)
{
    uint64_t *const inverse = scratch, *const d = scratch + m, *const difference = scratch + 2 * m;
    for (size_t j = 0; j < m; j++) {
        uint64_t product = 1;
        for (size_t k = 0; k < m; k++)
            if (k != j) product = f->mul(product, f->sub(points[j], points[k]));
        d[j] = product;
    }
    pc_field_invert(f, inverse, d, m);
    for (size_t i = 0; i < rows; i++) {
        uint64_t *const w = weights + i * m;
        uint64_t product = 1;
        for (size_t j = 0; j < m; j++) {
            difference[j] = f->sub(at[i], points[j]);
            w[j] = f->mul(product, inverse[j]);
            product = f->mul(product, difference[j]);
        }
        product = 1;
        for (size_t j = m; j-- > 0;) {
            w[j] = f->mul(w[j], product);
            product = f->mul(product, difference[j]);
        }
    }
}

/* Refuses points that are 0 (unless zero_allowed) or equal modulo p, and then those that are not canonical. */
static int check_points(const struct field *f, const uint64_t *points, size_t n, int zero_allowed)
{
    for (size_t i = 0; i < n; i++)
        if (points[i] % f->p == 0 && !zero_allowed) return PRIVCOMP_E_ZERO;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if ((points[i] >= points[j] ? points[i] - points[j] : points[j] - points[i]) % f->p == 0) return PRIVCOMP_E_DUPLICATE;
    return f->canonical(points, n) ? PRIVCOMP_OK : PRIVCOMP_E_CANONICAL;
}

int pc_lagrange_weights(const struct field *f, uint64_t *weights, const uint64_t *at, size_t rows, const uint64_t *points, size_t m,
                        uint64_t *scratch)
{
    if (m < 1 || m > PRIVCOMP_SHAMIR_MAX_POINTS) return PRIVCOMP_E_ARGUMENT;
    const int status = check_points(f, points, m, 1);
    if (status != PRIVCOMP_OK) return status;
    if (!f->canonical(at, rows)) return PRIVCOMP_E_CANONICAL;
    lagrange(f, weights, at, rows, points, m, scratch);
    return PRIVCOMP_OK;
}

/* dot_rows for any number of rows; row r goes to out + r * out_stride. */
static void multiply(const struct field *f, uint64_t *out, size_t out_stride, size_t rows, const uint64_t *weights, size_t terms,
                     const uint64_t *in, size_t stride, size_t width, uint64_t *prepared)
{
    for (size_t r = 0; r < rows; r += FIELD_ROWS) {
        const size_t count = rows - r < FIELD_ROWS ? rows - r : FIELD_ROWS;
        uint64_t *row[FIELD_ROWS];
        for (size_t q = 0; q < count; q++) row[q] = out + (r + q) * out_stride;
        f->dot_rows(row, count, weights + r * terms, terms, in, stride, width, prepared);
    }
}

/* Finished shares go past the caches where they would not stay there: an ordinary store reads each line before it overwrites it. */
#define PAST_CACHES ((size_t)1 << 24) /* bytes of shares */

static void copy_out(uint64_t *to, const uint64_t *from, size_t n, int past_caches)
{
    size_t i = 0;
#if PC_X86
    if (past_caches) {
        for (; i < n && (uintptr_t)(to + i) % 16 != 0; i++) to[i] = from[i];
        for (; i + 2 <= n; i += 2) _mm_stream_si128((__m128i *)(void *)(to + i), _mm_loadu_si128((const void *)(from + i)));
    }
#else
    (void)past_caches;
#endif
    memcpy(to + i, from + i, 8 * (n - i));
}

/* What follows from the points alone. */
struct plan {
    size_t n, t;
    int steps;                           /* the points are at equal steps, and differences pay */
    size_t pairs;                        /* m, or 0 without the shortcut for symmetric points */
    size_t direct;                       /* shares s(t-1), s(t), ... that are computed from the secrets and the draws */
    size_t further;                      /* pairs that follow from the first m */
    const uint64_t *weights;             /* direct x t */
    const uint64_t *even, *odd;          /* further x (m + 1 for odd n, else m), further x m */
};

/* Whether x[i] + x[n-1-i] is the same for all i. */
static int symmetric(const struct field *f, const uint64_t *x, size_t n)
{
    const uint64_t sum = f->add(x[0], x[n - 1]);
    for (size_t i = 1; i < n; i++)
        if (f->add(x[i], x[n - 1 - i]) != sum) return 0;
    return 1;
}

/* Whether x[i+1] - x[i] is the same for all i. */
static int equal_steps(const struct field *f, const uint64_t *x, size_t n)
{
    for (size_t i = 2; i < n; i++)
        if (f->sub(x[i], x[i - 1]) != f->sub(x[1], x[0])) return 0;
    return 1;
}

/* Fills the plan; returns the first word of scratch that is still free. */
static uint64_t *make_plan(const struct field *f, struct plan *plan, const uint64_t *x, size_t n, size_t t, uint64_t *scratch)
{
    const size_t middle = n % 2, m = (t + 1 - middle) / 2, half = n / 2;
    uint64_t *const work = scratch, *const nodes = work + 3 * (t + 1), *const at = nodes + n + 1, *const weights = at + n + 1;
    plan->n = n, plan->t = t;
    /* For few further shares the t^2 / 2 additions cost more than products. */
    plan->steps = f->extend != NULL && 3 * (n - t) >= t && !pc_shamir_no_shortcut && equal_steps(f, x, n);
    plan->pairs = !plan->steps && half > m && !pc_shamir_no_shortcut && symmetric(f, x, n) ? m : 0;
    plan->direct = plan->steps ? 1 : plan->pairs ? 2 * m + middle - (t - 1) : n - (t - 1);
    plan->further = plan->pairs ? half - m : 0;

    nodes[0] = 0;
    for (size_t k = 0; k < t - 1; k++) nodes[k + 1] = x[order(k, n)];
    for (size_t k = 0; k < plan->direct; k++) at[k] = x[order(t - 1 + k, n)];
    lagrange(f, weights, at, plan->direct, nodes, t, work);
    plan->weights = weights;
    plan->even = plan->odd = weights + plan->direct * t;
    if (!plan->pairs) return weights + plan->direct * t;

    /* y of s(0), s(2), ...: with the middle for odd n, then one of each pair. */
    uint64_t *const even = weights + plan->direct * t, *const odd = even + plan->further * (middle + m);
    const uint64_t one_half = (f->p + 1) / 2;
    const uint64_t c = f->mul(f->add(x[0], x[n - 1]), one_half);
    uint64_t *const y = at;
    for (size_t i = 0; i < middle + half; i++) {
        y[i] = f->sub(x[order(2 * i, n)], c); /* 0 only for the middle, because the points are distinct */
        nodes[i] = f->mul(y[i], y[i]);
    }
    lagrange(f, even, nodes + middle + m, plan->further, nodes, middle + m, work);
    if (middle) {
        lagrange(f, odd, nodes + middle + m, plan->further, nodes + middle, m, work);
    } else {
        memcpy(odd, even, 8 * plan->further * m);
    }
    uint64_t *const inverse = work;
    pc_field_invert(f, inverse, y + middle, m);
    for (size_t i = 0; i < plan->further * (middle + m); i++) even[i] = f->mul(even[i], one_half);
    for (size_t j = 0; j < plan->further; j++) {
        const uint64_t half_y = f->mul(y[middle + m + j], one_half);
        for (size_t i = 0; i < m; i++) odd[j * m + i] = f->mul(odd[j * m + i], f->mul(half_y, inverse[i]));
    }
    plan->odd = odd;
    return odd + plan->further * m;
}

void pc_field_draw(const struct field *f, uint64_t *tile, size_t stride, size_t rows, size_t d, size_t from, size_t width,
                   const pc_stream *stream, const pc_level *level)
{
    const uint64_t total = (uint64_t)rows * d;
    for (size_t k = 0; k < rows; k++) {
        const uint64_t e = (uint64_t)k * d + from;
        const size_t together = width == d && stride == d ? rows : 1; /* whole rows follow each other in the stream, too */
        pc_stream_apply(PC_STORE, (uint8_t *)(tile + k * stride), 8 * width * together, stream, 8 * e, PRIVCOMP_AES128_CTR, level);
        if (f->sample(tile + k * stride, width * together)) {
            for (size_t i = 0; i < width * together; i++) {
                uint64_t *const v = tile + k * stride + i;
                for (uint64_t attempt = 1;; attempt++) {
                    int rejected = *v >= f->p;
                    PC_DECLASSIFY(rejected);
                    if (!rejected) break;
                    pc_stream_apply(PC_STORE, (uint8_t *)v, 8, stream, 8 * (e + i + attempt * total), PRIVCOMP_AES128_CTR, level);
                    (void)f->sample(v, 1);
                }
            }
        }
        k += together - 1;
    }
}

/* The shares of one tile. tile: t + 2 rows; result: result_rows rows. */
static void share_tile(const struct field *f, const struct plan *plan, uint64_t *shares, size_t d, size_t from, size_t width,
                       uint64_t *tile, size_t stride, uint64_t *result, uint64_t *prepared)
{
    const size_t n = plan->n, t = plan->t, m = plan->pairs, middle = n % 2;
    const int past_caches = 8 * n * d >= PAST_CACHES;
    uint64_t *const known = tile + stride; /* the shares s(0), s(1), ...; tile itself is the row of secrets */
    const size_t rows = plan->steps ? t : m ? 2 * m + middle : t - 1;
    shares += from;
    if (plan->steps || m) {
        multiply(f, known + (t - 1) * stride, stride, plan->direct, plan->weights, t, tile, stride, width, prepared);
    } else {
        for (size_t r = 0; r < plan->direct; r += FIELD_ROWS) {
            const size_t count = plan->direct - r < FIELD_ROWS ? plan->direct - r : FIELD_ROWS;
            multiply(f, result, stride, count, plan->weights + r * t, t, tile, stride, width, prepared);
            for (size_t q = 0; q < count; q++)
                copy_out(shares + order(t - 1 + r + q, n) * d, result + q * stride, width, past_caches);
        }
    }
    for (size_t k = 0; k < rows; k++) copy_out(shares + order(k, n) * d, known + k * stride, width, past_caches);

    if (plan->steps) {
        const size_t below = order(0, n) - order(0, t), above = n - t - below;
        f->extend(result, below, above, known, t, stride, width, prepared);
        for (size_t j = 0; j < below; j++) copy_out(shares + (below - 1 - j) * d, result + j * stride, width, past_caches);
        for (size_t j = 0; j < above; j++) copy_out(shares + (below + t + j) * d, result + (below + j) * stride, width, past_caches);
        return;
    }

    /* Row 2 i and its neighbour, the two of a pair, become A and B. The middle has no partner but itself. */
    uint64_t *const a = known, *const b = known + stride;
    if (m && middle) f->add_n(known, known, known, width);
    for (size_t i = 0; i < m; i++) {
        uint64_t *const one = a + 2 * (i + middle) * stride, *const other = b + 2 * i * stride;
        f->butterfly(one, other, one, other, width);
    }
    for (size_t j = 0; j < plan->further; j += FIELD_ROWS) {
        const size_t count = plan->further - j < FIELD_ROWS ? plan->further - j : FIELD_ROWS;
        multiply(f, result, 2 * stride, count, plan->even + j * (middle + m), middle + m, a, 2 * stride, width, prepared);
        multiply(f, result + stride, 2 * stride, count, plan->odd + j * m, m, b, 2 * stride, width, prepared);
        for (size_t q = 0; q < count; q++) {
            uint64_t *const one = result + 2 * q * stride, *const other = one + stride;
            const size_t i = order(2 * (middle + m + j + q), n);
            f->butterfly(one, other, one, other, width);
            copy_out(shares + i * d, one, width, past_caches);
            copy_out(shares + (n - 1 - i) * d, other, width, past_caches);
        }
    }
}

int pc_shamir_share(const struct field *f, uint64_t *shares, const uint64_t *secrets, size_t d, const uint64_t *points, size_t n,
                    size_t threshold, const uint8_t *seed, uint64_t *scratch, size_t scratch_words)
{
    return pc_shamir_share_part(f, shares, secrets, d, 0, d, points, n, threshold, seed, scratch, scratch_words);
}

int pc_shamir_share_part(const struct field *f, uint64_t *shares, const uint64_t *secrets, size_t d, size_t first, size_t count,
                         const uint64_t *points, size_t n, size_t threshold, const uint8_t *seed, uint64_t *scratch, size_t scratch_words)
{
    const int64_t need = privcomp_shamir_share_scratch(n, threshold, d);
    if (need < 0 || first > d || count > d - first) return PRIVCOMP_E_ARGUMENT;
    if (scratch_words < (uint64_t)need) return PRIVCOMP_E_LENGTH;
    const int status = check_points(f, points, n, 0);
    if (status != PRIVCOMP_OK) return status;
    if (!f->canonical(secrets, d)) return PRIVCOMP_E_CANONICAL;

    struct plan plan;
    uint64_t *const prepared = make_plan(f, &plan, points, n, threshold, scratch);
    uint64_t *const tile = aligned(prepared + FIELD_PREPARED * (threshold + 1));
    const size_t stride = tile_stride(d);
    uint64_t *const result = tile + (threshold + 2) * stride;
    VERIFY(result + result_rows(n, threshold) * stride <= scratch + scratch_words);

    const pc_level *const level = pc_level_table();
    pc_stream stream;
    pc_stream_init(&stream, PRIVCOMP_AES128_CTR, seed, level);
    for (size_t from = first; from < first + count; from += TILE) {
        const size_t width = tile_width(first + count - from);
        memcpy(tile, secrets + from, 8 * width);
        pc_field_draw(f, tile + stride, stride, threshold - 1, d, from, width, &stream, level);
        share_tile(f, &plan, shares, d, from, width, tile, stride, result, prepared);
    }
#if PC_X86
    _mm_sfence(); /* copy_out's stores come before what the caller does next */
#endif
    privcomp_wipe((uint8_t *)&stream, sizeof stream);
    privcomp_wipe((uint8_t *)prepared, 8 * (size_t)(result + result_rows(n, threshold) * stride - prepared)); /* the tile, too */
    return PRIVCOMP_OK;
}

int pc_shamir_interpolate(const struct field *f, uint64_t *out, const uint64_t *at, size_t rows, const uint64_t *points, size_t m,
                          const uint64_t *shares, size_t d, uint64_t *scratch, size_t scratch_words)
{
    const int64_t need = privcomp_shamir_interpolate_scratch(rows, m, d);
    if (need < 0) return PRIVCOMP_E_ARGUMENT;
    if (scratch_words < (uint64_t)need) return PRIVCOMP_E_LENGTH;
    const int status = check_points(f, points, m, 0);
    if (status != PRIVCOMP_OK) return status;
    if (!f->canonical(at, rows)) return PRIVCOMP_E_CANONICAL;

    uint64_t *const weights = scratch, *const work = weights + rows * m, *const prepared = work + 3 * m;
    uint64_t *const tile = prepared + FIELD_PREPARED * m;
    const size_t stride = tile_stride(d);
    lagrange(f, weights, at, rows, points, m, work);
    int canonical = 1;
    for (size_t from = 0; from < d && canonical; from += TILE) {
        const size_t width = tile_width(d - from);
        for (size_t k = 0; k < m; k++) {
            memcpy(tile + k * stride, shares + k * d + from, 8 * width);
            canonical &= f->canonical(tile + k * stride, width);
        }
        if (canonical) multiply(f, out + from, d, rows, weights, m, tile, stride, width, prepared);
    }
    privcomp_wipe((uint8_t *)tile, 8 * m * stride);
    if (!canonical) {
        memset(out, 0, 8 * rows * d);
        return PRIVCOMP_E_CANONICAL;
    }
    return PRIVCOMP_OK;
}

#define SELECT(f, field) \
    struct field f; \
    if (pc_field(&f, field) != PRIVCOMP_OK) return PRIVCOMP_E_ARGUMENT

int privcomp_lagrange_weights_var(uint64_t *weights, const uint64_t *at, size_t rows, const uint64_t *points, size_t m, int field,
                                  uint64_t *scratch)
{
    SELECT(f, field);
    return pc_lagrange_weights(&f, weights, at, rows, points, m, scratch);
}

int privcomp_shamir_share(uint64_t *shares, const uint64_t *secrets, size_t d, const uint64_t *points, size_t n, size_t threshold,
                          const uint8_t *seed, int field, uint64_t *scratch, size_t scratch_words)
{
    SELECT(f, field);
    return pc_shamir_share(&f, shares, secrets, d, points, n, threshold, seed, scratch, scratch_words);
}

int privcomp_shamir_share_part(uint64_t *shares, const uint64_t *secrets, size_t d, size_t first, size_t count, const uint64_t *points,
                               size_t n, size_t threshold, const uint8_t *seed, int field, uint64_t *scratch, size_t scratch_words)
{
    SELECT(f, field);
    return pc_shamir_share_part(&f, shares, secrets, d, first, count, points, n, threshold, seed, scratch, scratch_words);
}

int privcomp_shamir_interpolate(uint64_t *out, const uint64_t *at, size_t rows, const uint64_t *points, size_t m, const uint64_t *shares,
                                size_t d, int field, uint64_t *scratch, size_t scratch_words)
{
    SELECT(f, field);
    return pc_shamir_interpolate(&f, out, at, rows, points, m, shares, d, scratch, scratch_words);
}
