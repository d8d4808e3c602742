/*
 * An IOTLB against a simple model of it: plain arrays, searched from end to end. A program of bytes is
 * run on both (model_run.h), and every answer is compared. Used with random bytes by a property test, and
 * with those of libFuzzer. Here: what the model consists of, blocks, and translation.
 *
 * The model knows exactly which blocks there must be, but for those that were evicted: after each
 * operation that may evict it asks which are left, and requires that no more are missing than evictions
 * were counted.
 */
#ifndef HG_TESTS_IOMMU_MODEL_H
#define HG_TESTS_IOMMU_MODEL_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "iommu/space.h"

#define MODEL_PAGE   UINT64_C(4096)
#define MODEL_USER   UINT64_C(0x7f0000000000)
#define MODEL_REGION (UINT64_C(4) << 30)

enum {
    MODEL_CUT_MAX = 4 * 2 * 511 + 16, /* blocks of one update: a start and an end in each region */
    MODEL_ENTRIES_MAX = 4096,
    MODEL_BLOCKS_MAX = MODEL_ENTRIES_MAX + MODEL_CUT_MAX, /* before evictions are known */
    MODEL_MISSES_MAX = 256, /* few enough for the table of misses to have room */
    MODEL_REGIONS_N = 3,    /* follow each other for the front-end; the last two also here */
};

struct model_block {
    uint64_t base;
    uint64_t size;
    uint8_t *host;
    unsigned perm;
};

struct model_miss {
    uint64_t addr;
    unsigned perm;
    enum hg_pending_state state;
    uint64_t deadline_ns;
};

struct model_ask {
    uint64_t addr;
    unsigned perm;
    unsigned taken_n; /* ranges taken back since it was asked */
    bool taken;       /* it was in one of them */
};

struct model {
    struct hg_space space;
    struct hg_iotlb *iotlb;
    struct hg_asks asks;
    uint8_t *reserved;
    uint32_t entries_max;

    unsigned block_n;
    struct model_block block[MODEL_BLOCKS_MAX];
    unsigned miss_n;
    struct model_miss miss[MODEL_MISSES_MAX];
    unsigned ask_n; /* asked and not taken by control */
    struct model_ask ask[HG_IOTLB_ASKS_N];
    uint64_t evictions; /* accounted for */
    uint64_t now_ns;
    bool taken_out; /* a grace period is due */

    const uint8_t *program;
    size_t left;
};

static unsigned long model_seed; /* of the program, to be named when it fails */

#define model_require(condition)                                                                   \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: seed %lu: not so: %s\n", __FILE__, __LINE__, model_seed,       \
                    #condition);                                                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static void model_start(struct model *m, uint32_t entries_max, const uint8_t *program, size_t n)
{
    uint64_t bytes = MODEL_REGIONS_N * MODEL_REGION + MODEL_PAGE;

    memset(m, 0, sizeof(*m));
    m->reserved = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    model_require(m->reserved != MAP_FAILED);
    model_require(hg_iotlb_new(&m->iotlb, entries_max, NULL) == 0);
    m->entries_max = entries_max;
    m->space.iotlb = m->iotlb;
    m->space.n = MODEL_REGIONS_N;
    for (unsigned i = 0; i < MODEL_REGIONS_N; i++)
        m->space.region[i] = (struct hg_region){
            .user_addr = MODEL_USER + i * MODEL_REGION,
            .size = MODEL_REGION,
            .host = m->reserved + i * MODEL_REGION + (i > 0 ? MODEL_PAGE : 0),
        };
    m->asks.wake_fd = -1;
    m->program = program;
    m->left = n;
}

static void model_end(struct model *m)
{
    hg_iotlb_free(m->iotlb);
    munmap(m->reserved, MODEL_REGIONS_N * MODEL_REGION + MODEL_PAGE);
}

/* ---- the program ---- */

static unsigned model_byte(struct model *m)
{
    if (m->left == 0)
        return 0;
    m->left--;
    return *m->program++;
}

/* An address near one of those where something may go wrong; of a page, or inside one. */
static uint64_t model_addr(struct model *m, bool of_page)
{
    static const uint64_t near[] = {
        0,
        UINT64_C(2) << 20,
        UINT64_C(1) << 30,
        (UINT64_C(1) << 30) - (UINT64_C(2) << 20),
        UINT64_C(4) << 30,
        UINT64_C(1) << 63,
        UINT64_C(0xffffffff80000000), /* the last 2 GiB, 4 MiB and 16 pages there are */
        UINT64_C(0xffffffffffc00000),
        UINT64_C(0xffffffffffff0000),
    };
    static const uint64_t step[] = {MODEL_PAGE, UINT64_C(2) << 20, UINT64_C(1) << 30};
    unsigned which = model_byte(m);
    unsigned steps = model_byte(m);
    uint64_t addr = near[which % HG_ARRAY_N(near)];

    addr += step[which / HG_ARRAY_N(near) % HG_ARRAY_N(step)] * (steps % 16);
    addr -= MODEL_PAGE * (steps / 64);
    if (!of_page)
        addr += model_byte(m) * 16;
    return addr;
}

static uint64_t model_size(struct model *m)
{
    static const uint64_t unit[] = {MODEL_PAGE, MODEL_PAGE, UINT64_C(2) << 20, UINT64_C(1) << 30};
    unsigned which = model_byte(m);

    return unit[which % 4] * (1 + which / 4 % 5) + MODEL_PAGE * (which / 64 % 2);
}

/* ---- blocks ---- */

static struct model_block *model_find(struct model *m, uint64_t addr)
{
    for (unsigned i = 0; i < m->block_n; i++)
        if (addr - m->block[i].base < m->block[i].size)
            return &m->block[i];
    return NULL;
}

static void model_drop(struct model *m, unsigned i)
{
    m->block[i] = m->block[--m->block_n];
}

/* The host address of a user address, and how far it goes on. */
static uint8_t *model_host(const struct model *m, uint64_t user, uint64_t *left)
{
    uint64_t offset = user - MODEL_USER;
    uint64_t i = offset / MODEL_REGION;

    *left = 0;
    if (offset >= MODEL_REGIONS_N * MODEL_REGION)
        return NULL;
    *left = MODEL_REGION - offset % MODEL_REGION;
    return m->space.region[i].host + offset % MODEL_REGION;
}

/* The next block of a range: the largest that is aligned, fits, and stays in one region. */
static struct model_block model_cut(const struct model *m, uint64_t iova, uint64_t size,
                                    uint64_t user, unsigned perm)
{
    uint64_t left;
    uint8_t *host = model_host(m, user, &left);
    uint64_t block = UINT64_C(1) << 30;

    while (block > MODEL_PAGE && (iova % block != 0 || block > size || block > left))
        block >>= 9;
    return (struct model_block){iova, block, host, perm};
}

static bool model_asked(const struct model *m, const struct model_block *block)
{
    for (unsigned i = 0; i < m->miss_n; i++)
        if (m->miss[i].state == HG_PENDING_ASKED && m->miss[i].addr - block->base < block->size)
            return true;
    return false;
}

/* Of n blocks in the order of their addresses, the number of the one that starts at base; n: none. */
static unsigned model_search(const struct model_block *cut, unsigned n, uint64_t base)
{
    unsigned low = 0;
    unsigned high = n;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (cut[middle].base < base)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && cut[low].base == base ? low : n;
}

static void model_replace(struct model *m, uint64_t iova, uint64_t size, uint64_t user,
                          unsigned perm)
{
    static struct model_block cut[MODEL_CUT_MAX];
    static bool repeated[MODEL_CUT_MAX];
    unsigned n = 0;

    for (uint64_t done = 0; perm != 0 && done < size; done += cut[n++].size) {
        model_require(n < MODEL_CUT_MAX);
        cut[n] = model_cut(m, iova + done, size - done, user + done, perm);
        repeated[n] = false;
    }
    for (unsigned i = m->block_n; i-- > 0;) {
        struct model_block *old = &m->block[i];
        unsigned k;

        if (old->base > iova + (size - 1) || old->base + (old->size - 1) < iova)
            continue;
        k = model_search(cut, n, old->base);
        if (k < n && cut[k].size == old->size && cut[k].host == old->host) {
            repeated[k] = true;
            old->perm = perm;
        } else {
            model_drop(m, i);
        }
    }
    for (unsigned k = 0; k < n; k++) {
        if (repeated[k] || (n > m->entries_max / 2 && !model_asked(m, &cut[k])))
            continue;
        model_require(m->block_n < MODEL_BLOCKS_MAX);
        m->block[m->block_n++] = cut[k];
    }
}

/* Every block is there as it must be, or was evicted. */
static void model_compare(struct model *m)
{
    uint64_t evictions = hg_iotlb_info(m->iotlb).evictions;
    uint64_t missing = 0;

    for (unsigned i = m->block_n; i-- > 0;) {
        const struct model_block *want = &m->block[i];
        struct hg_iotlb_block got;

        if (!hg_iotlb_find(m->iotlb, want->base, &got)) {
            missing++;
            model_drop(m, i);
            continue;
        }
        model_require(got.base == want->base && got.size == want->size);
        model_require(got.host == want->host && got.perm == want->perm);
    }
    model_require(missing <= evictions - m->evictions);
    m->evictions = evictions;
    model_require(hg_iotlb_info(m->iotlb).entries == m->block_n);
    model_require(m->block_n <= m->entries_max);
}

static void model_translate(struct model *m, struct hg_hint *hint)
{
    uint64_t addr = model_addr(m, false);
    uint64_t len = model_size(m) - model_byte(m);
    enum hg_perm perm = model_byte(m) % 2 == 0 ? HG_PERM_READ : HG_PERM_WRITE;
    uint8_t *host = NULL;
    uint64_t got = hg_space_at(&m->space, hint, addr, len, perm, &host);
    const struct model_block *block = model_find(m, addr);
    uint8_t *at;
    uint64_t want = 0;

    if (block == NULL || (block->perm & perm) == 0) {
        model_require(got == 0);
        return;
    }
    at = block->host + (addr - block->base);
    model_require(host == at);
    for (unsigned n = 0; n < HG_SPACE_BLOCKS_MAX && want < len; n++) {
        if (want > UINT64_MAX - addr || (block = model_find(m, addr + want)) == NULL ||
            (block->perm & perm) == 0 || block->host + (addr + want - block->base) != at + want)
            break;
        want = block->base + block->size - addr; /* may wrap: it ends at 2^64 */
    }
    model_require(got == hg_min_u64(want, len));
}

#endif
