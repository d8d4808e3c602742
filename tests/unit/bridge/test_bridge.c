/*
 * The bridge between ports whose queues are arrays: what goes where, what is dropped under which
 * name, and that every frame is accounted for.
 */
#include "bridge/bridge.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PORTS = 4, QUEUE_FRAMES = 64, FRAME_BYTES = 60 };

/* A port with one queue pair: frames to be received, and frames that were transmitted to it. */
struct array_port {
    struct hg_port port;
    struct hg_rxq rxq;
    struct hg_txq txq;
    struct hg_lane lane;
    uint8_t in[QUEUE_FRAMES][FRAME_BYTES];
    unsigned in_n;
    unsigned borrowed; /* received since the last done */
    unsigned done_calls;
    uint8_t out[QUEUE_FRAMES][FRAME_BYTES];
    unsigned out_n;
    unsigned room; /* frames that it accepts before it is full */
};

static struct array_port ports[PORTS];
static struct hg_bridge *bridge;
static struct hg_path *path;

static unsigned array_rx(struct hg_rxq *q, struct hg_burst *b)
{
    struct array_port *p = hg_container_of(q, struct array_port, rxq);

    assert_int_equal(p->borrowed, 0);
    b->n = p->in_n < HG_BURST_N ? p->in_n : HG_BURST_N;
    b->seg_n = 0;
    for (unsigned i = 0; i < b->n; i++) {
        b->pkt[i].len = b->pkt[i].head_len = FRAME_BYTES;
        b->pkt[i].seg_n = 0;
        b->pkt[i].ol = (struct hg_offload){0};
        memcpy(b->pkt[i].head, p->in[i], FRAME_BYTES);
    }
    p->borrowed = b->n;
    hg_count_add(&q->stats.packets, b->n);
    return b->n;
}

static void array_done(struct hg_rxq *q)
{
    struct array_port *p = hg_container_of(q, struct array_port, rxq);

    p->in_n -= p->borrowed;
    memmove(p->in[0], p->in[p->borrowed], (size_t)p->in_n * FRAME_BYTES);
    p->borrowed = 0;
    p->done_calls++;
}

static unsigned array_tx(struct hg_txq *q, struct hg_pkt *const *pkts, unsigned n)
{
    struct array_port *p = hg_container_of(q, struct array_port, txq);
    unsigned sent = n < p->room ? n : p->room;

    for (unsigned i = 0; i < sent; i++)
        memcpy(p->out[p->out_n++], pkts[i]->head, FRAME_BYTES);
    p->room -= sent;
    hg_count_add(&q->stats.packets, sent);
    return sent;
}

static int set_up(void **state)
{
    static const struct hg_bridge_options options = {
        .fdb_age_s = 300, .fdb_max = 1024, .fdb_port_max = 256};

    (void)state;
    assert_int_equal(hg_bridge_new(&bridge, "br0", &options, NULL), 0);
    assert_int_equal(hg_path_new(&path, NULL), 0);
    memset(ports, 0, sizeof(ports));
    for (unsigned i = 0; i < PORTS; i++) {
        struct array_port *p = &ports[i];

        p->port.id = (uint16_t)(i * 3); /* ids are not positions */
        p->port.queue_n = 1;
        p->port.rxq[0] = &p->rxq;
        p->port.txq[0] = &p->txq;
        atomic_store(&p->port.txq_running_n, 1);
        p->rxq.rx = array_rx;
        p->rxq.done = array_done;
        p->rxq.port = &p->port;
        p->rxq.fd = -1;
        p->txq.tx = array_tx;
        p->txq.port = &p->port;
        p->room = QUEUE_FRAMES;
        atomic_store(&p->txq.running, true);
        assert_int_equal(hg_bridge_add(bridge, &p->port, NULL), 0);
        hg_lane_init(&p->lane, bridge, &p->rxq, path);
    }
    return 0;
}

static int tear_down(void **state)
{
    struct hg_port *left[PORTS];
    unsigned n = hg_bridge_ports(bridge, left, PORTS);

    (void)state;
    for (unsigned i = 0; i < n; i++)
        hg_bridge_remove(bridge, left[i]);
    hg_path_free(path);
    hg_bridge_free(bridge);
    return 0;
}

static void set_mac(uint8_t *mac, uint8_t number)
{
    memcpy(mac, (uint8_t[]){0x02, 0, 0, 0, 0, number}, 6);
}

/* Queues a frame from station `src` to station `dst` on a port; `mark` makes it unique. */
static uint8_t *queue_frame(struct array_port *p, uint8_t src, uint8_t dst, uint8_t mark)
{
    uint8_t *frame = p->in[p->in_n++];

    memset(frame, 0, FRAME_BYTES);
    set_mac(frame, dst);
    set_mac(frame + 6, src);
    frame[12] = 0x88;
    frame[13] = 0xb5; /* for local experiments (IEEE 802) */
    frame[14] = mark;
    return frame;
}

static unsigned poll_port(struct array_port *p)
{
    return p->lane.poller.poll(&p->lane.poller);
}

static uint64_t drops(const struct array_port *p, enum hg_drop reason)
{
    return hg_count_get(&p->rxq.stats.drops.reason[reason]);
}

/* sum(rx) + replicated = sum(tx) + drops */
static void check_accounts(void)
{
    uint64_t in = 0;
    uint64_t out = 0;

    for (unsigned i = 0; i < PORTS; i++) {
        in += hg_count_get(&ports[i].rxq.stats.packets) + hg_count_get(&ports[i].rxq.replicated);
        out += hg_count_get(&ports[i].txq.stats.packets);
        for (unsigned reason = 0; reason < HG_DROP_N; reason++)
            out += drops(&ports[i], (enum hg_drop)reason) +
                   hg_count_get(&ports[i].txq.stats.drops.reason[reason]);
    }
    assert_int_equal(in, out);
}

static void floods_the_unknown_to_every_other_port(void **state)
{
    (void)state;
    queue_frame(&ports[0], 1, 2, 7);
    assert_int_equal(poll_port(&ports[0]), 1);
    assert_int_equal(ports[0].out_n, 0);
    for (unsigned i = 1; i < PORTS; i++) {
        assert_int_equal(ports[i].out_n, 1);
        assert_int_equal(ports[i].out[0][14], 7);
    }
    assert_int_equal(hg_count_get(&ports[0].rxq.replicated), PORTS - 2);
    check_accounts();
}

static void sends_to_the_learned_port_alone(void **state)
{
    (void)state;
    queue_frame(&ports[2], 9, 1, 0);
    poll_port(&ports[2]);
    queue_frame(&ports[0], 1, 9, 42);
    poll_port(&ports[0]);
    assert_int_equal(ports[2].out_n, 1);
    assert_int_equal(ports[2].out[0][14], 42);
    assert_int_equal(ports[1].out_n, 1); /* the flooded first frame only */
    assert_int_equal(ports[3].out_n, 1);
    check_accounts();
}

static void keeps_the_order_of_each_output(void **state)
{
    (void)state;
    queue_frame(&ports[1], 11, 99, 0);
    queue_frame(&ports[2], 12, 99, 0);
    poll_port(&ports[1]);
    poll_port(&ports[2]);
    ports[1].out_n = ports[2].out_n = ports[3].out_n = 0;
    for (uint8_t i = 0; i < 30; i++)
        queue_frame(&ports[0], 1, i % 3 == 2 ? 77 : (uint8_t)(11 + i % 3), i);
    poll_port(&ports[0]);
    for (unsigned out = 1; out <= 2; out++) {
        assert_int_equal(ports[out].out_n, 20); /* its own ten and the ten flooded */
        for (unsigned i = 1; i < ports[out].out_n; i++)
            assert_true(ports[out].out[i][14] > ports[out].out[i - 1][14]);
    }
    assert_int_equal(ports[3].out_n, 10);
    check_accounts();
}

static void drops_by_name(void **state)
{
    uint8_t *frame;

    (void)state;
    queue_frame(&ports[0], 5, 6, 0);
    poll_port(&ports[0]);
    queue_frame(&ports[0], 6, 5, 0);
    poll_port(&ports[0]);
    assert_int_equal(drops(&ports[0], HG_DROP_SAME_PORT), 1);

    frame = queue_frame(&ports[0], 1, 2, 0);
    frame[6] |= 1;
    frame = queue_frame(&ports[0], 1, 2, 0);
    memset(frame + 6, 0, 6);
    frame = queue_frame(&ports[0], 1, 2, 0);
    memcpy(frame, (uint8_t[]){0x01, 0x80, 0xc2, 0, 0, 0x0e}, 6);
    poll_port(&ports[0]);
    assert_int_equal(drops(&ports[0], HG_DROP_BAD_SOURCE), 2);
    assert_int_equal(drops(&ports[0], HG_DROP_RESERVED_GROUP), 1);
    check_accounts();
}

static void floods_groups_and_never_learns_them(void **state)
{
    (void)state;
    memset(queue_frame(&ports[0], 1, 2, 0), 0xff, 6);
    memcpy(queue_frame(&ports[0], 1, 2, 0), (uint8_t[]){0x33, 0x33, 0, 0, 0, 1}, 6);
    poll_port(&ports[0]);
    for (unsigned i = 1; i < PORTS; i++)
        assert_int_equal(ports[i].out_n, 2);
    assert_int_equal(hg_fdb_n(hg_bridge_fdb(bridge)), 1);
    check_accounts();
}

static void counts_what_a_full_or_dead_port_loses(void **state)
{
    (void)state;
    queue_frame(&ports[1], 11, 99, 0);
    queue_frame(&ports[2], 12, 99, 0);
    poll_port(&ports[1]);
    poll_port(&ports[2]);
    ports[1].room = 3;
    atomic_store(&ports[2].port.txq_running_n, 0);
    for (uint8_t i = 0; i < 10; i++)
        queue_frame(&ports[0], 1, i % 2 == 0 ? 11 : 12, i);
    poll_port(&ports[0]);
    assert_int_equal(hg_count_get(&ports[1].txq.stats.drops.reason[HG_DROP_TX_FULL]), 2);
    assert_int_equal(hg_count_get(&ports[2].txq.stats.drops.reason[HG_DROP_PORT_DOWN]), 5);
    check_accounts();
}

static void forgets_a_port_that_leaves(void **state)
{
    (void)state;
    queue_frame(&ports[1], 11, 99, 0);
    poll_port(&ports[1]);
    hg_bridge_remove(bridge, &ports[1].port);
    assert_int_equal(hg_fdb_n(hg_bridge_fdb(bridge)), 0);
    ports[2].out_n = ports[3].out_n = 0;
    queue_frame(&ports[0], 1, 11, 0);
    poll_port(&ports[0]);
    assert_int_equal(ports[1].out_n, 0);
    assert_int_equal(ports[2].out_n, 1);
    assert_int_equal(ports[3].out_n, 1);

    for (unsigned i = 2; i < PORTS; i++)
        hg_bridge_remove(bridge, &ports[i].port);
    queue_frame(&ports[0], 1, 11, 0);
    poll_port(&ports[0]);
    assert_int_equal(drops(&ports[0], HG_DROP_NO_OTHER_PORT), 1);
    check_accounts();
}

static void gives_back_even_when_nothing_came(void **state)
{
    (void)state;
    assert_int_equal(poll_port(&ports[0]), 0);
    assert_int_equal(ports[0].done_calls, 1);
}

static void refuses_the_same_id_twice(void **state)
{
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_bridge_add(bridge, &ports[0].port, &err), -EEXIST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(floods_the_unknown_to_every_other_port, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sends_to_the_learned_port_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_the_order_of_each_output, set_up, tear_down),
        cmocka_unit_test_setup_teardown(drops_by_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(floods_groups_and_never_learns_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(counts_what_a_full_or_dead_port_loses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(forgets_a_port_that_leaves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gives_back_even_when_nothing_came, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_the_same_id_twice, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
