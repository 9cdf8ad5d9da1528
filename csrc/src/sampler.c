/* The part of the samplers that is the same for all: candidates tile by tile, and what becomes of the values. */
#include "sampler.h"

uint64_t pc_sampler_extension(pc_sampler *s, uint64_t candidate, unsigned k)
{
    uint64_t word = 0;
    if (k >= SAMPLER_EXTENSION) {
        s->exhausted = 1;
        return 0;
    }
    pc_stream_apply(PC_STORE, (uint8_t *)&word, 8, &s->second, 256 * candidate + 8 * k, s->cipher, s->level);
    return PC_LE64(word);
}

static void emit(enum pc_op op, void *dst, const int64_t *values, size_t n)
{
    switch (op) {
    case PC_ADD32: {
        uint32_t *const acc = dst;
        for (size_t i = 0; i < n; i++) acc[i] += (uint32_t)(uint64_t)values[i];
        break;
    }
    case PC_ADD64: {
        uint64_t *const acc = dst;
        for (size_t i = 0; i < n; i++) acc[i] += (uint64_t)values[i];
        break;
    }
    default:
        memcpy(dst, values, 8 * n);
    }
}

int pc_sampler_run(enum pc_op op, void *dst, size_t n, pc_sampler_fn *kernel, const void *table, const uint8_t *seeds, int cipher)
{
    const size_t seed_bytes = pc_seed_bytes(cipher), size = op == PC_ADD32 ? 4 : 8;
    if (seed_bytes == 0 || n > SAMPLER_MAX_N || n > SIZE_MAX / 8) return PRIVCOMP_E_ARGUMENT;
    VERIFY(op == PC_STORE || op == PC_ADD32 || op == PC_ADD64);
    const uint64_t limit = 64 * (uint64_t)n + ((uint64_t)1 << 16);
    pc_sampler s;
    s.cipher = cipher;
    s.exhausted = 0;
    s.level = pc_level_table();
    pc_stream_init(&s.first, cipher, seeds, s.level);
    pc_stream_init(&s.second, cipher, seeds + seed_bytes, s.level);

    size_t done = 0;
    uint64_t first = 0;
    while (done < n && first < limit && !s.exhausted) {
        const size_t left = n - done;
        /* The last tile is shorter: half as many candidates again as values are missing. */
        const size_t count = left < SAMPLER_TILE / 2 ? (left + left / 2 + 15) / 8 * 8 : SAMPLER_TILE;
        VERIFY(count % 8 == 0 && count <= SAMPLER_TILE);
        pc_stream_apply(PC_STORE, (uint8_t *)s.words, 16 * count, &s.first, 16 * first, cipher, s.level);
        const int straight = op == PC_STORE && left >= count + SAMPLER_SLACK;
        int64_t *const out = straight ? (int64_t *)dst + done : s.values;
        size_t got = kernel(out, count, first, &s, table);
        VERIFY(got <= count);
        if (got > left) got = left;
        if (!straight) emit(op, (uint8_t *)dst + size * done, out, got);
        done += got;
        first += count;
    }
    const int ok = done == n && !s.exhausted;
    if (!ok && op == PC_STORE) privcomp_wipe(dst, 8 * n);
    privcomp_wipe((uint8_t *)&s, sizeof s);
    return ok ? PRIVCOMP_OK : PRIVCOMP_E_ENTROPY;
}
