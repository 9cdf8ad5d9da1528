/* Arrays of points over one group. The including file defines
 *   GE(point) an accumulator    GE(affine) an addend from an affine point    GE(cached) an addend from an accumulator
 *   GE(field) with GE(mul) and GE(inv)
 *   GE(identity)  GE(double)  GE(double_again) (what is doubled next)  GE(add_affine)  GE(add_cached)  GE(cache)  GE(select_cached)  GE(negate_cached)  GE(negate_affine)
 *   GE(load) (affine from 64 bytes)  GE(pack) and GE(unpack) (affine, to and from GE_ENTRY_BYTES)
 *   GE(denominator) (a field element that is not 0)  GE(finish) (64 bytes from an accumulator and the inverse of that)
 * with additions that are complete: any two points, in constant time.
 * Nothing here but functions whose names end in _var has a branch or an address that depends on a point or a scalar. */

enum { GE(CHUNK) = 32 };

/* The affine coordinates of n points, with one inversion for up to GE(CHUNK) of them. */
static void GE(store)(uint8_t *out, const GE(point) *p, size_t n)
{
    GE(field) before[GE(CHUNK)], z[GE(CHUNK)];
    for (size_t first = 0; first < n; first += GE(CHUNK)) {
        const size_t count = n - first < GE(CHUNK) ? n - first : GE(CHUNK);
        for (size_t i = 0; i < count; i++) {
            z[i] = GE(denominator)(&p[first + i]);
            before[i] = i ? GE(mul)(before[i - 1], z[i]) : z[i];
        }
        GE(field) inverse = GE(inv)(before[count - 1]);
        for (size_t i = count; i-- > 1;) {
            const GE(field) own = GE(mul)(inverse, before[i - 1]);
            inverse = GE(mul)(inverse, z[i]);
            GE(finish)(out + PRIVCOMP_POINT_BYTES * (first + i), &p[first + i], own);
        }
        GE(finish)(out + PRIVCOMP_POINT_BYTES * first, &p[first], inverse);
    }
    privcomp_wipe((uint8_t *)before, sizeof before);
    privcomp_wipe((uint8_t *)z, sizeof z);
}

static GE(point) GE(add)(const GE(point) *a, const GE(point) *b)
{
    const GE(cached) c = GE(cache)(b);
    return GE(add_cached)(a, &c);
}

static GE(point) GE(double_times)(GE(point) p, unsigned times)
{
    for (unsigned k = 1; k < times; k++) p = GE(double_again)(&p);
    return times ? GE(double)(&p) : p;
}

/* out[i] = a[i] + b[i], or a[i] - b[i] where negate is all ones. */
static void GE(add_n)(uint8_t *out, const uint8_t *a, const uint8_t *b, uint64_t negate, size_t n)
{
    GE(point) p[GE(CHUNK)];
    const GE(point) zero = GE(identity)();
    for (size_t first = 0; first < n; first += GE(CHUNK)) {
        const size_t count = n - first < GE(CHUNK) ? n - first : GE(CHUNK);
        for (size_t i = 0; i < count; i++) {
            const GE(affine) x = GE(load)(a + PRIVCOMP_POINT_BYTES * (first + i));
            const GE(affine) y = GE(load)(b + PRIVCOMP_POINT_BYTES * (first + i)), signed_y = GE(negate_affine)(&y, negate);
            p[i] = GE(add_affine)(&zero, &x);
            p[i] = GE(add_affine)(&p[i], &signed_y);
        }
        GE(store)(out + PRIVCOMP_POINT_BYTES * first, p, count);
    }
    privcomp_wipe((uint8_t *)p, sizeof p);
}

/* out[j] = sum over i < rows of points[i n + j]. */
static void GE(sum)(uint8_t *out, const uint8_t *points, size_t rows, size_t n)
{
    GE(point) p[GE(CHUNK)];
    for (size_t first = 0; first < n; first += GE(CHUNK)) {
        const size_t count = n - first < GE(CHUNK) ? n - first : GE(CHUNK);
        for (size_t j = 0; j < count; j++) p[j] = GE(identity)();
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < count; j++) {
                const GE(affine) x = GE(load)(points + PRIVCOMP_POINT_BYTES * (i * n + first + j));
                p[j] = GE(add_affine)(&p[j], &x);
            }
        GE(store)(out + PRIVCOMP_POINT_BYTES * first, p, count);
    }
    privcomp_wipe((uint8_t *)p, sizeof p);
}

/* ---- constant time: windows of four bits, digits -8 .. 7, every table entry read ---- */

enum { GE(DIGITS) = 64, GE(MULTIPLES) = 8 };

/* s + sum of 8 16^i < 2^256 since s < 2^254, and nibble i minus 8 is digit i. */
static void GE(digits)(int8_t digit[GE(DIGITS)], const uint8_t *scalar)
{
    const uint64_t eights[4] = {0x8888888888888888, 0x8888888888888888, 0x8888888888888888, 0x8888888888888888};
    uint64_t s[4];
    wide_load(s, scalar);
    wide_sum(s, s, eights);
    for (int i = 0; i < GE(DIGITS); i++) digit[i] = (int8_t)((int)(s[i / 16] >> 4 * (i % 16) & 15) - 8);
    privcomp_wipe((uint8_t *)s, sizeof s);
}

static void GE(multiples)(GE(cached) table[GE(MULTIPLES)], const uint8_t *point)
{
    const GE(point) zero = GE(identity)();
    const GE(affine) x = GE(load)(point);
    GE(point) p = GE(add_affine)(&zero, &x);
    for (int i = 0; i < GE(MULTIPLES); i++) {
        table[i] = GE(cache)(&p);
        if (i + 1 < GE(MULTIPLES)) p = GE(add_affine)(&p, &x);
    }
}

static GE(cached) GE(choose)(const GE(cached) table[GE(MULTIPLES)], int8_t digit)
{
    const GE(point) zero = GE(identity)();
    const uint64_t negative = mask64((uint64_t)(uint8_t)digit >> 7);
    const uint64_t size = ((uint64_t)(int64_t)digit ^ negative) - negative;
    GE(cached) out = GE(cache)(&zero);
    for (uint64_t i = 0; i < GE(MULTIPLES); i++) {
        const uint64_t other = size ^ (i + 1); /* < 16 */
        out = GE(select_cached)(&out, &table[i], mask64((other - 1) >> 63));
    }
    return GE(negate_cached)(&out, negative);
}

/* The sum of scalars[i] points[i] for n <= GE(CHUNK). */
static GE(point) GE(straus)(const uint8_t *points, const uint8_t *scalars, size_t n)
{
    GE(cached) table[GE(CHUNK)][GE(MULTIPLES)];
    int8_t digit[GE(CHUNK)][GE(DIGITS)];
    for (size_t i = 0; i < n; i++) {
        GE(digits)(digit[i], scalars + 32 * i);
        GE(multiples)(table[i], points + PRIVCOMP_POINT_BYTES * i);
    }
    GE(point) p = GE(identity)();
    for (int k = GE(DIGITS) - 1; k >= 0; k--) {
        p = GE(double_times)(p, 4);
        for (size_t i = 0; i < n; i++) {
            const GE(cached) c = GE(choose)(table[i], digit[i][k]);
            p = GE(add_cached)(&p, &c);
        }
    }
    privcomp_wipe((uint8_t *)table, n * sizeof *table);
    privcomp_wipe((uint8_t *)digit, n * sizeof *digit);
    return p;
}

static void GE(mul_n)(uint8_t *out, const uint8_t *points, const uint8_t *scalars, size_t n)
{
    GE(point) p[GE(CHUNK)];
    for (size_t first = 0; first < n; first += GE(CHUNK)) {
        const size_t count = n - first < GE(CHUNK) ? n - first : GE(CHUNK);
        for (size_t i = 0; i < count; i++)
            p[i] = GE(straus)(points + PRIVCOMP_POINT_BYTES * (first + i), scalars + 32 * (first + i), 1);
        GE(store)(out + PRIVCOMP_POINT_BYTES * first, p, count);
    }
    privcomp_wipe((uint8_t *)p, sizeof p);
}

static void GE(msm)(uint8_t *out, const uint8_t *points, const uint8_t *scalars, size_t n)
{
    GE(point) p = GE(identity)(), part = p;
    for (size_t first = 0; first < n; first += GE(CHUNK)) {
        const size_t count = n - first < GE(CHUNK) ? n - first : GE(CHUNK);
        part = GE(straus)(points + PRIVCOMP_POINT_BYTES * first, scalars + 32 * first, count);
        p = GE(add)(&p, &part);
    }
    GE(store)(out, &p, 1);
    privcomp_wipe((uint8_t *)&p, sizeof p);
    privcomp_wipe((uint8_t *)&part, sizeof part);
}

/* ---- variable time ---- */

/* Straus with tables of 1 .. 8 times each point. */
static GE(point) GE(straus_var)(const GE(affine) *points, const uint64_t *biased, size_t n, unsigned windows, uint64_t *scratch)
{
    GE(cached) *table = (GE(cached) *)scratch;
    const GE(point) zero = GE(identity)();
    for (size_t i = 0; i < n; i++) {
        GE(point) p = GE(add_affine)(&zero, &points[i]);
        for (size_t k = 0; k < GE(MULTIPLES); k++) {
            table[GE(MULTIPLES) * i + k] = GE(cache)(&p);
            if (k + 1 < GE(MULTIPLES)) p = GE(add_affine)(&p, &points[i]);
        }
    }
    GE(point) sum = zero;
    for (unsigned k = windows; k-- > 0;) {
        sum = GE(double_times)(sum, 4);
        for (size_t i = 0; i < n; i++) {
            const int64_t digit = pc_msm_digit(biased + GROUP_BIASED_WORDS * i, k, 4);
            if (digit == 0) continue;
            const size_t size = (size_t)(digit < 0 ? -digit : digit);
            const GE(cached) c = GE(negate_cached)(&table[GE(MULTIPLES) * i + size - 1], digit < 0 ? ~(uint64_t)0 : 0);
            sum = GE(add_cached)(&sum, &c);
        }
    }
    return sum;
}

/* Pippenger's buckets with signed digits: the points whose digit has size k are summed in bucket k - 1, and the sum of k bucket[k - 1]
 * is the sum of the partial sums from the top. */
static GE(point) GE(buckets_var)(const GE(affine) *points, const uint64_t *biased, size_t n, unsigned w, unsigned windows,
                                 uint64_t *scratch)
{
    GE(point) *bucket = (GE(point) *)scratch;
    const size_t count = (size_t)1 << (w - 1);
    GE(point) sum = GE(identity)();
    for (unsigned k = windows; k-- > 0;) {
        sum = GE(double_times)(sum, w);
        for (size_t b = 0; b < count; b++) bucket[b] = GE(identity)();
        for (size_t i = 0; i < n; i++) {
            const int64_t digit = pc_msm_digit(biased + GROUP_BIASED_WORDS * i, k, w);
            if (digit == 0) continue;
            GE(point) *into = &bucket[(digit < 0 ? -digit : digit) - 1];
            const GE(affine) x = GE(negate_affine)(&points[i], digit < 0 ? ~(uint64_t)0 : 0);
            *into = GE(add_affine)(into, &x);
        }
        GE(point) above = GE(identity)(), part = above;
        for (size_t b = count; b-- > 0;) {
            above = GE(add)(&above, &bucket[b]);
            part = GE(add)(&part, &above);
        }
        sum = GE(add)(&sum, &part);
    }
    return sum;
}

/* scalars or, where that is NULL, values. */
static void GE(msm_var)(uint8_t *out, const uint8_t *points, const uint8_t *scalars, const int64_t *values, size_t n, uint64_t *scratch)
{
    const unsigned bits = scalars != NULL ? 254 : pc_value_bits(values, n);
    GE(point) sum = GE(identity)();
    for (size_t first = 0; first < n; first += GROUP_MSM_BLOCK) {
        const size_t count = n - first < GROUP_MSM_BLOCK ? n - first : GROUP_MSM_BLOCK;
        const unsigned w = count < GROUP_STRAUS_MAX ? 4 : pc_msm_plan_for(count, bits, 1).w, windows = pc_msm_windows(w, bits);
        uint64_t *biased = scratch + count * (sizeof(GE(affine)) / 8), *rest = biased + GROUP_BIASED_WORDS * count;
        GE(affine) *x = (GE(affine) *)scratch;
        for (size_t i = 0; i < count; i++) {
            x[i] = GE(load)(points + PRIVCOMP_POINT_BYTES * (first + i));
            pc_msm_biased(biased + GROUP_BIASED_WORDS * i, scalars, values, first + i, w, windows);
        }
        const GE(point) part = count < GROUP_STRAUS_MAX ? GE(straus_var)(x, biased, count, windows, rest)
                                                        : GE(buckets_var)(x, biased, count, w, windows, rest);
        sum = GE(add)(&sum, &part);
    }
    GE(store)(out, &sum, 1);
}

/* Entry k of window i of a base P is (k + 1) 256^i P. */
static void GE(table)(uint8_t *table, const uint8_t *points, size_t n, unsigned windows)
{
    GE(point) row[GROUP_ENTRIES];
    uint8_t bytes[PRIVCOMP_POINT_BYTES * GROUP_ENTRIES], base[PRIVCOMP_POINT_BYTES];
    const GE(point) zero = GE(identity)();
    for (size_t j = 0; j < n; j++) {
        memcpy(base, points + PRIVCOMP_POINT_BYTES * j, sizeof base);
        for (unsigned i = 0; i < windows; i++) {
            const GE(affine) x = GE(load)(base);
            row[0] = GE(add_affine)(&zero, &x);
            for (int k = 1; k < GROUP_ENTRIES; k++) row[k] = GE(add_affine)(&row[k - 1], &x);
            GE(store)(bytes, row, GROUP_ENTRIES);
            for (int k = 0; k < GROUP_ENTRIES; k++) {
                const GE(affine) entry = GE(load)(bytes + PRIVCOMP_POINT_BYTES * k);
                GE(pack)(table, &entry);
                table += GE_ENTRY_BYTES;
            }
            const GE(point) next = GE(double)(&row[GROUP_ENTRIES - 1]);
            GE(store)(base, &next, 1);
        }
    }
}

PC_INLINE GE(point) GE(add_entry_var)(const GE(point) *p, const uint8_t *window, int digit)
{
    if (digit == 0) return *p;
    const GE(affine) entry = GE(unpack)(window + GE_ENTRY_BYTES * (size_t)((digit < 0 ? -digit : digit) - 1));
    const GE(affine) x = GE(negate_affine)(&entry, digit < 0 ? ~(uint64_t)0 : 0);
    return GE(add_affine)(p, &x);
}

/* out[i] = scalars[i] times the one base of a table of 32 windows: s + sum of 128 256^k < 2^256, byte k minus 128 is digit k. */
static void GE(fixed_var)(uint8_t *out, const uint8_t *table, const uint8_t *scalars, size_t n)
{
    const uint64_t bias[4] = {0x8080808080808080, 0x8080808080808080, 0x8080808080808080, 0x8080808080808080};
    GE(point) p[GE(CHUNK)];
    uint64_t s[4];
    for (size_t first = 0; first < n; first += GE(CHUNK)) {
        const size_t count = n - first < GE(CHUNK) ? n - first : GE(CHUNK);
        for (size_t i = 0; i < count; i++) {
            wide_load(s, scalars + 32 * (first + i));
            wide_sum(s, s, bias);
            p[i] = GE(identity)();
            for (unsigned k = 0; k < 32; k++)
                p[i] = GE(add_entry_var)(&p[i], table + GE_ENTRY_BYTES * GROUP_ENTRIES * k, (int)(s[k / 8] >> 8 * (k % 8) & 255) - 128);
        }
        GE(store)(out + PRIVCOMP_POINT_BYTES * first, p, count);
    }
    privcomp_wipe((uint8_t *)s, sizeof s);
    privcomp_wipe((uint8_t *)p, sizeof p);
}

/* out[i] = a[i] + scalar b[i] for one scalar: its digits, odd in -15 .. 15 and at least five places apart, are the same for all. */
static void GE(axpy_var)(uint8_t *out, const uint8_t *scalar, const uint8_t *b, const uint8_t *a, size_t n)
{
    enum { PLACES = 256 };
    int8_t digit[PLACES];
    GE(cached) odd[8]; /* 1, 3, .. 15 times a point */
    GE(point) p[GE(CHUNK)];
    const unsigned places = pc_wnaf_var(digit, scalar);
    for (size_t first = 0; first < n; first += GE(CHUNK)) {
        const size_t count = n - first < GE(CHUNK) ? n - first : GE(CHUNK);
        for (size_t i = 0; i < count; i++) {
            const GE(point) zero = GE(identity)();
            const GE(affine) x = GE(load)(b + PRIVCOMP_POINT_BYTES * (first + i)), y = GE(load)(a + PRIVCOMP_POINT_BYTES * (first + i));
            GE(point) power = GE(add_affine)(&zero, &x);
            const GE(point) twice = GE(double)(&power);
            const GE(cached) step = GE(cache)(&twice);
            for (int k = 0; k < 8; k++) {
                odd[k] = GE(cache)(&power);
                if (k < 7) power = GE(add_cached)(&power, &step);
            }
            GE(point) sum = zero;
            for (unsigned k = places, pending = 0; k-- > 0;) {
                pending++;
                if (digit[k] == 0 && k != 0) continue;
                sum = GE(double_times)(sum, pending);
                pending = 0;
                if (digit[k] == 0) continue;
                const GE(cached) term = GE(negate_cached)(&odd[(digit[k] < 0 ? -digit[k] : digit[k]) / 2], digit[k] < 0 ? ~(uint64_t)0 : 0);
                sum = GE(add_cached)(&sum, &term);
            }
            p[i] = GE(add_affine)(&sum, &y);
        }
        GE(store)(out + PRIVCOMP_POINT_BYTES * first, p, count);
    }
}
