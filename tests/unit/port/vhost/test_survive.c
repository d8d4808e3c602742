/*
 * Front-ends that hang up, fall silent or make noise at every point. After each of them the port
 * has given everything back and serves the next one.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fixture.h"

static int set_up(void **state)
{
    *state = new_rig(&(struct rig_options){.pair_n = 2});
    return 0;
}

/* Hangs up before the first message, before the second, and so on to the end of a session. */
static void survive_a_hang_up_at_every_message(void **state)
{
    struct rig *rig = *state;
    unsigned fds = rig_count_fds();
    unsigned mappings = rig_count_mappings();
    bool whole = false;

    for (int budget = 0; !whole; budget++) {
        assert_true(budget < 200);
        rig->peer.send_budget = budget;
        whole = rig_bring_up(rig) && peer_stop(&rig->peer);
        peer_hang_up(&rig->peer);
        assert_int_equal(rig_count_fds(), fds);
        assert_int_equal(rig_count_mappings(), mappings);
        rig_status(rig);
        assert_string_equal(rig->status.state, "waiting");
    }
    rig->peer.send_budget = -1;
}

static void survive_many_reconnections(void **state)
{
    struct rig *rig = *state;
    unsigned fds = rig_count_fds();
    unsigned mappings = rig_count_mappings();

    for (unsigned i = 0; i < 500; i++) {
        for (unsigned ring = 0; ring < 4; ring++)
            peer_reset_ring(&rig->peer, ring);
        assert_true(rig_bring_up(rig));
        peer_transmit(&rig->peer, 1, frame, sizeof(frame));
        assert_int_equal(rig_rx(rig, 0), 1);
        if (i % 3 == 0)
            assert_true(peer_send_mem_table(&rig->peer, false));
        if (i % 5 == 0)
            assert_true(peer_send_u64(&rig->peer, 99, 0));
        peer_hang_up(&rig->peer);
    }
    assert_int_equal(rig_count_fds(), fds);
    assert_int_equal(rig_count_mappings(), mappings);
}

static void wait_for_a_peer_that_falls_silent(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_hdr hdr = {HG_VHOST_SET_FEATURES, HG_VHOST_VERSION, 8};
    uint64_t features;
    uint8_t bytes[20];
    struct peer second;

    features = RIG_FEATURES & ~HG_BIT(HG_VIRTIO_NET_F_MQ);
    memcpy(bytes, &hdr, 12);
    memcpy(bytes + 12, &features, 8);
    assert_true(peer_connect(&rig->peer, rig->path));
    assert_true(peer_init(&rig->peer));
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        assert_true(peer_send_raw(&rig->peer, bytes + i, 1, NULL, 0));
        rig_run_ms(rig, 2);
        assert_false(peer_was_closed(&rig->peer));
    }
    rig_status(rig);
    assert_string_equal(rig->status.text, "connected, waiting for the memory table");

    /* The place is taken meanwhile, and the second peer learns it. */
    assert_true(peer_new(&second, 0, 0, rig_pump, rig));
    assert_true(peer_connect(&second, rig->path));
    assert_true(peer_was_closed(&second));
    peer_free(&second);
    assert_false(peer_was_closed(&rig->peer));
    rig->peer.features = features;
    assert_true(peer_start(&rig->peer));
    rig_status(rig);
    assert_string_equal(rig->status.state, "up");
}

static void give_up_a_peer_that_never_reads(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_hdr hdr = {HG_VHOST_GET_FEATURES, HG_VHOST_VERSION, 0};
    int small = 4096;
    unsigned n = 0;

    assert_true(peer_connect(&rig->peer, rig->path));
    assert_int_equal(setsockopt(rig->peer.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    while (peer_send_raw(&rig->peer, &hdr, sizeof(hdr), NULL, 0)) {
        rig_pump(rig);
        assert_true(++n < 1000000);
    }
    rig_status(rig);
    assert_string_equal(rig->status.state, "broken");
    assert_non_null(strstr(rig->status.text, "the peer does not read"));
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void survive_noise(void **state)
{
    struct rig *rig = *state;
    unsigned fds = rig_count_fds();
    uint32_t seed = 1;

    for (unsigned i = 0; i < 300; i++) {
        uint8_t bytes[600];
        size_t n = next_random(&seed) % sizeof(bytes) + 1;

        for (size_t k = 0; k < n; k++)
            bytes[k] = (uint8_t)next_random(&seed);
        if (i % 2 == 0 && n >= 12) { /* a plausible header */
            struct hg_vhost_hdr hdr = {next_random(&seed) % 45, 1, next_random(&seed) % 50};

            memcpy(bytes, &hdr, sizeof(hdr));
        }
        assert_true(peer_connect(&rig->peer, rig->path));
        peer_send_raw(&rig->peer, bytes, n, &rig->peer.mem_fd, i % 3 == 0 ? 1 : 0);
        rig_pump(rig);
        peer_hang_up(&rig->peer);
    }
    assert_int_equal(rig_count_fds(), fds);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down_recovered)
    const struct CMUnitTest tests[] = {
        CASE(survive_a_hang_up_at_every_message),
        CASE(survive_many_reconnections),
        CASE(wait_for_a_peer_that_falls_silent),
        CASE(give_up_a_peer_that_never_reads),
        CASE(survive_noise),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
