/* The AVX2 and FMA code of ristretto255 against its portable twin: the field on extreme limbs and in every rounding mode, then whole functions. */
#include "check.h"
#include "core.h"

#if PC_X86
#define pc_ristretto255 own_portable
#define pc_ristretto255_ifma own_ifma
#define pc_ristretto255_fma twin
#include "../src/ristretto255.c"
#undef pc_ristretto255
#undef pc_ristretto255_ifma
#undef pc_ristretto255_fma

extern const struct group pc_ristretto255;
static const struct group *const portable = &pc_ristretto255;

enum { POINT = PRIVCOMP_POINT_BYTES };

#define twin_row_sums ed4_row_sums_var
#include "lanes_groups.h"

/* ---- the field ---- */

/* A limb in [-limit, limit]: random ones, and those at the ends, about 0, and about the limbs of p. */
static int64_t limb(int64_t limit)
{
    const int64_t edge[] = {0, 1, limit, limit - 1, FE_MASK >> 1, (FE_MASK >> 1) + 1, FE_MASK - 18, 19};
    const uint64_t pick = test_u64();
    int64_t x = pick % 4 < 2 ? edge[pick / 4 % 8] : (int64_t)(test_u64() % ((uint64_t)limit + 1));
    if (x > limit) x = limit;
    return pick >> 63 ? -x : x;
}

/* Lane j as a scalar, from limbs of any size and sign below 2^62. */
static fe scalar_of(const int64_t limb[5])
{
    u128 r[5];
    for (int i = 0; i < 5; i++) r[i] = (u128)((__int128)limb[i] + ((__int128)(i ? FE_MASK : FE_MASK - 18) << 13)); /* + 2^13 p */
    return fe_fold(r[0] << 13, r[1] << 13, r[2] << 13, r[3] << 13, r[4] << 13);
}

FMA static fe4 vector(int64_t limbs[4][5], int64_t limit, int which)
{
    fe4 out;
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 5; i++) limbs[j][i] = which == 0 ? limit : which == 1 ? -limit : which == 2 ? (i + j) % 2 ? limit : -limit : limb(limit);
    for (int i = 0; i < 5; i++) out.v[i] = _mm256_set_pd((double)limbs[3][i], (double)limbs[2][i], (double)limbs[1][i], (double)limbs[0][i]);
    return out;
}

FMA static fe4_wide wide_vector(int64_t limbs[4][5], int64_t limit, int which)
{
    fe4_wide out;
    (void)vector(limbs, limit, which);
    for (int i = 0; i < 5; i++) out.v[i] = _mm256_set_epi64x(limbs[3][i], limbs[2][i], limbs[1][i], limbs[0][i]);
    return out;
}

FMA static void read_wide(int64_t limbs[4][5], fe4_wide a, int64_t limit)
{
    int64_t lane[4];
    for (int i = 0; i < 5; i++) {
        store4((uint64_t *)lane, a.v[i]);
        for (int j = 0; j < 4; j++) {
            CHECK(lane[j] <= limit && lane[j] >= -limit);
            limbs[j][i] = lane[j];
        }
    }
}

FMA static void read(int64_t limbs[4][5], fe4 a, int64_t limit)
{
    double lane[4];
    for (int i = 0; i < 5; i++) {
        _mm256_storeu_pd(lane, a.v[i]);
        for (int j = 0; j < 4; j++) {
            CHECK(lane[j] <= (double)limit && lane[j] >= (double)-limit && lane[j] == (double)(int64_t)lane[j]);
            limbs[j][i] = (int64_t)lane[j];
        }
    }
}

static void equal(const int64_t limbs[5], fe b) { CHECK(fe_equal_mask(scalar_of(limbs), b) == ~(uint64_t)0); }

FMA static void field(int trials)
{
    const int64_t product = (int64_t)45 << 53; /* check: 45 * 2**53 == 20 * 9 * 2**51 */
    int64_t a_[4][5], b_[4][5], c_[4][5], ab[4][5], aa[4][5], tight[4][5], carried[4][5], sum[4][5], difference[4][5], canonical[4][5], size[4][5],
        negative[4][5], square[4][5], limbs[4][5], power[4][5], first[4][5], single[4][5];
    for (int trial = 0; trial < trials; trial++) {
        const int which = trial < 9 ? trial % 3 : 3, other = trial < 9 ? trial / 3 : 3;
        const fe4 a = vector(a_, FE4_TIGHT, which), b = vector(b_, FE4_SHORT, other);
        const fe4_wide c = wide_vector(c_, FE4_WIDE, which);
        const vec4 odd_lanes = _mm256_set_epi64x(-1, 0, -1, 0);
        const fe4_wide canonical4 = fe4_canonical(a), size4 = fe4_abs(a);
        const fe4 carried4 = fe4_carry(c);
        read_wide(ab, fe4_mul_wide(a, b), product), read_wide(aa, fe4_square_wide(a), product);
        read(tight, fe4_mul(a, b), FE4_TIGHT), read(square, fe4_square(a), FE4_TIGHT), read(carried, fe4_carry(c), FE4_TIGHT);
        read(sum, fe4_add(a, fe4_carry(c)), FE4_TIGHT), read(difference, fe4_sub(a, fe4_carry(c)), FE4_TIGHT);
        read(negative, fe4_negate_lanes(b, odd_lanes), FE4_SHORT);
        read_wide(canonical, canonical4, FE_MASK), read_wide(size, size4, FE_MASK), read_wide(limbs, fe4_limbs(a), FE4_TIGHT);
        CHECK(memcmp(limbs, a_, sizeof limbs) == 0);
        if (trial % 512 == 3) {
            const fe4 both[fe4_SIDE] = {carried4, a};
            fe4 powers[fe4_SIDE], alone;
            fe4_pow_p58(powers, both, fe4_SIDE);
            fe4_pow_p58(&alone, both, 1);
            read(first, powers[0], FE4_TIGHT), read(power, powers[1], FE4_TIGHT), read(single, alone, FE4_TIGHT);
        }
        for (int j = 0; j < 4; j++) {
            const fe x = scalar_of(a_[j]), y = scalar_of(b_[j]), z = scalar_of(c_[j]);
            fe raw;
            uint8_t want[32], got[32];
            equal(ab[j], fe_mul(x, y)), equal(tight[j], fe_mul(x, y)), equal(aa[j], fe_square(x)), equal(square[j], fe_square(x)), equal(carried[j], z);
            equal(sum[j], fe_carry(fe_add(x, z))), equal(difference[j], fe_carry(fe_sub(x, z)));
            equal(negative[j], j % 2 ? fe_neg(y) : y), equal(size[j], fe_abs(x));
            if (trial % 512 == 3) equal(power[j], fe_pow_p58(x)), equal(first[j], fe_pow_p58(z)), equal(single[j], fe_pow_p58(z));
            for (int i = 0; i < 5; i++) {
                CHECK(canonical[j][i] >= 0 && size[j][i] >= 0);
                raw.v[i] = (uint64_t)canonical[j][i];
            }
            const fe back = fe_from_bytes((fe_to_bytes(want, x), want));
            CHECK(memcmp(&raw, &back, sizeof raw) == 0); /* canonical limbs are unique */
            fe_to_bytes(got, raw);
            CHECK(memcmp(want, got, 32) == 0);
            CHECK((mask_bits4(fe4_odd(canonical4)) >> j & 1) == (fe_odd_mask(x) & 1) && !(mask_bits4(fe4_odd(size4)) >> j & 1));
            CHECK(mask_bits4(fe4_same_limbs(canonical4, raw)) >> j & 1);
            raw.v[trial % 5] ^= 1;
            CHECK(!(mask_bits4(fe4_same_limbs(canonical4, raw)) >> j & 1));
            uint64_t word[5];
            for (int i = 0; i < 5; i++) {
                const double d = (double)a_[j][i];
                memcpy(&word[i], &d, 8);
            }
            CHECK(fe_equal_mask(fe4_lane(word), x) == ~(uint64_t)0);
        }
    }
}

/* Numbers about p, which are canonical or just not. */
FMA static void about_p(void)
{
    for (int64_t k = -40; k <= 40; k++) {
        int64_t got[4][5];
        fe4_wide a;
        uint8_t want[32], bytes[4][32];
        const int64_t limb0 = k - 19; /* p + k = 2^51 2^204 + limb0 */
        a.v[0] = all4((uint64_t)limb0);
        for (int i = 1; i < 4; i++) a.v[i] = all4(0);
        a.v[4] = all4((uint64_t)1 << 51);
        const fe4_wide canonical = fe4_canonical(fe4_carry(a));
        read_wide(got, canonical, FE_MASK);
        const int64_t raw[5] = {limb0, 0, 0, 0, (int64_t)1 << 51};
        fe_to_bytes(want, scalar_of(raw));
        fe4_to_bytes(bytes[0], 32, 4, canonical);
        for (int j = 0; j < 4; j++) CHECK(memcmp(want, bytes[j], 32) == 0);
    }
}

FMA static void words(void)
{
    uint8_t bytes[4][32], back[4][32], copied[4][32];
    const uint8_t *at[4];
    uint8_t *to[4];
    int64_t limbs[4][5], same[4][5];
    vec4 w[4];
    for (int trial = 0; trial < 50; trial++) {
        test_fill(bytes, sizeof bytes);
        for (int j = 0; j < 4; j++) at[j] = bytes[3 - j], to[j] = copied[3 - j];
        fe4_words(w, at);
        fe4_store_words(to, w);
        CHECK(memcmp(bytes, copied, sizeof bytes) == 0);
        read_wide(limbs, fe4_from_words(w), FE_MASK), read(same, fe4_of_limbs(fe4_from_words(w)), FE_MASK);
        CHECK(memcmp(limbs, same, sizeof same) == 0);
        for (int j = 0; j < 4; j++) {
            const fe x = fe_from_bytes(at[j]);
            for (int i = 0; i < 5; i++) CHECK((uint64_t)limbs[j][i] == x.v[i]);
            fe_to_bytes(back[j], x);
        }
        uint8_t stored[4][32];
        fe4_to_bytes(stored[0], 32, 4, fe4_from_words(w));
        CHECK(memcmp(stored, back, sizeof back) == 0);
    }
    /* the integers that digits are computed with */
    for (int trial = 0; trial < 2000; trial++) {
        uint64_t x[4], y[4];
        uint32_t halves[4];
        for (int j = 0; j < 4; j++) {
            const uint64_t edge[] = {0, 1, 127, 128, 129, ~(uint64_t)0, (uint64_t)1 << 63, (uint64_t)INT64_MAX};
            x[j] = trial % 2 ? edge[test_u64() % 8] : test_u64() >> test_u64() % 64, halves[j] = (uint32_t)x[j];
        }
        store4(y, shift_byte4(load4(x)));
        for (int j = 0; j < 4; j++) CHECK((int64_t)y[j] == (int64_t)x[j] >> 8);
        store4(y, abs4(load4(x)));
        for (int j = 0; j < 4; j++) CHECK(y[j] == (x[j] >> 63 ? 0 - x[j] : x[j]));
        store4(y, load_halves4(halves));
        for (int j = 0; j < 4; j++) CHECK(y[j] == halves[j]);
        const unsigned below = mask_bits4(below4(load4(x), 128)), negative = mask_bits4(negative4(load4(x))), zero = mask_bits4(zero4(load4(x)));
        for (int j = 0; j < 4; j++)
            CHECK((below >> j & 1) == (x[j] < 128) && (negative >> j & 1) == x[j] >> 63 && (zero >> j & 1) == (x[j] == 0));
    }
}

int main(void)
{
    if (!(pc_cpu_features() & PC_CPU_FMA)) {
        printf("groups with FMA: skipped, this CPU has no AVX2 and FMA\n");
        return 0;
    }
    const unsigned modes[] = {_MM_ROUND_UP, _MM_ROUND_DOWN, _MM_ROUND_TOWARD_ZERO, _MM_ROUND_NEAREST};
    for (int m = 0; m < 4; m++) {
        _MM_SET_ROUNDING_MODE(modes[m]);
        field(m == 3 ? 10000 : 2000);
        about_p();
    }
    words();
    groups();
    printf("groups with FMA: ok\n");
    return 0;
}
#else
int main(void)
{
    printf("groups with FMA: skipped, not x86-64\n");
    return 0;
}
#endif
