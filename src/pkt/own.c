/*
 * Owned copies of packets. The k buffers of a frame hold, one after the other:
 *
 *   first       struct hg_owned, k pieces (struct hg_seg), frame bytes behind the head
 *   the others  frame bytes
 *
 * so for a rest of r bytes k is the smallest number with LIST_OFFSET + 16 k + r <= k * buffer. With
 * the smallest k, each of the k pieces holds at least one byte.
 */
#include "pkt/own.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/bits.h"
#include "base/shm.h"

enum {
    LIST_OFFSET = sizeof(struct hg_owned),
    /* Pieces of the longest frame, in the smallest buffers. */
    PIECES_MAX = (LIST_OFFSET + HG_FRAME_BYTES_MAX) / (HG_OWN_BUF_MIN - sizeof(struct hg_seg)) + 1,
};

_Static_assert(LIST_OFFSET + PIECES_MAX * sizeof(struct hg_seg) < HG_OWN_BUF_MIN,
               "the list of pieces fits into the first buffer");
_Static_assert(HG_OWN_BUF_MIN % HG_CACHE_LINE_BYTES == 0, "buffers of the minimum stay aligned");

static struct hg_seg *pieces(struct hg_owned *owned)
{
    return (struct hg_seg *)(void *)(owned + 1);
}

static unsigned pieces_for(uint32_t rest, uint32_t buf_bytes)
{
    uint32_t per_piece = buf_bytes - (uint32_t)sizeof(struct hg_seg);

    return rest == 0 ? 0 : (LIST_OFFSET + rest + per_piece - 1) / per_piece;
}

/* Where reading the borrowed pieces has come to. */
struct source {
    const struct hg_seg *seg;
    uint32_t offset;
};

static void copy_from(struct source *from, uint8_t *to, uint32_t n)
{
    while (n != 0) {
        uint32_t part = hg_min_u32(n, from->seg->len - from->offset);

        hg_shm_in(to, from->seg->addr + from->offset, part);
        to += part;
        n -= part;
        from->offset += part;
        if (from->offset == from->seg->len) {
            from->seg++;
            from->offset = 0;
        }
    }
}

static void fill(struct hg_owned *owned, void *const *bufs, uint32_t buf_bytes,
                 const struct hg_pkt *pkt)
{
    struct source from = {.seg = pkt->seg};
    uint32_t rest = pkt->len - pkt->head_len;
    struct hg_seg *piece = pieces(owned);
    uint8_t *at = (uint8_t *)&piece[owned->buf_n];

    for (unsigned i = 0; i < owned->pkt.seg_n; i++) {
        // NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): as many as were taken
        uint8_t *end = (uint8_t *)bufs[i] + buf_bytes;
        uint32_t n;

        if (i != 0)
            at = bufs[i];
        n = hg_min_u32(rest, (uint32_t)(end - at));
        copy_from(&from, at, n);
        piece[i] = (struct hg_seg){.addr = at, .len = n};
        rest -= n;
    }
}

struct hg_owned *hg_pkt_own(struct hg_pool_cache *cache, const struct hg_pkt *pkt)
{
    uint32_t buf_bytes = hg_pool_object_bytes(cache);
    unsigned piece_n = pieces_for(pkt->len - pkt->head_len, buf_bytes);
    unsigned buf_n = piece_n == 0 ? 1 : piece_n;
    void *bufs[PIECES_MAX];
    struct hg_owned *owned;

    assert(pkt->len <= HG_FRAME_BYTES_MAX && buf_bytes >= HG_OWN_BUF_MIN);
    if (!hg_pool_take(cache, bufs, buf_n))
        return NULL;
    owned = bufs[0];
    memcpy(&owned->pkt, pkt, offsetof(struct hg_pkt, head));
    memcpy(owned->pkt.head, pkt->head, pkt->head_len);
    owned->pkt.seg = pieces(owned);
    owned->pkt.seg_n = (uint16_t)piece_n;
    owned->buf_n = buf_n;
    fill(owned, bufs, buf_bytes, pkt);
    return owned;
}

void hg_owned_free(struct hg_pool_cache *cache, struct hg_owned *owned)
{
    void *bufs[PIECES_MAX] = {owned};
    unsigned n = owned->buf_n;

    /* Every piece but the first begins where its buffer begins. */
    for (unsigned i = 1; i < n; i++)
        bufs[i] = (void *)(uintptr_t)pieces(owned)[i].addr;
    hg_pool_put(cache, bufs, n);
}
