/* Vectors modulo 2^32 and 2^64. Plain loops: the compiler's vectors reach memory speed. */
#include "core.h"

void privcomp_ring_axpy_u32(uint32_t *acc, const uint32_t *x, size_t n, uint32_t scale)
{
    for (size_t i = 0; i < n; i++) acc[i] += scale * x[i];
}

void privcomp_ring_axpy_u64(uint64_t *acc, const uint64_t *x, size_t n, uint64_t scale)
{
    for (size_t i = 0; i < n; i++) acc[i] += scale * x[i];
}

/* v is the low bits of a number, sign = 2^(bits-1): (v ^ sign) - sign moves [sign, 2 sign) to [-sign, 0). */
PC_INLINE int64_t sign_extend(uint64_t v, uint64_t sign)
{
    const uint64_t x = ((v & (sign | (sign - 1))) ^ sign) - sign;
    int64_t out;
    memcpy(&out, &x, 8); /* a conversion would be implementation-defined */
    return out;
}

int privcomp_ring_center_u32(int64_t *out, const uint32_t *values, size_t n, unsigned bits)
{
    if (bits < 1 || bits > 32) return PRIVCOMP_E_ARGUMENT;
    const uint64_t sign = (uint64_t)1 << (bits - 1);
    for (size_t i = 0; i < n; i++) out[i] = sign_extend(values[i], sign);
    return PRIVCOMP_OK;
}

int privcomp_ring_center_u64(int64_t *out, const uint64_t *values, size_t n, unsigned bits)
{
    if (bits < 1 || bits > 64) return PRIVCOMP_E_ARGUMENT;
    const uint64_t sign = (uint64_t)1 << (bits - 1);
    for (size_t i = 0; i < n; i++) out[i] = sign_extend(values[i], sign);
    return PRIVCOMP_OK;
}
