/* The kernels of ring-LWE with AVX-512 IFMA, eight residues at a time. Products are Shoup's with 52 bits: for x < 2^52, w < q and
 * quotient = floor(w 2^52 / q) they are x w - floor(x quotient / 2^52) q, in [0, 2q), and so are known from their low 52 bits: q < 2^50.
 * Source: Harvey, "Faster arithmetic for number-theoretic transforms" (2014); for the instruction: Boemer et al., "Intel HEXL" (2021). */
#include "rlwe.h"

#if PC_X86
#include "ifma.h"

#ifndef RLWE_IFMA
#define RLWE_IFMA pc_rlwe_ifma
#endif
#define LEAST8 64 /* coefficients: shorter transforms are those of plain C */
#define LOW_52 UINT64_C(0xfffffffffffff) /* check: 2**52 - 1 */

typedef struct {
    __m512i q, twice;
} prime8;

IFMA PC_INLINE __m512i min8(__m512i a, __m512i b) { return _mm512_min_epu64(a, b); }

/* x - m, or x if that is below m: m <= 2^63, and what is negative is a large number. */
IFMA PC_INLINE __m512i once8(__m512i x, __m512i m) { return min8(x, sub8(x, m)); }

IFMA PC_INLINE __m512i shoup8(__m512i x, __m512i w, __m512i quotient, const prime8 *p)
{
    const __m512i zero = _mm512_setzero_si512(), t = _mm512_madd52hi_epu64(zero, x, quotient);
    return and8(sub8(_mm512_madd52lo_epu64(zero, x, w), _mm512_madd52lo_epu64(zero, t, p->q)), all8(LOW_52));
}

/* x, y -> x + y, w (x - y), all in [0, 2q): x - y + 2q < 4q < 2^52. */
#define SANDE8(x, y, w, quotient) \
    do { \
        const __m512i difference_ = add8(sub8(x, y), p.twice); \
        x = once8(add8(x, y), p.twice); \
        y = shoup8(difference_, w, quotient, &p); \
    } while (0)

/* x, y -> x + w y, x - w y, from [0, 4q) to [0, 4q). */
#define COOLEY8(x, y, w, quotient) \
    do { \
        const __m512i product_ = shoup8(y, w, quotient, &p), less_ = once8(x, p.twice); \
        x = add8(less_, product_); \
        y = add8(sub8(less_, product_), p.twice); \
    } while (0)

/* 8 by 8 words: pairs, then pairs of pairs, then halves. */
IFMA PC_INLINE void transpose8(__m512i x[8])
{
    __m512i y[8], z[8];
    PC_UNROLL
    for (int i = 0; i < 4; i++) y[2 * i] = _mm512_unpacklo_epi64(x[2 * i], x[2 * i + 1]), y[2 * i + 1] = _mm512_unpackhi_epi64(x[2 * i], x[2 * i + 1]);
    /* y[2i + b] has column b + 2c of rows 2i, 2i + 1 in its 128-bit piece c */
    PC_UNROLL
    for (int b = 0; b < 2; b++) {
        PC_UNROLL
        for (int h = 0; h < 2; h++) { /* rows 4h .. 4h + 3: pieces 0, 2 and 1, 3 of both */
            z[4 * h + b] = _mm512_shuffle_i64x2(y[4 * h + b], y[4 * h + 2 + b], 0x88);     /* check: 0x88 == 0 + 2 * 4 + 0 * 16 + 2 * 64 */
            z[4 * h + 2 + b] = _mm512_shuffle_i64x2(y[4 * h + b], y[4 * h + 2 + b], 0xdd); /* check: 0xdd == 1 + 3 * 4 + 1 * 16 + 3 * 64 */
        }
    }
    /* z[4h + b] has columns b, b + 4 of rows 4h, 4h + 1 and then of 4h + 2, 4h + 3; z[4h + 2 + b] columns b + 2, b + 6 */
    PC_UNROLL
    for (int b = 0; b < 4; b++) {
        x[b] = _mm512_shuffle_i64x2(z[b], z[4 + b], 0x88);
        x[4 + b] = _mm512_shuffle_i64x2(z[b], z[4 + b], 0xdd);
    }
}

/* Canonical, from [0, 4q) or [0, 2q). */
IFMA PC_INLINE __m512i canonical8(__m512i x, const prime8 *p) { return once8(once8(x, p->twice), p->q); }

/* Distances 8 and more: two levels at once. */
IFMA PC_INLINE void inverse_four8(uint64_t *a, const uint64_t *w, const uint64_t *v, size_t n, size_t h, const int last, const prime8 field)
{
    const prime8 p = field;
    for (size_t i = 0; i < n / (4 * h); i++, a += 4 * h) {
        const size_t at = n / (2 * h) + 2 * i, up = n / (4 * h) + i;
        const __m512i wa = all8(w[at]), wb = all8(w[at + 1]), wc = all8(w[up]), va = all8(v[at]), vb = all8(v[at + 1]), vc = all8(v[up]);
        for (size_t j = 0; j < h; j += LANES) {
            __m512i x0 = load8(a + j), x1 = load8(a + j + h), x2 = load8(a + j + 2 * h), x3 = load8(a + j + 3 * h);
            SANDE8(x0, x1, wa, va);
            SANDE8(x2, x3, wb, vb);
            SANDE8(x0, x2, wc, vc);
            SANDE8(x1, x3, wc, vc);
            store8(a + j, last ? canonical8(x0, &p) : x0);
            store8(a + j + h, last ? canonical8(x1, &p) : x1);
            store8(a + j + 2 * h, last ? canonical8(x2, &p) : x2);
            store8(a + j + 3 * h, last ? canonical8(x3, &p) : x3);
        }
    }
}

IFMA PC_INLINE void inverse_two8(uint64_t *a, const uint64_t *w, const uint64_t *v, size_t n, size_t h, const prime8 field)
{
    const prime8 p = field;
    for (size_t i = 0; i < n / (2 * h); i++, a += 2 * h) {
        const __m512i wa = all8(w[n / (2 * h) + i]), va = all8(v[n / (2 * h) + i]);
        for (size_t j = 0; j < h; j += LANES) {
            __m512i x = load8(a + j), y = load8(a + j + h);
            SANDE8(x, y, wa, va);
            store8(a + j, x);
            store8(a + j + h, y);
        }
    }
}

/* Within blocks of 64 words: distances 1, 2, 4 transposed, then 8, 16, 32. */
IFMA PC_INLINE void inverse_narrow8(uint64_t *a, const uint64_t *key, const uint64_t *w, const uint64_t *v, size_t n, const int last, const prime8 field)
{
    const prime8 p = field;
    for (size_t i = 0; i < n / 64; i++, a += 64) {
        __m512i x[8];
        PC_UNROLL
        for (int k = 0; k < 8; k++) {
            x[k] = load8(a + 8 * k);
            if (key) x[k] = shoup8(x[k], load8(key + 64 * i + 8 * k), _mm512_srli_epi64(load8(key + RLWE_QUOTIENT * n + 64 * i + 8 * k), 12), &p);
        }
        transpose8(x);
        PC_UNROLL
        for (int m = 0; m < 4; m++) SANDE8(x[2 * m], x[2 * m + 1], load8(w + n / 2 + 32 * i + 8 * m), load8(v + n / 2 + 32 * i + 8 * m));
        PC_UNROLL
        for (int m = 0; m < 4; m++) {
            const int k = m / 2 * 4 + m % 2;
            SANDE8(x[k], x[k + 2], load8(w + n / 4 + 16 * i + m / 2 * 8), load8(v + n / 4 + 16 * i + m / 2 * 8));
        }
        PC_UNROLL
        for (int k = 0; k < 4; k++) SANDE8(x[k], x[k + 4], load8(w + n / 8 + 8 * i), load8(v + n / 8 + 8 * i));
        transpose8(x);
        PC_UNROLL
        for (int m = 0; m < 4; m++) SANDE8(x[2 * m], x[2 * m + 1], all8(w[n / 16 + 4 * i + (size_t)m]), all8(v[n / 16 + 4 * i + (size_t)m]));
        PC_UNROLL
        for (int m = 0; m < 4; m++) {
            const int k = m / 2 * 4 + m % 2;
            SANDE8(x[k], x[k + 2], all8(w[n / 32 + 2 * i + (size_t)m / 2]), all8(v[n / 32 + 2 * i + (size_t)m / 2]));
        }
        PC_UNROLL
        for (int k = 0; k < 4; k++) SANDE8(x[k], x[k + 4], all8(w[n / 64 + i]), all8(v[n / 64 + i]));
        PC_UNROLL
        for (int k = 0; k < 8; k++) store8(a + 8 * k, last ? canonical8(x[k], &p) : x[k]);
    }
}

IFMA static void inverse_passes8(uint64_t *a, const uint64_t *key, const rlwe_tables *t, size_t prime)
{
    const size_t n = t->degree;
    const uint64_t *const w = rlwe_powers(t, prime, 1) + RLWE_WORD8 * n, *const v = w + n;
    const prime8 p = {all8(t->prime[prime].q), all8(2 * t->prime[prime].q)};
    size_t h = 64;
    if (n == h) {
        inverse_narrow8(a, key, w, v, n, 1, p);
        return;
    }
    inverse_narrow8(a, key, w, v, n, 0, p);
    if (t->log_degree % 2) {
        inverse_two8(a, w, v, n, h, p);
        h *= 2;
    }
    for (; 4 * h < n; h *= 4) inverse_four8(a, w, v, n, h, 0, p);
    if (4 * h == n)
        inverse_four8(a, w, v, n, h, 1, p);
    else
        for (size_t j = 0; j < n; j += LANES) store8(a + j, canonical8(load8(a + j), &p)); /* n = 128 */
}

IFMA static void inverse8(uint64_t *a, const rlwe_tables *t, size_t prime)
{
    if (t->degree < LEAST8)
        pc_rlwe_portable.inverse(a, t, prime);
    else
        inverse_passes8(a, NULL, t, prime);
}

IFMA static void product8(uint64_t *a, const uint64_t *key, const rlwe_tables *t, size_t prime)
{
    if (t->degree < LEAST8)
        pc_rlwe_portable.product(a, key, t, prime);
    else
        inverse_passes8(a, key, t, prime);
}

IFMA PC_INLINE void forward_four8(uint64_t *a, const uint64_t *w, const uint64_t *v, size_t n, size_t h, const prime8 field)
{
    const prime8 p = field;
    for (size_t i = 0; i < n / (4 * h); i++, a += 4 * h) {
        const size_t at = n / (2 * h) + 2 * i, up = n / (4 * h) + i;
        const __m512i wa = all8(w[at]), wb = all8(w[at + 1]), wc = all8(w[up]), va = all8(v[at]), vb = all8(v[at + 1]), vc = all8(v[up]);
        for (size_t j = 0; j < h; j += LANES) {
            __m512i x0 = load8(a + j), x1 = load8(a + j + h), x2 = load8(a + j + 2 * h), x3 = load8(a + j + 3 * h);
            COOLEY8(x0, x2, wc, vc);
            COOLEY8(x1, x3, wc, vc);
            COOLEY8(x0, x1, wa, va);
            COOLEY8(x2, x3, wb, vb);
            store8(a + j, x0);
            store8(a + j + h, x1);
            store8(a + j + 2 * h, x2);
            store8(a + j + 3 * h, x3);
        }
    }
}

IFMA static void forward8(uint64_t *a, const rlwe_tables *t, size_t prime)
{
    const size_t n = t->degree;
    if (n < LEAST8) {
        pc_rlwe_portable.forward(a, t, prime);
        return;
    }
    const uint64_t *const w = rlwe_powers(t, prime, 0) + RLWE_WORD8 * n, *const v = w + n;
    const prime8 p = {all8(t->prime[prime].q), all8(2 * t->prime[prime].q)};
    size_t h = n / 4;
    if (t->log_degree % 2) {
        const __m512i wa = all8(w[1]), va = all8(v[1]);
        for (size_t j = 0; j < n / 2; j += LANES) {
            __m512i x = load8(a + j), y = load8(a + j + n / 2);
            COOLEY8(x, y, wa, va);
            store8(a + j, x);
            store8(a + j + n / 2, y);
        }
        h /= 2;
    }
    for (; h >= 64; h /= 4) forward_four8(a, w, v, n, h, p);
    for (size_t i = 0; i < n / 64; i++, a += 64) {
        __m512i x[8];
        PC_UNROLL
        for (int k = 0; k < 8; k++) x[k] = load8(a + 8 * k);
        PC_UNROLL
        for (int k = 0; k < 4; k++) COOLEY8(x[k], x[k + 4], all8(w[n / 64 + i]), all8(v[n / 64 + i]));
        PC_UNROLL
        for (int m = 0; m < 4; m++) {
            const int k = m / 2 * 4 + m % 2;
            COOLEY8(x[k], x[k + 2], all8(w[n / 32 + 2 * i + (size_t)m / 2]), all8(v[n / 32 + 2 * i + (size_t)m / 2]));
        }
        PC_UNROLL
        for (int m = 0; m < 4; m++) COOLEY8(x[2 * m], x[2 * m + 1], all8(w[n / 16 + 4 * i + (size_t)m]), all8(v[n / 16 + 4 * i + (size_t)m]));
        transpose8(x);
        PC_UNROLL
        for (int k = 0; k < 4; k++) COOLEY8(x[k], x[k + 4], load8(w + n / 8 + 8 * i), load8(v + n / 8 + 8 * i));
        PC_UNROLL
        for (int m = 0; m < 4; m++) {
            const int k = m / 2 * 4 + m % 2;
            COOLEY8(x[k], x[k + 2], load8(w + n / 4 + 16 * i + m / 2 * 8), load8(v + n / 4 + 16 * i + m / 2 * 8));
        }
        PC_UNROLL
        for (int m = 0; m < 4; m++) COOLEY8(x[2 * m], x[2 * m + 1], load8(w + n / 2 + 32 * i + 8 * m), load8(v + n / 2 + 32 * i + 8 * m));
        transpose8(x);
        PC_UNROLL
        for (int k = 0; k < 8; k++) store8(a + 8 * k, canonical8(x[k], &p));
    }
}

/* The products are kept below 2q, to which x + q + e < 3q is added. */
IFMA static void message8(uint64_t *x, size_t n, const int8_t *e, const uint64_t *parts, size_t stride, const rlwe_tables *t, size_t prime)
{
    if (t->degree < LANES) { /* less than a vector */
        pc_rlwe_portable.message(x, n, e, parts, stride, t, prime);
        return;
    }
    const rlwe_prime *const pr = &t->prime[prime];
    const prime8 p = {all8(pr->q), all8(2 * pr->q)};
    for (size_t i = 0; i < n; i += LANES) {
        __m512i sum = shoup8(load8(parts + i), all8(pr->part[0].w), all8(pr->part[0].quotient >> 12), &p);
        for (size_t l = 1; l < t->parts; l++)
            sum = once8(add8(sum, shoup8(load8(parts + l * stride + i), all8(pr->part[l].w), all8(pr->part[l].quotient >> 12), &p)), p.twice);
        const __m512i noise = _mm512_cvtepi8_epi64(_mm_loadl_epi64((const void *)(e + i)));
        sum = add8(add8(sum, load8(x + i)), add8(noise, p.q)); /* < 5q */
        store8(x + i, canonical8(once8(sum, add8(p.twice, p.twice)), &p));
    }
}

IFMA static void cipher8(uint64_t *x, const uint64_t *key, const int8_t *e, const uint64_t *parts, const rlwe_tables *t, size_t prime)
{
    product8(x, key, t, prime);
    message8(x, t->degree, e, parts, t->degree, t, prime);
}

const struct rlwe RLWE_IFMA = {
    .forward = forward8, .inverse = inverse8, .product = product8, .message = message8, .cipher = cipher8, .mask = pc_rlwe_mask_fma, .spread = pc_rlwe_spread_fma,
    .take = pc_rlwe_take_fma, .scale = pc_rlwe_scale_fma,
    .gaussian = pc_rlwe_gaussian_fma, .check = pc_rlwe_check_fma, .add = pc_rlwe_add_fma, .pack = pc_rlwe_pack_fma,
    .decode_var = pc_rlwe_decode_var_fma,
};

#else
typedef int pc_no_x86; /* ISO C wants one declaration per file */
#endif
