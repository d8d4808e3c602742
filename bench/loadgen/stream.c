#include "stream.h"

#include "base/clock.h"
#include "base/shm.h"

/* Used buffers that have been taken, one after the other. */
struct reaped {
    struct arrival arrival[BATCH_N];
    unsigned n;
    unsigned next;
    unsigned total;
};

void stream_init(struct stream *stream, struct port *from, struct port *to,
                 const struct frame_kind *kind, uint32_t mac_n)
{
    struct ring *tx = &from->tx;
    *stream = (struct stream){.kind = *kind, .from = from, .to = to, .mac_n = mac_n};
    for (uint32_t i = 0; i < tx->buffer_n; i++)
        frame_prepare(kind, ring_at(tx, i));
}

/* Whether n more frames may be under way. */
static bool window_has(struct stream *stream, unsigned n)
{
    uint32_t under_way = stream->seq - stream->expected_seq;
    uint64_t now_ns;

    if (stream->window == 0 || under_way + n <= stream->window) {
        stream->stalled_ns = 0;
        return true;
    }
    now_ns = hg_now_ns();
    if (stream->stalled_ns == 0 || under_way != stream->stalled_n) {
        stream->stalled_ns = now_ns;
        stream->stalled_n = under_way;
    } else if (now_ns - stream->stalled_ns > STALL_NS) {
        stream->counts.advanced += under_way;
        stream->expected_seq = stream->seq;
    }
    return false;
}

unsigned stream_send(struct stream *stream, unsigned n)
{
    struct ring *tx = &stream->from->tx;
    uint32_t bytes = HG_NET_HDR_BYTES + stream->kind.bytes;
    struct hg_drv_buf bufs[BATCH_N];

    if (!window_has(stream, n))
        return 0;
    if (ring_ready(tx) < n)
        ring_reclaim(tx);
    if (ring_ready(tx) < n)
        return 0;
    for (unsigned i = 0; i < n; i++) {
        uint16_t id = hg_drv_id(&tx->drv, i);

        ring_turn(tx, id);
        uint8_t *buf = ring_buf(tx, id);

        frame_write(&stream->kind, buf, stream->seq, stream->mac);
        if (stream->kind.verify)
            frame_write_payload(&stream->kind, buf, stream->seq);
        stream->seq++;
        if (++stream->mac == stream->mac_n)
            stream->mac = 0;
        bufs[i] = (struct hg_drv_buf){.addr = ring_addr(tx, id), .len = bytes};
    }
    hg_drv_add(&tx->drv, bufs, n);
    ring_publish(tx);
    stream->counts.tx += n;
    /* The next frames' lines come from the other processor meanwhile. */
    for (unsigned i = 0; i < BATCH_N && i < tx->drv.free_n; i++)
        hg_shm_expect_write(ring_buf(tx, hg_drv_id(&tx->drv, i)));
    return n;
}

static bool reap(struct ring *rx, struct reaped *reaped)
{
    ring_give(rx, reaped->arrival, reaped->n);
    reaped->next = 0;
    reaped->n = ring_take(rx, reaped->arrival, BATCH_N);
    reaped->total += reaped->n;
    return reaped->n != 0;
}

/* The rest of a frame that fills several buffers: adds its length to *bytes, and checks it if
 * `verify`. Returns whether it is as it was sent. */
static bool take_rest(struct stream *stream, struct reaped *reaped, unsigned n, uint32_t seq,
                      uint32_t *bytes)
{
    struct ring *rx = &stream->to->rx;
    bool intact = true;

    for (unsigned i = 0; i < n; i++) {
        if (reaped->next == reaped->n && !reap(rx, reaped)) {
            hg_drv_break(&rx->drv, HG_DRV_NUM_BUFFERS, n + 1);
            return false;
        }
        const struct arrival *piece = &reaped->arrival[reaped->next++];

        if (stream->kind.verify)
            intact &= frame_check_piece(&stream->kind, seq, piece->buf, *bytes, piece->len);
        *bytes += piece->len;
    }
    return intact;
}

/* Whether a comes before b, for numbers that wrap around. */
static bool before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static void account(struct stream *stream, uint32_t seq, uint32_t mac)
{
    stream->counts.rx++;
    if (hg_likely(!before(seq, stream->expected_seq))) {
        stream->counts.advanced += seq - stream->expected_seq + 1;
        stream->expected_seq = seq + 1;
    }
    if (hg_unlikely(before(seq, stream->expected_of_mac[mac])))
        stream->counts.misordered++;
    else
        stream->expected_of_mac[mac] = seq + 1;
}

static void take_frame(struct stream *stream, struct reaped *reaped)
{
    const struct arrival *arrival = &reaped->arrival[reaped->next++];
    const uint8_t *buf = arrival->buf;
    uint32_t bytes = arrival->len - HG_NET_HDR_BYTES;
    uint32_t seq, mac;
    bool intact = arrival->len >= FIRST_BYTES;
    struct hg_net_hdr hdr;
    uint8_t first[FIRST_BYTES];

    hg_shm_in(first, buf, sizeof(first));
    memcpy(&hdr, first, sizeof(hdr));
    memcpy(&seq, first + HG_NET_HDR_BYTES + stream->kind.seq_at, sizeof(seq));
    mac = frame_mac_index(first);
    intact &= mac < stream->mac_n;
    if (stream->kind.verify && intact)
        intact = frame_check_macs(&stream->kind, first, stream->mac_n) &&
                 frame_check_piece(&stream->kind, seq, buf + HG_NET_HDR_BYTES, 0, bytes);
    if (hdr.num_buffers > 1)
        intact &= take_rest(stream, reaped, hdr.num_buffers - 1u, seq, &bytes);

    enum frame_verdict verdict = frame_read(&stream->kind, first, bytes, &seq);

    if (hg_likely(verdict == FRAME_OK && intact)) {
        account(stream, seq, mac);
    } else if (verdict == FRAME_FOREIGN) {
        stream->counts.foreign++;
    } else {
        stream->counts.corrupt++;
    }
}

unsigned stream_receive(struct stream *stream)
{
    struct ring *rx = &stream->to->rx;
    struct reaped reaped = {.n = 0};

    if (!reap(rx, &reaped))
        return 0;
    while (reaped.next < reaped.n)
        take_frame(stream, &reaped);
    ring_give(rx, reaped.arrival, reaped.n);
    for (unsigned left = reaped.total; left != 0;) {
        unsigned n = hg_min_u32(left, BATCH_N);

        ring_post(rx, n);
        left -= n;
    }
    ring_publish(rx);
    return reaped.total;
}
