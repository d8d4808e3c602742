/*
 * What an acknowledged invalidation promises, tried: threads translate and touch memory in bursts as
 * workers do, and control makes each page inaccessible at the very moment at which it would acknowledge
 * that page's invalidation. A touch too late is a fault by signal. Whatever a thread reaches must
 * be the page that it named: each page says which one it is, in plain stores, so that
 * ThreadSanitizer judges the orderings too.
 *
 * HG_SECONDS or `--seconds N` sets the length of each run, 1 by default; hours are fine.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "iommu/space.h"

enum {
    PAGE = 4096,
    LARGE = 2 << 20,
    READERS_N = 2,
    BURST_N = 32,
    SMALL_N =
        1000, /* places of guest addresses that are mapped by pages: more than a first table takes */
    LARGE_N = 4,
    PLACES_N = SMALL_N + LARGE_N,
    SMALL_FRAMES_N = SMALL_N + 200, /* memory to map there */
    LARGE_FRAMES_N = LARGE_N + 2,
    BATCH_MAX = 16, /* invalidations that share a grace period */
};

#define USER        UINT64_C(0x7f0000000000)
#define SMALL_IOVA  (UINT64_C(1) << 30)
#define LARGE_IOVA  (UINT64_C(3) << 30)
#define LARGE_START (hg_round_up((uint64_t)SMALL_FRAMES_N * PAGE, LARGE))
#define BYTES       (LARGE_START + (uint64_t)LARGE_FRAMES_N * LARGE)
#define NOWHERE     UINT64_MAX

/* A range of guest addresses, and where it is mapped now: an offset in the memory, or NOWHERE. */
struct place {
    uint64_t iova;
    uint64_t bytes;
    uint64_t at;
};

static struct hg_space space;
static struct place places[PLACES_N];
static bool frame_used[SMALL_FRAMES_N + LARGE_FRAMES_N];
static uint8_t *memory;
static uint32_t seed;
static bool waits; /* false: to prove that the test notices */

static atomic_bool stop;
static atomic_ulong touches;
static atomic_ulong wrong;

static uint32_t random_below(uint32_t *state, uint32_t n)
{
    *state = *state * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)(*state >> 4) * n >> 28);
}

/* ---- workers ---- */

struct piece {
    uint64_t iova;
    uint64_t bytes;
    uint8_t *host;
    enum hg_perm perm;
};

static void touch(const struct piece *piece, unsigned id)
{
    uint64_t start = piece->iova & -UINT64_C(4096);
    uint8_t *host = piece->host - (piece->iova - start);

    for (uint64_t at = 0; at < piece->iova + piece->bytes - start; at += PAGE) {
        uint64_t *page = (uint64_t *)(void *)(host + at);

        if (page[0] != start + at)
            atomic_fetch_add(&wrong, 1);
        if (piece->perm == HG_PERM_WRITE)
            page[1 + id]++;
        atomic_fetch_add_explicit(&touches, 1, memory_order_relaxed);
    }
}

static void do_burst(uint32_t *state, unsigned id)
{
    struct hg_hint hint = {0}; /* of this burst */
    struct piece piece[BURST_N];
    unsigned n = 0;

    for (unsigned i = 0; i < BURST_N; i++) {
        bool large = random_below(state, 8) == 0;
        uint64_t iova = large ? LARGE_IOVA + random_below(state, LARGE_N * LARGE)
                              : SMALL_IOVA + random_below(state, SMALL_N * PAGE);
        enum hg_perm perm = random_below(state, 2) == 0 ? HG_PERM_READ : HG_PERM_WRITE;
        uint64_t bytes = 1 + random_below(state, 3 * PAGE);

        piece[n] = (struct piece){.iova = iova, .perm = perm};
        piece[n].bytes = hg_space_at(&space, &hint, iova, bytes, perm, &piece[n].host);
        n += piece[n].bytes != 0;
    }
    for (unsigned i = 0; i < n; i++)
        touch(&piece[i], id);
}

static void *work(void *arg)
{
    unsigned id = (unsigned)(uintptr_t)arg;
    uint32_t state = id + 1;

    hg_qsbr_register();
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        do_burst(&state, id);
        hg_qsbr_quiescent();
        if (random_below(&state, 256) == 0) {
            hg_qsbr_offline();
            usleep(20);
            hg_qsbr_online();
        }
    }
    hg_qsbr_unregister();
    return NULL;
}

/* ---- control ---- */

static bool is_large(const struct place *place)
{
    return place->bytes == LARGE;
}

static bool *frame_at(uint64_t at)
{
    return &frame_used[at < LARGE_START ? at / PAGE : SMALL_FRAMES_N + (at - LARGE_START) / LARGE];
}

/* Memory that nothing is mapped to: often such that neighbours lie together. */
static uint64_t choose_frame(const struct place *place)
{
    uint32_t frames_n = is_large(place) ? LARGE_FRAMES_N : SMALL_FRAMES_N;
    uint64_t start = is_large(place) ? LARGE_START : 0;
    uint64_t own = (place->iova - (is_large(place) ? LARGE_IOVA : SMALL_IOVA)) / place->bytes;

    if (random_below(&seed, 2) == 0 && !*frame_at(start + own * place->bytes))
        return start + own * place->bytes;
    for (;;) {
        uint64_t at = start + random_below(&seed, frames_n) * place->bytes;

        if (!*frame_at(at))
            return at;
    }
}

static void update(const struct place *place, unsigned perm)
{
    assert_int_equal(hg_iotlb_update(space.iotlb, &space, place->iova, place->bytes,
                                     USER + place->at, perm, NULL),
                     0);
}

static void allow(const struct place *place, int protection)
{
    assert_int_equal(mprotect(memory + place->at, place->bytes, protection), 0);
}

static void map(struct place *place)
{
    place->at = choose_frame(place);
    *frame_at(place->at) = true;
    allow(place, PROT_READ | PROT_WRITE);
    for (uint64_t offset = 0; offset < place->bytes; offset += PAGE)
        *(uint64_t *)(void *)(memory + place->at + offset) = place->iova + offset;
    update(place, HG_PERM_READ | HG_PERM_WRITE);
}

/* The moment after the acknowledgement: nobody may touch it any more. */
static void take_away(struct place *place)
{
    *(uint64_t *)(void *)(memory + place->at) = NOWHERE;
    allow(place, PROT_NONE);
    *frame_at(place->at) = false;
    place->at = NOWHERE;
}

static void unmap_some(struct place *first)
{
    unsigned n = 1 + random_below(&seed, BATCH_MAX);
    bool wait = false;

    n = hg_min_u32(n, (uint32_t)(places + PLACES_N - first));
    for (unsigned i = 0; i < n; i++)
        wait |= hg_iotlb_unpublish(space.iotlb, first[i].iova, first[i].bytes);
    if (wait) {
        if (waits)
            hg_qsbr_wait();
        hg_iotlb_settle(space.iotlb);
    }
    for (unsigned i = 0; i < n; i++)
        if (first[i].at != NOWHERE) {
            allow(&first[i], PROT_READ | PROT_WRITE);
            take_away(&first[i]);
        }
}

static void unmap_all(void)
{
    if (hg_iotlb_unpublish(space.iotlb, 0, 0)) {
        if (waits)
            hg_qsbr_wait();
        hg_iotlb_settle(space.iotlb);
    }
    for (unsigned i = 0; i < PLACES_N; i++)
        if (places[i].at != NOWHERE) {
            allow(&places[i], PROT_READ | PROT_WRITE);
            take_away(&places[i]);
        }
}

/* Moves a place to other memory by an update alone, and takes the old memory away. */
static void move(struct place *place)
{
    struct place old = *place;

    map(place);
    allow(&old, PROT_READ | PROT_WRITE);
    take_away(&old);
}

static void step(void)
{
    struct place *place = &places[random_below(&seed, PLACES_N)];
    uint32_t kind = random_below(&seed, 4096);

    if (kind == 0) {
        unmap_all();
    } else if (kind < 512) {
        unmap_some(place);
    } else if (place->at == NOWHERE) {
        map(place);
    } else if (kind < 1024) {
        update(place, HG_PERM_READ); /* when it returns, nobody writes */
        allow(place, PROT_READ);
    } else if (kind < 1280) {
        move(place);
    } else { /* mapped already, perhaps evicted: the front-end says it again */
        allow(place, PROT_READ | PROT_WRITE);
        update(place, HG_PERM_READ | HG_PERM_WRITE);
    }
}

static void set_up_places(void)
{
    for (unsigned i = 0; i < PLACES_N; i++)
        places[i] = i < SMALL_N ? (struct place){SMALL_IOVA + (uint64_t)i * PAGE, PAGE, NOWHERE}
                                : (struct place){LARGE_IOVA + (uint64_t)(i - SMALL_N) * LARGE,
                                                 LARGE, NOWHERE};
    memset(frame_used, 0, sizeof(frame_used));
}

static uint64_t seconds(void)
{
    const char *text = getenv("HG_SECONDS");

    return text != NULL ? strtoull(text, NULL, 10) : 1;
}

static void run(uint32_t entries_max, uint64_t run_ns)
{
    uint64_t end_ns = hg_now_ns() + run_ns;
    pthread_t thread[READERS_N];
    unsigned long steps = 0;

    memory = mmap(NULL, BYTES, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    set_up_places();
    assert_int_equal(hg_iotlb_new(&space.iotlb, entries_max, NULL), 0);
    space.n = 1;
    space.region[0] = (struct hg_region){.user_addr = USER, .size = BYTES, .host = memory};
    atomic_store(&stop, false);
    atomic_store(&touches, 0);
    for (uintptr_t i = 0; i < READERS_N; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, (void *)i), 0);
    for (; hg_now_ns() < end_ns || atomic_load(&touches) == 0; steps++)
        step();
    atomic_store(&stop, true);
    for (unsigned i = 0; i < READERS_N; i++)
        pthread_join(thread[i], NULL);
    print_message("# %lu changes, %lu pages touched, %lu evictions\n", steps, atomic_load(&touches),
                  (unsigned long)hg_iotlb_info(space.iotlb).evictions);
    hg_iotlb_free(space.iotlb);
    munmap(memory, BYTES);
    assert_int_equal(atomic_load(&wrong), 0);
}

static void nobody_touches_what_was_invalidated(void **state)
{
    (void)state;
    waits = true;
    run(HG_IOTLB_ENTRIES_PRESET, seconds() * HG_NS_PER_S);
}

static void nor_while_entries_are_evicted(void **state)
{
    (void)state;
    waits = true;
    run(200, seconds() * HG_NS_PER_S);
}

/* The same without the grace period must end badly, or the test proves nothing. */
static void a_missing_grace_period_is_noticed(void **state)
{
    int status = 0;
    pid_t child;

    (void)state;
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        close(STDERR_FILENO); /* what a sanitizer says of it is expected */
        waits = false;
        run(HG_IOTLB_ENTRIES_PRESET, 20 * HG_NS_PER_S);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(!WIFEXITED(status) || WEXITSTATUS(status) != 0); /* a signal, or TSan's verdict */
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_grace_period_is_noticed),
        cmocka_unit_test(nobody_touches_what_was_invalidated),
        cmocka_unit_test(nor_while_entries_are_evicted),
    };

    if (argc == 3 && strcmp(argv[1], "--seconds") == 0)
        setenv("HG_SECONDS", argv[2], 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
