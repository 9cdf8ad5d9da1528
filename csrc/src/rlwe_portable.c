/* The kernels of ring-LWE in plain C: what every other level is compared with. */
#include "rlwe.h"
#include "rlwe_gauss.h"

/* ---- transforms ----
 * Cooley-Tukey and Gentleman-Sande butterflies with the powers of psi merged into the factors (Longa, Naehrig, "Speeding up the number theoretic
 * transform for faster ideal lattice-based cryptography", 2016), in standard order on the side of coefficients and bit-reversed on the other.
 * Products are lazy, in [0, 2q), and 64 bits have room for all that is added up: q < 2^50, at most 14 levels.
 */

/* x, y -> x + w y, x - w y: a level adds at most 2q, so that all stay below (1 + 2 14) q < 2^55. */
static void forward(uint64_t *a, const rlwe_tables *t, size_t prime)
{
    const size_t n = t->degree;
    const uint64_t q = t->prime[prime].q, *const w = rlwe_powers(t, prime, 0), *const quotient = w + RLWE_QUOTIENT * n;
    for (size_t blocks = 1, half = n / 2; blocks < n; blocks *= 2, half /= 2)
        for (size_t i = 0; i < blocks; i++) {
            const uint64_t f = w[blocks + i], g = quotient[blocks + i];
            uint64_t *const x = a + 2 * half * i, *const y = x + half;
            for (size_t j = 0; j < half; j++) {
                const uint64_t u = x[j], v = rlwe_lazy(y[j], f, g, q);
                x[j] = u + v;
                y[j] = u + 2 * q - v;
            }
        }
    /* 1 2^64 / q: the product with 1 reduces. */
    const uint64_t one = UINT64_MAX / q;
    for (size_t j = 0; j < n; j++) {
        VERIFY(a[j] < 29 * q);
        a[j] = rlwe_once(rlwe_lazy(a[j], 1, one, q), q);
    }
}

/* x, y -> x + y, w (x - y): a sum doubles the bound 2^s q to 2^(s+1) q, a product has 2q. Before level 12 everything is reduced to 2q, so that
 * nothing passes 2^12 q < 2^62. */
static void inverse(uint64_t *a, const rlwe_tables *t, size_t prime)
{
    enum { REDUCED = 12 };
    const size_t n = t->degree;
    const uint64_t q = t->prime[prime].q, *const w = rlwe_powers(t, prime, 1), *const quotient = w + RLWE_QUOTIENT * n, one = UINT64_MAX / q;
    uint64_t bound = 2 * q; /* of everything */
    unsigned level = 0;
    for (size_t blocks = n / 2, half = 1; blocks > 0; blocks /= 2, half *= 2, level++) {
        if (level == REDUCED) {
            for (size_t j = 0; j < n; j++) a[j] = rlwe_lazy(a[j], 1, one, q);
            bound = 2 * q;
        }
        for (size_t i = 0; i < blocks; i++) {
            const uint64_t f = w[blocks + i], g = quotient[blocks + i];
            uint64_t *const x = a + 2 * half * i, *const y = x + half;
            for (size_t j = 0; j < half; j++) {
                const uint64_t u = x[j], v = y[j];
                VERIFY(u <= bound && v <= bound);
                x[j] = u + v;
                y[j] = rlwe_lazy(u + bound - v, f, g, q);
            }
        }
        bound *= 2;
    }
    for (size_t j = 0; j < n; j++) a[j] = rlwe_once(rlwe_lazy(a[j], 1, one, q), q);
}

static void product(uint64_t *a, const uint64_t *key, const rlwe_tables *t, size_t prime)
{
    const size_t n = t->degree;
    const uint64_t q = t->prime[prime].q, *const quotient = key + RLWE_QUOTIENT * n;
    for (size_t j = 0; j < n; j++) a[j] = rlwe_lazy(a[j], key[j], quotient[j], q);
    inverse(a, t, prime);
}

/* ---- the rest ---- */

static void take(uint64_t *a, size_t n, const rlwe_prime *p)
{
    const uint64_t low = UINT64_MAX >> (64 - p->bits);
    for (size_t i = 0; i < n; i++) a[i] = rlwe_once(a[i] & low, p->q);
}

static void scale(uint64_t *a, size_t n, const rlwe_prime *p)
{
    for (size_t i = 0; i < n; i++) a[i] = rlwe_once(rlwe_lazy(a[i], p->scale.w, p->scale.quotient, p->q), p->q);
}

static int mask(uint64_t *a, size_t n, uint64_t q, unsigned bits)
{
    const uint64_t low = UINT64_MAX >> (64 - bits);
    uint64_t above = 0;
    for (size_t i = 0; i < n; i++) {
        a[i] = PC_LE64(a[i]) & low;
        above |= q - 1 - a[i];
    }
    return above >> 63 == 0;
}

PC_INLINE uint64_t value_of(const void *values, size_t at, const enum rlwe_type type)
{
    if (type == RLWE_U32) return ((const uint32_t *)values)[at];
    if (type == RLWE_I32) return (uint64_t)(int64_t)((const int32_t *)values)[at];
    return ((const uint64_t *)values)[at];
}

/* k and group are t's, and constants where that helps. */
PC_INLINE int spread_as(uint64_t *parts, const void *values, const enum rlwe_type type, size_t n, uint64_t offset, uint64_t limit, const rlwe_tables *t,
                        const size_t k, const size_t group)
{
    uint64_t above = 0;
    for (size_t i = 0, first = 0; first < n; i++, first += k) {
        const size_t here = k < n - first ? k : n - first;
        for (size_t l = 0; l * group < k; l++) {
            const size_t low = l * group, high = low + group < k ? low + group : k;
            uint64_t m = 0;
            for (size_t g = high < here ? high : here; g-- > low;) {
                const uint64_t v = value_of(values, first + g, type) + offset;
                above |= (limit - v) | v; /* the highest bit: v > limit, or v >= 2^63 */
                m = m * t->radix + v;
            }
            parts[l * t->degree + i] = m;
        }
    }
    return above >> 63 == 0;
}

PC_INLINE int spread_type(uint64_t *parts, const void *values, const enum rlwe_type type, size_t n, uint64_t offset, uint64_t limit, const rlwe_tables *t)
{
    if (t->digits == 4 && t->group == 2) return spread_as(parts, values, type, n, offset, limit, t, 4, 2);
    return spread_as(parts, values, type, n, offset, limit, t, t->digits, t->group);
}

static int spread(uint64_t *parts, const void *values, enum rlwe_type type, size_t n, uint64_t offset, uint64_t limit, const rlwe_tables *t)
{
    if (type == RLWE_U32) return spread_type(parts, values, RLWE_U32, n, offset, limit, t);
    if (type == RLWE_I32) return spread_type(parts, values, RLWE_I32, n, offset, limit, t);
    return spread_type(parts, values, RLWE_64, n, offset, limit, t);
}

/* A sum of RLWE_DIGITS products below 2q, x < q, and q + e > 0: below 2^58. */
static void message(uint64_t *x, size_t n, const int8_t *e, const uint64_t *parts, size_t stride, const rlwe_tables *t, size_t prime)
{
    const rlwe_prime *const p = &t->prime[prime];
    const uint64_t q = p->q, one = UINT64_MAX / q;
    for (size_t i = 0; i < n; i++) {
        uint64_t sum = x[i] + (q + (uint64_t)(int64_t)e[i]);
        for (size_t l = 0; l < t->parts; l++) sum += rlwe_lazy(parts[l * stride + i], p->part[l].w, p->part[l].quotient, q);
        VERIFY(sum < (uint64_t)1 << 58);
        x[i] = rlwe_once(rlwe_lazy(sum, 1, one, q), q);
    }
}

static void cipher(uint64_t *x, const uint64_t *key, const int8_t *e, const uint64_t *parts, const rlwe_tables *t, size_t prime)
{
    product(x, key, t, prime);
    message(x, t->degree, e, parts, t->degree, t, prime);
}

static void gaussian(int8_t *out, const uint8_t *blocks, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t high = load64_le(blocks + 16 * i + 8), low = load64_le(blocks + 16 * i);
        const u128 v = (((u128)high << 64) | low) >> 1;
        uint64_t magnitude = 0;
        for (int k = 0; k < RLWE_TAILS; k++) magnitude += (uint64_t)((v - (((u128)rlwe_tail[k][0] << 64) | rlwe_tail[k][1])) >> 127);
        const uint64_t sign = mask64(low & 1);
        out[i] = (int8_t)((magnitude ^ sign) - sign);
    }
}

static int check(const uint8_t *data, size_t length, uint64_t bit, size_t n, const rlwe_prime *p)
{
    const uint64_t low = UINT64_MAX >> (64 - p->bits);
    uint64_t above = 0;
    for (size_t i = 0; i < n; i++, bit += p->bits) above |= p->q - 1 - ((rlwe_window(data, length, (size_t)(bit >> 3)) >> (bit & 7)) & low);
    return above >> 63 == 0;
}

static void add(uint64_t *total, const uint8_t *data, size_t length, uint64_t bit, size_t n, const rlwe_prime *p)
{
    const uint64_t low = UINT64_MAX >> (64 - p->bits);
    for (size_t i = 0; i < n; i++, bit += p->bits)
        total[i] = rlwe_once(total[i] + ((rlwe_window(data, length, (size_t)(bit >> 3)) >> (bit & 7)) & low), p->q);
}

/* Bits that wait, at most 7, and a residue of at most 50 fit a word; only whole bytes are written. */
static uint64_t pack(uint8_t *out, uint64_t bit, uint64_t *carry, const uint64_t *x, size_t n, unsigned bits)
{
    uint64_t window = *carry;
    uint8_t *to = out + (bit >> 3);
    unsigned fill = bit & 7;
    for (size_t i = 0; i < n; i++) {
        window |= x[i] << fill;
        fill += bits;
        for (; fill >= 8; fill -= 8, window >>= 8) *to++ = (uint8_t)window;
    }
    *carry = window;
    return bit + (uint64_t)n * bits;
}

const struct rlwe pc_rlwe_portable = {
    .forward = forward, .inverse = inverse, .product = product, .mask = mask, .spread = spread, .take = take, .scale = scale, .message = message, .cipher = cipher, .gaussian = gaussian,
    .check = check, .add = add, .pack = pack,
};
