/* The AES-CTR kernel, written once for vectors of PC_W = 128, 256 or 512 bits: eight vectors of counter blocks are in flight, which
 * hides the latency of aesenc, and the stream is added as it is stored. Included once per width with
 *   PC_NAME the kernel, PC_TARGET its target attribute.
 * The wider kernels differ from the tested narrower ones in nothing but the intrinsics below.
 */
#if PC_W == 128
#define VEC __m128i
#define LANES(f) _mm_##f
#define BITS(f) _mm_##f##_si128
#define AES(f) _mm_##f##_si128
#define BROADCAST(x) (x)
#define COUNTERS(hi, lo) _mm_set_epi64x((long long)(hi), (long long)(lo))
#elif PC_W == 256
#define VEC __m256i
#define LANES(f) _mm256_##f
#define BITS(f) _mm256_##f##_si256
#define AES(f) _mm256_##f##_epi128
#define BROADCAST(x) _mm256_broadcastsi128_si256(x)
#define COUNTERS(hi, lo) \
    _mm256_set_epi64x((long long)(hi), (long long)((lo) + 1), (long long)(hi), (long long)(lo))
#else
#define VEC __m512i
#define LANES(f) _mm512_##f
#define BITS(f) _mm512_##f##_si512
#define AES(f) _mm512_##f##_epi128
#define BROADCAST(x) _mm512_broadcast_i32x4(x)
#define COUNTERS(hi, lo) \
    _mm512_set_epi64((long long)(hi), (long long)((lo) + 3), (long long)(hi), (long long)((lo) + 2), (long long)(hi), \
                     (long long)((lo) + 1), (long long)(hi), (long long)(lo))
#endif

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define RUN CAT(PC_NAME, _run)
#define EMIT CAT(PC_NAME, _emit)
#define PC_PAIR CAT(PC_NAME, _pair)
#define RUN2 CAT(PC_NAME, _run2)
#define SIGNED CAT(PC_NAME, _signed)

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

PC_TARGET PC_INLINE void RUN(const enum pc_op op, uint8_t *dst, size_t chunks, const pc_stream *s, uint64_t hi, uint64_t lo)
{
    /* counters are kept as little-endian numbers; the block is big endian */
    const VEC reverse = BROADCAST(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const VEC step = BROADCAST(_mm_set_epi64x(0, PC_W / 128));
    VEC counter = COUNTERS(hi, lo), k[11];
    PC_UNROLL
    for (int r = 0; r < 11; r++) k[r] = BROADCAST(_mm_loadu_si128((const void *)s->key.round_key[r]));
    for (; chunks > 0; chunks--, dst += PC_W) { /* eight blocks of W bits are W bytes */
        VEC x[8];
        /* From memory the accumulator is the bottleneck: a page ahead gains a quarter, and costs nothing in cache. It may lie past
         * the end of dst, where a prefetch does nothing. */
        for (int j = 0; j < PC_W; j += 64) _mm_prefetch((const char *)((uintptr_t)dst + 4096 + (unsigned)j), _MM_HINT_T0);
        PC_UNROLL
        for (int j = 0; j < 8; j++) {
            x[j] = BITS(xor)(LANES(shuffle_epi8)(counter, reverse), k[0]);
            counter = LANES(add_epi64)(counter, step);
        }
        PC_UNROLL
        for (int r = 1; r < 10; r++) {
            PC_UNROLL
            for (int j = 0; j < 8; j++) x[j] = AES(aesenc)(x[j], k[r]);
        }
        PC_UNROLL
        for (int j = 0; j < 8; j++) EMIT(op, dst + j * (PC_W / 8), AES(aesenclast)(x[j], k[10]));
    }
}

/* x, or its negative modulo the word where `flip` is all ones: x ^ -1 = -x - 1. */
PC_TARGET PC_INLINE VEC SIGNED(const enum pc_op op, VEC x, VEC flip)
{
    if (op == PC_XOR64) return x;
    x = BITS(xor)(x, flip);
    return op == PC_ADD32 ? LANES(sub_epi32)(x, flip) : LANES(sub_epi64)(x, flip);
}

/* Four vectors of each stream are in flight, so that the accumulator is read and written once for both. */
PC_TARGET PC_INLINE void RUN2(const enum pc_op op, uint8_t *dst, const uint8_t *src, size_t chunks, const pc_stream *s, const uint8_t *minus, uint64_t block)
{
    const VEC reverse = BROADCAST(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const VEC step = BROADCAST(_mm_set_epi64x(0, PC_W / 128));
    const VEC flip[2] = {BROADCAST(_mm_set1_epi8((char)(0 - (minus[0] & 1)))), BROADCAST(_mm_set1_epi8((char)(0 - (minus[1] & 1))))};
    VEC counter[2], k[2][11];
    for (int i = 0; i < 2; i++) {
        counter[i] = COUNTERS(s[i].hi, s[i].lo + block);
        PC_UNROLL
        for (int r = 0; r < 11; r++) k[i][r] = BROADCAST(_mm_loadu_si128((const void *)s[i].key.round_key[r]));
    }
    for (; chunks > 0; chunks--, src += PC_W / 2, dst += PC_W / 2) {
        VEC x[2][4];
        for (int j = 0; j < PC_W / 2; j += 64) _mm_prefetch((const char *)((uintptr_t)src + 2048 + (unsigned)j), _MM_HINT_T0);
        PC_UNROLL
        for (int i = 0; i < 2; i++) {
            PC_UNROLL
            for (int j = 0; j < 4; j++) {
                x[i][j] = BITS(xor)(LANES(shuffle_epi8)(counter[i], reverse), k[i][0]);
                counter[i] = LANES(add_epi64)(counter[i], step);
            }
        }
        PC_UNROLL
        for (int r = 1; r < 10; r++) {
            PC_UNROLL
            for (int j = 0; j < 4; j++) x[0][j] = AES(aesenc)(x[0][j], k[0][r]);
            PC_UNROLL
            for (int j = 0; j < 4; j++) x[1][j] = AES(aesenc)(x[1][j], k[1][r]);
        }
        PC_UNROLL
        for (int j = 0; j < 4; j++) {
            const VEC a = SIGNED(op, AES(aesenclast)(x[0][j], k[0][10]), flip[0]), b = SIGNED(op, AES(aesenclast)(x[1][j], k[1][10]), flip[1]);
            const VEC old = BITS(loadu)((const void *)(src + j * (PC_W / 8)));
            const VEC sum = op == PC_ADD32 ? LANES(add_epi32)(old, LANES(add_epi32)(a, b))
                          : op == PC_ADD64 ? LANES(add_epi64)(old, LANES(add_epi64)(a, b))
                                           : BITS(xor)(old, BITS(xor)(a, b));
            BITS(storeu)((void *)(dst + j * (PC_W / 8)), sum);
        }
    }
}

PC_TARGET void PC_PAIR(enum pc_op op, uint8_t *dst, const uint8_t *src, size_t chunks, const pc_stream *s, const uint8_t *minus, uint64_t block)
{
    VERIFY(op == PC_ADD32 || op == PC_ADD64 || op == PC_XOR64);
    switch (op) {
    case PC_ADD32: RUN2(PC_ADD32, dst, src, chunks, s, minus, block); break;
    case PC_ADD64: RUN2(PC_ADD64, dst, src, chunks, s, minus, block); break;
    default: RUN2(PC_XOR64, dst, src, chunks, s, minus, block); break;
    }
}

PC_TARGET void PC_NAME(enum pc_op op, uint8_t *dst, size_t chunks, const pc_stream *s, uint64_t hi, uint64_t lo)
{
    PC_FOR_EACH_OP(op, RUN, dst, chunks, s, hi, lo)
}

#undef VEC
#undef LANES
#undef BITS
#undef AES
#undef BROADCAST
#undef COUNTERS
#undef CAT_
#undef CAT
#undef RUN
#undef EMIT
#undef PC_PAIR
#undef RUN2
#undef SIGNED
#undef PC_NAME
#undef PC_TARGET
#undef PC_W
