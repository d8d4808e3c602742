/*
 * The port: one queue pair.
 *
 * Receiving lends the frames where the file was read to. Transmitting writes through stdio: it may
 * wait for the disk, which no other driver does, and is meant for looking at packets, not for
 * carrying them.
 */
#include <errno.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/quote.h"
#include "base/shm.h"
#include "port/alarm.h"
#include "port/pcap/file.h"
#include "port/pcap/load.h"
#include "port/pcap/pcap.h"
#include "wire/eth.h"

enum { READ, WRITE, TIMING, REPEAT, OPTION_N };

enum { TIMING_OFF, TIMING_ON };

static const struct hg_port_option options[] = {
    [READ] = {.name = "read",
              .type = HG_OPTION_STRING,
              .help = "The pcap or pcapng file whose frames are received."},
    [WRITE] = {.name = "write",
               .type = HG_OPTION_STRING,
               .help = "The pcap file for what is sent to the port; one that exists is replaced."},
    [TIMING] = {.name = "timing",
                .type = HG_OPTION_ENUM,
                .choices = "off|on",
                .help =
                    "Whether frames come as far apart as they were captured, or as fast as they "
                    "are taken."},
    [REPEAT] = {.name = "repeat",
                .type = HG_OPTION_UINT,
                .min = 0,
                .max = UINT32_MAX,
                .preset = 1,
                .help = "How often the file is received; 0: for ever."},
};

_Static_assert(HG_ARRAY_N(options) == OPTION_N, "every option has its entry");

struct capture_port {
    /* The receiving worker's. */
    struct hg_rxq rxq;
    struct hg_capture capture;
    bool timed;
    uint64_t next;     /* frame */
    uint64_t left_n;   /* rounds, this one too; UINT64_MAX: no end */
    uint64_t begun_ns; /* this round */
    _Atomic bool ended;
    /* Under the transmit queue's lock. */
    alignas(HG_CACHE_LINE_BYTES) struct hg_txq txq;
    pcap_t *format;
    pcap_dumper_t *file;
    _Atomic int failed; /* errno of the first write that failed */
    uint8_t frame[HG_FRAME_BYTES_MAX];
};

/* Why a frame of the file cannot be passed on, or HG_DROP_N. */
static enum hg_drop judge(const struct hg_capture_frame *frame)
{
    if (frame->len < HG_ETH_BYTES)
        return HG_DROP_RUNT;
    return frame->len > HG_FRAME_BYTES_MAX ? HG_DROP_OVERSIZE : HG_DROP_N;
}

static void lend(struct hg_burst *b, const uint8_t *bytes, uint32_t len, uint16_t port)
{
    struct hg_pkt *pkt = &b->pkt[b->n++];

    pkt->len = len;
    pkt->head_len = (uint16_t)hg_min_u32(len, HG_HEAD_BYTES);
    pkt->seg_n = 0;
    pkt->seg = &b->seg[b->seg_n];
    pkt->ol = (struct hg_offload){0};
    pkt->port = port;
    hg_shm_copy_short(pkt->head, bytes, pkt->head_len);
    if (len > pkt->head_len) {
        b->seg[b->seg_n++] = (struct hg_seg){bytes + pkt->head_len, len - pkt->head_len};
        pkt->seg_n = 1;
    }
}

/* Behind the last frame: the next round, or the end. */
static void turn_round(struct capture_port *cp)
{
    if (cp->left_n != UINT64_MAX)
        cp->left_n--;
    cp->next = 0;
    cp->begun_ns = hg_now_ns();
    if (cp->left_n == 0)
        atomic_store_explicit(&cp->ended, true, memory_order_relaxed);
}

static unsigned rx(struct hg_rxq *q, struct hg_burst *b)
{
    struct capture_port *cp = hg_container_of(q, struct capture_port, rxq);
    const struct hg_capture *c = &cp->capture;
    uint64_t now_ns = cp->timed ? hg_now_ns() : 0;
    uint64_t frames = 0, bytes = 0, copied = 0;

    b->n = 0;
    b->seg_n = 0;
    if (cp->left_n == 0)
        return 0;
    if (cp->timed && cp->begun_ns == 0)
        cp->begun_ns = now_ns;
    while (b->n < HG_BURST_N && cp->next < c->frame_n) {
        const struct hg_capture_frame *frame = &c->frame[cp->next];
        enum hg_drop reason = judge(frame);

        if (cp->timed && now_ns - cp->begun_ns < frame->at_ns)
            break;
        cp->next++;
        frames++;
        if (hg_unlikely(reason != HG_DROP_N)) {
            hg_count_add(&q->stats.drops.reason[reason], 1);
            continue;
        }
        lend(b, c->bytes + frame->offset, frame->len, q->port->id);
        bytes += frame->len;
        copied += b->pkt[b->n - 1].head_len;
    }
    if (cp->next == c->frame_n)
        turn_round(cp);
    if (frames != 0) {
        hg_count_add(&q->stats.packets, frames);
        hg_count_add(&q->stats.bytes, bytes);
        hg_count_add(&q->stats.bytes_copied, copied);
        hg_count_add(&q->stats.bursts, 1);
    }
    return b->n;
}

static void done(struct hg_rxq *q)
{
    (void)q;
}

static bool arm(struct hg_rxq *q)
{
    struct capture_port *cp = hg_container_of(q, struct capture_port, rxq);

    if (cp->left_n == 0)
        return false;
    if (!cp->timed || cp->begun_ns == 0)
        return true;
    hg_alarm_set(q->fd, cp->begun_ns + cp->capture.frame[cp->next].at_ns);
    return false;
}

static void disarm(struct hg_rxq *q)
{
    (void)q;
}

static void write_frame(struct capture_port *cp, const struct hg_pkt *pkt,
                        const struct timespec *now)
{
    /* The format is one of nanoseconds: that is what the second field holds. */
    struct pcap_pkthdr header = {
        .ts = {.tv_sec = now->tv_sec, .tv_usec = now->tv_nsec},
        .caplen = pkt->len,
        .len = pkt->len,
    };
    uint8_t *at = cp->frame;

    memcpy(at, pkt->head, pkt->head_len);
    at += pkt->head_len;
    for (unsigned i = 0; i < pkt->seg_n; i++) {
        hg_shm_in(at, pkt->seg[i].addr, pkt->seg[i].len);
        at += pkt->seg[i].len;
    }
    pcap_dump((u_char *)cp->file, &header, cp->frame);
}

static unsigned tx(struct hg_txq *q, struct hg_pkt *const *pkts, unsigned n)
{
    struct capture_port *cp = hg_container_of(q, struct capture_port, txq);
    struct timespec now;
    uint64_t bytes = 0;

    if (atomic_load_explicit(&cp->failed, memory_order_relaxed) != 0)
        return 0;
    clock_gettime(CLOCK_REALTIME, &now);
    for (unsigned i = 0; i < n; i++) {
        write_frame(cp, pkts[i], &now);
        bytes += pkts[i]->len;
    }
    if (ferror(pcap_dump_file(cp->file))) {
        atomic_store_explicit(&cp->failed, errno != 0 ? errno : EIO, memory_order_relaxed);
        return 0;
    }
    hg_count_add(&q->stats.packets, n);
    hg_count_add(&q->stats.bytes, bytes);
    hg_count_add(&q->stats.bytes_copied, bytes);
    hg_count_add(&q->stats.bursts, 1);
    return n;
}

/* Control. */

static int check_values(const union hg_port_value *values, unsigned *option, struct hg_err *err)
{
    *option = READ;
    if (values[READ].string == NULL && values[WRITE].string == NULL)
        return hg_err_set(err, EINVAL,
                          "a port of type pcap without a file; expected read or write");
    *option = WRITE;
    if (values[READ].string != NULL && values[WRITE].string != NULL &&
        strcmp(values[READ].string, values[WRITE].string) == 0)
        return hg_err_set(err, EINVAL, "write: the file that is read; expected another one");
    return 0;
}

static int open_written(struct capture_port *cp, const char *path, struct hg_err *err)
{
    FILE *file;
    int rc = 0;

    cp->format = pcap_open_dead_with_tstamp_precision(DLT_EN10MB, HG_CAPTURE_FRAME_MAX,
                                                      PCAP_TSTAMP_PRECISION_NANO);
    if (cp->format == NULL)
        return hg_err_set(err, ENOMEM, "write: out of memory");
    file = hg_capture_open(path, "write", true, &rc, err);
    if (file == NULL)
        return rc;
    cp->file = pcap_dump_fopen(cp->format, file); /* which has closed it if it fails */
    if (cp->file == NULL)
        return hg_err_set(err, EIO, "write: %.200s", pcap_geterr(cp->format));
    return 0;
}

static void close_port(struct hg_port *port)
{
    struct capture_port *cp = port->driver_data;

    if (cp->file != NULL) {
        if (pcap_dump_flush(cp->file) != 0)
            hg_log(HG_LOG_ERROR, port->name, "the end of the written file is lost: %s",
                   strerror(errno));
        pcap_dump_close(cp->file);
    }
    if (cp->format != NULL)
        pcap_close(cp->format);
    if (cp->rxq.fd >= 0)
        close(cp->rxq.fd);
    hg_capture_free(&cp->capture);
    free(cp);
    port->driver_data = NULL;
    port->queue_n = 0;
}

static void init(struct capture_port *cp, struct hg_port *port, const union hg_port_value *values)
{
    memset(cp, 0, sizeof(*cp));
    cp->rxq = (struct hg_rxq){
        .rx = rx, .done = done, .arm = arm, .disarm = disarm, .fd = -1, .port = port};
    cp->txq = (struct hg_txq){.tx = tx, .port = port};
    cp->timed = values[TIMING].uint == TIMING_ON;
    cp->left_n = values[REPEAT].uint != 0 ? values[REPEAT].uint : UINT64_MAX;
    port->driver_data = cp;
    port->queue_n = 1;
    port->rxq[0] = &cp->rxq;
    port->txq[0] = &cp->txq;
}

static int open_port(struct hg_port *port, const union hg_port_value *values, struct hg_err *err)
{
    struct capture_port *cp = aligned_alloc(alignof(struct capture_port), sizeof(*cp));
    int rc = 0;

    if (cp == NULL)
        return hg_err_set(err, ENOMEM, "no memory for port '%s'", port->name);
    init(cp, port, values);
    if (values[READ].string != NULL) {
        rc = hg_capture_load(&cp->capture, values[READ].string, err);
        if (rc == 0)
            rc = cp->rxq.fd = hg_alarm_new(err);
    }
    if (rc >= 0 && values[WRITE].string != NULL)
        rc = open_written(cp, values[WRITE].string, err);
    if (rc < 0) {
        close_port(port);
        return rc;
    }
    if (cp->capture.frame_n == 0) { /* an empty file is received at once */
        cp->left_n = 0;
        atomic_store_explicit(&cp->ended, true, memory_order_relaxed);
    }
    atomic_store_explicit(&cp->rxq.running, values[READ].string != NULL, memory_order_relaxed);
    atomic_store_explicit(&cp->txq.running, cp->file != NULL, memory_order_relaxed);
    /* Release: pairs with the acquire in hg_port_tx(). */
    atomic_store_explicit(&port->txq_running_n, cp->file != NULL, memory_order_release);
    return 0;
}

static void get_status(const struct hg_port *port, struct hg_port_status *status)
{
    const struct capture_port *cp = port->driver_data;
    int failed = atomic_load_explicit(&cp->failed, memory_order_relaxed);

    *status = (struct hg_port_status){
        .state = "up",
        .queue_pairs = 1,
        .ended = atomic_load_explicit(&cp->ended, memory_order_relaxed),
    };
    if (failed != 0) {
        snprintf(status->state, sizeof(status->state), "broken");
        snprintf(status->text, sizeof(status->text), "cannot write: %s", strerror(failed));
    } else if (!atomic_load_explicit(&cp->rxq.running, memory_order_relaxed)) {
        snprintf(status->text, sizeof(status->text), "up: writes what is sent to it");
    } else if (status->ended) {
        snprintf(status->state, sizeof(status->state), "ended");
        snprintf(status->text, sizeof(status->text), "ended: its %" PRIu64 " frames are received",
                 cp->capture.frame_n);
    } else {
        snprintf(status->text, sizeof(status->text), "up: a file of %" PRIu64 " frames to receive",
                 cp->capture.frame_n);
    }
}

const struct hg_port_driver hg_pcap_driver = {
    .type = "pcap",
    .help = "Receives the frames of a capture file, and writes what is sent to it into another.",
    .options = options,
    .option_n = OPTION_N,
    .check = check_values,
    .open = open_port,
    .close = close_port,
    .status = get_status,
};
