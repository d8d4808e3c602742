/*
 * The port contract: what a driver implements and everybody else calls.
 *
 * Two small contracts. The hot one is per queue and per burst: struct hg_rxq and struct hg_txq,
 * called by workers. The cold one is per port: struct hg_port_driver, called by control on its
 * event loop.
 *
 * Life of a port:   open -> (queues start and stop, as the peer pleases) -> close
 *   open    allocates everything, begins to listen or connect; no queue runs yet
 *   start   the driver sets up a queue, publishes it, and calls host->queues_changed()
 *   stop    the driver unpublishes the queue and waits a grace period; only then does it touch or
 *           free what the queue uses
 *   close   stops all queues likewise; the caller has taken the port out of bridge and workers
 *           before, so that nobody calls its queues any more
 * A queue that is not running is safe to call: it receives nothing and accepts nothing.
 *
 * A rxq belongs to one worker at a time. A txq may be called by several: hg_port_tx() takes its
 * lock.
 */
#ifndef HG_PORT_PORT_H
#define HG_PORT_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/api.h"
#include "base/atomic.h"
#include "base/count.h"
#include "base/err.h"
#include "iommu/fault.h"
#include "mem/arena.h"
#include "pkt/pkt.h"
#include "pkt/stats.h"
#include "sync/spin.h"

HG_API_BEGIN

enum {
    HG_PORTS_MAX = 256,      /* in one daemon; ids are 0 to HG_PORTS_MAX - 1 */
    HG_PORT_QUEUES_MAX = 16, /* queue pairs of one port */
    HG_PORT_NAME_MAX = 31,
};

struct event_base; /* libevent's */
struct hg_port;

/* One receive queue: frames from the peer into the switch. */
struct hg_rxq {
    /*
     * Fills b->pkt[0 .. returned) with up to HG_BURST_N frames in the order in which they were
     * sent; b->n and b->seg_n are set too. Frames refused here are counted in stats.drops and do
     * not appear. What the packets borrow stays valid until done(), which must follow, also when no
     * frame was returned, before the next rx.
     */
    unsigned (*rx)(struct hg_rxq *q, struct hg_burst *b);
    /* Gives everything borrowed back to the peer, in order, and notifies it if it wishes. */
    void (*done)(struct hg_rxq *q);
    /* As in struct hg_poller. */
    bool (*arm)(struct hg_rxq *q);
    void (*disarm)(struct hg_rxq *q);
    int fd; /* readable when the peer has signalled; changed by control while not running only */
    _Atomic(bool) running;
    uint16_t index;
    struct hg_port *port;
    struct hg_queue_stats stats; /* drops on the way through the bridge are counted here too */
    struct hg_count replicated;  /* copies that flooding made beyond the first */
};

enum { /* hg_txq.offloads: what the receiver takes as metadata */
       HG_TX_CSUM = 1u << 0,
       HG_TX_TSO4 = 1u << 1,
       HG_TX_TSO6 = 1u << 2,
       HG_TX_ECN = 1u << 3,
       HG_TX_ALL = HG_TX_CSUM | HG_TX_TSO4 | HG_TX_TSO6 | HG_TX_ECN,
};

/* One transmit queue: frames from the switch to the peer. */
struct hg_txq {
    /*
     * Copies the n frames to the peer in order, n <= HG_BURST_N. Returns how many were dealt with,
     * from the first on: delivered, refused one by one and counted in stats.drops, or copied to be
     * delivered, or refused, later. The rest found no room; the caller still has them. Frames stay
     * the caller's in any case. None of them asks for an offload that is not in `offloads`.
     */
    unsigned (*tx)(struct hg_txq *q, struct hg_pkt *const *pkts, unsigned n);
    _Atomic(bool) running;
    _Atomic(unsigned) offloads; /* HG_TX_*; constant while running */
    struct hg_spin lock;        /* held around tx by hg_port_tx() */
    uint16_t index;
    struct hg_port *port;
    struct hg_queue_stats stats;
    struct hg_count segmented; /* frames that software segmentation made beyond those it took */
};

/* What the driver may ask of its surroundings. Calls come on the control loop's thread. */
struct hg_port_host {
    struct event_base *loop;
    /* Queues of the port have started or stopped, or an rxq's fd has changed. On return workers no
     * longer poll a stopped one. */
    void (*queues_changed)(struct hg_port *port, void *ctx);
    void *ctx;
    /* For memory that a driver takes for itself, as in struct hg_arena_options. */
    enum hg_pages pages;
    bool on_node;
    unsigned node;
};

/* What a peer negotiated and where a session stands, for `port show`. */
struct hg_port_status {
    char state[16];          /* "up", "waiting", "broken" */
    char text[200];          /* a sentence: what state it is in and what it waits for */
    char peer_features[256]; /* names, separated by spaces */
    unsigned queue_pairs;    /* running */
    bool ended;              /* nothing is received from it any more, as long as it is open */
    uint64_t reconnects;
};

/* What a port's virtual IOMMU has done, for `stats`. Counts are since the port was opened. */
struct hg_port_iommu {
    bool active;      /* negotiated: guest addresses are translated now */
    uint64_t entries; /* translations held now, in blocks (iommu/iotlb.h) */
    uint64_t entries_max;
    uint64_t hits;       /* descriptors translated at the first look */
    uint64_t ahead_hits; /* of them, those that were asked for before a frame needed them */
    uint64_t stops;      /* bursts that ended at a translation that was missing */
    uint64_t misses;     /* sent to the front-end */
    uint64_t parked;     /* frames that had to wait for a translation */
    uint64_t parked_now;
    uint64_t faults[HG_IOMMU_FAULT_N];
    uint64_t invalidations;
    uint64_t evictions;
    uint64_t ack_median_ns; /* from the arrival of an invalidation to its acknowledgement */
    uint64_t ack_p99_ns;
    uint64_t ack_max_ns;
};

enum hg_option_type { HG_OPTION_STRING, HG_OPTION_PATH, HG_OPTION_UINT, HG_OPTION_ENUM };

/* One configuration key of a driver. */
struct hg_port_option {
    const char *name;
    enum hg_option_type type;
    bool required;
    const char *choices;       /* of an ENUM, separated by '|'; the first is the default */
    uint64_t min, max, preset; /* of a UINT */
    const char *help;          /* a sentence */
};

/* The values given to open(), one per option of the driver, in its order. Strings are NULL when not
 * given; enums are the index of the choice. Valid during the call. */
union hg_port_value {
    const char *string;
    uint64_t uint;
};

struct hg_port_driver {
    const char *type; /* as in the configuration */
    const char *help; /* a sentence */
    const struct hg_port_option *options;
    unsigned option_n;
    /* Whether values that are good one by one are good for open() as well, without touching
     * anything. 0 or a negative errno with *err; *option is then the index of the one to blame.
     * NULL: always. */
    int (*check)(const union hg_port_value *values, unsigned *option, struct hg_err *err);
    /* Values that check() has passed. Allocates port->driver_data, the queues, and starts. 0 or a
     * negative errno with *err and nothing left behind. */
    int (*open)(struct hg_port *port, const union hg_port_value *values, struct hg_err *err);
    void (*close)(struct hg_port *port);
    void (*status)(const struct hg_port *port, struct hg_port_status *status);
    /* Fills *iommu, which is zero. NULL: its peers have no virtual IOMMU. */
    void (*iommu)(const struct hg_port *port, struct hg_port_iommu *iommu);
};

struct hg_port {
    char name[HG_PORT_NAME_MAX + 1];
    uint16_t id;
    const struct hg_port_driver *driver;
    const struct hg_port_host *host;
    void *driver_data;
    unsigned queue_n; /* pairs allocated by open */
    struct hg_rxq *rxq[HG_PORT_QUEUES_MAX];
    struct hg_txq *txq[HG_PORT_QUEUES_MAX];
    _Atomic(unsigned) txq_running_n; /* txq[0 .. n) are running */
};

/* Whether a name may be a port's: 1 to HG_PORT_NAME_MAX letters, digits, '.', '_' or '-', the first
 * one a letter or digit. Names become file names and metric labels. */
bool hg_port_name_valid(const char *name);

/*
 * Transmits n frames, n <= HG_BURST_N: picks a running queue by each packet's flow_hash, keeps the
 * order within a flow, hands on what the receiver takes as metadata, segments and checksums in
 * software what it does not. Takes the queue's lock. Counts what is lost: as tx_full in the queue
 * when it found no room, as port_down in txq[0] when no queue runs. Workers; the packets stay the
 * caller's, unchanged.
 */
void hg_port_tx(struct hg_port *port, struct hg_pkt *const *pkts, unsigned n);

HG_API_END

#endif
