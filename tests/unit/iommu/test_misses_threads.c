/*
 * Queues that ask as fast as they can, and a control that sleeps until it is woken: every question is
 * answered, and none twice while it is open. A lost wake-up, or a change that the count of answers
 * does not tell, leaves both sides waiting: the alarm makes a failure of it.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/raise.h"
#include "iommu/space.h"

enum {
    PAGE = 4096,
    QUEUES_N = 2,
    ROUNDS_N = 3000,
    WINDOW_N = 200, /* pages of a round: more than a ring of asks holds */
    PAGES_N = 4096,
    STALL_S = 50,
};

#define USER UINT64_C(0x7f0000000000)

static struct hg_space space;
static struct hg_iotlb *iotlb;
static struct hg_asks asks[QUEUES_N];
static atomic_uint running;
static atomic_ulong wrong;

/* Looks for all pages of a window, asks for those that lack, and returns how many do. */
static unsigned look(unsigned queue, uint64_t first)
{
    struct hg_hint hint = {0};
    unsigned lacking = 0;

    for (uint64_t i = 0; i < WINDOW_N; i++) {
        uint64_t addr = (first + i) % PAGES_N * PAGE;
        uint8_t *host;

        if (hg_space_at(&space, &hint, addr, 1, HG_PERM_READ, &host) == 0) {
            if (hg_space_lack(&space, &asks[queue], addr, HG_PERM_READ) != HG_LACK_MISS)
                atomic_fetch_add(&wrong, 1);
            lacking++;
        } else if (host != space.region[0].host + addr) {
            atomic_fetch_add(&wrong, 1);
        }
    }
    hg_asks_flush(&asks[queue]);
    return lacking;
}

static void *work(void *arg)
{
    unsigned queue = (unsigned)(uintptr_t)arg;

    hg_qsbr_register();
    for (uint64_t round = 0; round < ROUNDS_N; round++) {
        for (;;) {
            uint64_t answers = hg_iotlb_answers(iotlb);

            if (look(queue, round * (queue == 0 ? 37 : 41)) == 0)
                break;
            hg_qsbr_offline();
            while (hg_iotlb_answers(iotlb) == answers)
                sched_yield();
            hg_qsbr_online();
        }
        hg_qsbr_quiescent();
    }
    hg_qsbr_unregister();
    atomic_fetch_sub(&running, 1);
    hg_raise(asks[queue].wake_fd);
    return NULL;
}

/* Answers every miss at once, as a front-end does that knows all, and forgets old pages. */
static void answer_all(uint64_t *oldest)
{
    struct hg_ask miss;

    for (unsigned queue = 0; queue < QUEUES_N; queue++)
        while (hg_iotlb_next_miss(iotlb, &asks[queue], 0, &miss))
            assert_int_equal(hg_iotlb_update(iotlb, &space, miss.addr, PAGE, USER + miss.addr,
                                             HG_PERM_READ, NULL),
                             0);
    *oldest = (*oldest + 61) % PAGES_N;
    if (hg_iotlb_unpublish(iotlb, *oldest * PAGE, 4 * PAGE)) {
        hg_qsbr_wait();
        hg_iotlb_settle(iotlb);
    }
}

static void every_question_is_answered(void **state)
{
    pthread_t thread[QUEUES_N];
    uint64_t oldest = 0;
    int wake_fd = eventfd(0, EFD_NONBLOCK);

    (void)state;
    assert_int_equal(hg_iotlb_new(&iotlb, HG_IOTLB_ENTRIES_MIN, NULL), 0);
    space.iotlb = iotlb;
    space.n = 1;
    space.region[0] = (struct hg_region){
        .user_addr = USER, .size = (uint64_t)PAGES_N * PAGE, .host = (uint8_t *)(1 << 20)};
    atomic_store(&running, QUEUES_N);
    alarm(STALL_S);
    for (uintptr_t i = 0; i < QUEUES_N; i++) {
        asks[i].wake_fd = wake_fd;
        assert_int_equal(pthread_create(&thread[i], NULL, work, (void *)i), 0);
    }
    while (atomic_load(&running) > 0) {
        struct pollfd woken = {.fd = wake_fd, .events = POLLIN};
        uint64_t n;

        assert_int_equal(poll(&woken, 1, -1), 1);
        assert_int_equal(read(wake_fd, &n, sizeof(n)), sizeof(n));
        answer_all(&oldest);
    }
    alarm(0);
    for (unsigned i = 0; i < QUEUES_N; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&wrong), 0);
    print_message("# %lu updates, %lu evictions\n", (unsigned long)hg_iotlb_info(iotlb).updates,
                  (unsigned long)hg_iotlb_info(iotlb).evictions);
    hg_iotlb_free(iotlb);
    close(wake_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_question_is_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
