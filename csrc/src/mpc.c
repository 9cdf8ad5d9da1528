/* Products, Gram matrices and bit planes of words modulo 2^64, and products modulo 2^128: the portable kernels, and what blocks the work for
 * them. Sums modulo 2^64 do not depend on their order, so that every kernel gives the same bits.
 *
 * A matrix product copies blocks of its right factor into panels of four columns, so that a kernel reads that factor in order; a Gram matrix
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

static void pair_dots_portable(uint64_t *out, size_t rows, const uint64_t *a, size_t stride, const uint64_t *b, size_t half, const uint64_t *own,
                               uint64_t other)
{
    for (size_t r = 0; r < rows; r++) {
        const uint64_t *const x = a + r * stride;
        uint64_t sum = 0;
        for (size_t t = 0; t < half; t++) sum += (x[t] + b[half + t]) * (x[half + t] + b[t]);
        out[r] += sum - own[r] - other;
    }
}

static void pair_tile_portable(uint64_t *out, size_t out_stride, size_t rows, const uint64_t *a, size_t stride, const uint64_t *panel, size_t n,
                               const uint64_t *own, const uint64_t *others)
{
    for (size_t r = 0; r < rows; r++) {
        uint64_t *const at = out + r * out_stride;
        uint64_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (size_t t = 0; t < n; t += 2) {
            const uint64_t x = a[r * stride + t], y = a[r * stride + t + 1];
            const uint64_t *const p = panel + MPC_PANEL * t, *const q = p + MPC_PANEL;
            s0 += (x + q[0]) * (y + p[0]), s1 += (x + q[1]) * (y + p[1]), s2 += (x + q[2]) * (y + p[2]), s3 += (x + q[3]) * (y + p[3]);
        }
        at[0] += s0 - own[r] - others[0], at[1] += s1 - own[r] - others[1], at[2] += s2 - own[r] - others[2], at[3] += s3 - own[r] - others[3];
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

static void weigh_portable(uint64_t *out, const uint64_t *weights, const uint64_t *b, size_t stride, size_t n)
{
    const uint64_t *const b1 = b + stride, *const b2 = b1 + stride, *const b3 = b2 + stride;
    for (size_t c = 0; c < n; c++) out[c] += weights[0] * b[c] + weights[1] * b1[c] + weights[2] * b2[c] + weights[3] * b3[c];
}

static void combine_portable(uint64_t *out, const uint64_t *x, uint64_t p, const uint64_t *y, uint64_t q, size_t n)
{
    if (q == 0)
        for (size_t i = 0; i < n; i++) out[i] = p * x[i];
    else
        for (size_t i = 0; i < n; i++) out[i] = p * x[i] + q * y[i];
}

static void ands_portable(uint64_t *restrict out, const uint32_t *left, const uint32_t *right, size_t terms, const uint64_t *x, const uint64_t *y,
                          size_t stride, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = 0;
    for (size_t k = 0; k < terms; k++) {
        const uint64_t *const a = x + left[k] * stride, *const b = y + right[k] * stride;
        for (size_t i = 0; i < n; i++) out[i] ^= a[i] & b[i];
    }
}

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
    .pair_dots = pair_dots_portable,
    .pair_tile = pair_tile_portable,
    .rep3_product = rep3_product_portable,
    .cross_product = cross_product_portable,
    .rep3_and = rep3_and_portable,
    .cross_and = cross_and_portable,
    .weigh = weigh_portable,
    .combine = combine_portable,
    .ands = ands_portable,
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

/* ---- matrix product ----
 * Two products take one multiplication, as words commute:
 *   a0 b0 + a1 b1 = (a0 + b1) (a1 + b0) - a0 a1 - b0 b1,
 * and what is subtracted belongs to a row of A or to a column of B alone: n k + k m multiplications in place of half of n k m.
 * Source: Winograd, "A new algorithm for inner product", IEEE Transactions on Computers C-17, 1968.
 */

#define DEPTH 256   /* rows of a block of the right factor: two of its panels take half of a first cache */
#define COLUMNS 512 /* columns of such a block */
#define BLOCK 64    /* rows of a block of the left factor: it stays in a second cache */
#define PAIRED 24   /* rows from which on pairs pay for what they subtract */
#define THIN 2      /* rows up to which B is read where it lies: copying it takes as long as the product */
#define STRIP 1024  /* columns of B, and words of out, at a time then */

/* Whether an array of rows x columns words can exist. */
static int is_size(size_t rows, size_t columns)
{
    size_t words;
    return !__builtin_mul_overflow(rows, columns, &words) && words <= SIZE_MAX / 16;
}

PC_INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Of `rows` rows, how many go into the next of as few kernels as possible, all about as large. */
PC_INLINE size_t share_rows(size_t rows)
{
    const size_t kernels = (rows + MPC_ROWS - 1) / MPC_ROWS;
    return (rows + kernels - 1) / kernels;
}

/* A matrix within one whose rows are `stride` words apart. */
typedef struct {
    const uint64_t *at;
    size_t stride;
} view;

/* Columns of B by fours, `depth` rows each; others[c] = the sum of b[t][c] b[t + 1][c] over even t < pairs. */
static void pack_panels(uint64_t *panel, uint64_t *others, view b, size_t depth, size_t pairs, size_t columns)
{
    for (size_t c = 0; c < columns; c += MPC_PANEL, panel += MPC_PANEL * depth) {
        uint64_t *const sums = others + c;
        for (size_t t = 0; t < depth; t++) memcpy(panel + MPC_PANEL * t, b.at + t * b.stride + c, 8 * MPC_PANEL);
        memset(sums, 0, 8 * MPC_PANEL);
        for (size_t t = 0; t < MPC_PANEL * pairs; t += 2 * MPC_PANEL)
            for (size_t q = 0; q < MPC_PANEL; q++) sums[q] += panel[t + q] * panel[t + MPC_PANEL + q];
    }
}

/* out += A B for a depth k <= DEPTH and m <= COLUMNS. */
static void product_block(const struct mpc *kernels, uint64_t *out, size_t out_stride, view a, view b, size_t n, size_t k, size_t m, uint64_t *scratch)
{
    uint64_t *const others = scratch, *const panels = scratch + COLUMNS;
    const size_t tiled = m - m % MPC_PANEL, pairs = n >= PAIRED ? k - k % 2 : 0;
    uint64_t own[BLOCK];
    pack_panels(panels, others, b, k, pairs, tiled);
    for (size_t from = 0; from < n; from += BLOCK) {
        const size_t to = from + smaller(n - from, BLOCK);
        for (size_t i = from; i < to; i++) {
            const uint64_t *const row = a.at + i * a.stride;
            uint64_t sum = 0;
            for (size_t t = 0; t < pairs; t += 2) sum += row[t] * row[t + 1];
            own[i - from] = sum;
        }
        for (size_t c = 0; c < tiled; c += MPC_PANEL)
            for (size_t i = from, rows; i < to; i += rows) {
                const uint64_t *const left = a.at + i * a.stride, *const panel = panels + c * k;
                uint64_t *const at = out + i * out_stride + c;
                rows = share_rows(to - i);
                if (pairs > 0) kernels->pair_tile(at, out_stride, rows, left, a.stride, panel, pairs, own + (i - from), others + c);
                if (pairs < k) kernels->tile(at, out_stride, rows, left + pairs, a.stride, panel + MPC_PANEL * pairs, k - pairs);
            }
    }
    privcomp_wipe((uint8_t *)own, sizeof own);
    for (size_t c = tiled; c < m; c++) { /* at most three columns */
        uint64_t *const column = panels;
        for (size_t t = 0; t < k; t++) column[t] = b.at[t * b.stride + c];
        for (size_t i = 0, rows; i < n; i += rows) {
            uint64_t sums[MPC_ROWS] = {0};
            rows = share_rows(n - i);
            kernels->dots(sums, rows, a.at + i * a.stride, a.stride, column, k);
            for (size_t r = 0; r < rows; r++) out[(i + r) * out_stride + c] += sums[r];
        }
    }
}

/* A block's depth: even, as there are pairs, and all blocks about as deep. */
PC_INLINE size_t share_depth(size_t k)
{
    const size_t blocks = (k + DEPTH - 1) / DEPTH, depth = (k + blocks - 1) / blocks;
    return depth + depth % 2;
}

static size_t product_scratch(size_t k, size_t m)
{
    return COLUMNS + smaller(k, DEPTH) * smaller(m, COLUMNS);
}

/* out += A B for few rows of A: weighted sums of rows of B, a strip of columns at a time. */
static void thin_product(const struct mpc *kernels, uint64_t *out, size_t out_stride, view a, view b, size_t n, size_t k, size_t m)
{
    for (size_t c = 0; c < m; c += STRIP) {
        const size_t columns = smaller(m - c, STRIP);
        for (size_t t = 0; t < k; t += MPC_WEIGHTS)
            for (size_t i = 0; i < n; i++) {
                const uint64_t *const row = a.at + i * a.stride + t, *const first = b.at + t * b.stride + c;
                uint64_t *const at = out + i * out_stride + c;
                if (k - t >= MPC_WEIGHTS)
                    kernels->weigh(at, row, first, b.stride, columns);
                else
                    for (size_t q = 0; q < k - t; q++) { /* a row of B, and itself with weights of zero */
                        const uint64_t one[MPC_WEIGHTS] = {row[q]};
                        kernels->weigh(at, one, first + q * b.stride, 0, columns);
                    }
            }
    }
}

/* out += A B. */
static void product(const struct mpc *kernels, uint64_t *out, size_t out_stride, view a, view b, size_t n, size_t k, size_t m, uint64_t *scratch)
{
    if (n <= THIN && m >= MPC_PANEL) {
        thin_product(kernels, out, out_stride, a, b, n, k, m);
        return;
    }
    for (size_t c = 0; c < m; c += COLUMNS)
        for (size_t t = 0, depth; t < k; t += depth) {
            const view left = {a.at + t, a.stride}, right = {b.at + t * b.stride + c, b.stride};
            depth = share_depth(k - t);
            product_block(kernels, out + c, out_stride, left, right, n, smaller(k - t, depth), smaller(m - c, COLUMNS), scratch);
        }
}

/* ---- large products: seven products of halves in place of eight, and fifteen sums ----
 * Source: Strassen's algorithm in Winograd's form, with the order of steps of Douglas, Heroux, Slishman, Smith, "GEMMW", Journal of
 * Computational Physics 110, 1994, which needs two matrices of a quarter's size beside the result. Exact in every ring.
 */

#define HALVED 512 /* the least n, k and m that are halved */

static int is_halved(size_t n, size_t k, size_t m)
{
    return smaller(smaller(n, k), m) >= HALVED && n % 2 == 0 && k % 2 == 0 && m % 2 == 0;
}

int64_t privcomp_matmul_scratch(size_t n, size_t k, size_t m)
{
    if (!is_size(n, k) || !is_size(k, m) || !is_size(n, m)) return -1;
    size_t words = 0;
    if (n <= THIN && m >= MPC_PANEL) return 0;
    while (is_halved(n, k, m)) {
        n /= 2, k /= 2, m /= 2;
        words += n * (k > m ? k : m) + k * m;
    }
    return (int64_t)(words + product_scratch(k, m));
}

/* out = A + B or A - B. out may be either. */
PC_INLINE void add_views(uint64_t *out, size_t stride, view a, view b, size_t n, size_t m, const int minus)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t *const o = out + i * stride;
        const uint64_t *const x = a.at + i * a.stride, *const y = b.at + i * b.stride;
        for (size_t j = 0; j < m; j++) o[j] = minus ? x[j] - y[j] : x[j] + y[j];
    }
}

/* out = A B. */
static void multiply(const struct mpc *kernels, uint64_t *out, size_t stride, view a, view b, size_t n, size_t k, size_t m, uint64_t *scratch)
{
    if (!is_halved(n, k, m)) {
        for (size_t i = 0; i < n && m > 0; i++) memset(out + i * stride, 0, 8 * m);
        product(kernels, out, stride, a, b, n, k, m, scratch);
        return;
    }
    n /= 2, k /= 2, m /= 2;
    uint64_t *const left = scratch, *const right = left + n * (k > m ? k : m), *const rest = right + k * m;
    uint64_t *const c11 = out, *const c12 = out + m, *const c21 = out + n * stride, *const c22 = c21 + m;
    const view a11 = a, a12 = {a.at + k, a.stride}, a21 = {a.at + n * a.stride, a.stride}, a22 = {a21.at + k, a.stride};
    const view b11 = b, b12 = {b.at + m, b.stride}, b21 = {b.at + k * b.stride, b.stride}, b22 = {b21.at + m, b.stride};
    const view x = {left, k}, y = {right, m}, xm = {left, m};
    const view v11 = {c11, stride}, v21 = {c21, stride};

    add_views(left, k, a11, a21, n, k, 1);  /* S3 = A11 - A21 */
    add_views(right, m, b22, b12, k, m, 1); /* T3 = B22 - B12 */
    multiply(kernels, c21, stride, x, y, n, k, m, rest); /* P7 = S3 T3 */
    add_views(left, k, a21, a22, n, k, 0);  /* S1 = A21 + A22 */
    add_views(right, m, b12, b11, k, m, 1); /* T1 = B12 - B11 */
    multiply(kernels, c22, stride, x, y, n, k, m, rest); /* P5 = S1 T1 */
    add_views(left, k, x, a11, n, k, 1);    /* S2 = S1 - A11 */
    add_views(right, m, b22, y, k, m, 1);   /* T2 = B22 - T1 */
    multiply(kernels, c12, stride, x, y, n, k, m, rest); /* P6 = S2 T2 */
    add_views(left, k, a12, x, n, k, 1);    /* S4 = A12 - S2 */
    multiply(kernels, c11, stride, x, b22, n, k, m, rest); /* P3 = S4 B22 */
    multiply(kernels, left, m, a11, b11, n, k, m, rest);   /* P1 = A11 B11 */
    for (size_t i = 0; i < n; i++) {
        uint64_t *const r11 = c11 + i * stride, *const r12 = c12 + i * stride, *const r21 = c21 + i * stride, *const r22 = c22 + i * stride;
        for (size_t j = 0; j < m; j++) {
            const uint64_t u2 = left[i * m + j] + r12[j], u3 = u2 + r21[j], p5 = r22[j];
            r12[j] = u2 + p5 + r11[j]; /* U5 = P1 + P6 + P5 + P3 */
            r21[j] = u3;               /* U3 = P1 + P6 + P7 */
            r22[j] = u3 + p5;          /* U7 = U3 + P5 */
        }
    }
    add_views(right, m, y, b21, k, m, 1); /* T4 = T2 - B21 */
    multiply(kernels, c11, stride, a22, y, n, k, m, rest); /* P4 = A22 T4 */
    add_views(c21, stride, v21, v11, n, m, 1); /* U6 = U3 - P4 */
    multiply(kernels, c11, stride, a12, b21, n, k, m, rest); /* P2 = A12 B21 */
    add_views(c11, stride, v11, xm, n, m, 0); /* U1 = P1 + P2 */
}

int privcomp_ring_matmul_u64(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n, size_t k, size_t m, int accumulate, uint64_t *scratch,
                             size_t scratch_words)
{
    const int64_t needed = privcomp_matmul_scratch(n, k, m);
    if (needed < 0) return PRIVCOMP_E_ARGUMENT;
    if (scratch_words < (uint64_t)needed) return PRIVCOMP_E_LENGTH;
    const struct mpc *const kernels = pc_mpc_at(privcomp_level_get());
    const view left = {a, k}, right = {b, m};
    if (accumulate)
        product(kernels, out, m, left, right, n, k, m, scratch);
    else
        multiply(kernels, out, m, left, right, n, k, m, scratch);
    privcomp_wipe((uint8_t *)scratch, 8 * (size_t)needed);
    return PRIVCOMP_OK;
}

/* ---- Gram matrices: out[i n + j] = the sum of products of row i of U and row j of V, for U and V such that it is symmetric ----
 *   sum     U = V = p X + q Y
 *   rep3    U = (X1 | X2), V = (X1 + X2 | X1):  X1 X1' + X1 X2' + X2 X1'
 *   cross   U = (X  | Y),  V = (Y | X):         X Y' + Y X'
 * Pieces of the rows of V are brought together, each in two halves: pairs of products, as in matrix products, are of one entry of each half.
 * Some pieces of U stay in the first cache while all of V that is not above them goes by, one vector for as many products of vectors: the second
 * or third cache is fast enough for that.
 */

#define PIECE_MAX 256 /* words of both halves */
#define PIECE_MIN 64
#define TOGETHER ((size_t)1 << 17) /* words of all pieces of V, as far as PIECE_MIN allows: 1 MiB */

enum form { SUM, REP3, CROSS };

typedef struct {
    enum form form;
    const uint64_t *x, *y;
    uint64_t p, q;
} operand;

/* The words of a half that `count` columns fill: whole vectors. */
PC_INLINE size_t half_words(enum form form, size_t count)
{
    const size_t words = form == SUM ? (count + 1) / 2 : count;
    return (words + 3) / 4 * 4;
}

/* A half with zeros behind `count` words. */
PC_INLINE void fill_half(uint64_t *half, const uint64_t *from, size_t count, size_t words)
{
    memcpy(half, from, 8 * count);
    for (size_t t = count; t < words; t++) half[t] = 0;
}

/* Columns at .. at + count of a row of V; the halves are `half` words each. */
static void right_piece(const struct mpc *kernels, uint64_t *restrict piece, const operand *o, size_t at, size_t count, size_t half)
{
    const uint64_t *const x = o->x + at, *const y = o->y + at;
    uint64_t *const second = piece + half;
    if (o->form == SUM) { /* the halves follow each other without a gap */
        kernels->combine(piece, x, o->p, y, o->q, count);
        for (size_t t = count; t < 2 * half; t++) piece[t] = 0;
    } else if (o->form == REP3) {
        for (size_t t = 0; t < count; t++) piece[t] = x[t] + y[t];
        for (size_t t = count; t < half; t++) piece[t] = 0;
        fill_half(second, x, count, half);
    } else {
        fill_half(piece, y, count, half);
        fill_half(second, x, count, half);
    }
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
    if (n > INT64_MAX / 16 / PIECE_MAX - MPC_ROWS) return -1;
    return (int64_t)(piece_words(n) * (n + MPC_ROWS) + n);
}

/* The sum of products of the entries of both halves. */
PC_INLINE uint64_t between_halves(const struct mpc *kernels, const uint64_t *piece, size_t half)
{
    uint64_t sum = 0;
    kernels->dots(&sum, 1, piece, 0, piece + half, half);
    return sum;
}

static int gram(uint64_t *out, const operand *o, size_t n, size_t d, uint64_t *scratch, size_t scratch_words)
{
    const int64_t needed = privcomp_gram_scratch(n);
    if (needed < 0 || !is_size(n, d) || !is_size(n, n)) return PRIVCOMP_E_ARGUMENT;
    if (scratch_words < (uint64_t)needed) return PRIVCOMP_E_LENGTH;
    const struct mpc *const kernels = pc_mpc_at(privcomp_level_get());
    const int two = o->form != SUM, both = two || o->q != 0;
    const size_t piece = piece_words(n), width = two ? piece / 2 : piece;
    uint64_t *const v = scratch, *const u = v + piece * n, *const others = u + piece * MPC_ROWS;
    if (n > 0) memset(out, 0, 8 * n * n);

    const size_t calls = n * (n + MPC_ROWS) / (2 * MPC_ROWS) + 1, lines = n * (width / 8) / calls + 1; /* of each part, to be fetched in a call */

    for (size_t from = 0; from < d; from += width) {
        const size_t count = smaller(d - from, width), half = half_words(o->form, count);
        const size_t next = from + count, ahead = smaller(d - next, width);
        size_t row = ahead > 0 ? 0 : n, column = 0;
        for (size_t j = 0; j < n; j++) {
            right_piece(kernels, v + piece * j, o, j * d + from, count, half);
            others[j] = between_halves(kernels, v + piece * j, half);
        }
        for (size_t i = 0, rows; i < n; i += rows) {
            const uint64_t *left = v + piece * i;
            uint64_t own[MPC_ROWS];
            rows = share_rows(n - i);
            for (size_t r = 0; two && r < rows; r++) {
                fill_half(u + piece * r, o->x + (i + r) * d + from, count, half);
                fill_half(u + piece * r + half, o->y + (i + r) * d + from, count, half);
                left = u;
            }
            for (size_t r = 0; r < rows; r++) own[r] = between_halves(kernels, left + piece * r, half);
            for (size_t j = i; j < n; j++) {
                const size_t above = smaller(j - i + 1, rows);
                uint64_t sums[MPC_ROWS] = {0};
                for (size_t q = 0; q < lines && row < n; q++) { /* the next pieces are on their way while these are multiplied */
                    __builtin_prefetch(o->x + row * d + next + column, 0, 3);
                    if (both) __builtin_prefetch(o->y + row * d + next + column, 0, 3);
                    column += 8;
                    if (column >= ahead) column = 0, row++;
                }
                kernels->pair_dots(sums, above, left, piece, v + piece * j, half, own, others[j]);
                for (size_t r = 0; r < above; r++) out[(i + r) * n + j] += sums[r];
            }
        }
    }
    for (size_t i = 1; i < n; i++)
        for (size_t j = 0; j < i; j++) out[i * n + j] = out[j * n + i];
    privcomp_wipe((uint8_t *)scratch, 8 * (size_t)needed);
    return PRIVCOMP_OK;
}

int privcomp_ring_gram_u64(uint64_t *out, const uint64_t *x, uint64_t p, const uint64_t *y, uint64_t q, size_t n, size_t d, uint64_t *scratch,
                           size_t scratch_words)
{
    return gram(out, &(operand){SUM, x, y, p, q}, n, d, scratch, scratch_words);
}

int privcomp_rep3_gram_u64(uint64_t *out, const uint64_t *x1, const uint64_t *x2, size_t n, size_t d, uint64_t *scratch, size_t scratch_words)
{
    return gram(out, &(operand){REP3, x1, x2, 0, 0}, n, d, scratch, scratch_words);
}

int privcomp_cross_gram_u64(uint64_t *out, const uint64_t *x, const uint64_t *y, size_t n, size_t d, uint64_t *scratch, size_t scratch_words)
{
    return gram(out, &(operand){CROSS, x, y, 0, 0}, n, d, scratch, scratch_words);
}

void privcomp_ring_combine_u64(uint64_t *out, const uint64_t *x, uint64_t p, const uint64_t *y, uint64_t q, size_t n)
{
    pc_mpc_at(privcomp_level_get())->combine(out, x, p, y, q, n);
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

#define DOT_STRIP 256 /* words of every plane that are worked on at a time: a hundred planes of them stay in a second cache */

int privcomp_planes_dot(uint64_t *out, size_t rows, const uint32_t *ends, const uint32_t *left, const uint32_t *right, size_t terms, const uint64_t *x,
                        size_t x_planes, const uint64_t *y, size_t y_planes, size_t words)
{
    if (!is_size(rows, words) || !is_size(x_planes, words) || !is_size(y_planes, words)) return PRIVCOMP_E_ARGUMENT;
    size_t end = 0;
    for (size_t r = 0; r < rows; end = ends[r++])
        if (ends[r] < end) return PRIVCOMP_E_ARGUMENT;
    if (end != terms) return PRIVCOMP_E_ARGUMENT;
    for (size_t k = 0; k < terms; k++)
        if (left[k] >= x_planes || right[k] >= y_planes) return PRIVCOMP_E_ARGUMENT;
    const struct mpc *const kernels = pc_mpc_at(privcomp_level_get());
    for (size_t from = 0; from < words; from += DOT_STRIP) {
        const size_t count = words - from < DOT_STRIP ? words - from : DOT_STRIP;
        for (size_t r = 0, begin = 0; r < rows; begin = ends[r++])
            kernels->ands(out + r * words + from, left + begin, right + begin, ends[r] - begin, x + from, y + from, words, count);
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
