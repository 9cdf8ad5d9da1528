/* Keccak-f[1600]. Source: FIPS 202, section 3. */
#include "keccak.h"

static const uint64_t ROUND_CONSTANTS[24] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000, 0x000000000000808b, 0x0000000080000001,
    0x8000000080008081, 0x8000000000008009, 0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
    0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003, 0x8000000000008002, 0x8000000000000080,
    0x000000000000800a, 0x800000008000000a, 0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
};

/* Along the path that pi takes from lane 1 on: where it goes next, and by how much rho has turned the lane (sections 3.2.2, 3.2.3). */
static const uint8_t PI[24] = {10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1};
static const uint8_t RHO[24] = {1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44};

PC_INLINE uint64_t rotate(uint64_t x, unsigned n) { return x << n | x >> (64 - n); } /* 0 < n < 64 */

void pc_keccak_f1600(uint64_t s[25], unsigned rounds)
{
    for (unsigned r = 24 - rounds; r < 24; r++) {
        uint64_t c[5], row[5];
        PC_UNROLL
        for (int x = 0; x < 5; x++) c[x] = s[x] ^ s[x + 5] ^ s[x + 10] ^ s[x + 15] ^ s[x + 20];
        PC_UNROLL
        for (int x = 0; x < 5; x++) {
            const uint64_t d = c[(x + 4) % 5] ^ rotate(c[(x + 1) % 5], 1);
            for (int y = 0; y < 25; y += 5) s[x + y] ^= d;
        }
        uint64_t lane = s[1];
        PC_UNROLL
        for (int i = 0; i < 24; i++) {
            const uint64_t next = s[PI[i]];
            s[PI[i]] = rotate(lane, RHO[i]);
            lane = next;
        }
        for (int y = 0; y < 25; y += 5) {
            PC_UNROLL
            for (int x = 0; x < 5; x++) row[x] = s[x + y];
            PC_UNROLL
            for (int x = 0; x < 5; x++) s[x + y] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5]);
        }
        s[0] ^= ROUND_CONSTANTS[r];
    }
}
