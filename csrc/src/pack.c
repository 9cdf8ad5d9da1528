/* Bit packing. Eight values of width w are w bytes, so groups of eight begin at byte boundaries; all of a group's windows are
 * 64 bits. The parser (unpack) trusts nothing: it reads exactly `length` bytes, and length is checked against n and width.
 */
#include "core.h"

int64_t privcomp_pack_length(uint64_t n, unsigned width)
{
    if (width < 1 || width > 64 || n > (uint64_t)1 << 48) return -1;
    return (int64_t)((n * width + 7) / 8); /* < 2^54 */
}

PC_INLINE uint64_t low_bits(unsigned width) { return UINT64_MAX >> (64 - width); }

/* Writes the bits of n values, lowest first, as 64-bit words; `fill` bits wait in `window`, 0 <= fill < 64. */
PC_INLINE void pack_run(uint8_t *out, const void *values, size_t n, unsigned width, const unsigned word)
{
    const uint64_t mask = low_bits(width);
    uint64_t window = 0;
    unsigned fill = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t v = (word == 4 ? ((const uint32_t *)values)[i] : ((const uint64_t *)values)[i]) & mask;
        window |= v << fill;
        fill += width;
        if (fill >= 64) {
            store64_le(out, window);
            out += 8;
            fill -= 64;
            window = fill ? v >> (width - fill) : 0; /* fill < width <= 64: the shift is 1..63 */
        }
    }
    for (; fill > 0; fill = fill > 8 ? fill - 8 : 0, window >>= 8) *out++ = (uint8_t)window;
}

static int pack(uint8_t *out, size_t length, const void *values, size_t n, unsigned width, const unsigned word)
{
    const int64_t want = privcomp_pack_length(n, width);
    if (want < 0 || width > 8 * word) return PRIVCOMP_E_ARGUMENT;
    if ((uint64_t)want != length) return PRIVCOMP_E_LENGTH;
    if (word == 4)
        pack_run(out, values, n, width, 4);
    else
        pack_run(out, values, n, width, 8);
    return PRIVCOMP_OK;
}

int privcomp_pack_u32(uint8_t *out, size_t length, const uint32_t *values, size_t n, unsigned width)
{
    return pack(out, length, values, n, width, 4);
}

int privcomp_pack_u64(uint8_t *out, size_t length, const uint64_t *values, size_t n, unsigned width)
{
    return pack(out, length, values, n, width, 8);
}

PC_INLINE void put(void *out, size_t i, uint64_t v, const unsigned word, const int add)
{
    if (word == 4) {
        uint32_t *p = (uint32_t *)out + i;
        *p = (uint32_t)v + (add ? *p : 0);
    } else {
        uint64_t *p = (uint64_t *)out + i;
        *p = v + (add ? *p : 0);
    }
}

/* Value i lies in the 64-bit window at its first byte, and for width > 57 perhaps in one byte more. Values whose window would end past
 * `length` are read through a zero-padded copy of the last bytes. */
PC_INLINE void unpack_run(void *out, size_t n, const uint8_t *data, size_t length, unsigned width, const unsigned word, const int add)
{
    const uint64_t mask = low_bits(width);
    /* first bit of value i: i width <= 8 (length - 9), so that 9 bytes from its byte on exist */
    const size_t whole = length < 9 ? 0 : (size_t)((uint64_t)(length - 9) * 8 / width) + 1;
    const size_t body = whole < n ? whole : n;
    size_t i = 0;
    if (width <= 57) {
        uint64_t bit = 0;
        for (; i < body; i++, bit += width) put(out, i, (load64_le(data + (bit >> 3)) >> (bit & 7)) & mask, word, add);
    } else {
        for (; i < body; i++) {
            const uint64_t bit = (uint64_t)i * width;
            const uint8_t *p = data + (bit >> 3);
            /* (x << 1) << (63 - s) is x << (64 - s), also for s = 0 */
            const uint64_t v = (load64_le(p) >> (bit & 7)) | (((uint64_t)p[8] << 1) << (63 - (bit & 7)));
            put(out, i, v & mask, word, add);
        }
    }
    for (; i < n; i++) {
        const uint64_t bit = (uint64_t)i * width;
        const size_t byte = (size_t)(bit >> 3);
        uint8_t window[9] = {0};
        VERIFY(byte < length);
        memcpy(window, data + byte, length - byte < 9 ? length - byte : 9);
        const uint64_t v = (load64_le(window) >> (bit & 7)) | (((uint64_t)window[8] << 1) << (63 - (bit & 7)));
        put(out, i, v & mask, word, add);
    }
}

static int unpack(void *out, size_t n, const uint8_t *data, size_t length, unsigned width, const unsigned word, const int add)
{
    const int64_t want = privcomp_pack_length(n, width);
    if (want < 0 || width > 8 * word) return PRIVCOMP_E_ARGUMENT;
    if ((uint64_t)want != length) return PRIVCOMP_E_LENGTH;
    const unsigned used = (unsigned)((uint64_t)n * width % 8); /* bits of the last byte; 0: all */
    if (used != 0 && data[length - 1] >> used != 0) return PRIVCOMP_E_CANONICAL;
    if (word == 4 && add)
        unpack_run(out, n, data, length, width, 4, 1);
    else if (word == 4)
        unpack_run(out, n, data, length, width, 4, 0);
    else if (add)
        unpack_run(out, n, data, length, width, 8, 1);
    else
        unpack_run(out, n, data, length, width, 8, 0);
    return PRIVCOMP_OK;
}

int privcomp_unpack_u32(uint32_t *out, size_t n, const uint8_t *data, size_t length, unsigned width)
{
    return unpack(out, n, data, length, width, 4, 0);
}

int privcomp_unpack_u64(uint64_t *out, size_t n, const uint8_t *data, size_t length, unsigned width)
{
    return unpack(out, n, data, length, width, 8, 0);
}

int privcomp_unpack_add_u32(uint32_t *acc, size_t n, const uint8_t *data, size_t length, unsigned width)
{
    return unpack(acc, n, data, length, width, 4, 1);
}

int privcomp_unpack_add_u64(uint64_t *acc, size_t n, const uint8_t *data, size_t length, unsigned width)
{
    return unpack(acc, n, data, length, width, 8, 1);
}
