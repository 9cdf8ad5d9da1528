/* Sumchecks over multilinear polynomials modulo the order of a group: refusals here, arithmetic in multilinear_kernels.c. */
#include "multilinear.h"

const struct multilinear *pc_multilinear_at(int group, int level)
{
#if PC_X86
    if (group == PRIVCOMP_RISTRETTO255 && level >= PRIVCOMP_LEVEL_AVX512 && pc_cpu_features() & PC_CPU_AVX512IFMA)
        return &pc_multilinear_ristretto255_ifma;
    if (group == PRIVCOMP_RISTRETTO255 && level >= PRIVCOMP_LEVEL_AESNI && pc_cpu_features() & PC_CPU_FMA) return &pc_multilinear_ristretto255_fma;
#else
    (void)level;
#endif
    return group == PRIVCOMP_RISTRETTO255 ? &pc_multilinear_ristretto255 : group == PRIVCOMP_BN254_G1 ? &pc_multilinear_bn254 : NULL;
}

static int canonical(const uint8_t *scalars, size_t n, const mont *f)
{
    uint64_t ok = 1, x[4], t[4];
    for (size_t i = 0; i < n; i++) {
        wide_load(x, scalars + PRIVCOMP_SCALAR_BYTES * i);
        ok &= wide_subtract(t, x, f->m);
    }
    PC_DECLASSIFY(ok);
    return (int)ok;
}

#define REFUSE(condition) \
    do { \
        if (condition) return PRIVCOMP_E_ARGUMENT; \
    } while (0)

#define FIELD_OF(group) \
    const struct multilinear *const m = pc_multilinear_at(group, privcomp_level_get()); \
    REFUSE(m == NULL); \
    const mont *const f = m->order

#define REFUSE_SCALARS(array, n) \
    do { \
        if (!canonical(array, n, f)) return PRIVCOMP_E_CANONICAL; \
    } while (0)

static void store(uint8_t *out, const mt *x, size_t n, const mont *f)
{
    for (size_t i = 0; i < n; i++) mt_to_bytes(out + PRIVCOMP_SCALAR_BYTES * i, x[i], f);
}

int64_t privcomp_multilinear_scratch(unsigned variables)
{
    if (variables > PRIVCOMP_MULTILINEAR_MAX) return -1;
    /* the two halves of eq, and as much again as the lower one twice */
    return (int64_t)(4 * (3 * ((size_t)1 << variables / 2) + ((size_t)1 << (variables - variables / 2))));
}

int privcomp_multilinear_load(uint64_t *table, const uint8_t *scalars, size_t n, int group)
{
    FIELD_OF(group);
    REFUSE_SCALARS(scalars, n);
    mt *const t = (mt *)table;
    for (size_t i = 0; i < n; i++) t[i] = mt_from_bytes(scalars + PRIVCOMP_SCALAR_BYTES * i, f);
    return PRIVCOMP_OK;
}

int privcomp_multilinear_store(uint8_t *scalars, const uint64_t *table, size_t n, int group)
{
    FIELD_OF(group);
    store(scalars, (const mt *)table, n, f);
    return PRIVCOMP_OK;
}

int privcomp_multilinear_scale(uint64_t *table, size_t n, const uint8_t *factor, int group)
{
    FIELD_OF(group);
    REFUSE_SCALARS(factor, 1);
    mt *const t = (mt *)table, s = mt_from_bytes(factor, f);
    for (size_t i = 0; i < n; i++) t[i] = mt_mul(s, t[i], f);
    return PRIVCOMP_OK;
}

int privcomp_multilinear_fold(uint64_t *tables, size_t count, size_t stride, size_t half, const uint8_t *s, int group)
{
    FIELD_OF(group);
    REFUSE(stride < 2 * half);
    REFUSE_SCALARS(s, 1);
    m->fold((mt *)tables, count, stride, half, mt_from_bytes(s, f));
    return PRIVCOMP_OK;
}

int privcomp_multilinear_eq(uint64_t *table, const uint8_t *point, unsigned variables, uint64_t cut, const uint8_t *below, const uint8_t *above,
                            int group, uint64_t *scratch)
{
    FIELD_OF(group);
    REFUSE(variables > PRIVCOMP_MULTILINEAR_MAX);
    REFUSE_SCALARS(point, variables);
    REFUSE_SCALARS(below, 1);
    REFUSE_SCALARS(above, 1);
    m->eq_cut((mt *)table, point, variables, cut, mt_from_bytes(below, f), mt_from_bytes(above, f), (mt *)scratch);
    return PRIVCOMP_OK;
}

int privcomp_multilinear_combine(uint64_t *table, const uint8_t *coefficients, size_t count, const int64_t *x, size_t d, size_t size, int added,
                                 int group)
{
    FIELD_OF(group);
    REFUSE(count > PRIVCOMP_MULTILINEAR_PIECES);
    REFUSE_SCALARS(coefficients, count);
    m->combine((mt *)table, coefficients, count, x, d, size, added);
    return PRIVCOMP_OK;
}

int privcomp_multilinear_dot(uint8_t *out, const int64_t *x, size_t d, uint64_t first, uint64_t last, const uint8_t *point, unsigned variables,
                             int group, uint64_t *scratch)
{
    FIELD_OF(group);
    REFUSE(variables > PRIVCOMP_MULTILINEAR_MAX || last > (uint64_t)1 << variables);
    REFUSE_SCALARS(point, variables);
    const mt sum = m->dot(x, d, first, last, variables, point, (mt *)scratch);
    wide_store(out, sum.w);
    return PRIVCOMP_OK;
}

int privcomp_multilinear_dot_table(uint8_t *out, const uint64_t *table, const int64_t *x, size_t n, int group)
{
    FIELD_OF(group);
    const mt *const t = (const mt *)table;
    mt sum = mt_zero;
    for (size_t i = 0; i < n; i++) {
        const uint64_t v = (uint64_t)x[i], sign = mask64(v >> 63);
        const mt size = {{(v ^ sign) - sign, 0, 0, 0}}, term = mt_mul(t[i], size, f); /* plain: the factor 2^256 of t is gone */
        sum = mt_add(sum, mt_select(term, mt_neg(term, f), sign), f);
    }
    wide_store(out, sum.w);
    return PRIVCOMP_OK;
}

/* |x y| < 2^31 2^63 each, so that 2^32 of them stay below 2^127. */
int privcomp_multilinear_dot_i64(uint8_t *out, const int64_t *x, const int64_t *y, size_t n, int group)
{
    FIELD_OF(group);
    u128 sum = 0;
    for (size_t i = 0; i < n; i++) sum += (u128)((__int128)x[i] * y[i]);
    const uint64_t sign = mask64((uint64_t)(sum >> 127));
    const u128 size = (sum ^ ((u128)sign << 64 | sign)) + (sign & 1);
    const mt plain = {{(uint64_t)size, (uint64_t)(size >> 64), 0, 0}}, value = mt_select(plain, mt_neg(plain, f), sign);
    wide_store(out, value.w);
    return PRIVCOMP_OK;
}

int privcomp_sumcheck_product(uint8_t *out, const uint64_t *a, const uint64_t *g, size_t half, int group)
{
    FIELD_OF(group);
    mt h[2];
    REFUSE(half > UINT32_MAX);
    m->product_round(h, (const mt *)a, (const mt *)g, half);
    store(out, h, 2, f);
    return PRIVCOMP_OK;
}

/* ---- fractions ---- */

int privcomp_fraction_layer(uint64_t *out, const int64_t *x, size_t d, unsigned variables, unsigned layer, const uint8_t *shift, int group)
{
    FIELD_OF(group);
    REFUSE(variables > PRIVCOMP_MULTILINEAR_MAX || layer >= variables || variables - layer > 3);
    REFUSE_SCALARS(shift, 1);
    m->fraction_layer((mt *)out, x, d, variables, layer, mt_from_bytes(shift, f));
    return PRIVCOMP_OK;
}

int privcomp_fraction_up(uint64_t *out, const uint64_t *in, unsigned layer, int group)
{
    const struct multilinear *const m = pc_multilinear_at(group, privcomp_level_get());
    REFUSE(m == NULL || layer >= PRIVCOMP_MULTILINEAR_MAX);
    m->fraction_up((mt *)out, (const mt *)in, layer);
    return PRIVCOMP_OK;
}

int privcomp_fraction_mix(uint64_t *tables, size_t size, const uint8_t *lambda, int group)
{
    FIELD_OF(group);
    REFUSE_SCALARS(lambda, 1);
    m->fraction_mix((mt *)tables, size, size, mt_from_bytes(lambda, f));
    return PRIVCOMP_OK;
}

int privcomp_fraction_round(uint8_t *out, const uint64_t *tables, size_t stride, unsigned b, const uint8_t *point, const uint8_t *lambda, int group,
                            uint64_t *scratch)
{
    FIELD_OF(group);
    mt h[2];
    REFUSE(b >= PRIVCOMP_MULTILINEAR_MAX || stride < (size_t)2 << b);
    REFUSE_SCALARS(point, b);
    if (lambda == NULL) {
        m->fraction_round(h, (const mt *)tables, stride, b, point, (mt *)scratch);
    } else {
        REFUSE_SCALARS(lambda, 1);
        m->leaf_round(h, (const mt *)tables, stride, b, mt_from_bytes(lambda, f), point, (mt *)scratch);
    }
    store(out, h, 2, f);
    return PRIVCOMP_OK;
}

#define REFUSE_FIRST \
    REFUSE(variables > PRIVCOMP_MULTILINEAR_MAX || layer < 1 || layer >= variables || variables - layer > 2); \
    REFUSE_SCALARS(shift, 1); \
    REFUSE_SCALARS(lambda, 1)

int privcomp_fraction_first_round(uint8_t *out, const int64_t *x, size_t d, unsigned variables, unsigned layer, const uint8_t *shift,
                                  const uint8_t *lambda, const uint8_t *point, int group, uint64_t *scratch)
{
    FIELD_OF(group);
    REFUSE_FIRST;
    REFUSE_SCALARS(point, layer - 1);
    mt h[2];
    m->first_round(h, x, d, variables, layer, mt_from_bytes(shift, f), mt_from_bytes(lambda, f), point, (mt *)scratch);
    store(out, h, 2, f);
    return PRIVCOMP_OK;
}

int privcomp_fraction_first_fold(uint64_t *tables, const int64_t *x, size_t d, unsigned variables, unsigned layer, const uint8_t *shift,
                                 const uint8_t *lambda, const uint8_t *s, int group)
{
    FIELD_OF(group);
    REFUSE_FIRST;
    REFUSE_SCALARS(s, 1);
    m->first_fold((mt *)tables, x, d, variables, layer, mt_from_bytes(shift, f), mt_from_bytes(lambda, f), mt_from_bytes(s, f));
    return PRIVCOMP_OK;
}

/* ---- the table side ---- */

int privcomp_reciprocals(uint64_t *table, size_t count, size_t size, const uint8_t *alpha, int group)
{
    FIELD_OF(group);
    REFUSE(count > size);
    REFUSE_SCALARS(alpha, 1);
    return m->reciprocals((mt *)table, count, size, mt_from_bytes(alpha, f)) ? PRIVCOMP_OK : PRIVCOMP_E_ZERO;
}

int privcomp_reciprocal_sum(uint8_t *out, uint64_t count, unsigned variables, const uint8_t *alpha, const uint8_t *point, int group, uint64_t *scratch)
{
    FIELD_OF(group);
    mt sum;
    REFUSE(variables > PRIVCOMP_MULTILINEAR_MAX || count > (uint64_t)1 << variables);
    REFUSE_SCALARS(alpha, 1);
    REFUSE_SCALARS(point, variables);
    if (!m->reciprocal_sum(&sum, count, variables, mt_from_bytes(alpha, f), point, (mt *)scratch)) return PRIVCOMP_E_ZERO;
    store(out, &sum, 1, f);
    return PRIVCOMP_OK;
}
