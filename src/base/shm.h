/*
 * The one door to shared memory: memory that a guest or another process writes at any time.
 *
 * Rule: load once into a local, validate the local, never look back. No other file may dereference
 * a pointer into shared memory, but for the checksum (wire/csum.h), which only adds up what it
 * reads. Multi-byte fields are little-endian (virtio 1.2, 1.4); hosts are too.
 *
 * Orderings that the rings need, each with its pair on the peer's side (virtio 1.2, 2.7.13):
 *   load16_acquire   avail->idx by the device     pairs with the driver's store of avail->idx after
 *                                                 its descriptors; used->idx by the driver likewise
 *   store16_release  used->idx by the device      pairs with the driver's load of used->idx before
 *                                                 it reads used elements and buffers
 *   publish_then_look  between "I published an index" and "does the peer want to be told", and
 *                      between "I asked to be told" and "is there anything already". Pairs with the
 *                      same full barrier on the peer: of the two sides at least one sees the other.
 */
#ifndef HG_BASE_SHM_H
#define HG_BASE_SHM_H

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "virtio fields are used without swapping");

static inline uint16_t hg_shm_load16(const void *shared)
{
    return atomic_load_explicit((const _Atomic uint16_t *)shared, memory_order_relaxed);
}

static inline uint16_t hg_shm_load16_acquire(const void *shared)
{
    return atomic_load_explicit((const _Atomic uint16_t *)shared, memory_order_acquire);
}

static inline void hg_shm_store16(void *shared, uint16_t value)
{
    atomic_store_explicit((_Atomic uint16_t *)shared, value, memory_order_relaxed);
}

static inline void hg_shm_store16_release(void *shared, uint16_t value)
{
    atomic_store_explicit((_Atomic uint16_t *)shared, value, memory_order_release);
}

static inline uint32_t hg_shm_load32(const void *shared)
{
    return atomic_load_explicit((const _Atomic uint32_t *)shared, memory_order_relaxed);
}

static inline void hg_shm_store32(void *shared, uint32_t value)
{
    atomic_store_explicit((_Atomic uint32_t *)shared, value, memory_order_relaxed);
}

static inline uint64_t hg_shm_load64(const void *shared)
{
    return atomic_load_explicit((const _Atomic uint64_t *)shared, memory_order_relaxed);
}

static inline void hg_shm_store64(void *shared, uint64_t value)
{
    atomic_store_explicit((_Atomic uint64_t *)shared, value, memory_order_relaxed);
}

/* The full barrier named above. */
static inline void hg_shm_publish_then_look(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

/* Copies n bytes of shared memory into private memory: the snapshot to validate. The empty assembly
 * tells the compiler that shared memory changes on its own; without it, it might load a field a
 * second time from there instead of keeping the local (the double fetch that compilers make). */
static inline void hg_shm_in(void *private_dst, const void *shared, size_t n)
{
    memcpy(private_dst, shared, n);
    __asm__ volatile("" : : : "memory");
}

/* As memcpy, inline, for the tens of bytes of a frame's head, where a call costs as much as the
 * copy. Whole blocks, then one that overlaps them: bytes may be read twice, and the last value
 * stays. */
static inline void hg_shm_copy_short(uint8_t *dst, const uint8_t *src, size_t n)
{
    size_t at = 0;

    for (; at + 64 <= n; at += 64)
        memcpy(dst + at, src + at, 64);
    if (n >= 64 && at < n) {
        memcpy(dst + n - 64, src + n - 64, 64);
    } else if (at < n) {
        for (; at + 16 <= n; at += 16)
            memcpy(dst + at, src + at, 16);
        if (n >= 16)
            memcpy(dst + n - 16, src + n - 16, 16);
        else
            memcpy(dst, src, n);
    }
}

/* hg_shm_in() and hg_shm_out() for heads. */
static inline void hg_shm_in_short(void *private_dst, const void *shared, size_t n)
{
    hg_shm_copy_short(private_dst, shared, n);
    __asm__ volatile("" : : : "memory");
}

static inline void hg_shm_out_short(void *shared, const void *private_src, size_t n)
{
    hg_shm_copy_short(shared, private_src, n);
}

/* Copies n private bytes into shared memory. */
static inline void hg_shm_out(void *shared, const void *private_src, size_t n)
{
    memcpy(shared, private_src, n);
}

/* Copies n bytes between two shared places, which may belong to different peers. */
static inline void hg_shm_through(void *shared_dst, const void *shared_src, size_t n)
{
    memcpy(shared_dst, shared_src, n);
}

/* Hints that a line will be read, or written, soon. Any address is allowed. */
static inline void hg_shm_expect_read(const void *shared)
{
    __builtin_prefetch(shared, 0, 3);
}

static inline void hg_shm_expect_write(const void *shared)
{
    __builtin_prefetch(shared, 1, 3);
}

#endif
