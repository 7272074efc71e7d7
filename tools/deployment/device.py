"""A board on a serial line, reached by mpremote or by ampy."""

from __future__ import annotations

import base64
import errno
import json
import subprocess  # nosec B404 # programs are started from lists of arguments
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import serial
import serial.tools.list_ports

from bundling.mpy_set import VERSION
from toolchain import find

OLDEST = (1, 23)
WAKE_SECONDS = 10  # a broker that is interrupted says goodbye to its clients before there is a prompt
ANSWER_SECONDS = 60
_CHUNK = 1536  # bytes of a file at a time, for ampy
_NO_ANSWER = (
    "%s does not answer. Is MicroPython on the board? Press Ctrl-C in a terminal program, or its reset button, and try again"
)
_PROBE = """
import json, os, sys
try:
    import network
    wlan = hasattr(network, "WLAN")
except ImportError:
    wlan = False
path = sys.path[:]
sys.path[:] = [".frozen"]
try:
    from port.core import __version__ as frozen
except ImportError:
    frozen = ""
sys.path[:] = path
s = os.statvfs(".")
n = sys.implementation
print(json.dumps([sys.platform, list(n[1][:3]), getattr(n, "_mpy", 0) & 255, s[1] or s[0], s[1] * s[4], wlan, os.listdir(), frozen]))
"""


class DeployError(Exception):
    """What is wrong, and what to do."""


@dataclass
class Facts:
    """What a board says of itself; `block` and `free` are bytes of its file system, `frozen` is the version of the broker
    in its firmware."""

    platform: str
    version: tuple[int, ...]
    mpy: int
    block: int
    free: int
    wlan: bool
    files: list[str]
    frozen: str = ""


def choose_port(port: str | None) -> str:
    """The port given, or the only one with a board. Raises DeployError."""
    if port is None:
        found = [each.device for each in serial.tools.list_ports.comports() if each.vid is not None]
        if len(found) != 1:
            raise DeployError("no board found: connect it with a USB cable that carries data, or name its port" if not found
                              else "more than one board, name the port: " + " ".join(sorted(found)))
        port = found[0]
    try:
        serial.Serial(port, exclusive=True).close()
    except serial.SerialException as error:
        if error.errno == errno.ENOENT:
            raise DeployError(f"there is no port {port}") from None
        if error.errno == errno.EACCES:
            raise DeployError(f"no permission for {port}: join its group (usually dialout) and log in again") from None
        raise DeployError(f"{port} is in use: close the terminal program that has it") from None
    return port


def wake(port: str) -> None:
    """Interrupt what runs. Raises DeployError when no prompt comes: the tools themselves would wait much longer."""
    try:
        with serial.Serial(port, 115200, timeout=0.2, write_timeout=WAKE_SECONDS, exclusive=True) as line:
            text = b""
            for _ in range(2):  # not at once: the second would interrupt the goodbye
                line.write(b"\r\x03\x02")
                deadline = time.monotonic() + WAKE_SECONDS / 2
                while time.monotonic() < deadline:
                    text += line.read(line.in_waiting or 1)
                    if b">>> " in text:
                        return
            raise DeployError(_NO_ANSWER % port)
    except serial.SerialException as error:
        raise DeployError(f"cannot use {port}: {error}") from None


class Device:
    """A board at `port`. All methods raise DeployError; paths on the board are relative to its root."""

    def __init__(self, port: str) -> None:
        self.port = port

    def run(self, code: str) -> str:
        """Run code on the board; what it prints."""
        raise NotImplementedError

    def put(self, files: dict[str, bytes], show: Callable[[str], None]) -> None:
        """Write files, `show`ing the name of each, and make the folders they need."""
        raise NotImplementedError

    def probe(self) -> Facts:
        """Ask the board about itself."""
        text = self.run(_PROBE)
        try:
            platform, version, *others = json.loads(text.strip().splitlines()[-1])
            return Facts(platform, tuple(version), *others)
        except (ValueError, IndexError, TypeError):
            raise DeployError(_NO_ANSWER % self.port) from None

    def make_folders(self, names: list[str]) -> None:
        """Make the folders of these files."""
        folders = {str(parent) for name in names for parent in Path(name).parents if str(parent) != "."}
        if folders:
            self.run("import os\nfor f in %r:\n    try:\n        os.mkdir(f)\n    except OSError:\n        pass"
                     % sorted(folders))

    def log_of_reset(self, seconds: float, enough: Callable[[str], bool]) -> str:
        """Reset the board and read what it prints, until that is `enough` or for some seconds."""
        with self._open() as line:
            line.write(b"\r\x03\x02")  # to the prompt, whatever it was at
            time.sleep(0.2)
            line.write(b"import machine; machine.reset()\r")
            read = text = ""
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and not enough(text):
                try:
                    read += line.read(line.in_waiting or 1).decode(errors="replace")
                    text = read.partition("machine.reset()")[2].lstrip()
                except OSError:  # a board whose USB is its own goes away while it resets
                    line.close()
                    time.sleep(1)
                    try:
                        line.open()
                    except OSError:
                        continue
        return text

    def _open(self) -> serial.Serial:
        try:
            return serial.Serial(self.port, 115200, timeout=0.2, exclusive=True)
        except serial.SerialException as error:
            raise DeployError(f"cannot open {self.port}: {error}") from None


class Mpremote(Device):
    """By way of mpremote."""

    def run(self, code: str) -> str:
        """See Device.run."""
        return self._mpremote("exec", code)

    def put(self, files: dict[str, bytes], show: Callable[[str], None]) -> None:
        """See Device.put."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            urls = []
            for place, data in files.items():
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                (folder / place).write_bytes(data)
                urls.append([place, place])
            (folder / "deploy.json").write_text(json.dumps({"urls": urls}))
            for place in files:
                show(place)
            self._mpremote("mip", "install", "--target", ".", str(folder / "deploy.json"))

    def _mpremote(self, *arguments: str) -> str:
        program = find("mpremote")
        if program is None:
            raise DeployError("no mpremote on this machine: pip install mpremote")
        try:
            done = subprocess.run([program, "connect", self.port, *arguments], stdout=subprocess.PIPE,  # nosec B603
                                  stderr=subprocess.STDOUT, text=True, timeout=ANSWER_SECONDS * 3, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise DeployError(_NO_ANSWER % self.port) from None
        if done.returncode:
            raise DeployError(_translate(self.port, done.stdout))
        return done.stdout


class Ampy(Device):
    """By way of ampy, in one session: ampy itself resets the board for each file."""

    def __init__(self, port: str) -> None:
        super().__init__(port)
        try:
            from ampy.pyboard import Pyboard, PyboardError
        except ImportError:
            raise DeployError("no ampy on this machine: pip install adafruit-ampy") from None
        self._pyboard = Pyboard
        self._error = PyboardError

    def run(self, code: str) -> str:
        """See Device.run."""
        return self._session([code])

    def put(self, files: dict[str, bytes], show: Callable[[str], None]) -> None:
        """See Device.put."""
        self.make_folders(list(files))
        lines = ["from binascii import a2b_base64"]
        for place, data in files.items():
            show(place)
            lines.append(f"f = open({place!r}, 'wb')")
            lines += ["f.write(a2b_base64(%r))" % base64.b64encode(data[i:i + _CHUNK]) for i in range(0, len(data), _CHUNK)]
            lines.append("f.close()")
        self._session(lines)

    def _session(self, codes: list[str]) -> str:
        try:
            board = self._pyboard(self.port)
        except self._error as error:
            raise DeployError(_translate(self.port, str(error))) from None
        try:
            board.serial.timeout = ANSWER_SECONDS / 6  # ampy itself would wait for ever
            board.enter_raw_repl()
            text = b"".join(board.exec_(code) for code in codes)
            board.exit_raw_repl()
        except (self._error, OSError) as error:
            raise DeployError(_translate(self.port, str(error))) from None
        finally:
            board.close()
        return str(text, "utf-8", "replace")


def _translate(port: str, text: str) -> str:
    """What the tool's message means."""
    if "ENOSPC" in text or "No space" in text or "Errno 28" in text:
        return "the board's file system is full"
    if "raw repl" in text.lower() or "timeout" in text.lower():
        return _NO_ANSWER % port
    return f"{port}: {text.strip().splitlines()[-1] if text.strip() else 'no answer'}"


def place_of_broker(facts: Facts, version: str, copy: bool) -> str | None:
    """The folder for the broker's files, None when the board has it in its firmware: then it must not have others.

    Of modules in /lib MicroPython finds those in the firmware first, but not of those in its root. Raises DeployError.
    """
    if not facts.frozen:
        return "lib/"
    if copy or facts.frozen != version:
        return ""
    if "port" in facts.files:
        raise DeployError("the broker is in the firmware, but the folder port on the board comes before it: remove that "
                          "(mpremote rm -r :port), or write it anew with --copy")
    return None


def check_board(facts: Facts, platform: str, board: str, wifi: bool = True) -> None:
    """Raise DeployError when this is another board than the one that is wanted."""
    if facts.platform != platform:
        raise DeployError(f"this is not {board}: its MicroPython is for {facts.platform}, not {platform} (--force)")
    if wifi and not facts.wlan:
        raise DeployError("this MicroPython has no Wi-Fi: is it the firmware of the W? (--force)")


def check_needs(facts: Facts, need: list[int], compiled: bool = True) -> None:
    """Raise DeployError when MicroPython is too old, there is no room for files of these sizes, or it cannot load .mpy files
    that are `compiled` among them."""
    shown = ".".join(map(str, facts.version))
    if facts.version[:2] < OLDEST:
        raise DeployError(f"MicroPython {shown} is too old, it must be {OLDEST[0]}.{OLDEST[1]} or newer")
    if compiled and facts.mpy != VERSION:
        raise DeployError(f"MicroPython {shown} loads .mpy files of version {facts.mpy}, not {VERSION}: use --source")
    wanted = sum(-(-size // facts.block) * facts.block for size in need)
    if wanted > facts.free:
        raise DeployError(f"no space: {wanted // 1024} KB are needed, {facts.free // 1024} KB are free; "
                          "see --package, or remove what is on the board (mpremote rm)")
