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

typedef uint64_t FE(v1) __attribute__((may_alias));
#define EXTEND(name) FE(extend_##name)
#define EXTEND_TARGET
#define EXTEND_VECTOR FE(v1)
#define EXTEND_UNALIGNED FE(v1)
#define EXTEND_LANES 1
#define EXTEND_FOLD(x) ((x) % FE_P)
#define EXTEND_NEGATE(x) (FE_P - (x))
#define EXTEND_FINISH(x) ((x) % FE_P)
#include "field_extend.h"

static void FE(extend)(uint64_t *further, size_t below, size_t above, const uint64_t *in, size_t terms, size_t stride, size_t width,
                       uint64_t *scratch)
{
    CHECK(FE(extend_columns)(further, below, above, in, terms, stride, width, scratch) == width);
}
static const struct field FE(field) = {FE_SCALAR, FE_VECTOR, .extend = FE(extend)};
#undef FE
#undef FE_P
#undef FE_BITS
#undef FE_TERMS
