"""The switches and guests of other houses that Headgate is measured against and talks to.

One file per system. Every peer is a context manager: it starts from a private temporary
directory, belongs to the process that started it (the kernel ends it if we die), and leaves
neither processes, sockets nor reserved hugepages behind. `Unavailable` means that this machine
cannot run the peer (a package or hugepages are missing): a test skips, a bench says so.
"""
