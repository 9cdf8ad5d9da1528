/* libFuzzer: the parser of packed vectors. What is accepted packs to the same bytes again; what is refused writes nothing. */
#include "check.h"
#include "core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { MAX = 512 };
    if (size < 3) return 0;
    const unsigned width = data[0];
    const size_t n = (data[1] | (data[2] & 1) << 8) % MAX, length = size - 3;
    uint8_t *packed = malloc(length ? length : 1), *again = malloc(length ? length : 1); /* exact, so that ASan sees the end */
    uint64_t *out64 = malloc(n * 8 + 1), *sum64 = calloc(n + 1, 8);
    uint32_t *out32 = malloc(n * 4 + 1), *sum32 = calloc(n + 1, 4);
    memcpy(packed, data + 3, length);

    const int status = privcomp_unpack_u64(out64, n, packed, length, width);
    CHECK(privcomp_unpack_add_u64(sum64, n, packed, length, width) == status);
    if (status == PRIVCOMP_OK) {
        CHECK(length == (n * width + 7) / 8 && memcmp(out64, sum64, n * 8) == 0);
        CHECK(privcomp_pack_u64(again, length, out64, n, width) == PRIVCOMP_OK && memcmp(again, packed, length) == 0);
    } else {
        for (size_t i = 0; i < n; i++) CHECK(sum64[i] == 0);
    }
    const int status32 = privcomp_unpack_u32(out32, n, packed, length, width);
    CHECK(privcomp_unpack_add_u32(sum32, n, packed, length, width) == status32);
    if (width <= 32) {
        CHECK(status32 == status);
        if (status == PRIVCOMP_OK)
            for (size_t i = 0; i < n; i++) CHECK(out32[i] == out64[i] && sum32[i] == out32[i]);
    } else {
        CHECK(status32 == PRIVCOMP_E_ARGUMENT);
    }
    free(packed);
    free(again);
    free(out64);
    free(sum64);
    free(out32);
    free(sum32);
    return 0;
}
