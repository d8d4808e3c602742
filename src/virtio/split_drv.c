#include "virtio/split_drv.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/shm.h"

/* Parts written by different sides never share a line, nor the pair of lines that some processors
 * fetch together. */
enum { PART_ALIGN_BYTES = 128 };

enum { RECLAIM_N = 32 }; /* chains taken together when nobody looks at them */

_Static_assert(sizeof(struct hg_desc) == 16, "written as two words of 64 bits");

static const char *const fault_names[] = {
    [HG_DRV_OK] = "none",
    [HG_DRV_USED_JUMP] = "used index moved past what is outstanding",
    [HG_DRV_USED_RANGE] = "used id out of range",
    [HG_DRV_USED_IDLE] = "used id is not outstanding",
    [HG_DRV_USED_LEN] = "used length above what was posted",
    [HG_DRV_NUM_BUFFERS] = "merged frame without its buffers",
};
_Static_assert(HG_ARRAY_N(fault_names) == HG_DRV_FAULT_N, "one name for each fault");

const char *hg_drv_fault_name(enum hg_drv_fault fault)
{
    return fault < HG_DRV_FAULT_N ? fault_names[fault] : "unknown";
}

static size_t avail_offset(uint16_t num)
{
    return hg_round_up(HG_DESC_BYTES(num), PART_ALIGN_BYTES);
}

static size_t used_offset(uint16_t num)
{
    return avail_offset(num) + hg_round_up(HG_AVAIL_BYTES(num), PART_ALIGN_BYTES);
}

size_t hg_split_drv_bytes(uint16_t num)
{
    return used_offset(num) + hg_round_up(HG_USED_BYTES(num), PART_ALIGN_BYTES);
}

/* The fields of the ring in shared memory. */

static uint8_t *avail_idx(const struct hg_split_drv *ring)
{
    return ring->avail + offsetof(struct hg_avail, idx);
}

static uint8_t *avail_entry(const struct hg_split_drv *ring, uint16_t index)
{
    return ring->avail + offsetof(struct hg_avail, ring) +
           sizeof(uint16_t) * (index & (ring->num - 1));
}

static uint8_t *used_event(const struct hg_split_drv *ring)
{
    return ring->avail + offsetof(struct hg_avail, ring) + sizeof(uint16_t) * ring->num;
}

static uint8_t *used_idx(const struct hg_split_drv *ring)
{
    return ring->used + offsetof(struct hg_used, idx);
}

static uint8_t *used_entry(const struct hg_split_drv *ring, uint16_t index)
{
    return ring->used + offsetof(struct hg_used, ring) +
           sizeof(struct hg_used_elem) * (index & (ring->num - 1));
}

static uint8_t *avail_event(const struct hg_split_drv *ring)
{
    return ring->used + offsetof(struct hg_used, ring) + sizeof(struct hg_used_elem) * ring->num;
}

int hg_split_drv_init(struct hg_split_drv *ring, uint16_t num, bool receives, void *shared)
{
    *ring = (struct hg_split_drv){
        .desc = shared,
        .avail = (uint8_t *)shared + avail_offset(num),
        .used = (uint8_t *)shared + used_offset(num),
        .num = num,
        .receives = receives,
        .free = calloc(num, sizeof(*ring->free)),
        .slot = calloc(num, sizeof(*ring->slot)),
    };
    if (ring->free == NULL || ring->slot == NULL) {
        hg_split_drv_free(ring);
        return -ENOMEM;
    }
    hg_split_drv_reset(ring);
    return 0;
}

void hg_split_drv_free(struct hg_split_drv *ring)
{
    free(ring->free);
    free(ring->slot);
    ring->free = NULL;
    ring->slot = NULL;
}

void hg_split_drv_reset(struct hg_split_drv *ring)
{
    for (size_t i = 0; i < hg_split_drv_bytes(ring->num); i += sizeof(uint64_t))
        hg_shm_store64(ring->desc + i, 0);
    for (uint16_t id = 0; id < ring->num; id++) {
        ring->free[id] = id;
        ring->slot[id] = (struct hg_drv_slot){0};
    }
    ring->free_first = 0;
    ring->free_n = ring->num;
    ring->avail_idx = ring->avail_published = 0;
    ring->used_idx = ring->last_used = 0;
    ring->fault = HG_DRV_OK;
    ring->fault_value = 0;
}

void hg_split_drv_start(struct hg_split_drv *ring, bool event_idx)
{
    ring->event_idx = event_idx;
    hg_shm_store16(ring->avail, 0); /* and so it stays with event indices: 2.7.7.1 */
    hg_split_drv_disarm(ring);
}

/* Writes only what differs: a line that is not written stays shared. That the device could have
 * written the same bytes there does not matter, it sees what it wants to see in any case. */
static void put_desc(struct hg_split_drv *ring, uint16_t id, const struct hg_drv_buf *buf,
                     uint16_t flags, uint16_t next)
{
    uint8_t *desc = ring->desc + sizeof(struct hg_desc) * id;
    uint64_t rest = buf->len | (uint64_t)flags << 32 | (uint64_t)next << 48;

    if (hg_shm_load64(desc) != buf->addr)
        hg_shm_store64(desc, buf->addr);
    if (hg_shm_load64(desc + 8) != rest)
        hg_shm_store64(desc + 8, rest);
}

static void put_avail(struct hg_split_drv *ring, uint16_t head)
{
    uint8_t *entry = avail_entry(ring, ring->avail_idx++);

    if (hg_shm_load16(entry) != head)
        hg_shm_store16(entry, head);
}

static void advance_free(struct hg_split_drv *ring, unsigned n)
{
    ring->free_first = (uint16_t)((ring->free_first + n) & (ring->num - 1));
    ring->free_n = (uint16_t)(ring->free_n - n);
}

void hg_split_drv_add(struct hg_split_drv *ring, const struct hg_drv_buf *bufs, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint16_t id = hg_split_drv_id(ring, i);

        put_desc(ring, id, &bufs[i], bufs[i].flags, 0);
        put_avail(ring, id);
        ring->slot[id] = (struct hg_drv_slot){.room = bufs[i].len, .chain_n = 1};
    }
    advance_free(ring, n);
}

void hg_split_drv_add_chain(struct hg_split_drv *ring, const struct hg_drv_buf *bufs, unsigned n,
                            uint32_t room)
{
    uint16_t head = hg_split_drv_id(ring, 0);

    for (unsigned i = 0; i < n; i++) {
        bool last = i + 1 == n;
        uint16_t id = hg_split_drv_id(ring, i);
        uint16_t next = last ? 0 : hg_split_drv_id(ring, i + 1);

        put_desc(ring, id, &bufs[i], bufs[i].flags | (last ? 0 : HG_DESC_F_NEXT), next);
        ring->slot[id] = (struct hg_drv_slot){.next = next};
    }
    ring->slot[head].room = room;
    ring->slot[head].chain_n = (uint16_t)n;
    put_avail(ring, head);
    advance_free(ring, n);
}

bool hg_split_drv_publish(struct hg_split_drv *ring)
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

void hg_split_drv_break(struct hg_split_drv *ring, enum hg_drv_fault fault, uint64_t value)
{
    if (atomic_load_explicit(&ring->fault, memory_order_relaxed) != HG_DRV_OK)
        return;
    atomic_store_explicit(&ring->fault_value, value, memory_order_relaxed);
    /* Release: who sees the fault (acquire) sees its value. */
    atomic_store_explicit(&ring->fault, fault, memory_order_release);
}

static bool broken(const struct hg_split_drv *ring)
{
    return atomic_load_explicit(&ring->fault, memory_order_relaxed) != HG_DRV_OK;
}

/* How many used elements wait, at most n; looks at the device's index when it knows of too few. */
static unsigned waiting(struct hg_split_drv *ring, unsigned n)
{
    uint16_t known = (uint16_t)(ring->used_idx - ring->last_used);
    uint16_t outstanding = (uint16_t)(ring->avail_published - ring->last_used);

    if (hg_unlikely(broken(ring)))
        return 0;
    if (known < n) {
        uint16_t idx = hg_shm_load16_acquire(used_idx(ring));

        known = (uint16_t)(idx - ring->last_used);
        if (hg_unlikely(known > outstanding)) {
            hg_split_drv_break(ring, HG_DRV_USED_JUMP, idx);
            return 0;
        }
        ring->used_idx = idx;
    }
    return known < n ? known : n;
}

static void give_back(struct hg_split_drv *ring, uint16_t id)
{
    struct hg_drv_slot *slot = &ring->slot[id];
    unsigned n = slot->chain_n;

    slot->chain_n = 0;
    for (;;) {
        ring->free[(ring->free_first + ring->free_n++) & (ring->num - 1)] = id;
        if (--n == 0)
            return;
        id = ring->slot[id].next;
    }
}

/* Whether a used element names an outstanding chain and what it can hold; else breaks the ring. */
static bool honest(struct hg_split_drv *ring, const struct hg_used_elem *elem)
{
    if (hg_unlikely(elem->id >= ring->num))
        hg_split_drv_break(ring, HG_DRV_USED_RANGE, elem->id);
    else if (hg_unlikely(ring->slot[elem->id].chain_n == 0))
        hg_split_drv_break(ring, HG_DRV_USED_IDLE, elem->id);
    else if (hg_unlikely(ring->receives && elem->len > ring->slot[elem->id].room))
        hg_split_drv_break(ring, HG_DRV_USED_LEN, elem->len);
    else
        return true;
    return false;
}

unsigned hg_split_drv_reap(struct hg_split_drv *ring, struct hg_drv_used *used, unsigned n)
{
    n = waiting(ring, n);
    for (unsigned i = 0; i < n; i++) {
        struct hg_used_elem elem;

        hg_shm_in(&elem, used_entry(ring, ring->last_used), sizeof(elem));
        if (hg_unlikely(!honest(ring, &elem)))
            return i;
        ring->last_used++;
        give_back(ring, (uint16_t)elem.id);
        used[i] = (struct hg_drv_used){.id = (uint16_t)elem.id, .len = elem.len};
    }
    return n;
}

unsigned hg_split_drv_reclaim(struct hg_split_drv *ring, unsigned n)
{
    struct hg_drv_used used[RECLAIM_N];
    unsigned done_n = 0;

    while (done_n < n) {
        unsigned want_n = hg_min_u32(n - done_n, HG_ARRAY_N(used));
        unsigned got_n = hg_split_drv_reap(ring, used, want_n);

        done_n += got_n;
        if (got_n < want_n)
            break;
    }
    return done_n;
}

bool hg_split_drv_arm(struct hg_split_drv *ring)
{
    if (ring->event_idx)
        hg_shm_store16(used_event(ring), ring->last_used);
    else
        hg_shm_store16(ring->avail, 0);
    hg_shm_publish_then_look();
    return waiting(ring, 1) != 0;
}

void hg_split_drv_disarm(struct hg_split_drv *ring)
{
    if (ring->event_idx) /* the element just behind us is the one farthest ahead */
        hg_shm_store16(used_event(ring), (uint16_t)(ring->last_used - 1));
    else
        hg_shm_store16(ring->avail, HG_AVAIL_F_NO_INTERRUPT);
}
