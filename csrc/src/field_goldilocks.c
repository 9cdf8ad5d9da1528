/* The Goldilocks field, portable level. The arithmetic and its bounds are in field_goldilocks.h. */
#include "field_goldilocks.h"

#define FE(name) goldilocks_##name
#define FE_P GOLDILOCKS_P
#define FE_BITS 64
#define FE_TERMS GOLDILOCKS_TERMS
#include "field_template.h"

const struct field pc_goldilocks_portable = {FE_SCALAR, FE_VECTOR};
