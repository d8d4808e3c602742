#include "port/memory/memory.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "flow/parse.h"
#include "port/memory/stamp.h"
#include "rig.h"
#include "wire/csum.h"

static struct hg_burst burst;

static unsigned rx(struct hg_port *port, unsigned queue)
{
    return port->rxq[queue]->rx(port->rxq[queue], &burst);
}

static void done(struct hg_port *port, unsigned queue)
{
    port->rxq[queue]->done(port->rxq[queue]);
}

static void null_swallows(void **state)
{
    struct hg_port null, generator;

    (void)state;
    open_port(&null, 0, "null:queues=2");
    open_port(&generator, 1, "generator");
    assert_int_equal(null.queue_n, 2);
    assert_int_equal(rx(&null, 1), 0);
    done(&null, 1);
    assert_int_equal(rx(&generator, 0), HG_BURST_N);
    for (unsigned i = 0; i < HG_BURST_N; i++)
        burst.pkt[i].flow_hash = i << 27; /* half of them to each queue */
    send_burst(&null, &burst);
    assert_int_equal(hg_count_get(&null.txq[0]->stats.packets), HG_BURST_N / 2);
    assert_int_equal(hg_count_get(&null.txq[1]->stats.packets), HG_BURST_N / 2);
    assert_int_equal(hg_count_get(&null.txq[1]->stats.bytes), HG_BURST_N / 2 * 64);
    close_port(&null);
    close_port(&generator);
}

/* The frame in one piece. */
static void gather(const struct hg_pkt *pkt, uint8_t *bytes)
{
    uint32_t at = pkt->head_len;

    memcpy(bytes, pkt->head, pkt->head_len);
    for (unsigned i = 0; i < pkt->seg_n; i++) {
        memcpy(bytes + at, pkt->seg[i].addr, pkt->seg[i].len);
        at += pkt->seg[i].len;
    }
    assert_int_equal(at, pkt->len);
}

static void generator_makes_good_frames(void **state)
{
    static const unsigned sizes[] = {60, 61, 64, 65, 127, 128, 191, 192, 193, 1514, 9018};

    (void)state;
    for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        uint8_t bytes[9018];
        struct hg_port port;
        char text[64];

        snprintf(text, sizeof(text), "generator:size=%u,flows=0,dst=10.0.0.0/8", sizes[s]);
        open_port(&port, 7, text);
        memset(&burst, 0xff, sizeof(burst));
        assert_int_equal(rx(&port, 0), HG_BURST_N);
        for (unsigned i = 0; i < HG_BURST_N; i++) {
            struct hg_pkt *pkt = &burst.pkt[i];

            assert_int_equal(pkt->len, sizes[s]);
            assert_int_equal(pkt->port, 7);
            assert_int_equal(pkt->ol.flags | pkt->ol.gso, 0);
            hg_parse(pkt);
            assert_int_equal(pkt->parsed, HG_PARSED_IP4 | HG_PARSED_UDP);
            gather(pkt, bytes);
            assert_int_equal(hg_csum(bytes + 14, 20), 0);
            assert_int_equal(hg_load_be16(bytes + 16), sizes[s] - 14);
            assert_int_equal(hg_load_be16(bytes + 38), sizes[s] - 34);
            assert_int_equal(bytes[30], 10);
            for (unsigned k = HG_STAMP_END; k < sizes[s]; k++)
                assert_int_equal(bytes[k], (uint8_t)k);
        }
        done(&port, 0);
        close_port(&port);
    }
}

/* The flow of the packet: destination and ports. */
static uint64_t flow_of(const struct hg_pkt *pkt)
{
    return hg_load_raw64(pkt->head + 30);
}

static void flows_differ_and_come_in_turn(void **state)
{
    struct hg_port port;
    uint64_t flow[20];

    (void)state;
    open_port(&port, 0, "generator:flows=20,dst=10.1.0.0/16");
    for (unsigned i = 0; i < 320; i += HG_BURST_N) {
        assert_int_equal(rx(&port, 0), HG_BURST_N);
        for (unsigned k = 0; k < HG_BURST_N; k++) {
            uint64_t *seen = &flow[(i + k) % 20];

            if (i + k < 20)
                *seen = flow_of(&burst.pkt[k]);
            assert_true(*seen == flow_of(&burst.pkt[k]));
        }
    }
    for (unsigned i = 0; i < 20; i++)
        for (unsigned k = 0; k < i; k++)
            assert_true(flow[i] != flow[k]);
    close_port(&port);
}

static void a_count_ends_it(void **state)
{
    struct hg_port port;

    (void)state;
    open_port(&port, 0, "generator:count=67,queues=2");
    assert_int_equal(rx(&port, 0), 32);
    assert_true(port.rxq[0]->arm(port.rxq[0]));
    assert_status(&port, "up: makes frames of 64 bytes");
    assert_int_equal(rx(&port, 0), 2);
    assert_int_equal(rx(&port, 0), 0);
    assert_false(port.rxq[0]->arm(port.rxq[0]));
    assert_int_equal(rx(&port, 1), 32);
    assert_int_equal(rx(&port, 1), 1);
    assert_status(&port, "ended: all 67 frames are made");
    close_port(&port);
}

static void a_rate_is_kept(void **state)
{
    struct hg_port port;
    uint64_t begun_ns = hg_now_ns();
    unsigned n = 0;

    (void)state;
    open_port(&port, 0, "generator:rate=1000");
    while (n < 50) {
        struct pollfd fd = {.fd = port.rxq[0]->fd, .events = POLLIN};

        n += rx(&port, 0);
        done(&port, 0);
        /* Nothing is lost by sleeping until the descriptor says so. */
        if (!port.rxq[0]->arm(port.rxq[0]))
            assert_int_equal(poll(&fd, 1, 5000), 1);
        port.rxq[0]->disarm(port.rxq[0]);
    }
    assert_true(hg_now_ns() - begun_ns >= 49 * HG_NS_PER_MS);
    close_port(&port);
}

static void a_sink_sees_what_is_wrong(void **state)
{
    struct hg_port generator, sink;

    (void)state;
    open_port(&generator, 3, "generator:count=40");
    open_port(&sink, 4, "sink");
    rx(&generator, 0);
    send_burst(&sink, &burst);
    assert_status(&sink, "up: 32 frames, 0 missing, 0 late, 0 spoilt, 0 of no generator");
    assert_int_equal(rx(&generator, 0), 8);
    burst.pkt[1].head[14 + HG_IP4_TTL]--;  /* without its checksum */
    burst.pkt[2].head[HG_STAMP_MARK] ^= 1; /* 2 is nobody's */
    burst.pkt[3].len--;                    /* 3 is cut; so 33, 34, 35 are missing */
    burst.n = 6;
    send_burst(&sink, &burst);
    assert_status(&sink, "up: 38 frames, 3 missing, 0 late, 2 spoilt, 1 of no generator");
    burst.n = 1;
    send_burst(&sink, &burst); /* 32 again */
    assert_status(&sink, "up: 39 frames, 3 missing, 1 late, 2 spoilt, 1 of no generator");
    close_port(&generator);
    close_port(&sink);
}

static void refuses(const char *text, const char *sentence)
{
    struct hg_err err = {.text = ""};
    struct hg_port port;

    assert_int_equal(try_open(&port, 0, text, &err), -EINVAL);
    assert_string_equal(err.text, sentence);
}

static void refuses_by_sentence(void **state)
{
    (void)state;
    refuses("generator:size=59", "size: found '59'; expected a number from 60 to 9018");
    refuses("generator:dst=10.0.0.0/33",
            "dst: found '10.0.0.0/33'; expected an IPv4 prefix as in 198.18.0.0/15, or an address");
    refuses("generator:dst=10.0.0",
            "dst: found '10.0.0'; expected an IPv4 prefix as in 198.18.0.0/15, or an address");
    refuses("generator:src=10.0.0.0/8", "src: found a prefix of 8 bits; expected an address");
    refuses(
        "generator:dst_mac=02:00:00:00:00",
        "dst_mac: found '02:00:00:00:00'; expected an Ethernet address as in 02:00:00:00:00:01");
    refuses("generator:src_mac=02:00:00:00:00:0g",
            "src_mac: found '02:00:00:00:00:0g'; expected an Ethernet address as in "
            "02:00:00:00:00:01");
    refuses("loop:depth=100", "depth: found '100'; expected a power of two from 64 to 65536");
    refuses("sink:queues=2", "unknown key 'queues' in a port of type sink; expected none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_swallows),
        cmocka_unit_test(generator_makes_good_frames),
        cmocka_unit_test(flows_differ_and_come_in_turn),
        cmocka_unit_test(a_count_ends_it),
        cmocka_unit_test(a_rate_is_kept),
        cmocka_unit_test(a_sink_sees_what_is_wrong),
        cmocka_unit_test(refuses_by_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
