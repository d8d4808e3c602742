/* The order of calls is that of the kernel's Documentation/driver-api/vfio.rst, "VFIO Usage
 * Example". */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Above all memory of these guests, so that no mapped address is a physical one of anything. */
#define IOVA_FIRST UINT64_C(0x100000000)

_Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, errno != 0 ? strerror(errno) : "failed");
    exit(2);
}

void pause_ms(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static int open_or_die(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) {
        die(path);
    }
    return fd;
}

static int open_sysfs(const char *device, const char *file)
{
    char path[128];
    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", device, file);
    return open_or_die(path, O_RDWR | O_SYNC);
}

/* The file /dev/vfio/N of the device's group. */
static int open_group(const char *device)
{
    char link[128];
    char target[128];
    char path[160];
    snprintf(link, sizeof(link), "/sys/bus/pci/devices/%s/iommu_group", device);
    ssize_t n_bytes = readlink(link, target, sizeof(target) - 1);
    if (n_bytes < 0) {
        die(link);
    }
    target[n_bytes] = '\0';
    snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(target, '/') + 1);
    return open_or_die(path, O_RDWR);
}

static void open_vfio(struct device *device)
{
    device->container = open_or_die("/dev/vfio/vfio", O_RDWR);
    int group = open_group(device->name);
    if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &device->container) < 0 ||
        ioctl(device->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0) {
        die("vfio container");
    }
    device->fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, device->name);
    if (device->fd < 0) {
        die("vfio device");
    }
}

/* A region of the device as VFIO numbers them: the BARs first, then the configuration space. */
static struct vfio_region_info region(const struct device *device, unsigned index)
{
    struct vfio_region_info info = {.argsz = sizeof(info), .index = index};
    if (ioctl(device->fd, VFIO_DEVICE_GET_REGION_INFO, &info) < 0) {
        die("vfio region");
    }
    return info;
}

/* A file descriptor and offset behind which the configuration space lies. */
static int config_file(const struct device *device, off_t *offset)
{
    if (device->is_bare) {
        *offset = 0;
        return open_sysfs(device->name, "config");
    }
    *offset = (off_t)region(device, VFIO_PCI_CONFIG_REGION_INDEX).offset;
    int fd = dup(device->fd);
    if (fd < 0) {
        die("dup");
    }
    return fd;
}

void device_config(const struct device *device, size_t offset, void *to, size_t n_bytes)
{
    off_t base;
    int fd = config_file(device, &base);
    if (pread(fd, to, n_bytes, base + (off_t)offset) != (ssize_t)n_bytes) {
        die("configuration space");
    }
    close(fd);
}

static void enable(const struct device *device)
{
    uint16_t command;
    off_t base;
    int fd = config_file(device, &base);
    device_config(device, PCI_COMMAND, &command, sizeof(command));
    command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    if (pwrite(fd, &command, sizeof(command), base + PCI_COMMAND) != sizeof(command)) {
        die("command register");
    }
    close(fd);
}

void device_open(struct device *device, const char *name, bool is_bare)
{
    *device = (struct device){
        .is_bare = is_bare, .container = -1, .fd = -1, .name = name, .next_iova = IOVA_FIRST};
    if (!is_bare) {
        open_vfio(device);
    }
    enable(device);
}

volatile uint8_t *device_bar(struct device *device, unsigned index)
{
    if (index >= BARS_N) {
        errno = 0;
        die("number of a BAR");
    }
    if (device->bar[index] == NULL) {
        size_t n_bytes;
        off_t offset = 0;
        int fd = device->fd;
        if (device->is_bare) {
            char file[16];
            struct stat status;
            snprintf(file, sizeof(file), "resource%u", index);
            fd = open_sysfs(device->name, file);
            n_bytes = fstat(fd, &status) == 0 ? (size_t)status.st_size : 0;
        } else {
            struct vfio_region_info info = region(device, index);
            n_bytes = info.size;
            offset = (off_t)info.offset;
        }
        void *at = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
        if (at == MAP_FAILED) {
            die("mapping a BAR");
        }
        device->bar[index] = at;
    }
    return device->bar[index];
}

struct page page_new(void)
{
    void *at = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
    if (at == MAP_FAILED) {
        die("memory");
    }
    memset(at, 0, PAGE_BYTES);
    return (struct page){.at = at};
}

uint64_t page_physical(const struct page *page)
{
    const uint64_t present = UINT64_C(1) << 63;
    const uint64_t frame_mask = (UINT64_C(1) << 55) - 1;
    uint64_t entry = 0;
    int fd = open_or_die("/proc/self/pagemap", O_RDONLY);
    off_t offset = (off_t)((uintptr_t)page->at / PAGE_BYTES * sizeof(entry));
    ssize_t n_bytes = pread(fd, &entry, sizeof(entry), offset);
    close(fd);
    if (n_bytes != sizeof(entry) || (entry & present) == 0 || (entry & frame_mask) == 0) {
        errno = 0;
        die("/proc/self/pagemap");
    }
    return (entry & frame_mask) * PAGE_BYTES;
}

void device_map(struct device *device, struct page *page, enum access access)
{
    if (device->is_bare) {
        page->bus = page_physical(page);
        return;
    }
    struct vfio_iommu_type1_dma_map map = {
        .argsz = sizeof(map),
        .flags = ((access & ACCESS_READ) != 0 ? VFIO_DMA_MAP_FLAG_READ : 0U) |
                 ((access & ACCESS_WRITE) != 0 ? VFIO_DMA_MAP_FLAG_WRITE : 0U),
        .vaddr = (uintptr_t)page->at,
        .iova = device->next_iova,
        .size = PAGE_BYTES,
    };
    if (ioctl(device->container, VFIO_IOMMU_MAP_DMA, &map) < 0) {
        die("mapping a page for the device");
    }
    page->bus = map.iova;
    device->next_iova += PAGE_BYTES;
}

void device_unmap(struct device *device, struct page *page)
{
    if (!device->is_bare) {
        struct vfio_iommu_type1_dma_unmap unmap = {
            .argsz = sizeof(unmap), .iova = page->bus, .size = PAGE_BYTES};
        if (ioctl(device->container, VFIO_IOMMU_UNMAP_DMA, &unmap) < 0) {
            die("unmapping a page");
        }
    }
    page->bus = 0;
}
