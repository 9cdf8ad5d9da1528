/* Sampling from tables against a second reading of the contract, one candidate at a time, on random tables: every level, layout and width
 * of the first comparison, and the comparisons that the words of the second stream decide.
 */
#include "check.h"
#include "core.h"

enum { BINS = PRIVCOMP_SAMPLER_BINS, SEEDS = 2 * PRIVCOMP_CHACHA20_SEED_BYTES, MAX_N = 1300 };

typedef struct {
    privcomp_table t;
    uint16_t *heads;
    uint64_t *tops, *rest; /* exactly as long as they are said to be: the sanitizer sees one word more */
    size_t length;
} example;

static uint64_t stream_word(const uint8_t *seed, int cipher, uint64_t offset)
{
    uint8_t word[8];
    CHECK(privcomp_keystream_fill(word, 8, seed, cipher, offset) == PRIVCOMP_OK);
    return load64_le(word);
}

/* Whether candidate i is accepted, and its value. */
static int candidate(int64_t *value, const example *e, const uint8_t *seeds, int cipher, uint64_t i)
{
    const uint8_t *const second = seeds + (cipher == PRIVCOMP_AES128_CTR ? PRIVCOMP_AES128_SEED_BYTES : PRIVCOMP_CHACHA20_SEED_BYTES);
    const uint64_t a = stream_word(seeds, cipher, 16 * i), b = stream_word(seeds, cipher, 16 * i + 8);
    const uint64_t bin = a % 64, fraction = a / 64 % 65536, threshold = e->t.alias[bin] / 64;
    const uint64_t j = fraction < threshold ? bin : e->t.alias[bin] % 64;
    const uint64_t places = (uint64_t)1 << (j == 63 ? e->t.tail_shift : e->t.shift);
    const uint64_t x = j * ((uint64_t)1 << e->t.shift) + a / ((uint64_t)1 << 23) % places;
    const int negative = a / ((uint64_t)1 << 22) % 2;
    if (x >= e->length) return 0;
    switch (e->t.mirror) {
    case 0: *value = e->t.base + (int64_t)x - (j == 63 && x >= e->t.wrap ? (int64_t)e->length : 0); break;
    case 1: *value = negative ? e->t.base - (int64_t)x : e->t.base + (int64_t)x; break;
    default: *value = negative ? e->t.base - 1 - (int64_t)x : e->t.base + (int64_t)x;
    }
    if (b != e->tops[x]) return b < e->tops[x];
    const uint64_t c = stream_word(second, cipher, 256 * i), d = stream_word(second, cipher, 256 * i + 8);
    return c != e->rest[2 * x] ? c < e->rest[2 * x] : d < e->rest[2 * x + 1];
}

static void sample(int64_t *out, size_t n, const example *e, const uint8_t *seeds, int cipher)
{
    uint64_t i = 0;
    for (size_t k = 0; k < n; i++) k += (size_t)candidate(&out[k], e, seeds, cipher, i);
}

/* The heads of thresholds that were changed; the last one belongs to no place. */
static void crown(example *e)
{
    for (size_t x = 0; x < e->length; x++) e->heads[x] = (uint16_t)(e->tops[x] >> 48);
    e->heads[e->length] = (uint16_t)test_u64();
}

/* Any words at all are a table. */
static void draw(example *e)
{
    memset(&e->t, 0, sizeof e->t);
    e->t.shift = (uint32_t)(test_u64() % 5);
    e->t.tail_shift = (uint32_t)(test_u64() % 9);
    e->t.mirror = (uint32_t)(test_u64() % 3);
    e->t.base = (int64_t)(test_u64() % 2000) - 1000;
    e->length = ((size_t)BINS << e->t.shift) + test_u64() % 300;
    e->t.wrap = test_u64() % (e->length + 1);
    e->tops = malloc(8 * e->length);
    e->rest = malloc(16 * e->length);
    e->heads = malloc(2 * (e->length + 1));
    CHECK(e->tops && e->rest && e->heads);
    for (int j = 0; j < BINS; j++) e->t.alias[j] = test_u64() >> (test_u64() % 4 ? 42 : 0); /* a threshold of 16 bits, or any word */
    test_fill(e->tops, 8 * e->length);
    test_fill(e->rest, 16 * e->length);
    crown(e);
}

static void forget(example *e)
{
    free(e->heads);
    free(e->tops);
    free(e->rest);
}

/* The samples at every level, stored and added. */
static void agree(const example *e, size_t n, const uint8_t *seeds, int cipher)
{
    static int64_t want[MAX_N];
    sample(want, n, e, seeds, cipher);
    for (int level = 0; level <= privcomp_level_max(); level++) {
        int64_t *const out = malloc(8 * n + 1);
        uint32_t *const u32 = malloc(4 * n + 1), *const old32 = malloc(4 * n + 1);
        uint64_t *const u64 = malloc(8 * n + 1), *const old64 = malloc(8 * n + 1);
        CHECK(out && u32 && u64 && old32 && old64);
        CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
        for (size_t k = 0; k < n; k++) old32[k] = u32[k] = (uint32_t)(old64[k] = u64[k] = test_u64());
        CHECK(privcomp_sample_table_var(out, n, &e->t, e->heads, e->tops, e->rest, e->length, seeds, cipher) == PRIVCOMP_OK);
        CHECK(privcomp_sample_table_add_u32_var(u32, n, &e->t, e->heads, e->tops, e->rest, e->length, seeds, cipher) == PRIVCOMP_OK);
        CHECK(privcomp_sample_table_add_u64_var(u64, n, &e->t, e->heads, e->tops, e->rest, e->length, seeds, cipher) == PRIVCOMP_OK);
        CHECK(memcmp(out, want, 8 * n) == 0);
        for (size_t k = 0; k < n; k++)
            CHECK(u32[k] == (uint32_t)(old32[k] + (uint64_t)want[k]) && u64[k] == old64[k] + (uint64_t)want[k]);
        free(out), free(u32), free(u64), free(old32), free(old64);
    }
}

static void random_tables(void)
{
    static const uint32_t bands[] = {0, 1, 56, 60, 62, 63, 64};
    uint8_t seeds[SEEDS];
    for (int trial = 0; trial < 60; trial++) {
        example e;
        draw(&e);
        test_fill(seeds, sizeof seeds);
        e.t.band = bands[trial % 7];
        agree(&e, trial < 30 ? (size_t)trial : 600 + test_u64() % (MAX_N - 600), seeds, 1 + trial % 2);
        forget(&e);
    }
}

/* Thresholds whose words equal those of the stream, as far as it goes: the first candidates that reach each place meet an equality. */
static void equal_words(void)
{
    uint8_t seeds[SEEDS];
    unsigned long met[4][2] = {{0}};
    for (int trial = 0; trial < 40; trial++) {
        const int cipher = 1 + trial % 2;
        const uint8_t *const second = seeds + (cipher == PRIVCOMP_AES128_CTR ? PRIVCOMP_AES128_SEED_BYTES : PRIVCOMP_CHACHA20_SEED_BYTES);
        example e;
        draw(&e);
        test_fill(seeds, sizeof seeds);
        e.t.shift = 0, e.t.tail_shift = 0;
        for (uint64_t j = 0; j < BINS; j++) e.t.alias[j] = j; /* the bin is that of A */
        for (uint64_t i = 100; i-- > 0;) {
            const uint64_t x = stream_word(seeds, cipher, 16 * i) % 64, depth = test_u64() % 4;
            const uint64_t word[3] = {stream_word(seeds, cipher, 16 * i + 8), stream_word(second, cipher, 256 * i),
                                      stream_word(second, cipher, 256 * i + 8)};
            uint64_t *const bound[3] = {&e.tops[x], &e.rest[2 * x], &e.rest[2 * x + 1]};
            const int above = test_u64() & 1;
            for (uint64_t k = 0; k < 3; k++) *bound[k] = k < depth ? word[k] : word[k] + (above ? 1 : UINT64_MAX);
            int64_t value;
            /* equal throughout is not below */
            CHECK(candidate(&value, &e, seeds, cipher, i) == (depth < 3 && above));
            met[depth][above]++;
        }
        crown(&e);
        agree(&e, 300, seeds, cipher);
        forget(&e);
    }
    for (int depth = 0; depth < 4; depth++) CHECK(met[depth][0] > 100 && met[depth][1] > 100);
}

static void refusals(void)
{
    uint8_t seeds[SEEDS] = {1};
    int64_t out[3] = {7, 7, 7};
    example e;
    draw(&e);
    const privcomp_table good = e.t;
#define TRY(status, n, cipher, length) \
    do { \
        CHECK(privcomp_sample_table_var(out, n, &e.t, e.heads, e.tops, e.rest, length, seeds, cipher) == (status)); \
        CHECK(out[0] == 7 && out[1] == 7 && out[2] == 7); \
        e.t = good; \
    } while (0)
    TRY(PRIVCOMP_E_ARGUMENT, 3, 0, e.length);
    TRY(PRIVCOMP_E_ARGUMENT, 3, 3, e.length);
    TRY(PRIVCOMP_E_ARGUMENT, ((size_t)1 << 40) + 1, 1, e.length);
    TRY(PRIVCOMP_E_LENGTH, 3, 1, ((size_t)BINS << e.t.shift) - 1);
    TRY(PRIVCOMP_E_LENGTH, 3, 1, 0);
    e.t.shift = PRIVCOMP_TABLE_SHIFT_MAX + 1;
    TRY(PRIVCOMP_E_ARGUMENT, 3, 1, e.length);
    e.t.shift = PRIVCOMP_TABLE_SHIFT_MAX; /* 64 2^32 places */
    TRY(PRIVCOMP_E_LENGTH, 3, 1, e.length);
    e.t.tail_shift = PRIVCOMP_TABLE_SHIFT_MAX + 1;
    TRY(PRIVCOMP_E_ARGUMENT, 3, 1, e.length);
    e.t.mirror = 3;
    TRY(PRIVCOMP_E_ARGUMENT, 3, 1, e.length);
    e.t.band = 65;
    TRY(PRIVCOMP_E_ARGUMENT, 3, 1, e.length);
    TRY(PRIVCOMP_OK, 0, 1, e.length);
    /* Nothing is accepted: an end, and no numbers. */
    memset(e.tops, 0, 8 * e.length);
    memset(e.rest, 0, 16 * e.length);
    crown(&e);
    for (int level = 0; level <= privcomp_level_max(); level++) {
        CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
        out[0] = out[1] = out[2] = 7;
        CHECK(privcomp_sample_table_var(out, 3, &e.t, e.heads, e.tops, e.rest, e.length, seeds, 1) == PRIVCOMP_E_ENTROPY);
        CHECK(out[0] == 0 && out[1] == 0 && out[2] == 0);
    }
    forget(&e);
}

int main(void)
{
    random_tables();
    equal_words();
    refusals();
    printf("sampler tables: ok, levels 0..%d\n", privcomp_level_max());
    return 0;
}
