/*
 * Tests of what qemu-user does not give to the programs that it runs (`tools/check arm64`): they
 * are skipped there, and say why.
 */
#ifndef HG_TESTS_EMULATED_H
#define HG_TESTS_EMULATED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static inline void skip_if_emulated(const char *what)
{
    if (getenv("HG_EMULATED") == NULL)
        return;
    print_message("# qemu-user: %s\n", what);
    skip();
}

#endif
