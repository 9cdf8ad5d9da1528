/* The AVX-512 IFMA code of ristretto255 in emulation against its portable twin: the field on extreme limbs, then whole functions. */
#include "check.h"
#include "core.h"

#if PC_X86
/* Registers are memory here: unrolling and inlining would only keep the compiler busy. */
#undef PC_UNROLL
#define PC_UNROLL
#undef PC_INLINE
#define PC_INLINE static inline
#define PRIVCOMP_EMULATE_AVX512
#define pc_ristretto255 emulated_portable
#define pc_ristretto255_ifma twin
#include "../src/ristretto255.c"
#undef pc_ristretto255
#undef pc_ristretto255_ifma

extern const struct group pc_ristretto255;
static const struct group *const portable = &pc_ristretto255;

enum { POINT = PRIVCOMP_POINT_BYTES };

/* ---- the field ---- */

/* Limbs up to `limit`: random ones, and each of the smallest, the largest, and those about p. */
static uint64_t limb(uint64_t limit)
{
    const uint64_t edge[] = {0, 1, limit, limit - 1, FE_MASK, FE_MASK + 1, FE_MASK - 18, FE_MASK - 19};
    const uint64_t pick = test_u64();
    return pick % 2 ? edge[pick / 2 % 8] : test_u64() % (limit + 1);
}

static fe8 draw(uint64_t limit, int all_largest)
{
    fe8 out;
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < LANES; j++) out.v[i].lane[j] = all_largest ? limit : limb(limit);
    return out;
}

/* Lane j as a scalar, tight: wide limbs first give up what is above 2^51. */
static fe lane(fe8 a, int j)
{
    u128 r[5];
    for (int i = 0; i < 5; i++) r[i] = a.v[i].lane[j];
    return fe_fold(r[0] << 13, r[1] << 13, r[2] << 13, r[3] << 13, r[4] << 13);
}

static void same(fe8 a, int j, fe b) { CHECK(fe_equal_mask(lane(a, j), b) == ~(uint64_t)0); }

static void within(fe8 a, uint64_t limit)
{
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < LANES; j++) CHECK(a.v[i].lane[j] <= limit);
}

static void field(void)
{
    const uint64_t product = (uint64_t)173 << 52;
    for (int trial = 0; trial < 20000; trial++) {
        const fe8 a = draw(FE8_TIGHT, trial == 0), b = draw(FE8_SHORT, trial < 2), c = draw(FE8_WIDE, trial == 0), d = draw(product, trial == 0);
        const fe8 ab = fe8_mul_wide(a, b), aa = fe8_square_wide(a), carried = fe8_carry(c), difference = fe8_sub_wide(a, d);
        const fe8 canonical = fe8_canonical(a), size = fe8_abs(a), negative = fe8_negate_lanes(canonical, 0x5a);
        within(ab, product), within(aa, product), within(carried, FE8_TIGHT), within(difference, (uint64_t)1 << 61);
        within(canonical, FE_MASK), within(size, FE_MASK), within(negative, FE8_SHORT);
        for (int j = 0; j < LANES; j++) {
            const fe x = lane(a, j);
            uint8_t want[32], got[2 * 32];
            same(ab, j, fe_mul(x, lane(b, j)));
            same(aa, j, fe_square(x));
            same(carried, j, lane(c, j));
            same(difference, j, fe_carry(fe_sub(x, lane(d, j))));
            same(negative, j, 0x5a >> j & 1 ? fe_neg(x) : x);
            same(size, j, fe_abs(x));
            CHECK((fe8_odd(canonical) >> j & 1) == (fe_odd_mask(x) & 1) && !(fe8_odd(size) >> j & 1));
            fe_to_bytes(want, x);
            fe raw;
            for (int i = 0; i < 5; i++) raw.v[i] = canonical.v[i].lane[j];
            fe_to_bytes(got, raw);
            CHECK(memcmp(want, got, 32) == 0 && (fe8_same_limbs(canonical, raw) >> j & 1));
            raw.v[trial % 5] ^= 1;
            CHECK(!(fe8_same_limbs(canonical, raw) >> j & 1));
        }
    }
    for (int trial = 0; trial < 20; trial++) {
        const fe8 a[fe8_SIDE] = {draw(FE8_TIGHT, 0), draw(FE8_TIGHT, 0)};
        fe8 power[fe8_SIDE], alone;
        fe8_pow_p58(power, a, fe8_SIDE);
        fe8_pow_p58(&alone, a + 1, 1);
        uint8_t bytes[LANES][32], reversed[LANES][32];
        const uint8_t *at[LANES];
        __m512i w[4];
        for (int j = 0; j < LANES; j++)
            same(power[0], j, fe_pow_p58(lane(a[0], j))), same(power[1], j, fe_pow_p58(lane(a[1], j))), same(alone, j, fe_pow_p58(lane(a[1], j)));
        test_fill(bytes, sizeof bytes);
        for (int j = 0; j < LANES; j++) at[j] = bytes[LANES - 1 - j];
        fe8_words(w, at);
        const fe8 read = fe8_from_words(w);
        within(read, FE_MASK);
        for (int j = 0; j < LANES; j++) {
            const fe x = fe_from_bytes(at[j]);
            for (int i = 0; i < 5; i++) CHECK(read.v[i].lane[j] == x.v[i]);
        }
        fe8_to_bytes(reversed[0], 32, LANES, read);
        for (int j = 0; j < LANES; j++) {
            fe_to_bytes(bytes[LANES - 1 - j], fe_from_bytes(at[j]));
            CHECK(memcmp(reversed[j], bytes[LANES - 1 - j], 32) == 0);
        }
    }
}

#define twin_row_sums ed8_row_sums_var
#include "lanes_groups.h"

int main(void)
{
    field();
    groups();
    printf("groups in emulation: ok\n");
    return 0;
}
#else
int main(void)
{
    printf("groups in emulation: skipped, not x86-64\n");
    return 0;
}
#endif
