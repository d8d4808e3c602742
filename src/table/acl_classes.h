/*
 * The first step of the ACL's compilation: from what the rules allow in a field to the classes of its numbers.
 */
#ifndef HG_TABLE_ACL_CLASSES_H
#define HG_TABLE_ACL_CLASSES_H

#include "table/acl_sets.h"

enum { ACL_NUMBERS = 65536 }; /* that a field can hold */

/* A rule's condition on a field, and the rule's position. */
struct acl_use {
    struct acl_cond cond;
    uint32_t position;
};

/* Scratch memory for one field at a time. */
struct acl_scratch {
    uint32_t *class; /* result: of each number */
    uint32_t *size;  /* by class: numbers in it */
    uint32_t *count; /* by class: of them, numbers in the condition at hand */
    uint32_t *split; /* by class: where these go */
    uint32_t *touched;
    struct acl_line *bits; /* a set of rules: lines_n lines */
    struct acl_line *base; /* the rules that look at no number */
    struct acl_use *use;   /* sorted by condition; the caller fills it */
};

/* false: no room. */
bool hg_acl_scratch_take(struct acl_scratch *scratch, struct acl_region *region, uint32_t lines_n,
                         uint32_t rules_n);

/* Sorts scratch->use[0 .. n) and returns whether any of them is a condition at all. */
bool hg_acl_uses_sort(struct acl_scratch *scratch, uint32_t n, bool is_range);

/* Makes the classes of a field, whose sorted uses are in the scratch: rows, and scratch->class of each number.
 * false: no room. */
bool hg_acl_classify(struct acl_work *work, struct acl_scratch *scratch, uint32_t n, bool is_range,
                     struct acl_rows *rows);

/* Turns scratch->class into the tables of the field. false: no room in `out`. */
bool hg_acl_field_tables(struct acl_field *field, const uint32_t *class, struct acl_region *out);

#endif
