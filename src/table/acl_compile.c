/*
 * The ACL's compiler: rules in, tables out. The steps are those of acl_internal.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "table/acl_classes.h"

/* Parts of a key: what belongs together is merged first. Networks are few beside the pairs of their
 * halves, so these merges give fewer classes than they could; merges across parts seldom do. */
enum part { PART_SRC, PART_DST, PART_REST };

/* A class that no merge has taken yet. */
struct open_slot {
    struct acl_rows rows;
    uint8_t slot;
    uint8_t part;
};

struct compilation {
    struct acl_set *set;
    const struct acl_layout *layout;
    const struct hg_acl_rule *rules;
    const uint32_t *index; /* from the best rule to the worst */
    uint32_t n;
    struct acl_region *out;
    uint64_t merge_end; /* of out: how far merges may fill it */
    struct acl_work work;
    struct acl_scratch scratch;
    uint32_t *position; /* by rank: of the rule */
    uint32_t *rank;     /* by position */
    uint32_t *data;     /* by position + 1; [0] for no rule */
    struct open_slot open[ACL_FIELDS_MAX];
    unsigned open_n;
};

struct place {
    uint64_t key;
    uint32_t rank;
};

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a;
    const struct place *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->rank < y->rank ? -1 : 1;
}

static int compare_ranks(const void *a, const void *b)
{
    const struct place *x = a;
    const struct place *y = b;

    return x->rank < y->rank ? -1 : 1;
}

static uint64_t front_of(const struct hg_acl_addr *addr)
{
    uint64_t front = 0;

    for (unsigned i = 0; i < 8; i++)
        front = front << 8 | addr->bytes[i];
    return front;
}

/* Neighbours in this order share a line. Rules that name a source network come first, by source;
 * then those that name a destination, by destination: each such number then has bits in few
 * lines. */
static uint64_t place_key(const struct hg_acl_rule *rule)
{
    uint64_t src = front_of(&rule->src);
    uint64_t dst = front_of(&rule->dst);

    if (rule->src.mask[0] == 0xff)
        return (src | dst >> 32) >> 2;
    if (rule->dst.mask[0] == 0xff)
        return UINT64_C(1) << 62 | (dst | src >> 32) >> 2;
    return UINT64_C(2) << 62 | rule->dst_port.first;
}

/* Gives each rule its position. The scratch memory is large enough: 16 bytes for each rule. */
static void place_rules(struct compilation *c, struct place *place)
{
    uint32_t lines_n = c->work.lines_n;
    struct place line[ACL_LINES_MAX] = {{0, 0}};

    for (uint32_t i = 0; i < c->n; i++)
        place[i] = (struct place){lines_n > 1 ? place_key(&c->rules[c->index[i]]) : 0, i};
    qsort(place, c->n, sizeof(*place), compare_places);
    for (uint32_t l = 0; l < lines_n; l++) {
        uint32_t at = l * ACL_LINE_BITS;

        qsort(place + at, hg_min_u32(ACL_LINE_BITS, c->n - at), sizeof(*place), compare_ranks);
        line[l] = (struct place){at, place[at].rank};
    }
    qsort(line, lines_n, sizeof(*line), compare_ranks);

    c->data[0] = HG_ACL_NONE;
    memset(c->rank, 0xff, (c->set->no_rule + 1) * sizeof(*c->rank));
    for (uint32_t l = 0; l < lines_n; l++) {
        for (uint32_t i = 0; i < ACL_LINE_BITS && line[l].key + i < c->n; i++) {
            uint32_t rank = place[line[l].key + i].rank;
            uint32_t position = l * ACL_LINE_BITS + i;

            c->position[rank] = position;
            c->rank[position] = rank;
            c->data[position + 1] = c->rules[c->index[rank]].data;
        }
        c->set->line_rank[l] = line[l].rank;
    }
}

static bool compile_field(struct compilation *c, unsigned f)
{
    unsigned addr_fields = (c->layout->fields_n - 4u) / 2;
    bool is_range = c->layout->field[f].is_range;
    struct acl_set *set = c->set;
    struct open_slot *open = &c->open[c->open_n];

    for (uint32_t i = 0; i < c->n; i++) {
        struct acl_use *use = &c->scratch.use[i];

        use->cond = hg_acl_cond_of(&c->rules[c->index[i]], c->layout, f);
        use->position = c->position[i];
    }
    if (!hg_acl_uses_sort(&c->scratch, c->n, is_range))
        return true;
    set->field[set->fields_n].first_byte = c->layout->field[f].first_byte;
    set->field[set->fields_n].second_byte = c->layout->field[f].second_byte;
    if (!hg_acl_classify(&c->work, &c->scratch, c->n, is_range, &open->rows) ||
        !hg_acl_field_tables(&set->field[set->fields_n], c->scratch.class, c->out))
        return false;
    open->slot = set->fields_n++;
    open->part = f >= 2 * addr_fields ? PART_REST : f < addr_fields ? PART_SRC : PART_DST;
    c->open_n++;
    return true;
}

/* Fills the table of a merge; the last merge of all gives rules instead of classes. false: no
 * room. */
static bool fill_merge(struct compilation *c, uint16_t *table, const struct acl_rows *a,
                       const struct acl_rows *b, struct acl_rows *both)
{
    bool is_last = c->open_n == 2;

    if (!is_last && !hg_acl_rows_begin(&c->work, both, ACL_CLASSES_MAX))
        return false;
    for (uint32_t i = 0; i < a->n; i++) {
        const uint32_t *row_a = acl_rows_get(&c->work, a, i);

        for (uint32_t j = 0; j < b->n; j++) {
            const uint32_t *row_b = acl_rows_get(&c->work, b, j);
            uint32_t class = is_last ? hg_acl_best_of(&c->work, c->rank, row_a, row_b)
                                     : hg_acl_rows_add_and(&c->work, both, row_a, row_b);

            if (class == UINT32_MAX)
                return false;
            *table++ = (uint16_t) class;
        }
    }
    if (!is_last)
        hg_acl_rows_end(&c->work, both);
    return true;
}

/* Merges two of the open slots. false, and nothing has changed: the result finds no room. */
static bool merge(struct compilation *c, unsigned a, unsigned b)
{
    struct acl_set *set = c->set;
    uint64_t cells = (uint64_t)c->open[a].rows.n * c->open[b].rows.n;
    struct acl_region out_before = *c->out;
    struct acl_region work_before = *c->work.region;
    struct acl_rows both = {NULL, 0, 0};
    uint16_t *table = hg_acl_take(c->out, cells * sizeof(*table) + ACL_TABLE_PAD);

    if (table == NULL || c->out->used > c->merge_end ||
        !fill_merge(c, table, &c->open[a].rows, &c->open[b].rows, &both)) {
        *c->out = out_before;
        *c->work.region = work_before;
        return false;
    }
    set->merge[set->merges_n] = (struct acl_merge){
        .table = table, .b_n = c->open[b].rows.n, .a = c->open[a].slot, .b = c->open[b].slot};
    c->open[a].rows = both;
    c->open[a].slot = (uint8_t)(set->fields_n + set->merges_n++);
    c->open[b] = c->open[--c->open_n];
    return true;
}

/* Merges the pair with the smallest table, of one part or not. false: none fits. */
static bool merge_smallest(struct compilation *c, bool of_one_part, uint64_t cells_max)
{
    uint64_t best = cells_max + 1;
    unsigned best_a = 0;
    unsigned best_b = 0;

    for (unsigned a = 0; a < c->open_n; a++) {
        for (unsigned b = a + 1; b < c->open_n; b++) {
            uint64_t cells = (uint64_t)c->open[a].rows.n * c->open[b].rows.n;

            if (cells < best && (c->open[a].part == c->open[b].part || !of_one_part)) {
                best = cells;
                best_a = a;
                best_b = b;
            }
        }
    }
    return best <= cells_max && merge(c, best_a, best_b);
}

static void merge_all(struct compilation *c)
{
    while (merge_smallest(c, true, ACL_CELLS_PART_MAX))
        ;
    while (merge_smallest(c, false, c->open_n > 2 ? ACL_CELLS_MAX : ACL_CELLS_LAST_MAX))
        ;
}

/* The answers of a set that has one open slot, or none. */
static bool finish_with_classes(struct compilation *c)
{
    const struct acl_rows *rows = &c->open[0].rows;
    uint32_t *data;

    c->set->left_n = (uint8_t)c->open_n;
    c->set->left[0].slot = c->open[0].slot;
    if (c->open_n == 0) {
        c->data[0] = c->n > 0 ? c->data[1] : HG_ACL_NONE;
        return true;
    }
    if (c->set->merges_n > 0)
        return true;
    data = hg_acl_take(c->out, rows->n * sizeof(*data));
    if (data == NULL)
        return false;
    for (uint32_t i = 0; i < rows->n; i++) {
        const uint32_t *row = acl_rows_get(&c->work, rows, i);

        data[i] = c->data[hg_acl_best_of(&c->work, c->rank, row, row)];
    }
    c->set->data = data;
    return true;
}

/* Takes the rows of what is left over, and the lines that they name, into the set. */
static bool finish_with_rows(struct compilation *c)
{
    struct acl_set *set = c->set;
    const struct acl_work *work = &c->work;
    uint32_t *number = hg_acl_take(work->region, work->lines.n * sizeof(*number));
    uint32_t line_n = 1;
    struct acl_line *line;

    if (number == NULL)
        return false;
    memset(number, 0, work->lines.n * sizeof(*number));
    for (unsigned l = 0; l < c->open_n; l++) {
        uint64_t row_words = (uint64_t)c->open[l].rows.n * work->row_words;
        uint32_t *row = hg_acl_take(c->out, row_words * sizeof(*row));

        if (row == NULL)
            return false;
        memcpy(row, c->open[l].rows.row, row_words * sizeof(*row));
        for (uint64_t i = 0; i < row_words; i++) {
            uint32_t in_row = (uint32_t)(i % work->row_words);

            if (in_row < 2 || row[i] == 0)
                continue;
            if (number[row[i]] == 0)
                number[row[i]] = line_n++;
            row[i] = number[row[i]];
        }
        set->left[l] = (struct acl_left){.row = row, .slot = c->open[l].slot};
    }
    line = hg_acl_take(c->out, line_n * sizeof(*line));
    if (line == NULL)
        return false;
    memset(&line[0], 0, sizeof(*line));
    for (uint32_t i = 1; i < work->lines.n; i++)
        if (number[i] != 0)
            line[number[i]] = work->lines.line[i];
    set->line = line;
    set->left_n = (uint8_t)c->open_n;
    set->lines_n = (uint8_t)work->lines_n;
    set->row_words = work->row_words;
    return true;
}

static bool compile(struct compilation *c, struct acl_region *work_region)
{
    uint32_t lines_n = (c->n + ACL_LINE_BITS - 1) / ACL_LINE_BITS;
    uint32_t positions_n = lines_n * ACL_LINE_BITS;
    struct place *place = hg_acl_take(work_region, c->n * sizeof(*place));

    c->position = hg_acl_take(work_region, c->n * sizeof(*c->position));
    c->set->no_rule = positions_n;
    c->rank = hg_acl_take(c->out, (positions_n + 1) * sizeof(*c->rank));
    c->data = hg_acl_take(c->out, (positions_n + 1) * sizeof(*c->data));
    if (place == NULL || c->position == NULL || c->rank == NULL || c->data == NULL ||
        !hg_acl_scratch_take(&c->scratch, work_region, lines_n, c->n) ||
        !hg_acl_work_begin(&c->work, work_region, lines_n))
        return false;
    place_rules(c, place);
    c->set->key_bytes = c->layout->key_bytes;
    c->set->data = c->data;
    c->set->rank = c->rank;
    for (unsigned f = 0; f < c->layout->fields_n; f++)
        if (!compile_field(c, f))
            return false;
    merge_all(c);
    return c->open_n > 1 ? finish_with_rows(c) : finish_with_classes(c);
}

int hg_acl_compile(struct acl_set *set, const struct acl_layout *layout,
                   const struct hg_acl_rule *rules, const uint32_t *index, uint32_t n,
                   struct acl_region *out, uint64_t merge_end, struct acl_region *work,
                   struct hg_err *err)
{
    struct compilation c = {.set = set,
                            .layout = layout,
                            .rules = rules,
                            .index = index,
                            .n = n,
                            .out = out,
                            .merge_end = merge_end};
    struct acl_region work_before = *work;
    bool ok;

    memset(set, 0, sizeof(*set));
    ok = compile(&c, work);
    *work = work_before;
    if (!ok)
        return hg_err_set(
            err, ENOSPC,
            "%u rules for IPv%d do not fit into the classifier's memory when compiled: it needs "
            "a larger memory_bytes, or rules that overlap less",
            n, layout == &hg_acl_layout4 ? 4 : 6);
    return 0;
}
