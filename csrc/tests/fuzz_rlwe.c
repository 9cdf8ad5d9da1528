/* libFuzzer: the parser of ciphertexts. What is refused changes nothing; what is accepted is read as its residues, at every level. */
#include "check.h"
#include "core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DEGREE = 16, DIGITS = 3, VALUES_MAX = 160, WORDS_MAX = 2 * ((VALUES_MAX + DIGITS - 1) / DIGITS) };
static const uint64_t primes[2] = {UINT64_C(70368744177601), UINT64_C(35184372088673)}, roots[2] = {UINT64_C(8808219459178), UINT64_C(5933058726904)};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint64_t tables[1 << 12];
    static int made;
    if (!made) {
        CHECK(privcomp_rlwe_init(tables, (size_t)privcomp_rlwe_words(DEGREE, 2), DEGREE, primes, roots, 2, 1000, DIGITS) == PRIVCOMP_OK);
        made = 1;
    }
    if (size < 1) return 0;
    const size_t values = data[0] % (VALUES_MAX + 1), length = size - 1, coefficients = (values + DIGITS - 1) / DIGITS, words = 2 * coefficients;
    uint8_t *exact = malloc(length ? length : 1); /* so that ASan sees the end */
    uint64_t total[WORDS_MAX], want[WORDS_MAX] = {0}, bit = 0, good = (uint64_t)(length == (size_t)privcomp_rlwe_bytes(tables, values));
    memcpy(exact, data + 1, length);
    if (good) {
        size_t at = 0;
        for (size_t first = 0; first < coefficients; first += DEGREE)
            for (int r = 0; r < 2; r++)
                for (size_t i = first; i < coefficients && i < first + DEGREE; i++, at++) {
                    for (unsigned b = 0, bits = 64 - (unsigned)__builtin_clzll(primes[r]); b < bits; b++, bit++)
                        want[at] |= (uint64_t)(exact[bit / 8] >> bit % 8 & 1) << b;
                    good &= want[at] < primes[r];
                }
        for (; bit < 8 * length; bit++) good &= !(exact[bit / 8] >> bit % 8 & 1);
    }
    for (int level = 0; level <= privcomp_level_max(); level++) {
        CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
        memset(total, 0, sizeof total);
        CHECK((privcomp_rlwe_check(exact, length, tables, values) == PRIVCOMP_OK) == (int)good);
        CHECK((privcomp_rlwe_add(total, words, exact, length, tables, values) == PRIVCOMP_OK) == (int)good);
        for (size_t i = 0; i < words; i++) CHECK(total[i] == (good ? want[i] : 0));
    }
    free(exact);
    return 0;
}
