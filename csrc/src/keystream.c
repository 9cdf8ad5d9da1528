/* Keystreams at any offset and of any length, and their sum into accumulators.
 *
 * A kernel makes whole chunks of blocks. What is left at either end goes through one chunk on the stack. The AES counter has
 * 128 bits and kernels count in the low 64, so no run of blocks crosses a multiple of 2^64: it is split there.
 */
#include "core.h"

void privcomp_wipe(uint8_t *buffer, size_t length)
{
    if (length == 0) return; /* memset takes no null pointer */
    memset(buffer, 0, length);
    __asm__ volatile("" : : "r"(buffer) : "memory"); /* the zeros are read, as far as the compiler knows */
}

void pc_stream_init(pc_stream *s, int cipher, const uint8_t *seed, const pc_level *level)
{
    if (cipher == PRIVCOMP_AES128_CTR) {
        level->aes_expand(s, seed);
        s->hi = __builtin_bswap64(load64_le(seed + 16));
        s->lo = __builtin_bswap64(load64_le(seed + 24));
    } else {
        for (int i = 0; i < 8; i++) s->key.word[i] = load32_le(seed + 4 * i);
        s->lo = load64_le(seed + 32);
        s->hi = load64_le(seed + 40);
    }
}

void pc_stream_apply(enum pc_op op, uint8_t *dst, size_t n, const pc_stream *s, uint64_t offset, int cipher, const pc_level *level)
{
    const int aes = cipher == PRIVCOMP_AES128_CTR;
    const size_t block = aes ? 16 : 64;
    const pc_kernel *const kernels = aes ? level->aes : level->chacha;
    VERIFY(pc_range_ok(offset, n, 1));
    VERIFY(op == PC_STORE || (op == PC_ADD32 || op == PC_SUB32 ? offset % 4 + n % 4 == 0 : offset % 8 + n % 8 == 0));

    while (n > 0) {
        const size_t skip = offset % block;
        uint64_t lo = s->lo + offset / block, hi = s->hi + (uint64_t)(aes && lo < s->lo);
        /* Blocks before lo wraps to 0; ChaCha's counter wraps without a carry. 0 - lo == 0 stands for 2^64. */
        const uint64_t room = aes && lo != 0 ? 0 - lo : UINT64_MAX;
        const pc_kernel *k = kernels;
        size_t done = 0;
        if (skip == 0) {
            for (;; k++) {
                size_t chunks = (n - done) / k->bytes;
                const uint64_t fit = (room - done / block) / (k->bytes / block);
                if (chunks > fit) chunks = (size_t)fit;
                if (chunks > 0) k->run(op, dst + done, chunks, s, hi, lo + done / block);
                done += chunks * k->bytes;
                if (k[1].run == NULL) break;
            }
        }
        if (done == 0) {
            uint8_t buffer[PC_CHUNK_MAX];
            while (k[1].run != NULL) k++;
            VERIFY(k->bytes <= PC_CHUNK_MAX);
            k->run(PC_STORE, buffer, 1, s, hi, lo);
            size_t end = k->bytes;
            if (room < end / block) end = (size_t)room * block;
            done = end - skip < n ? end - skip : n;
            pc_combine(op, dst, buffer + skip, done);
            privcomp_wipe(buffer, sizeof buffer);
        }
        VERIFY(done > 0 && done <= n);
        dst += done;
        n -= done;
        offset += done;
    }
}

void pc_pair_apply(enum pc_op op, uint8_t *dst, const uint8_t *src, size_t n, const pc_stream *s, const uint8_t *minus, uint64_t offset,
                   const pc_level *level)
{
    const pc_pair *const pair = &level->aes_pair;
    const size_t head = (size_t)(-offset % 16) < n ? (size_t)(-offset % 16) : n; /* to the next whole block */
    const uint64_t block = (offset + head) / 16;
    size_t chunks = (n - head) / pair->bytes;
    for (int i = 0; i < 2; i++) { /* no further than to where a counter carries: what is left goes the slow way */
        const uint64_t lo = s[i].lo + block, room = lo == 0 || lo < block ? 0 : 0 - lo;
        if (chunks > room / (pair->bytes / 16)) chunks = (size_t)(room / (pair->bytes / 16));
    }
    if (chunks > 0) pair->run(op, dst + head, src + head, chunks, s, minus, block);
    const size_t done = head + chunks * pair->bytes;
    const size_t from[2] = {0, done}, size[2] = {head, n - done};
    for (int part = 0; part < 2; part++) {
        if (size[part] == 0) continue;
        if (src != dst) memcpy(dst + from[part], src + from[part], size[part]);
        for (int i = 0; i < 2; i++) {
            const enum pc_op one = op == PC_XOR64 || !minus[i] ? op : op == PC_ADD32 ? PC_SUB32 : PC_SUB64;
            pc_stream_apply(one, dst + from[part], size[part], &s[i], offset + from[part], PRIVCOMP_AES128_CTR, level);
        }
    }
}

int privcomp_keystream_fill(uint8_t *out, size_t length, const uint8_t *seed, int cipher, uint64_t offset)
{
    if (pc_seed_bytes(cipher) == 0 || !pc_range_ok(offset, length, 1)) return PRIVCOMP_E_ARGUMENT;
    const pc_level *level = pc_level_table();
    pc_stream s;
    pc_stream_init(&s, cipher, seed, level);
    pc_stream_apply(PC_STORE, out, length, &s, offset, cipher, level);
    privcomp_wipe((uint8_t *)&s, sizeof s);
    return PRIVCOMP_OK;
}

/* acc = start op stream for each seed, with `minus` for `plus` where negate says so, which may be NULL; start may be NULL: acc itself. */
static int mask(uint8_t *acc, const uint8_t *start, size_t n, unsigned word, enum pc_op plus, enum pc_op minus, const uint8_t *seeds,
                const uint8_t *negate, size_t seed_count, int cipher, uint64_t offset)
{
    const size_t seed_bytes = pc_seed_bytes(cipher);
    if (seed_bytes == 0 || !pc_range_ok(offset, n, word) || seed_count > SIZE_MAX / PRIVCOMP_CHACHA20_SEED_BYTES)
        return PRIVCOMP_E_ARGUMENT;
    const pc_level *level = pc_level_table();
    const size_t bytes = n * word;
    const uint64_t begin = offset * word;
    pc_stream s[PC_SEED_GROUP];
    /* The first two streams are added on the way from start to acc, which saves the pass that copies. In place, in the first cache, one stream after the
     * other is as fast: the cipher is what takes the time. */
    const int pair = start != NULL && cipher == PRIVCOMP_AES128_CTR && level->aes_pair.run != NULL && seed_count > 1;
    const size_t most = start != NULL && !pair ? PC_COPY_TILE_BYTES : PC_TILE_BYTES;
    size_t used = 0;

    if (seed_count == 0 && start != NULL && bytes > 0) memcpy(acc, start, bytes);
    for (size_t first = 0; first < seed_count; first += PC_SEED_GROUP) {
        const size_t group = seed_count - first < PC_SEED_GROUP ? seed_count - first : PC_SEED_GROUP;
        if (group > used) used = group;
        for (size_t i = 0; i < group; i++) pc_stream_init(&s[i], cipher, seeds + (first + i) * seed_bytes, level);
        size_t at = 0;
        while (at < bytes) {
            /* The first tile is shorter, so that the later ones begin at a whole chunk of the stream. */
            size_t tile = most - (size_t)((begin + at) % most);
            if (tile > bytes - at) tile = bytes - at;
            const size_t paired = pair && first == 0 ? 2 : 0;
            if (paired) {
                const uint8_t signs[2] = {negate && negate[0], negate && negate[1]};
                pc_pair_apply(plus, acc + at, start + at, tile, s, signs, begin + at, level);
            } else if (first == 0 && start != NULL) {
                memcpy(acc + at, start + at, tile);
            }
            for (size_t i = paired; i < group; i++)
                pc_stream_apply(negate && negate[first + i] ? minus : plus, acc + at, tile, &s[i], begin + at, cipher, level);
            at += tile;
        }
    }
    privcomp_wipe((uint8_t *)s, used * sizeof *s);
    return PRIVCOMP_OK;
}

int privcomp_mask_add_u32(uint32_t *acc, size_t n, const uint8_t *seeds, const uint8_t *negate, size_t seed_count, int cipher,
                          uint64_t offset)
{
    return mask((uint8_t *)acc, NULL, n, 4, PC_ADD32, PC_SUB32, seeds, negate, seed_count, cipher, offset);
}

int privcomp_mask_add_u64(uint64_t *acc, size_t n, const uint8_t *seeds, const uint8_t *negate, size_t seed_count, int cipher,
                          uint64_t offset)
{
    return mask((uint8_t *)acc, NULL, n, 8, PC_ADD64, PC_SUB64, seeds, negate, seed_count, cipher, offset);
}

int privcomp_mask_xor_u64(uint64_t *acc, size_t n, const uint8_t *seeds, size_t seed_count, int cipher, uint64_t offset)
{
    return mask((uint8_t *)acc, NULL, n, 8, PC_XOR64, PC_XOR64, seeds, NULL, seed_count, cipher, offset);
}

int privcomp_mask_to_u32(uint32_t *acc, const uint32_t *start, size_t n, const uint8_t *seeds, const uint8_t *negate, size_t seed_count,
                         int cipher, uint64_t offset)
{
    return mask((uint8_t *)acc, (const uint8_t *)start, n, 4, PC_ADD32, PC_SUB32, seeds, negate, seed_count, cipher, offset);
}

int privcomp_mask_to_u64(uint64_t *acc, const uint64_t *start, size_t n, const uint8_t *seeds, const uint8_t *negate, size_t seed_count,
                         int cipher, uint64_t offset)
{
    return mask((uint8_t *)acc, (const uint8_t *)start, n, 8, PC_ADD64, PC_SUB64, seeds, negate, seed_count, cipher, offset);
}
