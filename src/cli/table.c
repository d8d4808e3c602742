#include "cli/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

enum { ROWS_AT_ONCE = 64 };

/* The next empty cell of the last row; NULL when there is none. */
static char *next_cell(struct hg_table *table)
{
    for (unsigned c = 0; table->row_n > 0 && c < table->column_n; c++) {
        char *cell = table->cell[table->row_n - 1][c];

        if (!cell[0]) {
            return cell;
        }
    }
    return NULL;
}

void hg_table_row(struct hg_table *table)
{
    if (table->row_n % ROWS_AT_ONCE == 0) {
        void *more = realloc(table->cell, (table->row_n + ROWS_AT_ONCE) * sizeof(table->cell[0]));

        if (!more) {
            return;
        }
        table->cell = more;
    }
    memset(table->cell[table->row_n++], 0, sizeof(table->cell[0]));
}

void hg_table_text(struct hg_table *table, const char *text)
{
    char *cell = next_cell(table);

    if (cell) {
        snprintf(cell, HG_TABLE_CELL_BYTES, "%s", text[0] ? text : "-");
    }
}

void hg_table_number(struct hg_table *table, uint64_t number)
{
    char *cell = next_cell(table);

    if (cell) {
        snprintf(cell, HG_TABLE_CELL_BYTES, "%" PRIu64, number);
    }
}

void hg_table_bytes(struct hg_table *table, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    char *cell = next_cell(table);
    double value = (double)bytes;
    size_t unit = 0;

    if (!cell) {
        return;
    }
    while (value >= 999.95 && unit + 1 < HG_ARRAY_N(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(cell, HG_TABLE_CELL_BYTES, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

void hg_table_head(struct hg_table *table, const char *columns)
{
    hg_table_row(table);
    while (*columns && table->column_n < HG_TABLE_COLUMNS_MAX) {
        size_t length = strcspn(columns, "|");
        bool right = *columns == '>';
        char name[HG_TABLE_CELL_BYTES];

        snprintf(name, sizeof(name), "%.*s", (int)(length - right), columns + right);
        table->right[table->column_n++] = right;
        hg_table_text(table, name);
        columns += length + (columns[length] == '|');
    }
}

void hg_table_print(struct hg_table *table, FILE *file)
{
    int width[HG_TABLE_COLUMNS_MAX] = {0};

    for (size_t r = 0; r < table->row_n; r++) {
        for (unsigned c = 0; c < table->column_n; c++) {
            int length = (int)strlen(table->cell[r][c]);

            width[c] = length > width[c] ? length : width[c];
        }
    }
    for (size_t r = 0; r < table->row_n; r++) {
        for (unsigned c = 0; c < table->column_n; c++) {
            bool last = c + 1 == table->column_n;
            int pad = table->right[c] ? width[c] : last ? 0 : -width[c];

            fprintf(file, "%*s%s", pad, table->cell[r][c], last ? "\n" : "  ");
        }
    }
    hg_table_free(table);
}

void hg_table_free(struct hg_table *table)
{
    free(table->cell);
    *table = (struct hg_table){.column_n = 0};
}
