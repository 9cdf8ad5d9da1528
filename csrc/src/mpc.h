/* The kernels of mpc.c: sums of products modulo 2^64, products of shares, and transposition of bits, at each dispatch level. */
#ifndef PC_MPC_H
#define PC_MPC_H

#include "core.h"

#define MPC_ROWS 5                  /* rows that a kernel multiplies by one vector: their sums and the operands fill sixteen registers */
#define MPC_PANEL 4                 /* columns of a panel */
#define MPC_WEIGHTS 4               /* rows that are added up at a time */
#define MPC_GROUP_WORDS 8           /* words of each plane in a group */
#define MPC_GROUP (64 * MPC_GROUP_WORDS) /* values in a group */

/* No array overlaps an output. Everything is constant time in all words. */
struct mpc {
    /* out[r] += sum over t < n of a[r stride + t] b[t], for r < rows <= MPC_ROWS. */
    void (*dots)(uint64_t *out, size_t rows, const uint64_t *a, size_t stride, const uint64_t *b, size_t n);

    /* out[r out_stride + c] += sum over t < n of a[r stride + t] panel[4 t + c], for r < rows <= MPC_ROWS and c < MPC_PANEL. */
    void (*tile)(uint64_t *out, size_t out_stride, size_t rows, const uint64_t *a, size_t stride, const uint64_t *panel, size_t n);

    /* Sums over pairs, in which one product stands for two: see mpc.c. Both subtract what the caller gives as the sums of each factor's own products.
     * pair_dots: out[r] += sum over t < half of (a[r stride + t] + b[half + t]) (a[r stride + half + t] + b[t]) - own[r] - other; half % 4 == 0.
     * pair_tile: out[r out_stride + c] += sum over even t < n of (a[r stride + t] + panel[4 (t + 1) + c]) (a[r stride + t + 1] + panel[4 t + c])
     *            - own[r] - others[c]; n % 2 == 0. For r < rows <= MPC_ROWS and c < MPC_PANEL. */
    void (*pair_dots)(uint64_t *out, size_t rows, const uint64_t *a, size_t stride, const uint64_t *b, size_t half, const uint64_t *own, uint64_t other);
    void (*pair_tile)(uint64_t *out, size_t out_stride, size_t rows, const uint64_t *a, size_t stride, const uint64_t *panel, size_t n,
                      const uint64_t *own, const uint64_t *others);

    /* out = or += x1 (y1 + y2) + x2 y1, and a b + c d, word by word; the other two with XOR and AND for + and times. */
    void (*rep3_product)(uint64_t *out, const uint64_t *x1, const uint64_t *x2, const uint64_t *y1, const uint64_t *y2, size_t n, int accumulate);
    void (*cross_product)(uint64_t *out, const uint64_t *a, const uint64_t *b, const uint64_t *c, const uint64_t *d, size_t n, int accumulate);
    void (*rep3_and)(uint64_t *out, const uint64_t *x1, const uint64_t *x2, const uint64_t *y1, const uint64_t *y2, size_t n, int accumulate);
    void (*cross_and)(uint64_t *out, const uint64_t *a, const uint64_t *b, const uint64_t *c, const uint64_t *d, size_t n, int accumulate);

    /* out[c] += sum over q < MPC_WEIGHTS of weights[q] b[q stride + c], for c < n. */
    void (*weigh)(uint64_t *out, const uint64_t *weights, const uint64_t *b, size_t stride, size_t n);

    /* out = p x + q y, word by word; where q is 0, y is not read. out may be x or y. */
    void (*combine)(uint64_t *out, const uint64_t *x, uint64_t p, const uint64_t *y, uint64_t q, size_t n);

    /* out[i] = XOR over k < terms of x[left[k] stride + i] & y[right[k] stride + i], for i < n. */
    void (*ands)(uint64_t *out, const uint32_t *left, const uint32_t *right, size_t terms, const uint64_t *x, const uint64_t *y, size_t stride, size_t n);

    /* For whole groups of values: bit i of planes[b stride + w] = bit b of values[64 w + i], for b < bits <= 64; and back, bits from `bits` on zero. */
    void (*to_planes)(uint64_t *planes, size_t stride, unsigned bits, const uint64_t *values, size_t groups);
    void (*from_planes)(uint64_t *values, size_t groups, const uint64_t *planes, size_t stride, unsigned bits);
};

extern const struct mpc pc_mpc_portable;
#if PC_X86
extern const struct mpc pc_mpc_avx2;
#endif

const struct mpc *pc_mpc_at(int level);

#endif
