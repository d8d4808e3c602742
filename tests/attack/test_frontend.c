/*
 * A front-end that attacks through its socket, with traffic on the stage. What a single wrong
 * message leads to is tested without a worker, in tests/unit/port/vhost/test_refuse.c and
 * test_survive.c.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attack/fixture.h"

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* DPDK's CVE-2019-14818 and CVE-2022-0669: descriptors that stay. 10,000 sessions, ended after any
 * of their messages, some of them by a message with descriptors that nobody asked for. */
static void sessions_that_come_and_go(void **state)
{
    int surplus[] = {attacker()->mem_fd, attacker()->ring[0].kick, attacker()->ring[1].call};
    uint8_t payload[64] = {0};
    unsigned fds;
    unsigned mappings;

    (void)state;
    peer_hang_up(attacker());
    fds = rig_count_fds();
    mappings = rig_count_mappings();
    for (unsigned i = 0; i < 10000; i++) {
        attacker()->send_budget = (int)(i % 29);
        if (rig_bring_up(&stage.rig[ATTACKER]) || i % 2 == 0) {
            attacker()->send_budget = -1;
            peer_send(attacker(), 1 + i % 43, 0, payload, i % 64, surplus, 1 + i % 3);
        }
        peer_hang_up(attacker());
        if (i % 100 == 0)
            stage_flow(&stage);
    }
    attacker()->send_budget = -1;
    rig_pump(&stage.rig[ATTACKER]);
    assert_int_equal(rig_count_fds(), fds);
    assert_int_equal(rig_count_mappings(), mappings);
    stage_recover(&stage);
}

/* Of those that came later to the protocol. */
static void any_later_message(uint32_t *seed)
{
    struct peer *peer = attacker();
    unsigned half = next_random(seed) % 2;
    struct hg_vhost_mem_reg slot = {.region = {half == 0 ? 0 : PEER_HIGH, PEER_HALF_BYTES,
                                               PEER_USER + (uint64_t)half * PEER_HALF_BYTES,
                                               (uint64_t)half * PEER_HALF_BYTES}};
    uint64_t ignored;

    switch (next_random(seed) % 6) {
    case 0:
        peer_send(peer, HG_VHOST_ADD_MEM_REG, 0, &slot, sizeof(slot), &peer->mem_fd, 1);
        break;
    case 1:
        peer_send(peer, HG_VHOST_REM_MEM_REG, 0, &slot, sizeof(slot), NULL, 0);
        break;
    case 2:
        peer_send_u64(peer, HG_VHOST_SEND_RARP, next_random(seed));
        break;
    case 3:
        peer_send(peer, HG_VHOST_RESET_DEVICE, 0, NULL, 0, NULL, 0);
        break;
    case 4:
        peer_send_u64(peer, HG_VHOST_SET_STATUS, next_random(seed) % 256);
        break;
    default:
        peer_ask_u64(peer, HG_VHOST_GET_STATUS, &ignored);
    }
}

/* One sound message after the other in an order that makes no sense. */
static void any_message(uint32_t *seed)
{
    struct peer *peer = attacker();
    unsigned ring = next_random(seed) % 2;
    uint64_t ignored;
    uint32_t base;

    switch (next_random(seed) % 18) {
    case 0:
        peer_send_mem_table(peer, true);
        break;
    case 1:
        peer_send_addr(peer, ring);
        break;
    case 2:
        peer_send_state(peer, HG_VHOST_SET_VRING_NUM, ring, peer->ring[ring].num);
        break;
    case 3:
        peer_send_state(peer, HG_VHOST_SET_VRING_BASE, ring, next_random(seed) % 65536);
        break;
    case 4:
        peer_get_base(peer, ring, &base);
        break;
    case 5:
    case 6:
        peer_send_fd(peer, HG_VHOST_SET_VRING_KICK, ring, peer->ring[ring].kick);
        break;
    case 7:
        peer_send_fd(peer, HG_VHOST_SET_VRING_CALL, ring, peer->ring[ring].call);
        break;
    case 8:
        peer_send_fd(peer, HG_VHOST_SET_VRING_ERR, ring, -1);
        break;
    case 9:
        peer_send_fd(peer, HG_VHOST_SET_VRING_KICK, ring, -1);
        break;
    case 10:
        peer_enable_pair(peer, 0, next_random(seed) % 4 != 0);
        break;
    case 11:
        peer_ask_u64(peer, HG_VHOST_GET_FEATURES, &ignored);
        break;
    case 12:
        peer_send(peer, HG_VHOST_RESET_OWNER, 0, NULL, 0, NULL, 0);
        break;
    case 13:
        peer_send_u64(peer, HG_VHOST_SET_FEATURES, peer->features & peer->offered);
        break;
    default:
        any_later_message(seed);
    }
}

static void messages_in_any_order(void **state)
{
    uint8_t frame[100] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5};
    uint32_t seed = 7;

    (void)state;
    for (unsigned session = 0; session < 240; session++) {
        attacker()->packed = session % 4 >= 2;
        if (session % 2 == 0)
            stage_bring_up(&stage, ATTACKER, PEER_RING_SIZE,
                           RIG_FEATURES |
                               (attacker()->packed ? HG_BIT(HG_VIRTIO_F_RING_PACKED) : 0));
        else
            assert_true(peer_connect(attacker(), stage.rig[ATTACKER].path) &&
                        peer_init(attacker()));
        for (unsigned i = 0; i < 60 && attacker()->fd >= 0; i++) {
            any_message(&seed);
            peer_transmit(attacker(), GUEST_TX, frame, sizeof(frame));
            peer_post(attacker(), GUEST_RX, 1);
            peer_kick(attacker(), GUEST_TX);
            if (peer_was_closed(attacker()))
                break;
        }
        stage_flow(&stage);
    }
    attacker()->packed = false;
    stage_recover(&stage);
}

/* Silent in the middle of each message of a session, for as long as the others need to be
 * served. */
static void silence_inside_a_message(void **state)
{
    struct hg_vhost_hdr hdr = {HG_VHOST_SET_MEM_TABLE, HG_VHOST_VERSION, 72};
    uint8_t bytes[12 + 72] = {0};

    (void)state;
    memcpy(bytes, &hdr, sizeof(hdr));
    for (size_t n = 1; n < sizeof(bytes); n += 5) {
        assert_true(peer_connect(attacker(), stage.rig[ATTACKER].path));
        assert_true(peer_send_raw(attacker(), bytes, n, &attacker()->mem_fd, 1));
        for (unsigned i = 0; i < 5; i++) {
            rig_pump(&stage.rig[ATTACKER]);
            stage_flow(&stage);
        }
        assert_false(peer_was_closed(attacker()));
    }
    stage_recover(&stage);
}

/* Requests without end whose answers nobody reads: bounded, then closed. */
static void answers_that_nobody_reads(void **state)
{
    struct hg_vhost_hdr hdr = {HG_VHOST_GET_QUEUE_NUM, HG_VHOST_VERSION, 0};
    int small = 4096;
    unsigned n = 0;

    (void)state;
    assert_true(peer_connect(attacker(), stage.rig[ATTACKER].path));
    assert_int_equal(setsockopt(attacker()->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    while (peer_send_raw(attacker(), &hdr, sizeof(hdr), NULL, 0)) {
        rig_pump(&stage.rig[ATTACKER]);
        if (++n % 1000 == 0)
            stage_flow(&stage);
        assert_true(n < 1000000);
    }
    rig_status(&stage.rig[ATTACKER]);
    assert_non_null(strstr(stage.rig[ATTACKER].status.text, "the peer does not read"));
    stage_recover(&stage);
}

/* Kick and call descriptors exchanged as fast as the socket takes it, while both are in use. */
static void descriptors_exchanged_without_end(void **state)
{
    (void)state;
    stage_bring_up(&stage, ATTACKER, PEER_RING_SIZE, RIG_FEATURES);
    for (unsigned i = 0; i < 2000; i++) {
        unsigned ring = i % 2;

        assert_true(peer_send_fd(attacker(),
                                 i % 4 < 2 ? HG_VHOST_SET_VRING_CALL : HG_VHOST_SET_VRING_KICK,
                                 ring, attacker()->ring[ring].call));
        rig_pump(&stage.rig[ATTACKER]);
        if (i % 20 == 0)
            stage_flow(&stage);
    }
    stage_recover(&stage);
}

/* All parts of both rings in one place, and buffers in it too: what the device writes to one part
 * is read as another. The guest can only confuse itself. */
static void rings_on_top_of_each_other(void **state)
{
    uint8_t frame[100] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5};

    (void)state;
    for (uint16_t num = 1; num <= 256; num *= 2) {
        stage_bring_up(&stage, ATTACKER, num, RIG_FEATURES);
        for (uint32_t ring = 0; ring < 2; ring++) {
            struct hg_vhost_vring_addr addr = {.index = ring,
                                               .desc = PEER_USER + 4096,
                                               .avail = PEER_USER + 4096 + 64 * ring,
                                               .used = PEER_USER + 4096 + 32 * ring};

            assert_true(
                peer_send(attacker(), HG_VHOST_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL, 0));
        }
        rig_pump(&stage.rig[ATTACKER]);
        for (unsigned i = 0; i < 64; i++) {
            uint16_t *words = peer_at(attacker(), 4096);

            for (unsigned k = 0; k < 256; k++) /* plausible descriptors, heads and indices */
                words[k] = (uint16_t)(k % 8 < 4    ? (k % 8 == 0 ? 4096 : 0)
                                      : k % 8 == 4 ? 512
                                                   : i % 3);
            peer_transmit(&stage.rig[VICTIM].peer, GUEST_TX, frame, sizeof(frame));
            peer_kick(&stage.rig[VICTIM].peer, GUEST_TX);
            peer_kick(attacker(), GUEST_TX);
            stage_flow(&stage);
        }
        stage_recover(&stage);
    }
}

/* Eventfds that are full, and that the front-end has made to block after handing them over. */
static void fill_and_block(int fd)
{
    uint64_t most = UINT64_MAX - 1;

    peer_take_signals(fd);
    assert_int_equal(write(fd, &most, sizeof(most)), sizeof(most));
    assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK), 0);
}

static void eventfds_that_block(void **state)
{
    uint8_t frame[100] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5};
    int before[4] = {attacker()->ring[0].call, attacker()->ring[1].call, attacker()->ring[1].kick,
                     attacker()->ring[1].err};

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(before); i++)
        fill_and_block(before[i]);
    /* The worker notifies on both rings. */
    peer_post(attacker(), GUEST_RX, 4);
    peer_transmit(attacker(), GUEST_TX, frame, sizeof(frame));
    peer_transmit(&stage.rig[VICTIM].peer, GUEST_TX, frame, sizeof(frame));
    stage_until_taken(&stage, VICTIM, GUEST_TX);
    /* Control kicks after a pause, makes up for an interrupt, and reports a broken ring. */
    assert_true(peer_send_mem_table(attacker(), true));
    assert_true(peer_send_fd(attacker(), HG_VHOST_SET_VRING_CALL, GUEST_TX, before[1]));
    rig_pump(&stage.rig[ATTACKER]);
    fill_and_block(before[1]);
    peer_push_avail(attacker(), GUEST_TX, 999);
    stage_flow(&stage);
    rig_run_ms(&stage.rig[ATTACKER], 500);
    rig_status(&stage.rig[ATTACKER]);
    assert_string_equal(stage.rig[ATTACKER].status.state, "broken");
    stage_flow(&stage);
    for (unsigned i = 0; i < HG_ARRAY_N(before); i++) {
        assert_int_equal(fcntl(before[i], F_SETFL, O_NONBLOCK), 0);
        peer_take_signals(before[i]);
    }
    stage_recover(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_that_come_and_go),
        cmocka_unit_test(messages_in_any_order),
        cmocka_unit_test(silence_inside_a_message),
        cmocka_unit_test(answers_that_nobody_reads),
        cmocka_unit_test(descriptors_exchanged_without_end),
        cmocka_unit_test(rings_on_top_of_each_other),
        cmocka_unit_test(eventfds_that_block),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
