/* BN254 G1 ("alt_bn128"): y^2 = x^3 + 3 modulo a prime p of 254 bits; prime order, so every point of the curve is in the group.
 * Sources: EIP-196 (parameters and encoding); Renes, Costello, Batina, "Complete addition formulas for prime order elliptic curves",
 * EUROCRYPT 2016, algorithms 7, 8 and 9; RFC 9380, section 6.6.1 (Shallue, van de Woestijne), for hashing. */
#include "group.h"
#include "orders.h"

#define GE(name) bn_##name
#define GE_ENTRY_BYTES 64

/* p = 36 u^4 + 36 u^3 + 24 u^2 + 6 u + 1, u = 4965661367192848881 */
static const mont BN_FIELD = {
    {0x3c208c16d87cfd47, 0x97816a916871ca8d, 0xb85045b68181585d, 0x30644e72e131a029}, /* check: tuple(21888242871839275222246405745257275088696311157297823662689037894645226208583 >> 64 * i & 2**64 - 1 for i in (0, 1, 2, 3)) */
    {0xf32cfc5b538afa89, 0xb5e71911d44501fb, 0x47ab1eff0a417ff6, 0x6d89f71cab8351f}, /* check: tuple(2**512 % 21888242871839275222246405745257275088696311157297823662689037894645226208583 >> 64 * i & 2**64 - 1 for i in (0, 1, 2, 3)) */
    {0xd35d438dc58f0d9d, 0xa78eb28f5c70b3d, 0x666ea36f7879462c, 0xe0a77c19a07df2f}, /* check: tuple(2**256 % 21888242871839275222246405745257275088696311157297823662689037894645226208583 >> 64 * i & 2**64 - 1 for i in (0, 1, 2, 3)) */
    0x87d20782e4866389, /* check: -pow(21888242871839275222246405745257275088696311157297823662689037894645226208583, -1, 2**64) % 2**64 */
};

#define F (&BN_FIELD)

/* Projective: x = X/Z, y = Y/Z; the identity is (0 : 1 : 0). */
typedef struct {
    mt x, y, z;
} bn_point;

typedef bn_point bn_cached;

/* (0, 0) is the identity. */
typedef struct {
    mt x, y;
} bn_affine;

typedef mt bn_field;

static inline mt bn_mul(mt a, mt b) { return mt_mul(a, b, F); }
static inline mt bn_inv(mt a) { return mt_inv(a, F); }
PC_INLINE mt add(mt a, mt b) { return mt_add(a, b, F); }
PC_INLINE mt sub(mt a, mt b) { return mt_sub(a, b, F); }
PC_INLINE mt mul(mt a, mt b) { return mt_mul(a, b, F); }

/* 3 b = 9 times. */
PC_INLINE mt nine(mt a)
{
    const mt a2 = add(a, a), a4 = add(a2, a2);
    return add(add(a4, a4), a);
}

static inline bn_point bn_identity(void)
{
    const bn_point out = {mt_zero, mt_one(F), mt_zero};
    return out;
}

/* Algorithms 7 and 8 end alike: xx = X1 X2, yy = Y1 Y2, zz = 3b Z1 Z2, xy = X1 Y2 + X2 Y1, yz and xz likewise. */
PC_INLINE bn_point bn_finish_add(mt xx, mt yy, mt zz, mt xy, mt yz, mt xz)
{
    const mt xxx = add(add(xx, xx), xx), plus = add(yy, zz), minus = sub(yy, zz), xz3 = nine(xz);
    const bn_point out = {sub(mul(xy, minus), mul(yz, xz3)), add(mul(xz3, xxx), mul(minus, plus)), add(mul(xxx, xy), mul(plus, yz))};
    return out;
}

static inline bn_point bn_add_cached(const bn_point *p, const bn_cached *q)
{
    const mt xx = mul(p->x, q->x), yy = mul(p->y, q->y), zz = mul(p->z, q->z);
    const mt xy = sub(mul(add(p->x, p->y), add(q->x, q->y)), add(xx, yy));
    const mt yz = sub(mul(add(p->y, p->z), add(q->y, q->z)), add(yy, zz));
    const mt xz = sub(mul(add(p->x, p->z), add(q->x, q->z)), add(xx, zz));
    return bn_finish_add(xx, yy, nine(zz), xy, yz, xz);
}

static inline bn_point bn_add_affine(const bn_point *p, const bn_affine *q)
{
    const mt xx = mul(p->x, q->x), yy = mul(p->y, q->y);
    const mt xy = sub(mul(add(p->x, p->y), add(q->x, q->y)), add(xx, yy));
    const bn_point sum = bn_finish_add(xx, yy, nine(p->z), xy, add(mul(q->y, p->z), p->y), add(mul(q->x, p->z), p->x));
    const uint64_t nothing = mt_equal_mask(q->x, mt_zero) & mt_equal_mask(q->y, mt_zero);
    const bn_point out = {mt_select(sum.x, p->x, nothing), mt_select(sum.y, p->y, nothing), mt_select(sum.z, p->z, nothing)};
    return out;
}

static inline bn_point bn_double(const bn_point *p)
{
    const mt yy = mul(p->y, p->y), yz = mul(p->y, p->z), zz = nine(mul(p->z, p->z)), xy = mul(p->x, p->y);
    const mt yy2 = add(yy, yy), yy4 = add(yy2, yy2), yy8 = add(yy4, yy4);
    const mt minus = sub(yy, add(add(zz, zz), zz)), x = mul(minus, xy);
    const bn_point out = {add(x, x), add(mul(zz, yy8), mul(minus, add(yy, zz))), mul(yz, yy8)};
    return out;
}

static inline bn_cached bn_cache(const bn_point *p) { return *p; }

static inline bn_cached bn_select_cached(const bn_cached *a, const bn_cached *b, uint64_t mask)
{
    const bn_cached out = {mt_select(a->x, b->x, mask), mt_select(a->y, b->y, mask), mt_select(a->z, b->z, mask)};
    return out;
}

static inline bn_cached bn_negate_cached(const bn_cached *a, uint64_t mask)
{
    const bn_cached out = {a->x, mt_select(a->y, mt_neg(a->y, F), mask), a->z};
    return out;
}

static inline bn_affine bn_negate_affine(const bn_affine *a, uint64_t mask)
{
    const bn_affine out = {a->x, mt_select(a->y, mt_neg(a->y, F), mask)};
    return out;
}

static inline bn_affine bn_load(const uint8_t *point)
{
    const bn_affine out = {mt_from_bytes(point, F), mt_from_bytes(point + 32, F)};
    return out;
}

static inline void bn_pack(uint8_t *entry, const bn_affine *a)
{
    wide_store(entry, a->x.w);
    wide_store(entry + 32, a->y.w);
}

static inline bn_affine bn_unpack(const uint8_t *entry)
{
    bn_affine out;
    wide_load(out.x.w, entry);
    wide_load(out.y.w, entry + 32);
    return out;
}

static inline mt bn_denominator(const bn_point *p) { return mt_select(p->z, mt_one(F), mt_equal_mask(p->z, mt_zero)); }

static inline void bn_finish(uint8_t *out, const bn_point *p, mt inverse)
{
    const uint64_t nothing = mt_equal_mask(p->z, mt_zero);
    mt_to_bytes(out, mt_select(mul(p->x, inverse), mt_zero, nothing), F);
    mt_to_bytes(out + 32, mt_select(mul(p->y, inverse), mt_zero, nothing), F);
}

static inline bn_point bn_double_again(const bn_point *p) { return bn_double(p); }

#include "group_template.h"

/* Words of scratch for the next function: points whose sums it keeps, a block of rows. */
static size_t bn_rows_words(size_t rows) { return (rows < PRIVCOMP_GROUP_ROW_BLOCK ? rows : PRIVCOMP_GROUP_ROW_BLOCK) * (sizeof(bn_point) / 8); }

/* out[a] = sum over b < n of values[a n + b] times base b. Column by column, so that a window of the table (8 kB) serves a block of
 * rows while it is in the first-level cache; digit k of v is its byte k read as -128 .. 127, the top one what is left: -128 .. 128. */
static void bn_rows_var(uint8_t *out, const uint8_t *table, const int32_t *values, size_t rows, size_t n, unsigned windows,
                        uint64_t *scratch)
{
    bn_point *sum = (bn_point *)scratch;
    int32_t column[PRIVCOMP_GROUP_ROW_BLOCK];
    for (size_t first = 0; first < rows; first += PRIVCOMP_GROUP_ROW_BLOCK) {
        const size_t count = rows - first < PRIVCOMP_GROUP_ROW_BLOCK ? rows - first : PRIVCOMP_GROUP_ROW_BLOCK;
        for (size_t a = 0; a < count; a++) sum[a] = bn_identity();
        for (size_t b = 0; b < n; b++) {
            for (size_t a = 0; a < count; a++) column[a] = values[(first + a) * n + b];
            for (unsigned i = 0; i < windows; i++) {
                const uint8_t *window = table + GE_ENTRY_BYTES * GROUP_ENTRIES * (b * windows + i);
                for (size_t a = 0; a < count; a++) {
                    const int64_t v = column[a];
                    int64_t digit = v;
                    if (i + 1 < windows) {
                        digit = (int64_t)((uint64_t)(v + 128) & 255) - 128;
                        column[a] = (int32_t)((v - digit) / 256);
                    }
                    /* Values may change while we read them: a digit out of range must not become an address. */
                    if (digit < -GROUP_ENTRIES || digit > GROUP_ENTRIES) digit = 0;
                    sum[a] = bn_add_entry_var(&sum[a], window, (int)digit);
                }
            }
        }
        bn_store(out + PRIVCOMP_POINT_BYTES * first, sum, count);
    }
    privcomp_wipe((uint8_t *)column, sizeof column);
    privcomp_wipe((uint8_t *)sum, 8 * bn_rows_words(rows));
}

/* x^3 + 3 */
static mt curve(mt x)
{
    const mt one = mt_one(F);
    return add(mul(mul(x, x), x), add(add(one, one), one));
}

static uint64_t square_mask(mt a)
{
    static const uint64_t half[4] = {0x9e10460b6c3e7ea3, 0xcbc0b548b438e546, 0xdc2822db40c0ac2e, 0x183227397098d014}; /* check: tuple(21888242871839275222246405745257275088696311157297823662689037894645226208583 // 2 >> 64 * i & 2**64 - 1 for i in (0, 1, 2, 3)) */
    const mt euler = mt_pow(a, half, F);
    return mt_equal_mask(euler, mt_one(F)) | mt_equal_mask(a, mt_zero);
}

/* p = 3 mod 4. */
static mt square_root(mt a)
{
    static const uint64_t quarter[4] = {0x4f082305b61f3f52, 0x65e05aa45a1c72a3, 0x6e14116da0605617, 0xc19139cb84c680a}; /* check: tuple((21888242871839275222246405745257275088696311157297823662689037894645226208583 + 1) // 4 >> 64 * i & 2**64 - 1 for i in (0, 1, 2, 3)) */
    return mt_pow(a, quarter, F);
}

static uint64_t odd_mask(mt a)
{
    uint64_t w[4];
    mt_words(w, a, F);
    return mask64(w[0] & 1);
}

/* x || y, big endian, (0, 0) the identity (EIP-196). */
static void reverse(uint8_t out[32], const uint8_t *in)
{
    for (int i = 0; i < 32; i++) out[i] = in[31 - i];
}

static int bn_decode(uint8_t *points, const uint8_t *encodings, size_t n)
{
    for (size_t i = 0; i < 2 * n; i++) reverse(points + 32 * i, encodings + 32 * i);
    return pc_bn254.on_curve(points, n);
}

static void bn_encode(uint8_t *encodings, const uint8_t *points, size_t n)
{
    for (size_t i = 0; i < 2 * n; i++) reverse(encodings + 32 * i, points + 32 * i);
}

static int bn_on_curve(const uint8_t *points, size_t n)
{
    uint64_t valid = ~(uint64_t)0;
    for (size_t i = 0; i < n; i++) {
        mt c[2];
        for (int k = 0; k < 2; k++) {
            uint64_t w[4], t[4];
            wide_load(w, points + PRIVCOMP_POINT_BYTES * i + 32 * k);
            const uint64_t below = mask64(wide_subtract(t, w, BN_FIELD.m));
            valid &= below;
            for (int j = 0; j < 4; j++) w[j] &= below;
            c[k] = mt_from_words(w, F);
        }
        const uint64_t nothing = mt_equal_mask(c[0], mt_zero) & mt_equal_mask(c[1], mt_zero);
        valid &= nothing | mt_equal_mask(mul(c[1], c[1]), curve(c[0]));
    }
    PC_DECLASSIFY(valid);
    return valid != 0;
}

/* 48 bytes, big endian, modulo p (RFC 9380, hash_to_field with L = 48). */
static mt reduce_48(const uint8_t *in)
{
    uint8_t wide[64] = {0};
    for (int i = 0; i < 48; i++) wide[i] = in[47 - i];
    return mt_from_wide(wide, F);
}

/* RFC 9380, section 6.6.1 with Z = 1 (appendix H.1): c1 = g(Z) = 4, c2 = -Z/2, c3 = sqrt(-g(Z) 3 Z^2) with sgn0 = 0, c4 = -4 g(Z) / (3 Z^2). */
static bn_affine bn_map(mt u)
{
    /* In Montgomery form. */
    static const mt c2 = {{0xb461a4448976f7d5, 0xc6843fb439555fa7, 0x28f0d12384840918, 0x112ceb58a394e07d}}; /* check: tuple(-pow(2, -1, 21888242871839275222246405745257275088696311157297823662689037894645226208583) * 2**256 % 21888242871839275222246405745257275088696311157297823662689037894645226208583 >> 64 * i & 2**64 - 1 for i in (0, 1, 2, 3)) */
    static const mt c3 = {{0x7c8487078735ab72, 0x51da7e0048bfb8d4, 0x945cfd183cbd7bf4, 0xb70b1ec48ae62c6}}; /* check: tuple(pow(-12, (21888242871839275222246405745257275088696311157297823662689037894645226208583 + 1) // 4, 21888242871839275222246405745257275088696311157297823662689037894645226208583) * 2**256 % 21888242871839275222246405745257275088696311157297823662689037894645226208583 >> 64 * i & 2**64 - 1 for i in (0, 1, 2, 3)) */
    static const mt c4 = {{0xa79a2bdca0800831, 0x19fd7617e49815a1, 0xbb8d0c885550c7b1, 0x5c4aeb6ec7e0f48}}; /* check: tuple(-16 * pow(3, -1, 21888242871839275222246405745257275088696311157297823662689037894645226208583) * 2**256 % 21888242871839275222246405745257275088696311157297823662689037894645226208583 >> 64 * i & 2**64 - 1 for i in (0, 1, 2, 3)) */
    const mt one = mt_one(F), two = add(one, one), four = add(two, two);
    const mt u1 = mul(mul(u, u), four), minus = sub(one, u1), plus = add(one, u1), inverse = bn_inv(mul(minus, plus));
    const mt t = mul(mul(mul(u, minus), inverse), c3), x1 = sub(c2, t), x2 = add(c2, t);
    const mt r = mul(mul(plus, plus), inverse), x3 = add(mul(mul(r, r), c4), one);
    const uint64_t first = square_mask(curve(x1)), second = square_mask(curve(x2)) & ~first;
    const mt x = mt_select(mt_select(x3, x1, first), x2, second), y = square_root(curve(x));
    const bn_affine out = {x, mt_select(y, mt_neg(y, F), odd_mask(u) ^ odd_mask(y))};
    return out;
}

static void bn_from_uniform(uint8_t *points, const uint8_t *uniform, size_t n)
{
    const bn_point zero = bn_identity();
    for (size_t i = 0; i < n; i++) {
        const bn_affine a = bn_map(reduce_48(uniform + 96 * i)), b = bn_map(reduce_48(uniform + 96 * i + 48));
        bn_point sum = bn_add_affine(&zero, &a);
        sum = bn_add_affine(&sum, &b);
        bn_store(points + PRIVCOMP_POINT_BYTES * i, &sum, 1);
    }
}

static void bn_equal(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t differs = 0;
        for (int k = 0; k < PRIVCOMP_POINT_BYTES; k++)
            differs |= (uint64_t)(a[PRIVCOMP_POINT_BYTES * i + k] ^ b[PRIVCOMP_POINT_BYTES * i + k]);
        out[i] = (uint8_t)((differs - 1) >> 63);
    }
}

static void bn_generator(uint8_t *point)
{
    memset(point, 0, PRIVCOMP_POINT_BYTES);
    point[0] = 1, point[32] = 2;
}

const struct group pc_bn254 = {
    .order = &BN_ORDER,
    .encoding_bytes = 64,
    .uniform_bytes = 96,
    .entry_bytes = GE_ENTRY_BYTES,
    .rows_entry_bytes = GE_ENTRY_BYTES,
    .affine_words = sizeof(bn_affine) / 8,
    .point_words = sizeof(bn_point) / 8,
    .cached_words = sizeof(bn_cached) / 8,
    .lanes = 1,
    .decode = bn_decode,
    .encode = bn_encode,
    .from_uniform = bn_from_uniform,
    .on_curve = bn_on_curve,
    .generator = bn_generator,
    .equal = bn_equal,
    .add = bn_add_n,
    .sum = bn_sum,
    .mul = bn_mul_n,
    .msm = bn_msm,
    .msm_var = bn_msm_var,
    .table = bn_table,
    .rows_words = bn_rows_words,
    .rows_var = bn_rows_var,
    .fixed_var = bn_fixed_var,
    .axpy_var = bn_axpy_var,
};
