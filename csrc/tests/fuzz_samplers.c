/* libFuzzer: tables of the closed-form samplers, of no law in particular. What is refused writes nothing; what is taken gives the same
 * numbers at every level and by every arithmetic, however strange they are, or the refusal that says that there are none.
 */
#include "check.h"
#include "sampler_exp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { N = 8, HEAD = 2 * 16 + 8 + 4 };
    static const uint32_t bands[][2] = {{15, 40}, {0, 40}, {2, 3}};
    privcomp_exp_table t;
    uint8_t seeds[2 * PRIVCOMP_CHACHA20_SEED_BYTES];
    int64_t want[N], got[N];
    uint32_t sum32[N] = {0};
    if (size < 1) return 0;
    const int raw = data[0] & 1, cipher = data[0] & 2 ? PRIVCOMP_AES128_CTR : PRIVCOMP_CHACHA20;
    data++, size--;
    memset(&t, 0, sizeof t);
    memset(got, 7, sizeof got);
    memcpy(&t, data, size < sizeof t ? size : sizeof t);
    for (size_t i = 0; i < sizeof seeds; i++) seeds[i] = (uint8_t)(size + 31 * i + (i < size ? data[size - 1 - i] : 0));
    if (!raw && size >= HEAD) {
        /* Most bytes make no table: here the fields are moved into their ranges, and the weights follow from the alias entries. Blocks that
         * are wider than what floats look at need a law that is as wide. */
        memset(t.weight, 0, sizeof t.weight);
        for (size_t j = 0; j < 64; j++) {
            const size_t at = HEAD + 3 * j;
            t.alias[j] = at + 3 <= size ? (data[at] | (uint32_t)data[at + 1] << 8) << 6 | data[at + 2] % 64 : (uint32_t)j;
        }
        if (data[HEAD - 1] & 1) t.alias[63] = 63; /* mass in the tail */
        for (size_t j = 0; j < 64; j++) t.weight[j] += t.alias[j] >> 6, t.weight[t.alias[j] % 64] += 0x10000 - (t.alias[j] >> 6); /* check: 0x10000 == 2**16 */
        t.kind = 1 + data[HEAD - 2] % 2;
        t.shift = data[HEAD - 3] % (EXP_NEAR_SHIFT + 1);
        t.scale = (uint64_t)t.weight[0] << (40 - t.scale % 8) | 1; /* c near W_0, so that 0 is accepted now and then */
        t.numerator[0] |= 1, t.denominator[0] |= 1;
        t.band_single = 15, t.band_double = 40;
    }
    if (t.shift > EXP_NEAR_SHIFT && t.shift <= EXP_SHIFT_MAX) t.shift = EXP_NEAR_SHIFT;
    privcomp_level_set(0);
    const int status = privcomp_sample_exp_var(got, N, &t, seeds, cipher);
    CHECK(status == PRIVCOMP_OK || status == PRIVCOMP_E_ARGUMENT || status == PRIVCOMP_E_ENTROPY);
    if (status == PRIVCOMP_E_ARGUMENT) {
        for (int i = 0; i < N; i++) CHECK(got[i] == 0x0707070707070707);
        return 0;
    }
    memcpy(want, got, sizeof got);
    for (int i = 0; i < N; i++) CHECK(want[i] >> 50 == 0 || want[i] >> 50 == -1);
    if (status != PRIVCOMP_OK) return 0; /* 2^16 candidates for nothing are enough */
    const uint32_t *const band = bands[size % 4 % 3];
    t.band_single = band[0], t.band_double = band[1];
    for (int level = 0; level <= privcomp_level_max(); level++) {
        privcomp_level_set(level);
        CHECK(privcomp_sample_exp_var(got, N, &t, seeds, cipher) == PRIVCOMP_OK && memcmp(want, got, sizeof got) == 0);
    }
    CHECK(privcomp_sample_exp_add_u32_var(sum32, N, &t, seeds, cipher) == PRIVCOMP_OK);
    for (int i = 0; i < N; i++) CHECK(sum32[i] == (uint32_t)(uint64_t)want[i]);
    return 0;
}
