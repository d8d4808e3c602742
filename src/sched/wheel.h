/*
 * The timing wheel: entries that wait for a tick, in slots of half a microsecond to one. Putting
 * one in, taking one out and finding the next occupied slot take constant time: a bitmap of two
 * levels.
 *
 * An entry comes out with the first slot that begins at its tick or later: up to a slot late, never
 * early. One further away than the wheel reaches lies in its farthest slot and comes out early; who
 * takes it out looks whether it is time, and puts it in again. Late costs a subport nothing: its
 * tokens come meanwhile.
 *
 * (Varghese and Lauck, "Hashed and hierarchical timing wheels", 1987: scheme 4, and a scan of bits
 * instead of a step per tick. A heap would be exact and cost its depth for every packet that
 * waits.)
 */
#ifndef HG_SCHED_WHEEL_H
#define HG_SCHED_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WHEEL_SLOTS_N = 4096,
    WHEEL_WORDS_N = WHEEL_SLOTS_N / 64,
};

_Static_assert(WHEEL_WORDS_N == 64, "one word says which words of the bitmap are not 0");

/* Part of what waits. */
struct wheel_entry {
    struct wheel_entry *next;
    struct wheel_entry *previous; /* NULL: the first of its slot */
    uint32_t slot;
};

struct wheel {
    unsigned shift;   /* ticks of a slot: 1 << shift */
    uint64_t past;    /* slots up to this one, counted from tick 0, are over and empty */
    uint64_t summary; /* a bit for each word that is not 0 */
    uint64_t word[WHEEL_WORDS_N];
    struct wheel_entry *first[WHEEL_SLOTS_N]; /* by slot modulo WHEEL_SLOTS_N */
};

/* An empty wheel (zeroed by who allocates it) with slots of at most a microsecond. */
static inline void wheel_init(struct wheel *wheel, uint64_t clock_hz)
{
    wheel->shift = 63u - (unsigned)__builtin_clzll(clock_hz / UINT64_C(1000000));
}

/* The tick at which everything in a slot is due. */
static inline uint64_t wheel_tick(const struct wheel *wheel, uint64_t slot)
{
    return slot << wheel->shift;
}

/* The first occupied slot; UINT64_MAX when there is none. */
static inline uint64_t wheel_next(const struct wheel *wheel)
{
    uint64_t from = wheel->past + 1;
    unsigned in_word = from % 64;
    unsigned word = from / 64 % WHEEL_WORDS_N;
    uint64_t bits = wheel->word[word] >> in_word;
    unsigned start = (word + 1) % 64;
    unsigned words;

    if (bits != 0)
        return from + (unsigned)__builtin_ctzll(bits);
    if (wheel->summary == 0)
        return UINT64_MAX;
    /* Words in turn from the one behind; the one of `from` comes last, with what is before
     * `from`. */
    bits = wheel->summary >> start | wheel->summary << (64 - start) % 64;
    words = (unsigned)__builtin_ctzll(bits);
    return from - in_word + UINT64_C(64) * (words + 1) +
           (unsigned)__builtin_ctzll(wheel->word[(start + words) % 64]);
}

/* Puts an entry in that is to come out at tick `at`. */
static inline void wheel_put(struct wheel *wheel, struct wheel_entry *entry, uint64_t at)
{
    uint64_t slot = (at >> wheel->shift) + ((at & ((UINT64_C(1) << wheel->shift) - 1)) != 0);
    uint32_t i;

    if (slot <= wheel->past)
        slot = wheel->past + 1;
    else if (slot > wheel->past + WHEEL_SLOTS_N)
        slot = wheel->past + WHEEL_SLOTS_N;
    i = (uint32_t)(slot % WHEEL_SLOTS_N);
    entry->slot = i;
    entry->previous = NULL;
    entry->next = wheel->first[i];
    if (entry->next)
        entry->next->previous = entry;
    wheel->first[i] = entry;
    wheel->word[i / 64] |= UINT64_C(1) << i % 64;
    wheel->summary |= UINT64_C(1) << i / 64;
}

/* Takes an entry out, wherever it lies. */
static inline void wheel_remove(struct wheel *wheel, struct wheel_entry *entry)
{
    uint32_t i = entry->slot;

    if (entry->next)
        entry->next->previous = entry->previous;
    if (entry->previous) {
        entry->previous->next = entry->next;
        return;
    }
    wheel->first[i] = entry->next;
    if (entry->next)
        return;
    wheel->word[i / 64] &= ~(UINT64_C(1) << i % 64);
    if (wheel->word[i / 64] == 0)
        wheel->summary &= ~(UINT64_C(1) << i / 64);
}

/* Takes an entry out that is due at tick `now`; NULL when none is left. `now` does not go back. */
static inline struct wheel_entry *wheel_take(struct wheel *wheel, uint64_t now)
{
    uint64_t over = now >> wheel->shift;
    struct wheel_entry *entry;
    uint64_t slot;

    if (over <= wheel->past)
        return NULL;
    slot = wheel_next(wheel);
    if (slot > over) {
        wheel->past = over;
        return NULL;
    }
    wheel->past = slot - 1;
    entry = wheel->first[slot % WHEEL_SLOTS_N];
    wheel_remove(wheel, entry);
    return entry;
}

#endif
