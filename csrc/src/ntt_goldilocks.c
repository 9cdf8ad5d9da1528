/* Number-theoretic transforms over the Goldilocks field, and packed sharing with them.
 *
 * Transform. Let N = 2^log_n, w a primitive N-th root of unity, s any non-zero number. The values of f, of degree < N, at
 * x[i] = s w^rev(i), rev the reversal of log_n bits, are what is left of f modulo x - x[i], and come from halving:
 *   x^2h - a^2 = (x^h - a)(x^h + a);   of u + x^h v (u, v of degree < h) is left  u + a v  and  u - a v.
 * At level l (h = N / 2^(l+1)), block b holds the points whose index begins with the l bits of b, and a is x^h at the first of them:
 *   a = s^h w^(h rev_l(b)) = s^h W[b],   W[b] = w^rev'(b) with rev' the reversal of log_n - 1 bits,
 * as h rev_l(b) = 2^(log_n - 1 - l) rev_l(b) = rev'(b) for b < 2^l. So one table W serves all levels.
 *
 * Packed sharing of l = 2^log_packing secrets with t random coefficients. The secrets are the values of P, of degree < l, at the l-th
 * roots of unity, and
 *   f = P + (x^l - 1) r,   r uniform of degree < t,   so   f[k] = P[k] - r[k] + r[k - l]
 * (a coefficient out of range is zero). f is uniform among the polynomials of degree <= t + l - 1 with these secrets: division by x^l - 1
 * with remainder P is a bijection. The points of the shares are 7 w^i, and 7 generates the whole group: no power of two is the order of 7 w^i, so
 * (x^l - 1) is not zero there, any t shares are t values of r times non-zero factors, shifted by values of P: uniform whatever P is.
 * Source: Franklin, Yung, "Communication complexity of secure computation", STOC 1992.
 */
#include "ntt_goldilocks.h"

#include "shamir.h"

#define LOG_ORDER 32
#define ROOT UINT64_C(1753635133440165772) /* check: pow(7, 2**32 - 1, 2**64 - 2**32 + 1) */
/* ROOT has the order 2^32: ROOT^(2^31) = -1; check: pow(1753635133440165772, 2**31, 2**64 - 2**32 + 1) == 2**64 - 2**32 */
/* PRIVCOMP_PACKED_SHIFT generates the group; check: len(tuple(q for q in (2, 3, 5, 17, 257, 65537) if pow(7, (2**64 - 2**32) // q, 2**64 - 2**32 + 1) == 1)) == 0 */

#define MAX_D ((size_t)1 << 40)
#define TILE_WORDS ((size_t)1 << 14) /* of a tile: 128 KiB */
#define PAD 8                        /* words between rows of a tile: rows whose distance is a power of two would share their cache sets */
#define MOST_COLUMNS 512
#define LEAST_COLUMNS 16

static void forward_portable(uint64_t *u, uint64_t *v, uint64_t w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t a = u[i], b = goldilocks_mul(w, v[i]);
        u[i] = goldilocks_add(a, b);
        v[i] = goldilocks_sub(a, b);
    }
}

static void inverse_portable(uint64_t *u, uint64_t *v, uint64_t w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t a = u[i], b = v[i];
        u[i] = goldilocks_add(a, b);
        v[i] = goldilocks_mul(w, goldilocks_sub(a, b));
    }
}

static void scale_portable(uint64_t *u, uint64_t w, size_t n)
{
    for (size_t i = 0; i < n; i++) u[i] = goldilocks_mul(w, u[i]);
}

static void finish_portable(uint64_t *u, size_t n)
{
    (void)u, (void)n;
#ifdef PRIVCOMP_VERIFY
    for (size_t i = 0; i < n; i++) VERIFY(u[i] < GOLDILOCKS_P);
#endif
}

const struct ntt pc_ntt_portable = {forward_portable, inverse_portable, scale_portable, finish_portable};

const struct ntt *pc_ntt_at(int level)
{
#if PC_X86
    if (level >= PRIVCOMP_LEVEL_AESNI) return &pc_ntt_avx2;
#else
    (void)level;
#endif
    return &pc_ntt_portable;
}

static uint64_t power(uint64_t a, uint64_t exponent)
{
    uint64_t r = 1;
    for (; exponent; exponent >>= 1, a = goldilocks_mul(a, a))
        if (exponent & 1) r = goldilocks_mul(r, a);
    return r;
}

static size_t reverse(size_t i, unsigned bits)
{
    size_t r = 0;
    for (unsigned k = 0; k < bits; k++) r |= (i >> k & 1) << (bits - 1 - k);
    return r;
}

/* A transform: W, and s^h for every level. */
struct transform {
    unsigned log_n;
    const uint64_t *twiddles;                /* W, max(1, N / 2) words */
    uint64_t shift[PRIVCOMP_NTT_LOG_MAX];    /* of level l: s^(N / 2^(l+1)) */
};

static size_t table_words(unsigned log_n) { return log_n == 0 ? 1 : (size_t)1 << (log_n - 1); }

/* For `inverse`, every factor is inverted: W of 1 / w, and 1 / s. */
static void make_transform(struct transform *t, uint64_t *table, unsigned log_n, uint64_t shift, int inverse)
{
    const size_t half = table_words(log_n);
    uint64_t w = power(ROOT, (uint64_t)1 << (LOG_ORDER - log_n)), product = 1;
    if (inverse) w = power(w, GOLDILOCKS_P - 2), shift = power(shift, GOLDILOCKS_P - 2);
    t->log_n = log_n;
    t->twiddles = table;
    for (size_t i = 0; i < half; i++, product = goldilocks_mul(product, w)) table[reverse(i, log_n ? log_n - 1 : 0)] = product;
    for (unsigned l = log_n; l-- > 0; shift = goldilocks_mul(shift, shift)) t->shift[l] = shift;
}

/* Coefficients to values. Rows from `filled` on are zero, and only the first `wanted` values count. */
static void forward(const struct ntt *f, const struct transform *t, uint64_t *rows, size_t stride, size_t width, size_t filled, size_t wanted)
{
    for (unsigned l = 0; l < t->log_n; l++) {
        const size_t h = (size_t)1 << (t->log_n - 1 - l);
        for (size_t b = 0; b < (size_t)1 << l && 2 * h * b < wanted; b++) {
            const uint64_t a = goldilocks_mul(t->shift[l], t->twiddles[b]);
            uint64_t *const u = rows + 2 * h * b * stride, *const v = u + h * stride;
            for (size_t k = 0; k < h && k < filled; k++) {
                if (k + h < filled) f->forward(u + k * stride, v + k * stride, a, width);
                else memcpy(v + k * stride, u + k * stride, 8 * width); /* u + a 0, u - a 0 */
            }
        }
        if (filled > h) filled = h;
    }
    for (size_t i = 0; i < wanted; i++) f->finish(rows + i * stride, width);
}

/* Values to coefficients; each level leaves twice what it has to, so the last step divides by N. t is the inverse transform. */
static void backward(const struct ntt *f, const struct transform *t, uint64_t *rows, size_t stride, size_t width)
{
    const size_t n = (size_t)1 << t->log_n;
    const uint64_t scale = power(n, GOLDILOCKS_P - 2);
    for (unsigned l = t->log_n; l-- > 0;) {
        const size_t h = (size_t)1 << (t->log_n - 1 - l);
        for (size_t b = 0; b < (size_t)1 << l; b++) {
            const uint64_t a = goldilocks_mul(t->shift[l], t->twiddles[b]);
            uint64_t *const u = rows + 2 * h * b * stride, *const v = u + h * stride;
            for (size_t k = 0; k < h; k++) f->inverse(u + k * stride, v + k * stride, a, width);
        }
    }
    for (size_t i = 0; i < n; i++) f->scale(rows + i * stride, scale, width);
}

static size_t tile_width(size_t d, size_t rows)
{
    size_t width = TILE_WORDS / rows / LEAST_COLUMNS * LEAST_COLUMNS;
    if (width < LEAST_COLUMNS) width = LEAST_COLUMNS;
    if (width > MOST_COLUMNS) width = MOST_COLUMNS;
    return d < width ? d : width;
}

int64_t privcomp_ntt_goldilocks_scratch(unsigned log_n, size_t d)
{
    if (log_n > PRIVCOMP_NTT_LOG_MAX || d > MAX_D) return -1;
    const size_t n = (size_t)1 << log_n;
    return (int64_t)(table_words(log_n) + n * (tile_width(d, n) + PAD));
}

int privcomp_ntt_goldilocks(uint64_t *data, unsigned log_n, size_t d, uint64_t shift, int inverse, uint64_t *scratch, size_t scratch_words)
{
    const int64_t need = privcomp_ntt_goldilocks_scratch(log_n, d);
    if (need < 0) return PRIVCOMP_E_ARGUMENT;
    if (scratch_words < (uint64_t)need) return PRIVCOMP_E_LENGTH;
    if (shift % GOLDILOCKS_P == 0) return PRIVCOMP_E_ZERO;
    const size_t n = (size_t)1 << log_n, width = tile_width(d, n), stride = width + PAD;
    if (shift >= GOLDILOCKS_P || !pc_goldilocks_portable.canonical(data, n * d)) return PRIVCOMP_E_CANONICAL;
    const struct ntt *const f = pc_ntt_at(privcomp_level_get());
    uint64_t *const tile = scratch + table_words(log_n);
    struct transform t;
    make_transform(&t, scratch, log_n, shift, inverse);
    for (size_t from = 0; from < d; from += width) {
        const size_t columns = d - from < width ? d - from : width;
        for (size_t i = 0; i < n; i++) memcpy(tile + i * stride, data + i * d + from, 8 * columns);
        if (inverse) backward(f, &t, tile, stride, columns);
        else forward(f, &t, tile, stride, columns, n, n);
        for (size_t i = 0; i < n; i++) memcpy(data + i * d + from, tile + i * stride, 8 * columns);
    }
    privcomp_wipe((uint8_t *)tile, 8 * n * stride);
    return PRIVCOMP_OK;
}

int privcomp_ntt_goldilocks_points_var(uint64_t *points, size_t n, unsigned log_n, uint64_t shift)
{
    if (log_n > PRIVCOMP_NTT_LOG_MAX || n > (size_t)1 << log_n) return PRIVCOMP_E_ARGUMENT;
    if (shift >= GOLDILOCKS_P) return PRIVCOMP_E_CANONICAL;
    const uint64_t w = power(ROOT, (uint64_t)1 << (LOG_ORDER - log_n));
    for (size_t i = 0; i < n; i++) points[i] = goldilocks_mul(shift, power(w, reverse(i, log_n)));
    return PRIVCOMP_OK;
}

/* ---- packed sharing ---- */

struct packing {
    size_t n, t, secrets, degree;
    unsigned log_points, log_packing;
};

static int make_packing(struct packing *s, size_t n, size_t privacy, unsigned log_packing, size_t d)
{
    if (log_packing > PRIVCOMP_NTT_LOG_MAX || n < 1 || n > (size_t)1 << PRIVCOMP_NTT_LOG_MAX || d > MAX_D) return 0;
    s->n = n, s->t = privacy, s->secrets = (size_t)1 << log_packing, s->log_packing = log_packing, s->log_points = 0;
    if (privacy < 1 || privacy > n || s->secrets > n - privacy) return 0;
    s->degree = privacy + s->secrets - 1;
    while ((size_t)1 << s->log_points < n) s->log_points++;
    return 1;
}

/* Rows of a tile: the polynomial, then r. */
static size_t tile_rows(const struct packing *s) { return ((size_t)1 << s->log_points) + s->t; }

int64_t privcomp_packed_share_scratch(size_t n, size_t privacy, unsigned log_packing, size_t d)
{
    struct packing s;
    if (!make_packing(&s, n, privacy, log_packing, d)) return -1;
    return (int64_t)(table_words(s.log_points) + table_words(log_packing) + tile_rows(&s) * (tile_width(d, tile_rows(&s)) + PAD));
}

int privcomp_packed_share(uint64_t *shares, const uint64_t *secrets, size_t d, size_t first, size_t count, size_t n, size_t privacy,
                          unsigned log_packing, const uint8_t *seed, uint64_t *scratch, size_t scratch_words)
{
    struct packing s;
    if (!make_packing(&s, n, privacy, log_packing, d) || first > d || count > d - first) return PRIVCOMP_E_ARGUMENT;
    if (scratch_words < (uint64_t)privcomp_packed_share_scratch(n, privacy, log_packing, d)) return PRIVCOMP_E_LENGTH;
    if (!pc_goldilocks_portable.canonical(secrets, s.secrets * d)) return PRIVCOMP_E_CANONICAL;
    const size_t points = (size_t)1 << s.log_points, width = tile_width(d, tile_rows(&s)), stride = width + PAD, last = first + count;
    uint64_t *const rows = scratch + table_words(s.log_points) + table_words(log_packing), *const r = rows + points * stride;
    struct transform out, in;
    make_transform(&out, scratch, s.log_points, PRIVCOMP_PACKED_SHIFT, 0);
    make_transform(&in, scratch + table_words(s.log_points), log_packing, 1, 1);

    struct field field;
    (void)pc_field(&field, PRIVCOMP_FIELD_GOLDILOCKS);
    const struct ntt *const f = pc_ntt_at(privcomp_level_get());
    const pc_level *const level = pc_level_table();
    pc_stream stream;
    pc_stream_init(&stream, PRIVCOMP_AES128_CTR, seed, level);
    for (size_t from = first; from < last; from += width) {
        const size_t columns = last - from < width ? last - from : width;
        for (size_t k = 0; k < s.secrets; k++) memcpy(rows + k * stride, secrets + k * d + from, 8 * columns);
        backward(f, &in, rows, stride, columns);
        pc_field_draw(&field, r, stride, s.t, d, from, columns, &stream, level);
        for (size_t k = 0; k <= s.degree; k++) {
            uint64_t *const row = rows + k * stride;
            if (k >= s.secrets) memcpy(row, r + (k - s.secrets) * stride, 8 * columns); /* degree = t + secrets - 1 */
            if (k < s.t) field.sub_n(row, row, r + k * stride, columns);
        }
        forward(f, &out, rows, stride, columns, s.degree + 1, n);
        for (size_t i = 0; i < n; i++) memcpy(shares + i * d + from, rows + i * stride, 8 * columns);
    }
    privcomp_wipe((uint8_t *)&stream, sizeof stream);
    privcomp_wipe((uint8_t *)rows, 8 * tile_rows(&s) * stride);
    return PRIVCOMP_OK;
}
