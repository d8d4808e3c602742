/*
 * The stage of the attack suite: a worker thread and two bridges of two vhost-user ports each.
 * Every port has a scripted peer (peer/peer.h).
 *
 *   bridge 0: ATTACKER <-> VICTIM          whatever the test does happens here
 *   bridge 1: LEFT <-> RIGHT               bystanders, served by the same worker and control
 *                                          thread; whose frames must pass at any time, whole and in
 *                                          order
 *
 * The test's thread is control and all four peers. After each attack stage_recover() lets the
 * attacker connect anew, sees a frame of his pass, and balances the accounts of all ports.
 */
#ifndef HG_TESTS_ATTACK_STAGE_H
#define HG_TESTS_ATTACK_STAGE_H

#include "bridge/bridge.h"
#include "peer/rig.h"
#include "virtio/vq_dev.h"
#include "worker/worker.h"

enum { ATTACKER, VICTIM, LEFT, RIGHT, ACTORS_N };

enum { GUEST_RX = 0, GUEST_TX = 1 }; /* rings of the only pair, as the guest sees them */

struct stage {
    struct rig rig[ACTORS_N];
    struct hg_bridge *bridge[2];
    struct hg_lane lane[ACTORS_N];
    struct hg_path *path;
    struct hg_worker *worker;
    uint32_t sent_n;        /* frames of the bystanders */
    uint64_t flow_worst_ns; /* the longest that a batch of theirs took */
};

void stage_open(struct stage *stage);
void stage_close(struct stage *stage);

/* Brings an actor up with empty rings of `num` descriptors and the features given. */
void stage_bring_up(struct stage *stage, unsigned actor, uint16_t num, uint64_t features);

/* Sends a batch of frames from LEFT to RIGHT, and fails if one is lost, changed or late. */
void stage_flow(struct stage *stage);

/* Lets everything run, the bystanders too, until `done` says so. Fails after some seconds. */
void stage_until(struct stage *stage, bool (*done)(struct stage *, void *), void *ctx,
                 const char *what);
/* Waits for a named drop on a queue, beyond `before`; for a ring of the attacker to be broken. */
uint64_t stage_drops(const struct hg_queue_stats *stats, enum hg_drop reason);
void stage_until_dropped(struct stage *stage, const struct hg_queue_stats *stats,
                         enum hg_drop reason, uint64_t before);
void stage_until_broken(struct stage *stage, unsigned ring, enum hg_vring_fault fault);

/* Kicks a ring and waits until the back-end has returned everything made available on it. */
void stage_until_taken(struct stage *stage, unsigned actor, unsigned ring);

/* The attacker hangs up, comes back as an honest guest and gets a frame through to the victim; then
 * every frame of all ports must be accounted for. On return both are up with empty rings. */
void stage_recover(struct stage *stage);

#endif
