/* The kernels of multilinear.c: those of the template for each order, and twins for an instruction set. */
#include "multilinear.h"
#include "orders.h"

/* The functions of the template. */
#define TABLE \
    { \
        .order = FIELD, \
        .fold = ML(fold), \
        .eq_cut = ML(eq_cut), \
        .combine = ML(combine), \
        .dot = ML(dot), \
        .product_round = ML(product_round), \
        .fraction_layer = ML(fraction_layer), \
        .fraction_up = ML(fraction_up), \
        .fraction_mix = ML(fraction_mix), \
        .fraction_round = ML(fraction_round), \
        .leaf_round = ML(leaf_round), \
        .first_round = ML(first_round), \
        .first_fold = ML(first_fold), \
        .reciprocals = ML(reciprocals), \
        .reciprocal_sum = ML(reciprocal_sum), \
    }

#define ML(name) bn_##name
#define FIELD (&BN_ORDER)
#include "multilinear_template.h"
const struct multilinear pc_multilinear_bn254 = TABLE;
#undef ML
#undef FIELD

#define ML(name) ed_##name
#define FIELD (&ED_ORDER)
#include "multilinear_template.h"
const struct multilinear pc_multilinear_ristretto255 = TABLE;
#if PC_X86
#include "multilinear_ifma.h"
const struct multilinear pc_multilinear_ristretto255_ifma = MULTILINEAR_IFMA;
#ifndef PRIVCOMP_EMULATE_AVX512 /* which defines vectors of 256 bits too */
#include "multilinear_fma.h"
const struct multilinear pc_multilinear_ristretto255_fma = MULTILINEAR_FMA;
#endif
#endif
#undef ML
#undef FIELD
