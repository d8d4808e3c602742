#include "port/vhost/park.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bits.h"

_Static_assert((HG_PARK_FRAMES_MAX & (HG_PARK_FRAMES_MAX - 1)) == 0, "positions are masked");

static struct hg_owned **slot(struct hg_park *park, uint32_t position)
{
    return &park->frame[position % HG_PARK_FRAMES_MAX];
}

int hg_park_new(struct hg_park **park, const struct hg_port_host *host, struct hg_err *err)
{
    const struct hg_pool_options options = {
        .name = "parked frames", .object_bytes = HG_PARK_BUF_BYTES, .n = HG_PARK_BUFS_N};
    const struct hg_arena_options memory = {.name = options.name,
                                            .bytes = hg_pool_bytes(&options),
                                            .pages = host->pages,
                                            .on_node = host->on_node,
                                            .node = host->node};
    struct hg_park *made = calloc(1, sizeof(*made));
    int rc;

    *park = NULL;
    if (made == NULL)
        return hg_err_set(err, ENOMEM, "no memory for a list of parked frames");
    rc = hg_arena_new(&made->arena, &memory, err);
    if (rc == 0)
        rc = hg_pool_new(&made->pool, made->arena, &options, err);
    if (rc == 0)
        rc = hg_pool_cache_new(&made->cache, made->pool, options.name, err);
    if (rc != 0) {
        hg_park_free(made);
        return rc;
    }
    *park = made;
    return 0;
}

void hg_park_free(struct hg_park *park)
{
    if (park == NULL)
        return;
    if (park->cache != NULL) {
        hg_park_remove(park, park->n);
        hg_pool_cache_free(park->cache);
    }
    if (park->pool != NULL)
        hg_pool_free(park->pool);
    if (park->arena != NULL)
        hg_arena_free(park->arena);
    free(park);
}

bool hg_park_put(struct hg_park *park, const struct hg_pkt *pkt)
{
    struct hg_owned *owned;

    if (park->n == HG_PARK_FRAMES_MAX)
        return false;
    owned = hg_pkt_own(park->cache, pkt);
    if (owned == NULL)
        return false;
    *slot(park, park->first + park->n) = owned;
    park->n++;
    return true;
}

unsigned hg_park_oldest(const struct hg_park *park, struct hg_pkt *pkts[HG_BURST_N])
{
    unsigned n = hg_min_u32(park->n, HG_BURST_N);

    for (unsigned i = 0; i < n; i++)
        pkts[i] = &park->frame[(park->first + i) % HG_PARK_FRAMES_MAX]->pkt;
    return n;
}

void hg_park_remove(struct hg_park *park, unsigned n)
{
    assert(n <= park->n);
    for (unsigned i = 0; i < n; i++)
        hg_owned_free(park->cache, *slot(park, park->first + i));
    park->first += n;
    park->n -= n;
}
