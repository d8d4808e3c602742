/*
 * An IOTLB against a simple model of it (model.h): misses, what control does, and the run of a program.
 */
#ifndef HG_TESTS_IOMMU_MODEL_RUN_H
#define HG_TESTS_IOMMU_MODEL_RUN_H

#include "model.h"

/* ---- misses ---- */

static struct model_miss *model_known(struct model *m, uint64_t addr, unsigned perm)
{
    for (unsigned i = 0; i < m->miss_n; i++)
        if (m->miss[i].addr == addr && m->miss[i].perm == perm)
            return &m->miss[i];
    return NULL;
}

static void model_ask(struct model *m)
{
    uint64_t addr = model_addr(m, false);
    uint64_t granule = addr & -MODEL_PAGE;
    unsigned perm = model_byte(m) % 2 == 0 ? HG_PERM_READ : HG_PERM_WRITE;
    enum hg_lack lack = hg_iotlb_ask(m->iotlb, &m->asks, addr, perm);
    const struct model_miss *known = model_known(m, granule, perm);
    bool again = false;

    hg_asks_flush(&m->asks);
    if (known != NULL) {
        model_require(lack == (known->state == HG_PENDING_UNMAPPED     ? HG_LACK_FAULT_UNMAPPED
                               : known->state == HG_PENDING_PERMISSION ? HG_LACK_FAULT_PERMISSION
                                                                       : HG_LACK_MISS));
        return;
    }
    model_require(lack == HG_LACK_MISS);
    for (unsigned i = 0; i < m->ask_n; i++)
        again = again || (m->ask[i].addr == granule && m->ask[i].perm == perm);
    if (!again && m->ask_n < HG_IOTLB_ASKS_N)
        m->ask[m->ask_n++] = (struct model_ask){granule, perm, 0, false};
}

/* Whether control is expected to send a miss, and which. */
static bool model_next(struct model *m, struct model_ask *want)
{
    while (m->ask_n > 0) {
        const struct model_block *block = model_find(m, m->ask[0].addr);

        *want = m->ask[0];
        memmove(&m->ask[0], &m->ask[1], --m->ask_n * sizeof(m->ask[0]));
        if ((block == NULL || (block->perm & want->perm) == 0) && !want->taken &&
            want->taken_n < HG_IOTLB_TAKEN_N && model_known(m, want->addr, want->perm) == NULL)
            return true;
    }
    return false;
}

static void model_take_miss(struct model *m)
{
    struct model_ask want;
    struct hg_ask got;

    if (m->miss_n == MODEL_MISSES_MAX)
        return;
    if (!model_next(m, &want)) {
        model_require(!hg_iotlb_next_miss(m->iotlb, &m->asks, m->now_ns, &got));
        return;
    }
    model_require(hg_iotlb_next_miss(m->iotlb, &m->asks, m->now_ns, &got));
    model_require(got.addr == want.addr && got.perm == want.perm);
    m->miss[m->miss_n++] = (struct model_miss){want.addr, want.perm, HG_PENDING_ASKED,
                                               m->now_ns + HG_IOTLB_MISS_TIMEOUT_NS};
}

static void model_answer(struct model *m, uint64_t first, uint64_t last, unsigned perm)
{
    for (unsigned i = m->miss_n; i-- > 0;) {
        struct model_miss *miss = &m->miss[i];

        if (miss->addr < first || miss->addr > last)
            continue;
        if ((miss->perm & perm) != 0) {
            *miss = m->miss[--m->miss_n];
            continue;
        }
        if (miss->state == HG_PENDING_ASKED)
            miss->deadline_ns += HG_IOTLB_MISS_TIMEOUT_NS;
        miss->state = perm == 0 ? HG_PENDING_UNMAPPED : HG_PENDING_PERMISSION;
    }
}

/* The front-end has taken a range back. */
static void model_forget(struct model *m, uint64_t first, uint64_t last)
{
    for (unsigned i = m->miss_n; i-- > 0;)
        if (m->miss[i].addr <= last && m->miss[i].addr + (MODEL_PAGE - 1) >= first)
            m->miss[i] = m->miss[--m->miss_n];
    for (unsigned i = 0; i < m->ask_n; i++) {
        m->ask[i].taken_n++;
        m->ask[i].taken |= m->ask[i].addr <= last && m->ask[i].addr + (MODEL_PAGE - 1) >= first;
    }
}

static void model_expire(struct model *m)
{
    uint64_t next_ns;
    uint64_t least_ns = UINT64_MAX;
    bool any = false;

    m->now_ns += model_byte(m) * (HG_IOTLB_MISS_TIMEOUT_NS / 64);
    for (unsigned i = m->miss_n; i-- > 0;) {
        struct model_miss *miss = &m->miss[i];

        if (m->now_ns >= miss->deadline_ns && miss->state == HG_PENDING_ASKED) {
            any = true;
            miss->state = HG_PENDING_UNMAPPED;
            miss->deadline_ns = m->now_ns + HG_IOTLB_MISS_TIMEOUT_NS;
        } else if (m->now_ns >= miss->deadline_ns) {
            *miss = m->miss[--m->miss_n];
            continue;
        }
        least_ns = hg_min_u64(least_ns, miss->deadline_ns);
    }
    model_require(hg_iotlb_expire(m->iotlb, m->now_ns, &next_ns) == any);
    model_require(next_ns <= least_ns); /* never too late */
}

/* ---- control ---- */

static void model_update(struct model *m)
{
    uint64_t iova = model_addr(m, true);
    uint64_t size = model_size(m);
    unsigned perm = model_byte(m) % 8;
    unsigned where = model_byte(m);
    /* Mostly so that neighbours in addresses are neighbours in memory; else anywhere. */
    uint64_t user = MODEL_USER + (where < 192 ? iova % (2 * MODEL_REGION) + where / 64 * MODEL_PAGE
                                              : where % 64 * (MODEL_REGION / 16 + MODEL_PAGE));
    uint64_t left;
    int rc;

    perm = perm > 3 ? 3 : perm;
    if (where == 255) {
        model_require(hg_iotlb_update(m->iotlb, &m->space, iova + 16, size, user, perm, NULL) ==
                      -EINVAL);
        return;
    }
    rc = hg_iotlb_update(m->iotlb, &m->space, iova, size, user, perm, NULL);
    if (size - 1 > UINT64_MAX - iova) {
        model_require(rc == -EINVAL);
        return;
    }
    if (perm != 0 && model_host(m, user + (size - 1), &left) == NULL) {
        model_require(rc == -EFAULT);
        return;
    }
    model_require(rc == 0);
    m->taken_out = false; /* perhaps it has waited */
    model_replace(m, iova, size, user, perm);
    model_answer(m, iova, iova + (size - 1), perm);
}

static void model_unpublish(struct model *m)
{
    uint64_t iova = model_addr(m, false);
    unsigned kind = model_byte(m);
    uint64_t size = kind == 0 ? 0 : kind == 1 ? UINT64_MAX : model_size(m);
    uint64_t first = size == 0 ? 0 : iova;
    uint64_t last = size == 0 || size - 1 > UINT64_MAX - iova ? UINT64_MAX : iova + (size - 1);
    unsigned n = m->block_n;
    bool wait = hg_iotlb_unpublish(m->iotlb, iova, size);

    for (unsigned i = m->block_n; i-- > 0;)
        if (m->block[i].base <= last && m->block[i].base + (m->block[i].size - 1) >= first)
            model_drop(m, i);
    model_forget(m, first, last);
    m->taken_out |= m->block_n < n;
    model_require(wait || !m->taken_out);
}

static void model_unpublish_host(struct model *m)
{
    uint64_t left;
    uint8_t *host = model_host(m, MODEL_USER + model_byte(m) * (MODEL_REGION / 32), &left);
    uint64_t bytes = model_size(m);
    unsigned n = m->block_n;
    bool wait;

    if (host == NULL)
        return;
    wait = hg_iotlb_unpublish_host(m->iotlb, host, bytes);
    for (unsigned i = m->block_n; i-- > 0;)
        if (hg_range_overlap((uintptr_t)m->block[i].host, m->block[i].size, (uintptr_t)host, bytes))
            model_drop(m, i);
    m->taken_out |= m->block_n < n;
    model_require(wait || !m->taken_out);
}

/* Runs one operation of the program. */
static void model_step(struct model *m)
{
    struct hg_hint hint = {0}; /* of one burst: it does not outlive a change */
    uint64_t answers = hg_iotlb_answers(m->iotlb);
    unsigned n;

    switch (model_byte(m) % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
        model_update(m);
        break;
    case 4:
    case 5:
        model_unpublish(m);
        model_require(hg_iotlb_answers(m->iotlb) != answers);
        break;
    case 6:
        model_unpublish_host(m);
        break;
    case 7:
    case 8:
        hg_qsbr_wait();
        hg_iotlb_settle(m->iotlb);
        m->taken_out = false;
        break;
    case 9:
    case 10:
        model_ask(m);
        break;
    case 11:
        model_take_miss(m);
        break;
    case 12:
        model_expire(m);
        break;
    default:
        for (n = 1 + model_byte(m) % 8; n > 0; n--)
            model_translate(m, &hint);
        return;
    }
    model_compare(m);
}

/* Runs a program on a fresh IOTLB; aborts where it and the model differ. */
static inline void model_run(struct model *m, const uint8_t *program, size_t n)
{
    static const uint32_t entries_max[] = {8, 64, 1024, MODEL_ENTRIES_MAX};

    model_start(m, n > 0 ? entries_max[program[0] % 4] : 8, program, n);
    while (m->left > 0)
        model_step(m);
    model_end(m);
}

#endif
