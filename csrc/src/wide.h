/* Numbers of four 64-bit words, lowest first, and Montgomery arithmetic modulo a prime of at most 254 bits.
 * Constant time in every value. Source: Montgomery, Math. Comp. 44 (1985); the loop is CIOS (Koc, Acar, Kaliski, IEEE Micro 16, 1996). */
#ifndef PC_WIDE_H
#define PC_WIDE_H

#include "core.h"

/* MSan takes every operand of these instructions for a use; the tests' emulation defines names that their header declares. */
#if PC_X86 && !defined(PC_MSAN) && !defined(PRIVCOMP_EMULATE_AVX512)
#define WIDE_CARRY_FLAG 1
#ifndef __clang__
#define WIDE_COLUMNS 1
#endif
#include <immintrin.h> /* carries stay in the flag: gcc does not see that by itself */
#endif

PC_INLINE void wide_load(uint64_t w[4], const uint8_t *p)
{
    for (int i = 0; i < 4; i++) w[i] = load64_le(p + 8 * i);
}

PC_INLINE void wide_store(uint8_t *p, const uint64_t w[4])
{
    for (int i = 0; i < 4; i++) store64_le(p + 8 * i, w[i]);
}

/* out = a - b modulo 2^256; returns the borrow. */
PC_INLINE uint64_t wide_subtract(uint64_t out[4], const uint64_t a[4], const uint64_t b[4])
{
#ifdef WIDE_CARRY_FLAG
    unsigned long long t0, t1, t2, t3;
    unsigned char borrow = _subborrow_u64(0, a[0], b[0], &t0);
    borrow = _subborrow_u64(borrow, a[1], b[1], &t1);
    borrow = _subborrow_u64(borrow, a[2], b[2], &t2);
    borrow = _subborrow_u64(borrow, a[3], b[3], &t3);
    out[0] = t0, out[1] = t1, out[2] = t2, out[3] = t3;
    return borrow;
#else
    uint64_t borrow = 0;
    for (int i = 0; i < 4; i++) {
        const u128 t = (u128)a[i] - b[i] - borrow;
        out[i] = (uint64_t)t;
        borrow = (uint64_t)(t >> 64) & 1;
    }
    return borrow;
#endif
}

/* out = a + b modulo 2^256; returns the carry. */
PC_INLINE uint64_t wide_sum(uint64_t out[4], const uint64_t a[4], const uint64_t b[4])
{
#ifdef WIDE_CARRY_FLAG
    unsigned long long t0, t1, t2, t3;
    unsigned char carry = _addcarry_u64(0, a[0], b[0], &t0);
    carry = _addcarry_u64(carry, a[1], b[1], &t1);
    carry = _addcarry_u64(carry, a[2], b[2], &t2);
    carry = _addcarry_u64(carry, a[3], b[3], &t3);
    out[0] = t0, out[1] = t1, out[2] = t2, out[3] = t3;
    return carry;
#else
    u128 t = 0;
    for (int i = 0; i < 4; i++) {
        t += (u128)a[i] + b[i];
        out[i] = (uint64_t)t;
        t >>= 64;
    }
    return (uint64_t)t;
#endif
}

/* The low word of a + b + carry; carry, 0 or 1, becomes the high one. */
PC_INLINE uint64_t wide_carry(uint64_t a, uint64_t b, uint64_t *carry)
{
#ifdef WIDE_CARRY_FLAG
    unsigned long long out;
    *carry = _addcarry_u64((unsigned char)*carry, a, b, &out);
    return out;
#else
    const u128 t = (u128)a + b + *carry;
    *carry = (uint64_t)(t >> 64);
    return (uint64_t)t;
#endif
}

/* A column of a product: c2 2^128 + c1 2^64 + c0 += a b. As a carry chain of three words it is what compilers do not find by themselves:
 * gcc makes a Montgomery product a quarter faster of it, a sum of two of them nearly twice as fast. */
#ifdef WIDE_COLUMNS
#define WIDE_MULTIPLY_ADD(a, b) \
    do { \
        uint64_t low_ = (a), high_; \
        __asm__("mulq %5\n\taddq %%rax, %0\n\tadcq %%rdx, %1\n\tadcq $0, %2" \
                : "+r"(c0), "+r"(c1), "+r"(c2), "+a"(low_), "=&d"(high_) \
                : "rm"((uint64_t)(b)) \
                : "cc"); \
    } while (0)
#define WIDE_ADD(low, high) \
    __asm__("addq %3, %0\n\tadcq %4, %1\n\tadcq $0, %2" : "+&r"(c0), "+&r"(c1), "+r"(c2) : "rm"((uint64_t)(low)), "rm"((uint64_t)(high)) : "cc")
#define WIDE_NEXT(out) ((out) = c0, c0 = c1, c1 = c2, c2 = 0)

#define WIDE_COLUMN(i, a, b) \
    for (int j_ = (i) > 3 ? (i) - 3 : 0; j_ <= (i) && j_ < 4; j_++) WIDE_MULTIPLY_ADD(a[j_], b[(i) - j_])

PC_INLINE void wide_product(uint64_t t[8], const uint64_t a[4], const uint64_t b[4])
{
    uint64_t c0 = 0, c1 = 0, c2 = 0;
    PC_UNROLL
    for (int i = 0; i < 7; i++) {
        PC_UNROLL
        WIDE_COLUMN(i, a, b);
        WIDE_NEXT(t[i]);
    }
    t[7] = c0;
}

/* t = a b + c d; both below 2^508 */
PC_INLINE void wide_product2(uint64_t t[8], const uint64_t a[4], const uint64_t b[4], const uint64_t c[4], const uint64_t d[4])
{
    uint64_t c0 = 0, c1 = 0, c2 = 0;
    PC_UNROLL
    for (int i = 0; i < 7; i++) {
        PC_UNROLL
        WIDE_COLUMN(i, a, b);
        PC_UNROLL
        WIDE_COLUMN(i, c, d);
        WIDE_NEXT(t[i]);
    }
    t[7] = c0;
}
#endif

/* All ones where x = 0. */
PC_INLINE uint64_t wide_zero_mask(const uint64_t x[4])
{
    const uint64_t any = x[0] | x[1] | x[2] | x[3];
    return mask64(1 ^ ((any | (0 - any)) >> 63));
}

/* A prime m < 2^254, odd, with r2 = 2^512 mod m, one = 2^256 mod m and inverse = -1/m mod 2^64. */
typedef struct {
    uint64_t m[4], r2[4], one[4], inverse;
} mont;

/* x 2^256 mod m, with 0 <= value < m: an element in Montgomery form. */
typedef struct {
    uint64_t w[4];
} mt;

static const mt mt_zero = {{0, 0, 0, 0}};

PC_INLINE mt mt_select(mt a, mt b, uint64_t mask)
{
    mt out;
    for (int i = 0; i < 4; i++) out.w[i] = a.w[i] ^ (mask & (a.w[i] ^ b.w[i]));
    return out;
}

PC_INLINE int mt_reduced(mt a, const mont *f)
{
    uint64_t t[4];
    return (int)wide_subtract(t, a.w, f->m);
}

#ifdef WIDE_COLUMNS
/* t 2^-256 modulo m, for t < 2^256 m. A word of m that is 0 or, like the highest of l, a power of two, is known to the compiler where f is a
 * constant: no product then. */
PC_INLINE mt mt_reduce(const uint64_t t[8], const mont *f)
{
    uint64_t q[4], r[4], c0 = 0, c1 = 0, c2 = 0;
    PC_UNROLL
    for (int i = 0; i < 8; i++) {
        WIDE_ADD(t[i], 0);
        PC_UNROLL
        for (int j = i > 3 ? i - 3 : 0; j < 4 && j < i; j++) {
            const uint64_t word = f->m[i - j];
            if (__builtin_constant_p(word) && word == 0) continue;
            if (__builtin_constant_p(word) && word == (uint64_t)1 << 60) {
                WIDE_ADD(q[j] << 60, q[j] >> 4);
            } else {
                WIDE_MULTIPLY_ADD(q[j], word);
            }
        }
        if (i < 4) {
            q[i] = c0 * f->inverse;
            WIDE_MULTIPLY_ADD(q[i], f->m[0]);
            c0 = c1, c1 = c2, c2 = 0;
        } else {
            WIDE_NEXT(r[i - 4]);
        }
    }
    VERIFY(c0 == 0);
    mt out;
    const uint64_t keep = mask64(wide_subtract(out.w, r, f->m));
    for (int i = 0; i < 4; i++) out.w[i] = (r[i] & keep) | (out.w[i] & ~keep);
    return out;
}
#endif

/* a b 2^-256. With a, b < m the running sum stays below 2m < 2^255, so that no carry leaves the four words. */
PC_INLINE mt mt_mul(mt a, mt b, const mont *f)
{
    VERIFY(mt_reduced(a, f) && mt_reduced(b, f));
#ifdef WIDE_COLUMNS
    uint64_t t[8];
    wide_product(t, a.w, b.w);
    return mt_reduce(t, f);
#else
    uint64_t t[4] = {0, 0, 0, 0};
    /* One word of a: t = (t + a[i] b + q m) / 2^64, with q so that the lowest word vanishes. Written out: a loop here costs a third. */
#define MT_STEP(word) \
    do { \
        u128 c = (u128)(word) * b.w[0] + t[0]; \
        const uint64_t q = (uint64_t)c * f->inverse; \
        u128 d = (u128)q * f->m[0] + (uint64_t)c; \
        c = (u128)(word) * b.w[1] + t[1] + (uint64_t)(c >> 64); \
        d = (u128)q * f->m[1] + (uint64_t)c + (uint64_t)(d >> 64); \
        t[0] = (uint64_t)d; \
        c = (u128)(word) * b.w[2] + t[2] + (uint64_t)(c >> 64); \
        d = (u128)q * f->m[2] + (uint64_t)c + (uint64_t)(d >> 64); \
        t[1] = (uint64_t)d; \
        c = (u128)(word) * b.w[3] + t[3] + (uint64_t)(c >> 64); \
        d = (u128)q * f->m[3] + (uint64_t)c + (uint64_t)(d >> 64); \
        t[2] = (uint64_t)d; \
        t[3] = (uint64_t)(c >> 64) + (uint64_t)(d >> 64); \
    } while (0)
    MT_STEP(a.w[0]);
    MT_STEP(a.w[1]);
    MT_STEP(a.w[2]);
    MT_STEP(a.w[3]);
#undef MT_STEP
    mt out;
    const uint64_t keep = mask64(wide_subtract(out.w, t, f->m));
    for (int i = 0; i < 4; i++) out.w[i] = (t[i] & keep) | (out.w[i] & ~keep);
    return out;
#endif
}

/* (a b + c d) 2^-256: one reduction for both. With all below m the running sum stays below 3m < 2^256, the result below 1.5 m. */
PC_INLINE mt mt_mul2(mt a, mt b, mt c, mt d, const mont *f)
{
    VERIFY(mt_reduced(a, f) && mt_reduced(b, f) && mt_reduced(c, f) && mt_reduced(d, f));
#ifdef WIDE_COLUMNS
    uint64_t t[8];
    wide_product2(t, a.w, b.w, c.w, d.w);
    return mt_reduce(t, f);
#else
    uint64_t t[4] = {0, 0, 0, 0};
#define MT_STEP(first, second) \
    do { \
        u128 u = (u128)(first) * b.w[0] + t[0]; \
        u128 v = (u128)(second) * d.w[0] + (uint64_t)u; \
        const uint64_t q = (uint64_t)v * f->inverse; \
        u128 w = (u128)q * f->m[0] + (uint64_t)v; \
        u = (u128)(first) * b.w[1] + t[1] + (uint64_t)(u >> 64); \
        v = (u128)(second) * d.w[1] + (uint64_t)u + (uint64_t)(v >> 64); \
        w = (u128)q * f->m[1] + (uint64_t)v + (uint64_t)(w >> 64); \
        t[0] = (uint64_t)w; \
        u = (u128)(first) * b.w[2] + t[2] + (uint64_t)(u >> 64); \
        v = (u128)(second) * d.w[2] + (uint64_t)u + (uint64_t)(v >> 64); \
        w = (u128)q * f->m[2] + (uint64_t)v + (uint64_t)(w >> 64); \
        t[1] = (uint64_t)w; \
        u = (u128)(first) * b.w[3] + t[3] + (uint64_t)(u >> 64); \
        v = (u128)(second) * d.w[3] + (uint64_t)u + (uint64_t)(v >> 64); \
        w = (u128)q * f->m[3] + (uint64_t)v + (uint64_t)(w >> 64); \
        t[2] = (uint64_t)w; \
        t[3] = (uint64_t)(u >> 64) + (uint64_t)(v >> 64) + (uint64_t)(w >> 64); \
    } while (0)
    MT_STEP(a.w[0], c.w[0]);
    MT_STEP(a.w[1], c.w[1]);
    MT_STEP(a.w[2], c.w[2]);
    MT_STEP(a.w[3], c.w[3]);
#undef MT_STEP
    mt out;
    const uint64_t keep = mask64(wide_subtract(out.w, t, f->m));
    for (int i = 0; i < 4; i++) out.w[i] = (t[i] & keep) | (out.w[i] & ~keep);
    return out;
#endif
}

PC_INLINE mt mt_square(mt a, const mont *f) { return mt_mul(a, a, f); }

PC_INLINE mt mt_add(mt a, mt b, const mont *f)
{
    uint64_t t[4];
    mt out;
    wide_sum(t, a.w, b.w);
    const uint64_t keep = mask64(wide_subtract(out.w, t, f->m));
    for (int i = 0; i < 4; i++) out.w[i] = (t[i] & keep) | (out.w[i] & ~keep);
    return out;
}

PC_INLINE mt mt_sub(mt a, mt b, const mont *f)
{
    mt out;
    uint64_t add[4];
    const uint64_t borrow = mask64(wide_subtract(out.w, a.w, b.w));
    for (int i = 0; i < 4; i++) add[i] = f->m[i] & borrow;
    wide_sum(out.w, out.w, add);
    return out;
}

/* A sum of products, reduced once: of up to 2^32 of two residues (below 2^32 2^508), or of residues and words. */
typedef struct {
    uint64_t w[9];
} mt_sum;

PC_INLINE void mt_sum_add(mt_sum *s, mt a, mt b)
{
    uint64_t t[8];
#ifdef WIDE_COLUMNS
    wide_product(t, a.w, b.w);
#else
    u128 c = 0;
    PC_UNROLL
    for (int j = 0; j < 4; j++) c = (u128)a.w[0] * b.w[j] + (uint64_t)(c >> 64), t[j] = (uint64_t)c;
    t[4] = (uint64_t)(c >> 64);
    PC_UNROLL
    for (int i = 1; i < 4; i++) {
        c = 0;
        PC_UNROLL
        for (int j = 0; j < 4; j++) c = (u128)a.w[i] * b.w[j] + t[i + j] + (uint64_t)(c >> 64), t[i + j] = (uint64_t)c;
        t[i + 4] = (uint64_t)(c >> 64);
    }
#endif
    uint64_t carry = 0;
    PC_UNROLL
    for (int i = 0; i < 8; i++) s->w[i] = wide_carry(s->w[i], t[i], &carry);
    s->w[8] += carry;
}

/* s += a v */
PC_INLINE void mt_sum_add_word(mt_sum *s, mt a, uint64_t v)
{
    uint64_t t[5], carry = 0;
    u128 c = 0;
    PC_UNROLL
    for (int j = 0; j < 4; j++) c = (u128)a.w[j] * v + (uint64_t)(c >> 64), t[j] = (uint64_t)c;
    t[4] = (uint64_t)(c >> 64);
    PC_UNROLL
    for (int i = 0; i < 5; i++) s->w[i] = wide_carry(s->w[i], t[i], &carry);
    s->w[5] += carry;
}

/* s += a v for a number v of two words */
PC_INLINE void mt_sum_add_words(mt_sum *s, mt a, u128 v)
{
    uint64_t t[6], carry = 0;
    u128 c = 0;
    PC_UNROLL
    for (int j = 0; j < 4; j++) c = (u128)a.w[j] * (uint64_t)v + (uint64_t)(c >> 64), t[j] = (uint64_t)c;
    t[4] = (uint64_t)(c >> 64);
    c = 0;
    PC_UNROLL
    for (int j = 0; j < 4; j++) c = (u128)a.w[j] * (uint64_t)(v >> 64) + t[j + 1] + (uint64_t)(c >> 64), t[j + 1] = (uint64_t)c;
    t[5] = (uint64_t)(c >> 64);
    PC_UNROLL
    for (int i = 0; i < 6; i++) s->w[i] = wide_carry(s->w[i], t[i], &carry);
    s->w[6] += carry;
}

/* t[4..9] = s 2^-256 modulo m: four steps s += q m 2^(64 i) make the lower half 0, with a sum of q m below 2^256 m. */
PC_INLINE void mt_sum_shift(uint64_t t[10], const mt_sum *s, const mont *f)
{
    for (int i = 0; i < 9; i++) t[i] = s->w[i];
    t[9] = 0;
    PC_UNROLL
    for (int i = 0; i < 4; i++) {
        const uint64_t q = t[i] * f->inverse;
        uint64_t carry = 0;
        u128 c = 0;
        PC_UNROLL
        for (int j = 0; j < 4; j++) c = (u128)q * f->m[j] + t[i + j] + (uint64_t)(c >> 64), t[i + j] = (uint64_t)c;
        t[i + 4] = wide_carry(t[i + 4], (uint64_t)(c >> 64), &carry);
        PC_UNROLL
        for (int j = i + 5; j < 10; j++) t[j] = wide_carry(t[j], 0, &carry);
    }
}

/* s 2^-64 for s < 2^64 m: one step, for sums of residues times words that together are below 2^64. */
PC_INLINE mt mt_sum_step(const mt_sum *s, const mont *f)
{
    const uint64_t q = s->w[0] * f->inverse;
    uint64_t t[4];
    u128 c = ((u128)q * f->m[0] + s->w[0]) >> 64;
    PC_UNROLL
    for (int j = 1; j < 4; j++) {
        c = (u128)q * f->m[j] + s->w[j] + (uint64_t)c;
        t[j - 1] = (uint64_t)c;
        c >>= 64;
    }
    t[3] = s->w[4] + (uint64_t)c; /* below 2m < 2^255 */
    mt out;
    const uint64_t keep = mask64(wide_subtract(out.w, t, f->m));
    for (int i = 0; i < 4; i++) out.w[i] = (t[i] & keep) | (out.w[i] & ~keep);
    return out;
}

/* s 2^-256 for s < 2^256 m: what is left is below 2m. */
PC_INLINE mt mt_sum_reduce_short(const mt_sum *s, const mont *f)
{
    uint64_t t[10];
    mt out;
    mt_sum_shift(t, s, f);
    VERIFY((t[8] | t[9]) == 0);
    const uint64_t keep = mask64(wide_subtract(out.w, t + 4, f->m));
    for (int i = 0; i < 4; i++) out.w[i] = (t[4 + i] & keep) | (out.w[i] & ~keep);
    return out;
}

/* s 2^-256 for every sum: what is left is below 2^32 2^508 / 2^256 + m, five words, of which high 2^256 = (high r2) 2^-256. */
static inline mt mt_sum_reduce(const mt_sum *s, const mont *f)
{
    uint64_t t[10];
    mt_sum_shift(t, s, f);
    VERIFY(t[9] == 0);
    mt low = {{t[4], t[5], t[6], t[7]}};
    const mt high = {{t[8], 0, 0, 0}}, r2 = {{f->r2[0], f->r2[1], f->r2[2], f->r2[3]}};
    for (int i = 0; i < 16; i++) { /* 2^256 < 16 m */
        uint64_t u[4];
        const uint64_t keep = mask64(wide_subtract(u, low.w, f->m));
        for (int j = 0; j < 4; j++) low.w[j] = (low.w[j] & keep) | (u[j] & ~keep);
    }
    return mt_add(low, mt_mul(high, r2, f), f);
}

PC_INLINE mt mt_neg(mt a, const mont *f) { return mt_sub(mt_zero, a, f); }

PC_INLINE mt mt_one(const mont *f)
{
    mt out = {{f->one[0], f->one[1], f->one[2], f->one[3]}};
    return out;
}

/* Into and out of Montgomery form. x < m. */
PC_INLINE mt mt_from_words(const uint64_t x[4], const mont *f)
{
    const mt a = {{x[0], x[1], x[2], x[3]}}, r2 = {{f->r2[0], f->r2[1], f->r2[2], f->r2[3]}};
    return mt_mul(a, r2, f);
}

PC_INLINE void mt_words(uint64_t x[4], mt a, const mont *f)
{
    const mt one = {{1, 0, 0, 0}}, out = mt_mul(a, one, f);
    for (int i = 0; i < 4; i++) x[i] = out.w[i];
}

PC_INLINE mt mt_from_bytes(const uint8_t *p, const mont *f)
{
    uint64_t x[4];
    wide_load(x, p);
    return mt_from_words(x, f);
}

PC_INLINE void mt_to_bytes(uint8_t *p, mt a, const mont *f)
{
    uint64_t x[4];
    mt_words(x, a, f);
    wide_store(p, x);
}

/* A 512-bit number lo + 2^256 hi, each part below 2^256: hi r2 r2 2^-256 .. = hi 2^256 2^256. A part may be above m, so that
 * it is brought below first: 2^256 < 16 m for every modulus here (m > 2^252). */
PC_INLINE mt mt_from_wide(const uint8_t *p, const mont *f)
{
    uint64_t part[2][4], t[4];
    for (int k = 0; k < 2; k++) {
        wide_load(part[k], p + 32 * k);
        for (int i = 0; i < 16; i++) {
            const uint64_t keep = mask64(wide_subtract(t, part[k], f->m));
            for (int j = 0; j < 4; j++) part[k][j] = (part[k][j] & keep) | (t[j] & ~keep);
        }
    }
    const mt r2 = {{f->r2[0], f->r2[1], f->r2[2], f->r2[3]}}; /* 2^256 in Montgomery form */
    return mt_add(mt_from_words(part[0], f), mt_mul(mt_from_words(part[1], f), r2, f), f);
}

PC_INLINE uint64_t mt_equal_mask(mt a, mt b)
{
    uint64_t t[4];
    for (int i = 0; i < 4; i++) t[i] = a.w[i] ^ b.w[i];
    return wide_zero_mask(t);
}

/* a^e for a public exponent, four bits at a time. */
static inline mt mt_pow(mt a, const uint64_t e[4], const mont *f)
{
    mt power[16];
    power[0] = mt_one(f);
    for (int i = 1; i < 16; i++) power[i] = mt_mul(power[i - 1], a, f);
    mt out = power[0];
    for (int i = 63; i >= 0; i--) {
        for (int k = 0; k < 4; k++) out = mt_square(out, f);
        out = mt_mul(out, power[e[i / 16] >> 4 * (i % 16) & 15], f);
    }
    return out;
}

/* 1 / a, and 0 for 0: a^(m - 2). */
static inline mt mt_inv(mt a, const mont *f)
{
    const uint64_t two[4] = {2, 0, 0, 0};
    uint64_t e[4];
    wide_subtract(e, f->m, two);
    return mt_pow(a, e, f);
}

#endif
