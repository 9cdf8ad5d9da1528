/* What costs most of ristretto255, for eight points at once with AVX-512 IFMA; part of ristretto255.c. The formulas are those of the
 * portable twins there and in group_template.h. */
#include "fe25519_ifma.h"

/* Y - X, Y + X, Z, T of eight points, all tight: an addition reads the coordinates as this sum and this difference, so it ends with them. */
typedef struct {
    fe8 minus, plus, z, t;
} ed8_point;

#define ED8_WORDS 160 /* of the point in memory; check: 4 * 5 * 8 */

/* Of eight affine addends: Y + X, Y - X, 2dT; tight, tight, short. */
typedef struct {
    fe8 plus, minus, t2d;
} ed8_affine;

IFMA static inline ed8_point ed8_load(const uint64_t *from)
{
    ed8_point p;
    for (int i = 0; i < 5; i++) {
        p.minus.v[i] = load8(from + LANES * i), p.plus.v[i] = load8(from + LANES * (5 + i));
        p.z.v[i] = load8(from + LANES * (10 + i)), p.t.v[i] = load8(from + LANES * (15 + i));
    }
    return p;
}

IFMA static inline void ed8_store(uint64_t *to, ed8_point p)
{
    for (int i = 0; i < 5; i++) {
        store8(to + LANES * i, p.minus.v[i]), store8(to + LANES * (5 + i), p.plus.v[i]);
        store8(to + LANES * (10 + i), p.z.v[i]), store8(to + LANES * (15 + i), p.t.v[i]);
    }
}

IFMA static inline ed8_point ed8_identity(void)
{
    const ed8_point out = {fe8_all(fe_one), fe8_all(fe_one), fe8_all(fe_one), fe8_all(fe_zero)};
    return out;
}

/* The scalar points of an ed8_point in memory, in the same place: (X : Y : Z : T) times two. */
static void ed8_to_points(uint64_t *at)
{
    ed_point out[LANES];
    for (size_t j = 0; j < LANES; j++) {
        fe part[4];
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < 5; i++) part[k].v[i] = at[LANES * (size_t)(5 * k + i) + j];
        out[j].x = fe_carry(fe_sub(part[1], part[0]));
        out[j].y = fe_carry(fe_add(part[1], part[0]));
        out[j].z = fe_carry(fe_add(part[2], part[2]));
        out[j].t = fe_carry(fe_add(part[3], part[3]));
    }
    memcpy(at, out, sizeof out);
    privcomp_wipe((uint8_t *)out, sizeof out);
}

/* A = (Y - X) (Y' - X'), B = (Y + X) (Y' + X'), C = T 2d T', D = 2 Z Z' are wide; E = B - A, F = D - C, G = D + C, H = B + A. Then the sum is
 * (EF : GH : FG : EH). Eight carries with those of the results. D < 2^61, so all is below 2^62. */
IFMA PC_INLINE ed8_point ed8_complete(fe8 a, fe8 b, fe8 c, fe8 d)
{
    const fe8 e = fe8_carry(fe8_sub_wide(b, a)), h = fe8_carry(fe8_add_wide(b, a));
    const fe8 f = fe8_carry(fe8_sub_wide(d, c)), g = fe8_carry(fe8_add_wide(d, c));
    const fe8 x = fe8_mul_wide(e, f), y = fe8_mul_wide(g, h);
    const ed8_point out = {fe8_sub(y, x), fe8_add(y, x), fe8_carry(fe8_mul_wide(f, g)), fe8_carry(fe8_mul_wide(e, h))};
    return out;
}

IFMA PC_INLINE ed8_point ed8_add_affine(ed8_point p, ed8_affine q)
{
    return ed8_complete(fe8_mul_wide(p.minus, q.minus), fe8_mul_wide(p.plus, q.plus), fe8_mul_wide(p.t, q.t2d), fe8_add_wide(p.z, p.z));
}

/* 2p - a, short, in the lanes of the mask: for limbs of a below 2^51. */
IFMA PC_INLINE fe8 fe8_negate_lanes(fe8 a, __mmask8 mask)
{
    a.v[0] = _mm512_mask_sub_epi64(a.v[0], mask, all8(0xfffffffffffda), a.v[0]); /* check: 2 * (2**51 - 19) */
    PC_UNROLL
    for (int i = 1; i < 5; i++) a.v[i] = _mm512_mask_sub_epi64(a.v[i], mask, all8(0xffffffffffffe), a.v[i]); /* check: 2 * (2**51 - 1) */
    return a;
}

/* For each lane the entry `index` of a window, or the identity where it is not `present`; negated where `negative`: Y + X and Y - X
 * change places. */
IFMA PC_INLINE ed8_affine ed8_entries_var(const uint8_t *window, __m512i index, __mmask8 present, __mmask8 negative)
{
    static const uint8_t identity[GE_ENTRY_BYTES] = {[0] = 1, [32] = 1};
    const __m512i entry = _mm512_mask_mov_epi64(all8((uintptr_t)identity), present,
                                                add8(all8((uintptr_t)window), _mm512_maskz_mullo_epi64(0xff, index, all8(GE_ENTRY_BYTES))));
    const __m512i second = add8(entry, all8(32));
    uint64_t address[3][LANES];
    const uint8_t *at[3][LANES];
    __m512i w[4];
    ed8_affine out;
    store8(address[0], _mm512_mask_mov_epi64(entry, negative, second));
    store8(address[1], _mm512_mask_mov_epi64(second, negative, entry));
    store8(address[2], add8(entry, all8(64)));
    for (int k = 0; k < 3; k++)
        for (int j = 0; j < LANES; j++) at[k][j] = (const uint8_t *)(uintptr_t)address[k][j];
    fe8_words(w, at[0]);
    out.plus = fe8_from_words(w);
    fe8_words(w, at[1]);
    out.minus = fe8_from_words(w);
    fe8_words(w, at[2]);
    out.t2d = fe8_negate_lanes(fe8_from_words(w), negative);
    return out;
}

/* ed_rows_var with a row in each lane. The sums of a block of rows (160 kB) and the windows of COLUMNS columns (12 kB each) stay in the
 * second-level cache, and a sum is loaded and stored once for all of these columns. */
IFMA static void ed8_rows_var(uint8_t *out, const uint8_t *table, const int32_t *values, size_t rows, size_t n, unsigned windows,
                              uint64_t *scratch)
{
    enum { COLUMNS = 8 };
    uint64_t value[COLUMNS][LANES];
    for (size_t first = 0; first < rows; first += PRIVCOMP_GROUP_ROW_BLOCK) {
        const size_t count = rows - first < PRIVCOMP_GROUP_ROW_BLOCK ? rows - first : PRIVCOMP_GROUP_ROW_BLOCK;
        for (size_t a = 0; a < count; a += LANES) ed8_store(scratch + ED8_WORDS / LANES * a, ed8_identity());
        for (size_t column = 0; column < n; column += COLUMNS) {
            const size_t columns = n - column < COLUMNS ? n - column : COLUMNS;
            for (size_t a = 0; a < count; a += LANES) {
                for (size_t j = 0; j < LANES; j++)
                    for (size_t b = 0; b < columns; b++)
                        value[b][j] = a + j < count ? (uint64_t)(int64_t)values[(first + a + j) * n + column + b] : 0;
                ed8_point sum = ed8_load(scratch + ED8_WORDS / LANES * a);
                for (size_t b = 0; b < columns; b++) {
                    __m512i v = load8(value[b]);
                    for (unsigned i = 0; i < windows; i++) {
                        __m512i digit = v;
                        if (i + 1 < windows) {
                            digit = sub8(_mm512_and_si512(add8(v, all8(128)), all8(255)), all8(128));
                            v = _mm512_srai_epi64(sub8(v, digit), 8);
                        }
                        /* Absent: 0, and a size that is out of range, as values may change while they are read. */
                        const __m512i index = sub8(_mm512_abs_epi64(digit), all8(1));
                        const __mmask8 present = _mm512_cmplt_epu64_mask(index, all8(GROUP_ENTRIES));
                        const __mmask8 negative = _mm512_test_epi64_mask(digit, all8((uint64_t)1 << 63));
                        if (present == 0) continue;
                        const uint8_t *window = table + GE_ENTRY_BYTES * GROUP_ENTRIES * ((column + b) * windows + i);
                        sum = ed8_add_affine(sum, ed8_entries_var(window, index, present, negative));
                    }
                }
                ed8_store(scratch + ED8_WORDS / LANES * a, sum);
            }
        }
        for (size_t a = 0; a < count; a += LANES) ed8_to_points(scratch + ED8_WORDS / LANES * a);
        ed_store(out + PRIVCOMP_POINT_BYTES * first, (const ed_point *)scratch, count);
    }
    privcomp_wipe((uint8_t *)value, sizeof value);
    privcomp_wipe((uint8_t *)scratch, pc_rows_held(rows) * sizeof(ed_point));
}

/* ristretto_decode with an encoding in each lane; zeros, which encode the identity, stand in the lanes left over. */
IFMA static int ristretto_decode8(uint8_t *points, const uint8_t *encodings, size_t n)
{
    static const uint8_t zeros[32];
    const fe8 one = fe8_all(fe_one);
    const fe minus_one = {{0x7ffffffffffec, FE_MASK, FE_MASK, FE_MASK, FE_MASK}}; /* check: 2**51 - 20 */
    unsigned valid = 0xff;
    for (size_t first = 0; first < n; first += LANES) {
        const size_t count = n - first < LANES ? n - first : LANES;
        const uint8_t *at[LANES];
        __m512i w[4];
        for (size_t j = 0; j < LANES; j++) at[j] = j < count ? encodings + 32 * (first + j) : zeros;
        fe8_words(w, at);
        const fe8 s = fe8_from_words(w);
        valid &= _mm512_cmpeq_epi64_mask(_mm512_or_si512(_mm512_srli_epi64(w[3], 63), fe8_quotient(s)), _mm512_setzero_si512());
        valid &= ~(unsigned)fe8_odd(s);

        const fe8 ss = fe8_square(s), u1 = fe8_sub(one, ss), u2 = fe8_add(one, ss), u2_sqr = fe8_square(u2);
        const fe8 d_u1_sqr = fe8_mul(fe8_all(ED_D), fe8_square(u1));
        const fe8 v = fe8_carry(fe8_sub_wide(fe8_sub_wide(fe8_all(fe_zero), d_u1_sqr), u2_sqr)), x = fe8_mul(v, u2_sqr);
        /* r = sqrt(1 / x) up to its sign, which does not matter here, if x r^2 is 1 for r = x^3 (x^7)^((p - 5) / 8) or for i times that */
        const fe8 x3 = fe8_mul(fe8_square(x), x), x7 = fe8_mul(fe8_square(x3), x);
        fe8 r = fe8_mul(x3, fe8_pow_p58(x7));
        const fe8 check = fe8_canonical(fe8_mul(x, fe8_square(r)));
        const __mmask8 flipped = fe8_same_limbs(check, minus_one);
        valid &= (unsigned)(flipped | fe8_same_limbs(check, fe_one));
        r = fe8_select(r, fe8_mul(r, fe8_all(SQRT_M1)), flipped);

        const fe8 den_x = fe8_mul(r, u2), den_y = fe8_mul(fe8_mul(r, den_x), v);
        const fe8 out_x = fe8_abs(fe8_mul(fe8_add(s, s), den_x)), out_y = fe8_canonical(fe8_mul(u1, den_y));
        valid &= ~(unsigned)(fe8_odd(fe8_canonical(fe8_mul(out_x, out_y))) | fe8_same_limbs(out_y, fe_zero));
        fe8_to_bytes(points + PRIVCOMP_POINT_BYTES * first, PRIVCOMP_POINT_BYTES, count, out_x);
        fe8_to_bytes(points + PRIVCOMP_POINT_BYTES * first + 32, PRIVCOMP_POINT_BYTES, count, out_y);
    }
    PC_DECLASSIFY(valid);
    return valid == 0xff;
}
