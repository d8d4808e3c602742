"""The accounts of a bench with two guests: no frame may vanish without a name.

Three ledgers are compared, each kept by somebody else:

    what a guest's kernel says its card sent  =  what the switch says it received from that port
    what the switch received, plus the frames that it made itself (copies of floods, segments)
                                              =  what it sent, plus what it dropped under a name
    what the switch says it sent to a port    =  what the guest's kernel says its card received
"""

import time

from . import process

REST_S = 0.2  # longer than a frame stays in a ring of a guest that is not stopped


class Accounts:
    """Opened when the guests are up; after close(), problems() and table() compare the books."""

    def __init__(self, bench, *guests):
        self.bench = bench
        self.guests = guests
        self.before = self._read()
        self.after = None

    def close(self):
        self.after = self._read()

    def _read(self):
        """Reads all books at a moment at which no frame is under way.

        The daemon's are read before and after those of the guests, until both readings agree: a
        guest sends of its own accord now and then (multicast reports, neighbour discovery).
        """

        def at_rest():
            ports = self.bench.daemon.stats()["ports"]
            time.sleep(REST_S)
            read = {guest.name: (ports[guest.name], guest.counters()) for guest in self.guests}
            return read if self.bench.daemon.stats()["ports"] == ports else None

        return process.wait_until(at_rest, 60, "the counters come to rest")

    def of(self, guest):
        """One guest's books: everything that was counted between opening and closing."""
        (port_before, card_before), (port_after, card_after) = (
            self.before[guest.name],
            self.after[guest.name],
        )

        def port(side, name):
            return port_after[side].get(name, 0) - port_before[side].get(name, 0)

        def card(name):
            return card_after[name] - card_before[name]

        drops = {
            name: count - port_before["drops"].get(name, 0)
            for name, count in port_after["drops"].items()
        }
        return {
            "card sent": card("tx_packets"),
            "card sent bytes": card("tx_bytes"),
            "port received": port("rx", "packets"),
            "port received bytes": port("rx", "bytes"),
            "replicated": port("rx", "replicated"),
            "segmented": port("tx", "segmented"),
            "port sent": port("tx", "packets"),
            "port sent bytes": port("tx", "bytes"),
            "card received": card("rx_packets"),
            "card received bytes": card("rx_bytes"),
            "copied bytes": port("rx", "bytes_copied") + port("tx", "bytes_copied"),
            "drops": {name: count for name, count in drops.items() if count},
        }

    def problems(self):
        """Entries that do not match, as sentences."""
        found = []
        books = [self.of(guest) for guest in self.guests]
        for guest, book in zip(self.guests, books):
            for unit in ("", " bytes"):
                for left, right in (("card sent", "port received"), ("port sent", "card received")):
                    if book[left + unit] != book[right + unit]:
                        found.append(
                            "%s: %s%s %d, but %s%s %d"
                            % (
                                guest.name,
                                left,
                                unit,
                                book[left + unit],
                                right,
                                unit,
                                book[right + unit],
                            )
                        )
        went_in = sum(
            book["port received"] + book["replicated"] + book["segmented"] for book in books
        )
        came_out = sum(book["port sent"] + sum(book["drops"].values()) for book in books)
        if went_in != came_out:
            found.append(
                "the switch received or made %d frames, but sent or dropped %d"
                % (went_in, came_out)
            )
        return found

    def table(self):
        """The books as text, for people."""
        books = [self.of(guest) for guest in self.guests]
        lines = ["%-42s" % "frames" + "".join("%14s" % guest.name for guest in self.guests)]

        def line(text, values):
            lines.append("%-42s" % text + "".join("%14s" % value for value in values))

        line("sent by the guest's card", [book["card sent"] for book in books])
        line("received by the switch", [book["port received"] for book in books])
        line("sent by the switch", [book["port sent"] for book in books])
        line("received by the guest's card", [book["card received"] for book in books])
        for reason in sorted({name for book in books for name in book["drops"]}):
            line("dropped: " + reason, [book["drops"].get(reason, 0) for book in books])
        if not any(book["drops"] for book in books):
            line("dropped", [0 for _ in books])
        delivered = sum(book["port sent bytes"] for book in books)
        copied = sum(book["copied bytes"] for book in books)
        if delivered:
            lines.append(
                "%-42s%14.3f" % ("bytes copied for each byte delivered", copied / delivered)
            )
        return "\n".join(lines)
