/* Ring-LWE: every level of this CPU, and the AVX-512 IFMA kernels in emulation, against the portable ones; what the parser refuses; whole rounds. Whether
 * the portable kernels are right is tested against plain integers in tests/core/test_rlwe_kernels.py. */
#include "check.h"
#include "rlwe.h"

#if PC_X86
/* Registers are memory here: unrolling and inlining would only keep the compiler busy. */
#undef PC_UNROLL
#define PC_UNROLL
#undef PC_INLINE
#define PC_INLINE static inline
#define PRIVCOMP_EMULATE_AVX512
#define RLWE_IFMA emulated_ifma
#include "../src/rlwe_ifma.c"
#endif

/* Primes that are 1 modulo 2^15, close to 2^50, 2^49 and 2^44, and roots of order 2^15. */
static const uint64_t prime[3] = {UINT64_C(1125899904679937), UINT64_C(562949952798721), UINT64_C(17592183914497)};
static const uint64_t root[3] = {UINT64_C(974161070679573), UINT64_C(35502923519263), UINT64_C(9477444240724)};

enum { DEGREE_MAX = 4096, PARTS = 3 };

static uint64_t *ring(size_t degree, size_t count, uint64_t radix, size_t digits)
{
    uint64_t psi[3];
    for (size_t r = 0; r < count; r++) {
        psi[r] = root[r];
        for (size_t n = 16384; n > degree; n /= 2) psi[r] = (uint64_t)((u128)psi[r] * psi[r] % prime[r]);
    }
    const size_t words = (size_t)privcomp_rlwe_words(degree, count);
    uint64_t *t = malloc(8 * words);
    CHECK(privcomp_rlwe_init(t, words - 1, degree, prime, psi, count, radix, digits) == PRIVCOMP_E_LENGTH);
    CHECK(privcomp_rlwe_init(t, words, degree, prime, psi, count, radix, digits) == PRIVCOMP_OK);
    return t;
}

/* Random canonical words, some of them the extreme ones. */
static void residues(uint64_t *x, size_t n, uint64_t q)
{
    const uint64_t kind = test_u64() % 4;
    for (size_t i = 0; i < n; i++) x[i] = kind == 0 ? q - 1 : kind == 1 && test_u64() % 2 ? (test_u64() % 2 ? q - 1 : 0) : test_u64() % q;
}

static void same_kernels(const struct rlwe *k, const uint64_t *tables)
{
    static uint64_t a[3][2][DEGREE_MAX], key[3 * RLWE_FORMS * DEGREE_MAX], parts[PARTS * DEGREE_MAX];
    static int8_t e[2][DEGREE_MAX];
    static uint8_t blocks[16 * 200], packed[2][8 * DEGREE_MAX];
    const struct rlwe *const portable = &pc_rlwe_portable;
    const rlwe_tables *const t = rlwe_of(tables);
    const size_t n = t->degree;
    int32_t *coefficients = malloc(4 * n);
    for (size_t i = 0; i < n; i++) coefficients[i] = (int32_t)test_u64();
    CHECK(privcomp_rlwe_key(key, t->primes * RLWE_FORMS * n, tables, coefficients) == PRIVCOMP_OK);
    free(coefficients);
    CHECK(t->parts <= PARTS);
    for (size_t r = 0; r < t->primes; r++)
        for (int trial = 0; trial < 4; trial++) {
            const rlwe_prime *const p = &t->prime[r];
            for (int i = 0; i < 3; i++) residues(a[i][0], n, p->q), memcpy(a[i][1], a[i][0], 8 * n);
            portable->forward(a[0][0], t, r), k->forward(a[0][1], t, r);
            portable->inverse(a[1][0], t, r), k->inverse(a[1][1], t, r);
            portable->product(a[2][0], rlwe_key_at(t, key, r), t, r), k->product(a[2][1], rlwe_key_at(t, key, r), t, r);
            for (int i = 0; i < 3; i++) CHECK(memcmp(a[i][0], a[i][1], 8 * n) == 0);

            test_fill(e[0], n);
            uint64_t most = 1; /* of parts */
            for (size_t l = 0; l < t->group; l++) most *= t->radix;
            for (size_t i = 0; i < t->parts * n; i++) parts[i] = trial == 0 ? most - 1 : test_u64() % most;
            for (size_t i = 0; i < n; i++) e[0][i] = (int8_t)(e[0][i] % 97);
            const size_t used = trial == 1 ? 1 + test_u64() % n : n;
            for (int q = 0; q < 2; q++) (q ? k : portable)->message(a[0][q], used, e[0], parts, n, t, r);
            CHECK(memcmp(a[0][0], a[0][1], 8 * used) == 0);
            residues(a[2][0], n, p->q), memcpy(a[2][1], a[2][0], 8 * n);
            portable->cipher(a[2][0], rlwe_key_at(t, key, r), e[0], parts, t, r), k->cipher(a[2][1], rlwe_key_at(t, key, r), e[0], parts, t, r);
            CHECK(memcmp(a[2][0], a[2][1], 8 * n) == 0);

            test_fill(a[1][0], 8 * n);
            if (trial) for (size_t i = 0; i < n; i++) a[1][0][i] = PC_LE64(a[1][0][i] % p->q);
            if (trial == 2) a[1][0][test_u64() % n] = PC_LE64(p->q);
            memcpy(a[1][1], a[1][0], 8 * n);
            const int fits = portable->mask(a[1][0], n, p->q, (unsigned)p->bits);
            CHECK(k->mask(a[1][1], n, p->q, (unsigned)p->bits) == fits && (trial != 3 || fits) && (trial != 2 || !fits));
            CHECK(memcmp(a[1][0], a[1][1], 8 * n) == 0);

            test_fill(a[2][0], 8 * n);
            if (trial == 0) for (size_t i = 0; i < n; i++) a[2][0][i] = i % 2 ? p->q : p->q - 1;
            memcpy(a[2][1], a[2][0], 8 * n);
            portable->take(a[2][0], used, p), k->take(a[2][1], used, p);
            CHECK(memcmp(a[2][0], a[2][1], 8 * n) == 0);
            residues(a[2][0], n, p->q), memcpy(a[2][1], a[2][0], 8 * n);
            portable->scale(a[2][0], used, p), k->scale(a[2][1], used, p);
            CHECK(memcmp(a[2][0], a[2][1], 8 * n) == 0);

            /* any bit, any number, and nothing behind the last whole byte */
            for (unsigned bit = 0; bit < 8; bit++) {
                const size_t m = trial == 0 ? n : test_u64() % (n + 1);
                const uint64_t start = 8 * (test_u64() % 3) + bit, waiting = test_u64() % ((uint64_t)1 << bit), end = start + m * p->bits;
                uint64_t carry[2] = {waiting, waiting};
                for (int q = 0; q < 2; q++) {
                    memset(packed[q], 0xa5, sizeof packed[q]);
                    CHECK((q ? k : portable)->pack(packed[q], start, &carry[q], a[0][0], m, (unsigned)p->bits) == end);
                }
                CHECK(carry[0] == carry[1] && memcmp(packed[0], packed[1], sizeof packed[0]) == 0);
                uint8_t *exact = malloc(end / 8 + 1); /* so that ASan sees the end */
                memcpy(exact, packed[0], end / 8);
                exact[end / 8] = (uint8_t)carry[0];
                CHECK(k->check(exact, end / 8 + 1, start, m, p));
                memcpy(a[2][1], a[2][0], 8 * n);
                portable->add(a[2][0], exact, end / 8 + 1, start, m, p), k->add(a[2][1], exact, end / 8 + 1, start, m, p);
                CHECK(memcmp(a[2][0], a[2][1], 8 * n) == 0);
                if (m > 0) { /* one residue of q */
                    const uint64_t at = start + test_u64() % m * p->bits;
                    for (unsigned b = 0; b < p->bits; b++) {
                        const uint64_t place = at + b;
                        exact[place / 8] = (uint8_t)((exact[place / 8] & ~(1u << place % 8)) | (unsigned)(p->q >> b & 1) << place % 8);
                    }
                    CHECK(!portable->check(exact, end / 8 + 1, start, m, p) && !k->check(exact, end / 8 + 1, start, m, p));
                }
                free(exact);
            }
        }
    for (size_t m = 0; m < 200; m += 1 + m / 3) {
        test_fill(blocks, sizeof blocks);
        /* leading zeros of every number, so that all thresholds are met */
        for (size_t i = 0; i < m; i++) memset(blocks + 16 * i + 16 - i % 17, 0, i % 17);
        portable->gaussian(e[0], blocks, m), k->gaussian(e[1], blocks, m);
        CHECK(memcmp(e[0], e[1], m) == 0);
    }
}

/* Parts of values of every type, some of them beyond the limit, and any number of them. Rows behind the last value may hold anything. */
static void same_spread(const struct rlwe *k, size_t count, uint64_t radix, size_t digits)
{
    enum { DEGREE = 64, VALUES = 4 * DEGREE };
    static uint64_t parts[2][4 * DEGREE], values[VALUES];
    uint64_t *const tables = ring(DEGREE, count, radix, digits);
    const rlwe_tables *const t = rlwe_of(tables);
    const uint64_t bound = (radix - 1) / 2 < INT32_MAX ? (radix - 1) / 2 : INT32_MAX;
    for (int trial = 0; trial < 400; trial++) {
        const enum rlwe_type type = (enum rlwe_type)(trial % 3);
        const size_t n = trial < 6 ? DEGREE * digits : test_u64() % (DEGREE * digits + 1), rows = (n + digits - 1) / digits;
        const uint64_t offset = type == RLWE_U32 || trial % 2 ? 0 : bound, limit = offset ? 2 * bound : bound;
        for (size_t i = 0; i < n; i++) {
            const uint64_t kind = test_u64() % 8, v = (kind == 0 ? 0 : kind == 1 ? limit : test_u64() % (limit + 1)) - offset;
            if (type == RLWE_64) values[i] = v;
            else ((uint32_t *)values)[i] = (uint32_t)v;
        }
        /* just beyond, on either side of 0, and where sums with the offset wrap */
        const uint64_t far[4] = {bound + 1, 0 - offset - 1, UINT64_C(1) << 63, INT64_MAX};
        const uint64_t bad = type == RLWE_U32 ? bound + 1 : type == RLWE_I32 ? 0 - offset - 1 : far[test_u64() % 4];
        const int wrong = n > 0 && trial % 4 == 3;
        if (wrong && type == RLWE_64) values[test_u64() % n] = bad;
        if (wrong && type != RLWE_64) ((uint32_t *)values)[test_u64() % n] = (uint32_t)bad;
        uint8_t *const exact = malloc(n * 8 + 1); /* so that ASan sees the end */
        memcpy(exact, values, n * (type == RLWE_64 ? 8 : 4));
        for (int q = 0; q < 2; q++) {
            memset(parts[q], 0xa5, sizeof parts[q]);
            CHECK((q ? k : &pc_rlwe_portable)->spread(parts[q], exact, type, n, offset, limit, t) == !wrong);
        }
        for (size_t l = 0; l < t->parts && !wrong; l++) CHECK(memcmp(parts[0] + l * DEGREE, parts[1] + l * DEGREE, 8 * rows) == 0);
        for (size_t i = 0; i < rows && !wrong; i++)
            for (size_t l = 0; l < t->parts; l++) {
                uint64_t m = parts[0][l * DEGREE + i];
                for (size_t at = i * digits + l * t->group; at < i * digits + (l + 1) * t->group && at < (i + 1) * digits; at++, m /= radix) {
                    const uint64_t v = at >= n ? 0 : offset + (type == RLWE_64 ? values[at] : type == RLWE_I32 ? (uint64_t)(int64_t)((int32_t *)values)[at] : ((uint32_t *)values)[at]);
                    CHECK(m % radix == v);
                }
                CHECK(m == 0);
            }
        free(exact);
    }
    free(tables);
}

/* Blocks that equal a threshold, and their neighbours: the sign is the lowest bit. */
#include "rlwe_gauss.h"
static void thresholds(const struct rlwe *k)
{
    static uint8_t blocks[16 * RLWE_TAILS * 8];
    static int8_t x[RLWE_TAILS * 8];
    for (int i = 0; i < RLWE_TAILS; i++)
        for (int s = 0; s < 8; s++) {
            const u128 tail = ((u128)rlwe_tail[i][0] << 64) | rlwe_tail[i][1], v = 2 * (tail - 1 + (u128)(s / 2) % 3 + (s == 7)) + (u128)(s % 2);
            store64_le(blocks + 16 * (8 * i + s), (uint64_t)v);
            store64_le(blocks + 16 * (8 * i + s) + 8, (uint64_t)(v >> 64));
        }
    k->gaussian(x, blocks, RLWE_TAILS * 8);
    for (int i = 0; i < RLWE_TAILS; i++)
        for (int s = 0; s < 8; s++) {
            const int below = (s / 2) % 3 + (s == 7) < 1;
            int size = below ? i + 1 : i;
            /* the last thresholds lie so close together that the neighbours of one are those of another */
            const u128 v = (((u128)load64_le(blocks + 16 * (8 * i + s) + 8) << 64) | load64_le(blocks + 16 * (8 * i + s))) >> 1;
            size = 0;
            for (int j = 0; j < RLWE_TAILS; j++) size += v < ((((u128)rlwe_tail[j][0]) << 64) | rlwe_tail[j][1]);
            CHECK(size == (below ? i + 1 : i) || i > RLWE_TAILS - 4);
            CHECK(x[8 * i + s] == (s % 2 ? -size : size));
        }
}

/* One round at every level: the same bytes, and the exact sum. */
static void rounds(size_t degree, size_t count, uint64_t radix, size_t digits, size_t values, size_t clients)
{
    uint64_t *const tables = ring(degree, count, radix, digits);
    const size_t length = (size_t)privcomp_rlwe_bytes(tables, values), coefficients = (values + digits - 1) / digits, words = count * coefficients;
    const size_t key_words = (size_t)privcomp_rlwe_key_words(tables), scratch_words = (size_t)privcomp_rlwe_encrypt_scratch(tables);
    const size_t decode_words = (size_t)privcomp_rlwe_decode_scratch(tables);
    uint64_t *key = malloc(8 * key_words), *scratch = malloc(8 * (scratch_words + decode_words)), *v = malloc(8 * values), *want = calloc(values, 8);
    uint64_t *total = malloc(8 * words), *sums = malloc(8 * values), noise[PRIVCOMP_RLWE_NOISE_WORDS];
    uint8_t *data = malloc(length), *first = malloc(length), seeds[64], expander[16];
    int8_t *s = malloc(degree);
    int32_t *secret = malloc(4 * degree), *key_sum = calloc(degree, 4), *signed32 = malloc(4 * values);
    int64_t *signed64 = malloc(8 * values);
    memset(total, 0, 8 * words);
    test_fill(expander, sizeof expander);
    for (size_t c = 0; c < clients; c++) {
        test_fill(seeds, sizeof seeds);
        for (size_t i = 0; i < values; i++) v[i] = test_u64() % (radix / clients), want[i] += v[i];
        for (int level = 0; level <= privcomp_level_max(); level++) {
            CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
            CHECK(privcomp_rlwe_gaussian(s, degree, seeds, 0) == PRIVCOMP_OK);
            for (size_t i = 0; i < degree; i++) secret[i] = s[i];
            CHECK(privcomp_rlwe_key(key, key_words, tables, secret) == PRIVCOMP_OK);
            CHECK(privcomp_rlwe_encrypt_u64(data, length, tables, key, expander, seeds + 32, v, values, 5, scratch, scratch_words) == PRIVCOMP_OK);
            for (size_t i = 0; i < scratch_words; i++) CHECK(scratch[i] == 0);
            if (level == 0) memcpy(first, data, length);
            CHECK(memcmp(first, data, length) == 0);
            /* the same digits as signed values */
            const uint64_t bound = (radix - 1) / 2;
            const int narrow = bound <= INT32_MAX;
            for (size_t i = 0; i < values; i++) {
                CHECK(v[i] <= 2 * bound); /* there are several clients */
                signed64[i] = (int64_t)(v[i] - bound);
                if (narrow) signed32[i] = (int32_t)signed64[i];
            }
                        CHECK(privcomp_rlwe_encrypt_i64(data, length, tables, key, expander, seeds + 32, signed64, values, bound, 5, scratch, scratch_words) == PRIVCOMP_OK);
            CHECK(memcmp(first, data, length) == 0);
            if (narrow) CHECK(privcomp_rlwe_encrypt_i32(data, length, tables, key, expander, seeds + 32, signed32, values, bound, 5, scratch, scratch_words) == PRIVCOMP_OK);
            CHECK(memcmp(first, data, length) == 0);
        }
        for (size_t i = 0; i < degree; i++) key_sum[i] += secret[i];
        CHECK(privcomp_rlwe_add(total, words, data, length, tables, values) == PRIVCOMP_OK);
    }
    for (int level = 0; level <= privcomp_level_max(); level++) {
        CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
        CHECK(privcomp_rlwe_key(key, key_words, tables, key_sum) == PRIVCOMP_OK);
        CHECK(privcomp_rlwe_decode_var(sums, values, noise, total, words, tables, key, expander, 5, scratch, decode_words) == PRIVCOMP_OK);
        CHECK(memcmp(sums, want, 8 * values) == 0);
        CHECK(noise[0] > 0 && noise[0] <= 84 * clients && noise[1] >= noise[0] * noise[0] && (noise[2] | noise[3]) == 0);
    }
    /* refusals write nothing, or zeros */
    const uint64_t before = total[0];
    CHECK(privcomp_rlwe_add(total, words, data, length - 1, tables, values) == PRIVCOMP_E_LENGTH);
    CHECK(privcomp_rlwe_add(total, words - 1, data, length, tables, values) == PRIVCOMP_E_LENGTH);
    memset(data + length - 8, 0xff, 8);
    CHECK(privcomp_rlwe_add(total, words, data, length, tables, values) == PRIVCOMP_E_CANONICAL && total[0] == before);
    v[values - 1] = radix;
    CHECK(privcomp_rlwe_encrypt_u64(data, length, tables, key, expander, seeds + 32, v, values, 5, scratch, scratch_words) == PRIVCOMP_E_CANONICAL);
    for (size_t i = 0; i < length; i++) CHECK(data[i] == 0);
    signed64[0] = INT64_MIN;
    CHECK(privcomp_rlwe_encrypt_i64(data, length, tables, key, expander, seeds + 32, signed64, values, 1, 5, scratch, scratch_words) == PRIVCOMP_E_CANONICAL);
    CHECK(privcomp_rlwe_encrypt_i64(data, length, tables, key, expander, seeds + 32, signed64, values, (radix + 1) / 2, 5, scratch, scratch_words) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_rlwe_encrypt_i64(data, length, tables, key, expander, seeds + 32, signed64, values, UINT64_MAX / 2 + 1, 5, scratch, scratch_words) == PRIVCOMP_E_ARGUMENT);
    CHECK(privcomp_rlwe_encrypt_u64(data, length - 1, tables, key, expander, seeds, v, values, 5, scratch, scratch_words) == PRIVCOMP_E_LENGTH);
    CHECK(privcomp_rlwe_encrypt_u64(data, length, tables, key, expander, seeds, v, values, UINT32_MAX + UINT64_C(1), scratch, scratch_words) == PRIVCOMP_E_ARGUMENT);
    total[words - 1] = prime[count - 1];
    CHECK(privcomp_rlwe_decode_var(sums, values, noise, total, words, tables, key, expander, 5, scratch, decode_words) == PRIVCOMP_E_CANONICAL);
    for (size_t i = 0; i < values; i++) CHECK(sums[i] == 0);
    free(tables), free(key), free(scratch), free(v), free(want), free(total), free(sums), free(data), free(first), free(s), free(secret), free(key_sum), free(signed32), free(signed64);
}

/* Sums with chosen u, under the key 0: edges of every division, at every level; then what is refused. */
static void decodings(uint64_t radix, size_t digits, int lanes)
{
    enum { DEGREE = 64, COEFFICIENTS = 150 };
    uint64_t *const tables = ring(DEGREE, 2, radix, digits);
    const rlwe_tables *const t = rlwe_of(tables);
    CHECK(rlwe_in_lanes(t) == lanes);
    const size_t values = COEFFICIENTS * digits - 1, words = 2 * COEFFICIENTS, key_words = (size_t)privcomp_rlwe_key_words(tables);
    const size_t scratch_words = (size_t)privcomp_rlwe_decode_scratch(tables);
    uint64_t *const key = malloc(8 * key_words), *const scratch = malloc(8 * scratch_words), *const sums = malloc(8 * values), *const want = malloc(8 * (values + 1));
    uint64_t total[2 * COEFFICIENTS], noise[PRIVCOMP_RLWE_NOISE_WORDS], most, squares;
    int32_t zeros[DEGREE] = {0};
    uint8_t expander[16];
    test_fill(expander, sizeof expander);
    for (int trial = 0; trial < 60; trial++) {
        most = squares = 0;
        for (size_t i = 0; i < COEFFICIENTS; i++) {
            u128 m = 0;
            for (size_t l = digits; l-- > 0;) {
                const uint64_t kind = test_u64() % 4, v = kind == 0 ? 0 : kind == 1 ? radix - 1 : test_u64() % radix;
                want[i * digits + l] = i + 1 == COEFFICIENTS && l + 1 == digits ? 0 : v;
                m = m * radix + want[i * digits + l];
            }
            const uint64_t kind = test_u64() % 4, rest = kind == 0 ? 0 : kind == 1 ? t->delta - 1 : test_u64() % t->delta, half = t->delta / 2;
            const uint64_t size = rest < half ? half - rest : rest - half;
            if (size > most) most = size;
            squares += size * size;
            const u128 u = m * t->delta + rest;
            const size_t block = i / DEGREE * DEGREE, used = COEFFICIENTS - block < DEGREE ? COEFFICIENTS - block : DEGREE;
            for (size_t r = 0; r < 2; r++) total[2 * block + r * used + i % DEGREE] = (uint64_t)((u + prime[r] - half % prime[r]) % prime[r]);
        }
        /* 1: digits M^k; 2, 3: no residue, just so and by far; at a coefficient of lanes or behind them */
        const int wrong = trial % 4;
        const size_t at = trial % 3 == 0 ? COEFFICIENTS - 1 : test_u64() % COEFFICIENTS, block = at / DEGREE * DEGREE;
        const size_t used = COEFFICIENTS - block < DEGREE ? COEFFICIENTS - block : DEGREE;
        u128 u = t->delta;
        for (size_t l = 0; l < digits; l++) u *= radix;
        for (size_t r = 0; r < 2 && wrong == 1; r++)
            total[2 * block + r * used + at % DEGREE] = (uint64_t)((u + prime[r] - t->delta / 2 % prime[r]) % prime[r]);
        if (wrong > 1) total[2 * block + (size_t)(trial / 4 % 2) * used + at % DEGREE] = wrong == 2 ? prime[trial / 4 % 2] : UINT64_MAX;
        for (int level = 0; level <= privcomp_level_max(); level++) {
            CHECK(privcomp_level_set(level) == PRIVCOMP_OK);
            CHECK(privcomp_rlwe_key(key, key_words, tables, zeros) == PRIVCOMP_OK);
            memset(sums, 0xff, 8 * values);
            const int status = privcomp_rlwe_decode_var(sums, values, noise, total, words, tables, key, expander, 0, scratch, scratch_words);
            CHECK(status == (wrong ? PRIVCOMP_E_CANONICAL : PRIVCOMP_OK));
            for (size_t i = 0; i < values; i++) CHECK(sums[i] == (wrong ? 0 : want[i]));
            CHECK(noise[0] == (wrong ? 0 : most) && noise[1] == (wrong ? 0 : squares) && (noise[2] | noise[3]) == 0);
            const uint64_t shift = trial % 5 == 0 ? 0 : trial % 5 == 1 ? (UINT64_C(1) << 48) - 1 : test_u64() % radix;
            uint64_t largest = 1, expected = 0;
            for (size_t i = 0; i < values; i++)
                if (want[i] > expected) expected = want[i];
            CHECK(privcomp_rlwe_decode_signed_var((int64_t *)sums, values, shift, &largest, noise, total, words, tables, key, expander, 0, scratch, scratch_words) == status);
            for (size_t i = 0; i < values; i++) CHECK(sums[i] == (wrong ? 0 : want[i] - shift));
            CHECK(largest == (wrong ? 0 : expected) && noise[0] == (wrong ? 0 : most) && noise[1] == (wrong ? 0 : squares));
            CHECK(privcomp_rlwe_decode_signed_var((int64_t *)sums, values, UINT64_C(1) << 48, &largest, noise, total, words, tables, key, expander, 0, scratch, scratch_words)
                  == PRIVCOMP_E_ARGUMENT);
        }
    }
    free(tables), free(key), free(scratch), free(sums), free(want);
}

static void same_level(const struct rlwe *k)
{
    thresholds(k);
    for (size_t degree = 4; degree <= DEGREE_MAX; degree *= degree >= 256 ? 4 : 2) {
        uint64_t *const t = ring(degree, 3, UINT64_C(1) << 26, 5);
        same_kernels(k, t);
        free(t);
    }
    /* a vector of digits at a time, with one or two in a part; and others */
    same_spread(k, 2, 64 * 65535 + 1, 4);
    same_spread(k, 2, UINT64_C(1) << 26, 3);
    same_spread(k, 3, UINT64_C(10000) * 65535 + 1, 4);
    same_spread(k, 2, UINT64_C(1) << 31, 3);
    same_spread(k, 2, UINT64_C(1) << 48, 2);
    same_spread(k, 2, 10000, 4);
    uint64_t *const t = ring(512, 2, 64 * 65535 + 1, 4);
    same_kernels(k, t);
    free(t);
}

int main(void)
{
    same_level(&pc_rlwe_portable);
    for (int level = 0; level <= privcomp_level_max(); level++)
        if (pc_rlwe_at(level) != &pc_rlwe_portable && (level == privcomp_level_max() || pc_rlwe_at(level) != pc_rlwe_at(level + 1))) same_level(pc_rlwe_at(level));
#if PC_X86
    if (pc_cpu_features() & PC_CPU_FMA) same_level(&emulated_ifma);
#endif
    rounds(64, 2, 64 * 65535 + 1, 4, 1001, 3);
    rounds(8, 1, 500, 3, 50, 2);
    rounds(256, 3, UINT64_C(10000) * 65535 + 1, 4, 1100, 3);
    /* in lanes: Delta just below 2^25, in between, and 8 with M^2 = 2^48 */
    decodings(UINT64_C(372000), 4, 1);
    decodings(64 * 65535 + 1, 4, 1);
    decodings(UINT64_C(1) << 24, 4, 1);
    /* and not: Delta above 2^25, M^2 above 2^48, three digits */
    decodings(UINT64_C(363000), 4, 0);
    decodings(UINT64_C(23700000), 4, 0);
    decodings(UINT64_C(1) << 26, 3, 0);
    CHECK(privcomp_rlwe_words(6, 1) < 0 && privcomp_rlwe_words(2, 1) < 0 && privcomp_rlwe_words(32768, 1) < 0);
    CHECK(privcomp_rlwe_words(8, 0) < 0 && privcomp_rlwe_words(8, 5) < 0);
    printf("ring-LWE: ok\n");
    return 0;
}
