/* The kernels of multilinear.c: for each order of a group, and a dispatch level. */
#ifndef PC_MULTILINEAR_H
#define PC_MULTILINEAR_H

#include "wide.h"

struct multilinear {
    const mont *order;
    void (*fold)(mt *tables, size_t count, size_t stride, size_t half, mt s);
    void (*eq_cut)(mt *table, const uint8_t *point, unsigned n, size_t cut, mt below, mt above, mt *scratch);
    void (*combine)(mt *table, const uint8_t *coefficients, size_t count, const int64_t *x, size_t d, size_t size, int added);
    mt (*dot)(const int64_t *x, size_t d, size_t first, size_t last, unsigned n, const uint8_t *point, mt *scratch);
    void (*product_round)(mt out[2], const mt *a, const mt *g, size_t half);
    void (*fraction_layer)(mt *out, const int64_t *x, size_t d, unsigned n, unsigned layer, mt shift);
    void (*fraction_up)(mt *out, const mt *in, unsigned layer);
    void (*fraction_mix)(mt *t, size_t stride, size_t size, mt lambda);
    void (*fraction_round)(mt out[2], const mt *t, size_t stride, unsigned b, const uint8_t *point, mt *scratch);
    void (*leaf_round)(mt out[2], const mt *t, size_t stride, unsigned b, mt lambda, const uint8_t *point, mt *scratch);
    void (*first_round)(mt out[2], const int64_t *x, size_t d, unsigned n, unsigned k, mt shift, mt lambda, const uint8_t *point, mt *scratch);
    void (*first_fold)(mt *t, const int64_t *x, size_t d, unsigned n, unsigned k, mt shift, mt lambda, mt s);
    int (*reciprocals)(mt *table, size_t count, size_t size, mt alpha);
    int (*reciprocal_sum)(mt *out, size_t count, unsigned n, mt alpha, const uint8_t *point, mt *scratch);
};

extern const struct multilinear pc_multilinear_ristretto255, pc_multilinear_bn254;
#if PC_X86
extern const struct multilinear pc_multilinear_ristretto255_ifma; /* the same with twins for AVX-512 IFMA */
extern const struct multilinear pc_multilinear_ristretto255_fma;  /* for AVX2 and FMA */
#endif

/* The kernels modulo the order of the group with this public id, at a dispatch level, or NULL. */
const struct multilinear *pc_multilinear_at(int group, int level);

#endif
