/*
 * The driver's side of a packed ring by hand (virtio 1.2, 2.8): the owner flags are computed from a
 * position that counts on and on, everything else is what the test says.
 */
#include <string.h>

#include "peer/peer.h"

static uint8_t *desc_at(struct peer *peer, unsigned ring, uint16_t index)
{
    return peer->mem + peer->ring[ring].at +
           sizeof(struct hg_packed_desc) * (index % peer->ring[ring].num);
}

static uint16_t *flags_at(struct peer *peer, unsigned ring, uint16_t index)
{
    return (uint16_t *)(void *)(desc_at(peer, ring, index) +
                                offsetof(struct hg_packed_desc, flags));
}

/* The wrap counter: 1 in the first lap. */
static bool wrap_at(struct peer *peer, unsigned ring, uint16_t position)
{
    return position / peer->ring[ring].num % 2 == 0;
}

void peer_use_packed(struct peer *peer)
{
    peer->packed = true;
    for (unsigned i = 0; i < PEER_RINGS_MAX; i++)
        peer->ring[i].base = PEER_PACKED_BASE;
}

void peer_write_packed(struct peer *peer, unsigned ring, uint16_t index, struct hg_packed_desc desc)
{
    memcpy(desc_at(peer, ring, index), &desc, offsetof(struct hg_packed_desc, flags));
    /* Pairs with the back-end's acquire load of the flags. */
    __atomic_store_n(flags_at(peer, ring, index), desc.flags, __ATOMIC_RELEASE);
}

uint16_t peer_packed_avail(struct peer *peer, unsigned ring, uint16_t position, uint16_t flags)
{
    return flags | (wrap_at(peer, ring, position) ? HG_PACKED_DESC_F_AVAIL : HG_PACKED_DESC_F_USED);
}

uint16_t peer_packed_used(struct peer *peer, unsigned ring, uint16_t position)
{
    return wrap_at(peer, ring, position) ? HG_PACKED_DESC_F_AVAIL | HG_PACKED_DESC_F_USED : 0;
}

void peer_push_packed(struct peer *peer, unsigned ring, const struct hg_packed_desc *descs,
                      unsigned n)
{
    uint16_t first = peer->ring[ring].avail_idx;

    for (unsigned i = n; i-- > 0;) {
        uint16_t position = (uint16_t)(first + i);
        struct hg_packed_desc desc = descs[i];

        desc.flags = peer_packed_avail(peer, ring, position, desc.flags);
        peer_write_packed(peer, ring, position, desc);
    }
    peer->ring[ring].avail_idx = (uint16_t)(first + n);
}

bool peer_take_packed(struct peer *peer, unsigned ring, unsigned n, struct hg_packed_desc *used)
{
    struct peer_ring *r = &peer->ring[ring];
    uint16_t owner = HG_PACKED_DESC_F_AVAIL | HG_PACKED_DESC_F_USED;

    /* Pairs with the back-end's release store of the flags. */
    if ((__atomic_load_n(flags_at(peer, ring, r->used_seen), __ATOMIC_ACQUIRE) & owner) !=
        peer_packed_used(peer, ring, r->used_seen))
        return false;
    memcpy(used, desc_at(peer, ring, r->used_seen), sizeof(*used));
    r->used_seen = (uint16_t)(r->used_seen + n);
    return true;
}
