/* The ChaCha20 kernel, written once for vectors of PC_W = 256 or 512 bits: word i of 8 or 16 blocks fills one vector. 512-bit vectors
 * carry two such states interleaved, which fills the 32 registers. Included once per width with PC_NAME and PC_TARGET.
 */
#if PC_W == 256
#define VEC __m256i
#define LANES(f) _mm256_##f
#define BITS(f) _mm256_##f##_si256
#define STATES 1
#define TOGETHER 1
#else
#define VEC __m512i
#define LANES(f) _mm512_##f
#define BITS(f) _mm512_##f##_si512
#define STATES 2
#define TOGETHER 4
#endif
#define BLOCKS (PC_W / 32)

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define RUN CAT(PC_NAME, _run)
#define EMIT CAT(PC_NAME, _emit)
#define ROL CAT(PC_NAME, _rol)
#define QUARTERS CAT(PC_NAME, _quarters)
#define OUTPUT CAT(PC_NAME, _output)

PC_TARGET PC_INLINE void EMIT(const enum pc_op op, uint8_t *dst, VEC x)
{
    if (op != PC_STORE) {
        const VEC old = BITS(loadu)((const void *)dst);
        x = op == PC_ADD32 ? LANES(add_epi32)(old, x)
          : op == PC_SUB32 ? LANES(sub_epi32)(old, x)
          : op == PC_ADD64 ? LANES(add_epi64)(old, x)
          : op == PC_SUB64 ? LANES(sub_epi64)(old, x)
                           : BITS(xor)(old, x);
    }
    BITS(storeu)((void *)dst, x);
}

PC_TARGET PC_INLINE VEC ROL(VEC x, const int n)
{
#if PC_W == 512
    return n == 16 ? _mm512_rol_epi32(x, 16) : n == 12 ? _mm512_rol_epi32(x, 12) : n == 8 ? _mm512_rol_epi32(x, 8) : _mm512_rol_epi32(x, 7);
#else
    if (n == 16)
        return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(_mm_set_epi8(13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2)));
    if (n == 8)
        return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(_mm_set_epi8(14, 13, 12, 15, 10, 9, 8, 11, 6, 5, 4, 7, 2, 1, 0, 3)));
    return _mm256_or_si256(_mm256_slli_epi32(x, n), _mm256_srli_epi32(x, 32 - n));
#endif
}

/* Four quarter rounds on columns (turn 0) or diagonals (turn 1); TOGETHER of them step by step side by side, as many as leave
 * registers free for the rotations. */
PC_TARGET PC_INLINE void QUARTERS(VEC x[STATES][16], const int turn)
{
    static const int amount[4] = {16, 12, 8, 7};
    PC_UNROLL
    for (int first = 0; first < 4; first += TOGETHER) {
        PC_UNROLL
        for (int step = 0; step < 4; step++) { /* a += b; d = (d ^ a) <<< 16;  c += d; b = (b ^ c) <<< 12;  again with 8 and 7 */
            PC_UNROLL
            for (int i = first; i < first + TOGETHER; i++) {
                const int a = i, b = 4 + (i + turn) % 4, c = 8 + (i + 2 * turn) % 4, d = 12 + (i + 3 * turn) % 4;
                const int to = step % 2 ? c : a, from = step % 2 ? d : b;
                PC_UNROLL
                for (int h = 0; h < STATES; h++) x[h][to] = LANES(add_epi32)(x[h][to], x[h][from]);
            }
            PC_UNROLL
            for (int i = first; i < first + TOGETHER; i++) {
                const int a = i, b = 4 + (i + turn) % 4, c = 8 + (i + 2 * turn) % 4, d = 12 + (i + 3 * turn) % 4;
                const int to = step % 2 ? b : d, from = step % 2 ? c : a;
                PC_UNROLL
                for (int h = 0; h < STATES; h++) x[h][to] = ROL(BITS(xor)(x[h][to], x[h][from]), amount[step]);
            }
        }
    }
}

/* Transposes 4x4 words in each 128-bit lane, then the lanes, and combines the blocks with dst. */
PC_TARGET PC_INLINE void OUTPUT(const enum pc_op op, uint8_t *dst, VEC x[16])
{
    PC_UNROLL
    for (int i = 0; i < 16; i += 4) {
        const VEC p = LANES(unpacklo_epi32)(x[i], x[i + 1]), q = LANES(unpackhi_epi32)(x[i], x[i + 1]);
        const VEC r = LANES(unpacklo_epi32)(x[i + 2], x[i + 3]), s = LANES(unpackhi_epi32)(x[i + 2], x[i + 3]);
        x[i] = LANES(unpacklo_epi64)(p, r);
        x[i + 1] = LANES(unpackhi_epi64)(p, r);
        x[i + 2] = LANES(unpacklo_epi64)(q, s);
        x[i + 3] = LANES(unpackhi_epi64)(q, s);
    }
    /* lane l of x[4 g + i] now holds words 4 g .. 4 g + 3 of block 4 l + i */
    PC_UNROLL
    for (int i = 0; i < 4; i++) {
        const VEC a = x[i], b = x[4 + i], c = x[8 + i], d = x[12 + i];
#if PC_W == 256
        EMIT(op, dst + 64 * i, _mm256_permute2x128_si256(a, b, 0x20));
        EMIT(op, dst + 64 * i + 32, _mm256_permute2x128_si256(c, d, 0x20));
        EMIT(op, dst + 64 * (i + 4), _mm256_permute2x128_si256(a, b, 0x31));
        EMIT(op, dst + 64 * (i + 4) + 32, _mm256_permute2x128_si256(c, d, 0x31));
#else
        const VEC p = _mm512_shuffle_i32x4(a, b, 0x44), q = _mm512_shuffle_i32x4(a, b, 0xee);
        const VEC r = _mm512_shuffle_i32x4(c, d, 0x44), s = _mm512_shuffle_i32x4(c, d, 0xee);
        EMIT(op, dst + 64 * i, _mm512_shuffle_i32x4(p, r, 0x88));
        EMIT(op, dst + 64 * (i + 4), _mm512_shuffle_i32x4(p, r, 0xdd));
        EMIT(op, dst + 64 * (i + 8), _mm512_shuffle_i32x4(q, s, 0x88));
        EMIT(op, dst + 64 * (i + 12), _mm512_shuffle_i32x4(q, s, 0xdd));
#endif
    }
}

PC_TARGET PC_INLINE void RUN(const enum pc_op op, uint8_t *dst, size_t chunks, const pc_stream *s, uint64_t hi, uint64_t lo)
{
    uint32_t in[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; /* check: struct.unpack("<4I", b"expand 32-byte k") */
    memcpy(in + 4, s->key.word, 32);
    in[14] = (uint32_t)hi;
    in[15] = (uint32_t)(hi >> 32);
    for (; chunks > 0; chunks--) {
        uint32_t low[STATES][BLOCKS], high[STATES][BLOCKS];
        VEC x[STATES][16];
        for (int h = 0; h < STATES; h++)
            for (int l = 0; l < BLOCKS; l++) {
                const uint64_t count = lo + (uint64_t)(h * BLOCKS + l);
                low[h][l] = (uint32_t)count;
                high[h][l] = (uint32_t)(count >> 32);
            }
        lo += STATES * BLOCKS;
        PC_UNROLL
        for (int h = 0; h < STATES; h++) {
            PC_UNROLL
            for (int i = 0; i < 16; i++) x[h][i] = LANES(set1_epi32)((int)in[i]);
            x[h][12] = BITS(loadu)((const void *)low[h]);
            x[h][13] = BITS(loadu)((const void *)high[h]);
        }
        for (int r = 0; r < 10; r++) {
            QUARTERS(x, 0);
            QUARTERS(x, 1);
        }
        PC_UNROLL
        for (int h = 0; h < STATES; h++) {
            PC_UNROLL
            for (int i = 0; i < 16; i++)
                if (i != 12 && i != 13) x[h][i] = LANES(add_epi32)(x[h][i], LANES(set1_epi32)((int)in[i]));
            x[h][12] = LANES(add_epi32)(x[h][12], BITS(loadu)((const void *)low[h]));
            x[h][13] = LANES(add_epi32)(x[h][13], BITS(loadu)((const void *)high[h]));
            OUTPUT(op, dst, x[h]);
            dst += 64 * BLOCKS;
        }
    }
    privcomp_wipe((uint8_t *)in, sizeof in);
}

PC_TARGET void PC_NAME(enum pc_op op, uint8_t *dst, size_t chunks, const pc_stream *s, uint64_t hi, uint64_t lo)
{
    PC_FOR_EACH_OP(op, RUN, dst, chunks, s, hi, lo)
}

#undef VEC
#undef LANES
#undef BITS
#undef STATES
#undef TOGETHER
#undef BLOCKS
#undef CAT_
#undef CAT
#undef RUN
#undef EMIT
#undef ROL
#undef QUARTERS
#undef OUTPUT
#undef PC_NAME
#undef PC_TARGET
#undef PC_W
