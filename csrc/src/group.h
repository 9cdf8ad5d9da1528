/* What the two groups share: the table of functions that group.c chooses from, and how scalars become digits. */
#ifndef PC_GROUP_H
#define PC_GROUP_H

#include "wide.h"

#define GROUP_WINDOW 8                     /* bits of a fixed-base window */
#define GROUP_ENTRIES 128                  /* check: 2**(8 - 1) */
#define GROUP_ROWS_WINDOWS 4               /* tables of no more are for rows_var, others for fixed_var */
#define GROUP_MSM_BLOCK ((size_t)1 << 16)  /* points whose buckets are filled at once */
#define GROUP_STRAUS_MAX 96                /* fewer points than this have tables of their own instead of buckets */
#define GROUP_BIASED_WORDS 5

struct group {
    const mont *order;
    size_t encoding_bytes, uniform_bytes;
    size_t entry_bytes, rows_entry_bytes; /* of one addend in a fixed-base table, and in one of at most GROUP_ROWS_WINDOWS windows */
    size_t affine_words, point_words, cached_words;
    size_t lanes; /* how many additions msm_var does at once */
    int (*decode)(uint8_t *points, const uint8_t *encodings, size_t n);
    void (*encode)(uint8_t *encodings, const uint8_t *points, size_t n);
    void (*from_uniform)(uint8_t *points, const uint8_t *uniform, size_t n);
    int (*on_curve)(const uint8_t *points, size_t n);
    void (*generator)(uint8_t *point);
    void (*equal)(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n);
    void (*add)(uint8_t *out, const uint8_t *a, const uint8_t *b, uint64_t negate, size_t n);
    void (*sum)(uint8_t *out, const uint8_t *points, size_t rows, size_t n);
    void (*mul)(uint8_t *out, const uint8_t *points, const uint8_t *scalars, size_t n);
    void (*msm)(uint8_t *out, const uint8_t *points, const uint8_t *scalars, size_t n);
    void (*msm_var)(uint8_t *out, const uint8_t *points, const uint8_t *scalars, const int64_t *values, size_t n, uint64_t *scratch);
    void (*table)(uint8_t *table, const uint8_t *points, size_t n, unsigned windows);
    size_t (*rows_words)(size_t rows); /* of scratch, at most */
    void (*rows_var)(uint8_t *out, const uint8_t *table, const int32_t *values, size_t rows, size_t n, unsigned windows,
                     uint64_t *scratch);
    void (*fixed_var)(uint8_t *out, const uint8_t *table, const uint8_t *scalars, size_t n);
    void (*axpy_var)(uint8_t *out, const uint8_t *scalar, const uint8_t *b, const uint8_t *a, size_t n);
};

extern const struct group pc_ristretto255, pc_bn254;
#if PC_X86
extern const struct group pc_ristretto255_ifma, pc_ristretto255_fma; /* the same with twins for AVX-512 IFMA, and for AVX2 with FMA */
#endif

/* The group with this public id at a dispatch level, or NULL. */
const struct group *pc_group_at(int group, int level);

/* Windows of w bits that hold every number |v| < 2^bits as digits in [-2^(w-1), 2^(w-1)): with B = sum of 2^(w-1) 2^(w i),
 * 0 <= v + B < 2^(w windows) since 2^(bits+2) <= 2^(w windows) and B is between 1/2 and 2/3 of that. */
PC_INLINE unsigned pc_msm_windows(unsigned w, unsigned bits) { return (bits + 2 + w - 1) / w; }

/* Windows of w bits, `lanes` of which are done at once. */
typedef struct {
    unsigned w, windows; /* w windows <= 64 GROUP_BIASED_WORDS */
} pc_msm_plan;

/* What costs least for n points and numbers below 2^bits, an addition into a bucket counting 8 and each of the two additions per bucket 9, which are
 * done for all lanes even where windows are left for some only; w <= pc_msm_widest(n). */
pc_msm_plan pc_msm_plan_for(size_t n, unsigned bits, size_t lanes);

/* Where buckets filled by a schedule (ristretto255_lanes.h) have what they need in the scratch: offsets in words, for n <= GROUP_MSM_BLOCK points. */
typedef struct {
    size_t addends;  /* n + 1 of GROUP_ADDEND_WORDS, after which GROUP_LINE_WORDS - 1 words are left to put the first at the start of a cache line */
    size_t biased;   /* n of GROUP_BIASED_WORDS */
    size_t digits;   /* uint16_t, n for each lane */
    size_t schedule; /* uint32_t, `rows` for each lane */
    size_t count;    /* uint32_t, one for each of `buckets` buckets, as for the next two */
    size_t order;    /* uint32_t */
    size_t cursors;  /* pc_msm_cursor */
    size_t bins;     /* uint32_t, longest + 2 */
    size_t bucket;   /* of GROUP_BUCKET_WORDS */
    size_t end;
    size_t rows, buckets, longest; /* longest: see pc_msm_longest */
} pc_msm_layout;

#define GROUP_LINE_WORDS 8
#define GROUP_ADDEND_WORDS 16 /* check: 2 * 8 */
#define GROUP_BUCKET_WORDS 20
#define GROUP_AHEAD 3 /* rows of a schedule: the addends of so many are being fetched */

typedef struct {
    uint32_t at, stride; /* of a schedule: where the next addend of a bucket goes, and how much farther the one after it */
} pc_msm_cursor;

pc_msm_layout pc_msm_layout_for(size_t n, unsigned w, size_t lanes);

/* The largest w <= 14 with 2^w <= 4 n, or 2: wider windows have more buckets than they save additions. */
unsigned pc_msm_widest(size_t n);

/* out = v + B, B as above. The digit i is then (bits w i .. w i + w - 1 of out) - 2^(w-1). v is negative if `negative` is all ones (in
 * two's complement of 256 bits). */
void pc_msm_bias(uint64_t out[GROUP_BIASED_WORDS], const uint64_t v[4], uint64_t negative, unsigned w, unsigned windows);

/* The same for v = scalars[i] or, where scalars is NULL, values[i]. */
void pc_msm_biased(uint64_t out[GROUP_BIASED_WORDS], const uint8_t *scalars, const int64_t *values, size_t i, unsigned w, unsigned windows);

/* The least k with |values[i]| < 2^k for all i, at most 64. */
unsigned pc_value_bits(const int64_t *values, size_t n);

/* scalar = sum of digit[k] 2^k with digits that are 0 or odd in -15 .. 15, of five in a row at most one not 0; returns how many there are,
 * at most 255 for a scalar below 2^254. Source: Solinas, "Efficient arithmetic on Koblitz curves" (2000). */
unsigned pc_wnaf_var(int8_t digit[256], const uint8_t *scalar);

PC_INLINE int64_t pc_msm_digit(const uint64_t *biased, unsigned i, unsigned w)
{
    const unsigned bit = i * w, word = bit / 64, shift = bit % 64;
    const unsigned next = word + 1 < GROUP_BIASED_WORDS ? word + 1 : word; /* read in any case: what is not of the digit is masked */
    VERIFY(bit + w <= 64 * GROUP_BIASED_WORDS);
    const uint64_t x = biased[word] >> shift | biased[next] << 1 << (63 - shift);
    return (int64_t)(x & (((uint64_t)1 << w) - 1)) - ((int64_t)1 << (w - 1));
}

#endif
