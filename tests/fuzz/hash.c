/*
 * Attacks the hash table with operations in any order on keys of any size, beside a plain model:
 * see tests/unit/table/hash_run.h.
 */
#include "../unit/table/hash_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    run_program(data, size);
    return 0;
}
