/*
 * Rings behind an IOTLB: stopping at a missing translation, going on, and translating ahead.
 *
 * A miss costs a round trip to the front-end, so nobody should meet one alone. A call that stops at
 * a miss looks at the buffers posted behind it too, and so does hg_vq_dev_ahead() before anybody
 * needs them; what is missing goes to control as one batch. The buffers that have been looked at
 * are not looked at again unless one was missing and hg_iotlb_answers() has moved.
 *
 * A pass looks at HG_VQ_AHEAD_N or HG_VQ_AHEAD_READ_N positions at most, at fewer where
 * translations do not last (set_window()), and ends when it has cost AHEAD_WORK steps, each of them
 * a descriptor or a piece of a buffer or of what is missing, and the chain that it is at.
 */
#include "virtio/vq_ring.h"

enum { AHEAD_WORK = 1024, WINDOW_SHARE_MIN = 16 };

static uint64_t answers(const struct hg_vq_dev *ring)
{
    return hg_iotlb_answers(ring->space->iotlb);
}

bool hg_vq_dev_stalled(const struct hg_vq_dev *ring)
{
    return ring->missing && ring->space->iotlb != NULL && ring->answers == answers(ring);
}

bool vq_begin_iommu(struct hg_vq_dev *ring)
{
    /* Taken before the look-ups: what is answered meanwhile moves it, and we look again. */
    uint64_t now = answers(ring);

    if (ring->missing && ring->answers == now)
        return false;
    ring->missing = false;
    ring->answers = now;
    ring->hint = (struct hg_hint){0};
    return true;
}

static bool test_and_clear(struct hg_vq_ahead *ahead, uint16_t at)
{
    uint64_t *word = &ahead->was_missing[at % HG_VQ_AHEAD_N / 64];
    uint64_t bit = UINT64_C(1) << at % 64;
    bool was_set = (*word & bit) != 0;

    *word &= ~bit;
    ahead->was_missing_n = (uint16_t)(ahead->was_missing_n - was_set);
    return was_set;
}

static void note_missing(struct hg_vq_ahead *ahead, uint16_t at)
{
    test_and_clear(ahead, at);
    ahead->was_missing[at % HG_VQ_AHEAD_N / 64] |= UINT64_C(1) << at % 64;
    ahead->was_missing_n++;
    if (!ahead->missing)
        ahead->lacking = at;
    ahead->missing = true;
}

static bool available(struct hg_vq_dev *ring, uint16_t at)
{
    return vq_available(ring, ring->packed, (uint16_t)(at - ring->last_avail));
}

/* Decides anew how far to look. A guest may give up many mappings at once, used or not (Linux
 * without strict mode: all, every some milliseconds). What was asked for beyond that has cost two
 * messages each, for nothing: so the window shrinks when a translation was lost before its turn,
 * and grows as they last. */
static void set_window(struct hg_vq_ahead *ahead, enum hg_perm perm, unsigned window)
{
    unsigned most = perm == HG_PERM_WRITE ? HG_VQ_AHEAD_N : HG_VQ_AHEAD_READ_N;

    ahead->window = (uint16_t)hg_min_u32(hg_max_u32(window, most / WINDOW_SHARE_MIN), most);
    ahead->taken_n = 0;
}

/* Looks at what is posted from ahead->next on, or from the first that was missing when there is
 * news. */
static void look(struct hg_vq_dev *ring, enum hg_perm perm)
{
    struct hg_vq_ahead *ahead = &ring->ahead;
    uint64_t now = answers(ring);
    unsigned work = 0;
    unsigned missing_n = 0;

    if (ahead->missing && ahead->answers != now) {
        ahead->next = ahead->lacking;
        ahead->missing = false;
    }
    ahead->answers = now;
    ahead->barred = false;
    if (ahead->window == 0)
        set_window(ahead, perm, HG_VQ_AHEAD_N);
    while ((uint16_t)(ahead->next - ring->last_avail) < ahead->window && work < AHEAD_WORK &&
           !vq_broken(ring) && available(ring, ahead->next)) {
        struct vq_chain chain = {
            .room = HG_CHAIN_SEGS_MAX,
            .need = (uint64_t)ring->hdr_len + HG_FRAME_BYTES_MAX,
            .dry = true,
        };

        ahead->barred = vq_walk(ring, ahead->next, perm, &chain) == VQ_BROKEN;
        if (ahead->barred)
            break;
        if (chain.verdict == VQ_MISSING)
            note_missing(ahead, ahead->next);
        missing_n += chain.missing_n;
        work += chain.walked_n + chain.piece_n + chain.missing_n;
        ahead->next = (uint16_t)(ahead->next + chain.desc_n);
    }
    if (missing_n != 0)
        hg_asks_flush(ring->asks);
}

bool hg_vq_dev_ahead(struct hg_vq_dev *ring, enum hg_perm perm)
{
    if (ring->space->iotlb == NULL || vq_broken(ring))
        return false;
    ring->hint = (struct hg_hint){0};
    look(ring, perm);
    return ring->ahead.missing;
}

void hg_vq_dev_widen(struct hg_vq_dev *ring)
{
    set_window(&ring->ahead, HG_PERM_WRITE, HG_VQ_AHEAD_N);
}

/* What lies behind us now has been needed: it counts as translated ahead if it once was missing. */
static void leave_behind(struct hg_vq_dev *ring, enum hg_perm perm, uint16_t from)
{
    struct hg_vq_ahead *ahead = &ring->ahead;
    uint16_t taken = (uint16_t)(ring->last_avail - from);
    unsigned hits = 0;

    if (ahead->was_missing_n != 0)
        for (uint32_t i = 0; i < hg_min_u32(taken, HG_VQ_AHEAD_N); i++)
            hits += test_and_clear(ahead, (uint16_t)(from + i));
    if (hits != 0)
        hg_count_add(&ring->iommu.ahead_hits, hits);
    if ((uint16_t)(ahead->next - from) < taken)
        ahead->next = ring->last_avail;
    ahead->taken_n += taken;
    if (ahead->window != 0 && ahead->taken_n >= 2u * ahead->window)
        set_window(ahead, perm, 2u * ahead->window);
    if (ahead->missing && (uint16_t)(ahead->lacking - from) < taken) {
        ahead->lacking = ring->last_avail;
        ahead->answers = UINT64_MAX; /* whether it is true of what follows is to be seen */
    }
}

/* The call stopped at a miss: what follows had better be asked for now, too. */
static void look_behind_miss(struct hg_vq_dev *ring, enum hg_perm perm)
{
    struct hg_vq_ahead *ahead = &ring->ahead;
    bool looked_at = (uint16_t)(ahead->next - ring->last_avail - 1) < HG_VQ_AHEAD_N;
    bool lacking = ahead->missing && ahead->lacking == ring->last_avail;

    hg_count_add(&ring->iommu.stops, 1);
    if (looked_at && !lacking) /* it was there */
        set_window(ahead, perm, ahead->window / 2u);
    ahead->missing = true;
    ahead->lacking = ring->last_avail;
    ahead->answers = UINT64_MAX;
    look(ring, perm);
    test_and_clear(ahead, ring->last_avail); /* this one was not translated ahead */
    hg_asks_flush(ring->asks);
}

void vq_end_iommu(struct hg_vq_dev *ring, enum hg_perm perm, uint16_t from, unsigned hits)
{
    if (hits != 0)
        hg_count_add(&ring->iommu.hits, hits);
    if (ring->last_avail != from)
        leave_behind(ring, perm, from);
    if (hg_unlikely(ring->missing))
        look_behind_miss(ring, perm);
}
