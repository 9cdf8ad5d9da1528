/* privcomp: the C core.
 *
 * Rules for every function here
 * - Outputs stand first, then inputs; a length follows the array that it describes.
 * - The caller allocates; the core never does. Key schedules and keystream buffers live on the stack and are wiped before return;
 *   what the compiler spills beside them is not.
 * - Arrays need the alignment of their element type only. Arrays must not overlap unless a contract says so.
 * - A function that can refuse returns PRIVCOMP_OK or a negative PRIVCOMP_E_ code, and then has written nothing.
 * - Lengths, widths, offsets, moduli, cipher, levels and the sign of a seed are public; time and addresses depend on them.
 *   "Constant time in x" means: no branch and no address depends on x.
 * - Functions may run on many threads at once. Another thread may change an array during a call: the numbers are then
 *   unspecified, but no memory outside the arrays is touched.
 * - A function whose time depends on secret-capable data carries _var.
 *
 * build_ffi.py hands this file to cffi: keep to declarations, comments, integer #defines and #if guards.
 */
#ifndef PRIVCOMP_H
#define PRIVCOMP_H

#include <stddef.h>
#include <stdint.h>

#define PRIVCOMP_OK 0
#define PRIVCOMP_E_ARGUMENT (-1)  /* a number out of its stated range, or a size that overflows */
#define PRIVCOMP_E_LENGTH (-2)    /* an array is not exactly as long as the others demand */
#define PRIVCOMP_E_CANONICAL (-3) /* a residue >= modulus, or padding bits that are not zero */
#define PRIVCOMP_E_ENTROPY (-4)   /* the operating system gave no random bytes */

/* ---- dispatch level ---- */

#define PRIVCOMP_LEVEL_PORTABLE 0
#define PRIVCOMP_LEVEL_AESNI 1  /* AES-NI and AVX2 */
#define PRIVCOMP_LEVEL_VAES 2   /* the above and VAES on 256 bits */
#define PRIVCOMP_LEVEL_AVX512 3 /* the above and AVX-512 F, BW, DQ, VL */

/* The highest level that this CPU, operating system and build can run, and that agrees with the portable one on a short
 * self-check at the first call. */
int privcomp_level_max(void);

/* The level in use: the highest one, unless privcomp_level_set chose another. */
int privcomp_level_get(void);

/* Uses `level` from now on, in every thread. Requires 0 <= level <= privcomp_level_max(), else PRIVCOMP_E_ARGUMENT. */
int privcomp_level_set(int level);

/* ---- keystreams ----
 * A seed is a key and the position at which its stream starts:
 *   AES-128-CTR  key (16 bytes) || first counter block (16), a big-endian number that counts modulo 2^128
 *   ChaCha20     key (32 bytes) || first block number (8, little endian) that counts modulo 2^64 || nonce (8)
 * Source: NIST SP 800-38A section 6.5 (CTR); Bernstein, "ChaCha, a variant of Salsa20" (2008), whose 64-bit counter
 * agrees with RFC 8439 as long as the low 32 bits of the counter do not wrap.
 */

#define PRIVCOMP_AES128_CTR 1
#define PRIVCOMP_CHACHA20 2
#define PRIVCOMP_AES128_SEED_BYTES 32  /* check: 16 + 16 */
#define PRIVCOMP_CHACHA20_SEED_BYTES 48  /* check: 32 + 8 + 8 */

/* out[i] = byte offset + i of the seed's stream.
 * requires: cipher is one of the two above; seed has that cipher's SEED_BYTES; offset + length <= 2^62.
 * constant time in the key; the first counter is public (counter mode does not need it secret). */
int privcomp_keystream_fill(uint8_t *out, size_t length, const uint8_t *seed, int cipher, uint64_t offset);

/* acc[j] += s_i(offset + j) where negate[i] == 0, else acc[j] -= s_i(offset + j), for every seed i, modulo 2^32.
 * s_i(e) is the little-endian word at bytes 4e..4e+3 of seed i's stream. Any offset, any n, any number of seeds.
 * requires: seeds has seed_count * SEED_BYTES bytes, negate has seed_count; 4 (offset + n) <= 2^62.
 * constant time in acc and the keys; the first counters and negate are public. */
int privcomp_mask_add_u32(uint32_t *acc, size_t n, const uint8_t *seeds, const uint8_t *negate, size_t seed_count,
                          int cipher, uint64_t offset);

/* The same modulo 2^64, with the words at bytes 8e..8e+7; requires 8 (offset + n) <= 2^62. */
int privcomp_mask_add_u64(uint64_t *acc, size_t n, const uint8_t *seeds, const uint8_t *negate, size_t seed_count,
                          int cipher, uint64_t offset);

/* acc[j] ^= s_i(offset + j) for every seed i, with the words s_i(e) of privcomp_mask_add_u64 and what it requires.
 * constant time in acc and the keys; the first counters are public. */
int privcomp_mask_xor_u64(uint64_t *acc, size_t n, const uint8_t *seeds, size_t seed_count, int cipher, uint64_t offset);

/* acc[j] = start[j] + or - the same: masks while it copies, tile by tile. The contract of privcomp_mask_add_u32 and _u64; start has n words. */
int privcomp_mask_to_u32(uint32_t *acc, const uint32_t *start, size_t n, const uint8_t *seeds, const uint8_t *negate, size_t seed_count,
                         int cipher, uint64_t offset);
int privcomp_mask_to_u64(uint64_t *acc, const uint64_t *start, size_t n, const uint8_t *seeds, const uint8_t *negate, size_t seed_count,
                         int cipher, uint64_t offset);

/* ---- lanes: residues modulo one odd number of at most 256 bits, 32 little-endian bytes each ---- */

#define PRIVCOMP_LANE_BYTES 32
#define PRIVCOMP_LANE_STREAM_BYTES 64  /* check: 2 * 32 */

/* acc[a] = (acc[a] +- sum of w_i(offset + a)) mod modulus, sign as in privcomp_mask_add_u32.
 * w_i(e) is the 512-bit little-endian number at bytes 64e..64e+63 of seed i's stream: its residue is within
 * modulus / 2^512 <= 2^-256 of uniform.
 * requires: acc has 32 n bytes; modulus is 32 bytes, odd, 2^31 < modulus (< 2^256); 64 (offset + n) <= 2^62, seed_count < 2^32;
 *           every acc[a] < modulus, else PRIVCOMP_E_CANONICAL.
 * ensures:  every acc[a] < modulus.
 * constant time in acc and the keys (whether the check failed is public). Source: Montgomery, Math. Comp. 44 (1985). */
int privcomp_lanes_mask(uint8_t *acc, size_t n, const uint8_t *modulus, const uint8_t *seeds, const uint8_t *negate,
                        size_t seed_count, int cipher, uint64_t offset);

/* acc[a] = (acc[a] + other[a]) mod modulus. requires: acc and other have 32 n bytes and are canonical, else
 * PRIVCOMP_E_CANONICAL; modulus as above. constant time in acc and other (whether the check failed is public). */
int privcomp_lanes_add(uint8_t *acc, const uint8_t *other, size_t n, const uint8_t *modulus);

/* ---- vectors modulo 2^32 and 2^64; constant time in every value ---- */

/* acc[j] += scale * x[j]. x may be acc. */
void privcomp_ring_axpy_u32(uint32_t *acc, const uint32_t *x, size_t n, uint32_t scale);
void privcomp_ring_axpy_u64(uint64_t *acc, const uint64_t *x, size_t n, uint64_t scale);

/* out[j] = the low `bits` bits of values[j] as a two's complement number: -2^(bits-1) <= out[j] < 2^(bits-1).
 * requires: 1 <= bits <= 32 or 64. */
int privcomp_ring_center_u32(int64_t *out, const uint32_t *values, size_t n, unsigned bits);
int privcomp_ring_center_u64(int64_t *out, const uint64_t *values, size_t n, unsigned bits);

/* ---- sums of products of shares, modulo 2^64; constant time in every value. `accumulate`: out += the result, else out = it ---- */

/* Words of scratch for the next function, or -1 where A, B or out would have more than SIZE_MAX / 16 words: at most about 2^17, and for large products
 * two thirds of the largest of A, B and out more. */
int64_t privcomp_matmul_scratch(size_t n, size_t k, size_t m);

/* out = A B for row-major A (n, k) and B (k, m). out is none of the others. requires: sizes as above; scratch_words at least what that says, else
 * PRIVCOMP_E_LENGTH. Scratch is wiped.
 * Source: Winograd, "A new algorithm for inner product", IEEE Transactions on Computers C-17, 1968; for large ones Strassen's algorithm in Winograd's
 * form. Both are exact in every commutative ring. */
int privcomp_ring_matmul_u64(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n, size_t k, size_t m, int accumulate, uint64_t *scratch,
                             size_t scratch_words);

/* Words of scratch for the three functions below, or -1 if there cannot be so many rows: at most about 2^17, but at least 65 n. */
int64_t privcomp_gram_scratch(size_t n);

/* out (n, n) = (p X + q Y)(p X + q Y)', of row-major X and Y (n, d); out is symmetric and half of it is computed. Where q is 0, y is not read.
 * requires: scratch_words at least the above, else PRIVCOMP_E_LENGTH; sizes as above. p and q are public. Scratch is wiped. */
int privcomp_ring_gram_u64(uint64_t *out, const uint64_t *x, uint64_t p, const uint64_t *y, uint64_t q, size_t n, size_t d, uint64_t *scratch,
                           size_t scratch_words);

/* out = X1 X1' + X1 X2' + X2 X1' = (X1 + X2)(X1 + X2)' - X2 X2'. Where the sum of components is X and each party i holds components i and i + 1 of three,
 * the parties' results add up to X X': each of the nine products of components occurs once.
 * Source: Araki et al., "High-throughput semi-honest secure three-party computation with an honest majority", CCS 2016, section 2. */
int privcomp_rep3_gram_u64(uint64_t *out, const uint64_t *x1, const uint64_t *x2, size_t n, size_t d, uint64_t *scratch, size_t scratch_words);

/* out = X Y' + Y X', what two components contribute among four parties. */
int privcomp_cross_gram_u64(uint64_t *out, const uint64_t *x, const uint64_t *y, size_t n, size_t d, uint64_t *scratch, size_t scratch_words);

/* out[i] = p x[i] + q y[i]. Where q is 0, y is not read. p and q are public. out may be x or y. */
void privcomp_ring_combine_u64(uint64_t *out, const uint64_t *x, uint64_t p, const uint64_t *y, uint64_t q, size_t n);

/* Word by word: out[i] = x1[i] (y1[i] + y2[i]) + x2[i] y1[i], what the holder of components 1 and 2 contributes to a product, and the same with XOR and AND
 * of bits for + and times (accumulating with XOR). Inputs may overlap, out nothing. Source: as privcomp_rep3_gram_u64. */
void privcomp_rep3_product_u64(uint64_t *out, const uint64_t *x1, const uint64_t *x2, const uint64_t *y1, const uint64_t *y2, size_t n, int accumulate);
void privcomp_rep3_and_u64(uint64_t *out, const uint64_t *x1, const uint64_t *x2, const uint64_t *y1, const uint64_t *y2, size_t n, int accumulate);

/* out[i] = xi[i] yj[i] + xj[i] yi[i], likewise. Source: Dalskov, Escudero, Keller, "Fantastic Four", USENIX Security 2021 (multiplication). */
void privcomp_cross_product_u64(uint64_t *out, const uint64_t *xi, const uint64_t *yi, const uint64_t *xj, const uint64_t *yj, size_t n, int accumulate);
void privcomp_cross_and_u64(uint64_t *out, const uint64_t *xi, const uint64_t *yi, const uint64_t *xj, const uint64_t *yj, size_t n, int accumulate);

/* Bit planes: for b < bits and w < W = ceil(n / 64), bit i of planes[b W + w] = bit b of values[64 w + i], zero from n on; and back, where the bits of a
 * value from `bits` on are zero and bits of planes beyond n are not looked at.
 * requires: 1 <= bits <= 64, n <= 2^48, else PRIVCOMP_E_ARGUMENT. */
int privcomp_planes_split(uint64_t *planes, unsigned bits, const uint64_t *values, size_t n);
int privcomp_planes_join(uint64_t *values, size_t n, const uint64_t *planes, unsigned bits);

/* Sums of products of planes, modulo 2: out[r words + w] = XOR over k in [ends[r - 1], ends[r]) of x[left[k] words + w] & y[right[k] words + w], with
 * ends[-1] = 0. ends, left and right are public.
 * requires: ends does not fall and ends at `terms`, left[k] < x_planes, right[k] < y_planes, and arrays that can exist, else PRIVCOMP_E_ARGUMENT and
 *   nothing is written. Inputs may overlap, out nothing. constant time in x and y. */
int privcomp_planes_dot(uint64_t *out, size_t rows, const uint32_t *ends, const uint32_t *left, const uint32_t *right, size_t terms, const uint64_t *x,
                        size_t x_planes, const uint64_t *y, size_t y_planes, size_t words);

/* Modulo 2^128: each number is two words, the lower one first. out = a b; acc += scale x (scale: two words); matrices as in privcomp_ring_matmul_u64.
 * out may be an input of privcomp_ring_mul_u128, and x may be acc. constant time in every value. */
void privcomp_ring_mul_u128(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n);
void privcomp_ring_axpy_u128(uint64_t *acc, const uint64_t *x, size_t n, const uint64_t *scale);
int privcomp_ring_matmul_u128(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n, size_t k, size_t m, int accumulate);

/* ---- packing ----
 * Value i of width w takes the bits i w .. i w + w - 1; bit b is bit b mod 8 of byte b / 8. The last byte is padded with
 * zero bits, so n values have exactly one encoding of ceil(n w / 8) bytes. constant time in the values.
 */

/* The length of n values in bytes, or -1 unless 1 <= width <= 64 and n <= 2^48. */
int64_t privcomp_pack_length(uint64_t n, unsigned width);

/* Packs the low `width` bits of each value (higher bits are dropped).
 * requires: width <= 32 (u32) or 64 (u64), else PRIVCOMP_E_ARGUMENT; length = privcomp_pack_length(n, width), else PRIVCOMP_E_LENGTH. */
int privcomp_pack_u32(uint8_t *out, size_t length, const uint32_t *values, size_t n, unsigned width);
int privcomp_pack_u64(uint8_t *out, size_t length, const uint64_t *values, size_t n, unsigned width);

/* The inverse: out[i] = value i. requires as above; padding bits that are not zero: PRIVCOMP_E_CANONICAL. Reads nothing past length. */
int privcomp_unpack_u32(uint32_t *out, size_t n, const uint8_t *data, size_t length, unsigned width);
int privcomp_unpack_u64(uint64_t *out, size_t n, const uint8_t *data, size_t length, unsigned width);

/* acc[i] += value i. As privcomp_unpack_; a refusal comes before the first write. */
int privcomp_unpack_add_u32(uint32_t *acc, size_t n, const uint8_t *data, size_t length, unsigned width);
int privcomp_unpack_add_u64(uint64_t *acc, size_t n, const uint8_t *data, size_t length, unsigned width);

/* ---- random bytes ---- */

#define PRIVCOMP_DRBG_SEED_BYTES 32
#define PRIVCOMP_DRBG_RESEED_CALLS 1048576  /* check: 2**20 */

/* Owned by the caller, one thread at a time. The fields are private. */
typedef struct {
    uint8_t key[32];
    uint64_t calls;      /* since the last seeding */
    uint64_t process;    /* changes with every fork (where the kernel wipes pages on fork) */
    int64_t pid;
    int32_t fixed;       /* seeded by the caller: never reseeded */
} privcomp_drbg;

/* Seeds from the operating system. PRIVCOMP_E_ENTROPY if that fails. */
int privcomp_drbg_init(privcomp_drbg *state);

/* For tests and simulations: the output is a function of the seed (32 bytes) and the lengths of the calls. A forked
 * child repeats its parent. */
void privcomp_drbg_init_fixed(privcomp_drbg *state, const uint8_t *seed);

/* Fills out with random bytes: ChaCha20 under the key in state, whose stream gives the next key first and then out, so that a
 * state that leaks later does not reveal earlier bytes. Reseeds from the operating system after a fork and every
 * PRIVCOMP_DRBG_RESEED_CALLS calls unless fixed.
 * requires: length <= 2^40, else PRIVCOMP_E_ARGUMENT. constant time in the state and the output.
 * Source: Bernstein, "Fast-key-erasure random-number generators" (2017). */
int privcomp_drbg_fill(privcomp_drbg *state, uint8_t *out, size_t length);

/* Writes zeros that the compiler may not leave out. */
void privcomp_wipe(uint8_t *buffer, size_t length);

/* ---- word-size fields and Shamir ---- */

#define PRIVCOMP_FIELD_M61 1        /* p = 2^61 - 1 */
#define PRIVCOMP_FIELD_GOLDILOCKS 2 /* p = 2^64 - 2^32 + 1 */
#define PRIVCOMP_E_ZERO (-5)        /* a zero (modulo p) where only non-zero elements are allowed */
#define PRIVCOMP_E_DUPLICATE (-6)   /* two evaluation points are equal modulo p */

/* p, or 0 if there is no such field. */
uint64_t privcomp_field_modulus(int field);

/* Vectors of canonical elements (0 <= a < p), element by element:
 *   add  a + b     sub  a - b     neg  -a     mul  a b     axpy  alpha x + y     inv  1 / a     dot  out[0] = sum of a b
 * requires: field is one of the two above, else PRIVCOMP_E_ARGUMENT; inputs are canonical, else PRIVCOMP_E_CANONICAL.
 *           out may be an input, except for inv. inv: no zero, else PRIVCOMP_E_ZERO.
 * ensures:  out is canonical.
 * constant time in every element, alpha included (whether a check failed is public). */
int privcomp_field_add(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n, int field);
int privcomp_field_sub(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n, int field);
int privcomp_field_neg(uint64_t *out, const uint64_t *a, size_t n, int field);
int privcomp_field_mul(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n, int field);
int privcomp_field_axpy(uint64_t *out, const uint64_t *x, const uint64_t *y, size_t n, uint64_t alpha, int field);
int privcomp_field_inv(uint64_t *out, const uint64_t *a, size_t n, int field);
int privcomp_field_dot(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n, int field);

#define PRIVCOMP_SHAMIR_MAX_POINTS 16384  /* check: 2**14 */

/* Lagrange coefficients: weights[i m + j] = product over k != j of (at[i] - points[k]) / (points[j] - points[k]), so that
 * f(at[i]) = sum over j < m of weights[i m + j] f(points[j]) for every polynomial f of degree < m.
 * requires: points distinct modulo p, else PRIVCOMP_E_DUPLICATE; points and at canonical, else PRIVCOMP_E_CANONICAL;
 *           1 <= m <= PRIVCOMP_SHAMIR_MAX_POINTS; rows m words of weights; 3 m words of scratch. An at[i] may be a point.
 * Variable time: points and at are public. Source: Berrut, Trefethen, "Barycentric Lagrange Interpolation", SIAM Rev. 46 (2004). */
int privcomp_lagrange_weights_var(uint64_t *weights, const uint64_t *at, size_t rows, const uint64_t *points, size_t m, int field,
                                  uint64_t *scratch);

/* Words of scratch for the function below, or -1 if n, threshold or d is out of range. */
int64_t privcomp_shamir_share_scratch(size_t n, size_t threshold, size_t d);

/* Shamir's sharing of d secrets among n points: shares[i d + j] = f_j(points[i]) for polynomials f_j of degree < threshold
 * with f_j(0) = secrets[j], uniform among all such polynomials (so that any of their other coefficients may be zero).
 * f_j is fixed by its values rather than by its coefficients, which is the same distribution: interpolation through
 * threshold - 1 distinct non-zero points and (0, secrets[j]) is a bijection between values and polynomials. The values are
 *   f_j(points[s(k)]) = draw (k, j) for k < threshold - 1,   s = h, h+1, h-1, h+2, h-2, ...,   h = floor((n - 1) / 2),
 * and draw (k, j) is the first of w(e), w(e + N), w(e + 2N), ... that is < p, where e = k d + j, N = (threshold - 1) d and w(e) is
 * the top 61 (M61) or 64 (Goldilocks) bits of the little-endian word at byte 8e of the seed's AES-128-CTR stream.
 * The shares depend on nothing else: not on the dispatch level, and not on shortcuts for symmetric sets of points.
 * requires: 1 <= threshold <= n <= PRIVCOMP_SHAMIR_MAX_POINTS, d <= 2^40, else PRIVCOMP_E_ARGUMENT; scratch_words at least the above,
 *           else PRIVCOMP_E_LENGTH; no point is 0 modulo p, else PRIVCOMP_E_ZERO; points are distinct modulo p, else
 *           PRIVCOMP_E_DUPLICATE; points and secrets are canonical, else PRIVCOMP_E_CANONICAL; a seed is used once.
 * ensures:  shares is canonical. The parts of scratch that held secrets are wiped.
 * constant time in secrets, the key and the shares; points, and which candidates of a draw were rejected, are public.
 * Source: Shamir, "How to share a secret", CACM 22 (1979). */
int privcomp_shamir_share(uint64_t *shares, const uint64_t *secrets, size_t d, const uint64_t *points, size_t n, size_t threshold,
                          const uint8_t *seed, int field, uint64_t *scratch, size_t scratch_words);

/* Columns first .. first + count - 1 of the same shares, in their places; nothing else is written. Parts may be computed at once, by
 * threads with a scratch each. requires: first + count <= d, else PRIVCOMP_E_ARGUMENT; the rest as above, for all d secrets. */
int privcomp_shamir_share_part(uint64_t *shares, const uint64_t *secrets, size_t d, size_t first, size_t count, const uint64_t *points,
                               size_t n, size_t threshold, const uint8_t *seed, int field, uint64_t *scratch, size_t scratch_words);

/* Words of scratch for the function below, or -1 if m, rows or d is out of range. */
int64_t privcomp_shamir_interpolate_scratch(size_t rows, size_t m, size_t d);

/* out[i d + j] = f_j(at[i]) for the polynomial f_j of degree < m with f_j(points[k]) = shares[k d + j]: with at = 0 the secrets,
 * with at = a further point what that party's share has to be.
 * requires: 1 <= m <= PRIVCOMP_SHAMIR_MAX_POINTS, rows as m, d <= 2^40, else PRIVCOMP_E_ARGUMENT; scratch_words at least the above,
 *           else PRIVCOMP_E_LENGTH; points as in privcomp_shamir_share; at and shares canonical, else PRIVCOMP_E_CANONICAL.
 *           Shares are checked as they are read, not in a pass of their own: if one is not canonical, out is all zeros.
 * ensures:  out is canonical. The parts of scratch that held shares are wiped.
 * constant time in shares; points and at are public. */
int privcomp_shamir_interpolate(uint64_t *out, const uint64_t *at, size_t rows, const uint64_t *points, size_t m, const uint64_t *shares,
                                size_t d, int field, uint64_t *scratch, size_t scratch_words);

/* ---- transforms over Goldilocks, and packed sharing ----
 * p = 2^64 - 2^32 + 1. w_N = g^(2^32 / N), g = 7^(2^32 - 1), is a primitive N-th root of unity for N a power of two; rev reverses log2 N bits.
 */

#define PRIVCOMP_NTT_LOG_MAX 14
#define PRIVCOMP_PACKED_SHIFT 7 /* shares lie at 7 w_N^i */

/* Words of scratch for the function below, or -1 if log_n or d is out of range. */
int64_t privcomp_ntt_goldilocks_scratch(unsigned log_n, size_t d);

/* In place, for d polynomials of degree < N = 2^log_n at once: data[k d + j] is coefficient k of f_j, and becomes
 * f_j(shift w_N^rev(k)); with inverse != 0 the other way round.
 * requires: log_n <= PRIVCOMP_NTT_LOG_MAX, d <= 2^40, else PRIVCOMP_E_ARGUMENT; scratch_words at least the above, else PRIVCOMP_E_LENGTH;
 *           shift is not 0 modulo p, else PRIVCOMP_E_ZERO; shift and data are canonical, else PRIVCOMP_E_CANONICAL.
 * ensures:  data is canonical. The part of scratch that held it is wiped.
 * constant time in data; shift and inverse are public. Source: Cooley, Tukey, Math. Comp. 19 (1965); Gentleman, Sande, AFIPS 1966. */
int privcomp_ntt_goldilocks(uint64_t *data, unsigned log_n, size_t d, uint64_t shift, int inverse, uint64_t *scratch, size_t scratch_words);

/* points[i] = shift w_N^rev(i) for i < n. requires: log_n as above, n <= 2^log_n, else PRIVCOMP_E_ARGUMENT; shift is canonical, else
 * PRIVCOMP_E_CANONICAL. Variable time: points are public. */
int privcomp_ntt_goldilocks_points_var(uint64_t *points, size_t n, unsigned log_n, uint64_t shift);

/* Words of scratch for the function below, or -1 if n, privacy, log_packing or d is out of range. */
int64_t privcomp_packed_share_scratch(size_t n, size_t privacy, unsigned log_packing, size_t d);

/* Packed sharing of l = 2^log_packing secrets per polynomial, d polynomials, among n parties:
 *   shares[i d + j] = f_j(7 w_N^rev(i)),  N the least power of two >= n,   f_j(w_l^rev(k)) = secrets[k d + j] for k < l,
 * f_j uniform among such polynomials of degree <= D = privacy + l - 1: f_j = P_j + (x^l - 1) r_j, P_j of degree < l, and coefficient k of r_j
 * is draw (k, j) of privcomp_shamir_share with N = privacy d. Any `privacy` shares are uniform whatever the secrets are; D + 1 give them.
 * Written are the columns first .. first + count - 1, and nothing else: parts may be computed at once, by threads with a scratch each.
 * requires: privacy >= 1, D + 1 <= n <= 2^PRIVCOMP_NTT_LOG_MAX, d <= 2^40, first + count <= d, else PRIVCOMP_E_ARGUMENT; scratch_words at
 *           least the above, else PRIVCOMP_E_LENGTH; all l d secrets are canonical, else PRIVCOMP_E_CANONICAL; a seed is used once.
 * ensures:  shares is canonical. The parts of scratch that held secrets are wiped.
 * constant time in secrets, the key and the shares; which candidates of a draw were rejected is public.
 * Source: Franklin, Yung, "Communication complexity of secure computation", STOC 1992. */
int privcomp_packed_share(uint64_t *shares, const uint64_t *secrets, size_t d, size_t first, size_t count, size_t n, size_t privacy,
                          unsigned log_packing, const uint8_t *seed, uint64_t *scratch, size_t scratch_words);

/* ---- end of word-size fields and Shamir ---- */

/* ---- groups of prime order ----
 * A point is 64 bytes: the affine coordinates x || y of a point of the curve, each below p, in 32 little-endian bytes.
 *   ristretto255 (RFC 9496): a representative on edwards25519, so that equal elements can have different points: compare them with
 *                privcomp_group_equal or by their encodings; the identity is (0, 1). Encoding: the 32 bytes of the RFC.
 *   BN254 G1 (EIP-196, "alt_bn128"): the identity is (0, 0). Encoding: x || y in 32 big-endian bytes each, the identity zeros.
 * A scalar is 32 little-endian bytes below the group's order. Points come from the functions here, which trust them to be on
 * the curve (privcomp_group_on_curve asks); wrong ones give wrong results, and touch no memory outside the arrays (a PRIVCOMP_VERIFY
 * build may abort). For ristretto255 the curve has eight times as many points, of which half represent elements: what comes from
 * elsewhere is decoded, not asked about.
 * Everything whose name does not end in _var is constant time in points and scalars (whether a check failed is public).
 * Every function refuses a group that is none of the two, or an n above 2^40 (tables: 2^35), with PRIVCOMP_E_ARGUMENT.
 */

#define PRIVCOMP_RISTRETTO255 1
#define PRIVCOMP_BN254_G1 2
#define PRIVCOMP_POINT_BYTES 64  /* check: 2 * 32 */
#define PRIVCOMP_SCALAR_BYTES 32

/* Bytes of an encoding (32 or 64), and of what privcomp_group_from_uniform takes for a point (64 or 96); -1: no such group. */
int64_t privcomp_group_encoding_bytes(int group);
int64_t privcomp_group_uniform_bytes(int group);

/* The usual generator: edwards25519's base point (RFC 8032, section 5.1), or (1, 2). */
int privcomp_group_generator(uint8_t *point, int group);

/* Decodes n encodings. PRIVCOMP_E_CANONICAL, and zeros in points, unless all are encodings of elements.
 * Source: RFC 9496, section 4.3.1; EIP-196. */
int privcomp_group_decode(uint8_t *points, const uint8_t *encodings, size_t n, int group);

/* Source: RFC 9496, section 4.3.2; EIP-196. */
int privcomp_group_encode(uint8_t *encodings, const uint8_t *points, size_t n, int group);

/* Elements from uniform bytes, 64 (ristretto255) or 96 (BN254) each, such as the output of expand_message: nobody knows their logarithms.
 * Source: RFC 9496, section 4.3.4; RFC 9380, sections 3, 5.2 (L = 48) and 6.6.1. */
int privcomp_group_from_uniform(uint8_t *points, const uint8_t *uniform, size_t n, int group);

/* PRIVCOMP_OK if all are on the curve with coordinates below p, else PRIVCOMP_E_CANONICAL. */
int privcomp_group_on_curve(const uint8_t *points, size_t n, int group);

/* out[i] = 1 if a[i] and b[i] are the same element, else 0. */
int privcomp_group_equal(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n, int group);

/* out[i] = a[i] + b[i], a[i] - b[i]. out may be an input. Source: Hisil et al. (2008); Renes, Costello, Batina (2016). */
int privcomp_group_add(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n, int group);
int privcomp_group_sub(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n, int group);

/* out[j] = sum over i < rows of points[i n + j]. */
int privcomp_group_sum(uint8_t *out, const uint8_t *points, size_t rows, size_t n, int group);

/* out[i] = scalars[i] points[i]. out may be points. A scalar that is not canonical: PRIVCOMP_E_CANONICAL, here and below. */
int privcomp_group_mul(uint8_t *out, const uint8_t *points, const uint8_t *scalars, size_t n, int group);

/* out[0] = sum of scalars[i] points[i]. */
int privcomp_group_msm(uint8_t *out, const uint8_t *points, const uint8_t *scalars, size_t n, int group);

/* Words of scratch for the two functions below at the level in use, or -1. */
int64_t privcomp_group_msm_scratch(size_t n, int group);

/* out[0] = sum of scalars[i] points[i], or of values[i] points[i]. Time and addresses depend on everything.
 * requires: scratch_words at least the above, else PRIVCOMP_E_LENGTH.
 * For what is public.
 * Source: Straus (1964); Pippenger, as in Bernstein, Doumen, Lange, Oosterwijk, "Faster batch forgery identification" (2012), section 4. */
int privcomp_group_msm_var(uint8_t *out, const uint8_t *points, const uint8_t *scalars, size_t n, int group, uint64_t *scratch,
                           size_t scratch_words);
int privcomp_group_msm_i64_var(uint8_t *out, const uint8_t *points, const int64_t *values, size_t n, int group, uint64_t *scratch,
                               size_t scratch_words);

/* Multiples of n fixed bases for numbers of `windows` bytes: 128 per window and base. Those of up to 4 windows are for privcomp_group_rows_var, those of 32
 * for privcomp_group_fixed_var. A table that starts at a multiple of 64 bytes is read fastest.
 * requires: 1 <= windows <= 32; length = privcomp_group_table_bytes(..), else PRIVCOMP_E_LENGTH. */
int64_t privcomp_group_table_bytes(size_t n, unsigned windows, int group);
int privcomp_group_table(uint8_t *table, size_t length, const uint8_t *points, size_t n, unsigned windows, int group);

#define PRIVCOMP_GROUP_ROW_BLOCK 1024 /* rows whose sums are kept at once, in BN254 */

/* Words of scratch for the function below, or -1. */
int64_t privcomp_group_rows_scratch(size_t rows, int group);

/* out[a] = sum over b < n of values[a n + b] base[b]: `rows` commitments over one table.
 * requires: windows <= 4; |values[..]| <= 2^(8 windows - 1), else PRIVCOMP_E_CANONICAL; length and scratch_words as above.
 * The table is read at places that depend on the values, and zeros are skipped. Scratch is wiped. */
int privcomp_group_rows_var(uint8_t *out, const uint8_t *table, size_t length, const int32_t *values, size_t rows, size_t n,
                            unsigned windows, int group, uint64_t *scratch, size_t scratch_words);

/* out[i] = scalars[i] base, from a table of one base and 32 windows (of other bases and windows with the same product, which are not told
 * apart, it gives nonsense). Reads the table at places that depend on the scalars. */
int privcomp_group_fixed_var(uint8_t *out, const uint8_t *table, size_t length, const uint8_t *scalars, size_t n, int group);

/* out[i] = a[i] + scalar b[i] for one scalar. Time and addresses depend on everything. */
int privcomp_group_axpy_var(uint8_t *out, const uint8_t *scalar, const uint8_t *b, const uint8_t *a, size_t n, int group);

/* Residues modulo the order of a group:
 *   check  PRIVCOMP_OK or PRIVCOMP_E_CANONICAL   add  a + b   sub  a - b   mul  a b   axpy  alpha x + y   dot  out[0] = sum of a b
 *   inv  1 / a; a zero: PRIVCOMP_E_ZERO   from_wide  the 64-byte little-endian number modulo the order   from_i64  values[i] modulo the order
 * requires: inputs are canonical, else PRIVCOMP_E_CANONICAL. out may be an input, except for inv and from_i64. order: out has 32 bytes.
 * constant time in every value. Source: Montgomery, Math. Comp. 44 (1985); for inv, Math. Comp. 48 (1987), section 10.3.1. */
int privcomp_scalar_order(uint8_t *out, int group);
int privcomp_scalar_check(const uint8_t *a, size_t n, int group);
int privcomp_scalar_add(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n, int group);
int privcomp_scalar_sub(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n, int group);
int privcomp_scalar_mul(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n, int group);
int privcomp_scalar_axpy(uint8_t *out, const uint8_t *alpha, const uint8_t *x, const uint8_t *y, size_t n, int group);
int privcomp_scalar_dot(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t n, int group);
int privcomp_scalar_inv(uint8_t *out, const uint8_t *a, size_t n, int group);
int privcomp_scalar_from_wide(uint8_t *out, const uint8_t *wide, size_t n, int group);
int privcomp_scalar_from_i64(uint8_t *out, const int64_t *values, size_t n, int group);

/* out[b] = sum over a < rows of weights[a] values[a n + b] modulo the order: a combination of the rows of a matrix of integers.
 * requires: weights canonical, else PRIVCOMP_E_CANONICAL; rows < 2^32. constant time in weights and values. */
int privcomp_scalar_combine_i64(uint8_t *out, const uint8_t *weights, const int64_t *values, size_t rows, size_t n, int group);

/* ---- end of groups ---- */

/* ---- multilinear polynomials and sumchecks, modulo the order of a group ----
 * A table holds the values f(y), 0 <= y < 2^n, of a multilinear polynomial in n variables, bit b of y being variable b; each value is four
 * words, in the form in which the core multiplies. Tables come from the functions here, which trust their values to be below the
 * order. Variables are bound from the highest to the lowest.
 * A vector x of d integers is one of 2^n values, 0 from d on. |x| < 2^30 in sums of products and in fractions; larger values give wrong
 * numbers, and touch no memory outside the arrays. eq(r, y) is the product over b of (bit b of y ? r_b : 1 - r_b).
 * Scalars are canonical, else PRIVCOMP_E_CANONICAL; numbers out of their range, PRIVCOMP_E_ARGUMENT. Scratch holds at least
 * privcomp_multilinear_scratch(variables) words. Constant time in tables, vectors and scalars (whether there is a pole is public).
 * Source: Thaler, "Proofs, Arguments, and Zero-Knowledge" (2022), chapter 4; Papini, Haboeck, eprint 2023/1284, for the fractions.
 */

#define PRIVCOMP_MULTILINEAR_MAX 32
#define PRIVCOMP_MULTILINEAR_PIECES 8 /* vectors combined at once */

/* Words of scratch for functions of that many variables (of reciprocals too), or -1. */
int64_t privcomp_multilinear_scratch(unsigned variables);

/* Between tables of n values and scalars, and table *= factor. */
int privcomp_multilinear_load(uint64_t *table, const uint8_t *scalars, size_t n, int group);
int privcomp_multilinear_store(uint8_t *scalars, const uint64_t *table, size_t n, int group);
int privcomp_multilinear_scale(uint64_t *table, size_t n, const uint8_t *factor, int group);

/* Binds the highest variable of `count` tables, `stride` values apart, to s: t[y] += s (t[y + half] - t[y]) for y < half. */
int privcomp_multilinear_fold(uint64_t *tables, size_t count, size_t stride, size_t half, const uint8_t *s, int group);

/* table[y] = eq(point, y) (y < cut ? below : above). */
int privcomp_multilinear_eq(uint64_t *table, const uint8_t *point, unsigned variables, uint64_t cut, const uint8_t *below, const uint8_t *above,
                            int group, uint64_t *scratch);

/* table[y] = (where added, +=) the sum over k < count of coefficients[k] x[k size + y], for y < size. */
int privcomp_multilinear_combine(uint64_t *table, const uint8_t *coefficients, size_t count, const int64_t *x, size_t d, size_t size, int added,
                                 int group);

/* out = the sum over first <= y < last of eq(point, y) x[y]; the sum over i < n of table[i] x[i]; of x[i] y[i]. */
int privcomp_multilinear_dot(uint8_t *out, const int64_t *x, size_t d, uint64_t first, uint64_t last, const uint8_t *point, unsigned variables,
                             int group, uint64_t *scratch);
int privcomp_multilinear_dot_table(uint8_t *out, const uint64_t *table, const int64_t *x, size_t n, int group);
int privcomp_multilinear_dot_i64(uint8_t *out, const int64_t *x, const int64_t *y, size_t n, int group);

/* The round polynomial h(X) = the sum over y < half of a(X, y) g(X, y): out = h(0), and the coefficient of X^2. */
int privcomp_sumcheck_product(uint8_t *out, const uint64_t *a, const uint64_t *g, size_t half, int group);

/* The tree of fractions over the leaves 1 / (shift + x[j]), j < 2^variables: layer k has 2^k nodes p / q, and node y of it is the sum of the
 * nodes y and y + 2^k of layer k + 1. A layer is the table of p, then that of q.
 * layer: out = that layer, 1 <= variables - layer <= 3.   up: out = layer `layer`, from the one below. */
int privcomp_fraction_layer(uint64_t *out, const int64_t *x, size_t d, unsigned variables, unsigned layer, const uint8_t *shift, int group);
int privcomp_fraction_up(uint64_t *out, const uint64_t *in, unsigned layer, int group);

/* The sumcheck of layer k: p + lambda q at a point is the sum over y < 2^k of eq(point, y) (p0 q1 + q0 (p1 + lambda q1))(y), p0, p1, q0, q1
 * being the halves of layer k + 1.
 * mix: makes p1 + lambda q1 of p1 in the tables p0, p1, q0, q1 of `size` values each.
 * round: out = h(0) and the coefficient of X^2 of h(X), the sum over y < 2^b of eq(point, y) times the same of (X, y). lambda is NULL for
 *        mixed tables; else the tables are q0, q1 of leaves, whose p are 1.
 * first_round, first_fold: the round b = layer - 1, and the mixed tables (of leaves: q0, q1) after it, from the leaves themselves;
 *        1 <= variables - layer <= 2. */
int privcomp_fraction_mix(uint64_t *tables, size_t size, const uint8_t *lambda, int group);
int privcomp_fraction_round(uint8_t *out, const uint64_t *tables, size_t stride, unsigned b, const uint8_t *point, const uint8_t *lambda, int group,
                            uint64_t *scratch);
int privcomp_fraction_first_round(uint8_t *out, const int64_t *x, size_t d, unsigned variables, unsigned layer, const uint8_t *shift,
                                  const uint8_t *lambda, const uint8_t *point, int group, uint64_t *scratch);
int privcomp_fraction_first_fold(uint64_t *tables, const int64_t *x, size_t d, unsigned variables, unsigned layer, const uint8_t *shift,
                                 const uint8_t *lambda, const uint8_t *s, int group);

/* table[t] = 1 / (alpha + t) for t < count, 0 up to size; out = the sum over t < count of eq(point, t) / (alpha + t).
 * A pole: PRIVCOMP_E_ZERO. Source: Montgomery (1987) for the inversions. */
int privcomp_reciprocals(uint64_t *table, size_t count, size_t size, const uint8_t *alpha, int group);
int privcomp_reciprocal_sum(uint8_t *out, uint64_t count, unsigned variables, const uint8_t *alpha, const uint8_t *point, int group,
                            uint64_t *scratch);

/* ---- end of multilinear ---- */

/* ---- encoding for distributed noise: rotation, clip, rounding ----
 * A vector x of floats becomes integers q whose Euclidean norm is bounded with certainty: x is padded with zeros to d = 2^k entries, rotated to
 * H S x / sqrt(d) (S: signs, H: the Walsh-Hadamard transform), clipped to norm c, divided by the granularity g, and rounded at random until the exact
 * integer ||q||^2 is within a bound. Vectors have at most 2^30 entries, d = 1 .. 2^30; lengths beyond: PRIVCOMP_E_ARGUMENT.
 * Floats are IEEE 754 doubles, or singles taken as doubles. Results are the same at every level. An entry that is infinite or not a number is refused.
 * Bit i of a stream is bit i mod 8 of its byte i / 8; word i is the little-endian number at bytes 8i .. 8i + 7; seeds and ciphers as above.
 * Not constant time: the time of float arithmetic may depend on its numbers (subnormal ones), and what is said at each function. Functions on integers
 * without _var are constant time in their values (whether they refused is public).
 * Source: Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism for Federated Learning with Secure Aggregation" (2021), section 4.
 */

#define PRIVCOMP_E_FLOAT (-7) /* an entry is infinite or not a number */
#define PRIVCOMP_E_RANGE (-8) /* integers so large that a sum could overflow */
#define PRIVCOMP_E_NORM (-9)  /* the integers are longer than the bound; they have been wiped */

/* x = H x, in place: the new x[i] is the sum over j of (-1)^(number of bits of i & j) x[j]. For integers exact, and
 * requires: the sum of all |x[j]| below 2^62, else PRIVCOMP_E_RANGE; it bounds every number on the way.
 * For floats each level of butterflies, at distances d/2, d/4, .., 1, rounds once per entry. */
int privcomp_hadamard_f64(double *x, size_t d);
int privcomp_hadamard_i64(int64_t *x, size_t d);

/* x[j] = -x[j] where bit j of the seed's stream is 1. Any n <= 2^40. */
int privcomp_flip_f64(double *x, size_t n, const uint8_t *seed, int cipher);
int privcomp_flip_i64(int64_t *x, size_t n, const uint8_t *seed, int cipher);

/* out = scale S H q, S by privcomp_flip_f64: with scale = g / sqrt(d) the inverse of the rotation. The transform is exact as long as the sum of all
 * |q[j]| is below 2^53. */
int privcomp_unrotate_i64(double *out, const int64_t *q, size_t d, double scale, const uint8_t *seed, int cipher);

/* out = x if its norm is at most clip, else x times a number close to, and not above, clip / ||x||.
 * requires: 2^-100 <= clip <= 2^100; out may be x.
 * ensures:  ||out|| <= clip in exact arithmetic, and ||out|| >= (1 - 2^-29) clip if ||x|| >= clip (single precision: 1 - 2^-19).
 *           Products that underflow may become zero. */
int privcomp_clip_l2_f32(float *out, const float *x, size_t n, double clip);
int privcomp_clip_l2_f64(double *out, const double *x, size_t n, double clip);

/* q = x / gamma, rounded at random: with t = x[j] / gamma (one rounding, towards zero) and a = min(|t|, beta), |q[j]| is floor(a), or one more if
 * u < a - floor(a), where u = (k + 1/2) / 2^52 for the upper 52 bits k of word n i + j of the seed's stream, in attempt i = 0, 1, ..
 * P[one more] is exactly a - floor(a) if a >= 1, and within 2^-53 of it below. There are at most `trials` attempts until ||q||^2 <= bound; then
 * |q[j]| = floor(a) is tried. attempt, for tests: which one it was (0 .. trials); NULL for everybody else, since it depends on x.
 * requires: 2^-100 <= gamma <= 2^100, beta <= 2^48, bound = bound_high 2^64 + bound_low < 2^127, trials <= 2^16; a fresh seed.
 * ensures:  |q[j]| <= beta; ||q||^2 <= bound, in exact integers, else PRIVCOMP_E_NORM and zeros, which is impossible if ||x|| <= c and
 *           bound >= floor((c / gamma)^2).
 * Time depends on how many attempts were made, which depends on x and the coins. */
int privcomp_round_l2_f64_var(int64_t *q, int32_t *attempt, const double *x, size_t n, double gamma, uint64_t beta, uint64_t bound_high,
                              uint64_t bound_low, uint32_t trials, const uint8_t *seed, int cipher);

/* Doubles of scratch for the functions below, or -1. */
int64_t privcomp_encode_l2_scratch(size_t d);

/* All at once: q = round(clip(H S x / sqrt(d)) / gamma), x padded to d entries, S by the bits of `rotation`, coins from `seed`, rounded as above with
 * t off by at most 2^-29 |t| + 2^-48 ||t||: the clip, and the rounding of the transform.
 * requires: n <= d; clip, gamma, beta, bound, trials as above; scratch_words at least the above, else PRIVCOMP_E_LENGTH.
 * ensures:  as above; PRIVCOMP_E_NORM is impossible if bound >= floor((clip / gamma)^2). PRIVCOMP_E_FLOAT leaves zeros in q, too. */
int privcomp_encode_l2_f32_var(int64_t *q, int32_t *attempt, size_t d, const float *x, size_t n, double clip, double gamma, uint64_t beta,
                               uint64_t bound_high, uint64_t bound_low, uint32_t trials, const uint8_t *rotation, const uint8_t *seed, int cipher,
                               double *scratch, size_t scratch_words);
int privcomp_encode_l2_f64_var(int64_t *q, int32_t *attempt, size_t d, const double *x, size_t n, double clip, double gamma, uint64_t beta,
                               uint64_t bound_high, uint64_t bound_low, uint32_t trials, const uint8_t *rotation, const uint8_t *seed, int cipher,
                               double *scratch, size_t scratch_words);

/* acc += the exact sum of r over the rows of d entries, r = the row clipped to norm clip, divided by unit, and truncated towards zero. Unlike a sum of
 * floats, it changes by no more than clip / unit when a record is left out.
 * requires: 2^-100 <= clip, unit <= 2^100, clip / unit <= 2^48; max |acc| + rows clip / unit < 2^62, else PRIVCOMP_E_RANGE; two doubles of scratch per
 *           row, else PRIVCOMP_E_LENGTH. The sum of r^2 of each row is at most bound, else PRIVCOMP_E_NORM and zeros in acc, which is
 *           impossible if bound >= floor((clip / unit)^2).
 * Time depends on the records only as stated above. Scratch is wiped.
 * Source of what it avoids: Casacuberta, Shoemate, Vadhan, Wagaman, "Widespread Underestimation of Sensitivity .." (2022). */
int privcomp_sum_records_f32_var(int64_t *acc, const float *records, size_t rows, size_t d, double clip, double unit, uint64_t bound_high,
                                 uint64_t bound_low, double *scratch, size_t scratch_words);
int privcomp_sum_records_f64_var(int64_t *acc, const double *records, size_t rows, size_t d, double clip, double unit, uint64_t bound_high,
                                 uint64_t bound_low, double *scratch, size_t scratch_words);

/* q[j] = floor((v[j] + U_j) / divisor), U_j uniform in [0, divisor) and independent: floor(w divisor / 2^64) for the first w of the words j, j + n,
 * j + 2n, .. with w divisor mod 2^64 >= 2^64 mod divisor.
 * requires: 1 <= divisor <= 2^60; |v[j]| <= 2^62, else PRIVCOMP_E_RANGE; a fresh seed. q and v do not overlap.
 * PRIVCOMP_E_ENTROPY, and zeros, if 128 words in turn are refused (probability below 2^-512).
 * constant time in v; which words were refused is public. */
int privcomp_floor_div_random(int64_t *q, const int64_t *v, size_t n, uint64_t divisor, const uint8_t *seed, int cipher);

/* ---- end of encoding ---- */

/* ---- Fiat-Shamir transcripts: Merlin v1.0 over STROBE-128 ----
 * Every message and every challenge is framed by its label and its length, so that different sequences never absorb the same bytes.
 * Constant time in what is appended. Source: de Valence, "Merlin" (merlin.cool); Hamburg, "The STROBE protocol framework" (2017).
 */

/* Owned by the caller, one thread at a time; a copy goes on by itself. The fields are private. */
typedef struct {
    uint64_t state[25];
    uint8_t position;
    uint8_t begin;
} privcomp_transcript;

/* append_each: for each k < count message k, `length` bytes, under the label followed by k in decimal.
 * replay: steps one after another. Step k takes as its label the next steps[3k] bytes of labels and, where steps[3k + 2] is 0, appends the next
 * steps[3k + 1] bytes of messages; else a challenge of so many bytes is what comes next in challenges, which overlaps nothing.
 * requires: lengths (of labels with their digits) below 2^32; steps that take all of labels, messages and challenges, and no more. Else
 * PRIVCOMP_E_ARGUMENT: nothing is absorbed, and challenges are not to be used. */
int privcomp_transcript_init(privcomp_transcript *t, const uint8_t *label, size_t label_length);
int privcomp_transcript_append(privcomp_transcript *t, const uint8_t *label, size_t label_length, const uint8_t *message, size_t length);
int privcomp_transcript_append_each(privcomp_transcript *t, const uint8_t *label, size_t label_length, const uint8_t *messages, size_t length,
                                    size_t count);
int privcomp_transcript_challenge(privcomp_transcript *t, uint8_t *out, size_t length, const uint8_t *label, size_t label_length);
int privcomp_transcript_replay(privcomp_transcript *t, uint8_t *challenges, size_t challenges_length, const uint8_t *messages, size_t messages_length,
                               const uint8_t *labels, size_t labels_length, const uint32_t *steps, size_t count);

/* ---- exact samplers in closed form: f(z) = exp(-phi(|z|)) on the integers ----
 *   Gaussian  phi(x) = x^2 / (2 q)      Laplace  phi(x) = x / q      q = numerator / denominator: sigma^2, or t
 *
 * The output is a function of the table's law and the seeds; its law is exactly f / sum f if the streams are uniform. All arithmetic
 * that decides is exact; a table's weights only say how many candidates it takes. docs/samplers.md has the argument.
 */

#define PRIVCOMP_SAMPLER_BINS 64
#define PRIVCOMP_SAMPLER_GAUSS 1
#define PRIVCOMP_SAMPLER_LAPLACE 2

/* A table, made by the caller. With w = 2^shift, rho(x) = exp(-phi(x)) and c = scale / 2^40:
 *   weight[j] >= c rho(j w) for j < 63; the weights sum to 2^22
 *   Gaussian: 63 w >= 9 sigma and weight[63] >= 2 c rho(63 w)       Laplace: weight[63] is a power of two, >= 2^22 rho(63 w)
 *   if shift > 24: 63 w < 18 sigma, or 18 t
 *   alias[j] = threshold 2^6 + other, the alias table of the weights: weight[j] = threshold_j + sum of 2^16 - threshold_i over other_i = j
 * These are required. What is checked: numerator, denominator, scale (at most 2^62) and all weights are not 0, the sum, the alias table
 * and the power of two, shift <= 38, kind. A table that passes and breaks the rest gives numbers of another law, nothing worse. */
typedef struct {
    uint64_t numerator[2], denominator[2]; /* the low half first */
    uint64_t scale;
    uint32_t weight[64], alias[64];
    uint32_t kind, shift;
    uint32_t band_single, band_double; /* at most 15 and 40: values nearer to their thresholds than 2^-band are decided by slower
                                        * arithmetic. Smaller ones do not change the output, only the time: for tests. */
} privcomp_exp_table;

/* out[j] = z_j, or acc[j] += z_j modulo 2^32 or 2^64: n independent samples.
 * requires: cipher is one of the two; seeds has 2 SEED_BYTES, two independent seeds of streams 1 and 2 (csrc/src/sampler.h says which
 *           bytes are used for what); n <= 2^40, a valid table, else PRIVCOMP_E_ARGUMENT. Seeds are used once.
 * ensures:  |z_j| < 2^50. PRIVCOMP_E_ENTROPY, probability < 2^-1900 n: no answer; out is then all zeros, acc unspecified.
 * Variable time. The number of candidates and the words of each do not depend on the output; branches and addresses do.
 * Source: Canonne, Kamath, Steinke, "The discrete Gaussian for differential privacy" (2020), for the laws; Walker, "An efficient method
 * for generating discrete random variables with general distributions", ACM TOMS 3 (1977), for the alias table. */
int privcomp_sample_exp_var(int64_t *out, size_t n, const privcomp_exp_table *table, const uint8_t *seeds, int cipher);
int privcomp_sample_exp_add_u32_var(uint32_t *acc, size_t n, const privcomp_exp_table *table, const uint8_t *seeds, int cipher);
int privcomp_sample_exp_add_u64_var(uint64_t *acc, size_t n, const privcomp_exp_table *table, const uint8_t *seeds, int cipher);

/* out[j] = 1 with probability exp(-numerator / denominator), else 0, each of two 64-bit words, the low half first.
 * requires: seeds and cipher as above; n <= 2^40, band <= 64, denominator not 0, else PRIVCOMP_E_ARGUMENT.
 * ensures:  as above. Value j is decided by the words of candidate j: by the top `band` bits of A if these are enough, else exactly. */
int privcomp_bernoulli_exp_var(uint8_t *out, size_t n, const uint64_t *numerator, const uint64_t *denominator, unsigned band,
                               const uint8_t *seeds, int cipher);

/* ---- sampling from a table ----
 * Whole numbers with given probabilities, by rejection: 64 bins of integer weights (an alias table) propose a place of the table, and its
 * threshold, a number of 192 bits, says how often that place is accepted. The candidates' words come from two streams: candidate i takes the
 * 16 bytes from 16 i on of the first one, two little-endian words A and B, and where they do not decide, words from 256 i on of the second.
 * The output is the accepted values in their order, the same at every level.
 *   bin     j = bits 0..5 of A if bits 6..21 are below alias[j] / 64, else the low 6 bits of alias[j]
 *   place   x = j 2^shift + the low `shift` bits of A / 2^23; for the tail j = 63: x = 63 2^shift + the low `tail_shift` bits of A / 2^23
 *   accept  if the 192-bit number B, word 0, word 1 (from the highest to the lowest) is below tops[x], rest[2x], rest[2x + 1]
 *   value   mirror 0: base + x; in the tail and from `wrap` on base + x - length.
 *           mirror 1: base + x or base - x, mirror 2: base + x or base - 1 - x, as bit 22 of A is 0 or 1
 */

#define PRIVCOMP_TABLE_SHIFT_MAX 32

typedef struct {
    uint64_t alias[64]; /* threshold 64 + other bin: kept with probability threshold / 2^16 */
    int64_t base;
    uint64_t wrap;
    uint32_t shift, tail_shift, mirror;
    uint32_t band; /* the low bits of B that the first comparison leaves to the exact one. 0, except in tests: the output is the same */
} privcomp_table;

/* out[i] = sample i; acc[i] += sample i, modulo 2^32 or 2^64.
 * requires: heads has length + 1 numbers, tops length words, rest 2 length; heads[x] = tops[x] / 2^48 (the last head is not looked at, but may be
 *           loaded): what decides unless it equals the top 16 bits of B; shift, tail_shift <= PRIVCOMP_TABLE_SHIFT_MAX, mirror <= 2, band <= 64, n <= 2^40,
 *           a known cipher, else PRIVCOMP_E_ARGUMENT; 64 2^shift <= length, else PRIVCOMP_E_LENGTH; seeds: two seeds of the cipher, used
 *           for this call only.
 * PRIVCOMP_E_ENTROPY: 64 n + 2^16 candidates gave no n samples; out is zeros then, and acc holds unspecified numbers. With a table that
 * accepts one candidate in eight or more the probability of that is below 2^-1024.
 * Any other contents of a table give wrong numbers and touch no memory outside the arrays.
 * Time and addresses depend on the samples (the number of candidates does not); the words and samples left on the stack are wiped.
 * Source: Walker, "An efficient method for generating discrete random variables with general distributions", ACM TOMS 3 (1977); von Neumann,
 * "Various techniques used in connection with random digits" (1951); Knuth, Yao (1976) for deciding a comparison by as many words as it takes. */
int privcomp_sample_table_var(int64_t *out, size_t n, const privcomp_table *table, const uint16_t *heads, const uint64_t *tops,
                              const uint64_t *rest, size_t length, const uint8_t *seeds, int cipher);
int privcomp_sample_table_add_u32_var(uint32_t *acc, size_t n, const privcomp_table *table, const uint16_t *heads, const uint64_t *tops,
                                      const uint64_t *rest, size_t length, const uint8_t *seeds, int cipher);
int privcomp_sample_table_add_u64_var(uint64_t *acc, size_t n, const privcomp_table *table, const uint16_t *heads, const uint64_t *tops,
                                      const uint64_t *rest, size_t length, const uint8_t *seeds, int cipher);

/* ---- end of samplers ---- */

/* ---- additive ring-LWE ----
 * R_q = Z_q[x] / (x^N + 1), q the product of 1 .. PRIVCOMP_RLWE_PRIMES primes q_r = 1 mod 2N. Plaintexts are digits v < M, k of them in a coefficient:
 *   c_j = a_j s + e_j + Delta sum over l < k of v_l M^l   (mod q),   Delta = floor(q / M^k)
 * with value i in digit i mod k of coefficient i / k of the polynomials one after another, a_j from a public seed, and s, e of the discrete
 * Gaussian D(Z, 6.4). The sum of ciphertexts under the same a_j is one of the sum of the values under the sum of the keys.
 * Source: Brakerski, "Fully homomorphic encryption without modulus switching from classical GapSVP" (2012), of which only the addition is left; Lyubashevsky,
 * Peikert, Regev, "On ideal lattices and learning with errors over rings" (2010).
 *
 * A ciphertext is one stream of bits as in "packing" above: polynomial after polynomial, prime by prime within one, a residue in as many bits as its
 * prime has; the last polynomial is cut to the coefficients in use. Sums are words in that order, each below its prime.
 * The transform of a polynomial is a^[i] = a(psi^(2 brv(i) + 1)), brv the reversal of log2 N bits.
 */

#define PRIVCOMP_RLWE_DEGREE_MIN 4
#define PRIVCOMP_RLWE_DEGREE_MAX 16384 /* check: 2**14 */
#define PRIVCOMP_RLWE_PRIMES 4
#define PRIVCOMP_RLWE_DIGITS 64
#define PRIVCOMP_RLWE_EXPANDER_BYTES 16
#define PRIVCOMP_RLWE_NOISE_WORDS 4

/* Words of the tables of a ring, or PRIVCOMP_E_ARGUMENT. degree: a power of two within the above. */
int64_t privcomp_rlwe_words(size_t degree, size_t count);

/* Makes them. They are public, and every other function here relies on them as they were made.
 * requires: `count` distinct primes, 2^8 < q < 2^50 and q = 1 mod 2 degree; roots[r]^degree = -1 mod primes[r]; 2 <= radix <= 2^48,
 *           1 <= digits <= PRIVCOMP_RLWE_DIGITS, 2 <= Delta <= 2^62, else PRIVCOMP_E_ARGUMENT; words as above, else PRIVCOMP_E_LENGTH.
 *           That the moduli are primes is not looked at: of others, products come out wrong. */
int privcomp_rlwe_init(uint64_t *tables, size_t words, size_t degree, const uint64_t *primes, const uint64_t *roots, size_t count, uint64_t radix,
                       size_t digits);

uint64_t privcomp_rlwe_delta(const uint64_t *tables);

/* Bytes of a ciphertext of so many values: ceil(ceil(values / k) (sum of bits) / 8). PRIVCOMP_E_ARGUMENT above 2^40. */
int64_t privcomp_rlwe_bytes(const uint64_t *tables, uint64_t values);

/* The transform modulo prime `prime` of each of the rows of N words, in place, and its inverse. Words are taken modulo 2^bits and then modulo q, so that
 * every input gives a canonical output. constant time in the words. */
int privcomp_ntt_forward(uint64_t *a, size_t rows, const uint64_t *tables, size_t prime);
int privcomp_ntt_inverse(uint64_t *a, size_t rows, const uint64_t *tables, size_t prime);

/* The transforms a^_j of polynomials first .. first + count - 1, prime by prime in each; N words for each of both. a^_j modulo q_r are the first N of the
 * numbers below q_r among the low `bits` bits of the little-endian words of the AES-128-CTR stream with key `expander` and counter blocks
 * LE32(j) || LE32(r) || BE64(0, 1, ..). requires: first + count <= 2^32. Public: variable time. */
int privcomp_rlwe_expand(uint64_t *out, const uint64_t *tables, const uint8_t *expander, uint64_t first, uint64_t count);

/* n samples of D(Z, 6.4) within statistical distance 2^-123 each (csrc/src/rlwe_gauss.h); |x| <= 84. Sample i is a function of one block of AES-128: under the
 * key seed[0..15], of the number seed[16..31] + 2^64 stream + i, big endian. Streams of one seed do not overlap.
 * requires: n <= 2^40. A seed of 32 fresh bytes. constant time in the seed's key and the samples. */
int privcomp_rlwe_gaussian(int8_t *out, size_t n, const uint8_t *seed, uint64_t stream);

/* Words of a key ready for use, and that key, from its N coefficients. constant time in the coefficients; the caller wipes. */
int64_t privcomp_rlwe_key_words(const uint64_t *tables);
int privcomp_rlwe_key(uint64_t *key, size_t words, const uint64_t *tables, const int32_t *coefficients);

/* Words of scratch for the function below. */
int64_t privcomp_rlwe_encrypt_scratch(const uint64_t *tables);

/* Encrypts n values, each below M, as the polynomials from `first` on. The noise of polynomial j is stream j of noise_seed; a key and a noise seed are
 * used for one ciphertext (which may be made in several calls of whole polynomials) and never again.
 * requires: values below M, else PRIVCOMP_E_CANONICAL and zeros in out; length as privcomp_rlwe_bytes and scratch as above, else PRIVCOMP_E_LENGTH;
 *           n <= 2^40, polynomials below 2^32. The noise seed is not the seed of the key.
 * Scratch is wiped. constant time in key, noise and values (whether all are below M is public). */
int privcomp_rlwe_encrypt_u32(uint8_t *out, size_t length, const uint64_t *tables, const uint64_t *key, const uint8_t *expander,
                              const uint8_t *noise_seed, const uint32_t *values, size_t n, uint64_t first, uint64_t *scratch, size_t scratch_words);
int privcomp_rlwe_encrypt_u64(uint8_t *out, size_t length, const uint64_t *tables, const uint64_t *key, const uint8_t *expander,
                              const uint8_t *noise_seed, const uint64_t *values, size_t n, uint64_t first, uint64_t *scratch, size_t scratch_words);

/* The same of the digits v + bound of signed values.
 * requires: as above; |v| <= bound for all of them, else PRIVCOMP_E_CANONICAL and zeros in out; 2 bound < M, else PRIVCOMP_E_ARGUMENT.
 * constant time in key, noise and values (whether all are within the bound is public). */
int privcomp_rlwe_encrypt_i32(uint8_t *out, size_t length, const uint64_t *tables, const uint64_t *key, const uint8_t *expander,
                              const uint8_t *noise_seed, const int32_t *values, size_t n, uint64_t bound, uint64_t first, uint64_t *scratch,
                              size_t scratch_words);
int privcomp_rlwe_encrypt_i64(uint8_t *out, size_t length, const uint64_t *tables, const uint64_t *key, const uint8_t *expander,
                              const uint8_t *noise_seed, const int64_t *values, size_t n, uint64_t bound, uint64_t first, uint64_t *scratch,
                              size_t scratch_words);

/* Whether data is a ciphertext of so many values: PRIVCOMP_E_LENGTH, or PRIVCOMP_E_CANONICAL for a residue that is not below its prime or padding that is
 * not zero. */
int privcomp_rlwe_check(const uint8_t *data, size_t length, const uint64_t *tables, uint64_t values);

/* total += the ciphertext, which is checked first. requires: words = R ceil(values / k), each below its prime. */
int privcomp_rlwe_add(uint64_t *total, size_t words, const uint8_t *data, size_t length, const uint64_t *tables, uint64_t values);

/* Words of scratch for the function below. */
int64_t privcomp_rlwe_decode_scratch(const uint64_t *tables);

/* The n values of a sum of ciphertexts whose polynomials begin with `first`, under the sum of their keys: with x = total - a S and
 * u = (x + floor(Delta / 2)) mod q, sums are the digits of m = floor(u / Delta), and E = (u mod Delta) - floor(Delta / 2) is the noise of a coefficient.
 * noise: max |E|, and the sum of E^2 over all coefficients, in three words, the lowest first.
 * requires: lengths as above, else PRIVCOMP_E_LENGTH; total canonical, every m < M^k, digits behind the last value zero, else PRIVCOMP_E_CANONICAL and zeros
 *           in sums and noise. Sums, noise and the sum of keys are public: variable time. */
int privcomp_rlwe_decode_var(uint64_t *sums, size_t n, uint64_t *noise, const uint64_t *total, size_t words, const uint64_t *tables,
                             const uint64_t *key, const uint8_t *expander, uint64_t first, uint64_t *scratch, size_t scratch_words);

/* The same, each value less `shift`; and the largest of all values, before that.
 * requires: as above; shift < 2^48, else PRIVCOMP_E_ARGUMENT. Variable time. */
int privcomp_rlwe_decode_signed_var(int64_t *sums, size_t n, uint64_t shift, uint64_t *largest, uint64_t *noise, const uint64_t *total, size_t words,
                                    const uint64_t *tables, const uint64_t *key, const uint8_t *expander, uint64_t first, uint64_t *scratch,
                                    size_t scratch_words);

/* ---- end of ring-LWE ---- */

#endif
