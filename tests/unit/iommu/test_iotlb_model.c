/*
 * Random programs of updates, invalidations, translations and misses, each run on an IOTLB and on the simple
 * model of it (model_run.h). HG_SEED starts with another seed, HG_PROGRAMS runs so many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model_run.h"

enum { PROGRAM_BYTES = 4000 };

static struct model model;

static unsigned long setting(const char *name, unsigned long preset)
{
    const char *text = getenv(name);

    return text != NULL ? strtoul(text, NULL, 0) : preset;
}

static void does_what_the_model_does(void **state)
{
    unsigned long seed = setting("HG_SEED", 1);
    unsigned long programs_n = setting("HG_PROGRAMS", 300);
    uint8_t program[PROGRAM_BYTES];

    (void)state;
    for (unsigned long i = 0; i < programs_n; i++) {
        uint64_t number = seed + i;

        for (size_t k = 0; k < sizeof(program); k++) {
            number = number * UINT64_C(6364136223846793005) + 1442695040888963407;
            program[k] = (uint8_t)(number >> 56);
        }
        model_seed = seed + i;
        model_run(&model, program, sizeof(program));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(does_what_the_model_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
