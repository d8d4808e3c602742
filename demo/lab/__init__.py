"""A small laboratory: real Linux guests under QEMU, wired to a Headgate daemon.

    image   makes the guest: a kernel and an initramfs, without root and without installing anything
    guest   Guest: one QEMU process; run() executes a shell command in it
    daemon  Headgate: one daemon process and its client
    bench   Bench: a private directory with a daemon and guests in it, and what is measured in it

The demo and the VM tests are both written on it. Standard library only.
"""
