/*
 * The driver's side of a split ring, as simple as it can be: descriptors are handed out in turn and
 * each has a buffer of its own, so that a test sees by the index what became of it.
 */
#include <string.h>
#include <unistd.h>

#include "peer/peer.h"

static struct peer_ring *ring_of(struct peer *peer, unsigned ring)
{
    return &peer->ring[ring];
}

static uint8_t *desc_at(struct peer *peer, unsigned ring)
{
    return peer->mem + ring_of(peer, ring)->at;
}

static uint8_t *avail_at(struct peer *peer, unsigned ring)
{
    return desc_at(peer, ring) + HG_DESC_BYTES(ring_of(peer, ring)->num);
}

/* As peer_send_addr() places it. */
static uint8_t *used_at(struct peer *peer, unsigned ring)
{
    uint64_t end = ring_of(peer, ring)->at + HG_DESC_BYTES(ring_of(peer, ring)->num) +
                   HG_AVAIL_BYTES(ring_of(peer, ring)->num);

    return peer->mem + ((end + 63) & ~UINT64_C(63));
}

void *peer_at(struct peer *peer, uint64_t guest_addr)
{
    return guest_addr >= PEER_HIGH ? peer->mem + PEER_HALF_BYTES + (guest_addr - PEER_HIGH)
                                   : peer->mem + guest_addr;
}

/* The buffer of descriptor `index`: rings share the upper half. */
static uint64_t buffer_of(const struct peer *peer, unsigned ring, uint16_t index)
{
    uint64_t n = (uint64_t)ring * PEER_RING_SIZE + index % PEER_RING_SIZE;

    (void)peer;
    return PEER_HIGH + n * PEER_BUFFER_BYTES % PEER_HALF_BYTES;
}

void peer_write_desc(struct peer *peer, unsigned ring, uint16_t index, struct hg_desc desc)
{
    memcpy(desc_at(peer, ring) + (size_t)index * sizeof(desc), &desc, sizeof(desc));
}

void peer_push_avail(struct peer *peer, unsigned ring, uint16_t head)
{
    struct peer_ring *r = ring_of(peer, ring);
    uint16_t *entries = (uint16_t *)(void *)(avail_at(peer, ring) + 4);

    __atomic_store_n(&entries[r->avail_idx % r->num], head, __ATOMIC_RELAXED);
    peer_set_avail_idx(peer, ring, (uint16_t)(r->avail_idx + 1));
}

void peer_set_avail_idx(struct peer *peer, unsigned ring, uint16_t idx)
{
    ring_of(peer, ring)->avail_idx = idx;
    /* Pairs with the back-end's acquire load of the index. */
    __atomic_store_n((uint16_t *)(void *)(avail_at(peer, ring) + 2), idx, __ATOMIC_RELEASE);
}

uint16_t peer_used_idx(struct peer *peer, unsigned ring)
{
    /* Pairs with the back-end's release store of the index. */
    return __atomic_load_n((uint16_t *)(void *)(used_at(peer, ring) + 2), __ATOMIC_ACQUIRE);
}

static uint16_t next_desc(struct peer *peer, unsigned ring)
{
    struct peer_ring *r = ring_of(peer, ring);

    return (uint16_t)(r->desc_next++ % r->num);
}

/* Makes the buffer of descriptor `index` available. */
static void push(struct peer *peer, unsigned ring, uint16_t index, uint32_t len, uint16_t flags)
{
    uint64_t addr = buffer_of(peer, ring, index);

    if (peer->packed) {
        struct hg_packed_desc desc = {.addr = addr, .len = len, .id = index, .flags = flags};

        peer_push_packed(peer, ring, &desc, 1);
    } else {
        peer_write_desc(peer, ring, index,
                        (struct hg_desc){.addr = addr, .len = len, .flags = flags});
        peer_push_avail(peer, ring, index);
    }
}

void peer_transmit(struct peer *peer, unsigned ring, const void *frame, size_t len)
{
    uint16_t index = next_desc(peer, ring);
    uint8_t *buffer = peer_at(peer, buffer_of(peer, ring, index));

    memset(buffer, 0, HG_NET_HDR_BYTES);
    memcpy(buffer + HG_NET_HDR_BYTES, frame, len);
    push(peer, ring, index, (uint32_t)(HG_NET_HDR_BYTES + len), 0);
}

void peer_post(struct peer *peer, unsigned ring, unsigned n)
{
    while (n-- > 0)
        push(peer, ring, next_desc(peer, ring), PEER_BUFFER_BYTES, HG_DESC_F_WRITE);
}

/* The next used buffer. */
static bool take_used(struct peer *peer, unsigned ring, struct hg_used_elem *elem)
{
    struct peer_ring *r = ring_of(peer, ring);
    struct hg_packed_desc used;

    if (peer->packed) {
        if (!peer_take_packed(peer, ring, 1, &used))
            return false;
        *elem = (struct hg_used_elem){.id = used.id, .len = used.len};
        return true;
    }
    if (peer_used_idx(peer, ring) == r->used_seen)
        return false;
    memcpy(elem, used_at(peer, ring) + 4 + sizeof(*elem) * (r->used_seen % r->num), sizeof(*elem));
    r->used_seen++;
    return true;
}

const uint8_t *peer_receive(struct peer *peer, unsigned ring, size_t *len)
{
    struct hg_used_elem elem;

    if (!take_used(peer, ring, &elem))
        return NULL;
    *len = elem.len - HG_NET_HDR_BYTES;
    return (const uint8_t *)peer_at(peer, buffer_of(peer, ring, (uint16_t)elem.id)) +
           HG_NET_HDR_BYTES;
}

void peer_kick(struct peer *peer, unsigned ring)
{
    uint64_t one = 1;
    ssize_t n = write(ring_of(peer, ring)->kick, &one, sizeof(one));

    (void)n; /* full: raised already */
}

uint64_t peer_take_signals(int eventfd)
{
    uint64_t n = 0;

    return read(eventfd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

void peer_reset_ring(struct peer *peer, unsigned ring)
{
    struct peer_ring *r = ring_of(peer, ring);

    memset(peer->mem + r->at, 0, PEER_RING_BYTES);
    r->avail_idx = r->used_seen = r->desc_next = 0;
    r->base = peer->packed ? PEER_PACKED_BASE : 0;
}
