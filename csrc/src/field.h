/* Word-size prime fields: what the portable driver code needs to know of one field at one dispatch level.
 *
 * An element is a uint64_t. Everything that crosses a function of `struct field` is canonical: 0 <= a < p. Values between
 * reductions ("lazy") stay inside one function; their bounds are derived there and checked in a PRIVCOMP_VERIFY build.
 */
#ifndef PRIVCOMP_SRC_FIELD_H
#define PRIVCOMP_SRC_FIELD_H

#include "core.h"

#define FIELD_ROWS 4        /* rows of one dot_rows call */
#define FIELD_PREPARED 16   /* words per term that dot_rows needs to lay out its weights; check: 4 * 4 */

struct field {
    uint64_t p;    /* odd prime, 2^(bits-1) < p < 2^bits */
    unsigned bits; /* 3 .. 64 */

    uint64_t (*add)(uint64_t a, uint64_t b);
    uint64_t (*sub)(uint64_t a, uint64_t b);
    uint64_t (*mul)(uint64_t a, uint64_t b);

    /* Element by element; out may be a or b. */
    void (*add_n)(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n);
    void (*sub_n)(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n);
    void (*mul_n)(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n);
    void (*axpy_n)(uint64_t *out, uint64_t alpha, const uint64_t *x, const uint64_t *y, size_t n);
    uint64_t (*dot)(const uint64_t *a, const uint64_t *b, size_t n);

    /* sum[i] = a[i] + b[i], diff[i] = a[i] - b[i]. sum or diff may be a or b, and sum may be diff where every b[i] is 0. */
    void (*butterfly)(uint64_t *sum, uint64_t *diff, const uint64_t *a, const uint64_t *b, size_t n);

    /* Whether all of a[0..n) are < p. constant time; the answer is public. */
    int (*canonical)(const uint64_t *a, size_t n);

    /* v[i] = the top `bits` bits of the little-endian word v[i]; returns whether some result is >= p. */
    int (*sample)(uint64_t *v, size_t n);

    /* out[r][i] = sum over k < terms of weights[r * terms + k] * in[k * stride + i], for r < rows <= FIELD_ROWS, i < width.
     * prepared: FIELD_PREPARED * terms words of scratch. No overlap. constant time in `in`; the weights are public. */
    void (*dot_rows)(uint64_t *const *out, size_t rows, const uint64_t *weights, size_t terms, const uint64_t *in,
                     size_t stride, size_t width, uint64_t *prepared);

    /* In each column of `in`, the values of a polynomial of degree < terms at 0, ..., terms - 1, in the order of pc_middle_order;
     * out gets its values at -1, ..., -below, then those at terms, ..., terms + above - 1. Rows are `stride` words apart.
     * scratch: FIELD_PREPARED * (terms + 1) words, which then hold secrets. No overlap. constant time in `in`; terms >= 1.
     * NULL where this would not be faster than dot_rows. */
    void (*extend)(uint64_t *out, size_t below, size_t above, const uint64_t *in, size_t terms, size_t stride, size_t width,
                   uint64_t *scratch);
};

/* From the middle outward: (n-1)/2, then one above it, one below it, two above it, ... The second function is the inverse. */
static inline size_t pc_middle_order(size_t k, size_t n) { return k % 2 ? (n - 1) / 2 + (k + 1) / 2 : (n - 1) / 2 - k / 2; }
static inline size_t pc_middle_place(size_t i, size_t n)
{
    const size_t middle = (n - 1) / 2;
    return i > middle ? 2 * (i - middle) - 1 : 2 * (middle - i);
}

extern const struct field pc_m61_portable, pc_goldilocks_portable;

#if PC_X86
/* Replace butterfly, canonical, sample, dot_rows and extend of the portable table by their twins for one instruction set. */
void pc_m61_use_avx2(struct field *f);
void pc_m61_use_ifma(struct field *f);
void pc_goldilocks_use_ifma(struct field *f);
#endif

/* Fills in the field with this public id at the dispatch level in use, or at a given one; PRIVCOMP_E_ARGUMENT if there is none. */
int pc_field(struct field *f, int field);
int pc_field_at(struct field *f, int field, int level);

/* All ones if a >= b, else 0. */
static inline uint64_t mask_ge(uint64_t a, uint64_t b) { return mask64((uint64_t)(a >= b)); }

/* a - p where a >= p: one conditional subtraction, without a branch. */
static inline uint64_t subtract_once(uint64_t a, uint64_t p) { return a - (p & mask_ge(a, p)); }

/* out[i] = 1 / a[i] for non-zero a[i]. out != a. constant time in a. Source: Montgomery, Math. Comp. 48 (1987), section 10.3.1. */
void pc_field_invert(const struct field *f, uint64_t *out, const uint64_t *a, size_t n);

/* dot_rows for the columns done .. width - 1: what is left over when a SIMD twin has done whole vectors. */
static inline void dot_rows_rest(const struct field *portable, uint64_t *const *out, size_t rows, const uint64_t *weights,
                                 size_t terms, const uint64_t *in, size_t stride, size_t done, size_t width, uint64_t *prepared)
{
    uint64_t *rest[FIELD_ROWS];
    if (done == width) return;
    for (size_t r = 0; r < rows; r++) rest[r] = out[r] + done;
    portable->dot_rows(rest, rows, weights, terms, in + done, stride, width - done, prepared);
}

#endif
