/*
 * How the ACL classifies.
 *
 * A key is cut into fields of 16 bits: two for an IPv4 address, eight for an IPv6 address, one for
 * each port, one for protocol and TCP flags, one for the VLAN. To each field a rule is a set of
 * 16-bit numbers: a range, or the numbers with given bits. So every rule is a product of such sets,
 * whatever it was written as.
 *
 *   1. Two numbers are of one class if no rule tells them apart. A field's tables turn a number into its class:
 *      one table by the first byte and one by both, equal parts of it shared; or a table by one byte,
 *      where the other does not matter; or nothing, where no rule looks at the field.
 *   2. A merge is a table over two classes that gives the class of the pair: the same relation again, over both.
 *      Pairs are merged, the smallest table first, the halves of addresses before others, as long as the table
 *      has few enough cells. If all fields end up in one, its class is the answer. This is Recursive Flow
 *      Classification (Gupta and McKeown, SIGCOMM 1999).
 *   3. Where merges would grow too large (they square, which is how such tables explode), several classes are left
 *      over. Then each has a row: the set of the rules that its numbers match, as lines of 512 bits, equal lines
 *      stored once, and one bit for each line that is not empty. The answer is the first bit of the intersection
 *      of the rows; the summary bits say which lines to intersect at all (the aggregated bit vectors of Baboescu
 *      and Varghese, SIGCOMM 2001). For that, rules that share addresses lie in the same line, and lines are in
 *      the order of their best rule.
 *
 * Invariants
 *   A class belongs to exactly one merge, or is left over: the merges are a forest.
 *   A rule stands at a position: line = position / 512. Within a line positions go from the best rule to the
 *   worst; `rank` compares rules of different lines (0: the best).
 *   Line 0 is the empty one.
 *   Tables of uint16_t end in ACL_TABLE_PAD readable bytes, because vector code loads 32 bits from them.
 *
 * Why not a decision tree or tuple space: decision 0017, with measurements.
 */
#ifndef HG_TABLE_ACL_INTERNAL_H
#define HG_TABLE_ACL_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bits.h"
#include "table/acl.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "acl_fields.c places bytes of the keys");

enum {
    ACL_FIELDS_MAX = 20, /* of IPv6 */
    ACL_SLOTS_MAX = 2 * ACL_FIELDS_MAX - 1,
    ACL_LINE_BITS = 512,
    ACL_LINE_WORDS = ACL_LINE_BITS / 64,
    ACL_LINES_MAX = HG_ACL_RULES_MAX / ACL_LINE_BITS,
    ACL_CELLS_PART_MAX = 1 << 21, /* of a merge within a part of the key: halves of an address, or
                                     all else; */
    ACL_CELLS_MAX = 1 << 17,      /* across parts, */
    ACL_CELLS_LAST_MAX = 1 << 20, /* and across parts if it gives the answer: no rows then */
    ACL_BURST = 32,
    ACL_TABLE_PAD = 4,
};

_Static_assert(ACL_LINES_MAX == 64, "a row has one word of summary bits");

struct acl_line {
    _Alignas(HG_CACHE_LINE_BYTES) uint64_t word[ACL_LINE_WORDS];
};

/* From a key to a class. With two tables: second[first[key[first_byte]] + key[second_byte]]; with
 * one, where second is NULL: first[key[first_byte]]. */
struct acl_field {
    const uint16_t *first;
    const uint16_t *second;
    uint8_t first_byte;
    uint8_t second_byte;
};

/* From classes a and b, which are slots, to table[a * b_n + b]. */
struct acl_merge {
    const uint16_t *table;
    uint32_t b_n;
    uint8_t a;
    uint8_t b;
};

/* A class that is left over. The row of class c begins at row[c * row_words]: two words of summary
 * bits, then a line number for each of the lines. */
struct acl_left {
    const uint32_t *row;
    uint8_t slot;
};

/* Compiled rules of one family. Slots are numbered: first the fields, then the merges. */
struct acl_set {
    uint8_t key_bytes;
    uint8_t fields_n;
    uint8_t merges_n;
    uint8_t
        left_n; /* 0: no field matters, the answer is data[0]. 1: it is data[class]. Else rows */
    uint8_t lines_n; /* in a row; 0 unless left_n > 1 */
    uint32_t row_words;
    const uint32_t *data;
    const uint32_t
        *rank; /* of the rule at a position; the last one, at no_rule, is worse than all */
    uint32_t no_rule;
    uint32_t line_rank[ACL_LINES_MAX]; /* of the best rule in a line */
    const struct acl_line *line;
    struct acl_field field[ACL_FIELDS_MAX];
    struct acl_merge merge[ACL_FIELDS_MAX - 1];
    struct acl_left left[ACL_FIELDS_MAX];
};

/* The classes of a burst: slot by slot. */
struct acl_classes {
    _Alignas(HG_CACHE_LINE_BYTES) uint32_t slot[ACL_SLOTS_MAX][ACL_BURST];
};

static inline uint64_t acl_row_lines(const uint32_t *row)
{
    return row[0] | (uint64_t)row[1] << 32;
}

/* Looks up n <= ACL_BURST keys. The plain one runs everywhere, the other where
 * hg_acl_has_avx512(). */
void hg_acl_search_plain(const struct acl_set *set, const uint8_t *keys, uint32_t *data,
                         unsigned n);
#if defined(__x86_64__)
bool hg_acl_has_avx512(void);
void hg_acl_search_avx512(const struct acl_set *set, const uint8_t *keys, uint32_t *data,
                          unsigned n);
#endif

/* Memory that is handed out from the front; what was taken last can be given back by restoring
 * `used`. */
struct acl_region {
    uint8_t *base;
    uint64_t bytes;
    uint64_t used;
};

/* At a multiple of 64, not zeroed; NULL where there is no room. */
void *hg_acl_take(struct acl_region *region, uint64_t bytes);

/* A field of a key, before compilation: which numbers a rule allows there. */
struct acl_cond {
    uint16_t a; /* first of a range, or the bits */
    uint16_t b; /* last of a range, or the mask */
};

enum { ACL_FIELDS4 = 8, ACL_FIELDS6 = 20 };

struct acl_layout {
    uint8_t key_bytes;
    uint8_t fields_n;
    struct {
        uint8_t first_byte;
        uint8_t second_byte;
        bool is_range;
    } field[ACL_FIELDS_MAX];
};

extern const struct acl_layout hg_acl_layout4, hg_acl_layout6;

/* What the rule allows in a field of the layout. */
struct acl_cond hg_acl_cond_of(const struct hg_acl_rule *rule, const struct acl_layout *layout,
                               unsigned field);

/* 0, or -EINVAL with the reason in *err. */
int hg_acl_check_rule(const struct hg_acl_rule *rule, uint32_t number, struct hg_err *err);

/*
 * Compiles the n rules `rules[index[i]]`, given from the best to the worst, into *set, whose tables
 * come from `out`, those of merges from the bytes before `merge_end`; `work` is scratch memory and
 * left as it was. Returns 0, or -ENOSPC with *err.
 */
int hg_acl_compile(struct acl_set *set, const struct acl_layout *layout,
                   const struct hg_acl_rule *rules, const uint32_t *index, uint32_t n,
                   struct acl_region *out, uint64_t merge_end, struct acl_region *work,
                   struct hg_err *err);

#endif
