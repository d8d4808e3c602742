/*
 * The order in which a worker goes to sleep, point by point. The test owns the clock and the wait;
 * it lets work or an order from control arrive at every point between two steps and looks at what
 * the worker did. The epoll set and the event fds are real.
 */
#include "worker/worker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bits.h"
#include "sync/qsbr.h"

enum { IDLE_NS = 1000, TURNS_MAX = 1000 };

/* Where something can happen on the way to sleep, in the order of the way. */
enum point {
    NOWHERE,
    AT_CLOCK,      /* after the last poll, before the first arm */
    AT_WISH,       /* in the first arm, between the wish and the look */
    AT_SECOND_ARM, /* the first poller is armed, the second is not */
    AT_WAIT,       /* all armed and looked at, the wait has not begun */
    IN_WAIT,       /* the wait blocks */
    AT_DISARM,     /* after the wait, before the first disarm */
    POINTS_N
};

/* A device with a peer that publishes work and then signals if it has been asked to. */
struct device {
    struct hg_poller poller;
    struct script *script;
    unsigned work;
    bool armed;
    unsigned polls;
    unsigned done;
};

struct script {
    pthread_t thread; /* the worker's, which is the test's */
    struct hg_worker *worker;
    struct device dev[2];
    uint64_t now_ns;
    enum point at;
    void (*action)(struct script *script);
    int epoll_fd; /* known since the first wait */
    char log[64]; /* a arm, d disarm, w wait that found a signal, W wait that blocked, ! for ever */
    pthread_t control;
    bool control_runs;
    struct hg_poller *next[2]; /* the set that control orders */
    unsigned next_n;
};

static void note(struct script *script, char event)
{
    size_t n = strlen(script->log);

    if (n < sizeof(script->log) - 1)
        script->log[n] = event;
}

static void reach(struct script *script, enum point point)
{
    if (script->at != point)
        return;
    script->at = NOWHERE;
    script->action(script);
}

static unsigned dev_poll(struct hg_poller *poller)
{
    struct device *dev = hg_container_of(poller, struct device, poller);
    unsigned work = dev->work;

    assert_false(dev->armed);
    dev->polls++;
    dev->work = 0;
    dev->done += work;
    return work;
}

static bool dev_arm(struct hg_poller *poller)
{
    struct device *dev = hg_container_of(poller, struct device, poller);
    struct script *script = dev->script;

    note(script, 'a');
    if (dev == &script->dev[1])
        reach(script, AT_SECOND_ARM);
    assert_false(dev->armed);
    dev->armed = true;
    if (dev == &script->dev[0])
        reach(script, AT_WISH);
    return dev->work != 0;
}

static void dev_disarm(struct hg_poller *poller)
{
    struct device *dev = hg_container_of(poller, struct device, poller);

    if (pthread_equal(pthread_self(), dev->script->thread)) {
        reach(dev->script, AT_DISARM);
        if (dev->armed)
            note(dev->script, 'd');
    }
    dev->armed = false;
}

static uint64_t script_now(void *ctx)
{
    struct script *script = ctx;

    if (script->now_ns >= IDLE_NS)
        reach(script, AT_CLOCK);
    return script->now_ns;
}

static int script_wait(void *ctx, int epoll_fd)
{
    struct script *script = ctx;
    struct epoll_event events[8];
    int n;

    script->epoll_fd = epoll_fd;
    reach(script, AT_WAIT);
    n = epoll_wait(epoll_fd, events, 8, 0);
    if (n > 0) {
        note(script, 'w');
        return n;
    }
    reach(script, IN_WAIT);
    n = epoll_wait(epoll_fd, events, 8, 0);
    note(script, n > 0 ? 'W' : '!');
    return n;
}

/* Turns until the worker has armed and come back, or TURNS_MAX. */
static void turn_past_arm(struct script *script)
{
    for (unsigned i = 0; i < TURNS_MAX && !strchr(script->log, 'a'); i++)
        hg_worker_turn(script->worker);
}

static void turn_times(struct script *script, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        hg_worker_turn(script->worker);
}

/* The worker has been idle at time 0 and will find at its next look that idle_ns has passed. */
static void become_idle(struct script *script)
{
    script->now_ns = 0;
    turn_times(script, 100);
    assert_string_equal(script->log, "");
    script->now_ns = IDLE_NS;
}

static void forget_log(struct script *script)
{
    memset(script->log, 0, sizeof(script->log));
}

static void init_device(struct script *script, struct device *dev)
{
    dev->script = script;
    dev->poller = (struct hg_poller){.poll = dev_poll, .arm = dev_arm, .disarm = dev_disarm};
    dev->poller.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(dev->poller.fd >= 0);
}

static int set(struct script *script, struct hg_poller *const *pollers, unsigned n)
{
    int rc;

    /* This thread is the worker, and control for the moment. */
    hg_qsbr_offline();
    rc = hg_worker_set(script->worker, pollers, n, NULL);
    hg_qsbr_online();
    return rc;
}

static int setup(void **state)
{
    const struct hg_worker_options options = {.cpu = -1, .sleep = true, .idle_ns = IDLE_NS};
    struct script *script = calloc(1, sizeof(*script));
    const struct hg_worker_env env = {.now_ns = script_now, .wait = script_wait, .ctx = script};
    struct hg_poller *pollers[] = {&script->dev[0].poller, &script->dev[1].poller};

    script->thread = pthread_self();
    hg_qsbr_register();
    assert_int_equal(hg_worker_new(&script->worker, &options, &env, NULL), 0);
    init_device(script, &script->dev[0]);
    init_device(script, &script->dev[1]);
    assert_int_equal(set(script, pollers, 2), 0);
    /* The order has signalled the worker's event: take that edge. */
    become_idle(script);
    turn_past_arm(script);
    assert_string_equal(script->log, "aawdd");
    turn_times(script, 1);
    forget_log(script);
    *state = script;
    return 0;
}

static int teardown(void **state)
{
    struct script *script = *state;

    hg_qsbr_unregister();
    if (script->control_runs)
        pthread_join(script->control, NULL);
    hg_worker_free(script->worker);
    close(script->dev[0].poller.fd);
    close(script->dev[1].poller.fd);
    free(script);
    return 0;
}

/* Work arrives: the peer's side of the protocol. */
static void work_for(struct device *dev)
{
    dev->work++;
    if (dev->armed)
        eventfd_write(dev->poller.fd, 1);
}

static void work_for_first(struct script *script)
{
    work_for(&script->dev[0]);
}

static void polls_until_idle_ns_has_passed(void **state)
{
    struct script *script = *state;

    become_idle(script);
    script->now_ns = IDLE_NS - 1;
    turn_times(script, TURNS_MAX);
    assert_string_equal(script->log, "");
    script->now_ns = IDLE_NS;
    turn_past_arm(script);
    assert_string_equal(script->log, "aa!dd");
}

static void work_begins_the_idle_time_anew(void **state)
{
    struct script *script = *state;

    become_idle(script);
    work_for_first(script);
    turn_times(script, 1);
    script->now_ns = 3 * IDLE_NS; /* looked at once while idle: the idle time begins here */
    turn_times(script, TURNS_MAX);
    assert_string_equal(script->log, "");
    script->now_ns = 4 * IDLE_NS;
    turn_past_arm(script);
    assert_string_equal(script->log, "aa!dd");
}

/* What the worker does on its way to sleep when something arrives at each point. */
static const char *const way_with_work[POINTS_N] = {
    [AT_CLOCK] = "ad",         /* the first look finds it */
    [AT_WISH] = "ad",          /* likewise, and it was signalled too */
    [AT_SECOND_ARM] = "aawdd", /* looked at before it came, so it was signalled */
    [AT_WAIT] = "aawdd",       /* likewise */
    [IN_WAIT] = "aaWdd",       /* the signal ends the wait */
};

static void no_work_is_slept_through(void **state)
{
    struct script *script = *state;

    for (enum point point = AT_CLOCK; point <= IN_WAIT; point++) {
        unsigned done = script->dev[0].done;

        become_idle(script);
        script->at = point;
        script->action = work_for_first;
        turn_past_arm(script);
        assert_int_equal(script->at, NOWHERE);
        assert_string_equal(script->log, way_with_work[point]);
        turn_times(script, 1);
        assert_int_equal(script->dev[0].done, done + 1);
        /* A signal that came with work found otherwise must not end a later sleep in error. */
        forget_log(script);
        become_idle(script);
        turn_past_arm(script);
        forget_log(script);
        turn_times(script, 1);
    }
}

static void work_that_comes_after_the_wait_is_polled(void **state)
{
    struct script *script = *state;

    become_idle(script);
    script->at = AT_DISARM;
    script->action = work_for_first;
    turn_past_arm(script);
    assert_string_equal(script->log, "aa!dd");
    turn_times(script, 1);
    assert_int_equal(script->dev[0].done, 1);
}

static void a_woken_worker_polls_for_idle_ns_before_it_sleeps_again(void **state)
{
    struct script *script = *state;

    become_idle(script);
    script->at = IN_WAIT;
    script->action = work_for_first;
    turn_past_arm(script);
    forget_log(script);
    /* Only the first clock reading after the wake-up may begin the idle time. */
    turn_times(script, TURNS_MAX);
    assert_string_equal(script->log, "");
    script->now_ns += IDLE_NS;
    turn_past_arm(script);
    assert_string_equal(script->log, "aa!dd");
    /* Nor does a wake-up in vain shorten it. */
    forget_log(script);
    turn_times(script, TURNS_MAX);
    assert_string_equal(script->log, "");
}

static void counts_sleeps_and_wakeups_in_vain(void **state)
{
    struct script *script = *state;
    const struct hg_worker_stats *stats = hg_worker_stats(script->worker);
    uint64_t sleeps = hg_count_get(&stats->sleeps);
    uint64_t in_vain = hg_count_get(&stats->wakeups_in_vain);

    become_idle(script);
    script->at = IN_WAIT;
    script->action = work_for_first;
    turn_past_arm(script);
    turn_times(script, 1);
    assert_int_equal(hg_count_get(&stats->sleeps), sleeps + 1);
    assert_int_equal(hg_count_get(&stats->wakeups_in_vain), in_vain);
    assert_int_equal(hg_count_get(&stats->packets), 1);
    assert_true(hg_count_get(&stats->busy_cycles) > 0);
    assert_true(hg_count_get(&stats->idle_cycles) > 0);

    forget_log(script);
    become_idle(script);
    eventfd_write(script->dev[1].poller.fd, 1);
    turn_past_arm(script);
    assert_string_equal(script->log, "aawdd");
    turn_times(script, 1);
    assert_int_equal(hg_count_get(&stats->sleeps), sleeps + 2);
    assert_int_equal(hg_count_get(&stats->wakeups_in_vain), in_vain + 1);
}

/* Orders from control: another thread, because control is never a reader. */

static void *control_sets(void *arg)
{
    struct script *script = arg;

    assert_int_equal(hg_worker_set(script->worker, script->next, script->next_n, NULL), 0);
    return NULL;
}

/* Returns when the order has been stored and signalled; the grace period is still to pass. */
static void order_next(struct script *script)
{
    struct pollfd ready = {.fd = script->epoll_fd, .events = POLLIN};

    assert_int_equal(pthread_create(&script->control, NULL, control_sets, script), 0);
    script->control_runs = true;
    assert_int_equal(poll(&ready, 1, 30000), 1);
}

static const char *const way_with_order[POINTS_N] = {
    [AT_CLOCK] = "awd",       /* the new set is armed; the signal is still there */
    [AT_WISH] = "aadd",       /* seen when all are armed */
    [AT_SECOND_ARM] = "aadd", /* likewise */
    [AT_WAIT] = "aawd",       /* the event ends the wait; the new set alone is disarmed here */
    [IN_WAIT] = "aaWd",
};

/* The order takes the first device out. */
static void order_at(struct script *script, enum point point)
{
    struct device *gone = &script->dev[0], *stays = &script->dev[1];
    unsigned polls;

    script->next[0] = &stays->poller;
    script->next_n = 1;
    become_idle(script);
    script->at = point;
    script->action = order_next;
    turn_past_arm(script);
    assert_int_equal(script->at, NOWHERE);
    assert_string_equal(script->log, way_with_order[point]);

    turn_times(script, 1);
    hg_qsbr_offline();
    pthread_join(script->control, NULL);
    hg_qsbr_online();
    script->control_runs = false;
    polls = gone->polls;
    assert_false(gone->armed);
    assert_false(stays->armed);
    turn_times(script, 10);
    assert_int_equal(gone->polls, polls);
    work_for(stays);
    assert_int_equal(hg_worker_turn(script->worker), 1);
}

static void no_order_is_slept_through(void **state)
{
    struct script *script = *state;
    struct hg_poller *both[] = {&script->dev[0].poller, &script->dev[1].poller};

    for (enum point point = AT_CLOCK; point <= IN_WAIT; point++) {
        order_at(script, point);
        assert_int_equal(set(script, both, 2), 0);
        forget_log(script);
        become_idle(script);
        turn_past_arm(script);
        turn_times(script, 1);
        forget_log(script);
    }
}

static void a_poller_without_fd_keeps_the_worker_awake(void **state)
{
    struct script *script = *state;
    struct hg_poller *both[] = {&script->dev[0].poller, &script->dev[1].poller};
    int fd = script->dev[1].poller.fd;

    script->dev[1].poller.fd = -1;
    assert_int_equal(set(script, both, 2), 0);
    become_idle(script);
    turn_times(script, TURNS_MAX);
    assert_string_equal(script->log, "");
    script->dev[1].poller.fd = fd;
}

static void pollers_that_never_have_work_of_their_own_are_not_asked(void **state)
{
    struct script *script = *state;
    struct device quiet[2] = {{.poller = {.poll = dev_poll, .fd = -1}, .script = script},
                              {.poller = {.poll = dev_poll, .fd = -1}, .script = script}};
    struct hg_poller *three[] = {&script->dev[0].poller, &quiet[0].poller, &quiet[1].poller};

    assert_int_equal(set(script, three, 3), 0);
    become_idle(script);
    turn_past_arm(script);
    assert_string_equal(script->log, "awd");
    assert_true(quiet[1].polls > 0);
    assert_int_equal(set(script, NULL, 0), 0);
}

#define SCRIPTED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRIPTED(polls_until_idle_ns_has_passed),
        SCRIPTED(work_begins_the_idle_time_anew),
        SCRIPTED(no_work_is_slept_through),
        SCRIPTED(work_that_comes_after_the_wait_is_polled),
        SCRIPTED(a_woken_worker_polls_for_idle_ns_before_it_sleeps_again),
        SCRIPTED(counts_sleeps_and_wakeups_in_vain),
        SCRIPTED(no_order_is_slept_through),
        SCRIPTED(a_poller_without_fd_keeps_the_worker_awake),
        SCRIPTED(pollers_that_never_have_work_of_their_own_are_not_asked),
    };

    return cmocka_run_group_tests_name("worker/sleep", tests, NULL, NULL);
}
