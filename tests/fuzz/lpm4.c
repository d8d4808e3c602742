/*
 * Attacks the IPv4 routing table with programs of additions and removals in any order, each run
 * beside a plain model of it: see tests/unit/table/lpm4_run.h for what a program is.
 */
#include <stddef.h>
#include <stdint.h>

#include "../unit/table/lpm4_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct lpm4_run run;

    if (run.lpm == NULL)
        lpm4_run_begin(&run);
    lpm4_run_program(&run, data, size, 14);
    return 0;
}
