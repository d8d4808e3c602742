/*
 * The packet's way through the scheduler.
 *
 * Invariants between two calls:
 *   1. a queue is in the round of its class if and only if it has packets;
 *   2. a class's bit is in `ready` or in `held` of its subport, never in both, if and only if its
 *      round is not empty;
 *   3. a subport is IDLE if both are 0, else ACTIVE (in the port's round, `ready` not 0) or WAITING
 *      (in the wheel);
 *   4. what is in a round has a deficit above 0.
 *
 * Deficit round robin is served in arrears (the deficit is looked at before a packet, not against
 * it): what leads the round sends while its deficit is above 0, then goes to the end with its
 * quantum added. A quantum is at least the longest packet, hence 4, and each step of the loop sends
 * packets or has a shaper hold something: cost is constant. Within one call nothing is enqueued and
 * no time passes, so whose turn it is sends all that it may in one go. A debt outlives the packets,
 * a credit does not; so who comes and goes gets no more than his share. (Shreedhar and Varghese,
 * "Efficient fair queueing using deficit round-robin", 1996.)
 *
 * A packet goes when class, subport and port all have tokens for it, looked at in this order: a
 * class without is passed over for the next class of the subport, a subport without for the next
 * subport, and without the port's nothing goes. What is held waits for the moment at which the
 * tokens will be there.
 */
#include "sched/state.h"

/* Puts `i` at the end of a round; `next` is its link, and `next_of_last` that of the last one, if
 * there is one. */
static void append(struct round *round, uint32_t *next_of_last, uint32_t *next, uint32_t i)
{
    *next = NONE;
    if (round->first == NONE)
        round->first = i;
    else
        *next_of_last = i;
    round->last = i;
}

static void append_queue(struct hg_sched *s, struct round *round, uint32_t i)
{
    append(round, &s->queue[round->last].next, &s->queue[i].next, i);
}

static void append_subport(struct hg_sched *s, uint32_t i)
{
    s->subport[i].place = ACTIVE;
    append(&s->active, &s->subport[s->active.last].next, &s->subport[i].next, i);
}

/* A new round begins for who has been away: a debt stays, a credit is lost. */
static int32_t new_deficit(int32_t deficit, uint32_t quantum)
{
    return (deficit < 0 ? deficit : 0) + (int32_t)quantum;
}

/* A queue has got its first packet. */
static void activate(struct hg_sched *s, struct queue *queue)
{
    struct tc *tc = &s->tc[queue->tc];
    struct subport *subport = &s->subport[tc->subport];
    bool first = tc->queues.first == NONE;

    queue->deficit = new_deficit(queue->deficit, queue->quantum);
    append_queue(s, &tc->queues, (uint32_t)(queue - s->queue));
    if (!first)
        return;
    subport->ready |= (uint8_t)(1u << tc->number);
    if (subport->place == ACTIVE)
        return;
    /* It waits for tokens for another class; this one may need fewer, or none. */
    if (subport->place == WAITING)
        wheel_remove(&s->wheel, &subport->entry);
    else
        subport->deficit = new_deficit(subport->deficit, subport->quantum);
    append_subport(s, tc->subport);
}

static bool has_room(const struct hg_sched *s, const struct queue *queue, uint32_t waiting,
                     uint32_t len)
{
    return len <= s->packet_max_bytes && waiting < queue->waiting_max &&
           (uint64_t)queue->bytes + len + s->overhead_bytes <= queue->bytes_max && s->free != NONE;
}

static bool put(struct hg_sched *s, const struct hg_sched_item *item)
{
    struct queue *queue = &s->queue[item->queue];
    uint32_t waiting = atomic_load_explicit(&queue->waiting, memory_order_relaxed);
    uint32_t i = s->free;
    struct node *node;

    if (hg_unlikely(!has_room(s, queue, waiting, item->len))) {
        hg_count_add(&queue->dropped, 1);
        return false;
    }
    node = &s->node[i];
    s->free = node->next;
    *node = (struct node){.what = item->what, .len = item->len + s->overhead_bytes, .next = NONE};
    if (waiting == 0)
        queue->head = i;
    else
        s->node[queue->tail].next = i;
    queue->tail = i;
    queue->bytes += node->len;
    atomic_store_explicit(&queue->waiting, waiting + 1, memory_order_relaxed);
    if (waiting == 0)
        activate(s, queue);
    return true;
}

unsigned hg_sched_enqueue(struct hg_sched *sched, struct hg_sched_item *item, unsigned n)
{
    unsigned refused = 0;

    for (unsigned i = 0; i < n; i++) {
        if (hg_likely(item[i].queue < sched->queue_total))
            __builtin_prefetch(&sched->queue[item[i].queue], 1);
    }
    for (unsigned i = 0; i < n; i++) {
        if (hg_unlikely(item[i].queue >= sched->queue_total || !put(sched, &item[i])))
            item[refused++] = item[i];
    }
    return refused;
}

/* Has the shapers of a subport's classes looked at again. */
static void unhold(struct subport *subport)
{
    subport->ready |= subport->held;
    subport->held = 0;
}

/* The class whose turn it is. */
static struct tc *lead(struct hg_sched *s, struct subport *subport, uint64_t now)
{
    uint32_t first = (uint32_t)(subport - s->subport) * s->class_n;

    if (hg_unlikely(subport->held != 0 && now >= subport->held_until))
        unhold(subport);
    return &s->tc[first + (unsigned)__builtin_ctz(subport->ready)];
}

/* The tokens of a bucket at `now`. */
static inline uint64_t credit(struct bucket *bucket, uint64_t now)
{
    if (bucket->rate_bps == 0)
        return UINT64_MAX;
    bucket_fill(bucket, now);
    return bucket->tokens;
}

static inline void pay(struct bucket *bucket, uint64_t cost)
{
    if (bucket->rate_bps != 0)
        bucket->tokens -= cost;
}

static uint64_t cost_of_first(const struct hg_sched *s, const struct tc *tc)
{
    return s->byte_cost * s->node[s->queue[tc->queues.first].head].len;
}

/* Packets that left the head of a queue together. */
struct run {
    unsigned n;
    uint64_t bytes; /* charged */
};

/*
 * Takes packets off the queue that leads its class, as long as it is its turn and that of its
 * subport, and `tokens` last. They are linked already, and become free in one piece.
 */
static struct run take(struct hg_sched *s, const struct subport *subport, struct queue *queue,
                       uint64_t tokens, void **what, unsigned n)
{
    uint32_t waiting = atomic_load_explicit(&queue->waiting, memory_order_relaxed);
    int64_t turn = hg_min_u32((uint32_t)queue->deficit, (uint32_t)subport->deficit);
    uint32_t first = queue->head;
    uint32_t i = first;
    struct run run = {0};
    struct node *node = NULL;

    n = hg_min_u32(n, waiting);
    while (run.n < n && turn > 0) {
        uint64_t cost = s->byte_cost * s->node[i].len;

        if (hg_unlikely(cost > tokens))
            break;
        tokens -= cost;
        node = &s->node[i];
        what[run.n++] = node->what;
        run.bytes += node->len;
        turn -= node->len;
        i = node->next;
    }
    if (!node)
        return run;
    node->next = s->free;
    s->free = first;
    queue->head = i;
    queue->bytes -= (uint32_t)run.bytes;
    atomic_store_explicit(&queue->waiting, waiting - run.n, memory_order_relaxed);
    return run;
}

/* Charges the queue that leads the round of its class, and moves the round on if its turn is
 * over. */
static void charge_queue(struct hg_sched *s, struct subport *subport, struct tc *tc,
                         struct queue *queue, uint64_t bytes)
{
    uint32_t i = tc->queues.first;

    queue->deficit -= (int32_t)bytes;
    if (atomic_load_explicit(&queue->waiting, memory_order_relaxed) == 0) {
        tc->queues.first = queue->next;
        if (tc->queues.first == NONE)
            subport->ready &= (uint8_t) ~(1u << tc->number);
    } else if (queue->deficit <= 0) {
        queue->deficit += (int32_t)queue->quantum;
        tc->queues.first = queue->next;
        append_queue(s, &tc->queues, i);
    }
}

/* The subport that leads the port's round leaves it until tick `until`. */
static void hold_subport(struct hg_sched *s, struct subport *subport, uint64_t until)
{
    s->active.first = subport->next;
    subport->place = WAITING;
    wheel_put(&s->wheel, &subport->entry, until);
}

/* Charges the subport that leads the port's round, and moves the round on if its turn is over; one
 * without a class that may go leaves. */
static void charge_subport(struct hg_sched *s, struct subport *subport, uint64_t bytes)
{
    uint32_t i = s->active.first;
    bool over;

    subport->deficit -= (int32_t)bytes;
    over = subport->deficit <= 0;
    if (hg_unlikely((subport->ready | subport->held) == 0)) {
        s->active.first = subport->next;
        subport->place = IDLE;
        return;
    }
    if (over)
        subport->deficit += (int32_t)subport->quantum;
    if (hg_unlikely(subport->ready == 0)) {
        hold_subport(s, subport, subport->held_until);
    } else if (over) {
        s->active.first = subport->next;
        append_subport(s, i);
    }
}

/* Sends what the queue whose turn it is may send: the number of packets, 0 when a shaper holds the
 * first. */
static unsigned send(struct hg_sched *s, struct subport *subport, struct tc *tc, uint64_t now,
                     void **what, unsigned n)
{
    struct queue *queue = &s->queue[tc->queues.first];
    uint64_t tokens = hg_min_u64(credit(&tc->bucket, now), hg_min_u64(credit(&subport->bucket, now),
                                                                      credit(&s->bucket, now)));
    struct run run = take(s, subport, queue, tokens, what, n);
    uint64_t cost = run.bytes * s->byte_cost;

    if (run.n == 0)
        return 0;
    pay(&tc->bucket, cost);
    pay(&subport->bucket, cost);
    pay(&s->bucket, cost);
    hg_count_add(&queue->sent, run.n);
    hg_count_add(&queue->sent_bytes, run.bytes - (uint64_t)run.n * s->overhead_bytes);
    charge_queue(s, subport, tc, queue, run.bytes);
    charge_subport(s, subport, run.bytes);
    return run.n;
}

static void hold_class(struct subport *subport, const struct tc *tc, uint64_t until)
{
    uint8_t bit = (uint8_t)(1u << tc->number);

    if (subport->held == 0 || until < subport->held_until)
        subport->held_until = until;
    subport->ready &= (uint8_t)~bit;
    subport->held |= bit;
}

/* The tick at which a subport is to be looked at that waits for tokens until `until`: a class that
 * its shaper holds may go before, with a shorter packet. */
static uint64_t look_at(const struct subport *subport, uint64_t until)
{
    return subport->held != 0 ? hg_min_u64(until, subport->held_until) : until;
}

/* Finds out which shaper holds the first packet of a class, now, and has it wait. False: the
 * port's, so all. */
static bool hold(struct hg_sched *s, struct subport *subport, struct tc *tc, uint64_t now)
{
    uint64_t cost = cost_of_first(s, tc);

    if (credit(&tc->bucket, now) < cost) {
        hold_class(subport, tc, bucket_ready_at(&tc->bucket, cost));
        if (subport->ready == 0)
            hold_subport(s, subport, subport->held_until);
        return true;
    }
    if (credit(&subport->bucket, now) < cost) {
        hold_subport(s, subport, look_at(subport, bucket_ready_at(&subport->bucket, cost)));
        return true;
    }
    s->port_until = look_at(subport, bucket_ready_at(&s->bucket, cost));
    return false;
}

static void wake(struct hg_sched *s, uint64_t now)
{
    struct wheel_entry *entry;

    while ((entry = wheel_take(&s->wheel, now)) != NULL) {
        struct subport *subport = hg_container_of(entry, struct subport, entry);

        unhold(subport);
        append_subport(s, (uint32_t)(subport - s->subport));
    }
}

unsigned hg_sched_dequeue(struct hg_sched *sched, uint64_t now, void **what, unsigned n)
{
    unsigned taken = 0;

    if (hg_unlikely(atomic_load_explicit(&sched->any_changed, memory_order_relaxed)))
        hg_sched_take_over(sched);
    wake(sched, now);
    sched->port_until = 0;
    while (taken < n && sched->active.first != NONE) {
        struct subport *subport = &sched->subport[sched->active.first];
        struct tc *tc = lead(sched, subport, now);
        unsigned sent = send(sched, subport, tc, now, what + taken, n - taken);

        if (sent == 0 && !hold(sched, subport, tc, now))
            break;
        taken += sent;
    }
    return taken;
}

uint64_t hg_sched_next(const struct hg_sched *sched)
{
    uint64_t slot;

    if (sched->active.first != NONE)
        return sched->port_until;
    slot = wheel_next(&sched->wheel);
    return slot == UINT64_MAX ? HG_SCHED_NEVER : wheel_tick(&sched->wheel, slot);
}

void hg_sched_reconsider(struct hg_sched *sched, uint32_t i)
{
    struct subport *subport = &sched->subport[i];

    unhold(subport);
    if (subport->place != WAITING)
        return;
    wheel_remove(&sched->wheel, &subport->entry);
    append_subport(sched, i);
}

unsigned hg_sched_drain(struct hg_sched *sched, void **what, unsigned n)
{
    unsigned taken = 0;

    for (uint32_t i = 0; i < sched->subport_n; i++)
        hg_sched_reconsider(sched, i);
    while (taken < n && sched->active.first != NONE) {
        struct subport *subport = &sched->subport[sched->active.first];
        struct tc *tc = lead(sched, subport, 0);
        struct queue *queue = &sched->queue[tc->queues.first];
        struct run run = take(sched, subport, queue, UINT64_MAX, what + taken, n - taken);

        hg_count_add(&queue->dropped, run.n);
        charge_queue(sched, subport, tc, queue, run.bytes);
        charge_subport(sched, subport, run.bytes);
        taken += run.n;
    }
    return taken;
}
