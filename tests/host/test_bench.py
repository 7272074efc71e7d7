"""tools/bench: it measures, and it notices a broker that loses messages, sends too many or breaks off."""

import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from bench_brokers import BenchError
from bench_measure import run_load
from bench_workloads import Load
from toolchain import ROOT

CONNACK, SUBACK, PUBACK = b"\x20\x02\0\0", b"\x90\x03\0\1", b"\x40\x02"


def bench(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "bench"), *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def test_every_way_and_every_kind_of_message(tmp_path):
    names = "qos0-flood,qos0-w100-acl,qos0-w100-v5props,qos0-w100-ws,qos0-w100-tls,qos0-w100-wss,qos1,qos2"
    done = bench("--brokers", "ucomqtt", "--only", names, "--rounds", 2, "--scale", 0.002, "--python", sys.executable,
                 "--json", tmp_path / "bench.json")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "bench.json").read_text())["workloads"]
    assert sorted(found) == sorted(names.split(","))
    for figures in found.values():
        own = figures["ucomqtt"]
        assert len(own["microseconds"]) == 2 and min(own["microseconds"]) > 0


def test_what_is_wrong_in_the_command_line():
    done = bench("--only", "qos3")
    assert done.returncode == 2 and "no such workload: qos3" in done.stderr
    done = bench("--peer", "other=broker")
    assert done.returncode == 1 and "'other=broker'" in done.stderr


class Forgery:
    """A broker for one publisher and one subscriber that passes every packet on `times(number)` times."""

    def __init__(self, qos, times):
        self.qos = qos
        self.times = times
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        with self.socket, self.accept() as subscriber, self.accept() as publisher:
            with publisher.makefile("rb") as packets:
                number = 0
                while head := packets.read(2):
                    packet = head + packets.read(head[1])
                    number += 1
                    try:
                        subscriber.sendall(packet * self.times(number))
                        if self.qos:
                            publisher.sendall(PUBACK + packet[14:16])
                    except OSError:
                        return

    def accept(self):
        connection = self.socket.accept()[0]
        connection.recv(1000)
        connection.sendall(CONNACK)
        if not hasattr(self, "subscribed"):
            self.subscribed = True
            connection.recv(1000)
            connection.sendall(SUBACK + bytes((self.qos,)))
        return connection


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize(
    ("times", "said"),
    [
        (lambda number: 1, None),
        (lambda number: number != 7, "1 of 100 messages lost"),
        (lambda number: 1 + (number == 7), "1 of 100 messages surplus"),
    ],
    ids=["all", "lost", "surplus"],
)
def test_lost_and_surplus_messages(tmp_path, qos, times, said):
    forgery = Forgery(qos, times)
    load = Load("forged", 100, qos=qos, patience=0.5)
    try:
        if said is None:
            assert run_load(load, os.getpid(), forgery.port, tmp_path)["lost"] == 0
        else:
            with pytest.raises(BenchError, match=said):
                run_load(load, os.getpid(), forgery.port, tmp_path)
    finally:
        forgery.thread.join(10)
    assert not forgery.thread.is_alive()
