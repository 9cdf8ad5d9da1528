/* Values of polynomials at further steps of an arithmetic progression, by additions alone: the `extend` of struct field.
 *
 * Newton: the backward differences D0 f(i) = f(i), D(k+1) f(i) = Dk f(i) - Dk f(i-1) of a polynomial of degree < m are constant for
 * k = m - 1. Those at the last of m known values give the next value by Dk f(i+1) = Dk f(i) + D(k+1) f(i+1), k = m - 2, ..., 0.
 * The differences themselves are sums, too: for g(i) = (-1)^(m-1-i) f(i) the sums S(k+1) g(i) = Sk g(i) + Sk g(i-1) are those
 * differences up to the sign (-1)^(m-1-i). At i = m - 1 they are Dk f. Read from the other end, Sk g(k) is (-1)^(m-1) times the
 * k-th backward difference of f(0), f(-1), ...: it continues the row downwards, up to this sign.
 *
 * All of these are one grid in which an entry is the sum of two others, and every second one is folded. A folded entry counts as 1,
 * a sum as what it adds up: at most 4 ever meet, of 2^61 + 6 each at most, far below 2^64.
 *
 * Defined by the includer: EXTEND(name); EXTEND_TARGET; EXTEND_VECTOR, EXTEND_LANES words, and without alignment
 * EXTEND_UNALIGNED; EXTEND_FOLD(x); EXTEND_FINISH(x), canonical, of a folded x; EXTEND_NEGATE(x), at most p, of a canonical x.
 */

/* Appends `count` values to the grid, which has `known` already: last[k] is Sk g at the latest value, first[k] at the k-th one.
 * Even levels are folded, odd ones count 2. count is a constant where this is inlined, known a multiple of it. */
EXTEND_TARGET PC_INLINE void EXTEND(append)(size_t count, EXTEND_VECTOR *first, EXTEND_VECTOR *last, size_t known, size_t terms,
                                            const uint64_t *in, size_t stride)
{
    EXTEND_VECTOR c[8];
    size_t k = 0;
    PC_UNROLL
    for (size_t r = 0; r < count; r++) {
        const size_t i = known + r;
        c[r] = *(const EXTEND_UNALIGNED *)(in + pc_middle_place(i, terms) * stride);
        if ((terms - 1 - i) % 2) c[r] = EXTEND_NEGATE(c[r]);
    }
#define EXTEND_LEVEL(from) \
    PC_UNROLL \
    for (size_t r = count - 1; r > (from); r--) c[r] += c[r - 1]
#define EXTEND_OLD_LEVEL(k) \
    do { \
        const EXTEND_VECTOR e = last[k]; \
        last[k] = c[count - 1]; \
        EXTEND_LEVEL(0); \
        c[0] += e; \
    } while (0)
    for (; k + 2 <= known; k += 2) {
        EXTEND_OLD_LEVEL(k);
        EXTEND_OLD_LEVEL(k + 1);
        PC_UNROLL
        for (size_t r = 0; r < count; r++) c[r] = EXTEND_FOLD(c[r]);
    }
    if (k < known) EXTEND_OLD_LEVEL(k);
    PC_UNROLL
    for (size_t q = 0; q < count; q++) { /* levels that begin among the new values */
        first[known + q] = c[q];
        last[known + q] = c[count - 1];
        if (q + 1 == count) break;
        EXTEND_LEVEL(q);
        if ((known + q) % 2) {
            PC_UNROLL
            for (size_t r = q + 1; r < count; r++) c[r] = EXTEND_FOLD(c[r]);
        }
    }
#undef EXTEND_LEVEL
#undef EXTEND_OLD_LEVEL
}

/* Row j of out: level `levels` at the j-th further value becomes level 0. e: the levels between at the latest value, each <= 2.
 * With `constant` the rows of out are not read: level `levels` is e[levels] for all of them. */
EXTEND_TARGET PC_INLINE void EXTEND(descend)(size_t levels, const EXTEND_VECTOR *e, int constant, uint64_t *out, size_t rows, size_t stride)
{
    EXTEND_VECTOR c[9];
    PC_UNROLL
    for (size_t q = 0; q < levels; q++) c[q] = e[q];
    if (constant) c[levels] = e[levels];
    for (size_t j = 0; j < rows; j++) {
        /* An entry is folded in every second step, its neighbours in the others; between that it counts at most 3. */
#define EXTEND_STEP(parity) \
    do { \
        EXTEND_UNALIGNED *const row = (EXTEND_UNALIGNED *)(out + j * stride); \
        if (!constant) c[levels] = *row; \
        PC_UNROLL \
        for (size_t q = levels; q-- > 0;) { \
            c[q] += c[q + 1]; \
            if (levels == 1 || q % 2 == (parity)) c[q] = EXTEND_FOLD(c[q]); \
        } \
        *row = c[0]; \
    } while (0)
        EXTEND_STEP(1);
        if (++j == rows) break;
        EXTEND_STEP(0);
    }
#undef EXTEND_STEP
}

EXTEND_TARGET PC_INLINE void EXTEND(one_way)(const EXTEND_VECTOR *e, size_t terms, int negative, uint64_t *out, size_t rows, size_t stride)
{
    size_t level = terms - 1;
    int constant = 1;
    if (level == 0)
        for (size_t j = 0; j < rows; j++) *(EXTEND_UNALIGNED *)(out + j * stride) = e[0];
    while (level > 0) {
        const size_t levels = level % 8 ? 1 : 8;
        level -= levels;
        if (levels == 1) {
            EXTEND(descend)(1, e + level, constant, out, rows, stride);
        } else {
            EXTEND(descend)(8, e + level, constant, out, rows, stride);
        }
        constant = 0;
    }
    for (size_t j = 0; j < rows; j++) {
        EXTEND_UNALIGNED *const row = (EXTEND_UNALIGNED *)(out + j * stride);
        EXTEND_VECTOR x = *row;
        x = EXTEND_FINISH(EXTEND_FOLD(x));
        if (negative) x = EXTEND_FINISH(EXTEND_NEGATE(x));
        *row = x;
    }
}

/* Whole vectors of columns; returns how many columns that were. */
EXTEND_TARGET static size_t EXTEND(columns)(uint64_t *out, size_t below, size_t above, const uint64_t *in, size_t terms, size_t stride,
                                            size_t width, uint64_t *scratch)
{
    EXTEND_VECTOR *const first = (EXTEND_VECTOR *)(((uintptr_t)scratch + 63) / 64 * 64), *const last = first + terms;
    size_t at = 0;
    for (; at + EXTEND_LANES <= width; at += EXTEND_LANES) {
        size_t i = 0;
        for (; i + 8 <= terms; i += 8) EXTEND(append)(8, first, last, i, terms, in + at, stride);
        for (; i < terms; i++) EXTEND(append)(1, first, last, i, terms, in + at, stride);
        EXTEND(one_way)(first, terms, terms % 2 == 0, out + at, below, stride);
        EXTEND(one_way)(last, terms, 0, out + below * stride + at, above, stride);
    }
    return at;
}

#undef EXTEND
#undef EXTEND_TARGET
#undef EXTEND_VECTOR
#undef EXTEND_UNALIGNED
#undef EXTEND_LANES
#undef EXTEND_FOLD
#undef EXTEND_FINISH
#undef EXTEND_NEGATE
