/* Rows of fixed multiples by sums in affine coordinates; part of ristretto255.c, which includes this once for each kind of vector and once for
 * single numbers. It defines
 *   LANE_TARGET, LANES, FE (a vector of numbers), FE_(name) (its functions), LANE_(name) (of a vector of integers), ED_(name): the names of this file
 *
 * On the short Weierstrass form Y^2 = X^3 + a X + b of the curve, for X1 != X2,
 *   slope = (Y2 - Y1) / (X2 - X1)    X3 = slope^2 - X1 - X2    Y3 = slope (X1 - X3) - Y1
 * neither reads a nor b, and thousands of sums share one inversion: with d_k = X2 - X1 of the k-th and p_k = d_1 .. d_(k-1),
 *   1 / d_k = p_k / (d_1 .. d_k)    1 / (d_1 .. d_(k-1)) = d_k / (d_1 .. d_k)
 * An addition takes five products and a square, where one in extended coordinates takes seven products and more carries.
 * The formulas are wrong for X1 = X2, where the addend is the sum, its negative, or one is the identity. So sum t of a row starts at (1 + the number of
 * bits of t) S, and what it started with is taken away in the end, by complete formulas. No combination of bases that anybody knows has a multiple
 * of S other than 0 (ED_START_X), but every sum has one, entries have none, and when two halves of the sums are added up, what meets has m S and
 * (m + 2^j) S in it for some m > 0: zeros, equal bases and equal values make nothing alike. Nothing relies on that: where a d_k is zero their product
 * is, and then the block of rows is done by complete formulas as a whole.
 * Source: Montgomery, "Speeding the Pollard and elliptic curve methods of factorization" (1987), for the inversions. */

enum {
    ED_(SUM) = 10 * LANES,  /* words of LANES sums: limbs of X, limb after limb, lane after lane, then those of Y; check: 10 == 2 * 5 */
    ED_(STEP) = 10 * LANES, /* of LANES additions: d_k and p_k */
    ED_(NEAR) = 8,          /* vectors of addends that are being fetched */
};

/* sums[k] += the entry at places[k], its negative where negative[k] is all ones, for the vectors k in `active`; or, if `places` is NULL, sums[k] += others[k]
 * for the first of them; `vectors`, an even number, is how many. False, with the sums as they were, where one and its addend have one X. */
LANE_TARGET PC_INLINE int ED_(add_sums_var)(uint64_t *sums, uint64_t *steps, const uint64_t *places, const uint64_t *negative, const uint32_t *active,
                                            const uint64_t *others, size_t vectors)
{
    const FE one = FE_(all)(fe_one);
    FE chain[2] = {one, one};
    for (size_t k = 0; k < vectors; k += 2) {
        PC_UNROLL
        for (size_t h = 0; h < 2; h++) {
            uint64_t *const step = steps + ED_(STEP) * (k + h);
            const size_t at = places != NULL ? active[k + h] : k + h;
            const FE x = FE_(load)(sums + ED_(SUM) * at);
            FE d;
            if (places != NULL) {
                const uint64_t *const next = places + LANES * (size_t)active[k + h + ED_(NEAR)];
                LANE_(mask) none; /* unused: of the identity d = -X, which is as good as any other but 0 */
                d = FE_(difference)(FE_(entry_var)(&none, places + LANES * at, 0), x);
                PC_UNROLL
                for (size_t j = 0; j < LANES; j++) __builtin_prefetch((const void *)(uintptr_t)next[j]);
            } else
                d = FE_(difference)(FE_(load)(others + ED_(SUM) * (k + h)), x);
            FE_(store)(step, d);
            FE_(store)(step + 5 * LANES, chain[h]);
            chain[h] = FE_(mul_inline)(chain[h], d);
        }
    }

    fe all[2 * LANES], before[2 * LANES];
    for (size_t h = 0; h < 2; h++) FE_(lanes)(all + LANES * h, chain[h]);
    before[0] = fe_one;
    for (size_t i = 1; i < 2 * LANES; i++) before[i] = fe_mul(before[i - 1], all[i - 1]);
    const fe product = fe_mul(before[2 * LANES - 1], all[2 * LANES - 1]);
    const int apart = !fe_zero_mask(product);
    fe inverse = fe_inv_var(product);
    for (size_t i = 2 * LANES; i-- > 0;) {
        const fe own = fe_mul(inverse, before[i]);
        inverse = fe_mul(inverse, all[i]);
        all[i] = own;
    }
    for (size_t h = 0; h < 2; h++) chain[h] = FE_(of_lanes)(all + LANES * h);
    privcomp_wipe((uint8_t *)all, sizeof all);
    privcomp_wipe((uint8_t *)before, sizeof before);
    if (!apart) return 0;

    for (size_t k = vectors; k > 0;) {
        k -= 2;
        FE d[2], own[2], slope[2], x[2], y[2], x3[2], y3[2];
        LANE_(mask) none[2];
        memset(none, 0, sizeof none); /* where there are no places */
        const size_t at[2] = {places != NULL ? active[k] : k, places != NULL ? active[k + 1] : k + 1};
        PC_UNROLL
        for (size_t h = 0; h < 2; h++) {
            if (places != NULL && k > 0) {
                PC_UNROLL
                for (size_t j = 0; j < LANES; j++) __builtin_prefetch((const void *)(uintptr_t)places[LANES * (size_t)active[k + h - 2] + j]);
            }
            d[h] = FE_(load)(steps + ED_(STEP) * (k + h));
            own[h] = FE_(mul_inline)(chain[h], FE_(load)(steps + ED_(STEP) * (k + h) + 5 * LANES));
        }
        PC_UNROLL
        for (size_t h = 0; h < 2; h++) chain[h] = FE_(mul_inline)(chain[h], d[h]);
        PC_UNROLL
        for (size_t h = 0; h < 2; h++) {
            FE y2;
            if (places != NULL)
                y2 = FE_(negate_entry)(FE_(entry_var)(&none[h], places + LANES * at[h], 32), negative + LANES * at[h]);
            else
                y2 = FE_(load)(others + ED_(SUM) * (k + h) + 5 * LANES);
            y[h] = FE_(load)(sums + ED_(SUM) * at[h] + 5 * LANES);
            slope[h] = FE_(mul_inline)(own[h], FE_(difference)(y2, y[h]));
        }
        PC_UNROLL
        for (size_t h = 0; h < 2; h++) {
            x[h] = FE_(load)(sums + ED_(SUM) * at[h]);
            x3[h] = FE_(third_x)(slope[h], x[h], d[h]);
        }
        PC_UNROLL
        for (size_t h = 0; h < 2; h++) y3[h] = FE_(third_y)(slope[h], FE_(difference)(x[h], x3[h]), y[h]);
        PC_UNROLL
        for (size_t h = 0; h < 2; h++) {
            if (places != NULL && LANE_(mask_bits)(none[h])) {
                x3[h] = FE_(select)(x3[h], x[h], none[h]);
                y3[h] = FE_(select)(y3[h], y[h], none[h]);
            }
            FE_(store)(sums + ED_(SUM) * at[h], x3[h]);
            FE_(store)(sums + ED_(SUM) * at[h] + 5 * LANES, y3[h]);
        }
    }
    return 1;
}

LANE_TARGET static int ED_(add_entries_var)(uint64_t *sums, uint64_t *steps, const uint64_t *places, const uint64_t *negative, const uint32_t *active,
                                            size_t vectors)
{
    return ED_(add_sums_var)(sums, steps, places, negative, active, NULL, vectors);
}

LANE_TARGET static int ED_(add_others_var)(uint64_t *sums, uint64_t *steps, const uint64_t *others, size_t vectors)
{
    return ED_(add_sums_var)(sums, steps, NULL, NULL, NULL, others, vectors);
}

/* The places of terms first .. first + terms - 1 of `count` rows: of term t and row a at count (t - first) + a. Term t is window t mod windows of column
 * t / windows; see ed_place_var. What is left of the last vectors is the identity. Returns how many vectors have a place that is not, made even by one
 * that has none; their numbers are in `active`, followed by ED_(NEAR) more, whose places are fetched and not used.
 * Rows are done LANES at a time, the last of them twice where they are no multiple; of fewer rows the last one stands for what is missing, and the
 * next term is written over that. */
LANE_TARGET PC_INLINE size_t ED_(row_places_var)(uint64_t *places, uint64_t *negative, uint32_t *active, const uint8_t *table, const int32_t *values,
                                                 size_t count, size_t n, size_t first, size_t terms, unsigned windows)
{
    const uint64_t lower = (UINT64_C(0x808080) >> 8 * (4 - windows)) - ((uint64_t)1 << 31), none = (uint64_t)(uintptr_t)ed_no_entry;
    const uint64_t base = (uint64_t)(uintptr_t)table + ED_WINDOW_BYTES * first - ED_ROW_ENTRY_BYTES;
    const LANE_(vec) zero = LANE_(all)(0), ones = LANE_(all)(~(uint64_t)0);
    uint32_t value[LANES];
    for (size_t a = 0; a < count; a += LANES) {
        const size_t at = a + LANES <= count ? a : count >= LANES ? count - LANES : 0;
        unsigned i = (unsigned)(first % windows);
        LANE_(vec) v = zero;
        for (size_t t = 0; t < terms; t++) {
            if (t == 0 || i == 0) {
                for (size_t j = 0; j < LANES; j++)
                    value[j] = (uint32_t)values[n * (at + j < count ? at + j : count - 1) + (first + t) / windows] + ((uint32_t)1 << 31);
                v = LANE_(add)(LANE_(load_halves)(value), LANE_(all)(lower));
                for (unsigned k = 0; k < i; k++) v = LANE_(shift_byte)(v);
            }
            const int top = i + 1 == windows;
            const LANE_(vec) digit = top ? v : LANE_(sub)(LANE_(and)(v, LANE_(all)(255)), LANE_(all)(128)), size = LANE_(abs)(digit);
            const LANE_(vec) half = LANE_(times32_)(size), entry = LANE_(add)(LANE_(all)(base + ED_WINDOW_BYTES * t), LANE_(add)(half, half));
            LANE_(store)(places + count * t + at, LANE_(select)(LANE_(all)(none), entry, LANE_(below)(LANE_(sub)(size, LANE_(all)(1)), GROUP_ENTRIES)));
            LANE_(store)(negative + count * t + at, LANE_(select)(zero, ones, LANE_(negative)(digit)));
            v = LANE_(shift_byte)(v);
            i = top ? 0 : i + 1;
        }
    }
    privcomp_wipe((uint8_t *)value, sizeof value);
    const size_t vectors = (count * terms + 2 * LANES - 1) / (2 * LANES) * 2;
    for (size_t k = count * terms; k < vectors * LANES; k++) places[k] = none, negative[k] = 0;
    size_t found = 0;
    uint32_t idle = 0;
    for (size_t k = 0; k < vectors; k++) {
        const LANE_(mask) identity = LANE_(zero)(LANE_(sub)(LANE_(load)(places + LANES * k), LANE_(all)(none)));
        if (LANE_(mask_bits)(identity) == (1u << LANES) - 1)
            idle = (uint32_t)k;
        else
            active[found++] = (uint32_t)k;
    }
    if (found % 2) active[found++] = idle; /* as there are `vectors` in all, one was idle */
    for (size_t k = 0; k < ED_(NEAR); k++) active[found + k] = idle;
    return found;
}

/* The points of `count` <= ED_ROWS rows, or false. Term t of row a is added to sum number count (t mod width) + a. */
LANE_TARGET static int ED_(row_sums_var)(ed_point *out, const uint8_t *table, const int32_t *values, size_t count, size_t n, unsigned windows,
                                         uint64_t *scratch)
{
    const size_t all = n * windows, held = ed_sums_held(count, all);
    uint64_t *const sums = scratch, *const steps = sums + 10 * held;
    uint64_t *const places = steps + 10 * held, *const negative = places + held + LANES;
    uint32_t *const active = (uint32_t *)(void *)(negative + held + LANES);
    size_t width = ed_sums_width(count, all);
    fe x[ED_STARTS], y[ED_STARTS], part[2];
    const ed_point less = ed_starts_var(x, y, width);
    for (size_t k = 0; k < held; k += LANES) {
        fe own_x[LANES], own_y[LANES];
        for (size_t j = 0; j < LANES; j++) {
            const int bits = __builtin_popcountll((k + j) / count % width);
            own_x[j] = x[bits], own_y[j] = y[bits];
        }
        FE_(store)(sums + 10 * k, FE_(of_lanes)(own_x));
        FE_(store)(sums + 10 * k + 5 * LANES, FE_(of_lanes)(own_y));
    }
    for (size_t first = 0; first < all; first += width) {
        const size_t terms = all - first < width ? all - first : width;
        const size_t vectors = windows == 2 ? ED_(row_places_var)(places, negative, active, table, values, count, n, first, terms, 2)
                                            : ED_(row_places_var)(places, negative, active, table, values, count, n, first, terms, windows);
        if (vectors > 0 && !ED_(add_entries_var)(sums, steps, places, negative, active, vectors)) return 0;
    }
    /* Halves of them are added up while they are whole vectors, then what is left. */
    for (; width > 1 && width / 2 * count % (2 * LANES) == 0; width /= 2)
        if (!ED_(add_others_var)(sums, steps, sums + 10 * (width / 2 * count), width / 2 * count / LANES)) return 0;
    int whole = 1;
    uint64_t word[5];
    ed_point own;
    for (size_t a = 0; a < count; a++) {
        out[a] = less;
        for (size_t t = 0; t < width; t++) {
            const size_t k = count * t + a;
            for (size_t c = 0; c < 2; c++) {
                for (size_t i = 0; i < 5; i++) word[i] = sums[ED_(SUM) * (k / LANES) + LANES * (5 * c + i) + k % LANES];
                part[c] = FE_(lane)(word);
            }
            whole &= !fe_zero_mask(part[1]); /* one of order two: no extended coordinates follow from it */
            own = ed_of_weierstrass(part[0], part[1]);
            out[a] = ed_add(&out[a], &own);
        }
    }
    privcomp_wipe((uint8_t *)part, sizeof part);
    privcomp_wipe((uint8_t *)word, sizeof word);
    privcomp_wipe((uint8_t *)&own, sizeof own);
    return whole;
}

/* out[a] = sum over b < n of values[a n + b] times base b, from a table of ed_affine_table. */
LANE_TARGET static void ED_(rows_var)(uint8_t *out, const uint8_t *table, const int32_t *values, size_t rows, size_t n, unsigned windows, uint64_t *scratch)
{
    for (size_t first = 0; first < rows; first += ED_ROWS) {
        const size_t count = rows - first < ED_ROWS ? rows - first : ED_ROWS, all = n * windows;
        ed_point *const sum = (ed_point *)scratch;
        uint64_t *const rest = scratch + ed_POINT_WORDS * count;
        if (count * all < ED_FEW_TERMS || !ED_(row_sums_var)(sum, table, values + n * first, count, n, windows, rest))
            ed_rows_complete_var(sum, table, values + n * first, count, n, windows);
        ed_store(out + PRIVCOMP_POINT_BYTES * first, sum, count);
    }
    privcomp_wipe((uint8_t *)scratch, 8 * ed_rows_used(rows, n * windows));
}
