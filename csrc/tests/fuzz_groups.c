/* libFuzzer: the decoders of group elements and scalars. What is accepted encodes to the same bytes again and is on the curve; what is
 * refused leaves zeros. */
#include "check.h"
#include "core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 33) return 0;
    const int group = 1 + data[0] % 2;
    const size_t bytes = (size_t)privcomp_group_encoding_bytes(group), n = (size - 1) / bytes;
    uint8_t *encodings = malloc(bytes * n + 1), *again = malloc(bytes * n + 1), *points = malloc(PRIVCOMP_POINT_BYTES * n + 1);
    memcpy(encodings, data + 1, bytes * n);
    if (group == PRIVCOMP_BN254_G1 && n && data[0] & 2) { /* the right y for a small x would never be found: x = 1, y = 2 */
        memset(encodings, 0, 64);
        encodings[31] = 1, encodings[63] = 2 ^ (data[0] >> 3);
    }
    const int status = privcomp_group_decode(points, encodings, n, group);
    if (status == PRIVCOMP_OK) {
        CHECK(privcomp_group_on_curve(points, n, group) == PRIVCOMP_OK);
        CHECK(privcomp_group_encode(again, points, n, group) == PRIVCOMP_OK);
        CHECK(memcmp(again, encodings, bytes * n) == 0);
    } else {
        CHECK(status == PRIVCOMP_E_CANONICAL);
        for (size_t i = 0; i < PRIVCOMP_POINT_BYTES * n; i++) CHECK(points[i] == 0);
    }
    const size_t m = (size - 1) / PRIVCOMP_SCALAR_BYTES;
    uint8_t *scalars = malloc(PRIVCOMP_SCALAR_BYTES * m + 1), *sums = malloc(PRIVCOMP_SCALAR_BYTES * m + 1), order[32];
    memcpy(scalars, data + 1, PRIVCOMP_SCALAR_BYTES * m);
    CHECK(privcomp_scalar_order(order, group) == PRIVCOMP_OK);
    int canonical = 1;
    for (size_t i = 0; i < m; i++) {
        int below = 0;
        for (int k = 31; k >= 0 && !below; k--) {
            const uint8_t x = scalars[PRIVCOMP_SCALAR_BYTES * i + (size_t)k];
            below = x < order[k] ? 1 : x > order[k] ? -1 : 0;
        }
        canonical &= below == 1;
    }
    CHECK(privcomp_scalar_check(scalars, m, group) == (canonical ? PRIVCOMP_OK : PRIVCOMP_E_CANONICAL));
    CHECK(privcomp_scalar_add(sums, scalars, scalars, m, group) == (canonical ? PRIVCOMP_OK : PRIVCOMP_E_CANONICAL));
    if (canonical) CHECK(privcomp_scalar_check(sums, m, group) == PRIVCOMP_OK);
    free(encodings);
    free(again);
    free(points);
    free(scalars);
    free(sums);
    return 0;
}
