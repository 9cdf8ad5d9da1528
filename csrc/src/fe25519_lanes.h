/* What follows from the arithmetic of fe25519_ifma.h or fe25519_fma.h, for a number in each of LANES lanes. The including file defines
 *   LANE_TARGET, LANES, FE (a vector of numbers), FE_(name) (its functions), LANE_(name) (of a vector of integers)
 * Constant time in every value. */

/* Canonical limbs of |a|, for a tight. */
LANE_TARGET static inline FE_(wide) FE_(abs)(FE a)
{
    const FE_(wide) out = FE_(canonical)(a);
    return FE_(select_wide)(out, FE_(canonical)(FE_(sub)(FE_(all)(fe_zero), a)), FE_(odd)(out));
}

/* A chain of squares waits for each result before the next; of two vectors side by side one fills the gaps of the other. */
enum { FE_(SIDE) = 2 };

LANE_TARGET static void FE_(squares)(FE *out, const FE *a, size_t vectors, int n)
{
    for (size_t h = 0; h < vectors; h++) out[h] = FE_(square_inline)(a[h]);
    while (--n > 0)
        for (size_t h = 0; h < vectors; h++) out[h] = FE_(square_inline)(out[h]);
}

/* out = a^(2^n) b */
LANE_TARGET static void FE_(squares_mul)(FE *out, const FE *a, size_t vectors, int n, const FE *b)
{
    FE t[FE_(SIDE)];
    FE_(squares)(t, a, vectors, n);
    for (size_t h = 0; h < vectors; h++) out[h] = FE_(mul_inline)(t[h], b[h]);
}

/* a^((p - 5) / 8) for 1 to SIDE vectors, by the same chain as fe_pow_p58; e<k> is a^(2^k - 1). */
LANE_TARGET static void FE_(pow_p58)(FE *out, const FE *a, size_t vectors)
{
    FE a2[FE_(SIDE)], a9[FE_(SIDE)], a11[FE_(SIDE)], e5[FE_(SIDE)], e10[FE_(SIDE)], e20[FE_(SIDE)], e50[FE_(SIDE)], e[FE_(SIDE)];
    FE_(squares)(a2, a, vectors, 1);
    FE_(squares_mul)(a9, a2, vectors, 2, a);
    for (size_t h = 0; h < vectors; h++) a11[h] = FE_(mul)(a9[h], a2[h]);
    FE_(squares_mul)(e5, a11, vectors, 1, a9);
    FE_(squares_mul)(e10, e5, vectors, 5, e5);
    FE_(squares_mul)(e20, e10, vectors, 10, e10);
    FE_(squares_mul)(e, e20, vectors, 20, e20);
    FE_(squares_mul)(e50, e, vectors, 10, e10);
    FE_(squares_mul)(e, e50, vectors, 50, e50);
    FE_(squares_mul)(e, e, vectors, 100, e);
    FE_(squares_mul)(e, e, vectors, 50, e50);
    FE_(squares_mul)(out, e, vectors, 2, a);
}

/* 32 bytes from canonical limbs, for the first `count` lanes, `stride` bytes apart. */
LANE_TARGET static inline void FE_(to_bytes)(uint8_t *out, size_t stride, size_t count, FE_(wide) a)
{
    uint64_t limb[5][LANES];
    for (int i = 0; i < 5; i++) LANE_(store)(limb[i], a.v[i]);
    for (size_t j = 0; j < count; j++) {
        const fe one = {{limb[0][j], limb[1][j], limb[2][j], limb[3][j], limb[4][j]}};
        fe_to_bytes(out + stride * j, one);
    }
}

/* Of LANES numbers of 32 bytes, `offset` behind these addresses: limbs below 2^51, and the lanes with the top bit, which no limb has. */
LANE_TARGET PC_INLINE FE FE_(entry_var)(LANE_(mask) *top, const uint64_t *at, size_t offset)
{
    const uint8_t *from[LANES];
    LANE_(vec) w[4];
    PC_UNROLL
    for (int j = 0; j < LANES; j++) from[j] = (const uint8_t *)(uintptr_t)at[j] + offset;
    FE_(words)(w, from);
    *top = LANE_(negative)(w[3]);
    return FE_(of_limbs)(FE_(from_words)(w));
}

/* -a where `negative` is all ones, for the limbs of an entry or a tight number. */
LANE_TARGET PC_INLINE FE FE_(negate_entry)(FE a, const uint64_t negative[LANES])
{
    return FE_(negate_lanes)(a, LANE_(negative)(LANE_(load)(negative)));
}

/* Tight numbers, lane by lane, and back. */
LANE_TARGET static inline void FE_(lanes)(fe out[LANES], FE a)
{
    uint64_t words[5 * LANES];
    FE_(store)(words, a);
    for (size_t j = 0; j < LANES; j++) {
        uint64_t word[5];
        for (size_t i = 0; i < 5; i++) word[i] = words[LANES * i + j];
        out[j] = FE_(lane)(word);
        privcomp_wipe((uint8_t *)word, sizeof word);
    }
    privcomp_wipe((uint8_t *)words, sizeof words);
}

LANE_TARGET static inline FE FE_(of_lanes)(const fe a[LANES])
{
    uint64_t limb[5][LANES];
    FE_(wide) out;
    for (size_t j = 0; j < LANES; j++)
        for (size_t i = 0; i < 5; i++) limb[i][j] = a[j].v[i];
    for (size_t i = 0; i < 5; i++) out.v[i] = LANE_(load)(limb[i]);
    privcomp_wipe((uint8_t *)limb, sizeof limb);
    return FE_(carry)(out);
}
