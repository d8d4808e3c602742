/*
 * The packet's way through the scheduler.
 *
 * Invariants between two calls:
 *   1. a queue is in the round of its class if and only if it has packets;
 *   2. a class's bit is in `ready` or in `held` of its subport, never in both, if and only if its round is
 *      not empty;
 *   3. a subport is IDLE if both are 0, else ACTIVE (in the port's round) or WAITING (in the wheel);
 *   4. what is in a round has a deficit above 0.
 *
 * Deficit round robin is served in arrears (the deficit is looked at before a packet, not against it): what
 * leads the round sends while its deficit is above 0, then goes to the end with its quantum added. A quantum is at
 * least the longest packet, hence 4, and each step of the loop sends a packet or has a shaper hold something: cost
 * is constant. A debt outlives the packets, a credit does not; so who comes and goes gets no more than
 * his share. (Shreedhar and Varghese, "Efficient fair queuing using deficit round robin", 1996.)
 *
 * A packet goes when class, subport and port all have tokens for it, looked at in this order: a class without
 * is passed over for the next class of the subport, a subport without for the next subport, and without the
 * port's nothing goes. What is held waits for the moment at which the tokens will be there.
 */
#include "sched/state.h"

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

/* Takes the first packet off its queue. */
static struct node *take(struct hg_sched *s, struct queue *queue)
{
    uint32_t i = queue->head;
    struct node *node = &s->node[i];
    uint32_t waiting = atomic_load_explicit(&queue->waiting, memory_order_relaxed);

    queue->head = node->next;
    node->next = s->free;
    s->free = i;
    queue->bytes -= node->len;
    atomic_store_explicit(&queue->waiting, waiting - 1, memory_order_relaxed);
    return node;
}

static bool is_empty(const struct queue *queue)
{
    return atomic_load_explicit(&queue->waiting, memory_order_relaxed) == 0;
}

/* The class that goes next, with tokens for its first packet; NULL when shapers hold all. */
static struct tc *choose(struct hg_sched *s, struct subport *subport, uint64_t now)
{
    struct tc *classes = &s->tc[(uint32_t)(subport - s->subport) * s->class_n];

    if (subport->held != 0 && now >= subport->held_until) {
        subport->ready |= subport->held;
        subport->held = 0;
    }
    while (subport->ready != 0) {
        unsigned number = (unsigned)__builtin_ctz(subport->ready);
        struct tc *tc = &classes[number];
        uint64_t cost;
        uint64_t until;

        if (tc->bucket.rate_bps == 0)
            return tc;
        cost = s->byte_cost * s->node[s->queue[tc->queues.first].head].len;
        bucket_fill(&tc->bucket, now);
        if (tc->bucket.tokens >= cost)
            return tc;
        until = bucket_ready_at(&tc->bucket, cost);
        if (subport->held == 0 || until < subport->held_until)
            subport->held_until = until;
        subport->ready &= (uint8_t) ~(1u << number);
        subport->held |= (uint8_t)(1u << number);
    }
    return NULL;
}

/* The subport that leads the port's round leaves it until tick `until`, or until a class that its shaper
 * holds may go before. */
static void hold(struct hg_sched *s, struct subport *subport, uint64_t until)
{
    if (subport->held != 0)
        until = hg_min_u64(until, subport->held_until);
    s->active.first = subport->next;
    subport->place = WAITING;
    wheel_put(&s->wheel, &subport->entry, until);
}

static bool affords(struct bucket *bucket, uint64_t now, uint64_t cost)
{
    if (bucket->rate_bps == 0)
        return true;
    bucket_fill(bucket, now);
    return bucket->tokens >= cost;
}

static void pay(struct bucket *bucket, uint64_t cost)
{
    if (bucket->rate_bps != 0)
        bucket->tokens -= cost;
}

/* Charges the subport that leads the port's round. */
static void charge_subport(struct hg_sched *s, struct subport *subport, uint32_t len)
{
    uint32_t i = s->active.first;

    subport->deficit -= (int32_t)len;
    if ((subport->ready | subport->held) == 0) {
        s->active.first = subport->next;
        subport->place = IDLE;
    } else if (subport->deficit <= 0) {
        subport->deficit += (int32_t)subport->quantum;
        s->active.first = subport->next;
        append_subport(s, i);
    }
}

/* Charges the queue that leads the round of its class. */
static void charge_queue(struct hg_sched *s, struct subport *subport, struct tc *tc,
                         struct queue *queue, uint32_t len)
{
    uint32_t i = tc->queues.first;

    queue->deficit -= (int32_t)len;
    if (is_empty(queue)) {
        tc->queues.first = queue->next;
        if (tc->queues.first == NONE)
            subport->ready &= (uint8_t) ~(1u << tc->number);
    } else if (queue->deficit <= 0) {
        queue->deficit += (int32_t)queue->quantum;
        tc->queues.first = queue->next;
        append_queue(s, &tc->queues, i);
    }
}

/* Takes the first packet of the queue whose turn it is, and moves the rounds on. */
static struct node *take_next(struct hg_sched *s, struct subport *subport, struct tc *tc,
                              struct queue *queue)
{
    struct node *node = take(s, queue);

    charge_queue(s, subport, tc, queue, node->len);
    charge_subport(s, subport, node->len);
    return node;
}

static void *send(struct hg_sched *s, struct subport *subport, struct tc *tc, uint64_t cost)
{
    struct queue *queue = &s->queue[tc->queues.first];
    struct node *node;

    pay(&s->bucket, cost);
    pay(&subport->bucket, cost);
    pay(&tc->bucket, cost);
    node = take_next(s, subport, tc, queue);
    hg_count_add(&queue->sent, 1);
    hg_count_add(&queue->sent_bytes, node->len - s->overhead_bytes);
    return node->what;
}

static void wake(struct hg_sched *s, uint64_t now)
{
    struct wheel_entry *entry;

    while ((entry = wheel_take(&s->wheel, now)) != NULL) {
        struct subport *subport = hg_container_of(entry, struct subport, entry);

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
        struct tc *tc = choose(sched, subport, now);
        uint64_t cost;

        if (!tc) {
            hold(sched, subport, subport->held_until);
            continue;
        }
        cost = sched->byte_cost * sched->node[sched->queue[tc->queues.first].head].len;
        if (!affords(&subport->bucket, now, cost)) {
            hold(sched, subport, bucket_ready_at(&subport->bucket, cost));
            continue;
        }
        if (!affords(&sched->bucket, now, cost)) {
            sched->port_until = bucket_ready_at(&sched->bucket, cost);
            break;
        }
        what[taken++] = send(sched, subport, tc, cost);
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

    subport->ready |= subport->held;
    subport->held = 0;
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
        uint32_t i = sched->active.first;
        struct subport *subport = &sched->subport[i];
        struct tc *tc = &sched->tc[i * sched->class_n + (unsigned)__builtin_ctz(subport->ready)];
        struct queue *queue = &sched->queue[tc->queues.first];

        hg_count_add(&queue->dropped, 1);
        what[taken++] = take_next(sched, subport, tc, queue)->what;
    }
    return taken;
}
