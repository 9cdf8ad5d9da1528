/* The field of 2^61 - 1, portable level. The arithmetic and its bounds are in field_m61.h. */
#include "field_m61.h"

#define FE(name) m61_##name
#define FE_P M61_P
#define FE_BITS 61
#define FE_TERMS M61_TERMS
#include "field_template.h"

typedef uint64_t v1 __attribute__((may_alias));
#define EXTEND(name) extend1_##name
#define EXTEND_TARGET
#define EXTEND_VECTOR v1
#define EXTEND_UNALIGNED v1
#define EXTEND_LANES 1
#define EXTEND_FOLD M61_FOLD
#define EXTEND_NEGATE M61_NEGATE
#define EXTEND_FINISH M61_FINISH
#include "field_extend.h"

typedef uint64_t v2 __attribute__((vector_size(16), may_alias));
typedef v2 v2_unaligned __attribute__((aligned(8)));
#define EXTEND(name) extend2_##name
#define EXTEND_TARGET
#define EXTEND_VECTOR v2
#define EXTEND_UNALIGNED v2_unaligned
#define EXTEND_LANES 2
#define EXTEND_FOLD M61_FOLD
#define EXTEND_NEGATE M61_NEGATE
#define EXTEND_FINISH M61_FINISH
#include "field_extend.h"

static void m61_extend(uint64_t *out, size_t below, size_t above, const uint64_t *in, size_t terms, size_t stride, size_t width,
                       uint64_t *scratch)
{
    const size_t done = extend2_columns(out, below, above, in, terms, stride, width, scratch);
    (void)extend1_columns(out + done, below, above, in + done, terms, stride, width - done, scratch);
}

const struct field pc_m61_portable = {FE_SCALAR, FE_VECTOR, .extend = m61_extend};
