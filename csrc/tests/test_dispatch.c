/* The self-check of dispatch.c: where a kernel, a field function, a sum of multiples, the encoding or a product of shares computes something else, a lower level is chosen. */
#include "check.h"
#include "encode.h"
#include "field.h"
#include "group.h"
#include "mpc.h"

#if PC_X86
static enum { NOTHING, WIDE_AES, CHACHA, FIELD, GROUP, ENCODING, PRODUCTS } broken;

static pc_kernel_fn wide_aes_256, wide_aes_512, chacha;
static int field_at(struct field *f, int field, int level);
static const struct encode *encode_at(int level);
static const struct group *group_at(int group, int level);
static const struct mpc *mpc_at(int level);

/* A second copy of dispatch.c under other names, which runs the parts below. */
#define pc_cpu_features copy_cpu_features
#define privcomp_level_max copy_level_max
#define privcomp_level_get copy_level_get
#define privcomp_level_set copy_level_set
#define pc_level_table copy_level_table
#define pc_aes_vaes wide_aes_256
#define pc_aes_avx512 wide_aes_512
#define pc_chacha_avx2 chacha
#define pc_field_at field_at
#define pc_encode_at encode_at
#define pc_group_at group_at
#define pc_mpc_at mpc_at
#include "../src/dispatch.c"
#undef privcomp_level_max
#undef pc_aes_vaes
#undef pc_aes_avx512
#undef pc_chacha_avx2
#undef pc_field_at
#undef pc_encode_at
#undef pc_group_at
#undef pc_mpc_at

static void wide_aes_256(enum pc_op op, uint8_t *dst, size_t chunks, const pc_stream *s, uint64_t hi, uint64_t lo)
{
    pc_aes_vaes(op, dst, chunks, s, hi, lo);
    if (broken == WIDE_AES && op == PC_SUB64) dst[255] ^= 1;
}

static void wide_aes_512(enum pc_op op, uint8_t *dst, size_t chunks, const pc_stream *s, uint64_t hi, uint64_t lo)
{
    pc_aes_avx512(op, dst, chunks, s, hi, lo);
    if (broken == WIDE_AES && op == PC_SUB64) dst[511] ^= 1;
}

static void chacha(enum pc_op op, uint8_t *dst, size_t chunks, const pc_stream *s, uint64_t hi, uint64_t lo)
{
    if (broken == CHACHA) lo &= UINT32_MAX; /* no carry out of the low half of the counter */
    pc_chacha_avx2(op, dst, chunks, s, hi, lo);
}

static void butterfly(uint64_t *sum, uint64_t *diff, const uint64_t *a, const uint64_t *b, size_t n)
{
    pc_goldilocks_portable.butterfly(sum, diff, a, b, n);
    if (broken == FIELD) diff[n - 1] ^= 1;
}

static int field_at(struct field *f, int field, int level)
{
    const int status = pc_field_at(f, field, level);
    if (field == PRIVCOMP_FIELD_GOLDILOCKS && level > PRIVCOMP_LEVEL_PORTABLE) f->butterfly = butterfly;
    return status;
}

static void msm(uint8_t *out, const uint8_t *points, const uint8_t *scalars, size_t n)
{
    pc_group_at(PRIVCOMP_RISTRETTO255, PRIVCOMP_LEVEL_PORTABLE)->msm(out, points, scalars, n);
    if (broken == GROUP) out[0] ^= 1;
}

static const struct group *group_at(int group, int level)
{
    static struct group copy;
    if (level == PRIVCOMP_LEVEL_PORTABLE) return pc_group_at(group, level);
    copy = *pc_group_at(group, level);
    copy.msm = msm;
    return &copy;
}

static encode_squares rounding(int64_t *q, const double *y, size_t n, double factor, uint64_t beta)
{
    encode_squares parts = pc_encode_portable.round(q, y, n, factor, beta);
    if (broken == ENCODING) parts.middle ^= 1;
    return parts;
}

static const struct encode *encode_at(int level)
{
    static struct encode copy;
    if (level == PRIVCOMP_LEVEL_PORTABLE) return &pc_encode_portable;
    copy = *pc_encode_at(level);
    copy.round = rounding;
    return &copy;
}

static void to_planes(uint64_t *planes, size_t stride, unsigned bits, const uint64_t *values, size_t groups)
{
    pc_mpc_portable.to_planes(planes, stride, bits, values, groups);
    if (broken == PRODUCTS) planes[stride] ^= 1;
}

static const struct mpc *mpc_at(int level)
{
    static struct mpc copy;
    if (level == PRIVCOMP_LEVEL_PORTABLE) return &pc_mpc_portable;
    copy = *pc_mpc_at(level);
    copy.to_planes = to_planes;
    return &copy;
}

int main(void)
{
    const int max = privcomp_level_max();
    CHECK(copy_level_max() == max && copy_level_get() == max);
    for (int level = PRIVCOMP_LEVEL_AESNI; level <= max; level++) CHECK(agrees_with_portable(level));
    broken = WIDE_AES;
    CHECK(find_level() == (max < PRIVCOMP_LEVEL_AESNI ? max : PRIVCOMP_LEVEL_AESNI));
    broken = CHACHA;
    CHECK(find_level() == PRIVCOMP_LEVEL_PORTABLE);
    broken = FIELD;
    CHECK(find_level() == PRIVCOMP_LEVEL_PORTABLE);
    broken = GROUP;
    CHECK(find_level() == PRIVCOMP_LEVEL_PORTABLE);
    broken = ENCODING;
    CHECK(find_level() == PRIVCOMP_LEVEL_PORTABLE);
    broken = PRODUCTS;
    CHECK(find_level() == PRIVCOMP_LEVEL_PORTABLE);
    CHECK(copy_level_max() == max); /* asked once */
    CHECK(copy_level_set(max) == PRIVCOMP_OK && copy_level_set(max + 1) == PRIVCOMP_E_ARGUMENT);
    printf("dispatch: ok, levels 0..%d\n", max);
    return 0;
}
#else
int main(void)
{
    printf("dispatch: ok, portable only\n");
    return 0;
}
#endif
