/*
 * The ACL's lookup for any machine. Step by step for the whole burst, so that the loads of
 * different packets, which do not depend on each other, overlap.
 *
 * How many lines a packet has to look at differs from packet to packet, and a loop over them would
 * be mispredicted for most. So it goes in rounds: one line of every packet that needs another one.
 */
#include "table/acl_internal.h"

static void find_classes(const struct acl_set *set, const uint8_t *keys,
                         struct acl_classes *classes, unsigned n)
{
    for (unsigned f = 0; f < set->fields_n; f++) {
        const struct acl_field *field = &set->field[f];
        const uint8_t *key = keys;
        uint32_t *slot = classes->slot[f];

        if (field->second != NULL)
            for (unsigned i = 0; i < n; i++, key += set->key_bytes)
                slot[i] =
                    field->second[field->first[key[field->first_byte]] + key[field->second_byte]];
        else
            for (unsigned i = 0; i < n; i++, key += set->key_bytes)
                slot[i] = field->first[key[field->first_byte]];
    }
    for (unsigned m = 0; m < set->merges_n; m++) {
        const struct acl_merge *merge = &set->merge[m];
        const uint32_t *a = classes->slot[merge->a];
        const uint32_t *b = classes->slot[merge->b];
        uint32_t *slot = classes->slot[set->fields_n + m];

        for (unsigned i = 0; i < n; i++)
            slot[i] = merge->table[a[i] * merge->b_n + b[i]];
    }
}

/* The search of a burst. Rows are those of the classes left over: of left l and packet i. */
struct rounds {
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
static void expect_line(const struct acl_set *set, const struct rounds *rounds, unsigned i)
{
    unsigned line = (unsigned)__builtin_ctzll(rounds->lines[i]);

    for (unsigned l = 0; l < set->left_n; l++)
        __builtin_prefetch(&set->line[rounds->row[l][i][2 + line]]);
}

static void begin_rounds(struct rounds *rounds, const struct acl_set *set,
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
        expect_line(set, rounds, rounds->open[j]);
}

/* The first bit in the intersection of a line of packet i's rows, or ACL_LINE_BITS. */
static unsigned first_in_line(const struct acl_set *set, const struct rounds *rounds, unsigned i,
                              unsigned line)
{
    for (unsigned word = 0; word < ACL_LINE_WORDS; word++) {
        uint64_t bits = UINT64_MAX;

        for (unsigned l = 0; l < set->left_n; l++)
            bits &= set->line[rounds->row[l][i][2 + line]].word[word];
        if (bits != 0)
            return word * 64 + (unsigned)__builtin_ctzll(bits);
    }
    return ACL_LINE_BITS;
}

static void search_rows(const struct acl_set *set, const struct acl_classes *classes,
                        uint32_t *data, unsigned n)
{
    struct rounds rounds;

    begin_rounds(&rounds, set, classes, n);
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
            expect_line(set, &rounds, rounds.open[j]); // NOLINT: open[] is filled
    }
    for (unsigned i = 0; i < n; i++)
        data[i] = set->data[rounds.best[i]];
}

void hg_acl_search_plain(const struct acl_set *set, const uint8_t *keys, uint32_t *data, unsigned n)
{
    struct acl_classes classes;

    if (set->left_n == 0) {
        for (unsigned i = 0; i < n; i++)
            data[i] = set->data[0];
        return;
    }
    find_classes(set, keys, &classes, n);
    if (set->left_n == 1)
        for (unsigned i = 0; i < n; i++)
            data[i] = set->data[classes.slot[set->left[0].slot][i]];
    else
        search_rows(set, &classes, data, n);
}
