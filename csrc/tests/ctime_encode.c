/* Constant time: integers that carry a sum of records, and the coins of their division, are marked secret; no branch and no address may depend on
 * them. What the contract calls public is unmarked: whether a check failed, and which words were refused.
 *
 * The functions on this list: privcomp_hadamard_i64, privcomp_flip_i64, privcomp_floor_div_random. */
#include "check.h"
#include "core.h"
#include "secret.h"

#ifdef PRIVCOMP_MSAN
#define EXPANDS_OPAQUELY 1 /* MSan does not know the instruction that expands AES keys */
#else
#define EXPANDS_OPAQUELY 0
#endif

enum { D = 1 << 15 };
static int64_t v[D], q[D];

static void integers(size_t d, int cipher)
{
    uint8_t seed[48];
    test_fill(seed, sizeof seed);
    for (size_t j = 0; j < d; j++) v[j] = (int64_t)(test_u64() >> 24) - ((int64_t)1 << 39);
    SECRET(v, 8 * d);
    CHECK(privcomp_flip_i64(v, d, seed, cipher) == PRIVCOMP_OK);
    CHECK(privcomp_hadamard_i64(v, d) == PRIVCOMP_OK);
    SECRET(seed, cipher == PRIVCOMP_AES128_CTR ? 16 : 32);
    CHECK(privcomp_floor_div_random(q, v, d, 12345, seed, cipher) == PRIVCOMP_OK);
    CHECK(privcomp_floor_div_random(q, v, d, ((uint64_t)1 << 59) + 1, seed, cipher) == PRIVCOMP_OK); /* many words are refused */
}

int main(void)
{
    for (int level = 0; level <= privcomp_level_max(); level++) {
        CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
        for (int cipher = PRIVCOMP_AES128_CTR; cipher <= PRIVCOMP_CHACHA20; cipher++)
            if (!EXPANDS_OPAQUELY || level == PRIVCOMP_LEVEL_PORTABLE || cipher == PRIVCOMP_CHACHA20)
                for (size_t d = 16; d <= D; d *= 32) integers(d, cipher);
    }
    printf("constant time, encoding: ok, levels 0..%d\n", privcomp_level_max());
    return 0;
}
