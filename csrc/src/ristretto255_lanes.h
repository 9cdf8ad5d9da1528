/* What costs most of ristretto255, for LANES points at once; part of ristretto255.c, which includes this once for each kind of vector. It
 * defines
 *   LANE_TARGET, LANES, FE (a vector of numbers), FE_(name) (its functions), FE_WORD_ONE, LANE_(name) (of a vector of integers)
 *   ED_(name): the names of this file
 * The formulas are those of the portable twins there and in group_template.h. */

/* Y - X, Y + X, Z, T of LANES points, all tight: an addition reads the coordinates as this sum and this difference, so it ends with them. */
typedef struct {
    FE minus, plus, z, t;
} ED_(point);

/* Of affine addends: Y + X, Y - X, 2dT; all short, as those of a table are limbs below 2^51. */
typedef struct {
    FE plus, minus, t2d;
} ED_(affine);

/* Of other addends: Y - X, Y + X, Z, 2dT; tight, tight, tight, short. */
typedef struct {
    FE minus, plus, z, t2d;
} ED_(cached);

enum {
    ED_(WORDS) = 20 * LANES,  /* of LANES points in memory: coordinate after coordinate, limb after limb, lane after lane; check: 20 == 4 * 5 */
    ED_(BUCKET) = GROUP_BUCKET_WORDS, /* of one point in memory; check: 20 == 4 * 5 */
    ED_(ADDEND) = GROUP_ADDEND_WORDS, /* of one affine addend; check: 16 == 3 * 5 + 1 */
    ED_(FEW) = 12,            /* points for which buckets do not pay */
};

LANE_TARGET static inline ED_(point) ED_(load)(const uint64_t *from)
{
    const ED_(point) out = {FE_(load)(from), FE_(load)(from + 5 * LANES), FE_(load)(from + 10 * LANES), FE_(load)(from + 15 * LANES)};
    return out;
}

LANE_TARGET static inline void ED_(store)(uint64_t *to, const ED_(point) *p)
{
    FE_(store)(to, p->minus), FE_(store)(to + 5 * LANES, p->plus), FE_(store)(to + 10 * LANES, p->z), FE_(store)(to + 15 * LANES, p->t);
}

LANE_TARGET static inline ED_(point) ED_(identity)(void)
{
    const ED_(point) out = {FE_(all)(fe_one), FE_(all)(fe_one), FE_(all)(fe_one), FE_(all)(fe_zero)};
    return out;
}

/* The scalar points of LANES points in memory, in the same place: (X : Y : Z : T) times two. */
static void ED_(to_points)(uint64_t *at)
{
    ed_point out[LANES];
    for (size_t j = 0; j < LANES; j++) {
        fe part[4];
        for (int k = 0; k < 4; k++) {
            uint64_t word[5];
            for (int i = 0; i < 5; i++) word[i] = at[LANES * (size_t)(5 * k + i) + j];
            part[k] = FE_(lane)(word);
        }
        out[j].x = fe_carry(fe_sub(part[1], part[0]));
        out[j].y = fe_carry(fe_add(part[1], part[0]));
        out[j].z = fe_carry(fe_add(part[2], part[2]));
        out[j].t = fe_carry(fe_add(part[3], part[3]));
    }
    memcpy(at, out, sizeof out);
    privcomp_wipe((uint8_t *)out, sizeof out);
}

/* A = (Y - X) (Y' - X'), B = (Y + X) (Y' + X'), C = T 2d T', D = 2 Z Z' are wide, B and D biased; E = B - A, F = D - C, G = D + C, H = B + A. Then the sum is
 * (EF : GH : FG : EH). Eight carries with those of the results. */
LANE_TARGET PC_INLINE ED_(point) ED_(complete)(FE e, FE f, FE g, FE h)
{
    const FE_(wide) x = FE_(mul_wide)(e, f), y = FE_(mul_biased)(g, h);
    const ED_(point) out = {FE_(carry_biased)(FE_(sub_wide)(y, x)), FE_(carry_biased)(FE_(add_wide)(y, x)), FE_(mul_inline)(f, g), FE_(mul_inline)(e, h)};
    return out;
}

LANE_TARGET PC_INLINE ED_(point) ED_(add_terms)(FE_(wide) a, FE_(wide) b, FE_(wide) c, FE_(wide) d)
{
    return ED_(complete)(FE_(carry_biased)(FE_(sub_wide)(b, a)), FE_(carry_biased)(FE_(sub_wide)(d, c)),
                         FE_(carry_biased)(FE_(add_wide)(d, c)), FE_(carry_biased)(FE_(add_wide)(b, a)));
}

LANE_TARGET PC_INLINE ED_(point) ED_(add_affine_inline)(const ED_(point) *p, const ED_(affine) *q)
{
    return ED_(add_terms)(FE_(mul_wide)(p->minus, q->minus), FE_(mul_biased)(p->plus, q->plus), FE_(mul_wide)(p->t, q->t2d),
                          FE_(twice_biased)(FE_(limbs)(p->z)));
}

LANE_TARGET static ED_(point) ED_(add_affine)(const ED_(point) *p, const ED_(affine) *q) { return ED_(add_affine_inline)(p, q); }

LANE_TARGET static ED_(point) ED_(add_cached)(const ED_(point) *p, const ED_(cached) *q)
{
    return ED_(add_terms)(FE_(mul_wide)(p->minus, q->minus), FE_(mul_biased)(p->plus, q->plus), FE_(mul_wide)(p->t, q->t2d),
                          FE_(twice_biased)(FE_(mul_wide)(p->z, q->z)));
}

LANE_TARGET static inline ED_(cached) ED_(cache)(const ED_(point) *p)
{
    const ED_(cached) out = {p->minus, p->plus, p->z, FE_(mul_inline)(p->t, FE_(all)(ED_2D))};
    return out;
}

LANE_TARGET static ED_(point) ED_(add)(const ED_(point) *p, const ED_(point) *q)
{
    const ED_(cached) c = ED_(cache)(q);
    return ED_(add_cached)(p, &c);
}

/* With P = (Y + X)^2, M = (Y - X)^2, G = (Y + X) (Y - X) = Y^2 - X^2: P - M = 4 X Y, P + M = 2 (X^2 + Y^2), so that E, F, G, H as in ed_double are
 * half of P - M, 4 Z^2 - 2 G, 2 G, P + M. */
LANE_TARGET static ED_(point) ED_(double)(const ED_(point) *p)
{
    const FE_(wide) plus = FE_(square_wide)(p->plus), minus = FE_(square_wide)(p->minus), g = FE_(mul_wide)(p->plus, p->minus);
    const FE_(wide) z = FE_(square_wide)(p->z), z2 = FE_(add_wide)(z, z);
    return ED_(complete)(FE_(carry)(FE_(sub_wide)(plus, minus)), FE_(carry)(FE_(sub_wide)(FE_(sub_wide)(FE_(add_wide)(z2, z2), g), g)),
                         FE_(carry)(FE_(add_wide)(g, g)), FE_(carry)(FE_(add_wide)(plus, minus)));
}

/* The points of 64 bytes at `at`. */
LANE_TARGET static ED_(affine) ED_(load_affine)(const uint8_t *const at[LANES])
{
    const uint8_t *second[LANES];
    LANE_(vec) w[4];
    for (int j = 0; j < LANES; j++) second[j] = at[j] + 32;
    FE_(words)(w, at);
    const FE x = FE_(carry)(FE_(from_words)(w));
    FE_(words)(w, second);
    const FE y = FE_(carry)(FE_(from_words)(w));
    const ED_(affine) out = {FE_(add)(y, x), FE_(sub)(y, x), FE_(mul)(FE_(mul)(x, y), FE_(all)(ED_2D))};
    return out;
}

/* Where the entries for one digit of each lane stand: of a window, or the identity for a digit that is 0 or, as values may change while they are
 * read, out of range. */
typedef struct {
    const uint8_t *entry[LANES];
    uint64_t negative[LANES]; /* all ones where the digit is */
    uint64_t used;            /* 0 where all entries are the identity */
} ED_(places);

/* The places for LANES rows, n values apart, of a column with these windows; the entries are fetched into the first-level cache. Rows from `count` on
 * are zeros. */
PC_INLINE void ED_(places_var)(ED_(places) *to, const uint8_t *window, unsigned windows, const int32_t *values, size_t n, size_t count)
{
    static const uint8_t identity[GE_ENTRY_BYTES] = {[0] = 1, [32] = 1};
    for (unsigned i = 0; i < windows; i++) to[i].used = 0;
    PC_UNROLL
    for (size_t j = 0; j < LANES; j++) {
        int64_t v = j < count ? values[n * j] : 0;
        for (unsigned i = 0; i < windows; i++) {
            const int64_t digit = i + 1 < windows ? (int64_t)((uint64_t)(v + 128) & 255) - 128 : v;
            const uint64_t negative = 0 - ((uint64_t)digit >> 63), index = (((uint64_t)digit ^ negative) - negative) - 1;
            const uint64_t present = 0 - (uint64_t)(index < GROUP_ENTRIES);
            const uintptr_t entry = (uintptr_t)window + GE_ENTRY_BYTES * (GROUP_ENTRIES * i + index), none = (uintptr_t)identity;
            v = (v - digit) / 256;
            to[i].entry[j] = (const uint8_t *)((entry & present) | (none & ~present));
            to[i].negative[j] = negative;
            to[i].used |= present;
            __builtin_prefetch(to[i].entry[j]), __builtin_prefetch(to[i].entry[j] + GE_ENTRY_BYTES - 1);
        }
    }
}

/* What stands at these places; a negative addend has Y + X and Y - X exchanged. */
LANE_TARGET PC_INLINE ED_(affine) ED_(entries_var)(const ED_(places) *from)
{
    const LANE_(mask) negative = LANE_(negative)(LANE_(load)(from->negative));
    const uint8_t *at[3][LANES];
    LANE_(vec) w[4];
    ED_(affine) out;
    PC_UNROLL
    for (int j = 0; j < LANES; j++) {
        const size_t swap = 32 & from->negative[j];
        at[0][j] = from->entry[j] + swap, at[1][j] = from->entry[j] + 32 - swap, at[2][j] = from->entry[j] + 64;
    }
    FE_(words)(w, at[0]);
    out.plus = FE_(of_limbs)(FE_(from_words)(w));
    FE_(words)(w, at[1]);
    out.minus = FE_(of_limbs)(FE_(from_words)(w));
    FE_(words)(w, at[2]);
    out.t2d = FE_(negate_lanes)(FE_(of_limbs)(FE_(from_words)(w)), negative);
    return out;
}

/* ed_fixed_var with a scalar in each lane. */
LANE_TARGET static void ED_(fixed_lanes_var)(uint8_t *out, const uint8_t *table, const uint8_t *scalars, size_t n)
{
    enum { WINDOWS = 32, GROUPS = 8 }; /* groups whose sums are inverted together */
    const uint64_t bias[4] = {0x8080808080808080, 0x8080808080808080, 0x8080808080808080, 0x8080808080808080};
    ED_(places) places[2];
    int32_t digit[WINDOWS][LANES];
    uint64_t s[4], words[GROUPS * ED_(WORDS)];
    for (size_t first = 0; first < n; first += GROUPS * LANES) {
        const size_t count = n - first < GROUPS * LANES ? n - first : GROUPS * LANES;
        for (size_t a = 0; a < count; a += LANES) {
            const size_t lanes = count - a < LANES ? count - a : LANES;
            for (size_t j = 0; j < lanes; j++) {
                wide_load(s, scalars + 32 * (first + a + j));
                wide_sum(s, s, bias);
                for (unsigned k = 0; k < WINDOWS; k++) digit[k][j] = (int32_t)(s[k / 8] >> 8 * (k % 8) & 255) - 128;
            }
            ED_(point) sum = ED_(identity)();
            ED_(places_var)(&places[0], table, 1, digit[0], 1, lanes);
            for (size_t k = 0; k < WINDOWS; k++) {
                if (k + 1 < WINDOWS)
                    ED_(places_var)(&places[(k + 1) % 2], table + GE_ENTRY_BYTES * GROUP_ENTRIES * (k + 1), 1, digit[k + 1], 1, lanes);
                if (places[k % 2].used == 0) continue;
                const ED_(affine) entry = ED_(entries_var)(&places[k % 2]);
                sum = ED_(add_affine)(&sum, &entry);
            }
            ED_(store)(words + ED_(BUCKET) * a, &sum);
            ED_(to_points)(words + ED_(BUCKET) * a);
        }
        ed_store(out + PRIVCOMP_POINT_BYTES * first, (const ed_point *)words, count);
    }
    privcomp_wipe((uint8_t *)places, sizeof places);
    privcomp_wipe((uint8_t *)digit, sizeof digit);
    privcomp_wipe((uint8_t *)s, sizeof s);
    privcomp_wipe((uint8_t *)words, sizeof words);
}

/* ---- sums of multiples ---- */

/* The points at `at`, ED_(BUCKET) words each. */
LANE_TARGET static ED_(point) ED_(gather)(uint64_t *const at[LANES])
{
    LANE_(vec) w[ED_(BUCKET)];
    for (int k = 0; k < 5; k++) {
        const uint8_t *part[LANES];
        for (int j = 0; j < LANES; j++) part[j] = (const uint8_t *)(at[j] + 4 * k);
        FE_(words)(w + 4 * k, part);
    }
    const ED_(point) p = {FE_(of_words)(w), FE_(of_words)(w + 5), FE_(of_words)(w + 10), FE_(of_words)(w + 15)};
    return p;
}

LANE_TARGET static void ED_(scatter)(uint64_t *const at[LANES], const ED_(point) *p)
{
    LANE_(vec) w[ED_(BUCKET)];
    FE_(to_words)(w, p->minus), FE_(to_words)(w + 5, p->plus), FE_(to_words)(w + 10, p->z), FE_(to_words)(w + 15, p->t);
    for (int k = 0; k < 5; k++) {
        uint8_t *part[LANES];
        for (int j = 0; j < LANES; j++) part[j] = (uint8_t *)(at[j] + 4 * k);
        FE_(store_words)(part, w + 4 * k);
    }
}

/* ---- buckets ----
 * The digits of LANES windows are sorted into a schedule first: rows of LANES addends, so that a bucket's stand below each other in one lane. Then
 * a group of buckets is summed from its first row to its last with its sums at hand, and each of its buckets is written once. The buckets of size k
 * and lane j, whose digits are those of window j, are number LANES k + j; those of size 0 do not count. */

/* Of one block of points. */
typedef struct {
    uint64_t *addends, *biased, *bucket;
    uint16_t *digits;
    uint32_t *schedule, *count, *order, *bins;
    pc_msm_cursor *cursors;
    pc_msm_layout layout;
    pc_msm_plan plan;
    size_t n;
} ED_(block);

static ED_(block) ED_(block_in)(uint64_t *scratch, size_t n, pc_msm_plan plan)
{
    const pc_msm_layout at = pc_msm_layout_for(n, plan.w, LANES);
    const uintptr_t line = 8 * GROUP_LINE_WORDS, start = (uintptr_t)(scratch + at.addends);
    const ED_(block) out = {
        .addends = scratch + at.addends + (line - start % line) % line / 8,
        .biased = scratch + at.biased,
        .bucket = scratch + at.bucket,
        .digits = (uint16_t *)(void *)(scratch + at.digits),
        .schedule = (uint32_t *)(void *)(scratch + at.schedule),
        .count = (uint32_t *)(void *)(scratch + at.count),
        .order = (uint32_t *)(void *)(scratch + at.order),
        .bins = (uint32_t *)(void *)(scratch + at.bins),
        .cursors = (pc_msm_cursor *)(void *)(scratch + at.cursors),
        .layout = at,
        .plan = plan,
        .n = n,
    };
    return out;
}

/* The addend of n points that is the identity: what a lane adds when its bucket is complete and others of its group are not. */
static void ED_(set_identity)(const ED_(block) *b)
{
    uint64_t *const last = b->addends + ED_(ADDEND) * b->n;
    memset(last, 0, 8 * ED_(ADDEND));
    last[0] = last[4] = FE_WORD_ONE;
}

/* Addends in memory: limbs 0 to 3 of Y + X, of Y - X and of 2dT, then limb 4 of each. */
LANE_TARGET static void ED_(set_addends)(const ED_(block) *b, const uint8_t *points)
{
    for (size_t i = 0; i < b->n; i += LANES) {
        const uint8_t *at[LANES];
        uint8_t *to[4][LANES];
        LANE_(vec) plus[5], minus[5], t2d[5];
        for (size_t j = 0; j < LANES; j++) {
            /* where no point is left, any one stands at the place of the identity */
            const size_t own = i + j < b->n ? i + j : b->n;
            at[j] = points + PRIVCOMP_POINT_BYTES * (own < b->n ? own : 0);
            for (int k = 0; k < 4; k++) to[k][j] = (uint8_t *)(b->addends + ED_(ADDEND) * own + 4 * k);
        }
        const ED_(affine) a = ED_(load_affine)(at);
        FE_(to_words)(plus, a.plus), FE_(to_words)(minus, a.minus), FE_(to_words)(t2d, a.t2d);
        const LANE_(vec) rest[4] = {plus[4], minus[4], t2d[4], LANE_(all)(0)};
        FE_(store_words)(to[0], plus), FE_(store_words)(to[1], minus), FE_(store_words)(to[2], t2d), FE_(store_words)(to[3], rest);
    }
    ED_(set_identity)(b);
}

/* For each lane the addend i, or where the entry 2 i + sign of a schedule is odd its negative: Y + X and Y - X change places. */
LANE_TARGET PC_INLINE ED_(affine) ED_(scheduled)(const uint64_t *addends, const uint32_t row[LANES])
{
    const LANE_(mask) negative = LANE_(negative)(LANE_(sub)(LANE_(all)(0), LANE_(and)(LANE_(load_halves)(row), LANE_(all)(1))));
    const uint8_t *at[4][LANES];
    LANE_(vec) plus[5], minus[5], t2d[5], rest[4];
    PC_UNROLL
    for (int j = 0; j < LANES; j++) {
        const uint64_t *const own = addends + ED_(ADDEND) * (size_t)(row[j] >> 1);
        const size_t swap = 4 * (size_t)(row[j] & 1);
        at[0][j] = (const uint8_t *)(own + swap), at[1][j] = (const uint8_t *)(own + 4 - swap);
        at[2][j] = (const uint8_t *)(own + 8), at[3][j] = (const uint8_t *)(own + 12);
    }
    FE_(words)(plus, at[0]), FE_(words)(minus, at[1]), FE_(words)(t2d, at[2]), FE_(words)(rest, at[3]);
    plus[4] = LANE_(select)(rest[0], rest[1], negative), minus[4] = LANE_(select)(rest[1], rest[0], negative), t2d[4] = rest[2];
    const ED_(affine) out = {FE_(of_words)(plus), FE_(of_words)(minus), FE_(negate_lanes)(FE_(of_words)(t2d), negative)};
    return out;
}

PC_INLINE void ED_(fetch)(const uint64_t *addends, const uint32_t row[LANES])
{
    for (int j = 0; j < LANES; j++) {
        const uint64_t *const own = addends + ED_(ADDEND) * (size_t)(row[j] >> 1);
        __builtin_prefetch(own), __builtin_prefetch(own + GROUP_LINE_WORDS);
    }
}

/* The schedule for windows k .. k + LANES - 1. Returns how many buckets stand in `order`, of which the first *longs are long. Buckets without addends
 * are written here. */
static size_t ED_(schedule_var)(const ED_(block) *b, unsigned k, size_t *longs)
{
    static const uint64_t empty[ED_(BUCKET)] = {[0] = FE_WORD_ONE, [5] = FE_WORD_ONE, [10] = FE_WORD_ONE};
    const size_t buckets = b->layout.buckets, longest = b->layout.longest, n = b->n;
    const unsigned windows = b->plan.windows - k < LANES ? b->plan.windows - k : LANES;
    uint32_t *const count = b->count, *const bins = b->bins;
    memset(count, 0, sizeof *count * buckets);
    for (unsigned j = 0; j < LANES; j++)
        for (size_t i = 0; i < n; i++) {
            const int64_t digit = j < windows ? pc_msm_digit(b->biased + GROUP_BIASED_WORDS * i, k + j, b->plan.w) : 0;
            const uint64_t negative = (uint64_t)digit >> 63, size = ((uint64_t)digit ^ (0 - negative)) + negative;
            b->digits[LANES * i + j] = (uint16_t)(size << 1 | negative);
            count[LANES * size + j]++;
        }
    /* by length, from the longest on; all long ones are of one length here */
    memset(bins, 0, sizeof *bins * (longest + 2));
    for (size_t q = LANES; q < buckets; q++) bins[count[q] > longest ? longest + 1 : count[q]]++;
    *longs = bins[longest + 1];
    size_t used = 0;
    for (size_t c = longest + 1; c > 0; c--) {
        const uint32_t these = bins[c];
        bins[c] = (uint32_t)used;
        used += these;
    }
    for (size_t q = LANES; q < buckets; q++) {
        if (count[q] == 0)
            memcpy(b->bucket + ED_(BUCKET) * q, empty, sizeof empty);
        else
            b->order[bins[count[q] > longest ? longest + 1 : count[q]]++] = (uint32_t)q;
    }
    size_t rows = 0;
    for (size_t i = 0; i < *longs; i++) {
        b->cursors[b->order[i]] = (pc_msm_cursor){(uint32_t)(LANES * rows), 1};
        rows += (count[b->order[i]] + LANES - 1) / LANES;
    }
    for (size_t i = *longs; i < used; i += LANES) {
        for (size_t j = 0; j < LANES && i + j < used; j++) b->cursors[b->order[i + j]] = (pc_msm_cursor){(uint32_t)(LANES * rows + j), LANES};
        rows += count[b->order[i]];
    }
    for (size_t j = 0; j < LANES; j++) b->cursors[j] = (pc_msm_cursor){(uint32_t)(LANES * rows), 0};
    VERIFY(rows + 1 + GROUP_AHEAD <= b->layout.rows);
    for (size_t i = 0; i < LANES * (rows + 1 + GROUP_AHEAD); i++) b->schedule[i] = (uint32_t)(n << 1);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < LANES; j++) {
            const uint16_t digit = b->digits[LANES * i + j];
            pc_msm_cursor *const cursor = &b->cursors[LANES * (size_t)(digit >> 1) + j];
            b->schedule[cursor->at] = (uint32_t)(i << 1 | (digit & 1));
            cursor->at += cursor->stride;
        }
    return used;
}

/* Adds up the lanes of the sums at `part`, BUCKET words each, into `into`. */
LANE_TARGET static void ED_(add_lanes)(uint64_t *into, uint64_t *part)
{
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        uint64_t *low[LANES], *high[LANES];
        for (size_t j = 0; j < LANES; j++) low[j] = part + ED_(BUCKET) * (j % half), high[j] = low[j] + ED_(BUCKET) * half;
        const ED_(point) p = ED_(gather)(low), q = ED_(gather)(high), sum = ED_(add)(&p, &q);
        ED_(scatter)(low, &sum);
    }
    memcpy(into, part, 8 * ED_(BUCKET));
}

/* Fills the buckets of windows k .. k + LANES - 1. */
LANE_TARGET static void ED_(fill_var)(const ED_(block) *b, unsigned k)
{
    uint64_t part[LANES * ED_(BUCKET)];
    size_t longs;
    const size_t used = ED_(schedule_var)(b, k, &longs);
    const FE one = FE_(all)(fe_one), inverse = FE_(carry)(FE_(limbs)(FE_(all)(ED_2D_INVERSE))); /* tight */
    const uint32_t *row = b->schedule;
    for (size_t ahead = 0; ahead < GROUP_AHEAD; ahead++) ED_(fetch)(b->addends, row + LANES * ahead);
    for (size_t i = 0; i < used;) {
        const int alone = i < longs;
        const uint32_t length = b->count[b->order[i]];
        ED_(fetch)(b->addends, row + LANES * GROUP_AHEAD);
        const ED_(affine) first = ED_(scheduled)(b->addends, row);
        ED_(point) sum = {first.minus, first.plus, one, FE_(mul_inline)(inverse, first.t2d)};
        row += LANES;
        for (uint32_t rows = alone ? (length + LANES - 1) / LANES : length; --rows > 0; row += LANES) {
            ED_(fetch)(b->addends, row + LANES * GROUP_AHEAD);
            const ED_(affine) a = ED_(scheduled)(b->addends, row);
            sum = ED_(add_affine_inline)(&sum, &a);
        }
        uint64_t *at[LANES];
        for (size_t j = 0; j < LANES; j++)
            at[j] = alone || i + j >= used ? part + ED_(BUCKET) * j : b->bucket + ED_(BUCKET) * (size_t)b->order[i + j];
        ED_(scatter)(at, &sum);
        if (alone) ED_(add_lanes)(b->bucket + ED_(BUCKET) * (size_t)b->order[i], part);
        i += alone ? 1 : LANES;
    }
}

/* ed_buckets_var */
LANE_TARGET static ed_point ED_(buckets_var)(const ED_(block) *b)
{
    uint64_t words[ED_(WORDS)];
    ed_point sum = ed_identity();
    for (unsigned k = (b->plan.windows + LANES - 1) / LANES * LANES; k > 0;) {
        k -= LANES;
        ED_(fill_var)(b, k);
        ED_(point) above = ED_(identity)(), part = above;
        for (size_t size = (size_t)1 << (b->plan.w - 1); size > 0; size--) {
            uint64_t *at[LANES];
            for (size_t j = 0; j < LANES; j++) at[j] = b->bucket + ED_(BUCKET) * (LANES * size + j);
            const ED_(point) own = ED_(gather)(at);
            above = ED_(add)(&above, &own);
            part = ED_(add)(&part, &above);
        }
        ED_(store)(words, &part);
        ED_(to_points)(words);
        for (unsigned j = b->plan.windows - k < LANES ? b->plan.windows - k : LANES; j-- > 0;) {
            ed_point own;
            memcpy(&own, (const ed_point *)(const void *)words + j, sizeof own);
            sum = ed_double_times(sum, b->plan.w);
            sum = ed_add(&sum, &own);
        }
    }
    return sum;
}

/* ed_msm_var, which does the few points for which buckets do not pay. */
LANE_TARGET static void ED_(msm_lanes_var)(uint8_t *out, const uint8_t *points, const uint8_t *scalars, const int64_t *values, size_t n,
                                           uint64_t *scratch)
{
    if (n < ED_(FEW)) {
        ed_msm_var(out, points, scalars, values, n, scratch);
        return;
    }
    const unsigned bits = scalars != NULL ? ED_ORDER_BITS : pc_value_bits(values, n);
    ed_point sum = ed_identity();
    for (size_t first = 0; first < n; first += GROUP_MSM_BLOCK) {
        const size_t count = n - first < GROUP_MSM_BLOCK ? n - first : GROUP_MSM_BLOCK;
        const ED_(block) b = ED_(block_in)(scratch, count, pc_msm_plan_for(count, bits, LANES));
        ED_(set_addends)(&b, points + PRIVCOMP_POINT_BYTES * first);
        for (size_t i = 0; i < count; i++)
            pc_msm_biased(b.biased + GROUP_BIASED_WORDS * i, scalars, values, first + i, b.plan.w, b.plan.windows);
        const ed_point part = ED_(buckets_var)(&b);
        sum = ed_add(&sum, &part);
    }
    ed_store(out, &sum, 1);
}

/* ed_axpy_var, a point in each lane; where none is left, the last one again. */
LANE_TARGET static void ED_(axpy_lanes_var)(uint8_t *out, const uint8_t *scalar, const uint8_t *b, const uint8_t *a, size_t n)
{
    int8_t digit[256];
    ED_(cached) odd[8]; /* 1, 3, .. 15 times the points */
    uint64_t words[ED_(WORDS)];
    if (n == 1) {
        ed_axpy_var(out, scalar, b, a, n);
        return;
    }
    const unsigned places = pc_wnaf_var(digit, scalar);
    const ED_(point) zero = ED_(identity)();
    for (size_t first = 0; first < n; first += LANES) {
        const size_t count = n - first < LANES ? n - first : LANES;
        const uint8_t *a_at[LANES], *b_at[LANES];
        for (size_t j = 0; j < LANES; j++) {
            const size_t i = first + (j < count ? j : count - 1);
            a_at[j] = a + PRIVCOMP_POINT_BYTES * i, b_at[j] = b + PRIVCOMP_POINT_BYTES * i;
        }
        const ED_(affine) x = ED_(load_affine)(b_at), y = ED_(load_affine)(a_at);
        ED_(point) power = ED_(add_affine)(&zero, &x), sum = zero;
        const ED_(point) twice = ED_(double)(&power);
        const ED_(cached) step = ED_(cache)(&twice);
        for (int k = 0; k < 8; k++) {
            odd[k] = ED_(cache)(&power);
            if (k < 7) power = ED_(add_cached)(&power, &step);
        }
        for (unsigned k = places; k-- > 0;) {
            if (k + 1 < places) sum = ED_(double)(&sum);
            if (digit[k] == 0) continue;
            ED_(cached) term = odd[(digit[k] < 0 ? -digit[k] : digit[k]) / 2];
            if (digit[k] < 0) {
                const FE plus = term.plus;
                term.plus = term.minus, term.minus = plus;
                term.t2d = FE_(negate_lanes)(term.t2d, LANE_(zero)(LANE_(all)(0)));
            }
            sum = ED_(add_cached)(&sum, &term);
        }
        sum = ED_(add_affine)(&sum, &y);
        ED_(store)(words, &sum);
        ED_(to_points)(words);
        ed_store(out + PRIVCOMP_POINT_BYTES * first, (const ed_point *)words, count);
    }
}

/* ---- multiples and their sums in constant time: ed_straus with a point in each lane ---- */

enum { ED_(VECTORS) = 64 / LANES }; /* of points with tables at once, 82 kB */

/* Multiples 1 .. 8 of the points. */
LANE_TARGET static void ED_(multiples)(ED_(cached) table[ed_MULTIPLES], const uint8_t *const at[LANES])
{
    const ED_(point) zero = ED_(identity)();
    const ED_(affine) x = ED_(load_affine)(at);
    ED_(point) p = ED_(add_affine)(&zero, &x);
    for (int i = 0; i < ed_MULTIPLES; i++) {
        table[i] = ED_(cache)(&p);
        if (i + 1 < ed_MULTIPLES) p = ED_(add_affine)(&p, &x);
    }
}

/* For each lane the multiple by its digit. */
LANE_TARGET static ED_(cached) ED_(choose)(const ED_(cached) table[ed_MULTIPLES], const int8_t digit[LANES])
{
    const ED_(point) zero = ED_(identity)();
    uint64_t extended[LANES];
    for (size_t j = 0; j < LANES; j++) extended[j] = (uint64_t)(int64_t)digit[j];
    const LANE_(vec) d = LANE_(load)(extended), size = LANE_(abs)(d);
    const LANE_(mask) negative = LANE_(negative)(d);
    ED_(cached) out = {zero.minus, zero.plus, zero.z, zero.t};
    for (uint64_t i = 0; i < ed_MULTIPLES; i++) {
        const LANE_(mask) here = LANE_(zero)(LANE_(sub)(size, LANE_(all)(i + 1)));
        out.minus = FE_(select)(out.minus, table[i].minus, here), out.plus = FE_(select)(out.plus, table[i].plus, here);
        out.z = FE_(select)(out.z, table[i].z, here), out.t2d = FE_(select)(out.t2d, table[i].t2d, here);
    }
    const FE plus = FE_(select)(out.plus, out.minus, negative);
    out.minus = FE_(select)(out.minus, out.plus, negative), out.plus = plus;
    out.t2d = FE_(negate_lanes)(out.t2d, negative);
    privcomp_wipe((uint8_t *)extended, sizeof extended);
    return out;
}

/* For each lane the sum of scalars[i] points[i] over its points, as LANES scalar points; n <= 64. */
LANE_TARGET static void ED_(straus)(ed_point out[LANES], const uint8_t *points, const uint8_t *scalars, size_t n)
{
    ED_(cached) table[ED_(VECTORS)][ed_MULTIPLES];
    int8_t digit[ED_(VECTORS)][ed_DIGITS][LANES];
    uint64_t words[ED_(WORDS)];
    const size_t vectors = (n + LANES - 1) / LANES;
    for (size_t i = 0; i < vectors; i++) {
        const uint8_t *at[LANES];
        for (size_t j = 0; j < LANES; j++) {
            /* Where no point is left, any point stands with digits that are zero. */
            const int left = LANES * i + j < n;
            const size_t from = left ? LANES * i + j : 0;
            int8_t own[ed_DIGITS] = {0};
            if (left) ed_digits(own, scalars + 32 * from);
            for (size_t k = 0; k < ed_DIGITS; k++) digit[i][k][j] = own[k];
            at[j] = points + PRIVCOMP_POINT_BYTES * from;
            privcomp_wipe((uint8_t *)own, sizeof own);
        }
        ED_(multiples)(table[i], at);
    }
    ED_(point) p = ED_(identity)();
    for (int k = ed_DIGITS - 1; k >= 0; k--) {
        for (int twice = 0; k + 1 < ed_DIGITS && twice < 4; twice++) p = ED_(double)(&p);
        for (size_t i = 0; i < vectors; i++) {
            const ED_(cached) c = ED_(choose)(table[i], digit[i][k]);
            p = ED_(add_cached)(&p, &c);
        }
    }
    ED_(store)(words, &p);
    ED_(to_points)(words);
    memcpy(out, words, sizeof words);
    privcomp_wipe((uint8_t *)table, vectors * sizeof *table);
    privcomp_wipe((uint8_t *)digit, vectors * sizeof *digit);
    privcomp_wipe((uint8_t *)words, sizeof words);
    privcomp_wipe((uint8_t *)&p, sizeof p);
}

LANE_TARGET static void ED_(mul_lanes)(uint8_t *out, const uint8_t *points, const uint8_t *scalars, size_t n)
{
    ed_point p[LANES];
    for (size_t first = 0; first < n; first += LANES) {
        const size_t count = n - first < LANES ? n - first : LANES;
        if (count == 1) {
            ed_mul_n(out + PRIVCOMP_POINT_BYTES * first, points + PRIVCOMP_POINT_BYTES * first, scalars + 32 * first, 1);
            break;
        }
        ED_(straus)(p, points + PRIVCOMP_POINT_BYTES * first, scalars + 32 * first, count);
        ed_store(out + PRIVCOMP_POINT_BYTES * first, p, count);
    }
    privcomp_wipe((uint8_t *)p, sizeof p);
}

LANE_TARGET static void ED_(msm_lanes)(uint8_t *out, const uint8_t *points, const uint8_t *scalars, size_t n)
{
    enum { CHUNK = LANES * ED_(VECTORS) };
    ed_point part[LANES], sum = ed_identity();
    if (n <= 2) {
        ed_msm(out, points, scalars, n);
        return;
    }
    for (size_t first = 0; first < n; first += CHUNK) {
        const size_t count = n - first < CHUNK ? n - first : CHUNK;
        ED_(straus)(part, points + PRIVCOMP_POINT_BYTES * first, scalars + 32 * first, count);
        for (size_t j = 0; j < LANES; j++) sum = ed_add(&sum, &part[j]);
    }
    ed_store(out, &sum, 1);
    privcomp_wipe((uint8_t *)part, sizeof part);
    privcomp_wipe((uint8_t *)&sum, sizeof sum);
}

/* ---- decoding ---- */

/* ristretto_decode with an encoding in each lane of SIDE vectors; zeros, which encode the identity, stand in the lanes left over. */
LANE_TARGET static int ED_(decode_lanes)(uint8_t *points, const uint8_t *encodings, size_t n)
{
    static const uint8_t zeros[32];
    const FE one = FE_(all)(fe_one);
    const fe minus_one = {{0x7ffffffffffec, FE_MASK, FE_MASK, FE_MASK, FE_MASK}}; /* check: 2**51 - 20 */
    const unsigned every = (1u << LANES) - 1;
    unsigned valid = every;
    for (size_t first = 0; first < n; first += FE_(SIDE) * LANES) {
        FE s[FE_(SIDE)], u1[FE_(SIDE)], u2[FE_(SIDE)], v[FE_(SIDE)], x[FE_(SIDE)], x3[FE_(SIDE)], x7[FE_(SIDE)], power[FE_(SIDE)];
        const size_t left = n - first, vectors = left < FE_(SIDE) * LANES ? (left + LANES - 1) / LANES : FE_(SIDE);
        for (size_t h = 0; h < vectors; h++) {
            const uint8_t *at[LANES];
            LANE_(vec) w[4];
            for (size_t j = 0; j < LANES; j++) at[j] = LANES * h + j < left ? encodings + 32 * (first + LANES * h + j) : zeros;
            FE_(words)(w, at);
            const FE_(wide) limbs = FE_(from_words)(w);
            valid &= LANE_(mask_bits)(LANE_(zero)(FE_(quotient)(limbs))) & ~LANE_(mask_bits)(LANE_(negative)(w[3])) & ~LANE_(mask_bits)(FE_(odd)(limbs));

            s[h] = FE_(carry)(limbs);
            const FE ss = FE_(square)(s[h]);
            u1[h] = FE_(sub)(one, ss), u2[h] = FE_(add)(one, ss);
            const FE u2_sqr = FE_(square)(u2[h]), d_u1_sqr = FE_(mul)(FE_(square)(u1[h]), FE_(all)(ED_D));
            v[h] = FE_(sub)(FE_(sub)(FE_(all)(fe_zero), d_u1_sqr), u2_sqr), x[h] = FE_(mul)(v[h], u2_sqr);
            x3[h] = FE_(mul)(FE_(square)(x[h]), x[h]), x7[h] = FE_(mul)(FE_(square)(x3[h]), x[h]);
        }
        /* r = sqrt(1 / x) up to its sign, which does not matter here, if x r^2 is 1 for r = x^3 (x^7)^((p - 5) / 8) or for i times that */
        FE_(pow_p58)(power, x7, vectors);
        for (size_t h = 0; h < vectors; h++) {
            const size_t count = left - LANES * h < LANES ? left - LANES * h : LANES;
            uint8_t *const to = points + PRIVCOMP_POINT_BYTES * (first + LANES * h);
            FE r = FE_(mul)(x3[h], power[h]);
            const FE_(wide) check = FE_(canonical)(FE_(mul)(x[h], FE_(square)(r)));
            const LANE_(mask) flipped = FE_(same_limbs)(check, minus_one);
            valid &= LANE_(mask_bits)(flipped) | LANE_(mask_bits)(FE_(same_limbs)(check, fe_one));
            r = FE_(select)(r, FE_(mul)(r, FE_(all)(SQRT_M1)), flipped);

            const FE den_x = FE_(mul)(r, u2[h]), den_y = FE_(mul)(FE_(mul)(r, den_x), v[h]);
            const FE t_x = FE_(mul)(FE_(add)(s[h], s[h]), den_x), t_y = FE_(mul)(u1[h], den_y);
            const FE_(wide) out_x = FE_(abs)(t_x), out_y = FE_(canonical)(t_y);
            const FE_(wide) t = FE_(canonical)(FE_(mul)(FE_(carry)(out_x), t_y));
            valid &= ~(LANE_(mask_bits)(FE_(odd)(t)) | LANE_(mask_bits)(FE_(same_limbs)(out_y, fe_zero)));
            FE_(to_bytes)(to, PRIVCOMP_POINT_BYTES, count, out_x);
            FE_(to_bytes)(to + 32, PRIVCOMP_POINT_BYTES, count, out_y);
        }
    }
    PC_DECLASSIFY(valid);
    return valid == every;
}
