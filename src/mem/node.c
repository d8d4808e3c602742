#include "mem/node.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BITS = 8 * sizeof(unsigned long) };

/* "0" where the kernel knows nothing of nodes. */
static void read_online(char *list, size_t n)
{
    FILE *file = fopen("/sys/devices/system/node/online", "re");

    snprintf(list, n, "0");
    if (file == NULL)
        return;
    if (fgets(list, (int)n, file) == NULL)
        snprintf(list, n, "0");
    list[strcspn(list, "\n")] = '\0';
    fclose(file);
}

static bool is_listed(const char *list, unsigned node)
{
    while (*list != '\0') {
        char *end;
        unsigned long first = strtoul(list, &end, 10);
        unsigned long last = *end == '-' ? strtoul(end + 1, &end, 10) : first;

        if (node >= first && node <= last)
            return true;
        list = *end == ',' ? end + 1 : "";
    }
    return false;
}

bool hg_node_is_online(unsigned node, char *online, size_t n)
{
    read_online(online, n);
    return node < HG_NODES_MAX && is_listed(online, node);
}

static int say_not_permitted(int code, unsigned node, struct hg_err *err)
{
    return hg_err_set(err, code == ENOSYS ? EPERM : code,
                      "cannot ask for memory of NUMA node %u: %s (containers often forbid it: "
                      "it takes CAP_SYS_NICE there)",
                      node, strerror(code));
}

int hg_node_enter(struct hg_node_policy *before, unsigned node, struct hg_err *err)
{
    unsigned long mask[HG_NODES_MAX / BITS] = {0};
    char online[64];

    before->changed = false;
    if (!hg_node_is_online(node, online, sizeof(online)))
        return hg_err_set(err, ENODEV, "NUMA node %u is not there; this machine has: %s", node,
                          online);
    if (strcmp(online, "0") == 0)
        return 0;
    mask[node / BITS] = 1ul << (node % BITS);
    if (syscall(SYS_get_mempolicy, &before->mode, before->mask, (unsigned long)HG_NODES_MAX, NULL,
                0ul) < 0 ||
        syscall(SYS_set_mempolicy, MPOL_BIND, mask, (unsigned long)HG_NODES_MAX) < 0)
        return say_not_permitted(errno, node, err);
    before->changed = true;
    return 0;
}

void hg_node_leave(const struct hg_node_policy *before)
{
    if (before->changed)
        syscall(SYS_set_mempolicy, before->mode, before->mask, (unsigned long)HG_NODES_MAX);
}
