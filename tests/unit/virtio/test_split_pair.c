/*
 * Both ends of a split ring against each other: random frames in random buffers, chained or not,
 * through indirect tables or not, merged or not, with event indices or not, must come out with the
 * same bytes, the same offload request and in the same order; and whoever asked to be woken is told to
 * wake up.
 */
#include "rings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

enum {
    FRAMES_N = 400, /* of one run */
    RUNS_N = 60,
    CHUNKS_MAX = 24,
    SLOT_BYTES = 65549 + HG_NET_HDR_BYTES + CHUNKS_MAX * 64 + 4096,
    TABLE_AT = 65549 + HG_NET_HDR_BYTES + CHUNKS_MAX * 64, /* of an indirect table in a slot */
    SLOTS_MAX = 64,
};

struct run {
    uint64_t random;
    struct guest guest;
    struct ring_pair pair;
    struct hg_queue_stats stats;
    bool mergeable;
    bool indirect;

    uint32_t len[FRAMES_N];
    struct hg_net_hdr hdr[FRAMES_N];
    uint32_t sent_n;
    uint32_t came_n;
    uint8_t frame[HG_FRAME_BYTES_MAX + HG_NET_HDR_BYTES];

    uint64_t slot_of[SLOTS_MAX]; /* guest memory of each descriptor that is a head */
    struct hg_burst burst;
    bool driver_asleep;
    bool device_asleep;
};

static void begin(struct run *run, uint64_t seed, bool receives)
{
    uint16_t num = (uint16_t)(1u << random_in(&seed, 1, 6));

    memset(run, 0, sizeof(*run));
    run->random = seed;
    run->mergeable = random_in(&run->random, 0, 1);
    run->indirect = random_in(&run->random, 0, 1);
    guest_init(&run->guest, (uint64_t)SLOTS_MAX * SLOT_BYTES);
    ring_pair_init(&run->pair, num, receives, random_in(&run->random, 0, 1), &run->guest.space);
    run->pair.dev.mergeable = run->mergeable;
    run->pair.dev.indirect = run->indirect;
    for (unsigned i = 0; i < SLOTS_MAX; i++)
        run->slot_of[i] = GUEST_ADDR + (uint64_t)i * SLOT_BYTES;
}

static void end(struct run *run)
{
    assert_int_equal(run->pair.drv.fault, HG_DRV_OK);
    assert_int_equal(run->pair.dev.fault, HG_VRING_OK);
    ring_pair_free(&run->pair);
    guest_free(&run->guest);
}

/* A request that does not contradict the frame, or none. */
static struct hg_net_hdr random_hdr(struct run *run, uint32_t len)
{
    struct hg_net_hdr hdr = {0};

    if (len < 60 || random_in(&run->random, 0, 2) != 0)
        return hdr;
    hdr.flags = HG_NET_HDR_F_NEEDS_CSUM;
    hdr.csum_start = 34;
    hdr.csum_offset = 16;
    if (random_in(&run->random, 0, 1)) {
        hdr.gso_type = random_in(&run->random, 0, 1) ? HG_NET_HDR_GSO_TCPV4 : HG_NET_HDR_GSO_TCPV6;
        hdr.gso_size = (uint16_t)random_in(&run->random, 1, 9000);
    }
    return hdr;
}

/* Cuts `len` bytes from `addr` on into at most `max` buffers, perhaps with gaps between them. */
static unsigned cut(struct run *run, uint64_t addr, uint32_t len, unsigned max, uint16_t flags,
                    struct hg_drv_buf *bufs)
{
    unsigned n = 0;

    max = random_in(&run->random, 1, max);
    while (len != 0) {
        uint32_t part = n + 1 == max ? len : random_in(&run->random, 1, len);

        if (n + 1 != max && random_in(&run->random, 0, 1))
            part = hg_min_u32(part, random_in(&run->random, 1, 40));
        bufs[n++] = (struct hg_drv_buf){.addr = addr, .len = part, .flags = flags};
        addr += part + random_in(&run->random, 0, 64);
        len -= part;
    }
    return n;
}

/* Adds the buffers as one chain, or through a table behind them if that is allowed. Returns the head. */
static uint16_t add(struct run *run, const struct hg_drv_buf *bufs, unsigned n, uint32_t room,
                    bool through_table)
{
    struct hg_drv *drv = &run->pair.drv;
    uint16_t head = hg_drv_id(drv, 0);
    uint64_t table_addr = run->slot_of[head] + TABLE_AT + random_in(&run->random, 0, 3) * 16;

    if (!through_table) {
        if (n == 1 && random_in(&run->random, 0, 1))
            hg_drv_add(drv, bufs, 1);
        else
            hg_drv_add_chain(drv, bufs, n, room);
        return head;
    }
    for (unsigned i = 0; i < n; i++) {
        bool last = i + 1 == n;
        struct hg_desc desc = {
            .addr = bufs[i].addr,
            .len = bufs[i].len,
            .flags = (uint16_t)(bufs[i].flags | (last ? 0 : HG_DESC_F_NEXT)),
            .next = (uint16_t)(last ? 0 : i + 1),
        };

        guest_copy(&run->guest, table_addr + i * sizeof(desc), (uint8_t *)&desc, sizeof(desc),
                   false);
    }
    const struct hg_drv_buf table = {table_addr, (uint32_t)(n * sizeof(struct hg_desc)),
                                     HG_DESC_F_INDIRECT};

    hg_drv_add_chain(drv, &table, 1, room);
    return head;
}

/* Publishes, and checks that a device that sleeps is woken, and one that does not is left alone. */
static void publish(struct run *run)
{
    bool something = run->pair.drv.avail_idx != run->pair.drv.avail_published;
    bool kick = hg_drv_publish(&run->pair.drv);

    assert_int_equal(kick, something && run->device_asleep);
    if (kick) {
        run->device_asleep = false;
        hg_vq_dev_disarm(&run->pair.dev);
    }
}

static void notified(struct run *run, bool notify, bool something)
{
    assert_int_equal(notify, something && run->driver_asleep);
    if (notify) {
        run->driver_asleep = false;
        hg_drv_disarm(&run->pair.drv);
    }
}

/* From the driver to the device. */

static bool guest_sends(struct run *run)
{
    struct hg_drv *drv = &run->pair.drv;
    uint32_t number = run->sent_n;
    struct hg_drv_buf bufs[CHUNKS_MAX];
    bool through_table = run->indirect && random_in(&run->random, 0, 1);
    unsigned max = hg_min_u32(CHUNKS_MAX, drv->num); /* a chain is never longer (2.7.5.3.1) */
    uint8_t *at = run->frame;
    unsigned n;

    if (!through_table)
        max = hg_min_u32(max, drv->free_n);
    if (drv->free_n == 0 || number == FRAMES_N)
        return false;
    run->len[number] = random_len(&run->random);
    run->hdr[number] = random_hdr(run, run->len[number]);
    memcpy(run->frame, &run->hdr[number], HG_NET_HDR_BYTES);
    fill_frame(run->frame + HG_NET_HDR_BYTES, number, run->len[number]);
    n = cut(run, run->slot_of[hg_drv_id(drv, 0)], HG_NET_HDR_BYTES + run->len[number], max, 0,
            bufs);
    for (unsigned i = 0; i < n; at += bufs[i++].len)
        guest_copy(&run->guest, bufs[i].addr, at, bufs[i].len, false);
    add(run, bufs, n, 0, through_table);
    run->sent_n++;
    return true;
}

static void check_offload(const struct hg_net_hdr *hdr, const struct hg_offload *ol)
{
    static const uint8_t gso[] = {
        [HG_NET_HDR_GSO_TCPV4] = HG_GSO_TCP4, [HG_NET_HDR_GSO_TCPV6] = HG_GSO_TCP6};

    assert_int_equal(ol->flags, hdr->flags ? HG_OL_NEEDS_CSUM : 0);
    assert_int_equal(ol->csum_start, hdr->csum_start);
    assert_int_equal(ol->csum_offset, hdr->csum_offset);
    assert_int_equal(ol->gso, hdr->gso_type ? gso[hdr->gso_type] : HG_GSO_NONE);
    assert_int_equal(ol->gso_size, hdr->gso_size);
}

static void check_packet(struct run *run, const struct hg_pkt *pkt)
{
    uint32_t number = run->came_n++;
    uint32_t len = pkt->head_len;

    assert_int_equal(pkt->len, run->len[number]);
    assert_int_equal(pkt->head_len, hg_min_u32(pkt->len, HG_HEAD_BYTES));
    check_offload(&run->hdr[number], &pkt->ol);
    memcpy(run->frame, pkt->head, len);
    for (unsigned i = 0; i < pkt->seg_n; i++) {
        assert_true(pkt->seg[i].len != 0 && pkt->seg[i].len <= pkt->len - len);
        memcpy(run->frame + len, pkt->seg[i].addr, pkt->seg[i].len);
        len += pkt->seg[i].len;
    }
    assert_int_equal(len, pkt->len);
    for (uint32_t i = 0; i < len; i++)
        if (run->frame[i] != frame_byte(number, i))
            fail_msg("frame %u of %u bytes differs at byte %u", number, len, i);
}

static void device_receives(struct run *run)
{
    unsigned n;
    bool notify;

    if (run->device_asleep)
        return;
    n = hg_vq_dev_rx(&run->pair.dev, &run->burst, &run->stats);
    assert_int_equal(n, run->burst.n);
    for (unsigned i = 0; i < n; i++)
        check_packet(run, &run->burst.pkt[i]);
    notify = hg_vq_dev_rx_done(&run->pair.dev);
    notified(run, notify, n != 0);
    if (n == 0 && random_in(&run->random, 0, 1)) {
        run->device_asleep = !hg_vq_dev_arm(&run->pair.dev);
        assert_int_equal(run->device_asleep,
                         run->came_n == run->sent_n ||
                             run->pair.drv.avail_published == run->pair.dev.last_avail);
        if (!run->device_asleep)
            hg_vq_dev_disarm(&run->pair.dev);
    }
}

static void driver_sleeps(struct run *run)
{
    if (run->driver_asleep || random_in(&run->random, 0, 3) != 0)
        return;
    run->driver_asleep = !hg_drv_arm(&run->pair.drv);
    if (!run->driver_asleep)
        hg_drv_disarm(&run->pair.drv);
}

static void run_transmit(struct run *run)
{
    while (run->came_n < FRAMES_N) {
        for (unsigned n = random_in(&run->random, 0, 40); n != 0 && guest_sends(run); n--)
            ;
        publish(run);
        device_receives(run);
        if (random_in(&run->random, 0, 1))
            hg_drv_reclaim(&run->pair.drv, random_in(&run->random, 1, SLOTS_MAX));
        driver_sleeps(run);
    }
    hg_drv_reclaim(&run->pair.drv, SLOTS_MAX);
    assert_int_equal(run->pair.drv.free_n, run->pair.drv.num);
    assert_int_equal(hg_count_get(&run->stats.packets), FRAMES_N);
    for (unsigned i = 0; i < HG_DROP_N; i++)
        assert_int_equal(hg_count_get(&run->stats.drops.reason[i]), 0);
}

static void test_transmit(void **state)
{
    static struct run run;

    (void)state;
    for (uint64_t seed = 1; seed <= RUNS_N; seed++) {
        begin(&run, seed * UINT64_C(0x9e3779b97f4a7c15), false);
        run_transmit(&run);
        end(&run);
    }
}

/* From the device to the driver. */

/* What was posted under each head: the buffers, to read the frame out of them. */
struct posted {
    struct hg_drv_buf bufs[CHUNKS_MAX];
    unsigned n;
    uint32_t room;
};

struct receive {
    struct run run;
    struct posted posted[SLOTS_MAX];
};

static bool driver_posts(struct receive *r)
{
    struct run *run = &r->run;
    struct hg_drv *drv = &run->pair.drv;
    bool through_table = run->indirect && random_in(&run->random, 0, 1);
    unsigned max = hg_min_u32(CHUNKS_MAX, drv->num);
    uint32_t longest = HG_NET_HDR_BYTES + 65549;
    struct posted *posted;
    uint16_t head;

    if (!through_table)
        max = hg_min_u32(max, drv->free_n);
    if (drv->free_n == 0)
        return false;
    head = hg_drv_id(drv, 0);
    posted = &r->posted[head];
    /* A ring full of single merged buffers holds the longest frame. */
    posted->room = run->mergeable && random_in(&run->random, 0, 7) != 0
                       ? random_in(&run->random, longest / drv->num + 1,
                                   hg_min_u32(longest, longest / drv->num + 4096))
                       : longest;
    posted->n = cut(run, run->slot_of[head], posted->room, max, HG_DESC_F_WRITE, posted->bufs);
    add(run, posted->bufs, posted->n, posted->room, through_table);
    return true;
}

/* A packet as a driver of another port would hand it over: a private head and scattered segments. */
static void make_packet(struct run *run, uint32_t number, struct hg_pkt *pkt, struct hg_seg *segs,
                        uint8_t *frame)
{
    uint32_t len = run->len[number];
    uint32_t at;

    fill_frame(frame, number, len);
    memset(pkt, 0, sizeof(*pkt));
    pkt->len = len;
    pkt->head_len = (uint16_t)hg_min_u32(len, HG_HEAD_BYTES);
    memcpy(pkt->head, frame, pkt->head_len);
    pkt->seg = segs;
    for (at = pkt->head_len; at < len; at += segs[pkt->seg_n++].len)
        segs[pkt->seg_n] = (struct hg_seg){
            .addr = frame + at,
            .len = pkt->seg_n == CHUNKS_MAX - 1 ? len - at : random_in(&run->random, 1, len - at),
        };
    pkt->ol.flags = run->hdr[number].flags ? HG_OL_NEEDS_CSUM : 0;
    pkt->ol.csum_start = run->hdr[number].csum_start;
    pkt->ol.csum_offset = run->hdr[number].csum_offset;
    pkt->ol.gso_size = run->hdr[number].gso_size;
    pkt->ol.gso = run->hdr[number].gso_type == HG_NET_HDR_GSO_TCPV4   ? HG_GSO_TCP4
                  : run->hdr[number].gso_type == HG_NET_HDR_GSO_TCPV6 ? HG_GSO_TCP6
                                                                      : HG_GSO_NONE;
}

/* Sends a burst of new frames; what finds no room is forgotten. */
static void device_sends(struct receive *r)
{
    static struct hg_pkt pkt[HG_BURST_N];
    static struct hg_seg segs[HG_BURST_N][CHUNKS_MAX];
    static uint8_t frame[HG_BURST_N][HG_FRAME_BYTES_MAX];
    struct run *run = &r->run;
    struct hg_pkt *pkts[HG_BURST_N];
    unsigned n = random_in(&run->random, 1, HG_BURST_N);
    unsigned done;
    bool notify;

    n = hg_min_u32(n, FRAMES_N - run->sent_n);
    for (unsigned i = 0; i < n; i++) {
        run->len[run->sent_n + i] = random_len(&run->random);
        run->hdr[run->sent_n + i] = random_hdr(run, run->len[run->sent_n + i]);
        make_packet(run, run->sent_n + i, &pkt[i], segs[i], frame[i]);
        pkts[i] = &pkt[i];
    }
    done = hg_vq_dev_tx(&run->pair.dev, pkts, n, &run->stats, &notify);
    assert_true(done <= n);
    run->sent_n += done;
    notified(run, notify, done != 0);
}

/* Appends what the device wrote into a chain to run->frame. */
static uint32_t read_chain(struct receive *r, const struct hg_drv_used *used, uint32_t at)
{
    const struct posted *posted = &r->posted[used->id];
    uint32_t left = used->len;

    assert_true(used->len != 0 && used->len <= posted->room);
    for (unsigned i = 0; i < posted->n && left != 0; i++) {
        uint32_t part = hg_min_u32(posted->bufs[i].len, left);

        assert_true(at + part <= sizeof(r->run.frame));
        guest_copy(&r->run.guest, posted->bufs[i].addr, r->run.frame + at, part, true);
        at += part;
        left -= part;
    }
    assert_int_equal(left, 0);
    return at;
}

static void driver_receives(struct receive *r)
{
    struct run *run = &r->run;
    uint32_t number = run->came_n;
    struct hg_drv_used used;
    struct hg_net_hdr hdr;
    uint32_t bytes;

    if (hg_drv_reap(&run->pair.drv, &used, 1) == 0)
        return;
    bytes = read_chain(r, &used, 0);
    memcpy(&hdr, run->frame, sizeof(hdr));
    assert_true(hdr.num_buffers == 1 || (run->mergeable && hdr.num_buffers > 1));
    for (unsigned i = 1; i < hdr.num_buffers; i++) {
        assert_int_equal(used.len, r->posted[used.id].room); /* all but the last are full */
        assert_int_equal(hg_drv_reap(&run->pair.drv, &used, 1), 1);
        bytes = read_chain(r, &used, bytes);
    }
    assert_int_equal(bytes, run->len[number] + sizeof(hdr));
    assert_int_equal(hdr.flags, run->hdr[number].flags);
    assert_int_equal(hdr.gso_type, run->hdr[number].gso_type);
    if (hdr.gso_type != HG_NET_HDR_GSO_NONE)
        assert_int_equal(hdr.gso_size, run->hdr[number].gso_size);
    for (uint32_t i = 0; i < run->len[number]; i++)
        if (run->frame[sizeof(hdr) + i] != frame_byte(number, i))
            fail_msg("frame %u of %u bytes differs at byte %u", number, run->len[number], i);
    run->came_n++;
}

static void run_receive(struct receive *r)
{
    struct run *run = &r->run;

    while (run->came_n < FRAMES_N) {
        for (unsigned n = random_in(&run->random, 0, 40); n != 0 && driver_posts(r); n--)
            ;
        publish(run);
        if (run->sent_n < FRAMES_N)
            device_sends(r);
        for (unsigned n = random_in(&run->random, 0, 40); n != 0; n--)
            driver_receives(r);
        driver_sleeps(run);
    }
    assert_int_equal(hg_count_get(&run->stats.packets), FRAMES_N);
    for (unsigned i = 0; i < HG_DROP_N; i++)
        assert_int_equal(hg_count_get(&run->stats.drops.reason[i]), 0);
}

static void test_receive(void **state)
{
    static struct receive r;

    (void)state;
    for (uint64_t seed = 1; seed <= RUNS_N; seed++) {
        begin(&r.run, seed * UINT64_C(0xd1342543de82ef95), true);
        run_receive(&r);
        end(&r.run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transmit),
        cmocka_unit_test(test_receive),
    };

    return cmocka_run_group_tests_name("both ends of a split ring", tests, NULL, NULL);
}
