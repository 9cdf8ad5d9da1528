/* Residues modulo an odd number m of at most 256 bits, masked with 512-bit words of keystreams.
 *
 * The words of a group of seeds are summed as integers, 32 bits per 64-bit column, so that no carry runs while they are added. A sum
 * T < 2^576 is then reduced once:
 *   five Montgomery steps  U = (T + q m) / 2^320, q < 2^320    U = T 2^-320 (mod m), U < 2^256 + m
 *   times 2^576 mod m, four steps  V = (U C + q m) / 2^256     V = T (mod m),        V < m (2^256 + m) / 2^256 + m < 3 m
 *   two conditional subtractions                               V < m
 */
#include "wide.h"

enum { LIMBS = 4, COLUMNS = 16, SUM_LIMBS = 9, TILE_LANES = 32 };

typedef struct {
    uint64_t m[LIMBS];    /* odd, m > 2^31 */
    uint64_t c[LIMBS];    /* 2^576 mod m */
    uint64_t inverse;     /* -1/m mod 2^64 */
} modulus_t;

/* Adds a b + add + carry into *low and returns the high half: at most (2^64 - 1)^2 + 2 (2^64 - 1) = 2^128 - 1. */
PC_INLINE uint64_t mul_add(uint64_t *low, uint64_t a, uint64_t b, uint64_t add, uint64_t carry)
{
    const u128 t = (u128)a * b + add + carry;
    *low = (uint64_t)t;
    return (uint64_t)(t >> 64);
}

/* out = a - b over n limbs; returns the borrow. */
PC_INLINE uint64_t subtract(uint64_t *out, const uint64_t *a, const uint64_t *b, int n)
{
    uint64_t borrow = 0;
    for (int i = 0; i < n; i++) {
        const u128 t = (u128)a[i] - b[i] - borrow;
        out[i] = (uint64_t)t;
        borrow = (uint64_t)(t >> 64) & 1;
    }
    return borrow;
}

/* x -= m if x >= m, for x of five limbs. */
PC_INLINE void reduce_once(uint64_t x[LIMBS + 1], const uint64_t m[LIMBS])
{
    uint64_t wide[LIMBS + 1] = {m[0], m[1], m[2], m[3], 0}, t[LIMBS + 1];
    const uint64_t keep = mask64(subtract(t, x, wide, LIMBS + 1));
    for (int i = 0; i <= LIMBS; i++) x[i] = (x[i] & keep) | (t[i] & ~keep);
}

/* out = a + b mod m, for a, b < m. */
PC_INLINE void add_mod(uint64_t out[LIMBS + 1], const uint64_t a[LIMBS], const uint64_t b[LIMBS], const uint64_t m[LIMBS])
{
    u128 t = 0;
    for (int i = 0; i < LIMBS; i++) {
        t += (u128)a[i] + b[i];
        out[i] = (uint64_t)t;
        t >>= 64;
    }
    out[LIMBS] = (uint64_t)t;
    reduce_once(out, m);
}

/* Whether m is odd and > 2^31. */
static int modulus_init(modulus_t *mod, const uint8_t *bytes)
{
    wide_load(mod->m, bytes);
    const uint64_t *m = mod->m;
    if (!(m[0] & 1) || ((m[1] | m[2] | m[3]) == 0 && m[0] <= 0x80000000)) return 0; /* check: 0x80000000 == 2**31 */
    uint64_t x = 1; /* Newton: x m = 1 mod 2 becomes 2^2, 2^4, .., 2^64 */
    for (int i = 0; i < 6; i++) x *= 2 - m[0] * x;
    mod->inverse = 0 - x;
    uint64_t c[LIMBS + 1] = {1};
    for (int i = 0; i < 576; i++) add_mod(c, c, c, m); /* check: 576 == 64 * 9 */
    memcpy(mod->c, c, sizeof mod->c);
    return 1;
}

/* x = (x + q m) / 2^(64 steps); x has n limbs before and n - steps after, one more limb is scratch for the carry. The sum must fit. */
PC_INLINE void montgomery(uint64_t *x, int n, int steps, const modulus_t *mod)
{
    uint64_t top = 0;
    for (int s = 0; s < steps; s++) {
        const uint64_t q = x[s] * mod->inverse;
        uint64_t carry = 0;
        for (int i = 0; i < LIMBS; i++) carry = mul_add(&x[s + i], q, mod->m[i], x[s + i], carry);
        for (int i = s + LIMBS; i < n; i++) {
            const u128 t = (u128)x[i] + carry;
            x[i] = (uint64_t)t;
            carry = (uint64_t)(t >> 64);
        }
        top += carry;
        VERIFY(x[s] == 0);
    }
    for (int i = 0; i < n - steps; i++) x[i] = x[i + steps];
    x[n - steps] = top;
}

/* What one lane leaves on the stack, in one place so that it can be wiped. */
typedef struct {
    uint64_t t[SUM_LIMBS + 1], v[2 * LIMBS + 2];
    uint64_t x[LIMBS + 1], plus[LIMBS + 1], minus[LIMBS + 1];
} scratch_t;

/* out = sum of column[i] 2^(32 i) mod m, for columns < 2^63. */
PC_INLINE void reduce_columns(uint64_t out[LIMBS + 1], const uint64_t column[COLUMNS], const modulus_t *mod, scratch_t *w)
{
    u128 carry = 0;
    for (int i = 0; i < COLUMNS / 2; i++) {
        VERIFY(column[2 * i] >> 63 == 0 && column[2 * i + 1] >> 63 == 0);
        carry += column[2 * i] + ((u128)column[2 * i + 1] << 32);
        w->t[i] = (uint64_t)carry;
        carry >>= 64;
    }
    w->t[SUM_LIMBS - 1] = (uint64_t)carry;
    montgomery(w->t, SUM_LIMBS, 5, mod); /* U, in five limbs */
    VERIFY(w->t[LIMBS] <= 1);
    memset(w->v, 0, sizeof w->v);
    for (int j = 0; j <= LIMBS; j++) {
        uint64_t c = 0;
        for (int i = 0; i < LIMBS; i++) c = mul_add(&w->v[i + j], w->t[j], mod->c[i], w->v[i + j], c);
        w->v[LIMBS + j] = c;
    }
    montgomery(w->v, 2 * LIMBS + 1, 4, mod); /* V, in five limbs */
    VERIFY(w->v[LIMBS] <= 2 && w->v[LIMBS + 1] == 0);
    memcpy(out, w->v, (LIMBS + 1) * sizeof *out);
    reduce_once(out, mod->m);
    reduce_once(out, mod->m);
    VERIFY(out[LIMBS] == 0);
}

/* The 32 bytes at residue += (sum of plus columns) - (sum of minus columns), mod m. */
PC_INLINE void lane_update(uint8_t *residue, const uint64_t plus[COLUMNS], const uint64_t minus[COLUMNS], const modulus_t *mod,
                           scratch_t *w)
{
    reduce_columns(w->plus, plus, mod, w);
    reduce_columns(w->minus, minus, mod, w);
    subtract(w->minus, mod->m, w->minus, LIMBS); /* m - minus, in 1 .. m */
    reduce_once(w->minus, mod->m);
    wide_load(w->x, residue);
    add_mod(w->x, w->x, w->plus, mod->m);
    add_mod(w->x, w->x, w->minus, mod->m);
    wide_store(residue, w->x);
}

/* Whether all n residues are < m. The time does not depend on where one is not. */
static int all_canonical(const uint8_t *p, size_t n, const modulus_t *mod)
{
    uint64_t ok = 1, x[LIMBS], t[LIMBS];
    for (size_t a = 0; a < n; a++) {
        wide_load(x, p + PRIVCOMP_LANE_BYTES * a);
        ok &= subtract(t, x, mod->m, LIMBS);
    }
    privcomp_wipe((uint8_t *)x, sizeof x);
    privcomp_wipe((uint8_t *)t, sizeof t);
    return (int)ok;
}

int privcomp_lanes_mask(uint8_t *acc, size_t n, const uint8_t *modulus, const uint8_t *seeds, const uint8_t *negate, size_t seed_count,
                        int cipher, uint64_t offset)
{
    const size_t seed_bytes = pc_seed_bytes(cipher);
    modulus_t mod;
    if (seed_bytes == 0 || !pc_range_ok(offset, n, PRIVCOMP_LANE_STREAM_BYTES) || seed_count > UINT32_MAX ||
        !modulus_init(&mod, modulus))
        return PRIVCOMP_E_ARGUMENT;
    if (!all_canonical(acc, n, &mod)) return PRIVCOMP_E_CANONICAL;

    const pc_level *level = pc_level_table();
    pc_stream s[PC_SEED_GROUP];
    uint64_t sum[2][TILE_LANES][COLUMNS]; /* [0] to add, [1] to subtract; columns < 64 * 2^32 */
    uint8_t stream[TILE_LANES * PRIVCOMP_LANE_STREAM_BYTES];
    scratch_t scratch;

    for (size_t first = 0; first < seed_count; first += PC_SEED_GROUP) {
        const size_t group = seed_count - first < PC_SEED_GROUP ? seed_count - first : PC_SEED_GROUP;
        for (size_t i = 0; i < group; i++) pc_stream_init(&s[i], cipher, seeds + (first + i) * seed_bytes, level);
        for (size_t at = 0; at < n; at += TILE_LANES) {
            const size_t lanes = n - at < TILE_LANES ? n - at : TILE_LANES;
            const size_t bytes = lanes * PRIVCOMP_LANE_STREAM_BYTES;
            memset(sum, 0, sizeof sum);
            for (size_t i = 0; i < group; i++) {
                uint64_t(*into)[COLUMNS] = sum[negate[first + i] != 0];
                pc_stream_apply(PC_STORE, stream, bytes, &s[i], (offset + at) * PRIVCOMP_LANE_STREAM_BYTES, cipher, level);
                for (size_t a = 0; a < lanes; a++)
                    for (int c = 0; c < COLUMNS; c++) into[a][c] += load32_le(stream + PRIVCOMP_LANE_STREAM_BYTES * a + 4 * c);
            }
            for (size_t a = 0; a < lanes; a++)
                lane_update(acc + PRIVCOMP_LANE_BYTES * (at + a), sum[0][a], sum[1][a], &mod, &scratch);
        }
    }
    privcomp_wipe((uint8_t *)s, (seed_count < PC_SEED_GROUP ? seed_count : PC_SEED_GROUP) * sizeof *s);
    privcomp_wipe((uint8_t *)sum, sizeof sum);
    privcomp_wipe(stream, sizeof stream);
    privcomp_wipe((uint8_t *)&scratch, sizeof scratch);
    return PRIVCOMP_OK;
}

int privcomp_lanes_add(uint8_t *acc, const uint8_t *other, size_t n, const uint8_t *modulus)
{
    modulus_t mod;
    if (n > SIZE_MAX / PRIVCOMP_LANE_BYTES || !modulus_init(&mod, modulus)) return PRIVCOMP_E_ARGUMENT;
    if (!all_canonical(acc, n, &mod) || !all_canonical(other, n, &mod)) return PRIVCOMP_E_CANONICAL;
    for (size_t a = 0; a < n; a++) {
        uint64_t x[LIMBS + 1], y[LIMBS];
        wide_load(x, acc + PRIVCOMP_LANE_BYTES * a);
        wide_load(y, other + PRIVCOMP_LANE_BYTES * a);
        add_mod(x, x, y, mod.m);
        wide_store(acc + PRIVCOMP_LANE_BYTES * a, x);
    }
    return PRIVCOMP_OK;
}
