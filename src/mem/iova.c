#include "mem/iova.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* An entry of pagemap: a 64-bit word for each ordinary page of the address space. */
#define PRESENT      (UINT64_C(1) << 63)
#define FRAME_NUMBER ((UINT64_C(1) << 55) - 1) /* 0 for who may not know */

static int look_up(int fd, const uint8_t *address, uint64_t *entry)
{
    uint64_t index = (uintptr_t)address / (uint64_t)sysconf(_SC_PAGESIZE);
    ssize_t got = pread(fd, entry, sizeof(*entry), (off_t)(index * sizeof(*entry)));

    if (got == (ssize_t)sizeof(*entry))
        return 0;
    return got < 0 ? -errno : -EIO;
}

static int read_all(int fd, const uint8_t *base, uint64_t page_bytes, uint64_t n,
                    uint64_t *page_iova, struct hg_err *err)
{
    uint64_t unit = (uint64_t)sysconf(_SC_PAGESIZE);

    for (uint64_t i = 0; i < n; i++) {
        uint64_t entry;
        int rc = look_up(fd, base + i * page_bytes, &entry);

        if (rc < 0)
            return hg_err_set(err, -rc, "cannot read /proc/self/pagemap: %s", strerror(-rc));
        if ((entry & PRESENT) == 0)
            return hg_err_set(err, EIO, "/proc/self/pagemap shows no memory behind a page of ours");
        if ((entry & FRAME_NUMBER) == 0)
            return hg_err_set(err, EPERM,
                              "the kernel hides physical addresses from this process; it needs "
                              "CAP_SYS_ADMIN (run it as root), or a device under VFIO, which takes "
                              "virtual addresses");
        page_iova[i] = (entry & FRAME_NUMBER) * unit;
    }
    return 0;
}

int hg_iova_physical(const uint8_t *base, uint64_t page_bytes, uint64_t n, uint64_t *page_iova,
                     struct hg_err *err)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return hg_err_set(err, errno,
                          "physical addresses are needed, and /proc/self/pagemap says: %s",
                          strerror(errno));
    rc = read_all(fd, base, page_bytes, n, page_iova, err);
    close(fd);
    return rc;
}
