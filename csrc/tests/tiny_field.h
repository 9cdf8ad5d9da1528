/* The arithmetic of a tiny prime, FE_P with FE_BITS bits, and the vector functions over it. Included once per prime. */
static uint64_t FE(add)(uint64_t a, uint64_t b) { return subtract_once(a + b, FE_P); }
static uint64_t FE(sub)(uint64_t a, uint64_t b) { return subtract_once(a + FE_P - b, FE_P); }
static uint64_t FE(mul)(uint64_t a, uint64_t b) { return a * b % FE_P; }

typedef uint64_t FE(acc);
static void FE(acc_add)(uint64_t *s, uint64_t a, uint64_t b) { *s += a * b; }
static void FE(acc_fold)(uint64_t *s) { *s %= FE_P; }
static uint64_t FE(acc_reduce)(const uint64_t *s) { return *s % FE_P; }

#define FE_TERMS 3 /* of a lazy sum: few, so that folds happen */
#include "field_template.h"
static const struct field FE(field) = {FE_SCALAR, FE_VECTOR};
#undef FE
#undef FE_P
#undef FE_BITS
#undef FE_TERMS
