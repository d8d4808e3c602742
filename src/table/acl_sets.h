/*
 * Sets of rules while the ACL is compiled: rows of lines, both stored once however often they
 * occur, so that equal sets have equal numbers. Layout of rows as in acl_internal.h. Control only.
 */
#ifndef HG_TABLE_ACL_SETS_H
#define HG_TABLE_ACL_SETS_H

#include "table/acl_internal.h"

enum { ACL_CLASSES_MAX = 65536, ACL_BUCKETS = 65536 };

/* All lines of a compilation, and what is needed to find equal ones. */
struct acl_lines {
    struct acl_line *line;
    uint32_t *chain; /* the next line of the same bucket */
    uint32_t *bucket;
    uint32_t n;
    uint32_t max;
};

/* The classes of one slot: n distinct rows. */
struct acl_rows {
    uint32_t *row;
    uint32_t n;
    uint32_t max;
};

struct acl_work {
    struct acl_region *region;
    struct acl_lines lines;
    uint32_t lines_n; /* in a row */
    uint32_t row_words;
    uint32_t *chain; /* rows of the slot that is being made */
    uint32_t *bucket;
};

/* Takes the work's own memory: half of what the region has left is for lines. false: there is not
 * enough. */
bool hg_acl_work_begin(struct acl_work *work, struct acl_region *region, uint32_t lines_n);

/* Starts the rows of a slot, up to max of them, in the region's last allocation, which
 * hg_acl_rows_end() cuts to size. One slot at a time. */
bool hg_acl_rows_begin(struct acl_work *work, struct acl_rows *rows, uint32_t max);
void hg_acl_rows_end(struct acl_work *work, const struct acl_rows *rows);

/* The number of the row for this set: lines_n lines of bits. UINT32_MAX where there is no room. */
uint32_t hg_acl_rows_add(struct acl_work *work, struct acl_rows *rows, const struct acl_line *bits);

/* The number in `rows` of the intersection of two rows of other slots. UINT32_MAX likewise. */
uint32_t hg_acl_rows_add_and(struct acl_work *work, struct acl_rows *rows, const uint32_t *a,
                             const uint32_t *b);

/* The best rule in the intersection, as position + 1; 0: none. */
uint32_t hg_acl_best_of(const struct acl_work *work, const uint32_t *rank, const uint32_t *a,
                        const uint32_t *b);

static inline const uint32_t *acl_rows_get(const struct acl_work *work, const struct acl_rows *rows,
                                           uint32_t class)
{
    return rows->row + (uint64_t) class * work->row_words;
}

#endif
