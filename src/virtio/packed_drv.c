#include "virtio/packed_drv.h"

#include "base/shm.h"

enum {
    REST_AT = offsetof(struct hg_packed_desc, len), /* length, id and flags, one word */
    FLAGS_AT = offsetof(struct hg_packed_desc, flags),
    EVENT_OFF_AT = offsetof(struct hg_packed_event, off_wrap),
    EVENT_FLAGS_AT = offsetof(struct hg_packed_event, flags),
    EVENT_FLAGS_MASK = 3,
    OWNER_FLAGS = HG_PACKED_DESC_F_AVAIL | HG_PACKED_DESC_F_USED,
};

static uint8_t *desc_at(const struct hg_drv *ring, uint16_t position)
{
    return ring->desc + sizeof(struct hg_packed_desc) * (position & (ring->num - 1));
}

/* The wrap counter of the lap that a position belongs to: 1 in the first (2.8.1). */
static bool wrap_at(const struct hg_drv *ring, uint16_t position)
{
    return (position & ring->num) == 0;
}

static uint16_t available_flags(const struct hg_drv *ring, uint16_t position)
{
    return wrap_at(ring, position) ? HG_PACKED_DESC_F_AVAIL : HG_PACKED_DESC_F_USED;
}

static uint16_t used_flags(const struct hg_drv *ring, uint16_t position)
{
    return wrap_at(ring, position) ? OWNER_FLAGS : 0;
}

/* A position as event structures name it. */
static uint16_t off_wrap(const struct hg_drv *ring, uint16_t position)
{
    return (uint16_t)((position & (ring->num - 1)) |
                      (wrap_at(ring, position) ? HG_PACKED_WRAP : 0));
}

void hg_packed_drv_start(struct hg_drv *ring)
{
    hg_packed_drv_disarm(ring);
}

/* Writes the next descriptor. The first that is not published keeps the flags of a used one, with
 * which it does not concern the device, until publish. */
static void put(struct hg_drv *ring, const struct hg_drv_buf *buf, uint16_t id, uint16_t flags)
{
    uint16_t position = ring->avail_idx++;
    uint8_t *desc = desc_at(ring, position);

    flags |= available_flags(ring, position);
    if (position == ring->avail_published) {
        ring->head_flags = flags;
        flags = used_flags(ring, (uint16_t)(position - ring->num));
    }
    hg_shm_store64(desc, buf->addr);
    hg_shm_store64(desc + REST_AT, buf->len | (uint64_t)id << 32 | (uint64_t)flags << 48);
}

void hg_packed_drv_add(struct hg_drv *ring, const struct hg_drv_buf *bufs, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint16_t id = hg_drv_id(ring, i);

        put(ring, &bufs[i], id, bufs[i].flags);
        ring->slot[id] = (struct hg_drv_slot){.room = bufs[i].len, .chain_n = 1};
    }
    hg_drv_take_ids(ring, n);
}

/* A chain takes as many ids as descriptors, so that each has its buffer; the device is told the
 * first (it looks at the last descriptor's: 2.8.6). */
void hg_packed_drv_add_chain(struct hg_drv *ring, const struct hg_drv_buf *bufs, unsigned n,
                             uint32_t room)
{
    uint16_t head = hg_drv_id(ring, 0);

    for (unsigned i = 0; i < n; i++) {
        bool last = i + 1 == n;

        put(ring, &bufs[i], head, bufs[i].flags | (last ? 0 : HG_DESC_F_NEXT));
        ring->slot[hg_drv_id(ring, i)] =
            (struct hg_drv_slot){.next = last ? 0 : hg_drv_id(ring, i + 1)};
    }
    ring->slot[head].room = room;
    ring->slot[head].chain_n = (uint16_t)n;
    hg_drv_take_ids(ring, n);
}

/* Whether the device, which wrote `event`, wants to hear that positions from `old` up to `now` have
 * become available (2.8.14). At most a lap of them, so an event is told from the lap before. */
static bool passed(const struct hg_drv *ring, uint16_t event, uint16_t now, uint16_t old)
{
    uint16_t position =
        (uint16_t)((event & ~HG_PACKED_WRAP) | (event & HG_PACKED_WRAP ? 0 : ring->num));
    uint16_t behind = (uint16_t)((now - position) & (2 * ring->num - 1));

    return hg_vring_need_event((uint16_t)(now - behind), now, old);
}

bool hg_packed_drv_publish(struct hg_drv *ring)
{
    uint16_t old = ring->avail_published;
    uint16_t now = ring->avail_idx;
    uint16_t wish;

    if (now == old)
        return false;
    hg_shm_store16_release(desc_at(ring, old) + FLAGS_AT, ring->head_flags);
    ring->avail_published = now;
    hg_shm_publish_then_look();
    wish = hg_shm_load16(ring->used + EVENT_FLAGS_AT) & EVENT_FLAGS_MASK;
    if (ring->event_idx && wish == HG_PACKED_EVENT_DESC)
        return passed(ring, hg_shm_load16(ring->used + EVENT_OFF_AT), now, old);
    return wish != HG_PACKED_EVENT_DISABLE;
}

static bool is_used(const struct hg_drv *ring)
{
    const uint8_t *flags = desc_at(ring, ring->last_used) + FLAGS_AT;

    return (hg_shm_load16_acquire(flags) & OWNER_FLAGS) == used_flags(ring, ring->last_used);
}

/* Frees the chain that `used` names and passes over its descriptors. False if they are more than
 * the device was given: an id that is not published yet. */
static bool take_back(struct hg_drv *ring, uint16_t id)
{
    uint16_t chain_n = ring->slot[id].chain_n;

    if (hg_unlikely(chain_n > (uint16_t)(ring->avail_published - ring->last_used))) {
        hg_drv_break(ring, HG_DRV_USED_JUMP, id);
        return false;
    }
    ring->last_used = (uint16_t)(ring->last_used + chain_n);
    hg_drv_give_back(ring, id);
    return true;
}

/* Loads the used descriptor whose turn it is. */
static bool next_used(struct hg_drv *ring, struct hg_drv_used *used)
{
    uint64_t rest;

    if (!is_used(ring))
        return false;
    rest = hg_shm_load64(desc_at(ring, ring->last_used) + REST_AT);
    used->id = (uint16_t)(rest >> 32);
    /* Without the flag the length has no meaning: nothing was written (2.8.4). */
    used->len = (rest >> 48 & HG_DESC_F_WRITE) != 0 ? (uint32_t)rest : 0;
    return hg_drv_honest(ring, used->id, used->len);
}

/* The next chain of a batch whose end is known: the oldest outstanding one, used completely unless
 * it is the end itself (2.8.9). */
static struct hg_drv_used next_of_batch(struct hg_drv *ring)
{
    uint16_t id = hg_drv_oldest_id(ring);

    if (id != ring->batch_end.id)
        return (struct hg_drv_used){.id = id, .len = ring->slot[id].room};
    ring->in_batch = false;
    return ring->batch_end;
}

unsigned hg_packed_drv_reap(struct hg_drv *ring, struct hg_drv_used *used, unsigned n)
{
    if (hg_unlikely(hg_drv_broken(ring)))
        return 0;
    for (unsigned i = 0; i < n; i++) {
        if (!ring->in_order) {
            if (!next_used(ring, &used[i]))
                return i;
        } else {
            if (!ring->in_batch)
                ring->in_batch = next_used(ring, &ring->batch_end);
            if (!ring->in_batch)
                return i;
            used[i] = next_of_batch(ring);
        }
        if (hg_unlikely(!take_back(ring, used[i].id)))
            return i;
    }
    return n;
}

bool hg_packed_drv_arm(struct hg_drv *ring)
{
    hg_shm_store16(ring->avail + EVENT_OFF_AT, off_wrap(ring, ring->last_used));
    /* Pairs with the device's acquire of the flags: it sees the place too. */
    hg_shm_store16_release(ring->avail + EVENT_FLAGS_AT,
                           ring->event_idx ? HG_PACKED_EVENT_DESC : HG_PACKED_EVENT_ENABLE);
    hg_shm_publish_then_look();
    return !hg_drv_broken(ring) && (ring->in_batch || is_used(ring));
}

void hg_packed_drv_disarm(struct hg_drv *ring)
{
    hg_shm_store16(ring->avail + EVENT_FLAGS_AT, HG_PACKED_EVENT_DISABLE);
}
