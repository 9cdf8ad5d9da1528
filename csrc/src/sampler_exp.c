/* Discrete Gaussian, discrete Laplace and Bernoulli(exp(-x)): tables, the exact decision, and the portable kernel. */
#include "sampler_exp.h"

/* ---- the exact decision ----
 *
 * Fixed point with L fraction limbs, P = 64 L, ulp = 2^-P. e^-phi for phi = N / D < 2^11:
 *   Q = floor(phi 2^P), z = floor(Q / 2^19) ulp, so that z <= phi / 2^19 < z + 1.01 ulp and z < 2^-8
 *   e^-z by Horner's rule, h <- 1 - floor(floor(z h) / k) for k = 8 L .. 1: an error d becomes at most (2^-8 d + 1) / k + 1 ulp, which
 *   stays below 2.01; the terms left out are below z^(8 L + 1) < ulp / 2^8. With the error of z: below 4 ulp.
 *   19 squarings, rounded down: an error d <= 2^22 becomes at most 2 d + 1 + d^2 ulp <= 2 d + 2 ulp, at the end < (4 + 2) 2^19 < 2^22 ulp.
 * If phi >= 2^11, then e^-phi < 2^-2954 < ulp, and 0 is nearer than that.
 *
 * T = scale 2^a e^-phi / (2^40 V). Of U the first k words are known: u 2^-64k <= U < (u + 1) 2^-64k. Multiplied by 2^(40 + P) V,
 *   accept if (u + 1) V 2^(40 + P - 64k) <= scale 2^a (E - 2^22)        reject if u V 2^(40 + P - 64k) >= scale 2^a (E + 2^22)
 * for E = e^-phi in ulps, and otherwise another word is taken. P >= 64 (k + 1) + a, so the right-hand sides differ by 2^23 scale 2^a, at most
 * 2^(85 + a), and a step of u is at least 2^(40 + 64 + a): each further word leaves a chance of less than 2^-63 that it is not the last.
 *
 * k <= 33 - used, where a <= 64 used, so L = k + 1 + ceil(a / 64) <= 34.
 */
#define LIMBS 34       /* check: 33 + 1 */
#define HALVINGS 19    /* check: 2**19 == 2**11 * 2**8 */
#define ERROR_ULPS ((uint64_t)1 << 22)
#define PLACED (LIMBS + SAMPLER_EXTENSION + 6) /* limbs of both sides: E has L + 1, scale 1, 2^a at most 32 and 1, and one is spare */

typedef struct {
    uint64_t numerator[4], denominator[3];
} fraction;

/* What a decision leaves on the stack, in one place so that it can be wiped. */
typedef struct {
    fraction phi;
    uint64_t rest[3];
    uint64_t z[LIMBS + 1], e[LIMBS + 1], product[2 * (LIMBS + 1)];
    uint64_t u[LIMBS + 1], near[LIMBS + 2], left[PLACED], right[PLACED];
} decision;

/* rest = 2 rest + bit; if it is >= d, subtracts d and returns 1. rest < d < 2^130 on entry and on return. */
PC_INLINE uint64_t divide_step(uint64_t rest[3], const uint64_t d[3], uint64_t bit)
{
    uint64_t t[3], borrow = 0;
    rest[2] = rest[2] << 1 | rest[1] >> 63;
    rest[1] = rest[1] << 1 | rest[0] >> 63;
    rest[0] = rest[0] << 1 | bit;
    for (int i = 0; i < 3; i++) {
        const u128 x = (u128)rest[i] - d[i] - borrow;
        t[i] = (uint64_t)x;
        borrow = (uint64_t)(x >> 64) & 1;
    }
    if (borrow) return 0;
    memcpy(rest, t, sizeof t);
    return 1;
}

/* z = floor(phi 2^(64 L)) in L + 1 limbs; 0 if phi >= 2^11, and z is then nothing. */
static int quotient(decision *s, size_t limbs)
{
    memset(s->rest, 0, sizeof s->rest);
    memset(s->z, 0, sizeof s->z);
    for (int i = 255; i >= 0; i--) {
        s->z[limbs] = s->z[limbs] << 1 | divide_step(s->rest, s->phi.denominator, s->phi.numerator[i / 64] >> i % 64 & 1);
        if (s->z[limbs] >> 11) return 0;
    }
    for (size_t i = limbs; i-- > 0;)
        for (int j = 0; j < 64; j++) s->z[i] = s->z[i] << 1 | divide_step(s->rest, s->phi.denominator, 0);
    return 1;
}

/* out = floor(a b 2^(-64 limbs)), all of limbs + 1 limbs, a and b at most 1 as fixed-point numbers. out may be a or b. */
static void fixed_mul(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t limbs, uint64_t *product)
{
    const size_t n = limbs + 1;
    memset(product, 0, 2 * n * sizeof *product);
    for (size_t i = 0; i < n; i++) {
        uint64_t carry = 0;
        for (size_t j = 0; j < n; j++) {
            const u128 x = (u128)a[i] * b[j] + product[i + j] + carry;
            product[i + j] = (uint64_t)x;
            carry = (uint64_t)(x >> 64);
        }
        product[i + n] = carry;
    }
    memcpy(out, product + limbs, n * sizeof *out);
    VERIFY(product[2 * n - 1] == 0 && out[limbs] <= 1);
}

/* s->e = e^-phi 2^(64 L), off by less than 2^22. */
static void exponential(decision *s, size_t limbs)
{
    memset(s->e, 0, sizeof s->e);
    if (!quotient(s, limbs)) return;
    for (size_t i = 0; i <= limbs; i++) s->z[i] = s->z[i] >> HALVINGS | (i < limbs ? s->z[i + 1] << (64 - HALVINGS) : 0);
    VERIFY(s->z[limbs] == 0 && s->z[limbs - 1] >> 56 == 0);
    s->e[limbs] = 1;
    for (uint64_t k = 8 * limbs; k >= 1; k--) {
        uint64_t rest = 0, borrow = 0;
        fixed_mul(s->e, s->z, s->e, limbs, s->product);
        for (size_t i = limbs + 1; i-- > 0;) {
            const u128 x = (u128)rest << 64 | s->e[i];
            s->e[i] = (uint64_t)(x / k);
            rest = (uint64_t)(x % k);
        }
        for (size_t i = 0; i <= limbs; i++) { /* 1 - e */
            const u128 x = (u128)(i == limbs) - s->e[i] - borrow;
            s->e[i] = (uint64_t)x;
            borrow = (uint64_t)(x >> 64) & 1;
        }
        VERIFY(borrow == 0);
    }
    for (int i = 0; i < HALVINGS; i++) fixed_mul(s->e, s->e, s->e, limbs, s->product);
}

/* out = in factor 2^shift */
static void place(uint64_t out[PLACED], const uint64_t *in, size_t n, uint64_t factor, size_t shift)
{
    const size_t skip = shift / 64, bits = shift % 64;
    uint64_t carry = 0, low = 0;
    memset(out, 0, PLACED * sizeof *out);
    VERIFY(skip + n + 2 <= PLACED);
    for (size_t i = 0; i < n + 2; i++) {
        const u128 x = (u128)(i < n ? in[i] : 0) * factor + carry;
        const uint64_t digit = (uint64_t)x;
        carry = (uint64_t)(x >> 64);
        out[skip + i] = bits ? digit << bits | low >> (64 - bits) : digit;
        low = digit;
    }
}

/* Whether a >= b. */
static int at_least(const uint64_t *a, const uint64_t *b)
{
    for (size_t i = PLACED; i-- > 0;)
        if (a[i] != b[i]) return a[i] > b[i];
    return 1;
}

/* out[0 .. n - 1] += x; the carry leaves. */
static void increase(uint64_t *out, size_t n, uint64_t x)
{
    for (size_t i = 0; i < n; i++) {
        out[i] += x;
        x = out[i] < x;
    }
}

/* out[0 .. n - 1] -= x, but not below 0. */
static void decrease(uint64_t *out, size_t n, uint64_t x)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t before = out[i];
        out[i] -= x;
        x = before < x;
    }
    if (x) memset(out, 0, n * sizeof *out);
}

/* Whether U < scale 2^a e^-phi / (2^40 v), where U begins with `word` and goes on with extension word `used` of the candidate. */
static int decide(decision *s, uint64_t scale, uint32_t v, unsigned a, uint64_t word, pc_sampler *p, uint64_t candidate, unsigned used)
{
    VERIFY(a <= 64 * used && v > 0);
    for (size_t k = 1; used + k - 1 <= SAMPLER_EXTENSION; k++) {
        const size_t limbs = k + 1 + (a + 63) / 64, shift = EXP_C_BITS + 64 * (limbs - k);
        VERIFY(limbs <= LIMBS);
        /* u, the words from the lowest on: the words before are worth 2^64 times as much as they were */
        memmove(s->u + 1, s->u, (k - 1) * sizeof *s->u);
        s->u[0] = k == 1 ? word : pc_sampler_extension(p, candidate, used + (unsigned)k - 2);
        s->u[k] = 0;
        exponential(s, limbs);
        memcpy(s->near, s->e, (limbs + 1) * sizeof *s->e);
        increase(s->near, limbs + 1, ERROR_ULPS);
        place(s->left, s->u, k, v, shift);
        place(s->right, s->near, limbs + 1, scale, a);
        if (at_least(s->left, s->right)) return 0;
        memcpy(s->near, s->e, (limbs + 1) * sizeof *s->e);
        decrease(s->near, limbs + 1, ERROR_ULPS);
        place(s->right, s->near, limbs + 1, scale, a);
        memcpy(s->near, s->u, (k + 1) * sizeof *s->u);
        increase(s->near, k + 1, 1);
        place(s->left, s->near, k + 1, v, shift);
        if (at_least(s->right, s->left)) return 1;
    }
    p->exhausted = 1;
    return 0;
}

/* x y, for four words and two. */
static void product_2x2(uint64_t out[4], const uint64_t x[2], const uint64_t y[2])
{
    memset(out, 0, 4 * sizeof *out);
    for (int i = 0; i < 2; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < 2; j++) {
            const u128 t = (u128)x[i] * y[j] + out[i + j] + carry;
            out[i + j] = (uint64_t)t;
            carry = (uint64_t)(t >> 64);
        }
        out[i + 2] = carry;
    }
}

static int decide_exactly(const exp_table *t, uint64_t x, unsigned bin, unsigned a, uint64_t word, pc_sampler *p, uint64_t candidate,
                          unsigned used)
{
    decision s;
    const u128 square = (u128)x * x;
    const uint64_t power[2] = {t->gauss ? (uint64_t)square : x, t->gauss ? (uint64_t)(square >> 64) : 0};
    VERIFY(x >> 50 == 0);
    product_2x2(s.phi.numerator, power, t->denominator);
    /* the denominator of phi: 2 numerator, or numerator */
    s.phi.denominator[0] = t->numerator[0] << t->gauss;
    s.phi.denominator[1] = t->gauss ? t->numerator[1] << 1 | t->numerator[0] >> 63 : t->numerator[1];
    s.phi.denominator[2] = t->gauss ? t->numerator[1] >> 63 : 0;
    const int accept = decide(&s, t->scale, t->weight[bin], a, word, p, candidate, used);
    privcomp_wipe((uint8_t *)&s, sizeof s);
    return accept;
}

/* ---- one candidate ---- */

/* e^v to degree 11. */
PC_INLINE double exp_double(double v)
{
    double p = 1.0 / 39916800; /* check: 39916800 == 11 * 10 * 9 * 8 * 5040 */
    static const double inverse[11] = {1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800};
    for (int i = 10; i >= 0; i--) p = p * v + inverse[i];
    return p;
}

/* 2^n. requires -1022 <= n <= 1023. */
PC_INLINE double power_double(int n)
{
    const uint64_t bits = (uint64_t)(1023 + n) << 52; /* check: 1023 == 2**10 - 1 */
    double out;
    memcpy(&out, &bits, 8);
    return out;
}

int pc_exp_candidate(int64_t *value, const exp_table *t, pc_sampler *s, uint64_t i, uint64_t a, uint64_t b)
{
    unsigned used = 0, exponent = 0, bin = exp_bin(t, a);
    uint64_t block = bin, word = a;
    if (bin == EXP_TAIL && t->gauss) {
        uint64_t zeros;
        do zeros = pc_sampler_extension(s, i, used++);
        while (zeros == 0 && !s->exhausted);
        if (s->exhausted) return 0;
        const unsigned g = 64 * (used - 1) + (unsigned)__builtin_ctzll(zeros);
        block = EXP_TAIL + (uint64_t)g;
        exponent = g + 1;
    } else if (bin == EXP_TAIL) {
        block = 0;
        while (bin == EXP_TAIL) {
            word = pc_sampler_extension(s, i, used++);
            if (s->exhausted) return 0;
            block += EXP_TAIL;
            exponent += t->step;
            bin = exp_bin(t, word);
        }
        block += bin;
    }
    const uint64_t sign = a >> EXP_SIGN_BIT & 1, y = (block << t->shift) + exp_offset(word, t->shift), x = y + sign;
    const uint64_t out = y ^ (0 - sign);
    memcpy(value, &out, 8);

    /* In double: x < 2^50 is exact, x^2, rate and their product are off by 2^-50 in all, relative to q; T by as much times q log(2), and
     * T q <= log2(c 2^a / W) + 1 <= 87 for a <= 64; by 2^-46.6 for the series, and by 2^-51 for what is left: in all by less than 2^-43. */
    if (exponent <= 64) {
        double q = t->gauss ? (double)x * (double)x * t->rate : (double)x * t->rate;
        if (q > 900) q = 900; /* then T < 2^(22 + 64 - 899) */
        const int n = (int)(q + 0.5);
        const double threshold = t->ratio[bin] * exp_double(((double)n - q) * 0.69314718055994530942) * power_double((int)exponent - n);
        const double uniform = (double)(b >> 11) * 0x1p-53, over = threshold - uniform;
        if (over > t->band || over < -t->band) {
#ifdef PRIVCOMP_VERIFY
            if (i % 64 == 0) VERIFY((over > 0) == decide_exactly(t, x, bin, exponent, b, s, i, used));
#endif
            return over > 0;
        }
    }
    return decide_exactly(t, x, bin, exponent, b, s, i, used);
}

/* ---- tables ---- */

static double to_double(const uint64_t x[2]) { return (double)((u128)x[1] << 64 | x[0]); }

/* What indexes memory is bounded here, in a copy. */
int pc_exp_table_load(exp_table *t, const privcomp_exp_table *from)
{
    privcomp_exp_table in;
    uint32_t mass[PRIVCOMP_SAMPLER_BINS] = {0};
    memcpy(&in, from, sizeof in);
    if ((in.kind != PRIVCOMP_SAMPLER_GAUSS && in.kind != PRIVCOMP_SAMPLER_LAPLACE) || in.shift > EXP_SHIFT_MAX ||
        in.band_single > EXP_BAND_SINGLE || in.band_double > EXP_BAND_DOUBLE || in.scale == 0 || in.scale > (uint64_t)1 << 62 ||
        (in.numerator[0] | in.numerator[1]) == 0 || (in.denominator[0] | in.denominator[1]) == 0)
        return 0;
    for (int j = 0; j < PRIVCOMP_SAMPLER_BINS; j++) {
        const uint32_t threshold = in.alias[j] >> 6, other = in.alias[j] % PRIVCOMP_SAMPLER_BINS;
        if (threshold > 0xffff) return 0; /* check: 0xffff == 2**16 - 1 */
        mass[j] += threshold;
        mass[other] += 0x10000 - threshold; /* check: 0x10000 == 2**16 */
    }
    for (int j = 0; j < PRIVCOMP_SAMPLER_BINS; j++)
        if (in.weight[j] == 0 || mass[j] != in.weight[j]) return 0; /* the masses are 64 2^16 = 2^22 in all, and so the weights are */
    const uint32_t tail = in.weight[EXP_TAIL];
    t->gauss = in.kind == PRIVCOMP_SAMPLER_GAUSS;
    if (!t->gauss && (tail & (tail - 1))) return 0;
    t->step = EXP_MASS_BITS - (unsigned)__builtin_ctz(tail);
    memcpy(t->alias, in.alias, sizeof t->alias);
    memcpy(t->weight, in.weight, sizeof t->weight);
    memcpy(t->numerator, in.numerator, sizeof t->numerator);
    memcpy(t->denominator, in.denominator, sizeof t->denominator);
    t->scale = in.scale;
    t->shift = in.shift;
    t->near = in.shift < EXP_NEAR_SHIFT ? in.shift : EXP_NEAR_SHIFT;
    t->band = power_double(-(int)in.band_double);
    t->band_single = (float)power_double(-(int)in.band_single);
    for (int j = 0; j < PRIVCOMP_SAMPLER_BINS; j++) {
        t->ratio[j] = (double)in.scale / ((double)in.weight[j] * 0x1p40);
        t->ratio_single[j] = (float)t->ratio[j];
    }
    /* The tail compares with nothing: kernels leave it undecided. */
    const uint32_t nan = 0x7fc00000; /* check: 0x7fc00000 == 511 * 2**22 */
    memcpy(&t->ratio_single[EXP_TAIL], &nan, 4);
    const double log2e = 1.44269504088896340736, unit = power_double((int)(t->shift - t->near));
    t->rate = (t->gauss ? log2e / 2 : log2e) * (to_double(in.denominator) / to_double(in.numerator));
    const double near_rate = t->gauss ? t->rate * unit * unit : t->rate * unit;
    t->rate_single = (float)(near_rate < 0x1p100 ? near_rate : 0x1p100); /* beyond, one step is as good as infinity */
    return 1;
}

/* ---- the portable kernel ----
 *
 * T in float, in loops that compilers turn into vectors. x is read to 2^(m - near), and q = phi(x) log2(e) is clamped to 120.
 * Errors, in units of 2^-24, for T <= 1, c / W_j <= 2^22 (so that T q <= log2(c / W_j) + T log2(1 / T) < 22.6):
 *   q: x, x^2, the rate and its product, relative 5: T q log(2) 5 <= 79; the same for what is cut off of x, if m > 24: q moves by at most
 *      log2(e) (x / sigma) (2^(m - 24) / sigma) < 1.443 * 18.3 * 2/7 = 7.6 (Gaussian), T by no more
 *   series: 2^-17.8 = 74; its roundings and those of ratio and product: 12; U is cut to 24 bits: 1
 * in all less than 174 = 2^-16.5, and the band is 2^-15. Sums and products that a compiler contracts only err less.
 */
#define BLOCK 64

typedef union {
    float number;
    int32_t bits;
} float_bits;

size_t pc_sample_exp_portable(int64_t *out, size_t count, uint64_t first, struct pc_sampler *s, const void *table)
{
    const exp_table *const t = table;
    const float rate = t->rate_single, band = t->band_single, linear = t->gauss ? 0.0f : 1.0f, square = t->gauss ? 1.0f : 0.0f;
    const unsigned m = t->shift, near = t->near;
    const uint64_t sign_counts = m == near; /* else a sign is less than a unit, and cut off */
    int64_t value[BLOCK];
    int32_t x[BLOCK], u[BLOCK];
    float ratio[BLOCK], over[BLOCK];
    size_t k = 0;
    for (size_t at = 0; at < count; at += BLOCK) {
        const size_t n = count - at < BLOCK ? count - at : BLOCK;
        const uint64_t *const w = s->words + 2 * at;
        for (size_t i = 0; i < n; i++) {
            const uint64_t a = PC_LE64(w[2 * i]), b = PC_LE64(w[2 * i + 1]);
            const uint64_t bin = exp_bin(t, a), sign = a >> EXP_SIGN_BIT & 1, y = ((bin << m) + exp_offset(a, m)) ^ (0 - sign);
            memcpy(&value[i], &y, 8);
            ratio[i] = t->ratio_single[bin];
            x[i] = (int32_t)((bin << near) + exp_offset(a, near) + (sign & sign_counts));
            u[i] = (int32_t)(b >> 40);
        }
        for (size_t i = 0; i < n; i++) {
            const float v = (float)x[i];
            float_bits q = {v * (v * square + linear) * rate}, power;
            /* numbers >= 0 are in the order of their bits, and compilers find the minimum of integers; 120.0f */
            q.bits = q.bits < 0x42f00000 ? q.bits : 0x42f00000; /* check: struct.unpack("<i", struct.pack("<f", 120.0)) */
            const int32_t steps = (int32_t)(q.number + 0.5f);
            const float r = ((float)steps - q.number) * 0.693147181f;
            power.bits = (127 - steps) << 23;
            const float series = 1.0f + r * (1.0f + r * (1.0f / 2 + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120)))));
            over[i] = ratio[i] * (series * power.number) - (float)u[i] * 0x1p-24f;
        }
        for (size_t i = 0; i < n; i++) {
            int accept = over[i] > band;
            if (__builtin_expect(!accept & !(over[i] < -band), 0))
                accept = pc_exp_candidate(&value[i], t, s, first + at + i, PC_LE64(w[2 * i]), PC_LE64(w[2 * i + 1]));
#ifdef PRIVCOMP_VERIFY
            int64_t again;
            VERIFY(accept == pc_exp_candidate(&again, t, s, first + at + i, PC_LE64(w[2 * i]), PC_LE64(w[2 * i + 1])));
            VERIFY(!accept || again == value[i]);
#endif
            out[k] = value[i];
            k += (size_t)accept;
        }
    }
    privcomp_wipe((uint8_t *)value, sizeof value);
    privcomp_wipe((uint8_t *)x, sizeof x);
    privcomp_wipe((uint8_t *)u, sizeof u);
    privcomp_wipe((uint8_t *)ratio, sizeof ratio);
    privcomp_wipe((uint8_t *)over, sizeof over);
    return k;
}

/* ---- the functions ---- */

static int sample(enum pc_op op, void *dst, size_t n, const privcomp_exp_table *table, const uint8_t *seeds, int cipher)
{
    exp_table t;
    if (!pc_exp_table_load(&t, table)) return PRIVCOMP_E_ARGUMENT;
    return pc_sampler_run(op, dst, n, pc_level_table()->sample_exp, &t, seeds, cipher);
}

int privcomp_sample_exp_var(int64_t *out, size_t n, const privcomp_exp_table *table, const uint8_t *seeds, int cipher)
{
    return sample(PC_STORE, out, n, table, seeds, cipher);
}

int privcomp_sample_exp_add_u32_var(uint32_t *acc, size_t n, const privcomp_exp_table *table, const uint8_t *seeds, int cipher)
{
    return sample(PC_ADD32, acc, n, table, seeds, cipher);
}

int privcomp_sample_exp_add_u64_var(uint64_t *acc, size_t n, const privcomp_exp_table *table, const uint8_t *seeds, int cipher)
{
    return sample(PC_ADD64, acc, n, table, seeds, cipher);
}

int privcomp_bernoulli_exp_var(uint8_t *out, size_t n, const uint64_t *numerator, const uint64_t *denominator, unsigned band,
                               const uint8_t *seeds, int cipher)
{
    const size_t seed_bytes = pc_seed_bytes(cipher);
    decision d;
    pc_sampler s;
    memset(&d, 0, sizeof d);
    memcpy(d.phi.numerator, numerator, 16);
    memcpy(d.phi.denominator, denominator, 16);
    if (seed_bytes == 0 || n > SAMPLER_MAX_N || band > 64 || (d.phi.denominator[0] | d.phi.denominator[1]) == 0) return PRIVCOMP_E_ARGUMENT;
    s.cipher = cipher;
    s.exhausted = 0;
    s.level = pc_level_table();
    pc_stream_init(&s.first, cipher, seeds, s.level);
    pc_stream_init(&s.second, cipher, seeds + seed_bytes, s.level);

    /* low <= e^-phi 2^64 and e^-phi 2^64 <= high: a word below low is below e^-phi whatever follows it, one at high or above is not. */
    exponential(&d, 2);
    memcpy(d.near, d.e, sizeof d.e);
    decrease(d.near, 3, ERROR_ULPS);
    u128 low = (u128)d.near[2] << 64 | d.near[1];
    increase(d.e, 3, ERROR_ULPS);
    u128 high = ((u128)d.e[2] << 64 | d.e[1]) + 1;
    const unsigned drop = 64 - band;
    low = low >> drop << drop;
    high = ((high + (((u128)1 << drop) - 1)) >> drop) << drop;
    for (size_t at = 0; at < n && !s.exhausted; at += SAMPLER_TILE) {
        const size_t count = n - at < SAMPLER_TILE ? n - at : SAMPLER_TILE;
        pc_stream_apply(PC_STORE, (uint8_t *)s.words, 16 * count, &s.first, 16 * at, cipher, s.level);
        for (size_t i = 0; i < count; i++) {
            const uint64_t a = PC_LE64(s.words[2 * i]);
            int one = a < low;
            if (__builtin_expect(a >= low && a < high, 0)) one = decide(&d, (uint64_t)1 << EXP_C_BITS, 1, 0, a, &s, at + i, 0);
            out[at + i] = (uint8_t)one;
        }
    }
    const int ok = !s.exhausted;
    if (!ok) privcomp_wipe(out, n);
    privcomp_wipe((uint8_t *)&s, sizeof s);
    privcomp_wipe((uint8_t *)&d, sizeof d);
    return ok ? PRIVCOMP_OK : PRIVCOMP_E_ENTROPY;
}
