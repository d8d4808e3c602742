/*
 * The guest's memory, as the front-end announces it: as one table, or slot by slot.
 *
 * A table replaces what was there. All rings move to it: workers let go of the old one, the rings
 * are placed anew and go on where they were. A slot that is added disturbs nobody: it is published
 * behind the slots that workers look through (struct hg_space). One that is removed may be in use
 * anywhere, so it goes as anything that workers use: out of sight, grace period, then unmapped;
 * rings that lay in it wait for memory that has their addresses.
 */
#include <errno.h>
#include <stdlib.h>

#include "port/vhost/state.h"
#include "sync/qsbr.h"

static struct hg_space *new_space(struct hg_err *err)
{
    struct hg_space *space = calloc(1, sizeof(*space));

    if (space == NULL)
        hg_err_set(err, ENOMEM, "no memory for a memory table");
    return space;
}

static int map_region(struct hg_space *space, const struct hg_vhost_region *region, int fd,
                      struct hg_err *err)
{
    return hg_space_add(space, region->guest_addr, region->user_addr, region->size,
                        region->mmap_offset, fd, err);
}

/* Maps the regions of a table into a new space. */
static struct hg_space *map_table(struct hg_vhost_conn *conn, struct hg_err *err)
{
    const struct hg_vhost_mem_table *table = &conn->in.mem;
    struct hg_space *space;

    if (table->n > HG_VHOST_FDS_MAX || table->n != conn->in_fd_n ||
        conn->in.hdr.size < 8 + table->n * sizeof(table->region[0])) {
        hg_err_set(
            err, EPROTO,
            "%u regions in %u bytes with %u file descriptors, expected at most %d with one each",
            table->n, conn->in.hdr.size, conn->in_fd_n, HG_VHOST_FDS_MAX);
        return NULL;
    }
    space = new_space(err);
    for (unsigned i = 0; space != NULL && i < table->n; i++)
        if (map_region(space, &table->region[i], conn->in_fd[i], err) != 0) {
            hg_space_clear(space);
            free(space);
            space = NULL;
        }
    return space;
}

static void pause_all(struct hg_vhost_port *vp)
{
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++)
        hg_vhost_ring_pause(hg_vhost_ring(vp, i));
}

/* Puts all rings on a new space while they run. What a virtual IOMMU has said was said of the old
 * one. */
static int swap_space(struct hg_vhost_port *vp, struct hg_space *space, struct hg_err *err)
{
    struct hg_space *old = vp->space;
    int rc = 0;

    pause_all(vp);
    hg_vhost_iommu_forget(vp);
    hg_qsbr_wait();
    hg_vhost_iommu_forgotten(vp);
    space->iotlb = vp->iommu.iotlb;
    vp->space = space;
    vp->slots = false;
    for (unsigned i = 0; i < hg_vhost_ring_n(vp) && rc == 0; i++)
        if (hg_vhost_ring(vp, i)->started)
            rc = hg_vhost_ring_move(vp, hg_vhost_ring(vp, i), err);
    if (old != NULL) {
        hg_space_clear(old);
        free(old);
    }
    return rc; /* an error ends the session: rings that were not reached stay paused */
}

/* Comes with the first queue pair only, and again whenever the guest's memory changes. */
int hg_vhost_set_mem_table(struct hg_vhost_call *call)
{
    struct hg_vhost_port *vp = call->vp;
    struct hg_space *space = map_table(call->conn, call->err);
    int rc;

    if (space == NULL)
        return -EPROTO;
    rc = swap_space(vp, space, call->err);
    return rc != 0 ? rc : hg_vhost_rings_try_start(vp, call->err);
}

int hg_vhost_get_max_mem_slots(struct hg_vhost_call *call)
{
    call->reply->u64 = HG_REGIONS_MAX;
    return 0;
}

/* The slot that a message means, which is known by all but its offset; -1 if there is none. */
static int find_slot(const struct hg_vhost_port *vp, const struct hg_vhost_region *wanted)
{
    if (vp->space == NULL)
        return -1;
    return hg_space_find(vp->space, wanted->guest_addr, wanted->user_addr, wanted->size);
}

/* Rings may have been waiting for this one. A slot that cannot be mapped ends the session, like a
 * table: the front-end counts on it. QEMU 7.2 says each slot once for each queue pair: a repetition
 * changes nothing. */
int hg_vhost_add_mem_reg(struct hg_vhost_call *call)
{
    struct hg_vhost_port *vp = call->vp;
    const struct hg_vhost_region *region = &call->in->mem_reg.region;
    int slot = find_slot(vp, region);
    int rc;

    if (call->conn->in_fd_n != 1)
        return hg_err_set(call->err, EPROTO, "came without a file descriptor");
    if (slot >= 0 &&
        hg_region_is(&vp->space->region[slot], region->mmap_offset, call->conn->in_fd[0]))
        return 0;
    if (vp->space == NULL) {
        vp->space = new_space(call->err);
        if (vp->space == NULL)
            return -ENOMEM;
        vp->space->iotlb = vp->iommu.iotlb;
    }
    rc = map_region(vp->space, region, call->conn->in_fd[0], call->err);
    if (rc != 0)
        return rc;
    vp->slots = true;
    hg_vhost_rings_go_on(vp);
    return hg_vhost_rings_try_start(vp, call->err);
}

/* One that is not there is not used, which is what was asked for: QEMU 7.2
 * asks once for each queue pair. A descriptor that comes along is closed unused: front-ends that
 * send one were there before the protocol said what to do with it. */
int hg_vhost_rem_mem_reg(struct hg_vhost_call *call)
{
    struct hg_vhost_port *vp = call->vp;
    int slot = find_slot(vp, &call->in->mem_reg.region);

    if (slot < 0)
        return 0;
    const struct hg_region *region = &vp->space->region[slot];

    vp->slots = true;
    pause_all(vp);
    if (vp->iommu.iotlb != NULL)
        hg_iotlb_unpublish_host(vp->iommu.iotlb, region->host, region->size);
    hg_qsbr_wait();
    if (vp->iommu.iotlb != NULL)
        hg_iotlb_settle(vp->iommu.iotlb);
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++) {
        struct hg_vhost_ring *ring = hg_vhost_ring(vp, i);

        ring->dev.hint = (struct hg_hint){0};
        if (hg_vhost_ring_in(ring, region))
            hg_vhost_ring_unplace(ring, "descriptors");
    }
    hg_space_remove(vp->space, (unsigned)slot);
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++)
        hg_vhost_ring_resume(vp, hg_vhost_ring(vp, i));
    hg_vhost_rings_go_on(vp);
    return 0;
}
