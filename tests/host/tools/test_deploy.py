"""tools/deploy with a MicroPython behind a serial line."""

import json
import os
import pty
import subprocess
import sys
import tty
from dataclasses import replace

import pytest
import serial

import toolchain
from deployment.device import DeployError, Facts, check_board, check_needs
from drivers.paho import Paho
from server_process import free_port
from terminal_board import TerminalBoard

SECONDS = 120


@pytest.fixture
def board(tool, tmp_path):
    tool("micropython")
    folder = tmp_path / "board"
    folder.mkdir()
    (folder / "air").write_text("home wifi-secret")
    with TerminalBoard(folder) as started:
        yield started


def deploy(port, *arguments, stdin="", board="rpi-pico-w"):
    """Run it: (exit status, what it printed)."""
    done = subprocess.run([sys.executable, "tools/deploy", port, "--board", board, *arguments], cwd=toolchain.ROOT, input=stdin,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS)
    assert "Traceback" not in done.stdout, done.stdout
    assert "secret" not in done.stdout
    return done.returncode, done.stdout


@pytest.mark.parametrize("how", [(), ("--ampy",), ("--source", "--package", "without-store")], ids=["mpremote", "ampy", "source"])
def test_from_nothing_to_a_message(board, how):
    port = free_port()
    code, text = deploy(board.console, "--force", "--ssid", "home", "--user", "alice", "--mqtt", str(port),
                        "--option", "max_queued_messages=7", *how, stdin="wifi-secret\nalices-secret\n")
    assert code == 0, text
    assert "joined home" in text
    assert "ucomqtt: listening at 127.0.0.1" in text
    config = json.loads((board.folder / "config.json").read_text())
    assert config["max_queued_messages"] == 7
    assert "alices-secret" not in str(config)  # a hash of it
    assert (board.folder / "lib/port/core/broker.py").exists() == ("--source" in how)
    with pytest.raises(AssertionError, match="Not authorized"):
        Paho(port, "nobody", 5)
    client = Paho(port, "somebody", 5, user="alice", password="alices-secret")
    client.subscribe("a", 1)
    client.publish("a", b"1", 1)
    assert client.receive().payload == b"1"
    client.disconnect()
    if how:
        return
    # The configuration stays when only the program is to be renewed.
    before = (board.folder / "config.json").read_bytes()
    code, text = deploy(board.console, "--force", *how)
    assert code == 0, text
    assert (board.folder / "config.json").read_bytes() == before


@pytest.mark.parametrize(("arguments", "stdin", "text"), [
    ((), "", "this is not rpi-pico-w"),
    (("--force",), "", "--ssid is missing"),
    (("--force", "--ssid", "home"), "x\n", "nobody could connect"),
    (("--force", "--ssid", "home", "--anonymous"), "", "Password of the Wi-Fi home is empty"),
    (("--force", "--ssid", "h", "--anonymous", "--option", "max_conections=3"), "x\n", "did you mean max_connections"),
    (("--force", "--ssid", "h", "--anonymous", "--address", "1.2.3.4"), "x\n", "--address must be"),
])  # fmt: skip
def test_says_what_is_wrong_and_writes_nothing(board, arguments, stdin, text):
    code, printed = deploy(board.console, *arguments, stdin=stdin)
    assert code == 1
    assert text in printed
    assert {path.name for path in board.folder.iterdir()} == {"air"}


def test_no_such_port_and_a_busy_one(board):
    assert deploy(board.console + "0") == (1, f"deploy: there is no port {board.console}0\n")
    with serial.Serial(board.console, exclusive=True):
        code, text = deploy(board.console)
    assert code == 1
    assert f"{board.console} is in use" in text


def test_a_device_that_does_not_answer():
    line, slave = pty.openpty()
    tty.setraw(slave)
    try:
        code, text = deploy(os.ttyname(slave))
    finally:
        os.close(line)
        os.close(slave)
    assert code == 1
    assert "does not answer" in text


@pytest.mark.parametrize(("changed", "text"), [
    ({"version": (1, 22, 2)}, "MicroPython 1.22.2 is too old, it must be 1.23 or newer"),
    ({"mpy": 7}, "loads .mpy files of version 7, not 6"),
    ({"free": 9 * 4096}, "no space: 40 KB are needed, 36 KB are free"),
    ({"platform": "esp32"}, "its MicroPython is for esp32, not rp2"),
    ({"wlan": False}, "has no Wi-Fi"),
])  # fmt: skip
def test_boards_that_will_not_do(changed, text):
    good = Facts(platform="rp2", version=(1, 23, 0), mpy=6, block=4096, free=10 * 4096, wlan=True, files=[])

    def check(facts):
        check_board(facts, "rp2", "rpi-pico-w")
        check_needs(facts, [4097, *[100] * 8])  # each takes whole blocks

    check(good)
    check_needs(replace(good, mpy=7), [100], compiled=False)
    with pytest.raises(DeployError, match=text):
        check(replace(good, **changed))
