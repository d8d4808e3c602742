#include "cli/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Prints the table, compares, and ends it. */
static void prints(struct hg_table *table, const char *expected)
{
    char *text = NULL;
    size_t n = 0;
    FILE *file = open_memstream(&text, &n);

    assert_non_null(file);
    hg_table_print(table, file);
    fclose(file);
    assert_string_equal(text, expected);
    free(text);
}

static void aligns_texts_left_and_numbers_right(void **state)
{
    struct hg_table table = {.row_n = 0};

    (void)state;
    hg_table_head(&table, "port|>frames|why");
    hg_table_row(&table);
    hg_table_text(&table, "vm1");
    hg_table_number(&table, 1234567);
    hg_table_text(&table, "");
    hg_table_row(&table);
    hg_table_text(&table, "longer");
    hg_table_number(&table, 0);
    hg_table_text(&table, "because");
    prints(&table, "port     frames  why\n"
                   "vm1     1234567  -\n"
                   "longer        0  because\n");
}

static void gives_bytes_a_unit(void **state)
{
    struct hg_table table = {.row_n = 0};
    static const uint64_t sizes[] = {0, 999, 1000, 1u << 20, UINT64_MAX};

    (void)state;
    hg_table_head(&table, ">size");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        hg_table_row(&table);
        hg_table_bytes(&table, sizes[i]);
    }
    prints(&table, "    size\n"
                   "     0 B\n"
                   "   999 B\n"
                   " 1.0 KiB\n"
                   " 1.0 MiB\n"
                   "16.0 EiB\n");
}

static void takes_no_more_cells_than_columns(void **state)
{
    struct hg_table table = {.row_n = 0};

    (void)state;
    hg_table_head(&table, "a");
    for (int i = 0; i < 200; i++) {
        hg_table_row(&table);
        hg_table_text(&table, "x");
        hg_table_text(&table, "lost");
    }
    assert_int_equal(table.row_n, 201);
    assert_string_equal(table.cell[200][0], "x");
    assert_string_equal(table.cell[200][1], "");
    hg_table_free(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aligns_texts_left_and_numbers_right),
        cmocka_unit_test(gives_bytes_a_unit),
        cmocka_unit_test(takes_no_more_cells_than_columns),
    };

    return cmocka_run_group_tests_name("cli/table", tests, NULL, NULL);
}
