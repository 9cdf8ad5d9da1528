/* Shamir sharing and Lagrange interpolation for vectors of secrets.
 *
 * Everything here is "rows of known values times a matrix of public weights gives further rows", done in tiles of columns that stay
 * in cache. The rows are the secrets (the value at 0), the draws (the shares that are drawn directly, see privcomp.h), and the
 * shares that follow from them.
 *
 * Symmetric points. If x[i] + x[n-1-i] is the same number 2c for all i (as for 1, 2, ..., n), write y = x - c. The points are then
 * pairs +-y, and f(c + y) = E(y^2) + y O(y^2) with E and O of half the degree. With m = ceil(threshold / 2) pairs known,
 *   A[i] = f(c + y[i]) + f(c - y[i]) = 2 E(y[i]^2),     B[i] = f(c + y[i]) - f(c - y[i]) = 2 y[i] O(y[i]^2),
 * E and O have at most m coefficients, so that Lagrange coefficients L over the m nodes y[i]^2 give for a further pair j
 *   f(c +- y[j]) = a +- b,   a = sum of (L[j,i] / 2) A[i],   b = sum of (L[j,i] y[j] / (2 y[i])) B[i]:
 * 2m products for two shares instead of 2 threshold. The m known pairs are the draws s(0), s(1), ... and one or two shares more.
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
static size_t order(size_t k, size_t n) { return k % 2 == 0 ? k / 2 : n - 1 - k / 2; }

static size_t tile_width(size_t d) { return d < TILE ? d : TILE; }
static size_t tile_stride(size_t d) { return d <= TILE ? d : TILE + PAD; }

int64_t privcomp_shamir_share_scratch(size_t n, size_t threshold, size_t d)
{
    if (threshold < 1 || threshold > n || n > PRIVCOMP_SHAMIR_MAX_POINTS || d > MAX_D) return -1;
    /* Weights: (n - t + 1) t words, or with the shortcut at most 2 t + 2 (n/2 + 1 - m) m <= 2 t + (n - t + 3)(t + 1) / 2. */
    return (int64_t)((n - threshold + 3) * (threshold + 1)                       /* weights */
                     + 3 * (threshold + 1) + 2 * n + 2                           /* nodes, points, scratch of the weights */
                     + FIELD_PREPARED * (threshold + 1)                          /* prepared weights */
                     + (threshold + 2 + 2 * FIELD_ROWS) * tile_stride(d));       /* known rows, results */
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
    size_t pairs;                        /* m, or 0 without the shortcut */
    size_t direct;                       /* shares s(t-1), s(t), ... that are computed from the secrets and the draws */
    size_t further;                      /* pairs that follow from the first m */
    const uint64_t *weights;             /* direct x t */
    const uint64_t *even, *odd;          /* further x m each */
};

/* Whether x[i] + x[n-1-i] is the same for all i. */
static int symmetric(const struct field *f, const uint64_t *x, size_t n)
{
    const uint64_t sum = f->add(x[0], x[n - 1]);
    for (size_t i = 1; i < n; i++)
        if (f->add(x[i], x[n - 1 - i]) != sum) return 0;
    return 1;
}

/* Fills the plan; returns the first word of scratch that is still free. */
static uint64_t *make_plan(const struct field *f, struct plan *plan, const uint64_t *x, size_t n, size_t t, uint64_t *scratch)
{
    const size_t m = (t + 1) / 2, half = (n + 1) / 2;
    uint64_t *const work = scratch, *const nodes = work + 3 * (t + 1), *const at = nodes + n + 1, *const weights = at + n + 1;
    plan->n = n, plan->t = t;
    plan->pairs = m <= n / 2 && half > m && !pc_shamir_no_shortcut && symmetric(f, x, n) ? m : 0;
    plan->direct = plan->pairs ? 2 * m - (t - 1) : n - (t - 1);
    plan->further = plan->pairs ? half - m : 0;

    nodes[0] = 0;
    for (size_t k = 0; k < t - 1; k++) nodes[k + 1] = x[order(k, n)];
    for (size_t k = 0; k < plan->direct; k++) at[k] = x[order(t - 1 + k, n)];
    lagrange(f, weights, at, plan->direct, nodes, t, work);
    plan->weights = weights;
    plan->even = plan->odd = weights + plan->direct * t;
    if (!plan->pairs) return weights + plan->direct * t;

    uint64_t *const even = weights + plan->direct * t, *const odd = even + plan->further * m;
    const uint64_t one_half = (f->p + 1) / 2;
    const uint64_t c = f->mul(f->add(x[0], x[n - 1]), one_half);
    uint64_t *const y = at; /* half of them */
    for (size_t i = 0; i < half; i++) {
        y[i] = f->sub(x[i], c); /* not 0 for i < m, because m <= n/2 and the points are distinct */
        nodes[i] = f->mul(y[i], y[i]);
    }
    lagrange(f, even, nodes + m, plan->further, nodes, m, work);
    uint64_t *const inverse = work;
    pc_field_invert(f, inverse, y, m);
    for (size_t j = 0; j < plan->further; j++) {
        for (size_t i = 0; i < m; i++) {
            uint64_t *const w = even + j * m + i;
            *w = f->mul(*w, one_half);
            odd[j * m + i] = f->mul(*w, f->mul(y[m + j], inverse[i]));
        }
    }
    plan->odd = odd;
    return odd + plan->further * m;
}

/* Draws rows (k, j) for k < t - 1, from <= j < from + width into tile[k * stride]. */
static void draw(const struct field *f, uint64_t *tile, size_t stride, size_t rows, size_t d, size_t from, size_t width,
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
                    FIELD_DECLASSIFY(rejected);
                    if (!rejected) break;
                    pc_stream_apply(PC_STORE, (uint8_t *)v, 8, stream, 8 * (e + i + attempt * total), PRIVCOMP_AES128_CTR, level);
                    (void)f->sample(v, 1);
                }
            }
        }
        k += together - 1;
    }
}

/* The shares of one tile. tile: t + 2 rows; result: 2 * FIELD_ROWS rows. */
static void share_tile(const struct field *f, const struct plan *plan, uint64_t *shares, size_t d, size_t from, size_t width,
                       uint64_t *tile, size_t stride, uint64_t *result, uint64_t *prepared, int past_caches)
{
    const size_t n = plan->n, t = plan->t, m = plan->pairs;
    uint64_t *const known = tile + stride; /* the shares s(0), s(1), ...; tile itself is the row of secrets */
    if (!m) {
        for (size_t r = 0; r < plan->direct; r += FIELD_ROWS) {
            const size_t count = plan->direct - r < FIELD_ROWS ? plan->direct - r : FIELD_ROWS;
            uint64_t *row[FIELD_ROWS];
            for (size_t q = 0; q < count; q++) row[q] = shares + order(t - 1 + r + q, n) * d + from;
            f->dot_rows(row, count, plan->weights + r * t, t, tile, stride, width, prepared);
        }
    } else {
        multiply(f, known + (t - 1) * stride, stride, plan->direct, plan->weights, t, tile, stride, width, prepared);
    }
    const size_t rows = m ? 2 * m : t - 1;
    for (size_t k = 0; k < rows; k++) copy_out(shares + order(k, n) * d + from, known + k * stride, width, past_caches);
    if (!m) return;

    /* Rows 2i and 2i + 1 of `known` become A[i] and B[i]. */
    for (size_t i = 0; i < m; i++) {
        uint64_t *const a = known + 2 * i * stride, *const b = a + stride;
        f->butterfly(a, b, a, b, width);
    }
    for (size_t j = 0; j < plan->further; j += FIELD_ROWS) {
        const size_t count = plan->further - j < FIELD_ROWS ? plan->further - j : FIELD_ROWS;
        multiply(f, result, 2 * stride, count, plan->even + j * m, m, known, 2 * stride, width, prepared);
        multiply(f, result + stride, 2 * stride, count, plan->odd + j * m, m, known + stride, 2 * stride, width, prepared);
        for (size_t q = 0; q < count; q++) {
            uint64_t *const plus = result + 2 * q * stride, *const minus = plus + stride;
            f->butterfly(plus, minus, plus, minus, width);
            copy_out(shares + (m + j + q) * d + from, plus, width, past_caches);
            copy_out(shares + (n - 1 - (m + j + q)) * d + from, minus, width, past_caches);
        }
    }
}

int pc_shamir_share(const struct field *f, uint64_t *shares, const uint64_t *secrets, size_t d, const uint64_t *points, size_t n,
                    size_t threshold, const uint8_t *seed, uint64_t *scratch, size_t scratch_words)
{
    const int64_t need = privcomp_shamir_share_scratch(n, threshold, d);
    if (need < 0) return PRIVCOMP_E_ARGUMENT;
    if (scratch_words < (uint64_t)need) return PRIVCOMP_E_LENGTH;
    const int status = check_points(f, points, n, 0);
    if (status != PRIVCOMP_OK) return status;
    if (!f->canonical(secrets, d)) return PRIVCOMP_E_CANONICAL;

    struct plan plan;
    uint64_t *const prepared = make_plan(f, &plan, points, n, threshold, scratch);
    uint64_t *const tile = prepared + FIELD_PREPARED * (threshold + 1);
    const size_t stride = tile_stride(d);
    uint64_t *const result = tile + (threshold + 2) * stride;
    VERIFY(result + 2 * FIELD_ROWS * stride <= scratch + scratch_words);

    const pc_level *const level = pc_level_table();
    pc_stream stream;
    pc_stream_init(&stream, PRIVCOMP_AES128_CTR, seed, level);
    for (size_t from = 0; from < d; from += TILE) {
        const size_t width = tile_width(d - from);
        memcpy(tile, secrets + from, 8 * width);
        draw(f, tile + stride, stride, threshold - 1, d, from, width, &stream, level);
        share_tile(f, &plan, shares, d, from, width, tile, stride, result, prepared, 8 * n * d >= PAST_CACHES);
    }
#if PC_X86
    _mm_sfence();
#endif
    privcomp_wipe((uint8_t *)&stream, sizeof stream);
    privcomp_wipe((uint8_t *)tile, 8 * (threshold + 2 + 2 * FIELD_ROWS) * stride);
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

int privcomp_shamir_interpolate(uint64_t *out, const uint64_t *at, size_t rows, const uint64_t *points, size_t m, const uint64_t *shares,
                                size_t d, int field, uint64_t *scratch, size_t scratch_words)
{
    SELECT(f, field);
    return pc_shamir_interpolate(&f, out, at, rows, points, m, shares, d, scratch, scratch_words);
}
