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

/* A figure of /sys/kernel/mm/hugepages about pages of one size. */
static bool read_hugepages(uint64_t page_bytes, const char *figure, uint64_t *value)
{
    char path[128];

    snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s",
             page_bytes / KIB, figure);
    return read_number(path, "", value);
}

static int say_no_hugepages(enum hg_pages pages, uint64_t bytes, struct hg_err *err)
{
    uint64_t page_bytes = hg_pages_bytes(pages);
    const char *size = pages == HG_PAGES_1G ? "1 GiB" : "2 MiB";
    uint64_t n = bytes / page_bytes, total, available;

    if (!read_hugepages(page_bytes, "nr_hugepages", &total) ||
        !read_hugepages(page_bytes, "free_hugepages", &available))
        return hg_err_set(err, ENOMEM, "this machine has no pages of %s", size);
    return hg_err_set(
        err, ENOMEM,
        "pages of %s: %" PRIu64 " needed, %" PRIu64 " of %" PRIu64 " free; get more with: "
        "echo %" PRIu64 " | sudo tee /sys/kernel/mm/hugepages/hugepages-%" PRIu64
        "kB/nr_hugepages%s",
        size, n, available, total, total + (n > available ? n - available : 0), page_bytes / KIB,
        pages == HG_PAGES_1G ? ", or at boot: hugepagesz=1G hugepages=N" : "");
}

/* Ordinary memory would be handed out until the kernel kills somebody; so ask before. */
static int check_available(uint64_t bytes, struct hg_err *err)
{
    uint64_t available_kib;

    if (!read_number("/proc/meminfo", "MemAvailable:", &available_kib) ||
        bytes / KIB <= available_kib)
        return 0;
    return hg_err_set(err, ENOMEM,
                      "%" PRIu64 " MiB of memory are needed, %" PRIu64 " MiB are available",
                      bytes / MIB, available_kib / KIB);
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

int hg_pages_file(const char *name, enum hg_pages pages, uint64_t bytes, struct hg_err *err)
{
    bool huge = pages == HG_PAGES_1G || pages == HG_PAGES_2M;
    int fd, code;

    if (!huge && check_available(bytes, err) < 0)
        return -ENOMEM;
    fd = memfd_create(name, memfd_flags(pages));
    if (fd < 0) {
        code = errno;
        if (huge)
            return say_no_hugepages(pages, bytes, err);
        return hg_err_set(err, code, "cannot create a memory file: %s", strerror(code));
    }
    /* fallocate() takes the pages, which ftruncate() only promises. */
    if (ftruncate(fd, (off_t)bytes) < 0 || fallocate(fd, 0, 0, (off_t)bytes) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        code = errno;
        close(fd);
        if (huge && (code == ENOSPC || code == ENOMEM))
            return say_no_hugepages(pages, bytes, err);
        return hg_err_set(err, code == ENOSPC ? ENOMEM : code,
                          "cannot get %" PRIu64 " MiB of memory: %s", bytes / MIB, strerror(code));
    }
    return fd;
}
