/* AES-128 and ChaCha20 for every machine: the truth that the vector kernels are tested against. Constant time: no table, no branch.
 *
 * AES is bit-sliced. Eight blocks are two 64-bit lanes of four; plane i holds bit i of every byte of the state, the byte in
 * row r, column c of block b at bit 16 r + 4 c + b of its lane (the layout of BearSSL's aes_ct64). ShiftRows is then a rotation of
 * nibbles within each 16-bit row, and MixColumns mixes rotations by 16 and 32.
 */
#include "core.h"

typedef uint64_t v2 __attribute__((vector_size(16)));
typedef uint32_t v4 __attribute__((vector_size(16)));

/* S-box of every byte: Boyar and Peralta, "A small depth-16 circuit for the AES S-box" (2012), 32 AND and 96 XOR or XNOR. u0 is the
 * most significant bit. */
PC_INLINE void sub_bytes(v2 q[8])
{
    const v2 u0 = q[7], u1 = q[6], u2 = q[5], u3 = q[4], u4 = q[3], u5 = q[2], u6 = q[1], u7 = q[0];

    /* linear layer into the tower field */
    const v2 y14 = u3 ^ u5, y13 = u0 ^ u6, y9 = u0 ^ u3, y8 = u0 ^ u5, t0 = u1 ^ u2;
    const v2 y1 = t0 ^ u7, y4 = y1 ^ u3, y12 = y13 ^ y14, y2 = y1 ^ u0, y5 = y1 ^ u6, y3 = y5 ^ y8;
    const v2 t1 = u4 ^ y12, y15 = t1 ^ u5, y20 = t1 ^ u1, y6 = y15 ^ u7, y10 = y15 ^ t0, y11 = y20 ^ y9;
    const v2 y7 = u7 ^ y11, y17 = y10 ^ y11, y19 = y10 ^ y8, y16 = t0 ^ y11, y21 = y13 ^ y16, y18 = u0 ^ y16;

    /* inversion in GF(2^4)^2 */
    const v2 t2 = y12 & y15, t4 = (y3 & y6) ^ t2, t6 = (y4 & u7) ^ t2, t7 = y13 & y16, t9 = (y5 & y1) ^ t7, t11 = (y2 & y7) ^ t7;
    const v2 t12 = y9 & y11, t14 = (y14 & y17) ^ t12, t16 = (y8 & y10) ^ t12;
    const v2 t21 = t4 ^ t14 ^ y20, t22 = t6 ^ t16 ^ y19, t23 = t9 ^ t14 ^ y21, t24 = t11 ^ t16 ^ y18;
    const v2 t25 = t21 ^ t22, t26 = t21 & t23, t27 = t24 ^ t26, t29 = (t25 & t27) ^ t22;
    const v2 t30 = t23 ^ t24, t31 = t22 ^ t26, t33 = (t31 & t30) ^ t24, t34 = t23 ^ t33, t35 = t27 ^ t33, t36 = t24 & t35;
    const v2 t37 = t36 ^ t34, t38 = t27 ^ t36, t40 = t25 ^ (t29 & t38), t41 = t40 ^ t37, t42 = t29 ^ t33;
    const v2 t43 = t29 ^ t40, t44 = t33 ^ t37, t45 = t42 ^ t41;
    const v2 z0 = t44 & y15, z1 = t37 & y6, z2 = t33 & u7, z3 = t43 & y16, z4 = t40 & y1, z5 = t29 & y7, z6 = t42 & y11;
    const v2 z7 = t45 & y17, z8 = t41 & y10, z9 = t44 & y12, z10 = t37 & y3, z11 = t33 & y4, z12 = t43 & y13, z13 = t40 & y5;
    const v2 z14 = t29 & y2, z15 = t42 & y9, z16 = t45 & y14, z17 = t41 & y8;

    /* linear layer back, with the affine map; the complements are its constant 0x63 */
    const v2 t46 = z15 ^ z16, t47 = z10 ^ z11, t48 = z5 ^ z13, t49 = z9 ^ z10, t50 = z2 ^ z12, t51 = z2 ^ z5, t52 = z7 ^ z8;
    const v2 t53 = z0 ^ z3, t54 = z6 ^ z7, t55 = z16 ^ z17, t56 = z12 ^ t48, t57 = t50 ^ t53, t58 = z4 ^ t46, t59 = z3 ^ t54;
    const v2 t60 = t46 ^ t57, t61 = z14 ^ t57, t62 = t52 ^ t58, t63 = t49 ^ t58, t64 = z4 ^ t59, t65 = t61 ^ t62, t66 = z1 ^ t63;
    const v2 s3 = t53 ^ t66;
    q[7] = t59 ^ t63;
    q[6] = t64 ^ ~s3;
    q[5] = t55 ^ ~(t64 ^ t65);
    q[4] = s3;
    q[3] = t51 ^ t66;
    q[2] = t47 ^ t65;
    q[1] = t56 ^ ~t62;
    q[0] = t48 ^ ~t60;
}

/* Row r of the state moves left by r columns: row r is 16 bits, a column 4. */
PC_INLINE void shift_rows(v2 q[8])
{
    for (int i = 0; i < 8; i++) {
        const v2 x = q[i];
        q[i] = (x & 0x000000000000ffff)                                                /* row 0 */
             | ((x & 0x00000000fff00000) >> 4) | ((x & 0x00000000000f0000) << 12)      /* row 1 */
             | ((x & 0x0000ff0000000000) >> 8) | ((x & 0x000000ff00000000) << 8)       /* row 2 */
             | ((x & 0xf000000000000000) >> 12) | ((x & 0x0fff000000000000) << 4);     /* row 3 */
    }
}

/* b_r = 2 a_r + 3 a_(r+1) + a_(r+2) + a_(r+3) = 2 (a_r + a_(r+1)) + a_(r+1) + (a_(r+2) + a_(r+3)). */
PC_INLINE void mix_columns(v2 q[8])
{
    v2 next[8], both[8];
    for (int i = 0; i < 8; i++) {
        next[i] = (q[i] >> 16) | (q[i] << 48); /* a_(r+1) in place of a_r */
        both[i] = q[i] ^ next[i];
    }
    const v2 carry = both[7]; /* doubling reduces by x^8 = x^4 + x^3 + x + 1 */
    for (int i = 0; i < 8; i++) {
        v2 twice = i == 0 ? carry : both[i - 1];
        if (i == 1 || i == 3 || i == 4) twice ^= carry;
        q[i] = twice ^ next[i] ^ ((both[i] >> 32) | (both[i] << 32));
    }
}

PC_INLINE void add_round_key(v2 q[8], const v2 k[8])
{
    for (int i = 0; i < 8; i++) q[i] ^= k[i];
}

#define SWAP_MOVE(a, b, mask, shift) \
    do { \
        const v2 swap = ((a >> shift) ^ b) & mask; \
        b ^= swap; \
        a ^= swap << shift; \
    } while (0)

/* 8x8 bit transposition of each byte column of q, its own inverse: words of bytes become bit planes and back. */
PC_INLINE void transpose(v2 q[8])
{
    for (int i = 0; i < 8; i += 2) SWAP_MOVE(q[i], q[i + 1], 0x5555555555555555, 1);
    for (int i = 0; i < 8; i++)
        if (!(i & 2)) SWAP_MOVE(q[i], q[i + 2], 0x3333333333333333, 2);
    for (int i = 0; i < 4; i++) SWAP_MOVE(q[i], q[i + 4], 0x0f0f0f0f0f0f0f0f, 4);
}

/* Spreads the four bytes of w to the low bytes of the four 16-bit fields. */
PC_INLINE uint64_t spread(uint32_t w)
{
    uint64_t x = w;
    x = (x | (x << 16)) & 0x0000ffff0000ffff;
    return (x | (x << 8)) & 0x00ff00ff00ff00ff;
}

PC_INLINE uint32_t gather(uint64_t x)
{
    x &= 0x00ff00ff00ff00ff;
    x = (x | (x >> 8)) & 0x0000ffff0000ffff;
    return (uint32_t)(x | (x >> 16));
}

/* Puts block b (0..3) of lane 0 and of lane 1, each given by its four little-endian words, into q[b] (columns 0 and 2) and q[b + 4]
 * (columns 1 and 3). */
PC_INLINE void put_blocks(v2 q[8], int b, uint32_t w[2][4])
{
    q[b] = (v2){spread(w[0][0]) | (spread(w[0][2]) << 8), spread(w[1][0]) | (spread(w[1][2]) << 8)};
    q[b + 4] = (v2){spread(w[0][1]) | (spread(w[0][3]) << 8), spread(w[1][1]) | (spread(w[1][3]) << 8)};
}

void pc_aes_expand_portable(pc_stream *s, const uint8_t key[16])
{
    uint32_t w[4];
    uint32_t rcon = 1;
    memcpy(s->key.round_key[0], key, 16);
    for (int i = 0; i < 4; i++) w[i] = load32_le(key + 4 * i);
    for (int r = 1; r <= 10; r++) {
        /* SubWord(RotWord(w3)) by the same circuit: bit i of byte j goes to bit j of plane i. */
        const uint32_t in = (w[3] >> 8) | (w[3] << 24);
        uint32_t out = 0;
        v2 q[8];
        for (int i = 0; i < 8; i++) {
            const uint64_t plane = ((in >> i) & 1) | ((in >> (i + 7)) & 2) | ((in >> (i + 14)) & 4) | ((in >> (i + 21)) & 8);
            q[i] = (v2){plane, 0};
        }
        sub_bytes(q);
        for (int i = 0; i < 8; i++) {
            const uint32_t plane = (uint32_t)q[i][0];
            out |= ((plane & 1) << i) | ((plane & 2) << (i + 7)) | ((plane & 4) << (i + 14)) | ((plane & 8) << (i + 21));
        }
        w[0] ^= out ^ rcon;
        w[1] ^= w[0];
        w[2] ^= w[1];
        w[3] ^= w[2];
        for (int i = 0; i < 4; i++) store32_le(s->key.round_key[r] + 4 * i, w[i]);
        rcon = (rcon << 1) ^ (0x11b & (0 - (rcon >> 7))); /* check: 0x11b == 2**8 + 2**4 + 2**3 + 2 + 1 */
    }
}

/* One chunk is eight blocks. */
void pc_aes_portable(enum pc_op op, uint8_t *dst, size_t chunks, const pc_stream *s, uint64_t hi, uint64_t lo)
{
    v2 k[11][8];
    for (int r = 0; r < 11; r++) {
        uint32_t w[2][4];
        for (int i = 0; i < 4; i++) w[0][i] = w[1][i] = load32_le(s->key.round_key[r] + 4 * i);
        for (int b = 0; b < 4; b++) put_blocks(k[r], b, w);
        transpose(k[r]);
    }
    const uint32_t w0 = __builtin_bswap32((uint32_t)(hi >> 32)), w1 = __builtin_bswap32((uint32_t)hi);
    for (; chunks > 0; chunks--, dst += 128, lo += 8) {
        uint8_t out[128];
        v2 q[8];
        for (int b = 0; b < 4; b++) {
            const uint64_t c0 = __builtin_bswap64(lo + (uint64_t)b), c1 = __builtin_bswap64(lo + (uint64_t)b + 4);
            uint32_t w[2][4] = {{w0, w1, (uint32_t)c0, (uint32_t)(c0 >> 32)}, {w0, w1, (uint32_t)c1, (uint32_t)(c1 >> 32)}};
            put_blocks(q, b, w);
        }
        transpose(q);
        add_round_key(q, k[0]);
        for (int r = 1; r < 10; r++) {
            sub_bytes(q);
            shift_rows(q);
            mix_columns(q);
            add_round_key(q, k[r]);
        }
        sub_bytes(q);
        shift_rows(q);
        add_round_key(q, k[10]);
        transpose(q);
        for (int b = 0; b < 8; b++) {
            const uint64_t even = q[b & 3][b >> 2], odd = q[(b & 3) + 4][b >> 2];
            store32_le(out + 16 * b, gather(even));
            store32_le(out + 16 * b + 4, gather(odd));
            store32_le(out + 16 * b + 8, gather(even >> 8));
            store32_le(out + 16 * b + 12, gather(odd >> 8));
        }
        pc_combine(op, dst, out, sizeof out);
    }
    privcomp_wipe((uint8_t *)k, sizeof k);
}

/* ---- AES, 128 blocks at a time ---- */

/* Every bit of the state has a vector of its own, which holds that bit of 128 blocks: block 8 g + j at bit j of byte g. ShiftRows
 * then only says which byte is read where, and MixColumns needs no rotations: about a third of the instructions per block of the
 * kernel above. Source: Biham, "A fast new DES implementation in software", FSE 1997. */
#define WIDE 128

#if defined(__clang__) || __GNUC__ >= 12
#define BYTES(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define BYTES(a, b, ...) __builtin_shuffle(a, b, (v16){__VA_ARGS__})
#endif

typedef uint8_t v16 __attribute__((vector_size(16)));

/* A bit in every lane. */
PC_INLINE v2 all_lanes(uint64_t bit)
{
    const v2 x = {bit, bit};
    return -(x & 1);
}

/* The planes of hi * 2^64 + lo + block, modulo 2^64 in the low half, big endian as the counter is. */
static void count_blocks(v2 a[16][8], uint64_t hi, uint64_t lo)
{
    /* The bits of the number of a block: three of the bit in its byte, four of the byte. */
    const v2 number[7] = {
        {0xaaaaaaaaaaaaaaaa, 0xaaaaaaaaaaaaaaaa}, {0xcccccccccccccccc, 0xcccccccccccccccc}, {0xf0f0f0f0f0f0f0f0, 0xf0f0f0f0f0f0f0f0},
        (v2)(v16){0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255},
        (v2)(v16){0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 255, 255},
        (v2)(v16){0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255},
        (v2)(v16){0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255},
    };
    v2 carry = {0, 0};
    for (int i = 0; i < 64; i++) {
        const v2 x = i < 7 ? number[i] : (v2){0, 0}, y = all_lanes(lo >> i);
        a[7 - i / 8][i % 8] = all_lanes(hi >> i);
        a[15 - i / 8][i % 8] = x ^ y ^ carry;
        carry = (x & y) | (carry & (x ^ y));
    }
}

/* out = column c after AddRoundKey, SubBytes and ShiftRows: row r comes from column c + r. Bytes are in the order of FIPS 197. */
PC_INLINE void sub_column(v2 out[4][8], const v2 a[16][8], const v2 k[16][8], int c)
{
    for (int r = 0; r < 4; r++) {
        const int from = 4 * ((c + r) % 4) + r;
        PC_UNROLL
        for (int i = 0; i < 8; i++) out[r][i] = a[from][i] ^ k[from][i];
        sub_bytes(out[r]);
    }
}

/* As mix_columns. */
PC_INLINE void mix_column(v2 out[4][8], const v2 a[4][8])
{
    v2 carry[4], last[4];
    PC_UNROLL
    for (int r = 0; r < 4; r++) last[r] = carry[r] = a[r][7] ^ a[(r + 1) % 4][7];
    PC_UNROLL
    for (int i = 0; i < 8; i++) {
        v2 both[4];
        PC_UNROLL
        for (int r = 0; r < 4; r++) both[r] = a[r][i] ^ a[(r + 1) % 4][i];
        PC_UNROLL
        for (int r = 0; r < 4; r++) {
            v2 twice = last[r];
            if (i == 1 || i == 3 || i == 4) twice ^= carry[r];
            out[r][i] = twice ^ a[(r + 1) % 4][i] ^ both[(r + 2) % 4];
        }
        PC_UNROLL
        for (int r = 0; r < 4; r++) last[r] = both[r];
    }
}

/* Block 8 g + j, from byte g of every a[.][j]: a 16x16 transposition of bytes. */
PC_INLINE void put_transposed(uint8_t *out, const v2 a[16][8], int j)
{
    v16 x[16], y[16];
    PC_UNROLL
    for (int i = 0; i < 16; i++) x[i] = (v16)a[i][j];
    PC_UNROLL
    for (int step = 0; step < 4; step++) {
        PC_UNROLL
        for (int i = 0; i < 8; i++) {
            y[2 * i] = BYTES(x[i], x[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            y[2 * i + 1] = BYTES(x[i], x[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        }
        memcpy(x, y, sizeof x);
    }
    PC_UNROLL
    for (int g = 0; g < 16; g++) memcpy(out + 16 * (8 * g + j), &x[g], 16);
}

/* One chunk is 128 blocks. */
void pc_aes_portable_wide(enum pc_op op, uint8_t *dst, size_t chunks, const pc_stream *s, uint64_t hi, uint64_t lo)
{
    v2 k[11][16][8];
    for (int r = 0; r < 11; r++)
        for (int b = 0; b < 16; b++)
            for (int i = 0; i < 8; i++) k[r][b][i] = all_lanes((uint64_t)s->key.round_key[r][b] >> i);
    for (; chunks > 0; chunks--, dst += 16 * WIDE, lo += WIDE) {
        v2 state[2][16][8];
        uint8_t out[16 * WIDE];
        count_blocks(state[0], hi, lo);
        for (int r = 0; r < 9; r++) {
            for (int c = 0; c < 4; c++) {
                v2 column[4][8];
                sub_column(column, state[r % 2], k[r], c);
                mix_column(state[(r + 1) % 2] + 4 * c, column);
            }
        }
        for (int c = 0; c < 4; c++) sub_column(state[0] + 4 * c, state[1], k[9], c);
        for (int b = 0; b < 16; b++) {
            add_round_key(state[0][b], k[10][b]);
            transpose(state[0][b]);
        }
        for (int j = 0; j < 8; j++) put_transposed(out, state[0], j);
        pc_combine(op, dst, out, sizeof out);
    }
    privcomp_wipe((uint8_t *)k, sizeof k);
}

/* ---- ChaCha20: four blocks side by side ---- */

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, (v4){i, j, k, l})
#endif
#define ROTATE(x, n) (((x) << (n)) | ((x) >> (32 - (n))))
#define QUARTER(a, b, c, d) \
    a += b, d = ROTATE(d ^ a, 16), c += d, b = ROTATE(b ^ c, 12), a += b, d = ROTATE(d ^ a, 8), c += d, b = ROTATE(b ^ c, 7)

void pc_chacha_portable(enum pc_op op, uint8_t *dst, size_t chunks, const pc_stream *s, uint64_t hi, uint64_t lo)
{
    /* "expand 32-byte k" */
    uint32_t in[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; /* check: struct.unpack("<4I", b"expand 32-byte k") */
    memcpy(in + 4, s->key.word, 32);
    in[14] = (uint32_t)hi;
    in[15] = (uint32_t)(hi >> 32);
    for (; chunks > 0; chunks--, dst += 256, lo += 4) {
        const uint64_t c[4] = {lo, lo + 1, lo + 2, lo + 3};
        v4 start[16], x[16];
        for (int i = 0; i < 16; i++) start[i] = (v4){in[i], in[i], in[i], in[i]};
        start[12] = (v4){(uint32_t)c[0], (uint32_t)c[1], (uint32_t)c[2], (uint32_t)c[3]};
        start[13] = (v4){(uint32_t)(c[0] >> 32), (uint32_t)(c[1] >> 32), (uint32_t)(c[2] >> 32), (uint32_t)(c[3] >> 32)};
        for (int i = 0; i < 16; i++) x[i] = start[i];
        for (int r = 0; r < 10; r++) {
            QUARTER(x[0], x[4], x[8], x[12]);
            QUARTER(x[1], x[5], x[9], x[13]);
            QUARTER(x[2], x[6], x[10], x[14]);
            QUARTER(x[3], x[7], x[11], x[15]);
            QUARTER(x[0], x[5], x[10], x[15]);
            QUARTER(x[1], x[6], x[11], x[12]);
            QUARTER(x[2], x[7], x[8], x[13]);
            QUARTER(x[3], x[4], x[9], x[14]);
        }
        uint8_t out[256];
        for (int i = 0; i < 16; i += 4) {
            /* words i .. i+3 of the four blocks: a 4x4 transposition */
            const v4 a = x[i] + start[i], b = x[i + 1] + start[i + 1], c2 = x[i + 2] + start[i + 2], d = x[i + 3] + start[i + 3];
            const v4 ab = SHUFFLE(a, b, 0, 4, 1, 5), cd = SHUFFLE(c2, d, 0, 4, 1, 5);
            const v4 ab2 = SHUFFLE(a, b, 2, 6, 3, 7), cd2 = SHUFFLE(c2, d, 2, 6, 3, 7);
            const v4 rows[4] = {SHUFFLE(ab, cd, 0, 1, 4, 5), SHUFFLE(ab, cd, 2, 3, 6, 7), SHUFFLE(ab2, cd2, 0, 1, 4, 5),
                                SHUFFLE(ab2, cd2, 2, 3, 6, 7)};
            for (int l = 0; l < 4; l++)
                for (int j = 0; j < 4; j++) store32_le(out + 64 * l + 4 * (i + j), rows[l][j]);
        }
        pc_combine(op, dst, out, sizeof out);
    }
    privcomp_wipe((uint8_t *)in, sizeof in);
}
