/* Inverses modulo p = 2^255 - 19 in variable time, which is a quarter of what the power in fe25519.h takes.
 * Division steps: for odd f, any g and an integer delta,
 *   (delta, f, g) -> (1 - delta, g, (g - f) / 2) if delta > 0 and g is odd, else (1 + delta, f, (g + (g mod 2) f) / 2)
 * which keep gcd(f, g) and bring g to 0, and f then to +-1 from f = p, in at most 738 steps, less than 12 times 62; check: (49 * 255 + 57) // 17 == 738
 * What 62 of them do depends on 62 low bits and is a matrix of integers up to 2^62 in
 * size, over 2^62; it is applied to f and g as a whole, and modulo p to d and e, which start from 0 and 1: f = d a and g = e a at any time.
 * Runs of steps with even g are one shift, and several bits of g are made 0 with one multiple of f while delta <= 0.
 * Source: Bernstein, Yang, "Fast constant-time gcd computation and modular inversion", CHES 2019 (Theorem 11.2 for the number of steps). */
#ifndef PC_FE25519_INVERSE_H
#define PC_FE25519_INVERSE_H

#include "fe25519.h"

__extension__ typedef __int128 fe_i128;

/* sum of v[i] 2^(62 i): all but the highest in [0, 2^62), the highest signed. */
typedef struct {
    int64_t v[5];
} fe_signed;

typedef struct {
    int64_t u, v, q, r;
} fe_steps;

#define FE_MASK62 0x3fffffffffffffff /* check: 2**62 - 1 */
#define FE_INVERSE_19_62 UINT64_C(0x6bca1af286bca1b) /* of 19 = -p modulo 2^62; check: pow(19, -1, 2**62) */

/* 62 steps from the low words of f and g; (u f + v g, q f + r g) / 2^62 are f and g after them. Returns delta. */
static inline int64_t fe_divide_62_var(fe_steps *t, int64_t delta, uint64_t f, uint64_t g)
{
    uint64_t u = 1, v = 0, q = 0, r = 1; /* modulo 2^64 */
    unsigned left = 62;
    for (;;) {
        const unsigned even = (unsigned)__builtin_ctzll(g | (uint64_t)1 << left);
        g >>= even, u <<= even, v <<= even;
        delta += even, left -= even;
        if (left == 0) break;
        if (delta > 0) {
            const uint64_t f0 = f, u0 = u, v0 = v;
            delta = -delta;
            f = g, u = q, v = r;
            g = 0 - f0, q = 0 - u0, r = 0 - v0;
        }
        /* Until delta is positive again, 1 - delta bits of g can go. 1 / f = f (2 - f^2) modulo 2^6, as f^2 = 1 modulo 8. */
        const uint64_t bits = delta <= -5 ? 6 : (uint64_t)(1 - delta), most = bits < left ? bits : left;
        const uint64_t w = (f * g * (f * f - 2)) & (((uint64_t)1 << most) - 1);
        g += f * w, q += u * w, r += v * w;
    }
    t->u = (int64_t)u, t->v = (int64_t)v, t->q = (int64_t)q, t->r = (int64_t)r;
    return delta;
}

/* (a f + b g) / 2^62, which is whole. */
static inline fe_signed fe_combine_62(int64_t a, const fe_signed *f, int64_t b, const fe_signed *g)
{
    fe_signed out;
    fe_i128 sum = ((fe_i128)a * f->v[0] + (fe_i128)b * g->v[0]) >> 62;
    for (int i = 1; i < 5; i++) {
        sum += (fe_i128)a * f->v[i] + (fe_i128)b * g->v[i];
        out.v[i - 1] = (int64_t)sum & FE_MASK62;
        sum >>= 62;
    }
    out.v[4] = (int64_t)sum;
    return out;
}

/* The same modulo p, for d and e in (-2p, p), where the result is: negative ones have p added, a d + b e is in (-2^62 p, 2^62 p) then, and what is added to
 * make it divisible is m p for some m in (-2^62, 0]. p = -19 + 128 2^248. */
static inline fe_signed fe_combine_mod(int64_t a, const fe_signed *d, int64_t b, const fe_signed *e)
{
    fe_signed out;
    int64_t m = (a & d->v[4] >> 63) + (b & e->v[4] >> 63);
    const uint64_t low = (uint64_t)a * (uint64_t)d->v[0] + (uint64_t)b * (uint64_t)e->v[0];
    m -= (int64_t)(((uint64_t)m - FE_INVERSE_19_62 * low) & FE_MASK62);
    fe_i128 sum = ((fe_i128)a * d->v[0] + (fe_i128)b * e->v[0] - (fe_i128)19 * m) >> 62;
    for (int i = 1; i < 5; i++) {
        sum += (fe_i128)a * d->v[i] + (fe_i128)b * e->v[i];
        if (i == 4) sum += (fe_i128)128 * m;
        out.v[i - 1] = (int64_t)sum & FE_MASK62;
        sum >>= 62;
    }
    out.v[4] = (int64_t)sum;
    return out;
}

/* 1 / a, and 0 for 0. */
static inline fe fe_inv_var(fe a)
{
    uint8_t bytes[32];
    uint64_t w[4];
    fe_to_bytes(bytes, a);
    wide_load(w, bytes);
    fe_signed f = {{FE_MASK62 - 18, FE_MASK62, FE_MASK62, FE_MASK62, 127}}; /* p; check: 2**62 - 1 - 18 == 2**62 - 19 and 127 * 2**248 + 2**248 == 2**255 */
    fe_signed g = {{(int64_t)(w[0] & FE_MASK62), (int64_t)((w[0] >> 62 | w[1] << 2) & FE_MASK62), (int64_t)((w[1] >> 60 | w[2] << 4) & FE_MASK62),
                    (int64_t)((w[2] >> 58 | w[3] << 6) & FE_MASK62), (int64_t)(w[3] >> 56)}};
    fe_signed d = {{0}}, e = {{1}};
    int64_t delta = 1;
    while (g.v[0] | g.v[1] | g.v[2] | g.v[3] | g.v[4]) {
        fe_steps t;
        delta = fe_divide_62_var(&t, delta, (uint64_t)f.v[0] | (uint64_t)f.v[1] << 62, (uint64_t)g.v[0] | (uint64_t)g.v[1] << 62);
        const fe_signed f0 = f, d0 = d;
        f = fe_combine_62(t.u, &f0, t.v, &g), g = fe_combine_62(t.q, &f0, t.r, &g);
        d = fe_combine_mod(t.u, &d0, t.v, &e), e = fe_combine_mod(t.q, &d0, t.r, &e);
    }
    /* 1 / a = f d for f = +-1. With 2p added d is in (0, 3p), so that the highest limb of 51 bits is below 2^53. */
    const int negative = f.v[4] < 0;
    fe_i128 carry = -38;
    uint64_t limb[5];
    for (int i = 0; i < 5; i++) {
        carry += d.v[i] + (i == 4 ? 256 : 0); /* check: 256 * 2**248 - 38 == 2 * (2**255 - 19) */
        limb[i] = (uint64_t)carry & FE_MASK62;
        carry >>= 62;
    }
    fe out;
    out.v[0] = limb[0] & FE_MASK;
    out.v[1] = (limb[0] >> 51 | limb[1] << 11) & FE_MASK;
    out.v[2] = (limb[1] >> 40 | limb[2] << 22) & FE_MASK;
    out.v[3] = (limb[2] >> 29 | limb[3] << 33) & FE_MASK;
    out.v[4] = limb[3] >> 18 | limb[4] << 44;
    out = fe_carry(out);
    return negative ? fe_neg(out) : out;
}

#endif
