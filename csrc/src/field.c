/* Vectors over a word-size field: the public functions, and which twin runs. */
#include "field.h"

int pc_field_at(struct field *f, int field, int level)
{
    if (field != PRIVCOMP_FIELD_M61 && field != PRIVCOMP_FIELD_GOLDILOCKS) return PRIVCOMP_E_ARGUMENT;
    const int m61 = field == PRIVCOMP_FIELD_M61;
    *f = m61 ? pc_m61_portable : pc_goldilocks_portable;
#if PC_X86
    if (level >= PRIVCOMP_LEVEL_AVX512 && pc_cpu_features() & PC_CPU_AVX512IFMA)
        m61 ? pc_m61_use_ifma(f) : pc_goldilocks_use_ifma(f);
    else if (level >= PRIVCOMP_LEVEL_AESNI && m61)
        pc_m61_use_avx2(f);
#else
    (void)level;
#endif
    return PRIVCOMP_OK;
}

int pc_field(struct field *f, int field) { return pc_field_at(f, field, privcomp_level_get()); }

/* a^exponent; the exponent is public. */
static uint64_t power(const struct field *f, uint64_t a, uint64_t exponent)
{
    uint64_t r = 1;
    for (int bit = 63; bit >= 0; bit--) {
        r = f->mul(r, r);
        if (exponent >> bit & 1) r = f->mul(r, a);
    }
    return r;
}

void pc_field_invert(const struct field *f, uint64_t *out, const uint64_t *a, size_t n)
{
    uint64_t product = 1;
    for (size_t i = 0; i < n; i++) {
        out[i] = product; /* a[0] ... a[i-1] */
        product = f->mul(product, a[i]);
    }
    uint64_t inverse = power(f, product, f->p - 2); /* Fermat */
    for (size_t i = n; i-- > 0;) {
        out[i] = f->mul(out[i], inverse);
        inverse = f->mul(inverse, a[i]); /* 1 / (a[0] ... a[i-1]) */
    }
}

#define SELECT(f, field) \
    struct field f; \
    if (pc_field(&f, field) != PRIVCOMP_OK) return PRIVCOMP_E_ARGUMENT
#define CANONICAL(a, n) \
    if (!f.canonical(a, n)) return PRIVCOMP_E_CANONICAL

uint64_t privcomp_field_modulus(int field)
{
    struct field f;
    return pc_field(&f, field) == PRIVCOMP_OK ? f.p : 0;
}

int privcomp_field_add(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n, int field)
{
    SELECT(f, field);
    CANONICAL(a, n);
    CANONICAL(b, n);
    f.add_n(out, a, b, n);
    return PRIVCOMP_OK;
}

int privcomp_field_sub(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n, int field)
{
    SELECT(f, field);
    CANONICAL(a, n);
    CANONICAL(b, n);
    f.sub_n(out, a, b, n);
    return PRIVCOMP_OK;
}

int privcomp_field_neg(uint64_t *out, const uint64_t *a, size_t n, int field)
{
    SELECT(f, field);
    CANONICAL(a, n);
    for (size_t i = 0; i < n; i++) out[i] = f.sub(0, a[i]);
    return PRIVCOMP_OK;
}

int privcomp_field_mul(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n, int field)
{
    SELECT(f, field);
    CANONICAL(a, n);
    CANONICAL(b, n);
    f.mul_n(out, a, b, n);
    return PRIVCOMP_OK;
}

int privcomp_field_axpy(uint64_t *out, const uint64_t *x, const uint64_t *y, size_t n, uint64_t alpha, int field)
{
    SELECT(f, field);
    CANONICAL(&alpha, 1);
    CANONICAL(x, n);
    CANONICAL(y, n);
    f.axpy_n(out, alpha, x, y, n);
    return PRIVCOMP_OK;
}

int privcomp_field_dot(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n, int field)
{
    SELECT(f, field);
    CANONICAL(a, n);
    CANONICAL(b, n);
    *out = f.dot(a, b, n);
    return PRIVCOMP_OK;
}

int privcomp_field_inv(uint64_t *out, const uint64_t *a, size_t n, int field)
{
    uint64_t zero = 0;
    SELECT(f, field);
    CANONICAL(a, n);
    for (size_t i = 0; i < n; i++) zero |= (uint64_t)(a[i] == 0);
    PC_DECLASSIFY(zero);
    if (zero) return PRIVCOMP_E_ZERO;
    pc_field_invert(&f, out, a, n);
    return PRIVCOMP_OK;
}
