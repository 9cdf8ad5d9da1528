/* Shamir sharing as the header states it, with % and one value at a time. */
#ifndef PRIVCOMP_SHAMIR_REFERENCE_H
#define PRIVCOMP_SHAMIR_REFERENCE_H

#include "check.h"
#include "shamir.h"

static uint64_t ref_mul(uint64_t a, uint64_t b, uint64_t p) { return (uint64_t)((u128)a * b % p); }
static uint64_t ref_add(uint64_t a, uint64_t b, uint64_t p) { return (uint64_t)(((u128)a + b) % p); }
static uint64_t ref_sub(uint64_t a, uint64_t b, uint64_t p) { return (uint64_t)(((u128)a + p - b) % p); }

static uint64_t ref_inv(uint64_t a, uint64_t p)
{
    uint64_t r = 1;
    for (uint64_t e = p - 2; e; e >>= 1, a = ref_mul(a, a, p))
        if (e & 1) r = ref_mul(r, a, p);
    return r;
}

/* f(at) for the polynomial of degree < m through (x[k], y[k]). */
static uint64_t ref_interpolate(uint64_t at, const uint64_t *x, const uint64_t *y, size_t m, uint64_t p)
{
    uint64_t sum = 0;
    for (size_t j = 0; j < m; j++) {
        uint64_t top = y[j], bottom = 1;
        for (size_t k = 0; k < m; k++) {
            if (k == j) continue;
            top = ref_mul(top, ref_sub(at, x[k], p), p);
            bottom = ref_mul(bottom, ref_sub(x[j], x[k], p), p);
        }
        sum = ref_add(sum, ref_mul(top, ref_inv(bottom, p), p), p);
    }
    return sum;
}

static uint64_t ref_draw(uint64_t e, uint64_t total, const uint8_t *seed, const struct field *f)
{
    for (;; e += total) {
        uint8_t b[8];
        CHECK(privcomp_keystream_fill(b, 8, seed, PRIVCOMP_AES128_CTR, 8 * e) == PRIVCOMP_OK);
        const uint64_t v = load64_le(b) >> (64 - f->bits);
        if (v < f->p) return v;
    }
}

/* The shares of secret j. x, y: threshold words of scratch. */
static __attribute__((unused)) void ref_share(uint64_t *shares, const uint64_t *secrets, size_t j, size_t d, const uint64_t *points, size_t n, size_t t,
                      const uint8_t *seed, const struct field *f, uint64_t *x, uint64_t *y)
{
    x[0] = 0, y[0] = secrets[j];
    for (size_t k = 0; k + 1 < t; k++) {
        x[k + 1] = points[k % 2 ? (n - 1) / 2 + (k + 1) / 2 : (n - 1) / 2 - k / 2];
        y[k + 1] = ref_draw(k * d + j, (t - 1) * d, seed, f);
    }
    for (size_t i = 0; i < n; i++) shares[i] = ref_interpolate(points[i], x, y, t, f->p);
}

#endif
