/* Keccak-f[1600] on 25 words in native byte order. */
#ifndef PC_KECCAK_H
#define PC_KECCAK_H

#include "core.h"

/* The last `rounds` of the 24 rounds. Constant time in the state. */
void pc_keccak_f1600(uint64_t s[25], unsigned rounds);

#endif
