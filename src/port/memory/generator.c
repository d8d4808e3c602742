/*
 * The port type `generator`.
 *
 * A frame is made where it is needed, in the head that rx has to fill anyway: one cache line copied
 * from a template, then the destination, the ports, the checksum and the frame's number are written
 * over it. So a million flows cost no more memory than one, and what a benchmark measures is not
 * the fetching of prepared frames. A frame longer than the head ends in the template, which all
 * frames share and nobody writes.
 *
 * Flow i goes to an address drawn from the prefix by a mix of i, from the ports that i spells, so
 * flows differ, are the same in every run, and come in turn. Without a number of flows i never
 * returns.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "port/alarm.h"
#include "port/memory/memory.h"
#include "port/memory/queue.h"
#include "port/memory/stamp.h"
#include "wire/text.h"

enum { SIZE, FLOWS, DST, SRC, DST_MAC, SRC_MAC, RATE, COUNT, QUEUES, OPTION_N };

enum {
    SIZE_MAX_BYTES = 9018,
    TTL = 64,
    CATCH_UP_N =
        1024, /* frames that a generator with a rate may be behind and still makes up for */
    FRACTION_BITS = 20, /* of a nanosecond, in credits and costs */
};

static const struct hg_port_option options[] = {
    [SIZE] = {.name = "size",
              .type = HG_OPTION_UINT,
              .min = HG_STAMP_FRAME_MIN,
              .max = SIZE_MAX_BYTES,
              .preset = 64,
              .help = "Bytes of each frame, without its check sequence."},
    [FLOWS] =
        {.name = "flows",
         .type = HG_OPTION_UINT,
         .min = 0,
         .max = UINT32_MAX,
         .preset = 1,
         .help = "UDP flows that the frames belong to, in turn; 0: each frame to one of its own."},
    [DST] = {.name = "dst",
             .type = HG_OPTION_STRING,
             .help = "IPv4 prefix that destinations are drawn from, 198.19.0.0/16 by default."},
    [SRC] = {.name = "src",
             .type = HG_OPTION_STRING,
             .help = "IPv4 source address, 198.18.0.1 by default."},
    [DST_MAC] = {.name = "dst_mac",
                 .type = HG_OPTION_STRING,
                 .help = "Ethernet destination address, 02:68:67:ff:ff:ff by default."},
    [SRC_MAC] = {.name = "src_mac",
                 .type = HG_OPTION_STRING,
                 .help = "Ethernet source address; by default one made of the port's number."},
    [RATE] = {.name = "rate",
              .type = HG_OPTION_UINT,
              .min = 0,
              .max = 1000000000,
              .help = "Frames a second; 0: as fast as they are taken."},
    [COUNT] = {.name = "count",
               .type = HG_OPTION_UINT,
               .min = 0,
               .max = UINT64_MAX / 2,
               .help = "Frames in all, after which the port has ended; 0: no end."},
    [QUEUES] = {.name = "queues",
                .type = HG_OPTION_UINT,
                .min = 1,
                .max = HG_PORT_QUEUES_MAX,
                .preset = 1,
                .help = "Queue pairs, each of which makes its share."},
};

_Static_assert(HG_ARRAY_N(options) == OPTION_N, "every option has its entry");

/* What all frames of the port have in common; constant while it is open. */
struct model {
    const uint8_t *frame; /* `size` bytes */
    uint32_t size;
    uint16_t head_len;
    uint64_t flows; /* 0: no end */
    uint32_t dst;   /* host order */
    uint32_t dst_mask;
    uint32_t sum;     /* of the IPv4 header without destination and checksum */
    uint64_t cost_fp; /* nanoseconds between two frames of a queue; 0: full speed */
};

struct lane {
    alignas(
        HG_CACHE_LINE_BYTES) uint8_t line[HG_CACHE_LINE_BYTES]; /* its frames' first, but for what
                                                                      differs between them */
    struct hg_rxq rxq;
    const struct model *model;
    uint64_t flow; /* of the next frame */
    uint64_t number;
    uint64_t end; /* the number that is not made any more */
    uint64_t last_ns;
    uint64_t credit_fp; /* up to last_ns */
    struct hg_txq txq;
};

struct generator {
    struct model model;
    uint8_t *frame;
    unsigned lane_n;
    struct lane *lane;
};

/* How many of HG_BURST_N frames are due now. */
static unsigned due(struct lane *lane)
{
    uint64_t left = lane->end - lane->number;
    unsigned n = left < HG_BURST_N ? (unsigned)left : HG_BURST_N;
    uint64_t cost_fp = lane->model->cost_fp;

    if (cost_fp != 0) {
        uint64_t most_ns = (CATCH_UP_N * cost_fp >> FRACTION_BITS) + 1;
        uint64_t now_ns = hg_now_ns();
        uint64_t passed_ns = hg_min_u64(now_ns - lane->last_ns, most_ns);

        lane->credit_fp =
            hg_min_u64(lane->credit_fp + (passed_ns << FRACTION_BITS), most_ns << FRACTION_BITS);
        lane->last_ns = now_ns;
        n = (unsigned)hg_min_u64(n, lane->credit_fp / cost_fp);
        lane->credit_fp -= n * cost_fp;
    }
    return n;
}

/* Writes the head of a frame: its first line, but for what is the same in all. */
static inline void make(uint8_t *head, const uint8_t *line, const struct model *model,
                        uint64_t flow, uint64_t number)
{
    uint32_t dst = __builtin_bswap32(model->dst | ((uint32_t)hg_mix64(flow + 1) & model->dst_mask));
    uint64_t dst_and_ports = dst | flow << 32;
    uint32_t sum = model->sum + (dst & 0xffff) + (dst >> 16);
    uint16_t csum;

    sum = (sum >> 16) + (sum & 0xffff);
    csum = (uint16_t) ~((sum >> 16) + sum);
    memcpy(head, line, HG_CACHE_LINE_BYTES);
    memcpy(head + HG_STAMP_IP4 + HG_IP4_DST, &dst_and_ports, sizeof(dst_and_ports));
    memcpy(head + HG_STAMP_IP4 + HG_IP4_CSUM, &csum, sizeof(csum));
    memcpy(head + HG_STAMP_NUMBER, &number, sizeof(number));
}

/* Lends what the head does not hold of n long frames. */
static void make_rest(const struct model *model, struct hg_burst *b, unsigned n)
{
    bool segmented = model->size > model->head_len;

    for (unsigned i = 0; i < n; i++) {
        memcpy(b->pkt[i].head + HG_CACHE_LINE_BYTES, model->frame + HG_CACHE_LINE_BYTES,
               model->head_len - HG_CACHE_LINE_BYTES);
        b->pkt[i].seg_n = segmented;
        b->seg[i] = (struct hg_seg){model->frame + model->head_len, model->size - model->head_len};
    }
    b->seg_n = segmented ? n : 0;
}

static unsigned rx(struct hg_rxq *q, struct hg_burst *b)
{
    struct lane *lane = hg_container_of(q, struct lane, rxq);
    /* Copies: the compiler takes every byte written to a head for a change of what they are copies
     * of. */
    const struct model model = *lane->model;
    uint64_t number = lane->number;
    uint64_t flow = lane->flow;
    uint16_t id = q->port->id;
    unsigned n = due(lane);

    b->n = n;
    b->seg_n = 0;
    for (unsigned i = 0; i < n; i++) {
        struct hg_pkt *pkt = &b->pkt[i];

        pkt->len = model.size;
        pkt->head_len = model.head_len;
        pkt->seg_n = 0;
        pkt->seg = &b->seg[i];
        pkt->ol = (struct hg_offload){0};
        pkt->port = id;
        make(pkt->head, lane->line, &model, flow, number++);
        flow = flow + 1 == model.flows ? 0 : flow + 1;
    }
    lane->number = number;
    lane->flow = flow;
    if (model.head_len > HG_CACHE_LINE_BYTES)
        make_rest(&model, b, n);
    if (n != 0) {
        hg_memory_count(&q->stats, n, (uint64_t)n * model.size);
        hg_count_add(&q->stats.bytes_copied, (uint64_t)n * model.head_len);
    }
    return n;
}

static void done(struct hg_rxq *q)
{
    (void)q;
}

/* Frames at full speed are always there; those at a rate will be at a known time. */
static bool arm(struct hg_rxq *q)
{
    struct lane *lane = hg_container_of(q, struct lane, rxq);
    uint64_t cost_fp = lane->model->cost_fp;
    uint64_t missing_fp;

    if (lane->number == lane->end)
        return false;
    if (cost_fp == 0)
        return true;
    missing_fp = cost_fp > lane->credit_fp ? cost_fp - lane->credit_fp : 0;
    hg_alarm_set(q->fd, lane->last_ns + (missing_fp >> FRACTION_BITS) + 1);
    return false;
}

/* Control: what the port is made of. */

/* The template, with zeroes where frames differ. Behind the stamp the bytes count up. */
static void write_frame(struct generator *g, uint32_t src, const uint8_t *dst_mac,
                        const uint8_t *src_mac)
{
    const uint32_t mark = HG_STAMP;
    uint8_t *ip4 = g->frame + HG_STAMP_IP4;
    uint8_t *udp = g->frame + HG_STAMP_UDP;

    memcpy(g->frame + HG_ETH_DST, dst_mac, HG_MAC_BYTES);
    memcpy(g->frame + HG_ETH_SRC, src_mac, HG_MAC_BYTES);
    hg_store_be16(g->frame + HG_ETH_TYPE, HG_ETHERTYPE_IP4);
    ip4[HG_IP4_VERSION_IHL] = 0x45;
    hg_store_be16(ip4 + HG_IP4_TOTAL_LEN, (uint16_t)(g->model.size - HG_STAMP_IP4));
    hg_store_be16(ip4 + HG_IP4_FRAGMENT, HG_IP4_DF);
    ip4[HG_IP4_TTL] = TTL;
    ip4[HG_IP4_PROTO] = HG_IP_PROTO_UDP;
    hg_store_be32(ip4 + HG_IP4_SRC, src);
    hg_store_be16(udp + HG_UDP_LEN, (uint16_t)(g->model.size - HG_STAMP_UDP));
    memcpy(g->frame + HG_STAMP_MARK, &mark, sizeof(mark));
    for (uint32_t i = HG_STAMP_END; i < g->model.size; i++)
        g->frame[i] = (uint8_t)i;
    g->model.sum = hg_ip4_sum(ip4);
}

/* The addresses, given or not. */
struct addresses {
    uint32_t dst, dst_mask;
    uint32_t src;
    uint8_t dst_mac[HG_MAC_BYTES];
    uint8_t src_mac[HG_MAC_BYTES];
};

/* Puts the option's name before the sentence of whoever read its value. */
static int blame(unsigned index, unsigned *option, struct hg_err *err)
{
    *option = index;
    return err ? hg_err_set(err, EINVAL, "%s: %s", options[index].name, err->text) : -EINVAL;
}

static int read_addresses(const union hg_port_value *values, struct addresses *a, unsigned *option,
                          struct hg_err *err)
{
    const char *dst = values[DST].string ? values[DST].string : "198.19.0.0/16";
    const char *src = values[SRC].string ? values[SRC].string : "198.18.0.1/32";
    const char *dst_mac = values[DST_MAC].string ? values[DST_MAC].string : "02:68:67:ff:ff:ff";
    const char *src_mac = values[SRC_MAC].string ? values[SRC_MAC].string : "02:68:67:00:00:00";
    unsigned bits;

    if (hg_ip4_prefix_read(&a->src, &bits, src, err) < 0)
        return blame(SRC, option, err);
    if (bits != 32)
        return hg_err_set(err, EINVAL, "src: found a prefix of %u bits; expected an address", bits);
    if (hg_ip4_prefix_read(&a->dst, &bits, dst, err) < 0)
        return blame(DST, option, err);
    a->dst_mask = bits == 0 ? UINT32_MAX : (uint32_t)((UINT64_C(1) << (32 - bits)) - 1);
    if (hg_mac_read(a->dst_mac, dst_mac, err) < 0)
        return blame(DST_MAC, option, err);
    if (hg_mac_read(a->src_mac, src_mac, err) < 0)
        return blame(SRC_MAC, option, err);
    return 0;
}

static int check_values(const union hg_port_value *values, unsigned *option, struct hg_err *err)
{
    struct addresses ignored;

    *option = SRC;
    return read_addresses(values, &ignored, option, err);
}

static struct generator *allocate(unsigned lane_n, uint32_t size)
{
    struct generator *g = calloc(1, sizeof(*g));

    if (g == NULL)
        return NULL;
    g->lane_n = lane_n;
    g->lane = aligned_alloc(alignof(struct lane), lane_n * sizeof(*g->lane));
    g->frame = calloc(1, hg_round_up(size, HG_CACHE_LINE_BYTES));
    if (g->lane == NULL || g->frame == NULL) {
        free(g->lane);
        free(g->frame);
        free(g);
        return NULL;
    }
    memset(g->lane, 0, lane_n * sizeof(*g->lane));
    return g;
}

static void close_port(struct hg_port *port)
{
    struct generator *g = port->driver_data;

    for (unsigned i = 0; i < port->queue_n; i++)
        close(g->lane[i].rxq.fd);
    free(g->lane);
    free(g->frame);
    free(g);
    port->driver_data = NULL;
    port->queue_n = 0;
}

/* Queue `index` with its share of the port's frames, flows and rate: flows that begin elsewhere. */
static int start_lane(struct hg_port *port, unsigned index, const union hg_port_value *values,
                      struct hg_err *err)
{
    struct generator *g = port->driver_data;
    struct lane *lane = &g->lane[index];
    uint64_t count = values[COUNT].uint;
    uint16_t stream;
    int fd = hg_alarm_new(err);

    if (fd < 0)
        return fd;
    hg_memory_rxq_init(&lane->rxq, port, index);
    hg_memory_txq_init(&lane->txq, port, index);
    lane->rxq.rx = rx;
    lane->rxq.done = done;
    lane->rxq.arm = arm;
    lane->rxq.fd = fd;
    port->queue_n = index + 1;
    stream = hg_stamp_stream(&lane->rxq);
    lane->model = &g->model;
    memcpy(lane->line, g->frame, hg_min_u32(g->model.size, sizeof(lane->line)));
    memcpy(lane->line + HG_STAMP_STREAM, &stream, sizeof(stream));
    lane->flow = g->model.flows * index / g->lane_n;
    lane->end = count == 0 ? UINT64_MAX : count / g->lane_n + (index < count % g->lane_n);
    lane->last_ns = hg_now_ns();
    atomic_store_explicit(&lane->rxq.running, true, memory_order_relaxed);
    return 0;
}

static int open_port(struct hg_port *port, const union hg_port_value *values, struct hg_err *err)
{
    uint32_t size = (uint32_t)values[SIZE].uint;
    unsigned lane_n = (unsigned)values[QUEUES].uint;
    uint64_t rate = values[RATE].uint;
    struct addresses a;
    unsigned option;
    int rc = read_addresses(values, &a, &option, err);
    struct generator *g = rc == 0 ? allocate(lane_n, size) : NULL;

    if (g == NULL)
        return rc < 0 ? rc : hg_err_set(err, ENOMEM, "no memory for port '%s'", port->name);
    if (values[SRC_MAC].string == NULL)
        hg_store_be16(a.src_mac + 4, port->id);
    g->model = (struct model){
        .frame = g->frame,
        .size = size,
        .head_len = (uint16_t)hg_min_u32(size, HG_HEAD_BYTES),
        .flows = values[FLOWS].uint,
        .dst = a.dst,
        .dst_mask = a.dst_mask,
        .cost_fp = rate == 0 ? 0 : (lane_n * HG_NS_PER_S << FRACTION_BITS) / rate,
    };
    write_frame(g, a.src, a.dst_mac, a.src_mac);
    port->driver_data = g;
    for (unsigned i = 0; rc == 0 && i < lane_n; i++)
        rc = start_lane(port, i, values, err);
    if (rc < 0)
        close_port(port);
    else
        hg_memory_start(port);
    return rc;
}

static void get_status(const struct hg_port *port, struct hg_port_status *status)
{
    const struct generator *g = port->driver_data;
    uint64_t made = 0, end = 0;

    *status = (struct hg_port_status){.state = "up", .queue_pairs = port->queue_n};
    for (unsigned i = 0; i < port->queue_n; i++) {
        made += hg_count_get(&port->rxq[i]->stats.packets);
        end = g->lane[i].end == UINT64_MAX ? UINT64_MAX : end + g->lane[i].end;
    }
    if (made == end) {
        status->ended = true;
        snprintf(status->state, sizeof(status->state), "ended");
        snprintf(status->text, sizeof(status->text), "ended: all %" PRIu64 " frames are made", end);
    } else {
        snprintf(status->text, sizeof(status->text), "up: makes frames of %u bytes", g->model.size);
    }
}

const struct hg_port_driver hg_generator_driver = {
    .type = "generator",
    .help = "Makes IPv4/UDP frames of one size, at full speed or at a rate.",
    .options = options,
    .option_n = OPTION_N,
    .check = check_values,
    .open = open_port,
    .close = close_port,
    .status = get_status,
};
