/*
 * A guest and its front-end that attack through the virtual IOMMU, with traffic on the stage. What
 * a single message leads to is tested without a worker in
 * tests/unit/port/vhost/test_iommu_refuse.c; the IOTLB against a model in tests/unit/iommu/.
 *
 * What was acknowledged as unmapped is made inaccessible in our own mapping at that moment: whoever
 * still touches it ends the test.
 */
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attack/fixture.h"
#include "base/clock.h"
#include "port/vhost/state.h"

enum { PAGE = 4096 };

#define FEATURES  (RIG_FEATURES | HG_BIT(HG_VIRTIO_F_ACCESS_PLATFORM))
#define RING_IOVA UINT64_C(0x7700000000)
#define ELSEWHERE UINT64_C(0x2000000000) /* where the scripts map nothing by themselves */
#define NOWHERE   UINT64_C(0x5500000000) /* what nobody ever maps */

static bool packed; /* the attacker's rings, from the next begin() on */
static const uint8_t to_victim[1000] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5};
static const uint8_t to_attacker[1000] = {2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 9, 0x88, 0xb5, 'v'};

static struct hg_vhost_port *attacked(void)
{
    return stage.rig[ATTACKER].port.driver_data;
}

static struct hg_port_iommu report(void)
{
    struct hg_port_iommu iommu = {0};

    hg_vhost_user_driver.iommu(&stage.rig[ATTACKER].port, &iommu);
    return iommu;
}

static void map_rings(void)
{
    assert_true(peer_map(attacker(), RING_IOVA, 2 * PEER_RING_BYTES, 0, HG_VHOST_ACCESS_RW));
}

static void map_buffers(void)
{
    assert_true(
        peer_map(attacker(), PEER_HIGH, PEER_HALF_BYTES, PEER_HALF_BYTES, HG_VHOST_ACCESS_RW));
}

/* Throws away what waits on the channel. */
static void drain_channel(void)
{
    uint8_t bytes[4096];

    while (recv(attacker()->channel, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        continue;
}

static void begin(void)
{
    struct peer *peer = attacker();

    peer_hang_up(peer);
    peer->ring_start = RING_IOVA;
    peer->features = FEATURES | (packed ? HG_BIT(HG_VIRTIO_F_RING_PACKED) : 0);
    peer->packed = packed;
    for (unsigned ring = 0; ring < 2; ring++)
        peer_reset_ring(peer, ring);
    assert_true(peer_connect(peer, stage.rig[ATTACKER].path) && peer_init(peer));
    assert_true(peer_open_channel(peer, true));
    assert_true(peer_start(peer));
    map_rings();
    map_buffers();
    drain_channel();
    rig_status(&stage.rig[ATTACKER]);
    assert_string_equal(stage.rig[ATTACKER].status.state, "up");
}

static void end(void)
{
    attacker()->ring_start = PEER_USER;
    attacker()->packed = packed = false;
    stage_recover(&stage);
}

/* What we may do with our own mapping of the attacker's memory, all of it. */
static void protect(int prot)
{
    const struct hg_space *space = attacked()->space;

    for (unsigned i = 0; i < space->n; i++)
        assert_int_equal(mprotect(space->region[i].host, space->region[i].size, prot), 0);
}

static void chat(unsigned n)
{
    peer_post(attacker(), GUEST_RX, n);
    for (unsigned i = 0; i < n; i++) {
        peer_transmit(attacker(), GUEST_TX, to_victim, sizeof(to_victim));
        peer_transmit(victim(), GUEST_TX, to_attacker, sizeof(to_attacker));
    }
    peer_post(victim(), GUEST_RX, n);
    peer_kick(attacker(), GUEST_TX);
    peer_kick(victim(), GUEST_TX);
}

/* `n` rounds, or as long as HG_STRESS_S says, in seconds. */
static bool goes_on(unsigned round, unsigned n)
{
    static uint64_t begun_ns;
    const char *wanted = getenv("HG_STRESS_S");

    if (round == 0)
        begun_ns = hg_now_ns();
    return wanted == NULL ? round < n
                          : hg_now_ns() - begun_ns < strtoull(wanted, NULL, 10) * HG_NS_PER_S;
}

static void everything_taken_away_in_mid_burst(void **state)
{
    static const struct {
        uint64_t iova, size;
    } all[] = {{0, 0}, {12345, 0}, {0, UINT64_MAX}, {0, UINT64_C(1) << 63}, {PAGE, UINT64_MAX}};

    (void)state;
    begin();
    for (unsigned round = 0; goes_on(round, 300); round++) {
        chat(16);
        assert_true(peer_unmap(attacker(), all[round % HG_ARRAY_N(all)].iova,
                               all[round % HG_ARRAY_N(all)].size));
        protect(PROT_NONE);
        chat(1); /* the peer has a mapping of its own */
        stage_flow(&stage);
        rig_pump(&stage.rig[ATTACKER]);
        protect(PROT_READ | PROT_WRITE);
        drain_channel();
        map_rings();
        map_buffers();
        stage_flow(&stage);
        if (round % 8 == 7) { /* neither guest looks at what it has received */
            packed = !packed;
            begin();
            stage_bring_up(&stage, VICTIM, PEER_RING_SIZE, RIG_FEATURES);
        }
    }
    end();
}

/* One page in use goes and comes back, at another place of the memory each time. */
static void one_page_taken_away_in_mid_burst(void **state)
{
    const uint64_t iova = ELSEWHERE;
    uint64_t offset = 0;

    (void)state;
    begin();
    for (unsigned round = 0; goes_on(round, 300); round++) {
        uint8_t *host;

        offset = PEER_HALF_BYTES + (uint64_t)(round % 512 + 256) * PAGE;
        host = hg_space_user(attacked()->space, PEER_USER + offset, PAGE);
        assert_true(peer_map(attacker(), iova, PAGE, offset, HG_VHOST_ACCESS_RW));
        for (uint16_t i = 0; i < 32; i++) {
            peer_write_desc(attacker(), GUEST_RX, i, (struct hg_desc){iova, PAGE, WRITE, 0});
            peer_push_avail(attacker(), GUEST_RX, i);
            peer_write_desc(attacker(), GUEST_TX, i, (struct hg_desc){iova, 1012, 0, 0});
            peer_push_avail(attacker(), GUEST_TX, i);
            peer_transmit(victim(), GUEST_TX, to_attacker, sizeof(to_attacker));
        }
        peer_kick(attacker(), GUEST_TX);
        peer_kick(victim(), GUEST_TX);
        for (unsigned i = 0; i < round % 7; i++)
            stage_flow(&stage);
        assert_true(peer_unmap(attacker(), iova, PAGE));
        assert_int_equal(mprotect(host, PAGE, PROT_NONE), 0);
        stage_flow(&stage);
        rig_pump(&stage.rig[ATTACKER]);
        stage_flow(&stage);
        assert_int_equal(mprotect(host, PAGE, PROT_READ | PROT_WRITE), 0);
        begin();
        stage_bring_up(&stage, VICTIM, PEER_RING_SIZE, RIG_FEATURES);
    }
    end();
}

/* Pages that are neighbours for the device and lie in the memory in reverse: a buffer over all of
 * them is filled piece by piece, and nothing beside it. */
static void neighbours_that_are_none(void **state)
{
    enum { PAGES = 8, LEN = HG_NET_HDR_BYTES + sizeof(to_attacker) };
    uint8_t *file = attacker()->mem + PEER_HALF_BYTES + PEER_HALF_BYTES / 2;

    (void)state;
    begin();
    for (unsigned i = 0; i < PAGES; i++)
        assert_true(peer_map(attacker(), ELSEWHERE + (uint64_t)i * PAGE, PAGE,
                             (uint64_t)(file - attacker()->mem) + (uint64_t)(PAGES - 1 - i) * PAGE,
                             HG_VHOST_ACCESS_RW));
    for (uint16_t i = 0; i < 7; i++) {
        uint64_t at = (uint64_t)(i + 1) * PAGE - 100 * (i + 1); /* the page it begins in */

        memset(file, 0xee, PAGES * PAGE);
        peer_write_desc(attacker(), GUEST_RX, i, (struct hg_desc){ELSEWHERE + at, LEN, WRITE, 0});
        peer_push_avail(attacker(), GUEST_RX, i);
        peer_transmit(victim(), GUEST_TX, to_attacker, sizeof(to_attacker));
        stage_until_taken(&stage, VICTIM, GUEST_TX);
        for (uint64_t k = 0; k < PAGES * PAGE; k++) {
            uint8_t want = k >= at + HG_NET_HDR_BYTES && k < at + LEN
                               ? to_attacker[k - at - HG_NET_HDR_BYTES]
                               : 0xee;

            if (k >= at && k < at + HG_NET_HDR_BYTES)
                continue;
            assert_int_equal(file[(PAGES - 1 - k / PAGE) * PAGE + k % PAGE], want);
        }
    }
    end();
}

struct wanted {
    uint64_t permission_faults;
    uint16_t used_idx;
    uint8_t answer; /* the permission that misses are answered with */
    uint64_t offset;
};

static bool is_refused(struct stage *s, void *ctx)
{
    struct wanted *wanted = ctx;
    struct hg_vhost_iotlb miss;

    (void)s;
    while (peer_take_miss(attacker(), &miss))
        (void)peer_map(attacker(), miss.iova, PAGE, wanted->offset, wanted->answer);
    return report().faults[HG_FAULT_PERMISSION] > wanted->permission_faults &&
           peer_used_idx(attacker(), GUEST_RX) >= wanted->used_idx;
}

/* The device may write to a page only as long as it may: after the acknowledgement of a downgrade
 * our own mapping of it can be made read-only. */
static void permissions_up_and_down(void **state)
{
    struct wanted wanted = {.answer = HG_VHOST_ACCESS_RO,
                            .offset = PEER_HALF_BYTES + PEER_HALF_BYTES / 2};
    uint8_t *file = attacker()->mem + wanted.offset;

    (void)state;
    begin();
    for (uint16_t round = 0; round < 4; round++) {
        uint8_t *host = hg_space_user(attacked()->space, PEER_USER + wanted.offset, PAGE);
        uint16_t first = (uint16_t)(3 * round);

        /* Writable: a frame arrives there. */
        memset(file, 0xee, PAGE);
        assert_true(peer_map(attacker(), ELSEWHERE, PAGE, wanted.offset, HG_VHOST_ACCESS_RW));
        peer_write_desc(attacker(), GUEST_RX, first, (struct hg_desc){ELSEWHERE, PAGE, WRITE, 0});
        peer_push_avail(attacker(), GUEST_RX, first);
        peer_transmit(victim(), GUEST_TX, to_attacker, sizeof(to_attacker));
        stage_until_taken(&stage, VICTIM, GUEST_TX);
        assert_memory_equal(file + HG_NET_HDR_BYTES, to_attacker, sizeof(to_attacker));

        /* Read-only: it goes into the next buffer. */
        assert_true(peer_map(attacker(), ELSEWHERE, PAGE, wanted.offset, HG_VHOST_ACCESS_RO));
        assert_int_equal(mprotect(host, PAGE, PROT_READ), 0);
        memset(file, 0xee, PAGE);
        wanted.permission_faults = report().faults[HG_FAULT_PERMISSION];
        wanted.used_idx = (uint16_t)(first + 3);
        for (uint16_t i = 1; i < 3; i++) {
            struct hg_desc desc = {i == 1 ? ELSEWHERE : PEER_HIGH, PAGE, WRITE, 0};

            peer_write_desc(attacker(), GUEST_RX, (uint16_t)(first + i), desc);
            peer_push_avail(attacker(), GUEST_RX, (uint16_t)(first + i));
        }
        peer_transmit(victim(), GUEST_TX, to_attacker, sizeof(to_attacker));
        peer_kick(victim(), GUEST_TX);
        stage_until(&stage, is_refused, &wanted, "the buffer to be refused");
        assert_int_equal(file[0], 0xee);
        assert_int_equal(file[HG_NET_HDR_BYTES], 0xee);
        assert_int_equal(mprotect(host, PAGE, PROT_READ | PROT_WRITE), 0);
    }
    end();
}

/* Addresses that are not mapped, on both rings and more than can be pending, and silence: each
 * becomes a fault when its time is over. */
static void misses_that_nobody_answers(void **state)
{
    const struct hg_queue_stats *sent = &stage.rig[ATTACKER].port.rxq[0]->stats;
    uint64_t before = stage_drops(sent, HG_DROP_IOMMU_FAULT);

    (void)state;
    begin();
    for (unsigned k = 0; k < PEER_RING_SIZE; k++) {
        uint64_t addr = NOWHERE + (uint64_t)k * 977 * PAGE;
        uint16_t i = (uint16_t)k;

        peer_write_desc(attacker(), GUEST_TX, i, (struct hg_desc){addr, 1000, 0, 0});
        peer_push_avail(attacker(), GUEST_TX, i);
        peer_write_desc(attacker(), GUEST_RX, i, (struct hg_desc){~addr, 2048, WRITE, 0});
        peer_push_avail(attacker(), GUEST_RX, i);
    }
    peer_kick(attacker(), GUEST_TX);
    for (unsigned i = 0; i < 64; i++)
        peer_transmit(victim(), GUEST_TX, to_attacker, sizeof(to_attacker));
    peer_kick(victim(), GUEST_TX);
    stage_until_dropped(&stage, sent, HG_DROP_IOMMU_FAULT, before);
    assert_true(report().faults[HG_FAULT_UNMAPPED] > 0);
    rig_status(&stage.rig[ATTACKER]);
    assert_string_equal(stage.rig[ATTACKER].status.state, "up");
    end();
}

/* The same with a channel that has no room and is never read, while invalidations are asked for:
 * their acknowledgements come, since QEMU may hold a lock until they do. */
static void a_channel_that_nobody_reads(void **state)
{
    int ends[2];
    int bytes = 1;

    (void)state;
    begin();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
    assert_true(peer_send(attacker(), HG_VHOST_SET_BACKEND_REQ_FD, 0, NULL, 0, &ends[1], 1));
    close(ends[1]);
    for (unsigned round = 0; round < 100; round++) {
        for (uint16_t i = 0; i < 64; i++) {
            uint64_t addr = NOWHERE + (round * 64u + i) * UINT64_C(123) * PAGE;
            uint16_t index = (uint16_t)((round * 64 + i) % PEER_RING_SIZE);

            peer_write_desc(attacker(), GUEST_TX, index, (struct hg_desc){addr, 1000, 0, 0});
            if (round < 4)
                peer_push_avail(attacker(), GUEST_TX, index);
        }
        peer_kick(attacker(), GUEST_TX);
        assert_true(peer_unmap(attacker(), PEER_HIGH + (uint64_t)round * PAGE, PAGE));
        stage_flow(&stage);
    }
    close(ends[0]);
    end();
}

/* Far more mappings than a device may have: they push out each other, and nobody else's. */
static void more_mappings_than_there_may_be(void **state)
{
    uint64_t worst_ns = stage.flow_worst_ns;

    (void)state;
    begin();
    for (uint64_t i = 0; i < 100; i++) {
        /* Not aligned to anything large, so that it takes a block for each page. */
        assert_true(peer_map(attacker(), ELSEWHERE + i * PEER_MEM_BYTES + PAGE,
                             PEER_HALF_BYTES - 2 * PAGE, 0, HG_VHOST_ACCESS_RW));
        assert_true(report().entries <= report().entries_max);
        chat(2);
        stage_flow(&stage);
        drain_channel();
    }
    assert_true(report().evictions > 0);
    assert_true(stage.flow_worst_ns < worst_ns + UINT64_C(1000000000));
    end();
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Any IOTLB message at any time, of a world of few addresses so that they meet; the rings too are
 * mapped elsewhere and away under way. */
static void mappings_in_any_order(void **state)
{
    static const uint64_t place[] = {RING_IOVA, PEER_HIGH, ELSEWHERE, RING_IOVA + PEER_RING_BYTES};
    uint32_t seed = 11;
    uint64_t ignored;

    (void)state;
    for (unsigned session = 0; session < 40; session++) {
        packed = session % 2 == 1;
        begin();
        for (unsigned i = 0; i < 60 && attacker()->fd >= 0; i++) {
            struct hg_vhost_iotlb msg = {
                .iova = place[next_random(&seed) % 4] + next_random(&seed) % 40 * PAGE,
                .size = (uint64_t)(next_random(&seed) % 34) * PAGE,
                .user_addr = PEER_USER + next_random(&seed) % 2048 * PAGE,
                .perm = next_random(&seed) % 16 == 0 ? 7 : (uint8_t)(next_random(&seed) % 4),
                .type =
                    next_random(&seed) % 3 == 0 ? HG_VHOST_IOTLB_INVALIDATE : HG_VHOST_IOTLB_UPDATE,
            };

            chat(1);
            assert_true(peer_send_iotlb(attacker(), msg));
            if (!peer_iotlb_acked(attacker(), &ignored))
                break;
            if (i % 8 == 0) {
                stage_flow(&stage);
                drain_channel();
            }
            if (i % 16 == 0)
                map_rings();
        }
        stage_bring_up(&stage, VICTIM, PEER_RING_SIZE, RIG_FEATURES);
    }
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_taken_away_in_mid_burst),
        cmocka_unit_test(one_page_taken_away_in_mid_burst),
        cmocka_unit_test(neighbours_that_are_none),
        cmocka_unit_test(permissions_up_and_down),
        cmocka_unit_test(misses_that_nobody_answers),
        cmocka_unit_test(a_channel_that_nobody_reads),
        cmocka_unit_test(more_mappings_than_there_may_be),
        cmocka_unit_test(mappings_in_any_order),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
