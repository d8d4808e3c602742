#include "attack/stage.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "sync/qsbr.h"

enum {
    FLOW_N = 16,     /* frames of a batch */
    PATIENCE_S = 60, /* for anything that should happen at once; sanitizers and loaded machines */
};

static struct stage *on_stage; /* for rig.on_change, which has no context */

static bool runs(struct stage *stage, unsigned actor)
{
    return atomic_load(&stage->rig[actor].port.rxq[0]->running);
}

static void hand_over(struct stage *stage, int but)
{
    struct hg_poller *pollers[ACTORS_N];
    unsigned n = 0;

    for (int i = 0; i < ACTORS_N; i++)
        if (i != but && stage->lane[i].rxq != NULL && runs(stage, (unsigned)i))
            pollers[n++] = &stage->lane[i].poller;
    assert_int_equal(hg_worker_set(stage->worker, pollers, n, NULL), 0);
}

/* As the daemon does it: out of the worker's hands, changed, back into them. */
static void on_change(struct rig *rig)
{
    int actor = (int)(rig - on_stage->rig);

    hand_over(on_stage, actor);
    hg_lane_init(&on_stage->lane[actor], on_stage->bridge[actor / 2], rig->port.rxq[0],
                 on_stage->path);
    hand_over(on_stage, -1);
}

void stage_open(struct stage *stage)
{
    const struct hg_bridge_options bridge = {
        .fdb_age_s = 300, .fdb_max = 1024, .fdb_port_max = 256};
    const struct hg_worker_options worker = {.cpu = -1, .sleep = true, .idle_ns = 50000};
    static const char *const names[] = {"br0", "br1"};

    memset(stage, 0, sizeof(*stage));
    on_stage = stage;
    assert_int_equal(hg_path_new(&stage->path, NULL), 0);
    assert_int_equal(hg_worker_new(&stage->worker, &worker, NULL, NULL), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(hg_bridge_new(&stage->bridge[i], names[i], &bridge, NULL), 0);
    for (unsigned i = 0; i < ACTORS_N; i++) {
        rig_open(&stage->rig[i], &(struct rig_options){.pair_n = 1});
        stage->rig[i].port.id = (uint16_t)i;
        stage->rig[i].on_change = on_change;
        assert_int_equal(hg_bridge_add(stage->bridge[i / 2], &stage->rig[i].port, NULL), 0);
    }
    assert_int_equal(hg_worker_start(stage->worker, NULL), 0);
    for (unsigned i = 0; i < ACTORS_N; i++)
        stage_bring_up(stage, i, PEER_RING_SIZE, RIG_FEATURES);
}

void stage_close(struct stage *stage)
{
    for (unsigned i = 0; i < ACTORS_N; i++)
        peer_hang_up(&stage->rig[i].peer);
    hg_worker_stop(stage->worker);
    for (unsigned i = 0; i < ACTORS_N; i++) {
        hg_bridge_remove(stage->bridge[i / 2], &stage->rig[i].port);
        rig_close(&stage->rig[i]);
    }
    hg_worker_free(stage->worker);
    hg_bridge_free(stage->bridge[0]);
    hg_bridge_free(stage->bridge[1]);
    hg_path_free(stage->path);
}

void stage_bring_up(struct stage *stage, unsigned actor, uint16_t num, uint64_t features)
{
    struct peer *peer = &stage->rig[actor].peer;

    peer_hang_up(peer);
    peer->features = features;
    for (unsigned ring = 0; ring < 2; ring++) {
        peer_reset_ring(peer, ring);
        peer->ring[ring].num = num;
    }
    if (!rig_bring_up(&stage->rig[actor]))
        fail_msg("actor %u does not come up: %s", actor, rig_status(&stage->rig[actor]));
}

static void pump(struct stage *stage)
{
    for (unsigned i = 0; i < ACTORS_N; i++)
        rig_pump(&stage->rig[i]);
}

static void make_frame(uint8_t *frame, size_t len, uint8_t from, uint32_t number)
{
    memset(frame, (int)number, len);
    memcpy(frame, (uint8_t[14]){2, 0, 0, 0, 1, from ^ 1u, 2, 0, 0, 0, 1, from, 0x88, 0xb5}, 14);
    memcpy(frame + 14, &number, sizeof(number));
}

void stage_flow(struct stage *stage)
{
    struct peer *left = &stage->rig[LEFT].peer;
    struct peer *right = &stage->rig[RIGHT].peer;
    uint64_t begun_ns = hg_now_ns();
    uint8_t frame[200];
    unsigned got_n = 0;

    peer_post(right, GUEST_RX, FLOW_N);
    for (unsigned i = 0; i < FLOW_N; i++) {
        make_frame(frame, sizeof(frame), LEFT, stage->sent_n + i);
        peer_transmit(left, GUEST_TX, frame, sizeof(frame));
    }
    peer_kick(left, GUEST_TX);
    while (got_n < FLOW_N) {
        size_t len;
        const uint8_t *got = peer_receive(right, GUEST_RX, &len);

        if (hg_now_ns() - begun_ns > PATIENCE_S * HG_NS_PER_S)
            fail_msg("the bystanders got %u frames of %u", got_n, FLOW_N);
        if (got == NULL) {
            sched_yield();
            continue;
        }
        make_frame(frame, sizeof(frame), LEFT, stage->sent_n++);
        assert_int_equal(len, sizeof(frame));
        assert_memory_equal(got, frame, len);
        got_n++;
    }
    if (hg_now_ns() - begun_ns > stage->flow_worst_ns)
        stage->flow_worst_ns = hg_now_ns() - begun_ns;
}

void stage_until(struct stage *stage, bool (*done)(struct stage *, void *), void *ctx,
                 const char *what)
{
    uint64_t begun_ns = hg_now_ns();

    for (;;) {
        pump(stage);
        stage_flow(stage);
        if (done(stage, ctx))
            return;
        if (hg_now_ns() - begun_ns > PATIENCE_S * HG_NS_PER_S)
            fail_msg("waited in vain for %s; the attacker's port: %s", what,
                     rig_status(&stage->rig[ATTACKER]));
    }
}

uint64_t stage_drops(const struct hg_queue_stats *stats, enum hg_drop reason)
{
    return hg_count_get(&stats->drops.reason[reason]);
}

struct awaited {
    const struct hg_queue_stats *stats;
    enum hg_drop reason;
    uint64_t before;
    unsigned actor, ring;
    const char *text;
};

static bool is_dropped(struct stage *stage, void *ctx)
{
    const struct awaited *a = ctx;

    (void)stage;
    return stage_drops(a->stats, a->reason) > a->before;
}

void stage_until_dropped(struct stage *stage, const struct hg_queue_stats *stats,
                         enum hg_drop reason, uint64_t before)
{
    struct awaited a = {.stats = stats, .reason = reason, .before = before};

    stage_until(stage, is_dropped, &a, hg_drop_texts[reason].name);
}

static bool is_broken(struct stage *stage, void *ctx)
{
    const struct awaited *a = ctx;
    struct rig *rig = &stage->rig[ATTACKER];

    return strstr(rig_status(rig), a->text) != NULL && strcmp(rig->status.state, "broken") == 0;
}

void stage_until_broken(struct stage *stage, unsigned ring, enum hg_vring_fault fault)
{
    struct awaited a = {.text = hg_vring_fault_name(fault)};

    stage_until(stage, is_broken, &a, a.text);
    assert_int_equal(peer_take_signals(stage->rig[ATTACKER].peer.ring[ring].err), 1);
    rig_status(&stage->rig[VICTIM]); /* that port alone */
    assert_string_equal(stage->rig[VICTIM].status.state, "up");
}

static bool is_taken(struct stage *stage, void *ctx)
{
    const struct awaited *a = ctx;
    struct peer *peer = &stage->rig[a->actor].peer;

    return peer_used_idx(peer, a->ring) == peer->ring[a->ring].avail_idx;
}

void stage_until_taken(struct stage *stage, unsigned actor, unsigned ring)
{
    struct awaited a = {.actor = actor, .ring = ring};

    peer_kick(&stage->rig[actor].peer, ring);
    stage_until(stage, is_taken, &a, "descriptors to come back");
}

static uint64_t all_drops(const struct hg_queue_stats *stats)
{
    uint64_t n = 0;

    for (unsigned reason = 0; reason < HG_DROP_N; reason++)
        n += stage_drops(stats, reason);
    return n;
}

/* received + replicated + segmented = transmitted + dropped, over all ports, at rest. */
static bool is_balanced(struct stage *stage, void *ctx)
{
    uint64_t *sides = ctx;

    hg_qsbr_wait(); /* no burst is half counted */
    sides[0] = sides[1] = 0;
    for (unsigned i = 0; i < ACTORS_N; i++) {
        const struct hg_rxq *rxq = stage->rig[i].port.rxq[0];
        const struct hg_txq *txq = stage->rig[i].port.txq[0];

        sides[0] += hg_count_get(&rxq->stats.packets) + hg_count_get(&rxq->replicated) +
                    hg_count_get(&txq->segmented);
        sides[1] +=
            hg_count_get(&txq->stats.packets) + all_drops(&rxq->stats) + all_drops(&txq->stats);
    }
    return sides[0] == sides[1];
}

void stage_recover(struct stage *stage)
{
    struct peer *victim = &stage->rig[VICTIM].peer;
    uint8_t frame[100];
    const uint8_t *got;
    uint64_t sides[2];
    size_t len;

    stage_bring_up(stage, ATTACKER, PEER_RING_SIZE, RIG_FEATURES);
    stage_bring_up(stage, VICTIM, PEER_RING_SIZE, RIG_FEATURES);
    peer_post(victim, GUEST_RX, 4);
    make_frame(frame, sizeof(frame), ATTACKER, 7);
    peer_transmit(&stage->rig[ATTACKER].peer, GUEST_TX, frame, sizeof(frame));
    stage_until_taken(stage, ATTACKER, GUEST_TX);
    got = peer_receive(victim, GUEST_RX, &len);
    assert_non_null(got);
    assert_int_equal(len, sizeof(frame));
    assert_memory_equal(got, frame, len);
    if (!is_balanced(stage, sides))
        fail_msg("%llu frames came in or were made, %llu went out or were dropped",
                 (unsigned long long)sides[0], (unsigned long long)sides[1]);
    stage_bring_up(stage, ATTACKER, PEER_RING_SIZE, RIG_FEATURES);
    stage_bring_up(stage, VICTIM, PEER_RING_SIZE, RIG_FEATURES);
}
