/* A Fiat-Shamir transcript: Merlin v1.0 over STROBE-128.
 * Sources: de Valence, "Merlin: composable proof transcripts" (merlin.cool); Hamburg, "The STROBE protocol framework" (v1.0.2). Of STROBE
 * only meta-AD, AD and PRF are there, which is all that Merlin uses. */
#include "keccak.h"

enum { RATE = 166 }; /* check: 200 - 128 // 4 - 2 */
enum { FLAG_I = 1, FLAG_A = 2, FLAG_C = 4, FLAG_M = 16, FLAG_K = 32 };

/* Byte i of the state is byte i mod 8, little endian, of word i / 8. */
static void xor_byte(privcomp_transcript *t, unsigned i, uint8_t x) { t->state[i / 8] ^= (uint64_t)x << 8 * (i % 8); }

static void run_f(privcomp_transcript *t)
{
    xor_byte(t, t->position, t->begin);
    xor_byte(t, (unsigned)t->position + 1, 0x04);
    xor_byte(t, RATE + 1, 0x80);
    pc_keccak_f1600(t->state, 24);
    t->position = t->begin = 0;
}

static void absorb(privcomp_transcript *t, const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        xor_byte(t, t->position++, data[i]);
        if (t->position == RATE) run_f(t);
    }
}

static void squeeze(privcomp_transcript *t, uint8_t *out, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        const unsigned shift = 8 * (t->position % 8u);
        uint64_t *word = &t->state[t->position / 8];
        out[i] = (uint8_t)(*word >> shift);
        *word &= ~((uint64_t)255 << shift);
        if (++t->position == RATE) run_f(t);
    }
}

static void begin_op(privcomp_transcript *t, uint8_t flags)
{
    const uint8_t start[2] = {t->begin, flags};
    t->begin = (uint8_t)(t->position + 1);
    absorb(t, start, sizeof start);
    if (flags & (FLAG_C | FLAG_K) && t->position != 0) run_f(t);
}

/* meta-AD(label || the length in four bytes); a label comes in two parts */
static void frame_parts(privcomp_transcript *t, const uint8_t *label, size_t label_length, const uint8_t *rest, size_t rest_length, size_t length)
{
    uint8_t size[4];
    store32_le(size, (uint32_t)length);
    begin_op(t, FLAG_M | FLAG_A);
    absorb(t, label, label_length);
    absorb(t, rest, rest_length);
    absorb(t, size, sizeof size);
}

static void frame(privcomp_transcript *t, const uint8_t *label, size_t label_length, size_t length)
{
    frame_parts(t, label, label_length, label, 0, length);
}

/* Another thread may change the struct while we work: everything happens in a copy whose two indices have been looked at. */
static int checked(privcomp_transcript *own, const privcomp_transcript *t, size_t label_length, size_t length)
{
    memcpy(own, t, sizeof *own);
    return own->position < RATE && own->begin <= RATE && label_length <= UINT32_MAX && length <= UINT32_MAX;
}

static void put_back(privcomp_transcript *t, privcomp_transcript *own)
{
    memcpy(t, own, sizeof *t);
    privcomp_wipe((uint8_t *)own, sizeof *own);
}

static void append(privcomp_transcript *own, const uint8_t *label, size_t label_length, const uint8_t *message, size_t length)
{
    frame(own, label, label_length, length);
    begin_op(own, FLAG_A);
    absorb(own, message, length);
}

int privcomp_transcript_append(privcomp_transcript *t, const uint8_t *label, size_t label_length, const uint8_t *message, size_t length)
{
    privcomp_transcript own;
    if (!checked(&own, t, label_length, length)) return PRIVCOMP_E_ARGUMENT;
    append(&own, label, label_length, message, length);
    put_back(t, &own);
    return PRIVCOMP_OK;
}

int privcomp_transcript_append_each(privcomp_transcript *t, const uint8_t *label, size_t label_length, const uint8_t *messages, size_t length,
                                    size_t count)
{
    enum { DIGITS = 20 }; /* of 2^64 */
    privcomp_transcript own;
    if (!checked(&own, t, label_length, length) || label_length > UINT32_MAX - DIGITS) return PRIVCOMP_E_ARGUMENT;
    for (size_t k = 0; k < count; k++) {
        uint8_t digits[DIGITS];
        size_t first = DIGITS;
        for (size_t rest = k; first == DIGITS || rest > 0; rest /= 10) digits[--first] = (uint8_t)('0' + rest % 10);
        frame_parts(&own, label, label_length, digits + first, DIGITS - first, length);
        begin_op(&own, FLAG_A);
        absorb(&own, messages + length * k, length);
    }
    put_back(t, &own);
    return PRIVCOMP_OK;
}

static void challenge(privcomp_transcript *own, uint8_t *out, size_t length, const uint8_t *label, size_t label_length)
{
    frame(own, label, label_length, length);
    begin_op(own, FLAG_I | FLAG_A | FLAG_C);
    squeeze(own, out, length);
}

int privcomp_transcript_challenge(privcomp_transcript *t, uint8_t *out, size_t length, const uint8_t *label, size_t label_length)
{
    privcomp_transcript own;
    if (!checked(&own, t, label_length, length)) return PRIVCOMP_E_ARGUMENT;
    challenge(&own, out, length, label, label_length);
    put_back(t, &own);
    return PRIVCOMP_OK;
}

int privcomp_transcript_replay(privcomp_transcript *t, uint8_t *challenges, size_t challenges_length, const uint8_t *messages, size_t messages_length,
                               const uint8_t *labels, size_t labels_length, const uint32_t *steps, size_t count)
{
    privcomp_transcript own;
    if (!checked(&own, t, 0, 0)) return PRIVCOMP_E_ARGUMENT;
    int fits = 1;
    for (const uint32_t *step = steps; count-- > 0; step += 3) {
        const size_t label = step[0], length = step[1];
        fits = label <= labels_length && length <= (step[2] == 0 ? messages_length : challenges_length);
        if (!fits) break;
        if (step[2] == 0) {
            append(&own, labels, label, messages, length);
            messages += length, messages_length -= length;
        } else {
            challenge(&own, challenges, length, labels, label);
            challenges += length, challenges_length -= length;
        }
        labels += label, labels_length -= label;
    }
    if (!fits || labels_length != 0 || messages_length != 0 || challenges_length != 0) {
        privcomp_wipe((uint8_t *)&own, sizeof own);
        return PRIVCOMP_E_ARGUMENT;
    }
    put_back(t, &own);
    return PRIVCOMP_OK;
}

int privcomp_transcript_init(privcomp_transcript *t, const uint8_t *label, size_t label_length)
{
    static const uint8_t head[18] = {1, RATE + 2, 1, 0, 1, 12 * 8, 'S', 'T', 'R', 'O', 'B', 'E', 'v', '1', '.', '0', '.', '2'};
    privcomp_transcript own = {0};
    if (label_length > UINT32_MAX) return PRIVCOMP_E_ARGUMENT;
    for (unsigned i = 0; i < sizeof head; i++) xor_byte(&own, i, head[i]);
    pc_keccak_f1600(own.state, 24);
    begin_op(&own, FLAG_M | FLAG_A);
    absorb(&own, (const uint8_t *)"Merlin v1.0", 11);
    append(&own, (const uint8_t *)"dom-sep", 7, label, label_length);
    put_back(t, &own);
    return PRIVCOMP_OK;
}
