#include "table/acl_classes.h"

#include <stdlib.h>
#include <string.h>

bool hg_acl_scratch_take(struct acl_scratch *scratch, struct acl_region *region, uint32_t lines_n,
                         uint32_t rules_n)
{
    uint32_t **by_number[] = {&scratch->class, &scratch->size, &scratch->count, &scratch->split,
                              &scratch->touched};

    for (unsigned i = 0; i < HG_ARRAY_N(by_number); i++)
        if ((*by_number[i] = hg_acl_take(region, ACL_NUMBERS * sizeof(uint32_t))) == NULL)
            return false;
    scratch->bits = hg_acl_take(region, lines_n * sizeof(struct acl_line));
    scratch->base = hg_acl_take(region, lines_n * sizeof(struct acl_line));
    scratch->use = hg_acl_take(region, rules_n * sizeof(struct acl_use));
    return scratch->bits != NULL && scratch->base != NULL && scratch->use != NULL;
}

/* Whether every number is allowed. */
static bool is_any(struct acl_cond cond, bool is_range)
{
    return is_range ? cond.a == 0 && cond.b == UINT16_MAX : cond.b == 0;
}

static bool allows(struct acl_cond cond, bool is_range, uint32_t number)
{
    return is_range ? cond.a <= number && number <= cond.b : (number & cond.b) == cond.a;
}

static uint32_t cond_number(struct acl_cond cond)
{
    return (uint32_t)cond.a << 16 | cond.b;
}

static int compare_uses(const void *a, const void *b)
{
    const struct acl_use *x = a;
    const struct acl_use *y = b;
    uint32_t cx = cond_number(x->cond);
    uint32_t cy = cond_number(y->cond);

    if (cx != cy)
        return cx < cy ? -1 : 1;
    return x->position < y->position ? -1 : 1;
}

bool hg_acl_uses_sort(struct acl_scratch *scratch, uint32_t n, bool is_range)
{
    bool any_condition = false;

    for (uint32_t i = 0; i < n; i++)
        any_condition |= !is_any(scratch->use[i].cond, is_range);
    if (any_condition)
        qsort(scratch->use, n, sizeof(*scratch->use), compare_uses);
    return any_condition;
}

/* Behind the last use that has the same condition as use i. */
static uint32_t next_cond(const struct acl_use *use, uint32_t i, uint32_t n)
{
    uint32_t cond = cond_number(use[i].cond);

    while (i < n && cond_number(use[i].cond) == cond)
        i++;
    return i;
}

/* Ranges: a new class wherever a range begins or has ended. Some may turn out equal; equal rows join them. */
static uint32_t cut_ranges(struct acl_scratch *scratch, uint32_t n)
{
    uint32_t *class = scratch->class;
    uint32_t class_n = 0;

    memset(class, 0, ACL_NUMBERS * sizeof(*class));
    for (uint32_t i = 0; i < n; i = next_cond(scratch->use, i, n)) {
        struct acl_cond cond = scratch->use[i].cond;

        class[cond.a] = 1;
        if (cond.b < UINT16_MAX)
            class[cond.b + 1] = 1;
    }
    class[0] = 0;
    for (uint32_t number = 0; number < ACL_NUMBERS; number++)
        class[number] = class_n += class[number];
    return class_n + 1;
}

/* Splits each class into the numbers that the condition allows and the others. */
static uint32_t split_by(struct acl_scratch *scratch, struct acl_cond cond, uint32_t class_n)
{
    uint16_t free_bits = (uint16_t)~cond.b;
    uint32_t touched_n = 0;
    uint16_t sub = 0;

    do {
        uint32_t class = scratch->class[cond.a | sub];

        if (scratch->count[class]++ == 0)
            scratch->touched[touched_n++] = class;
        sub = (uint16_t)((sub - free_bits) & free_bits); /* the next subset of free_bits */
    } while (sub != 0);

    for (uint32_t i = 0; i < touched_n; i++) {
        uint32_t class = scratch->touched[i];

        scratch->split[class] = class;
        if (scratch->count[class] < scratch->size[class]) {
            scratch->split[class] = class_n;
            scratch->size[class_n++] = scratch->count[class];
            scratch->size[class] -= scratch->count[class];
        }
        scratch->count[class] = 0;
    }
    do {
        uint32_t *class = &scratch->class[cond.a | sub];

        *class = scratch->split[*class];
        sub = (uint16_t)((sub - free_bits) & free_bits);
    } while (sub != 0);
    return class_n;
}

/* Masks: start with one class and split it by each condition. */
static uint32_t split_masks(struct acl_scratch *scratch, uint32_t n)
{
    uint32_t class_n = 1;

    memset(scratch->class, 0, ACL_NUMBERS * sizeof(uint32_t));
    memset(scratch->count, 0, ACL_NUMBERS * sizeof(uint32_t));
    scratch->size[0] = ACL_NUMBERS;
    for (uint32_t i = 0; i < n; i = next_cond(scratch->use, i, n))
        class_n = split_by(scratch, scratch->use[i].cond, class_n);
    return class_n;
}

static void set_bit(struct acl_line *bits, uint32_t position)
{
    struct acl_line *line = &bits[position / ACL_LINE_BITS];

    line->word[position % ACL_LINE_BITS / 64] |= UINT64_C(1) << position % 64;
}

/* The rules that look at no number of this field. */
static void find_base(struct acl_scratch *scratch, uint32_t lines_n, uint32_t n, bool is_range)
{
    memset(scratch->base, 0, lines_n * sizeof(*scratch->base));
    for (uint32_t i = 0; i < n; i++)
        if (is_any(scratch->use[i].cond, is_range))
            set_bit(scratch->base, scratch->use[i].position);
}

/* One of each distinct condition, with where its uses begin and end, in memory that classes no longer need. */
static uint32_t list_conds(struct acl_scratch *scratch, uint32_t n, bool is_range)
{
    uint32_t cond_n = 0;

    for (uint32_t i = 0, end; i < n; i = end) {
        end = next_cond(scratch->use, i, n);
        if (!is_any(scratch->use[i].cond, is_range))
            scratch->touched[cond_n++] = i;
    }
    return cond_n;
}

bool hg_acl_classify(struct acl_work *work, struct acl_scratch *scratch, uint32_t n, bool is_range,
                     struct acl_rows *rows)
{
    uint32_t class_n = is_range ? cut_ranges(scratch, n) : split_masks(scratch, n);
    uint32_t *final = scratch->split;
    uint32_t cond_n;

    if (!hg_acl_rows_begin(work, rows, class_n))
        return false;
    memset(final, 0xff, class_n * sizeof(*final));
    find_base(scratch, work->lines_n, n, is_range);
    cond_n = list_conds(scratch, n, is_range);
    for (uint32_t number = 0; number < ACL_NUMBERS; number++) {
        uint32_t *class = &scratch->class[number];

        if (final[*class] == UINT32_MAX) { /* the first number of its class stands for it */
            memcpy(scratch->bits, scratch->base, work->lines_n * sizeof(*scratch->bits));
            for (uint32_t c = 0; c < cond_n; c++) {
                uint32_t use = scratch->touched[c];
                struct acl_cond cond = scratch->use[use].cond;

                if (!allows(cond, is_range, number))
                    continue;
                for (; use < n && cond_number(scratch->use[use].cond) == cond_number(cond); use++)
                    set_bit(scratch->bits, scratch->use[use].position);
            }
            final[*class] = hg_acl_rows_add(work, rows, scratch->bits);
            if (final[*class] == UINT32_MAX)
                return false;
        }
        *class = final[*class];
    }
    hg_acl_rows_end(work, rows);
    return true;
}

enum { BLOCK = 256 }; /* numbers with the same first byte */

static bool is_constant(const uint32_t *block)
{
    for (unsigned i = 1; i < BLOCK; i++)
        if (block[i] != block[0])
            return false;
    return true;
}

static uint16_t *take_table(struct acl_region *out, uint32_t n)
{
    return hg_acl_take(out, n * sizeof(uint16_t) + ACL_TABLE_PAD);
}

/* A table by one byte: the classes of 256 numbers that lie `step` apart. */
static bool one_table(struct acl_field *field, const uint32_t *class, unsigned step,
                      struct acl_region *out)
{
    uint16_t *table = take_table(out, BLOCK);

    if (table == NULL)
        return false;
    for (unsigned i = 0; i < BLOCK; i++)
        table[i] = (uint16_t) class[i * step];
    field->first = table;
    field->second = NULL;
    return true;
}

/* The number of different blocks; from[i]: which first byte has the same block as i first. */
static unsigned find_blocks(const uint32_t *class, uint16_t from[BLOCK])
{
    unsigned n = 0;

    for (unsigned i = 0; i < BLOCK; i++) {
        unsigned j = 0;

        while (j < i && (from[j] != j ||
                         memcmp(class + i * BLOCK, class + j * BLOCK, BLOCK * sizeof(*class)) != 0))
            j++;
        from[i] = (uint16_t)j;
        n += j == i;
    }
    return n;
}

bool hg_acl_field_tables(struct acl_field *field, const uint32_t *class, struct acl_region *out)
{
    uint16_t from[BLOCK] = {0};
    unsigned block_n = find_blocks(class, from);
    bool all_constant = true;
    uint16_t *first, *second;
    unsigned n = 0;

    for (unsigned i = 0; i < BLOCK && all_constant; i++)
        all_constant = is_constant(class + i * BLOCK);
    if (all_constant)
        return one_table(field, class, BLOCK, out);
    if (block_n == 1) {
        field->first_byte = field->second_byte;
        return one_table(field, class, 1, out);
    }
    first = take_table(out, BLOCK);
    second = take_table(out, block_n * BLOCK);
    if (first == NULL || second == NULL)
        return false;
    for (unsigned i = 0; i < BLOCK; i++) {
        first[i] = from[i] == i ? (uint16_t)(n * BLOCK) : first[from[i]];
        for (unsigned j = 0; from[i] == i && j < BLOCK; j++)
            second[n * BLOCK + j] = (uint16_t) class[i * BLOCK + j];
        n += from[i] == i;
    }
    field->first = first;
    field->second = second;
    return true;
}
