/* libFuzzer: masks at any offset and length give the same sum at every level, and touch nothing outside. */
#include "check.h"
#include "core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 8 + 48) return 0;
    const int cipher = 1 + (data[0] & 1), wide = data[0] & 2;
    const size_t n = data[1];
    const uint64_t offset = data[3] | (uint64_t)data[4] << 8 | (uint64_t)data[2] << 16 | (uint64_t)data[5] << (data[6] % 56);
    const size_t seed_bytes = cipher == PRIVCOMP_AES128_CTR ? 32 : 48, count = (size - 8) / seed_bytes;
    const uint8_t *seeds = data + 8;
    const size_t word = wide ? 8 : 4;
    uint8_t *first = NULL, negate[2];
    if (count > 2) return 0; /* more would only be slower; test_core covers groups and tiles */
    for (size_t i = 0; i < count; i++) negate[i] = (data[7] >> i) & 1;

    for (int level = 0; level <= privcomp_level_max(); level++) {
        uint8_t *acc = calloc(n * word + 1, 1);
        CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
        const int status = wide ? privcomp_mask_add_u64((uint64_t *)(void *)acc, n, seeds, negate, count, cipher, offset)
                                : privcomp_mask_add_u32((uint32_t *)(void *)acc, n, seeds, negate, count, cipher, offset);
        CHECK((status == PRIVCOMP_OK) == pc_range_ok(offset, n, (unsigned)word));
        if (first) CHECK(memcmp(first, acc, n * word) == 0);
        if (first) free(acc);
        else first = acc;
    }
    free(first);
    return 0;
}
