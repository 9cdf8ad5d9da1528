/* Additive ring-LWE: tables, keys and the kernels that a dispatch level has of its own (rlwe_portable.c, rlwe_fma.c, rlwe_ifma.c).
 *
 * R_q = Z_q[x] / (x^N + 1), q the product of primes q_r < 2^50, each = 1 mod 2N. Residues are canonical words, 0 <= x < q_r, wherever they are stored
 * between two kernels; inside of one each level has its own lazy ranges.
 */
#ifndef PC_RLWE_H
#define PC_RLWE_H

#include "core.h"

#define RLWE_PRIMES PRIVCOMP_RLWE_PRIMES
#define RLWE_DIGITS PRIVCOMP_RLWE_DIGITS
#define RLWE_PRIME_MIN ((uint64_t)1 << 8) /* more than noise, so that q + e > 0 */
#define RLWE_PRIME_MAX ((uint64_t)1 << 50)
#define RLWE_RADIX_MAX ((uint64_t)1 << 48)
#define RLWE_DELTA_MAX ((uint64_t)1 << 62)
#define RLWE_PART_MAX ((uint64_t)1 << 52)

/* A factor w < q and floor(w 2^64 / q), of which the high 52 bits are floor(w 2^52 / q): for Shoup's products. */
typedef struct {
    uint64_t w, quotient;
} rlwe_factor;

/* Arrays of factors, apart: canonical words, their quotients, and the words of doubles -q/2 < w <= q/2. Powers have three more: the words of doubles
 * w/q, rounded to nearest; and for eight lanes words, and quotients of 52 bits, in the order of rlwe_place8. Doubles are in the order of rlwe_place4 for
 * powers, and in that of rlwe_turn4 for keys. */
enum { RLWE_WORD, RLWE_QUOTIENT, RLWE_DOUBLE, RLWE_FORMS, RLWE_RATIO = RLWE_FORMS, RLWE_WORD8, RLWE_QUOTIENT8, RLWE_POWER_FORMS };

/* Where the factor number i of n stands for four lanes. At distances 1 and 2, blocks of 16 words are transposed, and lane l of the m-th butterfly of
 * vectors needs the factors 2 l + m of the 8 of the block, and l of the 4. */
PC_INLINE size_t rlwe_place4(size_t i, size_t n) { return n < 16 || i < n / 2 ? i : i - i % 8 + i % 2 * 4 + i % 8 / 2; }
/* Where word i of n stands in such a block. */
PC_INLINE size_t rlwe_turn4(size_t i, size_t n) { return n < 16 ? i : i - i % 16 + i % 4 * 4 + i % 16 / 4; }

/* Where the factor number i of n stands for eight lanes. At distances 1 and 2, blocks of 64 words are transposed, and lane l of the m-th butterfly of vectors
 * needs the factors 4 l + m of the 32 of the block, and 2 l + m of the 16. */
PC_INLINE size_t rlwe_place8(size_t i, size_t n)
{
    const size_t columns = i >= n / 2 ? 4 : i >= n / 4 ? 2 : 1, block = 8 * columns, at = i % block;
    return n < 64 ? i : i - at + at % columns * 8 + at / columns;
}

typedef struct {
    uint64_t q, bits;                /* 2^(bits-1) < q < 2^bits */
    uint64_t q_double, q_inverse;    /* the words of the doubles q and 1/q, rounded to nearest */
    rlwe_factor scale;               /* 1/N */
    rlwe_factor part[RLWE_DIGITS];   /* Delta M^(group l) */
    rlwe_factor garner[RLWE_PRIMES]; /* 1/q_j for j before this prime */
} rlwe_prime;

/* What tables[] begins with. Words only, so that callers hold it as an array of them. Behind it, for each prime: the powers
 * psi^brv(i), i < N, in RLWE_POWER_FORMS arrays of N words, and then those of 1/psi. */
typedef struct {
    uint64_t degree, log_degree, primes, digits, radix, delta, bits; /* bits: of all primes together */
    uint64_t group, parts; /* `group` digits at a time are one number below M^group <= 2^52, and `parts` of those are a coefficient */
    rlwe_prime prime[RLWE_PRIMES];
} rlwe_tables;

#define RLWE_TABLES_WORDS ((sizeof(rlwe_tables) / 8 + 7) / 8 * 8) /* the arrays behind it are as aligned as it is, up to a line of the caches */

PC_INLINE const rlwe_tables *rlwe_of(const uint64_t *tables) { return (const rlwe_tables *)tables; }
PC_INLINE const uint64_t *rlwe_powers(const rlwe_tables *t, size_t prime, int inverse)
{
    return (const uint64_t *)t + RLWE_TABLES_WORDS + (2 * prime + (size_t)inverse) * RLWE_POWER_FORMS * t->degree;
}

/* A key: for each prime RLWE_FORMS arrays of N words, the transform of the coefficients times 1/N. */
PC_INLINE const uint64_t *rlwe_key_at(const rlwe_tables *t, const uint64_t *key, size_t prime) { return key + prime * RLWE_FORMS * t->degree; }

/* What the decoding of lanes finds, added to what stands here: max |E|, the sum of E^2, the largest digit, and whether all was as it should be. */
typedef struct {
    uint64_t most, squares, largest;
    int ok;
} rlwe_found;

/* Where a level decodes in lanes: two primes, four digits, two of them in a part; so M^4 <= q / Delta. These bounds are used there. */
#define RLWE_LANES_PART ((uint64_t)1 << 48)
#define RLWE_LANES_DELTA ((uint64_t)1 << 25)
PC_INLINE int rlwe_in_lanes(const rlwe_tables *t)
{
    return t->primes == 2 && t->digits == 4 && t->group == 2 && t->radix * t->radix <= RLWE_LANES_PART && t->delta <= RLWE_LANES_DELTA
           && (u128)t->radix * t->radix * t->delta < (u128)1 << 62;
}

/* Types of values; words of 64 bits are taken as they stand. */
enum rlwe_type { RLWE_U32, RLWE_I32, RLWE_64 };

struct rlwe {
    /* In place, canonical to canonical. forward: a^[i] = a(psi^(2 brv(i) + 1)). inverse: the way back without the factor 1/N. */
    void (*forward)(uint64_t *a, const rlwe_tables *t, size_t prime);
    void (*inverse)(uint64_t *a, const rlwe_tables *t, size_t prime);
    /* a = N times the inverse of (a^ key^), key in its three forms; the key has 1/N in it. */
    void (*product)(uint64_t *a, const uint64_t *key, const rlwe_tables *t, size_t prime);
    /* a[i] = the low bits of a[i], as many as q has, modulo q; and a[i] = a[i] / N mod q, of canonical words. */
    void (*take)(uint64_t *a, size_t n, const rlwe_prime *p);
    void (*scale)(uint64_t *a, size_t n, const rlwe_prime *p);
    /* a[i] = the low `bits` bits of the little-endian word a[i]; whether all of them are below q. */
    int (*mask)(uint64_t *a, size_t n, uint64_t q, unsigned bits);
    /* With v(j) = values[j] + offset for j < n and 0 behind: parts[l N + i] = sum of M^g v(i k + group l + g) over g < group with group l + g < k, for the
     * coefficients i that have a value. Whether all v(j) are at most `limit` < 2^63, as numbers modulo 2^64; only then do parts mean anything. */
    int (*spread)(uint64_t *parts, const void *values, enum rlwe_type type, size_t n, uint64_t offset, uint64_t limit, const rlwe_tables *t);
    /* x[i] = x[i] + e[i] + sum over l of parts[l stride + i] Delta M^(group l). Arrays may be written up to the next multiple of 8. */
    void (*message)(uint64_t *x, size_t n, const int8_t *e, const uint64_t *parts, size_t stride, const rlwe_tables *t, size_t prime);
    /* product and message of a whole polynomial, with parts that are N apart. */
    void (*cipher)(uint64_t *x, const uint64_t *key, const int8_t *e, const uint64_t *parts, const rlwe_tables *t, size_t prime);
    /* Samples from n blocks of 16 bytes. */
    void (*gaussian)(int8_t *out, const uint8_t *blocks, size_t n);
    /* Residues of n times `bits` bits from bit `bit` of data on, of `length` bytes: whether all are below q; total += them. */
    int (*check)(const uint8_t *data, size_t length, uint64_t bit, size_t n, const rlwe_prime *p);
    void (*add)(uint64_t *total, const uint8_t *data, size_t length, uint64_t bit, size_t n, const rlwe_prime *p);
    /* Writes them: the bits before `bit` of its byte stand in *carry, and those left over afterwards come back there. Returns the next bit. */
    uint64_t (*pack)(uint8_t *out, uint64_t bit, uint64_t *carry, const uint64_t *x, size_t n, unsigned bits);
    /* NULL, or for rings of rlwe_in_lanes: the 4 n values of n coefficients, less `shift`, from x = a S and the sum of the ciphertexts, at x + r N and total + r stride
     * for prime number r. Variable time. Returns how many of the n are done, the first ones; the rest is for decode_polynomial in rlwe.c, its twin. */
    size_t (*decode_var)(uint64_t *out, size_t n, const uint64_t *x, const uint64_t *total, size_t stride, uint64_t shift, const rlwe_tables *t,
                         rlwe_found *found);
};

extern const struct rlwe pc_rlwe_portable;
#if PC_X86
extern const struct rlwe pc_rlwe_fma, pc_rlwe_ifma;
/* What IFMA has nothing better for. */
int pc_rlwe_spread_fma(uint64_t *parts, const void *values, enum rlwe_type type, size_t n, uint64_t offset, uint64_t limit, const rlwe_tables *t);
void pc_rlwe_take_fma(uint64_t *a, size_t n, const rlwe_prime *p);
void pc_rlwe_scale_fma(uint64_t *a, size_t n, const rlwe_prime *p);
int pc_rlwe_mask_fma(uint64_t *a, size_t n, uint64_t q, unsigned bits);
void pc_rlwe_gaussian_fma(int8_t *out, const uint8_t *blocks, size_t n);
int pc_rlwe_check_fma(const uint8_t *data, size_t length, uint64_t bit, size_t n, const rlwe_prime *p);
void pc_rlwe_add_fma(uint64_t *total, const uint8_t *data, size_t length, uint64_t bit, size_t n, const rlwe_prime *p);
uint64_t pc_rlwe_pack_fma(uint8_t *out, uint64_t bit, uint64_t *carry, const uint64_t *x, size_t n, unsigned bits);
size_t pc_rlwe_decode_var_fma(uint64_t *out, size_t n, const uint64_t *x, const uint64_t *total, size_t stride, uint64_t shift, const rlwe_tables *t,
                              rlwe_found *found);
#endif
const struct rlwe *pc_rlwe_at(int level);

/* privcomp_rlwe_key with these kernels. */
void pc_rlwe_key_make(uint64_t *key, const rlwe_tables *t, const int32_t *coefficients, const struct rlwe *k);

/* x w - c q for some c: in [0, 2q) for every x < 2^64. Harvey, "Faster arithmetic for number-theoretic transforms" (2014), algorithm 2: with
 * quotient = (w 2^64 - e) / q, 0 <= e < q, the estimate floor(x quotient / 2^64) is at most x w / q and more than x w / q - x e / (q 2^64) - 1. */
PC_INLINE uint64_t rlwe_lazy(uint64_t x, uint64_t w, uint64_t quotient, uint64_t q)
{
    return x * w - (uint64_t)(((u128)x * quotient) >> 64) * q;
}

/* x, or x - m if that is not negative; x < 2^63. */
PC_INLINE uint64_t rlwe_once(uint64_t x, uint64_t m)
{
    const uint64_t d = x - m;
    return d + (m & mask64(d >> 63));
}

/* Reads the 64 bits at a byte that may lie close to the end of data. */
PC_INLINE uint64_t rlwe_window(const uint8_t *data, size_t length, size_t byte)
{
    if (length >= 8 && byte <= length - 8) return load64_le(data + byte);
    uint8_t window[8] = {0};
    VERIFY(byte < length);
    memcpy(window, data + byte, length - byte);
    return load64_le(window);
}

#endif
