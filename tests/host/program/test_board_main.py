"""The main programs of boards, on a MicroPython with a network and pins of straw."""

import json
import socket
import struct
import threading
import time
from typing import Any

import pytest

import toolchain
from drivers.paho import Paho
from server_process import free_port
from terminal_board import TerminalBoard

SECONDS = 40
BOARDS = toolchain.ROOT / "boards"
PICO, ESP32, GPIO = "rpi-pico-w/main.py", "esp32/main.py", "examples/gpio.py"

# ESP-IDF's memory: its free bytes, in two regions, are in the file idf-free.
ESP32_MODULE = """
HEAP_DATA = 4


def idf_heap_info(capabilities):
    with open("idf-free") as file:
        free = int(file.read())
    assert capabilities == HEAP_DATA
    return [(100000, free - 1000, 0, 0), (20000, 1000, 0, 0)]
"""

# What looks after the broker fails while there is a file called broken.
BREAK = """
import os
import port.micropython.board.program


class Broken(port.micropython.board.program.MemoryGuard):
    def look(self):
        super().look()
        if "broken" in os.listdir():
            raise RuntimeError("broken on purpose")


port.micropython.board.program.MemoryGuard = Broken
"""

# A program that keeps all else waiting, then fails.
HANG = """
import time
import port.micropython.board.ntp

port.micropython.board.ntp.NTP_PORT = %d


async def program(server):
    await asyncio.sleep_ms(1200)
    fed = machine.WDT.fed
    time.sleep_ms(1500)
    print("fed before:", fed > 0, "meanwhile:", machine.WDT.fed - fed)
    raise RuntimeError("the program has failed")
"""

# The time of a firmware that counts from 2000, as an ESP32's does.
TIME = """
import utime
from utime import *


def time():
    return int(utime.time()) - 946684800


def gmtime(seconds=None):
    return utime.gmtime((time() if seconds is None else seconds) + 946684800)
"""

ALL_CONFIGURATIONS = """
from port.micropython.board.program import run

for number in range(%d):
    print("case", number)
    run(path="%%d.json" %% number)
print("end")
"""


@pytest.fixture
def board(tool, tmp_path):
    """Start a board: board(main file, **configuration); it listens at its `port`.

    `before`: code for the main program, in front of its call of run; `esp32`: free bytes of ESP-IDF's memory.
    """
    tool("micropython")
    folder = tmp_path / "board"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "port").symlink_to(toolchain.ROOT / "port")
    (folder / "air").write_text("home secret-word")
    started = []

    def start(main, files=None, before="", esp32=0, sockets=None, wifi=None, **values):
        port = free_port()
        for name, text in (files or {}).items():
            (folder / name).write_text(text)
        if esp32:
            (folder / "esp32.py").write_text(ESP32_MODULE)
            (folder / "idf-free").write_text(str(esp32))
        config: dict[str, Any] = {"listener": [{"host": "127.0.0.1", "port": port}], "log_level": "info"}
        config["wifi"] = {"ssid": "home", "password": "secret-word", "timeout": 1, **(wifi or {})}
        config.update(values)
        (folder / "config.json").write_text(json.dumps(config))
        text = (BOARDS / main).read_text()
        (folder / "main.py").write_text(text.replace("\nrun(", before + "\nrun("))
        started.append(TerminalBoard(folder, sockets=sockets))
        started[-1].port = port
        return started[-1]

    yield start
    for one in started:
        assert "secret-word" not in one.output
        one.close()


def wait_for(board, *texts, times=1):
    """Wait until the board has printed these, so often."""
    deadline = time.monotonic() + SECONDS
    while not all(board.output.count(text) >= times for text in texts):
        assert time.monotonic() < deadline, (texts, board.output)
        time.sleep(0.05)


def in_order(board, *texts):
    places = [board.output.index(text) for text in texts]
    return places == sorted(places)


@pytest.mark.parametrize(("main", "esp32", "pm"), [(PICO, 0, 0xA11140), (ESP32, 100000, 0)], ids=["pico", "esp32"])
def test_starts(board, main, esp32, pm):
    started = board(main, esp32=esp32)
    wait_for(started, "ucomqtt: listening at 127.0.0.1")
    assert in_order(started, "hostname ucomqtt", "station active True", f"station config [('pm', {pm})]", "joined home")
    assert "static" not in started.output  # DHCP
    assert ("pin LED 1" in started.output) == (main == PICO)
    Paho(started.port, "c", 5).disconnect()


def test_settings_of_the_network(board):
    address = ["192.168.1.9", "255.255.255.0", "192.168.1.1", "192.168.1.2"]
    started = board(PICO, wifi={"hostname": "broker", "address": address, "power_save": True})
    wait_for(started, "listening at")
    assert in_order(started, "hostname broker", "station active True", f"static {tuple(address)}", "joined home")
    assert "'pm'" not in started.output


def test_access_point_until_the_network_is_there(board):
    started = board(PICO, wifi={"password": "other-secret", "ap_ssid": "setup", "ap_password": "12345678"})
    wait_for(started, "cannot join home", "('security', 3), ('ssid', 'setup')", "ap active True", "listening at")
    wait_for(started, "pin LED 1", "pin LED 0")  # it blinks
    client = Paho(started.port, "c", 4)
    away = Paho(started.port, "away", 4, persistent=True)
    away.subscribe("still", 1)
    away.disconnect()
    (started.folder / "air").write_text("home other-secret")
    wait_for(started, "joined home", "ap active False")
    for times in (1, 2):
        (started.folder / "air").write_text("")
        wait_for(started, "lost home", times=times)
        wait_for(started, "ap active True", times=times + 1)
        client.publish("still", b"here", 1)
        (started.folder / "air").write_text("home other-secret")
        wait_for(started, "joined home", "ap active False", times=times + 1)
    (started.folder / "air").write_text("storm")
    wait_for(started, "the driver has failed")
    (started.folder / "air").write_text("")
    wait_for(started, "lost home", times=3)
    (started.folder / "air").write_text("home other-secret")
    wait_for(started, "joined home", times=4)
    client.disconnect()
    away = Paho(started.port, "away", 4, persistent=True)
    assert [away.receive().payload, away.receive().payload] == [b"here", b"here"]
    away.disconnect()
    assert "other-secret" not in started.output
    assert started.output.count("listening at") == 1


def test_access_point_alone(board):
    started = board(ESP32, esp32=100000, wifi={"ssid": "", "ap_ssid": "setup", "ap_password": "12345678"}, board={"led": 2})
    wait_for(started, "listening at")
    assert in_order(started, "ap active True", "('security', 3), ('ssid', 'setup')", "listening at")
    assert "station" not in started.output
    Paho(started.port, "c", 4).disconnect()


@pytest.mark.parametrize(("main", "esp32"), [(PICO, 0), (ESP32, 100000)], ids=["pico", "esp32"])
def test_an_access_point_without_a_password_is_open(board, main, esp32):
    """Whatever the firmware's default is."""
    started = board(main, esp32=esp32, wifi={"ssid": "", "ap_ssid": "setup", "ap_password": ""})
    wait_for(started, "listening at")
    assert in_order(started, "ap config [('security', 0), ('ssid', 'setup')]", "listening at")
    Paho(started.port, "c", 4).disconnect()


@pytest.mark.parametrize(("main", "esp32", "timer"), [(PICO, 0, -1), (ESP32, 100000, 0)], ids=["pico", "esp32"])
def test_ctrl_c_always_leaves_the_prompt(board, main, esp32, timer):
    started = board(main, esp32=esp32, board={"watchdog": True})
    wait_for(started, "watchdog 8000", "listening at")
    assert (started.folder / "ucomqtt.starts").read_text() == "1"
    started.type("\x03")
    wait_for(started, f"timer {timer} 2000 feeds", "ucomqtt: stopped", ">>> ")
    # On a Pico a timer that nobody knows goes with the garbage.
    started.type("import port.micropython.board.program; print(6 * 7, port.micropython.board.program.timer)\r")
    wait_for(started, "\n42 <Timer")
    assert not (started.folder / "ucomqtt.starts").exists()


def test_starts_that_do_not_last_end_at_the_prompt(board):
    started = board(PICO, files={"ucomqtt.starts": "3"}, board={"watchdog": True})
    wait_for(started, "3 starts have not lasted 60 s, goes on in 60 s; Ctrl-C for the prompt")
    assert (started.folder / "ucomqtt.starts").read_text() == "4"
    started.type("\x03")
    wait_for(started, "ucomqtt: stopped", ">>> ")
    assert "hostname" not in started.output and "watchdog" not in started.output
    assert not (started.folder / "ucomqtt.starts").exists()


def test_goes_on_after_a_reset_by_the_watchdog(board):
    before = "import port.micropython.board.program as b\nb.LASTS = b.AFTER_WATCHDOG = 1\n"
    started = board(PICO, before=before, files={"ucomqtt.starts": "2", "reset-cause": "3"}, board={"watchdog": True})
    wait_for(started, "reset by the watchdog, goes on in 1 s", "listening at")
    assert in_order(started, "goes on in 1 s", "watchdog 8000", "listening at")
    deadline = time.monotonic() + SECONDS
    while (started.folder / "ucomqtt.starts").exists():  # it has lasted
        assert time.monotonic() < deadline, started.output
        time.sleep(0.05)


def test_leaves_the_prompt_and_says_why(board):
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"max_conections": 3}, "unknown option max_conections, did you mean max_connections"),
        ({"log_level": "loud"}, "log_level must be one of"),
        ({"board": {"watch_dog": True}}, "board: unknown key watch_dog, did you mean watchdog"),
        ({"board": []}, "board must be a table"),
        ({"board": {"retry": 0}}, "board: retry must be 1 or more, not 0"),
        ({"board": {"memory": "12K"}}, "board: memory must be a whole number, not '12K'"),
        ({"board": {"led": 99}}, "board: led: there is no pin 99"),
        ({"board": {"safe_pin": 98}}, "board: safe_pin: there is no pin 98"),
        ({"board": {"ntp": "a..b"}}, "board: 'a..b' is no name of a host"),
        ({"wifi": "home"}, "wifi must be a table"),
        ({"wifi": {}}, "wifi: ssid is missing"),
        ({"wifi": {"ssid": "home", "sid": "x"}}, "wifi: unknown key sid, did you mean ssid"),
        ({"wifi": {"ssid": "home", "log": "x"}}, "wifi: unknown key log"),
        ({"wifi": {"ssid": "h" * 33}}, "wifi: ssid must have at most 32 bytes"),
        ({"wifi": {"ssid": "home", "hostname": "h" * 33}}, "wifi: hostname must have at most 32 bytes"),
        ({"wifi": {"ssid": "home", "password": 7654321}}, "wifi: password must be a string"),
        ({"wifi": {"ssid": "home", "ap_password": "short"}}, "wifi: ap_password must have at least 8 characters"),
        ({"wifi": {"ssid": "home", "timeout": 0}}, "wifi: timeout must be 1 s or more, not 0"),
        ({"wifi": {"ssid": "home", "address": ["192.168.1.9"]}}, "wifi: address must be [address, netmask,"),
        ({"wifi": {"ssid": "home", "address": ["1.2.3.4", "1.2.3.4", "1.2.3", "1.2.3.4"]}}, "wifi: address must be"),
        ({"board": {"safe_pin": 9}}, "the safe pin is low"),
    )  # fmt: skip
    files = {f"{number}.json": json.dumps({"wifi": {"ssid": "home"}, **values}) for number, (values, _) in enumerate(cases)}
    started = board(PICO, {**files, "pin-9": "0"}, before=ALL_CONFIGURATIONS % len(cases))
    wait_for(started, "\nend")
    said = started.output.split("case ")[1:]
    for number, (values, text) in enumerate(cases):
        assert f"ucomqtt: {text}" in said[number], values
    assert "7654321" not in started.output and "Traceback" not in started.output
    assert "station" not in started.output.split("\nend")[0]  # nothing was started


def test_starts_again_after_an_error(board):
    started = board(GPIO, before=BREAK, board={"retry": 1})
    wait_for(started, "listening at")
    client = Paho(started.port, "c", 5)
    (started.folder / "broken").touch()
    assert client.ended.get(timeout=SECONDS) == 0x8B  # server shutting down
    wait_for(started, "broken on purpose", "starts again in 1 s", "pin LED 0")
    (started.folder / "broken").unlink()
    wait_for(started, "listening at", times=2)
    Paho(started.port, "c", 5).disconnect()
    assert started.output.count("joined home") == 1  # the network had no part in it
    started.type("\x03")
    wait_for(started, "ucomqtt: stopped", ">>> ")


def test_the_watchdog_is_fed_by_what_serves_clients_alone(board):
    """And a program that fails is started again, a time server that does not answer does no harm."""
    started = board(GPIO, before=HANG % free_port(), board={"watchdog": True, "retry": 1, "ntp": "127.0.0.1"})
    wait_for(started, "fed before: True meanwhile: 0", "the program starts again in 1 s", times=2)
    wait_for(started, "no time from 127.0.0.1")
    Paho(started.port, "c", 5).disconnect()
    assert "timer" not in started.output and "clock" not in started.output


def time_answer(question, seconds):
    """What an NTP server answers: seconds since 1900."""
    return bytes((0x24, 2)) + bytes(22) + question[40:48] + bytes(8) + struct.pack("!II", seconds, 0)


def test_time_from_a_server_that_has_a_name(board):
    asked: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(SECONDS)

        def serve():
            while not asked or asked[-1][0] != 0x23:
                packet, peer = sock.recvfrom(512)
                asked.append(packet)
                if packet[0] == 0x23:  # NTP
                    sock.sendto(time_answer(bytes(48), 4001620000), peer)  # somebody who has not seen the question
                    sock.sendto(time_answer(packet, 4001620496), peer)
                elif len(asked) > 1:  # DNS, the first question being lost: CNAME, then the address
                    alias = b"\xc0\x0c\0\5\0\1\0\0\0\1\0\4\1x\xc0\x0c"
                    answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1"
                    sock.sendto(packet[:2] + b"\x81\x80\0\1\0\2\0\0\0\0" + packet[12:] + alias + answer, peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        before = "import port.micropython.board.ntp as n\nn.NTP_PORT = n.DNS_PORT = %d\n" % sock.getsockname()[1]
        started = board(PICO, before=before, board={"ntp": "time.test"})
        wait_for(started, "clock (2026, 10, 22, 3, 1, 14, 56, 0)")
    assert b"\4time\4test\0" in asked[0]


def test_a_clock_that_counts_from_2000(board):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(SECONDS)

        def serve():
            packet, peer = sock.recvfrom(512)
            sock.sendto(time_answer(packet, 4001620496), peer)

        threading.Thread(target=serve, daemon=True).start()
        before = "import port.micropython.board.ntp as n\nn.NTP_PORT = %d\n" % sock.getsockname()[1]
        started = board(ESP32, {"time.py": TIME}, before, board={"ntp": "127.0.0.1"})
        wait_for(started, "clock (2026, 10, 22, 3, 1, 14, 56, 0)")
    client = Paho(started.port, "c", 5)
    client.subscribe("$SYS/broker/timestamp")
    assert abs(int(client.receive().payload) - time.time()) < 86400
    client.disconnect()


def test_short_memory_admits_nobody(board):
    started = board(PICO, board={"memory": 10_000_000})
    wait_for(started, "listening at", "memory: step 3 of 3")
    for version, text in ((5, "Quota exceeded"), (4, "Server unavailable")):
        with pytest.raises(AssertionError, match=text):
            Paho(started.port, "c", version)


def test_esp_idf_has_a_memory_of_its_own(board):
    started = board(ESP32, esp32=100000)
    wait_for(started, "listening at")
    client = Paho(started.port, "c", 5)
    client.subscribe("t", 1)
    (started.folder / "idf-free").write_text("12000")
    wait_for(started, "memory: step 2 of 3")
    client.publish("t", b"lost")
    client.publish("t", b"kept", 1)
    assert client.receive().payload == b"kept"
    with pytest.raises(AssertionError, match="Quota exceeded"):
        Paho(started.port, "d", 5)
    (started.folder / "idf-free").write_text("100000")
    wait_for(started, "memory: step 0 of 3")
    client.publish("t", b"again")
    assert client.receive().payload == b"again"
    Paho(started.port, "d", 5).disconnect()
    client.disconnect()


def test_as_many_clients_as_there_are_sockets_but_one(board):
    started = board(ESP32, sockets=16)
    wait_for(started, "this firmware has no more sockets", "listening at")
    most = int(started.output.split("max_connections is ")[1].split(":")[0])
    assert 1 <= most < 13
    clients = [Paho(started.port, "c%d" % i, 5) for i in range(most)]
    for version, text in ((5, "Quota exceeded"), (4, "Server unavailable")):
        with pytest.raises(AssertionError, match=text):
            Paho(started.port, "one more", version)
    clients.pop().disconnect()
    clients.append(Paho(started.port, "another", 5))
    for client in clients:
        client.disconnect()


def test_automation_without_a_client(board):
    started = board(GPIO, {"pin-17": "1"})
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
