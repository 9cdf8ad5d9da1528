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

#define ED8_AFFINE_WORDS 120 /* of the addend in memory; check: 3 * 5 * 8 */

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

IFMA static inline ed8_affine ed8_load_affine(const uint64_t *from)
{
    ed8_affine a;
    for (int i = 0; i < 5; i++)
        a.plus.v[i] = load8(from + LANES * i), a.minus.v[i] = load8(from + LANES * (5 + i)), a.t2d.v[i] = load8(from + LANES * (10 + i));
    return a;
}

IFMA static inline void ed8_store_affine(uint64_t *to, ed8_affine a)
{
    for (int i = 0; i < 5; i++)
        store8(to + LANES * i, a.plus.v[i]), store8(to + LANES * (5 + i), a.minus.v[i]), store8(to + LANES * (10 + i), a.t2d.v[i]);
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

IFMA static ed8_point ed8_add(ed8_point p, ed8_point q)
{
    const fe8 t2d = fe8_carry(fe8_mul_wide(q.t, fe8_all(ED_2D))), d = fe8_mul_wide(p.z, q.z);
    return ed8_complete(fe8_mul_wide(p.minus, q.minus), fe8_mul_wide(p.plus, q.plus), fe8_mul_wide(p.t, t2d), fe8_add_wide(d, d));
}

/* 2p - a, short, in the lanes of the mask, for a tight. */
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

/* ---- sums of multiples ---- */

#define ED8_BUCKET 20 /* words of a bucket, which is Y - X, Y + X, Z, T of one point; check: 4 * 5 */

/* The points at `address`, ED8_BUCKET words each. */
IFMA PC_INLINE ed8_point ed8_gather(__m512i address)
{
    uint64_t start[LANES];
    __m512i w[ED8_BUCKET];
    ed8_point p;
    store8(start, address);
    PC_UNROLL
    for (int k = 0; k < 5; k++) {
        const uint8_t *at[LANES];
        for (int j = 0; j < LANES; j++) at[j] = (const uint8_t *)(uintptr_t)start[j] + 32 * k;
        fe8_words(w + 4 * k, at);
    }
    PC_UNROLL
    for (int i = 0; i < 5; i++) p.minus.v[i] = w[i], p.plus.v[i] = w[5 + i], p.z.v[i] = w[10 + i], p.t.v[i] = w[15 + i];
    return p;
}

IFMA PC_INLINE void ed8_scatter(__m512i address, ed8_point p)
{
    uint64_t start[LANES];
    __m512i w[ED8_BUCKET];
    store8(start, address);
    PC_UNROLL
    for (int i = 0; i < 5; i++) w[i] = p.minus.v[i], w[5 + i] = p.plus.v[i], w[10 + i] = p.z.v[i], w[15 + i] = p.t.v[i];
    PC_UNROLL
    for (int k = 0; k < 5; k++) {
        uint8_t *at[LANES];
        for (int j = 0; j < LANES; j++) at[j] = (uint8_t *)(uintptr_t)start[j] + 32 * k;
        fe8_store_words(at, w + 4 * k);
    }
}

/* Point 8 i + j belongs to lane j, and each lane has buckets of its own: two lanes never add to the same one. The buckets of a size of
 * digits stand together; those of size 0 do not count. */
IFMA PC_INLINE __m512i ed8_bucket(const uint64_t *bucket, __m512i size)
{
    static const uint64_t lane[LANES] = {0, 1, 2, 3, 4, 5, 6, 7};
    const __m512i place = add8(_mm512_slli_epi64(size, 3), load8(lane)); /* check: 2**3 == 8 */
    return add8(all8((uintptr_t)bucket), _mm512_maskz_mullo_epi64(0xff, place, all8(8 * ED8_BUCKET)));
}

/* Adds each point, with the sign of its digit k, to the bucket of the digit's size. */
IFMA static void ed8_fill_var(uint64_t *bucket, const uint64_t *addends, const uint64_t *biased, size_t vectors, unsigned w, unsigned k)
{
    const unsigned bit = k * w, word = bit / 64;
    const uint64_t count = (uint64_t)1 << (w - 1);
    for (size_t i = 0; i < vectors; i++) {
        /* pc_msm_digit; a shift by 64 gives 0 */
        const uint64_t *const v = biased + LANES * GROUP_BIASED_WORDS * i;
        __m512i x = _mm512_srlv_epi64(load8(v + LANES * word), all8(bit % 64));
        if (word + 1 < GROUP_BIASED_WORDS) x = _mm512_or_si512(x, _mm512_sllv_epi64(load8(v + LANES * (word + 1)), all8(64 - bit % 64)));
        const __m512i digit = sub8(_mm512_and_si512(x, all8(2 * count - 1)), all8(count)), into = ed8_bucket(bucket, _mm512_abs_epi64(digit));
        const __mmask8 negative = _mm512_test_epi64_mask(digit, all8((uint64_t)1 << 63));
        const ed8_affine a = ed8_load_affine(addends + ED8_AFFINE_WORDS * i);
        const ed8_affine q = {fe8_select(a.plus, a.minus, negative), fe8_select(a.minus, a.plus, negative), fe8_negate_lanes(a.t2d, negative)};
        ed8_scatter(into, ed8_add_affine(ed8_gather(into), q));
    }
}

/* ed_buckets_var for whole vectors of points. */
IFMA static ed_point ed8_buckets_var(const uint64_t *addends, const uint64_t *biased, size_t vectors, unsigned w, unsigned windows,
                                     uint64_t *bucket)
{
    static const uint64_t empty[ED8_BUCKET] = {[0] = 1, [5] = 1, [10] = 1};
    const size_t count = (size_t)1 << (w - 1);
    ed_point sum = ed_identity();
    for (unsigned k = windows; k-- > 0;) {
        for (size_t b = 0; b < LANES * (count + 1); b++) memcpy(bucket + ED8_BUCKET * b, empty, sizeof empty);
        ed8_fill_var(bucket, addends, biased, vectors, w, k);
        ed8_point above = ed8_identity(), part = above;
        for (size_t b = count; b > 0; b--) {
            above = ed8_add(above, ed8_gather(ed8_bucket(bucket, all8(b))));
            part = ed8_add(part, above);
        }
        ed8_store(bucket, part);
        ed8_to_points(bucket);
        for (unsigned twice = 0; twice < w; twice++) sum = ed_double(&sum);
        for (size_t j = 0; j < LANES; j++) sum = ed_add(&sum, (const ed_point *)bucket + j);
    }
    return sum;
}

/* ed_msm_var, which does the few points for which buckets do not pay. */
IFMA static void ed8_msm_var(uint8_t *out, const uint8_t *points, const uint8_t *scalars, const int64_t *values, size_t n, uint64_t *scratch)
{
    if (n < GROUP_STRAUS_MAX) {
        ed_msm_var(out, points, scalars, values, n, scratch);
        return;
    }
    const unsigned bits = scalars != NULL ? 254 : pc_value_bits(values, n);
    const uint64_t none[4] = {0};
    ed_point sum = ed_identity();
    for (size_t first = 0; first < n; first += GROUP_MSM_BLOCK) {
        const size_t count = n - first < GROUP_MSM_BLOCK ? n - first : GROUP_MSM_BLOCK, vectors = (count + LANES - 1) / LANES;
        const unsigned w = pc_msm_window(vectors, bits), windows = pc_msm_windows(w, bits);
        uint64_t *const biased = scratch + ED8_AFFINE_WORDS * vectors, *const rest = biased + LANES * GROUP_BIASED_WORDS * vectors;
        for (size_t i = 0; i < vectors; i++) {
            const uint8_t *x_at[LANES], *y_at[LANES];
            for (size_t j = 0; j < LANES; j++) {
                /* Where no point is left, any point stands with digits that are zero. */
                const int left = LANES * i + j < count;
                const size_t at = left ? first + LANES * i + j : first;
                uint64_t digits[GROUP_BIASED_WORDS];
                left ? pc_msm_biased(digits, scalars, values, at, w, windows) : pc_msm_bias(digits, none, 0, w, windows);
                for (size_t k = 0; k < GROUP_BIASED_WORDS; k++) biased[LANES * (GROUP_BIASED_WORDS * i + k) + j] = digits[k];
                x_at[j] = points + PRIVCOMP_POINT_BYTES * at, y_at[j] = x_at[j] + 32;
            }
            __m512i word[4];
            fe8_words(word, x_at);
            const fe8 x = fe8_from_words(word);
            fe8_words(word, y_at);
            const fe8 y = fe8_from_words(word);
            const ed8_affine a = {fe8_add(y, x), fe8_sub(y, x), fe8_mul(fe8_mul(x, y), fe8_all(ED_2D))};
            ed8_store_affine(scratch + ED8_AFFINE_WORDS * i, a);
        }
        const ed_point part = ed8_buckets_var(scratch, biased, vectors, w, windows, rest);
        sum = ed_add(&sum, &part);
    }
    ed_store(out, &sum, 1);
}

/* ---- decoding ---- */

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
