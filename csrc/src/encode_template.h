/* The kernels of encode.h on vectors of four 64-bit numbers, in the vector extensions of gcc and clang. Included once per level with
 *   ENCODE(name) the kernel's name, KERNELS the name of all, TARGET their target attribute, MUL32(a, b) the products of numbers below 2^32.
 *
 * A transform goes level by level, from distance n/2 to 1, in blocks that fit a cache; which level an addition belongs to does not depend on
 * the blocks. Blocks of 2^11 numbers (16 KiB) stay in the first cache, blocks of 2^14 in the second; above, up to six levels are done at once
 * on strips of 32 columns that are brought together in 16 KiB of stack.
 */
#define OUTER ((size_t)1 << 14)
#define ROWS 64   /* of a strip: six levels */
#define COLUMNS 32

#define LOAD(v, p) memcpy(&(v), (p), sizeof(v))
#define STORE(p, v) memcpy((p), &(v), sizeof(v))

/* Levels 4g, 2g and g on the eight vectors v. */
#define LEVEL(V, h) \
    do { \
        PC_UNROLL \
        for (int i_ = 0; i_ < 8; i_++) \
            if ((i_ & (h)) == 0) { \
                const V a_ = v[i_], b_ = v[i_ + (h)]; \
                v[i_] = a_ + b_; \
                v[i_ + (h)] = a_ - b_; \
            } \
    } while (0)

/* `radix` rows, `in_stride` apart, through log2(radix) levels into rows `out_stride` apart. Columns: a multiple of four. in may be out. */
#define DEFINE_ROWS(NAME, T, V) \
    TARGET PC_INLINE void ENCODE(NAME)(T *out, size_t out_stride, const T *in, size_t in_stride, size_t columns, const int radix) \
    { \
        for (size_t j = 0; j < columns; j += 4) { \
            V v[8]; \
            PC_UNROLL \
            for (int i = 0; i < 8; i++) \
                if (i < radix) LOAD(v[i], in + (size_t)i * in_stride + j); \
            if (radix == 8) { \
                LEVEL(V, 4); \
                LEVEL(V, 2); \
                LEVEL(V, 1); \
            } else if (radix == 4) { \
                const V a = v[0] + v[2], b = v[1] + v[3], c = v[0] - v[2], d = v[1] - v[3]; \
                v[0] = a + b; \
                v[1] = a - b; \
                v[2] = c + d; \
                v[3] = c - d; \
            } else { \
                const V a = v[0] + v[1], b = v[0] - v[1]; \
                v[0] = a; \
                v[1] = b; \
            } \
            PC_UNROLL \
            for (int i = 0; i < 8; i++) \
                if (i < radix) STORE(out + (size_t)i * out_stride + j, v[i]); \
        } \
    }

DEFINE_ROWS(rows_f64, double, vf)
DEFINE_ROWS(rows_i64, uint64_t, vu)

/* The top log2(radix) levels of the n numbers at x, in place. */
#define DEFINE_TOP(NAME, ROWS_NAME, T) \
    TARGET static void ENCODE(NAME)(T *x, size_t n, int radix) \
    { \
        const size_t g = n / (size_t)radix; \
        if (radix == 8) \
            ENCODE(ROWS_NAME)(x, g, x, g, g, 8); \
        else if (radix == 4) \
            ENCODE(ROWS_NAME)(x, g, x, g, g, 4); \
        else if (radix == 2) \
            ENCODE(ROWS_NAME)(x, g, x, g, g, 2); \
    }

DEFINE_TOP(top_f64, rows_f64, double)
DEFINE_TOP(top_i64, rows_i64, uint64_t)

/* ---- the last five levels: 16, 8, 4 between vectors, 2, 1 within ---- */

/* (a0 + a2, a1 + a3, a0 - a2, a1 - a3) and (a0 + a1, a0 - a1, a2 + a3, a2 - a3): the swapped vector plus the one with its lower numbers' negatives. */
#define WITHIN_F64(a) \
    do { \
        a = SHUFFLE(a, 2, 3, 0, 1) + (vf)((vu)(a) ^ (vu){0, 0, SIGN, SIGN}); \
        a = SHUFFLE(a, 1, 0, 3, 2) + (vf)((vu)(a) ^ (vu){0, SIGN, 0, SIGN}); \
    } while (0)
#define WITHIN_I64(a) \
    do { \
        a = SHUFFLE(a, 2, 3, 0, 1) + (((a) ^ (vu){0, 0, ONES, ONES}) - (vu){0, 0, ONES, ONES}); \
        a = SHUFFLE(a, 1, 0, 3, 2) + (((a) ^ (vu){0, ONES, 0, ONES}) - (vu){0, ONES, 0, ONES}); \
    } while (0)

/* The sum of sixteen lanes: vector to vector, then half to half. */
TARGET PC_INLINE double ENCODE(lanes)(const vf acc[4])
{
    const vf v = (acc[0] + acc[2]) + (acc[1] + acc[3]);
    return (v[0] + v[2]) + (v[1] + v[3]);
}

/* 32 to ENCODE_BLOCK numbers; returns the sum of their squares if that is wanted. */
TARGET PC_INLINE double ENCODE(block_f64)(double *x, size_t n, const int squares)
{
    size_t h = n;
    vf acc[4] = {{0}, {0}, {0}, {0}};
    VERIFY(n >= 32 && n <= ENCODE_BLOCK && (n & (n - 1)) == 0);
    while (h > 32) {
        const int radix = h >= 256 ? 8 : (int)(h / 32);
        for (size_t b = 0; b < n; b += h) ENCODE(top_f64)(x + b, h, radix);
        h /= (size_t)radix;
    }
    for (size_t b = 0; b < n; b += 32) {
        vf v[8];
        PC_UNROLL
        for (int i = 0; i < 8; i++) LOAD(v[i], x + b + 4 * i);
        LEVEL(vf, 4);
        LEVEL(vf, 2);
        LEVEL(vf, 1);
        PC_UNROLL
        for (int i = 0; i < 8; i++) {
            WITHIN_F64(v[i]);
            STORE(x + b + 4 * i, v[i]);
            if (squares) acc[i & 3] += v[i] * v[i];
        }
    }
    return ENCODE(lanes)(acc);
}

TARGET PC_INLINE void ENCODE(block_i64)(uint64_t *x, size_t n)
{
    size_t h = n;
    VERIFY(n >= 32 && n <= ENCODE_BLOCK && (n & (n - 1)) == 0);
    while (h > 32) {
        const int radix = h >= 256 ? 8 : (int)(h / 32);
        for (size_t b = 0; b < n; b += h) ENCODE(top_i64)(x + b, h, radix);
        h /= (size_t)radix;
    }
    for (size_t b = 0; b < n; b += 32) {
        vu v[8];
        PC_UNROLL
        for (int i = 0; i < 8; i++) LOAD(v[i], x + b + 4 * i);
        LEVEL(vu, 4);
        LEVEL(vu, 2);
        LEVEL(vu, 1);
        PC_UNROLL
        for (int i = 0; i < 8; i++) {
            WITHIN_I64(v[i]);
            STORE(x + b + 4 * i, v[i]);
        }
    }
}

/* ---- whole transforms ---- */

/* The size of the blocks that are left after the levels from n on were done together: as many as a strip holds. */
PC_INLINE size_t ENCODE(below)(size_t n) { return n / OUTER >= ROWS ? n / ROWS : OUTER; }

/* Two-step levels of strips: the rows of a buffer, COLUMNS apart, and from it to rows `stride` apart. 16, 32 or 64 rows. */
#define DEFINE_STRIP(NAME, ROWS_NAME, T) \
    TARGET static void ENCODE(NAME)(T *out, size_t out_stride, T *buffer, const T *in, size_t in_stride, size_t rows) \
    { \
        const size_t groups = rows / (rows / 8), radix = rows / 8; /* groups = 8 rows of the second step */ \
        for (size_t i = 0; i < groups; i++) \
            if (radix == 8) \
                ENCODE(ROWS_NAME)(buffer + i * COLUMNS, 8 * COLUMNS, in + i * in_stride, 8 * in_stride, COLUMNS, 8); \
            else if (radix == 4) \
                ENCODE(ROWS_NAME)(buffer + i * COLUMNS, 8 * COLUMNS, in + i * in_stride, 8 * in_stride, COLUMNS, 4); \
            else \
                ENCODE(ROWS_NAME)(buffer + i * COLUMNS, 8 * COLUMNS, in + i * in_stride, 8 * in_stride, COLUMNS, 2); \
        for (size_t i = 0; i < radix; i++) \
            ENCODE(ROWS_NAME)(out + 8 * i * out_stride, out_stride, buffer + 8 * i * COLUMNS, COLUMNS, COLUMNS, 8); \
    }

DEFINE_STRIP(strip_f64, rows_f64, double)
DEFINE_STRIP(strip_i64, rows_i64, uint64_t)

/* The levels from n/2 down to `below` for n > OUTER. */
#define DEFINE_OUTER(NAME, STRIP, TOP, T) \
    TARGET static void ENCODE(NAME)(T *x, size_t n, T *buffer) \
    { \
        const size_t width = ENCODE(below)(n), rows = n / width; \
        if (rows <= 8) { \
            ENCODE(TOP)(x, n, (int)rows); \
            return; \
        } \
        for (size_t j = 0; j < width; j += COLUMNS) ENCODE(STRIP)(x + j, width, buffer, x + j, width, rows); \
    }

DEFINE_OUTER(outer_f64, strip_f64, top_f64, double)
DEFINE_OUTER(outer_i64, strip_i64, top_i64, uint64_t)

/* What is left of a transform when blocks of `size` remain, block by block. Depth-first, so that a block stays in its cache: the blocks of one
 * size are visited in order, and a block's larger levels are done when its first number is reached. */
#define DEFINE_REST(NAME, OUTER_NAME, TOP, T, ...) \
    do { \
        for (size_t b = 0; b < n; b += inner) { \
            for (size_t h = size; h > OUTER; h = ENCODE(below)(h)) \
                if (b % h == 0) ENCODE(OUTER_NAME)(x + b, h, buffer); \
            if (b % OUTER == 0) { \
                const size_t top = size < OUTER ? size : OUTER; \
                if (top > ENCODE_BLOCK) ENCODE(TOP)(x + b, top, (int)(top / ENCODE_BLOCK)); \
            } \
            __VA_ARGS__; \
        } \
    } while (0)

TARGET static double ENCODE(rest_f64)(double *x, size_t n, size_t size, double *buffer, int squares)
{
    const size_t inner = size < ENCODE_BLOCK ? size : ENCODE_BLOCK;
    double total = 0;
    if (squares)
        DEFINE_REST(rest_f64, outer_f64, top_f64, double, total += ENCODE(block_f64)(x + b, inner, 1));
    else
        DEFINE_REST(rest_f64, outer_f64, top_f64, double, (void)ENCODE(block_f64)(x + b, inner, 0));
    return total;
}

TARGET static void ENCODE(rest_i64)(uint64_t *x, size_t n, size_t size, uint64_t *buffer)
{
    const size_t inner = size < ENCODE_BLOCK ? size : ENCODE_BLOCK;
    DEFINE_REST(rest_i64, outer_i64, top_i64, uint64_t, ENCODE(block_i64)(x + b, inner));
}

TARGET static void ENCODE(hadamard_f64)(double *x, size_t n, double *squares)
{
    double buffer[ROWS * COLUMNS];
    const double total = ENCODE(rest_f64)(x, n, n, buffer, squares != NULL);
    if (squares != NULL) *squares = total;
    privcomp_wipe((uint8_t *)buffer, sizeof buffer);
}

TARGET static void ENCODE(hadamard_i64)(uint64_t *x, size_t n)
{
    uint64_t buffer[ROWS * COLUMNS];
    ENCODE(rest_i64)(x, n, n, buffer);
    privcomp_wipe((uint8_t *)buffer, sizeof buffer);
}

/* ---- signs, and rotations from the caller's vector ---- */

/* The sign bits of eight numbers, from the bits of one byte. */
#define SIGNS(low, high, byte) \
    do { \
        const vu all_ = (vu){(byte), (byte), (byte), (byte)}; \
        low = (all_ << (vu){63, 62, 61, 60}) & (vu){SIGN, SIGN, SIGN, SIGN}; \
        high = (all_ << (vu){59, 58, 57, 56}) & (vu){SIGN, SIGN, SIGN, SIGN}; \
    } while (0)

TARGET static void ENCODE(flip_f64)(double *x, size_t n, const uint8_t *signs)
{
    size_t j = 0;
    for (; j + 8 <= n; j += 8) {
        vu a, b, low, high;
        SIGNS(low, high, (uint64_t)signs[j / 8]);
        LOAD(a, x + j);
        LOAD(b, x + j + 4);
        a ^= low;
        b ^= high;
        STORE(x + j, a);
        STORE(x + j + 4, b);
    }
    for (; j < n; j++) {
        const uint64_t bit = (signs[j / 8] >> (j % 8)) & 1;
        store64(x + j, load64(x + j) ^ (bit << 63));
    }
}

TARGET static void ENCODE(flip_i64)(uint64_t *x, size_t n, const uint8_t *signs)
{
    size_t j = 0;
    for (; j + 8 <= n; j += 8) {
        vu a, b, low, high;
        SIGNS(low, high, (uint64_t)signs[j / 8]);
        low = (vu)((vi)low < 0);
        high = (vu)((vi)high < 0);
        LOAD(a, x + j);
        LOAD(b, x + j + 4);
        a = (a ^ low) - low;
        b = (b ^ high) - high;
        STORE(x + j, a);
        STORE(x + j + 4, b);
    }
    for (; j < n; j++) {
        const uint64_t mask = 0 - ((uint64_t)(signs[j / 8] >> (j % 8)) & 1);
        x[j] = (x[j] ^ mask) - mask;
    }
}

/* `count` numbers (a multiple of eight) from x, of which `there` are there: +-scale x[j]. */
#define DEFINE_FETCH(NAME, T, VT) \
    TARGET PC_INLINE void ENCODE(NAME)(double *out, const T *x, size_t there, size_t count, const uint8_t *signs, double scale) \
    { \
        const vf factor = {scale, scale, scale, scale}; \
        size_t j = 0; \
        for (; j < count && j + 8 <= there; j += 8) { \
            VT in; \
            vf a, b; \
            vu low, high; \
            SIGNS(low, high, (uint64_t)signs[j / 8]); \
            LOAD(in, x + j); \
            a = WIDEN(in) * (vf)((vu)factor ^ low); \
            LOAD(in, x + j + 4); \
            b = WIDEN(in) * (vf)((vu)factor ^ high); \
            STORE(out + j, a); \
            STORE(out + j + 4, b); \
        } \
        for (; j < count; j++) { \
            const double value = j < there ? (double)x[j] : 0; \
            out[j] = value * ((signs[j / 8] >> (j % 8)) & 1 ? -scale : scale); \
        } \
    }

#define WIDEN(v) __builtin_convertvector(v, vf)
DEFINE_FETCH(fetch_f32, float, vs)
#undef WIDEN
#define WIDEN(v) (v)
DEFINE_FETCH(fetch_f64, double, vf)
#undef WIDEN

#define DEFINE_ROTATE(NAME, FETCH, T) \
    TARGET static double ENCODE(NAME)(double *out, size_t d, const T *x, size_t n, const uint8_t *signs, double scale) \
    { \
        double buffer[ROWS * COLUMNS]; \
        size_t size = d; \
        const size_t width = d > OUTER ? ENCODE(below)(d) : d, rows = d / width; \
        if (rows > 8) { /* the first levels as the numbers are fetched */ \
            for (size_t j = 0; j < width; j += COLUMNS) { \
                for (size_t i = 0; i < rows; i++) { \
                    const size_t at = i * width + j; \
                    ENCODE(FETCH)(buffer + i * COLUMNS, at < n ? x + at : x, at < n ? n - at : 0, COLUMNS, signs + at / 8, scale); \
                } \
                ENCODE(strip_f64)(out + j, width, buffer, buffer, COLUMNS, rows); \
            } \
            size = width; \
        } else { \
            ENCODE(FETCH)(out, x, n, d, signs, scale); \
        } \
        const double total = ENCODE(rest_f64)(out, d, size, buffer, 1); \
        privcomp_wipe((uint8_t *)buffer, sizeof buffer); \
        return total; \
    }

DEFINE_ROTATE(rotate_f32, fetch_f32, float)
DEFINE_ROTATE(rotate_f64, fetch_f64, double)

/* ---- sums of squares ---- */

#define DEFINE_SQUARES(NAME, T, VT) \
    TARGET static double ENCODE(NAME)(const T *x, size_t n, double scale) \
    { \
        const vf factor = {scale, scale, scale, scale}; \
        double total = 0; \
        for (size_t b = 0; b < n; b += ENCODE_BLOCK) { \
            const size_t count = n - b < ENCODE_BLOCK ? n - b : ENCODE_BLOCK; \
            vf acc[4] = {{0}, {0}, {0}, {0}}; \
            size_t j = 0; \
            for (; j + 16 <= count; j += 16) { \
                PC_UNROLL \
                for (int i = 0; i < 4; i++) { \
                    VT in; \
                    LOAD(in, x + b + j + 4 * (size_t)i); \
                    const vf v = WIDEN(in) * factor; \
                    acc[i] += v * v; \
                } \
            } \
            if (j < count) { /* the rest among zeros */ \
                T rest[16] = {0}; \
                memcpy(rest, x + b + j, (count - j) * sizeof(T)); \
                for (int i = 0; i < 4; i++) { \
                    VT in; \
                    LOAD(in, rest + 4 * i); \
                    const vf v = WIDEN(in) * factor; \
                    acc[i] += v * v; \
                } \
                privcomp_wipe((uint8_t *)rest, sizeof rest); \
            } \
            total += ENCODE(lanes)(acc); \
        } \
        return total; \
    }

#define WIDEN(v) __builtin_convertvector(v, vf)
DEFINE_SQUARES(squares_f32, float, vs)
#undef WIDEN
#define WIDEN(v) (v)
DEFINE_SQUARES(squares_f64, double, vf)
#undef WIDEN

/* ---- rounding ---- */

/* Four entries. a = min(|t|, beta), in which beta stands in for what is not a number, as in no other order.
 * floor: (a + 2^52) - 2^52 is a neighbouring integer of a < 2^51 or a itself, whatever the rounding mode, and one too many if it exceeds a.
 * f = a - floor(a) is exact: both are multiples of a's last place and the difference is no larger than a.
 * u: the numbers 1 + k / 2^52 have the bits of k under the exponent of 1, and subtracting 1 - 2^-53 is exact: (k + 1/2) / 2^52 is a multiple of
 *    2^-53 below 1.
 * floor(a) + 2^52 has the bits of floor(a) under the exponent of 2^52. */
#define ROUND4(coin, t, hh, hl, ll) \
    do { \
        const vu bits_ = (vu)(t); \
        vf a_ = (vf)(bits_ & ~SIGNV); \
        const vu less_ = (vu)(a_ < betav); \
        a_ = (vf)(((vu)a_ & less_) | ((vu)betav & ~less_)); \
        vf r_ = (a_ + two52) - two52; \
        r_ -= (vf)((vu)(r_ > a_) & (vu)one); \
        const vf f_ = a_ - r_; \
        const vf u_ = (vf)((coin >> 12) | (vu)one) - almost_one; \
        const vu m_ = ((vu)(r_ + two52) & low52) - (vu)(u_ < f_); \
        const vu minus_ = (vu)((vi)bits_ < 0), high_ = m_ >> 24, low_ = m_ & low24; \
        hh += MUL32(high_, high_); \
        hl += MUL32(high_, low_); \
        ll += MUL32(low_, low_); \
        coin = (m_ ^ minus_) - minus_; \
    } while (0)

TARGET static encode_squares ENCODE(round)(int64_t *q, const double *y, size_t n, double factor, uint64_t beta)
{
    const double b = (double)beta;
    const vf factors = {factor, factor, factor, factor}, betav = {b, b, b, b}, one = {1, 1, 1, 1};
    const vf two52 = {0x1p52, 0x1p52, 0x1p52, 0x1p52};
    const vf almost_one = {1 - 0x1p-53, 1 - 0x1p-53, 1 - 0x1p-53, 1 - 0x1p-53};
    const vu SIGNV = {SIGN, SIGN, SIGN, SIGN};
    const vu low52 = {0xfffffffffffff, 0xfffffffffffff, 0xfffffffffffff, 0xfffffffffffff}; /* check: 0xfffffffffffff == 2**52 - 1 */
    const vu low24 = {0xffffff, 0xffffff, 0xffffff, 0xffffff};                             /* check: 0xffffff == 2**24 - 1 */
    vu hh = {0}, hl = {0}, ll = {0}, coin;
    vf t;
    size_t j = 0;
    VERIFY(n <= ENCODE_BLOCK && beta <= ENCODE_BETA_MAX);
    for (; j + 4 <= n; j += 4) {
        LOAD(t, y + j);
        LOAD(coin, q + j);
        t = t * factors;
        ROUND4(coin, t, hh, hl, ll);
        STORE(q + j, coin);
    }
    if (j < n) { /* zeros round to zero, whatever the coin */
        double rest[4] = {0};
        uint64_t out[4] = {0};
        memcpy(rest, y + j, (n - j) * 8);
        memcpy(out, q + j, (n - j) * 8);
        LOAD(t, rest);
        LOAD(coin, out);
        t = t * factors;
        ROUND4(coin, t, hh, hl, ll);
        STORE(out, coin);
        memcpy(q + j, out, (n - j) * 8);
        privcomp_wipe((uint8_t *)rest, sizeof rest);
        privcomp_wipe((uint8_t *)out, sizeof out);
    }
    return (encode_squares){hh[0] + hh[1] + hh[2] + hh[3], hl[0] + hl[1] + hl[2] + hl[3], ll[0] + ll[1] + ll[2] + ll[3]};
}

const struct encode KERNELS = {
    .hadamard_f64 = ENCODE(hadamard_f64),
    .hadamard_i64 = ENCODE(hadamard_i64),
    .rotate_f32 = ENCODE(rotate_f32),
    .rotate_f64 = ENCODE(rotate_f64),
    .flip_f64 = ENCODE(flip_f64),
    .flip_i64 = ENCODE(flip_i64),
    .squares_f32 = ENCODE(squares_f32),
    .squares_f64 = ENCODE(squares_f64),
    .round = ENCODE(round),
};

#undef ENCODE
#undef KERNELS
#undef TARGET
#undef MUL32
