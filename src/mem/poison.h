/*
 * AddressSanitizer's word for memory that exists and must not be touched; nothing in other builds.
 * Works on any memory, ours included: mappings, arenas, pools.
 */
#ifndef HG_MEM_POISON_H
#define HG_MEM_POISON_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define HG_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HG_ASAN 1
#endif
#endif

#ifdef HG_ASAN
#include <sanitizer/asan_interface.h>

static inline void hg_poison(const void *memory, size_t bytes)
{
    __asan_poison_memory_region(memory, bytes);
}

static inline void hg_unpoison(const void *memory, size_t bytes)
{
    __asan_unpoison_memory_region(memory, bytes);
}
#else
static inline void hg_poison(const void *memory, size_t bytes)
{
    (void)memory;
    (void)bytes;
}

static inline void hg_unpoison(const void *memory, size_t bytes)
{
    (void)memory;
    (void)bytes;
}
#endif

#endif
