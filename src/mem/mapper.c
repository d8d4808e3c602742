/*
 * The list of arenas and the mappers, under one lock: a mapper has mapped exactly the arenas of the
 * list at every moment at which nobody holds it.
 */
#include "mem/mapper.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "mem/state.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hg_arena *arenas; /* in the order of their creation */
static struct hg_mapper *mappers;

/* The range that begins `offset` bytes into the arena. */
static struct hg_dma_range range_at(const struct hg_arena *arena, uint64_t offset)
{
    struct hg_dma_range range = {.address = arena->base + offset, .page_bytes = arena->page_bytes};

    range.iova = hg_arena_iova(arena, range.address, &range.bytes);
    return range;
}

/* Unmaps what lies before `end`; mapping has begun at the same place, so the ranges are the
 * same. */
static void unmap(const struct hg_mapper *mapper, const struct hg_arena *arena, uint64_t end)
{
    struct hg_dma_range range;

    for (uint64_t offset = 0; offset < end; offset += range.bytes) {
        range = range_at(arena, offset);
        mapper->unmap(mapper->context, &range);
    }
}

static int map(const struct hg_mapper *mapper, const struct hg_arena *arena, struct hg_err *err)
{
    struct hg_dma_range range;

    for (uint64_t offset = 0; offset < arena->bytes; offset += range.bytes) {
        struct hg_err why = {.text = "no reason given"};
        int rc;

        range = range_at(arena, offset);
        rc = mapper->map(mapper->context, &range, &why);
        if (rc < 0) {
            unmap(mapper, arena, offset);
            return hg_err_set(err, -rc, "%s: cannot map memory '%s' for devices: %s", mapper->name,
                              arena->name, why.text);
        }
    }
    return 0;
}

int hg_arenas_add(struct hg_arena *arena, struct hg_err *err)
{
    struct hg_arena **link = &arenas;
    int rc = 0;

    pthread_mutex_lock(&lock);
    for (struct hg_mapper *mapper = mappers; mapper != NULL && rc == 0; mapper = mapper->next) {
        rc = map(mapper, arena, err);
        for (struct hg_mapper *done = mappers; rc < 0 && done != mapper; done = done->next)
            unmap(done, arena, arena->bytes);
    }
    if (rc == 0) {
        while (*link != NULL)
            link = &(*link)->next;
        *link = arena;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

void hg_arenas_remove(struct hg_arena *arena)
{
    struct hg_arena **link = &arenas;

    pthread_mutex_lock(&lock);
    for (struct hg_mapper *mapper = mappers; mapper != NULL; mapper = mapper->next)
        unmap(mapper, arena, arena->bytes);
    while (*link != arena)
        link = &(*link)->next;
    *link = arena->next;
    pthread_mutex_unlock(&lock);
}

void hg_arenas_each(void (*see)(void *context, const struct hg_arena *arena), void *context)
{
    pthread_mutex_lock(&lock);
    for (const struct hg_arena *arena = arenas; arena != NULL; arena = arena->next)
        see(context, arena);
    pthread_mutex_unlock(&lock);
}

int hg_mapper_register(struct hg_mapper *mapper, struct hg_err *err)
{
    int rc = 0;

    pthread_mutex_lock(&lock);
    for (struct hg_arena *arena = arenas; arena != NULL && rc == 0; arena = arena->next) {
        rc = map(mapper, arena, err);
        for (struct hg_arena *done = arenas; rc < 0 && done != arena; done = done->next)
            unmap(mapper, done, done->bytes);
    }
    if (rc == 0) {
        mapper->next = mappers;
        mappers = mapper;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

void hg_mapper_unregister(struct hg_mapper *mapper)
{
    struct hg_mapper **link = &mappers;

    pthread_mutex_lock(&lock);
    while (*link != mapper)
        link = &(*link)->next;
    *link = mapper->next;
    for (const struct hg_arena *arena = arenas; arena != NULL; arena = arena->next)
        unmap(mapper, arena, arena->bytes);
    pthread_mutex_unlock(&lock);
}
