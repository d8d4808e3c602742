#include "ctl/cpus.h"

#include <sched.h>
#include <stdio.h>

static cpu_set_t allowed(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    /* Fails on machines with more CPUs than the set has bits; CPU 0 is then our modest answer. */
    if (sched_getaffinity(0, sizeof(set), &set) < 0) {
        CPU_SET(0, &set);
    }
    return set;
}

bool hg_cpu_allowed(int cpu)
{
    cpu_set_t set = allowed();

    return cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &set);
}

int hg_cpu_last(void)
{
    cpu_set_t set = allowed();
    int last = 0;

    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &set)) {
            last = cpu;
        }
    }
    return last;
}

void hg_cpus_text(char *text, size_t n)
{
    cpu_set_t set = allowed();
    size_t used = 0;

    text[0] = '\0';
    for (int cpu = 0; cpu < CPU_SETSIZE && used < n; cpu++) {
        int first = cpu;

        if (!CPU_ISSET(cpu, &set)) {
            continue;
        }
        while (cpu + 1 < CPU_SETSIZE && CPU_ISSET(cpu + 1, &set)) {
            cpu++;
        }
        used += (size_t)snprintf(text + used, n - used, "%s%d", used ? "," : "", first);
        if (cpu > first && used < n) {
            used += (size_t)snprintf(text + used, n - used, "-%d", cpu);
        }
    }
}
