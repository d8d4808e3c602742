/*
 * Misses on their way from a queue to control.
 *
 * The ring: the producer writes entries and publishes them by `tail`; control reads them and gives them
 * back by `head`. Whether control must be woken is the usual question of two sides that publish and then
 * look, and both do it in sequentially consistent order, so that at least one sees the other:
 *
 *   producer: tail = new; head == old tail?   yes: control has read all there was: wake it
 *   control:  head = new; tail == head?       yes: it reads no further
 *
 * What a queue did not ask for because the ring was full, it asks for when it comes again: control
 * counts an answer whenever it has emptied the ring.
 *
 * An ask may be out of date when control reads it: between the look-up and the ask the address became known, so
 * its queue went on, its guest was done with it, and the front-end has taken it back. Sent, such a
 * miss would not be answered, and the next use of the address would wait for it in vain. So each ask
 * carries the count of answers of its time, and what was taken back since is not sent; a queue that
 * wants it nevertheless asks again. Control does not, and nothing comes between its look-up and its
 * ask: what it has asked for it still wants.
 */
#include "base/raise.h"
#include "iommu/iotlb_internal.h"

/* ---- the queue's side ---- */

/* Whether the queue's own ring holds the question already; its entries are the producer's to read until
 * control gives them back, and stay as they are until he writes new ones. */
static bool has_asked(const struct hg_asks *asks, uint32_t head, uint64_t addr, unsigned perm)
{
    for (uint32_t i = head; i != asks->put; i++) {
        const struct hg_ask *ask = &asks->ask[i % HG_IOTLB_ASKS_N];

        if (ask->addr == addr && ask->perm == perm)
            return true;
    }
    return false;
}

enum hg_lack hg_iotlb_ask(struct hg_iotlb *iotlb, struct hg_asks *asks, uint64_t addr,
                          unsigned perm)
{
    uint32_t head;

    switch (hg_pending_find(iotlb->pending, addr, perm)) {
    case HG_PENDING_UNMAPPED:
        return HG_LACK_FAULT_UNMAPPED;
    case HG_PENDING_PERMISSION:
        return HG_LACK_FAULT_PERMISSION;
    case HG_PENDING_ASKED:
        return HG_LACK_MISS;
    case HG_PENDING_NOT:
        break;
    }
    /* Pairs with control's store of head: it has read the entry that is written anew. */
    head = atomic_load_explicit(&asks->head, memory_order_acquire);
    if (asks->put - head < HG_IOTLB_ASKS_N && !has_asked(asks, head, hg_iotlb_granule(addr), perm))
        asks->ask[asks->put++ % HG_IOTLB_ASKS_N] =
            (struct hg_ask){hg_iotlb_granule(addr), perm, (uint32_t)hg_iotlb_answers(iotlb)};
    return HG_LACK_MISS;
}

void hg_asks_flush(struct hg_asks *asks)
{
    uint32_t told = atomic_load_explicit(&asks->tail, memory_order_relaxed);

    if (asks->put == told)
        return;
    atomic_store_explicit(&asks->tail, asks->put, memory_order_seq_cst);
    if (atomic_load_explicit(&asks->head, memory_order_seq_cst) == told)
        hg_raise(asks->wake_fd);
}

/* ---- control's side ---- */

static bool is_known(const struct hg_iotlb *iotlb, const struct hg_ask *ask)
{
    struct hg_iotlb_block block;

    return hg_iotlb_find(iotlb, ask->addr, &block) && (ask->perm & ~block.perm) == 0;
}

/* Whether the address has been taken back since it was asked for, or may have been. */
static bool is_out_of_date(const struct hg_iotlb *iotlb, const struct hg_asks *asks,
                           const struct hg_ask *ask)
{
    if (asks->control)
        return false;
    for (uint64_t i = 0; i < iotlb->taken_n && i < HG_IOTLB_TAKEN_N; i++) {
        const struct hg_iotlb_taken *taken =
            &iotlb->taken[(iotlb->taken_n - 1 - i) % HG_IOTLB_TAKEN_N];

        if ((int32_t)(ask->answers - taken->answers) >= 0)
            return false;
        if (ask->addr >= hg_iotlb_granule(taken->first) && ask->addr <= taken->last)
            return true;
    }
    return iotlb->taken_n >= HG_IOTLB_TAKEN_N;
}

bool hg_iotlb_next_miss(struct hg_iotlb *iotlb, struct hg_asks *asks, uint64_t now_ns,
                        struct hg_ask *miss)
{
    uint32_t head = atomic_load_explicit(&asks->head, memory_order_relaxed);

    while (head != atomic_load_explicit(&asks->tail, memory_order_seq_cst)) {
        struct hg_ask ask = asks->ask[head % HG_IOTLB_ASKS_N];
        bool send = !is_known(iotlb, &ask) && !is_out_of_date(iotlb, asks, &ask) &&
                    hg_pending_find(iotlb->pending, ask.addr, ask.perm) == HG_PENDING_NOT;

        if (send && !hg_pending_add(iotlb->pending, ask.addr, ask.perm, now_ns))
            return false;
        atomic_store_explicit(&asks->head, ++head, memory_order_seq_cst);
        if (head == atomic_load_explicit(&asks->tail, memory_order_seq_cst))
            iotlb_announce(iotlb);
        if (send) {
            *miss = ask;
            return true;
        }
    }
    return false;
}

bool hg_iotlb_expire(struct hg_iotlb *iotlb, uint64_t now_ns, uint64_t *next_ns)
{
    unsigned faults_n = hg_pending_expire(iotlb->pending, now_ns, next_ns);

    if (faults_n == 0)
        return false;
    iotlb->timeouts += faults_n;
    iotlb_announce(iotlb);
    return true;
}

bool hg_iotlb_last_fault(const struct hg_iotlb *iotlb, struct hg_ask *fault)
{
    return hg_pending_last_fault(iotlb->pending, &fault->addr, &fault->perm);
}

void hg_iotlb_forget_misses(struct hg_iotlb *iotlb)
{
    hg_pending_clear(iotlb->pending);
    iotlb_announce(iotlb);
}
