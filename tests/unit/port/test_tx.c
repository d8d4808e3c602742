#include "port/port.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../frame.h"
#include "../receiver.h"
#include "flow/offload.h"
#include "flow/parse.h"
#include "random.h"

static struct frame frames[HG_BURST_N];
static struct hg_pkt pkts[HG_BURST_N];
static struct hg_pkt *burst[HG_BURST_N];
static struct hg_pkt before[HG_BURST_N];
static struct hg_seg segs[HG_BURST_N][HG_BURST_SEGS];

static void receive(unsigned i)
{
    frame_end(&frames[i]);
    frame_scatter(&frames[i], &pkts[i], segs[i], HG_HEAD_BYTES, 700, NULL);
    hg_parse(&pkts[i]);
    burst[i] = &pkts[i];
    before[i] = pkts[i];
}

static void make_udp(unsigned i, unsigned flow, bool needs_csum)
{
    struct frame *f = &frames[i];
    uint8_t *udp;

    frame_begin(f);
    frame_ip4(f, 0, 0);
    udp = frame_udp(f);
    hg_store_be16(udp + HG_UDP_SRC_PORT, (uint16_t)(1000 + flow));
    frame_payload(f, 300 + i);
    receive(i);
    if (needs_csum)
        pkts[i].ol = (struct hg_offload){HG_OL_NEEDS_CSUM, 0, 0, (uint16_t)f->l4, HG_UDP_CSUM};
    before[i] = pkts[i];
}

static void make_tso(unsigned i, bool ip6, unsigned payload_bytes, unsigned gso_size, bool ecn)
{
    struct frame *f = &frames[i];

    frame_begin(f);
    if (ip6)
        frame_ip6(f);
    else
        frame_ip4(f, 0, HG_IP4_DF);
    frame_tcp(f, 12, HG_TCP_ACKED | HG_TCP_PSH | (ecn ? HG_TCP_CWR : 0));
    frame_payload(f, payload_bytes);
    receive(i);
    pkts[i].ol = (struct hg_offload){
        .flags = HG_OL_NEEDS_CSUM | (ecn ? HG_OL_TCP_ECN : 0),
        .gso = ip6 ? HG_GSO_TCP6 : HG_GSO_TCP4,
        .gso_size = (uint16_t)gso_size,
        .csum_start = (uint16_t)f->l4,
        .csum_offset = HG_TCP_CSUM,
    };
    assert_true(hg_offload_valid(&pkts[i]));
    before[i] = pkts[i];
}

/* The originals are what they were. */
static void check_unchanged(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        assert_memory_equal(&pkts[i], &before[i], sizeof(pkts[i]));
}

/* The transport checksum of a delivered frame that owes none, by the reference. */
static void check_summed(const struct kept *kept, const struct frame *f)
{
    uint8_t proto = f->bytes[f->proto_at];
    uint16_t pseudo = frame_pseudo_sum(kept->bytes + f->l3, proto, kept->len - f->l4);

    assert_int_equal(frame_reference_sum(pseudo, kept->bytes + f->l4, kept->len - f->l4), 0xffff);
}

static void one_queue_gets_plain_frames_as_they_are(void **state)
{
    (void)state;
    open_port(1, 0, 1000);
    for (unsigned i = 0; i < HG_BURST_N; i++)
        make_udp(i, i, false);
    hg_port_tx(&port, burst, HG_BURST_N);
    assert_int_equal(receivers[0].n, HG_BURST_N);
    assert_int_equal(receivers[0].calls_n, 1);
    for (unsigned i = 0; i < HG_BURST_N; i++)
        assert_ptr_equal(receivers[0].kept[i].from, &pkts[i]);
    check_accounts(HG_BURST_N);
}

static void a_receiver_with_all_offloads_gets_metadata(void **state)
{
    (void)state;
    open_port(1, HG_TX_ALL, 1000);
    make_udp(0, 0, true);
    make_tso(1, false, 60000, 1448, true);
    make_tso(2, true, 60000, 1428, false);
    hg_port_tx(&port, burst, 3);
    assert_int_equal(receivers[0].n, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_ptr_equal(receivers[0].kept[i].from, &pkts[i]);
        assert_memory_equal(&receivers[0].kept[i].ol, &before[i].ol, sizeof(before[i].ol));
    }
    check_unchanged(3);
    check_accounts(3);
}

static void a_missing_checksum_is_computed_in_a_copy(void **state)
{
    (void)state;
    open_port(1, 0, 1000);
    for (unsigned i = 0; i < HG_BURST_N; i++)
        make_udp(i, i, i % 2);
    for (unsigned again = 0; again < 2; again++)
        hg_port_tx(&port, burst, HG_BURST_N);
    assert_int_equal(receivers[0].n, 2 * HG_BURST_N);
    for (unsigned i = 0; i < 2 * HG_BURST_N; i++) {
        const struct kept *kept = &receivers[0].kept[i];
        unsigned k = i % HG_BURST_N;

        assert_int_equal(kept->len, frames[k].len);
        if (k % 2)
            check_summed(kept, &frames[k]);
        else
            assert_ptr_equal(kept->from, &pkts[k]);
        assert_memory_equal(kept->bytes + frames[k].payload, frames[k].bytes + frames[k].payload,
                            300 + k);
    }
    check_unchanged(HG_BURST_N);
    check_accounts(2 * HG_BURST_N);
}

/* Sends one TSO frame between two plain ones and checks what arrives. */
static void check_segmentation(bool ip6, bool ecn, unsigned offloads)
{
    const struct kept *kept = receivers[0].kept;
    unsigned sent = 0;
    unsigned n;

    open_port(1, offloads, 1000);
    make_udp(0, 0, false);
    make_tso(1, ip6, 60000, 1448, ecn);
    make_udp(2, 0, false);
    hg_port_tx(&port, burst, 3);
    n = (60000 + 1447) / 1448;
    assert_int_equal(receivers[0].n, n + 2);
    assert_int_equal(hg_count_get(&receivers[0].q.segmented), n - 1);
    assert_ptr_equal(kept[0].from, &pkts[0]);
    assert_ptr_equal(kept[n + 1].from, &pkts[2]);
    for (unsigned i = 1; i <= n; i++) {
        const uint8_t *tcp = kept[i].bytes + frames[1].l4;
        unsigned payload_bytes = kept[i].len - frames[1].payload;

        assert_int_equal(hg_load_be32(tcp + HG_TCP_SEQ), 0xfffff000 + sent);
        assert_int_equal((tcp[HG_TCP_FLAGS] & HG_TCP_PSH) != 0, i == n);
        assert_int_equal((tcp[HG_TCP_FLAGS] & HG_TCP_CWR) != 0, ecn && i == 1);
        assert_memory_equal(kept[i].bytes + frames[1].payload,
                            frames[1].bytes + frames[1].payload + sent, payload_bytes);
        if (offloads & HG_TX_CSUM)
            assert_int_equal(kept[i].ol.flags, HG_OL_NEEDS_CSUM);
        else
            check_summed(&kept[i], &frames[1]);
        sent += payload_bytes;
    }
    assert_int_equal(sent, 60000);
    check_unchanged(3);
    check_accounts(3);
}

static void a_missing_segmentation_is_done_in_order(void **state)
{
    (void)state;
    check_segmentation(false, false, 0);
    check_segmentation(true, false, 0);
    check_segmentation(false, false, HG_TX_CSUM);
    check_segmentation(true, false, HG_TX_CSUM | HG_TX_TSO4);
    check_segmentation(false, false, HG_TX_CSUM | HG_TX_TSO6);
}

static void ecn_needs_its_own_offload(void **state)
{
    (void)state;
    check_segmentation(false, true, HG_TX_CSUM | HG_TX_TSO4 | HG_TX_TSO6);
    check_segmentation(true, true, HG_TX_CSUM | HG_TX_TSO4 | HG_TX_TSO6);
}

static void a_full_receiver_is_counted_and_keeps_the_first(void **state)
{
    (void)state;
    for (unsigned room = 0; room <= HG_BURST_N; room++) {
        open_port(1, 0, room);
        for (unsigned i = 0; i < HG_BURST_N; i++)
            make_udp(i, i, false);
        hg_port_tx(&port, burst, HG_BURST_N);
        assert_int_equal(receivers[0].n, room);
        assert_int_equal(drops(0, HG_DROP_TX_FULL), HG_BURST_N - room);
        check_accounts(HG_BURST_N);
    }
}

static void a_receiver_that_fills_up_in_a_segmentation_is_counted(void **state)
{
    const unsigned segments_n = (30000 + 999) / 1000;

    (void)state;
    for (unsigned room = 0; room <= 2 * segments_n + 2; room++) {
        unsigned n = hg_min_u32(room, 2 * segments_n + 1);

        open_port(1, 0, room);
        make_tso(0, false, 30000, 1000, false);
        make_udp(1, 0, true);
        make_tso(2, true, 30000, 1000, false);
        hg_port_tx(&port, burst, 3);
        assert_int_equal(receivers[0].n, n);
        check_accounts(3);
        check_unchanged(3);
    }
}

static void nothing_overtakes_what_found_no_room(void **state)
{
    (void)state;
    open_port(1, 0, 0);
    receivers[0].refill = 20;
    make_tso(0, false, 40000, 1000, false); /* the first 32 of 40 go in one call */
    make_udp(1, 0, true);
    make_tso(2, true, 30000, 1000, false);
    make_udp(3, 0, false);
    hg_port_tx(&port, burst, 4);
    assert_int_equal(receivers[0].calls_n, 1);
    assert_int_equal(receivers[0].n, 20);
    assert_int_equal(drops(0, HG_DROP_TX_FULL), 20 + 3);
    assert_int_equal(hg_count_get(&receivers[0].q.segmented), 39);
    check_accounts(4);
}

static void the_smallest_segments_do_not_cost_more_than_the_receiver_takes(void **state)
{
    (void)state;
    open_port(1, 0, 100);
    make_tso(0, false, 60000, HG_GSO_SIZE_MIN, false);
    hg_port_tx(&port, burst, 1);
    assert_int_equal(receivers[0].n, 100);
    assert_int_equal(receivers[0].calls_n, 100 / HG_BURST_N + 1);
    assert_int_equal(drops(0, HG_DROP_TX_FULL), 60000 / HG_GSO_SIZE_MIN - 100);
    check_accounts(1);
}

static void many_short_pieces_are_sent_in_several_turns(void **state)
{
    (void)state;
    open_port(1, 0, 1000);
    make_tso(0, false, 3000, 1500, false);
    make_tso(1, true, 3000, 1500, false);
    for (unsigned i = 0; i < 2; i++) { /* one slice for each three bytes: 500 for a segment */
        struct hg_offload ol = pkts[i].ol;

        frame_scatter(&frames[i], &pkts[i], segs[i], frames[i].payload, 3, NULL);
        hg_parse(&pkts[i]);
        pkts[i].ol = ol;
        before[i] = pkts[i];
    }
    hg_port_tx(&port, burst, 2);
    assert_int_equal(receivers[0].n, 4);
    assert_true(receivers[0].calls_n > 1);
    for (unsigned i = 0; i < 4; i++) {
        check_summed(&receivers[0].kept[i], &frames[i / 2]);
        assert_memory_equal(receivers[0].kept[i].bytes + frames[i / 2].payload,
                            frames[i / 2].bytes + frames[i / 2].payload + i % 2 * 1500, 1500);
    }
    check_unchanged(2);
    check_accounts(2);
}

static void what_software_cannot_do_is_counted(void **state)
{
    (void)state;
    open_port(1, HG_TX_TSO4, 1000);
    make_udp(0, 0, true); /* a checksum behind the head */
    pkts[0].ol.csum_start = HG_HEAD_BYTES;
    before[0] = pkts[0];
    make_udp(1, 0, true);
    hg_port_tx(&port, burst, 2);
    assert_int_equal(receivers[0].n, 1);
    assert_int_equal(drops(0, HG_DROP_TX_NO_OFFLOAD), 1);
    check_unchanged(2);
    check_accounts(2);
}

static void what_the_driver_refuses_is_not_counted_twice(void **state)
{
    (void)state;
    open_port(1, 0, 1000);
    for (unsigned i = 0; i < 4; i++)
        make_udp(i, i, i == 0);
    frames[2].len = 13;
    frame_scatter(&frames[2], &pkts[2], segs[2], HG_HEAD_BYTES, 700, NULL);
    hg_parse(&pkts[2]);
    hg_port_tx(&port, burst, 4);
    assert_int_equal(receivers[0].n, 3);
    assert_int_equal(drops(0, HG_DROP_TX_NO_ROOM), 1);
    assert_int_equal(drops(0, HG_DROP_TX_FULL), 0);
    check_accounts(4);
}

static void a_port_that_is_down_loses_everything_by_name(void **state)
{
    (void)state;
    open_port(0, 0, 1000);
    for (unsigned i = 0; i < 5; i++)
        make_udp(i, i, i % 2);
    hg_port_tx(&port, burst, 5);
    assert_int_equal(drops(0, HG_DROP_PORT_DOWN), 5);
    assert_int_equal(receivers[0].calls_n, 0);
    check_accounts(5);
}

static void a_queue_that_stops_meanwhile_is_down_and_not_full(void **state)
{
    (void)state;
    open_port(1, 0, 1000);
    atomic_store(&receivers[0].q.running, false);
    make_udp(0, 0, false);
    make_tso(1, false, 5000, 1000, false);
    hg_port_tx(&port, burst, 1);
    assert_int_equal(drops(0, HG_DROP_PORT_DOWN), 1);
    hg_port_tx(&port, burst, 2);
    assert_int_equal(drops(0, HG_DROP_TX_FULL), 0);
    check_accounts(3);
}

static void several_queues_keep_flows_together_and_in_order(void **state)
{
    enum { FLOWS_N = 7, ROUNDS_N = 20 };
    unsigned queue_of[FLOWS_N];
    unsigned used_n = 0;

    (void)state;
    for (unsigned queue_n = 2; queue_n <= HG_PORT_QUEUES_MAX; queue_n++) {
        open_port(queue_n, 0, 1000);
        memset(queue_of, 0xff, sizeof(queue_of));
        for (unsigned i = 0; i < HG_BURST_N; i++) {
            if (i % 8 == 5)
                make_tso(i, false, 2000, 1000, false);
            else
                make_udp(i, i % FLOWS_N, i % 3 == 0);
        }
        hg_port_tx(&port, burst, HG_BURST_N);
        for (unsigned q = 0; q < HG_PORT_QUEUES_MAX; q++) {
            unsigned last_len = 0;
            uint32_t last_seq = 0;

            used_n += receivers[q].n != 0;
            assert_true(q < queue_n || receivers[q].n == 0);
            for (unsigned k = 0; k < receivers[q].n; k++) {
                const struct kept *kept = &receivers[q].kept[k];
                unsigned flow = hg_load_be16(kept->bytes + frames[0].l4) - 1000u;

                if (kept->bytes[frames[0].l3 + HG_IP4_PROTO] == HG_IP_PROTO_TCP) {
                    uint32_t seq = hg_load_be32(kept->bytes + frames[0].l4 + HG_TCP_SEQ);

                    assert_true(last_seq == 0 || seq - last_seq == 1000 || last_seq - seq == 1000);
                    last_seq = seq;
                    continue;
                }
                if (queue_of[flow] == UINT32_MAX)
                    queue_of[flow] = q;
                assert_int_equal(queue_of[flow], q);
                assert_true(kept->len > last_len); /* the length counts the frames */
                last_len = kept->len;
            }
        }
        check_unchanged(HG_BURST_N);
        check_accounts(HG_BURST_N);
    }
    assert_true(used_n > 3 * HG_PORT_QUEUES_MAX);
}

static void random_bursts_balance_their_accounts(void **state)
{
    uint64_t dice = 77;

    (void)state;
    for (unsigned round = 0; round < 2000; round++) {
        unsigned n = 1 + random_u32(&dice) % HG_BURST_N;

        open_port(random_u32(&dice) % 5, random_u32(&dice) % 16, random_u32(&dice) % 120);
        for (unsigned i = 0; i < n; i++) {
            unsigned kind = random_u32(&dice) % 4;

            if (kind == 0)
                make_tso(i, random_u32(&dice) % 2, 1 + random_u32(&dice) % 8000,
                         500 + random_u32(&dice) % 2000, random_u32(&dice) % 2);
            else
                make_udp(i, random_u32(&dice) % 50, kind == 1);
            if (kind == 1 && random_u32(&dice) % 4 == 0)
                pkts[i].ol.csum_start = (uint16_t)(frames[i].payload + random_u32(&dice) % 200);
            before[i] = pkts[i];
        }
        hg_port_tx(&port, burst, n);
        check_unchanged(n);
        check_accounts(n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_queue_gets_plain_frames_as_they_are),
        cmocka_unit_test(a_receiver_with_all_offloads_gets_metadata),
        cmocka_unit_test(a_missing_checksum_is_computed_in_a_copy),
        cmocka_unit_test(a_missing_segmentation_is_done_in_order),
        cmocka_unit_test(ecn_needs_its_own_offload),
        cmocka_unit_test(a_full_receiver_is_counted_and_keeps_the_first),
        cmocka_unit_test(a_receiver_that_fills_up_in_a_segmentation_is_counted),
        cmocka_unit_test(nothing_overtakes_what_found_no_room),
        cmocka_unit_test(the_smallest_segments_do_not_cost_more_than_the_receiver_takes),
        cmocka_unit_test(many_short_pieces_are_sent_in_several_turns),
        cmocka_unit_test(what_software_cannot_do_is_counted),
        cmocka_unit_test(what_the_driver_refuses_is_not_counted_twice),
        cmocka_unit_test(a_port_that_is_down_loses_everything_by_name),
        cmocka_unit_test(a_queue_that_stops_meanwhile_is_down_and_not_full),
        cmocka_unit_test(several_queues_keep_flows_together_and_in_order),
        cmocka_unit_test(random_bursts_balance_their_accounts),
    };

    return cmocka_run_group_tests_name("port/tx", tests, NULL, NULL);
}
