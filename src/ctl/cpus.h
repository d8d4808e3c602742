/*
 * The CPUs that this process may use.
 */
#ifndef HG_CTL_CPUS_H
#define HG_CTL_CPUS_H

#include <stdbool.h>
#include <stddef.h>

/* Whether a worker can be pinned to it. */
bool hg_cpu_allowed(int cpu);

/* The last one: the default for a single worker, because interrupts and everybody else's single
 * threads tend to be on the first. */
int hg_cpu_last(void);

/* All of them for people, as in "0-3,8"; cut to fit. */
void hg_cpus_text(char *text, size_t n);

#endif
