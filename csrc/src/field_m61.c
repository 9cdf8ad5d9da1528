/* The field of 2^61 - 1, portable level. The arithmetic and its bounds are in field_m61.h. */
#include "field_m61.h"

#define FE(name) m61_##name
#define FE_P M61_P
#define FE_BITS 61
#define FE_TERMS M61_TERMS
#include "field_template.h"

const struct field pc_m61_portable = {FE_SCALAR, FE_VECTOR};
