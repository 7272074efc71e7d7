"""The programs of port/examples, and boards/examples/uart.py: each with a client, on the runtimes it is for."""

import json
import os
import pty
import queue
import select
import shutil
import socket
import subprocess
import sys
import termios
import threading
import time
import tty
from contextlib import suppress

import pytest

from server_process import free_port
from terminal_board import TerminalBoard
from drivers import TIMEOUT, paho
from drivers.paho import Paho
from toolchain import ROOT

EXAMPLES = ROOT / "port" / "examples"
UART = ROOT / "boards" / "examples" / "uart.py"


@pytest.fixture
def start(start_broker, runtime):
    """Start an example on each runtime: start("hooks")."""
    return lambda name, *arguments: start_broker(runtime, *arguments, script=EXAMPLES / f"{name}.py")


def test_embedding(start):
    server = start("embedding")
    client = Paho(server.port, "c", 5)
    client.subscribe("heater")
    assert client.receive().payload == b"off"
    for reading, wanted in ((b"18.5", b"on"), (b"cold", None), (b"20.5", b"off")):
        client.publish("sensors/kitchen", reading, 1)
        if wanted:
            assert client.receive().payload == wanted
    assert "no number on sensors/kitchen" in server.output
    client.disconnect()


def test_hooks(start):
    server = start("hooks")
    client = Paho(server.port, "c", 5)
    assert client.subscribe("#") == 0x87
    for topic_filter in ("clients/porch", "sensors/#"):
        client.subscribe(topic_filter, 1)
    other = Paho(server.port, "porch", 4)
    assert client.receive().payload == b"online"
    for topic, payload in (("sensors/fahrenheit", b"warm"), ("sensors/fahrenheit", b"68"), ("sensors/rain", b"no")):
        other.publish(topic, payload, 1)
    messages = [client.receive(), client.receive()]
    assert [(m.topic, m.payload) for m in messages] == [("sensors/celsius", b"20.0"), ("sensors/rain", b"no")]
    other.disconnect()
    assert client.receive().payload == b"offline"
    client.disconnect()


def test_token_authenticator(start):
    server = start("token_authenticator")
    Paho(server.port, "porch", 5, user="porch", password="token-of-the-porch").disconnect()
    for client_id, user, password in (
        ("porch", "porch", "guessed"), ("attic", "attic", "token-of-the-porch"), ("c", "porch", "token-of-the-porch"),
    ):  # fmt: skip
        with pytest.raises(AssertionError, match="Bad user name or password"):
            Paho(server.port, client_id, 5, user=user, password=password)
    assert "says authenticator tokens" in server.output


def test_json_store(start, tmp_path):
    file = tmp_path / "state.json"
    server = start("json_store", str(file))
    client = Paho(server.port, "away", 5, persistent=True)
    client.subscribe("t", 1)
    client.disconnect()
    other = Paho(server.port, "c", 5)
    other.publish("t", b"waits", 1)
    other.publish("kept", b"on", 1, retain=True)
    assert json.loads(file.read_text())
    server.kill()
    server = start("json_store", str(file))
    client = Paho(server.port, "away", 5, persistent=True)
    assert client.session_present and client.receive().payload == b"waits"
    client.subscribe("kept", 1)
    assert client.receive().payload == b"on"
    client.disconnect()


def test_a_json_store_that_cannot_be_written(start, tmp_path):
    """Clients wait for what is not written; it is when there is room again."""
    folder = tmp_path / "folder"
    folder.mkdir()
    server = start("json_store", str(folder / "state.json"))
    client, other = Paho(server.port, "c", 5), Paho(server.port, "d", 5)
    other.subscribe("#")
    shutil.rmtree(folder)
    sent = client.send("kept", b"on", 1, retain=True)
    other.receive()
    assert not sent.is_published() and "store: " in server.output
    folder.mkdir()
    sent.wait_for_publish(TIMEOUT)
    assert sent.is_published() and json.loads((folder / "state.json").read_text())
    client.disconnect()
    other.disconnect()


def wait_for(server, text):
    """Wait until it has printed this, from now on."""
    before = len(server.output)
    deadline = time.monotonic() + TIMEOUT
    while text not in server.output[before:]:
        assert time.monotonic() < deadline, server.output
        time.sleep(0.05)


def test_watchers(start):
    server = start("watchers")
    wait_for(server, "the camera is off, clients: 0")
    client, other = Paho(server.port, "c", 5), Paho(server.port, "d", 5)
    for one in (client, other):
        one.subscribe("camera/picture")
        assert one.receive().payload == b"a picture"
    client.unsubscribe("camera/picture")
    wait_for(server, "the camera is on, clients: 2")
    other.kill()
    wait_for(server, "the camera is off, clients: 1")
    client.disconnect()


def test_with_a_broker(tmp_path):
    """As a user's pytest runs it, with the plugin that it finds by itself."""
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:asyncio", str(EXAMPLES / "test_with_a_broker.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=4 * TIMEOUT)
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout + done.stderr


def test_every_example_is_run_and_listed():
    named = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    for path in EXAMPLES.glob("*.py"):
        assert path.stem.removeprefix("test_") in named
        assert f"({path.name})" in (EXAMPLES / "README.md").read_text()
        text = path.read_text()
        assert text.startswith('"""') and path.name in text or f"port.examples.{path.stem}" in text
        assert len([line for line in text.split('"""', 2)[2].splitlines() if line.strip()]) <= 45
        assert "port.core" not in text and "port.cpython." not in text and "port.micropython." not in text


# -- serial lines ----------------------------------------------------------------------------------


class Line:
    """A serial line: `device` is one end, whoever connects to `port` is at the other one."""

    def __init__(self):
        self.line, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.device = os.ttyname(self.slave)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._relay)
        self._thread.start()

    def _relay(self):
        client = None
        while True:
            watched: list[socket.socket | int] = [self._listening, self._ended, self.line]
            ready = select.select(watched + [client] if client else watched, [], [])[0]
            if self._ended in ready:
                break
            if self._listening in ready:
                client = self._listening.accept()[0]
            elif client in ready:
                data = client.recv(256)
                if data:
                    os.write(self.line, data)
                else:
                    client.close()
                    client = None
            elif self.line in ready:
                data = os.read(self.line, 256)
                if client:
                    client.sendall(data)
        if client:
            client.close()

    def close(self):
        os.write(self._end, b"x")
        self._thread.join()
        self._listening.close()
        for fd in (self.line, self.slave, self._ended, self._end):
            os.close(fd)


@pytest.fixture
def line():
    made = Line()
    yield made
    made.close()


def connect(port, client_id):
    """A client at the other end of a serial line. Its CONNECT is lost while the broker ends the client before it."""
    for _ in range(int(TIMEOUT)):
        with pytest.MonkeyPatch.context() as patch, suppress(queue.Empty):
            patch.setattr(paho, "TIMEOUT", 1)
            return Paho(port, client_id, 5)
    raise AssertionError("no answer")


def exchange(line, other):
    """Two clients on the line, one after the other, and one on TCP."""
    other.subscribe("from/line", 1)
    for number in (1, 2):
        client = connect(line.port, f"line-{number}")
        client.subscribe("to/line", 1)
        client.publish("from/line", b"%d" % number * 3000, 1)
        assert other.receive().payload == b"%d" % number * 3000
        other.publish("to/line", b"hello", 1)
        assert client.receive().payload == b"hello"
        client.disconnect()
    other.disconnect()


def test_serial_line(start_broker, line):
    server = start_broker("cpython", line.device, script=EXAMPLES / "serial_line.py")
    exchange(line, Paho(server.port, "c", 5))


def test_uart_of_a_board(tool, tmp_path, line):
    tool("micropython")
    mode = termios.tcgetattr(line.slave)
    mode[6][termios.VMIN] = 0  # a read gives what is there, as that of a UART
    termios.tcsetattr(line.slave, termios.TCSANOW, mode)
    port = free_port()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "port").symlink_to(ROOT / "port")
    (tmp_path / "air").write_text("home secret-word")
    (tmp_path / "uart-0").write_text(line.device)
    config = {"listener": [{"host": "127.0.0.1", "port": port}], "wifi": {"ssid": "home", "password": "secret-word"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "main.py").write_text(UART.read_text())
    with TerminalBoard(tmp_path) as board:
        deadline = time.monotonic() + 3 * TIMEOUT
        while "listening at" not in board.output:
            assert time.monotonic() < deadline, board.output
            time.sleep(0.05)
        exchange(line, Paho(port, "c", 5))
