/* The loop: one thread sends, another one receives and sleeps when there is nothing. */
#include "port/memory/memory.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "rig.h"

enum { ACROSS_N = 20000 };

static struct hg_burst burst, received;

static void comes_back_as_it_was(void **state)
{
    struct hg_port generator, loop, sink;

    (void)state;
    open_port(&generator, 0, "generator:size=1514,flows=0");
    open_port(&loop, 1, "loop");
    open_port(&sink, 2, "sink");
    generator.rxq[0]->rx(generator.rxq[0], &burst);
    for (unsigned i = 0; i < HG_BURST_N; i++)
        burst.pkt[i].ol = (struct hg_offload){HG_OL_NEEDS_CSUM, 0, 0, 34, 6};
    send_burst(&loop, &burst);
    assert_int_equal(loop.rxq[0]->rx(loop.rxq[0], &received), HG_BURST_N);
    for (unsigned i = 0; i < HG_BURST_N; i++) {
        const struct hg_pkt *was = &burst.pkt[i], *is = &received.pkt[i];

        assert_int_equal(is->len, was->len);
        assert_int_equal(is->port, 1);
        assert_memory_equal(&is->ol, &was->ol, sizeof(is->ol));
        assert_int_equal(is->head_len, was->head_len);
        assert_memory_equal(is->head, was->head, is->head_len);
        assert_int_equal(is->seg_n, 1);
        assert_memory_equal(is->seg[0].addr, was->seg[0].addr, was->seg[0].len);
    }
    send_burst(&sink, &received);
    loop.rxq[0]->done(loop.rxq[0]);
    assert_status(&sink, "up: 32 frames, 0 missing, 0 late, 0 spoilt, 0 of no generator");
    close_port(&generator);
    close_port(&loop);
    close_port(&sink);
}

static void is_bounded(void **state)
{
    struct hg_port generator, loop;

    (void)state;
    open_port(&generator, 0, "generator");
    open_port(&loop, 1, "loop:depth=64");
    generator.rxq[0]->rx(generator.rxq[0], &burst);
    for (unsigned i = 0; i < 3; i++)
        send_burst(&loop, &burst);
    assert_int_equal(hg_count_get(&loop.txq[0]->stats.packets), 64);
    assert_int_equal(hg_count_get(&loop.txq[0]->stats.drops.reason[HG_DROP_TX_FULL]), HG_BURST_N);
    assert_status(&loop, "up: 64 frames wait to be received");
    close_port(&generator); /* with 64 frames in the other one */
    close_port(&loop);
}

static void *receive(void *ctx)
{
    struct hg_port *loop = ctx;
    struct hg_rxq *q = loop->rxq[0];
    uint64_t next = 0;

    while (next < ACROSS_N) {
        unsigned n = q->rx(q, &received);

        for (unsigned i = 0; i < n; i++, next++)
            if (memcmp(received.pkt[i].head + 48, &next, sizeof(next)) != 0)
                abort();
        q->done(q);
        if (n == 0) {
            struct pollfd fd = {.fd = q->fd, .events = POLLIN};
            uint64_t ignored;

            if (!q->arm(q)) {
                if (poll(&fd, 1, 20000) != 1)
                    abort(); /* a signal was lost */
                if (read(q->fd, &ignored, sizeof(ignored)) != sizeof(ignored))
                    abort();
            }
            q->disarm(q);
        }
    }
    return NULL;
}

static void crosses_threads_without_losing_a_signal(void **state)
{
    struct hg_port generator, loop;
    pthread_t thread;
    uint64_t sent = 0;

    (void)state;
    open_port(&generator, 0, "generator:count=20000");
    open_port(&loop, 1, "loop:depth=64");
    assert_int_equal(pthread_create(&thread, NULL, receive, &loop), 0);
    while (generator.rxq[0]->rx(generator.rxq[0], &burst) != 0) {
        sent += burst.n;
        /* One by one, so that the receiver often finds it empty; again, when it is full. */
        for (unsigned i = 0; i < burst.n;) {
            struct hg_pkt *pkt = &burst.pkt[i];
            uint64_t before = hg_count_get(&loop.txq[0]->stats.packets);

            hg_port_tx(&loop, &pkt, 1);
            i += hg_count_get(&loop.txq[0]->stats.packets) != before;
        }
    }
    pthread_join(thread, NULL);
    assert_int_equal(sent, ACROSS_N);
    close_port(&generator);
    close_port(&loop);
}

static void takes_no_memory_of_a_missing_node(void **state)
{
    const struct hg_port_host elsewhere = {.on_node = true, .node = 1023};
    struct hg_port port = {.name = "loop", .host = &elsewhere};
    const union hg_port_value values[] = {{.uint = 64}, {.uint = 1}}; /* depth, queues */
    struct hg_err err = {.text = ""};

    (void)state;
    assert_int_equal(hg_loop_driver.open(&port, values, &err), -ENODEV);
    assert_non_null(strstr(err.text, "NUMA node 1023 is not there"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_as_it_was),
        cmocka_unit_test(is_bounded),
        cmocka_unit_test(crosses_threads_without_losing_a_signal),
        cmocka_unit_test(takes_no_memory_of_a_missing_node),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
