/* The public functions over groups and over residues modulo their orders: refusals here, arithmetic in ristretto255.c and bn254.c. */
#include "group.h"

const struct group *pc_group_at(int group, int level)
{
#if PC_X86
    if (group == PRIVCOMP_RISTRETTO255 && level >= PRIVCOMP_LEVEL_AVX512 && pc_cpu_features() & PC_CPU_AVX512IFMA)
        return &pc_ristretto255_ifma;
    if (group == PRIVCOMP_RISTRETTO255 && level >= PRIVCOMP_LEVEL_AESNI && pc_cpu_features() & PC_CPU_FMA) return &pc_ristretto255_fma;
#else
    (void)level;
#endif
    return group == PRIVCOMP_RISTRETTO255 ? &pc_ristretto255 : group == PRIVCOMP_BN254_G1 ? &pc_bn254 : NULL;
}

static const struct group *group_of(int group) { return pc_group_at(group, privcomp_level_get()); }

/* Lengths times 96 bytes, and rows times columns of them, fit a size_t. */
#define GROUP_MAX_N ((size_t)1 << 40)

int64_t privcomp_group_encoding_bytes(int group)
{
    const struct group *g = group_of(group);
    return g == NULL ? -1 : (int64_t)g->encoding_bytes;
}

int64_t privcomp_group_uniform_bytes(int group)
{
    const struct group *g = group_of(group);
    return g == NULL ? -1 : (int64_t)g->uniform_bytes;
}

int privcomp_group_generator(uint8_t *point, int group)
{
    const struct group *g = group_of(group);
    if (g == NULL) return PRIVCOMP_E_ARGUMENT;
    g->generator(point);
    return PRIVCOMP_OK;
}

/* ---- residues modulo the order ---- */

/* Whether all n are below the order. The time does not depend on where one is not. */
static int scalars_canonical(const uint8_t *p, size_t n, const mont *f)
{
    uint64_t ok = 1, x[4], t[4];
    for (size_t i = 0; i < n; i++) {
        wide_load(x, p + PRIVCOMP_SCALAR_BYTES * i);
        ok &= wide_subtract(t, x, f->m);
    }
    privcomp_wipe((uint8_t *)x, sizeof x);
    privcomp_wipe((uint8_t *)t, sizeof t);
    PC_DECLASSIFY(ok);
    return (int)ok;
}

#define REFUSE(g, n) \
    do { \
        if ((g) == NULL || (n) > GROUP_MAX_N) return PRIVCOMP_E_ARGUMENT; \
    } while (0)

#define REFUSE_SCALARS(g, array, n) \
    do { \
        if (!scalars_canonical(array, n, (g)->order)) return PRIVCOMP_E_CANONICAL; \
    } while (0)

int privcomp_scalar_order(uint8_t *out, int group)
{
    const struct group *g = group_of(group);
    if (g == NULL) return PRIVCOMP_E_ARGUMENT;
    wide_store(out, g->order->m);
    return PRIVCOMP_OK;
}

int privcomp_scalar_check(const uint8_t *a, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    REFUSE_SCALARS(g, a, n);
    return PRIVCOMP_OK;
}

#define EACH_PAIR(expression) \
    do { \
        const struct group *g = group_of(group); \
        REFUSE(g, n); \
        REFUSE_SCALARS(g, a, n); \
        REFUSE_SCALARS(g, b, n); \
        const mont *f = g->order; \
        for (size_t i = 0; i < n; i++) { \
            mt x, y; \
            wide_load(x.w, a + PRIVCOMP_SCALAR_BYTES * i); \
            wide_load(y.w, b + PRIVCOMP_SCALAR_BYTES * i); \
            const mt z = (expression); \
            wide_store(out + PRIVCOMP_SCALAR_BYTES * i, z.w); \
        } \
        return PRIVCOMP_OK; \
    } while (0)

int privcomp_scalar_add(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n, int group) { EACH_PAIR(mt_add(x, y, f)); }

int privcomp_scalar_sub(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n, int group) { EACH_PAIR(mt_sub(x, y, f)); }

/* (x 2^256) y 2^-256 */
int privcomp_scalar_mul(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n, int group)
{
    EACH_PAIR(mt_mul(mt_from_words(x.w, f), y, f));
}

int privcomp_scalar_axpy(uint8_t *out, const uint8_t *alpha, const uint8_t *x, const uint8_t *y, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    REFUSE_SCALARS(g, alpha, 1);
    REFUSE_SCALARS(g, x, n);
    REFUSE_SCALARS(g, y, n);
    const mt factor = mt_from_bytes(alpha, g->order);
    for (size_t i = 0; i < n; i++) {
        mt a, b;
        wide_load(a.w, x + PRIVCOMP_SCALAR_BYTES * i);
        wide_load(b.w, y + PRIVCOMP_SCALAR_BYTES * i);
        const mt z = mt_add(mt_mul(factor, a, g->order), b, g->order);
        wide_store(out + PRIVCOMP_SCALAR_BYTES * i, z.w);
    }
    return PRIVCOMP_OK;
}

int privcomp_scalar_dot(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    REFUSE_SCALARS(g, a, n);
    REFUSE_SCALARS(g, b, n);
    mt sum = mt_zero;
    for (size_t i = 0; i < n; i++) {
        mt x, y;
        wide_load(x.w, a + PRIVCOMP_SCALAR_BYTES * i);
        wide_load(y.w, b + PRIVCOMP_SCALAR_BYTES * i);
        sum = mt_add(sum, mt_mul(x, y, g->order), g->order); /* each x y 2^-256 */
    }
    sum = mt_from_words(sum.w, g->order);
    wide_store(out, sum.w);
    privcomp_wipe((uint8_t *)&sum, sizeof sum);
    return PRIVCOMP_OK;
}

int privcomp_scalar_inv(uint8_t *out, const uint8_t *a, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    REFUSE_SCALARS(g, a, n);
    const mont *f = g->order;
    uint64_t zero = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t w[4];
        wide_load(w, a + PRIVCOMP_SCALAR_BYTES * i);
        zero |= wide_zero_mask(w);
    }
    PC_DECLASSIFY(zero);
    if (zero) return PRIVCOMP_E_ZERO;
    mt product = mt_one(f); /* out[i] = a[0] .. a[i-1] first */
    for (size_t i = 0; i < n; i++) {
        wide_store(out + PRIVCOMP_SCALAR_BYTES * i, product.w);
        product = mt_mul(product, mt_from_bytes(a + PRIVCOMP_SCALAR_BYTES * i, f), f);
    }
    mt inverse = mt_inv(product, f);
    for (size_t i = n; i-- > 0;) {
        mt before;
        wide_load(before.w, out + PRIVCOMP_SCALAR_BYTES * i);
        mt_to_bytes(out + PRIVCOMP_SCALAR_BYTES * i, mt_mul(inverse, before, f), f);
        inverse = mt_mul(inverse, mt_from_bytes(a + PRIVCOMP_SCALAR_BYTES * i, f), f);
    }
    privcomp_wipe((uint8_t *)&product, sizeof product);
    privcomp_wipe((uint8_t *)&inverse, sizeof inverse);
    return PRIVCOMP_OK;
}

int privcomp_scalar_from_wide(uint8_t *out, const uint8_t *wide, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    for (size_t i = 0; i < n; i++) mt_to_bytes(out + PRIVCOMP_SCALAR_BYTES * i, mt_from_wide(wide + 64 * i, g->order), g->order);
    return PRIVCOMP_OK;
}

int privcomp_scalar_from_i64(uint8_t *out, const int64_t *values, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    for (size_t i = 0; i < n; i++) {
        const uint64_t v = (uint64_t)values[i], sign = mask64(v >> 63);
        const mt size = {{(v ^ sign) - sign, 0, 0, 0}}, negative = mt_neg(size, g->order), x = mt_select(size, negative, sign);
        wide_store(out + PRIVCOMP_SCALAR_BYTES * i, x.w);
    }
    return PRIVCOMP_OK;
}

/* With u = v + 2^63 >= 0:  sum w v = sum w u - 2^63 sum w.  The first sum is below 2^32 2^254 2^64 < 2^384: six words, reduced at the end. */
int privcomp_scalar_combine_i64(uint8_t *out, const uint8_t *weights, const int64_t *values, size_t rows, size_t n, int group)
{
    enum { COLUMNS = 32, WORDS = 6 };
    const struct group *g = group_of(group);
    REFUSE(g, n);
    if (rows > UINT32_MAX || (n != 0 && rows > GROUP_MAX_N / n)) return PRIVCOMP_E_ARGUMENT;
    REFUSE_SCALARS(g, weights, rows);
    const mont *f = g->order;
    uint64_t sum[COLUMNS][WORDS];
    uint8_t wide[64] = {0};
    mt total = mt_zero;
    for (size_t a = 0; a < rows; a++) {
        mt w;
        wide_load(w.w, weights + PRIVCOMP_SCALAR_BYTES * a);
        total = mt_add(total, w, f);
    }
    const uint64_t half[4] = {(uint64_t)1 << 63, 0, 0, 0};
    total = mt_mul(mt_from_words(half, f), total, f);
    for (size_t first = 0; first < n; first += COLUMNS) {
        const size_t count = n - first < COLUMNS ? n - first : COLUMNS;
        memset(sum, 0, sizeof sum);
        for (size_t a = 0; a < rows; a++) {
            uint64_t w[4];
            wide_load(w, weights + PRIVCOMP_SCALAR_BYTES * a);
            for (size_t b = 0; b < count; b++) {
                const uint64_t u = (uint64_t)values[a * n + first + b] ^ (uint64_t)1 << 63;
                u128 t = 0;
                for (int i = 0; i < 4; i++) {
                    t += (u128)u * w[i] + sum[b][i];
                    sum[b][i] = (uint64_t)t;
                    t >>= 64;
                }
                t += sum[b][4];
                sum[b][4] = (uint64_t)t;
                sum[b][5] += (uint64_t)(t >> 64);
            }
        }
        for (size_t b = 0; b < count; b++) {
            for (int i = 0; i < WORDS; i++) store64_le(wide + 8 * i, sum[b][i]);
            mt x;
            mt_words(x.w, mt_from_wide(wide, f), f);
            x = mt_sub(x, total, f);
            wide_store(out + PRIVCOMP_SCALAR_BYTES * (first + b), x.w);
        }
    }
    privcomp_wipe((uint8_t *)sum, sizeof sum);
    privcomp_wipe(wide, sizeof wide);
    privcomp_wipe((uint8_t *)&total, sizeof total);
    return PRIVCOMP_OK;
}

/* ---- points ---- */

int privcomp_group_decode(uint8_t *points, const uint8_t *encodings, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    if (g->decode(points, encodings, n)) return PRIVCOMP_OK;
    memset(points, 0, PRIVCOMP_POINT_BYTES * n);
    return PRIVCOMP_E_CANONICAL;
}

int privcomp_group_encode(uint8_t *encodings, const uint8_t *points, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    g->encode(encodings, points, n);
    return PRIVCOMP_OK;
}

int privcomp_group_from_uniform(uint8_t *points, const uint8_t *uniform, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    g->from_uniform(points, uniform, n);
    return PRIVCOMP_OK;
}

int privcomp_group_on_curve(const uint8_t *points, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    return g->on_curve(points, n) ? PRIVCOMP_OK : PRIVCOMP_E_CANONICAL;
}

int privcomp_group_equal(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    g->equal(out, a, b, n);
    return PRIVCOMP_OK;
}

int privcomp_group_add(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    g->add(out, a, b, 0, n);
    return PRIVCOMP_OK;
}

int privcomp_group_sub(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    g->add(out, a, b, ~(uint64_t)0, n);
    return PRIVCOMP_OK;
}

int privcomp_group_sum(uint8_t *out, const uint8_t *points, size_t rows, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    if (n != 0 && rows > GROUP_MAX_N / n) return PRIVCOMP_E_ARGUMENT;
    g->sum(out, points, rows, n);
    return PRIVCOMP_OK;
}

int privcomp_group_mul(uint8_t *out, const uint8_t *points, const uint8_t *scalars, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    REFUSE_SCALARS(g, scalars, n);
    g->mul(out, points, scalars, n);
    return PRIVCOMP_OK;
}

int privcomp_group_msm(uint8_t *out, const uint8_t *points, const uint8_t *scalars, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    REFUSE_SCALARS(g, scalars, n);
    g->msm(out, points, scalars, n);
    return PRIVCOMP_OK;
}

/* ---- variable time ---- */

unsigned pc_msm_widest(size_t n)
{
    unsigned w = 2;
    while (w < 14 && (size_t)1 << (w + 1) <= 4 * n) w++;
    return w;
}

pc_msm_plan pc_msm_plan_for(size_t n, unsigned bits, size_t lanes)
{
    const unsigned widest = pc_msm_widest(n);
    pc_msm_plan best = {0, 0};
    uint64_t least = UINT64_MAX;
    for (unsigned w = 2; w <= widest; w++) {
        const unsigned windows = pc_msm_windows(w, bits);
        const uint64_t together = (windows + lanes - 1) / lanes * lanes, cost = windows * (8 * (uint64_t)n) + together * ((uint64_t)9 << w);
        if (windows * w > 64 * GROUP_BIASED_WORDS || cost >= least) continue;
        least = cost;
        best = (pc_msm_plan){w, windows};
    }
    VERIFY(best.w != 0); /* w = 2: at most 128 windows */
    return best;
}

/* A bucket with more than n / 8 + 16 of the n addends per lane is a long one; they are fewer than 8 per lane. The others stand in groups of `lanes`, from the longest
 * on, and a group is as long as its first, which is no longer than the mean of the group before: all groups together take at most the longest
 * and a row for `lanes` addends, and long ones, which are spread over all lanes, a row for `lanes` addends and one more each. */
pc_msm_layout pc_msm_layout_for(size_t n, unsigned w, size_t lanes)
{
    pc_msm_layout out;
    out.longest = n / 8 + 16;
    out.rows = n + out.longest + 8 * lanes + 1 + GROUP_AHEAD; /* one for digits that are 0 */
    out.buckets = lanes * (((size_t)1 << (w - 1)) + 1);
    out.addends = 0;
    out.biased = GROUP_ADDEND_WORDS * (n + 1) + GROUP_LINE_WORDS - 1;
    out.digits = out.biased + GROUP_BIASED_WORDS * n;
    out.schedule = out.digits + (lanes * n + 3) / 4;
    out.count = out.schedule + (lanes * out.rows + 1) / 2;
    out.order = out.count + (out.buckets + 1) / 2;
    out.cursors = out.order + (out.buckets + 1) / 2;
    out.bins = out.cursors + out.buckets;
    out.bucket = out.bins + (out.longest + 3) / 2;
    out.end = out.bucket + GROUP_BUCKET_WORDS * out.buckets;
    return out;
}

void pc_msm_bias(uint64_t out[GROUP_BIASED_WORDS], const uint64_t v[4], uint64_t negative, unsigned w, unsigned windows)
{
    uint64_t bias[GROUP_BIASED_WORDS] = {0};
    for (unsigned i = 0; i < windows; i++) {
        const unsigned bit = i * w + w - 1;
        bias[bit / 64] |= (uint64_t)1 << bit % 64;
    }
    u128 t = 0;
    for (int i = 0; i < GROUP_BIASED_WORDS; i++) {
        t += (u128)bias[i] + (i < 4 ? v[i] : negative);
        out[i] = (uint64_t)t;
        t >>= 64;
    }
}

unsigned pc_wnaf_var(int8_t digit[256], const uint8_t *scalar)
{
    uint64_t s[4];
    unsigned count = 0;
    wide_load(s, scalar);
    memset(digit, 0, 256);
    for (unsigned k = 0; k < 256 && (s[0] | s[1] | s[2] | s[3]) != 0; k++) {
        if (s[0] & 1) {
            const int low = (int)(s[0] & 31), value = low < 16 ? low : low - 32;
            const uint64_t add[4] = {(uint64_t)(value < 0 ? -value : value), 0, 0, 0};
            if (value < 0)
                wide_sum(s, s, add);
            else
                wide_subtract(s, s, add);
            digit[k] = (int8_t)value;
            count = k + 1;
        }
        for (int i = 0; i < 4; i++) s[i] = s[i] >> 1 | (i < 3 ? s[i + 1] << 63 : 0);
    }
    return count;
}

void pc_msm_biased(uint64_t out[GROUP_BIASED_WORDS], const uint8_t *scalars, const int64_t *values, size_t i, unsigned w, unsigned windows)
{
    uint64_t v[4], sign = 0;
    if (scalars != NULL) {
        wide_load(v, scalars + 32 * i);
    } else {
        v[0] = (uint64_t)values[i];
        sign = mask64(v[0] >> 63);
        v[1] = v[2] = v[3] = sign;
    }
    pc_msm_bias(out, v, sign, w, windows);
}

unsigned pc_value_bits(const int64_t *values, size_t n)
{
    uint64_t any = 0;
    for (size_t i = 0; i < n; i++) any |= values[i] < 0 ? 0 - (uint64_t)values[i] : (uint64_t)values[i];
    return any == 0 ? 0 : 64 - (unsigned)__builtin_clzll(any);
}

/* Words of addends and digits, and of buckets or tables beside them, at most. */
static size_t msm_words(const struct group *g, size_t n)
{
    const size_t block = n < GROUP_MSM_BLOCK ? n : GROUP_MSM_BLOCK, half = (size_t)1 << (pc_msm_widest(block) - 1);
    const size_t beside = block < GROUP_STRAUS_MAX ? block * 8 * g->cached_words : half * g->point_words;
    const size_t one = block * (g->affine_words + GROUP_BIASED_WORDS) + beside;
    const size_t lanes = g->lanes == 1 ? 0 : pc_msm_layout_for(block, pc_msm_widest(block), g->lanes).end;
    return one > lanes ? one : lanes;
}

int64_t privcomp_group_msm_scratch(size_t n, int group)
{
    const struct group *g = group_of(group);
    return g == NULL || n > GROUP_MAX_N ? -1 : (int64_t)msm_words(g, n);
}

int privcomp_group_msm_var(uint8_t *out, const uint8_t *points, const uint8_t *scalars, size_t n, int group, uint64_t *scratch,
                           size_t scratch_words)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    if (scratch_words < msm_words(g, n)) return PRIVCOMP_E_LENGTH;
    REFUSE_SCALARS(g, scalars, n);
    g->msm_var(out, points, scalars, NULL, n, scratch);
    return PRIVCOMP_OK;
}

int privcomp_group_msm_i64_var(uint8_t *out, const uint8_t *points, const int64_t *values, size_t n, int group, uint64_t *scratch,
                               size_t scratch_words)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    if (scratch_words < msm_words(g, n)) return PRIVCOMP_E_LENGTH;
    g->msm_var(out, points, NULL, values, n, scratch);
    return PRIVCOMP_OK;
}

int64_t privcomp_group_table_bytes(size_t n, unsigned windows, int group)
{
    const struct group *g = group_of(group);
    if (g == NULL || windows < 1 || windows > 32 || n > GROUP_MAX_N / 32) return -1;
    return (int64_t)(n * windows * GROUP_ENTRIES * (windows <= GROUP_ROWS_WINDOWS ? g->rows_entry_bytes : g->entry_bytes));
}

int privcomp_group_table(uint8_t *table, size_t length, const uint8_t *points, size_t n, unsigned windows, int group)
{
    const int64_t want = privcomp_group_table_bytes(n, windows, group);
    if (want < 0) return PRIVCOMP_E_ARGUMENT;
    if (length != (size_t)want) return PRIVCOMP_E_LENGTH;
    group_of(group)->table(table, points, n, windows);
    return PRIVCOMP_OK;
}

int64_t privcomp_group_rows_scratch(size_t rows, int group)
{
    const struct group *g = group_of(group);
    if (g == NULL) return -1;
    return (int64_t)g->rows_words(rows);
}

int privcomp_group_rows_var(uint8_t *out, const uint8_t *table, size_t length, const int32_t *values, size_t rows, size_t n,
                            unsigned windows, int group, uint64_t *scratch, size_t scratch_words)
{
    const struct group *g = group_of(group);
    const int64_t want = privcomp_group_table_bytes(n, windows, group);
    if (want < 0 || windows > GROUP_ROWS_WINDOWS || rows > GROUP_MAX_N || (n != 0 && rows > GROUP_MAX_N / n)) return PRIVCOMP_E_ARGUMENT;
    if (length != (size_t)want || scratch_words < (size_t)privcomp_group_rows_scratch(rows, group)) return PRIVCOMP_E_LENGTH;
    const int64_t limit = (int64_t)1 << (8 * windows - 1);
    uint64_t bad = 0;
    for (size_t i = 0; i < rows * n; i++) bad |= (uint64_t)(values[i] > limit) | (uint64_t)(values[i] < -limit);
    if (bad) return PRIVCOMP_E_CANONICAL;
    g->rows_var(out, table, values, rows, n, windows, scratch);
    return PRIVCOMP_OK;
}

int privcomp_group_fixed_var(uint8_t *out, const uint8_t *table, size_t length, const uint8_t *scalars, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    if (length != (size_t)privcomp_group_table_bytes(1, 32, group)) return PRIVCOMP_E_LENGTH;
    REFUSE_SCALARS(g, scalars, n);
    g->fixed_var(out, table, scalars, n);
    return PRIVCOMP_OK;
}

int privcomp_group_axpy_var(uint8_t *out, const uint8_t *scalar, const uint8_t *b, const uint8_t *a, size_t n, int group)
{
    const struct group *g = group_of(group);
    REFUSE(g, n);
    REFUSE_SCALARS(g, scalar, 1);
    g->axpy_var(out, scalar, b, a, n);
    return PRIVCOMP_OK;
}
