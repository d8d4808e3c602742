/* What the toolkit's benchmarks share: their options and an arena. */
#ifndef HG_BENCH_TOOLKIT_SETUP_H
#define HG_BENCH_TOOLKIT_SETUP_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../sample.h"
#include "base/err.h"
#include "mem/arena.h"

struct setup {
    int cpu[2];
    bool quick;
};

/* [--cpus A[,B]] [--quick]; the calling thread stays on CPU A. */
static inline struct setup setup_begin(int argc, char **argv)
{
    struct setup setup = {.cpu = {0, 0}};

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            setup.quick = true;
        } else if (strcmp(argv[i], "--cpus") == 0 && i + 1 < argc) {
            char *rest;

            setup.cpu[0] = setup.cpu[1] = (int)strtol(argv[++i], &rest, 10);
            if (*rest == ',')
                setup.cpu[1] = (int)strtol(rest + 1, NULL, 10);
        } else {
            fprintf(stderr, "usage: %s [--cpus A[,B]] [--quick]\n", argv[0]);
            exit(2);
        }
    }
    stay_on(setup.cpu[0]);
    return setup;
}

static inline void setup_check(int rc, const struct hg_err *err)
{
    if (rc < 0) {
        fprintf(stderr, "%s\n", err->text);
        exit(1);
    }
}

static inline struct hg_arena *setup_arena(uint64_t bytes)
{
    struct hg_arena_options options = {.name = "tables", .bytes = bytes};
    struct hg_arena *arena;
    struct hg_err err;

    setup_check(hg_arena_new(&arena, &options, &err), &err);
    return arena;
}

#endif
