/*
 * One end of the load generator: a vhost-user front-end with one receive and one transmit ring, and
 * the guest's memory behind them.
 */
#ifndef BENCH_LOADGEN_PORT_H
#define BENCH_LOADGEN_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sock.h"
#include "ring.h"
#include "virtio/vhost_front.h"

struct port_options {
    uint16_t queue_size;
    uint32_t buffers_n; /* of each ring; 0: one per descriptor */
    bool mergeable;
    bool tso;
    bool packed;
    uint32_t frame_bytes; /* the largest that is sent */

    /* A page for each buffer, scattered: pages of so many bytes, so many for both rings; 0: in a
     * row. */
    uint64_t page_bytes;
    uint32_t live_pages;
    enum iommu_mode iommu;
    uint32_t in_flight_max; /* invalidations under way: IOMMU_DYNAMIC */
    bool watch; /* whether pages are written to that have been unmapped: IOMMU_DYNAMIC */
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
    enum iommu_mode mode;
    struct iommu iommu; /* unless the mode is IOMMU_OFF */
    int broken;         /* the session: a negative errno, */
    struct hg_err why;  /* and what it was */
};

/* Takes the memory for both rings of a port whose path and role are set. 0 or a negative errno. */
int port_open(struct port *port, const struct port_options *options, struct hg_err *err);

/* Waits until all n ports have a running session, then posts their receive buffers. */
int ports_attach(struct port *ports, unsigned n, uint64_t timeout_ns, struct hg_err *err);

/* Ends the sessions: takes the rings back from back-ends that still answer, and frees
 * everything. */
void ports_close(struct port *ports, unsigned n);

/* 0, or a negative errno with the reason for which the session or one of the rings is broken. */
int port_check(const struct port *port, struct hg_err *err);

/* Lets the virtual IOMMUs of both ports answer and hear. Returns whether there was anything. A
 * session that breaks stays so: port_check() tells. */
bool ports_serve(struct port *a, struct port *b);

/* Sleeps until something comes for them, or for `ns`. */
void ports_rest(const struct port *a, const struct port *b, uint64_t ns);

#endif
