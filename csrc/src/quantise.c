/* Clip to a Euclidean norm, rounding to integers, and exact sums of clipped records.
 *
 * The clip. Let S be the computed sum of squares of the floats y (their exact norm is N), and R >= the computed radius. By encode.h
 *   S (1 + 2^-31) >= N^2 - d 2^-1022,      hence N <= r (1 + 2^-32) for any r >= sqrt(S), S >= 2^-600;
 * r comes from an integer square root and is certainly not below sqrt(S). With
 *   f <= R / r (1 - 2^-30)
 * the floats t_i = y_i f, each rounded once, have
 *   ||t|| <= f N (1 + 2^-52) + sqrt(d) 2^-1022 <= R (1 - 2^-30)(1 + 2^-32)(1 + 2^-49) + 2^-1007 < R (1 - 2^-31),
 * where (1 + 2^-49) pays for the roundings of f, of R itself (a quotient) and of t_i, in whatever direction, and R >= 2^-210 swallows the last term.
 * So ||t|| < R in real arithmetic. For t in single precision 1 - 2^-20 stands in place of 1 - 2^-30: t_i is off by a factor of 1 + 2^-23 and by
 * 2^-149, R >= 2^-100, and (1 - 2^-20)(1 + 2^-22) + 2^(15 - 149 + 100) < 1.
 *
 * The gate. Let R = c/g, g the granularity. Truncation towards zero gives integers |q_i| <= |t_i|, so the integer ||q||^2 <= ||t||^2 <= (c/g)^2, hence
 *   ||q||^2 <= floor((c/g)^2):
 * the last attempt passes the gate for every bound from there on, and so does each of its clamped forms, which are shorter. The gate is
 * nevertheless asked in integers each time: sensitivity rests on it, and on nothing above.
 */
#include "encode.h"

#define FACTOR_MARGIN (1 - 0x1p-30)
#define FACTOR_MARGIN_F32 (1 - 0x1p-20)
#define INSIDE_MARGIN (1 + 0x1p-31) /* r (1 + 2^-31) <= c shows N <= c: 2^-32 for S, and the product's own rounding */

PC_INLINE int norm_in_range(double x) { return x >= 0x1p-100 && x <= 0x1p100; }

/* r >= sqrt(s), r <= sqrt(s) (1 + 2^-51), for 2^-600 <= s <= 2^1000. s = m 2^e for an integer m of 53 bits; with M = m 2^k, 51 <= k <= 52 and
 * e - k even, the integer root of M has 52 or 53 bits, and one more than it is above the root, and still exact. */
/* check: (2**53 * 2**52) <= (2**53 - 1)**2 */
static double root_above(double s)
{
    uint64_t bits;
    memcpy(&bits, &s, 8);
    const uint64_t m = (bits & 0xfffffffffffff) | (uint64_t)1 << 52; /* check: 0xfffffffffffff == 2**52 - 1 */
    const int e = (int)(bits >> 52) - 1075, k = (e & 1) ? 51 : 52;   /* check: 1075 == 1023 + 52 */
    const u128 M = (u128)m << k;
    uint64_t root = 0;
    VERIFY(s >= 0x1p-600 && s <= 0x1p1000);
    for (uint64_t bit = (uint64_t)1 << 52; bit > 0; bit >>= 1)
        if ((u128)(root | bit) * (root | bit) <= M) root |= bit;
    return (double)(root + 1) * pc_power_of_two((e - k) / 2);
}

/* The f of the essay above, at most `plain`; s is 0 or in root_above's range. */
static double find_factor(double s, double radius, double plain, double margin)
{
    if (s == 0) return 0;
    const double f = radius / root_above(s) * margin;
    return plain < f ? plain : f;
}

/* ---- clip ---- */

#define DEFINE_CLIP(T, TYPE, MARGIN) \
    int privcomp_clip_l2_##T(TYPE *out, const TYPE *x, size_t n, double clip) \
    { \
        double squares; \
        int exponent; \
        if (n > ENCODE_MAX || !norm_in_range(clip)) return PRIVCOMP_E_ARGUMENT; \
        const int status = pc_squares_##T(&squares, &exponent, x, n); \
        if (status != PRIVCOMP_OK) return status; \
        /* too small for a sum of squares: the norm is below 2^-299 */ \
        if (squares == 0 || exponent > 0 || (exponent == 0 && root_above(squares) * INSIDE_MARGIN <= clip)) { \
            if (out != x && n > 0) memcpy(out, x, n * sizeof *x); \
            return PRIVCOMP_OK; \
        } \
        const double factor = find_factor(squares, clip, 0x1p1023, MARGIN), scale = pc_power_of_two(exponent); \
        for (size_t j = 0; j < n; j++) out[j] = (TYPE)((double)x[j] * scale * factor); \
        return PRIVCOMP_OK; \
    }

DEFINE_CLIP(f32, float, FACTOR_MARGIN_F32)
DEFINE_CLIP(f64, double, FACTOR_MARGIN)

/* ---- rounding ---- */

/* What a stream of coins, and the gate, are made of. */
typedef struct {
    const struct encode *kernels;
    const pc_level *level;
    pc_stream stream;
    int cipher;
    u128 bound;
    uint64_t beta;
} rounding;

static int rounding_init(rounding *w, uint64_t beta, uint64_t bound_high, uint64_t bound_low, const uint8_t *seed, int cipher)
{
    if (pc_seed_bytes(cipher) == 0 || beta > ENCODE_BETA_MAX || bound_high >> 63) return 0;
    w->kernels = pc_encode_at(privcomp_level_get());
    w->level = pc_level_table();
    w->cipher = cipher;
    w->beta = beta;
    w->bound = (u128)bound_high << 64 | bound_low;
    pc_stream_init(&w->stream, cipher, seed, w->level);
    return 1;
}

/* q = y factor, rounded with the coins of attempt number `attempt`, or truncated; whether it passes the gate. The coins are drawn in q's place, which may
 * be y's. A coin of ones truncates: its u is 1 - 2^-53, and no fractional part is larger. */
static int attempt_rounding(int64_t *q, const double *y, size_t n, double factor, const rounding *w, uint64_t attempt, int truncate)
{
    u128 sum = 0; /* at most 2^30 2^96 */
    double tile[ENCODE_BLOCK];
    for (size_t at = 0; at < n; at += ENCODE_BLOCK) {
        const size_t count = n - at < ENCODE_BLOCK ? n - at : ENCODE_BLOCK;
        memcpy(tile, y + at, count * 8);
        if (truncate)
            memset(q + at, 0xff, count * 8);
        else
            pc_stream_apply(PC_STORE, (uint8_t *)(q + at), count * 8, &w->stream, 8 * (attempt * n + at), w->cipher, w->level);
        if (PC_LE64(1) != 1)
            for (size_t j = at; j < at + count; j++) q[j] = (int64_t)load64_le(q + j);
        const encode_squares squares = w->kernels->round(q + at, tile, count, factor, w->beta);
        sum += encode_squares_value(&squares);
    }
    privcomp_wipe((uint8_t *)tile, sizeof tile);
    return sum <= w->bound;
}

#define TRIALS_MAX 65536 /* check: 2**16 */

int privcomp_round_l2_f64_var(int64_t *q, int32_t *attempt, const double *x, size_t n, double gamma, uint64_t beta, uint64_t bound_high,
                              uint64_t bound_low, uint32_t trials, const uint8_t *seed, int cipher)
{
    rounding w;
    double squares;
    int exponent;
    if (n > ENCODE_MAX || !norm_in_range(gamma) || trials > TRIALS_MAX) return PRIVCOMP_E_ARGUMENT;
    const int status = pc_squares_f64(&squares, &exponent, x, n); /* for what is not finite */
    if (status != PRIVCOMP_OK) return status;
    if (!rounding_init(&w, beta, bound_high, bound_low, seed, cipher)) return PRIVCOMP_E_ARGUMENT;
    /* |x f| must not exceed |x| / gamma: exact where gamma is a power of two, else two units in the last place below, one for f and one for x f */
    uint64_t bits;
    memcpy(&bits, &gamma, 8);
    const double factor = bits << 12 == 0 ? 1 / gamma : 1 / gamma * (1 - 0x1p-50); /* check: 12 == 64 - 52 */
    int passed = 0;
    for (uint32_t trial = 0; trial <= trials && !passed; trial++) {
        passed = attempt_rounding(q, x, n, factor, &w, trial, trial == trials);
        if (passed && attempt != NULL) *attempt = (int32_t)trial;
    }
    if (!passed) privcomp_wipe((uint8_t *)q, n * sizeof *q); /* not even truncation */
    privcomp_wipe((uint8_t *)&w, sizeof w);
    return passed ? PRIVCOMP_OK : PRIVCOMP_E_NORM;
}

/* ---- the whole chain ---- */

int64_t privcomp_encode_l2_scratch(size_t d)
{
    if (d == 0 || d > ENCODE_MAX || (d & (d - 1)) != 0) return -1;
    return (int64_t)((d + 63) / 64); /* a bit for each entry's sign */
}

/* The vector is rotated into q's memory and rounded there, tile by tile: half of the memory, and nothing to wipe. Should an attempt be too long, the
 * vector is rotated anew, which hardly ever happens: for D2^2 = (c/g)^2 + d/4 + .. the mean of ||q||^2 is near (c/g)^2 + d/6. */
#define DEFINE_ENCODE(T, TYPE) \
    int privcomp_encode_l2_##T##_var(int64_t *q, int32_t *attempt, size_t d, const TYPE *x, size_t n, double clip, double gamma, uint64_t beta, \
                                     uint64_t bound_high, uint64_t bound_low, uint32_t trials, const uint8_t *rotation, const uint8_t *seed, \
                                     int cipher, double *scratch, size_t scratch_words) \
    { \
        const int64_t words = privcomp_encode_l2_scratch(d); \
        double *const y = (double *)(void *)q; \
        uint8_t *const signs = (uint8_t *)scratch; \
        rounding w; \
        double squares; \
        int exponent, k = 0, status = PRIVCOMP_OK, passed = 0; \
        if (words < 0 || n > d || !norm_in_range(clip) || !norm_in_range(gamma) || trials > TRIALS_MAX) return PRIVCOMP_E_ARGUMENT; \
        if (scratch_words < (uint64_t)words) return PRIVCOMP_E_LENGTH; \
        if (!rounding_init(&w, beta, bound_high, bound_low, rotation, cipher)) return PRIVCOMP_E_ARGUMENT; \
        pc_stream_apply(PC_STORE, signs, (d + 7) / 8, &w.stream, 0, cipher, w.level); \
        (void)rounding_init(&w, beta, bound_high, bound_low, seed, cipher); \
        while ((size_t)1 << k < d) k++; \
        for (uint32_t trial = 0; trial <= trials && !passed && status == PRIVCOMP_OK; trial++) { \
            status = pc_rotate_##T(y, d, &squares, &exponent, x, n, signs); \
            if (status != PRIVCOMP_OK) break; \
            /* H x / sqrt(d) / gamma, of which there is 2^exponent H x. An infinite one is too large anyhow. */ \
            const double plain = 1 / gamma * (k & 1 ? 0x1.6a09e667f3bcdp-1 : 1) * pc_power_of_two(-(k / 2)) * pc_power_of_two(-exponent); \
            const double factor = find_factor(squares, clip / gamma, plain, FACTOR_MARGIN); \
            passed = attempt_rounding(q, y, d, factor, &w, trial, trial == trials); \
            if (passed && attempt != NULL) *attempt = (int32_t)trial; \
        } \
        if (!passed) privcomp_wipe((uint8_t *)q, d * sizeof *q); \
        privcomp_wipe((uint8_t *)&w, sizeof w); \
        return passed ? PRIVCOMP_OK : status != PRIVCOMP_OK ? status : PRIVCOMP_E_NORM; \
    }

DEFINE_ENCODE(f32, float)
DEFINE_ENCODE(f64, double)

/* ---- records ---- */

/* Whether |acc| stays below 2^62 when `rows` numbers of absolute value <= limit are added to each. */
static int sum_stays(const int64_t *acc, size_t d, size_t rows, uint64_t limit)
{
    uint64_t top = 0;
    for (size_t j = 0; j < d; j++) {
        const uint64_t v = (uint64_t)acc[j], minus = 0 - (v >> 63), m = (v ^ minus) - minus;
        top = m > top ? m : top;
    }
    return (u128)rows * limit + top < (u128)1 << 62;
}

#define DEFINE_RECORDS(T, TYPE) \
    int privcomp_sum_records_##T##_var(int64_t *acc, const TYPE *records, size_t rows, size_t d, double clip, double unit, uint64_t bound_high, \
                                       uint64_t bound_low, double *scratch, size_t scratch_words) \
    { \
        if (d > ENCODE_MAX || rows > ((size_t)1 << 40) || !norm_in_range(clip) || !norm_in_range(unit) || bound_high >> 63) \
            return PRIVCOMP_E_ARGUMENT; \
        const double radius = clip / unit; \
        if (!(radius <= (double)ENCODE_BETA_MAX)) return PRIVCOMP_E_ARGUMENT; \
        if (scratch_words < 2 * (uint64_t)rows) return PRIVCOMP_E_LENGTH; \
        const uint64_t limit = (uint64_t)radius; /* no entry of a vector is longer than the vector */ \
        if (!sum_stays(acc, d, rows, limit)) return PRIVCOMP_E_RANGE; \
        const struct encode *k = pc_encode_at(privcomp_level_get()); \
        const u128 bound = (u128)bound_high << 64 | bound_low; \
        int status = PRIVCOMP_OK; \
        for (size_t i = 0; i < rows && status == PRIVCOMP_OK; i++) { \
            double squares; \
            int exponent; \
            status = pc_squares_##T(&squares, &exponent, records + i * d, d); \
            if (status != PRIVCOMP_OK) break; \
            scratch[2 * i] = pc_power_of_two(exponent); \
            scratch[2 * i + 1] = find_factor(squares, radius, 1 / unit * pc_power_of_two(-exponent), FACTOR_MARGIN); \
        } \
        double y[ENCODE_BLOCK]; \
        int64_t q[ENCODE_BLOCK]; \
        for (size_t i = 0; i < rows && status == PRIVCOMP_OK; i++) { \
            u128 sum = 0; \
            for (size_t at = 0; at < d; at += ENCODE_BLOCK) { \
                const size_t count = d - at < ENCODE_BLOCK ? d - at : ENCODE_BLOCK; \
                const TYPE *const x = records + i * d + at; \
                for (size_t j = 0; j < count; j++) y[j] = (double)x[j] * scratch[2 * i]; \
                memset(q, 0xff, count * 8); /* truncates */ \
                const encode_squares squares = k->round(q, y, count, scratch[2 * i + 1], limit); \
                sum += encode_squares_value(&squares); \
                for (size_t j = 0; j < count; j++) acc[at + j] = (int64_t)((uint64_t)acc[at + j] + (uint64_t)q[j]); \
            } \
            if (sum > bound) { \
                privcomp_wipe((uint8_t *)acc, d * sizeof *acc); \
                status = PRIVCOMP_E_NORM; \
            } \
        } \
        privcomp_wipe((uint8_t *)y, sizeof y); \
        privcomp_wipe((uint8_t *)q, sizeof q); \
        privcomp_wipe((uint8_t *)scratch, rows * 2 * sizeof *scratch); \
        return status; \
    }

DEFINE_RECORDS(f32, float)
DEFINE_RECORDS(f64, double)

/* ---- division with a random offset ---- */

#define DIVISOR_MAX ((uint64_t)1 << 60)
#define CANDIDATES 128 /* each is refused with a probability below 2^-4: all of them, 2^-512 */

int privcomp_floor_div_random(int64_t *q, const int64_t *v, size_t n, uint64_t divisor, const uint8_t *seed, int cipher)
{
    if (n > ENCODE_MAX || divisor == 0 || divisor > DIVISOR_MAX || pc_seed_bytes(cipher) == 0) return PRIVCOMP_E_ARGUMENT;
    uint64_t over = 0;
    for (size_t j = 0; j < n; j++) { /* |v| <= 2^62 */
        const uint64_t u = (uint64_t)v[j], minus = 0 - (u >> 63), m = (u ^ minus) - minus;
        over |= (((uint64_t)1 << 62) - m) >> 63;
    }
    PC_DECLASSIFY(over);
    if (over) return PRIVCOMP_E_RANGE;

    /* w < 2^63 is divided by multiplication: with 2^(l-1) < divisor <= 2^l and M = ceil(2^(63+l) / divisor), so that
     *   2^(63+l) <= M divisor < 2^(63+l) + 2^l,
     * floor(w M / 2^(63+l)) = floor(w / divisor) (Granlund, Montgomery, "Division by invariant integers using multiplication" (1994), theorem 4.2).
     * M < 2^64, since divisor >= 2^(l-1) + 1 or M is a power of two. */
    unsigned l = 0;
    while ((uint64_t)1 << l < divisor) l++;
    const u128 power = (u128)1 << (63 + l);
    const uint64_t magic = (uint64_t)((power + divisor - 1) / divisor);
    /* U = floor(word divisor / 2^64), unless the lower half of the product is below 2^64 mod divisor: of the other words each U has exactly
     * floor(2^64 / divisor) (Lemire, "Fast random integer generation in an interval" (2019), section 4). */
    const uint64_t threshold = (0 - divisor) % divisor;

    const pc_level *level = pc_level_table();
    pc_stream s;
    int status = PRIVCOMP_OK;
    pc_stream_init(&s, cipher, seed, level);
    for (size_t at = 0; at < n && status == PRIVCOMP_OK; at += ENCODE_BLOCK) {
        const size_t count = n - at < ENCODE_BLOCK ? n - at : ENCODE_BLOCK;
        pc_stream_apply(PC_STORE, (uint8_t *)(q + at), count * 8, &s, 8 * at, cipher, level);
        for (size_t j = at; j < at + count; j++) {
            u128 product = (u128)load64_le(q + j) * divisor;
            uint64_t refused = (uint64_t)product < threshold;
            PC_DECLASSIFY(refused);
            for (uint64_t candidate = 1; refused && candidate < CANDIDATES; candidate++) {
                uint64_t word;
                pc_stream_apply(PC_STORE, (uint8_t *)&word, 8, &s, 8 * (candidate * n + j), cipher, level);
                product = (u128)PC_LE64(word) * divisor;
                refused = (uint64_t)product < threshold;
                PC_DECLASSIFY(refused);
            }
            if (refused) status = PRIVCOMP_E_ENTROPY;
            /* floor(w / divisor) for w < 0 is -1 - floor((-1 - w) / divisor), and -1 - w has the bits of w inverted. |w| <= 2^62 + 2^60. */
            const uint64_t w = (uint64_t)v[j] + (uint64_t)(product >> 64), minus = 0 - (w >> 63);
            q[j] = (int64_t)((uint64_t)(((u128)(w ^ minus) * magic) >> (63 + l)) ^ minus);
        }
    }
    if (status != PRIVCOMP_OK) privcomp_wipe((uint8_t *)q, n * sizeof *q);
    privcomp_wipe((uint8_t *)&s, sizeof s);
    return status;
}
