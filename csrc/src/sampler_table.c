/* Samplers for tabulated distributions: checks, and the portable kernel. */
#include "sampler_table.h"

int pc_table_candidate(int64_t *value, uint64_t a, uint64_t b, uint64_t candidate, pc_sampler *s, const sampler_table *t)
{
    const uint64_t j = table_bin(t, a), offset = a >> TABLE_OFFSET;
    const uint64_t m = (0 - (a >> TABLE_SIGN & 1)) & t->flip;
    uint64_t x = (j << t->shift) + (offset & (((uint64_t)1 << (j == TABLE_TAIL ? t->tail_shift : t->shift)) - 1));
    if (x >= t->length) return 0; /* past the table's end the threshold is 0 */
    uint64_t word = b, bound = t->tops[x];
    for (unsigned k = 0; k < 2 && word == bound; k++) {
        word = pc_sampler_extension(s, candidate, k);
        bound = t->rest[2 * x + k];
    }
    if (j == TABLE_TAIL && t->flip == 0 && x >= t->wrap) x -= t->length;
    *value = (int64_t)(t->base + (x ^ m) - (m & t->carry));
    return word < bound;
}

size_t pc_sample_table_portable(int64_t *out, size_t count, uint64_t first, pc_sampler *s, const void *table)
{
    const sampler_table t = *(const sampler_table *)table; /* a copy: stores to out could change what a pointer points to */
    const uint64_t low = ((uint64_t)1 << t.shift) - 1;
    size_t got = 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t a = PC_LE64(s->words[2 * i]), b = PC_LE64(s->words[2 * i + 1]);
        const uint64_t j = table_bin(&t, a);
        const uint64_t x = (j << t.shift) + (a >> TABLE_OFFSET & low); /* < 64 2^shift <= length */
        VERIFY(x < t.length);
        const uint32_t head = t.heads[x], top = (uint32_t)(b >> 48);
        const uint64_t m = (0 - (a >> TABLE_SIGN & 1)) & t.flip;
        if (__builtin_expect((j == TABLE_TAIL) | (((head ^ top) & t.compared) == 0), 0)) {
            int64_t value = 0;
            const int accepted = pc_table_candidate(&value, a, b, first + i, s, &t);
            out[got] = value;
            got += (size_t)accepted;
            continue;
        }
        out[got] = (int64_t)(t.base + (x ^ m) - (m & t.carry));
        got += top < head;
    }
    return got;
}

static int run(enum pc_op op, void *dst, size_t n, const privcomp_table *table, const uint16_t *heads, const uint64_t *tops, const uint64_t *rest,
               size_t length, const uint8_t *seeds, int cipher)
{
    const privcomp_table copy = *table; /* the checks hold for the numbers that are used */
    if (copy.shift > PRIVCOMP_TABLE_SHIFT_MAX || copy.tail_shift > PRIVCOMP_TABLE_SHIFT_MAX || copy.mirror > 2 || copy.band > 64)
        return PRIVCOMP_E_ARGUMENT;
    if (length > SIZE_MAX / 16 || length < (uint64_t)PRIVCOMP_SAMPLER_BINS << copy.shift) return PRIVCOMP_E_LENGTH;
    sampler_table t = {
        .heads = heads, .tops = tops, .rest = rest, .length = length, .wrap = copy.wrap, .base = (uint64_t)copy.base,
        .compared = copy.band == 64 ? 0 : (uint32_t)(UINT64_MAX << copy.band >> 48), /* check: 48 == 64 - 16 */
        .flip = copy.mirror ? UINT64_MAX : 0, .carry = copy.mirror == 1 ? UINT64_MAX : 0,
        .shift = copy.shift, .tail_shift = copy.tail_shift,
    };
    for (int j = 0; j < PRIVCOMP_SAMPLER_BINS; j++) t.alias[j] = table_entry(copy.alias[j]);
    return pc_sampler_run(op, dst, n, pc_level_table()->sample_table, &t, seeds, cipher);
}

#define DEFINE_SAMPLE(NAME, T, OP) \
    int NAME(T *dst, size_t n, const privcomp_table *table, const uint16_t *heads, const uint64_t *tops, const uint64_t *rest, size_t length, \
             const uint8_t *seeds, int cipher) \
    { \
        return run(OP, dst, n, table, heads, tops, rest, length, seeds, cipher); \
    }

DEFINE_SAMPLE(privcomp_sample_table_var, int64_t, PC_STORE)
DEFINE_SAMPLE(privcomp_sample_table_add_u32_var, uint32_t, PC_ADD32)
DEFINE_SAMPLE(privcomp_sample_table_add_u64_var, uint64_t, PC_ADD64)
