/* Tests of the code of ristretto255_lanes.h against its portable twins, for any vectors. The including file defines
 *   portable, a pointer to the portable group    twin, the other group    twin_row_sums, its sums in affine coordinates    POINT    LANES */
#ifndef LANES_GROUPS_H
#define LANES_GROUPS_H

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
        CHECK(portable->decode(want, encodings, n) == 1 && twin.decode(got, encodings, n) == 1);
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
        CHECK(twin.decode(got, encodings, n) == valid);
        if (valid) CHECK(memcmp(want, got, POINT * n) == 0);
        memcpy(one, kept, 32);
    }
    /* in every place: numbers from p - 1 on, of which p + 3 and p + 9 are refused only for being that large; p - 1 has y = 0 */
    for (size_t at = 0; at < N; at++)
        for (unsigned low = 0xec; low <= 0xff; low++) {
            uint8_t kept[32], *const one = encodings + 32 * at;
            memcpy(kept, one, 32);
            memset(one, 0xff, 32);
            one[0] = (uint8_t)low, one[31] = 0x7f;
            CHECK(portable->decode(want, encodings, N) == 0 && twin.decode(got, encodings, N) == 0);
            memcpy(one, kept, 32);
        }
}

/* ---- one fixed base ---- */

static void fixed(void)
{
    enum { N = 75 };
    static uint8_t wide[64], point[POINT], table[GE_ENTRY_BYTES * GROUP_ENTRIES * 32], scalars[32 * N], want[POINT * N + 1], got[POINT * N + 1];
    static const size_t counts[] = {0, 1, 3, 4, 5, 8, 9, 31, 32, 33, 64, 65, N};
    for (int trial = 0; trial < 2; trial++) {
        test_fill(wide, sizeof wide);
        portable->from_uniform(point, wide, 1);
        if (trial == 1) portable->add(point, point, point, ~(uint64_t)0, 1); /* the identity */
        portable->table(table, point, 1, 32);
        test_fill(scalars, sizeof scalars);
        for (size_t i = 0; i < N; i++) scalars[32 * i + 31] &= 0x0f;
        memset(scalars, 0, 32), memset(scalars + 32, 0x80, 31), memset(scalars + 64, 0x7f, 31); /* digits 0, the least and the largest */
        for (size_t s = 0; s < sizeof counts / sizeof *counts; s++) {
            memset(want, 0xaa, sizeof want), memset(got, 0xaa, sizeof got);
            portable->fixed_var(want, table, scalars, counts[s]);
            twin.fixed_var(got, table, scalars, counts[s]);
            CHECK(memcmp(want, got, sizeof want) == 0);
        }
    }
}

/* ---- inverses ---- */

static void inverses(void)
{
    for (int trial = 0; trial < 20000; trial++) {
        uint8_t a[32], want[32], got[32];
        test_fill(a, sizeof a);
        const int kind = trial % 5, at = (int)(test_u64() % 32);
        if (kind == 1) memset(a + at, 0, 32 - (size_t)at); /* small */
        if (kind == 2) memset(a, 0, (size_t)at);           /* of many twos */
        if (kind == 3) memset(a + at, 0xff, 32 - (size_t)at);
        if (kind == 4) memset(a, trial % 2 ? 0 : 0xff, 32), a[at] ^= (uint8_t)(1 << trial / 10 % 8); /* a power of two; about p */
        if (trial < 256) memset(a, 0xff, 32), a[31] = 0x7f, a[0] = (uint8_t)trial; /* p is 0xed, 0xff, .. 0x7f */
        const fe x = fe_from_bytes(a);
        fe_to_bytes(want, fe_inv(x));
        fe_to_bytes(got, fe_inv_var(x));
        CHECK(memcmp(want, got, 32) == 0);
    }
    CHECK(fe_zero_mask(fe_inv_var(fe_zero)));
}

/* ---- rows ---- */

enum { BASES = 17, MANY_BASES = 600, ROWS = 2 * ED_ROWS + 9 };
static uint8_t row_table[ED_ROW_ENTRY_BYTES * GROUP_ENTRIES * MANY_BASES], row_want[POINT * ROWS + 1], row_got[POINT * ROWS + 1];
static int32_t row_values[ROWS * BASES];
static uint64_t row_scratch[23 * ED_SUMS + ed_POINT_WORDS * ED_ROWS + 2 * 8 + 8];

/* Both levels give the same bytes, those of complete formulas, and wipe what they used. */
static void same_rows(size_t rows, size_t n, unsigned windows)
{
    const size_t used = ed_rows_used(rows, n * windows);
    static ed_point plain[ROWS];
    static uint8_t complete[POINT * ROWS];
    CHECK(used <= sizeof row_scratch / 8 && (rows == 0 || used <= ed_rows_words(rows)));
    const struct group *const levels[] = {portable, &twin};
    for (size_t level = 0; level < 2; level++) {
        uint8_t *const out = level ? row_got : row_want;
        memset(out, 0xaa, sizeof row_want), memset(row_scratch, 0x55, sizeof row_scratch);
        levels[level]->rows_var(out, row_table, row_values, rows, n, windows, row_scratch);
        for (size_t i = 0; i < sizeof row_scratch / 8; i++)
            CHECK(i < used ? row_scratch[i] == 0 || rows == 0 : row_scratch[i] == UINT64_C(0x5555555555555555));
    }
    CHECK(memcmp(row_want, row_got, sizeof row_want) == 0);
    ed_rows_complete_var(plain, row_table, row_values, rows, n, windows);
    ed_store(complete, plain, rows);
    CHECK(memcmp(row_want, complete, POINT * rows) == 0);
}

static void rows(void)
{
    static uint8_t wide[64 * BASES], points[POINT * BASES];
    static const size_t bases[] = {0, 1, 3, 8, BASES}, counts[] = {0, 1, 2, 7, 8, 9, 23, 24, ED_ROWS, ROWS};
    test_fill(wide, sizeof wide);
    portable->from_uniform(points, wide, BASES);
    portable->add(points + POINT, points, points, ~(uint64_t)0, 1); /* the identity */
    memcpy(points + 2 * POINT, points, POINT);                      /* a base twice */
    for (unsigned windows = 1; windows <= 4; windows++) {
        const int64_t limit = (int64_t)1 << (8 * windows - 1);
        portable->table(row_table, points, BASES, windows);
        for (size_t s = 0; s < sizeof counts / sizeof *counts; s++)
            for (size_t t = 0; t < sizeof bases / sizeof *bases; t++) {
                const size_t n = bases[t], count = counts[s];
                if (count > 24 && n != 3) continue;
                for (size_t i = 0; i < count * n; i++) {
                    const int64_t edge[] = {0, limit - (windows == 4), -limit, 1, -1, 127, 128, -128}; /* 2^31 is no int32_t */
                    const uint64_t pick = test_u64();
                    row_values[i] = (int32_t)(pick % 3 == 0 ? edge[pick / 3 % 8] : (int64_t)(test_u64() % (2 * (uint64_t)limit)) - limit);
                    if (s % 2 && windows < 4) row_values[i] %= 100; /* every second digit zero */
                    if (i < 3 * n) row_values[i] = 0;               /* whole rows of zeros */
                }
                same_rows(count, n, windows);
            }
    }
    /* values out of range, as another thread could put them there: nothing outside the table is read */
    for (size_t i = 0; i < 16 * BASES; i++) row_values[i] = i % 2 ? INT32_MAX : INT32_MIN;
    same_rows(16, 1, 1);
    same_rows(16, BASES, 1);
}

/* Rows of zeros, digits that are all zero, one base again and again with one value: no two sums are alike, so that nothing is done twice. */
static void rows_that_do_not_meet(void)
{
    uint8_t wide[64], points[POINT * BASES];
    test_fill(wide, sizeof wide);
    portable->from_uniform(points, wide, 1);
    for (size_t b = 1; b < BASES; b++) memcpy(points + POINT * b, points, POINT);
    portable->table(row_table, points, BASES, 2);
    static const size_t counts[] = {8, 9, 16, 40, ED_ROWS};
    for (int kind = 0; kind < 4; kind++)
        for (size_t s = 0; s < sizeof counts / sizeof *counts; s++) {
            ed_point sum[ED_ROWS];
            for (size_t i = 0; i < counts[s] * BASES; i++) row_values[i] = kind == 0 ? 0 : kind == 1 ? (int32_t)(test_u64() % 255) - 127 : kind == 2 ? 300 : i % 7 ? 0 : -300;
            CHECK(ed1_row_sums_var(sum, row_table, row_values, counts[s], BASES, 2, row_scratch));
            CHECK(twin_row_sums(sum, row_table, row_values, counts[s], BASES, 2, row_scratch));
            same_rows(counts[s], BASES, 2);
        }
}

/* What the sums of a row start with and `less` make 0, for every width. */
static void starts(void)
{
    for (size_t width = 2; width <= ED_SUMS; width *= 2) {
        fe x[ED_STARTS], y[ED_STARTS];
        ed_point sum = ed_starts_var(x, y, width);
        for (size_t t = 0; t < width; t++) {
            const int bits = __builtin_popcountll(t);
            const ed_point own = ed_of_weierstrass(x[bits], y[bits]);
            sum = ed_add(&sum, &own);
        }
        CHECK(fe_zero_mask(sum.x) && fe_equal_mask(sum.y, sum.z));
    }
}

/* Few rows of many terms, which are hundreds of sums for each. */
static void wide_rows(void)
{
    static uint8_t wide[64 * MANY_BASES], points[POINT * MANY_BASES];
    test_fill(wide, sizeof wide);
    portable->from_uniform(points, wide, MANY_BASES);
    memcpy(points + POINT * 2, points, POINT);
    portable->table(row_table, points, MANY_BASES, 1);
    static const size_t columns[] = {255, 256, 511, 512, MANY_BASES};
    for (size_t s = 0; s < sizeof columns / sizeof *columns; s++)
        for (size_t count = 1; count <= 4; count++) {
            ed_point sum[4];
            for (size_t i = 0; i < count * columns[s]; i++) row_values[i] = s % 2 && i % 50 ? 0 : (int32_t)(test_u64() % 257) - 128;
            same_rows(count, columns[s], 1);
            CHECK(ed1_row_sums_var(sum, row_table, row_values, count, columns[s], 1, row_scratch));
            CHECK(twin_row_sums(sum, row_table, row_values, count, columns[s], 1, row_scratch));
        }
}

/* Vectors of zeros are left out, by pairs. */
static void vectors_of_zeros(void)
{
    enum { COUNT = 16, TERMS = 8 };
    static uint64_t places[COUNT * TERMS], negative[COUNT * TERMS];
    static uint32_t active[COUNT * TERMS + 8];
    memset(row_values, 0, COUNT * TERMS * sizeof *row_values);
    CHECK(ed1_row_places_var(places, negative, active, row_table, row_values, COUNT, TERMS, 0, TERMS, 1) == 0);
    row_values[3 * TERMS + 5] = -7;
    CHECK(ed1_row_places_var(places, negative, active, row_table, row_values, COUNT, TERMS, 0, TERMS, 1) == 2);
    CHECK(active[0] == COUNT * 5 + 3 && active[1] != active[0] && places[active[1]] == (uint64_t)(uintptr_t)ed_no_entry && negative[active[0]] == ~(uint64_t)0);
    CHECK(places[active[0]] == (uint64_t)(uintptr_t)row_table + ED_WINDOW_BYTES * 5 + ED_ROW_ENTRY_BYTES * 6);
}

/* A sum that is of order two in the end, where no two were alike: S - (S + (0, -1)), in rows of which no halves are added up. */
static void rows_of_order_two(void)
{
    enum { COUNT = 255 };
    static const uint8_t order_two[POINT] = {[0] = 0, [32] = 0xec, [33 ... 62] = 0xff, [63] = 0x7f}; /* (0, -1) */
    static ed_point sum[COUNT];
    uint8_t points[2 * POINT], start[POINT];
    const ed_point s = ed_of_weierstrass(ED_START_X, ED_START_Y);
    ed_store(start, &s, 1);
    portable->add(points, start, order_two, 0, 1);
    portable->generator(points + POINT);
    portable->table(row_table, points, 2, 1);
    for (size_t i = 0; i < 2 * COUNT; i++) row_values[i] = i % 2 ? 5 : 3;
    row_values[0] = -1;
    CHECK(!ed1_row_sums_var(sum, row_table, row_values, COUNT, 2, 1, row_scratch));
    CHECK(!twin_row_sums(sum, row_table, row_values, COUNT, 2, 1, row_scratch));
    same_rows(COUNT, 2, 1);
}

/* Bases with which sums in affine coordinates meet their addends, as their multiples of S are known here: +-S, sums of them, and points of orders 2
 * and 4. Complete formulas are what is left then. */
static void rows_that_meet(void)
{
    enum { KINDS = 6 };
    static const uint8_t order_two[POINT] = {[0] = 0, [32] = 0xec, [33 ... 62] = 0xff, [63] = 0x7f}; /* (0, -1) */
    uint8_t kinds[POINT * KINDS], points[POINT * BASES];
    const ed_point start = ed_of_weierstrass(ED_START_X, ED_START_Y);
    ed_store(kinds, &start, 1);
    memset(kinds + POINT, 0, POINT);
    kinds[POINT + 32] = 1; /* the identity */
    portable->add(kinds + POINT, kinds + POINT, kinds, ~(uint64_t)0, 1); /* -S */
    portable->add(kinds + 2 * POINT, kinds, kinds, 0, 1);                /* 2S */
    memcpy(kinds + 3 * POINT, order_two, POINT);
    memset(kinds + 4 * POINT, 0, POINT);
    fe_to_bytes(kinds + 4 * POINT, SQRT_M1); /* (i, 0), of order 4 */
    portable->add(kinds + 5 * POINT, kinds, order_two, 0, 1);
    CHECK(portable->on_curve(kinds, KINDS));
    size_t met = 0;
    for (int trial = 0; trial < 60; trial++) {
        const unsigned windows = 1 + (unsigned)(trial % 2);
        for (size_t b = 0; b < BASES; b++) memcpy(points + POINT * b, kinds + POINT * (test_u64() % KINDS), POINT);
        portable->table(row_table, points, BASES, windows);
        for (size_t i = 0; i < 40 * BASES; i++) row_values[i] = (int32_t)(test_u64() % 5) - 2;
        same_rows(40, BASES, windows);
        ed_point sum[40];
        met += !ed1_row_sums_var(sum, row_table, row_values, 40, BASES, windows, row_scratch);
        memset(row_scratch, 0, sizeof row_scratch);
    }
    CHECK(met >= 50);
}

/* ---- sums of multiples ---- */

static void sums(void)
{
    enum { N = 700, WORDS = 1 << 18 };
    static uint8_t wide[64 * N], points[POINT * N], scalars[PRIVCOMP_SCALAR_BYTES * N], encodings[2][32];
    static const size_t sizes[] = {0, 1, 11, 12, 13, GROUP_STRAUS_MAX - 1, GROUP_STRAUS_MAX, GROUP_STRAUS_MAX + 1, 103, 104, N};
    static uint64_t scratch[WORDS];
    int64_t values[N];
    uint8_t want[POINT], got[POINT];
    CHECK(pc_msm_layout_for(N, pc_msm_widest(N), LANES).end <= WORDS);
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
            twin.msm_var(got, points, by, values, n, scratch);
            CHECK(portable->on_curve(got, 1));
            portable->encode(encodings[0], want, 1), portable->encode(encodings[1], got, 1);
            CHECK(memcmp(encodings[0], encodings[1], 32) == 0);
            CHECK(memcmp(want, got, POINT) == 0);
        }
    }
    for (size_t n = 1; n <= GROUP_MSM_BLOCK; n += 1 + n / 3)
        for (unsigned bits = 0; bits <= 254; bits++) {
            const pc_msm_plan plan = pc_msm_plan_for(n, bits, LANES);
            CHECK(plan.w >= 2 && plan.w <= pc_msm_widest(n) && plan.windows == pc_msm_windows(plan.w, bits) && plan.windows * plan.w <= 64 * GROUP_BIASED_WORDS);
        }
}

/* ---- multiples ---- */

static void multiples(void)
{
    enum { N = 75 }; /* more than the 64 points that have tables at once */
    static uint8_t wide[64 * N], points[POINT * N], scalars[PRIVCOMP_SCALAR_BYTES * N], want[POINT * N + 1], got[POINT * N + 1];
    for (size_t n = 0; n <= N; n = n < 18 ? n + 1 : n + 19) {
        test_fill(wide, sizeof wide), test_fill(scalars, sizeof scalars);
        portable->from_uniform(points, wide, N);
        portable->add(points + POINT, points, points, ~(uint64_t)0, 1); /* the identity, and one point twice */
        memcpy(points + 2 * POINT, points, POINT);
        for (size_t i = 0; i < N; i++) {
            scalars[PRIVCOMP_SCALAR_BYTES * i + 31] &= 0x0f;
            if (i % 5 == 3) memset(scalars + PRIVCOMP_SCALAR_BYTES * i, i % 2 ? 0 : 0x77, PRIVCOMP_SCALAR_BYTES - 1);
        }
        memset(want, 0xaa, sizeof want), memset(got, 0xaa, sizeof got);
        portable->mul(want, points, scalars, n), twin.mul(got, points, scalars, n);
        CHECK(memcmp(want, got, sizeof want) == 0);
        portable->msm(want, points, scalars, n), twin.msm(got, points, scalars, n);
        CHECK(memcmp(want, got, sizeof want) == 0);
        for (int k = 0; k < 3; k++) {
            uint8_t scalar[PRIVCOMP_SCALAR_BYTES] = {0};
            if (k > 0) memcpy(scalar, scalars, sizeof scalar);
            if (k == 2) memset(scalar + 1, 0, sizeof scalar - 1);
            portable->axpy_var(want, scalar, points, wide, 0), twin.axpy_var(got, scalar, points, wide, 0);
            if (n < N) portable->axpy_var(want, scalar, points, points + POINT, n), twin.axpy_var(got, scalar, points, points + POINT, n);
            CHECK(memcmp(want, got, sizeof want) == 0);
        }
    }
}

static void groups(void)
{
    decoding();
    fixed();
    inverses();
    rows();
    rows_that_do_not_meet();
    rows_that_meet();
    starts();
    wide_rows();
    vectors_of_zeros();
    rows_of_order_two();
    sums();
    multiples();
}

#endif
