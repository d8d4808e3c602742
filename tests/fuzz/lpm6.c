/*
 * Attacks the IPv6 routing table with programs of additions and removals in any order, each run
 * beside a plain model of it: see tests/unit/table/lpm6_run.h for what a program is.
 */
#include <stddef.h>
#include <stdint.h>

#include "../unit/table/lpm6_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct lpm6_run run;

    if (run.lpm == NULL)
        lpm6_run_begin(&run);
    lpm6_run_program(&run, data, size);
    return 0;
}
