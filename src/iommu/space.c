#include "iommu/space.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Out of line, both of them: hg_space_walk() is short and needs no stack without them. */
static __attribute__((noinline)) uint64_t walk_regions(const struct hg_space *space,
                                                       struct hg_hint *hint, uint64_t addr,
                                                       uint64_t len, uint8_t **host)
{
    /* Pairs with the release in hg_space_add(): the regions are there. */
    unsigned n = atomic_load_explicit(&space->n, memory_order_acquire);

    for (unsigned i = 0; i < n; i++) {
        const struct hg_region *region = &space->region[i];
        uint64_t offset = addr - region->guest_addr;

        if (offset >= region->size)
            continue;
        *hint = (struct hg_hint){region->guest_addr, region->size, region->host,
                                 HG_PERM_READ | HG_PERM_WRITE};
        *host = region->host + offset;
        return hg_min_u64(len, region->size - offset);
    }
    return 0;
}

/* Remembers a block that was found and says where addr lies in it. Returns how much of it is left there. */
static inline uint64_t take_block(struct hg_hint *hint, const struct hg_iotlb_block *block,
                                  uint64_t addr, uint8_t **host)
{
    uint64_t offset = addr - block->base;

    *hint = (struct hg_hint){block->base, block->size, block->host, block->perm};
    *host = block->host + offset;
    return block->size - offset;
}

/* Goes on from block to block as long as the host addresses go on too, and remembers all of them as one:
 * what one of them grants less, the whole does not grant. */
static __attribute__((noinline)) uint64_t walk_blocks(const struct hg_iotlb *iotlb,
                                                      struct hg_hint *hint, uint64_t addr,
                                                      uint64_t len, enum hg_perm perm,
                                                      uint8_t **host)
{
    struct hg_iotlb_block block;
    uint64_t got;

    if (!hg_iotlb_find(iotlb, addr, &block) || (block.perm & perm) == 0)
        return 0;
    got = take_block(hint, &block, addr, host);
    for (unsigned n = 1; got < len && n < HG_SPACE_BLOCKS_MAX; n++) {
        uint64_t next = hint->base + hint->size;

        if (next == 0 || !hg_iotlb_find(iotlb, next, &block) || (block.perm & perm) == 0 ||
            block.base != next || block.host != hint->host + hint->size)
            break;
        hint->size += block.size;
        hint->perm &= block.perm;
        got += block.size;
    }
    return hg_min_u64(len, got);
}

uint64_t hg_space_walk(const struct hg_space *space, struct hg_hint *hint, uint64_t addr,
                       uint64_t len, enum hg_perm perm, uint8_t **host)
{
    struct hg_iotlb_block block;

    if (space->iotlb == NULL)
        return walk_regions(space, hint, addr, len, host); /* a memory table grants both */
    if (hg_likely(hg_iotlb_find_quick(space->iotlb, addr, &block) && (block.perm & perm) != 0 &&
                  take_block(hint, &block, addr, host) >= len))
        return len;
    return walk_blocks(space->iotlb, hint, addr, len, perm, host);
}

enum hg_lack hg_space_lack(const struct hg_space *space, struct hg_asks *asks, uint64_t addr,
                           enum hg_perm perm)
{
    if (space->iotlb == NULL)
        return HG_LACK_FAULT_UNMAPPED;
    return hg_iotlb_ask(space->iotlb, asks, addr, perm);
}

uint8_t *hg_space_user(const struct hg_space *space, uint64_t user_addr, uint64_t len)
{
    for (unsigned i = 0; i < space->n; i++) {
        const struct hg_region *region = &space->region[i];

        if (hg_range_inside(user_addr, len, region->user_addr, region->size))
            return region->host + (user_addr - region->user_addr);
    }
    return NULL;
}

static int check_range(const struct hg_space *space, uint64_t guest_addr, uint64_t user_addr,
                       uint64_t size, struct hg_err *err)
{
    if (size == 0 || size - 1 > UINT64_MAX - guest_addr || size - 1 > UINT64_MAX - user_addr)
        return hg_err_set(err, EINVAL,
                          "memory region at 0x%" PRIx64 " of %" PRIu64 " bytes is empty or wraps",
                          guest_addr, size);
    for (unsigned i = 0; i < space->n; i++) {
        const struct hg_region *other = &space->region[i];

        if (hg_range_overlap(guest_addr, size, other->guest_addr, other->size) ||
            hg_range_overlap(user_addr, size, other->user_addr, other->size))
            return hg_err_set(err, EINVAL,
                              "memory region at 0x%" PRIx64 " overlaps the one at 0x%" PRIx64,
                              guest_addr, other->guest_addr);
    }
    return 0;
}

int hg_space_add(struct hg_space *space, uint64_t guest_addr, uint64_t user_addr, uint64_t size,
                 uint64_t offset, int fd, struct hg_err *err)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    struct stat file;
    int rc;

    if (space->n == HG_REGIONS_MAX)
        return hg_err_set(err, ENOSPC, "more than %d memory regions", HG_REGIONS_MAX);
    rc = check_range(space, guest_addr, user_addr, size, err);
    if (rc != 0)
        return rc;
    /* Only memory: a file that somebody's program or disk stands behind would make us wait for it, here
     * and at every touch. This asks nobody but the kernel, which knows seals of memory files alone. */
    if (fcntl(fd, F_GET_SEALS) < 0)
        return hg_err_set(
            err, EINVAL,
            "a memory region's file is not memory: expected a memfd, or a file on tmpfs "
            "or hugetlbfs");
    if (fstat(fd, &file) != 0)
        return hg_err_set(err, errno, "memory region's file: %s", strerror(errno));
    if (file.st_size < 0 || !hg_range_inside(offset, size, 0, (uint64_t)file.st_size))
        return hg_err_set(err, EINVAL,
                          "memory region at offset %" PRIu64 " of %" PRIu64
                          " bytes does not fit its file of %jd bytes",
                          offset, size, (intmax_t)file.st_size);

    /* hugetlbfs wants an offset and a length of whole huge pages; its block size tells them. */
    if ((uint64_t)file.st_blksize > page && hg_is_power_of_two((uint64_t)file.st_blksize))
        page = (uint64_t)file.st_blksize;
    uint64_t start = offset - offset % page;
    struct hg_foreign *foreign =
        hg_foreign_map(fd, (off_t)start, hg_round_up(offset - start + size, page), page, err);

    if (foreign == NULL)
        return -ENOMEM;
    unsigned n = space->n;

    space->region[n] = (struct hg_region){
        .guest_addr = guest_addr,
        .user_addr = user_addr,
        .size = size,
        .host = hg_foreign_base(foreign) + (offset - start),
        .foreign = foreign,
        .offset = offset,
        .file_dev = file.st_dev,
        .file_ino = file.st_ino,
    };
    /* Pairs with the acquire in walk_regions(), if the space is published. */
    atomic_store_explicit(&space->n, n + 1, memory_order_release);
    return 0;
}

int hg_space_find(const struct hg_space *space, uint64_t guest_addr, uint64_t user_addr,
                  uint64_t size)
{
    for (unsigned i = 0; i < space->n; i++) {
        const struct hg_region *region = &space->region[i];

        if (region->guest_addr == guest_addr && region->user_addr == user_addr &&
            region->size == size)
            return (int)i;
    }
    return -1;
}

bool hg_region_is(const struct hg_region *region, uint64_t offset, int fd)
{
    struct stat file;

    return region->offset == offset && fstat(fd, &file) == 0 && region->file_dev == file.st_dev &&
           region->file_ino == file.st_ino;
}

void hg_space_remove(struct hg_space *space, unsigned index)
{
    unsigned last = space->n - 1;

    hg_foreign_unmap(space->region[index].foreign);
    space->region[index] = space->region[last];
    space->n = last;
}

void hg_space_clear(struct hg_space *space)
{
    for (unsigned i = 0; i < space->n; i++)
        hg_foreign_unmap(space->region[i].foreign);
    space->n = 0;
}

bool hg_space_lost(const struct hg_space *space, uint64_t *guest_addr)
{
    for (unsigned i = 0; i < space->n; i++) {
        const struct hg_region *region = &space->region[i];
        size_t before = (size_t)(region->host - hg_foreign_base(region->foreign));
        size_t at;

        if (!hg_foreign_lost(region->foreign, &at))
            continue;
        /* With large pages the mapping may begin before its region. */
        *guest_addr = region->guest_addr + (at > before ? at - before : 0);
        return true;
    }
    return false;
}
