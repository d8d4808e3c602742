/*
 * One end of the load generator: a vhost-user front-end with one receive and one transmit ring.
 *
 * Buffer memory is bound to descriptors, as in a driver that recycles its buffers, so with a back-end
 * that works in order a descriptor is written once and never again. Buffers are an odd number of cache
 * lines apart: at a power of two their first lines, which are all that small frames use, would fall
 * into a few sets of every cache.
 */
#ifndef BENCH_LOADGEN_PORT_H
#define BENCH_LOADGEN_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sock.h"
#include "virtio/drv.h"
#include "virtio/vhost_front.h"

enum { BATCH_N = 32 }; /* frames handled together */

struct ring {
    struct hg_drv drv;
    uint8_t *bufs;      /* here */
    uint64_t bufs_addr; /* for the back-end */
    uint32_t buf_bytes;
    uint32_t stride_bytes;
    uint32_t set_n; /* buffers of each descriptor, used in turn */
    uint16_t *set;  /* of each descriptor: the one in use */
    int kick_fd;
    int call_fd;
    uint64_t kicks;
};

struct port_options {
    uint16_t queue_size;
    uint32_t buffers_n; /* of each ring; 0: one per descriptor */
    bool mergeable;
    bool tso;
    uint32_t frame_bytes; /* the largest that is sent */
};

struct port {
    const char *path;
    bool listens;
    struct hg_sock_listener listener;
    bool started; /* front is in use */
    struct hg_vhost_front_plan plan;
    struct hg_vhost_front front;
    uint8_t *mem;
    struct ring rx;
    struct ring tx;
};

/* Takes the memory for both rings of a port whose path and role are set. 0 or a negative errno. */
int port_open(struct port *port, const struct port_options *options, struct hg_err *err);

/* Waits until all n ports have a running session, then posts their receive buffers. */
int ports_attach(struct port *ports, unsigned n, uint64_t timeout_ns, struct hg_err *err);

/* Ends the sessions: takes the rings back from back-ends that still answer, and frees everything. */
void ports_close(struct port *ports, unsigned n);

/* 0, or -EPROTO with the reason for which one of the rings is broken. */
int port_check(const struct port *port, struct hg_err *err);

/* The buffer of descriptor `id`, here and for the back-end. */
static inline uint64_t ring_offset(const struct ring *ring, uint16_t id)
{
    uint32_t index = id;

    if (ring->set_n > 1)
        index += (uint32_t)ring->set[id] * ring->drv.num;
    return (uint64_t)index * ring->stride_bytes;
}

static inline uint8_t *ring_buf(const struct ring *ring, uint16_t id)
{
    return ring->bufs + ring_offset(ring, id);
}

/* Goes to the next buffer of a descriptor that is about to be added. */
static inline void ring_turn(struct ring *ring, uint16_t id)
{
    if (ring->set_n > 1)
        ring->set[id] = (uint16_t)((ring->set[id] + 1) % ring->set_n);
}

/* Makes what was added visible, and kicks the back-end if it wishes. */
void ring_publish(struct ring *ring);

/* Posts the next n free descriptors of a receive ring. */
void ring_post(struct ring *ring, unsigned n);

#endif
