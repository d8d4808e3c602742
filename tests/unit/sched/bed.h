/*
 * What the scheduler's tests share: a scheduler in an arena, packets that are numbers, and a source
 * that keeps queues full.
 */
#ifndef HG_TESTS_UNIT_SCHED_BED_H
#define HG_TESTS_UNIT_SCHED_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem/arena.h"
#include "sched/sched.h"

struct bed {
    struct hg_arena *arena;
    struct hg_sched *sched;
};

static inline struct bed bed_new(const struct hg_sched_options *options)
{
    struct hg_arena_options memory = {
        .name = "test", .bytes = hg_sched_bytes(options) + 4096, .pages = HG_PAGES_4K};
    struct hg_err err = {""};
    struct bed bed;

    assert_true(hg_sched_bytes(options) != 0);
    assert_int_equal(hg_arena_new(&bed.arena, &memory, &err), 0);
    assert_int_equal(hg_sched_new(&bed.sched, bed.arena, options, &err), 0);
    return bed;
}

static inline void bed_free(struct bed *bed)
{
    hg_arena_free(bed->arena);
}

/* A packet that is nothing but its length and its queue. */
static inline void *packet(uint32_t len, uint32_t queue)
{
    return (void *)((uintptr_t)queue << 32 | len);
}

static inline uint32_t packet_len(const void *what)
{
    return (uint32_t)(uintptr_t)what;
}

static inline uint32_t packet_queue(const void *what)
{
    return (uint32_t)((uintptr_t)what >> 32);
}

/* Whether there was room. */
static inline int give(struct bed *bed, uint32_t queue, uint32_t len)
{
    struct hg_sched_item item = {.what = packet(len, queue), .len = len, .queue = queue};

    return hg_sched_enqueue(bed->sched, &item, 1) == 0;
}

#endif
