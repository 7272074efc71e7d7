"""Clients on boards: scripts that behave like umqtt.simple, umqtt.robust and mqtt_as, on a real MicroPython.

The libraries themselves are in no registry that pins versions; see the scripts for what they share with them.
"""

import subprocess
from typing import Any

import pytest

from drivers import TIMEOUT
from drivers.paho import Paho
from toolchain import ROOT

CLIENTS = ROOT / "tests" / "support" / "programs"


@pytest.fixture
def start(tool, broker):
    """Start a client script."""
    started: list[Any] = []

    def start(script):
        process = subprocess.Popen(
            [tool("micropython"), str(CLIENTS / script), str(broker.port)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(TIMEOUT)
        process.stdout.close()


def done(process):
    """Wait for the end of a script that is to say so."""
    output, _ = process.communicate(timeout=30)
    assert output.endswith("done\n") and process.returncode == 0, output


def test_umqtt_simple(start, broker):
    watcher = Paho(broker.port, "watcher", 5)
    watcher.subscribe("simple/will", 1)
    done(start("umqtt_simple_client.py"))
    watcher.publish("simple/will", b"none came before", 1)
    assert watcher.receive().payload == b"none came before"
    watcher.disconnect()


def test_umqtt_simple_will(start, broker):
    watcher = Paho(broker.port, "watcher", 5)
    watcher.subscribe("simple/#", 1)
    client = start("umqtt_simple_client.py")
    watcher.receive()  # it has connected
    client.kill()
    while watcher.receive().topic != "simple/will":
        pass
    watcher.disconnect()


def test_umqtt_robust(start, broker):
    client = start("umqtt_robust_client.py")
    assert client.stdout.readline() == "ready\n"
    other = Paho(broker.port, "other", 5)
    other.subscribe("robust/echo", 1)
    other.publish("robust/in", b"1", 1)
    assert other.receive().payload == b"1"
    # Its connection is taken away, and messages come before it is back.
    thief = Paho(broker.port, "robust", 4, persistent=True)
    assert thief.session_present
    thief.disconnect()
    for payload in (b"2", b"break", b"3"):
        other.publish("robust/in", payload, 1)
        # At least once: what it did not acknowledge before the break comes again.
        while other.receive().payload != payload:
            pass
    other.publish("robust/in", b"end", 1)
    done(client)
    other.disconnect()
    Paho(broker.port, "robust", 4).disconnect()  # ends its session


def test_mqtt_as(start):
    done(start("mqtt_as_client.py"))
