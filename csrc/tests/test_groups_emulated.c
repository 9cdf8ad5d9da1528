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
#define pc_ristretto255_ifma emulated
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
    fe out;
    for (int i = 0; i < 5; i++) r[i] = a.v[i].lane[j];
    out = fe_fold(r[0], r[1], r[2], r[3], r[4]);
    return fe_carry(out);
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
        const fe8 a = draw(FE8_TIGHT, 0), power = fe8_pow_p58(a);
        uint8_t bytes[LANES][32], reversed[LANES][32];
        const uint8_t *at[LANES];
        __m512i w[4];
        for (int j = 0; j < LANES; j++) same(power, j, fe_pow_p58(lane(a, j)));
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

/* ---- decoding ---- */

static void decoding(void)
{
    enum { N = 21 };
    static uint8_t wide[64 * N], points[POINT * N], encodings[32 * N], want[POINT * N + 1], got[POINT * N + 1];
    for (size_t n = 0; n <= N; n++) {
        test_fill(wide, sizeof wide);
        portable->from_uniform(points, wide, n);
        if (n > 0) portable->add(points, points, points, ~(uint64_t)0, 1); /* the identity */
        portable->encode(encodings, points, n);
        memset(want, 0xaa, sizeof want), memset(got, 0xaa, sizeof got);
        CHECK(portable->decode(want, encodings, n) == 1 && emulated.decode(got, encodings, n) == 1);
        CHECK(memcmp(want, got, sizeof want) == 0);
    }
    /* one wrong encoding in every place: random bytes, of which some are encodings; numbers about p, 2^255 and 0 */
    for (int trial = 0; trial < 600; trial++) {
        const size_t n = 1 + test_u64() % N, at = test_u64() % n;
        uint8_t kept[32], *const one = encodings + 32 * at;
        memcpy(kept, one, 32);
        if (trial % 3 == 0) {
            test_fill(one, 32);
            one[31] &= 0x7f, one[0] &= 0xfe;
        } else if (trial % 3 == 1) {
            memset(one, 0xff, 32);
            one[31] = trial % 2 ? 0x7f : 0xff, one[0] = (uint8_t)(0xd0 + test_u64() % 48);
        } else {
            memset(one, 0, 32);
            one[0] = (uint8_t)(test_u64() % 64), one[31] = (uint8_t)(trial % 2 << 7);
        }
        const int valid = portable->decode(want, encodings, n);
        CHECK(emulated.decode(got, encodings, n) == valid);
        if (valid) CHECK(memcmp(want, got, POINT * n) == 0);
        memcpy(one, kept, 32);
    }
}

/* ---- rows ---- */

static void rows(void)
{
    enum { BASES = 17, ROWS = PRIVCOMP_GROUP_ROW_BLOCK + 9 };
    static uint8_t wide[64 * BASES], points[POINT * BASES], table[GE_ENTRY_BYTES * GROUP_ENTRIES * BASES * 4];
    static uint8_t want[POINT * ROWS + 1], got[POINT * ROWS + 1];
    static int32_t values[ROWS * BASES];
    static uint64_t scratch[PRIVCOMP_GROUP_ROW_BLOCK * sizeof(ed_point) / 8 + 1];
    static const size_t bases[] = {0, 1, 3, 8, BASES}, counts[] = {0, 1, 2, 7, 8, 9, 23, 24, ROWS};
    test_fill(wide, sizeof wide);
    portable->from_uniform(points, wide, BASES);
    portable->add(points + POINT, points, points, ~(uint64_t)0, 1); /* the identity */
    memcpy(points + 2 * POINT, points, POINT);                      /* a base twice */
    for (unsigned windows = 1; windows <= 4; windows++) {
        const int64_t limit = (int64_t)1 << (8 * windows - 1);
        portable->table(table, points, BASES, windows);
        for (size_t s = 0; s < sizeof counts / sizeof *counts; s++)
            for (size_t t = 0; t < sizeof bases / sizeof *bases; t++) {
                const size_t n = bases[t], count = counts[s], held = sizeof(ed_point) / 8 * pc_rows_held(count);
                if (count == ROWS && n != 3) continue;
                for (size_t i = 0; i < count * n; i++) {
                    const int64_t edge[] = {0, limit - (windows == 4), -limit, 1, -1, 127, 128, -128}; /* 2^31 is no int32_t */
                    const uint64_t pick = test_u64();
                    values[i] = (int32_t)(pick % 3 == 0 ? edge[pick / 3 % 8] : (int64_t)(test_u64() % (2 * (uint64_t)limit)) - limit);
                    if (s % 2 && windows < 4) values[i] %= 100; /* every second digit zero */
                }
                memset(want, 0xaa, sizeof want), memset(got, 0xaa, sizeof got);
                portable->rows_var(want, table, values, count, n, windows, scratch);
                memset(scratch, 0x55, sizeof scratch);
                emulated.rows_var(got, table, values, count, n, windows, scratch);
                CHECK(memcmp(want, got, sizeof want) == 0);
                for (size_t i = 0; i < sizeof scratch / 8; i++) CHECK(scratch[i] == (i < held ? 0 : UINT64_C(0x5555555555555555)));
            }
    }
    /* values out of range, as another thread could put them there: nothing outside the table is read */
    for (size_t i = 0; i < 16; i++) values[i] = i % 2 ? INT32_MAX : INT32_MIN;
    portable->rows_var(want, table, values, 16, 1, 1, scratch);
    emulated.rows_var(got, table, values, 16, 1, 1, scratch);
    CHECK(memcmp(want, got, POINT * 16) == 0);
}

/* ---- sums of multiples ---- */

static void sums(void)
{
    enum { N = 700, WORDS = (N + LANES) * 20 + (1 << 13) * LANES * 20 };
    static uint8_t wide[64 * N], points[POINT * N], scalars[PRIVCOMP_SCALAR_BYTES * N], encodings[2][32];
    static const size_t sizes[] = {0, 1, GROUP_STRAUS_MAX - 1, GROUP_STRAUS_MAX, GROUP_STRAUS_MAX + 1, 103, 104, N};
    static uint64_t scratch[WORDS];
    int64_t values[N];
    uint8_t want[POINT], got[POINT];
    test_fill(wide, sizeof wide);
    portable->from_uniform(points, wide, N);
    portable->add(points + POINT, points, points, ~(uint64_t)0, 1); /* the identity, and a point often */
    for (size_t i = 2; i < 20; i++) memcpy(points + POINT * i, points, POINT);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t n = sizes[s];
        for (unsigned bits = 0; bits <= 65; bits++) {
            if (n == N && bits % 16 > 1) continue;
            test_fill(scalars, sizeof scalars);
            for (size_t i = 0; i < N; i++) {
                scalars[PRIVCOMP_SCALAR_BYTES * i + 31] &= 0x0f;
                const int64_t v = bits == 0 ? 0 : (int64_t)test_u64() >> (bits < 64 ? 64 - bits : 0);
                values[i] = i % 7 == 0 ? bits < 64 ? -(int64_t)(((uint64_t)1 << bits) - 1) : INT64_MIN : v;
            }
            memset(scalars, 0, 3 * PRIVCOMP_SCALAR_BYTES);
            memset(scalars + 3 * PRIVCOMP_SCALAR_BYTES, 0xff, PRIVCOMP_SCALAR_BYTES - 1);
            const uint8_t *const by = bits == 65 ? scalars : NULL;
            portable->msm_var(want, points, by, values, n, scratch);
            memset(scratch, 0x55, sizeof scratch);
            emulated.msm_var(got, points, by, values, n, scratch);
            CHECK(portable->on_curve(got, 1));
            portable->encode(encodings[0], want, 1), portable->encode(encodings[1], got, 1);
            CHECK(memcmp(encodings[0], encodings[1], 32) == 0);
            CHECK(memcmp(want, got, POINT) == 0);
        }
    }
}

int main(void)
{
    field();
    decoding();
    rows();
    sums();
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
