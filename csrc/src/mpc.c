/* Products, Gram matrices and bit planes of words modulo 2^64, and products modulo 2^128: the portable kernels, and what blocks the work for
 * them. Sums modulo 2^64 do not depend on their order, so that every kernel gives the same bits.
 *
 * A matrix product copies blocks of its right factor into panels of four columns, so that a kernel reads both factors in order; a Gram matrix
 * copies pieces of its rows. Rows that are a power of two apart would otherwise share a few lines of each cache.
 */
#include "mpc.h"

/* ---- portable kernels ---- */

static void dots_portable(uint64_t *out, size_t rows, const uint64_t *a, size_t stride, const uint64_t *b, size_t n)
{
    for (size_t r = 0; r < rows; r++) {
        uint64_t sum = 0;
        for (size_t t = 0; t < n; t++) sum += a[r * stride + t] * b[t];
        out[r] += sum;
    }
}

static void tile_portable(uint64_t *out, size_t out_stride, size_t rows, const uint64_t *a, size_t stride, const uint64_t *panel, size_t n)
{
    for (size_t r = 0; r < rows; r++) {
        uint64_t *const at = out + r * out_stride;
        uint64_t s0 = at[0], s1 = at[1], s2 = at[2], s3 = at[3];
        for (size_t t = 0; t < n; t++) {
            const uint64_t x = a[r * stride + t];
            const uint64_t *const p = panel + MPC_PANEL * t;
            s0 += x * p[0], s1 += x * p[1], s2 += x * p[2], s3 += x * p[3];
        }
        at[0] = s0, at[1] = s1, at[2] = s2, at[3] = s3;
    }
}

#define DEFINE_WORDS(name, expression, op) \
    static void name##_portable(uint64_t *restrict out, const uint64_t *a, const uint64_t *b, const uint64_t *c, const uint64_t *d, size_t n, \
                                int accumulate) \
    { \
        if (accumulate) \
            for (size_t i = 0; i < n; i++) out[i] = out[i] op (expression); \
        else \
            for (size_t i = 0; i < n; i++) out[i] = (expression); \
    }

DEFINE_WORDS(rep3_product, a[i] * (c[i] + d[i]) + b[i] * c[i], +)
DEFINE_WORDS(cross_product, a[i] * b[i] + c[i] * d[i], +)
DEFINE_WORDS(rep3_and, (a[i] & (c[i] ^ d[i])) ^ (b[i] & c[i]), ^)
DEFINE_WORDS(cross_and, (a[i] & b[i]) ^ (c[i] & d[i]), ^)

/* Bit j of row i becomes bit i of row j. Source: Warren, Hacker's Delight, 2nd edition, section 7-3, with bit 0 the lowest. */
static void transpose(uint64_t a[64])
{
    uint64_t mask = 0xffffffff; /* check: 0xffffffff == 2**32 - 1 */
    for (unsigned shift = 32; shift > 0; shift >>= 1, mask ^= mask << shift)
        for (unsigned first = 0; first < 64; first += 2 * shift)
            for (unsigned i = first; i < first + shift; i++) {
                const uint64_t t = ((a[i] >> shift) ^ a[i + shift]) & mask;
                a[i] ^= t << shift;
                a[i + shift] ^= t;
            }
}

static void to_planes_portable(uint64_t *planes, size_t stride, unsigned bits, const uint64_t *values, size_t groups)
{
    uint64_t a[64];
    for (size_t w = 0; w < MPC_GROUP_WORDS * groups; w++) {
        memcpy(a, values + 64 * w, sizeof a);
        transpose(a);
        for (unsigned b = 0; b < bits; b++) planes[b * stride + w] = a[b];
    }
    privcomp_wipe((uint8_t *)a, sizeof a);
}

static void from_planes_portable(uint64_t *values, size_t groups, const uint64_t *planes, size_t stride, unsigned bits)
{
    for (size_t w = 0; w < MPC_GROUP_WORDS * groups; w++) {
        uint64_t *const a = values + 64 * w;
        for (unsigned b = 0; b < 64; b++) a[b] = b < bits ? planes[b * stride + w] : 0;
        transpose(a);
    }
}

const struct mpc pc_mpc_portable = {
    .dots = dots_portable,
    .tile = tile_portable,
    .rep3_product = rep3_product_portable,
    .cross_product = cross_product_portable,
    .rep3_and = rep3_and_portable,
    .cross_and = cross_and_portable,
    .to_planes = to_planes_portable,
    .from_planes = from_planes_portable,
};

const struct mpc *pc_mpc_at(int level)
{
#if PC_X86
    if (level >= PRIVCOMP_LEVEL_AESNI) return &pc_mpc_avx2;
#endif
    (void)level;
    return &pc_mpc_portable;
}

/* ---- matrix product ---- */

#define DEPTH 256 /* rows of a block of the right factor: its panels take half of a first cache */
#define PANELS 2  /* eight columns: a whole line of each row */

/* Whether an array of rows x columns words can exist. */
static int is_size(size_t rows, size_t columns)
{
    size_t words;
    return !__builtin_mul_overflow(rows, columns, &words) && words <= SIZE_MAX / 16;
}

int privcomp_ring_matmul_u64(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n, size_t k, size_t m, int accumulate)
{
    if (!is_size(n, k) || !is_size(k, m) || !is_size(n, m)) return PRIVCOMP_E_ARGUMENT;
    const struct mpc *const kernels = pc_mpc_at(privcomp_level_get());
    uint64_t panel[PANELS][MPC_PANEL * DEPTH] __attribute__((aligned(32)));
    const size_t tiled = m - m % MPC_PANEL;
    if (!accumulate && n > 0 && m > 0) memset(out, 0, 8 * n * m);

    for (size_t from = 0; from < k; from += DEPTH) {
        const size_t depth = k - from < DEPTH ? k - from : DEPTH;
        const uint64_t *const right = b + from * m, *const left = a + from;
        for (size_t c = 0; c < tiled; c += PANELS * MPC_PANEL) {
            const size_t panels = tiled - c < PANELS * MPC_PANEL ? 1 : PANELS;
            for (size_t t = 0; t < depth; t++)
                for (size_t p = 0; p < panels; p++) memcpy(panel[p] + MPC_PANEL * t, right + t * m + c + MPC_PANEL * p, 8 * MPC_PANEL);
            for (size_t i = 0; i < n; i += MPC_ROWS) {
                const size_t rows = n - i < MPC_ROWS ? n - i : MPC_ROWS;
                for (size_t p = 0; p < panels; p++)
                    kernels->tile(out + i * m + c + MPC_PANEL * p, m, rows, left + i * k, k, panel[p], depth);
            }
        }
        for (size_t c = tiled; c < m; c++) { /* at most three columns */
            for (size_t t = 0; t < depth; t++) panel[0][t] = right[t * m + c];
            for (size_t i = 0; i < n; i += MPC_ROWS) {
                const size_t rows = n - i < MPC_ROWS ? n - i : MPC_ROWS;
                uint64_t sums[MPC_ROWS] = {0};
                kernels->dots(sums, rows, left + i * k, k, panel[0], depth);
                for (size_t r = 0; r < rows; r++) out[(i + r) * m + c] += sums[r];
            }
        }
    }
    privcomp_wipe((uint8_t *)panel, sizeof panel);
    return PRIVCOMP_OK;
}

/* ---- Gram matrices: out[i n + j] = the sum of products of row i of U and row j of V, for U and V such that it is symmetric ----
 *   ring    U = V = X
 *   rep3    U = (X1 | X2), V = (X1 + X2 | X1):  X1 X1' + X1 X2' + X2 X1'
 *   cross   U = (X  | Y),  V = (Y | X):         X Y' + Y X'
 * Pieces of the rows of V are brought together. Four pieces of U stay in the first cache while all of V that is not above them goes by, one
 * vector for four products of vectors: the second or third cache is fast enough for that.
 */

#define PIECE_MAX 512 /* words, of both parts together */
#define PIECE_MIN 64
#define TOGETHER ((size_t)1 << 17) /* words of all pieces of V, as far as PIECE_MIN allows: 1 MiB */

enum form { RING, REP3, CROSS };

/* The piece of a row, `count` columns of each part, of U or V. */
PC_INLINE void left_piece(uint64_t *restrict piece, const uint64_t *x, const uint64_t *y, size_t count)
{
    memcpy(piece, x, 8 * count);
    memcpy(piece + count, y, 8 * count);
}
PC_INLINE void right_piece(uint64_t *restrict piece, enum form form, const uint64_t *x, const uint64_t *y, size_t count)
{
    if (form == REP3)
        for (size_t t = 0; t < count; t++) piece[t] = x[t] + y[t];
    else if (form == CROSS)
        memcpy(piece, y, 8 * count);
    memcpy(form == RING ? piece : piece + count, x, 8 * count);
}

/* A power of two, so that halves of it are whole vectors. */
static size_t piece_words(size_t n)
{
    size_t piece = PIECE_MAX;
    while (piece > PIECE_MIN && n > TOGETHER / piece) piece /= 2;
    return piece;
}

int64_t privcomp_gram_scratch(size_t n)
{
    if (n > INT64_MAX / 8 / PIECE_MAX - MPC_ROWS) return -1;
    return (int64_t)(piece_words(n) * (n + MPC_ROWS));
}

static int gram(uint64_t *out, enum form form, const uint64_t *x, const uint64_t *y, size_t n, size_t d, uint64_t *scratch, size_t scratch_words)
{
    const int64_t needed = privcomp_gram_scratch(n);
    if (needed < 0 || !is_size(n, d) || !is_size(n, n)) return PRIVCOMP_E_ARGUMENT;
    if (scratch_words < (uint64_t)needed) return PRIVCOMP_E_LENGTH;
    const struct mpc *const kernels = pc_mpc_at(privcomp_level_get());
    const size_t piece = piece_words(n), width = form == RING ? piece : piece / 2;
    uint64_t *const v = scratch, *const own = scratch + piece * n;
    if (n > 0) memset(out, 0, 8 * n * n);

    const size_t calls = n * (n + MPC_ROWS) / (2 * MPC_ROWS) + 1, lines = n * (width / 8) / calls + 1; /* of each part, to be fetched in a call */

    for (size_t from = 0; from < d; from += width) {
        const size_t count = d - from < width ? d - from : width, words = form == RING ? count : 2 * count;
        const size_t next = from + count, ahead = d - next < width ? d - next : width;
        size_t row = ahead > 0 ? 0 : n, column = 0;
        for (size_t j = 0; j < n; j++) right_piece(v + piece * j, form, x + j * d + from, y + j * d + from, count);
        for (size_t i = 0; i < n; i += MPC_ROWS) {
            const uint64_t *const u = form == RING ? v + piece * i : own;
            for (size_t r = 0; form != RING && r < MPC_ROWS && i + r < n; r++)
                left_piece(own + piece * r, x + (i + r) * d + from, y + (i + r) * d + from, count);
            for (size_t j = i; j < n; j++) {
                const size_t rows = j - i < MPC_ROWS ? j - i + 1 : MPC_ROWS;
                uint64_t sums[MPC_ROWS] = {0};
                for (size_t q = 0; q < lines && row < n; q++) { /* the next pieces are on their way while these are multiplied */
                    __builtin_prefetch(x + row * d + next + column, 0, 2);
                    if (form != RING) __builtin_prefetch(y + row * d + next + column, 0, 2);
                    column += 8;
                    if (column >= ahead) column = 0, row++;
                }
                kernels->dots(sums, rows, u, piece, v + piece * j, words);
                for (size_t r = 0; r < rows; r++) out[(i + r) * n + j] += sums[r];
            }
        }
    }
    for (size_t i = 1; i < n; i++)
        for (size_t j = 0; j < i; j++) out[i * n + j] = out[j * n + i];
    privcomp_wipe((uint8_t *)scratch, 8 * (size_t)needed);
    return PRIVCOMP_OK;
}

int privcomp_ring_gram_u64(uint64_t *out, const uint64_t *x, size_t n, size_t d, uint64_t *scratch, size_t scratch_words)
{
    return gram(out, RING, x, x, n, d, scratch, scratch_words);
}

int privcomp_rep3_gram_u64(uint64_t *out, const uint64_t *x1, const uint64_t *x2, size_t n, size_t d, uint64_t *scratch, size_t scratch_words)
{
    return gram(out, REP3, x1, x2, n, d, scratch, scratch_words);
}

int privcomp_cross_gram_u64(uint64_t *out, const uint64_t *x, const uint64_t *y, size_t n, size_t d, uint64_t *scratch, size_t scratch_words)
{
    return gram(out, CROSS, x, y, n, d, scratch, scratch_words);
}

/* ---- word by word ---- */

#define DEFINE_PRODUCTS(name) \
    void privcomp_rep3_##name##_u64(uint64_t *out, const uint64_t *x1, const uint64_t *x2, const uint64_t *y1, const uint64_t *y2, size_t n, \
                                    int accumulate) \
    { \
        pc_mpc_at(privcomp_level_get())->rep3_##name(out, x1, x2, y1, y2, n, accumulate); \
    } \
    void privcomp_cross_##name##_u64(uint64_t *out, const uint64_t *xi, const uint64_t *yi, const uint64_t *xj, const uint64_t *yj, size_t n, \
                                     int accumulate) \
    { \
        pc_mpc_at(privcomp_level_get())->cross_##name(out, xi, yj, xj, yi, n, accumulate); \
    }

DEFINE_PRODUCTS(product)
DEFINE_PRODUCTS(and)

/* ---- bit planes ---- */

/* The last values, fewer than a group, go through a group on the stack. */
typedef struct {
    uint64_t values[MPC_GROUP], planes[64 * MPC_GROUP_WORDS];
} group;

static int has_planes(size_t n, unsigned bits) { return bits >= 1 && bits <= 64 && n <= (size_t)1 << 48; }

int privcomp_planes_split(uint64_t *planes, unsigned bits, const uint64_t *values, size_t n)
{
    if (!has_planes(n, bits)) return PRIVCOMP_E_ARGUMENT;
    const struct mpc *const kernels = pc_mpc_at(privcomp_level_get());
    const size_t words = n / 64 + (n % 64 != 0), groups = n / MPC_GROUP, done = MPC_GROUP_WORDS * groups;
    kernels->to_planes(planes, words, bits, values, groups);
    if (done < words) {
        group rest;
        memset(&rest, 0, sizeof rest);
        memcpy(rest.values, values + 64 * done, 8 * (n - 64 * done));
        kernels->to_planes(rest.planes, MPC_GROUP_WORDS, bits, rest.values, 1);
        for (unsigned b = 0; b < bits; b++) memcpy(planes + b * words + done, rest.planes + MPC_GROUP_WORDS * b, 8 * (words - done));
        privcomp_wipe((uint8_t *)&rest, sizeof rest);
    }
    return PRIVCOMP_OK;
}

int privcomp_planes_join(uint64_t *values, size_t n, const uint64_t *planes, unsigned bits)
{
    if (!has_planes(n, bits)) return PRIVCOMP_E_ARGUMENT;
    const struct mpc *const kernels = pc_mpc_at(privcomp_level_get());
    const size_t words = n / 64 + (n % 64 != 0), groups = n / MPC_GROUP, done = MPC_GROUP_WORDS * groups;
    kernels->from_planes(values, groups, planes, words, bits);
    if (done < words) {
        group rest;
        memset(&rest, 0, sizeof rest);
        for (unsigned b = 0; b < bits; b++) memcpy(rest.planes + MPC_GROUP_WORDS * b, planes + b * words + done, 8 * (words - done));
        kernels->from_planes(rest.values, 1, rest.planes, MPC_GROUP_WORDS, bits);
        memcpy(values + 64 * done, rest.values, 8 * (n - 64 * done));
        privcomp_wipe((uint8_t *)&rest, sizeof rest);
    }
    return PRIVCOMP_OK;
}

/* ---- modulo 2^128: two words each, the lower one first ---- */

PC_INLINE u128 load128(const uint64_t *a) { return (u128)a[1] << 64 | a[0]; }
PC_INLINE void store128(uint64_t *a, u128 x)
{
    a[0] = (uint64_t)x;
    a[1] = (uint64_t)(x >> 64);
}

void privcomp_ring_mul_u128(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) store128(out + 2 * i, load128(a + 2 * i) * load128(b + 2 * i));
}

void privcomp_ring_axpy_u128(uint64_t *acc, const uint64_t *x, size_t n, const uint64_t *scale)
{
    const u128 s = load128(scale);
    for (size_t i = 0; i < n; i++) store128(acc + 2 * i, load128(acc + 2 * i) + s * load128(x + 2 * i));
}

/* (a0 + 2^64 a1)(b0 + 2^64 b1) = a0 b0 + 2^64 (a0 b1 + a1 b0): the bracket is summed by itself, modulo 2^64. */
static u128 dot128(const uint64_t *a, const uint64_t *b, size_t n)
{
    u128 low = 0;
    uint64_t cross = 0;
    for (size_t t = 0; t < 2 * n; t += 2) {
        low += (u128)a[t] * b[t];
        cross += a[t] * b[t + 1] + a[t + 1] * b[t];
    }
    return low + ((u128)cross << 64);
}

int privcomp_ring_matmul_u128(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n, size_t k, size_t m, int accumulate)
{
    if (!is_size(n, k) || !is_size(k, m) || !is_size(n, m)) return PRIVCOMP_E_ARGUMENT;
    uint64_t column[2 * DEPTH];
    if (!accumulate && n > 0 && m > 0) memset(out, 0, 16 * n * m);
    for (size_t from = 0; from < k; from += DEPTH) {
        const size_t depth = k - from < DEPTH ? k - from : DEPTH;
        for (size_t c = 0; c < m; c++) {
            for (size_t t = 0; t < depth; t++) memcpy(column + 2 * t, b + 2 * ((from + t) * m + c), 16);
            for (size_t i = 0; i < n; i++) {
                uint64_t *const at = out + 2 * (i * m + c);
                store128(at, load128(at) + dot128(a + 2 * (i * k + from), column, depth));
            }
        }
    }
    privcomp_wipe((uint8_t *)column, sizeof column);
    return PRIVCOMP_OK;
}
