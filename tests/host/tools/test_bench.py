"""tools/bench: it measures, and it notices a broker that loses messages, sends too many or breaks off."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from benchmark.brokers import BenchError
from benchmark.each import operations
from benchmark.goals import judge
from benchmark.measure import Figures, run_load
from benchmark.scale import receive, surplus
from benchmark.wire import Wire
from benchmark.workloads import Flows, Latency
from toolchain import ROOT

CONNACK, SUBACK, PUBACK = b"\x20\x02\0\0", b"\x90\x03\0\1", b"\x40\x02"


def bench(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "bench"), *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def measured(tmp_path, names, *arguments):
    """Run these workloads on our broker, small; the values by workload and unit."""
    done = bench("--brokers", "ucomqtt", "--only", ",".join(names), "--python", sys.executable,
                 "--json", tmp_path / "bench.json", *arguments)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "bench.json").read_text())["workloads"]
    assert sorted(found) == sorted(names)
    return {name: figures["ucomqtt"]["values"] for name, figures in found.items()}


def test_every_way_and_every_kind_of_message(tmp_path):
    names = ["qos0-1-flood", "qos0-10-w100-acl", "qos0-10-w100-v5props", "qos0-10-w100-ws", "qos0-10-w100-tls",
             "qos0-10-w100-wss", "qos1-10-v5", "qos2-1", "payload-64k", "fanin-100", "shared-10"]  # fmt: skip
    for values in measured(tmp_path, names, "--rounds", 1, "--scale", 0.002).values():
        assert values["CPU us/message"][0] > 0


def test_rounds(tmp_path):
    """One workload with a new broker each round, one with the same for all rounds."""
    found = measured(tmp_path, ["qos0-10-flood", "storm"], "--rounds", 3, "--scale", 0.002)
    assert len(found["qos0-10-flood"]["CPU us/message"]) == len(found["storm"]["CPU us/connect"]) == 3
    again = measured(tmp_path, ["qos0-10-flood", "storm"], "--known", tmp_path / "bench.json")
    assert again == found


def test_latency_memory_and_scale_as_a_report(tmp_path, tool):
    tool("gcc")
    names = ["latency-1000", "idle-1000", "filters-100000", "retained-100000", "storm", "storm-sessions"]
    found = measured(tmp_path, names, "--rounds", 1, "--scale", 0.004, "--report", tmp_path / "report")
    for name, unit in (
        ("latency-1000", "p50 us"), ("latency-1000", "p99 us"), ("filters-100000", "CPU us/message, other topics"),
        ("retained-100000", "CPU us/delivered"), ("storm", "CPU us/connect"), ("storm-sessions", "connects/s"),
    ):  # fmt: skip
        assert found[name][unit][0] > 0
    assert "bytes/connection" in found["idle-1000"] and "bytes/subscription" in found["filters-100000"]
    text = (tmp_path / "report" / "bench.md").read_text()
    for name in names:
        assert f"| {name} | " in text and f"- {name}: " in text
    assert "storm" not in (tmp_path / "report" / "bench.svg").read_text()  # it has no bars
    assert "latency-1000" in (tmp_path / "report" / "bench.svg").read_text()


def test_brokers_that_keep_sessions_and_messages(tmp_path):
    """With a store, and with one transaction per operation: they deliver all, and it is told how fast."""
    names = {"kept-qos2-10": "messages/s", "kept-away": "messages/s fetched", "kept-retained": "messages/s"}
    brokers = ["ucomqtt-batch", "ucomqtt-each-normal"]
    done = bench("--stores", "--brokers", ",".join(brokers), "--only", ",".join(names), "--python", sys.executable, "--rounds", 1,
                 "--scale", 0.005, "--json", tmp_path / "bench.json", "--report", tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "bench.json").read_text())["workloads"]
    for name, unit in names.items():
        for broker in brokers:
            assert found[name][broker]["values"][unit][0] > 0
    assert "| kept-away | messages/s queued | " in (tmp_path / "stores.md").read_text()


def test_one_transaction_per_operation():
    """What one operation changes is together, what several change is apart."""
    message, other, entry, second, retained = b"\5\0\0\0\0\0\1", b"\5\0\0\0\0\0\2", b"\6a", b"\6b", b"\7x"
    batch = [(retained, b"r"), (message, b"m"), (entry, b"e"), (second, b"e"), (other, b"m"), (entry, b"e")]
    assert list(operations(batch)) == [batch[:1], batch[1:3], batch[3:4], batch[4:]]
    gone = [(entry, None), (message, None), (second, None), (other, None), (retained, None)]
    assert list(operations(gone)) == [gone[:2], gone[2:4], gone[4:]]


def test_what_is_wrong_in_the_command_line():
    done = bench("--only", "qos1*,qos3")
    assert done.returncode == 2 and "no such workload: qos3" in done.stderr
    done = bench("--peer", "other=broker")
    assert done.returncode == 1 and "'other=broker'" in done.stderr


class Forgery:
    """A broker for one publisher and one subscriber that passes every packet on `times(number)` times, or sends what that returns."""

    def __init__(self, qos, times):
        self.qos = qos
        self.times = times
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        with contextlib.suppress(ConnectionError), self.socket, self.accept() as subscriber, self.accept() as publisher:
            with publisher.makefile("rb") as packets:
                number = 0
                while head := packets.read(2):
                    packet = head + packets.read(head[1])
                    number += 1
                    passed = self.times(number)
                    subscriber.sendall(packet * passed if isinstance(passed, int) else passed)
                    if self.qos:
                        publisher.sendall(PUBACK + packet[14:16])

    def accept(self):
        connection = self.socket.accept()[0]
        connection.recv(1000)
        connection.sendall(CONNACK)
        if not hasattr(self, "subscribed"):
            self.subscribed = True
            connection.recv(1000)
            connection.sendall(SUBACK + bytes((self.qos,)))
        return connection


def passed_on(forgery, load, said, folder):
    """Drive a load through a forged broker."""
    try:
        if said is None:
            run_load(load, os.getpid(), forgery.port, folder)
        else:
            with pytest.raises(BenchError, match=said):
                run_load(load, os.getpid(), forgery.port, folder)
    finally:
        forgery.thread.join(10)
    assert not forgery.thread.is_alive()


FAULTS = {
    "none": (lambda number: 1, None),
    "lost": (lambda number: number != 7, "1 messages lost"),
    "surplus": (lambda number: 1 + (number == 7), "1 messages surplus"),
    "garbage": (lambda number: b"\xd0\0" if number == 7 else 1, "sent something else|unexpected packet"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("qos", [0, 1])
def test_messages_lost_surplus_and_spoilt(tmp_path, qos, fault):
    times, said = FAULTS[fault]
    passed_on(Forgery(qos, times), Flows("forged", 100, qos=qos, patience=0.5), said, tmp_path)


@pytest.mark.parametrize("fault", FAULTS)
def test_latency_is_not_told_of_a_broker_that_fails(tmp_path, tool, fault):
    tool("gcc")
    times, said = FAULTS[fault]
    load = Latency("forged", 100, rate=1000, pairs=1, patience=0.5)
    passed_on(Forgery(0, times), load, said, tmp_path)


class Arriving(Wire):
    """On which these chunks come, then nothing."""

    def __init__(self, *chunks):
        self.chunks = list(chunks)
        self.socket = socket.socket()

    def receive(self):
        if not self.chunks:
            raise TimeoutError
        return self.chunks.pop(0)

    def __del__(self):
        self.socket.close()


def test_packets_are_counted_whole():
    packet = b"\x30\x02ab"
    assert receive(Arriving(packet * 2, packet), 4, 0x30, 3) == 0
    assert receive(Arriving(packet + packet[:1], packet[1:]), 4, 0x30, 3) == 1
    assert receive(Arriving(packet[2:]), 4, 0x30, 3, packet * 2 + packet[:2]) == 0
    assert receive(Arriving(packet * 4), 4, 0x30, 3) == -1
    assert surplus([Arriving(), Arriving(packet)], 4) == 1


def test_goals():
    def table(ours, others):
        return judge({"qos0-500-w1": {
            "ucomqtt": Figures(1, values={"CPU us/message": ours}), "mosquitto": Figures(1, values={"CPU us/message": others}),
        }})  # fmt: skip

    assert "| at most 1.2 | 1.1 | yes |" in table([22.0, 11.0, 1.0], [10.0])
    assert "| at most 1.2 | 1.3 | NO |" in table([13.0], [10.0])
    figures = {name: Figures(1, values={"messages/s": [value]})
               for name, value in (("ucomqtt-batch", 45.0), ("mosquitto-saving", 30.0), ("ucomqtt-each", 5.0))}  # fmt: skip
    rows = judge({"kept-qos1-10": figures})
    assert "| ucomqtt-batch / mosquitto-saving | at least 1 | 1.5 | yes |" in rows
    assert "| ucomqtt-batch / ucomqtt-each | at least 10 | 9 | NO |" in rows
