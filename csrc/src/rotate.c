/* The rotation of a vector by random signs and a Walsh-Hadamard transform, and its inverse.
 *
 * Transforms of doubles can overflow at 2^1024, and sums of squares at 2^512 already. So a vector is first taken as it is, and where the sum
 * of squares of the result shows that it was too large, too small or not finite, once more with its largest entry brought to about 1 by a
 * power of two. In almost all calls that saves a pass over the vector.
 */
#include "encode.h"

/* After scaling, entries are below 2^24, hence the sum of squares d ||x||^2 <= 2^30 2^30 2^48. */
/* check: 30 + 30 + 48 < 1000 */
#define SQUARES_LOW 0x1p-600  /* d 2^-1022 <= 2^-992, all that underflows, is less than 2^-390 of it */
#define SQUARES_HIGH 0x1p1000 /* above, an intermediate sum may have come close to overflow */
#define EXPONENT_MAX 1000

/* Bits of the largest absolute value: their order is that of the values, with infinity and what is not a number above. 0 for an empty vector. */
static uint64_t largest_f32(const float *x, size_t n)
{
    uint32_t top = 0;
    for (size_t j = 0; j < n; j++) {
        const uint32_t bits = load32(x + j) & 0x7fffffff; /* check: 0x7fffffff == 2**31 - 1 */
        top = bits > top ? bits : top;
    }
    return top;
}

static uint64_t largest_f64(const double *x, size_t n)
{
    uint64_t top = 0;
    for (size_t j = 0; j < n; j++) {
        const uint64_t bits = load64(x + j) & 0x7fffffffffffffff; /* check: 0x7fffffffffffffff == 2**63 - 1 */
        top = bits > top ? bits : top;
    }
    return top;
}

/* The power of two that brings the largest entry to [1, 2), as far as +-EXPONENT_MAX goes: at worst to 2^-74 or 2^24. 1: there is nothing but zeros.
 * PRIVCOMP_E_FLOAT: an infinity or what is not a number. */
static int find_exponent(int *exponent, uint64_t bits, int mantissa, int bias)
{
    const int biased = (int)(bits >> mantissa);
    *exponent = 0;
    if (bits == 0) return 1;
    if (biased == 2 * bias + 1) return PRIVCOMP_E_FLOAT;
    const int e = bias - biased; /* a subnormal number counts as 2^(1 - bias), and is smaller */
    *exponent = e > EXPONENT_MAX ? EXPONENT_MAX : e < -EXPONENT_MAX ? -EXPONENT_MAX : e;
    return PRIVCOMP_OK;
}

/* False for what is not a number. */
static int in_range(double squares) { return squares >= SQUARES_LOW && squares <= SQUARES_HIGH; }

#define DEFINE_SCALED(T, TYPE, MANTISSA, BIAS) \
    /* Runs CALL with scale 1, and again with another scale if the result is out of range. */ \
    static double rotate_plain_##T(double *out, size_t d, const TYPE *x, size_t n, const uint8_t *signs, double scale) \
    { \
        const struct encode *k = pc_encode_at(privcomp_level_get()); \
        double squares = 0; \
        if (d >= 32) return k->rotate_##T(out, d, x, n, signs, scale); \
        for (size_t j = 0; j < d; j++) out[j] = j < n ? (double)x[j] * ((signs[j / 8] >> (j % 8)) & 1 ? -scale : scale) : 0; \
        (void)privcomp_hadamard_f64(out, d); \
        squares = k->squares_f64(out, d, 1); \
        return squares; \
    } \
    int pc_rotate_##T(double *out, size_t d, double *squares, int *exponent, const TYPE *x, size_t n, const uint8_t *signs) \
    { \
        *exponent = 0; \
        *squares = rotate_plain_##T(out, d, x, n, signs, 1); \
        if (in_range(*squares)) return PRIVCOMP_OK; \
        const int found = find_exponent(exponent, largest_##T(x, n), MANTISSA, BIAS); \
        if (found == PRIVCOMP_OK) *squares = rotate_plain_##T(out, d, x, n, signs, pc_power_of_two(*exponent)); \
        if (found == 1) { \
            memset(out, 0, d * sizeof *out); \
            *squares = 0; \
            return PRIVCOMP_OK; \
        } \
        return found == PRIVCOMP_OK && in_range(*squares) ? PRIVCOMP_OK : PRIVCOMP_E_FLOAT; \
    } \
    int pc_squares_##T(double *squares, int *exponent, const TYPE *x, size_t n) \
    { \
        const struct encode *k = pc_encode_at(privcomp_level_get()); \
        *exponent = 0; \
        *squares = k->squares_##T(x, n, 1); \
        if (in_range(*squares)) return PRIVCOMP_OK; \
        const int found = find_exponent(exponent, largest_##T(x, n), MANTISSA, BIAS); \
        if (found == 1) { \
            *squares = 0; \
            return PRIVCOMP_OK; \
        } \
        if (found == PRIVCOMP_OK) *squares = k->squares_##T(x, n, pc_power_of_two(*exponent)); \
        return found == PRIVCOMP_OK && in_range(*squares) ? PRIVCOMP_OK : PRIVCOMP_E_FLOAT; \
    }

DEFINE_SCALED(f32, float, 23, 127)
DEFINE_SCALED(f64, double, 52, 1023)

/* ---- transforms ---- */

static int is_size(size_t n) { return n > 0 && n <= ENCODE_MAX && (n & (n - 1)) == 0; }

int privcomp_hadamard_f64(double *x, size_t n)
{
    if (!is_size(n)) return PRIVCOMP_E_ARGUMENT;
    if (n >= 32) {
        pc_encode_at(privcomp_level_get())->hadamard_f64(x, n, NULL);
        return PRIVCOMP_OK;
    }
    for (size_t h = n / 2; h > 0; h /= 2)
        for (size_t i = 0; i < n; i++)
            if ((i & h) == 0) {
                const double a = x[i], b = x[i + h];
                x[i] = a + b;
                x[i + h] = a - b;
            }
    return PRIVCOMP_OK;
}

/* Whether the sum of all |x[j]| is below 2^62. Every number that a transform makes is a sum of +-x[j] over distinct j. */
static uint64_t sum_fits(const int64_t *x, size_t n)
{
    uint64_t high = 0, low = 0; /* below 2^30 2^32 each */
    for (size_t j = 0; j < n; j++) {
        const uint64_t v = (uint64_t)x[j], minus = 0 - (v >> 63), m = (v ^ minus) - minus; /* |x[j]| <= 2^63 */
        high += m >> 32;
        low += m & UINT32_MAX;
    }
    return (high + (low >> 32)) >> 30 == 0; /* check: 30 == 62 - 32 */
}

int privcomp_hadamard_i64(int64_t *x, size_t n)
{
    if (!is_size(n)) return PRIVCOMP_E_ARGUMENT;
    uint64_t fits = sum_fits(x, n);
    PC_DECLASSIFY(fits);
    if (!fits) return PRIVCOMP_E_RANGE;
    uint64_t *const u = (uint64_t *)x; /* modulo 2^64, whatever another thread writes */
    if (n >= 32) {
        pc_encode_at(privcomp_level_get())->hadamard_i64(u, n);
        return PRIVCOMP_OK;
    }
    for (size_t h = n / 2; h > 0; h /= 2)
        for (size_t i = 0; i < n; i++)
            if ((i & h) == 0) {
                const uint64_t a = u[i], b = u[i + h];
                u[i] = a + b;
                u[i + h] = a - b;
            }
    return PRIVCOMP_OK;
}

/* ---- signs ---- */

#define TILE 4096 /* bytes of signs */

static int flip(void *x, size_t n, const uint8_t *seed, int cipher, const int integers, double scale)
{
    if (pc_seed_bytes(cipher) == 0 || n > (size_t)1 << 40) return PRIVCOMP_E_ARGUMENT;
    const struct encode *k = pc_encode_at(privcomp_level_get());
    const pc_level *level = pc_level_table();
    uint8_t signs[TILE];
    pc_stream s;
    pc_stream_init(&s, cipher, seed, level);
    for (size_t at = 0; at < n; at += 8 * TILE) {
        const size_t count = n - at < 8 * TILE ? n - at : 8 * TILE;
        pc_stream_apply(PC_STORE, signs, (count + 7) / 8, &s, at / 8, cipher, level);
        if (scale != 1)
            for (size_t j = at; j < at + count; j++) ((double *)x)[j] *= scale;
        if (integers)
            k->flip_i64((uint64_t *)x + at, count, signs);
        else
            k->flip_f64((double *)x + at, count, signs);
    }
    privcomp_wipe((uint8_t *)&s, sizeof s);
    privcomp_wipe(signs, sizeof signs);
    return PRIVCOMP_OK;
}

int privcomp_flip_f64(double *x, size_t n, const uint8_t *seed, int cipher) { return flip(x, n, seed, cipher, 0, 1); }
int privcomp_flip_i64(int64_t *x, size_t n, const uint8_t *seed, int cipher) { return flip(x, n, seed, cipher, 1, 1); }

int privcomp_unrotate_i64(double *out, const int64_t *q, size_t d, double scale, const uint8_t *seed, int cipher)
{
    if (!is_size(d) || pc_seed_bytes(cipher) == 0) return PRIVCOMP_E_ARGUMENT;
    for (size_t j = 0; j < d; j++) out[j] = (double)q[j];
    (void)privcomp_hadamard_f64(out, d); /* exact as long as the sum of |q[j]| is below 2^53 */
    return flip(out, d, seed, cipher, 0, scale);
}
