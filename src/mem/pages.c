#include "mem/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "mem/node.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (KIB * MIB)

uint64_t hg_pages_bytes(enum hg_pages pages)
{
    switch (pages) {
    case HG_PAGES_1G:
        return GIB;
    case HG_PAGES_2M:
        return 2 * MIB;
    default:
        return (uint64_t)sysconf(_SC_PAGESIZE);
    }
}

/* The number behind `key` at the beginning of a line. */
static bool read_number(const char *path, const char *key, uint64_t *value)
{
    FILE *file = fopen(path, "re");
    char line[128];
    bool found = false;

    if (!file)
        return false;
    while (!found && fgets(line, sizeof(line), file)) {
        found = strncmp(line, key, strlen(key)) == 0;
        if (found)
            *value = strtoull(line + strlen(key), NULL, 10);
    }
    fclose(file);
    return found;
}

/* A figure of the kernel's about hugepages of one size: of a node, or, with -1, of all. */
static void hugepages_path(char *path, size_t n, uint64_t page_bytes, int node, const char *figure)
{
    char of[64] = "/sys/kernel/mm/hugepages";

    if (node >= 0)
        snprintf(of, sizeof(of), "/sys/devices/system/node/node%d/hugepages", node);
    snprintf(path, n, "%s/hugepages-%" PRIu64 "kB/%s", of, page_bytes / KIB, figure);
}

static bool read_hugepages(uint64_t page_bytes, int node, const char *figure, uint64_t *value)
{
    char path[128];

    hugepages_path(path, sizeof(path), page_bytes, node, figure);
    return read_number(path, "", value);
}

/* For who has never reserved a hugepage: what is missing, and one line to type. */
static int say_no_hugepages(enum hg_pages pages, uint64_t bytes, int node, struct hg_err *err)
{
    uint64_t page_bytes = hg_pages_bytes(pages);
    const char *size = pages == HG_PAGES_1G ? "1 GiB" : "2 MiB";
    uint64_t n = bytes / page_bytes, total, available, promised = 0;
    char path[128];

    hugepages_path(path, sizeof(path), page_bytes, node, "nr_hugepages");
    if (!read_number(path, "", &total) ||
        !read_hugepages(page_bytes, node, "free_hugepages", &available))
        return hg_err_set(err, ENOMEM, "this machine has no pages of %s", size);
    if (read_hugepages(page_bytes, -1, "resv_hugepages", &promised))
        available -= hg_min_u64(promised, available);
    if (available >= n)
        return hg_err_set(err, ENOMEM,
                          "%" PRIu64 " pages of %s are free and %" PRIu64
                          " needed, but the kernel gives none; does a cgroup limit them "
                          "(hugetlb.%s.max)?",
                          available, size, n, pages == HG_PAGES_1G ? "1GB" : "2MB");
    return hg_err_set(err, ENOMEM,
                      "%" PRIu64 " pages of %s are needed, %" PRIu64 " of %" PRIu64
                      " are free; reserve more: echo %" PRIu64 " | sudo tee %s%s",
                      n, size, available, total, total + n - available, path,
                      pages == HG_PAGES_1G ? ", or boot with hugepagesz=1G hugepages=N"
                                           : ", or use pages of 4K");
}

/* Kibibytes of ordinary memory that can be had. */
static bool read_available(int node, uint64_t *kib)
{
    static const char *const keys[] = {"MemFree", "Active(file)", "Inactive(file)"};
    char path[64], key[64];
    uint64_t part;

    if (node < 0)
        return read_number("/proc/meminfo", "MemAvailable:", kib);
    snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
    *kib = 0;
    for (unsigned i = 0; i < HG_ARRAY_N(keys); i++) {
        snprintf(key, sizeof(key), "Node %d %s:", node, keys[i]);
        if (!read_number(path, key, &part))
            return false;
        *kib += part;
    }
    return true;
}

/* Ordinary memory would be handed out until the kernel kills somebody; so ask before. */
static int check_available(uint64_t bytes, int node, struct hg_err *err)
{
    uint64_t available_kib;

    if (!read_available(node, &available_kib) || bytes / KIB <= available_kib)
        return 0;
    return hg_err_set(err, ENOMEM,
                      "%" PRIu64 " MiB of memory are needed, %" PRIu64 " MiB are available%s",
                      bytes / MIB, available_kib / KIB, node < 0 ? "" : " on its NUMA node");
}

static unsigned memfd_flags(enum hg_pages pages)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

    if (pages == HG_PAGES_1G)
        return flags | MFD_HUGETLB | MFD_HUGE_1GB;
    if (pages == HG_PAGES_2M)
        return flags | MFD_HUGETLB | MFD_HUGE_2MB;
    return flags;
}

/* fallocate() takes the pages, which ftruncate() only promises. */
static int fill(int fd, uint64_t bytes)
{
    if (ftruncate(fd, (off_t)bytes) < 0 || fallocate(fd, 0, 0, (off_t)bytes) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    return 0;
}

static int fill_from_node(int fd, uint64_t bytes, int node, struct hg_err *err)
{
    struct hg_node_policy before;
    int rc;

    if (node < 0)
        return fill(fd, bytes);
    rc = hg_node_enter(&before, (unsigned)node, err);
    if (rc == 0) {
        rc = fill(fd, bytes);
        hg_node_leave(&before);
    }
    return rc;
}

int hg_pages_file(const char *name, enum hg_pages pages, uint64_t bytes, int node,
                  struct hg_err *err)
{
    bool huge = pages == HG_PAGES_1G || pages == HG_PAGES_2M;
    struct hg_err why = {.text = ""};
    int fd, rc;

    if (!huge && check_available(bytes, node, err) < 0)
        return -ENOMEM;
    fd = memfd_create(name, memfd_flags(pages));
    if (fd < 0) {
        rc = -errno;
        if (huge)
            return say_no_hugepages(pages, bytes, node, err);
        return hg_err_set(err, -rc, "cannot create a memory file: %s", strerror(-rc));
    }
    rc = fill_from_node(fd, bytes, node, &why);
    if (rc == 0)
        return fd;
    close(fd);
    if (why.text[0] != '\0')
        return hg_err_set(err, -rc, "%s", why.text);
    if (huge && (rc == -ENOSPC || rc == -ENOMEM))
        return say_no_hugepages(pages, bytes, node, err);
    return hg_err_set(err, rc == -ENOSPC ? ENOMEM : -rc, "cannot get %" PRIu64 " MiB of memory: %s",
                      bytes / MIB, strerror(-rc));
}
