/* ristretto255 over edwards25519: -x^2 + y^2 = 1 + d x^2 y^2 modulo p = 2^255 - 19.
 * Sources: RFC 9496; Hisil, Wong, Carter, Dawson, "Twisted Edwards Curves Revisited" (2008), whose additions are complete here, as -1 is
 * a square modulo p and d is not. */
#include "fe25519.h"
#include "group.h"
#include "orders.h"

#define GE(name) ed_##name
#define GE_ENTRY_BYTES 96
#define ED_ORDER_BITS 253 /* check: (2**252 + 27742317777372353535851937790883648493).bit_length() */

static const fe ED_D = {{0x34dca135978a3, 0x1a8283b156ebd, 0x5e7a26001c029, 0x739c663a03cbb, 0x52036cee2b6ff}};          /* check: tuple(-121665 * pow(121666, -1, 2**255 - 19) % (2**255 - 19) >> 51 * i & 2**51 - 1 for i in (0, 1, 2, 3, 4)) */
static const fe ED_2D = {{0x69b9426b2f159, 0x35050762add7a, 0x3cf44c0038052, 0x6738cc7407977, 0x2406d9dc56dff}};         /* check: tuple(-243330 * pow(121666, -1, 2**255 - 19) % (2**255 - 19) >> 51 * i & 2**51 - 1 for i in (0, 1, 2, 3, 4)) */
static const fe ED_2D_INVERSE = {{0x793b66e4fc18, 0x184279542e25e, 0x3739ecc16bbad, 0x390cac5884533, 0x60483f690a6ae}}; /* check: tuple(-121666 * pow(243330, -1, 2**255 - 19) % (2**255 - 19) >> 51 * i & 2**51 - 1 for i in (0, 1, 2, 3, 4)) */
static const fe SQRT_M1 = {{0x61b274a0ea0b0, 0xd5a5fc8f189d, 0x7ef5e9cbd0c60, 0x78595a6804c9e, 0x2b8324804fc1d}};        /* check: tuple(pow(2, 2**253 - 5, 2**255 - 19) >> 51 * i & 2**51 - 1 for i in (0, 1, 2, 3, 4)) */
/* The square roots of RFC 9496, section 4.1; tests square them. */
static const fe SQRT_AD_MINUS_ONE = {{0x7f6a0497b2e1b, 0x1836f0a97afd2, 0x7d747f6be7638, 0x456079e7e6498, 0x376931bf2b834}};   /* check: tuple(25063068953384623474111414158702152701244531502492656460079210482610430750235 >> 51 * i & 2**51 - 1 for i in (0, 1, 2, 3, 4)) */
static const fe INVSQRT_A_MINUS_D = {{0xfdaa805d40ea, 0x2eb482e57d339, 0x7610274bc58, 0x6510b613dc8ff, 0x786c8905cfaff}};      /* check: tuple(54469307008909316920995813868745141605393597292927456921205312896311721017578 >> 51 * i & 2**51 - 1 for i in (0, 1, 2, 3, 4)) */
static const fe ONE_MINUS_D_SQ = {{0x409c1945fc176, 0x719abc6a1fc4f, 0x1c37f90b20684, 0x6bccca55eedf, 0x29072a8b2b3e}};        /* check: tuple((1 - pow(-121665 * pow(121666, -1, 2**255 - 19), 2, 2**255 - 19)) % (2**255 - 19) >> 51 * i & 2**51 - 1 for i in (0, 1, 2, 3, 4)) */
static const fe D_MINUS_ONE_SQ = {{0x55aaa44ed4d20, 0x59603c3332635, 0x26d3baf4a7928, 0x120a66e6997a9, 0x5968b37af66c2}};      /* check: tuple(pow(-121665 * pow(121666, -1, 2**255 - 19) - 1, 2, 2**255 - 19) >> 51 * i & 2**51 - 1 for i in (0, 1, 2, 3, 4)) */

/* Extended coordinates: x = X/Z, y = Y/Z, T = XY/Z; all tight. */
typedef struct {
    fe x, y, z, t;
} ed_point;

/* Of an addend: Y + X, Y - X, 2Z, 2dT; the first two loose. An affine one has Z = 1. */
typedef struct {
    fe plus, minus, z2, t2d;
} ed_cached;

typedef struct {
    fe plus, minus, t2d;
} ed_affine;

typedef fe ed_field;

static inline fe ed_mul(fe a, fe b) { return fe_mul(a, b); }
static inline fe ed_inv(fe a) { return fe_inv(a); }

static inline ed_point ed_identity(void)
{
    const ed_point out = {fe_zero, fe_one, fe_one, fe_zero};
    return out;
}

/* (E : H) = numerators, (F : G) = denominators of the sum. */
PC_INLINE ed_point ed_complete(fe e, fe f, fe g, fe h)
{
    const ed_point out = {fe_mul(e, f), fe_mul(g, h), fe_mul(f, g), fe_mul(e, h)};
    return out;
}

PC_INLINE ed_point ed_add_terms(const ed_point *p, fe plus, fe minus, fe d, fe t2d)
{
    const fe a = fe_mul(fe_sub(p->y, p->x), minus), b = fe_mul(fe_add(p->y, p->x), plus), c = fe_mul(p->t, t2d);
    return ed_complete(fe_sub(b, a), fe_sub(d, c), fe_add(d, c), fe_add(b, a));
}

static inline ed_point ed_add_cached(const ed_point *p, const ed_cached *q)
{
    return ed_add_terms(p, q->plus, q->minus, fe_mul(p->z, q->z2), q->t2d);
}

/* 2Z is < 2^52 + 2^14, so D - C and D + C are below 2^54 still. */
static inline ed_point ed_add_affine(const ed_point *p, const ed_affine *q)
{
    return ed_add_terms(p, q->plus, q->minus, fe_add(p->z, p->z), q->t2d);
}

/* With A = X^2, B = Y^2: E = (X+Y)^2 - (A + B), H = A + B, G = B - A, F = 2Z^2 - G. T only where with_t: another doubling does not read it. */
PC_INLINE ed_point ed_double_to(const ed_point *p, int with_t)
{
    const fe a = fe_square(p->x), b = fe_square(p->y), z = fe_square(p->z);
    const fe h = fe_add(a, b), e = fe_sub_sum(fe_square(fe_add(p->x, p->y)), h), g = fe_sub(b, a);
    const fe f = fe_sub(fe_add(fe_add(z, z), a), b);
    const ed_point out = {fe_mul(e, f), fe_mul(g, h), fe_mul(f, g), with_t ? fe_mul(e, h) : fe_zero};
    return out;
}

static inline ed_point ed_double(const ed_point *p) { return ed_double_to(p, 1); }

/* For a point that is doubled again. */
static inline ed_point ed_double_again(const ed_point *p) { return ed_double_to(p, 0); }

static inline ed_cached ed_cache(const ed_point *p)
{
    const ed_cached out = {fe_add(p->y, p->x), fe_sub(p->y, p->x), fe_add(p->z, p->z), fe_mul(p->t, ED_2D)};
    return out;
}

static inline ed_cached ed_select_cached(const ed_cached *a, const ed_cached *b, uint64_t mask)
{
    const ed_cached out = {fe_select(a->plus, b->plus, mask), fe_select(a->minus, b->minus, mask), fe_select(a->z2, b->z2, mask),
                           fe_select(a->t2d, b->t2d, mask)};
    return out;
}

static inline ed_cached ed_negate_cached(const ed_cached *a, uint64_t mask)
{
    const ed_cached out = {fe_select(a->plus, a->minus, mask), fe_select(a->minus, a->plus, mask), a->z2,
                           fe_select(a->t2d, fe_sub(fe_zero, a->t2d), mask)};
    return out;
}

static inline ed_affine ed_negate_affine(const ed_affine *a, uint64_t mask)
{
    const ed_affine out = {fe_select(a->plus, a->minus, mask), fe_select(a->minus, a->plus, mask),
                           fe_select(a->t2d, fe_sub(fe_zero, a->t2d), mask)};
    return out;
}

static inline ed_affine ed_load(const uint8_t *point)
{
    const fe x = fe_from_bytes(point), y = fe_from_bytes(point + 32);
    const ed_affine out = {fe_add(y, x), fe_sub(y, x), fe_mul(fe_mul(x, y), ED_2D)};
    return out;
}

static inline void ed_pack(uint8_t *entry, const ed_affine *a)
{
    fe_to_bytes(entry, a->plus);
    fe_to_bytes(entry + 32, a->minus);
    fe_to_bytes(entry + 64, a->t2d);
}

static inline ed_affine ed_unpack(const uint8_t *entry)
{
    const ed_affine out = {fe_from_bytes(entry), fe_from_bytes(entry + 32), fe_from_bytes(entry + 64)};
    return out;
}

static inline fe ed_denominator(const ed_point *p) { return p->z; }

static inline void ed_finish(uint8_t *out, const ed_point *p, fe inverse)
{
    fe_to_bytes(out, fe_mul(p->x, inverse));
    fe_to_bytes(out + 32, fe_mul(p->y, inverse));
}

#include "group_template.h"

/* ---- RFC 9496, section 4 ---- */

/* (u / v is a square) and |sqrt(u / v)| or, where it is none, |sqrt(i u / v)|. */
static uint64_t sqrt_ratio(fe *root, fe u, fe v)
{
    const fe v3 = fe_mul(fe_square(v), v), v7 = fe_mul(fe_square(v3), v);
    fe r = fe_mul(fe_mul(u, v3), fe_pow_p58(fe_mul(u, v7)));
    const fe check = fe_mul(v, fe_square(r)), minus_u = fe_neg(u);
    const uint64_t correct = fe_equal_mask(check, u), flipped = fe_equal_mask(check, minus_u);
    const uint64_t flipped_i = fe_equal_mask(check, fe_mul(minus_u, SQRT_M1));
    r = fe_select(r, fe_mul(r, SQRT_M1), flipped | flipped_i);
    *root = fe_abs(r);
    return correct | flipped;
}

/* Section 4.3.1. All n are read before the answer, so that the time says nothing about where one is wrong. */
static int ristretto_decode(uint8_t *points, const uint8_t *encodings, size_t n)
{
    uint64_t valid = ~(uint64_t)0;
    for (size_t i = 0; i < n; i++) {
        uint8_t canonical[32];
        const fe s = fe_from_bytes(encodings + 32 * i);
        fe_to_bytes(canonical, s);
        uint64_t differs = 0;
        for (int k = 0; k < 32; k++) differs |= (uint64_t)(canonical[k] ^ encodings[32 * i + k]);
        valid &= mask64((differs - 1) >> 63) & ~fe_odd_mask(s);

        const fe ss = fe_square(s), u1 = fe_carry(fe_sub(fe_one, ss)), u2 = fe_add(fe_one, ss), u2_sqr = fe_square(u2);
        const fe v = fe_carry(fe_sub(fe_neg(fe_mul(ED_D, fe_square(u1))), u2_sqr));
        fe invsqrt;
        valid &= sqrt_ratio(&invsqrt, fe_one, fe_mul(v, u2_sqr));
        const fe den_x = fe_mul(invsqrt, u2), den_y = fe_mul(fe_mul(invsqrt, den_x), v);
        const fe x = fe_abs(fe_mul(fe_add(s, s), den_x)), y = fe_mul(u1, den_y);
        valid &= ~fe_odd_mask(fe_mul(x, y)) & ~fe_zero_mask(y);
        fe_to_bytes(points + PRIVCOMP_POINT_BYTES * i, x);
        fe_to_bytes(points + PRIVCOMP_POINT_BYTES * i + 32, y);
    }
    PC_DECLASSIFY(valid);
    return valid != 0;
}

/* Section 4.3.2, for z = 1 and t = x y. */
static void ristretto_encode(uint8_t *encodings, const uint8_t *points, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const fe x = fe_from_bytes(points + PRIVCOMP_POINT_BYTES * i), y = fe_from_bytes(points + PRIVCOMP_POINT_BYTES * i + 32);
        const fe t = fe_mul(x, y), u1 = fe_mul(fe_add(fe_one, y), fe_sub(fe_one, y)), u2 = t;
        fe invsqrt;
        sqrt_ratio(&invsqrt, fe_one, fe_mul(u1, fe_square(u2)));
        const fe den1 = fe_mul(invsqrt, u1), den2 = fe_mul(invsqrt, u2), z_inv = fe_mul(fe_mul(den1, den2), t);
        const uint64_t rotate = fe_odd_mask(fe_mul(t, z_inv));
        const fe rotated_x = fe_select(x, fe_mul(y, SQRT_M1), rotate), rotated_y = fe_select(y, fe_mul(x, SQRT_M1), rotate);
        const fe den_inv = fe_select(den2, fe_mul(den1, INVSQRT_A_MINUS_D), rotate);
        const fe signed_y = fe_select(rotated_y, fe_neg(rotated_y), fe_odd_mask(fe_mul(rotated_x, z_inv)));
        fe_to_bytes(encodings + 32 * i, fe_abs(fe_mul(den_inv, fe_sub(fe_one, signed_y))));
    }
}

/* Section 4.3.4, MAP. */
static ed_point ristretto_map(fe t)
{
    const fe r = fe_mul(SQRT_M1, fe_square(t)), u = fe_mul(fe_add(r, fe_one), ONE_MINUS_D_SQ);
    const fe minus = fe_neg(fe_one), v = fe_mul(fe_sub(minus, fe_mul(r, ED_D)), fe_add(r, ED_D));
    fe s;
    const uint64_t square = sqrt_ratio(&s, u, v);
    s = fe_select(fe_neg(fe_abs(fe_mul(s, t))), s, square);
    const fe c = fe_select(r, minus, square);
    const fe n = fe_carry(fe_sub(fe_mul(fe_mul(c, fe_sub(r, fe_one)), D_MINUS_ONE_SQ), v));
    const fe ss = fe_square(s), w0 = fe_mul(fe_add(s, s), v), w1 = fe_mul(n, SQRT_AD_MINUS_ONE);
    return ed_complete(w0, fe_add(fe_one, ss), w1, fe_sub(fe_one, ss));
}

/* Section 4.3.4: the sum of two maps of 255 bits each. */
static void ristretto_from_uniform(uint8_t *points, const uint8_t *uniform, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const ed_point a = ristretto_map(fe_from_bytes(uniform + 64 * i)), b = ristretto_map(fe_from_bytes(uniform + 64 * i + 32));
        const ed_point sum = ed_add(&a, &b);
        ed_store(points + PRIVCOMP_POINT_BYTES * i, &sum, 1);
    }
}

static int ristretto_on_curve(const uint8_t *points, size_t n)
{
    uint64_t valid = ~(uint64_t)0;
    for (size_t i = 0; i < n; i++) {
        uint8_t again[32];
        fe c[2];
        for (int k = 0; k < 2; k++) {
            c[k] = fe_from_bytes(points + PRIVCOMP_POINT_BYTES * i + 32 * k);
            fe_to_bytes(again, c[k]);
            uint64_t differs = 0;
            for (int j = 0; j < 32; j++) differs |= (uint64_t)(again[j] ^ points[PRIVCOMP_POINT_BYTES * i + 32 * k + j]);
            valid &= mask64((differs - 1) >> 63);
        }
        const fe xx = fe_square(c[0]), yy = fe_square(c[1]);
        valid &= fe_equal_mask(fe_sub(yy, xx), fe_add(fe_one, fe_mul(ED_D, fe_mul(xx, yy))));
    }
    PC_DECLASSIFY(valid);
    return valid != 0;
}

/* Section 4.3.3. */
static void ristretto_equal(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const fe xa = fe_from_bytes(a + PRIVCOMP_POINT_BYTES * i), ya = fe_from_bytes(a + PRIVCOMP_POINT_BYTES * i + 32);
        const fe xb = fe_from_bytes(b + PRIVCOMP_POINT_BYTES * i), yb = fe_from_bytes(b + PRIVCOMP_POINT_BYTES * i + 32);
        out[i] = (uint8_t)(1 & (fe_equal_mask(fe_mul(xa, yb), fe_mul(ya, xb)) | fe_equal_mask(fe_mul(ya, yb), fe_mul(xa, xb))));
    }
}

/* y = 4/5 and x even: the base point of edwards25519 (RFC 8032, section 5.1). */
static void ristretto_generator(uint8_t *point)
{
    static const uint64_t x[4] = {0xc9562d608f25d51a, 0x692cc7609525a7b2, 0xc0a4e231fdd6dc5c, 0x216936d3cd6e53fe};
    static const uint64_t y[4] = {0x6666666666666658, 0x6666666666666666, 0x6666666666666666, 0x6666666666666666}; /* check: tuple(4 * pow(5, -1, 2**255 - 19) % (2**255 - 19) >> 64 * i & 2**64 - 1 for i in (0, 1, 2, 3)) */
    wide_store(point, x);
    wide_store(point + 32, y);
}

#if PC_X86
#include "fe25519_ifma.h"
#define LANE_TARGET IFMA
#define FE fe8
#define FE_(name) fe8_##name
#define FE_WORD_ONE FE8_WORD_ONE
#define LANE_(name) name##8
#define ED_(name) ed8_##name
#include "fe25519_lanes.h"
#include "ristretto255_lanes.h"

#ifndef PRIVCOMP_EMULATE_AVX512
#undef LANE_TARGET
#undef LANES
#undef FE
#undef FE_
#undef FE_WORD_ONE
#undef LANE_
#undef ED_
#include "fe25519_fma.h"
#define LANE_TARGET FMA
#define LANES 4
#define FE fe4
#define FE_(name) fe4_##name
#define FE_WORD_ONE FE4_WORD_ONE
#define LANE_(name) name##4
#define ED_(name) ed4_##name
#include "fe25519_lanes.h"
#include "ristretto255_lanes.h"
#endif
#endif

/* The group with those functions that have twins. */
#define RISTRETTO255(lanes_n, decode_n, mul_n, msm_n, msm_var_n, rows_n, fixed_n, axpy_n) \
    { \
        .order = &ED_ORDER, \
        .encoding_bytes = 32, \
        .uniform_bytes = 64, \
        .entry_bytes = GE_ENTRY_BYTES, \
        .affine_words = sizeof(ed_affine) / 8, \
        .point_words = sizeof(ed_point) / 8, \
        .cached_words = sizeof(ed_cached) / 8, \
        .lanes = lanes_n, \
        .decode = decode_n, \
        .encode = ristretto_encode, \
        .from_uniform = ristretto_from_uniform, \
        .on_curve = ristretto_on_curve, \
        .generator = ristretto_generator, \
        .equal = ristretto_equal, \
        .add = ed_add_n, \
        .sum = ed_sum, \
        .mul = mul_n, \
        .msm = msm_n, \
        .msm_var = msm_var_n, \
        .table = ed_table, \
        .rows_var = rows_n, \
        .fixed_var = fixed_n, \
        .axpy_var = axpy_n, \
    }

const struct group pc_ristretto255 = RISTRETTO255(1, ristretto_decode, ed_mul_n, ed_msm, ed_msm_var, ed_rows_var, ed_fixed_var, ed_axpy_var);
#if PC_X86
#define RISTRETTO255_LANES(n, ed) \
    RISTRETTO255(n, ed##_decode_lanes, ed##_mul_lanes, ed##_msm_lanes, ed##_msm_lanes_var, ed##_rows_lanes_var, ed##_fixed_lanes_var, \
                 ed##_axpy_lanes_var)
const struct group pc_ristretto255_ifma = RISTRETTO255_LANES(8, ed8);
#ifndef PRIVCOMP_EMULATE_AVX512
const struct group pc_ristretto255_fma = RISTRETTO255_LANES(4, ed4);
#endif
#endif
