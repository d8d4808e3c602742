#include "ring/ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static_assert(sizeof(struct hg_ring) % HG_RING_ALIGN == 0, "elements start on a line of their own");
static_assert(HG_RING_BULK_MAX == HG_RING_RUN_MAX_, "one operation is one run");

/* The options with defaults filled in, or false with *err. */
static bool settle(struct hg_ring_options *settled, const struct hg_ring_options *options,
                   struct hg_err *err)
{
    *settled = *options;
    if (settled->elem_bytes == 0)
        settled->elem_bytes = sizeof(void *);
    if (settled->slots_n < 2 || settled->slots_n > HG_RING_SLOTS_MAX ||
        !hg_is_power_of_two(settled->slots_n)) {
        hg_err_set(err, EINVAL, "ring: %u slots; expected a power of two from 2 to %u",
                   settled->slots_n, (unsigned)HG_RING_SLOTS_MAX);
        return false;
    }
    if (settled->elem_bytes % 4 != 0 || settled->elem_bytes > HG_RING_ELEM_BYTES_MAX) {
        hg_err_set(err, EINVAL, "ring: elements of %u bytes; expected a multiple of 4 up to %u",
                   settled->elem_bytes, (unsigned)HG_RING_ELEM_BYTES_MAX);
        return false;
    }
    return true;
}

static size_t elems_bytes(const struct hg_ring_options *options)
{
    return hg_round_up((uint64_t)options->slots_n * options->elem_bytes, HG_RING_ALIGN);
}

static size_t seq_bytes(const struct hg_ring_options *options)
{
    return options->slots_n * sizeof(uint64_t);
}

size_t hg_ring_bytes(const struct hg_ring_options *options, struct hg_err *err)
{
    struct hg_ring_options settled;

    if (!settle(&settled, options, err))
        return 0;
    return hg_round_up(sizeof(struct hg_ring) + elems_bytes(&settled) + seq_bytes(&settled),
                       HG_RING_ALIGN);
}

int hg_ring_init(struct hg_ring *ring, const struct hg_ring_options *options, struct hg_err *err)
{
    struct hg_ring_options settled;
    char *memory = (char *)ring;

    if (!settle(&settled, options, err))
        return -EINVAL;
    memset(ring, 0, sizeof(*ring));
    ring->mask = settled.slots_n - 1;
    ring->slots_n = settled.slots_n;
    ring->elem_bytes = settled.elem_bytes;
    ring->single_producer = settled.single_producer;
    ring->single_consumer = settled.single_consumer;
    ring->elems = memory + sizeof(*ring);
    ring->seq = (_Atomic(uint64_t) *)(void *)(ring->elems + elems_bytes(&settled));
    memset((void *)ring->seq, 0, seq_bytes(&settled));
    /* As if consumers had given back the round before. */
    for (uint32_t pos = 0; pos < settled.slots_n; pos += HG_RING_BULK_MAX)
        hg_ring_publish_(ring, false, hg_ring_pos_((uint64_t)pos - settled.slots_n), pos,
                         hg_min_u32(settled.slots_n - pos, HG_RING_BULK_MAX));
    return 0;
}

int hg_ring_new(struct hg_ring **ring, const struct hg_ring_options *options, struct hg_err *err)
{
    size_t bytes = hg_ring_bytes(options, err);

    if (bytes == 0)
        return -EINVAL;
    *ring = aligned_alloc(HG_RING_ALIGN, bytes);
    if (!*ring)
        return hg_err_set(err, ENOMEM, "ring: no memory for %zu bytes", bytes);
    return hg_ring_init(*ring, options, err);
}

void hg_ring_free(struct hg_ring *ring)
{
    free(ring);
}

static void copy_wrapped(const struct hg_ring *ring, char *at, const char *from, char *to,
                         size_t bytes, size_t first_bytes)
{
    if (from) {
        memcpy(at, from, first_bytes);
        memcpy(ring->elems, from + first_bytes, bytes - first_bytes);
    } else {
        memcpy(to, at, first_bytes);
        memcpy(to + first_bytes, ring->elems, bytes - first_bytes);
    }
}

void hg_ring_copy_any_(const struct hg_ring *ring, uint64_t slot, const void *from, void *to,
                       uint32_t n)
{
    char *at = ring->elems + slot * ring->elem_bytes;
    size_t bytes = (size_t)n * ring->elem_bytes;

    if (hg_unlikely(slot + n > ring->slots_n))
        copy_wrapped(ring, at, from, to, bytes, (ring->slots_n - slot) * ring->elem_bytes);
    else if (from)
        hg_ring_copy_bytes_(at, from, bytes);
    else
        hg_ring_copy_bytes_(to, at, bytes);
}
