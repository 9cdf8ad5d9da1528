/* Constant time: coefficients of keys, seeds of keys and noise, and values are marked secret; no branch and no address may depend on them.
 *
 * The functions on this list: privcomp_rlwe_gaussian, privcomp_rlwe_key, privcomp_rlwe_encrypt_u32, _u64, _i32, _i64,
 * privcomp_ntt_forward, privcomp_ntt_inverse.
 * Public: the ring, the seed of the public polynomials, sizes, and whether all values are below the radix, or within the bound. At every level that valgrind can run.
 */
#include "check.h"
#include "core.h"
#include "secret.h"

enum { DEGREE = 64, DIGITS = 4, VALUES = DEGREE * DIGITS + 70 };
static const uint64_t primes[2] = {UINT64_C(1125899906840833), UINT64_C(562949953417729)}, roots[2] = {UINT64_C(900675728376939), UINT64_C(532789677638194)};

#define OK(call) CHECK((call) == PRIVCOMP_OK)

int main(void)
{
    static uint64_t tables[1 << 12], key[1 << 11], scratch[1 << 11], v64[VALUES], a[2 * DEGREE];
    static uint32_t v32[VALUES];
    static uint8_t out[1 << 12], seeds[64], expander[16];
    static int8_t s[DEGREE];
    static int32_t wide[DEGREE];
    const size_t words = (size_t)privcomp_rlwe_words(DEGREE, 2);
    CHECK(words <= sizeof tables / 8);
    OK(privcomp_rlwe_init(tables, words, DEGREE, primes, roots, 2, 64 * 65535 + 1, DIGITS));
    const size_t key_words = (size_t)privcomp_rlwe_key_words(tables), scratch_words = (size_t)privcomp_rlwe_encrypt_scratch(tables);
    const size_t length = (size_t)privcomp_rlwe_bytes(tables, VALUES);
    CHECK(key_words <= sizeof key / 8 && scratch_words <= sizeof scratch / 8 && length <= sizeof out);
    for (int level = 0; level <= privcomp_level_max(); level++) {
        CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
        test_fill(seeds, sizeof seeds);
        for (int i = 0; i < VALUES; i++) v32[i] = (uint32_t)(test_u64() % 65536), v64[i] = v32[i];
        for (int i = 0; i < 2 * DEGREE; i++) a[i] = test_u64() % primes[1];
        for (int i = 0; i < 64; i += 32) SECRET(seeds + i, 16); /* the key; the first counter is public */
        SECRET(v32, sizeof v32);
        SECRET(v64, sizeof v64);
        SECRET(a, sizeof a);
        OK(privcomp_rlwe_gaussian(s, DEGREE, seeds, 0));
        for (int i = 0; i < DEGREE; i++) wide[i] = s[i];
        OK(privcomp_rlwe_key(key, key_words, tables, wide));
        OK(privcomp_rlwe_encrypt_u32(out, length, tables, key, expander, seeds + 32, v32, VALUES, 0, scratch, scratch_words));
        OK(privcomp_rlwe_encrypt_u64(out, length, tables, key, expander, seeds + 32, v64, VALUES, 0, scratch, scratch_words));
        OK(privcomp_rlwe_encrypt_i32(out, length, tables, key, expander, seeds + 32, (const int32_t *)v32, VALUES, 65535, 0, scratch, scratch_words));
        OK(privcomp_rlwe_encrypt_i64(out, length, tables, key, expander, seeds + 32, (const int64_t *)v64, VALUES, 65535, 0, scratch, scratch_words));
        OK(privcomp_ntt_forward(a, 2, tables, 1));
        OK(privcomp_ntt_inverse(a, 2, tables, 1));
    }
    printf("constant time, ring-LWE: ok\n");
    return 0;
}
