/* ristretto255 over edwards25519: -x^2 + y^2 = 1 + d x^2 y^2 modulo p = 2^255 - 19.
 * Sources: RFC 9496; Hisil, Wong, Carter, Dawson, "Twisted Edwards Curves Revisited" (2008), whose additions are complete here, as -1 is
 * a square modulo p and d is not. */
#include "fe25519.h"
#include "fe25519_inverse.h"
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

/* 2Z is < 2^52 + 2^16, so D - C and D + C are below 2^54 still. */
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

/* ---- rows of fixed multiples ---- */

/* The curve as v^2 = u^3 + 486662 u^2 + u (RFC 7748, section 4.1), with u = (1 + y) / (1 - y) and v = ED_ROOT u / x, and X = u + 486662 / 3, Y = v. */
static const fe ED_THIRD = {{0x2aaaaaaad2451, 0x5555555555555, 0x2aaaaaaaaaaaa, 0x5555555555555, 0x2aaaaaaaaaaaa}}; /* check: tuple(486662 * pow(3, -1, 2**255 - 19) % (2**255 - 19) >> 51 * i & 2**51 - 1 for i in (0, 1, 2, 3, 4)) */
/* check: pow(6853475219497561581579357271197624642482790079785650197046958215289687604742, 2, 2**255 - 19) == 2**255 - 19 - 486664 */
static const fe ED_ROOT = {{0x604aaff457e06, 0x2296fa350598d, 0x7f13dfb16874f, 0x35de93d846e01, 0xf26edf460a00}}; /* check: tuple(6853475219497561581579357271197624642482790079785650197046958215289687604742 >> 51 * i & 2**51 - 1 for i in (0, 1, 2, 3, 4)) */
/* S: the point with the least u above that of the base point, which is 9, and an even v. Nobody knows what multiple of another point it is.
 * check: pow(167642230825853293234581660894494674754174882353250700002955670287405211784, 2, 2**255 - 19) == (10**3 + 486662 * 10**2 + 10) % (2**255 - 19) */
static const fe ED_START_X = {{0x2aaaaaaad245b, 0x5555555555555, 0x2aaaaaaaaaaaa, 0x5555555555555, 0x2aaaaaaaaaaaa}}; /* check: tuple((10 + 486662 * pow(3, -1, 2**255 - 19)) % (2**255 - 19) >> 51 * i & 2**51 - 1 for i in (0, 1, 2, 3, 4)) */
static const fe ED_START_Y = {{0x5478bd176e088, 0x31cc6c9a12bf7, 0x571d425d33b8e, 0x7450f1db0f4e, 0x5ee1d3efdb7}}; /* check: tuple(167642230825853293234581660894494674754174882353250700002955670287405211784 >> 51 * i & 2**51 - 1 for i in (0, 1, 2, 3, 4)) */

#define ED_ROW_ENTRY_BYTES 64
#define ED_WINDOW_BYTES ((size_t)ED_ROW_ENTRY_BYTES * GROUP_ENTRIES)
#define ED_ROWS ((size_t)1024)     /* rows that are added up at once */
#define ED_SUMS ((size_t)2048)     /* sums at once, with one inversion for an addition to each; they take 0.4 MB */
#define ED_FEW_TERMS ((size_t)256) /* for which inversions do not pay */

enum { ed_POINT_WORDS = sizeof(ed_point) / 8, ED_STARTS = 12 /* check: 1 + (2048).bit_length() - 1 */ };

/* The entry of a digit that is 0: the top bits say that it has no coordinates. */
static const uint8_t ed_no_entry[ED_ROW_ENTRY_BYTES] = {[31] = 0x80, [63] = 0x80};

/* From coordinates (X, Y) of a point, Y not 0. */
static inline ed_point ed_of_weierstrass(fe x, fe y)
{
    const fe u = fe_carry(fe_sub(x, ED_THIRD)), more = fe_add(u, fe_one), less = fe_sub(u, fe_one), cu = fe_mul(u, ED_ROOT);
    const ed_point out = {fe_mul(cu, more), fe_mul(less, y), fe_mul(y, more), fe_mul(cu, less)};
    return out;
}

/* The way back: u = (Z + Y) X / D and v = ED_ROOT (Z + Y) Z / D for D = (Z - Y) X, which is 0 for the identity and (0, -1). */
static inline fe ed_weierstrass_denominator(const ed_point *p) { return fe_mul(fe_sub(p->z, p->y), p->x); }

static inline void ed_to_weierstrass(fe *x, fe *y, const ed_point *p, fe inverse)
{
    const fe own = fe_mul(inverse, fe_add(p->z, p->y));
    *x = fe_carry(fe_add(fe_mul(own, p->x), ED_THIRD));
    *y = fe_mul(fe_mul(own, p->z), ED_ROOT);
}

/* Entry k of window i of a base P is (k + 1) 256^i P: 32 bytes of X, then of Y; ed_no_entry for the identity and for (0, -1), which ristretto255 takes for
 * the identity too. Constant time. */
static void ed_affine_table(uint8_t *table, const uint8_t *points, size_t n, unsigned windows)
{
    ed_point row[GROUP_ENTRIES];
    fe d[GROUP_ENTRIES], before[GROUP_ENTRIES];
    uint64_t none[GROUP_ENTRIES];
    uint8_t base[PRIVCOMP_POINT_BYTES];
    const ed_point zero = ed_identity();
    for (size_t j = 0; j < n; j++) {
        memcpy(base, points + PRIVCOMP_POINT_BYTES * j, sizeof base);
        for (unsigned i = 0; i < windows; i++) {
            const ed_affine x = ed_load(base);
            for (int k = 0; k < GROUP_ENTRIES; k++) {
                row[k] = ed_add_affine(k ? &row[k - 1] : &zero, &x);
                d[k] = ed_weierstrass_denominator(&row[k]);
                none[k] = fe_zero_mask(d[k]);
                d[k] = fe_select(d[k], fe_one, none[k]);
                before[k] = k ? fe_mul(before[k - 1], d[k - 1]) : fe_one;
            }
            fe inverse = fe_inv(fe_mul(before[GROUP_ENTRIES - 1], d[GROUP_ENTRIES - 1]));
            for (int k = GROUP_ENTRIES - 1; k >= 0; k--) {
                uint8_t *const entry = table + ED_ROW_ENTRY_BYTES * k;
                fe x_of, y_of;
                ed_to_weierstrass(&x_of, &y_of, &row[k], fe_mul(inverse, before[k]));
                inverse = fe_mul(inverse, d[k]);
                fe_to_bytes(entry, fe_select(x_of, fe_zero, none[k]));
                fe_to_bytes(entry + 32, fe_select(y_of, fe_zero, none[k]));
                entry[31] |= (uint8_t)(none[k] & 0x80), entry[63] |= (uint8_t)(none[k] & 0x80);
            }
            table += ED_WINDOW_BYTES;
            const ed_point next = ed_double(&row[GROUP_ENTRIES - 1]);
            ed_store(base, &next, 1);
        }
    }
    privcomp_wipe((uint8_t *)row, sizeof row);
    privcomp_wipe((uint8_t *)d, sizeof d);
    privcomp_wipe((uint8_t *)before, sizeof before);
    privcomp_wipe((uint8_t *)base, sizeof base);
}

/* The format by the use. */
static void ed_fixed_table(uint8_t *table, const uint8_t *points, size_t n, unsigned windows)
{
    (windows <= GROUP_ROWS_WINDOWS ? ed_affine_table : ed_table)(table, points, n, windows);
}

/* The entry for window i of a value: digit k of v is its byte k read as -128 .. 127, the top one what is left, -128 .. 128. One out of range is none, as a
 * value may change while it is read. */
PC_INLINE const uint8_t *ed_place_var(uint64_t *negative, const uint8_t *window, int32_t value, unsigned i, unsigned windows)
{
    const uint64_t lower = UINT64_C(0x808080) >> 8 * (4 - windows), far = (uint64_t)1 << 40; /* 128 256^k for each digit but the top one */
    const uint64_t v = far + (uint64_t)(int64_t)value + lower;
    const int64_t digit = i + 1 < windows ? (int64_t)(v >> 8 * i & 255) - 128 : (int64_t)(v >> 8 * i) - (int64_t)(far >> 8 * i);
    *negative = 0 - ((uint64_t)digit >> 63);
    const uint64_t index = (((uint64_t)digit ^ *negative) - *negative) - 1;
    const uint64_t present = 0 - (uint64_t)(index < GROUP_ENTRIES);
    const uintptr_t entry = (uintptr_t)window + ED_ROW_ENTRY_BYTES * (uintptr_t)index, no_entry = (uintptr_t)ed_no_entry;
    return (const uint8_t *)((entry & present) | (no_entry & ~present));
}

/* Rows by complete formulas: any table, and few terms. */
static void ed_rows_complete_var(ed_point *out, const uint8_t *table, const int32_t *values, size_t count, size_t n, unsigned windows)
{
    ed_point own;
    for (size_t a = 0; a < count; a++) {
        ed_point sum = ed_identity();
        for (size_t b = 0; b < n; b++)
            for (unsigned i = 0; i < windows; i++) {
                uint64_t negative;
                const uint8_t *const entry = ed_place_var(&negative, table + ED_WINDOW_BYTES * (b * windows + i), values[n * a + b], i, windows);
                if (entry[31] >> 7) continue;
                const fe y = fe_from_bytes(entry + 32);
                own = ed_of_weierstrass(fe_from_bytes(entry), fe_select(y, fe_neg(y), negative));
                sum = ed_add(&sum, &own);
            }
        out[a] = sum;
        privcomp_wipe((uint8_t *)&sum, sizeof sum);
    }
    privcomp_wipe((uint8_t *)&own, sizeof own);
}

/* How many sums a row has where a block of `count` rows has `all` terms in each: a power of two. */
static size_t ed_sums_width(size_t count, size_t all)
{
    size_t width = 2;
    while (2 * width * count <= ED_SUMS && 2 * width <= all) width *= 2;
    return width;
}

/* Coordinates of S, 2S, .. for sums of this width, and less what they have in all: sum t starts at (1 + the number of its bits) S. For width = 2^m that is
 * 2^(m-1) (m + 2) S. */
static ed_point ed_starts_var(fe x[ED_STARTS], fe y[ED_STARTS], size_t width)
{
    ed_point start[ED_STARTS];
    fe d[ED_STARTS], before[ED_STARTS];
    size_t count = 1;
    for (size_t w = width; w > 1; w /= 2) count++;
    const size_t total = width / 2 * (count + 1);
    start[0] = ed_of_weierstrass(ED_START_X, ED_START_Y);
    for (size_t k = 0; k < count; k++) {
        if (k > 0) start[k] = ed_add(&start[k - 1], &start[0]);
        d[k] = ed_weierstrass_denominator(&start[k]);
        before[k] = k ? fe_mul(before[k - 1], d[k - 1]) : fe_one;
    }
    fe inverse = fe_inv_var(fe_mul(before[count - 1], d[count - 1]));
    for (size_t k = count; k-- > 0;) {
        ed_to_weierstrass(&x[k], &y[k], &start[k], fe_mul(inverse, before[k]));
        inverse = fe_mul(inverse, d[k]);
    }
    ed_point sum = ed_identity();
    for (size_t bit = (size_t)1 << 13; bit > 0; bit /= 2) { /* check: 2048 // 2 * (11 + 2) < 2**14 */
        sum = ed_double(&sum);
        if (total & bit) sum = ed_add(&sum, &start[0]);
    }
    sum.x = fe_neg(sum.x), sum.t = fe_neg(sum.t);
    return sum;
}

/* And how many there are in all, in pairs of the largest vectors. */
static size_t ed_sums_held(size_t count, size_t all) { return (count * ed_sums_width(count, all) + 15) / 16 * 16; }

/* Words of scratch: those of a sum are 10 for coordinates, 10 for a step, 2 for a place and less than 1 for its vector's number; there are a vector more for
 * each word of a place, as the last ones are stored whole, and 8 numbers. */
static size_t ed_rows_used(size_t rows, size_t all)
{
    const size_t count = rows < ED_ROWS ? rows : ED_ROWS;
    return ed_POINT_WORDS * count + (count * all < ED_FEW_TERMS ? 0 : 23 * ed_sums_held(count, all) + 2 * 8 + 8);
}

static size_t ed_rows_words(size_t rows) { return rows == 0 ? 0 : ed_rows_used(rows, ED_SUMS); }

/* ---- the same, one at a time ---- */

typedef uint64_t vec1, mask1;

PC_INLINE vec1 load1(const uint64_t *a) { return *a; }
PC_INLINE vec1 load_halves1(const uint32_t *a) { return *a; }
PC_INLINE void store1(uint64_t *a, vec1 x) { *a = x; }
PC_INLINE vec1 all1(uint64_t x) { return x; }
PC_INLINE vec1 add1(vec1 a, vec1 b) { return a + b; }
PC_INLINE vec1 sub1(vec1 a, vec1 b) { return a - b; }
PC_INLINE vec1 and1(vec1 a, vec1 b) { return a & b; }
PC_INLINE vec1 times32_1(vec1 a) { return a << 5; }
PC_INLINE mask1 negative1(vec1 a) { return mask64(a >> 63); }
PC_INLINE vec1 abs1(vec1 a) { return (a ^ negative1(a)) - negative1(a); }
PC_INLINE vec1 shift_byte1(vec1 a) { return a >> 8 | (negative1(a) & ~(~(uint64_t)0 >> 8)); }
PC_INLINE mask1 below1(vec1 a, uint64_t limit) { return mask64(a < limit); }
PC_INLINE vec1 select1(vec1 a, vec1 b, mask1 mask) { return a ^ (mask & (a ^ b)); }
PC_INLINE mask1 zero1(vec1 a) { return mask64(a == 0); }
PC_INLINE unsigned mask_bits1(mask1 mask) { return (unsigned)(mask & 1); }

PC_INLINE fe fe1_all(fe a) { return a; }
PC_INLINE fe fe1_limbs(fe a) { return a; }
PC_INLINE fe fe1_carry(fe a) { return fe_carry(a); }
PC_INLINE fe fe1_mul_inline(fe a, fe b) { return fe_mul(a, b); }
PC_INLINE fe fe1_select(fe a, fe b, mask1 mask) { return fe_select(a, b, mask); }
PC_INLINE fe fe1_difference(fe a, fe b) { return fe_carry(fe_sub(a, b)); }
PC_INLINE fe fe1_third_x(fe slope, fe x, fe d) { return fe_carry(fe_sub(fe_sub_sum(fe_square(slope), fe_add(x, x)), d)); }
PC_INLINE fe fe1_third_y(fe slope, fe run, fe y) { return fe_carry(fe_sub(fe_mul(slope, run), y)); }
PC_INLINE fe fe1_negate_entry(fe a, const uint64_t negative[1]) { return fe_select(a, fe_neg(a), negative[0]); }
PC_INLINE void fe1_lanes(fe out[1], fe a) { out[0] = a; }
PC_INLINE fe fe1_of_lanes(const fe a[1]) { return a[0]; }

PC_INLINE void fe1_store(uint64_t *to, fe a)
{
    for (int i = 0; i < 5; i++) {
        FE_WORD(a.v[i]);
        to[i] = a.v[i];
    }
}

PC_INLINE fe fe1_load(const uint64_t *from)
{
    fe out;
    for (int i = 0; i < 5; i++) {
        out.v[i] = from[i];
        FE_WORD(out.v[i]);
    }
    return out;
}

PC_INLINE fe fe1_lane(const uint64_t word[5]) { return fe1_load(word); }

PC_INLINE fe fe1_entry_var(mask1 *top, const uint64_t *at, size_t offset)
{
    const uint8_t *const from = (const uint8_t *)(uintptr_t)*at + offset;
    *top = mask64((uint64_t)from[31] >> 7);
    return fe_from_bytes(from);
}

#define LANE_TARGET
#define LANES 1
#define FE fe
#define FE_(name) fe1_##name
#define LANE_(name) name##1
#define ED_(name) ed1_##name
#include "ristretto255_affine.h"
#undef LANE_TARGET
#undef LANES
#undef FE
#undef FE_
#undef LANE_
#undef ED_

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
#include "ristretto255_affine.h"
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
#include "ristretto255_affine.h"
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
        .rows_entry_bytes = ED_ROW_ENTRY_BYTES, \
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
        .table = ed_fixed_table, \
        .rows_words = ed_rows_words, \
        .rows_var = rows_n, \
        .fixed_var = fixed_n, \
        .axpy_var = axpy_n, \
    }

const struct group pc_ristretto255 = RISTRETTO255(1, ristretto_decode, ed_mul_n, ed_msm, ed_msm_var, ed1_rows_var, ed_fixed_var, ed_axpy_var);
#if PC_X86
#define RISTRETTO255_LANES(n, ed) \
    RISTRETTO255(n, ed##_decode_lanes, ed##_mul_lanes, ed##_msm_lanes, ed##_msm_lanes_var, ed##_rows_var, ed##_fixed_lanes_var, \
                 ed##_axpy_lanes_var)
const struct group pc_ristretto255_ifma = RISTRETTO255_LANES(8, ed8);
#ifndef PRIVCOMP_EMULATE_AVX512
const struct group pc_ristretto255_fma = RISTRETTO255_LANES(4, ed4);
#endif
#endif
