"""The store's disk is full, broken or slow: who waits, who does not, and what is there afterwards.

A full disk is a small tmpfs where the system lets us mount one; everything else, and a full disk elsewhere, comes from
faulty_disk.c, through which the broker writes.
"""

import errno
import subprocess
import time

import pytest

from fuzzing.packets import connect, publish, subscribe
from server_process import ServerProcess
from swarm import packet_id_of
from toolchain import ROOT

BACKLOG = 1 << 20
SIZE = 20000  # bytes of a payload
MESSAGES = 1000  # far more than BACKLOG
PATIENCE = 60.0  # s


class FaultyDisk:
    """A folder on a disk that fails when told."""

    def __init__(self, folder, library, error):
        self.folder = folder
        self.error = error
        self._control = folder.parent / "control"
        self.variables = {
            "LD_PRELOAD": str(library), "FAULT_FOLDER": str(folder), "FAULT_CONTROL": str(self._control),
        }  # fmt: skip

    def say(self, text):
        new = self._control.with_suffix(".new")
        new.write_text(text)
        new.rename(self._control)

    def fail(self):
        self.say("%d" % self.error)

    def recover(self):
        self.say("")

    def remove(self):
        """Nothing is left to tidy up."""


class SmallDisk:
    """A folder on a tmpfs that is full when told."""

    variables: "dict[str, str]" = {}
    error = errno.ENOSPC

    def __init__(self, folder):
        self.folder = folder
        self._ballast = folder / "ballast"
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)], check=True, capture_output=True)

    def fail(self):
        try:
            with self._ballast.open("wb", 0) as file:
                while True:
                    file.write(bytes(1 << 20) if file.tell() < 95 << 20 else bytes(4096))
        except OSError as e:
            assert e.errno == errno.ENOSPC

    def recover(self):
        self._ballast.unlink(missing_ok=True)

    def remove(self):
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.fixture(scope="module")
def library(tool, tmp_path_factory):
    """faulty_disk.c as a library."""
    path = tmp_path_factory.mktemp("faulty") / "disk.so"
    source = ROOT / "tests" / "robustness" / "faulty_disk.c"
    subprocess.run([tool("gcc"), "-shared", "-fPIC", "-O1", "-Wall", "-o", str(path), str(source), "-ldl"], check=True)
    return path


@pytest.fixture
def disk_that(tmp_path, library):
    """disk_that("is full"), or another fault: a disk that has it when told."""
    disks = []

    def make(fault):
        folder = tmp_path / "disk"
        folder.mkdir()
        try:
            disks.append(SmallDisk(folder) if fault == "is full" else FaultyDisk(folder, library, errno.EIO))
        except (OSError, subprocess.CalledProcessError):  # we may not mount
            disks.append(FaultyDisk(folder, library, errno.ENOSPC))
        return disks[-1]

    yield make
    for disk in disks:
        disk.remove()


@pytest.fixture
def start(tmp_path):
    """start(disk, on_failure): a broker whose store is on that disk, and which may be killed."""
    started = []

    def make(disk, on_failure="refuse"):
        path = tmp_path / "broker.toml"
        path.write_text(
            'sys_interval = 3600\nmax_queued_messages = 60000\nmax_queued_bytes = 100000000\n[store]\ntype = "sqlite"\nfile = "disk/x.db"\n'
            'durability = "sync"\nbacklog_bytes = %d\non_failure = "%s"\n' % (BACKLOG, on_failure)
        )
        started.append((ServerProcess("cpython", "--config", str(path), variables=disk.variables), disk))
        return started[-1][0]

    yield make
    for server, disk in started:
        disk.recover()
        with server:
            assert "Traceback" not in server.output


class Publisher:
    """Sends QoS 1 messages as long as the broker reads, and counts what is acknowledged."""

    def __init__(self, swarm):
        self.swarm = swarm
        self.client = swarm.connect(b"publisher", clean=False)
        self.sent = 0
        self.acknowledged = 0

    def go_on(self, count):
        """Have more on the way, `count` in all."""
        while self.sent < count and len(self.client.outgoing) < 10 * SIZE:
            self.sent += 1
            self.swarm.send(self.client, publish(4, b"q", b"%06d" % self.sent + bytes(SIZE), 1, self.sent))

    def step(self, count):
        self.go_on(count)
        self.swarm.step(0.02)
        for first, body in self.client.take():
            assert first == 0x40
            self.acknowledged += 1
            assert int.from_bytes(body[:2], "big") == self.acknowledged
        assert not self.client.closed


def away(swarm):
    """Somebody with a subscription who is away."""
    client = swarm.connect(b"away", clean=False)
    swarm.exchange(client, subscribe(4, 1, [(b"q", 1)]))
    swarm.send(client, b"\xe0\0")
    swarm.wait(lambda: client.closed)


def what_came(swarm):
    """The numbers of the messages the one who was away gets."""
    client = swarm.open(connect(4, b"away", clean=False))
    swarm.wait(lambda: client.packets)
    assert client.packets.pop(0) == (0x20, b"\1\0")
    found: list[int] = []
    while True:
        swarm.send(client, b"\xc0\0")
        swarm.wait(lambda: (0xD0, b"") in client.packets)
        came = [body for first, body in client.take() if first & 0xF0 == 0x30]
        if not came:
            return found
        found += [int(body[5:11]) for body in came]
        swarm.send(client, b"".join(b"\x40\2" + packet_id_of(body) for body in came))


def served(swarm, client):
    """Clients whose messages need no disk are served: QoS 0, 1 and 2."""
    for qos in (0, 1, 2):
        packets = swarm.exchange(client, publish(4, b"clean", b"x", qos, 7), 2 if qos else 1)
        assert sorted(first & 0xF0 for first, _ in packets) == ([0x30], [0x30, 0x40], [0x30, 0x50])[qos], packets
        if qos == 1:
            message = next(body for first, body in packets if first == 0x32)
            swarm.send(client, b"\x40\2" + packet_id_of(message))
        elif qos == 2:
            message = next(body for first, body in packets if first == 0x34)
            swarm.exchange(client, b"\x62\2\0\7" + b"\x50\2" + packet_id_of(message), 2)
            swarm.exchange(client, b"\x70\2" + packet_id_of(message) + b"\xc0\0")


@pytest.fixture
def begun(swarm_of):
    """begun(server): a swarm, one who is away, a publisher, and a client that keeps nothing."""

    def make(server):
        swarm = swarm_of(server)
        away(swarm)
        publisher = Publisher(swarm)
        clean = swarm.connect(b"clean")
        swarm.exchange(clean, subscribe(4, 1, [(b"clean", 2)]))
        while publisher.acknowledged < 20:
            publisher.step(20)
        served(swarm, clean)
        return swarm, publisher, clean

    return make


@pytest.mark.parametrize("fault", ["is full", "is broken"])
def test_a_disk_that_fails_for_long(disk_that, start, begun, swarm_of, fault):
    disk = disk_that(fault)
    server = start(disk)
    swarm, publisher, clean = begun(server)
    disk.fail()
    before = server.resident()
    while not swarm.figure(clean, b"store/failing"):
        publisher.step(MESSAGES)
    stopped = publisher.acknowledged
    while swarm.figure(clean, b"store/failures") < 3:
        for _ in range(20):
            publisher.step(MESSAGES)
        served(swarm, clean)
    assert publisher.acknowledged == stopped < publisher.sent < MESSAGES
    assert BACKLOG < swarm.figure(clean, b"store/waiting/bytes") < BACKLOG + 500000
    assert server.resident() - before < 12 * BACKLOG
    refused = swarm.open(connect(4, b"new", clean=False))
    swarm.wait(lambda: refused.packets)
    assert refused.packets == [(0x20, b"\0\3")]
    assert server.output.count("x.db: cannot be ") == 1 and ("disk is full" in server.output) == (disk.error == errno.ENOSPC)
    disk.recover()
    deadline = time.monotonic() + PATIENCE
    while publisher.acknowledged < MESSAGES:
        publisher.step(MESSAGES)
        assert time.monotonic() < deadline
    assert not swarm.figure(clean, b"store/failing") and "works again" in server.output
    served(swarm, clean)
    server.kill()
    server = start(disk)
    assert what_came(swarm_of(server)) == list(range(1, MESSAGES + 1))


@pytest.mark.parametrize("fault", ["is full", "is broken"])
def test_a_broker_that_degrades(disk_that, start, begun, swarm_of, fault):
    """It goes on and acknowledges, and when it can write again everything gets there."""
    disk = disk_that(fault)
    server = start(disk, "degrade")
    swarm, publisher, clean = begun(server)
    disk.fail()
    while swarm.figure(clean, b"store/failures") < 2:
        for _ in range(20):
            publisher.step(publisher.acknowledged + 5)
        served(swarm, clean)
    assert publisher.acknowledged > 20 and swarm.figure(clean, b"store/undurable")
    swarm.connect(b"new", clean=False)
    disk.recover()
    while swarm.figure(clean, b"store/failing"):
        swarm.step(0.05)
    count = publisher.sent + 5
    while publisher.acknowledged < count:
        publisher.step(count)
    server.kill()
    server = start(disk)
    assert what_came(swarm_of(server)) == list(range(1, count + 1))


def test_a_slow_disk(disk_that, start, begun):
    """While it writes, nobody but those who wait for it has to wait."""
    disk = disk_that("is slow")
    server = start(disk)
    swarm, publisher, clean = begun(server)
    disk.say("wait")
    for _ in range(50):
        publisher.step(MESSAGES)
        served(swarm, clean)
    assert publisher.acknowledged == 20 and publisher.sent < MESSAGES
    assert swarm.figure(clean, b"store/waiting/bytes") < BACKLOG + 500000
    disk.recover()
    while publisher.acknowledged < publisher.sent:
        publisher.step(publisher.sent)
    assert swarm.figure(clean, b"store/longest") > 0 and not swarm.figure(clean, b"store/failures")
