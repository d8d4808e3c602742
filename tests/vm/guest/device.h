/*
 * A PCI device driven from user space, in one of two ways:
 *
 *   over VFIO, behind the guest's IOMMU: the device reaches a page only while it is mapped, at an
 *   address that we choose and that is not its physical one;
 *   bare, in a guest without IOMMU: the device reaches everything, by physical address.
 *
 * Whatever fails that need not fail ends the program with status 2. One device, one thread.
 */
#ifndef HG_TESTS_VM_DEVICE_H
#define HG_TESTS_VM_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAGE_BYTES = 4096, BARS_N = 6 };

enum access { ACCESS_READ = 1, ACCESS_WRITE = 2, ACCESS_BOTH = 3 };

struct device {
    bool is_bare;
    int container, fd;  /* VFIO's; -1: bare */
    const char *name;   /* the PCI address, such as 0000:00:02.0 */
    uint64_t next_iova; /* each mapping gets an address of its own, never used before */
    uint8_t *bar[BARS_N];
};

/* A page of this process, locked in memory, zero at first. */
struct page {
    uint8_t *at;
    uint64_t bus; /* the device's address of it; 0: the device has none */
};

/* Takes the device over, which must be bound to vfio-pci, or to nothing if bare; lets it access
 * memory, as far as the IOMMU allows. */
void device_open(struct device *device, const char *name, bool is_bare);

/* Reads `n_bytes` of the configuration space. */
void device_config(const struct device *device, size_t offset, void *to, size_t n_bytes);

/* Where the registers behind a base address register are in this process. */
volatile uint8_t *device_bar(struct device *device, unsigned index);

/* A new page, which the device has no address of. */
struct page page_new(void);

/* The guest-physical address of a page, as the kernel says
 * (Documentation/admin-guide/mm/pagemap). */
uint64_t page_physical(const struct page *page);

/* Lets the device access the page and sets page->bus. Bare devices can anyway. */
void device_map(struct device *device, struct page *page, enum access access);

/* Takes the access back: when this returns, no device's cache may hold the translation. */
void device_unmap(struct device *device, struct page *page);

_Noreturn void die(const char *what);
void pause_ms(unsigned ms);

#endif
