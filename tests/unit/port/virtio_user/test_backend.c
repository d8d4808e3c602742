/*
 * A virtio-user port and a back-end that refuses, lies, falls silent and disappears at every point.
 * The port says what was wrong, stops its queues, and comes up again with the next session.
 */
#include "backend.h"
#include "peer/sigbus.h"
#include "port/virtio_user/state.h"

static void honest(void **state)
{
    struct place *place = *state;

    wait_for(place, "up");
    assert_int_equal(place->back.accepted, FEATURES);
    deliver(&place->back, (struct hg_net_hdr){.num_buffers = 1}, 100);
    assert_int_equal(receive(place), 1);
    assert_int_equal(place->burst->pkt[0].len, 100);
    assert_int_equal(place->burst->pkt[0].head[99], 0x5a);
    assert_int_equal(posted(&place->back, NUM - 1), posted(&place->back, UINT16_MAX));
}

static void byte_by_byte(void **state)
{
    struct place *place = *state;

    place->back.drips = true;
    wait_for(place, "up");
}

static void without_any_protocol_feature(void **state)
{
    struct place *place = *state;

    place->back.features &= ~HG_BIT(HG_VHOST_USER_F_PROTOCOL_FEATURES);
    wait_for(place, "up");
    deliver(&place->back, (struct hg_net_hdr){.num_buffers = 1}, 100);
    assert_int_equal(receive(place), 1);
}

static void without_acknowledgements(void **state)
{
    struct place *place = *state;

    place->back.protocol = 0;
    wait_for(place, "up");
}

/* Buffers that cannot be merged hold no segments: GUEST_TSO4 is not asked for. */
static void without_merging(void **state)
{
    struct place *place = *state;

    place->back.features &= ~HG_BIT(HG_VIRTIO_NET_F_MRG_RXBUF);
    wait_for(place, "up");
    assert_int_equal(place->back.accepted & HG_BIT(HG_VIRTIO_NET_F_GUEST_TSO4), 0);
    assert_true((place->back.accepted & HG_BIT(HG_VIRTIO_NET_F_GUEST_CSUM)) != 0);
}

static void too_old(void **state)
{
    struct place *place = *state;

    place->back.features &= ~HG_BIT(HG_VIRTIO_F_VERSION_1);
    wait_for(place, "broken");
    expect_text(place, "does not offer version_1, which is needed");
}

static void refusals_are_named(void **state)
{
    static const uint32_t requests[] = {
        HG_VHOST_SET_OWNER,      HG_VHOST_SET_FEATURES,   HG_VHOST_SET_MEM_TABLE,
        HG_VHOST_SET_VRING_NUM,  HG_VHOST_SET_VRING_BASE, HG_VHOST_SET_VRING_ADDR,
        HG_VHOST_SET_VRING_CALL, HG_VHOST_SET_VRING_KICK, HG_VHOST_SET_VRING_ENABLE};
    struct place *place = *state;

    for (unsigned i = 0; i < HG_ARRAY_N(requests); i++) {
        char text[64];

        place->back.refuses = requests[i];
        wait_for(place, "broken");
        snprintf(text, sizeof(text), "refused %s", hg_vhost_request_name(requests[i]));
        expect_text(place, text);
        place->back.refuses = 0;
        wait_for(place, "up");
        leave(place);
    }
}

static void bad_answers_are_named(void **state)
{
    static const uint32_t requests[] = {HG_VHOST_GET_FEATURES, HG_VHOST_GET_PROTOCOL_FEATURES,
                                        HG_VHOST_GET_QUEUE_NUM, HG_VHOST_SET_MEM_TABLE};
    struct place *place = *state;

    for (unsigned i = 0; i < HG_ARRAY_N(requests); i++) {
        char text[64];

        place->back.answers_badly = requests[i];
        wait_for(place, "broken");
        snprintf(text, sizeof(text), "the answer to %s has 4 bytes",
                 hg_vhost_request_name(requests[i]));
        expect_text(place, text);
        place->back.answers_badly = 0;
        wait_for(place, "up");
        leave(place);
    }
}

static void nobody_asked(void **state)
{
    struct place *place = *state;

    wait_for(place, "up");
    reply64(place, HG_VHOST_GET_FEATURES, 1);
    wait_for(place, "broken");
    expect_text(place, "the back-end sent GET_FEATURES, expected nothing");
    wait_for(place, "up");
    send_bytes(place, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
    wait_for(place, "broken");
    expect_text(place, "protocol version 3");
    wait_for(place, "up");
}

static void gone_at_every_message(void **state)
{
    struct place *place = *state;
    unsigned whole_n;
    unsigned fds_n;

    wait_for(place, "up");
    whole_n = place->back.messages_n;
    assert_true(whole_n > 15);
    leave(place);
    fds_n = count_fds();
    for (unsigned i = 0; i <= whole_n; i++) {
        place->back.hangs_up_after = (int)i;
        while (place->back.hangs_up_after >= 0)
            turn(place);
        leave(place);
        assert_int_equal(count_fds(), fds_n);
    }
}

static void silent(void **state)
{
    struct place *place = *state;
    uint64_t end_ns = hg_now_ns() + 6 * HG_NS_PER_S;

    connect_to(place);
    while (strcmp(now(place), "broken") != 0 && hg_now_ns() < end_ns) {
        event_base_loop(place->loop, EVLOOP_NONBLOCK); /* the back-end has no turn */
        usleep(10000);
    }
    expect_text(place, "has not answered GET_FEATURES within 5 s");
    hang_up(&place->back);
    wait_for(place, "up");
}

static void broken_rings_are_named(void **state)
{
    struct place *place = *state;
    struct hg_txq *txq = place->port.txq[0];

    wait_for(place, "up");
    use(&place->back, NUM, 100);
    assert_int_equal(receive(place), 0);
    wait_for(place, "broken");
    expect_text(place, "ring 0, on which we receive, is broken: used id out of range (64)");
    assert_false(atomic_load(&place->port.rxq[0]->running));
    wait_for(place, "up");

    struct hg_used *used = at(&place->back, place->back.addr[1].used);
    static struct hg_pkt pkt = {.len = 64, .head_len = 64};
    struct hg_pkt *pkts[] = {&pkt};

    used->idx = 1000;
    for (unsigned i = 0; i < NUM; i++)
        assert_int_equal(txq->tx(txq, pkts, 1), 1);
    assert_int_equal(txq->tx(txq, pkts, 1), 0);
    wait_for(place, "broken");
    expect_text(place, "ring 1, on which we transmit, is broken: used index moved past");
    wait_for(place, "up");
    deliver(&place->back, (struct hg_net_hdr){.num_buffers = 1}, 100);
    assert_int_equal(receive(place), 1);
}

static void bad_frames_are_counted(void **state)
{
    static const struct {
        struct hg_net_hdr hdr;
        uint32_t len;
        enum hg_drop reason;
    } frames[] = {
        {{.num_buffers = 1}, 13, HG_DROP_RUNT},
        {{.num_buffers = 1}, 0, HG_DROP_RUNT},
        {{.flags = HG_NET_HDR_F_NEEDS_CSUM, .csum_start = 99, .num_buffers = 1},
         100,
         HG_DROP_BAD_OFFLOAD},
        {{.flags = HG_NET_HDR_F_NEEDS_CSUM, .csum_start = 0xffff, .csum_offset = 0xffff},
         100,
         HG_DROP_BAD_OFFLOAD},
        {{.gso_type = HG_NET_HDR_GSO_TCPV4, .num_buffers = 1}, 100, HG_DROP_BAD_OFFLOAD},
        {{.gso_type = HG_NET_HDR_GSO_UDP, .gso_size = 100}, 100, HG_DROP_BAD_OFFLOAD},
    };
    struct place *place = *state;
    uint64_t counted[HG_DROP_N] = {0};

    wait_for(place, "up");
    for (unsigned i = 0; i < HG_ARRAY_N(frames); i++) {
        deliver(&place->back, frames[i].hdr, frames[i].len);
        assert_int_equal(receive(place), 0);
        assert_int_equal(drops(place, frames[i].reason), ++counted[frames[i].reason]);
    }
    use(&place->back, posted(&place->back, 0), 11); /* not even a header */
    assert_int_equal(receive(place), 0);
    assert_int_equal(drops(place, HG_DROP_RUNT), ++counted[HG_DROP_RUNT]);
    assert_int_equal(hg_count_get(&place->port.rxq[0]->stats.packets), HG_ARRAY_N(frames) + 1);
    assert_string_equal(now(place), "up");
}

/* A merged frame of n buffers with `bytes` in each. */
static void deliver_merged(struct back *back, unsigned n, unsigned claimed_n, uint32_t bytes)
{
    struct hg_net_hdr hdr = {.num_buffers = (uint16_t)claimed_n};
    struct hg_desc desc;

    memcpy(buffer(back, posted(back, 0), &desc), &hdr, sizeof(hdr));
    for (unsigned i = 0; i < n; i++)
        use(back, posted(back, 0), bytes);
}

static void merged_frames(void **state)
{
    struct place *place = *state;

    wait_for(place, "up");
    deliver_merged(&place->back, 31, 31, BUF_BYTES);
    deliver_merged(&place->back, 2, 2, BUF_BYTES);
    assert_int_equal(receive(place), 2);
    assert_int_equal(place->burst->pkt[0].len, 31 * BUF_BYTES - HG_NET_HDR_BYTES);
    assert_int_equal(place->burst->pkt[0].seg_n, 31);
    assert_int_equal(place->burst->pkt[1].len, 2 * BUF_BYTES - HG_NET_HDR_BYTES);

    deliver_merged(&place->back, 40, 40, BUF_BYTES); /* longer than any frame */
    assert_int_equal(receive(place), 0);
    assert_int_equal(drops(place, HG_DROP_OVERSIZE), 1);
    deliver_merged(&place->back, 3, 3, 100); /* not full: the head would be in pieces */
    assert_int_equal(receive(place), 0);
    assert_int_equal(drops(place, HG_DROP_BAD_DESCRIPTOR), 1);

    deliver_merged(&place->back, 3, 0xffff, BUF_BYTES);
    assert_int_equal(receive(place), 0);
    assert_int_equal(drops(place, HG_DROP_BAD_DESCRIPTOR), 2);
    wait_for(place, "broken");
    expect_text(place, "merged frame without its buffers (65535)");
    wait_for(place, "up");
}

/* A back-end that makes a hole in the arena's file: with huge pages of which none is left, the next
 * access finds nothing. The test has no pool of its own to empty, and puts an empty file in the
 * place. */
static void memory_taken_away(void **state)
{
    struct place *place = *state;
    struct hg_vu_port *vu = place->port.driver_data;
    int empty = memfd_create("empty", MFD_CLOEXEC);

    sigbus_restore();
    wait_for(place, "up");
    deliver(&place->back, (struct hg_net_hdr){.num_buffers = 1}, 100);
    assert_true(mmap(hg_foreign_base(vu->foreign), 4096, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_FIXED, empty, 0) != MAP_FAILED);
    close(empty);
    receive(place);
    wait_for(place, "broken");
    expect_text(place, "holes in the port's memory");
    /* And it stays so for the next back-end. */
    hang_up(&place->back);
    turn(place);
    turn(place);
    expect_text(place, "holes in the port's memory");
}

static void no_memory_on_a_missing_node(void **state)
{
    const struct place *place = *state;
    struct hg_port_host host = {.loop = place->loop, .on_node = true, .node = 1023};
    struct hg_port port = {.name = "other", .id = 4, .host = &host};
    union hg_port_value values[OPTIONS_MAX];
    struct hg_err err = {.text = ""};

    option_presets(&hg_virtio_user_driver, values);
    option_value(&hg_virtio_user_driver, values, "socket")->string = "/tmp/headgate-nowhere";
    assert_int_equal(hg_virtio_user_driver.open(&port, values, &err), -ENODEV);
    assert_non_null(strstr(err.text, "NUMA node 1023 is not there"));
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(honest),
        CASE(byte_by_byte),
        CASE(without_any_protocol_feature),
        CASE(without_acknowledgements),
        CASE(without_merging),
        CASE(too_old),
        CASE(refusals_are_named),
        CASE(bad_answers_are_named),
        CASE(nobody_asked),
        CASE(gone_at_every_message),
        CASE(silent),
        CASE(broken_rings_are_named),
        CASE(bad_frames_are_counted),
        CASE(merged_frames),
        CASE(memory_taken_away),
        CASE(no_memory_on_a_missing_node),
    };

    sigbus_remember();
    signal(SIGPIPE, SIG_IGN); /* the port hangs up before the back-end is done */
    return cmocka_run_group_tests_name("virtio-user against a scripted back-end", tests, NULL,
                                       NULL);
}
