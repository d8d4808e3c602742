/*
 * A guest sends, the device receives, on a ring of either format: random frames in random buffers,
 * chained or not, through indirect tables or not, with event indices or not, in batches or not,
 * must come out with the same bytes, the same offload request and in the same order; and whoever
 * asked to be woken is told to wake up. Now and then the device hands the ring over to another one.
 */
#include "pair.h"

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
    hand_over(run);
    n = hg_vq_dev_rx(&run->pair.dev, &run->burst, &run->stats);
    assert_int_equal(n, run->burst.n);
    for (unsigned i = 0; i < n; i++)
        check_packet(run, &run->burst.pkt[i]);
    notify = hg_vq_dev_rx_done(&run->pair.dev);
    notified(run, notify, n != 0);
    if (n == 0 && !run->pair.dev.missing && random_in(&run->random, 0, 1)) {
        run->device_asleep = !hg_vq_dev_arm(&run->pair.dev);
        assert_int_equal(run->device_asleep,
                         run->came_n == run->sent_n ||
                             same_position(&run->pair.dev, run->pair.drv.avail_published,
                                           run->pair.dev.last_avail));
        if (!run->device_asleep)
            hg_vq_dev_disarm(&run->pair.dev);
    }
}

static void run_transmit(struct run *run)
{
    while (run->came_n < FRAMES_N) {
        for (unsigned n = random_in(&run->random, 0, 40); n != 0 && guest_sends(run); n--)
            ;
        publish(run);
        change_mappings(run, HG_PERM_READ);
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

static void transmits(bool packed)
{
    static struct run run;

    for (uint64_t seed = 1; seed <= RUNS_N; seed++) {
        begin(&run, seed * UINT64_C(0x9e3779b97f4a7c15), false, packed);
        run_transmit(&run);
        end(&run);
    }
}

static void split(void **state)
{
    (void)state;
    transmits(false);
}

static void packed(void **state)
{
    (void)state;
    transmits(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split),
        cmocka_unit_test(packed),
    };

    return cmocka_run_group_tests_name("a guest sends", tests, NULL, NULL);
}
