/*
 * One direction of traffic: frames go out at one port and are expected at the other.
 */
#ifndef BENCH_LOADGEN_STREAM_H
#define BENCH_LOADGEN_STREAM_H

#include "frame.h"
#include "port.h"

enum { STALL_NS = 20000000 };

struct counts {
    uint64_t tx;         /* frames the back-end was given */
    uint64_t rx;         /* frames that arrived and are ours */
    uint64_t advanced;   /* sequence numbers up to the highest that arrived */
    uint64_t misordered; /* frames that arrived after a later one of the same address */
    uint64_t corrupt;
    uint64_t foreign; /* frames that are not ours */
};

struct stream {
    struct frame_kind kind;
    struct port *from;
    struct port *to;
    uint32_t mac_n;      /* addresses in turn */
    uint32_t window;     /* frames that may be under way; 0: no limit */
    uint64_t stalled_ns; /* since when as many as that are, 0: fewer are, */
    uint32_t stalled_n;  /* and how many */
    uint32_t mac;        /* of the next frame */
    uint32_t seq;        /* of the next frame */
    uint32_t expected_seq;
    uint32_t expected_of_mac[MACS_MAX]; /* a switch may hand a burst on address by address */
    struct counts counts;
};

/* Sets a stream up between open ports and fills its transmit buffers. */
void stream_init(struct stream *stream, struct port *from, struct port *to,
                 const struct frame_kind *kind, uint32_t mac_n);

/* Sends n frames, n <= BATCH_N, if ring and window have room for all of them, else none. Returns
 * how many. A window in which nothing moves for STALL_NS counts as lost. */
unsigned stream_send(struct stream *stream, unsigned n);

/* Takes what has arrived, about BATCH_N frames at most, checks it and posts the buffers again.
 * Returns how many buffers. */
unsigned stream_receive(struct stream *stream);

/* Frames that were passed by a later one and have not come: lost, once the stream is at rest. */
static inline uint64_t counts_lost(const struct counts *begin, const struct counts *end)
{
    uint64_t advanced = end->advanced - begin->advanced;
    uint64_t arrived = end->rx - begin->rx;

    return advanced > arrived ? advanced - arrived : 0;
}

#endif
