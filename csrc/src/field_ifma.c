/* Both word-size fields, eight elements at a time with AVX-512 IFMA.
 *
 * A dot product splits its variable as v = v0 + 2^s v1 with s = 31 (M61) or 32 (Goldilocks), and takes its weight twice, as a and
 * as b = 2^s a mod p, each in two limbs: a = a0 + 2^52 a1, a1 < 2^12. Then
 *   v a = v0 a + v1 b = S + 2^52 T (mod p),
 *   S += lo(v0 a0) + lo(v1 b0)                                    < 2^53 per term,
 *   T += hi(v0 a0) + v0 a1 + hi(v1 b0) + v1 b1                    < 2 (2^32 + 2^44) < 2^46 per term
 * (v0 a1 and v1 b1 have at most 44 bits: they are their own low parts). Every 1023 terms the part of S above 52 bits moves to T, so
 * S < 2^52 + 1023 2^53 < 2^63, and T < 2^46 terms + 2^11 (terms / 1023 + 1) < 2^61 for up to 2^14 terms.
 */
#include "field_goldilocks.h"
#include "field_m61.h"

#if PC_X86
#include "ifma.h"

#define CHUNK 1023 /* terms between two carries; check: 2**52 + 1023 * 2**53 < 2**63 */
#define MASK52 UINT64_C(0xfffffffffffff) /* check: 2**52 - 1 */

/* x - p where x >= p: otherwise x - p wraps to a larger number. requires: x - p < 2^63 or so that the smaller one is meant. */
IFMA PC_INLINE __m512i subtract_once8(__m512i x, uint64_t p) { return _mm512_min_epu64(x, sub8(x, all8(p))); }

/* ---- 2^61 - 1 ---- */

IFMA PC_INLINE __m512i m61_fold8(__m512i x) { return add8(_mm512_and_si512(x, all8(M61_P)), _mm512_srli_epi64(x, 61)); }

/* S + 2^52 T for S < 2^64, T < 2^61: each of the three parts is below 2^61 + 8, 2^61, 2^52. */
IFMA PC_INLINE __m512i m61_finish8(__m512i s, __m512i t)
{
    const __m512i high = add8(_mm512_and_si512(_mm512_slli_epi64(t, 52), all8(M61_P)), _mm512_srli_epi64(t, 9));
    return subtract_once8(m61_fold8(add8(m61_fold8(s), high)), M61_P);
}

IFMA static void m61_butterfly8(uint64_t *sum, uint64_t *diff, const uint64_t *a, const uint64_t *b, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m512i u = load8(a + i), v = load8(b + i);
        store8(sum + i, subtract_once8(add8(u, v), M61_P));
        store8(diff + i, subtract_once8(sub8(add8(u, all8(M61_P)), v), M61_P));
    }
    pc_m61_portable.butterfly(sum + i, diff + i, a + i, b + i, n - i);
}

/* ---- Goldilocks ---- */

/* S + 2^52 T for S < 2^63, T < 2^61. */
IFMA PC_INLINE __m512i goldilocks_finish8(__m512i s, __m512i t)
{
    const __m512i e = all8(GOLDILOCKS_EPSILON);
    /* low + 2^64 high, high < 2^49 + 1 */
    const __m512i low = add8(s, _mm512_slli_epi64(t, 52));
    const __m512i t12 = _mm512_srli_epi64(t, 12), high = _mm512_mask_add_epi64(t12, _mm512_cmplt_epu64_mask(low, s), t12, all8(1));
    /* as goldilocks_reduce */
    const __m512i h = _mm512_srli_epi64(high, 32);
    __m512i x = sub8(low, h);
    x = _mm512_mask_sub_epi64(x, _mm512_cmplt_epu64_mask(low, h), x, e);
    const __m512i u = _mm512_mul_epu32(high, e);
    __m512i r = add8(x, u);
    r = _mm512_mask_add_epi64(r, _mm512_cmplt_epu64_mask(r, u), r, e);
    return subtract_once8(r, GOLDILOCKS_P);
}

IFMA static void goldilocks_butterfly8(uint64_t *sum, uint64_t *diff, const uint64_t *a, const uint64_t *b, size_t n)
{
    const __m512i p = all8(GOLDILOCKS_P);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m512i u = load8(a + i), v = load8(b + i), w = sub8(p, v), x = sub8(u, w), y = sub8(u, v);
        store8(sum + i, _mm512_mask_add_epi64(x, _mm512_cmplt_epu64_mask(u, w), x, p));
        store8(diff + i, _mm512_mask_add_epi64(y, _mm512_cmplt_epu64_mask(u, v), y, p));
    }
    pc_goldilocks_portable.butterfly(sum + i, diff + i, a + i, b + i, n - i);
}

/* ---- dot products ---- */

#define WORDS 4 /* of a prepared weight: a0, a1, b0, b1 */

PC_INLINE void prepare(const struct field *f, uint64_t *word, uint64_t a, int split)
{
    const uint64_t b = f->mul(a, (uint64_t)1 << split);
    word[0] = a & MASK52, word[1] = a >> 52;
    word[2] = b & MASK52, word[3] = b >> 52;
}

#define SPLIT(x, at) \
    const __m512i x##v = load8(at), x##0 = _mm512_and_si512(x##v, all8(((uint64_t)1 << split) - 1)), x##1 = _mm512_srli_epi64(x##v, split)
#define TERM(s, t, x, w) \
    s = _mm512_madd52lo_epu64(s, x##0, all8((w)[0])), t = _mm512_madd52hi_epu64(t, x##0, all8((w)[0])), \
    t = _mm512_madd52lo_epu64(t, x##0, all8((w)[1])), s = _mm512_madd52lo_epu64(s, x##1, all8((w)[2])), \
    t = _mm512_madd52hi_epu64(t, x##1, all8((w)[2])), t = _mm512_madd52lo_epu64(t, x##1, all8((w)[3]))
#define CARRY(s, t) t = add8(t, _mm512_srli_epi64(s, 52)), s = _mm512_and_si512(s, all8(MASK52))

/* `rows` rows (1 or 4) by two vectors. split and field are constants where this is inlined. */
#define DEFINE_DOT(name, portable, finish, split_at) \
    IFMA static void name##_four(uint64_t *const *out, const uint64_t *w, size_t terms, const uint64_t *in, size_t stride, size_t i) \
    { \
        enum { split = split_at }; \
        const __m512i zero = _mm512_setzero_si512(); \
        __m512i s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero, s7 = zero; \
        __m512i t0 = zero, t1 = zero, t2 = zero, t3 = zero, t4 = zero, t5 = zero, t6 = zero, t7 = zero; \
        for (size_t k = 0; k < terms;) { \
            const size_t to = terms - k < CHUNK ? terms : k + CHUNK; \
            for (; k < to; k++) { \
                const uint64_t *const u = w + 4 * WORDS * k; \
                SPLIT(x, in + k * stride + i); \
                SPLIT(y, in + k * stride + i + LANES); \
                TERM(s0, t0, x, u), TERM(s4, t4, y, u); \
                TERM(s1, t1, x, u + WORDS), TERM(s5, t5, y, u + WORDS); \
                TERM(s2, t2, x, u + 2 * WORDS), TERM(s6, t6, y, u + 2 * WORDS); \
                TERM(s3, t3, x, u + 3 * WORDS), TERM(s7, t7, y, u + 3 * WORDS); \
            } \
            CARRY(s0, t0), CARRY(s1, t1), CARRY(s2, t2), CARRY(s3, t3); \
            CARRY(s4, t4), CARRY(s5, t5), CARRY(s6, t6), CARRY(s7, t7); \
        } \
        store8(out[0] + i, finish(s0, t0)), store8(out[0] + i + LANES, finish(s4, t4)); \
        store8(out[1] + i, finish(s1, t1)), store8(out[1] + i + LANES, finish(s5, t5)); \
        store8(out[2] + i, finish(s2, t2)), store8(out[2] + i + LANES, finish(s6, t6)); \
        store8(out[3] + i, finish(s3, t3)), store8(out[3] + i + LANES, finish(s7, t7)); \
    } \
    IFMA static void name##_one(uint64_t *out, const uint64_t *w, size_t terms, const uint64_t *in, size_t stride, size_t i) \
    { \
        enum { split = split_at }; \
        __m512i s0 = _mm512_setzero_si512(), s1 = s0, t0 = s0, t1 = s0; \
        for (size_t k = 0; k < terms;) { \
            const size_t to = terms - k < CHUNK ? terms : k + CHUNK; \
            for (; k < to; k++) { \
                const uint64_t *const u = w + WORDS * k; \
                SPLIT(x, in + k * stride + i); \
                SPLIT(y, in + k * stride + i + LANES); \
                TERM(s0, t0, x, u), TERM(s1, t1, y, u); \
            } \
            CARRY(s0, t0), CARRY(s1, t1); \
        } \
        store8(out + i, finish(s0, t0)), store8(out + i + LANES, finish(s1, t1)); \
    } \
    static void name(uint64_t *const *out, size_t rows, const uint64_t *weights, size_t terms, const uint64_t *in, size_t stride, \
                     size_t width, uint64_t *prepared) \
    { \
        const struct field *const f = &portable; \
        const size_t done = width - width % (2 * LANES); \
        if (rows == FIELD_ROWS) { \
            for (size_t k = 0; k < terms; k++) \
                for (size_t r = 0; r < rows; r++) prepare(f, prepared + WORDS * (4 * k + r), weights[r * terms + k], split_at); \
            for (size_t i = 0; i < done; i += 2 * LANES) name##_four(out, prepared, terms, in, stride, i); \
        } else { \
            for (size_t r = 0; r < rows; r++) { \
                for (size_t k = 0; k < terms; k++) prepare(f, prepared + WORDS * k, weights[r * terms + k], split_at); \
                for (size_t i = 0; i < done; i += 2 * LANES) name##_one(out[r], prepared, terms, in, stride, i); \
            } \
        } \
        dot_rows_rest(f, out, rows, weights, terms, in, stride, done, width, prepared); \
    }

DEFINE_DOT(m61_dot8, pc_m61_portable, m61_finish8, 31)
DEFINE_DOT(goldilocks_dot8, pc_goldilocks_portable, goldilocks_finish8, 32)

/* ---- candidates for draws, canonical vectors ---- */

/* count + 1 where x >= p */
IFMA PC_INLINE __m512i count_not_below(__m512i count, __m512i x, uint64_t p)
{
    return _mm512_mask_sub_epi64(add8(count, all8(1)), _mm512_cmplt_epu64_mask(x, all8(p)), add8(count, all8(1)), all8(1));
}

/* Whether some lane is not 0; this is public. */
IFMA static int any_lane(__m512i count)
{
    uint64_t lane[LANES], any = 0;
    store8(lane, count);
    for (int j = 0; j < LANES; j++) any |= lane[j];
    int found = any != 0;
    PC_DECLASSIFY(found);
    return found;
}

#define DEFINE_CANONICAL(name, portable, prime) \
    IFMA static int name(const uint64_t *a, size_t n) \
    { \
        __m512i bad = all8(0); \
        size_t i = 0; \
        for (; i + LANES <= n; i += LANES) bad = count_not_below(bad, load8(a + i), prime); \
        return !any_lane(bad) && portable.canonical(a + i, n - i); \
    }

#define DEFINE_SAMPLE(name, portable, prime, bits) \
    IFMA static int name(uint64_t *v, size_t n) \
    { \
        __m512i again = all8(0); \
        size_t i = 0; \
        for (; i + LANES <= n; i += LANES) { \
            const __m512i x = _mm512_srli_epi64(load8(v + i), 64 - bits); \
            again = count_not_below(again, x, prime); \
            store8(v + i, x); \
        } \
        return any_lane(again) | portable.sample(v + i, n - i); \
    }

DEFINE_CANONICAL(m61_canonical8, pc_m61_portable, M61_P)
DEFINE_CANONICAL(goldilocks_canonical8, pc_goldilocks_portable, GOLDILOCKS_P)
DEFINE_SAMPLE(m61_sample8, pc_m61_portable, M61_P, 61)
DEFINE_SAMPLE(goldilocks_sample8, pc_goldilocks_portable, GOLDILOCKS_P, 64)

typedef uint64_t v8 __attribute__((vector_size(64), may_alias));
typedef v8 v8_unaligned __attribute__((aligned(8)));
#define EXTEND(name) extend8_##name
#define EXTEND_TARGET IFMA
#define EXTEND_VECTOR v8
#define EXTEND_UNALIGNED v8_unaligned
#define EXTEND_LANES 8
#define EXTEND_FOLD M61_FOLD
#define EXTEND_NEGATE M61_NEGATE
#define EXTEND_FINISH M61_FINISH
#include "field_extend.h"

static void m61_extend8(uint64_t *out, size_t below, size_t above, const uint64_t *in, size_t terms, size_t stride, size_t width,
                        uint64_t *scratch)
{
    const size_t done = extend8_columns(out, below, above, in, terms, stride, width, scratch);
    pc_m61_portable.extend(out + done, below, above, in + done, terms, stride, width - done, scratch);
}

void pc_m61_use_ifma(struct field *f)
{
    f->butterfly = m61_butterfly8, f->canonical = m61_canonical8, f->sample = m61_sample8, f->dot_rows = m61_dot8;
    f->extend = m61_extend8;
}

void pc_goldilocks_use_ifma(struct field *f)
{
    f->butterfly = goldilocks_butterfly8, f->canonical = goldilocks_canonical8, f->sample = goldilocks_sample8, f->dot_rows = goldilocks_dot8;
}
#endif
