/*
 * Front-ends that break the protocol: each loses its connection, and the port says why and serves
 * the next one.
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

static void assert_broken(struct rig *rig, const char *why)
{
    assert_true(peer_was_closed(&rig->peer));
    if (strstr(rig_status(rig), why) == NULL)
        fail_msg("'%s' does not contain '%s'", rig->status.text, why);
    assert_string_equal(rig->status.state, "broken");
}

/* Connects a peer that has said all but what the test is about. */
static void begin(struct rig *rig)
{
    assert_true(peer_connect(&rig->peer, rig->path));
    assert_true(peer_init(&rig->peer));
    assert_true(
        peer_send_u64(&rig->peer, HG_VHOST_SET_FEATURES, rig->peer.features & rig->peer.offered));
}

static void refuse_what_was_not_offered(void **state)
{
    static const uint32_t requests[] = {
        0,
        HG_VHOST_SET_LOG_BASE,
        HG_VHOST_SET_LOG_FD,
        HG_VHOST_GET_INFLIGHT_FD,
        HG_VHOST_SET_INFLIGHT_FD,
        HG_VHOST_REQUEST_N,
        UINT32_MAX,
    };
    struct rig *rig = *state;

    for (unsigned i = 0; i < HG_ARRAY_N(requests); i++) {
        begin(rig);
        assert_true(peer_send_u64(&rig->peer, requests[i], 0));
        assert_broken(rig, "was not offered");
        assert_non_null(strstr(rig->status.text, hg_vhost_request_name(requests[i])));
    }
    begin(rig);
    assert_true(
        peer_send_u64(&rig->peer, HG_VHOST_SET_FEATURES, HG_BIT(HG_VIRTIO_F_NOTIFY_ON_EMPTY)));
    assert_broken(rig, "SET_FEATURES: features 0x1000000 were not offered");
    begin(rig);
    assert_true(peer_send_u64(&rig->peer, HG_VHOST_SET_PROTOCOL_FEATURES,
                              HG_BIT(HG_VHOST_PROTOCOL_F_LOG_SHMFD)));
    assert_broken(rig, "SET_PROTOCOL_FEATURES: protocol features 0x2 were not offered");
}

/* Each request with a payload too short and too long, with descriptors that do not belong to it,
 * and as a reply. */
static void refuse_requests_of_the_wrong_shape(void **state)
{
    static const struct {
        uint32_t request;
        uint32_t size;
        unsigned fd_n;
    } good[] = {
        {HG_VHOST_GET_FEATURES, 0, 0},
        {HG_VHOST_SET_FEATURES, 8, 0},
        {HG_VHOST_SET_OWNER, 0, 0},
        {HG_VHOST_RESET_OWNER, 0, 0},
        {HG_VHOST_SET_VRING_NUM, 8, 0},
        {HG_VHOST_SET_VRING_ADDR, 40, 0},
        {HG_VHOST_SET_VRING_BASE, 8, 0},
        {HG_VHOST_GET_VRING_BASE, 8, 0},
        {HG_VHOST_SET_VRING_KICK, 8, 1},
        {HG_VHOST_SET_VRING_CALL, 8, 1},
        {HG_VHOST_SET_VRING_ERR, 8, 1},
        {HG_VHOST_GET_PROTOCOL_FEATURES, 0, 0},
        {HG_VHOST_SET_PROTOCOL_FEATURES, 8, 0},
        {HG_VHOST_GET_QUEUE_NUM, 0, 0},
        {HG_VHOST_SET_VRING_ENABLE, 8, 0},
        {HG_VHOST_NET_SET_MTU, 8, 0},
        {HG_VHOST_SEND_RARP, 8, 0},
        {HG_VHOST_IOTLB_MSG, 32, 0},
        {HG_VHOST_RESET_DEVICE, 0, 0},
        {HG_VHOST_GET_MAX_MEM_SLOTS, 0, 0},
        {HG_VHOST_ADD_MEM_REG, 40, 1},
        {HG_VHOST_REM_MEM_REG, 40, 1},
        {HG_VHOST_SET_STATUS, 8, 0},
        {HG_VHOST_GET_STATUS, 0, 0},
        {HG_VHOST_SET_MEM_TABLE, 8, 8},
    };
    static const uint8_t zeros[HG_VHOST_PAYLOAD_MAX];
    struct rig *rig = *state;
    int fds[2];

    fds[0] = fds[1] = rig->peer.ring[0].kick;
    for (unsigned i = 0; i < HG_ARRAY_N(good); i++) {
        uint32_t request = good[i].request;
        uint32_t size = good[i].size;

        if (size > 0) {
            begin(rig);
            assert_true(peer_send(&rig->peer, request, 0, zeros, size - 1, NULL, 0));
            assert_broken(rig, "bytes of payload, expected");
        }
        begin(rig);
        assert_true(peer_send(&rig->peer, request, 0, zeros,
                              request == HG_VHOST_SET_MEM_TABLE ? 265 : size + 1, NULL, 0));
        assert_broken(rig, "bytes of payload, expected");
        begin(rig);
        assert_true(peer_send(&rig->peer, request, HG_VHOST_REPLY, zeros, size, NULL, 0));
        assert_broken(rig, "is a reply");
        if (good[i].fd_n < HG_VHOST_FDS_MAX) {
            begin(rig);
            assert_true(peer_send(&rig->peer, request, 0, zeros, size, fds, good[i].fd_n + 1));
            assert_broken(rig, "file descriptors");
        }
    }
}

static void refuse_rings_that_do_not_exist(void **state)
{
    static const uint32_t requests[] = {HG_VHOST_SET_VRING_NUM, HG_VHOST_SET_VRING_BASE,
                                        HG_VHOST_GET_VRING_BASE, HG_VHOST_SET_VRING_ENABLE};
    static const uint32_t files[] = {HG_VHOST_SET_VRING_KICK, HG_VHOST_SET_VRING_CALL,
                                     HG_VHOST_SET_VRING_ERR};
    struct rig *rig = *state;
    struct hg_vhost_vring_addr addr = {.index = 4};

    for (unsigned i = 0; i < HG_ARRAY_N(requests); i++) {
        begin(rig);
        assert_true(peer_send_state(&rig->peer, requests[i], i % 2 ? UINT32_MAX : 4, 256));
        assert_broken(rig, "does not exist, there are 4");
    }
    for (unsigned i = 0; i < HG_ARRAY_N(files); i++) {
        begin(rig);
        assert_true(peer_send_fd(&rig->peer, files[i], i == 0 ? 255 : 4, rig->peer.ring[0].kick));
        assert_broken(rig, "does not exist, there are 4");
    }
    begin(rig);
    assert_true(peer_send(&rig->peer, HG_VHOST_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL, 0));
    assert_broken(rig, "SET_VRING_ADDR: ring 4 does not exist");
}

static void refuse_values_out_of_range(void **state)
{
    static const struct {
        uint32_t request;
        uint32_t num;
        const char *why;
    } bad[] = {
        {HG_VHOST_SET_VRING_NUM, 0, "size 0 is not a power of two"},
        {HG_VHOST_SET_VRING_NUM, 100, "size 100 is not a power of two"},
        {HG_VHOST_SET_VRING_NUM, 65536, "size 65536 is not a power of two between 1 and 32768"},
        {HG_VHOST_SET_VRING_BASE, 65536, "65536 is no index of a split ring"},
        {HG_VHOST_SET_VRING_ENABLE, 2, "2 is neither 0 nor 1"},
    };
    struct rig *rig = *state;
    struct hg_vhost_vring_addr addr = {.flags = 1};

    for (unsigned i = 0; i < HG_ARRAY_N(bad); i++) {
        begin(rig);
        assert_true(peer_send_state(&rig->peer, bad[i].request, 1, bad[i].num));
        assert_broken(rig, bad[i].why);
    }
    begin(rig);
    assert_true(peer_send(&rig->peer, HG_VHOST_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL, 0));
    assert_broken(rig, "flags 0x1 were not offered");
}

static void refuse_changes_while_a_ring_runs(void **state)
{
    struct rig *rig = *state;

    assert_true(rig_bring_up(rig));
    assert_true(peer_send_state(&rig->peer, HG_VHOST_SET_VRING_NUM, 1, 128));
    assert_broken(rig, "SET_VRING_NUM: ring 1 runs");
    assert_true(rig_bring_up(rig));
    assert_true(peer_send_state(&rig->peer, HG_VHOST_SET_VRING_BASE, 0, 0));
    assert_broken(rig, "SET_VRING_BASE: ring 0 runs");
    assert_true(rig_bring_up(rig));
    assert_true(peer_send_u64(&rig->peer, HG_VHOST_SET_FEATURES, 0));
    assert_broken(rig, "SET_FEATURES: features change while ring 0 runs");

    /* Nor the first time, of a ring that was started without any. */
    assert_true(peer_connect(&rig->peer, rig->path));
    assert_true(peer_init(&rig->peer));
    assert_true(peer_send_mem_table(&rig->peer, true));
    assert_true(peer_start_ring(&rig->peer, 1));
    assert_true(
        peer_send_u64(&rig->peer, HG_VHOST_SET_FEATURES, rig->peer.features & rig->peer.offered));
    assert_broken(rig, "SET_FEATURES: features change while ring 1 runs");
}

static void refuse_notifications_by_anything_but_eventfds(void **state)
{
    struct rig *rig = *state;
    uint64_t word = 1;
    int ends[2];
    int fds[2];

    assert_int_equal(pipe(ends), 0);
    begin(rig);
    assert_true(peer_send_fd(&rig->peer, HG_VHOST_SET_VRING_CALL, 1, ends[1]));
    assert_broken(rig, "SET_VRING_CALL: the file descriptor is not an eventfd");
    begin(rig);
    assert_true(peer_send_fd(&rig->peer, HG_VHOST_SET_VRING_KICK, 1, rig->peer.mem_fd));
    assert_broken(rig, "SET_VRING_KICK: the file descriptor is not an eventfd");
    close(ends[0]);
    close(ends[1]);

    begin(rig);
    assert_true(peer_send_u64(&rig->peer, HG_VHOST_SET_VRING_KICK, 1));
    assert_broken(rig, "SET_VRING_KICK: 0x1 with 0 file descriptors");
    begin(rig);
    word = 0x101;
    fds[0] = fds[1] = rig->peer.ring[0].kick;
    assert_true(peer_send(&rig->peer, HG_VHOST_SET_VRING_KICK, 0, &word, 8, fds, 1));
    assert_broken(rig, "SET_VRING_KICK: 0x101 with 1 file descriptors");
    begin(rig);
    assert_true(peer_send_u64(&rig->peer, HG_VHOST_SET_VRING_CALL, 0x300));
    assert_broken(rig, "SET_VRING_CALL: 0x300 with 0 file descriptors");
}

static void refuse_memory_that_contradicts_itself(void **state)
{
    static const struct {
        struct hg_vhost_region region[2];
        uint32_t n;
        unsigned fd_n;
        uint32_t regions_sent;
        const char *why;
    } bad[] = {
        {{{0, 0, PEER_USER, 0}}, 1, 1, 1, "is empty or wraps"},
        {{{UINT64_MAX - 4095, 8192, PEER_USER, 0}}, 1, 1, 1, "is empty or wraps"},
        {{{0, 8192, UINT64_MAX - 4095, 0}}, 1, 1, 1, "is empty or wraps"},
        {{{0, UINT64_MAX, 0, 0}}, 1, 1, 1, "does not fit its file"},
        {{{0, PEER_MEM_BYTES, PEER_USER, 4096}}, 1, 1, 1, "does not fit its file"},
        {{{0, 4096, PEER_USER, UINT64_MAX - 4095}}, 1, 1, 1, "does not fit its file"},
        {{{0, 8192, PEER_USER, 0}, {4096, 4096, PEER_USER + 65536, 0}}, 2, 2, 2, "overlaps"},
        {{{0, 8192, PEER_USER, 0}, {65536, 4096, PEER_USER + 4096, 0}}, 2, 2, 2, "overlaps"},
        {{{0, 4096, PEER_USER, 0}}, 1, 0, 1, "1 regions in 40 bytes with 0 file descriptors"},
        {{{0, 4096, PEER_USER, 0}}, 1, 2, 1, "1 regions in 40 bytes with 2 file descriptors"},
        {{{0, 4096, PEER_USER, 0}}, 2, 2, 1, "2 regions in 40 bytes with 2 file descriptors"},
        {{{0, 4096, PEER_USER, 0}}, UINT32_MAX, 1, 1, "4294967295 regions"},
    };
    struct rig *rig = *state;
    int fds[2];
    unsigned mappings = rig_count_mappings();

    fds[0] = fds[1] = rig->peer.mem_fd;
    for (unsigned i = 0; i < HG_ARRAY_N(bad); i++) {
        struct hg_vhost_mem_table table = {.n = bad[i].n};

        memcpy(table.region, bad[i].region, sizeof(bad[i].region));
        begin(rig);
        assert_true(peer_send(&rig->peer, HG_VHOST_SET_MEM_TABLE, 0, &table,
                              8 + bad[i].regions_sent * 32, fds, bad[i].fd_n));
        assert_broken(rig, bad[i].why);
        assert_int_equal(rig_count_mappings(), mappings);
    }
}

/* Memory of something that has none, or that somebody else stands behind. */
static void refuse_memory_that_is_none(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_mem_table table = {.n = 1, .region = {{0, 4096, PEER_USER, 0}}};
    int program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    begin(rig);
    assert_true(
        peer_send(&rig->peer, HG_VHOST_SET_MEM_TABLE, 0, &table, 40, &rig->peer.ring[0].kick, 1));
    assert_broken(rig, "SET_MEM_TABLE: a memory region's file is not memory");
    assert_true(program >= 0);
    begin(rig);
    assert_true(peer_send(&rig->peer, HG_VHOST_SET_MEM_TABLE, 0, &table, 40, &program, 1));
    assert_broken(rig, "SET_MEM_TABLE: a memory region's file is not memory");
    close(program);
}

static void refuse_rings_outside_the_memory(void **state)
{
    const uint64_t end = PEER_USER + PEER_MEM_BYTES;
    const struct {
        struct hg_vhost_vring_addr addr;
        const char *why;
    } bad[] = {
        {{.desc = 0, .avail = PEER_USER, .used = PEER_USER}, "descriptor table of 4096 bytes"},
        {{.desc = end - 4095, .avail = PEER_USER, .used = PEER_USER}, "descriptor table"},
        {{.desc = PEER_USER + PEER_HALF_BYTES - 16, .avail = PEER_USER, .used = PEER_USER},
         "is not inside one region"},
        {{.desc = PEER_USER, .avail = UINT64_MAX - 1, .used = PEER_USER}, "available ring"},
        {{.desc = PEER_USER, .avail = PEER_USER, .used = end - 16}, "used ring of 2054 bytes"},
        {{.desc = PEER_USER + 8, .avail = PEER_USER, .used = PEER_USER},
         "descriptor table at 0x7f0000000008 is not aligned to 16 bytes"},
        {{.desc = PEER_USER, .avail = PEER_USER + 1, .used = PEER_USER},
         "available ring at 0x7f0000000001 is not aligned to 2"},
        {{.desc = PEER_USER, .avail = PEER_USER, .used = PEER_USER + 2},
         "used ring at 0x7f0000000002 is not aligned to 4"},
    };
    struct rig *rig = *state;

    for (unsigned i = 0; i < HG_ARRAY_N(bad); i++) {
        begin(rig);
        assert_true(peer_send_mem_table(&rig->peer, true));
        assert_true(peer_send_state(&rig->peer, HG_VHOST_SET_VRING_NUM, 0, 256));
        assert_true(peer_send(&rig->peer, HG_VHOST_SET_VRING_ADDR, 0, &bad[i].addr,
                              sizeof(bad[i].addr), NULL, 0));
        assert_true(peer_send_fd(&rig->peer, HG_VHOST_SET_VRING_KICK, 0, rig->peer.ring[0].kick));
        assert_broken(rig, bad[i].why);

        assert_true(rig_bring_up(rig)); /* and of a ring that runs */
        assert_true(peer_send(&rig->peer, HG_VHOST_SET_VRING_ADDR, 0, &bad[i].addr,
                              sizeof(bad[i].addr), NULL, 0));
        assert_broken(rig, bad[i].why);
    }
}

/* A table without the memory that the rings lie in: they must not run on the old one. */
static void stop_rings_whose_memory_is_taken_away(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_mem_table table = {
        .n = 1, .region = {{PEER_HIGH, 4096, PEER_USER + PEER_HALF_BYTES, 0}}};
    unsigned mappings = rig_count_mappings();

    assert_true(rig_bring_up(rig));
    peer_transmit(&rig->peer, 1, frame, sizeof(frame));
    assert_true(peer_send(&rig->peer, HG_VHOST_SET_MEM_TABLE, 0, &table, 40, &rig->peer.mem_fd, 1));
    assert_broken(rig, "SET_MEM_TABLE: ring 0: descriptor table");
    assert_int_equal(rig_count_mappings(), mappings);
    assert_int_equal(rig_rx(rig, 0), 0);
    assert_false(rig_tx(rig, 0, frame, sizeof(frame)));
}

static void say_no_before_they_hang_up(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_vring_state vring = {0, 3};
    struct hg_vhost_msg msg;

    begin(rig);
    assert_true(peer_send(&rig->peer, HG_VHOST_SET_VRING_NUM, HG_VHOST_NEED_REPLY, &vring,
                          sizeof(vring), NULL, 0));
    assert_true(peer_recv(&rig->peer, &msg));
    assert_int_equal(msg.hdr.flags, 5);
    assert_int_equal(msg.u64, 1);
    assert_broken(rig, "size 3");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down_recovered)
    const struct CMUnitTest tests[] = {
        CASE(refuse_what_was_not_offered),
        CASE(refuse_requests_of_the_wrong_shape),
        CASE(refuse_rings_that_do_not_exist),
        CASE(refuse_values_out_of_range),
        CASE(refuse_changes_while_a_ring_runs),
        CASE(refuse_notifications_by_anything_but_eventfds),
        CASE(refuse_memory_that_contradicts_itself),
        CASE(refuse_memory_that_is_none),
        CASE(refuse_rings_outside_the_memory),
        CASE(stop_rings_whose_memory_is_taken_away),
        CASE(say_no_before_they_hang_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
