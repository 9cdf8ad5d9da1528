/* A random generator that forgets: each call takes its next key from the head of the stream before anything else.
 *
 * A forked child must not repeat its parent. Two signs tell it apart, because each misses something: the process id (which a later
 * process may get again), and a number on a page that Linux wipes in the child (which needs Linux 4.14).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "core.h"

static int os_entropy(uint8_t *out, size_t length)
{
#if defined(__APPLE__)
    return getentropy(out, length) == 0; /* length <= 256 */
#else
    while (length > 0) {
        const ssize_t got = getrandom(out, length, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0;
        out += got;
        length -= (size_t)got;
    }
    return 1;
#endif
}

#define PAGE_MAX 65536 /* the largest page of the systems we build for; check: 2**16 */
static struct {
    uint64_t id; /* 0: a new process (or no one asked yet) */
    uint8_t rest[PAGE_MAX - 8];
} page __attribute__((aligned(PAGE_MAX)));

/* A random number that differs between a parent and its child, 0 if the kernel cannot help or gives no entropy. */
static uint64_t process_id(void)
{
#ifdef MADV_WIPEONFORK
    uint64_t id = __atomic_load_n(&page.id, __ATOMIC_ACQUIRE);
    if (id != 0) return id;
    if (madvise(&page, sizeof page, MADV_WIPEONFORK) != 0 || !os_entropy((uint8_t *)&id, sizeof id)) return 0;
    id |= 1;
    uint64_t unset = 0;
    /* Another thread may have been first. */
    return __atomic_compare_exchange_n(&page.id, &unset, id, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) ? id : unset;
#else
    return 0;
#endif
}

int privcomp_drbg_init(privcomp_drbg *state)
{
    uint8_t key[PRIVCOMP_DRBG_SEED_BYTES];
    if (!os_entropy(key, sizeof key)) return PRIVCOMP_E_ENTROPY;
    privcomp_drbg_init_fixed(state, key);
    state->fixed = 0;
    state->process = process_id();
    state->pid = getpid();
    privcomp_wipe(key, sizeof key);
    return PRIVCOMP_OK;
}

void privcomp_drbg_init_fixed(privcomp_drbg *state, const uint8_t *seed)
{
    memset(state, 0, sizeof *state);
    memcpy(state->key, seed, sizeof state->key);
    state->fixed = 1;
}

int privcomp_drbg_fill(privcomp_drbg *state, uint8_t *out, size_t length)
{
    if (length > (uint64_t)1 << 40) return PRIVCOMP_E_ARGUMENT;
    if (!state->fixed && (state->calls >= PRIVCOMP_DRBG_RESEED_CALLS || state->pid != getpid() || state->process != process_id())) {
        const int status = privcomp_drbg_init(state);
        if (status != PRIVCOMP_OK) return status;
    }
    const pc_level *level = pc_level_table();
    uint8_t seed[PRIVCOMP_CHACHA20_SEED_BYTES] = {0}; /* each key is used for one stream: counter and nonce are 0 */
    pc_stream s;
    memcpy(seed, state->key, sizeof state->key);
    pc_stream_init(&s, PRIVCOMP_CHACHA20, seed, level);
    pc_stream_apply(PC_STORE, state->key, sizeof state->key, &s, 0, PRIVCOMP_CHACHA20, level);
    state->calls++;
    /* from the second block on: whole chunks go straight to out */
    pc_stream_apply(PC_STORE, out, length, &s, 64, PRIVCOMP_CHACHA20, level);
    privcomp_wipe((uint8_t *)&s, sizeof s);
    privcomp_wipe(seed, sizeof seed);
    return PRIVCOMP_OK;
}
