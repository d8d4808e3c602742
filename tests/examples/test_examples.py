#!/usr/bin/env python3
"""Every example does what it says: run as a user runs it, its effect looked at from outside.

    test_examples.py DIRECTORY     of the built examples; prints TAP
"""

import contextlib
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import traceback

EXAMPLES = pathlib.Path(sys.argv[1]).resolve()
GATEWAY = bytes.fromhex("020000000102")
HOST = bytes.fromhex("020000000002")


def run(name, *args):
    """What an example reports; it has to end well by itself."""
    done = subprocess.run([EXAMPLES / name, *map(str, args)], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, (name, args, done)
    assert re.match(r"\d+\.\d+ s: \d+ packets received, \d+\.\d+ Mpps\n", done.stdout), done.stdout
    return done.stdout


def number(pattern, report):
    return int(re.search(pattern, report).group(1))


@contextlib.contextmanager
def directory():
    with tempfile.TemporaryDirectory(prefix="headgate-") as path:
        yield pathlib.Path(path)


# --- capture files ------------------------------------------------------------------------------


def write_pcap(path, frames):
    """frames: (seconds, bytes)"""
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, 1))
        for at, frame in frames:
            file.write(struct.pack("<IIII", int(at), int(at % 1 * 1e6), len(frame), len(frame)))
            file.write(frame)


def read_pcap(path):
    data = path.read_bytes()
    frames, at = [], 24
    while at < len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        frames.append(data[at + 16:at + 16 + length])
        at += 16 + length
    return frames


def address(text):
    return bytes(map(int, text.split(".")))


def checksum(header):
    total = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ip4(src, dst, ttl=64, proto=17, ports=(1000, 2000), payload=b"x" * 30):
    """A frame with a UDP header, whatever the protocol says."""
    udp = struct.pack(">HHHH", *ports, 8 + len(payload), 0) + payload
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, ttl, proto, 0)
    header += address(src) + address(dst)
    header = header[:10] + struct.pack(">H", checksum(header)) + header[12:]
    return bytes.fromhex("020000000000") + HOST + b"\x08\x00" + header + udp


def arp(operation, sender_mac, sender, target):
    frame = b"\xff" * 6 + sender_mac + bytes.fromhex("0806000108000604")
    frame += struct.pack(">H", operation) + sender_mac + address(sender) + bytes(6) + address(target)
    return frame.ljust(60, b"\0")


# --- the examples -------------------------------------------------------------------------------


def forwarder_loses_nothing():
    report = run("1-forwarder", "generator:count=100000,flows=100,size=1000", "sink")
    assert "up: 100000 frames, 0 missing, 0 late, 0 spoilt, 0 of no generator" in report, report


def forwarder_says_what_is_wrong():
    done = subprocess.run([EXAMPLES / "1-forwarder", "generator:size=1"], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 1 and done.stdout == "", done
    assert done.stderr == ("forwarder: port 'generator:size=1': size: found '1'; expected a number "
                           "from 60 to 9018\n"), done


def says(expected, name, *arguments):
    """That the example refuses those arguments with that sentence."""
    done = subprocess.run([EXAMPLES / name, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected + "\n"), done


def arguments_are_looked_at():
    says("l3-forwarder: expected 0 or 6 words", "3-l3-forwarder", "loop", "loop")
    says("rate-limiter: found 'fast'; expected Mbit/s, as in 100", "5-rate-limiter", "fast")
    says("pcap-filter: can't parse filter expression: syntax error", "7-pcap-filter", "udp prt 53")


def mac_swap_swaps():
    with directory() as path:
        frames = [ip4("10.0.0.2", "10.0.0.3", payload=bytes([i]) * (30 + 40 * i)) for i in range(30)]
        write_pcap(path / "in", [(0, frame) for frame in frames])
        run("2-mac-swap", f"pcap:read={path}/in,write={path}/out")
        assert read_pcap(path / "out") == [f[6:12] + f[:6] + f[12:] for f in frames]


def l3_forwarder_routes_and_speaks_arp():
    with directory() as path:
        away = ip4("10.0.0.2", "198.19.5.5")
        write_pcap(path / "in0", [(0, arp(1, HOST, "10.0.0.2", "10.0.0.1")),
                                  (0.1, away),                     # the neighbour is not known yet
                                  (1.3, away),
                                  (1.3, ip4("10.0.0.2", "8.8.8.8")),             # no route
                                  (1.3, ip4("10.0.0.2", "198.19.5.5", ttl=1)),   # no time left
                                  (1.3, ip4("198.19.5.5", "198.18.7.7"))])       # and back
        write_pcap(path / "in1", [(0, arp(1, GATEWAY, "10.0.1.9", "10.0.1.8")),  # not ours to answer
                                  (0.3, arp(2, GATEWAY, "10.0.1.2", "10.0.1.1"))])
        report = run("3-l3-forwarder", f"pcap:read={path}/in0,write={path}/out0,timing=on",
                     f"pcap:read={path}/in1,write={path}/out1,timing=on",
                     "198.18.0.0/16", "10.0.0.2", "198.19.0.0/16", "10.0.1.2")
        ours = [bytes.fromhex(f"02000000000{port}") for port in (0, 1)]
        answer, back = read_pcap(path / "out0")
        assert answer[:12] == HOST + ours[0] and answer[20:22] == b"\0\2", answer
        assert answer[22:42] == ours[0] + address("10.0.0.1") + HOST + address("10.0.0.2"), answer
        assert back[:12] == HOST + ours[0], back
        request, gone = read_pcap(path / "out1")
        assert request[:12] == b"\xff" * 6 + ours[1] and request[20:22] == b"\0\1", request
        assert request[38:42] == address("10.0.1.2"), request
        assert gone[:12] == GATEWAY + ours[1] and gone[22] == 63, gone
        assert checksum(gone[14:34]) == 0 and gone[34:] == away[34:], gone
        dropped = dict(re.findall(r"pipe (\d \w+: \d+) packets, (\d+) dropped", report))
        assert dropped == {"0 parse: 6": "0", "0 ARP: 6": "1", "0 route: 5": "2", "0 neighbour: 3": "1",
                           "0 transmit: 2": "0", "1 parse: 2": "0", "1 ARP: 2": "2", "1 route: 0": "0",
                           "1 neighbour: 0": "0", "1 transmit: 0": "0"}, report
        assert re.findall(r"not routed, (.*)", report) == ["ttl: 1", "no_route: 1"], report


def l3_forwarder_runs_alone():
    report = run("3-l3-forwarder", "-t", "0.2")
    assert re.search(r"port 1 sink1: rx 0, tx [1-9]\d*; up: \d+ frames, 0 missing, 0 late, 0 spoilt",
                     report), report


def vhost_echo_sends_back():
    """The front-end is the first example, on a port of type virtio-user."""
    with directory() as path:
        echo = subprocess.Popen([EXAMPLES / "4-vhost-echo", "-t", "4", path / "echo.sock"],
                                stdout=subprocess.PIPE, text=True)
        try:
            while not (path / "echo.sock").exists():
                time.sleep(0.01)
            report = run("1-forwarder", "-t", "3", "generator:rate=2000,size=700",
                         f"virtio-user:socket={path}/echo.sock")
        finally:
            echo_report = echo.communicate(timeout=20)[0]
    sent = number(r"port 1 virtio-user1: rx \d+, tx (\d+)", report)
    came = number(r"port 1 virtio-user1: rx (\d+)", report)
    assert sent > 2000 and came >= sent - 100, report
    assert number(r"port 0 vhost-user0: rx (\d+)", echo_report) >= came, echo_report


def rate_limiter_limits():
    report = run("5-rate-limiter", "-t", "2", 40, "generator:size=1250,rate=20000", "sink")
    seconds = float(report.split()[0])
    passed = number(r"port 1 sink1: rx 0, tx (\d+)", report) * 1250 * 8
    most = 40e6 * (seconds + 0.01)
    assert 0.8 * most <= passed <= 1.01 * most, (passed, most, report)


def two_cores_lose_nothing():
    report = run("6-two-cores", "generator:count=100000,flows=1000", "sink")
    assert "up: 100000 frames, 0 missing, 0 late, 0 spoilt, 0 of no generator" in report, report
    assert "worker 0: 100000 packets" in report and "worker 1: 100000 packets" in report, report


def pcap_filter_agrees_with_tcpdump():
    expressions = ["udp port 53", "ip proto 6 or dst net 10.1.0.0/16", "arp", "greater 200",
                   "not (udp and src port 53)", "ether src 02:00:00:00:00:02 and ip[8] < 32"]
    with directory() as path:
        frames = [ip4("10.0.0.2", f"10.{i % 3}.{i % 7}.{i % 250}", ttl=(i * 37) % 250 + 1,
                      proto=(6, 17, 1)[i % 3], ports=((7, 53, 80)[i % 3], (53, 9)[i % 2]),
                      payload=b"y" * (i * 13 % 1400)) for i in range(400)]
        frames += [arp(1, HOST, "10.0.0.2", "10.0.0.9")] * 3
        write_pcap(path / "in", [(0, frame) for frame in frames])
        for expression in expressions:
            subprocess.run(["tcpdump", "-r", path / "in", "-w", path / "theirs", expression],
                           check=True, stderr=subprocess.DEVNULL)
            run("7-pcap-filter", expression, f"pcap:read={path}/in", f"pcap:write={path}/ours")
            ours = read_pcap(path / "ours")
            assert ours == read_pcap(path / "theirs"), expression
            assert 0 < len(ours) < len(frames), (expression, len(ours))


def are_short():
    source = pathlib.Path(__file__).resolve().parents[2] / "examples"
    for file in [*source.glob("*.c"), *source.glob("*.h")]:
        lines = len(file.read_text().splitlines())
        assert lines < 100, (file, lines)


def main():
    tests = [forwarder_loses_nothing, forwarder_says_what_is_wrong, arguments_are_looked_at, mac_swap_swaps,
             l3_forwarder_routes_and_speaks_arp, l3_forwarder_runs_alone, vhost_echo_sends_back,
             rate_limiter_limits, two_cores_lose_nothing, pcap_filter_agrees_with_tcpdump, are_short]
    failed = 0
    print(f"1..{len(tests)}", flush=True)
    for index, test in enumerate(tests, 1):
        if test is pcap_filter_agrees_with_tcpdump and not shutil.which("tcpdump"):
            print(f"ok {index} - {test.__name__} # SKIP no tcpdump")
            continue
        try:
            test()
            print(f"ok {index} - {test.__name__}", flush=True)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print("# " + traceback.format_exc().replace("\n", "\n# "))
            print(f"not ok {index} - {test.__name__}", flush=True)
    sys.exit(failed != 0)


main()
