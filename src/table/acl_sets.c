#include "table/acl_sets.h"

#include <string.h>

#define NO_ROOM UINT32_MAX
#define END     UINT32_MAX

void *hg_acl_take(struct acl_region *region, uint64_t bytes)
{
    uint64_t at = hg_round_up(region->used, HG_CACHE_LINE_BYTES);

    if (at > region->bytes || bytes > region->bytes - at)
        return NULL;
    region->used = at + bytes;
    return region->base + at;
}

/* Multiply and fold. Who knows it can make lines collide; that costs compilation time, bounded by
 * the lines that there is room for, and never a wrong answer. */
static uint64_t mix(uint64_t h, uint64_t value)
{
    h = (h ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 29;
}

static void clear(uint32_t *bucket)
{
    memset(bucket, 0xff, ACL_BUCKETS * sizeof(*bucket));
}

bool hg_acl_work_begin(struct acl_work *work, struct acl_region *region, uint32_t lines_n)
{
    struct acl_lines *lines = &work->lines;
    uint64_t room;

    work->region = region;
    work->lines_n = lines_n;
    work->row_words = (lines_n + 2 + 1) / 2 * 2;
    work->chain = hg_acl_take(region, ACL_CLASSES_MAX * sizeof(uint32_t));
    work->bucket = hg_acl_take(region, ACL_BUCKETS * sizeof(uint32_t));
    lines->bucket = hg_acl_take(region, ACL_BUCKETS * sizeof(uint32_t));
    if (work->chain == NULL || work->bucket == NULL || lines->bucket == NULL)
        return false;
    room = (region->bytes - region->used) / 2 / (sizeof(struct acl_line) + sizeof(uint32_t));
    lines->max = (uint32_t)hg_min_u64(room, UINT32_MAX / 2);
    lines->line = hg_acl_take(region, lines->max * sizeof(struct acl_line));
    lines->chain = hg_acl_take(region, lines->max * sizeof(uint32_t));
    if (lines->max == 0 || lines->line == NULL || lines->chain == NULL)
        return false;
    clear(lines->bucket);
    memset(&lines->line[0], 0, sizeof(struct acl_line));
    lines->n = 1;
    return true;
}

static bool is_empty(const struct acl_line *line)
{
    uint64_t any = 0;

    for (unsigned i = 0; i < ACL_LINE_WORDS; i++)
        any |= line->word[i];
    return any == 0;
}

/* The number of an equal line, which is made if there is none. */
static uint32_t add_line(struct acl_lines *lines, const struct acl_line *line)
{
    uint64_t h = 0;
    uint32_t *bucket;

    if (is_empty(line))
        return 0;
    for (unsigned i = 0; i < ACL_LINE_WORDS; i++)
        h = mix(h, line->word[i]);
    bucket = &lines->bucket[(h >> 8) % ACL_BUCKETS];
    for (uint32_t i = *bucket; i != END; i = lines->chain[i])
        if (memcmp(&lines->line[i], line, sizeof(*line)) == 0)
            return i;
    if (lines->n == lines->max)
        return NO_ROOM;
    lines->line[lines->n] = *line;
    lines->chain[lines->n] = *bucket;
    *bucket = lines->n;
    return lines->n++;
}

bool hg_acl_rows_begin(struct acl_work *work, struct acl_rows *rows, uint32_t max)
{
    uint64_t row_bytes = work->row_words * sizeof(uint32_t);
    uint64_t room;

    rows->n = 0;
    rows->row = hg_acl_take(work->region, 0);
    if (rows->row == NULL)
        return false;
    room = (work->region->base + work->region->bytes - (uint8_t *)rows->row) / row_bytes;
    rows->max = (uint32_t)hg_min_u64(hg_min_u64(max, room), ACL_CLASSES_MAX);
    work->region->used += rows->max * row_bytes;
    clear(work->bucket);
    return rows->max > 0;
}

void hg_acl_rows_end(struct acl_work *work, const struct acl_rows *rows)
{
    uint64_t row_bytes = work->row_words * sizeof(uint32_t);

    work->region->used -= (rows->max - rows->n) * row_bytes;
}

/* The number of the row that has been written behind the last one; that row, if it is new. */
static uint32_t settle(struct acl_work *work, struct acl_rows *rows)
{
    const uint32_t *row = acl_rows_get(work, rows, rows->n);
    size_t row_bytes = work->row_words * sizeof(uint32_t);
    uint64_t h = 0;
    uint32_t *bucket;

    for (uint32_t i = 0; i < work->row_words; i++)
        h = mix(h, row[i]);
    bucket = &work->bucket[(h >> 8) % ACL_BUCKETS];
    for (uint32_t i = *bucket; i != END; i = work->chain[i])
        if (memcmp(acl_rows_get(work, rows, i), row, row_bytes) == 0)
            return i;
    work->chain[rows->n] = *bucket;
    *bucket = rows->n;
    return rows->n++;
}

/* Room for one more row, cleared; NULL: none. */
static uint32_t *open_row(const struct acl_work *work, const struct acl_rows *rows)
{
    uint32_t *row = rows->row + (uint64_t)rows->n * work->row_words;

    if (rows->n == rows->max)
        return NULL;
    memset(row, 0, work->row_words * sizeof(uint32_t));
    return row;
}

static void set_line(uint32_t *row, uint32_t i, uint32_t line)
{
    row[i / 32] |= (uint32_t)(line != 0) << i % 32;
    row[2 + i] = line;
}

uint32_t hg_acl_rows_add(struct acl_work *work, struct acl_rows *rows, const struct acl_line *bits)
{
    uint32_t *row = open_row(work, rows);

    if (row == NULL)
        return NO_ROOM;
    for (uint32_t i = 0; i < work->lines_n; i++) {
        uint32_t line = add_line(&work->lines, &bits[i]);

        if (line == NO_ROOM)
            return NO_ROOM;
        set_line(row, i, line);
    }
    return settle(work, rows);
}

static struct acl_line and_lines(const struct acl_lines *lines, uint32_t a, uint32_t b)
{
    struct acl_line both;

    for (unsigned i = 0; i < ACL_LINE_WORDS; i++)
        both.word[i] = lines->line[a].word[i] & lines->line[b].word[i];
    return both;
}

uint32_t hg_acl_rows_add_and(struct acl_work *work, struct acl_rows *rows, const uint32_t *a,
                             const uint32_t *b)
{
    uint32_t *row = open_row(work, rows);

    if (row == NULL)
        return NO_ROOM;
    for (uint64_t left = acl_row_lines(a) & acl_row_lines(b); left != 0; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(left);
        uint32_t line = a[2 + i];

        if (line != b[2 + i]) {
            struct acl_line both = and_lines(&work->lines, line, b[2 + i]);

            line = add_line(&work->lines, &both);
        }
        if (line == NO_ROOM)
            return NO_ROOM;
        set_line(row, i, line);
    }
    return settle(work, rows);
}

uint32_t hg_acl_best_of(const struct acl_work *work, const uint32_t *rank, const uint32_t *a,
                        const uint32_t *b)
{
    uint32_t best = 0;

    for (uint64_t left = acl_row_lines(a) & acl_row_lines(b); left != 0; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(left);
        struct acl_line both = and_lines(&work->lines, a[2 + i], b[2 + i]);
        unsigned word = 0;

        while (word < ACL_LINE_WORDS && both.word[word] == 0)
            word++;
        if (word < ACL_LINE_WORDS) {
            uint32_t at =
                i * ACL_LINE_BITS + word * 64 + (uint32_t)__builtin_ctzll(both.word[word]);

            if (best == 0 || rank[at] < rank[best - 1])
                best = at + 1;
        }
    }
    return best;
}
