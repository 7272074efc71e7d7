"""The main programs of boards, on a MicroPython with a network and pins of straw."""

import json
import time

import pytest

import toolchain
from server_process import free_port
from terminal_board import TerminalBoard
from tests.host.drivers.paho import Paho

SECONDS = 40
BOARDS = toolchain.ROOT / "boards"

# Opening the listeners fails while there is a file called broken.
BREAK = """
import os

import port.micropython.board


class Broken(port.micropython.board.Wifi):
    async def start(self):
        if "broken" in os.listdir():
            raise RuntimeError("broken on purpose")
        return await super().start()


port.micropython.board.Wifi = Broken
"""


@pytest.fixture
def board(tool, tmp_path):
    """Start a board: board(main file, **configuration); it listens at its `port`."""
    tool("micropython")
    folder = tmp_path / "board"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "port").symlink_to(toolchain.ROOT / "port")
    (folder / "air").write_text("home secret-word")
    started = []

    def start(main, pins=None, broken=False, **values):
        port = free_port()
        for number, state in (pins or {}).items():
            (folder / f"pin-{number}").write_text(str(state))
        wifi = {"ssid": "home", "password": "secret-word", "timeout": 1, "ap_ssid": "setup", "ap_password": "12345678"}
        config = {"listener": [{"host": "127.0.0.1", "port": port}], "wifi": wifi, "log_level": "info"}
        config.update(values)
        (folder / "config.json").write_text(json.dumps(config))
        text = (BOARDS / main).read_text()
        if broken:
            (folder / "broken").touch()
            text = text.replace("\nrun(", BREAK + "\nrun(")
        (folder / "main.py").write_text(text)
        started.append(TerminalBoard(folder))
        started[-1].port = port
        return started[-1]

    yield start
    for one in started:
        assert "secret-word" not in one.output
        one.close()


def wait_for(board, *texts):
    """Wait until the board has printed these."""
    deadline = time.monotonic() + SECONDS
    while not all(text in board.output for text in texts):
        assert time.monotonic() < deadline, (texts, board.output)
        time.sleep(0.05)


@pytest.mark.parametrize("main", ["rpi-pico-w/main.py", "esp32/main.py"])
def test_starts(board, main):
    started = board(main)
    wait_for(started, "ucomqtt: listening at 127.0.0.1")
    assert "station config [('pm', 10555712)]" in started.output and "hostname ucomqtt" in started.output
    assert ("pin LED 1" in started.output) == (main == "rpi-pico-w/main.py")
    Paho(started.port, "c", 5).disconnect()


def test_short_memory_admits_nobody(board):
    started = board("esp32/main.py", board={"memory": 10_000_000})
    wait_for(started, "listening at", "memory is short")
    with pytest.raises(AssertionError, match="Quota exceeded"):
        Paho(started.port, "c", 5)


def test_access_point_until_the_network_is_there(board):
    wifi = {"ssid": "home", "password": "other-secret", "timeout": 1, "ap_ssid": "setup", "ap_password": "12345678"}
    started = board("rpi-pico-w/main.py", wifi=wifi)
    wait_for(started, "cannot join home", "('security', 3), ('ssid', 'setup')", "listening at")
    (started.folder / "air").write_text("home other-secret")
    wait_for(started, "joined home", "ap active False", "pin LED 1")
    client = Paho(started.port, "c", 4)
    (started.folder / "air").write_text("")
    wait_for(started, "lost home", "pin LED 0")
    (started.folder / "air").write_text("home other-secret")
    client.publish("still", b"here", 1)
    client.disconnect()
    assert "other-secret" not in started.output


def test_ctrl_c_always_leaves_the_prompt(board):
    started = board("rpi-pico-w/main.py", board={"watchdog": True})
    wait_for(started, "watchdog 8000", "listening at")
    started.type("\x03")
    wait_for(started, "timer 2000", "ucomqtt: stopped", ">>> ")
    started.type("print(6 * 7)\r")
    wait_for(started, "\n42")


@pytest.mark.parametrize(("values", "text"), [
    ({"max_conections": 3}, "max_connections"),
    ({"board": {"watch_dog": True}}, "unknown key watch_dog"),
    ({"wifi": {"ssid": "home", "ap_password": "short"}}, "ap_password must have at least 8 characters"),
    ({"wifi": {"ssid": "home", "password": "secret-word", "sid": "x"}}, "wifi"),
    ({"board": {"safe_pin": 9}}, "the safe pin is low"),
])  # fmt: skip
def test_leaves_the_prompt_and_says_why(board, values, text):
    started = board("rpi-pico-w/main.py", pins={9: 0}, **values)
    wait_for(started, text, ">>> ")
    assert "listening" not in started.output


def test_starts_again_after_an_error(board):
    started = board("examples/gpio.py", board={"retry": 1}, broken=True)
    wait_for(started, "broken on purpose", "starts again in 1 s")
    (started.folder / "broken").unlink()
    wait_for(started, "listening at")


def test_automation_without_a_client(board):
    started = board("examples/gpio.py", pins={17: 1})
    wait_for(started, "listening at")
    client = Paho(started.port, "c", 5)
    client.subscribe("button")
    assert client.receive().payload == b"released"
    (started.folder / "pin-17").write_text("0")
    assert client.receive().payload == b"pressed"
    client.publish("lamp", b"on", 1)
    wait_for(started, "pin 16 1")
    client.publish("lamp", b"off", 1)
    wait_for(started, "pin 16 0")
    client.disconnect()
