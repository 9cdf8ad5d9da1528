/* The kernels of the encoding for distributed noise: rotation (rotate.c), clip and rounding (quantise.c). Every level gives the same bits:
 * the additions of a transform and of a sum of squares stand in one order, written down here, whatever the width of a register, and
 * nothing is contracted (the build says -ffp-contract=off).
 */
#ifndef PRIVCOMP_ENCODE_H
#define PRIVCOMP_ENCODE_H

#include "core.h"

#if defined(__FAST_MATH__)
#error "the bounds of quantise.c are those of IEEE 754 arithmetic"
#endif

/* Sums of squares: entry i is squared and added to lane i mod 16 of its block of 2^11 entries; the lanes of a block are added as
 * ((l0 + l8) + (l4 + l12)) + .., see encode_template.h, and the blocks one after another. With at most 2^19 blocks a square passes
 * 1 + 2^7 + 4 + 2^19 roundings of at most 2^-52 (in whatever direction), and nothing is negative, so that without under- and overflow
 *   |computed - exact| <= 2^-32 exact. */
/* check: (1 + 2**7 + 4 + 2**19 + 2) * 2**20 < 2**40 */
#define ENCODE_BLOCK 2048                      /* check: 2**11 */
#define ENCODE_LANES 16
#define ENCODE_MAX ((size_t)1 << 30)           /* entries of a vector; check: 2**30 // 2**11 == 2**19 */
#define ENCODE_BETA_MAX ((uint64_t)1 << 48)    /* largest absolute value that is rounded to */

/* The sum of m^2 over a tile of at most ENCODE_BLOCK absolute values m <= 2^48, in parts: m = a 2^24 + b, and the parts are the sums
 * of a^2, a b and b^2, each below 2^11 2^48. */
/* check: 2**11 * (2**24)**2 < 2**63 */
typedef struct {
    uint64_t high, middle, low;
} encode_squares;

PC_INLINE u128 encode_squares_value(const encode_squares *s) { return ((u128)s->high << 48) + ((u128)s->middle << 25) + s->low; }

struct encode {
    /* x = H x, n = a power of two from 32 to ENCODE_MAX; the entry i of H x is the sum over j of (-1)^(popcount(i & j)) x[j]. Levels of
     * butterflies (a, b) -> (a + b, a - b) at distances n/2, n/4, .., 1. If squares is not NULL it gets the sum of squares of the result. */
    void (*hadamard_f64)(double *x, size_t n, double *squares);
    void (*hadamard_i64)(uint64_t *x, size_t n);
    /* out = H y for y[j] = +-scale x[j], 0 from n on; d as above, n <= d; bit j mod 8 of signs[j / 8]: minus. Returns the sum of squares. */
    double (*rotate_f32)(double *out, size_t d, const float *x, size_t n, const uint8_t *signs, double scale);
    double (*rotate_f64)(double *out, size_t d, const double *x, size_t n, const uint8_t *signs, double scale);
    /* x[j] ^= mask, and then -= mask for integers, where bit j mod 8 of signs[j / 8] is set. */
    void (*flip_f64)(double *x, size_t n, const uint8_t *signs);
    void (*flip_i64)(uint64_t *x, size_t n, const uint8_t *signs);
    /* The sum of squares of scale x[j]. */
    double (*squares_f32)(const float *x, size_t n, double scale);
    double (*squares_f64)(const double *x, size_t n, double scale);
    /* q[j], in which a coin stands, becomes the rounded t = factor y[j]: with a = min(|t|, beta), f = a - floor(a) and u = (k + 1/2) / 2^52, k the
     * upper 52 bits of the coin, floor(a) + (u < f), with the sign of t. n <= ENCODE_BLOCK. Returns the squares of these. */
    encode_squares (*round)(int64_t *q, const double *y, size_t n, double factor, uint64_t beta);
};

const struct encode *pc_encode_at(int level);

extern const struct encode pc_encode_portable;
#if PC_X86
extern const struct encode pc_encode_avx2;
#endif

/* 2^k for -1022 <= k <= 1023. */
PC_INLINE double pc_power_of_two(int k)
{
    const uint64_t bits = (uint64_t)(k + 1023) << 52;
    double x;
    VERIFY(k >= -1022 && k <= 1023);
    memcpy(&x, &bits, 8);
    return x;
}

/* H S x with the sum of squares of its entries, as out = 2^exponent H S x with |exponent| <= 1000, chosen such that nothing overflows and what
 * underflows does not matter. Any d = 2^k <= ENCODE_MAX. PRIVCOMP_E_FLOAT if an entry is not finite. */
int pc_rotate_f32(double *out, size_t d, double *squares, int *exponent, const float *x, size_t n, const uint8_t *signs);
int pc_rotate_f64(double *out, size_t d, double *squares, int *exponent, const double *x, size_t n, const uint8_t *signs);

/* The sum of squares of 2^exponent x, likewise. */
int pc_squares_f32(double *squares, int *exponent, const float *x, size_t n);
int pc_squares_f64(double *squares, int *exponent, const double *x, size_t n);

#endif
