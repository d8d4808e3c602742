/*
 * Sessions that go well: the port as a well-behaved front-end sees it.
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "emulated.h"
#include "fixture.h"

static int set_up(void **state)
{
    *state = new_rig(&(struct rig_options){.pair_n = 1});
    return 0;
}

static int set_up_four_pairs(void **state)
{
    *state = new_rig(&(struct rig_options){.pair_n = 4});
    return 0;
}

static bool runs(const atomic_bool *running)
{
    return atomic_load(running);
}

static void say_what_they_wait_for(void **state)
{
    struct rig *rig = *state;

    assert_says(rig, "waiting", "waiting for a front-end to connect to /tmp/headgate-rig-");
    assert_true(peer_connect(&rig->peer, rig->path));
    assert_says(rig, "waiting", "connected, waiting for the features");
    assert_true(peer_init(&rig->peer));
    assert_true(
        peer_send_u64(&rig->peer, HG_VHOST_SET_FEATURES, rig->peer.features & rig->peer.offered));
    assert_says(rig, "waiting", "connected, waiting for the memory table");
    assert_true(peer_send_mem_table(&rig->peer, true));
    assert_says(rig, "waiting", "connected, waiting for a kick");
    assert_true(peer_start_ring(&rig->peer, RX));
    assert_true(peer_start_ring(&rig->peer, TX));
    assert_says(rig, "waiting", "connected, waiting for both rings");
    assert_true(peer_enable_pair(&rig->peer, 0, true));
    assert_says(rig, "up", "up: 1 queue pair");
    assert_int_equal(rig->status.queue_pairs, 1);
    assert_non_null(strstr(rig->status.peer_features, "mrg_rxbuf"));
    assert_null(strstr(rig->status.peer_features, "event_idx"));
    peer_hang_up(&rig->peer);
    assert_says(rig, "waiting", "waiting for a front-end");
    assert_true(rig_bring_up(rig));
    assert_int_equal(rig->status.reconnects, 1);
}

static void start_queues_and_say_so(void **state)
{
    struct rig *rig = *state;

    assert_int_equal(rig->changes_n, 0);
    assert_false(runs(&rig->port.rxq[0]->running));
    assert_true(rig_bring_up(rig));
    assert_true(runs(&rig->port.rxq[0]->running));
    assert_true(runs(&rig->port.txq[0]->running));
    assert_true(rig->port.rxq[0]->fd >= 0);
    assert_int_equal(rig->port.txq_running_n, 1);
    assert_int_equal(rig->port.txq[0]->offloads, HG_TX_CSUM | HG_TX_TSO4);
    assert_int_equal(rig->changes_n, 2);

    peer_hang_up(&rig->peer);
    assert_false(runs(&rig->port.rxq[0]->running));
    assert_false(runs(&rig->port.txq[0]->running));
    assert_int_equal(rig->port.txq_running_n, 0);
    assert_int_equal(rig->changes_n, 3);
}

static void carry_frames_both_ways(void **state)
{
    struct rig *rig = *state;
    const uint8_t *got;
    size_t len;

    assert_true(rig_bring_up(rig));
    peer_take_signals(rig->peer.ring[TX].call);
    peer_take_signals(rig->peer.ring[RX].call);
    for (unsigned i = 0; i < 3; i++)
        peer_transmit(&rig->peer, TX, frame, sizeof(frame) - i);
    assert_int_equal(rig_rx(rig, 0), 3);
    for (unsigned i = 0; i < 3; i++) {
        const struct hg_pkt *pkt = &rig->burst->pkt[i];

        assert_int_equal(pkt->len, sizeof(frame) - i);
        assert_int_equal(pkt->port, rig->port.id);
        assert_memory_equal(pkt->head, frame, pkt->len);
    }
    assert_int_equal(peer_used_idx(&rig->peer, TX), 3);
    assert_int_equal(peer_take_signals(rig->peer.ring[TX].call), 1);

    assert_false(rig_tx(rig, 0, frame, sizeof(frame))); /* nothing is posted */
    peer_post(&rig->peer, RX, 2);
    assert_true(rig_tx(rig, 0, frame, sizeof(frame)));
    got = peer_receive(&rig->peer, RX, &len);
    assert_non_null(got);
    assert_int_equal(len, sizeof(frame));
    assert_memory_equal(got, frame, len);
    assert_int_equal(peer_take_signals(rig->peer.ring[RX].call), 1);
    assert_int_equal(rig->port.txq[0]->stats.notifications.value, 1);
}

static void survive_a_full_eventfd(void **state)
{
    struct rig *rig = *state;
    uint64_t most = UINT64_MAX - 1;

    skip_if_emulated("no asynchronous requests");
    assert_true(rig_bring_up(rig));
    peer_take_signals(rig->peer.ring[TX].call);
    assert_int_equal(write(rig->peer.ring[TX].call, &most, sizeof(most)), sizeof(most));
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_int_equal(rig->port.rxq[0]->stats.notifications.value, 1);
}

/* "In the disabled state the back-end must not supply any new RX packets, but must process and
 * discard any TX packets." */
static void drain_rings_that_are_disabled(void **state)
{
    struct rig *rig = *state;

    assert_true(rig_bring_up(rig));
    assert_true(peer_enable_pair(&rig->peer, 0, false));
    assert_says(rig, "waiting", "to be started and enabled");
    assert_false(runs(&rig->port.txq[0]->running));
    assert_true(runs(&rig->port.rxq[0]->running));
    peer_post(&rig->peer, RX, 1);
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 0);
    assert_int_equal(rig->burst->n, 0);
    assert_int_equal(peer_used_idx(&rig->peer, TX), 1);
    assert_int_equal(rig->port.rxq[0]->stats.drops.reason[HG_DROP_QUEUE_DISABLED].value, 1);
    assert_false(rig_tx(rig, 0, frame, sizeof(frame)));
    assert_int_equal(peer_used_idx(&rig->peer, RX), 0);

    assert_true(peer_enable_pair(&rig->peer, 0, true));
    assert_says(rig, "up", "up: 1 queue pair");
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_true(rig_tx(rig, 0, frame, sizeof(frame)));
}

static void leave_a_stopped_ring_alone(void **state)
{
    struct rig *rig = *state;
    uint32_t base;

    assert_true(rig_bring_up(rig));
    peer_post(&rig->peer, RX, 4);
    for (unsigned i = 0; i < 5; i++)
        peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 5);
    assert_true(peer_get_base(&rig->peer, TX, &base));
    assert_int_equal(base, 5);
    assert_true(peer_get_base(&rig->peer, RX, &base));
    assert_int_equal(base, 0);
    assert_int_equal(rig->port.txq_running_n, 0);

    peer_take_signals(rig->peer.ring[TX].call);
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 0);
    assert_int_equal(peer_used_idx(&rig->peer, TX), 5);
    assert_false(rig_tx(rig, 0, frame, sizeof(frame)));
    assert_int_equal(peer_used_idx(&rig->peer, RX), 0);
    assert_int_equal(peer_take_signals(rig->peer.ring[TX].call), 0);

    /* And goes on where it stood: what was sent meanwhile is there. */
    assert_true(peer_start(&rig->peer));
    assert_says(rig, "up", "up: 1 queue pair");
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_true(rig_tx(rig, 0, frame, sizeof(frame)));
}

static void begin_anew_after_a_reset_of_the_driver(void **state)
{
    struct rig *rig = *state;

    assert_true(rig_bring_up(rig));
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_true(peer_stop(&rig->peer));
    peer_reset_ring(&rig->peer, RX);
    peer_reset_ring(&rig->peer, TX);
    rig->peer.features &= ~HG_BIT(HG_VIRTIO_NET_F_MRG_RXBUF); /* another driver */
    assert_true(peer_start(&rig->peer));
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_null(strstr(rig->status.peer_features, "event_idx"));
    assert_says(rig, "up", "up");
    assert_null(strstr(rig->status.peer_features, "mrg_rxbuf"));
}

static void follow_the_memory_table_while_they_run(void **state)
{
    struct rig *rig = *state;

    skip_if_emulated("lists mappings of its own");
    assert_true(rig_bring_up(rig));
    unsigned mappings = rig_count_mappings();

    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 1);
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    peer_post(&rig->peer, RX, 2);
    unsigned changes = rig->changes_n;

    peer_take_signals(rig->peer.ring[TX].kick);
    for (unsigned i = 0; i < 20; i++)
        assert_true(peer_send_mem_table(&rig->peer, true));
    assert_int_equal(rig_count_mappings(), mappings);
    assert_int_equal(rig->changes_n, changes); /* no queue stopped */
    assert_true(peer_take_signals(rig->peer.ring[TX].kick) >
                0); /* a worker that slept looks again */
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_true(rig_tx(rig, 0, frame, sizeof(frame)));
    peer_hang_up(&rig->peer);
    assert_int_equal(rig_count_mappings(), mappings - 2);
}

static void serve_as_many_pairs_as_are_enabled(void **state)
{
    struct rig *rig = *state;
    uint64_t n;

    assert_true(rig_bring_up(rig));
    assert_says(rig, "up", "up: 4 queue pairs");
    assert_int_equal(rig->port.txq_running_n, 4);
    assert_true(peer_ask_u64(&rig->peer, HG_VHOST_GET_QUEUE_NUM, &n));
    assert_int_equal(n, 4);
    assert_true(peer_enable_pair(&rig->peer, 2, false));
    assert_says(rig, "up", "up: 3 queue pairs");
    assert_int_equal(rig->port.txq_running_n, 2);
    peer_transmit(&rig->peer, 2 * 3 + 1, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 3), 1);
    assert_true(peer_send(&rig->peer, HG_VHOST_RESET_OWNER, 0, NULL, 0, NULL, 0));
    assert_says(rig, "waiting", "enabled");
    assert_int_equal(rig->port.txq_running_n, 0);
}

static void offer_many_queues_only_when_there_are(void **state)
{
    struct rig *rig = *state;

    assert_true(rig_bring_up(rig));
    assert_int_equal(rig->peer.offered & HG_BIT(HG_VIRTIO_NET_F_MQ), 0);
    assert_int_equal(rig->peer.offered & HG_BIT(26), 0); /* LOG_ALL */
}

static void exchange_descriptors_while_they_run(void **state)
{
    struct rig *rig = *state;
    int call = eventfd(0, EFD_NONBLOCK);
    int kick = eventfd(0, EFD_NONBLOCK);

    assert_true(rig_bring_up(rig));
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_true(peer_send_fd(&rig->peer, HG_VHOST_SET_VRING_CALL, TX, call));
    rig_pump(rig);
    assert_int_equal(peer_take_signals(call), 1); /* one may have been lost */
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_int_equal(peer_take_signals(call), 1);

    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    unsigned changes = rig->changes_n;

    assert_true(peer_send_fd(&rig->peer, HG_VHOST_SET_VRING_KICK, TX, kick));
    rig_pump(rig);
    assert_true(rig->changes_n > changes);
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_int_equal(peer_used_idx(&rig->peer, TX), 2);

    assert_true(peer_send_fd(&rig->peer, HG_VHOST_SET_VRING_KICK, TX, -1));
    assert_true(peer_send_fd(&rig->peer, HG_VHOST_SET_VRING_CALL, TX, -1));
    rig_pump(rig);
    assert_int_equal(rig->port.rxq[0]->fd, -1);
    peer_take_signals(call);
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_int_equal(peer_take_signals(call), 0);
    close(call);
    close(kick);
}

static void move_a_ring_while_it_runs(void **state)
{
    struct rig *rig = *state;

    assert_true(rig_bring_up(rig));
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 1);
    memcpy(rig->peer.mem + 5 * PEER_RING_BYTES, rig->peer.mem + rig->peer.ring[TX].at,
           PEER_RING_BYTES);
    rig->peer.ring[TX].at = UINT64_C(5) * PEER_RING_BYTES;
    assert_true(peer_send_addr(&rig->peer, TX));
    rig_pump(rig);
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_int_equal(peer_used_idx(&rig->peer, TX), 2);
}

static void report_a_ring_that_its_guest_broke(void **state)
{
    struct rig *rig = *state;
    uint32_t base;

    assert_true(rig_bring_up(rig));
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    peer_push_avail(&rig->peer, TX, 999);
    assert_int_equal(rig_rx(rig, 0), 1); /* what came before it is good */
    assert_int_equal(rig_rx(rig, 0), 0);
    rig_run_ms(rig, 300);
    assert_says(rig, "broken",
                "ring 1 is broken: descriptor index not below the ring's size (999)");
    assert_int_equal(peer_take_signals(rig->peer.ring[TX].err), 1);
    assert_int_equal(peer_take_signals(rig->peer.ring[RX].err), 0);
    assert_false(runs(&rig->port.rxq[0]->running));
    assert_true(runs(&rig->port.txq[0]->running)); /* this ring alone */
    peer_post(&rig->peer, RX, 1);
    assert_true(rig_tx(rig, 0, frame, sizeof(frame)));

    assert_true(peer_get_base(&rig->peer, TX, &base));
    peer_reset_ring(&rig->peer, TX);
    assert_true(peer_start_ring(&rig->peer, TX));
    assert_says(rig, "up", "up: 1 queue pair");
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 1);
}

static void acknowledge_when_asked(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_msg msg;
    uint64_t mtu = 1500;

    assert_true(peer_connect(&rig->peer, rig->path));
    assert_true(peer_send(&rig->peer, HG_VHOST_SET_OWNER, HG_VHOST_NEED_REPLY, NULL, 0, NULL, 0));
    assert_true(peer_init(&rig->peer)); /* no answer before REPLY_ACK is agreed */
    assert_true(peer_send(&rig->peer, HG_VHOST_SET_OWNER, HG_VHOST_NEED_REPLY, NULL, 0, NULL, 0));
    assert_true(peer_recv(&rig->peer, &msg));
    assert_int_equal(msg.hdr.request, HG_VHOST_SET_OWNER);
    assert_int_equal(msg.hdr.flags, 5);
    assert_int_equal(msg.hdr.size, 8);
    assert_int_equal(msg.u64, 0);
    assert_true(peer_send(&rig->peer, HG_VHOST_NET_SET_MTU, HG_VHOST_NEED_REPLY, &mtu, 8, NULL, 0));
    assert_true(peer_recv(&rig->peer, &msg));
    assert_int_equal(msg.u64, 0);
    /* A request with an answer of its own has no other. */
    assert_true(
        peer_send(&rig->peer, HG_VHOST_GET_FEATURES, HG_VHOST_NEED_REPLY, NULL, 0, NULL, 0));
    assert_true(peer_recv(&rig->peer, &msg));
    assert_int_equal(msg.u64, rig->peer.offered);
    assert_true(peer_ask_u64(&rig->peer, HG_VHOST_GET_QUEUE_NUM, &mtu));
}

static void decline_an_mtu_and_go_on(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_msg msg;
    uint64_t mtus[] = {67, 65536, UINT64_MAX};

    assert_true(rig_bring_up(rig));
    for (unsigned i = 0; i < HG_ARRAY_N(mtus); i++) {
        assert_true(
            peer_send(&rig->peer, HG_VHOST_NET_SET_MTU, HG_VHOST_NEED_REPLY, &mtus[i], 8, NULL, 0));
        assert_true(peer_recv(&rig->peer, &msg));
        assert_int_equal(msg.u64, 1);
    }
    assert_says(rig, "up", "up");
}

static void enable_all_rings_of_a_front_end_without_protocol_features(void **state)
{
    struct rig *rig = *state;

    rig->peer.features &= ~HG_BIT(HG_VHOST_USER_F_PROTOCOL_FEATURES);
    assert_true(rig_bring_up(rig));
}

static void start_in_whatever_order_it_is_said(void **state)
{
    struct rig *rig = *state;

    assert_true(peer_connect(&rig->peer, rig->path));
    assert_true(peer_init(&rig->peer));
    assert_true(
        peer_send_u64(&rig->peer, HG_VHOST_SET_FEATURES, rig->peer.features & rig->peer.offered));
    assert_true(peer_enable_pair(&rig->peer, 0, true));
    for (unsigned i = 0; i < 2; i++) {
        assert_true(peer_send_fd(&rig->peer, HG_VHOST_SET_VRING_KICK, i, rig->peer.ring[i].kick));
        assert_true(peer_send_addr(&rig->peer, i));
        assert_true(peer_send_state(&rig->peer, HG_VHOST_SET_VRING_NUM, i, PEER_RING_SIZE));
    }
    assert_says(rig, "waiting", "memory table");
    assert_true(peer_send_mem_table(&rig->peer, true));
    assert_says(rig, "up", "up: 1 queue pair");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(say_what_they_wait_for),
        CASE(start_queues_and_say_so),
        CASE(carry_frames_both_ways),
        CASE(survive_a_full_eventfd),
        CASE(drain_rings_that_are_disabled),
        CASE(leave_a_stopped_ring_alone),
        CASE(begin_anew_after_a_reset_of_the_driver),
        CASE(follow_the_memory_table_while_they_run),
        cmocka_unit_test_setup_teardown(serve_as_many_pairs_as_are_enabled, set_up_four_pairs,
                                        tear_down),
        CASE(offer_many_queues_only_when_there_are),
        CASE(exchange_descriptors_while_they_run),
        CASE(move_a_ring_while_it_runs),
        CASE(report_a_ring_that_its_guest_broke),
        CASE(acknowledge_when_asked),
        CASE(decline_an_mtu_and_go_on),
        CASE(enable_all_rings_of_a_front_end_without_protocol_features),
        CASE(start_in_whatever_order_it_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
