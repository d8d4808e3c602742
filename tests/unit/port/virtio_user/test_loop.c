/*
 * A virtio-user port and a vhost-user port, guest and switch, on one event loop: sessions in both
 * roles, frames of all sizes both ways with their offload requests, and a switch that goes away and
 * comes back.
 */
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "emulated.h"
#include "peer/options.h"
#include "port/vhost/vhost.h"
#include "port/virtio_user/virtio_user.h"

enum { WAIT_MS = 5000, FRAMES_N = 300 };

struct place {
    struct event_base *loop;
    struct hg_port_host host;
    char dir[64];
    char path[96];
    struct hg_port guest;                                     /* virtio-user */
    enum { PACKED_ALLOW, PACKED_REQUIRE, PACKED_OFF } packed; /* of the guest */
    struct hg_port back;                                      /* vhost-user */
    unsigned changes_n;
    struct hg_burst *burst;
};

static void changed(struct hg_port *port, void *ctx)
{
    struct place *place = ctx;

    (void)port;
    place->changes_n++;
}

static void open_back(struct place *place, bool client, unsigned pair_n)
{
    const struct hg_port_driver *driver = &hg_vhost_user_driver;
    union hg_port_value values[OPTIONS_MAX];
    struct hg_err err;

    option_presets(driver, values);
    option_value(driver, values, "socket")->string = place->path;
    option_value(driver, values, "role")->uint = client;
    option_value(driver, values, "queues")->uint = pair_n;
    place->back = (struct hg_port){.name = "back", .id = 1, .host = &place->host};
    if (hg_vhost_user_driver.open(&place->back, values, &err) != 0)
        fail_msg("%s", err.text);
}

static void open_guest(struct place *place, bool server, unsigned pair_n, unsigned queue_size)
{
    const struct hg_port_driver *driver = &hg_virtio_user_driver;
    union hg_port_value values[OPTIONS_MAX];
    struct hg_err err;

    option_presets(driver, values);
    option_value(driver, values, "socket")->string = place->path;
    option_value(driver, values, "role")->uint = server;
    option_value(driver, values, "queues")->uint = pair_n;
    option_value(driver, values, "queue_size")->uint = queue_size;
    option_value(driver, values, "packed")->uint = place->packed;
    place->guest = (struct hg_port){.name = "guest", .id = 2, .host = &place->host};
    if (hg_virtio_user_driver.open(&place->guest, values, &err) != 0)
        fail_msg("%s", err.text);
}

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof(*place));

    hg_log_set_level(HG_LOG_ERROR);
    strcpy(place->dir, "/tmp/headgate-loop-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    snprintf(place->path, sizeof(place->path), "%s/sock", place->dir);
    place->loop = event_base_new();
    place->host =
        (struct hg_port_host){.loop = place->loop, .queues_changed = changed, .ctx = place};
    place->burst = aligned_alloc(alignof(struct hg_burst), sizeof(*place->burst));
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;

    if (place->guest.driver_data != NULL)
        hg_virtio_user_driver.close(&place->guest);
    if (place->back.driver_data != NULL)
        hg_vhost_user_driver.close(&place->back);
    event_base_free(place->loop);
    assert_int_equal(rmdir(place->dir), 0); /* no socket stays behind */
    free(place->burst);
    free(place);
    return 0;
}

/* Runs the loop until the guest's port is in `state`. */
static void wait_for(struct place *place, const char *wanted)
{
    uint64_t end_ns = hg_now_ns() + WAIT_MS * HG_NS_PER_MS;
    struct hg_port_status status = {0};

    while (hg_now_ns() < end_ns) {
        hg_virtio_user_driver.status(&place->guest, &status);
        if (strcmp(status.state, wanted) == 0)
            return;
        event_base_loop(place->loop, EVLOOP_NONBLOCK);
        usleep(1000);
    }
    fail_msg("the port is '%s' (%s), expected '%s'", status.state, status.text, wanted);
}

static uint8_t byte_of(uint32_t number, uint32_t at)
{
    return (uint8_t)(number * 37 + at * 11 + (at >> 8));
}

static uint32_t len_of(uint32_t number)
{
    static const uint32_t special[] = {14,   60,   192,   193,   2099, 2100, 2101,
                                       4212, 9014, 65535, 65549, 64,   1514};

    return number % 3 == 0 ? special[number / 3 % HG_ARRAY_N(special)]
                           : 60 + number * 2654435761u % (number % 5 == 0 ? 60000 : 1500);
}

static struct hg_offload offload_of(uint32_t number)
{
    if (len_of(number) < 100 || number % 2 == 0)
        return (struct hg_offload){0};
    return (struct hg_offload){
        .flags = HG_OL_NEEDS_CSUM,
        .gso = number % 4 == 1 ? HG_GSO_TCP4 : HG_GSO_TCP6,
        .gso_size = 1448,
        .csum_start = 34,
        .csum_offset = 16,
    };
}

static void send_frame(struct hg_txq *txq, uint32_t number, unsigned *sent_n)
{
    static uint8_t frame[HG_FRAME_BYTES_MAX];
    static struct hg_pkt pkt;
    struct hg_pkt *pkts[] = {&pkt};
    struct hg_seg segs[3];
    uint32_t len = len_of(number);
    uint32_t at;

    for (uint32_t i = 0; i < len; i++)
        frame[i] = byte_of(number, i);
    pkt = (struct hg_pkt){.len = len, .head_len = (uint16_t)hg_min_u32(len, HG_HEAD_BYTES)};
    memcpy(pkt.head, frame, pkt.head_len);
    pkt.seg = segs;
    for (at = pkt.head_len; at < len; at += segs[pkt.seg_n++].len)
        segs[pkt.seg_n] =
            (struct hg_seg){frame + at, pkt.seg_n == 2 ? len - at : 1 + (len - at) / 3};
    pkt.ol = offload_of(number);
    *sent_n += txq->tx(txq, pkts, 1);
}

static void check_frame(const struct hg_pkt *pkt, uint32_t number, uint16_t port)
{
    static uint8_t frame[HG_FRAME_BYTES_MAX];
    struct hg_offload expected = offload_of(number);
    uint32_t at = pkt->head_len;

    assert_int_equal(pkt->len, len_of(number));
    assert_int_equal(pkt->head_len, hg_min_u32(pkt->len, HG_HEAD_BYTES));
    assert_int_equal(pkt->port, port);
    assert_memory_equal(&pkt->ol, &expected, sizeof(expected));
    memcpy(frame, pkt->head, at);
    for (unsigned i = 0; i < pkt->seg_n; i++) {
        memcpy(frame + at, pkt->seg[i].addr, pkt->seg[i].len);
        at += pkt->seg[i].len;
    }
    assert_int_equal(at, pkt->len);
    for (uint32_t i = 0; i < at; i++)
        if (frame[i] != byte_of(number, i))
            fail_msg("frame %u of %u bytes differs at byte %u", number, at, i);
}

/* FRAMES_N frames from one queue to the other, as many under way as the rings take. */
static void pass(struct place *place, struct hg_txq *txq, struct hg_rxq *rxq)
{
    unsigned sent_n = 0, came_n = 0, idle_n = 0;

    assert_true(atomic_load(&txq->running) && atomic_load(&rxq->running));
    while (came_n < FRAMES_N) {
        unsigned before_n;

        do {
            before_n = sent_n;
            if (sent_n < FRAMES_N)
                send_frame(txq, sent_n, &sent_n);
        } while (sent_n != before_n);
        unsigned n = rxq->rx(rxq, place->burst);

        for (unsigned i = 0; i < n; i++)
            check_frame(&place->burst->pkt[i], came_n++, rxq->port->id);
        rxq->done(rxq);
        idle_n = n == 0 ? idle_n + 1 : 0;
        assert_true(idle_n < 10);
    }
    assert_int_equal(hg_count_get(&rxq->stats.packets) % FRAMES_N, 0);
    for (unsigned i = 0; i < HG_DROP_N; i++) {
        assert_int_equal(hg_count_get(&rxq->stats.drops.reason[i]), 0);
        assert_int_equal(hg_count_get(&txq->stats.drops.reason[i]), 0);
    }
}

static void pass_both_ways(struct place *place, unsigned pair_n)
{
    for (unsigned i = 0; i < pair_n; i++) {
        pass(place, place->guest.txq[i], place->back.rxq[i]);
        pass(place, place->back.txq[i], place->guest.rxq[i]);
    }
}

static void guest_connects(void **state)
{
    struct place *place = *state;
    struct hg_port_status status;

    open_back(place, false, 1);
    open_guest(place, false, 1, 256);
    wait_for(place, "up");
    hg_virtio_user_driver.status(&place->guest, &status);
    assert_string_equal(status.text, "up: 1 queue pair");
    assert_non_null(strstr(status.peer_features, "mrg_rxbuf"));
    assert_int_equal(atomic_load(&place->guest.txq[0]->offloads), HG_TX_ALL);
    pass_both_ways(place, 1);
}

static void either_format(void **state)
{
    static const struct {
        unsigned packed;
        bool has;
    } cases[] = {{PACKED_ALLOW, true}, {PACKED_REQUIRE, true}, {PACKED_OFF, false}};
    struct place *place = *state;

    open_back(place, false, 1);
    for (unsigned i = 0; i < HG_ARRAY_N(cases); i++) {
        struct hg_port_status status;

        place->packed = cases[i].packed;
        open_guest(place, false, 1, 256);
        wait_for(place, "up");
        hg_virtio_user_driver.status(&place->guest, &status);
        assert_int_equal(strstr(status.peer_features, "ring_packed") != NULL, cases[i].has);
        pass(place, place->guest.txq[0], place->back.rxq[0]);
        pass(place, place->back.txq[0], place->guest.rxq[0]);
        hg_virtio_user_driver.close(&place->guest);
    }
}

static void guest_listens(void **state)
{
    struct place *place = *state;

    open_guest(place, true, 4, 64);
    wait_for(place, "waiting");
    open_back(place, true, 4);
    wait_for(place, "up");
    pass_both_ways(place, 4);
}

static void as_many_pairs_as_both_have(void **state)
{
    struct place *place = *state;

    skip_if_emulated("maps files of hugepages at addresses that are not aligned to them");
    open_back(place, false, 2);
    open_guest(place, false, 3, 1024);
    wait_for(place, "up");
    assert_int_equal(atomic_load(&place->guest.txq_running_n), 2);
    assert_false(atomic_load(&place->guest.rxq[2]->running));
    pass_both_ways(place, 2);
}

static void back_end_comes_back(void **state)
{
    struct place *place = *state;
    struct hg_port_status status;

    open_back(place, false, 1);
    open_guest(place, false, 1, 256);
    wait_for(place, "up");
    for (unsigned round = 1; round <= 3; round++) {
        unsigned sent_n = 0;

        send_frame(place->guest.txq[0], 0, &sent_n); /* under way when the back-end goes */
        hg_vhost_user_driver.close(&place->back);
        wait_for(place, "waiting");
        assert_false(atomic_load(&place->guest.rxq[0]->running));
        assert_int_equal(atomic_load(&place->guest.txq_running_n), 0);
        send_frame(place->guest.txq[0], 0, &sent_n);
        assert_int_equal(sent_n, 1); /* nothing is taken by a queue that does not run */
        assert_int_equal(place->guest.rxq[0]->rx(place->guest.rxq[0], place->burst), 0);
        place->guest.rxq[0]->done(place->guest.rxq[0]);

        open_back(place, false, 1);
        wait_for(place, "up");
        hg_virtio_user_driver.status(&place->guest, &status);
        assert_int_equal(status.reconnects, round);
        pass(place, place->back.txq[0], place->guest.rxq[0]);
    }
}

/* Asleep on both sides: each frame must wake the other through its descriptor. */
static void wakes_up(void **state)
{
    struct place *place = *state;

    open_back(place, false, 1);
    open_guest(place, false, 1, 256);
    wait_for(place, "up");
    for (unsigned i = 0; i < 20; i++) {
        struct hg_rxq *rxq = i % 2 ? place->guest.rxq[0] : place->back.rxq[0];
        struct hg_txq *txq = i % 2 ? place->back.txq[0] : place->guest.txq[0];
        unsigned sent_n = 0;
        uint64_t signals = 0;

        while (read(rxq->fd, &signals, sizeof(signals)) > 0)
            ;
        assert_false(rxq->arm(rxq));
        send_frame(txq, i, &sent_n);
        assert_int_equal(read(rxq->fd, &signals, sizeof(signals)), sizeof(signals));
        rxq->disarm(rxq);
        assert_int_equal(rxq->rx(rxq, place->burst), 1);
        check_frame(&place->burst->pkt[0], i, rxq->port->id);
        rxq->done(rxq);
        send_frame(txq, i, &sent_n); /* awake: no signal */
        assert_true(read(rxq->fd, &signals, sizeof(signals)) < 0);
        assert_true(rxq->arm(rxq)); /* there is work */
        rxq->disarm(rxq);
        assert_int_equal(rxq->rx(rxq, place->burst), 1);
        rxq->done(rxq);
    }
}

static void refuses_odd_sizes(void **state)
{
    struct place *place = *state;
    const struct hg_port_driver *driver = &hg_virtio_user_driver;
    union hg_port_value values[OPTIONS_MAX];
    struct hg_err err;
    unsigned option;

    option_presets(driver, values);
    option_value(driver, values, "socket")->string = place->path;
    option_value(driver, values, "queue_size")->uint = 100;
    assert_int_equal(hg_virtio_user_driver.check(values, &option, &err), -EINVAL);
    assert_string_equal(hg_virtio_user_driver.options[option].name, "queue_size");
    assert_non_null(strstr(err.text, "found '100'; expected a power of two"));
    option_value(driver, values, "queue_size")->uint = 128;
    assert_int_equal(hg_virtio_user_driver.check(values, &option, &err), 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(guest_connects),      CASE(either_format),
        CASE(guest_listens),       CASE(as_many_pairs_as_both_have),
        CASE(back_end_comes_back), CASE(wakes_up),
        CASE(refuses_odd_sizes),
    };

    return cmocka_run_group_tests_name("virtio-user against vhost-user", tests, NULL, NULL);
}
