/*
 * Attacks the pcap port with capture files: the input is the file. It is opened by the port's own
 * options and received to its end twice over, and once more by its times without waiting for them.
 *
 * What must hold: a file is refused with a sentence or received whole; frames are what a driver may
 * pass on, their bytes can be read; the second round is the first again; everything read is passed
 * on or counted under its reason. A file in the older format that is sound from end to end is
 * received as a parser of a few lines (next_record()) understands it: no frame more or less, and of
 * none a byte more than the file says; one that ends in the middle is refused. Formats are
 * libpcap's work, and the search does not see into it: the corpus has a file of each kind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "port/option.h"
#include "port/pcap/pcap.h"
#include "wire/eth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SNAP_MAX = 262144, ROUNDS_N = 2 };

static struct hg_burst burst;

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* ---- what is in a file of the older format ---- */

struct reader {
    const uint8_t *at;
    size_t left;
    bool swapped;
    uint32_t snap_bytes;
};

struct record {
    const uint8_t *bytes;
    uint32_t len;
};

static uint32_t word(const struct reader *r, size_t i)
{
    uint32_t value;

    memcpy(&value, r->at + i * sizeof(value), sizeof(value));
    return r->swapped ? __builtin_bswap32(value) : value;
}

/* False for what is another format, version or link type. */
static bool read_header(struct reader *r)
{
    uint16_t version[2];

    if (r->left < 24)
        return false;
    r->swapped = word(r, 0) == 0xd4c3b2a1 || word(r, 0) == 0x4d3cb2a1;
    if (word(r, 0) != 0xa1b2c3d4 && word(r, 0) != 0xa1b23c4d)
        return false;
    memcpy(version, r->at + 4, sizeof(version));
    if (r->swapped)
        version[0] = __builtin_bswap16(version[0]), version[1] = __builtin_bswap16(version[1]);
    r->snap_bytes = word(r, 4);
    if (version[0] != 2 || version[1] != 4 || word(r, 5) != 1 || r->snap_bytes == 0 ||
        r->snap_bytes > SNAP_MAX)
        return false;
    r->at += 24;
    r->left -= 24;
    return true;
}

/* False at the end, and at what is no sound record. */
static bool next_record(struct reader *r, struct record *record)
{
    if (r->left < 16 || word(r, 2) > r->snap_bytes || word(r, 2) > r->left - 16)
        return false;
    *record = (struct record){r->at + 16, word(r, 2)};
    r->at += 16 + record->len;
    r->left -= 16 + record->len;
    return true;
}

/* Whether the file, behind its header, is of whole records only, or ends in the middle of one; a
 * record longer than the header allows makes it neither. */
static void judge(struct reader r, bool *whole, bool *cut)
{
    struct record record;

    while (next_record(&r, &record))
        continue;
    *whole = r.left == 0;
    *cut = !*whole && (r.left < 16 || word(&r, 2) <= r.snap_bytes);
}

/* ---- the port ---- */

static int open_port(struct hg_port *port, int fd, const char *more, struct hg_err *err)
{
    static const struct hg_port_driver *const drivers[] = {&hg_pcap_driver, NULL};
    union hg_port_value values[HG_PORT_OPTIONS_MAX];
    char text[128];

    memset(port, 0, sizeof(*port));
    err->text[0] = '\0';
    snprintf(text, sizeof(text), "pcap:read=/proc/self/fd/%d%s", fd, more);
    require(hg_port_text_read(text, drivers, &port->driver, values, err) == 0);
    return port->driver->open(port, values, err);
}

static bool is_passed(uint32_t len)
{
    return len >= HG_ETH_BYTES && len <= HG_FRAME_BYTES_MAX;
}

/* The frame in one piece. */
static const uint8_t *flatten(const struct hg_pkt *pkt)
{
    static uint8_t frame[HG_FRAME_BYTES_MAX];
    size_t n = pkt->head_len;

    require(is_passed(pkt->len) && pkt->head_len == hg_min_u32(pkt->len, HG_HEAD_BYTES));
    memcpy(frame, pkt->head, n);
    for (unsigned i = 0; i < pkt->seg_n; i++) {
        require(pkt->seg[i].len > 0 && pkt->seg[i].len <= pkt->len - n);
        memcpy(frame + n, pkt->seg[i].addr, pkt->seg[i].len);
        n += pkt->seg[i].len;
    }
    require(n == pkt->len);
    return frame;
}

struct received {
    uint64_t n;
    uint64_t bytes;
    uint64_t sum; /* of the bytes and where the frames end, in order */
};

static void take(const struct hg_pkt *pkt, struct reader *file, struct received *got)
{
    const uint8_t *frame = flatten(pkt);
    struct record record;

    got->n++;
    got->bytes += pkt->len;
    got->sum = (got->sum ^ pkt->len) * 0x100000001b3;
    for (uint32_t i = 0; i < pkt->len; i++)
        got->sum = (got->sum ^ frame[i]) * 0x100000001b3;
    if (file == NULL)
        return;
    do
        require(next_record(file, &record));
    while (!is_passed(record.len));
    require(record.len == pkt->len && memcmp(record.bytes, frame, record.len) == 0);
}

static unsigned receive(struct hg_port *port)
{
    struct hg_rxq *q = port->rxq[0];
    unsigned n = q->rx(q, &burst);

    require(n == burst.n && n <= HG_BURST_N && burst.seg_n <= HG_BURST_SEGS);
    q->done(q);
    return n;
}

/* How many frames of the file have been read, passed on or not. */
static uint64_t read_n(const struct hg_port *port)
{
    return hg_count_get(&port->rxq[0]->stats.packets);
}

/* One round: bursts until as many frames are read as the file has. */
static struct received receive_round(struct hg_port *port, uint64_t until_n, struct reader *file)
{
    struct received got = {0};

    while (read_n(port) < until_n) {
        uint64_t before_n = read_n(port);
        unsigned n = receive(port);

        require(read_n(port) > before_n && read_n(port) <= until_n);
        for (unsigned i = 0; i < n; i++)
            take(&burst.pkt[i], file, &got);
    }
    return got;
}

/* How many frames the port says it has; 0 if there is nothing to receive. */
static uint64_t frames_of(const struct hg_port *port)
{
    struct hg_port_status status;
    char *end;
    uint64_t n;

    port->driver->status(port, &status);
    if (status.ended)
        return 0;
    require(strncmp(status.text, "up: a file of ", 14) == 0);
    n = strtoull(status.text + 14, &end, 10);
    require(strcmp(end, " frames to receive") == 0 && n > 0);
    return n;
}

static void check_ended(struct hg_port *port)
{
    struct hg_port_status status;

    port->driver->status(port, &status);
    require(status.ended);
    require(receive(port) == 0);
    require(!port->rxq[0]->arm(port->rxq[0]));
}

static void receive_twice(struct hg_port *port, const struct reader *file)
{
    const struct hg_queue_stats *stats = &port->rxq[0]->stats;
    struct reader rest[ROUNDS_N];
    struct received got[ROUNDS_N];
    uint64_t frame_n = frames_of(port);
    uint64_t dropped_n = 0;

    for (unsigned round = 0; round < ROUNDS_N; round++) {
        struct record record;

        if (file != NULL)
            rest[round] = *file;
        got[round] = receive_round(port, (round + 1) * frame_n, file ? &rest[round] : NULL);
        while (file != NULL && next_record(&rest[round], &record))
            require(!is_passed(record.len));
    }
    check_ended(port);
    require(memcmp(&got[0], &got[1], sizeof(got[0])) == 0);
    for (unsigned reason = 0; reason < HG_DROP_N; reason++) {
        require(reason == HG_DROP_RUNT || reason == HG_DROP_OVERSIZE ||
                hg_count_get(&stats->drops.reason[reason]) == 0);
        dropped_n += hg_count_get(&stats->drops.reason[reason]);
    }
    require(hg_count_get(&stats->packets) == ROUNDS_N * frame_n);
    require(hg_count_get(&stats->packets) == ROUNDS_N * got[0].n + dropped_n);
    require(hg_count_get(&stats->bytes) == ROUNDS_N * got[0].bytes);
}

/* By its times: the first frame is due, later ones as the clock will have it, and then the queue
 * says that it sleeps until the next is, or for good. */
static void receive_timed(struct hg_port *port)
{
    bool empty = frames_of(port) == 0;

    receive(port);
    require((read_n(port) == 0) == empty);
    require(!port->rxq[0]->arm(port->rxq[0]));
    port->rxq[0]->disarm(port->rxq[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    struct reader file = {.at = data, .left = size};
    bool sound = false, cut = false;
    struct hg_err err;
    struct hg_port port;
    int rc;

    if (read_header(&file))
        judge(file, &sound, &cut);
    if (fd < 0)
        fd = memfd_create("fuzz", MFD_CLOEXEC);
    require(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    rc = open_port(&port, fd, ",repeat=2", &err);
    if (rc == 0) {
        require(!cut);
        receive_twice(&port, sound ? &file : NULL);
        port.driver->close(&port);
    } else {
        require(!sound && strncmp(err.text, "read: ", 6) == 0);
    }
    require(open_port(&port, fd, ",timing=on", &err) == rc);
    if (rc == 0) {
        receive_timed(&port);
        port.driver->close(&port);
    }
    return 0;
}
