/*
 * A port with one pair of rings behind a real IOTLB, set up by hand: no session, and a front-end
 * that answers misses when and as far as it is told to. Guest addresses are those of the peer's
 * memory.
 */
#ifndef HG_TESTS_UNIT_PORT_VHOST_WAITING_H
#define HG_TESTS_UNIT_PORT_VHOST_WAITING_H

#include <limits.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/log.h"
#include "peer/peer.h"
#include "port/vhost/state.h"
#include "sync/qsbr.h"
#include "worker/worker.h"

enum { RX = 0, TX = 1 }; /* rings as the guest sees them */
enum { PAGE = HG_IOTLB_GRANULE, MISSES_MAX = 1024, SEQ_AT = 20, LEN_AT = 24 };

struct shop {
    struct event_base *loop;
    struct hg_port_host host;
    struct hg_port port;
    struct hg_vhost_port *vp;
    struct peer peer;
    struct hg_space space;
    struct hg_asks asks[2];
    struct hg_burst *burst;

    uint64_t now_ns;                /* of the front-end */
    struct hg_ask miss[MISSES_MAX]; /* sent to it, not answered */
    unsigned miss_n;
    uint32_t given;    /* frames to be transmitted; each carries its number */
    uint32_t received; /* by the guest */
    uint32_t next;     /* no number below it may come any more */
    uint32_t empty;    /* buffers that came back with nothing in them */
};

static inline struct hg_vhost_ring *ring_of(struct shop *shop, unsigned ring)
{
    return hg_vhost_ring(shop->vp, ring);
}

/* ---- life ---- */

static inline void start(struct shop *shop, unsigned index)
{
    struct hg_vhost_ring *ring = ring_of(shop, index);
    struct peer_ring *at = &shop->peer.ring[index];
    uint64_t avail = at->at + HG_DESC_BYTES(at->num);
    uint64_t used = (avail + HG_AVAIL_BYTES(at->num) + 63) & ~UINT64_C(63);
    uint32_t base = ring->dev.last_avail;

    ring->dev = (struct hg_vq_dev){
        .desc = hg_space_user(&shop->space, PEER_USER + at->at, 1),
        .avail = hg_space_user(&shop->space, PEER_USER + avail, 1),
        .used = hg_space_user(&shop->space, PEER_USER + used, 1),
        .num = at->num,
        .hdr_len = HG_NET_HDR_BYTES,
        .mergeable = true,
        .indirect = true,
        .csum_ok = true,
        .space = &shop->space,
        .asks = &shop->asks[index],
        .call_fd = at->call,
    };
    hg_vq_dev_start(&ring->dev, base);
    hg_vhost_queue_begin(shop->vp, ring);
    hg_qsbr_publish(&ring->live, &ring->dev);
    atomic_store(index == RX ? &shop->vp->pair->txq.running : &shop->vp->pair->rxq.running, true);
    atomic_store(&shop->port.txq_running_n, 1);
}

static inline void stop(struct shop *shop, unsigned index)
{
    struct hg_vhost_ring *ring = ring_of(shop, index);

    atomic_store(index == RX ? &shop->vp->pair->txq.running : &shop->vp->pair->rxq.running, false);
    hg_qsbr_publish(&ring->live, NULL);
    hg_qsbr_wait();
    hg_vhost_queue_end(shop->vp, ring);
}

static inline int open_shop(void **state)
{
    const struct hg_vhost_port_options options = {
        .path = "/nowhere", .server = true, .pair_n = 1, .mtu_max = 65535};
    struct shop *shop = aligned_alloc(alignof(struct shop), sizeof(*shop));
    struct hg_err err;

    assert_non_null(shop);
    memset(shop, 0, sizeof(*shop));
    hg_log_set_level(HG_LOG_ERROR);
    shop->burst = aligned_alloc(alignof(struct hg_burst), sizeof(*shop->burst));
    shop->loop = event_base_new();
    assert_true(shop->burst != NULL && shop->loop != NULL);
    shop->host = (struct hg_port_host){.loop = shop->loop, .pages = HG_PAGES_4K};
    strcpy(shop->port.name, "vm1");
    shop->port.host = &shop->host;
    assert_int_equal(hg_vhost_port_new(&shop->port, &options, &err), 0);
    shop->vp = shop->port.driver_data;
    assert_true(peer_new(&shop->peer, 1, 0, NULL, NULL));
    assert_int_equal(
        hg_space_add(&shop->space, 0, PEER_USER, PEER_HALF_BYTES, 0, shop->peer.mem_fd, &err), 0);
    assert_int_equal(hg_space_add(&shop->space, PEER_HIGH, PEER_USER + PEER_HALF_BYTES,
                                  PEER_HALF_BYTES, PEER_HALF_BYTES, shop->peer.mem_fd, &err),
                     0);
    assert_int_equal(hg_iotlb_new(&shop->space.iotlb, HG_IOTLB_ENTRIES_MIN, &err), 0);
    shop->now_ns = hg_now_ns();
    for (unsigned i = RX; i <= TX; i++) {
        struct peer_ring *ring = &shop->peer.ring[i];

        ring->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        ring->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        ring_of(shop, i)->kick_fd = ring->kick;
        shop->asks[i].wake_fd = -1;
        start(shop, i);
    }
    shop->port.rxq[0]->rx(shop->port.rxq[0], shop->burst); /* the poller is there */
    shop->port.rxq[0]->done(shop->port.rxq[0]);
    *state = shop;
    return 0;
}

static inline int close_shop(void **state)
{
    struct shop *shop = *state;

    stop(shop, RX);
    stop(shop, TX);
    hg_vhost_port_free(&shop->port);
    hg_iotlb_free(shop->space.iotlb);
    hg_space_clear(&shop->space);
    peer_free(&shop->peer);
    event_base_free(shop->loop);
    free(shop->burst);
    free(shop);
    return 0;
}

/* ---- the front-end ---- */

static inline uint64_t user_of(uint64_t addr)
{
    return addr < PEER_HIGH ? PEER_USER + addr : PEER_USER + PEER_HALF_BYTES + (addr - PEER_HIGH);
}

/* Reads what the rings miss; how many misses are sent to the front-end for it. */
static inline unsigned send_misses(struct shop *shop)
{
    unsigned before = shop->miss_n;

    for (unsigned i = RX; i <= TX; i++)
        while (shop->miss_n < MISSES_MAX &&
               hg_iotlb_next_miss(shop->space.iotlb, &shop->asks[i], shop->now_ns,
                                  &shop->miss[shop->miss_n]))
            shop->miss_n++;
    hg_vhost_rings_retry(shop->vp);
    return shop->miss_n - before;
}

/* The front-end answers up to n of the misses, the oldest first; how many. */
static inline unsigned answer_sent(struct shop *shop, unsigned n)
{
    struct hg_err err;

    n = hg_min_u32(n, shop->miss_n);
    for (unsigned i = 0; i < n; i++)
        if (hg_iotlb_update(shop->space.iotlb, &shop->space, shop->miss[i].addr, PAGE,
                            user_of(shop->miss[i].addr), HG_PERM_READ | HG_PERM_WRITE, &err) != 0)
            fail_msg("%s", err.text);
    memmove(shop->miss, shop->miss + n, (shop->miss_n - n) * sizeof(shop->miss[0]));
    shop->miss_n -= n;
    if (n != 0)
        hg_vhost_rings_retry(shop->vp);
    return n;
}

static inline unsigned answer(struct shop *shop, unsigned n)
{
    send_misses(shop);
    return answer_sent(shop, n);
}

/* The front-end has not answered in time. */
static inline void expire(struct shop *shop)
{
    uint64_t next_ns;

    shop->now_ns += HG_IOTLB_MISS_TIMEOUT_NS + 1;
    shop->miss_n = 0;
    if (hg_iotlb_expire(shop->space.iotlb, shop->now_ns, &next_ns))
        hg_vhost_rings_retry(shop->vp);
}

/* The guest unmaps all. */
static inline void invalidate(struct shop *shop)
{
    if (hg_iotlb_unpublish(shop->space.iotlb, 0, 0)) {
        hg_qsbr_wait();
        hg_iotlb_settle(shop->space.iotlb);
    }
}

/* ---- the workers ---- */

static inline unsigned poll_once(struct shop *shop)
{
    struct hg_rxq *rxq = shop->port.rxq[0];
    unsigned n = rxq->rx(rxq, shop->burst);

    rxq->done(rxq);
    return n;
}

static inline bool arm(struct shop *shop)
{
    return shop->port.rxq[0]->arm(shop->port.rxq[0]);
}

static inline void disarm(struct shop *shop)
{
    shop->port.rxq[0]->disarm(shop->port.rxq[0]);
}

/* How often the poller was kicked since the last call. */
static inline uint64_t kicks(struct shop *shop)
{
    return peer_take_signals(shop->peer.ring[TX].kick);
}

/* A frame of 60 bytes with a number. */
static inline const uint8_t *frame_of(uint32_t seq)
{
    static uint8_t frame[60] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0};

    memcpy(frame + SEQ_AT, &seq, sizeof(seq));
    return frame;
}

/* Gives n frames of `len` bytes to the port. */
static inline void give(struct shop *shop, unsigned n, uint32_t len)
{
    static uint8_t rest[HG_FRAME_BYTES_MAX];
    static struct hg_pkt slot[HG_BURST_N];
    struct hg_seg seg = {.addr = rest, .len = len - hg_min_u32(len, HG_HEAD_BYTES)};
    struct hg_pkt *pkts[HG_BURST_N];

    for (unsigned i = 0; i < n; i++) {
        struct hg_pkt *pkt = &slot[i % HG_BURST_N];

        *pkt = (struct hg_pkt){.len = len, .seg = &seg, .seg_n = seg.len != 0};
        pkt->head_len = (uint16_t)hg_min_u32(len, HG_HEAD_BYTES);
        memcpy(pkt->head, frame_of(shop->given++), 60);
        memcpy(pkt->head + LEN_AT, &len, sizeof(len));
        pkts[i % HG_BURST_N] = pkt;
        if (i % HG_BURST_N == HG_BURST_N - 1 || i == n - 1)
            hg_port_tx(&shop->port, pkts, i % HG_BURST_N + 1);
    }
}

/* ---- the guest ---- */

/* Posts n buffers, or as many as the ring has room for. Returns how many. */
static inline unsigned post_some(struct shop *shop, unsigned n)
{
    unsigned posted = (uint16_t)(shop->peer.ring[RX].avail_idx - shop->peer.ring[RX].used_seen);

    n = hg_min_u32(n, PEER_RING_SIZE - posted);
    peer_post(&shop->peer, RX, n);
    return n;
}

/* Whether the guest is to kick when it posts buffers. */
static inline bool asked_for_kicks(struct shop *shop)
{
    const struct peer_ring *ring = &shop->peer.ring[RX];
    uint64_t end = ring->at + HG_DESC_BYTES(ring->num) + HG_AVAIL_BYTES(ring->num);
    const uint16_t *flags = peer_at(&shop->peer, (end + 63) & ~UINT64_C(63));

    /* Pairs with the barrier in hg_vq_dev_arm_posted(): what was posted, or this wish, is seen. */
    atomic_thread_fence(memory_order_seq_cst);
    return (__atomic_load_n(flags, __ATOMIC_RELAXED) & HG_USED_F_NO_NOTIFY) == 0;
}

/* Takes all that has come: whole frames, in the order given, none twice. Returns how many. */
static inline unsigned receive_all(struct shop *shop)
{
    unsigned n = 0;
    const uint8_t *at;
    size_t len;

    while ((at = peer_receive(&shop->peer, RX, &len)) != NULL) {
        uint32_t seq, said;
        uint16_t buffers;

        if ((uint32_t)(len + HG_NET_HDR_BYTES) == 0) {
            shop->empty++;
            continue;
        }
        memcpy(&buffers, at - sizeof(buffers), sizeof(buffers));
        memcpy(&seq, at + SEQ_AT, sizeof(seq));
        memcpy(&said, at + LEN_AT, sizeof(said));
        for (unsigned i = 1; i < buffers; i++) {
            size_t more;

            assert_non_null(peer_receive(&shop->peer, RX, &more));
            len += (uint32_t)(more + HG_NET_HDR_BYTES);
        }
        assert_int_equal(len, said);
        assert_true(seq >= shop->next);
        shop->next = seq + 1;
        n++;
    }
    shop->received += n;
    return n;
}

/* ---- what must be so ---- */

static inline uint64_t drop_n(struct shop *shop, enum hg_drop reason)
{
    return hg_count_get(&shop->port.txq[0]->stats.drops.reason[reason]);
}

static inline uint64_t drops(struct shop *shop)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < HG_DROP_N; i++)
        n += drop_n(shop, (enum hg_drop)i);
    return n;
}

static inline uint64_t parked(struct shop *shop)
{
    uint64_t ever, now;

    hg_vhost_parked(shop->vp, &ever, &now);
    return now;
}

static inline uint64_t ever_parked(struct shop *shop)
{
    uint64_t ever, now;

    hg_vhost_parked(shop->vp, &ever, &now);
    return ever;
}

static inline void assert_accounts(struct shop *shop)
{
    uint64_t delivered = hg_count_get(&shop->port.txq[0]->stats.packets);

    assert_int_equal(shop->given, delivered + drops(shop) + parked(shop));
}

static inline void assert_received(struct shop *shop, unsigned n)
{
    assert_int_equal(receive_all(shop), n);
    assert_int_equal(hg_count_get(&shop->port.txq[0]->stats.packets), shop->received);
}

#endif
