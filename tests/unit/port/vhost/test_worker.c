/*
 * A worker polls the queues while the front-end changes everything under it: memory, descriptors,
 * rings, the connection itself. Nothing that was unmapped or closed may be touched (ASan, TSan),
 * and after GET_VRING_BASE the guest's memory stays as it is.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "peer/rig.h"
#include "sync/qsbr.h"

/* Where the rings are for the device, when a virtual IOMMU is before it. */
#define RING_IOVA UINT64_C(0x7700000000)

struct shop {
    struct rig rig;
    struct hg_burst *burst;
    pthread_t worker;
    atomic_bool stop;
    _Atomic unsigned received_n;
};

/* Echoes: what the guest transmits on a queue comes back on it. */
static void *work(void *ctx)
{
    struct shop *shop = ctx;
    struct hg_rxq *rxq = shop->rig.port.rxq[0];
    struct hg_pkt *pkts[HG_BURST_N];

    hg_qsbr_register();
    for (unsigned turn = 0; !atomic_load(&shop->stop); turn++) {
        unsigned n = rxq->rx(rxq, shop->burst);

        for (unsigned i = 0; i < n; i++)
            pkts[i] = &shop->burst->pkt[i];
        if (n > 0) {
            struct hg_txq *txq = shop->rig.port.txq[0];

            hg_spin_lock(&txq->lock);
            if (atomic_load(&txq->running))
                txq->tx(txq, pkts, n);
            hg_spin_unlock(&txq->lock);
            atomic_fetch_add(&shop->received_n, n);
        }
        rxq->done(rxq);
        if (turn % 8 == 0) {
            rxq->arm(rxq);
            rxq->disarm(rxq);
        }
        hg_qsbr_quiescent();
        if (n == 0)
            sched_yield();
    }
    hg_qsbr_unregister();
    return NULL;
}

static void open_shop(void **state, uint64_t peer_features)
{
    struct shop *shop = calloc(1, sizeof(*shop));

    assert_non_null(shop);
    rig_open(&shop->rig, &(struct rig_options){.pair_n = 1, .peer_features = peer_features});
    shop->burst = aligned_alloc(alignof(struct hg_burst), sizeof(*shop->burst));
    assert_int_equal(pthread_create(&shop->worker, NULL, work, shop), 0);
    *state = shop;
}

static int set_up(void **state)
{
    open_shop(state, RIG_FEATURES);
    return 0;
}

static int set_up_iommu(void **state)
{
    open_shop(state, RIG_FEATURES | HG_BIT(HG_VIRTIO_F_ACCESS_PLATFORM));
    ((struct shop *)*state)->rig.peer.ring_start = RING_IOVA;
    return 0;
}

static int tear_down(void **state)
{
    struct shop *shop = *state;

    atomic_store(&shop->stop, true);
    pthread_join(shop->worker, NULL);
    free(shop->burst);
    rig_close(&shop->rig);
    free(shop);
    return 0;
}

static const uint8_t frame[60] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0};

/* Sends some frames, as far as the rings have room. */
static void chat(struct shop *shop)
{
    struct peer *peer = &shop->rig.peer;
    size_t len;

    for (unsigned i = 0; i < 8; i++) {
        if ((uint16_t)(peer->ring[1].avail_idx - peer_used_idx(peer, 1)) < PEER_RING_SIZE)
            peer_transmit(peer, 1, frame, sizeof(frame));
        if ((uint16_t)(peer->ring[0].avail_idx - peer_used_idx(peer, 0)) < PEER_RING_SIZE)
            peer_post(peer, 0, 1);
    }
    while (peer_receive(peer, 0, &len) != NULL)
        assert_int_equal(len, sizeof(frame));
}

/* Waits until the worker has received something more. */
static void assert_it_flows(struct shop *shop)
{
    unsigned before = atomic_load(&shop->received_n);

    for (unsigned i = 0; i < 100000 && atomic_load(&shop->received_n) == before; i++) {
        chat(shop);
        rig_pump(&shop->rig);
        sched_yield();
    }
    assert_true(atomic_load(&shop->received_n) != before);
}

static void change_everything_in_use(void **state)
{
    struct shop *shop = *state;
    struct peer *peer = &shop->rig.peer;

    assert_true(rig_bring_up(&shop->rig));
    for (unsigned i = 0; i < 100; i++) {
        chat(shop);
        assert_true(peer_send_mem_table(peer, true));
        assert_it_flows(shop);
        assert_true(peer_send_fd(peer, HG_VHOST_SET_VRING_CALL, i % 2, peer->ring[i % 2].call));
        assert_true(peer_send_addr(peer, i % 2));
        assert_true(peer_send_fd(peer, HG_VHOST_SET_VRING_KICK, 1, peer->ring[1].kick));
        chat(shop);
        rig_pump(&shop->rig);
        assert_true(peer_enable_pair(peer, 0, false));
        assert_true(peer_enable_pair(peer, 0, true));
        assert_it_flows(shop);
    }
}

static void keep_their_hands_off_stopped_rings(void **state)
{
    struct shop *shop = *state;
    struct peer *peer = &shop->rig.peer;
    uint8_t *before = malloc(PEER_MEM_BYTES);

    assert_non_null(before);
    assert_true(rig_bring_up(&shop->rig));
    for (unsigned i = 0; i < 30; i++) {
        assert_it_flows(shop);
        chat(shop);
        assert_true(peer_stop(peer));
        memcpy(before, peer->mem, PEER_MEM_BYTES);
        for (unsigned k = 0; k < 20; k++)
            sched_yield();
        assert_memory_equal(before, peer->mem, PEER_MEM_BYTES);
        assert_true(peer_start(peer));
    }
    free(before);
}

static void hang_up_in_full_flow(void **state)
{
    struct shop *shop = *state;
    struct peer *peer = &shop->rig.peer;

    for (unsigned i = 0; i < 50; i++) {
        peer_reset_ring(peer, 0);
        peer_reset_ring(peer, 1);
        assert_true(rig_bring_up(&shop->rig));
        assert_it_flows(shop);
        chat(shop);
        peer_hang_up(peer);
    }
}

/* --- behind a virtual IOMMU --- */

static void map_rings(struct peer *peer)
{
    assert_true(peer_map(peer, RING_IOVA, 2 * PEER_RING_BYTES, 0, HG_VHOST_ACCESS_RW));
}

static void map_buffers(struct peer *peer)
{
    assert_true(peer_map(peer, 0, PEER_HALF_BYTES, 0, HG_VHOST_ACCESS_RW));
    assert_true(peer_map(peer, PEER_HIGH, PEER_HALF_BYTES, PEER_HALF_BYTES, HG_VHOST_ACCESS_RW));
}

/* Misses are thrown away: what is missing comes when the test maps it. */
static void drain_channel(struct peer *peer)
{
    uint8_t bytes[4096];

    while (recv(peer->channel, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        continue;
}

static void bring_up_behind_an_iommu(struct shop *shop)
{
    struct peer *peer = &shop->rig.peer;

    assert_true(peer_connect(peer, shop->rig.path));
    assert_true(peer_init(peer));
    assert_true(peer_open_channel(peer, true));
    assert_true(peer_start(peer));
    map_rings(peer);
    map_buffers(peer);
    assert_it_flows(shop);
}

/* What an acknowledgement promises: nobody touches what was unmapped. */
static void keep_their_hands_off_what_was_unmapped(void **state)
{
    static const struct {
        uint64_t iova, size, offset;
    } areas[] = {
        {RING_IOVA, PEER_RING_BYTES, 0},
        {RING_IOVA + PEER_RING_BYTES, 4096, PEER_RING_BYTES},
        {RING_IOVA, 2 * PEER_RING_BYTES, 0},
        {PEER_HIGH, PEER_HALF_BYTES, PEER_HALF_BYTES},
        {0, PEER_HALF_BYTES, 0},
        {0, 0, 0}, /* everything */
    };
    struct shop *shop = *state;
    struct peer *peer = &shop->rig.peer;
    uint8_t *before = malloc(PEER_MEM_BYTES);

    assert_non_null(before);
    bring_up_behind_an_iommu(shop);
    for (unsigned i = 0; i < 60; i++) {
        uint64_t offset = areas[i % HG_ARRAY_N(areas)].offset;
        uint64_t size = areas[i % HG_ARRAY_N(areas)].size;

        chat(shop);
        assert_true(peer_unmap(peer, areas[i % HG_ARRAY_N(areas)].iova, size));
        size = size == 0 ? PEER_MEM_BYTES : size;
        memcpy(before, peer->mem + offset, size);
        for (unsigned k = 0; k < 20; k++)
            sched_yield();
        /* Rings that are mapped elsewhere too, as all memory is, are not written through that. */
        if (i % HG_ARRAY_N(areas) != 4)
            assert_memory_equal(before, peer->mem + offset, size);
        map_rings(peer);
        map_buffers(peer);
        assert_it_flows(shop);
        drain_channel(peer);
    }
    free(before);
}

static void change_mappings_in_use(void **state)
{
    struct shop *shop = *state;
    struct peer *peer = &shop->rig.peer;

    bring_up_behind_an_iommu(shop);
    for (unsigned i = 0; i < 60; i++) {
        uint64_t page = i % 16 * UINT64_C(4096);

        chat(shop);
        /* The same again, less, more, and the memory under all of it. */
        map_rings(peer);
        assert_true(peer_map(peer, RING_IOVA + page, 4096, page, HG_VHOST_ACCESS_RO));
        assert_true(peer_map(peer, PEER_HIGH + page, 4096, PEER_HALF_BYTES + page, 0));
        map_rings(peer);
        map_buffers(peer);
        assert_it_flows(shop);
        assert_true(peer_send_mem_table(peer, true));
        map_rings(peer);
        map_buffers(peer);
        assert_it_flows(shop);
        drain_channel(peer);
        if (i % 10 == 9) {
            assert_true(peer_open_channel(peer, true));
            assert_true(peer_stop(peer));
            assert_true(peer_start(peer));
            map_rings(peer);
            map_buffers(peer);
        }
    }
}

static void hang_up_in_full_flow_behind_an_iommu(void **state)
{
    struct shop *shop = *state;
    struct peer *peer = &shop->rig.peer;

    for (unsigned i = 0; i < 30; i++) {
        peer_reset_ring(peer, 0);
        peer_reset_ring(peer, 1);
        bring_up_behind_an_iommu(shop);
        chat(shop);
        if (i % 2 == 0)
            assert_true(peer_unmap(peer, PEER_HIGH, PEER_HALF_BYTES));
        peer_hang_up(peer);
    }
}

static void add_and_remove_slots_in_full_flow(void **state)
{
    struct shop *shop = *state;
    struct peer *peer = &shop->rig.peer;
    struct hg_vhost_mem_reg slot = {.region = {3 * PEER_HIGH, PEER_HALF_BYTES, 3 * PEER_USER, 0}};
    struct hg_vhost_msg msg;

    assert_true(rig_bring_up(&shop->rig));
    for (unsigned i = 0; i < 100; i++) {
        chat(shop);
        assert_true(peer_send(peer, HG_VHOST_ADD_MEM_REG, HG_VHOST_NEED_REPLY, &slot, sizeof(slot),
                              &peer->mem_fd, 1));
        assert_true(peer_recv(peer, &msg));
        assert_int_equal(msg.u64, 0);
        assert_it_flows(shop);
        assert_true(peer_send(peer, HG_VHOST_REM_MEM_REG, HG_VHOST_NEED_REPLY, &slot, sizeof(slot),
                              NULL, 0));
        assert_true(peer_recv(peer, &msg));
        assert_int_equal(msg.u64, 0);
        assert_it_flows(shop);
    }
}

int main(void)
{
#define CASE(name)       cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define IOMMU_CASE(name) cmocka_unit_test_setup_teardown(name, set_up_iommu, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(change_everything_in_use),
        CASE(keep_their_hands_off_stopped_rings),
        CASE(hang_up_in_full_flow),
        CASE(add_and_remove_slots_in_full_flow),
        IOMMU_CASE(keep_their_hands_off_what_was_unmapped),
        IOMMU_CASE(change_mappings_in_use),
        IOMMU_CASE(hang_up_in_full_flow_behind_an_iommu),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
