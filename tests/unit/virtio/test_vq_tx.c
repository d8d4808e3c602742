/*
 * The device sends, a guest receives, on a ring of either format: random frames into random
 * buffers, merged or not, chained or not, through indirect tables or not, with event indices or
 * not, in batches or not, must come out with the same bytes, the same offload request and in the
 * same order; and whoever asked to be woken is told to wake up. Now and then the device hands the
 * ring over to another one.
 */
#include "pair.h"

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
    uint32_t least;
    struct posted *posted;
    uint16_t head;

    if (drv->free_n == 0)
        return false;
    if (!through_table)
        max = random_in(&run->random, 1, hg_min_u32(max, drv->free_n));
    head = hg_drv_id(drv, 0);
    posted = &r->posted[head];
    /* A ring full of merged buffers holds the longest frame, however many descriptors each has. */
    least = (longest / drv->num + 1) * (through_table ? 1 : max);
    posted->room =
        run->mergeable && random_in(&run->random, 0, 7) != 0
            ? random_in(&run->random, hg_min_u32(longest, least), hg_min_u32(longest, least + 4096))
            : longest;
    posted->n = cut(run, run->slot_of[head], posted->room, max, HG_DESC_F_WRITE, posted->bufs);
    add(run, posted->bufs, posted->n, posted->room, through_table);
    return true;
}

/* A packet as a driver of another port would hand it over: a private head and scattered
 * segments. */
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
    hand_over(run);
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
        change_mappings(run, HG_PERM_WRITE);
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

static void receives(bool packed)
{
    static struct receive r;

    for (uint64_t seed = 1; seed <= RUNS_N; seed++) {
        begin(&r.run, seed * UINT64_C(0xd1342543de82ef95), true, packed);
        run_receive(&r);
        end(&r.run);
    }
}

static void split(void **state)
{
    (void)state;
    receives(false);
}

static void packed(void **state)
{
    (void)state;
    receives(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split),
        cmocka_unit_test(packed),
    };

    return cmocka_run_group_tests_name("a guest receives", tests, NULL, NULL);
}
