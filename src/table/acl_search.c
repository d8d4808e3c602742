/*
 * The ACL's lookup for any machine. Step by step for the whole burst, so that the loads of
 * different packets, which do not depend on each other, overlap.
 */
#include "table/acl_search.h"

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

static unsigned first_in_line(const struct acl_set *set, const struct acl_rounds *rounds,
                              unsigned i, unsigned line)
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
        acl_search_rows(set, &classes, data, n, first_in_line);
}
