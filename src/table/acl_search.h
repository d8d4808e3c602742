/*
 * The part of the ACL's lookup that the plain and the vector version share: the search in rows of
 * bits. Inline, so that each has it with its own way to intersect lines.
 *
 * How many lines a packet has to look at differs from packet to packet, and a loop over them would
 * be mispredicted for most. So it goes in rounds: one line of every packet that needs another one.
 */
#ifndef HG_TABLE_ACL_SEARCH_H
#define HG_TABLE_ACL_SEARCH_H

#include "table/acl_internal.h"

/* The search of a burst. Rows are those of the classes left over: of left l and packet i. */
struct acl_rounds {
    const uint32_t *row[ACL_FIELDS_MAX][ACL_BURST];
    uint64_t lines[ACL_BURST]; /* still to look at */
    uint32_t best_rank[ACL_BURST];
    uint32_t best[ACL_BURST]; /* position + 1 */
    /* Packets that need another round. clang 14's analyser loses sight of the loop that fills
     * it. */
    uint8_t open[ACL_BURST];
    unsigned open_n;
};

/* Asks for the next line of each row of packet i. */
static inline void acl_expect_line(const struct acl_set *set, const struct acl_rounds *rounds,
                                   unsigned i)
{
    unsigned line = (unsigned)__builtin_ctzll(rounds->lines[i]);

    for (unsigned l = 0; l < set->left_n; l++)
        __builtin_prefetch(&set->line[rounds->row[l][i][2 + line]]);
}

static inline void acl_begin_rounds(struct acl_rounds *rounds, const struct acl_set *set,
                                    const struct acl_classes *classes, unsigned n)
{
    for (unsigned l = 0; l < set->left_n; l++) {
        const uint32_t *class = classes->slot[set->left[l].slot];

        for (unsigned i = 0; i < n; i++) {
            rounds->row[l][i] = set->left[l].row + (uint64_t) class[i] * set->row_words;
            __builtin_prefetch(rounds->row[l][i]);
        }
    }
    rounds->open_n = 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t lines = UINT64_MAX;

        for (unsigned l = 0; l < set->left_n; l++)
            lines &= acl_row_lines(rounds->row[l][i]);
        rounds->lines[i] = lines;
        rounds->best_rank[i] = UINT32_MAX;
        rounds->best[i] = 0;
        rounds->open[rounds->open_n] = (uint8_t)i;
        rounds->open_n += lines != 0;
    }
    for (unsigned j = 0; j < rounds->open_n; j++)
        acl_expect_line(set, rounds, rounds->open[j]);
}

/* first_in_line() gives the first bit in the intersection of a line of packet i's rows, or
 * ACL_LINE_BITS. */
static inline void acl_search_rows(const struct acl_set *set, const struct acl_classes *classes,
                                   uint32_t *data, unsigned n,
                                   unsigned (*first_in_line)(const struct acl_set *,
                                                             const struct acl_rounds *, unsigned i,
                                                             unsigned line))
{
    struct acl_rounds rounds;

    acl_begin_rounds(&rounds, set, classes, n);
    while (rounds.open_n > 0) {
        unsigned open_n = 0;

        for (unsigned j = 0; j < rounds.open_n; j++) {
            unsigned i = rounds.open[j];
            unsigned line = (unsigned)__builtin_ctzll(rounds.lines[i]);
            unsigned first = first_in_line(set, &rounds, i, line); // NOLINT: open[] is filled
            uint32_t at = first < ACL_LINE_BITS ? line * ACL_LINE_BITS + first : set->no_rule;
            uint32_t rank = set->rank[at];
            uint64_t more = rounds.lines[i] & (rounds.lines[i] - 1);
            unsigned next = (unsigned)__builtin_ctzll(more | UINT64_C(1) << 63);

            rounds.best[i] = rank < rounds.best_rank[i] ? at + 1 : rounds.best[i];
            rounds.best_rank[i] = hg_min_u32(rank, rounds.best_rank[i]);
            rounds.lines[i] = more;
            rounds.open[open_n] = (uint8_t)i;
            /* Lines come in the order of their best rule. */
            open_n += more != 0 && set->line_rank[next] < rounds.best_rank[i];
        }
        rounds.open_n = open_n;
        for (unsigned j = 0; j < open_n; j++)
            acl_expect_line(set, &rounds, rounds.open[j]); // NOLINT: open[] is filled
    }
    for (unsigned i = 0; i < n; i++)
        data[i] = set->data[rounds.best[i]];
}

#endif
