/* Shared by the C tests: a failing CHECK names its line and ends the program with 1. */
#ifndef PRIVCOMP_CHECK_H
#define PRIVCOMP_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(cond) \
    do { \
        if (!(cond)) { \
            fprintf(stderr, "%s:%d: CHECK(%s)\n", __FILE__, __LINE__, #cond); \
            exit(1); \
        } \
    } while (0)

/* Reproducible numbers for tests (SplitMix64). */
static inline uint64_t test_u64(void)
{
    static uint64_t state = 42;
    uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static inline void test_fill(void *out, size_t n)
{
    for (size_t i = 0; i < n; i++) ((uint8_t *)out)[i] = (uint8_t)test_u64();
}

#endif
