#include "ctl/qemu.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* A path inside an option of QEMU, where a comma is written twice, inside single quotes of a shell,
 * where only a single quote is special. */
static void quote_path(char *quoted, size_t n, const char *path)
{
    size_t used = 0;

    for (; *path && used + 5 < n; path++) {
        if (*path == '\'') {
            memcpy(quoted + used, "'\\''", 4);
            used += 4;
        } else {
            quoted[used++] = *path;
            if (*path == ',') {
                quoted[used++] = ',';
            }
        }
    }
    quoted[used] = '\0';
}

/* FNV-1a, 32 bits: any function that spreads names would do. */
static uint32_t hash_name(const char *name)
{
    uint32_t hash = 2166136261u;

    for (; *name; name++) {
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    }
    return hash;
}

bool hg_qemu_arguments(const struct hg_spec *spec, char *text, size_t n)
{
    char role_buffer[16];
    char path[4 * HG_PORT_OPTION_TEXT_BYTES];
    const char *socket = hg_spec_text(spec, "socket", NULL, 0);
    const char *role = hg_spec_text(spec, "role", role_buffer, sizeof(role_buffer));
    uint32_t hash = hash_name(spec->name);

    if (strcmp(spec->driver->type, "vhost-user") != 0 || !socket) {
        return false;
    }
    quote_path(path, sizeof(path), socket);

    /* A guest on a port that requires it needs a virtual IOMMU, before its card, and a card behind
     * it. ATS, by which invalidations of a whole domain reach us, is a capability of PCI Express,
     * which a card on the root bus does not have: hence the port. Its id must not be the name of
     * one of its properties. */
    char iommu_buffer[16];
    const char *iommu = hg_spec_text(spec, "iommu", iommu_buffer, sizeof(iommu_buffer));
    bool behind = iommu && strcmp(iommu, "require") == 0;
    const char *mode = role && strcmp(role, "client") == 0 ? "server=on,wait=off" : "reconnect=1";
    const char *shell = strpbrk(path, " '\"\\$`;&|<>()*?[]#~!{}") ? "'" : "";
    /* QEMU's ids begin with a letter, which a port's name need not. */
    int length = snprintf(
        text, n,
        "-m 1G\n-object memory-backend-memfd,id=mem,size=1G,share=on\n-machine %smemory-backend=mem\n%s"
        "-chardev %ssocket,id=chr-%s,path=%s,%s%s\n-netdev vhost-user,id=net-%s,chardev=chr-%s\n"
        "-device virtio-net-pci,netdev=net-%s,mac=52:54:%02x:%02x:%02x:%02x%s",
        behind ? "q35," : "",
        behind ? "-device intel-iommu,intremap=off,device-iotlb=on\n"
                 "-device pcie-root-port,id=root1,chassis=1\n"
               : "",
        shell, spec->name, path, mode, shell, spec->name, spec->name, spec->name, hash >> 24,
        hash >> 16 & 0xff, hash >> 8 & 0xff, hash & 0xff,
        behind ? ",bus=root1,disable-legacy=on,iommu_platform=on,ats=on" : "");

    return length >= 0 && (size_t)length < n;
}
