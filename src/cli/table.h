/*
 * Tables for people: columns as wide as their widest cell, two spaces between them.
 */
#ifndef HG_CLI_TABLE_H
#define HG_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { HG_TABLE_COLUMNS_MAX = 12, HG_TABLE_CELL_BYTES = 128 };

/* Zero-initialised is empty. */
struct hg_table {
    unsigned column_n;
    bool right[HG_TABLE_COLUMNS_MAX]; /* numbers stand at the right */
    size_t row_n;
    char (*cell)[HG_TABLE_COLUMNS_MAX][HG_TABLE_CELL_BYTES];
};

/* Names the columns, separated by '|'; one that begins with '>' stands at the right. */
void hg_table_head(struct hg_table *table, const char *columns);

/* Begins a row; hg_table_text() and the others fill its cells from the left, a long text is cut.
 * When memory runs out rows are left out. */
void hg_table_row(struct hg_table *table);
void hg_table_text(struct hg_table *table, const char *text);
void hg_table_number(struct hg_table *table, uint64_t number);

/* A number of bytes in a unit that leaves at most four digits, as in "3.2 MiB". */
void hg_table_bytes(struct hg_table *table, uint64_t bytes);

/* Writes it and empties it. */
void hg_table_print(struct hg_table *table, FILE *file);

void hg_table_free(struct hg_table *table);

#endif
