"""Guests whose card is driven from user space: by DPDK, and by the trespasser of tests/vm/guest."""

import glob
import os
import re

from lab import image
from lab.process import LabError

SOURCES = os.path.join(image.REPO, "tests", "vm", "guest")
# What testpmd needs for a virtio card, beyond the libraries that it is linked with.
PLUGINS = ("librte_mempool_ring", "librte_net_virtio")
HUGEPAGES_N = 40
PROMPT = "testpmd> "


def guest_image():
    """The usual guest with testpmd, trespass and lookout."""
    plugins = []
    for name in PLUGINS:
        found = glob.glob("/usr/lib/*/dpdk/pmds-*/%s.so" % name)
        if not found:
            raise LabError("DPDK's %s is missing; tools/deps names the packages" % name)
        plugins += found
    sources = {
        "trespass": [os.path.join(SOURCES, n) for n in ("trespass.c", "nic.c", "device.c")],
        "lookout": [os.path.join(SOURCES, "lookout.c")],
    }
    return image.build(extra=image.Extra("vfio", ["dpdk-testpmd"], plugins, sources))


def take_card(guest):
    """Takes the card from the kernel and gives it to VFIO; returns its PCI address."""
    # Unsafe: this platform cannot keep a device from raising another's interrupts. There are none.
    return guest.run(
        """
        address=$(basename $(readlink -f /sys/class/net/eth0/device/..))
        modprobe vfio_iommu_type1 allow_unsafe_interrupts=1 && modprobe vfio_pci || exit 1
        cd /sys/bus/pci/devices/$address
        echo $address > driver/unbind
        echo vfio-pci > driver_override
        echo $address > /sys/bus/pci/drivers_probe
        [ -e driver ] && basename $(readlink driver) | grep -q vfio-pci && echo $address
        """
    ).output.strip()


def free_card(guest):
    """Takes the card from the kernel and gives it to nobody; returns its PCI address."""
    return guest.run(
        """
        address=$(basename $(readlink -f /sys/class/net/eth0/device/..))
        echo $address > /sys/bus/pci/devices/$address/driver/unbind && echo $address
        """
    ).output.strip()


class Testpmd:
    """dpdk-testpmd in a guest, on a card that VFIO has; commands reach it through a pipe."""

    def __init__(self, guest, card, forward):
        self.guest = guest
        guest.run(
            """
            chmod 755 / && mkdir -p /var /dev/hugepages && ln -sf /run /var/run
            echo %d > /proc/sys/vm/nr_hugepages
            mountpoint -q /dev/hugepages || mount -t hugetlbfs none /dev/hugepages
            rm -f /tmp/console && mkfifo /tmp/console
            """
            % HUGEPAGES_N
        )
        guest.spawn(
            "exec 9<>/tmp/console; exec dpdk-testpmd --lcores 0@0,1@0 -a %s --in-memory -m 64 -- -i "
            "--nb-cores=1 --total-num-mbufs=4096 --rxd=256 --txd=256 --forward-mode=%s <&9"
            % (card, forward),
            "testpmd",
        )
        guest.wait_for_word(PROMPT, "testpmd", timeout_s=60)

    def output(self):
        return self.guest.run("cat /tmp/testpmd.out").output

    def command(self, line):
        """Gives it a line; it obeys in its own time."""
        # timeout: nobody reads from the pipe when testpmd has ended.
        self.guest.run("timeout 5 sh -c 'echo \"%s\" > /tmp/console'" % line)

    def end(self):
        """Ends it; returns {"RX": packets, "TX": packets} as its card counted."""
        for line in ("stop", "show port stats 0", "quit"):
            self.command(line)
        output = self.guest.wait("testpmd").output
        card = output.partition("NIC statistics for port 0")[2]
        return {way: int(n) for way, n in re.findall(r"(RX|TX)-packets: (\d+)", card)}
