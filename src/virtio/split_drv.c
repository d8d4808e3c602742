#include "virtio/split_drv.h"

#include "base/shm.h"

_Static_assert(sizeof(struct hg_desc) == 16, "written as two words of 64 bits");

/* The fields of the ring in shared memory. */

static uint8_t *avail_idx(const struct hg_drv *ring)
{
    return ring->avail + offsetof(struct hg_avail, idx);
}

static uint8_t *avail_entry(const struct hg_drv *ring, uint16_t index)
{
    return ring->avail + offsetof(struct hg_avail, ring) +
           sizeof(uint16_t) * (index & (ring->num - 1));
}

static uint8_t *used_event(const struct hg_drv *ring)
{
    return ring->avail + HG_USED_EVENT_AT(ring->num);
}

static uint8_t *used_idx(const struct hg_drv *ring)
{
    return ring->used + offsetof(struct hg_used, idx);
}

static uint8_t *used_entry(const struct hg_drv *ring, uint16_t index)
{
    return ring->used + offsetof(struct hg_used, ring) +
           sizeof(struct hg_used_elem) * (index & (ring->num - 1));
}

static uint8_t *avail_event(const struct hg_drv *ring)
{
    return ring->used + HG_AVAIL_EVENT_AT(ring->num);
}

void hg_split_drv_start(struct hg_drv *ring)
{
    hg_shm_store16(ring->avail, 0); /* and so it stays with event indices: 2.7.7.1 */
    hg_split_drv_disarm(ring);
}

/* Writes only what differs: a line that is not written stays shared. That the device could have
 * written the same bytes there does not matter, it sees what it wants to see in any case. */
static void put_desc(struct hg_drv *ring, uint16_t id, const struct hg_drv_buf *buf, uint16_t flags,
                     uint16_t next)
{
    uint8_t *desc = ring->desc + sizeof(struct hg_desc) * id;
    uint64_t rest = buf->len | (uint64_t)flags << 32 | (uint64_t)next << 48;

    if (hg_shm_load64(desc) != buf->addr)
        hg_shm_store64(desc, buf->addr);
    if (hg_shm_load64(desc + 8) != rest)
        hg_shm_store64(desc + 8, rest);
}

static void put_avail(struct hg_drv *ring, uint16_t head)
{
    uint8_t *entry = avail_entry(ring, ring->avail_idx++);

    if (hg_shm_load16(entry) != head)
        hg_shm_store16(entry, head);
}

void hg_split_drv_add(struct hg_drv *ring, const struct hg_drv_buf *bufs, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint16_t id = hg_drv_id(ring, i);

        put_desc(ring, id, &bufs[i], bufs[i].flags, 0);
        put_avail(ring, id);
        ring->slot[id] = (struct hg_drv_slot){.room = bufs[i].len, .chain_n = 1};
    }
    hg_drv_take_ids(ring, n);
}

void hg_split_drv_add_chain(struct hg_drv *ring, const struct hg_drv_buf *bufs, unsigned n,
                            uint32_t room)
{
    uint16_t head = hg_drv_id(ring, 0);

    for (unsigned i = 0; i < n; i++) {
        bool last = i + 1 == n;
        uint16_t id = hg_drv_id(ring, i);
        uint16_t next = last ? 0 : hg_drv_id(ring, i + 1);

        put_desc(ring, id, &bufs[i], bufs[i].flags | (last ? 0 : HG_DESC_F_NEXT), next);
        ring->slot[id] = (struct hg_drv_slot){.next = next};
    }
    ring->slot[head].room = room;
    ring->slot[head].chain_n = (uint16_t)n;
    put_avail(ring, head);
    hg_drv_take_ids(ring, n);
}

bool hg_split_drv_publish(struct hg_drv *ring)
{
    uint16_t old = ring->avail_published;
    uint16_t now = ring->avail_idx;

    if (now == old)
        return false;
    hg_shm_store16_release(avail_idx(ring), now);
    ring->avail_published = now;
    hg_shm_publish_then_look();
    if (ring->event_idx)
        return hg_vring_need_event(hg_shm_load16(avail_event(ring)), now, old);
    return !(hg_shm_load16(ring->used) & HG_USED_F_NO_NOTIFY);
}

/* How many used elements wait, at most n; looks at the device's index when it knows of too few. */
static unsigned waiting(struct hg_drv *ring, unsigned n)
{
    uint16_t known = (uint16_t)(ring->used_idx - ring->last_used);
    uint16_t outstanding = (uint16_t)(ring->avail_published - ring->last_used);

    if (hg_unlikely(hg_drv_broken(ring)))
        return 0;
    if (known < n) {
        uint16_t idx = hg_shm_load16_acquire(used_idx(ring));

        known = (uint16_t)(idx - ring->last_used);
        if (hg_unlikely(known > outstanding)) {
            hg_drv_break(ring, HG_DRV_USED_JUMP, idx);
            return 0;
        }
        ring->used_idx = idx;
    }
    return known < n ? known : n;
}

unsigned hg_split_drv_reap(struct hg_drv *ring, struct hg_drv_used *used, unsigned n)
{
    n = waiting(ring, n);
    for (unsigned i = 0; i < n; i++) {
        struct hg_used_elem elem;

        hg_shm_in(&elem, used_entry(ring, ring->last_used), sizeof(elem));
        if (hg_unlikely(!hg_drv_honest(ring, elem.id, elem.len)))
            return i;
        ring->last_used++;
        hg_drv_give_back(ring, (uint16_t)elem.id);
        used[i] = (struct hg_drv_used){.id = (uint16_t)elem.id, .len = elem.len};
    }
    return n;
}

bool hg_split_drv_arm(struct hg_drv *ring)
{
    if (ring->event_idx)
        hg_shm_store16(used_event(ring), ring->last_used);
    else
        hg_shm_store16(ring->avail, 0);
    hg_shm_publish_then_look();
    return waiting(ring, 1) != 0;
}

void hg_split_drv_disarm(struct hg_drv *ring)
{
    if (ring->event_idx) /* the element just behind us is the one farthest ahead */
        hg_shm_store16(used_event(ring), (uint16_t)(ring->last_used - 1));
    else
        hg_shm_store16(ring->avail, HG_AVAIL_F_NO_INTERRUPT);
}
