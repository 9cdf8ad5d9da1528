/* Additive ring-LWE: c = a s + e + Delta m, with a from a public seed, and nothing but sums.
 *
 * Wire format: polynomial after polynomial, prime by prime within one, each residue in as many bits as its prime has; one stream of bits without gaps.
 * The last polynomial is cut to the coefficients in use. Sums of ciphertexts lie in memory in the same order, a word for each residue.
 */
#include "rlwe.h"

#define REFUSE(cond) \
    do { \
        if (cond) return PRIVCOMP_E_ARGUMENT; \
    } while (0)

const struct rlwe *pc_rlwe_at(int level)
{
#if PC_X86
    if (level >= PRIVCOMP_LEVEL_AVX512 && pc_cpu_features() & PC_CPU_AVX512IFMA && pc_cpu_features() & PC_CPU_FMA) return &pc_rlwe_ifma;
    if (level >= PRIVCOMP_LEVEL_AESNI && pc_cpu_features() & PC_CPU_FMA) return &pc_rlwe_fma;
#endif
    (void)level;
    return &pc_rlwe_portable;
}

/* ---- tables ---- */

static uint64_t mul_mod(uint64_t a, uint64_t b, uint64_t q) { return (uint64_t)((u128)a * b % q); }

static uint64_t pow_mod(uint64_t a, uint64_t e, uint64_t q)
{
    uint64_t r = 1;
    for (; e; e >>= 1, a = mul_mod(a, a, q))
        if (e & 1) r = mul_mod(r, a, q);
    return r;
}

/* 1/a modulo q by Euclid's algorithm, 0 if there is none. */
static uint64_t inverse_mod(uint64_t a, uint64_t q)
{
    int64_t r0 = (int64_t)q, r1 = (int64_t)(a % q), s0 = 0, s1 = 1;
    while (r1 != 0) {
        const int64_t c = r0 / r1, r2 = r0 - c * r1, s2 = s0 - c * s1;
        r0 = r1, r1 = r2, s0 = s1, s1 = s2;
    }
    return r0 != 1 ? 0 : (uint64_t)(s0 < 0 ? s0 + (int64_t)q : s0);
}

static rlwe_factor factor_of(uint64_t w, uint64_t q) { return (rlwe_factor){w, (uint64_t)(((u128)w << 64) / q)}; }

static uint64_t double_word(double x)
{
    uint64_t word;
    memcpy(&word, &x, 8);
    return word;
}

static double centred(uint64_t w, uint64_t q) { return w > q / 2 ? -(double)(q - w) : (double)w; }

/* forms[brv(i)] = root^i. */
static void powers(uint64_t *forms, uint64_t root, size_t n, unsigned log_n, uint64_t q)
{
    uint64_t w = 1;
    for (size_t i = 0; i < n; i++, w = mul_mod(w, root, q)) {
        size_t at = 0;
        for (unsigned b = 0; b < log_n; b++) at |= (i >> b & 1) << (log_n - 1 - b);
        forms[RLWE_WORD * n + at] = w;
        forms[RLWE_QUOTIENT * n + at] = factor_of(w, q).quotient;
        forms[RLWE_DOUBLE * n + rlwe_place4(at, n)] = double_word(centred(w, q));
        forms[RLWE_RATIO * n + rlwe_place4(at, n)] = double_word(centred(w, q) / (double)q);
        forms[RLWE_WORD8 * n + rlwe_place8(at, n)] = w;
        forms[RLWE_QUOTIENT8 * n + rlwe_place8(at, n)] = factor_of(w, q).quotient >> 12; /* floor(w 2^52 / q) */
    }
}

static int shape_ok(size_t degree, size_t primes)
{
    return degree >= PRIVCOMP_RLWE_DEGREE_MIN && degree <= PRIVCOMP_RLWE_DEGREE_MAX && (degree & (degree - 1)) == 0 && primes >= 1 && primes <= RLWE_PRIMES;
}

int64_t privcomp_rlwe_words(size_t degree, size_t count)
{
    REFUSE(!shape_ok(degree, count));
    return (int64_t)(RLWE_TABLES_WORDS + 2 * count * RLWE_POWER_FORMS * degree);
}

/* Numbers of five words: products of primes, below 2^200, and what is divided. */
enum { LIMBS = 5 };

static void limbs_axpy(uint64_t x[LIMBS], uint64_t a, uint64_t b) /* a x + b */
{
    u128 carry = b;
    for (int i = 0; i < LIMBS; i++) {
        carry += (u128)x[i] * a;
        x[i] = (uint64_t)carry;
        carry >>= 64;
    }
    VERIFY(carry == 0);
}

/* Division by one word: Moeller, Granlund, "Improved division by invariant integers", IEEE Trans. Computers 60 (2011), algorithm 4, with the
 * divisor shifted so that its highest bit is 1. */
typedef struct {
    uint64_t divisor, reciprocal;
    unsigned shift;
} divider;

static divider divider_of(uint64_t d)
{
    divider v;
    v.shift = (unsigned)__builtin_clzll(d);
    v.divisor = d << v.shift;
    v.reciprocal = (uint64_t)((((u128)~v.divisor << 64) | UINT64_MAX) / v.divisor);
    return v;
}

PC_INLINE uint64_t divide_step(uint64_t *rest, uint64_t low, const divider *v)
{
    u128 q = (u128)v->reciprocal * *rest + (((u128)*rest << 64) | low);
    uint64_t q1 = (uint64_t)(q >> 64) + 1, r = low - q1 * v->divisor;
    const uint64_t down = mask64(r > (uint64_t)q); /* as often as not: no branch */
    q1 += down;
    r += v->divisor & down;
    if (r >= v->divisor) q1++, r -= v->divisor;
    *rest = r;
    return q1;
}

/* x = floor(x / d) for the first n words of x; returns the remainder. */
PC_INLINE uint64_t limbs_divide(uint64_t *x, size_t n, const divider *v)
{
    const unsigned s = v->shift;
    uint64_t above = x[n - 1], rest = s ? above >> (64 - s) : 0;
    for (size_t i = n; i-- > 0;) {
        const uint64_t below = i > 0 ? x[i - 1] : 0;
        x[i] = divide_step(&rest, s ? above << s | below >> (64 - s) : above, v);
        above = below;
    }
    return rest >> s;
}

int privcomp_rlwe_init(uint64_t *tables, size_t words, size_t degree, const uint64_t *primes, const uint64_t *roots, size_t count, uint64_t radix,
                       size_t digits)
{
    REFUSE(!shape_ok(degree, count) || radix < 2 || radix > RLWE_RADIX_MAX || digits < 1 || digits > RLWE_DIGITS);
    if (words != (size_t)privcomp_rlwe_words(degree, count)) return PRIVCOMP_E_LENGTH;
    rlwe_tables t = {.degree = degree, .log_degree = (unsigned)__builtin_ctzll(degree), .primes = count, .digits = digits, .radix = radix};
    uint64_t rest[LIMBS] = {1};
    for (size_t r = 0; r < count; r++) {
        const uint64_t q = primes[r];
        rlwe_prime *const p = &t.prime[r];
        REFUSE(q <= RLWE_PRIME_MIN || q >= RLWE_PRIME_MAX || q % (2 * degree) != 1 || roots[r] >= q || pow_mod(roots[r], degree, q) != q - 1);
        p->q = q;
        p->bits = 64 - (unsigned)__builtin_clzll(q);
        p->q_double = double_word((double)q);
        p->q_inverse = double_word(1.0 / (double)q);
        p->scale = factor_of(q - (q - 1) / degree, q); /* N (q - (q - 1) / N) = 1 - q + N q = 1 */
        for (size_t j = 0; j < r; j++) {
            const uint64_t i = inverse_mod(primes[j], q); /* 0 for the same prime twice */
            REFUSE(i == 0);
            p->garner[j] = factor_of(i, q);
        }
        t.bits += p->bits;
        limbs_axpy(rest, q, 0);
    }
    /* Delta = floor(q / M^k): the floors of repeated divisions are the floor of the one. */
    const divider by_radix = divider_of(radix);
    for (size_t l = 0; l < digits; l++) (void)limbs_divide(rest, LIMBS, &by_radix);
    t.delta = rest[0];
    REFUSE((rest[1] | rest[2] | rest[3] | rest[4]) != 0 || t.delta < 2 || t.delta > RLWE_DELTA_MAX);
    uint64_t base = radix; /* M^group */
    for (t.group = 1; t.group < digits && base <= RLWE_PART_MAX / radix; t.group++) base *= radix;
    t.parts = (digits + t.group - 1) / t.group;
    for (size_t r = 0; r < count; r++) {
        rlwe_prime *const p = &t.prime[r];
        uint64_t w = t.delta % p->q;
        for (size_t l = 0; l < t.parts; l++, w = mul_mod(w, base % p->q, p->q)) p->part[l] = factor_of(w, p->q);
    }
    memcpy(tables, &t, sizeof t);
    for (size_t r = 0; r < count; r++) {
        uint64_t *const forms = tables + RLWE_TABLES_WORDS + 2 * r * RLWE_POWER_FORMS * degree;
        const uint64_t q = primes[r];
        powers(forms, roots[r], degree, (unsigned)t.log_degree, q);
        powers(forms + RLWE_POWER_FORMS * degree, q - pow_mod(roots[r], degree - 1, q), degree, (unsigned)t.log_degree, q); /* psi^(N-1) psi = -1 */
    }
    return PRIVCOMP_OK;
}

uint64_t privcomp_rlwe_delta(const uint64_t *tables) { return rlwe_of(tables)->delta; }

/* Coefficients of so many values: at most 2^40. */
PC_INLINE uint64_t coefficients_of(const rlwe_tables *t, uint64_t values) { return values / t->digits + (values % t->digits != 0); }

int64_t privcomp_rlwe_bytes(const uint64_t *tables, uint64_t values)
{
    const rlwe_tables *const t = rlwe_of(tables);
    REFUSE(values > (uint64_t)1 << 40);
    return (int64_t)((coefficients_of(t, values) * t->bits + 7) / 8); /* < 2^48 */
}

/* ---- transforms ---- */

int privcomp_ntt_forward(uint64_t *a, size_t rows, const uint64_t *tables, size_t prime)
{
    const rlwe_tables *const t = rlwe_of(tables);
    const struct rlwe *const k = pc_rlwe_at(privcomp_level_get());
    REFUSE(prime >= t->primes);
    for (size_t i = 0; i < rows; i++) {
        uint64_t *const row = a + i * t->degree;
        k->take(row, t->degree, &t->prime[prime]);
        k->forward(row, t, prime);
    }
    return PRIVCOMP_OK;
}

int privcomp_ntt_inverse(uint64_t *a, size_t rows, const uint64_t *tables, size_t prime)
{
    const rlwe_tables *const t = rlwe_of(tables);
    const struct rlwe *const k = pc_rlwe_at(privcomp_level_get());
    REFUSE(prime >= t->primes);
    for (size_t i = 0; i < rows; i++) {
        uint64_t *const row = a + i * t->degree;
        k->take(row, t->degree, &t->prime[prime]);
        k->inverse(row, t, prime);
        k->scale(row, t->degree, &t->prime[prime]);
    }
    return PRIVCOMP_OK;
}

/* ---- random polynomials ---- */

/* a^ of polynomial j and one prime. A stream for each, so that a rejection moves nothing else. */
static void expand(uint64_t *a, pc_stream *s, uint64_t j, size_t prime, const rlwe_tables *t, const struct rlwe *k, const pc_level *level)
{
    const size_t n = t->degree;
    const uint64_t q = t->prime[prime].q;
    const unsigned bits = (unsigned)t->prime[prime].bits;
    s->hi = __builtin_bswap64(j | (uint64_t)prime << 32);
    s->lo = 0;
    pc_stream_apply(PC_STORE, (uint8_t *)a, 8 * n, s, 0, PRIVCOMP_AES128_CTR, level);
    if (k->mask(a, n, q, bits)) return;
    /* Candidates are public, and for the primes in use, just below a power of two, hardly ever come here. */
    size_t have = 0;
    for (size_t i = 0; i < n; i++)
        if (a[i] < q) a[have++] = a[i];
    for (uint64_t offset = 8 * n; have < n;) {
        uint64_t more[32];
        pc_stream_apply(PC_STORE, (uint8_t *)more, sizeof more, s, offset, PRIVCOMP_AES128_CTR, level);
        offset += sizeof more;
        (void)pc_rlwe_portable.mask(more, sizeof more / 8, q, bits);
        for (size_t i = 0; i < sizeof more / 8 && have < n; i++)
            if (more[i] < q) a[have++] = more[i];
    }
}

static void expander_init(pc_stream *s, const uint8_t *expander, const pc_level *level)
{
    uint8_t seed[PRIVCOMP_AES128_SEED_BYTES] = {0};
    memcpy(seed, expander, 16);
    pc_stream_init(s, PRIVCOMP_AES128_CTR, seed, level);
}

int privcomp_rlwe_expand(uint64_t *out, const uint64_t *tables, const uint8_t *expander, uint64_t first, uint64_t count)
{
    const rlwe_tables *const t = rlwe_of(tables);
    REFUSE(first > UINT32_MAX || count > ((uint64_t)1 << 32) - first);
    const pc_level *const level = pc_level_table();
    const struct rlwe *const k = pc_rlwe_at(privcomp_level_get());
    pc_stream s;
    expander_init(&s, expander, level);
    for (uint64_t j = 0; j < count; j++)
        for (size_t r = 0; r < t->primes; r++, out += t->degree) expand(out, &s, first + j, r, t, k, level);
    return PRIVCOMP_OK;
}

/* Samples 0 .. n - 1 of stream `stream`: block i of it is block 2^64 stream + i of the seed's. */
static void gaussian(int8_t *out, size_t n, const pc_stream *seed, uint64_t stream, const struct rlwe *k, const pc_level *level)
{
    enum { BLOCKS = 256 };
    uint8_t blocks[16 * BLOCKS] __attribute__((aligned(64)));
    pc_stream s = *seed;
    s.hi += stream;
    for (size_t i = 0; i < n; i += BLOCKS) {
        const size_t m = n - i < BLOCKS ? n - i : BLOCKS;
        pc_stream_apply(PC_STORE, blocks, 16 * m, &s, 16 * (uint64_t)i, PRIVCOMP_AES128_CTR, level);
        k->gaussian(out + i, blocks, m);
    }
    privcomp_wipe(blocks, sizeof blocks);
    privcomp_wipe((uint8_t *)&s, sizeof s);
}

int privcomp_rlwe_gaussian(int8_t *out, size_t n, const uint8_t *seed, uint64_t stream)
{
    REFUSE(n > (uint64_t)1 << 40);
    const pc_level *const level = pc_level_table();
    pc_stream s;
    pc_stream_init(&s, PRIVCOMP_AES128_CTR, seed, level);
    gaussian(out, n, &s, stream, pc_rlwe_at(privcomp_level_get()), level);
    privcomp_wipe((uint8_t *)&s, sizeof s);
    return PRIVCOMP_OK;
}

/* ---- keys ---- */

int64_t privcomp_rlwe_key_words(const uint64_t *tables)
{
    const rlwe_tables *const t = rlwe_of(tables);
    return (int64_t)(t->primes * RLWE_FORMS * t->degree);
}

/* floor(w 2^64 / q) without a division: 2^64 = c q + t, so that it is c w + floor(t w / q), and turn = (t, floor(t 2^64 / q)) gives the last
 * quotient or one less. */
static uint64_t secret_quotient(uint64_t w, rlwe_factor turn, uint64_t q)
{
    const uint64_t estimate = (uint64_t)(((u128)w * turn.quotient) >> 64), rest = w * turn.w - estimate * q; /* < 2q */
    return w * (UINT64_MAX / q) + estimate + 1 - ((rest - q) >> 63);
}

static uint64_t secret_double(uint64_t w, uint64_t q) { return double_word((double)(int64_t)(w - (q & mask64((q / 2 - w) >> 63)))); }

void pc_rlwe_key_make(uint64_t *key, const rlwe_tables *t, const int32_t *coefficients, const struct rlwe *k)
{
    const size_t n = t->degree;
    for (size_t r = 0; r < t->primes; r++) {
        const rlwe_prime *const p = &t->prime[r];
        const uint64_t q = p->q, one = UINT64_MAX / q, offset = (((uint64_t)1 << 31) / q + 1) * q; /* >= 2^31, a multiple of q */
        const rlwe_factor turn = factor_of(UINT64_MAX % q + 1, q); /* 2^64 mod q: q is odd and divides no power of two */
        uint64_t *const w = key + r * RLWE_FORMS * n;
        for (size_t i = 0; i < n; i++) w[i] = rlwe_once(rlwe_lazy(offset + (uint64_t)(int64_t)coefficients[i], 1, one, q), q);
        k->forward(w, t, r);
        k->scale(w, n, p);
        for (size_t i = 0; i < n; i++) {
            w[RLWE_QUOTIENT * n + i] = secret_quotient(w[i], turn, q);
            w[RLWE_DOUBLE * n + rlwe_turn4(i, n)] = secret_double(w[i], q);
        }
    }
}

int privcomp_rlwe_key(uint64_t *key, size_t words, const uint64_t *tables, const int32_t *coefficients)
{
    if (words != (size_t)privcomp_rlwe_key_words(tables)) return PRIVCOMP_E_LENGTH;
    pc_rlwe_key_make(key, rlwe_of(tables), coefficients, pc_rlwe_at(privcomp_level_get()));
    return PRIVCOMP_OK;
}

/* ---- encryption ---- */

/* Polynomials begin with a line of the caches: else half of all vectors would lie in two. */
enum { LINE = 64 };
static uint64_t *aligned(uint64_t *scratch) { return scratch + (LINE - (uintptr_t)scratch % LINE) % LINE / 8; }

/* Words of scratch: one polynomial, its parts, its noise. */
static size_t encrypt_words(const rlwe_tables *t) { return LINE / 8 - 1 + t->degree + t->parts * t->degree + (t->degree + 7) / 8; }

int64_t privcomp_rlwe_encrypt_scratch(const uint64_t *tables) { return (int64_t)encrypt_words(rlwe_of(tables)); }

/* Values v + offset, each at most `limit`. */
static int encrypt(uint8_t *out, size_t length, const uint64_t *tables, const uint64_t *key, const uint8_t *expander, const uint8_t *noise_seed,
                   const void *values, enum rlwe_type type, size_t n, uint64_t offset, uint64_t limit, uint64_t first, uint64_t *scratch,
                   size_t scratch_words)
{
    const rlwe_tables *const t = rlwe_of(tables);
    const size_t degree = t->degree, per_polynomial = degree * t->digits;
    REFUSE(n > (uint64_t)1 << 40 || first > UINT32_MAX || (n + per_polynomial - 1) / per_polynomial > ((uint64_t)1 << 32) - first || limit >= t->radix);
    if ((int64_t)length != privcomp_rlwe_bytes(tables, n) || scratch_words < encrypt_words(t)) return PRIVCOMP_E_LENGTH;
    const pc_level *const level = pc_level_table();
    const struct rlwe *const k = pc_rlwe_at(privcomp_level_get());
    uint64_t *const x = aligned(scratch), *const parts = x + degree;
    uint64_t bit = 0, carry = 0;
    int8_t *const e = (int8_t *)(parts + t->parts * degree);
    pc_stream s, noise;
    int ok = 1;
    expander_init(&s, expander, level);
    pc_stream_init(&noise, PRIVCOMP_AES128_CTR, noise_seed, level);
    for (uint64_t j = first; n > 0 && ok; j++) {
        const size_t m = n < per_polynomial ? n : per_polynomial, used = (size_t)coefficients_of(t, m);
        ok = k->spread(parts, values, type, m, offset, limit, t);
        PC_DECLASSIFY(ok);
        gaussian(e, used, &noise, j, k, level);
        for (size_t r = 0; r < t->primes; r++) {
            expand(x, &s, j, r, t, k, level);
            if (used == degree) {
                k->cipher(x, rlwe_key_at(t, key, r), e, parts, t, r);
            } else {
                k->product(x, rlwe_key_at(t, key, r), t, r);
                k->message(x, used, e, parts, degree, t, r);
            }
            bit = k->pack(out, bit, &carry, x, used, (unsigned)t->prime[r].bits);
        }
        values = (const uint8_t *)values + m * (type == RLWE_64 ? 8 : 4);
        n -= m;
    }
    if (bit & 7) out[bit >> 3] = (uint8_t)carry;
    privcomp_wipe((uint8_t *)scratch, 8 * encrypt_words(t));
    privcomp_wipe((uint8_t *)&noise, sizeof noise);
    if (!ok) memset(out, 0, length);
    return ok ? PRIVCOMP_OK : PRIVCOMP_E_CANONICAL;
}

int privcomp_rlwe_encrypt_u32(uint8_t *out, size_t length, const uint64_t *tables, const uint64_t *key, const uint8_t *expander,
                              const uint8_t *noise_seed, const uint32_t *values, size_t n, uint64_t first, uint64_t *scratch, size_t scratch_words)
{
    return encrypt(out, length, tables, key, expander, noise_seed, values, RLWE_U32, n, 0, rlwe_of(tables)->radix - 1, first, scratch, scratch_words);
}

int privcomp_rlwe_encrypt_u64(uint8_t *out, size_t length, const uint64_t *tables, const uint64_t *key, const uint8_t *expander,
                              const uint8_t *noise_seed, const uint64_t *values, size_t n, uint64_t first, uint64_t *scratch, size_t scratch_words)
{
    return encrypt(out, length, tables, key, expander, noise_seed, values, RLWE_64, n, 0, rlwe_of(tables)->radix - 1, first, scratch, scratch_words);
}

/* For |v| < 2^63 and bound < 2^47, v + bound mod 2^64 is in 0 .. 2 bound exactly where |v| <= bound. */
int privcomp_rlwe_encrypt_i32(uint8_t *out, size_t length, const uint64_t *tables, const uint64_t *key, const uint8_t *expander,
                              const uint8_t *noise_seed, const int32_t *values, size_t n, uint64_t bound, uint64_t first, uint64_t *scratch,
                              size_t scratch_words)
{
    REFUSE(bound >= RLWE_RADIX_MAX);
    return encrypt(out, length, tables, key, expander, noise_seed, values, RLWE_I32, n, bound, 2 * bound, first, scratch, scratch_words);
}

int privcomp_rlwe_encrypt_i64(uint8_t *out, size_t length, const uint64_t *tables, const uint64_t *key, const uint8_t *expander,
                              const uint8_t *noise_seed, const int64_t *values, size_t n, uint64_t bound, uint64_t first, uint64_t *scratch,
                              size_t scratch_words)
{
    REFUSE(bound >= RLWE_RADIX_MAX);
    return encrypt(out, length, tables, key, expander, noise_seed, values, RLWE_64, n, bound, 2 * bound, first, scratch, scratch_words);
}

/* ---- sums ---- */

int privcomp_rlwe_check(const uint8_t *data, size_t length, const uint64_t *tables, uint64_t values)
{
    const rlwe_tables *const t = rlwe_of(tables);
    const struct rlwe *const k = pc_rlwe_at(privcomp_level_get());
    const int64_t want = privcomp_rlwe_bytes(tables, values);
    REFUSE(want < 0);
    if ((uint64_t)want != length) return PRIVCOMP_E_LENGTH;
    uint64_t bit = 0;
    for (uint64_t left = coefficients_of(t, values); left > 0;) {
        const size_t used = left < t->degree ? (size_t)left : t->degree;
        for (size_t r = 0; r < t->primes; r++) {
            if (!k->check(data, length, bit, used, &t->prime[r])) return PRIVCOMP_E_CANONICAL;
            bit += (uint64_t)used * t->prime[r].bits;
        }
        left -= used;
    }
    if (bit & 7 && data[bit >> 3] >> (bit & 7) != 0) return PRIVCOMP_E_CANONICAL;
    return PRIVCOMP_OK;
}

int privcomp_rlwe_add(uint64_t *total, size_t words, const uint8_t *data, size_t length, const uint64_t *tables, uint64_t values)
{
    const rlwe_tables *const t = rlwe_of(tables);
    const struct rlwe *const k = pc_rlwe_at(privcomp_level_get());
    const int status = privcomp_rlwe_check(data, length, tables, values);
    if (status != PRIVCOMP_OK) return status;
    if (words != coefficients_of(t, values) * t->primes) return PRIVCOMP_E_LENGTH;
    uint64_t bit = 0;
    for (uint64_t left = coefficients_of(t, values); left > 0;) {
        const size_t used = left < t->degree ? (size_t)left : t->degree;
        for (size_t r = 0; r < t->primes; r++, total += used) {
            k->add(total, data, length, bit, used, &t->prime[r]);
            bit += (uint64_t)used * t->prime[r].bits;
        }
        left -= used;
    }
    return PRIVCOMP_OK;
}

/* ---- decoding ---- */

static size_t decode_words(const rlwe_tables *t) { return LINE / 8 - 1 + t->primes * t->degree; }

int64_t privcomp_rlwe_decode_scratch(const uint64_t *tables)
{
    const rlwe_tables *const t = rlwe_of(tables);
    return (int64_t)decode_words(t);
}

/* x below the product of the primes from its residues, by Garner's mixed radix: x = d0 + q0 (d1 + q1 (d2 + ..)). */
PC_INLINE void combine(uint64_t x[LIMBS], const uint64_t *residues, const rlwe_tables *t, const size_t primes)
{
    uint64_t d[RLWE_PRIMES];
    for (size_t r = 0; r < primes; r++) {
        const rlwe_prime *const p = &t->prime[r];
        uint64_t v = residues[r * t->degree];
        /* d[j] < q_j may be above q_r: it is reduced first */
        for (size_t j = 0; j < r; j++) {
            const uint64_t lower = rlwe_lazy(d[j], 1, UINT64_MAX / p->q, p->q); /* < 2 q_r */
            v = rlwe_once(rlwe_lazy(v + 2 * p->q - lower, p->garner[j].w, p->garner[j].quotient, p->q), p->q);
        }
        d[r] = v;
    }
    if (primes <= 2) {
        const u128 two = primes == 1 ? d[0] : (u128)d[1] * t->prime[0].q + d[0];
        x[0] = (uint64_t)two, x[1] = (uint64_t)(two >> 64);
        return;
    }
    for (int i = 0; i < LIMBS; i++) x[i] = 0;
    for (size_t r = primes; r-- > 0;) limbs_axpy(x, t->prime[r].q, d[r]);
}

/* floor(x / d) for x < 2^63 and 2 <= d < 2^63, reciprocal = floor(2^64 / d): the estimate is right or one less. */
PC_INLINE uint64_t divide_word(uint64_t *rest, uint64_t x, uint64_t d, uint64_t reciprocal)
{
    uint64_t q = (uint64_t)(((u128)x * reciprocal) >> 64), r = x - q * d;
    if (r >= d) q++, r -= d;
    *rest = r;
    return q;
}

/* What decoding knows before it begins, and what it finds. */
typedef struct {
    divider delta, part;      /* by Delta, by M^group */
    divider joint;            /* by Delta M^group, if two parts of two primes come off by it; else the divisor is 0 */
    uint64_t delta_word, delta_reciprocal;
    uint64_t half, reciprocal; /* floor(Delta / 2), floor(2^64 / M) */
    uint64_t most, squares[3], largest; /* of digits */
    int ok;
} decoder;

PC_INLINE void found_noise(decoder *s, uint64_t most, u128 squares)
{
    const u128 low = ((u128)s->squares[1] << 64 | s->squares[0]) + squares;
    s->squares[2] += low < squares;
    s->squares[1] = (uint64_t)(low >> 64), s->squares[0] = (uint64_t)low;
    if (most > s->most) s->most = most;
}

/* The coefficients i0 .. used - 1 of one polynomial, with m values. */
PC_INLINE void decode_polynomial(uint64_t *out, size_t m, size_t i0, size_t used, const uint64_t *residues, uint64_t shift, const rlwe_tables *t, decoder *s,
                                 const size_t limbs, const size_t primes)
{
    const size_t digits = t->digits, group = t->group;
    for (size_t i = i0; i < used; i++) {
        uint64_t u[LIMBS];
        combine(u, residues + i, t, primes);
        uint64_t low_part = 0, left;
        const int joint = primes == 2 && s->joint.divisor != 0;
        if (joint) {
            const u128 shifted = (((u128)u[1] << 64) | u[0]) << s->joint.shift; /* < 2^64 divisor */
            uint64_t rest = (uint64_t)(shifted >> 64);
            u[0] = divide_step(&rest, (uint64_t)shifted, &s->joint), u[1] = 0;
            low_part = divide_word(&left, rest >> s->joint.shift, s->delta_word, s->delta_reciprocal);
        } else {
            left = limbs_divide(u, limbs, &s->delta);
        }
        const int64_t e = (int64_t)(left - s->half);
        const uint64_t size = (uint64_t)(e < 0 ? -e : e);
        found_noise(s, size, (u128)size * size);
        for (size_t l = 0; l < digits; l += group) {
            const size_t end = l + group < digits ? l + group : digits;
            uint64_t part = u[0], v;
            if (end < digits) part = joint ? low_part : limbs_divide(u, limbs, &s->part);
            else /* the last part is all that is left: one word, below 2^63, or too much */
                for (size_t w = 1; w < limbs; w++) s->ok &= u[w] == 0;
            s->ok &= part >> 63 == 0;
            for (size_t at = i * digits + l; at < i * digits + end; at++) {
                part = divide_word(&v, part, t->radix, s->reciprocal);
                if (v > s->largest) s->largest = v;
                if (at < m) out[at] = v - shift;
                else s->ok &= v == 0;
            }
            s->ok &= part == 0;
        }
    }
}

/* Digits less `shift`, modulo 2^64. */
static int decode_var(uint64_t *sums, size_t n, uint64_t shift, uint64_t *largest, uint64_t *noise, const uint64_t *total, size_t words,
                      const uint64_t *tables, const uint64_t *key, const uint8_t *expander, uint64_t first, uint64_t *scratch, size_t scratch_words)
{
    const rlwe_tables *const t = rlwe_of(tables);
    const size_t degree = t->degree, digits = t->digits, per_polynomial = degree * digits;
    REFUSE(n > (uint64_t)1 << 40 || first > UINT32_MAX || (n + per_polynomial - 1) / per_polynomial > ((uint64_t)1 << 32) - first);
    if (words != coefficients_of(t, n) * t->primes || scratch_words < decode_words(t)) return PRIVCOMP_E_LENGTH;
    const pc_level *const level = pc_level_table();
    const struct rlwe *const k = pc_rlwe_at(privcomp_level_get());
    decoder d = {.delta = divider_of(t->delta), .half = t->delta / 2, .reciprocal = UINT64_MAX / t->radix, .ok = 1}; /* or one less */
    uint64_t base = 1;
    for (size_t l = 0; l < t->group; l++) base *= t->radix;
    d.part = divider_of(base);
    d.delta_word = t->delta, d.delta_reciprocal = UINT64_MAX / t->delta;
    if (t->primes == 2 && t->parts == 2 && (u128)base * t->delta < (u128)1 << 63) {
        d.joint = divider_of(base * t->delta);
        if (t->bits + d.joint.shift > 127) d.joint.divisor = 0; /* the quotient would not fit a word: it does for u < 2^64 Delta M^group */
    }
    const int lanes = k->decode_var != NULL && rlwe_in_lanes(t);
    uint64_t half_of[RLWE_PRIMES];
    scratch = aligned(scratch);
    pc_stream s;
    expander_init(&s, expander, level);
    for (size_t r = 0; r < t->primes; r++) half_of[r] = d.half % t->prime[r].q;
    uint64_t *out = sums;
    for (uint64_t j = first, left = n; left > 0; j++) {
        const size_t m = left < per_polynomial ? (size_t)left : per_polynomial, used = (size_t)coefficients_of(t, m);
        for (size_t r = 0; r < t->primes; r++) {
            uint64_t *const x = scratch + r * degree;
            expand(x, &s, j, r, t, k, level);
            k->product(x, rlwe_key_at(t, key, r), t, r);
        }
        size_t done = 0;
        if (lanes) {
            rlwe_found found = {.ok = 1};
            done = k->decode_var(out, m / digits, scratch, total, used, shift, t, &found);
            if (found.largest > d.largest) d.largest = found.largest;
            found_noise(&d, found.most, found.squares);
            d.ok &= found.ok;
        }
        for (size_t r = 0; r < t->primes; r++, total += used) {
            uint64_t *const x = scratch + r * degree, q = t->prime[r].q;
            uint64_t above = 0;
            for (size_t i = done; i < used; i++) {
                above |= (q - 1 - total[i]) | total[i]; /* the highest bit: total >= q, or total >= 2^63 */
                x[i] = rlwe_once(rlwe_once(total[i] + (q - x[i]), q) + half_of[r], q);
            }
            if (above >> 63) d.ok = 0;
        }
        if (t->primes == 1) decode_polynomial(out, m, done, used, scratch, shift, t, &d, 1, 1);
        else if (t->primes == 2) decode_polynomial(out, m, done, used, scratch, shift, t, &d, 2, 2);
        else if (t->primes == 3) decode_polynomial(out, m, done, used, scratch, shift, t, &d, 3, 3);
        else decode_polynomial(out, m, done, used, scratch, shift, t, &d, 4, 4);
        out += m;
        left -= m;
    }
    noise[0] = d.most;
    for (int i = 0; i < 3; i++) noise[1 + i] = d.squares[i];
    *largest = d.largest;
    if (!d.ok) {
        memset(sums, 0, 8 * n);
        memset(noise, 0, 8 * PRIVCOMP_RLWE_NOISE_WORDS);
        *largest = 0;
    }
    return d.ok ? PRIVCOMP_OK : PRIVCOMP_E_CANONICAL;
}

int privcomp_rlwe_decode_var(uint64_t *sums, size_t n, uint64_t *noise, const uint64_t *total, size_t words, const uint64_t *tables,
                             const uint64_t *key, const uint8_t *expander, uint64_t first, uint64_t *scratch, size_t scratch_words)
{
    uint64_t largest;
    return decode_var(sums, n, 0, &largest, noise, total, words, tables, key, expander, first, scratch, scratch_words);
}

int privcomp_rlwe_decode_signed_var(int64_t *sums, size_t n, uint64_t shift, uint64_t *largest, uint64_t *noise, const uint64_t *total, size_t words,
                                    const uint64_t *tables, const uint64_t *key, const uint8_t *expander, uint64_t first, uint64_t *scratch,
                                    size_t scratch_words)
{
    REFUSE(shift >= RLWE_RADIX_MAX);
    return decode_var((uint64_t *)sums, n, shift, largest, noise, total, words, tables, key, expander, first, scratch, scratch_words);
}
